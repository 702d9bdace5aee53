"""Do both sides answer the same? Outputs matched, every row counted, ties and displaced spikes weighed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..agreement import (
    FLOAT32,
    Agreement,
    OutputAgreement,
    Tally,
    Tolerance,
    bounded,
    moved,
    movement,
    nudged,
    of_dtypes,
    plain,
)
from ..errors import BadInput
from ..words import NATIVE_AND_ONNX, TWO_ONNX, SideNames, listed, sentence
from .matching import Pair, match_outputs
from .questions import Questions, answers_of, is_spiking
from .sides import Side

Arrays = dict[str, np.ndarray]

ONNX_ENGINES = {"onnxruntime", "reference"}
"""They run nothing but ONNX."""


@dataclass(frozen=True)
class Verdict:
    """What both sides' answers come to.

    Attributes:
        agreement: how they compare.
        differing: the rows that do not agree, by their numbers; none where what differs is no row's, such as an output
            that one side lacks.
        pairs: the outputs that were held against each other.
        allowed: the tolerance that was used.
        names: what sentences call both sides.
    """

    agreement: Agreement
    differing: tuple[int, ...]
    pairs: tuple[Pair, ...]
    allowed: Tolerance
    names: SideNames


def judge(
    sides: tuple[Side, Side],
    answers: tuple[Arrays, Arrays],
    asked: Questions,
    tolerance: Tolerance | None,
    warnings: list[str],
) -> Verdict:
    """Both sides' answers to the same rows held against each other; a native output that ONNX does not give is no
    agreement.

    Args:
        tolerance: the person's; what suits the native side if None.

    Raises:
        BadInput: no output of one side fits one of the other, or all are empty.
    """
    theirs, names = sides[0], names_of(sides)
    pairs, alone = _matched(sides, names, answers, warnings)
    matched = _named(pairs)
    # What the model says of its own exactness counts no further than its answers reach.
    allowed = tolerance or of_dtypes(bounded(theirs.tolerance or FLOAT32, matched[0]), _dtypes(answers))
    held = held_together(matched, asked.onnx, Tally(allowed, names), warnings)
    if not held[0].within_tolerance and (others := theirs.ties(asked.native)):
        pairs_of = (_matched(sides, names, (each, answers[1]), [])[0] for each in others)
        ties = movement(matched[0], [_named(each)[0] for each in pairs_of])
        held = held_together(matched, asked.onnx, Tally(allowed, names), warnings, ties)
    if not held[0].within_tolerance and (is_spiking(theirs) or allowed.steps):
        rows = [nudged(asked.native)]
        if allowed.steps:
            rows = list(moved(asked.native, allowed, np.random.default_rng(0)))
        again = (_matched(sides, names, (answers_of(theirs, arrays), answers[1]), []) for arrays in rows)
        moved_answers = [_named(pairs)[0] for pairs, _ in again]
        held = displaced(held, matched, moved_answers, asked.onnx, Tally(allowed, names), warnings)
    agreement, differing = held
    if alone:
        agreement = replace(agreement, within_tolerance=False, outputs=(*agreement.outputs, *alone))
    return Verdict(agreement, tuple(differing), tuple(pairs), allowed, names)


def names_of(sides: tuple[Side, Side]) -> SideNames:
    """Where both sides are ONNX, neither is native."""
    return TWO_ONNX if all(side.name in ONNX_ENGINES for side in sides) else NATIVE_AND_ONNX


def _dtypes(answers: tuple[Arrays, Arrays]) -> list[np.dtype]:
    """Those of both sides' answers, but for labels."""
    return [array.dtype for side in answers for array in side.values() if array.dtype.kind not in "biuOUST"]


def _named(pairs: list[Pair]) -> tuple[Arrays, Arrays]:
    """Both sides' answers under ONNX's names."""
    return {pair.onnx_name: pair.native for pair in pairs}, {pair.onnx_name: pair.onnx for pair in pairs}


def _matched(
    sides: tuple[Side, Side], names: SideNames, answers: tuple[Arrays, Arrays], warnings: list[str]
) -> tuple[list[Pair], list[OutputAgreement]]:
    """Both sides' answers output by output, and the native outputs that ONNX does not give."""
    pairs, notes = match_outputs(*answers, sides[0].classes, sides[1].classes, names)
    warnings += notes
    if not pairs:
        raise BadInput(
            f"No output of {names.sides[0]} ({listed(answers[0])}) fits one of {names.sides[1]} ({listed(answers[1])}):"
            " are these two the same model?"
        )
    unmatched = {name: plain(array) for name, array in answers[0].items() if name not in [pair[0] for pair in pairs]}
    alone = []
    for name, array in unmatched.items():
        says = f"Output {name!r} of {names.sides[0]} has no partner {names.where[1]}."
        alone.append(OutputAgreement(name, str(array.dtype), 0, 0, 0, beyond=1, says=says))
    for pair in pairs:
        if not pair.native.size and not pair.onnx.size:
            warnings.append(f"Output {pair.onnx_name!r} is empty on both sides, so nothing in it was compared.")
        elif pair.native.dtype.kind == "f" and (gone := int(np.isnan(pair.native).sum())):
            warnings.append(
                f"Output {pair.onnx_name!r} is NaN in {gone:,} of {pair.native.size:,} places {names.where[0]}, which "
                f"agrees with NaN {names.where[1]}."
            )
    if not any(pair.native.size or pair.onnx.size for pair in pairs):
        raise BadInput("Both sides answer these rows with empty outputs, so there is nothing to compare; give others.")
    return pairs, alone


def held_together(
    matched: tuple[Arrays, Arrays], asked: Arrays, tally: Tally, warnings: list[str], ties: Arrays | None = None
) -> tuple[Agreement, list[int]]:
    """The agreement, no row left out, and the rows that differ. Labels that go the other way where two classes tie are
    no disagreement, but where that is most rows there is none either. Nor are rows that `ties` explains."""
    tally.add(*matched, asked, ties=ties)
    warnings += tally.swapped_says
    agreement = tally.agreement()
    if 2 * tally.ties > agreement.samples:
        warnings.append(
            f"On {tally.ties:,} of {agreement.samples:,} rows the label differs where two classes tie: too many."
        )
        agreement = replace(
            agreement, within_tolerance=False, label_mismatches=max(agreement.label_mismatches, tally.ties)
        )
        return agreement, tally.differing
    warnings += [note for note in tally.notes if note not in agreement.sentences]
    return agreement, tally.differing


def displaced(
    strictly: tuple[Agreement, list[int]],
    matched: tuple[Arrays, Arrays],
    again: list[Arrays],
    asked: Arrays,
    tally: Tally,
    warnings: list[str],
) -> tuple[Agreement, list[int]]:
    """The agreement of spiking networks, where a voltage within a rounding of the threshold fires now or a step later,
    and of quantized ones, where a steep layer makes many steps of one.

    Rows count neither way whose answers differ by no more than the native side's own do (a spiking network's in any
    row) when its input moves by one rounding. Where that is most rows, nothing is left to agree on, and all of them
    count.

    Args:
        strictly: the agreement with all rows counted, and the rows that differ.
        again: the native side's answers to the moved input.
    """
    names, steps = tally.names, tally.tolerance.steps
    spread = movement(matched[0], again, anywhere=not steps)
    tally.add(*matched, asked, spread=spread)
    agreement = tally.agreement()
    rows = f"{agreement.undecided:,} of {agreement.samples:,} rows"
    if 2 * agreement.undecided > agreement.samples:
        warnings.append(
            f"{sentence(names.sides[0])}'s own answers move as much as the sides differ, on {rows}, when its input "
            "moves by one rounding: these rows cannot tell right from wrong."
        )
        return strictly
    what = f"spikes fall a step earlier or later {names.where[1]}"
    what = "steep layers make many steps of one" if steps else what
    if agreement.undecided:
        warnings.append(
            f"On {rows} {what}: the sides differ no more than {names.sides[0]} itself does when its input moves by one "
            "rounding. These count neither way."
        )
    return agreement, tally.differing
