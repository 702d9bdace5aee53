"""A side of a comparison: a model that answers, and whose calls are timed, in a worker of its own or in this process.

A worker is the rule (`WorkerSide`): its libraries start with the thread count that both sides share, its peak memory is
its own, and it can be stopped in the middle of a call. `Side` times an object that only this process has, and is
also what does the work inside the worker.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import numpy as np

from ..agreement import Tolerance
from ..engines import load_engine
from ..engines.worker import WorkerEngine
from ..errors import WorkbenchError
from ..files.header import ValueInfo
from ..invented import row_axes
from ..lookups import Known, keys_of
from ..sandbox import Cancelled, peak_mib, release_memory
from ..words import first_line
from .layers import Divergence, first_divergence
from .matching import parted
from .values import errors_of, looked_into

Arrays = dict[str, np.ndarray]


TIMEOUT = 900
"""Seconds for one task, such as an answer."""

WARM_UP = 2
"""Calls before any is timed: the first traces, compiles and fills caches, the second shows that it stays so."""

QUIET = 0.1
"""Share of a core below which a process counts as resting."""

LONGEST_REST = 0.3
"""Seconds. After a call OpenBLAS's threads were seen to spin for 105 ms, ONNX Runtime's for 40, OpenMP's for 8 and
TensorFlow's and TFLite's not at all."""


class Side:
    """A side in this process, and what every side can do.

    Args:
        engine: a `workbench.engines.Engine`, or any object with ``run``, ``inputs`` and ``outputs``.
        threads: what it computes with, if known.

    Attributes:
        name, version, inputs, classes, tolerance, columns, remarks: the engine's; see `workbench.engines.Engine`.
        neurons: {layer: how many} of a spiking network's neurons that spike, in its order; dt: seconds a step. Empty
            and None of other models.
        axes: {input or output: where its rows are}, of those that do not begin with them; asked and answered are arrays
            that do.
        threads: how many it computes with; None where nobody said.
        calls: {call: seconds, roughly}, the ways to ask that `prepare` found working.
        refused: {call: why it failed} of the others.
    """

    def __init__(self, engine: Any, threads: int | None = None) -> None:
        self.engine = engine
        self.name: str = getattr(engine, "name", type(engine).__name__)
        self.version: str = getattr(engine, "version", "")
        self.inputs: tuple[ValueInfo, ...] = engine.inputs
        self.tolerance: Tolerance | None = getattr(engine, "tolerance", None)
        self.remarks: tuple[str, ...] = getattr(engine, "remarks", ())
        self.columns: tuple[str, ...] = getattr(engine, "columns", ())
        rows = row_axes(self.inputs, getattr(engine, "outputs", ()))
        self.axes = {name: axis for name, axis in rows.items() if axis}
        self.neurons, self.dt = self._there(_network)
        self.threads: int | None = threads if threads is not None else getattr(engine, "threads", None)
        self.calls: dict[str, float] = {}
        self.refused: dict[str, str] = {}
        self._bound: dict[str, Callable[[], object]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _there(self, function: Callable[..., Any], *args: Any, doing: str = "Running") -> Any:
        """``function(engine, *args)`` where the engine is."""
        return function(self.engine, *args)

    @property
    def classes(self) -> dict[str, tuple[Any, ...]]:
        return getattr(self.engine, "classes", {})

    def answer(self, inputs: Any) -> Arrays:
        """What `Engine.run` gives, maps `parted`; of a spiking network what its probes come to
        (`SpikingEngine.settled`)."""
        return self.rows_first(self._there(_answer, self._laid_out(inputs)))

    def rows_first(self, arrays: Arrays) -> Arrays:
        """The model's inputs or outputs, so that all begin with the rows."""
        return {
            name: np.moveaxis(array, self.axes[name], 0) if np.ndim(array) > self.axes.get(name, np.inf) else array
            for name, array in arrays.items()
        }

    def _laid_out(self, inputs: Any) -> Any:
        """The other way round."""
        if not self.axes:
            return inputs
        return {
            name: np.ascontiguousarray(np.moveaxis(array, 0, self.axes[name])) if name in self.axes else array
            for name, array in inputs.items()
        }

    def known(self) -> Known:
        """What the lookup tables of an ONNX file know."""
        return self._there(_known)

    def ties(self, inputs: Any) -> list[Arrays]:
        """Other answers to these rows that are as right, of a model whose neighbours tie."""
        return self._there(_ties, inputs)

    def spikes(self, inputs: Any, layer: str) -> np.ndarray:
        """Where one of `neurons` spikes: (batch, steps, neurons) bool."""
        return self._there(_spikes, inputs, layer, doing="Watching the spikes of")

    def diverges(self, *asked: Any) -> tuple[Divergence | None, list[str]]:
        """The first layer of this side that an ONNX file does not give (`divergence_of`)."""
        return self._there(divergence_of, *asked, doing="Comparing the layers of")

    def within(self, path: str, row: Arrays, rows: Arrays) -> Any:
        """`workbench.compare.values.looked_into` this side's ONNX file."""
        return self._there(looked_into, path, self._laid_out(row), self._laid_out(rows), doing="Looking into")

    def apart(self, path: str, inputs: Arrays, rows: Arrays, tolerance: Tolerance | None) -> Any:
        """`workbench.compare.values.errors_of` an ONNX file held against this side."""
        arrays = self._laid_out(inputs), self._laid_out(rows)
        return self._there(errors_of, path, *arrays, tolerance, doing="Comparing the nodes of")

    def prepare(self, inputs: Any) -> list[str]:
        """Bind the engine's ordinary calls to these inputs, and warm up each.

        Returns:
            The words of the calls, for `lap`.

        Raises:
            WorkbenchError: none of them works.
        """
        inputs = self._laid_out(inputs)
        if hasattr(self.engine, "calls"):
            bound = self.engine.calls(inputs)
        else:
            bound = {"run(x)": lambda: self.engine.run(inputs)}
        self._bound, self.calls, self.refused = {}, {}, {}
        first: Exception | None = None
        for name, call in bound.items():
            try:
                for _ in range(WARM_UP):
                    start = time.perf_counter()
                    call()
                    seconds = time.perf_counter() - start
            except Exception as error:
                first = first or error
                self.refused[name] = first_line(error)
            else:
                self._bound[name], self.calls[name] = call, seconds
        if not self._bound:
            why = next(iter(self.refused.values()), "it has no call to time")
            raise WorkbenchError(f"{self.name} answers, but cannot be timed: {why.rstrip('.')}.") from first
        gc.collect()
        return list(self._bound)

    def lap(self, call: str, count: int, cancel: threading.Event | None = None) -> float:
        """Make a prepared call `count` times in a row.

        Returns:
            Seconds of wall clock per call. Garbage collection is held; of several calls the first is made once more
            before the clock starts, since another side ran meanwhile.
        """
        run = self._bound[call]
        # The young generations: what earlier laps left. All of them take 0.1 s where TensorFlow is loaded.
        gc.collect(1)
        enabled = gc.isenabled()
        gc.disable()
        try:
            if count > 1:
                run()
            start = time.perf_counter_ns()
            for _ in range(count):
                run()
            return (time.perf_counter_ns() - start) / 1e9 / count
        finally:
            if enabled:
                gc.enable()

    def rest(self) -> None:
        """Wait until this side leaves the processor to the other: libraries' threads spin for a while after a call."""
        end = time.monotonic() + LONGEST_REST
        while time.monotonic() < end:
            # The clock of a spinning thread moves with the system's ticks, up to 10 ms apart.
            start, used = time.perf_counter(), time.process_time()
            time.sleep(0.01)
            if time.process_time() - used < QUIET * (time.perf_counter() - start):
                return

    def peak_mib(self) -> float | None:
        """MiB of resident memory at the worker's highest: libraries, model, loading and runs. None in this process,
        whose memory holds other things, and from a worker that has ended."""
        return None

    def close(self) -> None:
        self._bound = {}
        if hasattr(self.engine, "close"):
            self.engine.close()


class WorkerSide(Side):
    """A side whose engine lives in a worker process of its own, where a `Side` does the work.

    A task that is cancelled, or takes too long, ends the worker; this side answers no more then.

    Args:
        source: a path, or a model in memory that `load_engine` takes; or an open `WorkerEngine`, which stays open, and
            for which the rest is settled.
        engine, trust, options: as for `load_engine`.
        threads: for the engine, and for every library in the worker; one per core that this process may use if None.
        memory_mib: MiB for the worker, by the source's size if None.
        timeout: seconds for any one task; if None, `TIMEOUT`, and what `WorkerEngine` gives to load.
        cancel: set it from another thread to stop whatever the worker does.
        load: makes the engine; importable by name.

    Raises:
        See `load_engine`; WorkerFailed and Cancelled of `workbench.sandbox`.
    """

    def __init__(
        self,
        source: Any,
        engine: str | None = None,
        *,
        trust: bool = False,
        threads: int | None = None,
        memory_mib: float | None = None,
        timeout: float | None = None,
        cancel: threading.Event | None = None,
        load: Callable[..., Any] = load_engine,
        **options: Any,
    ) -> None:
        self._opened = isinstance(source, WorkerEngine)
        self._cancel = None if self._opened else cancel
        if not self._opened:
            options = {"params": None, **options, "threads": threads or usable_cores()}
            source = WorkerEngine(
                source, engine, trust=trust, options=options, memory_mib=memory_mib, timeout=timeout, cancel=cancel,
                load=load,
            )  # fmt: skip
            source.timeout = timeout or TIMEOUT
        super().__init__(source)

    def _there(
        self, function: Callable[..., Any], *args: Any, doing: str = "Running", cancel: threading.Event | None = None
    ) -> Any:
        return self.engine.there(function, *args, doing=doing, cancel=cancel or self._cancel)

    def prepare(self, inputs: Any) -> list[str]:
        # The inputs travel there, once.
        self.calls, self.refused = self._there(_prepare, self._laid_out(inputs), doing="Warming up")
        return list(self.calls)

    def lap(self, call: str, count: int, cancel: threading.Event | None = None) -> float:
        return self._there(_lap, call, count, cancel=None if self._opened else cancel)

    def rest(self) -> None:
        self._there(_rest)

    def peak_mib(self) -> float | None:
        # Nobody waits for it after giving up.
        with suppress(Cancelled):
            return self._there(_peak) if self.engine.worker.alive else None
        return None

    def close(self) -> None:
        if not self._opened:
            self.engine.close()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- where the engine is -------------------------------------------------------------------------------------------


def _network(engine: Any) -> tuple[dict[str, int], float | None]:
    """`Side.neurons` and `Side.dt`."""
    network = getattr(engine, "network", None)
    return ({}, None) if network is None else (network.spiking(), network.dt)


def _answer(engine: Any, inputs: Any) -> Arrays:
    found = engine.run(inputs)
    return engine.settled(found) if hasattr(engine, "settled") else parted(found)


def _known(engine: Any) -> Known:
    return keys_of(engine.path) if getattr(engine, "name", "") in ("onnxruntime", "reference") else {}


def _ties(engine: Any, inputs: Any) -> list[Arrays]:
    method = getattr(engine, "ties", None)
    return [] if method is None else method(inputs)


def _spikes(engine: Any, inputs: Any, layer: str) -> np.ndarray:
    return engine.run(inputs, spikes=[layer])[layer] != 0


def divergence_of(
    engine: Any, onnx_path: str, inputs: Any, onnx_inputs: Arrays, answers: Arrays, tolerance: Tolerance
) -> tuple[Divergence | None, list[str]]:
    """`workbench.compare.layers.first_divergence`, where the engine's layers are, and sentences about what could not be
    looked into."""
    # A spiking engine's `layers` are names.
    method, weights = getattr(engine, "layers", None), getattr(engine, "weights", None)
    try:
        if callable(method) and (layers := method(inputs)):
            return first_divergence(layers, onnx_path, onnx_inputs, tolerance, answers=answers, weights=weights), []
    except WorkbenchError as error:
        # Told, not raised: without its layers the race is still to come.
        return None, [f"Layers were not compared: {error}"]
    return None, [f"Layers were not compared: {engine.name} does not tell what its layers give."]


# --- in the worker -------------------------------------------------------------------------------------------------

_side: Side
"""What times the engine that this worker holds."""


def _prepare(engine: Any, inputs: Any) -> tuple[dict[str, float], dict[str, str]]:
    global _side
    # Before warming up, which brings back what is needed.
    release_memory()
    _side = Side(engine)
    _side.axes = {}  # what comes here is laid out already
    _side.prepare(inputs)
    return _side.calls, _side.refused


def _lap(engine: Any, call: str, count: int) -> float:
    return _side.lap(call, count)


def _rest(engine: Any) -> None:
    _side.rest()


def _peak(engine: Any) -> float:
    return peak_mib()
