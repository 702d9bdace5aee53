"""The operators without state or parameters of their own: one record each.

Their weights and attributes have ONNX's names. A new one is a record here, and its arithmetic in `operation.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Operator:
    """What an operator does to one step of one sample.

    Attributes:
        says: its arithmetic, where the name does not tell.
        onnx: ONNX's op_type, where that is another.
        flat: it takes and gives flat signals.
        weights: in the order of the ONNX node's inputs; a ``bias`` may be left out beside a ``weight``.
        broadcast: its weight broadcasts against ``(1, *shape)``.
        ints: attributes of whole numbers, and how many each has; 0 is one by itself.
        optional: those of them that may be left out.
        words: other attributes it must have.
        number: its one attribute that is a float, which may be left out.
    """

    says: str = ""
    onnx: str = ""
    flat: bool = False
    weights: tuple[str, ...] = ()
    broadcast: bool = False
    ints: Mapping[str, int] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    number: str = ""


_POOL = Operator(ints={"kernel_shape": 2, "strides": 2, "pads": 4}, optional=("strides", "pads"))

STATELESS: dict[str, Operator] = {
    "Conv": Operator(
        "2-D convolution; weight OIHW, bias (O,)",
        weights=("weight", "bias"),
        ints={"strides": 2, "pads": 4, "group": 0},
    ),
    "Gemm": Operator(
        "x @ weight + bias; weight (inputs, outputs), bias (outputs,)", flat=True, weights=("weight", "bias")
    ),
    "Product": Operator("weights that a learning rule gives, (outputs, inputs), times a flat signal", "Einsum"),
    "Scale": Operator("x * weight, element by element", "Mul", weights=("weight",), broadcast=True),
    "Bias": Operator("x + bias, element by element", "Add", weights=("bias",), broadcast=True),
    "Sum": Operator("the sum of all inputs, which have one shape"),
    "Slice": Operator("x[indices]; indices int64", "Gather", flat=True, weights=("indices",)),
    "Place": Operator("x put at [start : start + n] of size zeros", "Pad", flat=True, words=("start", "size")),
    "Image": Operator("a flat signal as (C, H, W); order HWC or CHW, as it was flattened", "Reshape", words=("order",)),
    "Flatten": Operator("(C, H, W) as a flat signal; order HWC or CHW", words=("order",)),
    "AveragePool": _POOL,
    "MaxPool": _POOL,
    "BatchNormalization": Operator(
        "per channel; each weight (C,)", weights=("scale", "bias", "mean", "variance"), number="epsilon"
    ),
    "Relu": Operator(),
    "Sigmoid": Operator(),
    "Tanh": Operator(),
    "Softplus": Operator(),
    "Elu": Operator(number="alpha"),
    "Selu": Operator(),
    "LeakyRelu": Operator(number="alpha"),
    "Softmax": Operator("over the last axis", flat=True),
}
