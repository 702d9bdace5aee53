"""The notebooks: each runs from a clean kernel, judges answers, and becomes a page that lives offline."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from access import barriers
from exercises import teach
from playwright.sync_api import Browser
from test_graph import Shown, state

from workbench.show.export import Running, page, running

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
CHAPTERS = [
    "00_workbench", "01_why_onnx", "02_onnx_format", "03_ml_dl_to_onnx", "04_snn_onnx", "05_model_kind",
    "06_experiments", "07_what_we_learned", "08_audit",
]  # fmt: skip

MOST_MIB = 2000
"""Binder's 2 GB are for JupyterLab, too, which takes 100 MiB: what Binder does not stop is 2,048."""
MOST_SECONDS = 600
"""Of computing. Three minutes are what a notebook may take on two idle cores; others are slower."""

SHORTER = {
    "00_workbench": {"wb = Workbench()": "wb = Workbench()\nwb.seconds = 1"},
    # The large networks take most of the time, and of the memory.
    "03_ml_dl_to_onnx": {
        'vgg_found = network_to_onnx("vgg16")': "vgg_found = lenet, lenet_view, detect(lenet.output)",
        'resnet_found = network_to_onnx("resnet50")': "resnet_found = vgg, vgg_graph, vgg_found",
        'densenet_found = network_to_onnx("densenet121")': "densenet_found = vgg, vgg_graph, vgg_found",
    },
    "04_snn_onnx": {"slice(4000)": "slice(1000)", "epochs=5": "epochs=2", "slice(200)": "slice(40)"},
    "06_experiments": {
        "from workbench.paper.tables import tables\n": (
            "from workbench.paper import tables as module\nfrom workbench.paper.tables import tables\n"
            "module.QUICK_SECONDS, module.QUICK_DIGITS = (0.3, 0.6), 20\n"
            "for name in ('Logistic regression', 'K-means'): del module.TABLE3[name]\n"
            "for name in ('LeNet-1', 'VGG16', 'ResNet50', 'DenseNet121'): del module.TABLE4[name]\n"
        ),
    },
    "07_what_we_learned": {"seconds=1)": "seconds=0.3)", "seconds=3)": "seconds=1)"},
}
"""Of some notebooks, what stands instead of what: shorter races, less training. With ``-m long`` they are run whole."""


def shorten(notebook: nbformat.NotebookNode, instead: dict[str, str]) -> None:
    for text, other in instead.items():
        (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code" and text in cell.source)
        cell.source = cell.source.replace(text, other)


# Their own worker, beside the one that drives JupyterLab: opening still pages does not suffer from a second Chromium.
here = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("notebooks")]


def test_every_chapter_of_the_paper_has_its_notebook() -> None:
    assert [path.stem for path in NOTEBOOKS] == CHAPTERS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_opens_and_ends_as_all_do(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count] == []
    first = notebook.cells[0].source
    assert first.startswith("# ")
    assert "you can" in first and "minutes" in first
    prose = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.search("[가-힣]", prose), "the paper's own terms are missing"
    assert not re.search(r"\]\(https?:[^)]*\.(png|svg|jpg|gif)", prose), "pictures come with the notebook or not at all"
    asked = [cell.id.removeprefix("answer-") for cell in code if cell.id.startswith("answer-")]
    checked = [cell for cell in code if cell.id.startswith("check-")]
    assert 3 <= len(asked) <= 5
    assert [cell.id.removeprefix("check-") for cell in checked] == asked
    assert [cell.metadata["nbgrader"] for cell in checked] == [
        {"grade": True, "solution": False, "task": False, "locked": True, "points": 1, "schema_version": 3,
         "grade_id": cell.id} for cell in checked
    ]  # fmt: skip
    assert [cell.source for cell in checked] == [f'check("{number.replace("-", ".")}", answer)' for number in asked]
    assert list(teach.solutions(path)) == list(wrong_answers(path)) == [number.replace("-", ".") for number in asked]
    # A student's notebook: the answers are to be found.
    assert all("..." in cell.source for cell in code if cell.id.startswith("answer-"))
    text = "\n".join(cell.source for cell in notebook.cells)
    assert [number for number, (source, why) in teach.solutions(path).items() if source in text or why in text] == []


def wrong_answers(path: Path) -> dict[str, list[str]]:
    """{"3.1": sources of the answer cell that a reader may well write}."""
    return json.loads((ROOT / "tests" / "notebooks" / f"chapter_{int(path.stem[:2])}.json").read_text())


IN_KOREAN = """
def in_korean():
    import os
    os.environ["WORKBENCH_LANGUAGE"] = "ko"
    try:
        return repr(Out[max(Out)])
    finally:
        del os.environ["WORKBENCH_LANGUAGE"]
"""


def said(run: Running, source: str) -> str:
    """What a cell's result says, as plain text."""
    (output,) = (output for output in run.cell(source).outputs if output.output_type == "execute_result")
    return output.data["text/plain"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples that the chapters make: a chapter finds those of the ones before it, as a reader's does."""
    return tmp_path_factory.mktemp("models")


class TestOne:
    """Each notebook, run once: what a reader sees, what the checks say, and the page of it."""

    pytestmark = here

    @pytest.fixture(
        scope="class",
        params=[
            *(pytest.param((path, SHORTER.get(path.stem, {})), id=path.stem) for path in NOTEBOOKS),
            *(
                pytest.param((path, {}), id=f"{path.stem}-whole", marks=pytest.mark.long)
                for path in NOTEBOOKS
                if path.stem in SHORTER
            ),
        ],
    )
    def run(self, request: Any, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
        folder = tmp_path_factory.mktemp("run") / "notebooks"
        shutil.copytree(ROOT / "notebooks", folder, ignore=shutil.ignore_patterns("models", ".ipynb_checkpoints"))
        (folder / "models").symlink_to(models)
        path, instead = request.param
        notebook = nbformat.read(folder / path.name, as_version=4)
        shorten(notebook, instead)
        nbformat.write(notebook, folder / path.name)
        with running(folder / path.name) as run:
            run.all()
            yield run
        shutil.rmtree(folder)  # chapter 3's largest network is 550 MB

    def test_runs_from_a_clean_kernel_within_binders_memory(self, run: Running, record_property: Any) -> None:
        record_property("notebook", f"{run.name}: {run.seconds:.0f} s, {run.peak_mib:,.0f} MiB")
        assert run.peak_mib < MOST_MIB
        used = psutil.Process(run._client.km.provisioner.pid).cpu_times()
        assert sum(used[:4]) < MOST_SECONDS  # with the workers that ended
        errors = [cell.id for cell in run.notebook.cells for o in cell.get("outputs", ()) if o.output_type == "error"]
        assert errors == []

    def test_its_page_lives_offline(self, run: Running, browser: Browser, tmp_path: Path, request: Any) -> None:
        document = page(run.notebook, run.name)
        graphs = sum("wb-graph" in str(output) for cell in run.notebook.cells for output in cell.get("outputs", ()))
        context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True, color_scheme="dark")
        context.set_default_timeout(180_000)
        try:
            shown = Shown(context.new_page())
            shown.open(document, tmp_path / "page.html")
            frames = shown.page.locator("iframe")
            assert frames.count() == graphs
            for number in range(graphs):
                frames.nth(number).scroll_into_view_if_needed()  # a browser draws no frame that nobody sees
                state(shown.page.frame_locator("iframe").nth(number))
            assert shown.outside == [] and shown.console == []
            assert shown.page.evaluate("document.documentElement.scrollWidth") <= 1280
            shown.page.emulate_media(color_scheme="light")
            assert barriers(shown.page, grave=True, iframes=False) == []
            if request.node.callspec.id not in SHORTER:  # a whole chapter; only colours are others in the dark
                shown.page.emulate_media(color_scheme="dark")
                assert barriers(shown.page, grave=True, iframes=False, runOnly=["color-contrast"]) == []
        finally:
            context.close()

    def test_its_checks_know_right_from_wrong_and_nothing_from_both(self, run: Running) -> None:
        notebook = run.notebook
        right = teach.solutions(ROOT / "notebooks" / run.name)
        wrong = wrong_answers(Path(run.name))
        run.cell(IN_KOREAN)
        for cell in [cell for cell in notebook.cells if cell.id.startswith("check-")]:
            number = cell.id.removeprefix("check-").replace("-", ".")
            (unanswered,) = (o.data["text/plain"] for o in cell.outputs if o.output_type == "execute_result")
            assert unanswered.startswith("No answer yet.")
            for source in wrong[number]:
                run.cell(source)
                assert re.match(r"Not yet\. \S.{20}", said(run, cell.source)), (number, source)
                assert re.match(r"['\"]아직 아닙니다\. .*[가-힣]", said(run, "in_korean()")), (number, source)
            run.cell(right[number][0])
            assert re.match(r"Right\. \S.{20}", said(run, cell.source)), (number, right[number][0])
            assert re.match(r"['\"]맞습니다\. .*[가-힣]", said(run, "in_korean()")), (number, right[number][0])
            # What is no answer at all gets a sentence, too.
            odd = f'{{repr(check("{number}", odd))[:8] for odd in (None, object(), "?", [])}}'
            assert said(run, odd) == "{'Not yet.'}", number
