"""A feed-forward network in ONNX's own operators, read layer by layer as a `SpikingNetwork`.

`foreign.py` and `spiking.py` stand on this: both read convolutions, matrices and pooling alike, and differ in what
an activation becomes. Layouts are sorted out here: images come as NCHW or NHWC and are flattened as CHW or HWC, by
Transpose, Reshape and Flatten nodes whose meaning ends up in an `Image` and a `Flatten` node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ... import sandbox
from ...errors import UnreadableFile, UnsupportedModel
from .arrays import f32, lowpass, same_pads
from .check import MAX_NUMBERS, check, sound
from .network import Input, Node, Output, SpikingNetwork, stateless, unused, windows
from .read import attributes_of, refused, values

TO_CHW, TO_HWC = [0, 3, 1, 2], [0, 2, 3, 1]
MAX_SHAPE = 64
"""Numbers of a constant that may be a shape."""

PASSED_ON = ("Identity", "Dropout", "Cast")
ELEMENTWISE = ("Relu", "Sigmoid", "Tanh", "Softplus", "Elu", "Selu", "LeakyRelu")


@dataclass
class Value:
    """What an ONNX tensor is here.

    Attributes:
        signal: the name of the `Node` (or `Input`) that gives it.
        dims: the tensor's shape, without the batch.
        order: how the tensor's axes lie over an image signal, CHW or HWC; empty where the signal is flat. A tensor of
            two axes is an image one pixel high: (C, W), or (W, C).
    """

    signal: str
    dims: tuple[int, ...]
    order: str = ""

    @property
    def image(self) -> tuple[int, ...]:
        """`dims` with the height, which a series has not."""
        if len(self.dims) != 2:
            return self.dims
        one, other = self.dims
        return (1, one, other) if self.order == "HWC" else (one, 1, other)


def read_layers(
    model: onnx.ModelProto,
    activations: Collection[str],
    activation: Callable[[Layers, onnx.NodeProto, Value], Value],
    dt: float = 0.001,
) -> SpikingNetwork:
    """The network of an ONNX model that has one input (batch first) and no cycle.

    Args:
        model: with its weights as initializers.
        activations: op_types, of any domain, that `activation` reads; it gets the layers so far, the node, its input.
        dt: seconds per step.

    Raises:
        UnreadableFile: attributes or weights that make no sense, or more numbers than `check.MAX_NUMBERS`.
        UnsupportedModel: an operator, or a use of one, that has no counterpart in a spiking network; it is named.
    """
    with sound(
        f"{model.graph.name or 'The model'} is no sound ONNX network", "check it with onnx.checker, and write it again"
    ):
        layers = Layers(model, dt)
        for node in model.graph.node:
            if node.op_type in activations:
                layers.values[node.output[0]] = activation(layers, node, layers.value(node, 0))
            else:
                layers.read(node)
        network = layers.network()
    check(network)
    return network


@dataclass
class Layers:
    """The layers read so far."""

    model: onnx.ModelProto
    dt: float
    nodes: list[Node] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.model.graph
        for tensor in graph.initializer:
            if tensor.data_location:
                raise UnsupportedModel(
                    f"The weights of {tensor.name!r} are in a file of their own: load the model from its path."
                )
            self.constants[tensor.name] = values(tensor)
        entries = [entry for entry in graph.input if entry.name not in self.constants]
        if len(entries) != 1:
            raise UnsupportedModel(
                f"Expected a network with one input, found {len(entries)}: {', '.join(e.name for e in entries)}."
            )
        self.shapes = _shapes(self.model)
        self.arithmetic: set[str] = set()  # tensors that say shapes
        self.used = {entries[0].name, *(entry.name for entry in graph.output)}
        dims = self.shapes.get(entries[0].name, ())
        if not dims or 0 in dims or len(dims) > 3:
            raise UnsupportedModel(
                f"Input {entries[0].name!r} should be images, series or vectors of known size, with the batch first; "
                f"its shape is {['batch', *dims]}."
            )
        self.entry = Input(entries[0].name, math.prod(dims))
        self.numbers = 0
        self._count(self.entry.size)
        self.values[entries[0].name] = Value(entries[0].name, dims)
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    # --- what readers of activations use

    def name(self, node: onnx.NodeProto, suffix: str = "") -> str:
        """A name that no node has yet, after the ONNX node's."""
        name = unused((node.name or node.output[0]) + suffix, self.used)
        self.used.add(name)
        return name

    def add(self, node: Node, order: str = "", rank: int = 3) -> Value:
        """Append a node; its tensor has the order given, and that many axes, if it is an image."""
        self._count(node.size)
        self.nodes.append(node)
        dims = node.shape
        if len(dims) == 3:
            order = order or "CHW"
            sides = dims[1:] if rank == 3 else dims[2:]
            dims = (dims[0], *sides) if order == "CHW" else (*sides, dims[0])
        return Value(node.name, dims, order)

    def _count(self, numbers: int) -> None:
        """Stop before weights or neurons of that many are made."""
        self.numbers += numbers
        if self.numbers > MAX_NUMBERS:
            raise UnreadableFile(f"The network's signals hold more than {MAX_NUMBERS:,} numbers a step.")

    def shape(self, value: Value) -> tuple[int, ...]:
        """The signal's shape: (C, H, W) or (n,)."""
        if not value.order:
            return (math.prod(value.dims),)
        return value.image if value.order == "CHW" else (value.image[2], *value.image[:2])

    def value(self, node: onnx.NodeProto, index: int) -> Value:
        """The signal at one of a node's inputs.

        Raises:
            UnsupportedModel: it is no signal but a constant, or nothing gives it.
        """
        name = node.input[index] if index < len(node.input) else ""
        if name not in self.values:
            raise refused(node, f"takes {name!r}, which no layer before it gives")
        return self.values[name]

    def node(self, name: str) -> Node | None:
        return next((node for node in self.nodes if node.name == name), None)

    # --- operators

    def read(self, node: onnx.NodeProto) -> None:
        """Read one ONNX node that is not an activation."""
        op_type = node.op_type
        if op_type == "Constant":
            self.constants[node.output[0]] = _constant(node)
        elif op_type == "Shape" or self._is_arithmetic(node):
            self.arithmetic.add(node.output[0])
        elif node.domain not in ("", "ai.onnx"):
            raise refused(node, "has no counterpart in a spiking network")
        elif op_type in PASSED_ON:
            self.values[node.output[0]] = self.value(node, 0)
        elif (reader := getattr(self, f"_{op_type.lower()}", None)) is not None:
            self.values[node.output[0]] = reader(node, attributes_of(node))
        elif op_type in ELEMENTWISE:
            self.values[node.output[0]] = self._alike(op_type, node, self.value(node, 0), {}, attributes_of(node))
        else:
            raise refused(
                node,
                "has no counterpart in a spiking network: Conv, Gemm, MatMul, pooling, batch "
                "normalisation, Flatten and Relu have",
            )

    def _is_arithmetic(self, node: onnx.NodeProto) -> bool:
        """It computes a shape: everything it takes is a constant or a shape already."""
        taken = [name for name in node.input if name]
        known = all(name in self.arithmetic or name in self.constants for name in taken)
        return known and any(name in self.arithmetic for name in taken)

    def _alike(
        self, op: str, node: onnx.NodeProto, source: Value, weights: dict[str, np.ndarray], attributes: dict[str, Any]
    ) -> Value:
        """An operator whose result is of its signal's shape, and lies as that does."""
        made = Node(op, self.name(node), (source.signal,), self.shape(source), weights, attributes)
        return Value(self.add(made, source.order).signal, source.dims, source.order)

    def _image(self, node: onnx.NodeProto) -> Value:
        """The input as an image whose tensor is CHW; a flat signal seen as one gets an `Image` node."""
        value = self.value(node, 0)
        if len(value.dims) < 2 or value.order == "HWC":
            raise refused(node, f"needs images or series with the channels first; its input is {value.dims}")
        return value if value.order else self._as_image(node, value, "CHW")

    def _as_image(self, node: onnx.NodeProto, value: Value, order: str) -> Value:
        shape = self.shape(Value("", value.dims, order))
        made = Node("Image", self.name(node, ".image"), (value.signal,), shape, {}, {"order": order})
        return self.add(made, order, len(value.dims))

    def _transpose(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        value, perm = self.value(node, 0), list(attributes.get("perm", []))
        if perm == list(range(len(value.dims) + 1)):
            return value
        # Of a series, both ways look alike.
        to_chw = perm == (TO_CHW if len(value.dims) == 3 else [0, 2, 1]) and value.order != "CHW"
        if perm == [0, 2, 1] or (len(value.dims) == 3 and perm in (TO_CHW, TO_HWC)):
            before, after = ("HWC", "CHW") if to_chw else ("CHW", "HWC")
            if not value.order:
                value = self._as_image(node, value, before)
            if value.order == before:
                return Value(value.signal, tuple(value.dims[axis - 1] for axis in perm[1:]), after)
        raise refused(node, f"reorders axes by {perm}; only channels first to last, and back, can be")

    def _flatten(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        if attributes.get("axis", 1) != 1:
            raise refused(node, f"flattens from axis {attributes['axis']}, not from the one after the batch")
        return self._reshaped(node, (math.prod(self.value(node, 0).dims),))

    def _reshape(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        value = self.value(node, 0)
        target = [int(length) for length in self.constants[node.input[1]]] if node.input[1] in self.constants else None
        if target is None:
            dims = self.shapes.get(node.output[0])
            if dims is None or 0 in dims:
                raise refused(node, "has a target shape that the file alone does not tell")
            return self._reshaped(node, dims)
        rest = [value.dims[i] if length == 0 else length for i, length in enumerate(target[1:])]
        if -1 in rest:
            rest[rest.index(-1)] = math.prod(value.dims) // max(1, -math.prod(rest))
        return self._reshaped(node, tuple(rest))

    def _unsqueeze(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        value = self.value(node, 0)
        axes = attributes.get("axes") or (self._weight(node, 1).tolist() if len(node.input) > 1 else [])
        dims, rank = [0, *value.dims], 1 + len(value.dims) + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            dims.insert(axis, 1)
        return self._reshaped(node, tuple(dims[1:]))

    def _squeeze(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        return self._reshaped(node, tuple(length for length in self.value(node, 0).dims if length != 1) or (1,))

    def _reshaped(self, node: onnx.NodeProto, dims: tuple[int, ...]) -> Value:
        value = self.value(node, 0)
        if math.prod(dims) != math.prod(value.dims):
            raise refused(node, f"would turn {value.dims} into {dims}, which mixes the batch in")
        if not value.order:
            return Value(value.signal, dims)
        same = Value(value.signal, dims, value.order)
        if len(dims) in (2, 3) and same.image == value.image:
            return same
        return self._flat(value, dims, self.name(node))

    def _flat(self, value: Value, dims: tuple[int, ...], name: str) -> Value:
        """An image as its tensor's numbers one after the other."""
        made = Node("Flatten", name, (value.signal,), (math.prod(dims),), {}, {"order": value.order})
        return Value(self.add(made).signal, dims)

    def _concat(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        parts = [self.value(node, index) for index in range(len(node.input))]
        axis = attributes.get("axis", 1) % (1 + len(parts[0].dims)) - 1
        where, total, placed = [], 0, []
        for part in parts:
            where.append(np.arange(total, total + math.prod(part.dims)).reshape(part.dims))
            total += where[-1].size
        if axis < 0 or len({array.shape[:axis] + array.shape[axis + 1 :] for array in where}) > 1:
            raise refused(node, f"joins {', '.join(str(part.dims) for part in parts)} along {axis + 1}")
        for part, array in zip(parts, where, strict=True):
            part = self._flat(part, part.dims, self.name(node, ".flat")) if part.order else part
            place = {"start": int(array.flat[0]), "size": total}
            placed.append(self.add(Node("Place", self.name(node, ".part"), (part.signal,), (total,), {}, place)).signal)
        joined = np.concatenate(where, axis)
        made = self.add(Node("Sum", self.name(node), tuple(placed), (total,)))
        if not np.array_equal(joined.reshape(-1), np.arange(total)):
            weights = {"indices": joined.reshape(-1)}
            made = self.add(Node("Slice", self.name(node, ".order"), (made.signal,), (total,), weights))
        return Value(made.signal, joined.shape)

    def _conv(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        weight = self._weight(node, 1)
        source = self._image(node)
        rank = len(source.dims)
        if weight.ndim != rank + 1 or any(step != 1 for step in attributes.get("dilations", [])):
            raise refused(node, "is not a plain 1-D or 2-D convolution (dilated, or of more dimensions)")
        _, strides, pads = _windows_of(attributes, source, list(weight.shape[2:]))
        weight = weight if rank == 3 else weight[:, :, None]
        weights = {"weight": f32(weight)} | ({"bias": f32(self._weight(node, 2))} if len(node.input) > 2 else {})
        settings = {"strides": strides, "pads": pads, "group": int(attributes.get("group", 1))}
        made = stateless("Conv", self.name(node), (source.signal,), source.image, weights, settings)
        return self.add(made, rank=rank)

    def _averagepool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        return self._pooled(node.op_type, node, self._image(node), attributes)

    _maxpool = _averagepool

    def _globalaveragepool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        source = self._image(node)
        return self._pooled("AveragePool", node, source, {"kernel_shape": source.dims[1:]})

    def _reducemean(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        axes = attributes.get("axes") or (self._weight(node, 1).tolist() if len(node.input) > 1 else [])
        value = self.value(node, 0)
        rank = len(value.dims)
        space = sorted(axis % (rank + 1) for axis in axes)
        first, last = list(range(2, rank + 1)), list(range(1, rank))
        if rank > 1 and not value.order and space in (first, last):
            value = self._as_image(node, value, "CHW" if space == first else "HWC")
        if not value.order or space != (first if value.order == "CHW" else last):
            raise refused(node, f"averages over axes {axes}; only height and width have a meaning here")
        shape = self.shape(value)
        made = self._pooled("AveragePool", node, value, {"kernel_shape": shape[4 - rank :]})
        self.values[node.output[0]] = made
        if attributes.get("keepdims", 1):
            ones = (1,) * (rank - 1)
            return Value(made.signal, (shape[0], *ones) if value.order == "CHW" else (*ones, shape[0]), value.order)
        return self._flat(Value(made.signal, made.dims, "CHW"), (shape[0],), self.name(node, ".flat"))

    def _pooled(self, op: str, node: onnx.NodeProto, source: Value, attributes: dict[str, Any]) -> Value:
        shape = self.shape(source)
        kernel, strides, pads = _windows_of(attributes, source, [int(n) for n in attributes["kernel_shape"]])
        size = windows(shape[1:], kernel, strides, pads)
        if attributes.get("ceil_mode") and size != windows(shape[1:], kernel, strides, pads, ceil=True):
            raise refused(node, "rounds its output's size up (ceil_mode): use whole windows")
        if attributes.get("count_include_pad") and any(pads):
            raise refused(node, "averages over its padding too: use a pooling without padding")
        if any(step != 1 for step in attributes.get("dilations", [])):
            raise refused(node, "is dilated: use a plain pooling")
        settings = {"kernel_shape": kernel, "strides": strides, "pads": pads}
        made = stateless(op, self.name(node), (source.signal,), shape, {}, settings)
        return self.add(made, source.order, len(source.dims))

    def _batchnormalization(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        # Whatever the tensor's layout, ONNX normalises the axis behind the batch.
        value = self._image(node) if len(self.value(node, 0).dims) > 1 else self.value(node, 0)
        scale, bias, mean, variance = (f32(self._weight(node, index)) for index in (1, 2, 3, 4))
        epsilon = float(attributes.get("epsilon", 1e-5))
        if value.order == "CHW":
            weights = {"scale": scale, "bias": bias, "mean": mean, "variance": variance}
            return self._alike("BatchNormalization", node, value, weights, {"epsilon": epsilon})
        factor = f32(scale / np.sqrt(variance + epsilon))
        scaled = self.scaled(node, value, factor)
        return self._shifted(node, scaled, f32(bias - mean * factor))

    def _gemm(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        weight = self._weight(node, 1)
        if attributes.get("transA"):
            raise refused(node, "transposes its input, which mixes the batch in")
        weight = (weight.T if attributes.get("transB") else weight) * attributes.get("alpha", 1.0)
        value = self._dense(node, weight)
        if len(node.input) > 2:
            bias = self._weight(node, 2) * attributes.get("beta", 1.0)
            return self._shifted(node, value, bias)
        return value

    def _matmul(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        return self._dense(node, self._weight(node, 1))

    def _dense(self, node: onnx.NodeProto, weight: np.ndarray) -> Value:
        source = self.value(node, 0)
        if weight.ndim != 2 or len(source.dims) != 1 or weight.shape[0] != source.dims[0]:
            raise refused(
                node,
                f"multiplies signals of shape {source.dims} by a matrix {weight.shape}: flatten the "
                "signal first, to as many numbers as the matrix has rows",
            )
        return self.add(stateless("Gemm", self.name(node), (source.signal,), source.dims, {"weight": f32(weight)}))

    def _add(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        if node.input[0] in self.constants:
            node = _swapped(node)
        if node.input[1] in self.constants:
            return self._shifted(node, self.value(node, 0), self._weight(node, 1))
        one, other = self.value(node, 0), self.value(node, 1)
        if (one.dims, one.order) != (other.dims, other.order):
            raise refused(node, f"adds signals of different shapes: {one.dims} and {other.dims}")
        made = Node("Sum", self.name(node), (one.signal, other.signal), self.shape(one))
        return Value(self.add(made, one.order).signal, one.dims, one.order)

    def _sub(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        return self._shifted(node, self.value(node, 0), -self._weight(node, 1))

    def _mul(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        node = _swapped(node) if node.input[0] in self.constants else node
        return self.scaled(node, self.value(node, 0), self._weight(node, 1))

    def _div(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        return self.scaled(node, self.value(node, 0), 1.0 / self._weight(node, 1))

    def _neg(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        return self.scaled(node, self.value(node, 0), f32(-1))

    def _softmax(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Value:
        value = self.value(node, 0)
        outputs = {entry.name for entry in self.model.graph.output}
        if self._leads_to(node.output[0]) <= outputs:
            self.notes.append(
                f"Softmax {self.name(node)!r} at the end is left out: it would squash single spikes, and does not "
                "change which class is largest."
            )
            return value
        if len(value.dims) != 1:
            raise refused(node, f"works on {value.dims}: only a flat signal has a counterpart")
        return self._alike("Softmax", node, value, {}, {})

    def _leads_to(self, name: str) -> set[str]:
        """Where a tensor ends up through nodes that change nothing."""
        ends = {name}
        for node in self.readers.get(name, []):
            ends = ends - {name} | (self._leads_to(node.output[0]) if node.op_type in PASSED_ON else {node.output[0]})
        return ends

    def scaled(self, node: onnx.NodeProto, value: Value, factor: np.ndarray) -> Value:
        return self._alike("Scale", node, value, {"weight": self._broadcast(node, value, factor)}, {})

    def _shifted(self, node: onnx.NodeProto, value: Value, bias: np.ndarray) -> Value:
        """Add a constant: as the bias of the layer before, if that is a Conv or Gemm without one and read only here."""
        before = self.node(value.signal)
        bias = self._broadcast(node, value, bias)
        alone = len(self.readers.get(node.input[0], [])) == 1
        per_channel = bias.size == bias.shape[1] if bias.ndim > 1 else True
        own = node.op_type == "Gemm" or alone
        free = before is not None and before.op in ("Conv", "Gemm") and "bias" not in before.weights
        if before is not None and free and own and per_channel:
            before.weights["bias"] = np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (before.shape[0],)))
            return value
        return self._alike("Bias", node, value, {"bias": bias}, {})

    def _broadcast(self, node: onnx.NodeProto, value: Value, array: np.ndarray) -> np.ndarray:
        """A constant that broadcasts against the tensor, as one that broadcasts against ``(1, *signal shape)``."""
        array = f32(array)
        rank = len(value.dims) + 1
        if array.ndim > rank or (array.ndim == rank and array.shape[0] != 1):
            raise refused(node, f"brings a constant {array.shape} to a signal {value.dims}")
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        try:
            np.broadcast_shapes(array.shape, (1, *value.dims))
        except ValueError as error:
            raise refused(node, f"brings a constant {array.shape} to a signal {value.dims}") from error
        if value.order and rank == 3:
            array = array[:, None] if value.order == "HWC" else array[:, :, None]
        if value.order == "HWC":
            array = array.transpose(TO_CHW)
        elif not value.order and rank > 2:
            array = np.broadcast_to(array, (1, *value.dims)).reshape(1, -1)
        return np.ascontiguousarray(array)

    def _weight(self, node: onnx.NodeProto, index: int) -> np.ndarray:
        name = node.input[index] if index < len(node.input) else ""
        if name not in self.constants:
            raise refused(node, f"has no constant weights: {name!r} is computed")
        return self.constants[name]

    def network(self) -> SpikingNetwork:
        """What was read, with its outputs flattened."""
        outputs = []
        for entry in self.model.graph.output:
            if entry.name not in self.values:
                raise UnsupportedModel(f"Output {entry.name!r} is not given by any layer.")
            value = self.values[entry.name]
            source = value.signal
            if value.order:
                name = f"{source}.flat"
                size = (math.prod(value.dims),)
                source = self.add(Node("Flatten", name, (source,), size, {}, {"order": value.order})).signal
            outputs.append(Output(entry.name, source))
        name = self.model.graph.name or "network"
        return SpikingNetwork(name, self.dt, [self.entry], self.nodes, outputs, notes=self.notes)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes without the batch, of what shape inference finds; a length that is not known is 0."""
    graph = model.graph
    copy = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    copy.graph.CopyFrom(onnx.GraphProto(name="shapes", node=graph.node, output=graph.output))
    # Inference needs the numbers of shapes, and of weights only their size.
    sizes = {tensor.name: tensor for tensor in graph.initializer if math.prod(tensor.dims) > MAX_SHAPE}
    copy.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name not in sizes)
    copy.graph.input.extend(entry for entry in graph.input if entry.name not in sizes)
    copy.graph.input.extend(
        onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims) for name, tensor in sizes.items()
    )
    held = {tensor.name for tensor in graph.initializer}
    for entry in copy.graph.input:
        if entry.name not in held and entry.type.tensor_type.shape.dim:
            entry.type.tensor_type.shape.dim[0].dim_value = 1
    # In a worker: it is C++, and the model anybody's.
    data = copy.SerializeToString()
    if sandbox.in_worker():
        data = _infer(data)
    else:
        data = sandbox.run(_infer, data, timeout=INFER_SECONDS, warm=True, what=f"Inferring the shapes of {graph.name}")
    copy = onnx.ModelProto.FromString(data)
    found = {}
    for entry in [*copy.graph.input, *copy.graph.value_info, *copy.graph.output]:
        dims = entry.type.tensor_type.shape.dim
        found[entry.name] = tuple(dim.dim_value for dim in dims[1:])
    return found


INFER_SECONDS = 120
"""Of the longest graph; one of a hundred layers takes milliseconds."""


def _infer(model: bytes) -> bytes:
    with suppress(onnx.shape_inference.InferenceError):  # on operators nobody defined, which are refused by name later
        return onnx.shape_inference.infer_shapes(onnx.ModelProto.FromString(model), data_prop=True).SerializeToString()
    return model


def _constant(node: onnx.NodeProto) -> np.ndarray:
    (attributes,) = node.attribute
    value = helper.get_attribute_value(attributes)
    return numpy_helper.to_array(value) if attributes.name == "value" else np.asarray(value)


def _swapped(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = type(node)()
    copy.CopyFrom(node)
    copy.input[0], copy.input[1] = node.input[1], node.input[0]
    return copy


def _windows_of(attributes: dict[str, Any], source: Value, kernel: list[int]) -> tuple[list[int], list[int], list[int]]:
    """(kernel, strides, pads) over height and width; a series is one pixel high."""
    sides = source.dims[:-1] if source.order == "HWC" else source.dims[1:]
    strides = list(attributes.get("strides", [1] * len(sides)))
    pads = _pads(attributes, sides, kernel, strides)
    if len(sides) == 1:
        return [1, *kernel], [1, *strides], [0, pads[0], 0, pads[1]]
    return kernel, strides, pads


def _pads(attributes: dict[str, Any], size: Sequence[int], kernel: list[int], strides: list[int]) -> list[int]:
    """``pads``, computed where the node says ``auto_pad``."""
    auto = attributes.get("auto_pad", b"NOTSET")
    if auto in (b"NOTSET", b"VALID", b""):
        none = [0] * 2 * len(kernel)
        return list(attributes.get("pads", none)) if auto != b"VALID" else none
    less_before, half = same_pads(size, kernel, strides), len(kernel)
    return less_before if auto == b"SAME_UPPER" else less_before[half:] + less_before[:half]


def filter_outputs(network: SpikingNetwork, tau: float | None) -> None:
    """Put a Lowpass of so many seconds before each output; none where it is None."""
    for output in network.outputs if tau else ():
        source = network.node(output.source)
        if source is not None:
            network.nodes.append(lowpass(source.name, source.shape, tau or 0))
            output.source = network.nodes[-1].name
