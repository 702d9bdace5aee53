"""The same model written otherwise: its functions put where they are called, its operators of another opset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .. import sandbox
from ..errors import WorkbenchError
from ..files.light import without_weights

if TYPE_CHECKING:
    import onnx

OLDEST = 7
"""The opset from which on ONNX Runtime has kernels."""

FOLDER = "session.model_external_initializers_file_folder_path"
"""ONNX Runtime's setting for where the data of a model lie that it is given as bytes."""

SECONDS = 120
"""For converting a model without its weights, which takes a few at most."""


def loadable(path: str, opset: int) -> tuple[bytes, int] | None:
    """A model with its operators converted to the nearest opset that ONNX Runtime loads, and which that is; None where
    onnx.version_converter knows no way. Its weights stay in the file, as external data of its folder.

    The converter is a C++ library that hostile files were seen to crash, so it works in a worker process.
    """
    others = [7, 13, 21] if opset < OLDEST else list(range(opset - 1, 20, -1))
    try:
        light = without_weights(Path(path))
        if sandbox.in_worker():
            return _loadable(light, path, others)
        return sandbox.run(
            _loadable, light, path, others, timeout=SECONDS, memory_mib=sandbox.memory_for(len(light)), warm=True,
            what=f"Converting the operators of {path}",
        )  # fmt: skip
    except WorkbenchError:
        return None


def _loadable(light: bytes, path: str, opsets: list[int]) -> tuple[bytes, int] | None:
    import onnx
    import onnxruntime
    from onnx import version_converter

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    folder = os.path.dirname(os.path.abspath(path))
    options.add_session_config_entry(FOLDER, folder)
    model = inlined(onnx.ModelProto.FromString(light))
    for opset in opsets:
        with suppress(Exception):  # no way to this one, or not far enough
            data: bytes = version_converter.convert_version(model, opset).SerializeToString()
            onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            return data, opset
    return None


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model with the bodies of its functions where they are called: onnx.version_converter drops functions, and
    onnx.reference does not know the defaults of their attributes. Nor does onnx.inliner: they are written out first.
    """
    from onnx import inliner

    if not model.functions:
        return model
    defaults = {
        (function.domain, function.name, function.overload): function.attribute_proto for function in model.functions
    }
    parts = [part for whole in (model.graph, *model.functions) for part in with_bodies(whole)]
    for node in (node for part in parts for node in part.node):
        given = {attribute.name for attribute in node.attribute}
        missing = defaults.get((node.domain, node.op_type, node.overload), ())
        node.attribute.extend(attribute for attribute in missing if attribute.name not in given)
    return inliner.inline_local_functions(model)


def with_bodies(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """A graph, and the bodies of its Loop, Scan and If, and those in them."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from with_bodies(body)
