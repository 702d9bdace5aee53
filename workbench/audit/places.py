"""Which files an audit looks at: what was named, and all that lies in folders, near or far."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from ..errors import BadInput, Finding
from ..files import registry, remote


@dataclass(frozen=True, slots=True)
class Place:
    """A file, or a folder that is a model as a whole.

    Attributes:
        path: as it was reached; size: in bytes; changed: when, in nanoseconds; of a URL a number that differs where it
            was changed, and zeros where only reading it tells.
        finding: why it is not read, or what its place says of it; None of an ordinary one.
        read: it can be.
        one: tells it from other files, whatever its names.
    """

    path: str
    size: int = 0
    changed: int = 0
    finding: Finding | None = None
    read: bool = True
    one: tuple[int, int] | None = None

    @property
    def shown(self) -> str:
        """The path, without secrets."""
        return remote.shown(self.path) if remote.is_url(self.path) else self.path

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells whether a row of an earlier audit still stands."""
        return self.shown, self.size, self.changed


def places(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Place]:
    """Every file once: those named, those of globs (``**`` too), and those in folders, however deep; also of URLs.

    Links to files and folders inside the folder they were found in are passed over, since what they lead to is there;
    those that lead out are told and not followed. Hidden files are looked at, and told to be.

    Raises:
        BadInput: a path is no path, or a URL that nobody here reads.
    """
    seen: set[object] = set()
    for given in paths:
        path = os.fspath(given) if isinstance(given, os.PathLike) else given
        if not isinstance(path, str) or "\0" in path:
            raise BadInput(f"An audit takes paths of files and folders, not {given!r}.")
        path = remote.local(path)
        if remote.is_url(path):
            found = _or_none(path, _far(path)) if "*" in path else _far(path)
        elif os.path.lexists(path) or not glob.has_magic(path):
            found = _below(path)
        else:
            found = _or_none(path, _like(path))
        for place in found:
            one = place.one or place.path
            if not place.read or one not in seen:
                seen.add(one)
                yield place


def _or_none(pattern: str, found: Iterator[Place]) -> Iterator[Place]:
    if (first := next(found, None)) is not None:
        yield first
        yield from found
    else:
        yield _odd(pattern, "not-there", "Nothing has a name of this pattern.", "Look whether it is written right.")


def _like(pattern: str) -> Iterator[Place]:
    """What a pattern names. ``**`` is looked for below the folder before it, where no link is followed: `glob` would
    follow those that lead back for ever."""
    parts = pattern.split(os.sep)
    if "**" not in parts:
        for each in sorted(glob.iglob(pattern)):
            yield from _below(each)
        return
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    top = os.sep.join([*parts[:first], ""])
    for place in _below(top or os.curdir + os.sep):
        path = place.path if top else place.path.removeprefix(os.curdir + os.sep)
        if _fits(path[len(top) :].split(os.sep), parts[first:]):
            yield replace(place, path=path)


def _fits(names: list[str], parts: list[str]) -> bool:
    """Whether a path, name by name, is what the parts of a pattern say, or below it."""
    if not parts:
        return True
    if parts[0] == "**" and _fits(names, parts[1:]):
        return True
    if not names or (names[0].startswith(".") and not parts[0].startswith(".")):
        return False
    return (
        _fits(names[1:], parts) if parts[0] == "**" else fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])
    )


def _far(url: str) -> Iterator[Place]:
    try:
        for each, size, changed in remote.listed(url):
            yield Place(each, size, changed)
    except remote.Unreachable as error:
        says = str(error).replace(f"{remote.shown(url)} ", "It ", 1)
        yield _odd(url, "unreachable", says, "Look whether the address is right, and whether you may read it.")


def _odd(path: str, id: str, says: str, advice: str, about: os.stat_result | None = None) -> Place:
    size, changed = (about.st_size, about.st_mtime_ns) if about is not None else (0, 0)
    return Place(path, size, changed, Finding(id, "warning", "", says, advice), read=False)


def _below(top: str) -> Iterator[Place]:
    """The file, or those of the folder, in order of their names. Folders may lie very deep, so they are listed, not
    called for."""
    root = os.path.realpath(top)
    left = [top]
    while left:
        path = left.pop()
        try:
            about = os.stat(path)
        except FileNotFoundError:
            yield _odd(path, "not-there", "There is no such file.", "Look whether the name is right.")
            continue
        except OSError as error:
            yield _odd(path, "no-access", f"It cannot be reached: {error.strerror}.", "Ask whoever owns it.")
            continue
        if path != top and os.path.islink(path):
            if os.path.commonpath([root, os.path.realpath(path)]) != root:
                says = "It is a link that leads out of the folder."
                yield _odd(path, "link-outside", says, "Name what it leads to, if that should be looked at.", about)
            continue
        if not stat.S_ISDIR(about.st_mode):
            yield _file(path, about, named=path == top)
            continue
        if registry.is_model_folder(path):
            yield Place(path, about.st_size, about.st_mtime_ns, one=_one(about))
        try:
            left += sorted((os.path.join(path, name) for name in os.listdir(path)), reverse=True)
        except OSError as error:
            yield _odd(path, "no-access", f"The folder cannot be listed: {error.strerror}.", "Ask whoever owns it.")


def _file(path: str, about: os.stat_result, named: bool) -> Place:
    if not stat.S_ISREG(about.st_mode):
        return _odd(path, "no-file", "It is no regular file, but a pipe, socket or device.", "Leave it out.", about)
    finding = None
    if not named and os.path.basename(path).startswith("."):
        finding = Finding("hidden", "note", "", "Its name hides it from listings.", "Look whether it belongs here.")
    return Place(path, about.st_size, about.st_mtime_ns, finding, one=_one(about))


def _one(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino
