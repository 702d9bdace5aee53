"""A spiking network as a ``nengo.Network`` that runs in ``nengo.Simulator`` and ``nengo_dl.Simulator``.

Each node of the network becomes one Nengo object of that label: neurons an Ensemble, everything else a passthrough
Node, with the weights on the Connection into it. Some nodes need no object, since `from_nengo` finds them again:

- a matrix ``<ensemble>.encode`` into neurons of gain 1 is the ensemble's encoders, so that Nengo GUI shows its value;
- decoders and synapse of a connection into such an ensemble are one Connection, and its sum is the ensemble's own;
- a synapse that only feeds an output is its probe's;
- ``<signal>.image`` and ``<signal>.flatten`` change nothing: Nengo's signals are vectors, in which an image lies as
  the network's Image node says.

Operators that no linear connection expresses (pooling, Relu …) become a Node that calls an `Operation`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import nengo
import numpy as np

from ...errors import UnsupportedModel
from .arrays import decimal, reordered, same_pads, to_vector
from .filters import linear_filter
from .network import Node, Output, SpikingNetwork
from .neurons import AT_ONCE, NEURONS, RULES, SYNAPSES
from .operation import Operation

_LINEAR = ("Conv", "Gemm", "Scale", "Bias", "Sum", "Slice", "Place", "Image", "Flatten", "Product", *SYNAPSES)


def to_nengo(
    source: str | os.PathLike[str] | SpikingNetwork, params: str | os.PathLike[str] | None = None, **reading: Any
) -> nengo.Network:
    """The Nengo network in a file. It runs with the file's dt: ``nengo.Simulator(net, dt=net.spiking_network.dt)``.

    Args:
        source: an .onnx or .nir file that holds a spiking network.
        params: the NengoDL .npz with the weights, for a file of the paper's authors.
        reading: of a .nir file, what it does not tell: ``dt``, ``framework`` …, see `workbench.read_nir`.

    Returns:
        The network, with ``inputs`` {name: Node}, whose output is yours to set, ``outputs`` {name: Probe}, ``layers``
        {name: what to probe for a node's result; images as (height, width, channel)}, and ``spiking_network``, the
        description it was made from.

    Raises:
        UnreadableFile, BadInput: see `workbench.frameworks.spiking.load.load_network`.
        UnsupportedModel: the file holds no spiking network, or a synapse that does not start from zero.
    """
    if not isinstance(source, SpikingNetwork):
        from .load import load_network

        source = load_network(source, params, **reading)
    return made_for("nengo", source)


def made_for(simulator: str, network: SpikingNetwork) -> nengo.Network:
    """`to_nengo` for one of both simulators, ``nengo`` or ``nengo_dl``: a neuron that starts refractory is so for one
    step more in the other."""
    return _Writer(network, simulator).write()


@dataclass
class _Link:
    """A connection to make: from the signal `source`, through the weights of `weighted` and a synapse, if any."""

    source: str
    weighted: Node | None = None
    synapse: Node | None = None
    label: str | None = None


@dataclass
class _Learning:
    """A learning rule, the product of its weights and a signal, and the synapses that are part of its connection."""

    rule: Node
    product: Node
    synapses: dict[str, Node] = field(default_factory=dict)


@dataclass
class _Writer:
    network: SpikingNetwork
    simulator: str = "nengo"
    nodes: dict[str, Node] = field(default_factory=dict)
    users: dict[str, list[str]] = field(default_factory=dict)
    """Signal -> the nodes and outputs that take it."""
    orders: dict[str, str] = field(default_factory=dict)
    """Image signal -> how it lies in Nengo's vector."""
    objects: dict[str, Any] = field(default_factory=dict)
    """Signal -> the Nengo Node or Neurons that gives it."""
    same: dict[str, str] = field(default_factory=dict)
    """Signal -> the one whose vector is the same."""
    hidden: set[str] = field(default_factory=set)
    """Nodes whose work a Connection, an Ensemble or a Probe does beside its own."""
    encoders: dict[str, Node] = field(default_factory=dict)
    """Neurons -> the Gemm that is their encoders."""
    arriving: dict[str, list[_Link]] = field(default_factory=dict)
    """Neurons with encoders -> what to connect to them."""
    probed: dict[str, Node] = field(default_factory=dict)
    """Output -> its synapse."""
    taught: dict[str, _Learning] = field(default_factory=dict)
    """Product, or neurons -> the learning rule of the connection that ends there."""
    networks: dict[tuple[str, ...], nengo.Network] = field(default_factory=dict)
    """Names from the outermost -> that subnetwork."""

    def write(self) -> nengo.Network:
        network = self.network
        nodes = network.ordered()
        self.nodes = {node.name: node for node in nodes}
        for node in nodes:
            for name in node.inputs:
                self.users.setdefault(name, []).append(node.name)
        for output in network.outputs:
            self.users.setdefault(output.source, []).append("")
        self._choose(nodes)
        with nengo.Network(label=network.name, seed=network.seeds.get("")) as net:
            self.networks[()] = net
            for entry in network.inputs:
                with self._home(entry.name):
                    self.objects[entry.name] = nengo.Node(np.zeros(entry.size), label=entry.name)
            inputs = dict(self.objects)
            for node in nodes:
                if node.name not in self.hidden and node.name not in self.same:
                    with self._home(node.name):
                        self.objects[node.name] = self._object(node)
            for name in self.same:
                self.objects[name] = self.objects[self._origin(name)]
            for node in nodes:
                if node.name not in self.hidden and node.name not in self.same:
                    with self._home(node.name):
                        self._connect(node)
            outputs = {output.name: self._probe(output) for output in network.outputs}
            layers = {name: self._in_order(name, "HWC") for name in self.nodes if name in self.objects}
        net.inputs, net.outputs, net.layers, net.spiking_network = inputs, outputs, layers, network
        return net

    # --- what gets an object

    def _choose(self, nodes: list[Node]) -> None:
        for node in nodes:
            if node.op in RULES:
                self._choose_rule(node)
            if len(node.shape) == 3:
                self.orders[node.name] = self._order(node)
        for output in self.network.outputs:
            synapse = self._only_for(output.source, "")
            if synapse is None or synapse.op not in SYNAPSES or len(synapse.shape) != 1:
                continue
            if synapse.name == f"{output.name}.{synapse.op.lower()}":
                self.probed[output.name] = synapse
                self.hidden.add(synapse.name)
        for node in nodes:
            first = node.inputs[0]
            if node.op in ("Image", "Flatten") and node.name == f"{first}.{node.op.lower()}":
                same_order = node.attributes["order"] == self.orders.get(first, node.attributes["order"])
                if same_order and all(map(self._says_shape, self.users.get(node.name, ()))):
                    self.same[node.name] = first
            elif node.op in NEURONS and (encode := self._only_for(first, node.name)) is not None:
                plain = encode.op == "Gemm" and "bias" not in encode.weights and encode.name == f"{node.name}.encode"
                if plain and (node.weights["gain"] == 1).all():
                    self._encode(node.name, encode)

    def _choose_rule(self, rule: Node) -> None:
        """A rule, and the synapses of what it learns from, become part of a connection."""
        users = [self.nodes.get(user) for user in self.users.get(rule.name, ())]
        product = users[0] if len(users) == 1 else None
        if product is None or product.op != "Product" or product.inputs[0] != rule.name:
            raise self._unlearnt(rule, "its weights have other uses than one product")
        made = _Learning(rule, product)
        ends = dict(zip(RULES[rule.op].takes, rule.inputs, strict=True))
        for key, end in ends.items():
            synapse = self._only_for(end, rule.name)
            if key in AT_ONCE and synapse is not None and synapse.op in SYNAPSES:
                made.synapses[key], ends[key] = synapse, synapse.inputs[0]
        pre, post = ends.get("activities", ends.get("pre")), ends.get("post", product.name)
        if rule.op == "Voja":
            pre, post = ends["value"], ends["activities"]
        if pre != product.inputs[1] or ends.get("threshold", post) != post:
            raise self._unlearnt(rule, "it learns from something else than its weights stand between")
        if rule.op != "Voja" and (pre not in self.nodes or self.nodes[pre].op not in NEURONS):
            raise self._unlearnt(rule, "its weights come after something else than neurons")
        if rule.op != "PES":
            # Nengo's rule knows the neurons by its connection, which ends at them.
            neurons = self.nodes.get(post)
            if neurons is None or not self._ends_at(neurons, made):
                raise self._unlearnt(rule, "something else stands between its weights and the neurons after them")
            self.hidden.add(product.name)
        self.taught[product.name if rule.op == "PES" else post] = made
        self.hidden |= {rule.name, *(synapse.name for synapse in made.synapses.values())}

    def _ends_at(self, neurons: Node, made: _Learning) -> bool:
        """Whether the weights of a rule end at neurons alone: as their encoders; or through a synapse, which is noted,
        and beside others."""
        if made.rule.op == "Voja":
            last = self._only_for(neurons.inputs[0], neurons.name)
            return last is made.product and neurons.op in NEURONS and bool((neurons.weights["gain"] == 1).all())
        user = self.users.get(made.product.name, [""])
        if len(user) == 1 and user[0] in self.nodes and self.nodes[user[0]].op in SYNAPSES:
            made.synapses["synapse"] = self.nodes[user[0]]
            user = self.users.get(user[0], [""])
        if len(user) == 1 and user[0] in self.nodes and self.nodes[user[0]].op == "Sum":
            user = self.users.get(user[0], [""])
        return user == [neurons.name] and neurons.op in NEURONS

    def _unlearnt(self, rule: Node, reason: str) -> UnsupportedModel:
        return UnsupportedModel(
            f"{rule.name!r} learns by {rule.op} in a way that Nengo has no connection for ({reason}): run it in ONNX "
            "Runtime."
        )

    def _learning(self, made: _Learning, post: Any) -> None:
        """A connection whose weights learn, or the encoders it ends at, with what its rule is told."""
        rule = made.rule
        kind: dict[str, Any] = {"learning_rate": rule.attributes["learning_rate"]}
        if rule.op == "Oja":
            kind["beta"] = rule.attributes["beta"]
        named = {"activities": "post_synapse" if rule.op == "Voja" else "pre_synapse", "threshold": "theta_synapse"}
        for key in AT_ONCE:
            if key in RULES[rule.op].takes:
                synapse = made.synapses.get(key)
                kind[named.get(key, f"{key}_synapse")] = None if synapse is None else _synapse(synapse)
        said: dict[str, Any] = {}
        if rule.op == "Voja":
            post = post.ensemble
        else:
            weights = rule.weights["weights"][0].astype(float)
            said["transform"] = nengo.Dense(weights.shape, init=weights)
            if rule.op != "PES":
                said["label"] = made.product.name
        between = made.synapses.get("synapse")
        connection = nengo.Connection(
            self._in_order(made.product.inputs[1], None),
            post,
            synapse=None if between is None else _synapse(between),
            learning_rule_type=RULES[rule.op].nengo_class()(**kind),
            **said,
        )
        if rule.op in ("PES", "Voja"):
            _connection(self._in_order(rule.inputs[0], None), connection.learning_rule)
        if rule.op == "Voja":  # to whose signal Nengo adds 1
            _connection(nengo.Node([-1.0], label=f"{rule.name}.bias"), connection.learning_rule)

    def _says_shape(self, user: str) -> bool:
        """Whether `from_nengo` sees by its user alone that a signal is an image, or flat; outputs are flat."""
        node = self.nodes.get(user)
        if node is None or user in self.hidden or node.op in ("Gemm", "Slice", "Place", "Conv", "Product"):
            return True
        return node.op not in NEURONS and not self._is_linear(node)

    def _order(self, node: Node) -> str:
        seen = []
        while node.op != "Image" and node.name not in seen:
            seen.append(node.name)
            node = self.nodes[node.inputs[0]]
        return str(node.attributes.get("order", "HWC"))

    def _encode(self, name: str, encode: Node) -> None:
        self.encoders[name] = encode
        self.hidden.add(encode.name)
        last, parts = encode, encode.inputs
        total = self._only_for(parts[0], encode.name)
        if total is not None and total.op == "Sum" and total.name == f"{name}.sum":
            self.hidden.add(total.name)
            last, parts = total, total.inputs
        self.arriving[name] = [self._arrival(part, last.name) for part in parts]

    def _arrival(self, name: str, user: str) -> _Link:
        """The connection that brings a signal to an ensemble, with the weights and synapse that make the signal."""
        link, node = _Link(name), self._only_for(name, user)
        if node is not None and node.op in SYNAPSES:
            link = _Link(node.inputs[0], None, node, name)
            self.hidden.add(name)
            node = self._only_for(link.source, name)
            if node is None or name != f"{node.name}.{link.synapse.op.lower()}":  # type: ignore[union-attr]
                return link
        if node is not None and node.op == "Gemm" and "bias" not in node.weights:
            link = _Link(node.inputs[0], node, link.synapse, node.name)
            self.hidden.add(node.name)
        return link

    def _only_for(self, name: str, user: str) -> Node | None:
        """The node of that name, if nothing but `user` takes its result."""
        return self.nodes.get(name) if self.users.get(name) == [user] else None

    # --- objects

    def _home(self, name: str) -> nengo.Network:
        """The subnetwork that an input or node is in, made where it is the first."""
        path = self.network.homes.get(name, ())
        for depth in range(1, len(path) + 1):
            if path[:depth] not in self.networks:
                with self.networks[path[: depth - 1]]:
                    self.networks[path[:depth]] = nengo.Network(label=path[depth - 1])
        return self.networks[path]

    def _object(self, node: Node) -> Any:
        if node.op in NEURONS:
            gain, encoders = self._spread(node, "gain"), np.ones((node.size, 1))
            learning = self.taught.get(node.name)
            if learning is not None and learning.rule.op == "Voja":
                # Whose goal is as long as a gain.
                gain = learning.rule.weights["scale"][:, 0].astype(float)
                encoders = learning.rule.weights["weights"][0].astype(float) / gain[:, None]
            if node.name in self.encoders:
                # Nengo wants unit vectors times gains; powers of two split them without rounding.
                encoders = self.encoders[node.name].weights["weight"].T.astype(float)
                lengths = np.linalg.norm(encoders, axis=1)
                gain = np.exp2(np.ceil(np.log2(lengths, out=np.zeros_like(lengths), where=lengths > 0)))
                encoders = encoders / gain[:, None]
            return nengo.Ensemble(
                node.size,
                encoders.shape[1],
                neuron_type=self._neuron_type(node),
                gain=gain,
                bias=self._spread(node, "bias"),
                encoders=encoders,
                normalize_encoders=False,
                label=node.name,
                seed=self.network.seeds.get(node.name),
            ).neurons
        if self._is_linear(node):
            return nengo.Node(size_in=node.size, label=node.name)
        taken = self._shape(node)
        operation = Operation(node, taken, self.orders.get(node.inputs[0]))
        return nengo.Node(operation, size_in=int(np.prod(taken)), size_out=node.size, label=node.name)

    def _neuron_type(self, node: Node) -> Any:
        model = NEURONS[node.op]
        parameters: dict[str, Any] = {key: decimal(value) for key, value in node.attributes.items()}
        start = {state: self._spread(node, state) for state in model.states}
        if "refractory_time" in start and self.simulator == "nengo":  # which takes the first step off before it looks
            left = start["refractory_time"]
            start["refractory_time"] = np.where(left > 0, left + self.network.dt, 0)
        if model.base:
            base = {
                key.removeprefix("base_"): parameters.pop(key) for key in node.attributes if key.startswith("base_")
            }
            parameters["base_type"] = NEURONS[model.base].nengo_class()(**base)
        parameters |= {key: self._spread(node, key) for key in model.weights}
        return model.nengo_class()(**parameters, initial_state=start or None)

    def _is_linear(self, node: Node) -> bool:
        """Whether a Nengo connection does it."""
        if node.op == "Slice":
            return len(set(node.weights["indices"].tolist())) == node.size
        return node.op in _LINEAR and (node.op != "Conv" or self._padding(node) is not None)

    def _padding(self, node: Node) -> str | None:
        """What Nengo calls a convolution's pads; None where it has no word for them."""
        pads = list(node.attributes["pads"])
        if not any(pads):
            return "valid"
        kernel = node.weights["weight"].shape[2:]
        return "same" if pads == same_pads(self._shape(node)[1:], kernel, node.attributes["strides"]) else None

    def _shape(self, node: Node) -> tuple[int, ...]:
        """Of the signal a node takes."""
        taken = self.nodes.get(node.inputs[0])
        return taken.shape if taken else (self.objects[node.inputs[0]].size_out,)

    def _spread(self, node: Node, key: str) -> np.ndarray:
        """A weight as one number for each element of the node's vector."""
        whole = np.broadcast_to(node.weights[key].astype(float), (1, *node.shape))[0]
        return to_vector(whole, self.orders.get(node.name))

    def _origin(self, name: str) -> str:
        while name in self.same:
            name = self.same[name]
        return name

    # --- connections

    def _connect(self, node: Node) -> None:
        post, order = self.objects[node.name], self.orders.get(node.name)
        if node.name in self.arriving:
            for link in self.arriving[node.name]:
                self._link(link, post.ensemble)
            return
        if node.name in self.taught:
            self._learning(self.taught[node.name], post)
            if node.inputs[0] not in self.objects:
                return
        first = self._in_order(node.inputs[0], order or node.attributes.get("order"))
        if node.op in ("Conv", "Gemm") and self._is_linear(node):
            self._link(_Link(node.inputs[0], node), post)
        elif node.op in SYNAPSES:
            self._link(_Link(node.inputs[0], None, node), post)
        elif node.op == "Sum":
            for name in node.inputs:
                if name not in self.hidden:  # and ends at the neurons themselves
                    _connection(self._in_order(name, order), post)
        elif node.op == "Slice" and self._is_linear(node):
            _connection(first[node.weights["indices"]], post)
        elif node.op == "Place":
            start = node.attributes["start"]
            _connection(first, post[start : start + int(np.prod(self._shape(node)))])
        elif node.op == "Scale":
            weight = node.weights["weight"]
            one = weight.ndim == 1 and weight.size == 1 < node.size
            _connection(first, post, transform=weight.item() if one else self._spread(node, "weight"))
        else:
            _connection(first, post)
        if self._is_linear(node) and "bias" in node.weights:
            self._add_bias(node, post)

    def _in_order(self, name: str, order: str | None) -> Any:
        """The object of a signal; of an image, so that its vector lies in `order`."""
        taken = self.nodes.get(name)
        indices = None if taken is None else reordered(taken.shape, self.orders.get(name), order)
        return self.objects[name] if indices is None else self.objects[name][indices]

    def _link(self, link: _Link, post: Any) -> None:
        pre, parameters = self.objects[link.source], {}
        if link.weighted is not None and link.weighted.op == "Conv":
            parameters["transform"] = self._convolution(link.weighted)
        elif link.weighted is not None:
            matrix = link.weighted.weights["weight"].T.astype(float)
            if link.source in self.encoders:
                # The function only says how many values the decoders give; it is never called with one.
                pre, parameters["function"] = pre.ensemble, Decoded(len(matrix))
                parameters["solver"] = nengo.solvers.NoSolver(matrix.T)
            else:
                parameters["transform"] = nengo.Dense(matrix.shape, init=matrix)
        synapse = None if link.synapse is None else _synapse(link.synapse)
        _connection(pre, post, synapse=synapse, label=link.label, **parameters)

    def _convolution(self, node: Node) -> Any:
        kernels = node.weights["weight"]
        channels, height, width = shape = self._shape(node)
        last = self.orders[node.name] == "HWC"
        return nengo.Convolution(
            kernels.shape[0],
            (height, width, channels) if last else shape,
            kernel_size=kernels.shape[2:],
            strides=tuple(node.attributes["strides"]),
            padding=self._padding(node),
            channels_last=last,
            init=kernels.transpose(2, 3, 1, 0).astype(float),
            groups=node.attributes["group"],
        )

    def _add_bias(self, node: Node, post: Any) -> None:
        """A bias is a connection from a Node that gives 1, as nengo_dl.Converter makes it: NengoDL can train it."""
        one = nengo.Node([1.0], label=f"{node.name}.bias")
        bias, channels = node.weights["bias"].astype(float), node.shape[0]
        # Of as many columns as channels, a constant along the columns has the size of one for each channel.
        by_channels = node.op == "Conv" or bias.shape[-3:] == (channels, 1, 1)
        if len(node.shape) == 1 or not by_channels:
            bias = self._spread(node, "bias")
        column = nengo.Dense((bias.size, 1), init=bias.reshape(-1, 1))
        if bias.size == node.size:
            _connection(one, post, transform=column)
            return
        by_channel = nengo.Node(size_in=channels, label=f"{node.name}.bias.channels")
        _connection(one, by_channel, transform=column)
        numbers = np.broadcast_to(np.arange(channels)[:, None, None], node.shape)
        indices = np.stack([np.arange(node.size), to_vector(numbers, self.orders[node.name])], axis=1)
        _connection(by_channel, post, transform=nengo.Sparse((node.size, channels), indices=indices))

    def _probe(self, output: Output) -> Any:
        name = output.name
        if name in self.probed:
            synapse = self.probed[name]
            return nengo.Probe(self.objects[synapse.inputs[0]], synapse=_synapse(synapse), label=name)
        return nengo.Probe(self.objects[output.source], output.state or None, synapse=None, label=name)


def _connection(pre: Any, post: Any, *, synapse: Any = None, **parameters: Any) -> None:
    nengo.Connection(pre, post, synapse=synapse, **parameters)


class Decoded:
    """Stands for the function behind given decoders."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, x: Any) -> Any:
        return [0.0] * self.size


def _synapse(node: Node) -> Any:
    if any(start.any() for start in node.weights.values()):
        raise UnsupportedModel(
            f"The synapse {node.name!r} does not start from zero, as every synapse does in Nengo: set its start values "
            f"({', '.join(node.states)}) to zero."
        )
    if node.op == "LinearFilter":
        return linear_filter(node.attributes)
    return SYNAPSES[node.op].nengo_class()(decimal(node.attributes["tau"]))
