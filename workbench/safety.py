"""What a model file would do when it is opened: found out by reading it, never by opening it.

Pickles are judged by picklescan's list of dangerous imports. picklescan alone stops at the first raw array of a
joblib file and sees nothing of a compressed one, so a payload behind the weights would pass; `_disarmed` unpacks such
files and takes the arrays out first. (fickling, the other maintained scanner, gives up on joblib files too, and calls
every scikit-learn model unsafe.)
"""

from __future__ import annotations

import builtins
import bz2
import gzip
import hashlib
import io
import json
import logging
import lzma
import math
import os
import pickle
import re
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .card import escape
from .errors import NeedsTrust, UnreadableFile, WorkbenchError
from .formats import Format, identify
from .wire import LEN, Span, Wire, opened

MOST_SHOWN = 6
"""Names in a sentence; `Scan` holds all."""


@dataclass(frozen=True)
class Scan:
    """What was found in a model file without opening it. Names come from the file: escape them.

    Attributes:
        path, format: which file, and what `workbench.formats` calls it.
        runs_code: opening the file, or running the model in it, can run code that the file brings or names.
        dangerous: imports, operators or layers made for doing something other than holding a model.
        unusual: the ones that are not known to do harm, and that a model of this sort seldom has.
        complete: the file was read to its end; if not, it is damaged or made to mislead.
        scanner: who judged, with its version.
    """

    path: str
    format: str
    runs_code: bool
    dangerous: tuple[str, ...] = ()
    unusual: tuple[str, ...] = ()
    complete: bool = True
    scanner: str = "workbench"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "dangerous": list(self.dangerous), "unusual": list(self.unusual), "says": self.says}

    @property
    def says(self) -> str:
        """What was found, in one sentence."""
        if not self.runs_code:
            return "Opening it runs no code from the file."
        if self.dangerous:
            return f"It holds {_listed(self.dangerous)}, which can harm this machine."
        if not self.complete:
            return "It could not be read to its end, as happens with damaged files and ones made to mislead."
        if self.unusual:
            return f"Nothing known to be dangerous was found, but it holds {_listed(self.unusual)}."
        return "Nothing suspicious was found in it, but its format can run code all the same."

    def _repr_html_(self) -> str:
        read = "to its end" if self.complete else "not to its end: it is damaged, or made to mislead"
        rows = [
            ("dangerous", _items(self.dangerous)),
            ("unusual", _items(self.unusual)),
            ("read", read),
            ("looked through by", escape(self.scanner)),
        ]
        body = "".join(f"<tr><th scope='row'>{name}</th><td>{shown}</td></tr>" for name, shown in rows)
        caption = (
            f"What a scan found in {escape(os.path.basename(self.path))} ({escape(self.format)}), without opening it"
        )
        return f"{_STYLE}<table class='wb-scan'><caption>{caption}</caption><tbody>{body}</tbody></table>"

    @property
    def refusal(self) -> str:
        """Why it is not opened without trust."""
        return (
            f"{self.path} ({self.format}) can run code when it is opened. {self.says} If you know where it comes "
            "from, say so with trust=True (--trust)."
        )


def scan(path: str | os.PathLike[str], name: str | None = None, known: tuple[str, ...] = ()) -> Scan:
    """Read a model file or folder for what it would do.

    Hostile files may take long or much memory to read, so callers run this in a worker process.

    Args:
        path: the file or folder.
        name: what to call it in sentences; the path itself if None.
        known: class names of Keras layers that the caller brings along, so that the file need not import them.

    Raises:
        UnreadableFile: nothing there, or no permission.
    """
    path = Path(path)
    found = identify(path)
    shown = name or str(path)
    with_pickles: dict[str, Callable[[Path], list[bytes]]] = {
        "pickle": _whole, "joblib": _whole, "PyTorch": _torch_parts,
    }  # fmt: skip
    if found.name in with_pickles:
        return _scan_pickles(with_pickles[found.name](path), shown, found.name)
    if found.name in ("Keras v3", "Keras HDF5"):
        return _scan_keras(path, shown, found.name, known)
    if found.name == "skops":
        return _scan_skops(path, shown)
    if found.name == "SavedModel":
        # Restores objects, and what runs its graph does what its operators say. Its weights are saved by operators.
        bad = _reaching_out(op for op in found.markers if op not in _SAVES_WEIGHTS)
        return Scan(shown, found.name, True, bad, complete=bool(found.markers))
    if found.name == "GraphDef":
        bad = _reaching_out(_graph_def_ops(path))
        return Scan(shown, found.name, bool(bad), bad)
    return Scan(shown, found.name, found.runs_code)


_STYLE = """<style>
.wb-scan{border-collapse:collapse;font:13px/1.5 system-ui,sans-serif;color:inherit;margin:.3rem 0 .6rem;
  min-width:min(100%,30rem)}
.wb-scan caption{text-align:left;caption-side:top;color:inherit;padding:0 0 .2rem}
.wb-scan th,.wb-scan td{text-align:left!important;padding:.2rem 1rem .2rem 0;vertical-align:top;white-space:normal;
  border-bottom:1px solid rgba(128,128,128,.25);overflow-wrap:anywhere}
.wb-scan th{font-weight:600;white-space:nowrap}
.wb-scan tr{background:none!important}
.wb-scan ul{margin:0;padding-left:1.1rem}
</style>"""

MOST_ITEMS = 50
"""Names in a table; a hostile file may hold thousands."""


def _items(names: tuple[str, ...]) -> str:
    if not names:
        return "nothing"
    more = f"<li>and {len(names) - MOST_ITEMS:,} more</li>" if len(names) > MOST_ITEMS else ""
    return f"<ul>{''.join(f'<li>{escape(name)}</li>' for name in names[:MOST_ITEMS])}{more}</ul>"


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(_printable(name) for name in names[:MOST_SHOWN])
    return shown + (f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else "")


def _printable(name: str) -> str:
    return "".join(char if char.isprintable() else "·" for char in name[:80])


# --- before a file is opened -----------------------------------------------------------------------------------------

SCAN_MIB = 4000
"""Memory for a scan: pickles are unpacked."""

_BLOCK = 1 << 22


@contextmanager
def cleared(path: Path, trust: bool, known: tuple[str, ...] = ()) -> Iterator[Path]:
    """What to open in place of `path`: itself where it is trusted and its name fits its content; else a private copy,
    which nobody can change between the scan and the opening. Sentences that are raised within name `path` itself.

    Raises:
        NeedsTrust: it can run code, and is not trusted; the message says what a scan found.
    """
    if trust and path.suffix == _LOADERS_SUFFIX.get(identify(path).name, path.suffix):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="workbench-open-") as scratch:
        copy, _, size = private_copy(path, Path(scratch), None)
        copy = named_for_its_loader(copy, identify(copy))
        if not trust:
            check_trust(copy, str(path), size, known)
        try:
            yield copy
        except WorkbenchError as error:
            said = str(error).replace(str(copy), str(path)).replace(copy.name, path.name)
            error.args = (said, *error.args[1:])
            raise


def check_trust(
    copy: Path, name: str, size: int, known: tuple[str, ...] = (), cancel: threading.Event | None = None
) -> None:
    """Scan a private copy of what a person calls `name`, in a worker.

    Raises:
        NeedsTrust: opening it can run code; the message says what was found, and `NeedsTrust.scan` holds all of it.
    """
    from . import sandbox

    # Pickles are read at about 100 MB a second, unpacked at 30; what takes much longer was made to.
    seconds = 60 + size / 5e6
    found = sandbox.run(scan, copy, name, known, timeout=seconds, memory_mib=SCAN_MIB, cancel=cancel, warm=True,
                        what=f"Scanning {name}")  # fmt: skip
    if found.runs_code:
        raise NeedsTrust(found.refusal, found)


def private_copy(path: Path, scratch: Path, cancel: threading.Event | None) -> tuple[Path, str, int]:
    """Copy a file or folder, read once.

    Returns:
        (the copy, SHA-256 of what was copied, bytes). A folder's is over its files' names and digests.
    """
    from .sandbox import Cancelled

    def one(source: Path, target: Path) -> tuple[str, int]:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with source.open("rb") as read, target.open("wb") as write:
            while block := read.read(_BLOCK):
                if cancel is not None and cancel.is_set():
                    raise Cancelled("The conversion was cancelled.")
                digest.update(block)
                write.write(block)
                size += len(block)
        return digest.hexdigest(), size

    copy = scratch / "source" / (path.name or "model")
    try:
        if not path.is_dir():
            return copy, *one(path, copy)
        digest, total = hashlib.sha256(), 0
        for source in sorted(entry for entry in path.rglob("*") if entry.is_file()):
            inside = source.relative_to(path)
            part, size = one(source, copy / inside)
            digest.update(f"{inside.as_posix()}\0{part}\n".encode())
            total += size
        return copy, digest.hexdigest(), total
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror or error}.") from error


_LOADERS_SUFFIX = {"Keras v3": ".keras", "Keras HDF5": ".h5"}


def named_for_its_loader(copy: Path, found: Format) -> Path:
    """The private copy under the extension of its content. Keras goes by the extension alone: it would not open a
    file without one, and would read a file that is both an archive and HDF5 as the one that was not looked into."""
    suffix = _LOADERS_SUFFIX.get(found.name, copy.suffix)
    return copy if copy.suffix == suffix else copy.rename(copy.with_name((copy.stem[:200] or "model") + suffix))


# --- TensorFlow and scikit-learn -------------------------------------------------------------------------------------

_TENSORFLOW_REACHING_OUT = re.compile(
    r"File|Save|Restore|Checkpoint|Reader|Dataset|DataService|PyFunc|Print|^Debug|Remote|Rpc|BigQuery|Bigtable"
    r"|Summary(?:Db)?Writer|^Write\w*Summary|^ImportEvent$|VocabRemapping|LoadAndRemap|^DecodeProto|^TensorRT|^TRT"
)
"""TensorFlow operators that read or write files, call Python, or speak to other machines."""

_SAVES_WEIGHTS = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"})


def _reaching_out(ops: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"the operator {op}" for op in ops if _TENSORFLOW_REACHING_OUT.search(op)))


def _graph_def_ops(path: Path) -> Iterator[str]:
    """NodeDef.op of every node, of functions too. What a hostile node says twice counts twice: protobuf takes the
    last, other readers the first."""
    with opened(path) as buffer:
        wire = Wire(buffer)
        # GraphDef: node = 1, library = 2; FunctionDefLibrary: function = 1; FunctionDef: node_def = 3; NodeDef: op = 2.
        for place in ((1, 2), (2, 1, 3, 2)):
            for span in _fields(wire, wire.span, place):
                yield wire.text(span, 200)


def _fields(wire: Wire, span: Span, place: tuple[int, ...]) -> Iterator[Span]:
    for number, kind, _, inner in wire.fields(span):
        if (number, kind) == (place[0], LEN):
            if len(place) == 1:
                yield inner
            else:
                yield from _fields(wire, inner, place[1:])


SKOPS_PARTS = re.compile(
    r"sklearn\.(?!externals\.)(?:\w+\.)*_?[A-Z]\w*$|sklearn\.feature_selection\._\w+\.\w+$|numpy\.dtype$"
    r"|sklearn\.cluster\._kmeans\.\w+$|scipy\.sparse\._\w+\.\w+_(?:matrix|array)$|numpy\.(?:mean|median|max|min)$"
    r"|scipy\._lib\.array_api_compat\.numpy\._aliases\.asarray$|scipy\.interpolate\._bsplines\.BSpline$"
    r"|scipy\.interpolate\._interpolate\.(?:interp1d|PPoly)$"
    r"|numpy\.random\.(?:mtrand\.RandomState|_generator\.Generator|_(?:mt19937|pcg64|philox|sfc64)\.[A-Z]\w*)$"
)
"""Parts of fitted estimators that skops does not know by itself and that run nothing when they are put together.
SciPy's distributions do not belong here: their ``__setstate__`` executes a text they bring along."""


def _scan_skops(path: Path, shown: str) -> Scan:
    try:
        from skops.io import get_untrusted_types

        unknown = get_untrusted_types(file=path)
    except Exception:  # no skops, or hostile bytes: opening it will end the same way
        return Scan(shown, "skops", False, complete=False)
    unusual = tuple(name for name in unknown if not SKOPS_PARTS.match(name))
    return Scan(shown, "skops", bool(unusual), unusual=unusual, scanner="skops")


# --- pickles -----------------------------------------------------------------------------------------------------

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


def _scan_pickles(streams: list[bytes], shown: str, format_name: str) -> Scan:
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


# --- Keras -------------------------------------------------------------------------------------------------------

_KERAS_CODE = {
    "Lambda": "with Python code of its own",
    "TorchModuleWrapper": "with a pickle of PyTorch inside",
    "TFSMLayer": "which opens another SavedModel",
    "JaxLayer": "which calls a function of another module",
    "FlaxLayer": "which calls a function of another module",
    "ClassMethod": "which calls any method of TensorFlow",
}
"""Layers of Keras itself that run, or open, what a file says."""

_KERAS_CLASSES = re.compile(
    r"(?:keras|tf_keras)(?:\.src)?(?:\.(?:layers|models|engine|initializers|regularizers|constraints|activations|losses"
    r"|metrics|optimizers|random|dtype_policies|mixed_precision|quantizers|ops|backend)(?:\.\w+)*)?$|builtins$|keras\.src\.applications\.\w+$"
)
"""Modules whose classes a network is made of. Keras's others fetch, write and load files."""

_KERAS_FUNCTIONS = re.compile(
    r"(?:keras|tf_keras)(?:\.src)?\.(?:initializers|regularizers|constraints|activations|losses|metrics|ops)(?:\.\w+)*$"
    r"|builtins$"
)

_PYTHONS_OWN = frozenset(dir(builtins)) - {"abs", "max", "min", "pow", "round", "sum"}
"""Keras calls its own functions *builtins*; Keras 2 also looks among Python's, as ``eval``."""

_TF_CALCULATES = re.compile(
    r"(?:compat\.v[12]\.)?(?:(?:math|nn|linalg|signal|strings|image|bitwise|sets|sparse|ragged|random|quantization"
    r"|__operators__|experimental\.numpy)(?:\.\w+)*|abs|acosh?|add(?:_n)?|arg(?:max|min|sort)|as_string|asinh?|atan[2h]?"
    r"|batch_(?:gather|matmul|to_space(?:_nd)?)|bitcast|boolean_mask|broadcast_\w+|cast|clip_by_\w+|complex|concat"
    r"|constant|convert_to_tensor|cosh?|cumsum|cumprod|depth_to_space|div(?:ide)?(?:_no_nan)?|einsum|ensure_shape|equal"
    r"|erfc?|exp(?:m1|and_dims)?|eye|fill|floor(?:_?div|_?mod)?|gather(?:_nd)?|greater(?:_equal)?|identity(?:_n)?"
    r"|is_(?:finite|inf|nan)|less(?:_equal)?|linspace|log(?:1p|_softmax|_sigmoid|ical_\w+)?|matmul|maximum|minimum|mod"
    r"|meshgrid|multiply|negative|norm|not_equal|one_hot|ones(?:_like)?|pad|pow|range|rank|real(?:div)?|reciprocal"
    r"|reduce_\w+|repeat|reshape|reverse(?:_sequence|_v2)?|roll|round|rsqrt|saturate_cast|scatter_nd|searchsorted"
    r"|segment_\w+|sequence_mask|shape(?:_n)?|sigmoid|sign|sinh?|size|slice|sort|space_to_\w+|split|sqrt|square"
    r"|squared_difference|squeeze|stack|stop_gradient|strided_slice|subtract|tanh?|tensor_scatter_nd_\w+|tensordot"
    r"|tile|to_(?:double|float|int32|int64)|top_k|transpose|truediv|truncate(?:div|mod)|unique|unstack|where"
    r"|zeros(?:_like)?)$"
)
"""Functions of TensorFlow that compute. A TFOpLambda layer can name any other as well: ``io.gfile.copy``."""


def _scan_keras(path: Path, shown: str, format_name: str, known: tuple[str, ...]) -> Scan:
    """Everything a network's description names that is not known to be a plain part of a network: Keras's own safe
    mode lets much of it pass, and does not exist for HDF5 files of Keras 2."""
    try:
        config = json.loads(_keras_config(path, format_name))
        outside = _outside_hdf5(path) if format_name == "Keras HDF5" else ()
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, RuntimeError, NotImplementedError, RecursionError):
        return Scan(shown, format_name, True, complete=False)
    dangerous: dict[str, None] = {}
    unusual: dict[str, None] = dict.fromkeys(outside)
    for part in _walk(config):
        inside = part.get("config")
        options = inside if isinstance(inside, dict) else {}
        kind = str(part.get("class_name"))
        layer = f"the {kind.rpartition('.')[2]} layer {options.get('name', '(unnamed)')}"
        # Readers take the last part of a dotted name, and the registered name where there is no such class.
        for name in _last_parts(kind, part.get("registered_name"), part.get("spec_name")):
            if name in _KERAS_CODE:
                dangerous[f"{layer} {_KERAS_CODE[name]}"] = None
            elif name == "__lambda__":
                dangerous["Python code in a __lambda__"] = None
            elif name in ("TFOpLambda", "SlicingOpLambda"):
                if not _TF_CALCULATES.match(str(options.get("function"))):
                    dangerous[f"a call of tf.{options.get('function')}"] = None
            elif name == "TensorFlowOpLayer":
                node = options.get("node_def")
                op = node.get("op") if isinstance(node, dict) else None
                if not isinstance(op, str) or _TENSORFLOW_REACHING_OUT.search(op):
                    dangerous[f"the operator {op}"] = None
        if isinstance(options.get("vocabulary"), str):
            dangerous[f"the file {options['vocabulary']} to be read"] = None
        if (foreign := _foreign(part, kind, known)) is not None:
            unusual[foreign] = None
    return Scan(shown, format_name, bool(dangerous or unusual), tuple(dangerous), tuple(unusual))


def _last_parts(*names: Any) -> set[str]:
    return {re.split(r"[.>]", name)[-1] for name in names if isinstance(name, str)}


def _foreign(part: dict[str, Any], kind: str, known: tuple[str, ...]) -> str | None:
    """A class or function by its full name, unless it is one of Keras's that networks are made of, or the caller's."""
    module = part.get("module")
    if not isinstance(module, str) or "class_name" not in part:
        return None
    # A worker's __main__ is empty: what the file wants from there must be brought along.
    registered = part.get("registered_name")
    if module == "__main__" or (kind in known and (registered is None or _last_parts(registered) <= set(known))):
        return None
    if kind == "function":
        name = part.get("config")
        plain = bool(_KERAS_FUNCTIONS.match(module)) and not (module == "builtins" and name in _PYTHONS_OWN)
    else:
        name = kind
        plain = bool(_KERAS_CLASSES.match(module)) and not name[:1].islower()
    return None if plain and "." not in str(name) else f"{module}.{name}"


def _outside_hdf5(path: Path) -> tuple[str, ...]:
    """Other files whose content an HDF5 file would take for its own."""
    import h5py

    found: dict[str, None] = {}

    def look(name: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            found[f"the file {link.filename} to be read"] = None

    def look_inside(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            for place in item.external or ():
                found[f"the file {place[0]} to be read"] = None

    with h5py.File(path, "r") as file:
        file.visititems_links(look)
        file.visititems(look_inside)
    return tuple(found)


def _keras_config(path: Path, format_name: str) -> str | bytes:
    """As the loader of this format reads it: a file can be both, a zip archive behind an HDF5 file."""
    if format_name == "Keras v3":
        with zipfile.ZipFile(path) as archive:
            return archive.read("config.json")
    import h5py

    with h5py.File(path, "r") as file:
        config = file.attrs["model_config"]
        return config if isinstance(config, str | bytes) else str(config)


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _walk(part)
    elif isinstance(value, list):
        for part in value:
            yield from _walk(part)
