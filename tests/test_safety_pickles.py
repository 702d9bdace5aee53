"""No pickle that runs code is called unsuspicious, and no harmless model raises an alarm."""

from __future__ import annotations

import bz2
import functools
import gzip
import importlib
import inspect
import io
import lzma
import pickle
import struct
import types
import warnings
import zipfile
import zlib
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import allowed_names
from workbench import detect, safety
from workbench.files.formats import identify
from workbench.files.pickle_walk import MAX_NAME, Budget, BudgetSpent, Damaged, Walk
from workbench.files.unpack import unpacked
from workbench.files.wire import Steps, opened
from workbench.safety.pickle_names import grade, listed

DATA = Path(__file__).parent / "data"


def scanned(folder: Path, data: bytes, name: str = "model.pkl") -> Any:
    path = folder / name
    path.write_bytes(data)
    return safety.scan(path)


# --- an assembler for pickles that no pickler writes -----------------------------------------------------------------


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def names(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def protocol(*parts: bytes, number: int = 4) -> bytes:
    return bytes([0x80, number]) + b"".join(parts) + b"."


SYSTEM = call(names("os", "system"), text("true"))
HARMLESS = names("collections", "OrderedDict") + b")R"
LINEAR = names("sklearn.linear_model._base", "LinearRegression")
BOOSTER = names("xgboost.core", "Booster")
PARTIAL, GETATTR = names("functools", "partial"), names("builtins", "getattr")


def kind(code: str, size: int, flags: int = 0) -> bytes:
    """An array type: its name, and a state that may say another size."""
    state = b"(K\x03" + text("|") + b"NNNJ" + struct.pack("<i", size) + b"K\x01K" + bytes([flags]) + b"tb"
    return call(names("numpy", "dtype"), text(code), b"\x89", b"\x88") + state


F8, OBJECTS = kind("f8", -1), kind("O8", -1, 63)


def array(dtype: bytes, shape: bytes, raw: bytes, padding: bytes = b"N") -> bytes:
    """What joblib writes for an array: a wrapper, filled, and the bytes behind it."""
    state = {
        "subclass": names("numpy", "ndarray"), "shape": shape, "order": text("C"), "dtype": dtype,
        "allow_mmap": b"\x89", "numpy_array_alignment_bytes": padding,
    }  # fmt: skip
    filled = b"}(" + b"".join(text(key) + value for key, value in state.items()) + b"ub"
    return names("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81" + filled + raw


HIDDEN = b"0" + SYSTEM + b"0N."
INNER = protocol(SYSTEM)

CALLS_SYSTEM: dict[str, bytes] = {
    "a plain call": protocol(SYSTEM),
    "protocol 0": b"cos\nsystem\n(S'true'\ntR.",
    "no protocol said": names("os", "system") + text("true") + b"\x85R.",
    "protocol 1 said": b"\x80\x01cos\nsystem\n(S'true'\ntR.",
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": protocol(b"(" + names("os", "system") + text("true") + b"o"),
    "NEWOBJ": protocol(names("os", "system") + text("true") + b"\x85\x81"),
    "NEWOBJ_EX": protocol(names("os", "system") + text("true") + b"\x85}\x92"),
    "a name from the memo": protocol(text("os") + b"q\x050" + text("system") + b"q\x060h\x05h\x06\x93"),
    "PUT and MEMOIZE mixed": protocol(
        text("os") + b"q\x00" + text("system") + b"q\x01" + text("torch._utils") + b"\x94" + text("x") + b"\x940000",
        b"h\x00h\x01\x93",
    ),
    "a memo number with spaces": protocol(text("os") + b"p 7 \n0g+7\n" + text("system") + b"\x93"),
    "a popped mark": protocol(b"(" + text("x") + b"1" + names("os", "system")),
    "NumPy's way to find functions": protocol(
        call(names("numpy.core", "_ufunc_reconstruct"), text("os"), text("system"))
    ),
    "a call that is thrown away": protocol(SYSTEM + b"0N"),
    "a break behind the call": b"\x80\x04" + SYSTEM + b"\xff\xff",
    "a break before the call": b"\x80\x04" + HARMLESS + b"\xffcos\nsystem\n(S'true'\ntR.",
    "cut short behind the call": INNER[:-1],
    "a second pickle": protocol(b"N") + INNER,
    "a second pickle behind zeros": protocol(b"N") + bytes(5000) + INNER,
    "a pickle in a pickle": protocol(call(names("pickle", "loads"), b"C" + bytes([len(INNER)]) + INNER)),
    "a pickle in a pickle of PyTorch": protocol(
        call(names("torch.storage", "_load_from_bytes"), b"B" + struct.pack("<I", len(INNER)) + INNER)
    ),
    "PyTorch's number in letters": b"L119547037146038801333356L\n.I1001\n.N.cos\nsystem\n(S'true'\ntR.]." + bytes(9),
    "behind an array": protocol(array(F8, b"K\x04\x85", bytes(32)) + b"0" + SYSTEM),
    "behind an aligned array": protocol(array(F8, b"K\x04\x85", b"\x02\xff\xff" + bytes(32), b"K\x10") + b"0" + SYSTEM),
    "in an array whose type's state is smaller": protocol(
        array(kind("S200", 1), b"K\x01\x85", b"A" + HIDDEN.ljust(200, b"\0"))
    ),
    "in an array, for who knows no joblib": protocol(array(F8, b"K\x20\x85", HIDDEN.ljust(256, b"\0"))),
    "in the padding of an array": protocol(
        array(F8, b"K\x01\x85", b"N" + HIDDEN.ljust(78, b"\0") + bytes(8), b"K\x10")
    ),
    "in an array of objects": protocol(array(OBJECTS, b"K\x01\x85", protocol(b"]" + SYSTEM + b"a")) + b"0N"),
}
"""Name of the trick -> a file that would call ``os.system``."""

TRICKS: dict[str, tuple[bytes, str]] = {
    **{name: (data, "os.system") for name, data in CALLS_SYSTEM.items()},
    "a name of Python 2": (b"c__builtin__\nexecfile\n(S'x'\ntR.", "execfile"),
    "a module of Python 2": (b"ccommands\ngetoutput\n(S'true'\ntR.", "getoutput"),
    "a dotted name": (protocol(names("pandas.io.clipboard", "subprocess.Popen") + b")R"), "subprocess.Popen"),
    "a dotted name of an allowed class": (protocol(names("sklearn.pipeline", "Pipeline.fit.__globals__")), "fit.__"),
    "a name that is exported on": (protocol(names("sklearn.datasets._covtype", "GzipFile") + b")R"), "GzipFile"),
    "a trampoline that is exported on": (
        protocol(call(names("sklearn.feature_selection._base", "attrgetter"), text("__builtins__.get"))), "attrgetter",
    ),
    "a module that is exported on": (protocol(names("torch.utils.mkldnn", "os")), "mkldnn.os"),
    "a name twice on the stack": (protocol(text("os") + b"2\x93"), "os.os"),
    "a name put together": (
        protocol(call(names("builtins", "str"), b"C\x02os") + text("system") + b"\x93"), "put together",
    ),
    "a name too long": (protocol(names("os" + "x" * 2000, "system")), "….system"),
    "a name with a space": (protocol(names("os ", "system")), "os .system"),
    "a name with a newline": (protocol(names("os\nx", "system")), "os\nx.system"),
    "letters that look alike": (protocol(names("sklearn.pipelin\u0435", "Pipeline")), "Pipeline"),
    "letters of full width": (protocol(names("\uff4f\uff53", "path")), "path"),
    "an import by number": (protocol(b"\x82\x07"), "by the number 7"),
    "a call of what a call gives": (
        protocol(call(call(PARTIAL, names("numpy", "mean")), b"N")), "a call of what functools",
    ),
    "a partial of what a call gives": (protocol(call(PARTIAL, HARMLESS)), "functools.partial"),
    "getattr of a constant": (protocol(call(GETATTR, text("x"), text("y"))), "builtins.getattr"),
    "getattr of a module": (protocol(call(GETATTR, names("my.layers", "helpers"), text("os"))), "builtins.getattr"),
    "getattr that is called": (
        protocol(call(call(GETATTR, names("my.layers", "Net"), text("forward")), b"N")), "a call of what builtins.get",
    ),
    "getattr handed on": (protocol(call(names("collections", "defaultdict"), GETATTR)), "builtins.getattr"),
    "a class made on the spot": (protocol(call(names("builtins", "type"), text("X"), b")", b"}")), "builtins.type"),
    "another base of a reconstruction": (
        protocol(call(names("copyreg", "_reconstructor"), LINEAR, BOOSTER, text("x"))), "copyreg._reconstructor",
    ),
    "random numbers of another maker": (
        protocol(call(names("numpy.random._pickle", "__randomstate_ctor"), text("x"), BOOSTER)), "__randomstate_ctor",
    ),
    "a tensor rebuilt by something else": (
        protocol(call(names("torch._tensor", "_rebuild_from_type_v2"), names("my", "run"), b"N", b")", b"N")),
        "_rebuild_from_type_v2",
    ),
    "an encoding that is a program": (protocol(call(names("_codecs", "encode"), text("x"), text("zip"))), "encode"),
    "a change to a function": (
        protocol(names("numpy", "mean") + b"N}" + text("a") + text("os") + b"s\x86b"), "numpy.mean itself",
    ),
    "items for a module's list": (protocol(names("sklearn.pipeline", "names") + b"Na"), "pipeline.names itself"),
    "a second state": (
        protocol(LINEAR + b")\x81}" + text("__setstate__") + BOOSTER + b"sb" + text("x") + b"b"), "a second state",
    ),
    "an item after the state": (
        protocol(LINEAR + b")\x81}" + text("append") + BOOSTER + b"sb" + text("x") + b"a"), "a second state",
    ),
    "a file beside it": (
        protocol(names("joblib.numpy_pickle", "NDArrayWrapper") + b")\x81}" + text("filename") + text("/x") + b"sb"),
        "the file /x to be read",
    ),
    "a reference to outside": (protocol(text("x") + b"Q"), "a reference to something outside it"),
    "a constructor that reads a file": (protocol(call(BOOSTER, b"N", b")", text("x"))), "a call of xgboost.core"),
    "a new object with arguments": (protocol(call(names("copyreg", "__newobj__"), BOOSTER, text("x"))), "a call of"),
    "a distribution with a text": (protocol(names("scipy.stats._continuous_distns", "norm_gen") + b")\x81}b"), "norm"),
    "a pickle in a value": (
        protocol(b"C" + bytes([len(held := protocol(names("my", "Net") + b")R"))]) + held), "a pickle inside a value",
    ),
}  # fmt: skip
"""Name of the trick -> (the file, what must be said of it)."""


@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_is_called_unsuspicious(tmp_path: Path, trick: str) -> None:
    data, said = TRICKS[trick]
    found = scanned(tmp_path, data)
    assert found.runs_code and any(said in name for name in (*found.dangerous, *found.unusual)), found.says
    assert not found.says.startswith(("Nothing suspicious", "Opening it runs no code"))
    # A glance is enough for files of this size.
    assert detect(tmp_path / "model.pkl").findings == found.findings


CUT = {
    "a type of objects that says it has none": protocol(array(kind("O8", -1), b"K\x01\x85", bytes(8))),
    "a shape that is no number": protocol(array(F8, text("x") + b"\x85", bytes(8))),
    # joblib would read the array from behind the frame, and then go on in it.
    "an array in the midst of a frame": (
        b"\x80\x04\x95" + struct.pack("<Q", len(body := array(F8, b"K\x01\x85", b"0NNNNNN0N."))) + body + bytes(8)
    ),
    "a length beyond the end": protocol(HARMLESS + b"X\xff\xff\xff\x7fabc"),
    "an array beyond the end": protocol(array(F8, b"J\xff\xff\xff\x7f\x85", bytes(8))),
    "bytes behind the end": protocol(HARMLESS) + b"\x01\x02\x03",
    "a stack that is empty": protocol(HARMLESS + b"000"),
}


@pytest.mark.parametrize("damage", CUT)
def test_what_cannot_be_followed_is_said_to_be_unread(tmp_path: Path, damage: str) -> None:
    found = scanned(tmp_path, CUT[damage], "model.joblib")
    assert not found.complete and "Nothing" not in found.says


# --- compressed, in archives, in arrays ------------------------------------------------------------------------------


def old_joblib(data: bytes) -> bytes:
    return b"ZF" + hex(len(data)).ljust(19).encode() + zlib.compress(data)


PACKED = {
    "gzip": gzip.compress, "zlib": zlib.compress, "bzip2": bz2.compress, "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "lzma with a small dictionary": lambda data: lzma.compress(
        data, lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1, "dict_size": 4096}]),
    "two streams of gzip": lambda data: gzip.compress(data[:20]) + gzip.compress(data[20:]),
    "joblib before 0.10": old_joblib,
}  # fmt: skip


@pytest.mark.parametrize("form", PACKED)
def test_a_compressed_pickle_is_read_through(tmp_path: Path, form: str) -> None:
    evil = scanned(tmp_path, PACKED[form](protocol(HARMLESS + b"0" + SYSTEM)), "model.joblib")
    assert evil.dangerous == ("os.system",) and evil.complete and evil.format == "joblib"
    assert scanned(tmp_path, PACKED[form](protocol(HARMLESS)), "model.joblib").findings == ()


@pytest.mark.parametrize("head", [b"\x04\x22\x4d\x18", b"7z\xbc\xaf\x27\x1c"], ids=["lz4", "7z"])
def test_what_cannot_be_unpacked_is_never_called_harmless(tmp_path: Path, head: bytes) -> None:
    found = scanned(tmp_path, head + bytes(100))
    assert found.runs_code and not found.complete


def torch_zip(pickled: bytes, name: str = "m/data.pkl", method: int = zipfile.ZIP_STORED) -> bytearray:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("m/version", "3")
        archive.writestr(name, pickled)
    return bytearray(out.getvalue())


def patched(data: bytearray, signature: bytes, offset: int, value: bytes, last: bool = True) -> bytes:
    at = (data.rfind if last else data.find)(signature) + offset
    data[at : at + len(value)] = value
    return bytes(data)


STATE = protocol(HARMLESS, number=2)
EVIL = protocol(SYSTEM, number=2)


def archives() -> Iterator[tuple[str, bytes]]:
    """Zip archives that readers disagree about."""
    yield "plain", bytes(torch_zip(EVIL))
    yield "packed", bytes(torch_zip(EVIL, method=zipfile.ZIP_DEFLATED))
    yield "a wrong checksum", patched(torch_zip(EVIL), b"PK\x01\x02", 16, b"\1\2\3\4")
    yield "a flag that says encrypted", patched(torch_zip(EVIL), b"PK\x01\x02", 8, b"\x01\x00")
    yield "another name before the member", patched(torch_zip(EVIL), b"PK\x03\x04", 30, b"m/data.xyz")
    yield "another name in the directory", patched(torch_zip(EVIL), b"PK\x01\x02", 46, b"m/data.xyz")
    yield (
        "packed, and the directory says not",
        patched(torch_zip(EVIL, method=zipfile.ZIP_DEFLATED), b"PK\x01\x02", 10, b"\0\0"),
    )
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("m/data.pkl", EVIL)
        archive.writestr("m/data.pkl", STATE)
    yield "a name twice", out.getvalue()
    yield "an archive before the archive", bytes(torch_zip(EVIL) + torch_zip(STATE))
    yield "a member that the directory leaves out", bytes(torch_zip(EVIL)[: -22 - 2 * 55] + torch_zip(STATE))
    yield (
        "an archive in the comment",
        patched(torch_zip(STATE), b"PK\x05\x06", 20, b"\xff\x7f") + bytes(torch_zip(EVIL)),
    )
    yield "an archive in the archive", bytes(torch_zip(bytes(torch_zip(EVIL)), "m/data/sample_inputs/model.pt"))
    yield "a pickle by another name", bytes(torch_zip(EVIL, "m/weights/0"))


@pytest.mark.parametrize(("trick", "data"), list(archives()), ids=[name for name, _ in archives()])
def test_no_archive_hides_a_pickle(tmp_path: Path, trick: str, data: bytes) -> None:
    found = scanned(tmp_path, data, "model.pt")
    assert found.runs_code and found.dangerous == ("os.system",)
    assert detect(tmp_path / "model.pt").findings[0].where == "os.system"


def test_an_archive_without_a_readable_directory_is_searched(tmp_path: Path) -> None:
    found = scanned(tmp_path, bytes(torch_zip(EVIL)[:-30]), "model.pt")
    assert found.dangerous == ("os.system",) and not found.complete


def test_torch_script_has_classes_of_its_own_and_operators_that_open_files(tmp_path: Path) -> None:
    def script(code: str) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("m/data.pkl", protocol(names("__torch__.net", "Net") + b")\x81}b", number=2))
            archive.writestr("m/code/__torch__/net.py", code)
        return out.getvalue()

    assert scanned(tmp_path, script("def f(x):\n  return torch.relu(x)\n"), "model.pt").findings == ()
    found = scanned(tmp_path, script("def f(x):\n  return torch.from_file('/etc/passwd')\n"), "model.pt")
    assert found.dangerous == ("the operator torch.from_file",)


class Runs:
    """Pickles to a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("packed", [np.savez, np.savez_compressed])
def test_numpy_files_run_code_only_where_they_hold_objects(tmp_path: Path, packed: Any) -> None:
    plain, objects, evil = np.ones(3), np.array([1, "a"], object), np.array([Runs(exec, "pass")], object)
    for name, members, runs, dangerous in (
        ("plain", {"a": plain}, False, ()),
        ("objects", {"a": plain, "b": objects}, True, ()),
        ("evil", {"a": plain, "b": evil}, True, ("builtins.exec",)),
    ):
        packed(tmp_path / f"{name}.npz", **members)
        np.save(tmp_path / f"{name}.npy", list(members.values())[-1])
        for suffix in ("npz", "npy"):
            found = safety.scan(tmp_path / f"{name}.{suffix}")
            assert (found.runs_code, found.dangerous, found.unusual, found.complete) == (runs, dangerous, (), True)


# --- names -----------------------------------------------------------------------------------------------------------

ACTORS = """
builtins.eval builtins.exec builtins.compile builtins.__import__ builtins.open builtins.setattr builtins.map os.system
posix.system nt.system os.popen subprocess.run commands.getoutput _posixsubprocess.fork_exec runpy._run_code pty.spawn
code.InteractiveInterpreter pdb.run bdb.Bdb timeit.timeit cProfile.run profile.run trace.Trace ctypes.CDLL
imaplib.IMAP4_stream smtplib.SMTP http.client.HTTPSConnection urllib.request.urlopen socket.create_connection
ssl.get_server_certificate asyncio.create_subprocess_shell multiprocessing.util.spawnv_passfds webbrowser.open
importlib.import_module pkgutil.resolve_name pip.main numpy.testing._private.utils.runstring
numpy.f2py.crackfortran.getlincoef torch.hub.load torch.load torch.serialization.load torch.utils.collect_env.run
torch._dynamo.guards.GuardBuilder torch._inductor.codecache.compile_file torch.fx.graph_module.reduce_graph_module
torch.jit.unsupported_tensor_ops.execWrapper pandas.io.pickle.read_pickle pandas.read_pickle pandas.eval joblib.load
joblib.numpy_pickle.load sklearn.utils._testing.assert_run_python_script_without_output scipy.io.loadmat
idlelib.pyshell.ModifiedInterpreter lib2to3.pgen2.grammar.Grammar distutils.file_util.write_file ensurepip._run_pip
tensorflow.io.read_file operator.attrgetter operator.methodcaller _operator.itemgetter functools.reduce types.CodeType
types.FunctionType doctest.debug_script test.support.script_helper.assert_python_ok venv.create zipimport.zipimporter
shelve.open dbm.open marshal.loads dill.loads cloudpickle.cloudpickle._make_function logging.FileHandler
logging.config.dictConfig sys.exit codecs.open copy.deepcopy copyreg.add_extension _io.FileIO io.open shutil.rmtree
sqlite3.connect uuid._get_command_stdout _osx_support._read_output _pyrepl.pager.pipe_pager mailcap.findmatch
pickle.loads xmlrpc.client.ServerProxy pydoc.locate tarfile.open zipfile.ZipFile numpy.load numpy.memmap numpy.vectorize
xgboost.core.DMatrix lightgbm.basic.Dataset
""".split()


@pytest.mark.parametrize("actor", ACTORS)
def test_names_that_act_are_dangerous(tmp_path: Path, actor: str) -> None:
    module, _, name = actor.rpartition(".")
    for data in (protocol(call(names(module, name), b"N")), protocol(HARMLESS + b"0" + names(module, name))):
        assert any(name in found for found in scanned(tmp_path, data).dangerous)


def test_a_dotted_name_is_dangerous_whatever_it_leads_to(tmp_path: Path) -> None:
    for module, name in (("my.layers", "Outer.Inner"), ("sklearn.linear_model", "_base.LinearRegression")):
        assert scanned(tmp_path, protocol(names(module, name))).dangerous == (f"{module}.{name}",)


def test_nobodys_own_class_is_called_dangerous(tmp_path: Path) -> None:
    found = scanned(tmp_path, protocol(names("my.layers", "Net") + b")\x81}b" + b"0" + names("モデル", "網") + b")R"))
    assert found.dangerous == () and found.unusual == ("my.layers.Net", "モデル.網")


def test_methods_and_partial_functions_that_layers_hold_are_unusual_not_dangerous(tmp_path: Path) -> None:
    held = (
        call(names("builtins", "getattr"), names("ultralytics.nn.modules.head", "Detect"), text("forward")),
        call(names("functools", "partial"), names("torch.nn.modules.normalization", "LayerNorm")),
    )
    found = scanned(tmp_path, protocol(b"](" + b"".join(held) + b"e"))
    assert found.dangerous == () and set(found.unusual) >= {"builtins.getattr", "functools.partial"}


def importable() -> Iterator[tuple[str, str, Any]]:
    """(name, what it is known for, the thing itself) of everything in the list that this environment has."""
    for full, known in listed().items():
        module_name, _, name = full.rpartition(".")
        if known == "dangerous" or not module_name or full in allowed_names.GONE or f"{full}()" in allowed_names.GONE:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                module = importlib.import_module(module_name)
            except ImportError:  # another package, or a module of an older version
                continue
            yield full, known, getattr(module, name)


def test_the_list_holds_what_its_modules_define_themselves() -> None:
    elsewhere = {}
    for full, known, thing in importable():
        module = getattr(thing, "__module__", None) or full.rpartition(".")[0]
        own = f"{module}.{getattr(thing, '__qualname__', getattr(thing, '__name__', full.rpartition('.')[2]))}"
        # Older versions defined some where newer ones only let them be had: both names are in the list, alike.
        if own != full and listed().get(own) != known and callable(thing):
            elsewhere[full] = own
    assert elsewhere == {}


def test_nothing_in_the_list_acts() -> None:
    import copy
    import operator
    import subprocess

    actors = [
        eval, exec, compile, open, getattr, setattr, __import__, operator.attrgetter, operator.methodcaller,
        operator.itemgetter, functools.partial, functools.reduce, copy.deepcopy, copy.copy, importlib.import_module,
        gzip.GzipFile, gzip.open, pickle.loads, pickle.load, joblib.load, np.load, np.memmap, np.vectorize,
        np.fromfile, subprocess.Popen, types.FunctionType, types.CodeType, types.MethodType, io.FileIO, map, filter,
    ]  # fmt: skip
    allowed = [(full, thing) for full, known, thing in importable() if known in ("held", "called")]
    assert [full for full, thing in allowed if any(thing is actor for actor in actors)] == []


def test_every_method_that_filling_a_listed_class_runs_was_read() -> None:
    unread = set()
    for _, known, thing in importable():
        if known in ("held", "called") and inspect.isclass(thing):
            for hook in allowed_names.hooks(thing) - allowed_names.READ:
                owner = next(
                    base for base in thing.__mro__ if hook.startswith(f"{base.__module__}.{base.__qualname__}.")
                )
                method = vars(owner)[hook.rpartition(".")[2]]
                if isinstance(getattr(method, "__func__", method), types.FunctionType):
                    unread.add(hook)
    assert unread == set()


def test_the_generated_half_of_the_list_is_up_to_date() -> None:
    text = allowed_names.FILE.read_text("utf-8")
    assert text.count(allowed_names.BEGIN) == 1
    assert text.partition(allowed_names.BEGIN)[2].split() == allowed_names.generated()


def test_older_spellings_are_known_too() -> None:
    for old in (
        "sklearn.tree.tree.DecisionTreeClassifier", "sklearn.ensemble.forest.RandomForestClassifier",
        "sklearn.linear_model.logistic.LogisticRegression", "sklearn.preprocessing.data.StandardScaler",
        "numpy.core.multiarray._reconstruct", "scipy.sparse.csr.csr_matrix", "pandas.core.frame.DataFrame",
        "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper",
    ):  # fmt: skip
        module, _, name = old.rpartition(".")
        assert grade(module, name) in ("held", "called"), old


# --- no false alarm --------------------------------------------------------------------------------------------------


def written(model: Any, number: int, with_joblib: bool, **options: Any) -> bytes:
    if not with_joblib:
        return pickle.dumps(model, number)
    out = io.BytesIO()
    joblib.dump(model, out, protocol=number, **options)
    return out.getvalue()


def alarm(folder: Path, data: bytes) -> str | None:
    """What is said of a harmless file that should not be."""
    found = scanned(folder, data, "model.joblib")
    clean = found.complete and found.says.startswith("Nothing suspicious") and not found.findings
    return None if clean and not detect(folder / "model.joblib").findings else found.says


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in (1, 2, 3))])
def test_no_estimator_of_scikit_learn_raises_an_alarm(part: int, tmp_path: Path) -> None:
    from tests.corpus import every_estimator

    raised = {}
    estimators = list(every_estimator(part))
    assert len(estimators) >= 47
    for name, model in estimators:
        forms = [(0, False), (2, False), (5, False), (2, True), (5, True)]
        for number, with_joblib in forms:
            if said := alarm(tmp_path, written(model, number, with_joblib)):
                raised[name, number, with_joblib] = said
    assert raised == {}


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Any]:
    """Models as people keep them: of several parts, with tables, and boosted."""
    import lightgbm
    import pandas as pd
    import xgboost
    from sklearn.compose import ColumnTransformer, make_column_selector
    from sklearn.ensemble import RandomForestClassifier, StackingClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.model_selection import GridSearchCV, RepeatedStratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
    from sklearn.svm import SVC

    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.random(60), "b": rng.random(60), "c": rng.choice(list("xyz"), 60)})
    answers = rng.integers(0, 2, 60)
    mixed = ColumnTransformer(
        [("n", StandardScaler(), make_column_selector(dtype_include=np.number)),
         ("c", OneHotEncoder(handle_unknown="ignore"), ["c"])], remainder="passthrough")  # fmt: skip
    search = GridSearchCV(
        make_pipeline(mixed, SVC()), {"svc__C": [0.1, 1]}, scoring="roc_auc",
        cv=RepeatedStratifiedKFold(n_splits=2, n_repeats=1, random_state=np.random.RandomState(0)))  # fmt: skip
    small: dict[str, Any] = {"n_estimators": 2}
    quiet = {**small, "verbose": -1}
    numbers = table[["a", "b"]]
    return {
        "pipeline": make_pipeline(mixed, RandomForestClassifier(3)).fit(table, answers),
        "search": search.fit(table, answers),
        "functions": make_pipeline(FunctionTransformer(np.log1p), LinearRegression()).fit(numbers, answers),
        "kept with its columns": {"model": LogisticRegression().fit(numbers, answers), "columns": numbers.columns},
        "XGBoost": xgboost.XGBClassifier(**small).fit(numbers, answers),
        "LightGBM": lightgbm.LGBMClassifier(**quiet).fit(numbers, answers),
        "a LightGBM booster": lightgbm.LGBMRegressor(**quiet).fit(numbers, answers).booster_,
        "stacked": StackingClassifier(
            [("x", xgboost.XGBClassifier(**small)), ("l", lightgbm.LGBMClassifier(**quiet))]).fit(numbers, answers),
    }  # fmt: skip


@pytest.mark.parametrize("number", range(6))
def test_no_pipeline_raises_an_alarm_in_any_protocol(tmp_path: Path, pipelines: dict[str, Any], number: int) -> None:
    raised = {
        (name, with_joblib): said
        for name, model in pipelines.items()
        for with_joblib in (False, True)
        if (said := alarm(tmp_path, written(model, number, with_joblib)))
    }
    assert raised == {}


@pytest.mark.parametrize("compress", [3, ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)])
def test_no_compression_raises_an_alarm(tmp_path: Path, pipelines: dict[str, Any], compress: Any) -> None:
    raised = {
        name: said
        for name, model in pipelines.items()
        if (said := alarm(tmp_path, written(model, 4, True, compress=compress)))
    }
    assert raised == {}


def test_pytorchs_files_raise_no_alarm() -> None:
    files = [path for path in DATA.iterdir() if path.suffix in (".pt", ".pth", ".pt2")]
    assert len(files) >= 5
    assert {path.name: safety.scan(path).findings for path in files} == {path.name: () for path in files}
    assert {path.name: detect(path).findings for path in files} == {path.name: () for path in files}


def test_a_function_of_ones_own_is_told(tmp_path: Path) -> None:
    import cloudpickle
    from sklearn.preprocessing import FunctionTransformer

    assert scanned(tmp_path, pickle.dumps(FunctionTransformer(written))).unusual == (f"{__name__}.written",)
    assert scanned(tmp_path, cloudpickle.dumps(FunctionTransformer(lambda x: x))).dangerous


# --- bounds ----------------------------------------------------------------------------------------------------------


class Counting(io.BytesIO):
    """A file that knows how much of it was read."""

    taken = 0

    def readinto(self, into: Any) -> int:
        count = super().readinto(into)
        self.taken += count
        return count


def test_arrays_are_stepped_over_not_read() -> None:
    for data in (written([np.ones(5_000_000)], 5, True), written([np.ones(5_000_000)], 5, False)):
        file, budget = Counting(data), Budget(1000, 0)
        Walk(io.BufferedReader(file), budget, arrays=True).load()  # type: ignore[arg-type]
        assert file.taken < 500_000 < len(data) and budget.steps > 900


def test_what_unpacks_to_too_much_is_left(tmp_path: Path) -> None:
    bomb = zlib.compress(protocol(b"B" + struct.pack("<I", 1 << 28) + bytes(1 << 28)))
    budget = Budget(1000, 1 << 20)
    with pytest.raises(BudgetSpent):
        Walk(unpacked(bomb, budget), budget).load()
    (tmp_path / "bomb.joblib").write_bytes(bomb)
    assert [found.id for found in detect(tmp_path / "bomb.joblib").findings] == ["read-in-part"]


HEAVY = {
    "many names": b"".join(b"cm%d\nn\n0" % i for i in range(300_000)),
    "a deep tuple": b"N" + b"\x85" * 2_000_000,
    "a deep stack": b"N" * 2_000_000,
    "many marks": b"(" * 2_000_000,
    "many calls": (names("os", "system") + b")R0") * 100_000,
    "many pickles inside": (b"C\x11" + b"\x80\x04cos\nsystem\n)R.\x00" + b"0") * 100_000,
    "letters to unescape": (b"S'" + b"\\x41" * 290 + b"'\n0") * 3000,
}


@pytest.mark.parametrize("heavy", HEAVY)
def test_a_glance_is_bounded_and_says_what_it_left(tmp_path: Path, heavy: str) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04" + HEAVY[heavy] + b"N.")
    with opened(path) as buffer:
        assert "read-in-part" in {found.id for found in safety.glance(path, buffer, identify(path), Steps())}


SEEDS = [
    protocol(HARMLESS), protocol(SYSTEM), STATE, bytes(torch_zip(STATE)), (DATA / "mlp_legacy.pth").read_bytes(),
    protocol(array(F8, b"K\x04\x85", bytes(32))), zlib.compress(protocol(HARMLESS)),
    *(data for data, _ in TRICKS.values()),
    *(pickle.dumps([Counter("ab"), OrderedDict(a=deque()), defaultdict(int)], number) for number in range(6)),
]  # fmt: skip


def wounded(data: bytes, wounds: list[tuple[float, bytes, bool]]) -> bytes:
    """The same with other bytes in some places, or cut off there."""
    changed = bytearray(data)
    for place, patch, cut in wounds:
        at = int(place * len(changed))
        changed[at : at + len(patch)] = patch
        if cut:
            del changed[at + len(patch) :]
    return bytes(changed)


WOUNDS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=12), st.booleans()), max_size=4)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(SEEDS) - 1), WOUNDS)
def test_a_wounded_pickle_is_judged_without_an_exception(
    tmp_path_factory: pytest.TempPathFactory, index: int, wounds: list[tuple[float, bytes, bool]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "wounded.pkl"
    path.write_bytes(wounded(SEEDS[index], wounds) or b"\0")
    assert isinstance(safety.scan(path).says, str)
    identify(path)


class Seen(Walk):
    """Notes the names that it comes upon, as they are written."""

    def __init__(self, file: io.BufferedReader, budget: Budget) -> None:
        super().__init__(file, budget)
        self.names: set[tuple[str, str]] = set()
        self.unwritten = False

    def imported(self, what: Any) -> None:
        self.names.add((what.module, what.name))

    def computed(self) -> None:
        self.unwritten = True


class Stub:
    """Stands for whatever a pickle names, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    __call__ = append = extend = add = __setitem__ = __setstate__ = __init__


class Unpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """Python's own machine, which tells what it would import."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), fix_imports=False)
        self.names: set[tuple[str, str]] = set()

    def find_class(self, module: str, name: str) -> Any:
        if self.proto < 3:
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        self.names.add((module, name))
        return Stub

    def persistent_load(self, _: Any) -> Any:
        return Stub()


@settings(max_examples=1500, deadline=None)
@given(st.integers(0, len(SEEDS) - 1), WOUNDS)
def test_what_an_unpickler_imports_was_seen_before(index: int, wounds: list[tuple[float, bytes, bool]]) -> None:
    data = wounded(SEEDS[index], wounds)
    real, walk = Unpickler(data), Seen(io.BufferedReader(io.BytesIO(data)), Budget(100_000, 0))  # type: ignore[arg-type]
    with suppress(Exception):
        real.load()
    with suppress(Damaged):
        walk.load()
    assert walk.unwritten or {pair for pair in real.names if max(map(len, pair)) <= MAX_NAME} <= walk.names


@given(st.binary(max_size=300))
def test_any_bytes_are_a_pickle_or_damaged(data: bytes) -> None:
    try:
        Walk(io.BufferedReader(io.BytesIO(data)), Budget(10_000, 0), arrays=True).load()
    except Damaged:
        return
    assert b"." in data
