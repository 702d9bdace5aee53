"""The spiking ONNX files of the paper's authors.

Their converter renames the activations of an ordinary ONNX network (``Tanh``, ``Sigmoid``) to a Nengo neuron type
(``LIF``), in the default domain and without parameters; their reader knows the parameters by heart:

- ``nengo.LIF(amplitude=0.01)`` and so on, Nengo's constants otherwise;
- ``max_rates = Choice([100])``, ``intercepts = Choice([0])``: gain 2.0332, bias 1 for LIF;
- no synapses between layers; no Softmax at the end; the answer read through a Lowpass of 0.01 s.

The weights in such a file are still the ordinary network's. The spiking network's, trained in NengoDL, are in an
``.npz`` beside it, as ``nengo_dl.Simulator.save_params`` writes them: ``arr_0``, ``arr_1`` … in the order of the
layers, in Keras's layouts (kernels HWIO, matrices (inputs, outputs)). Where the neurons' biases were trained as well,
``arr_0`` holds them all, in an order that NengoDL's optimiser chose: that is read for a single ensemble only.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadInput, UnreadableFile, UnsupportedModel
from ...words import first_line
from .arrays import from_vector
from .check import MAX_NUMBERS
from .layers import Layers, Value, filter_outputs, read_layers
from .network import Node, SpikingNetwork
from .neurons import NEURONS
from .read import attributes_of, load

if TYPE_CHECKING:
    import onnx

NEURON_TYPES = ("LIF", "LIFRate", "AdaptiveLIF", "AdaptiveLIFRate", "Izhikevich", "SoftLIFRate")
"""The op_types their converter writes."""

AMPLITUDE, MAX_RATE, INTERCEPT = 0.01, 100.0, 0.0
"""What their reader gives every neuron."""

SYNAPSE = 0.01
"""Seconds: the Lowpass of their probe."""


def read_foreign(path: str | os.PathLike[str], params: str | os.PathLike[str] | None = None) -> SpikingNetwork:
    """Read a spiking network in the paper authors' format.

    Args:
        path: the ``.onnx`` file.
        params: the ``.npz`` of trained parameters; without it the weights in the file stay.

    Returns:
        The network; `notes` says which parameters were assumed. Initial voltages are drawn once, from Nengo's default
        distribution with seed 0, and stored.

    Raises:
        UnreadableFile: not an ONNX file, or not an ``.npz`` of plain arrays.
        UnsupportedModel: an operator without a counterpart, a neuron this format does not have, trained biases of
            several ensembles.
        BadInput: the arrays do not fit the layers.
    """
    network = read_layers(load(path), NEURONS, _neuron)
    if params is not None:
        _pour(network, params)
    filter_outputs(network, SYNAPSE)  # their probe's Lowpass
    assumed = sorted({node.op for node in network.neurons()})
    if not assumed:
        raise UnsupportedModel(f"{os.fspath(path)} holds no spiking neuron ({', '.join(NEURON_TYPES)}).")
    network.notes.insert(
        0,
        f"The file gives its neurons ({', '.join(assumed)}) no parameters: they get those of the paper authors' "
        f"reader, amplitude {AMPLITUDE}, a maximum rate of {MAX_RATE:g} Hz, intercept {INTERCEPT:g} and Nengo's "
        "constants, with initial voltages drawn once with seed 0; the answer passes a Lowpass of "
        f"{SYNAPSE:g} s, as theirs does.",
    )
    return network


def _neuron(layers: Layers, node: onnx.NodeProto, source: Value) -> Value:
    shape = layers.shape(source)
    if node.domain not in ("", "ai.onnx") or node.op_type not in NEURON_TYPES:
        name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        raise UnsupportedModel(
            f"Neuron {name} ({node.name!r}) comes without parameters, and no tool is known that writes it so: expected "
            f"one of {', '.join(NEURON_TYPES)} in the default domain, whose parameters are known from the paper."
        )
    try:
        neuron = _nengo_type(node)
    except (TypeError, ValueError) as error:  # nengo.exceptions.ValidationError is one; NaN becomes None in Nengo
        given = ", ".join(attribute.name for attribute in node.attribute)
        raise BadInput(
            f"Neuron {node.name or node.output[0]!r} has parameters ({given}) that Nengo does not take: {error}."
        ) from error
    gain, bias = neuron.gain_bias(np.array([MAX_RATE]), np.array([INTERCEPT]))
    everywhere = (1,) * (len(shape) + 1)
    weights = {"gain": np.full(everywhere, gain[0], np.float32), "bias": np.full(everywhere, bias[0], np.float32)}
    random = np.random.RandomState(0)
    states = neuron.make_state(int(np.prod(shape)), rng=random, dtype=np.float32)
    for state in NEURONS[node.op_type].states:
        weights[state] = _neurons(states[state], shape)
    attributes = {name: float(getattr(neuron, name)) for name in NEURONS[node.op_type].parameters}
    made = Node(node.op_type, layers.name(node), (source.signal,), shape, weights, attributes)
    return Value(layers.add(made, source.order).signal, source.dims, source.order)


def _nengo_type(node: onnx.NodeProto) -> Any:
    """Nengo's neuron of that name, with what the file says of it, if anything."""
    model = NEURONS[node.op_type]
    attributes = attributes_of(node)
    known = {name: value for name, value in attributes.items() if name in model.parameters}
    amplitude = {"amplitude": AMPLITUDE} if "amplitude" in model.parameters else {}
    return model.nengo_class()(**amplitude | known)


def _neurons(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One value per neuron, flat as Keras keeps images (HWC), as (1, *shape)."""
    return np.ascontiguousarray(from_vector(values, shape, "HWC" if len(shape) == 3 else None)[None], np.float32)


def _pour(network: SpikingNetwork, path: str | os.PathLike[str]) -> None:
    """Replace the weights by those of a NengoDL parameter file."""
    import zipfile

    try:
        _check_headers(path)
        with np.load(path, allow_pickle=False) as archive:
            arrays = [archive[f"arr_{index}"] for index in range(len(archive.files))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise UnreadableFile(
            f"{os.fspath(path)} is not a parameter file of NengoDL (an .npz with arr_0, arr_1 …): {first_line(error)}."
        ) from error
    neurons = list(network.neurons())
    if arrays and arrays[0].shape == (sum(node.size for node in neurons),):
        if len(neurons) > 1:
            raise UnsupportedModel(
                f"{os.fspath(path)} holds trained biases of {len(neurons)} ensembles in one array, in an order that "
                "only NengoDL knows: load it with sim.load_params into the network it was trained in, and convert the "
                "simulator."
            )
        neurons[0].weights["bias"] = _neurons(arrays.pop(0), neurons[0].shape)
        network.notes.append("The neurons' biases come from the parameter file: they were trained.")
    slots = [(node, key) for node in network.nodes if node.op in ("Conv", "Gemm") for key in node.weights]
    expected = [_keras_shape(node.weights[key]) for node, key in slots]
    found = [array.shape for array in arrays]
    if found != expected:
        raise BadInput(
            f"The parameter file does not fit the network: its layers need arrays of {_shapes(expected)}, in Keras's "
            f"layouts, and the file has {_shapes(found)}."
        )
    for (node, key), array in zip(slots, arrays, strict=True):
        oihw = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        node.weights[key] = np.ascontiguousarray(oihw, np.float32)
    network.notes.append(f"The weights come from {os.path.basename(os.fspath(path))}.")


def _check_headers(path: str | os.PathLike[str]) -> None:
    """What an .npz says of its arrays, before they are read: a few bytes of it can promise terabytes of zeros.

    Raises:
        ValueError: arrays of anything but real numbers, or too many of them.
    """
    import zipfile

    from numpy.lib import format as npy

    numbers = 0
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                first = npy.read_magic(file) == (1, 0)
                shape, _, dtype = (npy.read_array_header_1_0 if first else npy.read_array_header_2_0)(file)
            if dtype.kind not in "fiu":
                raise ValueError(f"{name} is of type {dtype}, not of numbers")
            numbers += math.prod(shape)
    if numbers > MAX_NUMBERS:
        raise ValueError(f"its arrays have {numbers:,} numbers, more than {MAX_NUMBERS:,}")


def _keras_shape(weight: np.ndarray) -> tuple[int, ...]:
    """OIHW as HWIO; other shapes are the same in Keras."""
    if weight.ndim != 4:
        return weight.shape
    outputs, inputs, height, width = weight.shape
    return (height, width, inputs, outputs)


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(str(shape) for shape in shapes[:20]) + (" …" if len(shapes) > 20 else "")
