"""Spiking neural networks: `network` describes one, every format is read into it and written from it.

``from workbench.snn import nengo_dl`` gives the real NengoDL package, made importable beside Keras 3 (`borrowed`).
Nothing here imports TensorFlow or Nengo before it is needed.
"""

from __future__ import annotations

import re
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ...files.archives import unique
from ...files.records import (
    EngineRecord,
    FileFormat,
    Format,
    Framework,
    Objects,
    Option,
    OverTime,
    Probe,
    Verdict,
    classes,
)
from ...words import listed
from .nir_steps import FRAMEWORKS, METHODS, RESETS

if TYPE_CHECKING:
    import nengo_dl

__all__ = ["FRAMEWORK", "nengo_dl"]

_HERE = "workbench.frameworks.spiking"


def __getattr__(name: str) -> ModuleType:
    if name == "nengo_dl":
        from .borrowed import import_nengo_dl

        return import_nengo_dl()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _nir(ends: bytes) -> Format | None:
    if b"NIRGraph" not in ends:
        return None
    # Strings of a global heap: their length in eight bytes, then the text. Bare letters occur in weights, too.
    strings = re.findall(rb"([\x01-\x20])\0{7}([A-Z][A-Za-z0-9]{0,31})(?=\0|[\x01-\xff])", ends)
    return Format("NIR", markers=unique([text[: size[0]] for size, text in strings if len(text) >= size[0]]))


_NIR_NEURONS = {"LIF", "CubaLIF", "IF", "LI", "CubaLI", "I"}


def kind_of_nir(content: Format) -> Verdict:
    if neurons := _NIR_NEURONS & set(content.markers):
        return Verdict("SNN", f"NIR stores spiking networks, and it holds {listed(sorted(neurons))}.", "", "nengo")
    return Verdict("unknown", "It is a NIR graph, but no neuron was found in it.")


_NETWORKS = {
    ("nengo", "Network"), ("nengo", "Simulator"), ("nengo_dl", "Simulator"), ("workbench", "SpikingNetwork"),
}  # fmt: skip


def _is_network(model: Any) -> bool:
    return bool(classes(model) & _NETWORKS)


def engine_of(model: Any) -> str:
    return "nengo_dl" if ("nengo_dl", "Simulator") in classes(model) else "nengo"


FORM = Option(
    "form", "Form", "In ONNX's own operators alone, for runtimes without functions or Scan: with a Loop over time, or "
    "one step, whose states the caller carries.",
    "choice", ("loop", "step"), unset="neurons as operators with a body",
)  # fmt: skip

NIR_OPTIONS = (
    Option(
        "framework", "Written by", "Whose neurons they are; a step is computed as that framework does by default.",
        "choice", tuple(FRAMEWORKS), unset="as NIR's equations say",
    ),
    Option(
        "dt", "Time step", "Seconds between two steps of the network.", "float", least=0,
        unset="as the file or the framework tells",
    ),
    Option(
        "method", "Method", "How the neurons' equations are stepped: Euler's method, or their exact solution.",
        "choice", METHODS, unset="Euler's, or the framework's",
    ),
    Option(
        "reset", "Reset", "What a spike does to the voltage; frameworks differ, and the file does not tell.",
        "choice", RESETS, unset="to value, or the framework's",
    ),
    FORM,
)  # fmt: skip

FRAMEWORK = Framework(
    formats=(
        FileFormat(
            "NIR", (".nir", ".h5", ".hdf5"), kind=f"{_HERE}:kind_of_nir", over_time=True,
            convert=f"{_HERE}.convert:convert_nir", options=NIR_OPTIONS,
        ),
    ),
    probes=(Probe("hdf5", _nir),),
    engines=(
        EngineRecord("nengo", "Nengo", f"{_HERE}.engine_nengo:NengoEngine"),
        EngineRecord("nengo_dl", "NengoDL", f"{_HERE}.engine_nengo_dl:NengoDlEngine"),
    ),
    objects=(
        Objects(
            _is_network, engine_of, over_time=True,
            pack=f"{_HERE}.convert:pack", convert=f"{_HERE}.convert:convert_nengo",
        ),
    ),
    over_time=OverTime(
        engines={
            "onnxruntime": f"{_HERE}.engine_onnxruntime:OnnxRuntimeSnnEngine",
            "nengo": f"{_HERE}.engine_nengo:NengoEngine",
            "nengo_dl": f"{_HERE}.engine_nengo_dl:NengoDlEngine",
        },
        runs=f"{_HERE}.load:runs_over_time",
        ours=f"{_HERE}.read:is_our_file",
    ),
)  # fmt: skip
