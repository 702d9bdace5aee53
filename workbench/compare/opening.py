"""Both sides of a comparison, opened in workers of their own: which engine runs each, with what room."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..convert.options import chosen, options_for
from ..engines import leans
from ..engines.onnxruntime import LARGE
from ..engines.worker import WorkerEngine
from ..files import certificate, registry, remote
from ..files.formats import identify
from ..files.header import read_header
from ..kind import ENGINE_NAMES
from ..safety.external import whole_size
from ..sandbox import end_warm_worker
from .options import Options
from .sides import Side, WorkerSide

LAYER_ROWS = 4
"""Rows on which layers are held against each other, the worst ones first."""

WAITING_MIB = 600
"""MiB, from which a converter's worker does not wait while two sides are compared. One with scikit-learn holds 200."""


def title(model: Any) -> str:
    return os.path.basename(model) if isinstance(model, str | os.PathLike) else type(model).__name__


def opened(sides: ExitStack, models: tuple[Any, Any], wishes: Options, warnings: list[str]) -> tuple[Side, Side]:
    """Both sides, opened; they end with `sides`. How they run a model is told in `warnings`."""
    native, onnx = models
    wishes.say(f"Loading {title(native)}")
    options = {"params": wishes.params, "trust": wishes.trust, "custom_objects": wishes.custom_objects}
    theirs = one(sides, native, wishes.engines[0], wishes, options | _read_as_converted(native, onnx))
    wishes.say(f"Loading {title(onnx)}")
    # A spiking network is dispatched to Nengo, and this is the side of ONNX Runtime.
    default = "onnxruntime" if isinstance(onnx, str | os.PathLike) else None
    same = {"params": wishes.params} if wishes.params is not None and title(native) == title(onnx) else {}
    ours = one(sides, onnx, wishes.engines[1] or default, wishes, same)
    if theirs.threads != ours.threads:
        counts = [f"{side.name} with {side.threads or 'an unknown number'}" for side in (theirs, ours)]
        warnings.append(f"Not the same threads on both sides: {' and '.join(counts)}; give paths, not open engines.")
    if theirs.axes != ours.axes and {info.name for info in theirs.inputs} == {info.name for info in ours.inputs}:
        # Both take the same arrays, and one of them does not name its axes.
        theirs.axes = ours.axes = theirs.axes | ours.axes
    for side, model in zip((theirs, ours), models, strict=True):
        warnings += [f"{title(model)} in {ENGINE_NAMES.get(side.name, side.name)}: {said}" for said in side.remarks]
    return theirs, ours


def _read_as_converted(native: Any, onnx: Any) -> dict[str, Any]:
    """How a file that leaves something open (NIR) was read when this ONNX file was made of it, by its certificate."""
    if not all(isinstance(path, str | os.PathLike) and os.path.isfile(path) for path in (native, onnx)):
        return {}
    if not registry.of(name := identify(native).name).over_time or identify(onnx).name != "ONNX":
        return {}
    stated = certificate.read(read_header(onnx).metadata_props) or {}
    read = stated.get("read")
    if not isinstance(read, dict) or stated.get("sha256") != remote.sha256(os.fspath(native)):
        return {}
    known = chosen(options_for(name), read, f"a file of {name}")
    return {option: known[option] for option in read}  # others are of what was written


def one(sides: ExitStack, model: Any, engine: str | None, wishes: Options, options: dict[str, Any]) -> Side:
    """A worker ends with `sides`; an engine that the caller opened stays open."""
    if isinstance(model, WorkerEngine):
        return WorkerSide(model)
    if callable(getattr(model, "run", None)) and hasattr(model, "inputs"):
        return Side(model)
    large = isinstance(model, str | os.PathLike) and os.path.isfile(model) and whole_size(Path(model)) >= LARGE
    # A worker that waits beside two sides is what a machine with 2 GB has no room for: a large network's leftovers
    # beside any sides, and any beside a large network's.
    end_warm_worker(0 if large else WAITING_MIB)
    if large and leans(model):
        # Its weights should not be in memory twice, beside another side that holds them too.
        options["lean"] = True
    options |= {"threads": wishes.threads, "memory_mib": wishes.memory_mib, "timeout": wishes.timeout}
    options |= {"cancel": wishes.cancel}
    return sides.enter_context(WorkerSide(model, engine, **options))
