"""The kind of a model - classical ML, deep learning, spiking network - and the evidence that settles it.

Two rules stand side by side. `paper_rule` is Fig. 7a of Kim, Han and Heo (JIIBC 21(3), 2021), word for word: a
spiking op_type, else ``ModelProto.domain``. Converters stopped writing that domain, so `our_rule` asks what the
model does (`structure.py`), and who made it only where structure leaves both answers open. Where neither
tells, the answer is ``unknown`` and why, never a guess.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import safety
from ..errors import LEVELS, Finding, Level
from ..files import registry
from ..files.formats import against_name, identify, identify_bytes
from ..files.header import Header, read_header
from ..files.records import Format, Verdict, unclear
from ..files.registry import ENGINE_NAMES as ENGINE_NAMES
from ..files.wire import Steps, opened
from .structure import Structure, examine

PAPER_NEURONS = ("LIF", "LIFRate", "AdaptiveLIF", "AdaptiveLIFRate", "Izhikevich", "SoftLIFRate")
"""The spiking op_types of the paper authors' code."""

KIND_NAMES = {
    "ML": "classical machine learning",
    "DL": "deep learning",
    "SNN": "spiking neural network",
    "unknown": "model of unknown kind",
}

# producer_name, lower case, as converters write it. Those in neither list decide nothing.
ML_PRODUCERS = ("skl2onnx", "sklearn-onnx", "hummingbird", "xgboost", "lightgbm", "catboost", "sparkml")
DL_PRODUCERS = (
    "tf2onnx", "pytorch", "keras2onnx", "keras", "tensorflow", "paddle", "mxnet", "cntk", "chainer", "jax2onnx",
    "caffe2", "caffe", "mindspore", "matlab", "neural network toolbox", "deep learning toolbox", "onnx-caffe2",
    "onnxruntime.transformers", "nnabla", "optimum", "winmltools", "darknet", "yolo",
)  # fmt: skip
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
        return {
            "signal": self.signal, "value": self.value, "count": self.count, "nodes": list(self.nodes),
            "supports": self.supports, "decides": self.decides,
        }  # fmt: skip


@dataclass(frozen=True)
class PaperRule:
    """What Fig. 7a says: a kind, or None where it has no answer, and the step that said so."""

    kind: str | None
    because: str

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "because": self.because}


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
        return {
            "path": self.path, "format": self.format, "format_detail": self.format_detail,
            "size_bytes": self.size_bytes, "kind": self.kind, "engine": self.engine, "because": self.because,
            "evidence": [signal.to_dict() for signal in self.evidence], "paper_rule": self.paper_rule.to_dict(),
            "components": self.components, "warnings": list(self.warnings),
            "findings": [finding.to_dict() for finding in self.findings],
        }  # fmt: skip

    def _repr_html_(self) -> str:
        from ..show.card import card

        return card(self)


def detect(path: str | os.PathLike[str]) -> Detection:
    """Tell what a file is: its format, and for a model its kind with the evidence.

    Reads headers only, runs nothing from the file, and takes about a millisecond for most files of any size. At most
    it takes `READING` and `LOOKING` steps, about a second: what a file holds beyond them is left out, and a warning
    says so.

    Raises:
        UnreadableFile: no such file, no permission, or an ONNX file that is truncated or damaged.
    """
    name = os.fsdecode(path)
    findings: tuple[Finding, ...] = ()
    steps = Steps(READING)
    if not os.path.isfile(name) or os.path.getsize(name) == 0:
        what = identify(name, steps)  # a folder, nothing, or an empty file
        detection = _of_format(what, name, _folder_size(name))
        if (main := registry.main_file(Path(name), what.name)) is not None:
            with opened(main) as buffer:
                findings = safety.glance(Path(name), buffer, what, steps)
        return _with(detection, findings)
    with opened(name) as buffer:
        what = against_name(identify_bytes(buffer, steps), name)
        if what.name != "ONNX":
            return _with(_of_format(what, name, len(buffer)), safety.glance(Path(name), buffer, what, steps))
        header = read_header(name, buffer, steps=steps)
    detection = _of_header(header, name)
    detection = replace(detection, warnings=(*what.warnings, *detection.warnings))
    findings = safety.external.findings(Path(name), header)
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
    """Our rule: what the model does, then who made it.

    Returns:
        (kind, because, evidence, warnings).
    """
    found = examine(header, Steps(LOOKING))
    producer = header.producer_name.strip().lower()
    made_ml = producer.startswith(ML_PRODUCERS)
    made_dl = producer.startswith(DL_PRODUCERS)
    signals = _signals(header, found, made_ml, made_dl)
    kind, because, deciders, warnings = _verdict(header, found, made_ml, made_dl)
    marked = tuple(
        replace(s, decides=kind != "unknown" and s.signal in deciders and s.supports == kind) for s in signals
    )
    if not found.complete:
        warnings += ("How its values flow was followed in part only: it would take too long to follow them all.",)
    if kind == "unknown" and (header.in_part or not found.complete):
        because = "Nothing tells its kind in the part of it that was looked at."
        warnings = (because, *warnings[1:])
    if found.unused_functions and not header.in_part:
        names = ", ".join(found.unused_functions[:3])
        warnings += (f"{len(found.unused_functions)} function(s) in the file are never called: {names}.",)
    return kind, because, marked, warnings


def _verdict(
    header: Header, found: Structure, made_ml: bool, made_dl: bool
) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
    """(kind, because, names of the deciding signals, warnings): the rule itself, top to bottom."""
    if found.neurons:
        return "SNN", f"It holds spiking neurons: {_list(found.neurons)}.", ("op_type",), ()
    if found.spike_resets:
        because = (
            "Its operators integrate, fire and reset: a threshold whose spike is subtracted from the state it came "
            f"from, {'' if found.complete else 'at least '}{found.spike_resets} times over."
        )
        return "SNN", because, ("dynamics",), ()

    network = bool(found.layers) or found.depth >= 2
    inside = _list(found.layers) if found.layers else "matrix products with nonlinearities between them"
    inner = (f"There is a neural network inside ({inside}).",) if network else ()
    if made_ml:
        known = found.predictors or found.features or found.distances or found.extractors
        what = "It predicts" if found.predictors else "It computes"
        what = f"{what} with {_list(known)}" if known else "It is an estimator or a transformer of features"
        what = f"It is an estimator with a neural network inside ({inside})" if network else what
        because = f"{what}; {header.producer_name}, a converter of classical machine learning, made it."
        return "ML", because, ("producer_name", "op_type"), inner
    if found.sklearn_names and not found.layers and not found.framework_names and not made_dl:
        what = "An estimator with a neural network inside" if network else "An estimator or transformer"
        because = f"{what}: its tensors carry the names skl2onnx gives ({_list(found.sklearn_names)})."
        return "ML", because, ("names", "op_type") if found.predictors else ("names",), inner
    if found.predictors and network:
        both = f"a neural network ({inside}) with a classical head ({_list(found.predictors)})"
        return "DL", f"It is {both}.", ("op_type", "network"), (f"This model is both: {both}.",)
    if found.predictors:
        return "ML", f"It predicts with {_list(found.predictors)}.", ("op_type",), ()
    if found.layers:
        return "DL", f"It is built of neural-network layers: {_list(found.layers)}.", ("op_type",), ()
    if made_dl:
        return _made_by_framework(header, found)
    if network:
        if found.extractors:
            because = (
                "It is a small neural network that picks its label with ArrayFeatureExtractor, as converted "
                "scikit-learn classifiers do; the file does not say whether it is one."
            )
            return "unknown", because, (), (because,)
        if found.features:
            because = (
                f"Features ({_list(found.features)}) feed a small neural network: a scikit-learn pipeline around an "
                "MLP and a network with its preprocessing look the same, and the file does not say who made it."
            )
            return "unknown", because, (), (because,)
        return (
            "DL",
            f"It stacks {found.depth} learnt matrix products with nonlinearities between them.",
            ("network",),
            (),
        )
    if found.features or found.extractors:
        found_here = found.features or found.extractors
        return "ML", f"It computes with classical feature operators: {_list(found_here)}.", ("op_type",), ()
    if found.distances:
        return "ML", f"It decides by distance or density: {_list(found.distances)}.", ("op_type",), ()
    if found.framework_names and found.products and (found.products > 1 or not found.plain_linear):
        because = f"Its tensors carry the names of a deep-learning framework ({_list(found.framework_names)})."
        return "DL", because, ("names",), ()
    because = _why_unknown(found)
    return "unknown", because, (), (because,)


def _made_by_framework(header: Header, found: Structure) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
    """A deep-learning framework wrote the file, but no operator alone proves a network."""
    name = header.producer_name
    if found.depth >= 2:
        because = f"{name} exports neural networks, and it stacks {found.depth} learnt products with bends between."
        return "DL", because, ("producer_name", "network"), ()
    if found.decisions:
        because = (
            f"{name} made it, but comparisons beside looked-up or multiplied tables and no stacked layers can be a "
            "network as well as decision trees compiled to tensor operators; the file alone cannot tell."
        )
        return "unknown", because, (), (because,)
    if found.products or found.activations or found.embeddings:
        return (
            "DL",
            f"{name} exports neural networks, and it holds learnt layers or activations.",
            ("producer_name",),
            (),
        )
    because = f"{name} made it, but it holds no layer, activation or learnt matrix product: only tensor arithmetic."
    return "unknown", because, (), (because,)


def _why_unknown(found: Structure) -> str:
    if not found.total:
        return "The graph has no operators."
    if found.products and found.plain_linear:
        return (
            "It is a single matrix product: linear regression, PCA and one Dense layer look exactly the same, and "
            "nothing in the file says which it is."
        )
    return f"Its operators ({_list(found.common)}) belong to no kind in particular, and no known tool signed the file."


def _signals(header: Header, found: Structure, made_ml: bool, made_dl: bool) -> tuple[Evidence, ...]:
    """Everything found that speaks for a kind, whether or not it will decide."""

    def ops(groups: Iterable[tuple[str, dict[str, list[str]]]]) -> Iterable[Evidence]:
        for kind, group in groups:
            for op_type, nodes in group.items():
                yield Evidence("op_type", op_type, len(nodes), tuple(nodes[:MAX_NODES_NAMED]), kind)

    out = list(
        ops(
            [
                ("SNN", found.neurons),
                ("ML", found.predictors),
                ("ML", found.features),
                ("ML", found.distances),
                ("ML", found.extractors),
                ("DL", found.layers),
            ]
        )
    )
    if found.spike_resets:
        nodes = tuple(found.reset_nodes[:MAX_NODES_NAMED])
        out.append(Evidence("dynamics", "integrate, fire and reset", found.spike_resets, nodes, "SNN"))
    if found.depth >= 2 or found.layers:
        value = f"{found.depth} learnt products with nonlinearities between" if found.depth >= 2 else "network layers"
        out.append(Evidence("network", value, max(found.depth, 1), tuple(found.chain[:MAX_NODES_NAMED]), "DL"))
    if header.producer_name:
        supports = "ML" if made_ml else "DL" if made_dl else "unknown"
        out.append(Evidence("producer_name", header.producer_name, 1, (), supports))
    for kind, names in (("ML", found.sklearn_names), ("DL", found.framework_names)):
        if names:
            total = sum(len(group) for group in names.values())
            out.append(Evidence("names", _list(names), total, (), kind))
    if header.domain:
        supports = {"ai.onnx": "ML", "onnxml": "ML", "onnx": "DL"}.get(header.domain, "unknown")
        out.append(Evidence("domain", header.domain, 1, (), supports))
    return tuple(out)


def _list(group: Iterable[str], most: int = 4) -> str:
    names = [name.removeprefix("ai.onnx.ml:") for name in group]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


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
    total = seen = 0
    for root, _, names in os.walk(path):
        for name in names:
            seen += 1
            if seen > 10_000:
                return total
            with suppress(OSError):  # gone meanwhile, or not ours to see
                total += os.lstat(os.path.join(root, name)).st_size
    return total
