"""Keras layers inside a Nengo network (``nengo_dl.Layer``) as nodes of a `SpikingNetwork`.

NengoDL runs a tf_keras layer on flat vectors; an image lies in them as HWC, unless the layer says channels_first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from .arrays import decimal, f32
from .signals import Builder, Signal, padded, refuse

IDENTITIES = (
    "Dropout SpatialDropout2D GaussianNoise GaussianDropout AlphaDropout ActivityRegularization InputLayer".split()
)
"""What only training sees."""

ACTIVATIONS = {
    # the function's name: (op, its float attributes)
    "relu": ("Relu", {}), "sigmoid": ("Sigmoid", {}), "tanh": ("Tanh", {}), "softplus": ("Softplus", {}),
    "elu": ("Elu", {"alpha": 1.0}), "selu": ("Selu", {}), "softmax": ("Softmax", {}),
}  # fmt: skip


def add_layer(out: Builder, node: Any, x: Signal) -> Signal:
    """The result of a ``nengo_dl.TensorNode`` that takes `x`.

    Raises:
        UnsupportedModel: a layer, or an argument of one, that no operator expresses.
    """
    return _Layer(out, node, x).result()


@dataclass
class _Layer:
    out: Builder
    node: Any
    x: Signal

    def __post_init__(self) -> None:
        self.layer = self.node.tensor_func
        self.kind = type(self.layer).__name__
        self.label = self.node.label or getattr(self.layer, "name", None)
        self.shape = tuple(int(length) for length in self.node.shape_in)

    def result(self) -> Signal:
        layer, kind = self.layer, self.kind
        if not hasattr(layer, "get_config") or not hasattr(layer, "compute_output_signature"):
            return self.activated(self.x, layer, self.node.label)
        if not type(layer).__module__.startswith(("tf_keras.", "keras.")):
            raise refuse(self.node, f"is a {kind} layer of your own; what can be expressed are Keras's layers")
        if not layer.built:
            layer.build((1, *self.shape))
        if kind in IDENTITIES:
            return self.x
        reader = getattr(self, f"_{kind.lower().removeprefix('global')}", None)
        if reader is None:
            raise refuse(self.node, f"is a {kind} layer, which a spiking network here has no counterpart for")
        result: Signal = reader()
        return result

    def weights(self) -> list[np.ndarray]:
        return [f32(array) for array in self.layer.get_weights()]

    def image(self) -> Signal:
        shape = self.shape
        if len(shape) != 3:
            raise refuse(
                self.node, f"takes images, but its shape_in is {shape}: give shape_in=(height, width, channels)"
            )
        if getattr(self.layer, "data_format", "channels_last") == "channels_first":
            return self.out.image(self.x, shape, "CHW")
        return self.out.image(self.x, (shape[2], *shape[:2]), "HWC")

    def alike(self, op: str, x: Signal, attributes: dict[str, Any], wish: Any) -> Signal:
        return self.out.emit(op, [x], x.shape, wish, x.order, {}, attributes)

    def activated(self, x: Signal, function: Any, wish: Any) -> Signal:
        known = _functions()
        if function is None or function is known["linear"]:
            return x
        name = next((name for name in ACTIVATIONS if function in (known[name], known[f"tf.{name}"])), None)
        if name is None:
            called = getattr(function, "__name__", function)
            raise refuse(self.node, f"computes {called}; what can be expressed: {', '.join(ACTIVATIONS)}")
        op, attributes = ACTIVATIONS[name]
        if op == "Softmax":
            if len(self.node.shape_out) != 1:
                raise refuse(self.node, "is a softmax over images; only one over a vector can be expressed")
            x = self.out.flat(x)
        return self.alike(op, x, dict(attributes), wish)

    # --- layers, by Keras's names

    def _flatten(self) -> Signal:
        # Nothing changes in Nengo's vector; what needs it flat will take this name.
        return replace(self._reshape(), relay=self.label or "")

    def _reshape(self) -> Signal:
        if getattr(self.layer, "data_format", "channels_last") != "channels_last":
            raise refuse(self.node, "flattens images as channels_first: only channels_last can be expressed")
        return self.x

    def _dense(self) -> Signal:
        matrix, rank = self.weights()[0].T, len(self.shape)
        if rank not in (1, 3):
            raise refuse(self.node, f"takes a {rank}-D array; Dense can be expressed on vectors and images")
        if rank == 1:
            return self.biased(self.out.matrix(self.x, matrix, self.label))
        kernels = f32(matrix[:, :, None, None])
        return self.biased(self.out.convolved(self.image(), kernels, (1, 1), "valid", 1, self.label))

    def _conv2d(self) -> Signal:
        return self._convolved(self.weights()[0].transpose(3, 2, 0, 1), self.layer.groups)

    def _depthwiseconv2d(self) -> Signal:
        # Keras has (height, width, channels, multiplier), a filter after the other for each channel.
        kernels = self.weights()[0].transpose(2, 3, 0, 1)
        return self._convolved(kernels.reshape(-1, 1, *kernels.shape[2:]), len(kernels))

    def _convolved(self, kernels: np.ndarray, groups: int) -> Signal:
        layer = self.layer
        if tuple(layer.dilation_rate) != (1, 1):
            raise refuse(self.node, f"has dilation_rate={tuple(layer.dilation_rate)}; only 1 can be expressed")
        x = self.out.convolved(self.image(), f32(kernels), layer.strides, layer.padding, groups, self.label)
        return self.biased(x)

    def biased(self, x: Signal) -> Signal:
        if self.layer.use_bias:
            # -0.0 and 0.0 are the same bias.
            self.out.nodes[-1].weights["bias"] = self.weights()[1] + 0.0
        function = self.layer.activation
        return self.activated(x, function, (x.name, f".{function.__name__}"))

    def _averagepooling2d(self) -> Signal:
        layer, x = self.layer, self.image()
        kernel, strides, padding = x.shape[1:], (1, 1), "valid"
        if not self.kind.startswith("Global"):
            kernel, strides, padding = tuple(layer.pool_size), tuple(layer.strides), layer.padding
        sides, pads = padded(x.shape[1:], kernel, strides, padding)
        attributes = {"kernel_shape": [int(k) for k in kernel], "strides": [int(s) for s in strides], "pads": pads}
        op = "AveragePool" if "Average" in self.kind else "MaxPool"
        return self.out.emit(op, [x], (x.shape[0], *sides), self.label, x.order, {}, attributes)

    _maxpooling2d = _averagepooling2d

    def _batchnormalization(self) -> Signal:
        layer, rank = self.layer, len(self.shape)
        axis = list(layer.axis) if hasattr(layer.axis, "__len__") else [layer.axis]
        if axis not in ([rank], [-1]) or rank not in (1, 3):
            raise refuse(
                self.node,
                f"normalises axis {axis} of {tuple(self.node.shape_in)}; only the channels, the last axis, can be",
            )
        x = self.out.flat(self.x) if rank == 1 else self.image()
        keys = [*(["scale"] if layer.scale else []), *(["bias"] if layer.center else []), "mean", "variance"]
        count = x.shape[0]
        weights = {"scale": np.ones(count, np.float32), "bias": np.zeros(count, np.float32)}
        weights |= dict(zip(keys, self.weights(), strict=True))
        attributes = {"epsilon": decimal(layer.epsilon)}
        return self.out.emit("BatchNormalization", [x], x.shape, self.label, x.order, weights, attributes)

    def _activation(self) -> Signal:
        return self.activated(self.x, self.layer.activation, self.label)

    def _softmax(self) -> Signal:
        if self.layer.axis not in (-1, len(self.node.shape_in)):
            raise refuse(self.node, f"has axis={self.layer.axis}; only the last can be expressed")
        return self.activated(self.x, _functions()["softmax"], self.label)

    def _elu(self) -> Signal:
        return self.alike("Elu", self.x, {"alpha": decimal(self.layer.alpha)}, self.label)

    def _leakyrelu(self) -> Signal:
        return self.rectified(float(self.layer.alpha))

    def _relu(self) -> Signal:
        if self.layer.max_value is not None or self.layer.threshold:
            raise refuse(self.node, "has a max_value or a threshold, which no operator expresses: leave it out")
        return self.rectified(float(self.layer.negative_slope))

    def rectified(self, slope: float) -> Signal:
        op, attributes = ("LeakyRelu", {"alpha": decimal(slope)}) if slope else ("Relu", {})
        return self.alike(op, self.x, attributes, self.label)


@cache
def _functions() -> dict[str, Any]:
    """The functions themselves: a name alone could be anybody's."""
    import tensorflow as tf

    named = {name: getattr(tf.keras.activations, name) for name in (*ACTIVATIONS, "linear")}
    return named | {f"tf.{name}": getattr(tf.nn, name) for name in ACTIVATIONS}
