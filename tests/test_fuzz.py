"""Hostile files at random: nothing of them runs, nothing hangs or swells, and what goes wrong is one sentence.

`make test` tries 50 files of each format, `make test-long` 700, and opens some of them too.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from workers import workers

TESTS = Path(__file__).parent
DATA = TESTS / "data"


def copied(*names: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in names:
            shutil.copy(DATA / name, folder)

    return make


def estimators() -> tuple[LogisticRegression, RandomForestClassifier]:
    rows, labels = load_iris(return_X_y=True)
    line = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
    return line, RandomForestClassifier(3, max_depth=3, random_state=0).fit(rows, labels)


def onnx_ml(folder: Path) -> None:
    from skl2onnx import to_onnx

    for index, model in enumerate(estimators()):
        (folder / f"{index}.onnx").write_bytes(to_onnx(model, np.zeros((1, 4), np.float32)).SerializeToString())


def onnx_external(folder: Path) -> None:
    model = onnx.load(DATA / "mlp.onnx")
    onnx.save(model, str(folder / "m.onnx"), save_as_external_data=True, location="m.data", size_threshold=0)
    (folder / "m.data").unlink()


def joblibs(folder: Path) -> None:
    line, forest = estimators()
    joblib.dump(forest, folder / "forest.joblib")
    joblib.dump(forest, folder / "packed.joblib", compress=("zlib", 3))
    joblib.dump(line, folder / "packed.xz.joblib", compress=("xz", 3))


def pickles(folder: Path) -> None:
    line, _ = estimators()
    for protocol in (0, 2, 5):
        (folder / f"{protocol}.pkl").write_bytes(pickle.dumps(line, protocol))


def skops(folder: Path) -> None:
    from skops import io as skops_io

    for index, model in enumerate(estimators()):
        (folder / f"{index}.skops").write_bytes(skops_io.dumps(model))


def arrays(folder: Path) -> None:
    np.savez(folder / "w.npz", a=np.arange(9.0), b=np.array(["x", None], object))
    np.savez_compressed(folder / "z.npz", a=np.arange(9.0))
    np.save(folder / "w.npy", np.arange(9.0))


NETWORK = {
    "class_name": "Sequential",
    "config": {
        "name": "s",
        "layers": [
            {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 4], "name": "i"}},
            {"module": "keras.layers", "class_name": "Dense", "config": {"name": "d", "units": 3, "use_bias": False}},
        ],
    },
}
"""What Keras needs of a network's description."""


def hdf5(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "m.h5", "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps(NETWORK)
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [b"i", b"d"]
        weights.create_group("d").attrs["weight_names"] = [b"kernel"]
        weights["d"]["kernel"] = np.ones((4, 3), np.float32)


def keras(folder: Path) -> None:
    import zipfile

    import h5py

    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["layers/dense/vars/0"] = np.ones((4, 3), np.float32)
    with zipfile.ZipFile(folder / "m.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps({"module": "keras", **NETWORK}))
        archive.writestr("model.weights.h5", weights.getvalue())


_TENSORFLOW = """
import sys
import tensorflow as tf
folder = sys.argv[1]
function = tf.function(lambda x: tf.nn.relu(tf.matmul(x, tf.ones((4, 3)))), input_signature=[tf.TensorSpec((None, 4))])
concrete = function.get_concrete_function()
module = tf.Module()
module.f = function
tf.saved_model.save(module, f"{folder}/SavedModel", signatures=concrete)
open(f"{folder}/frozen graph/m.pb", "wb").write(concrete.graph.as_graph_def().SerializeToString())
lite = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
open(f"{folder}/TFLite/m.tflite", "wb").write(lite.convert())
"""


def tensorflow(folder: Path) -> None:
    """All of TensorFlow's at once: it starts slowly."""
    if folder.name == "SavedModel":
        for name in ("SavedModel", "frozen graph", "TFLite"):
            folder.with_name(name).mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-c", _TENSORFLOW, folder.parent], check=True, capture_output=True)
        (folder / "fingerprint.pb").unlink(missing_ok=True)


FORMATS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "ONNX of scikit-learn": ("protobuf", onnx_ml),
    "ONNX of a network": ("protobuf", copied("mlp.onnx", "gru.onnx")),
    "ONNX of spiking networks": ("protobuf", copied("snn_leaky.onnx", "snn_leaky_t2_dynamo.onnx")),
    "ONNX with external data": ("protobuf", onnx_external),
    "Keras": ("zip", keras),
    "HDF5": ("hdf5", hdf5),
    "SavedModel": ("protobuf", tensorflow),
    "frozen graph": ("protobuf", tensorflow),
    "TFLite": ("plain", tensorflow),
    "joblib": ("pickle", joblibs),
    "pickle": ("pickle", pickles),
    "skops": ("zip", skops),
    "NumPy": ("zip", arrays),
    "PyTorch": ("zip", copied("mlp_full.pth", "mlp_state.pt", "mlp.pt2", "mlp_legacy.pth")),
    "NIR": ("hdf5", copied("net.nir")),
    "Core ML": ("protobuf", copied("nn.mlmodel")),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each format, with files of it."""
    root = tmp_path_factory.mktemp("sound")
    for name, (_, make) in FORMATS.items():
        (root / name).mkdir(exist_ok=True)
        make(root / name)
    return root


def faults_of(names: Iterable[str], sound: Path, folder: Path, count: int, seed: int, *more: str) -> list[str]:
    families = {str(sound / name): FORMATS[name][0] for name in names}
    command = [sys.executable, str(TESTS / "fuzz.py"), json.dumps(families), str(count), str(seed), *more]
    before = workers()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert workers() <= before
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["files"] == count * len(families)
    return [f"{fault['file']}: {fault['faults']}" for fault in told["faults"]]


def test_mutated_files_end_in_a_sentence_and_run_nothing(sound: Path, tmp_path: Path) -> None:
    assert faults_of(FORMATS, sound, tmp_path, 50, 0) == []


@pytest.mark.long
@pytest.mark.parametrize("name", FORMATS)
def test_many_mutated_files_end_in_a_sentence_and_run_nothing(name: str, sound: Path, tmp_path: Path) -> None:
    assert faults_of([name], sound, tmp_path, 700, 1000) == []


@pytest.mark.long
@pytest.mark.parametrize("name", FORMATS)
def test_mutated_files_are_drawn_and_opened_without_harm(name: str, sound: Path, tmp_path: Path) -> None:
    assert faults_of([name], sound, tmp_path, 40, 90_000, "--load") == []


def test_the_watch_sees_code_that_runs(tmp_path: Path) -> None:
    """The fuzz could not fail otherwise."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import fuzz, os, pickle\n"
        "sys.addaudithook(fuzz.hook)\n"
        "print(fuzz.watched(pickle.loads, b\"cos\\nsystem\\n(S'true'\\ntR.\")[1])\n"
        "print(fuzz.watched(lambda: open('x', 'w').close())[1])\n"
        "print(fuzz.watched(lambda: 1 / 0)[1])\n"
        "print(fuzz.watched(lambda: bytearray(400 << 20) and None)[3] > fuzz.MIB)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(TESTS)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    ran, wrote, raised, swollen = done.stdout.splitlines()
    assert "os.system" in ran and "pickle.find_class" in ran and "open" in wrote
    assert "ZeroDivisionError" in raised and swollen == "True"
