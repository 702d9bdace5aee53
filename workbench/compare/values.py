"""The values inside an ONNX file in a run: their shapes, and how far they are from another model's. In a worker."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..agreement import FLOAT32, Tolerance
from ..errors import WorkbenchError
from ..words import listed
from .inside import Inside
from .layers import BUDGET, apart, story_of

Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[str, tuple[int, ...]]]
"""Value -> dtype and shape."""


def looked_into(
    engine: Any, path: str, row: Arrays, rows: Arrays
) -> tuple[Arrays, Shapes, dict[str, float], list[str]]:
    """`workbench.compare.within.Within`'s inputs, shapes, spikes, and sentences, from a file's engine."""
    shapes: Shapes = {}
    spikes: dict[str, float] = {}
    notes = []
    over_time = hasattr(engine, "network")
    feeds = engine.series(row) if over_time else row
    try:
        side = Inside(path)
        arrays = [feeds, *side.in_parts(side.sizes(floats=False), feeds, BUDGET)]
        shapes = {name: (_dtype(array), array.shape) for part in arrays for name, array in part.items()}
    except WorkbenchError as error:
        notes.append(f"No shapes of a run: {error}")
    if over_time and (layers := [*engine.network.spiking()]):
        answers = engine.run(rows, spikes=layers)
        spikes = {layer: float((answers[layer] != 0).mean()) for layer in layers}
    return feeds, shapes, spikes, notes


def _dtype(array: np.ndarray) -> str:
    return "string" if array.dtype.kind in "OUS" else array.dtype.name


def errors_of(
    engine: Any, path: str, inputs: Any, rows: Arrays, tolerance: Tolerance | None
) -> tuple[dict[str, float], list[str]]:
    """`workbench.compare.within.Within.errors` and sentences, from the engine of what is right."""
    layers = getattr(engine, "layers", None)
    try:
        if callable(layers):
            weights = getattr(engine, "weights", None)
            story = story_of(layers(inputs), path, rows, tolerance or FLOAT32, weights)
            found, notes = ({}, ()) if story is None else (story.errors(), story.notes)
            return found, [*notes] if found else [*notes, "No layer's numbers or name were found in the ONNX file."]
        if engine.name == "onnxruntime" and not hasattr(engine, "network"):
            found, untold = _value_errors(Inside(engine.path), inputs, Inside(path), rows)
            if untold:
                why = "one side's numbers are not all finite, or the right ones are all zero"
                return found, [f"No error can be told of {listed(untold)}: {why}."]
            none = f"{engine.path} and {path} have no value of one name and shape that holds floating-point numbers."
            return found, [] if found else [none]
    except WorkbenchError as error:
        return {}, [f"Nodes were not compared: {error}"]
    return {}, [f"Nodes were not compared: {engine.name} does not tell what its layers give."]


def _value_errors(
    right: Inside, inputs: Arrays, side: Inside, rows: Arrays
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Of values of one name and shape; of one that is quantised, as it is read. And those of which none can be told."""
    theirs, ours = right.read_as(), side.read_as()
    sizes, known = right.sizes(), side.sizes()
    names = {
        theirs[name]: name for name in right.node_of
        if name in side.node_of and theirs[name] in sizes and ours[name] in known
    }  # fmt: skip
    errors, untold = {}, []
    for part in right.in_parts({name: sizes[name] for name in names}, inputs, BUDGET):
        others = side.run([ours[names[name]] for name in part], rows)
        for name, array in part.items():
            other = others.get(ours[names[name]])
            if other is None or other.shape != array.shape:
                continue
            if (far := apart(array.astype(np.float64), other.astype(np.float64))) is not None:
                errors[names[name]] = far
            else:
                untold.append(names[name])
    return errors, tuple(untold)
