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
from typing import TYPE_CHECKING, Any

from ..agreement import FLOAT32, Agreement, Tally, Tolerance, hold
from ..errors import BadInput, WorkbenchError
from .comparison import Comparison, SideResult

if TYPE_CHECKING:
    import numpy as np

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

LARGE = 256 << 20
"""Bytes of an ONNX file from which ONNX Runtime leaves the weights in it (`OnnxRuntimeEngine(lean=True)`)."""

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
        targets: (rows,) the right classes, for the accuracy of both sides.
        repeat: rounds of the race at most; None leaves it to the interval of the ratio, which ends the race when it is
            narrower than 5 %.
        progress: called in this thread with one short sentence at each stage.
        layers: find the first layer that differs, where the native side has layers (Keras).
        one_row: time single rows too.
        seconds: for the race at most.
        threads: on both sides; one per core if None.
        engines: names for `load_engine` (native, onnx); None chooses by the model's kind.
        params, trust, custom_objects: as for `load_engine`; of the native side.
        tolerance: for numbers; what suits the native side if None.
        memory_mib: MiB for each worker, by the model's size if None.
        cancel: set it from another thread to give up.

    Raises:
        BadInput: the inputs do not fit a side, or have no rows.
        NeedsTrust, UnsupportedModel, UnreadableFile: as for `load_engine`.
        WorkbenchError: a side crashed, hung or took too much memory.
    """
    say = progress or (lambda message: None)
    warnings: list[str] = []
    with ExitStack() as open_sides:
        shared: dict[str, Any] = {"threads": threads, "memory_mib": memory_mib, "cancel": cancel}
        say(f"Loading {_title(native)}")
        theirs = open_sides.enter_context(
            _side(native, engines[0], params=params, trust=trust, custom_objects=custom_objects, **shared)
        )
        say(f"Loading {_title(onnx)}")
        # A spiking network is dispatched to Nengo, and this is the side of ONNX Runtime.
        default = "onnxruntime" if isinstance(onnx, str | os.PathLike) else None
        ours = open_sides.enter_context(_side(onnx, engines[1] or default, **shared))
        native_inputs, onnx_inputs = _fit(inputs, theirs, ours, warnings)
        rows = _rows(onnx_inputs)
        say(f"Asking both sides {rows:,} row{'' if rows == 1 else 's'}")
        answers = _answers(theirs, native_inputs), _answers(ours, onnx_inputs)
        allowed = tolerance or theirs.tolerance or FLOAT32
        for side, asked, found in zip((theirs, ours), (native_inputs, onnx_inputs), answers, strict=True):
            _check_repeatable(side, asked, found, allowed, warnings)
        matched = _matched(theirs, ours, answers, warnings)
        agreement = hold(matched[0], matched[1], onnx_inputs, allowed)
        if not agreement.within_tolerance and _is_spiking(theirs):
            import numpy as np

            say("Asking again, the input moved by its last digit")
            moved = {name: np.nextafter(array, np.float32(np.inf)) for name, array in native_inputs.items()}
            again, _ = _matched(theirs, ours, (_answers(theirs, moved), answers[1]), [])
            agreement = _displaced(matched, again, onnx_inputs, allowed, warnings)
        divergence = None
        if layers:
            say("Looking for the first layer that differs")
            worst = [sample.index for sample in agreement.worst]
            divergence = _divergence(theirs, onnx, native_inputs, onnx_inputs, matched[0], worst, allowed, warnings)
        say("Warming up")
        batch = _batch(theirs, ours, onnx_inputs)
        race = _race(
            theirs, ours, _first(native_inputs, batch), _first(onnx_inputs, batch), seconds, repeat, say, cancel
        )
        single = None
        if one_row and batch > 1:
            say("Warming up for single rows")
            single = _race(
                theirs, ours, _first(native_inputs, 1), _first(onnx_inputs, 1), seconds / 2, repeat, say, cancel
            )
        for side in (theirs, ours):
            warnings += [f"{side.name} has no {call} for this model: {why}." for call, why in side.refused.items()]
        if batch < rows:
            warnings.append(f"Answers are compared on all {rows:,} rows; a timed call holds {batch:,} of them.")
        return Comparison(
            native=_result(theirs, native, race.native, race.native_fastest, _right(theirs, answers[0], targets)),
            onnx=_result(ours, onnx, race.onnx, race.onnx_fastest, _right(ours, answers[1], targets)),
            speedup=race.ratio,
            agreement=agreement,
            rows=batch,
            rounds=race.rounds,
            ended=race.ended,
            one_row=single,
            divergence=divergence,
            environment=environment(ours.threads),
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


def _side(model: Any, engine: str | None, **options: Any) -> Any:
    from .sides import LocalSide, WorkerSide

    if callable(getattr(model, "run", None)) and hasattr(model, "inputs"):
        return LocalSide(model)
    if _is_large_onnx(model):
        options["lean"] = True
    return WorkerSide(model, engine, **options)


def _is_large_onnx(model: Any) -> bool:
    """A file for ONNX Runtime whose weights should not be in memory twice, beside another side that holds them too."""
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
        arrays, notes = _held(given, side) if _is_spiking(side) else fit_inputs(given, side.inputs)
        fitted.append(arrays)
        warnings += notes
    if not _rows(fitted[1]):
        raise BadInput("The inputs have no rows, so there is nothing to compare; give at least one.")
    counts = _rows(fitted[0]), _rows(fitted[1])
    if counts[0] != counts[1]:
        raise BadInput(f"The native side takes these inputs as {counts[0]:,} rows and the ONNX side as {counts[1]:,}.")
    return fitted[0], fitted[1]


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
    from ..convert.samples import in_parts

    return in_parts(side.answer, arrays, side.inputs)


def _check_repeatable(side: Side, arrays: Arrays, before: Arrays, allowed: Tolerance, warnings: list[str]) -> None:
    """Asked twice, does it answer twice the same? Else no two models could agree."""
    rows = min(_rows(arrays), 64)
    if _fixed(side):
        rows = _rows(arrays)
    again = _answers(side, _first(arrays, rows))
    first = {name: array[:rows] if array.ndim else array for name, array in before.items()}
    try:
        same = hold(first, again, _first(arrays, rows), allowed).within_tolerance
    except WorkbenchError:
        same = False
    if not same:
        warnings.append(
            f"{side.name} gives different answers when it is asked the same twice: the model has a random part, so a "
            "difference between both sides says little."
        )


def _matched(theirs: Side, ours: Side, answers: tuple[Arrays, Arrays], warnings: list[str]) -> tuple[Arrays, Arrays]:
    """Both sides' answers under ONNX's names."""
    from .matching import match_outputs

    pairs, notes = match_outputs(*answers, theirs.classes, ours.classes)
    warnings += notes
    if not pairs:
        raise BadInput(
            f"No output of the native side ({', '.join(answers[0])}) fits one of ONNX ({', '.join(answers[1])}): are "
            "these two the same model?"
        )
    return {pair.onnx_name: pair.native for pair in pairs}, {pair.onnx_name: pair.onnx for pair in pairs}


def _displaced(
    matched: tuple[Arrays, Arrays], again: Arrays, asked: Arrays, allowed: Tolerance, warnings: list[str]
) -> Agreement:
    """The agreement of spiking networks, where a voltage within a rounding of the threshold fires now or a step later.

    Rows count neither way whose answers differ by no more than the native side's own do, in any row, when its input
    moves to the next float32 number.

    Args:
        again: the native side's answers to the moved input.
    """
    import numpy as np

    spread = {
        name: np.full(array.shape, np.abs(again[name] - array).max(initial=0)) for name, array in matched[0].items()
    }
    tally = Tally(allowed)
    tally.add(*matched, asked, strict=False, spread=spread)
    found = tally.agreement()
    if found.undecided:
        warnings.append(
            f"On {found.undecided:,} of {found.samples:,} rows spikes fall a step earlier or later in ONNX: the sides "
            "differ no more than the native one does when its input moves by one rounding. These count neither way."
        )
    return found


def _divergence(
    theirs: Side,
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
    if _fixed(theirs):
        rows = list(range(_rows(asked)))
    few, few_asked, few_answers = (
        {
            name: np.ascontiguousarray(array[rows]) if len(array) == _rows(asked) else array
            for name, array in part.items()
        }
        for part in (native, asked, answers)
    )
    found, notes = theirs.diverges(os.path.abspath(onnx), few, few_asked, few_answers, allowed)
    warnings += notes
    return found


def _right(side: Side, answers: Arrays, targets: Any) -> float | None:
    from .accuracy import accuracy

    if targets is None:
        return None
    import numpy as np

    rows = max((len(array) for array in answers.values() if array.ndim), default=0)
    if np.size(targets) != rows:
        raise BadInput(f"{np.size(targets):,} targets were given for {rows:,} rows; give one for each row.")
    return accuracy(answers, targets, side.classes)


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
    rows = _rows(arrays)
    if _fixed(theirs) or _fixed(ours):
        return rows
    return min(rows, max(1, AT_ONCE // max(array.size // rows for array in arrays.values())))


def _fixed(side: Side) -> bool:
    """Whether a side takes one batch size only."""
    return any(info.shape and isinstance(info.shape[0], int) for info in side.inputs)


def _first(arrays: Arrays, rows: int) -> Arrays:
    return {name: array[:rows] for name, array in arrays.items()}


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
