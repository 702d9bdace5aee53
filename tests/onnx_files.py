"""Small ONNX files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Values = Mapping[str, tuple[int, Sequence[Any] | None]]
"""{name: (type of its elements, shape)} of inputs or outputs; no shape: not even how many axes."""


def onnx_file(
    path: Path, nodes: Sequence[Any], inputs: Values, outputs: Values, weights: Mapping[str, Any] | None = None
) -> Path:
    """Write one; `weights` are arrays, or tensors already."""
    infos = ([helper.make_tensor_value_info(name, *of) for name, of in values.items()] for values in (inputs, outputs))
    stored = [
        value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value), name)
        for name, value in (weights or {}).items()
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    graph = helper.make_graph(nodes, "g", *infos, stored)
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path
