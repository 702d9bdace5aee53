"""Which format a path holds: by content, never by its name, never by running it.

`identify` looks at magic numbers, archive listings, protobuf field numbers and pickle opcodes, by the probes of
`registry`. Nothing is unpickled, no framework is imported, and what is read is bounded, so any bytes are safe to ask
about.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UnreadableFile
from .archives import Archive, Text, Unlisted
from .onnx_forms import first_fields, is_model
from .pickled import MAX_MARKERS, WINDOW
from .records import Format
from .registry import FORMATS, PROBES
from .wire import Buffer, Steps, Wire, opened

NAMES: tuple[str, ...] = tuple(FORMATS)

_KNOWN_EXTENSIONS = {extension for record in FORMATS.values() for extension in record.extensions if extension}
_IN_PART = "It holds more than is looked at here: what is said of it comes of its beginning alone."


def identify(path: str | os.PathLike[str], steps: Steps | None = None) -> Format:
    """Name the format of a file or folder; `steps` as in `identify_bytes`.

    Raises:
        UnreadableFile: nothing there, no permission, or not a regular file. Content of any sort never raises.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        nothing = "This is a folder without a saved_model.pb; pick a model file inside it."
        return _first("folder", Path(name), steps) or Format("folder", warnings=(nothing,))
    if os.path.isfile(name) and os.path.getsize(name) == 0:
        return Format("empty", warnings=("The file is empty (0 bytes); was the upload or download complete?",))
    with opened(name) as buffer:
        return against_name(identify_bytes(buffer, steps), name)


def whole(path: str | os.PathLike[str]) -> Path:
    """The folder of which a file is the model, as ``saved_model.pb`` of a SavedModel; any other path as it is."""
    given = Path(path)
    if given.is_file():
        for inside in map(Path, FORMATS[name].inside if (name := identify(given).name) in FORMATS else ()):
            if given.absolute().parts[-len(inside.parts) :] == inside.parts:
                folder = given.parents[len(inside.parts) - 1]
                return folder if folder.name else folder.absolute()
    return given


def against_name(content: Format, path: str) -> Format:
    """The same format, with a warning where the file's extension promises another."""
    extension = Path(path).suffix.lower()
    if extension not in _KNOWN_EXTENSIONS or extension in FORMATS[content.name].extensions:
        return content
    shown = "nothing the workbench knows" if content.name == "unknown" else str(content)
    warning = f"The name ends in {extension}, but the content is {shown}."
    return replace(content, warnings=(warning, *content.warnings))


def identify_bytes(buffer: Buffer, steps: Steps | None = None) -> Format:
    """`identify` over bytes already at hand (at least one).

    Args:
        buffer: the bytes.
        steps: what looking at them takes its steps from. Where they do not suffice, the format is told from what was
            read, and a warning says so.
    """
    steps = Steps() if steps is None else steps
    head = bytes(buffer[:64])
    for pattern, ask in _BY_MAGIC:
        if pattern.match(head):
            # It looks at a window, and counts no steps of its own.
            steps.left -= min(len(buffer), WINDOW) // 16
            if (content := _tried(ask, buffer)) is not None:
                return content
    if (content := _tried(_protobuf, Wire(buffer, steps)) or _tried(_text, buffer)) is not None:
        return content
    return Format("unknown", warnings=() if steps.left >= 0 else (_IN_PART,))


def _first(opening: str, *given: Any) -> Format | None:
    """What the first probe says that knows it."""
    asked = (_tried(probe.ask, *given) for probe in PROBES if probe.opening == opening)
    return next((content for content in asked if content is not None), None)


def _tried(ask: Callable[..., Format | None], *given: Any) -> Format | None:
    try:
        return ask(*given)
    except (LookupError, ValueError, ArithmeticError, OSError, EOFError, RecursionError, struct.error, UnreadableFile):
        return None  # bytes made to break this reader, or a file cut while it is read: not of this format


# --- what several formats are wrapped in ---------------------------------------------------------------------------


def _zip(buffer: Buffer) -> Format:
    try:
        archive = Archive(buffer)
    except Unlisted as error:
        return Format("zip archive", warnings=(str(error),))
    return _first("zip", archive) or Format("zip archive", markers=tuple(archive.names[:MAX_MARKERS]))


def _hdf5(buffer: Buffer) -> Format:
    """Frameworks write what names them before any weights, or behind them."""
    ends = bytes(buffer[:WINDOW]) + bytes(buffer[max(WINDOW, len(buffer) - WINDOW) :])
    return _first("hdf5", ends) or Format("HDF5")


_BY_MAGIC: tuple[tuple[re.Pattern[bytes], Callable[..., Format | None]], ...] = (
    (re.compile(rb"PK\x03\x04|PK\x05\x06"), _zip),
    (re.compile(rb"\x89HDF\r\n\x1a\n"), _hdf5),
    *((probe.opening, probe.ask) for probe in PROBES if isinstance(probe.opening, re.Pattern)),
)


def _protobuf(wire: Wire) -> Format | None:
    """Messages are told apart by their field numbers; first whether it is a ModelProto of ONNX."""
    fields, damaged = first_fields(wire, max(0, min(20_000, wire.steps.left // 8)))
    if not fields:
        return None
    if is_model(wire, fields, damaged):
        return Format("ONNX")
    if damaged:
        return None
    content = _first("protobuf", wire, fields)
    return content if content is None or wire.steps.left >= 0 else replace(content, warnings=(_IN_PART,))


def _text(buffer: Buffer) -> Format | None:
    data = bytes(buffer[: 1 << 18])
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        with suppress(UnicodeDecodeError):
            data.decode("utf-16")
            return Format("text", "UTF-16")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(data) - error.start > 4 or len(data) < len(buffer) < 8:
            return None
        text = data[: error.start].decode("utf-8-sig")  # the window cut a character in two
    if re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]", text):
        return None
    return _first("text", Text(text, data, bytes(buffer[-4096:]))) or Format("text")
