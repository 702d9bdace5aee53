"""Hold a draft's two sides against each other: the source model, and the ONNX file in ONNX Runtime.

**Samples.** The person's rows, or generated ones, and in both cases the draft's own points. Generated rows are random
numbers at several scales and edge rows (zeros, negatives, very large, very small, NaN where the source takes it),
from a fixed seed. A generated row that the source model refuses is left out; one it answers, ONNX Runtime must answer.

**Agreement.** A floating-point output agrees where ``|onnx - native| <= absolute + relative * |native|`` for every
number (the draft's `Tolerance`); two NaN agree, and so do two equal infinities. Labels (integers, strings, booleans)
must be equal, except where the probabilities beside them tie within the tolerance, and the eight and sixteen bit
integers of a quantized network, which may lie `Tolerance.steps` quantization steps apart.

**Undecided rows.** On generated rows far from any data a float32 graph can differ although nothing is wrong: the
source model itself answers otherwise when its input moves to the next float32 number. So the source is asked again
with every number moved by one rounding, and a *generated* row on which both sides differ by no more than a few times
that counts neither way. The person's rows and the draft's points (which lie one rounding apart on purpose) always
count.
"""

from __future__ import annotations

import gc
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..agreement import Tolerance
from ..engines.onnxruntime import OnnxRuntimeEngine
from ..errors import UnsupportedModel, WorkbenchError
from .conversion import Agreement, OutputAgreement, WorstSample
from .draft import Draft
from .samples import SEED, Group, in_parts, plan, row_size

if TYPE_CHECKING:
    import numpy as np

    from .draft import Arrays

SMALL_ROW = 20_000
"""Numbers in a row up to which the source is asked three times more, to see how its answer moves with rounding."""

MOVES = 3
LEEWAY = 8
"""A generated row may differ by so many times the source's own movement under one rounding of its input: a float32
graph rounds at every step, of which there are more than one."""

MOST_WORST = 5
EXCERPT = 8


@dataclass
class Asked:
    """The source model's side: every group with its answers, and sentences about what it refused."""

    groups: list[Group]
    notes: list[str]


def ask_native(draft: Draft, sample: Any = None) -> Asked:
    """Ask the source model about every sample.

    Args:
        sample: the person's rows, as `Engine.run` takes them; generated ones are asked if None.

    Raises:
        BadInput: the person's rows do not fit the model's inputs.
        UnsupportedModel: the source model answers no generated row: the person must give some.
        WorkbenchError: the source model fails on the person's rows.
    """
    notes: list[str] = []
    groups: list[Group] = []
    refused = ""
    for alternatives in plan(draft, sample):
        for group in alternatives:
            try:
                group.answers = _answers(draft, group.native)
            except Exception as error:
                if isinstance(error, MemoryError):
                    raise
                if group.name == "given":
                    raise WorkbenchError(
                        f"The source model cannot answer the rows given: {_first_line(error)}; give rows it takes."
                    ) from error
                refused = _first_line(error)
                continue
            groups.append(group)
            break
        else:
            notes.append(
                f"The source model refuses the {alternatives[-1].name} rows made for the proof ({refused}), so they "
                "were left out."
            )
    if not any(group.rows for group in groups):
        raise UnsupportedModel(
            f"The source model answers none of the rows made from its inputs ({refused}): give rows it takes with "
            "sample=."
        )
    if sentence := _not_repeatable(draft, groups[0]):
        notes.append(sentence)
    for group in groups:
        if not group.strict and row_size(group.onnx) <= SMALL_ROW:
            group.spread = _spread(draft, group)
    return Asked(groups, notes)


# --- the source model's side ---------------------------------------------------------------------------------------


def _answers(draft: Draft, arrays: Arrays) -> Arrays:
    import warnings

    import numpy as np

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return in_parts(draft.native, arrays, draft.inputs)


def _not_repeatable(draft: Draft, group: Group) -> str | None:
    again = _answers(draft, group.native)
    worst = 0.0
    for name, first in group.answers.items():
        second = again[name]
        if first.dtype.kind == "f" and first.shape == second.shape:
            worst = max(worst, float(_distance(first, second).max(initial=0)))
        elif first.shape != second.shape or not bool((first == second).all()):
            worst = float("inf")
    if worst == 0:
        return None
    size = "labels or shapes" if worst == float("inf") else f"up to {worst:.2g}"
    return f"The source model itself gives different answers when asked twice ({size}): it has a random part."


def _spread(draft: Draft, group: Group) -> Arrays | None:
    """{output: how far the source's answer moves when every number of its input moves to a float32 neighbour}; labels
    become 1 where they change."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    out = {
        name: np.zeros(value.shape, np.float64 if value.dtype.kind == "f" else bool)
        for name, value in group.answers.items()
    }
    for _ in range(MOVES):
        moved = {name: _moved(array, rng) if array.dtype.kind == "f" else array for name, array in group.native.items()}
        try:
            answers = _answers(draft, moved)
        except Exception:
            return None
        for name, value in group.answers.items():
            if answers[name].shape != value.shape:
                return None
            if value.dtype.kind == "f":
                out[name] = np.maximum(out[name], _distance(value, answers[name]))
            else:
                out[name] |= answers[name] != value
    return out


def _moved(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    import numpy as np

    step = np.float16 if array.dtype == np.float16 else np.float32
    towards = np.where(rng.random(array.shape) < 0.5, -np.inf, np.inf)
    return np.nextafter(array.astype(step), towards.astype(step)).astype(array.dtype)


def _distance(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """|left - right| in float64; 0 where both are NaN or the same infinity, infinite where only one is."""
    import numpy as np

    left, right = left.astype(np.float64), right.astype(np.float64)
    with np.errstate(all="ignore"):
        distance = np.abs(left - right)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    return np.where(same, 0.0, np.where(np.isnan(distance), np.inf, distance))


# --- both sides ----------------------------------------------------------------------------------------------------


def hold_against(asked: Asked, path: Path, tolerance: Tolerance) -> tuple[Agreement, list[str]]:
    """Run the ONNX file on the samples the source model answered, and compare.

    Returns:
        (the agreement, sentences about what was noticed).

    Raises:
        UnsupportedModel: ONNX Runtime cannot load the file.
    """
    gc.collect()
    notes = list(asked.notes)
    outputs: dict[str, _Output] = {}
    worst: list[tuple[float, WorstSample]] = []
    start = mismatches = undecided = 0
    within = True
    with OnnxRuntimeEngine(path) as engine:
        for group in asked.groups:
            try:
                results = in_parts(engine.run, group.onnx, engine.inputs)
            except WorkbenchError as error:
                within = False
                notes.append(f"ONNX Runtime fails on the {group.name} rows, which the source model answers: {error}")
                continue
            faults = _compare(group, results, tolerance, outputs, notes)
            rows = group.rows
            bad = faults.severity > 0
            excused = faults.excused & bad
            undecided += int(excused.sum())
            bad &= ~excused
            mismatches += int((faults.labels & bad).sum())
            within &= not bad.any()
            for row in sorted(range(rows), key=lambda r: -faults.severity[r] if bad[r] else 0)[:MOST_WORST]:
                if bad[row]:
                    worst.append((float(faults.severity[row]), _excerpt(group, results, row, start, faults)))
            start += rows
    worst.sort(key=lambda item: -item[0])
    numeric = [output for output in outputs.values() if output.numeric]
    if undecided:
        notes.append(
            f"On {undecided} of the generated rows both sides differ by no more than the source model's own answer "
            "does when its input is rounded to the next float32 number; they were not counted."
        )
    agreement = Agreement(
        samples=sum(group.rows for group in asked.groups),
        max_abs=max((output.max_abs for output in numeric), default=0.0),
        max_rel=max((output.max_rel for output in numeric), default=0.0),
        label_mismatches=mismatches,
        within_tolerance=within,
        undecided=undecided,
        groups={group.name: {"samples": group.rows, "max_abs": group.max_abs} for group in asked.groups},
        tolerance={"relative": tolerance.relative, "absolute": tolerance.absolute, "reason": tolerance.reason},
        outputs=tuple(
            OutputAgreement(name, o.dtype, o.max_abs, o.max_rel, o.mismatches, o.beyond) for name, o in outputs.items()
        ),
        worst=tuple(sample for _, sample in worst[:MOST_WORST]),
    )
    return agreement, notes


@dataclass
class _Output:
    dtype: str
    numeric: bool
    max_abs: float = 0.0
    max_rel: float = 0.0
    mismatches: int = 0
    beyond: int = 0


@dataclass
class _Faults:
    """Per row: how bad, of which output, whether labels differ, and whether rounding of the input explains it."""

    severity: np.ndarray
    output: list[str]
    labels: np.ndarray
    excused: np.ndarray


def _compare(
    group: Group, results: Arrays, tolerance: Tolerance, outputs: dict[str, _Output], notes: list[str]
) -> _Faults:
    import numpy as np

    rows = group.rows
    faults = _Faults(
        np.zeros(rows), [""] * rows, np.zeros(rows, bool), np.ones(rows, bool) & (not group.strict)
    )  # fmt: skip
    tied = np.zeros(rows, bool)
    pending: list[tuple[str, np.ndarray]] = []
    for name, theirs in group.answers.items():
        if name not in results:
            raise UnsupportedModel(f"The ONNX model has no output {name!r}; it has: {', '.join(results)}.")
        ours = results[name]
        seen = outputs.setdefault(name, _Output(str(ours.dtype), ours.dtype.kind == "f"))
        matched = _same_shape(theirs, ours)
        if matched is None:
            sentence = f"Output {name!r} has shape {ours.shape} in ONNX and {theirs.shape} in the source model."
            if sentence not in notes:
                notes.append(sentence)
            _blame(faults, name, np.full(rows, np.inf))
            faults.excused[:] = False
            seen.beyond += rows
            continue
        theirs, spread = matched, None
        if group.spread is not None:
            spread = group.spread[name].reshape(ours.shape)
        if not seen.numeric:
            differ = ~_equal(ours, theirs, tolerance.steps)
            by_row = np.asarray(_by_row(differ, rows).any(axis=1))
            seen.mismatches += int(by_row.sum())
            pending.append((name, by_row))
            faults.excused &= ~by_row if spread is None else ~by_row | _by_row(spread & differ, rows).any(axis=1)
            continue
        distance = _distance(ours, theirs)
        size = np.abs(np.where(np.isfinite(theirs.astype(np.float64)), theirs, 0).astype(np.float64))
        allowed = tolerance.absolute + tolerance.relative * size
        excess = _by_row(distance / np.maximum(allowed, 1e-300), rows).max(axis=1, initial=0)
        beyond = excess > 1
        excusable = ~beyond
        if spread is not None:
            # Beyond float32's reach, overflow to infinity is rounding too.
            limit = allowed + LEEWAY * spread
            overflow = np.isinf(ours) & (size > 1e37)
            excusable |= _by_row((distance <= limit) | overflow, rows).all(axis=1)
        counted = ~beyond | ~excusable | group.strict
        finite = _by_row(np.where(np.isfinite(distance), distance, 0), rows)
        largest = float(finite[counted].max(initial=0))
        group.max_abs, seen.max_abs = max(group.max_abs, largest), max(seen.max_abs, largest)
        largest_of_row = np.maximum(_by_row(size, rows).max(axis=1, initial=0), max(tolerance.absolute, 1e-300))
        relative = finite.max(axis=1, initial=0) / largest_of_row
        seen.max_rel = max(seen.max_rel, float(relative[counted].max(initial=0)))
        if (beyond & ~np.isfinite(_by_row(distance, rows)).all(axis=1) & ~excusable).any():
            seen.max_abs = float("inf")
        seen.beyond += int((beyond & ~excusable).sum())
        _blame(faults, name, np.where(beyond, excess, 0))
        faults.excused &= excusable | ~beyond
        if _is_probability(theirs):
            close, flipped = _flips(theirs, ours, tolerance, rows)
            tied |= close
            faults.labels |= flipped
    for name, by_row in pending:
        # The label of a tie may go either way.
        decided = by_row & ~tied
        _blame(faults, name, np.where(decided, np.inf, 0))
        faults.labels |= decided
        if (ties := int((by_row & tied).sum())) and (sentence := _ties(ties)) not in notes:
            notes.append(sentence)
    return faults


def _ties(count: int) -> str:
    rows = "1 row" if count == 1 else f"{count} rows"
    return f"On {rows} two classes tie within the tolerance and the label goes the other way; this was not counted."


def _blame(faults: _Faults, name: str, severity: np.ndarray) -> None:
    import numpy as np

    for row in np.flatnonzero(severity > faults.severity):
        faults.output[row] = name
    faults.severity[:] = np.maximum(faults.severity, severity)


def _same_shape(theirs: np.ndarray, ours: np.ndarray) -> np.ndarray | None:
    """`theirs` in the shape of `ours`, where they differ by axes of one only."""
    squeezed = [tuple(dim for dim in array.shape if dim != 1) for array in (theirs, ours)]
    return theirs.reshape(ours.shape) if squeezed[0] == squeezed[1] else None


def _by_row(array: np.ndarray, rows: int) -> np.ndarray:
    import numpy as np

    if array.ndim and array.shape[0] == rows:
        return array.reshape(rows, -1)
    # An output without a row per sample speaks for all of them.
    return np.broadcast_to(array.reshape(1, -1), (rows, array.size))


def _equal(ours: np.ndarray, theirs: np.ndarray, steps: int = 0) -> np.ndarray:
    import numpy as np

    if steps and ours.dtype.kind == theirs.dtype.kind and ours.dtype.kind in "iu" and ours.dtype.itemsize <= 2:
        # Eight and sixteen bits hold a quantized network's numbers; labels and indices come in 32 or 64.
        return np.asarray(np.abs(ours.astype(np.int64) - theirs.astype(np.int64)) <= steps)
    if ours.dtype.kind in "biu" and theirs.dtype.kind in "biuf":
        return np.asarray(ours.astype(np.float64) == theirs.astype(np.float64))
    return np.asarray(ours.astype(str) == theirs.astype(str))


def _is_probability(array: np.ndarray) -> bool:
    """One row per sample that sums to one: its largest number names a class."""
    import numpy as np

    if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] < 2 or not array.size:
        return False
    values = array.astype(np.float64)
    return bool(np.isfinite(values).all() and (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3))


def _flips(theirs: np.ndarray, ours: np.ndarray, tolerance: Tolerance, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows whose two best classes tie within the tolerance, rows whose best class differs by more than a tie)."""
    import numpy as np

    ordered = np.sort(theirs.astype(np.float64), axis=1)
    close = ordered[:, -1] - ordered[:, -2] <= 2 * (tolerance.absolute + tolerance.relative * ordered[:, -1])
    flipped = (theirs.argmax(axis=1) != np.nan_to_num(ours, nan=-1).argmax(axis=1)) & ~close
    return (close, flipped) if len(close) == rows else (np.zeros(rows, bool), np.zeros(rows, bool))


def _excerpt(group: Group, results: Arrays, row: int, start: int, faults: _Faults) -> WorstSample:
    name = faults.output[row]
    ours, theirs = results[name], group.answers[name]

    def part(array: np.ndarray) -> Any:
        return array[row] if array.ndim and array.shape[0] == group.rows else array

    difference = None
    if ours.dtype.kind == "f" and theirs.size == ours.size:
        difference = float(_distance(part(ours.reshape(-1, *ours.shape[1:])), part(theirs.reshape(ours.shape))).max())
    return WorstSample(
        index=start + row,
        group=group.name,
        output=name,
        inputs={key: _shown(part(value)) for key, value in group.onnx.items()},
        native=_shown(part(theirs)),
        onnx=_shown(part(ours)),
        difference=difference,
    )


def _shown(value: Any) -> str:
    import numpy as np

    flat = np.asarray(value).reshape(-1)
    parts = [f"{item:.7g}" if isinstance(item, float | np.floating) else repr(item)[:60] for item in
             (flat[:EXCERPT].tolist())]  # fmt: skip
    more = f", … ({flat.size:,} in all)" if flat.size > EXCERPT else ""
    return f"[{', '.join(parts)}{more}]" if flat.size != 1 else parts[0]


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in re.sub(r"\x1b\[[\d;]*m", "", str(error)).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300].rstrip(".")
