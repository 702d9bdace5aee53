"""A ``nengo.Network``, or a simulator with what it has learnt, as a `SpikingNetwork`.

Nengo's signals are flat vectors; whether one holds an image, and in which order, is known from the convolutions and
layers around it. Connections become their weights and synapse; a node that only passes on becomes nothing, or the sum
of what comes in. Constant nodes are folded into biases as far as they go.

Names come from labels: of a passthrough Node for what it passes on, else of the Connection, the Keras layer, the
Ensemble (``<ensemble>.encode``, ``<ensemble>.decode``). What has no label is numbered by kind: conv1, lif1 …
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from ...errors import UnsupportedModel
from . import filters
from .arrays import compact, decimal, f32, reordered
from .check import renamed
from .keras_layers import add_layer
from .nengo_model import AT_RANDOM, Built, build, streams
from .network import Node, SpikingNetwork, unused
from .neurons import NEURONS, RULES, SYNAPSES
from .operation import Operation
from .signals import Builder, Signal, Wish, called, expressible, owner, per_channel, refuse

_PROBED = {
    "Node": ("output",),
    "Neurons": ("output", "spikes", "rates", "input", "voltage"),
    "Ensemble": ("decoded_output", "input"),
}
_FREEZE = "freeze=True keeps its weights as they are now, and of an open nengo.Simulator what it has learnt"
_NOT_HERE = (
    "which is expressed of a nengo.Network without layers of NengoDL alone: convert that, after "
    "simulator.freeze_params(network)"
)
STEPS_INPUT = "steps"
"""What the input of a network is called that has none."""
_LARGEST_MATRIX = 2**28
"""Numbers a sparse matrix may hold when written out, 1 GiB."""


def from_nengo(source: Any, dt: float | None = None, *, freeze: bool = False) -> SpikingNetwork:
    """The spiking network in a Nengo network or simulator, which stay as they are.

    Args:
        source: a ``nengo.Network``, which is built here (Keras layers that were never built get their first random
            weights, as in ``nengo_dl.Simulator``); or an open ``nengo_dl.Simulator`` or ``nengo.Simulator``, whose
            parameters are taken as they are now, trained.
        dt: seconds per step, for a network; by default those of the file it came from, else 0.001. A simulator has its
            own.
        freeze: leave learning rules out; weights stay as they are now.

    Raises:
        UnsupportedModel: something in it cannot be expressed; the message names the object and the reason.
        BadInput: not one of these, a closed simulator, or a dt other than the simulator's.
    """
    return _Reader(build(source, dt), freeze=freeze).read()


def inputs_of(network: Any) -> list[Any]:
    """What of a ``nengo.Network`` becomes inputs, in the order of ``SpikingNetwork.inputs``.

    Nodes that take no input: functions of time, processes, and zeros. Other constants belong to the network, unless
    nothing else could be its input. Then what `calls_python` gives, and the noise of ensembles.
    """
    free = [node for node in network.all_nodes if not node.size_in and node.size_out and not _is_bias(node)]
    free = [node for node in free if type(node).__name__ != "TensorNode"]
    fed = [node for node in free if not isinstance(node.output, np.ndarray) or not node.output.any()]
    noisy = [ens for ens in network.all_ensembles if ens.noise is not None]
    return [*(fed or free), *calls_python(network), *noisy]


def calls_python(network: Any) -> list[Any]:
    """The nodes of a ``nengo.Network`` that make something of their input in Python: what each gets is an output, after
    those of probes and in this order, and what it gives an input."""
    return [
        node for node in network.all_nodes
        if node.size_in and node.size_out and type(node).__name__ != "TensorNode"
        and node.output is not None and not isinstance(node.output, Operation)
    ]  # fmt: skip


def outputs_of(network: Any) -> list[Any]:
    """The probes of a ``nengo.Network`` that become outputs, in the order of ``SpikingNetwork.outputs``."""
    return [
        probe
        for probe in network.all_probes
        if probe.attr in _PROBED.get(_kind_of(probe.obj), ()) and (probe.attr != "voltage" or _reads_all(probe))
    ]


@dataclass
class _Reader:
    built: Built
    freeze: bool = False
    out: Builder = field(default_factory=Builder)
    values: dict[Any, Any] = field(default_factory=dict)
    """Node or Ensemble -> the `Signal` it gives, or its constant vector."""
    inputs: dict[Any, tuple[Signal, Any]] = field(default_factory=dict)
    """Ensemble -> (the values that go into it, or None; a constant beside them, or None)."""
    later: list[tuple[Any, Any, str | None]] = field(default_factory=list)
    """(connection, synapse, name of its weights): in a recurrent network a synapse comes before its input."""
    recurrent: bool = False
    called: dict[Any, str] = field(default_factory=dict)
    """Nodes that call Python, and ensembles with noise -> what their inputs and outputs are called after."""
    noise: dict[Any, Signal] = field(default_factory=dict)
    """Ensemble -> what is added to its neurons' current."""
    rules: dict[Any, Any] = field(default_factory=dict)
    """Connection, or ensemble whose encoders learn -> its learning rule."""
    learners: dict[Any, Node] = field(default_factory=dict)
    """The same -> the node that remembers its weights."""

    def read(self) -> SpikingNetwork:
        before = getattr(self.built.network, "spiking_network", None)
        self.before = before if isinstance(before, SpikingNetwork) else None
        self.out.dt = float(self.built.model.dt)
        self.incoming: dict[Any, list[Any]] = {}
        self.connections = self.built.network.all_connections
        if self.freeze:
            self.connections = [c for c in self.connections if type(c.post_obj).__name__ != "LearningRule"]
        for connection in self.connections:
            self._check(connection)
            self._check_rules(connection)
            self.incoming.setdefault(connection.post_obj, []).append(connection)
        self.names = {ens: self.out.reserve(ens.label or None) for ens in self.built.network.all_ensembles}
        self.homes = dict(_homes(self.built.network, ()))
        for thing in inputs_of(self.built.network):
            if thing.size_in:
                kind = "ensemble" if hasattr(thing, "neurons") else "node"
                self.called[thing] = unused(thing.label or kind, self.called.values())
        self._check_called()
        objects = self._sorted()
        self._find_inputs()
        gets: dict[Any, Signal] = {}
        for thing in objects:
            if thing in self.called and thing not in self.noise:
                self.out.home = self.homes[thing]
                gets[thing] = self.out.flat(self.total(thing, self.incoming.get(thing, []), None, None))
            elif thing not in self.values:
                self.out.home = self.homes[thing]
                self.values[thing] = self._ensemble(thing) if hasattr(thing, "neurons") else self._node(thing)
        self._feed_synapses()
        for learner, rule in self.rules.items():
            self._learn(learner, rule)
        self._feed_synapses()
        self.out.home = ()
        probes = outputs_of(self.built.network)
        for probe in self.built.network.all_probes:
            if probe in probes:
                self._probe(probe)
            else:
                part = "" if _reads_all(probe) else " of some neurons, or filtered"
                self.out.notes.append(f"{called(probe)} reads {probe.attr!r}{part}, not an output: it is left out.")
        for node in calls_python(self.built.network):
            self.out.outputs.append((f"{self.called[node]}.gets", gets[node].name, ""))
        if not self.out.outputs:
            raise UnsupportedModel("The network has no probe on spikes or values: add a nengo.Probe to what to read.")
        made = self.out.finish(self.built.network.label or "network", self.out.dt, self.built.network.seed)
        return _as_before(made, self.before) if self.before else renamed(made)

    def _feed_synapses(self) -> None:
        for connection, synapse, name in self.later:
            self.out.home = self.homes.get(owner(connection.post_obj), ())
            synapse.inputs = (self._weighted(connection, {}, name, flat=True).name,)
        self.later = []

    def _check(self, connection: Any) -> None:
        if connection.function is not None and not hasattr(connection.pre_obj, "neurons"):
            raise refuse(connection, "computes a Python function: put it into an ensemble's decoders, or leave it out")
        if (synapse := connection.synapse) is not None:
            self._check_synapse(connection, synapse)

    def _check_called(self) -> None:
        """That what Python gives never comes back to it: else nobody could tell it before the file has run."""
        following: dict[Any, list[Any]] = {}
        for c in self.connections:
            end = c.post_obj.connection.post_obj if type(c.post_obj).__name__ == "LearningRule" else c.post_obj
            following.setdefault(owner(c.pre_obj), []).append(owner(end))
        for node in calls_python(self.built.network):
            todo, reached = [node], set[Any]()
            while todo:
                new = set(following.get(todo.pop(), ())) - reached
                reached |= new
                todo += new
            if node in reached:
                raise refuse(
                    node,
                    "runs Python on its input, and what it gives comes back to it: no file expresses that; replace it "
                    "by connections, or take it out of the loop",
                )
            if self.built.data is not None:
                raise refuse(node, f"runs Python on its input, {_NOT_HERE}")

    def _check_rules(self, c: Any) -> None:
        """Note what a connection's rules change, each the weights of one connection or the encoders of an ensemble."""
        if self.freeze or c.learning_rule_type is None:
            return
        if self.built.data is not None:
            raise refuse(c, f"learns while it runs, which is expressed of a nengo.Network alone: {_FREEZE}")
        rules = c.learning_rule
        for rule in rules.values() if isinstance(rules, dict) else rules if isinstance(rules, list) else [rules]:
            kind = rule.learning_rule_type
            if (name := type(kind).__name__) not in RULES or _path(kind) != RULES[name].nengo_path:
                raise refuse(c, f"learns by {_path(kind)}; what can be expressed: {', '.join(RULES)}; {_FREEZE}")
            for key in ("pre_synapse", "post_synapse", "theta_synapse"):
                if (synapse := getattr(kind, key, None)) is not None:
                    if type(synapse).__name__ == "Triangle":
                        raise refuse(c, f"learns through a Triangle synapse: take Lowpass or Alpha; {_FREEZE}")
                    self._check_synapse(c, synapse)
            learner = c.post_obj if rule.modifies == "encoders" else c
            if learner in self.rules:
                raise refuse(c, f"changes weights that another learning rule changes, too: keep one of them; {_FREEZE}")
            self.rules[learner] = rule

    def _check_synapse(self, thing: Any, synapse: Any) -> None:
        if not expressible(synapse, self.out.dt):
            raise refuse(
                thing,
                f"has the synapse {synapse}; what can be expressed: {', '.join(SYNAPSES)} of {filters.MOST_STATES} "
                f"states, Triangle of {filters.MOST_TAPS} steps, or None",
            )

    def _sorted(self) -> list[Any]:
        """Nodes and ensembles, each after what it needs in the same step."""
        things = [*self.built.network.all_nodes, *self.built.network.all_ensembles]
        ring = ""
        for recurrent in (True,) if self.rules else (False, True):
            self.recurrent = recurrent
            needs: dict[Any, list[Any]] = {thing: [] for thing in things}
            for connection in self.connections:
                learns = type(connection.post_obj).__name__ == "LearningRule"
                if not learns and (not recurrent or connection.synapse is None):
                    needs[owner(connection.post_obj)].append(owner(connection.pre_obj))
            try:
                return list(TopologicalSorter(needs).static_order())
            except CycleError as error:
                ring = ", ".join(str(thing.label or thing) for thing in error.args[1][1:])
        raise UnsupportedModel(
            f"The network has a cycle without a synapse, through {ring}: every answer would need itself; put a synapse "
            "(such as Lowpass) on one of its connections."
        )

    # --- nodes

    def _find_inputs(self) -> None:
        for thing in inputs_of(self.built.network):
            made = self._noise(thing) if hasattr(thing, "neurons") else self._fed(thing)
            self.out.inputs.append(made)
            if home := self.homes[thing]:
                self.out.homes[made.name] = home
        if not self.out.inputs:
            self.out.inputs.append(Signal(self.out.reserve(STEPS_INPUT), (1,)))
            self.out.notes.append(
                f"The network has no input; {STEPS_INPUT!r} is one that nothing reads: it runs as long as that lasts."
            )
        for node in self.built.network.all_nodes:
            if node not in self.values and not node.size_in and isinstance(node.output, np.ndarray):
                self.values[node] = node.output.astype(float)
                if not _is_bias(node):
                    self.out.notes.append(f"{called(node)} is a constant of the network; zeros make it an input.")

    def _fed(self, node: Any) -> Signal:
        name = f"{self.called[node]}.gives" if node in self.called else node.label
        if node in self.called:
            self.out.notes.append(
                f"{called(node)} runs Python, which no file holds: what it gets is the output "
                f"{self.called[node] + '.gets'!r}, and what it makes of that is to be fed as the input {name!r}."
            )
        elif not isinstance(node.output, np.ndarray):
            self.out.notes.append(f"{called(node)} is computed by Python; it is an input here, to be fed.")
        self.values[node] = Signal(self.out.reserve(name or None), (int(node.size_out),))
        return self.values[node]

    def _noise(self, ens: Any) -> Signal:
        if self.built.data is not None:
            raise refuse(ens, f"has noise, {_NOT_HERE}")
        name = f"{self.called[ens]}.noise"
        self.out.notes.append(
            f"{called(ens)} has noise, which no file repeats: it is the input {name!r} here, to be fed, such as with "
            f"ens.noise.run_steps(steps, d={ens.n_neurons}, dt=dt); zeros are no noise."
        )
        self.noise[ens] = Signal(self.out.reserve(name), (int(ens.n_neurons),))
        return self.noise[ens]

    def _node(self, node: Any) -> Any:
        label = node.label or None
        if type(node).__name__ == "TensorNode":
            if node.pass_time or node.shape_in is None:
                raise refuse(node, "takes the time, which no file expresses: use a Keras layer")
            x = self.total(node, self.incoming.get(node, []), None, None)
            return add_layer(self.out, node, x)
        if isinstance(node.output, Operation):
            operation = node.output
            x = self.total(node, self.incoming.get(node, []), None, None)
            x = self.out.flat(x) if operation.order is None else self.out.image(x, operation.shape, operation.order)
            shape, order = operation.node.shape, operation.order if len(operation.node.shape) == 3 else None
            return self.out.emit(
                operation.node.op, [x], shape, label, order, dict(operation.node.weights), operation.node.attributes
            )
        if node.output is not None:
            self.out.notes.append(f"{called(node)} runs Python and gives nothing to the network; it is left out.")
            return None
        value, constant = self.gather(self.incoming.get(node, []), label, (label, ".sum") if label else None)
        if value is None:
            return np.zeros(node.size_in) if constant is None else constant
        if constant is not None:
            return self.out.biased(value, constant, label)
        # Passed on as it is: its label waits for the Image or Flatten the signal may need.
        if label and self.out.wishes.get(value.name) != label:
            if value.relay and value.order:
                value = self.out.flat(value)
            return self._view(replace(value, relay=label))
        return value

    def _view(self, x: Signal) -> Signal:
        """A signal in the shape that the description beside the network gives it at this relay, if one does."""
        described = self.before.node(x.relay) if self.before else None
        if described is not None and described.op == "Flatten":
            return self.out.flat(x)
        if described is not None and described.op == "Image" and described.size == math.prod(x.shape):
            return self.out.image(x, described.shape, described.attributes["order"])
        return x

    def total(self, thing: Any, connections: list[Any], label: str | None, wish: Wish) -> Signal:
        """All that comes into a node with an output, as a signal."""
        value, constant = self.gather(connections, label, wish)
        if value is None:
            return self.out.signal(np.zeros(thing.size_in) if constant is None else constant)
        return value if constant is None else self.out.biased(value, constant, None)

    # --- connections

    def gather(self, connections: list[Any], final: str | None, wish: Wish, fold: bool = True) -> tuple[Any, Any]:
        """(the sum of what connections bring, or None; the constant that is still to be added, or None)

        Args:
            final: what their one operation is called, where there is only one connection; wish: what the sum is.
            fold: whether a constant may go into the bias of a matrix or convolution.
        """
        constants = {c: value for c in connections if (value := self._constant(c)) is not None}
        live = [c for c in connections if c not in constants]
        constant: Any = sum(constants.values()) if constants else None
        bias = self._as_bias(live[0], constant) if fold and constant is not None and len(live) == 1 else None
        if bias is not None:
            constant = None
        signals = [self._brought(c, final if len(live) == 1 and constant is None else None) for c in live]
        if bias is not None:
            next(node for node in self.out.nodes if node.name == signals[0].name).weights["bias"] = bias
        if not signals:
            return None, constant
        return self.out.added(signals, final if len(signals) > 1 and constant is None and final else wish), constant

    def _brought(self, c: Any, final: str | None) -> Signal:
        """What a connection brings to its end, in a vector as large as that."""
        steps: dict[str, str] = {}
        if c.synapse is not None and self.recurrent:
            if kind := self._kind(c):
                steps[kind] = self.out.reserve(None)
            shape: tuple[int, ...] = (int(c.size_out),)
            order = None
            if kind == "conv":
                shape, order = _image_shape(c.transform.output_shape)
            elif _is_full(c):
                shape = (self.built.weights(c).shape[0],)
            signal = self.out.filtered(c.synapse, None, shape, order, steps)
            self.later.append((c, self.out.entry, steps.get(kind)))
        else:
            signal = self._weighted(c, steps)
            if c.synapse is not None:
                signal = self.out.filtered(c.synapse, signal, signal.shape, signal.order, steps)
        if not _is_full(c):
            signal = self._placed(c, signal, steps)
        self._label(c, steps, final)
        return signal

    def _label(self, c: Any, steps: dict[str, str], final: str | None) -> None:
        """Name what a connection became: its last operation after `final`, its main one after the connection."""
        if not steps:
            return
        synapses = ("lowpass", "alpha", "linearfilter", "triangle")
        kinds = ("decode", "conv", "dense", "scale", *synapses, "slice", "place", "scatter")
        main = next(kind for kind in kinds if kind in steps)
        for kind, name in steps.items():
            if final and kind == list(steps)[-1]:
                self.out.wishes[name] = final
            elif kind == main and (c.label or not final):
                decoded = (self.names[c.pre_obj], ".decode") if kind == "decode" else None
                self.out.wishes[name] = c.label or decoded
            else:
                self.out.wishes[name] = (final or steps[main], f".{kind}")

    def _kind(self, c: Any) -> str:
        name = type(c.transform).__name__
        if hasattr(c.pre_obj, "neurons"):
            return "decode"
        if name == "Dense":
            return "dense" if self.built.weights(c).ndim == 2 else "scale"
        return {"NoTransform": "", "Sparse": "dense", "Convolution": "conv", "ConvolutionTranspose": "dense"}.get(
            name, name
        )

    def _weighted(self, c: Any, steps: dict[str, str], name: str | None = None, flat: bool = False) -> Signal:
        """What a connection's weights make of its source; steps: takes the names of what is emitted, by kind."""
        x = self.out.signal(self.values[owner(c.pre_obj)])
        kind = self._kind(c)
        if kind == "decode":
            made = self._multiplied(c, x, self.built.weights(c), name)
            steps[kind] = made.name
            return made
        x = self._sliced(self.out.flat(x) if flat else x, c.pre_slice, steps)
        if c in self.rules:
            made = self._multiplied(c, x, self.built.weights(c), name)
        elif kind == "conv":
            made = self._convolution(c, x, name)
        elif kind == "dense":
            made = self.out.matrix(x, self._matrix_of(c), None, name)
        elif kind == "scale":
            made = self.out.scaled(x, self.built.weights(c), None, name)
        elif not kind:
            return x
        else:
            raise refuse(c, f"has a {kind} transform; what can be expressed: Dense, Sparse, 1-D and 2-D convolutions")
        steps[kind] = made.name
        return made

    def _multiplied(self, learner: Any, x: Signal, weights: np.ndarray, name: str | None, wish: Wish = None) -> Signal:
        """A signal times the weights of a connection, or the encoders of an ensemble; which may learn."""
        if learner not in self.rules:
            return self.out.matrix(x, weights, wish, name)
        name, x = name or self.out.reserve(wish), self.out.flat(x)
        kind = self.rules[learner].learning_rule_type
        op = type(kind).__name__
        attributes = {key: decimal(getattr(kind, key)) for key in RULES[op].parameters}
        parts = {"weights": f32(weights)[None]}
        if op == "Voja":
            built = self.built.model.params[learner]
            parts["scale"] = f32(built.gain / learner.radius)[:, None]
        made = self.out.emit(op, [], weights.shape, (name, f".{op.lower()}"), None, parts, attributes)
        self.learners[learner] = self.out.nodes[-1]
        return self.out.emit("Product", [made, x], weights.shape[:1], None, name=name)

    def _learn(self, learner: Any, rule: Any) -> None:
        """Give a rule what it learns from; see ``nengo.builder.learning_rules``."""
        kind, c, node = rule.learning_rule_type, rule.connection, self.learners[learner]
        self.out.home = self.homes[owner(c.post_obj)]

        def active(end: Any, key: str, part: Any = slice(None)) -> Signal:
            """What neurons do, filtered, in a vector."""
            x, synapse = self._sliced(self.out.flat(self.values[owner(end)]), part, {}), getattr(kind, key)
            if synapse is None:
                return x
            steps: dict[str, str] = {}
            made = self.out.filtered(synapse, x, x.shape, None, steps)
            for step in steps.values():
                self.out.wishes[step] = (node.name, f".{key.removesuffix('_synapse')}")
            return made

        if node.op in ("PES", "Voja"):
            x, constant = self.gather(self.incoming.get(rule, []), None, (node.name, ".error"))
            # What comes in is added to a signal of one that says to learn, or is the error.
            added = np.zeros(rule.size_in) + (node.op == "Voja") + (0 if constant is None else constant)
            if x is None:
                x = self.out.signal(added)
            else:
                x = self.out.biased(self.out.flat(x), added, None) if added.any() else self.out.flat(x)
        if node.op == "PES":
            if hasattr(c.post_obj, "ensemble") or _is_full(c):
                x = self._local(c, x, (node.name, ".local"))
            taken = [
                x,
                active(c.pre_obj, "pre_synapse", c.pre_slice if c.pre_obj is not owner(c.pre_obj) else slice(None)),
            ]
        elif node.op == "Voja":
            taken = [x, active(c.post_obj, "post_synapse"), self.out.flat(self.inputs[c.post_obj][0])]
        else:
            ends = {"post_synapse": c.post_obj, "theta_synapse": c.post_obj, "pre_synapse": c.pre_obj}
            taken = [active(end, key) for key, end in ends.items() if hasattr(kind, key)]
        node.inputs = tuple(x.name for x in taken)

    def _local(self, c: Any, error: Signal, wish: Wish) -> Signal:
        """An error of values as one of the neurons that a connection's weights end at."""
        ens = owner(c.post_obj)
        if ens in self.rules:
            raise refuse(c, f"learns by PES from encoders that learn themselves: keep one of both rules; {_FREEZE}")
        encoders = self.built.ensemble(ens)[2]
        part = encoders[:, c.post_slice] if c.post_obj is ens else encoders[c.post_slice]
        return self.out.matrix(error, part, wish)

    def _matrix_of(self, c: Any) -> np.ndarray:
        kind = type(c.transform).__name__
        if kind not in ("Sparse", "ConvolutionTranspose"):
            return self.built.weights(c)
        size_out, size_in = c.transform.size_out, c.transform.size_in
        if size_out * size_in > _LARGEST_MATRIX:
            raise refuse(c, f"is a matrix of {size_out} x {size_in}, too large to be written out")
        weights = self.built.weights(c)
        return weights.toarray() if kind == "Sparse" else _transposed(c.transform, weights)

    def _convolution(self, c: Any, x: Signal, name: str | None) -> Signal:
        t = c.transform
        if t.dimensions > 2:
            raise refuse(c, f"is a {t.dimensions}-D convolution; only 1-D and 2-D ones can be expressed")
        shape, order = _image_shape(t.input_shape)
        weights = self.built.weights(c)
        kernels = f32((weights if t.dimensions == 2 else weights[None]).transpose(3, 2, 0, 1))
        strides = tuple(t.strides) if t.dimensions == 2 else (1, *t.strides)
        x = self.out.image(x, shape, order)
        return self.out.convolved(x, kernels, strides, t.padding, t.groups, None, name)

    def _sliced(self, x: Signal, key: Any, steps: dict[str, str]) -> Signal:
        size = int(np.prod(x.shape))
        indices = np.arange(size)[key]
        if np.array_equal(indices, np.arange(size)):
            return x
        other = "CHW" if x.order == "HWC" else "HWC"
        swapped = reordered(x.shape, x.order, other)
        if swapped is not None and np.array_equal(indices, swapped):
            return replace(x, order=other)
        made = self.out.emit(
            "Slice", [self.out.flat(x)], indices.shape, None, None, {"indices": indices.astype(np.int64)}
        )
        steps["slice"] = made.name
        return made

    def _placed(self, c: Any, x: Signal, steps: dict[str, str]) -> Signal:
        size = int(c.post_obj.size_in)
        targets = np.arange(size)[c.post_slice]
        if np.array_equal(targets, np.arange(size)):
            return x
        if len(set(targets.tolist())) < len(targets):
            raise refuse(c, "ends at one element several times: give each element a connection of its own")
        x, count = self.out.flat(x), len(targets)
        adjacent = np.array_equal(targets, targets[0] + np.arange(count))
        if adjacent or count < size:
            attributes = {"start": int(targets[0]) if adjacent else 0, "size": size}
            x = self.out.emit("Place", [x], (size,), None, None, {}, attributes)
            steps["place"] = x.name
        if adjacent:
            return x
        # Each element comes from where it was put; one that nothing ends at from a zero behind, each from its own.
        source = np.empty(size, np.int64)
        source[targets] = np.arange(count)
        source[np.setdiff1d(np.arange(size), targets)] = np.arange(count, size)
        x = self.out.emit("Slice", [x], (size,), None, None, {"indices": source})
        steps["scatter"] = x.name
        return x

    def _constant(self, c: Any) -> np.ndarray | None:
        """What a connection always brings; None if it changes, or no bias expresses it."""
        value = self.values.get(owner(c.pre_obj))
        kind = self._kind(c)
        if not isinstance(value, np.ndarray) or c.synapse is not None or kind not in ("", "dense", "scale"):
            return None
        value = value[c.pre_slice]
        if kind:
            weights = self.built.weights(c)
            value = weights @ value if kind == "dense" and value.size > 1 else _times(weights, value)
        if len(set(np.arange(c.post_obj.size_in)[c.post_slice].tolist())) < len(value):
            return None
        out = np.zeros(c.post_obj.size_in)
        out[c.post_slice] = value
        return out

    def _as_bias(self, c: Any, constant: np.ndarray) -> np.ndarray | None:
        """A constant as the bias of a connection's weights; None if they cannot take it."""
        whole = np.array_equal(np.arange(c.post_obj.size_in)[c.post_slice], np.arange(c.post_obj.size_in))
        kind = self._kind(c)
        if c.synapse is not None or not whole or kind not in ("decode", "dense", "conv") or c in self.rules:
            return None
        if kind != "conv":
            return f32(constant + 0.0)
        shape, order = _image_shape(c.transform.output_shape)
        bias = self.out.arranged(constant + 0.0, Signal("", shape, order))
        return np.ascontiguousarray(bias[:, 0, 0]) if per_channel(bias) else None

    # --- ensembles

    def _ensemble(self, ens: Any) -> Signal:
        op, parameters = self._neuron_model(ens)
        gain, bias, encoders = self.built.ensemble(ens)
        name = self.names[ens]
        coming = self.incoming.get(ens, [])
        parts = []
        x, constant = self.gather([c for c in coming if not _is_full(c)], None, (name, ".sum"), fold=False)
        if ens in self.rules and constant is not None:
            x = (
                self.out.signal(constant)
                if x is None
                else self.out.biased(self.out.flat(x), constant, (name, ".value"))
            )
            constant = None
        if x is not None:
            self.inputs[ens] = x, constant
        if constant is not None:
            bias = bias + encoders @ constant
        if x is not None:
            parts.append(self._multiplied(ens, x, encoders, None, (name, ".encode")))
        parts += [self._brought(c, None) for c in coming if _is_full(c)]
        parts += [self.noise[ens]] if ens in self.noise else []
        x, constant = self.gather(self.incoming.get(ens.neurons, []), None, (name, ".sum"))
        if constant is not None:
            bias = bias + gain * constant
        if x is not None:
            parts.append(self.out.scaled(x, gain, (name, ".gained")) if parts and (gain != 1).any() else x)
        if len(parts) > 1 or x is None:
            gain = np.ones_like(gain) if parts else gain
        x = self.out.added(parts or [self.out.signal(np.zeros(ens.n_neurons))], (name, ".current"))
        own = {key: getattr(ens.neuron_type, key, None) for key in NEURONS[op].weights}
        if _path(ens.neuron_type) in AT_RANDOM:
            own = {"stream": streams(self.built.model)[ens]}
        drive = {"gain": gain, "bias": bias} | own
        weights = {key: compact(self.out.arranged(value, x)) for key, value in drive.items()}
        for state in NEURONS[op].states:
            start = self.built.start(ens, state)
            weights[state] = self.out.arranged(np.broadcast_to(start, (ens.n_neurons,)), x)[None]
        if ens.seed is not None:
            self.out.seeds[name] = int(ens.seed)
        return self.out.emit(op, [x], x.shape, ens.label or None, x.order, weights, parameters, name)

    def _current(self, probe: Any, name: str) -> Signal:
        """What goes into an ensemble, or into its neurons: their current."""
        ens = owner(probe.obj)
        if probe.obj is ens:
            if ens not in self.inputs:
                raise refuse(probe, "reads the input of an ensemble that no value goes into")
            x, constant = self.inputs[ens]
            return x if constant is None else self.out.biased(x, constant, (name, ".input"))
        neurons = next(node for node in self.out.nodes if node.name == self.values[ens].name)
        x = Signal(neurons.inputs[0], neurons.shape, self.values[ens].order)
        weights = {key: np.broadcast_to(neurons.weights[key], (1, *neurons.shape))[0] for key in ("gain", "bias")}
        x = self.out.emit("Scale", [x], x.shape, (name, ".gain"), x.order, {"weight": f32(weights["gain"])})
        return self.out.emit("Bias", [x], x.shape, (name, ".bias"), x.order, {"bias": f32(weights["bias"])})

    def _neuron_model(self, ens: Any) -> tuple[str, dict[str, Any]]:
        kind = ens.neuron_type
        op, parameters = _parameters(kind)
        if _path(kind) in (*_FIRE_AT_RATES, *AT_RANDOM):
            base, inner = _parameters(kind.base_type)
            op = f"{type(kind).__name__}{base}"
            parameters = {"amplitude": kind.amplitude} | {f"base_{key}": value for key, value in inner.items()}
        if _path(kind) in AT_RANDOM and op in NEURONS:
            if self.built.data is not None:
                raise refuse(
                    ens,
                    f"draws its spikes at random ({type(kind).__name__}), by numbers of TensorFlow's that no file "
                    "repeats: convert the nengo.Network, after simulator.freeze_params(network) with what it learnt",
                )
            self.out.notes.append(
                f"{called(ens)} fires at random ({type(kind).__name__}): the file draws from a stream of its own, the "
                "same in every run and for every sample, and Nengo was asked with the same numbers instead of NumPy's; "
                f"another start of its state 'elapsed' draws others."
            )
        if op not in NEURONS:
            direct = _path(kind) == "nengo.neurons.Direct"
            hint = "Direct mode has no neurons to express" if direct else "no neuron model here does the same"
            # A class of one's own may have the name of one of Nengo's.
            name = type(kind).__name__ if direct else _path(kind)
            raise refuse(ens, f"has neurons of type {name}: {hint}; choose one of {', '.join(NEURONS)}")
        return op, {key: decimal(parameters[key]) for key in NEURONS[op].parameters}

    # --- probes

    def _probe(self, probe: Any) -> None:
        if probe.synapse is not None:
            self._check_synapse(probe, probe.synapse)
        if probe.sample_every is not None:
            self.out.notes.append(f"{called(probe)} samples every {probe.sample_every} s; every step is given here.")
        name, steps = probe.label or f"probe{len(self.out.outputs) + 1}", dict[str, str]()
        if probe.attr == "voltage":
            neurons = self.values[owner(probe.obj)]
            if neurons.order:
                raise refuse(probe, "reads the voltages of an image, which no file here gives: take the probe away")
            self.out.outputs.append((name, neurons.name, probe.attr))
            return
        if probe.attr != "input" and hasattr(probe.obj, "neurons"):
            c = next(c for c in self.built.model.params if getattr(c, "post_obj", None) is probe)
            x = self.out.matrix(self.values[probe.obj], self.built.weights(c), None)
            steps["decode"] = x.name
        else:
            x = self._current(probe, name) if probe.attr == "input" else self.out.signal(self.values[owner(probe.obj)])
            x = self.out.flat(self._sliced(x, slice(None) if probe.slice is None else probe.slice, steps))
        if probe.synapse is not None:
            x = self.out.filtered(probe.synapse, x, x.shape, None, steps)
        for kind, step in steps.items():
            self.out.wishes[step] = (name, f".{kind}")
        self.out.outputs.append((name, x.name, ""))


def _reads_all(probe: Any) -> bool:
    """Whether a probe gives a signal as it is."""
    size = probe.obj.size_out
    return probe.synapse is None and (probe.slice is None or len(np.arange(size)[probe.slice]) == size)


def _as_before(made: SpikingNetwork, before: SpikingNetwork) -> SpikingNetwork:
    """A network that `to_nengo` made, with what Nengo has no place for: the order of its nodes, notes, metadata, and
    the shape of weights that repeat themselves."""
    places = {node.name: place for place, node in enumerate(before.nodes)}
    for node in made.nodes:
        old = before.node(node.name)
        if old is None or (old.op, old.shape) != (node.op, node.shape):
            continue
        for key, new in node.weights.items():
            stored = old.weights.get(key)
            if stored is None or node.op in ("Conv", "Gemm", "Slice"):
                continue
            whole = (1, *node.shape) if key in node.states or node.op in NEURONS else node.shape
            if node.op != "BatchNormalization" and np.array_equal(
                np.broadcast_to(stored, whole), np.broadcast_to(new, whole)
            ):
                node.weights[key] = stored
        if "order" in old.attributes:
            orders = old.attributes["order"], node.attributes["order"]
            if reordered(_image_of(node, before), *orders) is None:
                node.attributes = {**node.attributes, "order": orders[0]}
    made.nodes.sort(key=lambda node: places.get(node.name, len(places)))
    made.name = before.name if made.name == (before.name or "network") else made.name
    made.metadata = dict(before.metadata)
    made.notes = before.notes + [note for note in made.notes if note not in before.notes]
    return made


def _homes(network: Any, home: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Each node and ensemble, with the names of the subnetworks it is in, from the outermost."""
    for thing in (*network.nodes, *network.ensembles):
        yield thing, home
    taken: set[str] = set()
    for inner in network.networks:
        taken.add(name := unused(inner.label or "network", taken))
        yield from _homes(inner, (*home, name))


def _image_of(node: Node, network: SpikingNetwork) -> tuple[int, ...]:
    source = network.node(node.inputs[0])
    return node.shape if node.op == "Image" or source is None else source.shape


def _image_shape(shape: Any) -> tuple[tuple[int, ...], str]:
    """(C, H, W) of a nengo ChannelShape, and how it lies in the vector; a series is one pixel high."""
    sides = tuple(int(side) for side in shape.spatial_shape)
    sides = sides if len(sides) > 1 else (1, *sides)
    return (int(shape.n_channels), *sides), "HWC" if shape.channels_last else "CHW"


def _kind_of(thing: Any) -> str:
    name = type(thing).__name__
    return "Node" if name == "TensorNode" else name


def _is_bias(node: Any) -> bool:
    """Whether a node is named like the constant of a bias, as nengo_dl.Converter and `to_nengo` name theirs."""
    return isinstance(node.output, np.ndarray) and (node.label or "").endswith(".bias")


def _is_full(c: Any) -> bool:
    """Whether a connection's weights end at the neurons of an ensemble, past its encoders."""
    return hasattr(c.pre_obj, "neurons") and hasattr(c.post_obj, "neurons") and c.solver.weights


def _transposed(transform: Any, kernel: np.ndarray) -> np.ndarray:
    """A ``nengo.ConvolutionTranspose`` as the matrix it is, asked column by column of Nengo's own operator."""
    from nengo.builder.signal import Signal as NengoSignal
    from nengo.builder.transforms import ConvTransposeInc

    held = {"W": kernel, "X": np.zeros(transform.size_in), "Y": np.zeros(transform.size_out)}
    signals = {key: NengoSignal(array, name=key) for key, array in held.items()}
    arrays = {signals[key]: array for key, array in held.items()}
    step = ConvTransposeInc(signals["W"], signals["X"], signals["Y"], transform).make_step(arrays, 0.001, np.random)
    columns = []
    for place in range(transform.size_in):
        held["X"][...], held["Y"][...] = 0, 0
        held["X"][place] = 1
        step()
        columns.append(held["Y"].copy())
    return np.stack(columns, axis=1)


def _times(weights: Any, value: np.ndarray) -> np.ndarray:
    """Weights times a constant, exactly: a product of one factor is not summed."""
    weights = weights.toarray() if hasattr(weights, "toarray") else weights
    return np.asarray(weights[:, 0] * value if weights.ndim == 2 else weights * value)


_OPS = {model.nengo_path: op for op, model in NEURONS.items() if not model.base}
_FIRE_AT_RATES = {model.nengo_path for model in NEURONS.values() if model.base}


def _path(kind: Any) -> str:
    return f"{type(kind).__module__}.{type(kind).__name__}"


def _parameters(kind: Any) -> tuple[str, dict[str, Any]]:
    """The op of a neuron type, and its parameters; of a subclass that is not Nengo's own, no op."""
    op = _OPS.get(_path(kind), "")
    return op, {name: getattr(kind, name) for name in NEURONS[op].parameters} if op else {}
