"""NIR's graph as a `SpikingNetwork`. The mapping is in `nir.py`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import nir
import numpy as np

from ...errors import BadInput, UnreadableFile, UnsupportedModel
from .arrays import f32, lowpass
from .check import MAX_NUMBERS
from .network import Input, Node, Output, SpikingNetwork, stateless
from .neurons import MODELS, SYNAPSES
from .nir_steps import FRAMEWORKS, Stepping
from .stateless import STATELESS

KEY = "onnx_workbench"
"""The ``metadata`` entry, JSON, that holds what NIR has no field for; arrays are entries beside it."""

LEAKY = ("LIF", "LI", "CubaLIF", "CubaLI")
SPIKING = ("LIF", "IF", "CubaLIF", "Threshold")
MAX_STEPS = 1000
"""The longest delay, in steps: each is a node."""

Shape = tuple[int, ...]


def network(graph: nir.NIRGraph, name: str, how: Stepping) -> SpikingNetwork:
    """The network of a graph.

    Args:
        how: as a person or a framework says; `nir.read_nir` fills in the rest.
    """
    nodes, edges = _flat(graph, "")
    metadata = _metadata(graph)
    notes: list[str] = []
    dt = how.dt or metadata.get("dt") or how.usual
    if dt is None and (dt := _dt_of_unit_input(nodes)) is not None:
        notes.append(f"The file has no time step: it is taken to be {dt:g} s, for which r = tau / dt everywhere.")
    if dt is None and any(type(node).__name__ in (*LEAKY, "IF", "I", "Delay") for node in nodes.values()):
        raise BadInput(
            f"{name} does not say how long a step is, and nothing in it tells (an r of 1 does not): pass framework=, "
            f"the one that wrote it ({', '.join(FRAMEWORKS)}), or dt=, seconds per step."
        )
    if not (how.dt or "dt" in metadata) and (longest := max(_taus(nodes), default=0.0)) > how.longest:
        raise BadInput(
            f"{name} has time constants of up to {longest:g}, in seconds, as earlier exporters of Norse wrote them, "
            "without the step of its cells: pass dt= as well, theirs."
        )
    with np.errstate(all="ignore"):
        reader = _Reader(nodes, edges, replace(how, dt=float(dt or 0.001)), notes)
        return reader.network(name, metadata)


def _metadata(node: Any) -> dict[str, Any]:
    """What `nir_write` put into a node's metadata."""
    metadata = json.loads((node.metadata or {}).get(KEY, "{}"))
    return metadata if isinstance(metadata, dict) else {}


def _flat(graph: Any, prefix: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Nodes and edges, those of subgraphs among them; a subgraph's Input and Output stay, and pass signals on."""
    nodes: dict[str, Any] = {}
    edges = [(f"{prefix}{before}", f"{prefix}{after}") for before, after in graph.edges]
    for key, node in graph.nodes.items():
        name = f"{prefix}{key}"
        if not isinstance(node, nir.NIRGraph):
            nodes[name] = node
            continue
        inner, inner_edges = _flat(node, f"{name}.")
        ends = {}
        for kind in ("Input", "Output"):
            found = [f"{name}.{key}" for key, child in node.nodes.items() if type(child).__name__ == kind]
            if len(found) != 1:
                raise UnsupportedModel(f"NIR subgraph {name!r} has {len(found)} nodes {kind}, and one is understood.")
            ends[kind] = found[0]
        nodes |= inner
        edges = [(ends["Output"] if a == name else a, ends["Input"] if b == name else b) for a, b in edges]
        edges += inner_edges
    missing = {end for edge in edges for end in edge} - nodes.keys()
    if missing:
        raise UnreadableFile(f"An edge of the NIR graph ends at {sorted(missing)[0]!r}, which is no node of it.")
    return nodes, list(dict.fromkeys(edges))


def _dt_of_unit_input(nodes: dict[str, Any]) -> float | None:
    """The time step for which every neuron adds its input as it is, r = tau / dt, where that is no coincidence: it is
    `UNIT_INPUT`, or time constants of several lengths agree on it. An r of 1 is what many exporters write who say
    nothing: it would be a neuron that forgets within a step."""
    found: set[float] = set()
    for node in nodes.values():
        kind = type(node).__name__
        if kind in LEAKY and np.any(np.asarray(node.r) <= 1 + 1e-6):
            return None
        if kind in (*LEAKY, "IF", "I"):
            tau = np.asarray(getattr(node, "tau_mem", getattr(node, "tau", 1.0)), np.float64)
            found |= {float(f"{ratio:.5g}") for ratio in np.ravel(tau / node.r)}
    dt = found.pop() if len(found) == 1 else 0.0
    agreed = len({float(f"{tau:.5g}") for tau in _taus(nodes, ("tau", "tau_mem"))}) > 1
    return dt if dt == UNIT_INPUT or (agreed and 0 < dt <= 1) else None


UNIT_INPUT = 1e-4
"""The step that snnTorch's and SpikingJelly's exporters have by default."""


def _taus(nodes: dict[str, Any], names: tuple[str, ...] = ("tau", "tau_mem", "tau_syn")) -> list[float]:
    """Every time constant."""
    return [
        float(tau)
        for node in nodes.values()
        for name in names
        if hasattr(node, name)
        for tau in np.unique(np.asarray(getattr(node, name)))
    ]


@dataclass
class _Reader:
    """Reads node by node. What each takes is settled at the end: in a cycle it may be a signal that comes later."""

    nodes: dict[str, Any]
    edges: list[tuple[str, str]]
    how: Stepping
    notes: list[str]
    made: list[Node] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    given: dict[str, tuple[str, Shape]] = field(default_factory=dict)
    """NIR node -> the signal it gives, and its shape as NIR has it."""
    first: dict[str, tuple[Node, Shape]] = field(default_factory=dict)
    """NIR node -> the first node made of it, which takes its inputs, and the shape it takes."""

    def __post_init__(self) -> None:
        self.numbers = 0
        self.dt = self.how.dt or 0.0
        self.before: dict[str, list[str]] = {key: [] for key in self.nodes}
        self.after: dict[str, list[str]] = {key: [] for key in self.nodes}
        for source, target in self.edges:
            self.before[target].append(source)
            self.after[source].append(target)
        self.metadata = {key: _metadata(node) for key, node in self.nodes.items()}
        self.names = {key: str(self.metadata[key].get("name", key)) for key in self.nodes}
        self.readers: dict[str, Callable[[str, Any, Shape], tuple[list[Node], Shape]]] = {
            "Affine": self._affine, "Linear": self._affine, "Scale": self._scale, "Flatten": self._flatten,
            "Conv1d": self._conv, "Conv2d": self._conv, "AvgPool2d": self._pool, "SumPool2d": self._pool,
            "LIF": self._neuron, "IF": self._neuron, "Threshold": self._neuron, "LI": self._neuron, "I": self._neuron,
            "CubaLIF": self._current_based, "CubaLI": self._current_based, "Delay": self._delay,
        }  # fmt: skip

    def network(self, name: str, metadata: dict[str, Any]) -> SpikingNetwork:
        late = self._late_edges()
        for key in self._ordered(late):
            self._read(key, late)
        for key, (node, shape) in list(self.first.items()):
            self._connect(key, node, shape, late)
        if "order" not in metadata:
            self._note_assumptions()
        order = {name: index for index, name in enumerate(metadata.get("order", []))}
        parts: list[Any]
        for parts in (self.inputs, self.made, self.outputs):
            parts.sort(key=lambda part: order.get(part.name, len(order)))
        return SpikingNetwork(
            metadata.get("network", name), self.dt, self.inputs, self.made, self.outputs,
            metadata.get("seeds", {}), metadata.get("notes", []) + self.notes, metadata.get("metadata", {}),
        )  # fmt: skip

    # --- the order of things

    def _remembers(self, key: str) -> bool:
        """It gives what it took in a step before, so that a cycle through it is none within a step."""
        return type(self.nodes[key]).__name__ == "Delay" or self.metadata[key].get("op") in SYNAPSES

    def _late_edges(self) -> set[tuple[str, str]]:
        """The edges that get a delay of one step, so that no cycle is left within a step.

        A depth-first walk from the inputs finds the edges that close a cycle. PyTorch's frameworks feed a layer its own
        spikes of the step before: so the delay moves back to where the signal left its neuron, if it is alone on the
        way.
        """
        closing: list[tuple[str, str]] = []
        seen: dict[str, bool] = {}  # True while its successors are being walked
        for start in sorted(self.nodes, key=lambda key: type(self.nodes[key]).__name__ != "Input"):
            stack = [] if start in seen else [(start, iter(self._same_step(start)))]
            seen.setdefault(start, True)
            while stack:
                key, following = stack[-1]
                target = next(following, None)
                if target is None:
                    seen[key] = False
                    stack.pop()
                elif target not in seen:
                    seen[target] = True
                    stack.append((target, iter(self._same_step(target))))
                elif seen[target]:
                    closing.append((key, target))
            seen[start] = False
        return {self._moved_back(edge) for edge in closing}

    def _same_step(self, key: str) -> list[str]:
        return [] if self._remembers(key) else self.after[key]

    def _moved_back(self, edge: tuple[str, str]) -> tuple[str, str]:
        key, target = edge
        while type(self.nodes[key]).__name__ not in (*SPIKING, "LI", "I", "CubaLI"):
            if len(self.before[key]) != 1 or len(self.after[key]) != 1:
                return edge
            key, target = self.before[key][0], key
        return key, target

    def _ordered(self, late: set[tuple[str, str]]) -> list[str]:
        """Each node after one that tells the shape it takes: after all that it needs within a step."""
        out: list[str] = []
        done = {key for key in self.nodes if self._remembers(key) and self._own_shape(key)}
        waiting = [*done, *(key for key in self.nodes if key not in done)]
        while waiting:
            later = []
            for key in waiting:
                if key in done or all(source in done or (source, key) in late for source in self.before[key]):
                    out.append(key)
                    done.add(key)
                else:
                    later.append(key)
            if len(later) == len(waiting):
                raise UnsupportedModel(f"Nothing tells the shape of what the NIR node {later[0]!r} takes.")
            waiting = later
        return out

    def _own_shape(self, key: str) -> Shape:
        """The shape that a node's parameters have; empty for a single number."""
        node = self.nodes[key]
        for name in ("r", "threshold", "v_threshold", "delay", "scale"):
            if hasattr(node, name):
                return np.shape(getattr(node, name))
        return ()

    def _connect(self, key: str, node: Node, expected: Shape, late: set[tuple[str, str]]) -> None:
        sources = []
        for before in self.before[key]:
            name, shape = self.given[before]
            if shape != expected:
                raise UnsupportedModel(f"NIR node {key!r} takes signals of shape {expected}, {before!r} gives {shape}.")
            sources.append(self._one_step_later(name, shape) if (before, key) in late else name)
        if not sources:
            raise UnsupportedModel(f"Nothing leads to the NIR node {key!r}.")
        if len(sources) > 1 and node.op != "Sum":
            total = Node("Sum", f"{self.names[key]}.sum", tuple(sources), _drawn(expected))
            self.made.insert(self.made.index(node), total)
            sources = [total.name]
        node.inputs = tuple(sources)

    def _one_step_later(self, name: str, shape: Shape) -> str:
        delay = lowpass(name, _drawn(shape), 0.0, f"{name}.delay")
        if all(node.name != delay.name for node in self.made):
            self.made.append(delay)
        return delay.name

    # --- nodes

    def _read(self, key: str, late: set[tuple[str, str]]) -> None:
        node = self.nodes[key]
        kind, metadata = type(node).__name__, self.metadata[key]
        known = [self.given[source][1] for source in self.before[key] if source in self.given]
        shape = known[0] if known else self._own_shape(key)
        if kind == "Input" and not self.before[key]:
            self._input(key, node)
        elif kind == "Output" and not self.after[key]:
            self._output(key, shape)
        elif kind in ("Input", "Output") or metadata.get("op") == "amplitude":
            (source,) = self.before[key]
            if (source, key) in late:
                raise UnsupportedModel(f"The NIR graph has a cycle that leads through {key!r} before any neuron.")
            self.given[key] = self.given[source]
        elif kind in self.readers:
            if kind in ("Affine", "Linear") and not known:
                shape = (node.weight.shape[-1],)
            restored = _restored(self.names[key], node, metadata, shape) if "op" in metadata else None
            made, after = ([restored], restored.shape) if restored else self.readers[kind](key, node, shape)
            for one, other in pairwise(made):
                other.inputs = (one.name,)
            self.made += made
            self._bounded(key, sum(part.size for part in made))
            self.first[key] = made[0], shape
            self.given[key] = made[-1].name, after
        else:
            raise UnsupportedModel(f"NIR node {kind} ({key!r}) has no counterpart here.")

    def _bounded(self, key: str, numbers: int) -> None:
        self.numbers += numbers
        if self.numbers > MAX_NUMBERS:
            raise UnsupportedModel(
                f"The signals of the NIR graph up to {key!r} are {self.numbers:,} numbers a step, more than "
                f"{MAX_NUMBERS:,}."
            )

    def _input(self, key: str, node: Any) -> None:
        shape = tuple(int(length) for length in node.input_type["input"])
        if len(shape) == 4 and shape[0] == 1:
            shape = shape[1:]  # a batch, which some exporters take along
        metadata = self.metadata[key]
        self._bounded(key, math.prod(shape))
        self.inputs.append(Input(self.names[key], math.prod(shape)))
        self.given[key] = self.names[key], shape
        if len(shape) > 1:
            name, order = metadata.get("image", f"{self.names[key]}.image"), metadata.get("order", "CHW")
            self.made.append(Node("Image", name, (self.names[key],), _drawn(shape), {}, {"order": order}))
            self.given[key] = name, shape

    def _output(self, key: str, shape: Shape) -> None:
        if len(shape) > 1 or len(self.before[key]) > 1:
            flat = Node("Flatten", f"{self.names[key]}.flat", (), (math.prod(shape),), {}, {"order": "CHW"})
            if len(shape) == 1:
                flat = Node("Sum", f"{self.names[key]}.sum", (), shape)
            self.made.append(flat)
            self.first[key] = flat, shape
            self.outputs.append(Output(self.names[key], flat.name))
        else:
            self.outputs.append(Output(self.names[key], self.given[self.before[key][0]][0]))

    def _affine(self, key: str, node: Any, shape: Shape) -> tuple[list[Node], Shape]:
        if node.weight.ndim != 2 or len(shape) != 1:
            raise UnsupportedModel(f"NIR node {key!r} is a matrix over {shape}: flatten the signal first.")
        if node.weight.shape[1] != shape[0]:
            raise UnsupportedModel(f"NIR node {key!r} has a matrix {node.weight.shape} and takes a signal {shape}.")
        weights = {"weight": f32(node.weight.T)}
        if hasattr(node, "bias"):
            weights["bias"] = f32(node.bias)
        made = stateless("Gemm", self.names[key], (), shape, weights)
        return [made], made.shape

    def _scale(self, key: str, node: Any, shape: Shape) -> tuple[list[Node], Shape]:
        return [Node("Scale", self.names[key], (), _drawn(shape), {"weight": _compact(node.scale, shape)})], shape

    def _flatten(self, key: str, node: Any, shape: Shape) -> tuple[list[Node], Shape]:
        start, end = int(node.start_dim) % len(shape), int(node.end_dim) % len(shape)
        after = (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
        if len(after) > 1:
            raise UnsupportedModel(
                f"NIR Flatten {key!r} turns {shape} into {after}: only flattening to one axis is known."
            )
        if len(shape) == 1:  # nothing to do: as a sum of one
            return [Node("Sum", self.names[key], (), shape)], shape
        return [Node("Flatten", self.names[key], (), after, {}, {"order": "CHW"})], after

    def _conv(self, key: str, node: Any, shape: Shape) -> tuple[list[Node], Shape]:
        weight = np.asarray(node.weight)
        rank = weight.ndim - 2
        if len(shape) != rank + 1:
            raise UnsupportedModel(f"NIR node {key!r} is a {rank}-D convolution of a signal {shape}.")
        if weight.shape[1] * int(node.groups) != shape[0]:
            raise UnsupportedModel(f"NIR node {key!r} has a kernel {weight.shape} and takes a signal {shape}.")
        strides, dilation = _pair(node.stride, rank), _pair(node.dilation, rank)
        for axis, step in enumerate(dilation):  # a dilated kernel is one with zeros between
            spread = [*weight.shape]
            spread[axis + 2] = (spread[axis + 2] - 1) * step + 1
            self._fits(key, spread[axis + 2], shape[axis + 1])
            wide = np.zeros(spread, weight.dtype)
            wide[(slice(None),) * (axis + 2) + (slice(None, None, step),)] = weight
            weight = wide
        before, after = _padding(node.padding, weight.shape[2:])
        if rank == 1:
            weight, strides, before, after = weight[:, :, None], [1, *strides], [0, *before], [0, *after]
        weights = {"weight": f32(weight)}
        if node.bias is not None and self.metadata[key].get("bias", True):
            weights["bias"] = f32(node.bias)
        settings = {"strides": strides, "pads": before + after, "group": int(node.groups)}
        made = stateless("Conv", self.names[key], (), _drawn(shape), weights, settings)
        return [made], made.shape if rank == 2 else (made.shape[0], made.shape[2])

    def _pool(self, key: str, node: Any, shape: Shape) -> tuple[list[Node], Shape]:
        if len(shape) != 3:
            raise UnsupportedModel(f"NIR node {key!r} pools over {shape}, which is no image.")
        kernel, strides, padding = (_pair(value, 2) for value in (node.kernel_size, node.stride, node.padding))
        for width, length in zip(kernel, shape[1:], strict=True):
            self._fits(key, width, length)
        settings = {"strides": strides, "pads": padding * 2}
        if type(node).__name__ == "AvgPool2d" and not any(padding):
            made = stateless("AveragePool", self.names[key], (), shape, {}, settings | {"kernel_shape": kernel})
        else:
            each = 1.0 if type(node).__name__ == "SumPool2d" else 1 / math.prod(kernel)
            weights = {"weight": np.full((shape[0], 1, *kernel), each, np.float32)}
            made = stateless("Conv", self.names[key], (), shape, weights, settings | {"group": shape[0]})
        return [made], made.shape

    def _fits(self, key: str, width: int, length: int) -> None:
        if not 0 < width <= 3 * length:  # the image, and as much padding on either side
            raise UnsupportedModel(f"NIR node {key!r} has a window {width} wide over an image of {length}.")

    def _neuron(self, key: str, node: Any, shape: Shape) -> tuple[list[Node], Shape]:
        kind = type(node).__name__
        shape = self._broadcast(key, shape)
        if kind == "Threshold":
            decay, gain, bias = 0.0, 1.0, 0.0
        elif kind in ("IF", "I"):
            decay, gain, bias = 1.0, node.r * (1.0 if kind in self.how.jumps else self.dt), 0.0
        else:
            decay, gain, bias = self._leak(node.tau, node.r, node.v_leak, kind)
        threshold = node.threshold if kind == "Threshold" else getattr(node, "v_threshold", None)
        made = self._integrator(
            self.names[key],
            shape,
            decay,
            gain,
            bias,
            threshold,
            None if kind == "Threshold" else getattr(node, "v_reset", 0.0),
        )
        return [made], shape

    def _current_based(self, key: str, node: Any, shape: Shape) -> tuple[list[Node], Shape]:
        shape = self._broadcast(key, shape)
        current = self._integrator(
            f"{self.names[key]}.current", shape, *self._leak(node.tau_syn, node.w_in, 0.0, "current")
        )
        decay, gain, bias = self._leak(node.tau_mem, node.r, node.v_leak, type(node).__name__)
        threshold, reset = getattr(node, "v_threshold", None), getattr(node, "v_reset", 0.0)
        return [current, self._integrator(self.names[key], shape, decay, gain, bias, threshold, reset)], shape

    def _leak(self, tau: Any, r: Any, v_leak: Any, kind: str) -> tuple[Any, Any, Any]:
        """tau v' = v_leak - v + r I as one step: (decay, gain, bias)."""
        share = self.dt / np.asarray(tau, np.float64)
        if self.how.method != "euler":
            share = -np.expm1(-share)
        if np.any(share > 1 - 1e-6):
            raise UnsupportedModel(
                f"In a step of {self.dt:g} s a neuron with a time constant of {np.min(tau):g} s forgets all that it "
                "knew: pass the dt the network was trained with, in the file's unit of time."
            )
        gain = r * (1.0 if kind in self.how.jumps or self.how.method == "exact unweighted" else share)
        # Files hold r = tau / dt in float32: a product this close to 1 was meant to be 1.
        return 1 - share, np.where(np.abs(gain - 1) < 1e-6, 1.0, gain), v_leak * share

    def _integrator(
        self, name: str, shape: Shape, decay: Any, gain: Any, bias: Any, threshold: Any = None, v_reset: Any = 0.0
    ) -> Node:
        weights = {"gain": gain, "bias": bias, "decay": decay}
        attributes = {}
        several = threshold is not None and v_reset is not None and self.how.reset == "subtract all"
        if several:
            if not np.all(np.asarray(threshold) > 0):
                raise UnsupportedModel(f"{name!r} has a threshold of 0 or less, which fits any number of times.")
            weights |= {"threshold": threshold}
        elif threshold is not None:
            subtracted = self.how.reset != "to value"
            late = np.asarray(decay) if self.how.reset == "subtract late" else 1.0
            dropped = -np.divide(
                threshold, late, where=np.asarray(late) != 0, out=np.zeros(np.broadcast(threshold, late).shape)
            )
            weights |= {"threshold": threshold, "reset": dropped if subtracted else 0.0 if v_reset is None else v_reset}
            attributes = {"keep": float(subtracted)}
        drawn = {key: _compact(value, shape) for key, value in weights.items()}
        drawn["voltage"] = np.zeros((1, *_drawn(shape)), np.float32)
        op = "LeakyIntegrator" if threshold is None else "LeakyMultiSpike" if several else "LeakyIntegrateAndFire"
        return Node(op, name, (), _drawn(shape), drawn, attributes)

    def _delay(self, key: str, node: Any, shape: Shape) -> tuple[list[Node], Shape]:
        steps = np.unique(np.round(np.asarray(node.delay, np.float64) / self.dt, 3))
        if len(steps) != 1 or steps[0] % 1 or not 0 <= steps[0] <= MAX_STEPS:
            raise UnsupportedModel(
                f"NIR Delay {key!r} is {np.min(node.delay):g} to {np.max(node.delay):g} s: a delay of the same whole "
                f"number of steps of {self.dt:g} s for all (at most {MAX_STEPS}) is understood."
            )
        if steps[0] == 0:
            return [Node("Sum", self.names[key], (), _drawn(shape))], shape
        names = [*(f"{self.names[key]}.{step}" for step in range(1, int(steps[0]))), self.names[key]]
        return [lowpass("", _drawn(shape), 0.0, name) for name in names], shape

    def _broadcast(self, key: str, shape: Shape) -> Shape:
        """A neuron's shape: that of its parameters, or of what it takes where they are one number for all."""
        own = self._own_shape(key)
        whole = np.broadcast_shapes(own, shape)
        if shape and whole != shape:
            raise UnsupportedModel(
                f"NIR node {key!r} has parameters of shape {own} and takes signals of shape {shape}."
            )
        return whole

    def _note_assumptions(self) -> None:
        kinds = {type(node).__name__ for node in self.nodes.values()}
        if kinds & {*LEAKY, "IF", "I"}:
            stepped = (
                "Euler's method" if self.how.method == "euler" else "the exact solution for an input held for a step"
            ) + (", which is added unweighted" if self.how.method == "exact unweighted" else "")
            self.notes.append(f"NIR's equations are stepped by {stepped}, dt = {self.dt:g} s, from a voltage of 0.")
        if kinds & {*SPIKING} - {"Threshold"}:
            done = {
                "to value": "resets the voltage to v_reset, as NIR says",
                "subtract": "subtracts the threshold from the voltage at once",
                "subtract all": "takes the threshold from the voltage at once, as often as it fits, each time a spike",
                "subtract late": "subtracts the threshold from the voltage one step later, after its leak",
            }
            self.notes += [f"A spike {done[self.how.reset]}.", *([self.how.says] if self.how.says else [])]


def _restored(name: str, node: Any, metadata: dict[str, Any], shape: Shape) -> Node | None:
    """A node that `nir_write` wrote, with what its metadata adds to NIR's fields; those win where both speak."""
    op, extra = metadata["op"], node.metadata
    weights: dict[str, np.ndarray] = {}
    if op in MODELS:
        fields = {"gain": node.r, "bias": node.v_leak} if op == "LIF" else {}
        weights = {key: _cut(array, shape, metadata["shapes"][key]) for key, array in fields.items()}
        weights |= {key: f32(extra[key]) for key in (*MODELS[op].drive, *MODELS[op].states) if key not in fields}
    elif op in ("Scale", "Bias"):
        (key,) = STATELESS[op].weights
        weights[key] = _cut(node.scale if op == "Scale" else node.bias, shape, metadata["shapes"][key])
    elif op == "Slice":
        weights["indices"] = node.weight.argmax(1).astype(np.int64)
    elif op == "Gemm":  # after a Flatten in HWC order, which NIR does not have
        channels, height, width = metadata["image"]
        rows = node.weight.T.reshape(channels, height, width, -1).transpose(1, 2, 0, 3)
        weights["weight"] = f32(rows.reshape(shape[0], -1))
        if hasattr(node, "bias"):
            weights["bias"] = f32(node.bias)
    elif op not in ("Sum", "Place", "Flatten"):
        return None
    return stateless(op, name, (), shape, weights, dict(metadata.get("attributes", {})))


def _padding(padding: Any, kernel: Shape) -> tuple[list[int], list[int]]:
    """Before and after each axis; ``same`` as PyTorch has it."""
    if isinstance(padding, str):
        whole = [length - 1 if padding == "same" else 0 for length in kernel]
        return [length // 2 for length in whole], [length - length // 2 for length in whole]
    return _pair(padding, len(kernel)), _pair(padding, len(kernel))


def _pair(value: Any, rank: int) -> list[int]:
    return [int(each) for each in np.broadcast_to(np.asarray(value), (rank,))]


def _drawn(shape: Shape) -> Shape:
    """NIR's shape as ours: (C, N) is an image one pixel high."""
    return (shape[0], 1, shape[1]) if len(shape) == 2 else shape


def _compact(value: Any, shape: Shape) -> np.ndarray:
    """A parameter, (1, *shape), or of ones where it is the same everywhere."""
    whole = np.broadcast_to(np.asarray(value, np.float32), shape).reshape(1, *_drawn(shape))
    return np.ascontiguousarray(whole[(slice(0, 1),) * whole.ndim] if (whole == whole.flat[0]).all() else whole)


def _cut(array: Any, shape: Shape, stored: list[int]) -> np.ndarray:
    """Undo a broadcast to ``(1, *shape)``: of an axis that had length 1 the first entry is all there was."""
    whole = np.asarray(array, np.float32).reshape(1, *shape)
    axes = [1] * (whole.ndim - len(stored)) + stored
    return np.ascontiguousarray(whole[tuple(slice(0, length) for length in axes)].reshape(stored))
