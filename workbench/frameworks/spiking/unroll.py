"""An ONNX network that another framework unrolled, looped or cut into single steps, as one step of it.

Frameworks without an operator for spikes export arithmetic: every step written out, a Loop or Scan, or one step whose
states a person carries round. `one_step` brings these to one form. It follows the file's operators for some steps
(`Trace`): what depends on no input is computed, every other value becomes an `Op` for each step, which knows how late
a step's input it depends on. Steps in the middle then must be alike (`_Matcher`): that tells which value of a step goes
on as which of the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper
from onnx.reference import ReferenceEvaluator

from ...errors import BadInput, UnsupportedModel
from .read import attributes_of, refused

STEPS = 10
"""How far a Loop, a Scan or a single step is followed: enough for its steps to be alike, a layer behind the next."""

FEWEST = 5
"""Steps of an unrolled file, of which the first is often simplified."""

MOST = 100_000
"""Operators followed."""

BESIDE_TIME = {
    "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Clip", "Cast", "Identity", "Dropout", "Relu", "LeakyRelu", "Sigmoid",
    "Tanh", "Elu", "Selu", "Softplus", "MatMul", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Where", "Not",
    "Floor", "Sign", "Min", "Max", "Sqrt", "Exp",
}  # fmt: skip
"""What does the same to each step of a whole series."""


@dataclass(eq=False, repr=False)
class Op:
    """One operator in one step.

    Attributes:
        op: its op_type; ``input`` for what the network is given.
        name: what the file calls its result.
        taken: other operators of this step or the one before, constants, None where an optional input is left out.
        shape: of its result, batch first.
        time: the latest step whose input it depends on.
        result: which of its results.
    """

    op: str
    name: str
    taken: tuple[Op | np.ndarray | None, ...]
    attributes: dict[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    time: int
    result: int = 0

    def before(self) -> list[Op]:
        return [one for one in self.taken if isinstance(one, Op)]


Item = Op | np.ndarray


@dataclass(eq=False, repr=False)
class Series:
    """A tensor of all steps: one item for each, time along `axis`; folded into the batch where that is None."""

    items: list[Item]
    axis: int | None

    def shape(self) -> tuple[int, ...]:
        one = self.items[0].shape
        if self.axis is None:
            return (len(self.items) * one[0], *one[1:])
        return (*one[: self.axis], len(self.items), *one[self.axis :])


Value = Item | Series | None


@dataclass
class Form:
    """How a file keeps time.

    Attributes:
        input: name of what it is given; shape: of that, for one step, batch first.
        axis: where time lies in it; None for a single step.
        steps: how many it takes; None for any number.
        states: input -> output that goes back there, of a single step, or None: from zeros.
        zeros: name -> shape of every other input.
        outputs: those that are series -> which axis of them is time; None for a single step's.
        last: those of them that come once, after the last step.
    """

    input: str
    shape: tuple[int, ...]
    axis: int | None
    steps: int | None
    states: dict[str, str]
    zeros: dict[str, tuple[int, ...]]
    outputs: dict[str, int | None] = field(default_factory=dict)
    last: set[str] = field(default_factory=set)


@dataclass(repr=False)
class Step:
    """One step of a network.

    Attributes:
        ops: in order; what they take of the step before is in `carried`.
        carried: operator of the step before -> the one of this step that becomes it.
        starts: the same -> what stands for it before the first step; zero where there is none.
        outputs: name -> (operator, what comes out in the steps before its first answer).
    """

    input: Op
    ops: list[Op]
    carried: dict[Op, Op]
    starts: dict[Op, np.ndarray]
    outputs: dict[str, tuple[Op, list[np.ndarray]]]
    form: Form


def one_step(model: onnx.ModelProto, states: dict[str, str] | None, time_axis: int | None) -> Step:
    """One step of the network in a file.

    Args:
        states: of a single step: which input is given which output of the step before.
        time_axis: which axis of the input is time.

    Raises:
        UnsupportedModel: it keeps time in no way that is known, or its steps differ.
        BadInput: `states` names what there is not.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    with np.errstate(all="ignore"):
        trace = Trace(model)
        outputs, form = trace.followed(states, time_axis)
        return _rolled(outputs, form)


class Trace:
    """Follows a model's operators."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.seen = 0
        self.steps = 0
        """Of the whole input, where the file says it."""
        self.shapes: dict[tuple[bytes, str], list[tuple[tuple[int, ...], np.dtype[Any]]]] = {}

    def followed(self, states: dict[str, str] | None, time_axis: int | None) -> tuple[dict[str, Series], Form]:
        graph = self.model.graph
        held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        entries = {entry.name: _dims(entry) for entry in graph.input if entry.name not in held}
        if not entries:
            raise UnsupportedModel(f"{graph.name or 'The model'} takes no input.")
        first, *rest = entries
        pairs = self._paired(first, entries, states)
        if pairs:
            form = Form(first, _known(entries[first]), None, None, pairs, {n: _known(entries[n]) for n in pairs})
            return self._single_steps(form, held), form
        axis = self._time_axis(first, entries[first]) if time_axis is None else time_axis
        dims = entries[first]
        if not 0 <= axis < min(2, len(dims)):
            raise BadInput(f"time_axis is {axis}; expected 0 or 1, an axis of the input {first!r} of shape {dims}.")
        shape = _known([length for index, length in enumerate(dims) if index != axis])
        form = Form(first, shape, axis, dims[axis] or None, {}, {name: _known(entries[name]) for name in rest})
        self.steps = dims[axis]
        inputs = [self._input(first, shape, time) for time in range(dims[axis] or STEPS)]
        env: dict[str, Value] = {**held, first: Series(list(inputs), axis)}
        env |= {name: np.zeros(length, np.float32) for name, length in form.zeros.items()}
        self._graph(graph, env)
        outputs = {}
        for entry in graph.output:
            value = env[entry.name]
            if isinstance(value, Op) and (summed := _summed(value)) is not None:
                value = summed
                form.last.add(entry.name)
            if isinstance(value, Series) and value.axis is not None:
                outputs[entry.name] = value
                form.outputs[entry.name] = value.axis
        if not outputs:
            names = ", ".join(entry.name for entry in graph.output)
            raise UnsupportedModel(
                f"No output of {graph.name or 'the model'} is a series over time ({names}): expected an answer "
                "for every step."
            )
        return outputs, form

    def _input(self, name: str, shape: tuple[int, ...], time: int) -> Op:
        return Op("input", name, (), {}, shape, np.dtype(np.float32), time)

    def _time_axis(self, name: str, dims: Sequence[int]) -> int:
        """Along which of its two first axes the input, or what is made of it step by step, is taken apart."""
        of = {name}
        for node in self.model.graph.node:
            inner = {one for attribute in node.attribute for part in attribute.g.node for one in part.input}
            if not of.intersection((*node.input, *inner)):
                continue
            stored = attributes_of(node)
            if node.op_type in ("Gather", "Split"):
                return int(stored.get("axis", 0))
            if node.op_type in ("Loop", "Scan", "Slice", "Reshape"):
                return 0
            of.update(node.output)
        raise UnsupportedModel(
            f"Nothing in the file takes the input {name!r} of shape {list(dims)} apart into steps: expected every step "
            "written out, a Loop or Scan over time, or a single step whose states are inputs and outputs (states=)."
        )

    def _paired(self, first: str, entries: dict[str, list[int]], states: dict[str, str] | None) -> dict[str, str]:
        """State input -> output, of a single step: as a person says, else in order where every shape fits."""
        graph = self.model.graph
        outputs = [(entry.name, _dims(entry)) for entry in graph.output]
        rest = [name for name in entries if name != first]
        said = f"{', '.join(rest)} and {', '.join(dict(outputs))}"
        if states is not None:
            pairs = [
                (name, of) for pair in states.items() for name, of in zip(pair, (rest, dict(outputs)), strict=True)
            ]
            if wrong := [name for name, of in pairs if name not in of]:
                raise BadInput(f"states names {wrong[0]!r}; expected {{input: output}} of {said}.")
            if missing := [name for name in rest if name not in states]:
                raise BadInput(f"states leaves {missing[0]!r} out; expected {{input: output}} of {said}.")
            return states
        if not rest or any(node.op_type in ("Loop", "Scan") for node in graph.node):
            return {}
        last = outputs[len(outputs) - len(rest) :]
        if len(outputs) <= len(rest) or any(entries[a] != dims for a, (_, dims) in zip(rest, last, strict=True)):
            raise UnsupportedModel(
                f"The file has states or further inputs, and the shapes of {said} do not tell which output is which "
                "state of the next step: say states={input: output}."
            )
        return {name: output for name, (output, _) in zip(rest, last, strict=True)}

    def _single_steps(self, form: Form, held: dict[str, np.ndarray]) -> dict[str, Series]:
        now: dict[str, Value] = {name: np.zeros(shape, np.float32) for name, shape in form.zeros.items()}
        answers: dict[str, list[Item]] = {}
        graph = self.model.graph
        for time in range(STEPS):
            env: dict[str, Value] = {**held, **now, form.input: self._input(form.input, form.shape, time)}
            self._graph(graph, env)
            now = {name: env[output] for name, output in form.states.items()}
            for position, entry in enumerate(graph.output):
                value = env[entry.name]
                if isinstance(value, Op | np.ndarray) and position < len(graph.output) - len(form.states):
                    answers.setdefault(entry.name, []).append(value)
        form.outputs = dict.fromkeys(answers)
        return {name: Series(items, 0) for name, items in answers.items()}

    # --- graphs

    def _graph(self, graph: onnx.GraphProto, env: dict[str, Value]) -> None:
        for tensor in graph.initializer:
            env[tensor.name] = numpy_helper.to_array(tensor)
        for node in graph.node:
            self.seen += 1
            if self.seen > MOST:
                raise UnsupportedModel(f"The file has more than {MOST:,} operators to follow.")
            taken = [env[name] if name else None for name in node.input]
            if node.op_type in ("Loop", "Scan"):
                results = (self._loop if node.op_type == "Loop" else self._scan)(node, taken, env)
            elif any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute):
                raise refused(node, "chooses what to compute, which no spiking network here does")
            elif any(isinstance(value, Series) for value in taken):
                results = self._series(node, taken)
            else:
                results = self._plain(node, taken)
            env.update(zip(node.output, results, strict=False))

    def _loop(self, node: onnx.NodeProto, taken: list[Value], env: dict[str, Value]) -> list[Value]:
        body = node.attribute[0].g
        count, start, *carried = taken
        if not isinstance(count, np.ndarray) or (
            start is not None and not (isinstance(start, np.ndarray) and start.all())
        ):
            raise refused(node, "does not say in the file how many steps it takes")
        rows = []
        for step in range(min(int(count), STEPS)):
            more, *results = self._step(body, env, [np.array(step), np.array(True), *carried])
            if not isinstance(more, np.ndarray) or not more.all():
                raise refused(node, "may end early, by what it computes")
            carried = results[: len(carried)]
            rows.append(results[len(carried) :])
        return [*carried, *self._columns(node, rows, len(body.output) - 1 - len(carried))]

    def _scan(self, node: onnx.NodeProto, taken: list[Value], env: dict[str, Value]) -> list[Value]:
        stored = attributes_of(node)
        body, count = stored.pop("body"), int(stored.pop("num_scan_inputs"))
        if any(any(value) for value in stored.values()):
            raise refused(node, "runs along other axes than the first, or backwards")
        carried, fed = taken[: len(taken) - count], taken[len(taken) - count :]
        series = [value for value in fed if isinstance(value, Series) and value.axis == 0]
        if len(series) != count:
            raise refused(node, "runs over something else than the steps of the input")
        rows = []
        for items in zip(*(one.items for one in series), strict=True):
            results = self._step(body, env, [*carried, *items])
            carried = results[: len(carried)]
            rows.append(results[len(carried) :])
        return [*carried, *self._columns(node, rows, len(body.output) - len(carried))]

    def _step(self, body: onnx.GraphProto, env: dict[str, Value], given: Sequence[Value]) -> list[Value]:
        """What a Loop's or Scan's body makes of what it is given once."""
        inner = env | dict(zip((value.name for value in body.input), given, strict=True))
        self._graph(body, inner)
        return [inner[value.name] for value in body.output]

    def _columns(self, node: onnx.NodeProto, rows: list[list[Value]], count: int) -> list[Value]:
        return [Series([self._item(node, row[index]) for row in rows], 0) for index in range(count)]

    def _item(self, node: onnx.NodeProto, value: Value) -> Item:
        if not isinstance(value, Op | np.ndarray):
            raise refused(node, "gives something else than one answer for each step")
        return value

    # --- operators

    def _plain(self, node: onnx.NodeProto, taken: Sequence[Value]) -> list[Value]:
        """An operator on constants, which is computed, or on one step."""
        values = [value for value in taken if not isinstance(value, Series)]
        moving = [value for value in values if isinstance(value, Op)]
        if not moving:
            return list(self._computed(node, values))  # type: ignore[arg-type]
        if node.op_type == "Shape":
            return list(self._computed(node, [np.zeros(moving[0].shape, np.int8)]))
        if node.op_type in ("Identity", "Dropout") or (node.op_type == "Cast" and _keeps(node, moving[0].dtype)):
            return [moving[0]]
        stored = attributes_of(node)
        if node.op_type == "Unsqueeze" and (axes := _axes(values[1:], stored)) in ([0], [1]):
            return [Series([moving[0]], axes[0])]
        if node.op_type == "Split" and (parts := self._parts_again(node, moving[0], values, stored)) is not None:
            return parts
        time = max(one.time for one in moving)
        made: list[Value] = []
        for index, (shape, dtype) in enumerate(self._shaped(node, values)):
            made.append(Op(node.op_type, node.output[index], tuple(values), stored, shape, dtype, time, index))
        return made

    def _parts_again(
        self, node: onnx.NodeProto, whole: Op, values: list[Any], stored: dict[str, Any]
    ) -> list[Value] | None:
        """What was joined to be carried round, and is split as it was."""
        sizes = values[1] if len(values) > 1 else None
        axis = stored.get("axis", 0) % len(whole.shape)
        if (
            whole.op != "Concat"
            or whole.attributes["axis"] % len(whole.shape) != axis
            or not isinstance(sizes, np.ndarray)
        ):
            return None
        parts = [one.shape[axis] for one in whole.taken if one is not None]
        return list(whole.taken) if parts == sizes.tolist() else None

    def _series(self, node: onnx.NodeProto, taken: list[Value]) -> list[Value]:
        """An operator on all steps at once: it takes them apart, joins them, or does the same to each."""
        stored = attributes_of(node)
        series = next(value for value in taken if isinstance(value, Series))
        if node.op_type == "Shape":
            return list(self._computed(node, [np.zeros(series.shape(), np.int8)]))
        if node.op_type == "Identity":
            return [series]
        if node.op_type == "Concat":
            return [self._joined(node, taken, stored["axis"])]
        apart = getattr(self, f"_{node.op_type.lower()}", None)
        if apart is not None and taken[0] is series:
            made: list[Value] | None = apart(node, series, taken[1:], stored)
            if made is not None:
                return made
        if node.op_type not in BESIDE_TIME and series.axis is not None:
            raise refused(node, "works on all steps at once, and not on each by itself")
        rank = len(series.shape())
        rows = []
        for step in range(len(series.items)):
            row: list[Value] = []
            for value in taken:
                if isinstance(value, Series):
                    if (value.axis, len(value.items)) != (series.axis, len(series.items)):
                        raise refused(node, "mixes series whose steps lie differently")
                    row.append(value.items[step])
                elif isinstance(value, np.ndarray) and value.ndim == rank and series.axis is not None:
                    many = value.shape[series.axis] > 1
                    row.append(value.take(step if many else 0, axis=series.axis))
                else:
                    row.append(value)
            rows.append(self._plain(node, row))
        return [Series([self._item(node, row[i]) for row in rows], series.axis) for i in range(len(node.output))]

    def _reducesum(self, node: Any, series: Series, rest: list[Value], stored: dict[str, Any]) -> list[Value] | None:
        """A sum or mean over all steps, added up step by step."""
        if _axes(rest, stored) != [series.axis] or stored.get("keepdims", 1):
            return None
        total: Value = np.zeros(series.items[0].shape, np.float32)
        for item in series.items:
            total = self._plain(helper.make_node("Add", ["total", "x"], [node.output[0]]), [total, item])[0]
        if node.op_type == "ReduceMean":
            share = np.array(self.steps or len(series.items), np.float32)
            total = self._plain(helper.make_node("Div", ["total", "steps"], [node.output[0]]), [total, share])[0]
        return [total]

    _reducemean = _reducesum

    def _joined(self, node: onnx.NodeProto, taken: list[Value], axis: int) -> Series:
        items: list[Item] = []
        for value in taken:
            if isinstance(value, Series) and value.axis == axis:
                items += value.items
            elif isinstance(value, np.ndarray):
                items += list(np.moveaxis(value, axis, 0))
            else:
                raise refused(node, "joins steps and other things")
        return Series(items, axis)

    def _gather(self, node: Any, series: Series, rest: list[Value], stored: dict[str, Any]) -> list[Value] | None:
        index = rest[0]
        if series.axis != stored.get("axis", 0) or not isinstance(index, np.ndarray) or index.ndim > 1:
            return None
        chosen = [series.items[int(one)] for one in index.reshape(-1)]
        return [chosen[0] if not index.ndim else Series(chosen, series.axis)]

    def _slice(self, node: Any, series: Series, rest: list[Value], stored: dict[str, Any]) -> list[Value] | None:
        starts, ends, axes, strides = (*rest, None, None)[:4]
        if not isinstance(axes, np.ndarray) or axes.tolist() != [series.axis]:
            return None
        step = int(strides[0]) if isinstance(strides, np.ndarray) else 1
        if not isinstance(starts, np.ndarray) or not isinstance(ends, np.ndarray):
            return None
        return [Series(series.items[int(starts[0]) : int(ends[0]) : step], series.axis)]

    def _split(self, node: Any, series: Series, rest: list[Value], stored: dict[str, Any]) -> list[Value] | None:
        if series.axis != stored.get("axis", 0):
            return None
        sizes = rest[0].tolist() if rest and isinstance(rest[0], np.ndarray) else [1] * len(node.output)
        ends = np.cumsum(sizes)
        return [Series(series.items[end - size : end], series.axis) for size, end in zip(sizes, ends, strict=True)]

    def _squeeze(self, node: Any, series: Series, rest: list[Value], stored: dict[str, Any]) -> list[Value] | None:
        return [series.items[0]] if _axes(rest, stored) == [series.axis] and len(series.items) == 1 else None

    def _transpose(self, node: Any, series: Series, rest: list[Value], stored: dict[str, Any]) -> list[Value] | None:
        perm = list(stored.get("perm", []))
        if series.axis in (0, 1) and perm == [1, 0, *range(2, len(perm))]:
            return [Series(series.items, 1 - series.axis)]
        return None

    def _reshape(self, node: Any, series: Series, rest: list[Value], stored: dict[str, Any]) -> list[Value] | None:
        """Time folded into the batch and taken out again, or each step's numbers in another shape."""
        target = rest[0]
        if not isinstance(target, np.ndarray):
            return None
        before, one, steps = series.shape(), series.items[0].shape, len(series.items)
        after = [before[i] if length == 0 else int(length) for i, length in enumerate(target)]
        if -1 in after:
            after[after.index(-1)] = math.prod(before) // -math.prod(after)
        if series.axis == 0 and after[0] == steps * one[0]:
            axis, shape = None, [one[0], *after[1:]]
        elif series.axis in (0, None) and after[:2] == [steps, one[0]]:
            axis, shape = 0, after[1:]
        else:
            return None
        if tuple(shape) == one:
            return [Series(series.items, axis)]
        to = helper.make_node("Reshape", ["x", "shape"], [node.output[0]])
        made = [self._plain(to, [item, np.array([0, *shape[1:]])])[0] for item in series.items]
        return [Series([self._item(node, item) for item in made], axis)]

    # --- one operator

    def _computed(self, node: onnx.NodeProto, taken: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        names = [f"i{index}" if value is not None else "" for index, value in enumerate(taken)]
        alone = onnx.NodeProto()
        alone.CopyFrom(node)
        del alone.input[:]
        alone.input.extend(names)
        graph = helper.make_graph(
            [alone],
            "one",
            [onnx.ValueInfoProto(name=name) for name in names if name],
            [onnx.ValueInfoProto(name=name) for name in node.output if name],
        )
        model = helper.make_model(graph, opset_imports=self.model.opset_import)
        try:
            run = ReferenceEvaluator(model).run
            return list(run(None, {name: value for name, value in zip(names, taken, strict=True) if name}))
        except Exception as error:  # of whatever operator it is
            reason = " ".join(str(error).split())[:160]
            raise refused(node, f"cannot be followed: {reason or type(error).__name__}") from error

    def _shaped(self, node: onnx.NodeProto, values: Sequence[Any]) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shapes and types of its results, found once for all steps."""
        alike = onnx.NodeProto(op_type=node.op_type, domain=node.domain, attribute=node.attribute)
        # (of real numbers the shape is enough)
        taken = [
            None
            if one is None
            else (one.shape, str(one.dtype), None if isinstance(one, Op) or one.dtype.kind == "f" else one.tobytes())
            for one in values
        ]
        key = alike.SerializeToString(), repr(taken)
        if key not in self.shapes:
            zeros = [np.zeros(one.shape, one.dtype) if isinstance(one, Op) else one for one in values]
            self.shapes[key] = [(np.shape(made), np.asarray(made).dtype) for made in self._computed(node, zeros)]
        return self.shapes[key]


def _summed(value: Op) -> Series | None:
    """What is added up over all steps, as it stands after each of them; with what becomes of it at last."""
    last, op = [], value
    while len(op.before()) == 1 and op.op in BESIDE_TIME:
        last.append(op)
        (op,) = op.before()
    sums: list[Op] = []
    found: Op | None = op
    while found is not None:
        sums.insert(0, found)
        found = next(
            (one for one in found.before() if (one.op, one.shape, one.time) == (op.op, op.shape, sums[0].time - 1)),
            None,
        )
    if len(sums) < FEWEST:
        return None
    items: list[Item] = []
    for one in sums:
        for after in reversed(last):
            taken = tuple(one if isinstance(part, Op) else part for part in after.taken)
            one = Op(after.op, after.name, taken, after.attributes, after.shape, after.dtype, one.time)
        items.append(one)
    return Series(items, 0)


# --- steps that are alike --------------------------------------------------------------------------------------------


class _Matcher:
    """Which operator of a step is which of the next.

    Attributes:
        later: operator -> the one of the next step.
        starts: operator of the first step -> what stands for it before that.
    """

    def __init__(self) -> None:
        self.later: dict[Op, Op] = {}
        self.starts: dict[Op, np.ndarray] = {}

    def match(self, late: Item | None, early: Item | None) -> None:
        todo = [(late, early)]
        while todo:
            one, other = todo.pop()
            if isinstance(one, Op) and isinstance(other, Op):
                if self.later.get(other) is one:
                    continue
                alike = _alike(one, other) and self.later.setdefault(other, one) is one
                if alike:
                    todo += zip(one.taken, other.taken, strict=True)
                elif other.time:  # the first step may be simplified
                    raise UnsupportedModel(
                        f"The steps of the file are not alike: step {one.time + 1} computes {one.name!r} by {one.op} "
                        f"where step {other.time + 1} has {other.name!r}, {other.op}."
                    )
            elif isinstance(one, Op) and isinstance(other, np.ndarray) and one.time == 0:
                self.starts[one] = other
            elif not _equal(one, other):
                raise UnsupportedModel(
                    "The steps of the file are not alike: one of them uses another constant "
                    f"({_shown(one)}) where the step before it uses {_shown(other)}."
                )


def _alike(one: Op, other: Op) -> bool:
    return (
        (one.op, one.result, one.shape, len(one.taken)) == (other.op, other.result, other.shape, len(other.taken))
        and one.time == other.time + 1
        and str(one.attributes) == str(other.attributes)
    )


def _equal(one: Any, other: Any) -> bool:
    if one is None or other is None or isinstance(one, Op) or isinstance(other, Op):
        return one is other
    return one is other or (one.shape == other.shape and bool(np.array_equal(one, other)))


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.size == 1:
        return f"{value.reshape(-1)[0]:g}"
    return "numbers" if isinstance(value, np.ndarray) else "what it computed"


def _rolled(outputs: dict[str, Series], form: Form) -> Step:
    """A step in the middle, and what it carries on."""
    matcher = _Matcher()
    found: dict[str, tuple[dict[int, Op], list[np.ndarray]]] = {}
    for name, series in outputs.items():
        ops = [item for item in series.items if isinstance(item, Op)]
        if len(series.items) < FEWEST or len(ops) < 3:
            raise UnsupportedModel(
                f"The file has {len(series.items)} steps: at least {FEWEST} are needed to see that they are alike."
            )
        late = len(series.items) - 1 - ops[-1].time
        if len(ops) != len(series.items) - late or any(op.time != step for step, op in enumerate(ops)):
            raise UnsupportedModel(f"The steps of output {name!r} do not follow those of the input one by one.")
        found[name] = dict(enumerate(ops)), [one for one in series.items[:late] if isinstance(one, np.ndarray)]
        for one, other in zip(ops[:0:-1], ops[-2::-1], strict=True):
            matcher.match(one, other)
    for middle in range(min(len(ops) for ops, _ in found.values()) - 2, 1, -1):
        ends = {name: (ops[middle], before) for name, (ops, before) in found.items()}
        if (step := _at(middle, ends, matcher, form)) is not None:
            return step
    raise UnsupportedModel("The steps of the file do not go on from one to the next in one way.")


def _at(middle: int, ends: dict[str, tuple[Op, list[np.ndarray]]], matcher: _Matcher, form: Form) -> Step | None:
    carried: dict[Op, Op] = {}
    ops: dict[Op, None] = {}
    todo = [op for op, _ in ends.values()]
    while todo:
        op = todo.pop()
        if op.time < middle - 1:
            return None
        if op.time < middle:
            if op in carried:
                continue
            if op not in matcher.later:
                return None
            carried[op] = op = matcher.later[op]
        if op not in ops:
            ops[op] = None
            todo += op.before()
    ordered = _ordered(ops)
    entry = next((op for op in ordered if op.op == "input"), None)
    if entry is None:
        return None
    starts = {}
    for op, value in matcher.starts.items():
        while op.time < middle - 1 and op in matcher.later:
            op = matcher.later[op]
        if op in carried:
            starts[op] = value
    return Step(entry, [op for op in ordered if op is not entry], carried, starts, ends, form)


def _ordered(ops: Iterable[Op]) -> list[Op]:
    """Each after what it takes of its own step."""
    out: dict[Op, None] = {}
    inside = set(ops)
    for start in ops:
        stack = [start]
        while stack:
            op = stack[-1]
            waiting = [one for one in op.before() if one in inside and one not in out]
            if waiting and op not in out:
                stack += waiting
            else:
                out[stack.pop()] = None
    return list(out)


def _axes(rest: Sequence[Value], stored: dict[str, Any]) -> list[Any]:
    """Those that an operator names, in its second input or an attribute; empty where it computes them."""
    axes = rest[0] if rest else stored.get("axes")
    return [] if axes is None or isinstance(axes, Op | Series) else np.ravel(axes).tolist()


def _keeps(node: onnx.NodeProto, dtype: np.dtype[Any]) -> bool:
    """Whether a Cast changes nothing."""
    (to,) = (attribute.i for attribute in node.attribute if attribute.name == "to")
    return bool(helper.tensor_dtype_to_np_dtype(to) == dtype)


def _dims(entry: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in entry.type.tensor_type.shape.dim]


def _known(dims: Iterable[int]) -> tuple[int, ...]:
    """Lengths that any number may take the place of are 1: the batch's."""
    return tuple(length or 1 for length in dims)
