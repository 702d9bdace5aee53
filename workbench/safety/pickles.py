"""Pickles."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import math
import pickle
import re
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import Scan
from .subject import Subject

_ORDINARY = re.compile(
    r"numpy\.(?:dtype|ndarray|matrix|bool_?|float\d+|u?int\d+|int_|str_|object_|ma\.(?:core\.)?MaskedArray)$"
    r"|numpy\.(?:_?core)\.(?:multiarray\.(?:_reconstruct|scalar)|numeric\._frombuffer)$"
    r"|numpy\.random\._pickle\.\w+$|numpy\.random\.(?:_mt19937|_pcg64|_philox|_sfc64|bit_generator)\.\w+$"
    r"|numpy\.(?:log|exp|log1p|expm1|sqrt|abs|absolute|square|mean|median|std|sum)$|numpy\.ma\.core\._mareconstruct$"
    r"|(?:sklearn|scipy|pandas|xgboost|lightgbm|imblearn|skl2onnx)\.(?:\w+\.)*_?[A-Z]\w*$"
    # Functions that scikit-learn's and SciPy's own pickles name.
    r"|sklearn\.(?:_loss\.\w+\.\w+|tree\._tree\.\w+|neighbors\._\w+\.newObj|utils\._bunch\.Bunch)$"
    r"|sklearn\.metrics\.\w+\.\w+$|sklearn\.feature_selection\._\w+\.\w+$|sklearn\.gaussian_process\.kernels\.\w+$"
    r"|scipy\.(?:sparse\._?\w+\.\w+|interpolate\._\w+\.\w+|special\._\w+\.\w+)$|pandas\._libs\.\w+(?:\.\w+)*$"
    r"|pandas\.core\.(?:indexes|internals)\.\w+\.\w+$"
    r"|joblib\.numpy_pickle\.NumpyArrayWrapper$|joblib\.numpy_pickle_compat\.\w+Wrapper$"
    r"|collections\.(?:OrderedDict|defaultdict|deque|Counter)$|_codecs\.encode$|copy_?reg\._reconstructor$"
    r"|(?:builtins|__builtin__)\.(?:object|set|frozenset|list|dict|tuple|int|float|complex|bool|str|bytes|bytearray"
    r"|slice|range|long|unicode|NoneType|type)$"
    r"|datetime\.\w+$|decimal\.Decimal$|fractions\.Fraction$|uuid\.UUID$|types\.SimpleNamespace$"
)
"""Imports that models of scikit-learn and its relatives have, beside what picklescan itself calls innocuous."""


def scan(subject: Subject) -> Scan:
    """The imports of a pickle that a model does not need."""
    shown, format_name = subject.shown, subject.format.name
    if not subject.thorough or format_name.startswith("NumPy"):
        return Scan(shown, format_name, not format_name.startswith("NumPy"))
    streams = _torch_parts(subject.path) if format_name == "PyTorch" else _whole(subject.path)
    return _judged(streams, shown, format_name)


def _judged(streams: list[bytes], shown: str, format_name: str) -> Scan:
    from importlib.metadata import version

    from picklescan.scanner import SafetyLevel, scan_pickle_bytes

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)  # the `Scan` says what it found
    dangerous: dict[str, None] = {}
    unusual: dict[str, None] = {}
    complete = bool(streams)
    for stream in streams:
        clean, names, whole = _disarmed(stream)
        complete &= whole
        # The names as the unpickler's own machine comes upon them. And the stream as picklescan reads it, for what
        # lies behind a damaged place; where nothing is damaged, a name it could only guess at is not news.
        named = b"".join(b"c%s\n%s\n" % (m.encode(), n.encode()) for m, n in names if "\n" not in m + n) + b"."
        for data, guessed in ((clean, whole), (named, False)):
            for found in scan_pickle_bytes(io.BytesIO(data), shown).globals:
                name = f"{found.module}.{found.name}"
                if found.safety is SafetyLevel.Dangerous and not (guessed and "unknown" in name):
                    dangerous[name] = None
                elif found.safety is SafetyLevel.Suspicious and not guessed and not _ORDINARY.match(name):
                    unusual[name] = None
    return Scan(
        shown, format_name, True, tuple(sorted(dangerous)), tuple(sorted(unusual)), complete,
        f"picklescan {version('picklescan')}",
    )  # fmt: skip


def _whole(path: Path) -> list[bytes]:
    """A pickle or joblib file, unpacked where joblib compressed it. A damaged end leaves what came before."""
    data = path.read_bytes()
    for magic, opener in _PACKED:
        if data.startswith(magic):
            return [_unpacked(opener(io.BytesIO(data)))]
    return [data]


_PACKED: tuple[tuple[bytes, Callable[[io.BytesIO], Any]], ...] = (
    (b"\x1f\x8b", lambda raw: gzip.GzipFile(fileobj=raw)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
    (b"\x5d\0\0", lzma.LZMAFile),
    (b"\x78", lambda raw: io.BytesIO(zlib.decompressobj().decompress(raw.read()))),
)


def _unpacked(file: Any) -> bytes:
    out = io.BytesIO()
    with suppress(EOFError, OSError, zlib.error, lzma.LZMAError), file:
        while part := file.read(1 << 20):
            out.write(part)
    return out.getvalue()


def _torch_parts(path: Path) -> list[bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [archive.read(name) for name in archive.namelist() if name.endswith(".pkl")]
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, zlib.error):
        return [path.read_bytes()]


def _disarmed(data: bytes) -> tuple[bytes, list[tuple[str, str]], bool]:
    """Follow a pickle without importing, calling or building anything.

    Returns:
        (the stream with joblib's raw arrays cut out, the (module, name) pairs it imports, did it go to its end).
    """
    stream = io.BytesIO(data)
    reader = _InertUnpickler(stream)
    whole = True
    try:
        reader.load()
    except Exception:  # hostile bytes raise anything
        whole = False
    clean, start = io.BytesIO(), 0
    for cut_from, cut_to in reader.arrays:
        clean.write(data[start:cut_from])
        start = cut_to
    clean.write(data[start:])
    return clean.getvalue(), list(reader.imports), whole


class _Inert:
    """Stands for anything a pickle would import or build."""

    def __init__(self, name: str = "", arguments: Any = ()) -> None:
        self.name, self.arguments, self.state = name, arguments, None


_Unpickler: Any = pickle._Unpickler


class _InertUnpickler(_Unpickler):
    """Python's unpickler with every opcode that imports, calls or sets state replaced by note-taking.

    Attributes:
        imports: (module, name) pairs in order of appearance.
        arrays: (start, end) offsets of joblib's raw arrays, which stand between opcodes.
    """

    dispatch: dict[int, Any] = _Unpickler.dispatch.copy()

    def __init__(self, file: io.BytesIO, imports: dict[tuple[str, str], None] | None = None) -> None:
        super().__init__(file)
        self.file = file
        self.imports: dict[tuple[str, str], None] = {} if imports is None else imports
        self.arrays: list[tuple[int, int]] = []

    def find_class(self, module: str, name: str) -> _Inert:
        self.imports[str(module), str(name)] = None
        return _Inert(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Inert:
        return _Inert("persistent", pid)

    def get_extension(self, code: int) -> None:
        self.append(self.find_class("copyreg", f"extension_{code}"))

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], arguments)

    def load_newobj_ex(self) -> None:
        _, arguments = self.stack.pop(), self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], arguments)

    def _instantiate(self, klass: Any, arguments: Any) -> None:
        self.append(self._call(klass, arguments))

    def _call(self, what: Any, arguments: Any) -> _Inert:
        return _Inert(what.name if isinstance(what, _Inert) else "", arguments)

    def load_build(self) -> None:
        state = self.stack.pop()
        built = self.stack[-1]
        if isinstance(built, _Inert):
            built.state = state
            if built.name == "joblib.numpy_pickle.NumpyArrayWrapper" and isinstance(state, dict):
                self._step_over_array(state)

    def load_append(self) -> None:
        value = self.stack.pop()
        if isinstance(self.stack[-1], list):
            self.stack[-1].append(value)

    def load_appends(self) -> None:
        items = self.pop_mark()
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def load_additems(self) -> None:
        self.pop_mark()

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(key, value)

    def load_setitems(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=False):
            self._set(key, value)

    def _set(self, key: Any, value: Any) -> None:
        if isinstance(self.stack[-1], dict) and isinstance(key, str | int | bytes):
            self.stack[-1][key] = value

    def load_frozenset(self) -> None:
        self.append(self.pop_mark())

    def _step_over_array(self, state: dict[Any, Any]) -> None:
        """As ``joblib.numpy_pickle.NumpyArrayWrapper.read_array`` reads it."""
        start = self.file.tell()
        dtype = _dtype(state["dtype"])
        if dtype.hasobject:
            inner = _InertUnpickler(self.file, self.imports)
            inner.load()
            self.arrays += inner.arrays
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            self.file.seek(self.file.read(1)[0], io.SEEK_CUR)
        self.file.seek(math.prod(int(size) for size in state["shape"]) * dtype.itemsize, io.SEEK_CUR)
        self.arrays.append((start, self.file.tell()))

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.APPEND[0]] = load_append
    dispatch[pickle.APPENDS[0]] = load_appends
    dispatch[pickle.ADDITEMS[0]] = load_additems
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.FROZENSET[0]] = load_frozenset
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.NEWOBJ[0]] = load_reduce


def _dtype(noted: Any) -> Any:
    """The numpy.dtype that a pickle's (arguments, state) of one describe."""
    import numpy as np

    (code, *_), state = noted.arguments, noted.state
    # State: version, byte order, subarray, names, fields, itemsize, alignment, flags, metadata.
    if isinstance(state, tuple) and len(state) >= 7 and state[3] is not None:
        names, fields = state[3], state[4]
        kinds = [_dtype(fields[name][0]) for name in names]
        if any(kind.hasobject for kind in kinds):
            return np.dtype(object)
        return np.dtype((np.void, int(state[5])))
    if isinstance(state, tuple) and len(state) >= 3 and state[2] is not None:
        return np.dtype((_dtype(state[2][0]), state[2][1]))
    return np.dtype(code)
