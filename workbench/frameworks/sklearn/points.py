"""Rows worth asking a scikit-learn model: near its data, both sides of every threshold, its own categories and words.

Nothing of the training data is needed: a fitted estimator says where it looked.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from ...engines.base import Arrays
from .inputs import Signature, first_steps, parts_of, walk
from .trees import Questions, asked_of_columns, both_sides

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
    questions = asked_of_columns(estimator, LIMIT // 3)
    near = _near(estimator, signature, numbers, questions, sample, rng)
    values = known_values(estimator, range(signature.width))
    others: dict[int, np.ndarray] = {}
    for place, kind in kinds.items():
        known = values.get(place)
        if kind == "float":
            if known is not None:
                near[:, place] = rng.choice(np.asarray(known, float), NEAR)
        elif kind == "int64":
            others[place] = _each(np.asarray(range(3) if known is None else known, np.int64), rng)
        else:
            # What is missing is asked among the odd ones.
            texts = [text for text in (["a", "b"] if known is None else known) if isinstance(text, str)]
            others[place] = _each(np.array(texts, object), rng)
    floats = both_sides(near.astype(dtype), questions, rng)
    rows = max([len(floats), *map(len, others.values())])
    columns = {place: np.resize(floats, (rows, floats.shape[1]))[:, place] for place in numbers}
    columns |= {place: np.resize(each, rows) for place, each in others.items()}
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
    all_known = known_values(estimator, range(signature.width))
    found: Odd = {}
    if numbers and taken(numbers, np.nan):
        found = dict.fromkeys(numbers, (np.nan,))
    for place, kind in [] if signature.flat else list(kinds.items())[:MOST_ODD]:
        values: list[Any] = [] if kind == "int64" else [np.nan]
        if (known := all_known.get(place)) is not None:
            values += [None, "zqx"] if kind == "string" else [max([0, *(v for v in known if v == v)]) + 1]
        found[place] = tuple(value for value in values if taken([place], value))
    return found


def only_values(estimator: Any, signature: Signature, odd: Odd, dtype: str) -> Arrays:
    """{input name: its categories}, of inputs of one column that take no others."""
    if signature.flat or (signature.one and signature.width > 1):
        return {}
    found: Arrays = {}
    infos = signature.inputs(dtype)
    for place, values in known_values(estimator, range(signature.width)).items():
        if place in signature.places and not any(map(_is_there, odd.get(place, ()))):
            info = infos[signature.places[place]]
            found[info.name] = np.array([*filter(_is_there, values)], object if info.dtype == "string" else info.dtype)
    return found


def _is_there(value: Any) -> bool:
    """Neither None nor NaN."""
    return value is not None and bool(value == value)


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


def _near(
    estimator: Any,
    signature: Signature,
    numbers: list[int],
    questions: Questions,
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
        for column in numbers:
            if len(here := questions.threshold[questions.feature == column]):
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
        if (thresholds := getattr(part, "X_thresholds_", None)) is not None:
            return np.asarray(thresholds, np.float64).reshape(-1, 1)
        if isinstance(low := getattr(part, "data_min_", None), np.ndarray) and len(low) == width:
            return np.stack([low, part.data_max_])
        if isinstance(mean := getattr(part, "mean_", None), np.ndarray) and mean.shape == (width,):
            scale = getattr(part, "scale_", None)
            return np.stack([mean - (1 if scale is None else scale), mean + (1 if scale is None else scale)])
    return None


def examples(estimator: Any, signature: Signature) -> Arrays:
    """Two rows that the estimator takes: zeros and empty texts, and of categories the first it knows."""
    known = known_values(estimator, range(signature.width))
    arrays: Arrays = {}
    for number, info in enumerate(signature.inputs("float64")):
        text = info.dtype == "string"
        array = np.zeros((2, len(signature.kinds) if signature.one else 1), object if text else info.dtype)
        array[:] = "" if text else 0
        for place, ours in signature.places.items():
            fitting = [value for value in known.get(place, ()) if isinstance(value, str) is text]
            if fitting and (signature.one or ours == number):
                array[:, ours if signature.one else 0] = fitting[0]
        arrays[info.name] = array
    return arrays


def known_values(step: Any, columns: Sequence[int]) -> dict[int, Any]:
    """Column number -> its categories or labels, or sentences made of a vocabulary's words, as the first to learn some
    of it did; the estimator sees these columns."""
    found: dict[int, Any] = {}
    if isinstance(step, ColumnTransformer):
        for _, inner, places in parts_of(step):
            found = known_values(inner, [columns[place] for place in places]) | found
    elif isinstance(step, FeatureUnion):
        for _, inner in step.transformer_list:
            found = known_values(inner, columns) | found
    elif isinstance(step, Pipeline):
        for _, inner in step.steps:
            # A ColumnTransformer gives other columns on.
            if (found := known_values(inner, columns)) or isinstance(inner, ColumnTransformer):
                break
    elif hasattr(step, "vocabulary_"):
        found = dict.fromkeys(columns, _sentences(step))
    elif hasattr(step, "categories_"):
        found = dict(zip(columns, step.categories_, strict=False))
    elif hasattr(step, "n_categories_"):
        found = {place: range(int(count)) for place, count in zip(columns, step.n_categories_, strict=False)}
    elif hasattr(step, "classes_") and not hasattr(step, "predict"):
        found = dict.fromkeys(columns, step.classes_)
    return found


def _sentences(vectorizer: Any) -> list[str]:
    """The vocabulary's own words and n-grams: alone, in pairs, in capitals, next to unknown and one-letter words, and
    in all that an analyzer treats apart: runs of blanks, line ends, punctuation, letters beyond ASCII, nothing."""
    words = sorted(map(str, vectorizer.vocabulary_))[:: max(1, len(vectorizer.vocabulary_) // 40)]
    pairs = [f"{a} {b}" for a, b in zip(words, reversed(words), strict=True)]
    around = [
        mark.join((a, b, a))
        for mark in _MARKS
        for a, b in itertools.islice(zip(words, words[1:] or words, strict=False), 2)
    ]
    return [
        *words, *pairs, *(word.upper() for word in words[:10]), *(f"{pair}, a zqx {pair}." for pair in pairs[:10]),
        *(f"{a} I {b}!" for a, b in itertools.pairwise(words[:11])), *around,
        *(f"{text} {word}" for text, word in zip(_ODD_TEXTS, itertools.cycle(words), strict=False)), *_ODD_TEXTS,
    ]  # fmt: skip


_MARKS = (
    "  ", "   ", "\t", "\n", "\r\n", " \n ", "\u00a0", "\u2003 ", ", ", ". ", "-", "_", "'", "' ", "/", "@", "#", "...",
    "\u2014", ' "', "\u00e9", "\u0301", "7", " 7 ", "\u00b2",
)  # fmt: skip
"""What stands between two words."""

_ODD_TEXTS = (
    "", " ", "   ", "\n", "\t\t", ".", "?!", "#", "##", "a", "\u00e9", "42", "3.14", "1e-5", "don't", "it's", "e-mail",
    "a_b", "x@y.org", "https://a.bc/d?e=f", "ÄRGER", "Straße", "NAÏVE café", "ΩΔ ωδ", "ДЖ дж", "한국어 문장",
    "日本語", "\u0939\u093f\u0928\u094d\u0926\u0940", "\U0001f642 :-)", "e\u0301te\u0301", "\u00a0a\u00a0b",
    "tab\tand\nline", " leading and trailing ", "UPPER lower MiXed", "100%", "(x)[y]{z}",
)  # fmt: skip
