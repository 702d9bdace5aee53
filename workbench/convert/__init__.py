"""Convert a model to ONNX, and prove it: `convert`.

The caller's side is here: which source, which output, what may be opened. Everything that loads a model happens in a
worker process (`work.py`), on a private copy of the source, so that nothing a file or a converter does can harm the
caller, and replacing the file meanwhile cannot mix two versions.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import sandbox
from ..errors import BadInput, Scan
from ..files.formats import identify
from ..frameworks.spiking.convert import convert_nengo, convert_nir, is_nengo, refuse_options
from ..safety import scan
from ..safety.trust import check_trust, known_as, named_for_its_loader, private_copy
from ..scratch import fleeting_folder
from .conversion import Agreement, Conversion, ConversionDisagrees
from .output import no_half_files, publish, target_of
from .source import CONVERTERS, check_format, from_memory, from_path, parcel

__all__ = ["Agreement", "Conversion", "ConversionDisagrees", "Scan", "convert", "scan"]

TIMEOUT = 900
"""Seconds for one conversion, proof included; ResNet152 takes about a minute."""

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Job:
    """What the worker is asked to do; see `work.work`.

    Attributes:
        converter: module of this package; source: the private copy; format: its `workbench.files.formats` name.
        estimator: a pickled estimator in memory, instead of a copy.
        parcel: the pickled sample and custom objects, which may be of classes that only the caller defines.
        folder: where ``model.onnx`` is to be written, with external data named after `output_name`.
        name: of the source, for the certificate; sha256: of its content, None for objects in memory.
    """

    converter: str
    source: Path | None
    format: str
    estimator: bytes | None
    parcel: bytes
    folder: Path
    output_name: str
    name: str
    sha256: str | None
    opset: int | None
    trust: bool
    options: dict[str, Any] = field(default_factory=dict)


def convert(
    source: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    sample: Any = None,
    opset: int | None = None,
    trust: bool = False,
    progress: Progress | None = None,
    overwrite: bool = False,
    cancel: threading.Event | None = None,
    timeout: float | None = TIMEOUT,
    memory_mib: float | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    **options: Any,
) -> Conversion:
    """Convert a model to ONNX and hold both sides against each other on the same samples.

    Args:
        source: a file or folder (scikit-learn in joblib, pickle or skops; Keras; SavedModel, frozen GraphDef, TFLite;
            NIR), a fitted scikit-learn estimator, a Keras model, a ``nengo.Network``, an open ``nengo_dl.Simulator``
            with its trained parameters, or a network that `workbench.spiking` made.
        output: the ONNX file to write; beside the source, or ``<ClassName>.onnx`` in the current folder, if None. It
            appears only when it is complete and proved. Weights above 1.5 GB go into ``<output>.data`` beside it.
        sample: rows the model takes, as for `Engine.run`: asked in the proof, and read for types and shapes. If None,
            rows are made from the model's inputs.
        opset: version of ONNX's default operator set; the converter's best if None.
        trust: open formats that can run code from the file.
        progress: called in this thread with one short sentence at each stage.
        overwrite: replace an existing output.
        cancel: set it from another thread to give up.
        timeout: seconds; memory_mib: MiB for the worker, by the source's size if None.
        custom_objects: name -> class or function, for Keras layers that are not Keras's own.
        options: the converter's own, all listed in `workbench.convert.options`: ``batch``; of scikit-learn ``dtype``,
            ``zipmap`` and ``cdist``; of a SavedModel ``signature``; of a GraphDef ``inputs`` and ``outputs``; of TFLite
            ``dequantize``; of NIR ``dt``, ``method`` and ``reset``; of a ``nengo.Network`` ``dt``.

    Raises:
        NeedsTrust: opening the source would run code from it; the message says what a scan found.
        ConversionDisagrees: both sides gave different answers; nothing was written.
        UnsupportedModel: there is no way to convert this, or it uses an operator that ONNX lacks (named).
        BadInput: `sample`, `output` or an option does not fit.
        WorkbenchError: unreadable source, existing output, full disk, or the worker crashed, hung or took too much.
    """
    begun = time.monotonic()
    if sample is not None and hasattr(sample, "__len__") and not len(sample):
        raise BadInput("The sample has no rows; give at least one.")
    say = progress or (lambda message: None)
    if is_nengo(source):
        refuse_options(options, opset)
        return convert_nengo(
            source, output, sample=sample, overwrite=overwrite, say=say, cancel=cancel, timeout=timeout, begun=begun,
            memory_mib=memory_mib, **options,
        )  # fmt: skip
    if isinstance(source, str | os.PathLike) and identify(source).name == "NIR":
        refuse_options({}, opset)
        return convert_nir(
            Path(source), output, sample=sample, overwrite=overwrite, say=say, cancel=cancel, timeout=timeout,
            begun=begun, memory_mib=memory_mib, options=options,
        )  # fmt: skip
    if opset is not None and (isinstance(opset, bool) or not isinstance(opset, int)):
        raise BadInput(f"opset takes a whole number or None, but was given {opset!r}.")
    with fleeting_folder("workbench-convert-") as scratch:
        given = from_path(source) or from_memory(source, scratch, custom_objects)
        target = target_of(output, None if given.own else given.path, given.stem, overwrite)
        with no_half_files(target) as folder:
            copy, digest, size = given.path, None, 0
            if given.path is not None and not given.own:
                say("Copying the source")
                copy, digest, size = private_copy(given.path, scratch, cancel)
                # Of the copy: this is what will be opened.
                given.format = identify(copy)
                check_format(given.name, given.format)
                copy = named_for_its_loader(copy, given.format)
                if not trust:
                    say("Looking for code in the source")
                    check_trust(copy, given.name, size, tuple(custom_objects or ()), cancel, timeout, begun)
            job = Job(
                converter=given.converter or CONVERTERS[given.format.name],
                source=copy, format=given.format.name, estimator=given.pickled,
                parcel=parcel((sample, {**given.custom_objects, **(custom_objects or {})})),
                folder=folder, output_name=target.name, name=given.label, sha256=digest,
                opset=opset, trust=trust or given.own, options=dict(options),
            )  # fmt: skip
            limit = memory_mib or sandbox.memory_for(size + len(given.pickled or b""))
            from .work import work

            with known_as(copy, Path(given.name)) if copy is not None else nullcontext():
                result = sandbox.run(
                    work, job, timeout=timeout, since=begun, memory_mib=limit, progress=say, cancel=cancel, warm=True,
                    what=f"Converting {given.name}",
                )  # fmt: skip
            conversion = Conversion(
                source=given.name, output=str(target), kind=None, seconds=0, sha256=job.sha256,
                source_bytes=None if digest is None else size, **result,
            )  # fmt: skip
            if not conversion.agreement.within_tolerance:
                _refuse(conversion, begun)
            say("Moving the ONNX file into place")
            publish(folder, target, overwrite)
    return _finished(conversion, target, begun)


def _refuse(conversion: Conversion, begun: float) -> None:
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


def _finished(conversion: Conversion, target: Path, begun: float) -> Conversion:
    from ..kind import detect

    found = detect(target)
    data = {target.parent / name for name in (found.components or {}).get("external_data", ())}
    output_bytes = sum(path.stat().st_size for path in (target, *data))
    return replace(conversion, kind=found.kind, output_bytes=output_bytes, seconds=time.monotonic() - begun)
