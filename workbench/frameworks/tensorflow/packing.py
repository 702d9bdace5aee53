"""A Keras model in memory, packed for a worker."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from ...engines.packing import Given
from ...errors import UnsupportedModel
from ...files.records import classes
from ...scratch import disk_full
from ...words import first_line


def pack(model: Any, scratch: Path, custom_objects: Mapping[str, Any] | None) -> Given:
    """A Keras model travels as a file of its own format, its custom classes beside it; else as a SavedModel."""
    legacy = _is_keras_2(model)
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
        path = _exported(model, path.with_name("model"), error)
    given = Given.of(model, path=path, custom_objects={**_registered(model), **_custom_classes(model)})
    given.name = given.label = f"{given.stem} {str(getattr(model, 'name', '') or given.stem)!r} (in memory)"
    return given


def _exported(model: Any, folder: Path, cause: Exception) -> Path:
    """The model as a SavedModel, which holds its graph alone: what of a layer no Keras file can describe, such as a
    function given to it, is in there."""
    try:
        with redirect_stdout(io.StringIO()):
            model.export(str(folder))
    except Exception:
        raise UnsupportedModel(
            f"This Keras model cannot be saved, which is how it is sent to a worker: {first_line(cause)}."
        ) from cause
    return folder


def _is_keras_2(model: Any) -> bool:
    return any(root == "tf_keras" for root, _ in classes(model))


def _custom_classes(model: Any) -> dict[str, Any]:
    """Classes of the model's layers, and of the model, that are not Keras's own, by name."""
    walk = getattr(model, "_flatten_layers", None)
    layers = [model, *(walk() if walk is not None else model.layers)]
    kinds = {type(layer) for layer in layers}
    return {c.__name__: c for c in kinds if c.__module__.split(".")[0] not in ("keras", "tf_keras", "tensorflow")}


def _registered(model: Any) -> dict[str, Any]:
    """What the caller registered with the model's own Keras, 2 or 3."""
    library = sys.modules.get("tf_keras" if _is_keras_2(model) else "keras")
    getter = getattr(getattr(library, "saving", None), "get_custom_objects", None)
    return dict(getter()) if getter is not None else {}
