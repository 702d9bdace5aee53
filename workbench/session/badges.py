"""What the files of a folder are, found out in a worker process of their own: a notebook's kernel stays free meanwhile,
and a file that is slow to read, or takes its reader down, costs its own badge and no other (`workbench.many`)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable

from ..many import Reader
from .folder import Look, look

IDLE_SECONDS = 60.0

MOST_KNOWN = 20_000


class Badges:
    """Reads files for whoever asks, one list at a time; a file that did not change since is not read again.

    Its worker starts with the first file to read, and ends `IDLE_SECONDS` after the last.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[object, object], Look]] = {}
        self._reading = threading.Lock()
        self._reader = Reader(look, "Reading the files of a folder")
        self._rest: threading.Timer | None = None

    def read(self, paths: Iterable[str], tell: Callable[[str, Look], object], given_up: threading.Event) -> None:
        """Tell what each file is, in this order, but for those read before, which come first.

        Args:
            tell: called in this thread.
            given_up: set it to have no more told, and the next list begun soon.
        """
        left = []
        for path in paths:
            seen = self._remembered(path)
            if seen is None:
                left.append(path)
            else:
                tell(path, seen)
        if not left:
            return
        while not self._reading.acquire(timeout=0.1):
            if given_up.is_set():
                return
        # As they are before they are read: what is written meanwhile is read again.
        asked = iter([(path, _stamps(path)) for path in left])

        def take(looks: list[Look | None]) -> None:
            for seen in looks:
                path, stamps = next(asked)
                self._remember(path, stamps, seen or Look("unread"))
                if not given_up.is_set():
                    tell(path, seen or Look("unread"))

        try:
            self._reader.read(left, take, given_up)
        finally:
            self._reading.release()
            self._rest_later()

    def close(self) -> None:
        """End the worker, unless it reads."""
        if self._reading.acquire(blocking=False):
            try:
                self._reader.close()
            finally:
                self._reading.release()

    def _rest_later(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        self._rest = threading.Timer(IDLE_SECONDS, self.close)
        self._rest.daemon = True
        self._rest.start()

    def _remembered(self, path: str) -> Look | None:
        if (known := self._known.get(path)) is None:
            return None
        (file, folder), seen = known
        now, around = _stamps(path)
        return seen if file == now and (folder == around or not seen.beside) else None

    def _remember(self, path: str, stamps: tuple[object, object], seen: Look) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[path] = stamps, seen


badges = Badges()
"""For all pickers of this process."""


def _stamps(path: str) -> tuple[object, object]:
    """What changes with the file, and with what is beside it."""
    return _stamp(path), _stamp(os.path.dirname(path))


def _stamp(path: str) -> object:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
