"""Do both sides answer the same? Outputs matched, every row counted, ties and displaced spikes weighed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..agreement import FLOAT32, Agreement, OutputAgreement, Tally, Tolerance, bounded, moved, movement, nudged, plain
from ..errors import BadInput
from .matching import Pair
from .questions import Questions, answers_of, is_spiking
from .sides import Side

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Verdict:
    """What both sides' answers come to.

    Attributes:
        agreement: how they compare.
        differing: the rows that do not agree, by their numbers; none where what differs is no row's, such as an output
            that one side lacks.
        pairs: the outputs that were held against each other.
        allowed: the tolerance that was used.
    """

    agreement: Agreement
    differing: tuple[int, ...]
    pairs: tuple[Pair, ...]
    allowed: Tolerance


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
    theirs = sides[0]
    pairs, alone = _matched(sides, answers, warnings)
    matched = _named(pairs)
    # What the model says of its own exactness counts no further than its answers reach.
    allowed = tolerance or bounded(theirs.tolerance or FLOAT32, matched[0])
    held = _held_together(matched, asked.onnx, allowed, warnings)
    if not held[0].within_tolerance and (is_spiking(theirs) or allowed.steps):
        rows = [nudged(asked.native)]
        if allowed.steps:
            rows = list(moved(asked.native, allowed, np.random.default_rng(0)))
        again = (_matched(sides, (answers_of(theirs, arrays), answers[1]), []) for arrays in rows)
        held = _displaced(held, matched, [_named(pairs)[0] for pairs, _ in again], asked.onnx, allowed, warnings)
    agreement, differing = held
    if alone:
        agreement = replace(agreement, within_tolerance=False, outputs=(*agreement.outputs, *alone))
    return Verdict(agreement, tuple(differing), tuple(pairs), allowed)


def _named(pairs: list[Pair]) -> tuple[Arrays, Arrays]:
    """Both sides' answers under ONNX's names."""
    return {pair.onnx_name: pair.native for pair in pairs}, {pair.onnx_name: pair.onnx for pair in pairs}


def _matched(
    sides: tuple[Side, Side], answers: tuple[Arrays, Arrays], warnings: list[str]
) -> tuple[list[Pair], list[OutputAgreement]]:
    """Both sides' answers output by output, and the native outputs that ONNX does not give."""
    from .matching import match_outputs

    pairs, notes = match_outputs(*answers, *(side.classes for side in sides))
    warnings += notes
    if not pairs:
        raise BadInput(
            f"No output of the native side ({', '.join(answers[0])}) fits one of ONNX ({', '.join(answers[1])}): are "
            "these two the same model?"
        )
    unmatched = {name: plain(array) for name, array in answers[0].items() if name not in [pair[0] for pair in pairs]}
    alone = [
        OutputAgreement(
            name,
            str(array.dtype),
            0,
            0,
            0,
            beyond=1,
            shapes=f"Output {name!r} of the native side has no partner in ONNX.",
        )
        for name, array in unmatched.items()
    ]
    for pair in pairs:
        if not pair.native.size and not pair.onnx.size:
            warnings.append(f"Output {pair.onnx_name!r} is empty on both sides, so nothing in it was compared.")
        elif pair.native.dtype.kind == "f" and (gone := int(np.isnan(pair.native).sum())):
            warnings.append(
                f"Output {pair.onnx_name!r} is NaN in {gone:,} of {pair.native.size:,} places natively, which "
                "agrees with NaN in ONNX."
            )
    if not any(pair.native.size or pair.onnx.size for pair in pairs):
        raise BadInput("Both sides answer these rows with empty outputs, so there is nothing to compare; give others.")
    return pairs, alone


def _held_together(
    matched: tuple[Arrays, Arrays], asked: Arrays, allowed: Tolerance, warnings: list[str]
) -> tuple[Agreement, list[int]]:
    """The agreement, no row left out, and the rows that differ. Labels that go the other way where two classes tie are
    no disagreement, but where that is most rows there is none either."""
    tally = Tally(allowed)
    tally.add(*matched, asked)
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


def _displaced(
    strictly: tuple[Agreement, list[int]],
    matched: tuple[Arrays, Arrays],
    again: list[Arrays],
    asked: Arrays,
    allowed: Tolerance,
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
    spread = movement(matched[0], again, anywhere=not allowed.steps)
    tally = Tally(allowed)
    tally.add(*matched, asked, strict=False, spread=spread)
    agreement = tally.agreement()
    rows = f"{agreement.undecided:,} of {agreement.samples:,} rows"
    if 2 * agreement.undecided > agreement.samples:
        warnings.append(
            f"The native side's own answers move as much as the sides differ, on {rows}, when its input moves by one "
            "rounding: these rows cannot tell right from wrong."
        )
        return strictly
    what = "steep layers make many steps of one" if allowed.steps else "spikes fall a step earlier or later in ONNX"
    if agreement.undecided:
        warnings.append(
            f"On {rows} {what}: the sides differ no more than the native one does when its input moves by one rounding."
            " These count neither way."
        )
    return agreement, tally.differing
