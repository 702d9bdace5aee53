"""Ask a side: rows in the form it takes them, as many at a time as it takes; and does it answer twice the same?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agreement import Tolerance, hold
from ..errors import BadInput

if TYPE_CHECKING:
    import numpy as np

    from .sides import Side

    Arrays = dict[str, np.ndarray]

AT_ONCE = 1 << 18
"""Numbers in one input of one call, at most: two pictures of 224 by 224. What a network holds between its layers grows
with the batch."""


def is_spiking(side: Side) -> bool:
    return any(info.shape is not None and info.shape[1:2] == ("steps",) for info in side.inputs)


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


def batch_of(theirs: Side, ours: Side, arrays: Arrays, wanted: int | None = None) -> int:
    """Rows in a timed call: as many as are `wanted`, else as the sides or memory allow.

    Raises:
        BadInput: more are wanted than there are rows, or another number than a side takes.
    """
    fixed = max(fixed_rows(theirs) or 0, fixed_rows(ours) or 0)
    if wanted is None:
        return fixed or _at_once(arrays)
    if fixed and wanted != fixed:
        raise BadInput(f"This model takes {fixed:,} rows at a time, so a timed call cannot hold {wanted:,}.")
    if wanted > (rows := rows_of(arrays)):
        raise BadInput(f"A timed call cannot hold {wanted:,} rows where {rows:,} are asked: lower the batch size.")
    return wanted


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
