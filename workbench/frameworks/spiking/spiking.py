"""A trained ReLU network in ONNX, turned into a spiking one without training: the analogue of ``nengo_dl.Converter``.

A neuron that fires in proportion to its current *is* a ReLU, once its spikes are counted over time. What must be chosen
is what a spike is worth, layer by layer, from the activations that samples cause there.

``IF``, integrate-and-fire, adds its current to its voltage, and where that is above 1 it spikes, and 1 is taken away:

    gain = 1 / reach,   a spike is worth reach,   reach: the largest activation, and a quarter more

Whatever comes in is kept, also what is below zero: so the count of spikes is off by about one, however much the current
fluctuates, and the mean over time comes as near to the ReLU as one wants: its error falls as 1 / steps. A neuron spikes
once a step at most, so an activation above its reach is cut off: the quarter is for what no sample showed. For a wanted
number of `steps` the reach is chosen that makes the smallest error in so many: lower, since few spikes worth less tell
small activations apart.

``SpikingRectifiedLinear`` and ``LIF`` are Nengo's. They lose what is below zero in every step, so that a current that
fluctuates around it counts too much, for as long as they run; a `synapse` makes it fluctuate less. For them,

    gain = rate / (99.9th percentile of the layer's activations),   amplitude = 1 / gain

``LIF`` only comes near a ReLU: with tau_ref 0 it fires at ``1 / (tau_rc log(1 + 1 / (J - 1)))``, which is
``(J - 1/2) / tau_rc`` but for ``O(1 / J)``; so its gain is ``gain * tau_rc`` and its bias 1, and what is over,
``1 / (2 tau_rc)`` Hz, is kept small by a long tau_rc. In steps of dt, each of its spikes also waits for the next step,
half a step on average: at 250 Hz it fires a tenth too seldom. The order of the classes hardly changes.

A scale in and its inverse out: no weight changes. LeakyRelu and PRelu become two layers of neurons, for what is above
zero and for what is below; Clip from 0 to a value, such as ReLU6, neurons that cannot fire more than that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from ...errors import BadInput, UnsupportedModel
from .arrays import f32, lowpass
from .layers import Layers, Value, filter_outputs, read_layers
from .network import Node, SpikingNetwork
from .neurons import NEURONS
from .read import load, values

TAU_RC = 0.1
"""Seconds: of the LIF neurons made here. Five times Nengo's, which makes the constant above 5 Hz."""

ROOM = 1.25
"""Of an IF neuron's reach over the largest activation of the samples, since other inputs may cause larger ones."""

BATCH = 64
CANDIDATES = 40
"""Of a layer's reach for a wanted number of steps, evenly from the largest activation down."""

SQUASHING = ("Relu", "LeakyRelu", "Elu", "Selu", "PRelu", "Clip", "HardSigmoid", "HardSwish", "Gelu", "Celu", "Mish",
             "Erf", "Softplus", "Softsign", "Tanh", "ThresholdedRelu")  # fmt: skip
"""op_types that are activations; all but `SPIKE` are refused. A Sigmoid stays: only an output layer has one."""

SPIKE = ("Relu", "LeakyRelu", "PRelu", "Clip")


def spiking(
    path: str | os.PathLike[str],
    samples: np.ndarray,
    *,
    neuron: Literal["IF", "LIF", "SpikingRectifiedLinear"] = "IF",
    steps: int | None = None,
    rate: float | None = None,
    percentile: float | None = None,
    synapse: float | None = None,
    output_synapse: float | Literal["mean"] | None = "mean",
    dt: float = 0.001,
) -> SpikingNetwork:
    """Turn a ReLU network into a spiking one.

    Args:
        path: an ``.onnx`` file of Conv (1-D, 2-D), Gemm, MatMul, Add, Concat, pooling, batch normalisation, Flatten,
            Reshape, Transpose, and Relu, LeakyRelu, PRelu or Clip from 0 (ReLU6); a Softmax at the end is left out.
        samples: inputs such as the network was trained on, ``(n, *shape)`` or ``(n, size)`` float32, a few dozen or
            more: they say what a spike is worth.
        neuron: what each Relu becomes. IF and LIF spike once a step at most, SpikingRectifiedLinear several times.
        steps: of IF, the wanted latency: what a spike is worth is chosen for an answer after so many steps, which
            longer runs will not make better. None: each step comes nearer to the network.
        rate: Hz, at which a neuron fires for its layer's `percentile` of activations: 1 / dt for IF, 250 for the others
            if None. More is more accurate in fewer steps, and costs more spikes.
        percentile: below 100 ignores outliers, which would slow everybody else down. If None, 99.9, but for IF a
            quarter more than any activation.
        synapse: seconds: a Lowpass behind every layer's spikes; None for none.
        output_synapse: before the outputs, the mean over the steps so far, which comes nearer to the network's answer
            with every step; seconds, for a Lowpass, which forgets; None for neither.
        dt: seconds per step.

    Raises:
        UnsupportedModel: an operator without a counterpart (named), or no Relu.
        BadInput: the samples do not fit the input, or leave a layer silent; or options that exclude each other.
        UnreadableFile: not an ONNX file.
    """
    wish = _wish(neuron, steps, rate, percentile, dt)
    model = _pooled_first(load(path))
    made = [node for node in model.graph.node if node.op_type in SPIKE and node.output]
    if not made:
        raise UnsupportedModel(f"{os.fspath(path)} has no Relu, and only a Relu can become a spiking neuron.")
    populations = [(node.output[0], sign) for node in made for sign in _signs(node)]
    reach = dict(zip(populations, _reaches(model, made, samples, wish), strict=True))
    network = read_layers(model, SQUASHING, partial(_activation, wish, reach, synapse), dt=dt)
    _settle_before_pools(network)
    if output_synapse == "mean":
        for output in network.outputs:
            output.source = _mean(network, output.source)
    else:
        filter_outputs(network, output_synapse)
    network.notes.insert(0, wish.note(list(reach.values()), len(samples)))
    return network


@dataclass(frozen=True)
class _Wish:
    neuron: str
    steps: int | None
    rate: float
    percentile: float
    dt: float
    room: float = 1.0

    def note(self, reach: list[float], count: int) -> str:
        values = ", ".join(f"{value:.3g}" for value in reach)
        if self.neuron == "IF" and self.steps:
            return (
                "Each Relu became IF neurons, whose spikes are worth what makes the smallest error within "
                f"{self.steps} steps over {count} samples ({values}, layer by layer); what is above is cut off."
            )
        largest = f"{self.room:g} times the largest" if self.room > 1 else f"the {self.percentile:g}th percentile"
        return (
            f"Each Relu became {self.neuron} neurons that fire at {self.rate:g} Hz for {largest} of the activations "
            f"{count} samples cause ({values}, layer by layer)."
        )


def _wish(neuron: str, steps: int | None, rate: float | None, percentile: float | None, dt: float) -> _Wish:
    if neuron not in ("IF", "LIF", "SpikingRectifiedLinear"):
        raise BadInput(f"Expected neuron 'IF', 'LIF' or 'SpikingRectifiedLinear', found {neuron!r}.")
    if steps is not None:
        if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
            raise BadInput(f"steps is {steps!r}; expected a whole number of steps, 1 at least, or None.")
        if neuron != "IF" or rate is not None or percentile is not None:
            raise BadInput(
                "steps= chooses what a spike of an IF neuron is worth: leave rate, percentile and neuron out."
            )
    rate = rate if rate is not None else (1 / dt if neuron == "IF" else 250.0)
    room = ROOM if neuron == "IF" and percentile is None and steps is None else 1.0
    percentile = percentile if percentile is not None else (100.0 if neuron == "IF" else 99.9)
    if not 0 < rate < np.inf or (neuron == "IF" and rate * dt > 1 + 1e-6):
        most = f" and {1 / dt:g} at most: an IF neuron spikes once in a step of {dt:g} s" if neuron == "IF" else ""
        raise BadInput(f"rate is {rate!r} Hz; expected more than 0{most}.")
    return _Wish(neuron, steps, rate, percentile, dt, room)


# --- neurons -------------------------------------------------------------------------------------------------------


def _activation(
    wish: _Wish,
    reach: dict[tuple[str, int], float],
    synapse: float | None,
    layers: Layers,
    node: onnx.NodeProto,
    source: Value,
) -> Value:
    if node.op_type not in SPIKE:
        raise UnsupportedModel(
            f"Activation {node.op_type} ({node.name or node.output[0]!r}) cannot become a spiking neuron, whose "
            "rate is never negative: train the network with ReLU, LeakyReLU or ReLU6."
        )
    signs = [sign for sign in _signs(node) if reach[node.output[0], sign] > 0]
    if not signs:
        raise BadInput(
            f"No sample activates {node.name or node.output[0]!r}, so its firing rate cannot be scaled: pass "
            "samples such as the network was trained on."
        )
    parts = []
    for sign in signs:
        made = _neurons(layers, node, source, wish, sign, reach[node.output[0], sign])
        if sign < 0:
            slope = -np.asarray(_slope(node, layers.constants))
            made = layers.scaled(node, made, slope)
        parts.append(_behind(layers, made, synapse))
    if len(parts) == 1:
        return parts[0]
    total = Node("Sum", layers.name(node, ".sum"), tuple(part.signal for part in parts), layers.shape(source))
    return Value(layers.add(total).signal, source.dims, source.order)


def _signs(node: onnx.NodeProto) -> tuple[int, ...]:
    """The halves of the line that a node's neurons stand for."""
    return (1, -1) if node.op_type in ("LeakyRelu", "PRelu") else (1,)


def _slope(node: onnx.NodeProto, constants: Any) -> Any:
    """What is below zero is multiplied by that."""
    if node.op_type == "LeakyRelu":
        return next((attribute.f for attribute in node.attribute if attribute.name == "alpha"), 0.01)
    if node.input[1] not in constants:
        raise UnsupportedModel(f"PRelu {node.name or node.output[0]!r} has a slope that is computed, not stored.")
    return constants[node.input[1]]


def _most(node: onnx.NodeProto, constants: Any) -> float:
    """What a neuron gives at most: infinity but for a Clip, which must begin at 0."""
    if node.op_type != "Clip":
        return np.inf
    bounds = {attribute.name: attribute.f for attribute in node.attribute}
    for key, name in zip(("min", "max"), node.input[1:], strict=False):
        if name:
            bounds[key] = float(np.asarray(constants.get(name, np.nan)).reshape(-1)[0])
    if bounds.get("min") != 0 or not bounds.get("max", np.inf) > 0:
        raise UnsupportedModel(
            f"Clip {node.name or node.output[0]!r} keeps what is between {bounds.get('min', -np.inf):g} and "
            f"{bounds.get('max', np.inf):g}; a spiking neuron's rate begins at 0, as ReLU6's."
        )
    return bounds.get("max", np.inf)


def _neurons(layers: Layers, node: onnx.NodeProto, source: Value, wish: _Wish, sign: int, reach: float) -> Value:
    shape = layers.shape(source)

    def everywhere(value: float) -> np.ndarray:
        return np.full((1,) * (len(shape) + 1), value, np.float32)

    gain = wish.rate / reach
    # Half-way to a spike, a count is rounded rather than rounded down.
    weights = {"gain": everywhere(sign * gain), "bias": everywhere(0), "voltage": np.full((1, *shape), 0.5, np.float32)}
    attributes: dict[str, Any] = {"amplitude": 1 / gain}
    op, name = wish.neuron, layers.name(node, "" if sign > 0 else ".below")
    if op == "LIF":
        weights |= {"gain": everywhere(sign * gain * TAU_RC), "bias": everywhere(1)}
        weights["refractory_time"] = np.zeros((1, *shape), np.float32)
        attributes |= {"tau_rc": TAU_RC, "tau_ref": 0.0, "min_voltage": 0.0}
    if op == "IF":
        op, attributes = "LeakyIntegrateAndFire", {"keep": 1.0}
        weights |= {"gain": everywhere(sign * gain * wish.dt), "reset": everywhere(-1)}
        weights |= {"decay": everywhere(1), "threshold": everywhere(1)}
    made = layers.add(Node(op, name, (source.signal,), shape, weights, attributes), source.order)
    if wish.neuron == "IF":
        worth = {"weight": f32([1 / (gain * wish.dt)])}
        made = layers.add(Node("Scale", layers.name(node, ".worth"), (made.signal,), shape, worth), source.order)
    return Value(made.signal, source.dims, source.order)


def _behind(layers: Layers, value: Value, tau: float | None) -> Value:
    if not tau:
        return value
    made = lowpass(value.signal, layers.shape(value), tau)
    layers.nodes.append(made)
    return Value(made.name, value.dims, value.order)


def _mean(network: SpikingNetwork, source: str) -> str:
    """A signal's mean over the steps so far."""
    shape, alike = network.shape(source), (1,) * (1 + len(network.shape(source)))
    weights = {"gain": np.ones(alike, np.float32), "bias": np.zeros(alike, np.float32)}
    weights |= {state: np.zeros((1, *shape), np.float32) for state in NEURONS["RunningMean"].states}
    network.nodes.append(Node("RunningMean", f"{source}.mean", (source,), shape, weights))
    return f"{source}.mean"


def _settle_before_pools(network: SpikingNetwork) -> None:
    """Let MaxPool see means over time where spikes reach it: the largest of several currents that fluctuate is more
    than the largest current."""
    moving: set[str] = set()
    for node in network.ordered():
        if node.op == "MaxPool" and moving.intersection(node.inputs):
            network.notes.append(
                f"MaxPool {node.name!r} sees the mean over time of what reaches it, not single spikes."
            )
            node.inputs = (_mean(network, node.inputs[0]),)
        if node.op in NEURONS or moving.intersection(node.inputs):
            moving.add(node.name)


# --- the model, before it is read ------------------------------------------------------------------------------------


def _pooled_first(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with MaxPool before activations instead of behind: ``max(relu(x))`` is ``relu(max(x))``, and spikes
    have no maximum. Where something else reads the activation too, it is computed twice."""
    nodes = list(model.graph.node)
    ends = {entry.name for entry in model.graph.output}
    for pool in [node for node in nodes if node.op_type == "MaxPool"]:
        between, activation = [], pool
        while (activation := _maker(nodes, activation.input[0])) is not None and activation.op_type in PASSED_BY:
            between.append(activation)
        if activation is None or activation.op_type not in SPIKE or not _rises(activation, model):
            continue
        if between and activation.op_type == "PRelu":
            continue  # its slopes lie as the axes before the Transpose do
        chain = [*between[::-1], pool]
        name = activation.output[0]
        alone = all(
            sum(step.output[0] in node.input for node in nodes) == 1 and step.output[0] not in ends
            for step in [activation, *between]
        )
        if not alone and between:
            continue
        copy = onnx.NodeProto()
        copy.CopyFrom(activation)
        if alone:
            nodes.remove(activation)
        else:
            copy.name = f"{copy.name or name}.pooled"
        chain[0].input[0] = activation.input[0]
        copy.input[0], copy.output[0] = f"{pool.output[0]}.current", pool.output[0]
        pool.output[0] = copy.input[0]
        nodes.insert(nodes.index(pool) + 1, copy)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


PASSED_BY = ("Transpose", "Identity", "Dropout")
"""What may stand between an activation and a MaxPool that change places."""


def _maker(nodes: list[onnx.NodeProto], name: str) -> onnx.NodeProto | None:
    return next((node for node in nodes if name in node.output), None)


def _rises(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    return node.op_type in ("Relu", "Clip") or bool((np.asarray(_slope(node, _constants(model))) >= 0).all())


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    found = {tensor.name: values(tensor) for tensor in model.graph.initializer if not tensor.data_location}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = values(node.attribute[0].t)
    return found


# --- activations -----------------------------------------------------------------------------------------------------


def _reaches(model: onnx.ModelProto, made: list[onnx.NodeProto], samples: np.ndarray, wish: _Wish) -> Iterator[float]:
    """For each half of each activation, what a spike in every step is worth (at `rate` 1 / dt)."""
    constants = _constants(model)
    most = [_most(node, constants) for node in made for _ in _signs(node)]
    halves = [(index, sign) for index, node in enumerate(made) for sign in _signs(node)]
    currents = _asked(model, [node.input[0] for node in made], samples)

    def over_batches(measure: Callable[[int, np.ndarray], Any]) -> list[list[Any]]:
        results = [
            [measure(place, np.clip(sign * batch[index], 0, most[place])) for place, (index, sign) in enumerate(halves)]
            for batch in currents()
        ]
        return list(map(list, zip(*results, strict=True)))

    found = over_batches(lambda _, part: float(np.percentile(part, wish.percentile)))
    highest = [min(max(each) * wish.room, limit) for each, limit in zip(found, most, strict=True)]
    if (steps := wish.steps) is None:
        return iter(highest)
    shares = np.arange(CANDIDATES, 0, -1) / CANDIDATES
    errors = over_batches(lambda place, part: _errors(part, highest[place] * shares, steps))
    return (top * float(shares[np.sum(found, axis=0).argmin()]) for top, found in zip(highest, errors, strict=True))


def _errors(activations: np.ndarray, reaches: np.ndarray, steps: int) -> np.ndarray:
    """The squared error of the counts of so many steps, for each worth of a spike."""
    seen = activations[activations > 0].astype(float)
    if not seen.size:
        return np.zeros(len(reaches))
    counts = [np.minimum(np.floor(seen * steps / reach + 0.5), steps) for reach in reaches]
    return np.array([((n * reach / steps - seen) ** 2).sum() for n, reach in zip(counts, reaches, strict=True)])


def _asked(model: onnx.ModelProto, names: list[str], samples: np.ndarray) -> Callable[[], Iterator[list[np.ndarray]]]:
    """What gives the tensors of those names for each batch of the samples, by ONNX Runtime."""
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    del seen.graph.output[:]
    wanted = list(dict.fromkeys(names))
    seen.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in wanted)
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

    def batches() -> Iterator[list[np.ndarray]]:
        for start in range(0, len(rows) - size + 1 if size != BATCH else len(rows), size):
            try:
                found = dict(zip(wanted, session.run(wanted, {entry.name: rows[start : start + size]}), strict=True))
            except Exception as error:  # ONNX Runtime's own classes derive from Exception
                raise UnsupportedModel(f"ONNX Runtime cannot run the network on the samples: {error}.") from error
            yield [found[name] for name in names]

    return batches
