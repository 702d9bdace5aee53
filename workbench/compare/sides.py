"""A side of a comparison: a model that answers, and whose calls are timed, in a worker of its own or in this process.

A worker is the rule (`WorkerSide`): its libraries start with the thread count that both sides share, its peak memory is
its own, and it can be stopped in the middle of a call. `LocalSide` times an object that only this process has, and is
also what does the work inside the worker.
"""

from __future__ import annotations

import gc
import os
import pickle
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..engines import load_engine
from ..errors import WorkbenchError
from ..sandbox import Cancelled, Worker, peak_mib, release_memory

if TYPE_CHECKING:
    import numpy as np

    from ..agreement import Tolerance
    from ..engines import LayerOutput
    from ..header import ValueInfo
    from .layers import Divergence

    Arrays = dict[str, np.ndarray]

TIMEOUT = 900
"""Seconds for one task: loading the model, or one answer."""

WARM_UP = 2
"""Calls before any is timed: the first traces, compiles and fills caches, the second shows that it stays so."""

QUIET = 0.1
"""Share of a core below which a process counts as resting."""

LONGEST_REST = 0.3
"""Seconds. After a call OpenBLAS's threads were seen to spin for 105 ms, ONNX Runtime's for 40, OpenMP's for 8 and
TensorFlow's and TFLite's not at all."""

ABOUT = ("name", "version", "why", "inputs", "outputs", "classes", "tolerance", "neurons", "dt")
"""What an engine says about itself; see `workbench.engines.Engine`."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "LOKY_MAX_CPU_COUNT",
)  # fmt: skip
"""What libraries read when they are imported."""


class Side(Protocol):
    """One side of a comparison.

    Attributes:
        name, version, why, inputs, outputs, classes, tolerance: the engine's; see `workbench.engines.Engine`.
        neurons: {layer: how many} of a spiking network's neurons that spike, in its order; dt: seconds a step. Empty
            and None of other models.
        threads: how many it computes with; None where nobody said.
        calls: {call: seconds, roughly}, the ways to ask that `prepare` found working.
        refused: {call: why it failed} of the others.
    """

    name: str
    version: str
    why: str
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    tolerance: Tolerance | None
    neurons: dict[str, int]
    dt: float | None
    threads: int | None
    calls: dict[str, float]
    refused: dict[str, str]

    @property
    def classes(self) -> dict[str, tuple[Any, ...]]: ...

    def answer(self, inputs: Any) -> Arrays:
        """What `Engine.run` gives; of a spiking network what its probes come to (`SpikingEngine.settled`)."""
        ...

    def spikes(self, inputs: Any, layer: str) -> np.ndarray:
        """Where one of `neurons` spikes: (batch, steps, neurons) bool."""
        ...

    def layers(self, inputs: Any) -> list[LayerOutput]:
        """The output of every layer; empty for an engine without layers."""
        ...

    def diverges(
        self, onnx_path: str, inputs: Any, onnx_inputs: Arrays, answers: Arrays, tolerance: Tolerance
    ) -> tuple[Divergence | None, list[str]]:
        """`workbench.compare.layers.first_divergence`, where this side's layers are, and sentences about what could not
        be looked into."""
        ...

    def prepare(self, inputs: Any) -> list[str]:
        """Bind the engine's ordinary calls to these inputs, and warm up each. The inputs travel here, once.

        Returns:
            The words of the calls, for `lap`.

        Raises:
            WorkbenchError: none of them works.
        """
        ...

    def lap(self, call: str, count: int, cancel: threading.Event | None = None) -> float:
        """Make a prepared call `count` times in a row.

        Returns:
            Seconds of wall clock per call. Garbage collection is held; of several calls the first is made once more
            before the clock starts, since another side ran meanwhile.
        """
        ...

    def rest(self) -> None:
        """Wait until this side leaves the processor to the other: libraries' threads spin for a while after a call."""
        ...

    def peak_mib(self) -> float | None:
        """MiB of resident memory at the worker's highest: libraries, model, loading and runs. None in this process,
        whose memory holds other things, and from a worker that has ended."""
        ...

    def close(self) -> None: ...


class LocalSide:
    """A side in this process. See `Side`.

    Args:
        engine: a `workbench.engines.Engine`, or any object with ``run``, ``inputs`` and ``outputs``.
        threads: what it computes with, if known.
    """

    def __init__(self, engine: Any, threads: int | None = None) -> None:
        self.engine = engine
        self.name: str = getattr(engine, "name", type(engine).__name__)
        self.version: str = getattr(engine, "version", "")
        self.why: str = getattr(engine, "why", "You gave it.")
        self.inputs: tuple[ValueInfo, ...] = engine.inputs
        self.outputs: tuple[ValueInfo, ...] = engine.outputs
        self.tolerance: Tolerance | None = getattr(engine, "tolerance", None)
        network = getattr(engine, "network", None)
        self.neurons: dict[str, int] = network.spiking() if network is not None else {}
        self.dt: float | None = getattr(network, "dt", None)
        self.threads: int | None = threads if threads is not None else getattr(engine, "threads", None)
        self.calls: dict[str, float] = {}
        self.refused: dict[str, str] = {}
        self._bound: dict[str, Callable[[], object]] = {}

    def __enter__(self) -> LocalSide:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def classes(self) -> dict[str, tuple[Any, ...]]:
        return getattr(self.engine, "classes", {})

    def answer(self, inputs: Any) -> Arrays:
        found = self.engine.run(inputs)
        return self.engine.settled(found) if hasattr(self.engine, "settled") else found

    def spikes(self, inputs: Any, layer: str) -> np.ndarray:
        return self.engine.run(inputs, spikes=[layer])[layer] != 0

    def layers(self, inputs: Any) -> list[LayerOutput]:
        # A spiking engine's `layers` are names.
        method = getattr(self.engine, "layers", None)
        return method(inputs) if callable(method) else []

    def diverges(
        self, onnx_path: str, inputs: Any, onnx_inputs: Arrays, answers: Arrays, tolerance: Tolerance
    ) -> tuple[Divergence | None, list[str]]:
        from .layers import first_divergence

        weights = getattr(self.engine, "weights", None)
        try:
            if layers := self.layers(inputs):
                found = first_divergence(layers, onnx_path, onnx_inputs, tolerance, answers=answers, weights=weights)
                return found, []
        except WorkbenchError as error:
            # Told, not raised: that would end the worker, and the race is still to come.
            return None, [f"Layers were not compared: {error}"]
        return None, [f"Layers were not compared: {self.name} does not tell what its layers give."]

    def prepare(self, inputs: Any) -> list[str]:
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
                self.refused[name] = (str(error).strip().splitlines() or [type(error).__name__])[0]
            else:
                self._bound[name], self.calls[name] = call, seconds
        if not self._bound:
            why = next(iter(self.refused.values()), "it has no call to time")
            raise WorkbenchError(f"{self.name} answers, but cannot be timed: {why.rstrip('.')}.") from first
        gc.collect()
        return list(self._bound)

    def lap(self, call: str, count: int, cancel: threading.Event | None = None) -> float:
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
        end = time.monotonic() + LONGEST_REST
        while time.monotonic() < end:
            # The clock of a spinning thread moves with the system's ticks, up to 10 ms apart.
            start, used = time.perf_counter(), time.process_time()
            time.sleep(0.01)
            if time.process_time() - used < QUIET * (time.perf_counter() - start):
                return

    def peak_mib(self) -> float | None:
        return None

    def close(self) -> None:
        self._bound = {}
        if hasattr(self.engine, "close"):
            self.engine.close()


class WorkerSide:
    """A side whose engine lives in a worker process of its own. See `Side`.

    A task that fails or is cancelled ends the worker; this side answers no more then.

    Args:
        source: a path, or a model in memory that `load_engine` takes.
        engine, params, trust, options: as for `load_engine`.
        threads: for the engine, and for every library in the worker; one per core that this process may use if None.
        custom_objects: name -> class or function, for Keras layers that are not Keras's own.
        memory_mib: MiB for the worker, by the source's size if None; timeout: seconds for any one task.
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
        params: str | os.PathLike[str] | None = None,
        trust: bool = False,
        threads: int | None = None,
        custom_objects: Mapping[str, Any] | None = None,
        memory_mib: float | None = None,
        timeout: float | None = TIMEOUT,
        cancel: threading.Event | None = None,
        load: Callable[..., Any] = load_engine,
        **options: Any,
    ) -> None:
        from ..convert import MEMORY_MIB
        from ..convert.nengo import is_nengo
        from ..convert.output import fleeting_folder
        from ..convert.source import from_memory, parcel

        self.threads: int | None = threads or usable_cores()
        self.calls: dict[str, float] = {}
        self.refused: dict[str, str] = {}
        self._timeout, self._cancel = timeout, cancel
        with fleeting_folder(Path(tempfile.gettempdir()), "workbench-compare-") as scratch:
            own = not isinstance(source, str | os.PathLike)
            self._model = type(source).__name__ if own else Path(source).name
            if own and is_nengo(source):
                source, engine = _network(source, engine)
            elif own:
                given = from_memory(source, scratch, custom_objects)
                source, custom_objects = given.path or given.pickled, {**given.custom_objects, **(custom_objects or {})}
            path = None if isinstance(source, bytes) else os.path.abspath(source)
            options |= {"params": params, "trust": trust or own, "threads": self.threads}
            if custom_objects:
                options["custom_objects"] = dict(custom_objects)
            size = len(source) if isinstance(source, bytes) else _size(Path(source))
            self._worker = Worker(
                memory_mib=memory_mib or MEMORY_MIB + 8 * size / 2**20,
                environment=dict.fromkeys(THREAD_VARIABLES, str(self.threads)),
            )
            try:
                about = self._run(_load, load, path or source, engine, parcel(options), doing="Loading")
            except BaseException:
                self.close()
                raise
        self.name: str = about["name"]
        self.version: str = about["version"]
        self.why: str = about["why"]
        self.inputs: tuple[ValueInfo, ...] = about["inputs"]
        self.outputs: tuple[ValueInfo, ...] = about["outputs"]
        self.tolerance: Tolerance | None = about["tolerance"]
        self.neurons: dict[str, int] = about["neurons"]
        self.dt: float | None = about["dt"]
        self.classes: dict[str, tuple[Any, ...]] = about["classes"]

    def __enter__(self) -> WorkerSide:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def answer(self, inputs: Any) -> Arrays:
        # ONNX Runtime's engine learns the classes of a ZipMap from its first answer.
        answers, self.classes = self._run(_answer, inputs)
        return answers

    def spikes(self, inputs: Any, layer: str) -> np.ndarray:
        return self._run(_spikes, inputs, layer, doing="Watching the spikes of")

    def layers(self, inputs: Any) -> list[LayerOutput]:
        return self._run(_layers, inputs, doing="Asking the layers of")

    def diverges(
        self, onnx_path: str, inputs: Any, onnx_inputs: Arrays, answers: Arrays, tolerance: Tolerance
    ) -> tuple[Divergence | None, list[str]]:
        return self._run(_diverges, onnx_path, inputs, onnx_inputs, answers, tolerance, doing="Comparing the layers of")

    def prepare(self, inputs: Any) -> list[str]:
        self.calls, self.refused = self._run(_prepare, inputs, doing="Warming up")
        return list(self.calls)

    def lap(self, call: str, count: int, cancel: threading.Event | None = None) -> float:
        return self._run(_lap, call, count, cancel=cancel)

    def rest(self) -> None:
        self._run(_rest)

    def peak_mib(self) -> float | None:
        # Nobody waits for it after giving up.
        with suppress(Cancelled):
            return self._run(peak_mib) if self._worker.alive else None
        return None

    def close(self) -> None:
        self._worker.close()

    def _run(
        self, function: Callable[..., Any], *args: Any, doing: str = "Running", cancel: threading.Event | None = None
    ) -> Any:
        what = f"{doing} {self._model}"
        return self._worker.run(function, *args, timeout=self._timeout, cancel=cancel or self._cancel, what=what)


def _network(source: Any, engine: str | None) -> tuple[bytes, str]:
    """A network or simulator of Nengo's or NengoDL's as (ours, pickled; the engine it came from): theirs hold functions
    that no other process could be given."""
    from ..snn.from_nengo import from_nengo
    from ..snn.network import SpikingNetwork

    native = "nengo_dl" if type(source).__module__.partition(".")[0] == "nengo_dl" else "nengo"
    network = source if isinstance(source, SpikingNetwork) else from_nengo(source)
    return pickle.dumps(network), engine or native


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _size(path: Path) -> int:
    """Bytes of a file or folder; 0 where there is none."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


# --- in the worker -------------------------------------------------------------------------------------------------

_here: LocalSide
"""The side that this worker holds."""


def _load(load: Callable[..., Any], source: str | bytes, engine: str | None, options: bytes) -> dict[str, Any]:
    global _here
    model = pickle.loads(source) if isinstance(source, bytes) else source
    settings = pickle.loads(options)
    _here = LocalSide(load(model, engine, **settings))
    # The other side is loaded next.
    release_memory()
    return {field: getattr(_here, field) for field in ABOUT}


def _answer(inputs: Any) -> tuple[Arrays, dict[str, tuple[Any, ...]]]:
    return _here.answer(inputs), _here.classes


def _spikes(inputs: Any, layer: str) -> np.ndarray:
    return _here.spikes(inputs, layer)


def _layers(inputs: Any) -> list[LayerOutput]:
    return _here.layers(inputs)


def _diverges(*args: Any) -> tuple[Divergence | None, list[str]]:
    return _here.diverges(*args)


def _prepare(inputs: Any) -> tuple[dict[str, float], dict[str, str]]:
    # Before warming up, which brings back what is needed.
    release_memory()
    _here.prepare(inputs)
    return _here.calls, _here.refused


def _lap(call: str, count: int) -> float:
    return _here.lap(call, count)


def _rest() -> None:
    _here.rest()
