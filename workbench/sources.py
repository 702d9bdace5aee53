"""Rows and models that nobody had to give: whoever has some registers here, and those below ask here.

So a comparison or a first inference finds the paper's data without knowing of the paper.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .files.header import ValueInfo
from .files.registry import at
from .markup import render

_PROVIDERS: dict[str, str] = {}


def provide(**functions: str) -> None:
    """Register who answers for a name below: ``module:function``, imported on first use.

    Args:
        functions: ``rows_for`` and ``make_sample``, see there; ``samples``: a tuple of what the latter can make, each
            with an ``id`` and a ``title``.
    """
    _PROVIDERS.update(functions)


def _provider(name: str) -> Callable[..., Any] | None:
    where = _PROVIDERS.get(name)
    return None if where is None else at(where)


def rows_for(model: str | os.PathLike[str] | tuple[ValueInfo, ...], limit: int = 50) -> Dataset | None:
    """Real rows that fit a model's input, at most so many; None where nobody has any.

    Args:
        model: an ONNX file, or the inputs of an engine.
    """
    provider = _provider("rows_for")
    return None if provider is None else provider(model, limit)


def samples() -> tuple[Any, ...]:
    """The models that can be made here."""
    provider = _provider("samples")
    return () if provider is None else provider()


def make_sample(id: str, folder: str | os.PathLike[str], **options: Any) -> Any:
    """The file of one of `samples`, made in a folder if it is not there; see `workbench.paper.models.make_sample`."""
    provider = _provider("make_sample")
    if provider is None:
        raise LookupError("No models are registered.")
    return provider(id, folder, **options)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows and their right answers.

    Attributes:
        name: of the data set, such as `workbench.paper.data.NAMES`.
        inputs: tables (rows, columns) float32; pictures as the model takes them, or as `images` are.
        targets: the right class of each row, an index into `class_names`, int64; for a regression float32.
        class_names: names of the classes; empty for a regression.
        feature_names: names of the columns; empty for pictures.
        images: the rows as grey pictures (rows, height, width), uint8, white on black; None for tables.
        source: where the rows are from and how they are scaled, one or two sentences.
    """

    name: str
    inputs: np.ndarray
    targets: np.ndarray
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    images: np.ndarray | None
    source: str

    def take(self, rows: slice | np.ndarray) -> Dataset:
        """Some of the rows."""
        images = None if self.images is None else self.images[rows]
        return replace(self, inputs=self.inputs[rows], targets=self.targets[rows], images=images)

    def _repr_html_(self) -> str:
        count, *shape = self.inputs.shape
        classes = len(self.class_names)
        return render("dataset", name=self.name, count=count, shape=shape, classes=classes, source=self.source)
