"""No result takes the place of what it is made from, by whatever door it comes and whatever that is called there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import onnx
import pytest
from onnx import external_data_helper

from workbench import convert, graph, report
from workbench.__main__ import main
from workbench.errors import BadInput, WorkbenchError
from workbench.paper.tables import Tables
from workbench.publish import sparing, write_text
from workbench.session import Session
from workbench.show.export import export

DATA = Path(__file__).parent / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with its weights beside it, one that is a folder, a native one, rows, answers and a notebook."""
    import skops.io
    from sklearn.linear_model import LinearRegression

    model = onnx.load(DATA / "mlp.onnx")
    external_data_helper.convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, tmp_path / "m.onnx")
    assert (tmp_path / "weights.bin").stat().st_size > 0
    (tmp_path / "saved" / "variables").mkdir(parents=True)
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"\x08\x01\x12\x0a\x0a\x00\x12\x06\x0a\x04\x12\x02Id")
    (tmp_path / "saved" / "variables" / "variables.index").write_bytes(b"weights")
    rows = np.arange(12.0).reshape(6, 2)
    skops.io.dump(LinearRegression().fit(rows, rows[:, 0]), tmp_path / "n.skops")
    np.savetxt(tmp_path / "rows.csv", rows, delimiter=",", header="a,b", comments="")
    (tmp_path / "answers.csv").write_text("c\n" + "1\n" * 6)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# N")]), tmp_path / "n.ipynb")
    (tmp_path / "link.html").symlink_to("m.onnx")
    os.link(tmp_path / "m.onnx", tmp_path / "hard.html")
    (tmp_path / "way").symlink_to(tmp_path, target_is_directory=True)
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


COMMANDS = {
    "the model": "graph m.onnx -o m.onnx",
    "the model by another way": "graph m.onnx -o way/m.onnx",
    "the model by a way round": "graph way/m.onnx -o saved/../m.onnx",
    "a link to the model": "graph m.onnx -o link.html",
    "a hard link to the model": "graph m.onnx -o hard.html",
    "the model's weights": "graph m.onnx -o weights.bin",
    "a folder's graph": "graph saved -o saved/saved_model.pb",
    "a folder's weights": "graph saved -o saved/variables/variables.index",
    "the weights beside a graph": "graph saved/saved_model.pb -o saved/variables/variables.index",
    "a report over the model": "report m.onnx -o m.onnx",
    "a report over weights": "report m.onnx -o weights.bin",
    "a report over the native model": "report m.onnx --native n.skops -o n.skops",
    "a report over the rows": "report m.onnx --native n.skops --data rows.csv -o rows.csv",
    "a report over the answers": "report m.onnx --native n.skops --data rows.csv --targets answers.csv -o answers.csv",
    "an ONNX file over its source": "convert n.skops -o n.skops",
    "an ONNX file over its sample": "convert n.skops -o rows.csv --sample rows.csv",
    "an ONNX file over a folder's file": "convert saved -o saved/variables/variables.index",
    "a notebook's page over it": "export n.ipynb -o .",
}


@pytest.mark.parametrize("case", COMMANDS)
def test_no_command_destroys_what_it_reads(
    case: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    if case.startswith("a notebook"):  # which has the page's name
        (folder / "n.html").symlink_to("n.ipynb")
    before = content(folder)
    assert main([*COMMANDS[case].split(), "--force"]) == 1
    out, err = capsys.readouterr()
    assert not out and "is never changed; give another output" in err.splitlines()[-1]
    assert content(folder) == before


DOORS: dict[str, Callable[[Path], object]] = {
    "graph": lambda folder: graph(folder / "m.onnx").save(folder / "weights.bin", overwrite=True),
    "graph of a folder": lambda folder: graph(folder / "saved").save(
        folder / "saved" / "saved_model.pb", overwrite=True
    ),
    "report": lambda folder: report(folder / "m.onnx", folder / "weights.bin", overwrite=True),
    "report of two": lambda folder: report(
        folder / "m.onnx", folder / "rows.csv", native=folder / "n.skops", inputs=folder / "rows.csv", overwrite=True
    ),
    "convert": lambda folder: convert(folder / "n.skops", folder / "way" / "n.skops", overwrite=True),
    "export": lambda folder: export(folder / "n.ipynb", folder / "way" / "n.ipynb", overwrite=True),
}


@pytest.mark.parametrize("door", DOORS)
def test_no_function_destroys_what_it_reads(door: str, folder: Path) -> None:
    before = content(folder)
    with pytest.raises(BadInput, match="never changed"):
        DOORS[door](folder)
    assert content(folder) == before


def test_a_session_overwrites_nothing(folder: Path) -> None:
    before = content(folder)
    session = Session(folder / "m.onnx", root=folder)
    with pytest.raises(WorkbenchError):
        session.report(folder / "weights.bin")
    session.pick(folder / "n.skops")
    session.output = "rows.csv"
    with pytest.raises(WorkbenchError, match="exists already"):
        session.convert()
    assert content(folder) == before


def test_tables_take_the_place_of_links_not_of_what_these_lead_to(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    shutil.copy(DATA / "mlp.onnx", model)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "tables.json").symlink_to(model)
    Tables(table1=None, table3=(), table4=(), table5=(), environment={}, notes=()).save(
        tmp_path / "tables", overwrite=True
    )
    assert model.read_bytes() == (DATA / "mlp.onnx").read_bytes()
    assert (tmp_path / "tables" / "tables.json").read_text().startswith("{")


def test_other_files_are_overwritten_when_asked(folder: Path) -> None:
    page = folder / "page.html"
    page.write_text("old")
    with pytest.raises(WorkbenchError, match="exists already"):
        write_text("new", page, inputs=[folder / "m.onnx"])
    with sparing([str(page)]), pytest.raises(BadInput, match="never changed"):
        write_text("new", page, overwrite=True, inputs=[None, np.zeros(3)])
    assert page.read_text() == "old"
    assert write_text("new", page, overwrite=True, inputs=[folder / "m.onnx", folder / "saved"]).read_text() == "new"
    with pytest.raises(WorkbenchError, match="cannot be written"):
        write_text("new", folder / "a\0b", inputs=())
