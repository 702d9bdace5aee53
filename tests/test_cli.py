"""The command line: JSON on stdout, reasons on stderr, exit codes as promised."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "workbench", *arguments], capture_output=True, text=True, timeout=120)


def test_detect_prints_one_json_object_per_file() -> None:
    done = run("detect", str(DATA / "mlp.onnx"), str(DATA / "mlp.pt2"), "--json")
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


def test_the_text_answer_has_no_terminal_escapes(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("A\x1b[31mB", ["x"], ["y"])], "g", [value("x", TensorProto.FLOAT, [1])], [value("y", 1, [1])]
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    done = run("detect", str(path))
    assert done.returncode == 0
    assert "\x1b" not in done.stdout


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


@pytest.mark.parametrize("arguments", [(), ("detect",), ("nonsense",), ("graph", "a", "b")])
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [(), ("detect",), ("graph",), ("convert",), ("lab",)])
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "usage: workbench" in done.stdout


def test_lab_opens_on_the_notebook_and_passes_options_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "workbench", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    with log.open("wb") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            for _ in range(600):
                if "/lab/tree/notebooks/00_workbench.ipynb?token=" in log.read_text(errors="replace"):
                    break
                assert server.poll() is None, log.read_text(errors="replace")
                time.sleep(0.1)
            else:
                pytest.fail(log.read_text(errors="replace"))
        finally:
            server.terminate()
            server.wait(30)


def test_importing_the_package_and_detecting_load_nothing_heavy() -> None:
    script = f"""
import sys
import workbench
workbench.detect({str(DATA / "mlp.onnx")!r})
print([name for name in ("numpy", "onnx", "onnxruntime", "tensorflow", "keras", "sklearn", "IPython", "ipywidgets")
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
