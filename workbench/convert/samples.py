"""The rows both sides are asked: the person's, the draft's own points, or ones made from the model's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..engines.inputs import by_column, cast, check_shape, is_frame, lacking, left_out, match, with_gaps
from ..errors import BadInput, UnsupportedModel
from ..files.header import ValueInfo
from ..lookups import nearly
from ..words import counted, listed, readable
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
    "0", "42", "3.14", "Ünïcödé", "u\u0308", "don't stop", "two  spaces", " around ", "UPPER lower", "well-known",
    "snake_case", "tab\tline\nend", "no\u00a0break", "a,b;c", "(x) [UNK] #1!", "한국어 日本語", "😀",
)  # fmt: skip
"""What tokenisers and lookups treat apart: case, spaces of all sorts, punctuation, letters beyond ASCII, what joins."""


@dataclass
class Group:
    """Samples from one place.

    Attributes:
        name: where from: ``given``, ``random``, ``edge``, ``points``.
        native: as the source model gets them; onnx: cast to the ONNX model's inputs.
        strict: every difference counts; see *Undecided rows* above.
        note: what was left out of the rows given, in a sentence.
        answers: the source model's; spread: {output: how far its answers move under rounding of the input};
            ties: the same, where neighbours at the same distance are taken in another order.
    """

    name: str
    native: Arrays
    onnx: Arrays
    strict: bool
    note: str = ""
    answers: Arrays = field(default_factory=dict)
    spread: Arrays | None = None
    ties: Arrays | None = None

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
    if draft.columns and is_frame(sample) and set(draft.columns) <= set(sample.columns):
        sample = sample[list(draft.columns)]
    inputs = with_gaps(draft.inputs)
    for info, value in match(by_column(sample, inputs), inputs):
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
    note = ""
    if len(gone := lacking(onnx, draft.inputs)):
        if len(gone) == count_rows(onnx):
            raise BadInput("In every row of the sample text is missing, and the model has no word for it: fill it in.")
        native, onnx = (
            {name: np.delete(array, gone, axis=0) if array.ndim else array for name, array in arrays.items()}
            for arrays in (native, onnx)
        )
        note = left_out(len(gone))
    return Group("given", native, onnx, True, note)


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
    """Groups of rows; each a list of alternatives of which the first answered counts: other sizes of free axes, and
    ever fewer integers, should the model look something up by them that nobody told of."""
    sizes = _free_sizes(draft.inputs) if _has_free(draft.inputs) else _FREE[:1]
    # Bounds that were found are not always all there are.
    reaches = _REACHES if any(info.dtype in _INTEGERS for info in draft.inputs) else _REACHES[:1]
    near = {info.name: found for info in draft.inputs if (found := _near(_known(draft, info))).size}
    for name, kinds in (("random", _RANDOM), ("edge", _EDGE), ("missing", _MISSING), ("known", _RANDOM)):
        if name == "missing" and not (draft.accepts_nan and any(i.dtype.startswith("float") for i in draft.inputs)):
            continue
        if name == "known" and not near:
            continue
        yield [
            Group(name, *_both(draft, _arrays(draft, name, kinds, free, reach, near)), False)
            for reach in reaches
            for free in sizes
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

_INTEGERS = (*_SMALL, "int32", "uint32", "int64", "uint64")

_REACHES = (None, 255, 9, 1)
"""Up to where integers are asked that have no bounds: all that their dtype holds, or from 0 to this."""


def _magnitudes(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Of every number of digits, and either sign, as ids and hashes come."""
    limits = np.iinfo(dtype)
    drawn = rng.integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)
    # An arithmetic shift keeps the sign.
    return drawn >> rng.integers(0, limits.bits, size=shape).astype(dtype)


Whole = Callable[["np.random.Generator", "tuple[int, ...]", "np.dtype[Any]"], "np.ndarray"]
_RANDOM_WHOLE: tuple[Whole, ...] = (
    lambda rng, shape, dtype: rng.integers(0, 10, shape),
    lambda rng, shape, dtype: rng.integers(0, 256, shape),
    lambda rng, shape, dtype: rng.integers(-1000 * (dtype.kind == "i"), 1001, shape),
    _magnitudes,
)
"""What fills a row of wide integers, in turn."""

_EDGE_WHOLE: tuple[Whole, ...] = (
    lambda rng, shape, dtype: np.zeros(shape),
    lambda rng, shape, dtype: np.ones(shape),
    lambda rng, shape, dtype: rng.integers(-3 * (dtype.kind == "i"), 4, shape),
    lambda rng, shape, dtype: np.full(shape, np.iinfo(dtype).min),
    lambda rng, shape, dtype: np.full(shape, np.iinfo(dtype).max),
    lambda rng, shape, dtype: rng.choice(np.array([np.iinfo(dtype).min, 0, np.iinfo(dtype).max], dtype), shape),
    _magnitudes,
)


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


def _known(draft: Draft, info: ValueInfo) -> np.ndarray:
    """The values of `draft.known` that this input can take."""
    if info.dtype == "string":
        return np.array([value for value in draft.known if isinstance(value, str)], object)
    if info.dtype not in _INTEGERS:
        return np.array([], np.int64)
    limits = np.iinfo(info.dtype)
    low, high = draft.ranges.get(info.name, (limits.min, limits.max))
    return np.array([value for value in draft.known if isinstance(value, int) and low <= value <= high], info.dtype)


def _arrays(
    draft: Draft, group: str, kinds: tuple[Fill, ...], free: int, reach: int | None, near: Arrays
) -> Arrays:  # fmt: skip
    """
    Args:
        free: the size of axes that have none; reach: see `_column`; near: input -> what `_near` found for it.
    """
    rng = np.random.default_rng(SEED)
    named: dict[str, int] = {}
    shapes = {}
    for info in draft.inputs:
        shape = info.shape if info.shape is not None else (None, free)
        tail = tuple(dim if isinstance(dim, int) and dim > 0 else named.setdefault(str(dim), free) for dim in shape[1:])
        shapes[info.name] = shape[:1], tail
    numbers = max((int(np.prod(tail, dtype=np.int64)) for _, tail in shapes.values()), default=1)
    most = MOST_NUMBERS // max(1, numbers)
    rows = max(len(kinds), min(ROWS, most))
    if group == "known":
        # So many that each of them is asked.
        held = max(-(-values.size // max(1, int(np.prod(shapes[name][1])))) for name, values in near.items())
        rows = max(len(kinds), min(held, MOST_POINTS, most))
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
        form: tuple[int, ...] = (count, *tail) if head else ()
        column = _column(info, form, kinds, draft.ranges.get(info.name), reach, rng)
        values = near.get(info.name, np.array([]))
        if (only := draft.only.get(info.name)) is not None:
            column = only[rng.integers(len(only), size=form)]
        elif values.size and group == "known":
            column = np.resize(values[:: max(1, values.size // max(1, column.size))], form)
        elif values.size:
            column = np.where(rng.random(form) < 0.5, rng.choice(values, form), column)
        out[info.name] = column
    return out


def _near(known: np.ndarray) -> np.ndarray:
    """`nearly`, as far as the dtype reaches."""
    if known.dtype == object:
        return np.array(list(nearly(known)), object)
    limits = np.iinfo(known.dtype)
    return np.array([value for value in nearly(known) if limits.min <= value <= limits.max], known.dtype)


def _column(
    info: ValueInfo,
    shape: tuple[int, ...],
    kinds: tuple[Fill, ...],
    bounds: tuple[float, float] | None,
    reach: int | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """One input of one group: row i is filled by kind i, in turn; integers up to `reach`, or all that their dtype or
    `bounds` hold."""
    if info.dtype == "string":
        return np.array(WORDS, object)[rng.integers(len(WORDS), size=shape)]
    if info.dtype == "bool":
        if not shape:
            return np.asarray(kinds is _EDGE)  # a switch: off, and once on
        drawn = rng.random(shape) < 0.5
        if kinds is _EDGE:
            drawn[0::3], drawn[1::3] = False, True
        return drawn
    try:
        dtype = np.dtype(info.dtype)
    except TypeError:
        raise UnsupportedModel(f"Input {info.name!r} takes {info.dtype} values, which cannot be generated.") from None
    edge = kinds is _EDGE
    if dtype.kind in "iu" and (bounds is not None or reach is not None):
        low, high = map(int, bounds if bounds is not None else (0, 1 if edge else reach or 0))
        if reach is not None:
            high = max(low, min(high, reach))
        whole = rng.integers(low, high + 1, size=shape)
        if bounds is not None and shape and edge:
            # The ends, in turn with what lies between.
            whole[0::3], whole[1::3] = low, high
        elif bounds is not None and shape:
            whole[0::4] = rng.integers(low, min(low + 9, high) + 1, size=whole[0::4].shape)
        return whole.astype(dtype)
    if dtype.kind in "iu" and info.dtype not in _SMALL:
        wholes = _EDGE_WHOLE if edge else _RANDOM_WHOLE
        return _filled(shape, dtype, lambda index, part: wholes[index % len(wholes)](rng, part, dtype))
    if info.dtype in _SMALL:
        kinds = _EDGE_SHARE if edge else _RANDOM_SHARE
    values = _filled(shape, np.dtype(float), lambda index, part: kinds[index % len(kinds)](rng, part))
    if info.dtype in _SMALL:
        limits = np.iinfo(dtype)
        return np.clip(np.round(limits.min + (limits.max - limits.min) * values), limits.min, limits.max).astype(dtype)
    if bounds is not None:
        values = np.clip(values, *bounds)
    if dtype == np.float16:
        values = np.clip(values, -6e4, 6e4)
    return values.astype(dtype)


def _filled(
    shape: tuple[int, ...], dtype: np.dtype[Any], fill: Callable[[int, tuple[int, ...]], np.ndarray]
) -> np.ndarray:
    if not shape:
        return np.asarray(fill(0, ())).astype(dtype)
    out = np.empty(shape, dtype)
    for index in range(shape[0]):
        out[index] = fill(index, shape[1:])
    return out


def count_rows(arrays: Arrays) -> int:
    return max((len(array) for array in arrays.values() if array.ndim), default=1)


def row_size(arrays: Arrays) -> int:
    return max((array.size // max(1, len(array)) for array in arrays.values() if array.ndim), default=1)


def asked_of(draft: Draft, groups: Sequence[Group]) -> tuple[str, ...]:
    """What was asked of each input, a sentence each: of the rows themselves, whoever gave them."""
    return tuple(
        f"{info.name}: {span(np.concatenate([group.onnx[info.name].reshape(-1) for group in groups]))}"
        f"{_share_known(draft, info, groups)}."
        for info in draft.inputs
    )


def _share_known(draft: Draft, info: ValueInfo, groups: Sequence[Group]) -> str:
    known = {str(value) for value in _known(draft, info)}
    asked = known.intersection(*[{str(value) for group in groups for value in group.onnx[info.name].flat}])
    return f"; {len(asked):,} of the {len(known):,} that its tables know among them" if known else ""


def span(values: np.ndarray) -> str:
    """From where to where numbers go, or which texts there are."""
    if values.dtype.kind in "OUS":
        texts = sorted(set(map(str, values)))
        examples = [repr(text[:40]) for text in texts if text.strip()]
        some = listed(examples[:: -(-len(examples) // 4) or 1])
        return counted(len(texts), "different text") + (f", as {some}" if some else "")
    if values.dtype == bool:
        return f"bool, {int(values.sum()):,} true and {int((~values).sum()):,} false"
    finite = values[np.isfinite(values)]
    if not finite.size:
        return f"{values.dtype} without one finite number"
    ends = [int(end) if values.dtype.kind in "iu" else float(end) for end in (finite.min(), finite.max())]
    low, high = (f"{end:,}" if isinstance(end, int) else readable(end) for end in ends)
    missing = f", {int(np.isnan(values).sum()):,} missing" if np.isnan(values).any() else ""
    return f"{values.dtype} " + (f"from {low} to {high}" if low != high else f"{low} throughout") + missing
