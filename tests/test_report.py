"""The report: one page that lives offline, says what is known and runs nothing of the model's."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np
import onnx
import pandas as pd
import pytest
from access import barriers
from playwright.sync_api import Browser, FrameLocator, expect
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from test_graph import ATTACK, Shown, hostile, state

from workbench import convert, report
from workbench.errors import BadInput, NeedsTrust, UnreadableFile, WorkbenchError
from workbench.safety.trust import private_copy
from workbench.sandbox import Cancelled
from workbench.session import Session
from workbench.show.report import write
from workbench.widgets.report import CHUNK, Download, ReportPanel

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A classifier as a file and as ONNX, and what its conversion was. Its classes have names that attack."""
    import skops.io

    folder = tmp_path_factory.mktemp("iris")
    table = load_iris()
    names = np.array([ATTACK, "\u202egnp.exe ]]> -->", "W" * 3000])
    model = LogisticRegression(max_iter=500).fit(table.data, names[table.target])
    skops.io.dump(model, folder / "iris.skops")
    rows = pd.DataFrame(table.data[:20], columns=[ATTACK, "\u202ecolumn", "C" * 2000, "]]>"])
    rows.assign(**{"species<img>": names[table.target[:20]]}).to_csv(folder / "rows<b>.csv", index=False)
    yield {
        "rows": folder / "rows<b>.csv",
        "native": folder / "iris.skops",
        "conversion": convert(folder / "iris.skops", folder / "iris.onnx"),
        "onnx": folder / "iris.onnx",
    }


@pytest.fixture(scope="module")
def compared(iris: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The report of both, and what was said on the way. All that the ONNX file can say of itself attacks."""
    said: list[str] = []
    folder = tmp_path_factory.mktemp("compared")
    model = onnx.load(iris["onnx"])
    for number, node in enumerate(model.graph.node):
        node.name, node.doc_string = f"{ATTACK}{number}", ATTACK
    model.graph.name, model.graph.doc_string = ATTACK, "W" * 5000
    model.producer_name, model.domain = "V" * 3000, ATTACK
    model.doc_string = f"<h2>Summary</h2><style>*{{display:none}}</style>{ATTACK}"
    model.metadata_props.add(key=f"big{ATTACK}", value="M" * (1 << 20))
    model.metadata_props.add(key="L" * 4000, value="\u202e\0")
    onnx.save(model, folder / "ML.onnx")
    page = report(
        folder / "ML.onnx", folder / "ML.html", native=iris["native"], inputs=iris["rows"], target="species<img>",
        seconds=0.2, progress=said.append,
    )  # fmt: skip
    return page, said


@pytest.fixture
def offline(browser: Browser) -> Iterator[Shown]:
    context = browser.new_context(viewport={"width": 1000, "height": 800}, offline=True)
    yield Shown(context.new_page())
    context.close()


def drawn(report: Shown) -> FrameLocator:
    """The graph, once it is there: a browser draws no frame that nobody sees."""
    report.page.locator("summary", has_text="Graph").click()
    report.page.locator("iframe").scroll_into_view_if_needed()
    graph = report.page.frame_locator("iframe")
    state(graph)
    return graph


def text_of(page: Path) -> str:
    """The report's own words, without the graph's page and markup."""
    return re.sub(r"<[^>]*>", " ", re.sub(r'(srcdoc|src)="[^"]*"', "", page.read_text("utf-8")))


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_reports_of_all_three_kinds_live_offline(
    offline: Shown, tmp_path: Path, compared: tuple[Path, list[str]]
) -> None:
    pages = {"ML": compared[0]}
    models = {"ML": compared[0].with_name("ML.onnx"), "DL": DATA / "mlp.onnx", "SNN": DATA / "snn_leaky.onnx"}
    for kind in ("DL", "SNN"):
        pages[kind] = write(models[kind], tmp_path / f"{kind}.html")
    for kind, page in pages.items():
        offline.page.goto(page.as_uri())
        cover = offline.page.get_by_role("banner")
        expect(cover.locator(".wb-kind")).to_have_text(re.compile(f"^{kind}"))
        expect(cover).to_contain_text(hashlib.sha256(models[kind].read_bytes()).hexdigest())
        expect(offline.page.locator("iframe")).to_be_hidden()  # details are folded
        graph = drawn(offline)
        graph.locator(".node-item-type").first.click()
        expect(graph.locator("#sidebar-title")).to_have_text("Node Properties")
        expect(offline.page.locator(".still")).to_be_hidden()
        offline.page.emulate_media(media="print")
        expect(offline.page.locator("iframe")).to_be_hidden()
        expect(offline.page.get_by_role("img", name="Drawing of the graph")).to_be_visible()
        offline.page.emulate_media(media="screen")
        assert page.stat().st_size < 500_000
    # Only the reports themselves were asked for, nothing of the model's ran, and nobody complained.
    assert offline.dialogs == []
    assert [url for url in offline.requests if url.startswith("file:")] == [page.as_uri() for page in pages.values()]
    assert offline.outside == [] and offline.console == []


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_report_keeps_nobody_out_and_no_word_is_too_long_for_it(
    browser: Browser, compared: tuple[Path, list[str]], theme: Literal["light", "dark"]
) -> None:
    page = browser.new_context(viewport={"width": 1100, "height": 800}, offline=True, color_scheme=theme).new_page()
    page.goto(compared[0].as_uri())
    for width in (1100, 360):  # a phone's
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate("open => document.querySelectorAll('details').forEach(one => one.open = open)", width == 360)
        assert barriers(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
    expect(page.get_by_role("img", name="Times: native estimator.predict(x)")).to_be_visible()
    # On paper: all of it open and as wide as the page, no column cut, black on white.
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
    page.emulate_media(media="print")
    for width, height in ((680, 1010), (708, 940)):  # A4 and Letter within their margins
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator("table:visible").count() > 5
        beyond = "(all, edge) => all.filter(one => one.getBoundingClientRect().right > edge + 1).length"
        assert page.locator("table:visible, header img, svg:visible").evaluate_all(beyond, width) == 0
        assert page.get_by_role("banner").bounding_box()["height"] < height  # one page
    expect(page.get_by_text("agreement, label_mismatches")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    page.context.close()


@pytest.mark.browser
def test_a_hostile_model_runs_nothing_in_its_report(offline: Shown, tmp_path: Path) -> None:
    model = tmp_path / "<img src=x onerror=alert(1)>.onnx"
    model.write_bytes(hostile())
    page = write(model, tmp_path / "r.html")
    offline.page.goto(page.as_uri())
    graph = drawn(offline)
    graph.locator(".node").first.click(force=True)
    expect(offline.page.get_by_role("heading", level=1)).to_have_text(model.name)
    offline.page.locator("summary", has_text="Kind").click()
    expect(offline.page.get_by_role("region", name="Kind").first).to_contain_text(ATTACK[:20])
    offline.page.wait_for_timeout(300)  # time for an attack to show
    assert offline.dialogs == [] and offline.outside == []
    assert not [line for line in offline.console if "127.0.0.1" in line]  # what the policy stops, it names here
    assert offline.page.locator("script, link, meta[http-equiv=refresh], body img:not([src^='data:'])").count() == 0
    # Had markup come through all the same, the page's policy would stop it.
    blocked = offline.page.evaluate(
        """() => new Promise(done => {
            document.addEventListener('securitypolicyviolation', event => done(event.effectiveDirective));
            const script = document.createElement('script');
            script.textContent = 'window.ran = true';
            document.body.append(script);
            setTimeout(() => done(window.ran ? 'it ran' : 'silence'), 1000);
        })"""
    )
    assert blocked == "script-src-elem"


def test_no_name_gives_a_script_its_way_into_the_policy(tmp_path: Path) -> None:
    model = tmp_path / f"script-src 'nonce-{'0' * 32}'.onnx"
    shutil.copy(DATA / "mlp.onnx", model)
    pages = [write(model, tmp_path / name).read_text("utf-8") for name in ("a.html", "b.html")]
    policies = [re.findall('Content-Security-Policy" content="([^"]*)"', page)[0] for page in pages]
    nonces = [re.findall("script-src 'nonce-([0-9a-f]{32})';", policy) for policy in policies]
    # One for the graph, made for this page alone.
    assert nonces[0] != nonces[1] and [len(found) for found in nonces] == [1, 1]
    assert all("0" * 32 not in policy for policy in policies)


# --- what it holds ----------------------------------------------------------------------------------------------------


def test_results_at_hand_are_told_and_files_are_known_by_their_digest(tmp_path: Path, iris: dict[str, Any]) -> None:
    page = write(iris["native"], tmp_path / "r.html", conversion=iris["conversion"])
    words = text_of(page)
    assert "iris.onnx: Both sides agree." in words
    assert "Not compared with an ONNX form of it." in words
    assert re.search(r"agreement, label_mismatches\s+0\s", words)  # the certificate
    for file in (iris["native"], iris["onnx"]):
        assert hashlib.sha256(file.read_bytes()).hexdigest() in words
    assert iris["conversion"].sha256 in words


def test_a_native_model_is_compared_and_rows_are_shown(compared: tuple[Path, list[str]]) -> None:
    page, said = compared
    words = text_of(page)
    assert "Both sides agree: 20 rows" in words and "times as fast" in words
    cover = dict(re.findall(r"<dt>([^<]*)</dt><dd><b>([^<]*)</b>", page.read_text("utf-8")))
    assert list(cover) == ["Agreement", "Speed", "Accuracy"]
    assert cover["Agreement"] == "✓ 20 of 20" and cover["Speed"].endswith("×") and cover["Accuracy"] == "100.00%"
    assert "100.00% on both sides." in words and "Row 0" in words
    assert "Time of one call with 20 rows" in words and "in each row, 20 rows" in words  # the drawings
    assert "The file says: converted from iris.skops" in words
    assert any("Asking both sides" in stage for stage in said) and said[-1] == "Writing the page"


def test_what_could_not_be_found_out_is_said_with_the_reason(tmp_path: Path) -> None:
    words = text_of(report(DATA / "gru.onnx", tmp_path / "r.html"))
    assert "It runs in ONNX Runtime" in words and "nothing here is right or wrong" in words  # made up for it
    words = text_of(report(DATA / "net.nir", tmp_path / "nir.html"))
    assert "Netron&#x27;s view is not available for" in words
    assert "Not converted." in words


def test_a_folder_is_known_by_the_digest_its_certificate_would_name(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01\x12\x00")
    (folder / "variables" / "variables.index").write_bytes(b"x" * 100)
    _, digest, _ = private_copy(folder, tmp_path / "scratch", None)
    assert digest in text_of(write(folder, tmp_path / "r.html"))


def test_files_beside_the_model_are_its_weights_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "own.bin").write_bytes(bytes(64))
    (tmp_path / "secret.bin").write_bytes(b"s" * 64)
    model = onnx.load(DATA / "mlp.onnx")
    for tensor, place in zip(model.graph.initializer, ("own.bin", "../secret.bin"), strict=False):
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
    (tmp_path / "in" / "m.onnx").write_bytes(model.SerializeToString())
    words = text_of(write(tmp_path / "in" / "m.onnx", tmp_path / "r.html"))
    assert hashlib.sha256(bytes(64)).hexdigest() in words
    assert hashlib.sha256(b"s" * 64).hexdigest() not in words


def test_a_number_that_was_not_measured_is_not_on_the_cover(tmp_path: Path, iris: dict[str, Any]) -> None:
    # Its certificate claims an agreement: whoever made the file wrote it.
    page = write(iris["onnx"], tmp_path / "r.html").read_text("utf-8")
    cover = re.findall(r"<dt>[^<]*</dt><dd><b>([^<]*)</b> ([^<]*)", page)
    assert (
        len(cover) == 3
        and not any(re.search(r"\d", value) for value, _ in cover)
        and all("Not measured" in says for _, says in cover)
    )


def everything_in(page: Path) -> str:
    """A page's text, with what is packed in it unpacked."""
    text = html.unescape(unquote(page.read_text("utf-8")))
    for block in re.findall(r"[A-Za-z0-9+/]{80,}={0,2}", text):
        data = base64.b64decode(block[: len(block) // 4 * 4])
        text += (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode("latin-1")
    return text


def test_a_report_names_no_folder_of_this_machine_unless_asked_to(
    tmp_path: Path, iris: dict[str, Any], compared: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tell tale-folder"
    folder.mkdir()
    native, made = (Path(shutil.copy(iris[file], folder)) for file in ("native", "onnx"))
    known = replace(iris["conversion"], source=str(native), output=str(made))
    why = {"compare": f"{native} cannot be read, nor can {folder}.", "inference": "No file models/iris.onnx/x."}
    monkeypatch.chdir(tmp_path)
    pages = [
        compared[0],
        write(os.path.join(folder.name, native.name), tmp_path / "b.html", conversion=known, problems=why),
        write(
            made, tmp_path / "c.html", conversion=known, problems=why, beside=["models/iris.onnx"]
        ),  # a column's name
    ]
    for page in pages:
        text = everything_in(page).replace("<wbr>", "")  # where a long name may go on in the next line
        for place in (folder, tmp_path, compared[0].parent, iris["native"].parent):
            assert str(place) not in text and place.name not in text
        assert "iris.skops" in text and "LinearClassifier" in text  # unpacked, too
    assert "iris.skops cannot be read, nor can …." in text and "No file models/iris.onnx/x." in text
    assert str(folder) in everything_in(write(made, tmp_path / "d.html", paths=True))


def test_a_native_model_is_drawn_as_the_onnx_made_from_it(tmp_path: Path, iris: dict[str, Any]) -> None:
    page = write(iris["native"], tmp_path / "r.html", conversion=iris["conversion"])
    assert "The graph of iris.onnx" in text_of(page) and "No drawing of the graph" not in text_of(page), text_of(page)
    assert "LinearClassifier" in unquote(
        re.findall(r'<img alt="Drawing of the graph" src="([^"]*)', page.read_text())[0]
    )
    assert "LinearClassifier" in everything_in(page).split("</html>", 1)[1]  # Netron's, packed


# --- whole or not at all ----------------------------------------------------------------------------------------------


def test_nothing_is_overwritten_unasked_and_never_the_model(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    shutil.copy(DATA / "mlp.onnx", model)
    page = write(model)
    assert page == tmp_path / "m.onnx.report.html"
    page.write_text("mine")
    with pytest.raises(WorkbenchError, match="exists already"):
        report(model)
    assert page.read_text() == "mine"
    write(model, overwrite=True)
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(BadInput, match="never changed"):
        write(model, model, overwrite=True)
    assert model.read_bytes() == (DATA / "mlp.onnx").read_bytes()


def test_a_report_that_cannot_be_made_leaves_nothing(tmp_path: Path, iris: dict[str, Any]) -> None:
    cancelled = threading.Event()
    cancelled.set()
    (tmp_path / "cut.onnx").write_bytes((DATA / "mlp.onnx").read_bytes()[:300])
    (tmp_path / "pickled.joblib").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    out = tmp_path / "r.html"
    for wrong, error, reason in (
        (lambda: write(DATA / "mlp.onnx", out, cancel=cancelled), Cancelled, "cancelled"),
        (lambda: report(tmp_path / "cut.onnx", out), UnreadableFile, "cut short"),
        (lambda: report(tmp_path / "none.onnx", out), UnreadableFile, "none.onnx"),
        (lambda: report(DATA / "mlp.onnx", out, inputs=[[1]]), BadInput, "give the native model"),
        (lambda: report(iris["native"], out, native=iris["onnx"]), BadInput, "with an ONNX file, but"),
        (lambda: report(iris["onnx"], out, native=tmp_path / "pickled.joblib"), NeedsTrust, "trust"),
        (lambda: write(DATA / "mlp.onnx", tmp_path / "no folder" / "r.html"), WorkbenchError, "cannot be written"),
        (lambda: write(DATA / "mlp.onnx", tmp_path), BadInput, "is a folder"),
    ):
        with pytest.raises(error, match=reason):
            wrong()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.onnx", "pickled.joblib"]


def test_the_command_writes_once_and_says_where(tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    command = [sys.executable, "-m", "workbench", "report", str(DATA / "net.nir"), "-o", str(page)]
    done = subprocess.run([*command, "--json", "--paths"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "path": str(DATA / "net.nir"), "output": str(page), "size_bytes": page.stat().st_size,
    }  # fmt: skip
    assert str(DATA / "net.nir") in text_of(page)
    again = subprocess.run([*command, "--data", "rows.csv"], capture_output=True, text=True, timeout=600)
    assert again.returncode == 1 and len(again.stderr.strip().splitlines()) == 1


# --- the panel --------------------------------------------------------------------------------------------------------


def test_the_panel_says_what_is_missing_and_leads_there(tmp_path: Path, iris: dict[str, Any]) -> None:
    shutil.copy(iris["native"], tmp_path / "<b>.skops")
    session = Session(root=tmp_path)
    panel = ReportPanel(session)
    words, (_, answers), (write_button, convert_button, compare_button) = (
        panel.children[0], *(row.children for row in panel.children[1:3])
    )  # fmt: skip
    assert "Pick a model file first." in words.value and write_button.disabled
    session.pick(tmp_path / "<b>.skops")
    assert "Conversion to ONNX</b> (left out): Not converted." in words.value
    assert answers.layout.display == "none"  # only an ONNX model can answer in its page
    convert_button.click()
    assert session.step == "convert"
    compare_button.click()
    assert session.step == "compare"
    session.step = "report"
    assert session.next == "convert" and not write_button.button_style + convert_button.button_style
    session.conversion = iris["conversion"]
    assert "Conversion to ONNX</b>: iris.onnx: Both sides agree." in words.value
    assert convert_button.layout.display == "none"
    # The step that comes next stands out above all panels, and here nothing else then.
    assert session.next == "compare" and not write_button.button_style + compare_button.button_style
    page = session.report()
    said, download = panel.children[-2:]
    assert "&lt;b&gt;.skops.report.html" in said.value and "<b>.skops" not in said.value
    assert download.name == page.name and download.size.endswith("kB")
    page.unlink()
    assert session.report() == page  # the name is free again


def test_a_download_arrives_piece_by_piece(tmp_path: Path) -> None:
    file = tmp_path / "r.html"
    file.write_bytes(os.urandom(2 * CHUNK + 17))
    widget, answers = Download(str(file)), []
    widget.send = lambda content, buffers=(): answers.append((content, *buffers))  # to the browser
    for offset in (0, CHUNK, 2 * CHUNK):
        widget._receive(widget, {"type": "want", "id": "a", "offset": offset}, [])
    assert b"".join(buffer for _, buffer in answers) == file.read_bytes()
    assert {content["total"] for content, _ in answers} == {2 * CHUNK + 17}
    file.unlink()
    widget._receive(widget, {"type": "want", "id": "a", "offset": 0}, [])
    assert answers[-1][0]["problem"] == "r.html is not there any more; write the report again."
