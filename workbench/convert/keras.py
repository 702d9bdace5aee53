"""Keras models to ONNX: Keras 3, and Keras 2 as ``tf_keras`` keeps it alive.

The model is traced once with free rows and ``training=False``; `tf_network.py` and `tf_to_onnx.py` do the rest. Neither
Keras reads the other's files reliably, so the version written in a file decides which one loads it.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput, UnreadableFile, UnsupportedModel
from .draft import Draft
from .lean_loading import lean
from .tf_network import freeze, unique
from .tf_start import start
from .tf_to_onnx import Progress, draft_of, first_line

if TYPE_CHECKING:
    from .draft import Arrays


def load(path: Path, *, custom_objects: Mapping[str, Any] | None = None, trust: bool = False) -> Any:
    """The model of a ``.keras`` or ``.h5`` file, by the Keras that wrote it.

    Lambda layers run code from the file: `safety` refused them before, unless trust was given.

    Args:
        path: the file.
        custom_objects: name -> class or function, for layers that are not Keras's own.
        trust: let Keras run what it calls unsafe.

    Raises:
        UnsupportedModel: weights without an architecture, or a class that `custom_objects` lacks.
        UnreadableFile: damaged, or not a Keras file.
    """
    start()
    version = written_by(path)
    library: Any
    if version.startswith(("0.", "1.", "2.")):
        import tf_keras as library  # type: ignore[no-redef]
    else:
        import keras as library  # type: ignore[no-redef]
    try:
        with lean():
            return library.models.load_model(
                str(path), compile=False, safe_mode=not trust, custom_objects=dict(custom_objects or {})
            )
    except Exception as error:
        raise _load_error(path, version, error) from error


def written_by(path: Path) -> str:
    """The Keras version a file names: an attribute of HDF5, ``metadata.json`` in ``.keras``; "" where it names none.

    Raises:
        UnsupportedModel: the file holds weights only.
        UnreadableFile: not a Keras file.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
        import h5py

        with h5py.File(path) as file:
            version = file.attrs.get("keras_version", b"")
            if "model_config" not in file.attrs:
                raise UnsupportedModel(
                    f"{path.name} holds weights without the network: save the whole model (model.save), convert that."
                )
            return version.decode() if isinstance(version, bytes) else str(version)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UnreadableFile(f"{path.name} is not a readable Keras file: {error}; save or copy it again.") from error


def _load_error(path: Path, version: str, error: Exception) -> Exception:
    text = str(error)
    unknown = re.search(
        r"Unknown (?:layer|object|\w+ function|\w+)?:? ?'?(\w+)'?\.|Could not locate (?:class|function) '(\w+)'", text
    )
    if unknown or "custom_objects" in text:
        name = next(filter(None, unknown.groups()), "") if unknown else ""
        what = f"the class or function {name!r}" if name else "a class or function"
        return UnsupportedModel(
            f"{path.name} uses {what}, which is not Keras's own: "
            f"pass custom_objects={{{name or 'its name'!r}: {name or 'the class'}}}."
        )
    return UnreadableFile(
        f"Keras {version or '(version unknown)'} model {path.name} cannot be loaded: {first_line(error)}"
    )


def draft(
    model: Any,
    *,
    sample: Any = None,
    opset: int | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress,
    folder: Path,
) -> Draft:
    """Convert a Keras model, of Keras 3 or of ``tf_keras``.

    Args:
        model: built: its input shapes are known, or follow from `sample`.
        sample: an array, several in the inputs' order, or {input name: array}; needed by subclassed models that were
            never called.
        opset: 13 to 18; 18 where None.
        options: none are known.
        progress: called with a stage.
        folder: where the ONNX file is written.

    Raises:
        UnsupportedModel: an operator has no ONNX form; the input shapes are not known, or not those of dense tensors.
    """
    tf = start()
    if options:
        raise BadInput(f"Converting a Keras model knows no option {next(iter(options))!r}: leave it out.")
    progress("Tracing the network")
    structure = _structure(model, sample)
    flat = tf.nest.flatten(structure)
    _check_dense(model, flat)
    inputs = unique(_input_names(structure, flat))
    specs = [tf.TensorSpec(value.shape, value.dtype, name) for value, name in zip(flat, inputs, strict=True)]

    def answer(values: Iterable[Any]) -> dict[str, Any]:
        return _outputs(model, model(tf.nest.pack_sequence_as(structure, list(values)), training=False), inputs)

    outputs: list[str] = []

    def call(*values: Any) -> list[Any]:
        found = answer(values)
        outputs[:] = found.keys()
        # The identity makes a tensor of its own of an output that is also an input, or given twice.
        return [tf.identity(value) for value in found.values()]

    def native(arrays: Arrays) -> Arrays:
        found = answer(tf.constant(arrays[spec.name], spec.dtype) for spec in specs)
        return {name: value.numpy() for name, value in found.items()}

    concrete = tf.function(call, autograph=False).get_concrete_function(*specs)
    network = freeze(concrete, inputs, list(zip(outputs, concrete.outputs, strict=True)), str(model.name))
    return draft_of(network, native, opset=opset, progress=progress, folder=folder)


# --- what a model takes -------------------------------------------------------------------------------------------


def _structure(model: Any, sample: Any) -> Any:
    """Inputs as the model wants them packed, each with shape, dtype and name.

    Raises:
        UnsupportedModel: the model is subclassed and was never called, and there is no `sample`.
    """
    import tensorflow as tf

    functional = getattr(model, "_functional", None) or model
    for attribute in ("_inputs_struct", "_nested_inputs"):
        if (found := getattr(functional, attribute, None)) is not None:
            return found
    # Subclassed: what it was called with (Keras 2) or built for (Keras 3); a file keeps both. Rows are free.
    if (specs := getattr(model, "_saved_model_inputs_spec", None)) is not None:
        return tf.nest.map_structure(lambda spec: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype, spec.name), specs)
    shapes = getattr(model, "_build_shapes_dict", None) or {}
    if len(shapes) == 1:
        return _specs_of_shapes(next(iter(shapes.values())), getattr(model, "input_dtype", "float32"))
    if sample is not None:
        return tf.nest.map_structure(_spec_of_array, sample)
    raise UnsupportedModel(
        f"The input shapes of {model.name!r} are not known, because it was never called: "
        "give a sample of its input, or call it once before saving it."
    )


def _specs_of_shapes(shape: Any, dtype: str) -> Any:
    import tensorflow as tf

    if isinstance(shape, Mapping):
        return {key: _specs_of_shapes(value, dtype) for key, value in shape.items()}
    if shape and all(size is None or isinstance(size, int) for size in shape):
        return tf.TensorSpec([None, *shape[1:]], dtype)
    return [_specs_of_shapes(value, dtype) for value in shape]


def _spec_of_array(array: Any) -> Any:
    import tensorflow as tf

    array = np.asarray(array)
    return tf.TensorSpec([None, *array.shape[1:]], np.float32 if array.dtype == np.float64 else array.dtype)


def _check_dense(model: Any, inputs: list[Any]) -> None:
    if not inputs:
        raise UnsupportedModel(f"{model.name!r} has no inputs, so there is nothing to convert.")
    for value in inputs:
        if getattr(value, "sparse", False) or getattr(value, "ragged", False):
            raise UnsupportedModel(
                f"Input {value.name!r} of {model.name!r} takes sparse or ragged tensors, which ONNX does not have: "
                "give the model dense inputs."
            )


_MADE_UP = re.compile(r"(keras_tensor|input_layer|input|args)(_?\d+)?$")
"""Names Keras gives to inputs without one; they count up through the session, so they say nothing."""


def _input_names(structure: Any, flat: list[Any]) -> list[str]:
    """Keys where inputs are given by name; else the names of the input layers."""
    if isinstance(structure, Mapping) and len(structure) == len(flat):
        return [str(key) for key in sorted(structure)]
    return [
        (f"input_{index}" if len(flat) > 1 else "input") if _MADE_UP.match(value.name or "input") else str(value.name)
        for index, value in enumerate(flat, start=1)
    ]


def _outputs(model: Any, result: Any, taken: Iterable[str]) -> dict[str, Any]:
    """Name -> tensor of every output: keys where the model gives a dictionary, else the names of its last layers."""
    import tensorflow as tf

    flat = tf.nest.flatten(result)
    if isinstance(result, Mapping) and len(result) == len(flat):
        names, flat = [str(key) for key in result], list(result.values())
    else:
        names = _output_layers(model)
        if len(names) != len(flat):
            names = ["output"] if len(flat) == 1 else [f"output_{index}" for index in range(1, len(flat) + 1)]
    for name, value in zip(names, flat, strict=True):
        if not isinstance(value, tf.Tensor):
            raise UnsupportedModel(
                f"Output {name!r} is a {type(value).__name__}, which ONNX does not have: make it a dense tensor."
            )
    return dict(zip(unique(names, taken), flat, strict=True))


def _output_layers(model: Any) -> list[str]:
    functional = getattr(model, "_functional", None) or model
    with suppress(AttributeError, ValueError):
        return [str(name) for name in functional.output_names]
    return []
