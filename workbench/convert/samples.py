"""The rows both sides are asked: the person's, the draft's own points, or ones made from the model's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..engines.inputs import by_column, cast, check_shape, match
from ..errors import BadInput, UnsupportedModel
from ..files.header import ValueInfo
from .draft import Arrays, Draft

SEED = 20211
ROWS = 64
"""Rows of one generated group, where they are small."""

MOST_NUMBERS = 1 << 20
"""Numbers in one input of one group: a few pictures rather than 64."""

AT_ONCE = 1 << 18
"""Numbers in one input that are asked at once: two pictures of 224 by 224."""

MOST_POINTS = 20_000

WORDS = (
    "", "a", "cat", "dog", "red", "blue", "yes", "no", "unknown", "The quick brown fox", "jumps over the lazy dog",
    "0", "42", "Ünïcödé", "don't stop", "two  spaces", "UPPER lower",
)  # fmt: skip


@dataclass
class Group:
    """Samples from one place.

    Attributes:
        name: where from: ``given``, ``random``, ``edge``, ``points``.
        native: as the source model gets them; onnx: cast to the ONNX model's inputs.
        strict: every difference counts; see *Undecided rows* above.
        answers: the source model's; spread: {output: how far its answers move under rounding of the input}.
    """

    name: str
    native: Arrays
    onnx: Arrays
    strict: bool
    answers: Arrays = field(default_factory=dict)
    spread: Arrays | None = None

    @property
    def rows(self) -> int:
        return count_rows(self.onnx)


def plan(draft: Draft, sample: Any = None) -> list[list[Group]]:
    """What to ask: groups of rows, each a list of alternatives of which the first that the source answers counts.

    Args:
        sample: the person's rows; the generated ones are left out then.

    Raises:
        BadInput: they do not fit the model's inputs.
    """
    planned = list(_generated(draft)) if sample is None else [[_given(draft, sample)]]
    if draft.points is not None and (points := draft.points(np.random.default_rng(SEED))):
        planned.append([Group("points", *_both(draft, _thinned(points)), True)])
    return planned


def _given(draft: Draft, sample: Any) -> Group:
    """The source gets the person's numbers as they are, ONNX what they become in its dtypes: that is what they would
    ask of both."""
    native: Arrays = {}
    onnx: Arrays = {}
    for info, value in match(by_column(sample, draft.inputs), draft.inputs):
        array, _ = cast(value, info)
        original = np.asarray(value)
        original = original if original.dtype.kind == "f" and array.dtype.kind == "f" else array
        if info.shape is not None and array.ndim + 1 == len(info.shape) and info.shape[-1] == 1:
            # Texts come as (rows,), and many models take them as one column.
            array, original = array.reshape(-1, 1), original.reshape(-1, 1)
        check_shape(array, info)
        onnx[info.name], native[info.name] = array, original
    if not count_rows(onnx):
        raise BadInput("The sample has no rows; give at least one.")
    return Group("given", native, onnx, True)


def in_parts(run: Callable[[Arrays], Arrays], arrays: Arrays, inputs: tuple[ValueInfo, ...]) -> Arrays:
    """``run(arrays)``, a few rows at a time where they are large: what a network holds between its layers grows with
    the batch. A model with a fixed batch size gets that many, the last row again and again where rows are missing."""
    rows, heads = count_rows(arrays), {info.shape[0] if info.shape else 0 for info in inputs}
    fixed = [head for head in heads if isinstance(head, int)]
    # Sizes of their own beside free or other ones are no batch.
    batch = fixed[0] if fixed and len(heads) == 1 else 0
    step = batch if fixed else max(1, AT_ONCE // max(1, row_size(arrays)))
    whole = not step or step == rows or (not fixed and step > rows)
    if whole or any(len(array) != rows for array in arrays.values()):
        return {name: np.asarray(value) for name, value in run(arrays).items()}

    def part(start: int) -> Arrays:
        asked = {name: array[start : start + step] for name, array in arrays.items()}
        given = min(step, rows - start)
        if fixed and given < step:
            asked = {name: np.concatenate([a, np.repeat(a[-1:], step - given, axis=0)]) for name, a in asked.items()}
        answers = {name: np.atleast_1d(value) for name, value in run(asked).items()}
        # What has no row for each of a batch is whole.
        return {name: value[:given] if fixed and len(value) == step else value for name, value in answers.items()}

    parts = [part(start) for start in range(0, rows, step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _both(draft: Draft, arrays: Arrays) -> tuple[Arrays, Arrays]:
    """Generated numbers: both sides get exactly the same ones."""
    cast_arrays = {info.name: cast(arrays[info.name], info)[0] for info in draft.inputs}
    return cast_arrays, cast_arrays


def _thinned(arrays: Arrays) -> Arrays:
    rows = count_rows(arrays)
    step = -(-rows // MOST_POINTS)
    return {name: array[::step] for name, array in arrays.items()} if step > 1 else arrays


def _generated(draft: Draft) -> Iterator[list[Group]]:
    """Groups of rows; each a list of alternatives of which the first answered counts: other sizes of free axes, and for
    small integers, should the model look something up by them, few in place of all."""
    sizes = _free_sizes(draft.inputs) if _has_free(draft.inputs) else _FREE[:1]
    wholes = (True, False) if any(info.dtype in _SMALL for info in draft.inputs) else (True,)
    for name, kinds in (("random", _RANDOM), ("edge", _EDGE), ("missing", _MISSING)):
        if name == "missing" and not (draft.accepts_nan and any(i.dtype.startswith("float") for i in draft.inputs)):
            continue
        yield [
            Group(name, *_both(draft, _arrays(draft, kinds, free, whole)), False) for whole in wholes for free in sizes
        ]


_FREE = (7, 32, 64, 224)
"""Sizes tried for axes without one: a short sequence first; convolutions need more."""


def _has_free(inputs: tuple[ValueInfo, ...]) -> bool:
    return any(not isinstance(dim, int) for info in inputs for dim in (info.shape or ())[1:])


def _free_sizes(inputs: tuple[ValueInfo, ...]) -> tuple[int, ...]:
    pictures = any(info.shape is not None and len(info.shape) >= 4 for info in inputs)
    return _FREE[1:] if pictures else _FREE


Fill = Callable[["np.random.Generator", tuple[int, ...]], "np.ndarray"]
_RANDOM: tuple[Fill, ...] = (
    lambda rng, shape: rng.random(shape),
    lambda rng, shape: rng.standard_normal(shape),
    lambda rng, shape: 10 * rng.standard_normal(shape),
    lambda rng, shape: 255 * rng.random(shape),
)
"""What fills a row of numbers, in turn: 0 to 1 and 0 to 255, as pictures come, and around zero, as tables do."""

_EDGE: tuple[Fill, ...] = (
    lambda rng, shape: 0 * rng.random(shape),
    lambda rng, shape: -rng.random(shape),
    lambda rng, shape: -1e3 * rng.random(shape),
    lambda rng, shape: 1e4 * rng.standard_normal(shape),
    lambda rng, shape: 1e6 * rng.standard_normal(shape),
    lambda rng, shape: 1e-6 * rng.standard_normal(shape),
    lambda rng, shape: 1e-20 * rng.standard_normal(shape),
    lambda rng, shape: rng.integers(-3, 4, shape).astype("float64"),
)


def _with_gaps(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    values = rng.standard_normal(shape)
    return np.where(rng.random(shape) < 0.3, np.nan, values)


_MISSING: tuple[Fill, ...] = (_with_gaps, lambda rng, shape: rng.random(shape) * float("nan"))

_SMALL = ("int8", "uint8", "int16", "uint16")
"""Integers that stand for numbers, as pixels and quantized networks have them."""


def _uneven(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Between bounds that change along all axes but one: of plain noise, means over a row are always the same."""
    bounds = list(shape)
    if bounds:
        bounds[rng.integers(len(bounds))] = 1
    low, high = rng.random(bounds), rng.random(bounds)
    return low + (high - low) * rng.random(shape)


_RANDOM_SHARE: tuple[Fill, ...] = (
    lambda rng, shape: rng.random(shape),
    _uneven,
    lambda rng, shape: rng.random() * rng.random(shape),
    lambda rng, shape: rng.random() + 0.1 * rng.standard_normal(shape),
)
"""What fills a row of small integers, in turn, as shares of their range from the lowest to the highest."""

_EDGE_SHARE: tuple[Fill, ...] = (
    lambda rng, shape: 0 * rng.random(shape),
    lambda rng, shape: 0 * rng.random(shape) + 1,
    lambda rng, shape: 0 * rng.random(shape) + 0.5,
    lambda rng, shape: rng.integers(0, 2, shape).astype("float64"),
)


def _arrays(draft: Draft, kinds: tuple[Fill, ...], free: int, whole: bool) -> Arrays:
    rng = np.random.default_rng(SEED)
    named: dict[str, int] = {}
    shapes = {}
    for info in draft.inputs:
        shape = info.shape if info.shape is not None else (None, free)
        tail = tuple(dim if isinstance(dim, int) and dim > 0 else named.setdefault(str(dim), free) for dim in shape[1:])
        shapes[info.name] = shape[:1], tail
    numbers = max((int(np.prod(tail, dtype=np.int64)) for _, tail in shapes.values()), default=1)
    rows = max(len(kinds), min(ROWS, MOST_NUMBERS // max(1, numbers)))
    heads = {name: head[0] if head and isinstance(head[0], int) else 0 for name, (head, _) in shapes.items()}
    fixed = [head for head in heads.values() if head > 0]
    # One size of all inputs is a batch, of which `in_parts` asks one after the other.
    batch = len(set(heads.values())) == 1
    if fixed:
        rows = fixed[0] * max(1, rows // fixed[0] if batch else 1)
    out = {}
    for info in draft.inputs:
        head, tail = shapes[info.name]
        count = rows if batch or heads[info.name] <= 0 else heads[info.name]
        out[info.name] = _column(info, (count, *tail) if head else (), kinds, draft.ranges.get(info.name), whole, rng)
    return out


def _column(
    info: ValueInfo,
    shape: tuple[int, ...],
    kinds: tuple[Fill, ...],
    bounds: tuple[float, float] | None,
    whole: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    """One input of one group: row i is filled by kind i, in turn; `whole`: small integers from all of their range."""
    if info.dtype == "string":
        return np.array(WORDS, object)[rng.integers(len(WORDS), size=shape)]
    if info.dtype == "bool":
        return rng.random(shape) < 0.5
    try:
        dtype = np.dtype(info.dtype)
    except TypeError:
        raise UnsupportedModel(f"Input {info.name!r} takes {info.dtype} values, which cannot be generated.") from None
    small = bounds is None and whole and info.dtype in _SMALL
    if dtype.kind in "iu" and not small:
        low, high = bounds or ((0, 9) if kinds is not _EDGE else (0, 1))
        return rng.integers(int(low), int(high) + 1, size=shape).astype(dtype)
    if small:
        kinds = _EDGE_SHARE if kinds is _EDGE else _RANDOM_SHARE
    values = np.asarray(kinds[0](rng, ())) if not shape else np.empty(shape)
    for index in range(shape[0] if shape else 0):
        values[index] = kinds[index % len(kinds)](rng, shape[1:])
    if small:
        limits = np.iinfo(dtype)
        return np.clip(np.round(limits.min + (limits.max - limits.min) * values), limits.min, limits.max).astype(dtype)
    if bounds is not None:
        values = np.clip(values, *bounds)
    if dtype == np.float16:
        values = np.clip(values, -6e4, 6e4)
    return values.astype(dtype)


def count_rows(arrays: Arrays) -> int:
    return max((len(array) for array in arrays.values() if array.ndim), default=1)


def row_size(arrays: Arrays) -> int:
    return max((array.size // max(1, len(array)) for array in arrays.values() if array.ndim), default=1)
