"""ONNX Workbench: what a model file is, what its graph looks like, what it answers, and how it becomes ONNX.

The verbs are imported here eagerly although their modules share their names (``workbench.graph`` is the function,
``from workbench.graph import GraphView`` still finds the module): an attribute bound lazily would be overwritten by
the first import of the module. So those modules must stay light; engines and widgets come on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .compare import Comparison, compare
from .convert import Conversion, ConversionDisagrees, convert
from .errors import BadInput, NeedsTrust, UnreadableFile, UnsupportedModel, WorkbenchError
from .graph import GraphView, graph
from .kind import Detection, detect
from .report import report

if TYPE_CHECKING:
    from .engines import Engine, load_engine
    from .snn.nir import read_nir, write_nir
    from .snn.spiking import spiking
    from .snn.table import weight_table
    from .snn.to_nengo import to_nengo
    from .widgets import Workbench
    from .widgets.nengo_gui import nengo_gui

__version__ = "0.1.0"

__all__ = [
    "BadInput", "Comparison", "Conversion", "ConversionDisagrees", "Detection", "Engine", "GraphView", "NeedsTrust",
    "UnreadableFile", "UnsupportedModel", "Workbench", "WorkbenchError", "compare", "convert", "detect", "graph",
    "load_engine", "nengo_gui", "read_nir", "report", "spiking", "to_nengo", "weight_table", "write_nir",
]  # fmt: skip

_LAZY = {
    "Engine": "engines", "load_engine": "engines", "Workbench": "widgets", "nengo_gui": "widgets.nengo_gui",
    "read_nir": "snn.nir", "write_nir": "snn.nir", "spiking": "snn.spiking", "to_nengo": "snn.to_nengo",
    "weight_table": "snn.table",
}  # fmt: skip
"""Name -> module that has it, imported on first use."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
