"""What may be said to `workbench.compare` beside both models and the rows: one table for every door to it.

The function's signature and help, the command's arguments, the session's choices and the form's controls are made from
these fields.
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
from ..files.records import Option

Function = TypeVar("Function", bound=Callable[..., Any])

SCALES = (("× 1/255: 0 to 255 become 0 to 1", 1 / 255), ("× 255: 0 to 1 become 0 to 255", 255.0))
POWERS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Offered on the screen, where any other may come from code."""


def said(default: Any, says: str, **argument: Any) -> Any:
    """A field that the command takes, too: its help, and what argparse needs to know."""
    return field(default=default, metadata={"command": {"help": says, **argument}})


def asked(option: Option, default: Any = None, **argument: Any) -> Any:
    """A field that the command and the screen ask for.

    Args:
        option: what is asked. Its name is the one of the session's choice, its default what that is at first.
        default: of the field, and the command.
        argument: for argparse, beside the help.
    """
    told = option.help[0].lower() + option.help[1:].rstrip(".")
    if argument:
        told += f" (default: {option.unset if default is None else f'{default:g}'})"
        argument["type"] = {"int": int, "float": float}[option.kind]
    return field(default=default, metadata={"command": {"help": told, **argument}, "option": option})


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
    target: str | int | None = field(
        default=None,
        metadata={"option": Option("target", "Right answers", "Of a table.", "text", unset="a column's name, if any")},
    )
    scale: float | None = asked(
        Option("scale", "Numbers", "Multiply all numbers, such as 1/255.", "float", SCALES, unset="as they are"),
        metavar="FACTOR",
    )
    rows: int | None = asked(
        Option(
            "rows", "Rows at most", "Rows to ask at most.", "int", default=50, least=1, unset="all of a file, else 50"
        ),
        metavar="N",
    )
    batch: int | None = asked(
        Option("batch", "Batch size", "Rows in a timed call.", "int", POWERS, least=1, unset="as suits the model"),
        metavar="N",
    )
    layers: bool = asked(
        Option("layers", "Layers", "Name the first layer that differs (Keras models).", "bool", default=False), False
    )
    one_row: bool = asked(Option("one_row", "Single rows", "Time single rows too.", "bool", default=False), False)
    repeat: int | None = asked(
        Option(
            "repeats", "Repeats", "Rounds of the race at most, in each of which both sides take their turn.", "int",
            (1, 3, 10, 30, 100, 300), least=1, unset="until the ratio is sure",
        ),
        metavar="ROUNDS",
    )  # fmt: skip
    seconds: float = asked(
        Option("seconds", "Seconds to race", "For the race at most; loading and answering come on top.", "float",
               default=10.0, least=0.01),
        10.0,
        metavar="SECONDS",
    )  # fmt: skip
    threads: int | None = asked(
        Option("threads", "Threads", "On both sides.", "int", POWERS[:4], least=1, unset="one per core"), metavar="N"
    )
    engines: tuple[str | None, str | None] = said(
        (None, None), "which engines to use, such as nengo_dl and onnxruntime (default: by the kind of model)",
        nargs=2, metavar=("NATIVE", "ONNX"),
    )  # fmt: skip
    params: str | os.PathLike[str] | None = None
    trust: bool = said(False, "open formats that can run code from the file")
    tolerance: Tolerance | None = None
    custom_objects: Mapping[str, Any] | None = None
    memory_mib: float | None = asked(
        Option("memory_mib", "Memory", "Of each side's process, in MiB.", "float", unset="by the model's size"),
        metavar="MIB",
    )
    timeout: float | None = asked(
        Option("timeout", "Seconds to wait", "For loading, and for any one answer.", "float", unset="900"),
        metavar="SECONDS",
    )
    progress: Callable[[str], object] | None = None
    cancel: threading.Event | None = None

    def __post_init__(self) -> None:
        for name in (name for name, option in ASKED.items() if option.kind == "int"):
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


ASKED: dict[str, Option] = {each.name: each.metadata["option"] for each in fields(Options) if "option" in each.metadata}
"""{field: how the screen asks for it}; the option's name is that of the session's choice."""


def documented(function: Function) -> Function:
    """A function with keywords of `Options` shows them all, in its signature and its help."""
    shown = inspect.signature(function)
    own = [each for each in shown.parameters.values() if each.kind is not each.VAR_KEYWORD]
    added = [each.replace(kind=each.KEYWORD_ONLY) for each in inspect.signature(Options).parameters.values()]
    function.__signature__ = shown.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    function.__doc__ = "\n\n".join(map(inspect.cleandoc, (function.__doc__ or "", Options.__doc__ or "")))
    return function
