"""A folder's audit as a table: sorted, filtered, page by page; a row opens its file. `audit.js` is its face."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets

from ..audit import Audit
from ..errors import WorkbenchError
from ..markup import own_styles
from ..session import Session, session_of
from ..session.audited import Audited, Wanted
from ..words import size, visible
from .difference import DifferencePanel
from .form import note, sentence, show_if
from .job import JobBar
from .report import Download

PAGE = 100
"""Rows at a time: of 10,000 files the browser holds no more."""


class AuditPanel(ipywidgets.VBox):
    """What a session's last audit found, and the last difference of two files; nothing until there is one.

    Args:
        source: a session, or the folder of one; the notebook's folder if None.
        bar: show the work under way; the workbench has a bar of its own.
    """

    def __init__(self, source: Session | str | os.PathLike[str] | None = None, *, bar: bool = True) -> None:
        self.session = session = source if isinstance(source, Session) else session_of(source)
        self.table = AuditTable(session, self._export)
        self._said, self._download = ipywidgets.HTML(), Download()
        work = ipywidgets.HTML()
        traitlets.dlink((session, "said"), (work, "value"), lambda said: sentence(said, "wb-said", "status"))
        own = [JobBar(session, ["audit", "diff", "diff_page"]), work] if bar else []
        super().__init__([*own, self.table, self._said, self._download, DifferencePanel(session)])
        self.add_class("wb-panel")
        self.add_class("wb-audits")
        session.observe(self._show, "audited")
        self._show()

    def _show(self, change: Any = None) -> None:
        self._said.value = self._download.path = ""
        show_if(self.session.audited is not None, self.table, self._said, self._download)

    def _export(self, ending: str, wanted: Wanted) -> None:
        try:
            path = str(self.session.export(ending, wanted))
        except WorkbenchError as error:
            self._said.value, self._download.path = note(str(error)), ""
        else:
            self._said.value, self._download.path = sentence(f"Written: {path}", role="status"), path


class AuditTable(anywidget.AnyWidget):
    """The rows of an audit.

    Args:
        session: whose.
        export: called with an ending and what is wanted, when someone asks for a file of the rows shown.

    Traits:
        says: what came of the audit; place: its folder; earlier: from when rows stand that were not read again.
        choices: {column: {what may be wanted of it: how many files have it}}.
        wanted: the fields of `workbench.session.audited.Wanted`.
        page: which hundred of the files is shown; matching: how many fit what is wanted; total: of all.
        rows: ``[[number, path, kind, format, size, level, worst finding, more of them, whether
            it can be marked]]``; current: the number of the
            file picked, or -1.
        marked: numbers of the two files last marked, to be asked what differs; names: their paths.
        audits: how many were shown.
    """

    _esm = Path(__file__).with_name("audit.js")
    _css = own_styles(Path(__file__).with_name("audit.css"))

    says = traitlets.Unicode("").tag(sync=True)
    place = traitlets.Unicode("").tag(sync=True)
    earlier = traitlets.Unicode("").tag(sync=True)
    choices = traitlets.Dict().tag(sync=True)
    wanted = traitlets.Dict(vars(Wanted())).tag(sync=True)
    page = traitlets.Int(0).tag(sync=True)
    size = traitlets.Int(PAGE).tag(sync=True)
    matching = traitlets.Int(0).tag(sync=True)
    total = traitlets.Int(0).tag(sync=True)
    rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    current = traitlets.Int(-1).tag(sync=True)
    marked: traitlets.List[int] = traitlets.List().tag(sync=True)
    names: traitlets.List[str] = traitlets.List().tag(sync=True)
    audits = traitlets.Int(0).tag(sync=True)

    def __init__(self, session: Session, export: Callable[[str, Wanted], object]) -> None:
        super().__init__()
        self._session, self._export = session, export
        self._found: Audited | None = None
        self._chosen = Audit(())
        self._ids: dict[str, int] = {}
        self.on_msg(self._receive)
        session.observe(self._audited, "audited")
        session.observe(self._mark, "path")
        self._audited()

    def _audited(self, change: Any = None) -> None:
        self._found = found = self._session.audited
        if found is None:
            return
        self._ids = {row.path: number for number, row in enumerate(found.audit.rows)}
        with self.hold_sync():
            self.says, self.place = found.audit.says, visible(found.folder)
            self.earlier = "" if found.earlier is None else f"{datetime.fromtimestamp(found.earlier):%Y-%m-%d %H:%M}"
            self.choices, self.total = found.choices, len(found.audit.rows)
            self.audits += 1
            self.marked, self.wanted = [], vars(Wanted())
            self._choose()

    @traitlets.observe("wanted")
    def _choose(self, change: Any = None) -> None:
        if self._found is None:
            return
        self._chosen = self._found.chosen(Wanted(**self.wanted))
        with self.hold_sync():
            self.matching, self.page = len(self._chosen.rows), 0
            self._turn()

    @traitlets.observe("page")
    def _turn(self, change: Any = None) -> None:
        if self._found is None:
            return
        left_out = len(self._found.below)
        with self.hold_sync():
            self.rows = [
                [
                    self._ids[row.path], visible(row.path[left_out:]), row.kind or "no model",
                    row.format or "unread", size(row.size), row.findings[0].level if row.findings else "",
                    visible(row.findings[0].says, 140, "") if row.findings else "", len(row.findings) - 1,
                    row.format == "ONNX",
                ]
                for row in self._chosen.rows[self.page * PAGE : (self.page + 1) * PAGE]
            ]  # fmt: skip
            self._mark()

    @traitlets.observe("marked")
    def _named(self, change: Any) -> None:
        if self._found is not None:
            rows, left_out = self._found.audit.rows, len(self._found.below)
            self.names = [visible(rows[number].path[left_out:]) for number in self.marked]

    def _mark(self, change: Any = None) -> None:
        self.current = self._ids.get(self._session.path, -1)

    def _receive(self, widget: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        self.send({"type": "ack"})
        session, found = self._session, self._found
        if found is None or content["audit"] != self.audits:  # it was asked of a table that is no more
            return
        verbs: dict[str, Callable[[], object]] = {
            "open": lambda: session.pick(found.audit.rows[content["row"]].path),
            "diff": lambda: session.start("diff", *(found.audit.rows[number].path for number in self.marked)),
            "export": lambda: self._export(content["ending"], Wanted(**self.wanted)),
            "anew": lambda: session.start("audit", found.folder, True),
            "ask": lambda: None,  # whether anyone is there
            "close": lambda: session.set_trait("audited", None),
        }
        verbs[content["type"]]()
