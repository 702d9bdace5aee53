"""Models without their weights, for showing: protobuf bytes in, far fewer protobuf bytes out.

A graph view needs names, types and shapes, not numbers. The copy is made at the wire level (`wire.py`): nothing is
parsed into objects, so a file over 2 GB or one whose external data is missing works, and
memory stays at the size of what is kept. Field numbers are those of ``onnx/onnx.proto`` (IR version 13) and
``tensorflow/core/framework/*.proto``.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from ..errors import UnreadableFile, UnsupportedModel
from ..files.header import MAX_DEPTH
from ..files.pickle_walk import Budget
from ..files.unpack import compressed, unpacked
from ..files.wire import I32, I64, LEN, VARINT, Buffer, Span, Wire, WireError, delimited, encode_varint, opened
from ..words import first_line
from .layouts import Flat

TENSOR_LIMIT = 1024
"""Bytes of one stored tensor up to which its numbers stay."""

LIST_LIMIT = 256
"""Elements of one attribute list up to which it stays whole."""

LIST_KEPT = 16
"""Elements kept of a longer one."""

TEXT_LIMIT = 4096
"""Bytes kept of one string: names, documentation, metadata."""

OTHER_LIMIT = 1 << 16
"""Bytes up to which a field this module does not know is copied; a longer one is left out."""

OUTPUT_LIMIT = 32 << 20
"""Bytes a slim model may have. Netron would need minutes and gigabytes for a graph this long."""


RAW_LIMIT = 512 << 20
"""Bytes of a format whose weights become zeros instead of going away, as the browser unpacks them."""


@dataclass(frozen=True, slots=True)
class Shortened:
    """An attribute that was cut: `kept` of `total` `unit` remain. Strings are as in the file: escape them."""

    node: str
    op_type: str
    attribute: str
    kept: int
    total: int
    unit: str = "values"

    def __str__(self) -> str:
        return f"{self.attribute}: first {self.kept:,} of {self.total:,} {self.unit}"

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Slim:
    """What `onnx` and its siblings return: the bytes to show, and what a reader must know is missing from them."""

    data: bytes
    shortened: tuple[Shortened, ...] = ()


def onnx(buffer: Buffer, part: Part | None = None) -> Slim:
    """An ONNX ModelProto without its weights, or a part of its main graph.

    Tensors above `TENSOR_LIMIT` bytes and external ones keep name, type and shape; attribute lists above
    `LIST_LIMIT` elements keep their first `LIST_KEPT`, which the node's doc_string then says; strings keep
    `TEXT_LIMIT` bytes.

    Raises:
        WireError: damaged bytes, or graphs nested deeper than any ONNX reader accepts.
        UnsupportedModel: more than `OUTPUT_LIMIT` bytes would remain.
    """
    copy = _Copy(buffer, _ONNX, part)
    data = copy.message("Model", copy.wire.span, 0)
    return Slim(data, tuple(copy.shortened))


@dataclass(frozen=True)
class Part:
    """Some nodes of a main graph.

    Attributes:
        gives: values that they give; reads: that they read, of which `open` come from nodes left out.
    """

    gives: frozenset[str]
    reads: frozenset[str]
    open: tuple[str, ...]


def graph_def(buffer: Buffer) -> Slim:
    """A TensorFlow GraphDef (frozen ``.pb``) without its weights; raises as `onnx`."""
    copy = _Copy(buffer, _TENSORFLOW)
    return Slim(copy.message("GraphDef", copy.wire.span, 0))


def saved_model(buffer: Buffer) -> Slim:
    """A TensorFlow ``saved_model.pb`` without constants and checkpoint bookkeeping; raises as `onnx`."""
    copy = _Copy(buffer, _TENSORFLOW)
    return Slim(copy.message("SavedModel", copy.wire.span, 0))


@dataclass(frozen=True, slots=True)
class _Message:
    """What happens to the length-delimited fields of one message type; those not named are copied if short.

    Attributes:
        nested: field -> message type it holds.
        text: fields that hold a string, cut at `TEXT_LIMIT`.
        numbers: fields that hold a tensor's numbers, left out when the tensor is big.
        external: fields that say where else the numbers are; always left out, and the numbers with them.
    """

    nested: dict[int, str] = field(default_factory=dict)
    text: frozenset[int] = frozenset()
    numbers: frozenset[int] = frozenset()
    external: frozenset[int] = frozenset()


_ENTRY = _Message(text=frozenset({1, 2}))

_ONNX = {
    "Model": _Message({7: "Graph", 14: "Entry", 20: "Training", 25: "Function"}, frozenset({2, 3, 4, 6})),
    "Training": _Message({1: "Graph", 2: "Graph", 3: "Entry", 4: "Entry"}),
    "Graph": _Message({1: "Node", 5: "Tensor", 15: "Sparse", 16: "Entry"}, frozenset({2, 10})),
    "Function": _Message({7: "Node", 11: "Attribute", 14: "Entry"}, frozenset({1, 4, 5, 6, 8, 10, 13})),
    "Node": _Message({5: "Attribute", 9: "Entry"}, frozenset({1, 2, 3, 4, 6, 7, 8})),
    "Attribute": _Message({5: "Tensor", 6: "Graph", 11: "Graph", 22: "Sparse", 23: "Sparse"}, frozenset({1, 13, 21})),
    "Tensor": _Message({16: "Entry"}, frozenset({8, 12}), frozenset({3, 4, 5, 6, 7, 9, 10, 11}), frozenset({13, 14})),
    "Sparse": _Message({1: "Tensor", 2: "Tensor"}),
    "Entry": _ENTRY,
}

_TENSORFLOW = {
    "SavedModel": _Message({2: "MetaGraph"}),
    "MetaGraph": _Message({2: "GraphDef"}),
    "GraphDef": _Message({1: "Node", 2: "Library"}),
    "Library": _Message({1: "Function"}),
    "Function": _Message({3: "Node", 5: "Attribute"}),
    "Node": _Message({5: "Attribute"}, frozenset({1, 2, 3, 4})),
    "Attribute": _Message({2: "Value"}, frozenset({1})),
    "Value": _Message({1: "List", 8: "Tensor"}, frozenset({2})),
    "List": _Message({8: "Tensor"}, frozenset({2})),
    "Tensor": _Message(numbers=frozenset({4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18})),
}

# AttributeProto's lists.
_FLOATS, _INTS, _STRINGS, _TENSORS = 7, 8, 9, 10
_BYTES = 4

# ModelProto.producer_name and producer_version: Netron refuses the whole model over an unusual letter in them.
_PRODUCER = re.compile("[^\x20-\x7e\u00c0-\u00ff\u0370-\u03ff]")

# A byte with its high bit set is followed by more of the same varint.
_CONTINUED = bytes(range(0x80, 0x100))
_WINDOW = 1 << 20
_PAYLOAD = {VARINT: rb"[\x80-\xff]{0,9}+[\x00-\x7f]", I32: rb"[\x00-\xff]{4}", I64: rb"[\x00-\xff]{8}"}


class _Copy:
    """One pass over one file."""

    def __init__(self, buffer: Buffer, schema: dict[str, _Message], part: Part | None = None) -> None:
        self.part = part
        self.wire = Wire(buffer)
        self.schema = schema
        self.shortened: list[Shortened] = []
        self.size = 0

    def message(self, name: str, span: Span, depth: int) -> bytes:
        """The slim form of one message's payload."""
        if name == "Tensor":
            return self._tensor(span, depth)
        if name == "Attribute" and self.schema is _ONNX:
            return self._attribute(span, depth)[0]
        if name == "Node" and self.schema is _ONNX:
            return self._node(span, depth)
        if name == "Graph":
            depth += 1
            if depth > MAX_DEPTH:
                raise WireError(f"graphs are nested more than {MAX_DEPTH} deep, which no ONNX reader accepts")
        rules = self.schema[name]
        out: list[bytes] = []
        part = self.part if name == "Graph" and depth == 1 else None
        for number, kind, _, inner in self.wire.fields(span):
            if part is None or self._belongs(part, number, inner):
                out.append(
                    self._field(rules, number, kind, inner, depth, producer=name == "Model" and number in (2, 3))
                )
        # What is left out is seen as an input.
        out += [self._emit(11, LEN, delimited(1, value.encode())) for value in (part.open if part else ())]
        return b"".join(out)

    def _belongs(self, part: Part, number: int, span: Span) -> bool:
        """Whether a field of the main graph is one of its part's: a node by what it gives, all else by its name."""
        names = {1: 2, 5: 8, 11: 1, 12: 1, 13: 1}
        if number not in names:
            return number in (2, 10)
        known = part.gives if number == 1 else part.gives | part.reads
        return any(self.wire.text(inner, TEXT_LIMIT) in known for inner in self.wire.within(span, names[number]))

    def _field(
        self, rules: _Message, number: int, kind: int, span: Span, depth: int, *, producer: bool = False
    ) -> bytes:
        if kind != LEN:
            return self._emit(number, kind, self.wire.data(span))
        if number in rules.nested:
            return delimited(number, self.message(rules.nested[number], span, depth))
        if number in rules.text:
            text = self._text(span)
            if producer:
                text = _PRODUCER.sub("?", text.decode("utf-8", "replace")).encode()
            return self._emit(number, LEN, text)
        if span[1] - span[0] > OTHER_LIMIT:
            return b""
        return self._emit(number, LEN, self.wire.data(span))

    def _emit(self, number: int, kind: int, payload: bytes) -> bytes:
        field = delimited(number, payload) if kind == LEN else encode_varint(number << 3 | kind) + payload
        self.size += len(field)
        if self.size > OUTPUT_LIMIT:
            raise UnsupportedModel(
                f"The model's structure alone is over {OUTPUT_LIMIT >> 20} MiB, more than a browser can draw."
            )
        return field

    def _text(self, span: Span) -> bytes:
        """A string's bytes, cut between two characters."""
        data = self.wire.data(span, TEXT_LIMIT)
        if span[1] - span[0] <= TEXT_LIMIT:
            return data
        return data.decode("utf-8", "ignore").encode() + "…".encode()

    def _tensor(self, span: Span, depth: int) -> bytes:
        rules = self.schema["Tensor"]
        big = span[1] - span[0] > TENSOR_LIMIT
        kept: list[tuple[bool, bytes]] = []
        external = False
        pos, end = span
        while pos < end:
            for number, kind, _, inner in self.wire.fields((pos, end)):
                if number in rules.external:
                    external = True
                elif number in rules.numbers:
                    if not big:
                        kept.append((True, self._emit(number, kind, self.wire.data(inner))))
                    elif kind != LEN:
                        _, pos = self._run(number, kind, inner[1], end)
                        break
                else:
                    kept.append((False, self._field(rules, number, kind, inner, depth)))
            else:
                break
        return b"".join(data for numbers, data in kept if not (numbers and external))

    def _node(self, span: Span, depth: int) -> bytes:
        """A NodeProto; what was cut from its attributes is added to its doc_string, where Netron shows it."""
        rules = self.schema["Node"]
        out: list[bytes] = []
        cut: list[tuple[str, int, int, str]] = []
        doc = b""
        texts = {3: b"", 4: b""}
        for number, kind, _, inner in self.wire.fields(span):
            if kind == LEN and number == 5:
                data, shortened = self._attribute(inner, depth)
                out.append(delimited(5, data))
                cut += shortened
                continue
            if kind == LEN and number == 6:
                doc = self._text(inner)
                continue
            if kind == LEN and number in texts:
                texts[number] = self._text(inner)
            out.append(self._field(rules, number, kind, inner, depth))
        if cut:
            name, op_type = (texts[number].decode("utf-8", "replace") for number in (3, 4))
            notes = [Shortened(name, op_type, *values) for values in cut]
            self.shortened += notes
            told = "\n".join(["Shortened for this view:", *map(str, notes)])
            doc += ("\n" if doc else "").encode() + told.encode("utf-8", "replace")
        if doc:
            out.append(self._emit(6, LEN, doc))
        return b"".join(out)

    def _attribute(self, span: Span, depth: int) -> tuple[bytes, list[tuple[str, int, int, str]]]:
        """An AttributeProto and (attribute, kept, total, unit) of what was cut from it."""
        wire, rules = self.wire, self.schema["Attribute"]
        out: list[bytes] = []
        name = ""
        lists: dict[int, _List] = {}
        cut: list[tuple[int, int, str]] = []
        pos, end = span
        while pos < end:
            for number, kind, _, inner in wire.fields((pos, end)):
                if number in (_FLOATS, _INTS, _STRINGS, _TENSORS):
                    found = lists.setdefault(number, _List())
                    if number in (_STRINGS, _TENSORS) or kind != LEN:
                        found.total += 1
                        if found.total <= LIST_LIMIT:
                            found.kept.append(self._element(number, kind, inner, depth))
                        elif kind != LEN:
                            more, pos = self._run(number, kind, inner[1], end)
                            found.total += more
                            break
                    else:
                        self._packed(number, inner, found)
                elif number == _BYTES and kind == LEN:
                    size = inner[1] - inner[0]
                    if size > TEXT_LIMIT:
                        cut.append((LIST_KEPT * 16, size, "bytes"))
                        data = wire.data(inner, LIST_KEPT * 16).decode("utf-8", "ignore").encode()
                    else:
                        data = wire.data(inner)
                    out.append(self._emit(number, LEN, data))
                else:
                    if number == 1 and kind == LEN:
                        name = wire.text(inner, TEXT_LIMIT)
                    out.append(self._field(rules, number, kind, inner, depth))
            else:
                break
        for found in lists.values():
            if found.total > LIST_LIMIT:
                del found.kept[LIST_KEPT:]
                cut.append((LIST_KEPT, found.total, "values"))
            out += found.kept
        return b"".join(out), [(name, *values) for values in cut]

    def _element(self, number: int, kind: int, span: Span, depth: int) -> bytes:
        if number == _TENSORS and kind == LEN:
            return delimited(number, self._tensor(span, depth))
        return self._emit(number, kind, self._text(span) if kind == LEN else self.wire.data(span))

    def _packed(self, number: int, span: Span, found: _List) -> None:
        """A packed list, unpacked into `found` as far as it may be kept; the rest is counted only."""
        start, end = span
        if number == _FLOATS:
            total = (end - start) // 4
            for pos in range(start, start + 4 * min(total, LIST_LIMIT - len(found.kept)), 4):
                found.kept.append(self._emit(number, I32, self.wire.data((pos, pos + 4))))
        else:
            total = _count_varints(self.wire.buffer, start, end)
            for value in self.wire.packed(span, LIST_LIMIT - len(found.kept)):
                found.kept.append(self._emit(number, VARINT, encode_varint(value)))
        found.total += total

    def _run(self, number: int, kind: int, pos: int, end: int) -> tuple[int, int]:
        """Step over unpacked elements of one field: (how many, position after).

        A tree ensemble keeps millions of them; one by one in Python they would take seconds.
        """
        if number > 15:  # a key of two bytes: no list of ours is written so
            return 0, pos
        element = b"\\x%02x" % (number << 3 | kind) + _PAYLOAD[kind]
        # Possessive: a backtracking match would keep a state per element.
        pattern = re.compile(b"(?:" + element + b")++")
        count = 0
        while match := pattern.match(self.wire.data((pos, end), _WINDOW)):
            pos += match.end()
            if kind == VARINT:
                count += len(match.group().translate(None, _CONTINUED)) // 2
            else:
                count += match.end() // (5 if kind == I32 else 9)
        return count, pos


@dataclass(slots=True)
class _List:
    """The elements of one repeated field met so far."""

    kept: list[bytes] = field(default_factory=list)
    total: int = 0


def _count_varints(buffer: Buffer, start: int, end: int) -> int:
    return sum(
        len(bytes(buffer[pos : min(pos + _WINDOW, end)]).translate(None, _CONTINUED))
        for pos in range(start, end, _WINDOW)
    )


# --- files that are not protobuf -------------------------------------------------------------------------------


def hdf5(file: str | os.PathLike[str] | IO[bytes]) -> Slim:
    """An HDF5 file with every group, attribute and data set, but no data set's numbers.

    Raises:
        UnreadableFile: not an HDF5 file.
        UnsupportedModel: too much remains.
    """
    import h5py

    out = io.BytesIO()
    try:
        with h5py.File(file, "r") as source, h5py.File(out, "w") as target:
            left = 100_000  # links may form a ring, or a billion of them a lie

            def copy(here: Any, there: Any, depth: int) -> None:
                nonlocal left
                for key, value in here.attrs.items():
                    there.attrs[key] = value
                if isinstance(here, h5py.Dataset):
                    return
                for name in here:
                    left -= 1
                    if left < 0 or depth > MAX_DEPTH:
                        raise UnsupportedModel("The HDF5 file has more groups than a graph view can draw.")
                    if not isinstance(here.get(name, getlink=True), h5py.HardLink):
                        continue  # a soft link repeats, an external one reads other files
                    item = here[name]
                    if isinstance(item, h5py.Group):
                        copy(item, there.create_group(name), depth + 1)
                    elif isinstance(item, h5py.Dataset):
                        # External and virtual data sets read other files.
                        elsewhere = item.external or item.is_virtual
                        if item.shape is None or (item.nbytes <= TENSOR_LIMIT and not elsewhere):
                            here.copy(item, there, name)
                        else:
                            copy(item, there.create_dataset(name, item.shape, item.dtype), depth)

            copy(source, target, 0)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UnreadableFile(f"The HDF5 file cannot be read: {first_line(error)}.") from error
    return _bounded(out.getvalue())


def tflite(buffer: Buffer) -> Slim:
    """A TFLite flatbuffer with zeros for weights: its offsets stay as they are, and zeros deflate to a thousandth.

    Source: ``tensorflow/compiler/mlir/lite/schema/schema.fbs``.

    Raises:
        UnreadableFile: an offset points outside the file.
        UnsupportedModel: the file is too large to be copied.
    """
    if len(buffer) > RAW_LIMIT:
        raise UnsupportedModel(f"The TFLite file is {len(buffer) >> 20:,} MiB, more than a browser can hold.")
    data = bytearray(buffer[:])

    flat = Flat(data, "TFLite")
    root = flat.number(0)
    fields = (flat.value(entry, 1) for entry in flat.tables(root, 6))  # Model.metadata: Metadata.buffer
    metadata = {flat.number(at) for at in fields if at is not None}
    for index, entry in enumerate(flat.tables(root, 4)):  # Model.buffers: Buffer.data
        at = flat.value(entry, 0)
        if at is None or index in metadata:
            continue
        start = at + flat.number(at)
        size = flat.number(start)
        if TENSOR_LIMIT < size <= len(data) - start - 4:
            data[start + 4 : start + 4 + size] = bytes(size)
    return Slim(bytes(data))


def inflated(buffer: Buffer) -> Slim:
    """The content of a file compressed with zlib, gzip, bzip2 or xz, or not at all, as joblib writes them.

    Raises:
        UnreadableFile: none of these, or damaged.
        UnsupportedModel: it unpacks to more than `OUTPUT_LIMIT`.
    """
    if len(buffer) > OUTPUT_LIMIT:
        raise UnsupportedModel(f"The compressed file is {len(buffer) >> 20:,} MiB, more than a browser can draw.")
    if not compressed(head := bytes(buffer[:64])) and not head.startswith(b"\x80"):
        raise UnreadableFile("The compressed file cannot be read: it is packed in another way than joblib packs.")
    try:
        return _bounded(unpacked(buffer, Budget(0, 2 * OUTPUT_LIMIT)).read(OUTPUT_LIMIT + 1))
    except OSError as error:
        raise UnreadableFile(f"The compressed file cannot be read: {first_line(error)}.") from error


def keras(path: str | os.PathLike[str]) -> Slim:
    """A Keras 3 ``.keras`` zip with slim weights; raises as `hdf5`."""

    def entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
        if not info.filename.endswith(".h5"):
            return _small(archive, info)
        with tempfile.TemporaryFile() as file, archive.open(info) as source:
            shutil.copyfileobj(source, file)  # as many bytes as it announces, at most
            file.seek(0)
            return hdf5(file).data

    return _rezip(path, entry)


def pytorch(path: str | os.PathLike[str]) -> Slim:
    """A PyTorch zip whose storages (``*/data/0`` …) are zeros, which deflate to a thousandth; raises as `hdf5`. The
    format before 1.6, which is no zip, stays as it is."""
    with opened(path) as buffer:
        if buffer[:2] != b"PK":
            if len(buffer) > OUTPUT_LIMIT:
                raise UnsupportedModel(f"The file is {len(buffer) >> 20:,} MiB, more than a page can carry.")
            return Slim(bytes(buffer[:]))

    def entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | int:
        storage = re.search(r"(^|/)(data|weights|constants)/[^/]*$", info.filename) and info.file_size > TENSOR_LIMIT
        return info.file_size if storage and not info.filename.endswith((".pkl", ".json")) else _small(archive, info)

    return _rezip(path, entry)


def _rezip(path: str | os.PathLike[str], entry: Callable[[zipfile.ZipFile, zipfile.ZipInfo], bytes | int]) -> Slim:
    """The same archive with each entry's bytes as `entry` gives them; a number stands for so many zeros."""
    out = io.BytesIO()
    zeros = bytes(1 << 20)
    written = 0
    try:
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
            for info in source.infolist():
                data = entry(source, info)
                written += data if isinstance(data, int) else len(data)
                if written > RAW_LIMIT or out.tell() > OUTPUT_LIMIT:
                    raise UnsupportedModel("The archive unpacks to more than a browser can hold.")
                with target.open(info.filename, "w") as file:
                    if isinstance(data, bytes):
                        file.write(data)
                        continue
                    while data > 0:
                        data -= file.write(zeros[: min(data, len(zeros))])
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnreadableFile(f"The archive cannot be read: {first_line(error)}.") from error
    return _bounded(out.getvalue())


def _small(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as file:
        data = file.read(OUTPUT_LIMIT + 1)
    if len(data) > OUTPUT_LIMIT:
        raise UnsupportedModel(f"The archive's {info.filename} is over {OUTPUT_LIMIT >> 20} MiB.")
    return data


def _bounded(data: bytes) -> Slim:
    if len(data) > OUTPUT_LIMIT:
        raise UnsupportedModel(f"Without weights it is still {len(data) >> 20} MiB, more than a browser can draw.")
    return Slim(data)
