"""Which files can be converted, and what to do with those that cannot."""

from __future__ import annotations

from pathlib import Path

from ..engines.packing import Given
from ..errors import UnsupportedModel
from ..files import registry
from ..files.formats import identify
from ..files.records import Format
from ..safety.external import whose


def from_path(path: Path) -> Given:
    content = identify(path)
    if content.name == "unknown" and (holds := whose(path)) is not None:
        raise UnsupportedModel(f"{path} {holds}")
    check_format(str(path), content)
    return Given(str(path), path.name, path.stem if path.is_file() else path.name, path, format=content)


def check_format(name: str, content: Format) -> None:
    """
    Raises:
        UnsupportedModel: it cannot be converted; the sentence says what to do instead.
    """
    if not registry.of(content.name).converts:
        raise UnsupportedModel(why_not(name, content.name))


def why_not(name: str, format_name: str) -> str:
    """Why a file of a format without a converter cannot be converted, and what to do instead, in one sentence."""
    record = registry.of(format_name)
    if record.holds:
        return f"{name} holds {record.holds}; give a model file."
    advice = record.advice or "the workbench converts scikit-learn, Keras, TensorFlow and NIR models"
    return f"{name} ({format_name}) cannot be converted here: {advice}."
