"""What is to be converted or run: a path, or an object in memory, packed for a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BadInput, UnsupportedModel
from ..files import registry
from ..files.records import Format
from ..words import first_line


@dataclass
class Given:
    """A source: a path, or an object in memory on its way to the worker.

    Attributes:
        name: for the person; label: for the certificate, without folders; stem: of the default output.
        path: what to copy; own: the caller's own object, saved by us: it needs no trust.
        pickled: the object; engine: what runs it; custom_objects: classes that its file needs.
    """

    name: str
    label: str
    stem: str
    path: Path | None = None
    own: bool = False
    pickled: bytes | None = None
    engine: str | None = None
    custom_objects: dict[str, Any] = field(default_factory=dict)
    format: Format = field(default_factory=lambda: Format("object"))

    @classmethod
    def of(cls, model: Any, **packed: Any) -> Given:
        """An object in memory; `packed` is what became of it."""
        name = type(model).__name__
        return cls(f"{name} (in memory)", f"{name} (in memory)", name, own=True, **packed)


def pack(model: Any, scratch: Path, custom_objects: Mapping[str, Any] | None) -> Given:
    """An object in memory, as it travels to a worker.

    Raises:
        BadInput: no framework here knows such an object, or it cannot be pickled.
        UnsupportedModel: it cannot be converted; the sentence says what to do instead.
    """
    objects = registry.objects_of(model)
    if objects is not None:
        given: Given = registry.at(objects.pack)(model, scratch, custom_objects)
        return given
    if any(base.__module__.partition(".")[0] == "torch" for base in type(model).__mro__):
        raise UnsupportedModel(f"PyTorch models cannot be converted here: {registry.of('PyTorch').advice}.")
    what = f"the class {model.__name__}" if isinstance(model, type) else f"an object of type {type(model).__name__}"
    raise BadInput(
        "Expected a path, a fitted scikit-learn estimator, a Keras model, a nengo.Network or an open "
        f"nengo_dl.Simulator, but was given {what}."
    )


def parcel(value: Any) -> bytes:
    """Pickled with the classes that a notebook or script defines itself, which the worker cannot import."""
    import cloudpickle

    try:
        return cloudpickle.dumps(value)
    except Exception as error:
        raise BadInput(
            f"A {type(value).__name__} cannot be sent to the worker process: {first_line(error)}."
        ) from error
