"""Images as wide and high as they have channels: their shape is the same in every order, so a lost order shows in no
shape, only in the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nengo
import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from workbench.frameworks.spiking.engine_nengo import NengoEngine
from workbench.frameworks.spiking.engine_nengo_dl import NengoDlEngine
from workbench.frameworks.spiking.engine_onnxruntime import OnnxRuntimeSnnEngine
from workbench.frameworks.spiking.from_nengo import from_nengo
from workbench.frameworks.spiking.layers import read_layers
from workbench.frameworks.spiking.nir import read_nir, write_nir
from workbench.frameworks.spiking.read import read
from workbench.frameworks.spiking.write import write

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = 4


def chain(seed: int, side: int, stages: list[tuple[str, bool]]) -> tuple[nengo.Network, np.ndarray, np.ndarray]:
    """A network of layers over an image of `side` channels, rows and columns, each (what, channels last); a series for
    it, and what ``nengo.Simulator`` itself makes of that."""
    rng = np.random.default_rng(seed)
    size = side**3
    series = rng.uniform(-1, 1, (STEPS, size)).astype(np.float32)
    with nengo.Network(seed=seed) as net:
        last = first = nengo.Node(lambda t: series[round(t / 0.001) - 1], label="image")
        for what, channels_last in stages:
            if what == "conv":
                transform: Any = nengo.Convolution(
                    side, (side,) * 3, kernel_size=(3, 3), padding="same", channels_last=channels_last,
                    init=rng.uniform(-1, 1, (3, 3, side, side)),
                )  # fmt: skip
                after = nengo.Node(size_in=size)
                nengo.Connection(last, after, transform=transform, synapse=None)
            else:
                kind = nengo.LIF(initial_state={"voltage": nengo.dists.Choice([0])})
                bias = rng.uniform(0, 40, size)
                after = nengo.Ensemble(size, 1, neuron_type=kind, gain=np.full(size, 20.0), bias=bias).neurons
                nengo.Connection(last, after, synapse=None)
            last = after
        read_out = nengo.Node(size_in=3)
        nengo.Connection(last, read_out, transform=rng.uniform(-1, 1, (3, size)), synapse=None)
        probe = nengo.Probe(read_out)
    with nengo.Simulator(net, progress_bar=False) as simulator:
        simulator.run_steps(STEPS, progress_bar=False)
    first.output = np.zeros(size)
    return net, series[None], simulator.data[probe]


def assert_every_engine_keeps_the_order(
    seed: int, side: int, stages: list[tuple[str, bool]], folder: Path, dl: bool
) -> None:
    net, series, expected = chain(seed, side, stages)
    network = from_nengo(net)
    written = read(write(network))
    ways = [
        (OnnxRuntimeSnnEngine, network),
        (NengoEngine, network),
        (OnnxRuntimeSnnEngine, written),
        (NengoEngine, written),
    ]
    if len({order for what, order in stages if what == "conv"}) == 1 and stages[0][0] == "conv":  # NIR has no other
        write_nir(network, folder / "net.nir")
        ways.append((OnnxRuntimeSnnEngine, read_nir(folder / "net.nir")))
    ways += [(NengoDlEngine, network)] if dl else []
    for engine, source in ways:
        with engine(source) as running:
            (answer,) = running.run(series).values()
        # Sums of float32 against float64; a spike of 1000 that differs would be far out of it.
        np.testing.assert_allclose(answer[0], expected, rtol=2e-5, atol=2e-5 * max(1, np.abs(expected).max()))


STAGES = st.lists(st.tuples(st.sampled_from(["conv", "conv", "lif"]), st.booleans()), min_size=1, max_size=4)
CHAINS = given(seed=st.integers(0, 2**16), side=st.integers(2, 4), stages=STAGES)
FREELY = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=FREELY)
@CHAINS
def test_an_image_keeps_its_order_where_no_shape_tells_it(
    seed: int, side: int, stages: list[tuple[str, bool]], tmp_path: Path
) -> None:
    assert_every_engine_keeps_the_order(seed, side, stages, tmp_path, dl=False)


@pytest.mark.long
@settings(max_examples=60, deadline=None, suppress_health_check=FREELY)
@CHAINS
def test_an_image_keeps_its_order_in_many_networks_and_in_nengodl(
    seed: int, side: int, stages: list[tuple[str, bool]], tmp_path: Path
) -> None:
    assert_every_engine_keeps_the_order(seed, side, stages, tmp_path, dl=True)


TRANSPOSES = {"to CHW": [0, 3, 1, 2], "to HWC": [0, 2, 3, 1]}


def layered(seed: int, side: int, ops: list[str]) -> tuple[Any, np.ndarray]:
    """An ONNX network of layers over such an image, whose Transposes are all that tells channels from columns."""
    rng = np.random.default_rng(seed)
    nodes, weights, now = [], {}, "x"
    for number, op in enumerate(ops):
        taken, after = [now], f"t{number}"

        def weight(shape: tuple[int, ...], name: str = after, low: float = -1) -> str:
            weights[f"{name}.w{len(weights)}"] = rng.uniform(low, 1, shape).astype(np.float32)
            return list(weights)[-1]

        attributes: dict[str, Any] = {}
        if op == "Conv":
            taken.append(weight((side, side, 3, 3)))
            attributes = {"pads": [1] * 4}
        elif op == "BatchNormalization":
            taken += [weight((side,), low=low) for low in (-1, -1, -1, 0.1)]
        elif op in ("Add", "Mul"):
            taken.append(weight((side,)))
        elif op.startswith("MaxPool"):
            attributes = {"kernel_shape": [3, 3], "pads": [1] * 4}
        elif op in TRANSPOSES:
            op, attributes = "Transpose", {"perm": TRANSPOSES[op]}
        nodes.append(helper.make_node(op, taken, [after], **attributes))
        now = after
    weights["w"] = rng.uniform(-1, 1, (side**3, 3)).astype(np.float32)
    nodes += [helper.make_node("Flatten", [now], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])]
    graph = helper.make_graph(
        nodes, "layers", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", side, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model, rng.uniform(-1, 1, (2, side, side, side)).astype(np.float32)


def no_activation(*ignored: Any) -> Any:
    raise AssertionError("no operator of these is one")


def assert_layers_are_read_as_they_are(seed: int, side: int, ops: list[str]) -> None:
    model, images = layered(seed, side, ops)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": images})
    series = images.reshape(len(images), 1, -1)
    network = read_layers(model, (), no_activation)
    for engine in (OnnxRuntimeSnnEngine, NengoEngine):
        with engine(network) as running:
            (answer,) = running.run(series).values()
        # Sums in another order, of float32.
        np.testing.assert_allclose(answer[:, 0], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


FIRST = ["BatchNormalization", "Conv", "Relu", "Add", "Mul", "MaxPool"]
"""What works on images with the channels first; Add and Mul also on the others."""


@st.composite
def orders(draw: st.DrawFn) -> list[str]:
    """Runs of operators, each over one layout, with a Transpose between them."""
    channels_last, ops = draw(st.booleans()), []
    for run in range(draw(st.integers(1, 3))):
        ops += ["to HWC" if channels_last else "to CHW"] if run else []
        ops += draw(
            st.lists(st.sampled_from(["Add", "Mul", "Relu"] if channels_last else FIRST), min_size=1, max_size=3)
        )
        channels_last = not channels_last
    return ops


LAYERS = given(seed=st.integers(0, 2**16), side=st.integers(2, 4), ops=orders())


@settings(max_examples=12, deadline=None, derandomize=True)
@LAYERS
def test_layers_over_such_an_image_are_read_as_they_are(seed: int, side: int, ops: list[str]) -> None:
    assert_layers_are_read_as_they_are(seed, side, ops)


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@LAYERS
def test_many_layers_over_such_images_are_read_as_they_are(seed: int, side: int, ops: list[str]) -> None:
    assert_layers_are_read_as_they_are(seed, side, ops)


@pytest.mark.parametrize("ops", [["BatchNormalization"], ["MaxPool", "Add"], ["MaxPool", "Mul"]])
def test_a_constant_is_of_channels_or_of_columns_as_onnx_has_it(ops: list[str]) -> None:
    assert_layers_are_read_as_they_are(0, 3, ops)
