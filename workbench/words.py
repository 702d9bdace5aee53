"""How names, counts and sizes are written, and text from a file made harmless: on a page, and in a terminal."""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MAX_SHOWN = 400
"""Characters of one string from a model that are shown; the data keeps the rest."""


def visible(value: object, limit: int = MAX_SHOWN, keep: str = "\n\t") -> str:
    r"""Text from a model for where markup is not read: a terminal, a log, an attribute.

    Whatever would act instead of being seen is shown as Python writes it: escape sequences (``\x1b``), characters that
    turn the direction of writing (``\u202e``) or have no width, undecodable bytes of a file's name.

    Args:
        limit: characters kept; a longer text ends in an ellipsis.
        keep: control characters that stay.
    """
    text = str(value)
    text = text if len(text) <= limit else text[:limit] + "…"
    return "".join(char if char.isprintable() or char in keep else _seen(char) for char in text)


def _seen(char: str) -> str:
    return " " if unicodedata.category(char) == "Zs" else char.encode("unicode_escape").decode()


def escape(value: object, limit: int = MAX_SHOWN) -> str:
    """Text from a model made safe for HTML: `visible`, and markup escaped."""
    return html.escape(visible(value, limit), quote=True)


@dataclass(frozen=True, slots=True)
class SideNames:
    """What sentences call both sides of a comparison, the native one (or the first) before the other.

    Attributes:
        title: above the comparison.
        heads: above a column.
        nouns: as a subject: "ONNX is 3 times as fast as native".
        where: where an answer is from: "0.2 natively, 0.3 in ONNX".
        sides: the side itself.
    """

    title: str
    heads: tuple[str, str]
    nouns: tuple[str, str]
    where: tuple[str, str]
    sides: tuple[str, str]


NATIVE_AND_ONNX = SideNames(
    title="Native and ONNX side by side",
    heads=("native", "ONNX"),
    nouns=("native", "ONNX"),
    where=("natively", "in ONNX"),
    sides=("the native side", "the ONNX side"),
)

TWO_ONNX = SideNames(
    title="Two ONNX models side by side",
    heads=("first", "second"),
    nouns=("the first model", "the second model"),
    where=("in the first model", "in the second model"),
    sides=("the first model", "the second model"),
)
"""Where both sides are ONNX, neither is native."""


def sentence(text: str) -> str:
    """With a capital at its beginning."""
    return text[:1].upper() + text[1:]


def listed(names: Iterable[str], most: int = 4, between: str = ", ") -> str:
    """``a, b, c and 3 more``, each made visible and cut at 80 characters."""
    shown = [visible(name, 80, "") for name in names]
    return between.join(shown[:most]) + (f" and {len(shown) - most:,} more" if len(shown) > most else "")


def label_text(value: Any) -> str:
    """A label of any type as text: 1, 1.0 and np.int32(1) name the same class."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, bool | float) and float(value).is_integer():
        return str(int(value))
    return str(value)


def no_formula(text: str) -> str:
    """Text for a cell of CSV: what a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def counted(count: int, noun: str) -> str:
    """``1 node``, ``1,234 nodes``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def size(count: int) -> str:
    """Bytes in words."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return counted(count, "byte") if unit == "bytes" else f"{amount:,.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def first_line(error: BaseException) -> str:
    """The first line of what a library said that is not a heading, its class where it said nothing; at most 300
    characters, no full stop, no colours of a terminal, and no numbers of errors."""
    text = re.sub(r"\x1b\[[\d;]*m|\[ONNXRuntimeError\] : \d+ : \w+ : |\[Errno -?\d+\] ", "", str(error))
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    # As TensorFlow's "Graph execution error:", "Detected at node … (most recent call last):", "<stack traces …>".
    said = [line for line in lines if not line.endswith(":") and not line.startswith("<")] or lines
    return (said[0] if said else type(error).__name__)[:300].rstrip(". ")


def readable(value: float, digits: int = 2) -> str:
    """A number as people write it: 0.0016, 1,280, 1.6 × 10⁻⁷."""
    if not math.isfinite(value) or not value:
        return {math.inf: "infinite"}.get(value, f"{value:g}")
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    power = int(exponent)
    if -5 <= power < 6:
        text = f"{float(f'{value:.{digits}g}'):,.{max(digits - 1 - power, 0)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    raised = str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa.rstrip('0').rstrip('.')} × 10{raised}"


def share(value: float) -> str:
    """A relative difference as people say it: 12 %, 1 part in 1,500,000."""
    if not 0 < value < 1e-3:
        return f"{readable(100 * value)} %"
    parts = float(f"{1 / value:.2g}")
    return f"1 part in {f'{parts:,.0f}' if parts < 1e9 else readable(parts)}"
