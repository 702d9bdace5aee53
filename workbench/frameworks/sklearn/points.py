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
    floats = both_sides(near.astype(dtype), questions, rng)
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


def only_values(estimator: Any, signature: Signature, odd: Odd, dtype: str) -> Arrays:
    """{input name: its categories}, of inputs of one column that take no others."""
    found: Arrays = {}
    for place, ours in [] if signature.one and signature.width > 1 else list(signature.places.items()):
        values = _known_values(estimator, place)
        if (
            values is None
            or signature.flat
            or any(value is not None and value == value for value in odd.get(place, ()))
        ):
            continue
        info = signature.inputs(dtype)[ours]
        kept = [value for value in values if value is not None and value == value]
        found[info.name] = np.array(kept, object if info.dtype == "string" else info.dtype)
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
