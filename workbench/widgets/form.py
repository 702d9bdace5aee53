"""What the steps' forms have in common: buttons, lines, sentences, and the refusal of a file that can run code."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import ipywidgets
import traitlets

from ..errors import Scan
from ..session import Session
from ..words import escape

FIELD: dict[str, Any] = {"style": {"description_width": "7rem"}, "layout": {"width": "17rem", "max_width": "100%"}}
"""Of a field with its label, which leaves room beside it for a hint."""

WIDE: dict[str, Any] = {**FIELD, "layout": {"width": "99%", "max_width": "36rem"}}
"""Of a field for names of files and for sentences."""

_STYLE = """<style>
.wb-form{gap:6px;overflow:visible}
.wb-line{flex-flow:row wrap;align-items:center;gap:4px 12px;overflow:visible}
.wb-line>.widget-html{flex:1 1 10rem;min-width:0}
.wb-plan,.wb-help,p.wb-note{margin:0 0 6px;line-height:1.5;white-space:normal;overflow-wrap:anywhere}
.wb-help{margin:0;line-height:1.4;font-size:13px}
p.wb-note{border-left:4px solid #c77700;padding:4px 10px}
.wb-outcome{overflow:visible;outline:0}
.wb-panel .widget-dropdown>select{appearance:auto;background-image:none}
.wb-panel :is(input,select):focus-visible{outline:2px solid var(--jp-brand-color1,#1976d2);outline-offset:1px}
</style>"""


def button(words: str, action: Callable[[], object], **style: Any) -> ipywidgets.Button:
    """A button as wide as its words."""
    made = ipywidgets.Button(description=words, layout={"width": "auto"}, **style)
    made.on_click(lambda _: action())
    return made


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


def trust_box(session: Session) -> ipywidgets.Checkbox:
    """The question that only the person can answer."""
    box = ipywidgets.Checkbox(
        description="I know where this file comes from: trust it", indent=False, layout={"width": "auto"}
    )
    traitlets.link((session, "trust"), (box, "value"))
    return box


def show_if(shown: bool, *widgets: ipywidgets.DOMWidget) -> None:
    for widget in widgets:
        widget.layout.display = None if shown else "none"


def help_text(words: str) -> str:
    """A short line beside a field."""
    return f"<p class='wb-help'>{escape(words)}</p>"


def hint(words: str) -> ipywidgets.HTML:
    """The same as a widget."""
    return ipywidgets.HTML(help_text(words))


def plan(markup: str) -> str:
    """What a step will do, or why it cannot, as HTML; with the style of all the form."""
    return f"{_STYLE}<div class='wb-plan'>{markup}</div>"


def note(sentence: str) -> str:
    """A problem; empty where there is none."""
    return f"<p class='wb-note' role='alert'>{escape(sentence, 2000)}</p>" if sentence else ""


def refusal(path: str, scan: Scan, verb: str) -> str:
    """What a scan found, for a person with a mouse: the scan's own sentence tells programmers what to write."""
    said = (
        f"{os.path.basename(path)} ({scan.format}) can run code when it is opened, so it was not opened. {scan.says} "
        f"If you know where it comes from, tick the box below and {verb} again."
    )
    return note(said) + scan._repr_html_()
