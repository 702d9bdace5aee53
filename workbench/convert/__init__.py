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
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import sandbox
from ..engines.packing import Given, pack, parcel
from ..errors import BadInput, Scan, WorkbenchError
from ..files import registry
from ..files.formats import identify, whole
from ..safety import scan
from ..safety.trust import check_trust, known_as, named_for_its_loader, private_copy
from ..scratch import fleeting_folder
from . import work
from .conversion import Agreement, Conversion, ConversionDisagrees, finished, refuse
from .draft import Job
from .output import no_half_files, publish, target_of
from .source import check_format, from_path

__all__ = ["Agreement", "Conversion", "ConversionDisagrees", "Scan", "convert", "scan"]

TIMEOUT = 900
"""Seconds for one conversion, proof included; ResNet152 takes about a minute."""

Progress = Callable[[str], object]


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
            ``dequantize``; of NIR ``dt``, ``method``, ``reset``; of a ``nengo.Network`` ``dt``, and ``freeze``, which
            keeps weights that would learn; of both ``form``: ``"loop"`` or ``"step"`` in ONNX's own operators alone.

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
    path = whole(source) if isinstance(source, str | os.PathLike) else None
    record = registry.objects_of(source) if path is None else registry.of(identify(path).name)
    if record is not None and record.convert:
        converted: Conversion = registry.at(record.convert)(
            source, output, sample=sample, overwrite=overwrite, say=say, cancel=cancel, timeout=timeout, begun=begun,
            memory_mib=memory_mib, opset=opset, options=options,
        )  # fmt: skip
        return converted
    if opset is not None and (isinstance(opset, bool) or not isinstance(opset, int)):
        raise BadInput(f"opset takes a whole number or None, but was given {opset!r}.")
    with fleeting_folder("workbench-convert-") as scratch:
        given = pack(source, scratch, custom_objects) if path is None else from_path(path)
        target = target_of(output, None if given.own else given.path, given.stem, overwrite)
        with no_half_files(target) as folder:
            known = None if trust else tuple(custom_objects or ())
            copy, digest, size = _cleared(given, scratch, known, say, cancel, timeout, begun)
            record = record if given.own else registry.of(given.format.name)
            assert record is not None
            job = Job(
                draft=record.draft, source=copy, format=given.format.name, estimator=given.pickled,
                parcel=parcel((sample, {**given.custom_objects, **(custom_objects or {})})),
                folder=folder, output_name=target.name, name=given.label, sha256=digest,
                opset=opset, trust=trust or given.own, options=dict(options),
            )  # fmt: skip
            limit = memory_mib or sandbox.memory_for(size + len(given.pickled or b""))
            conversion = _worked(job, given.name, limit, timeout=timeout, since=begun, progress=say, cancel=cancel)
            conversion = replace(conversion, output=str(target), source_bytes=None if digest is None else size)
            if not conversion.agreement.within_tolerance:
                refuse(conversion, begun)
            say("Moving the ONNX file into place")
            publish(folder, target, overwrite)
    return finished(conversion, target, begun)


def _cleared(
    given: Given, scratch: Path, known: tuple[str, ...] | None, say: Progress, cancel: threading.Event | None,
    timeout: float | None, begun: float,
) -> tuple[Path | None, str | None, int]:  # fmt: skip
    """A private copy of the source, under the name its loader wants, scanned; (it, its SHA-256, bytes).

    Args:
        known: class names that need no scan; None: it is trusted.

    Raises:
        NeedsTrust: opening it would run code.
        UnsupportedModel: it cannot be converted.
        WorkbenchError: it was replaced before it was copied.
    """
    if given.path is None or given.own:
        return given.path, None, 0
    say("Copying the source")
    copy, digest, size = private_copy(given.path, scratch, cancel)
    # Of the copy: this is what will be opened.
    given.format = identify(copy)
    check_format(given.name, given.format)
    if not registry.of(given.format.name).draft:
        raise WorkbenchError(f"{given.name} was replaced while it was read: convert it again.")
    copy = named_for_its_loader(copy, given.format)
    if known is not None:
        say("Looking for code in the source")
        check_trust(copy, given.name, size, known, cancel, timeout, begun)
    return copy, digest, size


def _worked(job: Job, name: str, memory_mib: float, **limits: Any) -> Conversion:
    """What the worker made of a job, its sentences about what the person calls `name`."""
    with known_as(job.source, Path(name)) if job.source is not None else nullcontext():
        result = sandbox.run(
            work.work, job, memory_mib=memory_mib, adjustable=True, warm=True, what=f"Converting {name}", **limits
        )
    return Conversion(source=name, output=None, kind=None, seconds=0, sha256=job.sha256, **result)
