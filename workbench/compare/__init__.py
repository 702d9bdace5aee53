"""Native and ONNX side by side: the same inputs, the same answers, how fast: `compare`.

Each side runs in a worker process of its own (`sides.py`) and is asked what `questions.py` finds. What
belongs together is found by `matching.py`, and whether it agrees is judged by `verdict.py`; the first layer to differ
is found by `layers.py`, and how long a call takes by `timing.py`. `answers.py` keeps rows.
"""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..classes import accuracy, fits
from ..errors import WorkbenchError
from ..sandbox import Cancelled, end_warm_worker
from ..words import counted, listed
from .answers import Answers, keep, watch
from .comparison import Comparison, SideResult
from .layers import Divergence
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
    rows_of,
)
from .sides import Side
from .timing import CallTime, Race
from .verdict import Verdict, judge

Arrays = dict[str, np.ndarray]
Sides = tuple[Side, Side]


__all__ = ["Answers", "Comparison", "Options", "SideResult", "compare"]

LAYER_ROWS = 4
"""Rows on which layers are held against each other, the worst ones first."""

WAITING_MIB = 600
"""MiB, from which a converter's worker does not wait while two sides are compared. One with scikit-learn holds 200."""

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
        sides = _sides(open_sides, (native, onnx), wishes, warnings)
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
        race = _race(sides, asked, timed, wishes)
        results = [
            _result(side, model, calls, best, _right(answer, asked.targets, side.classes or sides[0].classes))
            for side, model, calls, best, answer in (
                (sides[0], native, race.native, race.native_fastest, answers[0]),
                (sides[1], onnx, race.onnx, race.onnx_fastest, answers[1]),
            )
        ]
        single = _single_rows(sides, asked, race, wishes, warnings) if wishes.one_row and timed > 1 else None
        kept = _kept(sides, asked, verdict, race, wishes, warnings)
        for side in sides:
            warnings += [f"{side.name} has no {call} for this model: {why}." for call, why in side.refused.items()]
        if timed < count:
            warnings.append(f"Answers are compared on all {count:,} rows; a timed call holds {timed:,} of them.")
        return Comparison(
            native=results[0],
            onnx=results[1],
            speedup=race.ratio,
            agreement=verdict.agreement,
            rows=timed,
            rounds=race.rounds,
            ended=race.ended,
            one_row=single,
            divergence=divergence,
            environment=environment(sides[1].threads if sides[1].threads == sides[0].threads else None),
            warnings=tuple(dict.fromkeys(warnings)),
            answers=kept,
            names=verdict.names,
        )


def environment(threads: int | None) -> dict[str, Any]:
    """What the figures were measured on: {cpu, cores, threads, versions}."""
    from ..files.certificate import versions
    from .sides import usable_cores

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


def _title(model: Any) -> str:
    return os.path.basename(model) if isinstance(model, str | os.PathLike) else type(model).__name__


def _sides(sides: ExitStack, models: tuple[Any, Any], wishes: Options, warnings: list[str]) -> Sides:
    """Both sides, opened; they end with `sides`. How they run a model is told in `warnings`."""
    from ..kind import ENGINE_NAMES

    native, onnx = models
    wishes.say(f"Loading {_title(native)}")
    options = {"params": wishes.params, "trust": wishes.trust, "custom_objects": wishes.custom_objects}
    theirs = _side(sides, native, wishes.engines[0], wishes, options | _read_as_converted(native, onnx))
    wishes.say(f"Loading {_title(onnx)}")
    # A spiking network is dispatched to Nengo, and this is the side of ONNX Runtime.
    default = "onnxruntime" if isinstance(onnx, str | os.PathLike) else None
    same = {"params": wishes.params} if wishes.params is not None and _title(native) == _title(onnx) else {}
    ours = _side(sides, onnx, wishes.engines[1] or default, wishes, same)
    if theirs.threads != ours.threads:
        counts = [f"{side.name} with {side.threads or 'an unknown number'}" for side in (theirs, ours)]
        warnings.append(f"Not the same threads on both sides: {' and '.join(counts)}; give paths, not open engines.")
    if theirs.axes != ours.axes and {info.name for info in theirs.inputs} == {info.name for info in ours.inputs}:
        # Both take the same arrays, and one of them does not name its axes.
        theirs.axes = ours.axes = theirs.axes | ours.axes
    for side, model in zip((theirs, ours), models, strict=True):
        warnings += [f"{_title(model)} in {ENGINE_NAMES.get(side.name, side.name)}: {said}" for said in side.remarks]
    return theirs, ours


def _read_as_converted(native: Any, onnx: Any) -> dict[str, Any]:
    """How a file that leaves something open (NIR) was read when this ONNX file was made of it, by its certificate."""
    from ..convert.options import chosen, options_for
    from ..files import certificate, registry
    from ..files.formats import identify
    from ..files.header import read_header

    if not all(isinstance(path, str | os.PathLike) and os.path.isfile(path) for path in (native, onnx)):
        return {}
    if not registry.of(name := identify(native).name).over_time or identify(onnx).name != "ONNX":
        return {}
    stated = certificate.read(read_header(onnx).metadata_props) or {}
    read = stated.get("read")
    with open(native, "rb") as file:
        same = stated.get("sha256") == hashlib.file_digest(file, "sha256").hexdigest()
    return chosen(options_for(name), read, f"a file of {name}") if same and isinstance(read, dict) else {}


def _side(sides: ExitStack, model: Any, engine: str | None, wishes: Options, options: dict[str, Any]) -> Side:
    """A worker ends with `sides`; an engine that the caller opened stays open."""
    from ..engines import leans
    from ..engines.onnxruntime import LARGE
    from ..engines.worker import WorkerEngine
    from ..safety.external import whole_size
    from .sides import Side, WorkerSide

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


def _right(answers: Arrays, targets: Any, classes: dict[str, tuple[Any, ...]]) -> float | None:
    return None if targets is None else accuracy(answers, targets, classes)


def _race(sides: Sides, asked: Questions, rows: int, wishes: Options, share: float = 1) -> Race:
    """A race of calls with so many rows, for a share of the seconds."""
    from .timing import race

    for side, arrays in zip(sides, asked.both, strict=True):
        side.prepare(first(arrays, rows))
    return race(
        sides, budget=wishes.seconds * share, rounds=wishes.repeat, progress=wishes.progress, cancel=wishes.cancel
    )


def _single_rows(sides: Sides, asked: Questions, race: Race, wishes: Options, warnings: list[str]) -> Race | None:
    """The race with one row a call. Given up by now, or where a model takes no single row, the first race stands."""
    if race.ended == "cancelled":
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
    sides: Sides, asked: Questions, verdict: Verdict, race: Race, wishes: Options, warnings: list[str]
) -> Answers:
    """What both sides answered, with their spikes where they are spiking networks."""
    kept = keep(asked, verdict, *sides)
    if not sides[0].neurons or race.ended == "cancelled":
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
