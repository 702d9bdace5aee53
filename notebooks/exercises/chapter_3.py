"""Judges of chapter 3: machine learning and deep learning to ONNX."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from workbench import Conversion, ConversionDisagrees, Detection, NeedsTrust, UnsupportedModel, detect, load_engine
from workbench.paper.data import dataset

from . import Verdict, not_yet, right


def _file_of(answer: object) -> Detection | Verdict:
    """What the ONNX file of a conversion, or a path, holds; or why there is none."""
    if hasattr(answer, "predict"):
        return not_yet("This is the scikit-learn model itself. The answer is what convert gives back for it.")
    path = answer.output if isinstance(answer, Conversion) else answer
    if not isinstance(path, str | Path):
        return not_yet(f"This is of type {type(answer).__name__}. The answer is what convert gives back.")
    if not Path(path).is_file():
        return not_yet(f"There is no file {path}.")
    found = detect(path)
    if found.header is None:
        return not_yet(f"This file is in the format {found.format}: it was not converted yet.")
    return found


def _labels_of_iris(path: str) -> np.ndarray | None:
    """The class the file names for each flower; None where it takes something else, or names none."""
    flowers = dataset("iris")
    with load_engine(path) as engine:
        if [value.shape[1:] for value in engine.inputs if value.shape] != [(4,)]:
            return None
        answers = engine.run(flowers.inputs.astype(engine.inputs[0].dtype))
    return next((a.reshape(-1) for a in answers.values() if a.dtype.kind in "iuUO" and a.size == len(a)), None)


def _tree(answer: object) -> Verdict:
    found = _file_of(answer)
    if isinstance(found, Verdict):
        return found
    ops = found.components["op_types"] if found.components else {}
    if any("TreeEnsembleRegressor" in op for op in ops):
        return not_yet("This tree gives a number, a regression. Take the class of scikit-learn that names a class.")
    if not any("TreeEnsemble" in op for op in ops):
        return not_yet(
            f"There is no tree in this file; its operators are {', '.join(op.split(':')[-1] for op in ops)}."
        )
    node = next(node for node in found.header.graph.nodes if "TreeEnsemble" in node.op_type) if found.header else None
    labels = _labels_of_iris(found.path)
    if labels is None:
        return not_yet("This file does not take the four lengths of an iris flower, or does not name a class.")
    share = float(np.mean(labels.astype(str) == dataset("iris").targets.astype(str)))
    if share < 0.9:
        return not_yet(f"The file names only {share:.0%} of the flowers rightly. Was it fitted on their species?")
    trees = _trees(found.path)
    if trees != 1:
        return not_yet(f"There are {trees} trees in this file: that is a forest. The exercise asks for a single tree.")
    return right(f"One {node.op_type if node else 'node'} with one tree; it names {share:.0%} of the flowers rightly.")


def _trees(path: str) -> int:
    """How many trees the ensembles of a file have."""
    import onnx

    lists = (a.ints for node in onnx.load(path).graph.node for a in node.attribute if a.name == "nodes_treeids")
    return sum(len(set(numbers)) for numbers in lists)


def _kernel(answer: object) -> Verdict:
    if not callable(answer):
        return not_yet("The answer is a function: def answer(kernel), which returns an array.")
    # Four sizes that differ, so that no two dimensions can be taken for each other.
    kernel = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)
    given = answer(kernel)
    if given is None:
        return not_yet("The function gives nothing back: is there a return in it?")
    given = np.asarray(given)
    wanted = np.moveaxis(np.moveaxis(kernel, 3, 0), 3, 1)
    if np.array_equal(given, wanted):
        return right(f"{kernel.shape} became {given.shape}, and every number is where it belongs.")
    if given.shape == wanted.shape:
        return not_yet(
            "The shape is right, but the numbers were poured into it in their old order, as reshape does. The "
            "dimensions must change places, and the numbers go with them."
        )
    if given.shape == kernel.shape:
        return not_yet("The shape is what it was: this kernel is still ordered as Keras orders it.")
    if np.array_equal(given, kernel.T):
        return not_yet(
            "This turns all dimensions around, so that width comes before height. With a square kernel nobody "
            "would see it in the shape, and the network would read every picture mirrored along its diagonal."
        )
    if np.array_equal(given, np.moveaxis(kernel, 3, 0)):
        return not_yet("The outputs come first now. Where do the inputs belong?")
    if given.ndim == 1:
        return not_yet("This is a shape, or a row of numbers. The function gives back the turned kernel itself.")
    if given.shape == (5, 7, 2, 3):
        return not_yet("Height and width are last now, as they should be. Which of the other two comes first?")
    return not_yet(f"A kernel of {kernel.shape}, height, width, input, output, became {given.shape}: not OIHW.")


def _device(answer: object) -> Verdict:
    found = _file_of(answer)
    if isinstance(found, Verdict):
        return found
    assert found.header is not None
    ops = found.header.op_types()
    names = [str(op).split(":")[-1] for op in (found.components or {}).get("op_types", ())]
    if "TopK" not in names:
        return not_yet("This file does not look for the nearest flowers: it is another model than KNN.")
    foreign = [
        op for op in (found.components or {})["op_types"] if op.split(":")[0] not in ("", "ai.onnx", "ai.onnx.ml")
    ]
    opset = found.header.opset_import.get("", found.header.opset_import.get("ai.onnx", 0))
    if foreign and opset > 12:
        return not_yet(f"Two things stand in the way: {foreign[0]} is not of the standard, and its opset is {opset}.")
    if foreign:
        return not_yet(f"The opset is low enough, but the operator {foreign[0]} is not of the standard.")
    if opset > 12:
        return not_yet(f"Every operator is of the standard, but the opset is {opset}, which the engine does not know.")
    if _labels_of_iris(found.path) is None:
        return not_yet("This file does not take the four lengths of an iris flower, or does not name a class.")
    return right(f"Opset {opset}, and all {len(ops)} kinds of operators are of the standard.")


def _refused(answer: object) -> Verdict:
    if isinstance(answer, Conversion) and answer.output is not None:
        return not_yet("This conversion succeeded. Look for an estimator with which convert raises an error.")
    if isinstance(answer, Conversion | ConversionDisagrees):
        return not_yet("Here the converter did its work and the answers differ: a disagreement, not a refusal.")
    if isinstance(answer, NeedsTrust):
        return not_yet("This file was not opened because it can run code. With your trust it may well be converted.")
    if isinstance(answer, str):
        return not_yet("This is a text. The answer is the error itself, as except … as error gives it.")
    if not isinstance(answer, UnsupportedModel):
        return not_yet(
            f"This is of type {type(answer).__name__}. A refusal of convert is another error; read its name in the "
            "text above. Was the estimator fitted before?"
        )
    if re.search(r"\bDBSCAN\b", str(answer)):  # HDBSCAN is another one
        return not_yet("This is the estimator of the text. Find another one.")
    if "does not run" in str(answer):
        return not_yet(
            "Nearly: skl2onnx has a converter for this one, but the graph that it wrote does not run. Find one for "
            "which it has none."
        )
    if "converter" not in str(answer) and "convert" not in str(answer):
        return not_yet(f"This says something else: {str(answer)[:150]}")
    return right(
        f"{str(answer).split('. ')[0].rstrip('.')}. Can its answer be computed with sums, products and a minimum?"
    )


EXERCISES: dict[str, Callable[[object], Verdict]] = {"3.1": _tree, "3.2": _kernel, "3.3": _device, "3.4": _refused}
