"""What belongs together: a person's data and a side's inputs; both sides' outputs, brought into one layout.

Frameworks lay the same numbers out differently: pictures with channels last (NHWC, TensorFlow) or first (NCHW), labels
as (rows,) or (rows, 1), a binary classifier's score as one column or two, class probabilities in the order of the
labels or of a dictionary. Whatever is moved or paired other than by name is told in a note.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import permutations
from typing import TYPE_CHECKING, Any, NamedTuple

from ..agreement import is_probability, plain, same_shape
from ..engines.inputs import cast, check_shape, match
from ..errors import BadInput
from .accuracy import label_text

if TYPE_CHECKING:
    import numpy as np

    from ..files.header import ValueInfo

    Arrays = Mapping[str, np.ndarray]
    Classes = Mapping[str, tuple[Any, ...]]


class Pair(NamedTuple):
    """One output of both sides, in one layout and class order: ready for `workbench.agreement.hold`."""

    native_name: str
    onnx_name: str
    native: np.ndarray
    onnx: np.ndarray


# --- outputs -------------------------------------------------------------------------------------------------------


def match_outputs(
    native: Arrays, onnx: Arrays, native_classes: Classes | None = None, onnx_classes: Classes | None = None
) -> tuple[list[Pair], list[str]]:
    """Which output of one side is which of the other: by name, then by position and by shape among those of one kind
    (labels or numbers), and at last what is left over.

    Args:
        native, onnx: {output name: array}.
        native_classes, onnx_classes: {output name: class labels in column order}, where known.

    Returns:
        (the pairs in native order, notes about what was moved and what has no partner).
    """
    theirs = {name: plain(array) for name, array in native.items()}
    ours = {name: plain(array) for name, array in onnx.items()}
    partner = {name: name for name in theirs if name in ours}

    def pair_up(fits: Any) -> None:
        for name in theirs:
            left = [other for other in ours if other not in partner.values()]
            if name not in partner and (found := next((other for other in left if fits(name, other)), None)):
                partner[name] = found

    def alike(name: str, other: str) -> bool:
        return _is_number(theirs[name]) == _is_number(ours[other]) and bool(_layouts(theirs[name], ours[other]))

    places = dict(zip(theirs, ours, strict=False))
    pair_up(lambda name, other: places.get(name) == other and alike(name, other))
    pair_up(alike)
    pair_up(lambda name, other: bool(_layouts(theirs[name], ours[other])))
    pair_up(lambda name, other: _is_number(theirs[name]) == _is_number(ours[other]))
    pairs, notes = [], []
    for name in theirs:
        if name not in partner:
            continue
        other = partner[name]
        if name != other:
            notes.append(f"Output {name!r} of the native side was compared with {other!r} in ONNX.")
        columns = _in_class_order(
            name, ours[other], (native_classes or {}).get(name), (onnx_classes or {}).get(other), notes
        )
        pairs.append(Pair(name, other, _laid_out_as(theirs[name], columns, name, notes), columns))
    notes += [
        f"Output {other!r} in ONNX has no partner on the native side, so it was not compared."
        for other in ours
        if other not in partner.values()
    ]
    return pairs, notes


def _is_number(array: np.ndarray) -> bool:
    """A number, not a label."""
    return array.dtype.kind == "f"


def _layouts(native: np.ndarray, onnx: np.ndarray) -> list[tuple[np.ndarray, str]]:
    """`native` in every layout that has the shape of `onnx`, and what was done for it."""
    import numpy as np

    found = [(native, "")] if same_shape(native, onnx) else []
    if native.ndim == onnx.ndim >= 4 or (native.ndim == onnx.ndim == 3 and not found):
        for source, target, words in ((-1, 1, "channels first (NCHW)"), (1, -1, "channels last (NHWC)")):
            moved = np.moveaxis(native, source, target)
            if moved.shape == onnx.shape:
                found.append((moved, f"has its {words} in ONNX"))
    if native.dtype.kind == onnx.dtype.kind == "f" and native.ndim and native.shape[:1] == onnx.shape[:1]:
        if native.size == len(native) and onnx.shape == (len(onnx), 2):
            # The score of a binary classifier: ONNX writes one for each class.
            one = native.reshape(-1)
            other = 1 - one if is_probability(onnx) else -one
            found.append((np.stack([other, one], axis=1), "is one column natively and one for each class in ONNX"))
        elif native.shape == (len(native), 2) and onnx.size == len(onnx) and _one_says_both(native):
            found.append((native[:, 1].reshape(onnx.shape), "is one for each class natively and one column in ONNX"))
    return found


def _one_says_both(scores: np.ndarray) -> bool:
    """Whether two columns are the scores of a binary classifier, of which the second says all."""
    import numpy as np

    return is_probability(scores) or np.array_equal(scores[:, 0], -scores[:, 1])


def _laid_out_as(native: np.ndarray, onnx: np.ndarray, name: str, notes: list[str]) -> np.ndarray:
    import numpy as np

    layouts = _layouts(native, onnx)
    if not layouts:
        return native
    if len(layouts) > 1:
        # As many rows as columns as channels: the numbers tell which it is.
        with np.errstate(all="ignore"):
            apart = [float(np.nan_to_num(np.abs(array - onnx.reshape(array.shape))).sum()) for array, _ in layouts]
        layouts = [layouts[int(np.argmin(apart))]]
    array, words = layouts[0]
    if words:
        notes.append(f"Output {name!r} {words}; it was brought into one layout to be compared.")
    return array


def _in_class_order(
    name: str,
    onnx: np.ndarray,
    native_classes: Iterable[Any] | None,
    onnx_classes: Iterable[Any] | None,
    notes: list[str],
) -> np.ndarray:
    """The columns of `onnx` in the order of the native side's classes."""
    if native_classes is None or onnx_classes is None:
        return onnx
    theirs, ours = ([label_text(value) for value in classes] for classes in (native_classes, onnx_classes))
    if theirs == ours or onnx.ndim != 2 or onnx.shape[1] != len(ours):
        return onnx
    if sorted(theirs) != sorted(ours):
        only = sorted({*theirs} ^ {*ours})
        notes.append(
            f"Output {name!r}: both sides name their classes differently ({', '.join(map(repr, only[:4]))}), so "
            "columns were compared in the order they come."
        )
        return onnx
    notes.append(f"Output {name!r}: ONNX lists the classes in another order; columns were compared by their labels.")
    return onnx[:, [ours.index(label) for label in theirs]]


# --- inputs --------------------------------------------------------------------------------------------------------


def fit_inputs(given: Any, inputs: tuple[ValueInfo, ...]) -> tuple[dict[str, np.ndarray], list[str]]:
    """What a person gives, in the form one side takes.

    Args:
        given: an array, {name: array}, a list in the inputs' order, or a DataFrame. Names may be the other side's: they
            are matched by name, then by position, then by shape. A table may feed an input per column.
        inputs: the side's inputs.

    Returns:
        ({input name: array of the input's dtype and shape}, notes about casts and moved axes).

    Raises:
        BadInput: missing, unknown or too many inputs, or values that do not fit; the message names the input.
    """
    notes: list[str] = []
    if len(inputs) > 1 and getattr(given, "ndim", 0) == 2 and given.shape[1] == len(inputs):
        names = [info.name for info in inputs]
        if not set(names) <= set(getattr(given, "columns", ())):
            table = given.to_numpy() if hasattr(given, "to_numpy") else given
            given = {name: table[:, [index]] for index, name in enumerate(names)}
    if isinstance(given, Mapping):
        given = _renamed(given, inputs, notes)
    fitted: dict[str, np.ndarray] = {}
    for info, value in match(given, inputs):
        fitted[info.name], said = _fitted(value, info)
        notes += said
    return fitted, notes


def _renamed(given: Mapping[str, Any], inputs: tuple[ValueInfo, ...], notes: list[str]) -> dict[str, Any]:
    """`given` under this side's names where as many are unknown as are missing; else as it is: `match` refuses it."""
    names = [info.name for info in inputs]
    strange = [name for name in given if name not in names]
    missing = [info for info in inputs if info.name not in given]
    if len(strange) < len(missing):
        lacking = missing[len(strange) :] if strange else missing
        raise BadInput(
            f"{len(given)} of {len(inputs)} inputs were given ({', '.join(map(repr, given))}), and "
            f"{', '.join(repr(info.name) for info in lacking)} is missing: the model's inputs are "
            f"{', '.join(map(repr, names))}."
        )
    if not strange or len(strange) > len(missing):
        return dict(given)
    # In the order given first; six inputs are 720 orders, and more than that are told apart by name or not at all.
    orders = permutations(strange) if len(strange) <= 6 else iter([tuple(strange)])
    fitting = (order for order in orders if all(map(_fits, (given[name] for name in order), missing)))
    order = next(fitting, tuple(strange))
    notes += [
        f"Input {info.name!r} was given what is named {name!r}." for name, info in zip(order, missing, strict=True)
    ]
    renamed = {info.name: given[name] for name, info in zip(order, missing, strict=True)}
    return {name: given[name] for name in given if name in names} | renamed


def _fits(value: Any, info: ValueInfo) -> bool:
    try:
        _fitted(value, info)
    except BadInput:
        return False
    return True


def _fitted(value: Any, info: ValueInfo) -> tuple[np.ndarray, list[str]]:
    """The value in the input's dtype and layout, and what was done to it."""
    array, cast_from = cast(value, info)
    notes = [f"Input {info.name!r} was cast from {cast_from} to {info.dtype}."] if cast_from else []
    for candidate, words in _input_layouts(array, info):
        try:
            check_shape(candidate, info)
        except BadInput:
            continue
        return candidate, notes + ([f"Input {info.name!r}: {words}."] if words else [])
    check_shape(array, info)
    return array, notes


def _input_layouts(array: np.ndarray, info: ValueInfo) -> Iterable[tuple[np.ndarray, str]]:
    """Forms the same rows may take: as they are, channels moved, an axis of one added or left out."""
    import numpy as np

    yield array, ""
    rank = len(info.shape or ())
    if array.ndim == rank >= 4:
        yield np.moveaxis(array, -1, 1), "the pictures' channels were moved to the front (NHWC to NCHW)"
        yield np.moveaxis(array, 1, -1), "the pictures' channels were moved to the end (NCHW to NHWC)"
    elif array.ndim + 1 == rank >= 2 and not (array.ndim > 2 and array.shape[-1] == 1):
        # A single picture with its channel (28, 28, 1) lacks its batch axis instead, which `check_shape` tells.
        # A spiking network's (batch, size) is held over its steps, which the engine does: not one step of it.
        for axis in (array.ndim, 1) if rank != 3 else (array.ndim,):
            wider = np.expand_dims(array, axis)
            yield wider, f"an axis of one was added ({array.shape} became {wider.shape})"
    elif array.ndim == rank + 1 >= 2:
        for axis in (array.ndim - 1, 1):
            if array.shape[axis] == 1:
                yield array.squeeze(axis), f"an axis of one was left out ({array.shape})"
