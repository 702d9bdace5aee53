"""Chapter 8: auditing a folder."""

from __future__ import annotations

import datetime
import os
import tempfile
from pathlib import Path
from typing import Any

import onnx

from workbench import WorkbenchError
from workbench.audit.look import Row, look
from workbench.audit.policy import read_policy
from workbench.files.remote import sha256

from . import Verdict, not_yet, right

TELLING = {"text-path", "text-trace", "text-email"}
"""Findings about where a file was made, and by whom."""


def _row(path: Any) -> Row | Verdict:
    """What an audit says of an answer that should be a file; a verdict where it is none."""
    if not isinstance(path, str | os.PathLike):
        return not_yet(f"The answer should be the path of a file, but it is a {type(path).__name__}.")
    if not os.path.isfile(path):
        return not_yet(f"There is no file {os.fspath(path)!r}. Give its path as in the cells above: inbox / 'name'.")
    return look(os.fspath(path))


def _pair(answer: object) -> tuple[Row, Row] | Verdict:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return not_yet("The answer should be a pair of paths: (one, other).")
    first, second = (_row(path) for path in answer)
    if isinstance(first, Verdict):
        return first
    return second if isinstance(second, Verdict) else (first, second)


def _ids(row: Row) -> set[str]:
    return {finding.id for finding in row.findings}


def _lies(answer: object) -> Verdict:
    """8.1"""
    row = _row(answer)
    if isinstance(row, Verdict):
        return row
    name = os.path.basename(row.path)
    if "extension" not in _ids(row):
        said = ", ".join(sorted(_ids(row))) or "nothing at all"
        return not_yet(f"Of {name} an audit finds {said}. Which finding is about the name of a file?")
    if row.kind in (None, "unknown"):
        return not_yet(f"The extension of {name} is wrong, but there is no sound model in it.")
    return right(f"{name} holds a sound {row.kind} model in the format {row.format}: the content tells, not the name.")


def _twins(answer: object) -> Verdict:
    """8.2"""
    pair = _pair(answer)
    if isinstance(pair, Verdict):
        return pair
    first, second = pair
    if os.path.samefile(first.path, second.path):
        return not_yet("That is one and the same file twice. Give two different ones.")
    if sha256(first.path) == sha256(second.path):
        return not_yet("These two have the same bytes, so one is a copy of the other: their weights are the same, too.")
    if not first.structure or first.structure != second.structure:
        one, other = _nodes(first), _nodes(second)
        return not_yet(f"Their graphs differ: {one}, {other}, or attributes or weights of other shapes.")
    return right("The operators and their wiring are the same, and the bytes are not: only the weights can differ.")


def _nodes(row: Row) -> str:
    return f"{os.path.basename(row.path)} has {row.nodes or 'no'} nodes"


def _policy(answer: object) -> Verdict:
    """8.3, tried on files made here."""
    if not isinstance(answer, str | os.PathLike):
        return not_yet(f"The answer should be the path of the TOML file, but it is a {type(answer).__name__}.")
    try:
        policy = read_policy(Path(answer))
    except WorkbenchError as error:
        return not_yet(f"The workbench says: {error}")
    if policy.formats is None:
        return not_yet("This policy allows models of every format, since it has no line `formats`.")
    if "ONNX" not in policy.formats:
        return not_yet("This policy does not allow ONNX files at all.")
    if more := sorted({*policy.formats} - {"ONNX"}):
        return not_yet(f"This policy still allows models of the format {more[0]}.")
    told = _tried(policy)
    for opset in (14, 15, 20, 21):
        if ("policy-opset" in told[f"opset{opset}.onnx"]) != (opset in (14, 21)):
            does = "passes" if opset in (14, 21) else "refuses"
            return not_yet(f"This policy {does} a file of opset {opset}, and the allowed ones are 15 to 20.")
    if "text-email" in told["opset15.onnx"]:
        return not_yet("An e-mail address in a file is still told. An [[ignore]] names its id, a reason and a day.")
    if (until := next(one.until for one in policy.ignore if one.id == "text-email")) != datetime.date(2098, 12, 31):
        return not_yet(f"The exception ends on {until}, and it should last until the end of 2098.")
    if "text-path" in {one.id for one in policy.ignore}:
        return not_yet("This policy passes over more than e-mail addresses: over paths of somebody's machine, too.")
    return right("Files made to break it were told, and the exception ends on its day, for the reason that you gave.")


def _tried(policy: Any) -> dict[str, set[str]]:
    """{file: ids of what is found in it under the policy}"""
    with tempfile.TemporaryDirectory() as folder:
        for opset in (14, 15, 20, 21):
            text = f'<ir_version: 8, opset_import: ["": {opset}]> g (float[N] x) => (float[N] y) {{ y = Relu (x) }}'
            model = onnx.parser.parse_model(text)
            model.doc_string = "ask ada@example.org"
            onnx.save(model, Path(folder, f"opset{opset}.onnx"))
        rows = [look(str(path)) for path in Path(folder).iterdir()]
        return {os.path.basename(row.path): {finding.id for finding in policy.applied(row)} for row in rows}


def _quiet(answer: object) -> Verdict:
    """8.4"""
    pair = _pair(answer)
    if isinstance(pair, Verdict):
        return pair
    before, after = pair
    if not _ids(before) & TELLING:
        return not_yet("The first file tells nothing of its maker. It should be exported.onnx as it came.")
    if after.format != "ONNX" or not after.structure:
        return not_yet("Your copy cannot be read as an ONNX model.")
    if left := sorted(_ids(after) & TELLING):
        return not_yet(f"Your copy still tells something: {', '.join(left)}. An audit of it shows where.")
    models = [onnx.load(row.path) for row in pair]
    same = after.structure == before.structure and _weights(models[0]) == _weights(models[1])
    if not same:
        return not_yet("Your copy is quiet, but it is another model: its operators or weights are not the same.")
    return right("Nothing that the model computes with has changed, and nobody learns where it was made.")


def _weights(model: onnx.ModelProto) -> list[bytes]:
    return [onnx.numpy_helper.to_array(one).tobytes() for one in model.graph.initializer]


EXERCISES = {"8.1": _lies, "8.2": _twins, "8.3": _policy, "8.4": _quiet}
