"""Networks that learn while they run: each spike and weight as Nengo's, step for step, in the file and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nengo
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from test_snn_nengo import assert_comes_back, assert_nengo_says_it_all

from workbench import convert, load_engine
from workbench.errors import UnsupportedModel
from workbench.frameworks.spiking.from_nengo import from_nengo
from workbench.frameworks.spiking.read import read

pytestmark = pytest.mark.filterwarnings("ignore")
FULL = {"solver": nengo.solvers.LstsqL2(weights=True)}
STEPS = 300


def network(rule: Any, told: Callable[[Any, Any, Any], None] | None = None, **said: Any) -> nengo.Network:
    """x -> a -> b, whose connection learns by `rule`; `told` connects what the rule is told."""
    with nengo.Network(seed=2, label="learns") as net:
        net.x = x = nengo.Node([0.0, 0.0], label="x")
        a, net.b = nengo.Ensemble(40, 2, label="a", radius=2), nengo.Ensemble(30, 2, label="b", radius=1.5)
        nengo.Connection(x, a)
        nengo.Connection(nengo.Node([0.3]), net.b[1])
        net.learning = nengo.Connection(a, net.b, learning_rule_type=rule, **said)
        if told is not None:
            told(x, net.b, net.learning.learning_rule)
        nengo.Probe(net.b.neurons, label="spikes")
        nengo.Probe(net.b, synapse=0.02, label="value")
    return net


def between_neurons(rule: Any) -> nengo.Network:
    """The same, from neurons to neurons."""
    with nengo.Network(seed=2, label="learns") as net:
        net.x = x = nengo.Node([0.0, 0.0], label="x")
        a, net.b = nengo.Ensemble(40, 2, label="a"), nengo.Ensemble(30, 2, label="b")
        nengo.Connection(x, a)
        weights = np.random.RandomState(0).uniform(-1e-3, 2e-3, (30, 40))
        net.learning = nengo.Connection(a.neurons, net.b.neurons, transform=weights, learning_rule_type=rule)
        if isinstance(rule, nengo.PES):
            nengo.Connection(x, net.learning.learning_rule)
        nengo.Probe(net.b.neurons, label="spikes")
    return net


def error(x: Any, b: Any, rule: Any) -> None:
    nengo.Connection(b, rule)
    nengo.Connection(x, rule, transform=-1)


def both(x: Any, b: Any, rule: Any) -> None:
    error(x, b, rule[0])
    nengo.Connection(x[0], rule[1], synapse=None)


NETWORKS = {
    "PES": lambda: network(nengo.PES(1e-3), error),
    "PES of full weights": lambda: network(nengo.PES(1e-3, pre_synapse=None), error, **FULL),
    "PES between neurons": lambda: between_neurons(nengo.PES(1e-3)),
    "PES without an error": lambda: network(nengo.PES(1e-3)),
    "Voja": lambda: network(nengo.Voja(1e-2)),
    "Voja, unfiltered, told when": lambda: network(
        nengo.Voja(1e-2, post_synapse=None), lambda x, b, rule: nengo.Connection(x[1], rule)
    ),
    "PES and Voja": lambda: network([nengo.PES(1e-3), nengo.Voja(1e-2)], both),
    "Oja": lambda: network(nengo.Oja(1e-6, pre_synapse=nengo.Alpha(0.01), post_synapse=0.02, beta=0.5), **FULL),
    "Oja between neurons": lambda: between_neurons(nengo.Oja(1e-5)),
    "BCM": lambda: network(nengo.BCM(1e-9, theta_synapse=0.1), **FULL),
    "BCM between neurons": lambda: between_neurons(nengo.BCM(1e-9, post_synapse=0.01)),
}
QUICK = ("PES", "Voja", "Oja", "BCM between neurons")


def in_nengo(net: nengo.Network, series: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """What Nengo answers to (steps, n), and the weights, or encoders, as they were built and after the steps."""
    net.x.output = lambda t: series[max(0, round(t * 1000) - 1)]
    with nengo.Simulator(net, progress_bar=False) as simulator:
        of = simulator.model.sig
        signal = of[net.b]["encoders"] if _changes_encoders(net) else of[net.learning]["weights"]
        simulator.run_steps(len(series), progress_bar=False)
        data = {probe.label: np.array(simulator.data[probe]) for probe in net.all_probes}
        # What the last step learnt counts from the next one on.
        return data, signal.initial_value, simulator.signals[signal] + simulator.signals[of[_rule(net)]["delta"]]


def _rule(net: nengo.Network) -> Any:
    rule = net.learning.learning_rule
    return rule[0] if isinstance(rule, list) else rule


def _changes_encoders(net: nengo.Network) -> bool:
    return bool(_rule(net).modifies == "encoders")


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_and_spikes_are_nengos_at_every_step(name: str) -> None:
    net = NETWORKS[name]()
    series = np.random.RandomState(3).uniform(-1, 1, (STEPS, 2)).astype(np.float32)
    described, frozen = from_nengo(net), from_nengo(net, freeze=True)
    expected, before, learnt = in_nengo(net, series)
    with load_engine(described, "onnxruntime") as engine:
        answers = engine.run(series[None])
        (weights,) = (
            engine.state[f"{node.name}.weights"][0]
            for node in described.nodes
            if node.op in ("PES", "Oja", "BCM", "Voja") and node.shape == learnt.shape
            if (node.op == "Voja") == _changes_encoders(net)
        )
    assert ((answers["spikes"][0] > 0) == (expected["spikes"] > 0)).all()
    # Sums of some dozen float32 numbers, and of STEPS changes.
    np.testing.assert_allclose(weights, learnt, atol=3e-5 * np.abs(learnt).max())
    if name != "PES without an error":
        assert np.abs(learnt - before).max() > 30 * np.abs(weights - learnt).max()
        with load_engine(frozen, "onnxruntime") as engine:
            unlearnt = engine.run(series[None])["spikes"][0]
        assert ((unlearnt > 0) != (expected["spikes"] > 0)).any()


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("Oja", "BCM")])
def test_a_network_that_learns_comes_back_through_nengo(name: str) -> None:
    described = from_nengo(NETWORKS[name]())
    assert_comes_back(described)
    assert_nengo_says_it_all(described)


@pytest.mark.parametrize("name", QUICK)
def test_a_file_that_learns_is_proved_read_and_run_by_every_engine(name: str, tmp_path: Path) -> None:
    made = convert(NETWORKS[name](), tmp_path / "n.onnx")
    assert made.agreement.within_tolerance and not made.agreement.undecided
    onnx.checker.check_model(made.output, full_check=True)
    series = np.random.RandomState(4).uniform(-1, 1, (2, 60, 2)).astype(np.float32)
    with load_engine(made.output, "onnxruntime") as engine, load_engine(made.output) as native:
        answers, theirs = engine.run(series), native.run(series)["spikes"]
        assert native.name == "nengo" and answers["spikes"].any()
        engine.run(series[:, :25])
        pieces = engine.run(series[:, 25:], state=engine.state)["spikes"]
    np.testing.assert_allclose(theirs, answers["spikes"], rtol=1e-6)  # of 1 / dt in float32
    np.testing.assert_array_equal(pieces, answers["spikes"][:, 25:])
    model = onnx.load(made.output)
    optional = {value.name for value in model.graph.input}
    start = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name in optional}
    (reference,) = ReferenceEvaluator(model).run(["spikes"], {"x": series[:, :20]} | start)
    np.testing.assert_allclose(reference, answers["spikes"][:, :20], rtol=1e-6)


class Mine(nengo.PES):
    """A subclass may do anything."""


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (Mine(), r"learns by .*Mine; .*PES, Oja, BCM, Voja; freeze=True"),
        (nengo.RLS(), r"learns by .*RLS; .*freeze=True"),
        ([nengo.PES(), nengo.PES(1e-5)], "another learning rule changes"),
        (nengo.PES(pre_synapse=nengo.synapses.Triangle(0.01)), "through a Triangle synapse"),
    ],
)
def test_a_rule_that_no_file_expresses_is_named(rule: Any, sentence: str) -> None:
    with pytest.raises(UnsupportedModel, match=sentence):
        from_nengo(network(rule))


def test_weights_of_a_file_that_do_not_fit_what_they_learn_from_are_named(tmp_path: Path) -> None:
    convert(NETWORKS["PES"](), tmp_path / "n.onnx")
    model = onnx.load(tmp_path / "n.onnx")
    (scan,) = (node for node in model.graph.node if node.op_type == "Scan")
    body = next(attribute.g for attribute in scan.attribute if attribute.name == "body")
    (rule,) = (node for node in body.node if node.op_type == "PESCell")
    rule.input[1] = rule.input[0]
    with pytest.raises(Exception, match=r"learns weights \(2, 40\) from activities \(2,\)"):
        read(model)
