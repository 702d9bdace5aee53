"""Values that are no plain arrays, what ONNX Runtime refuses, and ONNX's reference implementation beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.test_inference import inferred
from workbench import compare, detect, load_engine
from workbench.agreement import FLOAT32, hold, of_dtypes, plain
from workbench.compare.matching import parted
from workbench.compare.questions import fit_inputs
from workbench.engines.inputs import cast
from workbench.engines.values import dtype_of
from workbench.errors import BadInput, UnsupportedModel
from workbench.files.header import ValueInfo, read_header

FLOAT = TensorProto.FLOAT
tensor, sequence = helper.make_tensor_value_info, helper.make_tensor_sequence_value_info


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    opset: int = 21,
    initializers: Sequence[onnx.TensorProto] = (),
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Sequence[tuple[str, int]] = (("ai.onnx.ml", 3),),
) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    opsets = [helper.make_opsetid(*pair) for pair in (("", opset), *domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions))
    path.write_bytes(model.SerializeToString())
    return path


def a_map(name: str, key: int, value: int) -> onnx.ValueInfoProto:
    kind = onnx.TypeProto.Map(key_type=key, value_type=helper.make_tensor_type_proto(value, []))
    return helper.make_value_info(name, onnx.TypeProto(map_type=kind))


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    """A map of text to numbers, as columns a and b."""
    node = helper.make_node("DictVectorizer", ["m"], ["y"], domain="ai.onnx.ml", string_vocabulary=["a", "b"])
    return save(tmp_path / "map.onnx", [node], [a_map("m", 8, 1)], [tensor("y", FLOAT, [1, 2])])


@pytest.fixture
def pick(tmp_path: Path) -> Path:
    """The tensor at a place of a sequence."""
    inputs = [sequence("s", FLOAT, None), tensor("i", TensorProto.INT64, [])]
    node = helper.make_node("SequenceAt", ["s", "i"], ["y"])
    return save(tmp_path / "pick.onnx", [node], inputs, [tensor("y", FLOAT, None)])


# --- what goes in and comes out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"])
def test_coarse_floats_go_through_bit_for_bit(tmp_path: Path, name: str) -> None:
    kind = getattr(TensorProto, name.upper())
    echo = [helper.make_node("Identity", ["x"], ["y"])]
    path = save(tmp_path / "m.onnx", echo, [tensor("x", kind, ["N", 3])], [tensor("y", kind, ["N", 3])], 25)
    rows = np.array([[0.5, -2, 3], [0, 1, 224]], np.float32)  # exact in all of these types
    with load_engine(path) as engine:
        answer = engine.run(rows)["y"]
        again = engine.run(answer)["y"]
    assert answer.dtype == again.dtype == dtype_of(name)
    np.testing.assert_array_equal(answer.astype(np.float32), rows)
    np.testing.assert_array_equal(again.view(np.uint8), answer.view(np.uint8))


@pytest.mark.parametrize(("name", "lowest", "highest"), [("int4", -8, 7), ("uint4", 0, 15), ("uint2", 0, 3)])
def test_packed_integers_arrive_as_the_numbers_they_are(tmp_path: Path, name: str, lowest: int, highest: int) -> None:
    cast_node = [helper.make_node("Cast", ["x"], ["y"], to=FLOAT)]
    kind = getattr(TensorProto, name.upper())
    path = save(tmp_path / "m.onnx", cast_node, [tensor("x", kind, ["N"])], [tensor("y", FLOAT, ["N"])], 25)
    numbers = np.arange(lowest, highest + 1)[: highest - lowest]  # an odd count: the last byte is half full
    with load_engine(path) as engine:
        np.testing.assert_array_equal(engine.run(numbers)["y"], numbers)
        with pytest.raises(BadInput, match=rf"takes {name} values, and {highest + 1} "):
            engine.run(np.array([highest + 1]))


def test_no_cast_to_a_coarse_type_changes_what_a_number_means() -> None:
    def to(dtype: str, *numbers: float) -> np.ndarray:
        return cast(np.array(numbers, np.float32), ValueInfo("x", dtype, None))[0]

    assert to("bfloat16", 1 / 3).astype(np.float32) == pytest.approx(1 / 3, rel=2**-8)  # it keeps 8 bits
    assert np.isnan(to("float8e4m3fn", np.nan).astype(np.float32)).all()
    for dtype, number in (
        ("float8e4m3fn", 1e6), ("float8e4m3fn", np.inf), ("float4e2m1", 100), ("float4e2m1", np.nan), ("int4", 1.5),
        ("int4", np.nan), ("uint4", -1), ("bfloat16", 3.4e38),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=f"takes {dtype} values, and "):
            to(dtype, number)


@pytest.mark.parametrize("worker", [False, True])
def test_a_map_is_given_as_a_dict_and_what_is_none_is_named(dictionary: Path, worker: bool) -> None:
    with load_engine(dictionary, worker=worker) as engine:
        assert engine.run({"m": {"a": 1.0}})["y"].tolist() == [[1, 0]]
        assert engine.run({"m": {"b": np.float32(2), "a": 3}})["y"].tolist() == [[3, 2]]
        for wrong, named in (({"a": "x"}, "text was given"), ({1: 1.0}, "1 is no string key"), (3, "give a dict")):
            with pytest.raises(BadInput, match=named):
                engine.run({"m": wrong})


@pytest.mark.parametrize("worker", [False, True])
def test_a_sequence_is_given_as_a_list_of_arrays(pick: Path, worker: bool) -> None:
    with load_engine(pick, worker=worker) as engine, pytest.warns(UserWarning, match="sequence of float32"):
        assert engine.run({"s": [np.zeros(2), np.array([1.5, 2, 3])], "i": 1})["y"].tolist() == [1.5, 2, 3]
        with pytest.raises(BadInput, match=r"s\[1\].*text was given"):
            engine.run({"s": [[1.0], ["a"]], "i": 0})
        with pytest.raises(BadInput, match="give a list of them"):
            engine.run({"s": 3.0, "i": 0})


@pytest.mark.parametrize("engine_name", ["onnxruntime", "reference"])
def test_an_optional_is_given_or_left_out(tmp_path: Path, engine_name: str) -> None:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    given, back = (helper.make_value_info(name, kind) for name in "xy")
    has = [helper.make_node("OptionalHasElement", ["x"], ["y"])]
    path = save(tmp_path / "has.onnx", has, [given], [tensor("y", TensorProto.BOOL, [])])
    with load_engine(path, engine_name, worker=False) as engine:
        told = [engine.run(x)["y"].item() for x in ({"x": np.float32([1, 2])}, {"x": None}, {})]
    assert told == [True, False, False]
    path = save(tmp_path / "echo.onnx", [helper.make_node("Identity", ["x"], ["y"])], [given], [back])
    with load_engine(path, worker=True) as engine:
        assert engine.run({"x": np.float32([1, 2])})["y"].tolist() == [1, 2]
        assert engine.run({"x": None})["y"].item() is None


def test_a_header_says_what_containers_hold_and_no_nesting_is_endless(tmp_path: Path) -> None:
    kind = helper.make_optional_type_proto(
        helper.make_sequence_type_proto(helper.make_tensor_type_proto(16, [2, None]))
    )
    deep = helper.make_tensor_type_proto(FLOAT, None)
    for _ in range(40):
        deep = helper.make_sequence_type_proto(deep)
    inputs = [helper.make_value_info("x", kind), a_map("m", 7, 8), helper.make_value_info("deep", deep)]
    path = save(tmp_path / "m.onnx", [helper.make_node("Identity", ["x"], ["y"])], inputs, [tensor("y", 1, None)])
    x, m, nested = read_header(path).graph.inputs
    assert (x.sort, m.sort) == ("optional of sequence of bfloat16", "map of int64 to string")
    assert x.holds is not None and x.holds.holds is not None and x.holds.holds.shape == (2, None)
    assert nested.dtype == "sequence" and nested.sort.count("sequence") < 20


# --- comparing them -----------------------------------------------------------------------------------------------


def compared(one: Path, other: Path, rows: Any = None, engine: str | None = None) -> Any:
    """Both in this process, where no worker has to start."""
    with load_engine(one, engine, worker=False) as native, load_engine(other, "onnxruntime") as ours:
        return compare(native, ours, rows, seconds=0.1)


def test_coarse_numbers_maps_and_sequences_are_compared_value_by_value(tmp_path: Path, pick: Path) -> None:
    halves = [helper.make_node("Identity", ["x"], ["y"])]
    kind = TensorProto.BFLOAT16
    coarse = save(tmp_path / "b.onnx", halves, [tensor("x", kind, ["N", 3])], [tensor("y", kind, ["N", 3])])
    parts = [helper.make_node("SplitToSequence", ["x"], ["y"], axis=0)]
    split = save(tmp_path / "s.onnx", parts, [tensor("x", FLOAT, ["N", 2])], [sequence("y", FLOAT, None)])
    doubled = [helper.make_node("Add", ["x", "x"], ["z"]), helper.make_node("SplitToSequence", ["z"], ["y"], axis=0)]
    other = save(tmp_path / "d.onnx", doubled, [tensor("x", FLOAT, ["N", 2])], [sequence("y", FLOAT, None)])
    rows = np.arange(1, 7, dtype=np.float32).reshape(3, 2)
    assert compared(coarse, coarse, engine="reference").agreement.within_tolerance
    assert compared(split, split, rows, "reference").agreement.within_tolerance
    apart = compared(split, other, rows).agreement
    assert not apart.within_tolerance and apart.max_abs == 6
    asked = {"s": [np.ones(2, np.float32), np.zeros(3, np.float32)], "i": np.array(1)}
    # Through workers, which these values travel to.
    assert compare(pick, pick, asked, seconds=0.1, engines=("reference", None)).agreement.within_tolerance


def test_neighbours_in_a_coarse_dtype_are_no_disagreement_and_what_is_finer_stays_exact() -> None:
    coarse = [np.dtype(ml_dtypes.bfloat16)]
    assert of_dtypes(FLOAT32, coarse).relative == 2**-7  # a number between 1 and 2 has seven bits behind the point
    assert of_dtypes(FLOAT32, [*coarse, np.dtype(np.float32)]) == of_dtypes(FLOAT32, []) == FLOAT32
    one = {"y": np.array([1, 3], ml_dtypes.bfloat16)}
    next_one = {"y": np.array([1, 3 + 2**-6], ml_dtypes.bfloat16)}
    far = {"y": np.array([1, 3 + 2**-4], ml_dtypes.bfloat16)}
    allowed = of_dtypes(FLOAT32, coarse)
    assert hold(one, next_one, one, allowed).within_tolerance and not hold(one, far, one, allowed).within_tolerance


def test_maps_with_other_keys_or_values_are_never_taken_for_the_same() -> None:
    def told(*maps: Any) -> dict[str, Any]:
        boxes = np.empty(len(maps), object)
        boxes[:] = maps
        return {name: plain(array).tolist() for name, array in parted({"y": boxes}).items()}

    assert told({"a": 1.0, "b": 2.0}) == told({"b": 2.0, "a": 1.0})
    different = [told({"a": 1.0}), told({"b": 1.0}), told({"a": 1.5}), told({"a": 1.0}, {}), told({}, {"a": 1.0})]
    assert all(one != other for place, one in enumerate(different) for other in different[:place])


def test_texts_of_a_sequence_are_compared_to_their_end() -> None:
    texts = [np.array(["a"] * 2000, object), np.array(["a"] * 2000, object)]
    one, other = np.empty(1, object), np.empty(1, object)
    one[0], other[0] = texts
    assert (plain(one) == plain(other)).all()
    other[0][1000] = "b"  # NumPy's own text of a long array leaves its middle out
    assert (plain(one) != plain(other)).sum() == 1


def test_a_model_without_inputs_is_compared(tmp_path: Path) -> None:
    node = helper.make_node("Constant", [], ["y"], value_floats=[1.0, 2.0])
    path = save(tmp_path / "m.onnx", [node], [], [tensor("y", FLOAT, [2])])
    found = compared(path, path)
    assert found.agreement.within_tolerance and not any("random" in warning for warning in found.warnings)


# --- the reference, and what ONNX Runtime refuses -----------------------------------------------------------------


def test_the_reference_answers_what_onnx_runtime_has_no_kernel_for(tmp_path: Path) -> None:
    add = [helper.make_node("Add", ["x", "x"], ["y"])]
    kind = TensorProto.BFLOAT16
    path = save(tmp_path / "m.onnx", add, [tensor("x", kind, ["N"])], [tensor("y", kind, ["N"])])
    with pytest.raises(UnsupportedModel, match=r"no CPU kernel for Add .* on bfloat16.*'reference'"):
        load_engine(path)
    with load_engine(path, "reference") as engine:
        assert engine.name == "reference" and "many times as long" in engine.why
        assert engine.run(np.float32([1, 2]))["y"].astype(float).tolist() == [2, 4]
        with pytest.raises(AttributeError, match="worker process"):
            _ = engine.answer  # type: ignore[attr-defined]


def test_the_reference_knows_a_functions_defaults(tmp_path: Path) -> None:
    """onnx.reference and onnx.inliner leave them out, the one with an error, the other with another answer."""
    body = "F <alpha: float = 3.0> (x) => (y) { y = LeakyRelu <alpha: float = @alpha> (x) }"
    function = onnx.parser.parse_function(f'<domain: "d", opset_import: ["" : 21]> {body}')
    node = helper.make_node("F", ["x"], ["y"], domain="d")
    sides = [tensor("x", FLOAT, ["N"])], [tensor("y", FLOAT, ["N"])]
    path = save(tmp_path / "m.onnx", [node], *sides, functions=[function], domains=[("d", 1)])
    for engine_name in ("onnxruntime", "reference"):
        with load_engine(path, engine_name, worker=False) as engine:
            assert engine.run(np.float32([-1, 1]))["y"].tolist() == [-3, 1]


def test_the_reference_leaves_spiking_networks_and_foreign_operators_alone(tmp_path: Path) -> None:
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="com.acme")
    sides = [tensor("x", FLOAT, ["N"])], [tensor("y", FLOAT, ["N"])]
    path = save(tmp_path / "m.onnx", [node], *sides, domains=[("com.acme", 1)])
    with pytest.raises(UnsupportedModel, match=r"no operator Frobnicate \(domain com\.acme\)"):
        load_engine(path, "reference")
    lif = save(tmp_path / "lif.onnx", [helper.make_node("LIF", ["x"], ["y"], domain="org.nengo")], *sides)
    with pytest.raises(UnsupportedModel, match="reference implementation does not"):
        load_engine(lif, "reference")


def gemm(path: Path, opset: int, external: bool = False) -> tuple[Path, np.ndarray]:
    """A dense layer of an opset, and its weights; those of opset 6 had `broadcast` as an attribute."""
    weights = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    how = {"broadcast": 1} if opset < 7 else {}
    tensors = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.ones(64, np.float32), "b")]
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], **how)
    sides = [tensor("x", FLOAT, [2, 64])], [tensor("y", FLOAT, [2, 64])]
    save(path, [node], *sides, opset, tensors)
    if external:
        onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path, weights


@pytest.mark.parametrize("external", [False, True])
def test_an_old_opset_is_converted_and_said(tmp_path: Path, external: bool) -> None:
    path, weights = gemm(tmp_path / "m.onnx", 6, external)
    before = path.read_bytes()
    rows = np.random.default_rng(1).random((2, 64)).astype(np.float32)
    with load_engine(path) as engine:
        assert "opset 6" in engine.why and "version_converter" in engine.why
        np.testing.assert_allclose(engine.run(rows)["y"], rows @ weights + 1, rtol=1e-5)  # float32, 64 terms
    assert path.read_bytes() == before


def test_a_comparison_says_that_operators_were_converted(tmp_path: Path) -> None:
    old, new = gemm(tmp_path / "old.onnx", 6)[0], gemm(tmp_path / "new.onnx", 13)[0]
    found = compare(old, new, seconds=0.1)
    assert found.agreement.within_tolerance
    assert [w for w in found.warnings if w.startswith("old.onnx in ONNX Runtime: Its operators are of opset 6")]


def test_opsets_that_cannot_be_mended_are_named_with_both_numbers(tmp_path: Path) -> None:
    sides = [tensor("x", FLOAT, [2])], [tensor("y", FLOAT, [2])]
    new = save(tmp_path / "new.onnx", [helper.make_node("Relu", ["x"], ["y"])], *sides, 99)
    with pytest.raises(UnsupportedModel, match=r"opset 99, and it knows those up to \d+"):
        load_engine(new)
    old = helper.make_node("Gemm", ["x", "w", "b"], ["y"], broadcast=1)  # the converter asks for a fixed batch
    weights = [numpy_helper.from_array(np.ones((2, 2), np.float32), name) for name in "wb"]
    past = save(tmp_path / "old.onnx", [old], [tensor("x", FLOAT, ["N", 2])], sides[1], 5, weights)
    with pytest.raises(UnsupportedModel, match=r"opset 5, and it runs those of 7 and later"):
        load_engine(past)


@pytest.mark.parametrize(
    ("domain", "op_type", "named"),
    [
        ("ai.onnx.contrib", "StringJoin", "package onnxruntime-extensions"),
        ("com.microsoft", "NotThere", "other builds of ONNX Runtime"),
        ("ai.onnx.preview.training", "Adagrad", "'reference'"),
        ("com.acme", "Frobnicate", "the engine this operator was made for"),
    ],
)
def test_an_unknown_operator_is_named_with_where_it_is_found(
    tmp_path: Path, domain: str, op_type: str, named: str
) -> None:
    node = helper.make_node(op_type, ["x"], ["y"], domain=domain)
    sides = [tensor("x", FLOAT, ["N"])], [tensor("y", FLOAT, ["N"])]
    path = save(tmp_path / "m.onnx", [node], *sides, domains=[(domain, 1)])
    with pytest.raises(UnsupportedModel, match=rf"no operator {op_type} \(domain {domain}, opset 1\).*{named}"):
        load_engine(path)


def test_a_locale_that_is_not_here_is_named(tmp_path: Path) -> None:
    node = helper.make_node("StringNormalizer", ["x"], ["y"], case_change_action="LOWER", locale="xx_YY.UTF-8")
    path = save(tmp_path / "m.onnx", [node], [tensor("x", 8, ["N"])], [tensor("y", 8, ["N"])])
    with pytest.raises(UnsupportedModel, match=r"asks for the locale xx_YY\.UTF-8"):
        load_engine(path)


def test_the_end_of_a_long_reason_is_kept_and_no_empty_name(tmp_path: Path) -> None:
    sides = [tensor("x", FLOAT, [1, 2, 3])], [tensor("y", FLOAT, None)]
    gru = helper.make_node("GRU", ["x", "w", "r"], ["y"], hidden_size=2, layout=1)
    weights = [numpy_helper.from_array(np.zeros((1, 6, size), np.float32), name) for name, size in (("w", 3), ("r", 2))]
    path = save(tmp_path / "m.onnx", [gru], *sides, initializers=weights)
    with pytest.raises(UnsupportedModel) as caught:
        load_engine(path)
    assert "with justification" in str(caught.value) and "''" not in str(caught.value)


# --- many of everything -------------------------------------------------------------------------------------------


def test_a_model_of_thousands_of_inputs_gets_sentences_that_can_be_read(tmp_path: Path) -> None:
    names = [f"a_rather_long_feature_name_{place}" for place in range(1500)]
    node = helper.make_node("Sum", names, ["y"])
    inputs = [tensor(name, FLOAT, ["N", 1]) for name in names]
    path = save(tmp_path / "wide.onnx", [node], inputs, [tensor("y", FLOAT, ["N", 1])])
    with load_engine(path) as engine:
        for wrong in (1.0, {}, {"q": 1.0}):
            with pytest.raises(BadInput) as caught:
                engine.run(wrong)
            assert "more" in str(caught.value) and len(str(caught.value)) < 600
    with pytest.raises(BadInput) as caught:
        fit_inputs({"q": np.ones((1, 1), np.float32)}, read_header(path).graph.inputs)
    assert "more" in str(caught.value) and len(str(caught.value)) < 600
    with pytest.raises(BadInput) as caught:
        compared(path, path, "paper")
    assert "more" in str(caught.value) and len(str(caught.value)) < 600
    tried = inferred(path)
    assert len(tried.says) < 600 and len(re.sub(r"<[^>]*>", "", tried._repr_html_())) < 10_000
    shown = re.sub(r"<style>.*?</style>|<[^>]*>", "\n", detect(path)._repr_html_().replace("<wbr>", ""), flags=re.S)
    assert "a_rather_long_feature_name_0: " in shown and max(map(len, shown.splitlines())) < 1000
