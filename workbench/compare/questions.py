"""What both sides are asked, in the form each takes it, and how: a person's rows, a file of them, rows that a data set
has ready, or made-up ones; as many at a time as a side takes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from ..agreement import Tolerance, hold, rows_of
from ..engines.inputs import by_column, cast, is_frame, lacking, left_out, match, with_gaps
from ..errors import BadInput, UnreadableFile
from ..files.header import NotOnnx, ValueInfo, read_header
from ..invented import TEXTS, Filling, first_answered, invent
from ..lookups import MOST_KEYS, Known, nearly
from ..rows import content, in_shape, read
from ..sources import rows_for
from ..words import listed
from .options import Options
from .sides import Side

Arrays = dict[str, np.ndarray]
Sides = tuple[Side, Side]


AT_ONCE = 1 << 18
"""Numbers in one input of one call, at most: two pictures of 224 by 224. What a network holds between its layers grows
with the batch."""


MOST_TOLD = 6
"""Inputs of which a note says what they were given."""

ROWS = 50
"""Rows asked of data that nobody gave, unless said otherwise."""


@dataclass(frozen=True)
class Questions:
    """The same rows in the form each side takes them.

    Attributes:
        native, onnx: {input name: array}, first axis: rows; empty until they were fitted to the sides.
        given: as they came, in a form that `fit_inputs` takes.
        targets: (rows,) the right answers, or None.
        class_names: of the data, where it is the paper's; columns: names of a table's; files: of pictures, one a row.
        ours: nobody gave them, so as many are taken as fit.
        papers: they are of the paper's data, so the targets count only where the model answers with its classes.
    """

    given: Any
    targets: Any = None
    class_names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    ours: bool = True
    papers: bool = False
    native: Arrays = field(default_factory=dict)
    onnx: Arrays = field(default_factory=dict)

    @property
    def both(self) -> tuple[Arrays, Arrays]:
        return self.native, self.onnx


def check(given: Any, target: str | int | None) -> None:
    """What can be refused before a model is loaded.

    Raises:
        BadInput: a column of what has none; UnreadableFile: no such file, or none of rows.
    """
    if isinstance(given, str | os.PathLike) and given not in ("paper", "random"):
        content(Path(given))
    elif target is not None:
        raise BadInput("target names a column of a file of rows; give the right answers of other rows as targets.")


def questions(given: Any, sides: Sides, wishes: Options, warnings: list[str]) -> Questions:
    """The rows to ask. What was done to them is told in `warnings`.

    Raises:
        BadInput: they do not fit a side, or there are none; UnreadableFile: no such file, or a damaged one.
    """
    size = math.lcm(*(fixed_rows(side) or 1 for side in sides))
    wanted = max(size, (wishes.rows or ROWS) // size * size)
    asked = _asked(given, sides, wishes, wanted, size, warnings)
    (native, notes), (onnx, more) = (fit_inputs(asked.given, with_gaps(of_any_rows(side))) for side in sides)
    native, onnx = (side.rows_first(arrays) for side, arrays in zip(sides, (native, onnx), strict=True))
    warnings += notes + more
    counts = rows_of(native), rows_of(onnx)
    if not counts[1]:
        raise BadInput("The inputs have no rows, so there is nothing to compare; give at least one.")
    if counts[0] != counts[1]:
        raise BadInput(f"The native side takes these inputs as {counts[0]:,} rows and the ONNX side as {counts[1]:,}.")
    own, rows = wishes.targets is not None, counts[1]
    targets = classes_of(wishes.targets if own else asked.targets, rows)
    gone = np.union1d(lacking(native, sides[0].inputs), lacking(onnx, sides[1].inputs))
    if len(gone):
        kept = np.setdiff1d(np.arange(rows), gone)
        if not len(kept):
            raise BadInput("In every row text is missing, and a side has no word for it: fill it in.")
        warnings.append(left_out(len(gone)))
        native, onnx = ({name: chosen(array, kept, rows) for name, array in part.items()} for part in (native, onnx))
        targets = None if targets is None else targets[kept]
        asked, rows = replace(asked, files=tuple(asked.files[row] for row in kept) if asked.files else ()), len(kept)
    if wishes.rows is not None or asked.ours:
        # As many made-up rows as their number is for.
        most = rows if asked.ours and not asked.papers and wishes.rows is None else wanted
        rows = min(rows, most) // size * size or rows
        if rows < rows_of(onnx) and not asked.ours:
            warnings.append(f"The first {rows:,} of {rows_of(onnx):,} rows were asked.")
    for side in sides:
        if (one := fixed_rows(side)) and rows % one:
            raise BadInput(f"{side.name} takes {one:,} rows at a time here, and {rows:,} are not a multiple of that.")
    return replace(
        asked,
        native=first(native, rows),
        onnx=first(onnx, rows),
        papers=asked.papers and not own,
        targets=None if targets is None else targets[:rows],
        files=asked.files[:rows],
    )


def _asked(given: Any, sides: Sides, wishes: Options, wanted: int, size: int, warnings: list[str]) -> Questions:
    """The rows as they are where a person has them, else those of a data set, or random ones."""
    side = sides[1]
    if isinstance(given, str | os.PathLike) and given not in ("paper", "random"):
        # One input for all columns of a table: the ONNX side knows their number, and the native one their names.
        named = sides[0].columns if len(side.inputs) == 1 else ()
        rows = read(given, with_gaps(of_any_rows(side)), target=wishes.target, columns=named, scale=wishes.scale)
        warnings += rows.notes
        return Questions(rows.inputs, rows.targets, columns=rows.names, files=rows.files, ours=False)
    if given is not None and not isinstance(given, str):
        if is_frame(given) and sides[0].columns and set(sides[0].columns) <= set(given.columns):
            given = given[list(sides[0].columns)]
        return Questions(given, columns=tuple(map(str, getattr(given, "columns", ()))), ours=False)
    if not side.inputs:
        warnings.append("The model has no inputs, so the one answer that it has was asked for.")
        return Questions({})
    who = "It was" if sides[0] is side else "Both sides were"
    who = who if given is not None else f"No inputs were given, so {who.lower()}"
    data = rows_for(of_any_rows(side), wanted) if given != "random" else None
    if data is not None:
        warnings.append(f"{who} asked: {data.source}")
        inputs = data.inputs
        if wishes.scale is not None and inputs.dtype.kind == "f":
            inputs = (inputs * wishes.scale).astype(inputs.dtype)
        return Questions(inputs, data.targets, data.class_names, data.feature_names, papers=True)
    if given == "paper":
        takes = listed(f"{info.name!r} ({info.dtype} {list(info.shape or ())})" for info in side.inputs)
        raise BadInput(f"No rows of the paper's data fit input {takes}: choose made-up ones, or a file of rows.")
    fillings = _made_up(sides, wanted, size, wishes)
    what = "; ".join(filling.says for filling in fillings[:MOST_TOLD])
    warnings.append(f"{who} asked what was made up: {what}{' …' * (len(fillings) > MOST_TOLD)}.")
    return Questions({filling.name: filling.array for filling in fillings})


def _made_up(sides: Sides, wanted: int, size: int, wishes: Options) -> tuple[Filling, ...]:
    """The first made-up inputs that the ONNX side answers. Where tables look something up, what they know is asked, and
    as many rows as that takes.

    Raises:
        UnsupportedModel: it answers none, or takes what cannot be made up.
    """
    side, graph = sides[1], None
    known = _known(sides)
    if known and wishes.rows is None:
        wanted = max(wanted, -(-max(map(len, known.values())) // size) * size)
    with suppress(UnreadableFile, NotOnnx):
        graph = read_header(getattr(side.engine, "path", "")).graph
    outputs = getattr(side.engine, "outputs", ())
    made_up = invent(of_any_rows(side), graph, outputs=outputs, rows=wanted, multiple=size, known=known)
    return first_answered(lambda feeds: answers_of(side, side.rows_first(feeds)), made_up)[0]


def _known(sides: Sides) -> Known:
    """What both sides' lookup tables know, and what is nearly that, for each input of the ONNX side: of its own, and of
    those of the other side that go by no name here."""
    theirs, ours = (side.known() for side in sides)
    infos = {info.name: info for info in sides[1].inputs}
    others = [key for name, keys in theirs.items() if name not in infos for key in keys]
    found: Known = {}
    for name, info in infos.items():
        kind = str if info.dtype == "string" else int
        keys = [*ours.get(name, ()), *theirs.get(name, ()), *(key for key in others if isinstance(key, kind))]
        if not keys or info.dtype.startswith(("float", "bfloat", "bool")):
            continue
        limits = None if kind is str else np.iinfo(info.dtype)
        near = [key for key in nearly(keys) if limits is None or limits.min <= key <= limits.max][: 3 * MOST_KEYS]
        found[name] = (*near, *(TEXTS if kind is str else ()))
    return found


def classes_of(targets: Any, rows: int) -> Any:
    """One class for each row; of rows with a single one among zeros (one-hot), its column."""
    if isinstance(targets, str):
        raise BadInput(
            f"targets are the right answers, one class for each row, not the text {targets!r}; a column of the file of "
            f"rows is named by target={targets!r}."
        )
    if targets is None:
        return None
    try:
        given = np.asarray(targets)
    except ValueError:
        raise BadInput("The targets have different lengths; give one class for each row.") from None
    if given.ndim == 2 and given.shape[1] > 1 and given.dtype.kind in "biuf" and _is_one_hot(given):
        given = given.argmax(axis=1)
    if given.size != rows:
        raise BadInput(f"{given.size:,} targets were given for {rows:,} rows; give one for each row.")
    return given.reshape(-1)


def _is_one_hot(array: np.ndarray) -> bool:
    return bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())


# --- a person's data as a side's inputs ----------------------------------------------------------------------------


def fit_inputs(given: Any, inputs: tuple[ValueInfo, ...]) -> tuple[Arrays, list[str]]:
    """What a person gives, in the form one side takes.

    Args:
        given: an array, {name: array}, a list in the inputs' order, or a DataFrame. Names may be the other side's: they
            are matched by name, then by position, then by shape. A table may feed an input per column.
        inputs: the side's inputs.

    Returns:
        ({input name: array of the input's dtype and shape}, notes about casts and moved axes).

    Raises:
        BadInput: missing, unknown or too many inputs, or values that do not fit; the message names the input.
    """
    notes: list[str] = []
    given = by_column(given, inputs)
    if isinstance(given, Mapping):
        given = _renamed(given, inputs, notes)
    fitted = {}
    for info, value in match(given, inputs):
        array, cast_from = cast(value, info)
        if cast_from:
            notes.append(f"Input {info.name!r} was cast from {cast_from} to {info.sort}.")
        fitted[info.name], words = in_shape(array, info)
        if words:
            notes.append(f"Input {info.name!r}: {words}.")
    return fitted, notes


def _renamed(given: Mapping[str, Any], inputs: tuple[ValueInfo, ...], notes: list[str]) -> dict[str, Any]:
    """`given` under this side's names where as many are unknown as are missing; else as it is: `match` refuses it."""
    names = [info.name for info in inputs]
    strange = [name for name in given if name not in names]
    missing = [info for info in inputs if info.name not in given]
    if len(strange) != len(missing):
        return dict(given)
    # In the order given first; six inputs are 720 orders, and more than that are told apart by name or not at all.
    orders = permutations(strange) if len(strange) <= 6 else iter([tuple(strange)])
    fitting = (order for order in orders if all(map(_takes, missing, (given[name] for name in order))))
    order = next(fitting, tuple(strange))
    notes += [
        f"Input {info.name!r} was given what is named {name!r}." for name, info in zip(order, missing, strict=True)
    ]
    renamed = {info.name: given[name] for name, info in zip(order, missing, strict=True)}
    return {name: given[name] for name in given if name in names} | renamed


def _takes(info: ValueInfo, value: Any) -> bool:
    try:
        in_shape(cast(value, info)[0], info)
    except BadInput:
        return False
    return True


def of_any_rows(side: Side) -> tuple[ValueInfo, ...]:
    """Its inputs; a side with one batch size is asked that many at a time (`answers_of`)."""
    if not fixed_rows(side):
        return side.inputs
    shapes = {
        info.name: [None if axis == side.axes.get(info.name, 0) else dim for axis, dim in enumerate(info.shape or ())]
        for info in side.inputs
    }
    return tuple(replace(info, shape=tuple(shapes[info.name])) if info.shape else info for info in side.inputs)


# --- asking -------------------------------------------------------------------------------------------------------


def is_spiking(side: Side) -> bool:
    return any(info.shape is not None and info.shape[1:2] == ("steps",) for info in side.inputs)


def answers_of(side: Side, arrays: Arrays) -> Arrays:
    """The side's answers to all rows, asked as many at a time as it takes, or as memory is kind to."""
    size, rows = fixed_rows(side), rows_of(arrays)
    step = size or _at_once(arrays)
    if step >= rows:
        return side.answer(arrays)
    parts = [
        side.answer({name: array[at : at + step] for name, array in arrays.items()}) for at in range(0, rows, step)
    ]
    counts = [min(step, rows - at) for at in range(0, rows, step)]
    for name in {name: None for part in parts for name in part}:
        if any(name not in part or part[name].shape[:1] != (count,) for part, count in zip(parts, counts, strict=True)):
            if size is None:
                return side.answer(arrays)
            raise BadInput(
                f"{side.name} takes {size:,} rows at a time here, and its output {name!r} has no row for each, so more "
                f"rows cannot be put together: give {size:,}."
            )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _at_once(arrays: Arrays) -> int:
    """Rows in one call: all, where an input does not have one for each; fewer than that where they are large."""
    rows = rows_of(arrays)
    if any(array.shape[:1] != (rows,) for array in arrays.values()):
        return rows
    return min(rows, max(1, AT_ONCE // max([1, *(array.size // rows for array in arrays.values())])))


def check_repeatable(
    side: Side, arrays: Arrays, before: Arrays, few: int, allowed: Tolerance, warnings: list[str]
) -> None:
    """Asked twice, does it answer twice the same? Else no two models could agree."""
    again, fewer = answers_of(side, first(arrays, few)), rows_of(arrays) > few
    asked = {name: array[:few] if array.ndim else array for name, array in before.items()} if fewer else before
    same = _alike(asked, again, allowed)
    if not same and fewer:
        # An output need not have a row for each.
        same = _alike(before, answers_of(side, arrays), allowed)
    if not same:
        warnings.append(
            f"{side.name} gives different answers when it is asked the same twice: the model has a random part, or "
            "keeps a state from one call to the next, so a difference between both sides says little."
        )


def _alike(before: Arrays, again: Arrays, allowed: Tolerance) -> bool:
    return hold(before, again, before, allowed).within_tolerance


def batch_of(sides: Sides, arrays: Arrays, wanted: int | None = None) -> int:
    """Rows in a timed call: as many as are `wanted`, else as the sides or memory allow.

    Raises:
        BadInput: more are wanted than there are rows, or another number than a side takes.
    """
    fixed = max(fixed_rows(side) or 0 for side in sides)
    if wanted is None:
        return fixed or _at_once(arrays)
    if fixed and wanted != fixed:
        raise BadInput(f"This model takes {fixed:,} rows at a time, so a timed call cannot hold {wanted:,}.")
    if wanted > (rows := rows_of(arrays)):
        raise BadInput(f"A timed call cannot hold {wanted:,} rows where {rows:,} are asked: lower the batch size.")
    return wanted


def fixed_rows(side: Side) -> int | None:
    """The one batch size that a side takes; None where it is free, or its inputs are no batches of one size."""
    sizes = {info.shape[side.axes.get(info.name, 0)] for info in side.inputs if info.shape}
    (size,) = sizes if len(sizes) == 1 else (None,)
    return size if isinstance(size, int) and size > 0 else None


def chosen(array: np.ndarray, rows: np.ndarray, every: int) -> np.ndarray:
    """The rows with these numbers, of an array that has one for each."""
    return array[rows] if array.shape[:1] == (every,) else array


def first(arrays: Arrays, rows: int) -> Arrays:
    """Of every input that has a row for each; others are what all rows share."""
    every = rows_of(arrays)
    return {name: array[:rows] if array.shape[:1] == (every,) else array for name, array in arrays.items()}
