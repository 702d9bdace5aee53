"""A folder of model files, one verdict each: `audit`.

Each file is read by `look.py` in worker processes that one bad file cannot take along; `places.py` says which files,
`policy.py` what is allowed, `exports.py` writes what came of it for other tools.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..errors import LEVELS, BadInput, Finding
from ..files import remote
from ..sandbox import Cancelled
from .cluster import Readers, rows_from
from .look import Row, look
from .places import Place, places
from .policy import Policy, read_policy
from .result import Audit as Audit

Progress = Callable[[str], object]

AHEAD = 64
"""Files that a worker is handed at once, at most: they take a tenth of a second, where they are near."""


def audit(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    policy: str | os.PathLike[str] | Policy | None = None,
    sha256: bool = False,
    results: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    scheduler: Any = None,
    tell: Callable[[Row], object] | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Audit:
    """Look at every file there is, by its header, and say what each is and what to mind about it.

    Nothing is run from a file and no weights are read, but where two files have one size or `sha256` is asked for.

    Args:
        paths: files, folders, globs; and URLs of them that fsspec reads (``https://``, ``s3://``, ``gs://``, ``az://``,
            ``hf://``, ``zip://`` …), of which the headers are fetched alone. Passwords and queries of URLs, which may
            be signatures, stand in no row.
        policy: what is allowed, a TOML file as `workbench.audit.policy.read_policy` takes it.
        sha256: of every file, which reads all of it.
        results: a file of JSON lines to which each row is added as it comes, and from which those stand that an earlier
            audit wrote about the same path, size and time of change: one that was interrupted goes on.
        workers: processes; one per core if None.
        scheduler: the address of a Dask scheduler, or a ``distributed.Client``: files are read there, where the same
            paths must be seen.
        tell: called with each row as it comes, in this thread. Duplicates and policy are known at the end only.
        progress: called in this thread with one short sentence now and then.
        cancel: set it from another thread to give up.

    Raises:
        BadInput: no paths, a policy that is none, a file of results that holds something else, a URL or scheduler that
            nobody here can ask.
        Cancelled: it was given up; `results` holds what was done.
    """
    given = list(paths) if isinstance(paths, Iterable) and not isinstance(paths, str | bytes | os.PathLike) else [paths]
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise BadInput(f"An audit takes 1 worker or more, not {workers!r}.")
    if not given:
        raise BadInput("An audit needs files or folders: audit('models').")
    rules = policy if isinstance(policy, Policy) or policy is None else read_policy(policy)
    say = progress or (lambda message: None)
    cancel = cancel or threading.Event()
    with _Results(results) as kept:
        found: list[Place] = []
        for place in places(given):
            found.append(place)
            if cancel.is_set():
                raise Cancelled("The audit was cancelled.")
            if len(found) % 1000 == 0:
                say(f"Found {len(found):,} files")
        rows: dict[str, Row] = {}
        left = []
        for place in found:
            row = kept.row(place) if place.read else Row(place.shown, place.size, place.changed)
            if row is None:
                left.append(place)
            else:
                rows[place.path] = row
        reading = _read([place.path for place in left], workers or len(os.sched_getaffinity(0)), scheduler, cancel)
        for count, (path, row) in enumerate(reading, 1):
            rows[path] = row
            kept.add(row)
            if tell is not None:
                tell(row)
            if count % 200 == 0:
                say(f"Looked at {count:,} of {len(left):,} files")
        if cancel.is_set():
            raise Cancelled("The audit was cancelled.")
    say("Looking for duplicates")
    done = [_with_place(rows[place.path], place) for place in found]
    done = _duplicates(done, found, sha256)
    if rules is not None:
        done = [replace(row, findings=rules.applied(row)) for row in done]
    worst_first = (
        replace(row, findings=tuple(sorted(row.findings, key=lambda one: -LEVELS.index(one.level)))) for row in done
    )
    return Audit(tuple(worst_first))


def _with_place(row: Row, place: Place) -> Row:
    return row if place.finding is None else replace(row, findings=(place.finding, *row.findings))


def _read(paths: list[str], workers: int, scheduler: Any, cancel: threading.Event) -> Iterator[tuple[str, Row]]:
    """(path, row) as they come."""
    apart = []
    for path in paths:
        if not remote.here_only(path):
            apart.append(path)
        elif not cancel.is_set():
            yield path, look(path)
    if scheduler is None:
        yield from _read_here(apart, workers, cancel)
    else:
        yield from rows_from(scheduler, apart, cancel)


def _read_here(paths: list[str], workers: int, cancel: threading.Event) -> Iterator[tuple[str, Row]]:
    """Each worker process has a thread that hands it files."""
    share = max(1, min(AHEAD, len(paths) // (4 * workers) + 1))
    parts = [paths[start : start + share] for start in range(0, len(paths), share)]
    readers, given_up = Readers(), threading.Event()
    with closing(readers), ThreadPoolExecutor(min(workers, len(parts) or 1), thread_name_prefix="audit") as pool:
        left = {pool.submit(readers.read, part, given_up): part for part in parts}
        try:
            while left and not cancel.is_set():
                for future in wait(left, timeout=0.2, return_when=FIRST_COMPLETED).done:
                    yield from zip(left.pop(future), future.result(), strict=True)
        finally:
            given_up.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _duplicates(rows: list[Row], found: list[Place], every: bool) -> list[Row]:
    """Files of the same bytes are told by their digest, for which only those of one size are read, and of far ones
    none unasked; and graphs that are the same but for their weights by theirs."""
    sizes = Counter(row.size for row in rows if row.format)
    seen: dict[str, str] = {}
    graphs: dict[str, str] = {}
    out = []
    for row, place in zip(rows, found, strict=True):
        wanted = every or (sizes[row.size] > 1 and not remote.is_url(place.path))
        if row.format and not row.sha256 and row.size and wanted:
            row = replace(row, sha256=remote.sha256(place.path))
        first = seen.setdefault(row.sha256, row.path) if row.sha256 else row.path
        like = graphs.setdefault(row.structure, row.path) if row.structure and row.nodes else row.path
        if first != row.path:
            says, advice = f"It has the same bytes as {first}.", "Keep one of them."
            row = replace(
                row, duplicate_of=first, findings=(*row.findings, Finding("duplicate", "note", first, says, advice))
            )
        elif like != row.path:
            row = replace(row, same_graph_as=like)
        out.append(row)
    return out


class _Results:
    """Rows kept from one audit to the next, as JSON lines."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._path = None if path is None else Path(path)
        self._known: dict[tuple[str, int, int], Row] = {}
        self._file: Any = None

    def __enter__(self) -> _Results:
        if self._path is None:
            return self
        if self._path.exists():
            try:
                whole = self._path.read_bytes()
            except OSError as error:
                raise BadInput(
                    f"{self._path} cannot be read: {error.strerror}. Name a file for the results."
                ) from error
            for number, line in enumerate(whole.splitlines(keepends=True), 1):
                if line.endswith(b"\n") and (row := _read_row(line, self._path, number)) is not None:
                    self._known[row.path, row.size, row.changed] = row
            if whole and not whole.endswith(b"\n"):  # cut short in the middle of a line
                os.truncate(self._path, whole.rfind(b"\n") + 1)
        try:
            self._file = self._path.open("a", encoding="ascii")
        except OSError as error:
            raise BadInput(f"{self._path} cannot be written: {error.strerror}.") from error
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._file is not None:
            self._file.close()

    def row(self, place: Place) -> Row | None:
        return self._known.get(place.key)

    def add(self, row: Row) -> None:
        if self._file is not None:
            self._file.write(json.dumps(asdict(row)) + "\n")
            self._file.flush()


def _read_row(line: bytes, path: Path, number: int) -> Row | None:
    try:
        told = json.loads(line)
        told["findings"] = tuple(Finding(**finding) for finding in told["findings"])
        for name in ("deciding", "not_here", "external"):
            told[name] = tuple(told[name])
        return Row(**told)
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(
            f"{path} is no file of results: line {number} is not a row of an audit. Name another, or a new one."
        ) from error
