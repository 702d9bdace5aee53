"""A ``.nir`` file, which is HDF5, to and from the `nir` package's graph.

The file may come from anybody: no code in it runs, no link out of it is followed, and its size is bounded before
anything of that size is made (a few bytes of HDF5 can promise terabytes of zeros).
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

import h5py
import nir

from ...errors import UnreadableFile, WorkbenchError
from ...words import first_line

MAX_BYTES = 2_000_000_000
MAX_ENTRIES = 100_000
MAX_DEPTH = 12
MAX_TEXT = 10_000_000
"""What a file may hold: bytes of numbers, HDF5 objects, groups inside each other, characters."""


def read(path: str | os.PathLike[str]) -> nir.NIRGraph:
    """The graph of a file, its types unchecked: some frameworks write one number where the check wants one per neuron.

    Raises:
        UnreadableFile: truncated, not HDF5, not NIR, too large, or with links out of the file.
    """
    name = os.fspath(path)
    try:
        with h5py.File(path, "r") as file:
            tree = _Tree().group(file, 0)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise UnreadableFile(
            f"{name} cannot be read: a .nir file is HDF5, and this one is missing, truncated or something else "
            f"({' '.join(str(error).split())[:200]})."
        ) from error
    node = tree.get("node")
    if not isinstance(node, dict) or node.get("type") != "NIRGraph":
        raise UnreadableFile(f"{name} is HDF5, but holds no NIR graph (a group 'node' of type 'NIRGraph').")
    try:
        return nir.dict2NIRNode(_unchecked(node))
    except Exception as error:  # nir raises whatever its dataclasses run into
        raise UnreadableFile(f"{name} is not a sound NIR graph: {type(error).__name__}: {error}.") from error


def write(graph: nir.NIRGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph: whole, or not at all."""
    part = f"{os.fspath(path)}.part"
    try:
        nir.write(part, graph)
        os.replace(part, path)
    except OSError as error:
        raise WorkbenchError(f"{os.fspath(path)} cannot be written: {first_line(error)}.") from error
    finally:
        if os.path.exists(part):
            os.remove(part)


def _unchecked(tree: dict[str, Any]) -> dict[str, Any]:
    if tree.get("type") != "NIRGraph":
        return tree
    return tree | {"type_check": False, "nodes": {key: _unchecked(node) for key, node in tree["nodes"].items()}}


class _Tree:
    """Groups as dicts, datasets as arrays and strings, until a limit is reached."""

    def __init__(self) -> None:
        self.bytes, self.entries, self.text = MAX_BYTES, MAX_ENTRIES, MAX_TEXT

    def group(self, group: Any, depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            _refuse(f"has more than {MAX_DEPTH} groups inside each other")
        out: dict[str, Any] = {}
        for key in group:
            self.entries -= 1
            if self.entries < 0:
                _refuse(f"has more than {MAX_ENTRIES:,} entries")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                _refuse(f"has a link to elsewhere ({key!r}), which a network has no use for")
            item = group[key]
            out[key] = self.group(item, depth + 1) if isinstance(item, h5py.Group) else self.dataset(key, item)
        return out

    def dataset(self, key: str, item: Any) -> Any:
        if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
            _refuse(f"keeps {key!r} elsewhere than in the file")
        self.bytes -= int(item.size or 0) * max(1, item.dtype.itemsize)
        if self.bytes < 0:
            _refuse(f"holds more than {MAX_BYTES:,} bytes of numbers")
        if h5py.check_string_dtype(item.dtype) is None:
            if item.dtype.kind not in "biuf":
                _refuse(f"holds something in {key!r} that is neither numbers nor text")
            return item[()]
        text = item.asstr()
        if not item.shape:
            return self.counted(text[()])
        # Row by row: a name costs a few bytes of the file however long it is, if it is the same one again and again.
        return [[self.counted(word) for word in row] if len(item.shape) > 1 else self.counted(row) for row in text]

    def counted(self, word: str) -> str:
        self.text -= len(word)
        if self.text < 0:
            _refuse(f"holds more than {MAX_TEXT:,} characters of text")
        return word


def _refuse(what: str) -> NoReturn:
    raise UnreadableFile(f"The NIR file {what}: it is not opened.")
