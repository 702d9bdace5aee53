"""Neighbours at the same distance: which of them counts is a matter of rounding, and either answer is right.

Far from the data that is common: where every number of a row is above those of the fit, Manhattan distances to rows of
the same sum are equal. scikit-learn takes whichever its search meets first, ONNX Runtime the first of the fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from ...convert.draft import Arrays
from .inputs import walk

EPSILON = float(np.finfo(np.float64).eps)

ROUNDINGS = 16
"""Of a distance in float64, how many may separate two that are equal in exact numbers: sums of some tens of terms,
taken in another order. Distances that only float32 cannot tell apart are no tie: a graph in float64 can."""

SHUFFLES = 8
"""Times tied neighbours change places at random, besides being sorted: so that each of three or more does."""

MOST_COLUMNS = 20
"""Classes or targets that tied neighbours are sorted by; of more, shuffling reaches nearly all."""

Order = Callable[[Any], np.ndarray]
"""Of a fitted neighbours' estimator, a number for each row of its fit: tied neighbours are taken in this order."""


def answers_otherwise(estimator: Any, ask: Callable[[Arrays], Arrays], arrays: Arrays) -> list[Arrays]:
    """The answers an estimator may give as well: where neighbours at the same distance are taken in other orders.

    Args:
        estimator: fitted; its neighbours may be anywhere inside.
        ask: its answers to rows.

    Returns:
        Answers to all rows, for each order; none where no two neighbours tie.
    """
    parts = [part for part in walk(estimator) if hasattr(part, "kneighbors") and hasattr(part, "n_samples_fit_")]
    found: list[Arrays] = []
    for order in _orders(parts):
        with _in_order(parts, order) as tied:
            found.append(ask(arrays))
        if not tied:
            return []
    return found


def _orders(parts: list[Any]) -> Iterator[Order]:
    """Orders that bring answers to their ends: each class first and last, each target from its lowest and highest, and
    of scores what they are made of; then shuffled."""
    for column in range(min(MOST_COLUMNS, max((_columns(part).shape[1] for part in parts), default=0))):
        for sign in (1, -1):
            yield partial(_sorted, column, sign)
    for seed in range(SHUFFLES if parts else 0):
        yield partial(_shuffled, seed)


def _sorted(column: int, sign: int, part: Any) -> np.ndarray:
    columns = _columns(part)
    return np.asarray(sign * columns[:, column % columns.shape[1]])


def _shuffled(seed: int, part: Any) -> np.ndarray:
    return np.random.default_rng(seed).permutation(part.n_samples_fit_)


def _columns(part: Any) -> np.ndarray:
    """What an answer is made of, a row for each row of the fit."""
    rows = part.n_samples_fit_
    if (y := getattr(part, "_y", None)) is not None:
        each = np.asarray(y).reshape(rows, -1)
        if hasattr(part, "classes_"):
            each = np.column_stack([each[:, [target]] == np.unique(each[:, target]) for target in range(each.shape[1])])
        return each.astype(float)
    if hasattr(part, "_lrd"):
        return np.column_stack([part._lrd, part._distances_fit_X_[:, -1], np.arange(rows)])
    return np.arange(rows, dtype=float).reshape(-1, 1)


@contextmanager
def _in_order(parts: list[Any], order: Order) -> Iterator[list[bool]]:
    """Within it, estimators take tied neighbours in this order; yields a list that is empty until two tie."""
    tied: list[bool] = []
    before = [(part, dict(vars(part))) for part in parts]
    try:
        for part in parts:
            part.kneighbors = _reordered(part, order(part), tied)
            if getattr(part, "weights", None) == "uniform":
                # Votes that all weigh the same are counted without `kneighbors`.
                part.weights = np.ones_like
        yield tied
    finally:
        for part, attributes in before:
            vars(part).clear()
            vars(part).update(attributes)


def _reordered(part: Any, key: np.ndarray, tied: list[bool]) -> Callable[..., Any]:
    search, rows = part.kneighbors, part.n_samples_fit_

    def kneighbors(X: Any = None, n_neighbors: int | None = None, return_distance: bool = True) -> Any:
        count = n_neighbors or part.n_neighbors
        most = min(rows, 2 * count)
        while True:
            distances, numbers = search(X, most)
            slack = _slack(part, X, distances[:, [count - 1]])
            if most == rows or (distances[:, [-1]] > distances[:, [count - 1]] + slack).all():
                break
            most = min(rows, 4 * most)
        apart = np.diff(distances, axis=1) > slack
        # One further counts: it may stand where the last is.
        tied.extend([True] * (not apart[:, :count].all()))
        group = np.pad(np.cumsum(apart, axis=1), ((0, 0), (1, 0)))
        taken = np.lexsort((key[numbers], group), axis=1)[:, :count]
        numbers = np.take_along_axis(numbers, taken, axis=1)
        return (np.take_along_axis(distances, taken, axis=1), numbers) if return_distance else numbers

    return kneighbors


def _slack(part: Any, table: Any, reach: np.ndarray) -> np.ndarray:
    """How far apart distances around these may be by rounding alone, a row each."""
    metric = getattr(part, "effective_metric_", None)
    if metric == "cosine":
        return np.full(reach.shape, ROUNDINGS * EPSILON)

    def size(rows: Any) -> np.ndarray:
        return np.asarray(abs(rows).sum(axis=1), float).reshape(-1, 1)

    size_of_both = size(np.asarray(table, float)) + size(part._fit_X).max()
    slack = ROUNDINGS * EPSILON * size_of_both
    if metric in ("euclidean", "sqeuclidean"):
        # The root of a difference of squares: near zero it keeps half the digits.
        slack = slack * np.clip(size_of_both / np.maximum(reach, 1e-300), 1, EPSILON**-0.5)
    return slack
