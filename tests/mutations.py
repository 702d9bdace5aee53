"""Files made hostile at random, in ways that know their format: numbers that lie, parts that repeat, nest or are gone.

`mutate` is deterministic: the same bytes, family and seed give the same file.
"""

from __future__ import annotations

import io
import pickletools
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)
TEXTS = ("", "../" * 9 + "etc/passwd", "\x1b]0;t\x07", "‮", "<script>alert(1)</script>", "a" * 70_000, "\0", "LIF", "If")


def mutate(data: bytes, family: str, seed: int) -> bytes:
    """A hostile relative of a model file.

    Args:
        family: a key of `FAMILIES`: what is known of the format.
    """
    chance = random.Random(seed)
    ways = (_flipped, _cut, _spliced, _lying)
    way = FAMILIES[family] if chance.random() < 0.7 else chance.choice(ways)
    return way(data, chance)


def _flipped(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.choice((1, 2, 8, 64))):
        if out:
            out[chance.randrange(len(out))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(out)


def _cut(data: bytes, chance: random.Random) -> bytes:
    start, stop = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:stop] if chance.random() < 0.6 else data[:start] + data[stop:]


def _spliced(data: bytes, chance: random.Random) -> bytes:
    start, stop = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[start:stop] * chance.choice((1, 2, 30)) + data[at:]


def _lying(data: bytes, chance: random.Random) -> bytes:
    """A number of 4 or 8 bytes replaced."""
    size, letter = chance.choice(((4, "I"), (8, "Q")))
    if len(data) < size:
        return data
    at = chance.randrange(len(data) - size + 1)
    number = chance.choice(NUMBERS) & ((1 << 8 * size) - 1)
    return data[:at] + struct.pack(chance.choice("<>") + letter, number) + data[at + size :]


# --- protobuf -----------------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError


def _fields(data: bytes) -> list[tuple[int, int, bytes]] | None:
    """(number, wire type, payload) of a message; None where the bytes are none."""
    out, at = [], 0
    try:
        while at < len(data):
            key, at = _read_varint(data, at)
            kind, start = key & 7, at
            if kind == 0:
                _, at = _read_varint(data, at)
            elif kind == 2:
                size, start = _read_varint(data, at)
                at = start + size
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                return None
            if at > len(data) or key < 8:
                return None
            out.append((key >> 3, kind, data[start:at]))
    except (IndexError, ValueError):
        return None
    return out


def _written(fields: list[tuple[int, int, bytes]]) -> bytes:
    return b"".join(
        _varint(number << 3 | kind) + (_varint(len(payload)) if kind == 2 else b"") + payload
        for number, kind, payload in fields
    )


def _protobuf(data: bytes, chance: random.Random, depth: int = 0) -> bytes:
    fields = _fields(data)
    if not fields:
        return _flipped(data, chance)
    at = chance.randrange(len(fields))
    number, kind, payload = fields[at]
    if kind == 2 and depth < 8 and chance.random() < 0.75:
        fields[at] = number, kind, _protobuf(payload, chance, depth + 1)
        return _written(fields)
    way = chance.randrange(8)
    if way == 0:
        fields[at] = chance.choice((1, 2, 5, 7, 8, 11, 14, 20, 25, 1 << 28)), kind, payload
    elif way == 1:
        fields += [fields[at]] * chance.choice((1, 50, 3000))
    elif way == 2:
        del fields[at]
    elif way == 3:
        chance.shuffle(fields)
    elif way == 4 and kind == 2:
        fields[at] = number, 2, chance.choice(TEXTS).encode()
    elif way == 5:
        fields[at] = number, 0, _varint(chance.choice(NUMBERS))
    elif way == 6 and kind == 2:
        for _ in range(chance.choice((3, 45, 600))):
            if len(payload) > 200_000:
                break
            payload = _varint(number << 3 | 2) + _varint(len(payload)) + payload
        fields[at] = number, 2, payload
    else:
        whole = _written(fields)
        return whole[: -1 - chance.randrange(min(9, len(whole)))]
    return _written(fields)


# --- zip, pickle, HDF5 ------------------------------------------------------------------------------------------------


def _zip(data: bytes, chance: random.Random) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    except (zipfile.BadZipFile, OSError, NotImplementedError, zlib.error):
        return _flipped(data, chance)
    at = chance.randrange(len(members))
    name, content = members[at]
    way = chance.randrange(6)
    if way <= 2 and content:
        inner = _text if content[:1] in b"{[" else _pickle if content[:1] == b"\x80" else _flipped
        members[at] = name, inner(content, chance)
    elif way == 3:
        members.append((name, chance.choice(members)[1]))
    elif way == 4:
        members[at] = chance.choice(TEXTS)[:60_000] + name, content
    else:
        members += [(f"{name}{index}", b"") for index in range(chance.choice((1, 5000)))]
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", chance.choice((0, 8))) as archive:
        warnings.simplefilter("ignore")  # names given twice are the point
        for name, content in members:
            archive.writestr(name.partition("\0")[0] or "x", content)  # `zipfile` writes no empty names
    return out.getvalue()


def _text(data: bytes, chance: random.Random) -> bytes:
    way = chance.randrange(4)
    if way == 0:
        words = [word for word in data.split(b'"') if word.isalnum()] or [b"x"]
        other = chance.choice(TEXTS).encode("unicode_escape").replace(b"\\x", b"\\u00")
        return data.replace(b'"' + chance.choice(words) + b'"', b'"' + other + b'"', 1)
    if way == 1:
        at = data.find(b"{", chance.randrange(len(data)))
        return data[:at] + b'{"a":' * 3000 + data[at:]
    return _flipped(data, chance) if way == 2 else _spliced(data, chance)


_OPCODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]


def _pickle(data: bytes, chance: random.Random) -> bytes:
    try:
        places = [place for _, _, place in pickletools.genops(data) if place is not None]
    except Exception:  # arrays stand between the opcodes of joblib
        places = list(range(min(len(data), 200)))
    at = chance.choice(places or [0])
    way = chance.randrange(5)
    if way == 0:
        code = chance.choice(
            (b"cos\nsystem\n(S'true'\ntR", b"\x8c\x02os\x8c\x06system\x93", b"}b", b"\x81", b"R", b"o")
        )
        return data[:at] + code + data[at:]
    if way == 1:
        return data[:at] + chance.choice(_OPCODES) * chance.choice((1, 3, 5000)) + data[at:]
    if way == 2:
        return data[:at] + b"2" * chance.choice((1, 60)) + b"(" * chance.choice((1, 9000)) + data[at:]
    if way == 3:
        return data[:at] + struct.pack("<BI", 0x72, chance.choice((0, 1 << 20, (1 << 32) - 1))) + data[at:]
    return _flipped(data, chance)


def _hdf5(data: bytes, chance: random.Random) -> bytes:
    """Its structures begin with four letters; what follows them is lengths and addresses."""
    signs = [b"TREE", b"HEAP", b"SNOD", b"GCOL", b"OHDR", b"FRHP", b"\x89HDF"]
    places = [at for sign in signs if (at := data.find(sign)) >= 0]
    if not places:
        return _flipped(data, chance)
    at = chance.choice(places) + chance.randrange(4, 48)
    return data[:at] + struct.pack("<Q", chance.choice(NUMBERS)) + data[at + 8 :]


FAMILIES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "protobuf": _protobuf, "zip": _zip, "pickle": _pickle, "hdf5": _hdf5, "plain": _lying,
}  # fmt: skip
