"""How the inputs of a scikit-learn estimator are said in ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .inputs import Signature

if TYPE_CHECKING:
    import onnx


def declared(signature: Signature, dtype: str) -> list[tuple[str, Any]]:
    """As skl2onnx declares inputs; under plain names, for it knows no brackets."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType

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


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, old, new)
    for value in graph.output:
        if value.name == old:
            value.name = new
