"""What a folder holds: listed without reading a file, then looked into file by file (`badges` does so in a worker)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import Level, UnreadableFile
from ..files.registry import is_model_folder
from ..kind import detect
from ..words import visible

MOST_ENTRIES = 2000
"""Of one list; a page with more is slow to draw, and nobody reads it."""

SEARCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a list.

    Attributes:
        name: in its folder, or the way to it from the folder searched.
        folder: it can be listed; models that are folders (SavedModel, say) are files here.
        size: bytes; None of folders, and where it is not known.
    """

    name: str
    path: str
    folder: bool
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What a file turned out to be.

    Attributes:
        badge: its kind (`workbench.kind`), ``empty``, ``damaged``, ``missing``, or ``unread`` where that took too long;
            nothing where it is no model.
        format: one of `workbench.files.formats.NAMES`; nothing where it could not be told.
        danger: the highest level of what was found in it; says: that finding, in one sentence.
        beside: what was found hangs on files beside it, too.
    """

    badge: str
    format: str = ""
    danger: Level | None = None
    says: str = ""
    beside: bool = False


def listing(folder: str | os.PathLike[str]) -> tuple[list[Entry], int]:
    """Entries of a folder, its folders first, and how many there are beyond `MOST_ENTRIES`; hidden ones do not count.

    Raises:
        UnreadableFile: it cannot be listed.
    """
    try:
        with os.scandir(folder) as scan:
            entries = [entry for entry in scan if _shown(entry.name)]
            entries.sort(key=lambda entry: (not _is_folder(entry), entry.name.lower()))
    except (OSError, ValueError) as error:  # a NUL in its name is the latter
        reason = getattr(error, "strerror", None) or error
        raise UnreadableFile(f"{folder} cannot be listed ({reason}); choose another folder.") from error
    return [_entry(entry) for entry in entries[:MOST_ENTRIES]], max(0, len(entries) - MOST_ENTRIES)


def search(folder: str | os.PathLike[str], text: str, given_up: threading.Event) -> tuple[list[Entry], bool]:
    """Entries in a folder and the folders below that have the text in their names, whatever the case.

    Returns:
        The entries, and whether all folders were seen: it ends after `SEARCH_SECONDS`, with `MOST_ENTRIES` found, or
        when `given_up` is set.
    """
    wanted, root, deadline = text.lower(), Path(folder), time.monotonic() + SEARCH_SECONDS
    matches: list[Entry] = []
    for entry in _below(str(root)):
        if len(matches) == MOST_ENTRIES or time.monotonic() > deadline or given_up.is_set():
            return matches, False
        if wanted in entry.name.lower():
            matches.append(Entry(os.path.relpath(entry.path, root), entry.path, entry.folder, entry.size))
    return matches, True


def look(path: str) -> Look:
    """What a file is, from its header. Whatever a reader runs into, it is that file's alone."""
    if not os.path.exists(path):
        return Look("missing")
    try:
        detection = detect(path)
    except Exception:
        return Look("damaged")
    worst = next(iter(detection.findings), None)
    return Look(
        detection.kind or ("empty" if detection.format == "empty" else ""),
        detection.format,
        detection.danger,
        visible(worst.says, 300, "") if worst is not None else "",
        bool((detection.components or {}).get("external_data")),
    )


def _below(folder: str) -> Iterator[Entry]:
    """Level by level, so that what lies near comes first; links to folders are not followed, they may lead round."""
    level: Iterable[str] = [folder]
    while level:
        folders = []
        for place in level:
            try:
                with os.scandir(place) as found:
                    entries = sorted(
                        (entry for entry in found if _shown(entry.name)), key=lambda entry: entry.name.lower()
                    )
            except OSError:
                continue  # one that may not be listed
            for each in entries:
                entry = _entry(each)
                yield entry
                if entry.folder and not each.is_symlink():
                    folders.append(entry.path)
        level = folders


def _entry(entry: os.DirEntry[str]) -> Entry:
    if _is_folder(entry):
        return Entry(entry.name, entry.path, not is_model_folder(entry.path))
    try:
        return Entry(entry.name, entry.path, False, entry.stat().st_size)
    except OSError:  # a link that leads nowhere
        return Entry(entry.name, entry.path, False)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _shown(name: str) -> bool:
    return not name.startswith((".", "__pycache__"))
