"""Neurons that fire at random: the same spikes in every run and engine, and those that chance would give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nengo
import numpy as np
import pytest
from scipy import stats

from workbench import convert, load_engine, to_nengo
from workbench.errors import UnsupportedModel
from workbench.frameworks.spiking.from_nengo import from_nengo
from workbench.frameworks.spiking.network import SpikingNetwork

pytestmark = pytest.mark.filterwarnings("ignore")
KINDS = [nengo.StochasticSpiking, nengo.PoissonSpiking]


def network(kind: Any, base: Any, synapse: float = 0.01, back: bool = False) -> nengo.Network:
    with nengo.Network(seed=3) as net:
        x = nengo.Node([0.0], label="x")
        # Of equal type, which Nengo's optimiser puts together.
        a, b = (nengo.Ensemble(30, 1, neuron_type=kind(base), label=label) for label in "ab")
        nengo.Connection(x, a, synapse=None)
        nengo.Connection(a, b, synapse=synapse)
        if back:
            nengo.Connection(b, a, transform=-0.5, synapse=synapse)
        nengo.Probe(a.neurons, label="first")
        nengo.Probe(b.neurons, label="second")
        nengo.Probe(b, synapse=0.02, label="value")
    return net


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("base", "back"), [(nengo.LIFRate(), False), (nengo.Tanh(), False), (nengo.LIFRate(), True)])
def test_each_random_spike_is_nengos_where_it_draws_the_same_numbers(
    kind: Any, base: Any, back: bool, tmp_path: Path
) -> None:
    made = convert(network(kind, base, back=back), tmp_path / "n.onnx")
    assert made.agreement.within_tolerance and not made.agreement.undecided
    assert any("fires at random" in sentence for sentence in made.warnings)
    series = np.full((2, 300, 1), 0.5, np.float32)
    runtime = load_engine(made.output, "onnxruntime")
    answers, nengo_answers = runtime.run(series), load_engine(made.output, "nengo").run(series)
    for name in ("first", "second"):
        assert answers[name].any()
        np.testing.assert_allclose(answers[name], nengo_answers[name], rtol=1e-6)  # float32's rounding of 1 / dt
        np.testing.assert_array_equal(answers[name], runtime.run(series)[name])
    assert (answers["first"] != answers["second"]).any()
    runtime.run(series[:, :100])
    after = runtime.run(series[:, 100:], state=runtime.state)
    np.testing.assert_array_equal(after["second"], answers["second"][:, 100:])


@pytest.mark.parametrize("kind", KINDS)
def test_random_neurons_come_back_from_nengo(kind: Any) -> None:
    described = from_nengo(network(kind, nengo.LIFRate()))
    again = from_nengo(to_nengo(described))
    for node, back in zip(described.nodes, again.nodes, strict=True):
        assert (node.op, node.attributes) == (back.op, back.attributes)
        for key, array in node.weights.items():
            np.testing.assert_array_equal(array, back.weights[key], err_msg=f"{node.name}.{key}")


def counts(kind: Any, spikes_a_step: float, neurons: int = 200, steps: int = 250) -> np.ndarray:
    """(steps, neurons): how often neurons fire at that rate, in ONNX Runtime."""
    with nengo.Network(seed=5) as net:
        ens = nengo.Ensemble(
            neurons, 1, neuron_type=kind(nengo.RectifiedLinear()), gain=np.ones(neurons),
            bias=np.full(neurons, spikes_a_step * 1000.0),
        )  # fmt: skip
        nengo.Connection(nengo.Node([0.0]), ens.neurons, transform=np.zeros((neurons, 1)), synapse=None)
        nengo.Probe(ens.neurons, label="spikes")
    answers = load_engine(from_nengo(net), "onnxruntime").run(np.zeros((1, steps, 1), np.float32))
    return np.asarray(np.rint(answers["spikes"][0] / 1000))


@pytest.mark.parametrize("mean", [0.02, 0.7, 30.0, 400.0])
def test_poisson_neurons_fire_as_often_as_a_poisson_distribution_says(mean: float) -> None:
    found = counts(nengo.PoissonSpiking, mean)
    edges = np.unique(stats.poisson.ppf(np.linspace(0.05, 0.95, 10), mean))
    observed = np.bincount(np.searchsorted(edges, found.ravel()), minlength=len(edges) + 1)
    expected = np.diff([0, *stats.poisson.cdf(edges, mean), 1]) * found.size
    # The seed is fixed, so the figure is; one such in ten thousand would be by chance.
    assert stats.chisquare(observed, expected).pvalue > 1e-4
    # Neither neighbours nor successive steps know of each other: 1/sqrt(n) is the spread of a correlation of 0.
    for one, other in ((found[:, 1:], found[:, :-1]), (found[1:], found[:-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(one.size)


@pytest.mark.parametrize("mean", [0.1, 2.3])
def test_stochastic_neurons_fire_the_whole_part_and_one_more_by_chance(mean: float) -> None:
    found = counts(nengo.StochasticSpiking, mean)
    assert set(np.unique(found)) == {np.floor(mean), np.floor(mean) + 1}
    spread = np.sqrt((mean % 1) * (1 - mean % 1) / found.size)
    assert abs(found.mean() - mean) < 4 * spread


def test_beyond_what_a_poisson_draws_the_rate_is_still_kept() -> None:
    assert abs(counts(nengo.PoissonSpiking, 2000.0, 20, 50).mean() / 2000 - 1) < 1e-2


def test_no_two_neurons_share_a_stream() -> None:
    described: SpikingNetwork = from_nengo(network(nengo.PoissonSpiking, nengo.LIFRate()))
    streams = np.concatenate([node.weights["stream"].ravel() for node in described.neurons()])
    assert len(np.unique(streams)) == len(streams) == 60


@pytest.mark.slow
def test_an_open_nengo_dl_simulator_of_random_neurons_says_what_to_convert(tmp_path: Path) -> None:
    from workbench.snn import nengo_dl

    net = network(nengo.StochasticSpiking, nengo.RectifiedLinear())
    with nengo_dl.Simulator(net, progress_bar=False) as simulator:
        with pytest.raises(UnsupportedModel, match=r"TensorFlow's .*freeze_params"):
            convert(simulator, tmp_path / "n.onnx")
        simulator.freeze_params(net)
    assert convert(net, tmp_path / "n.onnx").agreement.within_tolerance
