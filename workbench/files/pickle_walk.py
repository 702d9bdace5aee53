"""A pickle, followed opcode by opcode: what it would import, call and build, without doing any of it.

The machine is that of Python's own unpickler (``pickle._Unpickler``, which joblib's is made of), with notes in place
of objects. Nothing large is held: long strings, lists and arrays are stepped over, so that a pickle of gigabytes needs
no more than its own references do. Whoever wants to know more than names overrides `Walk.called` and its neighbours.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_NAME = 300
"""Characters of a string that is kept; a longer one is no name."""

MAX_ITEMS = 64
"""Items kept of one tuple or dictionary: the arguments of calls and the fields of array types."""

MAX_KEPT = 4_000_000
"""Values on the stack and in the memo together."""

BLOCK = 1 << 16

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""What PyTorch's files held before they were archives: a pickle of this number, and four more behind it."""


class Damaged(Exception):
    """The pickle cannot be followed further: it ends, or no unpickler would take it."""


class BudgetSpent(Exception):
    """What was granted for the reading is used up."""


@dataclass
class Budget:
    """What reading may cost, shared by all that is read of one file; raises `BudgetSpent`.

    Attributes:
        steps: opcodes that may be followed; unpacked: bytes that may come out of decompression.
    """

    steps: int
    unpacked: int

    def step(self, count: int) -> None:
        self.steps -= count
        if self.steps < 0:
            raise BudgetSpent

    def unpack(self, size: int) -> None:
        self.unpacked -= size
        if self.unpacked < 0:
            raise BudgetSpent


class Named:
    """Something imported."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Made:
    """What a call gives, or a new object of a class.

    Attributes:
        maker: what was called; `Named`, unless somebody means to mislead.
        arguments: what it was given, a tuple where that is short.
        state: what BUILD set, None before.
    """

    __slots__ = ("arguments", "maker", "state")

    def __init__(self, maker: Any, arguments: Any) -> None:
        self.maker, self.arguments, self.state = maker, arguments, None


class Sort:
    """A value of which only the sort matters: a long text, a list, a number."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


TEXT, BYTES, LIST, SET, NUMBER, LONG_TUPLE = map(Sort, ("text", "bytes", "list", "set", "number", "tuple"))
MORE = "\0more"
"""Key in a dictionary of which not all items were kept."""

_WRAPPERS = ("joblib.numpy_pickle.NumpyArrayWrapper", "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper")
_PYTHON_2 = "latin-1"
"""How strings of Python 2 are read: whoever loads them must say, and every byte means something this way."""


class Walk:
    """One pickle, or several that stand behind each other.

    Args:
        file: where it begins; read with `read` and `readline`, stepped over with `seek` where that can be done.
        budget: what the reading may cost.
        arrays: step over the raw arrays that joblib puts between opcodes. Python's own unpickler would read their
            bytes as opcodes; so is done where it is False, up to the first array of objects where it is None.

    Attributes:
        result: what the last pickle stands for.
    """

    def __init__(self, file: io.BufferedReader, budget: Budget, arrays: bool | None = False) -> None:
        self.file, self.budget, self.arrays = file, budget, arrays
        self._seekable = file.seekable()
        self.result: Any = None

    # --- for whoever wants to know --------------------------------------------------------------------------------

    def imported(self, what: Named) -> None:
        """A class or function was imported."""

    def called(self, what: Any, arguments: Any) -> None:
        """Something was called; `what` is `Named`, unless the pickle was made to mislead."""

    def made(self, what: Any) -> None:
        """A new object of a class was made without calling its ``__init__``."""

    def filled(self, what: Any, state: Any) -> None:
        """State was set (BUILD), or items were added: then `state` is None."""

    def text(self, text: str) -> None:
        """A short text."""

    def blob(self, size: int) -> None:
        """`size` bytes come, as a value; whatever is read of them here with `peek` is read again."""

    def computed(self) -> None:
        """A name was not written down, but comes out of another call."""

    def numbered(self, code: int) -> None:
        """An import by a number of ``copyreg``'s registry."""

    def referred(self, identity: Any) -> None:
        """An object was referred to that the pickle does not hold (PERSID)."""

    def array(self, first: bytes) -> None:
        """A raw array comes, with this first byte."""

    # --- the machine ----------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Follow one pickle up to its STOP.

        Raises:
            Damaged: it has none, or nobody could follow it.
            BudgetSpent: see `Budget`.
        """
        self._memo: dict[int, Any] = {}
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._protocol = 0
        self._frame_end = 0
        read, budget, table = self.file.read, self.budget, _TABLE
        try:
            while True:
                budget.steps -= 1
                if budget.steps < 0:
                    raise BudgetSpent
                opcode = read(1)
                if opcode == b".":
                    self.result = self._stack.pop()
                    return
                table[opcode](self)
        except (KeyError, IndexError, ValueError, TypeError, OverflowError, EOFError, OSError, struct.error) as error:
            raise Damaged(str(error)) from None

    def _take(self, size: int) -> bytes:
        if size < 0:
            raise Damaged
        data = self.file.read(size)
        if len(data) != size:
            raise EOFError
        return data

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def _line(self) -> bytes | None:
        """A line without its end, as Python's unpickler takes it, which drops the file's last letter, too; None where
        it is long."""
        line = self.file.readline(BLOCK)
        if line.endswith(b"\n") or len(line) < BLOCK:
            return line[:-1]
        while len(line) == BLOCK and not line.endswith(b"\n"):
            line = self.file.readline(BLOCK)
        return None

    def skip(self, size: int) -> None:
        """Step over bytes, a block at a time where they must be unpacked."""
        if size < 0:
            raise Damaged
        if size > BLOCK and self._seekable:
            self.file.seek(size, io.SEEK_CUR)
            return
        while size > 0:
            part = self.file.read(min(size, BLOCK))
            if not part:
                raise EOFError
            size -= len(part)

    def _push(self, value: Any) -> None:
        self._stack.append(value)
        if len(self._stack) + len(self._memo) > MAX_KEPT:
            raise BudgetSpent

    def _to_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _stack_below(self) -> None:
        self._to_mark()

    # Imports.

    def _import(self, module: Any, name: Any) -> Named:
        if not (isinstance(module, str) and isinstance(name, str)):
            if isinstance(module, Made) or isinstance(name, Made):
                self.computed()
            elif module is not TEXT and name is not TEXT:
                raise Damaged  # no unpickler takes anything but a text
            module, name = (part if isinstance(part, str) else "…" for part in (module, name))
        elif self._protocol < 3:
            if (module, name) in NAME_MAPPING:
                module, name = NAME_MAPPING[module, name]
            else:
                module = IMPORT_MAPPING.get(module, module)
        what = Named(module, name)
        self.imported(what)
        return what

    def _two_lines(self) -> Named:
        lines = self._line(), self._line()
        return self._import(*(TEXT if line is None or len(line) > MAX_NAME else line.decode() for line in lines))

    def _global(self) -> None:
        self._push(self._two_lines())

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._push(self._import(module, name))

    def _inst(self) -> None:
        what = self._two_lines()
        self._push(self._instance(what, self._to_mark()))

    def _obj(self) -> None:
        what, *arguments = self._to_mark()
        self._push(self._instance(what, arguments))

    def _instance(self, what: Any, arguments: list[Any]) -> Made:
        return self._new(what, tuple(arguments) if len(arguments) <= MAX_ITEMS else LONG_TUPLE)

    # Calls.

    def _reduce(self) -> None:
        arguments, what = self._stack.pop(), self._stack.pop()
        self.called(what, arguments)
        maker = str(what) if isinstance(what, Named) and isinstance(arguments, tuple) and arguments else ""
        if maker == "copyreg._reconstructor":
            self._push(self._new(arguments[0]))
        elif maker == "copyreg.__newobj__":
            self._push(self._new(arguments[0], arguments[1:]))
        else:
            self._push(Made(what, arguments))

    def _new(self, what: Any, arguments: Any = ()) -> Made:
        if arguments == ():
            self.made(what)
        else:
            self.called(what, arguments)
        return Made(what, arguments)

    def _newobj(self) -> None:
        arguments, what = self._stack.pop(), self._stack.pop()
        self._push(self._new(what, arguments))

    def _newobj_ex(self) -> None:
        named, arguments, what = self._stack.pop(), self._stack.pop(), self._stack.pop()
        self._push(self._new(what, arguments if named == {} else (arguments, named)))

    def _build(self) -> None:
        state, what = self._stack.pop(), self._stack[-1]
        self.filled(what, state)
        if not isinstance(what, Made):
            return
        if isinstance(state, tuple) and len(state) == 2:
            state = {
                key: value for part in state if isinstance(part, dict) for key, value in part.items()
            } or state  # as the unpickler does: what goes into the dictionary, and what into slots
        if isinstance(what.state, dict) and isinstance(state, dict):
            state = {**what.state, **state}
        what.state = state
        if self.arrays is not False and isinstance(what.maker, Named) and str(what.maker) in _WRAPPERS:
            self._array(what)

    # Containers.

    def _tuple(self, items: list[Any]) -> None:
        self._push(tuple(items) if len(items) <= MAX_ITEMS else LONG_TUPLE)

    def _dict(self) -> None:
        items = self._to_mark()
        self._push({})
        self._set(items)

    def _add(self, items: int) -> None:
        """Items go into a list, a set, or what a call gave, which may do with them as it likes."""
        into = self._stack[-1]
        if isinstance(into, Made | Named):
            if items:
                self.filled(into, None)
        elif into is not LIST and into is not SET:
            raise Damaged

    def _append(self) -> None:
        self._stack.pop()
        self._add(1)

    def _appends(self) -> None:
        self._add(len(self._to_mark()))

    def _setitem(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def _setitems(self) -> None:
        self._set(self._to_mark())

    def _set(self, items: list[Any]) -> None:
        into = self._stack[-1]
        if not isinstance(into, dict):
            self._add(len(items))
            return
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                continue
            if len(into) < MAX_ITEMS or key in into:
                into[key] = value
            else:
                into[MORE] = True

    # Constants.

    def _text(self, text: str) -> None:
        if len(text) > MAX_NAME:
            self._push(TEXT)
            return
        if text:
            self.text(text)
        self._push(text)

    def _string(self) -> None:
        line = self._line()
        if line is None or len(line) > 4 * MAX_NAME:
            self._push(TEXT)
            return
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"\"'":
            raise Damaged
        self.budget.step(len(line) >> 2)
        self._text(_ESCAPE.sub(_unescaped, line[1:-1]).decode(_PYTHON_2))

    def _unicode(self) -> None:
        line = self._line()
        if line is None:
            self._push(TEXT)
        else:
            self._text(line.decode("raw-unicode-escape"))

    def _int(self) -> None:
        line = self._line()
        if line in (b"00", b"01"):
            self._push(line == b"01")
        else:
            self._push(_integer(line))

    def _long(self) -> None:
        line = self._line()
        self._push(_integer(line if line is None else line.removesuffix(b"L")))

    # References.

    def _put(self, index: int) -> None:
        if index < 0:
            raise Damaged
        self._memo[index] = self._stack[-1]

    def _persistent(self) -> None:
        line = self._line()
        identity = TEXT if line is None else line.decode("ascii")
        self.referred(identity)
        self._push(Made(None, (identity,)))

    def _binary_persistent(self) -> None:
        identity = self._stack.pop()
        self.referred(identity)
        self._push(Made(None, identity))

    # Flow.

    def _mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []
        if len(self._below) > MAX_KEPT:
            raise BudgetSpent

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._to_mark()

    def _proto(self) -> None:
        self._protocol = self._take(1)[0]
        if self._protocol > pickle.HIGHEST_PROTOCOL:
            raise Damaged

    def _frame(self) -> None:
        size = self._number("<Q")
        self._frame_end = self.file.tell() + size

    # Arrays.

    def _array(self, wrapper: Made) -> None:
        """As ``joblib.numpy_pickle.NumpyArrayWrapper.read_array`` reads it."""
        if self.file.tell() < self._frame_end:
            raise Damaged  # Python's unpickler holds the frame already: the array would stand behind it
        state = wrapper.state
        if not isinstance(state, dict) or MORE in state:
            raise Damaged
        shape, (item, objects) = state["shape"], _item(state["dtype"])
        if not isinstance(shape, tuple) or any(type(size) is not int or not 0 <= size < 1 << 40 for size in shape):
            raise Damaged
        if self.arrays is None:
            if objects:
                raise Damaged
        elif objects:
            self.inner().load()
        else:
            self.array(self.file.peek(1)[:1])
            if state.get("numpy_array_alignment_bytes") is not None:
                self.skip(self._take(1)[0])
            self.skip(math.prod(shape) * item)

    def inner(self) -> Walk:
        """A walk through a pickle of its own that stands inside this one: an array of objects."""
        return type(self)(self.file, self.budget)


_CODE = re.compile(r"[<>=|]?(?:([biufcmMO])(\d{1,2})|([SUV])(\d{0,9}))")
_FLAG_OBJECT = 1


def _item(noted: Any, depth: int = 0) -> tuple[int, bool]:
    """(bytes of one item, does it hold objects) of an array type, as NumPy has it after ``dtype.__setstate__``.

    The state may contradict the name: such types, and ones in no form NumPy writes, are taken as damage.
    """
    if not isinstance(noted, Made) or str(noted.maker) != "numpy.dtype" or depth > 8:
        raise Damaged
    found = _CODE.fullmatch(noted.arguments[0])
    if found is None:
        raise Damaged
    plain, size, flexible, length = found.groups()
    state = noted.state
    if plain:
        item, objects = int(size), plain == "O"
        if state is not None and (state[2:5] != (None, None, None) or state[5] not in (-1, item)):
            raise Damaged
    elif state is None:
        item, objects = int(length or 0) * (4 if flexible == "U" else 1), False
    else:
        _, _, part, names, fields, item, *_ = state
        inside = [part[0]] if part is not None else [fields[name][0] for name in names or ()]
        sizes = [_item(field, depth + 1) for field in inside]
        objects = any(held for _, held in sizes)
        if part is None and names and any(fields[n][1] + s > item for n, (s, _) in zip(names, sizes, strict=True)):
            raise Damaged
    if state is not None and bool(state[7] & _FLAG_OBJECT) != objects:
        raise Damaged
    if type(item) is not int or item <= 0:
        raise Damaged
    return item, objects


_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))", re.S)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


def _unescaped(found: re.Match[bytes]) -> bytes:
    """A backslash and what follows it, as ``codecs.escape_decode`` reads it, which also warns."""
    hexadecimal, octal, letter = found.groups()
    if letter is not None:
        return _LETTERS.get(letter, letter)
    return bytes([int(hexadecimal, 16) if hexadecimal else int(octal, 8) & 255])


def _integer(line: bytes | None) -> Any:
    return NUMBER if line is None or len(line) > 40 else int(line, 0)


def _extension(form: str) -> Callable[[Walk], None]:
    def load(walk: Walk) -> None:
        code = walk._number(form)
        walk.numbered(code)
        walk._push(Made(None, (code,)))

    return load


def _tuple_of(count: int) -> Callable[[Walk], None]:
    def load(walk: Walk) -> None:
        if len(walk._stack) < count:
            raise Damaged
        items = walk._stack[-count:]
        del walk._stack[-count:]
        walk._push(tuple(items))

    return load


def _held(form: str, most: int, sort: Sort, keep: Callable[[Walk, bytes], None]) -> Callable[[Walk], None]:
    """What has its length before it: kept where it is short, else stepped over."""

    def load(walk: Walk) -> None:
        size = walk._number(form)
        if sort is BYTES:
            walk.blob(size)
        if size > most:
            walk.skip(size)
            walk._push(sort)
        else:
            keep(walk, walk._take(size))

    return load


def _sized(form: str, encoding: str) -> Callable[[Walk], None]:
    return _held(form, 4 * MAX_NAME, TEXT, lambda walk, data: walk._text(data.decode(encoding, "surrogatepass")))


def _bytes(form: str) -> Callable[[Walk], None]:
    return _held(form, 4 * MAX_NAME, BYTES, Walk._push)


def _long_of(form: str) -> Callable[[Walk], None]:
    return _held(form, 16, NUMBER, lambda walk, data: walk._push(pickle.decode_long(data)))


def _constant(value: Any) -> Callable[[Walk], None]:
    return lambda walk: walk._push(value)


def _skipped(size: int) -> Callable[[Walk], None]:
    def load(walk: Walk) -> None:
        walk._take(size)
        walk._push(NUMBER)

    return load


def _refuse(_: Walk) -> None:
    raise Damaged  # out-of-band buffers, which nobody hands in


_TABLE: dict[bytes, Callable[[Walk], None]] = {
    b"(": Walk._mark, b"0": Walk._pop, b"1": lambda w: w._stack_below(), b"2": lambda w: w._push(w._stack[-1]),
    b"F": lambda w: w._push((w._line(), NUMBER)[1]), b"I": Walk._int, b"J": lambda w: w._push(w._number("<i")),
    b"K": lambda w: w._push(w._take(1)[0]), b"M": lambda w: w._push(w._number("<H")), b"L": Walk._long,
    b"N": _constant(None), b"\x88": _constant(True), b"\x89": _constant(False), b"G": _skipped(8),
    b"\x8a": _long_of("<B"), b"\x8b": _long_of("<i"),
    b"S": Walk._string, b"V": Walk._unicode, b"T": _sized("<i", _PYTHON_2), b"U": _sized("<B", _PYTHON_2),
    b"X": _sized("<I", "utf-8"), b"\x8c": _sized("<B", "utf-8"), b"\x8d": _sized("<Q", "utf-8"),
    b"B": _bytes("<I"), b"C": _bytes("<B"), b"\x8e": _bytes("<Q"), b"\x96": _bytes("<Q"),
    b"\x97": _refuse, b"\x98": _refuse,
    b"]": _constant(LIST), b"l": lambda w: w._push((w._to_mark(), LIST)[1]), b"\x8f": _constant(SET),
    b"\x91": lambda w: w._push((w._to_mark(), SET)[1]), b")": _constant(()), b"t": lambda w: w._tuple(w._to_mark()),
    b"\x85": _tuple_of(1), b"\x86": _tuple_of(2), b"\x87": _tuple_of(3),
    b"}": lambda w: w._push({}), b"d": Walk._dict, b"a": Walk._append, b"e": Walk._appends, b"\x90": Walk._appends,
    b"s": Walk._setitem, b"u": Walk._setitems,
    b"p": lambda w: w._put(int(w._line() or b"")), b"q": lambda w: w._put(w._take(1)[0]),
    b"r": lambda w: w._put(w._number("<I")), b"\x94": lambda w: w._put(len(w._memo)),
    b"g": lambda w: w._push(w._memo[int(w._line() or b"")]), b"h": lambda w: w._push(w._memo[w._take(1)[0]]),
    b"j": lambda w: w._push(w._memo[w._number("<I")]),
    b"c": Walk._global, b"\x93": Walk._stack_global, b"i": Walk._inst, b"o": Walk._obj,
    b"\x82": _extension("<B"), b"\x83": _extension("<H"), b"\x84": _extension("<i"),
    b"P": Walk._persistent, b"Q": Walk._binary_persistent,
    b"R": Walk._reduce, b"b": Walk._build, b"\x81": Walk._newobj, b"\x92": Walk._newobj_ex,
    b"\x80": Walk._proto, b"\x95": Walk._frame,
}  # fmt: skip

OPCODES = frozenset(_TABLE)

_NEED_MORE = b"012.aesutbRo\x81\x92\x93\x85\x86\x87\x90\x91pqr\x94"
OPENINGS = OPCODES - frozenset(bytes([code]) for code in _NEED_MORE)
"""Opcodes that can come first, with nothing on the stack."""
