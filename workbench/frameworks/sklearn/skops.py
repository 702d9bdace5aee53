"""skops archives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import Scan
from ...files.records import Format
from ...files.wire import Steps, opened
from ...safety.description import UNREADABLE, description
from ...safety.names import listed
from ...safety.subject import Subject

NAMES = Path(__file__).with_name("skops.txt")

_LISTS = {
    "ObjectNode": "objects", "LossNode": "losses", "NdArrayNode": "scalars", "SparseMatrixNode": "sparse",
    "TupleNode": "tuples", "FunctionNode": "functions", "TypeNode": "types",
}  # fmt: skip
"""skops' ``__loader__`` -> the section of ``skops.txt`` for what it would make, call or look up."""

_FEW = {
    "TreeNode": {"sklearn.tree._tree.Tree"},
    "ListNode": {"builtins.list"}, "SetNode": {"builtins.set"},
    "DictNode": {"builtins.dict", "collections.OrderedDict", "sklearn.utils._bunch.Bunch"},
    "MaskedArrayNode": {"numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"},
    "RandomStateNode": {"numpy.random.mtrand.RandomState"},
    "RandomGeneratorNode": {"numpy.random._generator.Generator"}, "DTypeNode": {"numpy.dtype"},
    "BytesNode": {"builtins.bytes"}, "BytearrayNode": {"builtins.bytearray"},
}  # fmt: skip
"""Loaders for few classes. Those in neither table take what the file names and call it, or a method of it."""

_CALLS = frozenset({"ConstructorFromReduceNode", "OperatorFuncNode", "LossNode"})
"""Loaders that call what they name with what else the file says."""

_REACH_OUT = frozenset(
    "builtins _io code codecs ctypes importlib io marshal nt operator _operator os pickle _pickle posix pty runpy "
    "shutil socket subprocess sys tempfile urllib webbrowser".split()
)
"""Modules of Python that read, write or run things, or find who does."""

_ASKED_BY_NAME = frozenset({"stack_method_", "chain_method", "chain_method_", "response_method", "_response_method"})
"""Attributes of estimators whose text is looked up as a method of another object, and called."""

_METHODS = frozenset({"predict", "predict_proba", "predict_log_proba", "decision_function", "transform", "auto", None})


_STRUCTURES = {
    "metrics": ["JsonNode", "NdArrayNode", "NdArrayNode"],
    "neighbors": ["NdArrayNode"] * 4 + ["JsonNode"] * 7 + ["ObjectNode"],
}
"""What the structures in C take for their state, sample weights left out; they end the process where it is another."""


_NODE = 16
"""Steps for looking at one node."""


def trusted() -> list[str]:
    """What skops itself need not ask about once `examined` found nothing."""
    return sorted(frozenset().union(*listed(NAMES).values(), *_FEW.values()))


def scan(subject: Subject) -> Scan:
    """What an archive would make, call or look up that no fitted estimator needs."""
    shown, steps = subject.shown, subject.steps
    dangerous: dict[str, None] = {}
    unusual: dict[str, None] = {}
    try:
        data = description(subject.buffer, "schema.json", steps)
        for harms, name in () if data is None else _found(data, steps):
            (dangerous if harms else unusual)[name] = None
    except UNREADABLE:
        return Scan(shown, "skops", False, complete=False)
    return Scan(shown, "skops", bool(dangerous or unusual), tuple(dangerous), tuple(unusual))


def examined(path: Path, shown: str, steps: Steps | None = None) -> Scan:
    """`scan` of the archive at `path`; `shown` is what to call it in sentences."""
    with opened(path) as buffer:
        return scan(Subject(path, shown, buffer, Format("skops"), steps=steps))


def _found(data: bytes, steps: Steps | None) -> Iterator[tuple[bool, str]]:
    """(can it harm, what) of everything, as far as there are steps."""
    schema = json.loads(data)
    protocol = schema["protocol"]
    if isinstance(protocol, bool) or not isinstance(protocol, int) or protocol < 0:
        raise ValueError(f"protocol {protocol!r}")
    if protocol > 2:
        yield False, f"skops' protocol {protocol}"
        return
    nodes: list[dict[str, Any]] = []
    _resolved(schema, {}, nodes)
    for node in nodes:
        if steps is not None:
            steps.left -= _NODE
            if steps.left < 0:
                return
        yield from _judged(node, protocol)


# --- as skops reads it ---------------------------------------------------------------------------------------------


def _resolved(state: Any, memo: dict[Any, dict[str, Any]], nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """The node that skops would take here: of several with one ``__id__`` the first, wherever they stand. Its inner
    nodes are resolved in place, in the order in which skops comes upon them (``skops.io._audit.get_tree``)."""
    identity = state.get("__id__")
    if identity in memo:
        return memo[identity]
    if state["__loader__"] == "CachedNode":
        raise ValueError("a node that is not there")
    if identity:
        memo[identity] = state
    nodes.append(state)
    for place, key in _places(state):
        place[key] = _resolved(place[key], memo, nodes)
    return state


def _places(state: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Where a node holds others: (dictionary or list, key)."""
    loader, content = state["__loader__"], state.get("content")
    if loader == "DictNode":
        yield state, "key_types"
        yield from ((content, key) for key in _of(content, dict))
    elif loader in ("ListNode", "SetNode", "TupleNode"):
        yield from ((content, index) for index in range(len(_of(content, list))))
    elif loader == "NdArrayNode":
        if state["type"] == "json":
            yield from ((content, index) for index in range(len(_of(content, list))))
            yield state, "shape"
    elif loader == "ObjectNode":
        if content is not None:
            yield state, "content"
    elif loader == "MaskedArrayNode":
        yield from ((content, key) for key in ("data", "mask"))
    elif loader == "RandomGeneratorNode":
        yield from ((content, key) for key in ("bit_generator", "seed_seq"))
    elif loader in ("TreeNode", "LossNode"):
        yield state, "content"
        yield state["__reduce__"], "args"
    else:
        # Of RandomStateNode and DTypeNode the content; all there is of those not taken.
        yield from _within(state)


def _within(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if isinstance(part, dict) and "__loader__" in part:
            yield value, key
        else:
            yield from _within(part)


def _of(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} where skops writes a {kind.__name__}")
    return value


# --- what a node would do ------------------------------------------------------------------------------------------


def _judged(node: dict[str, Any], protocol: int) -> Iterator[tuple[bool, str]]:
    loader, name = node["__loader__"], _name(node)
    lists = listed(NAMES)
    if loader in ("JsonNode", "SliceNode"):
        return
    known = _FEW.get(loader) or lists.get(_LISTS.get(loader, ""), frozenset())
    if loader == "ObjectNode" and name in lists["structures"]:
        if _parts(node.get("content")) != _STRUCTURES[name.split(".")[1]]:
            yield True, f"{name} with another content than its own"
    elif name not in known:
        calls = loader in _CALLS
        yield calls or name.partition(".")[0] in _REACH_OUT, f"a call of {name}" if calls else name
    elif (protocol < 2 and loader == "RandomGeneratorNode") or (protocol < 1 and loader == "FunctionNode"):
        yield False, f"{name} in a form of skops' first versions"
    elif loader == "DictNode":
        yield from _keys(node)
    elif loader == "ObjectNode":
        yield from _attributes(name, node.get("content"))


def _name(node: dict[str, Any]) -> str:
    module, name = node["__module__"], str(node["__class__"])
    # Of a dotted class every split into module and name would look alike; skops writes none.
    return f"{module}:{name}" if "." in name else f"{module}.{name}"


def _keys(node: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    """skops calls each type of a key with the key."""
    types = node["key_types"]
    if types["__loader__"] != "ListNode":
        yield True, "a dictionary with odd keys"
        return
    for kind in types["content"]:
        name = _name(kind)
        if kind["__loader__"] != "TypeNode" or name not in listed(NAMES)["keys"]:
            yield True, f"a call of {name} for a key"
    # NumPy asks objects, not their classes, for some of these: __array_interface__ is memory by its address.
    yield from ((True, f"the attribute {key}") for key in node["content"] if re.fullmatch(r"__(?!doc__$)\w+__", key))


def _parts(state: dict[str, Any] | None) -> list[str]:
    if state is None or state["__loader__"] != "TupleNode":
        return []  # dict.update() would take a mapping, and a tuple of pairs, for attributes
    return [part["__loader__"] for part in state["content"]][:12]


def _attributes(name: str, state: dict[str, Any] | None) -> Iterator[tuple[bool, str]]:
    """An object's attributes, which skops gives it whatever they are."""
    if state is None or (state["__loader__"] == "JsonNode" and json.loads(state["content"]) is None):
        return
    if state["__loader__"] != "DictNode":
        yield True, f"{name} with a {state['__loader__']} for its attributes"
        return
    for key, value in state["content"].items():
        if key in _ASKED_BY_NAME and not _METHODS.issuperset(_texts(value)):
            yield True, f"{name} with any method for its {key}"
        elif key == "input" and name.startswith("sklearn.feature_extraction.text.") and _texts(value) != ["content"]:
            yield False, f"{name} that reads the files its rows name"


def _texts(node: dict[str, Any]) -> list[Any]:
    """The JSON values in a node or in a list of nodes; the node's loader where it is another one."""
    if node["__loader__"] in ("ListNode", "TupleNode"):
        return [text for inner in node["content"] for text in _texts(inner)]
    found = json.loads(node["content"]) if node["__loader__"] == "JsonNode" else node["__loader__"]
    return found if isinstance(found, list) else [found]
