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

_TRUTH = ("And", "Equal", "GreaterOrEqual", "IsInf", "Less", "Not", "Or", "Xor")
"""Operators that give truth values."""


class _Node:
    """A node of tf2onnx's graph. `inputs`: tensor names; `dtype`: of its output."""

    def __init__(self, graph: Any, node: Any) -> None:
        self.graph, self.node = graph, node
        self.inputs: list[str] = list(node.input)
        self.dtype: int = graph.get_dtype(node.output[0])

    def add(self, op: str, *inputs: str, dtype: int | None = None, domain: str = "", **attributes: Any) -> str:
        """An ONNX node; its output. `dtype` is what it gives: where None, a truth value, what it casts to, or the
        dtype of the replaced node."""
        from tf2onnx.utils import make_name

        dtype = dtype or (TensorProto.BOOL if op in _TRUTH else attributes["to"] if op == "Cast" else self.dtype)
        return self.graph.make_node(
            op, list(inputs), name=make_name(self.node.name), attr=attributes, dtypes=[dtype], domain=domain
        ).output[0]

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
        "Log1p": _log1p,
        "FloorMod": _floor_mod,
        "FloorDiv": _floor_div,
        "OneHot": _one_hot,
        "ResizeBilinear": _resize,
        "ResizeBicubic": _resize,
        "ResizeNearestNeighbor": _resize,
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
    shape = graph.get_shape(result) if shape is None else shape
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


def _log1p(node: _Node) -> str:
    """log(1 + x) = log(u) * x / (u - 1) with u = 1 + x as it was rounded, which keeps its digits near 0."""
    (x,) = node.inputs
    one = node.constant(1)
    u = node.add("Add", x, one)
    lost = node.add("Sub", u, one)
    # Where u is 1 there is nothing to divide by, and where it is infinite nothing to multiply with.
    plain = node.add("Or", node.add("Equal", lost, node.constant(0)), node.add("IsInf", u))
    return node.add("Where", plain, x, node.add("Mul", node.add("Log", u), node.add("Div", x, lost)))


_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}


def _signs_differ(node: _Node, left: str, right: str) -> str:
    signs = [node.add("Less", name, node.constant(0)) for name in (left, right)]
    return node.add("Xor", *signs)


def _floor_mod(node: _Node) -> str:
    """What is left has the sign of the divisor. (tf2onnx cuts the quotient of integers towards zero, and loses all
    digits of large numbers.)"""
    x, y = node.inputs
    if node.dtype not in _FLOATS:
        return node.add("Mod", x, y)
    left = node.add("Mod", x, y, fmod=1)
    nothing = node.add("Equal", left, node.constant(0))
    fits = node.add("Or", nothing, node.add("Not", _signs_differ(node, left, y)))
    return _where(node, fits, left, node.add("Add", left, y))


def _floor_div(node: _Node) -> str:
    """Rounded down. (tf2onnx cuts the quotient of integers towards zero.)"""
    x, y = node.inputs
    if node.dtype in _FLOATS:
        return node.add("Floor", node.add("Div", x, y))
    quotient = node.add("Div", x, y)
    exact = node.add("Equal", node.add("Mod", x, y), node.constant(0))
    lower = node.add("And", node.add("Not", exact), _signs_differ(node, x, y))
    return node.add("Sub", quotient, node.add("Cast", lower, to=node.dtype))


def _one_hot(node: _Node) -> str | None:
    """Where an index is the number of the place. (ONNX's OneHot counts negative indices from the end, where TensorFlow
    has none on; and tf2onnx looks rows up in a matrix for most dtypes, which stops at an index outside.)"""
    indices, depth, on, off = node.inputs
    axis, shape = node.node.get_attr_value("axis", -1), node.graph.get_shape(indices)
    int64 = TensorProto.INT64
    if axis != -1 and shape is None:
        return None
    whole = node.add("Cast", indices, to=int64)
    count = node.add("Cast", depth, to=int64)
    places = node.add("Range", node.constant(0, int64), count, node.constant(1, int64), dtype=int64)
    if axis != -1 and (behind := len(shape) - axis):
        places = node.add("Unsqueeze", places, node.constant(range(1, behind + 1), int64), dtype=int64)
    column = node.add("Unsqueeze", whole, node.constant([axis], int64), dtype=int64)
    return _where(node, node.add("Equal", column, places), on, off)


def _resize(node: _Node) -> str:
    """Resize to the sizes asked for. (tf2onnx divides them to scales in float32, which give a pixel less at times.)"""
    picture, size = node.inputs
    int64, kind = TensorProto.INT64, node.graph.get_dtype(picture)
    bicubic, nearest = node.node.type == "ResizeBicubic", node.node.type == "ResizeNearestNeighbor"
    wide = kind if nearest and kind in _RESIZABLE else TensorProto.FLOAT
    if kind != wide:
        picture = node.add("Cast", picture, to=wide)
    channels_first = node.add("Transpose", picture, dtype=wide, perm=[0, 3, 1, 2])
    channels = (node.graph.get_shape(node.inputs[0]) or [-1])[-1]
    # ONNX Runtime moves the Transpose behind a Resize that makes less of it, and has no bicubic one for channels last.
    apart = bicubic and channels > 1
    if apart:
        channels_first = node.add("Reshape", channels_first, node.constant([-1, 1, 0, 0], int64), dtype=wide)
    kept = node.add("Slice", node.add("Shape", channels_first, dtype=int64), node.constant([0], int64),
                    node.constant([2], int64), dtype=int64)  # fmt: skip
    sizes = node.add("Concat", kept, node.add("Cast", size, to=int64), dtype=int64, axis=0)
    corners, half = (bool(node.node.get_attr_value(name)) for name in ("align_corners", "half_pixel_centers"))
    cubic: dict[str, Any] = {"cubic_coeff_a": -0.5 if half else -0.75, "exclude_outside": int(half)}
    made = node.add(
        "Resize", channels_first, "", "", sizes, dtype=wide,
        mode="nearest" if nearest else "cubic" if bicubic else "linear",
        coordinate_transformation_mode="align_corners" if corners else "half_pixel" if half else "asymmetric",
        # floor((i + 0.5) / scale), as TensorFlow has it, is (i + 0.5) / scale - 0.5, rounded half up.
        nearest_mode="round_prefer_ceil" if corners or half else "floor",
        **(cubic if bicubic else {}),
    )  # fmt: skip
    if apart:
        made = node.add("Reshape", made, node.constant([-1, channels, 0, 0], int64), dtype=wide)
    channels_last = node.add("Transpose", made, dtype=wide, perm=[0, 2, 3, 1])
    return channels_last if wide == node.dtype else node.add("Cast", channels_last, to=node.dtype)


_RESIZABLE = {TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT8, TensorProto.UINT8}
"""What ONNX Runtime's Resize takes."""


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
        x = node.add("Cast", x, to=dtype)
    axis = node.constant([-1], TensorProto.INT64)
    boundaries = node.constant(list(node.node.get_attr_value("boundaries")), dtype)
    column = node.add("Unsqueeze", x, axis, dtype=dtype)
    above = node.add("GreaterOrEqual", column, boundaries)
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
    below = node.add("Less", x, zero)
    inverse = node.add("Reciprocal", x, dtype=TensorProto.FLOAT)
    negative = node.add("Or", below, node.add("Less", inverse, zero))
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
    return _where(node, condition, *branches)


def _where(node: _Node, condition: str, *branches: str) -> str:
    if node.dtype in _WHERE:
        return node.add("Where", condition, *branches)
    # One that holds all values of the dtype.
    wide = TensorProto.FLOAT if node.dtype in (TensorProto.FLOAT16, TensorProto.BFLOAT16) else TensorProto.INT64
    casts = [node.add("Cast", branch, to=wide) for branch in branches]
    return node.add("Cast", node.add("Where", condition, *casts, dtype=wide), to=node.dtype)


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
    found = node.add("LabelEncoder", node.inputs[1], domain="ai.onnx.ml", **attributes)
    # TensorFlow does not say it, and operators that read it may be written another way where it is not known.
    if (shape := node.graph.get_shape(node.inputs[1])) is not None:
        node.graph.set_shape(found, shape)
    return found
