"""A `SpikingNetwork` as NIR's graph. The mapping is in `nir.py`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import nir
import numpy as np

from ...errors import UnsupportedModel
from .network import Node, SpikingNetwork, unused
from .nir_read import KEY

MAX_MATRIX = 10_000_000
"""Entries of a matrix that stands for what NIR has no node for."""


def graph(network: SpikingNetwork) -> nir.NIRGraph:
    """The graph.

    Raises:
        UnsupportedModel: something NIR cannot hold; it is named.
    """
    writer = _Writer(network)
    for entry in network.inputs:
        writer.input(entry.name, entry.size)
    for node in network.nodes:
        writer.node(node)
    for output in network.outputs:
        shape = network.shape(output.source)
        if output.state:
            raise UnsupportedModel(f"NIR cannot hold output {output.name!r}: its outputs give no voltages.")
        writer.add(output.name, nir.Output({"output": np.array(shape)}), {}, [output.source])
    edges = [(writer.gives[source], key) for source, key in writer.edges]
    repeated = next((edge for edge in edges if edges.count(edge) > 1), None) if len(edges) < 1000 else None
    if repeated:
        raise UnsupportedModel(f"{repeated[1]!r} takes the same signal twice, which NIR cannot say: scale it by 2.")
    order = [*(e.name for e in network.inputs), *(n.name for n in network.nodes), *(o.name for o in network.outputs)]
    metadata = {
        "network": network.name, "dt": network.dt, "order": order, "seeds": network.seeds, "notes": network.notes,
        "metadata": network.metadata,
    }  # fmt: skip
    try:
        return nir.NIRGraph(writer.nodes, edges, {KEY: json.dumps(metadata)}, type_check=True)
    except ValueError as error:
        raise UnsupportedModel(f"The network does not make a sound NIR graph: {error}.") from error


def _refused(node: Node, why: str) -> UnsupportedModel:
    return UnsupportedModel(f"NIR cannot hold {node.op} ({node.name!r}): {why}.")


@dataclass
class _Writer:
    network: SpikingNetwork
    nodes: dict[str, nir.NIRNode] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    """(signal, NIR node)"""
    gives: dict[str, str] = field(default_factory=dict)
    """Signal -> the NIR node that gives it."""
    reordered: dict[str, list[int]] = field(default_factory=dict)
    """Signals flattened as HWC, which NIR flattens as CHW -> the image's shape."""

    def add(
        self, name: str, node: nir.NIRNode, metadata: dict[str, Any], sources: list[str], **arrays: np.ndarray
    ) -> str:
        """Add a NIR node under a key that HDF5 allows; its true name is in the metadata."""
        key = unused(name.replace("/", "_").strip(".") or "node", self.nodes)
        node.metadata = {KEY: json.dumps({"name": name} | metadata), **arrays}
        self.nodes[key] = node
        self.gives[name] = key
        self.edges += [(source, key) for source in sources]
        return key

    def input(self, name: str, size: int) -> None:
        users = [node for node in self.network.nodes if name in node.inputs]
        images = [node for node in users if node.op == "Image"]
        if not images:
            self.add(name, nir.Input({"input": np.array((size,))}), {}, [])
            return
        image = images[0]
        if len(users) > 1 or any(output.source == name for output in self.network.outputs):
            raise _refused(image, f"input {name!r} is used as an image and otherwise; NIR's inputs have one shape")
        metadata = {"image": image.name, "order": image.attributes["order"]}
        key = self.add(name, nir.Input({"input": np.array(image.shape)}), metadata, [])
        self.gives[image.name] = key

    def node(self, node: Node) -> None:
        if node.op == "Image":
            if node.name not in self.gives:
                raise _refused(node, "it has no node that makes an image of a computed signal")
            return
        writer = getattr(self, f"_{node.op.lower()}", None)
        if writer is None:
            raise _refused(node, "it has no such node; LIF neurons, weights, average pooling and delays it has")
        moved = [source for source in node.inputs if source in self.reordered]
        if moved and node.op != "Gemm":
            raise _refused(node, f"it takes {moved[0]!r}, an image flattened as HWC, which only a Gemm can sort out")
        writer(node)

    # --- stateless

    def _gemm(self, node: Node) -> None:
        weight = node.weights["weight"].T
        metadata: dict[str, Any] = {}
        (source,) = node.inputs
        if source in self.reordered:
            channels, height, width = metadata["image"] = self.reordered[source]
            metadata["op"] = "Gemm"
            weight = weight.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(weight.shape)
        self._linear(node, weight, node.weights.get("bias"), metadata)

    def _linear(self, node: Node, weight: np.ndarray, bias: np.ndarray | None, metadata: dict[str, Any]) -> None:
        weight = np.ascontiguousarray(weight)
        made = nir.Linear(weight) if bias is None else nir.Affine(weight, bias)
        self.add(node.name, made, metadata, list(node.inputs))

    def _conv(self, node: Node) -> None:
        strides, pads, group = (node.attributes[name] for name in ("strides", "pads", "group"))
        if pads[:2] != pads[2:]:
            raise _refused(node, f"its padding is uneven ({pads})")
        weight, bias = node.weights["weight"], node.weights.get("bias")
        made = nir.Conv2d(input_shape=self.network.shape(node.inputs[0])[1:], weight=weight, stride=tuple(strides),
            padding=tuple(pads[:2]), dilation=(1, 1), groups=group,
            bias=np.zeros(weight.shape[0], np.float32) if bias is None else bias,
        )  # fmt: skip
        # nir takes the width of the kernel for its height, and the group's channels for all.
        made.input_type = {"input": np.array(self.network.shape(node.inputs[0]))}
        made.output_type = {"output": np.array(node.shape)}
        self.add(node.name, made, {"bias": bias is not None}, list(node.inputs))

    def _averagepool(self, node: Node) -> None:
        if any(node.attributes["pads"]):
            raise _refused(node, "its padding does not count in the average, which NIR does not say")
        kernel, strides = np.array(node.attributes["kernel_shape"]), np.array(node.attributes["strides"])
        self.add(node.name, nir.AvgPool2d(kernel, strides, np.array((0, 0))), {}, list(node.inputs))

    def _flatten(self, node: Node) -> None:
        (source,) = node.inputs
        shape = self.network.shape(source)
        order = node.attributes["order"]
        if order == "HWC" and shape[0] > 1 and shape[1] * shape[2] > 1:
            self.reordered[node.name] = list(shape)
            if any(output.source == node.name for output in self.network.outputs):
                raise _refused(node, "it is an output flattened as HWC, and NIR flattens as CHW")
        made = nir.Flatten({"input": np.array(shape)}, 0, -1)
        self.add(node.name, made, {"op": "Flatten", "attributes": {"order": order}}, [source])

    def _scale(self, node: Node) -> None:
        weight = node.weights["weight"]
        metadata = {"op": "Scale", "shapes": {"weight": list(weight.shape)}}
        self.add(node.name, nir.Scale(_whole(weight, node.shape)), metadata, list(node.inputs))

    def _sum(self, node: Node) -> None:
        self.add(node.name, nir.Scale(np.ones(node.shape, np.float32)), {"op": "Sum"}, list(node.inputs))

    def _bias(self, node: Node) -> None:
        bias = node.weights["bias"]
        self._small(node, node.size**2)
        if len(node.shape) > 1:
            raise _refused(node, "it adds a constant to an image; give the convolution before it a bias")
        metadata = {"op": "Bias", "shapes": {"bias": list(bias.shape)}}
        self._linear(node, np.eye(node.size, dtype=np.float32), _whole(bias, node.shape), metadata)

    def _slice(self, node: Node) -> None:
        (size,) = self.network.shape(node.inputs[0])
        self._small(node, size * node.size)
        matrix = np.zeros((node.size, size), np.float32)
        matrix[np.arange(node.size), node.weights["indices"]] = 1
        self._linear(node, matrix, None, {"op": "Slice"})

    def _place(self, node: Node) -> None:
        (size,) = self.network.shape(node.inputs[0])
        self._small(node, size * node.size)
        matrix = np.eye(node.size, size, -node.attributes["start"], dtype=np.float32)
        self._linear(node, matrix, None, {"op": "Place", "attributes": node.attributes})

    def _small(self, node: Node, count: int) -> None:
        if count > MAX_MATRIX:
            raise _refused(node, f"the matrix that stands for it would have {count:,} entries")

    # --- with state

    def _lif(self, node: Node) -> None:
        attributes, ones = node.attributes, np.ones(node.shape, np.float32)
        made = nir.LIF(tau=ones * np.float32(attributes["tau_rc"]), r=_whole(node.weights["gain"], node.shape),
            v_leak=_whole(node.weights["bias"], node.shape), v_threshold=ones, v_reset=ones * 0,
        )  # fmt: skip
        shapes = {key: [*node.weights[key].shape] for key in ("gain", "bias")}
        states = {state: node.weights[state] for state in node.states}
        spikes = self.add(
            node.name, made, {"op": "LIF", "attributes": attributes, "shapes": shapes}, list(node.inputs), **states
        )
        # NIR's spikes are ones, Nengo's amplitude / dt.
        amplitude = np.float32(attributes["amplitude"]) / np.float32(self.network.dt)
        name = f"{node.name}.amplitude"
        self.gives[node.name] = self.add(name, nir.Scale(ones * amplitude), {"op": "amplitude"}, [name])
        self.gives[name] = spikes

    def _leakyintegrateandfire(self, node: Node) -> None:
        self._leaky(node, "LIF", "IF")

    def _leakyintegrator(self, node: Node) -> None:
        self._leaky(node, "LI", "I")

    def _leaky(self, node: Node, leaky: str, perfect: str) -> None:
        """Euler's step undone: decay = 1 - dt/tau."""
        weights = {key: _whole(node.weights[key], node.shape) for key in node.weights if key not in node.states}
        share, dt = 1 - weights["decay"].astype(np.float64), self.network.dt
        fields = {}
        if leaky == "LIF":
            fields = {"v_threshold": weights["threshold"], "v_reset": weights["reset"] * (1 - node.attributes["keep"])}
        if (share > 0).all():
            physics = {"tau": dt / share, "r": weights["gain"] / share, "v_leak": weights["bias"] / share}
            made = getattr(nir, leaky)(**{key: value.astype(np.float32) for key, value in physics.items()}, **fields)
        elif not share.any() and not weights["bias"].any():
            made = getattr(nir, perfect)(r=(weights["gain"] / dt).astype(np.float32), **fields)
        else:
            raise _refused(
                node, "some of its neurons leak and others do not, or have a constant current without a leak"
            )
        metadata = {"op": node.op, "attributes": node.attributes}
        self.add(node.name, made, metadata, list(node.inputs), **node.weights)

    def _lowpass(self, node: Node) -> None:
        metadata = {"op": "Lowpass", "attributes": node.attributes}
        ones, tau = np.ones(node.shape, np.float32), np.float32(node.attributes["tau"])
        made = nir.LI(tau=ones * tau, r=ones, v_leak=ones * 0) if tau else nir.Delay(ones * np.float32(self.network.dt))
        self.add(node.name, made, metadata, list(node.inputs), level=node.weights["level"])

    def _alpha(self, node: Node) -> None:
        metadata = {"op": "Alpha", "attributes": node.attributes}
        ones = np.ones(node.shape, np.float32)
        tau = ones * np.float32(node.attributes["tau"])
        made = nir.CubaLI(tau_syn=tau, tau_mem=tau.copy(), r=ones, v_leak=ones * 0, w_in=ones)
        self.add(node.name, made, metadata, list(node.inputs), **{state: node.weights[state] for state in node.states})


def _whole(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One value per number of the signal."""
    return np.ascontiguousarray(np.broadcast_to(array, (1, *shape))[0])
