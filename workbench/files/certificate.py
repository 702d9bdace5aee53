"""The certificate: what was converted by what, and how well both sides agreed, kept in the ONNX file itself.

It is one JSON text in ``metadata_props``, under `KEY`, which any ONNX tool shows and keeps. It carries no date: the
same source gives the same file. It says what was measured at conversion and is no signature: anyone can write one.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..words import readable
from .wire import delimited

KEY = "workbench.certificate"

_METADATA_PROPS = 14
"""Field number in ModelProto; its StringStringEntryProto holds key = 1, value = 2. Source: onnx/onnx.proto."""


def versions(*packages: str) -> dict[str, str]:
    """{package: version} of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def append(path: Path, certificate: dict[str, Any]) -> None:
    """Add the certificate to an ONNX file without reading it.

    Protobuf joins what is said twice of a message, and repeated fields may stand anywhere: appending an entry of
    ``metadata_props`` to the file's end is adding it to the model, however large the weights.
    """
    entry = delimited(1, KEY.encode()) + delimited(2, json.dumps(certificate, sort_keys=True).encode())
    with path.open("ab") as file:
        file.write(delimited(_METADATA_PROPS, entry))


def read(metadata_props: dict[str, str]) -> dict[str, Any] | None:
    """The certificate among a model's metadata; None where there is none or it is not in the form written here."""
    try:
        found = json.loads(metadata_props[KEY])
    except (KeyError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def says(certificate: dict[str, Any]) -> str:
    """A certificate in one line, as a claim: whoever made the file wrote it. It comes from a file: escape it."""
    agreement = certificate.get("agreement")
    agreement = agreement if isinstance(agreement, dict) else {}
    tool = certificate.get("converter")
    tool = tool if isinstance(tool, dict) else {}
    beside = f" where the answer is up to {_number(agreement['beside'])}" if agreement.get("beside") else ""
    parts = [
        f"the file says: converted from {certificate.get('source', 'an unnamed source')} by {tool.get('name', '?')} "
        f"{tool.get('version', '')}".rstrip(),
        f"both sides held against each other on {agreement.get('samples', '?')} rows: largest difference "
        f"{_number(agreement.get('max_abs'))}{beside}, labels that differ: {agreement.get('label_mismatches', '?')}",
    ]
    if digest := certificate.get("sha256"):
        parts.append(f"source SHA-256 {str(digest)[:16]}…")
    return "; ".join(parts)


def _number(value: Any) -> str:
    try:
        return readable(value) if isinstance(value, int | float) else "unknown"
    except OverflowError:  # JSON has integers of any length
        return "unknown"
