"""Keras models to ONNX: Keras 3, and Keras 2 as ``tf_keras`` keeps it alive.

The engine traces the model once with free rows and ``training=False``; `network.py` and `to_onnx.py` do the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...convert.draft import Draft, Job
from ...convert.options import chosen
from . import OPTIONS, keras
from . import convert_saved_model as saved_model
from .convert_start import start
from .network import freeze
from .state import state_of
from .to_onnx import Progress, Writing, draft_of, tried


def load(path: Path, *, custom_objects: Mapping[str, Any] | None = None, trust: bool = False) -> Any:
    """`workbench.frameworks.tensorflow.keras.load`, with TensorFlow as conversions need it."""
    start()
    return keras.load(path, custom_objects=custom_objects, trust=trust)


def draft_file(job: Job, sample: Any, custom_objects: Mapping[str, Any], progress: Progress) -> Draft:
    """`draft` of the file that the worker was given."""
    source = job.source
    assert source is not None
    choices = chosen(OPTIONS, {"opset": job.opset, **job.options}, "Keras")

    def make(plain: bool) -> Draft:
        writing = Writing(job.folder / job.output_name, progress, **choices, plain=plain)
        if source.is_dir():
            made = saved_model.draft(source, sample, writing, signature=None)
            made.notes.append(
                "Keras cannot save this model, so its SavedModel was converted: names are those in there."
            )
            return made
        return draft(load(source, custom_objects=custom_objects, trust=job.trust), sample, writing)

    return tried(make)


def draft(model: Any, sample: Any, writing: Writing) -> Draft:
    """Convert a Keras model, of Keras 3 or of ``tf_keras``.

    Args:
        model: built: its input shapes are known, or follow from `sample`.
        sample: an array, several in the inputs' order, or {input name: array}; needed by subclassed models that were
            never called; None elsewhere.

    Raises:
        UnsupportedModel: an operator has no ONNX form; the input shapes are not known, or not those of dense tensors.
    """
    start()
    writing.progress("Tracing the network")
    engine = keras.KerasEngine(model, sample=sample)
    names = [info.name for info in engine.outputs]
    network = freeze(
        engine.traced,
        [info.name for info in engine.inputs],
        list(zip(names, engine.traced.outputs, strict=True)),
        str(model.name),
    )
    made = draft_of(network, engine.answer, writing)
    made.state = state_of(engine.traced)
    return made
