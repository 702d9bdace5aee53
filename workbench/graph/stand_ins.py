"""ONNX Runtime's own operators of transformers, for ONNX's shape inference, which does not know them.

In a copy that nobody runs, each is written as standard operators whose results have its results' shapes. Source:
``docs/ContribOperators.md`` of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx
from onnx import TensorProto, helper

Nodes = list[onnx.NodeProto]
Dims = Mapping[str, tuple[int, ...]]
"""Initializer -> its shape."""

DOMAIN = "com.microsoft"


def stand_ins(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with stand-ins in its main graph; itself where it has none of these operators."""
    if not any(node.domain == DOMAIN and node.op_type in STAND_INS for node in model.graph.node):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    dims = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        made = STAND_INS.get(node.op_type) if node.domain == DOMAIN else None
        try:
            nodes = [node] if made is None else made(node, dims)
        except (LookupError, ValueError):  # inputs that it must have are left out
            nodes = [node]
        copy.graph.node.extend(nodes)
    return copy


def _like_first(node: onnx.NodeProto, dims: Dims) -> Nodes:
    """The first output, and the sum that an added input gives (the fourth), are like the first input."""
    outputs = [name for place, name in enumerate(node.output) if place in (0, 3) and name]
    return [helper.make_node("Identity", node.input[:1], [name]) for name in outputs]


def _renamed(*dropped: str) -> Callable[[onnx.NodeProto, Dims], Nodes]:
    """The standard operator of its name, without what is fused into it."""

    def made(node: onnx.NodeProto, dims: Dims) -> Nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.domain, copy.op_type = "", node.op_type.removeprefix("Fused")
        del copy.attribute[:], copy.input[3:]
        copy.attribute.extend(each for each in node.attribute if each.name not in dropped)
        return [copy]

    return made


def _embedding(node: onnx.NodeProto, dims: Dims) -> Nodes:
    """A row of the table of words for each id."""
    return [helper.make_node("Gather", [node.input[2], node.input[0]], node.output[:1])]


def _attention(node: onnx.NodeProto, dims: Dims) -> Nodes:
    """X times weights as wide as the values are."""
    features, all_three = dims[node.input[1]]
    sizes = _ints(node, "qkv_hidden_sizes") or [all_three // 3] * 3
    return _times(node, (features, sizes[2]))


def _packed(node: onnx.NodeProto, dims: Dims) -> Nodes:
    return _times(node, (_ints(node, "K")[0], _ints(node, "N")[0]))


def _multi_head(node: onnx.NodeProto, dims: Dims) -> Nodes:
    """(rows and steps of the queries, features of the values)"""
    name, (query, _, value) = node.output[0], node.input[:3]
    if not value:  # packed with the queries
        raise LookupError(value)
    parts = [(query, [0, 1], f"{name}/steps"), (value, [2], f"{name}/features")]
    nodes = []
    for source, axes, part in parts:
        nodes += [
            helper.make_node("Shape", [source], [f"{part}/shape"]),
            helper.make_node("Constant", [], [f"{part}/axes"], value=_numbers(axes)),
            helper.make_node("Gather", [f"{part}/shape", f"{part}/axes"], [part]),
        ]
    nodes.append(helper.make_node("Concat", [part for *_, part in parts], [f"{name}/shape"], axis=0))
    return [*nodes, helper.make_node("ConstantOfShape", [f"{name}/shape"], [name])]


def _times(node: onnx.NodeProto, shape: tuple[int, int]) -> Nodes:
    weights = f"{node.output[0]}/weights"
    zeros = helper.make_node("ConstantOfShape", [f"{weights}/shape"], [weights])
    sizes = helper.make_node("Constant", [], [f"{weights}/shape"], value=_numbers(list(shape)))
    return [sizes, zeros, helper.make_node("MatMul", [node.input[0], weights], node.output[:1])]


def _numbers(values: list[int]) -> onnx.TensorProto:
    return helper.make_tensor("", TensorProto.INT64, [len(values)], values)


def _ints(node: onnx.NodeProto, name: str) -> list[int]:
    found = [each for each in node.attribute if each.name == name]
    return [*found[0].ints] or [found[0].i] if found else []


STAND_INS: dict[str, Callable[[onnx.NodeProto, Dims], Nodes]] = {
    **dict.fromkeys(
        (
            "BiasAdd BiasDropout BiasGelu FastGelu Gelu GroupNorm QuickGelu RotaryEmbedding "
            "SimplifiedLayerNormalization SkipGroupNorm SkipLayerNormalization SkipSimplifiedLayerNormalization "
        ).split(),
        _like_first,
    ),
    **dict.fromkeys(
        ("DequantizeLinear", "QuantizeLinear", "FusedGemm"),
        _renamed("activation", "activation_alpha", "activation_beta", "activation_gamma"),
    ),
    "FusedConv": _renamed("activation", "activation_params"),
    "EmbedLayerNormalization": _embedding,
    "Attention": _attention,
    "MultiHeadAttention": _multi_head,
    "MatMulNBits": _packed,
}
"""op_type -> what has its shapes."""
