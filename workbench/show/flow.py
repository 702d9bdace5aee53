"""Figures of the paper as small charts; in 7a and 7b, the path that one file takes is drawn thick and marked.

Inline SVG without scripts and without colours of its own: it takes the text's colour from the page around it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..kind import ENGINE_NAMES, Detection, dispatch
from ..markup import render

_LONGEST = 24
"""Characters of a file's own domain that fit in a box."""

_ANSWERS = (
    ("SNN", "SNN", "yes", 36),
    ("ML", "ML", "ai.onnx", 92),
    ("DL", "DL", "onnx", 136),
    (None, "no answer", "other", 180),
)
"""Where the chart ends: the kind, the words there, the word on the way to it, and how far down."""

_KINDS = {"ML": 20, "DL": 64, "unknown": 108, "SNN": 160}
"""How far down the kinds are in `engines`."""

_ENGINES = {"onnxruntime": 64, "nengo": 160}

Shape = dict[str, Any]
"""A box or an arrow, as ``templates/figure.html.j2`` draws it: thick and solid where it is lit."""

Place = tuple[int, int]
"""(column, row) in a `chart`."""

Way = tuple[Place, Place]


def flow(detection: Detection) -> str:
    """The chart for an ONNX file; empty for others, which the rule does not read.

    Returns:
        An ``<svg>`` whose ``aria-label`` says the path taken.
    """
    if detection.components is None:
        return ""
    end, spiking = detection.paper_rule.kind, detection.paper_rule.kind == "SNN"
    domain = _cut(detection.components["domain"])
    here = "not asked" if spiking else f"here: {domain or 'empty'}"
    answer = next(words for kind, words, _, _ in _ANSWERS if kind == end)
    asked = "Yes" if spiking else f"No. What is the domain? {domain or 'empty'}"
    shapes = [
        _box((2, 12), (236, 48), "Is the op_type of a node", "a spiking neuron?"),
        _arrow((120, 60), (120, 112), lit=not spiking, text="no", x=128, y=84),
        _box((2, 112), (236, 48), "What is the domain?", here, lit=not spiking),
    ]
    # What is lit is drawn last, over what it shares its way with.
    for kind, words, edge, y in sorted(_ANSWERS, key=lambda answer: answer[0] == end):
        lit = kind == end
        start = [(238, y)] if kind in ("SNN", "DL") else [(238, 136), (272, 136), (272, y)]
        shapes.append(_arrow(*start, (358, y), lit=lit, text=edge, x=282, y=y - 6))
        shapes.append(_box((358, y - 17), (120, 34), f"✓ {words}" if lit else words, lit=lit, round=17))
    says = f"Fig. 7a. Is the op_type of a node a spiking neuron? {asked}. Answer: {answer}."
    return _drawn(says, 480, 202, shapes)


def engines(detection: Detection) -> str:
    """Fig. 7b for an ONNX file: from its kind, as `detect` tells it, to the engine; empty for other files.

    A kind that is not known is on the chart too, since it goes somewhere.
    """
    if detection.components is None:
        return ""
    shapes, chosen = [], dispatch(detection.kind)
    # What is lit is drawn last, over what it shares its way with.
    for kind, y in sorted(_KINDS.items(), key=lambda row: row[0] == detection.kind):
        lit, end = kind == detection.kind, _ENGINES[dispatch(kind) or ""]
        turns = [] if y == end else [(272, y), (272, end)]
        shapes.append(_box((2, y - 17), (236, 34), f"✓ {kind}" if lit else kind, lit=lit))
        shapes.append(_arrow((238, y), *turns, (358, end), lit=lit))
    for engine, y in _ENGINES.items():
        shapes.append(_box((358, y - 17), (120, 34), ENGINE_NAMES[engine], lit=chosen == engine, round=17))
    says = f"Fig. 7b. The kind is {detection.kind}: it goes to {ENGINE_NAMES[chosen or '']}."
    return _drawn(says, 480, 182, shapes)


def exchange(makers: Mapping[str, str], middle: str, users: Mapping[str, str]) -> str:
    """Fig. 1: a format between the programs that make it and those that use it.

    Args:
        makers, users: name -> a second line, which may be empty.
    """
    height = 58 * max(len(makers), len(users), 1)
    centre = height // 2
    shapes = [_box((196, centre - 23), (88, 46), middle[:10])]
    for left, group in ((2, makers), (314, users)):
        for row, lines in enumerate(group.items()):
            y = centre + 29 * (2 * row + 1 - len(group))
            shapes.append(_box((left, y - 23), (164, 46), *filter(None, map(_cut, lines))))
            way = [(166, y), (181, y), (181, centre), (196, centre)]
            shapes.append(_arrow(*(way if left == 2 else [(480 - x, y) for x, y in reversed(way)])))
    made, run = (
        ", ".join(f"{name} ({note})" if note else name for name, note in group.items()) for group in (makers, users)
    )
    return _drawn(f"Fig. 1. {middle} is made from: {made}. It is run by: {run}.", 480, height, shapes)


def chart(
    title: str, boxes: Mapping[Place, Sequence[str]], ways: Mapping[Way, str], aside: Collection[Place] = ()
) -> str:
    """A flow chart on a grid.

    Args:
        boxes: place (column, row) -> the lines of text there; empty places may be left out.
        ways: (from, to) -> the word on the arrow. One ends to the right, below, or below to the left.
        aside: places whose boxes, with all ways to and from them, are thin and dashed.

    Returns:
        An ``<svg>`` whose ``aria-label`` says all of it, after `title`.
    """
    wide, high, across, down = 200, 24 + 18 * max(map(len, boxes.values())), 66, 36
    corners = {place: (2 + place[0] * (wide + across), 2 + place[1] * (high + down)) for place in boxes}
    shapes = [_box(corners[at], (wide, high), *lines, lit=at not in aside) for at, lines in boxes.items()]
    for (begin, end), text in ways.items():
        (x, y), (to_x, to_y), lit = corners[begin], corners[end], begin not in aside and end not in aside
        middle, to_middle = x + wide // 2, to_x + wide // 2
        if begin[1] == end[1]:
            way, word = [(x + wide, y + high // 2), (to_x, y + high // 2)], (x + wide + 6, y + high // 2 - 8)
        elif begin[0] == end[0]:
            way, word = [(middle, y + high), (middle, to_y)], (middle + 10, y + high + down // 2 + 5)
        else:
            way = [(x, y + high // 2), (to_middle, y + high // 2), (to_middle, to_y)]
            word = (to_middle + 10, y + high // 2 - 8)
        shapes.append(_arrow(*way, lit=lit, text=text, x=word[0], y=word[1]))
    said = [
        f"{', '.join(boxes[begin])} → {f'{text}: ' * bool(text)}{boxes[end][0]}" for (begin, end), text in ways.items()
    ]
    width, height = (
        max(corner[axis] for corner in corners.values()) + size + 2 for axis, size in ((0, wide), (1, high))
    )
    return _drawn(f"{title} {'; '.join(said)}.", width, height, shapes, 40)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _box(corner: tuple[int, int], size: tuple[int, int], *lines: str, lit: bool = True, round: int = 4) -> Shape:
    (x, y), (width, height) = corner, size
    return {"x": x, "y": y, "width": width, "height": height, "lines": lines, "lit": lit, "round": round}


def _arrow(*way: tuple[int, int], lit: bool = True, text: str = "", x: int = 0, y: int = 0) -> Shape:
    """A line through points, with a tip to the right, or down where it ends so; with a word at (x, y)."""
    return {"way": way, "lit": lit, "text": text, "x": x, "y": y}


def _drawn(says: str, width: int, height: int, shapes: list[Shape], most: int = 100) -> str:
    return render("figure", says=says, width=width, height=height, shapes=shapes, most=most)
