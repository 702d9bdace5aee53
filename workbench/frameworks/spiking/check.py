"""Whether a network that came from a file makes sense, before any engine is given it.

A file may say anything: sizes that do not fit, weights of another type, a time constant of zero, a few bytes that
promise terabytes. Engines answer that with their own errors, or with wrong numbers; here it becomes one sentence.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import numpy as np

from ...errors import BadInput, UnreadableFile, UnsupportedModel, WorkbenchError
from ...words import counted
from .network import Input, Node, Output, SpikingNetwork, result_shape, unused
from .neurons import MODELS, NEURONS, NOT_POSITIVE, RULES
from .stateless import STATELESS

MAX_NUMBERS = 200_000_000
"""All signals of a step together: a few bytes of a file can name shapes that fill any memory."""

LONGEST_STEP = 1e6
"""Of dt, in its unit; a NIR file may count steps instead of seconds."""


@contextmanager
def sound(what: str, advice: str) -> Iterator[None]:
    """What Python, NumPy and protobuf raise on a field that is missing, or of another kind than it should be, as one
    sentence.

    Raises:
        UnreadableFile: `what` is not so, because of the error; `advice` says what to do.
    """
    try:
        yield
    except WorkbenchError:
        raise
    except (
        ArithmeticError, AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError,
    ) as error:  # fmt: skip
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UnreadableFile(f"{what} ({reason}): {advice}.") from error


def check(network: SpikingNetwork) -> None:
    """Check names, connections, shapes, types, sizes and parameters.

    Raises:
        UnreadableFile: names that are given twice or not at all, or more numbers than `MAX_NUMBERS`.
        BadInput: a weight or parameter that does not fit.
        UnsupportedModel: no input, no output, a cycle without a synapse, an attribute that nothing here heeds.
    """
    if not network.inputs:
        raise UnsupportedModel("The network has no input, so nothing says how many steps to run: give it one.")
    if not network.outputs:
        raise UnsupportedModel("The network has no output over time, so it would answer nothing: give it one.")
    if not 1e-30 <= network.dt <= LONGEST_STEP:
        raise BadInput(f"The network's dt is {network.dt!r}; expected seconds per step, such as 0.001.")
    _check_names(network)
    shapes: dict[str, tuple[int, ...]] = {entry.name: (entry.size,) for entry in network.inputs}
    shapes |= {node.name: node.shape for node in network.nodes}
    numbers = 0
    for name, shape in shapes.items():
        if not shape or min(shape) < 1:
            raise BadInput(f"{name!r} has shape {shape}; expected lengths of 1 and more.")
        numbers += math.prod(shape)
    if numbers > MAX_NUMBERS:
        raise UnreadableFile(
            f"The network's signals hold {numbers:,} numbers a step, more than the {MAX_NUMBERS:,} that are run here."
        )
    network.ordered()
    for node in network.nodes:
        _Checker(node, [shapes[name] for name in node.inputs]).check()
    for output in network.outputs:
        if len(shapes[output.source]) != 1:
            raise BadInput(f"Output {output.name!r} gives an image {shapes[output.source]}; it must be flattened.")
        read = network.node(output.source)
        voltage = read is not None and read.op in NEURONS and "voltage" in read.states
        if output.state and not (voltage and output.state == "voltage"):
            raise BadInput(f"Output {output.name!r} reads {output.state!r} of {output.source!r}, which has no voltage.")


def _check_names(network: SpikingNetwork) -> None:
    given = [entry.name for entry in network.inputs] + [node.name for node in network.nodes]
    for name, count in Counter(given + [output.name for output in network.outputs]).items():
        if count > 1 or not name:
            raise UnreadableFile(f"{count} things in the network are called {name!r}; each needs a name of its own.")
    known = set(given)
    ends = [(f"Node {node.name!r}", name) for node in network.nodes for name in node.inputs]
    ends += [(f"Output {output.name!r}", output.source) for output in network.outputs]
    for user, name in ends:
        if name not in known:
            raise UnreadableFile(f"{user} takes {name!r}, which nothing in the network gives.")
    if clashing := clashes(network):
        raise UnreadableFile(
            f"The name {sorted(clashing)[0]!r} is also what an ONNX file of this network needs for a part of another "
            "object: rename that node."
        )


def clashes(network: SpikingNetwork) -> set[str]:
    """Names of inputs, nodes and outputs that `write`, or an engine, also gives to a part of one of them."""
    own = {entry.name for entry in network.inputs} | {output.name for output in network.outputs}
    own |= {node.name for node in network.nodes}
    parts = {"time", "time.steps", "batch.size"}
    for entry in network.inputs:
        parts |= {f"{entry.name}.{part}" for part in ("folded", "steps", "fold", "by_time", "now")}
    for output in network.outputs:
        parts |= {f"{output.name}.{part}" for part in ("unfold", "probe", "by_time", "now")}
    for node in network.nodes:
        parts |= {f"{node.name}.{key}" for key in node.weights}
        parts |= {f"{node.name}.{part}" for part in _PARTS.get(node.op, ())}
        if node.op in NEURONS:
            parts |= {f"{node.name}.spikes", f"{node.name}.voltage_shown"}
        for state in node.states:
            parts |= {f"{node.name}.{state}{part}" for part in ("_out", "_now", "_next", ".shape", ".start")}
            parts |= {"shape." + "x".join(map(str, node.shape))}
    # The reader tells the Transpose in front of a node by its name.
    return {name for name in own if name in parts or name.endswith(".hwc")}


_PARTS = {"Image": ("shape",), "Place": ("pads",)}


def renamed(network: SpikingNetwork) -> SpikingNetwork:
    """The network without labels that an ONNX file needs for parts of other objects, or cannot hold: a dot in them
    becomes an underscore, half a character a question mark."""
    things: list[Input | Node | Output] = [*network.inputs, *network.nodes, *network.outputs]
    given = {thing.name for thing in things}
    wishes = {name: name.encode(errors="replace").decode() for name in given}
    network.name = network.name.encode(errors="replace").decode()
    wishes |= {name: wishes[name].replace(".", "_") if "." in name else f"{name}_" for name in clashes(network)}
    new = {name: wish for name, wish in wishes.items() if name != wish}
    for name in sorted(new):
        new[name] = unused(new[name], given)
        given.add(new[name])
        shown = name.encode(errors="replace").decode()
        network.notes.append(f"{shown!r} is called {new[name]!r}: an ONNX file cannot hold that name, or needs it.")
    for thing in things:
        thing.name = new.get(thing.name, thing.name)
    for node in network.nodes:
        node.inputs = tuple(new.get(name, name) for name in node.inputs)
    for output in network.outputs:
        output.source = new.get(output.source, output.source)
    network.seeds = {new.get(name, name): seed for name, seed in network.seeds.items()}
    network.homes = {new.get(name, name): home for name, home in network.homes.items()}
    return network if not new else renamed(network)


class _Checker:
    """One node, and the shapes of what it takes."""

    def __init__(self, node: Node, taken: list[tuple[int, ...]]) -> None:
        self.node, self.taken = node, taken

    def check(self) -> None:
        node = self.node
        count = len(MODELS[node.op].takes) if node.op in MODELS else 2 if node.op == "Product" else 1
        if len(self.taken) != count and not (self.taken and node.op == "Sum"):
            self._refuse(f"takes {counted(len(self.taken), 'signal')}; expected {count}")
        for key, array in node.weights.items():
            self._check_numbers(key, array)
        if node.op in MODELS:
            self._check_parameters()
        elif node.op in STATELESS:
            self._check_attributes()
            if STATELESS[node.op].flat and (len(self.taken[0]) != 1 or len(node.shape) != 1):
                self._refuse(f"makes {node.shape} of {self.taken[0]}; expected flat signals")
            getattr(self, f"_{node.op.lower()}", lambda: None)()
        else:
            self._refuse("is no operator of a spiking network here")
        for shape in self.taken if node.op not in ("Image", "Product", *RULES) else ():
            if node.shape != (expected := result_shape(node, shape)):
                self._refuse(f"gives {node.shape} for {shape}; expected {expected}")

    # --- what every node has

    def _check_numbers(self, key: str, array: np.ndarray) -> None:
        expected = "int64" if key == "indices" else "float32"
        if array.dtype != expected:
            self._refuse(f"has {key} of type {array.dtype}; expected {expected}")
        # A threshold out of reach is a way to say "never".
        if np.isnan(array).any() if key == "threshold" else not np.isfinite(array).all():
            self._refuse(f"has {key} with numbers that are infinite or none (NaN); expected finite ones")

    def _check_parameters(self) -> None:
        node = self.node
        model = MODELS[node.op]
        for name, bound in model.parameters.items():
            value = node.attributes.get(name)
            if not isinstance(value, int | float) or math.isnan(value):
                self._refuse(f"has {name} {value!r}; expected a number")
            if math.isinf(value) and not (value < 0 and bound is NOT_POSITIVE):
                self._refuse(f"has {name} {value!r}; expected a finite number")
            if not bound.least <= value <= bound.most:
                self._refuse(f"has {name} {value!r}; expected {bound.says}")
        for key in model.drive:
            self._broadcasts(key)
        for state in model.states:
            self._shaped(state, (1, *node.shape))
        if node.op in RULES:
            self._learning()

    def _check_attributes(self) -> None:
        node, attributes, operator = self.node, self.node.attributes, STATELESS[self.node.op]
        known = operator.ints
        for key, value in attributes.items():
            if key in known:
                count = known[key]
                numbers = list(value) if count and isinstance(value, list | tuple) else [value]
                if len(numbers) != (count or 1) or not all(isinstance(number, int) for number in numbers):
                    self._refuse(f"has {key} {value!r}; expected {count or 1} whole numbers")
                if min(numbers) < (0 if key == "pads" else 1) or max(numbers) > MAX_NUMBERS:
                    self._refuse(f"has {key} {value!r}; expected {0 if key == 'pads' else 1} to {MAX_NUMBERS:,}")
            elif key == operator.number:
                if not isinstance(value, float | int) or not math.isfinite(value):
                    self._refuse(f"has {key} {value!r}; expected a number")
            elif key not in operator.words:
                raise UnsupportedModel(
                    f"Node {node.name!r} ({node.op}) has the attribute {key!r}, which has no meaning here."
                )
        if missing := [
            key for key in (*known, *operator.words) if key not in attributes and key not in operator.optional
        ]:
            self._refuse(f"says nothing of {', '.join(missing)}")
        for key in operator.weights if operator.broadcast else ():
            self._broadcasts(key)

    # --- by operator

    def _product(self) -> None:
        if (*self.node.shape, *self.taken[1]) != self.taken[0]:
            self._refuse(f"makes {self.node.shape} of weights {self.taken[0]} and a signal {self.taken[1]}")

    def _learning(self) -> None:
        """A rule's signals: a number for each row of its weights, or for each column; Voja's first is one alone."""
        if len(self.node.shape) != 2:
            self._refuse(f"learns weights of shape {self.node.shape}; expected (outputs, inputs)")
        rows, columns = self.node.shape[:1], self.node.shape[1:]
        fitting = {"signal": (1,), "activities": rows if self.node.op == "Voja" else columns, "pre": columns}
        fitting |= {"value": columns}
        for name, found in zip(MODELS[self.node.op].takes, self.taken, strict=True):
            if found != (expected := fitting.get(name, rows)):
                self._refuse(f"learns weights {self.node.shape} from {name} {found}; expected {expected}")

    def _gemm(self) -> None:
        self._shaped("weight", (self.taken[0][0], *self.node.shape))
        if "bias" in self.node.weights:
            self._shaped("bias", self.node.shape)

    def _slice(self) -> None:
        indices, (count,) = self.node.weights.get("indices"), self.taken[0]
        self._shaped("indices", self.node.shape)
        if indices is not None and not (indices.min() >= 0 and indices.max() < count):
            self._refuse(f"takes elements {indices.min()} to {indices.max()} of a signal of {count}")

    def _place(self) -> None:
        start, size, (count,) = self.node.attributes["start"], self.node.attributes["size"], self.taken[0]
        if not 0 <= start <= size - count:
            self._refuse(f"puts {count} numbers at {start} of {size}")

    def _image(self) -> None:
        if len(self.node.shape) != 3 or math.prod(self.taken[0]) != self.node.size:
            self._refuse(f"makes {self.node.shape} of {self.taken[0]}; expected (channels, height, width) of as many")

    def _batchnormalization(self) -> None:
        for key in STATELESS[self.node.op].weights:
            self._shaped(key, self.node.shape[:1])
        if (self.node.weights["variance"] < 0).any():
            self._refuse("has a negative variance; expected 0 or more")

    def _conv(self) -> None:
        weight, group = self.node.weights.get("weight"), self.node.attributes["group"]
        if weight is None or weight.ndim != 4:
            self._refuse("has no kernels of four axes (out, in, height, width)")
        channels = len(self.taken[0]) == 3 and weight.shape[1] * group == self.taken[0][0]
        if not channels or weight.shape[0] % group:
            self._refuse(f"has kernels {weight.shape} in {group} groups, which do not fit its signal {self.taken[0]}")
        if "bias" in self.node.weights:
            self._shaped("bias", weight.shape[:1])
        self._windows(weight.shape[2:])

    def _averagepool(self) -> None:
        if len(self.taken[0]) != 3:
            self._refuse(f"takes {self.taken[0]}; expected an image (channels, height, width)")
        self._windows(tuple(self.node.attributes["kernel_shape"]))

    _maxpool = _averagepool

    # --- parts of those

    def _windows(self, kernel: tuple[int, ...]) -> None:
        pads = self.node.attributes.get("pads", [0] * 4)
        sizes = [length + pads[axis] + pads[axis + 2] for axis, length in enumerate(self.taken[0][1:])]
        if min(kernel) < 1 or any(size < width for size, width in zip(sizes, kernel, strict=True)):
            self._refuse(f"has windows of {kernel} for a signal {self.taken[0]}")
        if self.node.op != "Conv" and any(pad >= kernel[axis % 2] for axis, pad in enumerate(pads)):
            self._refuse(f"has pads {list(pads)} as wide as its windows {kernel}")

    def _shaped(self, key: str, shape: tuple[int, ...]) -> None:
        found = self.node.weights.get(key)
        if found is None or found.shape != shape:
            self._refuse(f"has {key} of shape {None if found is None else found.shape}; expected {shape}")

    def _broadcasts(self, key: str) -> None:
        """Against ``(1, *shape)``."""
        found, shape = self.node.weights.get(key), (1, *self.node.shape)
        given = None if found is None else found.shape
        # From the last axis backwards, each length is the signal's or 1.
        pairs = zip(given[::-1], shape[::-1], strict=False) if given is not None and len(given) <= len(shape) else None
        if pairs is None or any(n not in (1, m) for n, m in pairs):
            self._refuse(f"has {key} of shape {given}; expected {shape}, or 1 for some")

    def _refuse(self, what: str) -> NoReturn:
        raise BadInput(f"Node {self.node.name!r} ({self.node.op}) {what}.")
