"""Which class a model names for each row, how many are right, and whether its classes are a data set's at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .words import label_text

Arrays = Mapping[str, np.ndarray]
Classes = Mapping[str, tuple[Any, ...]]
"""Output name -> class labels in the order of its columns, where they are known."""


def labels_of(outputs: Arrays, rows: int) -> np.ndarray | None:
    """(rows,) of the first label output: integers, texts or booleans, one a row."""
    return next((a.reshape(rows) for a in outputs.values() if a.dtype.kind in "biuUSO" and a.size == rows), None)


def scores_of(outputs: Arrays, rows: int) -> tuple[str, np.ndarray] | None:
    """The name of the first output with a row of two or more scores for each row, and these: (rows, classes)."""
    for name, array in outputs.items():
        wide = [dim for dim in array.shape[1:] if dim != 1]
        if array.dtype.kind == "f" and array.shape[:1] == (rows,) and len(wide) == 1 and array.size:
            return name, array.reshape(rows, -1)
    return None


def named(outputs: Arrays, rows: int, classes: Classes | None = None) -> np.ndarray | None:
    """The class that a model names for each row.

    A label output is taken at its word; else the largest of a row of scores counts, or for a single probability whether
    it is above one half.

    Args:
        outputs: {output name: array}, first axis: rows.
        classes: columns are numbered where none are known.

    Returns:
        (rows,) labels, or None where no output names classes (a regression).
    """
    if (labels := labels_of(outputs, rows)) is not None:
        return labels
    if (scored := scores_of(outputs, rows)) is not None:
        name, columns = scored[0], scored[1].argmax(axis=1)
    else:
        single = (item for item in outputs.items() if item[1].dtype.kind == "f" and item[1].size == rows)
        name, scores = next(((name, a.reshape(rows)) for name, a in single if ((a >= 0) & (a <= 1)).all()), ("", None))
        if scores is None:
            return None
        columns = (scores > 0.5).astype(int)
    known = (classes or {}).get(name, ())
    return np.array(known, object)[columns] if columns.max(initial=0) < len(known) else columns


def accuracy(outputs: Arrays, targets: Any, classes: Classes | None = None) -> float | None:
    """The share of rows whose class is named rightly; None where the targets or the outputs are no classes.

    Args:
        targets: (rows,), the right classes: labels as the model names them, or column numbers.
    """
    right = np.asarray(targets).reshape(-1)
    if right.dtype.kind == "f" and not bool((right == np.trunc(right)).all()):
        return None
    answers = named(outputs, len(right), classes)
    if answers is None:
        return None
    answered, wanted = [label_text(value) for value in answers], [label_text(value) for value in right]
    labels = [label_text(value) for value in next(iter((classes or {}).values()), ())]
    if labels and right.dtype.kind in "biuf" and not {*wanted} & {*labels}:
        # Columns by their numbers, where the labels are no such numbers.
        wanted = [labels[int(value)] if 0 <= value < len(labels) else "" for value in right]
    elif right.dtype.kind not in "biuf" and answers.dtype.kind in "biuf" and not {*wanted} & {*answered}:
        return None
    return float(np.mean([ours == theirs for ours, theirs in zip(answered, wanted, strict=True)]))


def fits(outputs: Arrays, targets: np.ndarray, class_names: tuple[str, ...], classes: Classes | None = None) -> bool:
    """Whether a model's classes are those of the data it was asked, so that an answer can be called right or wrong.

    Its labels are the data's names; or it numbers as many classes and they meet the data's far more often than chance
    would: three classes of four numbers are not always flowers, and clusters have no right numbers.

    Args:
        outputs: what it gave to the data's rows.
        targets, class_names: the data's, as of `workbench.sources.Dataset`.
    """
    rows, count = len(targets), len(class_names)
    labels, scored = labels_of(outputs, rows), scores_of(outputs, rows)
    as_many = scored is not None and scored[1].shape[1] == count
    known = {label_text(value) for value in (classes or {}).get(scored[0] if scored else "", ())}
    words = known or ({label_text(value) for value in labels} if labels is not None else set())
    if words and words <= set(class_names) and not words <= set(map(str, range(count))):
        return scored is None or as_many
    if scored is None or not as_many:
        return False
    answers = scored[1].argmax(axis=1)
    if labels is not None and not (labels.dtype.kind in "biu" and np.array_equal(labels, answers)):
        return False
    return _beyond_chance(answers, targets, count)


def _beyond_chance(answers: np.ndarray, targets: np.ndarray, classes: int) -> bool:
    """Whether numbered classes meet the data's far more often than by chance: 3.5 standard deviations above it.

    Chance is a model that knows nothing of the data and answers each class as often as this one does.
    """
    answered, true = (np.bincount(numbers, minlength=classes) for numbers in (answers, targets))
    chance = float(answered @ true) / len(answers) ** 2
    bound = chance + 3.5 * np.sqrt(chance * (1 - chance) / len(answers))
    return bool(np.mean(answers == targets) > bound)
