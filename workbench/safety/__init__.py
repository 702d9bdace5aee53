"""What a model file would do when it is opened: found out by reading it, never by opening it.

A scanner per family of formats (`pickles`, `external`, and those of the frameworks' rooms) knows what a model of that
family needs, by exact names: what is not on its list is told by name. `trust` stands before whoever opens a file.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import Finding, Scan
from ..files import registry
from ..files.formats import identify
from ..files.records import Format
from ..files.wire import Buffer, Steps, opened
from . import external as external
from .subject import Subject


def scan(path: str | os.PathLike[str], name: str | None = None, known: tuple[str, ...] = ()) -> Scan:
    """Read a model file or folder, to its end, for what it would do.

    Hostile files may take long or much memory to read, so callers run this in a worker process.

    Args:
        path: the file or folder.
        name: what to call it in sentences; the path itself if None.
        known: class names of Keras layers that the caller brings along, so that the file need not import them.

    Raises:
        UnreadableFile: nothing there, or no permission.
    """
    path = Path(path)
    what = identify(path)
    shown = name or str(path)
    record = registry.of(what.name)
    if not record.scan:
        return Scan(shown, what.name, what.runs_code)
    with opened(registry.main_file(path, what.name) or path) as buffer:
        result: Scan = registry.at(record.scan)(Subject(path, shown, buffer, what, known))
    return result


def glance(path: Path, buffer: Buffer, what: Format, steps: Steps) -> tuple[Finding, ...]:
    """What `scan` would find, as far as can be told at once: with the steps that `workbench.kind.detect` has left."""
    record = registry.of(what.name)
    if not record.scan:
        return ()
    findings: tuple[Finding, ...] = registry.at(record.scan)(
        Subject(path, str(path), buffer, what, steps=steps)
    ).findings
    if steps.left < 0:
        says = "It was looked through in part only, because it is large or made to take long."
        advice = "Open it only if you know where it comes from: what was not looked at could be harmful."
        findings = (*findings, Finding("read-in-part", "warning", "", says, advice))
    return findings
