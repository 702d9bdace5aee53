"""A trained ReLU network in ONNX, turned into a spiking one without training: the analogue of ``nengo_dl.Converter``.

A neuron that fires in proportion to its current *is* a ReLU, once its spikes are counted over time. What must be chosen
is how many spikes an activation of 1 is worth. Too few, and a short run only sees noise; so each layer gets a scale of
its own, which takes the activations that samples cause in it to a wanted firing rate:

    gain = rate / (99.9th percentile of the layer's activations),   amplitude = 1 / gain

A scale in and its inverse out: the mean output stays the ReLU's, no weight changes.

``SpikingRectifiedLinear`` has exactly that response. ``LIF`` comes near: with tau_ref 0 it fires at
``1 / (tau_rc log(1 + 1 / (J - 1)))``, which is ``(J - 1/2) / tau_rc`` but for ``O(1 / J)``; so its gain is
``gain * tau_rc`` and its bias 1, and what is over, ``1 / (2 tau_rc)`` Hz, is kept small by a long tau_rc. In steps
of dt, each of its spikes also waits for the next step, half a step on average: at 250 Hz it fires a tenth too seldom.
The order of the classes hardly changes.
"""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime

from ...errors import BadInput, UnsupportedModel
from .arrays import lowpass
from .layers import Layers, Value, filter_outputs, read_layers
from .network import Node, SpikingNetwork
from .read import load

TAU_RC = 0.1
"""Seconds: of the LIF neurons made here. Five times Nengo's, which makes the constant above 5 Hz."""

BATCH = 64


def spiking(
    path: str | os.PathLike[str],
    samples: np.ndarray,
    *,
    neuron: Literal["LIF", "SpikingRectifiedLinear"] = "SpikingRectifiedLinear",
    rate: float = 250.0,
    percentile: float = 99.9,
    synapse: float | None = 0.005,
    output_synapse: float | None = 0.1,
    dt: float = 0.001,
) -> SpikingNetwork:
    """Turn a ReLU network into a spiking one.

    Args:
        path: an ``.onnx`` file of Conv, Gemm, MatMul, Add, Relu, pooling, batch normalisation, Flatten, Reshape,
            Transpose; a Softmax at the end is left out.
        samples: inputs such as the network was trained on, ``(n, *shape)`` or ``(n, size)`` float32, a few dozen or
            more: they set the firing rates.
        neuron: what each Relu becomes. SpikingRectifiedLinear may spike several times a step.
        rate: Hz, at which a neuron fires for its layer's `percentile` of activations. More is more accurate in fewer
            steps, and costs more spikes.
        percentile: below 100 ignores outliers, which would slow everybody else down.
        synapse: seconds: a Lowpass behind every layer's spikes; None for none.
        output_synapse: seconds: a Lowpass before the outputs; None for none.
        dt: seconds per step.

    Raises:
        UnsupportedModel: an operator without a counterpart (named), or no Relu.
        BadInput: the samples do not fit the input, or leave a layer silent.
        UnreadableFile: not an ONNX file.
    """
    if neuron not in ("LIF", "SpikingRectifiedLinear"):
        raise BadInput(f"Expected neuron 'LIF' or 'SpikingRectifiedLinear', found {neuron!r}.")
    model = load(path)
    names = [node.output[0] for node in model.graph.node if node.op_type == "Relu" and node.output]
    if not names:
        raise UnsupportedModel(f"{os.fspath(path)} has no Relu, and only a Relu can become a spiking neuron.")
    reach = dict(zip(names, _percentiles(model, names, samples, percentile), strict=True))

    def activation(layers: Layers, node: onnx.NodeProto, source: Value) -> Value:
        if node.op_type != "Relu":
            raise UnsupportedModel(
                f"Activation {node.op_type} ({node.name or node.output[0]!r}) cannot become a spiking neuron, whose "
                "rate is never negative and grows without bound: train the network with ReLU."
            )
        if reach[node.output[0]] <= 0:
            raise BadInput(
                f"No sample activates {node.name or node.output[0]!r}, so its firing rate cannot be scaled: pass "
                "samples such as the network was trained on."
            )
        gain = rate / reach[node.output[0]]
        made = _neurons(layers, node, source, neuron, gain)
        return _behind(layers, made, synapse)

    network = read_layers(model, SQUASHING, activation, dt=dt)
    _pool_before_neurons(network)
    filter_outputs(network, output_synapse)
    rates = ", ".join(f"{value:.3g}" for value in reach.values())
    network.notes.insert(
        0,
        f"Each Relu became {neuron} neurons that fire at {rate:g} Hz for the {percentile:g}th percentile of the "
        f"activations {len(samples)} samples cause ({rates}, layer by layer).",
    )
    return network


SQUASHING = ("Relu", "LeakyRelu", "Elu", "Selu", "PRelu", "Clip", "HardSigmoid", "HardSwish", "Gelu", "Celu", "Mish",
             "Erf", "Softplus", "Softsign", "Tanh", "ThresholdedRelu")  # fmt: skip
"""op_types that are activations; all but Relu are refused. A Sigmoid stays: only an output layer has one."""


def _neurons(layers: Layers, node: onnx.NodeProto, source: Value, op: str, gain: float) -> Value:
    shape = layers.shape(source)

    def everywhere(value: float) -> np.ndarray:
        return np.full((1,) * (len(shape) + 1), value, np.float32)

    # Half-way to a spike, a count is rounded rather than rounded down.
    weights = {"gain": everywhere(gain), "bias": everywhere(0), "voltage": np.full((1, *shape), 0.5, np.float32)}
    attributes: dict[str, Any] = {"amplitude": 1 / gain}
    if op == "LIF":
        weights |= {"gain": everywhere(gain * TAU_RC), "bias": everywhere(1)}
        weights["refractory_time"] = np.zeros((1, *shape), np.float32)
        attributes |= {"tau_rc": TAU_RC, "tau_ref": 0.0, "min_voltage": 0.0}
    made = layers.add(Node(op, layers.name(node), (source.signal,), shape, weights, attributes), source.order)
    return Value(made.signal, source.dims, source.order)


def _behind(layers: Layers, value: Value, tau: float | None) -> Value:
    if not tau:
        return value
    layers.nodes.append(lowpass(value.signal, layers.shape(value), tau))
    return Value(layers.nodes[-1].name, value.dims, value.order)


def _percentiles(model: onnx.ModelProto, names: list[str], samples: np.ndarray, percentile: float) -> list[float]:
    """The percentile of each tensor's values over all samples, by ONNX Runtime; the largest of any batch."""
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    del seen.graph.output[:]
    seen.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(seen.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes derive from Exception
        raise UnsupportedModel(f"ONNX Runtime cannot run the network: {error}.") from error
    entry = session.get_inputs()[0]
    tail = [length if isinstance(length, int) else -1 for length in entry.shape[1:]]
    rows = np.asarray(samples, np.float32)
    if rows.ndim < 2 or not len(rows):
        raise BadInput(f"Expected samples of shape (n, {', '.join(map(str, tail))}), found {rows.shape}.")
    try:
        rows = rows.reshape(len(rows), *tail)
    except ValueError as error:
        raise BadInput(f"Expected samples of shape (n, {', '.join(map(str, tail))}), found {rows.shape}.") from error
    size = entry.shape[0] if isinstance(entry.shape[0], int) else BATCH
    highest = np.zeros(len(names))
    for start in range(0, len(rows) - size + 1 if size != BATCH else len(rows), size):
        try:
            results = session.run(names, {entry.name: rows[start : start + size]})
        except Exception as error:  # ONNX Runtime's own classes derive from Exception
            raise UnsupportedModel(f"ONNX Runtime cannot run the network on the samples: {error}.") from error
        highest = np.maximum(highest, [np.percentile(result, percentile) for result in results])
    return [float(value) for value in highest]


def _pool_before_neurons(network: SpikingNetwork) -> None:
    """Let MaxPool see the current instead of the spikes: the largest of several spike trains is more than the largest
    rate, while ``max(relu(x))`` is ``relu(max(x))``.
    """
    for pool in [node for node in network.nodes if node.op == "MaxPool"]:
        chain = []  # from the pool back to the neurons: Lowpass, neurons
        before = network.node(pool.inputs[0])
        while before is not None and before.op in ("Lowpass", "LIF", "SpikingRectifiedLinear"):
            if sum(before.name in node.inputs for node in network.nodes) != 1 or _probed(network, before.name):
                break
            chain.append(before)
            before = network.node(before.inputs[0])
        if not chain or chain[-1].op == "Lowpass":
            network.notes.append(f"MaxPool {pool.name!r} sees spikes, whose maximum is larger than the rates'.")
            continue
        first, last = chain[-1], chain[0]
        _rewire(network, pool.name, last.name)
        pool.inputs, first.inputs = first.inputs, (pool.name,)
        for node in chain:
            for state in node.states:
                node.weights[state] = node.weights[state][:, :, : pool.shape[1], : pool.shape[2]].copy()
            node.shape = pool.shape


def _probed(network: SpikingNetwork, name: str) -> bool:
    return any(output.source == name for output in network.outputs)


def _rewire(network: SpikingNetwork, old: str, new: str) -> None:
    for node in network.nodes:
        node.inputs = tuple(new if name == old else name for name in node.inputs)
    for output in network.outputs:
        output.source = new if output.source == old else output.source
