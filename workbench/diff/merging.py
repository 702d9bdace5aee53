"""Whether a node that is gone was merged into another: shown by that one's numbers or attributes, never assumed.

A batch normalisation or a product goes into the weights before it, a bias added into a bias held, an activation into an
attribute, and what only passes a value on needs nothing. Without such a sign a node was left out, and its work may be
undone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import WorkbenchError
from .nodes import Node, Side

CLOSE = 1e-3
"""Of the largest weight: optimisers merge in float32, and add a normalisation's epsilon in their own order."""

_PASSES = {"Identity", "Dropout"}


def merged_into(one: Side, node: Node, before: Node, after: Node, other: Side) -> bool:
    """Whether `after` of the other graph does the work of `before` and of `node`, which was removed behind it."""
    if node.op_type in _PASSES:
        return True
    said = {str(value) for name, value in after.attributes.items() if name.startswith("activation")}
    if node.family in said and node.family not in {str(value) for value in before.attributes.values()}:
        return True
    try:
        if node.op_type in ("BatchNormalization", "Mul"):
            return _scaled(one, node, before, other, after)
        if node.op_type == "Add":
            return _biased(one, node, other, after)
    except WorkbenchError:
        return False
    return False


def _factor(side: Side, node: Node) -> np.ndarray | None:
    """What a normalisation or a product multiplies each channel by."""
    if node.op_type == "Mul":
        return side.weight(*node.weights.values()).ravel() if len(node.weights) == 1 else None
    if not {1, 2, 3, 4} <= {*node.weights}:
        return None
    scale, variance = (side.weight(node.weights[place]).astype(np.float64) for place in (1, 4))
    return scale / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))


def _scaled(one: Side, node: Node, before: Node, other: Side, after: Node) -> bool:
    """The weights of `after` are those of `before` times the factor of each channel."""
    factor = _factor(one, node)
    if factor is None or 1 not in before.weights or 1 not in after.weights:
        return False
    old, new = (side.weight(each.weights[1]).astype(np.float64) for side, each in ((one, before), (other, after)))
    if old.shape != new.shape:
        return False
    axes = [axis for axis, length in enumerate(old.shape) if length == factor.size]
    return any(_close(old * factor.reshape([-1 if a == axis else 1 for a in range(old.ndim)]), new) for axis in axes)


def _biased(one: Side, node: Node, other: Side, after: Node) -> bool:
    """A bias of `after` is what `node` added."""
    added = [one.weight(weight).ravel() for weight in node.weights.values()]
    held = [other.weight(weight).ravel() for place, weight in after.weights.items() if place >= 2]
    return any(a.size == b.size and _close(a, b) for a in added for b in held)


def _close(one: Any, other: Any) -> bool:
    return bool(np.abs(one - other).max() <= CLOSE * max(np.abs(other).max(), 1e-30))
