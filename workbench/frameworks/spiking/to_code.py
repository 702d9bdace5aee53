"""A spiking network as a Python script that builds it in Nengo: readable, runnable, without the workbench.

The paper's authors' own tool wrote such code. Here it is written from the Nengo objects that `to_nengo` makes, one
statement for each, with what is not Nengo's default: so the script builds that very network, and gives its spikes.
Arrays stand in an ``.npz`` beside the script.

The model's text gets into the script as labels alone, each as an ASCII literal (`ascii`); names are made of its letters
and digits. None of it becomes code or a path.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import keyword
import os
import re
import sys
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import nengo
import numpy as np
from nengo.connection import LearningRule
from nengo.learning_rules import LearningRuleType

from ...errors import BadInput, UnsupportedModel
from ...publish import refuse, write_bytes, write_text
from .arrays import from_vector, to_vector
from .network import SpikingNetwork, unused
from .operation import Operation
from .to_nengo import Decoded, to_nengo

LINE = 110
"""The longest line with a call in it; longer ones are broken at their arguments."""

IN_PLACE = 4
"""Numbers of an array that stand in the script itself."""

_HEAD = '''"""A spiking network for Nengo, written by ONNX Workbench. Its arrays are in the .npz beside this script.

`python THIS_SCRIPT` runs it on random numbers, `python THIS_SCRIPT inputs.npz` on {input: (batch, steps, n)}. In
Python, `net` is the nengo.Network, and `run({input: (batch, steps, n)})` gives {output: (batch, steps, n)}.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nengo
import numpy as np
from nengo.connection import LearningRule
from nengo.learning_rules import LearningRuleType
'''

_FEED = '''
DT = {dt}  # seconds per step
w = np.load(Path(__file__).with_suffix(".npz"))
fed = {{{fed}}}  # input: (steps, n), what it is given


def feed(name):
    """What an input gives at time t."""
    return lambda t: fed[name][min(max(round(t / DT) - 1, 0), len(fed[name]) - 1)]


'''

_RUN = '''

def run(series):
    """{input: (batch, steps, n)} -> {output: (batch, steps, n)}, each sample from the network's start."""
    answers = {name: [] for name in outputs}
    # A model of its own keeps Nengo's cache of decoders out: this network has none to solve.
    with nengo.Simulator(net, model=nengo.builder.Model(dt=DT), progress_bar=False) as simulator:
        for sample in zip(*(np.asarray(series[name], dtype=float) for name in inputs)):
            fed.update(zip(inputs, sample))
            simulator.reset()
            simulator.run_steps(len(sample[0]), progress_bar=False)
            for name, probe in outputs.items():
                answers[name].append(np.array(simulator.data[probe]))
            simulator.clear_probes()
    return {name: np.array(rows) for name, rows in answers.items()}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        series = dict(np.load(sys.argv[1]))
    else:
        random = np.random.default_rng(0).uniform
        series = {name: random(-1, 1, (1, 30, node.size_out)) for name, node in inputs.items()}
    for name, answer in run(series).items():
        print(ascii(name), answer.shape, np.count_nonzero(answer), "numbers that are not zero, mean", answer.mean())
'''

_OPERATION = """
def operation(op, shape, order, weights=None, **attributes):
    node = SimpleNamespace(op=op, weights=weights or {}, attributes=attributes)
    return Operation(node, shape, order)
"""


def to_code(
    source: str | os.PathLike[str] | SpikingNetwork | nengo.Network,
    output: str | os.PathLike[str] | None = None,
    params: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    **reading: Any,
) -> Path:
    """Write a Python script that builds the network in a file with Nengo, and an .npz of its arrays beside it.

    The script needs Nengo and NumPy alone (a SoftLIFRate: the workbench too, for NengoDL), builds what `to_nengo`
    gives, and runs it. Nothing of the model's text can become code in it.

    Args:
        source: an .onnx or .nir file that holds a spiking network; or a network of `to_nengo`, or a `SpikingNetwork`.
        output: of the script; by default ``<name>_nengo.py`` beside the file, for networks in the current folder.
        params, reading: see `to_nengo`.
        overwrite: replace both files where they exist.

    Returns:
        The script's path.

    Raises:
        UnreadableFile, UnsupportedModel: see `to_nengo`.
        BadInput: the output is no name for a script, or that of a module which the script imports; or as `to_nengo`.
        WorkbenchError: a file exists and `overwrite` is not set, or cannot be written.
    """
    target = _target(source, output)
    arrays = target.with_suffix(".npz")
    inputs = (source, params)
    for path in (target, arrays):
        refuse(path, overwrite, inputs)
    net = source if isinstance(source, nengo.Network) else to_nengo(source, params, **reading)
    if not isinstance(getattr(net, "spiking_network", None), SpikingNetwork):
        raise BadInput("Expected a file, or a network that to_nengo() made; convert() a network of your own first.")
    script = _Script(net)
    text = script.text()
    packed = BytesIO()
    np.savez(packed, **script.arrays)  # type: ignore[arg-type]
    write_bytes(packed.getvalue(), arrays, overwrite=overwrite, inputs=inputs)
    return write_text(text, target, overwrite=overwrite, inputs=inputs)


def _target(source: Any, output: str | os.PathLike[str] | None) -> Path:
    if output is None:
        if isinstance(source, str | os.PathLike):
            return Path(source).with_name(f"{Path(source).stem}_nengo.py")
        return Path("network_nengo.py")
    target = Path(output)
    if target.suffix != ".py":
        raise BadInput(f"{target} is no name for a Python script: expected one that ends in .py.")
    if target.stem in sys.stdlib_module_names or target.stem in ("nengo", "numpy", "scipy"):
        raise BadInput(f"A script called {target.name} would be imported in place of that module; call it otherwise.")
    return target


_OWN = "sys Path nengo np DT w fed feed run net inputs outputs operation from_vector to_vector nengo_dl".split()
"""Names that the script has a use for itself."""


@dataclass
class _Script:
    """The script of a network, and the arrays for its .npz."""

    net: nengo.Network
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    names: dict[Any, str] = field(default_factory=dict)
    """Nengo object -> its variable."""
    taken: set[str] = field(default_factory=set)
    sources: dict[str, str] = field(default_factory=dict)
    """Name -> source, of what is not Nengo's."""
    imports: set[str] = field(default_factory=set)

    def text(self) -> str:
        net = self.net
        self.taken |= {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *_OWN}
        body = "\n".join(self._network(net, "net", ""))
        fed = ", ".join(f"{label!a}: np.zeros((1, {node.size_out}))" for label, node in net.inputs.items())
        ends = "".join(
            f"\n{name} = {{{', '.join(f'{label!a}: {self.names[thing]}' for label, thing in things.items())}}}"
            for name, things in (("inputs", net.inputs), ("outputs", net.outputs))
        )
        imported = "".join(f"{line}\n" for line in sorted(self.imports))
        sources = "".join(f"\n\n{source.strip()}\n" for source in self.sources.values())
        before = _FEED.format(dt=repr(net.spiking_network.dt), fed=fed)
        return _HEAD + imported + sources + before + body + ends + _RUN

    # --- statements

    def _network(self, net: nengo.Network, name: str, indent: str) -> list[str]:
        said = [f"{key}={value!a}" for key in ("label", "seed") if (value := getattr(net, key)) is not None]
        lines = [f"{indent}with {_call('nengo.Network', said, indent)} as {name}:"]
        inner = indent + "    "
        for thing in [*net.nodes, *net.ensembles]:
            made = self._name(thing.label, type(thing).__name__.lower())
            lines.append(f"{inner}{made} = {self._made(thing, made, inner)}")
            self.names[thing] = made
        for part in net.networks:
            lines += self._network(part, self._name(part.label, "network"), inner)
        for one in net.connections:
            call, learns = self._made(one, self.names[_object(one.post)], inner), one.learning_rule_type is not None
            if learns:
                self.names[one] = self._name(one.label, "connection")
            lines.append(f"{inner}{self.names[one]} = {call}" if learns else inner + call)
        for probe in net.probes:
            made = self._name(probe.label, "probe")
            lines.append(f"{inner}{made} = {self._made(probe, made, inner)}")
            self.names[probe] = made
        return lines if len(lines) > 1 else [*lines, f"{inner}pass"]

    def _name(self, label: str | None, kind: str) -> str:
        """A variable that there is not yet, of a label's ASCII letters and digits."""
        wish = re.sub(r"[^a-z0-9]+", "_", (label or "").lower()).strip("_")[:40] or kind
        name = unused(wish if wish[0].isalpha() else f"{kind}_{wish}", self.taken)
        self.taken.add(name)
        return name

    # --- expressions

    def _made(self, thing: Any, key: str, indent: str) -> str:
        """The call that makes an object, with what is not its default."""
        kind, inner = type(thing), indent + "    "
        said: list[str] = []
        for name, parameter in list(inspect.signature(kind.__init__).parameters.items())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                continue  # what Nengo hands on to all processes, and no synapse here has
            required = parameter.default is parameter.empty
            if kind is nengo.Node:
                value = self._of_node(thing, name)
            elif kind is nengo.Sparse and name != "shape":  # which keeps both in one object
                value = thing.init.indices if name == "indices" else thing.init.data
            else:
                value = getattr(thing, name, parameter.default)
            default = None if parameter.default is nengo.params.Default else parameter.default
            # A synapse that is None is not a learning rule's default.
            required |= isinstance(thing, LearningRuleType) and default is None
            if isinstance(thing, nengo.base.NengoObject) and name in thing.params:
                default = getattr(kind, name).default
                if default is nengo.params.ConnectionDefault:
                    default = getattr(nengo.Connection, name).default
            if required or not (_same(value, default) or isinstance(value, nengo.transforms.NoTransform)):
                expression = self._value(value, f"{key}_{name}", inner)
                said.append(expression if parameter.default is parameter.empty else f"{name}={expression}")
        return _call(self._class(kind), said, indent)

    def _of_node(self, node: nengo.Node, name: str) -> Any:
        """What a Node is made with; the sizes that it finds by itself are left out."""
        fed = next((label for label, one in self.net.inputs.items() if one is node), None)
        if name == "output" and fed is not None:
            return _Feed(fed)
        if name == "size_in":
            return node.size_in or None
        if name == "size_out":
            return node.size_out if fed is not None or callable(node.output) else None
        return getattr(node, name)

    def _value(self, value: Any, key: str, indent: str) -> str:
        """An expression for it; `key` is what an array is called in the .npz."""
        if isinstance(value, np.ndarray):
            return self._array(value, key)
        if value is None or isinstance(value, bool | int | str):
            return ascii(value)
        if isinstance(value, float | np.number):
            return (
                repr(value.item() if isinstance(value, np.number) else value)
                if np.isfinite(value)
                else f"float('{value}')"
            )
        if isinstance(value, list | tuple):
            parts = [self._value(one, f"{key}_{index}", indent) for index, one in enumerate(value)]
            inside = ", ".join(parts)
            return f"[{inside}]" if isinstance(value, list) else f"({inside},)" if len(parts) == 1 else f"({inside})"
        if isinstance(value, dict):
            parts = [f"{name!a}: {self._value(one, f'{key}_{name}', indent)}" for name, one in value.items()]
            return f"{{{', '.join(parts)}}}"
        if isinstance(value, Operation):
            return self._operation(value, key, indent)
        if isinstance(value, _Feed):
            return f"feed({value.name!a})"
        if isinstance(value, Decoded):
            return f"lambda x: [0.0] * {value.size}"
        if isinstance(value, nengo.base.ObjView | nengo.base.NengoObject | nengo.ensemble.Neurons | LearningRule):
            return self._reference(value, key)
        if type(value).__module__.split(".")[0] in ("nengo", "nengo_dl", __package__.split(".")[0]):
            return self._made(value, key, indent)
        raise UnsupportedModel(f"The network has a {type(value).__name__}, which no Python script here can hold.")

    def _reference(self, thing: Any, key: str) -> str:
        """A Nengo object that was made before, its neurons, or a part of them."""
        if isinstance(thing, nengo.base.ObjView):
            return f"{self._reference(thing.obj, key)}[{self._elements(thing.slice, key)}]"
        if isinstance(thing, nengo.ensemble.Neurons):
            return f"{self.names[thing.ensemble]}.neurons"
        if isinstance(thing, LearningRule):
            return f"{self.names[thing.connection]}.learning_rule"
        return self.names[thing]

    def _elements(self, part: Any, key: str) -> str:
        if isinstance(part, slice):
            ends = ["" if end is None else str(end) for end in (part.start, part.stop, part.step)]
            return ":".join(ends if part.step is not None else ends[:2])
        indices = np.asarray(part)
        return self._array(indices, f"{key}_elements") if indices.size > IN_PLACE else str(indices.tolist())

    def _array(self, array: np.ndarray, key: str) -> str:
        if array.dtype == np.float64 and array.size and np.isfinite(array).all():
            if not array.ndim:
                return repr(array.item())
            if array.size <= IN_PLACE:
                return f"np.array({array.tolist()})"
            if _uniform(array):
                return f"np.full({array.shape if array.ndim > 1 else len(array)}, {array.flat[0].item()!r})"
        name = unused(key, self.arrays)
        self.arrays[name] = array
        return f'w["{name}"]'

    def _operation(self, operation: Operation, key: str, indent: str) -> str:
        for part in (from_vector, to_vector, Operation):
            self._embedded(part)
        self.imports.add("from types import SimpleNamespace")
        self.sources["operation"] = _OPERATION
        node = operation.node
        said = [f"{node.op!a}, {operation.shape!r}, {operation.order!r}"]
        if node.weights:
            said.append(f"weights={self._value(node.weights, key.removesuffix('_output'), indent)}")
        said += [f"{name}={self._value(value, f'{key}_{name}', indent)}" for name, value in node.attributes.items()]
        return _call("operation", said, indent)

    # --- what is not Nengo's own

    def _class(self, kind: type) -> str:
        """What to call a class by."""
        module, name = kind.__module__, kind.__name__
        if module.startswith("nengo_dl."):
            self.imports.add("from workbench.snn import nengo_dl  # made importable beside Keras 3")
        elif not module.startswith("nengo."):
            for base in reversed(kind.__mro__):
                if base.__module__ == module:
                    self._embedded(base)
            return name
        return f"nengo.{name}" if getattr(nengo, name, None) is kind else f"{module}.{name}"

    def _embedded(self, thing: Any) -> None:
        """The source of a class or function of ours, with the imports it needs from elsewhere."""
        source = inspect.getsource(thing)
        self.sources[thing.__name__] = source
        for line in ast.parse(inspect.getsource(sys.modules[thing.__module__])).body:
            if isinstance(line, ast.ImportFrom) and not line.level and line.module != "__future__":
                names = [one.name for one in line.names if re.search(rf"\b{one.name}\b", source)]
                self.imports |= {f"from {line.module} import {name}" for name in names}


def _call(name: str, arguments: list[str], indent: str) -> str:
    """A call in one line, or with a line for each argument."""
    line = f"{name}({', '.join(arguments)})"
    if len(indent) + len(line) <= LINE and "\n" not in line:
        return line
    return f"{name}(\n" + "".join(f"{indent}    {one},\n" for one in arguments) + f"{indent})"


@dataclass(frozen=True)
class _Feed:
    """Stands for what an input is given."""

    name: str


def _object(end: Any) -> Any:
    """The Node or Ensemble at an end of a connection, or the connection that a rule there changes."""
    end = end.obj if isinstance(end, nengo.base.ObjView) else end
    end = end.connection if isinstance(end, LearningRule) else end
    return getattr(end, "ensemble", end)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return type(one) is type(other) and np.array_equal(one, other)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return one is other or (type(one) is type(other) and repr(one) == repr(other))


def _uniform(array: np.ndarray) -> bool:
    """Whether each of its numbers has the same bits."""
    bits = np.ascontiguousarray(array).view(np.uint64)
    return bool((bits == bits.flat[0]).all())
