"""Run a model: one small protocol, one file per engine.

`load_engine` picks the engine from the model's format and kind, as Figure 7b of the paper does (`choose_engine`).
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import BadInput, UnsupportedModel, WorkbenchError
from ..kind import ENGINE_NAMES, KIND_NAMES, Detection, detect, dispatch
from ..sandbox import in_worker

if TYPE_CHECKING:
    import numpy as np

    from ..agreement import Tolerance
    from ..files.header import ValueInfo

ENGINES = {
    "onnxruntime": ("engines.onnxruntime", "OnnxRuntimeEngine"),
    "sklearn": ("frameworks.sklearn.engine", "SklearnEngine"),
    "keras": ("frameworks.tensorflow.keras", "KerasEngine"),
    "tensorflow": ("frameworks.tensorflow.graphs", "TensorFlowEngine"),
    "tflite": ("frameworks.tensorflow.tflite", "TfliteEngine"),
    "nengo": ("frameworks.spiking.engine_nengo", "NengoEngine"),
    "nengo_dl": ("frameworks.spiking.engine_nengo_dl", "NengoDlEngine"),
}
"""Engine name -> (module beside this one, its class), imported on first use."""

SPIKING = {
    "onnxruntime": ("frameworks.spiking.engine_onnxruntime", "OnnxRuntimeSnnEngine"),
    "nengo": ENGINES["nengo"],
    "nengo_dl": ENGINES["nengo_dl"],
}
"""The same for spiking networks: there, ONNX Runtime runs over time."""

NATIVE = {
    "pickle": "sklearn", "joblib": "sklearn", "skops": "sklearn", "Keras v3": "keras", "Keras HDF5": "keras",
    "SavedModel": "tensorflow", "GraphDef": "tensorflow", "TFLite": "tflite",
}  # fmt: skip
"""Format name -> the engine of the framework that wrote it. ONNX and NIR go by their kind."""

APART = ("Keras v3", "Keras HDF5", "TFLite")
"""Formats that a C library reads, which damaged files were seen to crash, or to keep busy for ever."""


@dataclass(frozen=True)
class LayerOutput:
    """What one layer gave, for `Engine.layers`.

    Attributes:
        name: within the model, ``outer/inner`` for a layer inside another; kind: its class.
        inputs: names of the layers it reads, as far as they are known; empty for the first.
        array: rows first.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    array: np.ndarray


class Engine(Protocol):
    """A loaded model that answers.

    Some engines can also say what every layer gives: ``layers(inputs) -> list[LayerOutput]``, in order of execution.

    Attributes:
        name: the engine, one of `ENGINES`.
        version: its library's version.
        why: one sentence: why this engine was chosen.
        inputs: what `run` takes, in order; shapes hold an int, a name or None per axis.
        outputs: what `run` gives.
        classes: {output name: class labels in the order of its columns}, where they are known.
        tolerance: how far right answers in float32 may lie from this engine's; None where it knows none of its own.
    """

    name: str
    version: str
    why: str
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    classes: dict[str, tuple[Any, ...]]
    tolerance: Tolerance | None

    def run(self, inputs: Any) -> dict[str, np.ndarray]:
        """Answer one batch.

        Args:
            inputs: an array for a model with one input; ``{name: array}``; or arrays in the order of `inputs`.

        Returns:
            {output name: array}.

        Raises:
            BadInput: the data does not fit; the message names the input, what was expected and what was given.
        """
        ...

    def calls(self, inputs: Any) -> dict[str, Callable[[], object]]:
        """The ordinary ways to ask for these inputs, for timing.

        Returns:
            {what a person would type: a call without arguments}. The inputs are matched, cast and shaped before; every
            call starts from NumPy arrays and ends with NumPy arrays in hand.

        Raises:
            BadInput: see `run`.
        """
        ...

    def close(self) -> None:
        """Free the model's memory; `run` raises afterwards."""
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exc_info: object) -> None: ...


def choose_engine(kind: str | None, format_name: str = "ONNX") -> tuple[str, str]:
    """The engine Figure 7b sends a model to, and why: a framework's own format to that framework (`NATIVE`), an ONNX
    or NIR model by its kind (`workbench.kind.dispatch`).

    Returns:
        (engine name, the reason in one sentence).
    """
    if format_name in NATIVE:
        name = NATIVE[format_name]
        return name, f"It is in a format of {ENGINE_NAMES[name]}'s own ({format_name})."
    name = dispatch(kind) or "onnxruntime"
    if kind in ("ML", "DL", "SNN"):
        return name, f"It is a {KIND_NAMES[kind]} model ({kind}), and {ENGINE_NAMES[name]} runs those."
    return name, f"Its kind is not clear; {ENGINE_NAMES[name]} runs any model made of standard operators."


def load_engine(
    source: Any,
    engine: str | None = None,
    *,
    params: str | os.PathLike[str] | None = None,
    trust: bool = False,
    worker: bool | None = None,
    timeout: float | None = None,
    **options: Any,
) -> Engine:
    """Load a model into the engine that runs it.

    Files of Keras and TensorFlow Lite are read by C libraries, so their engines live in a worker process
    (`worker.WorkerEngine`): whatever such a file does there, it is a sentence here. The engines of other files, and of
    objects in memory, are in this process unless you say otherwise: a library that a file crashes, or fills the memory
    with, takes this process and all that it holds along. So open a file that you do not trust with ``worker=True``.
    (NIR files are read in a worker, too; the network that comes of it runs here.)

    Args:
        source: the model file: ONNX; scikit-learn in joblib, pickle or skops; Keras; SavedModel, frozen GraphDef,
            TFLite; NIR. Or a fitted estimator, a Keras model, a ``nengo.Network`` or simulator in memory.
        engine: one of `ENGINES`; None picks by format and kind (`choose_engine`).
        params: the NengoDL .npz with the weights, for spiking models that keep them beside the model.
        trust: allow formats that run code from the file when they are opened. An ONNX file never does.
        worker: put the engine into a worker process, or (of Keras and TensorFlow Lite with `trust` only) into this one,
            where a Keras engine has its ``model``. None as above. In a worker already, it is here.
        timeout: seconds for loading, and for any one answer, after which a worker is ended.
        options: the engine's own, such as ``threads``, ``providers`` or ``optimization``; see its class.

    Returns:
        An engine, ready to `run`; a context manager.

    Raises:
        NeedsTrust: opening the file would run code from it; the message says what a scan found.
        WorkerFailed: loading crashed its worker process, or took too long or too much memory.
        UnreadableFile: the file, or the external data it names, is missing or damaged.
        UnsupportedModel: no engine here runs it, or the one asked for does not.
        BadInput: an option, or `params`, that the engine does not know.
        WorkbenchError: there is no engine of that name.
    """
    if engine is not None and engine not in ENGINES:
        raise WorkbenchError(f"There is no engine named {engine!r}; choose one of: {', '.join(ENGINES)}.")
    if timeout is not None:
        if worker is False:
            raise BadInput("Only an engine in a worker process can be given a timeout: leave worker=False out.")
        worker = True
    in_memory = not isinstance(source, str | os.PathLike)
    found = None if in_memory else detect(source)
    if _apart(found, worker, trust):
        from .worker import WorkerEngine

        made = WorkerEngine(source, engine, trust=trust, timeout=timeout, options={"params": params, **options})
        # How many rows are asked at once is up to the person: all that the machine has left.
        made.worker.memory_mib = math.inf
        return made
    if found is None:
        return _from_memory(source, engine, params, options)
    path = os.fspath(source)
    if found.format in NATIVE:
        name, why = choose_engine(found.kind, found.format)
        _require(engine, (name,), f"{path} is in a format of {ENGINE_NAMES[name]}'s own ({found.format})")
        _refuse_params(params, name)
        return _make(ENGINES[name], path, name, why, options, trust=trust)
    spiking = found.kind == "SNN" and (found.format == "NIR" or _runs_over_time(path, found))
    if not spiking:
        _require_onnx(path, found)
    name, why = choose_engine(found.kind)
    if engine is not None:
        _require(engine, SPIKING, f"{path} is a model in {found.format}")
        name, why = engine, f"You asked for {ENGINE_NAMES[engine]}."
    elif found.kind == "SNN" and not spiking:
        name = "onnxruntime"
        why = "It is a spiking neural network (SNN) in standard operators, which ONNX Runtime runs and Nengo does not."
    if spiking:
        from ..frameworks.spiking.read import is_ours, load

        try:
            return _make(SPIKING[name], path, name, why, options, params=params)
        except (BadInput, UnsupportedModel):
            # Another maker's neurons may bring their own bodies; then ONNX Runtime needs no reading.
            if name != "onnxruntime" or params is not None or found.format != "ONNX" or is_ours(load(path)):
                raise
            with suppress(WorkbenchError):
                return _make(ENGINES[name], path, name, why, options)
            raise
    _refuse_params(params, name)
    if name in ("nengo", "nengo_dl"):
        raise UnsupportedModel(
            f"{path} has no neurons that {ENGINE_NAMES[name]} knows, so it cannot run there; "
            'engine="onnxruntime" runs any model made of standard operators.'
        )
    return _make(ENGINES[name], path, name, why, options)


def _apart(found: Detection | None, worker: bool | None, trust: bool) -> bool:
    """Whether the engine goes into a worker process; `found` is None for an object in memory."""
    if in_worker():
        return False
    parsed = found is not None and found.format in APART
    if found is not None and parsed and worker is False and not trust:
        raise BadInput(
            f"{found.path} is {found.format}, which a C library reads, and a damaged or hostile file can end this "
            "process or stop it for ever: leave worker=False out, or say that you trust the file with trust=True."
        )
    return parsed if worker is None else worker


def _from_memory(source: Any, engine: str | None, params: Any, options: dict[str, Any]) -> Engine:
    """An object in memory. Told by its classes' modules, so that no framework is imported to look."""
    bases = {(base.__module__.partition(".")[0], base.__name__) for base in type(source).__mro__}
    what = type(source).__name__
    spiking = bases & {("nengo", "Network"), ("nengo", "Simulator"), ("nengo_dl", "Simulator"), _OURS}
    if spiking:
        from ..frameworks.spiking.from_nengo import from_nengo

        _require(engine, SPIKING, f"A {what} is a spiking network")
        _refuse_params(params, "nengo")
        network = source if _OURS in spiking else from_nengo(source)
        name = engine or ("nengo_dl" if ("nengo_dl", "Simulator") in spiking else "nengo")
        return _make(SPIKING[name], network, name, f"A {what} is a spiking network.", options)
    if bases & {("keras", "Model"), ("tf_keras", "Model")}:
        name = "keras"
    elif not isinstance(source, type) and callable(getattr(source, "fit", None)) and hasattr(source, "get_params"):
        name = "sklearn"
    else:
        what = f"the class {source.__name__}" if isinstance(source, type) else f"a {what}"
        raise BadInput(
            "load_engine takes a path, a fitted scikit-learn estimator, a Keras model, a nengo.Network or a simulator, "
            f"but was given {what}."
        )
    _require(engine, (name,), f"A {what} is an object of {ENGINE_NAMES[name]}'s own")
    _refuse_params(params, name)
    return _make(ENGINES[name], source, name, f"It is an object of {ENGINE_NAMES[name]}'s own ({what}).", options)


_OURS = ("workbench", "SpikingNetwork")


def _require(engine: str | None, able: Collection[str], what: str) -> None:
    if engine is not None and engine not in able:
        runs = " or ".join(ENGINE_NAMES[name] for name in able)
        raise UnsupportedModel(f"{what}, which {runs} runs and {ENGINE_NAMES[engine]} does not.")


def _refuse_params(params: Any, name: str) -> None:
    if params is not None:
        raise BadInput(f"{ENGINE_NAMES[name]} reads the parameters from the model itself: leave params= out.")


def _make(where: tuple[str, str], source: Any, name: str, why: str, options: dict[str, Any], **ours: Any) -> Engine:
    """The engine of that class.

    Args:
        options: the person's; ours: what `load_engine` itself was given, for engines that take it.
    """
    maker: Callable[..., Engine] = getattr(import_module(f"workbench.{where[0]}"), where[1])
    known = [p.name for p in inspect.signature(maker).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known or option == "why":
            choose = ", ".join(name for name in known if name not in ("why", "trust", "params", "signature"))
            raise BadInput(f"{ENGINE_NAMES[name]} knows no option {option!r}; it knows: {choose}.")
    return maker(source, why=why, **options, **{key: value for key, value in ours.items() if key in known})


def _runs_over_time(path: str, found: Detection) -> bool:
    """Whether an SNN's ONNX file has neurons as operators, which `workbench.snn` reads; others are plain graphs."""
    from ..files.header import read_header
    from ..frameworks.spiking.load import has_neurons

    return found.format == "ONNX" and has_neurons(read_header(path))


def _require_onnx(path: str, found: Detection) -> None:
    if found.format != "ONNX":
        what = f"{found.format} ({found.format_detail})" if found.format_detail else found.format
        raise UnsupportedModel(
            f"No engine here runs {path}, which holds this: {what}; give a model of ONNX, scikit-learn, Keras, "
            "TensorFlow, TensorFlow Lite or NIR."
        )
