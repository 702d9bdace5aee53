"""How files of Keras and TensorFlow are recognised, and their kind told, without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...errors import UnreadableFile
from ...files.archives import Archive, Text, fields_of, unique
from ...files.pickled import MAX_MARKERS
from ...files.records import Format, Verdict, unclear
from ...files.wire import LEN, VARINT, Span, Steps, StepsSpent, Wire, opened


def keras_archive(archive: Archive) -> Format | None:
    if not {"config.json", "metadata.json"} <= set(archive.names):
        return None
    version = re.search(rb'"keras_version":\s*"([^"]{1,32})"', archive.member("metadata.json"))
    detail = f"Keras {version[1].decode('ascii', 'replace')}" if version else ""
    layers = _classes(archive.member("config.json"))
    return Format("Keras v3", detail, layers, runs_code="Lambda" in layers)


def keras_hdf5(ends: bytes) -> Format | None:
    """Keras writes the attributes that name it before any weights."""
    if (b"model_config" in ends and b'"class_name"' in ends) or b"layer_names" in ends:
        version = re.search(rb"(?<![\d.])([123]\.\d{1,2}\.\d{1,2}(?:-tf|\.dev\w*|rc\d)?)(?![\d.])", ends)
        detail = f"Keras {version[1].decode('ascii')}" if version else ""
        if b'"class_name"' in ends:
            layers = _classes(ends)
            return Format("Keras HDF5", detail, layers, runs_code="Lambda" in layers)
        return Format("Keras weights", detail)
    if b"\0vars\0" in ends and b"\0layers\0" in ends and b"\x000\0" in ends:
        return Format("Keras weights")
    return None


def keras_json(text: Text) -> Format | None:
    architecture = r'"class_name":\s*"(Sequential|Functional|Model)"|"modelTopology"'
    if not text.is_json or not re.search(architecture, text.start):
        return None
    return Format("Keras JSON", "architecture without weights", _classes(text.data))


def _classes(config: bytes) -> tuple[str, ...]:
    """Class names of a Keras config, registered name or module where a custom layer gives one."""
    named = re.findall(rb'"class_name":\s*"([^"]{1,200})"', config)
    custom = re.findall(rb'"registered_name":\s*"([^"]{1,200})"', config)
    initial = (b"Zeros", b"Ones", b"GlorotUniform", b"GlorotNormal", b"HeNormal", b"HeUniform", b"DTypePolicy")
    return unique([name for name in named + custom if name not in initial])


def saved_model_folder(path: Path, steps: Steps | None) -> Format | None:
    saved = path / "saved_model.pb"
    if saved.is_file():
        try:
            with opened(saved) as buffer:
                inside = _saved_model(Wire(buffer, steps))
        except UnreadableFile:
            inside = None
        damaged = "Its saved_model.pb is damaged or cut short."
        return inside or Format("SavedModel", runs_code=True, warnings=(damaged,))
    if (path / "saved_model.pbtxt").is_file():
        return Format("SavedModel", "text form", runs_code=True)
    return None


def saved_model(wire: Wire, fields: list[tuple[int, int, int, Span]]) -> Format | None:
    is_saved = any(f[:2] == (1, VARINT) for f in fields) and any(f[:2] == (2, LEN) for f in fields)
    return _saved_model(wire) if is_saved and {f[0] for f in fields} <= {1, 2} else None


def _saved_model(wire: Wire) -> Format | None:
    """SavedModel: meta_graphs = 2, each with its graph_def = 2."""
    ops: dict[str, None] = {}
    for number, kind, _, meta in fields_of(wire, wire.span):
        if (number, kind) == (2, LEN):
            for inner, inner_kind, _, graph in fields_of(wire, meta):
                if (inner, inner_kind) == (2, LEN):
                    ops.update(dict.fromkeys(_graph_def_ops(wire, graph)))
    return Format("SavedModel", markers=tuple(ops)[:MAX_MARKERS], runs_code=True) if ops else None


def graph_def(wire: Wire, fields: list[tuple[int, int, int, Span]]) -> Format | None:
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


# --- kinds -------------------------------------------------------------------------------------------------------

_FOREST = re.compile(r"SimpleML|BoostedTrees|TensorForest|DecisionTree")
_LAYER = re.compile(r"Conv|DepthwiseConv|MatMul|BatchMatMul|Einsum|FusedBatchNorm")


def kind_of_keras(content: Format) -> Verdict:
    from ...kind.packages import spiking_marker

    if spiking := spiking_marker(content):
        return Verdict("SNN", f"Its Keras layers include {spiking}.", f"layer {spiking}", "nengo_dl")
    return Verdict("DL", f"{content} stores neural networks.", engine="keras")


def kind_of_graph(content: Format) -> Verdict:
    """By the operators of a TensorFlow graph."""
    from ...kind.packages import spiking_marker

    if spiking := spiking_marker(content):
        return Verdict("SNN", f"Its TensorFlow graph holds {spiking}.", f"op {spiking}", "nengo_dl")
    if forest := next(filter(_FOREST.match, content.markers), None):
        return Verdict("ML", f"Its TensorFlow graph holds decision forests ({forest}).", f"op {forest}", "tensorflow")
    if layer := next(filter(_LAYER.match, content.markers), None):
        return Verdict("DL", f"Its TensorFlow graph holds network operators ({layer}).", f"op {layer}", "tensorflow")
    return unclear(content)
