"""Engines so small that what is measured or breaks around them is not theirs. A worker imports this file, too."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from workbench.files.header import ValueInfo


class NullEngine:
    """Answers at once what it was given."""

    name, version, why = "null", "1", "It does nothing."
    inputs = (ValueInfo("x", "float32", ("rows",)),)
    outputs = (ValueInfo("y", "float32", ("rows",)),)
    tolerance = None

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads
        self.classes: dict[str, tuple[Any, ...]] = {}

    def run(self, inputs: Any) -> dict[str, np.ndarray]:
        self.classes = {"y": ("a", "b")}
        return {"y": np.asarray(inputs)}

    def calls(self, inputs: Any) -> dict[str, Callable[[], object]]:
        return {"null": lambda: None}

    def close(self) -> None:
        self.threads = None


def spin(milliseconds: float = 1) -> None:
    """Compute for exactly this long."""
    end = time.perf_counter_ns() + int(milliseconds * 1e6)
    while time.perf_counter_ns() < end:
        pass


class BusyEngine(NullEngine):
    def calls(self, inputs: Any) -> dict[str, Callable[[], object]]:
        return {"spin": spin, "spin slowly": lambda: spin(4)}


class FrailEngine(NullEngine):
    """Some of its calls fail."""

    def calls(self, inputs: Any) -> dict[str, Callable[[], object]]:
        return {"fails": lambda: 1 / 0, "null": lambda: None} if inputs is not None else {"fails": lambda: 1 / 0}


class HangingEngine(NullEngine):
    """From its fifth call on it never comes back."""

    def calls(self, inputs: Any) -> dict[str, Callable[[], object]]:
        done: list[int] = []

        def call() -> None:
            done.append(1)
            # In C, holding Python's lock: nothing in that process can stop it.
            ctypes.PyDLL(None).usleep(20_000) if len(done) < 5 else ctypes.PyDLL(None).sleep(3600)

        return {"hang": call}


class CrashingEngine(NullEngine):
    def run(self, inputs: Any) -> dict[str, np.ndarray]:
        ctypes.string_at(0)
        return {}


class TellingEngine(NullEngine):
    """Tells the state of its process."""

    def run(self, inputs: Any) -> dict[str, np.ndarray]:
        variables = np.array([os.environ.get(name, "") for name in inputs])
        return {"environment": variables, "pid": np.array(os.getpid()), "threads": np.array(self.threads)}


class HungryEngine(NullEngine):
    """Holds 300 MiB for a fifth of a second, which is several looks at its memory."""

    def run(self, inputs: Any) -> dict[str, np.ndarray]:
        held = np.ones(300 << 17)
        time.sleep(0.2)
        return {"y": held.sum(keepdims=True)}


class LitteringEngine(NullEngine):
    """Leaves cyclic garbage behind, and notes whether its collection was held."""

    alive = 0
    held: list[bool]

    def __init__(self, threads: int | None = None) -> None:
        super().__init__(threads)
        self.held = []

    def calls(self, inputs: Any) -> dict[str, Callable[[], object]]:
        class Litter:
            def __init__(litter) -> None:
                litter.itself = litter
                self.alive += 1

            def __del__(litter) -> None:
                self.alive -= 1

        def call() -> None:
            Litter()
            self.held.append(not gc.isenabled())

        return {"litter": call}


def load(source: str, engine: str | None, *, params: Any, trust: bool, threads: int) -> Any:
    """In place of `workbench.load_engine`: the class that the path's last part names."""
    return globals()[Path(source).name](threads)
