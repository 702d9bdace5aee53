"""What lies between the layers of another framework's network, and the neuron it is, found by asking it.

What is computed number by number is a black box with a memory. With r the voltage that is held against a threshold, a
leaky integrate-and-fire neuron has

    r' = decay * (r, or keep * r + reset where r > threshold) + gain * input + bias

whatever the order in which that is written: so decay, gain and bias are found from its answers below the threshold,
keep and reset above it, the threshold itself by bisection to the last bit. Or it fires in a step as
often as the threshold fits into r, and that is taken away; or it has more memories (`memories`). And other questions
are asked, whose answers this must give. What answers otherwise is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper

from ...errors import UnsupportedModel
from .unroll import Op, Step

EXACT = 1e-9
"""How well, of the largest number, the equations must answer for the black box; both are computed in double."""

DISTANCES = (1e-6, 0.3, 3.7, 1e3, 1e6)
"""From the threshold, as well, in which a neuron must be what it is nearby: a voltage may be clipped far away."""


Arriving = list[tuple[Op, np.ndarray]]
"""What arrives at a value, each with its gain."""


def _where(condition: Any, one: Any, other: Any) -> Any:
    return np.where(condition, one, other)


ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Neg": np.negative, "Abs": np.abs,
    "Floor": np.floor, "Sign": np.sign, "Greater": np.greater, "GreaterOrEqual": np.greater_equal, "Less": np.less,
    "LessOrEqual": np.less_equal, "Where": _where, "Not": np.logical_not, "And": np.logical_and, "Or": np.logical_or,
    "Min": np.minimum, "Max": np.maximum, "Cast": lambda x: x, "Clip": np.clip, "Relu": lambda x: np.maximum(x, 0),
}  # fmt: skip
"""What is computed number by number."""

COMPARES = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")


@dataclass(eq=False, repr=False)
class Island:
    """Operators between layers that are computed number by number, and what they remember.

    Attributes:
        ops: in order; own: operator of the step before -> the one of these that becomes it.
        starts: see `unroll.Step`.
    """

    ops: list[Op]
    own: dict[Op, Op]
    starts: dict[Op, np.ndarray]
    name: str = ""

    def __post_init__(self) -> None:
        self.inside = set(self.ops)
        bases = {op: self._base(op) for op in self.ops if op.op in COMPARES}
        # A spike is a number, and may be made a flag again: that is no threshold of its own.
        voltages = [one for one in dict.fromkeys(bases.values()) if not self._follows(one, bases.values())]
        if len(voltages) > 1:
            raise self.refused("holds several values against thresholds")
        self.voltage = voltages[0] if voltages else None
        self.compares = [op for op, base in bases.items() if base is self.voltage]
        self.after = self._following(self.voltage) if self.voltage is not None else set()
        """What follows from the voltage alone."""
        self.currents: dict[Op, dict[Op, Op]] = {}
        """Values that are remembered beside it -> as what: the part of `own` that follows from each alone."""
        for before, op in self.own.items():
            if op not in self.after:
                core = next(one for one in self.ops if op is one or op in self._following(one))
                self.currents.setdefault(core, {})[before] = op
        found: dict[Op, None] = {}
        for op, kept in self.currents.items():
            found |= dict.fromkeys(leaf for leaf in self.leaves(op, {*self.currents, *self.after}) if leaf not in kept)
        if self.voltage is not None:
            found |= dict.fromkeys(self.leaves(self.voltage, self.currents))
        self.taken = [leaf for leaf in found if leaf not in self.inside and self.own.get(leaf) not in self.after]
        """What comes from outside in the same step or from the one before, or of its own currents a step late."""

    def _follows(self, op: Op, others: Iterable[Op]) -> bool:
        return any(op is not one and op in self._following(one) for one in others)

    def _following(self, start: Op) -> set[Op]:
        """What is computed from that value alone."""
        found = {start}
        for op in self.ops:
            before = op.before()
            if before and found.issuperset(before):
                found.add(op)
        return found

    def refused(self, what: str) -> UnsupportedModel:
        return UnsupportedModel(f"What the file computes up to {self.ops[-1].name!r} {what}: no neuron here does that.")

    def _base(self, compare: Op) -> Op:
        """The value that is held against a threshold, before constants were taken from it."""
        if len(compare.before()) != 1:
            raise self.refused("holds a value against a threshold that moves")
        (op,) = compare.before()
        while op.op in ("Sub", "Add", "Neg", "Cast") and len(op.before()) == 1 and op.before()[0] in self.inside:
            (op,) = op.before()
        if op not in self.inside:
            raise self.refused("fires without remembering anything")
        return op

    # --- asking it

    def compute(self, target: Op, known: dict[Op, Any], real: Any = np.float64) -> np.ndarray:
        """A value of it, where others are known."""
        values = dict(known)
        stack = [target]
        while stack:
            op = stack[-1]
            if op in values:
                stack.pop()
                continue
            waiting = [one for one in op.before() if one not in values]
            if any(one not in self.inside for one in waiting) or op not in self.inside:
                raise self.refused("depends on something that is neither its input nor what it remembers")
            if waiting:
                stack += waiting
                continue
            taken = [values[one] if isinstance(one, Op) else _real(one, real) for one in op.taken]
            values[op] = _cast(op, ARITHMETIC[op.op](*taken), real)
            stack.pop()
        return np.broadcast_to(values[target], target.shape)

    def leaves(self, target: Op, stop: Iterable[Op] = ()) -> list[Op]:
        """What a value is computed from: what comes from outside, what is remembered, and what `stop` has of it."""
        ends = set(stop) - {target}
        found: dict[Op, None] = {}
        todo, seen = [target], {target}
        while todo:
            for one in todo.pop().before():
                if one in seen:
                    continue
                seen.add(one)
                if one in self.inside and one not in ends:
                    todo.append(one)
                else:
                    found[one] = None
        return list(found)

    def recalled(self, voltage: np.ndarray) -> dict[Op, Any]:
        """What is remembered of a step that had this voltage."""
        assert self.voltage is not None
        return {b: self.compute(a, {self.voltage: voltage}) for b, a in self.own.items() if a in self.after}

    # --- what it is

    def integrator(self, op: Op) -> tuple[dict[str, np.ndarray], Arriving]:
        """A value that fades and adds what arrives: decay, bias and start, and what arrives, each with its gain."""
        kept = self.currents[op]
        leaves = self.leaves(op, {*self.currents, *self.after})
        zero = dict.fromkeys((leaf for leaf in leaves if leaf not in kept), np.zeros(()))

        def at(value: Any) -> dict[Op, Any]:
            return {b: self.compute(a, {op: np.broadcast_to(value, op.shape)}) for b, a in kept.items()}

        bias = self.compute(op, {**zero, **at(0.0)})
        decay = snapped(self.compute(op, {**zero, **at(1.0)}) - bias)
        if not all(close(self.compute(op, {**zero, **at(one)}), bias + one * decay) for one in (-3.7, 0.01, 1e6, -1e6)):
            raise self.refused("does not fade evenly")
        start = {b: self.starts.get(b, 0.0) for b in kept}
        return {
            "decay": decay, "bias": bias, "voltage": self._before(op, leaves, start, decay, bias),
        }, self.gains(op, leaves, start, at)  # fmt: skip

    def neuron(self) -> tuple[dict[str, np.ndarray], Arriving]:
        """A leaky integrate-and-fire neuron's parameters, and what arrives, each with its gain."""
        threshold, voltage = self.threshold(), self.voltage
        assert voltage is not None
        leaves = self.leaves(voltage, self.currents)
        apart = np.abs(threshold) + 1
        start = {b: self.starts.get(b, 0.0) for b, a in self.own.items() if a in self.after}

        def at(distance: Any, sign: int) -> dict[Op, Any]:
            return _only(self.recalled(threshold + sign * apart * distance), leaves)

        def line(sign: int) -> tuple[np.ndarray, np.ndarray]:
            """(slope, value at a voltage of 0) of the next voltage on one side of the threshold."""
            zero = dict.fromkeys((leaf for leaf in leaves if leaf not in start), np.zeros(()))
            near, far, *others = (self.compute(voltage, {**zero, **at(d, sign)}) for d in (1.0, 2.0, *DISTANCES))
            slope = (far - near) / (sign * apart)
            if not all(close(y, near + slope * sign * apart * (d - 1)) for d, y in zip(DISTANCES, others, strict=True)):
                raise self.refused("does not go on from its voltage in a straight line")
            return slope, near - slope * (threshold + sign * apart)

        decay, drift = line(-1)
        kept, jump = line(1)
        decay, kept = snapped(decay), snapped(kept)
        moving = decay != 0
        keep = np.divide(kept, decay, out=np.zeros_like(decay), where=moving)
        reset = np.divide(jump - drift, decay, out=np.zeros_like(decay), where=moving)
        if not (close(keep, keep.flat[0]) and close(kept, keep * decay) and close(jump, drift + reset * decay)):
            raise self.refused("goes on from a spike in a way of its own")
        arriving = self.gains(voltage, leaves, start, lambda value: at(1 + np.abs(value), -1))
        before = self._before(voltage, leaves, start, decay, drift)
        return {
            "decay": decay, "bias": drift, "threshold": threshold, "reset": snapped(reset),
            "keep": snapped(keep), "voltage": before,
        }, arriving  # fmt: skip

    def _before(
        self, op: Op, leaves: list[Op], start: dict[Op, Any], decay: np.ndarray, bias: np.ndarray
    ) -> np.ndarray:
        """What it was before the first step, which an input of zero leads to the first value from."""
        known = {leaf: np.asarray(start.get(leaf, 0.0), np.float64) for leaf in leaves}
        first = self.compute(op, known)
        return np.divide(first - bias, decay, out=np.zeros_like(decay), where=decay != 0)

    def gains(
        self, op: Op, leaves: list[Op], start: dict[Op, Any], side: Callable[[np.ndarray], dict[Op, Any]]
    ) -> Arriving:
        """How much of each thing that arrives is added; and that it is that much of any of it."""
        rng = np.random.default_rng(0)
        arriving = [leaf for leaf in leaves if leaf not in start]
        at = _only(side(np.zeros(op.shape)), leaves)
        zero = dict.fromkeys(arriving, np.zeros(()))
        base = self.compute(op, {**at, **zero})
        gains = []
        for leaf in arriving:
            if leaf.shape != op.shape:
                raise self.refused(f"takes {leaf.name!r} of shape {leaf.shape[1:]}, and its own is {op.shape[1:]}")
            gains.append((leaf, snapped(self.compute(op, {**at, **zero, leaf: np.ones(op.shape)}) - base)))
        for scale in (1.0, 30.0, 1e6):
            given = {leaf: rng.normal(0, scale, op.shape) for leaf in arriving}
            state = rng.normal(0, 1, op.shape)
            still = self.compute(op, {**_only(side(state), leaves), **zero})
            expected = still + sum((gain * given[leaf] for leaf, gain in gains), np.zeros(op.shape))
            if not close(self.compute(op, {**_only(side(state), leaves), **given}), expected):
                raise self.refused("does not add what arrives in proportion")
        return gains

    def threshold(self) -> np.ndarray:
        """The largest float32 at which it does not fire, by bisection over all of them."""
        voltage, found = self.voltage, []
        assert voltage is not None
        for compare in self.compares:
            low, high = (self.compute(compare, {voltage: end}, np.float32).astype(bool) for end in self._ends())
            if (low == high).any():
                raise self.refused("is held against a threshold that nothing reaches")
            found.append(self._turns(compare)[0])
        if any(not np.array_equal(one, found[0]) for one in found):
            raise self.refused("is held against several thresholds")
        return found[0].astype(np.float64)

    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Voltages far below and far above any threshold."""
        assert self.voltage is not None
        return np.full(self.voltage.shape, -1e30, np.float32), np.full(self.voltage.shape, 1e30, np.float32)

    def _turns(self, op: Op) -> tuple[np.ndarray, np.ndarray]:
        """Between which voltages, next to each other, a value is no longer what it is far below; by bisection."""
        assert self.voltage is not None
        low, high = map(_key, self._ends())
        silent = self.compute(op, {self.voltage: _number(low)}, np.float32)
        for _ in range(33):
            middle = (low + high) // 2
            same = self.compute(op, {self.voltage: _number(middle)}, np.float32) == silent
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        return _number(low), _number(high)

    def given(self, op: Op, threshold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a value is without a spike, and how much more with one, where it tells nothing else."""
        assert self.voltage is not None
        sides = []
        for sign in (-1, 1):
            at = [threshold + sign * (np.abs(threshold) + 1) * distance for distance in (1.0, *DISTANCES)]
            seen = [self.compute(op, {self.voltage: one}).astype(np.float64) for one in at]
            if not all(close(one, seen[0]) for one in seen):
                raise self.refused(
                    f"hands on {op.name!r}, which tells more than whether it fires (its voltage, several spikes)"
                )
            sides.append(seen[0])
        return sides[0], sides[1] - sides[0]

    def several(self, wanted: Iterable[Op]) -> tuple[Any, ...] | None:
        """A neuron that fires as often in a step as its threshold fits into the voltage: its parameters, what arrives
        with its gains, and what each value is without a spike and how much more with each; None where it is none."""
        voltage, wanted = self.voltage, list(wanted)
        assert voltage is not None
        threshold = self._turns(wanted[0])[1].astype(np.float64)
        if not (threshold > 0).all():
            return None
        leaves = self.leaves(voltage, self.currents)
        start = {b: self.starts.get(b, 0.0) for b, a in self.own.items() if a in self.after}
        zero = dict.fromkeys((leaf for leaf in leaves if leaf not in start), np.zeros(()))

        def at(value: Any) -> dict[Op, Any]:
            return _only(self.recalled(np.broadcast_to(value, voltage.shape)), leaves)

        drift = self.compute(voltage, {**zero, **at(0.0)})
        decay = snapped((self.compute(voltage, {**zero, **at(threshold / 2)}) - drift) / (threshold / 2))
        values = {
            op: (self.compute(op, {voltage: -threshold}), self.compute(op, {voltage: 1.5 * threshold})) for op in wanted
        }
        for times in (-1e6, -1.5, -0.3, 0.0, 0.999, 1.0, 1.001, 1.999, 2.0, 3.7, 12.0, 1000.3):
            count = np.floor(max(times, 0.0))
            kept = threshold * (times - count)
            if not close(self.compute(voltage, {**zero, **at(threshold * times)}), drift + decay * kept):
                return None
            for op, (none, once) in values.items():
                if not close(self.compute(op, {voltage: threshold * times}), none + count * (once - none)):
                    return None
        arriving = self.gains(voltage, leaves, start, lambda value: at(-np.abs(value)))
        before = self._before(voltage, leaves, start, decay, drift)
        parameters = {"decay": decay, "bias": drift, "threshold": threshold, "voltage": before}
        return parameters, arriving, {op: (none, once - none) for op, (none, once) in values.items()}

    def check_order(self, behind: set[Op], fitted: Mapping[Op, tuple[Any, list[tuple[Op, Any]]]]) -> None:
        """That nothing needs what comes behind it.

        Args:
            behind: the currents that spikes go into.
        """
        for _, arriving in fitted.values():
            if any(leaf in self.own or (leaf in self.inside and leaf not in self.after) for leaf, _ in arriving):
                raise self.refused("remembers something that changes with another memory")
        if behind and self.voltage is not None:
            taken = self.leaves(self.voltage, self.currents)
            if any(
                leaf in behind or self.own.get(leaf) in behind or self.current_of(self.own.get(leaf, leaf)) in behind
                for leaf in taken
            ):
                raise self.refused("remembers something that changes with its spikes, beside its voltage")

    def shared(self, op: Op, current: Op, beside: Any = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """A value that is so much, and so much times a current, on both sides of what it may be held against."""

        def at(value: Any) -> np.ndarray:
            return self.compute(op, {current: np.broadcast_to(value, current.shape)}).astype(np.float64)

        none, factor = at(0.0), snapped(at(-2.0) - at(-3.0))
        apart = np.abs(beside) + 1
        asked = [beside + sign * apart * distance for sign in (-1, 1) for distance in (1.0, *DISTANCES)]
        if not all(close(at(value), none + factor * value) for value in asked):
            raise self.refused(f"hands on {op.name!r}, which is not in proportion to what it remembers")
        return none, factor

    def current_of(self, op: Op) -> Op | None:
        """The one that a value follows from alone."""
        return next((core for core in self.currents if op in self._following(core)), None)


def _real(value: Any, real: Any) -> Any:
    return value.astype(real) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def _cast(op: Op, value: Any, real: Any) -> Any:
    if op.op != "Cast":
        return value
    to = helper.tensor_dtype_to_np_dtype(op.attributes["to"])
    if to.kind == "f":
        return np.asarray(value).astype(real)
    return np.asarray(value).astype(bool) if to.kind == "b" else np.trunc(np.asarray(value).astype(real))


def _only(values: dict[Op, Any], leaves: list[Op]) -> dict[Op, Any]:
    return {op: value for op, value in values.items() if op in leaves}


def close(one: Any, other: Any) -> bool:
    size = max(float(np.max(np.abs(one), initial=0)), float(np.max(np.abs(other), initial=0)), 1.0)
    with np.errstate(all="ignore"):
        return bool((np.abs(np.asarray(one) - other) <= EXACT * size).all())


def snapped(array: np.ndarray) -> np.ndarray:
    """Numbers a rounding of double away from 0 or 1 as these: they were found by subtraction."""
    for whole in (0.0, 1.0, -1.0):
        array = np.where(np.abs(array - whole) < 1e-12, whole, array)
    return array


def _key(value: Any) -> Any:
    """A float32 as a whole number, in the same order."""
    bits = np.asarray(value, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _number(key: np.ndarray) -> np.ndarray:
    bits = np.where(key < 0, (-key) | 0x80000000, key)
    return bits.astype(np.uint32).view(np.float32)


def islands(step: Step) -> dict[Op, Island]:
    """Operator -> its island; those that neither fire nor remember are layers like others."""
    inside = [op for op in step.ops if op.op in ARITHMETIC]
    group = {op: op for op in inside}

    def root(op: Op) -> Op:
        while group[op] is not op:
            group[op] = op = group[group[op]]
        return op

    for op in inside:
        for one in op.before():
            other = step.carried.get(one, one)
            if other in group:
                group[root(op)] = root(other)
    parts: dict[Op, list[Op]] = {}
    for op in inside:
        parts.setdefault(root(op), []).append(op)
    found: dict[Op, Island] = {}
    for ops in parts.values():
        known = set(ops)
        own = {b: step.carried[b] for op in ops for b in op.before() if step.carried.get(b) in known}
        if own or any(op.op in COMPARES for op in ops):
            found |= dict.fromkeys(ops, Island(ops, own, step.starts))
    return found
