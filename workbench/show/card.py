"""A `Detection` as HTML: the kind card and the table of components.

Plain HTML without scripts, so that it reads the same in a live notebook, an exported page and a report. Colours
come from the page around it (inherited text, translucent greys), and no meaning hangs on colour alone. Every
string that may come from a model goes through `escape`.
"""

from __future__ import annotations

from typing import Any

from ..errors import Finding
from ..files import certificate
from ..kind import ENGINE_NAMES, KIND_NAMES, Detection
from ..words import counted, escape, size, visible
from .explain import difference, in_words

_STYLE = """<style>
.wb-card{font:14px/1.5 system-ui,sans-serif;max-width:72rem;color:inherit}
.wb-card *{box-sizing:border-box}
.wb-head{display:flex;gap:1rem;align-items:center;flex-wrap:wrap;margin:.2rem 0 .6rem}
.wb-kind{font-size:1.6rem;font-weight:700;padding:.1rem .8rem;border-radius:.5rem;border:2px solid currentColor}
.wb-kind small{font-size:.8rem;font-weight:400;margin-left:.5rem}
.wb-because{font-size:1.05rem;flex:1 1 20rem}
p.wb-facts{opacity:.75;margin:0 0 .6rem}
.wb-card p,.wb-card li,.wb-because{overflow-wrap:anywhere;min-width:0}
.wb-card ul.wb-warn{margin:.3rem 0 .7rem;padding:.4rem .8rem .4rem 1.8rem;border-left:4px solid #c77700;
  background:rgba(199,119,0,.1)}
.wb-card ul.wb-findings{list-style:none;margin:.2rem 0 .8rem;padding:.4rem .8rem;border:1px solid #c77700;
  border-left-width:6px;background:rgba(199,119,0,.1)}
.wb-card ul.wb-harm{border-color:#d32f2f;background:rgba(211,47,47,.12)}
.wb-findings b{display:inline-block;padding:0 .5rem;margin-right:.4rem;border-radius:.3rem;background:#8a5300;
  color:#fff;font-size:13px}
.wb-findings .wb-error b{background:#b71c1c}
.wb-cols{display:flex;gap:1.5rem;flex-wrap:wrap;align-items:flex-start}
.wb-cols>div{flex:1 1 26rem;min-width:0}
.wb-card h2,.jp-RenderedHTMLCommon .wb-card h2{margin:.8rem 0 .3rem;font-size:1rem;font-weight:600;border:0;padding:0}
.wb-card table{border-collapse:collapse;width:100%;margin:0;font-size:13px;table-layout:auto}
.wb-card th,.wb-card td{text-align:left!important;padding:.2rem .6rem .2rem 0;vertical-align:top;white-space:normal;
  border-bottom:1px solid rgba(128,128,128,.25);overflow-wrap:anywhere}
.wb-card thead th{font-weight:600;opacity:.75;overflow-wrap:normal}
.wb-card tbody tr{background:none!important}
.wb-card .wb-short{white-space:nowrap;width:1%}
.wb-card tbody th{font-weight:400;opacity:.75;width:9rem;min-width:7rem}
.wb-card tr.wb-decides td{font-weight:600}
.wb-card tr.wb-decides td:first-child{border-left:4px solid currentColor;padding-left:.4rem}
.wb-bar{display:inline-block;height:.65rem;background:currentColor;opacity:.35;vertical-align:middle;margin-right:.4rem}
.wb-decides .wb-bar{opacity:.85}
.wb-mark-decides{font-size:12px;font-weight:400;border:1px solid currentColor;border-radius:3px;padding:0 .3rem;
  margin-left:.3rem;white-space:nowrap}
.wb-nodes{opacity:.7;font-weight:400;font-size:12px}
</style>"""


def card(found: Detection) -> str:
    """The whole card: verdict in words, evidence beside op_types, the paper's rule beside ours, components."""
    parts = [_STYLE, '<div class="wb-card">', verdict(found)]
    if found.components is None:
        parts.append(evidence(found) + rules(found) if found.kind is not None else "")
    else:
        parts.append(f'<div class="wb-cols"><div>{evidence(found)}</div><div>{op_types(found)}</div></div>')
        parts.append(f'<div class="wb-cols"><div>{rules(found)}</div><div>{components(found)}</div></div>')
    return "".join([*parts, "</div>"])


def verdict(found: Detection) -> str:
    """Kind, the sentence that says why, what the kind means, the file's facts, and warnings."""
    kind = found.kind or "no model"
    name = KIND_NAMES.get(found.kind or "", "")
    small = f"<small>{escape(name)}</small>" if name else ""
    facts = [escape(found.format), escape(found.format_detail), size(found.size_bytes)]
    if found.engine:
        facts.append(f"engine: {escape(ENGINE_NAMES.get(found.engine, found.engine))}")
    return (
        findings(found.findings) + f'<div class="wb-head"><span class="wb-kind">{escape(kind)}{small}</span>'
        f'<span class="wb-because">{escape(found.because)}</span></div>'
        f"<p>{escape(in_words(found), 2000)}</p>"
        f'<p class="wb-facts"><b>{escape(found.path)}</b> · {" · ".join(filter(None, facts))}</p>'
        + _warnings(found.remarks)
    )


LEVEL_WORDS = {"error": "can harm", "warning": "take care", "note": "note"}
"""A finding's level -> what a person reads."""


def findings(found: tuple[Finding, ...], most: int = 6) -> str:
    """What to know before the file is opened, worst first; nothing of a file without findings."""
    if not found:
        return ""
    items = "".join(
        f'<li class="wb-{finding.level}"><b>{LEVEL_WORDS[finding.level]}</b> {escape(finding.says, 1000)} '
        f"{escape(finding.advice, 1000)}</li>"
        for finding in found[:most]
    )
    more = f"<li>and {len(found) - most} more findings</li>" if len(found) > most else ""
    worst = " wb-harm" if found[0].level == "error" else ""
    return f'<ul class="wb-findings{worst}" role="alert" aria-label="Findings">{items}{more}</ul>'


def _warnings(warnings: tuple[str, ...]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f'<ul class="wb-warn" aria-label="Warnings">{items}</ul>'


def evidence(found: Detection) -> str:
    """Every signal that speaks for a kind; the ones that settled it first, and marked."""
    if not found.evidence:
        return "<h2>Evidence</h2><p>Nothing in the file speaks for a kind.</p>"
    rows = []
    for signal in sorted(found.evidence, key=lambda signal: not signal.decides):
        nodes = ", ".join(signal.nodes[:3]) + ("…" if len(signal.nodes) > 3 else "")
        mark, times = "decides" if signal.decides else "", f" × {signal.count:,}" if signal.count > 1 else ""
        rows.append(
            f'<tr class="{mark and "wb-decides"}"><td class="wb-short">{mark}</td>'
            f'<td class="wb-short">{escape(signal.signal)}</td>'
            f'<td>{escape(signal.value)}{times} <span class="wb-nodes">{escape(nodes)}</span></td>'
            f'<td class="wb-short">{escape(signal.supports)}</td></tr>'
        )
    head = "<thead><tr><th>role</th><th>signal</th><th>found</th><th class='wb-short'>speaks for</th></tr></thead>"
    return f"<h2>Evidence</h2><table>{head}<tbody>{''.join(rows)}</tbody></table>"


def rules(found: Detection) -> str:
    """The paper's rule beside ours, a sentence on whether they agree, and the paper's as a chart."""
    from .flow import flow  # which escapes with what is defined here

    if found.components is None:
        return f"<p>The paper's rule (Fig. 7a) has no answer: {escape(found.paper_rule.because)}.</p>"
    theirs = found.paper_rule.kind or "no answer"
    rows = [
        f"<tr><th>our rule</th><td><b>{escape(found.kind)}</b>: {escape(found.because)}</td></tr>",
        f"<tr><th>the paper's rule</th><td><b>{escape(theirs)}</b>: {escape(found.paper_rule.because)}.</td></tr>",
    ]
    differ = escape(difference(found), 1000) or "Both rules agree."
    table = f"<h2>Two rules</h2><table><tbody>{''.join(rows)}</tbody></table><p>{differ}</p>"
    return f"{table}<h2>The paper's rule as a chart (Fig. 7a): this file's way is thick</h2>{flow(found)}"


def components(found: Detection) -> str:
    """Table 2 of the paper, for this file."""
    parts: dict[str, Any] = found.components or {}
    graph = parts.get("graph", {})
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in parts.get("opset_import", {}).items())
    props: dict[str, str] = parts.get("metadata_props", {})
    proof = certificate.read(props)
    marks = {signal.signal: "decides" for signal in found.deciding if signal.signal == "producer_name"}
    if found.paper_rule.kind in ("ML", "DL"):
        marks["domain"] = "decides the paper's rule"
    rows = [
        ("ir_version", parts.get("ir_version")),
        ("producer_name", " ".join(filter(None, (parts.get("producer_name"), parts.get("producer_version"))))),
        ("domain", parts.get("domain")),
        ("opset_import", opsets),
        ("graph", f"{graph.get('name') or 'unnamed'}: {counted(graph.get('nodes', 0), 'node')}"),
        ("inputs", "; ".join(signature(value) for value in graph.get("inputs", []))),
        ("outputs", "; ".join(signature(value) for value in graph.get("outputs", []))),
        ("weights", _weights(graph.get("parameters", 0), graph.get("initializers", 0))),
        ("functions", ", ".join(parts.get("functions", []))),
        ("external data", ", ".join(parts.get("external_data", []))),
        ("doc_string", parts.get("doc_string")),
        ("certificate", certificate.says(proof) if proof else ""),
        *((f"metadata {key}", value) for key, value in list(props.items())[:20] if not proof or key != certificate.KEY),
    ]
    optional = {"functions", "external data", "doc_string", "certificate"}
    shown = [(name, value) for name, value in rows if value or name not in optional]
    body = "".join(
        f"<tr{_DECIDES if name in marks else ''}><th>{escape(name, 60)}</th><td>{escape(value) or '<i>empty</i>'}"
        f"{_mark(marks.get(name, ''))}</td></tr>"
        for name, value in shown
    )
    return f"<h2>Components</h2><table><tbody>{body}</tbody></table>"


_DECIDES = ' class="wb-decides"'


def _mark(words: str) -> str:
    return f' <span class="wb-mark-decides">{words}</span>' if words else ""


def _weights(parameters: int, initializers: int) -> str:
    if not initializers:
        return "no initializers; what was learnt is in the nodes' attributes"
    return f"{counted(parameters, 'number')} in {counted(initializers, 'initializer')}"


def op_types(found: Detection, most: int = 18) -> str:
    """Histogram of op_types over main graph, subgraphs and functions; deciding ones marked."""
    counts: dict[str, int] = (found.components or {}).get("op_types", {})
    deciding = {signal.value for signal in found.deciding if signal.signal == "op_type"}
    top = max(counts.values(), default=1)
    rows = []
    ordered = sorted(counts.items(), key=lambda item: (item[0].lstrip(":") not in deciding, -item[1]))
    for key, count in ordered[:most]:
        name = key.lstrip(":")
        mark = name in deciding
        rows.append(
            f"<tr{_keyed(key)}{_DECIDES if mark else ''}>"
            f'<td><span class="wb-op">{escape(name, 80)}</span>{_mark("decides" if mark else "")}</td>'
            f'<td><span class="wb-bar" style="width:{max(2, round(100 * count / top))}px"></span>{count:,}</td></tr>'
        )
    more = f"<p>and {len(counts) - most} more op_types</p>" if len(counts) > most else ""
    return f"<h2>op_types</h2><table><tbody>{''.join(rows)}</tbody></table>{more}"


def _keyed(key: str) -> str:
    """The op_type for who makes the row a button; without it where it could not be written as it is."""
    return f' data-op-type="{escape(key)}"' if visible(key) == key else ""


def signature(value: dict[str, Any]) -> str:
    """``X: float32 [N, 4]`` of a graph input or output."""
    shape = value.get("shape")
    dims = "" if shape is None else f" [{', '.join('?' if dim is None else str(dim) for dim in shape)}]"
    return f"{value['name']}: {value['dtype']}{dims}"
