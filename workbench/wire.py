"""Protobuf's wire format, read in place.

A model file is mostly weights, and a length-delimited field can be stepped over without looking inside.
So questions about structure are answered by walking the wire format over a memory map: no schema
compiler, no copy, no parsed weights. Source: https://protobuf.dev/programming-guides/encoding/.

Bytes are hostile until proven otherwise: every length is checked against its parent, every varint against
ten bytes, and one `Wire` reads at most `MAX_FIELDS` fields in all.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from .errors import UnreadableFile

MAX_FIELDS = 5_000_000
"""Fields read from one file before giving up: about 250,000 operators, a few seconds of work at most."""

MAX_TEXT = 1 << 16
"""Bytes kept of one string: names are short, and a doc_string can be a gigabyte of somebody's joke."""

VARINT, I64, LEN, I32 = 0, 1, 2, 5

Buffer: TypeAlias = "mmap.mmap | bytes | memoryview"
Span: TypeAlias = tuple[int, int]
"""Start and stop of a field's payload within the buffer."""


class WireError(UnreadableFile):
    """The bytes are not a well-formed protobuf message."""


class Wire:
    """A buffer of protobuf bytes and what is left of its reading budget.

    Args:
        buffer: the bytes; a memory map for files.
        max_fields: how many fields may be read through this object, over all nested messages.
    """

    __slots__ = ("buffer", "left")

    def __init__(self, buffer: Buffer, max_fields: int = MAX_FIELDS) -> None:
        self.buffer = buffer
        self.left = max_fields

    def __len__(self) -> int:
        return len(self.buffer)

    @property
    def span(self) -> Span:
        """The whole buffer as a span."""
        return 0, len(self.buffer)

    def varint(self, pos: int, end: int) -> tuple[int, int]:
        """Decode one base-128 varint at `pos`; returns (value, next position)."""
        value = shift = 0
        while pos < end:
            byte = self.buffer[pos]
            pos += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, pos
            shift += 7
            if shift > 63:
                raise WireError(f"damaged at byte {pos:,}: a number does not end")
        raise WireError(f"cut short at byte {end:,}: a number does not end")

    def fields(self, span: Span) -> Iterator[tuple[int, int, int, Span]]:
        """Walk one message.

        Yields:
            (field number, wire type, value, span). `value` is the varint for wire type 0, else 0.
            `span` is the payload of a length-delimited or fixed field; for a varint, its own bytes.

        Raises:
            WireError: truncated or malformed bytes, or the budget is used up.
        """
        buffer = self.buffer
        pos, end = span
        while pos < end:
            if self.left <= 0:
                raise WireError(f"more than {MAX_FIELDS:,} fields by byte {pos:,}: not read further")
            self.left -= 1
            key = buffer[pos]
            pos += 1
            if key > 0x7F:
                key, pos = self.varint(pos - 1, end)
            number, kind = key >> 3, key & 7
            if not 0 < number < 1 << 29:
                raise WireError(f"damaged at byte {pos:,}: field number {number}")
            if kind == LEN:
                if pos < end and buffer[pos] < 0x80:
                    size = buffer[pos]
                    pos += 1
                else:
                    size, pos = self.varint(pos, end)
                stop = pos + size
                if stop > end:
                    raise WireError(f"cut short at byte {pos:,}: {size:,} bytes announced, {end - pos:,} left")
                yield number, LEN, 0, (pos, stop)
                pos = stop
            elif kind == VARINT:
                start = pos
                value, pos = self.varint(pos, end)
                yield number, VARINT, value, (start, pos)
            elif kind in (I32, I64):
                stop = pos + (4 if kind == I32 else 8)
                if stop > end:
                    raise WireError(f"cut short at byte {pos:,}: a fixed-size number does not end")
                yield number, kind, 0, (pos, stop)
                pos = stop
            else:
                raise WireError(f"damaged at byte {pos:,}: wire type {kind}")

    def data(self, span: Span, limit: int | None = None) -> bytes:
        """Copy of a span's bytes, at most `limit` of them."""
        start, stop = span
        return bytes(self.buffer[start : stop if limit is None else min(stop, start + limit)])

    def text(self, span: Span, limit: int = MAX_TEXT) -> str:
        """A string field; longer than `limit` bytes it is cut and ends in an ellipsis."""
        start, stop = span
        text = self.data(span, limit).decode("utf-8", "replace")
        return text if stop - start <= limit else text + "…"

    def packed(self, wire_type: int, value: int, span: Span) -> list[int]:
        """The varints of one occurrence of a repeated integer field, packed or not."""
        if wire_type == VARINT:
            return [value]
        out, (pos, end) = [], span
        while pos < end:
            self.left -= 1
            if self.left <= 0:
                raise WireError(f"more than {MAX_FIELDS:,} fields by byte {pos:,}: not read further")
            number, pos = self.varint(pos, end)
            out.append(number)
        return out


def signed(value: int) -> int:
    """An int64 or int32 field's value from its varint (two's complement over 64 bits)."""
    return value - (1 << 64) if value >> 63 else value


@contextmanager
def mapped(path: str | os.PathLike[str]) -> Iterator[mmap.mmap]:
    """Memory-map a file for reading.

    Raises:
        UnreadableFile: missing, a folder, not a regular file, empty, or no permission.
    """
    name = os.fspath(path)
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):
            # A pipe would block in open(), a device would never end.
            raise UnreadableFile(f"{name} is not a regular file; name a model file.")
        with open(name, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise UnreadableFile(f"{name} is empty (0 bytes); was the upload or download complete?")
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        # ValueError: a NUL byte in the name.
        reason = getattr(error, "strerror", None) or error
        raise UnreadableFile(f"{name} cannot be read: {reason}.") from error
    with view:
        yield view
