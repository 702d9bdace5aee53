"""SavedModels, frozen graphs and TFLite files, converted and held against TensorFlow itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
import pytest
from tf_models import agree, job, library, unsuspected

from workbench import detect, load_engine
from workbench.convert import convert as workbench_convert
from workbench.convert.check import check_file
from workbench.convert.draft import Draft
from workbench.convert.proof import ask_native, hold_against
from workbench.engines.onnxruntime import OnnxRuntimeEngine
from workbench.errors import BadInput, NeedsTrust, UnreadableFile, UnsupportedModel
from workbench.files.formats import whole
from workbench.files.header import read_header
from workbench.frameworks.tensorflow import convert as route

COMMON = [
    "dense", "lenet_1", "residual", "depthwise_and_separable", "batch_normalisation", "layer_normalisation",
    "embedding", "attention", "merging", "several_inputs_and_outputs", "an_output_twice_and_an_input_as_output",
    "shared_layers", "up_pad_crop",
]  # fmt: skip
RECURRENT = ["lstm", "gru", "bidirectional"]


def some(names: list[str], *asked: str) -> list[Any]:
    """Those that are asked with every commit, the others in the long run."""
    return [pytest.param(name, marks=[] if name in asked else pytest.mark.long) for name in names]


@pytest.fixture(scope="module", autouse=True)
def tf() -> Any:
    return route.start()


def saved_model(which: str, name: str, folder: Path) -> Path:
    model = networks.build(name, library(which))
    path = folder / "saved"
    if which == "Keras 2":
        model.save(str(path))
    else:
        model.export(str(path), verbose=False)
    return unsuspected(path)


def convert(path: Path, format_name: str, sample: Any = None, **options: Any) -> Draft:
    return route.draft(job(path, format_name, **options), sample, print)


# --- SavedModel ----------------------------------------------------------------------------------------------------


ASKED = {("Keras 3", "lenet_1"), ("Keras 3", "residual"), ("Keras 2", "lstm"), ("Keras 3", "string_lookup")}
"""What is asked with every commit."""


@pytest.mark.parametrize(
    ("which", "name"),
    [
        pytest.param(which, name, id=f"{name}-{which}", marks=[] if (which, name) in ASKED else pytest.mark.long)
        for name in (*COMMON, *RECURRENT, "string_lookup", "mixed_precision", "conv2d")
        for which in ("Keras 3", "Keras 2")
    ],
)
def test_a_saved_model_answers_as_in_tensorflow(which: str, name: str, tmp_path: Path) -> None:
    draft = convert(saved_model(which, name, tmp_path), "SavedModel")
    assert agree(draft).samples >= 4
    assert all(value.shape is not None and value.shape[0] == "N" for value in draft.inputs)


def test_a_signature_is_chosen_by_name(tf: Any, tmp_path: Path) -> None:
    class Two(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable(np.arange(6, dtype=np.float32).reshape(2, 3))

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
        def forward(self, x: Any) -> Any:
            return {"y": tf.matmul(x, self.weight)}

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "y")])
        def back(self, y: Any) -> Any:
            return {"x": tf.matmul(y, self.weight, transpose_b=True)}

    module, path = Two(), tmp_path / "two"
    tf.saved_model.save(module, str(path), signatures={"forward": module.forward, "back": module.back})
    draft = convert(path, "SavedModel", signature="back")
    assert [(value.name, value.shape) for value in draft.inputs] == [("y", ("N", 3))]
    assert draft.notes == ["Of the signatures back, forward, back is converted."]
    agree(draft)
    with pytest.raises(BadInput, match="no signature 'sideways'; choose one of: back, forward"):
        convert(path, "SavedModel", signature="sideways")
    tf.saved_model.save(tf.Module(), str(tmp_path / "none"))
    with pytest.raises(UnsupportedModel, match="has no signature"):
        convert(tmp_path / "none", "SavedModel")


def test_the_file_in_a_saved_model_stands_for_its_folder(tf: Any, tmp_path: Path) -> None:
    folder = saved_model("Keras 3", "dense", tmp_path)
    file = folder / "saved_model.pb"
    assert detect(file).format == detect(folder).format == "SavedModel"
    made = workbench_convert(file, trust=True)
    assert made.agreement.within_tolerance and made.source == str(folder)
    assert made.output == str(tmp_path / "saved.onnx")
    with load_engine(file, trust=True) as native, OnnxRuntimeEngine(made.output) as engine:
        rows = np.ones((2, *native.inputs[0].shape[1:]), np.float32)
        for name, value in native.run(rows).items():
            # Sums of a few dozen float32 numbers in another order.
            np.testing.assert_allclose(engine.run(rows)[name], value, rtol=1e-5, atol=1e-6)
    with pytest.raises(NeedsTrust):
        workbench_convert(file, tmp_path / "untrusted.onnx")
    assert whole(tmp_path / "saved.onnx") == tmp_path / "saved.onnx"


def test_what_is_random_in_the_saved_graph_is_refused_by_name(tmp_path: Path) -> None:
    """Keras 3 exports augmentation switched on."""
    path = saved_model("Keras 3", "augmentation_is_inactive", tmp_path)
    with pytest.raises(UnsupportedModel, match="StatelessRandomUniform"):
        convert(path, "SavedModel")


# --- frozen graphs -------------------------------------------------------------------------------------------------


def frozen(tf: Any, name: str, folder: Path, *, lower: bool = False) -> Path:
    """As people freeze TensorFlow 2 models; loops whole unless `lower`, TensorFlow's default."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = networks.build(name, library("Keras 2"))
    specs = [tf.TensorSpec(value.shape, value.dtype, f"in_{index}") for index, value in enumerate(model.inputs)]
    function = tf.function(lambda *x: model(x[0] if len(x) == 1 else list(x), training=False))
    concrete = convert_variables_to_constants_v2(function.get_concrete_function(*specs), lower_control_flow=lower)
    path = folder / f"{name}.pb"
    path.write_bytes(concrete.graph.as_graph_def().SerializeToString())
    return unsuspected(path)


@pytest.mark.parametrize(
    "name",
    some(
        [*COMMON, *RECURRENT, "conv2d"],
        "batch_normalisation", "depthwise_and_separable", "embedding", "several_inputs_and_outputs", "lstm",
    ),
)  # fmt: skip
def test_a_frozen_graph_answers_as_in_tensorflow(tf: Any, name: str, tmp_path: Path) -> None:
    draft = convert(frozen(tf, name, tmp_path), "GraphDef")
    agree(draft)
    assert [value.name for value in draft.inputs] == [f"in_{index}" for index in range(len(draft.inputs))]


def test_a_lookup_table_in_a_frozen_graph_is_filled_and_its_keys_are_asked(tf: Any, tmp_path: Path) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        keys = tf.constant(["cat", "dog", "Großer Hund"])
        pairs = tf.lookup.KeyValueTensorInitializer(keys, tf.constant([3, 1, 2], tf.int64))
        words = v1.placeholder(tf.string, [None, 2], "words")
        tf.identity(tf.lookup.StaticHashTable(pairs, -1).lookup(words), name="ids")
    path = tmp_path / "table.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    draft = convert(path, "GraphDef")
    assert set(draft.known) == {"cat", "dog", "Großer Hund"}
    assert "3 of the 3 that its tables know" in agree(draft).asked[0]
    rows = np.array([["cat", "owl"], ["Großer Hund", "dog"]], object)
    with OnnxRuntimeEngine(draft.model) as engine:
        np.testing.assert_array_equal(engine.run(rows)["ids"], [[3, -1], [2, 1]])


def test_inputs_and_outputs_of_a_graph_can_be_named(tf: Any, tmp_path: Path) -> None:
    path = frozen(tf, "dense", tmp_path)
    draft = convert(path, "GraphDef", inputs=["in_0"], outputs=["sequential/dense/Relu"])
    agree(draft)
    assert [(v.name, v.shape) for v in read_header(draft.model).graph.outputs] == [("Relu", ("N", 16))]
    with pytest.raises(BadInput, match="does not hold the inputs or outputs asked for"):
        convert(path, "GraphDef", outputs=["nowhere"])


def test_loops_taken_apart_are_refused_with_the_way_out(tf: Any, tmp_path: Path) -> None:
    path = frozen(tf, "gru_reset_before", tmp_path, lower=True)
    with pytest.raises(UnsupportedModel, match=r"lower_control_flow=False.* TensorList"):
        convert(path, "GraphDef")


def test_a_graph_with_its_weights_elsewhere_is_refused(tf: Any, tmp_path: Path) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 2], "x")
        tf.matmul(x, v1.get_variable("w", [2, 2], use_resource=False), name="y")
    (tmp_path / "loose.pb").write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(UnsupportedModel, match=r"loose\.pb is not frozen"):
        convert(tmp_path / "loose.pb", "GraphDef", outputs=["y"])


def test_an_input_without_a_shape_takes_it_from_the_sample(tf: Any, tmp_path: Path) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, None, "x")
        tf.nn.softmax(tf.matmul(x, tf.constant(np.eye(3, 4, dtype=np.float32))), name="y")
    path = tmp_path / "old.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(UnsupportedModel, match="does not say the shape of its input 'x'"):
        convert(path, "GraphDef")
    sample = np.random.default_rng(0).random((5, 3), dtype=np.float32)
    draft = convert(path, "GraphDef", sample)
    assert draft.inputs[0].shape == ("N", 3)
    agree(draft, sample)


# --- TFLite --------------------------------------------------------------------------------------------------------


def tflite(tf: Any, which: str, name: str, folder: Path, quantized: str = "") -> Path:
    """`quantized`: ``weights`` alone, ``int16x8``, or everything, with inputs and outputs of a dtype."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model(which, name, folder)))
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantized in ("int8", "uint8", "float32", "int16x8"):
        model, rng = networks.build(name, library(which)), np.random.default_rng(0)
        shapes = [(1, *value.shape[1:]) for value in model.inputs]
        converter.representative_dataset = lambda: (
            [rng.standard_normal(shape).astype(np.float32) for shape in shapes] for _ in range(50)
        )
        sets = tf.lite.OpsSet
        wide = sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [wide if quantized == "int16x8" else sets.TFLITE_BUILTINS_INT8]
        if quantized != "int16x8":
            converter.inference_input_type = converter.inference_output_type = getattr(tf, quantized)
    path = folder / "model.tflite"
    path.write_bytes(converter.convert())
    return unsuspected(path)


@pytest.mark.parametrize(
    "name",
    some(
        [*COMMON, "discretization", "multi_head_attention", "activation_layers"],
        "depthwise_and_separable", "several_inputs_and_outputs", "an_output_twice_and_an_input_as_output",
        "discretization", "multi_head_attention",
    ),
)  # fmt: skip
def test_a_tflite_file_answers_as_in_its_interpreter(tf: Any, name: str, tmp_path: Path) -> None:
    # Which Keras made the network leaves no trace in TFLite's operators.
    draft = convert(tflite(tf, "Keras 3", name, tmp_path), "TFLite")
    agree(draft)
    names = {value.name for value in draft.inputs}
    assert names <= {"x", "image", "age", "a", "b", "query", "value"}
    # TensorFlow keeps rows free, and so do we.
    assert all(value.shape is not None and value.shape[0] == "N" for value in draft.inputs)


@pytest.mark.parametrize("which", ["SavedModel", "TFLite"])
def test_a_batch_asked_for_is_in_every_shape_and_both_sides_agree(tf: Any, which: str, tmp_path: Path) -> None:
    made = tflite(tf, "Keras 3", "dense", tmp_path) if which == "TFLite" else saved_model("Keras 3", "dense", tmp_path)
    draft = convert(made, which, batch=3)
    graph = read_header(draft.model).graph
    assert {value.shape[0] for value in (*graph.inputs, *graph.outputs) if value.shape} == {3}
    assert agree(draft).samples % 3 != 0


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("residual", "int8"),
        ("dense", "uint8"),
        pytest.param("lenet_1", "int8", marks=pytest.mark.long),
        ("lenet_1", "float32"),
    ],
)
def test_a_quantized_tflite_file_differs_by_its_rounding_only(tf: Any, name: str, ends: str, tmp_path: Path) -> None:
    """In LeNet, one step before tanh and softmax becomes a dozen behind them."""
    draft = convert(tflite(tf, "Keras 2", name, tmp_path, ends), "TFLite")
    assert [value.dtype for value in draft.inputs] == [ends]
    assert read_header(draft.model).op_types()["", "QuantizeLinear"] > 0
    assert draft.tolerance.steps > 0 and (draft.tolerance.step > 0) is (ends == "float32")
    check_file(draft.model)
    asked = ask_native(draft)
    answers = {row.tobytes() for group in asked.groups for row in group.answers["output"]}
    assert len(answers) > 8, "these rows tell no model from another"
    found, _ = hold_against(asked, draft.model, draft.tolerance)
    assert found.within_tolerance, found.says
    assert found.undecided < found.samples / 5
    wrong = onnx.load(draft.model)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in wrong.graph.initializer}
    kernels = [node for node in wrong.graph.node if node.input[0] in stored and stored[node.input[0]].dtype == np.int8]
    kernel = max(kernels, key=lambda node: stored[node.input[0]].size)
    assert kernel.op_type == "DequantizeLinear"
    wrong.graph.initializer.append(onnx.numpy_helper.from_array(stored[kernel.input[1]] * np.float32(1.5), "larger"))
    kernel.input[1] = "larger"
    onnx.save(wrong, tmp_path / "wrong.onnx")
    found, _ = hold_against(asked, tmp_path / "wrong.onnx", draft.tolerance)
    assert not found.within_tolerance and found.max_abs > 4 * (draft.tolerance.step or 1)


def test_weights_quantized_alone_are_the_same_in_onnx(tf: Any, tmp_path: Path) -> None:
    draft = convert(tflite(tf, "Keras 2", "dense_above_the_size_kept_out_of_the_graph", tmp_path, "weights"), "TFLite")
    assert any("quantized (int8)" in note for note in draft.notes)
    agree(draft, np.random.default_rng(0).standard_normal((20, 200)).astype(np.float32))


def test_a_file_in_16_bits_is_told_from_others_and_converted_to_float32_where_asked(tf: Any, tmp_path: Path) -> None:
    path = tflite(tf, "Keras 3", "dense", tmp_path, "int16x8")
    with pytest.raises(UnsupportedModel, match=r"computes in 16 bits \(int16x8\).*dequantize=True"):
        convert(path, "TFLite")
    draft = convert(path, "TFLite", dequantize=True)
    assert ("", "QuantizeLinear") not in read_header(draft.model).op_types()
    ((name, (low, high)),) = draft.ranges.items()
    rows = np.random.default_rng(0).standard_normal((20, *draft.inputs[0].shape[1:])).astype(np.float32)
    assert name == draft.inputs[0].name and low < rows.min() / 2 < 0 < rows.max() / 2 < high
    # Rows like those it was quantized for, on which its inner layers do not cut off.
    agree(draft, np.clip(rows, low, high))
    assert any("cuts off" in note for note in draft.notes)


def test_a_file_with_operators_of_full_tensorflow_is_refused_by_every_door(tf: Any, tmp_path: Path) -> None:
    rolled = tf.function(
        lambda x: tf.raw_ops.Roll(input=x, shift=[1], axis=[1]), input_signature=[tf.TensorSpec([None, 8], tf.float32)]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([rolled.get_concrete_function()])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    path = tmp_path / "flex.tflite"
    path.write_bytes(converter.convert())
    for door in (lambda: convert(path, "TFLite"), lambda: load_engine(path)):
        with pytest.raises(UnsupportedModel, match=r"flex\.tflite holds operators of full TensorFlow \(FlexRoll\)"):
            door()


def test_pictures_in_eight_bits_are_proved_over_all_their_values(tf: Any, tmp_path: Path) -> None:
    """A network that is blind to the brightest pixels does not pass for one that is not."""
    draft = convert(tflite(tf, "Keras 2", "lenet_1", tmp_path, "uint8"), "TFLite")
    name = draft.inputs[0].name
    assert agree(draft).asked == (f"{name}: uint8 from 0 to 255.",)
    native = draft.native
    draft.native = lambda a: native({name: np.minimum(a[name], 128)})
    with pytest.raises(AssertionError):
        agree(draft)


def test_an_index_into_a_table_is_asked_for_each_of_its_rows(tf: Any, tmp_path: Path) -> None:
    draft = convert(tflite(tf, "Keras 3", "embedding", tmp_path), "TFLite")
    assert draft.ranges == {"x": (0, 49)}
    assert agree(draft).asked == ("x: int32 from 0 to 49.",)


# --- what cannot be read -------------------------------------------------------------------------------------------


def test_damaged_files_and_unknown_options_are_refused_in_a_sentence(tf: Any, tmp_path: Path) -> None:
    for format_name, name in (("GraphDef", "torn.pb"), ("TFLite", "torn.tflite")):
        (tmp_path / name).write_bytes(b"\x1c\x00\x00\x00TFL3" + b"\xff" * 40)
        with pytest.raises(UnreadableFile, match=f"TensorFlow cannot read {name}"):
            convert(tmp_path / name, format_name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableFile, match="TensorFlow cannot read empty"):
        convert(tmp_path / "empty", "SavedModel")
    with pytest.raises(BadInput, match="no option 'inputs' for SavedModel; choose from: opset, batch, signature"):
        convert(tmp_path / "empty", "SavedModel", inputs=["x"])
