"""What a conversion gives back: the file, and how well both sides agree."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..agreement import Agreement as Agreement
from ..errors import WorkbenchError
from ..kind import KIND_NAMES, detect
from ..markup import render
from ..words import readable, share, size

MOST_INPUTS = 6
"""Inputs of which is shown what they were asked; the certificate and `Agreement.asked` hold all."""


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
            **vars(self),
            "converter": dict(self.converter),
            "agreement": self.agreement.to_dict(),
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self._html("headline", "details")

    @property
    def headline(self) -> str:
        """The verdict as HTML."""
        return self._html("headline")

    @property
    def details(self) -> str:
        """What was made of what, and how far both sides are apart, as HTML."""
        return self._html("details")

    def _html(self, *parts: str) -> str:
        agreement = self.agreement
        kind = f"{self.kind} ({KIND_NAMES[self.kind]})" if self.kind in KIND_NAMES else self.kind
        facts = {
            "source": self.source,
            "output": self.output or "none",
            "size": self._sizes,
            "kind": kind,
            "converter": f"{self.converter.get('name')} {self.converter.get('version')}, opset {self.opset}",
            "agreement": agreement.says,
            "asked": " ".join(agreement.asked[:MOST_INPUTS])
            + (f" And {more:,} more." if (more := len(agreement.asked) - MOST_INPUTS) > 0 else ""),
            "allowed": agreement.allowed,
            "took": f"{self.seconds:.1f} s, {self.peak_mib:,.0f} MiB of memory",
        }
        # Both sides differ by roundings also where they agree.
        furthest = [output.furthest for output in agreement.outputs if output.furthest is not None]
        return render(
            "conversion",
            parts=parts,
            made=self,
            output=os.path.basename(self.output or ""),
            facts=facts.items(),
            samples=furthest if agreement.within_tolerance else agreement.worst,
            same=agreement.within_tolerance
            and not agreement.undecided
            and not any(output.mismatches for output in agreement.outputs),
            readable=readable,
            share=share,
        )

    @property
    def _sizes(self) -> str:
        if self.output_bytes is None:
            return ""
        if not self.source_bytes:
            return size(self.output_bytes)
        part = readable(100 * self.output_bytes / self.source_bytes)
        return f"{size(self.source_bytes)} became {size(self.output_bytes)} ({part} %)"


class ConversionDisagrees(WorkbenchError):
    """Both sides gave different answers, so nothing was written. `conversion` holds the worst samples."""

    def __init__(self, message: str, conversion: Conversion) -> None:
        super().__init__(message)
        self.conversion = conversion

    def __reduce__(self) -> Any:
        return type(self), (str(self), self.conversion)


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
