"""Keras configs."""

from __future__ import annotations

import io
import json
import re
import reprlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ... import sandbox
from ...errors import Scan
from ...files.pickled import WINDOW
from ...files.wire import Buffer
from ...safety.description import MOST_AT_ONCE, UNREADABLE, description, memory
from ...safety.names import listed
from ...safety.subject import Subject
from . import scan_graphs as tensorflow

NAMES = Path(__file__).with_name("keras.txt")

_CODE = {
    "Lambda": "with Python code of its own",
    "DropoutWrapper": "which can bring Python code of its own",
    "ResidualWrapper": "which can bring Python code of its own",
    "TorchModuleWrapper": "with a pickle of PyTorch inside",
    "TFSMLayer": "which opens another SavedModel",
    "JaxLayer": "which calls a function of another module",
    "FlaxLayer": "which calls a function of another module",
    "ClassMethod": "which calls any method of TensorFlow",
}
"""Layers of Keras itself that run, or open, what a file says."""

_DATA = frozenset(
    "__bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__ __tuple__ CompositeTensor "
    "TensorShape".split()
)
"""What stands for a value of Python, where others name a class."""

_FUNCTIONS_OF = frozenset({"builtins", "keras.activations", "keras.losses", "keras.metrics", "keras.regularizers"})
"""Where Keras looks for an activation, a loss or a metric; in builtins for those of all these."""

_OPERATIONS_OF = frozenset({"keras.ops", "keras.ops.image", "keras.ops.linalg", "keras.ops.nn", "keras.ops.numpy"})

_REACH_OUT = frozenset(
    "autograph config data debugging distribute gfile io keras load_library load_op_library lookup lite numpy_function "
    "print profiler py_func py_function raw_ops read_file saved_model summary tpu train utils wrap_function "
    "write_file".split()
)
"""Parts of names of TensorFlow's functions that do more than compute, where they are not on the list."""


_PART = 16
"""Steps for looking at one part of a network's description."""


def scan(subject: Subject) -> Scan:
    """Everything a network's description names that is not known to be a plain part of a network: Keras's own safe
    mode lets much of it pass, and does not exist for HDF5 files of Keras 2."""
    shown, name = subject.shown, subject.format.name
    dangerous: dict[str, None] = {}
    unusual: dict[str, None] = {}
    try:
        config, files = _read(subject)
        unusual |= dict.fromkeys(files)
        for harms, what in _judged(config, subject):
            (dangerous if harms else unusual)[what] = None
    except (*UNREADABLE, sandbox.WorkerFailed):
        return Scan(shown, name, True, tuple(dangerous), tuple(unusual), complete=False)
    return Scan(shown, name, bool(dangerous or unusual), tuple(dangerous), tuple(unusual))


# --- what the loader reads -----------------------------------------------------------------------------------------


def _read(subject: Subject) -> tuple[Any, list[str]]:
    """A network's description as the loader of this format reads it, for a file can be both, a zip archive behind an
    HDF5 file; and the other files it would take for its own. None, and none, where that takes more than `detect` has.

    Raises:
        one of `UNREADABLE`.
    """
    thorough = subject.thorough
    if subject.format.name == "Keras v3":
        text = description(subject.buffer, "config.json", subject.steps)
        config = None if text is None else json.loads(text)
        if isinstance(config, dict):
            config.pop("compile_config", None)  # the workbench loads networks without
        return config, sandbox.parse(_outside_archive, subject.path) if thorough else []
    if not thorough:
        return _config_in(subject.buffer), []
    described, outside = sandbox.parse(_hdf5, subject.path)
    return json.loads(described), outside


def _hdf5(path: Path) -> tuple[str, list[str]]:
    import h5py

    with h5py.File(path, "r") as file:
        config = file.attrs["model_config"]
        return config.decode() if isinstance(config, bytes) else str(config), _outside(file)


def _outside_archive(path: Path) -> list[str]:
    import h5py

    with zipfile.ZipFile(path) as archive:
        if "model.weights.h5" not in archive.namelist():
            return []
        with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
            return _outside(file)


def _outside(file: Any) -> list[str]:
    """Other files whose content an HDF5 file would take for its own."""
    import h5py

    found: dict[str, None] = {}

    def look(name: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            found[f"the file {link.filename} to be read"] = None

    def look_inside(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            sources = item.virtual_sources() if item.is_virtual else ()
            places = [place for place, *_ in item.external or ()] + [source.file_name for source in sources]
            found.update({f"the file {place} to be read": None for place in places if place != "."})

    file.visititems_links(look)
    file.visititems(look_inside)
    return list(found)


def _config_in(buffer: Buffer) -> Any:
    """The description of a network that stands whole near one end of an HDF5 file, else None."""
    ends = bytes(buffer[:WINDOW]) + bytes(buffer[max(WINDOW, len(buffer) - WINDOW) :])
    text, read, at = ends.decode("latin-1"), 0, 0
    while (start := _BEGINNING.search(text, at)) is not None:
        stop = ends.find(b"\0", start.start()) % (len(ends) + 1)
        read += stop - start.start()
        if read > 2 * len(ends) or memory(ends[start.start() : stop]) > MOST_AT_ONCE:
            return None
        try:
            config, at = json.JSONDecoder().raw_decode(text, start.start())
        except (ValueError, RecursionError):
            at = start.end()
            continue
        inner = config.get("config")
        if "class_name" in config and (isinstance(inner, list) or (isinstance(inner, dict) and "layers" in inner)):
            return config
    return None


_BEGINNING = re.compile(r'\{\s*"(?:class_name|module|config|registered_name)"\s*:')


# --- what its parts would do ---------------------------------------------------------------------------------------


def _judged(config: Any, subject: Subject) -> Iterator[tuple[bool, str]]:
    """(can it harm, what), as far as there are steps."""
    for part in _walk(config):
        if subject.steps is not None:
            subject.steps.left -= _PART
            if subject.steps.left < 0:
                return
        # Lookup layers read a vocabulary from the file that is named in its place.
        if isinstance(part.get("vocabulary"), str):
            yield True, f"the file {part['vocabulary']} to be read"
        if "class_name" in part:
            yield from _judged_part(part, subject.known)


def _walk(config: Any) -> Iterator[dict[str, Any]]:
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(reversed(value.values()))
        elif isinstance(value, list):
            waiting.extend(reversed(value))


def _word(value: Any) -> str:
    """Text where the file has it; what else stands there can be as long as the file, and stand in itself."""
    return value if isinstance(value, str) else reprlib.repr(value)


def _judged_part(part: dict[str, Any], known: tuple[str, ...]) -> Iterator[tuple[bool, str]]:
    kind, lists = _word(part["class_name"]), listed(NAMES)
    inside = part.get("config")
    options = inside if isinstance(inside, dict) else {}
    # Readers take the last part of a dotted name, and the registered name where there is no such class.
    names = _last_parts(kind, part.get("registered_name"), part.get("spec_name"))
    for name in sorted(names & _CODE.keys()):
        yield True, f"the {kind.rpartition('.')[2]} layer {_word(options.get('name', '(unnamed)'))} {_CODE[name]}"
    if "__lambda__" in names:
        yield True, "Python code in a __lambda__"
    if names & {"TFOpLambda", "SlicingOpLambda"}:
        function = _word(options.get("function"))
        if function.removeprefix("compat.v1.") not in lists["tensorflow"]:
            yield not _REACH_OUT.isdisjoint(function.split(".")), f"a call of tf.{function}"
    if names & {"InstanceMethod", "InstanceProperty"} and options.get("attr_name") not in lists["attributes"]:
        yield False, f"the attribute {options.get('attr_name')} of a tensor"
    if "TensorFlowOpLayer" in names:
        yield from _judged_operator(options.get("node_def"))
    if not (names & _CODE.keys() or "__lambda__" in names) and (foreign := _foreign(part, kind, known)) is not None:
        yield False, foreign


def _last_parts(*names: Any) -> set[str]:
    return {re.split(r"[.>]", name)[-1] for name in names if isinstance(name, str)}


def _judged_operator(node: Any) -> Iterator[tuple[bool, str]]:
    """A NodeDef: as JSON, or in its binary form where it is a text."""
    if isinstance(node, str):
        yield from tensorflow.judged_node(node.encode())
        return
    op = node.get("op") if isinstance(node, dict) else None
    if not isinstance(op, str) or not tensorflow.calculates(op):
        yield not isinstance(op, str) or tensorflow.reaches_out(op), f"the operator {op}"
    if any("func" in part for part in _walk(node)):
        yield False, f"the operator {op} with a function of another graph"


def brought(config: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """What a network's description names that is neither Keras's own nor known, under the names that Keras looks up
    among ``custom_objects``."""
    found: dict[str, None] = {}
    for part in _walk(config):
        if isinstance(kind := part.get("class_name"), str) and _foreign(part, kind, known) is not None:
            name = part.get("config") if kind == "function" else part.get("registered_name") or kind
            found[_word(name)] = None
        # Older files name an activation or a loss by a text.
        found.update(dict.fromkeys(filter(_PACKAGED.fullmatch, filter(_is_text, part.values()))))
    return tuple(name for name in found if name not in known)


_PACKAGED = re.compile(r"[\w.]+>\w+")
"""A name that was registered with Keras, and the package it was registered for."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _foreign(part: dict[str, Any], kind: str, known: tuple[str, ...]) -> str | None:
    """A class or function by its full name, unless it is one of Keras's that networks are made of, or the caller's."""
    lists = listed(NAMES)
    module, registered = part.get("module"), part.get("registered_name")
    if module is None and registered is None and (kind in _DATA or part.get("type_spec") in lists["types"]):
        return None
    if kind == "function":
        name = str(part.get("config"))
        plain = (module in _FUNCTIONS_OF and name in lists["functions"]) or (
            module in _OPERATIONS_OF and name in lists["operations"]
        )
        return None if name in known or (plain and registered in (None, name, kind)) else f"{module}.{name}"
    if kind == "__typespec__":
        name = f"{module}.{part.get('spec_name')}"
        return None if name in lists["types"] and registered in (None, part.get("spec_name")) else name
    name = kind if module is None else f"{module}.{kind}"
    plain = name in (lists["names"] if module is None else lists["classes"])
    if plain and (registered is None or registered == kind or registered in lists["names"]):
        return None
    # Of two names, Keras looks among what the caller brought for the registered one; null is none.
    second = part.get("registered_name", kind)
    brought = second in known or (kind in known and isinstance(second, str) and _last_parts(second) <= set(known))
    return None if brought else name
