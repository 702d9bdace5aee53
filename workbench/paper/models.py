"""The paper's models, made on first use.

Three are made as ONNX files ready to look at; those of the paper's Tables 3 and 4 as their own frameworks save them, to
be converted and compared; its spiking network as ONNX. They are trained here, in a worker process, so the files are the
reader's own and TensorFlow never enters the caller's process.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..engines.onnxruntime import OnnxRuntimeEngine
from ..errors import BadInput, WorkbenchError
from ..words import first_line
from .data import SEED, Dataset, dataset

TRAINING_MEMORY_MIB = 3000
"""Three times what training LeNet-1 takes."""

Progress = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Sample:
    """A model of the menu. `kind` and `format` are what `workbench.detect` is expected to say of it; `native` is what
    the model that an ONNX file is made from is saved as, beside it, so that both can be compared."""

    id: str
    title: str
    description: str
    kind: str
    file_name: str
    format: str = "ONNX"
    native: str = ""


def samples() -> tuple[Sample, ...]:
    """The models `make_sample` can make, in menu order."""
    return tuple(_MADE)


def make_sample(
    id: str, folder: str | os.PathLike[str], *, progress: Progress | None = None, cancel: threading.Event | None = None
) -> Path:
    """The file of a sample model in `folder`; trained and written now if it is not there yet.

    The file appears whole or not at all, so another process may look for it meanwhile.

    Args:
        id: a `Sample.id`.
        folder: made if missing.
        progress: called with a sentence at each step.
        cancel: set it from another thread to give up.

    Raises:
        BadInput: no sample has this id.
        WorkbenchError: the training failed, or was cancelled.
    """
    from .. import sandbox

    sample = _sample(id)
    path = Path(folder) / sample.file_name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    # The dot keeps the half-written file out of folder views.
    draft = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    native = path.with_suffix(sample.native) if sample.native else None
    try:
        sandbox.run(
            _make,
            id,
            str(draft),
            memory_mib=TRAINING_MEMORY_MIB,
            progress=progress or (lambda message: None),
            cancel=cancel,
            # Starting TensorFlow takes longer than most of these. NengoDL needs it started in a way of its own.
            warm=sample.kind != "SNN",
            what=f"Making {sample.title}",
        )
        # First, so that whoever finds the ONNX file finds it, too; never over a file that is there.
        if native is not None and not native.exists():
            draft.with_suffix(sample.native).replace(native)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
        if native is not None:
            draft.with_suffix(sample.native).unlink(missing_ok=True)
    return path


def _sample(id: str) -> Sample:
    for sample in _MADE:
        if sample.id == id:
            return sample
    raise BadInput(f"There is no sample model {id!r}; choose one of: {', '.join(sample.id for sample in _MADE)}.")


# --- training: these run in the worker ----------------------------------------------------------------------------


def _make(id: str, path: str, progress: Progress) -> None:
    make, *what = _MADE[_sample(id)]
    make(*what, path, progress)


def _train_on_iris(name: str, path: str, progress: Progress) -> None:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from skops import io

    progress("Training on 112 iris flowers")
    estimator, flowers = _estimators()[name][1], dataset("iris", "train")
    estimator.fit(flowers.inputs, flowers.targets)
    io.dump(estimator, Path(path).with_suffix(".skops"))
    progress("Converting to ONNX")
    # Without ZipMap the probabilities are one array: several times faster than a dictionary per row.
    model = convert_sklearn(
        estimator, f"iris_{name.lower().replace(' ', '_')}", [("measurements", FloatTensorType([None, 4]))],
        options={id(estimator): {"zipmap": False}},
    )  # fmt: skip
    Path(path).write_bytes(model.SerializeToString())
    rows = dataset("iris").inputs
    _check(path, rows, estimator.predict_proba(rows))


def _train_lenet(path: str, progress: Progress) -> None:
    """The authors' LeNet-1, layer for layer (their ``lenet-1.onnx``)."""
    progress("Starting TensorFlow")
    model, _ = _first_network("LeNet-1")
    import tensorflow as tf
    import tf2onnx

    images = _train_on_digits(model, 0.01, progress)
    model.save(Path(path).with_suffix(".keras"))
    progress("Converting to ONNX")

    @tf.function
    def forward(image: Any) -> dict[str, Any]:
        for layer in model.layers:
            # Keras's Flatten reads the batch size at run time, nine operators for what one Reshape does.
            image = tf.reshape(image, [-1, 300]) if layer.name == "flatten" else layer(image)
        return {"predictions": image}

    signature = [tf.TensorSpec([None, 28, 28, 1], tf.float32, name="image")]
    onnx_model, _ = tf2onnx.convert.from_function(forward, input_signature=signature, opset=18)
    onnx_model.graph.name = "lenet-1"
    for value in (onnx_model.graph.input[0], onnx_model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    Path(path).write_bytes(onnx_model.SerializeToString())
    _check(path, images[:200], model(images[:200], training=False).numpy())


def _train_on_digits(model: Any, rate: float, progress: Progress, epochs: int = 12, batch: int = 64) -> np.ndarray:
    """Train a Keras network to read grey values 0 to 255; returns the images, (4000, 28, 28, 1) float32."""
    import keras

    digits = dataset("mnist-5k", "train")
    images = digits.inputs[..., None].astype("float32")
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * len(images) // batch)
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    say = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: progress(
            f"Training: epoch {epoch + 1} of {epochs}, {logs['accuracy']:.1%} of 4,000 digits right"
        )
    )
    model.fit(images / 255, digits.targets, batch, epochs, verbose=0, callbacks=[say])
    # Trained on 0 to 1, which learns faster; used on grey values, as the authors do. The first kernel takes the scale.
    first = next(layer for layer in model.layers if layer.weights)
    kernel, bias = first.get_weights()
    first.set_weights([kernel / 255, bias])
    return images


def _make_digit_reader(name: str, rate: float, path: str, progress: Progress) -> None:
    progress("Starting TensorFlow")
    model, _ = _first_network(name)
    _train_on_digits(model, rate, progress)
    model.save(path)


def _make_network(name: str, path: str, progress: Progress) -> None:
    progress("Starting TensorFlow")
    progress(save_network(name, path))


def _make_estimator(name: str, path: str, progress: Progress) -> None:
    from skops import io

    progress("Training")
    fitted, _ = estimator(name)
    io.dump(fitted, path)


def _make_spiking(path: str, progress: Progress) -> None:
    from ..convert import convert
    from . import digits

    progress("Starting NengoDL")
    with digits.simulator() as trained:
        convert(trained, path, progress=progress)


def _check(path: str, rows: np.ndarray, expected: np.ndarray) -> None:
    """A converter may go wrong without saying so."""
    with OnnxRuntimeEngine(path) as engine:
        *_, probabilities = engine.run(rows).values()
    # Probabilities in float32, summed in another order: differences of 1e-6 are common, of 1e-4 a fault.
    worst = float(np.abs(probabilities - expected).max())
    if not worst < 1e-4:
        raise WorkbenchError(
            f"The ONNX model gives other probabilities than the model it was made from (by {worst:.2g}), so it is "
            "thrown away; install the versions that environment.yml names."
        )


_NATIVE_ML = "As scikit-learn makes it, in a .skops file, which opens without running code from it: convert it to ONNX."
_IMAGENET = "With its ImageNet weights where they can be downloaded, with random ones elsewhere. Keras."

_MADE: dict[Sample, tuple[Any, ...]] = {
    Sample(
        "iris-logistic-regression", "Logistic regression on iris",
        "Names the species of an iris flower from four lengths. scikit-learn, one linear layer.",
        "ML", "iris_logistic_regression.onnx", native=".skops",
    ): (_train_on_iris, "Logistic regression"),
    Sample(
        "iris-random-forest", "Random forest on iris",
        "The same question answered by the vote of 100 decision trees. scikit-learn.",
        "ML", "iris_random_forest.onnx", native=".skops",
    ): (_train_on_iris, "Random forest"),
    **{
        Sample(id, f"{name} on {rows}", _NATIVE_ML, "ML", f"{id.replace('-', '_')}.skops", "skops"):
            (_make_estimator, name)
        for id, name, rows in (
            ("linear-regression", "Linear regression", "boston"),
            ("logistic-regression", "Logistic regression", "iris"),
            ("random-forest", "Random forest", "iris"), ("knn", "KNN", "iris"), ("k-means", "K-means", "blobs"),
        )
    },
    Sample(
        "lenet-1", "LeNet-1 on handwritten digits",
        "Reads a digit from 28x28 grey pixels: two convolutions and a dense layer, 4,326 parameters. Keras.",
        "DL", "lenet-1.onnx", native=".keras",
    ): (_train_lenet,),
    Sample(
        "dnn-keras", "DNN on handwritten digits",
        "Reads a digit from 28x28 grey pixels with three dense layers. Keras.",
        "DL", "dnn.keras", "Keras v3",
    ): (_make_digit_reader, "DNN", 0.001),
    Sample(
        "lenet-1-keras", "LeNet-1 on handwritten digits",
        "Reads a digit from 28x28 grey pixels: two convolutions and a dense layer. Keras.",
        "DL", "lenet-1-digits.keras", "Keras v3",
    ): (_make_digit_reader, "LeNet-1", 0.01),
    **{
        Sample(name.lower(), f"{name} on pictures, {weighs} MB", _IMAGENET, "DL", f"{name.lower()}.keras", "Keras v3"):
            (_make_network, name)
        for name, weighs in (("VGG16", 550), ("ResNet50", 100), ("DenseNet121", 33))
    },
    Sample(
        "snn-digits", "Spiking network on handwritten digits",
        "Reads a digit from 28x28 grey pixels in 30 steps, with four layers of LIF neurons. NengoDL.",
        "SNN", "snn_digits.onnx",
    ): (_make_spiking,),
}  # fmt: skip
"""The menu: each sample with the function that makes it, and its first arguments."""


# --- the networks of the paper's Table 4 --------------------------------------------------------------------------

NETWORKS = ("DNN", "LeNet-1", "VGG16", "ResNet50", "DenseNet121")

_WEIGHTS_HOST = "https://storage.googleapis.com/tensorflow/keras-applications/"
_WEIGHTS_SECONDS = 4
"""To wait for the first answer of the host the weights come from."""


def network(name: str) -> tuple[Any, str]:
    """A Keras 3 network of the paper's Table 4, and one sentence about its weights.

    DNN and LeNet-1 take 28x28 grey pixels, (N, 28, 28, 1) float32; the others 224x224 colour images, (N, 224, 224, 3)
    float32. These have ImageNet weights if they are in Keras's cache or can be downloaded; otherwise, as DNN and
    LeNet-1, random ones of a fixed seed. The answers of those mean nothing; their speed and agreement do.

    Raises:
        BadInput: no network has this name.
    """
    if name not in NETWORKS:
        raise BadInput(f"The paper has no network {name!r}; choose one of: {', '.join(NETWORKS)}.")
    from ..frameworks.tensorflow.start import start_keras

    keras = start_keras()
    layers = keras.layers
    note = f"The weights of {name} are random (seed {SEED})"
    keras.utils.set_random_seed(SEED)
    if name == "DNN":
        body = [layers.Flatten(), layers.Dense(512, "relu"), layers.Dense(512, "relu")]
    elif name == "LeNet-1":
        body = [
            layers.Conv2D(4, 5, padding="same", activation="tanh"), layers.AveragePooling2D(2),
            layers.Conv2D(12, 5, activation="tanh"), layers.AveragePooling2D(2), layers.Flatten(),
        ]  # fmt: skip
    else:
        return _application(name, note)
    head = layers.Dense(10, "softmax", name="predictions")
    model = keras.Sequential([keras.Input((28, 28, 1), name="image"), *body, head], name=name.lower().replace("-", "_"))
    return model, f"{note}."


def _application(name: str, note: str) -> tuple[Any, str]:
    import keras

    from ..frameworks.tensorflow.lean_loading import lean

    make = getattr(keras.applications, name)
    reason = "could not be downloaded"
    with lean():
        if _imagenet_weights_at_hand(name):
            try:
                return make(weights="imagenet"), f"{name} has its ImageNet weights."
            except Exception as error:
                reason = f"could not be loaded ({first_line(error)})"
        model = make(weights=None)
        _randomise(model)
    return model, f"{note}: its ImageNet weights {reason}."


def _randomise(model: Any) -> None:
    """Glorot's uniform numbers for every kernel, drawn in place: Keras draws VGG16's largest with three copies of it in
    memory."""
    from ..frameworks.tensorflow.lean_loading import aligned_zeros

    rng = np.random.default_rng(SEED)
    for weight in model.trainable_weights:
        if len(weight.shape) < 2:
            continue
        *space, fan_in, fan_out = weight.shape
        limit = np.float32((6 / (np.prod(space) * (fan_in + fan_out))) ** 0.5)
        numbers = aligned_zeros(tuple(weight.shape), np.dtype("float32"))
        rng.random(dtype=np.float32, out=numbers)
        numbers *= 2 * limit
        numbers -= limit
        weight.assign(numbers)


def _imagenet_weights_at_hand(name: str) -> bool:
    """In Keras's cache, or to be had from their host, which is asked first: Keras itself waits for minutes."""
    import urllib.error
    import urllib.request

    cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    if any(cache.glob(f"{name.lower()}_weights_tf_dim_ordering_tf_kernels.h5")):
        return True
    try:
        with urllib.request.urlopen(urllib.request.Request(_WEIGHTS_HOST, method="HEAD"), timeout=_WEIGHTS_SECONDS):
            return True
    except urllib.error.HTTPError:
        # It answers, though not to this question.
        return True
    except OSError:
        return False


def save_network(name: str, path: str) -> str:
    """Write a `network` as a .keras file; returns the sentence about its weights. Runs in a worker."""
    from ..frameworks.tensorflow.lean_loading import lean

    model, note = _first_network(name)
    with lean():
        model.save(path)
    return note


def _first_network(name: str) -> tuple[Any, str]:
    """`network`, its layers named as in a fresh process, whatever a warm worker made before: Keras counts them."""
    from ..frameworks.tensorflow.start import start_keras

    keras = start_keras()
    keras.utils.clear_session()
    return network(name)


# --- the estimators of the paper's Table 3 ------------------------------------------------------------------------


def estimator(name: str) -> tuple[Any, Dataset]:
    """A scikit-learn estimator of the paper's Table 3, fitted on all rows of its data set, and these.

    Linear regression on boston; logistic regression, random forest and KNN on iris; K-means on blobs. All as
    scikit-learn makes them by default, but for the seed, and the number of clusters.

    Raises:
        BadInput: no estimator has this name.
    """
    made = _estimators()
    if name not in made:
        raise BadInput(f"The paper has no estimator {name!r}; choose one of: {', '.join(made)}.")
    source, fresh = made[name]
    data = dataset(source)
    return fresh.fit(data.inputs, data.targets), data


def _estimators() -> dict[str, tuple[str, Any]]:
    """{name: (its data set, the estimator)}, not fitted yet."""
    from sklearn.cluster import KMeans
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    return {
        "Linear regression": ("boston", LinearRegression()),
        "Logistic regression": ("iris", LogisticRegression(max_iter=1000)),
        "Random forest": ("iris", RandomForestClassifier(random_state=SEED)),
        "KNN": ("iris", KNeighborsClassifier()),
        "K-means": ("blobs", KMeans(3, random_state=SEED)),
    }
