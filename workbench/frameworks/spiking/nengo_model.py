"""A Nengo network as Nengo builds it: decoders solved, random numbers drawn; or what a simulator has learnt since."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import nengo
import numpy as np
from nengo._vendor.scipy.sparse import linalg_expm, linalg_interface, linalg_onenormest

from ...errors import BadInput, UnsupportedModel
from .nengo_neurons import PoissonSpiking, StochasticSpiking

# What NumPy no longer has, for Nengo's copy of SciPy, which asks for it where filters of a high order are made.
_LENT = {"in1d": np.isin, "find_common_type": lambda arrays, scalars: np.result_type(*arrays, *scalars)}
for module in (linalg_expm, linalg_interface, linalg_onenormest):
    module.np = SimpleNamespace(**_LENT | vars(np))


@dataclass
class Built:
    """A built network.

    Attributes:
        network: the ``nengo.Network``; model: the ``nengo.builder.Model`` made of it.
        data: a ``nengo_dl.Simulator``'s, which holds the parameters as they are now; None elsewhere.
        signals: the same of a ``nengo.Simulator``.
    """

    network: Any
    model: Any
    data: Any = None
    signals: Any = None

    def ensemble(self, ens: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(gain, bias, scaled encoders)"""
        built = self.model.params[ens]
        if self.data is None:
            return built.gain, built.bias, self._now(ens, "encoders", built.scaled_encoders)
        # NengoDL trains the encoders with their gain, and would infer another gain from them.
        encoders, bias = self.data.get_params((ens, "scaled_encoders"), (ens, "bias"))
        return built.gain, bias, encoders

    def start(self, ens: Any, state: str) -> np.ndarray:
        """What neurons remember before the first step. A refractory time is what is left of it in that step: Nengo
        takes the step off before it looks, NengoDL after."""
        if state == "elapsed" and state not in self.model.sig[ens.neurons]:
            return np.zeros(1)
        start = self.model.sig[ens.neurons][state].initial_value
        if state == "refractory_time" and type(self.model).__module__.startswith("nengo."):
            return np.maximum(start - self.model.dt, 0)
        return start

    def _now(self, thing: Any, key: str, built: Any) -> Any:
        """What a signal holds, where a simulator tells; else as it was built."""
        signal = self.model.sig[thing].get(key) if self.signals is not None else None
        return built if signal is None else np.array(self.signals[signal])

    def weights(self, c: Any) -> Any:
        """A connection's weights: an array, or a scipy.sparse matrix."""
        from scipy import sparse

        weights = self.model.params[c].weights
        live = weights if self.data is None else self.data.get_params((c, "weights"))[0]
        if c.learning_rule_type is not None:
            live = self._now(c, "weights", live)
        if type(c.transform).__name__ != "Sparse":
            return np.asarray(live)
        if sparse.issparse(weights):
            weights = weights.tocoo()
            rows, columns, values = weights.row, weights.col, weights.data
        else:
            (rows, columns), values = weights.indices.T, weights.data
        if self.data is not None:
            values = live
        return sparse.csr_matrix((values, (rows, columns)), shape=c.transform.shape)


AT_RANDOM = ("nengo.neurons.StochasticSpiking", "nengo.neurons.PoissonSpiking")
"""Nengo's neuron types that draw their spikes from NumPy's stream of random numbers, all neurons from one."""


def draws(network: Any) -> list[Any]:
    """The ensembles of a ``nengo.Network`` whose neurons are `AT_RANDOM`."""
    kinds = {ens: type(ens.neuron_type) for ens in network.all_ensembles}
    return [ens for ens, kind in kinds.items() if f"{kind.__module__}.{kind.__name__}" in AT_RANDOM]


def streams(model: Any) -> dict[Any, np.ndarray]:
    """For each ensemble that `draws`, the streams of ours that its neurons draw from in a file: as the seed of its
    network says, and no two the same."""
    made, start = {}, int(np.random.RandomState(model.seeds[model.toplevel]).randint(2**24))
    for ens in draws(model.toplevel):
        made[ens] = (start + np.arange(ens.n_neurons)) % 2**24
        start += ens.n_neurons
    return made


class Given(nengo.Process):
    """Noise that a function of time gives."""

    def __init__(self, given: Callable[[float], np.ndarray]) -> None:
        super().__init__(default_size_in=0)
        self.__dict__["given"] = given

    def make_step(self, shape_in: Any, shape_out: Any, dt: float, rng: Any, state: Any) -> Any:
        return self.given


class Stream(np.random.RandomState):
    """What Nengo's own random neurons draw from, to be asked what a file answers: see `streams`.

    Attributes:
        elapsed: steps so far.
    """

    def __init__(self, stream: np.ndarray) -> None:
        super().__init__(0)
        self.stream, self.elapsed = stream, 0

    def random_sample(self, size: Any = None) -> Any:
        """The next number for each neuron."""
        self.elapsed += 1
        return StochasticSpiking.uniform(self.stream, self.elapsed - 1)

    def poisson(self, lam: Any = 1.0, size: Any = None) -> Any:
        """As many events as the next number makes of it."""
        return PoissonSpiking.counts(self.random_sample(), lam)


def lend_streams(simulator: Any) -> list[Stream]:
    """A ``nengo.Simulator``, made without optimiser, draws from streams of ours from its next reset on."""
    lent = {simulator.model.sig[ens.neurons]["out"]: stream for ens, stream in streams(simulator.model).items()}
    made = []
    for operator in simulator.model.operators:
        if (stream := lent.get(getattr(operator, "output", None))) is not None and "rng" in operator.state_extra:
            made.append(Stream(stream))
            operator.state_extra["rng"] = made[-1]
    return made


def build(source: Any, dt: float | None) -> Built:
    """Build a network, or take what an open simulator built. See `from_nengo`."""
    nengo_dl = sys.modules.get("nengo_dl")
    if isinstance(source, nengo.Network):
        before = getattr(source, "spiking_network", None)  # of `to_nengo`
        return Built(source, _build(source, dt or (before.dt if before else 0.001)))
    trained = nengo_dl is not None and isinstance(source, nengo_dl.Simulator)
    if not trained and not isinstance(source, nengo.Simulator):
        raise BadInput(f"Expected a nengo.Network, a nengo.Simulator or a nengo_dl.Simulator, not {source!r}.")
    if source.closed:
        raise BadInput("The simulator is closed, and what it learnt is gone with it: convert it before it is closed.")
    if source.model.toplevel is None:
        raise UnsupportedModel("The simulator was made without a network, so nothing says what to convert.")
    if dt not in (None, source.dt):
        raise BadInput(f"dt is {dt}, but the simulator runs with {source.dt}: leave dt= out.")
    if trained:
        return Built(source.model.toplevel, source.model, source.data)
    return Built(source.model.toplevel, source.model, signals=source.signals)


def _build(network: Any, dt: float) -> Any:
    try:
        if not any(type(node).__name__ == "TensorNode" for node in network.all_nodes):
            model = nengo.builder.Model(dt=dt)
            model.build(network)
            return model
        # As nengo_dl.Simulator does it: in float32, which random numbers and decoders depend on.
        from nengo_dl.builder import NengoBuilder, NengoModel

        bits = nengo.rc.get("precision", "bits")
        nengo.rc.set("precision", "bits", "32")
        try:
            model = NengoModel(dt=dt, builder=NengoBuilder(), fail_fast=False)
            model.build(network)
            return model
        finally:
            nengo.rc.set("precision", "bits", bits)
    except nengo.exceptions.NengoException as error:
        raise UnsupportedModel(f"Nengo cannot build the network: {error}") from error
