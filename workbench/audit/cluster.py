"""Files read on a Dask cluster, each on its worker as here: in a process that one bad file cannot take along.

A task is a list of files. Dask begins it anew where its worker is lost, and its answer comes once. Workers need the
workbench, of the same version, and see the same paths. Source: https://distributed.dask.org.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from ..errors import BadInput, WorkbenchError
from ..many import Reader
from ..words import first_line
from .look import Row, look, lost

TASK = 128
"""Files of one task: a second, about."""

CONNECTING = 10
"""Seconds for the scheduler to answer."""

ALONE = 60.0
"""Seconds that are waited for a worker where the scheduler has none."""


def rows_from(scheduler: Any, paths: Sequence[str], cancel: threading.Event) -> Iterator[tuple[str, Row]]:
    """(path, row) as they come from a Dask scheduler: its address, or a ``distributed.Client``.

    Raises:
        BadInput: it is neither, or does not answer. WorkbenchError: its workers cannot read files, or all are gone.
    """
    client, ours = _client(scheduler)
    try:
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        lists = {}
        for start in range(0, len(paths), TASK):
            future = client.submit(read, part := list(paths[start : start + TASK]), pure=False)
            lists[future.key] = part
            future.add_done_callback(done.put)
            del future
        alone = 0.0
        while lists and not cancel.is_set():
            try:
                future = done.get(timeout=0.2)
            except queue.Empty:
                alone = 0.0 if client.scheduler_info(n_workers=-1)["workers"] else alone + 0.2
                if alone > ALONE:
                    raise WorkbenchError("The Dask scheduler has no workers left: start some, and go on.") from None
                continue
            yield from zip(part := lists.pop(future.key), _answer(future, part), strict=True)
    finally:
        with suppress(Exception):  # the rows are there, whatever becomes of the workers
            client.run(end)
        if ours:
            client.close()


def _client(scheduler: Any) -> tuple[Any, bool]:
    """(a client, whether it is ours to close)."""
    try:
        from distributed import Client
    except ImportError as error:
        raise BadInput("A scheduler needs a package that is not installed here: pip install distributed.") from error
    if isinstance(scheduler, Client):
        return scheduler, False
    if not isinstance(scheduler, str):
        raise BadInput(f"A scheduler is an address, as tcp://host:8786, or a distributed.Client, not {scheduler!r}.")
    try:
        return Client(scheduler, timeout=CONNECTING, set_as_default=False), True
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"No Dask scheduler answers at {scheduler}: {first_line(error)}.") from None


def _answer(future: Any, paths: list[str]) -> list[Row]:
    from distributed import KilledWorker

    try:
        rows: list[Row] = future.result()
        return rows
    except KilledWorker:  # one after the other
        return [lost(path) for path in paths]
    except Exception as error:
        raise WorkbenchError(
            f"A Dask worker cannot read files: {first_line(error)}. It needs this version of the workbench."
        ) from error


# --- on a worker -----------------------------------------------------------------------------------------------------


class Readers:
    """A process that reads for each thread that asks."""

    def __init__(self) -> None:
        self._of: dict[int, Reader[Row]] = {}

    def read(self, paths: list[str], given_up: threading.Event | None = None) -> list[Row]:
        """The rows of files, in their order; of those that nobody came back from, `lost`."""
        rows: list[Row | None] = []
        reader = self._of.setdefault(threading.get_ident(), Reader(look, "Reading files for an audit"))
        reader.read(paths, rows.extend, given_up or threading.Event())
        rows += [None] * (len(paths) - len(rows))
        return [row or lost(path) for path, row in zip(paths, rows, strict=True)]

    def close(self) -> None:
        while self._of:
            self._of.popitem()[1].close()


_readers = Readers()


def read(paths: list[str]) -> list[Row]:
    return _readers.read(paths)


def end() -> None:
    """End the processes that read."""
    _readers.close()
