"""Pairs that nobody here trained or converted: two networks that their makers publish natively and as ONNX.

The files come out of wheels on PyPI, which are data here: nothing of them is installed or run.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench import compare, convert
from workbench.agreement import Tolerance

WHEELS = {
    "basic-pitch": ("0.4.0", "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0"),
    "openwakeword": ("0.5.1", "015467e49f08b0ef8efa433690ce70566abb72f7c36501a6fa893762b4ddc559"),
}
PITCH, WORDS = "basic_pitch/saved_models/icassp_2022", "openwakeword/resources/models"

AUDIO = (0.3 * np.random.default_rng(0).standard_normal((3, 43_844, 1))).astype(np.float32)
"""Two seconds of noise each. Basic Pitch takes logarithms of energies: in a clean tone most of them are rounding
errors, on which ONNX Runtime does not agree with itself either (1e-3 with optimised graphs and without)."""

SPECTROGRAMS = np.random.default_rng(1).uniform(0, 2, (6, 76, 32, 1)).astype(np.float32)

TOLERANCE = Tolerance(
    1e-4, 1e-4, "The embedding's numbers reach 67: sums that cancel keep the rounding of such numbers."
)

Models = Callable[[str], Path]


def _wheel(name: str) -> Path:
    """The wheel, downloaded once; pip refuses one with another digest."""
    version, digest = WHEELS[name]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "onnx-workbench-tests"
    cache.mkdir(parents=True, exist_ok=True)
    wanted = cache / f"{name}.txt"
    wanted.write_text(f"{name}=={version} --hash=sha256:{digest}\n")
    stem = f"{name.replace('-', '_')}-{version}-"
    if not (found := list(cache.glob(f"{stem}*.whl"))):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--retries=1"]
        command += ["--timeout=20", f"--dest={cache}", "--require-hashes", f"--requirement={wanted}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode and "DO NOT MATCH THE HASHES" not in done.stderr:
            pytest.skip(f"{name} {version} could not be downloaded: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
        found = list(cache.glob(f"{stem}*.whl"))
    assert hashlib.sha256(found[0].read_bytes()).hexdigest() == digest
    return found[0]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The folder with the model files of a package."""
    folders: dict[str, Path] = {}

    def of(name: str) -> Path:
        inside = PITCH if name == "basic-pitch" else WORDS
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            with zipfile.ZipFile(_wheel(name)) as wheel:
                wheel.extractall(folders[name], [file for file in wheel.namelist() if file.startswith(f"{inside}/")])
        return folders[name] / inside

    return of


PAIRS = {
    "Basic Pitch, SavedModel": ("basic-pitch", "nmp", "nmp.onnx", AUDIO, 3),
    "Basic Pitch, TFLite": ("basic-pitch", "nmp.tflite", "nmp.onnx", AUDIO, 3),
    "speech embedding, TFLite": ("openwakeword", "embedding_model.tflite", "embedding_model.onnx", SPECTROGRAMS, 1),
}


def _options(package: str) -> dict[str, Any]:
    return {"repeat": 3, "seconds": 5, "trust": True, "tolerance": TOLERANCE if package == "openwakeword" else None}


@pytest.mark.long
@pytest.mark.parametrize("pair", PAIRS)
def test_what_its_makers_converted_agrees(pair: str, models: Models) -> None:
    package, native, onnx, inputs, outputs = PAIRS[pair]
    folder = models(package)
    found = compare(folder / native, folder / onnx, inputs, **_options(package))
    assert found.agreement.within_tolerance, found.says
    # Its notes and onsets have one shape: taken for each other they would differ in the first digit.
    assert len(found.agreement.outputs) == outputs
    assert found.native.seconds.median > 0 and found.onnx.seconds.median > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "pair", [pytest.param(pair, marks=[pytest.mark.long] if "SavedModel" in pair else []) for pair in PAIRS]
)
def test_what_we_convert_agrees_with_its_source_and_with_its_makers_file(
    pair: str, models: Models, tmp_path: Path
) -> None:
    package, native, onnx, inputs, _ = PAIRS[pair]
    folder = models(package)
    made = convert(folder / native, tmp_path / "ours.onnx", sample=inputs, trust=True)
    assert made.agreement.within_tolerance
    for other in (native, onnx):
        found = compare(folder / other, tmp_path / "ours.onnx", inputs, **_options(package))
        assert found.agreement.within_tolerance, f"{other}: {found.says}"


@pytest.mark.slow
def test_two_files_of_one_name_that_hold_different_weights_are_told_apart(models: Models) -> None:
    # openWakeWord published two trainings of "hey rhasspy": 64 hidden neurons in the TFLite file, 32 in the ONNX file.
    folder = models("openwakeword")
    inputs = np.random.default_rng(0).normal(0, 10, (1, 16, 96)).astype(np.float32)
    found = compare(folder / "hey_rhasspy_v0.1.tflite", folder / "hey_rhasspy_v0.1.onnx", inputs, repeat=3, seconds=5)
    assert not found.agreement.within_tolerance
    assert "1 of 1 row differs" in found.says
