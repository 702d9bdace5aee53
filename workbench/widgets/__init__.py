"""The workbench in a notebook. Widgets show and ask; what they show is computed by the modules beneath."""

from __future__ import annotations

from .picker import Picker
from .workbench import Workbench

__all__ = ["Picker", "Workbench"]
