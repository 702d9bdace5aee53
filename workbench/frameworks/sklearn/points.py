"""Rows worth asking a scikit-learn model: near its data, both sides of every threshold, its own categories and words.

Nothing of the training data is needed: a fitted estimator says where it looked.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ...convert.draft import Arrays
from .inputs import Signature, examples, first_steps, walk

LIMIT = 2000
"""Rows at most, spread evenly over the thresholds of a large forest."""

NEAR = 60
"""Rows near the data."""


def rows_worth_asking(
    estimator: Any, signature: Signature, dtype: str, sample: Any, odd: Odd, rng: np.random.Generator
) -> Arrays:
    """Rows for the model's inputs.

    Args:
        estimator: fitted; a Pipeline or what it ends in.
        signature: what it takes.
        dtype: of its columns of numbers.
        sample: the user's rows, which the others vary around; None where there are none.
        odd: see `odd_values`.
        rng: seeded.

    Returns:
        {input name: array (rows, columns)}; at least three rows, at most `LIMIT` + `NEAR` and twice the odd values.
    """
    # Columns by their numbers in the native table, here and in all that is called.
    kinds = {place: signature.kinds[ours] for place, ours in signature.places.items()}
    numbers = [place for place, kind in kinds.items() if kind == "float"]
    features, thresholds = _asked_of_columns(estimator)
    near = _near(estimator, signature, numbers, (features, thresholds), sample, rng)
    others: dict[int, np.ndarray] = {}
    for place, kind in kinds.items():
        known = _known_values(estimator, place)
        if kind == "float":
            if known is not None:
                near[:, place] = rng.choice(np.asarray(known, float), NEAR)
        elif kind == "int64":
            others[place] = _each(np.asarray(range(3) if known is None else known, np.int64), rng)
        else:
            # What is missing is asked among the odd ones.
            texts = [text for text in (["a", "b"] if known is None else known) if isinstance(text, str)]
            others[place] = _each(np.array(texts, object), rng)
    floats = _both_sides(near.astype(dtype), features, thresholds, rng)
    rows = max([len(floats), *map(len, others.values())])
    columns = {place: np.resize(floats, (rows, floats.shape[1]))[:, place] for place in numbers}
    columns |= {place: np.resize(values, rows) for place, values in others.items()}
    return signature.arrays(_with_odd(columns, odd, rng), dtype)


Odd = dict[int, tuple[Any, ...]]
"""Column number -> values that are none of its known ones, and that the estimator takes: NaN, an unknown category."""

MOST_ODD = 400
"""Odd values that are asked, and columns of numbers that are tried one by one."""


def odd_values(estimator: Any, signature: Signature, ask: Callable[[Arrays], Any]) -> Odd:
    """Missing values, and unknown categories, of each column that takes them: by trying.

    Args:
        ask: the estimator's answer to rows for the model's inputs; it raises where it refuses them.
    """
    kinds = {place: signature.kinds[ours] for place, ours in signature.places.items()}
    usual = signature.columns_of(examples(estimator, signature))

    def taken(places: Iterable[int], value: Any) -> bool:
        changed = {place: np.full(2, value, object) for place in places}
        try:
            ask(signature.arrays(usual | changed, "float64"))
        except Exception:
            return False
        return True

    numbers = [place for place, kind in kinds.items() if kind == "float"]
    found: Odd = {}
    if numbers and taken(numbers, np.nan):
        found = dict.fromkeys(numbers, (np.nan,))
    for place, kind in [] if signature.flat else list(kinds.items())[:MOST_ODD]:
        values: list[Any] = [] if kind == "int64" else [np.nan]
        if (known := _known_values(estimator, place)) is not None:
            values += [None, "zqx"] if kind == "string" else [max([0, *(v for v in known if v == v)]) + 1]
        found[place] = tuple(value for value in values if taken([place], value))
    return found


def _with_odd(columns: dict[int, np.ndarray], odd: Odd, rng: np.random.Generator) -> dict[int, np.ndarray]:
    """The same with two more rows for each odd value: some of the others, with it in their place."""
    values = [(place, value) for place in columns for value in odd.get(place, ())][:MOST_ODD]
    rows = len(next(iter(columns.values())))
    copied = rng.integers(rows, size=2 * len(values))
    out = {place: np.concatenate([column, column[copied]]) for place, column in columns.items()}
    for index, (place, value) in enumerate(values):
        out[place][rows + 2 * index : rows + 2 * index + 2] = value
    return out


def _each(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every value, in any order, and again until there are `NEAR`; some of them, where there are more than `LIMIT`."""
    return np.resize(rng.permutation(values)[:LIMIT], max(NEAR, min(LIMIT, len(values))))


def splits(estimator: Any) -> tuple[np.ndarray, np.ndarray]:
    """Every comparison a tree or an ensemble of trees makes: (column numbers int64, thresholds float64)."""
    features: list[Any] = []
    thresholds: list[Any] = []

    def add(part: Any, chosen: Any) -> None:
        if hasattr(part, "tree_"):
            inner = part.tree_.children_left >= 0
            columns = part.tree_.feature[inner]
            features.append(columns if chosen is None else np.asarray(chosen)[columns])
            thresholds.append(part.tree_.threshold[inner])
        elif hasattr(part, "_predictors"):
            for predictor in (one for group in part._predictors for one in group):
                nodes = predictor.nodes[predictor.nodes["is_leaf"] == 0]
                features.append(nodes["feature_idx"].astype(np.int64))
                thresholds.append(nodes["num_threshold"])
        elif hasattr(part, "get_booster") or hasattr(part, "booster_"):
            columns, values = _booster_splits(part)
            features.append(columns)
            thresholds.append(values)
        elif hasattr(part, "calibrated_classifiers_"):
            for one in part.calibrated_classifiers_:
                add(one.estimator, chosen)
        elif hasattr(part, "estimators_"):
            subsets = getattr(part, "estimators_features_", None)
            for index, one in enumerate(np.asarray(part.estimators_, object).ravel()):
                if hasattr(one, "get_params"):
                    add(one, chosen if subsets is None else subsets[index])
        elif hasattr(part, "estimator_"):
            add(part.estimator_, chosen)

    add(estimator, None)
    if not features:
        return np.empty(0, np.int64), np.empty(0)
    return np.concatenate(features).astype(np.int64), np.concatenate(thresholds).astype(np.float64)


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


def _asked_of_columns(estimator: Any) -> tuple[np.ndarray, np.ndarray]:
    """The comparisons that its last step makes (`splits`), as comparisons of the columns it is given."""
    from sklearn.pipeline import Pipeline

    last, steps = estimator, []
    while isinstance(last, Pipeline):
        steps += [step for _, step in last.steps[:-1] if not isinstance(step, str) and step is not None]
        last = last.steps[-1][1]
    features, thresholds = splits(last)
    for step in reversed(steps):
        if not len(features):
            break
        features, thresholds = _pull_back(step, features, thresholds)
    return features, thresholds


def _both_sides(rows: np.ndarray, features: np.ndarray, thresholds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rows, then for each threshold the numbers of their dtype just below, at and just above it."""
    if not len(features):
        return rows
    dtype = rows.dtype
    questions = np.unique(np.stack([features, thresholds], axis=1), axis=0)
    if len(questions) > LIMIT // 3:
        questions = questions[np.linspace(0, len(questions) - 1, LIMIT // 3).astype(int)]
    features = questions[:, 0].astype(np.int64)
    with np.errstate(over="ignore"):
        at = questions[:, 1].astype(dtype)
    sides = [np.nextafter(at, np.array(-np.inf, dtype)), at, np.nextafter(at, np.array(np.inf, dtype))]
    extra = np.tile(rows[rng.integers(len(rows), size=len(features))], (3, 1))
    extra[np.arange(len(extra)), np.tile(features, 3)] = np.concatenate(sides)
    return np.concatenate([rows, extra])


def _pull_back(step: Any, features: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Comparisons after a transformer, as comparisons before it; those it mixes from several columns are left out."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

    nothing = np.empty(0, np.int64), np.empty(0)
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
    if isinstance(step, ColumnTransformer):
        pulled = [nothing]
        for name, inner, _ in step.transformers_:
            columns, place = step._transformer_to_input_indices.get(name, []), step.output_indices_[name]
            mine = (features >= place.start) & (features < place.stop)
            if (isinstance(inner, str) and inner == "drop") or not mine.any():
                continue
            local, values = features[mine] - place.start, thresholds[mine]
            if not isinstance(inner, str):
                local, values = _pull_back(inner, local, values)
            pulled.append((np.asarray(columns, np.int64)[local], values))
        return np.concatenate([f for f, _ in pulled]).astype(np.int64), np.concatenate([t for _, t in pulled])
    return nothing


def _near(
    estimator: Any,
    signature: Signature,
    numbers: list[int],
    comparisons: tuple[np.ndarray, np.ndarray],
    sample: Any,
    rng: np.random.Generator,
) -> np.ndarray:
    """Rows where the estimator's data was: (rows, width) float64, filled in the columns of numbers."""
    width = signature.width
    known = _sample_rows(sample, signature, numbers)
    if known is None:
        known = _known_rows(estimator, width)
    if known is None:
        known = rng.normal(size=(NEAR, width))
        features, thresholds = comparisons
        for column in numbers:
            if len(here := thresholds[features == column]):
                known[:, column] = np.quantile(here, np.linspace(0, 1, NEAR))
    rows = known[rng.integers(len(known), size=NEAR)]
    spread = known.std(axis=0) + 1e-3 * np.abs(known).max(axis=0)
    half = NEAR // 2
    rows[half:] += rng.normal(size=(NEAR - half, width)) * spread
    return rows


def _sample_rows(sample: Any, signature: Signature, numbers: list[int]) -> np.ndarray | None:
    """The person's numbers in their places, without the rows that lack one."""
    if hasattr(sample, "columns") and hasattr(sample, "iloc"):
        named = signature.columns if signature.columns and set(signature.columns) <= set(sample.columns) else None
        table = sample[list(named)] if named else sample
        if table.shape[1] != signature.width:
            return None
        rows = np.zeros(table.shape)
        try:
            rows[:, numbers] = table.iloc[:, numbers].to_numpy(np.float64)
        except (TypeError, ValueError):  # text where it takes numbers, which is told elsewhere
            return None
    elif hasattr(sample, "dtype") and sample.dtype.kind in "biuf" and np.shape(sample)[1:] == (signature.width,):
        rows = np.asarray(sample, np.float64)
    else:
        return None
    rows = rows[np.isfinite(rows).all(axis=1)]
    return rows if len(rows) else None


def _known_rows(estimator: Any, width: int) -> np.ndarray | None:
    """Rows, or centres and edges, of the training data that some estimator inside remembers."""
    for part in walk(estimator):
        if part is not first_steps(estimator)[0] and getattr(part, "n_features_in_", None) != width:
            continue
        for name in ("_fit_X", "X_train_", "X_fit_", "support_vectors_", "cluster_centers_", "theta_", "means_"):
            rows: Any = getattr(part, name, None)
            if hasattr(rows, "toarray"):
                rows = rows.toarray()
            if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == width and len(rows):
                return rows.astype(np.float64)
        if isinstance(low := getattr(part, "data_min_", None), np.ndarray) and len(low) == width:
            return np.stack([low, part.data_max_])
        if isinstance(mean := getattr(part, "mean_", None), np.ndarray) and mean.shape == (width,):
            scale = getattr(part, "scale_", None)
            return np.stack([mean - (1 if scale is None else scale), mean + (1 if scale is None else scale)])
    return None


def _known_values(estimator: Any, index: int) -> Any:
    """Categories or labels of a column, or sentences made of a vocabulary's words; None where nothing is known."""
    from sklearn.compose import ColumnTransformer

    for first in first_steps(estimator):
        if not isinstance(first, ColumnTransformer):
            continue
        for name, step, _ in first.transformers_:
            columns = [int(i) for i in first._transformer_to_input_indices.get(name, [])]
            if not isinstance(step, str) and index in columns:
                known = _known_values(step, columns.index(index))
                if known is not None:
                    return known
    for part in _steps(estimator):
        if hasattr(part, "vocabulary_"):
            return _sentences(part)
        if hasattr(part, "categories_"):
            return part.categories_[index]
        if hasattr(part, "n_categories_"):
            return range(int(part.n_categories_[index]))
        if hasattr(part, "classes_") and not hasattr(part, "predict"):
            return part.classes_
    return None


def _steps(estimator: Any) -> list[Any]:
    from sklearn.pipeline import Pipeline

    return [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]


def _sentences(vectorizer: Any) -> list[str]:
    """The vocabulary's own words and n-grams: alone, in pairs, in capitals, next to unknown and one-letter words."""
    words = sorted(map(str, vectorizer.vocabulary_))[:: max(1, len(vectorizer.vocabulary_) // 40)]
    pairs = [f"{a} {b}" for a, b in zip(words, reversed(words), strict=True)]
    return [
        *words, *pairs, *(word.upper() for word in words[:10]), *(f"{pair}, a zqx {pair}." for pair in pairs[:10]), "",
        *(f"{a} I {b}!" for a, b in itertools.pairwise(words[:11])),
    ]  # fmt: skip
