"""What each converter lets a person choose: one list for the converters, the command line and the widgets.

`options_for` names the options of a format; `chosen` checks what was given against them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import BadInput


@dataclass(frozen=True)
class Option:
    """A choice that `workbench.convert` takes as a keyword argument.

    Attributes:
        name: of the argument; label: the same in words.
        help: what it is for, in one short sentence.
        kind: what its value is; ``names`` is a list of texts.
        choices: the values it may have, where they are few.
        default: what holds where it is left out; None: the converter decides, as `unset` says.
        least, most: bounds of a number, None where there is none. A ``float`` lies above its `least`.
        unset: what happens where it is None.
    """

    name: str
    label: str
    help: str
    kind: Literal["bool", "int", "float", "choice", "text", "names"]
    choices: tuple[str, ...] = ()
    default: Any = None
    least: float | None = None
    most: float | None = None
    unset: str = "automatic"

    def check(self, value: Any) -> None:
        """
        Raises:
            BadInput: the option does not take this value.
        """
        if value is None and self.default is None:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = {
            "bool": value in self.values and isinstance(value, bool),
            "choice": value in self.choices,
            "int": number and isinstance(value, int) and self._within(value),
            "float": number and math.isfinite(value) and value > (self.least or 0),
            "text": isinstance(value, str),
            "names": isinstance(value, list | tuple) and all(isinstance(name, str) for name in value),
        }[self.kind]
        if not fits:
            raise BadInput(f"Option {self.name!r} is {self._expected}, not {value!r}.")

    @property
    def values(self) -> tuple[Any, ...]:
        """Every value it may have, the default first; empty where they cannot be listed."""
        if self.kind == "bool":
            return self.default, not self.default
        return self.choices

    def _within(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    @property
    def _expected(self) -> str:
        if self.kind in ("bool", "choice"):
            return " or ".join(map(repr, self.values))
        if self.kind == "int":
            return f"a whole number from {self.least:g} {f'to {self.most:g}' if self.most is not None else 'up'}"
        return {"float": f"a number above {self.least}", "text": "a text", "names": "a list of names"}[self.kind]


SKL2ONNX_OPSETS = 9, 22
"""The lowest and highest opset of the default domain that skl2onnx writes."""

TF2ONNX_OPSETS = 13, 18
"""The highest tf2onnx 1.17 writes, and the lowest it is tested with here."""


def _opset(span: tuple[int, int]) -> Option:
    return Option(
        "opset", "Opset", "Version of ONNX's operators; older engines need an older one.", "int", (), None, *span,
            )  # fmt: skip


_BATCH = Option(
    "batch", "Batch dimension", "Rows in every call; some devices want a fixed number.", "int",
    least=1, unset="any number of rows",
)  # fmt: skip

_SKLEARN = (
    _opset(SKL2ONNX_OPSETS),
    _BATCH,
    Option(
        "dtype", "Dtype", "Of the inputs. Left open, it is float32, or float64 where float32 is too coarse.", "choice",
        ("float32", "float64"),
    ),
    Option("zipmap", "ZipMap", "Give probabilities as {label: probability}, not one array.", "bool", default=False),
    Option(
        "cdist", "CDist", "For nearest neighbours: ONNX Runtime's fast operator for distances; other engines lack it.",
        "bool", default=True,
    ),
)  # fmt: skip
_TENSORFLOW = (_opset(TF2ONNX_OPSETS), _BATCH)

_OPTIONS: dict[str, tuple[Option, ...]] = {
    **dict.fromkeys(("pickle", "joblib", "skops"), _SKLEARN),
    **dict.fromkeys(("Keras v3", "Keras HDF5"), _TENSORFLOW),
    "SavedModel": (
        *_TENSORFLOW,
        Option("signature", "Signature", "Which of its functions to convert.", "text", unset="serving_default"),
    ),
    "GraphDef": (
        *_TENSORFLOW,
        Option("inputs", "Inputs", "Names of the nodes it begins with.", "names", unset="found by themselves"),
        Option("outputs", "Outputs", "Names of the nodes it ends with.", "names", unset="found by themselves"),
    ),
    "TFLite": (
        *_TENSORFLOW,
        Option(
            "dequantize", "Dequantize", "Compute in float32 where the file computes in whole numbers.", "bool",
            default=False,
        ),
    ),
    "NIR": (
        Option(
            "dt", "Time step", "Seconds between two steps of the network.", "float", least=0,
            unset="as the file tells or suggests",
        ),
        Option(
            "method", "Method", "How the neurons' equations are stepped: Euler's method, or their exact solution.",
            "choice", ("euler", "exact"), default="euler",
        ),
        Option(
            "reset", "Reset", "What a spike does to the voltage; frameworks differ, and the file does not tell.",
            "choice", ("to value", "subtract", "subtract late"), default="to value",
        ),
    ),
}  # fmt: skip
"""Format name -> what its converter takes; every format that can be converted is here."""


def options_for(format_name: str) -> tuple[Option, ...]:
    """The options for a file of this format (`files.formats` names it); empty where it cannot be converted."""
    return _OPTIONS.get(format_name, ())


def chosen(format_name: str, given: Mapping[str, Any], family: str = "") -> dict[str, Any]:
    """Every option of a format, as given or by default.

    Args:
        given: {option: value}.
        family: what to call the format in sentences; its own name if empty.

    Raises:
        BadInput: there is no such option, or it does not take this value.
    """
    known = {option.name: option for option in options_for(format_name)}
    for name, value in given.items():
        if name not in known:
            raise BadInput(f"There is no option {name!r} for {family or format_name}; choose from: {', '.join(known)}.")
        known[name].check(value)
    return {name: option.default for name, option in known.items()} | dict(given)
