"""What several tests share: a real Chromium, and the model files of the paper's authors."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

# As the conversion worker does before it imports TensorFlow; here another test may import it first. With oneDNN,
# TensorFlow 2.21 fuses Keras 2's layer normalisation wrongly ("scale must be 1D").
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

# Over a thousand interpreters are started from here: from compiled modules a worker takes 0.3 s to start, not 0.5.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ROOT = Path(__file__).parent.parent

# Sandbox and GPU do not work in containers; the rest keeps Chromium from calling home.
CHROMIUM_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()

expect.set_options(timeout=180_000)  # on two busy cores; a page answers in two seconds, JupyterLab's kernel in four


def _chromium() -> str | None:
    """The browser to drive: $WORKBENCH_CHROMIUM, or the first of the usual names on the PATH."""
    if named := os.environ.get("WORKBENCH_CHROMIUM"):
        return named
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium. Without one the test is skipped, or fails where WORKBENCH_REQUIRE_BROWSER=1 (CI)."""
    executable = _chromium()
    if executable is None:
        reason = "no Chromium found: install chromium, or set WORKBENCH_CHROMIUM to the path of a Chrome or Chromium"
        if os.environ.get("WORKBENCH_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(autouse=True)
def _no_loop_of_playwrights(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once a browser runs, Playwright's loop counts as this thread's, though it turns only while Playwright is called:
    a session in a test without a browser would take it for a kernel's, and wait for ever."""
    if request.node.get_closest_marker("browser") is not None:
        yield
        return
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    yield
    asyncio._set_running_loop(loop)


@pytest.fixture(autouse=True, scope="module")
def _what_is_loaded_is_no_garbage() -> None:
    """A comparison in this process collects garbage before it times anything: looking through all that TensorFlow and
    others had loaded took ten times as long as the rest of it. Each object is looked at once: it stays frozen."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def paper_models() -> Path:
    """The folder with the ONNX files and test rows the paper's authors published; they are not in this repository."""
    folder = ROOT.parent / "shared" / "data" / "paper-models"
    if not folder.is_dir():
        pytest.skip(f"the paper authors' model files are not at {folder}")
    return folder


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Share the tests out to the workers: all browser tests to one (two Chromiums on two cores time out), the rest
    file by file, so that what a file prepares is prepared once. A test's own xdist_group wins.

    The notebooks, which take longest, come first: begun last, they would run while the other worker has nothing to do.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            group = "browser" if item.get_closest_marker("browser") else item.nodeid.partition("::")[0]
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the time and memory of each notebook that ran."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    lines = [
        value for report in reports for name, value in getattr(report, "user_properties", ()) if name == "notebook"
    ]
    if lines:
        terminalreporter.section("notebooks: time and peak memory")
        for line in sorted(set(lines)):
            terminalreporter.write_line(line)
