"""Nengo networks as spiking networks and back: nothing lost, nothing changed, nothing dropped in silence."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nengo
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import convert, load_engine
from workbench.errors import BadInput, UnsupportedModel
from workbench.frameworks.spiking.from_nengo import from_nengo, inputs_of, outputs_of
from workbench.frameworks.spiking.network import Input, Node, Output, SpikingNetwork
from workbench.frameworks.spiking.neurons import NEURONS
from workbench.frameworks.spiking.to_nengo import to_nengo

# Nengo solves decoders and tuning curves of neurons that never fire, and says so.
pytestmark = pytest.mark.filterwarnings("ignore")
DT = 1 / 1024


def facts(network: SpikingNetwork) -> dict[str, Any]:
    """Everything of a network that can be compared, weights by their bytes; dicts where order means nothing."""
    nodes = {
        node.name: (
            node.op,
            node.inputs,
            node.shape,
            {key: (array.dtype.str, array.shape, array.tobytes()) for key, array in node.weights.items()},
            node.attributes,
        )
        for node in network.nodes
    }
    return {
        "name": network.name,
        "dt": network.dt,
        "inputs": network.inputs,
        "outputs": network.outputs,
        "seeds": network.seeds,
        "homes": network.homes,
        "nodes": nodes,
    }


def assert_comes_back(network: SpikingNetwork) -> nengo.Network:
    """Through Nengo and back the network is the same; gives the Nengo network."""
    net = to_nengo(network)
    back = from_nengo(net, network.dt)
    assert facts(back) == facts(network)
    assert [node.name for node in back.nodes] == [node.name for node in network.nodes]
    assert (back.notes, back.metadata) == (network.notes, network.metadata)
    return net


def assert_nengo_says_it_all(network: SpikingNetwork) -> None:
    """The Nengo objects alone give the network, but for the order of its nodes: without the description beside them."""
    net = to_nengo(network)
    net.spiking_network = None
    assert facts(from_nengo(net, network.dt)) == facts(network)


def run(net: nengo.Network, node: nengo.Node, series: np.ndarray, dt: float = 0.001) -> dict[str, np.ndarray]:
    """Run in nengo.Simulator, with `series` (steps, n) at an input: {probe label: (steps, n)}."""
    node.output = lambda t: series[min(len(series), round(t / dt)) - 1]
    with nengo.Simulator(net, dt=dt, progress_bar=False) as simulator:
        simulator.run_steps(len(series), progress_bar=False)
        return {probe.label: np.array(simulator.data[probe]) for probe in net.all_probes}


# --- generated networks

TYPES = {
    "LIF": lambda: nengo.LIF(tau_rc=0.03, tau_ref=0.001, min_voltage=-np.inf, amplitude=0.01),
    "AdaptiveLIF": lambda: nengo.AdaptiveLIF(tau_n=0.1),
    "AdaptiveLIFRate": lambda: nengo.AdaptiveLIFRate(inc_n=0.02),
    "LIFRate": nengo.LIFRate,
    "SpikingRectifiedLinear": nengo.SpikingRectifiedLinear,
    "RectifiedLinear": lambda: nengo.RectifiedLinear(amplitude=0.3),
    "Izhikevich": lambda: nengo.Izhikevich(reset_recovery=2),
    "SigmoidRate": lambda: nengo.Sigmoid(tau_ref=0.001),
    "TanhRate": nengo.Tanh,
    "RegularSpikingLIFRate": lambda: nengo.RegularSpiking(nengo.LIFRate(tau_rc=0.05), amplitude=2),
    "RegularSpikingRectifiedLinear": lambda: nengo.RegularSpiking(nengo.RectifiedLinear()),
    "RegularSpikingTanhRate": lambda: nengo.RegularSpiking(nengo.Tanh()),
}
SYNAPSES = st.sampled_from([None, 0.005, 0.1, 0, nengo.Alpha(0.02), nengo.Lowpass(1 / 3)])


def eighths(draw: st.DrawFn, *shape: int) -> np.ndarray:
    """Random multiples of 1/8 in [-1, 1], which sums and products of float32 hold exactly."""
    return np.random.RandomState(draw(st.integers(0, 2**31))).randint(-8, 9, shape) / 8


@st.composite
def image_networks(draw: st.DrawFn, exact: bool = False) -> nengo.Network:
    """A few convolutions, neurons, scalings and matrices. exact: nothing that would round, so no synapse either."""

    def label(word: str) -> str | None:
        return draw(st.sampled_from([None, word, f"{word} {len(net.all_connections)}"]))

    def synapse() -> Any:
        return None if exact else draw(SYNAPSES)

    def constant(post: Any) -> None:
        kind = draw(st.sampled_from(["none", "channels", "full"]))
        if kind == "channels":
            column = nengo.Node(size_in=shape.n_channels)
            nengo.Connection(nengo.Node([1]), column, transform=eighths(draw, shape.n_channels, 1), synapse=None)
            sides = np.arange(shape.size).reshape(shape.shape)
            numbers = np.indices(shape.shape)[-1 if shape.channels_last else 0]
            spread = nengo.Sparse((shape.size, shape.n_channels), indices=np.stack([sides, numbers], -1).reshape(-1, 2))
            nengo.Connection(column, post, transform=spread, synapse=None)
        elif kind == "full":
            nengo.Connection(nengo.Node(eighths(draw, shape.size) + 1 / 16), post, synapse=None)

    def neurons() -> Any:
        name = "SpikingRectifiedLinear RectifiedLinear".split() if exact else list(TYPES)
        name = draw(st.sampled_from(name))
        gain = draw(st.sampled_from([np.ones(shape.size), eighths(draw, shape.size), np.full(shape.size, 64.0)]))
        start = {"voltage": np.abs(eighths(draw, shape.size)) / 2} if "Spiking" in name else None
        kind = TYPES[name]() if not exact else getattr(nengo, name)(initial_state=start)
        return nengo.Ensemble(
            shape.size, 1, neuron_type=kind, gain=gain, bias=eighths(draw, shape.size), label=label("neurons")
        ).neurons

    with nengo.Network(seed=draw(st.integers(0, 99)), label=draw(st.sampled_from([None, "net"]))) as net:
        last = draw(st.booleans())
        sides, channels = draw(st.tuples(st.integers(3, 7), st.integers(3, 7))), draw(st.integers(1, 4))
        shape = nengo.transforms.ChannelShape((*sides, channels) if last else (channels, *sides), channels_last=last)
        x = nengo.Node(np.zeros(shape.size), label="input")
        net.source = x
        for _ in range(draw(st.integers(1, 4))):
            layer = draw(st.sampled_from(["conv", "conv", "neurons", "neurons", "scale", "relay"]))
            if layer == "conv":
                kernel = tuple(min(draw(st.integers(1, 3)), side) for side in shape.spatial_shape)
                groups = draw(st.sampled_from([1, shape.n_channels]))
                filters = groups * draw(st.integers(1, 2))
                transform = nengo.Convolution(
                    filters,
                    shape,
                    kernel,
                    (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
                    draw(st.sampled_from(["same", "valid"])),
                    last,
                    eighths(draw, *kernel, shape.n_channels // groups, filters),
                    groups,
                )
                shape = transform.output_shape
                post = draw(st.booleans())
                post = neurons() if post else nengo.Node(size_in=shape.size, label=label("conv"))
                nengo.Connection(x, post, transform=transform, synapse=synapse(), label=label("weights"))
                constant(post)
            else:
                post = neurons() if layer == "neurons" else nengo.Node(size_in=shape.size, label=label(layer))
                factor = draw(st.sampled_from([0.5, eighths(draw, shape.size)]))
                how = {"transform": factor} if layer == "scale" else {}
                nengo.Connection(x, post, synapse=synapse(), label=label("link"), **how)
                constant(post)
            x = post
        if draw(st.booleans()):
            out = nengo.Node(size_in=5, label=label("dense"))
            pick = draw(st.sampled_from([slice(None), slice(None, None, -1), slice(0, 2), range(x.size_out)[::-2]]))
            pick = pick if isinstance(pick, slice) else list(pick)
            size = np.arange(x.size_out)[pick].size
            nengo.Connection(x[pick], out, transform=eighths(draw, 5, size), synapse=synapse())
            if draw(st.booleans()):
                nengo.Connection(nengo.Node([1], label="dense.bias"), out, transform=eighths(draw, 5, 1), synapse=None)
            x = out
        nengo.Probe(x, synapse=synapse(), label=label("probe") or "probe")
        nengo.Probe(x[:2], synapse=synapse(), label="slice")
    return net


@st.composite
def neural_networks(draw: st.DrawFn) -> nengo.Network:
    """Ensembles with encoders and decoders, connected at random, cycles included."""
    with nengo.Network(seed=draw(st.integers(0, 99))) as net:
        stimuli = [nengo.Node(np.zeros(2), label="stimulus"), nengo.Node([0.5]), nengo.Node(lambda t: [t, -t])]
        ensembles = []
        for _ in range(draw(st.integers(1, 3))):
            kind = draw(st.sampled_from([name for name in TYPES if name != "Izhikevich"]))
            ens = nengo.Ensemble(
                draw(st.integers(1, 6)),
                2,
                radius=draw(st.sampled_from([1, 3])),
                neuron_type=TYPES[kind](),
                # A sigmoid's gain is positive where it goes beyond half its highest rate.
                max_rates=nengo.dists.Uniform(600, 900) if kind == "SigmoidRate" else nengo.dists.Uniform(50, 100),
                # Every neuron fires somewhere: without that, decoders cannot be solved.
                intercepts=nengo.dists.Uniform(-1, -0.5),
                label=draw(st.sampled_from([None, "ens"])),
                seed=draw(st.sampled_from([None, 7])),
            )
            ensembles.append(ens)
        relays = [nengo.Node(size_in=2, label=draw(st.sampled_from([None, "relay"]))) for _ in range(2)]
        ends = [*ensembles, *relays]
        nengo.Connection(stimuli[0], ensembles[0])
        for _ in range(draw(st.integers(0, 7))):
            pre, post = draw(st.sampled_from([*stimuli, *ends])), draw(st.sampled_from(ends))
            # Only a connection forward may go without a synapse: no cycle then lacks one.
            forward = pre in stimuli or ends.index(pre) < ends.index(post)
            synapse = draw(SYNAPSES) if forward else draw(SYNAPSES.filter(lambda one: one is not None))
            how: dict[str, Any] = {"synapse": synapse, "label": draw(st.sampled_from([None, "link"]))}
            kind = draw(st.sampled_from(["plain", "matrix", "function", "slices", "neurons", "scattered", "weights"]))
            if pre is stimuli[1]:
                nengo.Connection(pre, post[1], **how)
            elif kind == "matrix":
                nengo.Connection(pre, post, transform=eighths(draw, 2, 2), **how)
            elif kind == "function" and pre in ensembles:
                nengo.Connection(pre, post, function=lambda x: x[::-1] ** 2, **how)
            elif kind == "slices":
                nengo.Connection(pre[1], post[0], **how)
            elif kind == "scattered":
                nengo.Connection(pre, post[[1, 0]], **how)
            elif kind == "weights" and pre in ensembles and post in ensembles:
                nengo.Connection(pre, post, solver=nengo.solvers.LstsqL2(weights=True), **how)
            elif kind == "neurons" and pre in ensembles and post in ensembles:
                matrix = eighths(draw, post.n_neurons, pre.n_neurons)
                nengo.Connection(pre.neurons, post.neurons, transform=matrix, **how)
            else:
                nengo.Connection(pre, post, **how)
        for end in ends:
            nengo.Probe(end, synapse=draw(SYNAPSES), label=draw(st.sampled_from([None, "probe"])))
        nengo.Probe(ensembles[0].neurons)
    return net


ANY = given(st.one_of(image_networks(), neural_networks()))
EXACT = given(image_networks(exact=True), st.integers(0, 99))


@settings(max_examples=30, deadline=None)
@ANY
def test_networks_of_images_and_ensembles_come_back_through_nengo(net: nengo.Network) -> None:
    assert_described_whole(net)


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@ANY
def test_many_networks_come_back_through_nengo(net: nengo.Network) -> None:
    assert_described_whole(net)


def assert_described_whole(net: nengo.Network) -> None:
    network = from_nengo(net)
    assert_comes_back(network)
    assert_nengo_says_it_all(network)


@settings(max_examples=8, deadline=None)
@EXACT
def test_what_comes_back_runs_bit_for_bit_as_before_where_nothing_rounds(net: nengo.Network, seed: int) -> None:
    assert_it_runs_as_before(net, seed)


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@EXACT
def test_many_that_come_back_run_bit_for_bit_as_before(net: nengo.Network, seed: int) -> None:
    assert_it_runs_as_before(net, seed)


def assert_it_runs_as_before(net: nengo.Network, seed: int) -> None:
    series = np.random.RandomState(seed).randint(-64, 65, (12, net.source.size_out)) * 8.0
    network = from_nengo(net, DT)
    again = to_nengo(network)
    expected = run(net, net.source, series, DT)
    got = run(again, again.inputs["input"], series, DT)
    assert expected.keys() == got.keys()
    for label in expected:
        np.testing.assert_array_equal(got[label], expected[label])


@settings(max_examples=8, deadline=None)
@given(neural_networks())
def test_building_and_reading_change_nothing_in_the_users_network(net: nengo.Network) -> None:
    def state() -> list[tuple[Any, ...]]:
        return [(type(thing).__name__, thing.label, thing.seed, str(vars(thing).keys())) for thing in net.all_objects]

    before = state()
    with nengo.Simulator(net, progress_bar=False) as simulator:
        simulator.run_steps(3, progress_bar=False)
        data = {probe: simulator.data[probe].copy() for probe in net.all_probes}
        from_nengo(simulator)
        assert simulator.n_steps == 3
        for probe, values in data.items():
            np.testing.assert_array_equal(simulator.data[probe], values)
    assert state() == before


# --- particular networks


def test_a_neural_network_spikes_as_before() -> None:
    """500 steps: the weights are rounded to float32, which changes values by 1e-7, and no spike."""
    with nengo.Network(seed=3) as net:
        stimulus = nengo.Node([0.0], label="stimulus")
        stimulus.output = np.zeros(1)
        a = nengo.Ensemble(50, 2, label="a", radius=2)
        b = nengo.Ensemble(40, 2, label="b", neuron_type=nengo.AdaptiveLIF())
        nengo.Connection(stimulus, a[0])
        nengo.Connection(a, b, function=lambda x: x**2)
        nengo.Connection(b, a, synapse=0.1, transform=0.3)
        nengo.Probe(a, synapse=0.01, label="value")
        nengo.Probe(a.neurons, label="spikes of a")
        nengo.Probe(b.neurons, label="spikes of b")
    network = from_nengo(net)
    assert network.recurrent
    again = to_nengo(network)
    # A real ensemble, with its encoders, so that Nengo GUI has a value to show.
    assert {ens.label: ens.dimensions for ens in again.all_ensembles} == {"a": 2, "b": 2}
    series = np.sin(np.arange(500) / 80)[:, None]
    expected, got = run(net, stimulus, series), run(again, again.inputs["stimulus"], series)
    assert expected["spikes of a"].any() and expected["spikes of b"].any()
    np.testing.assert_array_equal(got["spikes of a"], expected["spikes of a"])
    np.testing.assert_array_equal(got["spikes of b"], expected["spikes of b"])
    np.testing.assert_allclose(got["value"], expected["value"], atol=1e-6)


def test_names_come_from_labels_and_are_made_unique() -> None:
    with nengo.Network() as net:
        source = nengo.Node([0.0], label="x")
        first, second = (nengo.Ensemble(3, 1, gain=np.ones(3), bias=np.zeros(3), label="x") for _ in range(2))
        third = nengo.Ensemble(3, 1, neuron_type=nengo.LIFRate(), gain=np.ones(3), bias=np.zeros(3))
        nengo.Connection(source, first.neurons, transform=np.ones((3, 1)), synapse=None, label="in")
        nengo.Connection(first.neurons, second.neurons, synapse=0.1)
        nengo.Connection(second.neurons, third.neurons, transform=np.ones((3, 3)), synapse=0.2)
        nengo.Probe(third.neurons, synapse=0.1)
    network = from_nengo(net)
    assert [node.name for node in network.nodes] == [
        "in", "x_2", "lowpass1", "x_3", "dense1", "dense1.lowpass", "lifrate1", "probe1.lowpass",
    ]  # fmt: skip
    assert [entry.name for entry in network.inputs] == ["x"]
    assert network.outputs == [Output("probe1", "probe1.lowpass")]


def test_constant_nodes_become_biases_and_the_person_is_told() -> None:
    with nengo.Network() as net:
        source, half = nengo.Node(np.zeros(2), label="source"), nengo.Node([0.5, 1.0], label="half")
        ens = nengo.Ensemble(2, 1, gain=[2, 4], bias=[1, 1], neuron_type=nengo.RectifiedLinear())
        nengo.Connection(source, ens.neurons, synapse=None)
        nengo.Connection(half, ens.neurons, synapse=None)
        nengo.Probe(ens.neurons)
    network = from_nengo(net)
    (neurons,) = network.nodes
    np.testing.assert_array_equal(neurons.weights["bias"], [[2, 5]])
    assert any("'half'" in note for note in network.notes)
    assert inputs_of(net) == [source] and outputs_of(net) == net.probes
    with nengo.Network() as net:
        nengo.Probe(nengo.Node([0.5], label="the only node"))
    assert from_nengo(net).inputs == [Input("the only node", 1)]


def by_hand() -> SpikingNetwork:
    """Every operator without a Nengo connection of its own, pads no Nengo convolution has, both flatten orders."""
    rng = np.random.RandomState(0)

    def random(*shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape).astype(np.float32)

    pool = {"kernel_shape": [2, 2], "strides": [1, 2], "pads": [0, 0, 1, 1]}
    image = (2, 4, 3)
    conv = {"strides": [2, 1], "pads": [1, 0, 2, 1], "group": 2}
    norm = {"scale": random(2), "bias": random(2), "mean": random(2), "variance": np.abs(random(2)) + 1}
    nodes = [
        Node("Image", "image", ("x",), image, {}, {"order": "CHW"}),
        Node("Conv", "conv", ("image",), (4, 3, 3), {"weight": random(4, 1, 3, 2), "bias": random(4)}, conv),
        Node("AveragePool", "average", ("conv",), (4, 3, 2), {}, pool),
        Node("Flatten", "hwc", ("average",), (24,), {}, {"order": "HWC"}),
        Node("BatchNormalization", "norm", ("image",), image, norm, {"epsilon": 0.01}),
        Node("MaxPool", "max", ("norm",), (2, 4, 2), {}, pool),
        Node("Bias", "bias", ("max",), (2, 4, 2), {"bias": random(2, 1, 1)}),
        Node("Scale", "scale", ("bias",), (2, 4, 2), {"weight": random(2, 4, 2)}),
        Node("Flatten", "scale.flatten", ("scale",), (16,), {}, {"order": "CHW"}),
        Node("Gemm", "gemm", ("scale.flatten",), (24,), {"weight": random(16, 24), "bias": random(24)}),
        Node("Sum", "sum", ("hwc", "gemm"), (24,)),
    ]
    alphas = {"Elu": {"alpha": 0.5}, "LeakyRelu": {"alpha": 0.125}}
    outputs = [Output("hwc out", "hwc")]
    for op in ("Relu", "Sigmoid", "Tanh", "Softplus", "Elu", "Selu", "LeakyRelu", "Softmax"):
        nodes.append(Node(op, op.lower(), ("sum",), (24,), {}, alphas.get(op, {})))
        outputs.append(Output(f"{op} out", op.lower()))
    # Neurons as in PyTorch's frameworks, with weights that would fit into fewer numbers.
    drive = {"gain": np.ones((1, 24), np.float32), "bias": random(1, 24)}
    decay, start = {"decay": np.full((1, 1), 0.5, np.float32)}, {"voltage": random(1, 24)}
    reset = {"threshold": np.full((1, 24), 0.5, np.float32), "reset": np.zeros((1, 1), np.float32)}
    nodes.append(Node("LeakyIntegrator", "membrane", ("sum",), (24,), {**drive, **decay, **start}))
    fire = {**drive, **decay, **reset, **start}
    nodes.append(Node("LeakyIntegrateAndFire", "fire", ("sum",), (24,), fire, {"keep": 0.0}))
    outputs += [Output("membrane out", "membrane"), Output("fire out", "fire")]
    for op in ("LeakyVoltage", "LeakyAdaptive", "LeakyAlpha"):
        own = {key: fire[key] if key in fire else np.abs(random(1, 24)) % 1 for key in NEURONS[op].weights}
        begin = {state: np.zeros((1, 24), np.float32) for state in NEURONS[op].states}
        keep = {"keep": 0.0} if NEURONS[op].parameters else {}
        nodes.append(Node(op, op.lower(), ("sum",), (24,), {**drive, **own, **begin}, keep))
        outputs.append(Output(f"{op} out", op.lower()))
    repeated = {"indices": np.array([3, 3, 0], np.int64)}
    nodes.append(Node("Slice", "repeated", ("sum",), (3,), repeated))
    outputs.append(Output("repeated out", "repeated"))
    made = SpikingNetwork("by hand", 0.001, [Input("x", 24)], nodes, outputs, {"": 3}, ["A note."])
    made.metadata["author"] = "somebody"
    return made


def test_a_network_that_never_was_in_nengo_comes_back_and_runs_as_in_onnx_runtime() -> None:
    import onnxruntime

    from workbench.frameworks.spiking.write import write

    network = by_hand()
    net = assert_comes_back(network)
    with net:
        nengo.Probe(net.layers["average"], label="layer")
    series = np.random.RandomState(1).uniform(-2, 2, (5, 24)).astype(np.float32)
    got = run(net, net.inputs["x"], series)
    session = onnxruntime.InferenceSession(write(network).SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in network.outputs]
    assert all(got[f"{op} out"].any() for op in ("fire", "LeakyVoltage", "LeakyAdaptive", "LeakyAlpha"))
    # Images in Nengo's vectors lie as CHW here; a layer is seen as HWC all the same.
    np.testing.assert_array_equal(got["layer"], got["hwc out"])
    for name, expected in zip(names, session.run(names, {"x": series[None]}), strict=True):
        # Float64 on one side, float32 on the other, sums of a few dozen products.
        np.testing.assert_allclose(got[name], expected[0], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("op", [op for op in NEURONS if op in TYPES])
def test_every_neuron_type_keeps_its_parameters_and_start(op: str) -> None:
    with nengo.Network(seed=1) as net:
        source = nengo.Node(np.zeros(4), label="source")
        ens = nengo.Ensemble(4, 1, neuron_type=TYPES[op](), gain=np.ones(4), bias=np.arange(4.0))
        nengo.Connection(source, ens.neurons, synapse=None)
        nengo.Probe(ens.neurons, label="spikes")
    network = from_nengo(net)
    (neurons,) = network.neurons()
    assert neurons.op == op
    again = assert_comes_back(network)
    series = np.full((200, 4), 20.0)
    expected, got = run(net, source, series), run(again, again.inputs["source"], series)
    assert expected["spikes"].any()
    # The start values are rounded to float32; no neuron comes that close to its threshold here.
    np.testing.assert_allclose(got["spikes"], expected["spikes"], rtol=1e-6)


def test_attributes_read_from_float32_are_the_decimals_a_person_wrote() -> None:
    level = {"level": np.zeros((1, 2), np.float32)}
    nodes = [Node("Lowpass", "low", ("x",), (2,), level, {"tau": float(np.float32(0.02))})]
    net = to_nengo(SpikingNetwork("n", 0.001, [Input("x", 2)], nodes, [Output("y", "low")]))
    (connection,) = net.connections
    assert connection.synapse.tau == 0.02


def test_a_synapse_that_does_not_start_from_zero_is_refused() -> None:
    level = {"level": np.ones((1, 2), np.float32)}
    network = SpikingNetwork(
        "n", 0.001, [Input("x", 2)], [Node("Lowpass", "low", ("x",), (2,), level, {"tau": 0.1})], []
    )
    with pytest.raises(UnsupportedModel, match=r"synapse 'low' does not start from zero"):
        to_nengo(network)


def test_an_onnx_file_becomes_a_nengo_network(tmp_path: Path) -> None:
    import onnx

    from workbench.frameworks.spiking.read import read
    from workbench.frameworks.spiking.write import write

    path = tmp_path / "net.onnx"
    onnx.save(write(by_hand()), path)
    net = to_nengo(path)
    assert set(net.inputs) == {"x"} and set(net.outputs) == {output.name for output in by_hand().outputs}
    again = write(from_nengo(net, net.spiking_network.dt)).SerializeToString()
    assert again == write(read(path)).SerializeToString() == path.read_bytes()


# --- what no file holds, and a person feeds


def fed_from_outside() -> nengo.Network:
    """Noise of two ensembles, one with a recurrence, and a Python node between them."""
    with nengo.Network(seed=3) as net:
        x = nengo.Node([0.0], label="x")
        noise = nengo.processes.WhiteNoise(seed=1)
        first = nengo.Ensemble(30, 1, label="first", noise=noise, neuron_type=nengo.AdaptiveLIF())
        second = nengo.Ensemble(20, 1, label="second", noise=nengo.processes.FilteredNoise(seed=2))
        late = nengo.Node(lambda t, v: v, size_in=1)  # made before what it comes after
        square = nengo.Node(lambda t, v: v**2 + t, size_in=1, label="square")
        nengo.Connection(second, late, transform=3)
        nengo.Connection(x, first, synapse=None)
        nengo.Connection(first, square)
        nengo.Connection(square, second, synapse=0.01)
        nengo.Connection(second, second, synapse=0.1)
        nengo.Connection(x, second.neurons, transform=np.ones((20, 1)), synapse=None)
        nengo.Probe(first.neurons, label="spikes")
        nengo.Probe(second.neurons, label="spikes after")
    return net


def test_noise_and_python_nodes_are_inputs_that_a_person_can_feed_as_nengo_does(tmp_path: Path) -> None:
    net, steps, dt = fed_from_outside(), 200, 0.001
    before = [(node.output, node.size_out) for node in net.all_nodes], [ens.noise for ens in net.all_ensembles]
    made = convert(net, tmp_path / "n.onnx")
    assert before == (
        [(node.output, node.size_out) for node in net.all_nodes],
        [ens.noise for ens in net.all_ensembles],
    )
    assert made.agreement.within_tolerance and not made.agreement.undecided
    for name in ("'node.gets'", "'square.gets'", "'square.gives'", "'first.noise'", "'second.noise'"):
        assert any(name in sentence for sentence in made.warnings)
    # Nengo by itself, its own noise and its own Python; and the file, asked twice.
    with net:
        seen = nengo.Probe(net.all_nodes[2], label="seen")
    net.all_nodes[0].output = np.ones(1) * 0.5
    with nengo.Simulator(net, dt=dt, progress_bar=False) as simulator:
        simulator.run_steps(steps)
    fed = {"x": np.full((1, steps, 1), 0.5, np.float32), "square.gives": np.zeros((1, steps, 1), np.float32)}
    fed["node.gives"] = fed["square.gives"]
    for ens in net.all_ensembles:
        numbers = ens.noise.run_steps(steps, d=ens.n_neurons, dt=dt)
        fed[f"{ens.label}.noise"] = numbers[None].astype(np.float32)
    with load_engine(made.output, "onnxruntime") as engine:
        assert "square.gives" in engine.why
        gets = engine.run(fed)["square.gets"]
        time = (1 + np.arange(steps)).reshape(1, steps, 1) * dt
        fed["square.gives"] = (gets**2 + time).astype(np.float32)
        answers = engine.run(fed)
    np.testing.assert_allclose(fed["square.gives"][0], simulator.data[seen], rtol=1e-4)  # float32 after 200 steps
    for probe in net.all_probes[:2]:
        assert simulator.data[probe].any()
        np.testing.assert_array_equal(answers[probe.label][0] != 0, simulator.data[probe] != 0)
    described = from_nengo(net)
    again = from_nengo(to_nengo(described))
    assert [entry.name for entry in again.inputs] == [entry.name for entry in described.inputs]


# --- what is refused


class Mine(nengo.LIF):
    """A subclass may do anything."""


def ring(net: nengo.Network, source: nengo.Node) -> None:
    a, b = nengo.Node(size_in=1, label="a"), nengo.Node(size_in=1, label="b")
    nengo.Connection(a, b, synapse=None)
    nengo.Connection(b, a, synapse=None)


def comes_back(net: nengo.Network, source: nengo.Node) -> None:
    odd, ens = nengo.Node(lambda t, x: x, 1, label="odd"), nengo.Ensemble(5, 1)
    nengo.Connection(odd, ens)
    nengo.Connection(ens, odd)


def ensemble(**said: Any) -> Any:
    return lambda net, source: nengo.Connection(source, nengo.Ensemble(5, 1, label="odd", **said))


def connection(size: int = 1, **said: Any) -> Any:
    return lambda net, source: nengo.Connection(source, nengo.Node(size_in=size), label="odd", **said)


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (ensemble(neuron_type=nengo.Direct()), "The ensemble 'odd' .*Direct"),
        (ensemble(neuron_type=nengo.PoissonSpiking(nengo.AdaptiveLIFRate())), "The ensemble 'odd' .*PoissonSpiking"),
        (ensemble(neuron_type=nengo.RegularSpiking(nengo.AdaptiveLIFRate())), "The ensemble 'odd' .*RegularSpiking"),
        (ensemble(neuron_type=Mine()), "The ensemble 'odd' .*Mine"),
        (connection(synapse=nengo.synapses.Triangle(0.2)), "The connection 'odd' .*Triangle of 100 steps"),
        (connection(synapse=nengo.LinearFilter([1], [1e-6, 3e-4, 0.03, 1])), "The connection 'odd' .* of 2 states"),
        (connection(function=lambda x: x**2), "The connection 'odd' computes a Python function"),
        (connection(transform=nengo.Convolution(1, (1, 1, 1, 1), (1,) * 3, (1,) * 3)), "'odd' is a 3-D convolution"),
        (comes_back, "The node 'odd' runs Python .* comes back to it"),
        (ring, "cycle without a synapse, through .*a"),
    ],
)
def test_what_cannot_be_expressed_is_named(add: Any, message: str) -> None:
    with nengo.Network(seed=0) as net:
        source = nengo.Node([0.0], label="source")
        add(net, source)
        nengo.Probe(source)
    with pytest.raises(UnsupportedModel, match=message):
        from_nengo(net)


def test_what_is_left_out_is_noted_and_a_network_without_outputs_refused() -> None:
    with nengo.Network() as net:
        source = nengo.Node([0.0])
        ens = nengo.Ensemble(5, 1, label="ens")
        nengo.Connection(source, ens)
        nengo.Connection(ens, nengo.Node(lambda t, x: None, size_in=1, label="display"))
        nengo.Probe(ens.neurons, "refractory_time", label="rests")
        nengo.Probe(ens.neurons[:2], "voltage", label="voltages")
    with pytest.raises(UnsupportedModel, match="no probe"):
        from_nengo(net)
    with net:
        nengo.Probe(ens, sample_every=0.1, label="value")
    notes = "\n".join(from_nengo(net).notes)
    assert (
        "'rests'" in notes and "'voltages'" in notes and "'display'" in notes and "'value' samples every 0.1" in notes
    )


def test_a_closed_simulator_another_dt_and_other_things_are_refused() -> None:
    with nengo.Network() as net:
        nengo.Probe(nengo.Node([0.0]))
    with nengo.Simulator(net, dt=0.002, progress_bar=False) as simulator:
        assert from_nengo(simulator).dt == 0.002
        with pytest.raises(BadInput, match=r"dt is 0.005, but the simulator runs with 0.002"):
            from_nengo(simulator, dt=0.005)
    with pytest.raises(BadInput, match="closed"):
        from_nengo(simulator)
    with pytest.raises(BadInput, match=r"Expected a nengo\.Network"):
        from_nengo("net.onnx")


# --- NengoDL


@pytest.mark.slow
def test_a_trained_nengo_dl_network_of_layers_comes_back_and_predicts_as_before() -> None:
    import tensorflow as tf

    from workbench.snn import nengo_dl

    layers = tf.keras.layers
    with nengo.Network(seed=0) as net:
        nengo_dl.configure_settings(stateful=False)
        net.config[nengo.Connection].synapse = None
        net.config[nengo.Ensemble].max_rates = nengo.dists.Choice([100])
        net.config[nengo.Ensemble].intercepts = nengo.dists.Choice([0])
        lif = nengo.LIF(amplitude=0.01)
        x = nengo.Node(np.zeros(12 * 12 * 2), label="image")
        source = x
        for layer, shape in [
            (layers.Conv2D(4, 3, name="conv"), (12, 12, 2)),
            (lif, None),
            (
                layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", use_bias=False, name="same"),
                (10, 10, 4),
            ),
            (layers.BatchNormalization(name="norm"), (5, 5, 6)),
            (layers.MaxPooling2D(2, padding="same", name="max"), (5, 5, 6)),
            (layers.AveragePooling2D(2, strides=1, name="average"), (3, 3, 6)),
            (layers.Flatten(name="flat"), (2, 2, 6)),
            (layers.Dense(7, name="dense"), None),
            (nengo_dl.SoftLIFRate(), None),
            (layers.LeakyReLU(0.25, name="leaky"), None),
            (layers.Dropout(0.5, name="dropout"), None),
            (layers.Dense(3, name="logits"), None),
            (tf.nn.softmax, None),
        ]:
            x = nengo_dl.Layer(layer)(x, **({"shape_in": shape} if shape else {}))
        now, filtered = nengo.Probe(x, label="now"), nengo.Probe(x, synapse=0.1, label="filtered")
    start = from_nengo(net)
    assert facts(from_nengo(net)) == facts(start)
    series = np.random.RandomState(0).rand(2, 20, 288).astype(np.float32) * 20
    with nengo_dl.Simulator(net, minibatch_size=2, progress_bar=False) as simulator:
        assert facts(from_nengo(simulator)) == facts(start)
        simulator.compile(tf.optimizers.Adam(1e-2), loss={now: tf.losses.mse})
        simulator.fit(series[:, :1], {now: np.ones((2, 1, 3), np.float32)}, epochs=3, verbose=0)
        trained = from_nengo(simulator)
        expected = simulator.predict(series, verbose=0)
    assert facts(trained) != facts(start)
    assert [node.op for node in trained.nodes if node.op in ("Flatten", "MaxPool", "LeakyRelu", "Softmax")] == [
        "MaxPool", "Flatten", "LeakyRelu", "Softmax",
    ]  # fmt: skip
    assert_nengo_says_it_all(trained)
    again = assert_comes_back(trained)
    with nengo_dl.Simulator(again, minibatch_size=2, progress_bar=False) as simulator:
        assert facts(from_nengo(simulator)) == facts(trained)
        got = simulator.predict({again.inputs[source.label]: series}, verbose=0)
    # NumPy computes the pooling and activations there that TensorFlow computes here, in sums of another order: the
    # probabilities were 8e-6 apart on one processor and less than 1e-6 on another. A wrong layer shows as 1e-2.
    np.testing.assert_allclose(got[again.outputs["now"]], expected[now], rtol=0, atol=1e-4)
    np.testing.assert_allclose(got[again.outputs["filtered"]], expected[filtered], rtol=0, atol=1e-4)
    assert np.ptp(expected[now]) > 0.01


@pytest.mark.slow
def test_activations_that_are_layers_of_their_own_are_what_keras_computes(tmp_path: Path) -> None:
    import tensorflow as tf

    from workbench.snn import nengo_dl

    layers = tf.keras.layers
    with nengo.Network(seed=0) as net:
        net.config[nengo.Connection].synapse = None
        nengo_dl.configure_settings(stateful=False)
        x = source = nengo.Node(np.zeros(6), label="x")
        chain = [
            layers.Activation("tanh", name="tanh"), layers.ELU(0.5), layers.ReLU(negative_slope=0.25, name="leaky"),
            layers.ReLU(name="relu"), layers.Softmax(name="softmax"),
        ]  # fmt: skip
        after = []
        for layer in chain:
            x = nengo_dl.Layer(layer)(x)
            after.append(nengo.Probe(x, label=layer.name))
    assert [node.op for node in from_nengo(net).nodes] == ["Tanh", "Elu", "LeakyRelu", "Relu", "Softmax"]
    series = np.random.default_rng(0).normal(0, 2, (2, 5, 6)).astype(np.float32)
    with nengo_dl.Simulator(net, minibatch_size=2, progress_bar=False) as simulator:
        expected = simulator.predict({source: series}, verbose=0)
    assert convert(net, tmp_path / "net.onnx").agreement.within_tolerance
    with load_engine(tmp_path / "net.onnx", "onnxruntime") as engine:
        got = engine.run(series)
    for probe in after:
        # Float32 through four functions of at most 1: some roundings of 6e-8.
        np.testing.assert_allclose(got[probe.label], expected[probe], rtol=0, atol=1e-6)
    assert np.abs(expected[after[2]]).min() > 0 > expected[after[2]].min()  # what a ReLU would have cut
    for odd in (layers.ReLU(6.0), layers.ReLU(threshold=0.5), layers.Softmax(axis=1)):
        with nengo.Network() as net:
            nengo.Probe(nengo_dl.Layer(odd)(nengo.Node(np.zeros(6)), shape_in=(2, 3)))
        with pytest.raises(UnsupportedModel, match=r"max_value or a threshold|only the last"):
            from_nengo(net)


@pytest.mark.slow
@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.one_of(image_networks(), neural_networks()))
def test_an_open_nengo_dl_simulator_gives_the_same_network(net: nengo.Network) -> None:
    from workbench.snn import nengo_dl

    # One convolution in groups is what TensorFlow cannot do on every CPU.
    if any(getattr(one.transform, "groups", 1) > 1 for one in net.all_connections):
        return
    network = from_nengo(net)
    again = to_nengo(network)
    with warnings.catch_warnings(), nengo_dl.Simulator(again, dt=network.dt, progress_bar=False) as simulator:
        assert facts(from_nengo(simulator)) == facts(network)


@pytest.mark.slow
def test_what_nengo_dl_converter_makes_of_a_keras_model_comes_back_and_predicts_as_before() -> None:
    import tensorflow as tf

    from workbench.snn import nengo_dl

    tf.keras.utils.set_random_seed(1)
    layers, relu = tf.keras.layers, tf.keras.activations.relu
    image = tf.keras.Input((10, 10, 1))
    x = layers.Conv2D(3, 3, activation="relu", bias_initializer="random_uniform")(image)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(4, 3, strides=2, activation="relu", padding="same")(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Dense(5, activation="relu", bias_initializer="random_uniform")(layers.Flatten()(x))
    model = tf.keras.Model(image, layers.Dense(2, bias_initializer="ones")(layers.BatchNormalization()(x)))
    swap = {relu: nengo.SpikingRectifiedLinear()}
    made = nengo_dl.Converter(model, scale_firing_rates=5000, synapse=0.005, swap_activations=swap, inference_only=True)
    made.net.seed = 4
    network = from_nengo(made.net)
    assert len(network.inputs) == 1 and network.notes == []
    assert_nengo_says_it_all(network)
    again = assert_comes_back(network)
    series = np.random.RandomState(0).rand(2, 30, 100).astype(np.float32)
    with nengo_dl.Simulator(made.net, minibatch_size=2, progress_bar=False) as simulator:
        (expected,) = simulator.predict(series, verbose=0).values()
    with nengo_dl.Simulator(again, minibatch_size=2, progress_bar=False) as simulator:
        (got,) = simulator.predict(series, verbose=0).values()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(got, expected, atol=1e-5)  # sums of float32 in another order


@pytest.mark.slow
def test_a_keras_layer_without_counterpart_is_named() -> None:
    import tensorflow as tf

    from workbench.snn import nengo_dl

    for layer, message in [
        (tf.keras.layers.UpSampling2D(name="up"), "The layer 'up' is a UpSampling2D layer"),
        (tf.keras.layers.Conv2D(1, 2, dilation_rate=2, name="wide"), "The layer 'wide' has dilation_rate"),
        (tf.keras.layers.Dense(2, activation="gelu", name="dense"), "The layer 'dense' computes gelu"),
        (lambda x: x + 1, "A layer .*computes <lambda>"),
    ]:
        with nengo.Network(seed=0) as net:
            shape = (16,) if "Dense" in repr(layer) or not hasattr(layer, "name") else (4, 4, 1)
            nengo.Probe(nengo_dl.Layer(layer)(nengo.Node(np.zeros(16)), shape_in=shape))
        with pytest.raises(UnsupportedModel, match=message):
            from_nengo(net)
