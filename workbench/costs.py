"""How long each node of an ONNX model takes in ONNX Runtime, beside what it costs on paper: `timed`.

The times are ONNX Runtime's own profile's, of the run whose total is the median. Before it runs, ONNX Runtime merges
nodes and lays out others anew: what a merged one takes stands at the node that does most of its work, and the others
say what they became.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import sandbox
from .engines.onnxruntime import SETTINGS
from .errors import UnsupportedModel
from .files.header import Node, read_header
from .graph import graph
from .graph.facts import Facts
from .invented import invent
from .safety import external
from .scratch import fleeting_folder
from .words import listed

WARM_UP = 2
"""Runs that are not counted."""

LAID_OUT = "_nchwc"
"""What ONNX Runtime adds to the name of the value a node gives, where it lays it out in blocks of channels."""


@dataclass(frozen=True)
class Timed:
    """What `timed` measured.

    Attributes:
        facts: of the model's nodes, with ``seconds`` where one took any, and ``ran_as`` where it ran as another.
        whole: seconds of the whole call, of the same run.
        added: {operator: seconds} of what ONNX Runtime added, such as changes of layout.
        runs: how many were measured.
        asked: what the model was asked, in words.
    """

    facts: Facts
    whole: float
    added: dict[str, float]
    runs: int
    asked: tuple[str, ...]

    @property
    def says(self) -> str:
        """How much of the call the nodes' times are, and where the rest is."""
        nodes = self.facts.total["seconds"] or 0.0
        extra = sum(self.added.values())
        rest = 1 - (nodes + extra) / self.whole if self.whole else 0.0
        added = f", {extra / self.whole:.0%} what ONNX Runtime added ({listed(self.added)})" if self.added else ""
        left = f", {rest:.0%} passed between them" if rest > 0.05 else ""
        return (
            f"The median of {self.runs} runs took {self.whole * 1e3:.3g} ms: {nodes / self.whole:.0%} of it are the "
            f"nodes' own times{added}{left}."
        )


def timed(
    path: str | os.PathLike[str],
    inputs: dict[str, np.ndarray] | None = None,
    *,
    runs: int = 20,
    seconds: float = 10,
    threads: int | None = None,
    memory_mib: float | None = None,
    cancel: threading.Event | None = None,
    **axes: int,
) -> Timed:
    """Run an ONNX model under ONNX Runtime's profiler, in a worker process.

    Args:
        path: an ONNX file.
        inputs: {name: array}; made up from the model's signature if None.
        runs: at most so many, after two that do not count; fewer where they take more than `seconds` together.
        threads: within one operator; one per core if None.
        memory_mib: MiB for the worker, by the model's size if None.
        cancel: set it from another thread to give up.
        axes: for the costs, as `workbench.graph.GraphView.costs` takes them.

    Raises:
        UnsupportedModel: it is no ONNX file, or answers none of the inputs that were made up.
        WorkbenchError: the model cannot be read or run, or took too long or too much memory.
    """
    facts = graph(path).costs(**axes)
    size = external.whole_size(Path(path))
    with fleeting_folder("profile-") as folder:
        profile = sandbox.run(
            _profiled, os.fspath(path), inputs, str(folder), runs, seconds, threads,
            timeout=seconds + 120 + size / 1e6, memory_mib=memory_mib or 700 + 6 * size / 2**20, adjustable=True,
            cancel=cancel, what=f"Timing the nodes of {Path(path).name}",
        )  # fmt: skip
    return _told(facts, profile)


@dataclass(frozen=True)
class _Profile:
    """One run: [(node's name, operator, seconds)], the nodes that ran {name: (operator, what it reads, what it gives)},
    and the model's own."""

    whole: float
    events: list[tuple[str, str, float]]
    ran: dict[str, tuple[str, list[str], list[str]]]
    nodes: tuple[Node, ...]
    runs: int
    asked: tuple[str, ...]


def _profiled(
    path: str, inputs: dict[str, np.ndarray] | None, folder: str, runs: int, seconds: float, threads: int | None
) -> _Profile:
    import onnx
    import onnxruntime as ort

    external.check(Path(path))
    header = read_header(path)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    for key, value in SETTINGS.items():
        options.add_session_config_entry(key, value)
    options.intra_op_num_threads = threads or 0
    options.enable_profiling, options.profile_file_prefix = True, os.path.join(folder, "run")
    # What ran: the graph after its optimiser, whose weights nobody reads.
    options.optimized_model_filepath = os.path.join(folder, "ran.onnx")
    for key, value in (("file_name", "ran.data"), ("min_size_in_bytes", "0")):
        options.add_session_config_entry(f"session.optimized_model_external_initializers_{key}", value)
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UnsupportedModel(f"ONNX Runtime cannot load {path}: {str(error).splitlines()[0]}") from error
    feeds, asked = (inputs, ("what was given.",)) if inputs is not None else _made_up(session, header.graph, path)
    for _ in range(WARM_UP):
        session.run(None, feeds)
    began, done = time.monotonic(), 0
    while done < runs and (done == 0 or time.monotonic() - began < seconds):
        session.run(None, feeds)
        done += 1
    events = json.loads(Path(session.end_profiling()).read_text())
    ran = onnx.load(os.path.join(folder, "ran.onnx"), load_external_data=False).graph
    whole, nodes = _median_run(events, done)
    as_run = {node.name: (node.op_type, list(node.input), list(node.output)) for node in ran.node}
    return _Profile(whole, nodes, as_run, header.graph.nodes, done, asked)


def _made_up(session: Any, main: Any, path: str) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    said: Exception | None = None
    for fillings in invent(main.inputs, main):
        feeds = {filling.name: filling.array for filling in fillings}
        try:
            session.run(None, feeds)
        except Exception as error:  # of this alternative; the next may do
            said = error
            continue
        return feeds, tuple(f"{filling.says}." for filling in fillings)
    raise UnsupportedModel(f"{path} answers none of the inputs that were made up for it; give inputs=. {said or ''}")


def _median_run(events: list[dict[str, Any]], runs: int) -> tuple[float, list[tuple[str, str, float]]]:
    """Seconds of the run in the middle of the last ones, and what its nodes took."""
    calls = [event for event in events if event.get("name") == "model_run"][-runs:]
    call = sorted(calls, key=lambda event: event["dur"])[(len(calls) - 1) // 2]
    begin, end = call["ts"], call["ts"] + call["dur"]
    ending = "_kernel_time"
    nodes = []
    for event in sorted(events, key=lambda event: (event["ts"], -event["dur"])):
        if event.get("cat") == "Node" and event["name"].endswith(ending) and begin <= event["ts"] <= end:
            nodes.append((event["name"].removesuffix(ending), event["args"].get("op_name", ""), event["dur"] / 1e6))
            begin = event["ts"] + event["dur"]  # what runs meanwhile is a part of it: the body of a Loop or an If
    return call["dur"] / 1e6, nodes


def _told(facts: Facts, profile: _Profile) -> Timed:
    model = _Model(profile)
    seconds: dict[int, float] = defaultdict(float)
    operators: dict[int, str] = {}
    added: dict[str, float] = defaultdict(float)
    for name, op_type, took in profile.events:
        last = model.last.get(name)
        if last is None:
            added[op_type] += took
            continue
        seconds[last] += took
        if not op_type.startswith("Reorder"):
            operators[last] = op_type
    nodes = list(facts.nodes)
    for last, members in model.merged(set(seconds)).items():
        op_type = operators.get(last, nodes[last].op_type)
        most = max(members, key=lambda index: (nodes[index].macs or 0, nodes[index].op_type == op_type, index == last))
        others = ", ".join(dict.fromkeys(facts.nodes[index].op_type for index in sorted(members) if index != most))
        for index in members:
            if index == most:
                ran_as = f"{op_type} with {others}" if others else op_type * (op_type != nodes[index].op_type)
            else:
                ran_as = f"part of {op_type}, timed at {facts.nodes[most].name or facts.nodes[most].op_type}"
            nodes[index] = replace(nodes[index], seconds=seconds[last] if index == most else None, ran_as=ran_as)
    return Timed(replace(facts, nodes=tuple(nodes)), profile.whole, dict(added), profile.runs, profile.asked)


class _Model:
    """The model's nodes, and which of them what ran stands for.

    Attributes:
        last: {what ran: the node whose value it gives}, by number; without what gives none of the model's own.
    """

    def __init__(self, profile: _Profile) -> None:
        self.nodes = profile.nodes
        self.giver = {value: index for index, node in enumerate(self.nodes) for value in node.outputs if value}
        named = defaultdict(list)  # several nodes may have one name, or none
        for index, node in enumerate(self.nodes):
            named[node.name].append(index)
        self.last: dict[str, int] = {}
        for name, (_, _, gives) in profile.ran.items():
            values = [*gives, name.removesuffix(LAID_OUT)] if name.endswith(LAID_OUT) else gives
            own = next((self.giver[value] for value in values if value in self.giver), None)
            if own is None and len(named.get(name, ())) == 1:
                own = named[name][0]
            if own is not None:
                self.last[name] = own
        # A sum and an activation may be merged into a convolution that keeps its name, a normalisation may become one
        # of its own: what reads it tells what it gives.
        makers = {value: name for name, (_, _, gives) in profile.ran.items() for value in gives}
        for name, (op_type, reads, gives) in profile.ran.items():
            maker = makers.get(reads[0]) if reads else None
            if maker is None or name not in self.last or reads[0] in self.giver or maker.startswith("Reorder"):
                continue
            # A change of layout gives the value that it reads.
            value = gives[0] if op_type == "ReorderOutput" else self._read(self.last[name], op_type)
            if value in self.giver:
                self.last[maker] = self.giver[value]

    def _read(self, last: int, op_type: str) -> str:
        """What the first node of an operator reads, from `last` back along first inputs; empty if there is none."""
        node = self.nodes[last]
        for _ in self.nodes:
            if node.op_type == op_type:
                return node.inputs[0] if node.inputs else ""
            if not node.inputs or node.inputs[0] not in self.giver:
                return ""
            node = self.nodes[self.giver[node.inputs[0]]]
        return ""

    def merged(self, ran: set[int]) -> dict[int, list[int]]:
        """{node whose value was given: it, and those before it up to others whose values were given}."""
        hosts, taken = {}, set(ran)
        for last in sorted(ran):
            members, todo = [last], [last]
            while todo:
                for value in self.nodes[todo.pop()].inputs:
                    before = self.giver.get(value, last)
                    if before not in taken:
                        taken.add(before)
                        members.append(before)
                        todo.append(before)
            hosts[last] = members
        return hosts
