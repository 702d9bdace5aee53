"""The picker as people use it: real JupyterLab, real Chromium, by mouse and by keyboard."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.lab import jupyter_lab

pytestmark = pytest.mark.browser

DATA = Path(__file__).parent / "data"
CELL = """
from workbench.widgets import Picker
picker = Picker()
picker
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab") / "class"
    (folder / "deep" / "deeper").mkdir(parents=True)
    for name in ("mlp.onnx", "snn_leaky.onnx", "mlp.pt2"):
        shutil.copy(DATA / name, folder)
    shutil.copy(DATA / "gru.onnx", folder / "deep" / "deeper")
    (folder / "cut.onnx").write_bytes((DATA / "mlp.onnx").read_bytes()[:300])
    (folder / "flowers.csv").write_text("sepal,petal\n1,2\n")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.strip())])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(notebook, folder / "picker.ipynb")
    return folder


@pytest.fixture(scope="module")
def page(browser: Browser, folder: Path) -> Iterator[Page]:
    """One page for all tests here; each leaves the picker in some folder."""
    with jupyter_lab(folder) as address:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(address.format("lab/tree/picker.ipynb"))
        expect(page.get_by_text("| Idle").first).to_be_visible(timeout=180_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        expect(page.locator(".wb-picker")).to_be_visible(timeout=180_000)
        yield page
        page.evaluate("() => { window.onbeforeunload = null; }")
        context.close()


@pytest.fixture(autouse=True)
def at_the_root(page: Page) -> None:
    page.locator(".wb-crumb").first.click()
    expect(row(page, "mlp.pt2")).to_be_visible()


def row(page: Page, name: str) -> Locator:
    return page.locator(f'.wb-row[title="{name}"]')


def chosen(page: Page) -> Locator:
    return page.locator('.wb-row[aria-selected="true"] .wb-name')


def test_format_and_kind_of_every_file_are_named(page: Page) -> None:
    files = page.get_by_role("listbox", name="Files")
    for name in ("ONNX mlp.onnx DL 705 bytes", "ONNX snn_leaky.onnx SNN 12.4 kB", "PyTorch mlp.pt2 DL 11.5 kB"):
        expect(files.get_by_role("option", name=name, exact=True)).to_be_visible()
    expect(files.get_by_role("option", name="cut.onnx damaged 300 bytes", exact=True)).to_be_visible()
    expect(files.get_by_role("option", name="rows of data flowers.csv 16 bytes", exact=True)).to_be_visible()


def test_a_file_that_can_harm_says_so_in_words(page: Page, folder: Path) -> None:
    from test_badges import external

    external(folder / "thief.onnx", "../../secret.txt")
    external(folder / "half.onnx", "missing.bin")
    page.get_by_role("button", name="List this folder again").click()
    files = page.get_by_role("listbox", name="Files")
    for name, words in {"thief.onnx": "can harm", "half.onnx": "take care"}.items():
        kind = row(page, name).locator(".wb-badge").inner_text
        expect(row(page, name).locator(".wb-danger")).to_have_text(words)
        expect(files.get_by_role("option", name=f"{name} {words} {kind()}")).to_be_visible()
    expect(row(page, "thief.onnx").locator(".wb-danger")).to_have_attribute(
        "title", re.compile("outside its own folder")
    )
    expect(row(page, "mlp.onnx").locator(".wb-danger")).to_be_hidden()
    for name in ("thief.onnx", "half.onnx"):
        os.unlink(folder / name)


def test_the_keyboard_alone_searches_opens_and_goes_back(page: Page) -> None:
    files = page.get_by_role("listbox", name="Files")
    files.focus()
    page.keyboard.type("gru")
    expect(page.locator(".wb-note")).to_have_text("Nothing here has that in its name.")
    page.keyboard.press("Enter")
    expect(page.locator(".wb-note")).to_have_text("1 found in this folder and those below.")
    expect(page.locator(".wb-row .wb-badge")).to_have_text("DL")
    page.keyboard.press("Enter")
    expect(page.locator(".wb-crumb").last).to_have_text("deeper")
    expect(chosen(page)).to_have_text("gru.onnx")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    for left in ("deeper", "deep"):
        page.keyboard.press("Backspace")
        expect(page.locator(".wb-row.wb-active .wb-name")).to_have_text(left)
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    expect(chosen(page)).to_have_text("snn_leaky.onnx")
    expect(files).to_have_attribute("aria-activedescendant", str(row(page, "snn_leaky.onnx").get_attribute("id")))


def test_files_that_came_or_went_meanwhile_are_noticed(page: Page, folder: Path) -> None:
    shutil.copy(DATA / "linear.onnx", folder / "new.onnx")
    page.get_by_role("button", name="List this folder again").click()
    row(page, "new.onnx").click()
    expect(chosen(page)).to_have_text("new.onnx")
    row(page, "mlp.onnx").click()
    expect(chosen(page)).to_have_text("mlp.onnx")
    os.unlink(folder / "new.onnx")
    page.get_by_label("Recent files").select_option("new.onnx")
    expect(page.locator(".wb-status.wb-error")).to_have_text(
        f"{folder}/new.onnx is not there any more; choose another file."
    )
    expect(chosen(page)).to_have_text("mlp.onnx")
    expect(row(page, "new.onnx")).to_have_count(0)
    expect(page.get_by_label("Recent files").get_by_text("new.onnx")).to_have_count(0)


def test_names_that_deceive_or_cannot_be_said_are_shown_harmless(page: Page, folder: Path) -> None:
    turned = folder / "\N{RIGHT-TO-LEFT OVERRIDE}xnno.lkp <img src=x onerror=alert(1)>"
    not_text = os.path.join(os.fsencode(folder), b"caf\xe9.onnx")
    for path in (turned, not_text):
        shutil.copy(DATA / "mlp.onnx", path)
    page.get_by_role("button", name="List this folder again").click()
    page.locator(".wb-name", has_text="·xnno.lkp <img src=x onerror=alert(1)>").click()
    expect(chosen(page)).to_have_text("·xnno.lkp <img src=x onerror=alert(1)>")
    page.locator(".wb-name", has_text="caf").click()
    expect(page.locator(".wb-status.wb-error")).to_contain_text("is not in UTF-8; rename the file first")
    page.get_by_label("Search this folder, or type a path").fill("/" + "long" * 100)
    page.keyboard.press("Enter")
    expect(page.locator(".wb-status.wb-error")).to_contain_text("type the path of a file or folder")
    page.keyboard.press("Escape")
    os.unlink(turned)
    os.unlink(not_text)


def test_a_file_that_is_dropped_is_stored_and_shown(page: Page, folder: Path) -> None:
    content = (DATA / "linear.onnx").read_bytes()
    dropped = page.evaluate_handle(
        """(content) => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(content)], "dropped.onnx"));
            return files;
        }""",
        list(content),
    )
    page.locator(".wb-picker .wb-list").dispatch_event("drop", {"dataTransfer": dropped})
    expect(chosen(page)).to_have_text("dropped.onnx")
    assert (folder / "dropped.onnx").read_bytes() == content


def test_the_papers_models_are_a_menu_by_kind_and_made_when_chosen(page: Page, folder: Path) -> None:
    menu = page.get_by_label("The paper's models")
    groups = [group.get_attribute("label") for group in menu.locator("optgroup").all()]
    assert groups == ["ML: ONNX", "ML: scikit-learn (.skops)", "DL: ONNX", "DL: Keras (.keras)", "SNN: ONNX"]
    menu.select_option("linear-regression")
    expect(chosen(page)).to_have_text("linear_regression.skops", timeout=180_000)
    expect(page.locator(".wb-crumb").last).to_have_text("models")
    assert (folder / "models" / "linear_regression.skops").is_file()


@pytest.mark.slow
def test_a_large_upload_arrives_whole_and_a_cancelled_one_leaves_nothing(
    page: Page, folder: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(1 << 20) * 60)
    chooser = page.locator('.wb-picker input[type="file"]')
    chooser.set_input_files(large)
    page.get_by_role("button", name="Cancel upload").click()
    expect(page.locator(".wb-uploading")).to_contain_text("was cancelled; the unfinished file was not kept")
    assert not list(folder.glob(".upload-*")) and not (folder / "large.bin").exists()
    chooser.set_input_files(large)
    expect(row(page, "large.bin")).to_be_visible(timeout=180_000)
    assert (folder / "large.bin").read_bytes() == large.read_bytes()
    os.unlink(folder / "large.bin")
