"""A `Detection` as HTML: the kind card, with the table of components. `templates/card.html.j2` is its face."""

from __future__ import annotations

from typing import Any

from ..files import certificate
from ..kind import ENGINE_NAMES, KIND_NAMES, Detection
from ..markup import render
from ..words import counted, listed, size, visible
from .explain import difference, in_words
from .flow import flow

LEVEL_WORDS = {"error": "can harm", "warning": "take care", "note": "note"}
"""A finding's level -> what a person reads."""

MOST_OPERATORS = 18

MOST_NAMED = 12
"""op_types in the histogram."""


def card(detection: Detection) -> str:
    """The whole card: verdict in words, evidence beside op_types, the paper's rule beside ours, components."""
    engine = detection.engine and f"engine: {ENGINE_NAMES.get(detection.engine, detection.engine)}"
    facts = [detection.format, detection.format_detail, size(detection.size_bytes), engine]
    counts: dict[str, int] = (detection.components or {}).get("op_types", {})
    in_graph = detection.components["graph"]["nodes"] if detection.components is not None else 0
    return render(
        "card",
        found=detection,
        findings=detection.findings,
        level_words=LEVEL_WORDS,
        kind_name=KIND_NAMES.get(detection.kind or ""),
        in_words=in_words(detection),
        facts=list(filter(None, facts)),
        difference=difference(detection),
        flow=flow(detection),
        operators=_operators(detection, counts),
        more_operators=max(0, len(counts) - MOST_OPERATORS),
        in_graph=in_graph,
        inside=sum(counts.values()) - in_graph,
        components=None if detection.components is None else _components(detection, detection.components),
    )


def _components(detection: Detection, parts: dict[str, Any]) -> list[tuple[str, object, str]]:
    """Table 2 of the paper, for this file: (name, value, what it decides)."""
    graph = parts["graph"]
    props: dict[str, str] = parts["metadata_props"]
    proof = certificate.read(props)
    marks = {signal.signal: "decides" for signal in detection.deciding if signal.signal == "producer_name"}
    if detection.paper_rule.kind in ("ML", "DL"):
        marks["domain"] = "decides the paper's rule"
    weights = "no initializers; what was learnt is in the nodes' attributes"
    if graph["initializers"]:
        weights = f"{counted(graph['parameters'], 'number')} in {counted(graph['initializers'], 'initializer')}"
    always = {
        "ir_version": parts["ir_version"],
        "producer_name": " ".join(filter(None, (parts["producer_name"], parts["producer_version"]))),
        "domain": parts["domain"],
        "opset_import": listed(
            (f"{domain or 'ai.onnx'} {is_at}" for domain, is_at in parts["opset_import"].items()), MOST_NAMED
        ),
        "graph": f"{graph['name'] or 'unnamed'}: {counted(graph['nodes'], 'node')}",
        "inputs": listed(map(signature, graph["inputs"]), MOST_NAMED, "; "),
        "outputs": listed(map(signature, graph["outputs"]), MOST_NAMED, "; "),
        "weights": weights,
    }
    rare = {
        "functions": listed((name.removeprefix(":") for name in parts["functions"]), MOST_NAMED),
        "external data": listed(parts["external_data"], MOST_NAMED),
        "doc_string": parts["doc_string"],
        "certificate": certificate.says(proof) if proof else "",
    }
    named = [
        (f"metadata {key}", value) for key, value in list(props.items())[:20] if not proof or key != certificate.KEY
    ]
    shown = [*always.items(), *((name, value) for name, value in rare.items() if value), *named]
    return [(name, value, marks.get(name, "")) for name, value in shown]


def _operators(detection: Detection, counts: dict[str, int]) -> list[dict[str, Any]]:
    """Histogram of op_types over main graph, subgraphs and functions: deciding ones first, then the most frequent."""
    deciding = {signal.value for signal in detection.deciding if signal.signal == "op_type"}
    top = max(counts.values(), default=1)
    ordered = sorted(counts.items(), key=lambda item: (item[0].lstrip(":") not in deciding, -item[1]))
    return [
        {
            "name": key.lstrip(":"), "count": count, "decides": key.lstrip(":") in deciding,
            # Who makes the row a button asks by this name: it must be the file's own, letter for letter.
            "key": key if visible(key) == key else "", "width": max(2, round(100 * count / top)),
        }
        for key, count in ordered[:MOST_OPERATORS]
    ]  # fmt: skip


def signature(value: dict[str, Any]) -> str:
    """``X: float32 [N, 4]`` of a graph input or output."""
    shape = value.get("shape")
    dims = "" if shape is None else f" [{', '.join('?' if dim is None else str(dim) for dim in shape)}]"
    return f"{value['name']}: {value.get('sort', value['dtype'])}{dims}"
