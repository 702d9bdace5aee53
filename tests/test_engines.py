"""Loading a model and asking it: `workbench.engines`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper

from workbench.engines import load_engine
from workbench.engines.inputs import CastWarning, cast, check_shape, match
from workbench.engines.onnxruntime import OnnxRuntimeEngine
from workbench.errors import BadInput, UnreadableFile, UnsupportedModel, WorkbenchError
from workbench.files.header import ValueInfo
from workbench.files.registry import ENGINES


def info(dtype: str = "float32", shape: tuple[int | str | None, ...] | None = (None, 4)) -> ValueInfo:
    return ValueInfo("x", dtype, shape)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Sequence[Any]]],
    outputs: Sequence[tuple[str, int, Sequence[Any]]],
    initializers: tuple[onnx.TensorProto, ...] = (),
    opsets: tuple[tuple[str, int], ...] = (("", 18),),
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        initializer=list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*pair) for pair in opsets], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def weighted(path: Path, location: str) -> Path:
    """y = x + w, w being four floats kept in the file `location`."""
    tensor = TensorProto(name="w", dims=[4], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    add = helper.make_node("Add", ["x", "w"], ["y"])
    return save(path, [add], [("x", TensorProto.FLOAT, ["N", 4])], [("y", TensorProto.FLOAT, ["N", 4])], (tensor,))


@pytest.fixture
def subtract(tmp_path: Path) -> OnnxRuntimeEngine:
    """difference = a - b, both of shape (N, 1)."""
    nodes = [helper.make_node("Sub", ["a", "b"], ["difference"])]
    column: list[Any] = ["N", 1]
    path = save(
        tmp_path / "subtract.onnx",
        nodes,
        [("a", TensorProto.FLOAT, column), ("b", TensorProto.FLOAT, column)],
        [("difference", TensorProto.FLOAT, column)],
    )
    return OnnxRuntimeEngine(path)


# --- the paper authors' files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rf_iris", "logreg_iris", "knn_iris"])
def test_the_papers_iris_models_score_their_test_rows(paper_models: Path, name: str) -> None:
    rows, species = np.load(paper_models / "iris_X_test.npy"), np.load(paper_models / "iris_Y_test.npy")
    with load_engine(paper_models / f"{name}.onnx") as engine:
        assert engine.name == "onnxruntime" and "ML" in engine.why
        assert [(value.name, value.dtype, value.shape) for value in engine.inputs] == [
            ("float_input", "float32", (None, 4))
        ]
        with pytest.warns(CastWarning, match="'float_input' was cast from float64 to float32"):
            answer = engine.run(rows)
    accuracy = float((answer["output_label"] == species).mean())
    print(f"{name}: accuracy {accuracy:.3f} on {len(rows)} rows")
    # One of 38 rows on the border between versicolor and virginica may fall either way; four would be a fault.
    assert accuracy >= 0.9
    # ZipMap's list of {label: probability} came back as columns in the order of the labels.
    assert answer["output_probability"].shape == (38, 3)
    assert isinstance(engine, OnnxRuntimeEngine) and engine.classes == {"output_probability": (0, 1, 2)}
    assert (answer["output_probability"].argmax(axis=1) == answer["output_label"]).all()


def test_the_papers_lenet_reads_ten_digits_as_onnx_defines_it(paper_models: Path) -> None:
    digits, targets = (
        np.load(paper_models / "mnist_X_test_10.npy"),
        np.load(paper_models / "mnist_Y_test_10.npy").argmax(axis=1),
    )
    with load_engine(paper_models / "lenet-1.onnx") as engine:
        assert "DL" in engine.why
        scores = engine.run(digits.astype(np.float32))["predictions"]
    right = int((scores.argmax(axis=1) == targets).sum())
    print(f"lenet-1: {right} of 10 digits right")
    # ONNX's own reference implementation, in NumPy, says what the file means.
    from onnx.reference import ReferenceEvaluator

    reference: Any = ReferenceEvaluator(str(paper_models / "lenet-1.onnx")).run(
        None, {"conv1_input": digits.astype(np.float32)}
    )
    # Probabilities after float32 sums of 300 terms in another order.
    np.testing.assert_allclose(scores, reference[0], atol=1e-5)
    # The authors published this file barely trained (its weights lie about where Keras initialises them): half
    # the digits is what it reads. A tenth is chance.
    assert right == 5


def test_a_spiking_model_with_function_bodies_runs_in_onnx_runtime_when_asked(tmp_path: Path) -> None:
    # A neuron reduced to its threshold: the body travels in the file, so any runtime has the operator.
    nodes = [
        helper.make_node("Constant", [], ["threshold"], value_float=1.0),
        helper.make_node("Greater", ["v", "threshold"], ["above"]),
        helper.make_node("Cast", ["above"], ["spikes"], to=TensorProto.FLOAT),
    ]
    opset = [helper.make_opsetid("", 18)]
    body = helper.make_function("org.nengo", "LIF", ["v"], ["spikes"], nodes, opset)
    value = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("v", "spikes")}
    call = helper.make_node("LIF", ["v"], ["spikes"], domain="org.nengo")
    graph = helper.make_graph([call], "g", [value["v"]], [value["spikes"]])
    model = helper.make_model(
        graph, functions=[body], opset_imports=[*opset, helper.make_opsetid("org.nengo", 1)], ir_version=9
    )
    path = tmp_path / "snn.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WorkbenchError, match="LIF"):
        load_engine(path)
    with load_engine(path, "onnxruntime") as engine:
        assert engine.run(np.array([[0.5, 1.5]], np.float32))["spikes"].tolist() == [[0.0, 1.0]]


# --- choosing an engine -----------------------------------------------------------------------------------------


def test_a_model_of_unknown_kind_goes_to_onnx_runtime(tmp_path: Path) -> None:
    matrix = [("x", TensorProto.FLOAT, ["N", 4])]
    path = save(tmp_path / "m.onnx", [helper.make_node("Identity", ["x"], ["y"])], matrix, [("y", 1, ["N", 4])])
    with load_engine(path) as engine:
        assert "not clear" in engine.why
        np.testing.assert_array_equal(engine.run(np.eye(4, dtype=np.float32))["y"], np.eye(4))
    assert load_engine(path, "onnxruntime").why == "You asked for ONNX Runtime."
    with pytest.raises(WorkbenchError, match="is closed"):
        engine.run(np.eye(4, dtype=np.float32))


def test_wrong_engine_names_params_and_formats_get_a_sentence(tmp_path: Path) -> None:
    path = weighted(tmp_path / "m.onnx", "w.bin")
    with pytest.raises(WorkbenchError, match=f"no engine named 'tensorrt'; choose one of: {', '.join(ENGINES)}"):
        load_engine(path, "tensorrt")
    np.zeros(4, np.float32).tofile(tmp_path / "w.bin")
    with pytest.raises(BadInput, match="leave params= out"):
        load_engine(path, params=tmp_path / "w.npz")
    text = tmp_path / "notes.onnx"
    text.write_text("This is no model, only a note about one.\n")
    with pytest.raises(UnsupportedModel, match="No engine here runs"):
        load_engine(text, "onnxruntime")
    with pytest.raises(UnreadableFile, match="nowhere"):
        load_engine(tmp_path / "nowhere.onnx")


# --- what goes to which input -----------------------------------------------------------------------------------


def test_inputs_by_name_position_or_dataframe_give_the_same_answer(subtract: OnnxRuntimeEngine) -> None:
    import pandas as pd

    a, b = np.array([[5.0], [1.0]], np.float32), np.array([[2.0], [4.0]], np.float32)
    expected = np.array([[3.0], [-3.0]], np.float32)
    for inputs in ({"b": b, "a": a}, [a, b], (a, b), pd.DataFrame({"b": b[:, 0], "z": 0.0, "a": a[:, 0]})):
        np.testing.assert_array_equal(subtract.run(inputs)["difference"], expected)


@given(
    rows=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-1e3, 1e3, width=32)),
    wrap=st.sampled_from([list, tuple]),
)
def test_one_array_alone_wrapped_or_named_is_the_same_array(rows: np.ndarray, wrap: Any) -> None:
    free = (info(shape=(None, None)),)
    for value in (rows, wrap([rows]), {"x": rows}, rows.tolist()):
        [(found, data)] = match(value, free)
        assert found is free[0]
        np.testing.assert_array_equal(cast(data, found)[0], rows)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"a": 1}, "Input 'b' is missing: the model's inputs are 'a', 'b'."),
        ({"a": 1, "b": 1, "c": 1}, "There is no input 'c': the model's inputs are 'a', 'b'."),
        ([1], "1 arrays were given, but the model's inputs are 'a', 'b', in this order."),
        (np.zeros((3, 2)), "One array was given, but the model's inputs are 'a', 'b': give {name: array}"),
    ],
)
def test_missing_unknown_and_too_few_inputs_are_named(subtract: OnnxRuntimeEngine, inputs: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        subtract.run(inputs)
    assert str(caught.value).startswith(sentence)


def test_an_initializer_listed_as_input_is_a_default_that_a_name_overrides(tmp_path: Path) -> None:
    bias = onnx.numpy_helper.from_array(np.array([10.0], np.float32), "bias")
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["x", "bias"], ["y"])],
        [("x", TensorProto.FLOAT, ["N"]), ("bias", TensorProto.FLOAT, [1])],
        [("y", TensorProto.FLOAT, ["N"])],
        (bias,),
    )
    engine, x = OnnxRuntimeEngine(path), np.array([1.0, 2.0], np.float32)
    assert [value.name for value in engine.inputs] == ["x"]
    assert engine.run(x)["y"].tolist() == [11.0, 12.0]
    assert engine.run({"x": x, "bias": np.array([1.0], np.float32)})["y"].tolist() == [2.0, 3.0]


# --- dtypes -----------------------------------------------------------------------------------------------------

NUMERIC = [np.dtype(name) for name in "bool int8 int16 int32 int64 uint8 uint32 uint64 float16 float32 float64".split()]


@settings(max_examples=400)
@given(data=st.data(), source=st.sampled_from(NUMERIC), target=st.sampled_from(NUMERIC))
def test_a_cast_keeps_the_values_or_raises(data: st.DataObject, source: np.dtype, target: np.dtype) -> None:
    values = data.draw(hnp.arrays(source, st.integers(0, 6)))
    try:
        result, _ = cast(values, info(target.name, None))
    except BadInput as error:
        assert "'x'" in str(error) and target.name in str(error)
        # It refused, so some value has no equal in the target (Python's numbers compare without a dtype).
        limit = float(np.finfo(target).max) if target.kind == "f" else None
        assert any(
            value != value or abs(value) == float("inf") or int(value) != value
            or not (0 <= value <= 1 if target.kind == "b" else np.iinfo(target).min <= value <= np.iinfo(target).max)
            if limit is None else abs(value) > limit
            for value in values.tolist()
        )  # fmt: skip
        return
    assert result.dtype == target and result.shape == values.shape
    if target.kind == "f":
        # Rounded to the nearest, as every float cast; never an infinity that was not there.
        np.testing.assert_array_equal(np.isfinite(result), np.isfinite(values))
        with np.errstate(over="ignore", under="ignore"):
            np.testing.assert_array_equal(result, values.astype(target))
    else:
        assert [int(value) for value in values.tolist()] == [int(value) for value in result.tolist()]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.array([2**31]), "int32"),
        (np.array([2.0**63]), "int64"),
        (np.array([np.float32(2**31)]), "int32"),
        (np.array([-1]), "uint8"),
        (np.array([2**63], np.uint64), "int64"),
        (np.array([np.nan]), "int64"),
        (np.array([0.5]), "int64"),
        (np.array([1e39]), "float32"),
        (np.array([70000]), "float16"),
        (np.array([2]), "bool"),
        (np.array([1 + 2j]), "float32"),
        (np.array(["1.5"]), "float32"),
        (np.array(["1.5"], object), "float32"),
        (np.array([None, 1.0], object), "float32"),
        (np.array(["2026-01-01"], "datetime64[D]"), "float32"),
        (np.array([1.5]), "string"),
        (np.array(["a", None], object), "string"),
    ],
)
def test_casts_that_change_the_meaning_are_refused(value: np.ndarray, dtype: str) -> None:
    with pytest.raises(BadInput, match="'x' takes"):
        cast(value, info(dtype, None))


def test_a_cast_warns_once_for_each_input_and_lists_need_none(subtract: OnnxRuntimeEngine) -> None:
    column = np.zeros((2, 1))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        subtract.run([[[1.0]], [[2.0]]])
        assert seen == []
        subtract.run([column, column.astype(np.float32)])
        subtract.run([column, column.astype(np.float32)])
        assert [str(warning.message) for warning in seen] == ["Input 'a' was cast from float64 to float32."]
        assert seen[0].category is CastWarning and seen[0].filename == __file__


def test_data_frames_of_mixed_numbers_and_text_columns_fit() -> None:
    import pandas as pd

    frame = pd.DataFrame({"count": [1, 2], "share": [0.5, 0.25], "flag": [True, False]})
    array, _ = cast(frame, info("float32", (None, 3)))
    np.testing.assert_array_equal(array, np.array([[1, 0.5, 1], [2, 0.25, 0]], np.float32))
    words, _ = cast(pd.DataFrame({"word": ["a", "b"]}), info("string", (None, 1)))
    assert words.dtype == object and words.tolist() == [["a"], ["b"]]


def test_sparse_ragged_and_exotic_data_get_a_sentence() -> None:
    from scipy.sparse import csr_matrix

    with pytest.raises(BadInput, match=r"pass x.toarray\(\)"):
        cast(csr_matrix(np.eye(3)), info())
    with pytest.raises(BadInput, match="different lengths"):
        cast([[1, 2], [3]], info())
    with pytest.raises(UnsupportedModel, match="takes a sequence, and the model does not say of what"):
        cast([1], info("sequence", None))


# --- shapes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_shape", "expected", "sentence"),
    [
        ((28, 28, 1), ("N", 28, 28, 1), "takes shape (any, 28, 28, 1), but (28, 28, 1) was given: the batch axis is"),
        ((10, 28, 28), ("N", 28, 28, 1), "(10, 28, 28) was given: use np.expand_dims(x, 3)."),
        ((10, 28, 28), ("N", 1, 28, 28), "(10, 28, 28) was given: use np.expand_dims(x, 1)."),
        ((2, 32, 32, 3), (None, 3, 32, 32), "the model wants channels first (NCHW), use x.transpose(0, 3, 1, 2)."),
        ((2, 3, 32, 32), (None, 32, 32, 3), "the model wants channels last (NHWC), use x.transpose(0, 2, 3, 1)."),
        ((10, 784), (None, 28, 28, 1), "use x.reshape(-1, 28, 28, 1)."),
        ((10, 28, 28), (None, 784), "use x.reshape(-1, 784)."),
        ((5,), (None, 1), "use x.reshape(-1, 1)."),
        ((4,), (None, 4), "the batch axis is missing, use x[None]."),
        ((8, 4), (1, 4), "takes shape (1, 4), but (8, 4) was given: its batch size is fixed, so run 1 at a time."),
        ((10, 5), (None, 4), "takes shape (any, 4), but (10, 5) was given."),
        ((5,), (3,), "takes shape (3,), but (5,) was given"),
    ],
)
def test_shape_errors_name_both_shapes_and_the_plain_fix(
    given_shape: tuple[int, ...], expected: tuple[int | str | None, ...], sentence: str
) -> None:
    with pytest.raises(BadInput) as caught:
        check_shape(np.zeros(given_shape, np.float32), info(shape=expected))
    assert str(caught.value).startswith("Input 'x' takes shape") and sentence in str(caught.value)


@given(shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0), data=st.data())
def test_a_shape_fits_its_own_description_however_loose(shape: tuple[int, ...], data: st.DataObject) -> None:
    loosened = tuple(data.draw(st.sampled_from([dim, "N", None, -1])) for dim in shape)
    check_shape(np.zeros(shape, np.int8), info(shape=loosened))
    check_shape(np.zeros(shape, np.int8), info(shape=None))


def test_an_empty_batch_runs_where_the_model_can_and_says_so_where_not(tmp_path: Path) -> None:
    matrix = [("x", TensorProto.FLOAT, ["N", 4])]
    relu = save(tmp_path / "relu.onnx", [helper.make_node("Relu", ["x"], ["y"])], matrix, [("y", 1, ["N", 4])])
    assert OnnxRuntimeEngine(relu).run(np.zeros((0, 4), np.float32))["y"].shape == (0, 4)
    first = onnx.numpy_helper.from_array(np.array(0), "first")
    nodes = [helper.make_node("Gather", ["x", "first"], ["y"])]
    gather = save(tmp_path / "gather.onnx", nodes, matrix, [("y", 1, [4])], (first,))
    with pytest.raises(BadInput, match="inputs, of which 'x' has no rows: "):
        OnnxRuntimeEngine(gather).run(np.zeros((0, 4), np.float32))


# --- outputs ----------------------------------------------------------------------------------------------------


def test_sequences_become_object_arrays_and_text_stays_text(tmp_path: Path) -> None:
    nodes = [helper.make_node("SplitToSequence", ["x"], ["parts"], axis=0, keepdims=1)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "split.onnx").write_bytes(model.SerializeToString())
    parts = OnnxRuntimeEngine(tmp_path / "split.onnx").run(np.eye(2, dtype=np.float32))["parts"]
    assert parts.dtype == object and [part.tolist() for part in parts] == [[[1.0, 0.0]], [[0.0, 1.0]]]
    echo = save(
        tmp_path / "echo.onnx", [helper.make_node("Identity", ["x"], ["y"])], [("x", 8, ["N"])], [("y", 8, ["N"])]
    )
    assert OnnxRuntimeEngine(echo).run(np.array(["ä", "b"]))["y"].tolist() == ["ä", "b"]


# --- files that ONNX Runtime must not, or cannot, load ----------------------------------------------------------


def test_weights_beside_the_model_are_read_and_missing_or_short_ones_named(tmp_path: Path) -> None:
    np.arange(4, dtype=np.float32).tofile(tmp_path / "w.bin")
    rows = np.ones((1, 4), np.float32)
    beside = OnnxRuntimeEngine(weighted(tmp_path / "m.onnx", "w.bin")).run(rows)["y"]
    np.testing.assert_array_equal(beside, [[1, 2, 3, 4]])
    with pytest.raises(UnreadableFile, match=r"lost\.bin, which is missing"):
        OnnxRuntimeEngine(weighted(tmp_path / "lost.onnx", "lost.bin"))
    np.arange(2, dtype=np.float32).tofile(tmp_path / "w.bin")
    with pytest.raises(UnreadableFile, match=r"w\.bin: 16 bytes .* holds 8 bytes"):
        OnnxRuntimeEngine(tmp_path / "m.onnx")


@pytest.mark.parametrize("attack", ["upwards", "absolute", "symbolic link", "attribute"])
def test_weights_outside_the_models_folder_are_refused(tmp_path: Path, attack: str) -> None:
    secret = tmp_path / "secret.bin"
    np.arange(4, dtype=np.float32).tofile(secret)
    folder = tmp_path / "models"
    folder.mkdir()
    location = {"absolute": str(secret), "symbolic link": "w.bin"}.get(attack, "../secret.bin")
    if attack == "symbolic link":
        os.symlink(secret, folder / "w.bin")
    path = weighted(folder / "m.onnx", location)
    if attack == "attribute":
        # The same tensor inside a Constant node, where no list of initializers shows it.
        model = onnx.load(path, load_external_data=False)
        model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=model.graph.initializer[0]))
        del model.graph.initializer[:]
        path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedModel, match=r"not loaded.*any file that way"):
        OnnxRuntimeEngine(path)


def test_operators_and_versions_onnx_runtime_does_not_know_are_named(tmp_path: Path) -> None:
    matrix = [("x", TensorProto.FLOAT, ["N", 4])]
    result = [("y", TensorProto.FLOAT, ["N", 4])]
    custom = helper.make_node("Frobnicate", ["x"], ["y"], domain="com.acme")
    path = save(tmp_path / "custom.onnx", [custom], matrix, result, opsets=(("", 18), ("com.acme", 1)))
    with pytest.raises(UnsupportedModel, match=r"no operator Frobnicate \(domain com\.acme, opset 1\)"):
        OnnxRuntimeEngine(path)
    model = onnx.load(save(tmp_path / "new.onnx", [helper.make_node("Relu", ["x"], ["y"])], matrix, result))
    model.ir_version = 99
    (tmp_path / "new.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedModel, match=r"cannot load .*: the model is of IR version 99, .* up to \d") as caught:
        OnnxRuntimeEngine(tmp_path / "new.onnx")
    assert "onnxruntime_src" not in str(caught.value) and "\n" not in str(caught.value)


def test_what_fails_inside_the_model_is_one_clean_line_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    three = onnx.numpy_helper.from_array(np.array([3]), "three")
    nodes = [helper.make_node("Reshape", ["x", "three"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, [("x", 1, ["N", "M"])], [("y", 1, [3])], (three,))
    with pytest.raises(BadInput, match=r"Reshape.*Input shape:\{2,4\}, requested shape:\{3\}\.$") as caught:
        OnnxRuntimeEngine(path).run(np.zeros((2, 4), np.float32))
    assert "\n" not in str(caught.value) and "onnxruntime_src" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_threads_and_providers_are_settable(tmp_path: Path) -> None:
    matrix = [("x", TensorProto.FLOAT, ["N", 4])]
    path = save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], matrix, [("y", 1, ["N", 4])])
    engine = OnnxRuntimeEngine(path, threads=1, providers=["CPUExecutionProvider"])
    assert engine.run(-np.eye(4, dtype=np.float32))["y"].max() == 0
    with pytest.raises(WorkbenchError, match=r"no provider 'AbacusExecutionProvider'; it has: .*CPUExecutionProvider"):
        OnnxRuntimeEngine(path, providers=["AbacusExecutionProvider"])
