"""What a run gives inside an ONNX file, node by node: shapes, the error against another model, spikes: `within`.

Its inner values are asked for in a run without ONNX Runtime's optimiser, which would merge nodes (`inside.py`): so the
error of a node is that of the arithmetic the file states, and not of the kernels that a merged one runs in.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from ..agreement import rows_of
from ..errors import UnsupportedModel
from ..files.formats import identify
from ..words import counted
from .opening import LAYER_ROWS, one, opened
from .options import Options
from .questions import first, fixed_rows, questions
from .values import Arrays, Shapes


@dataclass(frozen=True)
class Within:
    """What `within` found.

    Attributes:
        shapes: {value: (dtype, shape)} of one row, or of as many as the model takes at a time; with the inputs.
        errors: {value: error}, see `within`; empty where it was held against nothing.
        spikes: {layer of neurons: spikes per neuron and step, on average}; empty of what is no spiking network.
        inputs: the row that gave the shapes.
        says: sentences: what was asked, and what could not be looked into.
    """

    shapes: Shapes
    errors: dict[str, float]
    spikes: dict[str, float]
    inputs: Arrays
    says: tuple[str, ...]


def within(onnx: str | os.PathLike[str], inputs: Any = None, *, against: Any = None, **options: Any) -> Within:
    """Run an ONNX model and look at what its nodes give, in a worker process.

    The error of a node is the largest difference between what it gives and what its counterpart gives, as a share of
    the counterpart's largest number (its size): 0.01 is a hundredth of the largest. Counterparts are the layers of a
    native model (Keras), which are found by their numbers and names as `workbench.compare` finds them, or the values
    of the same names and shapes of another ONNX file: the same network exact, at full precision, or not optimised.

    Args:
        onnx: an ONNX file.
        inputs: as for `workbench.compare`: rows, or a file of them; the paper's data where they fit, else made up, if
            None.
        against: the model that is right, as `workbench.compare` takes its native side.
        options: as for `workbench.compare`; ``rows`` is 4 if None.

    Raises:
        UnsupportedModel: `onnx` is no ONNX file, or `against` has nothing to hold its values against.
        WorkbenchError: as for `workbench.compare`.
    """
    if (format := identify(onnx).name) != "ONNX":
        raise UnsupportedModel(f"{os.fspath(onnx)} is {format}, and nodes are looked into in an ONNX file: give one.")
    wishes = Options.of(**{"rows": LAYER_ROWS, **options})
    said: list[str] = []
    with ExitStack() as stack:
        if against is None:
            ours = theirs = one(stack, onnx, "onnxruntime", wishes, {"params": wishes.params})
            said += ours.remarks
        else:
            theirs, ours = opened(stack, (against, onnx), wishes, said)
        asked = questions(inputs, (theirs, ours), wishes, said)
        fixed = fixed_rows(ours) or fixed_rows(theirs)
        row = first(asked.onnx, fixed or 1)
        wishes.say(f"Looking into {os.path.basename(onnx)}")
        feeds, shapes, spikes, notes = ours.within(os.path.abspath(onnx), row, asked.onnx)
        errors: dict[str, float] = {}
        if against is not None:
            tolerance = wishes.tolerance or theirs.tolerance
            given, rows = (first(arrays, fixed or rows_of(arrays)) for arrays in asked.both)
            errors, more = theirs.apart(os.path.abspath(onnx), given, rows, tolerance)
            notes += more
            if not errors:
                raise UnsupportedModel(" ".join(notes) or "No node has a counterpart, so no error can be told.")
        few, many = counted(rows_of(row), "row"), counted(rows_of(asked.onnx), "row")
        told = [("shapes", few, shapes), ("errors", few if fixed else many, errors), ("spikes", many, spikes)]
        said += [f"The {what} are of {rows}." for what, rows, found in told if found]
        return Within(shapes, errors, spikes, feeds, tuple(dict.fromkeys([*said, *notes])))
