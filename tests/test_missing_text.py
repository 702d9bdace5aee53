"""Text that is missing: the estimator sees it missing, the ONNX model by its name or not at all, and nobody is told
otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from workbench import BadInput, compare, convert, load_engine
from workbench.files.header import GAPS, read_header

DECKS = pd.DataFrame(
    {"fare": np.arange(60.0), "deck": np.array(["A", "B", np.nan] * 20, object), "sex": ["m", "f"] * 30}
)
LOST = DECKS["deck"].isna().to_numpy().astype(int)


def fitted(encoder: Any, decks: pd.DataFrame = DECKS) -> Any:
    columns = ColumnTransformer([("text", encoder, ["deck", "sex"]), ("number", "passthrough", ["fare"])])
    model = make_pipeline(columns, LogisticRegression(C=100, max_iter=2000)).fit(decks, LOST)
    assert (model.predict(decks) == LOST).all()
    return model


@pytest.fixture(scope="module")
def deck(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    model, path = fitted(OneHotEncoder(handle_unknown="ignore")), tmp_path_factory.mktemp("deck") / "deck.onnx"
    convert(model, path, sample=DECKS)
    return model, path


def compared(native: Any, path: Path, rows: Any, **options: Any) -> Any:
    with load_engine(native, threads=1) as theirs, load_engine(path, threads=1) as ours:
        return compare(theirs, ours, rows, seconds=0.1, repeat=2, threads=1, **options)


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("frame", ["fare", "deck", "sex"]), ("frame", ["sex", "lost", "fare", "deck"]),
        ("csv", ["deck", "sex", "fare"]), ("parquet", ["sex", "lost", "fare", "deck"]),
    ],
)  # fmt: skip
def test_both_sides_are_right_on_the_rows_the_estimator_is_right_on(
    kind: str, order: list[str], deck: tuple[Any, Path], tmp_path: Path
) -> None:
    rows: Any = DECKS.assign(lost=LOST)[order]
    asked: dict[str, Any] = {"targets": LOST}
    if kind != "frame":
        rows = rows.assign(lost=LOST)
        path = tmp_path / f"rows.{kind}"
        rows.to_csv(path, index=False) if kind == "csv" else rows.to_parquet(path)
        rows, asked = path, {"target": "lost"}
    found = compared(*deck, rows, **asked)
    assert found.native.accuracy == found.onnx.accuracy == 1.0 and found.agreement.within_tolerance
    assert found.agreement.samples == 60


ONE_HOT = OneHotEncoder(handle_unknown="ignore")
ORDINAL = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-9)


@pytest.mark.parametrize(
    ("encoder", "nothing"),
    [
        (ONE_HOT, np.nan), (ORDINAL, None), ("imputer", np.nan), ("imputer", None),
        pytest.param(ONE_HOT, None, marks=pytest.mark.long), pytest.param(ORDINAL, np.nan, marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_a_frame_that_one_door_takes_every_door_takes(encoder: Any, nothing: Any, tmp_path: Path) -> None:
    decks = DECKS.assign(deck=DECKS["deck"].astype(object).where(LOST == 0, nothing))
    if encoder == "imputer":
        encoder = make_pipeline(
            SimpleImputer(missing_values=nothing, strategy="constant", fill_value="none"), OneHotEncoder()
        )
    model, path = fitted(encoder, decks), tmp_path / "model.onnx"
    found = convert(model, path, sample=decks)
    assert found.agreement.groups["given"]["samples"] == 60
    with load_engine(path) as ours, load_engine(model) as theirs:
        np.testing.assert_array_equal(ours.run(decks)["label"], LOST)
        np.testing.assert_array_equal(theirs.run(decks)["label"], LOST)
    assert compared(model, path, decks, targets=LOST).onnx.accuracy == 1.0


def test_rows_the_graph_has_no_word_for_are_left_out_and_counted(deck: tuple[Any, Path], tmp_path: Path) -> None:
    estimator, path = deck
    assert [info.name for info in read_header(path).graph.inputs if info.gaps] == ["deck", "sex"]
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "mute.onnx")
    found = compared(estimator, tmp_path / "mute.onnx", DECKS, targets=LOST)
    assert found.agreement.samples == 40 and found.native.accuracy == found.onnx.accuracy == 1.0
    assert any(warning.startswith("20 rows in which text is missing were left out") for warning in found.warnings)
    with load_engine(tmp_path / "mute.onnx") as ours, pytest.raises(BadInput, match=r"'deck' takes text, and in row 3"):
        ours.run(DECKS)
    with pytest.raises(BadInput, match="In every row text is missing"):
        compared(estimator, tmp_path / "mute.onnx", DECKS[LOST == 1])


def test_documents_are_never_missing_and_such_rows_of_a_sample_are_left_out(tmp_path: Path) -> None:
    texts = np.array([["a cat"], [None], ["a dog sat"], [np.nan]], object)
    model = CountVectorizer().fit(["a cat sat", "a dog sat"])
    found = convert(model, tmp_path / "words.onnx", sample=texts)
    assert found.agreement.groups["given"]["samples"] == 2
    assert any(warning.startswith("2 rows in which text is missing") for warning in found.warnings)
    assert GAPS not in read_header(tmp_path / "words.onnx").metadata_props


def test_a_category_that_is_the_word_nan_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    decks = DECKS.assign(deck=DECKS["deck"].fillna("nan"))
    model = fitted(OneHotEncoder(handle_unknown="ignore"), decks)
    convert(model, tmp_path / "word.onnx")
    # The estimator has never seen a missing deck, and the graph would take one for the word.
    assert (model.predict_proba(DECKS) != model.predict_proba(decks)).any()
    found = compared(model, tmp_path / "word.onnx", DECKS, targets=LOST)
    assert found.agreement.samples == 40 and found.agreement.within_tolerance
