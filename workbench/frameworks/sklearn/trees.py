"""The comparisons that trees make, and rows on both sides of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from .inputs import parts_of


@dataclass(frozen=True)
class Questions:
    """Comparisons of columns with numbers: is column `feature` at most `threshold`?

    Attributes:
        feature: column numbers (int64), -1 where what is compared is mixed from several; threshold: float64.
        parent: number of the comparison that leads here, -1 where none does; below: it does where its answer is yes.
        asked: numbers of those that are worth a row; the others lead there.
    """

    feature: np.ndarray
    threshold: np.ndarray
    parent: np.ndarray
    below: np.ndarray
    asked: np.ndarray

    def ways(self, number: int) -> list[tuple[int, float, bool]]:
        """What must hold of a row that is to be asked this: (column, threshold, whether it is at most that)."""
        found = []
        while (before := int(self.parent[number])) >= 0:
            if self.feature[before] >= 0:
                found.append((int(self.feature[before]), float(self.threshold[before]), bool(self.below[number])))
            number = before
        return found[::-1]


_Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""(feature, threshold, parent, below) of one tree."""


def splits(estimator: Any) -> tuple[np.ndarray, np.ndarray]:
    """Every comparison a tree or an ensemble of trees makes: (column numbers int64, thresholds float64)."""
    feature, threshold, _, _ = _comparisons(estimator)
    return feature, threshold


def _comparisons(estimator: Any) -> _Part:
    parts: list[_Part] = []

    def add(part: Any, chosen: Any) -> None:
        if hasattr(part, "tree_"):
            tree = part.tree_
            inner = tree.children_left >= 0
            columns = tree.feature if chosen is None else np.asarray(chosen)[tree.feature]
            parts.append(_linked(columns, tree.threshold, tree.children_left, tree.children_right, inner))
        elif hasattr(part, "_predictors"):
            for predictor in (one for group in part._predictors for one in group):
                nodes = predictor.nodes
                sides = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
                inner = nodes["is_leaf"] == 0
                parts.append(_linked(nodes["feature_idx"].astype(np.int64), nodes["num_threshold"], *sides, inner))
        elif hasattr(part, "get_booster") or hasattr(part, "booster_"):
            columns, values = _booster_splits(part)
            parts.append((columns, values, np.full(len(columns), -1), np.zeros(len(columns), bool)))
        elif hasattr(part, "calibrated_classifiers_"):
            for one in part.calibrated_classifiers_:
                add(one.estimator, chosen)
        elif hasattr(part, "estimators_"):
            # An array of pipelines would be one of their steps.
            each = part.estimators_.ravel() if isinstance(part.estimators_, np.ndarray) else list(part.estimators_)
            for one, mine in zip(each, getattr(part, "estimators_features_", [None] * len(each)), strict=True):
                if hasattr(one, "get_params"):
                    add(one, mine if chosen is None or mine is None else np.asarray(chosen)[mine])
        elif hasattr(part, "estimator_"):
            add(part.estimator_, chosen)

    add(estimator, None)
    if not parts:
        return np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64), np.empty(0, bool)
    starts = np.cumsum([0, *(len(part[0]) for part in parts[:-1])])
    parents = [np.where(part[2] >= 0, part[2] + start, -1) for part, start in zip(parts, starts, strict=True)]
    feature, threshold, below = (np.concatenate([part[index] for part in parts]) for index in (0, 1, 3))
    return feature.astype(np.int64), threshold.astype(np.float64), np.concatenate(parents), below


def _linked(columns: Any, thresholds: Any, left: Any, right: Any, inner: np.ndarray) -> _Part:
    """A tree's nodes that compare, numbered anew without its leaves."""
    nodes = np.flatnonzero(inner)
    number = np.full(len(inner), -1)
    number[nodes] = np.arange(len(nodes))
    parent, below = np.full(len(nodes), -1), np.zeros(len(nodes), bool)
    for children, side in ((left, True), (right, False)):
        led = number[np.asarray(children)[nodes]]
        parent[led[led >= 0]], below[led[led >= 0]] = np.flatnonzero(led >= 0), side
    return np.asarray(columns)[nodes], np.asarray(thresholds)[nodes], parent, below


def _booster_splits(part: Any) -> tuple[np.ndarray, np.ndarray]:
    """The comparisons of an XGBoost or LightGBM model."""
    if hasattr(part, "booster_"):
        table = part.booster_.trees_to_dataframe()
        table = table[table["split_feature"].notna()]
        names = part.booster_.feature_name()
        return table["split_feature"].map(names.index).to_numpy(np.int64), table["threshold"].to_numpy(np.float64)
    booster = part.get_booster()
    table = booster.trees_to_dataframe()
    table = table[table["Feature"] != "Leaf"]
    names = booster.feature_names or [f"f{i}" for i in range(part.n_features_in_)]
    return table["Feature"].map(names.index).to_numpy(np.int64), table["Split"].to_numpy(np.float64)


def asked_of_columns(estimator: Any, most: int) -> Questions:
    """The comparisons that its last step makes, as comparisons of the columns it is given; at most so many of them are
    asked, spread evenly over all."""
    last, steps = estimator, []
    while isinstance(last, Pipeline):
        steps += [step for _, step in last.steps[:-1] if not isinstance(step, str) and step is not None]
        last = last.steps[-1][1]
    feature, threshold, parent, below = _comparisons(last)
    for step in reversed(steps):
        if len(feature):
            feature, threshold = _pull_back(step, feature, threshold)
    if not len(feature):
        return Questions(feature, threshold, parent, below, np.empty(0, np.int64))
    _, asked = np.unique(np.stack([feature, threshold], axis=1), axis=0, return_index=True)
    asked = asked[feature[asked] >= 0]
    if len(asked) > most:
        asked = asked[np.linspace(0, len(asked) - 1, most).astype(int)]
    return Questions(feature, threshold, parent, below, asked)


def both_sides(rows: np.ndarray, questions: Questions, rng: np.random.Generator) -> np.ndarray:
    """The rows, then for each comparison three that get as far, with the numbers of their dtype just below, at and
    just above its threshold."""
    asked, dtype = questions.asked, rows.dtype
    if not len(asked):
        return rows
    reaching = rows[rng.integers(len(rows), size=len(asked))]
    for row, number in zip(reaching, asked, strict=True):
        _lead(row, questions.ways(int(number)))
    with np.errstate(over="ignore"):
        at = questions.threshold[asked].astype(dtype)
    sides = [np.nextafter(at, np.array(-np.inf, dtype)), at, np.nextafter(at, np.array(np.inf, dtype))]
    extra = np.tile(reaching, (3, 1))
    extra[np.arange(len(extra)), np.tile(questions.feature[asked], 3)] = np.concatenate(sides)
    return np.concatenate([rows, extra])


def _lead(row: np.ndarray, ways: list[tuple[int, float, bool]]) -> None:
    """Change a row so that these comparisons come out as they must."""
    bounds: dict[int, tuple[float, float]] = {}
    for column, threshold, below in ways:
        low, high = bounds.get(column, (-np.inf, np.inf))
        bounds[column] = (low, min(high, threshold)) if below else (max(low, threshold), high)
    for column, (low, high) in bounds.items():
        if low < row[column] <= high:
            continue
        if np.isinf(low) or np.isinf(high):
            edge = high if np.isinf(low) else low
            row[column] = edge + (0.1 * abs(edge) + 0.1) * (-1 if np.isinf(low) else 1)
        else:
            row[column] = low + (high - low) / 2


def _pull_back(step: Any, features: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Comparisons after a transformer, as comparisons before it: their columns and thresholds; column -1 where it mixes
    several columns. Where they were -1 they stay so."""
    known = features >= 0
    if not known.all():
        out, values = np.full(len(features), -1), np.zeros(len(features))
        if known.any():
            out[known], values[known] = _pull_back(step, features[known], thresholds[known])
        return out, values
    if isinstance(step, Pipeline):
        for inner in reversed([inner for _, inner in step.steps if not isinstance(inner, str) and inner is not None]):
            features, thresholds = _pull_back(inner, features, thresholds)
        return features, thresholds
    if isinstance(step, StandardScaler | MinMaxScaler | MaxAbsScaler | RobustScaler):
        rows = np.zeros((len(features), step.n_features_in_))
        rows[np.arange(len(rows)), features] = thresholds
        return features, step.inverse_transform(rows)[np.arange(len(rows)), features]
    if isinstance(step, FunctionTransformer) and step.func is None:
        return features, thresholds
    if hasattr(step, "get_support"):
        return step.get_support(indices=True)[features], thresholds
    if hasattr(step, "statistics_") and not step.add_indicator:
        return features, thresholds
    out, values = np.full(len(features), -1), np.zeros(len(features))
    if isinstance(step, ColumnTransformer):
        for name, inner, columns in parts_of(step):
            place = step.output_indices_[name]
            mine = (features >= place.start) & (features < place.stop)
            if not mine.any():
                continue
            local, values[mine] = features[mine] - place.start, thresholds[mine]
            if not isinstance(inner, str):
                local, values[mine] = _pull_back(inner, local, thresholds[mine])
            out[mine] = np.where(local >= 0, np.asarray(columns, np.int64)[local], -1)
    return out, values
