"""What each node of an ONNX model shows when it runs, beside what it costs on paper: its time (`timed`), and its error,
spikes and shapes (`watched`).

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
from .compare.within import Within, within
from .engines.onnxruntime import RAN, OnnxRuntimeEngine
from .files import registry
from .files.formats import identify
from .files.header import Node, read_header
from .graph import graph
from .graph.facts import Facts
from .invented import first_answered, invent
from .safety import external
from .safety.trust import known_as
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
        asked: what the model was asked, in words, and how it is run where that is not as its file says.
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


def watched(
    path: str | os.PathLike[str], inputs: Any = None, *, against: Any = None, **options: Any
) -> tuple[Facts, Within]:
    """Run an ONNX model, and tell of each node its error, its spikes, and its shapes where inference ends.

    Args: as `workbench.compare.within.within` takes them, which says what an error is.

    Returns:
        (the facts, multiply-accumulates for the row that was run; what the run told, and what was asked).

    Raises:
        WorkbenchError: as for `workbench.compare.within.within`, and `workbench.graph.GraphView.costs`.
    """
    seen = within(path, inputs, against=against, **options)
    facts = graph(path).costs(options.get("cancel"), seen.shapes).measured(seen.errors, seen.spikes)
    if facts.of_run:
        values = listed(facts.of_run)
        seen = replace(seen, says=(*seen.says, f"Inference ends before these, whose shapes are the run's: {values}."))
    return facts, seen


def timed(
    path: str | os.PathLike[str],
    inputs: dict[str, np.ndarray] | None = None,
    *,
    runs: int = 20,
    seconds: float = 10,
    threads: int | None = None,
    memory_mib: float | None = None,
    cancel: threading.Event | None = None,
    facts: Facts | None = None,
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
        facts: what the times are added to; the costs if None.
        axes: for the costs, as `workbench.graph.GraphView.costs` takes them.

    Raises:
        UnsupportedModel: it is no ONNX file, or answers none of the inputs that were made up.
        WorkbenchError: the model cannot be read or run, or took too long or too much memory.
    """
    facts = facts or graph(path).costs(cancel, **axes)
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

    form = registry.of(identify(path).name).stands_for
    file = registry.at(form)(Path(path), Path(folder)) if form else Path(path)
    main = read_header(file).graph
    with known_as(file, Path(path)), OnnxRuntimeEngine(file, threads=threads, profile=folder) as engine:
        asked: tuple[str, ...] = ("what was given.",)
        if inputs is None:
            fillings, _ = first_answered(engine.run, invent(engine.inputs, main))
            inputs = {filling.name: filling.array for filling in fillings}
            asked = tuple(f"{filling.says}." for filling in fillings)
        for _ in range(WARM_UP):
            engine.run(inputs)
        began, done = time.monotonic(), 0
        while done < runs and (done == 0 or time.monotonic() - began < seconds):
            engine.run(inputs)
            done += 1
        events = json.loads(Path(engine.profiled()).read_text())
        remarks = engine.remarks
    ran = onnx.load(os.path.join(folder, RAN), load_external_data=False).graph
    whole, nodes = _median_run(events, done)
    as_run = {node.name: (node.op_type, list(node.input), list(node.output)) for node in ran.node if node.name}
    # One without a name is called after its operator and a number that the file does not tell: of each operator they
    # ran in the file's order.
    nameless: dict[str, list[tuple[str, list[str], list[str]]]] = defaultdict(list)
    for node in reversed(ran.node):
        if not node.name:
            nameless[node.op_type].append((node.op_type, list(node.input), list(node.output)))
    for name, op_type, _ in nodes:
        if name not in as_run and nameless[op_type]:
            as_run[name] = nameless[op_type].pop()
    return _Profile(whole, nodes, as_run, main.nodes, done, (*asked, *remarks))


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
    operators: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    added: dict[str, float] = defaultdict(float)
    for name, op_type, took in profile.events:
        last = model.last.get(name)
        if last is None:
            added[op_type] += took
            continue
        seconds[last] += took
        if not op_type.startswith("Reorder"):
            operators[last][op_type] += took
    nodes = list(facts.nodes)
    for last, members in model.merged(set(seconds)).items():
        # Of a function, its body's longest.
        op_type = max(operators[last], key=operators[last].__getitem__, default=nodes[last].op_type)
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
