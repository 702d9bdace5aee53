"""Say in an ONNX graph from tf2onnx what it means: fewer operators, the same numbers.

Keras computes the shape a Flatten gives at run time from the batch size: seven operators, for which Reshape has -1.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx.numpy_helper import from_array, to_array

_PASSES_ON = ("Cast", "Identity")


def tidy(graph: onnx.GraphProto) -> None:
    """Reshape to [one computed size, known sizes …] is Reshape to [-1, known sizes …]: a valid one leaves no choice.
    Changes `graph` in place; what nothing reads any more stays in it, and bodies of Loop, Scan and If as they are."""
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape":
            continue
        pieces = _pieces(node.input[1], makers, constants)
        if pieces is None or pieces.count(None) != 1 or any(size is not None and size <= 0 for size in pieces):
            continue
        name = f"{node.name or node.output[0]}/shape"
        if name not in constants:
            settled = np.array([-1 if size is None else size for size in pieces], np.int64)
            constants[name] = from_array(settled, name)
            graph.initializer.append(constants[name])
        node.input[1] = name


def _pieces(
    name: str, makers: dict[str, onnx.NodeProto], constants: dict[str, onnx.TensorProto]
) -> list[int | None] | None:
    """The numbers of a shape, None for one computed at run time; None if how many there are is not plain."""
    if name in constants:
        return [int(size) for size in to_array(constants[name]).reshape(-1)]
    node = makers.get(name)
    if node is None:
        return None
    if node.op_type in _PASSES_ON:
        return _pieces(node.input[0], makers, constants)
    if node.op_type == "Unsqueeze":
        # A shape is a list of numbers, so what becomes part of one by Unsqueeze is one number.
        return _pieces(node.input[0], makers, constants) if node.input[0] in constants else [None]
    if node.op_type == "Slice" and len(node.input) in (3, 4) and {*node.input[1:3]} <= constants.keys():
        start, end = (to_array(constants[bound]).reshape(-1) for bound in node.input[1:3])
        return [None] if start.size == 1 and end[0] - start[0] == 1 and start[0] >= 0 else None
    if node.op_type == "Concat":
        found = [_pieces(piece, makers, constants) for piece in node.input]
        return None if any(piece is None for piece in found) else [size for piece in found if piece for size in piece]
    return None
