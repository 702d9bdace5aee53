"""A file on its way here, in pieces: invisible until it is whole, and never over one that exists."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import unicodedata
import weakref
from pathlib import Path

from ..errors import WorkbenchError
from ..words import size


class Upload:
    """Write with `write` what comes, then `finish`, or `discard`.

    What is unfinished when the process ends is discarded, too.

    Args:
        folder: where the file goes.
        name: as the sender calls it, which is anything; see `safe_name`.
        total: bytes to come.

    Raises:
        WorkbenchError: it is empty, the folder cannot be written to, or the disk has no room for it.
    """

    def __init__(self, folder: str | os.PathLike[str], name: str, total: int) -> None:
        self.folder, self.total, self.written = Path(folder), total, 0
        self.name = safe_name(name)
        if total <= 0:
            raise WorkbenchError(f"{self.name} is empty (0 bytes); was its download complete?")
        try:
            free = shutil.disk_usage(self.folder).free
            if total > free:
                raise WorkbenchError(
                    f"{self.name} needs {size(total)}, but the disk has {size(free)} left; free some and try again."
                )
            handle, draft = tempfile.mkstemp(prefix=".upload-", dir=self.folder)
        except OSError as error:
            raise WorkbenchError(f"{self.name} cannot be written to {self.folder}: {error.strerror}.") from error
        # Unbuffered: what the disk refuses is refused by the write that brought it.
        self._file, self._draft = os.fdopen(handle, "wb", buffering=0), Path(draft)
        self.discard = weakref.finalize(self, _discard, self._file, self._draft)

    def write(self, data: bytes | memoryview) -> None:
        """The next piece.

        Raises:
            WorkbenchError: the disk did not take it; the upload is discarded.
        """
        left = memoryview(data)
        try:
            while left:
                taken = self._file.write(left)
                left = left[taken:]
                self.written += taken
        except OSError as error:
            raise self._refused(error) from error

    def finish(self) -> Path:
        """Give the whole file its name, or the first of its numbered names that is free.

        Raises:
            WorkbenchError: as `write`.
        """
        try:
            self._file.close()
            return self._named()
        except OSError as error:
            raise self._refused(error) from error
        finally:
            self.discard()

    def _refused(self, error: OSError) -> WorkbenchError:
        self.discard()
        what = "rename it" if error.errno == errno.ENAMETOOLONG else "free some disk space"
        return WorkbenchError(f"{self.name} could not be stored ({error.strerror}): {what} and try again.")

    def _named(self) -> Path:
        self._draft.chmod(0o644)
        stem, suffix = Path(self.name).stem, Path(self.name).suffix
        for number in range(1, 1000):
            path = self.folder / (self.name if number == 1 else f"{stem}-{number}{suffix}")
            try:
                os.link(self._draft, path)  # unlike rename, fails where the name is taken
            except FileExistsError:
                continue
            except OSError:  # a file system without hard links
                if path.exists():
                    continue
                os.replace(self._draft, path)
            return path
        raise OSError(errno.EEXIST, f"a thousand files are called {self.name}")


LONGEST_NAME = 200
"""Bytes: of the 255 that file systems take, some remain for a number, and for what is made from the file."""

_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)


def safe_name(name: str) -> str:
    """A name for a file in one folder and on any system: the last part of the name given, visible (no leading dot),
    without letters that nobody sees or that turn the others round, and not too long. The ending stays."""
    seen = "".join("_" if unicodedata.category(char)[0] == "C" else char for char in re.split(r"[/\\]", name)[-1])
    name = seen.lstrip(". ").rstrip(". ")
    name = f"_{name}" if _RESERVED.match(name) else name
    stem, ending = os.path.splitext(name)
    ending = _cut(ending, 20)
    return _cut(stem, LONGEST_NAME - len(ending.encode())) + ending or "upload"


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore").rstrip(". ")


def _discard(file: object, draft: Path) -> None:
    file.close()  # type: ignore[attr-defined]
    draft.unlink(missing_ok=True)
