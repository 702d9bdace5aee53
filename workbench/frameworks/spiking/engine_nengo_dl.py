"""NengoDL: spiking networks on TensorFlow, in float32 and in batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nengo
import numpy as np

from ...errors import BadInput
from ..tensorflow.start import use_threads
from .engine import SpikingEngine

Arrays = dict[str, np.ndarray]


LARGEST_BATCH = 64


class NengoDlEngine(SpikingEngine):
    """A spiking network in ``nengo_dl.Simulator``. See `SpikingEngine`.

    Args:
        threads: for TensorFlow, within an operator and across operators; None leaves the choice to it.
    """

    name = "nengo_dl"
    call = "simulator.predict"

    def _prepare(self) -> None:
        from . import nengo_dl

        use_threads(self.threads)
        self.version = nengo_dl.__version__
        self._built: tuple[tuple[str, ...], Any, dict[str, Any], Any] | None = None

    def close(self) -> None:
        super().close()
        if self._built is not None:
            self._built[1].close()
            self._built = None

    def _answer(self, series: dict[str, np.ndarray], spikes: tuple[str, ...]) -> dict[str, np.ndarray]:
        batch, steps, _ = next(iter(series.values())).shape
        if not batch:
            return {name: np.empty((0, steps, size), np.float32) for name, size in self._sizes(spikes).items()}
        simulator, probes, network = self._simulator(spikes, min(batch, LARGEST_BATCH))
        return predict(simulator, network.inputs, probes, series)

    def _simulator(self, spikes: tuple[str, ...], rows: int) -> tuple[Any, dict[str, Any], Any]:
        from . import nengo_dl
        from .to_nengo import made_for

        if self._built is not None:
            if self._built[0] == spikes and self._built[1].minibatch_size == rows:
                return self._built[1:]
            self._built[1].close()
        network = made_for("nengo_dl", self.network)
        with network:
            # Without the part of the graph that training needs it is several times as fast.
            nengo_dl.configure_settings(inference_only=True, stateful=False)
            probes = dict(network.outputs) | {name: nengo.Probe(network.layers[name]) for name in spikes}
        simulator = nengo_dl.Simulator(network, dt=self.network.dt, minibatch_size=rows, progress_bar=False)
        self._built = (spikes, simulator, probes, network)
        return simulator, probes, network


def predict(simulator: Any, nodes: Mapping[str, Any], probes: Mapping[str, Any], series: Arrays) -> Arrays:
    """Ask an open ``nengo_dl.Simulator``, each sample from its start state.

    Args:
        nodes: {input: its Node, where it has one}; probes: {output: its Probe}.
        series: {input: (batch, steps, n)}, batch at least 1.

    Returns:
        {output: (batch, steps, n)}.
    """
    batch, steps, _ = next(iter(series.values())).shape
    rows = simulator.minibatch_size or 1
    answers = []
    for row in range(0, batch, rows):
        feeds = {}
        for name, array in series.items():
            part = array[row : row + rows]
            # A simulator has one batch size, and runs whole multiples of `unroll` steps: what lacks is filled up.
            part = np.concatenate([part, np.repeat(part[:1], rows - len(part), axis=0)])
            if name in nodes:  # or it only says for how many steps
                feeds[nodes[name]] = np.concatenate(
                    [part, np.repeat(part[:, -1:], -steps % simulator.unroll, axis=1)], axis=1
                )
        alone = {} if feeds else {"n_steps": steps + -steps % simulator.unroll}
        answers.append(simulator.predict(feeds or None, stateful=False, verbose=0, **alone))
    if any(answers[0][probe].shape[1] < steps for probe in probes.values()):
        raise BadInput(
            "The simulator keeps the last step of a probe alone, and both sides are compared step by step: make it "
            "with nengo_dl.configure_settings(keep_history=True) in its network."
        )
    return {
        name: np.concatenate([answer[probe] for answer in answers])[:batch, :steps].reshape(batch, steps, -1)
        for name, probe in probes.items()
    }
