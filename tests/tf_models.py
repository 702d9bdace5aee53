"""What the tests of Keras and TensorFlow conversions share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench import detect, safety
from workbench.convert.check import check_file
from workbench.convert.conversion import Agreement
from workbench.convert.draft import Draft, Job
from workbench.convert.proof import ask_native, hold_against


def unsuspected(path: Path) -> Path:
    """Nothing is found in this file that a person should know before opening it: no false alarm."""
    assert safety.scan(path).findings == detect(path).findings == ()
    return path


def library(which: str) -> Any:
    """``Keras 3`` or ``Keras 2``."""
    if which == "Keras 2":
        import tf_keras

        return tf_keras
    import keras

    return keras


def job(path: Path, format_name: str, **options: Any) -> Job:
    """To convert a file into its folder."""
    return Job("", path, format_name, None, b"", path.parent, "m.onnx", "m", None, None, False, options)


def agree(draft: Draft, sample: Any = None) -> Agreement:
    """Both sides give the same answers, held against each other as `workbench.convert` does it: checker, ONNX Runtime,
    and the sample or generated rows."""
    assert isinstance(draft.model, Path)
    check_file(draft.model)
    agreement, _ = hold_against(ask_native(draft, sample), draft.model, draft.tolerance)
    assert agreement.within_tolerance, agreement.says
    return agreement
