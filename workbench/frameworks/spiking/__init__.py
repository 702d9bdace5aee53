"""Spiking neural networks.

``from workbench.snn import nengo_dl`` gives the real NengoDL package, made importable beside Keras 3 (`borrowed`).
Nothing here imports TensorFlow before that line.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import nengo_dl

__all__ = ["nengo_dl"]


def __getattr__(name: str) -> ModuleType:
    if name == "nengo_dl":
        from .borrowed import import_nengo_dl

        return import_nengo_dl()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
