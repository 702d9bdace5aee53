"""Every scikit-learn estimator that skl2onnx supports, converted and held against itself; and the traps on the way."""

from __future__ import annotations

import pickle
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.datasets import load_iris, make_blobs
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import RandomizedSearchCV, TunedThresholdClassifierCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from tests.corpus import fitted_estimators
from workbench.convert.check import check_file
from workbench.convert.draft import Draft
from workbench.convert.proof import ask_native, hold_against
from workbench.errors import BadInput, UnreadableFile, UnsupportedModel, WorkbenchError
from workbench.frameworks.sklearn.convert import draft, load
from workbench.frameworks.sklearn.mends import float32_below
from workbench.frameworks.sklearn.trees import splits

IRIS, SPECIES = load_iris(return_X_y=True)


def quiet(stage: str) -> None:
    pass


def proved(estimator: Any, folder: Path, sample: Any = None, **kwargs: Any) -> tuple[Any, Draft, list[str]]:
    """(agreement, the draft that gave it, the sentence on how it was mended), as `workbench.convert.work.settle`."""
    made = draft(estimator, sample=sample, progress=quiet, **kwargs)
    said: list[str] = []
    disagrees = None
    while True:
        path = folder / "model.onnx"
        onnx.save(made.model, path)
        with suppress(UnsupportedModel):
            check_file(path)
            agreement, _ = hold_against(ask_native(made, sample), path, made.tolerance)
            if agreement.within_tolerance:
                return agreement, made, said
            disagrees = disagrees or (agreement, made, said)
        if made.mend is None:
            break
        try:
            made, sentence = made.mend()
        except UnsupportedModel:
            break
        said = [sentence]
    assert disagrees is not None
    return disagrees


def answers(made: Draft, **rows: Any) -> dict[str, np.ndarray]:
    """ONNX Runtime's answers to rows already in the inputs' dtypes."""
    session = onnxruntime.InferenceSession(made.model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, rows), strict=True))


# --- every estimator ----------------------------------------------------------------------------------------------

UPSTREAM = {
    "DictVectorizer": ("takes dictionaries", "ONNX Runtime's DictVectorizer takes maps, which are no tensors"),
    "FeatureHasher": (
        "takes dictionaries",
        "its converter takes strings with a hash, not the dictionaries it was made for",
    ),
    "GaussianProcessClassifier": ("Solve", "its converter writes com.microsoft::Solve, which no ONNX Runtime has"),
}
"""Estimators skl2onnx lists as supported that cannot be used: (what is said, why it is upstream). Anything missing here
that fails is a regress; anything here that works again is progress: take it out."""

PARTS = 4
"""One is asked with every commit."""


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in range(1, PARTS))])
def test_every_estimator_skl2onnx_supports_agrees_with_its_onnx_form(
    part: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], record_testsuite_property: Any
) -> None:
    lines, failures, mended = [], {}, []
    estimators = {name: estimator for name, estimator, _, _ in fitted_estimators(part, PARTS)}
    assert len(estimators) >= 139 // PARTS
    for name, estimator in estimators.items():
        begun = time.perf_counter()
        try:
            agreement, made, said = proved(estimator, tmp_path)
        except WorkbenchError as error:
            failures[name] = str(error)
            lines.append(f"{name:31} {'fails':9} {str(error)[:150]}")
            continue
        if not agreement.within_tolerance:
            failures[name] = "disagrees"
        if said:
            mended.append(name)
        lines.append(
            f"{name:31} {'agrees' if agreement.within_tolerance else 'DISAGREES':9} {made.inputs[0].dtype:8} "
            f"{agreement.samples:5} samples  relative {agreement.max_rel:.1e}  labels {agreement.label_mismatches}  "
            f"{time.perf_counter() - begun:.2f} s"
        )
    heading = f"{len(lines)} estimators, {len(lines) - len(failures)} agree ({len(mended)} of them mended in float64)"
    table = "\n".join([heading, *lines, *(f"upstream: {name}: {UPSTREAM[name][1]}" for name in UPSTREAM)])
    with capsys.disabled():
        print("\n" + table)
    record_testsuite_property(f"sklearn_estimators_{part}", table)
    assert set(failures) == set(UPSTREAM) & estimators.keys()
    assert {name: said for name, said in failures.items() if UPSTREAM[name][0] not in said} == {}


# --- inputs from the estimator itself -------------------------------------------------------------------------------


def people() -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "age (years)": rng.integers(18, 90, 200).astype(float),
            "city": rng.choice(["Bonn", "Köln", "Aachen"], 200),
            "rooms": rng.integers(1, 5, 200),
            "income": rng.normal(3e4, 1e4, 200),
            "unused": rng.normal(size=200),
        }
    )
    frame.loc[::17, "income"] = np.nan
    return frame, np.where(frame["city"] == "Bonn", "stays", "moves")


def mixed_pipeline() -> Pipeline:
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["income", "age (years)"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["city"]),
            ("steps", OneHotEncoder(handle_unknown="ignore"), ["rooms"]),
            ("none", "drop", ["unused"]),
        ]
    )
    return Pipeline([("columns", columns), ("forest", RandomForestClassifier(10, random_state=0))])


def test_a_mixed_frame_gives_one_typed_input_per_column_named_as_in_the_frame(tmp_path: Path) -> None:
    frame, moves = people()
    agreement, made, _ = proved(mixed_pipeline().fit(frame, moves), tmp_path)
    floats = made.inputs[0].dtype
    assert [(info.name, info.dtype, info.shape) for info in made.inputs] == [
        ("age (years)", floats, ("N", 1)), ("city", "string", ("N", 1)), ("rooms", "int64", ("N", 1)),
        ("income", floats, ("N", 1)),
    ]  # fmt: skip
    assert agreement.within_tolerance and agreement.samples > 50
    assert [value.name for value in made.model.graph.input] == [info.name for info in made.inputs]


def test_the_users_frame_goes_in_as_it_is(tmp_path: Path) -> None:
    frame, moves = people()
    model = mixed_pipeline().fit(frame, moves)
    agreement, _, _ = proved(model, tmp_path, sample=frame.drop(columns="unused"))
    assert agreement.groups["given"]["samples"] == 200 and agreement.within_tolerance


def test_numbers_alone_are_one_matrix_also_from_a_frame_with_names(tmp_path: Path) -> None:
    frame = load_iris(as_frame=True).data
    columns = ColumnTransformer(
        [("a", StandardScaler(), ["petal width (cm)", "sepal length (cm)"])], remainder="passthrough"
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=500)).fit(frame, SPECIES)
    agreement, made, _ = proved(model, tmp_path, sample=frame)
    assert [(info.name, info.shape) for info in made.inputs] == [("X", ("N", 4))]
    assert agreement.within_tolerance


def test_all_columns_in_another_order_keep_that_order(tmp_path: Path) -> None:
    columns = ColumnTransformer([("turned", FunctionTransformer(), [3, 2, 1, 0])]).fit(IRIS)
    agreement, made, _ = proved(columns, tmp_path)
    assert agreement.within_tolerance
    rows = IRIS[:5].astype(np.float32)
    np.testing.assert_array_equal(next(iter(answers(made, X=rows).values())), rows[:, ::-1])


def test_a_mask_and_a_slice_choose_columns(tmp_path: Path) -> None:
    mask = np.array([True, False, False, True])
    columns = ColumnTransformer([("m", StandardScaler(), mask), ("s", "passthrough", slice(1, 3))]).fit(IRIS)
    assert proved(columns, tmp_path)[0].within_tolerance


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (["income", "rooms"], ["city"]),
        (slice(0, 2), slice("city", None)),
        ([True, True, False], [False, False, True]),
        (make_column_selector(dtype_include="number"), make_column_selector(dtype_exclude="number")),
    ],
    ids=["names", "slices", "masks", "selectors"],
)
def test_columns_are_found_however_they_were_chosen(numbers: Any, words: Any, tmp_path: Path) -> None:
    frame, moves = people()
    frame = frame[["income", "rooms", "city"]]
    filled = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    one = ColumnTransformer([("n", make_pipeline(SimpleImputer(), StandardScaler()), numbers), ("w", filled, words)])
    two = FeatureUnion([("n", ColumnTransformer([("n", SimpleImputer(), numbers)])), ("rest", one)])
    for columns in (one, two) if isinstance(numbers, list) and "rooms" in numbers else (one,):
        model = make_pipeline(columns, LogisticRegression(max_iter=500)).fit(frame, moves)
        agreement, made, _ = proved(model, tmp_path)
        assert agreement.within_tolerance and [info.name for info in made.inputs] == list(frame.columns)
        assert any("word nan: city" in note for note in made.notes)


def test_what_is_left_over_is_passed_through_or_transformed(tmp_path: Path) -> None:
    frame, moves = people()
    for rest in ("passthrough", StandardScaler()):
        columns = ColumnTransformer([("w", OneHotEncoder(), ["city"])], remainder=rest)
        model = make_pipeline(columns, LogisticRegression(max_iter=500))
        assert proved(model.fit(frame[["rooms", "city", "age (years)"]], moves), tmp_path)[0].within_tolerance


def test_truth_values_and_categories_of_a_frame_agree_and_dates_are_refused(tmp_path: Path) -> None:
    frame, moves = people()
    frame = frame[["rooms"]].assign(
        member=frame["income"] > 3e4, city=frame["city"].astype("category"), joined=pd.Timestamp("2020-01-01")
    )
    frame.loc[::2, "joined"] = pd.Timestamp("2021-01-01")
    words = OneHotEncoder()
    columns = ColumnTransformer([("w", words, ["city", "member"]), ("n", "passthrough", ["rooms"])])
    model = make_pipeline(columns, LogisticRegression(max_iter=500)).fit(frame, moves)
    for sample in (None, frame.drop(columns="joined")):
        assert proved(model, tmp_path, sample=sample)[0].within_tolerance
    columns = ColumnTransformer([("w", words, ["joined"]), ("n", "passthrough", ["rooms"])])
    with pytest.raises(UnsupportedModel, match="dates"):
        draft(make_pipeline(columns, LogisticRegression()).fit(frame, moves), progress=quiet)


@pytest.mark.parametrize("missing", [{}, {"encoded_missing_value": -3}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_missing_numbers_are_a_category_of_their_own(missing: dict[str, Any], dtype: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 4, (200, 2)).astype(float)
    rows[::7, 0] = np.nan
    model = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, **missing).fit(rows)
    agreement, _, _ = proved(model, tmp_path, sample=rows, options={"dtype": dtype})
    assert agreement.within_tolerance


def test_bins_as_columns_agree(tmp_path: Path) -> None:
    assert proved(KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf").fit(IRIS), tmp_path)[0].within_tolerance


def test_an_imputer_that_marks_missing_values_is_refused() -> None:
    rows = np.where(np.random.default_rng(0).random(IRIS.shape) < 0.1, np.nan, IRIS)
    with pytest.raises(UnsupportedModel, match="SimpleImputer with add_indicator"):
        draft(SimpleImputer(add_indicator=True).fit(rows), progress=quiet)


def test_the_estimator_is_left_as_it_was() -> None:
    frame, moves = people()
    model = mixed_pipeline().fit(frame, moves)
    before = pickle.dumps(model)
    draft(model, progress=quiet)
    assert pickle.dumps(model) == before


# --- what people ask for ---------------------------------------------------------------------------------------------


def test_probabilities_are_one_array_unless_zipmap_is_asked_for() -> None:
    model = LogisticRegression(max_iter=500).fit(IRIS, SPECIES)
    plain = draft(model, progress=quiet)
    assert "ZipMap" not in {node.op_type for node in plain.model.graph.node}
    rows = IRIS.astype(np.float32)
    assert answers(plain, X=rows)["probabilities"].shape == (150, 3)
    maps = draft(model, options={"zipmap": True}, progress=quiet)
    given = answers(maps, X=rows)["output_probability"]
    assert isinstance(given, list) and set(given[0]) == {0, 1, 2}


def test_neighbours_use_cdist_unless_told_not_to() -> None:
    model = KNeighborsClassifier().fit(IRIS, SPECIES)
    assert "CDist" in {node.op_type for node in draft(model, progress=quiet).model.graph.node}
    loop = {node.op_type for node in draft(model, options={"cdist": False}, progress=quiet).model.graph.node}
    assert "CDist" not in loop and "Scan" in loop


def test_the_opset_asked_for_is_kept_to() -> None:
    model = make_pipeline(StandardScaler(), RandomForestClassifier(3)).fit(IRIS, SPECIES)
    for opset in (11, 15, 18, 22):
        versions = {e.domain: e.version for e in draft(model, opset=opset, progress=quiet).model.opset_import}
        assert versions.get("", 0) <= opset
    with pytest.raises(BadInput, match="9 to 22"):
        draft(model, opset=40, progress=quiet)


def test_each_domain_is_imported_once() -> None:
    made = draft(make_pipeline(StandardScaler(), LinearRegression()).fit(IRIS, SPECIES), progress=quiet)
    domains = [entry.domain for entry in made.model.opset_import]
    assert len(domains) == len(set(domains))


@pytest.mark.parametrize("options", [{"zipmap": "columns"}, {"dtype": "float16"}, {"optim": "cdist"}])
def test_a_wrong_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"{next(iter(options))}"):
        draft(LinearRegression().fit(IRIS, SPECIES), options=options, progress=quiet)


def test_several_targets_give_an_array_each(tmp_path: Path) -> None:
    targets = np.stack([SPECIES, SPECIES % 2], axis=1)
    model = MultiOutputClassifier(LogisticRegression(max_iter=500)).fit(IRIS, targets)
    agreement, made, _ = proved(model, tmp_path)
    assert agreement.within_tolerance
    assert [out.name for out in made.model.graph.output] == ["label", "probabilities_0", "probabilities_1"]


def test_several_targets_of_a_forest_agree(tmp_path: Path) -> None:
    targets = np.stack([SPECIES, SPECIES % 2], axis=1)
    rows = np.where(np.random.default_rng(0).random(IRIS.shape) < 0.1, np.nan, IRIS)
    agreement, made, _ = proved(RandomForestClassifier(5, random_state=0).fit(rows, targets), tmp_path, sample=rows)
    assert agreement.within_tolerance and agreement.label_mismatches == 0
    shapes = [[d.dim_param or d.dim_value for d in out.type.tensor_type.shape.dim] for out in made.model.graph.output]
    assert shapes == [["N", 2], [2, "N", 3]]
    with pytest.raises(UnsupportedModel, match="MultiOutputClassifier"):
        draft(RandomForestClassifier(5).fit(IRIS, targets.astype(str)), progress=quiet)


def test_labels_of_quadratic_discriminants_are_one_per_row() -> None:
    made = draft(QuadraticDiscriminantAnalysis().fit(IRIS, SPECIES), progress=quiet)
    assert answers(made, X=IRIS.astype(np.float32))["label"].shape == (150,)


@pytest.mark.parametrize("labels", [np.array(["setosa", "versicolor", "virginica"])[SPECIES], SPECIES > 0])
def test_labels_of_text_and_of_truth_values_agree(labels: np.ndarray, tmp_path: Path) -> None:
    for model in (LogisticRegression(max_iter=500), SVC(), RandomForestClassifier(5, random_state=0), LinearSVC()):
        for options in ({}, {"dtype": "float64"}):
            if options and isinstance(model, LinearSVC):
                continue  # skl2onnx has no float64 form of its scores
            agreement, _, _ = proved(model.fit(IRIS, labels), tmp_path, options=options)
            assert agreement.within_tolerance and agreement.label_mismatches == 0


def test_a_search_is_converted_as_what_it_found(tmp_path: Path) -> None:
    search = RandomizedSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1]}, n_iter=2).fit(IRIS, SPECIES)
    assert proved(search, tmp_path)[0].within_tolerance


# --- trees: both sides of every threshold -------------------------------------------------------------------------


def forests() -> Iterator[Any]:
    yield RandomForestClassifier(8, random_state=0).fit(IRIS, SPECIES)
    yield RandomForestRegressor(8, random_state=0).fit(IRIS, IRIS[:, 0] * SPECIES)
    yield GradientBoostingRegressor(n_estimators=8, random_state=0).fit(IRIS, SPECIES)
    yield HistGradientBoostingClassifier(max_iter=8, random_state=0).fit(IRIS, SPECIES)
    yield HistGradientBoostingRegressor(max_iter=8, random_state=0).fit(IRIS, SPECIES)
    yield IsolationForest(n_estimators=8, random_state=0).fit(IRIS)
    yield BaggingClassifier(DecisionTreeClassifier(), 8, max_features=2, random_state=0).fit(IRIS, SPECIES)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_trees_agree_on_both_sides_of_every_threshold(dtype: str, tmp_path: Path) -> None:
    for forest in forests():
        agreement, made, said = proved(forest, tmp_path, options={"dtype": dtype})
        assert agreement.within_tolerance and agreement.label_mismatches == 0 and said == []
        rows = made.points(np.random.default_rng(0))  # type: ignore[misc]
        features, thresholds = splits(forest)
        asked = rows["X"]
        assert asked.dtype == dtype
        for feature, threshold in list(zip(features, thresholds, strict=True))[:50]:
            at = np.array(threshold).astype(dtype)
            below, above = np.nextafter(at, np.array([-np.inf, np.inf], dtype))
            assert {at.item(), below, above} <= set(asked[:, feature].tolist())


def test_a_large_forest_asks_a_bounded_number_of_rows() -> None:
    rows, classes = make_blobs(3000, centers=5, n_features=6, cluster_std=8, random_state=0)
    forest = RandomForestClassifier(60, random_state=0).fit(rows, classes)
    assert len(splits(forest)[0]) > 20_000
    asked = draft(forest, progress=quiet).points(np.random.default_rng(0))["X"]  # type: ignore[misc]
    assert 1500 < len(asked) <= 2100
    # Spread over all columns, not the first ones.
    assert min(len(np.unique(asked[:, column])) for column in range(6)) > 200


def test_thresholds_are_rounded_down_never_up() -> None:
    for threshold in np.random.default_rng(0).normal(0, 100, 2000):
        low = np.float32(float32_below(threshold))
        assert low <= threshold < np.nextafter(low, np.float32(np.inf))


def test_trees_after_a_scaler_flip_in_float32_and_are_mended_in_float64(tmp_path: Path) -> None:
    rows, classes = make_blobs(600, centers=4, n_features=5, cluster_std=6, random_state=1)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(30, random_state=0)).fit(rows, classes)
    fixed, _, _ = proved(model, tmp_path, options={"dtype": "float32"})
    assert not fixed.within_tolerance
    agreement, made, said = proved(model, tmp_path)
    assert agreement.within_tolerance and agreement.label_mismatches == 0
    assert len(said) == 1 and "float64" in said[0] and "threshold" in said[0]
    assert made.inputs[0].dtype == "float64"


def test_rows_that_rounding_moves_across_a_threshold_are_found_and_mended(tmp_path: Path) -> None:
    """HistGradientBoosting compares in float64: these rows lie between its threshold and the next float32."""
    model = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(IRIS, SPECIES)
    features, thresholds = splits(model)
    rows = np.tile(np.median(IRIS, axis=0), (2 * len(features), 1))
    for index, (feature, threshold) in enumerate(zip(features, thresholds, strict=True)):
        rows[2 * index : 2 * index + 2, feature] = np.nextafter(threshold, [-np.inf, np.inf])
    agreement, made, said = proved(model, tmp_path, sample=rows)
    assert agreement.within_tolerance and made.inputs[0].dtype == "float64" and len(said) == 1


def test_missing_values_go_the_trees_way(tmp_path: Path) -> None:
    rows = IRIS.copy()
    rows[np.random.default_rng(0).random(rows.shape) < 0.2] = np.nan
    for model in (
        DecisionTreeClassifier(random_state=0),
        RandomForestClassifier(8, random_state=0),
        HistGradientBoostingClassifier(max_iter=8),
    ):
        agreement, made, _ = proved(model.fit(rows, SPECIES), tmp_path, sample=rows)
        assert made.accepts_nan and agreement.within_tolerance and agreement.label_mismatches == 0


def test_categorical_splits_fail_by_name() -> None:
    rows = np.random.default_rng(0).integers(0, 4, (300, 2))
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features=[0]).fit(rows, rows[:, 0] % 2)
    with pytest.raises(UnsupportedModel, match=r"HistGradientBoosting.*categorical"):
        draft(model, progress=quiet)


# --- traps of the converter -----------------------------------------------------------------------------------------

TEXTS = [
    "The cat sat on the mat", "a dog, and THE cat", "I saw a bird over the mat", "dogs sat: the dog sat sat",
    "Ein Käse", "mat mat cat", "over the bird I saw a cat", "Ärger über Käse",
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (TfidfVectorizer, {}),
        (CountVectorizer, {"ngram_range": (1, 2)}),
        (TfidfVectorizer, {"stop_words": "english"}),
        (CountVectorizer, {"binary": True}),
        (TfidfVectorizer, {"ngram_range": (2, 2)}),
        (CountVectorizer, {"lowercase": False}),
        (TfidfVectorizer, {"sublinear_tf": True}),
    ],
)
def test_texts_agree(kind: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    agreement, made, _ = proved(kind(**settings).fit(TEXTS), tmp_path, sample=np.array(TEXTS, object).reshape(-1, 1))
    assert agreement.within_tolerance
    assert [(info.dtype, info.shape) for info in made.inputs] == [("string", ("N", 1))]


def test_stop_words_with_n_grams_fail_instead_of_giving_wrong_numbers() -> None:
    model = make_pipeline(TfidfVectorizer(stop_words="english", ngram_range=(1, 2)), LogisticRegression())
    with pytest.raises(UnsupportedModel, match=r"TfidfVectorizer.*stop words.*ngram_range"):
        draft(model.fit(TEXTS, [0, 1] * 4), progress=quiet)


@pytest.mark.parametrize(
    "model",
    [
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3)),
        TfidfVectorizer(strip_accents="unicode"),
        HashingVectorizer(n_features=16),
    ],
)
def test_text_steps_without_a_converter_fail_by_name(model: Any) -> None:
    with pytest.raises(UnsupportedModel, match=type(model).__name__):
        draft(make_pipeline(model, LogisticRegression()).fit(TEXTS, [0, 1] * 4), progress=quiet)


def test_texts_in_a_column_beside_numbers_agree(tmp_path: Path) -> None:
    frame = pd.DataFrame({"said": TEXTS * 5, "length": [float(len(text)) for text in TEXTS * 5]})
    columns = ColumnTransformer([("t", TfidfVectorizer(), "said"), ("n", StandardScaler(), ["length"])])
    model = make_pipeline(columns, LogisticRegression()).fit(frame, [0, 1] * 20)
    agreement, made, _ = proved(model, tmp_path, sample=frame)
    assert agreement.within_tolerance and [info.name for info in made.inputs] == ["said", "length"]


@pytest.mark.parametrize("voting", ["hard", "soft"])
def test_votes_agree(voting: str, tmp_path: Path) -> None:
    parts = [("l", LogisticRegression(max_iter=500)), ("t", DecisionTreeClassifier(max_depth=2, random_state=0))]
    model = VotingClassifier(parts, voting=voting, weights=[2, 1]).fit(IRIS, SPECIES)
    assert proved(model, tmp_path)[0].within_tolerance


def test_a_tuned_threshold_decides(tmp_path: Path) -> None:
    for labels in (SPECIES == 1, np.array(["no", "yes"])[(SPECIES == 1).astype(int)]):
        scoring = "balanced_accuracy"
        model = TunedThresholdClassifierCV(LogisticRegression(max_iter=500), scoring=scoring).fit(IRIS, labels)
        assert model.best_threshold_ != 0.5
        agreement, _, _ = proved(model, tmp_path)
        assert agreement.within_tolerance and agreement.label_mismatches == 0


@pytest.mark.parametrize(
    "model",
    [
        Normalizer("l1"),
        Normalizer("l2"),
        Normalizer("max"),
        PowerTransformer(),
        PowerTransformer("box-cox"),
        pytest.param(QuantileTransformer(n_quantiles=150), marks=pytest.mark.long),
    ],
)
def test_rows_of_zeros_and_missing_numbers_agree(model: Any, tmp_path: Path) -> None:
    positive = getattr(model, "method", "") == "box-cox"
    rows = np.vstack([np.full((3, 4), np.nan) if positive else np.zeros((3, 4)), IRIS])
    for options in ({}, {"dtype": "float64"}):
        assert proved(model.fit(IRIS), tmp_path, sample=rows, options=options)[0].within_tolerance


def test_many_quantiles_take_no_more_nodes_than_few() -> None:
    """skl2onnx's own converter writes some for each, and takes 20 s for 150."""
    rows = np.random.default_rng(0).normal(size=(2000, 3))
    few, many = (
        draft(QuantileTransformer(n_quantiles=count).fit(rows), progress=quiet).model.graph.node for count in (10, 1000)
    )
    assert len(many) == len(few) < 100


def test_the_distance_of_a_centre_to_itself_is_a_number(tmp_path: Path) -> None:
    for rows in (IRIS, IRIS.astype(np.float32)):
        model = KMeans(8, n_init=1, random_state=0).fit(rows)
        agreement, made, _ = proved(model, tmp_path, sample=model.cluster_centers_)
        assert agreement.within_tolerance and agreement.label_mismatches == 0
        assert [out.name for out in made.model.graph.output] == ["label", "scores"]


@pytest.mark.parametrize("kernel", ["rbf", "poly", "sigmoid", "linear"])
def test_support_vectors_agree_in_float64(kernel: str, tmp_path: Path) -> None:
    agreement, _, _ = proved(SVR(kernel=kernel).fit(IRIS / 10, SPECIES), tmp_path, options={"dtype": "float64"})
    assert agreement.within_tolerance


def test_a_step_of_ones_own_fails_by_name() -> None:
    model = make_pipeline(FunctionTransformer(np.log1p), LogisticRegression(max_iter=500)).fit(IRIS, SPECIES)
    with pytest.raises(UnsupportedModel, match="FunctionTransformer"):
        draft(model, progress=quiet)


def test_an_unfitted_estimator_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="LogisticRegression is not fitted"):
        draft(LogisticRegression(), progress=quiet)


def test_a_sample_of_another_width_is_refused() -> None:
    with pytest.raises(BadInput, match=r"3 columns.*fitted on 4"):
        draft(LinearRegression().fit(IRIS, SPECIES), sample=IRIS[:, :3], progress=quiet)


# --- files -----------------------------------------------------------------------------------------------------------


def test_joblib_pickle_and_skops_files_open(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    for model in (RandomForestClassifier(3), HistGradientBoostingClassifier(max_iter=3), KNeighborsClassifier()):
        model.fit(IRIS, SPECIES)
        files = {name: tmp_path / f"model.{name}" for name in ("joblib", "pickle", "skops")}
        joblib.dump(model, files["joblib"], compress=3)
        files["pickle"].write_bytes(pickle.dumps(model))
        skops.dump(model, files["skops"])
        for name, path in files.items():
            np.testing.assert_array_equal(load(path, name).predict(IRIS), model.predict(IRIS))


def test_files_without_an_estimator_say_so(tmp_path: Path) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump({"weights": IRIS}, path)
    with pytest.raises(UnsupportedModel, match="holds a dict"):
        load(path, "joblib")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UnreadableFile, match="cannot be opened"):
        load(path, "joblib")


def test_another_scikit_learn_is_told(tmp_path: Path) -> None:
    model = LinearRegression().fit(IRIS, SPECIES)
    path = tmp_path / "model.pkl"
    path.write_bytes(
        pickle.dumps(model).replace(b"_sklearn_version\x94\x8c\x051.9.1", b"_sklearn_version\x94\x8c\x051.4.0")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notes = draft(load(path, "pickle"), progress=quiet).notes
    assert any("1.4.0" in note for note in notes)


# --- gradient boosting of others --------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["xgboost", "lightgbm"])
def test_boosted_trees_of_others_agree_alone_and_in_a_pipeline(package: str, tmp_path: Path) -> None:
    boosting = pytest.importorskip(package, reason=f"{package} is not installed; the workbench does not depend on it")
    pytest.importorskip("onnxmltools", reason="onnxmltools is not installed; the workbench does not depend on it")
    short = {"xgboost": "XGB", "lightgbm": "LGBM"}[package]
    settings = {"n_estimators": 10} | ({"verbose": -1} if package == "lightgbm" else {})
    alone = getattr(boosting, f"{short}Regressor")(**settings).fit(IRIS, IRIS[:, 0])
    last = getattr(boosting, f"{short}Classifier")(**settings)
    for whole in (alone, make_pipeline(StandardScaler(), last).fit(IRIS, SPECIES)):
        assert proved(whole, tmp_path)[0].within_tolerance, whole


def test_forests_of_boosting_packages_are_means_and_their_trees_belong_to_the_right_class(tmp_path: Path) -> None:
    lightgbm, xgboost = (
        pytest.importorskip(package, reason="the workbench does not depend on it")
        for package in ("lightgbm", "xgboost")
    )
    forest = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "n_estimators": 5, "verbose": -1}
    scaled = make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(**forest))  # agrees in float64 alone
    for model, target in (
        (lightgbm.LGBMRegressor(**forest), IRIS[:, 0]),
        (scaled, SPECIES),
        (lightgbm.LGBMClassifier(**forest), SPECIES > 0),
        (xgboost.XGBRFRegressor(n_estimators=5), IRIS[:, 0]),
        (xgboost.XGBRFClassifier(n_estimators=5), SPECIES),
        (xgboost.XGBClassifier(n_estimators=3, num_parallel_tree=2), SPECIES),
    ):
        agreement, _, _ = proved(model.fit(IRIS, target), tmp_path)
        assert agreement.within_tolerance, model


def test_boosted_trees_of_several_targets_are_refused_with_the_way_out() -> None:
    xgboost = pytest.importorskip("xgboost", reason="the workbench does not depend on it")
    for strategy in ("one_output_per_tree", "multi_output_tree"):
        model = xgboost.XGBRegressor(n_estimators=2, multi_strategy=strategy).fit(IRIS, IRIS[:, :2])
        with pytest.raises(UnsupportedModel, match="MultiOutputRegressor"):
            draft(model, progress=quiet)
