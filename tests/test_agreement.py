"""Both sides' answers held against each other, and brought into one layout for it: real arrays, real estimators."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench import convert, load_engine
from workbench.agreement import FLOAT32, hold
from workbench.compare.matching import match_outputs
from workbench.compare.questions import fit_inputs
from workbench.errors import BadInput, UnsupportedModel
from workbench.files import certificate
from workbench.files.header import ValueInfo
from workbench.words import readable, share

ROWS = {"x": np.arange(12.0).reshape(4, 3)}


def held(native: Any, onnx: Any, rows: dict[str, np.ndarray] = ROWS) -> Any:
    return hold({"y": np.asarray(native)}, {"y": np.asarray(onnx)}, rows)


# --- agreement -----------------------------------------------------------------------------------------------------


def test_a_share_of_the_rows_largest_number_is_allowed_where_a_tolerance_says_so() -> None:
    native, onnx = np.array([[1000.0, 0.0], [1.0, 0.0]]), np.array([[1000.0, 0.1], [1.0, 0.1]])
    rows = {"x": np.zeros((2, 1))}
    strict = hold({"y": native}, {"y": onnx.astype(np.float32)}, rows)
    assert strict.outputs[0].beyond == 2 and "of_row" not in strict.tolerance
    found = hold({"y": native}, {"y": onnx.astype(np.float32)}, rows, dataclasses.replace(FLOAT32, of_row=2e-4))
    assert found.outputs[0].beyond == 1 and found.worst[0].index == 1
    assert "1 part in 5,000 of the largest in its row" in found.allowed


def test_a_mismatch_says_which_output_how_many_rows_and_the_worst_one() -> None:
    native = np.full((4, 2), 0.3)
    onnx = native.copy()
    onnx[1, 0], onnx[3, 1] = 0.31, 0.5
    found = held(native, onnx)
    assert not found.within_tolerance and found.label_mismatches == 0 and found.max_abs == pytest.approx(0.2)
    assert found.sentences == (
        "Output 'y': 2 of 4 rows differ; the worst is row 3 at [1]: 0.3 natively, 0.5 in ONNX.",
    )  # fmt: skip
    assert [worst.index for worst in found.worst] == [3, 1] and found.worst[0].inputs == {"x": "[9, 10, 11]"}
    json.dumps(found.to_dict(), allow_nan=False)
    assert held(native, native).sentences == ()


def test_the_largest_difference_is_told_with_the_answer_that_it_is_in() -> None:
    """0.125 is one rounding of a float32 of a million, and a mistake in a probability."""
    native = np.array([[1.5e6, 2.0], [3.0, 4.0]])
    found = held(native, (native + np.array([[0.125, 0], [0, 1e-4]])).astype(np.float32), {"x": np.zeros((2, 1))})
    assert (found.max_abs, found.beside, found.outputs[0].beside) == (0.125, 1.5e6, 1.5e6)
    assert found.within_tolerance and readable(1.5e6) in found.says
    certified = certificate.says({"agreement": found.to_dict()})
    assert readable(0.125) in certified and readable(1.5e6) in certified
    assert held(native, native).beside == 0 and "up to" not in certificate.says({"agreement": {"max_abs": 0.1}})
    assert held(native, native + np.inf).beside == 0  # no answer stands beside it


def test_where_both_sides_agree_the_row_that_comes_closest_to_the_tolerance_is_kept() -> None:
    native = np.array([[0.3, 0.7], [100.0, 0.0], [0.3, 0.7], [0.3, 0.7]])
    onnx = native + np.array([[0, 0], [1e-4, 0], [0, 3e-5], [0, 0]])
    found = held(native, onnx)
    assert found.within_tolerance and found.worst == ()
    furthest = found.outputs[0].furthest
    # Not the largest difference: a hundred may be off by more than a half.
    assert (furthest.index, furthest.at, furthest.there) == (2, (1,), ("0.7", "0.70003"))
    assert held(native, native).outputs[0].furthest is None


def test_each_output_that_differs_is_told() -> None:
    sides = {"a": np.zeros(4), "b": np.zeros(4), "c": np.array(["x"] * 4)}
    found = hold(sides, {"a": np.ones(4), "b": np.zeros(4), "c": np.array(["x", "x", "z", "x"], object)}, ROWS)
    assert [sentence[:28] for sentence in found.sentences] == [
        "Output 'a': 4 of 4 rows diff",
        "Output 'c': 1 of 4 rows diff",
    ]
    assert "the worst is row 2: 'x' natively, 'z' in ONNX" in found.sentences[1]


def test_label_flips_are_counted_apart_from_numeric_noise() -> None:
    native = np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.50001, 0.49999]])
    noisy = native + np.array([0.01, -0.01])
    found = held(native, noisy)
    assert not found.within_tolerance and found.label_mismatches == 0 and found.outputs[0].beyond == 4
    flipped = native.copy()
    flipped[2] = [0.4, 0.6]
    found = held(native, flipped)
    assert found.label_mismatches == 1 and found.outputs[0].beyond == 1


@pytest.mark.parametrize(
    ("native", "onnx", "agrees"),
    [
        ([np.nan, np.inf, -np.inf, 0], [np.nan, np.inf, -np.inf, 0], True),
        ([np.nan, 1, 1, 1], [1.0, 1, 1, 1], False),
        ([np.inf, 1, 1, 1], [-np.inf, 1, 1, 1], False),
        (["a", "b", "c", "d"], np.array(["a", "b", "c", "d"], object), True),
        (np.array([b"a", b"b", b"c", b"d"]), np.array(["a", "b", "c", "d"], object), True),
        ([True, False, True, True], np.array([1, 0, 1, 1], np.int64), True),
        ([1.0, 2.0, 3.0, 4.0], np.array([1, 2, 3, 4], np.int64), True),
        (["1", "2", "3", "4"], np.array([1, 2, 3, 4], np.int64), True),
        ([1, 2, 3, 4], np.array([1.0, 2, 3, 4.5], np.float32), False),
        # float64 cannot tell these two apart.
        ([2**53, 1, 1, 1], np.array([2**53 + 1, 1, 1, 1], np.int64), False),
        ([[1.0], [2], [3], [4]], np.array([1, 2, 3, 4], np.float32), True),
        (np.array([1.0, 2, 3, None])[:3].astype(object), np.array([1, 2, 3], np.float32), True),
        (["a", "b", "c", "d"], [1.0, 2.0, 3.0, 4.0], False),
    ],
)
def test_values_of_every_type_are_compared_as_what_they_mean(native: Any, onnx: Any, agrees: bool) -> None:
    assert held(native, onnx).within_tolerance is agrees


def test_object_arrays_of_arrays_are_compared_by_their_numbers() -> None:
    """What an ONNX sequence turns into."""
    parts = np.empty(2, object)
    parts[:] = [np.ones((2, 3), np.float32), np.zeros((4, 3), np.float32)]
    other = np.empty(2, object)
    other[:] = [np.ones((2, 3)) + 1e-7, np.zeros((4, 3))]
    assert held(parts, other).within_tolerance
    other[1] = np.ones((4, 3))
    assert not held(parts, other).within_tolerance


def test_no_rows_agree_and_another_shape_does_not() -> None:
    empty = {"x": np.zeros((0, 3))}
    found = held(np.zeros((0, 2)), np.zeros((0, 2), np.float32), empty)
    assert found.within_tolerance and found.samples == 0 and found.sentences == ()
    assert held(np.zeros(0, "U3"), np.zeros(0, object), empty).within_tolerance
    found = held(np.zeros((5, 4)), np.zeros((3, 4)))
    assert not found.within_tolerance
    assert found.sentences == ("Output 'y' has shape (3, 4) in ONNX and (5, 4) natively.",)


def test_a_missing_output_is_named() -> None:
    with pytest.raises(UnsupportedModel, match="no output 'y'; it has: z"):
        hold({"y": np.zeros(1)}, {"z": np.zeros(1)}, ROWS)


# --- outputs -------------------------------------------------------------------------------------------------------


def agreement(pairs: Any) -> Any:
    return hold({p.native_name: p.native for p in pairs}, {p.native_name: p.onnx for p in pairs}, {"x": np.zeros(3)})


def test_outputs_are_matched_by_name_then_position_then_shape() -> None:
    scores, labels, features = np.random.rand(3, 2), np.array([0, 1, 1]), np.random.rand(3, 5)
    pairs, notes = match_outputs({"a": scores, "b": labels}, {"b": labels, "a": scores})
    assert [(p.native_name, p.onnx_name) for p in pairs] == [("a", "a"), ("b", "b")] and notes == []
    pairs, notes = match_outputs({"label": labels, "proba": scores}, {"output_label": labels, "output_0": scores})
    assert [p.onnx_name for p in pairs] == ["output_label", "output_0"] and len(notes) == 2
    # Position would pair what cannot be the same.
    pairs, _ = match_outputs({"s": scores, "f": features}, {"o1": features, "o2": scores})
    assert [p.onnx_name for p in pairs] == ["o2", "o1"]
    pairs, notes = match_outputs({"label": labels}, {"l": labels, "p": scores})
    assert [p.onnx_name for p in pairs] == ["l"]
    assert notes[-1] == "Output 'p' in ONNX has no partner natively, so it was not compared."


def test_labels_in_floats_find_their_integers() -> None:
    """scikit-learn answers in the dtype of the targets, ONNX in int64."""
    native = {"prediction": np.array([0.0, 1.0, 1.0]), "p": np.eye(3)[:, :2]}
    pairs, _ = match_outputs(native, {"y": np.array([0, 1, 1]), "z": np.eye(3)[:, :2]})
    assert [(p.native_name, p.onnx_name) for p in pairs] == [("prediction", "y"), ("p", "z")]
    assert agreement(pairs).within_tolerance


@pytest.mark.parametrize(
    ("native", "onnx"),
    [
        (("a", "b", "c"), ("c", "a", "b")),
        ((np.str_("a"), np.str_("b"), np.str_("c")), (b"c", b"a", b"b")),
        ((0, 1, 2), (np.int32(2), np.int64(0), 1.0)),
    ],
)
def test_probabilities_are_compared_by_their_labels(native: Any, onnx: Any) -> None:
    scores = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]])
    pairs, notes = match_outputs({"p": scores}, {"p": scores[:, [2, 0, 1]]}, {"p": native}, {"p": onnx})
    assert agreement(pairs).max_abs == 0 and "another order" in notes[0]


def test_a_binary_score_fits_one_column_and_two() -> None:
    score, probability = np.array([-1.0, 0.5, 2.0]), np.array([0.1, 0.6, 0.9])
    for native, onnx in (
        (score, np.stack([-score, score], 1)),
        (probability[:, None], np.stack([1 - probability, probability], 1)),
        (np.stack([1 - probability, probability], 1), probability[:, None]),
    ):
        pairs, notes = match_outputs({"s": native}, {"s": onnx})
        assert agreement(pairs).max_abs < 1e-12 and len(notes) == 1


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 2, 2, 2), (3, 4, 5), (3, 2, 3, 4, 5)])
def test_feature_maps_fit_in_either_layout(shape: tuple[int, ...]) -> None:
    last = np.random.rand(*shape)
    first = np.moveaxis(last, -1, 1)
    for native, onnx in ((last, first), (first, last), (last, last)):
        pairs, _ = match_outputs({"map": native}, {"map": onnx})
        assert agreement(pairs).max_abs == 0


def test_a_converted_classifier_with_zipmap_agrees_with_its_estimator(tmp_path: Path) -> None:
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    rows, target = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[target]
    model = LogisticRegression(max_iter=500).fit(rows, names)
    path = tmp_path / "iris.onnx"
    path.write_bytes(to_onnx(model, rows[:1].astype(np.float32)).SerializeToString())
    with load_engine(path) as engine:
        onnx = engine.run(rows.astype(np.float32))
        native = {"label": model.predict(rows), "probabilities": model.predict_proba(rows)}
        classes = {"probabilities": tuple(model.classes_)}
        pairs, _ = match_outputs(native, onnx, classes, engine.classes)  # type: ignore[attr-defined]
    assert len(pairs) == 2
    found = hold({p.native_name: p.native for p in pairs}, {p.native_name: p.onnx for p in pairs}, {"X": rows}, FLOAT32)
    assert found.within_tolerance and found.samples == 150, found.sentences
    assert convert(model, tmp_path / "ours.onnx").agreement.within_tolerance


# --- inputs --------------------------------------------------------------------------------------------------------

NHWC = (ValueInfo("image", "float32", (None, 28, 28, 3)),)
NCHW = (ValueInfo("data", "float32", ("N", 3, 28, 28)),)
GREY = (ValueInfo("digit", "float32", (None, 28, 28, 1)),)
GREY_FIRST = (ValueInfo("digit", "float32", (None, 1, 28, 28)),)
FLAT = (ValueInfo("digit", "float32", (None, 28, 28)),)
TWO = (ValueInfo("a", "float32", (None, 3)), ValueInfo("b", "int64", (None, 5)))


def test_pictures_are_laid_out_as_each_side_takes_them() -> None:
    pictures = np.random.rand(2, 28, 28, 3).astype(np.float32)
    (same, notes), (moved, said) = fit_inputs(pictures, NHWC), fit_inputs({"image": pictures}, NCHW)
    assert notes == [] and same["image"] is not None and (moved["data"] == np.moveaxis(pictures, -1, 1)).all()
    assert any("NHWC to NCHW" in note for note in said) and any("was given what is named 'image'" in n for n in said)
    back, _ = fit_inputs(moved["data"], NHWC)
    assert (back["image"] == pictures).all()


@pytest.mark.parametrize(
    ("inputs", "shape"), [(GREY, (5, 28, 28, 1)), (GREY_FIRST, (5, 1, 28, 28)), (FLAT, (5, 28, 28))]
)
def test_grey_pictures_get_or_lose_their_channel_axis(inputs: Any, shape: tuple[int, ...]) -> None:
    for given in (np.zeros((5, 28, 28), np.float32), np.zeros((5, 28, 28, 1), np.float32)):
        fitted, _ = fit_inputs(given, inputs)
        assert fitted["digit"].shape == shape


def test_a_single_picture_is_not_taken_for_rows_without_a_channel() -> None:
    with pytest.raises(BadInput, match=r"the batch axis is missing, use x\[None\]"):
        fit_inputs(np.zeros((28, 28, 1), np.float32), GREY)


def test_inputs_of_other_names_are_matched_by_position_and_else_by_shape() -> None:
    a, b = np.zeros((2, 3), np.float32), np.zeros((2, 5), np.int64)
    for given in ({"a": a, "b": b}, {"x": a, "y": b}, {"y": b, "x": a}, {"a": a, "y": b}, [a, b]):
        fitted, _ = fit_inputs(given, TWO)
        assert list(fitted) == ["a", "b"] and fitted["a"].shape == (2, 3) and fitted["b"].shape == (2, 5)


def test_missing_and_too_many_inputs_are_named() -> None:
    a, b = np.zeros((2, 3), np.float32), np.zeros((2, 5), np.int64)
    with pytest.raises(BadInput, match="Input 'b' is missing: the model's inputs are 'a', 'b'"):
        fit_inputs({"a": a}, TWO)
    with pytest.raises(BadInput, match="There is no input 'c': the model's inputs are 'a', 'b'"):
        fit_inputs({"a": a, "b": b, "c": b}, TWO)
    with pytest.raises(BadInput, match="3 arrays were given"):
        fit_inputs([a, b, b], TWO)


def test_a_table_feeds_an_input_per_column_and_casts_are_told() -> None:
    import pandas as pd

    columns = tuple(ValueInfo(name, "float32", (None, 1)) for name in ("u", "v"))
    frame = pd.DataFrame({"v": [1.0, 2.0], "u": [3.0, 4.0]})
    fitted, notes = fit_inputs(frame, columns)
    assert fitted["u"].tolist() == [[3], [4]] and "Input 'u' was cast from float64 to float32." in notes
    fitted, _ = fit_inputs(np.array([[1.0, 2.0], [3.0, 4.0]]), columns)
    assert fitted["u"].tolist() == [[1], [3]] and fitted["v"].tolist() == [[2], [4]]
    with pytest.raises(BadInput, match="takes float32 values, but text was given"):
        fit_inputs({"u": ["a"], "v": ["b"]}, columns)


def test_numbers_read_as_people_write_them() -> None:
    written = {0.0: "0", 1.6e-7: "1.6 × 10⁻⁷", 0.00096: "0.00096", 0.5: "0.5", 1284.0: "1,300", -2e9: "-2 × 10⁹"}
    assert {value: readable(value) for value in written} == written
    assert (readable(math.inf), readable(1284.4, 3)) == ("infinite", "1,280")
    assert [share(value) for value in (0.0, 6.6e-7, 0.012, 2.0)] == ["0 %", "1 part in 1,500,000", "1.2 %", "200 %"]
