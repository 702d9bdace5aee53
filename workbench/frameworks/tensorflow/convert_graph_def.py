"""Frozen TensorFlow graphs (``.pb``) to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...convert.draft import Draft
from ...errors import UnsupportedModel
from . import network as tf_network
from .convert_start import start
from .graphs import FILLS_TABLE, FrozenGraph
from .names import shape_of
from .network import Network, lift, take_marks_off
from .to_onnx import Writing, draft_of
from .weights import Weight


def draft(
    path: Path, sample: Any, writing: Writing, *, inputs: Sequence[str] | None, outputs: Sequence[str] | None
) -> Draft:
    """Convert what lies between `inputs` and `outputs`, nodes or tensors; where not named, these are the Placeholders
    and the nodes nobody reads. See `tensorflow.draft`."""
    tf = start()
    writing.progress("Tracing the network")
    frozen = FrozenGraph.load(path, inputs or (), outputs or (), sample)
    nodes = [name.partition(":")[0] for name in frozen.fetches]
    network = Network(
        graph_def=tf.compat.v1.graph_util.extract_sub_graph(frozen.graph_def, nodes),
        inputs=dict(zip(frozen.feeds, frozen.specs, strict=True)),
        outputs=dict(zip(frozen.fetches, frozen.gives, strict=True)),
        name=path.stem,
        shapes={name: shape_of(tensor) for name, tensor in (frozen.specs | frozen.gives).items()},
    )
    network.tables.update(_tables(frozen.graph_def))
    lowered = any(node.op in ("Enter", "RefEnter") for node in frozen.graph_def.node)
    frozen.graph_def = None
    take_marks_off(network.graph_def)
    lift(network, _large_constants(network.graph_def))
    try:
        return draft_of(network, frozen.answer, writing)
    except UnsupportedModel as error:
        if not lowered:
            raise
        raise UnsupportedModel(
            f"The loops of {path.name} were taken apart when it was frozen, so they cannot be converted: convert its "
            f"SavedModel, or freeze it with convert_variables_to_constants_v2(..., lower_control_flow=False). {error}"
        ) from error


def _tables(graph_def: Any) -> dict[bytes, tuple[Any, Any]]:
    """Shared name of a lookup table -> (keys, values), which the graph puts into it."""
    from tensorflow.python.framework import tensor_util

    nodes = {node.name: node for node in graph_def.node}
    found = {}
    for node in graph_def.node:
        if node.op in FILLS_TABLE:
            table, *arrays = (nodes[name.partition(":")[0]] for name in node.input if not name.startswith("^"))
            if all(array.op == "Const" for array in arrays):
                keys, values = (tensor_util.MakeNdarray(array.attr["value"].tensor) for array in arrays)
                found[table.attr["shared_name"].s] = keys, values
    return found


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
