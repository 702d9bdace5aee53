"""NengoDL: spiking networks on TensorFlow, in float32 and in batches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..snn.network import SpikingNetwork
from .spiking import SpikingEngine

if TYPE_CHECKING:
    import numpy as np

LARGEST_BATCH = 64


class NengoDlEngine(SpikingEngine):
    """A spiking network in ``nengo_dl.Simulator``. See `SpikingEngine`.

    Args:
        inference_only: leave out the part of the graph that training needs; several times as fast.
    """

    name = "nengo_dl"

    def __init__(
        self,
        source: str | os.PathLike[str] | SpikingNetwork,
        *,
        params: str | os.PathLike[str] | None = None,
        inference_only: bool = True,
        why: str = "You asked for NengoDL.",
    ) -> None:
        from ..snn import nengo_dl

        super().__init__(source, params=params, why=why)
        self.version: str = nengo_dl.__version__
        self.inference_only = inference_only
        self._built: tuple[tuple[str, ...], Any, dict[str, Any], Any] | None = None

    def close(self) -> None:
        super().close()
        if self._built is not None:
            self._built[1].close()
            self._built = None

    def _answer(self, series: dict[str, np.ndarray], spikes: tuple[str, ...]) -> dict[str, np.ndarray]:
        import numpy as np

        batch, steps, _ = next(iter(series.values())).shape
        rows = max(1, min(batch, LARGEST_BATCH))
        simulator, probes, network = self._simulator(spikes, rows)
        results: dict[str, list[np.ndarray]] = {name: [] for name in probes}
        for row in range(0, batch, rows):
            feeds = {}
            for name, array in series.items():
                part = np.ascontiguousarray(array[row : row + rows])
                # A simulator has one batch size: the last part is filled up with its first sample.
                filler = np.repeat(part[:1], rows - len(part), axis=0)
                feeds[network.inputs[name]] = np.concatenate([part, filler])
            answers = simulator.predict(feeds, n_steps=steps, stateful=False, verbose=0)
            for name, probe in probes.items():
                results[name].append(answers[probe][: batch - row])
        sizes = self._sizes(spikes)
        return {
            name: np.concatenate(parts) if parts else np.empty((0, steps, sizes[name]), np.float32)
            for name, parts in results.items()
        }

    def _simulator(self, spikes: tuple[str, ...], rows: int) -> tuple[Any, dict[str, Any], Any]:
        import nengo

        from ..snn import nengo_dl
        from ..snn.to_nengo import to_nengo

        if self._built is not None:
            if self._built[0] == spikes and self._built[1].minibatch_size == rows:
                return self._built[1:]
            self._built[1].close()
        network = to_nengo(self.network)
        with network:
            nengo_dl.configure_settings(inference_only=self.inference_only, stateful=False)
            probes = dict(network.outputs) | {name: nengo.Probe(network.layers[name]) for name in spikes}
        simulator = nengo_dl.Simulator(network, dt=self.network.dt, minibatch_size=rows, progress_bar=False)
        self._built = (spikes, simulator, probes, network)
        return simulator, probes, network
