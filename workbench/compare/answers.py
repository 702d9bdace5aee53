"""What both sides were asked and answered, row by row, and the same as a table: `Answers`; and how many are right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..agreement import as_rows, distance, is_probability, rows_of
from ..engines.base import STEPS
from ..files import registry
from ..words import NATIVE_AND_ONNX, SideNames, label_text
from .matching import Pair
from .questions import Questions
from .sides import Side
from .verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd


Arrays = Mapping[str, np.ndarray]


KEPT_ROWS = 200
KEPT_BYTES = 16 << 20
"""Of inputs and outputs together, unless a single row is larger."""

KEPT_SPIKES = 1 << 22
"""Places in time where a neuron may spike, on one side, over all rows."""

FEW = 32
"""Numbers in an output, up to which each has a column in the table."""

SideName = Literal["native", "onnx"]


@dataclass(frozen=True)
class Spikes:
    """One layer of both sides' neurons over time.

    Attributes:
        layer: its name; dt: seconds a step.
        native, onnx: (rows, steps, neurons) bool, of the first of `Answers.rows`.
    """

    layer: str
    dt: float
    native: np.ndarray
    onnx: np.ndarray

    def _repr_html_(self) -> str:
        html: str = registry.at("workbench.show.answers:spikes_html")(self)
        return html


@dataclass(frozen=True)
class Answers:
    """Both sides' answers to some of the rows asked: at most `KEPT_ROWS`, and `KEPT_BYTES` of memory. Where not all are
    kept, those that differ come before the others.

    Attributes:
        rows: their numbers among all that were asked, from 0.
        inputs: {input name: array}, as the ONNX side was asked them. First axis, here and below: these rows, where
            there is a value for each.
        outputs: both sides' outputs in pairs, in one layout and class order.
        agrees: (rows,) bool: within the tolerance, or no difference that counts.
        targets: (rows,) the right answers, or None.
        classes: {ONNX output: names of its columns}, of outputs that score classes.
        class_names: of the data the rows are from; columns: names of a table's; files: of pictures, one a row.
        spikes: of the last layer of neurons, where both sides are spiking networks; None elsewhere.
        names: what sentences call both sides.
    """

    rows: tuple[int, ...]
    inputs: Arrays
    outputs: tuple[Pair, ...]
    agrees: np.ndarray
    targets: np.ndarray | None
    classes: dict[str, tuple[str, ...]]
    class_names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    spikes: Spikes | None = None
    names: SideNames = NATIVE_AND_ONNX

    def place(self, row: int) -> int:
        """Where the row is kept, by its number among all asked; of a row that is not, the nearest one's."""
        return min(range(len(self.rows)), key=lambda place: abs(self.rows[place] - row))

    @property
    def furthest(self) -> int:
        """The number of the row whose answers are furthest apart; rows that disagree come first."""
        places = range(len(self.rows))
        return self.rows[max(places, key=lambda place: (not self.agrees[place], self.differences[place]))]

    @property
    def first_differing(self) -> int | None:
        """The number of the first row that differs; None where all agree."""
        return next((row for row, agrees in zip(self.rows, self.agrees, strict=True) if not agrees), None)

    @cached_property
    def differences(self) -> np.ndarray:
        """(rows,) float64: the largest difference of two numbers in the row; NaN where no numbers were compared."""
        differences = [
            distance(*sides).max(axis=1, initial=0)
            for pair in self.outputs
            if pair.native.dtype.kind in "biuf" and pair.onnx.dtype.kind == "f" and (sides := self.sides(pair))
        ]
        return np.max(differences, axis=0) if differences else np.full(len(self.rows), np.nan)

    def sides(self, pair: Pair) -> tuple[np.ndarray, np.ndarray] | None:
        """Both sides' numbers of an output, (rows, numbers) each; None where they differ in count."""
        native, onnx = as_rows(pair.native, len(self.rows)), as_rows(pair.onnx, len(self.rows))
        return (native, onnx) if native.shape == onnx.shape else None

    @property
    def scored(self) -> Pair | None:
        """The first output that scores classes."""
        return next((pair for pair in self.outputs if pair.onnx_name in self.classes), None)

    def label(self, side: SideName) -> list[str] | None:
        """The class that a side names for each row, by its name; None where it names none (a regression)."""
        for pair in self.outputs:
            if self.is_label(pair):
                return [self.shown(value) for value in getattr(pair, side).reshape(-1)]
        if (scored := self.scored) is None:
            return None
        names = self.classes[scored.onnx_name]
        return [names[column] for column in getattr(scored, side).argmax(axis=1)]

    def is_label(self, pair: Pair) -> bool:
        """Whether an output is a label, one a row."""
        return all(array.dtype.kind in "biuUSO" and array.size == len(self.rows) for array in (pair.native, pair.onnx))

    def score(self, side: SideName) -> np.ndarray | None:
        """(rows,) the side's own number for the class it names; NaN where that is no column of its scores."""
        labels, pair = self.label(side), self.scored
        if labels is None or pair is None:
            return None
        names, scores = self.classes[pair.onnx_name], getattr(pair, side)
        named = zip(scores, labels, strict=True)
        return np.array([row[names.index(said)] if said in names else np.nan for row, said in named])

    def shown(self, value: Any) -> str:
        """A class as it is called: the data's name for a number that stands for one."""
        text = label_text(value)
        known = text.isascii() and text.isdigit() and int(text) < len(self.class_names)
        return self.class_names[int(text)] if known else text

    @property
    def right(self) -> list[str] | None:
        """The right answer of each row, by its name."""
        return None if self.targets is None else [self.shown(value) for value in self.targets]

    @property
    def frame(self) -> pd.DataFrame:
        """See `Comparison.frame`."""
        import pandas as pd

        table: dict[str, Any] = {"row": self.rows}
        if self.right is not None:
            table["target"] = self.right
        table |= {f"{side} label": said for side in _SIDES if (said := self.label(side)) is not None}
        table |= {f"{side} score": score for side in _SIDES if (score := self.score(side)) is not None}
        table |= {"largest difference": self.differences, "agrees": self.agrees}
        for pair in (pair for pair in self.outputs if not self.is_label(pair)):
            for side in _SIDES:
                array: np.ndarray = getattr(pair, side)
                values = as_rows(array, len(self.rows))
                if 0 < values.shape[1] <= FEW:
                    shape = array.shape[1:] if array.ndim and len(array) == len(self.rows) else array.shape
                    for column, at in enumerate(np.ndindex(shape)):
                        table[f"{side} {pair.onnx_name}{list(at) or [0]}"] = values[:, column]
        return pd.DataFrame(table)


_SIDES: tuple[SideName, SideName] = ("native", "onnx")


def keep(asked: Questions, verdict: Verdict, theirs: Side, ours: Side) -> Answers:
    """What is worth keeping of a comparison, within `KEPT_ROWS` and `KEPT_BYTES`."""
    rows = rows_of(asked.onnx)
    arrays = [*asked.onnx.values(), *(array for pair in verdict.pairs for array in (pair.native, pair.onnx))]
    most = max(1, min(KEPT_ROWS, KEPT_BYTES * rows // max(1, sum(array.nbytes for array in arrays))))
    worst = [sample.index for sample in verdict.agreement.worst]
    kept = sorted(list(dict.fromkeys([*worst, *verdict.differing, *range(rows)]))[:most])

    def of(array: np.ndarray) -> np.ndarray:
        # A copy, so that what is not kept can go.
        return array[kept] if array.shape[:1] == (rows,) else array.copy()

    agrees = np.full(rows, verdict.agreement.within_tolerance or bool(verdict.differing))
    agrees[list(verdict.differing)] = False
    pairs = tuple(Pair(pair.native_name, pair.onnx_name, of(pair.native), of(pair.onnx)) for pair in verdict.pairs)
    targets = None if asked.targets is None else asked.targets[kept]
    names = {pair.onnx_name: _column_names(pair, len(kept), theirs, ours, asked) for pair in pairs}
    return Answers(
        rows=tuple(kept),
        inputs={name: of(array) for name, array in asked.onnx.items()},
        outputs=pairs,
        agrees=agrees[kept],
        targets=targets,
        classes={output: columns for output, columns in names.items() if columns},
        class_names=asked.class_names if asked.targets is not None else (),
        columns=asked.columns,
        files=tuple(asked.files[row] for row in kept) if asked.files else (),
        names=verdict.names,
    )


def _column_names(pair: Pair, rows: int, theirs: Side, ours: Side, asked: Questions) -> tuple[str, ...]:
    """Names of an output's columns; none where they are no classes."""
    shape = pair.native.shape
    if pair.native.dtype.kind != "f" or shape != pair.onnx.shape or len(shape) != 2 or shape[0] != rows or shape[1] < 2:
        return ()
    numbers = tuple(map(str, range(shape[1])))
    known = tuple(map(label_text, theirs.classes.get(pair.native_name) or ours.classes.get(pair.onnx_name) or ()))
    if len(known) != shape[1]:
        known = ()
    if len(asked.class_names) == shape[1] and asked.targets is not None and known in ((), numbers):
        return asked.class_names
    answers_classes = asked.targets is not None and asked.targets.dtype.kind in "biuUSO"
    return known or (numbers if answers_classes or is_probability(pair.native) else ())


def watch(theirs: Side, ours: Side, asked: Questions, rows: tuple[int, ...]) -> Spikes | None:
    """The spikes of the last layer that both sides have; None where one of them does not spike."""
    both = [layer for layer in theirs.neurons if layer in ours.neurons]
    if not both or ours.dt is None:
        return None
    steps = max(array.shape[1] if array.ndim == 3 else STEPS for array in asked.onnx.values())
    most = max(1, KEPT_SPIKES // (steps * ours.neurons[both[-1]]))
    few = list(rows[:most])
    sides = [
        side.spikes({name: np.ascontiguousarray(array[few]) for name, array in arrays.items()}, both[-1])
        for side, arrays in ((theirs, asked.native), (ours, asked.onnx))
    ]
    return Spikes(both[-1], ours.dt, *sides)
