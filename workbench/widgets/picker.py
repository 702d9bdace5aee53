"""A file picker: folder view, upload, sample models. `picker.js` is its face."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ..card import size
from ..errors import WorkbenchError
from ..kind import detect

MAX_ENTRIES = 2000
"""Entries of one folder that are listed; a folder with more is better searched by path."""


class Picker(anywidget.AnyWidget):
    """Pick a model file.

    Traits:
        path: the file picked last; set it to pick one from code. Empty at first.
        folder: the folder shown.
        root: the folder the breadcrumb starts from.
        samples: the menu of sample models, ``[{"id", "title"}]``.
        message, busy, progress, failed: the status line; `progress` is 0 to 1, or -1 where unknown.
        uploading, uploaded: the line about uploads, and how much of the file has arrived (0 to 1; -1: none under way).

    Args:
        root: where browsing starts; the notebook's folder by default.
        on_sample: called with a sample's id when it is chosen.
        on_cancel: called when Cancel is clicked.
    """

    _esm = Path(__file__).parent / "picker.js"
    _css = Path(__file__).parent / "picker.css"

    path = traitlets.Unicode("").tag(sync=True)
    folder = traitlets.Unicode("").tag(sync=True)
    root = traitlets.Unicode("")
    crumbs = traitlets.List(traitlets.Dict()).tag(sync=True)
    entries = traitlets.List(traitlets.Dict()).tag(sync=True)
    samples = traitlets.List(traitlets.Dict()).tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)
    progress = traitlets.Float(-1.0).tag(sync=True)
    failed = traitlets.Bool(False).tag(sync=True)
    uploading = traitlets.Unicode("").tag(sync=True)
    uploaded = traitlets.Float(-1.0).tag(sync=True)

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        on_sample: Callable[[str], None] = lambda id: None,
        on_cancel: Callable[[], None] = lambda: None,
        **traits: Any,
    ) -> None:
        super().__init__(root=str(Path(root or Path.cwd()).resolve()), **traits)
        self._on_sample, self._on_cancel = on_sample, on_cancel
        self._upload: _Upload | None = None
        self._batch: _Batch | None = None
        self.on_msg(self._receive)
        self.show_folder(self.root)

    def say(self, message: str, *, busy: bool = False, progress: float = -1.0, failed: bool = False) -> None:
        """Set the status line."""
        with self.hold_sync():
            self.message, self.busy, self.progress, self.failed = message, busy, progress, failed

    def show_folder(self, folder: str | os.PathLike[str]) -> None:
        """List a folder; one that cannot be read is said in the status line and the view stays."""
        path = Path(folder)
        try:
            found = sorted(os.scandir(path), key=lambda entry: (not entry.is_dir(), entry.name.lower()))
        except OSError as error:
            self.say(f"{path} cannot be listed: {error.strerror}.", failed=True)
            return
        entries = [entry for entry in found if not entry.name.startswith((".", "__pycache__"))][:MAX_ENTRIES]
        above = [{"name": "..", "path": str(path.parent), "folder": True, "size": "", "badge": ""}]
        with self.hold_sync():
            if self.failed:
                self.say("")  # it was about something else
            self.folder = str(path)
            self.crumbs = self._crumbs(path)
            self.entries = (above if path.parent != path else []) + [_entry(entry) for entry in entries]

    def refresh(self) -> None:
        """List the folder again, after something was written into it."""
        self.show_folder(self.folder)

    def _crumbs(self, path: Path) -> list[dict[str, str]]:
        root = Path(self.root)
        top = root if path.is_relative_to(root) else Path(path.anchor)
        steps = [
            top,
            *(top.joinpath(*path.relative_to(top).parts[: n + 1]) for n in range(len(path.relative_to(top).parts))),
        ]
        return [{"name": step.name or str(step), "path": str(step)} for step in steps]

    def _receive(self, widget: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        self.send({"type": "ack"})
        try:
            kind = content.get("type")
            if kind == "folder":
                self.show_folder(content["path"])
            elif kind == "file":
                self.path = content["path"]
            elif kind == "typed":
                self._typed(content["path"])
            elif kind == "sample":
                self._on_sample(content["id"])
            elif kind == "cancel":
                self._on_cancel()
            elif kind == "cancel-upload":
                self._cancel_upload()
            elif kind == "upload":
                self._begin(content["name"], int(content["size"]), int(content.get("left", 0)))
            elif kind == "chunk":
                self._chunk(int(content["offset"]), buffers[0])
        except WorkbenchError as error:
            self.say(str(error), failed=True)

    def _typed(self, text: str) -> None:
        path = Path(self.folder, os.path.expanduser(text))
        if path.is_dir() and not (path / "saved_model.pb").is_file():
            self.show_folder(path.resolve())
        elif path.exists():
            self.show_folder(path.resolve().parent)
            self.path = str(path.resolve())
        else:
            where = "type the path of a file or folder on the machine that runs the notebook"
            self.say(f"There is no {path}; {where}.", failed=True)

    # --- uploads: chunk by chunk into a hidden file, renamed when whole ------------------------------------------

    def _begin(self, name: str, size_bytes: int, left: int) -> None:
        """The next file of a batch is offered; `left` more are to come."""
        if self._batch is None:
            self._batch = _Batch(Path(self.folder), self.path)
        self._batch.left = left
        safe = Path(name.replace("\\", "/")).name.lstrip(".") or "upload"
        if size_bytes == 0:
            self._failed(f"{safe} is empty (0 bytes); was its download complete?")
            return
        try:
            self._upload = _Upload(self._batch.folder, safe, size_bytes)
        except OSError as error:
            self._failed(f"{safe} cannot be written to {self._batch.folder}: {error.strerror}.")
            return
        with self.hold_sync():
            self.uploading, self.uploaded = f"Uploading {safe}, {size(size_bytes)}", 0.0
        self.send({"type": "want", "offset": 0})

    def _chunk(self, offset: int, data: Any) -> None:
        upload = self._upload
        if upload is None or offset != upload.written:
            return  # cancelled meanwhile
        try:
            upload.write(bytes(data))
            if upload.written < upload.size:
                self.uploaded = upload.written / upload.size
                self.send({"type": "want", "offset": upload.written})
                return
            path = upload.finish()
        except OSError as error:
            upload.discard()
            self._failed(f"{upload.name} could not be stored ({error.strerror}): free some disk space and try again.")
            return
        if self._batch is not None:
            self._batch.arrived.append(str(path))
        self._next()

    def _failed(self, reason: str) -> None:
        if self._batch is not None:
            self._batch.failures.append(reason)
        self._next()

    def _next(self) -> None:
        """Ask for the next file, or end the batch: say what failed, and show the first model that came."""
        self._upload = None
        batch = self._batch
        if batch is None:
            return
        if batch.left:
            self.send({"type": "done"})
            return
        self._batch = None
        total = len(batch.arrived) + len(batch.failures)
        said = f"{len(batch.arrived)} of {total} uploaded. {' '.join(batch.failures)}" if batch.failures else ""
        with self.hold_sync():
            self.uploading, self.uploaded = said, -1.0
        if Path(self.folder) == batch.folder:
            self.refresh()
        if batch.arrived and self.path == batch.path:  # nothing else was picked meanwhile
            models = [path for path in batch.arrived if _badge(path)]
            self.path = (models or batch.arrived)[0]
        self.send({"type": "done"})

    def _cancel_upload(self) -> None:
        if self._upload is not None:
            self._upload.discard()
        self._upload, kept = None, len(self._batch.arrived) if self._batch else 0
        self._batch = None
        self.send({"type": "stop"})
        with self.hold_sync():
            self.uploading, self.uploaded = "The upload was cancelled; the unfinished file was not kept.", -1.0
        if kept:
            self.refresh()


@dataclass
class _Batch:
    """The files of one upload: where they go, and what was shown when it began."""

    folder: Path
    path: str
    left: int = 0
    arrived: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class _Upload:
    """A file on its way: invisible until it is whole, and never over one that exists."""

    def __init__(self, folder: Path, name: str, size_bytes: int) -> None:
        self.folder, self.name, self.size, self.written = folder, name, size_bytes, 0
        handle, draft = tempfile.mkstemp(prefix=".upload-", dir=folder)
        self._file, self._draft = os.fdopen(handle, "wb"), Path(draft)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.written += len(data)

    def finish(self) -> Path:
        self._file.close()
        stem, suffix = Path(self.name).stem, Path(self.name).suffix
        for number in range(1, 1000):
            path = self.folder / (self.name if number == 1 else f"{stem}-{number}{suffix}")
            try:
                os.link(self._draft, path)  # unlike rename, fails where the name is taken
            except FileExistsError:
                continue
            except OSError:  # a file system without hard links
                if path.exists():
                    continue
                os.replace(self._draft, path)
                return path
            self._draft.unlink()
            path.chmod(0o644)
            return path
        raise OSError(17, f"a thousand files are called {self.name}")

    def discard(self) -> None:
        self._file.close()
        self._draft.unlink(missing_ok=True)


def _entry(entry: os.DirEntry[str]) -> dict[str, Any]:
    """One line of the list. The badge of a model file is its kind, read from its header."""
    path = entry.path
    try:
        if entry.is_dir():
            saved = os.path.isfile(os.path.join(path, "saved_model.pb"))
            return {"name": entry.name, "path": path, "folder": not saved, "size": "", "badge": "DL" if saved else ""}
        count = entry.stat().st_size
    except OSError:  # a dangling link
        return {"name": entry.name, "path": path, "folder": False, "size": "", "badge": "missing"}
    return {"name": entry.name, "path": path, "folder": False, "size": size(count), "badge": _badge(path)}


def _badge(path: str) -> str:
    try:
        found = detect(path)
    except WorkbenchError:
        return "damaged"
    return found.kind or ("empty" if found.format == "empty" else "")
