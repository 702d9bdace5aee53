"""The frameworks' own engines: scikit-learn, Keras, TensorFlow, TensorFlow Lite; `workbench.engines`."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hostile import Runs
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tf_models import library

from workbench import BadInput, NeedsTrust, UnreadableFile, UnsupportedModel, WorkbenchError, load_engine
from workbench.frameworks.tensorflow.convert_start import start

IRIS = load_iris()
ROWS: np.ndarray = IRIS.data
SPECIES = np.array(["setosa", "versicolor", "virginica"])[IRIS.target]


@pytest.fixture(scope="module")
def tf() -> Any:
    return start()


# --- scikit-learn -----------------------------------------------------------------------------------------------


def test_a_classifier_answers_its_own_labels_and_probabilities() -> None:
    model = KNeighborsClassifier().fit(ROWS, SPECIES)
    with load_engine(model) as engine:
        assert engine.name == "sklearn" and "scikit-learn's own (KNeighborsClassifier)" in engine.why
        assert [(v.name, v.dtype, v.shape) for v in engine.inputs] == [("X", "float64", ("N", 4))]
        assert [(v.name, v.dtype, v.shape) for v in engine.outputs] == [
            ("label", "string", ("N",)),
            ("probabilities", "float64", ("N", 3)),
        ]
        answer = engine.run(ROWS)
        assert answer["label"].tolist() == model.predict(ROWS).tolist() and answer["label"][0] == "setosa"
        np.testing.assert_array_equal(answer["probabilities"], model.predict_proba(ROWS))
        assert engine.classes == {"probabilities": ("setosa", "versicolor", "virginica")}
        (call,) = engine.calls(ROWS).items()
        assert call[0] == "estimator.predict(x)"
        assert np.asarray(call[1]()).tolist() == answer["label"].tolist()
    with pytest.raises(WorkbenchError, match="is closed"):
        engine.run(ROWS)


@pytest.mark.parametrize(
    ("model", "outputs", "call"),
    [
        (LinearRegression().fit(ROWS, IRIS.target), {"variable": (150,)}, "estimator.predict(x)"),
        (StandardScaler().fit(ROWS), {"variable": (150, 4)}, "estimator.transform(x)"),
        (KMeans(3, n_init=1).fit(ROWS), {"label": (150,), "scores": (150, 3)}, "estimator.predict(x)"),
        (NearestNeighbors().fit(ROWS), {"index": (150, 5), "distance": (150, 5)}, "estimator.kneighbors(x)"),
        (GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1]}).fit(ROWS, SPECIES),
         {"label": (150,), "probabilities": (150, 3)}, "estimator.predict(x)"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_every_sort_of_estimator_is_asked_for_all_it_says(model: Any, outputs: Any, call: str) -> None:
    with load_engine(model) as engine:
        assert {name: array.shape for name, array in engine.run(ROWS).items()} == outputs
        assert {value.name: ("N", *(value.shape or ())[1:]) for value in engine.outputs} == {
            name: ("N", *shape[1:]) for name, shape in outputs.items()
        }
        assert list(engine.calls(ROWS)) == [call]


def test_an_estimator_fitted_on_float32_is_asked_in_float32() -> None:
    model = KMeans(3, n_init=1).fit(ROWS.astype(np.float32))
    with load_engine(model) as engine:
        assert engine.inputs[0].dtype == "float32"
        assert engine.run(ROWS)["label"].tolist() == model.predict(ROWS.astype(np.float32)).tolist()


def mixed() -> tuple[Any, Any]:
    """A pipeline that takes text beside numbers, and its rows."""
    import pandas as pd

    frame = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0], "colour": ["red", "blue", "red", "blue"]})
    columns = ColumnTransformer([("size", StandardScaler(), ["size"]), ("colour", OneHotEncoder(), ["colour"])])
    return make_pipeline(columns, LogisticRegression()).fit(frame, ["a", "b", "a", "b"]), frame


def test_tables_go_in_by_their_columns_names_in_any_order() -> None:
    model, frame = mixed()
    expected = model.predict_proba(frame)
    with load_engine(model) as engine:
        assert [(v.name, v.dtype) for v in engine.inputs] == [("size", "float64"), ("colour", "string")]
        # OneHotEncoder refuses colours it does not know, so asking it for its outputs took one that it does.
        assert [(v.name, v.shape) for v in engine.outputs] == [("label", ("N",)), ("probabilities", ("N", 2))]
        for rows in (frame, frame[["colour", "size"]].assign(more=1), frame.to_numpy()):
            np.testing.assert_array_equal(engine.run(rows)["probabilities"], expected)
        with pytest.raises(BadInput, match="'colour' is missing; the model was fitted on: size, colour"):
            engine.run(frame[["size"]])
        with pytest.raises(BadInput, match="could not run the model on this input: Found unknown categories"):
            engine.run(frame.assign(colour="green"))


def test_a_list_of_texts_is_a_batch() -> None:
    texts = ["good film", "bad film", "good book", "bad book"]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0])
    with load_engine(model) as engine:
        assert engine.run(texts)["label"].tolist() == [1, 0, 1, 0]


def test_rows_an_estimator_refuses_end_in_a_sentence() -> None:
    with load_engine(LogisticRegression(max_iter=500).fit(ROWS, SPECIES)) as engine:
        gap = ROWS[:3].copy()
        gap[1, 2] = np.nan
        with pytest.raises(BadInput, match="scikit-learn could not run the model on this input: Input X contains NaN"):
            engine.run(gap)
        with pytest.raises(BadInput, match="inputs, of which 'X' has no rows: "):
            engine.run(ROWS[:0])
        with pytest.raises(BadInput, match=r"'Y'.*the model's inputs are 'X'"):
            engine.run({"Y": ROWS})
        with pytest.raises(BadInput, match=r"takes shape \(any, 4\)"):
            engine.run(ROWS[:, :3])
    with pytest.raises(UnsupportedModel, match="not fitted"):
        load_engine(LogisticRegression())
    with pytest.raises(BadInput, match="was given a dict"):
        load_engine({})


def test_threads_hold_for_libraries_and_jobs_until_the_engine_closes() -> None:
    from threadpoolctl import threadpool_info

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info()}

    forest = RandomForestClassifier(5, n_jobs=2).fit(ROWS, SPECIES)
    before = threads()
    engine = load_engine(forest, threads=1)
    assert threads() == {1} and forest.n_jobs == 1
    engine.close()
    engine.close()
    assert threads() == before and forest.n_jobs == 2


# --- what a file may do -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".joblib", ".pkl"])
def test_pickles_need_trust_and_answer_with_it(tmp_path: Path, suffix: str) -> None:
    model = LogisticRegression(max_iter=500).fit(ROWS, SPECIES)
    path = tmp_path / f"model{suffix}"
    joblib.dump(model, path) if suffix == ".joblib" else path.write_bytes(pickle.dumps(model))
    with pytest.raises(NeedsTrust, match="Nothing suspicious was found in it"):
        load_engine(path)
    with load_engine(path, trust=True) as engine:
        assert "format of scikit-learn's own" in engine.why and str(path) in repr(engine)
        assert engine.run(ROWS)["label"].tolist() == model.predict(ROWS).tolist()


def test_a_refused_pickle_was_never_opened(tmp_path: Path) -> None:
    from workbench.frameworks.sklearn.engine import SklearnEngine

    path, trace = tmp_path / "evil.pkl", tmp_path / "trace"
    path.write_bytes(pickle.dumps([LogisticRegression(), Runs(exec, f"open({str(trace)!r}, 'w').close()")]))
    for load in (load_engine, SklearnEngine):
        with pytest.raises(NeedsTrust, match="exec"):
            load(path)
    assert not trace.exists()


@pytest.mark.slow
@pytest.mark.parametrize("which", ["Keras 3", "Keras 2"])
def test_keras_files_need_trust_where_they_bring_code(tmp_path: Path, which: str, tf: Any) -> None:
    keras = library(which)
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="scores")])
    coded = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: 2 * x, name="twice")])
    rows = ROWS.astype(np.float32)
    path, code = (tmp_path / f"{name}{'.keras' if which == 'Keras 3' else '.h5'}" for name in ("model", "coded"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain.save(path)
        coded.save(code)
    # An extension that Keras would not open: content decides.
    path = path.rename(tmp_path / "model.bin")
    with load_engine(path) as engine:
        assert engine.name == "keras" and "model.bin" in repr(engine)
        np.testing.assert_allclose(engine.run(rows)["scores"], plain.predict(rows, verbose=0), rtol=1e-5)
    with pytest.raises(NeedsTrust, match="the Lambda layer twice"):
        load_engine(code)
    with load_engine(code, trust=True, worker=False) as engine:
        np.testing.assert_array_equal(engine.run(rows)["twice"], 2 * rows)


def test_damaged_files_are_named_as_the_person_knows_them(tmp_path: Path) -> None:
    keras_path = tmp_path / "mine.keras"
    library("Keras 3").Sequential([library("Keras 3").layers.Dense(2)]).save(keras_path)
    with pytest.raises(UnsupportedModel, match="never called"):
        load_engine(keras_path)
    torn = tmp_path / "torn.joblib"
    joblib.dump(RandomForestClassifier(20).fit(ROWS, SPECIES), torn)
    torn.write_bytes(torn.read_bytes()[:-2000])
    with pytest.raises(UnreadableFile, match=str(torn)):
        load_engine(torn, trust=True)


# --- Keras ------------------------------------------------------------------------------------------------------


def network(keras: Any) -> Any:
    """Nested and shared layers, a layer with states, and two outputs."""
    layers = keras.layers
    dense = [layers.Dense(8, "relu", name="a"), layers.Dense(8, name="b")]
    inner = keras.Sequential([keras.Input((8,)), *dense], name="inner")
    shared = layers.Dense(8, name="shared")
    x = keras.Input((8,), name="x")
    hidden = layers.Reshape((2, 4), name="steps")(shared(shared(inner(x))))
    last, _, _ = layers.LSTM(4, return_state=True, name="lstm")(hidden)
    classes = layers.Dense(3, "softmax", name="class")(last)
    return keras.Model(x, [classes, layers.Dense(1, name="size")(classes)])


@pytest.mark.parametrize("which", ["Keras 3", "Keras 2"])
def test_a_network_answers_alike_in_every_ordinary_call(which: str, tf: Any) -> None:
    model = network(library(which))
    rows = np.random.default_rng(0).random((5, 8), np.float32)
    with load_engine(model) as engine:
        assert engine.version == library(which).__version__
        assert [(v.name, v.dtype, v.shape) for v in engine.inputs] == [("x", "float32", (None, 8))]
        assert [(v.name, v.shape) for v in engine.outputs] == [("class", (None, 3)), ("size", (None, 1))]
        answer = engine.run(rows)
        calls = engine.calls(rows)
        assert list(calls) == [
            "model.predict(x)", "model.predict_on_batch(x)", "model(x, training=False)", "tf.function"
        ]  # fmt: skip
        for call in calls.values():
            found: Any = call()
            for ours, theirs in zip(found, answer.values(), strict=True):
                assert type(ours) is np.ndarray
                # Eager and compiled kernels may add up 8 terms in another order.
                np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        assert engine.run(rows[:0])["class"].shape == (0, 3)
        with pytest.raises(BadInput, match="takes shape"):
            engine.run(rows[:, :7])
        with pytest.raises(BadInput, match="no input 'y': the model's inputs are 'x'"):
            engine.run({"x": rows, "y": rows})


@pytest.mark.parametrize("which", ["Keras 3", "Keras 2"])
def test_texts_go_in_and_come_out_of_every_call(which: str, tf: Any) -> None:
    keras = library(which)
    lookup = keras.layers.StringLookup(vocabulary=["a", "b"], name="number")
    texts = [["a"], ["c"], ["b"]]
    with load_engine(keras.Sequential([keras.Input((1,), dtype="string"), lookup])) as engine:
        assert engine.inputs[0].dtype == "string" and engine.run(texts)["number"].tolist() == [[1], [0], [2]]
        for call in engine.calls(texts).values():
            assert np.ravel(call()).tolist() == [1, 0, 2]  # type: ignore[arg-type]


@pytest.mark.parametrize("which", ["Keras 3", "Keras 2"])
def test_every_layer_is_heard_in_one_pass(which: str, tf: Any) -> None:
    model = network(library(which))
    rows = np.random.default_rng(0).random((5, 8), np.float32)
    engine: Any = load_engine(model)
    heard = {layer.name: layer for layer in engine.layers(rows)}
    assert list(heard) == [
        "inner/a", "inner/b", "inner", "shared", "shared#2", "steps", "lstm", "lstm:1", "lstm:2", "class", "size"
    ]  # fmt: skip
    assert [layer.inputs for layer in heard.values()] == [
        (), ("inner/a",), (), ("inner/b",), ("shared",), ("shared#2",), *[("steps",)] * 3, ("lstm",), ("class",)
    ]  # fmt: skip
    assert heard["lstm"].kind == "LSTM" and heard["steps"].array.shape == (5, 2, 4)
    inner = model.get_layer("inner")
    np.testing.assert_allclose(heard["inner/b"].array, inner(rows).numpy(), rtol=1e-6)
    weights, bias = model.get_layer("shared").get_weights()
    # One product of 8 terms in NumPy and in TensorFlow.
    np.testing.assert_allclose(heard["shared"].array, heard["inner"].array @ weights + bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(heard["class"].array, engine.run(rows)["class"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("which", ["Keras 3", "Keras 2"])
def test_layers_of_subclassed_models_are_heard_and_the_hook_comes_off_after_errors(which: str, tf: Any) -> None:
    keras = library(which)

    class Block(keras.layers.Layer):
        def __init__(self, name: str) -> None:
            super().__init__(name=name)
            self.dense = keras.layers.Dense(8, name="dense")
            self.fails = False

        def call(self, x: Any) -> Any:
            if self.fails:
                raise ValueError("this block fails")
            return x + self.dense(x)

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = [Block(f"block{index}") for index in range(2)]

        def call(self, x: Any, training: bool = False) -> Any:
            for block in self.blocks:
                x = block(x)
            return {"raw": x}

    model, rows = Net(), np.random.default_rng(0).random((2, 8), np.float32)
    with pytest.raises(UnsupportedModel, match="never called"):
        load_engine(model)
    expected = model(rows)["raw"].numpy()
    engine: Any = load_engine(model)
    names = [layer.name for layer in engine.layers(rows)]
    assert names == ["block0/dense", "block0", "block1/dense", "block1"]
    np.testing.assert_allclose(engine.run(rows)["raw"], expected, rtol=1e-5)
    hooks = [keras.layers.Layer.__call__, keras.layers.Dense.__call__]
    model.blocks[1].fails = True
    with pytest.raises(BadInput, match="Keras could not run the model on this input: "):
        engine.layers(rows)
    model.blocks[1].fails = False
    assert hooks == [keras.layers.Layer.__call__, keras.layers.Dense.__call__]
    assert [layer.name for layer in engine.layers(rows)] == names


# --- TensorFlow's own files -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tf_files(tmp_path_factory: pytest.TempPathFactory, tf: Any) -> dict[str, Path]:
    """y = relu(x @ w + b) with w, b from a seed, as a SavedModel, a frozen graph and TFLite; wants (N, 4)."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    folder = tmp_path_factory.mktemp("tf")
    weights = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    module = tf.Module()
    module.w = tf.Variable(weights)
    spec = tf.TensorSpec((None, 4), tf.float32, name="x")
    module.f = tf.function(lambda x: {"y": tf.nn.relu(x @ module.w + 0.5)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder / "saved"), signatures={"serving_default": module.f, "other": module.f})
    frozen = convert_variables_to_constants_v2(module.f.get_concrete_function())
    (folder / "frozen.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.f.get_concrete_function()], module)
    (folder / "model.tflite").write_bytes(converter.convert())
    np.save(folder / "w.npy", weights)
    return {"saved": folder / "saved", "frozen": folder / "frozen.pb", "lite": folder / "model.tflite", "w": folder}


@pytest.mark.parametrize(
    ("which", "engine_name", "call"),
    [("saved", "tensorflow", "signature(x)"), ("frozen", "tensorflow", "function(x)"),
     ("lite", "tflite", "interpreter.invoke()")],
)  # fmt: skip
def test_tensorflows_files_answer_like_the_formula(
    tf_files: dict[str, Path], which: str, engine_name: str, call: str
) -> None:
    rows = np.random.default_rng(0).random((7, 4), np.float32)
    expected = np.maximum(rows @ np.load(tf_files["w"] / "w.npy") + 0.5, 0)
    with load_engine(tf_files[which], trust=True) as engine:
        assert engine.name == engine_name and "own" in engine.why
        assert [(v.name, v.dtype, v.shape) for v in engine.inputs] == [("x", "float32", (None, 4))]
        assert [v.shape for v in engine.outputs] == [(None, 3)]
        (found,) = engine.run(rows).values()
        # Sums of 4 terms.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        calls = engine.calls(rows)
        (asked,) = calls[call]()  # type: ignore[misc]
        np.testing.assert_array_equal(asked, found)
        # Another batch size, and the first again: an interpreter is made for one.
        (few,) = engine.run(rows[:2]).values()
        np.testing.assert_allclose(few, expected[:2], rtol=1e-5, atol=1e-6)
        (asked,) = calls[call]()  # type: ignore[misc]
        np.testing.assert_array_equal(asked, found)


def test_empty_batches_are_answered_or_refused_in_a_sentence(tf_files: dict[str, Path]) -> None:
    none = np.zeros((0, 4), np.float32)
    assert next(iter(load_engine(tf_files["saved"], trust=True).run(none).values())).shape == (0, 3)
    with load_engine(tf_files["lite"], threads=2) as engine, pytest.raises(BadInput, match="cannot run without rows"):
        engine.run(none)


def test_saved_models_need_trust_and_know_their_signatures(tf_files: dict[str, Path]) -> None:
    with pytest.raises(NeedsTrust, match="can run code"):
        load_engine(tf_files["saved"])
    # A frozen graph of plain operators runs no code.
    assert load_engine(tf_files["frozen"]).name == "tensorflow"
    with pytest.raises(BadInput, match="no signature 'third'; choose one of: other, serving_default"):
        load_engine(tf_files["saved"], trust=True, signature="third")


# --- which engine, which options --------------------------------------------------------------------------------


def test_an_engine_that_cannot_run_a_format_is_refused_in_one_sentence(tf_files: dict[str, Path]) -> None:
    with pytest.raises(UnsupportedModel, match="which TensorFlow Lite runs and ONNX Runtime does not"):
        load_engine(tf_files["lite"], "onnxruntime")
    with pytest.raises(UnsupportedModel, match="which scikit-learn runs and Keras does not"):
        load_engine(StandardScaler().fit(ROWS), "keras")
    with pytest.raises(BadInput, match="leave params= out"):
        load_engine(tf_files["lite"], params="w.npz")


def test_unknown_options_name_the_known_ones(tf_files: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match="TensorFlow Lite knows no option 'providers'; it knows: threads"):
        load_engine(tf_files["lite"], providers=["CPUExecutionProvider"])
    with pytest.raises(BadInput, match="scikit-learn knows no option 'why'"):
        load_engine(StandardScaler().fit(ROWS), why="because")


def test_onnx_runtime_takes_threads_optimization_and_providers(tmp_path: Path) -> None:
    from skl2onnx import to_onnx

    path = tmp_path / "model.onnx"
    model = LogisticRegression(max_iter=500).fit(ROWS, IRIS.target)
    path.write_bytes(to_onnx(model, ROWS[:1].astype(np.float32), options={"zipmap": False}).SerializeToString())
    rows = ROWS.astype(np.float32)
    for optimization in ("all", "extended", "basic", "off"):
        engine: Any = load_engine(path, threads=1, optimization=optimization, providers=["CPUExecutionProvider"])
        settings = engine._session.get_session_options()
        assert settings.intra_op_num_threads == 1
        assert settings.graph_optimization_level.name == {
            "all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC",
            "off": "ORT_DISABLE_ALL",
        }[optimization]  # fmt: skip
        label, _ = engine.calls(rows)["session.run"]()
        assert label.tolist() == engine.run(rows)["label"].tolist() == model.predict(ROWS).tolist()
    with pytest.raises(BadInput, match="one of all, extended, basic, off, not 'most'"):
        load_engine(path, optimization="most")
    with pytest.raises(WorkbenchError, match=r"no provider 'Abacus'; it has: .*CPUExecutionProvider"):
        load_engine(path, providers=["Abacus"])


@pytest.mark.slow
def test_spiking_networks_in_memory_are_asked_as_run_asks_them() -> None:
    import nengo

    with nengo.Network(seed=1) as net:
        node = nengo.Node(np.zeros(2))
        cells = nengo.Ensemble(20, 2, neuron_type=nengo.LIF())
        nengo.Connection(node, cells)
        nengo.Probe(cells.neurons)
    rows = np.random.default_rng(0).uniform(-1, 1, (3, 2)).astype(np.float32)
    names = {"onnxruntime": "session.run", "nengo": "simulator.run_steps", "nengo_dl": "simulator.predict"}
    assert load_engine(net).name == "nengo"
    for name, call in names.items():
        with load_engine(net, name) as engine:
            (ask,) = engine.calls(rows).values()
            assert list(engine.calls(rows)) == [call]
            found: Any = ask()
            for output, array in engine.run(rows).items():
                np.testing.assert_array_equal(found[output], array)


@pytest.mark.slow
def test_tensorflow_takes_a_number_of_threads_once_in_a_process() -> None:
    # Making a model starts TensorFlow's threads: a number is set before, or not at all.
    script = """
import os; os.environ["KERAS_BACKEND"] = "tensorflow"
from workbench.frameworks.tensorflow.start import use_threads; use_threads(1)
import keras, numpy as np
from workbench import BadInput, load_engine
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
print(load_engine(model, threads=1).name)
try: load_engine(model, threads=3)
except BadInput as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    taken, refused = done.stdout.splitlines()
    assert taken == "keras" and "comes too late: TensorFlow runs in this process already, with 1;" in refused
    # It began with `start`, which hides what TensorFlow writes before its log level is read.
    assert "oneDNN" not in done.stderr
