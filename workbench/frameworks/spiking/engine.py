"""What the engines of spiking networks share: time, and the spikes of any layer."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...agreement import Tolerance
from ...engines.base import STEPS, Closing
from ...engines.inputs import cast, match
from ...errors import BadInput
from ...files.header import ValueInfo
from ...kind import ENGINE_NAMES
from ...words import listed
from .load import network_of
from .network import SpikingNetwork
from .neurons import SYNAPSES


class SpikingEngine(Closing):
    """A spiking network in some engine. See `workbench.engines.Engine`.

    Args:
        source: the .onnx or .nir file; or a network, ours or Nengo's, or a simulator.
        params: the .npz that holds the weights of a file by the paper's authors.
        threads: how many to use; see the engine.
        dt, method, reset, framework: what a .nir file does not tell, see `workbench.read_nir`.
        why: the sentence for `why`.

    Attributes:
        network: the network that runs.
        layers: names of the neuron layers, whose spikes `run` gives on demand.
        inputs: each ``(batch, steps, n)``; outputs: each ``(batch, steps, n)``, float32.
        call: what a person would call to ask it.

    Raises:
        UnreadableFile, UnsupportedModel, BadInput: see `workbench.frameworks.spiking.load.load_network`.
    """

    name = ""
    version = ""
    call = ""
    tolerance: Tolerance | None = None

    def __init__(
        self,
        source: str | os.PathLike[str] | SpikingNetwork,
        *,
        params: str | os.PathLike[str] | None = None,
        threads: int | None = None,
        dt: float | None = None,
        method: str | None = None,
        reset: str | None = None,
        framework: str | None = None,
        why: str = "",
    ) -> None:
        self.network = network_of(source, params, dt=dt, method=method, reset=reset, framework=framework)
        self.path = os.fspath(source) if isinstance(source, str | os.PathLike) else self.network.name
        self.why = why or f"You asked for {ENGINE_NAMES[self.name]}."
        answers = {probe.name for probe in self.network.outputs}
        ends = [(f"{name.removesuffix('gives')}gets", name) for entry in self.network.inputs if (name := entry.name)]
        if made := [f"{gives!r} of {gets!r}" for gets, gives in ends if gets in answers and gives.endswith(".gives")]:
            self.why += f" Python stood there in Nengo: run it, make {listed(made)}, and run it with that."
        widths = {entry.name: entry.size for entry in self.network.inputs} | {
            node.name: node.size for node in self.network.nodes
        }
        self._outputs = {probe.name: widths[probe.source] for probe in self.network.outputs}
        self.inputs = _infos(self.network)
        self.outputs = tuple(ValueInfo(name, "float32", ("batch", "steps", n)) for name, n in self._outputs.items())
        self.layers = tuple(node.name for node in self.network.neurons())
        self.classes: dict[str, tuple[Any, ...]] = {}
        self.threads = threads
        self._prepare()

    def _prepare(self) -> None:
        """Start what runs the network, with so many threads."""

    def __repr__(self) -> str:
        return f"<{self.name} {self.version}: {self.path}>"

    def run(self, inputs: Any, *, steps: int | None = None, spikes: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Run every sample from the start state.

        Args:
            inputs: for each input a time series ``(batch, steps, n)``, or images ``(batch, …)`` of n numbers each
                (in the order the network takes them, such as height, width, channel), held for `steps`.
            steps: time steps; `STEPS` for images, a series' own length if None.
            spikes: names from `layers`, whose output is wanted too.

        Returns:
            {probe: (batch, steps, n)}, and {layer: (batch, steps, n)} for each of `spikes`: amplitude / dt where a
            neuron fired, else 0; layers of images flattened as (height, width, channel).

        Raises:
            BadInput: the data does not fit, or there is no such layer.
        """
        spikes = (spikes,) if isinstance(spikes, str) else spikes
        if unknown := [name for name in spikes if name not in self.layers]:
            raise BadInput(f"There is no layer {unknown[0]!r}; the neuron layers are: {', '.join(self.layers)}.")
        return self._answer(self.series(inputs, steps), tuple(dict.fromkeys(spikes)))

    def calls(self, inputs: Any, *, steps: int | None = None) -> dict[str, Callable[[], object]]:
        """The ordinary way to ask; see `workbench.engines.Engine.calls`. Inputs and `steps` as for `run`."""
        series, answer = self.series(inputs, steps), self._answer
        return {self.call: lambda: answer(series, ())}

    def settled(self, answers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The answers of `run` without time, (batch, n): of a probe that is filtered, or a mean itself, after the last
        step; the mean of others; filtered ones, which are there to be read, first."""
        settling = {node.name for node in self.network.nodes if node.op in (*SYNAPSES, "RunningMean")}
        filtered = {probe.name for probe in self.network.outputs if probe.source in settling}
        ordered = sorted(answers, key=lambda name: name not in filtered)
        return {name: answers[name][:, -1] if name in filtered else answers[name].mean(axis=1) for name in ordered}

    def series(self, inputs: Any, steps: int | None = None) -> dict[str, np.ndarray]:
        """Inputs as `run` takes them, as time series."""
        self._check_open()
        return series_of(self.network, inputs, steps)

    def _answer(self, series: dict[str, np.ndarray], spikes: tuple[str, ...]) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def _sizes(self, spikes: tuple[str, ...]) -> dict[str, int]:
        """Numbers per step in each result of `run`."""
        return self._outputs | {node.name: node.size for node in self.network.neurons() if node.name in spikes}


def series_of(network: SpikingNetwork, inputs: Any, steps: int | None) -> dict[str, np.ndarray]:
    """What a person gives as {input: (batch, steps, n)}; see `SpikingEngine.run`."""
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1):
        raise BadInput(f"steps is {steps!r}; expected a whole number: a network runs for one step at least.")
    arrays = {info.name: cast(value, info)[0] for info, value in match(inputs, _infos(network))}
    sizes = {entry.name: entry.size for entry in network.inputs}
    lengths = {array.shape[1] for name, array in arrays.items() if _is_series(array, sizes[name])}
    if steps is not None:
        lengths.add(steps)
    if len(lengths) > 1:
        raise BadInput(f"The inputs last {_both(lengths)} steps; all of one run must last equally long.")
    count = next(iter(lengths), STEPS)
    if not count:
        raise BadInput("The input lasts 0 steps; a network runs for one step at least.")
    out = {}
    for name, array in arrays.items():
        if not _is_series(array, sizes[name]):
            flat = _flat(array, name, sizes[name])
            array = np.broadcast_to(flat[:, None], (len(flat), count, sizes[name]))
        if not np.isfinite(arrays[name]).all():
            raise BadInput(f"Input {name!r} has numbers that are infinite or none (NaN); a neuron needs finite ones.")
        out[name] = array
    if len({len(array) for array in out.values()}) > 1:
        raise BadInput(f"The inputs hold {_both({len(array) for array in out.values()})} samples; give equally many.")
    return out


def _infos(network: SpikingNetwork) -> tuple[ValueInfo, ...]:
    return tuple(ValueInfo(entry.name, "float32", ("batch", "steps", entry.size)) for entry in network.inputs)


def _is_series(array: np.ndarray, size: int) -> bool:
    return bool(array.ndim == 3 and array.shape[2] == size)


def _flat(array: np.ndarray, name: str, size: int) -> np.ndarray:
    if array.ndim and math.prod(array.shape[1:]) == size:
        return array.reshape(len(array), size)
    if array.ndim == 1 and len(array) == size:
        return array.reshape(1, size)
    raise BadInput(
        f"Input {name!r} takes a time series (batch, steps, {size}) or images of {size} numbers each; the array given "
        f"has shape {array.shape}."
    )


def _both(numbers: set[int]) -> str:
    return " and ".join(str(number) for number in sorted(numbers))
