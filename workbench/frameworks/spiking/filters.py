"""``nengo.LinearFilter`` as the operator ``LinearFilter`` of `neurons`, and back; a Triangle as what it weighs.

A filter of up to two states is kept by the coefficients of its discrete transfer function in g = z - 1, as slow filters
need: their poles are near z = 1, where float32 would round away how near.

    y = c0 u + (c1 g + c2) / (g^2 + d1 g + d2) u
"""

from __future__ import annotations

from typing import Any

import nengo
import numpy as np

from .arrays import decimal

MOST_STATES = 2
MOST_TAPS = 100
"""Of a Triangle, each of which becomes a delay of one step."""


def coefficients(synapse: Any, dt: float) -> dict[str, float] | None:
    """The attributes of ``LinearFilter`` for a filter in steps of dt; None where it has too many states."""
    A, B, C, D = synapse._get_ss(dt)
    if len(A) > MOST_STATES:
        return None
    direct = float(D.item())
    if not len(A):
        pole, zero = [0.0, 0.0], [direct, 0.0, 0.0]
    elif len(A) == 1:
        pole, zero = [-A.item(), 0.0], [direct, (C @ B).item() - direct * A.item(), 0.0]
    else:
        trace, both = np.trace(A), np.linalg.det(A)
        pole = [-trace, both]
        zero = [direct, (C @ B).item() - direct * trace, (C @ (A - trace * np.eye(2)) @ B).item() + direct * both]
    if len(A) and not direct:
        zero = [*zero[1:], 0.0]  # Nengo gives the state it comes to, not the one before
    p, q = pole
    a, b, c = zero
    found = {"d1": 2 + p, "d2": 1 + p + q, "c0": a}
    found = {key: decimal(value) for key, value in found.items()}
    found["c1"] = decimal(2 * a + b - a * (2 + p))
    found["c2"] = decimal(a + b + c - a * (1 + p + q))
    if not direct:
        found["c2"] = decimal(_without_passing_on(found))
    return found


def _without_passing_on(found: dict[str, float]) -> float:
    """c2 of a filter whose numerator z divides."""
    return found["c1"] - found["c0"] * (1 - found["d1"] + found["d2"])


def linear_filter(found: dict[str, float]) -> nengo.LinearFilter:
    """The discrete filter of such attributes."""
    d1, d2, c0, c1, c2 = (found[key] for key in ("d1", "d2", "c0", "c1", "c2"))
    poles = np.array([1, d1 - 2, 1 - d1 + d2])
    zeros = c0 * poles + [0, c1, c2 - c1]
    if decimal(_without_passing_on(found)) == c2:
        zeros = zeros[:2]
    return nengo.LinearFilter(np.trim_zeros(zeros, "f") if zeros.any() else [0.0], poles, analog=False)


def taps(synapse: nengo.synapses.Triangle, dt: float) -> np.ndarray:
    """What a Triangle weighs the input with: of this step, of the one before …"""
    count = round(synapse.t / dt) + 1
    return np.arange(count, 0, -1) / (count * (count + 1) / 2)
