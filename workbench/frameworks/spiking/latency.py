"""How many steps a spiking network needs: accuracy and spikes by steps, of several networks on the same inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadInput
from .engine_onnxruntime import OnnxRuntimeSnnEngine

if TYPE_CHECKING:
    import pandas as pd

AT_ONCE = 1 << 24
"""Spikes of all layers, samples and steps that are kept at once, 64 MiB."""


@dataclass(frozen=True)
class Latency:
    """One network after so many steps.

    Attributes:
        accuracy: the share of the targets that its largest output names.
        spikes: fired per sample until then, in all layers.
    """

    network: str
    steps: int
    accuracy: float
    spikes: float


@dataclass(frozen=True)
class LatencyTable:
    """A row for each network and number of steps."""

    rows: tuple[Latency, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def frame(self) -> pd.DataFrame:
        """A row per network, accuracy and spikes of each number of steps beside each other."""
        import pandas as pd

        names = list(dict.fromkeys(row.network for row in self.rows))
        return pd.DataFrame([asdict(row) for row in self.rows]).pivot(index="network", columns="steps").loc[names]

    def __str__(self) -> str:
        wide = max(len("network"), *(len(row.network) for row in self.rows))
        lines = [f"{'network':<{wide}}  {'steps':>6}  {'accuracy':>8}  {'spikes':>12}"]
        lines += [f"{r.network:<{wide}}  {r.steps:>6,}  {r.accuracy:>8.3f}  {r.spikes:>12,.0f}" for r in self.rows]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return str(self.frame.to_html(float_format="{:,.3f}".format))


def latency(
    networks: Mapping[str, Any], inputs: np.ndarray, targets: np.ndarray, *, steps: Sequence[int] = (5, 10, 30, 100)
) -> LatencyTable:
    """How accurate networks are after so many steps, and how many spikes that takes, in ONNX Runtime.

    Args:
        networks: {what to call it: what `spiking` gave, a file, a ``nengo.Network`` (such as ``net`` of a
            ``nengo_dl.Converter``) or an open simulator}. Each has one input, and its first answer names the class.
        inputs: ``(n, …)``, held while a network runs, in the order it takes them.
        targets: ``(n,)``, the right classes, by their place in the answer.
        steps: after how many to look.

    Raises:
        BadInput: the inputs do not fit the targets or a network; or no steps.
        UnreadableFile, UnsupportedModel: see `workbench.frameworks.spiking.load.load_network`.
    """
    targets = np.asarray(targets).reshape(-1)
    if len(inputs) != len(targets) or not len(targets):
        raise BadInput(f"Expected a target for each input, found {len(inputs)} inputs and {len(targets)} targets.")
    if not networks or not steps or min(steps) < 1:
        raise BadInput(
            f"Found {len(networks)} networks and steps {tuple(steps)}; expected one network at least, and after how "
            "many steps to look, each 1 or more."
        )
    rows = []
    for name, network in networks.items():
        with OnnxRuntimeSnnEngine(network) as engine:
            right, fired = _counted(engine, np.asarray(inputs), targets, sorted(set(steps)))
        found = zip(sorted(set(steps)), right, fired, strict=True)
        rows += [Latency(name, n, float(r / len(targets)), float(f / len(targets))) for n, r, f in found]
    return LatencyTable(tuple(rows))


def _counted(
    engine: OnnxRuntimeSnnEngine, inputs: np.ndarray, targets: np.ndarray, steps: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """(how many are right, how many spikes there were) after each number of steps."""
    network = engine.network
    spiking = network.spiking()
    neurons = {node.name: node for node in network.neurons() if node.name in spiking}
    # PyTorch's neurons give ones.
    worth = {
        name: 1.0 if node.op == "LeakyIntegrateAndFire" else node.attributes.get("amplitude", 1.0) / network.dt
        for name, node in neurons.items()
    }
    batch = max(1, AT_ONCE // (max(1, sum(spiking.values())) * steps[-1]))
    right, fired = np.zeros(len(steps)), np.zeros(len(steps))
    for begin in range(0, len(targets), batch):
        part = slice(begin, begin + batch)
        answers = engine.run(inputs[part], steps=steps[-1], spikes=list(spiking))
        for place, count in enumerate(steps):
            scores = next(iter(engine.settled({o.name: answers[o.name][:, :count] for o in engine.outputs}).values()))
            right[place] += (scores.argmax(axis=1) == targets[part]).sum()
            fired[place] += sum(answers[layer][:, :count].sum(dtype=float) / worth[layer] for layer in spiking)
    return right, fired
