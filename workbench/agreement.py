"""How well two sides agree: two models asked the same, output by output, row by row.

A floating-point output agrees where ``|onnx - native| <= absolute + relative * |native|`` for every number (a
`Tolerance`); two NaN agree, and so do two equal infinities. The eight and sixteen bit integers of a quantized network
are numbers as well, which may lie `Tolerance.steps` apart. Labels (other integers, strings, booleans) must be equal,
except where the probabilities beside them tie within the tolerance.

Spikes are all or nothing: where a voltage comes within a rounding of the threshold, float32 lets one side fire a step
earlier, and what follows differs although nothing is wrong. `hold_spikes` is for a spiking network and the file made of
it; `movement` says of any how far the native side's own answers move when its input does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from .errors import UnsupportedModel
from .words import NATIVE_AND_ONNX, SideNames, listed, readable, share

Arrays = Mapping[str, np.ndarray]
"""Input or output name -> array, first axis: rows."""


LEEWAY = 8
"""A generated row may differ by so many times the source's own movement under one rounding of its input: a float32
graph rounds at every step, of which there are more than one. A quantized network has once that, for a step of each
number of its input is more than its layers round."""

MOVES, STEPS_MOVED = 3, 12
"""How often the source is asked about rows moved by one rounding; a quantized network, where it depends on more of its
numbers how far it moves."""

EXACT = 1e-4
"""Of a probe's largest value: float32 keeps seven digits, and a filtered sum of some thousand spikes loses three."""

ROUNDED = 3
"""A sample of spikes may differ by so many times what the source itself differs by in float32, on average: two runs
that round differently part from the exact one independently."""

DISPLACED, MOST_DISPLACED = 0.02, 0.25
"""Of a probe's largest value, what a few displaced spikes make on average over time; and the share of samples that may
be undecided for these alone."""

MOST_WORST = 5
EXCERPT = 8


@dataclass(frozen=True)
class Tolerance:
    """How far apart two right answers may be: ``|a - b| <= absolute + relative * |b|``.

    Attributes:
        relative, absolute: of floating-point outputs; labels (integers, strings, booleans) must be equal.
        reason: why this much and not less, one sentence.
        steps: of a quantized network, how far apart integers may be that stand for real numbers; 0 of any other.
        step: how much one of these is in its floating-point outputs, which may lie as many apart; 0 where it has none.
        of_row: of the largest number in the row, how much each may differ besides.
    """

    relative: float
    absolute: float
    reason: str
    steps: int = 0
    step: float = 0.0
    of_row: float = 0.0

    def around(self, size: np.ndarray) -> np.ndarray:
        """How far from floating-point numbers of this size."""
        return self.absolute + self.steps * self.step + self.relative * size


FLOAT32 = Tolerance(
    relative=1e-4,
    absolute=1e-5,
    reason="float32 keeps 7 digits; sums taken in another order, layer after layer, cost one or two of them. The fixed "
    "part is for sums whose terms nearly cancel: little is left of them but what was rounded.",
)
"""Of models in float32. A wrong layout, axis or epsilon shows as 1e-2 or more."""


SHARE, ROUNDING = 2e-2, 1e-7
"""Of the largest answer, what `bounded` allows at most; and at least, float32's rounding of numbers around one."""


def bounded(tolerance: Tolerance, native: Arrays) -> Tolerance:
    """The tolerance with no more `absolute` than makes sense for these answers: 1e-5 would pass anything for answers of
    1e-6, and so would what suits a model's large inner numbers for its probabilities."""
    sizes = [
        float(np.abs(array[np.isfinite(array)].astype(np.float64)).max(initial=0))
        for array in native.values()
        if array.dtype.kind == "f" and array.size
    ]
    most = max(SHARE * min(sizes, default=math.inf), ROUNDING)
    return replace(tolerance, absolute=min(tolerance.absolute, most))


def of_dtypes(tolerance: Tolerance, dtypes: Iterable[np.dtype]) -> Tolerance:
    """The tolerance for answers of dtypes that NumPy itself has not, in which a number's neighbour is further off: by
    one part in 128, in bfloat16. As it is where any of them is finer."""
    epsilons = []
    for dtype in dtypes:
        if dtype.isbuiltin != 2 or "float" not in dtype.name:
            return tolerance
        every = np.arange(1 << 8 * dtype.itemsize, dtype=f"u{dtype.itemsize}").view(dtype)
        with np.errstate(invalid="ignore"):  # some are NaN
            numbers = every.astype(np.float64)
        ones = numbers[(numbers > 1) & (numbers < 2)]
        epsilons.append(float(ones.min(initial=2)) - 1)
    if (epsilon := max(epsilons, default=0)) <= tolerance.relative:
        return tolerance
    reason = "Two right answers may be neighbours in their own dtype, which keeps so few digits."
    return replace(tolerance, relative=epsilon, reason=reason)


@dataclass(frozen=True)
class WorstSample:
    """A sample on which both sides differ most.

    Attributes:
        index: its row among all samples asked; `group` says where it comes from.
        output: the output that differs.
        inputs: {input name: its first values}; native and onnx: both answers, their first values, as text.
        difference: the largest absolute difference; None for labels.
        at: where in the row it is; there: both sides' values at that place, as text. Empty where the row is one value.
    """

    index: int
    group: str
    output: str
    inputs: dict[str, str]
    native: str
    onnx: str
    difference: float | None
    at: tuple[int, ...] = ()
    there: tuple[str, str] | None = None


@dataclass(frozen=True)
class OutputAgreement:
    """One output of both sides, over all samples that count.

    Attributes:
        name, dtype: of the ONNX model's output. Floating-point outputs, and the integers of a quantized network, are
            compared as numbers, others as labels.
        max_abs, max_rel: largest absolute difference, and largest relative to the largest number of the same sample's
            answer from the source model (a probability of 1e-9 has no meaningful relative error); 0 for labels.
        mismatches: samples whose label differs.
        beyond: samples further apart than the tolerance allows, or with another label where no tie excuses it.
        samples: samples compared.
        worst: the sample that differs most; None where all agree.
        says: what is wrong with this output, in one sentence; "" where both sides agree.
        beside: the largest number of the source model's answer to the sample that `max_abs` is of: what 0.1 means.
        furthest: the sample of numbers that comes closest to the tolerance, or lies furthest beyond it, and counts;
            None for labels, and where both sides gave the same numbers.
    """

    name: str
    dtype: str
    max_abs: float
    max_rel: float
    mismatches: int
    beyond: int
    samples: int = 0
    worst: WorstSample | None = None
    says: str = ""
    furthest: WorstSample | None = None
    beside: float = 0.0


@dataclass(frozen=True)
class Agreement:
    """Both sides on the same samples.

    Attributes:
        samples: how many were asked; `groups`: {where they come from: {samples, max_abs}}. Edge rows hold numbers up to
            a million, so their absolute differences are large while the relative ones are small.
        max_abs, max_rel: over all floating-point outputs; `beside`, as of an output, is of the one that has `max_abs`.
        label_mismatches: samples with another label, or with another class on top by more than rounding.
        within_tolerance: no sample is further apart than `tolerance` allows, and no label differs.
        undecided: samples that differ no more than the source model's own answer does when its input moves by one
            rounding (`moved`), or where neighbours at the same distance change places; they count neither way.
        tolerance: {relative, absolute, reason}, of a quantized network steps and step, too, and of_row where it counts.
        asked: what was asked, a sentence for each input; empty where the rows are a person's question, not a proof.
        outputs, worst: details.
    """

    samples: int
    max_abs: float
    max_rel: float
    label_mismatches: int
    within_tolerance: bool
    undecided: int = 0
    groups: dict[str, dict[str, float]] = field(default_factory=dict)
    tolerance: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[OutputAgreement, ...] = ()
    worst: tuple[WorstSample, ...] = ()
    asked: tuple[str, ...] = ()
    beside: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return finite(asdict(self))

    @property
    def says(self) -> str:
        """The numbers in one sentence."""
        count = self.label_mismatches
        labels = f"{count:,} labels differ" if count > 1 else "1 label differs" if count else "no label differs"
        where = f", where the answer is up to {readable(self.beside)}" if self.beside else ""
        relative = f"; at most {share(self.max_rel)} of an answer" if self.max_rel else ""
        return f"{_rows(self.samples)} asked: largest difference {readable(self.max_abs)}{where}{relative}; {labels}."

    @property
    def allowed(self) -> str:
        """The tolerance, and why it is this much."""
        if not self.tolerance:
            return ""
        relative, absolute, reason = (self.tolerance[name] for name in ("relative", "absolute", "reason"))
        parts = [f"{share(relative)} of each number"] if relative else []
        parts += [f"{share(of_row)} of the largest in its row"] if (of_row := self.tolerance.get("of_row")) else []
        parts += [f"{readable(absolute)} more"] if absolute else []
        if (steps := self.tolerance.get("steps")) and not relative:
            step = self.tolerance["step"]
            parts.append(f"{steps} steps" + (f" of {readable(step)}" if step else " of whole numbers"))
        return f"{', and '.join(parts)}: {reason}"

    @property
    def sentences(self) -> tuple[str, ...]:
        """One for each output that differs: how many rows, and the worst one."""
        return tuple(output.says for output in self.outputs if output.says)


def finite(value: Any) -> Any:
    """`value` for JSON, which has no infinity: None stands for it, and lists for tuples."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def hold(native: Arrays, onnx: Arrays, inputs: Arrays, tolerance: Tolerance = FLOAT32) -> Agreement:
    """Hold both sides' answers to the same rows against each other.

    Args:
        native, onnx: {output name: array}, under the same names; ONNX may have more outputs, which are not compared.
        inputs: {input name: array} that were asked, for the rows shown; rows are their first axis.

    Raises:
        UnsupportedModel: an output of the native side is missing on the other.
    """
    tally = Tally(tolerance)
    tally.add(native, onnx, inputs)
    return tally.agreement()


@dataclass
class _Output:
    """One output so far."""

    dtype: str
    max_abs: float = 0.0
    max_rel: float = 0.0
    mismatches: int = 0
    beyond: int = 0
    worst: tuple[float, WorstSample] | None = None
    furthest: tuple[float, WorstSample] | None = None
    shapes: str = ""
    beside: float = 0.0


class Tally:
    """Both sides' answers, compared group of rows by group of rows.

    Attributes:
        notes: plain sentences about what was noticed.
        ties: rows whose label differs and was not counted, since two classes tie.
        swapped: rows that differ and were not counted, since neighbours tie.
        differing: rows that do not agree, by their numbers among all.
    """

    def __init__(self, tolerance: Tolerance, names: SideNames = NATIVE_AND_ONNX) -> None:
        self.tolerance, self.names = tolerance, names
        self.ties = self.swapped = 0
        self.notes: list[str] = []
        self.differing: list[int] = []
        self._outputs: dict[str, _Output] = {}
        self._worst: list[tuple[float, WorstSample]] = []
        self._groups: dict[str, dict[str, float]] = {}
        self._samples = self._mismatches = self._undecided = 0
        self._within = True

    def fail(self, group: str, rows: int, sentence: str) -> None:
        """Only one side answers these rows, which is a disagreement."""
        self._begin(group, rows)
        self._within = False
        self._note(sentence)

    def add(
        self,
        native: Arrays,
        onnx: Arrays,
        inputs: Arrays,
        *,
        group: str = "given",
        spread: Arrays | None = None,
        ties: Arrays | None = None,
    ) -> None:
        """Compare both sides' answers to some rows.

        Args:
            native, onnx, inputs: see `hold`.
            group: where the rows come from.
            spread: {output: how far the native answer moves when its input moves by one rounding}; rows that this
                explains count neither way. None: every difference counts.
            ties: {output: how far it moves where neighbours at the same distance are taken in another order}; rows that
                differ by no more count neither way, and are counted in `tied`.

        Raises:
            UnsupportedModel: an output of the native side is missing on the other.
        """
        rows = rows_of(inputs)
        start = self._begin(group, rows)
        severity: dict[str, np.ndarray] = {}
        excess: dict[str, np.ndarray] = {}
        answers: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        labels, tied = np.zeros(rows, bool), np.zeros(rows, bool)
        rounded, excused = np.ones(rows, bool), np.ones(rows, bool)
        pending: list[tuple[str, np.ndarray, np.ndarray]] = []
        for name, given in native.items():
            if name not in onnx:
                raise UnsupportedModel(f"The ONNX model has no output {name!r}; it has: {listed(onnx)}.")
            ours, theirs = plain(onnx[name]), plain(given)
            seen = self._outputs.setdefault(name, _Output(str(ours.dtype)))
            if not same_shape(theirs, ours):
                native_where, onnx_where = self.names.where
                seen.shapes = f"Output {name!r} has shape {ours.shape} {onnx_where} and {theirs.shape} {native_where}."
                self._note(seen.shapes)
                self._within = False
                seen.beyond += rows
                continue
            theirs = theirs.reshape(ours.shape)
            answers[name] = theirs, ours
            moves, turns = (None if by is None else by[name].reshape(ours.shape) for by in (spread, ties))
            if not _numeric(ours, theirs, self.tolerance):
                by_row, by_rounding, excusable = _labels(theirs, ours, rows, moves, turns)
                seen.mismatches += int(by_row.sum())
                pending.append((name, by_row, excusable))
            else:
                excess[name], by_rounding, excusable, most = self._numbers(seen, theirs, ours, rows, moves, turns)
                severity[name] = np.where(excess[name] > 1, excess[name], 0)
                if is_probability(theirs) and len(theirs) == rows:
                    close, flipped = _flips(theirs, ours, self.tolerance)
                    tied |= close
                    labels |= flipped
                self._groups[group]["max_abs"] = max(self._groups[group]["max_abs"], most)
            rounded &= by_rounding
            excused &= excusable
        for name, by_row, excusable in pending:
            # The label of a tie may go either way.
            decided = by_row & ~tied
            severity[name] = np.where(decided, np.inf, 0)
            labels |= decided
            self._outputs[name].beyond += int((decided & ~excusable).sum())
            if both := int((by_row & tied).sum()):
                self.ties += both
                self._note(
                    f"On {_rows(both)} two classes tie within the tolerance and the label goes the other way; "
                    "this was not counted."
                )
        if severity:
            off = np.max(list(severity.values()), axis=0) > 0
            self.swapped += int((off & excused & ~rounded).sum())
        self._blame(severity, excess, answers, inputs, labels, excused, group, start)

    @property
    def swapped_says(self) -> tuple[str, ...]:
        """On `swapped`, if there are any."""
        if not self.swapped:
            return ()
        return (
            f"On {_rows(self.swapped)} neighbours stand at the same distance within rounding, and "
            f"{self.names.sides[1]} takes another of them: both sides differ by no more than that makes, and these "
            "count neither way.",
        )

    def agreement(self) -> Agreement:
        """What was found so far."""
        self._worst.sort(key=lambda item: -item[0])
        limits = asdict(self.tolerance)
        if not limits["steps"]:
            del limits["steps"], limits["step"]
        if not limits["of_row"]:
            del limits["of_row"]
        outputs = tuple(
            OutputAgreement(
                name, o.dtype, o.max_abs, o.max_rel, o.mismatches, o.beyond, self._samples,
                o.worst[1] if o.worst else None, self._says(name, o), o.furthest[1] if o.furthest else None, o.beside,
            )
            for name, o in self._outputs.items()
        )  # fmt: skip
        return Agreement(
            samples=self._samples,
            max_abs=max((output.max_abs for output in outputs), default=0.0),
            max_rel=max((output.max_rel for output in outputs), default=0.0),
            label_mismatches=self._mismatches,
            within_tolerance=self._within,
            undecided=self._undecided,
            groups=self._groups,
            tolerance=limits,
            outputs=outputs,
            worst=tuple(sample for _, sample in self._worst[:MOST_WORST]),
            beside=max(outputs, key=lambda output: output.max_abs).beside if outputs else 0.0,
        )

    def _says(self, name: str, output: _Output) -> str:
        """`OutputAgreement.says`."""
        if output.shapes or not output.beyond or output.worst is None:
            return output.shapes
        worst, (native_where, onnx_where) = output.worst[1], self.names.where
        native, onnx = worst.there or (worst.native, worst.onnx)
        place = f"row {worst.index}" + (f" at {list(worst.at)}" if worst.there else "")
        verb = "differs" if output.beyond == 1 else "differ"
        return (
            f"Output {name!r}: {output.beyond:,} of {_rows(self._samples)} {verb}; the worst is {place}: {native} "
            f"{native_where}, {onnx} {onnx_where}."
        )

    def _begin(self, group: str, rows: int) -> int:
        """The index of the group's first row."""
        self._groups[group] = {"samples": rows, "max_abs": 0.0}
        self._samples += rows
        return self._samples - rows

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _numbers(
        self,
        seen: _Output,
        theirs: np.ndarray,
        ours: np.ndarray,
        rows: int,
        moves: np.ndarray | None,
        turns: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Per row how many times the tolerance it is off (1 at most where within), whether its input's rounding
        explains that, and whether that or neighbours that tie do; and the largest difference."""
        tolerance = self.tolerance
        apart = distance(ours, theirs)
        size = np.abs(np.where(np.isfinite(theirs), theirs, 0).astype(np.float64))
        largest = as_rows(size, rows).max(axis=1, initial=0)
        shared = (
            (tolerance.of_row * largest).reshape(-1, *(1,) * (theirs.ndim - 1)) if theirs.shape[:1] == (rows,) else 0
        )
        allowed = _allowed(theirs, ours, tolerance) + shared
        excess = as_rows(apart / np.maximum(allowed, 1e-300), rows).max(axis=1, initial=0)
        beyond = excess > 1
        rounded = excusable = ~beyond
        # Beyond float32's reach, overflow to infinity is rounding too.
        overflow = as_rows(np.isinf(ours) & (size > 1e37), rows)
        apart_by_row, room = as_rows(apart, rows), as_rows(allowed, rows)
        if moves is not None:
            moves = as_rows(moves, rows)
            # What a step does to one number says less than what it does to the row.
            if self.tolerance.steps:
                room = room + moves.max(axis=1, initial=0, keepdims=True)
            else:
                # Nor is a small number exact that is left of large ones, as where a picture is resized.
                room = room + LEEWAY * np.maximum(moves, ROUNDING * largest[:, None])
            rounded = excusable = rounded | ((apart_by_row <= room) | overflow).all(axis=1)
        if turns is not None:
            excusable = rounded | (apart_by_row <= room + as_rows(turns, rows)).all(axis=1)
        counted = ~beyond | ~excusable
        furthest = as_rows(np.where(np.isfinite(apart), apart, 0), rows).max(axis=1, initial=0)
        most = float(furthest[counted].max(initial=0))
        if most > seen.max_abs:
            seen.beside = float(largest[int(np.where(counted, furthest, 0).argmax())])
        largest = np.maximum(largest, float(tolerance.around(np.array(1e-300))))
        if ours.dtype.kind == "f":
            # Steps are counted from wherever the zero point lies.
            seen.max_rel = max(seen.max_rel, float((furthest / largest)[counted].max(initial=0)))
        if (beyond & ~np.isfinite(as_rows(apart, rows)).all(axis=1) & ~excusable).any():
            seen.max_abs, seen.beside = float("inf"), 0.0
        seen.max_abs = max(seen.max_abs, most)
        seen.beyond += int((beyond & ~excusable).sum())
        return excess, rounded, excusable, most

    def _blame(
        self,
        severity: Mapping[str, np.ndarray],
        excess: Mapping[str, np.ndarray],
        answers: Mapping[str, tuple[np.ndarray, np.ndarray]],
        inputs: Arrays,
        labels: np.ndarray,
        excused: np.ndarray,
        group: str,
        start: int,
    ) -> None:
        """Count the rows that differ, and keep the worst."""
        rows = len(excused)
        if not severity or not rows:
            return
        overall = np.max(list(severity.values()), axis=0)
        bad = (overall > 0) & ~excused
        self._undecided += int(((overall > 0) & excused).sum())
        self._mismatches += int((labels & bad).sum())
        self._within &= not bad.any()
        self.differing += (start + np.flatnonzero(bad)).tolist()

        def excerpt(name: str, row: int) -> WorstSample:
            theirs, ours = answers[name]
            asked = {key: _shown(_part(value, row, rows)) for key, value in inputs.items()}
            parts = _part(theirs, row, rows), _part(ours, row, rows)
            return _worst(start + row, group, name, asked, *parts, self.tolerance)

        for row in np.argsort(-np.where(bad, overall, 0), kind="stable")[:MOST_WORST]:
            if bad[row]:
                name = next(name for name in severity if severity[name][row] == overall[row])
                self._worst.append((float(overall[row]), excerpt(name, int(row))))
        for name, by_row in severity.items():
            row = int(np.where(bad, by_row, 0).argmax())
            before = self._outputs[name].worst
            if bad[row] and by_row[row] > (before[0] if before else 0):
                self._outputs[name].worst = float(by_row[row]), excerpt(name, row)
        for name, by_row in excess.items():
            counted = np.where((overall > 0) & excused, 0, by_row)
            row, before = int(counted.argmax()), self._outputs[name].furthest
            if counted[row] > (before[0] if before else 0):
                self._outputs[name].furthest = float(counted[row]), excerpt(name, row)


def moved(inputs: Arrays, tolerance: Tolerance, rng: np.random.Generator) -> Iterator[dict[str, np.ndarray]]:
    """The same rows `MOVES` times, every number moved by one rounding: to its neighbour in float32, up or down.

    For a quantized network that is a step of 8 bits: all up, all down, since means over a row would hide what goes
    either way, and either way. Integers of 32 bits and more move where float32, which networks make of them, has none
    for them.
    """

    def move(array: np.ndarray, way: np.ndarray) -> np.ndarray:
        if tolerance.steps and is_quantized(array):
            limits = np.iinfo(array.dtype)
            return np.clip(array + way.astype(np.int64), limits.min, limits.max).astype(array.dtype)
        if array.dtype.kind in "iu" and array.dtype.itemsize > 2:
            size = np.abs(array.astype(np.float32))
            coarse = np.where(np.spacing(size) > 1, np.spacing(size), 0).astype(array.dtype)
            # Those near the end of the dtype have one side only.
            inward = (way < 0) | (size > float(np.iinfo(array.dtype).max // 2))
            return np.where((array > 0) == inward, array - coarse, array + coarse)
        if array.dtype.kind != "f":
            return array
        if tolerance.steps:
            largest = np.abs(array).max(axis=tuple(range(1, array.ndim)), keepdims=True, initial=0)
            return np.asarray(array + way * largest / 127).astype(array.dtype)
        step = np.float16 if array.dtype == np.float16 else np.float32
        return np.asarray(np.nextafter(array.astype(step), np.copysign(np.inf, way).astype(step)).astype(array.dtype))

    for way in (1, -1, *(0,) * (STEPS_MOVED - 2)) if tolerance.steps else (0,) * MOVES:
        yield {
            name: move(array, np.where(rng.random(array.shape) < 0.5, -1, 1) if not way else np.asarray(way))
            for name, array in inputs.items()
        }


def hold_spikes(
    native: Arrays, onnx: Arrays, nudged_native: Arrays, groups: Mapping[str, int], rounded: Arrays | None = None
) -> Agreement:
    """Hold a spiking network and the ONNX file made of it against each other, step by step.

    A sample agrees where every probe stays within `EXACT` of its range at every step. One that does not is undecided,
    if the source does the same to itself: its own answers move as far, and on average too, when its input moves by one
    rounding. And up to `MOST_DISPLACED` of the samples may be undecided for a few displaced spikes: apart by no more
    than `DISPLACED` of the range averaged over time; of spike trains also where it is on average over neurons, and no
    neuron has more than one spike more or less. Where the source's own answers in float32 are at hand, a sample is
    undecided as well where it is apart by no more than `ROUNDED` times what those are, on average over steps and
    neurons (a largest difference says nothing there, since one displaced spike has it), and no sooner. Everything else
    is a disagreement.

    Args:
        native, onnx: {probe: (samples, steps, n)}; nudged_native: of the input that `nudged` gives.
        rounded: the native answers where the source computes in float32; None where it does, or nobody asked.
        groups: {where samples come from: how many}, in their order.
    """
    samples = sum(groups.values())
    labels = np.repeat(list(groups), list(groups.values()))
    agrees, excused, flipped = np.ones(samples, bool), np.ones(samples, bool), np.zeros(samples, bool)
    largest, rounding_alone = np.zeros(samples), True
    outputs: list[OutputAgreement] = []
    worst: list[WorstSample] = []
    for name in native:
        theirs, ours, own = (side[name].astype(np.float64) for side in (native, onnx, nudged_native))
        span = max(float(np.abs(theirs).max(initial=0)), 1e-12)
        itself = LEEWAY * float(np.abs(own - theirs).max(initial=0))
        with np.errstate(all="ignore"):
            apart = np.nan_to_num(np.abs(ours - theirs), nan=np.inf).reshape(samples, -1).max(axis=1, initial=0)
        shifts = np.abs(np.nan_to_num((ours - theirs).mean(axis=1), nan=np.inf))
        displaced = shifts.max(axis=1, initial=0) <= DISPLACED * span
        if ((theirs == 0) | (theirs >= (1 - EXACT) * span)).all():
            # Spikes themselves: one that leaves a short run at its end is all that its neuron has to show for it.
            one = (1 + EXACT) * span / theirs.shape[1]
            displaced |= (shifts <= one).all(axis=1) & (shifts.mean(axis=1) <= DISPLACED * span)
        exact = apart <= EXACT * span
        by_rounding = (apart <= itself) & _as_itself(theirs, ours, own, LEEWAY)
        if rounded is not None:
            by_rounding |= _as_itself(theirs, ours, rounded[name], ROUNDED)
        excusable = exact | by_rounding | displaced
        agrees, excused = agrees & exact, excused & excusable
        rounding_alone &= bool((exact | by_rounding).all())
        largest = np.maximum(largest, apart)
        if theirs.shape[2] > 1:
            flipped |= ~exact & (ours[:, -1].argmax(axis=1) != theirs[:, -1].argmax(axis=1))
        counted = np.where(exact | ~excusable, apart, 0)
        most, row = float(counted.max(initial=0)), int(counted.argmax())
        furthest = _after_last_step(row, str(labels[row]), name, theirs, ours, most) if most else None
        beyond = int((~excusable).sum())
        outputs.append(OutputAgreement(name, "float32", most, most / span, 0, beyond, furthest=furthest))
        row = int(apart.argmax())
        if not exact[row]:
            worst.append(_after_last_step(row, str(labels[row]), name, theirs, ours, float(apart[row])))
    undecided = excused & ~agrees
    if undecided.mean() > MOST_DISPLACED and not rounding_alone:
        undecided[:] = False
    wrong = ~agrees & ~undecided
    return Agreement(
        samples=samples,
        max_abs=max(entry.max_abs for entry in outputs),
        max_rel=max(entry.max_rel for entry in outputs),
        label_mismatches=int((flipped & wrong).sum()),
        within_tolerance=not wrong.any(),
        undecided=int(undecided.sum()),
        groups={
            name: {"samples": count, "max_abs": float(largest[labels == name].max(initial=0))}
            for name, count in groups.items()
        },
        tolerance={
            "relative": EXACT,
            "absolute": 0.0,
            "reason": "of a probe's largest value: float32 keeps seven digits, and sums of spikes lose three; a spike "
            "that rounding displaces counts neither way",
        },
        outputs=tuple(outputs),
        worst=tuple(worst),
    )


def _as_itself(native: np.ndarray, onnx: np.ndarray, again: np.ndarray, times: float) -> np.ndarray:
    """Which samples part from the source's answers no further, on average, than so many times what its answers asked
    `again` do, in the first eighth of the steps already: what rounds parts late, what is wrong at once."""
    fine = np.ones(len(native), bool)
    for part in (8, 4, 2, 1):
        first = slice(0, -(-native.shape[1] // part))
        ours, own = (
            np.nan_to_num(np.abs(side - native), nan=np.inf)[:, first].reshape(len(native), -1).mean(axis=1)
            for side in (onnx, again)
        )
        few = DISPLACED * np.abs(native[:, first]).reshape(len(native), -1).mean(axis=1) if part > 1 else 0
        fine &= ours <= np.maximum(times * own.max(initial=0), few)
    return fine


def _after_last_step(
    row: int, group: str, name: str, theirs: np.ndarray, ours: np.ndarray, difference: float
) -> WorstSample:
    def text(values: np.ndarray) -> str:
        return "[" + ", ".join(f"{value:.7g}" for value in values[-1][:EXCERPT]) + "] after the last step"

    return WorstSample(row, group, name, {}, text(theirs[row]), text(ours[row]), difference)


def nudged(inputs: Arrays) -> dict[str, np.ndarray]:
    """The same rows, every float32 number moved up by one rounding: to the next one there is."""
    return {name: np.nextafter(array, np.float32(np.inf)) for name, array in inputs.items()}


def movement(native: Arrays, again: Iterable[Arrays], *, anywhere: bool = False) -> dict[str, np.ndarray]:
    """How far answers move when their input does, or what ties in it: the `spread` and `ties` of `Tally.add`. Labels
    become 1 where they change.

    Args:
        native: {output: array}; again: the same model's answers to rows that were `moved` or `nudged`, or others to the
            same rows.
        anywhere: a place may move as far as the one that moves most, as a spike may be displaced in any row.
    """
    asked = list(again)
    spread = {
        name: np.max([_moved_by(answers[name], array) for answers in asked], axis=0) for name, array in native.items()
    }
    if anywhere:
        spread = {name: np.full(array.shape, array.max(initial=0)) for name, array in spread.items()}
    return spread


def _moved_by(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return distance(left, right) if right.dtype.kind == "f" else np.asarray(left != right, float)


def distance(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """|left - right| in float64; 0 where both are NaN or the same infinity, infinite where only one is."""
    left, right = left.astype(np.float64), right.astype(np.float64)
    with np.errstate(all="ignore"):
        apart = np.abs(left - right)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    return np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))


def same_shape(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether both have the same shape, axes of one left aside."""
    return [dim for dim in left.shape if dim != 1] == [dim for dim in right.shape if dim != 1]


def is_probability(array: np.ndarray) -> bool:
    """One row per sample that sums to one: its largest number names a class."""
    if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] < 2 or not array.size:
        return False
    values = array.astype(np.float64)
    return bool(np.isfinite(values).all() and (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3))


def plain(array: np.ndarray) -> np.ndarray:
    """Numbers or texts out of an object array (a sequence's arrays stacked, or joined with their shapes where these
    differ), coarse numbers `widened`; any other array as it is."""
    if array.dtype.kind != "O" or not array.size or isinstance(array.flat[0], str | bytes):
        return widened(array)
    parts = [widened(np.asarray(item)) for item in array.flat]
    numbers = all(part.dtype.kind in "biuf" for part in parts)
    if not numbers and any(part.dtype.kind not in "OUS" for part in parts):
        return array
    if len({part.shape for part in parts}) > 1:
        # Each with its shape before it, so that the same numbers cut otherwise are not the same.
        return np.concatenate([np.append(np.asarray(part.shape, None if numbers else object), part) for part in parts])
    return np.stack(parts).reshape(*array.shape, *parts[0].shape)


def widened(array: np.ndarray) -> np.ndarray:
    """Numbers of a dtype that NumPy itself has not (bfloat16, float8, int4 …) in the next of its own, which holds each
    of them exactly; any other array as it is."""
    if array.dtype.isbuiltin != 2:  # of another package's
        return array
    name = array.dtype.name
    return array.astype(np.float32 if "float" in name else np.uint8 if name.startswith("uint") else np.int8)


def rows_of(arrays: Arrays) -> int:
    """How many rows inputs or outputs have: the longest first axis; one where none has any."""
    return max((len(array) for array in arrays.values() if array.ndim), default=1)


def as_rows(array: np.ndarray, rows: int) -> np.ndarray:
    """(rows, numbers in a row); what has no row for each stands in every one."""
    if array.ndim and array.shape[0] == rows:
        return array.reshape(rows, math.prod(array.shape[1:]))
    # An output without a row per sample speaks for all of them.
    return np.broadcast_to(array.reshape(1, -1), (rows, array.size))


def _part(array: np.ndarray, row: int, rows: int) -> np.ndarray:
    # With the ellipsis a single value stays an array.
    return array[row, ...] if array.ndim and array.shape[0] == rows else array


def _numeric(ours: np.ndarray, theirs: np.ndarray, tolerance: Tolerance) -> bool:
    """Whether an output holds numbers, not labels."""
    if ours.dtype.kind != "f":
        return bool(tolerance.steps) and is_quantized(ours) and is_quantized(theirs)
    return theirs.dtype.kind in "biuf"


def is_quantized(array: np.ndarray) -> bool:
    """Eight and sixteen bits hold a quantized network's numbers; labels and indices come in 32 or 64."""
    return array.dtype.kind in "iu" and array.dtype.itemsize <= 2


def _allowed(theirs: np.ndarray, ours: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    """How far each number may be from the source's."""
    if ours.dtype.kind != "f":
        return np.full(theirs.shape, float(tolerance.steps))
    size = np.abs(np.where(np.isfinite(theirs), theirs, 0).astype(np.float64))
    allowed = tolerance.around(size)
    # Whole numbers are labels or counts, also where ONNX writes them with a point.
    return allowed if theirs.dtype.kind == "f" else np.minimum(allowed, 0.4)


def _equal(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    if ours.dtype.kind in "biu" and theirs.dtype.kind in "biuf":
        return np.asarray(ours == theirs)
    return np.asarray(ours.astype(str) == theirs.astype(str))


def _labels(
    theirs: np.ndarray, ours: np.ndarray, rows: int, moves: np.ndarray | None, turns: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per row whether labels differ; whether they do not, or its input's rounding explains that; and whether that or
    neighbours that tie do."""
    differ = as_rows(~_equal(ours, theirs), rows)
    by_row = np.asarray(differ.any(axis=1))
    rounded = ~by_row if moves is None else ~by_row | ((as_rows(moves, rows) != 0) & differ).any(axis=1)
    return by_row, rounded, rounded if turns is None else rounded | ~(differ & (as_rows(turns, rows) == 0)).any(axis=1)


def _flips(theirs: np.ndarray, ours: np.ndarray, tolerance: Tolerance) -> tuple[np.ndarray, np.ndarray]:
    """(rows whose two best classes tie within the tolerance, rows whose best class differs by more than a tie)."""
    ordered = np.sort(theirs.astype(np.float64), axis=1)
    close = ordered[:, -1] - ordered[:, -2] <= 2 * tolerance.around(ordered[:, -1])
    flipped = (theirs.argmax(axis=1) != np.nan_to_num(ours, nan=-1).argmax(axis=1)) & ~close
    return close, flipped


def _worst(
    index: int,
    group: str,
    name: str,
    asked: dict[str, str],
    theirs: np.ndarray,
    ours: np.ndarray,
    tolerance: Tolerance,
) -> WorstSample:
    """With the place that is furthest beyond what is allowed there; `difference` is the row's largest."""
    numeric = _numeric(ours, theirs, tolerance)
    apart = distance(ours, theirs) if numeric else ~_equal(ours, theirs)
    difference = float(apart.max()) if numeric else None
    if apart.size == 1:
        return WorstSample(index, group, name, asked, _shown(theirs), _shown(ours), difference)
    if numeric:
        apart = apart / (_allowed(theirs, ours, tolerance) + 1e-300)
    at = tuple(map(int, np.unravel_index(int(apart.argmax()), apart.shape)))
    there = _shown(theirs[at]), _shown(ours[at])
    return WorstSample(index, group, name, asked, _shown(theirs), _shown(ours), difference, at, there)


def _shown(value: Any) -> str:
    flat = np.asarray(value).reshape(-1)
    parts = [f"{item:.7g}" if isinstance(item, float) else repr(item)[:60] for item in flat[:EXCERPT].tolist()]
    more = f", … ({flat.size:,} in all)" if flat.size > EXCERPT else ""
    return f"[{', '.join(parts)}{more}]" if flat.size != 1 else parts[0]


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
