"""An ONNX file without its weights: a small model that names the file itself as where its weights lie.

External data may lie in any file, the model's own among them. So whoever reads the small model needs no copy of the
weights in memory: ONNX's checker sees none, and ONNX Runtime maps them straight from the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .header import MAX_DEPTH
from .wire import LEN, Buffer, Span, Wire, delimited, encode_varint, opened

LARGE_TENSOR = 1 << 16
"""Bytes of a tensor from which it counts as weights; smaller ones may be shapes, which a checker must know."""


def without_weights(path: Path, least: int = LARGE_TENSOR) -> bytes:
    """The model of an ONNX file, its initializers of more than `least` bytes as external data in ``<its own name>``.

    Tensors in subgraphs and attributes stay as they are, and so does external data that the file has already.
    """
    with opened(path) as buffer:
        wire = Wire(buffer)
        return b"".join(
            delimited(number, _light_graph(wire, span, path.name, least)) if (number, kind) == (_GRAPH, LEN)
            else wire.copied(number, kind, span)
            for number, kind, _, span in wire.fields(wire.span)
        )  # fmt: skip


MOST_TEXT = 1 << 20
"""Bytes of one text."""

_SMALL = 1 << 10
"""Bytes of a part that is taken for text as a whole, with the numbers in it."""

_PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function", 20: ""},
    "graph": {1: "node", 5: "tensor", 15: ""},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 7: "", 8: "", 10: "tensor", 11: "graph", 22: "", 23: ""},
    "tensor": {1: "", 4: "", 5: "", 7: "", 9: "", 10: "", 11: ""},
}
"""Message -> its fields of onnx/onnx.proto that are not text: messages with texts in them, or numbers ("")."""


def texts(buffer: Buffer, most: int) -> bytes:
    """All that can be text in an ONNX file, up to so many bytes: names, descriptions, metadata."""
    wire, out, size = Wire(buffer), list[bytes](), 0
    for start, stop in _joined(_texts(wire, "model", wire.span, 0)):
        out.append(wire.data((start, stop)))
        size += stop - start
        if size > most:
            break
    return b"\n".join(out)


def _texts(wire: Wire, message: str, span: Span, depth: int) -> Iterator[Span]:
    parts = _PARTS[message]
    for number, kind, _, inner in wire.fields(span):
        start, stop = inner
        if kind != LEN:
            continue
        inside = parts.get(number)
        if inside is None or (stop - start <= _SMALL and inside not in ("", "tensor")):
            yield start, min(stop, start + MOST_TEXT)
        elif inside and depth < MAX_DEPTH:
            yield from _texts(wire, inside, inner, depth + (inside == "graph"))


def _joined(spans: Iterator[Span]) -> Iterator[Span]:
    """Spans with nothing but their lengths between them as one."""
    at, until = next(spans, (0, 0))
    for start, stop in spans:
        if start > until + 10:
            yield at, until
            at = start
        until = stop
    yield at, until


# Field numbers of onnx/onnx.proto: ModelProto.graph; GraphProto.initializer; TensorProto.raw_data, external_data
# (key = 1, value = 2) and data_location, of which 1 is EXTERNAL.
_GRAPH, _INITIALIZER, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 7, 5, 9, 13, 14


def _light_graph(wire: Wire, graph: Span, location: str, least: int) -> bytes:
    return b"".join(
        delimited(number, _light_tensor(wire, span, location))
        if (number, kind) == (_INITIALIZER, LEN) and span[1] - span[0] > least
        else wire.copied(number, kind, span)
        for number, kind, _, span in wire.fields(graph)
    )


def _light_tensor(wire: Wire, tensor: Span, location: str) -> bytes:
    fields = list(wire.fields(tensor))
    place = next((span for number, kind, _, span in reversed(fields) if (number, kind) == (_RAW_DATA, LEN)), None)
    if place is None:
        return wire.data(tensor)
    # Numbers in the file itself leave what is said about another one without meaning, and it stays so.
    gone = (_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION)
    out = [wire.copied(number, kind, span) for number, kind, _, span in fields if number not in gone]
    where = {"location": location, "offset": str(place[0]), "length": str(place[1] - place[0])}
    for key, value in where.items():
        out.append(delimited(_EXTERNAL_DATA, delimited(1, key.encode()) + delimited(2, value.encode())))
    return b"".join([*out, encode_varint(_DATA_LOCATION << 3), encode_varint(1)])
