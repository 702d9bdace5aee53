"""Spiking neural networks: the public face of `workbench.frameworks.spiking`.

``from workbench.snn import nengo_dl`` gives the real NengoDL package, made importable beside Keras 3. Nothing here
imports TensorFlow before that line.
"""

from __future__ import annotations

from typing import Any

from .frameworks import spiking


def __getattr__(name: str) -> Any:
    return getattr(spiking, name)
