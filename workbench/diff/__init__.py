"""What differs between two ONNX files: `diff`.

Nodes of the main graphs are paired by what they do, hold and are called (`matching.py`); what has no partner was added
or removed, and of each pair is said what changed: operator, attributes, weights and how far, what it reads. Subgraphs
and functions are compared as wholes.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput, UnsupportedModel, WorkbenchError
from ..files.formats import identify
from ..files.wire import stamp
from ..graph import frame, graph, policy
from ..markup import render, script, whole_page
from ..publish import write_text
from ..safety import external
from ..sandbox import Cancelled, memory_for, run
from ..words import counted, listed, readable, share, visible

if TYPE_CHECKING:
    import pandas as pd

    from .nodes import Node, Side

SECONDS = 600
"""For reading and pairing both graphs."""

SHOWN, MOST_ROWS = 50, 2_000
"""Nodes of a sort in the table of a notebook, and of a page."""


@dataclass(frozen=True)
class Changed:
    """A node that was added, removed or changed.

    Attributes:
        name: the node's own, or of the value it gives; of a changed one in the first file.
        op_type: of a changed one in the first file.
        what: what changed, in words; what it was merged into, of a removed one where that is known.
        how_far: of weights the largest difference, as a share of the largest weight's size; None where none changed or
            they cannot be compared.
        gives: the first value it gives, by which a view of the graph finds it: in the first file, in the second.
    """

    name: str
    op_type: str
    what: str = ""
    how_far: float | None = None
    gives: tuple[str, str] = ("", "")

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "gives"}


@dataclass(frozen=True)
class Difference:
    """What `diff` found.

    Attributes:
        first, second: the files.
        added, removed, changed: nodes.
        same: how many nodes are the same in both, weights and all.
        model: what differs of the models as wholes, in words: opsets, inputs, outputs, functions.
        weights: (how many weights were compared, how many differ).
        says: the sentence.
        written: when each file was last written, and its size, as they were read.
    """

    first: str
    second: str
    added: tuple[Changed, ...]
    removed: tuple[Changed, ...]
    changed: tuple[Changed, ...]
    same: int
    model: tuple[str, ...]
    weights: tuple[int, int]
    says: str
    written: tuple[object, ...] = field(repr=False)

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each node that differs: ``status``, ``name``, ``op_type``, ``what``, ``how_far``."""
        import pandas as pd

        rows = [{"status": status, **node.to_dict()} for status, nodes in self.parts for node in nodes]
        return pd.DataFrame(rows, columns=["status", "name", "op_type", "what", "how_far"])

    @property
    def names(self) -> tuple[str, str]:
        """Of both files, without their folders."""
        return Path(self.first).name, Path(self.second).name

    @property
    def parts(self) -> tuple[tuple[str, tuple[Changed, ...]], ...]:
        """The nodes that differ, by what became of them."""
        return ("removed", self.removed), ("added", self.added), ("changed", self.changed)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``workbench diff --json``."""
        parts = {status: [node.to_dict() for node in nodes] for status, nodes in self.parts}
        return {
            "first": self.first, "second": self.second, **parts, "same": self.same, "model": list(self.model),
            "says": self.says,
        }  # fmt: skip

    def page(self, cancel: threading.Event | None = None) -> str:
        """An HTML document that needs no network: what `diff` found, and both graphs with the nodes marked. A click
        on a row shows its node in both.

        Args:
            cancel: set it from another thread to give up.

        Raises:
            BadInput: a file is not there any more, or has changed, so that the marks would be another graph's.
        """
        nonce = secrets.token_hex(16)
        views = []
        for path, written in zip((self.first, self.second), self.written, strict=True):
            if stamp(path) != written:
                raise BadInput(f"{path} is not as it was when both files were compared; compare them again.")
            views.append(graph(path, cancel=cancel))
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"The page of {self.names[0]} and {self.names[1]} was cancelled.")
        marks: tuple[dict[str, str], dict[str, str]] = {}, {}
        rows = {}
        for status, nodes in self.parts:
            for number, node in enumerate(nodes):
                rows[f"{status}-{number}"] = node.gives
                for which, value in enumerate(node.gives):
                    if value:
                        marks[which][value] = status
        # Names are shown as they can be seen, and looked for as they are.
        text = base64.b64encode(json.dumps({"marks": marks, "rows": rows}).encode()).decode()
        live = [frame(view.page(nonce), view.name) if view.reason is None else "" for view in views]
        with whole_page():
            found = render("diff", found=self, parts=self.parts, most=MOST_ROWS, share=share, live=True)
            return render(
                "diff_page", found=found, views=views, live=live, text=text, policy=policy(nonce), nonce=nonce,
                script=script("diff"),
            )  # fmt: skip

    def save(
        self, path: str | os.PathLike[str], *, overwrite: bool = False, cancel: threading.Event | None = None
    ) -> Path:
        """Write `page` to a file; it appears whole or not at all.

        Raises:
            BadInput: it is one of the two files; or as `page`.
            WorkbenchError: the file exists and `overwrite` is not set, or it cannot be written.
        """
        return write_text(self.page(cancel), path, overwrite=overwrite, inputs=[self.first, self.second])

    def _repr_html_(self) -> str:
        return render("diff", found=self, parts=self.parts, most=SHOWN, share=share, live=False)

    def __str__(self) -> str:
        return self.says


def diff(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    *,
    memory_mib: float | None = None,
    cancel: threading.Event | None = None,
) -> Difference:
    """What changed from one ONNX file to another. Both are read in a worker process; nothing in them is run.

    Args:
        first, second: ONNX files; their external data must be their own.
        memory_mib: for that process; by the files' sizes if None.
        cancel: set it from another thread to give up.

    Raises:
        UnreadableFile: missing or damaged.
        UnsupportedModel: a file holds something else than an ONNX model.
        WorkerFailed: a file crashed its reader, or took too much time or memory.
    """
    paths = [Path(first), Path(second)]
    for path in paths:
        format = identify(path).name
        if format not in ("ONNX", "unknown"):  # what is damaged is called so by whoever reads it
            raise UnsupportedModel(f"{path} is {format}, and two ONNX files are compared: convert it first.")
        external.check(path)
    room = memory_for(sum(external.whole_size(path) for path in paths))
    return run(
        difference, *paths, timeout=SECONDS, memory_mib=memory_mib or room, adjustable=True, cancel=cancel, warm=True,
        what=f"Comparing {paths[0].name} and {paths[1].name}",
    )  # fmt: skip


def difference(first: Path, second: Path) -> Difference:
    """`diff` itself, in the process that calls it: ONNX's parser reads both files."""
    from .matching import match
    from .merging import merged_into
    from .nodes import read

    written = stamp(first), stamp(second)
    one, other = read(first), read(second)
    pairs = match(one, other)
    gone = [node for node in one.nodes if node not in pairs]
    taken = set(pairs.values())
    new = [node for node in other.nodes if node not in taken]
    heirs = {node: heir for node in gone if (heir := _heir(node, one, other, pairs)) is not None}
    into = {node: heir[1] for node, heir in heirs.items() if merged_into(one, node, *heir, other)}
    found = _Found(one, other, pairs)
    changed = tuple(change for here, there in pairs.items() if (change := found.change(here, there)) is not None)
    results = found.results()
    model = (
        *(
            f"{what}: {one.about.get(what, 'none')} → {other.about.get(what, 'none')}"
            for what in {**one.about, **other.about}
            if one.about.get(what) != other.about.get(what)
        ),
        *results,
    )
    became = {
        **{node: f"what read it reads {_named(heir)}" for node, (_, heir) in heirs.items()},
        **{node: f"merged into {_named(host)}" for node, host in into.items()},
    }
    removed = tuple(Changed(node.label, node.op_type, became.get(node, ""), None, (_gives(node), "")) for node in gone)
    added = tuple(Changed(node.label, node.op_type, "", None, ("", _gives(node))) for node in new)
    merged = Counter((node.op_type, host.op_type) for node, host in into.items())
    same = len(pairs) - len(changed)
    weights = found.compared, found.apart
    said = _says(removed, added, changed, same, model, results, weights, merged, found.furthest)
    return Difference(str(first), str(second), added, removed, changed, same, model, weights, said, written)


def _gives(node: Node) -> str:
    return next(filter(None, node.outputs), "")


def _named(node: Node) -> str:
    return f"{node.op_type} {node.label}"


def _heir(node: Node, one: Side, other: Side, pairs: dict[Node, Node]) -> tuple[Node, Node] | None:
    """The node, in both graphs, whose value is read in the other graph where a removed one's was read in the first: it
    may do its work now. None where there is none."""
    host: Node | None = node
    while host is not None and host not in pairs:  # back to a node that is still there
        host = one.giver.get(next(iter(host.data.values()), ""))
    if host is None:
        return None
    given, seen, ends = set(pairs[host].outputs), {node}, [node]
    results = dict(zip(one.outputs, other.outputs, strict=False))
    while ends:  # on to those that are still there
        for value in ends.pop().outputs:
            takers = one.takers.get(value, ())
            read = [pairs[t].data.get(place) for t in takers if t in pairs for place, v in t.data.items() if v == value]
            if given & {*read, results.get(value)}:
                return host, pairs[host]
            new = [taker for taker in takers if taker not in pairs and taker not in seen]
            seen.update(new)
            ends += new
    return None


class _Found:
    """What changed between the nodes of each pair; counts the weights on the way."""

    def __init__(self, one: Side, other: Side, pairs: dict[Node, Node]) -> None:
        self.one, self.other, self.pairs = one, other, pairs
        self.back = {there: here for here, there in pairs.items()}
        self.compared = self.apart = 0
        self.furthest: tuple[float, str] = (0.0, "")

    def change(self, here: Node, there: Node) -> Changed | None:
        """None where both are the same."""
        said = []
        if (here.domain, here.op_type) != (there.domain, there.op_type):
            said.append(f"{here.op_type} → {there.op_type}")
        names = {**here.attributes, **there.attributes}
        for name in names:
            before, after = (node.attributes.get(name, "none") for node in (here, there))
            if repr(before) != repr(after):  # of two that are not a number, neither is the other
                said.append(f"{name}: {visible(before, 60)} → {visible(after, 60)}")
        far = self._weights(here, there, said)
        for place in sorted(here.data.keys() & there.data.keys()):
            if self._source(self.one, here.data[place]) != self._source(self.other, there.data[place]):
                said.append(f"input {place}: another value")
        if not said:
            return None
        return Changed(here.label, here.op_type, "; ".join(said), far, (_gives(here), _gives(there)))

    def results(self) -> tuple[str, ...]:
        """What differs of the values that both models give, which no node may tell: each output gives what it gave?"""
        said: list[str] = []
        one, other = self.one, self.other
        if one.outputs != other.outputs and sorted(one.outputs) == sorted(other.outputs):
            said.append(f"order of outputs: {listed(one.outputs)} → {listed(other.outputs)}")
        for name in (name for name in one.outputs if name in other.outputs):
            if one.holds(name) and other.holds(name):
                self._weight(name, name, name, f"output {name}", said)
            elif self._source(one, name) != self._source(other, name):
                said.append(f"output {name}: another value")
        return tuple(said)

    def _weights(self, here: Node, there: Node, said: list[str]) -> float | None:
        found = []
        for place in sorted({*here.weights, *there.weights, *here.data, *there.data}):
            had, has = (
                "a weight" if place in node.weights else "computed" if place in node.data else "left out"
                for node in (here, there)
            )
            if had != has:
                said.append(f"input {place}: {had} → {has}")
            elif place in here.weights:
                found.append(
                    self._weight(here.weights[place], there.weights[place], here.label, f"input {place}", said)
                )
        return max((far for far in found if far is not None), default=None)

    def _weight(self, name: str, other: str, label: str, what: str, said: list[str]) -> float | None:
        """How far two weights are apart; None where they are not, or it cannot be told."""
        self.compared += 1
        before, after = self.one.shape(name), self.other.shape(other)
        if before == after and self.one.digest(name) == self.other.digest(other):
            return None
        try:
            values = self.one.weight(name), self.other.weight(other)
        except WorkbenchError as error:
            said.append(str(error))
            return None
        if values[0].shape != values[1].shape:
            self.apart += 1
            said.append(f"{what}: weights of shape {values[0].shape} → {values[1].shape}")
        elif (how_far := _far(*values)) != 0:
            self.apart += 1
            dtypes = "" if before[0] == after[0] else f"{before[0]} → {after[0]}, "
            said.append(f"{what}: weights {dtypes}{_words(how_far)}")
            if how_far is not None:
                self.furthest = max(self.furthest, (how_far, label))
                return how_far
        elif values[0].dtype != values[1].dtype:
            said.append(f"{what}: {values[0].dtype} → {values[1].dtype}, the same numbers")
        return None

    def _source(self, side: Side, value: str) -> Any:
        """Where a value is from: an input, or a node that both graphs have, through those that only one has."""
        known = self.pairs if side is self.one else self.back
        seen = set()
        while (giver := side.giver.get(value)) is not None:
            if giver in known:
                return (giver if side is self.one else known[giver]).index, giver.outputs.index(value)
            if value in seen or not giver.data:
                return None
            seen.add(value)
            value = next(iter(giver.data.values()))
        return side.inputs.index(value) if value in side.inputs else value


def _far(one: np.ndarray, other: np.ndarray) -> float | None:
    """The largest difference, as a share of the largest size among both; None where that says nothing: of text, or of
    whole numbers that stand for real ones by a scale."""
    if (one.dtype.kind in "iub") != (other.dtype.kind in "iub"):
        return None
    if one.dtype.kind in "OUST" or other.dtype.kind in "OUST":
        return 0.0 if one.tolist() == other.tolist() else None
    if not one.size:
        return 0.0
    values = [np.asarray(array, np.complex128 if array.dtype.kind == "c" else np.float64) for array in (one, other)]
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(values[0] - values[1])
        apart[(values[0] == values[1]) | (np.isnan(values[0]) & np.isnan(values[1]))] = 0
        largest = max(float(np.nanmax(np.abs(array), initial=0)) for array in values)
    most = float(apart.max())
    if not np.isfinite(most) or not np.isfinite(largest):
        return None
    return most / largest if largest else 0.0


def _words(far: float | None) -> str:
    return "differ" if far is None else f"by up to {readable(100 * far)} % of the largest"


def _says(
    removed: tuple[Changed, ...], added: tuple[Changed, ...], changed: tuple[Changed, ...], same: int,
    model: tuple[str, ...], results: tuple[str, ...], weights: tuple[int, int], merged: Counter[tuple[str, str]],
    furthest: tuple[float, str],
) -> str:  # fmt: skip
    compared, apart = weights
    held = (
        f"{apart:,} of {counted(compared, 'weight')} differ, by up to {readable(100 * furthest[0])} % of the largest "
        f"({visible(furthest[1], 60)})"
        if furthest[1] else f"{apart:,} of {counted(compared, 'weight')} differ"
    )  # fmt: skip
    if not (removed or added or changed):
        about = f"; of the models differ: {listed(model)}" if model else ""
        both = "have the same nodes" if model else "are the same"
        return f"Both graphs {both}: {counted(same, 'node')} with {counted(compared, 'weight')}{about}."
    only_weights = all(
        change.how_far is not None and "→" not in change.what and "another" not in change.what for change in changed
    )
    if not (removed or added or results) and only_weights:
        return f"The graph is the same, with other weights: {held}."
    said = [f"{counted(count, f'{what} node')} merged into {host}" for (what, host), count in merged.most_common(4)]
    gone = Counter(node.op_type for node in removed if not node.what.startswith("merged into "))
    new = Counter(node.op_type for node in added)
    for word, counts in (("removed", gone), ("added", new)):
        if counts:
            most = ", ".join(f"{count:,} {visible(what, 60)}" for what, count in counts.most_common(5))
            more = f" and {counted(len(counts) - 5, 'more operator')}" if len(counts) > 5 else ""
            said.append(f"{word} {most}{more}")
    if changed:
        said.append(f"{counted(len(changed), 'node')} changed")
    if apart:
        said.append(held)
    said += [listed(results)] if results else []
    text = "; ".join([*said, f"{counted(same, 'node')} the same"])
    return f"{text[0].upper()}{text[1:]}."
