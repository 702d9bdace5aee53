"""The tabs of the workbench's steps; above them the picked file's kind and name, and the step that comes next.

`steps.js` is their face.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ..markup import own_styles
from ..session import STEPS, Session
from ..words import visible

TITLES = {"kind": "Kind", "graph": "Graph", "convert": "Convert", "compare": "Compare", "report": "Report"}


class Steps(anywidget.AnyWidget):
    """Choose the step looked at.

    Traits:
        step: the one chosen, of `workbench.session.STEPS`.
        steps: ``[{"step", "title"}]``; marks: {step: how it stands, in a word or two}.
        file, folder: of the model picked; kind: what it is; next: the step to take next (`Session.next`).
    """

    _esm = Path(__file__).with_name("steps.js")
    _css = own_styles(Path(__file__).with_name("workbench.css"))

    step = traitlets.Enum(STEPS, "kind").tag(sync=True)
    steps = traitlets.List([{"step": step, "title": TITLES[step]} for step in STEPS]).tag(sync=True)
    marks = traitlets.Dict().tag(sync=True)
    file = traitlets.Unicode("").tag(sync=True)
    folder = traitlets.Unicode("").tag(sync=True)
    kind = traitlets.Unicode("").tag(sync=True)
    next = traitlets.Unicode("").tag(sync=True)

    def __init__(self, session: Session) -> None:
        super().__init__(step=session.step)
        self._session = session
        traitlets.link((session, "step"), (self, "step"))
        session.observe(self._mark, ["path", "detection", "view", "conversion", "comparison", "report_path", "scan"])
        session.observe(self._mark, ["problems", "job", "step"])
        self._mark()

    def _mark(self, change: Any = None) -> None:
        path, found = self._session.path, self._session.detection
        with self.hold_sync():
            self.marks, self.next = self._session.marks, self._session.next
            self.kind = (found.kind or "no model") if found is not None else ""
            self.file, self.folder = visible(os.path.basename(path)), visible(os.path.dirname(path))
