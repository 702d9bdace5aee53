"""The main graph of an ONNX model, as `workbench.diff` compares it: nodes, and the numbers they read.

A constant is a weight, whether an initializer or a node holds it, and so is what only turns one (a transposed, a
dequantised one): where it is kept is no difference. Runs in a worker: ONNX's own parser reads the file.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..errors import WorkbenchError
from ..files.header import ordered
from ..words import counted

_TURNED = {"DequantizeLinear", "Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze"}
"""Operators of weights alone that leave a weight one."""

_MADE_FAST = re.compile(r"^(QLinear|Fused|Nhwc|Q(?=[A-Z]))|Integer$")
"""What optimisers and quantisers write around an operator's name."""


@dataclass(eq=False)
class Node:
    """One operator. `data` are the values it reads that are no weights, `weights` those that are: {place: name}."""

    index: int
    name: str
    op_type: str
    domain: str
    attributes: dict[str, Any]
    data: dict[int, str]
    weights: dict[int, str]
    outputs: tuple[str, ...]

    @property
    def family(self) -> str:
        """What it computes, whoever made it fast: ``Conv`` of FusedConv, QLinearConv, ConvInteger."""
        return _MADE_FAST.sub("", self.op_type)

    @property
    def label(self) -> str:
        """What a person finds it by: its name, or the value it gives."""
        return self.name or next(filter(None, self.outputs), "")


@dataclass
class Side:
    """One model's main graph.

    Attributes:
        nodes: in an order in which each stands after those it reads.
        giver: value -> node that gives it.
        takers: value -> nodes that read it.
        about: what is said of the whole model, {what: as text}.
    """

    nodes: list[Node]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    about: dict[str, str]
    _stored: dict[str, onnx.TensorProto]
    _turned: dict[str, onnx.NodeProto]
    _folder: str
    giver: dict[str, Node] = field(default_factory=dict)
    takers: dict[str, list[Node]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.nodes:
            self.giver.update({value: node for value in node.outputs if value})
            for value in node.data.values():
                self.takers.setdefault(value, []).append(node)

    def holds(self, name: str) -> bool:
        """Whether a value is a weight."""
        return name in self._stored or name in self._turned

    def weight(self, name: str) -> np.ndarray:
        """The numbers of a weight.

        Raises:
            WorkbenchError: they cannot be read.
        """
        if name in self._stored:
            try:
                return numpy_helper.to_array(self._stored[name], self._folder)
            except Exception as error:  # onnx raises what its parser and NumPy raise
                raise WorkbenchError(f"The weight {name!r} cannot be read: {error}") from error
        node = self._turned[name]
        values = [self.weight(value) if value else None for value in node.input]
        return _turn(node, values)

    def shape(self, name: str) -> tuple[str, tuple[int, ...]]:
        """dtype and shape of a stored weight; of a turned one those of the stored one it is made of."""
        while name not in self._stored:
            name = self._turned[name].input[0]
        tensor = self._stored[name]
        return str(helper.tensor_dtype_to_np_dtype(tensor.data_type)), tuple(tensor.dims)

    def shapes(self, node: Node) -> tuple[tuple[int, ...], ...]:
        """Of the weights it reads."""
        return tuple(self.shape(weight)[1] for weight in node.weights.values())

    def main(self, node: Node) -> tuple[int, ...] | None:
        """The shape of its largest weight; None where it has none."""
        return max(self.shapes(node), key=math.prod, default=None)

    def digest(self, name: str) -> bytes:
        """A fingerprint of a weight as it is stored."""
        while name not in self._stored:
            name = self._turned[name].input[0]
        tensor = self._stored[name]
        external = tensor.data_location == onnx.TensorProto.EXTERNAL
        return _hashed(self.shape(name), _bytes(self.weight(name) if external else numpy_helper.to_array(tensor)))


def read(path: Path) -> Side:
    """The main graph of a file, whose external data are known to be its own (`workbench.safety.external.check`)."""
    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    versions = {one.domain or "ai.onnx": one.version for one in model.opset_import}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    turned: dict[str, onnx.NodeProto] = {}
    protos = []
    for place in ordered([_read(node) for node in graph.node], [node.output for node in graph.node]):
        proto = graph.node[place]
        constant = _constant(proto)
        if constant is not None:
            stored[proto.output[0]] = constant
        elif proto.op_type in _TURNED and proto.input and all(not v or v in stored or v in turned for v in proto.input):
            turned[proto.output[0]] = proto
        else:
            protos.append(proto)
    kept = {*stored, *turned}
    nodes = [
        Node(
            index,
            proto.name,
            proto.op_type,
            "" if proto.domain == "ai.onnx" else proto.domain,
            _attributes(proto, versions.get(proto.domain or "ai.onnx", 0)),
            {place: value for place, value in enumerate(_read(proto)) if value and value not in kept},
            {place: value for place, value in enumerate(_read(proto)) if value in kept},
            tuple(proto.output),
        )
        for index, proto in enumerate(protos)
    ]
    inputs = tuple(value.name for value in graph.input if value.name not in stored)
    outputs = tuple(value.name for value in graph.output)
    return Side(nodes, inputs, outputs, _about(model, set(stored), versions), stored, turned, str(path.parent))


def _read(node: onnx.NodeProto) -> list[str]:
    """The values a node reads: its inputs, and after them what its subgraphs take from around them."""
    made: set[str] = set()
    inner: dict[str, None] = {}
    todo = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
    while todo:
        graph = todo.pop()
        made.update(each.name for each in (*graph.input, *graph.initializer))
        inner |= dict.fromkeys(value.name for value in graph.output)
        for each in graph.node:
            made.update(each.output)
            inner |= dict.fromkeys(each.input)
            todo += [body for attribute in each.attribute for body in (attribute.g, *attribute.graphs)]
    return [*node.input, *(value for value in inner if value and value not in made)]


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or len(node.attribute) != 1:
        return None
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return value
    dtypes = {"float": np.float32, "int": np.int64}
    dtype = next((dtype for word, dtype in dtypes.items() if attribute.name.startswith(f"value_{word}")), None)
    return None if dtype is None else numpy_helper.from_array(np.asarray(value, dtype))


def _turn(node: onnx.NodeProto, values: list[Any]) -> np.ndarray:
    """What an operator of `_TURNED` makes of weights, by ONNX's own reference."""
    from onnx.reference import ReferenceEvaluator

    names = [f"x{place}" for place in range(len(values))]
    given = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    del alone.input[:]
    alone.input.extend(name if name in given else "" for name in names)
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in given.items()
    ]
    output = helper.make_tensor_value_info(alone.output[0], onnx.TensorProto.UNDEFINED, None)
    graph = helper.make_graph([alone], "weight", infos, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", onnx.defs.onnx_opset_version())])
    (answer,) = ReferenceEvaluator(model).run(None, given)
    return np.asarray(answer)


def _attributes(node: onnx.NodeProto, version: int) -> dict[str, Any]:
    """A node's attributes, those that are not written out with their operator's default in this opset."""
    try:
        known = onnx.defs.get_schema(node.op_type, version, node.domain.removeprefix("ai.onnx")).attributes
    except onnx.defs.SchemaError:
        known = {}
    defaults = {name: _plain(one.default_value) for name, one in known.items() if one.default_value.type}
    return {**defaults, **{attribute.name: _plain(attribute) for attribute in node.attribute}}


def _plain(attribute: onnx.AttributeProto) -> Any:
    """An attribute as what can be compared and shown: numbers, text, lists; of tensors and graphs a fingerprint."""
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        array = numpy_helper.to_array(value)
        few = array.size <= 8
        return f"{array.dtype} {array.tolist() if few else _hashed(array.shape, _bytes(array)).hex()[:12]}"
    if hasattr(value, "SerializeToString"):
        return f"graph {_hashed(value.SerializeToString(deterministic=True)).hex()[:12]}"
    if attribute.type in (onnx.AttributeProto.FLOATS, onnx.AttributeProto.INTS):
        return list(value)
    if isinstance(value, int | float | str):
        return value
    return [
        one.decode("utf-8", "replace")
        if isinstance(one, bytes)
        else _hashed(one.SerializeToString(deterministic=True)).hex()[:12]
        for one in value
    ]


def _about(model: onnx.ModelProto, stored: set[str], versions: dict[str, int]) -> dict[str, str]:
    # Optimisers list every domain there is.
    used = {node.domain or "ai.onnx" for body in (model.graph, *model.functions) for node in _all(body.node)}
    said = {
        "IR version": str(model.ir_version),
        **{f"opset of {name}": str(version) for name, version in versions.items() if name in used},
        **{f"input {value.name}": _typed(value) for value in model.graph.input if value.name not in stored},
        **{f"output {value.name}": _typed(value) for value in model.graph.output},
        **{
            f"sparse weight {each.values.name}": _hashed(each.SerializeToString(deterministic=True)).hex()[:12]
            for each in model.graph.sparse_initializer
        },
    }
    for function in model.functions:
        body = onnx.FunctionProto()
        body.CopyFrom(function)
        body.ClearField("doc_string")
        name = f"{function.domain}:{function.name}".removeprefix(":")
        digest = _hashed(body.SerializeToString(deterministic=True)).hex()[:8]
        said[f"function {name}"] = f"of {counted(len(function.node), 'node')}, {digest}"
    return said


def _all(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """With those of the graphs within."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all(graph.node)


def _typed(value: onnx.ValueInfoProto) -> str:
    if not value.type.HasField("tensor_type"):
        return value.type.WhichOneof("value") or "of no type"
    tensor = value.type.tensor_type
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower() if tensor.elem_type else "undefined"
    if not tensor.HasField("shape"):
        return dtype
    dims = [str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim]
    return f"{dtype}[{', '.join(dims)}]"


def _bytes(array: np.ndarray) -> bytes:
    """Its numbers, or its texts, which are elsewhere in memory at each reading."""
    return repr(array.tolist()).encode() if array.dtype == object else array.tobytes()


def _hashed(*parts: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
        digest.update(b"\0")
    return digest.digest()
