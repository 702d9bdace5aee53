"""Hold a draft's two sides against each other: the source model, and the ONNX file in ONNX Runtime.

**Samples.** The person's rows, or generated ones, and in both cases the draft's own points. Generated rows are random
numbers at several scales and edge rows (zeros, negatives, very large, very small, NaN where the source takes it),
from a fixed seed. A generated row that the source model refuses is left out; one it answers, ONNX Runtime must answer.

**Undecided rows.** On generated rows far from any data a float32 graph can differ although nothing is wrong: the
source model itself answers otherwise when its input moves to the next float32 number. So the source is asked again
with every number moved by one rounding, and a *generated* row on which both sides differ by no more than a few times
that counts neither way. The person's rows and the draft's points (which lie one rounding apart on purpose) always
count.

What counts as agreement is said in `workbench.agreement`.
"""

from __future__ import annotations

import gc
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..agreement import Agreement, Tally, Tolerance, distance
from ..engines.onnxruntime import LARGE, OnnxRuntimeEngine
from ..errors import UnsupportedModel, WorkbenchError
from .draft import Draft
from .samples import SEED, Group, in_parts, plan, row_size

if TYPE_CHECKING:
    import numpy as np

    from .draft import Arrays

SMALL_ROW = 20_000
"""Numbers in a row up to which the source is asked three times more, to see how its answer moves with rounding."""

MOVES = 3


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
            worst = max(worst, float(distance(first, second).max(initial=0)))
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
                out[name] = np.maximum(out[name], distance(value, answers[name]))
            else:
                out[name] |= answers[name] != value
    return out


def _moved(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    import numpy as np

    step = np.float16 if array.dtype == np.float16 else np.float32
    towards = np.where(rng.random(array.shape) < 0.5, -np.inf, np.inf)
    return np.nextafter(array.astype(step), towards.astype(step)).astype(array.dtype)


# --- both sides ----------------------------------------------------------------------------------------------------


def hold_against(asked: Asked, path: Path, tolerance: Tolerance) -> tuple[Agreement, list[str]]:
    """Run the ONNX file on the samples the source model answered, and compare.

    Returns:
        (the agreement, sentences about what was noticed).

    Raises:
        UnsupportedModel: ONNX Runtime cannot load the file.
    """
    gc.collect()
    tally = Tally(tolerance)
    tally.notes += asked.notes
    with OnnxRuntimeEngine(path, lean=path.stat().st_size >= LARGE) as engine:
        for group in asked.groups:
            try:
                results = in_parts(engine.run, group.onnx, engine.inputs)
            except WorkbenchError as error:
                sentence = f"ONNX Runtime fails on the {group.name} rows, which the source model answers: {error}"
                tally.fail(group.name, group.rows, sentence)
                continue
            tally.add(
                group.answers, results, group.onnx, group=group.name, strict=group.strict, spread=group.spread
            )  # fmt: skip
    agreement = tally.agreement()
    if agreement.undecided:
        tally.notes.append(
            f"On {agreement.undecided} of the generated rows both sides differ by no more than the source model's own "
            "answer does when its input is rounded to the next float32 number; they were not counted."
        )
    return agreement, tally.notes


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in re.sub(r"\x1b\[[\d;]*m", "", str(error)).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300].rstrip(".")
