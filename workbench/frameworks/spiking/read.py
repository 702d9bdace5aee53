"""An ONNX file that `write` made, or one laid out like it, as a spiking network.

The graph itself is read, not a copy of the network kept beside it: what somebody changes in the file is what comes
back. Files of other makers are read in `foreign.py`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...errors import BadInput, UnreadableFile, UnsupportedModel
from ...safety import external
from .arrays import decimal
from .check import check, sound
from .network import Input, Node, Output, SpikingNetwork, result_shape
from .neurons import DELAYED, MODELS, NEURONS
from .operators import DOMAIN, SHOWN
from .stateless import STATELESS
from .write import METADATA, PRODUCT

_SAME_NAME = {operator.onnx: op for op, operator in STATELESS.items() if operator.onnx}


def is_ours(model: onnx.ModelProto) -> bool:
    """Whether `read` knows this layout: its time is folded by ``FoldTime`` or by one Scan called ``time``."""
    return any(_is_fold(node) or _is_time(node) for node in model.graph.node)


def is_our_file(path: str) -> bool:
    """`is_ours` of a file."""
    return is_ours(load(path))


def read(source: str | os.PathLike[str] | onnx.ModelProto) -> SpikingNetwork:
    """The network in an ONNX file.

    Raises:
        UnreadableFile: the file is missing or damaged.
        UnsupportedModel: an operator that no network here has, named; or not a file of this layout.
        BadInput: a neuron without its parameters, or with another dt than the rest.
    """
    model = source if not isinstance(source, str | os.PathLike) else load(source)
    if not is_ours(model):
        raise UnsupportedModel(
            f"{model.graph.name or 'The model'} does not keep time as the workbench's spiking networks do (a FoldTime "
            "or Scan around the network); expected a file that convert() made from Nengo."
        )
    what = f"{model.graph.name or 'The model'} is laid out like a spiking network of the workbench, but damaged"
    with sound(what, "write it again with convert()"):
        network = _Reader(model).read()
    check(network)
    return network


def load(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """`onnx.load`, with one sentence for what goes wrong.

    Raises:
        UnreadableFile: missing or damaged.
        UnsupportedModel: its weights are in files that are not its own.
    """
    external.check(Path(path))
    try:
        return onnx.load(os.fspath(path))
    except Exception as error:  # of protobuf, the system, or a missing data file
        reason = " ".join(str(error).split())[:200]
        raise UnreadableFile(f"{os.fspath(path)} cannot be read as an ONNX model: {reason}.") from error


def values(tensor: onnx.TensorProto) -> np.ndarray:
    """An initializer's numbers.

    Raises:
        UnreadableFile: the file holds fewer or more than its shape says, or of a type nobody knows.
    """
    if any(length < 0 for length in tensor.dims):
        raise UnreadableFile(f"Initializer {tensor.name!r} has the shape {tuple(tensor.dims)}: no length is negative.")
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # KeyError of an unknown type, ValueError of a wrong shape, and what else onnx meets
        raise UnreadableFile(
            f"Initializer {tensor.name!r} of shape {tuple(tensor.dims)} cannot be read: {error}."
        ) from error


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """{name: value}"""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def refused(node: onnx.NodeProto, reason: str) -> UnsupportedModel:
    """The error for an ONNX node: ``Operator Conv ('conv1') <reason>.``"""
    operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    return UnsupportedModel(f"Operator {operator} ({node.name or node.output[0]!r}) {reason}.")


def _is_fold(node: onnx.NodeProto) -> bool:
    return node.domain == DOMAIN and node.op_type == "FoldTime"


def _is_time(node: onnx.NodeProto) -> bool:
    return node.domain == "" and node.op_type == "Scan" and node.name == "time"


_AXES = {"Slice": (0, 1), "Flatten": (1, 1), "Softmax": (-1, -1)}
"""op -> the axis of a node that names none, and the only one it may work along."""


@dataclass
class _Reader:
    model: onnx.ModelProto
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    signals: dict[str, str] = field(default_factory=dict)
    """ONNX tensor -> the network's signal it holds."""
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)
    """Node -> its dt."""
    dynamic: dict[str, str] = field(default_factory=dict)
    """Node of a neuron or synapse -> its op."""

    def read(self) -> SpikingNetwork:
        graph = self.model.graph
        self.constants = {tensor.name: values(tensor) for tensor in graph.initializer}
        inputs = [
            Input(value.name, value.type.tensor_type.shape.dim[2].dim_value)
            for value in graph.input
            if value.name not in self.constants
        ]
        self.shapes = {entry.name: (entry.size,) for entry in inputs}
        scan = next((node for node in graph.node if _is_time(node)), None)
        if scan is None:
            for node in filter(_is_fold, graph.node):
                self.signals[node.output[0]] = node.input[0]
            body = [node for node in graph.node if not _is_fold(node)]
            ends = {node.output[0]: node.input[0] for node in body if node.op_type == "UnfoldTime"}
            body = [node for node in body if node.op_type != "UnfoldTime"]
        else:
            step = next(attribute.g for attribute in scan.attribute if attribute.name == "body")
            self.signals = {f"{entry.name}.now": entry.name for entry in inputs}
            body = [node for node in step.node if node.op_type != "Identity"]
            ends = {
                node.output[0].removesuffix(".now"): node.input[0] for node in step.node if node.op_type == "Identity"
            }
            for node in body:
                if node.domain == DOMAIN and (model := DELAYED.get(node.op_type.removesuffix("Cell"))):
                    gives = f"{node.name}.{model.states[-1]}"
                    self.signals |= {f"{gives}_now": node.name, f"{gives}_next": node.name}
        nodes = [made for node in self._joined(body) if (made := self._node(node)) is not None]
        outputs = [self._output(value.name, ends[value.name]) for value in graph.output if value.name in ends]
        metadata = self._metadata()
        return SpikingNetwork(
            graph.name,
            self._dt(metadata),
            inputs,
            self._shaped(nodes),
            outputs,
            _seeds(metadata.get("seeds")),
            metadata={entry.key: entry.value for entry in self.model.metadata_props if entry.key != METADATA},
            homes=_homes(metadata.get("networks"), {*(entry.name for entry in inputs), *(node.name for node in nodes)}),
        )

    # --- nodes

    def _joined(self, body: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Without the Transpose and Reshape that stand before the nodes they belong to."""
        out = []
        for node in body:
            if node.name.endswith(".hwc") and node.op_type in ("Transpose", "Reshape"):
                self.signals[node.output[0]] = self.signals.get(node.input[0], node.input[0])
            else:
                out.append(node)
        return out

    def _output(self, name: str, tensor: str) -> Output:
        """A probe of a tensor: of a node's result, or of a state after each step."""
        for node, op in self.dynamic.items():
            for state in MODELS[op].states if tensor.startswith(f"{node}.") and op in NEURONS else ():
                if tensor in (f"{node}.{state}_shown", f"{node}.{state}_next"):
                    return Output(name, node, state)
        return Output(name, self._signal(tensor))

    def _signal(self, tensor: str) -> str:
        return self.signals.get(tensor, tensor)

    def _node(self, node: onnx.NodeProto) -> Node | None:
        stored = attributes_of(node)
        name = node.name or node.output[0]
        self.signals[node.output[0]] = name
        if node.domain == DOMAIN:
            return self._dynamic(node, name, stored)
        op = _SAME_NAME.get(node.op_type, node.op_type)
        if node.op_type == "Transpose" and stored.get("perm") == [0, 3, 1, 2] and node.input[0].endswith(".hwc"):
            op = "Image"
        if node.domain or op not in STATELESS:
            where = f"{node.domain}:" if node.domain else ""
            raise UnsupportedModel(
                f"Node {name!r} is a {where}{node.op_type}, which a spiking network here has no counterpart for; it "
                f"may hold: {', '.join(STATELESS)}, and neurons and synapses of {DOMAIN}."
            )
        weights, taken = {}, list(node.input)
        for key, tensor in zip(STATELESS[op].weights, node.input[1:], strict=False):
            weights[key] = self._constant(name, tensor)
        if weights or op in ("Place", "Image"):
            taken = taken[:1]
        attributes: dict[str, Any] = {}
        if op in _AXES and (axis := stored.get("axis", _AXES[op][0])) != _AXES[op][1]:
            raise UnsupportedModel(f"Node {name!r} ({node.op_type}) works along axis {axis}, not {_AXES[op][1]}.")
        if op == "Place":
            pads = self._constant(name, node.input[1])
            if stored or len(node.input) > 2 or pads.shape != (4,) or pads[0] or pads[2]:
                raise UnsupportedModel(f"Node {name!r} (Pad) does more than put zeros around a flat signal.")
            attributes = {"start": int(pads[1]), "size": int(pads[3])}
        elif op == "Image":
            attributes = {"order": "HWC" if node.op_type == "Transpose" else "CHW"}
            weights["shape"] = self._constant(name, f"{name}.shape")
        elif op == "Flatten":
            attributes = {"order": "HWC" if node.input[0].endswith(".hwc") else "CHW"}
        elif op == "Product":
            if stored.get("equation") != PRODUCT.encode():
                raise UnsupportedModel(f"Node {name!r} (Einsum) does something else than {PRODUCT}.")
        elif op not in ("Slice", "Softmax"):
            attributes = {key: decimal(value) if isinstance(value, float) else value for key, value in stored.items()}
            if op == "Conv":
                attributes = {"strides": [1, 1], "pads": [0] * 4, "group": 1} | attributes
        return Node(op, name, tuple(self._signal(tensor) for tensor in taken), (), weights, attributes)

    def _dynamic(self, node: onnx.NodeProto, name: str, stored: dict[str, Any]) -> Node:
        cell = node.op_type.endswith("Cell")
        op = node.op_type.removesuffix("Cell").partition(SHOWN)[0]
        self.dynamic[name] = op
        model = MODELS.get(op)
        if model is None:
            raise UnsupportedModel(
                f"Node {name!r} is a {DOMAIN}:{node.op_type}, a neuron this version does not know; it knows: "
                f"{', '.join(MODELS)}."
            )
        if odd := [key for key in (*model.parameters, "dt") if not isinstance(stored.get(key, 0.0), float)]:
            raise BadInput(f"Neuron node {name!r} ({op}) has {odd[0]} {stored[odd[0]]!r}; expected a float.")
        if missing := [key for key in model.parameters if key not in stored]:
            raise BadInput(
                f"Neuron node {name!r} ({op}) says nothing of {', '.join(missing)}; each must be an attribute of it."
            )
        if model.states:
            self.steps[name] = float(stored.get("dt", 0.0))
        keys = [*model.drive, *model.states]
        taken = len(model.takes)
        first = taken if cell or not model.states else taken + 1
        tensors = node.input[first:]
        if len(tensors) != len(keys):
            raise BadInput(f"Neuron node {name!r} ({op}) has {len(tensors)} parameters, not {', '.join(keys)}.")
        weights = {
            key: self._constant(name, f"{name}.{key}" if cell and key in model.states else tensor)
            for key, tensor in zip(keys, tensors, strict=True)
        }
        attributes = {key: decimal(stored[key]) for key in model.parameters}
        return Node(op, name, tuple(self._signal(tensor) for tensor in node.input[:taken]), (), weights, attributes)

    def _constant(self, name: str, tensor: str) -> np.ndarray:
        if tensor not in self.constants:
            raise BadInput(f"Node {name!r} needs the values of {tensor!r}, which the file computes instead of storing.")
        return self.constants[tensor]

    # --- shapes

    def _shaped(self, nodes: list[Node]) -> list[Node]:
        """The nodes with their shapes: of a synapse or a neuron its state's, of the others by their inputs."""
        for node in nodes:
            if node.states:
                node.shape = tuple(int(length) for length in node.weights[node.states[-1]].shape[1:])
                self.shapes[node.name] = node.shape
        known = {*self.shapes, *(node.name for node in nodes)}
        for node in nodes:
            if lost := [name for name in node.inputs if name not in known]:
                raise UnreadableFile(f"Node {node.name!r} takes {lost[0]!r}, which nothing in the file gives.")
        inputs = [Input(name, 1) for name in self.shapes]  # and synapses and neurons, whose shapes are known
        for node in SpikingNetwork("", 1.0, inputs, nodes, []).ordered():
            if not node.shape:
                taken = self.shapes[node.inputs[0]]
                node.shape = _shape(node, taken)
                self.shapes[node.name] = node.shape
        return nodes

    # --- what no node says

    def _metadata(self) -> dict[str, Any]:
        text = next((entry.value for entry in self.model.metadata_props if entry.key == METADATA), "{}")
        try:
            metadata = json.loads(text)
        except (ValueError, RecursionError):
            metadata = {}
        return metadata if isinstance(metadata, dict) else {}

    def _dt(self, metadata: dict[str, Any]) -> float:
        found = {decimal(dt) for dt in self.steps.values()}
        if len(found) > 1:
            odd = ", ".join(f"{name}: {decimal(dt)} s" for name, dt in list(self.steps.items())[:4])
            raise BadInput(f"The network's nodes disagree about dt, the length of a step: {odd}; all must have one.")
        dt = next(iter(found), metadata.get("dt", 0.001))
        if not isinstance(dt, int | float) or not dt > 0:
            raise BadInput(f"The network's dt is {dt!r}; expected seconds per step, such as 0.001.")
        return float(dt)


def _seeds(seeds: Any) -> dict[str, int]:
    """Those of `seeds` that Nengo takes for seeds: they are for the record, and a wrong one spoils no file."""
    pairs = seeds.items() if isinstance(seeds, dict) else ()
    return {label: seed for label, seed in pairs if type(seed) is int and 0 <= seed < 2**32}


def _homes(homes: Any, names: set[str]) -> dict[str, tuple[str, ...]]:
    """Those of `homes` that say where one of `names` is: for the record, too."""
    pairs = homes.items() if isinstance(homes, dict) else ()
    return {
        name: tuple(path)
        for name, path in pairs
        if name in names and isinstance(path, list) and 0 < len(path) <= MOST_NESTED and all(map(_is_label, path))
    }


MOST_NESTED = 50
"""Subnetworks within each other."""


def _is_label(label: Any) -> bool:
    return isinstance(label, str) and bool(label)


def _shape(node: Node, taken: tuple[int, ...]) -> tuple[int, ...]:
    if node.op == "Image":
        shape = [int(length) for length in node.weights.pop("shape")[1:]]
        if node.attributes["order"] == "HWC":
            return (shape[2], shape[0], shape[1])
        # One channel reads the same both ways; a writer that says HWC means it.
        node.attributes["order"] = "HWC" if shape[0] == 1 else "CHW"
        return tuple(shape)
    if node.op == "Place":
        node.attributes["size"] += node.attributes["start"] + taken[0]
    return tuple(int(length) for length in result_shape(node, taken))
