"""The nodes of files that are not ONNX, as far as a layout goes by them: what each reads and gives.

Sources: ``tensorflow/core/framework/graph.proto``, ``tensorflow/compiler/mlir/lite/schema/schema.fbs``,
``onnxruntime/core/flatbuffers/schema/ort.fbs``.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import UnreadableFile
from ..files.header import Graph, Node, in_order
from ..files.wire import LEN, Buffer, Span, Steps, StepsSpent, Wire

Graphs = tuple[Graph, ...]

MOST = 3_000_000
"""Steps for one file, a second or two: many times what Netron draws."""


def _graph(nodes: Iterable[Node]) -> Graph:
    return Graph("", in_order(list(nodes)), (), (), {})


# --- TensorFlow -----------------------------------------------------------------------------------------------------


def graph_def(buffer: Buffer) -> Graphs:
    wire = Wire(buffer, Steps(MOST))
    return _graphs_of(wire, wire.span)


def saved_model(buffer: Buffer) -> Graphs:
    wire = Wire(buffer, Steps(MOST))
    found = (_graphs_of(wire, graph) for meta in wire.within(wire.span, 2) for graph in wire.within(meta, 2))
    return tuple(graph for graphs in found for graph in graphs)


def _graphs_of(wire: Wire, span: Span) -> Graphs:
    """A GraphDef's own nodes, and each function's of its library."""
    bodies = [list(wire.within(span, 1))]
    for library in wire.within(span, 2):
        bodies += [list(wire.within(function, 3)) for function in wire.within(library, 1)]
    return tuple(_graph(node for place in body if (node := _node(wire, place)).op_type != "Const") for body in bodies)


def _node(wire: Wire, span: Span) -> Node:
    """NodeDef: name = 1, op = 2, input = 3: a node's name, with ``:0`` behind it or ``^`` before it."""
    texts: dict[int, list[str]] = {1: [""], 2: [""], 3: []}
    for number, kind, _, inner in wire.fields(span):
        if kind == LEN and number in texts:
            texts[number].append(wire.text(inner, 1_000))
    reads = tuple(text.removeprefix("^").partition(":")[0] for text in texts[3])
    return Node(texts[2][-1], "", texts[1][-1], reads, (texts[1][-1],))


# --- flatbuffers ----------------------------------------------------------------------------------------------------


class Flat:
    """The tables of a flatbuffer (https://flatbuffers.dev/internals/).

    Raises:
        UnreadableFile: an offset points outside the file, of this name; StepsSpent: it holds more than `MOST` elements.
    """

    def __init__(self, data: Buffer | bytearray, name: str) -> None:
        self.data, self.name, self.left = data, name, MOST

    def number(self, at: int, size: int = 4, signed: bool = False) -> int:
        if not 0 <= at <= len(self.data) - size:
            raise UnreadableFile(f"The {self.name} file is damaged: an offset points outside it.")
        return int.from_bytes(self.data[at : at + size], "little", signed=signed)

    def value(self, table: int, index: int) -> int | None:
        """Where a table's field is stored, if it is."""
        vtable = table - self.number(table, signed=True)
        if 4 + 2 * index >= self.number(vtable, 2):
            return None
        offset = self.number(vtable + 4 + 2 * index, 2)
        return table + offset if offset else None

    def elements(self, table: int, index: int) -> range:
        """Where the elements, of four bytes each, of a table's vector are."""
        at = self.value(table, index)
        if at is None:
            return range(0)
        start = at + self.number(at)
        count = min(self.number(start), len(self.data) // 4)
        self.left -= 1 + count
        if self.left < 0:
            raise StepsSpent(f"the {self.name} file holds more than is looked at here")
        return range(start + 4, start + 4 + 4 * count, 4)

    def tables(self, table: int, index: int) -> list[int]:
        """The tables, or texts, of such a vector."""
        return [at + self.number(at) for at in self.elements(table, index)]

    def text(self, at: int) -> str:
        return bytes(self.data[at + 4 : at + 4 + min(self.number(at), 1_000)]).decode("utf-8", "replace")


def tflite(buffer: Buffer) -> Graphs:
    """Model.subgraphs = 2; SubGraph.operators = 3; Operator: inputs = 1, outputs = 2, numbers of tensors."""
    flat = Flat(buffer, "TFLite")

    def tensors(operator: int, index: int) -> tuple[str, ...]:
        return tuple(str(flat.number(at, signed=True)) for at in flat.elements(operator, index))

    return tuple(
        _graph(Node("", "", "", tensors(each, 1), tensors(each, 2)) for each in flat.tables(subgraph, 3))
        for subgraph in flat.tables(flat.number(0), 2)
    )


def ort(buffer: Buffer) -> Graphs:
    """InferenceSession.model = 1; Model.graph = 7; Graph.nodes = 2; Node: inputs = 8, outputs = 9, texts."""
    flat = Flat(buffer, "ORT")
    table = flat.number(0)
    for index in (1, 7):
        if (at := flat.value(table, index)) is None:
            return ()
        table = at + flat.number(at)

    def texts(node: int, index: int) -> tuple[str, ...]:
        return tuple(map(flat.text, flat.tables(node, index)))

    return (_graph(Node("", "", "", texts(node, 8), texts(node, 9)) for node in flat.tables(table, 2)),)
