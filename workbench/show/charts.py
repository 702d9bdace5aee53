"""A comparison as drawings: every call's time with its range, and how far apart both sides are in each row.

Plain SVG in the colours of the page around it, as in `workbench.show.answers`: native filled and ONNX hollow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..agreement import readable
from ..compare.comparison import duration
from ..words import counted, escape

if TYPE_CHECKING:
    from ..compare.comparison import Comparison

_WIDTH, _LEFT, _LINE = 700, 230, 24
"""Of a drawing and of the names before it, and the height of a call."""

_MOST_TICKS = 7


def charts(comparison: Comparison) -> str:
    """Both drawings, as far as there is something to draw."""
    return f"{_STYLE}<div class='wb-charts'>{times_chart(comparison)}{differences_chart(comparison)}</div>"


def times_chart(comparison: Comparison) -> str:
    """A line for each call: its median, and the range in which that lies."""
    calls = [
        (title, call)
        for title, side in (("native", comparison.native), ("ONNX", comparison.onnx))
        for call in side.calls
    ]
    scale = _Scale(
        max(1e-12, min(min(call.seconds.low, call.seconds.median) for _, call in calls)),
        max(max(call.seconds.high, call.seconds.median) for _, call in calls),
        (_LEFT, _WIDTH - 95),
    )
    bottom = _LINE * len(calls) + 4
    parts = [
        f'<path d="M{x:.1f} 4V{bottom}" class="wb-grid"/>'
        f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{duration(value)}</text>'
        for value, x in scale.ticks()
    ]
    told = []
    for place, (title, call) in enumerate(calls):
        y, time = 4 + _LINE * (place + 0.5), call.seconds
        low, middle, high = (scale.at(value) for value in (time.low, time.median, time.high))
        name = f"{title}: {call.call if len(call.call) <= 26 else call.call[:25] + '…'}"
        told.append(f"{title} {call.call} {duration(time.median)}")
        parts.append(
            f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>'
            f'<path d="M{low:.1f} {y}H{high:.1f}M{low:.1f} {y - 5}v10M{high:.1f} {y - 5}v10" class="wb-range"/>'
            f'<circle cx="{middle:.1f}" cy="{y}" r="5" class="wb-of-{title.lower()}"/>'
            f'<text x="{_WIDTH - 2}" y="{y + 4}" text-anchor="end">{duration(time.median)}</text>'
        )
    caption = (
        f"Time of one call with {counted(comparison.rows, 'row')}: the further left, the faster, and each step of the "
        "axis multiplies. A dot is native, a ring is ONNX; the line through it is the range beside the time above."
    )
    return _figure(caption, f"Times: {'; '.join(told)}.", bottom + 22, parts)


def differences_chart(comparison: Comparison) -> str:
    """A mark for each row: the largest difference of two of its numbers. Empty where all rows are the same."""
    answers = comparison.answers
    if answers is None or not answers.rows:
        return ""
    found = [
        (row, float(apart), bool(agrees))
        for row, apart, agrees in zip(answers.rows, answers.differences, answers.agrees, strict=True)
        if math.isfinite(apart)
    ]
    apart = [distance for _, distance, _ in found if distance > 0]
    if not apart:
        return ""
    top, bottom, left, right = 8, 158, 84, _WIDTH - 12
    scale = _Scale(min(apart), max(apart), (bottom - 22, top + 6))
    first, last = min(answers.rows), max(answers.rows)
    wide = (right - left - 16) / max(1, last - first)
    parts = [
        f'<path d="M{left} {y:.1f}H{right}" class="wb-grid"/>'
        f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
        for label, y in [*((readable(value, 2), y) for value, y in scale.ticks()), ("the same", bottom)]
    ]
    parts += [
        f'<text x="{left + 8 + wide * (row - first):.1f}" y="{bottom + 19}" text-anchor="middle">{row:,}</text>'
        for row in sorted({first + round((last - first) * part / 5) for part in range(6)})
    ]
    parts.append(f'<text x="{(left + right) / 2}" y="{bottom + 36}" text-anchor="middle">row</text>')
    for row, distance, agrees in found:
        x, y = left + 8 + wide * (row - first), scale.at(distance) if distance > 0 else bottom
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="wb-agrees"/>'
            if agrees
            else f'<path d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10" class="wb-differs"/>'
        )
    differ = sum(not agrees for agrees in answers.agrees)
    crosses = f" A cross marks the rows on which the sides differ ({differ:,})." if differ else ""
    hidden = len(answers.rows) - len(found)
    unseen = f" Not drawn: {counted(hidden, 'row')} whose difference is no number." if hidden else ""
    caption = (
        f"The largest difference of two numbers in each row, {len(found):,} rows; each step of the axis multiplies."
    )
    label = f"Differences row by row: from {readable(min(apart))} to {readable(max(apart))}, apart from equal rows."
    return _figure(f"{caption}{crosses}{unseen}", label, bottom + 42, parts)


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


def _figure(caption: str, label: str, height: float, parts: list[str]) -> str:
    drawn = f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label, 1000)}">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{escape(caption)}</figcaption>{drawn}</figure>"


_STYLE = """<style>
.wb-charts{font:14px/1.5 system-ui,sans-serif;color:inherit}
.wb-charts figure{margin:.8rem 0 1.2rem;max-width:48rem;break-inside:avoid}
.wb-charts svg{display:block;width:100%;min-width:30rem;height:auto;margin-top:.3rem}
.wb-charts svg text{font:12px system-ui,sans-serif;fill:currentColor}
.wb-grid{stroke:currentColor;stroke-opacity:.2}
.wb-range{stroke:currentColor;stroke-width:1.5}
.wb-of-native,.wb-agrees{fill:currentColor}
.wb-of-onnx{fill:Canvas;stroke:currentColor;stroke-width:2}
.wb-differs{stroke:#d95f02;stroke-width:2.5;fill:none}
</style>"""
