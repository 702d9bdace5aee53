"""One description of a spiking network that every format here is read into and written from.

Nengo, ONNX and NIR say the same things in different words: weighted sums, neurons, synapses. `SpikingNetwork` says them
once, in ONNX's words and layouts (images CHW, convolution kernels OIHW, matrices as (inputs, outputs)), for one sample
and one time step; `write.py` adds batch and time.

```
nengo.Network --from_nengo--> SpikingNetwork --write--> .onnx       .nir --nir--> SpikingNetwork
nengo.Network <--to_nengo---- SpikingNetwork <--read--- .onnx       .nir <--nir-- SpikingNetwork
```
"""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import UnsupportedModel
from .neurons import DELAYED, MODELS, NEURONS, RULES


@dataclass
class Node:
    """One operation; its result is a signal of the same name.

    Attributes:
        op: a key of `stateless.STATELESS` or `neurons.MODELS`.
        name: unique; it becomes the ONNX node's name and the Nengo object's label.
        inputs: names of the signals it takes.
        shape: of its result for one sample and step: (n,) or (C, H, W).
        weights: what becomes initializers ``<name>.<key>``, float32 (indices int64). Neurons have ``gain`` and
            ``bias``, which broadcast against ``(1, *shape)``, and each state's start, of exactly that shape: so has
            a synapse.
        attributes: ONNX attributes: floats for neurons and synapses (without dt), ints and lists of ints elsewhere.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Numbers in its result, for one sample and step."""
        return math.prod(self.shape)

    @property
    def states(self) -> tuple[str, ...]:
        """Names of what it remembers from step to step, in the order of the operator's inputs."""
        return MODELS[self.op].states if self.op in MODELS else ()


@dataclass
class Input:
    """What is fed each step: a flat vector. An image comes flattened in the order its `Image` node says."""

    name: str
    size: int


@dataclass
class Output:
    """A probe: the signal `source`, flattened to (n,) by a `Flatten` node before if it was an image; where `state` is
    ``voltage``, not the result of the flat neurons `source`, but their voltage after each step."""

    name: str
    source: str
    state: str = ""


@dataclass
class SpikingNetwork:
    """A network, in any order of `nodes` that `ordered` can sort.

    Attributes:
        dt: seconds per step.
        seeds: seeds of the network and its ensembles by label ("" is the network), for the record: every random
            number they led to is stored as a value.
        homes: of inputs and nodes that are in a subnetwork, its name after those of the networks around it.
        notes: sentences for the person, about what was chosen or left out.
        metadata: the ONNX file's ``metadata_props``, where it came from one.
    """

    name: str
    dt: float
    inputs: list[Input]
    nodes: list[Node]
    outputs: list[Output]
    seeds: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    homes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def node(self, name: str) -> Node | None:
        """The node whose result is the signal `name`; None for an input."""
        return next((node for node in self.nodes if node.name == name), None)

    def shape(self, signal: str) -> tuple[int, ...]:
        """Of a signal: an input's or a node's, which there must be."""
        node = self.node(signal)
        return node.shape if node else (next(entry.size for entry in self.inputs if entry.name == signal),)

    def neurons(self) -> Iterator[Node]:
        """The neuron nodes."""
        return (node for node in self.nodes if node.op in NEURONS)

    def spiking(self) -> dict[str, int]:
        """{name: how many} of the neurons that give spikes rather than rates."""
        return {node.name: node.size for node in self.neurons() if NEURONS[node.op].spiking}

    @property
    def learns(self) -> bool:
        """Whether a learning rule changes weights."""
        return any(node.op in RULES for node in self.nodes)

    @property
    def recurrent(self) -> bool:
        """Whether a signal depends on itself through a synapse, or learns."""
        return self.learns or len(_sorted(self.nodes, self.inputs, through_synapses=True)) < len(self.nodes)

    def ordered(self) -> list[Node]:
        """The nodes so that each comes after what it needs in the same step. In a recurrent network a synapse (and a
        learning rule) gives what it remembers, so it needs nothing, and takes in its input last; in the others it comes
        after its input too.

        The order is stable: a network read back from a file keeps the file's order.

        Raises:
            UnsupportedModel: a cycle without a synapse, which no step could compute; it names the nodes.
        """
        out = [] if self.learns else _sorted(self.nodes, self.inputs, through_synapses=True)
        if len(out) < len(self.nodes):
            out = _sorted(self.nodes, self.inputs, through_synapses=False)
            out.sort(key=lambda node: node.op in DELAYED)
        if len(out) < len(self.nodes):
            done = {node.name for node in out}
            ring = [node.name for node in self.nodes if node.name not in done]
            raise UnsupportedModel(
                f"The network has a cycle without a synapse, through {', '.join(ring[:6])}: every answer would need "
                "itself; put a synapse (such as Lowpass) on one of its connections."
            )
        return out


def windows(
    lengths: Collection[int], kernel: Collection[int], strides: Collection[int], pads: Sequence[int], ceil: bool = False
) -> tuple[int, ...]:
    """How many windows fit along each axis; `pads` has those before every axis, then those behind."""
    sides = zip(lengths, kernel, pads[: len(kernel)], pads[len(kernel) :], strict=True)
    frees = [length + before + after - width for length, width, before, after in sides]
    return tuple((-(-free // step) if ceil else free // step) + 1 for free, step in zip(frees, strides, strict=True))


def stateless(
    op: str,
    name: str,
    inputs: tuple[str, ...],
    taken: tuple[int, ...],
    weights: dict[str, np.ndarray] | None = None,
    attributes: dict[str, Any] | None = None,
) -> Node:
    """An operator without state, whose shape follows from that of what it takes."""
    made = Node(op, name, inputs, (), weights or {}, attributes or {})
    made.shape = tuple(int(length) for length in result_shape(made, taken))
    return made


def result_shape(node: Node, taken: tuple[int, ...]) -> tuple[int, ...]:
    """What an operator without state gives for a signal of the shape `taken`, by its weights and attributes."""
    weights, attributes = node.weights, node.attributes
    if node.op == "Product":
        return taken[:1]
    if node.op == "Place":
        return (attributes["size"],)
    if node.op == "Flatten":
        return (math.prod(taken),)
    if node.op == "Slice":
        return weights["indices"].shape
    if node.op == "Gemm":
        return (weights["weight"].shape[1],)
    if node.op in ("Conv", "AveragePool", "MaxPool"):
        kernel = weights["weight"].shape[2:] if node.op == "Conv" else attributes["kernel_shape"]
        channels = weights["weight"].shape[0] if node.op == "Conv" else taken[0]
        return (
            channels,
            *windows(taken[1:], kernel, attributes.get("strides", [1, 1]), attributes.get("pads", [0] * 4)),
        )
    return taken


def unused(wish: str, taken: Container[str]) -> str:
    """That name, or the first of ``<name>_2``, ``<name>_3`` … that is not taken."""
    name, number = wish, 1
    while name in taken:
        number += 1
        name = f"{wish}_{number}"
    return name


def _sorted(nodes: list[Node], inputs: list[Input], *, through_synapses: bool) -> list[Node]:
    ready = {entry.name for entry in inputs}
    if not through_synapses:
        ready |= {node.name for node in nodes if node.op in DELAYED}
    out: list[Node] = []
    waiting = list(nodes)
    while waiting:
        later = []
        for node in waiting:
            if ready.issuperset(node.inputs) or (not through_synapses and node.op in DELAYED):
                out.append(node)
                ready.add(node.name)
            else:
                later.append(node)
        if len(later) == len(waiting):
            break
        waiting = later
    return out
