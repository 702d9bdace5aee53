"""A graph too large to draw, its nodes folded into boxes that open: by the scopes in their names, else in runs.

A box is a node that holds its nodes as a subgraph, which Netron opens in place; no ONNX Runtime would run it. Made at
the wire level from a model without weights (`slim.py`). Field numbers as there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..files.header import Graph, Node
from ..files.wire import LEN, Wire, delimited, encode_varint

FEW = 300
"""Nodes that are not folded any further."""

BOXES = 100
"""Runs that a level without scopes is cut into."""

DOMAIN = "workbench.folded"


@dataclass(frozen=True)
class Box:
    """Nodes, by their places, and boxes of some, under one name; `scope` is that with the scopes around it."""

    name: str
    scope: str
    items: tuple[int | Box, ...]

    def places(self) -> Iterator[int]:
        """Of all nodes in it."""
        for item in self.items:
            yield from item.places() if isinstance(item, Box) else (item,)


def folded(data: bytes) -> tuple[bytes, tuple[Graph, ...]]:
    """A model with its main graph folded, and what each level draws.

    Args:
        data: a ModelProto without weights.

    Raises:
        WireError: it is damaged.
    """
    wire = Wire(data)
    out, graphs = [], []
    for number, kind, _, span in wire.fields(wire.span):
        if number == 7 and kind == LEN:
            fold = _Fold(Wire(wire.data(span)))
            out.append(delimited(7, fold.graph()))
            graphs += fold.levels
        else:
            out.append(wire.copied(number, kind, span))
    return b"".join(out), tuple(graphs)


def tree(names: list[str]) -> Box:
    """Nodes of these names as boxes: a scope is what stands before each ``/``."""
    paths = [[part for part in name.split("/") if part][:-1] for name in names]

    def level(places: list[int], depth: int) -> list[int | Box]:
        if len(places) <= FEW:
            return [*places]
        scopes: dict[str, list[int]] = {}
        for place in places:
            scopes.setdefault(paths[place][depth] if depth < len(paths[place]) else "", []).append(place)
        direct = scopes.pop("", [])
        if len(scopes) == 1 and not direct:
            return level(places, depth + 1)
        boxes = [box(scope, members, depth + 1) for scope, members in scopes.items() if len(members) > 1]
        alone = [place for members in scopes.values() if len(members) == 1 for place in members]
        return runs(sorted([*boxes, *direct, *alone], key=first))

    def box(name: str, places: list[int], depth: int) -> Box:
        return Box(name, "/".join(paths[places[0]][:depth]), tuple(level(places, depth)))

    def first(item: int | Box) -> int:
        return next(item.places()) if isinstance(item, Box) else item

    def runs(items: list[int | Box]) -> list[int | Box]:
        """Cut into runs where there are too many."""
        if len(items) <= FEW:
            return items
        size = max(BOXES, -(-len(items) // BOXES))
        parts = [items[at : at + size] for at in range(0, len(items), size)]
        called = [f"from {first(part[0]) + 1:,}" for part in parts]
        return [Box(name, name, tuple(runs(part))) for name, part in zip(called, parts, strict=True)]

    return Box("", "", tuple(level([*range(len(names))], 0)))


class _Fold:
    """One graph.

    Attributes:
        levels: what is drawn of each level, the whole first.
    """

    def __init__(self, wire: Wire) -> None:
        self.nodes: list[tuple[Node, bytes]] = []
        self.tensors: dict[str, bytes] = {}
        self.others: list[bytes] = []
        self.inputs: list[str] = []
        self.results: set[str] = set()
        self.levels: list[Graph] = []
        for number, kind, _, span in wire.fields(wire.span):
            if kind == LEN and number == 1:
                self.nodes.append((_node(wire, span), wire.data(span)))
            elif kind == LEN and number == 5:
                self.tensors[_text(wire, span, 8)] = wire.data(span)
            else:
                self.others.append(wire.copied(number, kind, span))
                if kind == LEN and number in (11, 12):
                    name = _text(wire, span, 1)
                    self.inputs += [name] * (number == 11)
                    self.results |= {name} if number == 12 else set()
        self.readers: dict[str, list[int]] = {}
        for place, (node, _) in enumerate(self.nodes):
            for value in node.inputs:
                self.readers.setdefault(value, []).append(place)

    def graph(self) -> bytes:
        """The folded graph's payload."""
        whole = tree([node.name or next(iter(node.outputs), "") for node, _ in self.nodes])
        return b"".join([*self._level(whole), *self.others])

    def _level(self, box: Box) -> list[bytes]:
        """The fields of a level's nodes and of the tensors that they read."""
        fields, drawn, read = [], [], dict[str, None]()
        at = len(self.levels)
        self.levels.append(Graph("", (), (), (), {}))
        for item in box.items:
            if isinstance(item, Box):
                node, payload = self._folded(item)
            else:
                node, payload = self.nodes[item]
                read.update(dict.fromkeys(node.inputs))
            drawn.append(node)
            fields.append(delimited(1, payload))
        self.levels[at] = Graph("", tuple(drawn), (), (), {})
        return [*fields, *(delimited(5, self.tensors[name]) for name in read if name in self.tensors)]

    def _folded(self, box: Box) -> tuple[Node, bytes]:
        """A box as a node."""
        within = set(box.places())
        members = [self.nodes[place][0] for place in sorted(within)]
        gives = {value: None for node in members for value in node.outputs if value}
        reads = {value: None for node in members for value in node.inputs if value}
        inputs = tuple(value for value in reads if value not in gives and value not in self.tensors)
        outputs = tuple(
            value for value in gives
            if value in self.results or any(place not in within for place in self.readers.get(value, ()))
        )  # fmt: skip
        kind = f"{box.name.replace('.', '·')} ({len(within):,})"  # Netron shows what follows a dot
        body = b"".join([*self._level(box), *(delimited(12, delimited(1, value.encode())) for value in outputs)])
        attribute = delimited(1, b"nodes") + delimited(6, body) + encode_varint(20 << 3) + encode_varint(5)
        values = [*((1, value) for value in inputs), *((2, value) for value in outputs)]
        texts = [*values, (3, box.scope), (4, kind), (7, DOMAIN)]
        payload = b"".join(delimited(number, text.encode()) for number, text in texts) + delimited(5, attribute)
        return Node(kind, DOMAIN, box.scope, inputs, outputs), payload


def _node(wire: Wire, span: tuple[int, int]) -> Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 3: [""], 4: [""]}
    for number, kind, _, inner in wire.fields(span):
        if kind == LEN and number in texts:
            texts[number].append(wire.text(inner))
    return Node(texts[4][-1], "", texts[3][-1], tuple(texts[1]), tuple(texts[2]))


def _text(wire: Wire, span: tuple[int, int], wanted: int) -> str:
    return next(map(wire.text, wire.within(span, wanted)), "")
