"""Files that end a process that reads them, or keep it for ever. Each does so in the library that is tested with it.
And objects that run code when they are unpickled."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np


class Runs:
    """Pickles to a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def endless_hdf5(data: bytes) -> bytes:
    """The file with a global heap whose free space is 0 bytes long: libhdf5 never gets past it, and holds Python's lock
    meanwhile."""
    out = bytearray(data)
    heap = out.find(b"GCOL")
    (size,) = struct.unpack_from("<Q", out, heap + 8)
    place = heap + 16
    while place < heap + size:
        index, length = struct.unpack_from("<H6xQ", out, place)
        if index == 0:
            struct.pack_into("<Q", out, place + 8, 0)
            return bytes(out)
        place += 16 + (length + 7 & ~7)
    raise AssertionError("no free space in the heap")


def endless_keras(path: Path) -> Path:
    """An ``.h5`` file, larger than a graph view shows whole."""
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.attrs["keras_version"] = "2.21.0"
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": []}})
        file.create_group("model_weights").attrs["layer_names"] = []
    path.write_bytes(endless_hdf5(out.getvalue()) + bytes(1 << 20))
    return path


def small_nir(path: Path) -> Path:
    """One neuron."""
    one = np.ones(1, np.float32)
    nodes = {
        "x": nir.Input({"input": np.array([1])}),
        "lif": nir.LIF(1e-3 * one, 10 * one, one, one),
        "y": nir.Output({"output": np.array([1])}),
    }
    nir.write(path, nir.NIRGraph(nodes, [("x", "lif"), ("lif", "y")]))
    return path


def endless_nir(path: Path) -> Path:
    path.write_bytes(endless_hdf5(small_nir(path).read_bytes()))
    return path


def crashing_tflite(path: Path) -> Path:
    """A flatbuffer with a version and no subgraph."""
    path.write_bytes(struct.pack("<I4sHHHHiI", 16, b"TFL3", 0, 6, 8, 4, 6, 3))
    return path
