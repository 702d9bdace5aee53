"""A fixed number of rows: every input and output of the graph gets it as its first dimension."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..files.header import ValueInfo
from ..words import counted

if TYPE_CHECKING:
    import onnx

ROWS = "N"
"""What a free first dimension is called."""


def fix(graph: onnx.GraphProto, batch: int, only: Container[str] | None = None) -> None:
    """Write `batch` into the shapes of `graph`, in place; into those of the inputs and outputs in `only`, if given.

    Raises:
        BadInput: an input or output does not begin with a free number of rows.
    """
    ends = [value for value in (*graph.input, *graph.output) if only is None or value.name in only]
    for value in ends:
        if value.type.HasField("sequence_type"):
            continue  # a list of {label: probability}, which has no shape
        shape = value.type.tensor_type.shape.dim
        if shape and shape[0].HasField("dim_value"):
            if shape[0].dim_value == batch:
                continue
            takes = f"has the shape [{shape[0].dim_value}, …]"
        elif not shape or shape[0].dim_param not in ("", ROWS):
            takes = "does not begin with the rows"
        else:
            shape[0].dim_value = batch  # the other fields of this union go
            continue
        raise BadInput(
            f"{value.name!r} {takes}, so the model cannot take {counted(batch, 'row')} at a time: leave batch out."
        )
    for value in graph.value_info:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == ROWS:
                dim.dim_value = batch


def freed(inputs: Iterable[ValueInfo], source: Mapping[str, Sequence[int | None] | None]) -> tuple[ValueInfo, ...]:
    """The inputs as the source model takes them: any number of rows, where its own shapes say None."""
    return tuple(
        replace(info, shape=(ROWS, *info.shape[1:])) if info.shape and (source[info.name] or (0,))[0] is None else info
        for info in inputs
    )
