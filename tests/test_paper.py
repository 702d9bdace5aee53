"""The sample models and the rows to ask them."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from workbench.engines.onnxruntime import OnnxRuntimeEngine
from workbench.errors import BadInput, UnreadableFile
from workbench.paper import make_sample, sample_rows, samples
from workbench.sandbox import Cancelled

# Accuracy on rows held out from training, below which something is wrong:
# iris: the two species that overlap cost any model one or two of the 38 flowers; four lost is 0.89.
# LeNet-1: 4,000 training digits give 0.95 to 0.96 whatever the seed; 0.93 leaves room for another BLAS, and is far
# above a network whose input scale or layout went wrong (0.1 to 0.6).
BARS = {"iris-logistic-regression": 0.9, "iris-random-forest": 0.9, "lenet-1": 0.93}


def test_the_menu_names_each_model_once() -> None:
    menu = samples()
    assert {sample.id: sample.kind for sample in menu} == {
        "iris-logistic-regression": "ML",
        "iris-random-forest": "ML",
        "lenet-1": "DL",
    }
    assert len({sample.file_name for sample in menu}) == len(menu)
    assert all(sample.title and sample.description.endswith(".") for sample in menu)


@pytest.mark.parametrize("id", [pytest.param(id, marks=[pytest.mark.slow] if id == "lenet-1" else []) for id in BARS])
def test_a_sample_is_made_once_and_answers_rows_it_never_saw(id: str, tmp_path: Path) -> None:
    said: list[str] = []
    tensorflow_was_there = "tensorflow" in sys.modules
    path = make_sample(id, tmp_path / "samples", progress=said.append)
    assert [file.name for file in (tmp_path / "samples").iterdir()] == [path.name]
    assert said and said[-1] == "Converting to ONNX"
    assert ("tensorflow" in sys.modules) == tensorflow_was_there

    state, content = path.stat(), path.read_bytes()
    said.clear()
    assert make_sample(id, tmp_path / "samples", progress=said.append) == path
    # No worker started, nothing written.
    assert said == [] and path.stat().st_mtime_ns == state.st_mtime_ns and path.read_bytes() == content

    data = sample_rows(path, limit=1000)
    assert data is not None
    with OnnxRuntimeEngine(path) as engine:
        answer = engine.run(data.inputs)
    *_, probabilities = answer.values()
    # One array of probabilities, a column for each class.
    assert probabilities.shape == (len(data.targets), len(data.class_names))
    accuracy = float((probabilities.argmax(axis=1) == data.targets).mean())
    print(f"{id}: accuracy {accuracy:.3f} on {len(data.targets)} rows")
    assert accuracy >= BARS[id]


@pytest.mark.slow
def test_our_lenet_1_is_the_authors_network(paper_models: Path, tmp_path: Path) -> None:
    import onnx

    ours, theirs = (onnx.load(path) for path in (make_sample("lenet-1", tmp_path), paper_models / "lenet-1.onnx"))

    def layers(model: onnx.ModelProto) -> list[str]:
        kept = ("Conv", "Tanh", "AveragePool", "MatMul", "Softmax")
        return [node.op_type for node in model.graph.node if node.op_type in kept]

    def weights(model: onnx.ModelProto) -> list[list[int]]:
        return sorted(list(t.dims) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT)

    def shape(value: onnx.ValueInfoProto) -> list[Any]:
        return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]

    assert layers(ours) == layers(theirs)
    assert weights(ours) == weights(theirs)
    assert shape(ours.graph.input[0]) == shape(theirs.graph.input[0]) == ["N", 28, 28, 1]
    assert ours.graph.output[0].name == theirs.graph.output[0].name == "predictions"


def test_giving_up_leaves_nothing_behind(tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        make_sample("lenet-1", tmp_path, cancel=cancel)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput, match="no sample model 'lenet-5'; choose one of: iris-logistic-regression, "):
        make_sample("lenet-5", tmp_path)


def model_taking(path: Path, dtype: int, *shapes: list[Any]) -> Path:
    names = [f"x{index}" for index in range(len(shapes))]
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"y{name}"]) for name in names],
        "g",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in zip(names, shapes, strict=True)],
        [helper.make_tensor_value_info(f"y{name}", dtype, None) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("shape", [["N", 28, 28], [None, 1, 28, 28], ["N", 28, 28, 1], ["N", 784]])
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.UINT8])
def test_digits_fit_every_layout_of_28_by_28_pixels(tmp_path: Path, shape: list[Any], dtype: int) -> None:
    path = model_taking(tmp_path / "m.onnx", dtype, shape)
    data = sample_rows(path)
    assert data is not None and data.images is not None
    # The model takes them without a cast or complaint, and they are the pictures shown.
    with OnnxRuntimeEngine(path) as engine:
        echoed = engine.run(data.inputs)["yx0"]
    assert echoed.dtype == data.inputs.dtype and list(data.inputs.shape[1:]) == shape[1:]
    np.testing.assert_array_equal(echoed.reshape(50, 28, 28), data.images)
    assert data.images.max() == 255 and "0 to 255" in data.source
    assert data.targets.shape == (50,) and set(data.targets) == set(range(10))


def test_rows_given_for_an_id_are_those_given_for_the_file(tmp_path: Path) -> None:
    by_file = sample_rows(model_taking(tmp_path / "m.onnx", TensorProto.FLOAT, ["N", 4]))
    by_id = sample_rows("iris-random-forest")
    assert by_file is not None and by_id is not None
    np.testing.assert_array_equal(by_file.inputs, by_id.inputs)
    assert by_id.inputs.shape == (38, 4) and by_id.class_names == ("setosa", "versicolor", "virginica")
    assert by_id.feature_names[0] == "sepal length (cm)"
    digits = sample_rows("lenet-1", limit=3)
    assert digits is not None and digits.inputs.shape == (3, 28, 28, 1)


def test_a_fixed_batch_gets_exactly_its_rows(tmp_path: Path) -> None:
    one = sample_rows(model_taking(tmp_path / "m.onnx", TensorProto.FLOAT, [1, 4]))
    assert one is not None and one.inputs.shape == (1, 4) and one.targets.shape == (1,)
    digits = sample_rows(model_taking(tmp_path / "m.onnx", TensorProto.FLOAT, [64, 784]))
    assert digits is not None and len(digits.inputs) == 64
    assert digits.images is not None and len(digits.images) == 64
    assert sample_rows(model_taking(tmp_path / "m.onnx", TensorProto.FLOAT, [64, 4])) is None


@pytest.mark.parametrize(
    ("dtype", "shapes"),
    [
        (TensorProto.FLOAT, [["N", 5]]),
        (TensorProto.FLOAT, [["N", 3, 224, 224]]),
        (TensorProto.FLOAT, [["N", "features"]]),
        (TensorProto.FLOAT, [["N", 4], ["N", 4]]),
        (TensorProto.INT64, [["N", 4]]),
        (TensorProto.STRING, [["N", 4]]),
        (TensorProto.FLOAT, [[]]),
    ],
)
def test_models_that_want_something_else_get_no_rows(tmp_path: Path, dtype: int, shapes: list[list[Any]]) -> None:
    assert sample_rows(model_taking(tmp_path / "m.onnx", dtype, *shapes)) is None


def test_a_missing_file_is_an_error_and_another_format_is_not(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"nowhere\.onnx"):
        sample_rows(tmp_path / "nowhere.onnx")
    # A well-formed protobuf message (field 1 = 1) that is no model.
    (tmp_path / "other.pb").write_bytes(b"\x08\x01")
    assert sample_rows(tmp_path / "other.pb") is None


def test_the_papers_own_files_take_our_rows(paper_models: Path) -> None:
    for name, size in (("rf_iris", 38), ("lenet-1", 50)):
        data = sample_rows(paper_models / f"{name}.onnx")
        assert data is not None
        with OnnxRuntimeEngine(paper_models / f"{name}.onnx") as engine:
            first = next(iter(engine.run(data.inputs).values()))
        assert len(first) == size
