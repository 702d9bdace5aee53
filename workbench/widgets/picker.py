"""A file picker: folders, search, upload, the paper's models, recent files. `picker.js` is its face."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ..errors import WorkbenchError
from ..files.registry import is_model_folder
from ..markup import own_styles
from ..paper.models import samples
from ..session import Session, session_of
from ..session import folder as folders
from ..session.badges import badges
from ..session.upload import Upload
from ..show.card import LEVEL_WORDS
from ..words import size

MADE = {"ONNX": "ONNX", "skops": "scikit-learn (.skops)", "Keras v3": "Keras (.keras)"}
"""What a model of the paper is made as, in words."""


class Picker(anywidget.AnyWidget):
    """Pick a model file.

    Traits:
        path: the file picked last (the session's); set it to pick one from code. Empty at first.
        folder: the folder shown; crumbs: the way to it, ``[{"name", "path"}]``.
        entries: what it holds, ``[{"name", "path", "folder", "size"}]``; left_out: how many more are not listed.
        looks: ``{name: [badge, format, danger, danger in words, what was found]}``, filled in as the files are read.
        found: ``{"text", "entries", "all"}`` of the last search in the folders below.
        samples: the menu of the paper's models, ``[{"group", "items"}]``; recent: that of files picked before.
        message: why something was not done, in one sentence.
        uploading, uploaded: the line about uploads, and how much of the file has arrived (0 to 1; -1: none under way).

    Args:
        source: a session, or a folder to browse from; the notebook's folder if None.
        files: list them; without, there are the menus alone, beside another browser of files.
    """

    _esm = Path(__file__).with_name("picker.js")
    _css = own_styles(Path(__file__).with_name("picker.css"))

    path = traitlets.Unicode("").tag(sync=True)
    folder = traitlets.Unicode("").tag(sync=True)
    crumbs = traitlets.List(traitlets.Dict()).tag(sync=True)
    entries = traitlets.List(traitlets.Dict()).tag(sync=True)
    left_out = traitlets.Int(0).tag(sync=True)
    looks = traitlets.Dict().tag(sync=True)
    found = traitlets.Dict().tag(sync=True)
    samples = traitlets.List(traitlets.Dict()).tag(sync=True)
    recent = traitlets.List(traitlets.Dict()).tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)
    uploading = traitlets.Unicode("").tag(sync=True)
    uploaded = traitlets.Float(-1.0).tag(sync=True)

    def __init__(self, source: Session | str | os.PathLike[str] | None = None, *, files: bool = True) -> None:
        super().__init__(samples=_menu())
        self.add_class("wb-panel")
        if not files:
            self.add_class("wb-menus-alone")
        self._files = files
        self.session = session = source if isinstance(source, Session) else session_of(source)
        self._upload: Upload | None = None
        self._batch: _Batch | None = None
        self._given_up = threading.Event()  # looking into the files of a folder that is shown no more
        self._search = threading.Event()
        self.on_msg(self._receive)
        self._link = traitlets.link((session, "path"), (self, "path"))
        session.observe(self._follow, "path")
        session.observe(self._list_recent, "recent")
        session.observe(self._job_ended, "job")
        self._list_recent()
        there = os.path.dirname(session.path)
        self.show_folder(there if os.path.isdir(there) else session.root)

    def close(self) -> None:
        """Take it out of the page. The session stays."""
        if self.comm is not None:
            self._given_up.set()
            self._search.set()
            self._cancel_upload()
            self._link.unlink()
            self.session.unobserve(self._follow, "path")
            self.session.unobserve(self._list_recent, "recent")
            self.session.unobserve(self._job_ended, "job")
        super().close()

    # --- folders --------------------------------------------------------------------------------------------------

    def show_folder(self, folder: str | os.PathLike[str]) -> None:
        """List a folder; one that cannot be read is said, and the view stays."""
        path = Path(folder)
        try:
            entries, left_out = folders.listing(path) if self._files else ([], 0)
        except WorkbenchError as error:
            self.message = str(error)
            return
        above = [folders.Entry("..", str(path.parent), True)] if path.parent != path else []
        with self.hold_sync():
            if str(path) != self.folder:
                self._search.set()
                self.looks, self.found = {}, {}
            self.message = ""
            self.folder, self.crumbs = str(path), self._crumbs(path)
            self.entries, self.left_out = [asdict(entry) for entry in [*above, *entries]], left_out
        self._given_up.set()
        self._given_up = threading.Event()
        self._look_into(entries, self._given_up)

    def refresh(self) -> None:
        """List the folder again, after something was written into it."""
        said = self.message
        self.show_folder(self.folder)
        self.message = self.message or said

    def _crumbs(self, path: Path) -> list[dict[str, str]]:
        root = Path(self.session.root)
        top = root if path.is_relative_to(root) else Path(path.anchor)
        steps = [*path.parents[: len(path.parts) - len(top.parts)][::-1], path]
        return [{"name": step.name or str(step), "path": str(step)} for step in steps]

    def _look_into(self, entries: list[folders.Entry], given_up: threading.Event) -> None:
        """Fill in the badges, in a thread: a header takes milliseconds, a folder of them seconds."""
        names = {entry.path: entry.name for entry in entries if not entry.folder}

        def work() -> None:
            looks: dict[str, list[str]] = {}
            told, pause = time.monotonic(), 0.05

            def tell(path: str, seen: folders.Look) -> None:
                nonlocal looks, told, pause
                danger = "" if seen.danger in (None, "note") else seen.danger
                looks[names[path]] = [seen.badge, seen.format, danger, LEVEL_WORDS.get(danger, ""), seen.says]
                if time.monotonic() > told + pause:
                    self._add(looks, given_up)
                    # The page gets all of them every time, so ever more seldom.
                    looks, told, pause = {}, time.monotonic(), min(2 * pause, 2.0)

            badges.read(names, tell, given_up)
            self._add(looks, given_up)

        threading.Thread(target=work, daemon=True).start()

    def _add(self, looks: dict[str, list[str]], given_up: threading.Event) -> None:
        def change() -> None:
            if not given_up.is_set():
                self.looks = {**self.looks, **looks}

        self.session.soon(change, 0)

    def _find(self, text: str) -> None:
        """Search the folders below, in a thread."""
        self._search.set()
        self._search = given_up = threading.Event()
        self.found, folder = {}, self.folder

        def work() -> None:
            entries, all_seen = folders.search(folder, text, given_up)

            def change() -> None:
                if not given_up.is_set():
                    self.found = {"text": text, "entries": [asdict(entry) for entry in entries], "all": all_seen}
                    self._look_into(entries, given_up)

            self.session.soon(change, 0)

        threading.Thread(target=work, daemon=True).start()

    # --- the session ----------------------------------------------------------------------------------------------

    def _follow(self, change: Any) -> None:
        """Show the folder of what was picked elsewhere."""
        if change.new and os.path.dirname(change.new) != self.folder and os.path.exists(change.new):
            self.show_folder(os.path.dirname(change.new))

    def _job_ended(self, change: Any) -> None:
        if not change.new:
            self.refresh()

    def _list_recent(self, change: Any = None) -> None:
        self.recent = [
            {"path": path, "name": os.path.basename(path), "folder": self._place(os.path.dirname(path))}
            for path in self.session.recent
        ]

    def _place(self, folder: str) -> str:
        """A folder in short: from the root, where it lies below."""
        inside = Path(folder).is_relative_to(self.session.root)
        return os.path.relpath(folder, self.session.root) if inside else folder

    def _pick(self, path: str) -> None:
        if os.path.lexists(path):
            self.message = ""
            if self._batch is None:
                self.uploading = ""
            self.session.pick(path)
            return
        self.session.recent = [other for other in self.session.recent if other != path]
        self.refresh()
        self.message = f"{path} is not there any more; choose another file."
        if "\ufffd" in path:  # what a page makes of bytes that are no text
            self.message = f"{path} cannot be opened under this name, which is not in UTF-8; rename the file first."

    # --- what the page asks ---------------------------------------------------------------------------------------

    def _receive(self, widget: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        self.send({"type": "ack"})
        verbs: dict[str, Callable[[], None]] = {
            "folder": lambda: self.show_folder(content["path"]),
            "refresh": self.refresh,
            "file": lambda: self._pick(content["path"]),
            "typed": lambda: self._typed(content["path"]),
            "find": lambda: self._find(content["text"]),
            "sample": lambda: self.session.start("sample", content["id"]),
            "audit": lambda: self.session.start("audit", self.folder),
            "folders": lambda: self._no_folders(content["names"]),
            "upload": lambda: self._begin(content),
            "chunk": lambda: self._chunk(content, buffers[0]),
            "cancel-upload": self._cancel_upload,
        }
        verbs[content["type"]]()

    def _typed(self, text: str) -> None:
        path = Path(self.folder, os.path.expanduser(text))
        if not os.path.exists(path):  # no, too, where it may not be looked at or the name is too long
            where = "type the path of a file or folder on the machine that runs the notebook"
            self.message = f"There is no {path}; {where}."
        elif path.is_dir() and not is_model_folder(path):
            self.show_folder(path.resolve())
        else:
            self._pick(str(path.resolve()))

    # --- uploads: chunk by chunk, the next one only when the last is written -----------------------------------------

    def _begin(self, content: dict[str, Any]) -> None:
        """The next file of a batch is offered by a page (`view`); `left` more are to come."""
        if self._batch is None or self._batch.view != content["view"]:
            # Another page of this notebook, or this one opened again: its unfinished upload cannot go on.
            self._cancel_upload()
            self._batch = _Batch(content["view"], Path(self.folder), self.path)
        self._batch.left = int(content["left"])
        try:
            self._upload = Upload(self._batch.folder, content["name"], int(content["size"]))
        except WorkbenchError as error:
            self._batch.failures.append(str(error))
            self._next(self._batch)
            return
        with self.hold_sync():
            self.uploading, self.uploaded = f"Uploading {self._upload.name}, {size(self._upload.total)}", 0.0
        self.send({"type": "want", "view": self._batch.view, "offset": 0})

    def _chunk(self, content: dict[str, Any], data: memoryview) -> None:
        upload, batch = self._upload, self._batch
        if upload is None or batch is None or (content["view"], content["offset"]) != (batch.view, upload.written):
            return  # cancelled meanwhile
        try:
            upload.write(data)
            if upload.written < upload.total:
                self.send({"type": "want", "view": batch.view, "offset": upload.written})
                self.uploaded = upload.written / upload.total
                return
            batch.arrived.append(str(upload.finish()))
        except WorkbenchError as error:
            batch.failures.append(str(error))
        self._next(batch)

    def _next(self, batch: _Batch) -> None:
        """Ask for the next file, or end the batch: say what failed, and show the first model that came."""
        self._upload = None
        if not batch.left:
            self._batch = None
            total = len(batch.arrived) + len(batch.failures)
            said = f"{len(batch.arrived)} of {total} uploaded. {' '.join(batch.failures)}" if batch.failures else ""
            with self.hold_sync():
                self.uploading, self.uploaded = said, -1.0
            if Path(self.folder) == batch.folder:
                self.refresh()
            if batch.arrived and self.path == batch.path:  # nothing else was picked meanwhile
                models = (path for path in batch.arrived if folders.look(path).badge)
                self.session.pick(next(models, batch.arrived[0]))
        self.send({"type": "done", "view": batch.view})

    def _no_folders(self, names: list[str]) -> None:
        self.message = (
            f"{', '.join(names)} is a folder, and only files can be uploaded: upload it as a .zip file, and unpack "
            "that in a cell with !unzip and its name."
        )

    def _cancel_upload(self) -> None:
        batch, self._batch = self._batch, None
        if self._upload is not None:
            self._upload.discard()
            self._upload = None
        if batch is None:
            return
        self.send({"type": "stop", "view": batch.view})
        with self.hold_sync():
            self.uploading, self.uploaded = "The upload was cancelled; the unfinished file was not kept.", -1.0
        if batch.arrived:
            self.refresh()


@dataclass
class _Batch:
    """The files of one upload: who sends them, where they go, and what was shown when it began."""

    view: str
    folder: Path
    path: str
    left: int = 0
    arrived: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def _menu() -> list[dict[str, Any]]:
    """The paper's models, grouped by kind and by what is made."""
    groups: dict[str, list[dict[str, str]]] = {}
    for sample in samples():
        item = {"id": sample.id, "title": sample.title, "about": sample.description}
        groups.setdefault(f"{sample.kind}: {MADE[sample.format]}", []).append(item)
    return [{"group": group, "items": items} for group, items in groups.items()]
