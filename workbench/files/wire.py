"""Protobuf's wire format, read in place.

A model file is mostly weights, and a length-delimited field can be stepped over without looking inside.
So questions about structure are answered by walking the wire format, a small window of the file at a time: no
schema compiler, no copy, no parsed weights. Source: https://protobuf.dev/programming-guides/encoding/.

Bytes are hostile until proven otherwise: every length is checked against its parent, every varint against
ten bytes, and reading ends when its `Steps` are spent.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeAlias, overload

from ..errors import UnreadableFile

MAX_STEPS = 6_000_000
"""For whoever needs all of a file: about 400,000 operators, a few seconds of work."""

MAX_TEXT = 1 << 16
"""Bytes kept of one string: names are short, and a doc_string can be a gigabyte of somebody's joke."""

MAX_TEXTS = 1 << 26
"""Bytes kept of all strings together."""

VARINT, I64, LEN, I32 = 0, 1, 2, 5

WINDOW = 1 << 13
"""Bytes fetched at a time."""

_SHORT = 1 << 9
"""Bytes of a message that is read at once."""

_LONGEST = 20
"""Bytes of the longest field head: two varints."""

Span: TypeAlias = tuple[int, int]
"""Start and stop of a field's payload within the buffer."""


class WireError(UnreadableFile):
    """The bytes are not a well-formed protobuf message."""


class StepsSpent(WireError):
    """There is more in the file than the steps allow for; what was read until then is sound."""


class Steps:
    """What is left of the work that one question may cost: fields, strings, operators, whatever is looked at.

    Counted and not timed, so that a file gets the same answer on every machine and on every day. A step is about half
    a microsecond; what costs more counts as several.
    """

    __slots__ = ("left",)

    def __init__(self, left: int = MAX_STEPS) -> None:
        self.left = left


class FileBytes:
    """A file's bytes, fetched where they are asked for.

    Not a memory map: a page of a map can cost 2 MiB of resident memory, and a file cut short under one kills the
    process. Here it is bytes that are missing, which readers check for anyway.
    """

    __slots__ = ("_descriptor", "_size")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    def __getitem__(self, key: int | slice) -> int | bytes:
        if isinstance(key, int):
            return os.pread(self._descriptor, 1, key if key >= 0 else self._size + key)[0]
        start, stop, _ = key.indices(self._size)
        parts = []
        while start < stop and (part := os.pread(self._descriptor, stop - start, start)):
            parts.append(part)  # one call gives 2 GiB at most
            start += len(part)
        return b"".join(parts)


class Far(Protocol):
    """Bytes that take long to come; see `workbench.files.ranges.RangeBytes`."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    def near(self, start: int, least: int) -> bytes:
        """So many bytes at least, unless the file ends; more where they are at hand."""


Buffer: TypeAlias = "FileBytes | Far | mmap.mmap | bytes | memoryview"


class Wire:
    """A buffer of protobuf bytes and what is left of the steps to read them with.

    Args:
        buffer: the bytes.
        steps: what reading takes its steps from; `MAX_STEPS` if None.
    """

    __slots__ = ("_base", "_safe", "_window", "buffer", "steps", "text_left")

    def __init__(self, buffer: Buffer, steps: Steps | None = None) -> None:
        self.buffer = buffer
        self.steps = Steps() if steps is None else steps
        self.text_left = MAX_TEXTS
        self._window, self._base, self._safe = b"", 0, -1

    def __len__(self) -> int:
        return len(self.buffer)

    @property
    def span(self) -> Span:
        """The whole buffer as a span."""
        return 0, len(self.buffer)

    def fields(self, span: Span) -> Iterator[tuple[int, int, int, Span]]:
        """Walk one message.

        Yields:
            (field number, wire type, value, span). `value` is the varint for wire type 0, else 0.
            `span` is the payload of a length-delimited or fixed field; for a varint, its own bytes.

        Raises:
            WireError: truncated or malformed bytes.
            StepsSpent: a step for the message and each of its fields is more than there are.
        """
        pos, end = span
        steps = self.steps
        steps.left -= 1
        while pos < end:
            steps.left -= 1
            if steps.left < 0:
                raise StepsSpent(f"there is more in it than is looked at here: nothing is read from byte {pos:,} on")
            at = pos - self._base
            if not 0 <= at <= self._safe:
                self._fetch(pos)
                at = 0
            window = self._window  # afresh each time: nested walks move it
            key = window[at]
            at += 1
            if key > 0x7F:
                key, at = self._head(window, at - 1)
            number, kind = key >> 3, key & 7
            if not 0 < number < 1 << 29:
                raise WireError(f"damaged at byte {pos:,}: field number {number}")
            value = 0
            if kind == LEN:
                size = window[at]
                at += 1
                if size > 0x7F:
                    size, at = self._head(window, at - 1)
                start = self._base + at
                stop = start + size
                if stop > end:
                    raise WireError(
                        f"cut short at byte {start:,}: {size:,} bytes announced, {max(0, end - start):,} left"
                    )
            elif kind == VARINT:
                start = self._base + at
                value = window[at]
                at += 1
                if value > 0x7F:
                    value, at = self._head(window, at - 1)
                stop = self._base + at
            elif kind in (I32, I64):
                start = self._base + at
                stop = start + (4 if kind == I32 else 8)
            else:
                raise WireError(f"damaged at byte {pos:,}: wire type {kind}")
            if stop > end:
                raise WireError(f"cut short at byte {end:,}: a number does not end")
            yield number, kind, value, (start, stop)
            pos = stop

    def _fetch(self, pos: int, least: int = _LONGEST) -> None:
        """Move the window to `pos`. Zeros stand behind the end: a field reaching into them is found too long."""
        near = getattr(self.buffer, "near", None)
        window = bytes(self.buffer[pos : pos + WINDOW]) if near is None else near(pos, 2 * least)
        goes_on = len(window) >= (WINDOW if near is None else 2 * least)
        self._base = pos
        self._safe = len(window) - (_LONGEST if goes_on else 1)
        self._window = window if goes_on else window + bytes(_LONGEST)
        if not window:
            raise WireError(f"cut short at byte {pos:,}: the file ends there")

    def _head(self, window: bytes, at: int) -> tuple[int, int]:
        """A varint of more than one byte within the window: (value, next place)."""
        value = shift = 0
        for shift in range(0, 70, 7):
            byte = window[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                self.steps.left -= 1 + (shift >> 4)
                return value & 0xFFFF_FFFF_FFFF_FFFF, at
        raise WireError(f"damaged at byte {self._base + at:,}: a number does not end")

    def within(self, span: Span, number: int) -> Iterator[Span]:
        """Each length-delimited field of this number in a message."""
        return (inner for field, kind, _, inner in self.fields(span) if field == number and kind == LEN)

    def copied(self, number: int, kind: int, span: Span) -> bytes:
        """A field as it stands in the file, key and all."""
        payload = self.data(span)
        return delimited(number, payload) if kind == LEN else encode_varint(number << 3 | kind) + payload

    def data(self, span: Span, limit: int | None = None) -> bytes:
        """Copy of a span's bytes, at most `limit` of them."""
        start, stop = span
        return bytes(self.buffer[start : stop if limit is None else min(stop, start + limit)])

    def text(self, span: Span, limit: int = MAX_TEXT) -> str:
        """A string field; longer than `limit` bytes it is cut and ends in an ellipsis."""
        start, stop = span
        size = stop - start
        self.steps.left -= 1
        at = start - self._base
        if size > limit:
            text = self.data(span, limit).decode("utf-8", "replace") + "…"
        elif at >= 0 and at + size <= len(self._window):  # mostly it stands beside the field just read
            text = self._window[at : at + size].decode("utf-8", "replace")
        else:
            text = self.data(span).decode("utf-8", "replace")
        # One sign outside ASCII, and Python keeps every letter of the string in up to four bytes.
        self.text_left -= len(text) if text.isascii() else 4 * len(text)
        if self.text_left < 0:
            raise StepsSpent(f"it holds more than {MAX_TEXTS >> 20} MiB of names and descriptions by byte {start:,}")
        return text

    def strings(self, span: Span, into: dict[int, list[str]]) -> bool:
        """What `fields` and `text` give of a short message with short strings alone, in half their time.

        Args:
            span: the message.
            into: field number -> where its strings are put.

        Returns:
            Whether it is such a message, with none but these fields; if not, a part of them may have been put there.
        """
        start, stop = span
        if stop - start > _SHORT:
            return False
        if start < self._base or stop > self._base + len(self._window):
            self._fetch(start, stop - start)
        window, at, end = self._window, start - self._base, stop - self._base
        if end > len(window):
            return False  # the file ends before
        # Decoded at once where every letter is one byte.
        plain = window[at:end].decode("ascii") if window[at:end].isascii() else ""
        self.text_left -= stop - start if plain else 4 * (stop - start)
        first, count = at, 1
        while at + 1 < end:
            head, size = window[at], window[at + 1]
            after = at + 2 + size
            if head & 0x87 != LEN or size > 0x7F or after > end or (texts := into.get(head >> 3)) is None:
                return False
            text = plain[at + 2 - first : after - first] if plain else window[at + 2 : after].decode("utf-8", "replace")
            texts.append(text)
            at = after
            count += 1
        self.steps.left -= count
        return at == end and self.steps.left >= 0 and self.text_left >= 0

    def packed(self, span: Span, most: int) -> list[int]:
        """The varints of one packed occurrence of a repeated integer field; at most `most` of them."""
        out: list[int] = []
        data, pos = self.data(span, 10 * most), 0
        size, data = len(data), data + bytes(_LONGEST)
        while pos < size and len(out) < most:
            number, pos = self._head(data, pos)
            out.append(number)
        if pos > size:
            raise WireError(f"cut short at byte {span[1]:,}: a number does not end")
        return out


def encode_varint(value: int) -> bytes:
    """A non-negative integer as a base-128 varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return encode_varint(number << 3 | LEN) + encode_varint(len(payload)) + payload


def signed(value: int) -> int:
    """An int64 or int32 field's value from its varint (two's complement over 64 bits)."""
    return value - (1 << 64) if value >> 63 else value


def stamp(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """When a file was last written, and its size: by these it is known whether it changed. None where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[FileBytes]:
    """A file's bytes, to read a little of: headers, magic numbers.

    Raises:
        UnreadableFile: missing, a folder, not a regular file, empty, or no permission.
    """
    name = os.fspath(path)
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):
            # A pipe would block in open(), a device would never end.
            raise UnreadableFile(f"{name} is not a regular file; name a model file.")
        file = open(name, "rb", buffering=0)  # noqa: SIM115, closed below
    except (OSError, ValueError) as error:
        # ValueError: a NUL byte in the name.
        reason = getattr(error, "strerror", None) or error
        raise UnreadableFile(f"{name} cannot be read: {reason}.") from error
    with file:
        if not (content := FileBytes(file.fileno())):
            raise UnreadableFile(f"{name} is empty (0 bytes); was the upload or download complete?")
        yield content
