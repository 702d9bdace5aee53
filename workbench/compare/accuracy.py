"""How many answers are right, where a model names classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]
    Classes = Mapping[str, tuple[Any, ...]]


def named(outputs: Arrays, rows: int, classes: Classes | None = None) -> np.ndarray | None:
    """The class that a model names for each row.

    A label output (integers or texts, one a row) is taken at its word; else the largest of a row of scores counts, or
    for a single probability whether it is above one half.

    Args:
        outputs: {output name: array}, first axis: rows.
        classes: {output name: labels in column order}, where known; columns are numbered where not.

    Returns:
        (rows,) labels, or None where no output names classes (a regression).
    """
    import numpy as np

    for array in outputs.values():
        if array.dtype.kind in "biuUSO" and array.size == rows:
            return array.reshape(rows)
    for name, array in outputs.items():
        if array.dtype.kind != "f" or not array.ndim or len(array) != rows or not array.size:
            continue
        scores = array.reshape(rows, -1)
        if scores.shape[1] > 1:
            found = scores.argmax(axis=1)
        elif bool((scores >= 0).all() and (scores <= 1).all()):
            found = (scores[:, 0] > 0.5).astype(int)
        else:
            continue
        labels = (classes or {}).get(name, ())
        return np.array(labels, object)[found] if found.max() < len(labels) else found
    return None


def accuracy(outputs: Arrays, targets: Any, classes: Classes | None = None) -> float | None:
    """The share of rows whose class is named rightly; None where the targets or the outputs are no classes.

    Args:
        targets: (rows,), the right classes: labels as the model names them, or column numbers.
    """
    import numpy as np

    right = np.asarray(targets).reshape(-1)
    if right.dtype.kind == "f" and not bool((right == np.trunc(right)).all()):
        return None
    found = named(outputs, len(right), classes)
    if found is None:
        return None
    said, wanted = [label_text(value) for value in found], [label_text(value) for value in right]
    labels = [label_text(value) for value in next(iter((classes or {}).values()), ())]
    if labels and right.dtype.kind in "biuf" and not {*wanted} & {*labels}:
        # Columns by their numbers, where the labels are no such numbers.
        wanted = [labels[int(value)] if 0 <= value < len(labels) else "" for value in right]
    elif right.dtype.kind not in "biuf" and found.dtype.kind in "biuf" and not {*wanted} & {*said}:
        return None
    return float(np.mean([ours == theirs for ours, theirs in zip(said, wanted, strict=True)]))


def answers_classes(outputs: Arrays, rows: int, count: int, classes: Classes | None = None) -> bool:
    """Whether a model seems to tell so many classes apart: it names them, or it scores them and gives no other labels
    (K-means does, whose clusters have no right numbers)."""
    from ..agreement import is_probability

    if classes and any(len(labels) == count for labels in classes.values()):
        return True
    scores = [array for array in outputs.values() if array.dtype.kind == "f" and array.size == rows * count]
    labels = [array for array in outputs.values() if array.dtype.kind in "biuUSO" and array.size == rows]
    return any(map(is_probability, scores)) or bool(scores and not labels)


def label_text(value: Any) -> str:
    """A label of any type as text: 1, 1.0 and np.int32(1) name the same class."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, bool | float) and float(value).is_integer():
        return str(int(value))
    return str(value)
