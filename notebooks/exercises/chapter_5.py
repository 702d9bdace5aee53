"""Chapter 5: telling the kind of a model."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from workbench import WorkbenchError, detect, load_engine
from workbench.engines import Engine
from workbench.kind import Detection, our_rule
from workbench.paper.data import dataset

from . import Verdict, not_yet, right


def _looked_at(path: Any) -> Detection | Verdict:
    """What `detect` says of an answer that should be the path of an ONNX file; a verdict where it is none."""
    if not isinstance(path, str | os.PathLike):
        return not_yet(f"The answer should be the path of a file, but it is a {type(path).__name__}.")
    try:
        found = detect(path)
    except WorkbenchError as error:
        return not_yet(f"The workbench says: {error}")
    if found.header is None:
        return not_yet(f"{Path(path).name} is no ONNX file: its format is {found.format}.")
    return found


def _deciding_op_type(answer: object) -> Verdict:
    """5.1, with the machine fitted and converted here."""
    if isinstance(answer, Detection):
        return not_yet("This is all that detect found. Which single op_type in it is marked as deciding?")
    said = str(answer).rpartition(":")[2].strip().lower()
    header = _support_vectors()
    _, _, evidence, _ = our_rule(header)
    wanted = {one.value.rpartition(":")[2].lower() for one in evidence if one.decides and one.signal == "op_type"}
    if said in wanted:
        return right("The whole machine is one node of the family ai.onnx.ml, and only classical models have it.")
    if said in ("ml", "dl", "snn", "unknown"):
        return not_yet("This is a kind. Which operator is the evidence for it?")
    if said == header.producer_name.lower():
        return not_yet("This is the producer_name. It is evidence too, but no op_type.")
    if said in {op_type.lower() for _, op_type in header.op_types()}:
        return not_yet(
            "This operator is in the file, but it is not what decides: look for the word decides in the card."
        )
    if said in ("svc", "svm"):
        return not_yet("This is what scikit-learn calls it. What is the operator in the ONNX file called?")
    return not_yet("The file of the support vector machine has no operator of this name.")


def _support_vectors() -> Any:
    """The header of an SVC on the flowers, as ONNX."""
    from skl2onnx import to_onnx
    from sklearn.svm import SVC

    from workbench.files.header import parse_header

    flowers = dataset("iris")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skl2onnx reads attributes that scikit-learn is about to drop
        machine = to_onnx(SVC().fit(flowers.inputs, flowers.targets), flowers.inputs[:1])
    return parse_header(machine.SerializeToString())


def _answered(answer: object) -> Verdict:
    """5.2"""
    found = _looked_at(answer)
    if isinstance(found, Verdict):
        return found
    theirs, domain = found.paper_rule.kind, found.header.domain if found.header else ""
    if found.kind != "DL":
        return not_yet(f"This file is no copy of LeNet-1: its kind is {found.kind}.")
    if theirs is None and domain:
        return not_yet(f"The rule does not know the domain {domain!r}, so it has no answer. Which two does it know?")
    if theirs is None:
        return not_yet("The rule has no answer: the text that its second question asks for is still empty.")
    if theirs != "DL":
        return not_yet(f"Now the rule answers, but wrongly: it says {theirs} because of the domain {domain!r}.")
    if not any(op_type.startswith("com.microsoft") for op_type in (found.components or {}).get("op_types", {})):
        return not_yet("The rule answers right, but this is no copy of the optimised file: nothing in it is fused.")
    return right(
        "One text, and no operator, weight or answer changed: that is all the rule's second question looks at."
    )


def _fooled(answer: object) -> Verdict:
    """5.3"""
    found = _looked_at(answer)
    if isinstance(found, Verdict):
        return found
    theirs = found.paper_rule.kind
    if theirs != "SNN":
        return not_yet(
            f"The paper's rule is not fooled: it says {theirs or 'nothing'}, since {found.paper_rule.because}."
        )
    if found.kind != "SNN":
        return right("A name anybody may give is no evidence; ours looked into the body of the function.")
    if found.header is not None and not found.header.functions:
        return not_yet(
            "No body of a function is in the file, so nothing in it contradicts the name; ours believes it as well."
        )
    return not_yet("Ours says SNN too: the body in the file compares, loops or remembers, as a neuron would.")


def _hidden(answer: object) -> Verdict:
    """5.4: another verdict, the same answers to random rows."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return not_yet("The answer should be a pair: (the path of the file of the table, the path of yours).")
    before, after = (_looked_at(path) for path in answer)
    if isinstance(before, Verdict):
        return before
    if isinstance(after, Verdict):
        return after
    if Path(before.path).name.startswith("mlp"):
        return not_yet("The table shows already what becomes of the MLP. Take another file.")
    if before.kind == "unknown":
        return not_yet("Nothing is left to hide: of the first file, detect does not know the kind either.")
    if before.kind == after.kind:
        decided = ", ".join(f"{one.signal} {one.value}" for one in after.deciding)
        return not_yet(f"Of yours, detect still says {after.kind}. What decided: {decided}.")
    with load_engine(before.path, "onnxruntime") as first, load_engine(after.path, "onnxruntime") as second:
        rows = _random_rows(first)
        ours, theirs = (list(engine.run(rows).values()) for engine in (first, second))
    if [a.shape for a in ours] != [a.shape for a in theirs]:
        return not_yet("The two files give answers of other numbers or shapes, so they are not the same model.")
    if not all(_same(a, b) for a, b in zip(ours, theirs, strict=True)):
        return not_yet("The two files give different answers to the same rows, so they are not the same model.")
    return right(
        f"The answers are the same, but detect says {after.kind} where it said {before.kind}: {after.because} "
        "A verdict can only be as good as the evidence in the file."
    )


def _random_rows(engine: Engine) -> list[np.ndarray]:
    """Five rows for every input; each free axis after the first is 1 long."""
    rng = np.random.default_rng(5)
    shapes = [
        [5, *(axis if isinstance(axis, int) else 1 for axis in (value.shape or (5,))[1:])] for value in engine.inputs
    ]
    return [rng.uniform(0, 5, shape).astype(value.dtype) for shape, value in zip(shapes, engine.inputs, strict=True)]


def _same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    if ours.dtype.kind in "fc" and theirs.dtype.kind in "fc":
        return np.allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    return ours.tolist() == theirs.tolist()


EXERCISES = {"5.1": _deciding_op_type, "5.2": _answered, "5.3": _fooled, "5.4": _hidden}
