"""Nengo: the reference, in float64. Fig. 7b of the paper sends spiking networks here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import nengo
import numpy as np

from .engine import SpikingEngine

Arrays = dict[str, np.ndarray]


class NengoEngine(SpikingEngine):
    """A spiking network in ``nengo.Simulator``, one sample after the other. See `SpikingEngine`.

    Args:
        threads: for NumPy's matrix products; the library's own choice if None.
    """

    name = "nengo"
    call = "simulator.run_steps"
    version = nengo.__version__

    def _prepare(self) -> None:
        from threadpoolctl import threadpool_limits

        self._limits = threadpool_limits(self.threads)  # none of them where it is None
        self._sample: Arrays = {}
        self._built: tuple[tuple[str, ...], nengo.Simulator, dict[str, Any]] | None = None

    def close(self) -> None:
        super().close()
        self._limits.restore_original_limits()
        if self._built is not None:
            self._built[1].close()
            self._built = None

    def _answer(self, series: Arrays, spikes: tuple[str, ...]) -> Arrays:
        simulator, probes = self._simulator(spikes)

        def feed(sample: Arrays) -> None:
            self._sample = sample

        return {name: array.astype(np.float32) for name, array in ask(simulator, probes, series, feed).items()}

    def _simulator(self, spikes: tuple[str, ...]) -> tuple[nengo.Simulator, dict[str, Any]]:
        from .to_nengo import to_nengo

        if self._built is not None:
            if self._built[0] == spikes:
                return self._built[1:]
            self._built[1].close()
        network = to_nengo(self.network)
        with network:
            for entry in self.network.inputs:
                node = network.inputs[entry.name]
                node.output, node.size_out = partial(self._now, entry.name), entry.size
            probes = dict(network.outputs) | {name: nengo.Probe(network.layers[name]) for name in spikes}
        # A model of its own has no cache of decoders on the disk: these networks have none to solve, and Nengo logs an
        # error, with its traceback, where it finds no cache yet.
        model = nengo.builder.Model(dt=self.network.dt)
        simulator = nengo.Simulator(network, model=model, progress_bar=False)
        self._built = (spikes, simulator, probes)
        return simulator, probes

    def _now(self, name: str, time: float) -> np.ndarray:
        return self._sample[name][max(0, round(time / self.network.dt) - 1)]


def ask(
    simulator: nengo.Simulator,
    probes: Mapping[str, Any],
    series: Arrays,
    feed: Callable[[Arrays], None],
    gets: Mapping[str, list[np.ndarray]] | None = None,
) -> Arrays:
    """Ask an open ``nengo.Simulator``, one sample after the other, each from its start state.

    Args:
        probes: {output: its Probe}; series: {input: (batch, steps, n)}.
        feed: takes each sample, {input: (steps, n)}, before it is run.
        gets: {output: what is added to in each step}, which `feed` empties.

    Returns:
        {output: (batch, steps, n)}, float64.
    """
    batch, steps, _ = next(iter(series.values())).shape
    results = {name: np.empty((batch, steps, probe.size_in)) for name, probe in probes.items()}
    for row in range(batch):
        feed({name: array[row] for name, array in series.items()})
        simulator.reset()
        simulator.run_steps(steps, progress_bar=False)
        for name, probe in probes.items():
            results[name][row] = np.reshape(simulator.data[probe], (steps, -1))
        for name, rows in (gets or {}).items():
            results.setdefault(name, np.empty((batch, steps, rows[0].size)))[row] = rows
        simulator.clear_probes()
    return results
