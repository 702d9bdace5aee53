"""A model's graph, the nodes of an op_type marked in it, and for a spiking network Nengo GUI in its place.

`graph_view.js` is the face of the graph itself.
"""

from __future__ import annotations

import os
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets
import traitlets

from ..convert.options import options_for
from ..errors import WorkbenchError
from ..files import registry
from ..graph.places import places
from ..session import LOOKS, Session
from ..words import visible
from .form import button, line, sentence, session_for, show_if

if TYPE_CHECKING:
    import nengo

    from ..frameworks.spiking.gui_widget import NengoGui

MOST_OFFERED = 500
"""op_types in the menu; the most frequent ones."""


_DRAWN = ["view", "costed", "costs", "watched", "watch"]
"""What of a session says which graph is drawn."""


class Netron(anywidget.AnyWidget):
    """A graph in its frame, and a line above it.

    Traits:
        said: the line.
        markup: HTML with the frame (`workbench.graph.GraphView`).
        marked: values whose nodes the frame is asked to mark (`workbench.graph.places.Places`).
    """

    _esm = Path(__file__).with_name("graph_view.js")
    _css = Path(__file__).with_name("graph_view.css")

    said = traitlets.Unicode("").tag(sync=True)
    markup = traitlets.Unicode("").tag(sync=True)
    marked = traitlets.List(traitlets.Unicode()).tag(sync=True)


class GraphPanel(ipywidgets.VBox):
    """The graph of the picked file.

    Args:
        source: whose file, or the path of one.

    Attributes:
        session: whose graph is shown; ``session.op_type`` is marked.
        choice, clear: choose what is marked.
        costs: whether what each node costs is shown; watch: whether its errors and spikes are.
        convert: the button that leads to a graph where this file has none to show.
        frame: the graph.
        nengo: the button that opens Nengo GUI, and goes back.
        gui: Nengo GUI while it is open, else None.
    """

    def __init__(self, source: Session | str | os.PathLike[str]) -> None:
        self.session = session = session_for(source)
        self.gui: NengoGui | None = None
        self._showing = False
        self.choice = ipywidgets.Dropdown(
            options=[("none", "")], description="Mark nodes of", style={"description_width": "auto"},
            layout={"flex": "1 1 17rem", "max_width": "30rem"},
        )  # fmt: skip
        self.costs = ipywidgets.Checkbox(
            description="Show what each node costs", indent=False, layout={"width": "auto"}
        )
        self.watch = ipywidgets.Checkbox(
            description="Run it, show errors and spikes", indent=False, layout={"width": "auto"}
        )
        traitlets.link((session, "costs"), (self.costs, "value"))
        traitlets.link((session, "watch"), (self.watch, "value"))
        self.clear = button("Clear", lambda: session.set_trait("op_type", ""))
        self.nengo = button("Open in Nengo GUI", lambda: self._open() if self.gui is None else self._shut())
        self.convert = button("Convert it first", lambda: session.set_trait("step", "convert"))
        self._said, self.frame = ipywidgets.HTML(), Netron()
        self.frame.add_class("wb-graph-view")
        self._bar = ipywidgets.HBox([self.choice, self.clear, self.costs, self.watch, self.nengo])
        self._bar.add_class("wb-graph-bar")
        self._place = ipywidgets.VBox([self.frame])  # an anywidget does not follow a change of its classes
        self._place.layout.overflow = "visible"
        self._parts: tuple[ipywidgets.Widget, ...] = (self._bar, self._said, self._place, line(self.convert))
        super().__init__(self._parts)
        self.add_class("wb-panel")
        self.add_class("wb-graph")
        self.choice.observe(self._choose, "value")
        session.observe(lambda _: self._shut(), "path")
        session.observe(self._show, ["detection", *_DRAWN, "problems", "looking"])
        session.observe(self._mark, "op_type")
        self._show()

    # --- the graph ------------------------------------------------------------------------------------------------

    def _show(self, change: Any = None) -> None:
        session = self.session
        found, view = session.detection, session.view
        if change is None or change.name in _DRAWN:
            drawn = view is not None and (view.reason is None or view.nodes is not None)
            shown = session.costed if session.costs and session.costed is not None else view
            shown = session.watched[0] if session.watch and session.watched is not None else shown
            self.frame.markup = shown._repr_html_() if drawn else ""
        show_if(self._counts, self.costs, self.watch)
        counts = (found.components or {}).get("op_types", {}) if found is not None else {}
        counts = counts if view is not None and view.reason is None else {}
        names = [(f"{visible(key.removeprefix(':'), 80)} ({count:,})", key) for key, count in counts.items()]
        self._showing = True
        self.choice.options = [("none", ""), *names[:MOST_OFFERED]]
        self._showing = False
        show_if(bool(counts), self.choice)
        spiking = found is not None and found.kind == "SNN"
        runs = spiking and (
            registry.of(found.format).over_time or (found.header is not None and registry.runs_over_time(found.header))
        )
        show_if(runs, self.nengo)
        show_if(view is not None and not self.frame.markup and found is not None and self._converts, self.convert)
        self._mark()

    def _mark(self, change: Any = None) -> None:
        session = self.session
        found, op_type = session.detection, session.op_type
        if op_type and self.gui is not None:
            self._shut()
        live = len(self.choice.options) > 1
        self._showing = True
        self.choice.value = op_type if op_type in dict(self.choice.options).values() else ""
        self._showing = False
        show_if(live and bool(op_type), self.clear)
        marked = places(found.header, op_type) if live and op_type and found.header is not None else None
        with self.frame.hold_sync():
            self.frame.said = visible(marked.says) if marked is not None else self._missing
            self.frame.marked = list(marked.values) if marked is not None else []

    def _choose(self, change: Any) -> None:
        if not self._showing:
            self.session.op_type = change.new

    @property
    def _converts(self) -> bool:
        return self.session.detection is not None and bool(options_for(self.session.detection.format))

    @property
    def _counts(self) -> bool:
        """Whether it can be shown what each node costs, and does."""
        view = self.session.view
        return view is not None and view.format == "ONNX" and view.reason is None

    @property
    def _missing(self) -> str:
        """Why no graph is shown, or not what its nodes cost or do; else what was asked in a run, if anything."""
        session = self.session
        if session.view is not None:
            if self.frame.markup:
                if not self._counts:
                    return ""
                if session.watch and session.watched is None:
                    return session.problems.get("watch", f"{LOOKS['watched']} …")
                if session.costs and session.costed is None:
                    return session.problems.get("costs", f"{LOOKS['costed']} …")
                return session.watched[1] if session.watch else ""
            return f"{session.view.reason}{' Its ONNX file has a graph to show.' if self._converts else ''}"
        problem = session.problems.get("graph") or session.problems.get("kind")
        if problem or not session.path:
            return problem or "Pick a model file to see its graph."
        if session.detection is not None and session.detection.kind is None:
            return f"There is no graph to show: {visible(session.detection.because)}"
        return "Drawing the graph …"

    # --- Nengo GUI ------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Load the network in a thread, since Nengo alone takes seconds to import."""
        session, pairing = self.session, self.session.pairing
        path = session.path
        params = session.params or (pairing.params if pairing is not None else None)
        self.nengo.disabled = True
        self._tell("Starting Nengo GUI …")

        def load() -> None:
            network, problem = None, ""
            try:
                from ..frameworks.spiking import gui_widget as nengo_gui  # noqa: F401 -- so that the main thread need not wait for it
                from ..frameworks.spiking.to_nengo import to_nengo

                network = to_nengo(path, params)
            except WorkbenchError as error:
                problem = str(error)
            except Exception as error:  # a fault of ours or of Nengo's
                traceback.print_exception(error)
                problem = f"Nengo GUI could not be started ({type(error).__name__})."
            session.soon(lambda: self._opened(path, network, problem), 0)

        threading.Thread(target=load, daemon=True).start()

    def _opened(self, path: str, network: nengo.Network | None, problem: str) -> None:
        self.nengo.disabled = False
        if path != self.session.path:
            return
        self._tell(problem)
        if network is None:
            return

        try:
            from ..frameworks.spiking.gui_widget import NengoGui

            self.gui = NengoGui(network, title=os.path.basename(path))
        except WorkbenchError as error:
            self._tell(str(error))
            return
        self.nengo.description = "Back to Netron"
        self._place.add_class("wb-away")
        self.children = (*self._parts, self.gui)

    def _shut(self) -> None:
        self._tell("")
        if self.gui is None:
            return
        gui, self.gui = self.gui, None
        self.children = self._parts
        gui.close()
        self.nengo.description = "Open in Nengo GUI"
        self._place.remove_class("wb-away")

    def _tell(self, words: str) -> None:
        self._said.value = sentence(words, role="status")
