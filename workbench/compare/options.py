"""What may be said to `workbench.compare` beside both models and the rows: one table for every door to it.

The function's signature and help, the command's arguments and the session's choices are made from these fields.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from ..agreement import Tolerance
from ..errors import BadInput

Function = TypeVar("Function", bound=Callable[..., Any])


def said(default: Any, says: str, **argument: Any) -> Any:
    """A field that the command takes, too: its help, and what argparse needs to know."""
    return field(default=default, metadata={"help": says, **argument})


@dataclass(frozen=True)
class Options:
    """How both sides are asked and timed, by name:

    targets: (rows,) the right classes, or (rows, classes) one-hot, for the accuracy of both sides. If None, those of
        the file or of the paper's data.
    target: the column of a file that holds the right answers, as for `workbench.rows.read`.
    scale: what to multiply the numbers of a file or of the paper's data by: 1/255 brings grey values to 0 to 1.
    rows: how many are asked at most, from 1; if None all that are given, and 50 of the paper's data or at random. A
        model with one batch size is asked a multiple of it, one batch at least.
    batch: rows in a timed call, at most as many as are asked; if None the model's batch size, or as many as memory is
        kind to.
    layers: find the first layer that differs, where the native side has layers (Keras).
    one_row: time single rows too.
    repeat: rounds of the race at most, from 1; None leaves it to the interval of the ratio, which ends the race when
        it is narrower than 5 %.
    seconds: for the race at most. Loading, warming up and answering come on top.
    threads: on both sides; one per core if None.
    engines: names for `load_engine` (native, onnx); None chooses by the model's kind.
    params, trust, custom_objects: as for `load_engine`; of the native side. One file in two engines gets `params` on
        both sides.
    tolerance: for numbers; what suits the native side if None.
    memory_mib: MiB for each worker, by the model's size if None.
    timeout: seconds for any one task of a worker, such as loading or answering; 900 for answers if None.
    progress: called in this thread with one short sentence at each stage.
    cancel: set it from another thread to give up.
    """

    targets: Any = None
    target: str | int | None = None
    scale: float | None = said(None, "multiply all numbers, such as 1/255", type=float, metavar="FACTOR")
    rows: int | None = said(None, "rows to ask at most (default: all of a file, else 50)", type=int, metavar="N")
    batch: int | None = said(None, "rows in a timed call (default: as suits the model)", type=int, metavar="N")
    layers: bool = said(False, "name the first layer that differs (Keras models)")
    one_row: bool = said(False, "time single rows too")
    repeat: int | None = said(
        None, "rounds of the race at most, in each of which both sides take their turn", type=int, metavar="ROUNDS"
    )
    seconds: float = said(10.0, "for the race at most (default: 10)", type=float, metavar="SECONDS")
    threads: int | None = said(None, "on both sides (default: one per core)", type=int, metavar="N")
    engines: tuple[str | None, str | None] = said(
        (None, None), "which engines to use, such as nengo_dl and onnxruntime (default: by the kind of model)",
        nargs=2, metavar=("NATIVE", "ONNX"),
    )  # fmt: skip
    params: str | os.PathLike[str] | None = None
    trust: bool = said(False, "open formats that can run code from the file")
    tolerance: Tolerance | None = None
    custom_objects: Mapping[str, Any] | None = None
    memory_mib: float | None = said(
        None, "MiB for each side's process (default: by the model's size)", type=float, metavar="MIB"
    )
    timeout: float | None = said(
        None, "for loading, and for any one answer (default: 900)", type=float, metavar="SECONDS"
    )
    progress: Callable[[str], object] | None = None
    cancel: threading.Event | None = None

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self) if each.metadata.get("type") is int):
            number = getattr(self, name)
            if number is not None and (not isinstance(number, int) or number < 1):
                raise BadInput(f"{name} is a whole number from 1, or None, not {number!r}.")

    @classmethod
    def of(cls, **named: Any) -> Options:
        """From keywords.

        Raises:
            BadInput: a number that must be one from 1; TypeError: no such option, and which may be meant.
        """
        known = [each.name for each in fields(cls)]
        for name in (name for name in named if name not in known):
            meant = get_close_matches(name, known, 1)
            hint = f"did you mean {meant[0]!r}?" if meant else f"it takes {', '.join(known)}."
            raise TypeError(f"compare() has no option {name!r}; {hint}")
        return cls(**named)

    def say(self, sentence: str) -> None:
        """Tell the person how far it is."""
        if self.progress is not None:
            self.progress(sentence)


def documented(function: Function) -> Function:
    """A function with keywords of `Options` shows them all, in its signature and its help."""
    shown = inspect.signature(function)
    own = [each for each in shown.parameters.values() if each.kind is not each.VAR_KEYWORD]
    added = [each.replace(kind=each.KEYWORD_ONLY) for each in inspect.signature(Options).parameters.values()]
    function.__signature__ = shown.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    function.__doc__ = "\n\n".join(map(inspect.cleandoc, (function.__doc__ or "", Options.__doc__ or "")))
    return function
