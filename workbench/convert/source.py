"""What is to be converted: a path, copied once, or an object in memory, packed for the worker."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BadInput, UnsupportedModel
from ..files.formats import NO_MODEL, Format, identify
from ..scratch import disk_full

CONVERTERS = {
    "pickle": "sklearn", "joblib": "sklearn", "skops": "sklearn",
    "Keras v3": "keras", "Keras HDF5": "keras",
    "SavedModel": "tensorflow", "GraphDef": "tensorflow", "TFLite": "tensorflow",
}  # fmt: skip
"""Format name -> module of this package that converts it."""

ADVICE = {
    "ONNX": "it is an ONNX model already, so there is nothing to convert",
    "PyTorch": "export it from PyTorch itself with torch.onnx.export",
    "Keras weights": "it holds weights without an architecture; save the whole model with model.save",
    "Keras JSON": "it holds an architecture without weights; save the whole model with model.save",
    "XGBoost": "load it with XGBoost's scikit-learn classes and convert the estimator",
    "LightGBM": "load it with LightGBM's scikit-learn classes and convert the estimator",
}
"""Format name -> what to do instead, where it cannot be converted here."""


@dataclass
class Given:
    """A source: a path, or an object in memory on its way to the worker.

    Attributes:
        name: for the person; label: for the certificate, without folders; stem: of the default output.
        path: what to copy; own: the caller's own object, saved by us: it needs no trust.
    """

    name: str
    label: str
    stem: str
    path: Path | None
    own: bool = False
    pickled: bytes | None = None
    converter: str = ""
    custom_objects: dict[str, Any] = field(default_factory=dict)
    format: Format = field(default_factory=lambda: Format("object"))


def from_path(source: Any) -> Given | None:
    if not isinstance(source, str | os.PathLike):
        return None
    path = Path(source)
    found = identify(path)
    check_format(str(path), found)
    return Given(str(path), path.name, path.stem if path.is_file() else path.name, path, format=found)


def check_format(name: str, found: Format) -> None:
    """
    Raises:
        UnsupportedModel: it cannot be converted; the sentence says what to do instead.
    """
    if found.name not in CONVERTERS:
        raise UnsupportedModel(why_not(name, found.name))


def why_not(name: str, format_name: str) -> str:
    """Why a file of a format without a converter cannot be converted, and what to do instead, in one sentence."""
    if format_name in ("unknown", "empty", "folder", *NO_MODEL):
        return f"{name} holds {NO_MODEL.get(format_name, format_name)}; give a model file."
    advice = ADVICE.get(format_name, "the workbench converts scikit-learn, Keras, TensorFlow and NIR models")
    return f"{name} ({format_name}) cannot be converted here: {advice}."


def from_memory(source: Any, scratch: Path, custom_objects: Mapping[str, Any] | None) -> Given:
    """An object in memory. Told by its classes' modules, so that no framework is imported to look."""
    kind = type(source)
    bases = [(base.__module__.split(".")[0], base.__name__) for base in kind.__mro__]
    name = kind.__name__
    given = Given(f"{name} (in memory)", f"{name} (in memory)", name, None, own=True)
    if any(root in ("keras", "tf_keras") and base == "Model" for root, base in bases):
        return _saved_keras(source, given, scratch, custom_objects)
    if any(root == "torch" for root, _ in bases):
        raise UnsupportedModel(f"PyTorch models cannot be converted here: {ADVICE['PyTorch']}.")
    if isinstance(source, type) or not (callable(getattr(source, "fit", None)) and hasattr(source, "get_params")):
        what = f"the class {source.__name__}" if isinstance(source, type) else f"an object of type {name}"
        raise BadInput(
            "Expected a path, a fitted scikit-learn estimator, a Keras model, a nengo.Network or an open "
            f"nengo_dl.Simulator, but was given {what}."
        )
    given.pickled, given.converter = parcel(source), "sklearn"
    return given


def parcel(value: Any) -> bytes:
    """Pickled with the classes that a notebook or script defines itself, which the worker cannot import."""
    import cloudpickle

    try:
        return cloudpickle.dumps(value)
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"A {type(value).__name__} cannot be sent to the worker process: {first}.") from error


def _saved_keras(model: Any, given: Given, scratch: Path, custom_objects: Mapping[str, Any] | None) -> Given:
    """A Keras model travels as a file of its own format, its custom classes beside it."""
    legacy = any(base.__module__.split(".")[0] == "tf_keras" for base in type(model).__mro__)
    # Keras 2's own zip format loses some custom layers' registration; HDF5 cannot hold subclassed models.
    path = scratch / "in-memory" / ("model.h5" if legacy else "model.keras")
    path.parent.mkdir()
    try:
        with warnings.catch_warnings():
            # Keras 2 advises against HDF5.
            warnings.simplefilter("ignore")
            try:
                model.save(str(path), **({"include_optimizer": False} if legacy else {}))
            except NotImplementedError:
                path = path.with_suffix(".keras")
                model.save(str(path))
    except Exception as error:
        if (refused := disk_full(error, scratch.parent)) is not None:
            raise refused from error
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnsupportedModel(f"This Keras model cannot be saved, which is how it is converted: {first}") from error
    given.custom_objects = {**_registered(model), **_custom_classes(model)}
    given.path, given.converter = path, "keras"
    name = str(getattr(model, "name", "") or given.stem)
    given.name = given.label = f"{given.stem} {name!r} (in memory)"
    return given


def _custom_classes(model: Any) -> dict[str, Any]:
    """Classes of the model's layers, and of the model, that are not Keras's own, by name."""
    walk = getattr(model, "_flatten_layers", None)
    layers = [model, *(walk() if walk is not None else model.layers)]
    classes = {type(layer) for layer in layers}
    return {c.__name__: c for c in classes if c.__module__.split(".")[0] not in ("keras", "tf_keras", "tensorflow")}


def _registered(model: Any) -> dict[str, Any]:
    """What the caller registered with the model's own Keras, 2 or 3."""
    roots = {base.__module__.split(".")[0] for base in type(model).__mro__}
    library = sys.modules.get("tf_keras" if "tf_keras" in roots else "keras")
    getter = getattr(getattr(library, "saving", None), "get_custom_objects", None)
    return dict(getter()) if getter is not None else {}
