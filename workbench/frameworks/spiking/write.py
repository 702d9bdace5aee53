"""A spiking network as an ONNX model.

Two forms, by whether a signal depends on itself through a synapse, or weights learn:

- **layers**: one node per layer. Time is folded into the batch at the input (``FoldTime``) and taken out again at each
  output, so a convolution sees one large batch; each neuron function walks through time by itself.
- **scan**: one Scan over time around one step of the whole network.

Inputs are ``(batch, steps, n)``, outputs ``(batch, steps, n)``, float32. What a neuron or synapse remembers is an
optional input ``<node>.<state>`` of shape ``(1 or batch, *shape)``, whose default is the start value, and an output
``<node>.<state>_out``: one file runs a whole sequence, or streams, fed its own last state.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...errors import UnsupportedModel
from .network import Node, SpikingNetwork
from .neurons import AT_ONCE, DELAYED, MODELS, NEURONS, RULES, SYNAPSES
from .operators import DOMAIN, IR_VERSION, OPSET, VERSION, fold_time, function, has_fast_form, unfold_time
from .stateless import STATELESS

PRODUCER = "onnx-workbench"
METADATA = "org.nengo"
"""The ``metadata_props`` key of what no node says: dt where nothing has a state, the seeds, and the subnetworks."""

LAYOUTS = {"HWC": [0, 2, 3, 1], "CHW": None}
"""How a flat vector holds an image -> the Transpose from ONNX's NCHW to it."""


PRODUCT = "boi,bi->bo"
"""What an Einsum does of weights, for each sample its own, and a signal."""

HELD = "time.steps"
"""The input of a model for held input that says for how many steps, int64 (1,)."""


def write(network: SpikingNetwork, *, held: bool = False, scan: bool = False, lean: bool = False) -> onnx.ModelProto:
    """The ONNX model of a network. Equal networks give equal bytes.

    Args:
        held: a model for input that stays the same (`can_hold`), which computes what depends on it alone once: inputs
            are ``(batch, 1, n)``, and `HELD` says for how many steps.
        scan: in the scan form, whatever depends on what.
        lean: a model to run, not to keep: gains and biases that change nothing are left out of the neurons' bodies.

    Raises:
        UnsupportedModel: a cycle without a synapse, no input, or a neuron parameter no float holds.
    """
    if not network.inputs:
        raise UnsupportedModel(
            "The network has no input, so nothing says how many steps to run: add a nengo.Node([0]) to it."
        )
    out = _Writer(network, held, lean)
    (out.write_scan if scan or network.recurrent else out.write_layers)()
    graph = helper.make_graph(out.nodes, network.name, out.inputs, out.outputs, list(out.initializers.values()))
    model = helper.make_model(
        graph,
        functions=[out.functions[name] for name in sorted(out.functions)],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
    )
    remembered: dict[str, Any] = {"dt": network.dt, "seeds": network.seeds}
    if network.homes:
        remembered["networks"] = network.homes
    helper.set_model_props(model, {**network.metadata, METADATA: json.dumps(remembered, sort_keys=True)})
    return model


def can_hold(network: SpikingNetwork) -> bool:
    """Whether `write` has a form for held input: only neurons and synapses lie between what stays and what moves."""
    still = _still(network)
    return (
        not network.recurrent
        and not any("stream" in MODELS[node.op].weights for node in network.nodes if node.op in MODELS)
        and all(
            bool(node.states) or node.name in still or not still.intersection(node.inputs) for node in network.nodes
        )
        and not any(probe.source in still for probe in network.outputs)
    )


def _still(network: SpikingNetwork) -> set[str]:
    """The signals that stay the same while the inputs do."""
    still = {entry.name for entry in network.inputs}
    for node in network.ordered():
        if not node.states and still.issuperset(node.inputs):
            still.add(node.name)
    return still


@dataclass
class _Writer:
    network: SpikingNetwork
    held: bool = False
    lean: bool = False
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    functions: dict[str, onnx.FunctionProto] = field(default_factory=dict)
    fast: dict[str, bool] = field(default_factory=dict)
    """Neuron op -> whether all its nodes have the fast form: a function has one body."""
    bare: dict[str, bool] = field(default_factory=dict)
    """Neuron op -> whether the gain of all its nodes is one, and the bias zero."""

    def __post_init__(self) -> None:
        self.ordered = self.network.ordered()
        for node in self.ordered:
            if node.op in MODELS and MODELS[node.op].fast:
                self.fast[node.op] = self.fast.get(node.op, True) and has_fast_form(node, self.network.dt)
            if self.lean and node.op in NEURONS:
                bare = bool((node.weights["gain"] == 1).all() and (node.weights["bias"] == 0).all())
                self.bare[node.op] = self.bare.get(node.op, True) and bare

    # --- the two forms

    def write_layers(self) -> None:
        signals: dict[str, str] = {}
        still = _still(self.network) if self.held else set()
        steps = HELD if self.held else ""
        for entry in self.network.inputs:
            self._float_input(entry.name, ["batch", 1 if self.held else "steps", entry.size])
            folded, count = f"{entry.name}.folded", f"{entry.name}.steps"
            self._call(fold_time(), [entry.name], [folded, count], f"{entry.name}.fold")
            signals[entry.name], steps = folded, steps or count
        if self.held:
            self.inputs.append(helper.make_tensor_value_info(HELD, TensorProto.INT64, [1]))
        for node in self.ordered:
            signals[node.name] = node.name
            taken = [signals[name] for name in node.inputs]
            if not node.states:
                self._stateless(node, taken)
                continue
            states = [self._state(node, state) for state in node.states]
            results = [node.name, *(f"{state}_out" for state in states)]
            shown = next(
                (probe.state for probe in self.network.outputs if probe.source == node.name and probe.state), ""
            )
            results += [f"{node.name}.{shown}_shown"] if shown else []
            fast, bare = (known.get(node.op, False) for known in (self.fast, self.bare))
            body = function(node.op, False, fast, still.issuperset(node.inputs), shown, bare)
            self._call(body, [*taken, steps, *self._drive(node), *states], results, node.name, **self._attributes(node))
        for probe in self.network.outputs:
            source = f"{probe.source}.{probe.state}_shown" if probe.state else signals[probe.source]
            self._call(unfold_time(), [source, steps], [probe.name], f"{probe.name}.unfold")
            self._float_output(probe.name, ["batch", "steps", *self.network.shape(probe.source)])
        self._state_outputs()

    def write_scan(self) -> None:
        def untyped(name: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)

        names = [entry.name for entry in self.network.inputs]
        for entry in self.network.inputs:
            self._float_input(entry.name, ["batch", "steps", entry.size])
            self._node("Transpose", [entry.name], [f"{entry.name}.by_time"], f"{entry.name}.fold", perm=[1, 0, 2])
        self._node("Shape", [f"{names[0]}.by_time"], ["batch.size"], "batch.size", start=1, end=2)
        before, self.nodes = self.nodes, []
        signals = {name: f"{name}.now" for name in names}
        signals |= {node.name: f"{node.name}.{node.states[-1]}_now" for node in self.ordered if node.op in DELAYED}
        signals |= {node.name: node.name for node in self.ordered if node.name not in signals}
        # A synapse takes in its input when all else is done: it gives what it remembers.
        synapses = {node.name for node in self.ordered if node.op in SYNAPSES}
        for node in sorted(self.ordered, key=lambda node: (node.op in DELAYED, node.op in RULES)):
            taken = [signals[name] for name in node.inputs]
            if node.op in RULES:
                keys = zip(RULES[node.op].takes, node.inputs, strict=True)
                filtered = {name for key, name in keys if key in AT_ONCE and name in synapses}
                taken = [f"{name}.level_next" if name in filtered else signals[name] for name in node.inputs]
            if not node.states:
                self._stateless(node, taken)
                continue
            now, after = ([f"{node.name}.{state}_{when}" for state in node.states] for when in ("now", "next"))
            results = after if node.op in DELAYED else [node.name, *after]
            body = function(node.op, True)
            self._call(body, [*taken, *self._drive(node), *now], results, node.name, **self._attributes(node))
        for probe in self.network.outputs:
            source = f"{probe.source}.{probe.state}_next" if probe.state else signals[probe.source]
            self._node("Identity", [source], [f"{probe.name}.now"], f"{probe.name}.probe")
        remembered = [(node, state) for node in self.ordered for state in node.states]
        probes = [f"{probe.name}.now" for probe in self.network.outputs]
        step = helper.make_graph(
            self.nodes,
            "step",
            [untyped(f"{node.name}.{state}_now") for node, state in remembered]
            + [untyped(f"{name}.now") for name in names],
            [untyped(f"{node.name}.{state}_next") for node, state in remembered] + [untyped(name) for name in probes],
        )
        self.nodes = before
        starts = [self._expanded(node, self._state(node, state)) for node, state in remembered]
        self._node(
            "Scan",
            starts + [f"{name}.by_time" for name in names],
            [f"{node.name}.{state}_out" for node, state in remembered]
            + [f"{probe.name}.by_time" for probe in self.network.outputs],
            "time",
            num_scan_inputs=len(names),
            body=step,
        )
        for probe in self.network.outputs:
            self._node("Transpose", [f"{probe.name}.by_time"], [probe.name], f"{probe.name}.unfold", perm=[1, 0, 2])
            self._float_output(probe.name, ["batch", "steps", *self.network.shape(probe.source)])
        self._state_outputs()

    # --- parts

    def _stateless(self, node: Node, taken: list[str]) -> None:
        attributes, name, results = dict(node.attributes), node.name, [node.name]
        if node.op in NEURONS:
            self._call(function(node.op, False), [*taken, *self._drive(node)], results, name, **self._attributes(node))
        elif node.op == "Slice":
            self._node("Gather", [*taken, self._weight(node, "indices")], results, name, axis=1)
        elif node.op == "Place":
            length = math.prod(self.network.shape(node.inputs[0]))
            after = attributes["size"] - attributes["start"] - length
            pads = self._constant(f"{name}.pads", np.array([0, attributes["start"], 0, after], np.int64))
            self._node("Pad", [*taken, pads], results, name)
        elif node.op == "Image":
            channels, height, width = node.shape
            # By the order, never by the shape: an image may be as wide and high as it has channels.
            last = attributes["order"] == "HWC" and channels > 1
            stored = [0, height, width, channels] if last else [0, *node.shape]
            shape = self._constant(f"{name}.shape", np.array(stored, np.int64))
            self._node("Reshape", [*taken, shape], [f"{name}.hwc" if last else name], f"{name}.hwc" if last else name)
            if last:
                self._node("Transpose", [f"{name}.hwc"], results, name, perm=[0, 3, 1, 2])
        elif node.op == "Flatten":
            if (perm := LAYOUTS[attributes["order"]]) is not None:
                self._node("Transpose", taken, [f"{name}.hwc"], f"{name}.hwc", perm=perm)
                taken = [f"{name}.hwc"]
            self._node("Flatten", taken, results, name, axis=1)
        else:
            op_type = STATELESS[node.op].onnx or node.op
            if op_type == "Softmax":
                attributes["axis"] = -1
            if op_type == "Einsum":
                attributes["equation"] = PRODUCT
            self._node(
                op_type, [*taken, *(self._weight(node, key) for key in node.weights)], results, name, **attributes
            )

    def _drive(self, node: Node) -> list[str]:
        return [self._weight(node, key) for key in MODELS[node.op].drive]

    def _attributes(self, node: Node) -> dict[str, Any]:
        model = MODELS[node.op]
        attributes: dict[str, Any] = {name: float(node.attributes[name]) for name in model.parameters}
        return {**attributes, "dt": float(self.network.dt)} if model.states else attributes

    def _state(self, node: Node, state: str) -> str:
        name = self._weight(node, state)
        self._float_input(name, [f"{name}.batch", *node.shape])
        return name

    def _state_outputs(self) -> None:
        for node in self.ordered:
            for state in node.states:
                self._float_output(f"{node.name}.{state}_out", ["batch", *node.shape])

    def _expanded(self, node: Node, state: str) -> str:
        tail = self._constant("shape." + "x".join(map(str, node.shape)), np.array(node.shape, np.int64))
        self._node("Concat", ["batch.size", tail], [f"{state}.shape"], f"{state}.shape", axis=0)
        self._node("Expand", [state, f"{state}.shape"], [f"{state}.start"], f"{state}.start")
        return f"{state}.start"

    # --- protobuf

    def _node(self, op_type: str, taken: list[str], results: list[str], name: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op_type, taken, results, name=name, **attributes))

    def _call(
        self, body: onnx.FunctionProto, taken: list[str], results: list[str], name: str, **attributes: Any
    ) -> None:
        self.functions[body.name] = body
        self._node(body.name, taken, results, name, domain=DOMAIN, **attributes)

    def _weight(self, node: Node, key: str) -> str:
        return self._constant(f"{node.name}.{key}", node.weights[key])

    def _constant(self, name: str, array: np.ndarray) -> str:
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def _float_input(self, name: str, shape: list[int | str]) -> None:
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def _float_output(self, name: str, shape: list[int | str]) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
