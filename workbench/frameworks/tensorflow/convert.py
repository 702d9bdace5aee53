"""TensorFlow's three kinds of file to ONNX: SavedModel folders, frozen ``.pb`` graphs, TFLite files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...convert.draft import Draft, Job
from ...convert.options import chosen, options_for
from . import convert_graph_def as graph_def
from . import convert_saved_model as saved_model
from . import convert_tflite as tflite
from .convert_start import start
from .to_onnx import Progress, Writing, tried

__all__ = ["draft", "start"]

_CONVERTERS: dict[str, Callable[..., Draft]] = {
    "SavedModel": saved_model.draft,
    "GraphDef": graph_def.draft,
    "TFLite": tflite.draft,
}
"""Format name -> its converter."""


def draft_file(job: Job, sample: Any, custom_objects: object, progress: Progress) -> Draft:
    """`draft`; should it not prove right, one with tf2onnx's forms alone."""
    return tried(partial(draft, job, sample, progress))


def draft(job: Job, sample: Any, progress: Progress, plain: bool = False) -> Draft:
    """Convert the SavedModel folder, frozen ``.pb`` graph or TFLite file that the worker was given.

    Args:
        job: its options are those of `convert.options`: ``batch``; of a SavedModel ``signature`` (its name); of a
            GraphDef ``inputs`` and ``outputs`` (names of its nodes or tensors; found where they are not named); of
            TFLite ``dequantize`` (float operators instead of QuantizeLinear and DequantizeLinear).
        sample: arrays for inputs whose rank a GraphDef does not say: one, several in order, or {name: array}.
        progress, plain: see `Writing`.

    Raises:
        UnsupportedModel: an operator has no ONNX form (named), or the file has no signature, inputs or outputs.
        BadInput: an option, opset or signature that is not there.
        UnreadableFile: the file is damaged.
    """
    choices = chosen(options_for(job.format), {"opset": job.opset, **job.options}, job.format)
    writing = Writing(job.folder / job.output_name, progress, choices.pop("opset"), choices.pop("batch"), plain)
    return _CONVERTERS[job.format](job.source, sample, writing, **choices)
