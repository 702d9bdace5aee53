"""What a TensorFlow or TensorFlow Lite graph can be asked in the proof.

Both are read as `Step` by step: an operator's name without underscores and in lower case is the same in either.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .network import Network
from .tolerance import HALF, tolerance_of

HALF_RANGE = (-64.0, 64.0)
"""Of the inputs of a network in float16, which ends at 65,504: past that one engine's infinity is another's NaN."""

MOST_SIZE, MOST_TURNS = 999, 9
"""Up to where an input is asked whose numbers become sizes, as the longest of some lengths does, or may count the turns
of a loop: a wild one would fill the memory, or keep the loop going."""

Ranges = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Step:
    """An operator at work.

    Attributes:
        op: its name; reads, gives: its tensors; counts: those of `reads` that are integers.
    """

    op: str
    reads: tuple[Hashable, ...]
    gives: tuple[Hashable, ...]
    counts: frozenset[int] = frozenset()


def input_ranges(network: Network) -> Ranges:
    """Input name -> (lowest, highest) number to ask: see `ranges_of`; `HALF_RANGE` where a network computes in 16
    bits."""
    from tensorflow import dtypes

    nodes = {node.name: node for node in network.graph_def.node}
    integers = {dtypes.int32.as_datatype_enum, dtypes.int64.as_datatype_enum}

    def rows(name: Hashable) -> int | None:
        node = nodes[str(name)]
        if node.op not in ("Const", "Placeholder"):
            return None
        shape = node.attr["value"].tensor.tensor_shape if node.op == "Const" else node.attr["shape"].shape
        return shape.dim[0].size if shape.dim else None

    steps = [
        Step(
            node.op.lower(),
            tuple(source.lstrip("^").partition(":")[0] for source in node.input),
            (node.name,),
            frozenset(place for place, kind in enumerate(node.attr["T"].list.type) if kind in integers),
        )
        for node in nodes.values()
    ]
    taken = {tensor.partition(":")[0]: name for tensor, name in network.inputs.items()}
    whole = {name for node, name in taken.items() if dtypes.as_dtype(nodes[node].attr["dtype"].type).is_integer}
    half = tolerance_of(network.graph_def) is HALF
    return {name: HALF_RANGE for name in taken.values() if half} | ranges_of(steps, taken, whole, rows)


def known_values(network: Network) -> tuple[str | int, ...]:
    """The keys of the network's lookup tables."""
    keys = [key for found, _ in network.tables.values() for key in np.asarray(found).reshape(-1).tolist()]
    return tuple(dict.fromkeys(key.decode(errors="replace") if isinstance(key, bytes) else key for key in keys))


def ranges_of(steps: Sequence[Step], taken: Mapping[Any, str], whole: set[str], rows: Any) -> Ranges:
    """(0, last row) where an input picks rows of a table, as an Embedding does (TensorFlow stops at an index outside);
    up to `MOST_SIZE` or `MOST_TURNS` where it becomes one.

    Args:
        taken: tensor -> name of an input; whole: names of those that are integers.
        rows: how many rows a tensor has that is stored in the graph; None of any other.
    """
    sizes: Ranges = {name: (-most * (name not in whole), most) for name, most in _sizes(steps, taken)}
    return sizes | _index_ranges(steps, taken, rows)


_SAME_VALUES = ("identity", "cast", "expanddims", "reshape", "squeeze", "transpose", "stridedslice", "stopgradient",
                "dequantize")  # fmt: skip

_PICKS = {"gather": (0, 1), "gatherv2": (0, 1), "resourcegather": (0, 1), "embeddinglookup": (1, 0)}
"""Operator -> which of its inputs is the table, and which the rows to pick."""


def _index_ranges(steps: Sequence[Step], taken: Mapping[Any, str], rows: Any) -> Ranges:
    makers = {tensor: step for step in steps for tensor in step.gives}

    def origin(tensor: Hashable) -> Hashable:
        """Where the numbers of a tensor come from."""
        found = makers.get(tensor)
        if found is None or tensor in taken:
            return tensor
        if found.op == "selectv2":
            # Keras 3 lets negative indices count from the end: where(i < 0, i + rows, i).
            return origin(found.reads[2])
        return origin(found.reads[0]) if found.op in _SAME_VALUES else tensor

    ranges: Ranges = {}
    for step in steps:
        if step.op in _PICKS:
            table, index = (origin(step.reads[place]) for place in _PICKS[step.op])
            name, count = taken.get(index), rows(table)
            if name is not None and count is not None and count > 0:
                ranges[name] = (0, min(count - 1, ranges.get(name, (0, count - 1))[1]))
    return ranges


_SIZE_OF = {
    "fill": (0,), "empty": (0,), "range": (0, 1, 2), "linspace": (2,), "reshape": (1,), "tile": (1,), "onehot": (1,),
    "broadcastto": (1,), "pad": (1,), "padv2": (1,), "mirrorpad": (1,), "bincount": (1,), "densebincount": (1,),
    "raggedbincount": (2,), "scatternd": (2,), "sparsetodense": (1,), "unsortedsegmentsum": (2,),
    "tensorlistreserve": (1,), "resizebilinear": (1,), "resizenearestneighbor": (1,), "resizebicubic": (1,),
}  # fmt: skip
"""Operator -> which of its inputs say how large its result is."""

_SHAPE_ONLY = ("shape", "shapen", "size", "rank", "zeroslike", "oneslike")
"""Operators whose results do not depend on the numbers they are given."""


def _sizes(steps: Sequence[Step], taken: Mapping[Any, str]) -> Iterator[tuple[str, int]]:
    """Inputs whose numbers become sizes, or go into a loop as integers, and up to where to ask them."""
    readers: dict[Hashable, list[tuple[Step, int]]] = {}
    for step in steps:
        for place, tensor in enumerate(step.reads):
            readers.setdefault(tensor, []).append((step, place))
    for tensor, name in taken.items():
        todo, seen, most = [tensor], {tensor}, 0
        while todo:
            reads = readers.get(todo.pop(), [])
            if any("while" in step.op and place in step.counts for step, place in reads):
                most = MOST_TURNS
                break
            if any(place in _SIZE_OF.get(step.op, ()) for step, place in reads):
                most = MOST_SIZE
            found = {given for step, _ in reads if step.op not in _SHAPE_ONLY for given in step.gives} - seen
            seen |= found
            todo += found
        if most:
            yield name, most
