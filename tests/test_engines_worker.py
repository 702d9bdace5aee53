"""Engines in worker processes: what `load_engine` gives for files that a C library reads, and for whoever asks."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
import tiny_engines
from hostile import crashing_tflite, endless_keras, endless_nir, small_nir
from workers import workers

from workbench import BadInput, NeedsTrust, WorkbenchError, compare, convert, graph, load_engine, report, sandbox
from workbench.engines.inputs import CastWarning
from workbench.engines.worker import WorkerEngine
from workbench.safety import scan
from workbench.sandbox import WorkerFailed, end_warm_worker
from workbench.session import Session


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    end_warm_worker()
    before = workers()
    yield
    gc.collect()
    end_warm_worker()
    assert workers() <= before


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is too long to wait here. A small file that is sound takes less, the worker's start included."""
    monkeypatch.setattr(sandbox, "PARSE_SECONDS", 2)
    monkeypatch.setattr("workbench.engines.worker.LOAD_SECONDS", 2)


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """y = 2 x, (N, 2) float32."""
    text = '<ir_version: 8, opset_import: ["": 18]> g (float[N, 2] x) => (float[N, 2] y) { y = Add(x, x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "doubling.onnx")
    return tmp_path / "doubling.onnx"


def tiny(name: str, **settings: Any) -> WorkerEngine:
    return WorkerEngine(name, load=tiny_engines.load, options={"params": None, "threads": None}, **settings)


# --- files that mean harm ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("ask", [load_engine, convert, lambda path: compare(path, path.with_name("doubling.onnx"))])
def test_a_file_that_crashes_its_reader_ends_in_a_sentence(ask: Any, tmp_path: Path, doubling: Path) -> None:
    with pytest.raises(WorkerFailed, match=r"m\.tflite crashed its process \(Segmentation fault\); .* get it again"):
        ask(crashing_tflite(tmp_path / "m.tflite"))


@pytest.mark.parametrize(
    "ask",
    [
        load_engine,
        lambda path: load_engine(path, "onnxruntime"),
        lambda path: convert(path, path.with_name("m.onnx")),
        lambda path: compare(path, path.with_name("doubling.onnx"), engines=("nengo", None)),
        lambda path: report(path.with_name("doubling.onnx"), path.with_name("r.html"), native=path),
    ],
    ids=["nengo", "onnxruntime", "convert", "compare", "report"],
)
def test_a_nir_file_that_keeps_its_reader_for_ever_ends_in_a_sentence(
    ask: Any, tmp_path: Path, doubling: Path, impatient: None
) -> None:
    with pytest.raises(WorkerFailed, match=r"(Reading|Loading) \S*m\.nir took more than the 2 seconds .* get it again"):
        ask(endless_nir(tmp_path / "m.nir"))


def test_a_conversion_of_nir_keeps_to_the_time_it_was_given(tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed, match=r"m\.nir took more than the 1\.5 seconds it was given"):
        convert(endless_nir(tmp_path / "m.nir"), timeout=1.5)
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("trust", [False, True])
def test_an_hdf5_file_that_keeps_its_reader_for_ever_ends_with_the_time_given(trust: bool, tmp_path: Path) -> None:
    """Without trust it is the scan, in a worker of that worker's own."""
    with pytest.raises(WorkerFailed, match=r"Loading m\.h5 took more than the 4 seconds it was given"):
        load_engine(endless_keras(tmp_path / "m.h5"), trust=trust, timeout=4)


@pytest.mark.slow
def test_it_ends_without_a_time_given_too_when_it_has_used_the_processor_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.engines.worker.LOAD_SECONDS", 5)
    with pytest.raises(WorkerFailed, match=r"Loading m\.h5 took more than the 6\.1 seconds of processor time"):
        load_engine(endless_keras(tmp_path / "m.h5"), trust=True)


def test_the_graph_of_such_a_file_ends_in_a_sentence_and_picking_it_does_not_wait(
    tmp_path: Path, impatient: None
) -> None:
    path = endless_keras(tmp_path / "m.h5")
    with pytest.raises(WorkerFailed, match=r"Reading \S*m\.h5 took more than the 3\.1 seconds"):
        graph(path)
    session = Session(root=tmp_path)
    session.pick(path)
    assert session.detection.format == "Keras HDF5" and session.looking == "Drawing the graph"
    session.pick(tmp_path)  # given up
    session.pick(path)
    while session.looking:
        threading.Event().wait(0.05)
    assert "m.h5 took more than" in session.problems["graph"]


def test_a_scan_asked_for_directly_does_not_end_the_caller_either(tmp_path: Path, impatient: None) -> None:
    found = scan(endless_keras(tmp_path / "m.h5"))
    assert found.runs_code and not found.complete


def test_such_files_come_into_this_process_with_trust_only(tmp_path: Path) -> None:
    for path in (crashing_tflite(tmp_path / "m.tflite"), endless_keras(tmp_path / "m.h5")):
        with pytest.raises(BadInput, match="leave worker=False out, or say that you trust"):
            load_engine(path, worker=False)


# --- the same engine, elsewhere ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_keras_files_are_asked_without_tensorflow_in_the_callers_process(tmp_path: Path) -> None:
    make = """
import keras
dense = keras.layers.Dense
model = keras.Sequential([keras.Input((4,), name="x"), dense(3, name="hidden"), dense(2, name="y")])
model.save("m.h5")
"""
    subprocess.run([sys.executable, "-c", make], check=True, capture_output=True, cwd=tmp_path)
    ask = """
import sys, numpy as np, psutil
from workbench import BadInput, load_engine
rows = np.ones((5, 4), np.float32)
with load_engine("m.h5", threads=1) as engine:
    assert (engine.name, engine.threads, engine.inputs[0].name) == ("keras", 1, "x")
    heard, weights = engine.layers(rows), engine.weights
    np.testing.assert_allclose(heard[0].array, rows @ weights["hidden"][0] + weights["hidden"][1], rtol=1e-5)
    np.testing.assert_allclose(heard[1].array, engine.run(rows)["y"], rtol=1e-5)
    calls = engine.calls(rows)
    assert all(np.shape(call()) in ((5, 2), (1, 5, 2)) for call in calls.values()) and len(calls) == 4
    try: engine.run(rows[:, :3])
    except BadInput as error: print(error)
    assert engine.run(rows)["y"].shape == (5, 2)
    try: engine.model
    except AttributeError as error: print(error)
    (worker,) = psutil.Process().children()
assert not worker.is_running()
print([name for name in ("tensorflow", "keras", "h5py") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    misfit, model, loaded = done.stdout.splitlines()
    assert misfit.startswith("Input 'x' takes shape") and "worker=False and trust=True" in model
    assert loaded == "[]"


def test_answers_errors_and_warnings_come_as_from_an_engine_here(doubling: Path) -> None:
    rows = np.arange(6, dtype=np.float64).reshape(3, 2)
    with load_engine(doubling) as here, load_engine(doubling, worker=True) as there:
        assert isinstance(there, WorkerEngine) and not isinstance(here, WorkerEngine)
        told = [(e.name, e.version, e.why, e.inputs, e.outputs, e.tolerance) for e in (here, there)]
        assert told[0] == told[1] and "in a worker process" in repr(there)
        said = []
        for engine in (here, there):
            with pytest.warns(CastWarning, match="cast from float64 to float32") as noted:
                np.testing.assert_array_equal(engine.run(rows)["y"], 2 * rows)
            assert [warning.filename for warning in noted] == [__file__]
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # once for each input
                assert engine.run({"x": rows[:1]})["y"].shape == (1, 2)
            with pytest.raises(BadInput) as caught:
                engine.run(rows[:, :1])
            with pytest.raises(TypeError):
                engine.run(rows, steps=3)  # type: ignore[call-arg]
            said.append(str(caught.value))
            assert not hasattr(engine, "layers")
        assert said[0] == said[1]
    with pytest.raises(WorkbenchError, match="is closed; load it again"):
        there.run(rows)


def test_calls_of_other_inputs_do_not_disturb_each_other(doubling: Path) -> None:
    few, many = np.ones((1, 2), np.float32), np.ones((9, 2), np.float32)
    with load_engine(doubling, worker=True) as engine:
        (first,), (second,) = engine.calls(few).values(), engine.calls(many).values()
        shapes = [np.shape(call()[0]) for call in (first, second, first)]  # type: ignore[index]
    assert shapes == [(1, 2), (9, 2), (1, 2)]


def test_a_spiking_network_is_asked_for_its_spikes_there(tmp_path: Path) -> None:
    series = np.full((1, 20, 1), 3, np.float32)
    path = small_nir(tmp_path / "m.nir")
    with load_engine(path, "onnxruntime") as here, load_engine(path, "onnxruntime", worker=True) as there:
        assert not isinstance(here, WorkerEngine)  # read in a worker, and run here
        engines: list[Any] = [here, there]
        found = [engine.run(series, spikes=["lif"]) for engine in engines]
        assert found[0]["lif"].any()
        np.testing.assert_array_equal(found[0]["lif"], found[1]["lif"])
        assert engines[0].layers == engines[1].layers == ("lif",)
        assert engines[1].network.nodes[-1].name == engines[0].network.nodes[-1].name
        assert engines[1].state.keys() == engines[0].state.keys() != set()
        settled = [engine.settled(engine.run(series)) for engine in engines]
        assert all(np.array_equal(array, settled[1][name]) for name, array in settled[0].items())


def test_objects_in_memory_travel_when_asked_to() -> None:
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(40, 3))
    model = LogisticRegression().fit(rows, np.where(rows[:, 0] > 0, "yes", "no"))
    with load_engine(model, worker=True) as engine:
        assert engine.run(rows)["label"].tolist() == model.predict(rows).tolist()
        assert engine.classes == {"probabilities": ("no", "yes")}
        with pytest.raises(BadInput, match="Input X contains NaN"):
            engine.run(rows * np.nan)


def test_tensors_of_other_libraries_go_in_as_arrays(doubling: Path) -> None:
    class Tensor:
        """Of a class that the worker does not have."""

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return np.ones((2, 2), np.float32)

    with load_engine(doubling, worker=True) as engine:
        for given in (Tensor(), {"x": Tensor()}, [Tensor()]):
            assert engine.run(given)["y"].tolist() == [[2, 2], [2, 2]]


def test_a_file_that_needs_trust_is_refused_with_what_was_found(tmp_path: Path) -> None:
    import joblib
    from sklearn.linear_model import LinearRegression

    path = tmp_path / "m.joblib"
    joblib.dump(LinearRegression().fit([[0], [1]], [0, 1]), path)
    with pytest.raises(NeedsTrust, match=r"m\.joblib \(joblib\) can run code") as caught:
        load_engine(path, worker=True)
    assert caught.value.scan is not None and caught.value.scan.runs_code
    with load_engine(path, worker=True, trust=True) as engine:
        assert engine.run([[3.0]])["variable"] == pytest.approx(3)


def test_what_the_worker_takes_for_itself_is_no_option_of_an_engine(doubling: Path) -> None:
    for option in ("load", "cancel"):
        with pytest.raises(BadInput, match=f"knows no option '{option}'"):
            load_engine(doubling, worker=True, **{option: None})
    with pytest.raises(BadInput, match="leave worker=False out"):
        load_engine(doubling, worker=False, timeout=3)


def test_in_a_worker_it_is_there_already(doubling: Path) -> None:
    assert sandbox.run(_kind_of_engine, str(doubling)) == "OnnxRuntimeEngine"


def _kind_of_engine(path: str) -> str:
    with load_engine(path, worker=True) as engine:
        return type(engine).__name__


# --- its end -------------------------------------------------------------------------------------------------------


def pid_of(engine: WorkerEngine) -> int:
    return engine.there(_pid)


def _pid(engine: Any) -> int:
    return os.getpid()


def test_the_worker_ends_with_close_and_with_the_engine(doubling: Path) -> None:
    engine = tiny("NullEngine")
    pid = pid_of(engine)
    engine.close()
    engine.close()
    assert not psutil.pid_exists(pid)
    engine = tiny("NullEngine")
    (call,) = engine.calls([1.0]).values()
    pid = pid_of(engine)
    del engine
    gc.collect()
    assert call() is None and psutil.pid_exists(pid)  # a call is a way to it still
    del call
    gc.collect()
    assert not psutil.pid_exists(pid)


def test_the_worker_ends_with_the_process(doubling: Path) -> None:
    script = (
        "import sys; from workbench import load_engine; from workbench.sandbox import peak_mib\n"
        "engine = load_engine(sys.argv[1], worker=True)\nprint(engine.worker._process.pid)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(doubling)], capture_output=True, text=True, timeout=120)
    assert done.stderr == "" and not psutil.pid_exists(int(done.stdout))


def test_a_forked_child_leaves_its_parents_engine_alone(doubling: Path) -> None:
    with load_engine(doubling, worker=True) as engine:
        child = os.fork()
        if child == 0:
            engine.close()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert engine.run(np.ones((1, 2), np.float32))["y"].tolist() == [[2, 2]]


def test_a_crash_in_an_answer_is_a_sentence_and_the_next_says_what_to_do() -> None:
    with tiny("CrashingEngine") as engine:
        with pytest.raises(WorkerFailed, match=r"Running CrashingEngine crashed its process"):
            engine.run(None)
        with pytest.raises(WorkerFailed, match="its worker process has ended; load it again"):
            engine.run(None)


def test_closing_from_another_thread_ends_an_answer_that_hangs() -> None:
    engine = tiny("HangingEngine")
    (call,) = engine.calls(None).values()
    for _ in range(4):
        call()
    threading.Timer(0.5, engine.close).start()
    with pytest.raises(WorkerFailed, match="Running HangingEngine was stopped: its worker process was closed"):
        call()


def test_threads_that_share_an_engine_get_their_own_answers(doubling: Path) -> None:
    found: dict[int, Any] = {}
    with load_engine(doubling, worker=True) as engine:

        def ask(number: int) -> None:
            found[number] = [engine.run(np.full((1, 2), number, np.float32))["y"][0, 0] for _ in range(20)]

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {number: [2 * number] * 20 for number in range(4)}


def test_an_open_engine_is_compared_where_it_is_and_stays_open(doubling: Path) -> None:
    with load_engine(doubling, worker=True, threads=1) as native:
        found = compare(native, doubling, np.ones((4, 2), np.float32), seconds=0.2, threads=1)
        assert found.agreement.within_tolerance and found.native.peak_mib is not None and found.native.threads == 1
        # A round trip takes longer than this call: it was timed there.
        with load_engine(doubling, threads=1) as here:
            assert compare(here, doubling, np.ones((4, 2), np.float32), seconds=0.2, threads=1).native.peak_mib is None
        assert native.run(np.ones((1, 2), np.float32))["y"].tolist() == [[2, 2]]
        with pytest.raises(BadInput):
            compare(native, doubling, np.ones((4, 3), np.float32), seconds=0.2)
        assert native.run(np.ones((1, 2), np.float32))["y"].tolist() == [[2, 2]]
