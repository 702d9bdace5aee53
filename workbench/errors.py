"""The errors a person can act on, and what is found in files that can harm.

Every message is one sentence or two: what was expected, what was found, what to do. Widgets and the
command line show the message alone, so it must stand without a traceback.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .markup import render
from .words import listed, visible

Level = Literal["note", "warning", "error"]

LEVELS: tuple[Level, ...] = ("note", "warning", "error")
"""From mild to harmful."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a file that a person should know before opening it. Text may quote the file: escape it.

    Attributes:
        id: what sort of finding, stable over versions: ``code-dangerous``, ``external-outside`` …
        level: ``error`` where opening the file as usual can harm, ``warning`` where it may, ``note`` else.
        where: the place in the file: an import, a layer, an operator, a tensor.
        says: what was found, in one sentence.
        advice: what to do, in one sentence.
    """

    id: str
    level: Level
    where: str
    says: str
    advice: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Scan:
    """What was found in a model file without opening it. Names come from the file: escape them.

    Attributes:
        path, format: which file, and what `workbench.files.formats` calls it.
        runs_code: opening the file, or running the model in it, can run code that the file brings or names, or reach
            other files.
        dangerous: imports, operators or layers made for doing something other than holding a model.
        unusual: the ones that are not known to do harm, and that a model of this sort seldom has.
        complete: the file was read to its end; if not, it is damaged or made to mislead.
        scanner: who judged, with its version.
    """

    path: str
    format: str
    runs_code: bool
    dangerous: tuple[str, ...] = ()
    unusual: tuple[str, ...] = ()
    complete: bool = True
    scanner: str = "workbench"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "dangerous": list(self.dangerous), "unusual": list(self.unusual), "says": self.says}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One for each dangerous or unusual thing, and one where the file could not be read to its end."""
        unopened = "Do not open it, unless you know for sure where it comes from."
        asked = "Open it only if you know where it comes from."
        return (
            *(
                Finding("code-dangerous", "error", name, f"It holds {name}, which can harm this machine.", unopened)
                for name in self.dangerous
            ),
            *(
                Finding("code-unknown", "warning", name, f"It holds {name}, which models seldom have.", asked)
                for name in self.unusual
            ),
            *(() if self.complete else (Finding("code-unread", "warning", "", _UNREAD, asked),)),
        )

    @property
    def says(self) -> str:
        """What was found, in one sentence."""
        if self.dangerous:
            return f"It holds {listed(self.dangerous, MOST_SHOWN)}, which can harm this machine."
        if not self.complete:
            return _UNREAD
        if self.unusual:
            return f"Nothing known to be dangerous was found, but it holds {listed(self.unusual, MOST_SHOWN)}."
        if self.format == "unknown":
            return "It is in no format the workbench knows, so nobody here can say what opening it would do."
        if not self.runs_code:
            return "Opening it runs no code from the file."
        return "Nothing suspicious was found in it, but its format can run code all the same."

    def _repr_html_(self) -> str:
        return render("scan", scan=self, name=os.path.basename(self.path))

    @property
    def refusal(self) -> str:
        """Why it is not opened without trust."""
        return (
            f"{self.path} ({self.format}) can run code when it is opened. {self.says} If you know where it comes "
            "from, say so with trust=True (--trust)."
        )


MOST_SHOWN = 6
"""Names in a sentence; `Scan` holds all."""

_UNREAD = "It could not be read to its end, as happens with damaged files and ones made to mislead."


MOST_SAID = 4000
"""Characters of one error's message."""


class WorkbenchError(Exception):
    """Base of everything the workbench raises on purpose. The command line exits with `exit_code`.

    Messages and notes quote files, and whoever shows them may not know: a notebook's traceback obeys escape sequences.
    So they are made visible here.
    """

    exit_code = 1

    def __str__(self) -> str:
        return visible(super().__str__(), MOST_SAID)

    def add_note(self, note: str) -> None:
        super().add_note(visible(note, 5 * MOST_SAID))


class UnreadableFile(WorkbenchError):
    """The file is missing, truncated, damaged, or not what its first bytes promise."""


class UnsupportedModel(WorkbenchError):
    """The file is sound, but this call has no way to handle what it holds."""


class BadInput(WorkbenchError, ValueError):
    """Data given to a model does not fit its inputs."""


class NeedsTrust(WorkbenchError):
    """Opening the file would run code from it; the caller must pass ``trust=True`` (``--trust``) to allow that.

    `scan` is what was found in the file, None where nothing was looked for.
    """

    exit_code = 3

    def __init__(self, message: str, scan: Scan | None = None) -> None:
        super().__init__(message)
        self.scan = scan

    def __reduce__(self) -> Any:
        return type(self), (str(self), self.scan)
