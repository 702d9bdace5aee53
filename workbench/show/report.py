"""One model's report: what is known of it as one HTML file, which needs neither notebook nor network to be read."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..compare import Comparison, compare, environment
from ..convert import Agreement, Conversion
from ..errors import BadInput, WorkbenchError
from ..files import certificate
from ..files.header import read_header
from ..graph import GraphView, frame, graph, policy
from ..inference import FirstInference, TrialRun, first_inference
from ..kind import KIND_NAMES, Detection, detect
from ..markup import render, whole_page
from ..publish import refuse, write_text
from ..safety import external
from ..sandbox import Cancelled
from ..words import NATIVE_AND_ONNX, counted, listed, readable, size
from . import live as answering
from .answers import row_html
from .card import LEVEL_WORDS, card
from .charts import charts
from .live.runtime import packed

HASHED = 1 << 30
"""Bytes of files up to which their SHA-256 is computed, in about a second."""

SHOWN_ROWS = 3

PICTURE = 640, 460
"""Pixels of the graph's picture on the cover: with it, the cover is one page of A4 and of Letter."""

MOST_CLAIMS = 100
"""Lines of a certificate that are shown: anyone may have written it."""

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
    inference: FirstInference | TrialRun | None = None,
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
        found.append(Part("kind", "First inference", inference.says, True))
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
    title = (NATIVE_AND_ONNX if comparison is None else comparison.names).title
    if comparison is not None:
        says = comparison.says
    else:
        other = "the model it was made from" if is_onnx else "an ONNX form of it"
        says = why.get("compare", f"Not compared with {other}.")
    found.append(Part("compare", title, says, comparison is not None))
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
    paths: bool = False,
    live: bool = False,
    trust: bool = False,
    overwrite: bool = False,
    memory_mib: float | None = None,
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
        paths: say in which folders of this machine the files are; names alone if not, since a report is handed on.
        live: put the model itself into the page, with ONNX Runtime Web, so that it answers there.
        trust: the native file may run code when it is opened.
        overwrite: replace a page that exists.
        memory_mib: MiB for each worker, by the model's size if None.
        progress: called in this thread with one short sentence at each stage.
        cancel: set it from another thread to give up.
        options: more of `workbench.compare`, such as ``target``, ``params`` and ``seconds``.

    Raises:
        BadInput: there are rows without a native model, or a native model beside a file that is not ONNX, or such a
            file is to answer.
        UnreadableFile: no such model, or a damaged one.
        NeedsTrust, UnsupportedModel: as for `workbench.compare`.
        WorkbenchError: the page exists already or cannot be written; a side of the comparison failed; `live`, and ONNX
            Runtime Web is not installed.
    """
    beside = [native, inputs, targets, *options.values()]
    target = _target(path, output, overwrite, [path, *beside])
    detection = detect(path)
    if native is None and (inputs is not None or targets is not None or options):
        what = "Rows and right answers" if options.keys() <= {"target"} else f"Options ({listed(options)})"
        raise BadInput(f"{what} are for a comparison: give the native model too, native=… (--native).")
    if native is not None and detection.format != "ONNX":
        raise BadInput(f"A native model is compared with an ONNX file, but {path} is {detection.format}.")
    if live:
        _check_live(detection)
    comparison = None
    if native is not None:
        comparison = compare(
            native, path, inputs, targets=targets, trust=trust, memory_mib=memory_mib, progress=progress,
            cancel=cancel, **options,
        )  # fmt: skip
    return write(
        path, target, detection=detection, comparison=comparison, ask=True, beside=beside, paths=paths, live=live,
        overwrite=overwrite, memory_mib=memory_mib, progress=progress, cancel=cancel,
    )  # fmt: skip


def write(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    detection: Detection | None = None,
    view: GraphView | None = None,
    inference: FirstInference | TrialRun | None = None,
    conversion: Conversion | None = None,
    comparison: Comparison | None = None,
    problems: Mapping[str, str] | None = None,
    ask: bool = False,
    beside: Iterable[Any] = (),
    paths: bool = False,
    live: bool = False,
    overwrite: bool = False,
    memory_mib: float | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Path:
    """Write the report from results at hand; kind and graph, which cost nothing, are found out where they are missing.

    Args: as for `report` and `parts`, and
        view: not used where an ONNX file was made of the model: the report shows that one's graph.
        ask: an ONNX file about real rows, where that gave no result yet.
        beside: other files that the results may name, such as the rows.

    Raises:
        UnreadableFile: no such model, or a damaged one.
        WorkbenchError: the page exists already or cannot be written.
    """
    say = progress or (lambda message: None)
    models = _models(conversion, comparison)
    inputs = [path, *(model for _, model in models)]
    target = _target(path, output, overwrite, inputs)
    why = dict(problems or {})
    detection = detection or detect(path)
    if live:
        _check_live(detection)
    view, drawn = _drawn(Path(path), detection, view, models, why, say, cancel)
    if ask and inference is None and detection.format == "ONNX" and "inference" not in why:
        say("Asking the model about real rows")
        inference = _asked(path, memory_mib, why, cancel)
    say("Computing the files' SHA-256")
    files = [(role, file, *_fingerprint(file, cancel)) for role, file in _files(detection, conversion, comparison)]
    say("Writing the page")
    found = parts(detection, view=view, inference=inference, conversion=conversion, comparison=comparison, problems=why)
    folders, nonce, asked = () if paths else [*inputs, *filter(_is_file, beside)], secrets.token_hex(16), []
    with whole_page(folders):
        asking = ""
        if live:
            limits: dict[str, Any] = {"memory_mib": memory_mib, "cancel": cancel, "progress": say}
            asking = answering.section(path, comparison, nonce=nonce, **limits)
            asked = [Part("", answering.TITLE, "The model answers here, offline.", True)]
        page = render(
            "report",
            name=os.path.basename(os.path.normpath(path)),
            now=datetime.now().astimezone(),
            found=detection,
            kind_name=KIND_NAMES.get(detection.kind or ""),
            level_words=LEVEL_WORDS,
            figures=_figures(found, inference, conversion, comparison),
            comparison_title=comparison.names.title if comparison is not None else "",
            parts=[
                *asked,
                *found,
                Part("", "Files and environment", f"{counted(len(files), 'file')} with SHA-256.", True),
            ],
            kind=card(detection),
            inference=inference._repr_html_() if inference is not None else "",
            files=files,
            paths=paths,
            facts=_environment(comparison),
            policy=policy(nonce, answers=live),
            asking=asking,
            **_drawing(view, nonce, drawn.name, why.get("graph")),
            **_conversion(detection, conversion),
            **_comparison(comparison),
        )
    _go_on_unless(cancel)
    return write_text(page, target, overwrite=overwrite, inputs=inputs)


def _go_on_unless(cancel: threading.Event | None) -> None:
    """
    Raises:
        Cancelled: it is set.
    """
    if cancel is not None and cancel.is_set():
        raise Cancelled("The report was cancelled.")


def _asked(
    path: str | os.PathLike[str], memory_mib: float | None, why: dict[str, str], cancel: threading.Event | None
) -> FirstInference | TrialRun | None:
    """What the model answers to real rows, or None and why not."""
    try:
        return first_inference(path, memory_mib=memory_mib, cancel=cancel)
    except Cancelled:
        raise
    except WorkbenchError as error:
        why["inference"] = str(error)
    return None


def _drawn(
    path: Path,
    detection: Detection,
    view: GraphView | None,
    models: list[tuple[str, Path]],
    why: dict[str, str],
    say: Progress,
    cancel: threading.Event | None,
) -> tuple[GraphView | None, Path]:
    """The graph, with what each node costs, and the file it is of: the ONNX file made of a native model, if any."""
    drawn = path
    if detection.format != "ONNX":
        drawn = next((model for _, model in models if model.suffix == ".onnx" and model.exists()), path)
    if view is None or drawn != path:
        say("Drawing the graph")
        try:
            view = graph(drawn, cancel=cancel)
        except WorkbenchError as error:
            why["graph"] = str(error)
        else:
            why.pop("graph", None)
    if view is not None and view.format == "ONNX" and view.reason is None:
        say("Counting what each node costs")
        with suppress(WorkbenchError):  # what ONNX's parser cannot read is drawn without
            view = view.with_costs()
    return view, drawn


def _is_file(given: Any) -> bool:
    """Whether it is a file's name or a folder's, and no column's."""
    return isinstance(given, str | os.PathLike) and (os.path.isabs(given) or os.path.exists(given))


def _check_live(detection: Detection) -> None:
    """What can be known before any work."""
    if detection.format != "ONNX":
        raise BadInput(
            f"A page answers with an ONNX model, but {detection.path} is {detection.format}: convert it, and ask for "
            "the report of what comes of it."
        )
    packed()


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
        models = Path(comparison.native.model), Path(comparison.onnx.model)
        found += zip((side.removeprefix("the ") for side in comparison.names.sides), models, strict=True)
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
            _go_on_unless(cancel)
            digest.update(block)
    return digest.hexdigest()


# --- the page ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A number of the cover.

    Attributes:
        title: what it measures.
        value: the number; empty where it was not measured.
        says: what it means, or why there is none.
        good: True or False where the number itself says so.
    """

    title: str
    value: str
    says: str
    good: bool | None = None


def _figures(
    found: tuple[Part, ...],
    inference: FirstInference | TrialRun | None,
    conversion: Conversion | None,
    comparison: Comparison | None,
) -> list[Figure]:
    """Agreement, speed and accuracy, as far as they were measured here: what a certificate claims is no measurement."""
    not_compared = f"Not measured. {found[-1].says}"
    if comparison is not None:
        agreement = _agreement(comparison.agreement, comparison.verdict)
        ratio = comparison.speedup.median
        faster = comparison.names.heads[ratio >= 1]
        speed = Figure("Speed", f"{faster} {readable(max(ratio, 1 / ratio), 3)}\N{NO-BREAK SPACE}×", comparison.speed)
    else:
        agreement, speed = Figure("Agreement", "", not_compared), Figure("Speed", "", not_compared)
        if conversion is not None:
            agreement = _agreement(conversion.agreement, f"At conversion: {conversion.agreement.says}")
    accuracy = Figure("Accuracy", "", "Not measured. No rows were asked whose right classes are known.")
    if comparison is not None and comparison.right_answers:
        shares = dict.fromkeys((comparison.native.accuracy, comparison.onnx.accuracy))
        value = " / ".join(f"{share:.2%}" for share in shares if share is not None)
        accuracy = Figure("Accuracy", value, f"Right answers: {comparison.right_answers}")
    elif isinstance(inference, FirstInference) and inference.right is not None:
        accuracy = Figure(
            "Accuracy", f"{inference.right} of {len(inference.predicted)}", f"First inference: {inference.says}"
        )
    return [agreement, speed, accuracy]


def _agreement(agreement: Agreement, says: str) -> Figure:
    if agreement.within_tolerance:
        says += f" {agreement.undecided:,} count neither way." if agreement.undecided else ""
        count = agreement.samples - agreement.undecided
        return Figure("Agreement", f"✓ {count:,} of {agreement.samples:,}", says, True)
    return Figure("Agreement", "✗ differ", says, False)


def _drawing(view: GraphView | None, nonce: str, name: str, problem: str | None) -> dict[str, Any]:
    """Netron's live view; the still drawing for the cover, which is printed, too."""
    shown: dict[str, Any] = {"graph_of": name, "view": view, "live": "", "drawing": ""}
    if view is None:
        return shown | {"no_drawing": problem}
    if view.reason is None:
        shown["live"] = frame(view.page(nonce), view.name)
    if view.nodes:
        return shown | {"drawing": quote(view.svg(PICTURE), safe="/:=' ,;()", errors="replace")}
    return shown | {
        "no_drawing": view.reason
        or f"Graphs of {view.format} files are drawn by the live view only: convert the model to ONNX."
    }


def _conversion(detection: Detection, conversion: Conversion | None) -> dict[str, Any]:
    """What was measured now, and the certificate in the file, which is what its maker says."""
    proof = _own_certificate(detection)
    if proof is None and conversion is not None and conversion.output is not None:
        with suppress(WorkbenchError):  # moved or changed since
            proof = certificate.read(read_header(conversion.output).metadata_props)
    return {
        "converted": conversion._repr_html_() if conversion is not None else "",
        "claim": _claim(proof) if proof is not None else "",
        "proof": list(islice(_claims(proof or {}), MOST_CLAIMS)),
    }


def _claims(proof: dict[str, Any], name: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """(what, value) of each thing that a certificate says; it may hold anything, as deep as it likes."""
    for key, value in proof.items():
        where = f"{name}, {key}" if name else key
        if isinstance(value, dict) and depth < 2 and key != "tools":
            yield from _claims(value, where, depth + 1)
        elif isinstance(value, dict):
            yield where, "; ".join(f"{part} {_plain(inside)}" for part, inside in value.items())
        elif isinstance(value, list):
            yield where, " ".join(map(_plain, value)) or "none"
        else:
            yield where, _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, dict | list):
        return "…"
    return (
        {None: "not known", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)
    )


def _comparison(comparison: Comparison | None) -> dict[str, Any]:
    """Times and agreement as words, table and drawing; then the rows that say most: the one furthest apart, the first
    that differs, the first."""
    if comparison is None:
        return {}
    answers, wanted = comparison.answers, []
    if answers is not None and answers.rows:
        wanted = [row for row in (answers.furthest, answers.first_differing, *answers.rows) if row is not None]
    return {
        "compared": [comparison._repr_html_(), charts(comparison)],
        "rows": [row_html(comparison, row) for row in list(dict.fromkeys(wanted))[:SHOWN_ROWS]],
    }


def _environment(comparison: Comparison | None) -> list[tuple[str, str]]:
    """What this machine and its programs are."""
    here = environment(None) if comparison is None else comparison.environment
    versions = {**here["versions"], **certificate.versions("netron")}
    return [
        ("processor", f"{here['cpu']}, {counted(here['cores'], 'core')}"),
        ("system", platform.platform()),
        ("versions", ", ".join(f"{package} {version}" for package, version in versions.items())),
    ]
