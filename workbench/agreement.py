"""How well two sides agree: two models asked the same, output by output, row by row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """How far apart two right answers may be: ``|a - b| <= absolute + relative * |b|``.

    Attributes:
        relative, absolute: of floating-point outputs; labels (integers, strings, booleans) must be equal.
        reason: why this much and not less, one sentence.
        steps: how far apart integers may be that stand for real numbers (a quantized network's outputs).
    """

    relative: float
    absolute: float
    reason: str
    steps: int = 0
