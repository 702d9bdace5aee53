"""Before a file that can run code is opened: a private copy, a scan in a worker process, and a refusal or not."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from ..errors import NeedsTrust, UnreadableFile, WorkbenchError
from ..files import registry
from ..files.formats import identify
from ..files.records import Format
from ..scratch import disk_full, fleeting_folder
from ..words import first_line
from . import scan

SCAN_MIB = 4000
"""Memory for a scan."""

_BLOCK = 1 << 22


@contextmanager
def cleared(path: Path, trust: bool, known: tuple[str, ...] = ()) -> Iterator[Path]:
    """What to open in place of `path`: itself where it is trusted and its name fits its content; else a private copy,
    which nobody can change between the scan and the opening. Sentences that are raised within name `path` itself.

    Raises:
        NeedsTrust: it can run code, and is not trusted; the message says what a scan found.
    """
    if trust and path.suffix == (registry.of(identify(path).name).suffix or path.suffix):
        yield path
        return
    with fleeting_folder("workbench-open-") as scratch:
        copy, _, size = private_copy(path, scratch, None)
        copy = named_for_its_loader(copy, identify(copy))
        if not trust:
            check_trust(copy, str(path), size, known)
        with known_as(copy, path):
            yield copy


@contextmanager
def known_as(copy: Path, path: Path) -> Iterator[None]:
    """Sentences that are raised within name a private copy as what it is a copy of."""
    try:
        yield
    except WorkbenchError as error:
        said = str(error).replace(str(copy), str(path)).replace(copy.name, path.name)
        error.args = (said, *error.args[1:])
        raise


def objects_in(path: Path, trust: bool) -> dict[str, Any]:
    """The classes and functions that a Python file defines, by name. The file is run.

    Raises:
        NeedsTrust: it is not trusted.
        UnreadableFile: it cannot be read, or fails.
    """
    if not trust:
        raise NeedsTrust(
            f"{path} is Python code, which runs when its classes are taken from it. If you know where it comes from, "
            "say so with trust=True (--trust)."
        )
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path, loader=SourceFileLoader(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise UnreadableFile(f"{path} was to define classes, and fails as Python code: {said}.") from error
    found = {key: value for key, value in vars(module).items() if getattr(value, "__module__", None) == name}
    if not found:
        raise UnreadableFile(f"{path} was to define classes, and defines no class and no function.")
    return found


def check_trust(
    copy: Path,
    name: str,
    size: int,
    known: tuple[str, ...] = (),
    cancel: threading.Event | None = None,
    timeout: float | None = None,
    since: float | None = None,
) -> None:
    """Scan a private copy of what a person calls `name`, in a worker.

    Args:
        timeout, since: as for `workbench.sandbox.run`, where the caller gives less time than the size calls for.

    Raises:
        NeedsTrust: opening it can run code; the message says what was found, and `NeedsTrust.scan` holds all of it.
    """
    from .. import sandbox

    # Pickles are read at about 100 MB a second, unpacked at 30; what takes much longer was made to.
    seconds = min(60 + size / 5e6, math.inf if timeout is None else timeout)
    found = sandbox.run(scan, copy, name, known, timeout=seconds, since=since, memory_mib=SCAN_MIB, cancel=cancel,
                        warm=True, what=f"Scanning {name}")  # fmt: skip
    if found.runs_code:
        raise NeedsTrust(found.refusal, found)


def private_copy(path: Path, scratch: Path, cancel: threading.Event | None) -> tuple[Path, str, int]:
    """Copy a file or folder, read once.

    Returns:
        (the copy, SHA-256 of what was copied, bytes). A folder's is over its files' names and digests.

    Raises:
        UnreadableFile: it cannot be read. DiskFull: the copy has no room. Cancelled: `cancel` was set.
    """
    from ..sandbox import Cancelled

    def one(source: Path, target: Path) -> tuple[str, int]:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with source.open("rb") as read, target.open("wb") as write:
            while block := read.read(_BLOCK):
                if cancel is not None and cancel.is_set():
                    raise Cancelled("The conversion was cancelled.")
                digest.update(block)
                write.write(block)
                size += len(block)
        return digest.hexdigest(), size

    copy = scratch / "source" / (path.name or "model")
    try:
        if not path.is_dir():
            return copy, *one(path, copy)
        digest, total = hashlib.sha256(), 0
        for source in sorted(entry for entry in path.rglob("*") if entry.is_file()):
            inside = source.relative_to(path)
            part, size = one(source, copy / inside)
            digest.update(f"{inside.as_posix()}\0{part}\n".encode())
            total += size
        return copy, digest.hexdigest(), total
    except OSError as error:
        unreadable = UnreadableFile(f"{path} cannot be read: {error.strerror or error}.")
        raise disk_full(error, scratch.parent) or unreadable from error


def named_for_its_loader(copy: Path, content: Format) -> Path:
    """The private copy under the extension of its content. Keras goes by the extension alone: it would not open a
    file without one, and would read a file that is both an archive and HDF5 as the one that was not looked into."""
    suffix = registry.of(content.name).suffix or copy.suffix
    return copy if copy.suffix == suffix else copy.rename(copy.with_name((copy.stem[:200] or "model") + suffix))
