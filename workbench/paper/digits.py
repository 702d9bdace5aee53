"""The paper's spiking network (Table 1), which reads handwritten digits: built, trained and shipped.

Conv 3x3 32 - Conv 3x3/2 64 - Conv 3x3/2 128 - Dense 784 - Dense 10, a layer of LIF neurons after each but the last;
trained as NengoDL trains (rates instead of spikes, one step), run for 30 steps of 1 ms on raw pixels 0 to 255, as the
authors do. The answer is the largest of ten outputs, filtered with 0.1 s, after the last step.

`digits.npz` holds trained parameters, made by `train` with its defaults on MNIST's 60,000 training digits and then
rounded to 8 bits per kernel value with one scale per output channel (`pack`), a quarter of the size: the rounded
network is the one whose accuracy is quoted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..sandbox import Cancelled, release_memory

if TYPE_CHECKING:
    import nengo

SHIPPED = Path(__file__).parent / "digits.npz"
STEPS = 30
EPOCHS = 7
BATCH = 200
LEARNING_RATE = 2e-3
LAYERS = ("conv1", "conv2", "conv3", "dense1", "dense2")

Progress = Callable[[str], object]


def build(seed: int = 0) -> nengo.Network:
    """The untrained network: input ``image`` (784,), probes ``logits`` and ``filtered`` (10,)."""
    import nengo
    import tf_keras

    from ..frameworks.spiking import nengo_dl

    layers = tf_keras.layers
    with nengo.Network(label="digits", seed=seed) as network:
        network.config[nengo.Ensemble].max_rates = nengo.dists.Choice([100])
        network.config[nengo.Ensemble].intercepts = nengo.dists.Choice([0])
        network.config[nengo.Connection].synapse = None
        nengo_dl.configure_settings(stateful=False, trainable=None)
        # Kernels and biases of the layers are trained; the neurons' own gains and biases stay as they are.
        for kind in (nengo.Ensemble, nengo.ensemble.Neurons, nengo.Connection):
            network.config[kind].trainable = False
        signal = nengo.Node(np.zeros(784), label="image")
        shape: tuple[int, ...] | None = (28, 28, 1)
        for number, (filters, stride, side) in enumerate([(32, 1, 26), (64, 2, 12), (128, 2, 5)], start=1):
            layer = layers.Conv2D(filters, 3, strides=stride, name=f"conv{number}")
            signal = nengo_dl.Layer(layer)(signal, shape_in=shape)
            signal = nengo_dl.Layer(nengo.LIF(amplitude=0.01))(signal)
            signal.ensemble.label, shape = f"lif{number}", (side, side, filters)
        signal = nengo_dl.Layer(layers.Dense(784, name="dense1"))(signal)
        signal = nengo_dl.Layer(nengo.LIF(amplitude=0.01))(signal)
        signal.ensemble.label = "lif4"
        signal = nengo_dl.Layer(layers.Dense(10, name="dense2"))(signal)
        nengo.Probe(signal, label="logits")
        nengo.Probe(signal, synapse=0.1, label="filtered")
    return network


def simulator(parameters: str | os.PathLike[str] | None = None, minibatch_size: int = 1, seed: int = 0) -> Any:
    """An open ``nengo_dl.Simulator`` of the trained network; close it after use.

    Args:
        parameters: what `save` wrote; the shipped ones if None.
    """
    from ..frameworks.spiking import nengo_dl

    simulator = nengo_dl.Simulator(build(seed), minibatch_size=minibatch_size, progress_bar=False)
    with np.load(parameters or SHIPPED) as stored:
        for name, variable in _variables(simulator).items():
            value = stored[name]
            variable.assign(value * stored[f"{name}/scale"] if value.dtype == np.int8 else value)
    return simulator


def train(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Any:
    """Train the network; about 40 seconds an epoch of 60,000 digits on two idle cores.

    Args:
        images: (n, 28, 28), 0 to 255; labels: (n,), 0 to 9.
        progress: called with one short sentence about every second.
        cancel: set it from another thread to stop.

    Returns:
        An open ``nengo_dl.Simulator``; `save` keeps its parameters, `workbench.convert` writes it to ONNX.

    Raises:
        BadInput: the arrays are no digits.
        Cancelled: `cancel` was set.
    """
    from ..frameworks.spiking import nengo_dl  # before tf_keras: this starts TensorFlow without its noise

    images, labels = np.asarray(images), np.asarray(labels).reshape(-1)
    if images.shape != (len(labels), 28, 28) or len(labels) < BATCH:
        raise BadInput(
            f"Training takes images (n, 28, 28) with n labels, n at least {BATCH}; given were images of shape "
            f"{images.shape} and {len(labels)} labels."
        )
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    trained = nengo_dl.Simulator(build(seed), minibatch_size=BATCH, progress_bar=False)
    batches = len(labels) // BATCH
    pixels = images[: batches * BATCH].reshape(-1, 1, 784).astype(np.float32)
    schedule = tf_keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * batches)
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile(tf_keras.optimizers.Adam(schedule), loss={_probe(trained, "logits"): loss})
    report = _Report(progress or (lambda message: None), cancel, epochs, batches)
    (image,) = (node for node in trained.model.toplevel.all_nodes if node.label == "image")
    # In one call: each would keep memory of its own.
    trained.fit(
        {image: pixels},
        {_probe(trained, "logits"): labels[: len(pixels)].reshape(-1, 1, 1)},
        epochs=epochs,
        verbose=0,
        callbacks=[report.callback()],
    )
    if report.stopped:
        trained.close()
        raise Cancelled("Training was cancelled.")
    release_memory()  # training took 200 MiB that running the network does not need
    return trained


def save(simulator: Any, path: str | os.PathLike[str]) -> None:
    """Keep a simulator's parameters, rounded by `pack`, in an .npz file."""
    stored: dict[str, Any] = {}
    for name, variable in _variables(simulator).items():
        stored |= pack(name, variable.numpy())
    np.savez_compressed(path, **stored)


def pack(name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    """A kernel as int8 with one float32 scale per output channel, its last axis; a bias as it is."""
    if value.ndim == 1:
        return {name: value}
    scale = (np.abs(value).max(axis=tuple(range(value.ndim - 1))) / 127).astype(np.float32)
    return {name: np.round(value / scale).astype(np.int8), f"{name}/scale": scale}


def accuracy(engine: Any, images: np.ndarray, labels: np.ndarray, *, progress: Progress | None = None) -> float:
    """The share of digits an engine (`workbench.load_engine`) reads rightly after `STEPS` steps.

    Args:
        images: (n, 28, 28), 0 to 255; labels: (n,).
    """
    right = 0
    for begin in range(0, len(labels), 100):
        rows = np.asarray(images[begin : begin + 100], np.float32).reshape(-1, 784)
        answers = engine.run(rows, steps=STEPS)["filtered"][:, -1]
        right += int((answers.argmax(axis=1) == labels[begin : begin + 100]).sum())
        if progress is not None:
            progress(f"{begin + len(rows):,} of {len(labels):,} digits, {right / (begin + len(rows)):.2%} right")
    return right / len(labels)


class Trained:
    """The network as it was trained, before ONNX: in NengoDL, and asked like an engine (`accuracy`).

    Args:
        given: what `train` or `simulator` gave, which stays open; one of the shipped parameters if None.
    """

    def __init__(self, given: Any = None) -> None:
        self.given = given

    def __enter__(self) -> Trained:
        self.simulator = self.given or simulator(minibatch_size=100)
        network = self.simulator.model.toplevel
        self.node = next(node for node in network.all_nodes if node.label == "image")
        self.probe = _probe(self.simulator, "filtered")
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.given is None:
            self.simulator.close()

    def run(self, rows: np.ndarray, steps: int) -> dict[str, np.ndarray]:
        # A simulator has one batch size.
        full = np.concatenate([rows, np.repeat(rows[:1], -len(rows) % self.simulator.minibatch_size, axis=0)])
        series = np.repeat(full[:, None], steps, axis=1)
        answer = self.simulator.predict({self.node: series}, stateful=False, verbose=0)[self.probe]
        return {"filtered": answer[: len(rows)]}


def _variables(simulator: Any) -> dict[str, Any]:
    """``<layer>/kernel`` and ``<layer>/bias`` -> TensorFlow variable."""
    found = {"/".join(v.name.split(":")[0].split("/")[-2:]): v for v in simulator.keras_model.trainable_weights}
    return {f"{layer}/{part}": found[f"{layer}/{part}"] for layer in LAYERS for part in ("kernel", "bias")}


def _probe(simulator: Any, label: str) -> Any:
    return next(probe for probe in simulator.model.toplevel.all_probes if probe.label == label)


class _Report:
    """Tells how far training is, and stops it."""

    def __init__(self, say: Progress, cancel: threading.Event | None, epochs: int, batches: int) -> None:
        self.say, self.cancel, self.epochs, self.batches = say, cancel, epochs, batches
        self.epoch = 0
        self.stopped = False

    def callback(self) -> Any:
        import time

        import tf_keras

        report, last = self, [0.0]

        class Callback(tf_keras.callbacks.Callback):
            def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
                report.epoch = epoch

            def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
                if report.cancel is not None and report.cancel.is_set():
                    report.stopped = self.model.stop_training = True
                if time.monotonic() - last[0] > 1:
                    last[0] = time.monotonic()
                    loss = (logs or {}).get("loss", float("nan"))
                    report.say(
                        f"Epoch {report.epoch + 1} of {report.epochs}, batch {batch + 1} of {report.batches}: "
                        f"loss {loss:.3f}"
                    )

        return Callback()
