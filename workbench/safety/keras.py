"""Keras configs."""

from __future__ import annotations

import builtins
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import Scan
from ..formats import member
from . import tensorflow
from .subject import Subject

_KERAS_CODE = {
    "Lambda": "with Python code of its own",
    "TorchModuleWrapper": "with a pickle of PyTorch inside",
    "TFSMLayer": "which opens another SavedModel",
    "JaxLayer": "which calls a function of another module",
    "FlaxLayer": "which calls a function of another module",
    "ClassMethod": "which calls any method of TensorFlow",
}
"""Layers of Keras itself that run, or open, what a file says."""

_PART = 16
"""Steps for looking at one part of a network's description."""

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


def scan(subject: Subject) -> Scan:
    """Everything a network's description names that is not known to be a plain part of a network: Keras's own safe
    mode lets much of it pass, and does not exist for HDF5 files of Keras 2."""
    path, shown, format_name, known = subject.path, subject.shown, subject.format.name, subject.known
    if not subject.thorough and format_name == "Keras HDF5":
        return Scan(shown, format_name, True)
    try:
        config = json.loads(_keras_config(path, format_name, subject.thorough))
        outside = _outside_hdf5(path) if format_name == "Keras HDF5" else ()
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, RuntimeError, NotImplementedError, RecursionError):
        return Scan(shown, format_name, True, complete=False)
    dangerous: dict[str, None] = {}
    unusual: dict[str, None] = dict.fromkeys(outside)
    complete = True
    for part in _walk(config):
        if subject.steps is not None:
            subject.steps.left -= _PART
            if subject.steps.left < 0:
                complete = False
                break
        inside = part.get("config")
        options = inside if isinstance(inside, dict) else {}
        kind = _word(part.get("class_name"))
        layer = f"the {kind.rpartition('.')[2]} layer {_word(options.get('name', '(unnamed)'))}"
        # Readers take the last part of a dotted name, and the registered name where there is no such class.
        for name in _last_parts(kind, part.get("registered_name"), part.get("spec_name")):
            if name in _KERAS_CODE:
                dangerous[f"{layer} {_KERAS_CODE[name]}"] = None
            elif name == "__lambda__":
                dangerous["Python code in a __lambda__"] = None
            elif name in ("TFOpLambda", "SlicingOpLambda"):
                if not _TF_CALCULATES.match(function := _word(options.get("function"))):
                    dangerous[f"a call of tf.{function}"] = None
            elif name == "TensorFlowOpLayer":
                node = options.get("node_def")
                op = node.get("op") if isinstance(node, dict) else None
                if not isinstance(op, str) or tensorflow.REACHING_OUT.search(op):
                    dangerous[f"the operator {_word(op)}"] = None
        if isinstance(options.get("vocabulary"), str):
            dangerous[f"the file {options['vocabulary']} to be read"] = None
        if (foreign := _foreign(part, kind, known)) is not None:
            unusual[foreign] = None
    return Scan(shown, format_name, bool(dangerous or unusual), tuple(dangerous), tuple(unusual), complete)


def _word(value: Any) -> str:
    """Text where the file has it; what else stands there can be as long as the file, and stand in itself."""
    return value if isinstance(value, str) else type(value).__name__


def _last_parts(*names: Any) -> set[str]:
    return {re.split(r"[.>]", name)[-1] for name in names if isinstance(name, str)}


def _foreign(part: dict[str, Any], kind: str, known: tuple[str, ...]) -> str | None:
    """A class or function by its full name, unless it is one of Keras's that networks are made of, or the caller's."""
    module = part.get("module")
    if not isinstance(module, str) or "class_name" not in part:
        return None
    if len(module) > 300:  # patterns take much memory for a long text
        return f"{module[:300]}….{kind}"
    # A worker's __main__ is empty: what the file wants from there must be brought along.
    registered = part.get("registered_name")
    if module == "__main__" or (kind in known and (registered is None or _last_parts(registered) <= set(known))):
        return None
    if kind == "function":
        name = _word(part.get("config"))
        plain = bool(_KERAS_FUNCTIONS.match(module)) and not (module == "builtins" and name in _PYTHONS_OWN)
    else:
        name = kind
        plain = bool(_KERAS_CLASSES.match(module)) and not name[:1].islower()
    return None if plain and "." not in name else f"{module}.{name}"


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


def _keras_config(path: Path, format_name: str, thorough: bool) -> str | bytes:
    """As the loader of this format reads it: a file can be both, a zip archive behind an HDF5 file."""
    if format_name == "Keras v3":
        with zipfile.ZipFile(path) as archive:
            return archive.read("config.json") if thorough else member(archive, "config.json")
    import h5py

    with h5py.File(path, "r") as file:
        config = file.attrs["model_config"]
        return config if isinstance(config, str | bytes) else str(config)


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    todo = [value]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            yield value
            todo += reversed(value.values())
        elif isinstance(value, list):
            todo += reversed(value)
