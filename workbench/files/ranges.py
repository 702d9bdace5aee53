"""Bytes that are far away, read by ranges: few requests, few bytes, whatever the file weighs.

Whoever reads a header goes through the operators, and then jumps from tensor to tensor, over the weights. So what is
asked for in a row is read ahead, more each time. Where a jump leads, as much is read as was wanted behind the last
ones; and with it where the next jumps will lead: networks repeat their layers, so what followed jumps as long as these
follows again. A wrong guess costs a few bytes, and changes no answer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice, pairwise
from typing import overload

from .wire import WINDOW, Span

FIRST = 1 << 16
"""Bytes of the first read: all of a small file, most operators of a large one."""

HEAD = 768
"""Bytes where a jump leads, at least: a tensor's name and shape, in most files."""

NEAR = 1 << 14
"""Bytes beyond those asked for last from where on it is a jump."""

MOST_AHEAD = 1 << 18
LEAST_GUESSES, MOST_GUESSES = 2, 48
"""Twice as many as were right last time."""

ALIKE = 8
"""Bytes by which two jumps differ that go over the same: later names have more digits."""

MOST_JUMPS = 2_000
"""Jumps that are remembered."""

Fetch = Callable[[Sequence[Span]], list[bytes]]
"""Bytes of each span, fewer where the file ends before."""


class RangeBytes:
    """A buffer of far bytes, as `workbench.files.wire.FileBytes` is one of near ones.

    Args:
        size: bytes in all, as far as is known.
        fetch: reads them.
        changed: differs where the file was changed; 0 where nobody knows.
    """

    def __init__(self, size: int, fetch: Fetch, changed: int = 0) -> None:
        self._size, self._fetch, self.changed = size, fetch, changed
        self._starts: list[int] = []
        self._known: list[bytes] = []  # no two overlap or touch
        self._ahead, self._at = FIRST // 2, 0
        self._jumps, self._ends = [0], [0]  # and where what was asked for behind each jump ends
        self._right = 0  # jumps in a row to where something was known

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    def __getitem__(self, key: int | slice) -> int | bytes:
        if isinstance(key, int):
            at = key if key >= 0 else self._size + key
            return self._read(at, at + 1, at + 1)[0]
        start, stop, _ = key.indices(self._size)
        return self._read(start, stop, stop) if start < stop else b""

    def near(self, start: int, least: int) -> bytes:
        """See `workbench.files.wire.Far`."""
        return self._read(start, min(start + least, self._size), None)

    def _read(self, start: int, stop: int, most: int | None) -> bytes:
        """The bytes from `start` to `stop` at least; of those behind, some that are known."""
        if jumped := not self._jumps[-1] <= start <= self._at + NEAR:
            self._jumps.append(start)
            self._ends.append(stop)
            self._ahead = HEAD
        self._at = self._ends[-1] = max(stop, self._ends[-1])
        if most is None:  # few behind a jump: how far is asked for tells how much to read behind the next ones
            most = max(stop, start + (HEAD if start - self._jumps[-1] < NEAR else WINDOW))
        found = self._at_hand(start, most)
        self._right += jumped and bool(found)
        while len(found) < stop - start:
            spans = self._wanted(start + len(found), stop, jumped)
            for (begin, _), part in zip(spans, parts := self._fetch(spans), strict=True):
                self._keep(begin, part)
            if not parts[0]:
                break  # the file is shorter than it was said to be
            found = self._at_hand(start, most)
        return found

    def _at_hand(self, start: int, most: int) -> bytes:
        place = bisect_right(self._starts, start) - 1
        if place < 0:
            return b""
        begin = self._starts[place]
        return self._known[place][start - begin : most - begin]

    def _wanted(self, start: int, stop: int, jumped: bool) -> list[Span]:
        """The span asked for with what is read ahead, and those guessed; none of them known."""
        if jumped:
            runs = [end - jump for jump, end in zip(self._jumps[-4:-1], self._ends[-4:-1], strict=True)]
            self._ahead = max([HEAD, *(run + 2 * ALIKE for run in runs if run <= NEAR)])
            # What is asked for last, often from the very end, stands a little before it.
            start = max(0, min(start, self._size - WINDOW))
        else:
            self._ahead = min(MOST_AHEAD, 2 * self._ahead)
        guesses: Iterator[Span] = iter(())
        if start - self._jumps[-1] < NEAR:
            guesses = islice(self._guessed(), min(MOST_GUESSES, max(LEAST_GUESSES, 2 * self._right)))
            self._right = 0
        return [*self._unknown([(start, max(stop, start + self._ahead)), *guesses])]

    def _unknown(self, spans: Sequence[Span]) -> Iterator[Span]:
        """What is not known of each span, nor in one before it."""
        asked, *guesses = spans
        taken: list[Span] = []
        for start, stop in (asked, *sorted(guesses)):
            place = bisect_right(self._starts, start) - 1
            if place >= 0:
                start = max(start, self._starts[place] + len(self._known[place]))
            stop = min(stop, self._size, *self._starts[place + 1 : place + 2])
            if start < stop and not any(start < after and before < stop for before, after in taken[:1] + taken[-1:]):
                taken.append((start, stop))
                yield start, stop

    def _keep(self, start: int, part: bytes) -> None:
        if not part:
            return
        place = bisect_right(self._starts, start)
        if place and self._starts[place - 1] + len(self._known[place - 1]) == start:
            place -= 1
            start, part = self._starts[place], self._known[place] + part
            del self._starts[place], self._known[place]
        if place < len(self._starts) and start + len(part) == self._starts[place]:
            part += self._known[place]
            del self._starts[place], self._known[place]
        self._starts.insert(place, start)
        self._known.insert(place, part)

    def _guessed(self) -> Iterator[Span]:
        """Where the next jumps will lead, if they go on as they went after the last ones that were like these."""
        jumps, ends = self._jumps[-MOST_JUMPS:], self._ends[-MOST_JUMPS:]
        steps = [after - before for before, after in pairwise(jumps)]
        last = len(steps) - 1

        def alike(place: int) -> int:
            """How many steps up to this one are like those up to now."""
            count = 0
            while count <= place and count < 8 and abs(steps[place - count] - steps[last - count]) <= ALIKE:
                count += 1
            return count

        best = max(range(last), key=lambda place: (alike(place), place), default=0)
        if last < 1 or not alike(best):
            return
        at = jumps[-1]
        for place in cycle(range(best + 1, last + 1)):
            at += steps[place]
            like = 1 + (place if place < last else best)
            length = min(ends[like] - jumps[like], NEAR)
            if not 0 <= at < self._size:
                return
            before = 0 if self._at_hand(at, at + 1) else 2 * ALIKE
            yield max(0, at - before), at + max(HEAD, length + 2 * ALIKE)
