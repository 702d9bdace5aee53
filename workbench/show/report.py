"""One model's report: what is known of it as one HTML file, which needs neither notebook nor network to be read."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..compare import Comparison, compare, environment
from ..convert import Conversion
from ..errors import BadInput, WorkbenchError
from ..files import certificate
from ..files.header import read_header
from ..graph import GraphView, frame, graph, policy
from ..kind import ENGINE_NAMES, KIND_NAMES, Detection, detect
from ..publish import refuse, write_text
from ..safety import external
from ..sandbox import Cancelled
from ..session.inference import FirstInference, first_inference
from ..words import MAX_SHOWN, counted, escape, size
from .answers import row_html
from .card import findings
from .charts import charts

HASHED = 1 << 30
"""Bytes of files up to which their SHA-256 is computed, in about a second."""

SHOWN_ROWS = 3

PAGE_HEIGHT = 1500
"""Pixels of a drawing of the graph up to which it is made to fit one printed page."""

_BLOCK = 1 << 22

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Part:
    """A part of the report, in one line. Its strings may quote the model: escape them where markup is read.

    Attributes:
        step: where the workbench finds it out, one of `workbench.session.STEPS`.
        title: of its section.
        says: what it comes to; where it is missing, why.
        there: the report holds it.
    """

    step: str
    title: str
    says: str
    there: bool


def parts(
    detection: Detection,
    *,
    view: GraphView | None = None,
    inference: FirstInference | None = None,
    conversion: Conversion | None = None,
    comparison: Comparison | None = None,
    problems: Mapping[str, str] | None = None,
) -> tuple[Part, ...]:
    """The parts of a report made from these results, the summary of the whole.

    Args:
        problems: {step: why it gave no result}, as `workbench.session.Session.problems`.
    """
    why = problems or {}
    is_onnx = detection.format == "ONNX"
    kind = f"{detection.kind}, {KIND_NAMES[detection.kind]}" if detection.kind else "No model"
    found = [Part("kind", "Kind", f"{kind}. {detection.because}", True)]
    found.append(_graph_part(view, why.get("graph")))
    if inference is not None:
        engine = f"{ENGINE_NAMES.get(inference.engine, inference.engine)} {inference.version}"
        says = f"{inference.right} of {len(inference.predicted)} right in {engine}."
        found.append(Part("kind", "First inference", says, True))
    elif is_onnx:
        found.append(Part("kind", "First inference", why.get("inference", "Not asked."), False))
    proof = _own_certificate(detection)
    if conversion is not None:
        agree = "Both sides agree" if conversion.agreement.within_tolerance else "Both sides disagree, nothing was kept"
        output = f"{os.path.basename(conversion.output)}: " if conversion.output else ""
        found.append(Part("convert", "Conversion to ONNX", f"{output}{agree}. {conversion.agreement.says}", True))
    elif proof is not None:
        found.append(Part("convert", "Conversion to ONNX", _claim(proof), True))
    elif not is_onnx:
        found.append(Part("convert", "Conversion to ONNX", why.get("convert", "Not converted."), False))
    if comparison is not None:
        says = comparison.says
    else:
        other = "the model it was made from" if is_onnx else "an ONNX form of it"
        says = why.get("compare", f"Not compared with {other}.")
    found.append(Part("compare", "Native and ONNX side by side", says, comparison is not None))
    return tuple(found)


def _graph_part(view: GraphView | None, problem: str | None) -> Part:
    if view is None:
        return Part("graph", "Graph", problem or "Drawn when the report is written.", problem is None)
    nodes = "" if view.nodes is None else f"{counted(view.nodes, 'node')}. "
    if view.reason is None:
        return Part("graph", "Graph", f"{nodes}Drawn by Netron; a click on a node shows its attributes.", True)
    return Part("graph", "Graph", f"{nodes}{view.reason}", view.nodes is not None)


def _own_certificate(detection: Detection) -> dict[str, Any] | None:
    return certificate.read((detection.components or {}).get("metadata_props", {}))


def _claim(proof: dict[str, Any]) -> str:
    says = certificate.says(proof)
    return f"{says[0].upper()}{says[1:]}"


def report(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    native: Any = None,
    inputs: Any = None,
    targets: Any = None,
    trust: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    **options: Any,
) -> Path:
    """Write all that can be found out about a model into one HTML file: kind, graph, answers, comparison.

    Args:
        path: a model file of any format, or a SavedModel folder.
        output: the page to write, ``<path>.report.html`` if None. It appears whole or not at all.
        native: the model that `path`, an ONNX file, was made from: a file, an estimator, a Keras model or an open
            engine. Both are compared, which takes ten seconds and more.
        inputs, targets: rows for the comparison and their right answers, as `workbench.compare` takes them.
        trust: the native file may run code when it is opened.
        overwrite: replace a page that exists.
        progress: called in this thread with one short sentence at each stage.
        cancel: set it from another thread to give up.
        options: more of `workbench.compare`, such as ``target``, ``params`` and ``seconds``.

    Raises:
        BadInput: there are rows without a native model, or a native model beside a file that is not ONNX.
        UnreadableFile: no such model, or a damaged one.
        NeedsTrust, UnsupportedModel: as for `workbench.compare`.
        WorkbenchError: the page exists already or cannot be written; a side of the comparison failed.
    """
    say = progress or (lambda message: None)
    target = _target(path, output, overwrite, [path, native, inputs, targets, *options.values()])
    detection = detect(path)
    if native is None and (inputs is not None or targets is not None or options):
        raise BadInput("Rows and right answers are for a comparison: give the native model too, native=… (--native).")
    if native is not None and detection.format != "ONNX":
        raise BadInput(f"A native model is compared with an ONNX file, but {path} is {detection.format}.")
    inference = comparison = None
    problems: dict[str, str] = {}
    if native is not None:
        comparison = compare(
            native, path, inputs, targets=targets, trust=trust, progress=progress, cancel=cancel, **options
        )
    if detection.format == "ONNX":
        say("Asking the model about real rows")
        try:
            inference = first_inference(path, cancel=cancel)
        except Cancelled:
            raise
        except WorkbenchError as error:
            problems["inference"] = str(error)
    return write(
        path, target, detection=detection, inference=inference, comparison=comparison, problems=problems,
        overwrite=overwrite, progress=progress, cancel=cancel,
    )  # fmt: skip


def write(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    detection: Detection | None = None,
    view: GraphView | None = None,
    inference: FirstInference | None = None,
    conversion: Conversion | None = None,
    comparison: Comparison | None = None,
    problems: Mapping[str, str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Path:
    """Write the report from results at hand; kind and graph, which cost nothing, are found out where they are missing.

    Args: as for `report` and `parts`.

    Raises:
        UnreadableFile: no such model, or a damaged one.
        WorkbenchError: the page exists already or cannot be written.
    """
    say = progress or (lambda message: None)
    inputs = [path, *(model for _, model in _models(conversion, comparison))]
    target = _target(path, output, overwrite, inputs)
    why = dict(problems or {})
    detection = detection or detect(path)
    if view is None:
        say("Drawing the graph")
        try:
            view = graph(path, cancel=cancel)
        except WorkbenchError as error:
            why["graph"] = str(error)
        else:
            why.pop("graph", None)
    say("Computing the files' SHA-256")
    files = [(role, file, _fingerprint(file, cancel)) for role, file in _files(detection, conversion, comparison)]
    say("Writing the page")
    nonce = secrets.token_hex(16)
    found = parts(detection, view=view, inference=inference, conversion=conversion, comparison=comparison, problems=why)
    bodies = {
        "Kind": detection._repr_html_(),
        "Graph": _drawing(view, nonce) if view is not None else "",
        "First inference": inference._repr_html_() if inference is not None else "",
        "Conversion to ONNX": _conversion(detection, conversion),
        "Native and ONNX side by side": _comparison(comparison) if comparison is not None else "",
    }
    sections = {part.title: bodies[part.title] for part in found if part.there}
    sections["Files and environment"] = _environment(files, comparison)
    name = os.path.basename(os.path.normpath(path))
    page = _page(name, policy(nonce), findings(detection.findings), _summary(found, comparison), sections)
    if cancel is not None and cancel.is_set():
        raise Cancelled("The report was cancelled.")
    return write_text(page, target, overwrite=overwrite, inputs=inputs)


def _target(
    path: str | os.PathLike[str], output: str | os.PathLike[str] | None, overwrite: bool, inputs: list[Any]
) -> Path:
    """The page to write, refused before any work is done."""
    target = Path(output if output is not None else f"{os.path.normpath(path)}.report.html")
    if os.path.isdir(target):
        raise BadInput(f"{target} is a folder; name the page to write, such as {target / 'report.html'}.")
    refuse(target, overwrite, inputs)
    return target


# --- files ------------------------------------------------------------------------------------------------------------


def _files(
    detection: Detection, conversion: Conversion | None, comparison: Comparison | None
) -> Iterator[tuple[str, Path]]:
    """(what it is, where it is) of every file that this report is about."""
    path = Path(detection.path)
    named = [("model", path)]
    if detection.header is not None:
        # A model may name any file of this machine: only sound ones are its own.
        named += [("weights", file) for file in external.files(path, detection.header)]
    named += _models(conversion, comparison)
    seen = set()
    for role, file in named:
        if file.exists() and file.resolve() not in seen:
            seen.add(file.resolve())
            yield role, file


def _models(conversion: Conversion | None, comparison: Comparison | None) -> list[tuple[str, Path]]:
    """(what it is, where it is) of the models, beside the report's own, that a result is about."""
    found = []
    if conversion is not None and conversion.output is not None:
        found.append(("converted to", Path(conversion.output)))
    if comparison is not None:
        found += [("native side", Path(comparison.native.model)), ("ONNX side", Path(comparison.onnx.model))]
    return found


def _fingerprint(path: Path, cancel: threading.Event | None) -> tuple[int, str]:
    """(bytes, SHA-256 or why there is none). A folder's is over its files' names and digests, as in certificates."""
    try:
        inside = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
        total = sum(file.stat().st_size for file in inside)
        if total > HASHED:
            return total, f"not computed for more than {size(HASHED)}"
        if not path.is_dir():
            return total, _sha256(path, cancel)
        lines = (f"{file.relative_to(path).as_posix()}\0{_sha256(file, cancel)}\n" for file in inside)
        return total, hashlib.sha256("".join(lines).encode()).hexdigest()
    except OSError as error:
        return 0, f"cannot be read: {error.strerror or error}"


def _sha256(path: Path, cancel: threading.Event | None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            if cancel is not None and cancel.is_set():
                raise Cancelled("The report was cancelled.")
            digest.update(block)
    return digest.hexdigest()


# --- the page ---------------------------------------------------------------------------------------------------------


def _summary(found: tuple[Part, ...], comparison: Comparison | None) -> list[tuple[str, str]]:
    """(heading as HTML, what it says) of each line: kind, agreement and speed before all else."""
    lines = [(_link(part.title) if part.there else part.title, part.says) for part in found]
    if comparison is None:
        return lines
    compared = {
        "Agreement": comparison.verdict, "Speed": comparison.speed, "Right answers": comparison.right_answers
    }  # fmt: skip
    said = [(_link(found[-1].title, word), says) for word, says in compared.items() if says]
    return [lines[0], *said, *lines[1:-1]]


def _page(name: str, rules: str, danger: str, summary: list[tuple[str, str]], sections: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th scope='row'>{head}</th><td>{escape(says, 2000)}</td></tr>" for head, says in summary)
    contents = "".join(f"<li>{_link(title)}</li>" for title in ("Summary", *sections))
    body = "".join(_section(title, content) for title, content in sections.items())
    now = datetime.now().astimezone()
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{rules}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}: report of a model</title>{_STYLE}</head><body>"
        f"<header><p>Report of a model, made with ONNX Workbench on "
        f'<time datetime="{now.isoformat(timespec="seconds")}">{now:%Y-%m-%d %H:%M %Z}</time></p>'
        f'<h1>{escape(name)}</h1><div class="wb-card">{danger}</div>'
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav></header>'
        f'<main><section aria-labelledby="summary"><h2 id="summary">Summary</h2>'
        f"<table><tbody>{rows}</tbody></table></section>{body}</main></body></html>"
    )


def _section(title: str, content: str) -> str:
    # Results come with headings of their own, for notebooks: here they stand below the section's.
    content = re.sub(rf"<h\d>{title}</h\d>", "", content, count=1)
    content = re.sub(r"<(/?)h[2-6]\b", r"<\1h3", content)
    # A box that scrolls sideways on a phone must be reachable by keyboard.
    return (
        f'<section aria-labelledby="{_anchor(title)}"><h2 id="{_anchor(title)}">{title}</h2>'
        f'<div class="wide" tabindex="0" role="group" aria-labelledby="{_anchor(title)}">{content}</div></section>'
    )


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _link(title: str, words: str | None = None) -> str:
    return f'<a href="#{_anchor(title)}">{words or title}</a>'


def _drawing(view: GraphView, nonce: str) -> str:
    """Netron's live view; the still drawing for paper, and where no script may run."""
    drawing = view.svg()
    height = re.search(r'^<svg[^>]* height="(\d+)', drawing)
    # On paper a taller one is cut, since nobody could read it on one page.
    fits = ' class="one-page"' if height is not None and int(height[1]) <= PAGE_HEIGHT else ""
    still = f'<img alt="Drawing of the graph"{fits} src="data:image/svg+xml,{_quoted(drawing)}">'
    if view.reason is not None:
        return f"<p>{escape(view.reason)}</p>{still}"
    return f"""{frame(view.page(nonce), view.name, 'class="live"')}<div class="still">{still}</div>"""


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="/:=' ,;()", errors="replace")


def _conversion(detection: Detection, conversion: Conversion | None) -> str:
    """What was measured now, and the certificate in the file, which is what its maker says."""
    shown = conversion._repr_html_() if conversion is not None else ""
    proof = _own_certificate(detection)
    if proof is None and conversion is not None and conversion.output is not None:
        try:
            proof = certificate.read(read_header(conversion.output).metadata_props)
        except WorkbenchError:
            proof = None  # moved or changed since
    if proof is None:
        return shown
    words = escape(json.dumps(proof, indent=2, ensure_ascii=False), 20 * MAX_SHOWN)
    return (
        f"{shown or f'<p>{escape(_claim(proof), 2000)}</p>'}"
        f"<details><summary>The certificate in the ONNX file</summary><pre>{words}</pre></details>"
    )


def _comparison(comparison: Comparison) -> str:
    """Times and agreement as words, table and drawing; then the rows that say most: the one furthest apart, the first
    that differs, the first."""
    answers, shown = comparison.answers, comparison._repr_html_() + charts(comparison)
    if answers is None or not answers.rows:
        return shown
    wanted = [row for row in (answers.furthest, answers.first_differing, *answers.rows) if row is not None]
    rows = "".join(row_html(comparison, row) for row in list(dict.fromkeys(wanted))[:SHOWN_ROWS])
    return f"{shown}<h3>Both answers to some rows</h3>{rows}"


def _environment(files: list[tuple[str, Path, tuple[int, str]]], comparison: Comparison | None) -> str:
    rows = "".join(
        f"<tr><td class='short'>{role}</td><td class='long'>{escape(file)}</td><td class='short'>{size(count)}</td>"
        f"<td class='long'><code>{escape(digest)}</code></td></tr>"
        for role, file, (count, digest) in files
    )
    found = environment(None) if comparison is None else comparison.environment
    versions = {**found["versions"], **certificate.versions("netron")}
    facts = [
        ("processor", f"{found['cpu']}, {counted(found['cores'], 'core')}"),
        ("system", platform.platform()),
        ("versions", ", ".join(f"{package} {version}" for package, version in versions.items())),
    ]
    listed = "".join(f"<tr><th scope='row'>{name}</th><td>{escape(value, 2000)}</td></tr>" for name, value in facts)
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("file", "path", "size", "SHA-256"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><table><tbody>{listed}</tbody></table>"


_STYLE = """<style>
:root{color-scheme:light dark}
body{font:15px/1.55 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1rem 1.25rem 3rem;background:Canvas;
  color:CanvasText}
header p{margin:0;font-size:13px}
h1{font-size:1.7rem;line-height:1.25;margin:.1rem 0 1rem;overflow-wrap:anywhere}
section{margin:0 0 2rem}
h2{font-size:1.25rem;margin:0 0 .5rem;padding-top:.6rem;border-top:2px solid rgba(128,128,128,.4)}
h3{font-size:1rem;margin:.9rem 0 .3rem}
a{color:LinkText}
:focus-visible{outline:2px solid currentColor;outline-offset:2px}
table{border-collapse:collapse;width:100%;margin:0 0 1rem;font-size:14px}
th,td{text-align:left;vertical-align:top;padding:.3rem 1rem .3rem 0;border-bottom:1px solid rgba(128,128,128,.3)}
th{font-weight:600}
section>table th{width:min(15rem,33%)}
p,li,td,code,figcaption{overflow-wrap:anywhere}
.wide td,.wide th{min-width:4.5rem}
.wide td.long{min-width:11rem}
.wide thead th,td.short{overflow-wrap:normal;white-space:nowrap}
nav ul{list-style:none;margin:0 0 1.2rem;padding:0;display:flex;flex-wrap:wrap;gap:.1rem 1.5rem}
.wide{overflow-x:auto}
.wide>div{max-width:none}
.wide>div,.wide .wb-compare,.wide .wb-answered{overflow:visible}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px}
code{font-size:12px}
.live{width:100%;height:min(40rem,80vh);border:1px solid rgba(128,128,128,.5);box-sizing:border-box;background:Canvas}
.still,.wide>img{display:block}
.still img,.wide>img{max-width:100%}
@media screen and (scripting:enabled),screen and (scripting:initial-only){.still{display:none}}
@page{margin:15mm}
@media print{
  :root{color-scheme:light}
  body{font-size:10pt;padding:0;max-width:none}
  nav,.live{display:none}
  h2,h3,caption,figcaption{break-after:avoid}
  tr,img.one-page,svg,.wb-row-shown{break-inside:avoid}
  img.one-page{max-height:225mm}
  thead{display:table-header-group}
  .wb-bar,.wb-score,.wb-warn{print-color-adjust:exact}
  details::details-content{display:block;content-visibility:visible}
}
@media (scripting:none){.live{display:none}}
</style>"""
