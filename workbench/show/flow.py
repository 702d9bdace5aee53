"""Figures of the paper as small charts; in 7a and 7b, the path that one file takes is drawn thick and marked.

Inline SVG without scripts and without colours of its own: it takes the text's colour from the page around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..kind import ENGINE_NAMES, Detection, dispatch
from ..words import escape

_LONGEST = 24
"""Characters of a file's own domain that fit in a box."""

_ANSWERS = (
    ("SNN", "SNN", "yes", 36),
    ("ML", "ML", "ai.onnx", 92),
    ("DL", "DL", "onnx", 136),
    (None, "no answer", "other", 180),
)
"""Where the chart ends: the kind, the words there, the word on the way to it, and how far down."""


def flow(found: Detection) -> str:
    """The chart for an ONNX file; empty for others, which the rule does not read.

    Returns:
        An ``<svg>`` whose ``aria-label`` says the path taken.
    """
    if found.components is None:
        return ""
    end, spiking = found.paper_rule.kind, found.paper_rule.kind == "SNN"
    domain = escape(found.components["domain"], _LONGEST)
    here = "not asked" if spiking else f"here: {domain}" if domain else "here: empty"
    answer = next(words for kind, words, _, _ in _ANSWERS if kind == end)
    asked = "Yes" if spiking else f"No. What is the domain? {here[6:]}"
    said = f"Is the op_type of a node a spiking neuron? {asked}. Answer: {answer}."
    shapes = [
        _box(2, 12, 236, 48, True, "Is the op_type of a node", "a spiking neuron?"),
        _arrow(not spiking, (120, 60), (120, 112)),
        _word(128, 84, not spiking, "no"),
        _box(2, 112, 236, 48, not spiking, "What is the domain?", here),
    ]  # fmt: skip
    # What is lit is drawn last, over what it shares its way with.
    for kind, words, edge, y in sorted(_ANSWERS, key=lambda answer: answer[0] == end):
        lit = kind == end
        way = [(238, y), (358, y)] if kind in ("SNN", "DL") else [(238, 136), (272, 136), (272, y), (358, y)]
        shapes += [_arrow(lit, *way), _word(282, y - 6, lit, edge)]
        shapes.append(_box(358, y - 17, 120, 34, lit, f"✓ {words}" if lit else words, round=17))
    return _svg(f"Fig. 7a. {said}", 480, 202, shapes)


def engines(found: Detection) -> str:
    """Fig. 7b for an ONNX file: from its kind, as `detect` tells it, to the engine; empty for other files.

    A kind that is not known is on the chart too, since it goes somewhere.
    """
    if found.components is None:
        return ""
    shapes = []
    # What is lit is drawn last, over what it shares its way with.
    for kind, y in sorted(_KINDS.items(), key=lambda row: row[0] == found.kind):
        lit, end = kind == found.kind, _ENGINES[dispatch(kind) or ""]
        way = [(238, y), (358, y)] if y == end else [(238, y), (272, y), (272, end), (358, end)]
        shapes += [_box(2, y - 17, 236, 34, lit, f"✓ {kind}" if lit else kind), _arrow(lit, *way)]
    for engine, y in _ENGINES.items():
        lit = dispatch(found.kind) == engine
        shapes.append(_box(358, y - 17, 120, 34, lit, ENGINE_NAMES[engine], round=17))
    engine = ENGINE_NAMES[dispatch(found.kind) or ""]
    return _svg(f"Fig. 7b. The kind is {found.kind}: it goes to {engine}.", 480, 182, shapes)


_KINDS = {"ML": 20, "DL": 64, "unknown": 108, "SNN": 160}
"""How far down the kinds are in `engines`."""

_ENGINES = {"onnxruntime": 64, "nengo": 160}


def exchange(makers: Mapping[str, str], middle: str, users: Mapping[str, str]) -> str:
    """Fig. 1: a format between the programs that make it and those that use it.

    Args:
        makers, users: name -> a second line, which may be empty.
    """
    height = 58 * max(len(makers), len(users), 1)
    centre = height // 2
    shapes = [_box(196, centre - 23, 88, 46, True, escape(middle, 10))]
    for left, group in ((2, makers), (314, users)):
        for row, lines in enumerate(group.items()):
            y = centre + 29 * (2 * row + 1 - len(group))
            shapes.append(_box(left, y - 23, 164, 46, True, *(escape(line, _LONGEST) for line in lines if line)))
            way = [(166, y), (181, y), (181, centre), (196, centre)]
            shapes.append(_arrow(True, *(way if left == 2 else [(480 - x, y) for x, y in reversed(way)])))
    said = [
        ", ".join(f"{name} ({note})" if note else name for name, note in group.items()) for group in (makers, users)
    ]
    return _svg(
        escape(f"Fig. 1. {middle} is made from: {said[0]}. It is run by: {said[1]}.", 1000), 480, height, shapes
    )


def _svg(said: str, width: int, height: int, shapes: list[str]) -> str:
    return (
        f'<svg class="wb-flow" role="img" aria-label="{said}" viewBox="0 0 {width} {height}" '
        f'style="display:block;width:100%;max-width:{width}px;height:auto" '
        f'font-family="system-ui,sans-serif" font-size="13" fill="currentColor">{"".join(shapes)}</svg>'
    )


def chain(title: str, boxes: Sequence[Sequence[str]], arrows: Sequence[str]) -> str:
    """Boxes in a row, each with its lines of text, and what is written on the arrow from one to the next.

    Returns:
        An ``<svg>`` whose ``aria-label`` says all of it, after `title`.
    """
    wide, gap = 210, 96
    high = 24 + 18 * max(map(len, boxes))
    said = [", ".join(lines) for lines in boxes]
    said[1:] = [f"then {arrow}: {box}" for arrow, box in zip(arrows, said[1:], strict=True)]
    shapes = []
    for number, lines in enumerate(boxes):
        left = 2 + number * (wide + gap)
        shapes.append(_box(left, 2, wide, high, True, *(escape(line, 40) for line in lines)))
        if number:
            shapes.append(_arrow(True, (left - gap, 2 + high // 2), (left, 2 + high // 2)))
            shapes.append(_word(left - gap // 2, high // 2 - 8, False, escape(arrows[number - 1], 20), True))
    across = 4 + len(boxes) * (wide + gap) - gap
    return _svg(f"{escape(title)} {escape('; '.join(said))}.", across, high + 4, shapes)


def _line(lit: bool) -> str:
    return f'fill="none" stroke="currentColor" stroke-width="{3 if lit else 1}"' + (
        "" if lit else ' stroke-dasharray="4 3"'
    )


def _arrow(lit: bool, *points: tuple[int, int]) -> str:
    """A line through points, with a tip to the right, or down where it ends so."""
    (x, y), before = points[-1], points[-2]
    tip = f"{x - 5},{y - 9} {x + 5},{y - 9}" if x == before[0] else f"{x - 9},{y - 5} {x - 9},{y + 5}"
    way = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline points="{way}" {_line(lit)}/><polygon points="{x},{y} {tip}"/>'


def _word(x: int, y: int, lit: bool, word: str, middle: bool = False) -> str:
    weight = ' font-weight="700"' if lit else ""
    anchor = ' text-anchor="middle"' if middle else ""
    return f'<text x="{x}" y="{y}"{weight}{anchor}>{word}</text>'


def _box(x: int, y: int, width: int, height: int, lit: bool, *lines: str, round: int = 4) -> str:
    first = y + height // 2 + 5 - 9 * (len(lines) - 1)
    words = (_word(x + width // 2, first + 18 * row, lit, line, True) for row, line in enumerate(lines))
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{round}" {_line(lit)}/>{"".join(words)}'
