"""SavedModel folders to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...convert.draft import Draft
from .convert_start import start
from .graphs import Signature
from .names import arguments, public_name
from .network import freeze
from .state import state_of
from .to_onnx import Writing, draft_of


def draft(path: Path, sample: Any, writing: Writing, *, signature: str | None) -> Draft:
    """Convert one signature: the one named, else ``serving_default``, else the first; see `tensorflow.draft`."""
    start()
    writing.progress("Tracing the network")
    found = Signature.load(path, signature or None)
    takes, names = arguments(found.function), list(found.specs)
    if len(names) != len(takes):
        names = [public_name(tensor.name) for tensor in takes]
    network = freeze(found.function, names, list(found.gives.items()), path.name)
    made = draft_of(network, found.answer, writing)
    made.state = state_of(found.function)
    if len(found.names) > 1:
        made.notes.append(f"Of the signatures {', '.join(found.names)}, {found.name} is converted.")
    return made
