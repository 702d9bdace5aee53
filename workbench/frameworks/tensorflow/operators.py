"""TensorFlow operators that tf2onnx 1.17 has no ONNX form for, or a wrong one, and the form we give them.

Each form is a function of the `_Node` to replace: it adds ONNX nodes and returns the name of the tensor that takes the
place of the node's output, or None to leave the node as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto


class _Node:
    """A node of tf2onnx's graph. `inputs`: tensor names; `dtype`: of its output."""

    def __init__(self, graph: Any, node: Any) -> None:
        self.graph, self.node = graph, node
        self.inputs: list[str] = list(node.input)
        self.dtype: int = graph.get_dtype(node.output[0])

    def add(self, op: str, *inputs: str, dtype: int | None = None, domain: str = "", **attributes: Any) -> str:
        """An ONNX node that gives `dtype`, that of the replaced node where None; its output."""
        from tf2onnx.utils import make_name

        return self.graph.make_node(
            op, list(inputs), name=make_name(self.node.name), attr=attributes, dtypes=[dtype or self.dtype],
            domain=domain,
        ).output[0]  # fmt: skip

    def constant(self, value: Any, dtype: int | None = None) -> str:
        from tf2onnx import utils

        array = np.asarray(value, utils.map_onnx_to_numpy_type(dtype or self.dtype))
        return self.graph.make_const(utils.make_name(f"{self.node.name}/const"), array).output[0]


Form = Callable[[_Node], str | None]


def handlers(tables: Mapping[bytes, tuple[Any, Any]]) -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """{TensorFlow operator: (handler, [])} as ``process_tf_graph`` takes it.

    Args:
        tables: shared name of a lookup table -> (keys, values).
    """
    forms: dict[str, Form] = {
        "Erfc": _erfc,
        "Expm1": _expm1,
        "Bucketize": _bucketize,
        "Bitcast": _bitcast,
        "TFL_BUCKETIZE": _bucketize,
        "TFL_GELU": _gelu,
        "Select": _select,
        "SelectV2": _select,
        "LookupTableFindV2": partial(_lookup, tables),
    }
    return {op: (partial(_replace, form), []) for op, form in forms.items()}


def _replace(form: Form, graph: Any, node: Any, name: str, args: Any) -> Any:
    output = node.output[0]
    dtype, shape = graph.get_dtype(output), graph.get_shape(output)
    result = form(_Node(graph, node))
    if result is None:
        return node
    graph.remove_node(name)
    return graph.make_node("Identity", [result], name=name, outputs=[output], shapes=[shape], dtypes=[dtype])


def _erfc(node: _Node) -> str:
    """Erfc(x) = 1 - Erf(x), in exact GELU. Where it is tiny it comes out 0, which is off by 6e-8 at most."""
    return node.add("Sub", node.constant(1), node.add("Erf", *node.inputs))


def _expm1(node: _Node) -> str:
    """exp(x) - 1 = tanh(x / 2) * (exp(x) + 1), which keeps its digits near 0, where exp(x) - 1 loses them."""
    (x,) = node.inputs
    tanh = node.add("Tanh", node.add("Mul", x, node.constant(0.5)))
    return node.add("Mul", tanh, node.add("Add", node.add("Exp", x), node.constant(1)))


def _gelu(node: _Node) -> str:
    """TFLite's GELU: x / 2 * (1 + erf(x / sqrt 2)), or with tanh(sqrt(2 / pi) * (x + 0.044715 x^3)) for erf."""
    (x,) = node.inputs
    if node.node.get_attr_value("approximate"):
        cube = node.add("Mul", node.add("Mul", x, x), x)
        inner = node.add("Add", x, node.add("Mul", cube, node.constant(0.044715)))
        curve = node.add("Tanh", node.add("Mul", inner, node.constant(math.sqrt(2 / math.pi))))
    else:
        curve = node.add("Erf", node.add("Mul", x, node.constant(math.sqrt(0.5))))
    return node.add("Mul", node.add("Mul", x, node.constant(0.5)), node.add("Add", curve, node.constant(1)))


def _bucketize(node: _Node) -> str:
    """How many boundaries are <= x."""
    (x,) = node.inputs
    dtype = node.graph.get_dtype(x)
    if dtype not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        # TensorFlow's boundaries are float32; integers beyond 2**24 would be rounded before they are compared.
        dtype = TensorProto.DOUBLE
        x = node.add("Cast", x, dtype=dtype, to=dtype)
    axis = node.constant([-1], TensorProto.INT64)
    boundaries = node.constant(list(node.node.get_attr_value("boundaries")), dtype)
    column = node.add("Unsqueeze", x, axis, dtype=dtype)
    above = node.add("GreaterOrEqual", column, boundaries, dtype=TensorProto.BOOL)
    return node.add("ReduceSum", node.add("Cast", above, to=node.dtype), axis, keepdims=0)


def _bitcast(node: _Node) -> str | None:
    """The sign bit of float32, the one thing Keras looks at bits for (argmax): ``bitcast(x) & 0x80000000``.

    Reciprocal tells -0.0 from 0.0. Any other use stays as it is and is reported.
    """
    (x,) = node.inputs
    lowest = np.iinfo(np.int32).min

    def wants_sign(user: Any) -> bool:
        others = [other for other in user.inputs if other is not None and other.name != node.node.name]
        return user.type in ("BitwiseAnd", "And") and all(
            other.is_const() and (other.get_tensor_value(as_list=False) == lowest).all() for other in others
        )

    users = node.graph.find_output_consumers(node.node.output[0])
    dtypes = (node.graph.get_dtype(x), node.dtype)
    if not users or dtypes != (TensorProto.FLOAT, TensorProto.INT32) or not all(map(wants_sign, users)):
        return None
    zero = node.constant(0, TensorProto.FLOAT)
    below = node.add("Less", x, zero, dtype=TensorProto.BOOL)
    inverse = node.add("Reciprocal", x, dtype=TensorProto.FLOAT)
    negative = node.add("Or", below, node.add("Less", inverse, zero, dtype=TensorProto.BOOL), dtype=TensorProto.BOOL)
    return node.add("Where", negative, node.constant(lowest), node.constant(0))


_WHERE = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64, TensorProto.STRING,
          TensorProto.UINT8}  # fmt: skip
"""What ONNX Runtime's Where takes."""


def _select(node: _Node) -> str:
    """Where. (tf2onnx multiplies by the condition and adds, which makes NaN of the infinity that was not chosen.)"""
    condition, *branches = node.inputs
    shapes = [node.graph.get_shape(name) for name in node.inputs]
    if node.node.type == "Select" and shapes[0] is not None and len(shapes[0]) == 1 and len(shapes[1] or ()) > 1:
        # The old form chooses whole rows.
        axes = node.constant(range(1, len(shapes[1])), TensorProto.INT64)
        condition = node.add("Unsqueeze", condition, axes, dtype=TensorProto.BOOL)
    if node.dtype in _WHERE:
        return node.add("Where", condition, *branches)
    # One that holds all values of the dtype.
    wide = TensorProto.FLOAT if node.dtype in (TensorProto.FLOAT16, TensorProto.BFLOAT16) else TensorProto.INT64
    branches = [node.add("Cast", branch, dtype=wide, to=wide) for branch in branches]
    return node.add("Cast", node.add("Where", condition, *branches, dtype=wide), to=node.dtype)


def _lookup(tables: Mapping[bytes, tuple[Any, Any]], node: _Node) -> str | None:
    """A lookup table as LabelEncoder (ai.onnx.ml): text or int64 to text or int64."""

    def origin(maker: Any) -> Any:
        return origin(maker.inputs[0]) if maker.type == "Identity" else maker

    table, _, default = map(origin, node.node.inputs)
    shared = table.get_attr_value("shared_name")
    suffix: dict[int, str] = {TensorProto.STRING: "strings", TensorProto.INT64: "int64s"}
    takes, gives = suffix.get(node.graph.get_dtype(node.inputs[1])), suffix.get(node.dtype)
    if shared not in tables or takes is None or gives is None or not default.is_const():
        return None
    keys, values = tables[shared]
    attributes = {
        f"keys_{takes}": list(keys),
        f"values_{gives}": list(values),
        f"default_{gives.removesuffix('s')}": default.get_tensor_value(as_list=False).reshape(-1)[0],
    }
    return node.add("LabelEncoder", node.inputs[1], domain="ai.onnx.ml", **attributes)
