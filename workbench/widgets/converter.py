"""The step that makes an ONNX file of another model, and says how well both agree."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import ipywidgets
import traitlets

from ..convert.options import options_for
from ..convert.source import why_not
from ..files.records import Option
from ..session import Session
from .choice import Choice
from .form import WIDE, StepForm, button, lead, line, outcome, plan, show_if


class Converter(StepForm):
    """Choose how a model becomes ONNX, convert it, and see how well both sides agree.

    Args:
        source: a session, or the path of a model file.
        bar: show the work under way, too; the workbench has a bar of its own.

    Attributes:
        choices: {name of an option: how it is asked for}, of the format picked.
        output, to_graph, to_compare: the controls beside those of every form.
    """

    def __init__(self, source: Session | str | os.PathLike[str], *, bar: bool = True) -> None:
        super().__init__(source, "convert", ["result"], bar)
        session = self.session
        self.choices: dict[str, Choice] = {}
        self._all_choices: dict[tuple[Option, ...], dict[str, Choice]] = {}
        self.output = ipywidgets.Text(description="ONNX file", continuous_update=False, **WIDE)
        traitlets.link((session, "output"), (self.output, "value"))
        self.to_graph = button("Open the ONNX file", self._open)
        self.to_compare = button("Compare both sides", lambda: setattr(session, "step", "compare"))
        self.more.observe(self._show, "value")
        self._form = ipywidgets.VBox()
        self._form.add_class("wb-form")
        self.children = (
            line(self.said["plan"], self.more), self._form, self._refusal,
            outcome(self.said["problem"], self.said["headline"]),
            line(self.to_compare, self.to_graph, self.button, self.said["reason"]), *self._bar, self.said["result"],
        )  # fmt: skip
        shown = ["path", "detection", "options", "output", "problems", "scan", "trust", "job", "conversion"]
        session.observe(self._show, [*shown, "comparison", "report_path", "step"])
        session.observe(self._show_result, ["detection", "conversion"])
        self._show()
        self._show_result()

    def _show(self, change: Any = None) -> None:
        session, found, name = self.session, self.session.detection, os.path.basename(self.session.path)
        options = options_for(found.format) if found is not None else ()
        if found is None:
            said = session.lacking
        elif found.format == "ONNX":
            said = f"{name} is ONNX already; there is nothing to convert."
        elif not options:
            said = why_not(name, found.format)
        else:
            self.output.placeholder = session.onnx_output
            made = session.conversion.output if session.conversion is not None else None
            said = (
                f"{name} ({found.format}) {'is' if made else 'becomes'} {os.path.basename(made or session.onnx_output)}"
            )
            said += f"; converted again, it becomes {os.path.basename(session.onnx_output)}." if made else "."
            self.button.description = "Convert again" if made else "Convert"
            self._show_options(options)
            chosen = len(session.options) + bool(session.output)
            self.more.description = f"More choices ({chosen} made)" if chosen else "More choices"
        self.said["plan"].value = plan(said)
        refused = self._show_work()
        lead(self.to_compare, session.next == "compare")
        show_if(bool(options), self.more, self.button, self.said["reason"])
        show_if(bool(options) and self.more.value, self._form)
        show_if(bool(options) and refused, self._refusal)

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
        self.said["headline"].value = "" if made is None else made.headline
        self.said["result"].value = "" if made is None else made.details
        written = made is not None and made.output is not None
        show_if(written, self.to_graph)
        show_if(written or (found is not None and found.format == "ONNX"), self.to_compare)

    def _open(self) -> None:
        self.session.pick(self.session.conversion.output)
        self.session.step = "graph"
