"""One row's answers of both sides as HTML: what was asked, and what each side said to it.

Here is what is shown; ``templates/row.html.j2`` says how.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from ..agreement import distance
from ..compare.answers import Answers, Spikes
from ..compare.comparison import Comparison
from ..compare.matching import Pair
from ..errors import BadInput
from ..markup import render
from ..words import NATIVE_AND_ONNX, SideNames, label_text, readable

TOP = 5
"""Classes whose scores are shown."""

MOST_VALUES = 12
"""Numbers of a row, or of an output without classes, that are shown."""

MOST_NEURONS = 20
"""Whose spikes are drawn: of all those that fire, the ones where both sides differ and the busiest."""


def row_html(comparison: Comparison, row: int) -> str:
    """A row as it was asked, and both answers to it: the picture or the values; of classes the best five of both
    sides, else the numbers; of a spiking network its last layer's spikes over time.

    Args:
        row: its number among all that were asked; of a row that was not kept, the nearest is shown.

    Raises:
        BadInput: the comparison holds no answers.
    """
    answers = comparison.answers
    if answers is None or not answers.rows:
        raise BadInput("This comparison holds no answers to show: run it again.")
    place = answers.place(row)
    scored, spikes = answers.scored, answers.spikes
    answered = [_scores(answers, scored, place)] if scored is not None else []
    answered += [
        _numbers(answers, pair, place)
        for pair in answers.outputs
        if pair is not scored and not (scored is not None and answers.is_label(pair)) and pair.onnx.size
    ]
    apart = answers.differences[place]
    native, onnx = answers.label("native"), answers.label("onnx")
    named = native is not None and onnx is not None
    shown = {
        "number": answers.rows[place],
        "file": answers.files[place] if answers.files else "",
        "native": native[place] if native is not None and named else None,
        "onnx": onnx[place] if onnx is not None and named else None,
        "right": answers.right[place] if answers.right is not None else None,
        "apart": None if math.isnan(apart) else readable(apart) if apart else "",
        "agrees": answers.agrees[place],
        "asked": list(_asked(answers, place)),
        "answered": answered,
    }
    return render(
        "row",
        row=shown,
        spikes=None if spikes is None else _raster(spikes, place, answers.names),
        most=MOST_VALUES,
        names=answers.names,
    )


# --- what was asked ------------------------------------------------------------------------------------------------


def _asked(answers: Answers, place: int) -> Iterator[dict[str, Any]]:
    for name, array in islice(answers.inputs.items(), MOST_VALUES):
        value = array[place] if array.shape[:1] == (len(answers.rows),) else array
        if (found := pixels(value, answers.columns)) is not None:
            yield _picture(found, array)
            continue
        values: Iterable[tuple[str, Any]] = ((f"{name}{list(at)}", value[at]) for at in _places(value.shape))
        if value.ndim == 1 and len(answers.columns) == value.size:
            values = zip(answers.columns, value, strict=True)
        shown = [(column, _text(number)) for column, number in islice(values, MOST_VALUES)]
        yield {"shown": shown, "count": value.size}


def pixels(value: np.ndarray, columns: tuple[str, ...]) -> np.ndarray | None:
    """(height, width) or (height, width, 3) of a row that is a picture; None of one that is none."""
    if value.dtype.kind not in "buif":
        return None
    if value.ndim == 1:
        side = math.isqrt(value.size)
        # 784 numbers are a digit also where the columns have names; 64 may be anything then.
        picture = side * side == value.size and (value.size == 784 or (value.size >= 64 and not columns))
        return value.reshape(side, side) if picture else None
    if value.ndim == 3 and value.shape[0] in (1, 3) and value.shape[2] not in (1, 3):
        value = np.moveaxis(value, 0, -1)
    if value.ndim == 3 and value.shape[2] in (1, 3):
        value = value[..., 0] if value.shape[2] == 1 else value
    elif value.ndim != 2:
        return None
    return value if min(value.shape[:2]) >= 8 else None


def scale(every: np.ndarray) -> tuple[float, float]:
    """The darkest and the lightest that pixels can be, by many: from 0 to 1, from 0 to 255, or what they span."""
    finite = every[np.isfinite(every)] if every.dtype.kind == "f" else every
    low, high = float(finite.min(initial=0)), float(finite.max(initial=0))
    return (low, high) if low < 0 else (0, next((top for top in (1, 255) if high <= top), high))


def _picture(pixels: np.ndarray, every: np.ndarray) -> dict[str, Any]:
    """Shown on the scale of all rows."""
    from PIL import Image

    low, high = scale(every)
    grey = (np.nan_to_num(pixels.astype(np.float64)) - low) * (255 / (high - low or 1))
    image = Image.fromarray(grey.clip(0, 255).round().astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {
        "picture": base64.b64encode(buffer.getvalue()).decode(),
        "says": f"{pixels.shape[1]} by {pixels.shape[0]} pixels",
        "small": max(pixels.shape[:2]) <= 64,
    }


# --- what was answered ---------------------------------------------------------------------------------------------


def _scores(answers: Answers, pair: Pair, place: int) -> dict[str, Any]:
    """The best classes of the native side, and those of ONNX that are not among them."""
    sides = {"native": pair.native[place], "onnx": pair.onnx[place]}
    names = answers.classes[pair.onnx_name]
    best = {
        side: np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")[:TOP] for side, scores in sides.items()
    }
    columns = list(dict.fromkeys([*best["native"], *best["onnx"]]))
    longest = max((float(abs(scores[column])) for scores in sides.values() for column in columns), default=1) or 1
    right = answers.right[place] if answers.right is not None else None
    classes = []
    for column in columns:
        both = zip(best.values(), answers.names.where, strict=True)
        highest = [where for columns_of_side, where in both if columns_of_side[0] == column]
        says = ["highest on both sides"] if len(highest) == 2 else [f"highest {where}" for where in highest]
        says += ["right answer"] if names[column] == right else []
        bars = {side: _score(float(scores[column]), longest) for side, scores in sides.items()}
        classes.append({"name": names[column], "highest": bool(highest), "says": ", ".join(says), **bars})
    return {"classes": classes, "name": pair.onnx_name, "count": len(names)}


def _score(score: float, longest: float) -> dict[str, Any]:
    """A score as text, and the share of the longest bar that it gets."""
    return {"text": _text(score), "share": score / longest if math.isfinite(score) else 0}


def _numbers(answers: Answers, pair: Pair, place: int) -> dict[str, Any]:
    """An output without classes: its first values on both sides."""
    rows = len(answers.rows)
    native, onnx = (
        np.asarray(array[place] if array.ndim and len(array) == rows else array) for array in (pair.native, pair.onnx)
    )
    if native.size != onnx.size:
        return {"name": pair.onnx_name, "native": native.shape, "onnx": onnx.shape, "where": answers.names.where}
    native = native.reshape(onnx.shape)
    numeric = native.dtype.kind in "biuf" and onnx.dtype.kind == "f"
    numbers = []
    for at in islice(_places(onnx.shape), MOST_VALUES):
        theirs, ours = native[at], onnx[at]
        apart = readable(float(distance(np.asarray(ours), np.asarray(theirs)))) if numeric else ""
        apart = apart or ("same" if label_text(theirs) == label_text(ours) else "differs")
        numbers.append((list(at) or "", _text(theirs), _text(ours), apart))
    return {"numbers": numbers, "name": pair.onnx_name, "count": onnx.size}


def _places(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return iter(np.ndindex(shape))


def _text(value: Any) -> str:
    if isinstance(value, float) or getattr(getattr(value, "dtype", None), "kind", "") == "f":
        return readable(float(value), 4)
    return label_text(value)


# --- spikes --------------------------------------------------------------------------------------------------------


def spikes_html(spikes: Spikes, row: int = 0) -> str:
    """Both sides' spikes for one row, on one axis of time."""
    return render("row", row=None, spikes=_raster(spikes, row, NATIVE_AND_ONNX), most=MOST_VALUES)


def _raster(spikes: Spikes, place: int, names: SideNames) -> dict[str, Any]:
    """Both sides' spikes on one axis of time: a stroke for each, and a ring around one that the other side lacks."""
    if place >= len(spikes.native):
        says = "The spikes of this row were not kept: only those of the first rows are."
        return {"says": says, "kept": False, "sides": []}
    native, onnx = spikes.native[place], spikes.onnx[place]
    steps, neurons = native.shape
    busy = (native | onnx).sum(axis=0) + steps * (native != onnx).sum(axis=0)
    chosen = np.sort(np.argsort(-busy, kind="stable")[: min(MOST_NEURONS, int((busy > 0).sum()))])
    apart = int((native != onnx).sum())
    unit, per_step = ("ms", 1000 * spikes.dt) if steps * spikes.dt < 2 else ("s", spikes.dt)
    says = (
        f"Layer {spikes.layer!r}, {neurons:,} neurons over {steps * per_step:.4g} {unit}: {int(native.sum()):,} spikes "
        f"{names.where[0]}, {int(onnx.sum()):,} {names.where[1]}, {apart:,} of them on one side only."
    )
    if not len(chosen):
        return {"says": says, "kept": True, "sides": []}
    line, left, wide, gap, top = 7, 60, 630, 14, 4
    high = line * len(chosen)

    def x(step: float) -> float:
        return left + wide * step / steps

    sides = []
    lines = (top, names.heads[0], native, onnx), (top + high + gap, names.heads[1], onnx, native)
    for offset, title, mine, other in lines:
        fired = [
            (x(step + 0.5), offset + line * row, bool(other[step, neuron]))
            for row, neuron in enumerate(chosen)
            for step in np.flatnonzero(mine[:, neuron])
        ]
        strokes = "".join(f"M{across:.1f} {y + 1}v{line - 2}" for across, y, _ in fired)
        lonely = [(across, y + line / 2) for across, y, both in fired if not both]
        sides.append({"title": title, "top": offset, "strokes": strokes, "lonely": lonely})
    ticks = dict.fromkeys(round(steps * part / 5) for part in range(6))
    some = f" Drawn are {len(chosen)} neurons, those that differ and then those that fire most."
    ring = " A ring marks a spike that the other side does not have."
    return {
        "says": says, "drawn": some * (len(chosen) < neurons) + ring * bool(apart), "sides": sides, "unit": unit,
        "left": left, "wide": wide, "high": high, "ticks": [(f"{step * per_step:.4g}", x(step)) for step in ticks],
    }  # fmt: skip
