"""Keras models: Keras 3, and Keras 2 as ``tf_keras`` keeps it alive.

Neither Keras reads the other's files reliably, so the version written in a file decides which one loads it.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ...engines import LayerOutput
from ...engines.base import Arrays, Calls, ModelEngine
from ...errors import MOST_SHOWN, UnreadableFile, UnsupportedModel
from ...safety.trust import cleared
from ...words import first_line, listed
from .lean_loading import lean
from .names import info_of, unique
from .scan_keras import brought
from .start import start, start_keras, use_threads
from .tolerance import tolerance_of


class KerasEngine(ModelEngine):
    """A Keras model, asked with ``training=False``. See `workbench.engines.Engine`.

    Args:
        source: a ``.keras`` or ``.h5`` file, read in this process (`load_engine` does that in a worker), or a model in
            memory.
        sample: rows as the model takes them; needed by subclassed models that were never called.
        trust: let the file run code, as Lambda layers do.
        custom_objects: name -> class or function, for layers that are not Keras's own.
        threads: for TensorFlow, within an operator and across operators; None leaves the choice to it.
        why: the sentence for `why`.

    Attributes:
        model: the Keras model; traced: its ``ConcreteFunction`` with free rows, from which it answers.

    Raises:
        NeedsTrust: the file can run code; the message says what a scan found.
        UnsupportedModel, UnreadableFile: see `load`; the input shapes are not known, or not those of dense tensors.
        BadInput: TensorFlow runs already, with another number of threads.
    """

    name = "keras"

    def __init__(
        self,
        source: Any,
        *,
        sample: Any = None,
        trust: bool = False,
        custom_objects: Mapping[str, Any] | None = None,
        threads: int | None = None,
        why: str = "",
    ) -> None:
        tf = start()
        use_threads(threads)
        is_file = isinstance(source, str | os.PathLike)
        self.model: Any = source
        if is_file:
            with cleared(Path(source), trust, tuple(custom_objects or ())) as path:
                self.model = load(path, custom_objects=custom_objects, trust=trust)
        super().__init__(os.fspath(source) if is_file else f"{self.model.name} (in memory)", why)
        library = _library(self.model)
        self.version = library.__version__
        if (backend := library.backend.backend()) != "tensorflow":
            raise UnsupportedModel(
                f"Keras runs on {backend} in this process, and this engine needs TensorFlow: start Python with "
                "KERAS_BACKEND=tensorflow."
            )
        self._structure = _structure(self.model, sample)
        flat = tf.nest.flatten(self._structure)
        _check_dense(self.model, flat)
        names = unique(_input_names(self._structure, flat))
        self.specs = [tf.TensorSpec(value.shape, value.dtype, name) for value, name in zip(flat, names, strict=True)]
        self.inputs = tuple(info_of(spec.name, spec) for spec in self.specs)
        self._names: list[str] = []
        self._function = tf.function(self._traced, autograph=False)
        self.traced = self._function.get_concrete_function(*self.specs)
        self.outputs = tuple(info_of(*pair) for pair in zip(self._names, self.traced.outputs, strict=True))
        self.tolerance = tolerance_of(self.traced.graph.as_graph_def())

    def close(self) -> None:
        super().close()
        self.model = self.traced = self._function = None

    def layers(self, inputs: Any) -> list[LayerOutput]:
        """The output of every layer, from one eager pass, in order of execution; also of layers within layers, as
        ``outer/inner``. A layer called again is ``name#2``; further outputs of one call are ``name:1`` and so on.

        Raises:
            BadInput: see `run`.
        """

        def listened(feeds: Arrays) -> list[LayerOutput]:
            with _listening(self.model) as heard:
                self._eager(feeds)
            return heard()

        return self._asked(listened, self._feeds(inputs))

    @property
    def weights(self) -> Mapping[str, list[np.ndarray]]:
        """{layer name: its weights as arrays}, copied when asked for."""
        return _Weights(self.model)

    def answer(self, feeds: Arrays) -> Arrays:
        """From the traced function; eagerly where that fails, as TensorFlow with oneDNN does on some of Keras 2's layer
        normalisations, which it fuses wrongly."""
        import tensorflow as tf

        try:
            values = self.traced(*self._tensors(feeds))
        except tf.errors.OpError:
            return {name: value.numpy() for name, value in self._eager(feeds).items()}
        return {name: value.numpy() for name, value in zip(self._names, values, strict=True)}

    def _calls(self, feeds: Arrays) -> Calls:
        import tensorflow as tf

        arrays = [feeds[spec.name] for spec in self.specs]
        packed = tf.nest.pack_sequence_as(self._structure, arrays)
        model, constant, flatten = self.model, tf.constant, tf.nest.flatten
        predict = model.predict
        if any(array.dtype == object for array in arrays):
            # Texts go in as tensors: predict() cuts rows out of arrays of numbers alone.
            def predict(x: Any, verbose: int) -> Any:
                return model.predict(tf.nest.map_structure(constant, x), verbose=verbose)

        traced = self._function.get_concrete_function(
            *(tf.TensorSpec(a.shape, spec.dtype, spec.name) for a, spec in zip(arrays, self.specs, strict=True))
        )
        return {
            "model.predict(x)": lambda: predict(packed, verbose=0),
            "model.predict_on_batch(x)": lambda: model.predict_on_batch(packed),
            "model(x, training=False)": lambda: [value.numpy() for value in flatten(model(packed, training=False))],
            "tf.function": lambda: [value.numpy() for value in traced(*[constant(array) for array in arrays])],
        }

    def _tensors(self, feeds: Arrays) -> list[Any]:
        import tensorflow as tf

        return [tf.constant(feeds[spec.name], spec.dtype) for spec in self.specs]

    def _eager(self, feeds: Arrays) -> dict[str, Any]:
        return self._named(self._tensors(feeds))

    def _named(self, values: Iterable[Any]) -> dict[str, Any]:
        import tensorflow as tf

        packed = tf.nest.pack_sequence_as(self._structure, list(values))
        return _outputs(self.model, self.model(packed, training=False), [spec.name for spec in self.specs])

    def _traced(self, *values: Any) -> list[Any]:
        import tensorflow as tf

        found = self._named(values)
        self._names = list(found)
        # The identity makes a tensor of its own of an output that is also an input, or given twice.
        return [tf.identity(value) for value in found.values()]


class _Weights(Mapping[str, list[np.ndarray]]):
    """The weights of layers without inner ones."""

    def __init__(self, model: Any) -> None:
        layers = model._flatten_layers(include_self=False)
        self._layers = {layer.name: layer for layer in layers if not getattr(layer, "layers", None)}

    def __getitem__(self, name: str) -> list[np.ndarray]:
        return self._layers[name].get_weights()

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def _library(model: Any) -> Any:
    """Keras 3, or ``tf_keras``, whichever made the model."""
    import keras
    import tf_keras

    return tf_keras if isinstance(model, tf_keras.Model) else keras


# --- layer by layer -----------------------------------------------------------------------------------------------


@contextmanager
def _listening(model: Any) -> Iterator[Callable[[], list[LayerOutput]]]:
    """While in force, every call of a layer is written down: both Keras lead all of them through one method of one
    class. Yields what gives the list in the end."""
    import keras.src.ops.operation
    import tensorflow as tf
    import tf_keras.src.engine.base_layer

    legacy = isinstance(model, tf_keras.Model)
    base = tf_keras.src.engine.base_layer.Layer if legacy else keras.src.ops.operation.Operation
    ordinary = base.__call__
    inside: list[Any] = []
    heard: list[tuple[str, str, tuple[str, ...], Any]] = []
    # Tensors are kept until the end, so that no other one gets the id of one that is gone.
    maker: dict[int, str] = {}
    counts: dict[str, int] = {}

    def tensors(value: Any) -> list[Any]:
        return [each for each in tf.nest.flatten(value) if isinstance(each, tf.__internal__.EagerTensor)]

    def listen(layer: Any, *args: Any, **kwargs: Any) -> Any:
        # A recurrent layer calls its cell at every step, which is no layer of the network.
        if (not inside and layer is not model) or any(hasattr(outer, "cell") for outer in inside):
            return ordinary(layer, *args, **kwargs)
        inside.append(layer)
        try:
            result = ordinary(layer, *args, **kwargs)
        finally:
            inside.pop()
        if inside:
            name = "/".join([*(outer.name for outer in inside[1:]), layer.name])
            counts[name] = counts.get(name, 0) + 1
            name += f"#{counts[name]}" if counts[name] > 1 else ""
            reads = tuple(dict.fromkeys(maker[id(each)] for each in tensors((args, kwargs)) if id(each) in maker))
            for index, each in enumerate(tensors(result)):
                shown = f"{name}:{index}" if index else name
                # What a layer hands through from one inside it keeps the inner name.
                maker.setdefault(id(each), shown)
                heard.append((shown, type(layer).__name__, reads, each))
        return result

    base.__call__ = listen
    try:
        yield lambda: [LayerOutput(name, kind, reads, _array(value)) for name, kind, reads, value in heard]
    finally:
        base.__call__ = ordinary


def _array(value: Any) -> np.ndarray:
    # Without numpy(), which copies; NumPy has no bfloat16 of its own.
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


# --- opening a file -----------------------------------------------------------------------------------------------


def load(path: Path, *, custom_objects: Mapping[str, Any] | None = None, trust: bool = False) -> Any:
    """The model of a ``.keras`` or ``.h5`` file, by the Keras that wrote it.

    Lambda layers run code from the file: `workbench.safety` refused them before, unless trust was given.

    Args:
        path: the file.
        custom_objects: name -> class or function, for layers that are not Keras's own.
        trust: let Keras run what it calls unsafe.

    Raises:
        UnsupportedModel: weights without an architecture, or a class that `custom_objects` lacks.
        UnreadableFile: damaged, or not a Keras file.
    """
    start_keras()
    version, config = _described(path)
    library: Any
    # Keras 3 names itself in each of its files; early Keras did not.
    if version.startswith(("0.", "1.", "2.")) or not (version or zipfile.is_zipfile(path)):
        import tf_keras as library  # type: ignore[no-redef]
    else:
        import keras as library  # type: ignore[no-redef]
    given = dict(custom_objects or {})
    # Keras looks for what was registered under its package's name, too.
    needed = brought(config, tuple(given))
    given |= {name: given[last] for name in needed if (last := name.rpartition(">")[2]) in given}
    try:
        with lean():
            return library.models.load_model(str(path), compile=False, safe_mode=not trust, custom_objects=given)
    except Exception as error:
        raise _load_error(path, version, error, [name for name in needed if name not in given]) from error


def _described(path: Path) -> tuple[str, Any]:
    """(the Keras version that a file names, an attribute of HDF5 or in the ``metadata.json`` of a ``.keras``, "" where
    it names none; its network's description).

    Raises:
        UnsupportedModel: the file holds weights only.
        UnreadableFile: not a Keras file.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                version = json.loads(archive.read("metadata.json")).get("keras_version", "")
                config = json.loads(archive.read("config.json")) if "config.json" in archive.namelist() else {}
            config.pop("compile_config", None)
            return str(version), config
        import h5py

        with h5py.File(path) as file:
            version = file.attrs.get("keras_version", b"")
            if "model_config" not in file.attrs:
                raise UnsupportedModel(
                    f"{path.name} holds weights without the network: save the whole model (model.save), convert that."
                )
            config = json.loads(file.attrs["model_config"])
            return version.decode() if isinstance(version, bytes) else str(version), config
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UnreadableFile(
            f"{path.name} is not a readable Keras file: {first_line(error)}; save or copy it again."
        ) from error


def _load_error(path: Path, version: str, error: Exception, missing: Sequence[str]) -> Exception:
    """
    Args:
        missing: what the file names that is neither Keras's own nor was given.
    """
    if missing:
        shown = listed(map(repr, missing), MOST_SHOWN)
        which = "which is not Keras's own" if len(missing) == 1 else "which are not Keras's own"
        pairs = ", ".join(f"{name!r}: {name.rpartition('>')[2]}" for name in missing[:MOST_SHOWN])
        return UnsupportedModel(
            f"{path.name} uses {shown}, {which}: pass custom_objects={{{pairs}}}, or on the command line "
            "--custom-objects with the Python file that defines them."
        )
    return UnreadableFile(
        f"Keras {version or '(version unknown)'} model {path.name} cannot be loaded: {first_line(error)}"
    )


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
