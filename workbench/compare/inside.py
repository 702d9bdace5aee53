"""An ONNX graph opened up: any tensor inside it, and the same numbers in another layout.

The graph runs once, with its inner tensors as outputs and without optimisation, so that they exist. Its weights stay in
the file: only the rest of it is read, and ONNX Runtime maps the numbers from where they are.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..agreement import rows_of
from ..engines.eight_bits import EXACT, may_clip
from ..engines.onnxruntime import OPTIMIZATION, Opened, extensions_for
from ..engines.refusals import plain, refusal
from ..engines.rewritten import FOLDER
from ..engines.values import COARSE
from ..errors import BadInput
from ..files.light import without_weights
from ..safety import external

Arrays = Mapping[str, np.ndarray]


_FLOATS = ("float", "double", "float16")

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
        self._header = external.check(Path(self.path))
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

    def read_as(self) -> dict[str, str]:
        """{value: what its readers get}, where all of them read it through QuantizeLinear and DequantizeLinear, which
        also does an activation's work by clipping."""
        readers: dict[str, list[Any]] = {}
        for node in self.model.graph.node:
            for name in node.input[:1]:
                readers.setdefault(name, []).append(node)
            for name in node.input[1:]:  # a scale, or another operator's weights
                readers.setdefault(name, []).append(None)

        def through(value: str, op_type: str) -> str:
            found = readers.get(value, [])
            same = len(found) == 1 and found[0] is not None and found[0].op_type == op_type
            return found[0].output[0] if same and value not in self.outputs else ""

        coded = {value: through(value, "QuantizeLinear") for value in self.node_of}
        return {value: through(code, "DequantizeLinear") or value for value, code in coded.items()}

    def sizes(self, floats: bool = True) -> dict[str, int | None]:
        """Every tensor, or floating-point one, and its numbers per row; None where ONNX Runtime cannot tell
        beforehand. Dtypes that NumPy has not are left out."""
        found: dict[str, int | None] = {}
        for output in self._session(self.node_of).get_outputs():
            dtype = output.type.removeprefix("tensor(").removesuffix(")")
            if dtype in _FLOATS or not (floats or dtype == output.type or dtype in COARSE):
                dims = output.shape[1:]
                found[output.name] = prod(dims) if all(isinstance(dim, int) for dim in dims) else None
        return found

    def ask(self, names: Collection[str], feeds: Arrays) -> None:
        wanted = [name for name in self.node_of if name in names or name in self.outputs]
        self.tensors = self.run(wanted, feeds)

    def run(self, names: Sequence[str], feeds: Arrays) -> dict[str, np.ndarray]:
        return {name: array for name, array in self._run(names, feeds).items() if array.dtype.kind == "f"}

    def in_parts(self, sizes: Mapping[str, int | None], feeds: Arrays, budget: int) -> Iterator[dict[str, np.ndarray]]:
        """The tensors of these names, in order of execution, no more at once than a budget of bytes holds.

        Args:
            sizes: as `sizes` has them.
        """
        rows = rows_of(feeds)
        largest = max((size for size in sizes.values() if size is not None), default=1)
        names: list[str] = []
        left = budget
        for name, size in sizes.items():
            left -= 8 * rows * (largest if size is None else size)
            if left < 0 and names:
                yield self._run(names, feeds)
                names, left = [], budget
            names.append(name)
        if names:
            yield self._run(names, feeds)

    def _run(self, names: Sequence[str], feeds: Arrays) -> dict[str, np.ndarray]:
        session = self._session(names)
        try:
            results = session.run(list(names), dict(feeds))
        except Exception as error:
            raise BadInput(f"ONNX Runtime could not run {self.path} layer by layer: {plain(str(error))}.") from error
        return {name: value for name, value in zip(names, results, strict=True) if isinstance(value, np.ndarray)}

    def _session(self, names: Collection[str]) -> Any:
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in self.outputs)
        # Prepacked kernels would be a second copy of the weights.
        common = {FOLDER: os.path.dirname(self.path), "session.disable_prepacking": "1"}
        extensions = extensions_for(self._header)
        opened = Opened(None, OPTIMIZATION["off"], ("CPUExecutionProvider",), common, extensions)
        data = model.SerializeToString()
        if may_clip(self._header, fused=False):
            with suppress(Exception):  # not where two nodes share a weight
                return opened(data, {EXACT: "1"})
        try:
            return opened(data, {})
        except Exception as error:
            raise refusal(self.path, str(error), self._header, version("onnxruntime")) from error

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
