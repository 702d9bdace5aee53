"""What `convert` does around the converters: trust, limits, files, and the same answers on both sides."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
from hostile import Runs
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from workers import workers

from workbench import (
    BadInput,
    Conversion,
    ConversionDisagrees,
    NeedsTrust,
    UnsupportedModel,
    WorkbenchError,
    convert,
    detect,
    load_engine,
    safety,
    sandbox,
)
from workbench.__main__ import main
from workbench.convert import output
from workbench.files import certificate  # fmt: skip
from workbench.sandbox import Cancelled, WorkerFailed
from workbench.scratch import fleeting_folder

ROWS, SPECIES = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def iris() -> LogisticRegression:
    return LogisticRegression(max_iter=1000).fit(ROWS, SPECIES)


@pytest.fixture(autouse=True)
def _alive_and_tidy(tmp_path: Path) -> Any:
    """Whatever a test did, this process lives on and no half-written folder is left."""
    yield
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def pickled(path: Path, what: Any) -> Path:
    path.write_bytes(pickle.dumps(what))
    return path


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", "convert", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, **options)


# --- trust ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["pickle", "protocol 0", "joblib", "behind an array", "compressed", "object array"])
def test_a_malicious_pickle_is_named_and_never_run(tmp_path: Path, form: str) -> None:
    proof = tmp_path / "it-ran"
    evil, path = Runs(os.system, f"touch {proof}"), tmp_path / "model.pkl"
    if form == "pickle":
        pickled(path, evil)
    elif form == "protocol 0":
        path.write_bytes(pickle.dumps(evil, 0))
    elif form == "joblib":
        joblib.dump(evil, path)
    elif form == "object array":
        array = np.empty(2, object)
        array[:] = evil
        joblib.dump({"weights": np.ones(50), "more": array}, path)
    else:
        joblib.dump({"weights": np.ones(50), "z": evil}, path, compress=3 if form == "compressed" else 0)
    with pytest.raises(NeedsTrust, match=r"posix\.system.*trust=True") as caught:
        convert(path)
    assert caught.value.exit_code == 3
    assert not proof.exists() and not (tmp_path / "model.onnx").exists()
    assert safety.scan(path).complete


def test_the_command_exits_with_3_and_one_line(tmp_path: Path) -> None:
    path = pickled(tmp_path / "model.pkl", Runs(os.system, f"touch {tmp_path}/it-ran"))
    done = run(str(path), "--json")
    assert done.returncode == 3 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"workbench: {path} (pickle) can run code when it is opened.")
    assert not (tmp_path / "it-ran").exists()


def test_a_harmless_joblib_file_is_refused_too_and_the_sentence_says_nothing_was_found(
    tmp_path: Path, iris: LogisticRegression
) -> None:
    joblib.dump(iris, tmp_path / "iris.joblib")
    with pytest.raises(NeedsTrust, match="Nothing suspicious was found in it, but its format can run code"):
        convert(tmp_path / "iris.joblib")
    assert convert(tmp_path / "iris.joblib", trust=True).agreement.within_tolerance


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_pickle_cut_short_is_said_to_be_so(tmp_path: Path, iris: LogisticRegression, cut: float) -> None:
    data = pickle.dumps(iris)
    (tmp_path / "cut.pkl").write_bytes(data[: int(len(data) * cut)])
    with pytest.raises(NeedsTrust, match="could not be read to its end"):
        convert(tmp_path / "cut.pkl")


# --- what the worker cannot do to us ---------------------------------------------------------------------------------


def test_three_gigabytes_are_too_much(tmp_path: Path) -> None:
    path = pickled(tmp_path / "big.pkl", Runs(exec, "x = b'x' * (3 << 30)"))
    with pytest.raises(WorkerFailed, match=r"Converting .*big\.pkl used .* MiB of memory, more than the 800 MiB"):
        convert(path, trust=True, memory_mib=800)


def test_an_endless_loop_ends_with_its_time(tmp_path: Path) -> None:
    path = pickled(tmp_path / "loop.pkl", Runs(exec, "while True: pass"))
    with pytest.raises(WorkerFailed, match=r"took more than the 3 seconds it was given"):
        convert(path, trust=True, timeout=3)


def test_a_segfault_is_one_sentence(tmp_path: Path, iris: LogisticRegression) -> None:
    path = pickled(tmp_path / "crash.pkl", Runs(exec, "import ctypes; ctypes.string_at(0)"))
    with pytest.raises(WorkerFailed, match=r"Converting .*crash\.pkl crashed its process \(Segmentation fault\)"):
        convert(path, trust=True)
    assert convert(iris, tmp_path / "next.onnx").agreement.within_tolerance


def test_cancel_stops_a_conversion(tmp_path: Path) -> None:
    path, cancel = pickled(tmp_path / "loop.pkl", Runs(exec, "while True: pass")), threading.Event()
    stages: list[str] = []

    def say(stage: str) -> None:
        stages.append(stage)
        if stage == "Loading the model":
            threading.Timer(0.2, cancel.set).start()

    with pytest.raises(Cancelled):
        convert(path, trust=True, cancel=cancel, progress=say)
    assert stages == ["Copying the source", "Loading the model"]


def test_no_room_is_one_sentence_and_leaves_nothing(tmp_path: Path, iris: LogisticRegression) -> None:
    """The system refuses to let files grow (EFBIG), at the worker's writing and at the copy of the source."""
    forest = RandomForestClassifier(200, random_state=0).fit(ROWS, SPECIES)
    joblib.dump(forest, tmp_path / "forest.joblib")
    before = set(tmp_path.iterdir())
    script = """
import sys, joblib
from workbench import convert, WorkbenchError
forest = joblib.load(sys.argv[1])
for source, trust in ((forest, False), (sys.argv[1], True)):
    try:
        convert(source, sys.argv[2], trust=trust)
    except WorkbenchError as error:
        print(type(error).__name__, error)
print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "forest.joblib"), str(tmp_path / "out.onnx")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)),
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    first, second, alive = done.stdout.splitlines()
    assert first.startswith(f"DiskFull No room is left to write in {tmp_path}; free some space")
    assert second.startswith("DiskFull No room is left to write ") and alive == "alive"
    assert set(tmp_path.iterdir()) == before


# --- files -----------------------------------------------------------------------------------------------------------


def test_an_output_that_exists_is_kept_unless_told(tmp_path: Path, iris: LogisticRegression) -> None:
    target = tmp_path / "model.onnx"
    target.write_text("mine")
    with pytest.raises(WorkbenchError, match=r"model\.onnx exists already; .*overwrite=True"):
        convert(iris, target)
    assert target.read_text() == "mine"
    convert(iris, target, overwrite=True)
    assert detect(target).kind == "ML"


def test_an_output_that_comes_up_meanwhile_is_kept(tmp_path: Path, iris: LogisticRegression) -> None:
    target = tmp_path / "model.onnx"
    with pytest.raises(WorkbenchError, match="exists already"):
        convert(iris, target, progress=lambda stage: target.write_text("mine") if "certificate" in stage else None)
    assert target.read_text() == "mine"


def test_the_output_is_not_there_before_it_is_proved(tmp_path: Path, iris: LogisticRegression) -> None:
    target = tmp_path / "model.onnx"
    seen: list[bool] = []
    convert(iris, target, progress=lambda stage: seen.append(target.exists()))
    assert target.exists() and len(seen) > 4 and not any(seen)


def test_what_a_killed_conversion_left_goes_with_the_next(tmp_path: Path, iris: LogisticRegression) -> None:
    with fleeting_folder(".workbench-", tmp_path) as held:
        left, young, other = (tmp_path / f".workbench-{name}" for name in ("a" * 32, "b" * 32, "of-a-person"))
        for folder in (left, young, other):
            folder.mkdir()
            (folder / "file").touch()
        for folder in (held, left, other):
            os.utime(folder, (0, 0))
        convert(iris, tmp_path / "out.onnx")
        assert [folder.exists() for folder in (held, left, young, other)] == [True, False, True, True]
    assert not held.exists()
    for folder in (young, other):
        (folder / "file").unlink()
        folder.rmdir()


@pytest.mark.parametrize("name", ["pipe", "a\0b", "n" * 252, "nowhere/", "file/x.onnx"])
def test_an_output_that_cannot_be_is_one_sentence_at_once(tmp_path: Path, iris: LogisticRegression, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    begun: list[str] = []
    with pytest.raises(WorkbenchError, match=r"cannot be written|not a file|no folder"):
        convert(iris, f"{tmp_path}/{name}", overwrite=True, progress=begun.append)
    assert not begun and (tmp_path / "pipe").is_fifo()


def test_a_saved_model_is_not_overwritten_from_within(tmp_path: Path) -> None:
    inside = tmp_path / "saved" / "saved_model.pb"
    inside.parent.mkdir()
    inside.write_bytes(b"\x08\x01\x12\x00")
    with pytest.raises(BadInput, match="is the source itself"):
        output.target_of(inside, inside.parent, "saved", True)
    # External data would take the name of this one.
    weights = tmp_path / "model.onnx.data"
    weights.write_bytes(b"x")
    with pytest.raises(BadInput, match="is the source itself"):
        output.target_of(tmp_path / "model.onnx", weights, "model", True)


def test_an_output_folder_that_goes_meanwhile_is_said_to_be_gone(tmp_path: Path, iris: LogisticRegression) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(WorkbenchError, match=r"The folder \S+out is gone"):
        convert(iris, folder / "x.onnx", progress=lambda stage: shutil.rmtree(folder, ignore_errors=True))


def test_replacing_the_source_meanwhile_mixes_nothing(tmp_path: Path, iris: LogisticRegression) -> None:
    path, other = tmp_path / "model.joblib", tmp_path / "other.joblib"
    joblib.dump(iris, path)
    joblib.dump(LogisticRegression(max_iter=1000).fit(-ROWS, SPECIES), other)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def replace(stage: str) -> None:
        if stage == "Loading the model":
            other.replace(path)

    made = convert(path, trust=True, progress=replace)
    assert made.sha256 == digest != hashlib.sha256(path.read_bytes()).hexdigest()
    with load_engine(made.output) as engine:
        labels = engine.run(ROWS.astype(np.float32))["label"]
    assert (labels == iris.predict(ROWS)).all()


def test_the_source_is_left_as_it_was(tmp_path: Path, iris: LogisticRegression) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump(iris, path)
    before = path.read_bytes(), path.stat().st_mtime_ns
    made = convert(path, trust=True)
    assert made.output == str(tmp_path / "model.onnx")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    with pytest.raises(BadInput, match="is the source itself"):
        convert(path, path, trust=True, overwrite=True)


def test_external_data_moves_with_its_model_and_an_old_one_goes(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"

    def publish(model: bytes, data: bytes | None, overwrite: bool) -> None:
        with output.no_half_files(target) as folder:
            (folder / "model.onnx").write_bytes(model)
            if data is not None:
                (folder / "model.onnx.data").write_bytes(data)
            output.publish(folder, target, overwrite)

    publish(b"one", b"weights one", False)
    with pytest.raises(WorkbenchError, match="exists already"):
        publish(b"two", b"weights two", False)
    assert (target.read_bytes(), target.with_name("model.onnx.data").read_bytes()) == (b"one", b"weights one")
    publish(b"two", b"weights two", True)
    assert (target.read_bytes(), target.with_name("model.onnx.data").read_bytes()) == (b"two", b"weights two")
    publish(b"three", None, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx"]


def test_the_same_source_gives_the_same_bytes(tmp_path: Path, iris: LogisticRegression) -> None:
    made = [Path(str(convert(iris, tmp_path / f"{n}.onnx").output)).read_bytes() for n in (1, 2)]
    assert made[0] == made[1]


# --- what comes back ------------------------------------------------------------------------------------------


def test_the_result_says_what_the_contract_promises(tmp_path: Path, iris: LogisticRegression) -> None:
    made = convert(iris, tmp_path / "iris.onnx")
    assert isinstance(made, Conversion)
    found = json.loads(json.dumps(made.to_dict()))
    assert found.keys() >= {
        "source", "output", "kind", "converter", "opset", "seconds", "peak_mib", "agreement", "warnings",
    }  # fmt: skip
    assert found["agreement"].keys() >= {"samples", "max_abs", "max_rel", "label_mismatches", "within_tolerance"}
    assert found["kind"] == "ML" and found["converter"]["name"] == "skl2onnx"
    assert found["agreement"]["within_tolerance"] and found["agreement"]["label_mismatches"] == 0
    assert found["agreement"]["samples"] > 100 and found["agreement"]["max_abs"] < 1e-5
    assert 20 < found["peak_mib"] < 4000 and found["source"] == "LogisticRegression (in memory)"
    assert "Both sides agree" in made._repr_html_()


def test_the_certificate_travels_in_the_file_and_detect_shows_it(tmp_path: Path, iris: LogisticRegression) -> None:
    path = tmp_path / "<b>.joblib"
    joblib.dump(iris, path)
    made = convert(path, tmp_path / "iris.onnx", trust=True)
    found = detect(str(made.output))
    assert found.components is not None
    proof = certificate.read(found.components["metadata_props"])
    assert proof is not None and proof["source"] == "<b>.joblib"
    assert proof["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() == made.sha256
    assert proof["agreement"]["asked"] == list(made.agreement.asked) and len(made.agreement.asked) == 1
    assert made.agreement.asked[0] in made.details
    assert proof["agreement"]["samples"] == made.agreement.samples and proof["tools"]["scikit-learn"]
    # ONNX's own reader finds it where it belongs, and the model is still a sound one.
    model = onnx.load(str(made.output))
    assert [entry.key for entry in model.metadata_props] == [certificate.KEY]
    onnx.checker.check_model(model, full_check=True)
    html = found._repr_html_().replace("<wbr>", "")  # where a long name may go on in the next line
    assert "certificate" in html and "&lt;b&gt;.joblib" in html and "<b>.joblib" not in html


def test_a_certificate_of_another_form_breaks_nothing() -> None:
    forms = ("", "[]", "{", '{"agreement": 3, "converter": [], "source": {}}', '{"agreement": {"max_abs": "x"}}')
    for text in (*forms, f'{{"agreement": {{"max_abs": 1{"0" * 400}}}}}', '{"agreement": {"max_abs": 1e999}}'):
        found = certificate.read({certificate.KEY: text})
        # Anyone can write one, so it is told as a claim.
        assert found is None or certificate.says(found).startswith("the file says: ")


@pytest.mark.parametrize("value", ["15", 15.0, True])
def test_an_opset_that_is_no_number_is_refused(iris: LogisticRegression, value: Any) -> None:
    with pytest.raises(BadInput, match="opset takes a whole number"):
        convert(iris, opset=value)


def test_a_class_of_the_callers_own_script_travels(tmp_path: Path) -> None:
    """Pickled by name its class could not be found there. It cannot be converted, and the sentence says so."""
    script = f"""
from sklearn.linear_model import LogisticRegression
from sklearn.datasets import load_iris
from workbench import convert, UnsupportedModel
class Mine(LogisticRegression): pass
try: convert(Mine(max_iter=1000).fit(*load_iris(return_X_y=True)), {str(tmp_path / "m.onnx")!r})
except UnsupportedModel as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.stderr == "" and "Mine" in done.stdout and "__main__" not in done.stdout.replace("'__main__", "")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (LogisticRegression, "was given the class LogisticRegression"),
        (3, "was given an object of type int"),
        ([1, 2], "was given an object of type list"),
    ],
)
def test_what_is_no_model_is_refused(source: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        convert(source)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("mlp.onnx", "already"), ("mlp_legacy.pth", "torch.onnx.export"), ("SOURCES.md", "not a model")],
)
def test_files_of_other_formats_get_advice(name: str, sentence: str) -> None:
    with pytest.raises(UnsupportedModel, match=sentence):
        convert(Path(__file__).parent / "data" / name)


def test_a_planted_disagreement_is_a_failure_with_the_worst_sample(tmp_path: Path) -> None:
    """The estimator answers the opposite of what its coefficients, which are converted, say."""
    liar = LogisticRegression(max_iter=1000).fit(ROWS, SPECIES)
    honest = LogisticRegression(max_iter=1000).fit(ROWS, SPECIES)
    liar.decision_function = lambda rows: -honest.decision_function(rows)
    with pytest.raises(ConversionDisagrees, match=r"gives other answers .* nothing was written: .*Worst: ") as caught:
        convert(liar, tmp_path / "liar.onnx", sample=ROWS)
    found = caught.value.conversion
    assert list(tmp_path.iterdir()) == [] and found.output is None
    assert not found.agreement.within_tolerance
    # Every row whose best class is not also its worst.
    assert found.agreement.label_mismatches >= int((liar.predict(ROWS) != honest.predict(ROWS)).sum()) > 100
    worst = found.agreement.worst[0]
    assert worst.group in ("given", "points") and worst.native != worst.onnx and worst.inputs
    assert "Both sides disagree" in found._repr_html_() and "Rows that differ most" in found._repr_html_()
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.conversion == found and str(again) == str(caught.value)


def test_the_command_prints_the_disagreement_and_exits_with_1(tmp_path: Path) -> None:
    import cloudpickle

    liar = LogisticRegression(max_iter=1000).fit(ROWS, SPECIES)
    liar.decision_function = eval("lambda rows: -rows[:, :3]")
    (tmp_path / "liar.pkl").write_bytes(cloudpickle.dumps(liar))
    done = run(str(tmp_path / "liar.pkl"), "--trust", "--json")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["agreement"]["within_tolerance"] is False
    assert "gives other answers" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "liar.onnx").exists()


# --- the command ----------------------------------------------------------------------------------------------


def test_the_command_converts_and_prints_one_json_object(tmp_path: Path, iris: LogisticRegression) -> None:
    joblib.dump(iris, tmp_path / "iris.joblib")
    np.save(tmp_path / "rows.npy", ROWS)
    done = run(
        str(tmp_path / "iris.joblib"), "--trust", "--json", "--sample", str(tmp_path / "rows.npy"), "--opset", "18",
        "--option", "zipmap=false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["output"] == str(tmp_path / "iris.onnx") and found["opset"] == 18
    assert found["agreement"]["groups"]["given"]["samples"] == 150
    assert "Loading the model" in done.stderr
    again = run(str(tmp_path / "iris.joblib"), "--trust")
    assert again.returncode == 1 and "exists already" in again.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--sample", "nothing.npy"], 1, "cannot be read as rows"),
        (["--option", "x"], 2, "takes KEY=VALUE, but was given 'x'"),
        (["--option", "trust=true"], 2, "trust is not one"),
        (["--timeout", "soon"], 2, "invalid float value: 'soon'"),
    ],
)
def test_wrong_arguments_end_in_one_line(
    tmp_path: Path, arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        done = main(["convert", str(tmp_path / "none.joblib"), *arguments])
    except SystemExit as ended:  # as argparse does
        done = ended.code
    # The parser prints the usage before its line.
    assert done == code and sentence in capsys.readouterr().err.splitlines()[-1]


def test_a_sample_without_rows_is_refused(iris: LogisticRegression) -> None:
    with pytest.raises(BadInput, match="no rows"):
        convert(iris, sample=np.zeros((0, 4)))


# --- the warm worker ------------------------------------------------------------------------------------------


def test_the_second_conversion_pays_no_start(tmp_path: Path, iris: LogisticRegression) -> None:
    sandbox.end_warm_worker()
    others = workers()  # what tests before this one left waiting
    convert(iris, tmp_path / "1.onnx")
    worker = workers() - others
    convert(iris, tmp_path / "2.onnx")
    assert workers() - others == worker and len(worker) == 1


def test_convert_stays_a_function_whatever_is_imported_first() -> None:
    script = "import workbench.convert.proof, workbench; print(callable(workbench.convert))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
