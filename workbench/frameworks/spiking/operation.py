"""Operators that no linear Nengo connection expresses, one step at a time in NumPy."""

from __future__ import annotations

import numpy as np

from .arrays import from_vector, to_vector
from .network import Node


class Operation:
    """One step of an operator, for ``nengo.Node(Operation(...))``; `from_nengo` reads it back.

    Attributes:
        node: the operator; shape: of the signal it takes; order: how images lie in Nengo's vectors, None if flat.
    """

    def __init__(self, node: Node, shape: tuple[int, ...], order: str | None) -> None:
        self.node, self.shape, self.order = node, shape, order

    def __call__(self, t: float, x: np.ndarray) -> np.ndarray:
        return to_vector(self._result(from_vector(x, self.shape, self.order)), self.order)

    def _result(self, x: np.ndarray) -> np.ndarray:
        op, attributes, weights = self.node.op, self.node.attributes, self.node.weights
        if op in ("Conv", "AveragePool", "MaxPool"):
            return self._windowed(x)
        if op == "BatchNormalization":
            per_channel = (-1,) + (1,) * (x.ndim - 1)
            scale = weights["scale"] / np.sqrt(weights["variance"].astype(x.dtype) + attributes.get("epsilon", 1e-5))
            centred = x - weights["mean"].reshape(per_channel)
            return centred * scale.reshape(per_channel) + weights["bias"].reshape(per_channel)
        if op == "Slice":
            return x[weights["indices"]]
        if op == "Softmax":
            powers = np.exp(x - x.max())
            return powers / powers.sum()
        negative = np.minimum(x, 0)
        if op == "Selu":
            # ONNX's constants.
            return 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(negative))
        if op == "Elu":
            return np.where(x > 0, x, attributes.get("alpha", 1.0) * np.expm1(negative))
        if op == "LeakyRelu":
            return np.where(x > 0, x, attributes.get("alpha", 0.01) * x)
        simple = {
            "Relu": lambda: np.maximum(x, 0),
            "Sigmoid": lambda: 0.5 + 0.5 * np.tanh(0.5 * x),
            "Tanh": lambda: np.tanh(x),
            "Softplus": lambda: np.logaddexp(0, x),
        }
        return simple[op]()

    def _windowed(self, x: np.ndarray) -> np.ndarray:
        op, attributes, weights = self.node.op, self.node.attributes, self.node.weights
        kernel = weights["weight"].shape[2:] if op == "Conv" else tuple(attributes["kernel_shape"])
        down, right = attributes.get("strides", (1, 1))
        top, left, bottom, end = attributes.get("pads", (0, 0, 0, 0))

        def windows(image: np.ndarray, fill: float) -> np.ndarray:
            padded = np.pad(image, ((0, 0), (top, bottom), (left, end)), constant_values=fill)
            return np.lib.stride_tricks.sliding_window_view(padded, kernel, (1, 2))[:, ::down, ::right]

        if op == "MaxPool":
            return windows(x, -np.inf).max((-2, -1))
        seen = windows(x, 0)
        if op == "AveragePool":
            return seen.sum((-2, -1)) / windows(np.ones_like(x[:1]), 0).sum((-2, -1))
        groups = attributes.get("group", 1)
        parts = zip(np.split(seen, groups), np.split(weights["weight"], groups), strict=True)
        result = np.concatenate([np.einsum("chwij,ocij->ohw", part, kernels) for part, kernels in parts])
        return result + weights["bias"].reshape(-1, 1, 1) if "bias" in weights else result
