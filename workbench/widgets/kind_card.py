"""What kind of model a file is, with the evidence, and its first answers. `kind_card.js` is its face."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ..session import LOOKS, Session
from ..show.card import card
from .form import sentence, session_for

_HELLO = (
    "Pick a model file, or make one of the paper's models, to see what kind of model it is. "
    "Reading a file never runs anything from it."
)


class KindCard(anywidget.AnyWidget):
    """The kind of the picked file; a click on an op_type marks its nodes in the graph.

    Args:
        source: whose file, or the path of one.

    Traits:
        said: one sentence where there is no card.
        alert: that sentence is a problem.
        card, answers: HTML; what comes from the model in it is escaped.
        op_type: the one marked.
    """

    _esm = Path(__file__).with_name("kind_card.js")
    _css = Path(__file__).with_name("kind_card.css")

    said = traitlets.Unicode("").tag(sync=True)
    alert = traitlets.Bool(False).tag(sync=True)
    card = traitlets.Unicode("").tag(sync=True)
    answers = traitlets.Unicode("").tag(sync=True)
    op_type = traitlets.Unicode("").tag(sync=True)

    def __init__(self, source: Session | str | os.PathLike[str]) -> None:
        super().__init__()
        self.session = session = session_for(source)
        self.add_class("wb-panel")
        self.on_msg(self._chosen)
        traitlets.dlink((session, "op_type"), (self, "op_type"))
        session.observe(self._show, ["path", "detection", "problems"])
        session.observe(self._answer, ["path", "inference", "problems", "looking"])
        self._show()
        self._answer()

    def _show(self, change: Any = None) -> None:
        session = self.session
        with self.hold_sync():
            self.card = card(session.detection) if session.detection is not None else ""
            problem = session.problems.get("kind", "")
            self.said = "" if self.card else problem or _HELLO
            self.alert = bool(problem)

    def _answer(self, change: Any = None) -> None:
        session = self.session
        runs = session.looking.startswith(LOOKS["inference"])
        says = session.problems.get("inference", f"{session.looking} …" if runs else "")
        self.answers = f"<h3>First inference</h3>{sentence(says)}" if says else ""
        if session.inference is not None:
            self.answers = session.inference._repr_html_()

    def _chosen(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        found, op_type = self.session.detection, str(content.get("op_type"))
        if found is None or op_type not in (found.components or {}).get("op_types", {}):
            return  # of the card before this one
        if op_type == self.session.op_type:
            self.session.op_type = ""
        else:
            self.session.step, self.session.op_type = "graph", op_type
