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
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..agreement import Tolerance
from ..errors import BadInput, UnsupportedModel, WorkbenchError
from ..files import registry
from ..files.formats import whole
from ..files.header import ValueInfo
from ..files.records import Where
from ..files.registry import ENGINE_NAMES, ENGINES
from ..kind import KIND_NAMES, Detection, detect, dispatch
from ..safety.external import whole_size
from ..safety.trust import known_as
from ..sandbox import in_worker
from ..scratch import fleeting_folder
from .worker import WorkerEngine


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
    """The engine Figure 7b sends a model to, and why: a framework's own format to that framework, an ONNX
    or NIR model by its kind (`workbench.kind.dispatch`).

    Returns:
        (engine name, the reason in one sentence).
    """
    if name := registry.of(format_name).engine:
        return name, f"It is in a format of {ENGINE_NAMES[name]}'s own ({format_name})."
    name = dispatch(kind) or "onnxruntime"
    if kind in ("ML", "DL", "SNN"):
        return name, f"It is a {KIND_NAMES[kind]} model ({kind}), and {ENGINE_NAMES[name]} runs those."
    return name, f"Its kind is not clear; {ENGINE_NAMES[name]} runs any model made of standard operators."


def leans(path: str | os.PathLike[str]) -> bool:
    """Whether ONNX Runtime runs this file, and it is so large that its weights should stay in it (``lean=True``)."""
    from .onnxruntime import LARGE

    if whole_size(Path(path)) < LARGE:
        return False
    detection = detect(path)
    return detection.format == "ONNX" and choose_engine(detection.kind)[0] == "onnxruntime"


def load_engine(
    source: Any,
    engine: str | None = None,
    *,
    params: str | os.PathLike[str] | None = None,
    trust: bool = False,
    worker: bool | None = None,
    timeout: float | None = None,
    memory_mib: float | None = None,
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
        memory_mib: MiB that a worker may take. If None, what the source's size calls for while it is loaded, and all
            that the machine has left from then on.
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
    for limit, given in (("a timeout", timeout), ("memory_mib", memory_mib)):
        if given is not None:
            if worker is False:
                raise BadInput(f"Only an engine in a worker process can be given {limit}: leave worker=False out.")
            worker = True
    in_memory = not isinstance(source, str | os.PathLike)
    source = source if in_memory else whole(source)
    detection = None if in_memory else detect(source)
    if _apart(detection, engine, worker, trust):
        made = WorkerEngine(
            source, engine, trust=trust, timeout=timeout, memory_mib=memory_mib,
            options={"params": params, **options}, load=load_engine,
        )  # fmt: skip
        # How many rows are asked at once is up to the person: all that the machine has left.
        made.worker.memory_mib = memory_mib or math.inf
        return made
    if detection is None:
        return _from_memory(source, engine, params, options)
    return _from_file(os.fspath(source), detection, engine, params, trust, options)


def _from_file(
    path: str, detection: Detection, engine: str | None, params: Any, trust: bool, options: dict[str, Any]
) -> Engine:
    record = registry.of(detection.format)
    if record.stands_for:
        with fleeting_folder("workbench-form-") as folder:
            file = registry.at(record.stands_for)(Path(path), folder)
            with known_as(file, Path(path)):
                made = _from_file(str(file), detect(file), engine, params, trust, options)
        made.path = path  # type: ignore[attr-defined]
        return made
    if record.engine:
        name, why = choose_engine(detection.kind, detection.format)
        _require(engine, (name,), f"{path} is in a format of {ENGINE_NAMES[name]}'s own ({detection.format})")
        _refuse_params(params, name)
        return _make(ENGINES[name], path, name, why, options, trust=trust)
    if not record.over_time and detection.format != "ONNX":
        what = f"{detection.format} ({detection.format_detail})" if detection.format_detail else detection.format
        if detection.format == "unknown":
            raise UnsupportedModel(f"No engine here runs {path}. {detection.because}")
        raise UnsupportedModel(
            f"No engine here runs {path}, which holds this: {what}; give a model of ONNX, scikit-learn, Keras, "
            "TensorFlow, TensorFlow Lite or NIR."
        )
    # Neurons that give rates are no spiking network, and run over time all the same.
    over_time = record.over_time or registry.runs_over_time(detection.header)
    name, why = choose_engine(detection.kind)
    if engine is not None:
        # The reference knows neither our neurons' states nor what time is.
        able = [*registry.OVER_TIME.engines, *(["reference"] if not over_time and detection.format == "ONNX" else [])]
        _require(engine, able, f"{path} is a model in {detection.format}")
        name, why = engine, f"You asked for {ENGINE_NAMES[engine]}."
    elif detection.kind == "SNN" and not over_time:
        name = "onnxruntime"
        why = "It is a spiking neural network (SNN) in standard operators, which ONNX Runtime runs and Nengo does not."
    if over_time:
        return _run_over_time(path, name, why, options, params, detection.format == "ONNX")
    _refuse_params(params, name)
    if name in registry.OVER_TIME.engines and name != "onnxruntime":
        raise UnsupportedModel(
            f"{path} has no neurons that {ENGINE_NAMES[name]} knows, so it cannot run there; "
            'engine="onnxruntime" runs any model made of standard operators.'
        )
    return _make(ENGINES[name], path, name, why, options)


def _run_over_time(path: str, name: str, why: str, options: dict[str, Any], params: Any, onnx: bool) -> Engine:
    try:
        return _make(registry.OVER_TIME.engines[name], path, name, why, options, params=params)
    except (BadInput, UnsupportedModel):
        # Another maker's neurons may bring their own bodies; then ONNX Runtime needs no reading.
        if name != "onnxruntime" or params is not None or not onnx or registry.at(registry.OVER_TIME.ours)(path):
            raise
        with suppress(WorkbenchError):
            return _make(ENGINES[name], path, name, why, options)
        raise


def _apart(detection: Detection | None, engine: str | None, worker: bool | None, trust: bool) -> bool:
    """Whether the engine goes into a worker process; `detection` is None for an object in memory."""
    if in_worker():
        return False
    if engine == "reference" and worker is None:
        return True  # Python's loops can be stopped there
    parsed = detection is not None and registry.of(detection.format).apart
    if detection is not None and parsed and worker is False and not trust:
        raise BadInput(
            f"{detection.path} is {detection.format}, which a C library reads, and a damaged or hostile file can end "
            "this process or stop it for ever: leave worker=False out, or say that you trust the file with trust=True."
        )
    return parsed if worker is None else worker


def _from_memory(source: Any, engine: str | None, params: Any, options: dict[str, Any]) -> Engine:
    objects = registry.objects_of(source)
    what = f"the class {source.__name__}" if isinstance(source, type) else f"a {type(source).__name__}"
    if objects is None:
        raise BadInput(
            "load_engine takes a path, a fitted scikit-learn estimator, a Keras model, a nengo.Network or a simulator, "
            f"but was given {what}."
        )
    name = objects.engine(source)
    what = f"A {type(source).__name__}"
    if objects.over_time:
        _require(engine, registry.OVER_TIME.engines, f"{what} is a spiking network")
        _refuse_params(params, "nengo")
        name = engine or name
        return _make(registry.OVER_TIME.engines[name], source, name, f"{what} is a spiking network.", options)
    _require(engine, (name,), f"{what} is an object of {ENGINE_NAMES[name]}'s own")
    _refuse_params(params, name)
    why = f"It is an object of {ENGINE_NAMES[name]}'s own ({type(source).__name__})."
    return _make(ENGINES[name], source, name, why, options)


def _require(engine: str | None, able: Collection[str], what: str) -> None:
    if engine is not None and engine not in able:
        runs = " or ".join(ENGINE_NAMES[name] for name in able)
        raise UnsupportedModel(f"{what}, which {runs} runs and {ENGINE_NAMES[engine]} does not.")


def _refuse_params(params: Any, name: str) -> None:
    if params is not None:
        raise BadInput(f"{ENGINE_NAMES[name]} reads the parameters from the model itself: leave params= out.")


def _make(where: Where, source: Any, name: str, why: str, options: dict[str, Any], **ours: Any) -> Engine:
    """The engine of that class.

    Args:
        options: the person's; ours: what `load_engine` itself was given, for engines that take it.
    """
    maker: Callable[..., Engine] = registry.at(where)
    known = [p.name for p in inspect.signature(maker).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known or option == "why":
            choose = ", ".join(name for name in known if name not in ("why", "trust", "params", "signature"))
            raise BadInput(f"{ENGINE_NAMES[name]} knows no option {option!r}; it knows: {choose}.")
    return maker(source, why=why, **options, **{key: value for key, value in ours.items() if key in known})
