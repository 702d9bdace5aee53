"""The errors a person can act on.

Every message is one sentence or two: what was expected, what was found, what to do. Widgets and the
command line show the message alone, so it must stand without a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .safety import Scan


class WorkbenchError(Exception):
    """Base of everything the workbench raises on purpose. The command line exits with `exit_code`."""

    exit_code = 1


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
