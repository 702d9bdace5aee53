"""Many files read in a worker process, one after the other: a file that is slow to read, or takes its reader down,
costs its own answer and no other."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from .errors import WorkbenchError
from .sandbox import Worker

CPU_SECONDS = 3.0
"""For one file: many times what reading a header promises."""

PATIENCE = 15.0
"""Seconds from one file to the next after which the worker ends: it hangs where nothing else reaches it."""

MEMORY_MIB = 600

MOST_WORKERS = 10
"""Lost over one list; the files then left have no answer."""

BATCH = 64

APART = 0.05
"""Seconds between messages from the worker: one for each file takes longer than to read it."""

Answer = TypeVar("Answer")


class Reader(Generic[Answer]):
    """Asks a function about files, in a worker that starts with the first one and stays until `close`.

    Args:
        function: called there with a path; importable by name, and raises nothing.
        what: what it does, for the sentences of a worker that failed.
    """

    def __init__(self, function: Callable[[str], Answer], what: str) -> None:
        self._function, self._what = function, what
        self.worker: Worker | None = None

    def read(
        self, paths: Sequence[str], tell: Callable[[list[Answer | None]], object], given_up: threading.Event
    ) -> None:
        """Tell the answers in the order of the paths, some at a time; None for a file that took too long, or the reader
        down.

        Ends early where it is given up, and after `MOST_WORKERS` lost workers.

        Args:
            tell: called in this thread.
        """
        left, lost, careful = list(paths), 0, False
        while left and lost < MOST_WORKERS and not given_up.is_set():
            batch = left[:BATCH]
            told = self._some(batch, 0 if careful else APART, tell, given_up)
            gone = told < len(batch) and not given_up.is_set()
            if gone and careful:  # every file before was told, so this one is to blame
                tell([None])
                told += 1
            careful, lost, left = gone and not careful, lost + gone, left[told:]

    def close(self) -> None:
        worker, self.worker = self.worker, None
        if worker is not None:
            worker.close()

    def _some(
        self,
        paths: list[str],
        apart: float,
        tell: Callable[[list[Answer | None]], object],
        given_up: threading.Event,
    ) -> int:
        """How many of the files were told, before the worker was lost."""
        patience, told = _Patience(given_up), 0

        def take(answers: list[Answer | None]) -> None:
            nonlocal told
            patience.renew()
            tell(answers)
            told += len(answers)

        with suppress(WorkbenchError, OSError):  # lost, or the system starts no more processes
            if self.worker is None or not self.worker.alive:
                self.worker = Worker(memory_mib=MEMORY_MIB)
            self.worker.run(each, self._function, paths, apart, progress=take, cancel=patience, what=self._what)
        return told


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


# --- the worker's side ------------------------------------------------------------------------------------------------


class _TooLong(BaseException):  # readers catch exceptions of every sort
    pass


def each(
    function: Callable[[str], Answer],
    paths: list[str],
    apart: float,
    progress: Callable[[list[Answer | None]], None],
) -> None:
    """Ask about files one by one, each within `CPU_SECONDS`, and tell of them every `apart` seconds."""
    reading, told = False, time.monotonic()
    answers: list[Answer | None] = []

    def stop(*_: object) -> None:
        if reading:
            raise _TooLong

    signal.signal(signal.SIGVTALRM, stop)
    for path in paths:
        answer: Answer | None = None
        try:
            reading = True
            signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
            answer = function(path)
            reading = False
        except _TooLong:
            reading = False
        answers.append(answer)
        if time.monotonic() >= told + apart:
            progress(answers)
            answers, told = [], time.monotonic()
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    progress(answers)
