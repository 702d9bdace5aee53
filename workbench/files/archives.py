"""What probes look into: an archive's listing, a text's beginning, a message's fields."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from .pickled import MAX_MARKERS, WINDOW
from .unpack import Window
from .wire import Buffer, Span, StepsSpent, Wire

MAX_DIRECTORY = 1 << 21
"""Bytes of a zip archive's list of entries: 20,000 of them, say."""


class Unlisted(Exception):
    """An archive whose entries cannot be listed; the sentence says why."""


class Archive:
    """A zip archive: the names of its first 10,000 entries, and the start of any.

    Raises:
        Unlisted: it is cut short, damaged, or lists more than can be looked through.
    """

    def __init__(self, buffer: Buffer) -> None:
        tail = bytes(buffer[-65_557:])
        end = tail.rfind(b"PK\x05\x06")
        if end < 0 or len(tail) < end + 22:
            raise Unlisted("The archive is cut short: its directory at the end is missing.")
        try:
            window = _Listing(buffer)
            self._zip = zipfile.ZipFile(window)
            window.most = WINDOW  # of a member
            self.names = [entry.filename for entry in self._zip.infolist()[:10_000]]
        except _TooMuch:
            raise Unlisted("The archive lists too many entries to be looked through.") from None
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error) as error:
            raise Unlisted(f"The archive is damaged: {error}.") from None

    def member(self, name: str) -> bytes:
        """The start of one entry, up to `WINDOW`; empty where it cannot be read."""
        try:
            if self._zip.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                return b""  # zipfile unpacks the other kinds without a bound, and no framework writes them
            with self._zip.open(name) as file:
                return file.read(WINDOW)
        except (
            zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zlib.error, KeyError,
        ):  # fmt: skip
            return b""


class _TooMuch(Exception):
    """`zipfile` wants to read more at once than a model's archive has reason for: its list of entries."""


class _Listing(Window):
    """A window for `zipfile`, which reads the list of an archive's entries whole."""

    most = MAX_DIRECTORY

    def read(self, size: int = -1) -> bytes:
        if size > self.most:
            raise _TooMuch
        return super().read(size) or b""


@dataclass(frozen=True)
class Text:
    """The beginning of a text file: decoded, and its bytes."""

    text: str
    data: bytes
    tail: bytes

    @cached_property
    def start(self) -> str:
        return self.text.lstrip()[:4096]

    @property
    def is_json(self) -> bool:
        return self.start.startswith("{")

    @cached_property
    def whole(self) -> str:
        """The beginning and the end."""
        return self.text + self.tail.decode("utf-8", "replace")


def unique(names: list[bytes]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.decode("utf-8", "replace") for name in names))[:MAX_MARKERS]


def fields_of(wire: Wire, span: Span) -> Iterator[tuple[int, int, int, Span]]:
    """`Wire.fields`, as far as there are steps."""
    with suppress(StepsSpent):
        yield from wire.fields(span)
