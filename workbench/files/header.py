"""Everything an ONNX file says about itself, without its weights.

`read_header` walks the file's wire format (`wire.py`) and steps over tensor data, so a 10 GB file answers as
fast as a 10 kB one. Field numbers are those of ``onnx/onnx.proto`` (IR version 13).
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import islice
from typing import NamedTuple

from ..words import counted
from .wire import LEN, VARINT, Buffer, Span, Steps, StepsSpent, Wire, WireError, opened, signed

MAX_DEPTH = 40
"""Graphs within graphs. Protobuf's own parsers stop at 100 nested messages: 33 graphs."""

MAX_VALUES = 100_000
"""Inputs or outputs of one graph. Models of IR version 3 list every initializer as an input too."""

GAPS = "workbench.missing_text"
"""Key in ``metadata_props``: the inputs, as a JSON list of names, that know missing text; see `ValueInfo.gaps`."""

MAX_RANK = 64
"""Dimensions of a tensor: NumPy's own limit."""

# Steps for what is made of the fields read: objects, and what `structure` asks of each operator later.
_NODE, _OP_TYPE, _TENSOR, _VALUE, _DIM, _EXTERNAL, _GRAPH, _SPAN = 6, 50, 7, 4, 2, 30, 16, 3

# TensorProto.DataType, in NumPy's words where NumPy has one.
DTYPES = dict(
    enumerate(
        "undefined float32 uint8 int8 uint16 int16 int32 int64 string bool float16 float64 uint32 uint64 complex64 "
        "complex128 bfloat16 float8e4m3fn float8e4m3fnuz float8e5m2 float8e5m2fnuz uint4 int4 float4e2m1 float8e8m0 "
        "uint2 int2".split()
    )
)

MAX_NESTED = 8
"""Containers within containers, such as an optional sequence of tensors: two, in ONNX's own operators."""

_CONTAINERS = {4: "sequence", 5: "map", 8: "sparse_tensor", 9: "optional"}
"""Fields of TypeProto, and what else than a tensor a value can be."""

_LISTS = frozenset({7, 8, 9})
"""AttributeProto's floats, ints and strings: a tree ensemble keeps millions of them, each a field of its own."""

_LISTED = 16
"""Elements of a list that are walked over before the rest is searched for what else it could hide."""

SEARCHED = 64 << 20
"""Bytes of such lists that are searched; whoever opens a model's external data searches all."""


class NotOnnx(WireError):
    """Well-formed bytes perhaps, but not an ONNX ModelProto."""


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """A graph input or output.

    `shape` has an int for a fixed dimension, a str for a named one, None for an unknown one; it is None
    itself where the rank is unknown. `dtype` is NumPy's name, or ``sequence``, ``map``, ``optional``,
    ``sparse_tensor`` for values that are not dense tensors. `holds` is what such a one has in it, without a name, and
    `key` the dtype of a map's keys. `gaps`: of an input of text,
    some may be missing (NaN or None); an ONNX model takes the words ``nan`` and ``None`` for them, and names such
    inputs under `GAPS`.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None
    holds: ValueInfo | None = None
    key: str = ""
    gaps: bool = False

    @property
    def sort(self) -> str:
        """What it is, in words: ``float32``, ``sequence of int64``, ``map of string to float32``."""
        if self.holds is None or self.dtype == "sparse_tensor":
            return self.dtype
        return f"{self.dtype} of {f'{self.key} to ' if self.key else ''}{self.holds.sort}"

    def to_dict(self) -> dict[str, object]:
        shape = None if self.shape is None else list(self.shape)
        holds = {} if self.holds is None else {"sort": self.sort}
        return {"name": self.name, "dtype": self.dtype, "shape": shape, **holds}


@dataclass(frozen=True, slots=True)
class Initializer:
    """A stored tensor: everything but its numbers. `location` names the file beside the model that holds them."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    location: str | None = None

    @property
    def elements(self) -> int:
        return math.prod(self.shape) if all(dim >= 0 for dim in self.shape) else 0


@dataclass(frozen=True, slots=True)
class External:
    """A file that the model reads tensors from, wherever in the model they stand.

    Attributes:
        location: as written in the model: hostile until proven otherwise.
        where: the first tensor that names it; tensors: how many do.
        size: bytes the file must have for all of them, as far as the model says.
    """

    location: str
    where: str
    tensors: int
    size: int


class Node(NamedTuple):  # made in a third of the time a frozen dataclass takes, and there are many
    """One operator. `subgraphs` are the graphs in its attributes (bodies of Loop, Scan, If)."""

    op_type: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    subgraphs: tuple[Graph, ...] = ()
    overload: str = ""

    @property
    def calls(self) -> tuple[str, str, str]:
        """`Function.called_as` of the function in the file that it calls, if it calls one."""
        return *self.key, self.overload

    @property
    def key(self) -> tuple[str, str]:
        """(domain, op_type), with ONNX's two spellings of the default domain made one: ``""``."""
        return ("" if self.domain == "ai.onnx" else self.domain), self.op_type


@dataclass(frozen=True, slots=True)
class Graph:
    """A GraphProto. `inputs` leaves out those that an initializer gives a value, `defaults` names them."""

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    initializers: dict[str, Initializer]
    defaults: tuple[str, ...] = ()

    def walk(self) -> Iterator[Graph]:
        """This graph and every graph within it."""
        todo = [self]
        while todo:
            yield (graph := todo.pop())
            todo += reversed([inner for node in graph.nodes for inner in node.subgraphs])


@dataclass(frozen=True, slots=True)
class Function:
    """A model-local function: an operator whose body travels in the file."""

    domain: str
    name: str
    overload: str
    body: Graph

    @property
    def key(self) -> tuple[str, str]:
        return ("" if self.domain == "ai.onnx" else self.domain), self.name

    @property
    def called_as(self) -> tuple[str, str, str]:
        """With its overload: since IR version 10 functions may share a name."""
        return *self.key, self.overload


@dataclass(frozen=True, slots=True)
class Header:
    """What `read_header` found. Strings are as written in the file: escape them before showing them.

    `in_part` says what was read of a file that holds more than the steps allow for; empty where all was read.
    """

    size_bytes: int
    ir_version: int | None
    producer_name: str
    producer_version: str
    domain: str
    model_version: int
    doc_string: str
    opset_imports: tuple[tuple[str, int], ...]
    graph: Graph
    functions: tuple[Function, ...]
    metadata_props: dict[str, str]
    external: tuple[External, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    in_part: str = ""

    @property
    def opset_import(self) -> dict[str, int]:
        """{domain: version}; where a domain is listed twice (older skl2onnx did), the higher version."""
        out: dict[str, int] = {}
        for domain, version in self.opset_imports:
            domain = "" if domain == "ai.onnx" else domain
            out[domain] = max(version, out.get(domain, version))
        return out

    def graphs(self) -> Iterator[Graph]:
        """The main graph, its subgraphs, and every function body with its subgraphs."""
        yield from self.graph.walk()
        for function in self.functions:
            yield from function.body.walk()

    def nodes(self) -> Iterator[Node]:
        """Every node of `graphs`."""
        for graph in self.graphs():
            yield from graph.nodes

    def op_types(self) -> Counter[tuple[str, str]]:
        """(domain, op_type) -> count over main graph, subgraphs and functions."""
        return Counter(node.key for node in self.nodes())

    @property
    def parameters(self) -> int:
        """Numbers stored in initializers, over all graphs."""
        return sum(tensor.elements for graph in self.graphs() for tensor in graph.initializers.values())

    @property
    def external_data(self) -> tuple[str, ...]:
        """Names of the files that hold tensors beside the model, in order of first mention."""
        return tuple(data.location for data in self.external)


def read_header(
    path: str | os.PathLike[str],
    buffer: Buffer | None = None,
    *,
    searched: int = SEARCHED,
    steps: Steps | None = None,
) -> Header:
    """Read an ONNX file's header; neither weights nor external data are touched.

    Args:
        path: the file.
        buffer: its bytes where the caller has opened them already; `path` is then only named in errors.
        searched: bytes of long attributes that are searched for tensors in other files; a model that writes them
            after a million numbers of the same attribute was made to hide them.
        steps: for whoever makes do with a part of a large file: what they do not suffice for is left out, and
            `Header.in_part` says so.

    Raises:
        UnreadableFile: the file is missing, empty or truncated (`WireError`), or not ONNX (`NotOnnx`); without `steps`
            also where it holds more than `workbench.files.wire.MAX_STEPS` allow for (`StepsSpent`).
    """
    if buffer is None:
        with opened(path) as view:
            return read_header(path, view, searched=searched, steps=steps)
    try:
        return parse_header(buffer, searched, steps)
    except StepsSpent as error:
        raise StepsSpent(f"{os.fspath(path)} is too large an ONNX model for the workbench: {error}.") from None
    except WireError as error:
        raise type(error)(
            f"{os.fspath(path)} is not a readable ONNX model: {error}; copy or download it again."
        ) from None


def parse_header(buffer: Buffer, searched: int = SEARCHED, steps: Steps | None = None) -> Header:
    """`read_header` over bytes already at hand."""
    return _Reader(Wire(buffer, steps), searched, steps is not None).model()


class _Reader:
    """One pass over a ModelProto.

    In part, lists at the top of the model may take half of the steps. Operators and tensors are passed over once an
    eighth is left: what stands behind them, inputs and outputs above all, is read even so.
    """

    def __init__(self, wire: Wire, searched: int, in_part: bool) -> None:
        self.wire = wire
        self.warnings: list[str] = []
        self.external: dict[str, External] = {}
        self._search_left = searched
        self._in_part = in_part
        self._half = wire.steps.left // 2 if in_part else -1
        self._eighth = wire.steps.left // 8 if in_part else -1
        self._complete = True
        self._op_types: set[tuple[str, str]] = set()

    def model(self) -> Header:  # noqa: C901  a branch for each field of ModelProto
        wire, text, steps = self.wire, self.wire.text, self.wire.steps
        strings = {2: "", 3: "", 4: "", 6: ""}
        ir_version: int | None = None
        model_version = 0
        opsets: list[tuple[str, int]] = []
        metadata: dict[str, str] = {}
        spans: dict[int, list[Span]] = {7: [], 20: [], 25: []}
        for number, kind, value, span in wire.fields(wire.span):
            if steps.left < self._half:
                self._complete = False
                break
            if kind == VARINT:
                if number == 1:
                    ir_version = signed(value)
                elif number == 5:
                    model_version = signed(value)
            elif kind == LEN:
                if number in strings:
                    strings[number] = text(span)
                elif number in spans:
                    steps.left -= _SPAN
                    spans[number].append(span)
                elif number == 8:
                    opsets.append(self._opset(span))
                elif number == 14:
                    key, entry = self._entry(span)
                    metadata[key] = entry
        if not spans[7] or (ir_version is None and not opsets):
            raise NotOnnx("it has no graph with an ir_version or opset_import, which every ONNX model has")
        if len(spans[7]) > 1:
            self.warnings.append(f"The file holds {len(spans[7]):,} graphs; ONNX readers merge them into one.")
        graph = self._graph(spans[7], 0)
        functions: list[Function] = []
        try:
            for span in spans[25]:
                if steps.left < self._eighth:
                    self._complete = False
                    break
                functions.append(self._function(span))
            for span in spans[20]:
                self._training(span)
        except StepsSpent:
            self._leave_out()
        header = Header(
            size_bytes=len(wire),
            ir_version=ir_version,
            producer_name=strings[2],
            producer_version=strings[3],
            domain=strings[4],
            model_version=model_version,
            doc_string=strings[6],
            opset_imports=tuple(opsets),
            graph=_with_gaps(graph, metadata.get(GAPS, "")),
            functions=tuple(functions),
            metadata_props=metadata,
            external=tuple(self.external.values()),
            warnings=tuple(self.warnings),
        )
        return header if self._complete else replace(header, in_part=_first(header))

    def _leave_out(self) -> None:
        """Go on without what no steps are left for; called while `StepsSpent` is handled."""
        if not self._in_part:
            raise
        self._complete = False

    def _opset(self, span: Span) -> tuple[str, int]:
        domain, version = "", 0
        for number, kind, value, inner in self.wire.fields(span):
            if number == 1 and kind == LEN:
                domain = self.wire.text(inner)
            elif number == 2 and kind == VARINT:
                version = signed(value)
        return domain, version

    def _entry(self, span: Span) -> tuple[str, str]:
        """StringStringEntryProto."""
        texts: dict[int, str] = {}
        for number, kind, _, inner in self.wire.fields(span):
            if kind == LEN and number in (1, 2):
                texts[number] = self.wire.text(inner)
        return texts.get(1, ""), texts.get(2, "")

    def _graph(self, spans: list[Span], depth: int) -> Graph:
        if depth > MAX_DEPTH:
            raise WireError(f"graphs are nested more than {MAX_DEPTH} deep, which no ONNX reader accepts")
        wire, steps = self.wire, self.wire.steps
        name = ""
        nodes: list[Node] = []
        inputs: list[ValueInfo] = []
        outputs: list[ValueInfo] = []
        initializers: dict[str, Initializer] = {}
        steps.left -= _GRAPH
        try:
            for span in spans:
                for number, kind, _, inner in wire.fields(span):
                    if kind != LEN:
                        continue
                    if number in (1, 5, 15) and steps.left < self._eighth:
                        self._complete = False
                    elif number == 1:
                        nodes.append(self._node(inner, depth))
                    elif number in (5, 15):
                        tensor = self._tensor(inner) if number == 5 else self._sparse(inner)
                        initializers[tensor.name] = tensor
                    elif number == 2:
                        name = wire.text(inner)
                    elif number in (11, 12):
                        values = inputs if number == 11 else outputs
                        values.append(self._value_info(inner))
                        if len(values) > MAX_VALUES:
                            raise WireError(f"more than {MAX_VALUES:,} inputs or outputs, which no model has")
        except StepsSpent:
            self._leave_out()
        free = tuple(value for value in inputs if value.name not in initializers)
        given = tuple(value.name for value in inputs if value.name in initializers)
        return Graph(name, in_order(nodes), free, tuple(outputs), initializers, given)

    def _function(self, span: Span) -> Function:
        wire = self.wire
        name = domain = overload = ""
        nodes: list[Node] = []
        inputs: list[ValueInfo] = []
        outputs: list[ValueInfo] = []
        wire.steps.left -= _GRAPH
        for number, kind, _, inner in wire.fields(span):
            if kind != LEN:
                continue
            if number == 7 and wire.steps.left < self._eighth:
                self._complete = False
            elif number == 1:
                name = wire.text(inner)
            elif number in (4, 5):
                wire.steps.left -= _VALUE
                (inputs if number == 4 else outputs).append(ValueInfo(wire.text(inner), "undefined", None))
            elif number == 7:
                nodes.append(self._node(inner, 1))
            elif number == 11:  # a default, which may be a tensor
                self._subgraphs(inner, 1)
            elif number == 10:
                domain = wire.text(inner)
            elif number == 13:
                overload = wire.text(inner)
        return Function(domain, name, overload, Graph(name, in_order(nodes), tuple(inputs), tuple(outputs), {}))

    def _node(self, span: Span, depth: int) -> Node:
        wire = self.wire
        wire.steps.left -= _NODE
        subgraphs: list[Graph] = []
        texts = _node_texts()
        if not wire.strings(span, texts):
            texts = _node_texts()
            try:
                for number, kind, _, inner in wire.fields(span):
                    if kind == LEN and number in texts:
                        texts[number].append(wire.text(inner))
                    elif kind == LEN and number == 5:
                        subgraphs += self._subgraphs(inner, depth)
            except StepsSpent:
                if not subgraphs:  # or it could lack its domain, and be taken for another
                    raise
                self._leave_out()
        inputs, outputs = tuple(texts[1]), tuple(texts[2])
        name, op_type, domain = texts[3][-1], texts[4][-1], texts[7][-1]
        if (domain, op_type) not in self._op_types:
            self._op_types.add((domain, op_type))
            wire.steps.left -= _OP_TYPE
        return Node(op_type, domain, name, inputs, outputs, tuple(subgraphs), texts[8][-1])

    def _subgraphs(self, attribute: Span, depth: int) -> list[Graph]:
        """Graphs of one AttributeProto: field 6 (one) or 11 (several); its tensors are looked at on the way."""
        single: list[Span] = []
        several: list[Graph] = []
        listed = 0
        for number, kind, _, inner in self.wire.fields(attribute):
            if number in _LISTS:
                listed += 1
                if listed == _LISTED and not self._hides_data((inner[1], attribute[1])):
                    break
            elif kind != LEN:
                continue
            elif number == 6:
                self.wire.steps.left -= _SPAN
                single.append(inner)
            elif number == 11:
                several.append(self._graph([inner], depth + 1))
            elif number in (5, 10):
                self._tensor(inner)
            elif number in (22, 23):
                self._sparse(inner)
        return [self._graph(single, depth + 1), *several] if single else several

    def _hides_data(self, span: Span) -> bool:
        """Whether a tensor in another file could be in there: none is without the word ``location``."""
        start, stop = span
        while start < stop and self._search_left > 0:
            part = self.wire.data((start, stop), _BLOCK)
            if b"location" in part:
                return True
            self._search_left -= len(part)
            if not part or start + len(part) >= stop:
                break
            start += len(part) - len(b"location")
        return False

    def _training(self, span: Span) -> None:
        """TrainingInfoProto: two graphs that inference never runs, whose tensors some readers load all the same."""
        for graph in (*self.wire.within(span, 1), *self.wire.within(span, 2)):
            self._graph([graph], 1)

    def _tensor(self, span: Span) -> Initializer:
        wire = self.wire
        name, dtype = "", "undefined"
        shape: list[int] = []
        entries: dict[str, str] = {}
        wire.steps.left -= _TENSOR
        for number, kind, value, inner in wire.fields(span):
            if number == 1 and kind in (VARINT, LEN):
                self._dims(shape, kind, value, inner)
            elif number == 2 and kind == VARINT:
                dtype = DTYPES.get(value, f"type {value}")
            elif number == 8 and kind == LEN:
                name = wire.text(inner)
            elif number == 13 and kind == LEN:
                key, entry = self._entry(inner)
                entries[key] = entry
                if key == "location":
                    wire.steps.left -= _EXTERNAL + len(entry) // 16
                    self.external.setdefault(entry, External(entry, name, 0, 0))
        tensor = Initializer(name, dtype, tuple(shape), entries.get("location"))
        if tensor.location is not None:
            data = self.external[tensor.location]
            end = _end(entries, tensor)
            self.external[data.location] = External(
                data.location, data.where or name, data.tensors + 1, max(data.size, end)
            )
        return tensor

    def _sparse(self, span: Span) -> Initializer:
        """SparseTensorProto: its name is its values' name, its shape the dense one; its indices are a tensor, too."""
        values = Initializer("", "undefined", ())
        shape: list[int] = []
        for number, kind, value, inner in self.wire.fields(span):
            if number == 1 and kind == LEN:
                values = self._tensor(inner)
            elif number == 2 and kind == LEN:
                self._tensor(inner)
            elif number == 3 and kind in (VARINT, LEN):
                self._dims(shape, kind, value, inner)
        return Initializer(values.name, values.dtype, tuple(shape), values.location)

    def _dims(self, shape: list[int], kind: int, value: int, span: Span) -> None:
        self.wire.steps.left -= _DIM
        if kind == VARINT:
            shape.append(signed(value))
        else:
            dims = self.wire.packed(span, MAX_RANK + 1)
            self.wire.steps.left -= _DIM * len(dims)
            shape += map(signed, dims)
        _check_rank(len(shape))

    def _value_info(self, span: Span) -> ValueInfo:
        name = ""
        found = ValueInfo("", "undefined", None)
        self.wire.steps.left -= _VALUE
        for number, kind, _, inner in self.wire.fields(span):
            if kind != LEN:
                continue
            if number == 1:
                name = self.wire.text(inner)
            elif number == 2:
                found = self._type(inner)
        return ValueInfo(name, found.dtype, found.shape, found.holds, found.key)

    def _type(self, span: Span, depth: int = 0) -> ValueInfo:
        """TypeProto, as a value without a name."""
        found = ValueInfo("", "undefined", None)
        for number, kind, _, inner in self.wire.fields(span):
            if kind == LEN and number == 1:
                found = ValueInfo("", *self._tensor_type(inner))
            elif kind == LEN and number in _CONTAINERS:
                found = ValueInfo("", _CONTAINERS[number], None)
                if number in (4, 5, 9) and depth < MAX_NESTED:
                    found = self._held(found, inner, depth)
        return found

    def _held(self, container: ValueInfo, span: Span, depth: int) -> ValueInfo:
        """A container with what it holds: of a map field 2, beside the type of its keys, of others field 1."""
        is_map = container.dtype == "map"
        for number, kind, value, inner in self.wire.fields(span):
            if kind == LEN and number == (2 if is_map else 1):
                container = replace(container, holds=self._type(inner, depth + 1))
            elif kind == VARINT and number == 1 and is_map:
                container = replace(container, key=DTYPES.get(value, f"type {value}"))
        return container

    def _tensor_type(self, span: Span) -> tuple[str, tuple[int | str | None, ...] | None]:
        dtype = "undefined"
        shape: tuple[int | str | None, ...] | None = None
        for number, kind, value, inner in self.wire.fields(span):
            if number == 1 and kind == VARINT:
                dtype = DTYPES.get(value, f"type {value}")
            elif number == 2 and kind == LEN:
                shape = tuple(self._dim(dim) for dim in islice(self.wire.within(inner, 1), MAX_RANK + 1))
                _check_rank(len(shape))
        return dtype, shape

    def _dim(self, span: Span) -> int | str | None:
        for number, kind, value, inner in self.wire.fields(span):
            if number == 1 and kind == VARINT:
                return signed(value)
            if number == 2 and kind == LEN:
                return self.wire.text(inner) or None
        return None


def _node_texts() -> dict[int, list[str]]:
    """NodeProto's inputs, outputs, name, op_type, domain and overload, of which the last counts."""
    return {1: [], 2: [], 3: [""], 4: [""], 7: [""], 8: [""]}


def _with_gaps(graph: Graph, said: str) -> Graph:
    """The graph with `ValueInfo.gaps` of its inputs, as its file says."""
    try:
        named = json.loads(said) if said else []
    except (ValueError, RecursionError):
        named = []
    if not isinstance(named, list) or not named:
        return graph
    inputs = (replace(info, gaps=info.dtype == "string" and info.name in named) for info in graph.inputs)
    return replace(graph, inputs=tuple(inputs))


def _check_rank(rank: int) -> None:
    if rank > MAX_RANK:
        raise WireError(f"a tensor of more than {MAX_RANK} dimensions, which no library holds")


def _first(header: Header) -> str:
    """What was read of a file that was not read to its end."""
    nodes, tensors = 0, 0
    for graph in header.graphs():
        nodes += len(graph.nodes)
        tensors += len(graph.initializers)
    return (
        "It holds more than is looked at here: its kind, its counts and all else that is said of it come of its first "
        f"{counted(nodes, 'operator')} and {counted(tensors, 'tensor')} alone."
    )


_BLOCK = 1 << 20

# Bits of one element, by the last digits of a dtype's name; strings are not stored outside.
_BITS = {"bool": 8, "complex64": 64, "complex128": 128, "bfloat16": 16}


def _end(entries: dict[str, str], tensor: Initializer) -> int:
    """The byte at which a tensor's numbers end in its data file, as far as the model says."""
    offset = entries.get("offset", "0")
    length = entries.get("length", "")
    if not length.isdecimal() or len(length) > 20:
        bits = _BITS.get(tensor.dtype) or (re.findall(r"(?:int|float)(\d+)", tensor.dtype) or ["0"])[0]
        length = str(min(-(-tensor.elements * int(bits) // 8), 1 << 63))  # dimensions can be any numbers
    return (int(offset) if offset.isdecimal() and len(offset) <= 20 else 0) + int(length)


def in_order(nodes: list[Node]) -> tuple[Node, ...]:
    """Nodes behind those that make what they take: as ONNX asks for, and as ONNX Runtime sorts a file that is not. What
    is in order stays as it is written, and so does what a circle keeps from any order."""
    read: set[str] = set()
    for node in nodes:
        read.update(_taken(node))
        if not read.isdisjoint(node.outputs) and any(node.outputs):
            break  # made after it was read
    else:
        return tuple(nodes)
    order = ordered([set(_taken(node)) for node in nodes], [node.outputs for node in nodes])
    left = sorted(set(range(len(nodes))) - set(order))
    return tuple(nodes[place] for place in (*order, *left))


def ordered(taken: Sequence[Iterable[str]], given: Sequence[Iterable[str]]) -> list[int]:
    """Places of nodes, each behind those that give what it takes, else as they stand; without those in a circle, and
    behind one.

    Args:
        taken: the values that each takes; given: that each gives.
    """
    made = {name: place for place, names in enumerate(given) for name in names if name}
    followers: dict[int, list[int]] = {}
    missing = [0] * len(given)
    for place, names in enumerate(taken):
        for needed in {made[name] for name in names if name in made} - {place}:
            followers.setdefault(needed, []).append(place)
            missing[place] += 1
    ready = [place for place, count in enumerate(missing) if not count]
    order: list[int] = []
    while ready:
        order.append(place := heappop(ready))
        for follower in followers.get(place, ()):
            missing[follower] -= 1
            if not missing[follower]:
                heappush(ready, follower)
    return order


def _taken(node: Node) -> Iterable[str]:
    """The names a node reads: its inputs, and what the graphs inside it may take from around them."""
    if not node.subgraphs:
        return node.inputs
    inside = [graph for body in node.subgraphs for graph in body.walk()]
    names = {name for graph in inside for inner in graph.nodes for name in inner.inputs}
    names.update(value.name for graph in inside for value in graph.outputs)
    for graph in inside:
        names.difference_update(graph.initializers, (value.name for value in graph.inputs))
        names.difference_update(name for inner in graph.nodes for name in inner.outputs)
    return (*node.inputs, *names)
