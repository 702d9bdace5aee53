"""Inputs made up for a model nobody has rows for: from its names, types, shapes and what its graph does with them.

An ONNX file says how many axes an input has, seldom how long they may be or what its numbers mean. What can be read
from the graph is read: how many rows the table has that an input looks up, how wide the weights are that it meets. What
is custom is taken from names (masks, past keys, sampling rates). The rest is tried, one length after the other:
`invent` gives what to try, and every `Filling` says what it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal, TypeVar

import numpy as np

from .agreement import widened
from .engines.base import STEPS
from .engines.values import COARSE, dtype_of, sort_of
from .errors import BadInput, UnsupportedModel
from .files.header import Graph, ValueInfo
from .words import visible

LENGTHS, PICTURE_LENGTHS = (16, 64, 1, 224, 512), (224, 64, 512, 16, 1)
"""What free axes are tried at, in turn; two free axes of four are a picture's."""

MOST_NUMBERS = 1 << 24
"""In one input: 64 MiB of float32."""

RATE = 16_000
"""Samples a second of sound, which most networks for speech were trained on."""

TEXTS = ("hello", "The quick brown fox jumps over the lazy dog.", "")

Answer = TypeVar("Answer")

Kind = Literal["random", "whole", "same", "range", "texts", "known"]

_KEEPS = {"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Slice"}
"""Operators that leave the numbers as they are."""


@dataclass(frozen=True)
class Filling:
    """What one input gets.

    Attributes:
        name, dtype, shape: of the input, every axis fixed.
        kind: ``random`` from 0 to 1, ``whole`` numbers from 0 to `value` - 1, the ``same`` `value` everywhere, a
            ``range`` from 0 along the last axis, ``texts``, or the ``known`` `values` in turn.
        why: what made it this: "ids of its table's 30,522 rows".
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: Kind
    value: int = 1
    why: str = ""
    values: tuple[str | int, ...] = ()

    @property
    def array(self) -> np.ndarray:
        """The input; each time the same."""
        rng = np.random.default_rng(0)
        if self.kind == "texts":
            return np.resize(np.array(TEXTS, object), self.shape)
        if self.kind == "known":
            # Every axis but the first sees them all.
            return np.resize(np.array(self.values, self._holds), self.shape[::-1]).T
        if self.kind == "random":
            return np.asarray(rng.random(self.shape, np.float32)).astype(dtype_of(self.dtype))
        if self.kind == "whole":
            return np.asarray(rng.integers(0, self.value, self.shape)).astype(dtype_of(self.dtype))
        if self.kind == "range":
            return np.broadcast_to(np.arange((1, *self.shape)[-1]), self.shape).astype(dtype_of(self.dtype))
        return np.full(self.shape, self.value, dtype_of(self.dtype))

    @property
    def _holds(self) -> Any:
        return object if self.dtype == "string" else dtype_of(self.dtype)

    @property
    def code(self) -> str:
        """What makes the same array, in Python."""
        # An engine takes the numbers of a coarse dtype in the next one that NumPy has.
        coarse = self.dtype in COARSE
        dtype = repr(widened(self.array[:0]).dtype.name if coarse and self.shape else self.dtype)
        shape, held = str(self.shape), "object" if self._holds is object else dtype
        return {
            "texts": f"np.resize(np.array({list(TEXTS)!r}, object), {shape})",
            "known": f"np.resize(np.array({list(self.values)!r}, {held}), {self.shape[::-1]}).T",
            "random": f"np.random.default_rng(0).random({shape}, np.float32)"
            + f".astype({dtype})" * (self.dtype != "float32"),
            "whole": f"np.random.default_rng(0).integers(0, {self.value}, {shape}).astype({dtype})",
            "range": f"np.broadcast_to(np.arange({(1, *self.shape)[-1]}), {shape}).astype({dtype})",
            "same": f"np.full({shape}, {self.value}, {dtype})",
        }[self.kind]

    @property
    def says(self) -> str:
        """The input, its shape and what it holds, in half a sentence."""
        what = {
            "texts": "made-up texts",
            "known": "what its tables know, and what is nearly that",
            "random": "random numbers from 0 to 1",
            "whole": f"random whole numbers from 0 to {self.value - 1:,}",
            "range": "0, 1, 2 …",
            "same": {"bool": "True" if self.value else "False"}.get(self.dtype, f"{self.value:,} everywhere"),
        }[self.kind]
        what = "nothing" if 0 in self.shape else what
        shape = " × ".join(map(str, self.shape)) or "a single value"
        return f"{visible(self.name, 60)} ({self.dtype}, {shape}): {what}" + (f", {self.why}" if self.why else "")


def invent(
    inputs: tuple[ValueInfo, ...],
    graph: Graph | None = None,
    *,
    outputs: tuple[ValueInfo, ...] = (),
    rows: int = 1,
    multiple: int = 1,
    known: Mapping[str, tuple[str | int, ...]] | None = None,
) -> Iterator[tuple[Filling, ...]]:
    """What may be asked of a model, an alternative after the other: the first that it answers will do.

    Args:
        inputs: that have to be given; shapes hold an int, a name or None per axis.
        graph: the main graph they belong to, where it can be read.
        outputs: what it gives, which tell the axis of rows.
        rows: of a free batch axis, fewer where they are large; a multiple of `multiple`.
        known: {input: texts or whole numbers that it is to be given, in turn}.

    Raises:
        UnsupportedModel: an input is no dense tensor of numbers, booleans or texts.
    """
    for info in inputs:
        if not _can(info.dtype):
            raise UnsupportedModel(
                f"Values for input {info.name!r} ({info.dtype}) cannot be made up; ask the model with your own: "
                f"load_engine(path).run({{{info.name!r}: …}})."
            )
    reads = replace(_Reads.of(graph) if graph is not None else _Reads({}, {}), known=known or {})
    batch = row_axes(inputs, outputs)
    pictures = any(len(info.shape or ()) == 4 and len(_free(info) - {0}) > 1 for info in inputs)
    lengths = PICTURE_LENGTHS if pictures else LENGTHS
    ranks = (2, 1, 3, 4) if any(info.shape is None for info in inputs) else (0,)
    tried = set()
    for many, length, rank in product(dict.fromkeys((rows, 1)), lengths, ranks):
        shapes = tuple(_shape(info, length, batch, reads, rank) for info in inputs)
        a_row = max((math.prod(dim for dim in shape if dim is not None) for shape in shapes), default=1)
        if a_row > MOST_NUMBERS or (many, shapes) in tried:
            continue
        tried.add((many, shapes))
        count = max(multiple, min(many, MOST_NUMBERS // max(1, a_row) // 16) // multiple * multiple)
        yield tuple(
            _filling(info, tuple(count if dim is None else dim for dim in shape), length, reads)
            for info, shape in zip(inputs, shapes, strict=True)
        )


def first_answered(
    ask: Callable[[dict[str, np.ndarray]], Answer], made_up: Iterator[tuple[Filling, ...]]
) -> tuple[tuple[Filling, ...], Answer]:
    """The first of what `invent` gives that a model answers, and its answer.

    Args:
        ask: raises BadInput where the model does not answer {input: array}.

    Raises:
        UnsupportedModel: it answers none; or as `invent`.
    """
    refused, last = None, ""
    for fillings in made_up:
        try:
            return fillings, ask({filling.name: filling.array for filling in fillings})
        except BadInput as error:
            refused, last = error, "; ".join(filling.says for filling in fillings[:4])
    raise UnsupportedModel(
        f"The model answers none of the inputs made up for it (the last was {last}); give some of your own. {refused}"
    )


def _can(dtype: str) -> bool:
    try:
        return dtype == "string" or sort_of(dtype_of(dtype)) in "biuf"
    except TypeError:
        return False


def _open(dim: int | str | None) -> bool:
    return not isinstance(dim, int) or dim < 0


def _free(info: ValueInfo) -> set[int]:
    return {axis for axis, dim in enumerate(info.shape or ()) if _open(dim)}


def _called(dim: int | str | None) -> str:
    """An axis' own name; exporters write ``?`` for none."""
    return dim if isinstance(dim, str) and dim.strip("?") else ""


def row_axes(inputs: tuple[ValueInfo, ...], outputs: tuple[ValueInfo, ...] = ()) -> dict[str, int]:
    """{input or output: its axis of rows}, of those that have one. That is the first; but a recurrent state that begins
    with a fixed axis (``[1, batch, hidden]``) has them where its other axis is called like the others' first one, or
    where that has no name. And where the state's name is in more of the outputs, as of a network that takes time first
    (``[steps, batch, features]``), it is the rows' everywhere."""
    each = (*inputs, *outputs)
    names = {info.name: {axis: _called((info.shape or ())[axis]) for axis in sorted(_free(info))} for info in each}
    states = [info.name for info in inputs if names[info.name] and 0 not in names[info.name]]
    first = {called[0] for info in inputs if 0 in (called := names[info.name])}

    def held(name: str) -> int:
        return sum(name in names[info.name].values() for info in outputs)

    rows = first
    for name in {called for state in states for called in names[state].values()} - first:
        shared = name and sum(name in names[info.name].values() for info in inputs) > 1
        if shared and all(held(name) > held(other) for other in first):
            rows = {name}
    found = {}
    for info in each:
        called = names[info.name]
        axes = [axis for axis, name in called.items() if name and name in rows]
        if not axes and rows is first and 0 in called:
            axes = [0]
        if not axes and first and (info.name in states or (states and 0 not in called)):
            axes = [axis for axis, name in called.items() if not name]
        if axes:
            found[info.name] = axes[0]
    return found


def _shape(info: ValueInfo, length: int, batch: dict[str, int], reads: _Reads, rank: int) -> tuple[int | None, ...]:
    """Every axis at this length, or what is known of it; None for rows."""
    if info.shape is None:
        return (None, *[length] * (rank - 1)) if rank else ()
    shape: list[int | None] = []
    rows = batch.get(info.name)
    called = "" if rows is None else _called(info.shape[rows])
    for axis, dim in enumerate(info.shape):
        if not _open(dim):
            shape.append(int(dim))  # type: ignore[arg-type]
        elif axis == rows or (called and _called(dim) == called):
            shape.append(None)
        elif dim == "steps":
            shape.append(STEPS)
        elif (width := reads.widths.get(info.name, {}).get(axis - len(info.shape))) is not None:
            shape.append(width)
        else:
            shape.append(_length(info, _called(dim), length))
    return tuple(shape)


def _length(info: ValueInfo, name: str, length: int) -> int:
    """A past that has not been is empty; ``past + sequence`` is the sum of both."""
    if "+" in name:
        return sum(int(part) if part.strip().isdigit() else _length(info, part, length) for part in name.split("+"))
    past = "past" in name.lower() or (not name and "past" in info.name.lower())
    return 0 if past else length


def _filling(info: ValueInfo, shape: tuple[int, ...], length: int, reads: _Reads) -> Filling:
    """What the input's type, its table and its name make of it: the first rule that applies."""
    name, table, single = info.name.lower(), reads.tables.get(info.name), math.prod(shape) == 1
    number = sort_of(dtype_of(info.dtype)) if info.dtype != "string" else ""

    def called(pattern: str) -> bool:
        return re.search(pattern, name) is not None

    rules: tuple[tuple[object, Kind, int, str], ...] = (
        (reads.known.get(info.name), "known", 1, ""),
        (not number, "texts", 1, ""),
        (called("mask"), "same", 1, "a mask that hides nothing"),
        (number == "b", "same", 0, ""),
        (single and called(r"(^|_)sr$|samp\w*_?rate"), "same", RATE, "samples a second"),
        (called("type_id|segment"), "same", 0, "one segment"),
        (called("position") and shape and shape[-1] <= (table or length), "range", 1, ""),
        (table, "whole", table or 1, "rows of the table it looks up"),
        (number == "f" and (not shape or (single and called("scale|speed|temp|ratio"))), "same", 1, ""),
        (number == "f" and called(r"state|hidden|(^|_)[hc]\d?$"), "same", 0, "no state yet"),
        (number == "f", "random", 1, ""),
        (called("len"), "same", length, "the length of the others"),
        (len(shape) >= 3, "whole", 128 if info.dtype == "int8" else 256, "a picture's"),
        (single, "same", 1, ""),
        (True, "whole", 2, ""),
    )
    kind, value, why = next(rule[1:] for rule in rules if rule[0])
    return Filling(info.name, info.dtype, shape, kind, value, why, reads.known.get(info.name, ()))


@dataclass(frozen=True)
class _Reads:
    """What a graph does with its inputs.

    Attributes:
        tables: {input: rows of the table it looks up}, the smallest.
        widths: {input: {axis, counted from the end: how many numbers the weights want there}}.
        known: see `invent`.
    """

    tables: dict[str, int]
    widths: dict[str, dict[int, int]]
    known: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph) -> _Reads:
        origin = {info.name: info.name for info in graph.inputs}
        ranks = {info.name: len(info.shape) for info in graph.inputs if info.shape is not None}
        straight = set(origin)
        """Values that are the input itself, its axes where they were."""
        reads = cls({}, {})
        for node in graph.nodes:
            known = {name: graph.initializers[name].shape for name in node.inputs if name in graph.initializers}
            for place, name in enumerate(node.inputs):
                if name not in origin:
                    continue
                if node.op_type in _KEEPS and place == 0:
                    origin |= dict.fromkeys(node.outputs, origin[name])
                    if node.op_type in ("Cast", "Identity") and name in straight:
                        straight |= {*node.outputs}
                elif node.op_type == "Gather" and place == 1 and (table := known.get(node.inputs[0])):
                    rows = table[0]  # of nearly all, and else the smaller mistake
                    reads.tables[origin[name]] = min(rows, reads.tables.get(origin[name], rows))
                elif place == 0 and name in straight and known:
                    reads.widths.setdefault(origin[name], {}).update(_wanted(node, known, ranks.get(origin[name])))
        return reads


def _wanted(node: Any, known: dict[str, tuple[int, ...]], rank: int | None) -> dict[int, int]:
    """{axis from the end: numbers} that an operator with weights wants of its first input."""
    weight = known.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if weight is None or rank is None:
        return {}
    if node.op_type == "MatMul" and len(weight) >= 2:
        return {-1: weight[-2]}
    if node.op_type in ("LSTM", "GRU", "RNN") and len(weight) == 3:
        return {-1: weight[2]}
    if node.op_type == "BatchNormalization" and rank >= 2:
        return {1 - rank: weight[0]}
    return {}
