"""What a TensorFlow graph can be asked in the proof."""

from __future__ import annotations

from typing import Any

from .network import Network
from .tolerance import HALF, tolerance_of

HALF_RANGE = (-64.0, 64.0)
"""Of the inputs of a network in float16, which ends at 65,504: past that one engine's infinity is another's NaN."""


def input_ranges(network: Network) -> dict[str, tuple[float, float]]:
    """Input name -> (lowest, highest) number to ask: (0, last row) where an input picks rows of a table, as an
    Embedding does (TensorFlow stops at an index outside); `HALF_RANGE` where a network computes in 16 bits."""
    half = tolerance_of(network.graph_def) is HALF
    return {name: HALF_RANGE for name in network.inputs.values() if half} | _index_ranges(network)


_SAME_VALUES = ("Identity", "Cast", "ExpandDims", "Reshape", "Squeeze", "Transpose", "StridedSlice", "StopGradient")


def _index_ranges(network: Network) -> dict[str, tuple[float, float]]:
    nodes = {node.name: node for node in network.graph_def.node}
    public = {tensor.partition(":")[0]: name for tensor, name in network.inputs.items()}

    def origin(node: Any, index: int) -> Any:
        """The node where the numbers of an input come from."""
        found = nodes[node.input[index].partition(":")[0]]
        if found.op == "SelectV2":
            # Keras 3 lets negative indices count from the end: where(i < 0, i + rows, i).
            return origin(found, 2)
        return origin(found, 0) if found.op in _SAME_VALUES else found

    ranges: dict[str, tuple[float, float]] = {}
    for node in network.graph_def.node:
        if node.op not in ("GatherV2", "Gather", "ResourceGather"):
            continue
        table, name = origin(node, 0), public.get(origin(node, 1).name)
        shape = table.attr["value"].tensor.tensor_shape if table.op == "Const" else table.attr["shape"].shape
        if name is not None and table.op in ("Const", "Placeholder") and shape.dim and shape.dim[0].size > 0:
            last = shape.dim[0].size - 1
            ranges[name] = (0, min(last, ranges.get(name, (0, last))[1]))
    return ranges
