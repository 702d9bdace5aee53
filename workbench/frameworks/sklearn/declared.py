"""How the inputs of a scikit-learn estimator are said in ONNX."""

from __future__ import annotations

from typing import Any

import onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType

from ...engines.rewritten import with_bodies
from .inputs import Signature


def declared(signature: Signature, dtype: str) -> list[tuple[str, Any]]:
    """As skl2onnx declares inputs; under plain names, for it knows no brackets."""
    kinds = {"float32": FloatTensorType, "float64": DoubleTensorType, "int64": Int64TensorType}
    return [
        (f"input_{index}", kinds.get(info.dtype, StringTensorType)([None, info.shape[1]]))  # type: ignore[index]
        for index, info in enumerate(signature.inputs(dtype))
    ]


def name_inputs(signature: Signature, model: onnx.ModelProto) -> None:
    """The inputs' own names, in place of those of `declared`."""
    new = {f"input_{index}": name for index, name in enumerate(signature.names)}
    taken = {name for node in model.graph.node for name in node.output}
    for clash in taken & set(new.values()):
        _rename(model.graph, clash, f"{clash}_output")
    for value in model.graph.input:
        value.name = new[value.name]
    for old, name in new.items():
        _rename(model.graph, old, name)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for part in with_bodies(graph):
        for names in (names for node in part.node for names in (node.input, node.output)):
            names[:] = [new if name == old else name for name in names]
        for value in part.output:
            if value.name == old:
                value.name = new
