"""What the steps' forms have in common: buttons, lines, sentences, and the refusal of a file that can run code."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets
import traitlets

from ..errors import Scan
from ..markup import render
from ..session import Session
from .job import JobBar

FIELD: dict[str, Any] = {"style": {"description_width": "7rem"}, "layout": {"width": "17rem", "max_width": "100%"}}
"""Of a field with its label, which leaves room beside it for a hint."""

WIDE: dict[str, Any] = {**FIELD, "layout": {"width": "99%", "max_width": "36rem"}}
"""Of a field for names of files and for sentences."""


class StepForm(ipywidgets.VBox):
    """The form of a step whose work may need the person's trust in the file.

    Args:
        source: a session, or the path of a model file.
        step: as `workbench.session.STEPS` names it; the button's word is the same.
        parts: names of places that show something, beside those that every step has.
        bar: show the work under way, too; the workbench has a bar of its own.

    Attributes:
        session: whose file it is about; everything chosen here is one of its traits.
        said: {part of the panel: the widget that shows it}.
        trust: the question that only the person can answer.
        button: starts the work; more: shows the rarer choices.
    """

    def __init__(self, source: Session | str | os.PathLike[str], step: str, parts: Iterable[str], bar: bool) -> None:
        super().__init__()
        self.session, self._step = session_for(source), step
        self.said = {part: ipywidgets.HTML() for part in ("plan", "scan", "reason", "problem", "headline", *parts)}
        self.trust = ipywidgets.Checkbox(
            description="I know where this file comes from: trust it", indent=False, layout={"width": "auto"}
        )
        traitlets.link((self.session, "trust"), (self.trust, "value"))
        self.button = button(step.capitalize(), lambda: self.session.start(step))
        self.more = ipywidgets.ToggleButton(description="More choices", layout={"width": "auto"})
        self._refusal = outcome(self.said["scan"], self.trust)
        self._bar = [JobBar(self.session, [step])] if bar else []
        self.add_class("wb-panel")

    def _show_work(self, waits: str = "") -> bool:
        """Show what went wrong and why the work cannot begin now, which may be what it `waits` for.

        Returns:
            Whether the file is refused until the person trusts it.
        """
        session, refused = self.session, self.session.refused(self._step)
        self.said["scan"].value = refusal(session.path, session.scan, self._step) if refused else ""
        self.said["problem"].value = "" if refused else note(session.problems.get(self._step, ""))
        reason = f"{session.about} is under way." if session.job else waits
        if refused and not session.trust:
            reason = reason or f"To {self._step} it all the same, tick the box above."
        self.said["reason"].value = help_text(reason)
        self.button.disabled = bool(reason)
        lead(self.button, session.next == self._step)
        return refused


def session_for(source: Session | str | os.PathLike[str]) -> Session:
    """The session given, or a new one for the path of a model file."""
    return source if isinstance(source, Session) else Session(source)


def button(words: str, action: Callable[[], object], **style: Any) -> ipywidgets.Button:
    """A button as wide as its words."""
    made = ipywidgets.Button(description=words, layout={"width": "auto"}, **style)
    made.on_click(lambda _: action())
    return made


def lead(shown: ipywidgets.Button, leads: bool) -> None:
    """Make a button the one that stands out, since it is what comes next, or one among others."""
    shown.button_style = "primary" if leads else ""


def line(*widgets: ipywidgets.Widget) -> ipywidgets.HBox:
    """Widgets beside each other, below where the page is narrow."""
    made = ipywidgets.HBox(widgets)
    made.add_class("wb-line")
    return made


def outcome(*widgets: ipywidgets.Widget) -> ipywidgets.VBox:
    """What came of the work, which the page scrolls to when the work has ended (`job.js`)."""
    made = ipywidgets.VBox(widgets)
    made.add_class("wb-outcome")
    return made


def show_if(shown: bool, *widgets: ipywidgets.DOMWidget) -> None:
    for widget in widgets:
        widget.layout.display = None if shown else "none"


def sentence(text: str, kind: str = "", role: str = "") -> str:
    """A paragraph; empty where there is nothing to say."""
    return render("sentence", text=text, kind=kind, role=role) if text else ""


def help_text(words: str) -> str:
    """A short line beside a field."""
    return render("sentence", text=words, kind="wb-help", role="")


def hint(words: str) -> ipywidgets.HTML:
    """The same as a widget."""
    return ipywidgets.HTML(help_text(words))


def plan(says: str = "", **values: Any) -> str:
    """What a step will do, or why it cannot, with the style of all the form: a sentence, or what the template reads."""
    return render("plan", **{"says": says, "pairing": None, "parts": (), **values})


def note(problem: str) -> str:
    """A problem; empty where there is none."""
    return sentence(problem, "wb-note", "alert")


def refusal(path: str, scan: Scan, verb: str) -> str:
    """What a scan found, for a person with a mouse: the scan's own sentence tells programmers what to write."""
    said = (
        f"{os.path.basename(path)} ({scan.format}) can run code when it is opened, so it was not opened. {scan.says} "
        f"If you know where it comes from, tick the box below and {verb} again."
    )
    return note(said) + scan._repr_html_()
