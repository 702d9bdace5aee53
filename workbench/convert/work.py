"""The worker's side of a conversion: load, draft, prove, write. Runs in a process of its own."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..agreement import finite
from ..errors import UnsupportedModel, WorkbenchError
from ..files import certificate, registry
from ..files.header import read_header
from ..sandbox import peak_mib, release_memory
from ..scratch import disk_full
from .check import check_file
from .conversion import Agreement
from .draft import Draft, Job
from .proof import ask_native, hold_against

MOST_IN_ONE_FILE = 1_500_000_000
"""Bytes of a model object up to which it becomes one file; protobuf ends at 2 GiB."""

MOST_MENDS = 5

Progress = Callable[[str], object]


def work(job: Job, progress: Progress) -> dict[str, Any]:
    """Convert, prove and write one model.

    Returns:
        Fields of `Conversion` that are known here: converter, opset, peak_mib, agreement, warnings. The ONNX file is at
        ``job.folder / job.output_name`` if both sides agree.

    Raises:
        WorkbenchError: see `workbench.convert.convert`.
    """
    try:
        return _work(job, progress)
    except Exception as error:
        # The caller sees only the sentence of what is raised here.
        if (refused := disk_full(error, job.folder.parent)) is not None:
            raise refused from error
        raise


def _work(job: Job, progress: Progress) -> dict[str, Any]:
    sample, custom_objects = pickle.loads(job.parcel)
    best = settle(job, _draft(job, sample, custom_objects, progress), sample, progress)
    if best.agreement.within_tolerance:
        progress("Writing the certificate")
        certificate.append(best.path, _certificate(job, best))
        read_header(best.path)
    return {
        "converter": best.converter,
        "opset": best.opset,
        "peak_mib": peak_mib(),
        "agreement": best.agreement,
        "warnings": tuple(dict.fromkeys(best.warnings)),
    }


def settle(job: Job, draft: Draft, sample: Any, progress: Progress) -> Proved:
    """The first draft that agrees with its source: this one, or one of its mends, which a sentence then tells. If none
    does, this one with its disagreement.

    Raises:
        UnsupportedModel: this one is no file that engines can load, and none of its mends agrees.
    """
    first: Proved | UnsupportedModel | None = None
    said = ""
    for mends in range(MOST_MENDS + 1):
        try:
            found: Proved | UnsupportedModel = _prove(job, draft, sample, progress)
        except UnsupportedModel as error:
            found = error
        if isinstance(found, Proved) and found.agreement.within_tolerance:
            found.warnings[:0] = filter(None, [said])
            return found
        first = first or found
        if draft.mend is None or mends == MOST_MENDS:
            break
        progress("Both sides disagree; mending the conversion")
        try:
            draft, said = draft.mend()
        except UnsupportedModel:
            break  # there is no such form of this model: the disagreement is the answer
    if isinstance(first, UnsupportedModel):
        raise first
    assert first is not None
    return first


@dataclass
class Proved:
    """A draft written and compared, right or wrong."""

    path: Path
    converter: dict[str, str]
    opset: int | None
    agreement: Agreement
    warnings: list[str]


def _draft(job: Job, sample: Any, custom_objects: dict[str, Any], progress: Progress) -> Draft:
    progress("Loading the model")
    draft: Draft = registry.at(job.draft)(job, sample, custom_objects, progress)
    return draft


def _prove(job: Job, draft: Draft, sample: Any, progress: Progress) -> Proved:
    """Write the draft and hold it against its source. The source model is let go of before ONNX Runtime loads the
    file, unless a mend may need it: both hold the weights."""
    progress("Checking the ONNX file")
    path = job.folder / job.output_name
    _write(draft, path)
    release_memory()
    check_file(path)
    progress("Asking the source model")
    asked = ask_native(draft, sample)
    tolerance = draft.tolerance
    proved = Proved(
        path, dict(zip(("name", "version"), draft.converter, strict=True)), read_header(path).opset_import.get(""),
        Agreement(0, 0, 0, 0, False), list(draft.notes),
    )  # fmt: skip
    draft.native, draft.points = _gone, None
    release_memory()
    progress("Asking ONNX Runtime the same")
    proved.agreement, notes = hold_against(asked, path, tolerance)
    proved.warnings += notes
    return proved


def _gone(arrays: Any) -> Any:
    raise WorkbenchError("The source model was let go of already.")


def _write(draft: Draft, path: Path) -> None:
    """The draft as `path`, with external data, if any, in its ``.data``."""
    import onnx

    if isinstance(draft.model, Path):
        return  # the converter wrote it
    model = draft.model
    # The proto is let go of once written.
    draft.model = path
    if model.ByteSize() > MOST_IN_ONE_FILE:
        data = f"{path.name}.data"
        onnx.save(model, str(path), save_as_external_data=True, location=data, size_threshold=1024)
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))


def _certificate(job: Job, proved: Proved) -> dict[str, Any]:
    agreement = proved.agreement
    return {
        "source": job.name,
        "sha256": job.sha256,
        "format": job.format,
        "converter": proved.converter,
        "opset": proved.opset,
        "tools": certificate.versions("onnx-workbench", *registry.TOOLS),
        "agreement": {
            "samples": agreement.samples,
            "groups": agreement.groups,
            "max_abs": finite(agreement.max_abs),
            "beside": finite(agreement.beside),
            "max_rel": finite(agreement.max_rel),
            "label_mismatches": agreement.label_mismatches,
            "undecided": agreement.undecided,
            "tolerance": agreement.tolerance,
            "within_tolerance": agreement.within_tolerance,
            "asked": list(agreement.asked),
        },
        "notes": json.loads(json.dumps(proved.warnings)),
    }
