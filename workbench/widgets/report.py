"""What the report will hold, a button that writes it, and one that downloads it, whose face is `report.js`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets

from ..convert.options import options_for
from ..session import RESULTS, Session
from ..show.report import Part, parts
from ..words import size
from .form import button, lead, line, note, plan, sentence, session_for, show_if
from .job import JobBar

CHUNK = 1 << 20
"""Bytes of one message, far below the server's websocket limit (10 MB)."""


class ReportPanel(ipywidgets.VBox):
    """Write the report of the picked file, and download it.

    Args:
        source: whose file, or the path of one.
        bar: show the work under way; the workbench has a bar of its own.
    """

    def __init__(self, source: Session | str | os.PathLike[str], *, bar: bool = True) -> None:
        self.session = session = session_for(source)
        self._parts = ipywidgets.HTML()
        self._missing = {
            "convert": button("Convert first", lambda: session.set_trait("step", "convert")),
            "compare": button("Compare first", lambda: session.set_trait("step", "compare")),
        }
        self.paths = ipywidgets.Checkbox(description="Name the files' folders", indent=False, layout={"width": "auto"})
        self._live = ipywidgets.Checkbox(
            description="The model answers in the page", indent=False, layout={"width": "auto"}
        )
        self._live.tooltip = "The page then holds the model with its weights, and ONNX Runtime Web (5 MB)."
        self._write = button("Write report", self._start)
        self._said, self._download = ipywidgets.HTML(), Download()
        self._said.add_class("wb-outcome")
        super().__init__(
            [
                self._parts,
                line(self.paths, self._live),
                ipywidgets.HBox([self._write, *self._missing.values()]),
                *([JobBar(session, ["report"])] if bar else []),
                self._said,
                self._download,
            ]
        )
        self.add_class("wb-panel")
        self.add_class("wb-report")
        session.observe(self._show, ["path", "problems", "job", "step", *RESULTS])
        self._show()

    def _start(self) -> None:
        live = self._live.value and self._live.layout.display != "none"
        self.session.start("report", None, self.paths.value, live)

    def _show(self, change: Any = None) -> None:
        session = self.session
        show_if(session.detection is not None and session.detection.format == "ONNX", self._live)
        found: tuple[Part, ...] = ()
        if session.detection is not None:
            results = {name: getattr(session, name) for name in ("view", "inference", "conversion", "comparison")}
            found = parts(session.detection, **results, problems=session.problems)
        missing = {part.step for part in found if not part.there}
        if session.detection is not None and session.detection.format != "ONNX":
            missing = missing if options_for(session.detection.format) else set()
        for step, missing_button in self._missing.items():
            show_if(step in missing, missing_button)  # what comes next stands out above all steps
        lead(self._write, session.next == "report")
        self._write.disabled = not found or session.job == "report"
        self._write.description = "Write report after that" if session.job not in ("", "report") else "Write report"
        self._parts.value = plan(session.lacking, parts=found)
        path, problem = str(session.report_path or ""), session.problems.get("report", "")
        self._said.value = sentence(path and f"Written: {path}", role="status") + note(problem)
        self._download.path = path


class Download(anywidget.AnyWidget):
    """A button that brings a file of the kernel's machine to the browser's.

    The bytes come as messages to the widget: a link would need the server's address, which differs between JupyterLab,
    Binder, JupyterHub and Voila. The page is offered as a file only, and never opened in a tab from here: that tab
    would belong to Jupyter's own site, and the report quotes files from anyone.

    Traits:
        path: the file; empty hides the button.
        name, size: what the button says of it.
    """

    _esm = Path(__file__).with_name("report.js")
    _css = Path(__file__).with_name("report.css")

    path = traitlets.Unicode("")
    name = traitlets.Unicode("").tag(sync=True)
    size = traitlets.Unicode("").tag(sync=True)

    def __init__(self, path: str = "") -> None:
        super().__init__()
        self.on_msg(self._receive)
        self.path = path

    @traitlets.observe("path")
    def _named(self, change: Any) -> None:
        path = Path(change.new)
        with self.hold_sync():
            self.name = path.name
            self.size = size(path.stat().st_size) if path.is_file() else ""

    def _receive(self, widget: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        """The browser asks for each piece in turn, so no more than one is under way."""
        if content.get("type") != "want":
            return
        answer = {"id": content["id"]}
        try:
            with open(self.path, "rb") as file:
                answer["total"] = os.fstat(file.fileno()).st_size
                file.seek(content["offset"])
                self.send(answer, [file.read(CHUNK)])
        except OSError:
            self.send(answer | {"problem": f"{self.name} is not there any more; write the report again."})
