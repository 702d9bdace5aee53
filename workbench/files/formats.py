"""Which format a path holds: by content, never by its name, never by running it.

`identify` looks at magic numbers, archive listings, protobuf field numbers and pickle opcodes. Nothing is
unpickled, no framework is imported, and what is read is bounded, so any bytes are safe to ask about.
"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UnreadableFile
from .pickle_walk import OPENINGS, TORCH_MAGIC, Budget, BudgetSpent, Damaged, Named, Walk
from .unpack import Window, compressed, unpacked
from .wire import LEN, VARINT, Buffer, Span, Steps, StepsSpent, Wire, WireError, opened

WINDOW = 1 << 22
"""Bytes looked at from either end of a file where a format has no index of its own (HDF5), or of one archive member."""

MAX_DIRECTORY = 1 << 21
"""Bytes of a zip archive's list of entries: 20,000 of them, say."""

MAX_MARKERS = 1000

_Given = TypeVar("_Given")


@dataclass(frozen=True, slots=True)
class Format:
    """What a path holds.

    Attributes:
        name: one of `NAMES`.
        detail: a few words more: framework version, sort of content. May quote the file: escape it.
        markers: names found inside that tell what the model is made of, in order of appearance: classes of a
            pickle, layers of a Keras config, operators of a graph, entries of an archive.
        runs_code: the format's own loader can execute code from the file.
        warnings: plain sentences, such as a file name that promises something else.
    """

    name: str
    detail: str = ""
    markers: tuple[str, ...] = ()
    runs_code: bool = False
    warnings: tuple[str, ...] = ()


# Format name -> extensions it goes by. A file whose extension belongs to other formats only gets a warning.
EXTENSIONS: dict[str, tuple[str, ...]] = {
    "ONNX": (".onnx",),
    "ORT": (".ort",),
    "Keras v3": (".keras",),
    "Keras HDF5": (".h5", ".hdf5", ".keras"),
    "Keras weights": (".h5", ".hdf5"),
    "HDF5": (".h5", ".hdf5"),
    "Keras JSON": (".json",),
    "NIR": (".nir", ".h5", ".hdf5"),
    "SavedModel": (".pb", ""),
    "GraphDef": (".pb",),
    "TFLite": (".tflite", ".lite"),
    "skops": (".skops",),
    "pickle": (".pkl", ".pickle", ".joblib", ".sav", ".model"),
    "joblib": (".joblib", ".pkl", ".pickle", ".sav", ".gz", ".z", ".xz", ".bz2", ".lzma"),
    "NumPy npz": (".npz",),
    "NumPy npy": (".npy",),
    "PyTorch": (".pt", ".pth", ".bin", ".ckpt", ".pt2", ".ptl"),
    "safetensors": (".safetensors",),
    "GGUF": (".gguf",),
    "Core ML": (".mlmodel", ".mlpackage"),
    "MXNet params": (".params",),
    "MXNet symbol": (".json",),
    "Caffe": (".caffemodel", ".prototxt"),
    "Caffe2": (".pb", ".pbtxt"),
    "XGBoost": (".json", ".ubj", ".model"),
    "LightGBM": (".txt", ".model"),
    "PMML": (".pmml", ".xml"),
    "zip archive": (".zip",),
    "image": (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
    "text": (".txt", ".md", ".csv", ".json", ".xml", ".py", ".html", ".pbtxt", ".prototxt", ".log", ".yml", ".yaml"),
}
NAMES: tuple[str, ...] = (*EXTENSIONS, "folder", "empty", "unknown")

NO_MODEL = {
    "NumPy npz": "arrays, perhaps weights or data, but no model", "NumPy npy": "one array, not a model",
    "HDF5": "an HDF5 file that is neither Keras nor NIR", "zip archive": "an archive, not a model",
    "text": "text, not a model", "image": "an image, not a model", "empty": "nothing", "folder": "a folder",
    "unknown": "nothing the workbench knows",
}  # fmt: skip
"""What a file holds that is no model, by format name; NumPy files are drawn all the same, as Netron reads them."""

_KNOWN_EXTENSIONS = {extension for group in EXTENSIONS.values() for extension in group if extension}


def identify(path: str | os.PathLike[str], steps: Steps | None = None) -> Format:
    """Name the format of a file or folder; `steps` as in `identify_bytes`.

    Raises:
        UnreadableFile: nothing there, no permission, or not a regular file. Content of any sort never raises.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        return _folder(Path(name), steps)
    if os.path.isfile(name) and os.path.getsize(name) == 0:
        return Format("empty", warnings=("The file is empty (0 bytes); was the upload or download complete?",))
    with opened(name) as buffer:
        return against_name(identify_bytes(buffer, steps), name)


def against_name(found: Format, path: str) -> Format:
    """The same format, with a warning where the file's extension promises another."""
    extension = Path(path).suffix.lower()
    if extension not in _KNOWN_EXTENSIONS or extension in EXTENSIONS.get(found.name, ()):
        return found
    content = "nothing the workbench knows" if found.name == "unknown" else found.name
    detail = f" ({found.detail})" if found.detail else ""
    warning = f"The name ends in {extension}, but the content is {content}{detail}."
    return replace(found, warnings=(warning, *found.warnings))


def identify_bytes(buffer: Buffer, steps: Steps | None = None) -> Format:
    """`identify` over bytes already at hand (at least one).

    Args:
        buffer: the bytes.
        steps: what looking at them takes its steps from. Where they do not suffice, the format is told from what was
            read, and a warning says so.
    """
    steps = Steps() if steps is None else steps
    head = bytes(buffer[:64])
    for magic, probe in _MAGIC:
        if magic.match(head):
            # It looks at a window, and counts no steps of its own.
            steps.left -= min(len(buffer), WINDOW) // 16
            if (found := _tried(probe, buffer)) is not None:
                return found
    if (found := _tried(_protobuf, Wire(buffer, steps)) or _tried(_text, buffer)) is not None:
        return found
    return Format("unknown", warnings=() if steps.left >= 0 else (_IN_PART,))


def _tried(probe: Callable[[_Given], Format | None], given: _Given) -> Format | None:
    try:
        return probe(given)
    except (LookupError, ValueError, ArithmeticError, OSError, EOFError, RecursionError, struct.error):
        return None  # bytes made to break this reader, or a file cut while it is read: not of this format


_IN_PART = "It holds more than is looked at here: what is said of it comes of its beginning alone."


# --- folders -----------------------------------------------------------------------------------------------------


def _folder(path: Path, steps: Steps | None) -> Format:
    saved = path / "saved_model.pb"
    if saved.is_file():
        try:
            with opened(saved) as buffer:
                inside = _saved_model(Wire(buffer, steps))
        except UnreadableFile:
            inside = None
        if inside is None:
            return Format("SavedModel", runs_code=True, warnings=("Its saved_model.pb is damaged or cut short.",))
        return inside
    if (path / "saved_model.pbtxt").is_file():
        return Format("SavedModel", "text form", runs_code=True)
    package = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    if (path / "Manifest.json").is_file() and package.is_file():
        with opened(package) as buffer:
            return _tried(_protobuf, Wire(buffer, steps)) or Format("Core ML", "package")
    return Format("folder", warnings=("This is a folder without a saved_model.pb; pick a model file inside it.",))


# --- by magic number ---------------------------------------------------------------------------------------------


def _zip(buffer: Buffer) -> Format | None:
    """Zip archives: Keras v3, skops, PyTorch, npz, Core ML packages."""
    tail = bytes(buffer[-65_557:])
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        return Format("zip archive", warnings=("The archive is cut short: its directory at the end is missing.",))
    try:
        window = _Listing(buffer)
        archive = zipfile.ZipFile(window)
        window.most = WINDOW  # of a member
        names = [entry.filename for entry in archive.infolist()[:10_000]]
    except _TooMuch:
        return Format("zip archive", warnings=("The archive lists too many entries to be looked through.",))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error) as error:
        return Format("zip archive", warnings=(f"The archive is damaged: {error}.",))
    if {"config.json", "metadata.json"} <= set(names):
        config = _member(archive, "config.json")
        version = re.search(rb'"keras_version":\s*"([^"]{1,32})"', _member(archive, "metadata.json"))
        detail = f"Keras {version[1].decode('ascii', 'replace')}" if version else ""
        layers = _classes(config)
        return Format("Keras v3", detail, layers, runs_code="Lambda" in layers)
    if "schema.json" in names:
        schema = _member(archive, "schema.json")
        if b'"__class__"' in schema:
            pairs = re.findall(rb'"__class__":\s*"([^"]{1,200})",\s*"__module__":\s*"([^"]{1,200})"', schema)
            classes = tuple(
                dict.fromkeys(f"{m.decode('utf8', 'replace')}.{c.decode('utf8', 'replace')}" for c, m in pairs)
            )
            return Format("skops", markers=classes[:MAX_MARKERS])
    program = next((n for n in names if n.endswith(("models/model.json", "serialized_exported_program.json"))), None)
    if program:
        targets = re.findall(rb'"target":\s*"([^"]{1,200})"', _member(archive, program))
        return Format("PyTorch", "exported program (.pt2)", _unique(targets))
    pickled = next((name for name in names if name == "data.pkl" or name.endswith("/data.pkl")), None)
    if pickled:
        data = _member(archive, pickled)
        if any("/code/" in name for name in names):
            code = [name.split("/code/", 1)[1] for name in names if "/code/" in name and name.endswith(".py")]
            return Format("PyTorch", "TorchScript", tuple(code[:MAX_MARKERS]), runs_code=True)
        walk = _Noted(unpacked(data, Budget(0, 0)))
        walk.followed()
        classes = tuple(walk.classes)
        whole = any(name.startswith("torch.nn.") for name in classes) or _foreign(classes, "torch", "collections")
        return Format("PyTorch", "whole module" if whole else "state dict", walk.names, runs_code=True)
    if any(name.endswith("com.apple.CoreML/model.mlmodel") for name in names):
        return Format("Core ML", "package")
    if names and all(name.endswith(".npy") for name in names):
        return Format("NumPy npz", f"{len(names)} arrays", tuple(name[:-4] for name in names[:MAX_MARKERS]))
    return Format("zip archive", markers=tuple(names[:MAX_MARKERS]))


def _hdf5(buffer: Buffer) -> Format:
    """HDF5: Keras writes the attributes that name it before any weights; NIR its node types."""
    ends = bytes(buffer[:WINDOW]) + bytes(buffer[max(WINDOW, len(buffer) - WINDOW) :])
    if b"NIRGraph" in ends:
        # Strings of a global heap: their length in eight bytes, then the text. Bare letters occur in weights, too.
        strings = re.findall(rb"([\x01-\x20])\0{7}([A-Z][A-Za-z0-9]{0,31})(?=\0|[\x01-\xff])", ends)
        return Format("NIR", markers=_unique([text[: size[0]] for size, text in strings if len(text) >= size[0]]))
    if (b"model_config" in ends and b'"class_name"' in ends) or b"layer_names" in ends:
        version = re.search(rb"(?<![\d.])([123]\.\d{1,2}\.\d{1,2}(?:-tf|\.dev\w*|rc\d)?)(?![\d.])", ends)
        detail = f"Keras {version[1].decode('ascii')}" if version else ""
        if b'"class_name"' in ends:
            layers = _classes(ends)
            return Format("Keras HDF5", detail, layers, runs_code="Lambda" in layers)
        return Format("Keras weights", detail)
    if b"\0vars\0" in ends and b"\0layers\0" in ends and b"\x000\0" in ends:
        return Format("Keras weights")
    return Format("HDF5")


class _Noted(Walk):
    """The classes that a pickle names, its short texts, and whether it calls anything."""

    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__(file, Budget(steps=50_000, unpacked=0), arrays=True)
        self.classes: dict[str, None] = {}
        self.texts: dict[str, None] = {}
        self.calls = False

    def imported(self, what: Named) -> None:
        if _CLASS.fullmatch(str(what)) and len(self.classes) < MAX_MARKERS:
            self.classes[str(what)] = None

    def called(self, what: Any, arguments: Any) -> None:
        self.calls |= _CLASS.fullmatch(str(what)) is not None

    def numbered(self, code: int) -> None:
        self.calls = True

    def text(self, text: str) -> None:
        if len(self.texts) < MAX_MARKERS:
            self.texts[text[:200]] = None

    def followed(self) -> str:
        """How far one more pickle could be followed: to its "end", to where it is "damaged", or in "part"."""
        try:
            self.load()
        except Damaged:
            return "damaged"
        except BudgetSpent:
            return "part"
        return "end"

    def inner(self) -> Walk:
        return Walk(self.file, self.budget)

    @property
    def names(self) -> tuple[str, ...]:
        """Classes first, then what else is written in it."""
        return (*self.classes, *(text for text in self.texts if text not in self.classes))[:MAX_MARKERS]


def _pickle(buffer: Buffer) -> Format | None:
    """Pickle and joblib, compressed or not: classes from the opcodes. Also PyTorch's format before 1.6."""
    packed = compressed(bytes(buffer[:64]))
    file = unpacked(buffer, Budget(0, WINDOW))
    try:
        head = file.peek(1)[:1]
        if head not in OPENINGS:
            return None
        walk = _Noted(file)
        reached = walk.followed()
        if walk.result == TORCH_MAGIC:
            for _ in range(3):  # protocol, system info, then the object itself
                reached = walk.followed()
            whole = any(item.startswith("torch.nn.") for item in walk.classes)
            return Format("PyTorch", "whole module" if whole else "state dict", walk.names, True)
        rest = bool(file.peek(64).strip()) if reached == "end" else False
        if rest:
            walk.followed()
    except (OSError, BudgetSpent):
        return None
    # Protocols 0 and 1 are letters and lines, as other text is: only one that ends as a pickle must, or calls
    # something by a proper name, is one. And nothing else goes on like a pickle for long.
    binary = head == b"\x80"
    unlike = reached == "damaged" and not (binary and walk.classes)
    if not walk.calls and (unlike or (rest and not binary)):
        return None
    classes = tuple(item for item in walk.classes if not item.startswith("joblib."))
    name = "joblib" if packed or len(classes) < len(walk.classes) else "pickle"
    family = next((item.split(".")[0] for item in classes if not _PLUMBING.match(item)), "")
    detail = {"sklearn": "scikit-learn"}.get(family, family)
    if not family and reached != "end":
        detail = "read in part"
    return Format(name, detail, classes, runs_code=True)


def _npy(buffer: Buffer) -> Format:
    header = re.search(rb"\{[^}]{0,500}\}", bytes(buffer[:600]))
    shown = header[0].decode("latin1").strip("{} ,") if header else ""
    return Format("NumPy npy", shown, runs_code=bool(re.search(r"'[<>=|]?O\d?'", shown)))


def _safetensors(buffer: Buffer) -> Format | None:
    (size,) = struct.unpack_from("<Q", bytes(buffer[:8]).ljust(8, b"\0"))
    if not 2 <= size <= len(buffer) - 8 or buffer[8] != 0x7B:
        return None
    names = re.findall(rb'"([^"]{1,200})":\s*\{"dtype"', bytes(buffer[8 : 8 + min(size, WINDOW)]))
    return Format("safetensors", f"{len(names)} tensors", _unique(names)) if names else None


def _fixed(name: str, detail: str = "", runs_code: bool = False) -> Callable[[Buffer], Format]:
    return lambda buffer: Format(name, detail, runs_code=runs_code)


_MAGIC: tuple[tuple[re.Pattern[bytes], Callable[[Buffer], Format | None]], ...] = tuple(
    (re.compile(pattern, re.S), probe)
    for pattern, probe in (
        (rb"PK\x03\x04|PK\x05\x06", _zip),
        (rb"\x89HDF\r\n\x1a\n", _hdf5),
        (rb".{4}TFL3", _fixed("TFLite")),
        (rb".{4}ORTM", _fixed("ORT", "ONNX Runtime's own form of an ONNX model")),
        (rb"GGUF[\x01-\x09]\0\0\0", _fixed("GGUF")),
        (rb"\x89PNG\r\n\x1a\n", _fixed("image", "PNG")),
        (rb"\xff\xd8\xff", _fixed("image", "JPEG")),
        (rb"GIF8[79]a", _fixed("image", "GIF")),
        (rb"RIFF....WEBP", _fixed("image", "WebP")),
        (rb"BM.{4}\0\0\0\0", _fixed("image", "BMP")),
        (rb"II\*\0|MM\0\*", _fixed("image", "TIFF")),
        (rb"\x93NUMPY", _npy),
        (rb"\x12\x01\0\0\0\0\0\0", _fixed("MXNet params")),
        (rb"7z\xbc\xaf\x27\x1c", _fixed("zip archive", "7-Zip, which is not looked into", True)),
        (rb"\x04\x22\x4d\x18", _fixed("joblib", "packed with lz4, which is not looked into", True)),
        (rb"\x1f\x8b|BZh|\xfd7zXZ\0|\x5d\0|\x78[\x01\x5e\x9c\xda]|ZF0x", _pickle),
        (b"[" + b"".join(map(re.escape, sorted(OPENINGS))) + b"]", _pickle),
        (rb".{5}\0\0\0\{", _safetensors),
        (rb"\{L", lambda buffer: Format("XGBoost", "UBJSON") if b"learner" in bytes(buffer[:64]) else None),
    )
)


# --- protobuf ----------------------------------------------------------------------------------------------------


def _protobuf(wire: Wire) -> Format | None:
    """ONNX, GraphDef, SavedModel, Core ML, Caffe, Caffe2: told apart by their field numbers."""
    fields: list[tuple[int, int, int, Span]] = []
    damaged = ""
    most = min(20_000, wire.steps.left // 8)
    try:
        for item in wire.fields(wire.span):
            fields.append(item)
            if len(fields) == most:
                break
    except WireError as error:
        damaged = str(error)
    if not fields:
        return None
    kinds: dict[int, set[int]] = {}
    for number, kind, _, _ in fields:
        kinds.setdefault(number, set()).add(kind)
    if _is_onnx(wire, fields, kinds, bool(damaged)):
        return Format("ONNX")
    if damaged:
        return None
    for probe in (_core_ml, _saved_model_fields, _graph_def, _caffe, _caffe2):
        try:
            found = probe(wire, fields)
        except WireError:
            continue
        if found is not None:
            return found if wire.steps.left >= 0 else replace(found, warnings=(_IN_PART,))
    return None


def _fields(wire: Wire, span: Span) -> Iterator[tuple[int, int, int, Span]]:
    """`Wire.fields`, as far as there are steps."""
    with suppress(StepsSpent):
        yield from wire.fields(span)


_ONNX_KINDS = {
    1: VARINT, 2: LEN, 3: LEN, 4: LEN, 5: VARINT, 6: LEN, 7: LEN, 8: LEN, 14: LEN, 20: LEN, 25: LEN, 26: LEN,
}  # fmt: skip


def _is_onnx(wire: Wire, fields: list[tuple[int, int, int, Span]], kinds: dict[int, set[int]], damaged: bool) -> bool:
    """A ModelProto: an IR version or opset beside a graph. A file cut short inside its graph still counts."""
    if any(kinds.get(number, {kind}) != {kind} for number, kind in _ONNX_KINDS.items()):
        return False
    if damaged:
        # The graph is the long field, so a truncated model ends within it: its first fields must tell.
        first = fields[0]
        return first[:2] == (1, VARINT) and 1 <= first[2] <= 100 and set(kinds) <= set(_ONNX_KINDS) and len(fields) > 1
    if 7 not in kinds or not kinds.keys() & {1, 8}:
        return False
    span = next(span for number, _, _, span in fields if number == 7)
    try:
        inside = {(number, kind) for number, kind, _, _ in islice(wire.fields(span), 50)}
    except WireError:
        # `read_header` will say what is wrong with it.
        return set(kinds) <= set(_ONNX_KINDS)
    return all(kind == LEN for number, kind in inside if number in (1, 2, 5, 11, 12, 13, 15))


def _core_ml(wire: Wire, fields: list[tuple[int, int, int, Span]]) -> Format | None:
    """Core ML Model: specificationVersion = 1, description = 2, and one model type numbered 200 or above."""
    types = [number for number, kind, _, _ in fields if 200 <= number <= 3000 and kind == LEN]
    version = next((value for number, kind, value, _ in fields if (number, kind) == (1, VARINT)), 0)
    if not types or not 1 <= version <= 100:
        return None
    return Format("Core ML", CORE_ML_TYPES.get(types[0], f"model type {types[0]}"), (str(types[0]),))


CORE_ML_TYPES = {
    200: "pipeline classifier", 201: "pipeline regressor", 202: "pipeline", 300: "generalised linear regressor",
    301: "support vector regressor", 302: "tree ensemble regressor", 303: "neural network regressor",
    304: "Bayesian probit regressor", 400: "generalised linear classifier", 401: "support vector classifier",
    402: "tree ensemble classifier", 403: "neural network classifier", 404: "k-nearest-neighbours classifier",
    500: "neural network", 501: "item similarity recommender", 502: "ML program", 556: "custom model",
}  # fmt: skip
"""Core ML's ``Model.Type`` oneof. Source: apple/coremltools, mlmodel/format/Model.proto."""


def _saved_model_fields(wire: Wire, fields: list[tuple[int, int, int, Span]]) -> Format | None:
    is_saved = any(f[:2] == (1, VARINT) for f in fields) and any(f[:2] == (2, LEN) for f in fields)
    return _saved_model(wire) if is_saved and {f[0] for f in fields} <= {1, 2} else None


def _saved_model(wire: Wire) -> Format | None:
    """SavedModel: meta_graphs = 2, each with its graph_def = 2."""
    ops: dict[str, None] = {}
    for number, kind, _, meta in _fields(wire, wire.span):
        if (number, kind) == (2, LEN):
            for inner, inner_kind, _, graph in _fields(wire, meta):
                if (inner, inner_kind) == (2, LEN):
                    ops.update(dict.fromkeys(_graph_def_ops(wire, graph)))
    return Format("SavedModel", markers=tuple(ops)[:MAX_MARKERS], runs_code=True) if ops else None


def _graph_def(wire: Wire, fields: list[tuple[int, int, int, Span]]) -> Format | None:
    """GraphDef: node = 1 (name = 1, op = 2, attr = 5), library = 2, version = 3, versions = 4."""
    if not {f[0] for f in fields} <= {1, 2, 3, 4, 5} or any(f[1] != LEN for f in fields if f[0] in (1, 2, 4)):
        return None
    ops = tuple(dict.fromkeys(_graph_def_ops(wire, wire.span)))
    known = [op for op in ops if re.fullmatch(r"[A-Z_]\w*(?:>\w+)*", op)]
    # Every TensorFlow op is CamelCase, and a graph has at least one place its data comes from.
    if len(known) < len(ops) or not {"Placeholder", "Const", "PlaceholderV2", "VariableV2", "VarHandleOp"} & set(ops):
        return None
    return Format("GraphDef", "frozen" if not {"VarHandleOp", "VariableV2"} & set(ops) else "", ops[:MAX_MARKERS])


def _graph_def_ops(wire: Wire, graph: Span) -> Iterator[str]:
    """NodeDef.op of every node, function library included, as far as there are steps."""

    def op(node: Span) -> str:
        wire.steps.left -= 5
        for number, kind, _, span in wire.fields(node):
            if (number, kind) == (2, LEN):
                return wire.text(span, 200)
        return ""

    with suppress(StepsSpent):
        for number, kind, _, span in wire.fields(graph):
            if (number, kind) == (1, LEN):
                yield op(span)
            elif (number, kind) == (2, LEN):
                for inner, inner_kind, _, function in wire.fields(span):
                    if (inner, inner_kind) == (1, LEN):
                        for part, part_kind, _, node in wire.fields(function):
                            if (part, part_kind) == (3, LEN):
                                yield op(node)


def _caffe(wire: Wire, fields: list[tuple[int, int, int, Span]]) -> Format | None:
    """NetParameter: layer = 100 (type = 2, a string) or the older layers = 2 (bottom = 2, top = 3, type = 5)."""
    types: dict[str, None] = {}
    for number, kind, _, layer in fields:
        if kind == LEN and number == 100:
            types.update((wire.text(s, 100), None) for n, k, _, s in _fields(wire, layer) if (n, k) == (2, LEN))
        elif kind == LEN and number == 2:
            missing, old = {(3, LEN), (4, LEN), (5, VARINT)}, dict[str, None]()
            for n, k, value, _ in _fields(wire, layer):
                missing.discard((n, k))
                if (n, k) == (5, VARINT):
                    wire.steps.left -= 1
                    old[f"V1LayerType {value}"] = None
            if not missing:
                types.update(old)
    return Format("Caffe", markers=tuple(types)[:MAX_MARKERS]) if types else None


def _caffe2(wire: Wire, fields: list[tuple[int, int, int, Span]]) -> Format | None:
    """NetDef: name = 1, op = 2 (input = 1, output = 2, type = 4), external_input = 7, external_output = 8."""
    types: dict[str, None] = {}
    for number, kind, _, op in fields:
        if number == 2 and kind == LEN:
            own: dict[str, None] = {}
            for n, k, _, s in _fields(wire, op):
                if n > 15:
                    break
                if (n, k) == (4, LEN):
                    own[wire.text(s, 100)] = None
            else:
                types.update(own)
    known = [name for name in types if re.fullmatch(r"[A-Z]\w{1,60}", name)]
    if not known or len(known) < len(types):
        return None
    return Format("Caffe2", markers=tuple(types)[:MAX_MARKERS])


# --- text --------------------------------------------------------------------------------------------------------


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
    start = text.lstrip()[:4096]
    if start.startswith("version https://git-lfs"):
        advice = "This is a Git LFS pointer, not the file itself; fetch the model with `git lfs pull`."
        return Format("text", "Git LFS pointer", warnings=(advice,))
    if re.match(r"<!doctype html|<html", start, re.I):
        advice = "This is a web page, not a model; the download probably saved an error or login page."
        return Format("text", "HTML", warnings=(advice,))
    if start.startswith("{"):
        whole = text + bytes(buffer[-4096:]).decode("utf-8", "replace")
        if re.search(r'"nodes":\s*\[', text) and '"arg_nodes"' in whole:
            return Format("MXNet symbol", markers=_unique(re.findall(rb'"op":\s*"([^"]{1,100})"', data)))
        if re.match(r'\{\s*"learner"|\{\s*"version":\s*\[[\d,\s]+\],\s*"learner"', start):
            return Format("XGBoost", "JSON")
        if re.search(r'"class_name":\s*"(Sequential|Functional|Model)"|"modelTopology"', start):
            return Format("Keras JSON", "architecture without weights", _classes(data))
        with suppress(ValueError):
            json.loads(text)
            return Format("text", "JSON")
    if re.match(r"tree\s*\nversion=v", start):
        return Format("LightGBM")
    if "<PMML" in start:
        return Format("PMML", markers=_unique(re.findall(rb"<(\w+Model|RuleSetModel|Scorecard)\b", data)))
    types = re.findall(rb'\blayers?\s{0,9}\{[^}]{0,999}?\btype:\s{0,9}"?([A-Z]\w{1,60})"?', data)
    if types:
        return Format("Caffe", "prototxt: architecture without weights", _unique(types))
    return Format("text")


# --- parts several formats share ---------------------------------------------------------------------------------


class _TooMuch(Exception):
    """`zipfile` wants to read more at once than a model's archive has reason for: its list of entries."""


class _Listing(Window):
    """A window for `zipfile`, which reads the list of an archive's entries whole."""

    most = MAX_DIRECTORY

    def read(self, size: int = -1) -> bytes:
        if size > self.most:
            raise _TooMuch
        return super().read(size) or b""


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The start of one archive member; empty where it cannot be read."""
    try:
        if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return b""  # zipfile unpacks the other kinds without a bound, and no framework writes them
        with archive.open(name) as file:
            return file.read(WINDOW)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zlib.error, KeyError):
        return b""


def _unique(names: list[bytes]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.decode("utf-8", "replace") for name in names))[:MAX_MARKERS]


def _classes(config: bytes) -> tuple[str, ...]:
    """Class names of a Keras config, registered name or module where a custom layer gives one."""
    found = re.findall(rb'"class_name":\s*"([^"]{1,200})"', config)
    custom = re.findall(rb'"registered_name":\s*"([^"]{1,200})"', config)
    initial = (b"Zeros", b"Ones", b"GlorotUniform", b"GlorotNormal", b"HeNormal", b"HeUniform", b"DTypePolicy")
    return _unique([name for name in found + custom if name not in initial])


_PLUMBING = re.compile(
    r"(?:numpy|scipy|builtins|__builtin__|copy_?reg|collections|_codecs|datetime|functools|operator|_?io|types)\b"
)


def _foreign(classes: tuple[str, ...], *packages: str) -> bool:
    """Whether a class comes from none of `packages` nor from what every pickle uses."""
    return any(not _PLUMBING.match(name) and name.split(".")[0] not in packages for name in classes)


_CLASS = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_<]\w*>?)+")
