"""Native and ONNX side by side: the same inputs, the same answers, how fast: `compare`.

Each side runs in a worker process of its own (`sides.py`, opened by `opening.py`) and is asked what `questions.py`
finds. What belongs together is found by `matching.py`, and whether it agrees is judged by `verdict.py`; the first layer
to differ is found by `layers.py`, and how long a call takes by `timing.py`. `answers.py` keeps rows.
`within.py` tells what a run gives inside an ONNX file.
"""

from __future__ import annotations

import os
import platform
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from ..agreement import rows_of
from ..classes import accuracy, fits
from ..errors import WorkbenchError
from ..files.certificate import versions
from ..sandbox import Cancelled
from ..words import counted, listed
from .answers import Answers, keep, watch
from .comparison import Comparison, SideResult
from .layers import Divergence
from .opening import LAYER_ROWS, opened
from .options import Options, documented
from .questions import (
    Questions,
    answers_of,
    batch_of,
    check,
    check_repeatable,
    first,
    fixed_rows,
    questions,
)
from .sides import Side, usable_cores
from .timing import CallTime, Race, race
from .verdict import Verdict, judge

Sides = tuple[Side, Side]


__all__ = ["Answers", "Comparison", "Options", "SideResult", "compare"]

PACKAGES = ("onnxruntime", "onnx", "numpy", "scikit-learn", "tensorflow", "keras", "tf-keras", "nengo", "nengo-dl")


@documented
def compare(native: Any, onnx: Any, inputs: Any = None, **options: Any) -> Comparison:
    """Ask two models the same, and time them in turns.

    Args:
        native: a model file, a fitted estimator, a Keras model, or an open engine. An open engine runs where it is,
            anything else in a worker of its own.
        onnx: the same for the ONNX side.
        inputs: rows, as for `Engine.run`; pictures in either layout. Or a path to a file of rows, as
            `workbench.rows.read` takes them; ``"paper"``: rows of the paper's data; ``"random"``: made up for its
            inputs (`workbench.invented`). If None, the paper's data where it fits, else made up; a warning says which.
        options: by name, see `workbench.compare.options.Options`.

    Raises:
        BadInput: the inputs do not fit a side, or have no rows; `target` is no column; `batch` is more than there are.
        UnreadableFile: the file of rows, too.
        NeedsTrust, UnsupportedModel, UnreadableFile: as for `load_engine`.
        WorkbenchError: a side crashed, hung or took too much memory.
    """
    wishes = Options.of(**options)
    check(inputs, wishes.target)
    warnings: list[str] = []
    with ExitStack() as open_sides:
        sides = opened(open_sides, (native, onnx), wishes, warnings)
        asked = questions(inputs, sides, wishes, warnings)
        count, timed = rows_of(asked.onnx), batch_of(sides, asked.onnx, wishes.batch)
        wishes.say(f"Asking both sides {counted(count, 'row')}")
        answers = answers_of(sides[0], asked.native), answers_of(sides[1], asked.onnx)
        if asked.papers and not fits(answers[0], asked.targets, asked.class_names, sides[0].classes):
            asked = replace(asked, targets=None)
            warnings.append(
                f"Nothing shows that the model's classes are those of the data ({listed(asked.class_names)}), so no "
                "answer is called right or wrong."
            )
        verdict = judge(sides, answers, asked, wishes.tolerance, warnings)
        for side, rows, answer in zip(sides, asked.both, answers, strict=True):
            check_repeatable(side, rows, answer, timed, verdict.allowed, warnings)
        divergence = _divergence(sides, onnx, asked, verdict, wishes, warnings) if wishes.layers else None
        wishes.say("Warming up")
        times = _race(sides, asked, timed, wishes)
        right = [
            None if asked.targets is None else accuracy(answer, asked.targets, side.classes or sides[0].classes)
            for side, answer in zip(sides, answers, strict=True)
        ]
        results = (
            _result(sides[0], native, times.native, times.native_fastest, right[0]),
            _result(sides[1], onnx, times.onnx, times.onnx_fastest, right[1]),
        )
        single = _single_rows(sides, asked, times, wishes, warnings) if wishes.one_row and timed > 1 else None
        kept = _kept(sides, asked, verdict, times, wishes, warnings)
        for side in sides:
            warnings += [f"{side.name} has no {call} for this model: {why}." for call, why in side.refused.items()]
        if timed < count:
            warnings.append(f"Answers are compared on all {count:,} rows; a timed call holds {timed:,} of them.")
        return Comparison(
            native=results[0],
            onnx=results[1],
            speedup=times.ratio,
            agreement=verdict.agreement,
            rows=timed,
            rounds=times.rounds,
            ended=times.ended,
            one_row=single,
            divergence=divergence,
            environment=environment(sides[1].threads if sides[1].threads == sides[0].threads else None),
            warnings=tuple(dict.fromkeys(warnings)),
            answers=kept,
            names=verdict.names,
        )


def environment(threads: int | None) -> dict[str, Any]:
    """What the figures were measured on: {cpu, cores, threads, versions}."""
    return {
        "cpu": _cpu(),
        "cores": usable_cores(),
        "threads": threads,
        "versions": {"python": platform.python_version(), **versions("onnx-workbench", *PACKAGES)},
    }


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _divergence(
    sides: Sides, onnx: Any, asked: Questions, verdict: Verdict, wishes: Options, warnings: list[str]
) -> Divergence | None:
    """The first layer that differs, of the rows that differ most, then of the first ones."""
    wishes.say("Looking for the first layer that differs")
    if not isinstance(onnx, str | os.PathLike):
        warnings.append("Layers are compared where the ONNX side is a file; give its path.")
        return None
    if any(side.axes for side in sides):
        warnings.append("Layers were not compared: an input has its rows elsewhere than along its first axis.")
        return None
    count, worst = rows_of(asked.onnx), [sample.index for sample in verdict.agreement.worst]
    rows = list(dict.fromkeys([*worst, *range(count)]))[:LAYER_ROWS]
    if size := fixed_rows(sides[0]) or fixed_rows(sides[1]):
        start = rows[0] // size * size
        rows = list(range(start, start + size))
    answers = {pair.onnx_name: pair.native for pair in verdict.pairs}
    native, asked_onnx, native_answers = (
        {
            name: np.ascontiguousarray(array[rows]) if array.shape[:1] == (count,) else array
            for name, array in part.items()
        }
        for part in (*asked.both, answers)
    )
    divergence, notes = sides[0].diverges(os.path.abspath(onnx), native, asked_onnx, native_answers, verdict.allowed)
    if divergence is None and not notes:
        notes = ["No layer differs beyond the tolerance."]
        if not verdict.agreement.within_tolerance:
            notes[0] += (
                " The answers do: small differences add up, or ONNX Runtime's optimiser makes them, which is off while "
                "layers are compared."
            )
    warnings += notes
    return divergence


def _race(sides: Sides, asked: Questions, rows: int, wishes: Options, share: float = 1) -> Race:
    """A race of calls with so many rows, for a share of the seconds."""
    for side, arrays in zip(sides, asked.both, strict=True):
        side.prepare(first(arrays, rows))
    return race(
        sides, budget=wishes.seconds * share, rounds=wishes.repeat, progress=wishes.progress, cancel=wishes.cancel
    )


def _single_rows(sides: Sides, asked: Questions, before: Race, wishes: Options, warnings: list[str]) -> Race | None:
    """The race with one row a call. Given up by now, or where a model takes no single row, the first race stands."""
    if before.ended == "cancelled":
        return None
    wishes.say("Warming up for single rows")
    try:
        return _race(sides, asked, 1, wishes, share=0.5)
    except Cancelled:
        return None
    except WorkbenchError as error:
        warnings.append(f"Single rows were not timed: {error}")
        return None


def _kept(
    sides: Sides, asked: Questions, verdict: Verdict, timed: Race, wishes: Options, warnings: list[str]
) -> Answers:
    """What both sides answered, with their spikes where they are spiking networks."""
    kept = keep(asked, verdict, *sides)
    if not sides[0].neurons or timed.ended == "cancelled":
        return kept
    wishes.say("Watching the spikes")
    try:
        return replace(kept, spikes=watch(*sides, asked, kept.rows))
    except Cancelled:
        pass
    except WorkbenchError as error:
        warnings.append(f"Spikes are not shown: {error}")
    return kept


def _result(side: Side, model: Any, calls: tuple[CallTime, ...], best: CallTime, right: float | None) -> SideResult:
    return SideResult(
        engine=side.name,
        version=side.version,
        model=os.fspath(model) if isinstance(model, str | os.PathLike) else type(model).__name__,
        call=best.call,
        seconds=best.seconds,
        calls=calls,
        accuracy=right,
        peak_mib=side.peak_mib(),
        threads=side.threads,
    )
