"""Notebooks as pages: what they hold, what they never load, and what happens to a notebook that fails."""

from __future__ import annotations

import base64
import gzip
import json
import re
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from hostile_notebook import ATTACKS, AWAY, NONCE, RUN, SCRIPT, evil
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_graph import Shown, hostile, shown, state  # noqa: F401  shown is a fixture

from workbench.__main__ import main
from workbench.errors import BadInput, UnreadableFile, WorkbenchError
from workbench.graph import graph
from workbench.kind import detect
from workbench.show.export import export, page

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


def test_a_kind_keeps_its_colour_and_shape_in_a_page() -> None:
    card = new_output("display_data", {"text/html": detect(DATA / "mlp.onnx")._repr_html_()})
    assert 'data-kind="DL"' in page(new_notebook(cells=[new_code_cell("x", outputs=[card])]), "n")


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


def test_the_workbench_in_a_page_shows_what_was_found_out_last_or_else_an_example(tmp_path: Path) -> None:
    shows = new_code_cell("from workbench import Workbench\nwb = Workbench()\nwb")
    picks = new_code_cell(f"wb.path = {str(DATA / 'mlp.onnx')!r}")
    text = export(stored(tmp_path / "picked.ipynb", shows, picks), execute=True).path.read_text()
    assert "Netron: mlp.onnx" in text and "First inference" in text and "an example" not in text
    assert "settle" not in text
    text = export(stored(tmp_path / "n.ipynb", shows), execute=True).path.read_text()
    assert "an example" in text and "Netron: logistic_regression.onnx" in text and "Both sides agree" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.html", "n.ipynb", "picked.html", "picked.ipynb"]


def test_links_between_notebooks_lead_from_page_to_page() -> None:
    cell = new_markdown_cell("[next](01_why_onnx.ipynb#b) [far](https://example.org/a.ipynb) `[code](c.ipynb)`")
    text = page(new_notebook(cells=[cell]), "n")
    assert re.findall('href="([^"]*)"', text) == ["01_why_onnx.html#b", "https://example.org/a.ipynb"]
    assert "c.ipynb" in text


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


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = stored(tmp_path / "n.ipynb", new_markdown_cell("# N"))
    assert main(["export", str(notebook), "-o", str(notebook)]) == 1
    assert capsys.readouterr().err == f"workbench: The folder {notebook} cannot be made: File exists.\n"


# --- notebooks of anyone ----------------------------------------------------------------------------------------------


@pytest.fixture
def asked() -> Iterator[tuple[str, list[bytes]]]:
    """An address of this machine, and what was sent to it."""
    heard: list[bytes] = []

    class Listening(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            heard.append(self.rfile.readline())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Listening) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", heard
        server.shutdown()


@pytest.mark.browser
@pytest.mark.parametrize("fences", ["both", "cleaning alone"])
def test_a_notebook_of_anyone_runs_nothing_leads_nowhere_and_asks_for_nothing(
    shown: Shown,  # noqa: F811
    tmp_path: Path,
    asked: tuple[str, list[bytes]],
    fences: str,
) -> None:
    address, heard = asked
    text = page(evil(), "n").replace("127.0.0.1:9", address)
    if fences == "cleaning alone":
        # Style sheets may name what they like: what they would load, the policy alone stops.
        loads_nothing = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'unsafe-inline'"
        text, replaced = re.subn(r'(?<=Content-Security-Policy" content=")[^"]*', loads_nothing, text, count=1)
        assert replaced
    here = shown.open(text, tmp_path / "page.html")
    title, url = here.title(), here.url
    for link in here.locator("a.click").all():
        link.dispatch_event("click")
    here.wait_for_timeout(1000)  # time for an attack to show
    assert (here.title(), here.url) == (title, url)
    assert heard == [] and shown.dialogs == []
    acting = "script, iframe, meta[http-equiv=refresh], base, form, object, embed, link, template"
    assert here.locator(acting).count() == 0
    names = here.evaluate("[...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).map(a => a.name)")
    assert not [name for name in names if name.startswith("on") or name in ("srcset", "srcdoc", "action", "background")]
    leads = here.evaluate("[...document.querySelectorAll('[href],[src]')].map(e => e.href || e.src)")
    assert not [to for to in leads if str(to).startswith(("javascript:", "data:text", "vbscript:"))]
    # The words are all there, as words.
    assert here.get_by_text("default-src").count() == 0 and here.get_by_text(f"nonce-{NONCE}").count() > 5


def framed(document: str) -> str:
    return f'<div><iframe srcdoc="{document.replace("&", "&amp;").replace(chr(34), "&quot;")}"></iframe></div>'


def packed(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.b64encode(gzip.compress(data)).decode()


def replaced_block(document: str, name: str, text: str) -> str:
    changed, count = re.subn(f'(?<=id="{name}">)[^<]*', text, document)
    assert count == 1
    return changed


@pytest.mark.browser
def test_graphs_of_anyone_are_alive_with_our_scripts_and_none_of_theirs(
    shown: Shown,  # noqa: F811
    tmp_path: Path,
) -> None:
    real = graph(DATA / "mlp.onnx").page()
    nonce = re.findall("nonce-([0-9a-f]{32})", real)[0]
    tampered = [
        real.replace("(async () => {", f"{RUN}; (async () => {{", 1),
        real.replace("</body>", f"<script nonce={nonce}>{RUN}</script></body>"),
        replaced_block(real, "engine", packed({"page": SCRIPT, "modules": {"view.js": RUN}})),
        replaced_block(real, "about", packed({"title": SCRIPT, "notes": ATTACKS, "file": "model.onnx"})),
        re.sub("<meta[^>]*>", f"<meta http-equiv=refresh content='0;{AWAY}'>", real),
        graph(hostile()).page(),
    ]
    useless = [
        replaced_block(real, "model", packed(b"no model")),
        replaced_block(real, "about", packed({"title": "t", "notes": [], "file": "../../etc/passwd"})),
        replaced_block(real, "about", packed([])),
        replaced_block(real, "model", packed(bytes(200 << 20))),
        replaced_block(real, "model", "AAAA"),
        "<p>hello</p>",
    ]
    outputs = [new_output("display_data", {"text/html": framed(document)}) for document in [*tampered, *useless]]
    script = new_output(
        "display_data", {"text/html": f"<p>script-src 'nonce-{nonce}'</p><script nonce={nonce}>{RUN}</script>"}
    )
    notebook = new_notebook(cells=[new_code_cell("g", outputs=[script, *outputs])])
    text = page(notebook, "n")
    here = shown.open(text, tmp_path / "page.html")
    frames = here.locator("iframe")
    assert frames.count() == len(tampered)
    for number in range(len(tampered)):
        frames.nth(number).scroll_into_view_if_needed()
        state(here.frame_locator("iframe").nth(number))
    assert here.title() == "n" and shown.outside == [] and shown.dialogs == []
    # The key of this page is in no notebook, and another each time.
    policy = re.search("script-src 'nonce-([0-9a-f]{32})'", text)
    assert policy and policy[1] != nonce and policy[1] not in page(notebook, "n")
    assert nonce not in text.replace(f"&#x27;nonce-{nonce}&#x27;", "").replace(f"'nonce-{nonce}'", "")
    assert all(frame.get_attribute("sandbox") and "same-origin" not in (frame.get_attribute("sandbox") or "")
               for frame in frames.all())  # fmt: skip
