"""Which node of one graph is which of the other.

The surest signs come first: all that a node reads and does, then its weights, its name, what stands around it, and at
last its place among those that are left. A name alone never pairs operators of two families: exporters number nodes,
and one node more renames all behind it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from difflib import SequenceMatcher
from typing import Any

from .nodes import Node, Side

Sign = Callable[[Side, Node], Hashable]

MOST_ALIGNED = 4_000
"""Nodes left on a side up to which they are put side by side in order: it takes their number squared."""


def match(one: Side, other: Side) -> dict[Node, Node]:
    """{node of `one`: the node of `other` that it is}."""
    pairs: dict[Node, Node] = {}
    whole = [_signs(side, weights=True) for side in (one, other)]
    _pair(one, other, pairs, lambda side, node: whole[side is other][node], ordered=True)
    _pair(one, other, pairs, lambda _, node: node.name and (node.op_type, node.name, node.outputs))
    _pair(one, other, pairs, _by_numbers)
    _pair(one, other, pairs, _by_names_of_weights)
    bare = [_signs(side, weights=False) for side in (one, other)]
    _pair(one, other, pairs, lambda side, node: bare[side is other][node], ordered=True)
    _around(one, other, pairs)
    _pair(one, other, pairs, lambda side, node: node.name and (node.family, node.name, side.shapes(node)))
    _pair(one, other, pairs, lambda _, node: (node.family, node.outputs))
    _around(one, other, pairs)
    _in_order(one, other, pairs)
    _around(one, other, pairs)
    return pairs


def _left(side: Side, taken: Iterable[Node]) -> list[Node]:
    gone = set(taken)
    return [node for node in side.nodes if node not in gone]


def _pair(one: Side, other: Side, pairs: dict[Node, Node], sign: Any, *, ordered: bool = False) -> None:
    """Pair what has one sign; several with one sign are paired in order, where as many stand on both sides."""
    groups: dict[Hashable, tuple[list[Node], list[Node]]] = defaultdict(lambda: ([], []))
    for which, (side, taken) in enumerate(((one, pairs), (other, pairs.values()))):
        for node in _left(side, taken):
            if found := sign(side, node):
                groups[found][which].append(node)
    for here, there in groups.values():
        if len(here) == len(there) and (ordered or len(here) == 1):
            pairs.update(zip(here, there, strict=True))


def _signs(side: Side, *, weights: bool) -> dict[Node, int]:
    """What a node computes, from the model's inputs on; with its numbers, or their shapes only."""
    values: dict[str, Hashable] = {name: ("input", place) for place, name in enumerate(side.inputs)}
    signs: dict[Node, int] = {}
    for node in side.nodes:
        held = tuple((place, side.digest(w) if weights else side.shape(w)[1]) for place, w in node.weights.items())
        read = tuple((place, values.get(value)) for place, value in node.data.items())
        signs[node] = hash((node.op_type, node.domain, repr(sorted(node.attributes.items())), held, read))
        values.update({value: (signs[node], place) for place, value in enumerate(node.outputs)})
    return signs


def _by_numbers(side: Side, node: Node) -> Hashable:
    """The operator and its weights. A number alone (an epsilon, an exponent) says nothing of who reads it."""
    if not any(_many(side.shape(weight)[1]) for weight in node.weights.values()):
        return None
    return node.family, tuple(side.digest(weight) for weight in node.weights.values())


def _many(shape: tuple[int, ...]) -> bool:
    return bool(shape) and max(shape) > 1


def _by_names_of_weights(side: Side, node: Node) -> Hashable:
    return (node.family, tuple(node.weights.values()), side.shapes(node)) if node.weights else None


def _around(one: Side, other: Side, pairs: dict[Node, Node]) -> None:
    """Pair what stands next to a pair, where it is the only one of its family there."""
    taken = set(pairs.values())

    def beside(side: Side, node: Node, up: bool) -> list[Node]:
        if up:
            return [side.giver[value] for value in node.data.values() if value in side.giver]
        return list(dict.fromkeys(taker for value in node.outputs for taker in side.takers.get(value, ())))

    todo = list(pairs.items())
    while todo:
        here, there = todo.pop()
        for up in (False, True):
            near: dict[str, tuple[list[Node], list[Node]]] = defaultdict(lambda: ([], []))
            for node in beside(one, here, up):
                if node not in pairs:
                    near[node.family][0].append(node)
            for node in beside(other, there, up):
                if node not in taken:
                    near[node.family][1].append(node)
            for mine, theirs in near.values():
                if len(mine) == len(theirs) == 1 and one.main(mine[0]) == other.main(theirs[0]):
                    pairs[mine[0]] = theirs[0]
                    taken.add(theirs[0])
                    todo.append((mine[0], theirs[0]))


def _in_order(one: Side, other: Side, pairs: dict[Node, Node]) -> None:
    here, there = _left(one, pairs), _left(other, pairs.values())
    if max(len(here), len(there)) > MOST_ALIGNED:
        return
    rows: list[list[Any]] = [
        [(node.family, side.main(node)) for node in nodes] for side, nodes in ((one, here), (other, there))
    ]
    for block in SequenceMatcher(None, rows[0], rows[1], autojunk=False).get_matching_blocks():
        pairs.update(zip(here[block.a : block.a + block.size], there[block.b : block.b + block.size], strict=True))
