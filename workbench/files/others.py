"""The formats that belong to no framework's room: ONNX itself, what is no model, and what is recognised only."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

from ..words import counted
from .archives import Archive, Text, fields_of, unique
from .onnx_forms import gzipped, written, zipped
from .pickle_walk import OPENINGS, Budget
from .pickled import MAX_MARKERS, WINDOW, Noted, foreign, pickled
from .records import EngineRecord, FileFormat, Format, Framework, Probe, Reader, Verdict, unclear
from .unpack import unpacked
from .wire import LEN, VARINT, Buffer, Span, Wire, opened

_ALREADY = "it is an ONNX model already, so there is nothing to convert"
_FORM = "workbench.files.onnx_forms:kind_of_form"
_STANDS_FOR = "workbench.safety.forms:as_onnx"
_CLASSES = "workbench.kind.packages:kind_of_classes"
_NETWORKS = ("DL", "{shown} stores neural networks.")
_TREES = ("ML", "{shown} stores gradient-boosted trees.")

# --- archives ----------------------------------------------------------------------------------------------------


def _pytorch(archive: Archive) -> Format | None:
    names = archive.names
    program = next((n for n in names if n.endswith(("models/model.json", "serialized_exported_program.json"))), None)
    if program:
        targets = re.findall(rb'"target":\s*"([^"]{1,200})"', archive.member(program))
        return Format("PyTorch", "exported program (.pt2)", unique(targets))
    data = next((name for name in names if name == "data.pkl" or name.endswith("/data.pkl")), None)
    if data is None:
        return None
    if any("/code/" in name for name in names):
        code = [name.split("/code/", 1)[1] for name in names if "/code/" in name and name.endswith(".py")]
        return Format("PyTorch", "TorchScript", tuple(code[:MAX_MARKERS]), runs_code=True)
    walk = Noted(unpacked(archive.member(data), Budget(0, 0)))
    walk.followed()
    known = tuple(walk.classes)
    whole = any(name.startswith("torch.nn.") for name in known) or foreign(known, "torch", "collections")
    return Format("PyTorch", "whole module" if whole else "state dict", walk.names, runs_code=True)


def _core_ml_package(archive: Archive) -> Format | None:
    inside = any(name.endswith("com.apple.CoreML/model.mlmodel") for name in archive.names)
    return Format("Core ML", "package") if inside else None


def _npz(archive: Archive) -> Format | None:
    names = archive.names
    if not names or not all(name.endswith(".npy") for name in names):
        return None
    return Format("NumPy npz", f"{len(names)} arrays", tuple(name[:-4] for name in names[:MAX_MARKERS]))


# --- by magic number ---------------------------------------------------------------------------------------------


def _npy(buffer: Buffer) -> Format:
    header = re.search(rb"\{[^}]{0,500}\}", bytes(buffer[:600]))
    shown = header[0].decode("latin1").strip("{} ,") if header else ""
    return Format("NumPy npy", shown, runs_code=bool(re.search(r"'[<>=|]?O\d?'", shown)))


def _safetensors(buffer: Buffer) -> Format | None:
    (size,) = struct.unpack_from("<Q", bytes(buffer[:8]).ljust(8, b"\0"))
    if not 2 <= size <= len(buffer) - 8 or buffer[8] != 0x7B:
        return None
    names = re.findall(rb'"([^"]{1,200})":\s*\{"dtype"', bytes(buffer[8 : 8 + min(size, WINDOW)]))
    return Format("safetensors", counted(len(names), "tensor"), unique(names)) if names else None


def _fixed(name: str, detail: str = "", runs_code: bool = False) -> Callable[[Buffer], Format]:
    return lambda buffer: Format(name, detail, runs_code=runs_code)


def _xgboost_binary(buffer: Buffer) -> Format | None:
    return Format("XGBoost", "UBJSON") if b"learner" in bytes(buffer[:64]) else None


# --- protobuf ----------------------------------------------------------------------------------------------------


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


def _core_ml_folder(path: Path, steps: object) -> Format | None:
    package = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    if not (path / "Manifest.json").is_file() or not package.is_file():
        return None
    with opened(package) as buffer:
        wire = Wire(buffer)
        return _core_ml(wire, list(wire.fields(wire.span))[:20_000]) or Format("Core ML", "package")


def _caffe(wire: Wire, fields: list[tuple[int, int, int, Span]]) -> Format | None:
    """NetParameter: layer = 100 (type = 2, a string) or the older layers = 2 (bottom = 2, top = 3, type = 5)."""
    types: dict[str, None] = {}
    for number, kind, _, layer in fields:
        if kind == LEN and number == 100:
            types.update((wire.text(s, 100), None) for n, k, _, s in fields_of(wire, layer) if (n, k) == (2, LEN))
        elif kind == LEN and number == 2:
            missing, old = {(3, LEN), (4, LEN), (5, VARINT)}, dict[str, None]()
            for n, k, value, _ in fields_of(wire, layer):
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
            for n, k, _, s in fields_of(wire, op):
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


def kind_of_core_ml(content: Format) -> Verdict:
    """By the number of its model type; a pipeline or a model of one's own can be of any kind."""
    number = int(content.markers[0]) if content.markers else 0
    if number not in CORE_ML_TYPES or number in (200, 201, 202, 556):
        return unclear(content)
    neural = number in (303, 403, 500, 502)
    return Verdict("DL" if neural else "ML", f"Its Core ML type is {CORE_ML_TYPES[number]}.", content.detail)


# --- text --------------------------------------------------------------------------------------------------------


def _git_lfs(text: Text) -> Format | None:
    advice = "This is a Git LFS pointer, not the file itself; fetch the model with `git lfs pull`."
    pointer = text.start.startswith("version https://git-lfs")
    return Format("text", "Git LFS pointer", warnings=(advice,)) if pointer else None


def _web_page(text: Text) -> Format | None:
    advice = "This is a web page, not a model; the download probably saved an error or login page."
    page = re.match(r"<!doctype html|<html", text.start, re.I)
    return Format("text", "HTML", warnings=(advice,)) if page else None


def _mxnet(text: Text) -> Format | None:
    if not text.is_json or not re.search(r'"nodes":\s*\[', text.text) or '"arg_nodes"' not in text.whole:
        return None
    return Format("MXNet symbol", markers=unique(re.findall(rb'"op":\s*"([^"]{1,100})"', text.data)))


def _xgboost(text: Text) -> Format | None:
    learner = re.match(r'\{\s*"learner"|\{\s*"version":\s*\[[\d,\s]+\],\s*"learner"', text.start)
    return Format("XGBoost", "JSON") if learner else None


def _json(text: Text) -> Format | None:
    if not text.is_json:
        return None
    json.loads(text.text)
    return Format("text", "JSON")


def _lightgbm(text: Text) -> Format | None:
    return Format("LightGBM") if re.match(r"tree\s*\nversion=v", text.start) else None


def _pmml(text: Text) -> Format | None:
    if "<PMML" not in text.start:
        return None
    return Format("PMML", markers=unique(re.findall(rb"<(\w+Model|RuleSetModel|Scorecard)\b", text.data)))


def _prototxt(text: Text) -> Format | None:
    types = re.findall(rb'\blayers?\s{0,9}\{[^}]{0,999}?\btype:\s{0,9}"?([A-Z]\w{1,60})"?', text.data)
    return Format("Caffe", "prototxt: architecture without weights", unique(types)) if types else None


# --- the table ---------------------------------------------------------------------------------------------------


def _begins(pattern: bytes, ask: Callable[[Buffer], Format | None]) -> Probe:
    return Probe(re.compile(pattern, re.S), ask)


_PICKLES = "workbench.safety.pickles:scan"
_NUMPY = ("numpy",)

ONNX_ENGINES = (
    EngineRecord("onnxruntime", "ONNX Runtime", "workbench.engines.onnxruntime:OnnxRuntimeEngine"),
    EngineRecord("reference", "ONNX's reference implementation", "workbench.engines.reference:ReferenceEngine"),
)

FRAMEWORK = Framework(
    formats=(
        FileFormat(
            "ONNX", (".onnx",), advice=_ALREADY,
            reader=Reader("model.onnx", ("onnx",)),
        ),
        FileFormat(
            "ONNX text", (".textproto", ".txtpb", ".onnxtxt", ".onnxtext", ".onnxjson", ".pbtxt", ".prototxt", ".json"),
            kind=_FORM, apart=True, stands_for=_STANDS_FOR, advice=_ALREADY,
        ),
        FileFormat("ONNX packed", (".gz", ".zip"), kind=_FORM, apart=True, stands_for=_STANDS_FOR, advice=_ALREADY),
        FileFormat(
            "ORT", (".ort",), kind=_FORM, engine="onnxruntime", apart=True, advice=_ALREADY,
            reader=Reader("model.ort", ("onnx",), graphs="workbench.graph.layouts:ort"),
        ),
        FileFormat(
            "PyTorch", (".pt", ".pth", ".bin", ".ckpt", ".pt2", ".ptl"), kind=_CLASSES, scan=_PICKLES,
            advice="export it from PyTorch itself with torch.onnx.export",
            reader=Reader("model.pt", ("pytorch",), ("python",), "workbench.graph.slim:pytorch", apart=True),
        ),
        FileFormat("safetensors", (".safetensors",)),
        FileFormat("GGUF", (".gguf",), kind=_NETWORKS),
        FileFormat(
            "Core ML", (".mlmodel", ".mlpackage"), kind="workbench.files.others:kind_of_core_ml",
            reader=Reader("model.mlmodel", ("coreml",)), inside=("Data/com.apple.CoreML/model.mlmodel",),
        ),
        FileFormat("MXNet params", (".params",), kind=_NETWORKS, reader=Reader("model.params", ("mxnet",))),
        FileFormat("MXNet symbol", (".json",), kind=_NETWORKS, reader=Reader("model-symbol.json", ("mxnet",))),
        FileFormat(
            "Caffe", (".caffemodel", ".prototxt"), kind=_NETWORKS, reader=Reader("model.caffemodel", ("caffe",)),
        ),
        FileFormat(
            "Caffe2", (".pb", ".pbtxt"), kind=_NETWORKS, reader=Reader("predict_net.pb", ("caffe2",)),
        ),
        FileFormat(
            "XGBoost", (".json", ".ubj", ".model"), kind=_TREES,
            advice="load it with XGBoost's scikit-learn classes and convert the estimator",
        ),
        FileFormat(
            "LightGBM", (".txt", ".model"), kind=_TREES,
            advice="load it with LightGBM's scikit-learn classes and convert the estimator",
        ),
        FileFormat("PMML", (".pmml", ".xml")),
        FileFormat(
            "NumPy npz", (".npz",), "arrays, perhaps weights or data, but no model", scan=_PICKLES,
            reader=Reader("model.npz", _NUMPY, ("python",)),
        ),
        FileFormat(
            "NumPy npy", (".npy",), "one array, not a model", scan=_PICKLES,
            reader=Reader("model.npy", _NUMPY, ("python",)),
        ),
        FileFormat("zip archive", (".zip",), "an archive, not a model", scan=_PICKLES),
        FileFormat(
            "image", (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"), "an image, not a model",
        ),
        FileFormat(
            "text",
            (".txt", ".md", ".csv", ".json", ".xml", ".py", ".html", ".pbtxt", ".prototxt", ".log", ".yml", ".yaml"),
            "text, not a model",
        ),
        FileFormat("empty", (), "nothing"),
        FileFormat("folder", (), "a folder"),
        FileFormat("unknown", (), "nothing the workbench knows"),
    ),
    probes=(
        Probe("zip", _pytorch),
        Probe("zip", _core_ml_package),
        Probe("zip", _npz),
        Probe("zip", zipped),
        Probe("folder", _core_ml_folder),
        _begins(rb".{4}ORTM", _fixed("ORT", "ONNX Runtime's own form of an ONNX model")),
        _begins(rb"GGUF[\x01-\x09]\0\0\0", _fixed("GGUF")),
        _begins(rb"\x89PNG\r\n\x1a\n", _fixed("image", "PNG")),
        _begins(rb"\xff\xd8\xff", _fixed("image", "JPEG")),
        _begins(rb"GIF8[79]a", _fixed("image", "GIF")),
        _begins(rb"RIFF....WEBP", _fixed("image", "WebP")),
        _begins(rb"BM.{4}\0\0\0\0", _fixed("image", "BMP")),
        _begins(rb"II\*\0|MM\0\*", _fixed("image", "TIFF")),
        _begins(rb"\x93NUMPY", _npy),
        _begins(rb"\x12\x01\0\0\0\0\0\0", _fixed("MXNet params")),
        _begins(rb"7z\xbc\xaf\x27\x1c", _fixed("zip archive", "7-Zip, which is not looked into", True)),
        _begins(rb"\x04\x22\x4d\x18", _fixed("joblib", "packed with lz4, which is not looked into", True)),
        _begins(rb"\x1f\x8b", gzipped),
        _begins(rb"\x1f\x8b|BZh|\xfd7zXZ\0|\x5d\0|\x78[\x01\x5e\x9c\xda]|ZF0x", pickled),
        _begins(b"[" + b"".join(map(re.escape, sorted(OPENINGS))) + b"]", pickled),
        _begins(rb".{5}\0\0\0\{", _safetensors),
        _begins(rb"\{L", _xgboost_binary),
        Probe("protobuf", _core_ml),
        Probe("protobuf", _caffe),
        Probe("protobuf", _caffe2),
        Probe("text", _git_lfs),
        Probe("text", _web_page),
        Probe("text", _mxnet),
        Probe("text", _xgboost),
        Probe("text", written),
        Probe("text", _json),
        Probe("text", _lightgbm),
        Probe("text", _pmml),
        Probe("text", _prototxt),
    ),
)  # fmt: skip
