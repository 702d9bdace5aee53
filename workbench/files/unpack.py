"""Pickles as joblib and people compress them, unpacked a block at a time: gzip, zlib, bzip2, xz and lzma."""

from __future__ import annotations

import bz2
import io
import lzma
import re
import zlib
from collections.abc import Callable
from typing import Any

from .pickle_walk import Budget
from .wire import Buffer

LZMA_MEMORY = 80 << 20
"""Bytes that unpacking xz may hold: what its highest preset asks for, and a little. A header can ask for 4 GiB."""

_BLOCK = 1 << 16

_STREAM = 512
"""What a stream of its own costs, in bytes unpacked: a file can be a million empty ones."""

_FORMS: tuple[tuple[re.Pattern[bytes], Callable[[], Any], int], ...] = (
    (re.compile(rb"\x1f\x8b|\x78[\x01\x5e\x9c\xda]"), lambda: zlib.decompressobj(zlib.MAX_WBITS | 32), 1),
    (re.compile(rb"BZh"), bz2.BZ2Decompressor, 16),
    (re.compile(rb"\xfd7zXZ\0|\x5d\0"), lambda: lzma.LZMADecompressor(memlimit=LZMA_MEMORY), 16),
    # joblib before 0.10: the size in hexadecimal digits, then zlib.
    (re.compile(rb"ZF0x[0-9a-fA-F]{1,16}L? *"), lambda: zlib.decompressobj(zlib.MAX_WBITS), 1),
)
"""How a file begins, what unpacks it, and what a byte of it costs of a budget: bzip2 and xz are slow."""


class Window(io.RawIOBase):
    """A seekable file over a part of a buffer, without copying it."""

    def __init__(self, buffer: Buffer, start: int = 0, stop: int | None = None) -> None:
        self._buffer, self._start, self._at = buffer, start, 0
        self._size = (len(buffer) if stop is None else min(stop, len(buffer))) - start

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = (0, self._at, self._size)[whence] + offset
        if self._at < 0:
            raise OSError("seek before the start")
        return self._at

    def readinto(self, into: Any) -> int:
        start = self._start + self._at
        data = self._buffer[start : min(start + len(into), self._start + self._size)]
        into[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Unpacked(io.RawIOBase):
    """What comes out of one or more compressed streams behind each other. A stream cut short just ends."""

    def __init__(self, packed: Any, make: Callable[[], Any], budget: Budget, cost: int = 1, once: bool = False) -> None:
        self._packed, self._make, self._budget, self._cost, self._once = packed, make, budget, cost, once
        self._unpacker, self._held, self._at = make(), b"", 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def readinto(self, into: Any) -> int:
        """Raises OSError where the bytes are no such stream, `BudgetSpent` where they are too many."""
        try:
            data = self._next(len(into))
        except (zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
            raise OSError(str(error)) from None
        self._budget.unpack(self._cost * len(data))
        into[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _next(self, size: int) -> bytes:
        ended = False
        while not ended:
            if self._unpacker.eof:
                if self._once:
                    return b""
                self._held = self._unpacker.unused_data.lstrip(b"\0") or self._packed.read(_BLOCK).lstrip(b"\0")
                if not self._held:
                    return b""
                self._budget.unpack(_STREAM)
                self._unpacker = self._make()
            # bzip2 and xz keep what they could not unpack yet; zlib gives it back.
            elif not self._held and getattr(self._unpacker, "needs_input", True):
                self._held = self._packed.read(_BLOCK)
                ended = not self._held
            data: bytes = self._unpacker.decompress(self._held, size)
            self._held = getattr(self._unpacker, "unconsumed_tail", b"")
            if data:
                return data
        return b""


def compressed(head: bytes) -> bool:
    """Whether a file that begins like this is compressed in a way that `unpacked` knows."""
    return any(magic.match(head) for magic, *_ in _FORMS)


def unpacked(buffer: Buffer, budget: Budget) -> io.BufferedReader:
    """The content of a compressed file, or the file as it is where it is not compressed.

    Reading raises OSError where the file is damaged, and `BudgetSpent` where it unpacks to too much.
    """
    head = bytes(buffer[:64])
    for magic, make, cost in _FORMS:
        if found := magic.match(head):
            start = found.end() if head.startswith(b"ZF") else 0
            return io.BufferedReader(_Unpacked(Window(buffer, start), make, budget, cost), _BLOCK)
    return io.BufferedReader(Window(buffer), _BLOCK)


def inflated(buffer: Buffer, start: int, stop: int, budget: Budget) -> io.BufferedReader:
    """Bytes of a zip member that were packed with deflate."""
    raw = _Unpacked(Window(buffer, start, stop), lambda: zlib.decompressobj(-zlib.MAX_WBITS), budget, once=True)
    return io.BufferedReader(raw, _BLOCK)
