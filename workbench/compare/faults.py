"""Which fault it is: simple tests that prove why a layer and its counterpart in ONNX differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from math import prod
from typing import Any

import numpy as np

from ..agreement import Tolerance, distance, is_probability
from .inside import Inside

PROBES = 512
"""Numbers of a tensor looked at before all of them are."""


# --- the same numbers ----------------------------------------------------------------------------------------------


def views(tensor: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """`tensor`'s numbers in a layer's shape: as they are, and with channels moved from the front or from the end."""
    if tensor.size != prod(shape):
        return
    yield tensor.reshape(shape)
    if len(shape) >= 3:
        yield np.moveaxis(tensor.reshape(shape[0], shape[-1], *shape[1:-1]), 1, -1)
        yield np.moveaxis(tensor.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


def limit_of(layer: np.ndarray, tolerance: Tolerance) -> float:
    """How far from a layer's numbers the same numbers may be. `absolute` is bounded, or a layer of tiny numbers would
    be found everywhere."""
    largest = float(np.abs(layer).max(where=np.isfinite(layer), initial=0))
    return tolerance.relative * largest + min(tolerance.absolute, 10 * tolerance.relative * largest)


def found_in(layer: np.ndarray, tensor: np.ndarray, tolerance: Tolerance) -> bool:
    limit = limit_of(layer, tolerance)
    return any(same(layer, view, limit) for view in views(tensor, layer.shape))


def same(left: np.ndarray, right: np.ndarray, limit: float) -> bool:
    probes = np.unravel_index(np.linspace(0, left.size - 1, min(left.size, PROBES), dtype=np.int64), left.shape)
    return all(float(distance(a, b).max(initial=0)) <= limit for a, b in ((left[probes], right[probes]), (left, right)))


def nearest(layer: np.ndarray, tensor: np.ndarray) -> tuple[float, np.ndarray]:
    """(largest difference, the tensor in the layer's layout) of the layout that comes closest."""
    return min(((float(distance(layer, view).max()), view) for view in views(tensor, layer.shape)), key=lambda x: x[0])


def says_nothing(layer: np.ndarray, tolerance: Tolerance) -> bool:
    """There are no numbers, or all are the same: any tensor of that number would match."""
    return not layer.size or float(layer.max()) - float(layer.min()) <= 4 * limit_of(layer, tolerance)


# --- in the layer's answer -----------------------------------------------------------------------------------------


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "softmax": _softmax,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.logaddexp(x, 0),
    "exp": np.exp,
}


def activation(layer: np.ndarray, tensor: np.ndarray, tolerance: Tolerance) -> str:
    """Whether an activation makes of one side the other."""
    left, right = layer.astype(np.float64), tensor.astype(np.float64)
    limit = limit_of(layer, tolerance)
    with np.errstate(all="ignore"):
        for name, function in ACTIVATIONS.items():
            if same(function(left), right, limit):
                twice = name == "softmax" and is_probability(layer)
                return f"ONNX applies {name} {'twice' if twice else 'which the layer does not have'}"
            if same(left, function(right), limit):
                return f"{name} is missing in ONNX: applied to what ONNX gives, both agree"
    return ""


def per_channel(layer: np.ndarray, tensor: np.ndarray, tolerance: Tolerance) -> str:
    """Whether both sides differ channel by channel in the same way everywhere."""
    left, right = (array.astype(np.float64).reshape(-1, layer.shape[-1]) for array in (layer, tensor))
    if layer.ndim < 2 or len(left) < 3:
        return ""
    limit = limit_of(layer, tolerance)
    with np.errstate(all="ignore"):
        if float(np.ptp(left - right, axis=0).max()) <= limit:
            return "both differ by one number per channel, as where a bias is dropped or changed"
        # Least squares: left = slope * right + offset.
        centred = right - right.mean(axis=0)
        slope = (centred * (left - left.mean(axis=0))).sum(axis=0) / np.maximum((centred**2).sum(axis=0), 1e-30)
        if len(left) >= 8 and same(left, slope * centred + left.mean(axis=0), limit):
            return (
                "both differ by a factor and an offset per channel, as with another epsilon, scale or variance of a "
                f"normalisation (factors {slope.min():.4g} to {slope.max():.4g})"
            )
    return ""


# --- in the layer's weights ----------------------------------------------------------------------------------------


def weights_changed(side: Inside, nodes: Sequence[Any], stored: Sequence[str], given: Sequence[np.ndarray]) -> str:
    """The layer's weights against the initializers of their size that its ONNX nodes read."""
    agree, lost = False, ""
    for weight in given:
        same_size = [side.weight(name) for name in stored if prod(side.weights[name].dims) == weight.size > 1]
        verdicts = [_held(weight, array, nodes) for array in same_size]
        if "" in verdicts:
            agree = True
        elif verdict := next(filter(None, verdicts), None):
            return verdict
        elif not verdicts and weight.ndim == 1 and weight.any():
            lost = f"its bias of {weight.size} numbers is not in ONNX"
    if not agree or lost:
        return lost if agree else ""
    norm = next((node for node in nodes if node.op_type in ("BatchNormalization", "LayerNormalization")), None)
    if norm is None:
        return ""
    epsilon = next((each.f for each in norm.attribute if each.name == "epsilon"), 1e-5)
    return f"all its weights agree, so its epsilon must differ: it is {epsilon:.3g} in ONNX"


def _held(weight: np.ndarray, stored: np.ndarray, nodes: Sequence[Any]) -> str | None:
    """ "" where an initializer holds a layer's weight; else in what it differs; None where it is another one."""
    rank, shape = weight.ndim, "×".join(map(str, weight.shape))
    conv = any(node.op_type.startswith("Conv") for node in nodes)
    turned = any(node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute) for node in nodes)

    def as_read(array: np.ndarray) -> np.ndarray:
        """A weight in Keras's layout as ONNX's operator reads it."""
        if conv and rank > 2:
            oihw = array.transpose(rank - 1, rank - 2, *range(rank - 2))
            # Depthwise: (h, w, in, multiplier) becomes (in * multiplier, 1, h, w).
            depthwise = rank == 4 and oihw.shape != stored.shape
            return array.transpose(2, 3, 0, 1).reshape(-1, 1, *array.shape[:2]) if depthwise else oihw
        return array.T if rank == 2 and turned else array

    limit = 1e-6 * float(np.abs(weight).max())
    expected, places = as_read(weight), as_read(np.arange(weight.size).reshape(weight.shape))
    if expected.shape != stored.shape:
        expected, places, stored = expected.reshape(-1), places.reshape(-1), stored.reshape(-1)
    if same(expected, stored, limit):
        return ""
    if rank > 1 and expected.ndim == rank:
        for order in permutations(range(rank)) if rank <= 5 else ():
            moved = expected.transpose(order)
            if moved.shape == stored.shape and same(moved, stored, limit):
                return f"its kernel ({shape}) is transposed in ONNX, axes in the order {order}"
        for axes in (*((axis,) for axis in range(rank)), tuple(range(2, rank)) if conv else ()):
            if axes and same(np.flip(expected, axes), stored, limit):
                return f"its kernel ({shape}) is flipped in ONNX along axes {axes} of {rank}"
    apart = distance(expected, stored)
    count = int((apart > limit).sum())
    if 2 * count > weight.size:
        # Where another operator was fused into this one all numbers differ, and that is no fault.
        ratio = float((stored * expected).sum() / max(float((expected**2).sum()), 1e-30))
        scaled = rank > 1 and same(stored, expected * ratio, max(limit, abs(ratio) * limit))
        return f"its kernel ({shape}) is {ratio:.4g} times as large in ONNX" if scaled else None
    worst = int(apart.argmax())
    place = tuple(map(int, np.unravel_index(int(places.flat[worst]), weight.shape)))
    return (
        f"{count:,} of {weight.size:,} weights differ{'s' if count == 1 else ''}: at {place}, "
        f"{expected.flat[worst]:.4g} natively, {stored.flat[worst]:.4g} in ONNX"
    )
