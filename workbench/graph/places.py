"""Where the nodes of one op_type are: in the main graph, which a drawing shows, or inside functions and subgraphs."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from ..files.header import Function, Header, Node
from ..words import counted


@dataclass(frozen=True)
class Places:
    """What `places` found. Strings are as written in the file: escape them before showing them.

    Attributes:
        op_type: its name, without the default domain.
        here: how many nodes of it the main graph has.
        inside: {name of a function, or op_type of a node with a subgraph: how many are in its body}.
        values: a value that each node to mark gives, which no other node does. The nodes to mark are those of the
            op_type, or where the main graph has none, those that hold some.
    """

    op_type: str
    here: int
    inside: dict[str, int]
    values: tuple[str, ...]

    @property
    def says(self) -> str:
        """Where they are, in a sentence or two."""
        names = list(self.inside)
        holders = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        many = sum(self.inside.values())
        if self.here:
            more = f" {many:,} more {_are(many)} inside {holders}." if many else ""
            return f"{counted(self.here, 'node')} of {self.op_type} {_are(self.here)} marked.{more}"
        if not many:
            return f"This model has no node of {self.op_type}."
        where = f"{counted(many, 'node')} of {self.op_type} {_are(many)} inside {holders}"
        if not self.values:
            return f"{where}, which no node uses."
        held, them = len(self.values), "it" if many == 1 else "them"
        return (
            f"{where}; the {f'{held:,} nodes that hold' if held > 1 else 'node that holds'} {them} {_are(held)} marked."
        )


def places(header: Header, op_type: str) -> Places:
    """Look for an op_type, named ``domain:op_type`` as in ``Detection.components["op_types"]``."""

    def fits(node: Node) -> bool:
        return ":".join(node.key) == op_type

    inside: Counter[str] = Counter()
    callers: dict[tuple[str, str], list[Function]] = defaultdict(list)
    holding = []
    for function in header.functions:
        nodes = [node for graph in function.body.walk() for node in graph.nodes]
        for key in {node.key for node in nodes}:
            callers[key].append(function)
        if found := sum(map(fits, nodes)):
            inside[function.name] += found
            holding.append(function.key)
    known = set(holding)
    while holding:
        for function in callers[holding.pop()]:
            if function.key not in known:
                known.add(function.key)
                holding.append(function.key)

    here, holders = [], []
    for node in header.graph.nodes:
        within = [inner for body in node.subgraphs for graph in body.walk() for inner in graph.nodes]
        if found := sum(map(fits, within)):
            inside[node.op_type] += found
        if fits(node):
            here.append(node)
        if found or node.key in known or any(inner.key in known for inner in within):
            holders.append(node)
    values = (next(filter(None, node.outputs), "") for node in here or holders)
    return Places(op_type.removeprefix(":"), len(here), dict(inside), tuple(filter(None, values)))


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
