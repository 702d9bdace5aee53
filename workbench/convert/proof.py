"""Hold a draft's two sides against each other: the source model, and the ONNX file in ONNX Runtime.

**Samples.** The person's rows, or generated ones, and in both cases the draft's own points. Generated rows are random
numbers at several scales and edge rows (zeros, negatives, very large, very small, NaN where the source takes it),
from a fixed seed. A generated row that the source model refuses is left out; one it answers, ONNX Runtime must answer.

**Undecided rows.** On generated rows far from any data a float32 graph can differ although nothing is wrong: the
source model itself answers otherwise when its input moves to the next float32 number. So the source is asked again
with every number moved by one rounding, and a *generated* row on which both sides differ by no more than a few times
that counts neither way. The person's rows and the draft's points (which lie one rounding apart on purpose) always
count.

Where neighbours stand at the same distance either may be taken: any row on which both sides differ by no more than that
makes (`Draft.ties`) counts neither way.

A quantized network rounds to 8 bits at every layer, where it may be steep: behind a softmax or a tanh one step becomes
a dozen. There a rounding is a step, the person's rows are weighed like any other, and where most rows would be
undecided nothing is left to agree on: then all of them count.

What counts as agreement is said in `workbench.agreement`.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..agreement import Agreement, Tally, Tolerance, as_rows, bounded, distance, is_quantized, moved, movement, plain
from ..engines.onnxruntime import LARGE, OnnxRuntimeEngine
from ..errors import UnsupportedModel, WorkbenchError
from ..words import first_line, listed
from .draft import Arrays, Draft, State
from .samples import SEED, Group, asked_of, in_parts, plan, row_size

SMALL_ROW = 20_000
"""Numbers in a row up to which the source is asked three times more, to see how its answer moves with rounding."""


MOST_TRIES = 300
"""Times a source model is asked which of a group's rows it refuses."""


@dataclass
class Asked:
    """The source model's side: every group with its answers, sentences about what it refused, and one for each input
    about what it was asked."""

    groups: list[Group]
    notes: list[str]
    asked: tuple[str, ...] = ()


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
                if draft.refuses and group.name != "given":
                    group = _taken(draft, group)
                group.answers = _answers(draft, group.native)
            except Exception as error:
                if isinstance(error, MemoryError):
                    raise
                if group.name == "given":
                    raise WorkbenchError(
                        f"The source model cannot answer the rows given: {first_line(error)}; give rows it takes."
                    ) from error
                refused = first_line(error)
                continue
            groups.append(group)
            notes += filter(None, [group.note])
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
    groups, sentence = _repeatable(draft, groups)
    if sentence:
        notes.append(sentence)
    if sentence := _hollow(groups):
        notes.append(sentence)
    for group in groups:
        if draft.ties is not None and (others := draft.ties(group.native)):
            group.ties = movement(group.answers, others)
        if draft.tolerance.steps or (not group.strict and row_size(group.onnx) <= SMALL_ROW):
            group.spread = _spread(draft, group)
    return Asked(groups, notes, asked_of(draft, groups))


# --- the source model's side ---------------------------------------------------------------------------------------


def _answers(draft: Draft, arrays: Arrays) -> Arrays:
    import warnings

    def anew(part: Arrays) -> Arrays:
        if draft.state is not None:
            draft.state.restore()
        return draft.native(part)

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return in_parts(anew, arrays, draft.inputs)


def _taken(draft: Draft, group: Group) -> Group:
    """The group without the rows that the source model refuses, found by halving; as it is, where it takes all or none,
    or is still not through after `MOST_TRIES`."""
    waiting, kept = [np.arange(group.rows)], []
    for tries in range(MOST_TRIES):
        if not waiting:
            break
        rows = waiting.pop()
        try:
            _answers(draft, {name: array[rows] for name, array in group.native.items()})
        except MemoryError:
            raise
        except Exception:
            waiting += np.array_split(rows, 2) if len(rows) > 1 else []
        else:
            if not tries:
                return group
            kept.append(rows)
    if not kept:
        return group
    rows = np.sort(np.concatenate(kept))
    native, onnx = ({name: array[rows] for name, array in side.items()} for side in (group.native, group.onnx))
    refused = f"The source model refuses {group.rows - len(rows):,} of the {group.rows:,} {group.name} rows"
    note = f"{refused} made for the proof, which were left out."
    return Group(group.name, native, onnx, group.strict, note)


def _repeatable(draft: Draft, groups: list[Group]) -> tuple[list[Group], str | None]:
    """The groups that can be compared, and a sentence where the source answers some of them otherwise when it is asked
    again: those are left out, as of a network that is switched to training, unless there are no others."""
    apart = [_apart(group.answers, _answers(draft, group.native)) for group in groups]
    steady = [group for group, worst in zip(groups, apart, strict=True) if worst == 0 or group.strict]
    if max(apart) == 0:
        return groups, None if draft.state is None else _stateful(draft, draft.state, groups[0])
    if steady and len(steady) < len(groups):
        left_out = [group.name for group, worst in zip(groups, apart, strict=True) if worst and not group.strict]
        return steady, (
            f"The source model gives different answers to the {' and '.join(left_out)} rows when asked twice, as where "
            "it is switched to training, so they were left out."
        )
    worst = max(apart)
    size = "labels or shapes" if worst == float("inf") else f"up to {worst:.2g}"
    cause = "" if draft.state is not None else ", or keeps a state from one call to the next"
    return groups, (
        f"The source model itself gives different answers when asked twice ({size}): it has a random part{cause}."
    )


def _stateful(draft: Draft, state: State, group: Group) -> str | None:
    """A sentence where what an earlier call left behind makes for another answer."""
    names = state.changed()
    after = in_parts(draft.native, group.native, draft.inputs) if names else group.answers
    state.restore()
    if _apart(group.answers, after) == 0:
        return None
    return (
        f"The source model keeps a state from one call to the next ({listed(names)}), and the ONNX file keeps none: "
        "each of its calls begins with the state that was converted, and so did the source model for this proof. "
        "Give it whole sequences."
    )


def _apart(left: Arrays, right: Arrays) -> float:
    worst = 0.0
    for name, first in left.items():
        second = right[name]
        if first.dtype.kind == "f" and first.shape == second.shape:
            worst = max(worst, float(distance(first, second).max(initial=0)))
        elif first.shape != second.shape or not bool((first == second).all()):
            worst = float("inf")
    return worst


def _hollow(groups: list[Group]) -> str | None:
    """A sentence where all answers are the same, and so would many another model's be."""
    rows = sum(group.rows for group in groups)
    first = {name: as_rows(plain(value), groups[0].rows)[:1] for name, value in groups[0].answers.items()}
    for group in groups:
        for name, value in group.answers.items():
            answers = as_rows(plain(value), group.rows)
            if answers.shape[1:] != first[name].shape[1:]:
                return None
            # NaN is not itself.
            if ((answers != first[name]) & ((answers == answers) | (first[name] == first[name]))).any():
                return None
    if rows == 1:
        return None
    return (
        f"The source model gives one and the same answer to all {rows} rows it was asked, so they say little: give "
        "rows with sample= that it tells apart."
    )


def _spread(draft: Draft, group: Group) -> Arrays | None:
    """{output: how far the source's answer moves when every number of its input moves by one rounding}; labels become 1
    where they change."""
    steps = draft.tolerance.steps
    numbers = {
        name: value.dtype.kind == "f" or bool(steps and is_quantized(value)) for name, value in group.answers.items()
    }
    out = {name: np.zeros(value.shape, np.float64 if numbers[name] else bool) for name, value in group.answers.items()}
    for arrays in moved(group.native, draft.tolerance, np.random.default_rng(SEED)):
        # Another integer may well have another label, which says nothing of rounding.
        others = any(
            bool((arrays[name] != array).any()) for name, array in group.native.items() if array.dtype.kind in "iu"
        )
        try:
            answers = _answers(draft, arrays)
        except Exception:
            return None
        for name, value in group.answers.items():
            if answers[name].shape != value.shape:
                return None
            if numbers[name]:
                out[name] = np.maximum(out[name], distance(value, answers[name]))
            elif not others or steps:
                out[name] |= answers[name] != value
    return out


# --- both sides ----------------------------------------------------------------------------------------------------


def hold_against(asked: Asked, path: Path, tolerance: Tolerance) -> tuple[Agreement, list[str]]:
    """Run the ONNX file on the samples the source model answered, and compare.

    Returns:
        (the agreement, sentences about what was noticed).

    Raises:
        UnsupportedModel: ONNX Runtime cannot load the file.
    """
    gc.collect()
    if tolerance.steps:
        # A step of a quantized network is a share of its answers.
        tolerance = max((bounded(tolerance, group.answers) for group in asked.groups), key=lambda one: one.absolute)
    results: list[Arrays | str] = []
    with OnnxRuntimeEngine(path, lean=path.stat().st_size >= LARGE) as engine:
        for group in asked.groups:
            try:
                results.append(in_parts(engine.run, group.onnx, engine.inputs))
            except WorkbenchError as error:
                results.append(f"ONNX Runtime fails on the {group.name} rows, which the source model answers: {error}")
    tally = _tally(asked, results, tolerance)
    agreement = tally.agreement()
    if tolerance.steps and 2 * agreement.undecided > agreement.samples:
        tally = _tally(asked, results, tolerance, strict=True)
        tally.notes.append(
            f"On {agreement.undecided} of {agreement.samples} rows the source model's own answer moves as much as both "
            "sides differ when its input moves by one step: these cannot tell right from wrong, so give rows of your "
            "data with sample=."
        )
        agreement = tally.agreement()
    tally.notes += tally.swapped_says
    if rounded := agreement.undecided - tally.swapped:
        moves = "moves by one step of 8 bits" if tolerance.steps else "is rounded to the next float32 number"
        tally.notes.append(
            f"On {rounded} of the rows both sides differ by no more than the source model's own answer "
            f"does when its input {moves}; they were not counted."
        )
    return replace(agreement, asked=asked.asked), tally.notes


def _tally(asked: Asked, results: list[Arrays | str], tolerance: Tolerance, *, strict: bool = False) -> Tally:
    """Both sides, compared.

    Args:
        results: ONNX Runtime's answers to each group, or why there are none.
        strict: every row counts.
    """
    tally = Tally(tolerance)
    tally.notes += asked.notes
    for group, result in zip(asked.groups, results, strict=True):
        if isinstance(result, str):
            tally.fail(group.name, group.rows, result)
            continue
        spread = None if strict or (group.strict and not tolerance.steps) else group.spread
        tally.add(group.answers, result, group.onnx, group=group.name, spread=spread, ties=group.ties)
    return tally
