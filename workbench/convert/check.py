"""Is the file a converter made one that engines can load? Before both sides are held against each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UnsupportedModel
from ..files.header import read_header
from ..files.light import without_weights

KNOWN_DOMAINS = ("", "ai.onnx.ml", "com.microsoft")
"""Operator domains that ONNX Runtime as installed from PyPI brings; a function in the file brings its own."""

LARGE = 64 << 20
"""Bytes of a file from which its weights are kept out of the checker's sight, which copies them several times."""


def check_file(path: Path) -> None:
    """
    Raises:
        UnsupportedModel: the model holds an operator that no engine knows (named), or breaks ONNX's rules.
    """
    import onnx

    header = read_header(path)
    functions = {function.called_as for function in header.functions}
    for node in header.nodes():
        domain, op_type = node.key
        if node.calls in functions:
            continue
        where = f" (node {node.name})" if node.name else ""
        if domain not in KNOWN_DOMAINS:
            raise UnsupportedModel(
                f"The converter left the operator {domain}::{op_type}{where} in the graph, which no ONNX engine knows."
            )
        if domain in ("", "ai.onnx.ml") and not onnx.defs.has(op_type, domain):
            raise UnsupportedModel(
                f"The operator {op_type}{where} has no counterpart in ONNX, and the converter left it as it was: "
                "replace the layer or step that makes it."
            )
    with _light(path) as checked:
        try:
            onnx.checker.check_model(str(checked), full_check=True)
        except Exception as error:
            # Its sentence is followed by the C++ stack and the node as text.
            first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UnsupportedModel(f"The converter made a file that breaks ONNX's rules: {first[:300]}.") from error


@contextmanager
def _light(path: Path) -> Iterator[Path]:
    """The file; or, where it is large, one beside it that calls the weights in it external data."""
    if path.stat().st_size < LARGE:
        yield path
        return
    light = path.with_name(".light")  # any other might grow too long
    light.write_bytes(without_weights(path))
    try:
        yield light
    finally:
        light.unlink()
