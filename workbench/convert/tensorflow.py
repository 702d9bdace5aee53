"""TensorFlow's three kinds of file to ONNX: SavedModel folders, frozen ``.pb`` graphs, TFLite files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import BadInput
from . import graph_def, saved_model, tflite
from .draft import Draft
from .tf_start import start

__all__ = ["draft", "start"]

_KINDS: dict[str, tuple[Callable[..., Draft], tuple[str, ...]]] = {
    "SavedModel": (saved_model.draft, ("signature",)),
    "GraphDef": (graph_def.draft, ("inputs", "outputs")),
    "TFLite": (tflite.draft, ("dequantize",)),
}
"""Format name -> (its converter, the options it knows)."""


def draft(
    path: Path,
    format_name: str,
    *,
    sample: Any = None,
    opset: int | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Callable[[str], object],
    folder: Path,
) -> Draft:
    """Convert a SavedModel folder, a frozen ``.pb`` graph or a TFLite file.

    Args:
        path: the folder or file.
        format_name: ``SavedModel``, ``GraphDef`` or ``TFLite``.
        sample: arrays for inputs whose rank a GraphDef does not say: one, several in order, or {name: array}.
        opset: 13 to 18; 18 where None.
        options: of a SavedModel ``signature`` (its name); of a GraphDef ``inputs`` and ``outputs`` (names of its nodes
            or tensors; found where they are not named); of TFLite ``dequantize`` (float operators instead of
            QuantizeLinear and DequantizeLinear).
        progress: called with a stage.
        folder: where the ONNX file is written.

    Raises:
        UnsupportedModel: an operator has no ONNX form (named), or the file has no signature, inputs or outputs.
        BadInput: an option, opset or signature that is not there.
        UnreadableFile: the file is damaged.
    """
    convert, known = _KINDS[format_name]
    for option in options or {}:
        if option not in known:
            raise BadInput(f"Converting a {format_name} knows no option {option!r}, but {' and '.join(known)}.")
    return convert(path, sample, opset, progress, folder, **(options or {}))
