"""Table 1 of the paper, for any pair: the weights of a spiking network, on its side and in ONNX.

The paper lists the SNN's weights in forward order and the ONNX file's in reverse, layer by layer, kernel before bias.
On the SNN side shapes are Keras's, (height, width, in, out) and (in, out); on the ONNX side, as the file stores them.
Files written here store matrices as (in, out) too, so that the paper's table comes out row by row; converters that
write ``Gemm`` with ``transB=1`` (PyTorch) store (out, in), and a note says so.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UnsupportedModel
from ...markup import render
from .load import network_of
from .network import SpikingNetwork
from .read import load, values

if TYPE_CHECKING:
    import onnx
    import pandas as pd

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One row. The two sides run in opposite directions: they are not the same tensor.

    Attributes:
        number: from 1.
        snn, snn_shape: layer and array, Keras layout.
        onnx, onnx_shape: the initializer, as stored.
        unchanged: whether the ONNX tensor holds its SNN counterpart's numbers, bit for bit; None without one.
    """

    number: int
    snn: str
    snn_shape: Shape | None
    onnx: str
    onnx_shape: Shape | None
    unchanged: bool | None


@dataclass(frozen=True)
class WeightTable:
    """Table 1. `notes` says where layouts differ, and why."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def frame(self) -> pd.DataFrame:
        """A row per row, as a pandas table."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows]).set_index("number")

    def __str__(self) -> str:
        lines = [f"{'#':>3}  {'SNN (forward order)':<24}ONNX (reverse order)"]
        lines += [f"{row.number:>3}  {_text(row.snn_shape):<24}{_text(row.onnx_shape)}" for row in self.rows]
        return "\n".join([*lines, *self.notes])

    def _repr_html_(self) -> str:
        return render("weights", rows=self.rows, notes=self.notes, text=_text)


@dataclass
class _Tensor:
    name: str
    shape: Shape | None
    """As its side has it; None where the side has no such row."""
    values: Any
    """In Keras's layout."""


def weight_table(net: Any, onnx: str | os.PathLike[str]) -> WeightTable:
    """Table 1 for a spiking network and an ONNX file.

    Args:
        net: a ``nengo.Network``, an open simulator, a `SpikingNetwork`, or the path of a file that holds one.
        onnx: the path of an ONNX file.

    Raises:
        UnsupportedModel: a network without convolutions or matrices, or not to be read.
        UnreadableFile: a missing or damaged file.
    """
    forward = _of_network(network_of(net))
    backward, notes = _of_file(load(onnx))
    left = [tensor for layer in forward for tensor in layer]
    right = [
        (tensor, _unchanged(tensor, forward, i, j))
        for i, layer in enumerate(backward)
        for j, tensor in enumerate(layer)
    ]
    if not left and not right:
        raise UnsupportedModel("Neither side has a convolution or a matrix, whose weights the table would compare.")
    if len(left) != len(right):
        notes.append(f"The sides do not match: {len(left)} arrays in the network, {len(right)} in the ONNX file.")
    rows, paired, blank = [], len(forward) == len(backward), _Tensor("", None, None)
    for number, (one, pair) in enumerate(zip_longest(left, right, fillvalue=None), start=1):
        snn, (stored, unchanged) = one or blank, pair or (blank, None)
        rows.append(Row(number, snn.name, snn.shape, stored.name, stored.shape, unchanged if paired else None))
    return WeightTable(tuple(rows), tuple(notes))


def _of_network(network: SpikingNetwork) -> list[list[_Tensor]]:
    """Weights and biases, layer by layer; the neurons' own are no row of the paper's."""
    layers = []
    for node in network.ordered():
        if node.op in ("Conv", "Gemm"):
            arrays = {
                key: array.transpose(2, 3, 1, 0) if array.ndim == 4 else array for key, array in node.weights.items()
            }
            layers.append([_Tensor(f"{node.name} {key}", array.shape, array) for key, array in arrays.items()])
    return layers


def _of_file(model: onnx.ModelProto) -> tuple[list[list[_Tensor]], list[str]]:
    """Weights and biases, layer by layer, the last layer first; and what is to be said of their layouts."""
    held = {tensor.name: tensor for graph in _graphs(model) for tensor in graph.initializer}
    layers: list[list[_Tensor]] = []
    matrices: dict[str, list[_Tensor]] = {}  # what a MatMul gives -> its layer, for the Add that brings the bias
    kernels, turned = False, []
    for node in (node for graph in _graphs(model) for node in graph.node):
        names = [name for name in node.input if name in held]
        if node.op_type in ("Conv", "Gemm", "MatMul") and names:
            layer: list[_Tensor] = []
            layers.append(layer)
            if node.op_type == "MatMul":
                matrices[node.output[0]] = layer
        elif node.op_type == "Add" and names and any(name in matrices for name in node.input):
            layer = next(matrices[name] for name in node.input if name in matrices)
        else:
            continue
        transposed = node.op_type == "Gemm" and any(each.name == "transB" and each.i for each in node.attribute)
        for name in names:
            array = values(held[name])
            shape = array.shape
            if len(shape) == 4:
                array, kernels = array.transpose(2, 3, 1, 0), True
            elif len(shape) == 2 and transposed:
                array = array.T
                turned.append(name)
            layer.append(_Tensor(name, shape, array))
    notes = ["Kernels are (height, width, in, out) in Keras, (out, in, height, width) in ONNX."] if kernels else []
    notes += [f"{name} is stored as (out, in): its Gemm has transB=1, as PyTorch keeps matrices." for name in turned]
    return layers[::-1], notes


def _graphs(model: onnx.ModelProto) -> list[onnx.GraphProto]:
    """The main graph, and the bodies of its loops: a recurrent network is one Scan."""
    bodies = [attribute.g for node in model.graph.node for attribute in node.attribute if attribute.HasField("g")]
    return [model.graph, *bodies]


def _unchanged(tensor: _Tensor, forward: list[list[_Tensor]], layer: int, index: int) -> bool | None:
    """Compare a stored tensor, of the layer so far from the end, with its counterpart."""
    if layer >= len(forward) or index >= len(forward[-1 - layer]):
        return None
    return bool(np.array_equal(forward[-1 - layer][index].values, tensor.values))


def _text(shape: Shape | None) -> str:
    return "" if shape is None else str(tuple(int(length) for length in shape))
