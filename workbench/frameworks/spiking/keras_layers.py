"""Keras layers inside a Nengo network (``nengo_dl.Layer``) as nodes of a `SpikingNetwork`.

NengoDL runs a tf_keras layer on flat vectors; an image lies in them as HWC, unless the layer says channels_first.
"""

from __future__ import annotations

from dataclasses import replace
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
    layer, label = node.tensor_func, node.label or getattr(node.tensor_func, "name", None)
    shape = tuple(int(length) for length in node.shape_in)
    kind = type(layer).__name__
    if not hasattr(layer, "get_config") or not hasattr(layer, "compute_output_signature"):
        return _activated(out, node, x, layer, node.label)
    if not type(layer).__module__.startswith(("tf_keras.", "keras.")):
        raise refuse(node, f"is a {kind} layer of your own; what can be expressed are Keras's layers")
    if not layer.built:
        layer.build((1, *shape))
    weights = [f32(array) for array in layer.get_weights()]
    if kind in IDENTITIES:
        return x
    if kind in ("Flatten", "Reshape"):
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise refuse(node, "flattens images as channels_first: only channels_last can be expressed")
        # Nothing changes in Nengo's vector; what needs it flat will take this name.
        return replace(x, relay=label or "") if kind == "Flatten" else x
    if kind == "Dense":
        if len(shape) == 1:
            x = out.matrix(x, weights[0].T, label)
        elif len(shape) == 3:
            kernels = weights[0].T[:, :, None, None]
            x = out.convolved(_image(out, node, x, shape), f32(kernels), (1, 1), "valid", 1, label)
        else:
            raise refuse(node, f"takes a {len(shape)}-D array; Dense can be expressed on vectors and images")
    elif kind == "Conv2D":
        if tuple(layer.dilation_rate) != (1, 1):
            raise refuse(node, f"has dilation_rate={tuple(layer.dilation_rate)}; only 1 can be expressed")
        kernels, image = weights[0].transpose(3, 2, 0, 1), _image(out, node, x, shape)
        x = out.convolved(image, f32(kernels), layer.strides, layer.padding, layer.groups, label)
    elif kind in ("AveragePooling2D", "MaxPooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D"):
        return _pooled(out, node, _image(out, node, x, shape), label)
    elif kind == "BatchNormalization":
        return _normalised(out, node, x, weights, label)
    elif kind == "Activation":
        return _activated(out, node, x, layer.activation, label)
    elif kind in ("ReLU", "LeakyReLU", "ELU", "Softmax"):
        return _activation_layer(out, node, x, label)
    else:
        raise refuse(node, f"is a {kind} layer, which a spiking network here has no counterpart for")
    if layer.use_bias:
        # -0.0 and 0.0 are the same bias.
        out.nodes[-1].weights["bias"] = weights[1] + 0.0
    return _activated(out, node, x, layer.activation, (x.name, f".{layer.activation.__name__}"))


def _image(out: Builder, node: Any, x: Signal, shape: tuple[int, ...]) -> Signal:
    if len(shape) != 3:
        raise refuse(node, f"takes images, but its shape_in is {shape}: give shape_in=(height, width, channels)")
    if getattr(node.tensor_func, "data_format", "channels_last") == "channels_first":
        return out.image(x, shape, "CHW")
    return out.image(x, (shape[2], *shape[:2]), "HWC")


def _pooled(out: Builder, node: Any, x: Signal, label: str | None) -> Signal:
    layer = node.tensor_func
    kind = type(layer).__name__
    kernel, strides, padding = x.shape[1:], (1, 1), "valid"
    if not kind.startswith("Global"):
        kernel, strides, padding = tuple(layer.pool_size), tuple(layer.strides), layer.padding
    sides, pads = padded(x.shape[1:], kernel, strides, padding)
    said = {"kernel_shape": [int(k) for k in kernel], "strides": [int(s) for s in strides], "pads": pads}
    op = "AveragePool" if "Average" in kind else "MaxPool"
    return out.emit(op, [x], (x.shape[0], *sides), label, x.order, {}, said)


def _normalised(out: Builder, node: Any, x: Signal, stored: list[np.ndarray], label: str | None) -> Signal:
    layer, shape = node.tensor_func, node.shape_in
    axis = list(layer.axis) if hasattr(layer.axis, "__len__") else [layer.axis]
    if axis not in ([len(shape)], [-1]) or len(shape) not in (1, 3):
        raise refuse(node, f"normalises axis {axis} of {tuple(shape)}; only the channels, the last axis, can be")
    x = out.flat(x) if len(shape) == 1 else _image(out, node, x, tuple(int(length) for length in shape))
    keys = [*(["scale"] if layer.scale else []), *(["bias"] if layer.center else []), "mean", "variance"]
    count = x.shape[0]
    weights = {"scale": np.ones(count, np.float32), "bias": np.zeros(count, np.float32)}
    weights |= dict(zip(keys, stored, strict=True))
    return out.emit("BatchNormalization", [x], x.shape, label, x.order, weights, {"epsilon": decimal(layer.epsilon)})


def _activation_layer(out: Builder, node: Any, x: Signal, label: str | None) -> Signal:
    layer = node.tensor_func
    kind = type(layer).__name__
    if kind == "Softmax":
        if layer.axis not in (-1, len(node.shape_in)):
            raise refuse(node, f"has axis={layer.axis}; only the last can be expressed")
        return _activated(out, node, x, _functions()["softmax"], label)
    if kind == "ELU":
        return out.emit("Elu", [x], x.shape, label, x.order, {}, {"alpha": decimal(layer.alpha)})
    slope = float(layer.alpha if kind == "LeakyReLU" else layer.negative_slope)
    if kind == "ReLU" and (layer.max_value is not None or layer.threshold):
        raise refuse(node, "has a max_value or a threshold, which no operator expresses: leave it out")
    op, said = ("LeakyRelu", {"alpha": decimal(slope)}) if slope else ("Relu", {})
    return out.emit(op, [x], x.shape, label, x.order, {}, said)


def _activated(out: Builder, node: Any, x: Signal, function: Any, wish: Any) -> Signal:
    known = _functions()
    if function is None or function is known["linear"]:
        return x
    name = next((name for name in ACTIVATIONS if function in (known[name], known[f"tf.{name}"])), None)
    if name is None:
        called = getattr(function, "__name__", function)
        raise refuse(node, f"computes {called}; what can be expressed: {', '.join(ACTIVATIONS)}")
    op, said = ACTIVATIONS[name]
    if op == "Softmax":
        if len(node.shape_out) != 1:
            raise refuse(node, "is a softmax over images; only one over a vector can be expressed")
        x = out.flat(x)
    return out.emit(op, [x], x.shape, wish, x.order, {}, dict(said))


@cache
def _functions() -> dict[str, Any]:
    """The functions themselves: a name alone could be anybody's."""
    import tensorflow as tf

    named = {name: getattr(tf.keras.activations, name) for name in (*ACTIVATIONS, "linear")}
    return named | {f"tf.{name}": getattr(tf.nn, name) for name in ACTIVATIONS}
