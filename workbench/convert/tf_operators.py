"""TensorFlow operators that tf2onnx 1.17 has no ONNX form for, and the form we give them.

Each handler takes tf2onnx's graph and node and puts ONNX nodes in the node's place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

Handler = Callable[[Any, Any, str, Any], Any]


def handlers(tables: Mapping[bytes, tuple[Any, Any]]) -> dict[str, tuple[Handler, list[Any]]]:
    """{TensorFlow operator: (handler, [])} as ``process_tf_graph`` takes it.

    Args:
        tables: shared name of a lookup table -> (keys, values).
    """
    own: dict[str, Handler] = {
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
    return {op: (handler, []) for op, handler in own.items()}


class _Builder:
    """Replaces one node by several."""

    def __init__(self, graph: Any, node: Any) -> None:
        self.graph, self.node = graph, node
        self.output = node.output[0]
        self.dtype, self.shape = graph.get_dtype(self.output), graph.get_shape(self.output)
        self.inputs = list(node.input)
        self.name = node.name
        graph.remove_node(node.name)

    def add(self, op: str, inputs: list[str], dtype: int | None = None, domain: str = "", **attributes: Any) -> str:
        from tf2onnx import utils

        made = self.graph.make_node(
            op, inputs, name=utils.make_name(self.name), attr=attributes, dtypes=[dtype or self.dtype], domain=domain
        )
        return made.output[0]

    def end(self, op: str, inputs: list[str], domain: str = "", **attributes: Any) -> Any:
        return self.graph.make_node(
            op, inputs, name=self.name, attr=attributes, outputs=[self.output], shapes=[self.shape],
            dtypes=[self.dtype], domain=domain,
        )  # fmt: skip

    def constant(self, value: Any, dtype: int) -> str:
        import numpy as np
        from tf2onnx import utils

        array = np.asarray(value, utils.map_onnx_to_numpy_type(dtype))
        return self.graph.make_const(utils.make_name(f"{self.name}/const"), array).output[0]


def _erfc(graph: Any, node: Any, name: str, args: Any) -> Any:
    """Erfc(x) = 1 - Erf(x), in exact GELU. Where it is tiny it comes out 0, which is off by 6e-8 at most."""
    build = _Builder(graph, node)
    erf = build.add("Erf", build.inputs)
    return build.end("Sub", [build.constant(1, build.dtype), erf])


def _expm1(graph: Any, node: Any, name: str, args: Any) -> Any:
    """exp(x) - 1 = tanh(x / 2) * (exp(x) + 1), which keeps its digits near 0, where exp(x) - 1 loses them."""
    build = _Builder(graph, node)
    half = build.add("Mul", [build.inputs[0], build.constant(0.5, build.dtype)])
    tanh = build.add("Tanh", [half])
    exp = build.add("Exp", build.inputs)
    return build.end("Mul", [tanh, build.add("Add", [exp, build.constant(1, build.dtype)])])


def _gelu(graph: Any, node: Any, name: str, args: Any) -> Any:
    """TFLite's GELU: x / 2 * (1 + erf(x / sqrt 2)), or with tanh(sqrt(2 / pi) * (x + 0.044715 x^3)) for erf."""
    import math

    approximate = node.get_attr_value("approximate")
    build = _Builder(graph, node)
    x = build.inputs[0]

    def number(value: float) -> str:
        return build.constant(value, build.dtype)

    if approximate:
        cube = build.add("Mul", [build.add("Mul", [x, x]), x])
        inner = build.add("Add", [x, build.add("Mul", [cube, number(0.044715)])])
        curve = build.add("Tanh", [build.add("Mul", [inner, number(math.sqrt(2 / math.pi))])])
    else:
        curve = build.add("Erf", [build.add("Mul", [x, number(math.sqrt(0.5))])])
    return build.end("Mul", [build.add("Mul", [x, number(0.5)]), build.add("Add", [curve, number(1)])])


def _bucketize(graph: Any, node: Any, name: str, args: Any) -> Any:
    """How many boundaries are <= x."""
    from onnx import TensorProto

    boundaries = list(node.get_attr_value("boundaries"))
    dtype = graph.get_dtype(node.input[0])
    build = _Builder(graph, node)
    source = build.inputs[0]
    if dtype not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        # TensorFlow's boundaries are float32; integers beyond 2**24 would be rounded before they are compared.
        dtype = TensorProto.DOUBLE
        source = build.add("Cast", [source], dtype, to=dtype)
    axis = build.constant([-1], TensorProto.INT64)
    column = build.add("Unsqueeze", [source, axis], dtype)
    above = build.add("GreaterOrEqual", [column, build.constant(boundaries, dtype)], TensorProto.BOOL)
    ones = build.add("Cast", [above], to=build.dtype)
    return build.end("ReduceSum", [ones, axis], keepdims=0)


def _bitcast(graph: Any, node: Any, name: str, args: Any) -> Any:
    """The sign bit of float32, the one thing Keras looks at bits for (argmax): ``bitcast(x) & 0x80000000``.

    Reciprocal tells -0.0 from 0.0. Any other use stays as it is and is reported.
    """
    import numpy as np
    from onnx import TensorProto

    lowest = np.iinfo(np.int32).min
    users = graph.find_output_consumers(node.output[0])
    for user in users:
        others = [other for other in user.inputs if other is not None and other.name != name]
        sign_only = user.type in ("BitwiseAnd", "And") and all(
            other.is_const() and (other.get_tensor_value(as_list=False) == lowest).all() for other in others
        )
        if not sign_only:
            return node
    if graph.get_dtype(node.input[0]) != TensorProto.FLOAT or not users:
        return node
    build = _Builder(graph, node)
    zero = build.constant(0, TensorProto.FLOAT)
    below = build.add("Less", [build.inputs[0], zero], TensorProto.BOOL)
    inverse = build.add("Less", [build.add("Reciprocal", build.inputs, TensorProto.FLOAT), zero], TensorProto.BOOL)
    negative = build.add("Or", [below, inverse], TensorProto.BOOL)
    return build.end(
        "Where", [negative, build.constant(lowest, TensorProto.INT32), build.constant(0, TensorProto.INT32)]
    )


def _select(graph: Any, node: Any, name: str, args: Any) -> Any:
    """Where. (tf2onnx multiplies by the condition and adds, which makes NaN of the infinity that was not chosen.)"""
    from onnx import TensorProto

    shapes = [graph.get_shape(source) for source in node.input]
    build = _Builder(graph, node)
    condition, *branches = build.inputs
    if node.type == "Select" and shapes[0] is not None and len(shapes[0]) == 1 and len(shapes[1] or ()) > 1:
        # The old form chooses whole rows.
        axes = build.constant(list(range(1, len(shapes[1]))), TensorProto.INT64)
        condition = build.add("Unsqueeze", [condition, axes], TensorProto.BOOL)
    ready = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64, TensorProto.STRING,
             TensorProto.UINT8)  # fmt: skip
    if build.dtype in ready:
        return build.end("Where", [condition, *branches])
    # ONNX Runtime's Where does not take the dtype; this one holds all its values.
    wide = TensorProto.FLOAT if build.dtype in (TensorProto.FLOAT16, TensorProto.BFLOAT16) else TensorProto.INT64
    branches = [build.add("Cast", [branch], wide, to=wide) for branch in branches]
    return build.end("Cast", [build.add("Where", [condition, *branches], wide)], to=build.dtype)


def _lookup(tables: Mapping[bytes, tuple[Any, Any]], graph: Any, node: Any, name: str, args: Any) -> Any:
    """A lookup table as LabelEncoder (ai.onnx.ml): text or int64 to text or int64."""
    from onnx import TensorProto

    table = node.inputs[0]
    while table.type == "Identity":
        table = table.inputs[0]
    shared = table.get_attr_value("shared_name")
    suffix = {TensorProto.STRING: "strings", TensorProto.INT64: "int64s"}
    from_dtype, to_dtype = graph.get_dtype(node.input[1]), graph.get_dtype(node.output[0])
    default = node.inputs[2]
    while default.type == "Identity":
        default = default.inputs[0]
    if shared not in tables or from_dtype not in suffix or to_dtype not in suffix or not default.is_const():
        return node
    keys, values = tables[shared]
    value = default.get_tensor_value(as_list=False).reshape(-1)[0]
    build = _Builder(graph, node)
    attributes = {
        f"keys_{suffix[from_dtype]}": list(keys),
        f"values_{suffix[to_dtype]}": list(values),
        f"default_{suffix[to_dtype].removesuffix('s')}": value,
    }
    return build.end("LabelEncoder", [build.inputs[1]], domain="ai.onnx.ml", **attributes)
