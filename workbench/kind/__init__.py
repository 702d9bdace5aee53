"""The kind of a model - classical ML, deep learning, spiking network - and the evidence that settles it.

Two rules stand side by side. `paper_rule` is Fig. 7a of Kim, Han and Heo (JIIBC 21(3), 2021), word for word: a
spiking op_type, else ``ModelProto.domain``. Converters stopped writing that domain, so `our_rule`, the table in
`rule.py`, asks what the model does (`structure.py`), and who made it only where structure leaves both answers open.
Where neither tells, the answer is ``unknown`` and why, never a guess.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from .. import safety, sandbox
from ..errors import LEVELS, Finding, Level, WorkbenchError
from ..files import registry, remote
from ..files.formats import against_name, identify, identify_bytes
from ..files.header import Header, read_header
from ..files.records import Format, Verdict, unclear
from ..files.registry import ENGINE_NAMES as ENGINE_NAMES
from ..files.wire import Buffer, Steps, opened
from ..words import listed
from .rule import Facts, first_line_that_holds, names
from .structure import examine

PAPER_NEURONS = ("LIF", "LIFRate", "AdaptiveLIF", "AdaptiveLIFRate", "Izhikevich", "SoftLIFRate")
"""The spiking op_types of the paper authors' code."""

KIND_NAMES = {
    "ML": "classical machine learning",
    "DL": "deep learning",
    "SNN": "spiking neural network",
    "unknown": "model of unknown kind",
}

MAX_NODES_NAMED = 12

READING = 2_250_000
"""Steps for telling a file's format and reading it, less than a second: some 150,000 plain operators."""

LOOKING = 500_000
"""Steps for what an ONNX file's operators do together, beside looking at each of them once."""


@dataclass(frozen=True)
class Evidence:
    """One signal read from the file.

    Attributes:
        signal: what was looked at: ``op_type``, ``dynamics``, ``network``, ``producer_name``, ``names``,
            ``domain``, ``format``.
        value: what it said.
        count: how many nodes or names show it.
        nodes: names of the first of them.
        supports: the kind it speaks for.
        decides: it settled the verdict.
    """

    signal: str
    value: str
    count: int
    nodes: tuple[str, ...]
    supports: str
    decides: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "nodes": list(self.nodes)}


@dataclass(frozen=True)
class PaperRule:
    """What Fig. 7a says: a kind, or None where it has no answer, and the step that said so."""

    kind: str | None
    because: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Detection:
    """A file's format, kind and evidence. Strings may quote the file: escape them where markup is read.

    Attributes:
        kind: ``ML``, ``DL``, ``SNN``, ``unknown``, or None where the file is not a model.
        engine: the engine Fig. 7b sends it to (`dispatch`), or None.
        because: the verdict in one sentence.
        components: the parts of Table 2 and more, as `components_of` gives them; None where the file is not ONNX.
        findings: what a person should know before opening it; a file that can harm has one of level ``error``.
        header: what was read of an ONNX file, for whoever wants to ask more.
    """

    path: str
    format: str
    format_detail: str
    size_bytes: int
    kind: str | None
    engine: str | None
    because: str
    evidence: tuple[Evidence, ...]
    paper_rule: PaperRule
    components: dict[str, Any] | None
    warnings: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    header: Header | None = field(default=None, repr=False, compare=False)

    @property
    def remarks(self) -> tuple[str, ...]:
        """The warnings that neither the verdict nor a finding says."""
        said = {self.because, *(finding.says for finding in self.findings)}
        return tuple(warning for warning in self.warnings if warning not in said)

    @property
    def danger(self) -> Level | None:
        """The highest level among the findings."""
        return max((finding.level for finding in self.findings), key=LEVELS.index, default=None)

    @property
    def deciding(self) -> tuple[Evidence, ...]:
        """The signals that settled the kind."""
        return tuple(signal for signal in self.evidence if signal.decides)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``workbench detect --json``."""
        told = {name: value for name, value in vars(self).items() if name != "header"}
        return told | {
            "evidence": [signal.to_dict() for signal in self.evidence], "paper_rule": self.paper_rule.to_dict(),
            "warnings": list(self.warnings), "findings": [finding.to_dict() for finding in self.findings],
        }  # fmt: skip

    def _repr_html_(self) -> str:
        html: str = registry.at("workbench.show.card:card")(self)
        return html


def detect(path: str | os.PathLike[str]) -> Detection:
    """Tell what a file is: its format, and for a model its kind with the evidence.

    Reads headers only and runs nothing from the file; one in another form of ONNX (as text, packed) is unpacked in a
    worker process. It takes some 20 microseconds for an operator, whatever the weights weigh; at most it takes
    `READING` and `LOOKING` steps, two or three seconds: what a file holds beyond them is left out, and a warning says
    so.

    Args:
        path: a file or folder, or a URL that fsspec reads, such as ``https://…`` or ``s3://…``: of that, too, only the
            header is fetched, and files beside it are not looked for.

    Raises:
        UnreadableFile: no such file, no permission, or an ONNX file that is truncated or damaged.
        BadInput, workbench.files.remote.Unreachable: a URL that nobody here reads, or that is not answered.
    """
    name = remote.local(os.fsdecode(path))
    if remote.is_url(name):
        with remote.opened(name) as far:
            return detect_bytes(far, remote.shown(name), far=True)
    if not os.path.isfile(name) or os.path.getsize(name) == 0:
        steps = Steps(READING)
        findings: tuple[Finding, ...] = ()
        what = identify(name, steps)  # a folder, nothing, or an empty file
        detection = _of_format(what, name, _folder_size(name))
        if (main := registry.main_file(Path(name), what.name)) is not None:
            with opened(main) as buffer:
                findings = safety.glance(Path(name), buffer, what, steps)
        return _with(detection, findings)
    with opened(name) as buffer:
        return detect_bytes(buffer, name)


def detect_bytes(buffer: Buffer, name: str, *, far: bool = False) -> Detection:
    """`detect` of a file's bytes at hand; `far` if what is beside it cannot be looked at."""
    steps = Steps(READING)
    what = against_name(identify_bytes(buffer, steps), remote.named(name) if far else name)
    if what.name == "unknown" and not far and (holds := safety.external.whose(Path(name))) is not None:
        detection = _of_format(what, name, len(buffer))
        because = f"It {holds}"
        return replace(detection, because=because, warnings=(because,))
    if registry.of(what.name).stands_for and not far:
        return _with(_of_form(what, name, len(buffer)), safety.glance(Path(name), buffer, what, steps))
    if what.name != "ONNX":
        return _with(_of_format(what, name, len(buffer)), safety.glance(Path(name), buffer, what, steps))
    header = read_header(name, buffer, steps=steps)
    detection = _of_header(header, name)
    detection = replace(detection, warnings=(*what.warnings, *detection.warnings))
    findings = safety.external.findings(Path(name), header, far=far)
    if header.in_part:
        advice = "Open it only if you know where it comes from: what was not looked at could be harmful."
        findings = (Finding("read-in-part", "warning", "", header.in_part, advice), *findings)
    return _with(detection, findings)


MOST_FINDINGS = 100
"""Of one file; a hostile one may earn thousands."""


def _with(detection: Detection, findings: tuple[Finding, ...]) -> Detection:
    """The findings, worst first, and what they say among the warnings too."""
    findings = tuple(sorted(findings, key=lambda finding: -LEVELS.index(finding.level)))
    if (more := len(findings) - MOST_FINDINGS) > 0:
        says = f"There are {more:,} more findings of these sorts."
        rest = Finding("more", findings[MOST_FINDINGS].level, "", says, "Look at the first ones.")
        findings = (*findings[:MOST_FINDINGS], rest)
    warnings = (*detection.warnings, *(finding.says for finding in findings))
    return replace(detection, findings=findings, warnings=tuple(dict.fromkeys(warnings)))


def dispatch(kind: str | None) -> str | None:
    """Fig. 7b: which engine runs an ONNX model of this kind. ML and DL: ONNX Runtime. SNN: Nengo.

    An ONNX file of unknown kind goes to ONNX Runtime too, which at least can say what it lacks.
    """
    return {"ML": "onnxruntime", "DL": "onnxruntime", "unknown": "onnxruntime", "SNN": "nengo"}.get(kind or "")


def paper_rule(header: Header) -> PaperRule:
    """Fig. 7a, literally: the op_types of the graph's nodes first, then ``ModelProto.domain``."""
    for node in header.graph.nodes:
        if node.op_type in PAPER_NEURONS:
            return PaperRule("SNN", f"op_type {node.op_type} is a spiking neuron")
    none = "no spiking op_type" + (" in what was read" if header.in_part else "")
    if header.domain == "ai.onnx":
        return PaperRule("ML", f"{none}, and domain is ai.onnx")
    if header.domain == "onnx":
        return PaperRule("DL", f"{none}, and domain is onnx")
    written = f'domain is "{header.domain}"' if header.domain else "domain is empty"
    return PaperRule(None, f"{none}, and {written}, for which the rule has no answer")


def our_rule(header: Header) -> tuple[str, str, tuple[Evidence, ...], tuple[str, ...]]:
    """Our rule (`rule.RULE`): what the model does, then who made it.

    Returns:
        (kind, because, evidence, warnings).
    """
    structure = examine(header, Steps(LOOKING))
    facts = Facts(header, structure)
    line = first_line_that_holds(facts)
    because = line.sentence.format_map(facts)
    evidence = tuple(
        replace(signal, decides=signal.signal in line.deciding and signal.supports == line.kind)
        for signal in _signals(header, facts)
    )
    warnings: tuple[str, ...] = ()
    if line.kind == "unknown":
        if header.in_part or not structure.complete:
            because = "Nothing tells its kind in the part of it that was looked at."
        warnings = (because,)
    elif line.also and facts.network:
        warnings = (line.also.format_map(facts),)
    if structure.spiking_names and line.kind != "SNN":
        warnings += (
            f"Names in it speak of spiking neurons ({names(structure.spiking_names)}), but no operator that was found "
            "is one.",
        )
    if not structure.complete:
        warnings += ("How its values flow was followed in part only: it would take too long to follow them all.",)
    if structure.unused_functions and not header.in_part:
        unused = listed(structure.unused_functions)
        warnings += (f"{len(structure.unused_functions)} function(s) in the file are never called: {unused}.",)
    return line.kind, because, evidence, warnings


def _signals(header: Header, facts: Facts) -> tuple[Evidence, ...]:
    """Everything found that speaks for a kind, whether or not it will decide."""
    found = facts.s

    groups = (
        ("SNN", found.neurons), ("ML", found.predictors), ("ML", found.features), ("ML", found.distances),
        ("ML", found.extractors), ("DL", found.layers),
    )  # fmt: skip
    out = [
        Evidence("op_type", op_type, len(nodes), tuple(nodes[:MAX_NODES_NAMED]), kind)
        for kind, ops in groups
        for op_type, nodes in ops.items()
    ]
    if found.spike_resets:
        nodes = tuple(found.reset_nodes[:MAX_NODES_NAMED])
        out.append(Evidence("dynamics", "integrate, fire and reset", found.spike_resets, nodes, "SNN"))
    if found.depth >= 2 or found.layers:
        value = f"{found.depth} learnt products with nonlinearities between" if found.depth >= 2 else "network layers"
        out.append(Evidence("network", value, max(found.depth, 1), tuple(found.chain[:MAX_NODES_NAMED]), "DL"))
    if header.producer_name:
        supports = "ML" if facts.made_ml else "DL" if facts.made_dl else "unknown"
        out.append(Evidence("producer_name", header.producer_name, 1, (), supports))
    for kind, group in (
        ("SNN", found.spiking_names), ("ML", found.sklearn_names), ("DL", found.framework_names),
    ):  # fmt: skip
        if group:
            total = sum(map(len, group.values()))
            out.append(Evidence("names", names(group), total, (), kind))
    if header.domain:
        supports = {"ai.onnx": "ML", "onnxml": "ML", "onnx": "DL"}.get(header.domain, "unknown")
        out.append(Evidence("domain", header.domain, 1, (), supports))
    return tuple(out)


# --- results -----------------------------------------------------------------------------------------------------


def components_of(header: Header) -> dict[str, Any]:
    """The parts of a model file (Table 2 of the paper, and what came after it), as plain data."""
    return {
        "ir_version": header.ir_version,
        "producer_name": header.producer_name,
        "producer_version": header.producer_version,
        "domain": header.domain,
        "model_version": header.model_version,
        "doc_string": header.doc_string,
        "opset_import": header.opset_import,
        "graph": {
            "name": header.graph.name,
            "nodes": len(header.graph.nodes),
            "inputs": [value.to_dict() for value in header.graph.inputs],
            "outputs": [value.to_dict() for value in header.graph.outputs],
            "initializers": len(header.graph.initializers),
            "parameters": header.parameters,
        },
        "op_types": {f"{domain}:{op}": n for (domain, op), n in header.op_types().most_common()},
        "functions": [f"{domain}:{name}" for domain, name in (f.key for f in header.functions)],
        "external_data": list(header.external_data),
        "metadata_props": dict(header.metadata_props),
    }


def _of_header(header: Header, path: str) -> Detection:
    kind, because, evidence, warnings = our_rule(header)
    return Detection(
        path=path, format="ONNX", format_detail=f"IR version {header.ir_version}", size_bytes=header.size_bytes,
        kind=kind, engine=dispatch(kind), because=because, evidence=evidence, paper_rule=paper_rule(header),
        components=components_of(header), warnings=(*header.warnings, *warnings), header=header,
    )  # fmt: skip


def _of_form(content: Format, path: str, size: int) -> Detection:
    """An ONNX model as text or packed, which a worker opens; where it cannot, the reason."""
    plain = _of_format(content, path, size)
    try:
        header = sandbox.parse(registry.at("workbench.safety.forms:header"), Path(path), READING)
    except WorkbenchError as error:
        because = f"Its kind is not known, since it could not be opened: {error}"
        return replace(plain, because=because, warnings=(*content.warnings, because))
    found = _of_header(header, path)
    return replace(
        found, format=content.name, format_detail=content.detail, size_bytes=size,
        warnings=(*content.warnings, *found.warnings),
    )  # fmt: skip


def _of_format(content: Format, path: str, size: int) -> Detection:
    """A file that is not ONNX: its format often says the kind, its markers the rest."""
    verdict = _verdict_on(content)
    evidence: tuple[Evidence, ...] = ()
    warnings = content.warnings
    if verdict.kind is not None:
        value = verdict.value or str(content)
        evidence = (Evidence("format", value, 1, (), verdict.kind, decides=verdict.kind != "unknown"),)
    if verdict.kind == "unknown":
        warnings += (verdict.because,)
    if content.runs_code:
        warnings += ("Loading it natively can run code from the file: open it only if you trust where it came from.",)
    return Detection(
        path=path, format=content.name, format_detail=content.detail, size_bytes=size, kind=verdict.kind,
        engine=verdict.engine, because=verdict.because, evidence=evidence,
        paper_rule=PaperRule(None, "the rule reads ONNX files only"), components=None, warnings=warnings,
    )  # fmt: skip


def _verdict_on(content: Format) -> Verdict:
    record = registry.of(content.name)
    if record.holds:
        return Verdict(None, f"It holds {record.holds}.")
    if isinstance(record.kind, tuple):
        kind, because = record.kind
        return Verdict(kind, because.format(shown=content), engine=record.engine)
    verdict: Verdict = registry.at(record.kind)(content) if record.kind else unclear(content)
    return verdict


def _folder_size(path: str) -> int:
    """Bytes of the files within a folder, links not followed; of the first 10,000 where there are more."""
    total = 0
    for file in islice((os.path.join(root, name) for root, _, files in os.walk(path) for name in files), 10_000):
        with suppress(OSError):  # gone meanwhile, or not ours to see
            total += os.lstat(file).st_size
    return total
