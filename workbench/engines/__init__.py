"""Run a model: one small protocol, one file per engine.

`load_engine` picks the engine from the model's kind, as Figure 7b of the paper does (`choose_engine`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..errors import BadInput, UnsupportedModel, WorkbenchError
from ..kind import ENGINE_NAMES, KIND_NAMES, Detection, detect, dispatch

if TYPE_CHECKING:
    import numpy as np

    from ..header import ValueInfo

ENGINES = {
    "onnxruntime": ("onnxruntime", "OnnxRuntimeEngine"),
    "nengo": ("nengo", "NengoEngine"),
    "nengo_dl": ("nengo_dl", "NengoDlEngine"),
}
"""Engine name -> (module beside this one, its class), imported on first use."""

SPIKING = {**ENGINES, "onnxruntime": ("onnxruntime_snn", "OnnxRuntimeSnnEngine")}
"""The same for spiking networks: there, ONNX Runtime runs over time."""


class Engine(Protocol):
    """A loaded model that answers.

    Attributes:
        name: the engine, one of `ENGINES`.
        version: its library's version.
        why: one sentence: why this engine was chosen.
        inputs: what `run` takes, in order; shapes hold an int, a name or None per axis.
        outputs: what `run` gives.
    """

    name: str
    version: str
    why: str
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]

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

    def close(self) -> None:
        """Free the model's memory; `run` raises afterwards."""
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exc_info: object) -> None: ...


def choose_engine(kind: str | None) -> tuple[str, str]:
    """The engine Figure 7b sends an ONNX model of this kind to (`workbench.kind.dispatch`), and why.

    Returns:
        (engine name, the reason in one sentence).
    """
    name = dispatch(kind) or "onnxruntime"
    if kind in ("ML", "DL", "SNN"):
        return name, f"It is a {KIND_NAMES[kind]} model ({kind}), and {ENGINE_NAMES[name]} runs those."
    return name, f"Its kind is not clear; {ENGINE_NAMES[name]} runs any model made of standard operators."


def load_engine(
    path: str | os.PathLike[str],
    engine: str | None = None,
    *,
    params: str | os.PathLike[str] | None = None,
    trust: bool = False,
) -> Engine:
    """Load a model into the engine that runs it.

    Args:
        path: the model file: .onnx, or .nir for spiking networks.
        engine: one of `ENGINES`; None picks by the model's kind (`choose_engine`).
        params: the NengoDL .npz with the weights, for spiking models that keep them beside the model.
        trust: allow formats that run code from the file when they are opened. An ONNX file never does.

    Returns:
        An engine, ready to `run`; a context manager.

    Raises:
        UnreadableFile: the file, or the external data it names, is missing or damaged.
        UnsupportedModel: no engine here runs it, or the one asked for does not.
        BadInput: `params` was given to an engine that takes none.
        WorkbenchError: there is no engine of that name.
    """
    path = os.fspath(path)
    if engine is not None and engine not in ENGINES:
        raise WorkbenchError(f"There is no engine named {engine!r}; choose one of: {', '.join(ENGINES)}.")
    found = detect(path)
    spiking = found.kind == "SNN" and (found.format == "NIR" or _runs_over_time(path, found))
    if not spiking:
        _require_onnx(path, found)
    name, why = choose_engine(found.kind)
    if engine is not None:
        name, why = engine, f"You asked for {ENGINE_NAMES[engine]}."
    elif found.kind == "SNN" and not spiking:
        name = "onnxruntime"
        why = "It is a spiking neural network (SNN) in standard operators, which ONNX Runtime runs and Nengo does not."
    if spiking:
        from ..snn.read import is_ours, load

        try:
            return _loader(SPIKING[name])(path, params=params, why=why)
        except (BadInput, UnsupportedModel):
            # Another maker's neurons may bring their own bodies; then ONNX Runtime needs no reading.
            if name != "onnxruntime" or params is not None or found.format != "ONNX" or is_ours(load(path)):
                raise
            with suppress(WorkbenchError):
                return _loader(ENGINES[name])(path, why=why)
            raise
    if params is not None:
        raise BadInput(f"{ENGINE_NAMES[name]} reads the parameters from the ONNX file itself: leave params= out.")
    if name in ("nengo", "nengo_dl"):
        raise UnsupportedModel(
            f"{path} has no neurons that {ENGINE_NAMES[name]} knows, so it cannot run there; "
            'engine="onnxruntime" runs any model made of standard operators.'
        )
    return _loader(ENGINES[name])(path, why=why)


def _loader(where: tuple[str, str]) -> Callable[..., Engine]:
    module, name = where
    return cast("Callable[..., Engine]", getattr(import_module(f".{module}", __name__), name))


def _runs_over_time(path: str, found: Detection) -> bool:
    """Whether an SNN's ONNX file has neurons as operators, which `workbench.snn` reads; others are plain graphs."""
    from ..header import read_header
    from ..snn.load import has_neurons

    return found.format == "ONNX" and has_neurons(read_header(path))


def _require_onnx(path: str, found: Detection) -> None:
    if found.format != "ONNX":
        advice = "convert it to ONNX first" if found.kind is not None else "give an .onnx file"
        what = f"{found.format} ({found.format_detail})" if found.format_detail else found.format
        raise UnsupportedModel(f"Only ONNX models can be run, and {path} holds this: {what}; {advice}.")
