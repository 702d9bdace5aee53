"""A folder that was audited, as a table: which of its files are shown, in which order; and where its rows are kept, so
that an audit that was cancelled, or whose kernel was restarted, goes on where it was."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from ..audit import Audit, audit
from ..audit.exports import below
from ..audit.look import Row
from ..errors import LEVELS, BadInput

KEPT_DAYS = 30
"""That the rows of an audit wait for the next one of the same folder."""


@dataclass(frozen=True)
class Wanted:
    """Which files of an audit are shown, and in which order.

    Attributes:
        kind, format: as `Audited.choices` names them; finding: its id, or a level. Empty: any.
        text: part of a path, producer, or sentence, whatever the case.
        order: ``file``, ``kind``, ``format``, ``size`` or ``findings``; down: the largest or worst first.
    """

    kind: str = ""
    format: str = ""
    finding: str = ""
    text: str = ""
    order: str = "findings"
    down: bool = True


_ORDERS: dict[str, Callable[[Row], object]] = {
    "file": lambda row: row.path,
    "kind": lambda row: row.kind or "",
    "format": lambda row: row.format,
    "size": lambda row: row.size,
    "findings": lambda row: (LEVELS.index(row.findings[0].level) if row.findings else -1, len(row.findings)),
}


@dataclass(frozen=True)
class Audited:
    """What came of a folder's audit.

    Attributes:
        folder: that was audited, and all below it.
        audit: what came of it.
        earlier: when the last earlier audit was from which rows stand, in seconds; None of one that read all.
    """

    folder: str
    audit: Audit
    earlier: float | None = None

    @cached_property
    def below(self) -> str:
        """What all paths begin with."""
        return below(row.path for row in self.audit.rows)

    @cached_property
    def choices(self) -> dict[str, dict[str, int]]:
        """{``kind``, ``format`` or ``finding``: {what may be wanted of it: how many files have it}}."""
        rows = self.audit.rows
        found = Counter(name for row in rows for name in _findings(row))
        return {
            "kind": dict(Counter(_kind(row) for row in rows).most_common()),
            "format": dict(Counter(_format(row) for row in rows).most_common()),
            "finding": {name: found[name] for name in (*reversed(LEVELS), *sorted({*found} - {*LEVELS}))},
        }

    def chosen(self, wanted: Wanted) -> Audit:
        """Those files alone, as an audit, which can be saved."""
        rows = [row for row in self.audit.rows if self._fits(row, wanted)]
        rows.sort(key=lambda row: row.path)
        rows.sort(key=_ORDERS[wanted.order], reverse=wanted.down)  # type: ignore[arg-type]
        return Audit(tuple(rows))

    def _fits(self, row: Row, wanted: Wanted) -> bool:
        return (
            wanted.kind in ("", _kind(row))
            and wanted.format in ("", _format(row))
            and wanted.finding in {"", *_findings(row)}
            and (not wanted.text or wanted.text.strip().lower() in self._text(row))
        )

    def _text(self, row: Row) -> str:
        says = (f"{finding.id} {finding.says}" for finding in row.findings)
        return " ".join((row.path[len(self.below) :], row.producer, row.because, *says)).lower()


def _kind(row: Row) -> str:
    return row.kind or "no model"


def _format(row: Row) -> str:
    return row.format or "unread"


def _findings(row: Row) -> set[str]:
    return {name for finding in row.findings for name in (finding.level, finding.id)}


def audited(folder: str, anew: bool, progress: Callable[[str], object], cancel: threading.Event) -> Audited:
    """Audit a folder; files that did not change since an earlier audit are not read again, unless all are to be.

    Raises: as `workbench.audit.audit`.
    """
    results = _results(folder)
    if anew and results is not None:
        results.unlink(missing_ok=True)
    earlier = results.stat().st_mtime if results is not None and results.exists() else None
    read: set[str] = set()

    def look() -> Audit:
        return audit(folder, results=results, tell=lambda row: read.add(row.path), progress=progress, cancel=cancel)

    try:
        found = look()
    except BadInput:  # rows as another version wrote them
        if results is None or earlier is None:
            raise
        results.unlink(missing_ok=True)
        found, earlier = look(), None
    kept = any(row.format and row.path not in read for row in found.rows)
    return Audited(folder, found, earlier if kept else None)


def _results(folder: str) -> Path | None:
    """The file in the person's cache that holds the rows of this folder's audits; None where none can be kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onnx-workbench" / "audits"
    # Another version may judge otherwise; so may another ONNX Runtime, which knows other operators.
    told = (os.path.realpath(folder), version("onnx-workbench"), version("onnxruntime"))
    name = hashlib.sha256("\0".join(told).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in cache.iterdir():
            if time.time() > file.stat().st_mtime + KEPT_DAYS * 86_400:
                with suppress(OSError):
                    file.unlink()
    except OSError:
        return None
    return cache / f"{name}.jsonl" if os.access(cache, os.W_OK) else None
