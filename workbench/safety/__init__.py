"""What a model file would do when it is opened: found out by reading it, never by opening it.

A file per family of formats (`pickles`, `skops`, `keras`, `tensorflow`, `external`) knows what a model of that family
needs, by exact names: what is not on its list is told by name. `trust` stands before whoever opens a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import Finding, Scan
from ..files.formats import Format, identify
from ..files.wire import Buffer, Steps, opened
from ..frameworks.sklearn import skops
from ..frameworks.tensorflow import scan_graphs as tensorflow
from ..frameworks.tensorflow import scan_keras as keras
from . import external as external
from . import pickles
from .subject import Subject

_SCANNERS: dict[str, Callable[[Subject], Scan]] = {
    "pickle": pickles.scan, "joblib": pickles.scan, "PyTorch": pickles.scan, "skops": skops.scan,
    "NumPy npy": pickles.scan, "NumPy npz": pickles.scan, "zip archive": pickles.scan,
    "Keras v3": keras.scan, "Keras HDF5": keras.scan,
    "SavedModel": tensorflow.scan, "GraphDef": tensorflow.scan, "TFLite": tensorflow.scan,
}  # fmt: skip
"""Format -> who looks through it; files of other formats run nothing when they are opened."""


def scan(path: str | os.PathLike[str], name: str | None = None, known: tuple[str, ...] = ()) -> Scan:
    """Read a model file or folder, to its end, for what it would do.

    Hostile files may take long or much memory to read, so callers run this in a worker process.

    Args:
        path: the file or folder.
        name: what to call it in sentences; the path itself if None.
        known: class names of Keras layers that the caller brings along, so that the file need not import them.

    Raises:
        UnreadableFile: nothing there, or no permission.
    """
    path = Path(path)
    what = identify(path)
    shown = name or str(path)
    scanner = _SCANNERS.get(what.name)
    if scanner is None:
        return Scan(shown, what.name, what.runs_code)
    graphs = (path / name for name in ("saved_model.pb", "saved_model.pbtxt"))
    with opened(next(filter(Path.is_file, graphs), path)) as buffer:
        return scanner(Subject(path, shown, buffer, what, known))


def glance(path: Path, buffer: Buffer, what: Format, steps: Steps) -> tuple[Finding, ...]:
    """What `scan` would find, as far as can be told at once: with the steps that `workbench.kind.detect` has left."""
    scanner = _SCANNERS.get(what.name)
    if scanner is None:
        return ()
    findings = scanner(Subject(path, str(path), buffer, what, steps=steps)).findings
    if steps.left < 0:
        says = "It was looked through in part only, because it is large or made to take long."
        advice = "Open it only if you know where it comes from: what was not looked at could be harmful."
        findings = (*findings, Finding("read-in-part", "warning", "", says, advice))
    return findings
