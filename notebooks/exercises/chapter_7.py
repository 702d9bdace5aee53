"""Chapter 7: the claims of the paper, and what holds today."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from workbench import Conversion, Detection, UnsupportedModel, WorkbenchError, convert, detect
from workbench.paper.models import estimator

from . import Verdict, not_yet, right

ESTIMATORS = ("Linear regression", "Logistic regression", "Random forest", "KNN", "K-means")
TRIED = {"LinearRegression", "LogisticRegression", "RandomForestClassifier", "KNeighborsClassifier", "KMeans"}
"""The classes of the paper's Table 3."""


def _families(found: Detection) -> set[str]:
    assert found.components is not None
    return {op.partition(":")[0] for op in found.components["op_types"]}


@cache
def _found_without_family() -> frozenset[str]:
    found = set()
    with tempfile.TemporaryDirectory() as folder:
        for name in ESTIMATORS:
            convert(estimator(name)[0], Path(folder, f"{name}.onnx"))
            if "ai.onnx.ml" not in _families(detect(Path(folder, f"{name}.onnx"))):
                found.add(name.casefold())
    return frozenset(found)


def _without_family(answer: object) -> Verdict:
    if isinstance(answer, str):
        answer = [answer]
    if not isinstance(answer, Iterable):
        return not_yet("Give a list of names, such as those in the first column of the table of claim 2.")
    named = {str(name).strip().casefold() for name in answer}
    known = {name.casefold() for name in (*ESTIMATORS, "DNN", "Spiking network")}
    if unknown := sorted(named - known):
        return not_yet(f"{unknown[0]!r} is no name in the table of claim 2.")
    if network := sorted(named & {"dnn", "spiking network"}):
        return not_yet(f"{network[0]!r} has none of those operators, but look at its kind: the question has two parts.")
    wanted = _found_without_family()
    if too_many := sorted(named - wanted):
        return not_yet(f"{too_many[0]!r} does use the family: the number in its row is not 0.")
    if named != wanted:
        return not_yet("Whatever you named is right, but it is not all: look for every row of kind ML with a 0.")
    return right("Such a file is told from a network by what its operators do together, not by their family.")


def _another_estimator(answer: object) -> Verdict:
    if isinstance(answer, str | os.PathLike):
        return not_yet("That is a path. The answer is what convert(…) gave back; keep it in a variable.")
    if not isinstance(answer, Conversion):
        return not_yet(f"That is a {type(answer).__name__}. The answer is what convert(…) gives back.")
    if answer.kind != "ML" or answer.converter["name"] in ("tf2onnx", "onnx-workbench"):
        return not_yet(f"That file's kind is {answer.kind}. The exercise asks for a scikit-learn model.")
    name = answer.source.removesuffix(" (in memory)")
    if name in TRIED:
        return not_yet(f"{name} is one of the five that the paper tried. Choose another class.")
    if not answer.agreement.within_tolerance:
        return not_yet("The two sides differ, so there is no file to speak of. Choose a model that can be converted.")
    return right(f"{name} keeps its answers: {answer.agreement.says}")


def _disguised(answer: object) -> Verdict:
    if not isinstance(answer, str | os.PathLike):
        return not_yet(f"That is a {type(answer).__name__}. The answer is the path of the file you saved.")
    if not os.path.isfile(answer):
        return not_yet("There is no such file. Save the changed model first, then give its path.")
    found = detect(answer)
    if found.format != "ONNX" or found.components is None:
        return not_yet(f"That file is {found.format}, not ONNX.")
    if found.kind != "DL":
        return not_yet(f"The workbench calls this file {found.kind}: the network itself was to stay as it is.")
    said = found.paper_rule
    if said.kind == "SNN":
        return not_yet("The rule says SNN now: a spiking op_type was added. ML is decided by something else.")
    if said.kind == "DL":
        return not_yet("The rule says DL now, which is true of this network. The exercise asks for the wrong kind, ML.")
    if said.kind is None:
        return not_yet(f"The rule has no answer for this file: {said.because}. Look at the right half of Fig. 7a.")
    return right("The network is the same, its file says something else, and the rule believes the file.")


def _refused(answer: object) -> Verdict:
    if isinstance(answer, type):
        return not_yet("That is a class. Make an estimator of it and fit it: Class().fit(inputs, targets).")
    if not hasattr(answer, "get_params"):
        return not_yet(f"That is a {type(answer).__name__}, not a scikit-learn estimator.")
    with tempfile.TemporaryDirectory() as folder:
        try:
            convert(answer, Path(folder, "model.onnx"))
        except UnsupportedModel as error:
            said = str(error)
        except WorkbenchError as error:
            return not_yet(f"It was refused, but not for its class: {error}")
        else:
            return not_yet(f"{type(answer).__name__} was converted, and both sides agree. Try another class.")
    if "fit" in said and "not fitted" in said:
        return not_yet("It is not fitted yet: call fit with some data first.")
    return right(f"So the claim holds for the classes that somebody wrote a converter for. It said: {said}")


EXERCISES = {"7.1": _without_family, "7.2": _another_estimator, "7.3": _disguised, "7.4": _refused}
