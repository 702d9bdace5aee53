"""An audit for other tools: JSON lines, a table, SARIF 2.1.0, CycloneDX 1.6, a page.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from importlib.metadata import version
from typing import Any

from ..errors import LEVELS, Finding, WorkbenchError
from ..files import remote
from ..graph import policy
from ..markup import render, script, whole_page
from ..words import no_formula, size, visible
from .look import Row
from .result import Audit

MOST_ROWS, MOST_CARDS, MOST_PLACES = 20_000, 2_000, 50
"""Files in a page's table, with all their facts, and below one sort of finding."""


def json_lines(audit: Audit) -> str:
    """A line for each file, and one of the summary."""
    return "\n".join(map(json.dumps, lines(audit))) + "\n"


def lines(audit: Audit) -> Iterator[dict[str, Any]]:
    yield from (row.to_dict() for row in audit.rows)
    yield {"summary": audit.summary}


def csv(audit: Audit) -> str:
    """`Audit.frame`; no text of a file is a formula in it."""
    frame = audit.frame
    for name in frame.columns:
        frame[name] = [no_formula(value) if isinstance(value, str) else value for value in frame[name]]
    return str(frame.to_csv(index=False))


def sarif(audit: Audit) -> str:
    """A result for each finding; its fingerprint stays as long as file, sort of finding and place do."""
    rules: dict[str, dict[str, Any]] = {}
    results = []
    for path, finding in audit.findings:
        rule = {"id": finding.id, "shortDescription": {"text": finding.id.replace("-", " ")}}
        rules.setdefault(finding.id, rule | {"help": {"text": finding.advice}})
        far = remote.is_url(path)
        uri = urllib.parse.quote(os.fsencode(path).replace(os.sep.encode(), b"/"), safe="/:?%" if far else "/")
        print_ = hashlib.sha256("\0".join((path, finding.id, finding.where)).encode("utf-8", "surrogateescape"))
        results.append(
            {
                "ruleId": finding.id, "level": finding.level,
                "message": {"text": f"{finding.says} {finding.advice}".encode("utf-8", "replace").decode()},
                "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}}}],
                "partialFingerprints": {"workbenchFinding/v1": print_.hexdigest()},
            }
        )  # fmt: skip
    driver = {
        "name": "ONNX Workbench", "version": version("onnx-workbench"), "informationUri": "https://onnx.ai",
        "rules": list(rules.values()),
    }  # fmt: skip
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def sbom(audit: Audit) -> str:
    """CycloneDX 1.6: a component for each model, with what its header proves and its SHA-256.

    Raises:
        WorkbenchError: the package for it is not installed.
    """
    try:
        from cyclonedx.model import HashAlgorithm, HashType, Property
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.output.json import JsonV1Dot6
    except ImportError as error:
        raise WorkbenchError(
            "A bill of materials needs a package that is not installed here: pip install cyclonedx-python-lib."
        ) from error
    bom = Bom()
    bom.metadata.tools.components.add(
        Component(name="ONNX Workbench", version=version("onnx-workbench"), type=ComponentType.APPLICATION)
    )
    for row in audit.rows:
        if row.kind is None:
            continue
        digest = row.sha256 or ("" if remote.is_url(row.path) else remote.sha256(row.path))
        facts = {
            "format": row.format, "kind": row.kind, "because": row.because, "producer": row.producer,
            "opsets": ", ".join(f"{domain or 'ai.onnx'} {number}" for domain, number in row.opsets.items()),
            "parameters": "" if row.parameters is None else str(row.parameters), "certificate": row.certificate,
            "findings": ", ".join(sorted({finding.id for finding in row.findings})),
        }  # fmt: skip
        bom.components.add(
            Component(
                name=visible(os.path.basename(row.path)), type=ComponentType.MACHINE_LEARNING_MODEL,
                bom_ref=visible(row.path, 4096), description=visible(row.because),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else [],
                properties=[Property(name=f"workbench:{name}", value=visible(v)) for name, v in facts.items() if v],
            )
        )  # fmt: skip
    return str(JsonV1Dot6(bom).output_as_string(indent=1)) + "\n"


def html(audit: Audit) -> str:
    with whole_page():
        return page(audit)


def page(audit: Audit, most: int | None = None) -> str:
    """Counts, a table with the worst files first, findings by sort, and each file's facts: one page, or without `most`
    files and what only a page has, for a cell of a notebook."""
    sorts: dict[str, list[tuple[str, Finding]]] = {}
    for path, finding in audit.findings:
        sorts.setdefault(finding.id, []).append((path, finding))
    found = []
    for id, places in sorts.items():
        advice = {finding.advice for _, finding in places}
        own = len(advice) > 1  # of each file
        says = [(path, f"{finding.says} {finding.advice}" if own else finding.says) for path, finding in places]
        found.append((id, places[0][1].level, "" if own else advice.pop(), says))
    ordered = sorted(audit.rows, key=lambda row: -LEVELS.index(row.findings[0].level) if row.findings else 1)
    nonce = secrets.token_hex(16)
    return render(
        "audit", audit=audit, page=most is None, summary=audit.summary, found=found, levels=LEVELS,
        rows=ordered[: most or MOST_ROWS], most=MOST_PLACES, most_cards=MOST_CARDS, sizes=_sizes(audit.rows),
        finding_counts=_with_findings(audit.rows), below=below(row.path for row in audit.rows), nonce=nonce,
        policy=policy(nonce), script=script("audit"), now=datetime.now().astimezone(),
    )  # fmt: skip


def below(paths: Iterable[str]) -> str:
    """What all paths begin with, up to a folder's end: with it left out they are shorter to read."""
    common = os.path.commonprefix([*paths])  # noqa: RUF071, as they are written, also as URLs
    return common[: common.rfind("/") + 1]


def _sizes(rows: Iterable[Row]) -> list[tuple[str, int]]:
    """How many files there are of each tenfold of bytes."""
    powers = Counter(min(max(len(str(row.size)), 4), 10) for row in rows)
    words = {4: "below 10 kB", 10: "1 GB and more"}
    return [
        (words.get(digits) or f"{size(10 ** (digits - 1))} to {size(10**digits)}".replace(".0", ""), powers[digits])
        for digits in range(min(powers, default=0), max(powers, default=-1) + 1)
    ]


def _with_findings(rows: Iterable[Row]) -> dict[str, int]:
    """How many files have a finding of each level, and of each sort."""
    files = Counter(name for row in rows for name in {part for one in row.findings for part in (one.level, one.id)})
    return {name: files[name] for name in (*reversed(LEVELS), *sorted({*files} - {*LEVELS}))}


EXPORTS: dict[str, Callable[[Audit], str]] = {
    ".cdx.json": sbom,
    ".json": json_lines,
    ".csv": csv,
    ".sarif": sarif,
    ".html": html,
}
"""Ending of a file's name -> what is written into it."""
