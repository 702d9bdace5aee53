"""How fast two sides are, measured so that the machine's moods hit both alike: `race`.

All calls of both sides take turns, lap by lap. A round is one lap of each; every second round runs backwards (AB, BA),
so that a machine which slows down steadily slows both sides equally. The ratio is that of the medians, and its interval
comes from resampling whole rounds: what disturbed both sides in a round stays together. It ends when the interval has
settled, and at the latest with its time.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np

from ..errors import WorkbenchError
from ..sandbox import Cancelled
from ..words import readable
from .sides import Side

LAP = 0.005
"""Seconds a lap takes at least: of short calls it holds many, so that neither the clock nor the loop counts."""

FEWEST_ROUNDS = 10
MOST_ROUNDS = 1000

SLOW = 2.0
"""A call this much slower than its side's best after `ENOUGH_TO_TELL` rounds leaves the race."""
ENOUGH_TO_TELL = 5

RESAMPLES = 2000
SEED = 0

Ended = Literal["settled", "budget", "rounds", "cancelled"]


@dataclass(frozen=True)
class Estimate:
    """A median with its 95 % bootstrap interval. Of fewer than six values the interval is all they span; of a single
    one there is none, and `low` and `high` are that value."""

    median: float
    low: float
    high: float

    def span(self, write: Callable[[float], str] = lambda value: readable(value, 3), between: str = " to ") -> str:
        """The interval as people read it; empty where both its ends are written alike, and so say nothing."""
        low, high = write(self.low), write(self.high)
        return f"{low}{between}{high}" if low != high else ""

    def __str__(self) -> str:
        return f"{readable(self.median, 3)} ({self.span()})" if self.span() else readable(self.median, 3)


@dataclass(frozen=True)
class CallTime:
    """One call of one side.

    Attributes:
        call: as a person would type it.
        seconds: for one call.
        rounds: laps timed; calls: calls timed in all of them.
        dropped: left the race, since its side has a call at least `SLOW` times as fast.
    """

    call: str
    seconds: Estimate
    rounds: int
    calls: int
    dropped: bool


@dataclass(frozen=True)
class Race:
    """What `race` found.

    Attributes:
        native, onnx: every call, as timed.
        native_fastest, onnx_fastest: the call of each side with the smallest median, of those in the race to its end.
        ratio: native's fastest divided by ONNX's: above 1, ONNX is faster.
        rounds: how many; seconds: how long the race took, by the wall clock.
        ended: "settled", or what came first: the "budget", the "rounds" or the person ("cancelled").
    """

    native: tuple[CallTime, ...]
    onnx: tuple[CallTime, ...]
    native_fastest: CallTime
    onnx_fastest: CallTime
    ratio: Estimate
    rounds: int
    seconds: float
    ended: Ended


@dataclass
class _Lane:
    """A call in the race."""

    side: Side
    call: str
    count: int
    times: list[float] = field(default_factory=list)
    dropped: bool = False

    def median(self) -> float:
        return statistics.median(self.times)


def race(
    sides: Sequence[Side],
    *,
    budget: float = 10.0,
    width: float = 0.05,
    rounds: int | None = None,
    progress: Callable[[str], object] | None = None,
    cancel: threading.Event | None = None,
) -> Race:
    """Time all calls of two sides against each other.

    Args:
        sides: native and ONNX, both prepared (`Side.prepare`).
        budget: seconds. One round is always run; no other is begun that would not fit.
        width: the race has settled when the ratio's interval is narrower than this share of the ratio, after
            `FEWEST_ROUNDS` at least.
        rounds: at most this many; `MOST_ROUNDS` if None.
        progress: called in this thread with a short sentence now and then.
        cancel: set it from another thread to end the race with what was measured. A lap in a worker is stopped, and
            the worker with it.

    Raises:
        Cancelled: before the first round was complete.
        WorkbenchError: a side failed, or was not prepared.
    """
    native, onnx = sides
    begun = time.perf_counter()
    for side in sides:
        if not side.calls:
            raise WorkbenchError(f"{side.name} was not prepared: call prepare(inputs) before a race.")
    most = rounds or MOST_ROUNDS
    lanes: list[_Lane] = []
    done, look, ended = 0, 1, ""
    try:
        for side in sides:
            lanes += [_Lane(side, call, _count(side, call, cancel)) for call in side.calls]
            side.rest()
        start = time.perf_counter()
        while not ended:
            _round([lane for lane in lanes if not lane.dropped][:: -1 if done % 2 else 1], cancel)
            done += 1
            if done == ENOUGH_TO_TELL:
                _drop_slow(lanes)
            if done >= look:
                # Not after every round: who looks often enough will at some time see a narrow interval by chance.
                look = math.ceil(1.2 * done)
                ratio = _ratio(_fastest(lanes, native), _fastest(lanes, onnx))
                if progress is not None:
                    progress(f"Round {done}: ratio {ratio}")
                if done >= FEWEST_ROUNDS and ratio.high - ratio.low < width * ratio.median:
                    ended = "settled"
            now = time.perf_counter()
            if not ended and done >= most:
                ended = "rounds"
            if not ended and now - begun + (now - start) / done > budget:
                ended = "budget"
    except Cancelled:
        if not done:
            raise
        ended = "cancelled"
    best = _fastest(lanes, native), _fastest(lanes, onnx)
    return Race(
        native=tuple(_timed(lane) for lane in lanes if lane.side is native),
        onnx=tuple(_timed(lane) for lane in lanes if lane.side is onnx),
        native_fastest=_timed(best[0]),
        onnx_fastest=_timed(best[1]),
        ratio=_ratio(*best),
        rounds=done,
        seconds=time.perf_counter() - begun,
        ended=cast("Ended", ended),
    )


def _count(side: Side, call: str, cancel: threading.Event | None) -> int:
    """How many calls make a lap. The warm-up timed a single call, so a lap that is not counted checks it."""
    seconds = side.calls[call]
    for _ in range(2):
        count = math.ceil(LAP / max(seconds, 1e-9))
        if count == 1:
            return 1
        seconds = side.lap(call, count, cancel)
    return math.ceil(LAP / max(seconds, 1e-9))


def _round(lanes: list[_Lane], cancel: threading.Event | None) -> None:
    """A lap of each, which counts only if all were run."""
    laps = []
    for before, lane in zip([lanes[0], *lanes], lanes, strict=False):
        if lane.side is not before.side:
            before.side.rest()
        if cancel is not None and cancel.is_set():
            raise Cancelled("The race was cancelled.")
        laps.append(lane.side.lap(lane.call, lane.count, cancel))
    for lane, seconds in zip(lanes, laps, strict=True):
        lane.times.append(seconds)


def _drop_slow(lanes: list[_Lane]) -> None:
    for lane in lanes:
        lane.dropped = lane.median() > SLOW * _fastest(lanes, lane.side).median()


def _fastest(lanes: list[_Lane], side: Side) -> _Lane:
    return min((lane for lane in lanes if lane.side is side and not lane.dropped), key=_Lane.median)


def _timed(lane: _Lane) -> CallTime:
    seconds = _estimate(_medians([lane.times])[0], lane.median())
    return CallTime(lane.call, seconds, len(lane.times), len(lane.times) * lane.count, lane.dropped)


def _ratio(native: _Lane, onnx: _Lane) -> Estimate:
    ours, theirs = _medians([native.times, onnx.times])
    return _estimate(ours / theirs, native.median() / onnx.median())


def _medians(times: list[list[float]]) -> np.ndarray:
    """(calls, rounds) -> (calls, RESAMPLES): medians over rounds drawn with replacement, the same for every call."""
    rounds = len(times[0])
    # In runs of neighbours, longer where there are many rounds: what else the machine does lasts for several of them.
    run = max(1, round(rounds ** (1 / 3)) - 1)
    starts = np.random.default_rng(SEED).integers(0, rounds, (RESAMPLES, math.ceil(rounds / run), 1))
    drawn = ((starts + np.arange(run)) % rounds).reshape(RESAMPLES, -1)[:, :rounds]
    return np.median(np.array(times)[:, drawn], axis=2)


def _estimate(resampled: np.ndarray, median: float) -> Estimate:
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Estimate(median, float(low), float(high))
