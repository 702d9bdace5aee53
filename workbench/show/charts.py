"""A comparison as drawings: every call's time with its range, and how far apart both sides are in each row.

Here is where everything goes; ``templates/charts.html.j2`` draws it: native filled and ONNX hollow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..compare.answers import Answers
from ..compare.comparison import Comparison, duration
from ..markup import render
from ..words import counted, readable

_WIDTH, _LEFT, _LINE = 700, 230, 24
"""Of a drawing and of the names before it, and the height of a call."""

_MOST_TICKS = 7


def charts(comparison: Comparison) -> str:
    """Both drawings, as far as there is something to draw."""
    answers = comparison.answers
    return render(
        "charts",
        width=_WIDTH,
        left=_LEFT,
        times=_times(comparison),
        rows=_rows(answers) if answers is not None and answers.rows else None,
    )


def _times(comparison: Comparison) -> dict[str, Any]:
    """A line for each call: its median, and the range in which that lies."""
    heads = comparison.names.heads
    calls = [
        (side, head, call)
        for side, head, result in zip(("native", "onnx"), heads, (comparison.native, comparison.onnx), strict=True)
        for call in result.calls
    ]
    scale = _Scale(
        max(1e-12, min(min(call.seconds.low, call.seconds.median) for _, _, call in calls)),
        max(max(call.seconds.high, call.seconds.median) for _, _, call in calls),
        (_LEFT, _WIDTH - 95),
    )
    bottom = _LINE * len(calls) + 4
    drawn = [
        {
            "side": side, "name": f"{head}: {call.call if len(call.call) <= 26 else call.call[:25] + '…'}",
            "time": duration(call.seconds.median), "y": 4 + _LINE * (place + 0.5), "low": scale.at(call.seconds.low),
            "middle": scale.at(call.seconds.median), "high": scale.at(call.seconds.high),
        }
        for place, (side, head, call) in enumerate(calls)
    ]  # fmt: skip
    return {
        "ticks": [(duration(value), x) for value, x in scale.ticks()],
        "calls": drawn,
        "bottom": bottom,
        "height": bottom + 22,
        "caption": f"Time of one call with {counted(comparison.rows, 'row')}: the further left, the faster, and each "
        f"step of the axis multiplies. A dot is {heads[0]}, a ring is {heads[1]}"
        f"{'; the line through it is the range beside the time above' if comparison.rounds > 1 else ''}.",
        "says": f"Times: {'; '.join(f'{head} {c.call} {duration(c.seconds.median)}' for _, head, c in calls)}.",
    }


def _rows(answers: Answers) -> dict[str, Any] | None:
    """A mark for each row: the largest difference of two of its numbers. None where all rows are the same."""
    finite = [
        (row, float(apart), bool(agrees))
        for row, apart, agrees in zip(answers.rows, answers.differences, answers.agrees, strict=True)
        if math.isfinite(apart)
    ]
    apart = [distance for _, distance, _ in finite if distance > 0]
    if not apart:
        return None
    top, bottom, left, right = 8, 158, 84, _WIDTH - 12
    scale = _Scale(min(apart), max(apart), (bottom - 22, top + 6))
    first, last = min(answers.rows), max(answers.rows)
    wide = (right - left - 16) / max(1, last - first)
    numbered = sorted({first + round((last - first) * part / 5) for part in range(6)})
    differ = sum(not agrees for agrees in answers.agrees)
    hidden = len(answers.rows) - len(finite)
    crosses = f" A cross marks the rows on which the sides differ ({differ:,})." if differ else ""
    unseen = f" Not drawn: {counted(hidden, 'row')} whose difference is no number." if hidden else ""
    return {
        "left": left,
        "right": right,
        "bottom": bottom,
        "height": bottom + 42,
        "lines": [*((readable(value, 2), y) for value, y in scale.ticks()), ("the same", bottom)],
        "columns": [(row, left + 8 + wide * (row - first)) for row in numbered],
        "marks": [
            (left + 8 + wide * (row - first), scale.at(distance) if distance > 0 else bottom, agrees)
            for row, distance, agrees in finite
        ],
        "caption": f"The largest difference of two numbers in each row, {len(finite):,} rows; each step of the axis "
        f"multiplies.{crosses}{unseen}",
        "says": f"Differences row by row: from {readable(min(apart))} to {readable(max(apart))}, "
        "apart from equal rows.",
    }


class _Scale:
    """A logarithmic axis.

    Args:
        low, high: what it must show, above 0.
        ends: where its first and last value are, in the drawing's units; the last may lie before the first.
    """

    def __init__(self, low: float, high: float, ends: tuple[float, float]) -> None:
        self._low, high = math.log10(low) - 0.05, math.log10(high) + 0.05
        self._span, (self._start, end) = high - self._low, ends
        self._length = end - self._start

    def at(self, value: float) -> float:
        return self._start + self._length * (math.log10(value) - self._low) / self._span

    def ticks(self) -> Iterator[tuple[float, float]]:
        """(value, place) of a few round numbers: 1, 2, 5, 10 …, or powers of ten where the axis spans many."""
        low, high = math.floor(self._low), math.ceil(self._low + self._span)
        step = max(1, math.ceil(self._span / _MOST_TICKS))
        digits = (1, 2, 5) if self._span * 3 <= _MOST_TICKS else (1,)
        for power in range(low - low % step, high + 1, step):
            for digit in digits:
                value = digit * 10.0**power
                if self._low <= math.log10(value) <= self._low + self._span:
                    yield value, self.at(value)
