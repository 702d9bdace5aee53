"""A network of another framework's neurons, exported as plain ONNX arithmetic, as a spiking network of ours.

snnTorch, SpikingJelly, Norse, spyx and hand-written code export what their neurons compute, step after step
(`unroll`). Which framework it was does not matter: what lies between two layers is asked what it does (`island`), and
at last the file itself and the network made of it are asked the same, over all steps (`lift`).
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
from .arrays import compact, f32, lowpass
from .check import check, renamed
from .convert import Native, convert_nengo
from .engine_onnxruntime import OnnxRuntimeSnnEngine
from .island import Island, islands
from .layers import Layers, Value
from .memories import Found, outside, several_memories
from .network import Node, SpikingNetwork
from .neurons import NEURONS
from .read import is_ours, load
from .unroll import Form, Op, Step, one_step

Arrays = dict[str, np.ndarray]

DOMAIN = "lifted"
"""Of the operators that stand for neurons while the layers around them are read."""

STEPS, SAMPLES = 30, 8


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
            f"ONNX Runtime {OnnxRuntimeSnnEngine.version}, the file as it was",
            steps=form.steps or STEPS,
            groups=groups,
            last=frozenset(name for name, of in zip(names, form.outputs, strict=True) if of in form.last),
        )
        return convert_nengo(
            native, output or source.with_name(f"{source.stem}_lifted.onnx"), sample=sample, overwrite=overwrite,
            say=progress or (lambda stage: None), cancel=None, timeout=timeout, begun=begun, memory_mib=None,
            file=source, sha256=digest, source_bytes=size, format="ONNX",
        )  # fmt: skip


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


# --- the network -----------------------------------------------------------------------------------------------------


def lifted(step: Step, dt: float) -> SpikingNetwork:
    """The network whose step it is.

    Raises:
        UnsupportedModel: something in it is no neuron or layer that is known here; it is named.
    """
    outputs, refusals = {}, []
    step = _from_zero(step)
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


def _from_zero(step: Step) -> Step:
    """What a layer with a bias made of the step before, as the layer of what was remembered: before the first step that
    is zero, as in every synapse of Nengo's, where the layer's own result is its bias."""
    carried, starts, made = dict(step.carried), dict(step.starts), dict[Op, Op]()
    for before, op in step.carried.items():
        given, start = op.before(), step.starts.get(before)
        if op.op != "Gemm" or len(given) != 1 or given[0] in carried or start is None or len(op.taken) < 3:
            continue
        if op.taken[0] is not given[0] or not (start == op.attributes.get("beta", 1.0) * op.taken[2]).all():
            continue
        late = replace(given[0])
        made[before] = replace(op, taken=(late, *op.taken[1:]))
        del carried[before], starts[before]
        carried[late] = given[0]
    ops = [*made.values(), *step.ops]
    for op in ops:
        op.taken = tuple(made.get(one, one) if isinstance(one, Op) else one for one in op.taken)
    needed = {one for op in ops for one in op.before()} | {op for op, _ in step.outputs.values()} | {*carried.values()}
    return replace(step, ops=[op for op in ops if op in needed], carried=carried, starts=starts)


@dataclass
class _Lifter:
    step: Step
    dt: float
    islands: dict[Op, Island] = field(default_factory=dict)
    found: dict[Island, Found] = field(default_factory=dict)
    """Those that are neurons of several memories."""
    names: dict[Op, str] = field(default_factory=dict)
    """Operator of this step -> what its tensor is called while layers are read."""
    late: dict[Op, str] = field(default_factory=dict)
    """Operator of the step before -> the same."""
    layers: Any = None

    def network(self) -> SpikingNetwork:
        step = self.step
        self.islands = islands(step)
        for island in dict.fromkeys(self.islands.values()):
            if (found := several_memories(island)) is not None:
                self.found[island], island.taken = found, outside(island)
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
            wish = self._name(op.name, ".before")
            order_of = "CHW" if len(op.shape) == 4 else ""
            layers.values[self.late[op]] = Value(wish, op.shape[1:], order_of)
        for node, thing in zip(graph.node, order, strict=True):
            if isinstance(thing, Island):
                self._add(thing, needed[thing])
            else:
                layers.read(node)
        for op, name in self.late.items():
            source = layers.values[self.names[self.step.carried[op]]]
            layers.add(self._delay(source, layers.values[name].signal, step.starts.get(op)))
        for name, (op, before) in step.outputs.items():
            value = layers.values[self.names[op]]
            for start in reversed(before):
                wish = self._name(name, ".before")
                layers.add(self._delay(value, wish, start))
                value = Value(wish, value.dims, value.order)
            layers.values[name] = value
        return layers.network()

    def _name(self, of: str, suffix: str = "") -> str:
        """A name that no node has yet, after what the file calls something."""
        return str(self.layers.name(onnx.NodeProto(name=_plain(of) + suffix)))

    def _delay(self, source: Value, name: str, start: np.ndarray | None) -> Node:
        made = lowpass(source.signal, self.layers.shape(source), 0.0, name)
        if start is not None:
            rows = len(start) if start.ndim > len(made.shape) else 1
            whole = np.broadcast_to(start, (rows, *made.shape))
            made.weights["level"] = f32(_row(whole)[None])
        return made

    # --- order

    def _needed(self) -> dict[Island, dict[Op, None]]:
        """What of each island is taken by layers, by others, or comes out."""
        found: dict[Island, dict[Op, None]] = {island: {} for island in self.islands.values()}
        takers = [op for op in self.step.ops if op not in self.islands]
        wanted = [one for op in takers for one in op.before()] + [op for op, _ in self.step.outputs.values()]
        for op in [*wanted, *(leaf for island in found for leaf in island.taken)]:
            if op in self.step.carried:
                self.late.setdefault(op, f"late{len(self.late)}")
                op = self.step.carried[op]
            if op in self.islands:
                found[self.islands[op]][op] = None
        return found

    def _order(self, needed: dict[Island, dict[Op, None]]) -> list[Op | Island]:
        """Layers and islands, each after what it takes of the same step."""
        things: list[Op | Island] = [op for op in self.step.ops if op not in self.islands]
        things += list(needed)
        ready: set[Op] = {self.step.input, *self.step.carried}
        order: list[Op | Island] = []
        while things:
            done = [thing for thing in things if ready.issuperset(_taken(thing))]
            if not done:
                raise UnsupportedModel("Layers and neurons of the file need each other's answers in the same step.")
            for thing in done:
                order.append(thing)
                ready |= thing.inside if isinstance(thing, Island) else {thing}
            things = [thing for thing in things if thing not in done]
        return order

    def _standing(self, thing: Op | Island) -> onnx.NodeProto:
        """A layer as the node it was; an island as one that stands for it."""
        if isinstance(thing, Island):
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

    def _initializers(self, order: list[Op | Island]) -> list[onnx.TensorProto]:
        return [
            numpy_helper.from_array(np.ascontiguousarray(_alone(one, thing.shape)), f"{self.names[thing]}.{index}")
            for thing in order
            if isinstance(thing, Op)
            for index, one in enumerate(thing.taken)
            if isinstance(one, np.ndarray)
        ]

    # --- neurons

    def _add(self, island: Island, wanted: dict[Op, None]) -> None:
        if island in self.found:
            self._add_neuron(island, wanted)
            return
        fitted = {op: island.integrator(op) for op in island.currents}
        # Some only count spikes, for an answer: they come behind the neurons.
        counted = {op: [leaf for leaf, _ in arriving if leaf in island.after] for op, (_, arriving) in fitted.items()}
        island.check_order({op for op, spikes in counted.items() if spikes}, fitted)
        for op, (parameters, arriving) in fitted.items():
            if not counted[op]:
                self._made("LeakyIntegrator", op, parameters, arriving)
        if island.voltage is not None:
            spikes = [op for op in wanted if island.current_of(op) is None]
            self._add_neuron(island, dict.fromkeys([*spikes, *(op for ops in counted.values() for op in ops)]))
        for op, (parameters, arriving) in fitted.items():
            if counted[op]:
                self._made("LeakyIntegrator", op, parameters, arriving)
        for op in wanted:
            if (core := island.current_of(op)) is not None:
                self._proportional(op, self.layers.values[self.names[core]], *island.shared(op, core))
            elif island.voltage is None:
                raise island.refused(f"hands on {op.name!r}, which is not what it remembers")

    def _add_neuron(self, island: Island, wanted: Iterable[Op]) -> None:
        assert island.voltage is not None
        threshold, voltage = island.threshold(), island.voltage
        spikes, read = dict[Op, Any](), dict[Op, Any]()
        found = self.found.get(island)
        try:
            for op in wanted:
                try:
                    spikes[op] = island.given(op, threshold)
                except UnsupportedModel:
                    if found is not None:
                        raise
                    read[op] = island.shared(op, voltage, threshold)  # its voltage
            if found is None:
                parameters, arriving = island.neuron()
                found = Found("LeakyIntegrateAndFire", arriving, parameters)
        except UnsupportedModel:
            if found is not None or (multiple := island.several(wanted)) is None:
                raise
            parameters, arriving, spikes = multiple
            found, read = Found("LeakyMultiSpike", arriving, parameters), {}
        if spikes or not read:
            self._made(found.op, voltage, found.parameters, found.arriving)
        fired = self.layers.values.get(self.names[voltage])
        for op, share in spikes.items():
            self._proportional(op, fired, *share)
        if read:
            self._made("LeakyVoltage", voltage, found.parameters, found.arriving)
            risen = self.layers.values[self.names[voltage]]
            for op, share in read.items():
                self._proportional(op, risen, *share)

    def _proportional(self, op: Op, value: Value, bias: np.ndarray, factor: np.ndarray) -> None:
        """A value that is so much, and so much times another signal."""
        if not (factor == 1).all():
            value = self._beside("Scale", op, value, {"weight": compact(f32(_row(factor)))})
        if bias.any():
            value = self._beside("Bias", op, value, {"bias": compact(f32(_row(bias)))})
        self.layers.values[self.names[op]] = value

    def _beside(self, op: str, of: Op, source: Value, weights: Arrays) -> Value:
        layers = self.layers
        name = self._name(of.name, f".{op.lower()}")
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

    def _made(self, kind: str, op: Op, parameters: Arrays, arriving: list[tuple[Op, np.ndarray]]) -> None:
        layers = self.layers
        attributes = {key: float(parameters[key].flat[0]) for key in NEURONS[kind].parameters}
        parameters = {key: array for key, array in parameters.items() if key not in attributes}
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
            name = self._name(op.name, ".sum")
            shape = layers.shape(values[0])
            order = values[0].order
            values = [layers.add(Node("Sum", name, tuple(value.signal for value in values), shape), order)]
        shape, order = layers.shape(values[0]), values[0].order
        if order == "HWC":
            raise UnsupportedModel(f"The neurons of {op.name!r} have their channels last.")
        weights = {key: compact(f32(_row(array))) for key, array in {"gain": gain, **parameters}.items()}
        for state in NEURONS[kind].states:
            weights[state] = f32(np.broadcast_to(weights[state], (1, *shape)))
        node = Node(kind, self._name(op.name), (values[0].signal,), shape, weights, attributes)
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


def _taken(thing: Op | Island) -> list[Op]:
    return thing.taken if isinstance(thing, Island) else thing.before()
