"""NIR files: from snnTorch to ONNX Runtime spike for spike, every node against its equation, our networks there and
back to the byte, and files that mean harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench import compare, convert, load_engine, to_nengo
from workbench.__main__ import main
from workbench.errors import BadInput, UnreadableFile, UnsupportedModel
from workbench.frameworks.spiking import nir_file
from workbench.frameworks.spiking.network import Input, Node, Output, SpikingNetwork
from workbench.frameworks.spiking.nir import _network, read_nir, write_nir
from workbench.frameworks.spiking.nir_steps import stepping
from workbench.frameworks.spiking.write import write

SNNTORCH = Path(__file__).parent / "data" / "snntorch"
LONG = pytest.mark.long
DT = 0.001


def read(path: Path, dt: Any = None, method: Any = None, reset: Any = None, framework: Any = None) -> SpikingNetwork:
    """`read_nir` in this process: calling a worker takes longer than reading."""
    return _network(path, stepping(dt, method, reset, framework))


def run(network: SpikingNetwork, series: np.ndarray) -> np.ndarray:
    """The first output of a network over (batch, steps, n) in ONNX Runtime."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(write(network).SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run([network.outputs[0].name], {network.inputs[0].name: series.astype(np.float32)})[0]


def snntorch(name: str, **how: str) -> tuple[SpikingNetwork, int, int]:
    """The network of a file, how many of its spikes differ from snnTorch's, and how many those were."""
    network = read(SNNTORCH / f"{name}.nir", **how)
    with np.load(SNNTORCH / f"{name}.npz") as data:
        x, spikes = data["x"], data["spikes"]
    series = x.reshape(*x.shape[:2], -1).transpose(1, 0, 2)
    return network, int((run(network, series).transpose(1, 0, 2) != spikes).sum()), int(spikes.sum())


# --- snnTorch


@pytest.mark.parametrize(
    ("name", "reset"),
    [
        pytest.param("leaky_reset_zero", "to value", marks=LONG),
        pytest.param("leaky", "subtract late", marks=LONG),
        ("conv_synaptic", "subtract late"),
        ("recurrent", "subtract late"),
    ],
)
def test_onnx_runtime_gives_snntorchs_spikes(name: str, reset: str) -> None:
    network, different, spikes = snntorch(name, reset=reset)
    # Sums in another order could move a voltage over its threshold; in these recordings none does.
    assert different == 0 and spikes > 100
    assert network.dt == 1e-4 and "r = tau / dt everywhere" in network.notes[0]


def test_a_reset_the_file_does_not_tell_is_said_in_the_notes() -> None:
    """snnTorch subtracts the threshold by default, and writes v_reset = 0 all the same."""
    network, different, _ = snntorch("leaky")
    assert different > 0
    assert any("subtract the threshold instead, which the file does not tell" in note for note in network.notes)


@pytest.mark.parametrize("name", [pytest.param("leaky", marks=LONG), "conv_synaptic", "recurrent"])
def test_a_foreign_network_comes_back_from_a_file_of_ours(name: str, tmp_path: Path) -> None:
    network = read(SNNTORCH / f"{name}.nir", reset="subtract late")
    write_nir(network, tmp_path / "again.nir")
    assert write(read(tmp_path / "again.nir")).SerializeToString() == write(network).SerializeToString()


# --- frameworks that write r = 1, which tells no time step

FRAMEWORKS = Path(__file__).parent / "data" / "nir"
OF = [
    ("spikingjelly_lif", {"framework": "spikingjelly"}),
    ("norse_lif", {"framework": "norse"}),
    ("norse_lifbox", {"framework": "norse"}),
    ("norse_iaf", {"framework": "norse"}),
    ("norse_paper", {"framework": "norse", "dt": 1e-4}),
    ("sinabs_expleak", {"framework": "sinabs"}),
    ("sinabs_iaf", {"framework": "sinabs"}),
]


BY_NAME = {"spikingjelly_lif", "norse_lifbox", "sinabs_iaf"}
"""One recording of each framework; `make test-long` asks them all."""


@pytest.mark.parametrize(
    ("name", "how"), [pytest.param(*case, id=case[0], marks=[] if case[0] in BY_NAME else LONG) for case in OF]
)
def test_a_framework_named_gives_its_own_answers(name: str, how: dict[str, Any]) -> None:
    with np.load(FRAMEWORKS / f"{name}.npz") as data:
        x, y = data["x"], data["y"]
    answers = run(read(FRAMEWORKS / f"{name}.nir", **how), x.transpose(1, 0, 2)).transpose(1, 0, 2)
    # Spikes are the same, every one; a leaky output differs by the rounding of 60 steps.
    np.testing.assert_allclose(answers, y.astype(np.float32), rtol=1e-4, atol=1e-4 if y.dtype != bool else 0)
    assert y.any()


@pytest.mark.parametrize("name", ["spikingjelly_lif", pytest.param("sinabs_iaf", marks=LONG)])
def test_what_tells_no_time_step_is_refused_with_both_ways_out(name: str, tmp_path: Path) -> None:
    path = FRAMEWORKS / f"{name}.nir"
    asked = [read_nir, to_nengo, load_engine, lambda path: convert(path, tmp_path / "out.onnx")]
    for ask in asked:
        with pytest.raises(BadInput) as refusal:
            ask(path)
        assert "framework=" in str(refusal.value) and "dt=" in str(refusal.value)
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    ("tau", "r"),
    [(1e-4, 1.0), (0.02, 0.5), *(pytest.param(tau, 1.0, marks=LONG) for tau in (1e-5, 0.02, 20.0))],
)
def test_no_guess_makes_a_neuron_forget_within_a_step(tau: float, r: float, tmp_path: Path) -> None:
    one = np.ones(2, np.float32)
    lif = nir.LIF(tau * one, r * one, 0 * one, one)
    nir.write(tmp_path / "m.nir", nir.NIRGraph.from_list(nir.Input(np.array([2])), lif, type_check=False))
    with pytest.raises(BadInput, match="how long a step is"):
        read(tmp_path / "m.nir")
    with pytest.raises(UnsupportedModel, match="forgets all"):
        read(tmp_path / "m.nir", dt=float(np.float32(tau)))


def test_time_constants_in_seconds_are_not_taken_for_those_of_norses_later_files() -> None:
    with pytest.raises(BadInput, match="pass dt= as well"):
        read(FRAMEWORKS / "norse_paper.nir", framework="norse")


def test_a_comparison_reads_a_file_as_its_conversion_did(tmp_path: Path) -> None:
    source = FRAMEWORKS / "spikingjelly_lif.nir"
    made = convert(source, tmp_path / "sj.onnx", framework="spikingjelly").output
    with np.load(FRAMEWORKS / "spikingjelly_lif.npz") as data:
        x = data["x"].transpose(1, 0, 2).astype(np.float32)
    assert compare(source, made, x, repeat=1, seconds=0.1).agreement.within_tolerance


def test_every_door_takes_the_framework(tmp_path: Path) -> None:
    source = tmp_path / "sj.nir"
    source.write_bytes((FRAMEWORKS / "spikingjelly_lif.nir").read_bytes())
    made = tmp_path / "sj.onnx"
    assert main(["convert", str(source), "-o", str(made), "--option", "framework=spikingjelly"]) == 0
    with np.load(FRAMEWORKS / "spikingjelly_lif.npz") as data:
        x, y = data["x"].transpose(1, 0, 2).astype(np.float32), data["y"].transpose(1, 0, 2)
    for engine in (load_engine(made, "onnxruntime"), load_engine(source, "nengo", framework="spikingjelly")):
        with engine:
            (spikes,) = engine.run(x).values()
        assert (spikes == y).all()
    assert to_nengo(source, framework="spikingjelly").spiking_network.dt == 1e-4
    with pytest.raises(BadInput, match="framework"):
        load_engine(made, "nengo", framework="spikingjelly")


# --- each node against its equation


def one(tmp_path: Path, *nodes: nir.NIRNode) -> SpikingNetwork:
    nir.write(tmp_path / "one.nir", nir.NIRGraph.from_list(*nodes, type_check=False))
    return read(tmp_path / "one.nir", dt=DT)


def euler(x: np.ndarray, tau=np.inf, r=1.0, leak=0.0, threshold=np.inf, reset=0.0) -> tuple[np.ndarray, np.ndarray]:
    """tau v' = leak - v + r x over (steps, n) in float64: (spikes, voltages before the reset); tau inf: v' = r x."""
    v, spikes, voltages = np.zeros(x.shape[1]), [], []
    for step in x:
        v = v + (DT * r * step if np.isinf(tau).all() else DT / tau * (leak - v + r * step))
        voltages.append(v)
        spikes.append(v > threshold)
        v = np.where(v > threshold, reset, v)
    return np.array(spikes, float), np.array(voltages)


N = 6
rng = np.random.RandomState(3)
x = rng.rand(80, N) * 3
f = lambda low, high: rng.uniform(low, high, N).astype(np.float32)  # noqa: E731
tau, tau_syn, r, leak, w_in = f(0.005, 0.02), f(0.004, 0.01), f(1, 2), f(0, 0.5), f(1, 3)
threshold, reset = f(0.8, 1.2), f(-0.3, 0.1)
current = euler(x, tau_syn, w_in)[1]
EQUATIONS = {
    "LIF": (nir.LIF(tau, r, leak, threshold, reset), euler(x, tau, r, leak, threshold, reset)[0]),
    "IF": (nir.IF(r * 100, threshold, reset), euler(x, r=r * 100, threshold=threshold, reset=reset)[0]),
    "LI": (nir.LI(tau, r, leak), euler(x, tau, r, leak)[1]),
    "I": (nir.I(r), euler(x, r=r)[1]),
    "CubaLIF": (
        nir.CubaLIF(tau_syn, tau, r, leak, threshold, reset, w_in),
        euler(current, tau, r, leak, threshold, reset)[0],
    ),
    "CubaLI": (nir.CubaLI(tau_syn, tau, r, leak, w_in), euler(current, tau, r, leak)[1]),
    "Threshold": (nir.Threshold(threshold), (x > threshold).astype(float)),
    "Scale": (nir.Scale(r), x * r),
    "Affine": (nir.Affine(np.diag(r)[::-1].copy(), leak), x @ np.diag(r)[::-1].T + leak),
    "Delay": (nir.Delay(np.full(N, 0.003)), np.vstack([np.zeros((3, N)), x[:-3]])),
}


@pytest.mark.parametrize("kind", EQUATIONS)
def test_a_node_does_what_its_equation_says(kind: str, tmp_path: Path) -> None:
    node, expected = EQUATIONS[kind]
    result = run(one(tmp_path, nir.Input(np.array([N])), node), x[None])[0]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)  # 80 steps of float32 against float64
    assert kind not in ("LIF", "IF", "CubaLIF") or 0 < expected.mean() < 1


def test_the_exact_method_is_the_solution_of_the_equation(tmp_path: Path) -> None:
    nir.write(tmp_path / "m.nir", nir.NIRGraph.from_list(nir.Input(np.array([N])), nir.LI(tau, r, leak)))
    result = run(read(tmp_path / "m.nir", dt=DT, method="exact"), np.full((1, 40, N), 2.0))[0]
    time = DT * np.arange(1, 41)[:, None]
    np.testing.assert_allclose(result, (leak + r * 2.0) * (1 - np.exp(-time / tau)), rtol=1e-4)


def convolved(image: np.ndarray, kernel: np.ndarray, stride: int, pad: int) -> np.ndarray:
    image = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel.shape[2:], (1, 2))[:, ::stride, ::stride]
    return np.einsum("chwij,ocij->ohw", windows, kernel)


def test_convolution_and_pooling_do_what_pytorch_does(tmp_path: Path) -> None:
    image, kernel, bias = rng.randn(2, 9, 9), rng.randn(3, 2, 2, 2).astype(np.float32), rng.randn(3).astype(np.float32)
    wide = np.zeros((3, 2, 3, 3), np.float32)
    wide[:, :, ::2, ::2] = kernel  # dilation 2
    network = one(
        tmp_path,
        nir.Input(np.array([2, 9, 9])),
        nir.Conv2d((9, 9), kernel, 1, 1, 2, 1, bias),
        nir.SumPool2d(np.array([3, 3]), np.array([2, 2]), np.array([0, 0])),
        nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([1, 1])),
        nir.Flatten({"input": np.array([3, 3, 3])}, 0, -1),
    )
    expected = convolved(image, wide, 1, 1) + bias[:, None, None]
    each = np.eye(3)[:, :, None, None]
    expected = convolved(expected, each * np.ones((3, 3)), 2, 0)
    expected = convolved(expected, each * np.full((2, 2), 0.25), 2, 1)  # PyTorch's average counts the padding
    result = run(network, image.reshape(1, 1, -1))[0, 0]
    np.testing.assert_allclose(result, expected.ravel(), rtol=1e-4, atol=1e-4)


def test_a_one_dimensional_convolution_is_an_image_one_pixel_high(tmp_path: Path) -> None:
    signal, kernel = rng.randn(2, 10), rng.randn(4, 2, 3).astype(np.float32)
    network = one(tmp_path, nir.Input(np.array([2, 10])), nir.Conv1d(10, kernel, 2, "valid", 1, 1, np.zeros(4, "f4")))
    expected = convolved(signal[:, None], kernel[:, :, None], 1, 0)[:, 0, ::2]
    np.testing.assert_allclose(run(network, signal.reshape(1, 1, -1))[0, 0], expected.ravel(), rtol=1e-4, atol=1e-5)


def test_several_edges_are_summed_and_subgraphs_are_laid_open(tmp_path: Path) -> None:
    inner = nir.NIRGraph(
        {"in": nir.Input(np.array([N])), "s": nir.Scale(r), "out": nir.Output(np.array([N]))},
        [("in", "s"), ("s", "out")],
    )
    nodes = {
        "input": nir.Input(np.array([N])),
        "sub": inner,
        "li": nir.LI(tau, r, leak),
        "y": nir.Output(np.array([N])),
    }
    edges = [("input", "sub"), ("sub", "li"), ("input", "li"), ("li", "y")]
    nir.write(tmp_path / "g.nir", nir.NIRGraph(nodes, edges, type_check=False))
    network = read(tmp_path / "g.nir", dt=DT)
    assert {node.name: node.op for node in network.nodes}["sub.s"] == "Scale"
    np.testing.assert_allclose(run(network, x[None])[0], euler(x * r + x, tau, r, leak)[1], rtol=1e-4, atol=1e-5)


# --- ours, there and back


@st.composite
def lif_networks(draw: st.DrawFn) -> SpikingNetwork:
    """An image, perhaps a convolution and pooling, dense LIF layers, synapses, perhaps a loop; odd names."""
    seed = np.random.RandomState(draw(st.integers(0, 999)))
    channels, side = draw(st.integers(1, 3)), draw(st.integers(4, 7))
    order = draw(st.sampled_from(["CHW", "HWC"]))
    size = channels * side * side
    nodes: list[Node] = []

    def make(op: str, name: str, shape: tuple[int, ...], weights: dict[str, np.ndarray], **said: object) -> None:
        nodes.append(Node(op, name, (nodes[-1].name if nodes else "x",), shape, weights, said))

    def values(*shape: int) -> np.ndarray:
        return seed.randn(*shape).astype(np.float32)

    def lif(name: str, shape: tuple[int, ...]) -> None:
        ones = draw(st.sampled_from([(1,) * (len(shape) + 1), (1, *shape)]))
        weights = {"gain": values(*ones), "bias": values(*ones)}
        weights |= {"voltage": abs(values(1, *shape)), "refractory_time": np.zeros((1, *shape), np.float32)}
        tau_rc = draw(st.sampled_from([0.02, 0.1]))
        make("LIF", name, shape, weights, tau_rc=tau_rc, tau_ref=0.002, min_voltage=0.0, amplitude=0.01)

    make("Image", "as image", (channels, side, side), {}, order=order)
    pad = draw(st.integers(0, 1))
    weights = {"weight": values(2, channels, 3, 3)} | ({"bias": values(2)} if draw(st.booleans()) else {})
    after = side + 2 * pad - 2
    make("Conv", "conv/1", (2, after, after), weights, strides=[1, 1], pads=[pad] * 4, group=1)
    lif("conv/1/lif", (2, after, after))
    if draw(st.booleans()):
        after //= 2
        make("AveragePool", "pool", (2, after, after), {}, kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4)
    make("Flatten", "flat", (2 * after * after,), {}, order=draw(st.sampled_from(["CHW", "HWC"])))
    make("Gemm", "dense", (5,), {"weight": values(2 * after * after, 5), "bias": values(5)})
    lif("dense_lif", (5,))
    if draw(st.booleans()):
        make("Slice", "some", (3,), {"indices": np.array([4, 0, 2])})
        make("Place", "placed", (6,), {}, start=2, size=6)
        make("Scale", "scaled", (6,), {"weight": values(1, 1)})
        make("Bias", "shifted", (6,), {"bias": values(1, 6)})
    width = nodes[-1].size
    if draw(st.booleans()):  # the layer hears itself
        make("Gemm", "back", (5,), {"weight": values(width, 5)})
        make("Lowpass", "loop", (5,), {"level": np.zeros((1, 5), np.float32)}, tau=draw(st.sampled_from([0.0, 0.005])))
        dense = next(node for node in nodes if node.name == "dense")
        lif_node = next(node for node in nodes if node.name == "dense_lif")
        nodes.append(Node("Sum", "total", (dense.name, "loop"), (5,)))
        lif_node.inputs = ("total",)
        source = lif_node.name
    else:
        source = nodes[-1].name
    shape = next(node.shape for node in nodes if node.name == source)
    zeros = {state: np.zeros((1, *shape), np.float32) for state in ("rise", "level")}
    nodes.append(Node("Alpha", "filtered", (source,), shape, zeros, {"tau": 0.03}))
    outputs = [Output("out", "filtered"), Output("raw", source)]
    return SpikingNetwork("net", 0.001, [Input("x", size)], nodes, outputs, {"": 3}, ["a note"], {"key": "value"})


def _every_network_comes_back(network: SpikingNetwork, tmp_path: Path) -> None:
    write_nir(network, tmp_path / "n.nir")
    back = read(tmp_path / "n.nir")
    assert write(back).SerializeToString() == write(network).SerializeToString()
    assert [node.name for node in back.nodes] == [node.name for node in network.nodes]
    assert (back.notes, back.seeds, back.metadata, back.dt) == (["a note"], {"": 3}, {"key": "value"}, 0.001)


NETWORKS = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=5, **NETWORKS)
@given(network=lif_networks())
def test_a_network_comes_back_to_the_byte(network: SpikingNetwork, tmp_path: Path) -> None:
    _every_network_comes_back(network, tmp_path)


@LONG
@settings(max_examples=60, **NETWORKS)
@given(network=lif_networks())
def test_many_networks_come_back_to_the_byte(network: SpikingNetwork, tmp_path: Path) -> None:
    _every_network_comes_back(network, tmp_path)


def test_other_readers_find_nengos_neuron_in_nirs_fields(tmp_path: Path) -> None:
    """nir's own reader, with its type check."""
    ones = np.ones((1, 3), np.float32)
    states = {"voltage": ones * 0.5, "refractory_time": ones * 0}
    said = {"tau_rc": 0.02, "tau_ref": 0.002, "min_voltage": 0.0, "amplitude": 0.01}
    lif = Node("LIF", "a/b", ("x",), (3,), {"gain": ones * 2, "bias": ones, **states}, said)
    write_nir(SpikingNetwork("n", DT, [Input("x", 3)], [lif], [Output("y", "a/b")]), tmp_path / "n.nir")
    graph = nir.read(tmp_path / "n.nir")
    neuron, scale = graph.nodes["a_b"], graph.nodes["a_b.amplitude"]
    fields = {name: getattr(neuron, name).tolist() for name in ("r", "v_leak", "v_threshold", "v_reset")}
    assert fields == {"r": [2] * 3, "v_leak": [1] * 3, "v_threshold": [1] * 3, "v_reset": [0] * 3}
    assert neuron.tau == pytest.approx(0.02) and scale.scale == pytest.approx(10)  # amplitude / dt


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (Node("SpikingRectifiedLinear", "n", ("x",), (4,)), r"NIR cannot hold SpikingRectifiedLinear \('n'\)"),
        (Node("Softmax", "s", ("x",), (4,)), r"NIR cannot hold Softmax \('s'\)"),
    ],
)
def test_what_nir_cannot_hold_is_named_and_nothing_is_written(node: Node, says: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=says):
        write_nir(SpikingNetwork("n", DT, [Input("x", 4)], [node], [Output("y", node.name)]), tmp_path / "n.nir")
    assert list(tmp_path.iterdir()) == []


def test_an_uneven_padding_is_refused(tmp_path: Path) -> None:
    image = Node("Image", "i", ("x",), (1, 4, 4), {}, {"order": "CHW"})
    said = {"strides": [2, 2], "pads": [0, 0, 1, 1], "group": 1}
    conv = Node("Conv", "c", ("i",), (1, 2, 2), {"weight": np.ones((1, 1, 3, 3), np.float32)}, said)
    flat = Node("Flatten", "f", ("c",), (4,), {}, {"order": "CHW"})
    with pytest.raises(UnsupportedModel, match=r"Conv \('c'\): its padding is uneven"):
        write_nir(
            SpikingNetwork("n", DT, [Input("x", 16)], [image, conv, flat], [Output("y", "f")]), tmp_path / "n.nir"
        )


# --- what does not fit, and what means harm


def test_a_step_longer_than_a_time_constant_is_refused(tmp_path: Path) -> None:
    nir.write(tmp_path / "m.nir", nir.NIRGraph.from_list(nir.Input(np.array([N])), nir.LI(tau, r, leak)))
    with pytest.raises(UnsupportedModel, match=r"step of 0\.1 s a neuron .* forgets all"):
        read(tmp_path / "m.nir", dt=0.1)


def test_a_delay_of_no_whole_number_of_steps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="whole number of steps"):
        one(tmp_path, nir.Input(np.array([2])), nir.Delay(np.array([0.001, 0.0015])))


@pytest.mark.parametrize("kept", [500, *(pytest.param(kept, marks=LONG) for kept in (0, 8, 20000, -100))])
def test_a_truncated_file_is_said_to_be_one(kept: int, tmp_path: Path) -> None:
    (tmp_path / "cut.nir").write_bytes((SNNTORCH / "leaky.nir").read_bytes()[:kept])
    with pytest.raises(UnreadableFile, match="truncated"):
        read_nir(tmp_path / "cut.nir")


def test_hdf5_that_is_no_nir_is_said_to_be_so(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.nir", "w") as file:
        file["data"] = np.ones(3)
    with pytest.raises(UnreadableFile, match="holds no NIR graph"):
        read_nir(tmp_path / "other.nir")


def _edited(tmp_path: Path, edit) -> Path:
    path = tmp_path / "edited.nir"
    path.write_bytes((SNNTORCH / "leaky.nir").read_bytes())
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def _bomb(file: h5py.File) -> None:
    del file["node/nodes/0/weight"]
    file["node/nodes/0"].create_dataset("weight", (10**6, 10**6), "f4", chunks=(1000, 1000))  # a few bytes on disk


def _link(file: h5py.File) -> None:
    file["node/nodes/0/extra"] = h5py.ExternalLink("/etc/hostname", "/")


def _outside(file: h5py.File) -> None:
    del file["node/nodes/0/bias"]
    file["node/nodes/0"].create_dataset("bias", (30,), "f4", external=[("/etc/passwd", 0, 120)])


def _ring(file: h5py.File) -> None:
    file["node/nodes/ring"] = file["node"]


def _unknown(file: h5py.File) -> None:
    del file["node/nodes/1/type"]
    file["node/nodes/1/type"] = "os.system"


def _misfit(file: h5py.File) -> None:
    del file["node/nodes/0/weight"]
    file["node/nodes/0/weight"] = np.ones((30, 7), np.float32)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (_bomb, "holds more than"),
        (_link, "link to elsewhere"),
        (_outside, "elsewhere than in the file"),
        (_ring, "groups inside each other"),
        (_unknown, "not a sound NIR graph"),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_a_file_that_means_harm_is_not_opened(edit, says: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=says):
        read(_edited(tmp_path, edit))


def test_a_weight_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"'0' has a matrix \(30, 7\) and takes a signal \(20,\)"):
        read(_edited(tmp_path, _misfit))


@pytest.mark.parametrize(
    "node",
    [
        nir.LI(np.float32([1]), np.float32([1]), np.float32([0])),
        nir.SumPool2d(np.array([10**5] * 2), np.array([1, 1]), np.array([0, 0])),
        nir.Conv2d((9, 9), np.ones((1, 1, 2, 2), "f4"), 1, 0, 10**9, 1, np.zeros(1, "f4")),
        nir.Delay(np.full(10**6, 0.999)),
    ],
    ids=["signal", "pool", "dilation", "delay"],
)
def test_shapes_that_fill_the_memory_are_refused(node: nir.NIRNode, tmp_path: Path) -> None:
    signal = {"LI": [10**9], "Delay": [10**6]}.get(type(node).__name__, [1, 9, 9])
    with pytest.raises(UnsupportedModel, match=r"numbers a step|wide over an image"):
        one(tmp_path, nir.Input(np.array(signal)), node, nir.Output(np.array([1])))


def test_much_text_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nir_file, "MAX_TEXT", 20)
    with pytest.raises(UnreadableFile, match="characters of text"):
        nir_file.read(SNNTORCH / "leaky.nir")  # in this process, where the limit is another one
