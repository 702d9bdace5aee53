"""Keras models of every layer family, of Keras 3 and of Keras 2, converted and held against themselves.

Every model goes through a file, as a person's would: ``.keras`` for Keras 3, ``.h5`` for Keras 2.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import networks
import numpy as np
import onnx
import pytest
from tf_models import agree, job, library, unsuspected

from workbench.__main__ import main
from workbench.convert import convert, work
from workbench.convert.draft import Draft
from workbench.convert.options import chosen
from workbench.convert.proof import ask_native
from workbench.engines.onnxruntime import OnnxRuntimeEngine
from workbench.errors import BadInput, NeedsTrust, UnreadableFile, UnsupportedModel
from workbench.files import certificate
from workbench.files.header import Header, read_header
from workbench.frameworks.tensorflow import OPTIONS, to_onnx
from workbench.frameworks.tensorflow import convert_keras as keras_route
from workbench.frameworks.tensorflow import network as tf_network
from workbench.frameworks.tensorflow import weights as weights_module
from workbench.frameworks.tensorflow.convert_start import start
from workbench.safety.trust import objects_in

FEWEST = 30
"""Families each Keras must convert."""

CASES = [("Keras 3", name) for name in networks.FAMILIES] + [
    ("Keras 2", name) for name in networks.FAMILIES if name not in networks.ONLY_KERAS_3
]

IN_BOTH = (
    "lenet_1", "batch_normalisation", "gru", "bidirectional", "masked_lstm", "multi_head_attention", "nested_models",
    "several_inputs_and_outputs", "string_lookup", "mixed_precision",
)  # fmt: skip
"""What is asked of both with every commit; of the rest every fourth, of Keras 3."""


@pytest.fixture(scope="module", autouse=True)
def started() -> None:
    start()


def save(model: Any, folder: Path) -> Path:
    path = folder / ("model.keras" if type(model).__module__.startswith("keras.") else "model.h5")
    model.save(str(path))
    return path


def make(source: Path | Any, folder: Path, sample: Any = None, **options: Any) -> Draft:
    model = keras_route.load(source) if isinstance(source, Path) else source
    return keras_route.draft(
        model, sample, to_onnx.Writing(folder / "model.onnx", print, **chosen(OPTIONS, options, "Keras"))
    )


def header_of(draft: Draft) -> Header:
    assert isinstance(draft.model, Path)
    return read_header(draft.model)


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """One line for every network, printed at the end."""
    lines: list[str] = []
    yield lines
    print("\n" + "\n".join(sorted(lines)))
    if len(lines) == len(CASES):
        for which in ("Keras 2", "Keras 3"):
            assert sum(line.startswith(which) for line in lines) >= FEWEST


@pytest.mark.parametrize(
    ("which", "name"),
    [
        pytest.param(
            *case,
            id="-".join(case),
            marks=[] if case[1] in IN_BOTH or (case[0] == "Keras 3" and number % 4 == 1) else pytest.mark.long,
        )
        for number, case in enumerate(CASES)
    ],
)
def test_a_network_of_each_family_answers_as_in_keras(which: str, name: str, tmp_path: Path, table: list[str]) -> None:
    model = networks.build(name, library(which))
    draft = make(unsuspected(save(model, tmp_path)), tmp_path)
    agreement, header = agree(draft), header_of(draft)
    table.append(
        f"{which} {name:48} {agreement.samples:4} samples, max_abs {agreement.max_abs:8.2g}, max_rel "
        f"{agreement.max_rel:8.2g}, {sum(header.op_types().values())} nodes"
    )
    # At least one row of each sort must have been answerable.
    assert agreement.samples >= 4
    # A DL model must not look like a classical one: tables of words are the one exception.
    assert ("ai.onnx.ml" in header.opset_import) == (name in ("string_lookup", "integer_lookup"))
    if name != "fixed_batch":
        assert all(value.shape is not None and value.shape[0] == "N" for value in header.graph.inputs)


@pytest.mark.parametrize("limit", [-1, 1 << 40])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("conv2d", marks=pytest.mark.long), "depthwise_and_separable",
        pytest.param("transposed", marks=pytest.mark.long), "embedding",
        pytest.param("mixed_precision", marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_small_and_large_weights_take_both_ways_and_agree(
    name: str, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every weight of a few networks out of the graph, whatever its size; and none."""
    monkeypatch.setattr(tf_network, "LARGE", limit)
    draft = make(networks.build(name, library("Keras 3")), tmp_path)
    agree(draft)
    assert header_of(draft).parameters > 0


def test_kernels_are_laid_out_when_they_are_written(tmp_path: Path) -> None:
    draft = make(networks.build("conv2d_above_the_size_kept_out_of_the_graph", library("Keras 3")), tmp_path)
    agree(draft)
    graph = header_of(draft).graph
    kernels = [graph.initializers[node.inputs[1]].shape for node in graph.nodes if node.op_type == "Conv"]
    assert kernels == [(64, 32, 3, 3), (64, 64, 3, 3)]
    # To channels-first and back, and none for a kernel.
    assert Counter(node.op_type for node in graph.nodes)["Transpose"] <= 2


@pytest.mark.parametrize("which", ["Keras 3", "Keras 2"])
def test_a_flatten_is_one_reshape(which: str, tmp_path: Path) -> None:
    draft = make(networks.build("lenet_1", library(which)), tmp_path)
    counted = Counter(node.op_type for node in header_of(draft).nodes())
    assert counted["Reshape"] >= 1 and not {"Shape", "Concat", "Slice", "Cast"} & set(counted)


def test_names_are_those_of_the_layers(tmp_path: Path) -> None:
    k = library("Keras 3")
    draft = make(networks.build("several_inputs_and_outputs", k), tmp_path)
    agree(draft)
    graph = header_of(draft).graph
    assert [(v.name, v.dtype, v.shape) for v in graph.inputs] == [
        ("image", "float32", ("N", 8, 8, 1)), ("age", "float32", ("N", 1))
    ]  # fmt: skip
    assert [(v.name, v.shape) for v in graph.outputs] == [("kind", ("N", 3)), ("weight", ("N", 1))]
    assert draft.inputs == graph.inputs

    named = make(networks.build("inputs_and_outputs_by_name", k), tmp_path)
    assert [value.name for value in named.inputs] == ["a", "b"]
    assert {value.name for value in header_of(named).graph.outputs} == {"z", "y"}
    assert [value.name for value in make(networks.build("unnamed_input", k), tmp_path).inputs] == ["input"]


def test_any_number_of_rows_and_any_size_of_picture_go_through(tmp_path: Path) -> None:
    draft = make(networks.build("any_image_size", library("Keras 3")), tmp_path)
    agree(draft)
    assert draft.inputs[0].shape == ("N", "x_1", "x_2", 3)
    rng = np.random.default_rng(0)
    with OnnxRuntimeEngine(draft.model) as engine:
        for shape in ((1, 9, 12, 3), (7, 20, 5, 3)):
            x = rng.random(shape, dtype=np.float32)
            np.testing.assert_allclose(engine.run(x)["dense"], draft.native({"x": x})["dense"], rtol=1e-4, atol=1e-5)


def test_a_batch_asked_for_is_in_every_shape_and_both_sides_agree(tmp_path: Path) -> None:
    k = library("Keras 3")
    draft = make(networks.build("several_inputs_and_outputs", k), tmp_path, batch=3)
    graph = header_of(draft).graph
    assert {value.shape[0] for value in (*graph.inputs, *graph.outputs) if value.shape} == {3}
    # The source model is asked as always; ONNX gets the rows three at a time.
    assert agree(draft).samples % 3 != 0
    with pytest.raises(BadInput, match=r"so the model cannot take 3 rows at a time: leave batch out"):
        make(networks.build("fixed_batch", k), tmp_path, batch=3)


def test_an_embedding_says_which_indices_it_takes(tmp_path: Path) -> None:
    for which in ("Keras 3", "Keras 2"):
        draft = make(networks.build("embedding", library(which)), tmp_path)
        assert draft.ranges == {"x": (0, 49)}


def test_recurrent_layers_stay_recurrent_operators_where_the_converter_knows_them(tmp_path: Path) -> None:
    draft = make(networks.build("lstm", library("Keras 3")), tmp_path)
    assert Counter(node.op_type for node in header_of(draft).nodes())["LSTM"] == 2


# --- operators that tf2onnx gets wrong or does not know ---------------------------------------------------------------


RESIZED = (((20, 30), (13, 17)), ((28, 28), (32, 32)), ((None, None), (13, 17)), ((180, 180), (224, 224)))


def function(which: str) -> Any:
    """A network of one operator."""
    k = library("Keras 3")
    ops, layers = k.ops, k.layers
    shape, dtype, apply = {
        "one_hot": ((3,), "int32", lambda a: ops.one_hot(a, 5)),
        "one_hot first": ((3,), "int64", lambda a: ops.one_hot(a, 5, axis=1)),
        "one_hot bool": ((3,), "int32", lambda a: ops.one_hot(a, 5, dtype="bool")),
        "mod of integers": ((3,), "int64", lambda a: ops.mod(a, 7)),
        "mod by a negative": ((3,), "int32", lambda a: ops.mod(a, -7)),
        "division of integers": ((3,), "int32", lambda a: ops.floor_divide(a, 7)),
        "division by a negative": ((3,), "int64", lambda a: ops.floor_divide(a, -7)),
        "mod": ((9,), "float32", lambda a: ops.mod(a, 0.7)),
        "mod by a negative number": ((9,), "float32", lambda a: ops.mod(a, -0.7)),
        "log1p": ((9,), "float32", ops.log1p),
        "einsum": ((4, 5), "float32", lambda a: ops.einsum("...ij,...kj->...ik", a, a)),
        "a crop larger than the picture": ((20, 30, 3), "float32", layers.CenterCrop(40, 40)),
        "bincount": ((4, 5), "float32", lambda a: ops.bincount(ops.cast(ops.abs(a[:, 0]) * 2, "int32"), minlength=5)),
        **{
            f"{size} to {to} {how}": ((*size, 3), dtype, layers.Resizing(*to, interpolation=how))
            for size, to in RESIZED
            for how, dtype in (("bilinear", "float32"), ("bicubic", "float32"), ("nearest", "uint8"))
        },
    }[which]
    x = k.Input(shape, dtype=dtype, name="x")
    return k.Model(x, apply(x))


@pytest.mark.parametrize(
    "which",
    [
        "one_hot", "one_hot first", "one_hot bool", "mod of integers", "mod by a negative", "division of integers",
        "division by a negative", "mod", "mod by a negative number", "log1p", "einsum", "bincount",
        "a crop larger than the picture",
        *(
            pytest.param(
                f"{size} to {to} {how}",
                marks=[] if size == (20, 30) or (how, size) == ("bilinear", (None, None)) else pytest.mark.long,
            )
            for size, to in RESIZED for how in ("bilinear", "bicubic", "nearest")
        ),
    ],
)  # fmt: skip
def test_an_operator_answers_as_in_keras_for_all_numbers_its_input_holds(which: str, tmp_path: Path) -> None:
    draft = make(function(which), tmp_path)
    found = agree(draft)
    dtype = np.dtype(draft.inputs[0].dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        assert found.asked == (f"x: {dtype} from {limits.min:,} to {limits.max:,}.",)
    assert found.undecided < found.samples / 4
    assert bool(draft.notes) is (which == "einsum")


@pytest.mark.parametrize("fault", ["another answer", "no ONNX"])
def test_where_our_form_of_an_operator_does_not_prove_that_of_tf2onnx_is_taken_and_said(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    k = library("Keras 3")
    path = save(k.Sequential([k.Input((4,), name="x"), k.layers.Activation("relu")]), tmp_path)

    def form(graph: Any, node: Any, name: str, args: Any) -> Any:
        node.type = "Neg" if fault == "another answer" else "Softplus"
        if fault == "no ONNX":
            node.set_attr("axis", 1)
        return node

    monkeypatch.setattr(to_onnx, "handlers", lambda tables: {"Relu": (form, [])})
    task = job(path, "Keras v3")
    found = work.settle(task, keras_route.draft_file(task, None, {}, print), None, print)
    assert found.agreement.within_tolerance and to_onnx.PLAIN in found.warnings
    assert Counter(node.op_type for node in read_header(found.path).nodes())["Relu"] == 1


def test_a_number_that_becomes_a_size_stays_small(tmp_path: Path) -> None:
    """As many zeros as the input says would be more memory than there is."""
    assert make(function("bincount"), tmp_path).ranges == {"x": (-999, 999)}
    k = library("Keras 3")
    turns = k.Input((), dtype="int32", name="turns")
    loop = k.ops.while_loop(lambda turn: turn[0] < 5, lambda turn: (turn + 1,), (turns,))
    assert make(k.Model(turns, loop[0]), tmp_path).ranges == {"turns": (0, 9)}


def test_the_pixels_of_a_resized_picture_are_those_of_keras(tmp_path: Path) -> None:
    """A network that reads one pixel beside the right one does not pass for it."""
    k = library("Keras 3")
    x = k.Input((20, 30, 1), name="x")
    draft = make(k.Model(x, k.layers.Resizing(13, 17)(x)), tmp_path)
    agree(draft)
    shifted = k.Model(x, k.layers.Resizing(13, 17)(k.ops.roll(x, 1, axis=1)))
    native = draft.native
    draft.native = lambda a: {name: shifted(a["x"]).numpy() for name in native(a)}
    with pytest.raises(AssertionError):
        agree(draft)


@pytest.mark.parametrize(("layer", "dtype"), [("IntegerLookup", "int64"), ("StringLookup", "string")])
def test_the_keys_of_a_lookup_layer_are_asked(layer: str, dtype: str, tmp_path: Path) -> None:
    k = library("Keras 3")
    words = [100, 200, 1 << 40] if dtype == "int64" else ["red", "Green apple", "blau"]
    x = k.Input((2,), dtype=dtype, name="x")
    draft = make(k.Model(x, getattr(k.layers, layer)(vocabulary=words)(x)), tmp_path)
    assert set(words) <= set(draft.known)
    found = agree(draft)
    assert f"{len(draft.known)} of the {len(draft.known)} that its tables know" in found.asked[0]
    # Also where the network goes on with what was found.
    y = getattr(k.layers, layer)(vocabulary=words, output_mode="multi_hot")(x)
    (tmp_path / "multi_hot").mkdir()
    agree(make(k.Model(x, y), tmp_path / "multi_hot"))
    # A model that does not know the last of them.
    native, default = draft.native, 1
    draft.native = lambda a: {
        name: np.where(a["x"] == words[-1], default, value) for name, value in native(a).items()
    }  # fmt: skip
    with pytest.raises(AssertionError):
        agree(draft)


@pytest.mark.parametrize("which", ["Keras 3", "Keras 2"])
def test_a_state_is_told_apart_from_randomness_and_every_call_of_the_onnx_file_begins_anew(
    which: str, tmp_path: Path
) -> None:
    k = library(which)
    model = k.Sequential([k.Input(batch_shape=(2, 5, 3)), k.layers.LSTM(4, stateful=True)])
    draft = make(model, tmp_path)
    assert draft.state is not None
    agree(draft)
    notes = ask_native(draft).notes
    assert any("keeps a state from one call to the next" in note for note in notes)
    assert not any("random" in note for note in notes)
    x = np.random.default_rng(0).random((2, 5, 3), dtype=np.float32)
    with OnnxRuntimeEngine(draft.model) as engine:
        (first,), (second,) = (engine.run(x).values() for _ in range(2))
    draft.state.restore()
    (begun,), (later,) = (draft.native({draft.inputs[0].name: x}).values() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, begun, rtol=1e-5, atol=1e-6)  # one rounding of float32, a few times over
    assert np.abs(later - begun).max() > 1e-3
    stateless = make(networks.build("lstm", k), tmp_path)
    assert not any("keeps a state" in note for note in ask_native(stateless).notes)


def test_a_model_that_keras_cannot_save_is_converted_from_its_saved_model(tmp_path: Path) -> None:
    k = library("Keras 3")
    x = k.Input((4,), name="x")
    model = k.Model(x, k.ops.fori_loop(0, 3, lambda turn, sum_: sum_ * 0.5 + 1, x))
    made = convert(model, tmp_path / "loop.onnx")
    assert made.agreement.within_tolerance and made.agreement.samples == 128
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    with OnnxRuntimeEngine(tmp_path / "loop.onnx") as engine:
        # Three times halved and one added, in numbers that float32 holds exactly.
        np.testing.assert_array_equal(next(iter(engine.run(rows).values())), rows / 8 + 1.75)


# --- custom layers, subclassed models ------------------------------------------------------------------------------


def scaled_layer(k: Any) -> type:
    class Scaled(k.layers.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, factor: float = 2.0, **options: Any) -> None:
            super().__init__(**options)
            self.factor = factor

        def build(self, shape: Any) -> None:
            self.offset = self.add_weight(name="offset", shape=(shape[-1],), initializer="ones")

        def call(self, x: Any) -> Any:
            return x * self.factor + self.offset

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "factor": self.factor}

    return Scaled


@pytest.mark.parametrize("which", ["Keras 3", "Keras 2"])
def test_a_custom_layer_is_taken_as_an_object(which: str, tmp_path: Path) -> None:
    k = library(which)
    scaled = scaled_layer(k)
    path = save(k.Sequential([k.Input((3,), name="x"), scaled(3.0), k.layers.Dense(2)]), tmp_path)
    with pytest.raises(UnsupportedModel, match="'Scaled', which is not Keras's own: pass custom_objects"):
        keras_route.load(path)
    agree(make(keras_route.load(path, custom_objects={"Scaled": scaled}), tmp_path))


_OWN = """
import keras


@keras.saving.register_keras_serializable("mine")
class Scale(keras.layers.Layer):
    def call(self, x):
        return x * 3


@keras.saving.register_keras_serializable("mine")
def swishy(x):
    return x * keras.ops.sigmoid(x)
"""


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_all_that_a_file_lacks_is_named_as_keras_looks_it_up_and_taken_under_a_short_name_too(
    suffix: str, tmp_path: Path
) -> None:
    k = library("Keras 3")
    (tmp_path / "own.py").write_text(_OWN)
    own = objects_in(tmp_path / "own.py", trust=True)
    assert own.keys() == {"Scale", "swishy"}
    path = tmp_path / f"model{suffix}"
    layers = [k.layers.Dense(4, activation=own["swishy"]), own["Scale"](name="scale")]
    model = k.Sequential([k.Input((8,), name="x"), *layers])
    model.save(path)
    registered = k.saving.get_custom_objects()
    kept = {name: registered.pop(name) for name in ("mine>Scale", "mine>swishy")}
    for given, missing in (({}, kept), ({"Scale": own["Scale"]}, ["mine>swishy"])):
        with pytest.raises(UnsupportedModel) as raised:
            keras_route.load(path, custom_objects=given, trust=True)
        assert all((f"'{name}'" in str(raised.value)) is (name in missing) for name in kept)
    rows = np.linspace(-2, 2, 16, dtype=np.float32).reshape(2, 8)
    for given in (own, kept):
        loaded = keras_route.load(path, custom_objects=given, trust=True)
        np.testing.assert_array_equal(loaded(rows), model(rows))


def test_classes_are_taken_from_a_python_file_only_where_it_is_trusted(tmp_path: Path) -> None:
    run, path = tmp_path / "run", tmp_path / "own.py"
    path.write_text(f"open({str(run)!r}, 'w').close()\ndef double(x):\n    return 2 * x\n")
    with pytest.raises(NeedsTrust, match=r"own\.py is Python code"):
        objects_in(path, trust=False)
    assert not run.exists()
    assert objects_in(path, trust=True)["double"](2) == 4 and run.exists()
    for text in ("1 / 0", "import os", "def"):
        path.write_text(text)
        with pytest.raises(UnreadableFile, match=r"own\.py was to define classes"):
            objects_in(path, trust=True)
    with pytest.raises(UnreadableFile, match=r"nowhere\.py was to define classes"):
        objects_in(tmp_path / "nowhere.py", trust=True)


def test_the_command_line_takes_the_layers_of_ones_own_from_a_python_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    k = library("Keras 3")
    (tmp_path / "own.py").write_text(_OWN)
    scale = objects_in(tmp_path / "own.py", trust=True)["Scale"]
    k.Sequential([k.Input((2,)), scale(name="scale")]).save(tmp_path / "m.keras")
    arguments = ["convert", str(tmp_path / "m.keras"), "--custom-objects", str(tmp_path / "own.py"), "--json"]
    assert main(arguments) == 3 and "own.py is Python code" in capsys.readouterr().err
    assert not (tmp_path / "m.onnx").exists()
    assert main([*arguments, "--trust"]) == 0
    found = json.loads(capsys.readouterr().out)["agreement"]
    assert found["within_tolerance"] and found["max_abs"] == 0
    assert len(found["asked"]) == 1 and found["asked"][0].startswith("input: float32 from ")
    proof = certificate.read(read_header(tmp_path / "m.onnx").metadata_props)
    assert proof is not None and proof["agreement"]["asked"] == found["asked"]
    report = ["report", str(tmp_path / "m.onnx"), "--native", str(tmp_path / "m.keras")]
    assert main([*report, "--custom-objects", str(tmp_path / "own.py"), "--trust"]) == 0
    assert (tmp_path / "m.onnx.report.html").stat().st_size > 100_000


def two_paths(k: Any) -> Any:
    class TwoPaths(k.Model):  # type: ignore[misc, name-defined]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.left, self.right = k.layers.Dense(3), k.layers.Dense(3, activation="relu")

        def call(self, inputs: Any, training: bool = False) -> Any:
            return {"sum": self.left(inputs["a"]) + self.right(inputs["b"]), "left": self.left(inputs["a"])}

    return TwoPaths(name="two_paths")


@pytest.mark.parametrize("which", ["Keras 3", "Keras 2"])
def test_a_subclassed_model_needs_one_call_or_a_sample(which: str, tmp_path: Path) -> None:
    k = library(which)
    model = two_paths(k)
    with pytest.raises(UnsupportedModel, match="input shapes of 'two_paths' are not known"):
        make(model, tmp_path)
    sample = {"a": np.ones((2, 4), np.float32), "b": np.ones((2, 5), np.float32)}
    from_sample = make(two_paths(k), tmp_path, sample)
    assert [(value.name, value.shape) for value in from_sample.inputs] == [("a", ("N", 4)), ("b", ("N", 5))]
    model(sample)
    draft = make(model, tmp_path)
    agree(draft)
    assert {value.name for value in header_of(draft).graph.outputs} == {"sum", "left"}


# --- what cannot be converted says why -----------------------------------------------------------------------------


def test_an_operator_without_onnx_form_is_named_with_its_layer(tmp_path: Path) -> None:
    k = library("Keras 3")
    layer = k.layers.TextVectorization(name="words", vocabulary=["red", "green"], output_sequence_length=4)
    model = k.Sequential([k.Input((1,), dtype="string", name="text"), layer])
    with pytest.raises(UnsupportedModel, match=r"StaticRegexReplace \(in 'sequential\w*/words\w*'\)"):
        make(model, tmp_path)
    assert not list(tmp_path.glob("*.onnx*"))


def test_wrong_options_and_opsets_are_refused(tmp_path: Path) -> None:
    model = networks.build("dense", library("Keras 3"))
    with pytest.raises(BadInput, match="from 13 to 18, not 21"):
        make(model, tmp_path, opset=21)
    with pytest.raises(BadInput, match="no option 'zipmap'"):
        make(model, tmp_path, zipmap=False)
    with pytest.raises(BadInput, match="a whole number from 1 up, not 0"):
        make(model, tmp_path, batch=0)
    for opset in (13, 15):
        draft = make(model, tmp_path, opset=opset)
        assert header_of(draft).opset_import[""] == opset
        agree(draft)


def test_files_that_are_no_whole_model_are_refused_in_a_sentence(tmp_path: Path) -> None:
    model = networks.build("dense", library("Keras 2"))
    model.save_weights(str(tmp_path / "only.weights.h5"), save_format="h5")
    with pytest.raises(UnsupportedModel, match="holds weights without the network"):
        keras_route.load(tmp_path / "only.weights.h5")
    (tmp_path / "torn.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(UnreadableFile, match=r"torn\.h5 is not a readable Keras file"):
        keras_route.load(tmp_path / "torn.h5")
    with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
    with pytest.raises(UnreadableFile, match=r"Keras 3\.0\.0 model empty\.keras cannot be loaded"):
        keras_route.load(tmp_path / "empty.keras")


@pytest.mark.parametrize(("which", "name"), [("Keras 3", "model.h5"), ("Keras 2", "model.keras")])
def test_the_version_in_the_file_decides_not_its_name(which: str, name: str, tmp_path: Path) -> None:
    k = library(which)
    model = networks.build("lenet_1", k)
    model.save(str(tmp_path / name))
    loaded = keras_route.load(tmp_path / name)
    assert type(loaded).__module__.startswith(k.__name__ + ".")
    for mine, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_file_from_before_keras_named_its_version_is_read_by_keras_2(tmp_path: Path) -> None:
    """Keras 3 takes the shape of a batch in it for that of a row."""
    k = library("Keras 2")
    model, path = k.Sequential([k.layers.Dense(3, input_shape=(8,))]), tmp_path / "early.h5"
    model.save(str(path))
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        (dense,) = config["config"]["layers"] = config["config"]["layers"][1:]
        dense["config"]["batch_input_shape"] = [None, 8]
        file.attrs["model_config"] = json.dumps(config)
        del file.attrs["keras_version"]
    loaded = keras_route.load(path)
    assert loaded.input_shape == (None, 8)
    for mine, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


# --- large weights -------------------------------------------------------------------------------------------------


def test_weights_past_the_limit_of_one_file_go_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = networks.build("dense_above_the_size_kept_out_of_the_graph", library("Keras 3"))
    tensors = []
    for limit, files in ((weights_module.ONE_FILE, ()), (0, ("model.onnx.data",))):
        monkeypatch.setattr(weights_module, "ONE_FILE", limit)
        draft = make(model, tmp_path)
        assert draft.model == tmp_path / "model.onnx" and header_of(draft).external_data == files
        agree(draft)
        stored = onnx.load(str(draft.model)).graph.initializer
        tensors.append({tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in stored})
    assert tensors[0].keys() == tensors[1].keys()
    for name, array in tensors[0].items():
        np.testing.assert_array_equal(array, tensors[1][name])


def test_loading_leanly_gives_the_same_weights(tmp_path: Path) -> None:
    """Weights above a megabyte take a way of their own into TensorFlow."""
    for which in ("Keras 3", "Keras 2"):
        k = library(which)
        model = k.Sequential([k.Input((600,)), k.layers.Dense(700), k.layers.Dense(500, use_bias=False)])
        path = save(model, tmp_path)
        loaded = keras_route.load(path)
        for mine, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        # What was lent is given back: new variables are random again.
        fresh = k.layers.Dense(700)
        fresh.build((None, 600))
        assert np.asarray(fresh.get_weights()[0]).std() > 0


_MEASURED = """
import json, sys, time
from pathlib import Path
from workbench.frameworks.tensorflow import convert_keras as route, to_onnx
from workbench.paper import network
name, folder = sys.argv[1], Path(sys.argv[2])
def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
if "make" in sys.argv[3:]:
    model, note = network(name)
    model.save(folder / "model.keras")
    print(json.dumps(note))
if "convert" in sys.argv[3:]:
    clock = time.process_time
    start = clock(); model = route.load(folder / "model.keras"); loaded = clock()
    draft = route.draft(model, None, to_onnx.Writing(folder / "model.onnx", lambda sentence: None))
    done = clock()
    import numpy as np
    value = draft.inputs[0]
    x = np.random.default_rng(0).random((2, *value.shape[1:]), dtype=np.float32) * 255
    peak_bytes = peak()
    answer, = draft.native({value.name: x}).values()
    from workbench.engines.onnxruntime import OnnxRuntimeEngine
    with OnnxRuntimeEngine(draft.model) as engine:
        ours, = engine.run(x).values()
    print(json.dumps([loaded - start, done - loaded, peak_bytes, float(np.abs(ours - answer).max()),
                      float(np.abs(answer).max())]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["LeNet-1", *(pytest.param(name, marks=pytest.mark.long) for name in ("VGG16", "DenseNet121"))]
)
def test_the_papers_networks_convert_in_seconds_and_under_two_gigabytes(name: str, tmp_path: Path) -> None:
    lines: list[str] = []
    # What it takes to make a large one is not to count.
    for what in [["make", "convert"]] if name == "LeNet-1" else [["make"], ["convert"]]:
        command = [sys.executable, "-c", _MEASURED, name, str(tmp_path), *what]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        lines += done.stdout.splitlines()
    note, (loading, converting, peak, difference, largest) = map(json.loads, lines[-2:])
    print(f"{name}: loaded in {loading:.1f} s, converted in {converting:.1f} s, peak {peak / 1e9:.2f} GB, "
          f"max_abs {difference:.2g}. {note}")  # fmt: skip
    assert peak < 2e9
    # Of computing: VGG16 takes about two, DenseNet121 six.
    assert converting < 60
    # Probabilities of 10 or 1,000 classes; float32 rounding through up to 121 layers stays below 1e-5 of the largest.
    assert difference <= 1e-5 * largest


def test_our_lenet_1_with_the_authors_weights_answers_as_theirs(paper_models: Path, tmp_path: Path) -> None:
    """Their conversion of 2020 (keras2onnx) and ours, of one architecture with one set of weights."""
    k = library("Keras 3")
    theirs = onnx.load(str(paper_models / "lenet-1.onnx"))
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in theirs.graph.initializer}
    model = networks.FAMILIES["lenet_1"](k)
    model.set_weights(
        [
            weight
            for layer in ("conv1_4", "conv2_4", "predictions_4")
            for weight in (stored[f"{layer}/kernel:0"], stored[f"{layer}/bias:0"])
            # ONNX keeps kernels as OIHW, Keras as HWIO.
            for weight in [weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight]
        ]
    )
    digits = np.load(paper_models / "mnist_X_test_10.npy").reshape(-1, 28, 28, 1).astype(np.float32)
    draft = make(model, tmp_path)
    agree(draft, digits)
    with OnnxRuntimeEngine(draft.model) as ours, OnnxRuntimeEngine(paper_models / "lenet-1.onnx") as other:
        # As published, and scaled to 0 to 1.
        for x in (digits, digits / 255):
            answer, expected = next(iter(ours.run(x).values())), other.run(x)["predictions"]
            relative = float(np.max(np.abs(answer - expected)) / np.max(expected))
            print(f"largest difference, relative to the largest probability: {relative:.2g}")
            assert relative <= 1e-6
            np.testing.assert_array_equal(answer.argmax(1), expected.argmax(1))
