"""Native and ONNX side by side: the same inputs, the same answers, how fast: `compare`.

Each side runs in a worker process of its own (`sides.py`). What belongs together is found by `matching.py`, how far
apart it lies by `workbench.agreement`, which layer is the first to differ by `layers.py`, and how long a call takes by
`timing.py`.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..agreement import FLOAT32, Agreement, OutputAgreement, Tally, Tolerance, bounded, hold, plain
from ..errors import BadInput, WorkbenchError
from ..sandbox import Cancelled
from .comparison import Comparison, SideResult

if TYPE_CHECKING:
    import numpy as np

    from ..header import ValueInfo
    from .layers import Divergence
    from .sides import Side
    from .timing import CallTime, Race

    Arrays = dict[str, np.ndarray]

__all__ = ["Comparison", "SideResult", "compare"]

SECONDS = 10.0
"""For the race, unless said otherwise. Loading, warming up and answering come on top."""

AT_ONCE = 1 << 18
"""Numbers in one input of one call, at most: two pictures of 224 by 224. What a network holds between its layers grows
with the batch."""

LAYER_ROWS = 4
"""Rows on which layers are held against each other, the worst ones first."""

PACKAGES = ("onnxruntime", "onnx", "numpy", "scikit-learn", "tensorflow", "keras", "tf-keras", "nengo", "nengo-dl")

Progress = Callable[[str], object]


def compare(
    native: Any,
    onnx: Any,
    inputs: Any = None,
    *,
    targets: Any = None,
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
        native: a model file, a fitted estimator, a Keras model, or an open engine. An open engine runs in this process,
            anything else in a worker of its own.
        onnx: the same for the ONNX side.
        inputs: rows, as for `Engine.run`; pictures in either layout. If None, rows of the paper's data that fit, or
            else random ones, which a warning tells.
        targets: (rows,) the right classes, or (rows, classes) one-hot, for the accuracy of both sides.
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
        BadInput: the inputs do not fit a side, or have no rows.
        NeedsTrust, UnsupportedModel, UnreadableFile: as for `load_engine`.
        WorkbenchError: a side crashed, hung or took too much memory.
    """
    for name, number in (("threads", threads), ("repeat", repeat)):
        if number is not None and (not isinstance(number, int) or number < 1):
            raise BadInput(f"{name} is a whole number from 1, or None, not {number!r}.")
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
        native_inputs, onnx_inputs = _fit(inputs, theirs, ours, warnings)
        rows = _rows(onnx_inputs)
        targets, batch = _classes(targets, rows), _batch(theirs, ours, onnx_inputs)
        say(f"Asking both sides {rows:,} row{'' if rows == 1 else 's'}")
        answers = _answers(theirs, native_inputs), _answers(ours, onnx_inputs)
        matched, alone = _matched(theirs, ours, answers, warnings)
        # What the model says of its own exactness counts no further than its answers reach.
        allowed = tolerance or bounded(theirs.tolerance or FLOAT32, matched[0])
        for side, asked, found in zip((theirs, ours), (native_inputs, onnx_inputs), answers, strict=True):
            _check_repeatable(side, asked, found, batch, allowed, warnings)
        agreement = _held_together(matched, onnx_inputs, allowed, warnings)
        if not agreement.within_tolerance and _is_spiking(theirs):
            import numpy as np

            say("Asking again, the input moved by its last digit")
            moved = {name: np.nextafter(array, np.float32(np.inf)) for name, array in native_inputs.items()}
            (again, _), _ = _matched(theirs, ours, (_answers(theirs, moved), answers[1]), [])
            agreement = _displaced(agreement, matched, again, onnx_inputs, allowed, warnings)
        if alone:
            agreement = replace(agreement, within_tolerance=False, outputs=(*agreement.outputs, *alone))
        divergence = None
        if layers:
            say("Looking for the first layer that differs")
            worst, told = [sample.index for sample in agreement.worst], len(warnings)
            divergence = _divergence(
                theirs, ours, onnx, native_inputs, onnx_inputs, matched[0], worst, allowed, warnings
            )
            if divergence is None and not agreement.within_tolerance and len(warnings) == told:
                warnings.append(
                    "No layer was found that differs beyond the tolerance, though the answers do: small differences "
                    "add up, or ONNX Runtime's optimiser makes them, which is off while layers are compared."
                )
        say("Warming up")
        race = _race(
            theirs, ours, _first(native_inputs, batch), _first(onnx_inputs, batch), seconds, repeat, say, cancel
        )
        results = (
            _result(theirs, native, race.native, race.native_fastest, _right(answers[0], targets, theirs.classes)),
            _result(
                ours, onnx, race.onnx, race.onnx_fastest, _right(answers[1], targets, ours.classes or theirs.classes)
            ),
        )
        single = None
        if one_row and batch > 1 and race.ended != "cancelled":
            say("Warming up for single rows")
            one = _first(native_inputs, 1), _first(onnx_inputs, 1)
            # Given up by now, or where a model takes no single row, the first race stands.
            try:
                single = _race(theirs, ours, *one, seconds / 2, repeat, say, cancel)
            except Cancelled:
                pass
            except WorkbenchError as error:
                warnings.append(f"Single rows were not timed: {error}")
        for side in (theirs, ours):
            warnings += [f"{side.name} has no {call} for this model: {why}." for call, why in side.refused.items()]
        if batch < rows:
            warnings.append(f"Answers are compared on all {rows:,} rows; a timed call holds {batch:,} of them.")
        return Comparison(
            native=results[0],
            onnx=results[1],
            speedup=race.ratio,
            agreement=agreement,
            rows=batch,
            rounds=race.rounds,
            ended=race.ended,
            one_row=single,
            divergence=divergence,
            environment=environment(ours.threads if ours.threads == theirs.threads else None),
            warnings=tuple(dict.fromkeys(warnings)),
        )


def environment(threads: int | None) -> dict[str, Any]:
    """What the figures were measured on: {cpu, cores, threads, versions}."""
    from ..certificate import versions
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
    from .sides import LocalSide, WorkerSide

    if callable(getattr(model, "run", None)) and hasattr(model, "inputs"):
        return LocalSide(model)
    if _is_large_onnx(model):
        options["lean"] = True
    return sides.enter_context(WorkerSide(model, engine, **options))


def _is_large_onnx(model: Any) -> bool:
    """A file for ONNX Runtime whose weights should not be in memory twice, beside another side that holds them too."""
    from ..engines.onnxruntime import LARGE
    from ..formats import identify
    from ..kind import detect, dispatch

    return (
        isinstance(model, str | os.PathLike)
        and os.path.isfile(model)
        and os.path.getsize(model) >= LARGE
        and identify(model).name == "ONNX"
        and dispatch(detect(model).kind) == "onnxruntime"
    )


# --- the same inputs, the same answers ----------------------------------------------------------------------------


def _fit(given: Any, theirs: Side, ours: Side, warnings: list[str]) -> tuple[Arrays, Arrays]:
    """The rows, in the form each side takes them."""
    from .matching import fit_inputs

    if given is None:
        given = _made_up(ours, warnings)
    fitted = []
    for side in (theirs, ours):
        arrays, notes = _held(given, side) if _is_spiking(side) else fit_inputs(given, _of_any_rows(side))
        fitted.append(arrays)
        warnings += notes
    if not _rows(fitted[1]):
        raise BadInput("The inputs have no rows, so there is nothing to compare; give at least one.")
    counts = _rows(fitted[0]), _rows(fitted[1])
    if counts[0] != counts[1]:
        raise BadInput(f"The native side takes these inputs as {counts[0]:,} rows and the ONNX side as {counts[1]:,}.")
    for side in (theirs, ours):
        if (size := _fixed(side)) and counts[0] % size:
            raise BadInput(
                f"{side.name} takes {size:,} rows at a time here, and {counts[0]:,} are not a multiple of that."
            )
    return fitted[0], fitted[1]


def _of_any_rows(side: Side) -> tuple[ValueInfo, ...]:
    """Its inputs; a side with one batch size is asked that many at a time (`_answers`)."""
    if not _fixed(side):
        return side.inputs
    return tuple(replace(info, shape=(None, *info.shape[1:])) if info.shape else info for info in side.inputs)


def _is_spiking(side: Side) -> bool:
    return any(info.shape is not None and info.shape[1:2] == ("steps",) for info in side.inputs)


def _held(given: Any, side: Side) -> tuple[Arrays, list[str]]:
    """What a spiking network is given: a series over time as it is, and anything else to be held, (batch, size)."""
    from ..engines.inputs import cast, match

    fitted = {}
    for info, value in match(given, side.inputs):
        array, _ = cast(value, info)
        size = (info.shape or (0,))[-1]
        series = array.ndim == 3 and array.shape[2] == size
        fitted[info.name] = array if series or not array.ndim else array.reshape(len(array), -1)
    return fitted, []


def _made_up(side: Side, warnings: list[str]) -> Any:
    """Rows for a model that came without any."""
    import numpy as np

    from ..data import rows_for

    if (found := rows_for(side.inputs)) is not None:
        warnings.append(f"No inputs were given; asked were: {found.source}")
        return found.inputs
    rng = np.random.default_rng(0)
    made = {}
    for info in side.inputs:
        if info.dtype not in ("float16", "float32", "float64") or info.shape is None:
            raise BadInput(f"Rows for input {info.name!r} ({info.dtype}) cannot be made up: give some as inputs.")
        batch, *row = info.shape
        free = [8 if index == 0 else 16 for index in range(len(row))]
        shape = [size if isinstance(size, int) and size > 0 else free[index] for index, size in enumerate(row)]
        count = (
            batch if isinstance(batch, int) and batch > 0 else max(1, min(50, AT_ONCE // max(1, int(np.prod(shape)))))
        )
        made[info.name] = rng.random((count, *shape)).astype(info.dtype)
    warnings.append("No inputs were given; both sides were asked random numbers from 0 to 1.")
    return made


def _answers(side: Side, arrays: Arrays) -> Arrays:
    """The side's answers to all rows, asked as many at a time as it takes, or as memory is kind to."""
    import numpy as np

    size, rows = _fixed(side), _rows(arrays)
    step = size or _at_once(arrays)
    if step >= rows:
        return side.answer(arrays)
    parts = [
        side.answer({name: array[at : at + step] for name, array in arrays.items()}) for at in range(0, rows, step)
    ]
    counts = [min(step, rows - at) for at in range(0, rows, step)]
    for name in parts[0]:
        if any(part[name].shape[:1] != (count,) for part, count in zip(parts, counts, strict=True)):
            if size is None:
                return side.answer(arrays)
            raise BadInput(
                f"{side.name} takes {size:,} rows at a time here, and its output {name!r} has no row for each, so more "
                f"rows cannot be put together: give {size:,}."
            )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _at_once(arrays: Arrays) -> int:
    """Rows in one call: all, where an input does not have one for each; fewer than that where they are large."""
    rows = _rows(arrays)
    if any(array.shape[:1] != (rows,) for array in arrays.values()):
        return rows
    return min(rows, max(1, AT_ONCE // max(1, *(array.size // rows for array in arrays.values()))))


def _classes(targets: Any, rows: int) -> Any:
    """One class for each row; of rows with a single one among zeros (one-hot), its column."""
    import numpy as np

    if targets is None:
        return None
    try:
        given = np.asarray(targets)
    except ValueError:
        raise BadInput("The targets have different lengths; give one class for each row.") from None
    if given.ndim == 2 and given.shape[1] > 1 and given.dtype.kind in "biuf" and _is_one_hot(given):
        given = given.argmax(axis=1)
    if given.size != rows:
        raise BadInput(f"{given.size:,} targets were given for {rows:,} rows; give one for each row.")
    return given.reshape(-1)


def _is_one_hot(array: np.ndarray) -> bool:
    return bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())


def _check_repeatable(
    side: Side, arrays: Arrays, before: Arrays, few: int, allowed: Tolerance, warnings: list[str]
) -> None:
    """Asked twice, does it answer twice the same? Else no two models could agree."""
    again = _answers(side, _first(arrays, few))
    same = _alike({name: array[:few] if array.ndim else array for name, array in before.items()}, again, allowed)
    if not same and _rows(arrays) > few:
        # An output need not have a row for each.
        same = _alike(before, _answers(side, arrays), allowed)
    if not same:
        warnings.append(
            f"{side.name} gives different answers when it is asked the same twice: the model has a random part, so a "
            "difference between both sides says little."
        )


def _alike(before: Arrays, again: Arrays, allowed: Tolerance) -> bool:
    return hold(before, again, before, allowed).within_tolerance


def _matched(
    theirs: Side, ours: Side, answers: tuple[Arrays, Arrays], warnings: list[str]
) -> tuple[tuple[Arrays, Arrays], list[OutputAgreement]]:
    """Both sides' answers under ONNX's names, and the native outputs that ONNX does not give."""
    import numpy as np

    from .matching import match_outputs

    pairs, notes = match_outputs(*answers, theirs.classes, ours.classes)
    warnings += notes
    if not pairs:
        raise BadInput(
            f"No output of the native side ({', '.join(answers[0])}) fits one of ONNX ({', '.join(answers[1])}): are "
            "these two the same model?"
        )
    found = {name: plain(array) for name, array in answers[0].items() if name not in [pair[0] for pair in pairs]}
    alone = [
        OutputAgreement(
            name,
            str(array.dtype),
            0,
            0,
            0,
            beyond=1,
            shapes=f"Output {name!r} of the native side has no partner in ONNX.",
        )
        for name, array in found.items()
    ]
    for pair in pairs:
        if not pair.native.size and not pair.onnx.size:
            warnings.append(f"Output {pair.onnx_name!r} is empty on both sides, so nothing in it was compared.")
        elif pair.native.dtype.kind == "f" and (gone := int(np.isnan(pair.native).sum())):
            warnings.append(
                f"Output {pair.onnx_name!r} is NaN in {gone:,} of {pair.native.size:,} places natively, which "
                "agrees with NaN in ONNX."
            )
    if not any(pair.native.size or pair.onnx.size for pair in pairs):
        raise BadInput("Both sides answer these rows with empty outputs, so there is nothing to compare; give others.")
    return ({pair.onnx_name: pair.native for pair in pairs}, {pair.onnx_name: pair.onnx for pair in pairs}), alone


def _held_together(matched: tuple[Arrays, Arrays], asked: Arrays, allowed: Tolerance, warnings: list[str]) -> Agreement:
    """The agreement, no row left out. Labels that go the other way where two classes tie are no disagreement, but where
    that is most rows there is none either."""
    tally = Tally(allowed)
    tally.add(*matched, asked)
    found = tally.agreement()
    if 2 * tally.ties > found.samples:
        warnings.append(
            f"On {tally.ties:,} of {found.samples:,} rows the label differs where two classes tie: too many."
        )
        return replace(found, within_tolerance=False, label_mismatches=max(found.label_mismatches, tally.ties))
    warnings += [note for note in tally.notes if note not in found.sentences]
    return found


def _displaced(
    strictly: Agreement,
    matched: tuple[Arrays, Arrays],
    again: Arrays,
    asked: Arrays,
    allowed: Tolerance,
    warnings: list[str],
) -> Agreement:
    """The agreement of spiking networks, where a voltage within a rounding of the threshold fires now or a step later.

    Rows count neither way whose answers differ by no more than the native side's own do, in any row, when its input
    moves to the next float32 number. Where that is most rows, nothing is left to agree on, and all of them count.

    Args:
        strictly: the agreement with all rows counted.
        again: the native side's answers to the moved input.
    """
    import numpy as np

    spread = {
        name: np.full(array.shape, np.abs(again[name] - array).max(initial=0)) for name, array in matched[0].items()
    }
    tally = Tally(allowed)
    tally.add(*matched, asked, strict=False, spread=spread)
    found = tally.agreement()
    if 2 * found.undecided > found.samples:
        warnings.append(
            f"The native side's own answers move as much as the sides differ, on {found.undecided:,} of "
            f"{found.samples:,} rows, when its input moves by one rounding: these rows cannot tell right from wrong."
        )
        return strictly
    if found.undecided:
        warnings.append(
            f"On {found.undecided:,} of {found.samples:,} rows spikes fall a step earlier or later in ONNX: the sides "
            "differ no more than the native one does when its input moves by one rounding. These count neither way."
        )
    return found


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
    rows = list(dict.fromkeys([*worst, *range(_rows(asked))]))[:LAYER_ROWS]
    if size := _fixed(theirs) or _fixed(ours):
        start = rows[0] // size * size
        rows = list(range(start, start + size))
    few, few_asked, few_answers = (
        {
            name: np.ascontiguousarray(array[rows]) if array.shape[:1] == (_rows(asked),) else array
            for name, array in part.items()
        }
        for part in (native, asked, answers)
    )
    found, notes = theirs.diverges(os.path.abspath(onnx), few, few_asked, few_answers, allowed)
    warnings += notes
    return found


def _right(answers: Arrays, targets: Any, classes: dict[str, tuple[Any, ...]]) -> float | None:
    from .accuracy import accuracy

    return None if targets is None else accuracy(answers, targets, classes)


# --- time ---------------------------------------------------------------------------------------------------------


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


def _batch(theirs: Side, ours: Side, arrays: Arrays) -> int:
    """Rows in a timed call."""
    return max(_fixed(theirs) or 0, _fixed(ours) or 0) or _at_once(arrays)


def _fixed(side: Side) -> int | None:
    """The one batch size that a side takes; None where it is free, or its inputs are no batches of one size."""
    sizes = {info.shape[0] for info in side.inputs if info.shape}
    (size,) = sizes if len(sizes) == 1 else (None,)
    return size if isinstance(size, int) and size > 0 else None


def _first(arrays: Arrays, rows: int) -> Arrays:
    """Of every input that has a row for each; others are what all rows share."""
    every = _rows(arrays)
    return {name: array[:rows] if array.shape[:1] == (every,) else array for name, array in arrays.items()}


def _rows(arrays: Arrays) -> int:
    return max((len(array) for array in arrays.values() if array.ndim), default=1)


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
