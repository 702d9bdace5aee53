"""What a conversion gives back: the file, and how well both sides agree."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..agreement import Agreement as Agreement
from ..agreement import WorstSample, readable, share
from ..errors import WorkbenchError
from ..kind import KIND_NAMES, detect
from ..words import escape, size


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
        source_bytes, output_bytes: sizes of both files, a folder's or an external data file's bytes counted in; None
            for an object in memory, and where nothing was written.
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
    source_bytes: int | None = None
    output_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``workbench convert --json``."""
        return {
            "source": self.source, "output": self.output, "kind": self.kind, "converter": dict(self.converter),
            "opset": self.opset, "seconds": self.seconds, "peak_mib": self.peak_mib, "sha256": self.sha256,
            "agreement": self.agreement.to_dict(), "warnings": list(self.warnings),
            "source_bytes": self.source_bytes, "output_bytes": self.output_bytes,
        }  # fmt: skip

    def _repr_html_(self) -> str:
        return f"<div class='wb-convert'><h4>Conversion to ONNX</h4>{self.headline}{self.details}</div>"

    @property
    def headline(self) -> str:
        """The verdict as HTML."""
        if self.agreement.within_tolerance:
            made = f": {os.path.basename(self.output)} gives the same answers." if self.output else "."
            said = f"<b>✓ Both sides agree</b>{escape(made)}"
        else:
            said = "<b>✗ Both sides disagree; nothing was written.</b>"
        return f"{_STYLE}<div class='wb-convert'><p>{said}</p></div>"

    @property
    def details(self) -> str:
        """What was made of what, and how far both sides are apart, as HTML."""
        rows = [
            ("source", self.source),
            ("output", self.output or "none"),
            ("size", self._sizes),
            ("kind", f"{self.kind} ({KIND_NAMES.get(self.kind, '')})" if self.kind in KIND_NAMES else self.kind or ""),
            ("converter", f"{self.converter.get('name')} {self.converter.get('version')}, opset {self.opset}"),
            ("agreement", self.agreement.says),
            ("allowed", self.agreement.allowed),
            ("took", f"{self.seconds:.1f} s, {self.peak_mib:,.0f} MiB of memory"),
        ]
        facts = "".join(
            f"<tr><th scope='row'>{name}</th><td>{escape(value)}</td></tr>" for name, value in rows if value
        )
        notes = "".join(f"<li>{escape(warning)}</li>" for warning in self.warnings)
        parts = _table("", facts), notes and f"<ul>{notes}</ul>", self._outputs_html(), self._samples_html()
        return f"{_STYLE}<div class='wb-convert'>{''.join(parts)}</div>"

    @property
    def _sizes(self) -> str:
        if self.output_bytes is None:
            return ""
        if not self.source_bytes:
            return size(self.output_bytes)
        part = readable(100 * self.output_bytes / self.source_bytes)
        return f"{size(self.source_bytes)} became {size(self.output_bytes)} ({part} %)"

    def _outputs_html(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(o.name, 80)}</td><td>{escape(o.dtype)}</td><td>{readable(o.max_abs)}</td>"
            f"<td>{share(o.max_rel) if o.max_rel else '0'}</td><td>{o.mismatches:,}</td></tr>"
            for o in self.agreement.outputs
        )
        return _table("output|dtype|largest difference|relative|labels that differ", rows)

    def _samples_html(self) -> str:
        """The rows both sides differ on most, also where they agree."""
        found = self.agreement
        samples = list(found.worst)
        if found.within_tolerance:
            samples = [o.furthest for o in found.outputs if o.furthest is not None]
            if not samples and not found.undecided and not any(o.mismatches for o in found.outputs):
                return "<p>No row differs: both sides gave the same numbers and labels.</p>"
        rows = "".join(map(_sample_html, samples))
        return rows and f"<h4>Rows that differ most</h4>{_table('row|output|native|ONNX|difference', rows)}"


def _sample_html(sample: WorstSample) -> str:
    native, onnx = sample.there or (sample.native, sample.onnx)
    place = f"{escape(sample.output, 80)}{escape(list(sample.at)) if sample.there else ''}"
    apart = "" if sample.difference is None else readable(sample.difference)
    cells = f"<span>{sample.index} ({escape(sample.group)})</span>", place, escape(native), escape(onnx), apart
    asked = "; ".join(f"{name}: {values}" for name, values in sample.inputs.items())
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" + (
        f"<tr class='wb-asked'><td colspan='5'>asked: {escape(asked)}</td></tr>" if asked else ""
    )


def _table(head: str, rows: str) -> str:
    """`head`: the columns' names, with bars between."""
    names = "".join(f"<th scope='col'>{name}</th>" for name in head.split("|")) if head else ""
    return rows and f"<table>{names and f'<thead><tr>{names}</tr></thead>'}<tbody>{rows}</tbody></table>"


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
.wb-convert b{font-weight:600}
.wb-convert table{border-collapse:collapse;font-size:13px;margin:.4rem 0 .6rem}
.wb-convert th,.wb-convert td{text-align:left!important;padding:.2rem 1rem .2rem 0;vertical-align:top;
  white-space:normal;border-bottom:1px solid rgba(128,128,128,.25);overflow-wrap:anywhere}
.wb-convert th{font-weight:600;opacity:.8;overflow-wrap:normal}
.wb-convert td>span{white-space:nowrap}
.wb-convert tr:has(+.wb-asked) td{border-bottom:0}
.wb-convert .wb-asked td{padding-left:1rem;opacity:.8}
.wb-convert ul{margin:.2rem 0 .6rem;padding-left:1.2rem}
.wb-convert tr{background:none!important}
</style>"""


def refuse(conversion: Conversion, begun: float) -> None:
    failed = replace(conversion, output=None, seconds=time.monotonic() - begun)
    worst = failed.agreement.worst[0] if failed.agreement.worst else None
    example = (
        f" Worst: sample {worst.index} ({worst.group}), output {worst.output!r}: {worst.native} in the source, "
        f"{worst.onnx} in ONNX." if worst else " " + " ".join(failed.warnings[-1:])
    )  # fmt: skip
    raise ConversionDisagrees(
        f"The ONNX model gives other answers than {failed.source}, so nothing was written: {failed.agreement.says}"
        f"{example}",
        failed,
    )


def finished(conversion: Conversion, target: Path, begun: float) -> Conversion:
    found = detect(target)
    data = {target.parent / name for name in (found.components or {}).get("external_data", ())}
    output_bytes = sum(path.stat().st_size for path in (target, *data))
    return replace(conversion, kind=found.kind, output_bytes=output_bytes, seconds=time.monotonic() - begun)
