"""What the files of a folder are, found out in a worker process of their own: a notebook's kernel stays free meanwhile,
and a file that is slow to read, or takes its reader down, costs its own badge and no other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from ..errors import WorkbenchError
from ..sandbox import Worker
from .folder import Look, look

CPU_SECONDS = 3.0
"""For one file: many times what `detect` promises."""

PATIENCE = 15.0
"""Seconds from one file to the next after which the worker ends: it hangs where nothing else reaches it."""

IDLE_SECONDS = 60.0

MEMORY_MIB = 600

MOST_WORKERS = 10
"""Lost over one list; the files then left have no badge."""

MOST_KNOWN = 20_000

_BATCH = 64

_APART = 0.05
"""Seconds between messages from the worker: one for each file takes longer than to read it."""


class Badges:
    """Reads files for whoever asks, one list at a time; a file that did not change since is not read again.

    Its worker starts with the first file to read, and ends `IDLE_SECONDS` after the last.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[object, object], Look]] = {}
        self._reading = threading.Lock()
        self._worker: Worker | None = None
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
        try:
            lost, careful = 0, False
            while left and lost < MOST_WORKERS and not given_up.is_set():
                batch = left[:_BATCH]
                told = self._read_some(batch, 0 if careful else _APART, tell, given_up)
                gone = told < len(batch) and not given_up.is_set()
                if gone and careful:  # every file before was told, so this one is to blame
                    self._remember(batch[told], _stamps(batch[told]), Look("unread"))
                    tell(batch[told], Look("unread"))
                    told += 1
                careful, lost, left = gone and not careful, lost + gone, left[told:]
        finally:
            self._reading.release()
            self._rest_later()

    def close(self) -> None:
        """End the worker, unless it reads."""
        if self._reading.acquire(blocking=False):
            try:
                worker, self._worker = self._worker, None
                if worker is not None:
                    worker.close()
            finally:
                self._reading.release()

    def _read_some(
        self, paths: list[str], apart: float, tell: Callable[[str, Look], object], given_up: threading.Event
    ) -> int:
        """How many of the files were told, before the worker was lost."""
        # As they are before they are read: what is written meanwhile is read again.
        patience, stamps, told = _Patience(given_up), [_stamps(path) for path in paths], 0

        def take(looks: list[Look]) -> None:
            nonlocal told
            patience.renew()
            for seen in looks:
                self._remember(paths[told], stamps[told], seen)
                if not given_up.is_set():
                    tell(paths[told], seen)
                told += 1

        with suppress(WorkbenchError, OSError):  # lost, or the system starts no more processes
            if self._worker is None or not self._worker.alive:
                self._worker = Worker(memory_mib=MEMORY_MIB)
            self._worker.run(
                look_at, paths, apart, progress=take, cancel=patience, what="Reading the files of a folder"
            )
        return told

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


class _Patience(threading.Event):
    """Set when it ends: with a file that takes too long, or soon when its list is not wanted any more."""

    def __init__(self, given_up: threading.Event) -> None:
        super().__init__()
        self._given_up = given_up
        self.renew()

    def renew(self) -> None:
        self._since = time.monotonic()

    def is_set(self) -> bool:
        return time.monotonic() > self._since + (0.3 if self._given_up.is_set() else PATIENCE)


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


# --- the worker's side ------------------------------------------------------------------------------------------------


class _TooLong(BaseException):  # readers catch exceptions of every sort
    pass


def look_at(paths: list[str], apart: float, progress: Callable[[list[Look]], None]) -> None:
    """Look at files one by one, each within `CPU_SECONDS`, and tell of them every `apart` seconds."""
    reading, looks, told = False, list[Look](), time.monotonic()

    def stop(*_: object) -> None:
        if reading:
            raise _TooLong

    signal.signal(signal.SIGVTALRM, stop)
    for path in paths:
        try:
            reading = True
            signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
            seen = look(path)
            reading = False
        except _TooLong:
            reading, seen = False, Look("unread")
        looks.append(seen)
        if time.monotonic() >= told + apart:
            progress(looks)
            looks, told = [], time.monotonic()
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    progress(looks)
