"""A notebook as one HTML page that needs neither Jupyter nor network: `export`.

Netron's graphs stay alive in it, plots are SVG, and of a widget the page holds what `_repr_html_` or the widget's own
still copy says. Nothing is loaded from elsewhere; the page's policy would not let it.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UnreadableFile, WorkbenchError
from ..graph import policy
from ..markup import render
from ..publish import refuse, write_text
from ..words import size

if TYPE_CHECKING:
    from nbclient import NotebookClient
    from nbformat import NotebookNode

CELL_SECONDS = 900
"""For one cell at most."""

_WATCH_SECONDS = 0.2

_SETTLE = """
import sys
if "workbench.widgets.workbench" in sys.modules:
    await sys.modules["workbench.widgets.workbench"].settle()
"""
"""A last cell, which is not shown."""

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Export:
    """A page that was written.

    Attributes:
        path: of the page.
        seconds: the cells took; None where they were not run.
        peak_mib: the most memory, in MiB, that the kernel and its worker processes held together, shared pages counted
            once; None where they were not run.
    """

    path: Path
    seconds: float | None = None
    peak_mib: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``workbench export --json``."""
        return {**asdict(self), "path": str(self.path), "size_bytes": self.path.stat().st_size}

    def __str__(self) -> str:
        ran = "" if self.seconds is None else f", run in {self.seconds:.0f} s with {self.peak_mib:,.0f} MiB"
        return f"{self.path}: {size(self.path.stat().st_size)}{ran}"


def export(
    notebook: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    execute: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Export:
    """Write a notebook as one HTML page.

    Args:
        notebook: an .ipynb file; it is not changed.
        output: the page, ``<notebook>.html`` if None. It appears whole or not at all.
        execute: run all cells first, in a kernel of their own that starts clean in the notebook's folder. A notebook
            runs code: do this with notebooks you trust.
        overwrite: replace a page that exists.
        progress: called in this thread with one short sentence per cell.

    Raises:
        UnreadableFile: no such notebook, or a damaged one.
        BadInput: the page would take the notebook's own place.
        WorkbenchError: a cell failed, or the page exists already or cannot be written.
    """
    source = Path(notebook)
    target = Path(output) if output is not None else source.with_suffix(".html")
    refuse(target, overwrite, [source])
    if not execute:
        return Export(write_text(page(read(source), source.stem), target, overwrite=overwrite, inputs=[source]))
    with running(source) as run:
        run.all(progress)
        took = run.seconds, run.peak_mib
        run.settle()
    shown = page(run.notebook, source.stem)
    return Export(write_text(shown, target, overwrite=overwrite, inputs=[source]), *took)


def read(path: str | os.PathLike[str]) -> NotebookNode:
    """A notebook file, in today's format.

    Raises:
        UnreadableFile: no such file, or no notebook.
    """
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # nbformat lets JSON's, its own and jsonschema's errors through
        raise UnreadableFile(f"{path} is no Jupyter notebook, or a damaged one; give an .ipynb file.") from error


# --- running ----------------------------------------------------------------------------------------------------------


class Running:
    """A notebook beside its kernel.

    Attributes:
        name: of its file.
        notebook: with the outputs so far.
        seconds: that `all` took.
        peak_mib: as in `Export`, so far.
    """

    def __init__(self, client: NotebookClient, name: str) -> None:
        self._client, self.name = client, name
        self.notebook: NotebookNode = client.nb
        self.seconds = 0.0
        self.peak_mib = 0.0

    def all(self, progress: Progress | None = None) -> None:
        """Run all cells.

        Raises:
            WorkbenchError: one failed; the sentence names it.
        """
        say = progress or (lambda message: None)
        began = time.monotonic()
        cells = self.notebook.cells
        for index, cell in enumerate(cells):
            if cell.cell_type == "code":
                say(f"{self.name}: cell {index + 1} of {len(cells)}")
                self._run(cell, index)
        self.seconds = time.monotonic() - began
        self._look()  # a quick notebook ends before the watcher's first look

    def settle(self) -> None:
        """Let the still copies of widgets say what these were still finding out, or an example where nothing was."""
        self.cell(_SETTLE)
        self.notebook.cells.pop()

    def cell(self, source: str) -> NotebookNode:
        """Run code in this kernel, in a cell added at the end; returns the cell with its outputs.

        Raises:
            WorkbenchError: it failed.
        """
        from nbformat.v4 import new_code_cell

        self.notebook.cells.append(new_code_cell(source))
        return self._run(self.notebook.cells[-1], len(self.notebook.cells) - 1)

    def _run(self, cell: NotebookNode, index: int) -> NotebookNode:
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

        where = f"{self.name}, cell {index + 1} ({cell.id})"
        try:
            return self._client.execute_cell(cell, index)
        except CellExecutionError as error:
            raise WorkbenchError(f"{where} failed with {error.ename}: {error.evalue}") from error
        except CellTimeoutError as error:
            what = "took longer than" if "IOPub" not in str(error) else "ended, but what it printed did not come within"
            raise WorkbenchError(f"{where} {what} {CELL_SECONDS} seconds, so it was stopped.") from error
        except DeadKernelError as error:
            raise WorkbenchError(f"{where} ended its kernel, perhaps for want of memory.") from error

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(_WATCH_SECONDS):
            self._look()

    def _look(self) -> None:
        manager: Any = self._client.km
        self.peak_mib = max(self.peak_mib, _held_mib(manager.provisioner.pid))


@contextmanager
def running(path: str | os.PathLike[str]) -> Iterator[Running]:
    """A notebook with a clean kernel in its folder, which ends with the ``with`` block.

    Raises:
        UnreadableFile: no such notebook, or a damaged one.
    """
    from nbclient import NotebookClient

    source = Path(path)
    client = NotebookClient(
        read(source),
        timeout=CELL_SECONDS,
        iopub_timeout=CELL_SECONDS,  # a crowded machine says late what a cell prints
        raise_on_iopub_timeout=True,  # what never came would be missing without a word
        resources={"metadata": {"path": str(source.parent)}},
        store_widget_state=False,  # the page holds still copies
        coalesce_streams=True,  # what two prints write is one text
        extra_arguments=["--log-level=ERROR"],  # it warns of its port, which only this machine sees
    )
    for cell in client.nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with client.setup_kernel():
        run, done = Running(client, source.name), threading.Event()
        watcher = threading.Thread(target=run._watch, args=(done,), daemon=True)
        watcher.start()
        try:
            yield run
        finally:
            done.set()
            watcher.join()


def _held_mib(pid: int) -> float:
    """MiB of a process and all that it started. Pages that several share are split among them (PSS) where the system
    counts so, and left out elsewhere (USS)."""
    import psutil

    total = 0
    try:
        kernel = psutil.Process(pid)
        family = [kernel, *kernel.children(recursive=True)]
    except psutil.Error:
        return 0.0
    for process in family:
        try:
            memory = process.memory_full_info()
        except psutil.Error:
            continue  # ended meanwhile
        total += getattr(memory, "pss", memory.uss)
    return total / (1 << 20)


# --- the page ---------------------------------------------------------------------------------------------------------

# A widget's view comes last but for plain text: without a kernel it is empty, and its still copy is HTML.
_PRIORITY = [
    "text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/latex", "text/plain",
]  # fmt: skip


# nbconvert's plain template without its prompts. What is wider than the page scrolls sideways, and must be reachable by
# keyboard then.
_CELLS = """
{%- extends 'classic/base.html.j2' -%}
{%- block in_prompt -%}{%- endblock in_prompt -%}
{%- block empty_in_prompt -%}{%- endblock empty_in_prompt -%}
{%- block output_area_prompt -%}{%- endblock output_area_prompt -%}
{%- block output -%}
<div class="wide" tabindex="0" role="group" aria-label="Output">{{ super() }}</div>
{%- endblock output -%}
"""


def page(notebook: NotebookNode, name: str) -> str:
    """The HTML document of a notebook with its outputs, which may come from anyone: see `workbench.show.clean`.

    Its language is what the notebook's metadata say as ``lang``, a BCP 47 tag, and English without.

    Args:
        name: the title where the notebook has no heading.
    """
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    from .clean import Cleaner

    exporter = HTMLExporter(
        config=Config({"NbConvertBase": {"display_data_priority": _PRIORITY}}),
        template_name="basic",
        raw_template=_CELLS,
        exclude_anchor_links=True,
    )
    cells, _ = exporter.from_notebook_node(notebook)
    # Its neighbours are pages, too.
    cells = re.sub(r'(<a href="[\w.-]+)\.ipynb(?=["#])', r"\1.html", cells)
    cleaner = Cleaner(nonce := secrets.token_hex(16))
    shown = cleaner.clean(cells)
    return str(
        render(
            "notebook",
            title=_title(notebook) or name,
            language=notebook.metadata.get("lang", "en"),
            policy=policy(nonce if cleaner.frames else None),
            cells=shown,
            now=datetime.now().astimezone(),
        )
    )


def _title(notebook: NotebookNode) -> str | None:
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^# +(.+)$", cell.source, re.MULTILINE)):
            return found[1].strip()
    return None
