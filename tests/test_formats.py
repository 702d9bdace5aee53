"""Formats are told by content: real files of every kind the libraries here can write, and bytes laid out by hand
after the published schemas where no writer is at hand (Caffe, Caffe2, MXNet)."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import UnreadableFile, WorkbenchError, detect
from workbench.files.formats import NAMES, identify, identify_bytes

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def pipeline() -> Any:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*load_iris(return_X_y=True))


def _field(number: int, payload: bytes) -> bytes:
    def varint(value: int) -> bytes:
        return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])

    return varint(number << 3 | 2) + varint(len(payload)) + payload


@pytest.mark.parametrize("protocol", range(6))
def test_a_scikit_learn_pickle_of_any_protocol_is_named_without_unpickling(
    tmp_path: Path, pipeline: Any, protocol: int
) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(pipeline, protocol))
    found = identify(path)
    assert (found.name, found.detail, found.runs_code) == ("pickle", f"scikit-learn {sklearn.__version__}", True)
    assert "sklearn.pipeline.Pipeline" in found.markers
    assert detect(path).kind == "ML"


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)])
def test_a_joblib_file_is_named_whatever_its_compression(tmp_path: Path, pipeline: Any, compress: Any) -> None:
    import joblib

    path = tmp_path / "m.joblib"
    joblib.dump(pipeline, path, compress=compress)
    found = identify(path)
    assert (found.name, found.detail) == ("joblib", f"scikit-learn {sklearn.__version__}")
    assert detect(path).engine == "sklearn"


class _Boom:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/workbench-was-fooled",)


def test_looking_at_a_malicious_pickle_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(_Boom()))
    Path("/tmp/workbench-was-fooled").unlink(missing_ok=True)
    found = detect(path)
    assert not Path("/tmp/workbench-was-fooled").exists()
    assert found.kind == "unknown"
    assert "posix.system" in found.because
    assert any("run code" in warning for warning in found.warnings)


def test_a_pickle_of_plain_data_is_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "d.pkl"
    path.write_bytes(pickle.dumps({"a": [1, 2, 3]}))
    assert (detect(path).format, detect(path).kind) == ("pickle", None)


def test_a_skops_file_is_named_and_its_network_said(tmp_path: Path) -> None:
    import skops.io
    from sklearn.datasets import load_iris
    from sklearn.neural_network import MLPClassifier

    path = tmp_path / "m.skops"
    skops.io.dump(MLPClassifier(max_iter=3).fit(*load_iris(return_X_y=True)), path)
    found = detect(path)
    assert (found.format, found.kind) == ("skops", "ML")
    assert "neural network inside" in found.because


@pytest.mark.slow
def test_every_keras_and_tensorflow_file_is_named(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = """
import os, sys; os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_USE_LEGACY_KERAS="1")
import keras, tf_keras, tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
def small(K):
    return K.Sequential([K.layers.Input((8, 8, 1)), K.layers.Conv2D(2, 3), K.layers.Flatten(), K.layers.Dense(3)])
m3, m2 = small(keras), small(tf_keras)
m3.save("k3.keras"); m3.save("k3.h5"); m3.save_weights("k3.weights.h5")
m2.save("k2.h5"); m2.save_weights("k2.weights.h5", save_format="h5"); m2.save("saved", save_format="tf")
x = keras.Input((3,)); y = keras.layers.Lambda(lambda v: v * 2)(x); keras.Model(x, y).save("lambda.keras")
open("m.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(m2).convert())
f = tf.function(lambda x: m2(x)).get_concrete_function(tf.TensorSpec([None, 8, 8, 1]))
open("frozen.pb", "wb").write(convert_variables_to_constants_v2(f).graph.as_graph_def().SerializeToString())
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, timeout=600)
    expected = {
        "k3.keras": "Keras v3", "k3.h5": "Keras HDF5", "k3.weights.h5": "Keras weights", "k2.h5": "Keras HDF5",
        "k2.weights.h5": "Keras weights", "saved": "SavedModel", "lambda.keras": "Keras v3", "m.tflite": "TFLite",
        "frozen.pb": "GraphDef",
    }  # fmt: skip
    assert {name: identify(tmp_path / name).name for name in expected} == expected
    assert {name: detect(tmp_path / name).kind for name in expected} == dict.fromkeys(expected, "DL")
    assert "Keras 3." in identify(tmp_path / "k3.h5").detail
    assert "Keras 2." in identify(tmp_path / "k2.h5").detail
    assert {"Conv2D", "Flatten", "Dense"} <= set(identify(tmp_path / "k2.h5").markers)
    assert identify(tmp_path / "lambda.keras").runs_code
    assert not identify(tmp_path / "k3.keras").runs_code
    # An interrupted copy of a SavedModel folder still says what it was.
    broken = shutil.copytree(tmp_path / "saved", tmp_path / "broken")
    (broken / "saved_model.pb").write_bytes((broken / "saved_model.pb").read_bytes()[:1000])
    assert identify(broken).name == "SavedModel"
    assert "damaged" in identify(broken).warnings[0]


@pytest.mark.parametrize(
    ("name", "detail", "kind"),
    [
        ("mlp_state.pt", "state dict", "DL"),
        ("mlp_legacy.pth", "state dict", "DL"),
        ("mlp_full.pth", "whole module", "DL"),
        ("mlp.pt2", "exported program", "DL"),
        ("snn_state.pt", "state dict", "unknown"),
    ],
)
def test_pytorch_files_of_every_age(name: str, detail: str, kind: str) -> None:
    found = detect(DATA / name)
    assert found.format == "PyTorch"
    assert detail in found.format_detail
    assert found.kind == kind


def test_a_safetensors_file_is_named_by_its_header(tmp_path: Path) -> None:
    told = {"wte.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "__metadata__": {"format": "pt"}}
    header = json.dumps(told).encode()
    path = tmp_path / "weights.bin"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    found = detect(path)
    assert (found.format, found.format_detail, found.kind) == ("safetensors", "1 tensor", "unknown")
    path.write_bytes((1 << 40).to_bytes(8, "little") + header + bytes(16))  # longer than the file
    assert detect(path).format != "safetensors"


def test_nir_and_core_ml_files() -> None:
    assert (detect(DATA / "net.nir").format, detect(DATA / "net.nir").kind) == ("NIR", "SNN")
    assert (detect(DATA / "nn.mlmodel").format, detect(DATA / "nn.mlmodel").kind) == ("Core ML", "DL")
    tree = b"\x08\x01" + _field(2, _field(1, _field(1, b"x"))) + _field(402, b"\x0a\0")
    assert identify_bytes(tree).detail == "tree ensemble classifier"


def test_caffe_caffe2_and_mxnet_by_their_schemas(tmp_path: Path) -> None:
    layer = _field(1, b"conv1") + _field(2, b"Convolution") + _field(3, b"data") + _field(4, b"conv1")
    assert identify_bytes(_field(1, b"net") + _field(100, layer)).name == "Caffe"
    old = _field(2, b"data") + _field(3, b"conv1") + _field(4, b"conv1") + b"\x28\x04"
    assert identify_bytes(_field(1, b"net") + _field(2, old)).name == "Caffe"
    prototxt = b'name: "LeNet"\nlayer {\n  name: "data"\n  type: "Input"\n}\n'
    assert identify_bytes(prototxt).name == "Caffe"
    op = _field(1, b"x") + _field(1, b"w") + _field(2, b"y") + _field(4, b"Conv")
    assert identify_bytes(_field(1, b"predict") + _field(2, op) + _field(7, b"x")).name == "Caffe2"
    symbol = {"nodes": [{"op": "null", "name": "data"}, {"op": "Convolution", "name": "c"}], "arg_nodes": [0]}
    found = identify_bytes(json.dumps(symbol).encode())
    assert (found.name, "Convolution" in found.markers) == ("MXNet symbol", True)
    assert identify_bytes((0x112).to_bytes(8, "little") + bytes(16) + b"arg:conv0_weight").name == "MXNet params"


def test_arrays_pictures_text_and_nothing_are_not_models(tmp_path: Path) -> None:
    from PIL import Image

    np.savez(tmp_path / "a.npz", x=np.ones(3), y=np.zeros(2))
    np.save(tmp_path / "a.npy", np.ones(3))
    (tmp_path / "a.txt").write_text("안녕하세요, a note\n", encoding="utf-8")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "noise.onnx").write_bytes(np.random.default_rng(1).bytes(5000))
    for suffix in ("png", "jpg", "gif", "bmp", "webp"):
        Image.new("RGB", (9, 9)).save(tmp_path / f"a.{suffix}")
    expected = {
        "a.npz": "NumPy npz", "a.npy": "NumPy npy", "a.txt": "text", "empty.onnx": "empty", "noise.onnx": "unknown",
        "a.png": "image", "a.jpg": "image", "a.gif": "image", "a.bmp": "image", "a.webp": "image",
    }  # fmt: skip
    assert {name: detect(tmp_path / name).format for name in expected} == expected
    assert {detect(tmp_path / name).kind for name in expected} == {None}
    assert detect(tmp_path).format == "folder"


def test_a_wrong_extension_is_said_and_does_not_fool(tmp_path: Path, pipeline: Any) -> None:
    onnx_file = DATA / "mlp.onnx"
    for name in ("model.h5", "model.pkl", "picture.png"):
        shutil.copy(onnx_file, tmp_path / name)
        found = detect(tmp_path / name)
        assert (found.format, found.kind) == ("ONNX", "DL")
        assert found.warnings[0] == f"The name ends in {Path(name).suffix}, but the content is ONNX."
    (tmp_path / "model.onnx").write_bytes(pickle.dumps(pipeline))
    found = detect(tmp_path / "model.onnx")
    assert found.format == "pickle"
    assert ".onnx" in found.warnings[0]
    shutil.copy(onnx_file, tmp_path / "model")
    assert not identify(tmp_path / "model").warnings  # no extension promises nothing


def test_a_git_lfs_pointer_and_a_saved_web_page_say_what_happened() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 98\n"
    assert "git lfs pull" in identify_bytes(pointer).warnings[0]
    assert "web page" in identify_bytes(b"<!DOCTYPE html><html><body>404</body></html>").warnings[0]


@pytest.mark.parametrize("make", ["missing", "fifo", "nul"])
def test_what_cannot_be_opened_is_one_sentence(tmp_path: Path, make: str) -> None:
    path = str(tmp_path / make)
    if make == "fifo":
        os.mkfifo(path)  # opening it would block for ever
    if make == "nul":
        path += "\0"
    with pytest.raises(UnreadableFile) as error:
        identify(path)
    assert "\n" not in str(error.value)


def test_a_zip_bomb_and_a_directory_of_a_million_entries_stay_small(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        archive.writestr("config.json", b"[" * 200_000_000)
    assert identify_bytes(buffer.getvalue()).name == "Keras v3"
    assert "too many entries" in identify_bytes(_with_directory(struct.pack("<HHII", 1, 1, 3 << 20, 4))).warnings[0]


def _with_directory(counts: bytes, before: bytes = b"") -> bytes:
    """An archive whose list of entries is 3 MiB long; its last record holds `counts`, behind other records."""
    return b"PK\x03\x04" + bytes(3 << 20) + before + b"PK\x05\x06" + bytes(4) + counts + bytes(2)


def test_a_directory_too_large_for_32_bits_is_not_read_either() -> None:
    large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 3 << 20, 4)
    large += struct.pack("<4sLQL", b"PK\x06\x07", 0, 4 + (3 << 20), 1)
    archive = _with_directory(struct.pack("<HHII", 0xFFFF, 0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF), large)
    assert "too many entries" in identify_bytes(archive).warnings[0]


REAL = [path.read_bytes() for path in sorted(DATA.glob("*.*")) if path.suffix not in (".md", ".onnx")]


@settings(max_examples=1000, deadline=5000)
@given(
    st.integers(0, len(REAL) - 1),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=12), st.booleans()), max_size=4),
)
def test_wounded_files_of_other_formats_are_named_without_an_exception(
    index: int, wounds: list[tuple[float, bytes, bool]]
) -> None:
    data = bytearray(REAL[index])
    for place, patch, cut in wounds:
        at = int(place * len(data))
        data[at : at + len(patch)] = patch
        if cut:
            del data[at:]
    try:
        assert identify_bytes(bytes(data) or b"\0").name in NAMES
    except WorkbenchError as error:  # a sentence is as good as a name
        assert "\n" not in str(error)


@given(st.binary(min_size=1, max_size=400))
def test_any_bytes_at_all_have_a_name(data: bytes) -> None:
    assert identify_bytes(data).name in NAMES


@pytest.mark.parametrize(
    "text",
    [
        "class,weight\n1,2\n", "class A:\n    pass\n", "(c) Copyright 2026\nall rights\n", "const x = 1\nlet y\n",
        "Nothing.\n", "I am a note\n", "S'\n", ".layer { color: red; type: none }\n", "GGUF is a file format\n",
        '{"a":' + "[" * 50_000, "ci:\n  - run: x\n",
    ],
)  # fmt: skip
def test_text_is_never_taken_for_a_model(text: str) -> None:
    assert identify_bytes(text.encode()).name in ("text", "unknown")


def test_a_model_behind_a_large_array_is_found(tmp_path: Path, pipeline: Any) -> None:
    import joblib

    for name, dump in (("a.joblib", joblib.dump), ("a.pkl", lambda thing, path: path.write_bytes(pickle.dumps(thing)))):
        dump([np.zeros((1000, 1000)), pipeline], tmp_path / name)
        assert detect(tmp_path / name).kind == "ML"


def test_archives_that_unpack_without_bound_are_not_unpacked() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", bytes(300_000_000))
    # zipfile unpacks a bzip2 member whole, whatever length is asked for: 300 MB here.
    assert identify_bytes(buffer.getvalue()).markers == ()


def test_nir_neurons_are_read_from_strings_not_from_weights(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "net.nir", "w") as file:
        file["node/type"] = "NIRGraph"
        file["node/nodes/a/type"] = "Linear"
        file["node/nodes/a/weight"] = np.frombuffer(b" LIF IF LI CubaLIF  " * 400, np.uint8)
    assert "LIF" not in identify(tmp_path / "net.nir").markers
    assert detect(tmp_path / "net.nir").kind == "unknown"
