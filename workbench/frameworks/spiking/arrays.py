"""How numbers and images lie in arrays: float32, flat vectors, padding.

Nengo's signals are flat vectors. An image ``(C, H, W)`` lies in them as HWC or as CHW.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .network import Node


def f32(array: Any) -> np.ndarray:
    """As float32, in one piece of memory."""
    return np.ascontiguousarray(array, dtype=np.float32)


def decimal(value: float) -> float:
    """A float32 attribute as the number a person wrote: 0.02, not 0.019999999552965164."""
    return float(np.format_float_positional(np.float32(value))) if np.isfinite(value) else float(value)


def to_vector(array: np.ndarray, order: str | None) -> np.ndarray:
    """An array ``(C, H, W)`` or ``(n,)`` as Nengo's vector, where images lie in `order`."""
    return (array.transpose(1, 2, 0) if order == "HWC" else array).reshape(-1)


def from_vector(vector: np.ndarray, shape: tuple[int, ...], order: str | None) -> np.ndarray:
    """The inverse of `to_vector`."""
    if order != "HWC":
        return vector.reshape(shape)
    channels, height, width = shape
    return vector.reshape(height, width, channels).transpose(2, 0, 1)


def reordered(shape: tuple[int, ...], order: str | None, wanted: str | None) -> np.ndarray | None:
    """Indices that turn an image's vector from one order into another; None where both are the same."""
    if order is None or wanted is None or order == wanted:
        return None
    indices = to_vector(from_vector(np.arange(int(np.prod(shape))), shape, order), wanted)
    return None if np.array_equal(indices, np.sort(indices)) else indices


def same_pads(sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> list[int]:
    """What padding "same" adds to (height, width), as ONNX's pads: top, left, bottom, right. ONNX: SAME_UPPER."""
    totals = [
        max((-(-size // stride) - 1) * stride + width - size, 0)
        for size, width, stride in zip(sizes, kernel, strides, strict=True)
    ]
    return [total // 2 for total in totals] + [total - total // 2 for total in totals]


def lowpass(source: str, shape: tuple[int, ...], tau: float, name: str = "") -> Node:
    """A Lowpass behind a signal, which starts from zero; with tau 0 it is a delay of one step."""
    start = {"level": np.zeros((1, *shape), np.float32)}
    return Node("Lowpass", name or f"{source}.lowpass", (source,), shape, start, {"tau": tau})


def compact(array: np.ndarray) -> np.ndarray:
    """(1, *shape), cut down to the part that the rest repeats."""
    whole = array[None]
    for part in (whole[(slice(0, 1),) * whole.ndim], whole[:, :, :1, :1] if array.ndim == 3 else whole):
        if uniform(whole, part):
            return f32(part)
    return whole


def uniform(whole: np.ndarray, part: np.ndarray) -> bool:
    """Whether each number of `whole` has the very bits of its part."""
    return bool((whole.view(np.uint32) == f32(part).view(np.uint32)).all())
