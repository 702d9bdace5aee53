"""Frozen TensorFlow graphs (``.pb``) to ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput, UnsupportedModel
from . import tf_network
from .draft import Draft
from .tf_network import Network, lift, public_name, shape_of, take_marks_off, unique
from .tf_start import start
from .tf_to_onnx import Progress, draft_of, first_line, unreadable
from .weights import Weight

if TYPE_CHECKING:
    from .draft import Arrays


def draft(
    path: Path,
    sample: Any,
    opset: int | None,
    progress: Progress,
    folder: Path,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> Draft:
    """Convert what lies between `inputs` and `outputs`, nodes or tensors; where not named, these are the Placeholders
    and the nodes nobody reads. See `tensorflow.draft`."""
    tf = start()
    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except Exception as error:
        raise unreadable(path, error) from error
    feeds = [_tensor(name) for name in inputs or _placeholders(graph_def)]
    fetches = [_tensor(name) for name in outputs or _ends(graph_def)]
    if not feeds or not fetches:
        missing, sign = ("inputs", "Placeholder node") if not feeds else ("outputs", "node that nothing reads")
        raise UnsupportedModel(f"{path.name} has no {sign}: name its {missing} with options={{'{missing}': [...]}}.")
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
            whole = tf.compat.v1.wrap_function(partial(tf.import_graph_def, graph_def, name=""), [])
            function = whole.prune(feeds, fetches)
    except (KeyError, ValueError) as error:
        shown = first_line(error).strip("'\"")
        raise BadInput(f"{path.name} does not hold the inputs or outputs asked for: {shown}") from error
    tensors = {name: whole.graph.get_tensor_by_name(name) for name in (*feeds, *fetches)}
    takes = unique(map(public_name, feeds))
    gives = unique(map(public_name, fetches), takes)

    def native(arrays: Arrays) -> Arrays:
        values = [tf.constant(arrays[name], tensors[feed].dtype) for name, feed in zip(takes, feeds, strict=True)]
        return {name: value.numpy() for name, value in zip(gives, function(*values), strict=True)}

    network = Network(
        graph_def=tf.compat.v1.graph_util.extract_sub_graph(graph_def, [name.partition(":")[0] for name in fetches]),
        inputs=dict(zip(feeds, takes, strict=True)),
        outputs=dict(zip(fetches, gives, strict=True)),
        name=path.stem,
        shapes={name: shape_of(tensors[t]) for t, name in zip((*feeds, *fetches), (*takes, *gives), strict=True)},
    )
    lowered = any(node.op in ("Enter", "RefEnter") for node in graph_def.node)
    del graph_def
    take_marks_off(network.graph_def)
    lift(network, _large_constants(network.graph_def))
    try:
        return draft_of(network, native, opset=opset, progress=progress, folder=folder)
    except UnsupportedModel as error:
        if not lowered:
            raise
        raise UnsupportedModel(
            f"The loops of {path.name} were taken apart when it was frozen, so they cannot be converted: convert its "
            f"SavedModel, or freeze it with convert_variables_to_constants_v2(..., lower_control_flow=False). {error}"
        ) from error


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _placeholders(graph_def: Any) -> list[str]:
    # TensorFlow leaves the other ones behind when it takes loops apart; nothing needs them.
    unused = "unused_control_flow_input"
    return [node.name for node in graph_def.node if node.op == "Placeholder" and not node.name.startswith(unused)]


_NO_RESULT = ("Const", "Placeholder", "PlaceholderWithDefault", "NoOp", "Assert", "Print", "PrintV2", "SaveV2")


def _ends(graph_def: Any) -> list[str]:
    """Nodes nobody reads."""
    read = {source.lstrip("^").partition(":")[0] for node in graph_def.node for source in node.input}
    return [node.name for node in graph_def.node if node.name not in read and node.op not in _NO_RESULT]


def _give_shapes(graph_def: Any, feeds: Sequence[str], sample: Any) -> None:
    """Placeholders of old graphs may not say their rank: take it from the sample.

    Raises:
        UnsupportedModel: there is none.
    """
    nodes = {f"{node.name}:0": node for node in graph_def.node if node.op == "Placeholder"}
    for index, feed in enumerate(feeds):
        if feed not in nodes or not nodes[feed].attr["shape"].shape.unknown_rank:
            continue
        name = public_name(feed)
        if isinstance(sample, Mapping):
            found = sample.get(name, sample.get(feed))
        else:
            found = sample[index] if sample is not None and len(feeds) > 1 else sample
        if found is None:
            raise UnsupportedModel(
                f"The graph does not say the shape of its input {name!r}: give a sample of the inputs."
            )
        shape = nodes[feed].attr["shape"].shape
        shape.Clear()
        for size in (-1, *np.shape(found)[1:]):
            shape.dim.add(size=size)


def _large_constants(graph_def: Any) -> dict[str, Weight]:
    """Weights among the Const nodes."""
    from tensorflow.python.framework import tensor_util

    found = {}
    for node in graph_def.node:
        if node.op == "Const" and node.attr["value"].tensor.ByteSize() > tf_network.LARGE:
            array = tensor_util.MakeNdarray(node.attr["value"].tensor)
            if array.dtype.kind in "fiu":
                found[node.name] = Weight(array.shape, array.dtype, partial(np.asarray, array))
    return found
