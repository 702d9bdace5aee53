"""The command line: JSON on stdout, reasons on stderr, exit codes as promised."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from workbench.__main__ import _progress, main

DATA = Path(__file__).parent / "data"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command, in this process: one of its own would spend most of the time on imports."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as end:  # argparse's
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def test_detect_prints_one_json_object_per_file() -> None:
    command = [sys.executable, "-m", "workbench", "detect", str(DATA / "mlp.onnx"), str(DATA / "mlp.pt2"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0
    assert not done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["format"], line["kind"]) for line in lines] == [("ONNX", "DL"), ("PyTorch", "DL")]


def test_a_bad_file_among_good_ones_fails_with_one_line_and_the_good_ones_are_answered(tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes((DATA / "mlp.onnx").read_bytes()[:300])
    done = run("detect", str(cut), str(tmp_path / "missing.onnx"), str(DATA / "mlp.onnx"), "--json")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    reasons = done.stderr.splitlines()
    assert len(reasons) == 2
    assert "cut short" in reasons[0] and "missing.onnx" in reasons[1]


ACTING = "\x1b]0;t\x07\x1b[2J\x9b31m\u202eonnx\u2066\r\nworkbench: all is well\x00\u200b"


def acting_model(folder: Path) -> Path:
    """An ONNX file whose name and every string in it act on a terminal, and whose weights lie under such a name."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    weights = TensorProto(name=f"w{ACTING}", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value=f"../{ACTING}")
    node = helper.make_node(f"A{ACTING}", [f"x{ACTING}", f"w{ACTING}"], [f"y{ACTING}"], f"n{ACTING}", domain=ACTING)
    neuron = helper.make_node("LIF", [f"y{ACTING}"], [f"z{ACTING}"], f"l{ACTING}")
    graph = helper.make_graph(
        [node, neuron], ACTING, [value(f"x{ACTING}", TensorProto.FLOAT, [2])], [value(f"z{ACTING}", 1, [ACTING])],
        [weights], doc_string=ACTING,
    )  # fmt: skip
    model = helper.make_model(graph, producer_name=ACTING, doc_string=ACTING, domain=ACTING)
    model.metadata_props.add(key=ACTING, value=ACTING)
    path = folder / f"m{ACTING.replace(chr(0), '')}.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def assert_harmless(shown: str) -> None:
    assert [char for char in shown if not char.isprintable() and char != "\n"] == []
    assert not [line for line in shown.splitlines() if line.startswith("workbench: all is well")]


COMMANDS = {
    "detect": ("detect", "{model}", "{gone}", "{dir}"),
    "detect as JSON": ("detect", "{model}", "{gone}", "--json"),
    "graph": ("graph", "{model}"),
    "graph, the page is there": ("graph", "{model}", "-o", "{data}"),
    "graph as JSON": ("graph", "{model}", "--json", "-o", "{dir}/{acting}.html"),
    "convert": ("convert", "{model}"),
    "convert nothing": ("convert", "{gone}"),
    "convert, with rows": ("convert", "{cut}", "--sample", "{data}"),
    "lift": ("lift", "{model}"),
    "lift, a state": ("lift", "{model}", "--state", "{acting}"),
    "code": ("code", "{model}", "-o", "{dir}/{acting}.py"),
    "compare": ("compare", "{model}", "{model}", "--inputs", "random"),
    "compare nothing": ("compare", "{gone}", "{gone}"),
    "compare, no column of this name": ("compare", "{model}", "{model}", "--inputs", "{data}", "--targets", "{acting}"),
    "report": ("report", "{model}"),
    "report as JSON": ("report", "{model}", "-o", "{dir}/{acting}.report.html", "--json"),
    "export": ("export", "{notebook}", "{model}", "{gone}"),
    "export, run": ("export", "{notebook}", "--execute", "-o", "{dir}/{acting}"),
    "tables": ("tables", "-o", "{data}"),
    "a wrong option": ("detect", "{model}", "--{acting}"),
    "a wrong command": ("{acting}",),
    "a wrong number": ("compare", "a", "b", "--scale", "{acting}"),
}


@pytest.fixture(scope="module")
def acting(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of every sort under names that act."""
    from nbformat import v4, write

    folder, name = tmp_path_factory.mktemp("acting"), ACTING.replace("\0", "")
    model = acting_model(folder)
    (folder / f"cut{name}.keras").write_bytes(b"PK\x03\x04")
    (folder / f"data{name}.csv").write_text(f"a{ACTING}\n{ACTING}\n")
    cell = v4.new_code_cell(f"raise KeyError({ACTING!r})", id="cell")
    write(v4.new_notebook(cells=[v4.new_markdown_cell(f"# {ACTING}"), cell]), folder / f"book{name}.ipynb")
    files = {"model": str(model), "gone": str(folder / f"gone{name}"), "dir": str(folder), "acting": name}
    return files | {
        "cut": f"{folder}/cut{name}.keras",
        "data": f"{folder}/data{name}.csv",
        "notebook": f"{folder}/book{name}.ipynb",
    }


@pytest.mark.parametrize("case", COMMANDS)
def test_nothing_that_is_printed_acts_on_a_terminal(case: str, acting: dict[str, str]) -> None:
    done = run(*(word.format(**acting) for word in COMMANDS[case]))
    out, err = done.stdout, done.stderr
    assert out + err and "workbench" in out + err
    assert_harmless(out)
    assert_harmless(err)
    if "--json" in COMMANDS[case]:
        # The data says what is there, letter by letter.
        assert all(
            acting["acting"] in json.loads(line)["path" if case != "graph as JSON" else "name"]
            for line in out.splitlines()
        )


def test_names_of_files_that_are_no_text_are_printed(tmp_path: Path) -> None:
    name = os.path.join(os.fsencode(tmp_path), b"caf\xe9 \xf0\x9f\x90\x8d.onnx")
    shutil.copy(DATA / "mlp.onnx", name)
    for encoding in ("utf-8", "ascii"):
        command = [sys.executable, "-m", "workbench", "detect", name, name + b".gone"]
        done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
        assert b"caf\\udce9" in done.stdout and b": DL, ONNX" in done.stdout
        assert done.stderr.startswith(b"workbench: ") and len(done.stderr.splitlines()) == 1


def test_what_is_found_stands_under_the_verdict_worst_first_and_many_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from onnx import TensorProto, helper

    from workbench.__main__ import MOST_LINES, main

    path, tensors = tmp_path / "m.onnx", []
    for place in ("missing.bin", *(f"also_missing_{number}.bin" for number in range(30)), "../outside.bin"):
        tensor = TensorProto(name=place, data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=place)
        tensors.append(tensor)
    path.write_bytes(helper.make_model(helper.make_graph([], "g", [], [], tensors)).SerializeToString())
    assert main(["detect", str(path)]) == 0
    verdict, *found = capsys.readouterr().out.splitlines()
    assert verdict.startswith(f"{path}: ")
    assert found[0].startswith("  error: ") and "../outside.bin" in found[0] and "Do not load it" in found[0]
    assert (
        found[1].startswith("  warning: ")
        and "missing.bin" in found[1]
        and f"Put that file into {tmp_path}" in found[1]
    )
    assert found[MOST_LINES].startswith(f"  and {32 - MOST_LINES} more") and "missing" not in "".join(
        found[MOST_LINES:]
    )


def test_errors_are_harmless_wherever_they_are_shown() -> None:
    import pickle

    from workbench.errors import NeedsTrust, UnreadableFile

    for error in (UnreadableFile(f"{ACTING} cannot be read."), NeedsTrust(ACTING)):
        error.add_note(ACTING)
        for shown in (str(error), str(pickle.loads(pickle.dumps(error))), *error.__notes__):
            assert_harmless(shown.replace("\nworkbench", " workbench"))
            assert "\\x1b]0;t\\x07" in shown and "\\u202e" in shown


def test_graph_writes_a_page_and_keeps_what_is_there(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run("graph", str(DATA / "mlp.onnx"), "-o", str(page))
    assert done.returncode == 0, done.stderr
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    page.write_text("mine")
    refused = run("graph", str(DATA / "mlp.onnx"), "-o", str(page))
    assert refused.returncode == 1
    assert page.read_text() == "mine"
    assert len(refused.stderr.splitlines()) == 1
    assert run("graph", str(DATA / "mlp.onnx"), "-o", str(page), "--force").returncode == 0
    assert page.read_text(encoding="utf-8") != "mine"


@pytest.mark.parametrize(
    "arguments", [(), ("detect",), ("nonsense",), ("graph", "a", "b"), ("compare", "a"), ("tables", "--only", "2")]
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [(), ("detect",), ("graph",), ("convert",), ("compare",), ("tables",), ("lab",)])
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "usage: workbench" in done.stdout


def test_lab_opens_on_the_workbench_and_passes_options_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    landing = re.compile(r"http://127\.0\.0\.1:\d+/lab/tree/notebooks/models/iris_random_forest\.onnx\?token=\w+")
    command = [sys.executable, "-m", "workbench", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    with log.open("wb") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            for _ in range(6000):
                address = landing.search(log.read_text(errors="replace"))
                if address:
                    break
                assert server.poll() is None, log.read_text(errors="replace")
                time.sleep(0.1)
            else:
                pytest.fail(log.read_text(errors="replace"))
            # It names the address before it answers there.
            with urllib.request.urlopen(address.group(), timeout=600) as page:
                assert "JupyterLab" in page.read().decode()
        finally:
            server.kill()
            server.wait()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier as skops and joblib, its ONNX form, and its rows in several kinds of files."""
    import joblib
    import numpy as np
    import skops.io
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    from workbench import convert

    folder = tmp_path_factory.mktemp("pair")
    rows, answers = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(rows, answers)
    joblib.dump(model, folder / "m.joblib")
    skops.io.dump(model, folder / "m.skops")
    convert(model, folder / "m.onnx")
    np.save(folder / "x.npy", rows)
    np.savez(folder / "x.npz", rows=rows, answers=answers)
    lines = [",".join([*map(str, row), str(answer)]) for row, answer in zip(rows, answers, strict=True)]
    (folder / "x.csv").write_text("\n".join(["a,b,c,d,species", *lines]))
    (folder / "y.csv").write_text("\n".join(["species", *map(str, answers)]))
    return folder


def in_folder(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    files = [str(folder / word) if (folder / word).exists() else word for word in arguments]
    return run("compare", *files, "--seconds", "0.3")


ROWS = {
    "columns of a table": ("--inputs", "x.csv", "--targets", "species"),
    "arrays of one file": ("--inputs", "x.npz", "--targets", "answers"),
    "two files": ("x.npy", "--targets", "y.csv"),
}


@pytest.mark.slow
@pytest.mark.parametrize("rows", ROWS)
def test_compare_prints_one_json_object_and_knows_the_right_answers(rows: str, pair: Path) -> None:
    done = in_folder(pair, "m.skops", "m.onnx", *ROWS[rows], "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"native", "onnx", "speedup", "agreement", "environment"} <= set(found)
    assert {"engine", "version", "seconds_median", "seconds_low", "seconds_high", "accuracy"} <= set(found["native"])
    assert set(found["speedup"]) == {"median", "low", "high"}
    assert found["agreement"]["within_tolerance"] and found["agreement"]["samples"] == 150
    # What this classifier reaches on the rows it was fitted on.
    assert found["native"]["accuracy"] == found["onnx"]["accuracy"] == pytest.approx(0.973, abs=0.01)
    assert "Loading m.skops …" in done.stderr and "\x1b" not in done.stderr


@pytest.mark.slow
def test_compare_explains_its_words_to_a_person(pair: Path) -> None:
    done = in_folder(pair, "m.skops", "m.onnx", "x.npy")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Both sides agree: ")
    for words in ("times as fast as", " round", "Of each side the fastest call counts", "threads on both sides"):
        assert words in done.stdout
    # Each stage once; of the rounds of a short race none.
    assert "Round " not in done.stderr and done.stderr.count("Warming up") == 1


WRONG = {
    "not trusted": (("m.joblib", "m.onnx"), 3, "--trust"),
    "the wrong order": (("m.onnx", "m.skops"), 1, "m.skops is skops, not ONNX"),
    "no ONNX file": (("m.skops", "missing.onnx"), 1, "missing.onnx cannot be read"),
    "no native file": (("missing.skops", "m.onnx"), 1, "missing.skops cannot be read"),
    "no such column": (("m.skops", "m.onnx", "x.csv", "--targets", "kind"), 1, "kind"),
    "answers without rows": (("m.skops", "m.onnx", "--targets", "y.csv"), 1, "give --inputs"),
    "rows of another width": (("m.skops", "m.onnx", "y.csv"), 1, "takes 4 columns"),
}


@pytest.mark.parametrize("case", WRONG)
def test_compare_says_in_one_line_what_is_wrong(case: str, pair: Path) -> None:
    arguments, code, reason = WRONG[case]
    done = in_folder(pair, *arguments)
    assert done.returncode == code
    assert not done.stdout
    *stages, last = done.stderr.splitlines()
    assert last.startswith("workbench: ") and reason in last
    assert all(stage.endswith(" …") for stage in stages)


@pytest.mark.slow
def test_interrupting_a_comparison_ends_it_and_its_workers_at_once(pair: Path) -> None:
    import signal

    import psutil

    command = [
        sys.executable,
        "-m",
        "workbench",
        "compare",
        *(str(pair / name) for name in ("m.skops", "m.onnx", "x.npy")),
    ]
    for _ in range(5):  # a crowded machine may let the race end before it is interrupted
        done = subprocess.Popen(
            [*command, "--seconds", "60"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            # A shell's background job is started deaf to it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        assert done.stderr is not None
        while "Asking both sides" not in (line := done.stderr.readline()):  # both run, and the race is still to come
            assert line, "it ended before the race"
        workers = psutil.Process(done.pid).children(recursive=True)
        done.send_signal(signal.SIGINT)
        out, errors = done.communicate(timeout=600)
        if done.returncode:
            break
    assert workers
    assert done.returncode == 1 and not out
    assert errors.splitlines()[-1] == "workbench: interrupted" and "Traceback" not in errors
    assert not psutil.wait_procs(workers, timeout=300)[1]


def test_tables_checks_its_folder_before_minutes_of_measuring(tmp_path: Path) -> None:
    (tmp_path / "tables.json").write_text("mine")
    done = run("tables", "-o", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("workbench: ") and "--force" in done.stderr and len(done.stderr.splitlines()) == 1
    assert (tmp_path / "tables.json").read_text() == "mine"


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_takes_one_line_of_a_terminal_and_few_of_a_log(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with _progress() as say:
        say("Warming up")
        for number in range(50):
            say(f"Round {number}: ratio 9")
        say("KNN: ONNX is 9 times as fast.")
    shown = capsys.readouterr().err
    assert shown.count("\n") == (1 if terminal else 2)
    assert ("Round 49" in shown) == terminal
    assert shown.endswith("KNN: ONNX is 9 times as fast.\n" + ("\r\x1b[K" if terminal else ""))


def test_importing_the_package_and_detecting_load_nothing_heavy() -> None:
    script = f"""
import sys
import workbench
workbench.detect({str(DATA / "mlp.onnx")!r})
print([name for name in ("pandas", "onnx", "onnxruntime", "tensorflow", "keras", "sklearn", "IPython", "ipywidgets")
       if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_verbs_stay_functions_whatever_is_imported_first() -> None:
    script = """
import workbench.graph, workbench.kind
from workbench.graph import GraphView
import workbench
print(callable(workbench.graph), callable(workbench.detect), GraphView is workbench.GraphView)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]
