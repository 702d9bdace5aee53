"""What a conversion gives back: the file, and how well both sides agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..agreement import Agreement as Agreement
from ..card import escape
from ..errors import WorkbenchError
from ..kind import KIND_NAMES


@dataclass(frozen=True)
class Conversion:
    """A conversion to ONNX.

    Attributes:
        source: what was converted: a path, or the class of an object in memory.
        output: the ONNX file; None where both sides disagree and nothing was kept.
        kind: what `workbench.detect` says of the output.
        converter: {name, version} of the tool that made it.
        opset: {domain: version} is in the file; this is the default domain's.
        seconds: wall clock, all told; peak_mib: the worker's resident memory at its highest.
        sha256: of the source file (of a folder: of its files' names and digests); None for an object in memory.
        agreement: how both sides compare.
        warnings: plain sentences for the person.
    """

    source: str
    output: str | None
    kind: str | None
    converter: dict[str, str]
    opset: int | None
    seconds: float
    peak_mib: float
    sha256: str | None
    agreement: Agreement
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``workbench convert --json``."""
        return {
            "source": self.source, "output": self.output, "kind": self.kind, "converter": dict(self.converter),
            "opset": self.opset, "seconds": self.seconds, "peak_mib": self.peak_mib, "sha256": self.sha256,
            "agreement": self.agreement.to_dict(), "warnings": list(self.warnings),
        }  # fmt: skip

    def _repr_html_(self) -> str:
        good = self.agreement.within_tolerance
        verdict = "Both sides agree" if good else "Both sides disagree; nothing was written"
        rows = [
            ("source", self.source),
            ("output", self.output or "none"),
            ("kind", f"{self.kind} ({KIND_NAMES.get(self.kind, '')})" if self.kind in KIND_NAMES else self.kind or ""),
            ("converter", f"{self.converter.get('name')} {self.converter.get('version')}, opset {self.opset}"),
            ("agreement", self.agreement.says),
            ("tolerance", self.agreement.tolerance.get("reason", "")),
            ("took", f"{self.seconds:.1f} s, {self.peak_mib:,.0f} MiB of memory"),
        ]
        facts = "".join(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in rows)
        notes = "".join(f"<li>{escape(warning)}</li>" for warning in self.warnings)
        return (
            f"{_STYLE}<div class='wb-convert'><h4>Conversion to ONNX</h4><p><b>{verdict}.</b></p>"
            f"<table><tbody>{facts}</tbody></table>{f'<ul>{notes}</ul>' if notes else ''}"
            f"{self._outputs_html()}{self._worst_html()}</div>"
        )

    def _outputs_html(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(o.name, 80)}</td><td>{escape(o.dtype)}</td><td>{o.max_abs:.2g}</td>"
            f"<td>{o.max_rel:.2g}</td><td>{o.mismatches:,}</td></tr>"
            for o in self.agreement.outputs
        )
        head = "<th>output</th><th>dtype</th><th>largest difference</th><th>relative</th><th>label mismatches</th>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""

    def _worst_html(self) -> str:
        if self.agreement.within_tolerance or not self.agreement.worst:
            return ""
        rows = "".join(
            f"<tr><td>{w.index} ({escape(w.group)})</td>"
            f"<td>{escape('; '.join(f'{name}: {values}' for name, values in w.inputs.items()))}</td>"
            f"<td>{escape(w.output, 80)}</td><td>{escape(w.native)}</td><td>{escape(w.onnx)}</td></tr>"
            for w in self.agreement.worst
        )
        head = "<th>sample</th><th>input</th><th>output</th><th>source model</th><th>ONNX</th>"
        return f"<h4>Worst samples</h4><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


class ConversionDisagrees(WorkbenchError):
    """Both sides gave different answers, so nothing was written. `conversion` holds the worst samples."""

    def __init__(self, message: str, conversion: Conversion) -> None:
        super().__init__(message)
        self.conversion = conversion

    def __reduce__(self) -> Any:
        return type(self), (str(self), self.conversion)


_STYLE = """<style>
.wb-convert{font:14px/1.5 system-ui,sans-serif;max-width:72rem;color:inherit}
.wb-convert h4{margin:.8rem 0 .2rem;font-size:1rem}
.wb-convert p{margin:.2rem 0 .5rem}
.wb-convert table{border-collapse:collapse;font-size:13px;margin:0 0 .6rem}
.wb-convert th,.wb-convert td{text-align:left!important;padding:.2rem 1rem .2rem 0;vertical-align:top;
  white-space:normal;border-bottom:1px solid rgba(128,128,128,.25);overflow-wrap:anywhere}
.wb-convert th{font-weight:600;opacity:.75;overflow-wrap:normal}
.wb-convert tr{background:none!important}
</style>"""
