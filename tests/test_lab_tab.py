"""JupyterLab's extension: a model file opens as the workbench, in a tab with a kernel of its own."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.lab import jupyter_lab
from workbench.files.registry import FORMATS, model_suffixes

DATA = Path(__file__).parent / "data"
QUOTED = """it's "a\\nb\\"\u2028!touch ran-name é😀.onnx"""
"""Quotes, a backslash, and a line that IPython would run as a command, were a name ever code."""
SHADOWS = (
    "ipykernel_launcher ipykernel importlib runpy traceback workbench json numpy pandas onnx ipywidgets anywidget "
    "psutil traitlets comm"
).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tab") / "served"
    (folder / "a stranger's").mkdir(parents=True)
    shutil.copy(DATA / "mlp.onnx", folder)
    shutil.copy(DATA / "mlp.onnx", folder / "a stranger's" / QUOTED)
    for name in SHADOWS:
        (folder / "a stranger's" / f"{name}.py").write_text(f"open({str(folder / 'ran')!r} + '-{name}', 'w')\n")
    (folder / "rows.json").write_text("{}")
    (folder / "broken.h5").write_text("nothing")
    (folder / "suffixes").mkdir()
    for suffix in {suffix for record in FORMATS.values() for suffix in record.extensions}:
        (folder / "suffixes" / f"file{suffix}").touch()
    return folder


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[str]:
    with jupyter_lab(folder) as address:
        yield address


@pytest.fixture(scope="module")
def shared_page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(180_000)
    yield page
    context.close()


@pytest.fixture
def page(shared_page: Page, lab: str) -> Iterator[Page]:
    """Without a kernel; `land` opens JupyterLab on it, with nothing in it."""
    yield shared_page
    for session in sessions(shared_page, lab):
        shared_page.request.delete(lab.format(f"api/sessions/{session['id']}"))


def land(page: Page, lab: str, at: str = "") -> None:
    """In a workspace of its own: JupyterLab would open again what an earlier test had open."""
    page.goto(lab.replace("?", f"?{at}&" if at else "?").format(f"lab/workspaces/{time.monotonic_ns()}"))
    expect(item(page, "mlp.onnx")).to_be_visible()


def sessions(page: Page, lab: str) -> list[dict[str, Any]]:
    return page.request.get(lab.format("api/sessions")).json()


def item(page: Page, name: str) -> Locator:
    return page.locator(".jp-DirListing-item").filter(has=page.get_by_text(name, exact=True))


def verdict(page: Page, name: str, kind: str) -> None:
    """The one workbench on the page shows this."""
    expect(page.locator(".wb-file")).to_contain_text(name)
    expect(page.get_by_role("tab", name="Kind").locator(".wb-mark")).to_have_text(kind)


@pytest.mark.browser
def test_a_double_click_goes_to_the_verdict_runs_nothing_and_closing_ends_the_kernel(
    page: Page, lab: str, folder: Path
) -> None:
    land(page, lab)
    item(page, "a stranger's").dblclick()
    file = folder / "a stranger's" / QUOTED
    page.locator(".jp-DirListing-item", has_text="touch ran-name").dblclick()
    verdict(page, QUOTED.partition("\u2028")[2], "DL")  # what turns lines is written out where it is shown
    expect(page.get_by_label("The paper's models")).to_be_visible()
    expect(page.get_by_role("listbox", name="Files")).to_be_hidden()  # JupyterLab's own is beside it
    # A worker was started, too, which asked the model.
    expect(page.locator(".wb-looking")).to_have_text("")
    assert [path.name for path in folder.rglob("ran-*")] == []
    # Saving writes no model over, and JupyterLab makes no copy of it.
    page.locator(".wb-file").click()
    page.keyboard.press("Control+s")
    expect(page.get_by_role("alert").filter(has_text="is read-only")).to_be_visible()
    assert file.read_bytes() == (DATA / "mlp.onnx").read_bytes()
    assert list(folder.rglob(".ipynb_checkpoints/*")) == []
    (session,) = sessions(page, lab)
    assert session["path"] == f"a stranger's/{QUOTED}"
    page.locator(".jp-mod-current .lm-TabBar-tabCloseIcon").click()
    for _ in range(600):
        if not sessions(page, lab):
            break
        page.wait_for_timeout(100)
    assert sessions(page, lab) == []


@pytest.mark.browser
def test_a_tab_comes_back_after_a_reload_and_a_kernel_that_was_killed(page: Page, lab: str, folder: Path) -> None:
    shutil.copy(DATA / "snn_leaky.onnx", folder / "net.onnx")
    land(page, lab)
    item(page, "net.onnx").dblclick()
    verdict(page, "net.onnx", "SNN")
    (session,) = sessions(page, lab)
    page.reload()
    verdict(page, "net.onnx", "SNN")
    assert [same["kernel"]["id"] for same in sessions(page, lab)] == [session["kernel"]["id"]]
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # others' children end as they like
            if session["kernel"]["id"] in " ".join(process.cmdline()):
                process.send_signal(signal.SIGKILL)
    page.get_by_role("button", name="Start again").click()
    verdict(page, "net.onnx", "SNN")


@pytest.mark.browser
@pytest.mark.long
def test_a_tab_follows_its_file_and_starts_again_where_jupyterlab_shut_it_down(
    page: Page, lab: str, folder: Path
) -> None:
    shutil.copy(DATA / "snn_leaky.onnx", folder / "followed.onnx")
    land(page, lab)
    item(page, "followed.onnx").dblclick()
    verdict(page, "followed.onnx", "SNN")
    (session,) = sessions(page, lab)
    page.request.delete(lab.format(f"api/sessions/{session['id']}"))
    page.get_by_role("button", name="Start again").click()
    verdict(page, "followed.onnx", "SNN")
    item(page, "followed.onnx").click()
    page.keyboard.press("F2")
    page.locator(".jp-DirListing-editor").fill("renamed.onnx")
    page.keyboard.press("Enter")
    verdict(page, "renamed.onnx", "SNN")


@pytest.mark.browser
def test_the_launchers_tile_opens_it_empty_and_other_files_open_as_ever(page: Page, lab: str) -> None:
    land(page, lab)
    expect(page.locator(".jp-LauncherCard:visible", has_text="Python 3")).to_have_count(
        2
    )  # no tile of the tabs' kernel
    page.locator(".jp-LauncherCard", has_text="Model workbench").click()
    expect(page.locator(".wb-file")).to_have_text("No model picked yet")
    assert len(sessions(page, lab)) == 1
    item(page, "rows.json").dblclick()
    expect(page.get_by_role("tab", name="rows.json")).to_be_visible()
    assert len(sessions(page, lab)) == 1
    item(page, "rows.json").click(button="right")
    page.locator(".lm-Menu-itemLabel", has_text="Open With").hover()
    offered = page.locator(".lm-Menu").last.locator(".lm-Menu-itemLabel")
    expect(offered.filter(has_text="Model workbench")).to_be_visible()
    expect(offered.filter(has_text="JSON")).to_be_visible()
    page.keyboard.press("Escape")
    item(page, "broken.h5").dblclick()
    expect(page.get_by_text("It holds text, not a model.").first).to_be_visible()
    item(page, "suffixes").dblclick()
    expect(item(page, "file.onnx")).to_be_visible()
    taken = page.locator('.jp-DirListing-item[data-file-type="onnx-workbench"] .jp-DirListing-itemText')
    assert sorted(taken.all_inner_texts()) == [f"file{suffix}" for suffix in model_suffixes()]


@pytest.mark.browser
def test_an_address_lands_in_the_workbench_with_a_sample_picked(page: Page, lab: str, folder: Path) -> None:
    land(page, lab, "workbench=iris-random-forest")
    verdict(page, "iris_random_forest.onnx", "ML")
    assert (folder / "models" / "iris_random_forest.onnx").is_file()
    assert "workbench=" not in page.url  # to load it again opens no second tab
    page.reload()
    verdict(page, "iris_random_forest.onnx", "ML")
    assert len(sessions(page, lab)) == 1


def test_jupyterlab_lists_the_extension_as_enabled() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "jupyterlab.labextensions", "list"], capture_output=True, text=True, check=True
    )
    plain = re.sub(r"\x1b\[\d*m", "", listed.stdout + listed.stderr)
    assert re.search(r"^\s*onnx-workbench v\S+ enabled OK", plain, re.MULTILINE), f"run `make setup`\n{plain}"


def test_suffixes_of_texts_and_rows_are_left_to_jupyterlab() -> None:
    suffixes = model_suffixes()
    assert {".onnx", ".keras", ".h5", ".tflite", ".pb", ".skops", ".joblib", ".pt", ".pt2", ".nir"} <= set(suffixes)
    assert not {".json", ".xml", ".csv", ".txt", ".py", ".npy", ".npz", ".png", ".ipynb", ""} & set(suffixes)
