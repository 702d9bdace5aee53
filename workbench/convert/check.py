"""Is the file a converter made one that engines can load? Before both sides are held against each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UnsupportedModel
from ..header import read_header
from ..wire import LEN, Span, Wire, encode_varint, opened
from .certificate import delimited

KNOWN_DOMAINS = ("", "ai.onnx.ml", "com.microsoft")
"""Operator domains that ONNX Runtime as installed from PyPI brings; a function in the file brings its own."""

LARGE = 64 << 20
"""Bytes of a file from which its weights are kept out of the checker's sight, which copies them several times."""

LARGE_TENSOR = 1 << 16
"""Bytes of a tensor from which it counts as weights; smaller ones may be shapes, which the checker must know."""


def check_file(path: Path) -> None:
    """
    Raises:
        UnsupportedModel: the model holds an operator that no engine knows (named), or breaks ONNX's rules.
    """
    import onnx

    header = read_header(path)
    functions = {function.key for function in header.functions}
    for node in header.nodes():
        domain, op_type = node.key
        if node.key in functions:
            continue
        where = f" (node {node.name})" if node.name else ""
        if domain not in KNOWN_DOMAINS:
            raise UnsupportedModel(
                f"The converter left the operator {domain}::{op_type}{where} in the graph, which no ONNX engine knows."
            )
        if domain in ("", "ai.onnx.ml") and not onnx.defs.has(op_type, domain):
            raise UnsupportedModel(
                f"The operator {op_type}{where} has no counterpart in ONNX, and the converter left it as it was: "
                "replace the layer or step that makes it."
            )
    with _light(path) as checked:
        try:
            onnx.checker.check_model(str(checked), full_check=True)
        except Exception as error:
            # Its sentence is followed by the C++ stack and the node as text.
            first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UnsupportedModel(f"The converter made a file that breaks ONNX's rules: {first[:300]}.") from error


@contextmanager
def _light(path: Path) -> Iterator[Path]:
    """The file; or, where it is large, one beside it that calls the weights in it external data."""
    if path.stat().st_size < LARGE:
        yield path
        return
    light = path.with_name(".light")  # any other might grow too long
    with opened(path) as buffer:
        wire = Wire(buffer)
        light.write_bytes(
            b"".join(
                delimited(number, _light_graph(wire, span, path.name)) if (number, kind) == (_GRAPH, LEN)
                else _copied(wire, number, kind, span)
                for number, kind, _, span in wire.fields(wire.span)
            )
        )  # fmt: skip
    try:
        yield light
    finally:
        light.unlink()


# Field numbers of onnx/onnx.proto: ModelProto.graph; GraphProto.initializer; TensorProto.raw_data, external_data
# (key = 1, value = 2) and data_location, of which 1 is EXTERNAL.
_GRAPH, _INITIALIZER, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 7, 5, 9, 13, 14


def _light_graph(wire: Wire, graph: Span, location: str) -> bytes:
    return b"".join(
        delimited(number, _light_tensor(wire, span, location))
        if (number, kind) == (_INITIALIZER, LEN) and span[1] - span[0] > LARGE_TENSOR
        else _copied(wire, number, kind, span)
        for number, kind, _, span in wire.fields(graph)
    )


def _light_tensor(wire: Wire, tensor: Span, location: str) -> bytes:
    out = []
    for number, kind, _, span in wire.fields(tensor):
        if (number, kind) != (_RAW_DATA, LEN):
            out.append(_copied(wire, number, kind, span))
            continue
        place = {"location": location, "offset": str(span[0]), "length": str(span[1] - span[0])}
        for key, value in place.items():
            out.append(delimited(_EXTERNAL_DATA, delimited(1, key.encode()) + delimited(2, value.encode())))
        out.append(encode_varint(_DATA_LOCATION << 3) + encode_varint(1))
    return b"".join(out)


def _copied(wire: Wire, number: int, kind: int, span: Span) -> bytes:
    return delimited(number, wire.data(span)) if kind == LEN else encode_varint(number << 3 | kind) + wire.data(span)
