"""A network of another framework's neurons, exported as plain ONNX arithmetic, as a spiking network of ours.

snnTorch, SpikingJelly, Norse, spyx and hand-written code export what their neurons compute, step after step
(`unroll`). Which framework it was does not matter: what lies between two layers and is computed number by number is a
black box with a memory, and `_Island` asks it what it does. With r the voltage that is held against a threshold, a
leaky integrate-and-fire neuron has

    r' = decay * (r, or keep * r + reset where r > threshold) + gain * input + bias

whatever the order in which that is written: so decay, gain and bias are found from its answers below the threshold,
keep and reset above it, the threshold itself by bisection to the last bit. Or it fires in a step as
often as the threshold fits into r, and that is taken away. And other questions are asked, whose answers this must give.
What answers otherwise is refused with the reason. At last the file itself and the network made of it are asked the
same, over all steps (`lift`).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ... import sandbox
from ...convert.conversion import Conversion
from ...errors import BadInput, UnsupportedModel
from ...files.formats import identify
from ...safety.trust import private_copy
from ...scratch import fleeting_folder
from ...words import listed
from .arrays import f32, lowpass
from .check import check, renamed
from .convert import Native, convert_nengo
from .engine_onnxruntime import OnnxRuntimeSnnEngine
from .layers import Layers, Value
from .network import Node, SpikingNetwork
from .read import is_ours, load
from .signals import compact
from .unroll import Form, Op, Step, one_step

Arrays = dict[str, np.ndarray]

DOMAIN = "lifted"
"""Of the operators that stand for neurons while the layers around them are read."""

EXACT = 1e-9
"""How well, of the largest number, the equations must answer for the black box; both are computed in double."""

DISTANCES = (1e-6, 0.3, 3.7, 1e3, 1e6)
"""From the threshold, as well, in which a neuron must be what it is nearby: a voltage may be clipped far away."""

STEPS, SAMPLES = 30, 8


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


def lift(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    states: Mapping[str, str] | None = None,
    time_axis: int | None = None,
    dt: float = 0.001,
    sample: Any = None,
    overwrite: bool = False,
    progress: Callable[[str], object] | None = None,
    timeout: float | None = 900,
) -> Conversion:
    """Make a spiking network of an ONNX file in which another framework wrote its neurons as plain arithmetic.

    The file may have every step written out, a Loop or Scan over time, or be one step with its states as inputs and
    outputs. The result is an ONNX file with neurons of ``org.nengo``, for `to_nengo`, `write_nir`, Nengo GUI and the
    spiking engines. Both files are asked the same in ONNX Runtime, over all steps; it is written where they agree.

    Args:
        path: the .onnx file.
        output: of the new one; by default ``<name>_lifted.onnx`` beside it.
        states: of a single step: {input: the output it gets in the next step}; by default in order, where shapes fit.
        time_axis: of the input, 0 or 1; by default the one along which the file takes it apart.
        dt: seconds per step, for Nengo, which asks; the file does not tell.
        sample: a time series (batch, steps, n) to ask; made up if None.
        overwrite, progress, timeout: as of `workbench.convert`.

    Raises:
        UnreadableFile: missing or damaged.
        UnsupportedModel: it has no neurons that are known here; the reason is named.
        BadInput: `states`, `time_axis`, `dt` or `sample` does not fit.
        ConversionDisagrees: both gave different answers; nothing was written.
    """
    begun = time.monotonic()
    if not isinstance(dt, float | int) or not 0 < dt < float("inf"):
        raise BadInput(f"dt is {dt!r}; expected seconds per step, such as 0.001.")
    source = Path(path)
    if (found := identify(source).name) != "ONNX":
        raise BadInput(f"{source} is {found}; expected an ONNX file that another framework exported.")
    limits: dict[str, Any] = {"timeout": timeout, "since": begun}
    with fleeting_folder("workbench-convert-") as scratch:
        _, digest, size = private_copy(source, scratch, None)
        copy = scratch / "whole.onnx"
        # Its operators are computed, and the file is anybody's.
        network, form = sandbox.parse(_read, source, copy, dict(states or {}), time_axis, float(dt), **limits)
        apart = partial(sandbox.run, warm=True, memory_mib=sandbox.memory_for(size), **limits)
        names = [entry.name for entry in network.outputs]
        run = partial(apart, _ask_all, copy, form, names, what=f"Running {source.name}")
        groups = _samples(network, form)
        # (a mean over time, say, has one answer: after the last step)
        native = Native(
            network,
            run,
            f"ONNX Runtime {_version()}, the file as it was",
            steps=form.steps or STEPS,
            groups=groups,
            last=frozenset(name for name, of in zip(names, form.outputs, strict=True) if of in form.last),
        )
        return convert_nengo(
            native, output or source.with_name(f"{source.stem}_lifted.onnx"), sample=sample, overwrite=overwrite,
            say=progress or (lambda stage: None), cancel=None, timeout=timeout, begun=begun, memory_mib=None,
            file=source, sha256=digest, source_bytes=size, format="ONNX",
        )  # fmt: skip


def _version() -> str:
    from importlib.metadata import version

    return version("onnxruntime")


def _read(
    path: Path, copy: Path, states: dict[str, str], time_axis: int | None, dt: float
) -> tuple[SpikingNetwork, Form]:
    """In the worker: the network; `copy` becomes the file that it was read from, its weights in it."""
    model = load(path)
    if is_ours(model):
        raise BadInput(f"{path} holds neurons already, and needs no lifting: to_nengo() and load_engine() take it.")
    copy.write_bytes(model.SerializeToString())
    step = one_step(model, states or None, time_axis)
    network, form = lifted(step, dt), step.form
    if not states:
        network.notes += [
            f"{name!r} is taken to be given {output!r} of the step before, by their order; else say states=."
            for name, output in form.states.items()
        ]
    if form.zeros:
        network.notes.append(f"{listed(list(form.zeros))} start from zero, as here every run does.")
    network.notes += [
        f"{name!r} comes once, after {form.steps or STEPS} steps; here it comes at each, and is compared at the last."
        for name in form.last
    ]
    kept = {*step.outputs, *form.states.values()}
    if left := [entry.name for entry in model.graph.output if entry.name not in kept]:
        network.notes.append(f"{listed(left)}: left out, for it is no answer for each step.")
    return network, form


# --- the file's own answers ------------------------------------------------------------------------------------------


def _ask_all(path: Path, form: Form, names: list[str], asked: Sequence[Arrays]) -> list[Arrays]:
    """In the worker: what the file answers, {name of the network's output: (batch, steps, n)}."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    answers = [_ask(session, form, series) for (series,) in (one.values() for one in asked)]
    return [dict(zip(names, one.values(), strict=True)) for one in answers]


def _ask(session: Any, form: Form, series: np.ndarray) -> Arrays:
    count, steps, _ = series.shape
    if form.steps not in (None, steps):
        raise BadInput(f"The file takes {form.steps} steps, no fewer and no more; the sample has {steps}.")
    size = form.shape[0]
    rows: dict[str, list[np.ndarray]] = {name: [] for name in form.outputs}
    for begin in range(0, count, size):
        part = series[begin : begin + size]
        # (batch, steps, n) of as many samples as the file takes at once, the last ones repeated.
        part = part[np.minimum(np.arange(size), len(part) - 1)].reshape(size, steps, *form.shape[1:])
        for name, answer in _ask_some(session, form, part).items():
            rows[name].append(answer.reshape(size, 1 if name in form.last else steps, -1))
    return {name: np.concatenate(parts)[:count] for name, parts in rows.items()}


def _ask_some(session: Any, form: Form, part: np.ndarray) -> Arrays:
    now = {name: np.zeros(shape, np.float32) for name, shape in form.zeros.items()}
    names = list(form.outputs)
    if form.axis is not None:
        fed = np.ascontiguousarray(np.moveaxis(part, 1, form.axis))
        answers = session.run(names, {form.input: fed, **now})
        axes = form.outputs.values()
        return {
            name: one if name in form.last else np.moveaxis(one, axis or 0, 1)
            for name, one, axis in zip(names, answers, axes, strict=True)
        }
    wanted = [*names, *form.states.values()]
    series: list[list[np.ndarray]] = []
    for step in range(part.shape[1]):
        answers = session.run(wanted, {form.input: np.ascontiguousarray(part[:, step]), **now})
        now = dict(zip(form.states, answers[len(names) :], strict=True))
        series.append(answers[: len(names)])
    return {name: np.stack([row[i] for row in series], axis=1) for i, name in enumerate(names)}


def _samples(network: SpikingNetwork, form: Form) -> dict[str, Arrays]:
    """Spikes and numbers of a size at which the neurons fire, but not always; and nothing."""
    rng, steps = np.random.default_rng(2021), form.steps or STEPS
    (entry,) = network.inputs
    shape = (SAMPLES, steps, entry.size)
    spikes = (rng.random(shape) < 0.4).astype(np.float32)
    numbers = rng.normal(0, 1, shape).astype(np.float32)
    sizes = []
    with OnnxRuntimeSnnEngine(network, threads=1) as engine:
        for size in (1.0, 4.0, 16.0, 64.0, 256.0):
            answers = engine.run({entry.name: numbers * np.float32(size)}, spikes=engine.layers)
            rates = [float((answers[name] != 0).mean()) for name in network.spiking()]
            sizes.append((min((min(rate, 1 - rate) for rate in rates), default=0.0), -size))
    best = np.float32(-max(sizes)[1])
    if max(sizes)[0] == 0 and network.spiking():
        network.notes.append("On what was asked, some layer never fired or always did: pass a sample that it fires on.")
    return {
        "spikes": {entry.name: spikes},
        "changing": {entry.name: numbers * best},
        "edge": {entry.name: np.zeros((1, steps, entry.size), np.float32)},
    }


# --- what lies between the layers -------------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class _Island:
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

    def integrator(self, op: Op) -> tuple[dict[str, np.ndarray], list[tuple[Op, np.ndarray]]]:
        """A value that fades and adds what arrives: decay, bias and start, and what arrives, each with its gain."""
        kept = self.currents[op]
        leaves = self.leaves(op, {*self.currents, *self.after})
        zero = dict.fromkeys((leaf for leaf in leaves if leaf not in kept), np.zeros(()))

        def at(value: Any) -> dict[Op, Any]:
            return {b: self.compute(a, {op: np.broadcast_to(value, op.shape)}) for b, a in kept.items()}

        bias = self.compute(op, {**zero, **at(0.0)})
        decay = _snapped(self.compute(op, {**zero, **at(1.0)}) - bias)
        if not all(
            _close(self.compute(op, {**zero, **at(one)}), bias + one * decay) for one in (-3.7, 0.01, 1e6, -1e6)
        ):
            raise self.refused("does not fade evenly")
        start = {b: self.starts.get(b, 0.0) for b in kept}
        return {
            "decay": decay, "bias": bias, "voltage": self._before(op, leaves, start, decay, bias),
        }, self._gains(op, leaves, start, at)  # fmt: skip

    def neuron(self) -> tuple[dict[str, np.ndarray], list[tuple[Op, np.ndarray]]]:
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
            if not all(
                _close(y, near + slope * sign * apart * (d - 1)) for d, y in zip(DISTANCES, others, strict=True)
            ):
                raise self.refused("does not go on from its voltage in a straight line")
            return slope, near - slope * (threshold + sign * apart)

        decay, drift = line(-1)
        kept, jump = line(1)
        decay, kept = _snapped(decay), _snapped(kept)
        moving = decay != 0
        keep = np.divide(kept, decay, out=np.zeros_like(decay), where=moving)
        reset = np.divide(jump - drift, decay, out=np.zeros_like(decay), where=moving)
        if not (_close(keep, keep.flat[0]) and _close(kept, keep * decay) and _close(jump, drift + reset * decay)):
            raise self.refused("goes on from a spike in a way of its own")
        arriving = self._gains(voltage, leaves, start, lambda value: at(1 + np.abs(value), -1))
        before = self._before(voltage, leaves, start, decay, drift)
        return {
            "decay": decay, "bias": drift, "threshold": threshold, "reset": _snapped(reset),
            "keep": _snapped(keep), "voltage": before,
        }, arriving  # fmt: skip

    def _before(
        self, op: Op, leaves: list[Op], start: dict[Op, Any], decay: np.ndarray, bias: np.ndarray
    ) -> np.ndarray:
        """What it was before the first step, which an input of zero leads to the first value from."""
        known = {leaf: np.asarray(start.get(leaf, 0.0), np.float64) for leaf in leaves}
        first = self.compute(op, known)
        return np.divide(first - bias, decay, out=np.zeros_like(decay), where=decay != 0)

    def _gains(
        self, op: Op, leaves: list[Op], start: dict[Op, Any], side: Callable[[np.ndarray], dict[Op, Any]]
    ) -> list[tuple[Op, np.ndarray]]:
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
            gains.append((leaf, _snapped(self.compute(op, {**at, **zero, leaf: np.ones(op.shape)}) - base)))
        for scale in (1.0, 30.0, 1e6):
            given = {leaf: rng.normal(0, scale, op.shape) for leaf in arriving}
            state = rng.normal(0, 1, op.shape)
            still = self.compute(op, {**_only(side(state), leaves), **zero})
            expected = still + sum((gain * given[leaf] for leaf, gain in gains), np.zeros(op.shape))
            if not _close(self.compute(op, {**_only(side(state), leaves), **given}), expected):
                raise self.refused("does not add what arrives in proportion")
        return gains

    def threshold(self) -> np.ndarray:
        """The largest float32 at which it does not fire, by bisection over all of them."""
        voltage, found = self.voltage, []
        assert voltage is not None
        for compare in self.compares:
            low, high = (np.full(voltage.shape, _key(np.float32(end)), np.int64) for end in (-1e30, 1e30))
            fires = self.compute(compare, {voltage: _number(high)}, np.float32).astype(bool)
            if (self.compute(compare, {voltage: _number(low)}, np.float32).astype(bool) == fires).any():
                raise self.refused("is held against a threshold that nothing reaches")
            for _ in range(33):
                middle = (low + high) // 2
                same = self.compute(compare, {voltage: _number(middle)}, np.float32).astype(bool) == fires
                low, high = np.where(same, low, middle), np.where(same, middle, high)
            found.append(_number(low))
        if any(not np.array_equal(one, found[0]) for one in found):
            raise self.refused("is held against several thresholds")
        return found[0].astype(np.float64)

    def given(self, op: Op, threshold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a value is without a spike, and how much more with one, where it tells nothing else."""
        assert self.voltage is not None
        sides = []
        for sign in (-1, 1):
            at = [threshold + sign * (np.abs(threshold) + 1) * distance for distance in (1.0, *DISTANCES)]
            seen = [self.compute(op, {self.voltage: one}).astype(np.float64) for one in at]
            if not all(_close(one, seen[0]) for one in seen):
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
        low, high = (np.full(voltage.shape, _key(np.float32(end)), np.int64) for end in (-1e30, 1e30))
        silent = self.compute(wanted[0], {voltage: _number(low)}, np.float32)
        for _ in range(33):
            middle = (low + high) // 2
            same = self.compute(wanted[0], {voltage: _number(middle)}, np.float32) == silent
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        threshold = _number(high).astype(np.float64)
        if not (threshold > 0).all():
            return None
        leaves = self.leaves(voltage, self.currents)
        start = {b: self.starts.get(b, 0.0) for b, a in self.own.items() if a in self.after}
        zero = dict.fromkeys((leaf for leaf in leaves if leaf not in start), np.zeros(()))

        def at(value: Any) -> dict[Op, Any]:
            return _only(self.recalled(np.broadcast_to(value, voltage.shape)), leaves)

        drift = self.compute(voltage, {**zero, **at(0.0)})
        decay = _snapped((self.compute(voltage, {**zero, **at(threshold / 2)}) - drift) / (threshold / 2))
        values = {
            op: (self.compute(op, {voltage: -threshold}), self.compute(op, {voltage: 1.5 * threshold})) for op in wanted
        }
        for times in (-1e6, -1.5, -0.3, 0.0, 0.999, 1.0, 1.001, 1.999, 2.0, 3.7, 12.0, 1000.3):
            count = np.floor(max(times, 0.0))
            kept = threshold * (times - count)
            if not _close(self.compute(voltage, {**zero, **at(threshold * times)}), drift + decay * kept):
                return None
            for op, (none, once) in values.items():
                if not _close(self.compute(op, {voltage: threshold * times}), none + count * (once - none)):
                    return None
        arriving = self._gains(voltage, leaves, start, lambda value: at(-np.abs(value)))
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

    def shared(self, op: Op, current: Op) -> tuple[np.ndarray, np.ndarray]:
        """A value that is so much, and so much times a current."""
        none, one, more = (
            self.compute(op, {current: np.full(current.shape, at)}).astype(np.float64) for at in (0.0, 1.0, -3.7)
        )
        if not _close(more, none - 3.7 * (one - none)):
            raise self.refused(f"hands on {op.name!r}, which is not in proportion to what it remembers")
        return none, _snapped(one - none)

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


def _close(one: Any, other: Any) -> bool:
    size = max(float(np.max(np.abs(one), initial=0)), float(np.max(np.abs(other), initial=0)), 1.0)
    with np.errstate(all="ignore"):
        return bool((np.abs(np.asarray(one) - other) <= EXACT * size).all())


def _snapped(array: np.ndarray) -> np.ndarray:
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


# --- the network -----------------------------------------------------------------------------------------------------


def lifted(step: Step, dt: float) -> SpikingNetwork:
    """The network whose step it is.

    Raises:
        UnsupportedModel: something in it is no neuron or layer that is known here; it is named.
    """
    outputs, refusals = {}, []
    with np.errstate(all="ignore"):
        for name, end in step.outputs.items() if len(step.outputs) > 1 else ():
            try:
                _Lifter(replace(step, outputs={name: end}), dt).network()
                outputs[name] = end
            except UnsupportedModel as error:
                refusals.append(f"Output {name!r} is left out. {error}")
        network = renamed(_Lifter(replace(step, outputs=outputs or step.outputs), dt).network())
    network.notes += refusals
    for name in [name for name in step.form.outputs if outputs and name not in outputs]:
        del step.form.outputs[name]
    check(network)
    if not network.spiking():
        raise UnsupportedModel(
            "Nothing in the file fires and goes on from there: there is no spiking neuron in it that is known here."
        )
    return network


@dataclass
class _Lifter:
    step: Step
    dt: float
    islands: dict[Op, _Island] = field(default_factory=dict)
    names: dict[Op, str] = field(default_factory=dict)
    """Operator of this step -> what its tensor is called while layers are read."""
    late: dict[Op, str] = field(default_factory=dict)
    """Operator of the step before -> the same."""
    layers: Any = None

    def network(self) -> SpikingNetwork:
        step = self.step
        self.islands = _islands(step)
        self.names = {op: f"t{index}" for index, op in enumerate([step.input, *step.ops])}
        needed = self._needed()
        order = self._order(needed)
        shape = step.input.shape
        graph = helper.make_graph(
            [self._standing(thing) for thing in order],
            "lifted",
            [helper.make_tensor_value_info(self.names[step.input], 1, ["batch", *shape[1:]])],
            [helper.make_tensor_value_info(name, 1, None) for name in step.outputs],
            self._initializers(order),
        )
        self.layers = layers = Layers(helper.make_model(graph), self.dt)
        layers.entry.name = step.form.input
        layers.values[self.names[step.input]] = Value(step.form.input, shape[1:])
        for op in self.late:
            wish = layers.name(onnx.NodeProto(name=f"{_plain(op.name)}.before"))
            order_of = "CHW" if len(op.shape) == 4 else ""
            layers.values[self.late[op]] = Value(wish, op.shape[1:], order_of)
        for node, thing in zip(graph.node, order, strict=True):
            if isinstance(thing, _Island):
                self._add(thing, needed[thing])
            else:
                layers.read(node)
        for op, name in self.late.items():
            source = layers.values[self.names[self.step.carried[op]]]
            layers.add(self._delay(source, layers.values[name].signal, step.starts.get(op)))
        for name, (op, before) in step.outputs.items():
            value = layers.values[self.names[op]]
            for start in reversed(before):
                wish = layers.name(onnx.NodeProto(name=f"{_plain(name)}.before"))
                layers.add(self._delay(value, wish, start))
                value = Value(wish, value.dims, value.order)
            layers.values[name] = value
        return layers.network()

    def _delay(self, source: Value, name: str, start: np.ndarray | None) -> Node:
        made = lowpass(source.signal, self.layers.shape(source), 0.0, name)
        if start is not None:
            rows = len(start) if start.ndim > len(made.shape) else 1
            whole = np.broadcast_to(start, (rows, *made.shape))
            made.weights["level"] = f32(_row(whole)[None])
        return made

    # --- order

    def _needed(self) -> dict[_Island, dict[Op, None]]:
        """What of each island is taken by layers, by others, or comes out."""
        found: dict[_Island, dict[Op, None]] = {island: {} for island in self.islands.values()}
        takers = [op for op in self.step.ops if op not in self.islands]
        wanted = [one for op in takers for one in op.before()] + [op for op, _ in self.step.outputs.values()]
        for op in [*wanted, *(leaf for island in found for leaf in island.taken)]:
            if op in self.step.carried:
                self.late.setdefault(op, f"late{len(self.late)}")
                op = self.step.carried[op]
            if op in self.islands:
                found[self.islands[op]][op] = None
        return found

    def _order(self, needed: dict[_Island, dict[Op, None]]) -> list[Op | _Island]:
        """Layers and islands, each after what it takes of the same step."""
        things: list[Op | _Island] = [op for op in self.step.ops if op not in self.islands]
        things += list(needed)
        ready: set[Op] = {self.step.input, *self.step.carried}
        order: list[Op | _Island] = []
        while things:
            done = [thing for thing in things if ready.issuperset(_taken(thing))]
            if not done:
                raise UnsupportedModel("Layers and neurons of the file need each other's answers in the same step.")
            for thing in done:
                order.append(thing)
                ready |= thing.inside if isinstance(thing, _Island) else {thing}
            things = [thing for thing in things if thing not in done]
        return order

    def _standing(self, thing: Op | _Island) -> onnx.NodeProto:
        """A layer as the node it was; an island as one that stands for it."""
        if isinstance(thing, _Island):
            taken = [self.late.get(leaf) or self.names[leaf] for leaf in thing.taken]
            return helper.make_node("Neurons", taken, [self.names[op] for op in thing.ops], domain=DOMAIN)
        if thing.result:
            raise UnsupportedModel(f"Operator {thing.op} ({thing.name!r}) gives several results.")
        taken = [
            ""
            if one is None
            else (self.late.get(one) or self.names[one])
            if isinstance(one, Op)
            else f"{self.names[thing]}.{i}"
            for i, one in enumerate(thing.taken)
        ]
        return helper.make_node(thing.op, taken, [self.names[thing]], name=_plain(thing.name), **thing.attributes)

    def _initializers(self, order: list[Op | _Island]) -> list[onnx.TensorProto]:
        return [
            numpy_helper.from_array(np.ascontiguousarray(_alone(one, thing.shape)), f"{self.names[thing]}.{index}")
            for thing in order
            if isinstance(thing, Op)
            for index, one in enumerate(thing.taken)
            if isinstance(one, np.ndarray)
        ]

    # --- neurons

    def _add(self, island: _Island, wanted: dict[Op, None]) -> None:
        fitted = {op: island.integrator(op) for op in island.currents}
        # Some only count spikes, for an answer: they come behind the neurons.
        counted = {op: [leaf for leaf, _ in arriving if leaf in island.after] for op, (_, arriving) in fitted.items()}
        island.check_order({op for op, spikes in counted.items() if spikes}, fitted)
        for op, (parameters, arriving) in fitted.items():
            if not counted[op]:
                self._made("LeakyIntegrator", op, parameters, arriving, {})
        if island.voltage is not None:
            spikes = [op for op in wanted if island.current_of(op) is None]
            self._add_neuron(island, dict.fromkeys([*spikes, *(op for ops in counted.values() for op in ops)]))
        for op, (parameters, arriving) in fitted.items():
            if counted[op]:
                self._made("LeakyIntegrator", op, parameters, arriving, {})
        for op in wanted:
            if (core := island.current_of(op)) is not None:
                self._proportional(op, self.layers.values[self.names[core]], *island.shared(op, core))
            elif island.voltage is None:
                raise island.refused(f"hands on {op.name!r}, which is not what it remembers")

    def _add_neuron(self, island: _Island, wanted: Iterable[Op]) -> None:
        assert island.voltage is not None
        threshold = island.threshold()
        try:
            spikes = {op: island.given(op, threshold) for op in wanted}
            parameters, arriving = island.neuron()
            keep = {"keep": float(parameters.pop("keep").flat[0])}
            self._made("LeakyIntegrateAndFire", island.voltage, parameters, arriving, keep)
        except UnsupportedModel:
            if (found := island.several(wanted)) is None:
                raise
            parameters, arriving, spikes = found
            self._made("LeakyMultiSpike", island.voltage, parameters, arriving, {})
        fired = self.layers.values[self.names[island.voltage]]
        for op, (without, spike) in spikes.items():
            self._proportional(op, fired, without, spike)

    def _proportional(self, op: Op, value: Value, bias: np.ndarray, factor: np.ndarray) -> None:
        """A value that is so much, and so much times another signal."""
        if not (factor == 1).all():
            value = self._beside("Scale", op, value, {"weight": compact(f32(_row(factor)))})
        if bias.any():
            value = self._beside("Bias", op, value, {"bias": compact(f32(_row(bias)))})
        self.layers.values[self.names[op]] = value

    def _beside(self, op: str, of: Op, source: Value, weights: Arrays) -> Value:
        layers = self.layers
        name = layers.name(onnx.NodeProto(name=f"{_plain(of.name)}.{op.lower()}"))
        made = layers.add(Node(op, name, (source.signal,), layers.shape(source), weights))
        return Value(made.signal, source.dims, source.order)

    def _as_image(self, value: Value) -> Value:
        """An image that the network is given, which is flat."""
        if value.order or len(value.dims) == 1:
            return value
        if len(value.dims) != 3:
            raise UnsupportedModel(f"Neurons take signals of shape {value.dims}: expected (n,) or (C, H, W).")
        name = self.layers.name(onnx.NodeProto(name=f"{value.signal}.image"))
        made: Value = self.layers.add(Node("Image", name, (value.signal,), value.dims, {}, {"order": "CHW"}))
        return made

    def _made(
        self, kind: str, op: Op, parameters: Arrays, arriving: list[tuple[Op, np.ndarray]], attributes: dict[str, float]
    ) -> None:
        layers = self.layers
        if not arriving:
            raise UnsupportedModel(f"Nothing arrives at the neurons of {op.name!r}.")
        values = [self._as_image(layers.values[self.late.get(leaf) or self.names[leaf]]) for leaf, _ in arriving]
        gain = arriving[0][1]
        if len(arriving) > 1:
            if any(not np.array_equal(other, gain) for _, other in arriving):
                pairs = zip(values, arriving, strict=True)
                values = [
                    value
                    if (factor == 1).all()
                    else self._beside("Scale", leaf, value, {"weight": compact(f32(_row(factor)))})
                    for value, (leaf, factor) in pairs
                ]
                gain = np.ones(op.shape)
            name = layers.name(onnx.NodeProto(name=f"{_plain(op.name)}.sum"))
            shape = layers.shape(values[0])
            order = values[0].order
            values = [layers.add(Node("Sum", name, tuple(value.signal for value in values), shape), order)]
        shape, order = layers.shape(values[0]), values[0].order
        if order == "HWC":
            raise UnsupportedModel(f"The neurons of {op.name!r} have their channels last.")
        weights = {key: compact(f32(_row(array))) for key, array in {"gain": gain, **parameters}.items()}
        weights["voltage"] = f32(np.broadcast_to(weights["voltage"], (1, *shape)))
        node = Node(
            kind, layers.name(onnx.NodeProto(name=_plain(op.name))), (values[0].signal,), shape, weights, attributes
        )
        layers.values[self.names[op]] = Value(layers.add(node, order).signal, values[0].dims, order)


def _row(array: np.ndarray) -> np.ndarray:
    """One sample's numbers, which all samples share."""
    whole = np.asarray(array)
    if not (whole == whole[:1]).all():
        raise UnsupportedModel("The neurons of one sample in the file differ from those of another.")
    return whole[0]


def _alone(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A constant for a signal of that shape; one that has a row for each sample, all alike, as one row."""
    rows = array.ndim == len(shape) and len(array) == shape[0] > 1
    return array[:1] if rows and (array == array[:1]).all() else array


def _plain(name: str) -> str:
    """A name without what exporters put around it."""
    return re.sub(r"_output_\d+$", "", name).strip("/").rpartition("/")[2] or "neurons"


def _taken(thing: Op | _Island) -> list[Op]:
    return thing.taken if isinstance(thing, _Island) else thing.before()


def _islands(step: Step) -> dict[Op, _Island]:
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
    found: dict[Op, _Island] = {}
    for ops in parts.values():
        known = set(ops)
        own = {b: step.carried[b] for op in ops for b in op.before() if step.carried.get(b) in known}
        if own or any(op.op in COMPARES for op in ops):
            found |= dict.fromkeys(ops, _Island(ops, own, step.starts))
    return found
