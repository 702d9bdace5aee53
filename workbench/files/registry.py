"""What every framework told of itself (`records`), gathered. The spine asks here, and imports no framework."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from . import others
from .records import FileFormat, Framework, Objects, OverTime, Probe, Where

ROOMS = ("sklearn", "tensorflow", "spiking")
"""The folders of `workbench.frameworks`, in the order in which they are asked. A new framework is one more."""

FRAMEWORKS: tuple[Framework, ...] = (
    *(import_module(f"workbench.frameworks.{room}").FRAMEWORK for room in ROOMS), others.FRAMEWORK,
)  # fmt: skip

FORMATS: dict[str, FileFormat] = {record.name: record for room in FRAMEWORKS for record in room.formats}

PROBES: tuple[Probe, ...] = tuple(probe for room in FRAMEWORKS for probe in room.probes)

_RECORDS = [*others.ONNX_ENGINES, *(record for room in FRAMEWORKS for record in room.engines)]

ENGINES: dict[str, Where] = {record.name: record.made_by for record in _RECORDS}
"""Engine name -> its class."""

ENGINE_NAMES: dict[str, str] = {record.name: record.title for record in _RECORDS}
"""Engine, as `workbench.load_engine` names it -> what a person calls it."""

OVER_TIME: OverTime = next(room.over_time for room in FRAMEWORKS if room.over_time is not None)

TOOLS: tuple[str, ...] = ("onnx", "onnxruntime", "numpy", *(tool for room in FRAMEWORKS for tool in room.tools))
"""Distributions whose versions a certificate names."""


@cache
def at(where: Where) -> Any:
    """What is there, imported now."""
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


def of(name: str) -> FileFormat:
    """The record of a format; an empty one for ``unknown``, ``empty`` and ``folder``."""
    return FORMATS.get(name) or FileFormat(name)


def objects_of(model: Any) -> Objects | None:
    """Which framework's an object in memory is."""
    return next((objects for room in FRAMEWORKS for objects in room.objects if objects.owns(model)), None)


def runs_over_time(header: Any) -> bool:
    """Whether an ONNX file (`workbench.files.header.Header`) has operators that run over time, as neurons do."""
    return bool(at(OVER_TIME.runs)(header))


def is_model_folder(folder: str | os.PathLike[str]) -> bool:
    """A folder that is a model as a whole."""
    inside = (name for record in FORMATS.values() for name in record.inside)
    return any(os.path.isfile(os.path.join(folder, name)) for name in inside)


def main_file(path: Path, format_name: str) -> Path | None:
    """The file inside a folder of a format that holds the model; None where there is none."""
    return next((file for name in of(format_name).inside if (file := path / name).is_file()), None)


def model_suffixes() -> list[str]:
    """Of files that a file browser may take for models, lower case with the dot; such as text may have are left out."""
    suffixes = {suffix for record in FORMATS.values() if not record.holds for suffix in record.extensions}
    return sorted(suffixes - {"", *FORMATS["text"].extensions})
