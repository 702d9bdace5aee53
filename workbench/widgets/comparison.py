"""The step that asks a native model and its ONNX file the same: choose what and how; see who says what, how fast."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets
import traitlets

from ..compare.options import ASKED
from ..convert.source import why_not
from ..files import registry
from ..files.records import Option
from ..kind import ENGINE_NAMES
from ..markup import render
from ..rows import row_files
from ..session import Session
from ..session.pairing import Pairing, partners
from ..show.answers import row_html
from ..words import visible
from .choice import Choice, offer
from .form import FIELD, WIDE, StepForm, button, hint, lead, line, outcome, plan, show_if

ELSEWHERE = "\0elsewhere"
"""Stands for a file that is typed."""

DATA = (
    ("The paper's data if it fits, else random", ""),
    ("The paper's data", "paper"),
    ("Made up for the model", "random"),
)


class ComparisonPanel(StepForm):
    """Choose both sides, the rows and how they are timed; compare; and look at the answers row by row.

    Args:
        source: a session, or the path of a model file.
        bar: show the work under way, too; the workbench has a bar of its own.

    Attributes:
        fields: {trait of the session: the control that chooses it}; choices: those of `workbench.compare`'s options.
        elsewhere: the path of a file of rows that is in another folder.
        convert, to_report: the buttons that go to other steps.
        steps: {"previous", "next", "furthest", "first": button that chooses another row}.
    """

    def __init__(self, source: Session | str | os.PathLike[str], *, bar: bool = True) -> None:
        super().__init__(source, "compare", ["row", "details"], bar)
        session = self.session
        self._showing, self._alone = False, bar
        self._beside: list[str] = []
        self._files: list[str] = []
        self.choices = {option.name: Choice(option, self._option_chooser(option)) for option in ASKED.values()}
        self.fields: dict[str, ipywidgets.ValueWidget] = {
            "partner": _dropdown("Other side", looks=WIDE),
            "native_engine": _dropdown("Native runs in", looks=WIDE),
            "onnx_engine": _dropdown("ONNX runs in", looks=WIDE),
            "data": _dropdown("Rows to ask", DATA, WIDE),
            **{name: choice.field for name, choice in self.choices.items()},
            "trust": self.trust,
            "row": ipywidgets.BoundedIntText(description="Row", min=0, max=10**9, layout={"width": "10rem"}),
        }
        self.fields["row"].style.description_width = "auto"
        self.elsewhere = ipywidgets.Text(description="Its path", continuous_update=False, **WIDE)
        self.convert = button("Convert it first", lambda: session.set_trait("step", "convert"))
        self.to_report = button("Write the report", lambda: session.set_trait("step", "report"))
        self.steps = {
            "previous": button("Previous", lambda: self._go(-1)),
            "next": button("Next", lambda: self._go(1)),
            "furthest": button("Furthest apart", lambda: self._to("furthest")),
            "first": button("First that differs", lambda: self._to("first_differing")),
        }
        fields = self.fields
        self._engines = ipywidgets.VBox([fields["native_engine"], fields["onnx_engine"]])
        self._file = ipywidgets.VBox([self.elsewhere, self.choices["target"]])
        self._rare = ipywidgets.VBox([shown for name, shown in self.choices.items() if name not in ("target", "rows")])
        self._form = ipywidgets.VBox(
            [
                self._engines,
                fields["data"],
                hint("The list holds this folder's files, too; Upload… brings yours."),
                self._file,
                line(fields["rows"], self.more),
                self._rare,
                self._refusal,
                line(self.button, self.said["reason"]),
            ]
        )  # fmt: skip
        self._result = ipywidgets.VBox(
            [line(fields["row"], *self.steps.values()), self.said["row"], self.said["details"]]
        )
        self.children = (
            self.said["plan"], line(self.convert), fields["partner"], self._form, *self._bar,
            outcome(self.said["problem"], self.said["headline"]), line(self.to_report), self._result,
        )  # fmt: skip
        traitlets.link((session, "row"), (fields["row"], "value"))
        for name in ("partner", "native_engine", "onnx_engine"):
            fields[name].observe(self._chooser(name), "value")
        fields["data"].observe(self._choose_data, "value")
        self.elsewhere.observe(self._choose_data, "value")
        self.more.observe(self._show, "value")
        self.add_class("wb-comparison")
        session.observe(self._look, ["path", "detection", "conversion", "step"])
        session.observe(
            self._show,
            ["problems", "scan", "job", "comparison", "report_path", *(name for name in fields if name != "row")],
        )
        session.observe(self._show_result, ["comparison", "row"])
        self._look()
        self._show_result()

    # --- choices ----------------------------------------------------------------------------------------------------

    def _chooser(self, name: str) -> Callable[[Any], None]:
        def choose(change: Any) -> None:
            if not self._showing:
                self.session.set_trait(name, change.new)

        return choose

    def _option_chooser(self, option: Option) -> Callable[[Any], None]:
        def choose(value: Any) -> None:
            if not self._showing:
                self.session.set_trait(option.name, value or self.session.traits()[option.name].default_value)

        return choose

    def _choose_data(self, change: Any) -> None:
        if not self._showing:
            kind = self.fields["data"].value
            self.session.data = self.elsewhere.value if kind == ELSEWHERE else kind
            self._show()

    def _look(self, change: Any = None) -> None:
        """What lies beside the model now."""
        session, found = self.session, self.session.detection
        if change is not None and change.name == "path":
            self._showing, self.elsewhere.value, self.fields["data"].value = True, "", ""
            self._showing = False
        if self._in_sight:
            self._beside = partners(session.path, found) if found is not None and found.kind is not None else []
            self._files = row_files(os.path.dirname(session.path)) if session.path else []
            self._show()

    @property
    def _in_sight(self) -> bool:
        """Else nothing is looked for: in a full folder that would hold up every pick."""
        return self._alone or self.session.step == "compare"

    def _show(self, change: Any = None) -> None:
        if not self._in_sight:
            return
        # Changing what a list offers chooses one of its own accord, which nobody chose.
        self._showing = True
        try:
            self._show_all()
        finally:
            self._showing = False

    def _show_all(self) -> None:
        session, fields, found, pairing = self.session, self.fields, self.session.detection, self.session.pairing
        is_model, beside = found is not None and found.kind is not None, self._beside
        self._show_plan(pairing)
        usual = os.path.basename(next((side for side in _sides(pairing) if side != session.path), "the same file"))
        found_alone = f"automatic: {usual}" if pairing is not None else "choose a file"
        by_itself = "automatic" if session.partner else found_alone
        offer(
            fields["partner"],
            [(by_itself, ""), *((visible(os.path.basename(path)), path) for path in beside)],
            session.partner,
        )
        for side, name in enumerate(("native_engine", "onnx_engine")):
            chosen = pairing.engines[side] if pairing is not None and not getattr(session, name) else None
            auto = f"automatic: {ENGINE_NAMES[chosen]}" if chosen else "automatic"
            engines = [(ENGINE_NAMES[engine], engine) for engine in registry.OVER_TIME.engines]
            offer(fields[name], [(auto, ""), *engines], getattr(session, name))
        self._show_data()
        for name, choice in self.choices.items():
            choice.show(getattr(session, name) or choice.option.default)
        unnamed = fields["data"].value == ELSEWHERE and not self.elsewhere.value
        refused = self._show_work("Type the path of the rows." if unnamed else "")
        runs = found is not None and (found.format == "ONNX" or registry.of(found.format).native)
        self.button.description = "Compare" if session.comparison is None else "Compare again"
        lead(self.convert, session.next == "convert")
        lead(self.to_report, session.next == "report")
        native_alone = found is not None and found.format != "ONNX" and runs and pairing is None and is_model
        for widget, shown in (
            (self.convert, native_alone),
            (self.to_report, session.comparison is not None or session.next == "report"),
            (fields["partner"], bool(beside) and runs),
            (self._form, pairing is not None),
            (self._engines, is_model and found is not None and found.kind == "SNN"),
            (self._file, fields["data"].value not in ("", "paper", "random")),
            (self.elsewhere, fields["data"].value == ELSEWHERE),
            (self._rare, self.more.value),
            (self._refusal, refused),
        ):
            show_if(shown, widget)

    def _show_plan(self, pairing: Pairing | None) -> None:
        session, detection, beside = self.session, self.session.detection, self._beside
        name = os.path.basename(session.path)
        if pairing is not None and detection is not None and detection.kind is not None:
            native, onnx = map(os.path.basename, _sides(pairing))
            self.said["plan"].value = plan(pairing=pairing, native=native, onnx=onnx)
            return
        if detection is None or detection.kind is None:
            says = f"{name}: {detection.because}" if detection else session.lacking
        elif detection.format != "ONNX" and not registry.of(detection.format).native:
            why = why_not(name, detection.format)
            says = f"{why} It cannot be run here either, so there is nothing to compare."
        elif detection.format != "ONNX":
            says = "There is no ONNX file of this model yet." + (" Or choose one beside it:" if beside else "")
        elif beside:
            says = "Which file was this ONNX file made of? Choose the other side:"
        else:
            says = (
                "The model that this ONNX file was made of is not in its folder: upload it there, then choose it here."
            )
        self.said["plan"].value = plan(says)

    def _show_data(self) -> None:
        session, field = self.session, self.fields["data"]
        known = [*DATA, *((f"File: {visible(os.path.basename(path))}", path) for path in self._files)]
        value = session.data
        if value not in [path for _, path in known] or (field.value == ELSEWHERE and value == self.elsewhere.value):
            self.elsewhere.value, value = value, ELSEWHERE
        offer(field, [*known, ("A file elsewhere…", ELSEWHERE)], value)

    # --- results ----------------------------------------------------------------------------------------------------

    def _show_result(self, change: Any = None) -> None:
        found = self.session.comparison
        answers = found.answers if found is not None else None
        show_if(found is not None, self._result)
        if change is None or change.name == "comparison":
            self.said["headline"].value = "" if found is None else found.headline
            self.said["details"].value = "" if found is None else render("in_code", details=found.details)
        self.said["row"].value = "" if answers is None else row_html(found, self.session.row)
        if answers is not None:
            place = answers.place(self.session.row)
            self.steps["previous"].disabled, self.steps["next"].disabled = place == 0, place == len(answers.rows) - 1
            show_if(answers.first_differing is not None, self.steps["first"])

    def _go(self, by: int) -> None:
        answers = self.session.comparison.answers
        self.session.row = answers.rows[answers.place(self.session.row) + by]

    def _to(self, which: str) -> None:
        self.session.row = getattr(self.session.comparison.answers, which)


def _sides(pairing: Pairing | None) -> tuple[str, ...]:
    return () if pairing is None else (pairing.native, pairing.onnx)


def _dropdown(
    description: str, options: Iterable[tuple[str, Any]] = (), looks: dict[str, Any] = FIELD
) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(description=description, options=list(options), **looks)
