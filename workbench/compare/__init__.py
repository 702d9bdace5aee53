"""Native and ONNX side by side: the same inputs, the same answers, how fast: `compare`.

Each side runs in a worker process of its own (`sides.py`) and is asked by `asking.py` what `questions.py` finds. What
belongs together is found by `matching.py`, and whether it agrees is judged by `verdict.py`; the first layer to differ
is found by `layers.py`, and how long a call takes by `timing.py`. `answers.py` keeps rows, `showing.py` shows one.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..agreement import Tolerance
from ..errors import BadInput, WorkbenchError
from ..sandbox import Cancelled, end_warm_worker
from ..words import counted
from .accuracy import accuracy, answers_classes
from .answers import Answers, keep, watch
from .asking import answers_of, batch_of, check_repeatable, first, fixed_rows, rows_of
from .comparison import Comparison, SideResult
from .questions import check, questions
from .verdict import judge

if TYPE_CHECKING:
    import numpy as np

    from .layers import Divergence
    from .sides import Side
    from .timing import CallTime, Race

    Arrays = dict[str, np.ndarray]

__all__ = ["Answers", "Comparison", "SideResult", "compare"]

SECONDS = 10.0
"""For the race, unless said otherwise. Loading, warming up and answering come on top."""

LAYER_ROWS = 4
"""Rows on which layers are held against each other, the worst ones first."""

WAITING_MIB = 600
"""MiB, from which a converter's worker does not wait while two sides are compared. One with scikit-learn holds 200."""

PACKAGES = ("onnxruntime", "onnx", "numpy", "scikit-learn", "tensorflow", "keras", "tf-keras", "nengo", "nengo-dl")

Progress = Callable[[str], object]


def compare(
    native: Any,
    onnx: Any,
    inputs: Any = None,
    *,
    targets: Any = None,
    target: str | int | None = None,
    scale: float | None = None,
    rows: int | None = None,
    batch: int | None = None,
    repeat: int | None = None,
    progress: Progress | None = None,
    layers: bool = False,
    one_row: bool = False,
    seconds: float = SECONDS,
    threads: int | None = None,
    engines: tuple[str | None, str | None] = (None, None),
    params: str | os.PathLike[str] | None = None,
    trust: bool = False,
    tolerance: Tolerance | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    memory_mib: float | None = None,
    cancel: threading.Event | None = None,
) -> Comparison:
    """Ask two models the same, and time them in turns.

    Args:
        native: a model file, a fitted estimator, a Keras model, or an open engine. An open engine runs where it is,
            anything else in a worker of its own.
        onnx: the same for the ONNX side.
        inputs: rows, as for `Engine.run`; pictures in either layout. Or a path to a file of rows, as
            `workbench.paper.data.read` takes them; ``"paper"``: rows of the paper's data; ``"random"``: numbers from 0
            to 1 in the shape of its inputs. If None, the paper's data where it fits, else random numbers; a warning
            says which.
        targets: (rows,) the right classes, or (rows, classes) one-hot, for the accuracy of both sides. If None, those
            of the file or of the paper's data.
        target: the column of a file that holds the right answers, as for `workbench.paper.data.read`.
        scale: what to multiply the numbers of a file or of the paper's data by: 1/255 brings grey values to 0 to 1.
        rows: how many are asked at most, from 1; if None all that are given, and 50 of the paper's data or at random. A
            model with one batch size is asked a multiple of it, one batch at least.
        batch: rows in a timed call, at most as many as are asked; if None the model's batch size, or as many as memory
            is kind to.
        repeat: rounds of the race at most, from 1; None leaves it to the interval of the ratio, which ends the race
            when it is narrower than 5 %.
        progress: called in this thread with one short sentence at each stage.
        layers: find the first layer that differs, where the native side has layers (Keras).
        one_row: time single rows too.
        seconds: for the race at most.
        threads: on both sides; one per core if None.
        engines: names for `load_engine` (native, onnx); None chooses by the model's kind.
        params, trust, custom_objects: as for `load_engine`; of the native side. One file in two engines gets `params`
            on both sides.
        tolerance: for numbers; what suits the native side if None.
        memory_mib: MiB for each worker, by the model's size if None.
        cancel: set it from another thread to give up.

    Raises:
        BadInput: the inputs do not fit a side, or have no rows; `target` is no column; `batch` is more than there are.
        UnreadableFile: the file of rows, too.
        NeedsTrust, UnsupportedModel, UnreadableFile: as for `load_engine`.
        WorkbenchError: a side crashed, hung or took too much memory.
    """
    for name, number in (("threads", threads), ("repeat", repeat), ("rows", rows), ("batch", batch)):
        if number is not None and (not isinstance(number, int) or number < 1):
            raise BadInput(f"{name} is a whole number from 1, or None, not {number!r}.")
    check(inputs, target)
    say = progress or (lambda message: None)
    warnings: list[str] = []
    with ExitStack() as open_sides:
        shared: dict[str, Any] = {"threads": threads, "memory_mib": memory_mib, "cancel": cancel}
        say(f"Loading {_title(native)}")
        theirs = _side(
            open_sides, native, engines[0], params=params, trust=trust, custom_objects=custom_objects, **shared
        )
        say(f"Loading {_title(onnx)}")
        # A spiking network is dispatched to Nengo, and this is the side of ONNX Runtime.
        default = "onnxruntime" if isinstance(onnx, str | os.PathLike) else None
        same = {"params": params} if params is not None and _title(native) == _title(onnx) else {}
        ours = _side(open_sides, onnx, engines[1] or default, **same, **shared)
        if theirs.threads != ours.threads:
            counts = [f"{side.name} with {side.threads or 'an unknown number'}" for side in (theirs, ours)]
            warnings.append(
                f"Not the same threads on both sides: {' and '.join(counts)}; give paths, not open engines."
            )
        asked = questions(inputs, theirs, ours, warnings, targets=targets, target=target, scale=scale, most=rows)
        native_inputs, onnx_inputs, count = asked.native, asked.onnx, rows_of(asked.onnx)
        timed = batch_of(theirs, ours, onnx_inputs, batch)
        say(f"Asking both sides {counted(count, 'row')}")
        answers = answers_of(theirs, native_inputs), answers_of(ours, onnx_inputs)
        if asked.papers and not answers_classes(answers[0], count, len(asked.class_names), theirs.classes):
            asked = replace(asked, targets=None)
        found = judge(theirs, ours, answers, native_inputs, onnx_inputs, tolerance, warnings)
        agreement = found.agreement
        for side, given, said in zip((theirs, ours), (native_inputs, onnx_inputs), answers, strict=True):
            check_repeatable(side, given, said, timed, found.allowed, warnings)
        divergence = None
        if layers:
            say("Looking for the first layer that differs")
            worst, told = [sample.index for sample in agreement.worst], len(warnings)
            named = {pair.onnx_name: pair.native for pair in found.pairs}
            divergence = _divergence(
                theirs, ours, onnx, native_inputs, onnx_inputs, named, worst, found.allowed, warnings
            )
            if divergence is None and len(warnings) == told:
                warnings.append("No layer differs beyond the tolerance.")
                if not agreement.within_tolerance:
                    warnings[-1] += (
                        " The answers do: small differences add up, or ONNX Runtime's optimiser makes them, which is "
                        "off while layers are compared."
                    )
        say("Warming up")
        race = _race(theirs, ours, first(native_inputs, timed), first(onnx_inputs, timed), seconds, repeat, say, cancel)
        results = [
            _result(side, model, calls, best, _right(said, asked.targets, side.classes or theirs.classes))
            for side, model, calls, best, said in (
                (theirs, native, race.native, race.native_fastest, answers[0]),
                (ours, onnx, race.onnx, race.onnx_fastest, answers[1]),
            )
        ]
        single = None
        if one_row and timed > 1 and race.ended != "cancelled":
            say("Warming up for single rows")
            one = first(native_inputs, 1), first(onnx_inputs, 1)
            # Given up by now, or where a model takes no single row, the first race stands.
            try:
                single = _race(theirs, ours, *one, seconds / 2, repeat, say, cancel)
            except Cancelled:
                pass
            except WorkbenchError as error:
                warnings.append(f"Single rows were not timed: {error}")
        kept = keep(asked, found, theirs, ours)
        if theirs.neurons and race.ended != "cancelled":
            say("Watching the spikes")
            try:
                kept = replace(kept, spikes=watch(theirs, ours, asked, kept.rows))
            except Cancelled:
                pass
            except WorkbenchError as error:
                warnings.append(f"Spikes are not shown: {error}")
        for side in (theirs, ours):
            warnings += [f"{side.name} has no {call} for this model: {why}." for call, why in side.refused.items()]
        if timed < count:
            warnings.append(f"Answers are compared on all {count:,} rows; a timed call holds {timed:,} of them.")
        return Comparison(
            native=results[0],
            onnx=results[1],
            speedup=race.ratio,
            agreement=agreement,
            rows=timed,
            rounds=race.rounds,
            ended=race.ended,
            one_row=single,
            divergence=divergence,
            environment=environment(ours.threads if ours.threads == theirs.threads else None),
            warnings=tuple(dict.fromkeys(warnings)),
            answers=kept,
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


def _side(sides: ExitStack, model: Any, engine: str | None, **options: Any) -> Side:
    """A worker ends with `sides`; an engine that the caller opened stays open."""
    from ..engines.onnxruntime import LARGE
    from ..engines.worker import WorkerEngine
    from .sides import LocalSide, WorkerSide

    if isinstance(model, WorkerEngine):
        return WorkerSide(model)
    if callable(getattr(model, "run", None)) and hasattr(model, "inputs"):
        return LocalSide(model)
    large = isinstance(model, str | os.PathLike) and os.path.isfile(model) and os.path.getsize(model) >= LARGE
    # A worker that waits beside two sides is what a machine with 2 GB has no room for: a large network's leftovers
    # beside any sides, and any beside a large network's.
    end_warm_worker(0 if large else WAITING_MIB)
    if large and _is_onnx(model):
        # Its weights should not be in memory twice, beside another side that holds them too.
        options["lean"] = True
    return sides.enter_context(WorkerSide(model, engine, **options))


def _is_onnx(path: str | os.PathLike[str]) -> bool:
    """A file for ONNX Runtime."""
    from ..files.formats import identify
    from ..kind import detect, dispatch

    return identify(path).name == "ONNX" and dispatch(detect(path).kind) == "onnxruntime"


def _divergence(
    theirs: Side,
    ours: Side,
    onnx: Any,
    native: Arrays,
    asked: Arrays,
    answers: Arrays,
    worst: list[int],
    allowed: Tolerance,
    warnings: list[str],
) -> Divergence | None:
    """Of the rows that differ most, then of the first ones."""
    import numpy as np

    if not isinstance(onnx, str | os.PathLike):
        warnings.append("Layers are compared where the ONNX side is a file; give its path.")
        return None
    rows = list(dict.fromkeys([*worst, *range(rows_of(asked))]))[:LAYER_ROWS]
    if size := fixed_rows(theirs) or fixed_rows(ours):
        start = rows[0] // size * size
        rows = list(range(start, start + size))
    few, few_asked, few_answers = (
        {
            name: np.ascontiguousarray(array[rows]) if array.shape[:1] == (rows_of(asked),) else array
            for name, array in part.items()
        }
        for part in (native, asked, answers)
    )
    found, notes = theirs.diverges(os.path.abspath(onnx), few, few_asked, few_answers, allowed)
    warnings += notes
    return found


def _right(answers: Arrays, targets: Any, classes: dict[str, tuple[Any, ...]]) -> float | None:
    return None if targets is None else accuracy(answers, targets, classes)


def _race(
    theirs: Side,
    ours: Side,
    native: Arrays,
    onnx: Arrays,
    seconds: float,
    repeat: int | None,
    say: Progress,
    cancel: threading.Event | None,
) -> Race:
    from .timing import race

    theirs.prepare(native)
    ours.prepare(onnx)
    return race((theirs, ours), budget=seconds, rounds=repeat, progress=say, cancel=cancel)


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
