"""Put a network's weights into its ONNX model without holding them twice.

A converter that copies the graph at every step copies the weights as often. So the large ones travel as graph *inputs*
(`to_onnx.py`), which have a shape and no numbers, and become initializers here: `attach` reads one tensor at a time
and writes it on. What the converter does to a weight's layout at run time (the Transpose from HWIO to OIHW before every
Conv) is done once, here, in NumPy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ...files.wire import encode_varint
from .subgraphs import all_reads, drop_unread

ONE_FILE = 1_500_000_000
"""Bytes of weights up to which they go into the ONNX file itself. Protobuf stops at 2 GiB; readers slow down before."""

STORED_TWICE = 1 << 20
"""Bytes of a weight up to which it may be stored in two layouts where the graph uses both."""

_PAGE = 4096
"""External tensors start on a page, so that ONNX Runtime can map them."""


@dataclass(frozen=True)
class Weight:
    """A tensor that is read when it is written; `read` shares its numbers with the source model where possible."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    read: Callable[[], np.ndarray]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self) -> np.ndarray:
        """C-contiguous."""
        return np.ascontiguousarray(self.read()).reshape(self.shape)

    def then(self, step: Callable[[np.ndarray], np.ndarray]) -> Weight:
        """This weight with `step` done to it; its new shape is found on a stand-in that takes no memory."""
        result = step(np.broadcast_to(np.zeros((), self.dtype), self.shape))
        return Weight(result.shape, result.dtype, lambda: step(self.read()))


def attach(model: onnx.ModelProto, weights: Mapping[str, Weight], path: Path) -> None:
    """Turn the inputs named in `weights` into initializers and write the file; `model` is used up.

    Args:
        model: the network, weights among its inputs.
        weights: input name -> weight.
        path: where to write; above `ONE_FILE` with its ``.data`` beside it.
    """
    graph = model.graph
    kept = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)
    stored = _fold(graph, weights)
    if sum(weight.nbytes for weight in stored.values()) <= ONE_FILE:
        with path.open("wb") as file:
            _stream(model, stored, file)
    else:
        with path.with_name(f"{path.name}.data").open("wb") as file:
            _stream_external(model, stored, file, f"{path.name}.data")
        path.write_bytes(model.SerializeToString())


def _stream_external(model: onnx.ModelProto, weights: Mapping[str, Weight], file: BinaryIO, location: str) -> None:
    """The weights into `file`, and where to find them into `model`."""
    for name, weight in weights.items():
        file.write(bytes(-file.tell() % _PAGE))
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(_header(name, weight))
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": file.tell(), "length": weight.nbytes}.items():
            tensor.external_data.add(key=key, value=str(value))
        file.write(weight.array().reshape(-1).view("uint8").data)


def _header(name: str, weight: Weight) -> onnx.TensorProto:
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
    model.ClearField("graph")
    file.write(model.SerializeToString() + _MODEL_GRAPH + encode_varint(length) + graph)
    for head, weight in zip(heads, weights.values(), strict=True):
        file.write(head)
        file.write(weight.array().reshape(-1).view("uint8").data)


# --- layout changes, done once ------------------------------------------------------------------------------------

_LAYOUT = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Cast")


def _fold(graph: onnx.GraphProto, weights: Mapping[str, Weight]) -> dict[str, Weight]:
    """Take nodes that only lay out a weight anew out of `graph`.

    Returns:
        What is left to store: name -> weight, every one used.
    """
    known = dict(weights)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    results = {value.name for value in graph.output}
    layouts = {node.output[0]: node for node in graph.node if node.op_type in _LAYOUT}
    uses = Counter(all_reads(graph))
    uses.subtract(node.input[0] for node in layouts.values())
    for output, node in layouts.items():
        source, *extra = node.input
        twice = uses[source] > 0 and source in known and known[source].nbytes > STORED_TWICE
        if source in known and constants.keys() >= set(extra) and output not in results and not twice:
            arguments = {name: onnx.numpy_helper.to_array(constants[name]) for name in extra}
            known[output] = known[source].then(partial(_laid_out, ReferenceEvaluator(node), source, arguments))
    left = [node for node in graph.node if node.output[0] not in known]
    del graph.node[:]
    graph.node.extend(left)
    # Shapes, and what the nodes that are gone read.
    drop_unread(graph)
    used = set(all_reads(graph))
    return {name: weight for name, weight in known.items() if name in used}


def _laid_out(node: ReferenceEvaluator, source: str, arguments: dict[str, np.ndarray], array: np.ndarray) -> np.ndarray:
    """What `node` makes of `array`, in NumPy."""
    (result,) = node.run(None, {source: array, **arguments})
    return np.asarray(result)
