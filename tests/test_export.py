"""Notebooks as pages: what they hold, what they never load, and what happens to a notebook that fails."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from workbench.__main__ import main
from workbench.errors import BadInput, UnreadableFile, WorkbenchError
from workbench.export import export, page

DATA = Path(__file__).parent / "data"


def stored(path: Path, *cells: nbformat.NotebookNode) -> Path:
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


def test_a_page_holds_what_cells_say_when_run_and_what_they_took(tmp_path: Path) -> None:
    notebook = stored(
        tmp_path / "n.ipynb",
        new_markdown_cell("# Sums & more"),
        new_code_cell("print(6 * 7)"),
        new_code_cell("block = bytearray(200 << 20)"),
    )
    before = notebook.read_bytes()
    said: list[str] = []
    made = export(notebook, tmp_path / "page.html", execute=True, progress=said.append)
    text = made.path.read_text()
    assert "<title>Sums &amp; more</title>" in text and ">42\n</pre>" in text
    assert said == ["n.ipynb: cell 2 of 3", "n.ipynb: cell 3 of 3"]
    assert made.seconds is not None and made.peak_mib is not None
    assert 200 < made.peak_mib < 500  # the block, and a kernel without it
    assert notebook.read_bytes() == before


def test_workers_of_the_kernel_count_in_its_memory(tmp_path: Path) -> None:
    hold = "b = bytearray(300 << 20); import time; time.sleep(1)"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {hold!r}])"
    made = export(stored(tmp_path / "n.ipynb", new_code_cell(code)), execute=True)
    assert made.peak_mib is not None and made.peak_mib > 300


def test_nothing_of_another_place_is_loaded(tmp_path: Path) -> None:
    cells = [
        new_markdown_cell("A formula: $x^2$"),
        new_code_cell("x", outputs=[new_output("display_data", {"application/javascript": "fetch('//evil.example')"})]),
        new_code_cell("y", outputs=[new_output("stream", text="<script>alert(1)</script>")]),
    ]
    text = page(new_notebook(cells=cells), "n")
    assert "<script" not in text
    assert "http://" not in text and "https://" not in text
    assert "default-src 'none'; script-src 'none'" in text


def test_a_widget_is_shown_by_its_still_copy(tmp_path: Path) -> None:
    view = "application/vnd.jupyter.widget-view+json"
    cells = [
        new_code_cell(
            "w", outputs=[new_output("display_data", {view: {}, "text/html": "<b>still</b>", "text/plain": "W"})]
        ),
        new_code_cell("v", outputs=[new_output("display_data", {view: {}, "text/plain": "IntSlider(value=7)"})]),
    ]
    text = page(new_notebook(cells=cells), "n")
    assert "<b>still</b>" in text and "IntSlider(value=7)" in text
    assert "widget-view" not in text


def test_a_failing_cell_is_named_and_no_page_is_written(tmp_path: Path) -> None:
    notebook = stored(tmp_path / "n.ipynb", new_code_cell("1", id="fine"), new_code_cell("{}['key']", id="broken"))
    with pytest.raises(WorkbenchError, match=r"^n\.ipynb, cell 2 \(broken\) failed with KeyError: 'key'$"):
        export(notebook, execute=True)
    assert [path.name for path in tmp_path.iterdir()] == ["n.ipynb"]


def test_a_kernel_that_dies_is_a_sentence(tmp_path: Path) -> None:
    notebook = stored(tmp_path / "n.ipynb", new_code_cell("import os; os._exit(1)", id="deadly"))
    with pytest.raises(WorkbenchError, match=r"^n\.ipynb, cell 1 \(deadly\) ended its kernel"):
        export(notebook, execute=True)


def test_a_page_is_overwritten_only_when_asked_and_the_notebook_never(tmp_path: Path) -> None:
    notebook = stored(tmp_path / "n.ipynb", new_markdown_cell("# One"))
    assert export(notebook).path == tmp_path / "n.html"
    with pytest.raises(WorkbenchError, match="exists already"):
        export(notebook)
    export(notebook, overwrite=True)
    with pytest.raises(BadInput, match="never changed"):
        export(notebook, notebook, overwrite=True)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\x07\x12\x00", b'{"cells": 3, "nbformat": 4}'])
def test_what_is_no_notebook_is_refused_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match="no Jupyter notebook"):
        export(path)


def test_the_command_writes_all_it_can_and_says_which_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = stored(tmp_path / "good.ipynb", new_markdown_cell("# Good"))
    assert main(["export", "--json", str(tmp_path / "none.ipynb"), str(good), "-o", str(tmp_path / "pages")]) == 1
    out, err = capsys.readouterr()
    assert err == f"workbench: {tmp_path / 'none.ipynb'} cannot be read: No such file or directory.\n"
    made = json.loads(out)
    assert made["path"] == str(tmp_path / "pages" / "good.html") and made["seconds"] is None
    assert made["size_bytes"] == (tmp_path / "pages" / "good.html").stat().st_size
