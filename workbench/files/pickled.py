"""Pickles and joblib files, compressed or not: what they name, followed without running them."""

from __future__ import annotations

import io
import re
from typing import Any

from .pickle_walk import OPENINGS, TORCH_MAGIC, Budget, BudgetSpent, Damaged, Named, Walk
from .records import Format
from .unpack import compressed, unpacked
from .wire import Buffer

WINDOW = 1 << 22
"""Bytes looked at from either end of a file where a format has no index of its own (HDF5), or of one archive member."""

MAX_MARKERS = 1000

_CLASS = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_<]\w*>?)+")

_VERSION = "_sklearn_version"

_PLUMBING = re.compile(
    r"(?:numpy|scipy|builtins|__builtin__|copy_?reg|collections|_codecs|datetime|functools|operator|_?io|types)\b"
)


def foreign(classes: tuple[str, ...], *packages: str) -> bool:
    """Whether a class comes from none of `packages` nor from what every pickle uses."""
    return any(not _PLUMBING.match(name) and name.split(".")[0] not in packages for name in classes)


class Noted(Walk):
    """The classes that a pickle names, its short texts, and whether it calls anything."""

    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__(file, Budget(steps=50_000, unpacked=0), arrays=True)
        self.classes: dict[str, None] = {}
        self.texts: dict[str, None] = {}
        self.calls = False

    def imported(self, what: Named) -> None:
        if _CLASS.fullmatch(str(what)) and len(self.classes) < MAX_MARKERS:
            self.classes[str(what)] = None

    def called(self, what: Any, arguments: Any) -> None:
        self.calls |= _CLASS.fullmatch(str(what)) is not None

    def numbered(self, code: int) -> None:
        self.calls = True

    def text(self, text: str) -> None:
        if len(self.texts) < MAX_MARKERS:
            self.texts[text[:200]] = None

    def followed(self) -> str:
        """How far one more pickle could be followed: to its "end", to where it is "damaged", or in "part"."""
        try:
            self.load()
        except Damaged:
            return "damaged"
        except BudgetSpent:
            return "part"
        return "end"

    def inner(self) -> Walk:
        return Walk(self.file, self.budget)

    @property
    def names(self) -> tuple[str, ...]:
        """Classes first, then what else is written in it."""
        return (*self.classes, *(text for text in self.texts if text not in self.classes))[:MAX_MARKERS]


def _version(walk: Noted) -> str:
    """Of the scikit-learn that wrote an estimator, as it stands in it; empty where that was not found."""
    texts = list(walk.texts)
    after = texts[texts.index(_VERSION) + 1 :] if _VERSION in walk.texts else []
    return after[0] if after and re.fullmatch(r"\d+\.\d+[\w.]{0,20}", after[0]) else ""


def pickled(buffer: Buffer) -> Format | None:
    """Pickle and joblib, compressed or not: classes from the opcodes. Also PyTorch's format before 1.6."""
    packed = compressed(bytes(buffer[:64]))
    file = unpacked(buffer, Budget(0, WINDOW))
    try:
        head = file.peek(1)[:1]
        if head not in OPENINGS:
            return None
        walk = Noted(file)
        reached = walk.followed()
        if walk.result == TORCH_MAGIC:
            for _ in range(3):  # protocol, system info, then the object itself
                reached = walk.followed()
            whole = any(item.startswith("torch.nn.") for item in walk.classes)
            return Format("PyTorch", "whole module" if whole else "state dict", walk.names, True)
        rest = bool(file.peek(64).strip()) if reached == "end" else False
        if rest:
            walk.followed()
    except (OSError, BudgetSpent):
        return None
    # Protocols 0 and 1 are letters and lines, as other text is: only one that ends as a pickle must, or calls
    # something by a proper name, is one. And nothing else goes on like a pickle for long.
    binary = head == b"\x80"
    unlike = reached == "damaged" and not (binary and walk.classes)
    if not walk.calls and (unlike or (rest and not binary)):
        return None
    classes = tuple(item for item in walk.classes if not item.startswith("joblib."))
    name = "joblib" if packed or len(classes) < len(walk.classes) else "pickle"
    family = next((item.split(".")[0] for item in classes if not _PLUMBING.match(item)), "")
    detail = f"scikit-learn {_version(walk)}".rstrip() if family == "sklearn" else family
    if not family and reached != "end":
        detail = "read in part"
    return Format(name, detail, classes, runs_code=True)
