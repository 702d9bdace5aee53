"""The whole workbench on one screen: files on the left; on the right the steps from a file to a verdict."""

from __future__ import annotations

import asyncio
import os
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets
import traitlets

from ..compare import Comparison
from ..convert import Conversion
from ..diff import Difference
from ..graph import GraphView
from ..inference import FirstInference, TrialRun
from ..kind import Detection
from ..markup import render
from ..scratch import fleeting_folder
from ..session import STEPS, Choices, Session, session_of
from ..session.audited import Audited
from ..show.card import card
from .audit import AuditPanel
from .comparison import ComparisonPanel
from .converter import Converter
from .graph_view import GraphPanel
from .job import JobBar
from .kind_card import KindCard
from .picker import Picker
from .report import ReportPanel
from .steps import Steps

_SHOWN: dict[str, Workbench] = {}
"""The workbench each notebook cell shows."""

_MIRRORED: weakref.WeakSet[Workbench] = weakref.WeakSet()
"""Workbenches that are shown, by whatever front end, with a still copy beside them."""

_PARTS: dict[tuple[str, bool], tuple[Picker, ipywidgets.VBox]] = {}
"""Of each session's workbenches, by its folder and whether files are listed: a page may show a widget in several
places, and each new one would cost a page of HTML, go on being sent everything, and forget what stands open."""


class Workbench(ipywidgets.Box, Choices):
    """Pick a model; see its kind and its graph, convert it, compare both sides, write a report.

    Every choice is a trait, so code can do what a hand does::

        wb = Workbench()
        wb.path = "iris.skops"
        wb.convert()
        wb.compare().frame

    Made again for the same folder, it shows what the last one showed.

    Traits: the `workbench.session.Choices`.

    Args:
        path: the model to show.
        root: the folder to work in, the current one if None.
        picker: list the folder's files; without, there are the menus of the paper's models and of recent files alone.

    Attributes:
        session: what all this is about; its traits hold the results, too, and the work under way.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        picker: bool = True,
    ) -> None:
        self.session = session = session_of(root)
        self._mirror: Any = None
        self._due = False
        parts = _PARTS.get((session.root, picker))
        if parts is None or parts[0].comm is None:  # Widget.close_all() takes these, too
            parts = _PARTS[session.root, picker] = _parts(session, picker)
        else:
            parts[0].refresh()
        super().__init__(parts)
        self.add_class("wb-workbench")
        self._links = [traitlets.link((session, name), (self, name)) for name in Choices.class_own_traits()]
        session.observe(self._still, _STILL_SHOWN)
        if path is not None:
            session.pick(path)

    def make(self, sample: str) -> Path:
        """Make a model of the paper and pick it; see `Session.make`."""
        return self.session.make(sample)

    def convert(self) -> Conversion:
        """Convert the picked file; see `Session.convert`."""
        return self.session.convert()

    def compare(self) -> Comparison:
        """Compare the picked file with its other side; see `Session.compare`."""
        return self.session.compare()

    def report(self, output: str | os.PathLike[str] | None = None, *, paths: bool = False, live: bool = False) -> Path:
        """Write the report of the picked file; see `Session.report`."""
        return self.session.report(output, paths=paths, live=live)

    def diff(self, first: str | os.PathLike[str], second: str | os.PathLike[str]) -> Difference:
        """What changed from one ONNX file to another; see `Session.diff`."""
        return self.session.diff(first, second)

    def audit(self, folder: str | os.PathLike[str] | None = None, *, anew: bool = False) -> Audited:
        """Audit a folder; see `Session.audit`."""
        return self.session.audit(folder, anew=anew)

    @property
    def detection(self) -> Detection | None:
        return self.session.detection

    @property
    def view(self) -> GraphView | None:
        return self.session.view

    @property
    def inference(self) -> FirstInference | TrialRun | None:
        return self.session.inference

    @property
    def conversion(self) -> Conversion | None:
        return self.session.conversion

    @property
    def comparison(self) -> Comparison | None:
        return self.session.comparison

    # --- the copy that exported pages show --------------------------------------------------------------------------

    def _ipython_display_(self, **kwargs: Any) -> None:
        from IPython.display import display

        if cell := _cell():
            if (earlier := _SHOWN.get(cell)) not in (None, self):
                earlier.close()
            _SHOWN[cell] = self
        bundle = super()._repr_mimebundle_(**kwargs)
        # Pages without the widget show the first they can: nothing, and then the still copy.
        display({**bundle, "text/plain": "ONNX Workbench", "text/html": ""}, raw=True)
        self._mirror = display(_Still(self.session), display_id=True)
        _MIRRORED.add(self)

    def _still(self, change: Any = None) -> None:
        """Soon, once for all that changes together: a page of Netron is in it."""
        if self._mirror is None or self._due:
            return
        self._due = True
        self.session.soon(self._write_still, 0.3)

    def _write_still(self) -> None:
        self._due = False
        if self.comm is not None:
            self._mirror.update(_Still(self.session))

    def close(self) -> None:
        """Take it out of the page. The session stays, and with it what was found out."""
        if self.comm is not None:
            self.session.unobserve(self._still, _STILL_SHOWN)
            for link in self._links:
                link.unlink()
        super().close()


async def settle() -> None:
    """Wait until nothing is being found out or worked at, and write the still copies of all that cells show: nobody can
    pick a file in these, so where none is picked they show an example."""
    for workbench in _MIRRORED:
        with fleeting_folder("workbench-example-") as folder:
            session = workbench.session if workbench.session.path else _worked_example(folder)
            while session.looking or session.job:
                await asyncio.sleep(0.05)
            workbench._mirror.update(_Still(session, example=not workbench.session.path))


def _worked_example(folder: Path) -> Session:
    """All steps of the workbench, gone through in a folder."""
    session = Session(root=folder)
    session.set_trait("seconds", 1)
    session.make("logistic-regression")
    session.path = str(session.convert().output)
    session.compare()
    session.detection = replace(session.detection, path=Path(session.path).name)  # the folder is gone when it is read
    return session


_STILL_SHOWN = ["detection", "view", "inference", "conversion", "comparison", "problems"]
"""Traits of the session in the copy that exported pages show."""


def _parts(session: Session, picker: bool) -> tuple[Picker, ipywidgets.VBox]:
    """Files on the left; on the right the audit, if any, the steps, how the work stands, and a panel for each step."""
    panels: list[ipywidgets.DOMWidget] = [
        KindCard(session),
        GraphPanel(session),
        Converter(session, bar=False),
        ComparisonPanel(session, bar=False),
        ReportPanel(session, bar=False),
    ]
    for step, panel in zip(STEPS, panels, strict=True):
        panel.add_class("wb-step")
        panel.add_class(f"wb-step-{step}")
    line = ipywidgets.HTML()

    def tell(change: Any = None) -> None:
        said = render("sentence", text=session.said, kind="wb-said", role="status")
        line.value = said + render("sentence", text=session.looking, kind="wb-looking", role="")

    session.observe(tell, ["looking", "said"])
    tell()
    status = ipywidgets.VBox([JobBar(session), line])
    status.add_class("wb-status-line")
    left, right = (
        Picker(session, files=picker),
        ipywidgets.VBox([AuditPanel(session, bar=False), Steps(session), status, *panels]),
    )
    left.add_class("wb-left")
    right.add_class("wb-right")
    return left, right


class _Still:
    """The results as plain output beside the widget: what a saved, exported or untrusted notebook keeps of it.

    The live widget hides it (workbench.css).
    """

    def __init__(self, session: Session, example: bool = False) -> None:
        self._session, self._example = session, example

    def __repr__(self) -> str:
        return self._session.path or "no model picked yet"

    def _repr_html_(self) -> str:
        session = self._session
        # Loaded lazily: while the widget is alive the copy is not displayed, and its frame never starts.
        frame = session.view._repr_html_().replace("<iframe ", '<iframe loading="lazy" ', 1) if session.view else ""
        results = (session.inference, session.conversion, session.comparison)
        return render(
            "still",
            path=session.path,
            example=self._example,
            card=card(session.detection) if session.detection else "",
            problem=session.problems.get("kind", ""),
            graph=frame,
            results=[result._repr_html_() for result in results if result is not None],
        )


def _cell() -> str:
    """The notebook cell that runs now; empty where there is none."""
    from IPython import get_ipython

    shell = get_ipython()
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    return str(parent.get("metadata", {}).get("cellId", ""))
