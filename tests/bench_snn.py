"""The paper's spiking network: speed in ONNX Runtime against NengoDL and Nengo, and Table 5. Run `make bench-snn`.

On MNIST's test digits: those of the mnist.npz named by WORKBENCH_MNIST, or what `workbench.data` finds. With --layers
what Open Neuromorphic's benchmark of SNN libraries asks, forward, on a CPU: one dense layer of LIF neurons, 16 samples,
500 steps; and a file of spyx's own, as it is and lifted.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nengo
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from workbench import convert, load_engine
from workbench.frameworks.spiking.engine_onnxruntime import OnnxRuntimeSnnEngine
from workbench.frameworks.spiking.from_nengo import from_nengo
from workbench.frameworks.spiking.network import Input, Node, Output, SpikingNetwork
from workbench.paper import digits
from workbench.paper.data import dataset
from workbench.snn import lift, nengo_dl

ROUNDS = 9


def interleaved(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median ms of each call. Round by round, so that what else the machine does hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for index in range(ROUNDS + 1):
        for name, call in calls.items():
            start = time.perf_counter_ns()
            call()
            if index:  # the first warms up
                times[name].append((time.perf_counter_ns() - start) / 1e6)
    return {name: statistics.median(found) for name, found in times.items()}


def native(batch: int, inference_only: bool) -> tuple[Any, Any]:
    """(a NengoDL simulator of the network as it was trained, its input)"""
    network = digits.build()
    with network:
        nengo_dl.configure_settings(inference_only=inference_only)
    simulator = nengo_dl.Simulator(network, minibatch_size=batch, progress_bar=False)
    return simulator, next(node for node in network.all_nodes if node.label == "image")


def speed(path: Path, images: np.ndarray) -> None:
    for batch in (1, 64):
        rows = images[:batch].reshape(batch, 784).astype(np.float32)
        series = np.repeat(rows[:, None], digits.STEPS, axis=1)
        calls: dict[str, Callable[[], object]] = {}
        open_ = []
        for inference_only in (True, False):
            simulator, node = native(batch, inference_only)
            open_.append(simulator)
            name = "inference_only" if inference_only else "default"
            feeds = {node: series}
            calls[f"NengoDL {name}, predict"] = lambda s=simulator, f=feeds: s.predict(f, stateful=False, verbose=0)  # type: ignore[misc]
            calls[f"NengoDL {name}, predict_on_batch"] = lambda s=simulator, f=feeds: s.predict_on_batch(
                f, stateful=False
            )  # type: ignore[misc]
        ort = load_engine(path, "onnxruntime")
        calls["ONNX Runtime, images held"] = lambda ort=ort, rows=rows: ort.run(rows)  # type: ignore[misc]
        moving = series.copy()
        moving[:, -1, 0] += 1
        calls["ONNX Runtime, a time series"] = lambda ort=ort, moving=moving: ort.run(moving)  # type: ignore[misc]
        if batch == 1:
            reference = load_engine(path, "nengo")
            calls["nengo.Simulator"] = lambda nengo=reference, rows=rows: nengo.run(rows)  # type: ignore[misc]
        found = interleaved(calls)
        best = min(ms for name, ms in found.items() if name.startswith("NengoDL"))
        print(f"\nbatch {batch}, {digits.STEPS} steps: median ms of {ROUNDS} rounds; NengoDL's best is {best:.1f}")
        for name, ms in found.items():
            print(f"  {name:36} {ms:9.1f} ms   {best / ms:6.2f} times NengoDL's best")
        for simulator in open_:
            simulator.close()
    with load_engine(path, "onnxruntime") as ort:
        print("\nONNX Runtime: cost by steps (batch 1) and by batch (30 steps), ms")
        for steps in (10, 30, 100, 300, 1000):
            found = interleaved({"": lambda steps=steps: ort.run(images[:1].reshape(1, 784), steps=steps)})  # type: ignore[misc]
            print(f"  {steps:5} steps {found['']:9.1f}   {found[''] / steps:6.3f} a step")
        for batch in (1, 4, 16, 64, 256):
            found = interleaved({"": lambda batch=batch: ort.run(images[:batch])})  # type: ignore[misc]
            print(f"  batch {batch:4} {found['']:9.1f}   {found[''] / batch:6.2f} a sample")

    print("\nONNX Runtime: cost by neurons, one layer of LIF, 1,000 steps, ms")
    for count in (1_000, 4_000, 16_000, 64_000):
        ones, zeros = np.ones((1, count), np.float32), np.zeros((1, count), np.float32)
        weights = {"gain": ones, "bias": ones, "voltage": zeros, "refractory_time": zeros}
        said = {"tau_rc": 0.02, "tau_ref": 0.002, "min_voltage": 0.0, "amplitude": 1.0}
        layer = Node("LIF", "layer", ("current",), (count,), weights, said)
        mean = Node("Gemm", "mean", ("layer",), (1,), {"weight": ones.T / count})
        network = SpikingNetwork("layer", 0.001, [Input("current", count)], [layer, mean], [Output("rate", "mean")])
        with OnnxRuntimeSnnEngine(network) as ort:
            row = np.full((1, count), 2, np.float32)
            found = interleaved({"": lambda ort=ort, row=row: ort.run(row, steps=1000)})  # type: ignore[misc]
        print(f"  {count:6} neurons {found['']:9.1f}   {found[''] / count * 1e3:6.2f} per 1,000")


SAMPLES, STEPS = 16, 500
SPYX = Path(__file__).parent / "data" / "exported" / "spyx_lif_li_loop.onnx"


def layers() -> None:
    """https://github.com/open-neuromorphic/open-neuromorphic.github.io, "Spiking Neural Network (SNN) Library
    Benchmarks": forward of Linear and LIF, by neurons. There on a GPU and with a backward pass."""
    rng = np.random.default_rng(0)
    print(f"\nOne dense layer and LIF, {SAMPLES} samples, {STEPS} steps: median ms of {ROUNDS} rounds")
    for count in (512, 1024, 2048):
        with nengo.Network(seed=0) as network:
            nengo_dl.configure_settings(stateful=False, inference_only=True)
            given = nengo.Node(np.zeros(count))
            cells = nengo.Ensemble(count, 1, neuron_type=nengo.LIF(), gain=np.ones(count), bias=np.zeros(count))
            weights = rng.normal(0, 2 / np.sqrt(count), (count, count))
            nengo.Connection(given, cells.neurons, transform=weights, synapse=None)
            probe = nengo.Probe(cells.neurons)
        spikes = (rng.random((SAMPLES, STEPS, count)) < 0.1).astype(np.float32) * 10
        with nengo_dl.Simulator(network, minibatch_size=SAMPLES, progress_bar=False) as simulator:
            described = from_nengo(simulator)
            with OnnxRuntimeSnnEngine(described) as ort:
                calls: dict[str, Callable[[], object]] = {
                    "NengoDL": lambda s=simulator, n=given, x=spikes: s.predict_on_batch({n: x}),  # type: ignore[misc]
                    "ONNX Runtime": lambda o=ort, x=spikes: o.run(x),  # type: ignore[misc]
                }
                theirs, ours = simulator.predict_on_batch({given: spikes})[probe], ort.run(spikes)
                differ = int((theirs != next(iter(ours.values()))).sum())
                times = interleaved(calls)
        print(f"  {count:5} neurons  " + ", ".join(f"{name} {ms:.0f}" for name, ms in times.items()), end="")
        print(f": {times['NengoDL'] / times['ONNX Runtime']:.1f} times; {differ:,} of {theirs.size:,} spikes differ")
    with tempfile.TemporaryDirectory() as folder:
        wide, lifted = Path(folder) / "spyx.onnx", Path(folder) / "lifted.onnx"
        onnx.save(widened(onnx.load(SPYX)), wide)
        lift(wide, lifted)
        series = (rng.random((STEPS, SAMPLES, 512)) < 0.1).astype(np.float32)
        turned = np.ascontiguousarray(series.transpose(1, 0, 2))
        calls = {}
        for threads in (1, os.cpu_count() or 1):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = threads, 4
            session = onnxruntime.InferenceSession(str(wide), options, providers=["CPUExecutionProvider"])
            feeds = {entry.name: np.zeros(entry.shape, np.float32) for entry in session.get_inputs()} | {"x": series}
            calls[f"spyx's file, threads: {threads}"] = lambda s=session, f=feeds: s.run(None, f)  # type: ignore[misc]
            expected = session.run(None, feeds)[0]
        with OnnxRuntimeSnnEngine(lifted) as ort:
            calls["lifted"] = lambda: ort.run(turned)
            apart = np.abs(next(iter(ort.run(turned).values())).transpose(1, 0, 2) - expected).max()
            times = interleaved(calls)
    best = min(ms for name, ms in times.items() if name != "lifted")
    print("  spyx's LIF and LI, 512 neurons: " + ", ".join(f"{name} {ms:.0f}" for name, ms in times.items()), end="")
    print(f": {best / times['lifted']:.1f} times; answers at most {apart:.1g} apart")


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """spyx's export of 12 inputs, 16 neurons, 2 samples and 30 steps with the benchmark's sizes, and new weights."""
    sizes, rng = {30: STEPS, 2: SAMPLES, 12: 512, 16: 512}, np.random.default_rng(0)

    def widen(graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            array = numpy_helper.to_array(tensor)
            shape = tuple(sizes.get(size, size) for size in array.shape)
            if array.dtype == np.int64:
                array = np.array([sizes.get(size, size) for size in array.ravel().tolist()]).reshape(array.shape)
            elif array.dtype == np.float32 and array.ndim == 2:
                array = rng.normal(0, 2 / np.sqrt(shape[0]), shape).astype(np.float32)
            else:
                array = np.resize(array, shape)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        for info in (*graph.input, *graph.output):
            for size in info.type.tensor_type.shape.dim:
                if size.HasField("dim_value"):
                    size.dim_value = sizes.get(size.dim_value, size.dim_value)
        for node in graph.node:
            for attribute in node.attribute:
                widen(attribute.g)

    widen(model.graph)
    return model


def table5(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    print(f"\nTable 5: accuracy on {len(labels):,} MNIST test digits (paper: 98.7 % before, 98.7 % after)")

    class Trained:
        """The network as it was trained, before ONNX; asked like an engine."""

        def __init__(self) -> None:
            self.simulator = digits.simulator(minibatch_size=100)
            network = self.simulator.model.toplevel
            self.node = next(node for node in network.all_nodes if node.label == "image")
            self.probe = next(probe for probe in network.all_probes if probe.label == "filtered")

        def run(self, rows: np.ndarray, steps: int) -> dict[str, np.ndarray]:
            feeds = {self.node: np.repeat(rows[:, None], steps, axis=1)}
            return {"filtered": self.simulator.predict(feeds, stateful=False, verbose=0)[self.probe]}

    def show(name: str, engine: Any) -> None:
        start = time.perf_counter()
        accuracy = digits.accuracy(engine, images, labels)
        print(f"  {name:40} {accuracy:8.2%}   ({time.perf_counter() - start:.0f} s)", flush=True)

    show("NengoDL, as trained", Trained())
    for engine, name in (("onnxruntime", "ONNX Runtime"), ("nengo_dl", "back in NengoDL"), ("nengo", "back in Nengo")):
        with load_engine(path, engine) as loaded:
            show(name, loaded)


if __name__ == "__main__":
    if "--layers" in sys.argv:
        sys.exit(layers())
    mnist = dataset("mnist", "test")
    print(mnist.source)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.onnx"
        with digits.simulator() as simulator:
            convert(simulator, path)
        packed, written = (file.stat().st_size / 1e6 for file in (digits.SHIPPED, path))
        print(f"{os.cpu_count()} cores; {written:.1f} MB of ONNX, from {packed:.1f} MB of packed parameters")
        if "--table5" not in sys.argv:
            speed(path, mnist.inputs)
            layers()
        if "--speed" not in sys.argv:
            table5(path, mnist.inputs, mnist.targets)
