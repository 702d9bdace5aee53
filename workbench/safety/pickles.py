"""Pickles, wherever they are: alone, behind each other, compressed, between joblib's arrays, in archives, in arrays.

Nothing is imported, called or built: `files.pickle_walk` follows the opcodes, `pickle_names` knows what a model
needs. What would be called or changed in a way that no pickler writes is told, too, as it would be a way around the
names.
"""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..errors import Scan
from ..files.pickle_walk import OPCODES, OPENINGS, TORCH_MAGIC, Budget, BudgetSpent, Damaged, Made, Named, Walk
from ..files.unpack import Window, unpacked
from ..files.wire import Buffer
from . import pickle_names as names
from .archive import Member, members
from .subject import Subject

_THOROUGH = Budget(steps=50_000_000, unpacked=128 << 30)
"""A minute or two, in a worker process."""

_AT_ONCE = Budget(steps=150_000, unpacked=48 << 20)
"""Less than half a second."""

_NESTED = 3
"""Pickles in bytes in pickles, and archives in archives, that are looked into."""

_BLOB = 1 << 20
"""Bytes of one value that are looked through for a pickle."""

_BEHIND = 4 << 20
"""Bytes behind a damaged place that are searched for names."""


def scan(subject: Subject) -> Scan:
    """What a pickle, or a file with pickles in it, would import and call.

    Where the scan is not thorough and does not reach the end, `subject` has no steps left.
    """
    limit = _THOROUGH if subject.steps is None else _AT_ONCE
    found, name = _Found(Budget(limit.steps, limit.unpacked)), subject.format.name
    arrays = name in ("NumPy npy", "NumPy npz", "zip archive")
    buffer, head = subject.buffer, bytes(subject.buffer[:16])
    try:
        if head.startswith(b"PK"):
            _archive(buffer, 0, len(buffer), found, subject.format.detail)
        elif head.startswith(b"\x93NUMPY"):
            _npy(io.BufferedReader(Window(buffer)), found)
        elif head.startswith((b"7z\xbc\xaf\x27\x1c", b"\x04\x22\x4d\x18")):
            found.unread, found.pickles = True, 1
        else:
            _file(lambda: unpacked(buffer, found.budget), found)
    except BudgetSpent:
        if subject.steps is None:
            found.unread = True
        else:
            subject.steps.left = -1
    except (Damaged, OSError):
        found.unread = True
    dangerous, unusual = found.judged()
    runs_code = not arrays or found.pickles > 0 or bool(dangerous)
    return Scan(
        subject.shown, name, runs_code, tuple(sorted(dangerous)), tuple(sorted(unusual)),
        not found.unread, names.judges(),
    )  # fmt: skip


_MOST = 5_000
"""Different things that are noted of one file: a model names a few dozen."""


@dataclass
class _Found:
    """What was found so far.

    Attributes:
        imports: (module, name) of everything imported, with whether it was called.
        acts, odd: dangerous and unusual things that are no names of imports.
        script: the file is TorchScript, whose own classes are compiled from the archive and never imported.
        pickles: how many there were.
        unread: something could not be read to its end.
        depth: how many archives and pickles this one is inside of.
        suspected: what is in bytes that may be no pickle at all: only names that are dangerous count.
    """

    budget: Budget
    script: bool = False
    depth: int = 0
    imports: dict[tuple[str, str], bool] = field(default_factory=dict)
    acts: set[str] = field(default_factory=set)
    odd: set[str] = field(default_factory=set)
    pickles: int = 0
    unread: bool = False
    suspected: _Found | None = None

    def imported(self, module: str, name: str, called: bool = False) -> None:
        self.imports[module, name] = called or self.imports.get((module, name), False)
        self._within_bounds()

    def act(self, what: str) -> None:
        self.acts.add(what)
        self._within_bounds()

    def seldom(self, what: str) -> None:
        self.odd.add(what)
        self._within_bounds()

    def _within_bounds(self) -> None:
        if max(len(self.imports), len(self.acts), len(self.odd)) > _MOST:
            raise BudgetSpent

    def suspect(self) -> _Found:
        if self.suspected is None:
            self.suspected = _Found(self.budget, self.script, self.depth + 1)
        return self.suspected

    def judged(self) -> tuple[set[str], set[str]]:
        """(dangerous, unusual): names and what else was found."""
        dangerous, unusual, ask = set(self.acts), set(self.odd), []
        for (module, name), called in self.imports.items():
            if self.script and module.split(".")[0] == "__torch__":
                continue
            known = names.grade(module, name)
            if known == "dangerous":
                dangerous.add(f"{module}.{name}")
            elif known == "unusual":
                unusual.add(f"{module}.{name}")
            elif known is None:
                ask.append((module, name))
            elif known == "held" and called:
                unusual.add(f"a call of {module}.{name}")
        bad = names.known_to_picklescan(ask) if ask else set()
        for module, name in ask:
            (dangerous if f"{module}.{name}" in bad else unusual).add(f"{module}.{name}")
        if self.suspected is not None:  # numbers can look like opcodes, but not like Python's words
            dangerous |= {name for name in self.suspected.judged()[0] - self.suspected.acts if _WORDS.fullmatch(name)}
        return dangerous, unusual


_WORDS = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)


class _Judge(Walk):
    """A walk that notes what a model's pickle does not do."""

    def __init__(
        self, file: io.BufferedReader, found: _Found, arrays: bool | None = False, torch: bool = False
    ) -> None:
        super().__init__(file, found.budget, arrays)
        self.found, self.torch = found, torch
        self.readable_as_opcodes = False

    def inner(self) -> Walk:
        return _Judge(self.file, self.found)

    def imported(self, what: Named) -> None:
        if str(what) in _SELDOM:
            self.found.seldom(str(what))
        elif str(what) not in _BY_ARGUMENTS or "." in what.name:
            self.found.imported(what.module, what.name)

    def called(self, what: Any, arguments: Any) -> None:
        if not isinstance(what, Named):
            self.found.act(f"a call of what {_maker(what)} gives")
            return
        judge = _BY_ARGUMENTS.get(str(what))
        if judge is None:
            self.found.imported(what.module, what.name, called=True)
        elif not isinstance(arguments, tuple) or not judge(self, *arguments[:3], *[None] * (3 - len(arguments))):
            self.found.act(str(what))
        for argument in arguments if isinstance(arguments, tuple) else ():
            if isinstance(argument, Named) and str(argument) in _BY_ARGUMENTS:
                self.found.act(str(argument))

    def made(self, what: Any) -> None:
        if not isinstance(what, Named):
            self.found.act(f"an object of what {_maker(what)} gives")
        elif str(what) in _BY_ARGUMENTS:
            self.found.act(str(what))

    def filled(self, what: Any, state: Any) -> None:
        if isinstance(what, Named):
            self.found.act(f"a change to {what} itself")
        elif isinstance(what, Made):
            if what.state is not None:  # the first may have brought a method, which the second calls
                self.found.act(f"a second state for what {_maker(what)} gives")
            elif str(what.maker) in _FILES_BESIDE and isinstance(state, dict):
                self.found.seldom(f"the file {state.get('filename', '')} to be read")

    def computed(self) -> None:
        self.found.act("a name that is put together only as it is opened")

    def numbered(self, code: int) -> None:
        self.found.act(f"an import by the number {code}")

    def referred(self, identity: Any) -> None:
        if not (self.torch and isinstance(identity, tuple) and identity and identity[0] in ("storage", "module")):
            self.found.seldom("a reference to something outside it")

    def array(self, first: bytes) -> None:
        self.readable_as_opcodes |= first in OPCODES

    def blob(self, size: int) -> None:
        if size < 4 or self.found.depth >= _NESTED or self.file.peek(2)[:1] != b"\x80":
            return
        if self._seekable:
            at = self.file.tell()
            data = self.file.read(min(size, _BLOB))
            self.file.seek(at)
        else:
            data = self.file.peek(size)[:size]
        if len(data) > 1 and data[1] <= 5:
            self.budget.step(20)
            inside = self.found.suspect()
            _suspect(io.BufferedReader(io.BytesIO(data)), self.found)
            if inside.imports:
                self.found.seldom("a pickle inside a value")


def _maker(what: Any) -> str:
    return str(what.maker) if isinstance(what, Made) and isinstance(what.maker, Named) else "a call"


_FILES_BESIDE = tuple(
    f"joblib.{module}.{name}"
    for module in ("numpy_pickle", "numpy_pickle_compat")
    for name in ("NDArrayWrapper", "ZNDArrayWrapper")
)

_BASES = tuple(
    f"builtins.{name}" for name in "object dict list tuple set frozenset int float complex str bytes".split()
)


_SELDOM = ("builtins.getattr", "functools.partial")


def _partial(walk: _Judge, function: Any, *_: Any) -> bool:
    """A function with some arguments filled in is common in PyTorch's layers, and runs nothing until it is called."""
    return isinstance(function, Named)


def _getattr(walk: _Judge, holder: Any, name: Any, *_: Any) -> bool:
    """As methods are pickled: of a class that the pickle names, and not called there."""
    if not isinstance(holder, Named) or not isinstance(name, str) or name.startswith("_"):
        return False
    return "dangerous" not in (names.grade(holder.module, holder.name), names.grade(str(holder), name))


def _ufunc(walk: _Judge, module: Any, name: Any, *_: Any) -> bool:
    """NumPy before 1.22 found its functions again this way."""
    if not isinstance(module, str) or not isinstance(name, str):
        return False
    walk.imported(Named("numpy" if re.fullmatch(r"numpy\._?core\.\w+", module) else module, name))
    return True


def _constructor(walk: _Judge, maker: Any, constructor: Any, *_: Any) -> bool:
    """NumPy's random numbers: the second is called with the first, so both must be of NumPy's own."""
    return all(
        it is None or isinstance(it, str | Made) or (isinstance(it, Named) and it.module.startswith("numpy.random."))
        for it in (maker, constructor)
    )


_BY_ARGUMENTS: dict[str, Callable[..., bool]] = {
    "functools.partial": _partial,
    "builtins.getattr": _getattr,
    "numpy.core._ufunc_reconstruct": _ufunc,
    "numpy._core._ufunc_reconstruct": _ufunc,
    "copyreg._reconstructor": lambda walk, made, base, *_: str(base) in _BASES,
    "torch._tensor._rebuild_from_type_v2": lambda walk, made, *_: str(made).startswith("torch._utils._rebuild_"),
    "builtins.type": lambda walk, *arguments: arguments[1] is None,
    "_codecs.encode": lambda walk, text, encoding, *_: encoding in (None, "latin1", "latin-1"),
    "numpy.random._pickle.__bit_generator_ctor": _constructor,
    "numpy.random._pickle.__generator_ctor": _constructor,
    "numpy.random._pickle.__randomstate_ctor": _constructor,
}
"""What is harmless with some arguments alone: given the walk and the first three, None where there are fewer."""


# --- where pickles are ---------------------------------------------------------------------------------------------


def _file(opened: Callable[[], io.BufferedReader], found: _Found) -> None:
    """A file that is a pickle, or several."""
    if _pickles(opened(), found, arrays=True):
        # joblib steps over its arrays, but `pickle.load` would take these for opcodes.
        _suspect(opened(), found, arrays=None)


def _pickles(
    file: io.BufferedReader, found: _Found, arrays: bool | None = False, torch: bool = False, count: int = 0,
    behind: bool = True,
) -> bool:  # fmt: skip
    """`count` pickles that stand behind each other, all up to the end where it is 0; `behind`: and names behind those.

    Returns:
        Whether what stands between them as joblib's arrays could be read as opcodes, too.
    """
    ambiguous = False
    while True:
        walk = _Judge(file, found, arrays, torch)
        found.pickles += 1
        try:
            walk.load()
        except Damaged:
            found.unread = True
            if behind:
                _behind(file, found)
            return ambiguous | walk.readable_as_opcodes
        ambiguous |= walk.readable_as_opcodes
        if walk.result == TORCH_MAGIC and not count:
            arrays, torch, count = False, True, 5
        count -= 1
        if count == 0 or not _more(file, found):
            return ambiguous


def _more(file: io.BufferedReader, found: _Found) -> bool:
    """Whether anything but padding follows."""
    try:
        while rest := file.peek(1):
            found.budget.step(1)
            kept = rest.lstrip(b"\0 \t\r\n")
            file.read(len(rest) - len(kept))
            if kept:
                return True
    except OSError:
        found.unread = True
    return False


def _suspect(file: io.BufferedReader, found: _Found, arrays: bool | None = False) -> None:
    """What may be a pickle: an array, bytes, a member of an archive. Only what is dangerous in it counts."""
    with suppress(OSError):
        _pickles(file, found.suspect(), arrays, behind=False)


_NAMES = re.compile(
    rb"[ci]([A-Za-z_][\w.]{0,99})\n([A-Za-z_][\w.]{0,99})\n"
    rb"|\x8c[\x01-\x63]([A-Za-z_][\w.]{0,98})\x94?\x8c[\x01-\x63]([A-Za-z_][\w.]{0,98})\x94?\x93"
)


def _behind(file: io.BufferedReader, found: _Found) -> None:
    """Names behind a damaged place: another unpickler may get over it."""
    try:
        data = file.read(_BEHIND)
    except OSError:
        return
    for match in _NAMES.finditer(data):
        found.budget.step(1)
        module, name = (part.decode("latin-1") for part in match.groups() if part is not None)
        found.suspect().imported(module, name)


def _npy(file: io.BufferedReader, found: _Found) -> None:
    """An ``.npy`` file: a pickle behind its header where it is an array of objects."""
    version = file.read(8)[6:7]
    size = int.from_bytes(file.read(2 if version == b"\1" else 4), "little")
    header = file.read(min(size, 1 << 16))
    try:
        described = ast.literal_eval(header.decode("latin-1").strip())["descr"]
        from numpy.lib.format import descr_to_dtype

        objects = descr_to_dtype(described).hasobject
    except Exception:  # hostile bytes raise anything: NumPy will not read it either
        found.unread = True
        return
    if objects:
        _pickles(file, found, count=1)


def _archive(buffer: Buffer, start: int, stop: int, found: _Found, detail: str) -> None:
    """The pickles in a zip archive, by content, whatever the members are called."""
    found.script |= "TorchScript" in detail
    for member in members(buffer, start, stop, found.budget):
        try:
            _member(buffer, member, found, detail)
        except (Damaged, OSError):
            found.unread |= member.listed and detail != ""  # an archive of anything may be packed in any way


def _member(buffer: Buffer, member: Member, found: _Found, detail: str) -> None:
    file = member.opened(buffer, found.budget)
    head = file.peek(16)[:16]
    if head.startswith(b"\x93NUMPY"):
        _npy(file, found)
    elif head.startswith(b"PK\x03\x04"):
        if found.depth >= _NESTED:
            raise Damaged
        found.depth += 1
        if file.seekable():
            _archive(buffer, member.start, member.stop, found, detail)
        else:
            inside = file.read(_BEHIND)
            found.unread |= len(inside) == _BEHIND
            _archive(inside, 0, len(inside), found, detail)
        found.depth -= 1
    elif member.listed and member.name.endswith((".pkl", ".pickle")):
        _pickles(file, found, torch=True)
    elif found.script and member.name.endswith(".py"):
        for operator in sorted(set(_FILE_OPERATORS.findall(file.read(_BEHIND)))):
            found.act(f"the operator {operator.decode()}")
    elif head[:1] in OPENINGS:
        _suspect(file, found)


_FILE_OPERATORS = re.compile(rb"\b(?:torch|ops\.aten)\.(?:from_file|save|load)(?=\()")
"""What TorchScript, which is no Python, can do with files."""
