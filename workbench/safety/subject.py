"""What a scan looks at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..files.records import Format
from ..files.wire import Buffer, Steps


@dataclass(frozen=True)
class Subject:
    """A model file on its way through a scanner.

    Attributes:
        path: the file or folder; shown: what to call it in sentences.
        buffer: the file's bytes; of a SavedModel folder, those of its ``saved_model.pb``.
        format: what `workbench.files.formats` calls it.
        known: class names that the caller brings along, so that the file need not import them.
        steps: what is left to `detect`, in the caller's process, where no C library may parse the file; None to read it
            to its end, whatever that takes, in a worker process.
    """

    path: Path
    shown: str
    buffer: Buffer
    format: Format
    known: tuple[str, ...] = ()
    steps: Steps | None = None

    @property
    def thorough(self) -> bool:
        """To its end."""
        return self.steps is None
