"""ONNX models in other forms than their own file: as text, packed with gzip, or in a zip archive with their weights."""

from __future__ import annotations

import re
from itertools import islice
from typing import TypeAlias

from .archives import Archive, Text
from .pickle_walk import Budget, BudgetSpent
from .records import Format, Verdict
from .unpack import unpacked
from .wire import LEN, VARINT, WINDOW, Buffer, Span, Wire, WireError

_ONNX_KINDS = {
    1: VARINT, 2: LEN, 3: LEN, 4: LEN, 5: VARINT, 6: LEN, 7: LEN, 8: LEN, 14: LEN, 20: LEN, 25: LEN, 26: LEN,
}  # fmt: skip


Field: TypeAlias = tuple[int, int, int, Span]
"""As `Wire.fields` gives it."""


def first_fields(wire: Wire, most: int) -> tuple[list[Field], bool]:
    """The first fields of a message, and whether it is damaged behind them."""
    fields: list[Field] = []
    try:
        fields += islice(wire.fields(wire.span), most)
    except WireError:
        return fields, True
    return fields, False


def is_model(wire: Wire, fields: list[Field], damaged: bool) -> bool:
    """A ModelProto: an IR version or opset beside a graph. A file cut short inside its graph still counts."""
    kinds: dict[int, set[int]] = {}
    for number, kind, _, _ in fields:
        kinds.setdefault(number, set()).add(kind)
    if any(kinds.get(number, {kind}) != {kind} for number, kind in _ONNX_KINDS.items()):
        return False
    if damaged:
        # The graph is the long field, so a truncated model ends within it: its first fields must tell, or its key.
        first, more = fields[0], len(fields) > 1
        more = more or bytes(wire.buffer[first[3][1] : first[3][1] + 1]) == bytes([7 << 3 | LEN])
        return first[:2] == (1, VARINT) and 1 <= first[2] <= 100 and set(kinds) <= set(_ONNX_KINDS) and more
    if 7 not in kinds or not kinds.keys() & {1, 8}:
        return False
    span = next(span for number, _, _, span in fields if number == 7)
    try:
        inside = {(number, kind) for number, kind, _, _ in islice(wire.fields(span), 50)}
    except WireError:
        # `read_header` will say what is wrong with it.
        return set(kinds) <= set(_ONNX_KINDS)
    return all(kind == LEN for number, kind in inside if number in (1, 2, 5, 11, 12, 13, 15))


def gzipped(buffer: Buffer) -> Format | None:
    """What unpacks to the beginning of a ModelProto."""
    try:
        head = unpacked(buffer, Budget(0, 1 << 22)).read(WINDOW)
    except (OSError, BudgetSpent):
        return None
    wire = Wire(head)
    fields, damaged = first_fields(wire, WINDOW)  # cut off where the window ends
    return Format("ONNX packed", "gzip") if fields and is_model(wire, fields, damaged) else None


def zipped(archive: Archive) -> Format | None:
    """One .onnx file, and its weights perhaps."""
    models = [name for name in archive.names if name.lower().endswith(".onnx") and not name.startswith("__MACOSX/")]
    return Format("ONNX packed", "zip", tuple(archive.names[:20])) if len(models) == 1 else None


def written(text: Text) -> Format | None:
    """ONNX's own syntax, protobuf's text form, or JSON."""
    lines = re.sub(r"\A(\s*#[^\n]*\n)+", "", text.text).lstrip()
    if re.match(r"<\s*(ir_version|opset_import|producer_name|domain|model_version|doc_string)\s*:", lines):
        return Format("ONNX text", "text in ONNX syntax")
    if text.is_json and re.search(r'"(ir_?version|opset_?import)"\s*:', lines, re.I):
        return Format("ONNX text", "JSON") if re.search(r'"graph"\s*:\s*\{', lines) else None
    field = re.match(r"(ir_version|producer_name|opset_import|domain|model_version|graph)\s*[:{<]", lines)
    if (
        field
        and re.search(r"^graph\s{0,9}:?\s{0,9}[{<]", lines, re.M)
        and re.search(r"^(ir_version|opset_import)\b", lines, re.M)
    ):
        return Format("ONNX text", "protobuf text")
    return None


def kind_of_form(content: Format) -> Verdict:
    """What it is shows when it is opened, which takes more than a look."""
    because = f"It is an ONNX model in another form ({content}): what kind it is, its .onnx file tells."
    return Verdict("unknown", because, engine="onnxruntime")
