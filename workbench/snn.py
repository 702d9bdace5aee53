"""Spiking neural networks: the public face of `workbench.frameworks.spiking`.

``from workbench.snn import to_code`` gives the function of that name, and so on for what `workbench` has of spiking
networks; ``from workbench.snn import nengo_dl`` the real NengoDL package, made importable beside Keras 3. Nothing here
imports TensorFlow before that line.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .frameworks import spiking

_NAMES = {
    "RECORDED": "conformance", "conformance": "conformance", "lift": "lift", "read_nir": "nir", "spiking": "spiking",
    "to_code": "to_code", "to_nengo": "to_nengo", "write_nir": "nir",
}  # fmt: skip
"""Name -> the module in `workbench.frameworks.spiking` that has it; some are called the same."""


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"{spiking.__name__}.{_NAMES[name]}"), name)
    return getattr(spiking, name)
