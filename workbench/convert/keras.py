"""Keras models to ONNX: Keras 3, and Keras 2 as ``tf_keras`` keeps it alive.

The model is traced once with free rows and ``training=False``; `tensorflow.py` turns the trace into ONNX. Neither Keras
reads the other's files reliably, so the version written in a file decides which one loads it.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, UnreadableFile, UnsupportedModel
from .draft import Draft
from .lean_loading import lean
from .tensorflow import converter, freeze, input_ranges, start, to_onnx, tolerance_of, unique, value_infos

if TYPE_CHECKING:
    from .draft import Arrays

Progress = Callable[[str], object]


def load(path: Path, *, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The model of a ``.keras`` or ``.h5`` file, by the Keras that wrote it.

    Lambda layers run code from the file, so trust was given before this is called.

    Args:
        path: the file.
        custom_objects: name -> class or function, for layers that are not Keras's own.

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
    options: dict[str, Any] = {"compile": False, "custom_objects": dict(custom_objects or {})}
    options["safe_mode"] = False
    try:
        with lean():
            return library.models.load_model(str(path), **options)
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
    first = text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__
    return UnreadableFile(f"Keras {version or '(version unknown)'} model {path.name} cannot be loaded: {first}")


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
        folder: where a large model is written.

    Raises:
        UnsupportedModel: an operator has no ONNX form, or the input shapes are not known.
    """
    tf = start()
    if options:
        raise BadInput(f"Converting a Keras model knows no option {next(iter(options))!r}: leave it out.")
    progress("Tracing the network")
    signature = _signature(model, sample)
    names: list[str] = []

    def call(*values: Any) -> list[Any]:
        found = _outputs(model, signature.call(model, values), taken=[spec.name for spec in signature.specs])
        names[:] = [name for name, _ in found]
        # The identity makes a tensor of its own of an output that is also an input, or given twice.
        return [tf.identity(value) for _, value in found]

    concrete = tf.function(call, autograph=False).get_concrete_function(*signature.specs)
    network = freeze(
        concrete,
        [spec.name for spec in signature.specs],
        list(zip(names, concrete.outputs, strict=True)),
        str(model.name),
    )
    del concrete
    ranges, tolerance = input_ranges(network), tolerance_of(network)
    onnx_model = to_onnx(network, folder, opset=opset, progress=progress)
    inputs = value_infos(onnx_model)

    def native(arrays: Arrays) -> Arrays:
        values = [tf.constant(arrays[spec.name], spec.dtype) for spec in signature.specs]
        answer = _outputs(model, signature.call(model, values), taken=[spec.name for spec in signature.specs])
        return {name: value.numpy() for name, value in answer}

    return Draft(
        model=onnx_model,
        converter=converter(),
        inputs=inputs,
        native=native,
        tolerance=tolerance,
        ranges=ranges,
    )


# --- what a model takes -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Signature:
    """`specs`: one ``tf.TensorSpec`` for each input, named. `structure`: how the model wants them packed."""

    specs: list[Any]
    structure: Any

    def call(self, model: Any, values: Sequence[Any]) -> Any:
        start()
        import tensorflow as tf

        return model(tf.nest.pack_sequence_as(self.structure, list(values)), training=False)


def _signature(model: Any, sample: Any) -> _Signature:
    """The inputs of a functional or Sequential model, of a subclassed one that was called, or those of `sample`.

    Raises:
        UnsupportedModel: none of these is known.
    """
    tf = start()
    structure = _structure(model)
    if structure is None and sample is not None:
        structure = tf.nest.map_structure(_spec_of_array, sample)
    if structure is None:
        raise UnsupportedModel(
            f"The input shapes of {model.name!r} are not known, because it was never called: "
            "give a sample of its input, or call it once before saving it."
        )
    flat = tf.nest.flatten(structure)
    if not flat:
        raise UnsupportedModel(f"{model.name!r} has no inputs, so there is nothing to convert.")
    for value in flat:
        if value.shape is None or getattr(value, "sparse", False) or getattr(value, "ragged", False):
            raise UnsupportedModel(
                f"Input {value.name!r} of {model.name!r} takes sparse or ragged tensors, which ONNX does not have: "
                "give the model dense inputs."
            )
    names = unique(_input_names(structure, flat))
    specs = [tf.TensorSpec(value.shape, value.dtype, name) for value, name in zip(flat, names, strict=True)]
    return _Signature(specs, structure)


def _structure(model: Any) -> Any:
    """Inputs as the model wants them packed, each with shape, dtype and name; None where they are not known."""
    tf = start()
    functional = getattr(model, "_functional", None) or model
    for attribute in ("_inputs_struct", "_nested_inputs"):
        found = getattr(functional, attribute, None)
        if found is not None:
            return found
    # Subclassed: what it was called with, or built for. Rows are free; a file keeps the shapes of both.
    specs = getattr(model, "_saved_model_inputs_spec", None)
    if specs is not None:
        return tf.nest.map_structure(lambda spec: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype, spec.name), specs)
    shapes = getattr(model, "_build_shapes_dict", None) or {}
    if not shapes:
        return None
    shape = next(iter(shapes.values())) if len(shapes) == 1 else None
    if shape is None:
        return None

    def spec(shape: Any) -> Any:
        if shape and all(size is None or isinstance(size, int) for size in shape):
            return tf.TensorSpec([None, *shape[1:]], getattr(model, "input_dtype", "float32"))
        if isinstance(shape, Mapping):
            return {key: spec(value) for key, value in shape.items()}
        return [spec(value) for value in shape]

    return spec(shape)


def _spec_of_array(array: Any) -> Any:
    import numpy as np

    tf = start()
    array = np.asarray(array)
    kind = np.dtype("float32") if array.dtype == np.float64 else array.dtype
    return tf.TensorSpec([None, *array.shape[1:]], kind)


_MADE_UP = re.compile(r"(keras_tensor|input_layer|input|args)(_?\d+)?$")
"""Names Keras gives to inputs without one; they count up through the session, so they say nothing."""


def _input_names(structure: Any, flat: list[Any]) -> list[str]:
    """Keys where inputs are given by name; else the names of the input layers."""
    if isinstance(structure, Mapping) and len(structure) == len(flat):
        return [str(key) for key in sorted(structure)]
    names = []
    for index, value in enumerate(flat, start=1):
        history = getattr(value, "_keras_history", None) or getattr(value, "node", None)
        layer = getattr(history, "layer", None) or getattr(history, "operation", None)
        name = str(getattr(layer, "name", None) or value.name or "")
        if not name or _MADE_UP.match(name):
            name = "input" if len(flat) == 1 else f"input_{index}"
        names.append(name)
    return names


def _outputs(model: Any, result: Any, taken: Iterable[str]) -> list[tuple[str, Any]]:
    """(name, tensor) of every output: keys where the model gives a dictionary, else the names of its last layers."""
    tf = start()
    if isinstance(result, Mapping) and all(not isinstance(value, Mapping | list | tuple) for value in result.values()):
        names, flat = [str(key) for key in result], list(result.values())
    else:
        flat = tf.nest.flatten(result)
        names = _output_layers(model)
        if len(names) != len(flat):
            names = ["output"] if len(flat) == 1 else [f"output_{index}" for index in range(1, len(flat) + 1)]
    for name, value in zip(names, flat, strict=True):
        if not isinstance(value, tf.Tensor):
            raise UnsupportedModel(
                f"Output {name!r} is a {type(value).__name__}, which ONNX does not have: make it a dense tensor."
            )
    return list(zip(unique(names, taken), flat, strict=True))


def _output_layers(model: Any) -> list[str]:
    functional = getattr(model, "_functional", None) or model
    with suppress(AttributeError, ValueError):
        return [str(name) for name in functional.output_names]
    return []
