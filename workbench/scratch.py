"""Folders for a while: gone afterwards, also where the process that made one was killed; and where a disk is full."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import WorkbenchError

YOUNG = 60
"""Seconds in which a folder that nobody holds may be one that is just being made."""


@contextmanager
def fleeting_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder, gone afterwards. The lock on it goes with its process: a folder that a killed one left behind is
    known by that, and goes when the next is made.

    Args:
        prefix: of its name; parent: where it is made, the system's temporary folder if None.

    Raises:
        DiskFull: there is no room for it. OSError: it cannot be made for another reason.
    """
    parent = parent or Path(tempfile.gettempdir())
    for left in parent.glob(f"{prefix}*"):
        if re.fullmatch(r"[0-9a-f]{32}", left.name.removeprefix(prefix)):
            _remove_left(left)
    folder = parent / f"{prefix}{uuid.uuid4().hex}"
    try:
        folder.mkdir(0o700)
    except OSError as error:
        raise disk_full(error, parent) or error from None
    lock = os.open(folder, _A_FOLDER)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


_A_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def _remove_left(folder: Path) -> None:
    try:
        lock = os.open(folder, _A_FOLDER)
    except OSError:
        return
    with suppress(OSError):
        found = os.fstat(lock)
        if found.st_uid == os.getuid() and time.time() - found.st_mtime > YOUNG:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


class DiskFull(WorkbenchError):
    """No room is left in the folder that the sentence names."""


def disk_full(error: BaseException | None, folder: Path) -> DiskFull | None:
    """One sentence, wherever in the chain of causes the disk ran full.

    Args:
        folder: that was written to. Libraries write to the temporary folder, too: where it has less room, it is named.
    """
    while error is not None:
        if isinstance(error, DiskFull):
            return DiskFull(str(error))
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if error.errno != errno.EFBIG:  # a file that is larger than it may be, wherever
                folder = min((folder, Path(tempfile.gettempdir())), key=_free_bytes)
            return DiskFull(_no_room(folder))
        error = error.__cause__ or error.__context__
    return None


def _no_room(folder: Path) -> str:
    elsewhere = " there, or name another folder in TMPDIR" if folder == Path(tempfile.gettempdir()) else ""
    return f"No room is left to write in {folder}; free some space{elsewhere} and try again."


def _free_bytes(folder: Path) -> float:
    with suppress(OSError):  # it is gone
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize
    return math.inf
