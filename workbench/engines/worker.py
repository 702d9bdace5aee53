"""An engine in a worker process of its own: what goes wrong there is a sentence here, and this process needs none of
the engine's libraries.

`WorkerEngine` is what `load_engine` gives for files that a C library reads, and what a side of a comparison is built
upon (`workbench.compare.sides`).
"""

from __future__ import annotations

import os
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .. import sandbox
from ..agreement import Tolerance
from ..files.header import ValueInfo
from ..kind import ENGINE_NAMES
from ..safety.external import whole_size
from ..scratch import fleeting_folder
from .base import Arrays, Calls, Closing
from .inputs import is_frame
from .packing import pack, parcel

Result = TypeVar("Result")

LOAD_SECONDS = 60
"""Of processor time, for a small model, which takes a few with the start of its library; a second more for each MB."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "LOKY_MAX_CPU_COUNT",
)  # fmt: skip
"""What libraries read when they are imported."""

_TOLD = ("name", "version", "why", "inputs", "outputs", "classes", "tolerance")
"""What every engine says about itself; see `workbench.engines.Engine`."""

_ASKED = ("remarks", "layers", "settled", "network", "state", "weights", "quantized")
"""What some engines have beside."""


class WorkerEngine(Closing):
    """An engine in a worker process. See `workbench.engines.Engine`; what its engine has of ``remarks``, ``layers``,
    ``settled``, ``network``, ``state``, ``weights`` and ``quantized`` is asked for there.

    The worker ends with `close`, with this object, and with this process. Ctrl-C ends it in the middle of an answer,
    and so does `close` from another thread.

    Args:
        source: a path, or a model in memory that `load_engine` takes.
        engine, trust: as for `load_engine`; options: what it takes beside, and the engine does. ``threads`` are for
            every library in the worker.
        memory_mib: MiB for the worker, by the source's size (an ONNX model's with its external data) if None.
        timeout: seconds for loading, and for any one answer. If None, an answer takes as long as it takes, and loading
            as much of the processor's time as the model's size calls for.
        cancel: set it from another thread to stop the loading.
        load: makes the engine there, as `workbench.load_engine` does; importable by name.

    Raises:
        See `load_engine`; WorkerFailed and Cancelled of `workbench.sandbox`.
    """

    def __init__(
        self,
        source: Any,
        engine: str | None = None,
        *,
        trust: bool = False,
        options: Mapping[str, Any] | None = None,
        memory_mib: float | None = None,
        timeout: float | None = None,
        cancel: threading.Event | None = None,
        load: Callable[..., Any],
    ) -> None:
        in_memory = not isinstance(source, str | os.PathLike)
        self.path = f"{type(source).__name__} (in memory)" if in_memory else os.fspath(source)
        self._called = type(source).__name__ if in_memory else os.path.basename(os.path.normpath(self.path))
        settings: dict[str, Any] = {**(options or {}), "trust": trust or in_memory}
        if not settings.get("custom_objects"):
            settings.pop("custom_objects", None)  # an option of Keras alone
        self.threads: int | None = settings.get("threads")
        self.timeout = timeout
        self._bound: object = None
        with _packed(source, engine, settings) as (packed, engine):
            parceled = parcel(settings)
            size = len(packed) if isinstance(packed, bytes) else whole_size(Path(packed))
            self.worker = sandbox.Worker(
                memory_mib=memory_mib or sandbox.memory_for(size),
                adjustable=True,
                environment=None if self.threads is None else dict.fromkeys(THREAD_VARIABLES, str(self.threads)),
            )
            # Also where nobody closes it.
            self._end = weakref.finalize(self, self.worker.close)
            about = self.worker.run(
                _load, load, packed, engine, parceled, timeout=timeout,
                processor=LOAD_SECONDS + size / 1e6 if timeout is None else None, cancel=cancel,
                what=f"Loading {self._called}",
            )  # fmt: skip
        self.name: str = about["name"]
        self.version: str = about["version"]
        self.why: str = about["why"]
        self.inputs: tuple[ValueInfo, ...] = about["inputs"]
        self.outputs: tuple[ValueInfo, ...] = about["outputs"]
        self.classes: dict[str, tuple[Any, ...]] = about["classes"]
        self.tolerance: Tolerance | None = about["tolerance"]
        self.columns: tuple[str, ...] = about["columns"]
        self._asked: dict[str, bool] = about["asked"]

    def __repr__(self) -> str:
        return f"<{ENGINE_NAMES.get(self.name, self.name)} {self.version}: {self.path}, in a worker process>"

    def __getattr__(self, name: str) -> Any:
        """What `_ASKED` lists, as far as the engine has it."""
        is_method = self.__dict__.get("_asked", {}).get(name)
        if is_method is None:
            raise AttributeError(
                f"There is no {name!r} here: the engine of {self.path} is in a worker process, and its objects stay "
                "there. A file that you trust is loaded into this process with worker=False and trust=True."
            )
        return partial(self._answered, name) if is_method else self._answered(name)

    def run(self, inputs: Any, **options: Any) -> Arrays:
        """Answer one batch; see the engine's own ``run``."""
        answers: Arrays = self._answered("run", _plain(inputs), **options)
        return answers

    def calls(self, inputs: Any, **options: Any) -> Calls:
        """The ordinary ways to ask; see `workbench.engines.Engine.calls`. Each takes the way to the worker and back
        beside: `workbench.compare` times them without it."""
        inputs = _plain(inputs)
        return {name: partial(self._call, name, inputs, options) for name in self._bind(inputs, options)}

    def there(
        self,
        function: Callable[..., Result],
        *args: Any,
        doing: str = "Running",
        cancel: threading.Event | None = None,
    ) -> Result:
        """``function(engine, *args)`` in the worker, which lives on where that raises.

        Args:
            function: importable by name.
            doing: what it does to the model, for sentences.
            cancel: set it from another thread to end the worker.
        """
        self._check_open()
        what = f"{doing} {self._called}"
        if not self.worker.alive:
            raise sandbox.WorkerFailed(f"{what} is not possible: its worker process has ended; load it again.")
        value, error, self.classes = self.worker.run(
            _told, function, args, what, timeout=self.timeout, cancel=cancel, what=what
        )
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        super().close()
        self._end()

    def _answered(self, name: str, *args: Any, **options: Any) -> Any:
        answer, noted = self.there(_answer, name, args, options)
        for message, category in noted:
            warnings.warn(message, category, stacklevel=3)
        return answer

    def _bind(self, inputs: Any, options: dict[str, Any]) -> list[str]:
        names = self.there(_bind, inputs, options)
        self._bound = inputs
        return names

    def _call(self, name: str, inputs: Any, options: dict[str, Any]) -> object:
        if self._bound is not inputs:
            # Others were bound meanwhile: the worker holds those of one `calls`.
            self._bind(inputs, options)
        return self.there(_call, name)


@contextmanager
def _packed(source: Any, engine: str | None, settings: dict[str, Any]) -> Iterator[tuple[str | bytes, str | None]]:
    """(a path, or a model in memory as it travels: as a file, which is gone afterwards, or pickled; its engine). The
    classes that it needs go into the settings."""
    if isinstance(source, str | os.PathLike):
        yield os.fspath(source), engine
        return
    with fleeting_folder("workbench-engine-") as scratch:
        custom_objects = settings.get("custom_objects") or {}
        given = pack(source, scratch, custom_objects)
        if needed := {**given.custom_objects, **custom_objects}:
            settings["custom_objects"] = needed
        yield given.pickled or str(given.path), engine or given.engine


def _plain(inputs: Any) -> Any:
    """Tensors of any library as arrays, so that no other library has to travel with them."""
    if isinstance(inputs, Mapping):
        return {name: _plain(value) for name, value in inputs.items()}
    if isinstance(inputs, list | tuple):
        return [_plain(value) for value in inputs] if any(hasattr(value, "__array__") for value in inputs) else inputs
    return np.asarray(inputs) if hasattr(inputs, "__array__") and not is_frame(inputs) else inputs


# --- in the worker -------------------------------------------------------------------------------------------------

_engine: Any
"""The engine that this worker holds."""

_calls: Calls
"""Its calls, bound to the inputs of the last `WorkerEngine.calls`."""


def _load(load: Callable[..., Any], source: str | bytes, engine: str | None, options: bytes) -> dict[str, Any]:
    global _engine
    model = pickle.loads(source) if isinstance(source, bytes) else source
    _engine = load(model, engine, **pickle.loads(options))
    # Of the scan: it would wait beside this one.
    sandbox.end_warm_worker()
    # Another engine may be loaded next.
    sandbox.release_memory()
    asked = {name: callable(getattr(_engine, name)) for name in _ASKED if hasattr(_engine, name)}
    told = {name: getattr(_engine, name) for name in _TOLD}
    return told | {"columns": getattr(_engine, "columns", ()), "asked": asked}


def _told(
    function: Callable[..., Any], args: tuple[Any, ...], what: str
) -> tuple[Any, BaseException | None, dict[str, tuple[Any, ...]]]:
    """(what it gives, what it raised, the engine's classes: some learn them from their first answer)."""
    value = raised = None
    try:
        value = function(_engine, *args)
    except Exception as error:
        raised = sandbox.portable(error, what, pythons=True)
    return value, raised, _engine.classes


def _answer(
    engine: Any, name: str, args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Any, list[tuple[str, type[Warning]]]]:
    """What an attribute is, or gives when it is called; and the warnings meanwhile."""
    with warnings.catch_warnings(record=True) as noted:
        value = getattr(engine, name)
        if callable(value):
            value = value(*args, **options)
        if name == "weights":
            value = dict(value)  # arrays are read when they are asked for
    return value, [(str(warning.message), _known(warning.category)) for warning in noted]


def _known(category: type[Warning]) -> type[Warning]:
    """The nearest kind of warning that takes no library of the engine's to know."""
    return next(base for base in category.__mro__ if base.__module__.partition(".")[0] in ("builtins", "workbench"))


def _bind(engine: Any, inputs: Any, options: dict[str, Any]) -> list[str]:
    global _calls
    _calls = engine.calls(inputs, **options)
    return list(_calls)


def _call(engine: Any, name: str) -> object:
    return _calls[name]()
