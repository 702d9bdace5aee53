"""The whole workbench: pick a file, see its kind, its graph and its first answers."""

from __future__ import annotations

import asyncio
import html
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets
import traitlets

from ..card import card
from ..errors import WorkbenchError
from ..graph import GraphView, graph
from ..inference import FirstInference, first_inference
from ..kind import Detection, detect
from ..paper import make_sample, samples
from ..sandbox import Cancelled
from .picker import Picker

_HELLO = """<p style="max-width:72rem">Pick a model file above, upload one, or let the workbench make a sample model.
Reading a file never runs anything from it.</p>"""

_GRAPH_HEAD = '<div class="wb-card"><h2>Graph</h2></div>'

# While the widget is alive it hides the still copy of its results that exported pages show.
_LIVE = "<style>.wb-still{display:none}</style>"


class Workbench(ipywidgets.VBox):
    """Pick a model; see its kind with the evidence, its graph in Netron, and its answers to real rows.

    Traits:
        path: the model shown; set it from code as well.

    Attributes:
        picker: the file picker.
        detection, view, inference: what is shown, as data; None until there is one.
    """

    path = traitlets.Unicode("")

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, root: str | os.PathLike[str] | None = None
    ) -> None:
        self.detection: Detection | None = None
        self.view: GraphView | None = None
        self.inference: FirstInference | None = None
        self.picker = Picker(root, on_sample=self._sample, on_cancel=self._cancel)
        self.picker.samples = [{"id": sample.id, "title": sample.title} for sample in samples()]
        self._card = ipywidgets.HTML(_LIVE + _HELLO)
        self._graph = ipywidgets.HTML()
        self._first = ipywidgets.HTML()
        self._cancelled = threading.Event()
        self._turn = 0  # of the file shown: answers about an earlier one are dropped
        self._loop = _running_loop()
        self._mirror: Any = None
        super().__init__([self.picker, self._card, self._graph, self._first])
        self.add_class("wb-workbench")
        traitlets.link((self.picker, "path"), (self, "path"))
        self.observe(lambda change: self._show(change.new), "path")
        if path is not None:
            self.path = os.path.abspath(os.fspath(path))

    # --- what happens ---------------------------------------------------------------------------------------------

    def _show(self, path: str) -> None:
        """Fill everything for a newly picked file: the kind at once, graph and answers as they come."""
        if not path:
            return
        turn = self._begin()
        self.detection = self.view = self.inference = None
        self._graph.value = self._first.value = ""
        try:
            self.detection = detect(path)
        except WorkbenchError as error:
            self._card.value = _LIVE + _note(str(error))
            self.picker.say("")
            self._still()
            return
        self._card.value = _LIVE + card(self.detection)
        self.picker.say("Drawing the graph", busy=True)
        cancel = self._cancelled
        self._in_background(lambda: self._fill(path, turn, cancel), turn)

    def _fill(self, path: str, turn: int, cancel: threading.Event) -> None:
        """Graph and answers, from a thread: every change to a widget is posted to the kernel's own."""
        found = self.detection
        if found is not None and found.kind is not None:
            try:
                view: GraphView | None = graph(path, height=_height(found))
                drawn = _GRAPH_HEAD + view._repr_html_()  # type: ignore[union-attr]
            except WorkbenchError as error:
                view, drawn = None, _note(str(error), "Graph")
            self._post(turn, lambda: self._set_graph(view, drawn))
        if found is not None and found.format == "ONNX" and turn == self._turn:
            self._post(turn, lambda: self.picker.say("Asking the model about real rows", busy=True))
            try:
                answers: FirstInference | None = first_inference(path, cancel=cancel)
                said = answers._repr_html_()  # type: ignore[union-attr]
            except Cancelled:
                answers, said = None, _note("Cancelled; pick the file again to ask it.", "First inference")
            except WorkbenchError as error:
                answers, said = None, _note(str(error), "First inference")
            self._post(turn, lambda: self._set_answers(answers, said))
        self._post(turn, self._finish)

    def _set_graph(self, view: GraphView | None, drawn: str) -> None:
        self.view, self._graph.value = view, drawn

    def _set_answers(self, answers: FirstInference | None, said: str) -> None:
        self.inference, self._first.value = answers, said

    def _finish(self) -> None:
        self.picker.say("")
        self._still()

    def _sample(self, id: str) -> None:
        """Make a sample model and show it. LeNet-1 is trained for this, which takes a while."""
        turn = self._begin()
        title = next((sample.title for sample in samples() if sample.id == id), id)
        self._card.value = _LIVE + "<p>The model will appear here; making it takes some seconds.</p>"
        self._graph.value = self._first.value = ""
        self.picker.say(f"{title}: starting", busy=True)
        folder, cancel = Path(self.picker.root) / "models", self._cancelled

        def tell(message: str) -> None:
            self._post(turn, lambda: self.picker.say(f"{title}: {message}", busy=True))

        def show(path: Path) -> None:
            self.picker.show_folder(folder)
            self.path = ""  # show it again even if it is the file shown now
            self.path = str(path)

        def make() -> None:
            try:
                path = make_sample(id, folder, progress=tell, cancel=cancel)
            except Cancelled:
                self._post(turn, lambda: self.picker.say(f"{title}: cancelled, nothing was made."))
            except WorkbenchError as error:
                message = str(error)
                self._post(turn, lambda: self.picker.say(message, failed=True))
            else:
                self._post(turn, lambda: show(path))

        self._in_background(make, turn)

    def _cancel(self) -> None:
        self._cancelled.set()

    def _begin(self) -> int:
        """Give up what is under way and take the next turn."""
        self._cancelled.set()
        self._cancelled = threading.Event()
        self._turn += 1
        return self._turn

    def _post(self, turn: int, change: Callable[[], None]) -> None:
        """Make a change to the widgets in the kernel's main thread, unless the turn has passed by then.

        From several threads the changes would reach the page in any order.
        """

        def run() -> None:
            if turn == self._turn:
                change()

        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(run)
        else:
            run()

    def _in_background(self, work: Callable[[], None], turn: int) -> None:
        """Off the kernel's main thread, which must stay free for Cancel and the next click."""

        def run() -> None:
            try:
                work()
            except Exception as error:  # a fault of ours: one line to the person, the rest to the log
                traceback.print_exc()
                message = f"Something went wrong here ({type(error).__name__}); pick the file again."
                self._post(turn, lambda: self.picker.say(message, failed=True))

        threading.Thread(target=run, daemon=True).start()

    # --- the copy that exported pages show --------------------------------------------------------------------------

    def _ipython_display_(self, **kwargs: Any) -> None:
        from IPython.display import display

        bundle = super()._repr_mimebundle_(**kwargs)
        # Pages without the widget show the first they can: nothing, and then the still copy.
        display({**bundle, "text/plain": "ONNX Workbench", "text/html": ""}, raw=True)
        self._mirror = display(_Still(self), display_id=True)

    def _still(self) -> None:
        if self._mirror is not None:
            self._mirror.update(_Still(self))


def _height(found: Detection) -> int:
    """Pixels for a graph: a handful of nodes in a tall box look lost."""
    nodes = len(found.header.graph.nodes) if found.header else 100
    return max(380, min(600, 140 + 60 * nodes))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # a script, not a kernel
        return None


class _Still:
    """The results as plain output beside the widget: what a saved, exported or untrusted notebook keeps of it."""

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench

    def __repr__(self) -> str:
        return self._workbench.path or "no model picked yet"

    def _repr_html_(self) -> str:
        bench = self._workbench
        if bench.detection is None:
            parts = ["<p>No model was picked when this page was saved.</p>"]
        else:
            # Loaded lazily: while the widget is alive the copy is not displayed, and its frame never starts.
            frame = bench.view._repr_html_().replace("<iframe ", '<iframe loading="lazy" ', 1) if bench.view else ""
            parts = [
                card(bench.detection),
                _GRAPH_HEAD if frame else "",
                frame,
                bench.inference._repr_html_() if bench.inference else "",
            ]
        return f'<div class="wb-still">{"".join(parts)}</div>'


def _note(message: str, title: str = "") -> str:
    """One sentence in place of a result."""
    head = f"<h2>{html.escape(title)}</h2>" if title else ""
    style = "border-left:4px solid #c77700;padding:.3rem .8rem;max-width:72rem;margin:.4rem 0;line-height:1.5"
    return f'<div class="wb-card">{head}<p style="{style}">{html.escape(message)}</p></div>'
