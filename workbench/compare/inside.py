"""An ONNX graph opened up: any tensor inside it, and the same numbers in another layout.

The graph runs once, with its inner tensors as outputs and without optimisation, so that they exist. Its weights stay in
the file: only the rest of it is read, and ONNX Runtime maps the numbers from where they are.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..engines.refusals import refusal
from ..errors import BadInput
from ..files.header import read_header
from ..files.light import without_weights
from ..safety import external

Arrays = Mapping[str, np.ndarray]


STAYS = 2048
"""Bytes of one weight from which it stays in the file; shapes and axes are smaller, and ONNX Runtime needs them."""


class Inside:
    """An ONNX graph whose inner tensors can be asked for.

    Attributes:
        outputs: the graph's own.
        tensors: what `ask` got, in order of execution.
        node_of: tensor -> (its node's place, the node).
        weights: initializer name -> TensorProto, most of them still in the file.
    """

    def __init__(self, path: str) -> None:
        import onnx

        self.path = os.path.realpath(path)
        external.check(Path(self.path))
        self.model = onnx.ModelProto.FromString(without_weights(Path(self.path), STAYS))
        graph = self.model.graph
        self.outputs = [value.name for value in graph.output]
        self.node_of = {name: (at, node) for at, node in enumerate(graph.node) for name in node.output if name}
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.tensors: dict[str, np.ndarray] = {}

    def fixed_rows(self, inputs: Arrays) -> bool:
        """Whether the graph takes one number of rows only."""
        dims = [value.type.tensor_type.shape.dim for value in self.model.graph.input if value.name in inputs]
        return any(dim and dim[0].dim_value > 0 for dim in dims)

    def sizes(self) -> dict[str, int | None]:
        """Every floating-point tensor and its numbers per row; None where ONNX Runtime cannot tell beforehand."""
        found: dict[str, int | None] = {}
        for output in self._session(self.node_of).get_outputs():
            if output.type in ("tensor(float)", "tensor(double)", "tensor(float16)"):
                dims = output.shape[1:]
                found[output.name] = prod(dims) if all(isinstance(dim, int) for dim in dims) else None
        return found

    def ask(self, names: Collection[str], feeds: Arrays) -> None:
        wanted = [name for name in self.node_of if name in names or name in self.outputs]
        self.tensors = self.run(wanted, feeds)

    def run(self, names: Sequence[str], feeds: Arrays) -> dict[str, np.ndarray]:
        session = self._session(names)
        try:
            results = session.run(list(names), dict(feeds))
        except Exception as error:
            raise BadInput(f"ONNX Runtime could not run {self.path} layer by layer: {str(error)[:300]}.") from error
        arrays = {name: value for name, value in zip(names, results, strict=True) if isinstance(value, np.ndarray)}
        return {name: array for name, array in arrays.items() if array.dtype.kind == "f"}

    def _session(self, names: Collection[str]) -> Any:
        import onnx
        import onnxruntime as ort

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in self.outputs)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Prepacked kernels would be a second copy of the weights.
        options.add_session_config_entry("session.disable_prepacking", "1")
        folder = os.path.dirname(self.path)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        try:
            return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise refusal(self.path, str(error), read_header(self.path), ort.__version__) from error

    def weight(self, name: str) -> np.ndarray:
        import onnx

        return onnx.numpy_helper.to_array(self.weights[name], os.path.dirname(self.path))

    def behind(self, tensor: str, stops: Collection[str]) -> tuple[list[Any], list[str]]:
        """(nodes from `stops` to a tensor, in order of execution; the weights they read)"""
        nodes: dict[int, Any] = {}
        weights: dict[str, None] = {}
        todo = [tensor]
        while todo:
            name = todo.pop()
            if name in self.weights:
                weights[name] = None
            elif name in self.node_of and (name not in stops or name == tensor):
                at, node = self.node_of[name]
                if at not in nodes:
                    nodes[at] = node
                    todo += node.input
        return [nodes[at] for at in sorted(nodes)], list(weights)
