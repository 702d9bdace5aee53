"""The workbench as people meet it: real JupyterLab, real Chromium, and the page they export."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from tests.lab import jupyter_lab, notebooks_in
from workbench.header import read_header
from workbench.paper import make_sample

pytestmark = pytest.mark.browser

DATA = Path(__file__).parent / "data"
SCREENSHOTS = os.environ.get("WORKBENCH_SCREENSHOTS")
"""A folder to leave pictures in, for whoever wants to look."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = notebooks_in(tmp_path_factory.mktemp("lab") / "notebooks")
    for name in ("mlp.onnx", "snn_leaky.onnx", "mlp.pt2"):
        shutil.copy(DATA / name, folder)
    shutil.move(make_sample("iris-random-forest", folder), folder / "forest.onnx")
    (folder / "cut.onnx").write_bytes((DATA / "mlp.onnx").read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[str]:
    with jupyter_lab(folder) as address:
        yield address


@pytest.fixture
def page(browser: Browser, lab: str) -> Iterator[Page]:
    """The notebook with all cells run."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(lab.format("lab/tree/00_workbench.ipynb"))
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_be_visible(timeout=60_000)
    expect(page.get_by_title("Python 3 (ipykernel) | Idle").or_(page.get_by_text("| Idle")).first).to_be_visible(
        timeout=60_000
    )
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    expect(page.get_by_role("option", name="mlp.onnx")).to_be_visible(timeout=60_000)
    yield page
    # The kernel ends with its page, and nothing of it is restored in the next.
    page.evaluate("() => { window.onbeforeunload = null; }")
    context.close()


expect.set_options(timeout=20_000)  # on two busy cores; the answers come in two seconds


def picture(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"))


def pick(page: Page, name: str) -> None:
    page.get_by_role("option", name=name, exact=False).first.click()


def netron(page: Page) -> FrameLocator:
    return page.frame_locator('.wb-workbench iframe[title^="Netron"]')


def test_a_picked_file_shows_its_kind_its_graph_and_its_answers(page: Page, folder: Path) -> None:
    picture(page, "1-start")
    pick(page, "forest.onnx")
    expect(page.locator(".wb-workbench .wb-kind")).to_have_text("MLclassical machine learning")
    expect(page.locator(".wb-workbench tr.wb-decides").first).to_contain_text("TreeEnsembleClassifier")
    expect(page.locator(".wb-workbench .wb-card")).to_contain_text("producer_name")
    graph = netron(page)
    nodes = graph.locator("g.node")
    expect(nodes.first).to_be_visible()
    header = read_header(folder / "forest.onnx")
    # Netron draws inputs and outputs as nodes too.
    expect(nodes).to_have_count(len(header.graph.nodes) + len(header.graph.inputs) + len(header.graph.outputs))
    graph.locator("g.node", has_text="TreeEnsembleClassifier").first.click()
    sidebar = graph.locator(".sidebar, #sidebar").first
    expect(sidebar).to_contain_text("TreeEnsembleClassifier")
    expect(sidebar).to_contain_text("nodes_featureids")
    picture(page, "2-forest")
    answers = page.locator(".wb-workbench .wb-first")
    expect(answers).to_contain_text("of 38 right")
    expect(answers).to_contain_text("versicolor")
    answers.scroll_into_view_if_needed()
    picture(page, "3-answers")


def test_the_keyboard_alone_picks_a_file(page: Page) -> None:
    page.get_by_role("listbox", name="Files").focus()
    names = page.locator(".wb-row").all_inner_texts()
    target = next(index for index, text in enumerate(names) if "mlp.onnx" in text)
    page.keyboard.press("Home")
    for _ in range(target):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".wb-workbench .wb-kind")).to_contain_text("DL")
    # Typing searches, Enter opens what is left.
    page.get_by_role("listbox", name="Files").focus()
    page.keyboard.type("snn_lea")
    expect(page.locator(".wb-row")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(".wb-workbench .wb-kind")).to_contain_text("SNN")
    # A drawn graph takes the keyboard only when clicked into: Shift+Enter still runs cells.
    expect(netron(page).locator("g.node").first).to_be_visible()
    expect(page.locator("iframe:focus")).to_have_count(0)


def test_files_that_cannot_be_shown_give_one_sentence_and_the_next_pick_works(page: Page) -> None:
    pick(page, "cut.onnx")
    expect(page.locator(".wb-workbench")).to_contain_text("cut short at byte")
    expect(page.locator(".wb-workbench")).not_to_contain_text("Traceback")
    picture(page, "4-cut")
    pick(page, "mlp.pt2")
    expect(page.locator(".wb-workbench .wb-card")).to_contain_text("PyTorch")
    pick(page, "snn_leaky.onnx")
    expect(page.locator(".wb-workbench .wb-kind")).to_contain_text("SNN")
    # Its neurons are plain operators, so ONNX Runtime runs it; what it gives is spikes over five steps.
    expect(page.locator(".wb-workbench")).to_contain_text("name no class")


def test_many_fast_clicks_end_with_the_last_file(page: Page) -> None:
    for name in ["mlp.onnx", "forest.onnx", "snn_leaky.onnx"] * 3 + ["forest.onnx"]:
        pick(page, name)
    expect(page.locator(".wb-workbench .wb-first")).to_contain_text("of 38 right")
    expect(page.locator(".wb-workbench .wb-facts")).to_contain_text("forest.onnx")
    expect(page.locator('.wb-workbench iframe[title="Netron: forest.onnx"]')).to_have_count(1)
    expect(page.locator(".wb-picker .wb-status").first).to_be_hidden()


def test_uploads_arrive_whole_beside_what_is_there(page: Page, folder: Path, tmp_path: Path) -> None:
    large = tmp_path / "mlp.onnx"  # a name that is taken
    large.write_bytes((DATA / "mlp.onnx").read_bytes() + b"\xa2\x06" + b"\x80\x80\x80\x09" + bytes(9 << 21))
    before = (folder / "mlp.onnx").read_bytes()
    page.locator('.wb-picker input[type="file"]').set_input_files(large)
    expect(page.get_by_role("option", name="mlp-2.onnx")).to_be_visible()
    expect(page.locator(".wb-workbench .wb-facts")).to_contain_text("mlp-2.onnx")
    assert (folder / "mlp-2.onnx").read_bytes() == large.read_bytes()
    assert (folder / "mlp.onnx").read_bytes() == before
    (tmp_path / "nothing.onnx").write_bytes(b"")
    page.locator('.wb-picker input[type="file"]').set_input_files(tmp_path / "nothing.onnx")
    expect(page.locator(".wb-picker .wb-uploading")).to_contain_text("0 of 1 uploaded. nothing.onnx is empty (0 bytes)")
    page.locator('.wb-picker input[type="file"]').set_input_files([tmp_path / "nothing.onnx", DATA / "linear.onnx"])
    expect(page.locator(".wb-picker .wb-uploading")).to_contain_text("1 of 2 uploaded. nothing.onnx is empty")
    expect(page.locator(".wb-workbench .wb-facts")).to_contain_text("linear.onnx")
    assert not list(folder.glob(".upload-*"))


def test_keys_after_a_click_in_the_graph_are_not_commands_to_the_notebook(page: Page) -> None:
    pick(page, "forest.onnx")
    page.locator(".wb-workbench .wb-because").click()  # the notebook is in command mode now
    node = netron(page).locator("g.node", has_text="TreeEnsembleClassifier").first
    node.click()
    expect(netron(page).locator("#sidebar")).to_contain_text("nodes_featureids")
    page.keyboard.type("dd")  # in JupyterLab: delete the cell
    expect(page.locator(".wb-workbench")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(netron(page).locator("#sidebar")).not_to_contain_text("nodes_featureids")


def test_typed_paths_and_parent_folders_lead_where_they_say(page: Page, folder: Path) -> None:
    (folder / "deep").mkdir(exist_ok=True)
    shutil.copy(DATA / "gru.onnx", folder / "deep")
    search = page.get_by_label("Search this folder, or type a path")
    search.fill("deep/gru.onnx")
    search.press("Enter")
    expect(page.locator(".wb-workbench .wb-facts")).to_contain_text("deep/gru.onnx")
    page.get_by_role("listbox", name="Files").focus()
    page.keyboard.press("Backspace")
    expect(page.locator(".wb-row.wb-active")).to_contain_text("deep")
    search.fill("/nowhere/x.onnx")
    search.press("Enter")
    expect(page.locator(".wb-picker .wb-status").first).to_contain_text("There is no /nowhere/x.onnx")


def test_a_restarted_kernel_is_said(page: Page) -> None:
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator('[data-command="kernelmenu:restart"]').click()
    page.locator(".jp-Dialog button.jp-mod-accept").click()
    page.wait_for_timeout(3000)
    pick(page, "forest.onnx")
    expect(page.locator(".wb-picker")).to_contain_text("run the cell above again", timeout=20_000)


@pytest.mark.slow
def test_a_sample_model_is_trained_on_first_use_and_reads_digits(page: Page, folder: Path) -> None:
    page.get_by_label("Sample models").select_option("lenet-1")
    expect(page.locator(".wb-picker .wb-status").first).to_contain_text("LeNet-1")
    answers = page.locator(".wb-workbench .wb-first")
    expect(answers).to_contain_text("of 50 right", timeout=180_000)
    assert (folder / "models" / "lenet-1.onnx").is_file()
    expect(page.locator(".wb-workbench .wb-kind")).to_contain_text("DL")
    expect(answers.locator("img")).to_have_count(10)
    picture(page, "5-lenet")


def test_the_saved_notebook_exports_to_a_page_that_lives_offline(
    page: Page, browser: Browser, folder: Path, tmp_path: Path
) -> None:
    pick(page, "forest.onnx")
    expect(page.locator(".wb-workbench .wb-first")).to_contain_text("of 38 right")
    expect(page.locator(".wb-still")).to_be_hidden()
    page.wait_for_timeout(500)  # the still copy follows the answers
    page.keyboard.press("Control+s")
    notebook = folder / "00_workbench.ipynb"
    for _ in range(100):
        if "of 38 right" in notebook.read_text(encoding="utf-8"):
            break
        page.wait_for_timeout(100)
    nbformat.validate(nbformat.read(notebook, as_version=4))
    exported = tmp_path / "page.html"
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", str(notebook), "--output", str(exported)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = browser.new_context(offline=True)
    still = context.new_page()
    still.goto(exported.as_uri())
    frame = still.frame_locator('iframe[title="Netron: forest.onnx"]')
    expect(frame.locator("g.node", has_text="TreeEnsembleClassifier").first).to_be_visible()
    frame.locator("g.node", has_text="TreeEnsembleClassifier").first.click()
    expect(frame.locator(".sidebar, #sidebar").first).to_contain_text("nodes_featureids")
    expect(still.locator(".wb-kind")).to_be_visible()
    expect(still.locator(".wb-first")).to_contain_text("of 38 right")
    if SCREENSHOTS:
        still.screenshot(path=str(Path(SCREENSHOTS) / "6-exported.png"), full_page=True)
    context.close()
