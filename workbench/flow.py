"""Fig. 7a of the paper as a small flow chart, with the path that one file takes drawn thick and marked.

Inline SVG without scripts and without colours of its own: it takes the text's colour from the page around it.
"""

from __future__ import annotations

from .card import escape
from .kind import Detection

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
    return (
        f'<svg class="wb-flow" role="img" aria-label="Fig. 7a. {said}" viewBox="0 0 480 202" '
        'style="display:block;width:100%;max-width:480px;height:auto" '
        f'font-family="system-ui,sans-serif" font-size="13" fill="currentColor">{"".join(shapes)}</svg>'
    )


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
