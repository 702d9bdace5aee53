"""Ways a scikit-learn conversion is tried, and estimators that skl2onnx alone gets wrong or refuses: each agrees with
itself, or is refused with what to do."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomTreesEmbedding,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import RFE
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Matern, WhiteKernel
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import CategoricalNB, GaussianNB
from sklearn.neighbors import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    LocalOutlierFactor,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators

from tests.test_convert_sklearn import answers, proved, quiet
from workbench import detect
from workbench.errors import UnreadableFile, UnsupportedModel, WorkbenchError
from workbench.frameworks.sklearn.convert import draft, load

IRIS, SPECIES = load_iris(return_X_y=True)
SICK, WORSE = load_diabetes(return_X_y=True)
NEAR = IRIS + np.random.default_rng(0).normal(0, 0.05, IRIS.shape)
"""Of millimetres, many flowers are equally far from each other; of these none."""

GAPS = np.where(np.random.default_rng(1).random(IRIS.shape) < 0.15, np.nan, NEAR)


def operators(made: Any) -> set[str]:
    return {node.op_type for node in made.model.graph.node}


# --- one way after the other -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", [KNeighborsClassifier(metric="manhattan"), KNeighborsRegressor(metric="cosine"), KNeighborsClassifier(p=3)]
)
def test_distances_that_are_not_euclidean_are_computed_without_cdist(model: Any, tmp_path: Path) -> None:
    agreement, made, said = proved(model.fit(NEAR, SPECIES), tmp_path, sample=NEAR + 0.01)
    assert agreement.within_tolerance and "CDist" not in operators(made) and said == []


def test_outliers_by_another_metric_agree(tmp_path: Path) -> None:
    model = LocalOutlierFactor(novelty=True, metric="manhattan").fit(NEAR)
    assert proved(model, tmp_path, sample=NEAR)[0].within_tolerance


@pytest.mark.parametrize("kernel", [None, Matern(nu=0.5), Matern(nu=1.5) + WhiteKernel(), RBF() + WhiteKernel()])
def test_gaussian_processes_agree_by_the_operator_that_is_right(kernel: Any, tmp_path: Path) -> None:
    model = GaussianProcessRegressor(kernel).fit(IRIS[::3], SPECIES[::3])
    agreement, made, said = proved(model, tmp_path)
    assert agreement.within_tolerance
    # CDist's squares are too coarse where nothing evens out the noise, which is then said.
    assert ("CDist" in operators(made)) == (not said and isinstance(kernel, type(RBF() + WhiteKernel())))


def test_the_way_that_proved_is_told_where_it_is_not_the_first(tmp_path: Path) -> None:
    model = GaussianProcessRegressor().fit(IRIS, SPECIES)
    agreement, _, said = proved(model, tmp_path)
    assert agreement.within_tolerance and len(said) == 1 and "CDist" in said[0]
    agreement, _, said = proved(model, tmp_path, options={"cdist": False})
    assert agreement.within_tolerance and not any("CDist" in sentence for sentence in said)


# --- neighbours and imputers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KNeighborsClassifier, KNeighborsRegressor])
def test_neighbours_weigh_by_their_distance(kind: Any, tmp_path: Path) -> None:
    model = kind(weights="distance").fit(IRIS, SPECIES)
    for sample in (NEAR, IRIS):  # a neighbour at distance zero is the only one that counts
        assert proved(model, tmp_path, sample=sample)[0].within_tolerance


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_neighbours_within_a_radius_agree(weights: str, tmp_path: Path) -> None:
    classes = RadiusNeighborsClassifier(radius=3, weights=weights).fit(IRIS, SPECIES)
    assert proved(classes, tmp_path, sample=NEAR)[0].within_tolerance
    numbers = RadiusNeighborsRegressor(radius=3, weights=weights).fit(IRIS, IRIS[:, 0])
    assert proved(numbers, tmp_path, sample=NEAR)[0].within_tolerance


def test_rows_an_estimator_refuses_leave_the_others_to_be_asked(tmp_path: Path) -> None:
    model = RadiusNeighborsClassifier(radius=1).fit(IRIS, SPECIES)
    agreement, _, _ = proved(model, tmp_path)
    with pytest.raises(ValueError, match="No neighbors"):
        model.predict(1e4 * IRIS)
    assert agreement.within_tolerance and 0 < agreement.groups["points"]["samples"] <= 60


def test_an_imputer_by_neighbours_fills_rows_with_no_number_at_all(tmp_path: Path) -> None:
    nothing = np.vstack([GAPS, np.full((2, 4), np.nan)])
    for model in (KNNImputer(n_neighbors=3), make_pipeline(KNNImputer(), LogisticRegression(max_iter=500))):
        assert proved(model.fit(GAPS, SPECIES), tmp_path, sample=nothing)[0].within_tolerance


def test_a_number_may_stand_for_a_missing_one(tmp_path: Path) -> None:
    rows = np.where(np.isnan(GAPS), -999, GAPS)
    assert proved(SimpleImputer(missing_values=-999).fit(rows), tmp_path, sample=rows)[0].within_tolerance


# --- estimators within others -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inner", "classes"), [(LogisticRegression(max_iter=500), 3), (LinearSVC(), 2), (SVC(), 2)])
def test_calibrated_probabilities_of_a_pipeline_agree(inner: Any, classes: int, tmp_path: Path) -> None:
    target = np.minimum(SPECIES, classes - 1)
    for within in (inner, make_pipeline(StandardScaler(), inner)):
        model = CalibratedClassifierCV(within, cv=3).fit(IRIS, target)
        agreement, _, said = proved(model, tmp_path, sample=NEAR)
        assert agreement.within_tolerance and said == []


@pytest.mark.parametrize(
    ("inner", "classes"),
    [
        (GaussianNB(), 3),
        (make_pipeline(StandardScaler(), SVC()), 3),
        (RandomForestClassifier(5, random_state=0), 2),
        # What has no decision function, which skl2onnx asks of all but the one above.
        (ExtraTreesClassifier(5, random_state=0), 2),
        (make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_isotonic_calibration_agrees_between_its_thresholds(inner: Any, classes: int, tmp_path: Path) -> None:
    model = CalibratedClassifierCV(inner, method="isotonic", cv=2).fit(IRIS, np.minimum(SPECIES, classes - 1))
    assert proved(model, tmp_path, sample=NEAR)[0].within_tolerance


@pytest.mark.parametrize("out_of_bounds", ["nan", "clip", "raise"])
def test_an_isotonic_regression_is_lines_between_its_thresholds(out_of_bounds: Any, tmp_path: Path) -> None:
    # With a step between two numbers that are neighbours in float32.
    x = np.array([1, 2, np.nextafter(np.float32(2), np.float32(3)), 4, 6, 9], np.float64)
    model = IsotonicRegression(out_of_bounds=out_of_bounds).fit(x, np.array([0, 1, 5, 5, 6, 9.5]))
    agreement, made, _ = proved(model, tmp_path)
    assert agreement.within_tolerance and agreement.samples > len(x)
    assert proved(model, tmp_path, sample=x)[0].within_tolerance
    asked = np.array([[-1.0], [1.5], [3.0], [5.0], [7.5], [12.0]])
    (found,) = answers(made, X=asked.astype(made.inputs[0].dtype)).values()
    ends = {"clip": (0, 9.5)}.get(out_of_bounds, (np.nan, np.nan))
    np.testing.assert_allclose(found.ravel(), [ends[0], 0.5, 5, 5.5, 7.75, ends[1]], rtol=1e-6)  # of float32


@pytest.mark.parametrize(
    "model",
    [
        BaggingClassifier(make_pipeline(StandardScaler(), LogisticRegression()), 3, random_state=0),
        BaggingClassifier(make_pipeline(StandardScaler(), LogisticRegression()), 3, max_features=0.5, random_state=0),
        make_pipeline(RFE(LogisticRegression(max_iter=500)), DecisionTreeClassifier(random_state=0)),
    ],
    ids=["bagging", "bagging some columns", "elimination"],
)
def test_pipelines_and_selections_within_others_agree(model: Any, tmp_path: Path) -> None:
    assert proved(model.fit(IRIS, SPECIES), tmp_path, sample=NEAR)[0].within_tolerance


# --- boosting and encoders --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_boosted_counts_are_no_logarithms(loss: str, tmp_path: Path) -> None:
    model = HistGradientBoostingRegressor(loss=loss, max_iter=4).fit(SICK, WORSE)
    agreement, _, _ = proved(model, tmp_path, sample=SICK)
    assert agreement.within_tolerance and agreement.groups["given"]["samples"] == len(SICK)


def mixed() -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.normal(40, 12, 300), "city": rng.choice(["Bonn", "Köln", "Ulm", "Hof"], 300)})
    frame.loc[::9, "age"] = np.nan
    frame["flag"], frame["code"] = rng.random(300) < 0.4, rng.integers(0, 6, 300)
    return frame, (frame["city"].isin(["Ulm", "Bonn"]) ^ (frame["age"] > 40)).to_numpy().astype(int)


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    ],
    ids=["one-hot", "ordinal"],
)
def test_boosting_behind_coded_columns_agrees_on_rows_beside_its_thresholds(encoder: Any, tmp_path: Path) -> None:
    frame, target = mixed()
    columns = ColumnTransformer([("coded", encoder, ["city"])], remainder="passthrough")
    model = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=4)).fit(frame[["age", "city"]], target)
    assert proved(model, tmp_path, sample=frame[["age", "city"]])[0].within_tolerance


@pytest.mark.parametrize(
    ("columns", "settings"),
    [
        (["city"], {"handle_unknown": "infrequent_if_exist", "min_frequency": 70}),
        (["half"], {"handle_unknown": "infrequent_if_exist", "max_categories": 3}),
        (["city", "code"], {"handle_unknown": "infrequent_if_exist", "max_categories": 3}),
        (["half"], {"handle_unknown": "ignore", "max_categories": 3, "drop": "first"}),
        (["city", "code"], {"handle_unknown": "ignore", "max_categories": 3, "drop": "first"}),
        (["half"], {"handle_unknown": "ignore"}),
    ],
)
def test_categories_of_any_sort_agree_rare_ones_together(
    columns: list[str], settings: dict[str, Any], tmp_path: Path
) -> None:
    frame, _ = mixed()
    frame["half"] = frame["code"] / 2
    rows: Any = frame[columns]
    if len(columns) == 1:
        rows = rows.to_numpy(object if "city" in columns else float)
    model = OneHotEncoder(sparse_output=False, **settings).fit(rows)
    assert proved(model, tmp_path, sample=rows)[0].within_tolerance


@pytest.mark.parametrize("target", ["numbers", "two classes", "many classes"])
def test_means_of_the_target_agree_for_text_truth_values_and_numbers(target: str, tmp_path: Path) -> None:
    frame, classes = mixed()
    wanted = {
        "numbers": frame["code"] + frame["flag"] * 2.0,
        "two classes": classes,
        "many classes": np.array(list("abc"))[frame["code"].to_numpy() % 3],
    }[target]
    columns = ColumnTransformer([("means", TargetEncoder(random_state=0), ["city", "flag", "code"])])
    model = (
        columns.fit(frame, wanted) if target == "many classes" else make_pipeline(columns, Ridge()).fit(frame, wanted)
    )
    new = frame.assign(code=frame["code"].where(frame["code"] > 0, 99))
    assert proved(model, tmp_path, sample=new)[0].within_tolerance


def test_categories_given_as_numbers_with_a_point_are_cut_as_scikit_learn_cuts_them(tmp_path: Path) -> None:
    for rows in (IRIS, IRIS.astype(int)):
        model = CategoricalNB().fit(rows, SPECIES)
        agreement, made, _ = proved(model, tmp_path, sample=rows)
        assert agreement.within_tolerance and made.inputs[0].dtype == "float32"


def test_an_embedding_of_trees_agrees_although_it_is_sparse(tmp_path: Path) -> None:
    model = RandomTreesEmbedding(n_estimators=4, max_depth=3, random_state=0).fit(IRIS)
    assert proved(model, tmp_path)[0].within_tolerance and model.sparse_output


# --- what cannot be, and files ----------------------------------------------------------------------------------------


def test_what_cannot_become_onnx_is_told_with_the_way_out() -> None:
    frame, target = mixed()
    cities = frame[["age", "city"]].assign(city=frame["city"].astype("category"))
    refused = {
        "novelty=True": LocalOutlierFactor().fit(IRIS),
        "nothing to convert": DBSCAN().fit(IRIS),
        "OneHotEncoder or OrdinalEncoder": HistGradientBoostingClassifier(max_iter=3).fit(cities, target),
        "look neither ahead nor back": CountVectorizer(token_pattern=r"\w+(?=g)").fit(["a dog"]),
        "beyond ASCII": CountVectorizer(token_pattern=r"(?u)\b([a-z]{3,})\b").fit(["the dog"]),
    }
    for way, model in refused.items():
        with pytest.raises(UnsupportedModel, match=way):
            draft(model, progress=quiet)


@pytest.mark.parametrize("booster", ["gblinear", "dart"])
def test_boosters_that_are_no_plain_trees_are_told_by_name(booster: str) -> None:
    xgboost = pytest.importorskip("xgboost", reason="xgboost is not installed; the workbench does not depend on it")
    model = xgboost.XGBRegressor(booster=booster, n_estimators=3).fit(IRIS, SPECIES)
    with pytest.raises(UnsupportedModel, match=booster):
        draft(model, progress=quiet)


def test_a_container_with_an_estimator_says_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump({"columns": list("ab"), "model": Ridge().fit(IRIS, SPECIES)}, path)
    with pytest.raises(UnsupportedModel, match=r"a dict with Ridge under 'model'.*saved\['model'\]"):
        load(path, "joblib")


def test_the_version_in_a_file_is_told_before_and_where_it_fails(tmp_path: Path) -> None:
    model = RandomForestClassifier(3, random_state=0).fit(IRIS, SPECIES)
    path = tmp_path / "model.pkl"
    written = f"\x05{sklearn.__version__}".encode()
    old = pickle.dumps(model).replace(written, b"\x051.2.1")
    path.write_bytes(old)
    assert detect(path).format_detail == "scikit-learn 1.2.1"
    path.write_bytes(old[: len(old) * 3 // 4])
    with pytest.raises(UnreadableFile, match=rf"scikit-learn 1\.2\.1, and here is {sklearn.__version__}"):
        load(path, "pickle")
    path.write_bytes(pickle.dumps(DBSCAN().fit(IRIS)).replace(written, b"\x051.2.1"))
    with pytest.raises(UnsupportedModel, match=r"saved with scikit-learn 1\.2\.1"):
        draft(load(path, "pickle"), progress=quiet)


# --- all of them ------------------------------------------------------------------------------------------------------

OUT_OF_REACH = {
    "FeatureHasher": "dictionaries are no tensors",
    "GaussianProcessClassifier": "its converter is for two classes, with an operator that no engine has",
    "LocalOutlierFactor": "it has no answer for new rows, by default",
    "RadiusNeighborsRegressor": "of whole numbers: scikit-learn makes the lowest of them where there is no neighbour",
}
"""Of those that skl2onnx lists: why."""


@pytest.mark.long
def test_estimators_that_fit_on_flowers_prove_with_their_defaults(tmp_path: Path) -> None:
    from skl2onnx._supported_operators import sklearn_operator_name_map as listed

    failed, asked = {}, 0
    for name, kind in all_estimators():
        if kind not in listed:
            continue
        for arguments in ((), (LogisticRegression(max_iter=500),), (Ridge(),)):
            try:
                model = kind(*arguments).fit(NEAR, SPECIES)
                break
            except Exception:
                continue
        else:
            continue
        asked += 1
        try:
            agreement, _, _ = proved(model, tmp_path)
            says = "" if agreement.within_tolerance else "disagrees"
        except (WorkbenchError, AssertionError) as error:
            says = str(error) or "cannot be asked"
        if says:
            failed[name] = says
    assert asked >= 110 and set(failed) <= set(OUT_OF_REACH), failed
