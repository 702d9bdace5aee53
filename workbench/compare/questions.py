"""What both sides are asked: a person's rows, a file of them, rows of the paper's data, or random numbers."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from .asking import AT_ONCE, first, fixed_rows, is_spiking, rows_of

if TYPE_CHECKING:
    import numpy as np

    from ..files.header import ValueInfo
    from .sides import Side

    Arrays = dict[str, np.ndarray]

ROWS = 50
"""Rows asked of data that nobody gave, unless said otherwise."""


@dataclass(frozen=True)
class Questions:
    """The same rows in the form each side takes them.

    Attributes:
        native, onnx: {input name: array}, first axis: rows; empty until they were fitted to the sides.
        given: as they came, in a form that `workbench.compare.matching.fit_inputs` takes.
        targets: (rows,) the right answers, or None.
        class_names: of the data, where it is the paper's; columns: names of a table's; files: of pictures, one a row.
        ours: nobody gave them, so as many are taken as fit.
        papers: they are of the paper's data, so the targets are not sure to be what the model answers.
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


def check(given: Any, target: str | int | None) -> None:
    """What can be refused before a model is loaded.

    Raises:
        BadInput: a column of what has none; UnreadableFile: no such file, or none of rows.
    """
    if isinstance(given, str | os.PathLike) and given not in ("paper", "random"):
        from ..rows import content

        content(Path(given))
    elif target is not None:
        raise BadInput("target names a column of a file of rows; give the right answers of other rows as targets.")


def questions(
    given: Any,
    theirs: Side,
    ours: Side,
    warnings: list[str],
    *,
    targets: Any = None,
    target: str | int | None = None,
    scale: float | None = None,
    most: int | None = None,
) -> Questions:
    """The rows to ask; arguments as for `workbench.compare`, `most` is its ``rows``. What was done to them is told in
    `warnings`.

    Raises:
        BadInput: they do not fit a side, or there are none; UnreadableFile: no such file, or a damaged one.
    """
    size = math.lcm(fixed_rows(theirs) or 1, fixed_rows(ours) or 1)
    wanted = max(size, (most or ROWS) // size * size)
    asked = _found(given, ours, target, scale, wanted, size, warnings)
    native, onnx = (_fitted(asked.given, side, warnings) for side in (theirs, ours))
    counts = rows_of(native), rows_of(onnx)
    if not counts[1]:
        raise BadInput("The inputs have no rows, so there is nothing to compare; give at least one.")
    if counts[0] != counts[1]:
        raise BadInput(f"The native side takes these inputs as {counts[0]:,} rows and the ONNX side as {counts[1]:,}.")
    own, rows = targets is not None, counts[1]
    targets = classes_of(targets if own else asked.targets, rows)
    if most is not None or asked.ours:
        rows = min(rows, wanted) // size * size or rows
        if rows < counts[1] and not asked.ours:
            warnings.append(f"The first {rows:,} of {counts[1]:,} rows were asked.")
    for side in (theirs, ours):
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


def _found(
    given: Any, side: Side, target: str | int | None, scale: float | None, wanted: int, size: int, warnings: list[str]
) -> Questions:
    """The rows as they are where a person has them."""
    if given is None or (isinstance(given, str) and given == "paper"):
        if (found := _of_the_paper(side, scale, wanted, warnings, told=given is None)) is not None:
            return found
        if given is not None:
            takes = ", ".join(f"{info.name!r} ({info.dtype} {list(info.shape or ())})" for info in side.inputs)
            raise BadInput(f"No rows of the paper's data fit input {takes}: choose random numbers, or a file of rows.")
        return _random(side, wanted, size, warnings, told=True)
    if isinstance(given, str) and given == "random":
        return _random(side, wanted, size, warnings)
    if isinstance(given, str | os.PathLike):
        from ..paper.data import read

        rows = read(given, of_any_rows(side), target=target, scale=scale)
        warnings += rows.notes
        return Questions(rows.inputs, rows.targets, columns=rows.names, files=rows.files, ours=False)
    return Questions(given, columns=tuple(map(str, getattr(given, "columns", ()))), ours=False)


def _of_the_paper(side: Side, scale: float | None, wanted: int, warnings: list[str], *, told: bool) -> Questions | None:
    from ..paper.data import rows_for

    found = rows_for(of_any_rows(side), wanted)
    if found is None:
        return None
    warnings.append(f"{'No inputs were given, so both' if told else 'Both'} sides were asked: {found.source}")
    inputs = found.inputs
    if scale is not None and inputs.dtype.kind == "f":
        inputs = (inputs * scale).astype(inputs.dtype)
    return Questions(inputs, found.targets, found.class_names, found.feature_names, papers=True)


def _random(side: Side, wanted: int, size: int, warnings: list[str], *, told: bool = False) -> Questions:
    """Rows for a model, from its inputs' types and shapes."""
    import numpy as np

    from ..rows import row_shape

    rng = np.random.default_rng(0)
    made = {}
    for info in side.inputs:
        if info.dtype not in ("float16", "float32", "float64") or info.shape is None:
            raise BadInput(
                f"Random rows for input {info.name!r} ({info.dtype}) cannot be made up: choose a file of rows, or give "
                "some as inputs."
            )
        free = [8 if index == 0 else 16 for index in range(len(info.shape))]
        row = [
            length if isinstance(length, int) and length > 0 else free[index]
            for index, length in enumerate(row_shape(info))
        ]
        count = max(size, min(wanted, AT_ONCE // max(1, math.prod(row))) // size * size)
        made[info.name] = rng.random((count, *row)).astype(info.dtype)
    both = "No inputs were given, so both" if told else "Both"
    warnings.append(f"{both} sides were asked random numbers from 0 to 1.")
    return Questions(made)


def _fitted(given: Any, side: Side, warnings: list[str]) -> Arrays:
    from .matching import fit_inputs

    if is_spiking(side):
        return _held(given, side)
    arrays, notes = fit_inputs(given, of_any_rows(side))
    warnings += notes
    return arrays


def of_any_rows(side: Side) -> tuple[ValueInfo, ...]:
    """Its inputs; a side with one batch size is asked that many at a time (`workbench.compare.asking.answers_of`)."""
    if not fixed_rows(side):
        return side.inputs
    return tuple(replace(info, shape=(None, *info.shape[1:])) if info.shape else info for info in side.inputs)


def _held(given: Any, side: Side) -> Arrays:
    """What a spiking network is given: a series over time as it is, and anything else to be held, (batch, size)."""
    from ..engines.inputs import cast, match

    fitted = {}
    for info, value in match(given, side.inputs):
        array, _ = cast(value, info)
        size = (info.shape or (0,))[-1]
        series = array.ndim == 3 and array.shape[2] == size
        fitted[info.name] = array if series or not array.ndim else array.reshape(len(array), -1)
    return fitted


def classes_of(targets: Any, rows: int) -> Any:
    """One class for each row; of rows with a single one among zeros (one-hot), its column."""
    import numpy as np

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
