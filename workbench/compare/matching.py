"""Which output of one side is which of the other, brought into one layout.

Frameworks lay the same numbers out differently: pictures with channels last (NHWC, TensorFlow) or first (NCHW), labels
as (rows,) or (rows, 1), a binary classifier's score as one column or two, class probabilities in the order of the
labels or of a dictionary. Whatever is moved or paired other than by name is told in a note.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..agreement import is_probability, plain, same_shape
from ..words import NATIVE_AND_ONNX, SideNames, label_text, listed

Arrays = Mapping[str, np.ndarray]
Classes = Mapping[str, tuple[Any, ...]]


class Pair(NamedTuple):
    """One output of both sides, in one layout and class order: ready for `workbench.agreement.hold`."""

    native_name: str
    onnx_name: str
    native: np.ndarray
    onnx: np.ndarray


def match_outputs(
    native: Arrays,
    onnx: Arrays,
    native_classes: Classes | None = None,
    onnx_classes: Classes | None = None,
    names: SideNames = NATIVE_AND_ONNX,
) -> tuple[list[Pair], list[str]]:
    """Which output of one side is which of the other: by name, then by position and by shape among those of one kind
    (labels or numbers), and at last what is left over.

    Args:
        native, onnx: {output name: array}.
        native_classes, onnx_classes: {output name: class labels in column order}, where known.
        names: what the notes call both sides.

    Returns:
        (the pairs in native order, notes about what was moved and what has no partner).
    """
    theirs = {name: plain(array) for name, array in native.items()}
    ours = {name: plain(array) for name, array in onnx.items()}
    partner = {name: name for name in theirs if name in ours}

    def pair_up(fits: Any) -> None:
        taken = set(partner.values())
        for name in (name for name in theirs if name not in partner):
            if found := next((other for other in ours if other not in taken and fits(name, other)), None):
                partner[name] = found
                taken.add(found)

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
            notes.append(f"Output {name!r} of {names.sides[0]} was compared with {other!r} {names.where[1]}.")
        columns = _in_class_order(
            name, ours[other], (native_classes or {}).get(name), (onnx_classes or {}).get(other), names, notes
        )
        pairs.append(Pair(name, other, _laid_out_as(theirs[name], columns, name, names, notes), columns))
    found = set(partner.values())
    if alone := [repr(other) for other in ours if other not in found]:
        many = len(alone) > 1
        left = f"{'Outputs' if many else 'Output'} {listed(alone)} {names.where[1]} {'have' if many else 'has'}"
        notes.append(f"{left} no partner {names.where[0]}, so {'they were' if many else 'it was'} not compared.")
    return pairs, notes


def parted(answers: Arrays) -> dict[str, np.ndarray]:
    """Answers with the values and the keys of maps as outputs of their own, in the order of the keys, so that each is
    compared with its own kind; a sequence of maps numbers them."""
    out: dict[str, np.ndarray] = {}
    for name, array in answers.items():
        maps = list(array.flat) if array.dtype == object and any(isinstance(item, dict) for item in array.flat) else []
        if not all(isinstance(item, dict) for item in maps) or not maps:
            out[name] = array
            continue
        entries = [(place, *entry) for place, one in enumerate(maps) for entry in sorted(one.items(), key=str)]
        out[name] = np.array([value for _, _, value in entries])
        keys = [f"{place}: {key!r}" for place, key, _ in entries]
        keys += [f"{place}: none" for place, one in enumerate(maps) if not one]
        out[f"{name} (keys)"] = np.array(keys, object)
    return out


def _is_number(array: np.ndarray) -> bool:
    """A number, not a label."""
    return array.dtype.kind == "f"


def _layouts(native: np.ndarray, onnx: np.ndarray) -> list[tuple[np.ndarray, str]]:
    """`native` in every layout that has the shape of `onnx`, and what was done for it: a sentence in which ``{native}``
    and ``{onnx}`` stand for where each side answers."""
    layouts = [(native, "")] if same_shape(native, onnx) else []
    if native.ndim == onnx.ndim >= 4 or (native.ndim == onnx.ndim == 3 and not layouts):
        for source, target, words in ((-1, 1, "channels first (NCHW)"), (1, -1, "channels last (NHWC)")):
            moved = np.moveaxis(native, source, target)
            if moved.shape == onnx.shape:
                layouts.append((moved, f"has its {words} {{onnx}}"))
    if native.dtype.kind == onnx.dtype.kind == "f" and native.ndim and native.shape[:1] == onnx.shape[:1]:
        if native.size == len(native) and onnx.shape == (len(onnx), 2):
            # The score of a binary classifier: ONNX writes one for each class.
            one = native.reshape(-1)
            other = 1 - one if is_probability(onnx) else -one
            layouts.append((np.stack([other, one], axis=1), "is one column {native} and one for each class {onnx}"))
        elif native.shape == (len(native), 2) and onnx.size == len(onnx) and _one_says_both(native):
            layouts.append((native[:, 1].reshape(onnx.shape), "is one for each class {native} and one column {onnx}"))
    return layouts


def _one_says_both(scores: np.ndarray) -> bool:
    """Whether two columns are the scores of a binary classifier, of which the second says all."""
    return is_probability(scores) or np.array_equal(scores[:, 0], -scores[:, 1])


def _laid_out_as(native: np.ndarray, onnx: np.ndarray, name: str, names: SideNames, notes: list[str]) -> np.ndarray:
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
        words = words.format(native=names.where[0], onnx=names.where[1])
        notes.append(f"Output {name!r} {words}; it was brought into one layout to be compared.")
    return array


def _in_class_order(
    name: str,
    onnx: np.ndarray,
    native_classes: Iterable[Any] | None,
    onnx_classes: Iterable[Any] | None,
    names: SideNames,
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
    notes.append(
        f"Output {name!r}: the classes come in another order {names.where[1]}; columns were compared by their labels."
    )
    return onnx[:, [ours.index(label) for label in theirs]]
