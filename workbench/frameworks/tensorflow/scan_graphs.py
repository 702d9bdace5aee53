"""TensorFlow graphs: what their operators do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ...errors import Scan
from ...files.wire import LEN, Span, Steps, StepsSpent, Wire, WireError
from ...safety.names import listed
from ...safety.subject import Subject

NAMES = Path(__file__).with_name("tensorflow.txt")

THOROUGH = 100_000_000

_SAVES = frozenset({"SaveV2", "MergeV2Checkpoints"})
"""What a SavedModel's own saver needs beside `_RESTORES`."""

_RESTORES = frozenset({"RestoreV2"})

_VOCABULARIES = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
"""A SavedModel keeps the file they read beside itself."""


def calculates(op: str) -> bool:
    """Is this operator known to calculate, and to do nothing else?"""
    return op in listed(NAMES)["calculates"]


def reaches_out(op: str) -> bool:
    """Is it known to do more?"""
    return op in listed(NAMES)["reaches out"]


def scan(subject: Subject) -> Scan:
    """The operators that are not known to calculate only, of a graph and all its functions. A SavedModel restores
    objects besides."""
    shown, name, thorough = subject.shown, subject.format.name, subject.thorough
    wire = Wire(subject.buffer, subject.steps or Steps(THOROUGH))
    wire.text_left *= 16 if thorough else 1  # a SavedModel's nodes have names, and those they read
    dangerous: dict[str, None] = {}
    unusual: dict[str, None] = {}
    complete = True
    judge = _saved_model if name == "SavedModel" else _frozen if name == "GraphDef" else _tflite
    try:
        for harms, what in judge(wire, thorough):
            (dangerous if harms else unusual)[what] = None
    except (WireError, RecursionError) as error:
        complete = not thorough and isinstance(error, StepsSpent)  # which `glance` says
    if name == "SavedModel":
        # TensorFlow reads these rather than saved_model.pb, or where that is missing.
        others = (other for other in ("saved_model.cpb", "saved_model.pbtxt") if (subject.path / other).exists())
        unusual |= dict.fromkeys(f"a {other} that is not looked into" for other in others)
    runs = name == "SavedModel" or bool(dangerous or unusual) or not complete
    return Scan(shown, name, runs, tuple(dangerous), tuple(unusual), complete)


def _frozen(wire: Wire, thorough: bool) -> Iterator[tuple[bool, str]]:
    """(can it harm, what)."""
    graph = _Graph(nodes=False)
    try:
        graph.read(wire, wire.span)
    finally:  # of what was read before a damaged place, too
        yield from graph.judged()


def judged_node(data: bytes) -> Iterator[tuple[bool, str]]:
    """(can it harm, what) of a NodeDef by itself.

    Raises:
        UnreadableFile: it is none.
    """
    graph = _Graph(nodes=False)
    graph.read_node(Wire(data), (0, len(data)), None)
    yield from graph.judged()


# --- SavedModels ---------------------------------------------------------------------------------------------------


def _saved_model(wire: Wire, thorough: bool) -> Iterator[tuple[bool, str]]:
    # SavedModel: meta_graphs = 2. MetaGraphDef: graph_def = 2, saver_def = 3, collection_def = 4, signature_def = 5,
    # asset_file_def = 6, object_graph_def = 7.
    for meta in _spans(wire, wire.span, 2):
        graph = _Graph(nodes=True)
        for inner in _spans(wire, meta, 2):
            graph.read(wire, inner)
        saves = graph.ops.keys() & (_SAVES | _RESTORES)
        if saves:
            # SaverDef: restore_op_name = 3. What that reaches may restore, and nothing may but that.
            restoring = graph.reached(_texts(wire, meta, 3, 3), ())
            # SignatureDef: inputs = 1 and outputs = 2, of TensorInfo: name = 1, coo_sparse = 4, composite_tensor = 5.
            # CollectionDef: node_list = 1. SavedObjectGraph: concrete_functions = 2, by name.
            begins = [
                *_texts(wire, meta, 5, 2, (1, 2), 2, 1),
                *_texts(wire, meta, 5, 2, (1, 2), 2, 4, (1, 2, 3)),
                *_texts(wire, meta, 5, 2, (1, 2), 2, 5, 2, 1),
                *_texts(wire, meta, 4, 2, 1, 1),
            ]
            serving = graph.reached(begins, _texts(wire, meta, 7, 2, 1))
            saves -= serving | (restoring & _SAVES)
        for harms, what in graph.judged(saves):
            yield harms and what.rpartition(" ")[2] not in _VOCABULARIES, what
        # AssetFileDef: filename = 2, in the folder assets.
        for name in _texts(wire, meta, 6, 2):
            if PurePosixPath(name).is_absolute() or ".." in re.split(r"[/\\]", name):
                yield True, f"the file {name} to be read"


def _spans(wire: Wire, span: Span, *place: int | tuple[int, ...]) -> Iterator[Span]:
    """The messages and texts at a place: field numbers from the outside in."""
    first = place[0] if isinstance(place[0], tuple) else place[:1]
    for number, kind, _, inner in wire.fields(span):
        if kind == LEN and number in first:
            if len(place) == 1:
                yield inner
            else:
                yield from _spans(wire, inner, *place[1:])


def _texts(wire: Wire, span: Span, *place: int | tuple[int, ...]) -> Iterator[str]:
    yield from (wire.text(inner, 1000) for inner in _spans(wire, span, *place))


# --- graphs --------------------------------------------------------------------------------------------------------


class _Node(NamedTuple):
    """What a node says twice is there twice: protobuf takes the last, other readers the first."""

    names: list[str]
    ops: list[str]
    reads: list[str]
    calls: list[str]


class _Graph:
    """A GraphDef: its operators and the functions that its nodes call; with `nodes`, all nodes, too."""

    def __init__(self, nodes: bool) -> None:
        self.ops: dict[str, None] = {}
        self.calls: dict[str, None] = {}
        self.functions: dict[str, list[_Node]] = {}
        self.nodes: list[_Node] | None = [] if nodes else None

    def read(self, wire: Wire, span: Span) -> None:
        # GraphDef: node = 1, library = 2. FunctionDefLibrary: function = 1. FunctionDef: signature = 1, node_def = 3.
        # OpDef: name = 1, of which protobuf takes the last.
        for number, kind, _, inner in wire.fields(span):
            if (number, kind) == (1, LEN):
                self.read_node(wire, inner, self.nodes)
            elif (number, kind) == (2, LEN):
                for function in _spans(wire, inner, 1):
                    *_, name = ("", *_texts(wire, function, 1, 1))
                    nodes = self.functions.setdefault(name, [])
                    for node in _spans(wire, function, 3):
                        self.read_node(wire, node, None if self.nodes is None else nodes)

    def read_node(self, wire: Wire, span: Span, nodes: list[_Node] | None) -> None:
        # NodeDef: name = 1, op = 2, input = 3, attr = 5. Its entry: value = 2.
        node = _Node([], [], [], [])
        for number, kind, _, inner in wire.fields(span):
            if kind != LEN:
                continue
            if number == 2:
                node.ops.append(wire.text(inner, 200))
            elif number == 5:
                for value in _spans(wire, inner, 2):
                    node.calls.extend(_calls(wire, value))
            elif nodes is not None and number in (1, 3):
                (node.names if number == 1 else node.reads).append(wire.text(inner, 1000))
        self.ops.update(dict.fromkeys(node.ops))
        self.calls.update(dict.fromkeys(node.calls))
        if nodes is not None:
            nodes.append(node)

    def judged(self, allowed: Iterable[str] = ()) -> Iterator[tuple[bool, str]]:
        """(can it harm, what) of operators that are not known to calculate only, and of calls for which another graph
        in the process would have to bring the function."""
        for op in sorted(self.ops.keys() - set(allowed)):
            if reaches_out(op) or (not calculates(op) and op not in self.functions):
                yield reaches_out(op), f"the operator {op}"
        for name in sorted(self.calls.keys() - self.functions):
            yield False, f"a call of {name}, which it does not hold"

    def reached(self, tensors: Iterable[str], functions: Iterable[str]) -> set[str]:
        """The operators that run where these tensors or functions are asked for."""
        by_name: dict[str, list[_Node]] = {}
        for node in self.nodes or ():
            for name in node.names:
                by_name.setdefault(_node_name(name), []).append(node)
        found: set[str] = set()
        seen: set[tuple[bool, str]] = set()
        waiting = [(False, _node_name(name)) for name in tensors] + [(True, name) for name in functions]
        while waiting:
            place = called, name = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            for node in (self.functions if called else by_name).get(name, ()):
                found.update(node.ops)
                waiting += [(True, each) for each in (*node.calls, *node.ops)]
                waiting += [] if called else [(False, _node_name(each)) for each in node.reads]
        return found


def _node_name(tensor: str) -> str:
    # As much as `_texts` keeps of names of any length, whatever stands before and behind them.
    return tensor.lstrip("^").partition(":")[0][:900]


def _calls(wire: Wire, value: Span) -> Iterator[str]:
    """The functions an AttrValue names."""
    # AttrValue: list = 1, func = 10. ListValue: func = 9. NameAttrList: name = 1, attr = 2, whose entry has value = 2.
    for number, kind, _, inner in wire.fields(value):
        if kind == LEN and number in (1, 10):
            for call in (inner,) if number == 10 else _spans(wire, inner, 9):
                yield from _texts(wire, call, 1)
                for nested in _spans(wire, call, 2, 2):
                    yield from _calls(wire, nested)


# --- TensorFlow Lite -----------------------------------------------------------------------------------------------


def _tflite(wire: Wire, thorough: bool) -> Iterator[tuple[bool, str]]:
    """Operators of TensorFlow that a file takes along: a string of a FlatBuffer, its length before it, ``Flex`` first.
    TensorFlow's own interpreter for Python does not run them; others do."""
    at, size = 0, len(wire)
    while at < size:
        part = wire.data((at, size), _BLOCK)
        for found in re.finditer(rb"(....)Flex([\w>]{1,200})\0", part, re.S):
            if int.from_bytes(found[1], "little") == len(found[2]) + 4 and not calculates(op := found[2].decode()):
                yield reaches_out(op), f"the operator {op}"
        if not thorough and at + _BLOCK < size - _BLOCK:
            at = size - _BLOCK  # the names stand at one end
        else:
            at += _BLOCK - 300


_BLOCK = 1 << 22
