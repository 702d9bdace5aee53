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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..files.header import Graph, Node
from ..files.wire import Steps
from .operators import COMPARISONS, LAYERS, POINTWISE, PRODUCTS

# Steps for indexing a node, and for finding what comes of a threshold.
_NODE, _FIRE = 4, 14

REACH = 600
"""Values followed from one state: some ten time steps."""

# Operators whose own result is a number that is nought below a threshold.
_STEPS = {"ThresholdedRelu", "Floor", "Sign"}
_SCALES = {"QuantizeLinear", "DequantizeLinear"}
_WAY = POINTWISE | _SCALES | {"QLinearAdd", "QLinearMul"}
_CASTS = {"Cast", "CastLike", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Flatten", "Transpose"}
_SHIFTS = {"Sub", "Add", "Div", "Mul", "Abs", *_CASTS}
_SCALED = {"Mul", "Div", "Add", "Sub", "Neg", "Relu", "Clip", *_CASTS, *_SCALES}
# A spike may pass through these on its way out.
_CARRIERS = {
    *_CASTS, *_SCALES, "DynamicQuantizeLinear", "Concat", "QLinearConcat", "SequenceInsert", "ConcatFromSequence",
    "Gather", "Slice", "Split", "Pad", "ScatterND", "ScatterElements",
}  # fmt: skip


@dataclass
class _State:
    """One membrane state and the spikes it fires, by polarity."""

    spikes: dict[str, bool] = field(default_factory=dict)
    """Value -> True where it is high at a spike, False where it is high without one."""
    flags: dict[str, bool] = field(default_factory=dict)
    """The same for boolean values."""


class Dynamics:
    """Looks for integrate-and-fire steps.

    Args:
        graphs: every reachable graph of the model.
        steps: what the search takes its steps from.

    Attributes:
        resets: names of the nodes that reset a state, one for each step found.
        complete: the steps sufficed for all states; where not, there may be more resets.
    """

    def __init__(self, graphs: Iterable[Graph], steps: Steps) -> None:
        self.steps = steps
        self.resets: list[str] = []
        self.complete = True
        graphs = list(graphs)
        states = {name for graph in graphs for name in _streamed(graph).values()}
        self._stored = ({name for graph in graphs for name in graph.initializers} | {""}) - states
        for graph in graphs:
            for node in graph.nodes:
                if node.op_type == "Constant" or (node.inputs and self._stored.issuperset(node.inputs)):
                    self._stored.update(node.outputs)
        for graph in graphs:
            if any(node.op_type in COMPARISONS or node.op_type in _STEPS for node in graph.nodes):
                self._look(graph)

    def _look(self, graph: Graph) -> None:
        # Where the steps do not suffice for all: half of them for the index, half of the rest for what fires.
        nodes = graph.nodes[: max(0, self.steps.left) // (2 * _NODE)]
        self.complete &= len(nodes) == len(graph.nodes)
        self.steps.left -= _NODE * len(nodes)
        self._consumers: dict[str, list[Node]] = {}
        self._producers: dict[str, Node] = {}
        self._lone: set[int] = set()
        """Nodes that take one value, and stored ones."""
        self._states: dict[str, _State] = {}
        self._spiky: dict[str, _State] = {}
        self._flags: set[str] = set()
        for node in nodes:
            moving = set(node.inputs) - self._stored
            if len(moving) == 1:
                self._lone.add(id(node))
            for name in moving:
                self._consumers.setdefault(name, []).append(node)
            self._producers.update(dict.fromkeys(node.outputs, node))
        self._carried = self._unpacked(_carried(graph))
        self._outputs = {value.name for value in graph.outputs}
        half = self.steps.left // 2
        for node in nodes:
            if node.op_type in COMPARISONS or node.op_type in _STEPS:
                self.steps.left -= _FIRE
                if self.steps.left < half:
                    self.complete = False
                    break
                self._fire(node)
        for name, state in self._states.items():
            reset = self._resets(name, state)
            if self.steps.left <= 0:
                self.complete = False
                return
            if reset is not None:
                self.resets.append(reset.name or reset.op_type)

    def _unpacked(self, carried: dict[str, str]) -> dict[str, str]:
        """What is carried round, and the parts of what is packed for it: joined by Concat, and split up again."""
        parts = dict(carried)
        for after, before in carried.items():
            packed = self._producers.get(after)
            for _ in range(4):
                if packed is not None and packed.op_type in _CASTS:
                    packed = self._producers.get(packed.inputs[0]) if packed.inputs else None
            if packed is None or packed.op_type != "Concat":
                continue
            for node in self._consumers.get(before, ())[:REACH]:
                self.steps.left -= 1
                if node.op_type == "Split" and len(node.outputs) == len(packed.inputs) <= REACH:
                    self.steps.left -= len(node.outputs)
                    parts |= zip(packed.inputs, node.outputs, strict=True)
        return parts

    # --- 1: fire ----------------------------------------------------------------------------------------------------

    def _fire(self, node: Node) -> None:
        """Note a firing node under the state it holds against a threshold."""
        moving = [(index, name) for index, name in enumerate(node.inputs) if name not in self._stored]
        if not moving or not node.outputs:
            return
        index, name = moving[0]
        above = node.op_type not in ("Less", "LessOrEqual")
        if index == 1:
            above = not above
        owner = self._spiky.get(name)
        if owner is not None:
            # A spike made a flag again (s > 0.5), to choose the reset by.
            self._numbers(node.outputs[0], above is owner.spikes[name], owner)
            return
        state = self._states.setdefault(self._base(name), _State())
        if node.op_type in _STEPS:
            self._spread(node.outputs[0], True, state)
        else:
            self._numbers(node.outputs[0], above, state)

    def _base(self, name: str) -> str:
        """The state behind a value: v of ``v - threshold`` or ``v / threshold``."""
        for turn in range(6):
            node = self._producers.get(name)
            if node is None or node.op_type not in _SHIFTS or len(node.inputs) > 2:
                break
            moving = [item for item in node.inputs if item not in self._stored]
            if turn == 0 and node.op_type == "Sub" and len(moving) == 2 and self._only_compared(name):
                moving = moving[:1]  # of a threshold that adapts
            if len(moving) != 1:
                break
            name = moving[0]
        return name

    def _only_compared(self, name: str) -> bool:
        return all(node.op_type in COMPARISONS for node in self._consumers.get(name, ())[:REACH])

    def _numbers(self, flag: str, high: bool, state: _State) -> None:
        """A boolean outcome made a number: Cast, or Where between stored arms."""
        todo = [(flag, high)]
        while todo:
            name, up = todo.pop()
            if name in self._flags:
                continue
            self._flags.add(name)
            state.flags[name] = up
            for node in self._consumers.get(name, ()):
                for output in node.outputs[:1]:
                    if node.op_type == "Not":
                        todo.append((output, not up))
                    elif node.op_type in ("Cast", "CastLike") or (
                        node.op_type == "Where" and node.inputs[0] == name and self._stored.issuperset(node.inputs[1:])
                    ):
                        self._spread(output, up, state)

    def _spread(self, spike: str, high: bool, state: _State) -> None:
        """The spike through casts, and scaled or turned round by stored numbers (``1 - s``)."""
        todo = [(spike, high)]
        while todo:
            name, up = todo.pop()
            if name in self._spiky:
                continue
            self._spiky[name] = state
            state.spikes[name] = up
            for node in self._consumers.get(name, ()):
                if node.op_type == "Mul" and all(
                    self._spiky.get(item) is state or self._counts(item, state) for item in node.inputs
                ):
                    # Whether it fires, and how often: the spikes of a step that may hold several.
                    todo += [(output, up) for output in node.outputs[:1]]
                elif node.op_type in _SCALED and id(node) in self._lone:
                    turned = node.op_type == "Neg" or (node.op_type == "Sub" and node.inputs[1:] == (name,))
                    todo += [(output, up is not turned) for output in node.outputs[:1]]

    def _counts(self, name: str, state: _State) -> bool:
        """Whether a value is the state made whole: cast to integers and back, behind a division by the threshold."""
        ops: list[str] = []
        node = self._producers.get(name)
        while node is not None and node.op_type in _CASTS and len(ops) < 4:
            ops.append(node.op_type)
            node = self._producers.get(node.inputs[0]) if node.inputs else None
        divided = node is not None and node.op_type == "Div" and node.inputs[1:] and node.inputs[1] in self._stored
        return bool(divided) and ops.count("Cast") >= 2 and self._states.get(self._base(name)) is state

    # --- 2 to 5 -----------------------------------------------------------------------------------------------------

    def _resets(self, name: str, state: _State) -> Node | None:
        """The node that resets this state, if emission, reset, integration and the next firing are all there."""
        weighted = dict.fromkeys(state.spikes)  # the spike, or times anything: the threshold, or the state itself
        for value in state.spikes:
            for node in self._consumers.get(value, ()):
                if node.op_type in ("Mul", "QLinearMul"):
                    weighted.update(dict.fromkeys(node.outputs[:1]))
        near = {
            id(node): node for value in (*weighted, *state.flags) for node in self._consumers.get(value, ())[:REACH]
        }
        self.steps.left -= len(near)
        # Most thresholds reset nothing, and are done here.
        candidates = [(node, kept) for node in near.values() if (kept := self._kept(node, state, weighted))]
        if not candidates:
            return None
        descent = dict.fromkeys(self._reached((name,)))
        emitted = self._emitted(state, descent)
        for node, kept in candidates:
            # A step on its own fires after the reset: what leaves it is the spike of the state it made.
            if (
                (emitted or self._emits_next(node, descent))
                and any(value in descent for value in kept)
                and self._fires_again(node.outputs, name)
                and self._integrates(descent, name)
            ):
                return node
        return None

    def _kept(self, node: Node, state: _State, weighted: dict[str, None]) -> list[str]:
        """What a node keeps without a spike and changes with one, if it does that; a state it resets is among it."""
        if len(node.inputs) > 8:  # QLinearAdd's and QLinearMul's
            return []
        moving = [name for name in node.inputs if name not in self._stored]
        pairs = [(moving[0], moving[1]), (moving[1], moving[0])] if len(moving) == 2 else []
        if node.op_type == "Sub":
            return moving[:1] if pairs and moving[1] in weighted else []
        if node.op_type in ("Add", "QLinearAdd"):  # minus a spike, written as plus a negative one
            return [kept for kept, spike in pairs if spike in state.spikes and self._made_by(spike) == "Neg"]
        if node.op_type in ("Mul", "QLinearMul"):
            return [kept for kept, spike in pairs if state.spikes.get(spike) is False]
        if node.op_type == "Where" and len(node.inputs) == 3:
            high = state.flags.get(node.inputs[0], state.spikes.get(node.inputs[0]))
            if high is not None:
                kept, replaced = node.inputs[2 if high else 1], node.inputs[1 if high else 2]
                return [kept] if replaced in self._stored else []
        return []

    def _made_by(self, name: str) -> str:
        node = self._producers.get(name)
        return "" if node is None else node.op_type

    def _emitted(self, state: _State, descent: dict[str, None]) -> bool:
        """Whether the spike itself goes to a learnt layer or leaves the graph, counted up perhaps."""
        todo = [name for name, up in state.spikes.items() if up]
        seen = set(todo)
        for name in todo:
            if name in self._outputs:
                return True
            for node in self._consumers.get(name, ())[:REACH]:
                self.steps.left -= 1 + len(node.outputs)
                if node.op_type in PRODUCTS or node.op_type in LAYERS:
                    return True
                counted = node.op_type == "Add" and not any(item in descent for item in node.inputs[:2])
                if node.op_type in _CARRIERS or counted:
                    fresh = [item for item in node.outputs if item not in seen]
                    seen.update(fresh)
                    todo += fresh
            if len(seen) > REACH or self.steps.left <= 0:
                break
        return False

    def _emits_next(self, reset: Node, descent: dict[str, None]) -> bool:
        """Whether what a reset leaves is carried on, and fires a spike that goes out."""
        states = [self._states[value] for value in reset.outputs if value in self._states and value in self._carried]
        return any(self._emitted(state, descent) for state in states)

    def _integrates(self, descent: dict[str, None], state: str) -> bool:
        """Whether something that does not come of the state is added to it before it fires again."""
        for name in descent:
            for node in self._consumers.get(name, ())[:REACH]:
                if node.op_type not in ("Add", "Sub", "Sum", "QLinearAdd"):
                    continue
                self.steps.left -= len(node.inputs)
                others = (item for item in node.inputs if item != name)
                new = any(o not in self._stored and o not in descent and o not in self._spiky for o in others)
                if new and self._fires_again(node.outputs, state):
                    return True
                if self.steps.left <= 0:
                    return False
        return False

    def _fires_again(self, starts: Iterable[str], state: str) -> bool:
        """Whether values come to a threshold: another state's, or this one's where a loop carries it round."""
        return any(value in self._states and (self._carried or value != state) for value in self._reached(starts))

    def _reached(self, starts: Iterable[str]) -> Iterator[str]:
        """`starts`, and values reached from them through pointwise operators and round a loop, nearest first."""
        todo = list(dict.fromkeys(starts))
        seen = set(todo)
        for name in todo:
            yield name
            self.steps.left -= 2
            if len(seen) > REACH or self.steps.left <= 0:
                continue
            follow = [self._carried[name]] if name in self._carried else []
            for node in self._consumers.get(name, ())[:REACH]:
                # A flag or mask made of the state is not the state: a comparison ends the way, and so does
                # choosing by it.
                self.steps.left -= 1
                if node.op_type in _WAY and not (node.op_type == "Where" and node.inputs[0] == name):
                    self.steps.left -= len(node.outputs)
                    follow += node.outputs
            # Nor is the spike itself, however many it counts.
            fresh = [item for item in dict.fromkeys(follow) if item not in seen and item not in self._spiky]
            seen.update(fresh)
            todo += fresh


def _streamed(graph: Graph) -> dict[str, str]:
    """Output -> input, for states that a caller may carry from call to call: ``<name>_out`` of an input with a start
    value."""
    names = {value.name for value in graph.outputs}
    return {f"{name}_out": name for name in graph.defaults if f"{name}_out" in names}


def _carried(graph: Graph) -> dict[str, str]:
    """Body output -> body input, for the state of a Loop (condition first) or Scan body, or of one step with start
    values; empty for other graphs."""
    if streamed := _streamed(graph):
        return streamed
    ins = [value.name for value in graph.inputs]
    outs = [value.name for value in graph.outputs]
    if len(ins) < 2 or not outs:
        return {}
    loop = len(ins) >= 3 and graph.inputs[1].dtype == "bool"
    return dict(zip(outs[1:], ins[2:], strict=False)) if loop else dict(zip(outs, ins, strict=False))
