"""Ask a side: rows in the form it takes them, as many at a time as it takes; and does it answer twice the same?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..agreement import Tolerance, hold
from ..errors import BadInput

if TYPE_CHECKING:
    import numpy as np

    from ..header import ValueInfo
    from .sides import Side

    Arrays = dict[str, np.ndarray]

AT_ONCE = 1 << 18
"""Numbers in one input of one call, at most: two pictures of 224 by 224. What a network holds between its layers grows
with the batch."""


def fit(given: Any, theirs: Side, ours: Side, warnings: list[str]) -> tuple[Arrays, Arrays]:
    """The rows, in the form each side takes them."""
    from .matching import fit_inputs

    if given is None:
        given = _made_up(ours, warnings)
    fitted = []
    for side in (theirs, ours):
        arrays, notes = _held(given, side) if is_spiking(side) else fit_inputs(given, _of_any_rows(side))
        fitted.append(arrays)
        warnings += notes
    if not rows_of(fitted[1]):
        raise BadInput("The inputs have no rows, so there is nothing to compare; give at least one.")
    counts = rows_of(fitted[0]), rows_of(fitted[1])
    if counts[0] != counts[1]:
        raise BadInput(f"The native side takes these inputs as {counts[0]:,} rows and the ONNX side as {counts[1]:,}.")
    for side in (theirs, ours):
        if (size := fixed_rows(side)) and counts[0] % size:
            raise BadInput(
                f"{side.name} takes {size:,} rows at a time here, and {counts[0]:,} are not a multiple of that."
            )
    return fitted[0], fitted[1]


def _of_any_rows(side: Side) -> tuple[ValueInfo, ...]:
    """Its inputs; a side with one batch size is asked that many at a time (`answers_of`)."""
    if not fixed_rows(side):
        return side.inputs
    return tuple(replace(info, shape=(None, *info.shape[1:])) if info.shape else info for info in side.inputs)


def is_spiking(side: Side) -> bool:
    return any(info.shape is not None and info.shape[1:2] == ("steps",) for info in side.inputs)


def _held(given: Any, side: Side) -> tuple[Arrays, list[str]]:
    """What a spiking network is given: a series over time as it is, and anything else to be held, (batch, size)."""
    from ..engines.inputs import cast, match

    fitted = {}
    for info, value in match(given, side.inputs):
        array, _ = cast(value, info)
        size = (info.shape or (0,))[-1]
        series = array.ndim == 3 and array.shape[2] == size
        fitted[info.name] = array if series or not array.ndim else array.reshape(len(array), -1)
    return fitted, []


def _made_up(side: Side, warnings: list[str]) -> Any:
    """Rows for a model that came without any."""
    import numpy as np

    from ..data import rows_for

    if (found := rows_for(side.inputs)) is not None:
        warnings.append(f"No inputs were given; asked were: {found.source}")
        return found.inputs
    rng = np.random.default_rng(0)
    made = {}
    for info in side.inputs:
        if info.dtype not in ("float16", "float32", "float64") or info.shape is None:
            raise BadInput(f"Rows for input {info.name!r} ({info.dtype}) cannot be made up: give some as inputs.")
        batch, *row = info.shape
        free = [8 if index == 0 else 16 for index in range(len(row))]
        shape = [size if isinstance(size, int) and size > 0 else free[index] for index, size in enumerate(row)]
        count = (
            batch if isinstance(batch, int) and batch > 0 else max(1, min(50, AT_ONCE // max(1, int(np.prod(shape)))))
        )
        made[info.name] = rng.random((count, *shape)).astype(info.dtype)
    warnings.append("No inputs were given; both sides were asked random numbers from 0 to 1.")
    return made


def answers_of(side: Side, arrays: Arrays) -> Arrays:
    """The side's answers to all rows, asked as many at a time as it takes, or as memory is kind to."""
    import numpy as np

    size, rows = fixed_rows(side), rows_of(arrays)
    step = size or _at_once(arrays)
    if step >= rows:
        return side.answer(arrays)
    parts = [
        side.answer({name: array[at : at + step] for name, array in arrays.items()}) for at in range(0, rows, step)
    ]
    counts = [min(step, rows - at) for at in range(0, rows, step)]
    for name in parts[0]:
        if any(part[name].shape[:1] != (count,) for part, count in zip(parts, counts, strict=True)):
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
    return min(rows, max(1, AT_ONCE // max(1, *(array.size // rows for array in arrays.values()))))


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


def check_repeatable(
    side: Side, arrays: Arrays, before: Arrays, few: int, allowed: Tolerance, warnings: list[str]
) -> None:
    """Asked twice, does it answer twice the same? Else no two models could agree."""
    again = answers_of(side, first(arrays, few))
    same = _alike({name: array[:few] if array.ndim else array for name, array in before.items()}, again, allowed)
    if not same and rows_of(arrays) > few:
        # An output need not have a row for each.
        same = _alike(before, answers_of(side, arrays), allowed)
    if not same:
        warnings.append(
            f"{side.name} gives different answers when it is asked the same twice: the model has a random part, so a "
            "difference between both sides says little."
        )


def _alike(before: Arrays, again: Arrays, allowed: Tolerance) -> bool:
    return hold(before, again, before, allowed).within_tolerance


def batch_of(theirs: Side, ours: Side, arrays: Arrays) -> int:
    """Rows in a timed call."""
    return max(fixed_rows(theirs) or 0, fixed_rows(ours) or 0) or _at_once(arrays)


def fixed_rows(side: Side) -> int | None:
    """The one batch size that a side takes; None where it is free, or its inputs are no batches of one size."""
    sizes = {info.shape[0] for info in side.inputs if info.shape}
    (size,) = sizes if len(sizes) == 1 else (None,)
    return size if isinstance(size, int) and size > 0 else None


def first(arrays: Arrays, rows: int) -> Arrays:
    """Of every input that has a row for each; others are what all rows share."""
    every = rows_of(arrays)
    return {name: array[:rows] if array.shape[:1] == (every,) else array for name, array in arrays.items()}


def rows_of(arrays: Arrays) -> int:
    return max((len(array) for array in arrays.values() if array.ndim), default=1)
