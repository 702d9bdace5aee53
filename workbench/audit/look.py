"""One file's row, found out by reading its header: what `workbench.detect` says, and what an auditor asks beside.

All of it runs in a worker process (`workbench.many`), and runs nothing from the file.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import Finding, WorkbenchError
from ..files import certificate, remote
from ..files.archives import Archive, Unlisted
from ..files.formats import against_name
from ..files.header import Header
from ..files.light import texts
from ..files.records import Format
from ..files.wire import LEN, Buffer, Steps, StepsSpent, Wire, opened, stamp
from ..kind import READING, Detection, detect, detect_bytes
from ..words import listed, visible

MOST_TEXT = 16 << 20
"""Bytes of an ONNX file without its weights that are searched for texts; a hundred thousand nodes have as many."""


@dataclass(frozen=True)
class Row:
    """What an audit knows of one file. Strings may quote the file: escape them where markup is read.

    Attributes:
        path, size, changed: as of `workbench.audit.places.Place`.
        sha256: of the file, where it was asked for or another file has its size; "" else.
        format, kind, because, deciding, paper_rule: as of `workbench.Detection`; format "" where it was not read.
        producer, ir_version, opsets, nodes, parameters: of an ONNX file; "", None, {}, None of others.
        not_here: operators that ONNX Runtime does not know and the file has no body for, as ``domain:op_type``.
        external: names of the files that hold weights beside it.
        certificate: what the file says of its conversion, as a claim; "" where it says nothing.
        structure: a digest of an ONNX file's graph without its weights; "" of others, and of what is too large for one.
        findings: worst first.
        duplicate_of: path of an earlier file of the same bytes; same_graph_as: of one with the same graph and other
            weights. "" where there is none.
    """

    path: str
    size: int
    changed: int = 0
    sha256: str = ""
    format: str = ""
    kind: str | None = None
    because: str = ""
    deciding: tuple[str, ...] = ()
    paper_rule: str | None = None
    producer: str = ""
    ir_version: int | None = None
    opsets: dict[str, int] = field(default_factory=dict)
    nodes: int | None = None
    parameters: int | None = None
    not_here: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    certificate: str = ""
    structure: str = ""
    findings: tuple[Finding, ...] = ()
    duplicate_of: str = ""
    same_graph_as: str = ""
    detection: dict[str, Any] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The line of ``workbench audit --json``: the fields of ``detect`` without components, and those above."""
        own = {name: getattr(self, name) for name in _OWN}
        return {
            "path": self.path, "size_bytes": self.size, "format": self.format or None, "kind": self.kind,
            "because": self.because, **self.detection, **own, "findings": [one.to_dict() for one in self.findings],
            "duplicate_of": self.duplicate_of or None, "same_graph_as": self.same_graph_as or None,
        }  # fmt: skip


_OWN = (
    "changed", "sha256", "producer", "ir_version", "opsets", "nodes", "parameters", "not_here", "external",
    "certificate", "structure",
)  # fmt: skip


def look(path: str) -> Row:
    """The row of a file, model folder or URL; whatever a reader runs into is that row's finding."""
    if remote.is_url(path):
        return _looked(remote.shown(path), 0, 0, remote.opened(path), far=True)
    try:
        about = os.stat(path)
    except OSError as error:
        return Row(path, 0, findings=(_damaged(f"It was not there when it was looked at ({error.strerror})."),))
    plain = stat.S_ISREG(about.st_mode) and about.st_size > 0
    return _looked(path, about.st_size, about.st_mtime_ns, opened(path) if plain else nullcontext())


def _looked(path: str, size: int, changed: int, opening: AbstractContextManager[Any], far: bool = False) -> Row:
    try:
        with opening as buffer:
            if far:
                size, changed = len(buffer), buffer.changed
            detection = detect(path) if buffer is None else detect_bytes(buffer, path, far=far)
            return _row(detection, buffer, size, changed)
    except WorkbenchError as error:
        finding = _damaged(str(error).replace(f"{path} ", "It ", 1))
        if isinstance(error, remote.Unreachable):
            advice = "Look whether the address is right, and whether you may read it."
            finding = replace(finding, id="unreachable", advice=advice)
    except Exception as error:
        says = f"It could not be read to its end, as happens with damaged files ({type(error).__name__})."
        finding = _damaged(says)
    return Row(path, size, changed, findings=(finding,))


def _damaged(says: str) -> Finding:
    return Finding("damaged", "warning", "", says, "Get the file anew, or leave it out.")


def _row(detection: Detection, buffer: Buffer | None, size: int, changed: int) -> Row:
    findings = [*detection.findings, *_of_place(detection, buffer)]
    told: dict[str, Any] = {}
    if buffer is not None and (header := detection.header) is not None:
        # Nengo runs the neurons of spiking networks that ONNX Runtime does not know.
        missing = tuple(sorted(_not_here(header))) if detection.engine == "onnxruntime" else ()
        findings += [*_of_versions(header, missing), *_of_names(header), *_of_texts(buffer)]
        proof = certificate.read(header.metadata_props)
        findings += _of_certificate(detection.path, header, proof)
        told = {
            "producer": f"{header.producer_name} {header.producer_version}".strip(), "ir_version": header.ir_version,
            "opsets": dict(header.opset_import), "nodes": len(header.graph.nodes), "parameters": header.parameters,
            "not_here": missing, "external": tuple(header.external_data),
            "certificate": certificate.says(proof) if proof is not None else "",
            "structure": _structure(header, buffer),
        }  # fmt: skip
    deciding = tuple(f"{signal.signal} {signal.value}" for signal in detection.deciding)
    facts = {name: value for name, value in detection.to_dict().items() if name not in ("components", "findings")}
    return Row(
        detection.path, detection.size_bytes or size, changed, format=detection.format, kind=detection.kind,
        because=detection.because, deciding=deciding, paper_rule=detection.paper_rule.kind,
        findings=tuple(findings), detection=facts, **told,
    )  # fmt: skip


def lost(path: str) -> Row:
    """The row of a file that nobody came back from."""
    says = "It took its reader down, or more time or memory than reading a header takes."
    advice = "Do not open it: it is damaged, or made to do that."
    changed, size = stamp(path) or (0, 0)
    if remote.is_url(path):
        says = "Reading its header took longer than is waited for, or took its reader down."
        path, advice = remote.shown(path), "Download it, and look at the copy."
    return Row(path, size, changed, findings=(Finding("reader-lost", "error", "", says, advice),))


# --- findings beside those of `detect` -------------------------------------------------------------------------------


def _of_place(detection: Detection, buffer: Buffer | None) -> Iterator[Finding]:
    """What name, kind and members say."""
    said = against_name(Format(detection.format), remote.named(detection.path))
    if said.warnings and detection.format == "empty":
        yield _damaged("It is empty (0 bytes).")
    elif said.warnings:
        yield Finding("extension", "warning", "", said.warnings[0], "Rename it, or ask where it comes from.")
    if detection.kind == "unknown":
        yield Finding("kind-unknown", "note", "", detection.because, "Open it in the workbench and look at its graph.")
    if buffer is not None and (bytes(buffer[:2]) == b"PK" or bytes(buffer[-22:-18]) == b"PK\5\6"):
        try:
            names = Archive(buffer).names
        except Unlisted:
            return
        if out := [name for name in names if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name)]:
            says = f"Its archive has members that lie outside it: {listed(out)}."
            yield Finding("member-outside", "error", visible(out[0], 200, ""), says, "Do not unpack it.")


@cache
def _runtime() -> tuple[frozenset[tuple[str, str]], int, int]:
    """{(domain, op_type)} that ONNX Runtime here knows, its newest default opset, and the newest IR version."""
    import onnx
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    schemas = state.get_all_operator_schema()
    newest = max(schema.since_version for schema in schemas if schema.domain == "")
    return frozenset((schema.domain, schema.name) for schema in schemas), newest, int(onnx.IR_VERSION)


def _not_here(header: Header) -> set[str]:
    known, bodies = _runtime()[0], {(function.domain, function.name) for function in header.functions}
    return {
        f"{domain or 'ai.onnx'}:{op_type}"
        for domain, op_type in header.op_types()
        if (domain, op_type) not in known and (domain, op_type) not in bodies
    }


def _of_versions(header: Header, missing: tuple[str, ...]) -> Iterator[Finding]:
    _, opset, ir_version = _runtime()
    has = header.opset_import.get("", 0)
    if has > opset:
        says = f"It needs opset {has}, and ONNX Runtime here knows up to {opset}."
        yield Finding("opset-newer", "warning", "ai.onnx", says, "Use a newer ONNX Runtime, or convert it down.")
    if (header.ir_version or 0) > ir_version:
        says = f"It has IR version {header.ir_version}, and onnx here reads up to {ir_version}."
        yield Finding("ir-newer", "warning", "", says, "Use a newer onnx.")
    if missing:
        says = f"ONNX Runtime does not know {listed(missing)}, and the file brings no body for it."
        yield Finding("operator-unknown", "warning", missing[0], says, "Ask its maker for the library it needs.")


_TRICKS = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\x1b\x9b]")


def _of_names(header: Header) -> Iterator[Finding]:
    """Characters that turn writing around, or that a terminal obeys."""
    for text in _texts(header):
        if _TRICKS.search(text):
            says = f"A name in it holds characters that act instead of being seen: {visible(text, 80, '')}."
            yield Finding("text-trick", "warning", visible(text, 80, ""), says, "Show its texts escaped only.")
            return


def _texts(header: Header) -> Iterator[str]:
    yield from (header.producer_name, header.producer_version, header.domain, header.doc_string, header.graph.name)
    yield from (text for item in header.metadata_props.items() for text in item)
    for graph in header.graph.walk():
        yield from graph.initializers
        for node in graph.nodes:
            yield node.name
            yield node.op_type
            yield from node.outputs


@dataclass(frozen=True)
class _Pattern:
    id: str
    level: Any
    says: str
    advice: str
    signs: tuple[bytes, ...]  # in small letters, one of which is in whatever matches: looking for them is quick
    pattern: re.Pattern[bytes]


_PATTERNS = (
    _Pattern(
        "text-key", "warning", "It holds what looks like a secret key", "Withdraw the key, and make the file anew.",
        (b"akia", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"hf_", b"sk-", b"private key-----", b"xox"),
        re.compile(
            rb"AKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bhf_[A-Za-z]{30,}\b|\bsk-[A-Za-z0-9_-]{32,}\b"
            rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----|\bxox[abp]-[A-Za-z0-9-]{20,}"
        ),
    ),
    _Pattern(
        "text-script", "warning", "It holds a script for browsers", "Show its texts escaped only.",
        (b"<script", b"javascript:", b"onerror", b"onload"),
        re.compile(rb"<script[\s>/][^\n]{0,60}|javascript:[^\s\"']{1,60}|\son(?:error|load)\s*=\s*[^\s>]{1,60}", re.I),
    ),
    _Pattern(
        "text-path", "note", "It tells paths of the machine it was made on",
        "Strip its metadata before you publish it.",
        (b"/home", b"/users", b"/root", b"/private/var", b":\\users"),
        re.compile(rb"(?:/home|/Users|/root|/private/var|[A-Za-z]:\\Users)[/\\][\x21-\x7e]{2,120}"),
    ),
    _Pattern(
        "text-trace", "note", "It holds stack traces of its exporter", "Strip its metadata before you publish it.",
        (b'file "',), re.compile(rb'File "[^"\n]{1,200}", line \d+'),
    ),
    _Pattern(
        "text-email", "note", "It holds an e-mail address", "Look whether it should be there.", (b"@",),
        re.compile(rb"\b[A-Za-z][\w.+-]{1,60}@[A-Za-z][\w-]{1,60}(?:\.[A-Za-z][\w-]{1,20}){1,3}\b", re.ASCII),
    ),
)  # fmt: skip


def _of_texts(buffer: Buffer) -> Iterator[Finding]:
    """What its texts tell, node by node: torch's exporter writes stack traces into every one."""
    content = texts(buffer, MOST_TEXT)
    small = content.lower()
    for what in _PATTERNS:
        if not any(sign in small for sign in what.signs):
            continue
        if found := list(dict.fromkeys(match[0] for match in what.pattern.finditer(content))):
            first = visible(found[0].decode("utf-8", "backslashreplace"), 120, "")
            shown = first if what.id != "text-key" else f"{first[:8]}…"
            more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
            yield Finding(what.id, what.level, shown, f"{what.says}: {shown}{more}.", what.advice)


def _of_certificate(path: str, header: Header, proof: dict[str, Any] | None) -> Iterator[Finding]:
    """A certificate claims; what can be held against the file and its source is."""
    if proof is None:
        if certificate.KEY in header.metadata_props:
            says = "It has a certificate of conversion that cannot be read."
            yield Finding("certificate", "warning", certificate.KEY, says, "Convert it anew.")
        return
    opset = header.opset_import.get("")
    if isinstance(proof.get("opset"), int) and proof["opset"] != opset:
        says = f"Its certificate is of a file with opset {proof['opset']}, and it has {opset}: it was changed since."
        yield Finding("certificate", "warning", certificate.KEY, says, "Convert it anew, or prove it by a comparison.")
    if remote.is_url(path):
        return  # what is beside it is not looked for
    name, digest = str(proof.get("source", "")), str(proof.get("sha256", ""))
    source = Path(path).parent / name
    if digest and name and os.path.basename(name) == name and source.is_file() and remote.sha256(str(source)) != digest:
        says = f"Its certificate is of another {visible(name, 80, '')} than the one beside it."
        yield Finding("certificate", "warning", certificate.KEY, says, "Convert it anew, or find the source it was of.")


# --- sameness --------------------------------------------------------------------------------------------------------


def _structure(header: Header, buffer: Buffer) -> str:
    """A digest of operators with their attributes, how they are wired, and the weights' shapes; names and weights are
    left out."""
    digest = hashlib.sha256()
    for graph in (header.graph, *(function.body for function in header.functions)):
        for part in graph.walk():
            wires = (*(info.name for info in part.inputs), *part.initializers)
            place = {name: str(number) for number, name in enumerate(wires)}
            for node in part.nodes:
                reads = ",".join(place.get(name, name and "?") for name in node.inputs)
                digest.update(f"{node.key}({reads})>{len(node.outputs)};".encode())
                place |= {name: str(len(place) + number) for number, name in enumerate(node.outputs)}
            digest.update("".join(f"{one.dtype}{one.shape}" for one in part.initializers.values()).encode())
    try:
        for told in _attributes(Wire(buffer, Steps(READING))):
            digest.update(told)
    except StepsSpent:
        return ""
    return digest.hexdigest()[:32]


def _attributes(wire: Wire) -> Iterator[bytes]:
    """What is written in the nodes' attributes, in the file's order: of tensors type and shape. Those of classical
    operators are left out, since they hold what these have learnt. Field numbers are those of onnx/onnx.proto."""
    graphs = [(graph, 1) for graph in wire.within(wire.span, 7)]
    for body, nodes in (*graphs, *((function, 7) for function in wire.within(wire.span, 25))):
        todo = [*wire.within(body, nodes)]
        for node in todo:
            if "ai.onnx.ml" in map(wire.text, wire.within(node, 7)):
                continue
            yield b";"
            for attribute in wire.within(node, 5):
                for number, kind, _, inner in wire.fields(attribute):
                    if kind == LEN and number in (6, 11):
                        todo += wire.within(inner, 1)
                    elif kind == LEN and number in (5, 10):
                        parts = [wire.data(part) for field, _, _, part in wire.fields(inner) if field in (1, 2)]
                        yield repr((number, parts)).encode()
                    elif number not in (13, 22, 23):  # what is said about it, and sparse weights
                        yield repr((number, wire.data(inner))).encode()
