"""ONNX Runtime, for spiking networks: the neurons are ONNX functions, so it runs them like any operator."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime

from ...errors import BadInput
from .engine import SpikingEngine
from .network import Node, Output, SpikingNetwork
from .write import HELD, can_hold, write

AT_ONCE = 1 << 22
"""Numbers of the widest layer that are held at once, over samples and steps: 16 MiB bound memory for any number of
steps."""

IN_CACHE = 1 << 16
"""Numbers of the widest layer in one step of the samples that are computed together: 256 KiB in each of the loop's
arrays, which a core's cache holds."""


class OnnxRuntimeSnnEngine(SpikingEngine):
    """A spiking network in ONNX Runtime. See `SpikingEngine`.

    Args:
        threads: how many to use, one per core if None: each for other samples of a batch, since a step of one sample
            is too little to share.

    Attributes:
        state: after `run`, what every neuron and synapse remembers, {``<node>.<state>``: (batch, *shape)}; hand it to
            the next `run` to go on from there.
    """

    name = "onnxruntime"
    call = "session.run"
    version = onnxruntime.__version__

    def _prepare(self) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.threads: int = self.threads or cores
        self.state: dict[str, np.ndarray] = {}
        self._start: dict[str, np.ndarray] = {}
        nodes = self.network.nodes
        self._states = {f"{node.name}.{state}": node.shape for node in nodes for state in node.states}
        self._widest = max((node.size for node in nodes), default=1)
        self._sessions: dict[tuple[tuple[str, ...], bool], onnxruntime.InferenceSession] = {}
        # Numbers too small for a normal float are slow, and a silent neuron's voltage decays to them: ONNX Runtime
        # rounds them to zero, in the thread that makes a session and in those that this thread starts. So that the
        # caller's own arithmetic stays what it was, that is never the caller's thread.
        self._aside = ThreadPoolExecutor(1)
        self._aside.submit(self._session, (), False).result()

    def close(self) -> None:
        super().close()
        self._sessions.clear()
        self._aside.shutdown()

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
        shapes = self._states
        for name, array in self._start.items():
            if name not in shapes:
                raise BadInput(f"The network has no state {name!r}; it has: {', '.join(shapes)}.")
            if tuple(array.shape[1:]) != shapes[name]:
                raise BadInput(f"State {name!r} has shape {array.shape}; expected (batch or 1, *{shapes[name]}).")
        return super().run(inputs, steps=steps, spikes=spikes)

    def _answer(self, series: dict[str, np.ndarray], spikes: tuple[str, ...]) -> dict[str, np.ndarray]:
        return self._aside.submit(self._computed, series, spikes).result()

    def _computed(self, series: dict[str, np.ndarray], spikes: tuple[str, ...]) -> dict[str, np.ndarray]:
        batch, steps, _ = next(iter(series.values())).shape
        if odd := [name for name, array in self._start.items() if len(array) not in (1, batch)]:
            raise BadInput(f"State {odd[0]!r} is of {len(self._start[odd[0]])} samples, and {batch} are to be run.")
        results = {name: np.empty((batch, steps, size), np.float32) for name, size in self._sizes(spikes).items()}
        rows = max(1, min(-(-batch // self.threads), IN_CACHE // self._widest))
        parts = [slice(begin, begin + rows) for begin in range(0, batch, rows)]
        stays = all(bool((array == array[:, :1]).all()) for array in series.values())
        held = stays and can_hold(_with_spikes(self.network, spikes))
        session = self._session(spikes, held)
        names = [output.name for output in session.get_outputs()]
        length = max(1, min(steps, AT_ONCE // (self._widest * rows)))

        def work(part: slice) -> dict[str, np.ndarray]:
            state = {name: array[part] if len(array) == batch else array for name, array in self._start.items()}
            for begin in range(0, steps, length):
                now = slice(begin, min(begin + length, steps))
                fed = slice(0, 1) if held else now
                feeds = {name: np.ascontiguousarray(array[part, fed]) for name, array in series.items()}
                if held:
                    feeds[HELD] = np.array([now.stop - now.start])
                answers = dict(zip(names, session.run(names, {**feeds, **state}), strict=True))
                for name in results:
                    results[name][part, now] = answers[f"{name}.spikes" if name in spikes else name]
                state = {name: answers[f"{name}_out"] for name in self._states}
            return state

        with ThreadPoolExecutor(self.threads) as pool:
            after = list(pool.map(work, parts))
        self.state = {name: np.concatenate([state[name] for state in after]) for name in (after[0] if after else ())}
        return results

    def _session(self, spikes: tuple[str, ...], held: bool) -> onnxruntime.InferenceSession:
        """A session with the spikes of some layers as outputs too, for input that is held or not."""
        key = (spikes, held)
        if key not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            options.add_session_config_entry("session.set_denormal_as_zero", "1")
            options.intra_op_num_threads = 1
            model = self.model(spikes, held)
            self._sessions[key] = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return self._sessions[key]

    def model(self, spikes: tuple[str, ...], held: bool = False) -> bytes:
        """The network as an ONNX file that also gives the spikes of some layers, each as ``<layer>.spikes``; for input
        that is `held`, one step of it."""
        return write(_with_spikes(self.network, spikes), held=held, lean=True).SerializeToString()


def _with_spikes(network: SpikingNetwork, layers: tuple[str, ...]) -> SpikingNetwork:
    nodes, outputs = list(network.nodes), list(network.outputs)
    for node in network.neurons():
        if node.name in layers:
            source = node.name
            if len(node.shape) > 1:
                while network.node(source) is not None:
                    source += ".flat"
                nodes.append(Node("Flatten", source, (node.name,), (node.size,), attributes={"order": "HWC"}))
            outputs.append(Output(f"{node.name}.spikes", source))
    return replace(network, nodes=nodes, outputs=outputs)
