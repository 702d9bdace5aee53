"""ONNX's own node tests, through our engines: how many answers are right, and why the others are not.

Run it: make conformance
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from workbench import load_engine
from workbench.agreement import widened
from workbench.engines.values import unboxed
from workbench.errors import WorkbenchError

ENGINES = ("onnxruntime", "reference")

RANDOM = ("bernoulli", "dropout", "random", "multinomial")
"""Parts of the names of tests whose answers are drawn at random: none of them is right but by chance."""


@dataclass(frozen=True)
class Outcome:
    """What came of one test.

    Attributes:
        verdict: ``right``, ``random``, ``wrong there too`` (the tool by itself gives the same), ``wrong``, or
            ``refused``; why: the sentence of a refusal.
        converted: the operators were converted to another opset.
    """

    name: str
    verdict: str
    why: str = ""
    converted: bool = False


def cases() -> list[Any]:
    """The node tests of the installed onnx, in the order of their names."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings(action="ignore"):  # of numbers that overflow, as they are meant to
        return sorted(load_model_tests(kind="node"), key=lambda case: case.name)


def outcome(case: Any, engine: str, folder: Path) -> Outcome:
    """Ask one test in an engine; its file is written into the folder."""
    path = folder / "model.onnx"
    path.write_bytes(case.model.SerializeToString())
    names = [value.name for value in case.model.graph.input]
    converted = False
    try:
        with load_engine(path, engine, worker=False) as loaded:
            converted = "version_converter" in loaded.why
            for given, expected in case.data_sets:
                asked = dict(zip(names, map(value_of, given), strict=False))
                answers = loaded.run(asked)
                if all(map(alike, answers.values(), map(value_of, expected), [case.rtol] * len(answers))):
                    continue
                if any(word in case.name for word in RANDOM):
                    return Outcome(case.name, "random", converted=converted)
                there = _alone(case, engine, asked, list(answers.values()))
                return Outcome(case.name, "wrong there too" if there else "wrong", converted=converted)
    except WorkbenchError as error:
        return Outcome(case.name, "refused", str(error).replace(str(path), "the file"))
    return Outcome(case.name, "right", converted=converted)


def value_of(value: Any) -> Any:
    """A test's value, which may be stored as ONNX stores it, as arrays, lists and None."""
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, onnx.SequenceProto):
        return numpy_helper.to_list(value)
    return numpy_helper.to_optional(value) if isinstance(value, onnx.OptionalProto) else value


def alike(answer: Any, expected: Any, relative: float) -> bool:
    """Whether an answer is the expected one: of its dtype and shape, numbers within the test's own tolerance."""
    answer = unboxed(answer)
    if expected is None or isinstance(expected, dict):
        return bool(answer == expected)
    if isinstance(expected, list | tuple):
        return len(answer) == len(expected) and all(map(alike, answer, expected, [relative] * len(expected)))
    answer, expected = np.asarray(answer), np.asarray(expected)
    if answer.shape != expected.shape:
        return False
    if expected.dtype.kind in "OUS":
        return bool((answer.astype(str) == expected.astype(str)).all())
    numbers = (widened(array).astype(np.complex128) for array in (answer, expected))
    return answer.dtype == expected.dtype and bool(np.allclose(*numbers, rtol=relative, atol=1e-7, equal_nan=True))


def _alone(case: Any, engine: str, asked: dict[str, Any], answers: list[Any]) -> bool:
    """Whether the tool itself answers the same."""
    if engine == "reference":
        found = ReferenceEvaluator(case.model).run(None, asked)
    else:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        model, providers = case.model.SerializeToString(), ["CPUExecutionProvider"]
        found = onnxruntime.InferenceSession(model, options, providers=providers).run(None, asked)
    return all(map(alike, answers, found, [0.0] * len(found)))


def outcomes(chosen: Sequence[Any], engine: str) -> Iterator[Outcome]:
    """What came of these tests, one after another."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        for case in chosen:
            yield outcome(case, engine, Path(folder))


def main() -> None:
    """Print the counts of every engine, and the reasons."""
    every = cases()
    print(f"{len(every):,} node tests of onnx {onnx.__version__}; ONNX Runtime {onnxruntime.__version__}")
    refused: set[str] = set()
    for engine in ENGINES:
        found = list(outcomes(every, engine))
        counts = Counter(one.verdict for one in found)
        print(f"\n{engine}: {', '.join(f'{count:,} {verdict}' for verdict, count in counts.most_common())}")
        print(f"  {sum(one.converted for one in found)} with their operators converted to another opset")
        for one in found:
            if one.verdict not in ("right", "random"):
                print(f"  {one.verdict}: {one.name}{': ' if one.why else ''}{one.why}")
        if engine == ENGINES[0]:
            refused = {one.name for one in found if one.verdict == "refused"}
        else:
            right = sum(one.verdict == "right" for one in found if one.name in refused)
            print(f"  of the {len(refused)} that {ENGINES[0]} refuses, {right} are right here")


if __name__ == "__main__":
    sys.exit(main())
