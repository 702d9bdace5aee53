"""What the proof of a scikit-learn conversion asks: a wrong model must not get past it, whatever its columns hold."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from workbench.agreement import Agreement
from workbench.convert.draft import Draft
from workbench.convert.proof import ask_native, hold_against
from workbench.errors import UnsupportedModel
from workbench.frameworks.sklearn.convert import draft
from workbench.frameworks.sklearn.texts import in_re2

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "floor": RNG.integers(0, 4, 120),
        "lift": RNG.random(120) < 0.5,
        "city": RNG.choice(["Bonn", "Köln", "Ulm"], 120),
        "size": RNG.normal(80, 30, 120).round(1),
        "rent": RNG.normal(900, 200, 120).round(),
    }
)
LETS = (FRAME["rent"] / FRAME["size"] + 3 * FRAME["lift"] + (FRAME["city"] == "Ulm") > 13).to_numpy().astype(int)
TEXTS = ["The cat sat on the mat", "a dog, and THE cat", "I saw a bird over the mat", "dogs sat: the dog sat sat"] * 3


def held(made: Draft, folder: Path, sample: Any = None) -> Agreement:
    onnx.save(made.model, folder / "model.onnx")
    return hold_against(ask_native(made, sample), folder / "model.onnx", made.tolerance)[0]


def made_of(estimator: Any, **kwargs: Any) -> Draft:
    return draft(estimator, progress=lambda stage: None, **kwargs)


def planted(made: Draft, attribute: str, change: Callable[[list[Any]], list[Any]]) -> None:
    """Change an attribute of the first node that has it."""
    found = next(a for node in made.model.graph.node for a in node.attribute if a.name == attribute)
    if found.type == onnx.AttributeProto.FLOAT:
        (found.f,) = change([found.f])
        return
    values = found.floats or found.ints or found.strings
    changed = change(list(values))
    del values[:]
    values.extend(changed)


def last_one_up(values: list[Any]) -> list[Any]:
    """The next float32 above one threshold."""
    index = int(np.argmax(values))
    return [*values[:index], float(np.nextafter(np.float32(values[index]), np.float32(np.inf))), *values[index + 1 :]]


def other_last(values: list[Any]) -> list[Any]:
    """Another category in place of the last one known."""
    return [*values[:-1], b"other" if isinstance(values[-1], bytes) else values[-1] + 7]


def encoded(encoder: Any, *columns: str) -> Pipeline:
    chosen = ColumnTransformer([("coded", encoder, list(columns)), ("numbers", StandardScaler(), ["size", "rent"])])
    return make_pipeline(chosen, LogisticRegression(max_iter=500)).fit(FRAME, LETS)


WRONG: dict[str, tuple[Callable[[], Any], str, Callable[[list[Any]], list[Any]]]] = {
    "float": (
        lambda: DecisionTreeClassifier(random_state=0).fit(FRAME[["size", "rent"]].to_numpy(), LETS),
        "nodes_values",
        last_one_up,
    ),
    "int": (lambda: encoded(OneHotEncoder(), "floor"), "cats_int64s", other_last),
    "bool": (lambda: encoded(OneHotEncoder(), "lift"), "cats_int64s", other_last),
    "text": (lambda: OneHotEncoder().fit(FRAME[["city"]]), "cats_strings", other_last),
    "a mixed table's text": (
        lambda: encoded(OneHotEncoder(handle_unknown="ignore"), "city"),
        "cats_strings",
        other_last,
    ),
    "a mixed table's unknown text": (
        lambda: encoded(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), "city"),
        "default_float",
        lambda _: [0],
    ),
    "words": (lambda: CountVectorizer().fit(TEXTS), "pool_strings", other_last),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_model_does_not_get_past_the_proof(kind: str, tmp_path: Path) -> None:
    estimator, attribute, change = WRONG[kind]
    made = made_of(estimator())
    assert held(made, tmp_path).within_tolerance
    planted(made, attribute, change)
    assert not held(made, tmp_path).within_tolerance


def test_swapped_columns_of_numbers_do_not_get_past_the_proof(tmp_path: Path) -> None:
    made = made_of(encoded(OneHotEncoder(), "city"))
    names = {"size": "rent", "rent": "size"}
    for node in made.model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
    assert not held(made, tmp_path).within_tolerance


def test_every_known_category_is_asked_and_missing_and_unknown_ones_where_they_are_taken(tmp_path: Path) -> None:
    words = np.array([[f"word {index}"] for index in range(300)] + [[None], [np.nan]], object)
    model = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(words)
    asked = made_of(model).points(np.random.default_rng(0))["X"].ravel().tolist()  # type: ignore[misc]
    assert {word for (word,) in words[:300]} <= set(asked)
    assert None in asked and any(word != word for word in asked) and "zqx" in asked
    refuses = made_of(OrdinalEncoder().fit(words[:300])).points(np.random.default_rng(0))["X"]  # type: ignore[misc]
    assert set(refuses.ravel()) == {word for (word,) in words[:300]}
    gaps = make_pipeline(SimpleImputer(), LogisticRegression()).fit([[0.0], [1], [np.nan]], [0, 1, 1])
    assert np.isnan(made_of(gaps).points(np.random.default_rng(0))["X"]).any()  # type: ignore[misc]


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lowercase", [True, False])
def test_characters_are_taken_apart_as_scikit_learn_does_it(lowercase: bool, tmp_path: Path) -> None:
    model = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), lowercase=lowercase).fit(TEXTS)
    asked = np.array([["a  brown   dog"], ["a\t\tdog"], ["a\ndog\n\n"], ["  "], [""], ["The\u00a0\u2003cat"]], object)
    assert held(made_of(model), tmp_path, asked).within_tolerance
    assert held(made_of(model), tmp_path).within_tolerance


def test_a_model_that_keeps_runs_of_blanks_does_not_get_past_the_proof(tmp_path: Path) -> None:
    made = made_of(CountVectorizer(analyzer="char").fit(TEXTS))
    (tokenizer,) = (node for node in made.model.graph.node if node.op_type == "Tokenizer")
    (pattern,) = (attribute for attribute in tokenizer.attribute if attribute.name == "tokenexp")
    pattern.s = b"."
    assert not held(made, tmp_path).within_tolerance


PATTERNS = (
    r"(?u)\b\w\w+\b", r"(?u)\b\w+\b", r"\S+", r"[\w\-]+", r"[A-Za-z]+", r"\w{3,}", r"\d+", r"[^\s,]+", r"\b\w{2,}\b",
    r"[\w']+",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_token_patterns_mean_in_onnx_what_they_mean_in_python(pattern: str, tmp_path: Path) -> None:
    texts = [*TEXTS, "Ärger über Käse 42 ٤٢", "한국어 문장 분류", "don't e-mail me@site.org", "x²_y\u00a0z"]
    assert held(made_of(CountVectorizer(token_pattern=pattern).fit(texts)), tmp_path).within_tolerance


def test_a_token_pattern_without_counterpart_is_refused_or_caught(tmp_path: Path) -> None:
    for pattern in (r"\w+(?=g)", r"(?u)\b([a-z]{3,})\b", r"(?i)\b[a-z]+\b"):
        try:
            made = made_of(CountVectorizer(token_pattern=pattern).fit(TEXTS))
        except UnsupportedModel:
            continue
        assert not held(made, tmp_path).within_tolerance, in_re2(pattern)


# --- columns that nobody uses -----------------------------------------------------------------------------------------


def tables() -> list[Any]:
    """The unused column "id" in every place, and the others in a few orders, one of them with every commit."""
    orders = [["city", "x", "z"], ["x", "city", "z"], ["z", "x", "city"]]
    return [
        pytest.param([*order[:place], "id", *order[place:]], marks=pytest.mark.long if (place + number) % 3 else [])
        for number, order in enumerate(orders)
        for place in range(4)
    ]


@pytest.mark.parametrize("columns", tables(), ids="-".join)
def test_a_column_nobody_uses_may_stand_anywhere(columns: list[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "id": np.arange(90.0),
            "city": rng.choice(list("abc"), 90),
            "x": rng.normal(size=90),
            "z": rng.normal(9, 3, 90),
        }
    )[columns]
    target = (frame["x"] + (frame["city"] == "a") > frame["z"] / 9).to_numpy().astype(int)
    chosen = ColumnTransformer([("n", "passthrough", ["z", "x"]), ("c", OneHotEncoder(), ["city"])])
    model = make_pipeline(chosen, RandomForestClassifier(4, random_state=0)).fit(frame, target)
    for sample in (None, frame):
        made = made_of(model, sample=sample)
        points = made.points(np.random.default_rng(0))  # type: ignore[misc]
        assert set(points) == {"city", "x", "z"} == {info.name for info in made.inputs}
        # Both sides of the thresholds of either column are asked of that column.
        trees = [tree.tree_ for tree in model[-1].estimators_]
        for feature, name in ((0, "z"), (1, "x")):
            asked = set(points[name].ravel().tolist())
            for tree in trees:
                thresholds = tree.threshold[tree.feature == feature].astype(np.float32)
                assert {float(value) for value in thresholds} <= asked
        assert held(made, tmp_path, sample).within_tolerance


@pytest.mark.long
def test_any_table_with_unused_columns_of_any_sort_agrees(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    kinds: dict[str, Callable[[], Any]] = {
        "text": lambda: rng.choice(["u", "v", "w"], 60), "number": lambda: rng.normal(50, 20, 60),
        "gaps": lambda: np.where(rng.random(60) < 0.2, np.nan, rng.normal(size=60)),
        "whole": lambda: rng.integers(0, 3, 60), "unused text": lambda: rng.choice(["p", "q"], 60),
        "unused number": lambda: rng.normal(1e6, 1, 60),
    }  # fmt: skip
    for order in list(permutations(kinds))[::11]:
        frame = pd.DataFrame({name: kinds[name]() for name in order})
        target = rng.integers(0, 2, 60)
        chosen = ColumnTransformer(
            [
                ("t", OneHotEncoder(handle_unknown="ignore"), ["text"]),
                ("w", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["whole"]),
                ("g", make_pipeline(SimpleImputer(), StandardScaler()), ["gaps"]),
                ("n", StandardScaler(), ["number"]),
            ]
        )
        model = make_pipeline(chosen, LogisticRegression()).fit(frame, target)
        for sample in (None, frame):
            assert held(made_of(model, sample=sample), tmp_path, sample).within_tolerance, order
