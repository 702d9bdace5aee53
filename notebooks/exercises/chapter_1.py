"""Chapter 1, why a common format: what files are, and what they do when they are opened."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from workbench import Detection, WorkbenchError, detect, load_engine
from workbench.paper.data import dataset
from workbench.safety import scan

from . import Verdict, not_yet, right


def _false_name(answer: object) -> Verdict:
    if isinstance(answer, str | Path):
        return not_yet("This is a path. The answer is what detect says about the file.")
    if not isinstance(answer, Detection):
        return not_yet(f"This is a {type(answer).__name__}. The answer is what detect gives.")
    if Path(answer.path).suffix != ".onnx":
        return not_yet(f"The name of this file ends in {Path(answer.path).suffix or 'nothing'}: it does not lie yet.")
    if answer.format == "ONNX":
        return not_yet("This file is what its name says. A conversion was made; here the name alone is to be ONNX's.")
    if answer.format not in ("joblib", "pickle"):
        return not_yet(f"The name lies, but the content is {answer.format}: nothing that joblib.dump writes.")
    if "LogisticRegression" in Path(answer.path).read_bytes().decode("latin1"):
        return not_yet("This is the logistic regression of the chapter. Fit another estimator.")
    return right(f"The name says ONNX, the content says {answer.format}. {' '.join(answer.warnings)}")


def _same_start(answer: object) -> Verdict:
    if not isinstance(answer, tuple | list | set) or len(answer) != 2:
        return not_yet("The answer is a pair of two paths: (path, path).")
    first, second = (Path(path) for path in answer)
    for path in (first, second):
        if not path.is_file():
            return not_yet(f"{path.name} is not a file; give whole paths, such as native / name.")
    starts = [path.read_bytes()[:4] for path in (first, second)]
    formats = [detect(path).format for path in (first, second)]
    if starts[0] != starts[1]:
        return not_yet(f"{first.name} begins with {starts[0]!r} and {second.name} with {starts[1]!r}: not equal.")
    if formats[0] == formats[1]:
        return not_yet(f"Both begin alike, but both are {formats[0]}. Their formats are to be different.")
    return right(
        f"Both begin with {starts[0]!r}, yet one is {formats[0]} and the other {formats[1]}. The first bytes only name "
        "a container, so detect looks at what lies inside."
    )


def _can_run_code(answer: object) -> Verdict:
    if isinstance(answer, str | Path):
        answer = [answer]
    if not isinstance(answer, Iterable):
        return not_yet("The answer is a list of paths.")
    paths = {Path(path) for path in answer}
    for path in sorted(paths):
        if not path.exists():
            return not_yet(f"There is no {path}; give whole paths, such as native / name.")
        if not scan(path).runs_code:
            return not_yet(
                f"{path.name} is in your list, but opening it runs no code from the file: ask scan about it."
            )
    if len({path.parent for path in paths}) != 1:
        return not_yet("The list is empty." if not paths else "All of them are to be in the folder native.")
    folder = next(iter(paths)).parent
    if not (folder / "flowers.keras").exists():
        return not_yet("This can run code, but it is not in the folder native.")
    if paths != {path for path in folder.iterdir() if scan(path).runs_code}:
        return not_yet(
            "Everything in your list is right, but something is missing. Do not go by names: ask scan or detect about "
            "every one of the ten."
        )
    return right(
        "These are made of pickle, or restore objects and run graphs that may use files. The others hold only numbers "
        "and names of known parts, as long as no one has put a Lambda layer or the like into them: scan looks for that."
    )


def _handover(answer: object) -> Verdict:
    folder = Path(str(answer))
    if not folder.is_dir():
        return not_yet("The answer is the path of a folder.")
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in files:
        if (found := detect(path)).format != "ONNX":
            return not_yet(f"{path.name} is {found.format}: ONNX Runtime cannot open it.")
    if len(files) < 3:
        return not_yet(f"The folder holds {len(files)} ONNX models; at least three are asked for.")
    producers = {str((detect(path).components or {}).get("producer_name")) for path in files}
    if len(producers) < 2:
        return not_yet(f"All of them come from one converter ({', '.join(producers)}).")
    flowers = dataset("iris")
    said: dict[str, np.ndarray] = {}
    for path in files:
        answers = _probabilities(path, flowers.inputs)
        if isinstance(answers, str):
            return not_yet(answers)
        share = float(np.mean(answers.argmax(1) == flowers.targets))
        if share < 0.9:
            return not_yet(f"{path.name} names only {share:.0%} of the flowers rightly.")
        for other, its in said.items():
            if np.abs(answers - its).max() < 1e-4:
                return not_yet(f"{path.name} and {other} give the same answers: they are the same model.")
        said[path.name] = answers
    return right(
        f"{len(files)} models from {', '.join(sorted(producers))}, and one loader ran them all. The program need "
        "not know which framework made a file, only what it takes and gives."
    )


def _probabilities(path: Path, rows: np.ndarray) -> np.ndarray | str:
    """What a model says of every flower, (rows, 3); or why that cannot be asked."""
    try:
        with load_engine(path, "onnxruntime") as engine:
            *_, answers = engine.run(rows).values()
    except WorkbenchError as error:
        return f"{path.name} does not take rows of four lengths: {error}"
    found: Any = np.asarray(answers)
    if found.shape != (len(rows), 3) or found.dtype.kind != "f":
        return f"The last output of {path.name} is not three numbers for each flower, one for each species."
    return found


EXERCISES = {"1.1": _false_name, "1.2": _same_start, "1.3": _can_run_code, "1.4": _handover}
