"""Put a network's weights into its ONNX model without holding them twice.

A converter that copies the graph at every step copies the weights as often. So the large ones travel as graph *inputs*
(`tensorflow.py`), which have a shape and no numbers, and become initializers here: `attach` reads one tensor at a time
and writes it on. What the converter does to a weight's layout at run time (the Transpose from HWIO to OIHW before every
Conv) is done once, here, in NumPy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..wire import encode_varint

if TYPE_CHECKING:
    import numpy as np
    import onnx

IN_MEMORY = 64 << 20
"""Bytes of weights up to which the model is handed over as an object: another copy costs little."""

ONE_FILE = 1_500_000_000
"""Bytes of weights up to which they go into the ONNX file itself. Protobuf stops at 2 GiB; readers slow down before."""

STORED_TWICE = 1 << 20
"""Bytes of a weight up to which it may be stored in two layouts where the graph uses both."""

_PAGE = 4096
"""External tensors start on a page, so that ONNX Runtime can map them."""


@dataclass(frozen=True)
class Weight:
    """A tensor that is read when it is written.

    Attributes:
        shape, dtype: as the source model has it.
        read: its numbers, shared with the source model where that is possible.
        steps: what to do to it first, in order.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    read: Callable[[], np.ndarray]
    steps: tuple[Callable[[np.ndarray], np.ndarray], ...] = field(default=())

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self) -> np.ndarray:
        """C-contiguous, `steps` done."""
        import numpy as np

        array = self.read()
        for step in self.steps:
            array = step(array)
        return np.ascontiguousarray(array).reshape(self.shape)

    def then(self, step: Callable[[np.ndarray], np.ndarray]) -> Weight:
        """This weight with one more step; its new shape is found on a stand-in that takes no memory."""
        import numpy as np

        result = step(np.broadcast_to(np.zeros((), self.dtype), self.shape))
        return Weight(tuple(result.shape), result.dtype, self.read, (*self.steps, step))


def attach(model: onnx.ModelProto, weights: Mapping[str, Weight], folder: Path) -> onnx.ModelProto | Path:
    """Turn the inputs named in `weights` into initializers; `model` is changed.

    Args:
        model: the network, weights among its inputs.
        weights: input name -> weight.
        folder: where a file is written if the weights are large.

    Returns:
        The model; or the path of ``model.onnx`` in `folder` above `IN_MEMORY`, with ``model.onnx.data`` beside it
        above `ONE_FILE`.
    """
    import onnx

    graph = model.graph
    kept = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)
    stored = _fold(graph, weights)
    size = sum(weight.nbytes for weight in stored.values())
    if size <= IN_MEMORY:
        for name, weight in stored.items():
            graph.initializer.append(_header(name, weight))
            graph.initializer[-1].raw_data = weight.array().tobytes()
        return model
    path = folder / "model.onnx"
    if size <= ONE_FILE:
        with path.open("wb") as file:
            _stream(model, stored, file)
        return path
    location = path.name + ".data"
    with (folder / location).open("wb") as file:
        for name, weight in stored.items():
            file.write(bytes(-file.tell() % _PAGE))
            tensor = graph.initializer.add()
            tensor.CopyFrom(_header(name, weight))
            tensor.data_location = onnx.TensorProto.EXTERNAL
            place = {"location": location, "offset": file.tell(), "length": weight.nbytes}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            file.write(weight.array().reshape(-1).view("uint8").data)
    path.write_bytes(model.SerializeToString())
    return path


def _header(name: str, weight: Weight) -> onnx.TensorProto:
    import onnx

    kind = onnx.helper.np_dtype_to_tensor_dtype(weight.dtype)
    return onnx.TensorProto(name=name, dims=weight.shape, data_type=kind)


# --- one file, written tensor by tensor ---------------------------------------------------------------------------

# Protobuf tags: field number * 8 + 2 for length-delimited fields (onnx/onnx.proto).
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA = b"\x3a", b"\x2a", b"\x4a"


def _stream(model: onnx.ModelProto, weights: Mapping[str, Weight], file: BinaryIO) -> None:
    """`model` with `weights` among its initializers, as ``onnx.save`` writes it. Field order is free in protobuf."""
    graph = model.graph.SerializeToString()
    heads = []
    length = len(graph)
    for name, weight in weights.items():
        head = _header(name, weight).SerializeToString() + _TENSOR_RAW_DATA + encode_varint(weight.nbytes)
        head = _GRAPH_INITIALIZER + encode_varint(len(head) + weight.nbytes) + head
        length += len(head) + weight.nbytes
        heads.append(head)
    shell = type(model)()
    shell.CopyFrom(model)
    shell.ClearField("graph")
    file.write(shell.SerializeToString() + _MODEL_GRAPH + encode_varint(length) + graph)
    for head, weight in zip(heads, weights.values(), strict=True):
        file.write(head)
        file.write(weight.array().reshape(-1).view("uint8").data)


# --- layout changes, done once ------------------------------------------------------------------------------------


def _fold(graph: onnx.GraphProto, weights: Mapping[str, Weight]) -> dict[str, Weight]:
    """Take nodes that only lay out a weight anew out of `graph`.

    Returns:
        What is left to store: name -> weight, every one used.
    """

    from onnx import numpy_helper

    known = dict(weights)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(_reads(graph))
    uses.update(value.name for value in graph.output)
    results = {value.name for value in graph.output}
    same: dict[tuple[object, ...], str] = {}
    renamed: dict[str, str] = {}
    left: list[onnx.NodeProto] = []
    layouts: Counter[str] = Counter(
        node.input[0] for node in graph.node if node.op_type in _LAYOUT and node.input and node.input[0] in known
    )
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        name = node.input[0] if node.input else ""
        if node.op_type not in _LAYOUT or name not in known or node.output[0] in results:
            left.append(node)
            continue
        arguments = [numpy_helper.to_array(constants[extra]) for extra in node.input[1:] if extra in constants]
        stays = uses[name] > layouts[name] and known[name].nbytes > STORED_TWICE
        if len(arguments) != len(node.input) - 1 or stays:
            left.append(node)
            continue
        key = (name, node.op_type, *(a.tobytes() for a in arguments), *(a.SerializeToString() for a in node.attribute))
        output = node.output[0]
        if key in same:
            renamed[output] = same[key]
            uses[same[key]] += uses[output]
            continue
        same[key] = output
        known[output] = known[name].then(_LAYOUT[node.op_type](node, arguments))
        layouts[output] = sum(
            1 for user in graph.node if user.op_type in _LAYOUT and user.input and user.input[0] == output
        )
    del graph.node[:]
    graph.node.extend(left)
    if renamed:
        _rename_in_bodies(graph, renamed)
    used = set(_reads(graph)) | results
    # Shapes and axes of the nodes that are gone.
    remaining = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(remaining)
    return {name: weight for name, weight in known.items() if name in used}


def _reads(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name a node reads, here or in the bodies of Loop, Scan and If."""
    for node in graph.node:
        yield from node.input
        for body in _bodies(node):
            yield from _reads(body)
            yield from (value.name for value in body.output)


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _rename_in_bodies(graph: onnx.GraphProto, renamed: Mapping[str, str]) -> None:
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        for body in _bodies(node):
            _rename_in_bodies(body, renamed)


Step = Callable[["np.ndarray"], "np.ndarray"]


def _transpose(node: onnx.NodeProto, arguments: list[np.ndarray]) -> Step:
    order = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
    return lambda array: array.transpose(order)


def _reshape(node: onnx.NodeProto, arguments: list[np.ndarray]) -> Step:
    copies_zero = not any(a.name == "allowzero" and a.i for a in node.attribute)

    def step(array: np.ndarray) -> np.ndarray:
        shape = [array.shape[axis] if size == 0 and copies_zero else size for axis, size in enumerate(arguments[0])]
        return array.reshape([int(size) for size in shape])

    return step


def _squeeze(node: onnx.NodeProto, arguments: list[np.ndarray]) -> Step:
    axes = tuple(int(axis) for axis in _axes(node, arguments)) or None
    return lambda array: array.squeeze(axes)


def _unsqueeze(node: onnx.NodeProto, arguments: list[np.ndarray]) -> Step:
    import numpy as np

    axes = tuple(int(axis) for axis in _axes(node, arguments))
    return lambda array: np.expand_dims(array, axes)


def _axes(node: onnx.NodeProto, arguments: list[np.ndarray]) -> list[int]:
    """An input since opset 13, an attribute before."""
    if arguments:
        return [int(axis) for axis in arguments[0].reshape(-1)]
    return next((list(a.ints) for a in node.attribute if a.name == "axes"), [])


def _identity(node: onnx.NodeProto, arguments: list[np.ndarray]) -> Step:
    return lambda array: array


def _cast(node: onnx.NodeProto, arguments: list[np.ndarray]) -> Step:
    import onnx

    dtype = onnx.helper.tensor_dtype_to_np_dtype(next(a.i for a in node.attribute if a.name == "to"))
    return lambda array: array.astype(dtype)


_LAYOUT: dict[str, Callable[[onnx.NodeProto, list[np.ndarray]], Step]] = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Identity": _identity,
    "Cast": _cast,
}
