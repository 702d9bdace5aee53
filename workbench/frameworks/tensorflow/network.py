"""A TensorFlow graph ready for tf2onnx: no variables, and no large weights, in it.

tf2onnx copies its graph at every step, weights included (VGG16: past 23 GB). So the large weights become inputs of the
graph, with a shape and no numbers; `weights.attach` writes them into the ONNX file afterwards.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .convert_start import start
from .names import Shape, arguments, shape_of
from .weights import Weight

LARGE = 1 << 16
"""Bytes above which a weight stays out of the graph while it is converted. Below, tf2onnx may fold it (batch norms)."""


@dataclass
class Network:
    """
    Attributes:
        graph_def: the graph; large weights are Placeholders.
        inputs, outputs: tensor name in the graph (``x:0``) -> name to give it in ONNX, in order.
        name: of the graph in the ONNX file.
        shapes: ONNX name of an input or output -> its shape.
        weights: Placeholder's node name -> its weight.
        tables: shared name of a lookup table -> (keys, values).
    """

    graph_def: Any
    inputs: dict[str, str]
    outputs: dict[str, str]
    name: str
    shapes: Mapping[str, Shape]
    weights: dict[str, Weight] = field(default_factory=dict)
    tables: dict[bytes, tuple[Any, Any]] = field(default_factory=dict)


# --- from a traced function ---------------------------------------------------------------------------------------


def freeze(concrete: Any, inputs: Sequence[str], outputs: Sequence[tuple[str, Any]], name: str) -> Network:
    """A traced function as a graph in which small variables are constants and large ones inputs.

    Args:
        concrete: a ``ConcreteFunction``.
        inputs: a name for each of its `arguments`, in order.
        outputs: (name, tensor of ``concrete.graph``), in order.
        name: of the network.
    """
    start()
    from tensorflow.python.framework import convert_to_constants

    class Converter(convert_to_constants._FunctionConverterDataInEager):
        """TensorFlow's own, but a large variable is one zero: its numbers are not copied."""

        def _eval(self, value: Any) -> np.ndarray:
            return np.zeros((), value.dtype.as_numpy_dtype) if _is_large(value) else np.asarray(value.numpy())

    variables = {id(variable.handle): variable for variable in concrete.graph.variables}
    large = {
        inside.op.name: _weight_of(variables[id(outside)])
        for outside, inside in concrete.graph.captures
        if id(outside) in variables and _is_large(variables[id(outside)])
    }
    with _plain_functions(concrete.graph):
        data = Converter(func=concrete, lower_control_flow=False, aggressive_inlining=True)
    graph_def, _ = convert_to_constants._replace_variables_by_constants(converter_data=data)
    _drop_assignments(graph_def)
    named = [*zip(inputs, arguments(concrete), strict=True), *outputs]
    network = Network(
        graph_def=graph_def,
        inputs={tensor.name: public for public, tensor in named[: len(inputs)]},
        outputs={tensor.name: public for public, tensor in outputs},
        name=name,
        shapes={public: shape_of(tensor) for public, tensor in named},
    )
    lift(network, large)
    _take_tables(network, concrete)
    return network


def _is_large(value: Any) -> bool:
    """A variable of numbers, above `LARGE`."""
    return hasattr(value, "handle") and value.dtype != "string" and math.prod(value.shape) * value.dtype.size > LARGE


def _weight_of(variable: Any) -> Weight:
    # `value()` shares the variable's memory, where `numpy()` copies it.
    return Weight(tuple(variable.shape), np.dtype(variable.dtype.as_numpy_dtype), lambda: np.asarray(variable.value()))


@contextmanager
def _plain_functions(graph: Any) -> Iterator[None]:
    """Grouped convolutions are traced as functions for XLA, which are not inlined; take that mark off meanwhile."""
    export = graph.as_graph_def

    def without_marks(*args: Any, **kwargs: Any) -> Any:
        graph_def = export(*args, **kwargs)
        take_marks_off(graph_def)
        return graph_def

    graph.as_graph_def = without_marks
    try:
        yield
    finally:
        del graph.as_graph_def


def take_marks_off(graph_def: Any) -> None:
    """Let TensorFlow inline every function."""
    functions = graph_def.library.function
    for holder in (*graph_def.node, *functions, *(node for function in functions for node in function.node_def)):
        for mark in ("_XlaMustCompile", "_noinline"):
            holder.attr.pop(mark, None)


def _drop_assignments(graph_def: Any) -> None:
    """Seeds that count on, metrics: a call changes them, its answer does not depend on that."""
    gone = {node.name for node in graph_def.node if re.match(r"Assign(Add|Sub)?VariableOp$", node.op)}
    kept = [node for node in graph_def.node if node.name not in gone]
    for node in kept:
        node.input[:] = [source for source in node.input if source.removeprefix("^") not in gone]
    del graph_def.node[:]
    graph_def.node.extend(kept)


_CONTROL_FLOW = ("While", "StatelessWhile", "If", "StatelessIf", "Case", "PartitionedCall", "StatefulPartitionedCall")


def lift(network: Network, weights: Mapping[str, Weight]) -> None:
    """Make Placeholders of the Const nodes named in `weights`, except those that a loop or branch reads: tf2onnx
    recognises an LSTM by its constant weights."""
    from tensorflow.python.framework import tensor_util

    readers: dict[str, list[Any]] = {}
    for node in network.graph_def.node:
        for source in node.input:
            readers.setdefault(source.lstrip("^").partition(":")[0], []).append(node)

    def in_control_flow(name: str) -> bool:
        return any(
            node.op in _CONTROL_FLOW or (node.op == "Identity" and in_control_flow(node.name))
            for node in readers.get(name, [])
        )

    for node in network.graph_def.node:
        weight = weights.get(node.name)
        if weight is None:
            continue
        if in_control_flow(node.name):
            node.attr["value"].tensor.CopyFrom(tensor_util.make_tensor_proto(weight.array()))
            continue
        node.op = "Placeholder"
        del node.attr["value"]
        for size in weight.shape:
            node.attr["shape"].shape.dim.add(size=size)
        network.weights[node.name] = weight


def _take_tables(network: Network, concrete: Any) -> None:
    """Lookup tables (StringLookup, IntegerLookup) are resources of their own: read them out for tf2onnx."""
    from tensorflow.python.ops import gen_lookup_ops

    handles = {inside.op.name: outside for outside, inside in concrete.graph.captures if outside.dtype == "resource"}
    nodes = {node.name: node for node in network.graph_def.node}
    for node in network.graph_def.node:
        if node.op != "LookupTableFindV2":
            continue
        source = node.input[0].partition(":")[0]
        while nodes[source].op == "Identity":
            source = nodes[source].input[0].partition(":")[0]
        if source not in handles:
            continue
        # The Identity nodes between carry a resource, which tf2onnx does not expect.
        node.input[0] = source
        shared = f"table {source}".encode()
        if shared not in network.tables:
            keys, values = node.attr["Tin"].type, node.attr["Tout"].type
            found = gen_lookup_ops.lookup_table_export_v2(handles[source], keys, values)
            network.tables[shared] = (found[0].numpy(), found[1].numpy())
            table = nodes[source]
            table.Clear()
            table.name, table.op = source, "HashTableV2"
            table.attr["shared_name"].s = shared
            table.attr["key_dtype"].type, table.attr["value_dtype"].type = keys, values
