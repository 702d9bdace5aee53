"""One row's answers of both sides as HTML: what was asked, and what each side said to it.

Plain HTML without scripts, in the colours of the page around it, as in `card`. The native side is drawn solid
and the ONNX side hollow, so that no meaning hangs on colour; all that comes from a model or a file is escaped.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..agreement import distance, readable
from ..compare.accuracy import label_text
from ..errors import BadInput
from ..words import escape

if TYPE_CHECKING:
    import numpy as np

    from ..compare.answers import Answers, Spikes
    from ..compare.comparison import Comparison
    from ..compare.matching import Pair

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
    scored = answers.scored
    parts = [_scores(answers, scored, place)] if scored is not None else []
    parts += [
        _numbers(answers, pair, place)
        for pair in answers.outputs
        if pair is not scored and not (scored is not None and answers.is_label(pair)) and pair.onnx.size
    ]
    spikes = answers.spikes
    return (
        f'{_STYLE}<div class="wb-row-shown">{_says(answers, place)}<div class="wb-both"><div class="wb-asked">'
        f'{_asked(answers, place)}</div><div class="wb-answered">{"".join(parts)}</div></div>'
        f"{_raster(spikes, place) if spikes is not None else ''}</div>"
    )


def _says(answers: Answers, place: int) -> str:
    """The row in a sentence or two."""
    native, onnx, right = answers.label("native"), answers.label("onnx"), answers.right
    file = f" ({escape(answers.files[place])})" if answers.files else ""
    apart = answers.differences[place]
    words = f"<b>Row {answers.rows[place]:,}</b>{file}: "
    if native is not None and onnx is not None:
        if native[place] == onnx[place]:
            words += f"both sides say <b>{escape(native[place])}</b>"
        else:
            words += (
                f"native says <b>{escape(native[place])}</b>, ONNX says <b>{escape(onnx[place])}</b>: the label flips"
            )
        if right is not None:
            said = {side[place] for side in (native, onnx)}
            is_right = said == {right[place]}
            words += ", which is right" if is_right else f"; the right answer is <b>{escape(right[place])}</b>"
    elif right is not None:
        words += f"the right answer is <b>{escape(right[place])}</b>"
    else:
        words += "both sides answered"
    if not math.isnan(apart):
        words += f". Their numbers are {f'at most {readable(apart)} apart' if apart else 'the same'}"
    agrees = "agree" if answers.agrees[place] else "<b>differ</b>"
    return f"<p>{words}; the sides {agrees}.</p>"


# --- what was asked ------------------------------------------------------------------------------------------------


def _asked(answers: Answers, place: int) -> str:
    parts = []
    for name, array in answers.inputs.items():
        value = array[place] if array.shape[:1] == (len(answers.rows),) else array
        if (pixels := _pixels(value, answers.columns)) is not None:
            parts.append(_picture(pixels, array))
        elif value.ndim == 1 and len(answers.columns) == value.size:
            parts.append(_values(zip(answers.columns, value, strict=True), value.size))
        else:
            parts.append(_values(((f"{name}{list(at)}", value[at]) for at in _places(value.shape)), value.size))
    return "".join(parts[:MOST_VALUES])


def _values(values: Iterable[tuple[str, Any]], count: int) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escape(name, 60)}</th><td>{_text(value)}</td></tr>"
        for name, value in islice(values, MOST_VALUES)
    )
    more = f"<p class='wb-fine'>and {count - MOST_VALUES:,} more</p>" if count > MOST_VALUES else ""
    return f"<table><caption>Asked</caption><tbody>{rows}</tbody></table>{more}"


def _pixels(value: np.ndarray, columns: tuple[str, ...]) -> np.ndarray | None:
    """(height, width) or (height, width, 3) of a row that is a picture; None of one that is none."""
    import numpy as np

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


def _picture(pixels: np.ndarray, every: np.ndarray) -> str:
    """Shown on the scale of all rows: from 0 to 1, from 0 to 255, or what they span."""
    import numpy as np
    from PIL import Image

    finite = every[np.isfinite(every)] if every.dtype.kind == "f" else every
    low, high = float(finite.min(initial=0)), float(finite.max(initial=0))
    if low >= 0:
        low, high = 0, next((top for top in (1, 255) if high <= top), high)
    grey = (np.nan_to_num(pixels.astype(np.float64)) - low) * (255 / (high - low or 1))
    image = Image.fromarray(grey.clip(0, 255).round().astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    size = f"{pixels.shape[1]} by {pixels.shape[0]} pixels"
    return (
        f'<img alt="the picture that was asked, {size}" class="{"wb-small" if max(pixels.shape[:2]) <= 64 else ""}" '
        f'src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"><p class="wb-fine">{size}</p>'
    )


# --- what was answered ---------------------------------------------------------------------------------------------


def _scores(answers: Answers, pair: Pair, place: int) -> str:
    """The best classes of the native side, and those of ONNX that are not among them."""
    import numpy as np

    sides = {"native": pair.native[place], "onnx": pair.onnx[place]}
    names = answers.classes[pair.onnx_name]
    best = {
        side: np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")[:TOP] for side, scores in sides.items()
    }
    columns = list(dict.fromkeys([*best["native"], *best["onnx"]]))
    longest = max((float(abs(scores[column])) for scores in sides.values() for column in columns), default=1) or 1
    right = answers.right[place] if answers.right is not None else None
    body = []
    for column in columns:
        said = [f"highest {where}" for side, where in _WHERE.items() if best[side][0] == column]
        said = ["highest on both sides"] if len(said) == 2 else said
        name = f"<b>{escape(names[column], 60)}</b>" if said else escape(names[column], 60)
        said += ["right answer"] if names[column] == right else []
        head = f"<th scope='row'>{name}<br><small>{', '.join(said)}</small></th>"
        bars = "".join(f"<td>{_bar(side, float(scores[column]), longest)}</td>" for side, scores in sides.items())
        body.append(f"<tr>{head}{bars}</tr>")
    head = "<tr><th scope='col'>class</th><th scope='col'>native</th><th scope='col'>ONNX</th></tr>"
    caption = f"<caption>Highest scores of {len(names):,} ({escape(pair.onnx_name, 60)})</caption>"
    return f"<table class='wb-scores'>{caption}<thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"


_WHERE = {"native": "natively", "onnx": "in ONNX"}


def _bar(side: str, score: float, longest: float) -> str:
    share = score / longest if math.isfinite(score) else 0
    bar = f"<span class='wb-score wb-{side}' style='width:{100 * share:.1f}%'></span>" if share > 0 else ""
    return f"{_text(score)}{bar}"


def _numbers(answers: Answers, pair: Pair, place: int) -> str:
    """An output without classes: its first values on both sides."""
    import numpy as np

    rows = len(answers.rows)
    native, onnx = (
        np.asarray(array[place] if array.ndim and len(array) == rows else array) for array in (pair.native, pair.onnx)
    )
    if native.size != onnx.size:
        return f"<p>{escape(pair.onnx_name)}: {native.shape} natively, {onnx.shape} in ONNX.</p>"
    native = native.reshape(onnx.shape)
    numeric = native.dtype.kind in "biuf" and onnx.dtype.kind == "f"
    body = []
    for at in islice(_places(onnx.shape), MOST_VALUES):
        theirs, ours = native[at], onnx[at]
        apart = readable(float(distance(np.asarray(ours), np.asarray(theirs)))) if numeric else ""
        apart = apart or ("same" if label_text(theirs) == label_text(ours) else "<b>differs</b>")
        body.append(
            f"<tr><th scope='row'>{escape(list(at) or '', 40)}</th><td>{_text(theirs)}</td><td>{_text(ours)}</td>"
            f"<td>{apart}</td></tr>"
        )
    more = f"<p class='wb-fine'>and {onnx.size - MOST_VALUES:,} more</p>" if onnx.size > MOST_VALUES else ""
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("place", "native", "ONNX", "difference"))
    title = escape(pair.onnx_name, 60)
    return (
        f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{more}"
    )


def _places(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    import numpy as np

    return iter(np.ndindex(shape))


def _text(value: Any) -> str:
    if isinstance(value, float) or getattr(getattr(value, "dtype", None), "kind", "") == "f":
        return readable(float(value), 4)
    return escape(label_text(value), 80)


# --- spikes --------------------------------------------------------------------------------------------------------


def spikes_html(spikes: Spikes, row: int = 0) -> str:
    """Both sides' spikes for one row, on one axis of time."""
    return f'{_STYLE}<div class="wb-row-shown">{_raster(spikes, row)}</div>'


def _raster(spikes: Spikes, place: int) -> str:
    """Both sides' spikes on one axis of time: a stroke for each, and a ring around one that the other side lacks."""
    import numpy as np

    if place >= len(spikes.native):
        return "<p class='wb-fine'>The spikes of this row were not kept: only those of the first rows are.</p>"
    native, onnx = spikes.native[place], spikes.onnx[place]
    steps, neurons = native.shape
    busy = (native | onnx).sum(axis=0) + steps * (native != onnx).sum(axis=0)
    chosen = np.sort(np.argsort(-busy, kind="stable")[: min(MOST_NEURONS, int((busy > 0).sum()))])
    counts, apart = (int(native.sum()), int(onnx.sum())), int((native != onnx).sum())
    unit, per_step = ("ms", 1000 * spikes.dt) if steps * spikes.dt < 2 else ("s", spikes.dt)
    says = (
        f"Layer {spikes.layer!r}, {neurons:,} neurons over {steps * per_step:.4g} {unit}: {counts[0]:,} spikes "
        f"natively, {counts[1]:,} in ONNX, {apart:,} of them on one side only."
    )
    if not len(chosen):
        return f"<p>{escape(says)}</p>"
    line, left, gap, top = 7, 60, 14, 4
    height = line * len(chosen)
    width = 700 - left - 10

    def x(step: float) -> float:
        return left + width * step / steps

    parts = []
    for offset, title, mine, other in ((top, "native", native, onnx), (top + height + gap, "ONNX", onnx, native)):
        parts.append(
            f'<text x="{left - 8}" y="{offset + height / 2 + 4}" text-anchor="end">{title}</text>'
            f'<rect x="{left}" y="{offset}" width="{width}" height="{height}" fill="none" stroke="currentColor" '
            'stroke-opacity=".35"/>'
        )
        strokes = []
        for row, neuron in enumerate(chosen):
            y = offset + line * row
            for step in np.flatnonzero(mine[:, neuron]):
                strokes.append(f"M{x(step + 0.5):.1f} {y + 1}v{line - 2}")
                if not other[step, neuron]:
                    parts.append(f'<circle cx="{x(step + 0.5):.1f}" cy="{y + line / 2}" r="5" class="wb-lonely"/>')
        parts.append(f'<path d="{"".join(strokes)}" stroke="currentColor" stroke-width="1.6" fill="none"/>')
    bottom = top + 2 * height + gap
    ticks = [round(steps * part / 5) for part in range(6)]
    parts += [
        f'<path d="M{x(step):.1f} {top}V{bottom + 4}" stroke="currentColor" stroke-opacity=".2"/>'
        f'<text x="{x(step):.1f}" y="{bottom + 17}" text-anchor="middle">{step * per_step:.4g}</text>'
        for step in dict.fromkeys(ticks)
    ]
    parts.append(f'<text x="{left + width / 2}" y="{bottom + 33}" text-anchor="middle">time in {unit}</text>')
    shown = f" Drawn are {len(chosen)} neurons, those that differ and then those that fire most." * (
        len(chosen) < neurons
    )
    lonely = " A ring marks a spike that the other side does not have." if apart else ""
    label = escape(f"Spikes over time, native above ONNX. {says}")
    drawn = f'<svg viewBox="0 0 700 {bottom + 38}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{escape(says)}{shown}{lonely}</figcaption>{drawn}</figure>"


_STYLE = """<style>
.wb-row-shown{font:14px/1.5 system-ui,sans-serif;color:inherit;max-width:56rem}
.wb-row-shown p{margin:.2rem 0 .5rem}
.wb-row-shown .wb-fine{font-size:12px;opacity:.8}
.wb-both{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;align-items:flex-start}
.wb-asked{flex:0 1 auto;max-width:18rem}
.wb-answered{flex:1 1 20rem;min-width:0;overflow-x:auto}
.wb-asked img{display:block;max-width:100%;width:11rem;margin:0;border:1px solid rgba(128,128,128,.5)}
.wb-asked img.wb-small{image-rendering:pixelated}
.wb-row-shown table{border-collapse:collapse;font-size:13px;margin:0 0 .6rem;table-layout:auto}
.wb-row-shown table.wb-scores{width:100%;table-layout:fixed}
.wb-row-shown caption{caption-side:top;text-align:left;font-weight:600;padding:0 0 .2rem;color:inherit}
.wb-row-shown th,.wb-row-shown td{text-align:left!important;padding:.15rem .8rem .15rem 0;vertical-align:top;
  border-bottom:1px solid rgba(128,128,128,.25);font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.wb-row-shown th{font-weight:400}
.wb-row-shown thead th{font-weight:600}
.wb-row-shown tr{background:none!important}
.wb-score{display:block;height:.6rem;margin:.1rem 0;border:2px solid currentColor;box-sizing:border-box}
.wb-score.wb-native{background:currentColor;opacity:.75}
.wb-row-shown figure{margin:.6rem 0 0;max-width:44rem}
.wb-row-shown svg{display:block;width:100%;height:auto;margin-top:.3rem}
.wb-row-shown svg text{font:11px system-ui,sans-serif;fill:currentColor}
.wb-lonely{fill:none;stroke:#d95f02;stroke-width:2}
</style>"""
