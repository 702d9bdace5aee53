"""What Nengo's flat signals hold, and a `SpikingNetwork` built out of them, node by node.

`from_nengo.py` and `keras_layers.py` stand on this.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import nengo
import numpy as np

from ...errors import UnsupportedModel
from ...words import counted
from . import filters
from .arrays import decimal, f32, from_vector, reordered, same_pads, uniform
from .network import Input, Node, Output, SpikingNetwork, unused, windows
from .neurons import SYNAPSES

_DEFAULT_NAMES = {"Gemm": "dense", "Product": "dense"}


@dataclass(frozen=True)
class Signal:
    """What a Nengo vector holds.

    Attributes:
        name: of the node or input that gives it; shape: ``(n,)`` or ``(C, H, W)``.
        order: how an image lies in the vector, HWC or CHW; None for a flat signal.
        relay: label of the node it was passed on by: what its Image or Flatten will be called.
    """

    name: str
    shape: tuple[int, ...]
    order: str | None = None
    relay: str = ""


Wish = str | tuple[str, str] | None
"""What a node would like to be called: a label; (a node's or label's name, suffix); None for a number."""


def refuse(thing: Any, reason: str) -> UnsupportedModel:
    """The error for a Nengo object: ``The ensemble 'a' <reason>.``"""
    return UnsupportedModel(f"{called(thing)} {reason}.")


def called(thing: Any) -> str:
    """What to call a Nengo object in a sentence."""
    kind = {"TensorNode": "layer"}.get(type(thing).__name__, type(thing).__name__.lower())
    label = thing.label or getattr(getattr(thing, "tensor_func", None), "name", None)
    if label:
        return f"The {kind} {label!r}"
    if kind == "connection":
        return "The connection from " + " to ".join(_end(owner(end)) for end in (thing.pre_obj, thing.post_obj))
    return f"A{'n' if kind[0] in 'aeiou' else ''} {kind} without a label"


def _end(thing: Any) -> str:
    """What stands at an end of a connection, told by its size where it has no label."""
    if label := getattr(thing, "label", None):
        return str(label)
    if hasattr(thing, "n_neurons"):
        return f"an unlabelled ensemble of {counted(thing.n_neurons, 'neuron')}"
    return f"an unlabelled {type(thing).__name__.lower()} of size {getattr(thing, 'size_in', 0) or thing.size_out}"


def owner(thing: Any) -> Any:
    """The ensemble of neurons; anything else itself."""
    return getattr(thing, "ensemble", thing)


@dataclass
class Builder:
    """A network in the making. Nodes have temporary names until `finish`, which `wishes` become the names of.

    Attributes:
        inputs, nodes: so far.
        outputs: (name, its source's temporary name, its state).
        seeds: by temporary name; homes: the subnetwork of each, by temporary name; home: of what is emitted now.
        notes: see `SpikingNetwork`.
    """

    inputs: list[Signal] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[tuple[str, str, str]] = field(default_factory=list)
    seeds: dict[str, int] = field(default_factory=dict)
    homes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    home: tuple[str, ...] = ()
    dt: float = 0.001
    entry: Node | None = None
    """What takes the input of the synapse that was made last."""
    notes: list[str] = field(default_factory=list)
    wishes: dict[str, Wish] = field(default_factory=dict)
    views: dict[tuple[Any, ...], Signal] = field(default_factory=dict)

    def reserve(self, wish: Wish) -> str:
        name = f"\0{len(self.wishes)}"
        self.wishes[name] = wish
        return name

    def emit(
        self,
        op: str,
        inputs: list[Signal],
        shape: Iterable[int],
        wish: Wish,
        order: str | None = None,
        weights: dict[str, np.ndarray] | None = None,
        attributes: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> Signal:
        """Add a node; `wish` counts where `name` is not reserved yet."""
        name, shape = name or self.reserve(wish), tuple(int(length) for length in shape)
        self.nodes.append(Node(op, name, tuple(x.name for x in inputs), shape, weights or {}, attributes or {}))
        if self.home:
            self.homes[name] = self.home
        return Signal(name, shape, order)

    def flat(self, x: Signal) -> Signal:
        """A signal as Nengo's vector."""
        if x.order is None:
            return x
        key, wish = (x.name, x.order, x.relay), x.relay or (x.name, ".flatten")
        if key not in self.views:
            self.views[key] = self.emit("Flatten", [x], (int(np.prod(x.shape)),), wish, None, {}, {"order": x.order})
        return self.views[key]

    def image(self, x: Signal, shape: tuple[int, ...], order: str) -> Signal:
        """A signal as an image that lies in Nengo's vector in `order`."""
        if x.shape == shape and x.order and (x.order == order or reordered(shape, x.order, order) is None):
            return x
        x = self.flat(x)
        key, wish = (x.name, shape, order, x.relay), x.relay or (x.name, ".image")
        if key not in self.views:
            self.views[key] = self.emit("Image", [x], shape, wish, order, {}, {"order": order})
        return self.views[key]

    def arranged(self, vector: Any, x: Signal) -> np.ndarray:
        """Numbers in the order of Nengo's vector, as float32 of the signal's shape."""
        return f32(from_vector(np.asarray(vector).reshape(-1), x.shape, x.order))

    def added(self, signals: list[Signal], wish: Wish) -> Signal:
        """Their sum; as an image, where one of them is one."""
        if len(signals) == 1:
            return signals[0]
        image = next((signal for signal in signals if signal.order), None)
        if image is not None and image.order:
            signals = [self.image(signal, image.shape, image.order) for signal in signals]
        return self.emit("Sum", signals, signals[0].shape, wish, signals[0].order)

    def matrix(self, x: Signal, matrix: np.ndarray, wish: Wish, name: str | None = None) -> Signal:
        """`matrix` (outputs, inputs) times the signal."""
        return self.emit("Gemm", [self.flat(x)], (len(matrix),), wish, None, {"weight": f32(matrix.T)}, name=name)

    def scaled(self, x: Signal, factor: np.ndarray, wish: Wish, name: str | None = None) -> Signal:
        """The signal times one factor, or one for each element."""
        weight = f32(factor.reshape(1)) if factor.size == 1 else _by_channel(self.arranged(factor, x))
        return self.emit("Scale", [x], x.shape, wish, x.order, {"weight": weight}, name=name)

    def biased(self, value: Signal, constant: np.ndarray, wish: Wish) -> Signal:
        """The signal plus a constant vector."""
        weights = {"bias": _by_channel(self.arranged(constant, value))}
        return self.emit("Bias", [value], value.shape, wish, value.order, weights)

    def convolved(
        self,
        x: Signal,
        kernels: np.ndarray,
        strides: Iterable[int],
        padding: str,
        group: int,
        wish: Wish,
        name: str | None = None,
    ) -> Signal:
        """A convolution of an image with kernels OIHW."""
        strides = tuple(strides)
        sides, pads = padded(x.shape[1:], kernels.shape[2:], strides, padding)
        attributes = {"strides": [int(stride) for stride in strides], "pads": pads, "group": int(group)}
        return self.emit("Conv", [x], (len(kernels), *sides), wish, x.order, {"weight": kernels}, attributes, name)

    def filtered(
        self, synapse: Any, x: Signal | None, shape: tuple[int, ...], order: str | None, steps: dict[str, str]
    ) -> Signal:
        """The signal through a nengo synapse (`expressible`); `x` None if it is connected later, to `entry`. `steps`
        takes its name, by kind."""
        if type(synapse).__name__ == "Triangle":
            made = self._delayed(filters.taps(synapse, self.dt), x, shape, order)
            steps["triangle"] = made.name
            return made
        op, attributes = _operator(synapse, self.dt)
        weights = {state: np.zeros((1, *shape), np.float32) for state in SYNAPSES[op].states}
        made = self.emit(op, [x] if x else [], shape, None, order, weights, attributes)
        self.entry = self.nodes[-1]
        steps[op.lower()] = made.name
        return made

    def _delayed(self, taps: np.ndarray, x: Signal | None, shape: tuple[int, ...], order: str | None) -> Signal:
        """The signal, weighed by the first number, plus what it was a step before, by the second …, a step later."""
        parts, entry = [], None
        for weight in taps:
            level = {"level": np.zeros((1, *shape), np.float32)}
            x = self.emit("Lowpass", [x] if x else [], shape, None, order, level, {"tau": 0.0})
            entry = entry or self.nodes[-1]
            parts.append(self.emit("Scale", [x], shape, None, order, {"weight": f32([weight])}))
        self.entry = entry
        return self.added(parts, None)

    def signal(self, value: Any) -> Signal:
        """A constant as a signal: the first input times zero, plus the constant."""
        if isinstance(value, Signal):
            return value
        first = self.inputs[0]
        weights = {"weight": np.zeros((first.shape[0], len(value)), np.float32), "bias": f32(value + 0.0)}
        return self.emit("Gemm", [first], (len(value),), None, None, weights)

    # --- names

    def finish(self, name: str, dt: float, seed: int | None) -> SpikingNetwork:
        """The network, its nodes named and in order."""
        names: dict[str, str] = {}
        taken: set[str] = set()
        counts: dict[str, int] = {}

        def claim(wish: str) -> str:
            name = unused(wish, taken)
            taken.add(name)
            return name

        def numbered(kind: str) -> str:
            while True:
                counts[kind] = counts.get(kind, 0) + 1
                if f"{kind}{counts[kind]}" not in taken:
                    return claim(f"{kind}{counts[kind]}")

        def name_of(own: str, kind: str) -> str:
            if own not in names:
                wish = self.wishes[own]
                if isinstance(wish, tuple):
                    base, suffix = wish
                    wish = (name_of(base, kinds[base]) if base in self.wishes else base) + suffix
                names[own] = claim(wish) if wish else numbered(kind)
            return names[own]

        kinds = {x.name: "input" for x in self.inputs}
        kinds |= {node.name: _DEFAULT_NAMES.get(node.op, node.op.lower()) for node in self.nodes}
        for x in self.inputs:
            name_of(x.name, "input")
        outputs = [Output(claim(name), source, state) for name, source, state in self.outputs]
        for labelled in (True, False):
            for node in self.nodes:
                if isinstance(self.wishes[node.name], str) == labelled:
                    name_of(node.name, kinds[node.name])
        for node in self.nodes:
            node.name, node.inputs = names[node.name], tuple(names[name] for name in node.inputs)
        for output in outputs:
            output.source = names[output.source]
        seeds = {names[own]: value for own, value in self.seeds.items()} | ({} if seed is None else {"": int(seed)})
        inputs = [Input(names[x.name], x.shape[0]) for x in self.inputs]
        homes = {names[own]: home for own, home in self.homes.items()}
        made = SpikingNetwork(name, dt, inputs, self.nodes, outputs, seeds, self.notes, homes=homes)
        made.nodes = made.ordered()
        return made


def expressible(synapse: Any, dt: float) -> bool:
    """Whether `Builder.filtered` knows a synapse."""
    if type(synapse).__module__ != "nengo.synapses":
        return False  # a class of one's own
    if type(synapse).__name__ == "Triangle":
        return len(filters.taps(synapse, dt)) <= filters.MOST_TAPS
    return isinstance(synapse, nengo.LinearFilter) and _operator(synapse, dt)[1] is not None


def _operator(synapse: Any, dt: float) -> tuple[str, Any]:
    """The operator and attributes of a linear filter."""
    name = type(synapse).__name__
    if name in ("Lowpass", "Alpha") and synapse.analog and synapse.method == "zoh":
        # Alpha(0), like Lowpass(0), passes on its input a step later.
        return name if synapse.tau > 0 else "Lowpass", {"tau": decimal(synapse.tau)}
    return "LinearFilter", filters.coefficients(synapse, dt)


def padded(
    sizes: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], padding: str
) -> tuple[tuple[int, ...], list[int]]:
    """((height, width) that a kernel or pool gives, ONNX's pads), for padding "valid" or "same"."""
    pads = same_pads(sizes, kernel, strides) if padding == "same" else [0, 0, 0, 0]
    return windows(sizes, kernel, strides, pads), pads


def per_channel(image: np.ndarray) -> bool:
    """Whether an array is an image with one value for each channel."""
    return image.ndim == 3 and uniform(image, image[:, :1, :1])


def _by_channel(array: np.ndarray) -> np.ndarray:
    """An image-shaped weight as (C, 1, 1), where that says it all."""
    return f32(array[:, :1, :1]) if per_channel(array) else array
