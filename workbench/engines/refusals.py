"""Why ONNX Runtime does not load a model: one table from what it says to a sentence that a person can act on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import UnsupportedModel
from ..files.header import Header, Node
from ..words import listed, visible
from .rewritten import OLDEST

STANDARD = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training")
"""Domains that ONNX itself defines, which its reference implementation runs."""

REFERENCE = "ONNX's own reference implementation may run it, slowly: load_engine(path, 'reference')"

PACKAGES = {
    "com.microsoft": "other builds of ONNX Runtime may have it (for GPUs, or a newer version)",
    "ai.onnx.contrib": "package onnxruntime-extensions has it: once installed, it is used here by itself",
    "com.microsoft.extensions": "package onnxruntime-extensions has it: once installed, it is used here by itself",
    "org.pytorch.aten": "PyTorch's exporter left it in: export the model again, with a newer opset",
    "mmdeploy": "library mmdeploy has it",
    "trt.plugins": "NVIDIA's TensorRT has it",
}
"""Domain -> where operators of it are found, of those that are no maker's own secret."""

EXTENSIONS = ("ai.onnx.contrib", "com.microsoft.extensions")
"""Domains of package onnxruntime-extensions."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What ONNX Runtime said about a file."""

    said: re.Match[str]
    header: Header

    @property
    def opset(self) -> int:
        """Of ONNX's default operators."""
        return self.header.opset_import.get("", 0)


def _unknown_operator(refused: Refused) -> str:
    domain, op_type = refused.said["domain"] or "", refused.said["op"]
    # In the default domain ONNX Runtime names none.
    domains = {node.domain for node in refused.header.nodes() if node.op_type == op_type}
    domain = domain or next(iter(domains), "")
    opset = refused.header.opset_import.get(domain)
    where = f"domain {domain or 'ai.onnx'}" + (f", opset {opset}" if opset is not None else "")
    says = f"it has no operator {op_type} ({where})"
    if domain in STANDARD:
        return f"{says}; {REFERENCE}"
    return f"{says}; " + PACKAGES.get(domain, "the model needs the engine this operator was made for")


def _no_kernel(refused: Refused) -> str:
    op_type, version = refused.said["op"], int(refused.said["since"])
    if 0 < refused.opset < OLDEST:
        return (
            f"the model's operators are of opset {refused.opset}, and it runs those of {OLDEST} and later; {REFERENCE}"
        )
    types = _types(refused.header, op_type)
    on = f" on {listed(types)}" if types else ""
    return f"it has no CPU kernel for {op_type} as of opset {version}{on}; {REFERENCE}"


def _types(header: Header, op_type: str) -> list[str]:
    """The dtypes that such a node reads and writes, as far as the file says."""
    known = {value.name: value.sort for value in (*header.graph.inputs, *header.graph.outputs)}
    known |= {tensor.name: tensor.dtype for tensor in header.graph.initializers.values()}
    nodes: list[Node] = [node for node in header.graph.nodes if node.op_type == op_type]
    names = [name for node in nodes for name in (*node.inputs, *node.outputs)]
    return sorted({known[name] for name in names if name in known and known[name] != "undefined"})


def _too_new(refused: Refused) -> str:
    given, most, domain = (refused.said[name] for name in ("given", "most", "domain"))
    return f"the model's operators of {domain} are of opset {given}, and it knows those up to {most}; {REFERENCE}"


def _ir_version(refused: Refused) -> str:
    return (
        f"the model is of IR version {refused.said['given']}, and it reads those up to {refused.said['most']}: update "
        "ONNX Runtime, or have the file written for an older one"
    )


def _locale(refused: Refused) -> str:
    locale = refused.said["locale"]
    return (
        f"the model asks for the locale {locale}, which this machine has not: add it (on Debian: locale-gen {locale}), "
        f"or have the model made with the locale C; {REFERENCE}"
    )


REASONS: tuple[tuple[re.Pattern[str], Callable[[Refused], str]], ...] = (
    (re.compile(r"(?P<domain>[\w.]*):(?P<op>\w+)\(-?\d+\) is not a registered function/op"), _unknown_operator),
    (re.compile(r"No Op registered for (?P<op>\w+) with domain_version of \d+(?P<domain>)"), _unknown_operator),
    (re.compile(r"Could not find an implementation for (?P<op>\w+)\((?P<since>\d+)\)"), _no_kernel),
    (re.compile(r"Failed to find kernel for (?P<op>\w+)\((?P<since>\d+)\)"), _no_kernel),
    (
        re.compile(
            r"Opset (?P<given>\d+) is under development.*"
            r"support for domain (?P<domain>\S+) is till opset (?P<most>\d+)",
            re.S,
        ),
        _too_new,
    ),
    (re.compile(r"Unsupported model IR version: (?P<given>\d+), max supported IR version: (?P<most>\d+)"), _ir_version),
    (re.compile(r"Failed to construct locale with name:(?P<locale>[^:\s]+)"), _locale),
)
"""What ONNX Runtime says -> why, as the rest of a sentence. The wording is tested: an update that changes it shows."""

OF_OPSETS = (_no_kernel, _too_new)
"""Reasons that operators of another opset may mend."""


def may_be_mended(message: str) -> bool:
    """Whether ONNX Runtime may load the model once its operators are of another opset."""
    return any(pattern.search(message) and says in OF_OPSETS for pattern, says in REASONS)


def refusal(path: str, message: str, header: Header, version: str) -> UnsupportedModel:
    """One sentence for what `InferenceSession` said about a file."""
    found = ((pattern.search(message), says) for pattern, says in REASONS)
    because = next((says(Refused(said, header)) for said, says in found if said), plain(message))
    return UnsupportedModel(f"ONNX Runtime {version} cannot load {path}: {because}.")


LONGEST = 300


def plain(message: str) -> str:
    """The first sentence or two of an ONNX Runtime error, without its codes, C++ places and empty names."""
    message = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", message)
    message = re.sub(r"^Load model from .*? failed:\s*", "", message)
    # "/onnxruntime_src/…/reshape_helper.h:91 onnxruntime::ReshapeHelper(const TensorShape&, bool) a == b was false."
    message = re.sub(r"/onnxruntime_src/\S+:\d+ .*?\)\s+", "", message)
    message = re.sub(r"^[\w:]+ == [\w:]+ was false\. ", "", message)
    message = re.sub(r" (?:node )?with name ''|\bName:'' ?|\(node:'' ep:'\w+'\)", "", message)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    first = visible((lines or ["no reason given"])[0], len(message), "")
    if len(first) > LONGEST:
        # What is wrong stands at the end as often as at the beginning.
        first = f"{first[: LONGEST * 2 // 3]} … {first[-LONGEST // 3 :]}"
    return first.rstrip(". ")
