"""A model's graph in Netron's own view, live inside a notebook cell or an HTML file, offline.

``graph(path)`` reads what the view needs (`slim.py` leaves the weights out, `groups.py` folds what is too large),
`netron.py` makes it one HTML document, and `svg.py` draws a still picture for places that strip scripts.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import sandbox
from ..errors import BadInput, UnreadableFile, UnsupportedModel, WorkbenchError
from ..files import registry
from ..files.formats import identify, identify_bytes
from ..files.header import Graph, Header, ValueInfo, parse_header, read_header
from ..files.records import Format, Reader
from ..files.wire import Buffer, StepsSpent, WireError, opened
from ..markup import render
from ..publish import write_text
from ..safety import external
from ..words import listed, visible
from . import groups, netron, slim, svg

if TYPE_CHECKING:
    import onnx
    import pandas as pd

    from .facts import Facts, Ran

MAX_NODES = 10_000
"""Nodes of one graph up to which Netron is asked to draw: it takes 5 to 10 s for these. A main graph of more is folded
into boxes (`groups`)."""

MAX_SPANNED = 60_000
"""Levels that the edges of one graph span together, up to which Netron is asked to draw: its layout puts a point on
each, and takes 5 to 10 s for these. A chain of 9,000 nodes has 9,000; of 240 nodes, each reading all before it, 569,000
never came to an end."""

MAX_PAGE = 24 << 20
"""Characters of one page; 16 MiB of packed model and Netron itself."""

SMALL = 1 << 20
"""Bytes up to which a file that is not ONNX is shown as it is."""

MOST_AROUND = 300
"""Nodes of a part."""

TALL = 600
"""Pixels of height that show a long graph."""

FACTS_SECONDS = 120
"""For ONNX's shape inference, twice."""

_PARTS = "Look at a part: graph(path, around=node), or workbench graph FILE --around NODE."

_ONNX = registry.of("ONNX").reader

SANDBOX = "allow-scripts allow-downloads allow-popups"


@dataclass(frozen=True)
class GraphView:
    """What `graph` gives: shown in a notebook it is the live view; as text, data or a picture, see its methods.

    Attributes:
        name: the model's, as people know it: a file name mostly.
        format: what the file holds, ``ONNX`` for instance.
        nodes: operators of an ONNX model's main graph; None for other formats, where only Netron counts.
        height: of the view in a notebook, in pixels.
        shortened: attributes too long to show whole, with how much of each remains.
        part: (nodes shown, nodes there are) where only those around one are.
    """

    name: str
    format: str
    nodes: int | None
    height: int
    shortened: tuple[slim.Shortened, ...] = field(repr=False)
    _reader: Reader | None = field(repr=False)
    _data: bytes = field(repr=False)
    _header: Header | None = field(repr=False)
    _reason: str | None = field(repr=False)
    _source: Path | None = field(repr=False, default=None)
    _costs: Facts | None = field(repr=False, default=None)
    part: tuple[int, int] | None = field(repr=False, default=None)

    @cached_property
    def _live(self) -> tuple[netron.Page | None, str | None]:
        """(the page, None) or (None, why there is none)."""
        if self._reason is not None or self._reader is None:
            return None, self._reason
        try:
            costs, data = None if self._costs is None else self._costs.drawn, self._data
            if self._folds:
                data, levels = groups.folded(data)
                if (trouble := _too_much(levels)) is not None:
                    return None, f"{trouble} {_PARTS}"
            return _page(self._reader, data, self.name, self.notes, self._header, costs), None
        except WorkbenchError as error:
            return None, str(error)

    @property
    def reason(self) -> str | None:
        """Why there is no live view, in one sentence; None if there is one."""
        return self._live[1]

    @property
    def _folds(self) -> bool:
        return self._header is not None and len(self._header.graph.nodes) > MAX_NODES

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the graph must know is missing from it: a summary, then one line each."""
        some = () if self.part is None else (f"A part of the graph: {self.part[0]:,} of its {self.part[1]:,} nodes.",)
        if self._folds:
            some = (
                f"Its {self.nodes:,} nodes are folded into boxes, by scopes in names or in runs, with how many are in "
                "each: + opens one.",
            )
        if not self.shortened:
            return some
        many = len(self.shortened)
        ops = ", ".join(dict.fromkeys(cut.op_type or "?" for cut in self.shortened[:100]))
        things = "One long attribute is" if many == 1 else f"{many:,} long attributes are"
        lines = [f"{cut.node or cut.op_type} {cut}" for cut in self.shortened[:100]]
        if many > 100:
            lines.append(f"and {many - 100:,} more")
        return (*some, f"{things} shortened in this view ({ops[:80]}).", *lines)

    def page(self, nonce: str | None = None) -> str:
        """A standalone HTML document: the live view, or the drawing and the reason why there is no live one.

        Args:
            nonce: of its scripts, where a page around it has a policy that names one.
        """
        page, reason = self._live
        return self._drawn(reason) if page is None else page.html(nonce)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write `page` to a file; it appears whole or not at all.

        Raises:
            BadInput: it is the model's file, or one of them.
            WorkbenchError: the file exists and `overwrite` is not set, or it cannot be written.
        """
        return write_text(self.page(), path, overwrite=overwrite, inputs=[self._source])

    @cached_property
    def facts(self) -> pd.DataFrame:
        """What each node of an ONNX model gives and costs: `costs` as a table."""
        return (self._costs or self.costs()).frame

    def costs(self, cancel: threading.Event | None = None, ran: Ran | None = None, /, **axes: int) -> Facts:
        """Shapes, parameters and multiply-accumulates of each node of an ONNX model's main graph, for one row.

        Args:
            cancel: set it from another thread to give up.
            ran: {value: (dtype, shape)} of a run (`workbench.costs.watched`), for where inference ends.
            axes: sizes of axes that the model leaves open, by their names; the first of an input is 1.

        Raises:
            UnsupportedModel: it is no ONNX model.
            BadInput: no input has an axis of such a name.
            WorkerFailed: ONNX's parser crashed on it, or took too long.
        """
        from .facts import facts

        if self._header is None:
            raise UnsupportedModel(f"{self.name} is {self.format}, and facts are ONNX's: convert it first.")
        dims = [dim for value in self._header.graph.inputs for dim in value.shape or ()]
        names = list(dict.fromkeys(dim for dim in dims if isinstance(dim, str)))
        if odd := [name for name in axes if name not in names]:
            has = f"open are {listed(map(repr, names))}" if names else "its inputs leave none open by a name"
            raise BadInput(f"{self.name} has no axis {odd[0]!r}: {has}.")
        data = self._data
        if self._source is not None and (not data or self.part):  # of the whole graph, drawn or not
            with opened(self._source) as buffer:
                data = slim.onnx(buffer).data
        return sandbox.run(
            facts, data, axes, ran, timeout=FACTS_SECONDS, memory_mib=sandbox.memory_for(len(data)), warm=True,
            cancel=cancel, what=f"Reading the shapes of {self.name}",
        )  # fmt: skip

    def with_costs(self, facts: Facts | None = None, **axes: int) -> GraphView:
        """The same view with each node's figures: in Netron's side panel, and as colour with a menu.

        Args:
            facts: what to show, `costs` if None, which says what is raised.
        """
        return replace(self, _costs=facts or self.costs(**axes))

    def svg(self, within: tuple[int, int] | None = None) -> str:
        """A still drawing of the main graph; for formats other than ONNX, a card with the model's name.

        Args:
            within: (width, height) in pixels of the place it is for; a taller graph is drawn in columns there.
        """
        if self._header is not None:
            return svg.svg(self._header, notes=self.notes[:1], within=within)
        return svg.card(
            self.name, [f"{self.format}: {'drawn by the live view only' if self._reader else 'no drawing'}."]
        )

    def to_dict(self) -> dict[str, object]:
        page, reason = self._live
        return {
            "name": self.name,
            "format": self.format,
            "nodes": self.nodes,
            "live": page is not None,
            "reason": reason,
            "page_bytes": None if page is None else len(page.html().encode("utf-8", "replace")),
            "notes": list(self.notes),
            "shortened": [cut.to_dict() for cut in self.shortened],
        }

    def _repr_html_(self) -> str:
        """The live view over the still drawing.

        The iframe covers the drawing. Where outputs are sanitised (an untrusted notebook, GitHub) the iframe is
        taken away and the drawing shows, whatever is left of the styles.
        """
        return self._html

    @cached_property
    def _html(self) -> str:
        page, reason = self._live
        if page is None:
            return self._drawn(reason, height=self.height)
        says = "A still drawing: trust this notebook to see Netron's live view."
        return self._drawn(says, height=self.height, frame=frame(page.html(), self.name, over=True))

    def _drawn(self, says: str | None, height: int | None = None, frame: str = "") -> str:
        picture = base64.b64encode(self.svg().encode("utf-8", "replace")).decode()
        return render("graph", name=self.name, says=says, picture=picture, height=height, frame=frame)


def graph(
    path_or_model: str | os.PathLike[str] | onnx.ModelProto | bytes,
    height: int | None = None,
    *,
    around: str | None = None,
    reach: int = 8,
    cancel: threading.Event | None = None,
) -> GraphView:
    """A model's graph in Netron. What is HDF5 in a large file is read in a worker process (`workbench.sandbox.parse`).

    Args:
        path_or_model: a file of any format Netron reads, a SavedModel folder, or an ONNX model in memory.
        height: of the view in a notebook, in pixels; what a graph of this length needs, up to 600, if None.
        around: of an ONNX file, only the nodes around one, by its name or that of a value it gives: a graph too large
            to draw is looked at in parts.
        reach: how many edges away from it, in each direction; fewer where that is more than `MOST_AROUND` nodes.
        cancel: set it from another thread to give up waiting for that worker.

    Raises:
        UnreadableFile: missing, damaged or empty.
        UnsupportedModel: in no format that can be shown; a part of what is no ONNX file.
        BadInput: there is no such node.
        WorkerFailed: the file crashed its reader, or kept it busy for too long.
    """
    if isinstance(path_or_model, bytes):
        try:
            return _onnx(path_or_model, parse_header(path_or_model), "model", height)
        except WireError as error:
            raise type(error)(f"The bytes are not a readable ONNX model: {error}.") from None
    if not isinstance(path_or_model, str | os.PathLike):
        try:
            data = path_or_model.SerializeToString()
        except Exception as error:  # protobuf's own errors differ between its implementations
            raise UnsupportedModel(
                f"The model cannot be written as one message ({error}); over 2 GB, save it with external data and "
                "name the file."
            ) from error
        return _onnx(data, parse_header(data), path_or_model.graph.name or "model", height)
    path = Path(path_or_model)
    file = _inside(path)
    with opened(file) as buffer:
        what = identify_bytes(buffer)
        if what.name == "ONNX" or (path.suffix.lower() == ".onnx" and what.name == "unknown"):
            return _onnx(buffer, read_header(path, buffer), path.name, height, path, around and (around, reach))
        if around:
            raise UnsupportedModel(f"{path} is {what.name}, and parts are shown of ONNX files: convert it first.")
        record = registry.of(what.name)
        if record.stands_for:
            light = sandbox.parse(registry.at("workbench.safety.forms:light"), file, cancel=cancel)
            return _onnx(light, parse_header(light), path.name, height, path)
        if what.name == "unknown" and (holds := external.whose(file)) is not None:
            raise UnsupportedModel(f"{path} {holds}")
        if record.holds and record.reader is None:
            raise UnsupportedModel(f"{path} holds {record.holds}; pick a model file to see a graph.")
        return _other(buffer, file, path, what, height, cancel)


def _onnx(
    buffer: Buffer,
    header: Header,
    name: str,
    height: int | None,
    source: Path | None = None,
    around: tuple[str, int] | str | None = None,
) -> GraphView:
    whole, part = len(header.graph.nodes), None
    if isinstance(around, tuple):
        header, part = _around(header, *around)
    # A handful of nodes in a tall box looks lost.
    height = height or max(380, min(TALL, 140 + 60 * len(header.graph.nodes)))
    data, reason = b"", None
    shortened: tuple[slim.Shortened, ...] = ()
    if not header.graph.nodes:
        reason = "The graph has no operators, so there is nothing for Netron to draw."
    elif trouble := _too_much([*header.graphs()][len(header.graph.nodes) > MAX_NODES :]):  # else it is folded
        reason = f"{trouble} {_PARTS}"
    else:
        try:
            small = slim.onnx(buffer, part)
            data, shortened = small.data, small.shortened
        except UnsupportedModel as error:
            reason = str(error)
    return GraphView(
        name,
        "ONNX",
        len(header.graph.nodes),
        height,
        shortened,
        _ONNX,
        data,
        header,
        reason,
        source,
        part=None if part is None else (len(header.graph.nodes), whole),
    )


def _around(header: Header, name: str, reach: int) -> tuple[Header, slim.Part]:
    """The header of a part of the main graph, and what is in it."""
    nodes = header.graph.nodes
    start = next((at for at, node in enumerate(nodes) if node.name == name or name in node.outputs), None)
    if start is None:
        near = get_close_matches(name, [node.name for node in nodes[:MAX_NODES] if node.name], 3, 0.5)
        hint = f"; near it are {listed(map(repr, near))}" if near else ""
        raise BadInput(f"The main graph has no node {visible(name, 100)!r}, and no value of that name{hint}.")
    giver = {value: at for at, node in enumerate(nodes) for value in node.outputs if value}
    takers: dict[int, list[int]] = {}
    for at, node in enumerate(nodes):
        for value in node.inputs:
            if value in giver:
                takers.setdefault(giver[value], []).append(at)
    chosen, edge = {start: None}, [start]
    for _ in range(reach):
        beside = [
            near
            for at in edge
            for near in (*(giver[value] for value in nodes[at].inputs if value in giver), *takers.get(at, ()))
            if near not in chosen
        ]
        edge = list(dict.fromkeys(beside))
        if not edge or len(chosen) + len(edge) > MOST_AROUND:
            break
        chosen.update(dict.fromkeys(edge))
    kept = tuple(nodes[at] for at in sorted(chosen))
    gives = frozenset(value for node in kept for value in node.outputs if value)
    reads = frozenset(value for node in kept for value in node.inputs if value)
    cut = tuple(dict.fromkeys(value for node in kept for value in node.inputs if value in giver and value not in gives))
    main = replace(
        header.graph,
        nodes=kept,
        inputs=(
            *(value for value in header.graph.inputs if value.name in reads),
            *(ValueInfo(value, "undefined", None) for value in cut),
        ),
        outputs=tuple(value for value in header.graph.outputs if value.name in gives),
        initializers={name: each for name, each in header.graph.initializers.items() if name in reads},
    )
    return replace(header, graph=main), slim.Part(gives, reads, cut)


def _too_much(graphs: Sequence[Graph]) -> str | None:
    """Why Netron would not come to an end with these graphs in reasonable time; None where it does."""
    if (widest := max((len(graph.nodes) for graph in graphs), default=0)) > MAX_NODES:
        return f"The graph has {widest:,} nodes; Netron draws up to {MAX_NODES:,} in reasonable time."
    if (most := max(map(svg.spanned, graphs), default=0)) > MAX_SPANNED:
        return (
            f"The edges of the graph span {most:,} levels together; Netron draws up to {MAX_SPANNED:,} in reasonable "
            "time."
        )
    return None


def _too_much_inside(graphs: Callable[[Buffer], Sequence[Graph]], buffer: Buffer) -> str | None:
    """`_too_much` of what is read from a file; Netron says itself what is wrong with a damaged one."""
    try:
        return _too_much(graphs(buffer))
    except StepsSpent:
        return "The graph is many times as large as Netron draws in reasonable time."
    except UnreadableFile:
        return None


def _other(
    buffer: Buffer, file: Path, path: Path, content: Format, height: int | None, cancel: threading.Event | None
) -> GraphView:
    prototxt = content.detail.startswith("prototxt")
    reader = netron.PROTOTXT if prototxt else registry.of(content.name).reader
    data, reason = b"", None
    try:
        if reader is None:
            reason = f"Netron's view is not available for {content.name} files."
        elif reader.graphs and (reason := _too_much_inside(registry.at(reader.graphs), buffer)) is not None:
            pass
        elif reader.slim and reader.apart and len(buffer) > SMALL:
            data = sandbox.parse(registry.at(reader.slim), file, cancel=cancel).data
        elif reader.slim and not reader.apart and (len(buffer) > SMALL or reader.always):
            data = registry.at(reader.slim)(buffer).data
        elif len(buffer) > slim.OUTPUT_LIMIT:
            reason = f"The {content.name} file is {len(buffer) >> 20:,} MiB, more than a page can carry."
        else:
            data = bytes(buffer[:])
    except UnsupportedModel as error:
        reason = str(error)
    return GraphView(path.name, content.name, None, height or TALL, (), reader, data, None, reason, path)


def _inside(path: Path) -> Path:
    """The file to show of a folder that is a model."""
    if not path.is_dir():
        return path
    if (file := registry.main_file(path, identify(path).name)) is not None:
        return file
    raise UnreadableFile(f"{path} is a folder without a saved_model.pb; name a model file inside it.")


def _page(
    reader: Reader,
    data: bytes,
    title: str,
    notes: Sequence[str],
    header: Header | None,
    costs: dict[str, Any] | None = None,
) -> netron.Page:
    """
    Raises:
        NetronLayoutError: as `netron.page`.
        UnsupportedModel: the page would be too large.
    """
    assets = {}
    if header is not None:
        assets["onnx-metadata.json"] = netron.onnx_metadata(set(header.op_types()), header.opset_import)
    page = netron.page(reader, data, title=title, notes=notes, assets=assets, costs=costs)
    if (length := sum(map(len, page.parts.values()))) > MAX_PAGE:
        raise UnsupportedModel(
            f"The live view would be a page of {length >> 20} MiB, more than a browser opens in comfort."
        )
    return page


def frame(document: str, name: str, *, over: bool = False) -> str:
    """A live view as part of a page: in a sandbox, whose scripts reach nothing of the page around it.

    Args:
        document: a page of Netron.
        over: it covers the still drawing in the same box.
    """
    text = document.replace("&", "&amp;").replace('"', "&quot;")
    return render("frame", name=name, sandbox=SANDBOX, over=over, document=text)


def frame_again(document: str, nonce: str) -> str | None:
    """The frame of a live view whose document somebody else stored; None if it is none.

    The document is made anew, from the model that it shows: whoever wrote it, its scripts are ours.
    """
    if (known := netron.shown_in(document)) is None:
        return None
    reader, data, title, notes, costs = known
    try:
        header = parse_header(data) if reader == _ONNX else None
        return frame(_page(reader, data, title, notes, header, costs).html(nonce), title, over=True)
    except WorkbenchError:
        return None


def policy(nonce: str | None = None, *, answers: bool = False) -> str:
    """The Content-Security-Policy of a page around live views: nothing is loaded, and no script runs but those with
    the nonce, which is what the views were made with (`GraphView.page`); it applies to what is in their frames, too.

    Args:
        nonce: made for this page, so that nothing in it can have known it; None where no script is to run.
        answers: those with the nonce may also start WebAssembly and a worker that they hold themselves.
    """
    scripts = f"'nonce-{nonce}'" if nonce else "'none'"
    if answers:
        scripts += " 'wasm-unsafe-eval' blob:; worker-src blob:"
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; form-action 'none'; base-uri 'none'"
    )
