"""What a TensorFlow graph can be asked in the proof, and how far apart two right answers of it may be."""

from __future__ import annotations

from typing import Any

from ..agreement import Tolerance
from .tf_network import Network

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

HALF_RANGE = (-64.0, 64.0)
"""Of the inputs of a network in float16, which ends at 65,504: past that one engine's infinity is another's NaN."""


def tolerance_of(network: Network) -> Tolerance:
    """`HALF` where any operator computes in 16 bits."""
    from tensorflow.core.framework import types_pb2

    half = {types_pb2.DT_HALF, types_pb2.DT_BFLOAT16}
    bodies = (function.node_def for function in network.graph_def.library.function)
    nodes = (node for body in (network.graph_def.node, *bodies) for node in body)
    return HALF if any(attr.type in half for node in nodes for attr in node.attr.values()) else FLOAT32


def input_ranges(network: Network) -> dict[str, tuple[float, float]]:
    """Input name -> (lowest, highest) number to ask: (0, last row) where an input picks rows of a table, as an
    Embedding does (TensorFlow stops at an index outside); `HALF_RANGE` where a network computes in 16 bits."""
    half = tolerance_of(network) is HALF
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
