"""A `Network` to an ONNX file, with tf2onnx.

tf2onnx leaves operators it does not know in the graph and reports success: `check_operators` looks for them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

from ...convert.batch import fix, freed
from ...convert.draft import Arrays, Draft
from ...errors import UnsupportedModel
from ...files.header import read_header
from ...words import first_line
from . import OPSETS
from .convert_start import start
from .limits import input_ranges, known_values
from .names import Shape
from .network import Network
from .operators import handlers
from .subgraphs import all_nodes
from .tidy import tidy
from .tolerance import tolerance_of
from .weights import attach

Progress = Callable[[str], object]

CONVERTER = "tf2onnx", version("tf2onnx")


@dataclass(frozen=True)
class Writing:
    """How a network becomes a file, whatever it comes from.

    Attributes:
        path: of the ONNX file.
        progress: called with a stage.
        opset: 13 to 18; 18 where None.
        batch: rows in every call of the ONNX model; any number where None.
        plain: with tf2onnx's forms of operators alone.
    """

    path: Path
    progress: Progress
    opset: int | None = None
    batch: int | None = None
    plain: bool = False


PLAIN = "The workbench's own forms of some operators do not prove right in this graph, so tf2onnx's were taken."


class NoForm(UnsupportedModel):
    """An operator has no ONNX form, ours or tf2onnx's."""


def tried(make: Callable[[bool], Draft]) -> Draft:
    """A draft with our forms of operators, and should it fail or not prove right, one with tf2onnx's alone.

    Args:
        make: makes the draft anew, with tf2onnx's forms alone if True.
    """

    def plain() -> tuple[Draft, str]:
        return make(True), PLAIN

    try:
        draft = make(False)
    except NoForm:
        raise
    except UnsupportedModel as first:
        try:
            draft, sentence = plain()
        except UnsupportedModel:
            raise first from None
        draft.notes.append(sentence)
        return draft
    draft.mend = plain
    return draft


def draft_of(network: Network, native: Callable[[Arrays], Arrays], writing: Writing) -> Draft:
    """Convert with tf2onnx.

    Args:
        native: runs the source model: {input name: array} -> {output name: array}.

    Raises:
        UnsupportedModel: an operator has no ONNX form; named, with the layer it is in.
        BadInput: the network does not take so many rows.
    """
    ranges, tolerance = input_ranges(network), tolerance_of(network.graph_def)
    notes: list[str] = []
    _to_onnx(network, writing, notes)
    path, known = writing.path, known_values(network)
    inputs = freed(read_header(path).graph.inputs, network.shapes)
    return Draft(path, CONVERTER, inputs, native, tolerance, ranges=ranges, known=known, notes=notes)


def _to_onnx(network: Network, writing: Writing, notes: list[str]) -> None:
    tf = start()
    from tf2onnx.tf_loader import fix_freezing_errors_part2, tf_optimize

    inputs, outputs = [*network.inputs, *(f"{node}:0" for node in network.weights)], list(network.outputs)
    with tf.device("/cpu:0"):
        graph_def = fix_freezing_errors_part2(network.graph_def)
        # TensorFlow's optimizer fills every Placeholder with numbers; a variable it leaves alone.
        _set_op(graph_def, network.weights, "VariableV2", container=b"", shared_name=b"")
        with tf.Graph().as_default():
            tf.import_graph_def(graph_def, name="")
            graph_def = tf_optimize(inputs, outputs, graph_def)
        _set_op(graph_def, network.weights, "Placeholder")
        writing.progress("Writing ONNX operators")
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
            del graph_def
            model = run_tf2onnx(
                graph,
                writing,
                notes,
                input_names=inputs,
                output_names=outputs,
                tensors_to_rename={**network.inputs, **network.outputs},
                initialized_tables=network.tables or None,
            )
    finish(model, network, writing)


def _set_op(graph_def: Any, names: Mapping[str, object], op: str, **attributes: bytes) -> None:
    """Make the nodes of these names another source of a tensor of the same dtype and shape."""
    for node in graph_def.node:
        if node.name in names:
            node.op = op
            for key in set(node.attr) - {"dtype", "shape"}:
                del node.attr[key]
            for key, value in attributes.items():
                node.attr[key].s = value


def run_tf2onnx(graph: Any, writing: Writing, notes: list[str], **options: Any) -> onnx.ModelProto:
    """Convert and optimise a ``tf.Graph``, or the file that `options` name. Unknown operators stay in.

    Args:
        notes: gets a sentence for each of tf2onnx's optimisers that fails and is left out.

    Raises:
        UnsupportedModel: tf2onnx fails.
    """
    import tf2onnx.optimizer
    import tf2onnx.tfonnx

    own = None if writing.plain else handlers(options.get("initialized_tables") or {})
    left_out: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while True:
            try:
                made = tf2onnx.tfonnx.process_tf_graph(
                    graph, continue_on_error=True, opset=writing.opset or OPSETS[1], custom_op_handlers=own, **options
                )
            except Exception as error:
                said = f"{type(error).__name__}: {first_line(error)}"
                raise UnsupportedModel(f"tf2onnx cannot convert this graph: {said}") from error
            nodes = [
                (node.domain, node.type, node.name) for node in made.get_nodes()
                if not node.is_const() and not node.is_graph_input()
            ]  # fmt: skip
            at_work = ""

            def begun(name: str) -> Any:
                nonlocal at_work
                at_work = name
                return tf2onnx.optimizer._optimizers[name]()

            # Not its own `catch_errors`: that keeps a copy of the graph at every step.
            optimizers = {name: partial(begun, name) for name in tf2onnx.optimizer._optimizers if name not in left_out}
            try:
                optimized = tf2onnx.optimizer.optimize_graph(made, catch_errors=False, optimizers=optimizers)
                at_work = ""
                return optimized.make_model("")
            except Exception as error:
                # Most often one stumbles over what nobody knows.
                _check_known({op: name for domain, op, name in nodes if not onnx.defs.has(op, domain)})
                said = f"{type(error).__name__}: {first_line(error)}"
                if not at_work:
                    raise UnsupportedModel(f"tf2onnx cannot write this graph: {said}") from error
                left_out.add(at_work)
                notes.append(
                    f"One of tf2onnx's optimisers ({at_work}) fails on this graph ({said}) and was left out, so the "
                    "file may hold more nodes than it needs."
                )


def finish(model: onnx.ModelProto, network: Network, writing: Writing) -> None:
    """Check every operator, name what people see, and write the file, weights included."""
    check_operators(model)
    tidy(model.graph)
    _give_ranks(model)
    _name_axes(model.graph, network.shapes)
    if writing.batch is not None:
        fix(model.graph, writing.batch, only=network.shapes)
    model.graph.name = network.name
    if not any(node.domain == "ai.onnx.ml" for node in all_nodes(model.graph)):
        # tf2onnx imports it into every file, and readers take that for a classical model.
        kept = [entry for entry in model.opset_import if entry.domain != "ai.onnx.ml"]
        del model.opset_import[:]
        model.opset_import.extend(kept)
    writing.progress("Writing the weights")
    attach(model, {f"{node}:0": weight for node, weight in network.weights.items()}, writing.path)


def check_operators(model: onnx.ModelProto) -> None:
    """Every node must be an operator of ONNX at the model's opset.

    Raises:
        UnsupportedModel: names each operator that is not, and the layer it came from.
    """
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    unknown: dict[str, str] = {}
    for node in all_nodes(model.graph):
        if node.domain not in opsets or not onnx.defs.has(node.op_type, opsets[node.domain], node.domain):
            unknown.setdefault(node.op_type, node.name)
    _check_known(unknown)


def _check_known(unknown: Mapping[str, str]) -> None:
    """
    Args:
        unknown: operators that ONNX does not have, and the name of a node of each.
    """
    if unknown:
        layers = [(op, _layer_of(name)) for op, name in list(unknown.items())[:5]]
        shown = " and ".join(f"{op} (in {layer!r})" if layer else op for op, layer in layers)
        raise NoForm(
            f"ONNX has no form of the TensorFlow operator{'s' * (len(unknown) > 1)} {shown}: "
            "replace that layer, or do its work before the model."
        )


def _layer_of(node_name: str) -> str:
    """The layer a node was traced in: ``StatefulPartitionedCall/model_1/dense_1/MatMul`` -> ``model_1/dense_1``."""
    return re.sub(r"^((Stateful)?PartitionedCall(_\d+)?/)+", "", node_name).rpartition("/")[0]


def _give_ranks(model: onnx.ModelProto) -> None:
    """Outputs of which TensorFlow does not know the rank, as behind a lookup table, get ONNX's idea of it, which its
    checker wants."""
    if all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        return
    inferred = {value.name: value.type for value in onnx.shape_inference.infer_shapes(model).graph.output}
    for value in model.graph.output:
        value.type.CopyFrom(inferred[value.name])


def _name_axes(graph: onnx.GraphProto, shapes: Mapping[str, Shape]) -> None:
    """Free axes get names people can read: ``N`` the rows, ``image_1`` axis 1 of input ``image``."""
    inputs = [value.name for value in graph.input if value.name in shapes]
    free_rows = all(shape and shape[0] is None for shape in map(shapes.get, inputs))
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
