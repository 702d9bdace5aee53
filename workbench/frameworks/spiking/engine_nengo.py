"""Nengo: the reference, in float64. Fig. 7b of the paper sends spiking networks here."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import nengo
import numpy as np

from .engine import SpikingEngine
from .network import SpikingNetwork


class NengoEngine(SpikingEngine):
    """A spiking network in ``nengo.Simulator``, one sample after the other. See `SpikingEngine`.

    Args:
        threads: for NumPy's matrix products; the library's own choice if None.
    """

    name = "nengo"
    call = "simulator.run_steps"

    def __init__(
        self,
        source: str | os.PathLike[str] | SpikingNetwork,
        *,
        params: str | os.PathLike[str] | None = None,
        threads: int | None = None,
        why: str = "",
    ) -> None:
        from threadpoolctl import threadpool_limits

        super().__init__(source, params=params, why=why)
        self._limits = threadpool_limits(threads)  # none of them where it is None
        self.version: str = nengo.__version__
        self._sample: dict[str, np.ndarray] = {}
        self._built: tuple[tuple[str, ...], nengo.Simulator, dict[str, Any]] | None = None

    def close(self) -> None:
        super().close()
        self._limits.restore_original_limits()
        if self._built is not None:
            self._built[1].close()
            self._built = None

    def _answer(self, series: dict[str, np.ndarray], spikes: tuple[str, ...]) -> dict[str, np.ndarray]:
        simulator, probes = self._simulator(spikes)
        batch, steps, _ = next(iter(series.values())).shape
        results: dict[str, list[np.ndarray]] = {name: [] for name in probes}
        for row in range(batch):
            self._sample = {name: array[row] for name, array in series.items()}
            simulator.reset()
            simulator.run_steps(steps, progress_bar=False)
            for name, probe in probes.items():
                results[name].append(np.asarray(simulator.data[probe], np.float32).reshape(steps, -1))
            simulator.clear_probes()
        sizes = self._sizes(spikes)
        return {
            name: np.stack(rows) if rows else np.empty((0, steps, sizes[name]), np.float32)
            for name, rows in results.items()
        }

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
