"""The workbench by hand and by its traits."""

from __future__ import annotations

from pathlib import Path

from workbench import Comparison, convert, detect
from workbench.kind import Detection
from workbench.paper import make_sample

from . import Verdict, not_yet, right

MODELS = Path("models")
"""Where the workbench makes the paper's models."""


def _deciding(answer: object) -> Verdict:
    """0.1"""
    found = detect(make_sample("iris-random-forest", MODELS))
    said = str(answer).rpartition(":")[2].strip().lower()
    wanted = {one.value.rpartition(":")[2].lower() for one in found.deciding if one.signal == "op_type"}
    if said in wanted:
        return right("The whole forest is one node, and only classical models have it.")
    if said in ("ml", "dl", "snn"):
        return not_yet("This is a kind. Which operator is the evidence for it? Look at the table Evidence.")
    if said in {one.value.lower() for one in found.deciding}:
        return not_yet("This decides as well, but it is no op_type: look at the column signal.")
    return not_yet("The evidence for this file names no such op_type. Look for the word decides.")


def _nodes(answer: object) -> Verdict:
    """0.2, by every ONNX file of K-means that was made here: its options may change the graph."""
    made = list(MODELS.glob("k_means*.onnx")) or [Path(str(convert(make_sample("k-means", MODELS)).output))]
    headers = [found.header for found in map(detect, made) if found.header and _clusters(found)]
    number, graphs = int(str(answer)), [header.graph for header in headers]
    if number in (len(graph.nodes) for graph in graphs):
        return right("A few plain operators are enough for K-means: distances to the centres, and the nearest of them.")
    if number in (len(graph.nodes) + len(graph.inputs) + len(graph.outputs) for graph in graphs):
        return not_yet("These are all boxes that Netron draws. Those of inputs and outputs are no nodes.")
    if number in (len(graph.initializers) for graph in graphs):
        return not_yet("This is the number of initializers, the stored numbers. How many operators are there?")
    if number in (len(header.op_types()) for header in headers):
        return not_yet("This is how many different op_types there are. One of them occurs more than once.")
    return not_yet("The graph of the ONNX file has another number of nodes. The step Graph says it.")


def _clusters(found: Detection) -> bool:
    return any(one.value == "ArgMin" for one in found.evidence)


def _differing(answer: object) -> Verdict:
    """0.3"""
    if answer is None:
        return not_yet("Nothing has been compared yet, so wb.comparison is None. Start a comparison first.")
    if not isinstance(answer, Comparison):
        return not_yet("The answer should be the comparison itself, wb.comparison, as the workbench keeps it.")
    agreement = answer.agreement
    if agreement.within_tolerance:
        return not_yet("In this comparison both sides agree. Is the ONNX file made from the same model?")
    frame = answer.frame
    apart = int((~frame.agrees.astype(bool)).sum())
    flips = agreement.label_mismatches
    return right(
        f"{apart} of {len(frame)} rows are answered differently, and {flips} get another label: these are two models, "
        "not two forms of one."
    )


EXERCISES = {"0.1": _deciding, "0.2": _nodes, "0.3": _differing}
