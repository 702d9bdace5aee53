"""What is in a zip archive, read past what readers disagree about.

A wrong checksum, a flag that says encrypted, a name that differs between a member and the directory: `zipfile` refuses
such members, and PyTorch reads them. So members are read here from where the directory says they are, and where an
archive is not one plain row of members, every place that looks like one is looked at, too.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from ..files.pickle_walk import Budget, Damaged
from ..files.unpack import Window, inflated
from ..files.wire import Buffer

_LOCAL = b"PK\x03\x04"
_HEADER = struct.Struct("<4s5H3I2H")
_BLOCK = 1 << 22

_STEPS = 20
"""What a member costs of a budget, in opcodes of a pickle."""

_DESCRIPTOR = 24
"""Bytes that may stand behind a member: its sizes once more. A member of its own needs 30."""


@dataclass(frozen=True)
class Member:
    """A member of an archive: its name, where its bytes are, and how they are packed (0 not at all, 8 deflate)."""

    name: str
    start: int
    stop: int
    method: int
    listed: bool = True

    def opened(self, buffer: Buffer, budget: Budget) -> io.BufferedReader:
        """Its bytes, unpacked. Raises `Damaged` where they are packed in a way that no framework writes."""
        if self.method == zipfile.ZIP_STORED:
            return io.BufferedReader(Window(buffer, self.start, self.stop))
        if self.method == zipfile.ZIP_DEFLATED:
            return inflated(buffer, self.start, self.stop, budget)
        raise Damaged


def members(buffer: Buffer, start: int, stop: int, budget: Budget) -> Iterator[Member]:
    """The members of the archive in this part of a buffer, and whatever else in it looks like one.

    Raises:
        Damaged: it has no readable directory, behind what could be found.
    """
    listed: list[zipfile.ZipInfo] = []
    plain = damaged = False
    end = bytes(buffer[max(start, stop - 65_557) : stop])
    if (at := end.rfind(b"PK\x05\x06")) >= 0 and len(end) >= at + 22:
        budget.step(struct.unpack_from("<I", end, at + 12)[0] // 12)  # of its directory, which `zipfile` reads whole
    try:
        archive = zipfile.ZipFile(io.BufferedReader(Window(buffer, start, stop)))
        listed = archive.infolist()
        plain = _in_one_row(buffer, start, stop, listed, archive.start_dir)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error, OverflowError):
        damaged = True
    for info in listed:
        budget.step(_STEPS)
        found = _at(buffer, start + info.header_offset, stop)
        if found is None:
            damaged = True
            continue
        behind = min(stop, found.start + info.compress_size)
        yield Member(info.filename, found.start, behind, info.compress_type)
        if found.name != info.filename or found.method != info.compress_type:
            yield Member(found.name, found.start, behind, found.method)
    if not plain:
        known = {info.header_offset for info in listed}
        for offset in _headers(buffer, start, stop, budget):
            if offset - start not in known and (found := _at(buffer, offset, stop)):
                yield found
    if damaged:
        raise Damaged


def _at(buffer: Buffer, offset: int, stop: int) -> Member | None:
    """The member whose header is here."""
    head = bytes(buffer[offset : offset + _HEADER.size]) if 0 <= offset <= stop - _HEADER.size else b""
    if not head.startswith(_LOCAL):
        return None
    *_, method, _, _, _, size, _, name, extra = _HEADER.unpack(head)
    start = offset + _HEADER.size + name + extra
    text = bytes(buffer[offset + _HEADER.size : offset + _HEADER.size + min(name, 1000)]).decode("utf-8", "replace")
    return Member(text, start, stop if size in (0, 0xFFFF_FFFF) else min(stop, start + size), method, listed=False)


def _headers(buffer: Buffer, start: int, stop: int, budget: Budget) -> Iterator[int]:
    """Wherever four bytes say that a member begins."""
    while start < stop:
        block = bytes(buffer[start : min(stop, start + _BLOCK + 3)])
        budget.unpack(len(block) >> 3)  # searching is quick
        at = block.find(_LOCAL)
        while at >= 0:
            budget.step(_STEPS)
            yield start + at
            at = block.find(_LOCAL, at + 1)
        start += _BLOCK


def _in_one_row(buffer: Buffer, start: int, stop: int, listed: list[zipfile.ZipInfo], directory: int) -> bool:
    """Whether members, directory and end follow each other from first byte to last, so that nothing can hide."""
    end = bytes(buffer[stop - 22 : stop])
    if not end.startswith(b"PK\x05\x06") or struct.unpack_from("<H", end, 20) != (0,):
        return False
    size, said = struct.unpack_from("<II", end, 12)
    behind = stop - start - 22
    locator = bytes(buffer[stop - 42 : stop - 22])
    if locator.startswith(b"PK\x06\x07"):  # the longer form, for archives of more than 4 GiB: PyTorch writes it always
        behind = struct.unpack_from("<Q", locator, 8)[0]
        size, said = struct.unpack_from("<QQ", bytes(buffer[start + behind : start + behind + 56]).ljust(56), 40)
    if said != directory or directory + size != behind:
        return False
    at = 0
    for info in sorted(listed, key=lambda info: info.header_offset):
        found = _at(buffer, start + info.header_offset, stop)
        if found is None or not at <= info.header_offset <= at + _DESCRIPTOR:
            return False
        at = found.start - start + info.compress_size
    return at <= directory <= at + _DESCRIPTOR
