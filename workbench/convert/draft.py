"""What a framework's converter hands over: an ONNX model not yet proved, and the native model to prove it against.

A `Draft` lives in the worker process only. The frameworks' rooms make drafts;
`proof.py` holds both sides against each other; `work.py` writes what was proved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..agreement import Tolerance
from ..files.header import ValueInfo

if TYPE_CHECKING:
    import onnx


Arrays = dict[str, np.ndarray]
"""Input or output name -> array, first axis: rows."""


@dataclass(frozen=True)
class State:
    """What a source model remembers from one call to the next.

    Attributes:
        changed: names of what is not as it was converted; restore: puts it back.
    """

    changed: Callable[[], tuple[str, ...]]
    restore: Callable[[], None]


@dataclass
class Draft:
    """An unproved conversion.

    Attributes:
        model: the ONNX model, or the job's output path where it was written there already (with external data beside
            it): holding the weights once more would cost too much.
        converter: name and version of the tool that made it.
        inputs: what both sides take, in order: the ONNX model's inputs.
        native: the source model: {input name: array} -> {ONNX output name: array}.
        columns: names of the columns of its one input, where the native model was fitted on a table.
        tolerance: for floating-point outputs.
        points: further rows worth asking, {input name: array}: both sides of a tree's thresholds, known categories,
            words of a vocabulary. Called with a seeded random generator.
        only: input name -> the only values that the native model takes there (categories): the proof draws from them.
        refuses: the native model refuses all rows because of one, for its values (an unknown category, a point too far
            from any other): those it takes are then asked without the others.
        accepts_nan: the native model takes missing values (NaN), so the proof asks some.
        ranges: input name -> (lowest, highest) value the native model takes, as an Embedding its indices; the proof
            asks nothing outside. An input not named here takes any number.
        known: texts and integers that the model knows, as the keys of its lookup tables; the proof asks each.
        ties: the native model's other answers to rows, as right as its own: where neighbours at the same distance may
            be taken in any order. None where it has no such choice.
        mend: another draft to try where this one disagrees (a float64 graph, adjusted thresholds), and one sentence
            saying what it changes; None where there is none.
        state: of a source model that keeps one; every question is asked in the state that was converted.
        notes: plain sentences for the person: what was chosen, replaced or left out.
    """

    model: onnx.ModelProto | Path
    converter: tuple[str, str]
    inputs: tuple[ValueInfo, ...]
    native: Callable[[Arrays], Arrays]
    tolerance: Tolerance
    columns: tuple[str, ...] | None = None
    points: Callable[[np.random.Generator], Arrays] | None = None
    only: dict[str, np.ndarray] = field(default_factory=dict)
    refuses: bool = False
    accepts_nan: bool = False
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    known: tuple[str | int, ...] = ()
    ties: Callable[[Arrays], list[Arrays]] | None = None
    mend: Callable[[], tuple[Draft, str]] | None = None
    state: State | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """What the worker is asked to do; see `work.work`.

    Attributes:
        draft: who makes the `Draft`, as `workbench.files.registry.at` finds it: called with this job, the sample, the
            custom objects, and whom to tell of progress.
        source: the private copy; format: its `workbench.files.formats` name.
        estimator: a pickled object in memory, instead of a copy.
        parcel: the pickled sample and custom objects, which may be of classes that only the caller defines.
        folder: where the ONNX file is to be written as `output_name`, with external data named after it.
        name: of the source, for the certificate; sha256: of its content, None for objects in memory.
    """

    draft: str
    source: Path | None
    format: str
    estimator: bytes | None
    parcel: bytes
    folder: Path
    output_name: str
    name: str
    sha256: str | None
    opset: int | None
    trust: bool
    options: dict[str, Any] = field(default_factory=dict)
