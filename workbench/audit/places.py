"""Which files an audit looks at: what was named, and all that lies in folders, near or far."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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
    """

    path: str
    size: int = 0
    changed: int = 0
    finding: Finding | None = None
    read: bool = True

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
    seen: set[tuple[int, int]] = set()
    urls: set[str] = set()
    for given in paths:
        path = os.fspath(given)
        if not isinstance(path, str) or "\0" in path:
            raise BadInput(f"An audit takes paths of files and folders, not {given!r}.")
        path = remote.local(path)
        if remote.is_url(path):
            for place in _far(path):
                if place.path not in urls:
                    urls.add(place.path)
                    yield place
            continue
        found = (
            [path] if os.path.lexists(path) or not glob.has_magic(path) else sorted(glob.iglob(path, recursive=True))
        )
        if not found:
            yield _odd(path, "not-there", "Nothing has a name of this pattern.", "Look whether it is written right.")
        for each in found:
            for place in _below(each):
                if place.read:
                    about = os.stat(place.path)
                    if (one := (about.st_dev, about.st_ino)) in seen:
                        continue
                    seen.add(one)
                yield place


def _far(url: str) -> Iterator[Place]:
    try:
        for each, size, changed in remote.listed(url):
            yield Place(each, size, changed)
    except remote.Unreachable as error:
        yield _odd(
            url,
            "unreachable",
            str(error).replace(f"{remote.shown(url)} ", "It ", 1),
            "Look whether the address is right, and whether you may read it.",
        )


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
            yield Place(path, about.st_size, about.st_mtime_ns)
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
    return Place(path, about.st_size, about.st_mtime_ns, finding)
