"""The workbench in a notebook. Widgets show and ask; what they show is computed by the modules beneath."""

from __future__ import annotations

from .audit import AuditPanel
from .comparison import ComparisonPanel
from .converter import Converter
from .graph_view import GraphPanel
from .kind_card import KindCard
from .picker import Picker
from .report import ReportPanel
from .workbench import Workbench

__all__ = ["AuditPanel", "ComparisonPanel", "Converter", "GraphPanel", "KindCard", "Picker", "ReportPanel", "Workbench"]
