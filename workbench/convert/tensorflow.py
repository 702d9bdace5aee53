"""TensorFlow graphs to ONNX: SavedModel folders, frozen ``.pb`` graphs, TFLite files; `keras.py` comes here too.

tf2onnx copies its graph at every step, weights included (VGG16: past 23 GB). So `freeze` leaves the large weights out
of the graph it hands over, as inputs with a shape and no numbers, and `weights.attach` writes them in afterwards.
tf2onnx also leaves operators it does not know in the graph and reports success: `to_onnx` looks for them.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, UnreadableFile, UnsupportedModel
from ..header import DTYPES, ValueInfo
from .draft import Draft, Tolerance
from .tf_operators import handlers
from .tidy import tidy
from .weights import Weight, attach

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from .draft import Arrays

Progress = Callable[[str], object]

OPSET = 18
"""The highest tf2onnx 1.17 writes; the lowest it is tested with here is 13."""

LARGE = 1 << 16
"""Bytes above which a weight stays out of the graph while it is converted. Below, tf2onnx may fold it (batch norms)."""

FLOAT32 = Tolerance(
    relative=1e-4,
    absolute=1e-5,
    reason="float32 keeps 7 digits; sums taken in another order, layer after layer, cost one or two of them, and where "
    "terms cancel the rest of the sum decides, which `absolute` allows for.",
)
"""Of networks in float32. A wrong layout, axis or epsilon shows as 1e-2 or more."""

HALF = Tolerance(
    relative=2e-2,
    absolute=5e-3,
    reason="float16 and bfloat16 keep 3 digits or fewer, and ONNX Runtime rounds at other places than TensorFlow.",
)


QUANTIZED = Tolerance(
    relative=5e-2,
    absolute=2e-2,
    reason="TFLite's quantized kernels round to 8 bits at every layer, ONNX Runtime where QuantizeLinear stands: one "
    "step of 256 here and there, which later layers pass on.",
    steps=2,
)


@dataclass
class Network:
    """A TensorFlow graph ready for tf2onnx.

    Attributes:
        graph_def: no variables left; large weights are Placeholders.
        inputs, outputs: tensor name in the graph (``x:0``) -> name to give it in ONNX, in order.
        weights: Placeholder's node name -> its weight.
        tables: shared name of a lookup table -> (keys, values).
        name: of the graph in the ONNX file.
        shapes: public name of an input or output -> its shape, None where free; None where even the rank is.
    """

    graph_def: Any
    inputs: dict[str, str]
    outputs: dict[str, str]
    name: str
    weights: dict[str, Weight] = field(default_factory=dict)
    tables: dict[bytes, tuple[Any, Any]] = field(default_factory=dict)
    shapes: dict[str, tuple[int | None, ...] | None] = field(default_factory=dict)


# --- the three kinds of file --------------------------------------------------------------------------------------


def draft(
    path: Path,
    format_name: str,
    *,
    sample: Any = None,
    opset: int | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress,
    folder: Path,
) -> Draft:
    """Convert a SavedModel folder, a frozen ``.pb`` graph or a TFLite file.

    Args:
        path: the folder or file.
        format_name: ``SavedModel``, ``GraphDef`` or ``TFLite``.
        sample: arrays for inputs whose rank the graph does not say: one, several in order, or {name: array}.
        opset: 13 to 18; 18 where None.
        options: of a SavedModel ``signature`` (its name); of a GraphDef ``inputs`` and ``outputs`` (names of its nodes
            or tensors; found where they are not named); of TFLite ``dequantize`` (float operators instead of
            QuantizeLinear and DequantizeLinear).
        progress: called with a stage.
        folder: where a large model is written.

    Raises:
        UnsupportedModel: an operator has no ONNX form (named), or the file has no signature, inputs or outputs.
        BadInput: an option, opset or signature that is not there.
        UnreadableFile: the file is damaged.
    """
    opset = check_opset(opset)
    known = {"SavedModel": (_saved_model, "signature"), "GraphDef": (_graph_def, "inputs outputs"),
             "TFLite": (_tflite, "dequantize")}  # fmt: skip
    make, words = known[format_name]
    for option in options or {}:
        if option not in words.split():
            raise BadInput(f"Converting a {format_name} knows no option {option!r}, but {' and '.join(words.split())}.")
    start()
    return make(path, sample, opset, dict(options or {}), progress, folder)


def _saved_model(
    path: Path, sample: Any, opset: int, options: dict[str, Any], progress: Progress, folder: Path
) -> Draft:
    tf = start()
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:
        raise _unreadable(path, error) from error
    progress("Tracing the network")
    signatures = {name: value for name, value in loaded.signatures.items() if not name.startswith("_")}
    chosen = options.get("signature") or ("serving_default" if "serving_default" in signatures else None)
    if chosen is None and signatures:
        chosen = min(signatures)
    if chosen is None:
        raise UnsupportedModel(
            f"{path.name} has no signature, so its inputs are not known: export it with one (Keras: model.export)."
        )
    if chosen not in signatures:
        raise BadInput(f"{path.name} has no signature {chosen!r}; choose one of: {', '.join(sorted(signatures))}.")
    concrete = signatures[chosen]
    specs = concrete.structured_input_signature[1]
    captured = {inside.name for _, inside in concrete.graph.captures}
    arguments = [tensor for tensor in concrete.inputs if tensor.name not in captured]
    # TensorFlow flattens a signature's arguments in the order of their names.
    names = sorted(specs)
    outputs = concrete.structured_outputs
    network = freeze(
        concrete,
        names if len(names) == len(arguments) else [tensor.op.name for tensor in arguments],
        list(zip(sorted(outputs), concrete.outputs, strict=True)),
        path.name,
    )
    clashes = {name: f"{name}_out" for name in network.outputs.values() if name in network.inputs.values()}
    network.outputs = {tensor: clashes.get(name, name) for tensor, name in network.outputs.items()}
    network.shapes.update({clashes[name]: network.shapes[name] for name in clashes})

    def native(arrays: Arrays) -> Arrays:
        answer = concrete(**{name: tf.constant(arrays[name], specs[name].dtype) for name in specs})
        return {clashes.get(name, name): value.numpy() for name, value in answer.items()}

    # The signature holds its variables weakly: `native` keeps what was loaded alive.
    native.loaded = loaded  # type: ignore[attr-defined]
    notes = (
        [] if len(signatures) == 1 else [f"Of the signatures {', '.join(sorted(signatures))}, {chosen} is converted."]
    )
    return _draft(network, native, opset, progress, folder, notes)


def _draft(
    network: Network,
    native: Callable[[Arrays], Arrays],
    opset: int,
    progress: Progress,
    folder: Path,
    notes: list[str],
) -> Draft:
    ranges, tolerance = input_ranges(network), tolerance_of(network)
    model = to_onnx(network, folder, opset=opset, progress=progress)
    return Draft(
        model=model,
        converter=converter(),
        inputs=value_infos(model),
        native=native,
        tolerance=tolerance,
        ranges=ranges,
        notes=notes,
    )


def _graph_def(path: Path, sample: Any, opset: int, options: dict[str, Any], progress: Progress, folder: Path) -> Draft:
    tf = start()
    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except Exception as error:
        raise _unreadable(path, error) from error
    feeds = [_tensor(name) for name in options.get("inputs") or _placeholders(graph_def)]
    fetches = [_tensor(name) for name in options.get("outputs") or _ends(graph_def)]
    if not feeds or not fetches:
        missing, option = ("inputs", "Placeholder node") if not feeds else ("outputs", "node that nothing reads")
        raise UnsupportedModel(f"{path.name} has no {option}: name its {missing} with options={{'{missing}': [...]}}.")
    _give_shapes(graph_def, feeds, sample)
    unfrozen = sorted({node.op for node in graph_def.node} & {"VarHandleOp", "VariableV2", "Variable"})
    if unfrozen:
        raise UnsupportedModel(
            f"{path.name} is not frozen: its weights ({', '.join(unfrozen)} nodes) are in another file. "
            "Freeze it, or convert the SavedModel."
        )
    progress("Tracing the network")
    try:
        with tf.device("/cpu:0"):
            function = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])  # noqa: F821, deleted only below
            pruned = function.prune(feeds, fetches)
    except (KeyError, ValueError) as error:
        shown = str(error).strip().strip("'\"").splitlines()[0][:200]
        raise BadInput(f"{path.name} does not hold the inputs or outputs asked for: {shown}") from error
    names = unique([_public(name) for name in feeds])
    outputs = unique([_public(name) for name in fetches], names)
    network = Network(
        graph_def=tf.compat.v1.graph_util.extract_sub_graph(graph_def, [name.partition(":")[0] for name in fetches]),
        inputs=dict(zip(feeds, names, strict=True)),
        outputs=dict(zip(fetches, outputs, strict=True)),
        name=path.stem,
    )
    _take_marks_off(network.graph_def)
    lowered = any(node.op in ("Enter", "RefEnter") for node in graph_def.node)
    del graph_def
    for tensor, public in [*network.inputs.items(), *network.outputs.items()]:
        network.shapes[public] = _shape(function.graph.get_tensor_by_name(tensor))
    _lift(network, _large_constants(network.graph_def))
    dtypes = [function.graph.get_tensor_by_name(tensor).dtype for tensor in feeds]

    def native(arrays: Arrays) -> Arrays:
        values = [tf.constant(arrays[name], dtype) for name, dtype in zip(names, dtypes, strict=True)]
        answer = pruned(*values)
        return {name: value.numpy() for name, value in zip(outputs, answer, strict=True)}

    try:
        return _draft(network, native, opset, progress, folder, [])
    except UnsupportedModel as error:
        if not lowered:
            raise
        raise UnsupportedModel(
            f"The loops of {path.name} were taken apart when it was frozen, so they cannot be converted: convert its "
            f"SavedModel, or freeze it with convert_variables_to_constants_v2(..., lower_control_flow=False). {error}"
        ) from error


def _placeholders(graph_def: Any) -> list[str]:
    # TensorFlow leaves the other ones behind when it takes loops apart; nothing needs them.
    unused = "unused_control_flow_input"
    return [node.name for node in graph_def.node if node.op == "Placeholder" and not node.name.startswith(unused)]


_NO_RESULT = ("Const", "Placeholder", "PlaceholderWithDefault", "NoOp", "Assert", "Print", "PrintV2", "SaveV2")


def _ends(graph_def: Any) -> list[str]:
    """Nodes nobody reads."""
    read = {source.lstrip("^").partition(":")[0] for node in graph_def.node for source in node.input}
    return [node.name for node in graph_def.node if node.name not in read and node.op not in _NO_RESULT]


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _public(tensor: str) -> str:
    """``x:0`` -> ``x``; ``split:1`` -> ``split_1``; the last part of a path."""
    name, _, index = tensor.partition(":")
    name = name.rpartition("/")[2] or name
    return name if index == "0" else f"{name}_{index}"


def _give_shapes(graph_def: Any, feeds: Sequence[str], sample: Any) -> None:
    """Placeholders of old graphs may not say their rank: take it from the sample.

    Raises:
        UnsupportedModel: there is none.
    """
    import numpy as np

    for index, feed in enumerate(feeds):
        node = next((node for node in graph_def.node if node.name == feed.partition(":")[0]), None)
        if node is None or node.op != "Placeholder" or not node.attr["shape"].shape.unknown_rank:
            continue
        found = None
        if isinstance(sample, Mapping):
            found = sample.get(_public(feed), sample.get(feed))
        elif sample is not None:
            found = sample[index] if len(feeds) > 1 else sample
        if found is None:
            raise UnsupportedModel(
                f"The graph does not say the shape of its input {_public(feed)!r}: give a sample of the inputs."
            )
        node.attr["shape"].shape.Clear()
        for size in (-1, *np.shape(found)[1:]):
            node.attr["shape"].shape.dim.add(size=size)


def _large_constants(graph_def: Any) -> dict[str, Weight]:
    """Weights among a frozen graph's Const nodes."""
    import numpy as np
    from tensorflow.python.framework import tensor_util

    found = {}
    for node in graph_def.node:
        if node.op == "Const" and node.attr["value"].tensor.ByteSize() > LARGE:
            array = tensor_util.MakeNdarray(node.attr["value"].tensor)
            if array.dtype.kind in "fiu":
                found[node.name] = Weight(array.shape, array.dtype, partial(np.asarray, array))
    return found


def _tflite(path: Path, sample: Any, opset: int, options: dict[str, Any], progress: Progress, folder: Path) -> Draft:
    tf = start()
    import numpy as np

    content = path.read_bytes()
    try:
        interpreter = _interpreter(content)
    except Exception as error:
        raise _unreadable(path, error) from error
    progress("Writing ONNX operators")
    with _complaints() as said, tf.device("/cpu:0"), tf.Graph().as_default():
        converted = _processed(
            None, continue_on_error=True, opset=opset, tflite_path=str(path),
            dequantize=bool(options.get("dequantize")),
            custom_op_handlers=handlers({}),
        )  # fmt: skip
        model = _optimized(converted).make_model(f"converted from {path.name}")
    _part_outputs(model.graph)
    takes, gives = interpreter.get_input_details(), interpreter.get_output_details()
    network = Network(None, {}, {}, path.stem)
    old = [value.name for value in (*model.graph.input, *model.graph.output)]
    names = unique([_clean(detail["name"]) for detail in takes])
    answers = unique([_clean(detail["name"]) for detail in gives], names)
    _rename(model.graph, dict(zip(old, [*names, *answers], strict=True)))
    for detail, name in zip((*takes, *gives), (*names, *answers), strict=True):
        signature = detail.get("shape_signature", detail["shape"])
        network.shapes[name] = tuple(None if size < 0 else int(size) for size in signature)
    onnx_model = finish(model, network, folder, said, progress)
    quantized = sorted(
        {np.dtype(d["dtype"]).name for d in interpreter.get_tensor_details()} & {"int8", "uint8", "int16"}
    )
    float_io = all(detail["dtype"] in (np.float32, np.float64) for detail in (*takes, *gives))

    def native(arrays: Arrays) -> Arrays:
        for detail, name in zip(takes, names, strict=True):
            if tuple(detail["shape"]) != arrays[name].shape:
                interpreter.resize_tensor_input(detail["index"], arrays[name].shape)
        interpreter.allocate_tensors()
        for detail, name in zip(takes, names, strict=True):
            interpreter.set_tensor(detail["index"], arrays[name].astype(detail["dtype"], copy=False))
        interpreter.invoke()
        return {name: interpreter.get_tensor(detail["index"]) for detail, name in zip(gives, answers, strict=True)}

    return Draft(
        model=onnx_model,
        converter=converter(),
        inputs=value_infos(onnx_model),
        native=native,
        tolerance=QUANTIZED if quantized else FLOAT32,
        notes=[f"The TFLite model is quantized ({', '.join(quantized)}); ONNX Runtime rounds at other places."]
        if quantized and float_io
        else [],
    )


def _interpreter(content: bytes) -> Any:
    tf = start()
    # XNNPACK fixes the batch size when the interpreter is made; the plain kernels take any.
    return tf.lite.Interpreter(
        model_content=content,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )


def _clean(name: str) -> str:
    """``serving_default_image:0`` -> ``image``; ``StatefulPartitionedCall:1`` -> ``output_1``."""
    name, _, index = name.partition(":")
    name = name.removeprefix("serving_default_").rpartition("/")[2]
    if re.match(r"(StatefulPartitionedCall|PartitionedCall)(_\d+)?$", name):
        name = "output"
    return name if index in ("", "0") else f"{name}_{index}"


def _part_outputs(graph: onnx.GraphProto) -> None:
    """Make a tensor of its own of an output that is also an input, or given twice."""
    seen = {value.name for value in graph.input}
    for index, value in enumerate(graph.output):
        if value.name in seen:
            name = f"{value.name} output {index}"
            graph.node.add(op_type="Identity", name=name, input=[value.name], output=[name])
            value.name = name
        seen.add(value.name)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give tensors other names, in every body too."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        for field_ in (node.input, node.output):
            for index, name in enumerate(field_):
                field_[index] = names.get(name, name)
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _rename(body, names)


def unique(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The same names, a number added to those given before; ONNX has one name space for inputs and outputs."""
    used = set(taken)
    out = []
    for name in names:
        candidate, count = name, 1
        while candidate in used:
            candidate, count = f"{name}_{count}", count + 1
        used.add(candidate)
        out.append(candidate)
    return out


def _unreadable(path: Path, error: Exception) -> UnreadableFile:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return UnreadableFile(f"TensorFlow cannot read {path.name}: {first[:300]}")


# --- starting TensorFlow ------------------------------------------------------------------------------------------


@cache
def start() -> Any:
    """The ``tensorflow`` module, quiet, ``tf.keras`` being Keras 2 as in `workbench.snn`; tf2onnx mended."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # With oneDNN TensorFlow keeps whatever memory it ever took, and loading takes three times the largest weight.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import numpy as np
        import tensorflow as tf

        # tf2onnx 1.17 calls a function that NumPy 2 took away.
        if not hasattr(np, "product"):
            np.product = np.prod  # type: ignore[attr-defined]
        import tf2onnx.graph

    tf.get_logger().setLevel(logging.ERROR)
    update = tf2onnx.graph.Node.update_proto

    def update_unless_constant(node: Any, *args: Any, **kwargs: Any) -> None:
        # A constant's attributes never change; writing them anew leaks a copy of its tensor every time.
        if not node.is_const():
            update(node, *args, **kwargs)

    tf2onnx.graph.Node.update_proto = update_unless_constant
    return tf


# --- from a traced function to a graph without variables ----------------------------------------------------------


def freeze(concrete: Any, inputs: Sequence[str], outputs: Sequence[tuple[str, Any]], name: str) -> Network:
    """A traced function as a graph in which small variables are constants and large ones inputs.

    Args:
        concrete: a ``ConcreteFunction``.
        inputs: a public name for each of its arguments, in the order of ``concrete.inputs``.
        outputs: (public name, tensor of ``concrete.graph``), in order.
        name: of the network.
    """
    tf = start()
    import numpy as np
    from tensorflow.python.framework import convert_to_constants

    held: dict[str, Any] = {}

    class Converter(convert_to_constants._FunctionConverterDataInEager):
        """TensorFlow's own, but a large variable is one zero: its numbers are not copied."""

        def _eval(self, tensor: Any) -> np.ndarray:
            size = np.prod(tensor.shape.as_list()) * tensor.dtype.size
            if size <= LARGE or tensor.dtype == tf.string or not hasattr(tensor, "handle"):
                return np.asarray(tensor.numpy())
            return np.zeros((), tensor.dtype.as_numpy_dtype)

    captured = set()
    for variable in concrete.graph.variables:
        for value, placeholder in concrete.graph.captures:
            if value is variable.handle:
                held[placeholder.op.name] = variable
    for _, placeholder in concrete.graph.captures:
        captured.add(placeholder.name)
    with _plain_functions(concrete.graph):
        data = Converter(func=concrete, lower_control_flow=False, aggressive_inlining=True)
    graph_def, _ = convert_to_constants._replace_variables_by_constants(converter_data=data)
    _drop_assignments(graph_def)
    arguments = [tensor for tensor in concrete.inputs if tensor.name not in captured]
    network = Network(
        graph_def=graph_def,
        inputs={tensor.name: public for tensor, public in zip(arguments, inputs, strict=True)},
        outputs={},
        name=name,
        shapes={public: _shape(tensor) for tensor, public in zip(arguments, inputs, strict=True)},
    )
    for public, tensor in outputs:
        if tensor.name in network.outputs:
            raise UnsupportedModel(
                f"Outputs {network.outputs[tensor.name]!r} and {public!r} are one and the same tensor; "
                "give the model that output once."
            )
        network.outputs[tensor.name] = public
        network.shapes[public] = _shape(tensor)
    large = {
        node: variable
        for node, variable in held.items()
        if node in data.tensor_data and data.tensor_data[node].numpy.shape != tuple(variable.shape)
    }
    _lift(network, {node: _weight_of(variable) for node, variable in large.items()})
    _take_tables(network, concrete)
    return network


@contextmanager
def _plain_functions(graph: Any) -> Iterator[None]:
    """Grouped convolutions are traced as functions for XLA, which are not inlined; take that mark off meanwhile."""
    export = graph.as_graph_def

    def without_marks(*args: Any, **kwargs: Any) -> Any:
        graph_def = export(*args, **kwargs)
        _take_marks_off(graph_def)
        return graph_def

    graph.as_graph_def = without_marks
    try:
        yield
    finally:
        del graph.as_graph_def


def _take_marks_off(graph_def: Any) -> None:
    functions = graph_def.library.function
    for holder in (*graph_def.node, *functions, *(node for function in functions for node in function.node_def)):
        for mark in ("_XlaMustCompile", "_noinline"):
            holder.attr.pop(mark, None)


def _drop_assignments(graph_def: Any) -> None:
    """Seeds that count on, metrics: a call changes them, its answer does not depend on that."""
    gone = {node.name for node in graph_def.node if re.match(r"Assign(Add|Sub)?VariableOp$", node.op)}
    kept = [node for node in graph_def.node if node.name not in gone]
    for node in kept:
        waits_for = [source for source in node.input if source.removeprefix("^") not in gone]
        del node.input[:]
        node.input.extend(waits_for)
    del graph_def.node[:]
    graph_def.node.extend(kept)


def _weight_of(variable: Any) -> Weight:
    import numpy as np

    # `value()` shares the variable's memory, where `numpy()` copies it.
    return Weight(tuple(variable.shape), np.dtype(variable.dtype.as_numpy_dtype), lambda: np.asarray(variable.value()))


_CONTROL_FLOW = ("While", "StatelessWhile", "If", "StatelessIf", "Case", "PartitionedCall", "StatefulPartitionedCall")


def _lift(network: Network, weights: Mapping[str, Weight]) -> None:
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
        kind = node.attr["dtype"].type
        name = node.name
        node.Clear()
        node.name, node.op = name, "Placeholder"
        node.attr["dtype"].type = kind
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
        keys, values = node.attr["Tin"].type, node.attr["Tout"].type
        shared = f"table {source}".encode()
        table = nodes[source]
        if shared not in network.tables:
            found = gen_lookup_ops.lookup_table_export_v2(handles[source], keys, values)
            network.tables[shared] = (found[0].numpy(), found[1].numpy())
            table.Clear()
            table.name, table.op = source, "HashTableV2"
            table.attr["shared_name"].s = shared
            table.attr["key_dtype"].type, table.attr["value_dtype"].type = keys, values


_SAME_VALUES = ("Identity", "Cast", "ExpandDims", "Reshape", "Squeeze", "Transpose", "StridedSlice", "StopGradient")


def tolerance_of(network: Network) -> Tolerance:
    """`HALF` where any operator computes in 16 bits."""
    from tensorflow.core.framework import types_pb2

    half = {types_pb2.DT_HALF, types_pb2.DT_BFLOAT16}
    bodies = (function.node_def for function in network.graph_def.library.function)
    nodes = (node for body in (network.graph_def.node, *bodies) for node in body)
    return HALF if any(attr.type in half for node in nodes for attr in node.attr.values()) else FLOAT32


HALF_RANGE = (-64.0, 64.0)
"""Of the inputs of a network in float16, which ends at 65,504: past that one engine's infinity is another's NaN."""


def input_ranges(network: Network) -> dict[str, tuple[float, float]]:
    """Public input name -> (lowest, highest) number to ask: (0, last row) where an input picks rows of a table, as an
    Embedding does (TensorFlow stops at an index outside); `HALF_RANGE` where a network computes in 16 bits."""
    half = tolerance_of(network) is HALF
    return {name: HALF_RANGE for name in network.inputs.values() if half} | _index_ranges(network)


def _index_ranges(network: Network) -> dict[str, tuple[float, float]]:
    nodes = {node.name: node for node in network.graph_def.node}
    public = {tensor.partition(":")[0]: name for tensor, name in network.inputs.items()}

    def source(name: str) -> Any:
        return nodes.get(name.lstrip("^").partition(":")[0])

    def rows(node: Any) -> int | None:
        while node is not None and node.op == "Identity":
            node = source(node.input[0])
        if node is None or node.op not in ("Const", "Placeholder"):
            return None
        shape = node.attr["value"].tensor.tensor_shape if node.op == "Const" else node.attr["shape"].shape
        return shape.dim[0].size if shape.dim else None

    ranges: dict[str, tuple[float, float]] = {}
    for node in network.graph_def.node:
        if node.op not in ("GatherV2", "Gather", "ResourceGather"):
            continue
        indices, count = source(node.input[1]), rows(source(node.input[0]))
        while indices is not None and indices.op in (*_SAME_VALUES, "SelectV2"):
            # Keras 3 lets negative indices count from the end: where(i < 0, i + rows, i).
            indices = source(indices.input[2 if indices.op == "SelectV2" else 0])
        if indices is not None and indices.name in public and count:
            name = public[indices.name]
            ranges[name] = (0, min(count - 1, ranges.get(name, (0, count))[1]))
    return ranges


def _shape(tensor: Any) -> tuple[int | None, ...] | None:
    return None if tensor.shape.rank is None else tuple(tensor.shape.as_list())


# --- from a graph without variables to ONNX -----------------------------------------------------------------------


def to_onnx(network: Network, folder: Path, *, opset: int | None, progress: Progress) -> onnx.ModelProto | Path:
    """Convert with tf2onnx and attach the weights (`weights.attach`).

    Raises:
        UnsupportedModel: an operator has no ONNX form; named, with the layer it is in.
        BadInput: an opset tf2onnx does not write.
    """
    tf = start()
    import tf2onnx.tf_loader

    opset = check_opset(opset)
    lifted = [f"{node}:0" for node in network.weights]
    inputs, outputs = [*network.inputs, *lifted], list(network.outputs)
    with _complaints() as said, tf.device("/cpu:0"):
        graph_def = tf2onnx.tf_loader.fix_freezing_errors_part2(network.graph_def)
        # TensorFlow's optimizer fills every Placeholder with numbers; a variable it leaves alone.
        _set_op(graph_def, network.weights, "VariableV2", container=b"", shared_name=b"")
        with tf.Graph().as_default():
            tf.import_graph_def(graph_def, name="")
            graph_def = tf2onnx.tf_loader.tf_optimize(inputs, outputs, graph_def)
        _set_op(graph_def, network.weights, "Placeholder")
        progress("Writing ONNX operators")
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
            del graph_def
            converted = _processed(
                graph,
                continue_on_error=True,
                opset=opset,
                input_names=inputs,
                output_names=outputs,
                tensors_to_rename={**network.inputs, **network.outputs},
                initialized_tables=network.tables or None,
                custom_op_handlers=handlers(network.tables),
            )
        model = _optimized(converted).make_model(f"converted from {network.name}")
    return finish(model, network, folder, said, progress)


def _set_op(graph_def: Any, names: Mapping[str, object], op: str, **attributes: bytes) -> None:
    """Make the nodes of these names another source of a tensor of the same dtype and shape."""
    for node in graph_def.node:
        if node.name in names:
            node.op = op
            for key in [key for key in node.attr if key not in ("dtype", "shape")]:
                del node.attr[key]
            for key, value in attributes.items():
                node.attr[key].s = value


def finish(
    model: onnx.ModelProto, network: Network, folder: Path, said: list[str], progress: Progress
) -> onnx.ModelProto | Path:
    """Check every operator, name what people see, attach the weights."""
    check_operators(model, said)
    tidy(model.graph)
    _name_axes(model.graph, network.shapes)
    model.graph.name = network.name
    if not any(node.domain == "ai.onnx.ml" for node in _nodes(model.graph)):
        # tf2onnx imports it into every file, and readers take that for a classical model.
        kept = [entry for entry in model.opset_import if entry.domain != "ai.onnx.ml"]
        del model.opset_import[:]
        model.opset_import.extend(kept)
    progress("Writing the weights")
    return attach(model, {f"{node}:0": weight for node, weight in network.weights.items()}, folder)


def check_opset(opset: int | None) -> int:
    if opset is not None and not 13 <= opset <= OPSET:
        raise BadInput(f"tf2onnx writes opsets 13 to {OPSET} here, but {opset} was asked for: choose one of those.")
    return opset or OPSET


def _processed(graph: Any, **options: Any) -> Any:
    import tf2onnx.tfonnx

    try:
        return tf2onnx.tfonnx.process_tf_graph(graph, **options)
    except Exception as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise UnsupportedModel(f"tf2onnx cannot convert this graph: {type(error).__name__}: {first[:300]}") from error


def _optimized(graph: Any) -> Any:
    import tf2onnx.optimizer

    # Not catching errors saves a copy of the graph at every step.
    return tf2onnx.optimizer.optimize_graph(graph, catch_errors=False)


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What tf2onnx logs as errors meanwhile, instead of showing it."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger = logging.getLogger("tf2onnx")
    handler, level, propagate = Keep(logging.ERROR), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield said
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def check_operators(model: onnx.ModelProto, said: Sequence[str] = ()) -> None:
    """Every node must be an operator of ONNX at the model's opset.

    Raises:
        UnsupportedModel: names each operator that is not, and the layer it came from; what tf2onnx said is a note.
    """
    import onnx

    opsets = {entry.domain: entry.version for entry in model.opset_import}
    unknown: dict[str, str] = {}
    for node in _nodes(model.graph):
        domain = "" if node.domain == "ai.onnx" else node.domain
        known = domain in opsets and onnx.defs.has(node.op_type, opsets[domain], domain)
        if not known:
            unknown.setdefault(node.op_type, layer_of(node.name))
    if unknown:
        shown = " and ".join(f"{op} (in {layer!r})" if layer else op for op, layer in list(unknown.items())[:5])
        error = UnsupportedModel(
            f"ONNX has no form of the TensorFlow operator{'s' * (len(unknown) > 1)} {shown}: "
            "replace that layer, or do its work before the model."
        )
        if said:
            error.add_note("tf2onnx said: " + "\n".join(said))
        raise error


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
            for body in attribute.graphs:
                yield from _nodes(body)


def layer_of(node_name: str) -> str:
    """The layer a node was traced in: ``StatefulPartitionedCall/model_1/dense_1/MatMul`` -> ``model_1/dense_1``."""
    parts = [part for part in node_name.split("/") if part]
    while parts and re.match(r"(StatefulPartitionedCall|PartitionedCall)(_\d+)?$", parts[0]):
        parts = parts[1:]
    return "/".join(parts[:-1])


def _name_axes(graph: onnx.GraphProto, shapes: Mapping[str, tuple[int | None, ...] | None]) -> None:
    """Free axes get names people can read: ``N`` the rows, ``image_1`` axis 1 of input ``image``."""
    free_rows = all(
        shape and shape[0] is None
        for shape in (shapes.get(value.name) for value in graph.input if value.name in shapes)
    )
    inputs = {value.name for value in graph.input}
    for value in (*graph.input, *graph.output):
        shape = shapes.get(value.name)
        if shape is None:
            continue
        target = value.type.tensor_type.shape
        target.ClearField("dim")
        target.SetInParent()
        for axis, size in enumerate(shape):
            dim = target.dim.add()
            if size is not None:
                dim.dim_value = size
            elif axis == 0 and (free_rows or value.name in inputs):
                dim.dim_param = "N"
            elif value.name in inputs:
                dim.dim_param = f"{value.name}_{axis}"


def value_infos(model: onnx.ModelProto | Path) -> tuple[ValueInfo, ...]:
    """The inputs of a model `to_onnx` made."""
    if isinstance(model, Path):
        from ..header import read_header

        return read_header(model).graph.inputs
    initializers = {tensor.name for tensor in model.graph.initializer}
    return tuple(_value_info(value) for value in model.graph.input if value.name not in initializers)


def _value_info(value: onnx.ValueInfoProto) -> ValueInfo:
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim)
    return ValueInfo(value.name, DTYPES[tensor.elem_type], shape)


def converter() -> tuple[str, str]:
    """tf2onnx and its version."""
    from importlib.metadata import version

    return "tf2onnx", version("tf2onnx")
