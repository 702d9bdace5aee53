"""External data: the files beside an ONNX model that it reads its tensors from.

A model can name any file, and show what it holds as an answer. Its data are regular files with one name, in the model's
own folder or below, reached through no link; all else is told, and refused by whoever loads the model.
Source: onnx/docs/ExternalData.md.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

from ..errors import Finding, UnreadableFile, UnsupportedModel, WorkbenchError
from ..files.header import External, Header, read_header
from ..files.wire import Steps
from ..words import counted, size, visible

MOST_MODELS, STEPS = 8, 100_000
"""Models that are looked at for whose data a file is, and steps for each: at most 0.3 s together."""

_FRESH = 2 * 10**9
"""Nanoseconds; clocks of file systems may tick in seconds."""

_UNLOADED = "Do not load it, unless you know why it asks for that file."


def findings(path: Path, header: Header, *, far: bool = False) -> tuple[Finding, ...]:
    """What is wrong with the data files that a model names; of a `far` one, with their names alone."""
    judge = _outside if far else _finding
    return tuple(found for data in header.external if (found := judge(path, data)) is not None)


def files(path: Path, header: Header) -> list[Path]:
    """The data files that are a model's own, in order of first mention."""
    verdicts = ((data, _finding(path, data)) for data in header.external)
    own = [data for data, finding in verdicts if finding is None or finding.id == "external-short"]
    return [Path(path.parent, _plain(data.location)) for data in own]


def whose(path: Path) -> str | None:
    """The end of a sentence about a data file that one of the first `MOST_MODELS` models beside it reads, of those
    whose name its own begins with before others."""
    models = _models(str(path.parent), _mark(path.parent))
    named = (path.name[:end] for end in range(len(path.name), 0, -1) if path.name[:end] in models)
    for name in islice(dict.fromkeys(chain(named, models)), MOST_MODELS):
        if path.name in _reads(str(path.parent / name), _mark(path.parent / name)):
            return f"holds weights of {visible(name)}, the model beside it: pick that file."
    return None


def _mark(path: Path) -> int:
    """Differs where a file or folder was changed: when it was, unless that is so fresh that it could be changed again
    without a difference."""
    with suppress(OSError):
        if time.time_ns() - (changed := path.stat().st_mtime_ns) > _FRESH:
            return changed
    return -time.time_ns()


@lru_cache(maxsize=16)
def _models(folder: str, mark: int) -> dict[str, None]:
    """Names of the models in a folder, in order; kept, since a folder may hold a hundred thousand."""
    with suppress(OSError):
        return dict.fromkeys(sorted(name for name in os.listdir(folder) if name.endswith(".onnx")))
    return {}


@lru_cache(maxsize=256)
def _reads(model: str, mark: int) -> tuple[str, ...]:
    with suppress(WorkbenchError):
        return read_header(model, steps=Steps(STEPS)).external_data
    return ()


def whole_size(path: Path) -> int:
    """Bytes of a file or folder, an ONNX model's with those of its data files; 0 where there is none."""
    found = [file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    if found == [path]:
        with suppress(WorkbenchError):
            found += [data for data in files(path, read_header(path, steps=Steps())) if data.is_file()]
    return sum(file.stat().st_size for file in found)


def check(path: Path) -> Header:
    """Refuse a model whose data are not its own, or not there; called before anything loads it.

    Returns:
        The model's header, read to its end.

    Raises:
        UnreadableFile: a data file is missing or too short, or the model itself is damaged.
        UnsupportedModel: a data file lies outside the model's folder, or is something else than a file of its own.
    """
    header = read_header(path, searched=1 << 62)
    refuse(path, header)
    return header


def refuse(path: Path, header: Header) -> None:
    """Raise what `check` says of a header that is read already."""
    for finding in findings(path, header):
        raise (UnsupportedModel if finding.level == "error" else UnreadableFile)(
            f"{path} is not loaded. {finding.says} {finding.advice}"
        )


def _outside(path: Path, data: External) -> Finding | None:
    if _inside(data.location, _plain(data.location)):
        return None
    says = f"{_asks(data)}, outside its own folder: a model could read any file that way."
    return Finding("external-outside", "error", data.where, says, _UNLOADED)


def _asks(data: External) -> str:
    return f"The model asks for weights in {visible(data.location, 200, '')}"


def _finding(path: Path, data: External) -> Finding | None:
    if (outside := _outside(path, data)) is not None:
        return outside
    asks, plain = _asks(data), _plain(data.location)
    step = folder = os.path.dirname(os.path.abspath(path))
    try:
        for step in _steps(folder, plain):
            mode = os.lstat(step).st_mode
            if stat.S_ISLNK(mode):
                says = f"{asks}, which leads through a link: a model could read any file that way."
                advice = "Put the data file itself in the place of the link, if you know that it belongs to the model."
                return Finding("external-link", "error", data.where, says, advice)
        found = os.lstat(step)
    except (OSError, ValueError) as error:
        reason = "which is missing" if isinstance(error, FileNotFoundError) else "which cannot be read"
        advice = f"Put that file into {visible(folder)}; both are one model."
        return Finding("external-missing", "warning", data.where, f"{asks}, {reason}.", advice)
    if not stat.S_ISREG(found.st_mode):
        says = f"{asks}, which is no regular file but {_sort(found.st_mode)}: reading it could wait for ever."
        return Finding("external-no-file", "error", data.where, says, _UNLOADED)
    if found.st_nlink > 1 and not os.path.samefile(step, path):
        says = f"{asks}, a file that has another name elsewhere (a hard link): it may be anybody's file."
        advice = "Copy the data file, and put the copy in its place, if you know that it belongs to the model."
        return Finding("external-hard-link", "error", data.where, says, advice)
    if found.st_size < data.size:
        says = (
            f"{asks}: {size(data.size)} for {counted(data.tensors, 'tensor')}, but that file holds "
            f"{size(found.st_size)}."
        )
        return Finding("external-short", "warning", data.where, says, "Copy or download it again.")
    return None


def _plain(location: str) -> str:
    return location.replace("\\", "/")


def _inside(location: str, plain: str) -> bool:
    """Whether a location is a way down from the model's folder; one that goes up and down again is not."""
    parts = plain.split("/")
    return not (
        not location or "\0" in location or plain.startswith("/") or ".." in parts
        or re.match("[A-Za-z]:", plain) or "_ORT_MEM_ADDR_" in location
    )  # fmt: skip


def _steps(folder: str, plain: str) -> Iterator[str]:
    """Every folder on the way, and the file."""
    for part in plain.split("/"):
        if part not in ("", "."):
            folder = os.path.join(folder, part)
            yield folder


def _sort(mode: int) -> str:
    names = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for test, name in names.items() if test(mode)), "a device")
