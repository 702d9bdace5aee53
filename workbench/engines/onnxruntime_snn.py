"""ONNX Runtime, for spiking networks: the neurons are ONNX functions, so it runs them like any operator."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..snn.network import Node, Output, SpikingNetwork
from ..snn.write import write
from .spiking import SpikingEngine

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime

AT_ONCE = 1 << 22
"""Numbers of the widest layer that are computed at once, over samples and steps: 16 MiB, which caches still help
with, and which bounds memory for any number of steps."""


class OnnxRuntimeSnnEngine(SpikingEngine):
    """A spiking network in ONNX Runtime. See `SpikingEngine`.

    Args:
        threads: threads within one operator; None leaves the choice to ONNX Runtime (one per core).

    Attributes:
        state: after `run`, what every neuron and synapse remembers, {``<node>.<state>``: (batch, *shape)}; hand it to
            the next `run` to go on from there.
    """

    name = "onnxruntime"

    def __init__(
        self,
        source: str | os.PathLike[str] | SpikingNetwork,
        *,
        params: str | os.PathLike[str] | None = None,
        threads: int | None = None,
        why: str = "You asked for ONNX Runtime.",
    ) -> None:
        import onnxruntime

        super().__init__(source, params=params, why=why)
        self.version: str = onnxruntime.__version__
        self.threads = threads
        self.state: dict[str, np.ndarray] = {}
        self._start: dict[str, np.ndarray] = {}
        self._sessions: dict[tuple[str, ...], onnxruntime.InferenceSession] = {}
        self._session(())

    def close(self) -> None:
        super().close()
        self._sessions.clear()

    def run(
        self,
        inputs: Any,
        *,
        steps: int | None = None,
        spikes: Sequence[str] = (),
        state: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """See `SpikingEngine.run`.

        Args:
            state: where to start from: `state` after an earlier run of the same samples; the network's own if None.
        """
        self._start = dict(state or {})
        return super().run(inputs, steps=steps, spikes=spikes)

    def _answer(self, series: dict[str, np.ndarray], spikes: tuple[str, ...]) -> dict[str, np.ndarray]:
        import numpy as np

        session = self._session(spikes)
        batch, steps, _ = next(iter(series.values())).shape
        widest = max((node.size for node in self.network.nodes), default=1)
        rows = max(1, min(batch, AT_ONCE // (widest * steps)))
        length = max(1, min(steps, AT_ONCE // (widest * rows)))
        results = {name: np.empty((batch, steps, size), np.float32) for name, size in self._sizes(spikes).items()}
        names = [output.name for output in session.get_outputs()]
        after: list[dict[str, np.ndarray]] = []
        for row in range(0, batch, rows):
            part = slice(row, row + rows)
            state = {name: array[part] if len(array) == batch else array for name, array in self._start.items()}
            for begin in range(0, steps, length):
                now = slice(begin, begin + length)
                feeds = {name: np.ascontiguousarray(array[part, now]) for name, array in series.items()}
                answers = dict(zip(names, session.run(names, {**feeds, **state}), strict=True))
                for name in results:
                    results[name][part, now] = answers[f"{name}.spikes" if name in spikes else name]
                state = {name.removesuffix("_out"): answers[name] for name in names if name.endswith("_out")}
            after.append(state)
        self.state = {name: np.concatenate([state[name] for state in after]) for name in (after[0] if after else ())}
        return results

    def _session(self, spikes: tuple[str, ...]) -> onnxruntime.InferenceSession:
        """The network's session, with the spikes of some layers as outputs too."""
        import onnxruntime

        if spikes not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            # A silent neuron's voltage decays for ever; numbers too small for a normal float are slow.
            options.add_session_config_entry("session.set_denormal_as_zero", "1")
            if self.threads is not None:
                options.intra_op_num_threads = self.threads
            model = write(_with_spikes(self.network, spikes)).SerializeToString()
            self._sessions[spikes] = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return self._sessions[spikes]


def _with_spikes(network: SpikingNetwork, layers: tuple[str, ...]) -> SpikingNetwork:
    nodes, outputs = list(network.nodes), list(network.outputs)
    for node in network.neurons():
        if node.name in layers:
            source = node.name
            if len(node.shape) > 1:
                source = f"{node.name}.flat"
                nodes.append(Node("Flatten", source, (node.name,), (node.size,), attributes={"order": "HWC"}))
            outputs.append(Output(f"{node.name}.spikes", source))
    return replace(network, nodes=nodes, outputs=outputs)
