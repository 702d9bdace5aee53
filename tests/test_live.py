"""A report that answers: the model asked in the reader's browser, offline, and held against ONNX Runtime."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nengo
import numpy as np
import onnx
import onnx.parser
import pandas as pd
import pytest
import skops.io
from access import barriers
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from test_graph import ATTACK, Shown

from workbench import convert, load_engine, report
from workbench.compare import compare
from workbench.errors import BadInput, WorkbenchError
from workbench.show import live
from workbench.show.live import runtime
from workbench.show.report import write
from workbench.words import visible

PATIENCE = 120_000  # ms: 14 MB of WebAssembly are unpacked and compiled, on two cores that others use
DATA = Path(__file__).parent / "data"

needs_runtime = pytest.mark.skipif(
    not runtime.FOLDER.is_dir(), reason=f"ONNX Runtime Web is not installed: {runtime.COMMAND}"
)


@pytest.fixture
def offline(browser: Browser) -> Iterator[Shown]:
    context = browser.new_context(viewport={"width": 1000, "height": 800}, offline=True)
    context.set_default_timeout(PATIENCE)
    page = Shown(context.new_page())
    page.page.on("pageerror", lambda error: page.console.append(str(error)))
    yield page
    context.close()


def checked(page: Page, path: Path) -> dict[str, float]:
    """The page opened, and what its own check of the rows came to."""
    page.goto(path.as_uri())
    expect(page.locator("#live-label")).to_have_text(re.compile("."), timeout=PATIENCE)
    # On a crowded machine the page leaves the check to its reader; else it is under way or done, and not begun anew.
    page.evaluate(
        "(({ dataset }, check) => dataset.rows || check.disabled || check.click())"
        "(document.getElementById('live-checked'), document.getElementById('live-check'))"
    )
    expect(page.locator("#live-checked")).to_have_attribute("data-rows", re.compile("."), timeout=PATIENCE)
    found = page.evaluate("({ ...document.getElementById('live-checked').dataset })")
    return {key: float(value) for key, value in found.items()}


def quiet(shown: Shown, path: Path) -> bool:
    """Whether the page asked for nothing but itself, and nothing in it ran or complained."""
    files = [url for url in shown.requests if url.startswith("file:")]
    return files == [path.as_uri()] and not [*shown.outside, *shown.dialogs, *shown.console]


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A classifier whose probabilities are a list of maps, compared on 25 rows; all its words attack."""
    folder, table = tmp_path_factory.mktemp("iris"), load_iris()
    classes = np.array([ATTACK, "\u202egnp.exe ]]> -->", "W" * 300])
    model = LogisticRegression(max_iter=500).fit(table.data, classes[table.target])
    skops.io.dump(model, folder / "iris.skops")
    convert(folder / "iris.skops", folder / "iris.onnx", zipmap=True)
    columns = [ATTACK, "\u202ecolumn", "C" * 300, "</script>"]
    rows = pd.DataFrame(table.data[::6], columns=columns)
    rows.to_csv(folder / "rows.csv", index=False)
    found = compare(folder / "iris.skops", folder / "iris.onnx", folder / "rows.csv", seconds=0.1)
    page = write(folder / "iris.onnx", folder / "live.html", comparison=found, live=True)
    return {"page": page, "model": folder / "iris.onnx", "rows": rows, "classes": classes}


@needs_runtime
@pytest.mark.browser
def test_the_rows_of_the_comparison_get_the_same_answers_and_a_reader_gets_his_own(
    offline: Shown, iris: dict[str, Any]
) -> None:
    page = offline.page
    assert (found := checked(page, iris["page"]))["rows"] == len(iris["rows"]) and found["apart"] == 0
    with load_engine(iris["model"], "onnxruntime") as engine:

        def wanted(row: Any) -> str:
            return str(engine.run(np.array([row], np.float32))["output_label"][0])

        label, fields = page.locator("#live-label"), page.locator("#live-faces input[type=number]")
        expect(label).to_have_text(seen(wanted(iris["rows"].to_numpy()[0])))
        # A slider is moved from one end to the other: what comes is what ONNX Runtime says of the numbers beside it.
        slider, said = page.locator("#live-faces input[type=range]").nth(2), set()
        for value in (1.2, 4.4, 6.6):
            slider.evaluate(
                "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')) }", value
            )
            row = [float(box.input_value()) for box in fields.all()]
            expect(label).to_have_text(seen(wanted(row)))
            said.add(wanted(row))
        assert len(said) > 1 and page.locator("#live-recorded").inner_text() == ""
        # A row of the reader's own, its columns in another order, with one too many.
        own = iris["rows"].iloc[[20, 3], ::-1].assign(extra=1)
        table = {"name": "own.csv", "mimeType": "text/csv", "buffer": own.to_csv(index=False).encode()}
        page.set_input_files("#live-file", table)
        expect(page.locator("#live-said")).to_contain_text("own.csv: 2 rows")
        expect(label).to_have_text(seen(wanted(iris["rows"].to_numpy()[20])))
        page.set_input_files("#live-file", {"name": "few.csv", "mimeType": "text/csv", "buffer": b"1,2,3\n"})
        expect(page.locator("#live-said")).to_contain_text("have 3 columns, and the model takes 4")
    assert quiet(offline, iris["page"])


def seen(words: str) -> str:
    """A label as the page writes it."""
    return visible(words)


@needs_runtime
@pytest.mark.browser
def test_a_page_that_answers_otherwise_than_onnx_runtime_says_so(
    offline: Shown, iris: dict[str, Any], tmp_path: Path
) -> None:
    text = iris["page"].read_text("utf-8")
    packed = re.findall('<script type="text/plain" id="live-told">([^<]*)<', text)[0]
    told = json.loads(gzip.decompress(base64.b64decode(packed)))
    recorded = told["recorded"]
    recorded[0], recorded[-1] = recorded[-1], recorded[0]  # two flowers of different species
    changed = base64.b64encode(gzip.compress(json.dumps(told).encode())).decode()
    (tmp_path / "other.html").write_text(text.replace(packed, changed), "utf-8")
    found = checked(offline.page, tmp_path / "other.html")
    assert found["apart"] == 2 and found["rows"] == len(iris["rows"])
    expect(offline.page.locator("#live-checked")).to_contain_text("✗ 2 rows of 25 differ")
    expect(offline.page.locator("#live-recorded")).to_contain_text("another answer")


@needs_runtime
@pytest.mark.browser
def test_on_paper_stands_what_was_found_and_nothing_to_press(offline: Shown, iris: dict[str, Any]) -> None:
    page = offline.page
    checked(page, iris["page"])
    page.emulate_media(media="print")
    expect(page.locator("#live-checked")).to_be_visible()
    expect(page.locator("#live :is(button, select, input)").filter(visible=True)).to_have_count(0)
    page.evaluate("document.getElementById('live-checked').textContent = ''")  # before it was asked
    expect(page.locator("details:has(#live)")).to_be_hidden()


@needs_runtime
@pytest.mark.browser
def test_a_page_that_answers_keeps_nobody_out(offline: Shown, iris: dict[str, Any]) -> None:
    page, themes = offline.page, ("light", "dark")
    checked(page, iris["page"])
    for theme, width in zip(themes, (1000, 390), strict=True):
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": 800})
        assert barriers(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width


def of_pictures(path: Path, weights: np.ndarray, shape: tuple[int, int, int], ir_version: int) -> None:
    """A classifier of pictures (channels, height, width): one product."""
    model = onnx.parser.parse_model(
        f'<ir_version: {ir_version}, opset_import: ["": 18]> g (float[N, {", ".join(map(str, shape))}] image) => '
        f"(float[N, {weights.shape[1]}] scores) "
        "{ flat = Flatten (image)  sums = MatMul (flat, weights)  scores = Softmax (sums) }"
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights.astype(np.float32), "weights"))
    onnx.save(model, path)


@needs_runtime
@pytest.mark.browser
def test_a_drawn_digit_is_asked_as_its_pixels_are(offline: Shown, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    of_pictures(tmp_path / "drawn.onnx", rng.normal(size=(784, 10)) / 3000, (1, 28, 28), 14)
    path, page = report(tmp_path / "drawn.onnx", live=True), offline.page
    assert checked(page, path)["apart"] == 0
    canvas = page.locator("#live-faces canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 220, steps=4)
    page.mouse.up()
    expect(page.locator("#live-recorded")).to_have_text("")
    png = base64.b64decode(canvas.evaluate("canvas => canvas.toDataURL()").partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.float32)[..., 0]
    assert 20 < np.count_nonzero(pixels) < 300  # a stroke on an empty paper
    with load_engine(tmp_path / "drawn.onnx", "onnxruntime") as engine:
        scores = engine.run(pixels[None, None])["scores"][0]
    expect(page.locator("#live-label")).to_have_text(str(scores.argmax()))
    shown = page.locator("#live-parts td:last-child").all_inner_texts()
    np.testing.assert_allclose([float(cell) for cell in shown], scores, atol=1e-4)  # of four decimals
    assert quiet(offline, path)


@needs_runtime
@pytest.mark.browser
@pytest.mark.long
def test_a_picture_of_the_readers_own_is_laid_out_as_the_model_takes_it(offline: Shown, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    of_pictures(tmp_path / "colours.onnx", rng.normal(size=(3 * 16 * 24, 5)) / 10, (3, 16, 24), 10)
    path, page = write(tmp_path / "colours.onnx", live=True), offline.page
    assert checked(page, path)["apart"] == 0
    pixels, png = rng.integers(0, 256, (16, 24, 3), np.uint8), io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    page.set_input_files("#live-file", {"name": "own.png", "mimeType": "image/png", "buffer": png.getvalue()})
    expect(page.locator("#live-said")).to_contain_text("own.png, 24 by 16 pixels")
    with load_engine(tmp_path / "colours.onnx", "onnxruntime") as engine:
        scores = engine.run((pixels / 255).astype(np.float32).transpose(2, 0, 1)[None])["scores"][0]
    expect(page.locator("#live-recorded")).to_have_text("")  # the answer is to this question
    shown = page.locator("#live-parts td:last-child").all_inner_texts()
    np.testing.assert_allclose([float(cell) for cell in shown], scores, atol=1e-4)  # of four decimals
    assert quiet(offline, path)


@needs_runtime
@pytest.mark.browser
def test_a_spiking_network_shows_the_spikes_of_every_layer(offline: Shown, tmp_path: Path) -> None:
    with nengo.Network(seed=1) as network:
        pixels = nengo.Node(np.zeros(784), label="pixels")
        first = nengo.Ensemble(40, 1, label="first", neuron_type=nengo.SpikingRectifiedLinear(amplitude=0.01))
        second = nengo.Ensemble(30, 1, label="second")
        weights = np.random.default_rng(0).normal(size=(40, 784)) / 8
        nengo.Connection(pixels, first.neurons, transform=weights, synapse=None)
        nengo.Connection(first, second, synapse=0.005)
        nengo.Probe(second, synapse=0.02, label="out")
    convert(network, tmp_path / "net.onnx")
    path, page = write(tmp_path / "net.onnx", tmp_path / "net.html", live=True), offline.page
    found = checked(page, path)
    # Spikes may move by a step where a voltage meets the threshold within float32's rounding: not in ten small rows.
    assert found["rows"] == live.questions.MOST_SPIKING and found["apart"] == 0
    expect(page.locator("#live-checked")).to_contain_text("counts of spikes differ by 0 of")
    with load_engine(tmp_path / "net.onnx", "onnxruntime") as engine:
        rows = live.questions.rows_for(tmp_path / "net.onnx")
        assert rows is not None
        answers = engine.run(rows.inputs[:1], spikes=engine.layers)
        for layer in engine.layers:
            fired = int(np.count_nonzero(answers[layer]))
            says = f"{layer}: {answers[layer].shape[2]} neurons, {fired:,} spike"
            expect(page.locator("figcaption b", has_text=says)).to_be_visible()
    assert len(engine.layers) == 2
    expect(page.locator(".live-raster")).to_have_count(2)
    assert quiet(offline, path)


@needs_runtime
def test_what_a_page_cannot_ask_is_said_in_it(tmp_path: Path) -> None:
    only_a_list = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> lists (float[1, 4] x) => (seq(float[1, 4]) y) '
        "{ y = SequenceConstruct (x) }"
    )
    onnx.save(only_a_list, tmp_path / "list.onnx")
    words = re.sub("<[^>]*>", "", write(tmp_path / "list.onnx", live=True).read_text("utf-8"))
    assert "The model cannot answer in this page: None of its outputs (y) is a tensor" in words
    if shutil.which("node"):  # else the page finds it out when it is opened
        newer = onnx.parser.parse_model(
            '<ir_version: 14, opset_import: ["": 28]> newer (float[1, 4] x) => (float[1, 4] y) { y = Relu (x) }'
        )
        onnx.save(newer, tmp_path / "newer.onnx")
        words = re.sub("<[^>]*>", "", write(tmp_path / "newer.onnx", live=True).read_text("utf-8"))
        assert re.search(r"cannot run it: .*\bopset\b", words)
    with pytest.raises(BadInput, match=r"net\.nir is NIR"):
        report(DATA / "net.nir", tmp_path / "r.html", live=True)
    assert not (tmp_path / "r.html").exists()


@needs_runtime
def test_the_page_holds_no_word_of_the_certificate(tmp_path: Path) -> None:
    shutil.copy(DATA / "mlp.onnx", tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    model.metadata_props.add(key="path", value="/home/somebody/secret")
    onnx.save(model, tmp_path / "m.onnx")
    packed, _ = live.questions.prepared(str(tmp_path / "m.onnx"), None)
    assert b"somebody" not in gzip.decompress(base64.b64decode(packed))


def test_without_the_runtime_one_sentence_names_the_command_that_brings_it(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match=r"bring it with `python -m workbench\.show\.live`"):
        runtime.packed(tmp_path / "none")


@pytest.fixture
def registry() -> Iterator[tuple[str, str]]:
    """(address, SHA-512) of a registry of npm's on this machine, and of the package it serves as ours."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as package:
        for name in ("package.json", *(f"dist/{name}" for name in runtime.FILES.values())):
            data = b'{"name": "onnxruntime-web", "version": "%s"}' % runtime.VERSION.encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            package.addfile(member, io.BytesIO(data))
    digest = base64.b64encode(hashlib.sha512(held.getvalue()).digest()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            dist = {"tarball": f"http://127.0.0.1:{server.server_port}/p.tgz", "integrity": f"sha512-{digest}"}
            told = {"name": "onnxruntime-web", "version": runtime.VERSION, "dist": dist}
            body = json.dumps({"name": "onnxruntime-web", "versions": {runtime.VERSION: told}}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(held.getvalue() if self.path == "/p.tgz" else body)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", digest
        server.shutdown()


@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm here; PyPI's would be downloaded first")
def test_only_what_was_published_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: tuple[str, str]
) -> None:
    folder = tmp_path / "share" / "web"
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")  # the discard port: nobody answers
    with pytest.raises(WorkbenchError, match=r"could not be downloaded \(npm"):
        runtime.install(folder)
    monkeypatch.setenv("npm_config_registry", registry[0])
    with pytest.raises(WorkbenchError, match="is not what was published"):
        runtime.install(folder)
    assert not folder.parent.exists()
    monkeypatch.setattr(runtime, "SHA512", registry[1])
    assert sorted(runtime.packed(runtime.install(folder))) == ["ort", "wasm"]
    assert [path.name for path in folder.parent.iterdir()] == ["web"]
