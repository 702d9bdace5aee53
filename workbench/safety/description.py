"""A member of a zip archive, as Keras and skops read it."""

from __future__ import annotations

import io
import zipfile
import zlib

from ..errors import UnreadableFile
from ..files.unpack import Window
from ..files.wire import Buffer, Steps

UNREADABLE = (
    ValueError, LookupError, TypeError, AttributeError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error,
    UnreadableFile,
)  # fmt: skip
"""What reading a damaged or misleading archive, and JSON from it, ends in; a RecursionError is a RuntimeError."""

MOST_AT_ONCE = 1 << 26
"""Bytes of memory that a description may take where it is read in the caller's own process."""

_MOST_DIRECTORY = 1 << 20
"""Bytes of a directory read there: some 10,000 entries."""


def description(buffer: Buffer, name: str, steps: Steps | None) -> bytes | None:
    """A member that holds JSON; of several with this name the last, as for everybody who reads with `zipfile`.

    Args:
        buffer: the archive's bytes.
        name: the member.
        steps: see `Subject`. With them, None where its JSON could take more than `MOST_AT_ONCE`, which takes them all.

    Raises:
        one of `UNREADABLE`.
    """
    if steps is not None:
        end = bytes(buffer[max(0, len(buffer) - (1 << 16) - 22) :])
        if int.from_bytes(end[(start := end.rfind(b"PK\5\6") + 12) : start + 4], "little") > _MOST_DIRECTORY:
            raise ValueError("the archive lists more than a model has")
    window = io.BufferedReader(Window(buffer))
    with zipfile.ZipFile(window) as archive, archive.open(name) as member:
        if steps is None:
            return member.read()
        if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return None  # zipfile unpacks the other kinds without a bound
        data = member.read(MOST_AT_ONCE // 4)
        if member.read(1) or memory(data) > MOST_AT_ONCE:
            steps.left = -1
            return None
        return data


def memory(json: bytes) -> int:
    """Bytes that JSON could take as Python objects, at most."""
    # One character outside of ASCII makes four bytes of each of a text, which is there as a whole and in pieces.
    wide = not json.isascii() or b"\\u" in json
    brackets = json.count(b"{") + json.count(b"[")
    return len(json) * (8 if wide else 2) + 40 * json.count(b'"') + 200 * brackets + 40 * json.count(b",")
