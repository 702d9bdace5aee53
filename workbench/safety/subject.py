"""What a scan looks at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..formats import Format
from ..wire import Buffer


@dataclass(frozen=True)
class Subject:
    """A model file on its way through a scanner.

    Attributes:
        path: the file or folder; shown: what to call it in sentences.
        buffer: the file's bytes; of a SavedModel folder, those of its ``saved_model.pb``.
        format: what `workbench.formats` calls it.
        known: class names that the caller brings along, so that the file need not import them.
        thorough: read to its end, whatever that takes, in a worker process; else within the bounds of `detect`, in the
            caller's, where no C library may parse the file.
    """

    path: Path
    shown: str
    buffer: Buffer
    format: Format
    known: tuple[str, ...] = ()
    thorough: bool = True
