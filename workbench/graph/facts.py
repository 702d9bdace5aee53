"""What each node of an ONNX graph gives and costs: shapes, parameters, multiply-accumulates. `GraphView.facts`.

Shapes are ONNX's own inference's, on a copy without weights. Costs are counted for one row: the first axis of an input,
where the model leaves it open, counts as one, and other open axes as the person says. Multiply-accumulates are counted
as published figures count them, in convolutions, matrix products and recurrent cells (`FORMULAS`); what works on each
number by itself, or moves it, has none; of all other operators they are unknown, and said to be. Runs in a worker:
ONNX's parser reads the copy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

from ..files.header import DTYPES
from ..safety.names import listed
from ..words import counted, visible
from .stand_ins import stand_ins

if TYPE_CHECKING:
    import pandas as pd

Shape = tuple[int | str | None, ...]

FIGURES = ("macs", "parameters", "seconds", "error", "spikes")
"""Of a node, that a view shows as colours."""


@dataclass(frozen=True, slots=True)
class Value:
    """What a node gives; its shape as `workbench.files.header.ValueInfo` has it, None where inference ends before."""

    name: str
    dtype: str | None
    shape: Shape | None


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node of the main graph.

    Attributes:
        outputs: what it gives, unnamed ones left out.
        parameters: numbers stored in the initializers that it is the first to read, its subgraphs' among them; bytes:
            what they take.
        macs: multiply-accumulates for one row; None where unknown.
        seconds, error, spikes: None until they are measured (`workbench.costs`): how long it takes; how far what it
            gives is from what is right, as a share of the latter's size (`workbench.compare.within`); of a layer of
            neurons, spikes per neuron and step.
        ran_as: what it became where it was timed, merged with others.
    """

    name: str
    op_type: str
    domain: str
    outputs: tuple[Value, ...]
    parameters: int
    bytes: int
    macs: int | None
    seconds: float | None = None
    error: float | None = None
    spikes: float | None = None
    ran_as: str = ""


@dataclass(frozen=True)
class Facts:
    """What `GraphView.facts` gives.

    Attributes:
        nodes: in the file's order.
        unknown: {operator: how many nodes} whose multiply-accumulates are unknown; they are not in the total.
        of_run: values whose shapes are those of a run, since inference ends before them.
    """

    nodes: tuple[NodeFacts, ...]
    unknown: dict[str, int]
    of_run: tuple[str, ...] = ()

    def measured(self, errors: Mapping[str, float], spikes: Mapping[str, float]) -> Facts:
        """The same with what a run told.

        Args:
            errors: {value: error}; a node's is the largest of what it gives.
            spikes: {layer: spikes per neuron and step}, by the name of its node.
        """
        nodes = []
        for node in self.nodes:
            found = [errors[value.name] for value in node.outputs if value.name in errors]
            nodes.append(replace(node, error=max(found, default=None), spikes=spikes.get(node.name)))
        return replace(self, nodes=tuple(nodes))

    @property
    def total(self) -> dict[str, Any]:
        """``parameters``, ``bytes``, ``macs`` (of what is known) and ``seconds`` of all nodes together."""
        seconds = [node.seconds for node in self.nodes if node.seconds is not None]
        return {
            "parameters": sum(node.parameters for node in self.nodes),
            "bytes": sum(node.bytes for node in self.nodes),
            "macs": sum(node.macs or 0 for node in self.nodes),
            "macs_unknown": self.unknown,
            "seconds": sum(seconds) if seconds else None,
        }

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each node; its outputs' names, dtypes and shapes as text, and its share of all
        multiply-accumulates that are known."""
        import pandas as pd

        macs = self.total["macs"]
        rows = [
            {
                **asdict(node),
                "outputs": ", ".join(value.name for value in node.outputs),
                "dtype": ", ".join(value.dtype or "?" for value in node.outputs),
                "shape": ", ".join(shown(value.shape) for value in node.outputs),
                "share": node.macs / macs if node.macs is not None and macs else None,
            }
            for node in self.nodes
        ]
        columns = [
            *("name", "op_type", "domain", "outputs", "dtype", "shape", "parameters", "bytes", "macs", "share"),
            *("seconds", "ran_as", "error", "spikes"),
        ]
        return pd.DataFrame(rows, columns=columns).astype({"macs": "Int64"})

    @property
    def drawn(self) -> dict[str, Any]:
        """What `costs.js` shows: of each node the values it gives, by which it is found, and its figures."""
        nodes = [
            {
                "outputs": [value.name for value in node.outputs],
                "shape": ", ".join(shown(value.shape) for value in node.outputs),
                **{key: getattr(node, key) for key in FIGURES},
                "ran_as": visible(node.ran_as),
            }
            for node in self.nodes
        ]
        many = sum(self.unknown.values())
        note = f"; of {counted(many, 'node')} it is unknown" if many else ""
        return {"nodes": nodes, "total": self.total, "note": note}

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``workbench graph --facts json``."""
        return {"nodes": [asdict(node) for node in self.nodes], "total": self.total, "of_run": list(self.of_run)}


def shown(shape: Shape | None) -> str:
    """``N×28×28×1``; ``?`` where it is unknown."""
    return "?" if shape is None else "×".join("?" if dim is None else str(dim) for dim in shape) or "1"


def facts(data: bytes, axes: Mapping[str, int] | None = None, ran: Ran | None = None) -> Facts:
    """The facts of a model's main graph.

    Args:
        data: the model, best without its weights (`workbench.graph.slim`): of a tensor only type and shape are read.
        axes: sizes of axes that the model leaves open, by their names; 1 for the first axis of an input.
        ran: what a run with one row gave, its inputs among it: taken where inference ends.
    """
    model, ran = onnx.load_from_string(data), ran or {}
    open_ones, for_one_row = _inferred(model), _inferred(_bound(model, axes or {}, ran))
    of_run = _filled(open_ones, ran, lambda dim: dim is None)
    _filled(for_one_row, ran, lambda dim: not isinstance(dim, int))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    taken: set[str] = set()
    nodes = []
    unknown: Counter[str] = Counter()
    for node in model.graph.node:
        own = [stored[name] for name in node.input if name in stored and name not in taken]
        taken.update(tensor.name for tensor in own)
        own += _within(node)
        macs = _macs(node, for_one_row)
        if macs is None:
            unknown[node.op_type] += 1
        outputs = tuple(Value(name, *open_ones.get(name, (None, None))) for name in node.output if name)
        domain = "" if node.domain == "ai.onnx" else node.domain
        sizes = [(_elements(tensor), tensor.data_type) for tensor in own]
        held = sum(math.ceil(count * _bits(dtype) / 8) for count, dtype in sizes)
        nodes.append(NodeFacts(node.name, node.op_type, domain, outputs, sum(count for count, _ in sizes), held, macs))
    return Facts(tuple(nodes), dict(unknown), tuple(of_run))


# --- shapes -----------------------------------------------------------------------------------------------------------


Known = dict[str, tuple[str | None, Shape | None]]
"""Value -> dtype and shape."""

Ran = Mapping[str, tuple[str, tuple[int, ...]]]
"""The same, of a run."""


def _filled(known: Known, ran: Ran, lacks: Callable[[int | str | None], bool]) -> list[str]:
    """Fill in what a run tells; the values whose shapes it was."""
    filled = []
    for name, (dtype, found) in ran.items():
        said, shape = known.get(name, (None, None))
        if shape is None or any(map(lacks, shape)):
            same = shape is not None and len(shape) == len(found)
            dims = [there if lacks(here) else here for here, there in zip(shape or (), found, strict=False)]
            known[name] = (said or dtype, tuple(dims) if same else found)
            filled.append(name)
    return filled


def _bound(model: onnx.ModelProto, axes: Mapping[str, int], ran: Ran) -> onnx.ModelProto:
    """The model for one row, its open axes of these sizes, or those of a run."""
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    for value in bound.graph.input:
        if value.name in stored or not value.type.HasField("tensor_type"):
            continue
        sizes = dict(enumerate(ran[value.name][1])) if value.name in ran else {0: 1}
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") or dim.dim_value < 0:
                size = axes.get(dim.dim_param, sizes.get(place))
                if size is not None:
                    dim.dim_value = size
    # What the file says of its values names the open axes, and would stand against what is found now.
    del bound.graph.value_info[:]
    for value in bound.graph.output:
        value.type.tensor_type.ClearField("shape")
    return bound


def _inferred(model: onnx.ModelProto) -> Known:
    model = stand_ins(model)
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    own = {dim.dim_param for value in values for dim in value.type.tensor_type.shape.dim}
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # a graph that contradicts itself: what it says of its values is all there is
        graph = model.graph
    known: Known = {}
    own.discard("")  # inference makes up names for the others
    for value in (*graph.input, *graph.value_info, *graph.output):
        if not value.type.HasField("tensor_type"):
            known[value.name] = (value.type.WhichOneof("value"), None)
            continue
        tensor = value.type.tensor_type
        dims = tensor.shape.dim if tensor.HasField("shape") else None
        shape = None if dims is None else tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param if dim.dim_param in own else None
            for dim in dims
        )  # fmt: skip
        known[value.name] = (_dtype(tensor.elem_type), shape)
    for tensor in graph.initializer:
        known[tensor.name] = (_dtype(tensor.data_type), tuple(tensor.dims))
    return known


def _dtype(data_type: int) -> str | None:
    return DTYPES.get(data_type) if data_type else None


def _elements(tensor: onnx.TensorProto) -> int:
    return math.prod(tensor.dims) if all(dim >= 0 for dim in tensor.dims) else 0


def _bits(data_type: int) -> int:
    narrow: dict[int, int] = {TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.FLOAT4E2M1: 4}
    if data_type in narrow:
        return narrow[data_type]
    try:
        return 8 * helper.tensor_dtype_to_np_dtype(data_type).itemsize
    except (KeyError, TypeError):
        return 0


def _within(node: onnx.NodeProto) -> list[onnx.TensorProto]:
    """Initializers of a node's subgraphs."""
    graphs = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
    return [
        tensor
        for graph in graphs
        for tensor in (*graph.initializer, *(each for inner in graph.node for each in _within(inner)))
    ]


# --- multiply-accumulates ---------------------------------------------------------------------------------------------


class _Node:
    """A node whose shapes are numbers."""

    def __init__(self, node: onnx.NodeProto, known: Known) -> None:
        self.attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        self._names, self._known = node, known

    def input(self, place: int) -> tuple[int, ...]:
        """
        Raises:
            LookupError: its shape is not known.
        """
        return self._shape(self._names.input[place] if self.given(place) else "")

    def given(self, place: int) -> bool:
        """Whether there is an input, which may be left out."""
        return place < len(self._names.input) and bool(self._names.input[place])

    @property
    def output(self) -> tuple[int, ...]:
        """As `input`."""
        return self._shape(self._names.output[0])

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self._known[name][1]
        if shape is None or not all(isinstance(dim, int) and dim >= 0 for dim in shape):
            raise KeyError(name)
        return tuple(dim for dim in shape if isinstance(dim, int))


def _macs(node: onnx.NodeProto, known: Known) -> int | None:
    domain = node.domain or "ai.onnx"
    if node.op_type in _NONE.get(domain, ()):
        return 0
    formula = FORMULAS.get(f"{domain}:{node.op_type}")
    if formula is None:
        return None
    try:
        return formula(_Node(node, known))
    except (LookupError, ValueError):  # unknown, or of another number of axes
        return None


def _conv(place: int) -> Callable[[_Node], int]:
    """Of a convolution with its weights at `place`, (channels out, channels in of a group, kernel …)."""
    return lambda node: math.prod(node.output) * math.prod(node.input(place)[1:])


def _conv_transpose(node: _Node) -> int:
    """Weights are (channels in, channels out of a group, kernel …): each number that goes in meets them all."""
    return math.prod(node.input(0)) * math.prod(node.input(1)[1:])


def _matmul(node: _Node) -> int:
    return math.prod(node.output) * node.input(0)[-2 if node.attributes.get("transA") else -1]


def _gemm(node: _Node) -> int:
    return math.prod(node.output) * node.input(0)[0 if node.attributes.get("transA") else 1]


def _recurrent(gates: int) -> Callable[[_Node], int]:
    """X is (steps, batch, features), or with `layout` 1 batch first; W (directions, gates x hidden, features)."""

    def macs(node: _Node) -> int:
        steps, batch, features = node.input(0)
        directions = node.input(1)[0]
        hidden = node.input(2)[2]
        return steps * batch * directions * gates * hidden * (features + hidden)

    return macs


def _einsum(node: _Node) -> int:
    """Every combination of the letters once, for two operands."""
    equation = node.attributes["equation"].decode().replace(" ", "")
    terms = equation.split("->")[0].split(",")
    if len(terms) != 2 or "." in equation:
        raise KeyError(equation)
    sizes = {
        letter: size for place, term in enumerate(terms) for letter, size in zip(term, node.input(place), strict=True)
    }
    return math.prod(sizes.values())


def _attention(node: _Node) -> int:
    """X (rows, steps, features) becomes queries, keys and values; each step meets all and those past, masked or not."""
    rows, steps, features = node.input(0)
    sizes = node.attributes.get("qkv_hidden_sizes") or [node.input(1)[1] // 3] * 3
    past = node.input(4)[3] if node.given(4) else 0
    return rows * steps * (features * sum(sizes) + (steps + past) * (sizes[0] + sizes[2]))


def _multi_head(node: _Node) -> int:
    """Of queries, keys and values that come computed, each (rows, steps, features)."""
    rows, steps, features = node.input(0)
    _, met, _ = node.input(1)
    return rows * steps * met * (features + node.input(2)[2])


def _packed_matmul(node: _Node) -> int:
    """Weights of a few bits each, packed."""
    return math.prod(node.input(0)) * int(node.attributes["N"])


FORMULAS: dict[str, Callable[[_Node], int]] = {
    "ai.onnx:Conv": _conv(1),
    "ai.onnx:ConvInteger": _conv(1),
    "ai.onnx:QLinearConv": _conv(3),
    "com.microsoft:FusedConv": _conv(1),
    "com.microsoft:NhwcFusedConv": _conv(1),
    "ai.onnx:ConvTranspose": _conv_transpose,
    "ai.onnx:MatMul": _matmul,
    "ai.onnx:MatMulInteger": _matmul,
    "ai.onnx:QLinearMatMul": _matmul,
    "com.microsoft:FusedMatMul": _matmul,
    "ai.onnx:Gemm": _gemm,
    "com.microsoft:FusedGemm": _gemm,
    "com.microsoft:DynamicQuantizeMatMul": _matmul,
    "com.microsoft:MatMulIntegerToFloat": _matmul,
    "com.microsoft:MatMulNBits": _packed_matmul,
    "com.microsoft:Attention": _attention,
    "com.microsoft:MultiHeadAttention": _multi_head,
    "ai.onnx:LSTM": _recurrent(4),
    "ai.onnx:GRU": _recurrent(3),
    "ai.onnx:RNN": _recurrent(1),
    "ai.onnx:Einsum": _einsum,
}
"""domain:op_type -> its multiply-accumulates for one row, from the shapes of what it reads and gives."""

_NONE = listed(Path(__file__).with_name("uncounted.txt"))
"""domain -> operators that published figures do not count."""
