"""What counts as agreement, and what is found where two sides differ: real drafts, real ONNX Runtime."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.agreement import Agreement, Tolerance
from workbench.convert import work as worker
from workbench.convert.check import LARGE, check_file
from workbench.convert.draft import Draft
from workbench.convert.proof import ask_native, hold_against
from workbench.convert.samples import plan
from workbench.errors import BadInput, UnsupportedModel, WorkbenchError
from workbench.files.header import ValueInfo

TOLERANCE = Tolerance(1e-5, 1e-6, "float32 keeps seven digits")
WEIGHTS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
X = ValueInfo("x", "float32", ("N", 4))


def model(nodes: list[Any], outputs: list[Any], inputs: list[Any] | None = None, **weights: np.ndarray) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def floats(name: str, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def linear(weights: np.ndarray = WEIGHTS) -> Any:
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], [floats("y", "N", 3)], w=weights)


def draft(onnx_model: Any, native: Callable[[Any], Any], inputs: tuple[ValueInfo, ...] = (X,), **fields: Any) -> Draft:
    return Draft(onnx_model, ("test", "1"), inputs, native, TOLERANCE, **fields)


def prove(tmp_path: Path, one: Draft, sample: Any = None) -> tuple[Agreement, list[str]]:
    path = tmp_path / "m.onnx"
    path.write_bytes(one.model.SerializeToString())
    check_file(path)
    return hold_against(ask_native(one, sample), path, one.tolerance)


def test_equal_sides_agree_to_rounding(tmp_path: Path) -> None:
    found, notes = prove(tmp_path, draft(linear(), lambda a: {"y": a["x"] @ WEIGHTS}))
    assert found.within_tolerance and not found.worst and notes == []
    assert found.samples == 128 and set(found.groups) == {"random", "edge"}
    # One rounding of float32 in a sum of four is 6e-8 times four.
    assert found.max_rel < 1e-6


def test_one_wrong_weight_is_found_and_the_worst_sample_shown(tmp_path: Path) -> None:
    wrong = WEIGHTS.copy()
    wrong[2, 1] += 0.01
    rows = np.eye(4, dtype=np.float32)
    found, _ = prove(tmp_path, draft(linear(wrong), lambda a: {"y": a["x"] @ WEIGHTS}), rows)
    assert not found.within_tolerance
    # Only the third row asks about that weight.
    (worst,) = found.worst
    assert (worst.index, worst.group, worst.output) == (2, "given", "y")
    assert worst.inputs == {"x": "[0, 0, 1, 0]"}
    assert worst.difference == pytest.approx(0.01, rel=1e-3) and found.max_abs == worst.difference


def test_generated_rows_find_it_too(tmp_path: Path) -> None:
    wrong = WEIGHTS.copy()
    wrong[2, 1] *= 1.001
    found, _ = prove(tmp_path, draft(linear(wrong), lambda a: {"y": a["x"] @ WEIGHTS}))
    assert not found.within_tolerance and len(found.worst) == 5


def test_nan_and_infinity_agree_with_themselves_alone(tmp_path: Path) -> None:
    log = model([helper.make_node("Log", ["x"], ["y"])], [floats("y", "N", 4)])
    rows = np.array([[0, -1, 1, np.nan]], np.float32)

    def native(arrays: Any) -> Any:
        return {"y": np.log(arrays["x"])}

    found, _ = prove(tmp_path, draft(log, native), rows)
    assert found.within_tolerance and found.max_abs == 0
    found, _ = prove(tmp_path, draft(log, lambda a: {"y": np.nan_to_num(native(a)["y"], nan=7)}), rows)
    assert not found.within_tolerance and found.max_abs == float("inf")


def classifier(shift: float = 0.0) -> Any:
    """Softmax of the first two columns, and the index of the larger one as text."""
    nodes = [
        helper.make_node("Slice", ["x", "zero", "two", "one"], ["s"]),
        helper.make_node("Add", ["s", "shift"], ["t"]),
        helper.make_node("Softmax", ["t"], ["p"]),
        helper.make_node("ArgMax", ["t"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]), floats("p", "N", 2)]
    fixed = {name: np.array([value], np.int64) for name, value in (("zero", 0), ("two", 2), ("one", 1))}
    return model(nodes, outputs, **fixed, shift=np.array([0, shift], np.float32))


def classify(arrays: Any) -> Any:
    logits = arrays["x"][:, :2].astype(np.float64)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return {"label": logits.argmax(axis=1), "p": e / e.sum(axis=1, keepdims=True)}


def test_labels_must_be_equal(tmp_path: Path) -> None:
    rows = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0.2, 0, 0, 0]], np.float32)
    found, _ = prove(tmp_path, draft(classifier(), classify), rows)
    assert found.within_tolerance and found.label_mismatches == 0
    found, _ = prove(tmp_path, draft(classifier(0.5), classify), rows)
    assert not found.within_tolerance and found.label_mismatches == 1
    assert [output.mismatches for output in found.outputs] == [1, 0]


@pytest.mark.parametrize(("dtype", "agrees"), [(np.uint8, True), (np.int32, False)])
def test_quantized_numbers_may_lie_a_step_apart_and_labels_may_not(tmp_path: Path, dtype: Any, agrees: bool) -> None:
    """A quantized network's eight-bit outputs round; 32-bit integers are labels or indices."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    cast = model(
        [helper.make_node("Cast", ["x"], ["y"], to=kind)], [helper.make_tensor_value_info("y", kind, ["N", 4])]
    )
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)

    def shifted(by: int) -> Draft:
        one = draft(cast, lambda a: {"y": a["x"].astype(dtype) + dtype(by)})
        return dataclasses.replace(one, tolerance=dataclasses.replace(TOLERANCE, steps=1))

    assert prove(tmp_path, shifted(1), rows)[0].within_tolerance is agrees
    assert not prove(tmp_path, shifted(2), rows)[0].within_tolerance


def test_the_numbers_of_a_quantized_network_are_told_as_numbers(tmp_path: Path) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(np.int8))
    cast = model(
        [helper.make_node("Cast", ["x"], ["y"], to=kind)], [helper.make_tensor_value_info("y", kind, ["N", 4])]
    )
    one = draft(cast, lambda a: {"y": a["x"].astype(np.int8) + np.int8(3)})
    quantized = dataclasses.replace(one, tolerance=Tolerance(0, 0, "as whole numbers", steps=4))
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    found, _ = prove(tmp_path, quantized, rows)
    assert found.within_tolerance and found.max_abs == 3 and found.label_mismatches == 0 and found.max_rel == 0
    assert found.allowed == "4 steps of whole numbers: as whole numbers"
    found, _ = prove(tmp_path, one, rows)
    assert not found.within_tolerance and found.label_mismatches == 2


def steps(values: np.ndarray) -> np.ndarray:
    """A quantized network: flat, but for a stair of a hundred steps in the middle."""
    return np.where(values.max(axis=1, keepdims=True) > 20, 100, values.min(axis=1, keepdims=True) // 2).astype(np.int8)


def test_a_steep_place_of_a_quantized_network_is_no_disagreement_and_its_whole_range_is_asked(tmp_path: Path) -> None:
    """The same stair, a step to the left: rows that stand on it count neither way, those elsewhere do."""
    kind = TensorProto.INT8
    x = helper.make_tensor_value_info("x", kind, ["N", 4])

    def stair(at: int, bend: int = 2) -> Any:
        nodes = [
            helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["f", "axis"], ["high"]),
            helper.make_node("ReduceMin", ["f", "axis"], ["low"]),
            helper.make_node("Div", ["low", "bend"], ["half"]),
            helper.make_node("Floor", ["half"], ["floor"]),
            helper.make_node("Greater", ["high", "at"], ["up"]),
            helper.make_node("Where", ["up", "hundred", "floor"], ["z"]),
            helper.make_node("Cast", ["z"], ["y"], to=kind),
        ]
        fixed = {"at": at, "bend": bend, "hundred": 100}
        weights = {name: np.array(value, np.float32) for name, value in fixed.items()}
        outputs = [helper.make_tensor_value_info("y", kind, ["N", 1])]
        return model(nodes, outputs, [x], axis=np.array([1], np.int64), **weights)

    def quantized(onnx_model: Any) -> Draft:
        one = draft(onnx_model, lambda a: {"y": steps(a["x"])}, (ValueInfo("x", "int8", ("N", 4)),))
        return dataclasses.replace(one, tolerance=Tolerance(0, 0, "steps", steps=1))

    asked = np.concatenate([group.onnx["x"] for alternatives in plan(quantized(None)) for group in alternatives[:1]])
    assert asked.min() == -128 and asked.max() == 127 and len(np.unique(asked)) > 100
    assert prove(tmp_path, quantized(stair(20)))[0].within_tolerance
    on_it = np.array([[21, 0, 0, 0], [40, 0, 0, 0], [3, 2, 1, 0]], np.int8)
    found, notes = prove(tmp_path, quantized(stair(21)), on_it)
    assert found.within_tolerance and found.undecided == 1 and any("not counted" in note for note in notes)
    assert not prove(tmp_path, quantized(stair(30)), on_it[[0, 0, 2]])[0].within_tolerance  # most stand on it
    assert not prove(tmp_path, quantized(stair(60)))[0].within_tolerance
    # Of rows between 0 and 9 none would tell.
    assert not prove(tmp_path, quantized(stair(20, bend=3)))[0].within_tolerance


def test_a_model_of_small_integers_that_looks_something_up_is_asked_few_of_them(tmp_path: Path) -> None:
    table = np.arange(10, dtype=np.float32) ** 2
    gather = model(
        [helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64), helper.make_node("Gather", ["t", "i"], ["y"])],
        [floats("y", "N", 4)],
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 4])],
        t=table,
    )
    one = draft(gather, lambda a: {"y": table[a["x"]]}, (ValueInfo("x", "uint8", ("N", 4)),))
    found, notes = prove(tmp_path, one)
    assert found.within_tolerance and found.samples == 128 and notes == []


def castings(dtype: str, *through: str, **ends: float) -> Any:
    """A model that gives its input back, by way of other dtypes, cut off at `ends`."""
    kind, kinds = helper.np_dtype_to_tensor_dtype, [np.dtype(name) for name in (*through, dtype)]
    nodes, last = [], "x"
    if ends:
        nodes, last = [helper.make_node("Clip", ["x", "low", "high"], ["cut"])], "cut"
    for index, one in enumerate(kinds):
        nodes.append(helper.make_node("Cast", [last], [last := f"c{index}"], to=kind(one)))
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    x, y = (helper.make_tensor_value_info(name, kind(kinds[-1]), ["N", 4]) for name in "xy")
    return model(nodes, [y], [x], **{name: np.array(end, dtype) for name, end in ends.items()})


@pytest.mark.parametrize(
    ("dtype", "wrong"),
    [
        ("float32", castings("float32", low=-3, high=np.inf)),
        ("int8", castings("int8", low=-100, high=127)),
        ("uint8", castings("uint8", low=0, high=250)),
        ("int16", castings("int16", "int8")),
        ("int32", castings("int32", "float32")),
        ("int32", castings("int32", "int16")),
        ("uint32", castings("uint32", "int32", "float32")),
        ("int64", castings("int64", "double")),
        ("int64", castings("int64", "int32")),
        ("int64", castings("int64", low=0, high=np.iinfo(np.int64).max)),
        ("uint64", castings("uint64", "uint32")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_model_that_is_wrong_in_a_part_of_its_inputs_range_is_caught(tmp_path: Path, dtype: str, wrong: Any) -> None:
    """Also with labels, and only past the numbers that another dtype holds; the right one is certified."""
    inputs = (ValueInfo("x", dtype, ("N", 4)),)
    right, _ = prove(tmp_path, draft(castings(dtype), lambda a: {"y": a["x"]}, inputs))
    assert right.within_tolerance and right.undecided == 0
    if dtype != "float32":
        ends = np.iinfo(dtype)
        assert right.asked == (f"x: {dtype} from {ends.min:,} to {ends.max:,}.",)
    assert not prove(tmp_path, draft(wrong, lambda a: {"y": a["x"]}, inputs))[0].within_tolerance


def lookup(keys: list[Any]) -> Any:
    """The number of a key, -1 of any other."""
    sort, kind = ("strings", TensorProto.STRING) if isinstance(keys[0], str) else ("int64s", TensorProto.INT64)
    values = {f"keys_{sort}": keys, "values_int64s": list(range(len(keys))), "default_int64": -1}
    node = helper.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", **values)
    ends = [helper.make_tensor_value_info("x", kind, ["N", 2]), helper.make_tensor_value_info("y", 7, ["N", 2])]
    made = model([node], ends[1:], ends[:1])
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    return made


@pytest.mark.parametrize("keys", [[100, 200, -(1 << 40)], ["red", "green apple", "Blau"], list(range(50_000, 50_900))])
def test_every_key_of_a_lookup_is_asked_and_what_is_nearly_one(tmp_path: Path, keys: list[Any]) -> None:
    places = {key: place for place, key in enumerate(keys)}

    def native(arrays: Any) -> Any:
        return {"y": np.vectorize(lambda key: places.get(key, -1), otypes=[np.int64])(arrays["x"])}

    inputs = (ValueInfo("x", "string" if isinstance(keys[0], str) else "int64", ("N", 2)),)
    found, notes = prove(tmp_path, draft(lookup(keys), native, inputs, known=tuple(keys)))
    assert found.within_tolerance and notes == []
    assert f"{len(keys):,} of the {len(keys):,} that its tables know" in found.asked[0]
    for wrong in (keys[:-1], [*keys, keys[0].upper() if isinstance(keys[0], str) else keys[0] - 1]):
        assert not prove(tmp_path, draft(lookup(wrong), native, inputs, known=tuple(keys)))[0].within_tolerance


def test_a_wrong_answer_to_yes_and_no_is_caught(tmp_path: Path) -> None:
    """Where all are yes, as well as where none is."""
    for op, reduce in (("ReduceMin", np.all), ("ReduceMax", np.any)):
        nodes = [
            helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
            helper.make_node(op, ["i", "axis"], ["r"], keepdims=0),
            helper.make_node("Cast", ["r"], ["y"], to=TensorProto.BOOL),
        ]
        x, y = (helper.make_tensor_value_info("x", 9, ["N", 40]), helper.make_tensor_value_info("y", 9, ["N"]))
        made = model(nodes, [y], [x], axis=np.array([1], np.int64))
        inputs = (ValueInfo("x", "bool", ("N", 40)),)
        assert prove(tmp_path, draft(made, lambda a, f=reduce: {"y": f(a["x"], axis=1)}, inputs))[0].within_tolerance
        for answer in (True, False):
            always = draft(made, lambda a, answer=answer: {"y": np.full(len(a["x"]), answer)}, inputs)
            assert not prove(tmp_path, always)[0].within_tolerance


def test_tokenisers_that_differ_in_what_they_treat_apart_are_told_apart(tmp_path: Path) -> None:
    """Case, which characters part words, and how letters are written."""
    same = model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, ["N"])],
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["N"])],
    )
    inputs = (ValueInfo("x", "string", ("N",)),)

    def each(change: Callable[[str], str]) -> Draft:
        return draft(same, lambda a: {"y": np.array([change(text) for text in a["x"]], object)}, inputs)

    assert prove(tmp_path, each(str))[0].within_tolerance
    gone = [("\t", " "), ("\n", " "), ("\u00a0", " "), ("  ", " "), *((mark, "") for mark in ",;.'-_()[]#!😀")]
    for change in (
        str.lower, str.strip, lambda text: unicodedata.normalize("NFC", text),
        lambda text: text.encode("ascii", "ignore").decode(), *(lambda t, pair=pair: t.replace(*pair) for pair in gone),
    ):  # fmt: skip
        assert not prove(tmp_path, each(change))[0].within_tolerance


def test_integers_are_asked_as_far_as_the_source_answers(tmp_path: Path) -> None:
    """Nobody said that it refuses what is negative, or large."""
    inputs = (ValueInfo("x", "int64", ("N", 4)),)
    for most in (300, 20):

        def native(arrays: Any, most: int = most) -> Any:
            if arrays["x"].min() < 0 or arrays["x"].max() > most:
                raise ValueError("outside")
            return {"y": arrays["x"]}

        found, notes = prove(tmp_path, draft(castings("int64"), native, inputs))
        assert found.within_tolerance and notes == []
        low, high = (int(end) for end in re.findall(r"\d+", found.asked[0].removeprefix("x: int64")))
        assert low == 0 and (200 if most > 255 else 8) <= high <= most


def test_a_model_for_one_row_is_asked_many_one_after_the_other(tmp_path: Path) -> None:
    """As TensorFlow Lite files mostly are. One of its outputs has no row for each."""
    single = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    outputs = [floats("y", 1, 3), floats("total"), floats("list", 3)]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("ReduceSum", ["y"], ["total"], keepdims=0),
        helper.make_node("Reshape", ["y", "three"], ["list"]),
    ]

    def native(arrays: Any) -> Any:
        assert arrays["x"].shape == (1, 4)
        y = arrays["x"] @ WEIGHTS
        return {"y": y, "total": y.sum(), "list": y[0] + wrong}

    wrong = np.zeros(3, np.float32)
    made = model(nodes, outputs, [single], w=WEIGHTS, three=np.array([3], np.int64))
    one = draft(made, native, (ValueInfo("x", "float32", (1, 4)),))
    one.tolerance = Tolerance(1e-4, 1e-4, "sums of sums")
    found, _ = prove(tmp_path, one)
    assert found.within_tolerance and found.samples == 128
    wrong[2] = 1
    assert not prove(tmp_path, one)[0].within_tolerance


def test_answers_that_are_all_the_same_are_said_to_tell_little(tmp_path: Path) -> None:
    always = model([helper.make_node("Mul", ["x", "zero"], ["y"])], [floats("y", "N", 4)], zero=np.array(0, np.float32))
    found, notes = prove(tmp_path, draft(always, lambda a: {"y": a["x"] * 0}))
    assert found.within_tolerance and any("one and the same answer to all 128 rows" in note for note in notes)


def test_a_tie_may_be_broken_either_way(tmp_path: Path) -> None:
    rows = np.array([[1, 1, 0, 0], [2, 1, 0, 0]], np.float32)
    found, notes = prove(tmp_path, draft(classifier(1e-6), classify), rows)
    assert found.within_tolerance and found.label_mismatches == 0
    assert any("two classes tie" in note for note in notes)


def test_the_wrong_way_round_is_not_a_tie(tmp_path: Path) -> None:
    def swapped(arrays: Any) -> Any:
        return {"label": classify(arrays)["label"], "p": classify(arrays)["p"][:, ::-1]}

    rows = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    found, _ = prove(tmp_path, draft(classifier(), swapped), rows)
    assert not found.within_tolerance and found.label_mismatches == 2


def threshold(at: float) -> Any:
    nodes = [
        helper.make_node("Greater", ["x", "t"], ["g"]),
        helper.make_node("Cast", ["g"], ["y"], to=TensorProto.INT64),
    ]
    return model(nodes, [helper.make_tensor_value_info("y", TensorProto.INT64, ["N", 4])], t=np.array(at, np.float32))


def test_a_flip_between_float32_and_float64_is_found_on_the_persons_rows_and_at_the_drafts_points(
    tmp_path: Path,
) -> None:
    exact = 0.1  # float32 makes it a little more
    rows = np.full((1, 4), np.nextafter(exact, 1))

    def native(arrays: Any) -> Any:
        return {"y": (arrays["x"].astype(np.float64) > exact).astype(np.int64)}

    def points(rng: np.random.Generator) -> Any:
        return {"x": np.full((1, 4), np.float32(exact))}

    found, _ = prove(tmp_path, draft(threshold(exact), native), rows)
    assert not found.within_tolerance and found.label_mismatches == 1
    found, _ = prove(tmp_path, draft(threshold(exact), native, points=points))
    assert not found.within_tolerance and found.worst[0].group == "points"


def test_generated_rows_that_rounding_alone_decides_are_not_counted(tmp_path: Path) -> None:
    """exp(50 x): one rounding of x moves the answer 50 times as far, beyond a tolerance of 1e-6."""
    steep = model(
        [helper.make_node("Mul", ["x", "f"], ["t"]), helper.make_node("Exp", ["t"], ["y"])],
        [floats("y", "N", 4)], f=np.array(50, np.float32),
    )  # fmt: skip

    def native(arrays: Any) -> Any:
        with np.errstate(over="ignore"):
            return {"y": np.exp(50 * arrays["x"].astype(np.float64))}

    one = dataclasses.replace(draft(steep, native), tolerance=Tolerance(1e-6, 1e-9, "tighter than float32 can be here"))
    found, notes = prove(tmp_path, one)
    assert found.within_tolerance and found.undecided > 10
    assert any("were not counted" in note for note in notes)
    # A graph that is wrong is not excused by it.
    steep.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(50.01, np.float32), "f"))
    assert not prove(tmp_path, one)[0].within_tolerance
    # And rows that a person gives always count.
    steep.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(50, np.float32), "f"))
    (random,) = plan(one)[0]
    assert not prove(tmp_path, one, random.onnx)[0].within_tolerance


def test_generated_rows_in_which_large_numbers_leave_a_small_one_are_not_counted(tmp_path: Path) -> None:
    """(x0 + x1) - x0 in float32: of a million little is left of x1, whose own rounding explains none of that."""
    w = np.array([[1e3, 0], [0, 1e-3]], np.float32)
    parts = {"zero": 0, "one": 1, "two": 2}

    def leaves(share: float) -> Any:
        nodes = [
            helper.make_node("Slice", ["x", "zero", "one", "one"], ["a"]),
            helper.make_node("Slice", ["x", "one", "two", "one"], ["b"]),
            helper.make_node("Mul", ["a", "large"], ["l"]), helper.make_node("Mul", ["b", "small"], ["s"]),
            helper.make_node("Add", ["l", "s"], ["sum"]), helper.make_node("Sub", ["sum", "l"], ["left"]),
            helper.make_node("Mul", ["l", "share"], ["more"]), helper.make_node("Add", ["left", "more"], ["z"]),
            helper.make_node("Concat", ["l", "z"], ["y"], axis=1),
        ]  # fmt: skip
        fixed = {"large": w[0, 0], "small": w[1, 1], "share": np.float32(share)}
        indices = {name: np.array([value], np.int64) for name, value in parts.items()}
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])
        return model(nodes, [floats("y", "N", 2)], [x], **indices, **{k: np.asarray(v) for k, v in fixed.items()})

    inputs = (ValueInfo("x", "float32", ("N", 2)),)
    found, _ = prove(tmp_path, draft(leaves(0), lambda a: {"y": a["x"] @ w}, inputs))
    assert found.within_tolerance and found.undecided > 10
    # More than a few roundings of the largest number in the row is wrong, and so is any difference in a person's rows.
    assert not prove(tmp_path, draft(leaves(1e-5), lambda a: {"y": a["x"] @ w}, inputs))[0].within_tolerance
    rows = np.array([[1e3, 3.0]], np.float32)
    assert not prove(tmp_path, draft(leaves(0), lambda a: {"y": a["x"] @ w}, inputs), rows)[0].within_tolerance


def test_missing_values_are_asked_where_the_source_takes_them(tmp_path: Path) -> None:
    zeroed = model(
        [helper.make_node("IsNaN", ["x"], ["n"]), helper.make_node("Where", ["n", "z", "x"], ["y"])],
        [floats("y", "N", 4)], z=np.array(0, np.float32),
    )  # fmt: skip

    def ones_for_nan(arrays: Any) -> Any:
        return {"y": np.nan_to_num(arrays["x"], nan=1)}

    assert prove(tmp_path, draft(zeroed, ones_for_nan))[0].within_tolerance
    found, _ = prove(tmp_path, draft(zeroed, ones_for_nan, accepts_nan=True))
    assert not found.within_tolerance and found.worst[0].group == "missing"


def test_rows_the_source_refuses_are_left_out_and_said(tmp_path: Path) -> None:
    def picky(arrays: Any) -> Any:
        if (arrays["x"] < -100).any():
            raise ValueError("no negative rows")
        return {"y": arrays["x"] @ WEIGHTS}

    found, notes = prove(tmp_path, draft(linear(), picky))
    assert found.within_tolerance and set(found.groups) == {"random"}
    assert notes == [
        "The source model refuses the edge rows made for the proof (no negative rows), so they were left out."
    ]

    def refuses(arrays: Any) -> Any:
        raise ValueError("never")

    with pytest.raises(UnsupportedModel, match=r"answers none of the rows .*\(never\): give rows"):
        prove(tmp_path, draft(linear(), refuses))
    with pytest.raises(WorkbenchError, match="cannot answer the rows given: never"):
        prove(tmp_path, draft(linear(), refuses), np.zeros((1, 4)))


def test_a_random_source_is_said_to_be_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    _, notes = prove(tmp_path, draft(linear(), lambda a: {"y": a["x"] @ WEIGHTS + rng.random() * 1e-9}))
    assert any("different answers when asked twice" in note for note in notes)


def test_a_switch_that_makes_the_source_random_is_left_off(tmp_path: Path) -> None:
    switch = helper.make_tensor_value_info("training", TensorProto.BOOL, [])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [floats("y", "N", 3)], [x, switch], w=WEIGHTS)
    inputs, rng = (X, ValueInfo("training", "bool", ())), np.random.default_rng(0)

    def native(arrays: Any) -> Any:
        return {"y": arrays["x"] @ WEIGHTS * (rng.random() if arrays["training"] else 1)}

    found, notes = prove(tmp_path, draft(made, native, inputs))
    assert found.within_tolerance and found.asked[1] == "training: bool, 0 true and 1 false."
    assert len(notes) == 1 and "asked twice" in notes[0]


def test_rows_only_one_side_answers_are_a_disagreement(tmp_path: Path) -> None:
    reshape = model(
        [helper.make_node("Reshape", ["x", "s"], ["y"])], [floats("y", 5, 4)], s=np.array([5, 4], np.int64)
    )  # fmt: skip
    found, notes = prove(tmp_path, draft(reshape, lambda a: {"y": a["x"]}))
    assert not found.within_tolerance
    assert any(note.startswith("ONNX Runtime fails on the random rows") for note in notes)


def test_another_shape_is_a_disagreement_but_an_axis_of_one_is_not(tmp_path: Path) -> None:
    rows = np.ones((3, 4), np.float32)
    column = linear(WEIGHTS[:, :1])
    column.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    assert prove(tmp_path, draft(column, lambda a: {"y": (a["x"] @ WEIGHTS[:, :1]).ravel()}), rows)[0].within_tolerance
    found, notes = prove(tmp_path, draft(linear(), lambda a: {"y": (a["x"] @ WEIGHTS).T[:2]}), rows)
    assert not found.within_tolerance and "has shape (3, 3) in ONNX and (2, 3)" in " ".join(notes)


@pytest.mark.parametrize("sample", [np.zeros((0, 4)), np.zeros((2, 5)), np.full((2, 4), 1e300), [["a"] * 4]])
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, sample: Any) -> None:
    with pytest.raises(BadInput):
        prove(tmp_path, draft(linear(), lambda a: {"y": a["x"] @ WEIGHTS}), sample)


def test_generated_rows_fit_every_kind_of_input() -> None:
    inputs = (
        ValueInfo("words", "string", ("N", 2)), ValueInfo("index", "int64", ("N", "T")),
        ValueInfo("mask", "bool", ("N", "T")), ValueInfo("image", "float16", ("N", 3, None, None)),
        ValueInfo("fixed", "float64", ("N", 2)),
    )  # fmt: skip
    for alternatives in plan(draft(None, lambda a: a, inputs, ranges={"index": (5, 6), "fixed": (-1, 1)})):
        for group in alternatives:
            arrays = group.onnx
            assert {len(array) for array in arrays.values()} == {group.rows}
            assert arrays["index"].shape == arrays["mask"].shape
            # All between the bounds first; fewer where the model refuses these.
            asked = set(np.unique(arrays["index"]))
            assert asked == {5, 6} if group is alternatives[0] else asked <= {5, 6}
            assert abs(arrays["fixed"]).max() <= 1 and np.isfinite(arrays["image"].astype(float)).all()
    again = plan(draft(None, lambda a: a, inputs))[0][0].onnx
    once_more = plan(draft(None, lambda a: a, inputs))[0][0].onnx
    assert all((again[name] == once_more[name]).all() for name in again)


def test_a_mend_is_tried_and_told_and_failing_that_the_first_disagreement_stands(tmp_path: Path) -> None:
    def drafted(factor: float, **fields: Any) -> Draft:
        return draft(linear(WEIGHTS * np.float32(factor)), lambda a: {"y": a["x"] @ WEIGHTS}, **fields)

    stages: list[str] = []
    mended = worker.settle(
        worker_job(tmp_path), drafted(2, mend=lambda: (drafted(1), "The weights were halved.")), None, stages.append
    )
    assert mended.agreement.within_tolerance and mended.warnings == ["The weights were halved."]
    assert "Both sides disagree; mending the conversion" in stages
    failed = worker.settle(
        worker_job(tmp_path), drafted(2, mend=lambda: (drafted(3), "No better.")), None, stages.append
    )
    assert not failed.agreement.within_tolerance and failed.warnings == []
    assert failed.agreement.max_rel == pytest.approx(1, rel=1e-3)  # off by once the answer, not twice


def test_a_form_that_no_engine_loads_is_mended_too_and_else_refused(tmp_path: Path) -> None:
    def drafted(op: str, **fields: Any) -> Draft:
        made = model([helper.make_node(op, ["x"], ["y"])], [floats("y", "N", 4)])
        return draft(made, lambda a: {"y": np.abs(a["x"])}, **fields)

    mended = worker.settle(worker_job(tmp_path), drafted("Erfc", mend=lambda: (drafted("Abs"), "Abs.")), None, print)
    assert mended.agreement.within_tolerance and mended.warnings == ["Abs."]
    for other in (lambda: (drafted("Neg"), "Neg."), None):
        with pytest.raises(UnsupportedModel, match="operator Erfc"):
            worker.settle(worker_job(tmp_path), drafted("Erfc", mend=other), None, print)


def worker_job(folder: Path) -> Any:
    from workbench.convert import Job

    return Job("test", None, "object", None, b"", folder, "m.onnx", "test", None, None, False)


@pytest.mark.parametrize(
    ("nodes", "sentence"),
    [
        ([helper.make_node("Erfc", ["x"], ["y"], name="gelu")], r"operator Erfc \(node gelu\) has no counterpart"),
        ([helper.make_node("Thing", ["x"], ["y"], domain="my.own")], "operator my.own::Thing"),
        ([helper.make_node("Add", ["x"], ["y"])], "breaks ONNX's rules"),
    ],
)
def test_operators_no_engine_knows_are_named(tmp_path: Path, nodes: list[Any], sentence: str) -> None:
    path = tmp_path / "m.onnx"
    broken = model(nodes, [floats("y", "N", 4)])
    broken.opset_import.append(helper.make_opsetid("my.own", 1))
    path.write_bytes(broken.SerializeToString())
    with pytest.raises(UnsupportedModel, match=sentence):
        check_file(path)


def test_a_large_file_is_checked_without_its_weights_and_faults_are_still_found(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    wide = np.zeros((4, LARGE // 16), np.float32)
    good = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [floats("y", "N", wide.shape[1])], w=wide)
    path.write_bytes(good.SerializeToString())
    assert path.stat().st_size > LARGE
    check_file(path)
    bad = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [floats("y", "N", 7)], w=wide)
    path.write_bytes(bad.SerializeToString())
    with pytest.raises(UnsupportedModel, match="breaks ONNX's rules"):
        check_file(path)
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]
