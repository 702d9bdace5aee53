"""Which two belong together: a model as its framework saved it, and the ONNX file made of it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from glob import escape
from itertools import islice
from pathlib import Path

from ..files import certificate, registry
from ..files.header import Graph, ValueInfo, read_header
from ..files.registry import is_model_folder
from ..kind import ENGINE_NAMES, Detection
from .folder import look

MOST_BESIDE = 200
"""Entries of a folder that are looked at, which takes up to 1 ms for each that the file list has not looked at."""

MOST_OF_ONE_NAME = 20


@dataclass(frozen=True)
class Pairing:
    """Both sides of a comparison.

    Attributes:
        native, onnx: the files; the same one where two engines run it.
        engines: for `workbench.load_engine`, native and ONNX; None lets the model's kind decide.
        because: why these two, in one sentence. It may quote the file: escape it.
        params: the NengoDL .npz with a spiking network's weights, where they are kept beside the model.
    """

    native: str
    onnx: str
    engines: tuple[str | None, str | None]
    because: str
    params: str | None = None


def pair(path: str, detection: Detection, partner: str | None = None, converted: str | None = None) -> Pairing | None:
    """The pair that a file is one side of.

    Args:
        path: the file; detection: what `workbench.detect` says of it.
        partner: the other side, where the person names it.
        converted: the ONNX file that this session made of it.

    Returns:
        None where nothing is known to be the other side.
    """
    name = os.path.basename(path)
    if partner is not None:
        sides = (path, partner) if detection.format != "ONNX" or _is_onnx(partner) else (partner, path)
        return Pairing(*sides, (None, None), "You named both.")
    if detection.format != "ONNX":
        if not registry.of(detection.format).native:
            return None
        if converted is not None and os.path.exists(converted):
            return Pairing(path, converted, (None, None), f"{os.path.basename(converted)} was made of {name} here.")
        beside = Path(path).with_suffix(".onnx")
        if _is_onnx(str(beside)):
            return Pairing(path, str(beside), (None, None), f"{beside.name} lies beside {name} and has its name.")
        return None
    if detection.header is not None and registry.runs_over_time(detection.header):
        because = f"One file, two engines: {ENGINE_NAMES['nengo_dl']} and {ENGINE_NAMES['onnxruntime']}."
        beside = Path(path).with_name(f"{Path(path).stem}_params.npz")
        params = str(beside) if beside.is_file() else None
        return Pairing(path, path, ("nengo_dl", "onnxruntime"), because, params)
    folder = Path(path).parent
    proof = certificate.read((detection.components or {}).get("metadata_props", {}))
    source = os.path.basename(str(proof.get("source", ""))) if proof else ""
    made_of = str(folder / source)
    if source and source != name and (os.path.isfile(made_of) or is_model_folder(made_of)):
        return Pairing(made_of, path, (None, None), f"{name} says that it was made of {source}.")
    for other in islice(sorted(folder.glob(f"{escape(Path(path).stem)}.*")), MOST_OF_ONE_NAME):
        if str(other) != path and _is_native(str(other)):
            return Pairing(str(other), path, (None, None), f"{other.name} lies beside {name} and has its name.")
    return None


def partners(path: str, detection: Detection) -> list[str]:
    """Files beside a model that could be its other side, by their content: ONNX files for a native one; for an ONNX
    file what a framework saved, and then other ONNX files. They are of its kind, where both are known; and an ONNX
    file takes and gives the same sort of values as another."""
    try:
        beside = sorted(str(entry) for entry in islice(Path(path).parent.iterdir(), MOST_BESIDE) if str(entry) != path)
    except OSError:
        return []
    looks = {other: look(other) for other in beside if not os.path.basename(other).startswith(".")}
    formats = {
        other: seen.format
        for other, seen in looks.items()
        if seen.badge == detection.kind or "unknown" in (seen.badge, detection.kind)
    }
    onnx = [other for other, name in formats.items() if name == "ONNX"]
    native = [other for other, name in formats.items() if registry.of(name).native]
    if detection.header is None:
        return onnx
    graph = detection.header.graph
    return [*native, *(other for other in onnx if _alike(graph, read_header(other).graph))]


def _alike(one: Graph, other: Graph) -> bool:
    """Whether two graphs could be asked the same: as many inputs, each like one of the other's, and so one output."""
    return (
        len(one.inputs) == len(other.inputs)
        and all(any(_fits(value, asked) for asked in other.inputs) for value in one.inputs)
        and any(_fits(value, given) for value in one.outputs for given in other.outputs)
    )


def _fits(one: ValueInfo, other: ValueInfo) -> bool:
    """Numbers or text on both sides. After the first dimension, which counts rows, theirs are the same in any order,
    since layouts turn them; an open one is any."""
    if ("string" in one.sort) != ("string" in other.sort):
        return False
    if one.shape is None or other.shape is None:
        return True
    ours, theirs = (Counter(dim for dim in shape[1:] if isinstance(dim, int)) for shape in (one.shape, other.shape))
    open_here, open_there = len(one.shape[1:]) - ours.total(), len(other.shape[1:]) - theirs.total()
    same_rank = len(one.shape) == len(other.shape)
    return same_rank and (ours - theirs).total() <= open_there and (theirs - ours).total() <= open_here


def _is_onnx(path: str) -> bool:
    return look(path).format == "ONNX"


def _is_native(path: str) -> bool:
    seen = look(path)
    return bool(seen.badge) and registry.of(seen.format).native
