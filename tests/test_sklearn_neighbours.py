"""Neighbours by any metric: where two stand at the same distance either may be taken, and nothing else is forgiven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, LocalOutlierFactor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.test_convert_sklearn import answers, proved, quiet
from workbench import compare, load_engine
from workbench.agreement import FLOAT32, Tally
from workbench.convert.proof import ask_native, hold_against
from workbench.frameworks.sklearn.convert import draft

IRIS, SPECIES = load_iris(return_X_y=True)
"""Measured in millimetres: many flowers are equally far from each other."""

GRID = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), axis=-1).reshape(-1, 3)
"""Where nearly every row has neighbours at the same distance."""
CORNERS = (GRID.sum(axis=1) > 4).astype(int)


@pytest.mark.parametrize(
    "model",
    [
        KNeighborsClassifier(metric="manhattan"),
        KNeighborsRegressor(metric="chebyshev", weights="distance"),
        NearestNeighbors(metric="manhattan"),
        LocalOutlierFactor(metric="manhattan", novelty=True),
        make_pipeline(
            VotingClassifier(
                [
                    ("near", KNeighborsClassifier(metric="manhattan", algorithm="brute")),
                    ("line", LogisticRegression(max_iter=500)),
                ],
                voting="soft",
            )
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_either_of_two_neighbours_at_the_same_distance_may_be_taken(model: Any, tmp_path: Path) -> None:
    agreement, made, _ = proved(model.fit(IRIS, SPECIES), tmp_path)
    assert agreement.within_tolerance and 0 < agreement.undecided < agreement.samples / 2
    if hasattr(model, "predict"):
        label = next(iter(answers(made, X=IRIS.astype(made.inputs[0].dtype)).values())).ravel()
        # Their own rows tie too, and 150 of them hardly ever decide a vote.
        assert np.mean(np.abs(label - model.predict(IRIS)) < 0.01) > 0.97


@pytest.mark.parametrize(
    "wrong",
    [
        KNeighborsClassifier(4, metric="manhattan").fit(GRID, CORNERS),
        KNeighborsClassifier(metric="chebyshev").fit(GRID, CORNERS),
        KNeighborsClassifier(metric="manhattan").fit(GRID, np.where(np.arange(64) == 20, 1 - CORNERS, CORNERS)),
    ],
    ids=["one neighbour less", "another metric", "one wrong label"],
)
def test_a_wrong_model_is_caught_where_nearly_every_row_ties(wrong: Any, tmp_path: Path) -> None:
    right = KNeighborsClassifier(metric="manhattan").fit(GRID, CORNERS)
    made, other = draft(right, progress=quiet), draft(wrong, progress=quiet)
    for model, agrees in ((made.model, True), (other.model, False)):
        onnx.save(model, tmp_path / "model.onnx")
        agreement, said = hold_against(ask_native(made, GRID), tmp_path / "model.onnx", made.tolerance)
        assert agreement.within_tolerance is agrees
    assert any("neighbours" in sentence for sentence in said)


@pytest.mark.parametrize(("share", "agrees"), [(0.6, True), (1.0, True), (0.4, False)])
def test_a_tie_forgives_no_more_than_it_makes(share: float, agrees: bool) -> None:
    tally, ones = Tally(FLOAT32), np.ones((1, 1))
    tally.add({"p": 0.8 * ones}, {"p": share * ones.astype(np.float32)}, {"x": ones}, ties={"p": 0.2 * ones})
    assert tally.agreement().within_tolerance is agrees and tally.swapped == agrees


def test_rows_of_zeros_have_cosine_distances_in_onnx_too(tmp_path: Path) -> None:
    model = NearestNeighbors(metric="cosine").fit(IRIS)
    agreement, made, _ = proved(model, tmp_path)
    assert agreement.within_tolerance
    nothing = np.array([[0, 0, 0, 0], [1e-20, 0, 0, 0]])
    _, distance = answers(made, X=nothing.astype(made.inputs[0].dtype)).values()
    np.testing.assert_allclose(distance, model.kneighbors(nothing)[0], atol=1e-6)  # of 1, in float32


def test_a_comparison_forgives_the_same_ties_and_says_how_many(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), KNeighborsRegressor(metric="manhattan"))
    wrong = make_pipeline(StandardScaler(), KNeighborsRegressor(6, metric="manhattan")).fit(GRID, CORNERS)
    onnx.save(draft(model.fit(GRID, CORNERS), progress=quiet, options={"dtype": "float64"}).model, tmp_path / "m.onnx")
    onnx.save(draft(wrong, progress=quiet, options={"dtype": "float64"}).model, tmp_path / "wrong.onnx")
    for name, agrees in (("m.onnx", True), ("wrong.onnx", False)):
        with load_engine(model) as native, load_engine(tmp_path / name) as ours:
            found = compare(native, ours, GRID, seconds=0.1, repeat=1, one_row=False)
        assert found.agreement.within_tolerance is agrees
        if agrees:
            assert found.agreement.undecided and any("neighbours" in sentence for sentence in found.warnings)
