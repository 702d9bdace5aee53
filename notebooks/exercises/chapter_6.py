"""Chapter 6: the paper's experiments, and how to measure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from workbench import Comparison
from workbench.compare.comparison import duration
from workbench.paper.tables import TABLE3
from workbench.words import readable

from . import Verdict, not_yet, right

ROUNDS, TRIES = 60, 40


def _papers_ratio(answer: Any) -> Verdict:
    try:
        number = float(answer)
    except (TypeError, ValueError):
        return not_yet("Give a number: one time divided by another.")
    native, onnx = TABLE3["Random forest"]
    if math.isclose(number, native / onnx, rel_tol=0.02):
        return right("The trees of a forest are walked by one loop in C++ there, instead of a hundred calls of Python.")
    if math.isclose(number, onnx / native, rel_tol=0.02):
        return not_yet("This is ONNX divided by scikit-learn: how many times as slow it is. Turn the fraction round.")
    if math.isclose(number, native - onnx, rel_tol=0.02):
        return not_yet("This is the difference, in seconds. The question is how many times as fast.")
    for model, (other, onnx) in TABLE3.items():
        if model != "Random forest" and math.isclose(number, other / onnx, rel_tol=0.02):
            return not_yet(f"This is the ratio of another row: {model}.")
    return not_yet("Divide the seconds of scikit-learn by those of ONNX Runtime, both from the paper's row.")


def _comparison(answer: Any) -> Verdict | None:
    if isinstance(answer, Comparison):
        return None
    if isinstance(answer, (int, float)):
        return not_yet("That is a number. The answer is the whole of what compare(…) gives back.")
    return not_yet(f"That is a {type(answer).__name__}. The answer is what compare(…) gives back.")


def _with_itself(answer: Any) -> Verdict:
    if (said := _comparison(answer)) is not None:
        return said
    for which, side in (("first", answer.native), ("second", answer.onnx)):
        if side.engine != "onnxruntime":
            return not_yet(f"The {which} side ran in {side.engine}. Both are to be the same file, in ONNX Runtime.")
    if not answer.agreement.within_tolerance or answer.agreement.max_abs:
        return not_yet("The two sides answer differently, so they are not the same model.")
    ratio = answer.speedup
    return right(
        f"The ratio is {ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f}), and should be 1: what it is off is "
        "the error of measuring, on this machine and just now. No difference smaller than this can be seen here."
    )


def _one_row(answer: Any) -> Verdict:
    if (said := _comparison(answer)) is not None:
        return said
    if (answer.native.engine, answer.onnx.engine) != ("sklearn", "onnxruntime"):
        return not_yet(
            f"The sides were {answer.native.engine} and {answer.onnx.engine}. Give native first, then onnx, as above."
        )
    if answer.rows == 1:
        return not_yet("Here only single rows were timed. The exercise asks for both cases in one comparison.")
    if answer.one_row is None:
        return not_yet("Here only the whole data set was timed. An argument of compare adds the race with single rows.")
    whole, one = answer.speedup.median, answer.one_row.ratio.median
    all_rows, single = answer.native.seconds.median, answer.one_row.native_fastest.seconds.median
    return right(
        f"{answer.rows} rows a call: {readable(whole, 3)} times; one row a call: {readable(one, 3)} times. The native "
        f"side takes {duration(all_rows)} for all rows and {duration(single)} for one: what a call costs with a single "
        "row, it costs with any number of them."
    )


def _interval(answer: Any) -> Verdict:
    if isinstance(answer, (tuple, list)):
        return not_yet("That is the result of one call. The answer is the function itself, without brackets.")
    if not callable(answer):
        return not_yet(f"That is a {type(answer).__name__}. The answer is the function.")
    rng = np.random.default_rng(6)
    native, onnx = _rounds(rng, 1.0)
    found = answer(native, onnx)
    if found is None:
        return not_yet("The function returns nothing yet. It should end with return low, high.")
    try:
        low, high = (float(value) for value in found)
    except (TypeError, ValueError):
        return not_yet("The function should return two numbers, low and high.")
    if not low <= high:
        return not_yet("low is above high: which of the two quantiles comes first?")
    if high < 1:
        return not_yet("The interval lies below 1, and native is the slower side here: native is divided by onnx.")
    if low == high:
        return not_yet("low and high are the same number. An interval needs many draws, each with another ratio.")
    truth = _reference(native, onnx, np.median)
    width = (high - low) / (truth[1] - truth[0])
    if _near((low, high), _reference(native, onnx, np.mean), truth):
        return not_yet("This is the interval of the means. A few slow rounds move it far; the tables take medians.")
    if width > 2.5:
        return not_yet(
            f"On rounds that disturb both sides alike it is {width:.1f} times as wide as it should be. What belongs to "
            "the same round has to be drawn together, and the ratio is that of medians, not of single calls."
        )
    if width < 0.4:
        return not_yet("It is too narrow. Draw as many rounds as there are, and take the middle 95 % of the ratios.")
    if not _near((low, high), truth, truth):
        return not_yet("It is about as wide as it should be, but lies elsewhere. Which ratio is it the interval of?")
    return right(
        f"On {ROUNDS} rounds with a true ratio of 3 it says {low:.3g} to {high:.3g}, as the workbench's way does. What "
        "slowed both sides in a round cancels out in the ratio."
    )


def _rounds(rng: np.random.Generator, together: float) -> tuple[np.ndarray, np.ndarray]:
    """Times of two sides, the first three times as long; in every round something slows both, in a few a lot."""
    mood = np.exp(together * rng.normal(0, 0.5, ROUNDS)) * np.where(rng.random(ROUNDS) < 0.1, 8, 1)
    own = np.where(rng.random((2, ROUNDS)) < 0.06, 30, 1) * np.exp(rng.normal(0, 0.02, (2, ROUNDS)))
    return 3e-3 * mood * own[0], 1e-3 * mood * own[1]


def _reference(native: np.ndarray, onnx: np.ndarray, middle: Callable[..., np.ndarray]) -> tuple[float, float]:
    drawn = np.random.default_rng(0).integers(0, len(native), (4000, len(native)))
    low, high = np.quantile(middle(native[drawn], axis=1) / middle(onnx[drawn], axis=1), (0.025, 0.975))
    return float(low), float(high)


def _near(found: tuple[float, float], wanted: tuple[float, float], truth: tuple[float, float]) -> bool:
    """Both ends within half of an honest interval's width."""
    most = 0.5 * (truth[1] - truth[0])
    return all(abs(one - other) <= most for one, other in zip(found, wanted, strict=True))


EXERCISES = {"6.1": _papers_ratio, "6.2": _with_itself, "6.3": _one_row, "6.4": _interval}
