"""ONNX values that are no plain NumPy arrays: coarse numbers (bfloat16, float8, int4 …), sequences, maps, optionals.

Coarse numbers are arrays of the dtypes that package ``ml_dtypes`` adds to NumPy, as in ONNX's own Python package.
Containers travel in arrays without axes that hold one object, so that every input and output is an array.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import numpy as np

from ..files.header import DTYPES, ValueInfo

CONTAINERS = ("sequence", "map", "optional")

_SPELT = {
    "float8e4m3fn": "float8_e4m3fn", "float8e4m3fnuz": "float8_e4m3fnuz", "float8e5m2": "float8_e5m2",
    "float8e5m2fnuz": "float8_e5m2fnuz", "float8e8m0": "float8_e8m0fnu", "float4e2m1": "float4_e2m1fn",
}  # fmt: skip
"""ONNX's name of a dtype -> that of ml_dtypes, where they differ."""

COARSE = frozenset({"bfloat16", "int4", "uint4", "int2", "uint2", *_SPELT})
"""Dtypes that NumPy itself has not."""

FLOATS = frozenset({"float16", "float32", "float64"} | {name for name in COARSE if "float" in name})

ELEMENT_TYPES = {name: number for number, name in DTYPES.items()}
"""Dtype -> its number in ONNX."""


def dtype_of(name: str) -> np.dtype:
    """NumPy's dtype for ONNX's.

    Raises:
        TypeError: there is none.
    """
    if name not in COARSE:
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, _SPELT.get(name, name)))


def sort_of(dtype: np.dtype) -> str:
    """NumPy's letter for what a dtype's numbers are, such as ``f``; of coarse ones, too."""
    if dtype.isbuiltin != 2:  # of another package's
        return dtype.kind
    return "f" if "float" in dtype.name else dtype.name[0]


def bounds_of(dtype: np.dtype) -> tuple[int, int]:
    """The least and the greatest of an integer dtype."""
    if dtype.kind == "b":
        return 0, 1
    if dtype.isbuiltin != 2:
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    import ml_dtypes

    return int(ml_dtypes.iinfo(dtype).min), int(ml_dtypes.iinfo(dtype).max)


def largest_of(dtype: np.dtype) -> float:
    """The greatest number of a coarse floating-point dtype."""
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).max)


def value_info(meta: Any) -> ValueInfo:
    """An input or output as ONNX Runtime tells of it: ``tensor(float)``, ``seq(map(string,tensor(float)))`` …"""
    shape = tuple(dim if isinstance(dim, int | str) else None for dim in meta.shape or ())
    return replace(_told(meta.type, shape), name=meta.name)


def _told(kind: str, shape: tuple[int | str | None, ...] | None = None) -> ValueInfo:
    sort, _, inside = kind.removesuffix(")").partition("(")
    if sort == "tensor":
        return ValueInfo("", {"float": "float32", "double": "float64"}.get(inside, inside), shape)
    key, comma, held = inside.partition(",")
    is_map = sort == "map" and bool(comma)
    names = {"seq": "sequence", "sparse_tensor": "sparse_tensor"}
    return ValueInfo("", names.get(sort, sort), None, _told(held if is_map else inside), key if is_map else "")


def ort_value(array: np.ndarray, dtype: str) -> Any:
    """An array as a value of ONNX Runtime's own, by its bytes, which ONNX lays out the same everywhere."""
    import onnxruntime
    from onnx import numpy_helper

    if dtype not in COARSE:
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(array.shape), ELEMENT_TYPES[dtype])
    data = numpy_helper.from_array(np.ascontiguousarray(array)).raw_data
    ctypes.memmove(value.data_ptr(), data, min(len(data), value.tensor_size_in_bytes()))
    return value


def numpy_of(value: Any) -> np.ndarray:
    """A tensor of ONNX Runtime's own as an array."""
    from onnx import TensorProto, numpy_helper

    dtype = DTYPES[value.element_type()]
    if dtype not in COARSE:
        return np.asarray(value.numpy())
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return numpy_helper.to_array(TensorProto(data_type=value.element_type(), dims=value.shape(), raw_data=data))


def boxed(value: Any) -> np.ndarray:
    """An object in an array without axes."""
    box = np.empty((), object)
    box[()] = value
    return box


def unboxed(value: Any) -> Any:
    """What `boxed` holds; anything else as it is."""
    return value.item() if isinstance(value, np.ndarray) and value.dtype == object and not value.ndim else value


def answered(value: Any) -> np.ndarray:
    """A framework's answer as an array: a sequence becomes an array of objects, one for each of its values; another
    object is `boxed`."""
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, list | tuple):
        return np.asarray(value) if isinstance(value, np.generic) else boxed(value)
    out = np.empty(len(value), object)
    for index, item in enumerate(value):
        out[index] = item
    return out
