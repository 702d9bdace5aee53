"""What TensorFlow calls things, in words for people: tensors, shapes, errors. The ONNX file has the same names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import UnreadableFile
from ...files.header import ValueInfo
from ...words import first_line

Shape = tuple[int | None, ...] | None
"""None for a free axis; None where even the rank is free."""


def public_name(tensor: str) -> str:
    """``a/serving_default_image:0`` -> ``image``; ``split:1`` -> ``split_1``; ``PartitionedCall:0`` -> ``output``."""
    name, _, index = tensor.partition(":")
    name = name.rpartition("/")[2].removeprefix("serving_default_") or name
    if re.match(r"(Stateful)?PartitionedCall(_\d+)?$", name):
        name = "output"
    return name if index in ("", "0") else f"{name}_{index}"


def unique(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The same names, a number added to those given before; ONNX has one name space for inputs and outputs."""
    used = set(taken)
    out = []
    for name in names:
        candidate, count = name, 1
        while candidate in used:
            candidate, count = f"{name}_{count}", count + 1
        used.add(candidate)
        out.append(candidate)
    return out


def shape_of(tensor: Any) -> Shape:
    return None if tensor.shape.rank is None else tuple(tensor.shape.as_list())


def info_of(name: str, tensor: Any) -> ValueInfo:
    """Name, dtype and shape of a tensor or spec."""
    return ValueInfo(name, tensor.dtype.name, shape_of(tensor))


def arguments(concrete: Any) -> list[Any]:
    """The inputs of a ``ConcreteFunction`` that are not captured variables."""
    captured = {inside.name for _, inside in concrete.graph.captures}
    return [tensor for tensor in concrete.inputs if tensor.name not in captured]


def unreadable(path: Path, error: Exception) -> UnreadableFile:
    return UnreadableFile(f"TensorFlow cannot read {path.name}: {first_line(error)}")
