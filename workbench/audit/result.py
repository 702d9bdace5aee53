"""What came of an audit, as data."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LEVELS, BadInput, Finding, Level
from ..files.registry import at
from ..publish import write_text
from ..words import counted, listed
from .look import Row

if TYPE_CHECKING:
    import pandas as pd


SHOWN = 200
"""Files in a notebook's table."""


@dataclass(frozen=True)
class Audit:
    """What came of an audit.

    Attributes:
        rows: one for each file, in the order they were found in.
    """

    rows: tuple[Row, ...]

    @property
    def findings(self) -> tuple[tuple[str, Finding], ...]:
        """(path, finding) of all files, worst first."""
        found = [(row.path, finding) for row in self.rows for finding in row.findings]
        return tuple(sorted(found, key=lambda item: -LEVELS.index(item[1].level)))

    @property
    def worst(self) -> Level | None:
        return max((finding.level for _, finding in self.findings), key=LEVELS.index, default=None)

    @property
    def frame(self) -> pd.DataFrame:
        """A row per file: path, size, format, kind and the rest of `Row`, ``level`` of its worst finding, ``findings``
        as sentences."""
        import pandas as pd

        return pd.DataFrame(
            {
                "path": _shown(row.path), "size": row.size, "format": row.format, "kind": row.kind,
                "level": row.findings[0].level if row.findings else "",
                "findings": _shown(" ".join(finding.says for finding in row.findings)),
                "because": row.because, "paper_rule": row.paper_rule, "producer": row.producer,
                "ir_version": row.ir_version,
                "opsets": ", ".join(f"{name or 'ai.onnx'} {version}" for name, version in row.opsets.items()),
                "nodes": row.nodes, "parameters": row.parameters, "not_here": ", ".join(row.not_here),
                "external": ", ".join(row.external), "certificate": row.certificate, "sha256": row.sha256,
                "duplicate_of": _shown(row.duplicate_of), "same_graph_as": _shown(row.same_graph_as),
            }
            for row in self.rows
        )  # fmt: skip

    @property
    def summary(self) -> dict[str, Any]:
        """Counts: files, bytes, by kind, by format, findings by level and by id."""
        findings = [finding for _, finding in self.findings]
        return {
            "files": len(self.rows), "bytes": sum(row.size for row in self.rows),
            "kinds": dict(Counter(row.kind or "no model" for row in self.rows).most_common()),
            "formats": dict(Counter(row.format or "unread" for row in self.rows).most_common()),
            "producers": dict(Counter(row.producer for row in self.rows if row.producer).most_common()),
            "levels": {level: sum(finding.level == level for finding in findings) for level in reversed(LEVELS)},
            "ids": dict(Counter(finding.id for finding in findings).most_common()),
        }  # fmt: skip

    @property
    def says(self) -> str:
        """What came of it, in two sentences."""
        summary = self.summary
        kinds = listed((f"{count:,} {kind}" for kind, count in summary["kinds"].items()), 6)
        levels = ", ".join(counted(count, level) for level, count in summary["levels"].items() if count)
        return f"{counted(len(self.rows), 'file')}: {kinds}. Findings: {levels or 'none'}."

    def to_dict(self) -> dict[str, Any]:
        return {"files": [row.to_dict() for row in self.rows], "summary": self.summary}

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write it as what the name ends in: ``.json`` (lines), ``.csv``, ``.sarif``, ``.cdx.json`` (a
        bill of materials), ``.html``.

        Raises:
            BadInput: it ends in something else; WorkbenchError: it exists already, or cannot be written.
        """
        target, exports = Path(path), at("workbench.audit.exports:EXPORTS")
        export = next((make for ending, make in exports.items() if target.name.lower().endswith(ending)), None)
        if export is None:
            raise BadInput(f"An audit is written as {', '.join(exports)}, and {target.name} is none of these.")
        return write_text(export(self), target, overwrite=overwrite, inputs=[row.path for row in self.rows[:1000]])

    def _repr_html_(self) -> str:
        html: str = at("workbench.audit.exports:page")(self, SHOWN)
        return html

    def __str__(self) -> str:
        return self.says


def _shown(text: str) -> str:
    """A table's texts are UTF-8, which not every name of a file is."""
    return text.encode("utf-8", "backslashreplace").decode()
