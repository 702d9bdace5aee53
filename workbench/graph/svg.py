"""A still drawing of an ONNX graph, for places that strip scripts: untrusted notebooks, GitHub, print.

One box per node of the main graph, laid out by Netron's own ``dagre.js``, which runs in QuickJS without a
browser, within limits of time and memory. Without either of them the boxes stand in plain layers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ..files.header import Graph, Header, Initializer, Node, ValueInfo
from ..markup import Html, render
from . import netron

MAX_NODES = 400
"""Nodes drawn; more would take seconds and could not be read."""

MAX_EDGES = 4_000

LAYOUT_SPANNED, LAYOUT_SECONDS = 20_000, 5
LAYOUT_BYTES = 256 << 20

# Netron's colours (grapher.css), by its operator categories.
_COLORS = {
    "Layer": "#335588",
    "Wrapper": "#335588",
    "Activation": "#702921",
    "Pool": "#335533",
    "Normalization": "#335544",
    "Dropout": "#454770",
    "Shape": "#6c4f47",
    "Tensor": "#59423b",
    "Transform": "#335544",
    "Data": "#555555",
    "Quantization": "#50282c",
    "Attention": "#6e3c6e",
    "Custom": "#804000",
}
_DARK, _VALUE = "#333333", "#eeeeee"
_HEAD, _ROW, _ROWS, _LONGEST = 21, 13, 6, 34

# Not allowed in XML, invisible, or able to turn the text around them.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]")


@dataclass(slots=True)
class Box:
    """A node, or a graph input or output. `x` and `y` are the centre, in pixels."""

    label: str
    color: str
    rows: list[str] = field(default_factory=list)
    tip: str = ""
    x: float = 0
    y: float = 0

    @property
    def width(self) -> float:
        return max([_width(self.label, 11) + 18, *(_width(row, 9) + 14 for row in self.rows)])

    @property
    def height(self) -> float:
        return _HEAD + (_ROWS + _ROW * len(self.rows) if self.rows else 0)

    @property
    def ink(self) -> str:
        return "#222" if self.color == _VALUE else "#fff"


@dataclass(slots=True)
class Edge:
    start: int
    stop: int
    points: list[tuple[float, float]] = field(default_factory=list)


def svg(header: Header, *, notes: Iterable[str] = (), within: tuple[int, int] | None = None) -> str:
    """The main graph as a well-formed SVG document on a light ground of its own.

    Args:
        header: of the model (`header.read_header`).
        notes: sentences written above the graph, such as what was shortened.
        within: (width, height) in pixels of the place it is for: what is too tall for that is cut between its rows and
            goes on in columns beside one another, as many as leave it largest.
    """
    lines = list(notes)
    operators = {
        ("" if entry.get("module") == "ai.onnx" else entry.get("module", ""), entry["name"]): entry
        for entry in json.loads(netron.onnx_metadata(set(header.op_types()), header.opset_import))
    }
    for function in header.functions:
        operators[function.key] = {"inputs": [{"name": value.name} for value in function.body.inputs]}
    boxes, edges, left_out = _boxes(header.graph, operators)
    lines = [*left_out, *lines]
    try:
        if spanned(header.graph) > LAYOUT_SPANNED:
            raise NoLayout
        dagre(boxes, edges)
    except NoLayout:
        layers(boxes, edges)
    return draw(boxes, edges, lines, within)


def card(title: str, lines: Iterable[str]) -> str:
    """A drawing that says in words what it cannot show."""
    return draw([], [], [title, *lines])


class NoLayout(Exception):
    """dagre or QuickJS is missing, or the limits were reached."""


def spanned(graph: Graph) -> int:
    """Levels that the edges of a graph span together, each node standing below all that it reads: what a layout by
    levels takes time for."""
    level = {value.name: 0 for value in graph.inputs}
    total = 0
    for node in graph.nodes:
        read = [level[name] for name in node.inputs if name in level]
        below = 1 + max(read, default=-1)
        total += below * len(read) - sum(read)
        level.update((name, below) for name in node.outputs if name)
    return total


def _boxes(graph: Graph, operators: dict[tuple[str, str], dict[str, Any]]) -> tuple[list[Box], list[Edge], list[str]]:
    """The boxes, the edges, and sentences about what is not drawn."""
    boxes: list[Box] = []
    producer: dict[str, int] = {}
    links: list[tuple[str, int]] = []
    nodes = [node for node in graph.nodes if node.op_type != "Constant"]
    constants = {name for node in graph.nodes if node.op_type == "Constant" for name in node.outputs}
    if len(nodes) > MAX_NODES:
        # What makes weights from weights often comes first; the data's way through the model says more.
        makers = {id(node) for node in nodes if not node.subgraphs and graph.initializers.keys() >= set(node.inputs)}
        drawn = [node for node in nodes if id(node) not in makers][:MAX_NODES]
    else:
        drawn = nodes
    for value in graph.inputs[:MAX_NODES]:
        producer[value.name] = len(boxes)
        boxes.append(_value_box(value))
    for node in drawn:
        index = len(boxes)
        operator = operators.get(node.key, {})
        color = _COLORS.get(operator.get("category", ""), _DARK)
        boxes.append(Box(short(node.op_type) or "?", color, _rows(node, graph, operator), _clean(node.name)))
        for name in dict.fromkeys((*node.inputs, *_captured(node))):
            if name and name not in graph.initializers and name not in constants:
                links.append((name, index))
        for name in node.outputs:
            if name:
                producer[name] = index
    for value in graph.outputs[:MAX_NODES]:
        if len(drawn) == len(nodes) or value.name in producer:
            links.append((value.name, len(boxes)))
            boxes.append(_value_box(value))
    pairs = dict.fromkeys((producer[name], index) for name, index in links if name in producer)
    edges = [Edge(start, stop) for start, stop in pairs if start != stop]
    counts = (
        ("inputs", min(len(graph.inputs), MAX_NODES), len(graph.inputs)), ("nodes", len(drawn), len(nodes)),
        ("outputs", min(len(graph.outputs), MAX_NODES), len(graph.outputs)),
        ("edges", min(len(edges), MAX_EDGES), len(edges)),
    )  # fmt: skip
    left_out = [f"{here:,} of {total:,} {what} are drawn." for what, here, total in counts if here < total]
    return boxes, edges[:MAX_EDGES], left_out


def _value_box(value: ValueInfo) -> Box:
    rows = []
    if value.dtype != "undefined":
        rows.append(short(f"{value.sort} {_shape(value.shape) if value.shape is not None else ''}".strip()))
    return Box(short(value.name), _VALUE, rows, _clean(value.name))


def _rows(node: Node, graph: Graph, operator: dict[str, Any]) -> list[str]:
    rows = [short(node.name)] if node.name and node.name != node.op_type else []
    names = [entry.get("name", "") for entry in operator.get("inputs", []) if isinstance(entry, dict)]
    for position, name in enumerate(node.inputs):
        tensor: Initializer | None = graph.initializers.get(name)
        if tensor is not None and len(rows) < 8:
            label = names[position] if position < len(names) else ""
            rows.append(short(f"{label} {_shape(tensor.shape)}".strip()))
    return rows


def _captured(node: Node) -> list[str]:
    """Outer values that the node's subgraphs may read."""
    return [name for graph in node.subgraphs for inner in graph.walk() for n in inner.nodes for name in n.inputs]


def _shape(shape: tuple[int | str | None, ...]) -> str:
    return "\N{MULTIPLICATION SIGN}".join("?" if dim is None else str(dim) for dim in shape[:8]) if shape else "scalar"


def _clean(text: str) -> str:
    return _UNFIT.sub("\ufffd", text)


def short(text: str) -> str:
    """One line: long names keep their end, where node names differ."""
    text = _clean(text[-(_LONGEST + 1) :] if len(text) > _LONGEST else text)
    return text if len(text) <= _LONGEST else "…" + text[2:]


def _width(text: str, size: float) -> float:
    """Pixels of a line in a sans-serif font, roughly; East Asian letters are square."""
    return sum(size if ord(letter) > 0x2E7F else size * (0.68 if letter.isupper() else 0.57) for letter in text)


def dagre(boxes: list[Box], edges: list[Edge]) -> None:
    """Place boxes and edges as Netron does."""
    try:
        import quickjs

        source = netron.module("dagre.js")
    except (ImportError, netron.NetronLayoutError) as error:
        raise NoLayout from error
    nodes = [{"v": str(i), "width": box.width, "height": box.height} for i, box in enumerate(boxes)]
    links = [
        {"v": str(edge.start), "w": str(edge.stop), "minlen": 1, "weight": 1}
        | {"width": 0, "height": 0, "labeloffset": 10, "labelpos": "r"}
        for edge in edges
    ]
    context = quickjs.Context()
    context.set_memory_limit(LAYOUT_BYTES)
    context.set_time_limit(LAYOUT_SECONDS)
    context.set_max_stack_size(1 << 20)
    try:
        context.eval("var exports = {};(function(__exports){'use strict';" + source + "\n})(exports);")
        answer = context.eval(
            f"(() => {{ const n = {json.dumps(nodes)}, e = {json.dumps(links)};"
            "exports.layout(n, e, {nodesep: 20, ranksep: 24}, {}); return JSON.stringify([n, e]); })()"
        )
        placed, routed = json.loads(answer)
        for node in placed:
            box = boxes[int(node["v"])]
            box.x, box.y = float(node["x"]), float(node["y"])
        by_ends = {(edge.start, edge.stop): edge for edge in edges}
        for link in routed:
            points = [(float(point["x"]), float(point["y"])) for point in link["points"]]
            by_ends[int(link["v"]), int(link["w"])].points = points
    except (quickjs.JSException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoLayout from error


def layers(boxes: list[Box], edges: list[Edge]) -> None:
    """Place boxes in rows by their longest path from an input; edges are straight."""
    level = [0] * len(boxes)
    for edge in sorted(edges, key=lambda edge: edge.stop):  # nodes come in topological order
        if edge.start < edge.stop:
            level[edge.stop] = max(level[edge.stop], level[edge.start] + 1)
    top = 0.0
    for rank in range(max(level, default=0) + 1):
        row = [box for box, at in zip(boxes, level, strict=True) if at == rank]
        left = -sum(box.width + 20 for box in row) / 2
        height = max((box.height for box in row), default=0)
        for box in row:
            box.x, box.y = left + box.width / 2 + 10, top + height / 2
            left += box.width + 20
        top += height + 34
    for edge in edges:
        start, stop = boxes[edge.start], boxes[edge.stop]
        edge.points = [(start.x, start.y + start.height / 2), (stop.x, stop.y - stop.height / 2)]


def draw(boxes: list[Box], edges: list[Edge], lines: list[str], within: tuple[int, int] | None = None) -> str:
    points = [point for edge in edges for point in edge.points]
    left = min([box.x - box.width / 2 for box in boxes] + [x for x, _ in points], default=0) - 16
    wide = max([box.x + box.width / 2 for box in boxes] + [x for x, _ in points], default=0) + 16 - left
    cuts = _cuts(boxes, wide, within)
    columns = list(pairwise(cuts))
    lines = [_clean(line[:200]) for line in lines[:4]]
    banner = 18 * len(lines) + (8 if lines else 0)
    return render(
        "drawing", boxes=boxes, curves=[Html(_curve(edge.points)) for edge in edges if edge.points],
        lines=lines, left=left, wide=wide, columns=columns, banner=banner, head=_HEAD, row=_ROW,
        width=max([wide * len(columns), *(_width(line, 11) + 32 for line in lines)]),
        height=max(bottom - top for top, bottom in columns) + banner,
    )  # fmt: skip


def _cuts(boxes: list[Box], wide: float, within: tuple[int, int] | None) -> list[float]:
    """Where a drawing of this width begins, is cut, and ends, from top to bottom."""
    spans = sorted((box.y - box.height / 2, box.y + box.height / 2) for box in boxes)
    top, bottom = min((top for top, _ in spans), default=0) - 16, max((bottom for _, bottom in spans), default=0) + 16
    if within is None:
        return [top, bottom]
    gaps, reached = [], top + 16
    for begins, ends in spans:
        if begins > reached:
            gaps.append((reached + begins) / 2)
        reached = max(reached, ends)
    best, largest = [top, bottom], 0.0
    for most in (gap - top for gap in (bottom, *gaps)):
        cuts = [top]
        for gap, following in pairwise([*gaps, bottom]):
            if following - cuts[-1] > most:
                cuts.append(gap)
        cuts.append(bottom)
        highest = max(end - start for start, end in pairwise(cuts))
        scale = min(1.0, within[0] / (wide * (len(cuts) - 1)), within[1] / highest)
        if scale > largest + 0.01 or (abs(scale - largest) <= 0.01 and len(cuts) < len(best)):
            best, largest = cuts, scale
    return best


def _curve(points: list[tuple[float, float]]) -> str:
    """A line through dagre's points with its corners rounded."""
    path = "M{:.1f} {:.1f}".format(*points[0])
    for (x, y), (next_x, next_y) in pairwise(points[1:]):
        path += f"Q{x:.1f} {y:.1f} {(x + next_x) / 2:.1f} {(y + next_y) / 2:.1f}"
    return path + "L{:.1f} {:.1f}".format(*points[-1])
