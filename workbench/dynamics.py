"""Spiking dynamics written in plain operators: what is left of a network whose neurons were unrolled or inlined.

A network unrolled by PyTorch, or a neuron function inlined by an optimiser, has no spiking op_type. What it keeps is
the loop of its dynamics, and all of it is asked for here, since thresholds, masks and resets alone are everywhere:

1. a state is held against a threshold (fire), and the outcome becomes a number: the spike;
2. the spike goes out: to a learnt product, a pooling, or an output;
3. it resets the state it came from: subtracted from it, or the state is multiplied by its complement or replaced;
4. something new is added to the state (integrate);
5. what comes of 3 and 4, through pointwise operators alone, is held against a threshold again: one time step
   later, or carried there by a Loop or Scan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .header import Graph, Node
from .operators import COMPARISONS, LAYERS, POINTWISE, PRODUCTS

BUDGET = 300_000
"""Steps through one model's graphs, about half a second."""

REACH = 600
"""Values followed from one state: some ten time steps."""

# Operators whose own result is a number that is nought below a threshold.
_STEPS = {"ThresholdedRelu", "Floor", "Sign"}
_SCALES = {"QuantizeLinear", "DequantizeLinear"}
_WAY = POINTWISE | _SCALES | {"QLinearAdd", "QLinearMul"}
_CASTS = {"Cast", "CastLike", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Flatten", "Transpose"}
# A spike may pass through these on its way out.
_CARRIERS = {
    *_CASTS, *_SCALES, "DynamicQuantizeLinear", "Concat", "QLinearConcat", "SequenceInsert", "ConcatFromSequence",
    "Gather", "Slice", "Split", "Pad", "ScatterND", "ScatterElements",
}  # fmt: skip


@dataclass
class _State:
    """One membrane state: the spikes it fires, by polarity, and the nodes that fire them."""

    fires: list[Node] = field(default_factory=list)
    spikes: dict[str, bool] = field(default_factory=dict)
    """Value -> True where it is high at a spike, False where it is high without one."""
    flags: dict[str, bool] = field(default_factory=dict)
    """The same for boolean values."""


class Dynamics:
    """Looks for integrate-and-fire steps.

    Args:
        graphs: every reachable graph of the model.

    Attributes:
        resets: names of the nodes that reset a state, one for each step found.
    """

    def __init__(self, graphs: Iterable[Graph]) -> None:
        self.left = BUDGET
        self.resets: list[str] = []
        graphs = list(graphs)
        self._stored = {name for graph in graphs for name in graph.initializers} | {""}
        for graph in graphs:
            for node in graph.nodes:
                if node.op_type == "Constant" or (node.inputs and self._stored.issuperset(node.inputs)):
                    self._stored.update(node.outputs)
        for graph in graphs:
            if any(node.op_type in COMPARISONS or node.op_type in _STEPS for node in graph.nodes):
                self._look(graph)

    def _look(self, graph: Graph) -> None:
        self._consumers: dict[str, list[Node]] = {}
        self._producers: dict[str, Node] = {}
        for node in graph.nodes:
            for name in set(node.inputs) - self._stored:
                self._consumers.setdefault(name, []).append(node)
            self._producers.update(dict.fromkeys(node.outputs, node))
        self._carried = _carried(graph)
        self._outputs = {value.name for value in graph.outputs}
        states: dict[str, _State] = {}
        for node in graph.nodes:
            if node.op_type in COMPARISONS or node.op_type in _STEPS:
                self._fire(node, states)
        self._spiky = {value for state in states.values() for value in state.spikes}
        for name, state in states.items():
            if self.left <= 0:
                return
            reset = self._resets(name, state, states)
            if reset is not None:
                self.resets.append(reset.name or reset.op_type)

    # --- 1: fire ----------------------------------------------------------------------------------------------------

    def _fire(self, node: Node, states: dict[str, _State]) -> None:
        """Note a firing node under the state it holds against a threshold."""
        moving = [(index, name) for index, name in enumerate(node.inputs) if name not in self._stored]
        if not moving or not node.outputs:
            return
        index, name = moving[0]
        above = node.op_type not in ("Less", "LessOrEqual")
        if index == 1:
            above = not above
        base = self._base(name)
        owner = next((state for state in states.values() if name in state.spikes), None)
        if owner is not None:
            # A spike made a flag again (s > 0.5), to choose the reset by.
            self._numbers(node.outputs[0], above is owner.spikes[name], owner)
            return
        state = states.setdefault(base, _State())
        state.fires.append(node)
        if node.op_type in _STEPS:
            self._spread({node.outputs[0]: True}, state.spikes)
        else:
            self._numbers(node.outputs[0], above, state)

    def _base(self, name: str) -> str:
        """The state behind a value: v of ``v - threshold`` or ``v / threshold``."""
        for _ in range(6):
            node = self._producers.get(name)
            if node is None or node.op_type not in {"Sub", "Add", "Div", "Mul", *_CASTS}:
                break
            moving = [item for item in node.inputs if item not in self._stored]
            if len(moving) != 1 or len(node.inputs) > 2:
                break
            name = moving[0]
        return name

    def _numbers(self, flag: str, high: bool, state: _State) -> None:
        """A boolean outcome made a number: Cast, or Where between stored arms."""
        todo = [(flag, high)]
        while todo and self.left > 0:
            name, up = todo.pop()
            state.flags[name] = up
            for node in self._consumers.get(name, ()):
                self.left -= 1
                if node.op_type == "Not":
                    todo.append((node.outputs[0], not up))
                elif node.op_type in ("Cast", "CastLike") or (
                    node.op_type == "Where" and node.inputs[0] == name and self._stored.issuperset(node.inputs[1:])
                ):
                    self._spread({node.outputs[0]: up}, state.spikes)

    def _spread(self, start: dict[str, bool], spikes: dict[str, bool]) -> None:
        """The spike through casts, and scaled or turned round by stored numbers (``1 - s``)."""
        todo = list(start.items())
        while todo and self.left > 0:
            name, up = todo.pop()
            if name in spikes:
                continue
            spikes[name] = up
            for node in self._consumers.get(name, ()):
                self.left -= 1
                turned = node.op_type == "Neg" or (node.op_type == "Sub" and node.inputs[1:] == (name,))
                others = [item for item in node.inputs if item != name]
                scaled = node.op_type in {"Mul", "Div", "Add", "Sub", "Neg", "Relu", "Clip", *_CASTS, *_SCALES}
                if scaled and self._stored.issuperset(others):
                    todo.append((node.outputs[0], up is not turned))

    # --- 2 to 5 -----------------------------------------------------------------------------------------------------

    def _resets(self, name: str, state: _State, states: dict[str, _State]) -> Node | None:
        """The node that resets this state, if emission, reset, integration and the next firing are all there."""
        descent = self._forward({name})
        if not self._emitted(state, descent):
            return None
        weighted = set(state.spikes)  # the spike, or times anything: the threshold, or the state itself
        for value in state.spikes:
            for node in self._consumers.get(value, ()):
                if node.op_type in ("Mul", "QLinearMul"):
                    weighted.update(node.outputs)
        again = set(states) if len(states) > 1 or self._carried else set()
        again = again - {name} | ({name} if self._carried else set())
        for node in self._near(state, weighted):
            self.left -= 1
            if self._is_reset(node, state, weighted, descent):
                after = self._forward(set(node.outputs))
                if after & again and self._integrates(descent, again):
                    return node
        return None

    def _near(self, state: _State, weighted: set[str]) -> list[Node]:
        """Nodes that take a spike or its flag."""
        found: dict[int, Node] = {}
        for name in (*weighted, *state.flags):
            for node in self._consumers.get(name, ())[:REACH]:
                found[id(node)] = node
        return list(found.values())

    def _is_reset(self, node: Node, state: _State, weighted: set[str], descent: set[str]) -> bool:
        moving = [name for name in node.inputs if name not in self._stored]
        pairs = [(moving[0], moving[1]), (moving[1], moving[0])] if len(moving) == 2 else []
        if node.op_type == "Sub":
            return bool(pairs) and moving[1] in weighted and moving[0] in descent
        if node.op_type in ("Add", "QLinearAdd"):  # minus a spike, written as plus a negative one
            return any(kept in descent and spike in self._negatives(state) for kept, spike in pairs)
        if node.op_type in ("Mul", "QLinearMul"):
            return any(kept in descent and state.spikes.get(spike) is False for kept, spike in pairs)
        if node.op_type == "Where" and len(node.inputs) == 3:
            high = state.flags.get(node.inputs[0], state.spikes.get(node.inputs[0]))
            if high is None:
                return False
            kept, replaced = (2, 1) if high else (1, 2)
            return node.inputs[kept] in descent and node.inputs[replaced] in self._stored
        return False

    def _negatives(self, state: _State) -> set[str]:
        return {name for name in state.spikes if getattr(self._producers.get(name), "op_type", "") == "Neg"}

    def _emitted(self, state: _State, descent: set[str]) -> bool:
        """Whether the spike itself goes to a learnt layer or leaves the graph, counted up perhaps."""
        seen = {name for name, up in state.spikes.items() if up}
        todo = list(seen)
        for name in todo:
            if name in self._outputs:
                return True
            for node in self._consumers.get(name, ()):
                self.left -= 1
                if node.op_type in PRODUCTS or node.op_type in LAYERS:
                    return True
                counted = node.op_type == "Add" and not descent.intersection(node.inputs)
                if node.op_type in _CARRIERS or counted:
                    fresh = [item for item in node.outputs if item not in seen]
                    seen.update(fresh)
                    todo += fresh
            if self.left <= 0:
                break
        return False

    def _integrates(self, descent: set[str], again: set[str]) -> bool:
        """Whether something that does not come of the state is added to it before it fires again."""
        for name in descent:
            for node in self._consumers.get(name, ())[:REACH]:
                self.left -= 1
                if node.op_type not in ("Add", "Sub", "Sum", "QLinearAdd"):
                    continue
                others = [item for item in node.inputs if item != name]
                new = any(o not in self._stored and o not in descent and o not in self._spiky for o in others)
                if new and (self._forward(set(node.outputs)) & again):
                    return True
            if self.left <= 0:
                return False
        return False

    def _forward(self, starts: set[str]) -> set[str]:
        """Values reached from `starts` through pointwise operators, and round a loop; `starts` included."""
        seen = set(starts)
        todo = list(starts)
        for name in todo:
            if len(seen) > REACH or self.left <= 0:
                break
            follow = [self._carried[name]] if name in self._carried else []
            for node in self._consumers.get(name, ())[:REACH]:
                self.left -= 1
                # A flag or mask made of the state is not the state: a comparison ends the way, and so does
                # choosing by it.
                if node.op_type in _WAY and not (node.op_type == "Where" and node.inputs[0] == name):
                    follow += node.outputs
            fresh = [item for item in follow if item not in seen]
            seen.update(fresh)
            todo += fresh
        return seen


def _carried(graph: Graph) -> dict[str, str]:
    """Body output -> body input, for the state of a Loop (condition first) or Scan body; empty for other graphs."""
    ins = [value.name for value in graph.inputs]
    outs = [value.name for value in graph.outputs]
    if len(ins) < 2 or not outs:
        return {}
    loop = len(ins) >= 3 and graph.inputs[1].dtype == "bool"
    return dict(zip(outs[1:], ins[2:], strict=False)) if loop else dict(zip(outs, ins, strict=False))
