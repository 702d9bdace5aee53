"""Binder: what repo2docker makes of this repository. It looks only into ``binder/`` once that folder exists."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(sys.executable).parent  # the environment's own pip and repo2docker, activated or not


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What Binder gets: the files an installation reads, without this working tree's environment and caches."""
    tmp_path = tmp_path / "clone"
    tmp_path.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "environment.yml"):
        shutil.copy2(ROOT / name, tmp_path)
    for folder in ("workbench", "notebooks", "binder", "tests/data/exported"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "models")
        )
    return tmp_path


def _run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True, check=False
    )


def test_repo2docker_builds_on_our_python_and_runs_our_post_build(clone):
    """The Dockerfile repo2docker would build, from repo2docker itself (this needs no Docker)."""
    run = _run("jupyter-repo2docker", "--no-build", "--debug", ".", cwd=clone)
    assert run.returncode == 0, run.stderr
    dockerfile = run.stdout + run.stderr
    (python,) = (p for p in yaml.safe_load((clone / "environment.yml").read_text())["dependencies"] if "=" in p)
    assert f"Building conda environment for {python}\n" in dockerfile
    assert "RUN ./binder/postBuild" in dockerfile
    # Nothing but postBuild installs packages: conda's pip would leave its cache in the image.
    assert "env update" not in dockerfile
    assert "requirements.txt" not in dockerfile


def test_binder_holds_only_files_repo2docker_and_pip_read_and_the_hubs_image():
    read = {"runtime.txt", "postBuild", ".dockerignore"}
    # A file called Dockerfile would take the place of all others.
    held = {path.name for path in (ROOT / "binder").iterdir()} - {"__pycache__"}  # of an install from here
    assert held == read | {"hub.Dockerfile", "hatch_build.py"}
    assert not (ROOT / ".binder").exists()  # repo2docker refuses a repository with both


def test_post_build_is_one_executable_script_that_keeps_no_cache():
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK)
    installs = re.findall(r"^.*\bpip install\b.*$", script.read_text(), re.MULTILINE)
    assert len(installs) == 1
    assert "--no-cache-dir" in installs[0]
    assert "--editable" not in installs[0]


# postBuild itself, run with the real pip: it decides what to install, and stops there. The environment the tests run
# in is the one `make setup` pinned, so whatever pip would add to it or change in it is a difference between the two.
# Of tensorflow-cpu, which is not installed here, a wheel is at hand that holds nothing.
_DECIDE_ONLY = {"PIP_DRY_RUN": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}


def _post_build(clone: Path, report: Path) -> subprocess.CompletedProcess[str]:
    wheels, image = clone.parent / "wheels", clone.parent / "image"
    wheels.mkdir()
    (image / "lib/python3.11/site-packages/tensorflow/include").mkdir(parents=True)
    info = f"tensorflow_cpu-{version('tensorflow')}"
    with zipfile.ZipFile(wheels / f"{info}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{info}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: tensorflow-cpu\nVersion: {info[15:]}\n"
        )
        wheel.writestr(f"{info}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}.dist-info/RECORD", "")
    return _run(
        "binder/postBuild", cwd=clone, PIP_REPORT=str(report), PIP_FIND_LINKS=str(wheels), NB_PYTHON_PREFIX=str(image),
        **_DECIDE_ONLY,
    )  # fmt: skip


def test_binder_gets_the_versions_that_are_tested_with_tensorflow_for_cpus(clone):
    report = clone / "report.json"
    run = _post_build(clone, report)
    assert run.returncode == 0, run.stderr
    new = {new["metadata"]["name"]: new["metadata"] for new in json.loads(report.read_text())["install"]}
    if platform.machine() == "x86_64":
        assert new.keys() == {"onnx-workbench", "tensorflow", "tensorflow-cpu"}
        assert new["tensorflow"]["version"] == new["tensorflow-cpu"]["version"] == version("tensorflow")
    else:
        assert new.keys() == {"onnx-workbench"}
    assert not list((clone.parent / "image").rglob("include"))  # TensorFlow's headers


def test_binder_follows_a_changed_pin(clone):
    pins = clone / "environment.yml"
    pins.write_text(re.sub(r"- onnx==\S+", "- onnx==1.23.999", pins.read_text()))
    run = _post_build(clone, clone / "report.json")
    assert run.returncode != 0
    assert "onnx==1.23.999" in run.stdout + run.stderr
