"""`workbench.compare`: two models asked the same; what agrees, what differs, and what is said where neither can be."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import Values, onnx_file
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from workers import workers

from workbench import BadInput, NeedsTrust, UnsupportedModel, compare, convert, detect, load_engine
from workbench.agreement import Tally, Tolerance
from workbench.compare import Comparison
from workbench.compare.sides import usable_cores
from workbench.errors import UnreadableFile, WorkbenchError
from workbench.sandbox import Cancelled, end_warm_worker
from workbench.show.answers import row_html
from workbench.show.charts import charts
from workbench.show.report import parts

IRIS, SPECIES = load_iris(return_X_y=True)
IRIS = IRIS.astype(np.float32)
NAMES = np.array(["setosa", "versicolor", "virginica"])
ROWS = np.random.default_rng(3).random((4, 8, 8, 3), np.float32)


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No process, and no file in a temporary folder of these tests' own."""
    end_warm_worker()  # of convert
    before = workers()
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)
        yield
    end_warm_worker()
    assert workers() <= before
    assert [path.name for path in folder.iterdir() if path.name.startswith("workbench")] == []


def asked(native: Any, onnx_side: Any, inputs: Any = None, **options: Any) -> Comparison:
    """A comparison with a race as short as it gets."""
    return compare(native, onnx_side, inputs, **{"seconds": 0.2, "repeat": 2, "threads": 1, **options})


def here(native: Any, onnx_side: Any, inputs: Any = None, **options: Any) -> Comparison:
    """The same in this process, where no worker has to start."""
    with load_engine(native, threads=1) as theirs, load_engine(onnx_side, "onnxruntime", threads=1) as ours:
        return asked(theirs, ours, inputs, **options)


# --- models --------------------------------------------------------------------------------------------------------


FLOAT = TensorProto.FLOAT


def graph(
    path: Path, nodes: list[Any], outputs: Values, inputs: Values | None = None, weights: dict[str, Any] | None = None
) -> Path:
    """An ONNX file, by default with an input ``x`` of four numbers a row."""
    return onnx_file(path, nodes, inputs or {"x": (FLOAT, ["n", 4])}, outputs, weights)


def times(path: Path, factor: Any, name: str = "y", shape: list[Any] | None = None) -> Path:
    """y = factor * x"""
    given = ["n", 4] if shape is None else shape
    weights = {"w": np.asarray(factor, np.float32)}
    return graph(
        path, [helper.make_node("Mul", ["x", "w"], [name])], {name: (FLOAT, given)}, {"x": (FLOAT, given)}, weights
    )


@pytest.fixture(scope="session")
def iris(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A classifier with names for labels, and its ONNX file."""
    estimator = LogisticRegression(max_iter=1000).fit(IRIS, NAMES[SPECIES])
    path = tmp_path_factory.mktemp("iris") / "iris.onnx"
    convert(estimator, path)
    return estimator, path


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Keras network's file, and its ONNX file."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    x = image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1")(x)
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(16, activation="relu", name="dense1")(x)
    x = layers.Dense(16, name="dense2")(x)
    x = layers.Softmax(name="softmax")(x)
    model = keras.Model(image, x)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "kernel" not in weight.name:
            weight.assign(rng.uniform(-0.5, 0.5, weight.shape))
    folder = tmp_path_factory.mktemp("network")
    model.save(folder / "network.keras")
    convert(model, folder / "network.onnx")
    return folder / "network.keras", folder / "network.onnx"


@pytest.fixture(scope="module")
def opened(network: tuple[Path, Path]) -> Iterator[tuple[Any, Path]]:
    """The network open in this process, where no worker has to start TensorFlow; and its ONNX file."""
    with load_engine(network[0], threads=1) as engine:
        yield engine, network[1]


# --- agreement -----------------------------------------------------------------------------------------------------


def test_an_estimator_and_its_file_agree_with_all_the_contract_names(iris: tuple[Any, Path]) -> None:
    estimator, path = iris
    said: list[str] = []
    found = asked(estimator, path, IRIS, targets=NAMES[SPECIES], progress=said.append, threads=None, one_row=True)
    assert found.agreement.within_tolerance and found.agreement.samples == 150 and not found.agreement.label_mismatches
    # Of the estimator itself; float32 moves no label of iris.
    assert found.native.accuracy == found.onnx.accuracy == estimator.score(IRIS, NAMES[SPECIES])
    assert found.native.threads == found.onnx.threads == found.environment["threads"] == usable_cores()
    for side in (found.native, found.onnx):
        assert side.peak_mib is not None and side.peak_mib > 20 and 0 < side.seconds.low <= side.seconds.median
    assert found.one_row is not None and found.rows == 150
    # Where others crowd the machine, the time for the race may end it first.
    assert (found.rounds, found.ended) == (2, "rounds") or (1 <= found.rounds <= 2 and found.ended == "budget")
    assert said[0] == "Loading LogisticRegression" and "Asking both sides 150 rows" in said
    data = json.loads(json.dumps(found.to_dict()))
    for name in ("native", "onnx"):
        assert set(data[name]) >= {"engine", "version", "seconds_median", "seconds_low", "seconds_high", "accuracy"}
    assert set(data["speedup"]) == {"median", "low", "high"}
    assert set(data["agreement"]) >= {"samples", "max_abs", "max_rel", "label_mismatches", "within_tolerance"}
    assert (
        set(data["environment"]) >= {"cpu", "threads", "versions"} and "onnxruntime" in data["environment"]["versions"]
    )
    text = str(found)
    assert text.startswith("Both sides agree: 150 rows asked") and "estimator.predict(x)" in text
    assert "iris.onnx" in text and "97" in text


def test_a_zipmap_with_names_for_labels_is_compared_by_them(iris: tuple[Any, Path], tmp_path: Path) -> None:
    from skl2onnx import to_onnx

    path = tmp_path / "zipmap.onnx"
    path.write_bytes(to_onnx(iris[0], IRIS[:1]).SerializeToString())
    found = here(iris[0], path, IRIS, targets=NAMES[SPECIES])
    assert found.agreement.within_tolerance and found.onnx.accuracy == found.native.accuracy
    # Other names in the file are other answers.
    path.write_bytes(path.read_bytes().replace(b"setosa", b"kitten"))
    found = here(iris[0], path, IRIS, targets=NAMES[SPECIES])
    assert not found.agreement.within_tolerance and found.agreement.label_mismatches == 50
    assert "'setosa' natively, 'kitten' in ONNX" in str(found)


def test_a_scale_inside_a_model_does_not_widen_what_its_probabilities_may_differ(tmp_path: Path) -> None:
    """The tolerance grows with an estimator's own numbers; here its intercept is a million, and its probabilities are
    not."""
    rows = np.c_[IRIS, np.full(150, 1000, np.float32)]
    estimator = LogisticRegression().fit(rows, SPECIES == 2)
    estimator.coef_[0, 4] = 0
    path = tmp_path / "m.onnx"
    convert(estimator, path)
    assert here(estimator, path, rows).agreement.within_tolerance
    estimator.coef_[0, 4] = -1000
    estimator.intercept_ = estimator.intercept_ + 1e6 + 0.2
    found = here(estimator, path, rows)
    assert not found.agreement.within_tolerance and 0.01 < found.agreement.max_abs < 0.1


def test_small_answers_are_held_to_their_own_size(tmp_path: Path) -> None:
    """1e-5 is nothing beside one, and everything beside a millionth."""
    native, other = times(tmp_path / "a.onnx", 1e-6), times(tmp_path / "b.onnx", 2e-6)
    found = here(native, other, IRIS)
    assert not found.agreement.within_tolerance
    assert here(native, native, IRIS).agreement.within_tolerance
    # What the person says counts as it is.
    assert here(native, other, IRIS, tolerance=Tolerance(0, 1e-4, "asked")).agreement.within_tolerance


def test_large_answers_are_held_to_their_own_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((50, 4)).astype(np.float32)
    estimator = LinearRegression().fit(x, 1e9 * x[:, 0] + 1e9)
    path = tmp_path / "m.onnx"
    convert(estimator, path)
    assert here(estimator, path, x).agreement.within_tolerance
    estimator.coef_ = estimator.coef_ * 1.01
    found = here(estimator, path, x)
    assert not found.agreement.within_tolerance and found.agreement.max_abs > 1e6


def test_an_output_without_partner_is_no_agreement(tmp_path: Path) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["z"])]
    both = graph(tmp_path / "both.onnx", nodes, {"y": (FLOAT, ["n", 4]), "z": (FLOAT, ["n", 4])})
    one = graph(tmp_path / "one.onnx", nodes, {"y": (FLOAT, ["n", 4])})
    found = here(both, one, IRIS)
    assert not found.agreement.within_tolerance and found.agreement.max_abs == 0
    assert "Output 'z' of the first model has no partner in the second model." in found.verdict
    # ONNX may give more than it was asked to, which is told.
    found = here(one, both, IRIS)
    assert found.agreement.within_tolerance
    assert "Output 'z' in the second model has no partner in the first model, so it was not compared." in found.warnings


def test_a_tie_elsewhere_excuses_no_label(tmp_path: Path) -> None:
    """Of two heads one never decides; what the other names is wrong all the same."""

    def heads(name: str, op_type: str) -> Path:
        nodes = [
            helper.make_node("Softmax", ["nothing"], ["half"], axis=1),
            helper.make_node("Mul", ["x", "zero"], ["none"]),
            helper.make_node("Gather", ["none", "two"], ["nothing"], axis=1),
            helper.make_node(op_type, ["x"], ["class"], axis=1, keepdims=0),
        ]
        outputs: Values = {"half": (FLOAT, ["n", 2]), "class": (TensorProto.INT64, ["n"])}
        weights = {"zero": np.float32(0), "two": np.array([0, 1])}
        return graph(tmp_path / name, [nodes[1], nodes[2], nodes[0], nodes[3]], outputs, weights=weights)

    most, least = heads("most.onnx", "ArgMax"), heads("least.onnx", "ArgMin")
    assert here(most, most, IRIS).agreement.within_tolerance
    found = here(most, least, IRIS)
    assert not found.agreement.within_tolerance and found.agreement.label_mismatches == 150
    assert any("two classes tie: too many" in note for note in found.warnings)


def test_whole_numbers_are_equal_or_not(tmp_path: Path) -> None:
    """20,001 and 20,002 are 5e-5 apart, and two labels."""
    rows = np.full((3, 4), 20_001, np.float32)
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT32)
    path = graph(tmp_path / "m.onnx", [node], {"y": (TensorProto.INT32, ["n", 4])})
    assert here(path, times(tmp_path / "same.onnx", 1), rows).agreement.within_tolerance
    assert not here(path, times(tmp_path / "other.onnx", 1 + 5e-5), rows).agreement.within_tolerance


def test_half_of_two_columns_is_no_agreement(tmp_path: Path) -> None:
    """A classifier's second column says all; of a regression's two targets one is missing."""
    two = graph(tmp_path / "two.onnx", [helper.make_node("Gather", ["x", "at"], ["y"], axis=1)],
                {"y": (FLOAT, ["n", 2])}, weights={"at": np.array([2, 3])})  # fmt: skip
    one = graph(tmp_path / "one.onnx", [helper.make_node("Gather", ["x", "at"], ["y"], axis=1)],
                {"y": (FLOAT, ["n", 1])}, weights={"at": np.array([3])})  # fmt: skip
    found = here(two, one, IRIS)
    assert not found.agreement.within_tolerance
    assert "Output 'y' has shape (150, 1) in the second model and (150, 2) in the first model." in found.verdict


def test_the_papers_models_agree_with_themselves_and_not_with_each_other(paper_models: Path) -> None:
    rows, targets = np.load(paper_models / "iris_X_test.npy"), np.load(paper_models / "iris_Y_test.npy")
    forest, regression = paper_models / "rf_iris.onnx", paper_models / "logreg_iris.onnx"
    for path in (forest, regression, paper_models / "knn_iris.onnx"):
        found = here(path, path, rows, targets=targets)
        assert found.agreement.within_tolerance and found.agreement.max_abs == 0
        assert found.native.accuracy == found.onnx.accuracy and (found.native.accuracy or 0) > 0.9
    found = here(forest, regression, rows, targets=targets)
    assert not found.agreement.within_tolerance and found.agreement.max_abs > 0.01
    assert found.verdict.startswith("Both sides differ: Output ")


# --- layers --------------------------------------------------------------------------------------------------------


def spoilt(path: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, folder / "spoilt.onnx")
    return folder / "spoilt.onnx"


def node_of(model: Any, op_type: str, name: str) -> Any:
    """By its name, or by that of a weight it reads."""
    return next(
        node
        for node in model.node
        if node.op_type == op_type and any(name in each for each in (node.name, *node.input))
    )


def stored(model: Any, node: Any, change: Callable[[Any], Any]) -> None:
    tensor = next(tensor for tensor in model.initializer if tensor.name == node.input[1])
    array = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def one_weight(model: Any) -> None:
    def change(kernel: Any) -> Any:
        kernel[2, 3, 0, 1] += 0.5
        return kernel

    stored(model, node_of(model, "Conv", "conv2"), change)


def softmax_twice(model: Any) -> None:
    last = model.output[0]
    model.node.append(helper.make_node("Softmax", [last.name], ["again"], name="again"))
    last.name = "again"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "layer", "cause"),
    [
        (one_weight, "conv2", "1 of 324 weights differs"),
        (softmax_twice, "softmax", "softmax twice"),
    ],
)
def test_a_planted_fault_is_found_and_its_layer_named(
    opened: tuple[Any, Path], tmp_path: Path, fault: Callable[[Any], None], layer: str, cause: str
) -> None:
    found = asked(opened[0], spoilt(opened[1], tmp_path, fault), ROWS, layers=True)
    assert not found.agreement.within_tolerance
    assert found.divergence is not None and found.divergence.layer == layer and cause in found.divergence.cause
    for text in (str(found), found._repr_html_()):
        assert layer in text and cause in text
    json.dumps(found.to_dict())


@pytest.mark.slow
def test_a_right_network_agrees_in_either_layout_and_no_layer_differs(
    network: tuple[Path, Path], opened: tuple[Any, Path]
) -> None:
    found = asked(network[0], network[1], ROWS, layers=True, targets=[0, 1, 2, 3])
    assert found.agreement.within_tolerance and found.divergence is None
    assert found.warnings == ("No layer differs beyond the tolerance.",)
    assert {call.call for call in found.native.calls} >= {"model.predict(x)", "model(x, training=False)", "tf.function"}
    assert found.native.call == min(found.native.calls, key=lambda call: call.seconds.median).call
    # Both take channels last.
    found = asked(*opened, ROWS.transpose(0, 3, 1, 2))
    assert found.agreement.within_tolerance and any("NCHW to NHWC" in sentence for sentence in found.warnings)


@pytest.mark.slow
def test_pictures_are_fed_channels_last_and_first_at_once(opened: tuple[Any, Path], tmp_path: Path) -> None:
    """A file that takes channels first, as PyTorch's do, beside Keras."""

    def first(model: Any) -> None:
        image = model.input[0]
        for each in model.node:
            each.input[:] = ["last" if name == image.name else name for name in each.input]
        model.node.insert(0, helper.make_node("Transpose", [image.name], ["last"], perm=[0, 2, 3, 1]))
        image.CopyFrom(helper.make_tensor_value_info(image.name, FLOAT, ["n", 3, 8, 8]))

    path = spoilt(opened[1], tmp_path, first)
    for rows in (ROWS, ROWS.transpose(0, 3, 1, 2)):
        found = asked(opened[0], path, rows)
        assert found.agreement.within_tolerance and found.agreement.max_abs < 1e-6


@pytest.mark.slow
def test_where_answers_differ_and_no_layer_does_it_is_said(opened: tuple[Any, Path], tmp_path: Path) -> None:
    """Another model's tolerance, so tight that what differs is rounding alone."""
    exact = Tolerance(relative=0, absolute=1e-12, reason="asked")
    path = spoilt(opened[1], tmp_path, lambda model: None)
    found = asked(opened[0], path, ROWS, layers=True, tolerance=exact)
    assert not found.agreement.within_tolerance
    assert found.divergence is not None or any(
        "No layer differs beyond the tolerance. The answers do" in note for note in found.warnings
    )


# --- models that are hard to compare -------------------------------------------------------------------------------


def test_a_model_with_a_random_part_is_told(tmp_path: Path) -> None:
    noise = helper.make_node("RandomNormalLike", ["x"], ["noise"])
    path = graph(tmp_path / "m.onnx", [noise, helper.make_node("Add", ["x", "noise"], ["y"])], {"y": (FLOAT, ["n", 4])})
    found = here(path, times(tmp_path / "right.onnx", 1), IRIS)
    assert not found.agreement.within_tolerance
    (said,) = (sentence for sentence in found.warnings if "random part" in sentence)
    assert said.startswith("onnxruntime gives different answers when it is asked the same twice")


def test_an_output_whose_shape_depends_on_the_data_is_compared(tmp_path: Path) -> None:
    def where(name: str, sign: str) -> Path:
        return graph(
            tmp_path / name,
            [helper.make_node(sign, ["x", "limit"], ["is"]), helper.make_node("NonZero", ["is"], ["y"])],
            {"y": (TensorProto.INT64, [2, "found"])},
            weights={"limit": np.float32(2)},
        )

    more, less = where("more.onnx", "Greater"), where("less.onnx", "Less")
    found = here(more, more, IRIS)
    assert found.agreement.within_tolerance and found.warnings == ()
    # More rows than are asked at once: they are, since what is found has no row for each.
    found = here(more, more, np.tile(IRIS, (500, 1)))
    assert found.agreement.within_tolerance and len(found.warnings) == 1 and "a timed call holds" in found.warnings[0]
    found = here(more, less, IRIS)
    assert not found.agreement.within_tolerance and "Output 'y' has shape (2, " in found.verdict
    with pytest.raises(BadInput, match="empty outputs, so there is nothing to compare"):
        here(more, more, np.zeros((3, 4), np.float32))


def test_rows_that_depend_on_each_other_are_no_random_part(tmp_path: Path) -> None:
    mean = helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1)
    path = graph(tmp_path / "m.onnx", [mean, helper.make_node("Sub", ["x", "mean"], ["y"])], {"y": (FLOAT, ["n", 4])})
    assert not here(path, path, IRIS).warnings


def test_texts_in_and_out(tmp_path: Path) -> None:
    def echo(name: str, words: list[str]) -> Path:
        node = helper.make_node(
            "LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_strings=["a", "b"], values_strings=words
        )
        text = (TensorProto.STRING, ["n", 1])
        return graph(tmp_path / name, [node], {"y": text}, {"x": text})

    rows = np.array([["a"], ["b"], ["a"]])
    left, right = echo("left.onnx", ["red", "blue"]), echo("right.onnx", ["red", "green"])
    assert here(left, left, rows, targets=["red", "blue", "red"]).native.accuracy == 1
    found = here(left, right, rows)
    assert not found.agreement.within_tolerance and found.agreement.label_mismatches == 1
    assert "row 1: 'blue' in the first model, 'green' in the second model" in found.verdict
    # Nobody gives rows: what the tables know is asked, and told.
    found = here(left, right)
    assert not found.agreement.within_tolerance and any("tables know" in note for note in found.warnings)


def test_not_a_number_is_passed_on_or_refused_in_a_sentence(iris: tuple[Any, Path], tmp_path: Path) -> None:
    rows = IRIS.copy()
    rows[3, 1] = np.nan
    with pytest.raises(BadInput, match=r"scikit-learn could not run the model on this input: Input X contains NaN"):
        here(*iris, rows)
    path = times(tmp_path / "m.onnx", 2)
    found = here(path, path, rows)
    assert found.agreement.within_tolerance
    assert any(note.startswith("Output 'y' is NaN in 1 of 600 places in the first model") for note in found.warnings)
    # Where one side alone has it, they differ.
    fixed = graph(
        tmp_path / "fixed.onnx",
        [helper.make_node("Max", ["x", "low"], ["m"]), helper.make_node("IsNaN", ["x"], ["gone"]),
         helper.make_node("Where", ["gone", "low", "m"], ["y"])],
        {"y": (FLOAT, ["n", 4])}, weights={"low": np.float32(-1)},
    )  # fmt: skip
    found = here(times(tmp_path / "one.onnx", 1), fixed, rows)
    assert not found.agreement.within_tolerance and "row 3 at [1]: nan in the first model, -1" in found.verdict
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["agreement"]["max_abs"] is None


def test_a_fixed_batch_size_is_asked_so_many_rows_at_a_time(tmp_path: Path) -> None:
    free, fixed = times(tmp_path / "free.onnx", 3), times(tmp_path / "fixed.onnx", 3, shape=[2, 4])
    for pair in ((free, fixed), (fixed, free), (fixed, fixed)):
        found = here(*pair, IRIS, one_row=True)
        assert found.agreement.within_tolerance and found.agreement.samples == 150 and found.rows == 2
        assert found.one_row is None and any("a timed call holds 2" in note for note in found.warnings)
    with pytest.raises(BadInput, match="takes 2 rows at a time here, and 149 are not a multiple"):
        here(free, fixed, IRIS[1:])
    with pytest.raises(BadInput, match="have no rows"):
        here(free, fixed, IRIS[:0])


def test_an_input_that_all_rows_share_is_given_whole(tmp_path: Path) -> None:
    """A number without axes, and a list that is no batch."""

    def scaled(name: str, sign: str) -> Path:
        nodes = [helper.make_node("Mul", ["x", "by"], ["m"]), helper.make_node(sign, ["m", "plus"], ["y"])]
        inputs: Values = {"x": (FLOAT, ["n", 4]), "by": (FLOAT, []), "plus": (FLOAT, [4])}
        return graph(tmp_path / name, nodes, {"y": (FLOAT, ["n", 4])}, inputs)

    left, right = scaled("left.onnx", "Add"), scaled("right.onnx", "Sub")
    given = {"x": IRIS, "by": np.float32(2), "plus": np.ones(4, np.float32)}
    found = here(left, left, given, one_row=True)
    assert found.agreement.within_tolerance and found.agreement.samples == 150
    assert not here(left, right, given, layers=True).agreement.within_tolerance


def test_a_model_that_takes_no_single_row_is_timed_without(tmp_path: Path) -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    path = graph(tmp_path / "m.onnx", [node], {"y": (FLOAT, None)}, weights={"shape": np.array([150, 2, 2])})
    for ask in (here, asked):
        found = ask(path, path, IRIS, one_row=True)
        assert found.agreement.within_tolerance and found.one_row is None
        assert any(note.startswith("Single rows were not timed: onnxruntime answers, but") for note in found.warnings)


def test_sequences_of_the_same_numbers_cut_otherwise_differ(tmp_path: Path) -> None:
    def cut(name: str, *sizes: int) -> Path:
        node = helper.make_node("SplitToSequence", ["x", "sizes"], ["y"], axis=0)
        path = graph(tmp_path / name, [node], {}, weights={"sizes": np.array(sizes)})
        model = onnx.load(path)
        model.graph.output.append(helper.make_tensor_sequence_value_info("y", FLOAT, None))
        onnx.save(model, path)
        return path

    left, right = cut("left.onnx", 60, 90), cut("right.onnx", 70, 80)
    assert here(left, left, IRIS).agreement.within_tolerance
    assert not here(left, right, IRIS).agreement.within_tolerance


def test_one_number_for_all_rows_is_compared(tmp_path: Path) -> None:
    def total(name: str, op_type: str) -> Path:
        return graph(tmp_path / name, [helper.make_node(op_type, ["x"], ["y"], keepdims=0)], {"y": (FLOAT, [])})

    left, right = total("left.onnx", "ReduceL1"), total("right.onnx", "ReduceL2")
    assert here(left, left, IRIS).agreement.within_tolerance
    assert not here(left, right, IRIS).agreement.within_tolerance


def test_labels_that_are_numbers_with_a_point_are_labels(tmp_path: Path) -> None:
    from sklearn.tree import DecisionTreeClassifier

    estimator = DecisionTreeClassifier(max_depth=2).fit(IRIS, SPECIES * 1.0)
    path = tmp_path / "m.onnx"
    convert(estimator, path)
    found = here(estimator, path, IRIS, targets=SPECIES)
    assert found.agreement.within_tolerance and found.native.accuracy == found.onnx.accuracy
    assert found.native.accuracy == estimator.score(IRIS, SPECIES)


def test_a_weight_in_the_file_that_names_another_one_too_is_read_from_the_file(tmp_path: Path) -> None:
    """ONNX Runtime takes the numbers that are there; left in the file (`lean`), they must not become the other's."""
    secret = tmp_path / "secret"
    secret.write_bytes(np.full(1 << 15, 7, np.float32).tobytes())
    path = times(tmp_path / "m.onnx", np.full(1 << 15, 3), shape=["n", 1 << 15])
    model = onnx.load(path)
    model.graph.initializer[0].external_data.add(key="location", value="secret")
    path.write_bytes(model.SerializeToString())
    rows = np.ones((2, 1 << 15), np.float32)
    for lean in (True, False):
        with load_engine(path, lean=lean) as engine:
            np.testing.assert_array_equal(engine.run(rows)["y"], 3 * rows)


def test_hostile_names_reach_neither_the_page_nor_a_line_of_their_own(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>\n\x1b[31mBoth sides agree"
    bad, other = times(tmp_path / "<b>bad.onnx", 1, name), times(tmp_path / "other.onnx", 2, name)
    found = here(bad, other, IRIS)
    page = found._repr_html_()
    assert "<script>alert" not in page and "<b>bad.onnx" not in page and "&lt;script&gt;" in page
    text = str(found)
    assert "\x1b" not in text and "\nBoth" not in text.partition("\n")[2]
    assert found.verdict.startswith("Both sides differ")


def test_a_spiking_network_that_rounding_moves_at_will_is_not_excused_by_it() -> None:
    """Rows count neither way that differ no more than the native side does under rounding, unless that is all."""
    from workbench.compare.verdict import displaced, held_together

    native, other = np.zeros((10, 3), np.float32), np.full((10, 3), 0.5, np.float32)
    x, exact = {"x": np.zeros((10, 1), np.float32)}, Tolerance(0, 1e-5, "asked")
    strictly = held_together(({"y": native}, {"y": other}), x, Tally(exact), [])
    told: list[str] = []
    found, _ = displaced(strictly, ({"y": native}, {"y": other}), [{"y": native + 1}], x, Tally(exact), told)
    assert not found.within_tolerance and "10 of 10 rows" in told[0]
    # A step's worth, in two rows.
    few = np.where(np.arange(10)[:, None] < 2, other, native)
    moved = [{"y": native + np.float32(0.5)}]
    found, _ = displaced(strictly, ({"y": native}, {"y": few}), moved, x, Tally(exact), told)
    assert found.within_tolerance and found.undecided == 2


# --- inputs, targets, and what is refused ----------------------------------------------------------------------------


def test_inputs_that_do_not_fit_are_told_in_a_sentence(iris: tuple[Any, Path], tmp_path: Path) -> None:
    two: Values = {"a": (FLOAT, ["n", 4]), "b": (FLOAT, ["n", 4])}
    path = graph(tmp_path / "m.onnx", [helper.make_node("Add", ["a", "b"], ["y"])], {"y": (FLOAT, ["n", 4])}, two)
    for given, match in (
        ({"a": IRIS}, "'b' is missing"),
        ({"a": IRIS, "b": IRIS, "c": IRIS}, "no input 'c'"),
        ([IRIS, IRIS, IRIS], "3 arrays were given"),
        (IRIS, "One array was given"),
        ({"a": IRIS, "b": IRIS[:, :3]}, r"takes shape \(any, 4\), but \(150, 3\) was given"),
    ):
        with pytest.raises(BadInput, match=match):
            here(path, path, given)
    for given, match in (
        (IRIS[:0], "have no rows"),
        (IRIS[:, :3], r"takes shape \(any, 4\), but \(150, 3\) was given"),
        (NAMES[SPECIES], "text was given"),
    ):
        with pytest.raises(BadInput, match=match):
            here(*iris, given)
    with pytest.raises(BadInput, match="threads is a whole number from 1"):
        here(*iris, IRIS, threads=0)
    with pytest.raises(BadInput, match="repeat is a whole number from 1"):
        here(*iris, IRIS, repeat=0)


def test_every_option_is_shown_and_one_that_is_none_is_told() -> None:
    import inspect

    shown = inspect.signature(compare).parameters
    assert list(shown)[:3] == ["native", "onnx", "inputs"] and {"targets", "repeat", "progress", "trust"} <= set(shown)
    assert all(f"{name}" in (compare.__doc__ or "") for name in shown)
    with pytest.raises(TypeError, match="no option 'row'; did you mean 'rows'"):
        compare("a", "b", row=3)


def test_targets_count_once_for_each_row_and_are_checked_before_any_work(iris: tuple[Any, Path]) -> None:
    said: list[str] = []
    with pytest.raises(BadInput, match="149 targets were given for 150 rows"):
        here(*iris, IRIS, targets=SPECIES[1:], progress=said.append)
    assert not [sentence for sentence in said if "Asking" in sentence]
    with pytest.raises(BadInput, match="targets have different lengths"):
        here(*iris, IRIS, targets=[[1], [2, 3]])
    with pytest.raises(BadInput, match="named by target='species'"):
        here(*iris, IRIS, targets="species")
    found = here(*iris, IRIS, targets=SPECIES)
    # Numbers of columns, and one-hot, mean the same as names.
    assert found.native.accuracy == found.onnx.accuracy == iris[0].score(IRIS, NAMES[SPECIES])
    assert here(*iris, IRIS, targets=np.eye(3)[SPECIES]).native.accuracy == found.native.accuracy
    assert here(*iris, IRIS, targets=SPECIES / 3).native.accuracy is None


def test_names_say_nothing_of_a_model_that_numbers_its_classes(tmp_path: Path) -> None:
    path = times(tmp_path / "m.onnx", 1)
    assert here(path, path, IRIS, targets=NAMES[SPECIES]).native.accuracy is None
    assert here(path, path, IRIS, targets=IRIS.argmax(axis=1)).native.accuracy == 1


def test_without_inputs_rows_are_found_or_made_up(iris: tuple[Any, Path], tmp_path: Path) -> None:
    found = here(*iris)
    assert found.agreement.within_tolerance and any("No inputs were given" in note for note in found.warnings)
    path = times(tmp_path / "m.onnx", 2, shape=["n", 5, 7])
    found = here(path, path)
    assert found.agreement.samples > 1 and any("random numbers from 0 to 1" in note for note in found.warnings)


class Explosive:
    def __reduce__(self) -> Any:
        return os.system, ("touch exploded",)


def test_a_file_that_runs_code_needs_trust_and_a_strange_one_a_sentence(iris: tuple[Any, Path], tmp_path: Path) -> None:
    bomb, mine = tmp_path / "bomb.pkl", tmp_path / "mine.pkl"
    bomb.write_bytes(pickle.dumps(Explosive()))
    mine.write_bytes(pickle.dumps(iris[0]))
    with load_engine(iris[0], threads=1) as native, load_engine(iris[1], threads=1) as other:
        with pytest.raises(NeedsTrust, match=r"bomb\.pkl"):
            asked(bomb, other, IRIS)
        assert asked(mine, other, IRIS, trust=True).agreement.within_tolerance
        assert not Path("exploded").exists()
        (tmp_path / "text.onnx").write_text("not a model")
        with pytest.raises(UnreadableFile, match=r"nowhere\.onnx"):
            asked(native, tmp_path / "nowhere.onnx", IRIS)
        with pytest.raises((UnsupportedModel, UnreadableFile), match=r"text\.onnx"):
            asked(native, tmp_path / "text.onnx", IRIS)
        with pytest.raises(BadInput, match="was given an object of type dict"):
            asked({}, other, IRIS)
        with pytest.raises(UnsupportedModel, match="is not fitted"):
            asked(LogisticRegression(), other, IRIS)


def test_two_different_models_are_told_to_be(iris: tuple[Any, Path], tmp_path: Path) -> None:
    words = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.STRING)
    path = graph(tmp_path / "m.onnx", [words], {"y": (TensorProto.STRING, ["n", 4])})
    with pytest.raises(BadInput, match=r"No output of the first model \(y\) fits one of the second model \(z\)"):
        here(path, times(tmp_path / "other.onnx", np.ones((3, 1, 1)), "z"), IRIS)
    assert not here(path, times(tmp_path / "other.onnx", 1, "z"), IRIS).agreement.within_tolerance
    found = here(iris[0], times(tmp_path / "third.onnx", 1), IRIS)
    assert not found.agreement.within_tolerance


# --- live objects, ends --------------------------------------------------------------------------------------------


def test_an_open_engine_stays_open_and_its_threads_are_not_claimed(iris: tuple[Any, Path]) -> None:
    with load_engine(iris[0]) as engine:
        found = asked(engine, iris[1], IRIS)
        assert found.agreement.within_tolerance and len(engine.run(IRIS)["label"]) == 150
    assert found.environment["threads"] is None and found.native.peak_mib is None
    assert any(note.startswith("Not the same threads on both sides: sklearn with") for note in found.warnings)
    with pytest.raises(WorkbenchError, match="is closed; load it again"):
        asked(engine, iris[1], IRIS)


def test_a_nengo_network_and_its_file_agree(tmp_path: Path) -> None:
    import nengo

    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node(np.zeros(2), label="x")
        ensemble = nengo.Ensemble(20, 2)
        nengo.Connection(stimulus, ensemble, synapse=None)
        nengo.Probe(ensemble.neurons, label="spikes")
    convert(net, tmp_path / "net.onnx")
    found = asked(net, tmp_path / "net.onnx", np.full((3, 2), 0.5, np.float32))
    assert found.native.engine == "nengo" and found.agreement.samples == 3
    # What the probe came to, not its whole way there.
    assert found.answers is not None and found.answers.outputs[0].native.shape == (3, 20)
    assert found.agreement.within_tolerance


@pytest.mark.parametrize("chaotic", [True, False])
def test_rows_whose_own_spikes_a_rounding_moves_as_far_are_said_to_tell_nothing(chaotic: bool, tmp_path: Path) -> None:
    """Chains of Izhikevich neurons, right and yet apart after 300 steps; and a wrong file of a chain that is stable."""
    import nengo

    neurons = nengo.Izhikevich() if chaotic else nengo.LIF()
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node(np.zeros(1), label="x")
        first, second = (nengo.Ensemble(20, 1, neuron_type=neurons, label=name) for name in "ab")
        nengo.Connection(stimulus, first, synapse=None)
        nengo.Connection(first, second)
        nengo.Probe(second.neurons, label="spikes")
    convert(net, tmp_path / "net.onnx")
    if not chaotic:
        model = onnx.load(tmp_path / "net.onnx")
        (bias,) = (each for each in model.graph.initializer if each.name == "b.bias")
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.5), bias.name))
        onnx.save(model, tmp_path / "net.onnx")
    rows = np.random.default_rng(0).uniform(-1, 1, (8, 300, 1)).astype(np.float32)
    found = asked(net, tmp_path / "net.onnx", rows)
    assert not found.agreement.within_tolerance
    assert any("cannot tell right from wrong" in each for each in found.warnings) == chaotic


@pytest.mark.slow
def test_the_papers_spiking_network_agrees_on_ten_digits(paper_models: Path) -> None:
    path = paper_models / "lenet-1_snn.onnx"
    digits, targets = (np.load(paper_models / f"mnist_{name}_test_10.npy") for name in "XY")
    params = paper_models / "lenet-1_snn_params.npz"
    with load_engine(path, "onnxruntime", params=params, threads=1) as ours:
        found = asked(path, ours, digits, targets=targets, engines=("nengo_dl", None), params=params, repeat=1)
    assert (found.native.engine, found.agreement.samples) == ("nengo_dl", 10)
    assert found.agreement.within_tolerance and found.native.accuracy == found.onnx.accuracy == 1


UNRULY = """
import ctypes, warnings
from sklearn.linear_model import LinearRegression

class Crashing(LinearRegression):
    def predict(self, x):
        ctypes.string_at(0)

class Talkative(LinearRegression):
    def predict(self, x):
        print("hello")
        warnings.warn("hello")
        return super().predict(x)

class Grumpy(LinearRegression):
    def predict(self, x):
        if len(x) > 2:
            raise RuntimeError("not\\nin the mood")
        return super().predict(x)
"""


@pytest.fixture
def unruly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module with estimators that misbehave."""
    (tmp_path / "unruly.py").write_text(UNRULY)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("unruly")


def test_an_estimator_that_crashes_raises_or_prints(
    unruly: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    right = LinearRegression().fit(IRIS, SPECIES)
    convert(right, tmp_path / "m.onnx")
    capfd.readouterr()
    with load_engine(tmp_path / "m.onnx", threads=1) as other:
        with pytest.raises(WorkbenchError, match=r"Crashing crashed its process \(Segmentation fault\)"):
            asked(unruly.Crashing().fit(IRIS, SPECIES), other, IRIS)
        with pytest.raises(WorkbenchError, match=r"scikit-learn could not run the model on this input: not\."):
            asked(unruly.Grumpy().fit(IRIS, SPECIES), other, IRIS)
        assert asked(unruly.Talkative().fit(IRIS, SPECIES), other, IRIS).agreement.within_tolerance
    assert capfd.readouterr() == ("", "")


def test_a_side_that_takes_too_much_memory_is_one_sentence(tmp_path: Path) -> None:
    node = helper.make_node("ConstantOfShape", ["size"], ["y"])
    path = graph(tmp_path / "big.onnx", [node], {"y": (FLOAT, None)}, {"size": (TensorProto.INT64, [1])})
    with pytest.raises(WorkbenchError, match=r"Running big\.onnx used .* MiB of memory, more than the 600 MiB"):
        asked(path, path, np.array([1 << 29]), memory_mib=600)
    with pytest.raises(WorkbenchError, match=r"Loading big\.onnx used .* MiB of memory, more than the 5 MiB"):
        asked(path, path, np.array([1]), memory_mib=5)


@pytest.mark.slow
def test_a_lite_model_for_one_row_is_asked_row_by_row(network: tuple[Path, Path], tmp_path: Path) -> None:
    """As TensorFlow Lite files mostly are."""
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.Input(batch_shape=(1, 8, 8, 3)), keras.models.load_model(network[0])])
    path = tmp_path / "m.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    found = asked(path, network[1], ROWS)
    assert found.agreement.within_tolerance and found.agreement.samples == 4 and found.rows == 1
    assert found.native.engine == "tflite"


@pytest.mark.parametrize("stage", ["Loading", "Asking", "Warming", "Round"])
def test_cancelling_at_any_stage_returns_at_once(tmp_path: Path, stage: str) -> None:
    path, cancel, later = times(tmp_path / "m.onnx", 2), threading.Event(), []

    def progress(sentence: str) -> None:
        if cancel.is_set():
            later.append(sentence)
        elif sentence.startswith(stage):
            cancel.set()

    options = {"progress": progress, "cancel": cancel, "seconds": 60, "repeat": None, "one_row": True}
    if stage == "Round":
        # What was measured until then is not thrown away.
        found = asked(path, path, IRIS, **options)
        assert found.ended == "cancelled" and found.rounds == 1 and found.agreement.within_tolerance
    else:
        with pytest.raises(Cancelled):
            asked(path, path, IRIS, **options)
    assert cancel.is_set() and not [sentence for sentence in later if not sentence.startswith(stage)]


@pytest.mark.parametrize("both_onnx", [True, False])
def test_a_side_is_called_native_only_where_it_is(both_onnx: bool, iris: tuple[Any, Path], tmp_path: Path) -> None:
    """Of two ONNX files neither is the model as it was made; of an estimator and its file one is."""
    first, second = iris
    if both_onnx:
        first, second = times(tmp_path / "first.onnx", 1), times(tmp_path / "second.onnx", 2)
    found = here(first, second, IRIS, one_row=True)
    assert found.agreement.within_tolerance is not both_onnx
    report = " ".join(f"{part.title} {part.says}" for part in parts(detect(second), comparison=found))
    shown = " ".join([str(found), found._repr_html_(), row_html(found, 0), charts(found), report])
    words = re.sub("<style>.*?</style>|<[^>]+>", " ", shown, flags=re.DOTALL)
    assert bool(re.search("(?i)native", words)) is not both_onnx
    assert ("the second model" in words) is both_onnx


def test_a_handful_of_rounds_makes_no_side_surely_faster(iris: tuple[Any, Path]) -> None:
    """An estimator and its file lie an order of magnitude apart, and two rounds of that are still no interval."""
    one = here(*iris, IRIS, repeat=1, one_row=True)
    shown = re.sub("<style>.*?</style>|<[^>]+>", " ", f"{one} {one._repr_html_()} {charts(one)}")
    assert one.rounds == 1 and "1 round, too few" in one.speed
    assert not re.search(r"between [\d.]|[\d.]+ (ns|µs|ms|s)? ?to [\d.]+|range|confidence", shown)
    few, many = here(*iris, IRIS), here(*iris, IRIS, repeat=12, seconds=5)
    assert few.rounds == 2 and "2 rounds, too few to be sure" in few.speed and " is " not in few.speed
    assert many.rounds >= 6 and "too few" not in many.speed and "95 % confidence" in many.speed
