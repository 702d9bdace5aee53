"""TensorFlow operators that do more than compute."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..errors import Scan
from ..wire import LEN, Span, StepsSpent, Wire
from .subject import Subject

REACHING_OUT = re.compile(
    r"File|Save|Restore|Checkpoint|Reader|Dataset|DataService|PyFunc|Print|^Debug|Remote|Rpc|BigQuery|Bigtable"
    r"|Summary(?:Db)?Writer|^Write\w*Summary|^ImportEvent$|VocabRemapping|LoadAndRemap|^DecodeProto|^TensorRT|^TRT"
)
"""TensorFlow operators that read or write files, call Python, or speak to other machines."""

_SAVES_WEIGHTS = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"})


def _reaching_out(ops: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"the operator {op}" for op in ops if REACHING_OUT.search(op)))


def scan(subject: Subject) -> Scan:
    """The operators of a graph that do more than compute. A SavedModel restores objects besides."""
    name = subject.format.name
    if name == "SavedModel":
        # Its weights are saved by operators.
        named = subject.format.markers
        bad = _reaching_out(op for op in named if op not in _SAVES_WEIGHTS)
        return Scan(subject.shown, name, True, bad, complete=bool(named))
    ops: dict[str, None] = {}
    complete = True
    if name == "GraphDef":
        wire = Wire(subject.buffer, subject.steps)
        try:
            for op in _graph_def_ops(wire):
                if op not in ops:
                    ops[op] = None
                    wire.steps.left -= 30  # for the pattern
        except StepsSpent:
            if subject.thorough:
                raise
            complete = False
    bad = _reaching_out(ops)
    return Scan(subject.shown, name, bool(bad), bad, complete=complete)


def _graph_def_ops(wire: Wire) -> Iterator[str]:
    """NodeDef.op of every node, of functions too. What a hostile node says twice counts twice: protobuf takes the
    last, other readers the first."""
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
