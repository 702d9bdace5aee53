"""ONNX Workbench: what a model file is, what its graph looks like, what it answers, and how it becomes ONNX.

The verbs are imported here eagerly although their modules share their names (``workbench.graph`` is the function,
``from workbench.graph import GraphView`` still finds the module): an attribute bound lazily would be overwritten by
the first import of the module. So those modules must stay light; engines and widgets come on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .audit import Audit, audit
from .compare import Comparison, compare
from .convert import Conversion, ConversionDisagrees, convert
from .diff import Difference, diff
from .errors import BadInput, NeedsTrust, UnreadableFile, UnsupportedModel, WorkbenchError
from .graph import GraphView, graph
from .kind import Detection, detect
from .show.report import report
from .sources import provide

if TYPE_CHECKING:
    from .engines import Engine, load_engine
    from .frameworks.spiking.gui_widget import nengo_gui
    from .frameworks.spiking.latency import latency
    from .frameworks.spiking.lift import lift
    from .frameworks.spiking.nir import read_nir, write_nir
    from .frameworks.spiking.spiking import spiking
    from .frameworks.spiking.table import weight_table
    from .frameworks.spiking.to_code import to_code
    from .frameworks.spiking.to_nengo import to_nengo
    from .widgets import Workbench

__version__ = "0.1.0"

__all__ = [
    "Audit", "BadInput", "Comparison", "Conversion", "ConversionDisagrees", "Detection", "Difference", "Engine",
    "GraphView", "NeedsTrust", "UnreadableFile", "UnsupportedModel", "Workbench", "WorkbenchError", "audit",
    "compare", "convert", "detect", "diff", "graph", "latency", "lift", "load_engine", "nengo_gui", "read_nir",
    "report", "spiking", "to_code", "to_nengo", "weight_table", "write_nir",
]  # fmt: skip

provide(
    rows_for="workbench.paper.data:rows_for",
    samples="workbench.paper.models:samples",
    make_sample="workbench.paper.models:make_sample",
)

_LAZY = {
    "Engine": "engines", "load_engine": "engines", "Workbench": "widgets", "nengo_gui": "frameworks.spiking.gui_widget",
    "latency": "frameworks.spiking.latency", "lift": "frameworks.spiking.lift",
    "read_nir": "frameworks.spiking.nir", "write_nir": "frameworks.spiking.nir",
    "spiking": "frameworks.spiking.spiking", "to_code": "frameworks.spiking.to_code",
    "to_nengo": "frameworks.spiking.to_nengo", "weight_table": "frameworks.spiking.table",
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
