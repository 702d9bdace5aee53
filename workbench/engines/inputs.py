"""Fit a person's data to a model's inputs, or say in one sentence why it does not fit.

Three questions, asked in this order by every engine: which value goes to which input (`match`), can it be held in
the input's dtype without changing its meaning (`cast`), has it the input's shape (`check_shape`). Nothing is
mended silently: a cast is reported for a warning, a wrong shape raises with the line that would mend it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..agreement import widened
from ..errors import BadInput, UnsupportedModel
from ..files.header import ValueInfo
from ..words import counted, listed
from .values import COARSE, CONTAINERS, bounds_of, boxed, dtype_of, largest_of, sort_of, unboxed


class CastWarning(UserWarning):
    """A value was converted to the dtype a model's input asks for."""


def match(
    given: Any, inputs: tuple[ValueInfo, ...], optional: tuple[ValueInfo, ...] = ()
) -> list[tuple[ValueInfo, Any]]:
    """Which value goes to which input.

    Args:
        given: ``{name: value}``; one value for a model with one input; a list or tuple of values in the inputs'
            order; or a DataFrame: all of it for one input, a column of each input's name for several.
        inputs: inputs that must be given, but for those that the model itself calls optional.
        optional: inputs with a default, by name only.

    Raises:
        BadInput: missing, unknown or too many inputs.
    """
    names = [info.name for info in inputs]
    expected = f"the model's inputs are {listed(map(repr, names), 10)}" if names else "the model has no inputs"
    if is_frame(given):
        if len(inputs) == 1:
            return [(inputs[0], given)]
        given = {name: _column(given[name], info) for name, info in zip(names, inputs, strict=True) if name in given}
    if isinstance(given, Mapping):
        if unknown := [name for name in given if name not in {*names, *(info.name for info in optional)}]:
            raise BadInput(f"There is no input {unknown[0]!r}: {expected}.")
        if missing := [info.name for info in inputs if info.name not in given and info.dtype != "optional"]:
            raise BadInput(f"Input {missing[0]!r} is missing: {expected}.")
        return [(info, given[info.name]) for info in (*inputs, *optional) if info.name in given]
    if len(inputs) == 1 and not _wraps_one(given, inputs[0]):
        return [(inputs[0], given)]
    if not isinstance(given, list | tuple):
        raise BadInput(
            f"One array was given, but {expected}: give {{name: array}}, a list of one array each, or a DataFrame."
        )
    if len(given) != len(inputs):
        raise BadInput(f"{len(given)} arrays were given, but {expected}, in this order.")
    return list(zip(inputs, given, strict=True))


def by_column(given: Any, inputs: tuple[ValueInfo, ...]) -> Any:
    """A table for a model with an input per column."""
    if len(inputs) > 1 and getattr(given, "ndim", 0) == 2 and given.shape[1] == len(inputs):
        columns = list(getattr(given, "columns", ()))
        if not columns or not {info.name for info in inputs} <= set(columns):
            rows = given.to_numpy() if columns else given
            return {info.name: rows[:, [index]] for index, info in enumerate(inputs)}
    return given


def cast(value: Any, info: ValueInfo) -> tuple[np.ndarray, str | None]:
    """`value` as an array of the input's dtype; for a sequence, map or optional the list, dict, array or None that it
    takes, in an array without axes (`workbench.engines.values`).

    Returns:
        (array, the dtype it was cast from, or None where its numbers were taken as they are). Plain Python numbers
        have no dtype of their own, so taking them is no cast; rounding float64 to float32 is one.

    Raises:
        BadInput: the cast would change what the values mean: overflow, a fraction or NaN to an integer, text to
            a number, a complex number to a real one.
        UnsupportedModel: the input's dtype has no NumPy array.
    """
    if info.dtype in CONTAINERS:
        return _contained(unboxed(value), info)
    array = _as_array(value, info)
    if info.dtype == "string":
        return _strings(array, info), None
    try:
        want = dtype_of(info.dtype)
    except TypeError:
        raise UnsupportedModel(
            f"Input {info.name!r} takes {info.dtype} values, which a NumPy array cannot hold here."
        ) from None
    if array.dtype.kind == "O":
        array = _out_of_objects(array, info)
    source = array.dtype
    if source == want:
        return array.astype(want, copy=False), None
    if sort_of(source) not in "biuf" or sort_of(want) not in "biuf":
        words = "text" if source.kind in "US" else source.name
        raise BadInput(f"Input {info.name!r} takes {info.dtype} values, but {words} was given: convert it first.")
    wide = widened(array)
    with np.errstate(all="ignore"):
        result = wide.astype(want)
    if array.size:
        _check_meaning(wide, result, info)
    return result, source.name if _has_dtype(value) else None


def _contained(value: Any, info: ValueInfo) -> tuple[np.ndarray, str | None]:
    """`cast` to a container, what it holds cast one by one."""
    held = info.holds
    if held is None:
        raise UnsupportedModel(f"Input {info.name!r} takes a {info.dtype}, and the model does not say of what.")

    def taken(item: Any, place: str) -> Any:
        part = replace(held, name=f"{info.name}{place}")
        array, source = cast(item, part)
        check_shape(array, part)
        sources.append(source)
        return unboxed(array)

    sources: list[str | None] = []
    if info.dtype == "optional":
        found = None if value is None else taken(value, "")
    elif info.dtype == "map":
        if not isinstance(value, Mapping):
            raise BadInput(f"Input {info.name!r} takes a {info.sort}: give a dict, not {_sort(value)}.")
        found = {_key(key, info): taken(item, f"[{key!r}]").item() for key, item in value.items()}
    elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        found = [taken(item, f"[{index}]") for index, item in enumerate(value)]
    else:
        raise BadInput(f"Input {info.name!r} takes a {info.sort}: give a list of them, not {_sort(value)}.")
    return boxed(found), next(filter(None, sources), None)


def _key(key: Any, info: ValueInfo) -> Any:
    """A map's key as a Python object of the type that the model's map has."""
    key = key.item() if isinstance(key, np.generic) else key
    if not isinstance(key, str if info.key == "string" else int) or isinstance(key, bool):
        raise BadInput(f"Input {info.name!r} takes a {info.sort}, and {_shown(key)} is no {info.key} key.")
    return key


def _sort(value: Any) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__}"


def missing(array: np.ndarray) -> np.ndarray:
    """Where an array has no value: None, NaN, or what pandas writes for them; bool, of its shape."""
    if array.dtype.kind == "f":
        return np.isnan(array)
    if array.dtype.kind not in "OT":
        return np.zeros(array.shape, bool)
    found = (item is None or (not isinstance(item, str) and _is_nothing(item)) for item in array.flat)
    return np.fromiter(found, bool, array.size).reshape(array.shape)


def named(texts: np.ndarray) -> np.ndarray:
    """Texts with the words ``nan`` and ``None`` where they are missing, as skl2onnx writes these into encoders."""
    gone = missing(texts)
    out = texts.copy()
    out[gone] = [str(item) for item in texts[gone]]
    return out


def _is_nothing(item: Any) -> bool:
    if type(item).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(item, float | np.floating) and bool(np.isnan(item))


def with_gaps(inputs: tuple[ValueInfo, ...]) -> tuple[ValueInfo, ...]:
    """The inputs, as if all text might be missing: for whoever leaves such rows out (`lacking`)."""
    return tuple(replace(info, gaps=True) if info.dtype == "string" else info for info in inputs)


def lacking(arrays: Mapping[str, np.ndarray], inputs: tuple[ValueInfo, ...]) -> np.ndarray:
    """The numbers of the rows without a text that a model must have."""
    gone: set[int] = set()
    for info in inputs:
        if info.dtype == "string" and not info.gaps and arrays[info.name].ndim:
            gone |= set(np.argwhere(missing(arrays[info.name]))[:, 0].tolist())
    return np.array(sorted(gone), np.int64)


def left_out(count: int) -> str:
    """The sentence on rows that are `lacking`."""
    were = "was" if count == 1 else "were"
    return f"{counted(count, 'row')} in which text is missing {were} left out: the model has no word for it."


def check_shape(array: np.ndarray, info: ValueInfo) -> None:
    """Compare with the shape the model declares; free axes fit anything.

    Raises:
        BadInput: names the input, the expected and the given shape, and the line that mends it where one is plain.
    """
    # ONNX Runtime takes a declared rank of 0 for "any", as some converters mean it.
    if not info.shape or _fits(array.shape, info.shape):
        return
    expected = "(" + ", ".join("any" if _free(dim) else str(dim) for dim in info.shape)
    expected += ",)" if len(info.shape) == 1 else ")"
    hint = _hint(array.shape, info.shape)
    raise BadInput(
        f"Input {info.name!r} takes shape {expected}, but {array.shape} was given{': ' + hint if hint else ''}."
    )


def _as_array(value: Any, info: ValueInfo) -> np.ndarray:
    if hasattr(value, "toarray") and not isinstance(value, np.ndarray):
        raise BadInput(f"Input {info.name!r} takes a dense array, but a sparse one was given: pass x.toarray().")
    if info.dtype == "sparse_tensor":
        raise UnsupportedModel(f"Input {info.name!r} takes a sparse tensor, and only dense arrays can be given here.")
    try:
        return np.asarray(value)
    except ValueError:
        raise BadInput(
            f"Input {info.name!r} takes an array, but rows of different lengths were given: make them equally long."
        ) from None


def _strings(array: np.ndarray, info: ValueInfo) -> np.ndarray:
    if array.dtype.kind == "U":
        return array.astype(object)
    gone = missing(array)
    if gone.all() if array.dtype.kind == "f" else array.dtype.kind in "OT":
        texts = array.astype(object)
        texts[gone] = [None if item is None else np.nan for item in texts[gone]]  # pandas has NA and NaT too
        if all(isinstance(item, str) for item in texts[~gone]):
            if gone.any() and not info.gaps:
                row = int(np.argwhere(gone)[0][0]) + 1 if gone.ndim else 1
                raise BadInput(
                    f"Input {info.name!r} takes text, and in row {row} it is missing: fill it in, or leave the row out."
                )
            return texts
    found = np.dtype(array.dtype).name if array.dtype.kind != "O" else "a mix with other values"
    raise BadInput(f"Input {info.name!r} takes text, but {found} was given: convert it with astype(str).")


def _out_of_objects(array: np.ndarray, info: ValueInfo) -> np.ndarray:
    """Numbers out of an object array: what a DataFrame with mixed columns turns into."""
    for item in array.flat:
        if item is None or isinstance(item, str | bytes) or not np.isscalar(item):
            raise BadInput(
                f"Input {info.name!r} takes {info.dtype} values, but {_shown(item)} was among those given: "
                "convert or drop it first."
            )
    return np.array(array.tolist()).reshape(array.shape)


def _check_meaning(array: np.ndarray, cast_to: np.ndarray, info: ValueInfo) -> None:
    """Raise where the cast value is another one. Rounding to a coarser float is the same one."""
    source, want, result = array.dtype, cast_to.dtype, widened(cast_to)
    sort = sort_of(want)
    if sort == "f":
        # An infinity or NaN that was finite before, or the other way round; the coarsest types have neither, and stop
        # at their largest number.
        lost = (np.isfinite(result) != np.isfinite(array)) | (np.isnan(result) != np.isnan(array))
        if info.dtype in COARSE:
            lost |= np.abs(array) > largest_of(want)
    elif source.kind == "f":
        # A float the integer type cannot hold casts to anything at all, so compare before trusting the cast.
        low, high = bounds_of(want)
        # high + 1 is a power of two, exact as a float where high itself (2**63 - 1) is not.
        wide = array.astype(np.float64)
        lost = ~np.isfinite(wide) | (wide < low) | (wide >= float(high + 1)) | (wide != np.trunc(wide))
    elif sort == "b":
        lost = (array != 0) & (array != 1)
    else:
        # Wrapping round changes the value or, between int64 and uint64, its sign.
        lost = (result.astype(source) != array) | ((result < 0) != (array < 0))
    if lost.any():
        first = _shown(array[lost].flat[0])
        raise BadInput(
            f"Input {info.name!r} takes {info.dtype} values, and {first} ({source}) is not one: convert it first."
        )


def _has_dtype(value: Any) -> bool:
    return hasattr(value, "dtype") or hasattr(value, "dtypes")


def is_frame(value: Any) -> bool:
    return hasattr(value, "columns") and hasattr(value, "to_numpy")


def _wraps_one(given: Any, info: ValueInfo) -> bool:
    """Is this a list of one array for the model's one input, rather than the input's own rows?"""
    if not isinstance(given, list | tuple) or len(given) != 1:
        return False
    item = given[0]
    if info.dtype in CONTAINERS:
        return False
    return is_frame(item) or (isinstance(item, np.ndarray) and (info.shape is None or item.ndim >= len(info.shape)))


def _column(series: Any, info: ValueInfo) -> np.ndarray:
    """A DataFrame's column as (rows, 1) or (rows,), whichever the input declares."""
    column = series.to_numpy()
    return column.reshape(-1, 1) if info.shape is not None and len(info.shape) == 2 else column


def _free(dim: int | str | None) -> bool:
    return not isinstance(dim, int) or dim < 0


def _fits(given: tuple[int, ...], expected: tuple[int | str | None, ...]) -> bool:
    return len(given) == len(expected) and all(
        _free(want) or have == want for have, want in zip(given, expected, strict=True)
    )


def _hint(given: tuple[int, ...], expected: tuple[int | str | None, ...]) -> str:
    """The one change that makes the shape fit, or nothing."""
    if len(given) + 1 == len(expected):
        if len(given) == 1 and expected[-1] == 1:
            return "use x.reshape(-1, 1)"
        for axis in (0, len(given), 1):
            if _fits((*given[:axis], 1, *given[axis:]), expected):
                return "the batch axis is missing, use x[None]" if axis == 0 else f"use np.expand_dims(x, {axis})"
    if len(given) == len(expected) == 4:
        for order, layout in (((0, 3, 1, 2), "channels first (NCHW)"), ((0, 2, 3, 1), "channels last (NHWC)")):
            if _fits(tuple(given[axis] for axis in order), expected):
                return f"the model wants {layout}, use x.transpose{order}"
    row = [dim for dim in expected[1:] if isinstance(dim, int) and dim > 0]
    if not given or len(row) != len(expected) - 1:
        return ""
    if given[1:] == tuple(row):
        return f"its batch size is fixed, so run {expected[0]} at a time"
    if len(given) > 1 and math.prod(given[1:]) == math.prod(row):
        return f"use x.reshape(-1, {', '.join(map(str, row))})"
    return ""


def _shown(value: Any) -> str:
    text = repr(value.item() if hasattr(value, "item") else value)
    return text if len(text) <= 60 else text[:59] + "…"
