"""TensorFlow's three kinds of file to ONNX: SavedModel folders, frozen ``.pb`` graphs, TFLite files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...convert.draft import Draft, Job
from ...convert.options import chosen, options_for
from . import convert_graph_def as graph_def
from . import convert_saved_model as saved_model
from . import convert_tflite as tflite
from .convert_start import start
from .to_onnx import tried

__all__ = ["draft", "start"]

_CONVERTERS: dict[str, Callable[..., Draft]] = {
    "SavedModel": saved_model.draft,
    "GraphDef": graph_def.draft,
    "TFLite": tflite.draft,
}
"""Format name -> its converter."""


def draft_file(job: Job, sample: Any, custom_objects: object, progress: Callable[[str], object]) -> Draft:
    """`draft` of the file or folder that the worker was given."""
    assert job.source is not None
    return tried(
        partial(
            _draft_as, job.source, job.format, sample=sample, opset=job.opset, options=job.options, progress=progress,
            folder=job.folder,
        )
    )  # fmt: skip


def _draft_as(path: Path, format_name: str, plain: bool, **given: Any) -> Draft:
    return draft(path, format_name, plain=plain, **given)


def draft(
    path: Path,
    format_name: str,
    *,
    sample: Any = None,
    opset: int | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Callable[[str], object],
    folder: Path,
    plain: bool = False,
) -> Draft:
    """Convert a SavedModel folder, a frozen ``.pb`` graph or a TFLite file.

    Args:
        path: the folder or file.
        format_name: ``SavedModel``, ``GraphDef`` or ``TFLite``.
        sample: arrays for inputs whose rank a GraphDef does not say: one, several in order, or {name: array}.
        opset: 13 to 18; 18 where None.
        options: those of `convert.options`: ``batch``; of a SavedModel ``signature`` (its name); of a GraphDef
            ``inputs`` and ``outputs`` (names of its nodes or tensors; found where they are not named); of TFLite
            ``dequantize`` (float operators instead of QuantizeLinear and DequantizeLinear).
        progress: called with a stage.
        folder: where the ONNX file is written.
        plain: with tf2onnx's forms of operators alone.

    Raises:
        UnsupportedModel: an operator has no ONNX form (named), or the file has no signature, inputs or outputs.
        BadInput: an option, opset or signature that is not there.
        UnreadableFile: the file is damaged.
    """
    choices = chosen(options_for(format_name), {"opset": opset, **(options or {})}, format_name)
    return _CONVERTERS[format_name](path, sample, progress=progress, folder=folder, plain=plain, **choices)
