"""How far apart two right answers of one TensorFlow graph may be, by the bits it computes in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...agreement import FLOAT32, Tolerance

HALF = Tolerance(
    relative=2e-2,
    absolute=5e-3,
    reason="float16 and bfloat16 keep 3 digits or fewer, and ONNX Runtime rounds at other places than TensorFlow.",
)

QUANTIZED = Tolerance(
    relative=5e-2,
    absolute=2e-2,
    reason="TFLite's kernels round each row to 8 bits where a layer's weights are of 8, ONNX Runtime rounds elsewhere.",
    steps=4,
)
"""Of a TFLite file that computes in 8 bits in places, and answers in numbers of more."""

STEPS = Tolerance(
    relative=0,
    absolute=0,
    reason="TFLite's quantized kernels round to 8 bits at every layer, ONNX Runtime where QuantizeLinear stands: one "
    "step of 256 here and there, which later layers pass on. Where a layer is steep, a row may differ by as much more "
    "as the model's own answer does when its input moves by a step.",
    steps=4,
)
"""Of a TFLite file that computes in 8 bits throughout."""


DEQUANTIZED = replace(
    QUANTIZED, reason="TFLite's kernels round to few bits at every layer, and the ONNX file at none.", steps=8
)
"""Of a TFLite file whose whole numbers were made floating-point ones."""

RESIZED = replace(
    FLOAT32,
    of_row=2e-4,
    reason=f"{FLOAT32.reason} Where a picture is resized, both sides round the places between its pixels to float32, "
    "each in its own way.",
)

RESIZED_BICUBIC = replace(
    FLOAT32,
    of_row=4e-3,
    reason=f"{FLOAT32.reason} TensorFlow's bicubic resizing rounds the places between pixels to 1,024ths, ONNX's does "
    "not.",
)


def tolerance_of(graph_def: Any) -> Tolerance:
    """`HALF` where any operator of a ``GraphDef`` computes in 16 bits; `RESIZED` where one resizes pictures; else
    `FLOAT32`."""
    from tensorflow.core.framework import types_pb2

    half = {types_pb2.DT_HALF, types_pb2.DT_BFLOAT16}
    bodies = (function.node_def for function in graph_def.library.function)
    nodes = [node for body in (graph_def.node, *bodies) for node in body]
    if any(attr.type in half for node in nodes for attr in node.attr.values()):
        return HALF
    ops = {node.op for node in nodes}
    return RESIZED_BICUBIC if "ResizeBicubic" in ops else RESIZED if "ResizeBilinear" in ops else FLOAT32
