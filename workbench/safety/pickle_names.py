"""What the names in a pickle are known for. ``pickles.txt`` holds them, exact, and says how to read it."""

from __future__ import annotations

import io
import logging
import re
import sys
import unicodedata
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.resources import files
from typing import Literal

Grade = Literal["held", "called", "unusual", "dangerous"]
"""May be held and made; may be called, too; seldom in a model; made for doing something else."""

_MARKS: dict[str, Grade] = {"()": "called", "?": "unusual", "!": "dangerous"}

_PART = re.compile(r"[^\W\d]\w*")


@lru_cache(maxsize=1)
def listed() -> dict[str, Grade]:
    """``pickles.txt``: name -> what it is known for."""
    grades: dict[str, Grade] = {}
    for line in (files(__package__) / "pickles.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            mark = next((mark for mark in _MARKS if line.endswith(mark)), "")
            grades[line.removesuffix(mark)] = _MARKS.get(mark, "held")
    return grades


def grade(module: str, name: str) -> Grade | None:
    """What a name is known for; None where `picklescan` is to be asked, and nobody else knows it."""
    known, full = listed(), f"{module}.{name}"
    if full in known and "." not in name:
        return known[full]
    parts = full.split(".")
    # A dotted name is looked up part by part: `pandas.io.clipboard` has `subprocess.Popen`.
    if "." in name or f"*.{name}" in known or not all(map(_PART.fullmatch, parts)) or any(map(_looks_alike, parts)):
        return "dangerous"
    for length in range(len(parts) - 1, 0, -1):
        above = known.get(".".join(parts[:length]))
        if above in ("unusual", "dangerous"):
            return above
    if parts[0] in sys.stdlib_module_names or parts[0] in IMPORT_MAPPING:
        return "dangerous"
    return None


_ALIKE = {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"}
"""Scripts with letters that look like Latin ones."""


def _looks_alike(text: str) -> bool:
    """Latin letters beside ones that look like them, or letters that Python itself would write in another way."""
    if text.isascii():
        return False
    scripts = {unicodedata.name(letter, "?").split()[0] for letter in text if letter.isalpha()}
    return ("LATIN" in scripts and bool(scripts & _ALIKE)) or unicodedata.normalize("NFKC", text) != text


def known_to_picklescan(names: Iterable[tuple[str, str]]) -> set[str]:
    """Those of some well-formed names that picklescan's list calls dangerous."""
    from picklescan.scanner import SafetyLevel, scan_pickle_bytes

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)  # the `Scan` says what was found
    stream = b"".join(f"c{module}\n{name}\n".encode() for module, name in names) + b"."
    found = scan_pickle_bytes(io.BytesIO(stream), "").globals
    return {f"{it.module}.{it.name}" for it in found if it.safety is SafetyLevel.Dangerous}


@cache
def judges() -> str:
    """Who judges, with its version."""
    return f"workbench, with the names of picklescan {version('picklescan')}"
