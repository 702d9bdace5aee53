"""The step that makes an ONNX file of another model, and says how well both agree."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import ipywidgets
import traitlets

from ..card import escape
from ..convert.options import Option, options_for
from ..convert.source import why_not
from ..safety import Scan
from ..session import Session
from .choice import FIELD, Choice
from .job import JobBar

_STYLE = """<style>
.wb-form{gap:6px;overflow:visible}
.wb-choice{flex-flow:row wrap;align-items:center;gap:2px 14px;overflow:visible}
.wb-choice>.widget-html{flex:1 1 11rem;min-width:0}
.wb-help{margin:0;line-height:1.4;font-size:13px;white-space:normal}
.wb-note{margin:8px 0;border-left:4px solid #c77700;padding:4px 10px;line-height:1.5;white-space:normal;
  overflow-wrap:anywhere}
.wb-plan{margin:0 0 6px;line-height:1.5;white-space:normal;overflow-wrap:anywhere}
.wb-form :is(input,select):focus-visible,.wb-trust input:focus-visible{
  outline:2px solid var(--jp-brand-color1,#1976d2);outline-offset:1px}
</style>"""


class Converter(ipywidgets.VBox):
    """Choose how a model becomes ONNX, convert it, and see how well both sides agree.

    Args:
        source: a session, or the path of a model file.
        bar: show the work under way, too; the workbench has a bar of its own.

    Attributes:
        session: whose file is converted; everything chosen here is one of its traits.
        choices: {name of an option: how it is asked for}, of the format picked.
        output, trust, button, to_graph, to_compare: the other controls.
        said: {part of the panel: the widget that shows it}.
    """

    def __init__(self, source: Session | str | os.PathLike[str], *, bar: bool = True) -> None:
        self.session = session = source if isinstance(source, Session) else Session(source)
        self.choices: dict[str, Choice] = {}
        self._all_choices: dict[tuple[Option, ...], dict[str, Choice]] = {}
        self.said = {part: ipywidgets.HTML() for part in ("plan", "scan", "reason", "problem", "result")}
        self.output = ipywidgets.Text(
            description="ONNX file", continuous_update=False, **{**FIELD, "layout": {"width": "99%"}}
        )
        traitlets.link((session, "output"), (self.output, "value"))
        self.trust = ipywidgets.Checkbox(
            description="I know where this file comes from: trust it", indent=False, layout={"width": "auto"}
        )
        self.trust.add_class("wb-trust")
        traitlets.link((session, "trust"), (self.trust, "value"))
        self.button = _button("Convert", lambda: session.start("convert"), "primary")
        self.to_graph = _button("Open the ONNX file", self._open)
        self.to_compare = _button("Compare both sides", lambda: setattr(session, "step", "compare"))
        self._form = ipywidgets.VBox()
        self._form.add_class("wb-form")
        self._refusal = ipywidgets.VBox([self.said["scan"], self.trust])
        self._start = ipywidgets.HBox([self.button, self.said["reason"]])
        self._start.add_class("wb-choice")
        super().__init__([
            ipywidgets.HTML(_STYLE), self.said["plan"], self._form, self._refusal, self._start,
            *([JobBar(session, ["convert"])] if bar else []), self.said["problem"], self.said["result"],
            ipywidgets.HBox([self.to_graph, self.to_compare]),
        ])  # fmt: skip
        self.add_class("wb-panel")
        session.observe(self._show, ["path", "detection", "options", "output", "problems", "scan", "trust", "job"])
        session.observe(self._show_result, ["detection", "conversion"])
        self._show()
        self._show_result()

    def _show(self, change: Any = None) -> None:
        session, found, name = self.session, self.session.detection, os.path.basename(self.session.path)
        options = options_for(found.format) if found is not None else ()
        if found is None:
            plan = session.problems.get("kind") or "Pick a model file first."
        elif found.format == "ONNX":
            plan = f"{name} is ONNX already; there is nothing to convert."
        elif not options:
            plan = why_not(name, found.format)
        else:
            self.output.placeholder = session.onnx_output
            plan = f"{name} ({found.format}) → {os.path.basename(session.onnx_output)}"
            self._show_options(options)
        self.said["plan"].value = f"<p class='wb-plan'>{escape(plan)}</p>"
        scan, problem = session.scan, session.problems.get("convert", "")
        if scan is not None:
            problem = "" if problem == scan.refusal else problem
            self.said["scan"].value = _refusal(name, scan)
        self.said["problem"].value = _note(problem)
        reason = f"{session.about} is under way." if session.job else ""
        if scan is not None and not session.trust:
            reason = reason or "To convert it all the same, tick the box above."
        self.said["reason"].value = f"<p class='wb-help'>{escape(reason)}</p>"
        self.button.disabled = bool(reason)
        for widget, shown in ((self._form, options), (self._start, options), (self._refusal, options and scan)):
            _show_if(bool(shown), widget)

    def _show_options(self, options: tuple[Option, ...]) -> None:
        if options not in self._all_choices:
            self._all_choices[options] = {option.name: Choice(option, self._chooser(option)) for option in options}
        if self.choices is not self._all_choices[options]:
            self.choices = self._all_choices[options]
            self._form.children = [self.output, *self.choices.values()]
        for name, choice in self.choices.items():
            choice.show(self.session.options.get(name, choice.option.default))

    def _chooser(self, option: Option) -> Callable[[Any], None]:
        def choose(value: Any) -> None:
            others = {name: given for name, given in self.session.options.items() if name != option.name}
            self.session.options = others if value == option.default else {**others, option.name: value}

        return choose

    def _show_result(self, change: Any = None) -> None:
        made, found = self.session.conversion, self.session.detection
        self.said["result"].value = "" if made is None else made._repr_html_()
        written = made is not None and made.output is not None
        _show_if(written, self.to_graph)
        _show_if(written or (found is not None and found.format == "ONNX"), self.to_compare)

    def _open(self) -> None:
        self.session.pick(self.session.conversion.output)
        self.session.step = "graph"


def _button(description: str, action: Callable[[], None], style: str = "") -> ipywidgets.Button:
    button = ipywidgets.Button(description=description, button_style=style, layout={"width": "auto"})
    button.on_click(lambda _: action())
    return button


def _show_if(shown: bool, widget: ipywidgets.DOMWidget) -> None:
    widget.layout.display = "" if shown else "none"


def _refusal(name: str, scan: Scan) -> str:
    """For a person with a mouse: the scan's own sentence tells programmers what to write."""
    said = (
        f"{name} ({scan.format}) can run code when it is opened, so it was not opened. {scan.says} If you know where "
        "it comes from, tick the box below and convert again."
    )
    return _note(said) + scan._repr_html_()


def _note(sentence: str) -> str:
    return f"<p class='wb-note' role='alert'>{escape(sentence, 2000)}</p>" if sentence else ""
