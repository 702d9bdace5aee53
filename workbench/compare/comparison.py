"""What a comparison gives back: agreement, time and memory of both sides."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..agreement import Agreement, finite
from ..kind import ENGINE_NAMES
from ..markup import render
from ..words import NATIVE_AND_ONNX, SideNames, counted, readable, sentence
from .answers import Answers
from .layers import Divergence
from .timing import CallTime, Ended, Estimate, Race

if TYPE_CHECKING:
    import pandas as pd


ENOUGH_FOR_INTERVALS = 6
"""Rounds, below which an interval is all that was seen (`workbench.compare.timing.Estimate`)."""


@dataclass(frozen=True)
class SideResult:
    """One side.

    Attributes:
        engine, version: as `workbench.Engine` names them; model: the file, or the class of an object in memory.
        call: the fastest of the ordinary calls, as a person would type it; seconds: for one such call.
        calls: all of them, as timed.
        accuracy: share of rows named rightly; None without targets, or where the model names no classes.
        peak_mib: MiB of resident memory of the side's worker at its highest, libraries included; None for an engine in
            this process.
        threads: how many it computed with; None where that is not known.
    """

    engine: str
    version: str
    model: str
    call: str
    seconds: Estimate
    calls: tuple[CallTime, ...]
    accuracy: float | None
    peak_mib: float | None
    threads: int | None

    @property
    def ran_in(self) -> str:
        """The engine and its version, as people call it."""
        return f"{ENGINE_NAMES.get(self.engine, self.engine)} {self.version}".strip()

    def to_dict(self) -> dict[str, Any]:
        told = asdict(self)
        seconds = told.pop("seconds")
        return told | {f"seconds_{name}": value for name, value in seconds.items()}


@dataclass(frozen=True)
class Comparison:
    """Native and ONNX, asked the same.

    Attributes:
        native, onnx: both sides.
        speedup: native's fastest call divided by ONNX's; above 1, ONNX is faster. low and high: 95 % interval.
        agreement: how both sides' answers compare.
        rows: in one timed call; rounds: of the race; ended: why it ended (`workbench.compare.timing.Race`).
        one_row: the race with a single row a call, where it was asked for.
        divergence: the first layer that differs; None where none does, or nobody asked.
        environment: {cpu, threads, versions}.
        warnings: plain sentences for the person.
        answers: what both sides were asked and answered, of 200 rows at most (`workbench.compare.answers.Answers`).
        names: what sentences call both sides.
    """

    native: SideResult
    onnx: SideResult
    speedup: Estimate
    agreement: Agreement
    rows: int
    rounds: int
    ended: Ended
    one_row: Race | None
    divergence: Divergence | None
    environment: dict[str, Any]
    warnings: tuple[str, ...] = ()
    answers: Answers | None = field(default=None, repr=False, compare=False)
    names: SideNames = NATIVE_AND_ONNX

    @property
    def frame(self) -> pd.DataFrame:
        """The answers, a line for each row that was kept (see `answers`; a few hundred at most).

        Columns: ``row``, its number; ``target``, the right answer; ``native label`` and ``onnx label``, the class each
        side names, and its ``score``, each where there are any; ``largest difference`` of two numbers; ``agrees``; and
        every number of the outputs that have at most 32, such as ``native probabilities[0]``::

            found = compare("iris.skops", "iris.onnx", "flowers.csv", target="species")
            found.frame[~found.frame["agrees"]]  # the rows on which both sides differ
            found.frame.nlargest(5, "largest difference")
        """
        import pandas as pd

        return pd.DataFrame() if self.answers is None else self.answers.frame

    @property
    def times(self) -> pd.DataFrame:
        """The race, a line for each call: ``side``, ``engine``, ``call``, ``seconds`` (the median) with its interval
        ``low`` to ``high``, ``rounds``, ``fastest`` of its side; and ``accuracy`` and ``peak_mib`` of the side::

            found.times.pivot(index="call", columns="side", values="seconds")
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "side": side_name, "engine": side.ran_in,
                "call": call.call, "seconds": call.seconds.median, "low": call.seconds.low, "high": call.seconds.high,
                "rounds": call.rounds, "fastest": call.call == side.call, "accuracy": side.accuracy,
                "peak_mib": side.peak_mib,
            }
            for side_name, side in (("native", self.native), ("onnx", self.onnx))
            for call in side.calls
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``workbench compare --json``."""
        told = asdict(replace(self, answers=None)) | {"native": self.native.to_dict(), "onnx": self.onnx.to_dict()}
        return finite({name: value for name, value in told.items() if name not in ("answers", "names")})

    @property
    def says(self) -> str:
        """Agreement and speed, in two sentences."""
        return f"{self.verdict} {self.speed}"

    @property
    def verdict(self) -> str:
        """Do both sides give the same answers?"""
        agreement = self.agreement
        if agreement.within_tolerance:
            return f"Both sides agree: {agreement.says}"
        return " ".join(["Both sides differ:", *(agreement.sentences or (agreement.says,))])

    @property
    def speed(self) -> str:
        """Which side is faster, how much, and how sure that is."""
        ratio = self.speedup
        sure = ratio.low > 1 or ratio.high < 1
        slower, faster = self.names.nouns
        if ratio.median < 1:
            slower, faster, ratio = faster, slower, Estimate(1 / ratio.median, 1 / ratio.high, 1 / ratio.low)
        span = ratio.span(between=" and ")
        amount = f"{readable(ratio.median, 3)} times as fast as {slower}"
        if self._few:
            # Nothing is sure of so few, and a single one has no range.
            seen = f", between {span} times" if span else ""
            return f"In {counted(self.rounds, 'round')}, too few to be sure, {faster} was {amount}{seen}."
        amount += (
            f"; with 95 % confidence, between {span} times" if span else "; these digits hold with 95 % confidence"
        )
        if not sure:
            return f"Neither side is surely faster: {faster} was {amount}."
        return f"{sentence(faster)} is {amount}."

    @property
    def _few(self) -> bool:
        return self.rounds < ENOUGH_FOR_INTERVALS

    @property
    def _how(self) -> str:
        """How the times came about."""
        threads = self.environment.get("threads")
        ended = " Time was up before the ratio was known within 5 %." if self.ended == "budget" else ""
        between = "the least and the most of so few rounds" if self._few else "where it lies with 95 % confidence"
        between = f" The range beside a time is {between}." if self.rounds > 1 else ""
        return (
            f"Times are for {counted(self.rows, 'row')} in one call: the median of {counted(self.rounds, 'round')} in "
            f"which both sides took turns.{ended}{between} Of each side the fastest call counts. "
            f"{counted(threads, 'thread') if threads else 'Not the same threads'} on both sides; "
            f"{self.environment.get('cpu')}."
        )

    def __str__(self) -> str:
        lines = [self.verdict, self.speed]
        for title, side in zip(self.names.heads, (self.native, self.onnx), strict=True):
            lines.append(f"{title}: {side.ran_in}, {_where(side)}")
            lines += [
                f"  {call.call:<28} {duration(call.seconds.median):>9}  {_bracketed(call.seconds)}"
                f"{' fastest' if call.call == side.call and side.calls[1:] else ''}"
                for call in side.calls
            ]
        if self.one_row is not None:
            lines.append(f"one row a call, times as fast {self.names.where[1]}: {self.one_row.ratio}")
        if self.divergence is not None:
            lines.append(self.divergence.says)
        lines += [self._how, *(f"note: {sentence}" for sentence in self.warnings)]
        return "\n".join(lines)

    @property
    def right_answers(self) -> str:
        """The accuracy of both sides; empty where it is not known."""
        known = [(self.native.accuracy, self.names.where[0]), (self.onnx.accuracy, self.names.where[1])]
        if self.native.accuracy == self.onnx.accuracy:
            known = [(self.native.accuracy, "on both sides")]
        right = " and ".join(f"{share:.2%} {where}" for share, where in known if share is not None)
        return f"{right}." if right else ""

    @property
    def headline(self) -> str:
        """Agreement, speed and right answers as HTML, what matters most in bold."""
        return self._html("headline")

    @property
    def details(self) -> str:
        """Every call's time, how it was measured, and the notes, as HTML."""
        return self._html("details")

    def _repr_html_(self) -> str:
        return self._html("headline", "details")

    def _html(self, *parts: str) -> str:
        right = self.right_answers
        mark = "✓" if self.agreement.within_tolerance else "✗"
        lines = [f"{mark} {self.verdict}", self.speed, *([f"Right answers: {right}"] if right else [])]
        notes = [*([self.divergence.says] if self.divergence else []), *self.warnings]
        if self.one_row is not None:
            one, (native_where, onnx_where) = self.one_row, self.names.where
            notes.insert(
                0,
                f"One row a call: {duration(one.native_fastest.seconds.median)} {native_where}, "
                f"{duration(one.onnx_fastest.seconds.median)} {onnx_where}; times as fast {onnx_where}: {one.ratio}.",
            )
        sides = [
            {"title": title, "engine": side.ran_in, "where": _where(side), "calls": side.calls, "best": side.call}
            for title, side in zip(self.names.heads, (self.native, self.onnx), strict=True)
        ]
        return render(
            "comparison",
            title=self.names.title,
            parts=parts,
            lines=[[*re.split(r"(?<=[:;])", line, maxsplit=1), ""][:2] for line in lines],
            sides=sides,
            longest=max(call.seconds.median for side in (self.native, self.onnx) for call in side.calls),
            how=self._how,
            notes=notes,
            duration=duration,
            ranged=self.rounds > 1,
        )


def _bracketed(seconds: Estimate) -> str:
    span = seconds.span(duration)
    return span and f"({span})"


def duration(seconds: float) -> str:
    """Three digits and the unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _where(side: SideResult) -> str:
    parts = [os.path.basename(side.model)]
    if side.accuracy is not None:
        parts.append(f"{side.accuracy:.2%} right")
    if side.peak_mib is not None:
        parts.append(f"{side.peak_mib:,.0f} MiB of memory")
    return ", ".join(parts)
