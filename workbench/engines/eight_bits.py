"""ONNX Runtime's sums of 8-bit products, as exact on one processor as on another.

For unsigned numbers times signed weights its fast kernels add two products in 16 bits before they go on in 32. On an
x86 processor without VNNI (AMD's before Zen 4, many of Intel's) the 16 bits overflow, the sum is clipped, and a network
answers otherwise than elsewhere without a word: a small one 43 of 60 rows, by up to 106 of 256 steps. The exact kernels
take half as long again there, and a session must ask for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files.header import Header
from .rewritten import FOLDER

if TYPE_CHECKING:
    import onnx
    import onnxruntime

SUMS = {
    *(("", name) for name in ("MatMulInteger", "QLinearConv", "QLinearMatMul")),
    *(("com.microsoft", name) for name in ("DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat")),
    *(("com.microsoft", name) for name in ("QAttention", "QGemm")),
}
"""Operators that take such sums."""

PAIRED = {("", "DequantizeLinear"), ("com.microsoft", "DequantizeLinear")}
"""Operators that ONNX Runtime, from its extended optimization on, makes into one of `SUMS` with what follows them."""

EXACT = "session.x64quantprecision"
"""ONNX Runtime's setting for the exact kernels."""


def may_clip(header: Header, fused: bool) -> bool:
    """Whether some of the file's sums are clipped on this processor; of a session that fuses operators, or not."""
    return not (SUMS | PAIRED if fused else SUMS).isdisjoint(header.op_types()) and clips()


@cache
def clips() -> bool:
    """Whether this processor's fast kernels clip: asked of one, since ONNX Runtime does not say."""
    import onnxruntime
    from onnx import TensorProto, helper

    size, low, high = 16, 127, 255
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "clips",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [size, size])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [size, size])],
        [helper.make_tensor("w", TensorProto.INT8, [size, size], [low] * size * size)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"x": np.full((size, size), high, np.uint8)})
    return bool((sums != size * low * high).any())


def exact_session(
    opened: Callable[[str | bytes, dict[str, str]], onnxruntime.InferenceSession], path: str, model: str | bytes
) -> onnxruntime.InferenceSession:
    """A session whose 8-bit sums are exact.

    ONNX Runtime 1.32 refuses its own setting where two nodes share a weight or its zero point, as in tf2onnx's files,
    and where both factors are signed, whose kernels are exact anyway. So a copy for each node is tried next, and last
    no setting, with what stands between DequantizeLinear and QuantizeLinear left in floating point.

    Args:
        opened: gives a session for a model, with settings of ONNX Runtime.
        path: the file; model: the same, or what ONNX Runtime shall load in its place.

    Raises:
        Exception: what ONNX Runtime says to the last of these.
    """
    import onnx

    with suppress(Exception):
        return opened(model, {EXACT: "1"})
    with suppress(Exception):
        copied = own_weights(onnx.load(path, load_external_data=False)).SerializeToString()
        folder = os.path.dirname(os.path.abspath(path))
        return opened(copied, {EXACT: "1", FOLDER: folder})
    return opened(model, {"session.disable_quant_qdq": "1"})


def own_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, changed: every node reads int8 initializers that no other one does."""
    from onnx import TensorProto

    stored = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT8}
    taken: set[str] = set()
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in taken:
                copy: Any = model.graph.initializer.add()
                copy.CopyFrom(stored[name])
                copy.name = node.input[place] = f"{name}/{len(model.graph.initializer)}"
            elif name in stored:
                taken.add(name)
    return model
