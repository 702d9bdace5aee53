"""scikit-learn: its files, engine and converter. Nothing here imports it before it is needed."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files.archives import Archive
from ...files.pickled import MAX_MARKERS
from ...files.records import (
    BATCH,
    EngineRecord,
    FileFormat,
    Format,
    Framework,
    Objects,
    Option,
    Probe,
    Reader,
    opset_option,
)

if TYPE_CHECKING:
    from ...engines.packing import Given

_HERE = "workbench.frameworks.sklearn"

OPSETS = 9, 22
"""The lowest and highest opset of the default domain that skl2onnx writes."""

OPTIONS = (
    opset_option(*OPSETS),
    BATCH,
    Option(
        "dtype", "Dtype", "Of the inputs. Left open, it is float32, or float64 where float32 is too coarse.", "choice",
        ("float32", "float64"),
    ),
    Option("zipmap", "ZipMap", "Give probabilities as {label: probability}, not one array.", "bool", default=False),
    Option(
        "cdist", "CDist", "For nearest neighbours: ONNX Runtime's fast operator for distances; other engines lack it.",
        "bool", default=True,
    ),
)  # fmt: skip


def _is_estimator(model: Any) -> bool:
    return not isinstance(model, type) and callable(getattr(model, "fit", None)) and hasattr(model, "get_params")


def pack(model: Any, scratch: Path, custom_objects: object) -> Given:
    """An estimator on its way to a worker: pickled, with the classes that only the caller defines."""
    from ...engines.packing import Given, parcel

    return Given.of(model, pickled=parcel(model))


def _skops(archive: Archive) -> Format | None:
    schema = archive.member("schema.json") if "schema.json" in archive.names else b""
    if b'"__class__"' not in schema:
        return None
    pairs = re.findall(rb'"__class__":\s*"([^"]{1,200})",\s*"__module__":\s*"([^"]{1,200})"', schema)
    named = (f"{module.decode('utf8', 'replace')}.{name.decode('utf8', 'replace')}" for name, module in pairs)
    return Format("skops", markers=tuple(dict.fromkeys(named))[:MAX_MARKERS])


_estimator = partial(
    FileFormat, kind="workbench.kind.packages:kind_of_classes", engine="sklearn", options=OPTIONS,
    draft=f"{_HERE}.convert:draft_file",
)  # fmt: skip
_PICKLES = "workbench.safety.pickles:scan"
_PACKED = (".gz", ".z", ".xz", ".bz2", ".lzma")
_NETRON = "model.pkl", ("sklearn", "pickle"), ("python",)

FRAMEWORK = Framework(
    formats=(
        _estimator("skops", (".skops",), scan=f"{_HERE}.skops:scan"),
        _estimator(
            "pickle", (".pkl", ".pickle", ".joblib", ".sav", ".model"), scan=_PICKLES, reader=Reader(*_NETRON),
        ),
        _estimator(
            "joblib", (".joblib", ".pkl", ".pickle", ".sav", *_PACKED), scan=_PICKLES,
            reader=Reader(*_NETRON, slim="workbench.graph.slim:inflated", always=True),
        ),
    ),
    probes=(Probe("zip", _skops),),
    engines=(EngineRecord("sklearn", "scikit-learn", f"{_HERE}.engine:SklearnEngine"),),
    objects=(
        Objects(
            _is_estimator, lambda model: "sklearn", pack=f"{_HERE}:pack",
            draft=f"{_HERE}.convert:draft_file",
        ),
    ),
    tools=("scikit-learn", "skl2onnx"),
)  # fmt: skip
