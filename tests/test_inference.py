"""A first inference: real rows through a model, and no word on right or wrong where its classes are others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_files import onnx_file
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression

from workbench import compare, convert, load_engine, sandbox
from workbench.classes import accuracy
from workbench.inference import FirstInference, TrialRun, first_inference
from workbench.paper.data import dataset

IRIS = dataset("iris")


def inferred(path: Path) -> FirstInference | TrialRun:
    """`first_inference` in this process, where no worker has to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "run", lambda task, name, *, progress, **limits: task(name, progress))
        return first_inference(path)


def asked(estimator: Any, targets: Any, folder: Path, ask: Callable[[Path], Any] = inferred) -> FirstInference:
    convert(estimator.fit(IRIS.inputs, targets), folder / "model.onnx")
    inference = ask(folder / "model.onnx")
    assert isinstance(inference, FirstInference)
    return inference


@pytest.mark.parametrize("named", [False, True])
def test_a_model_of_the_datas_classes_is_told_how_many_are_right(named: bool, tmp_path: Path) -> None:
    targets = np.array(IRIS.class_names)[IRIS.targets] if named else IRIS.targets
    inference = asked(LogisticRegression(max_iter=1000), targets, tmp_path, first_inference if named else inferred)
    assert inference.fits and inference.right is not None and inference.right >= 35
    assert set(inference.predicted) == set(IRIS.class_names)
    assert inference.to_dict()["right"] == inference.right
    assert "truth" in inference._repr_html_() and list(inference.frame)[-2:] == ["expected", "score"]


@pytest.mark.parametrize("case", ["two classes", "other names", "four classes", "clusters", "a stranger's three"])
def test_other_classes_with_as_many_inputs_are_shown_and_never_called_right(case: str, tmp_path: Path) -> None:
    targets = {
        "two classes": IRIS.targets % 2,
        "other names": np.array(["low", "middle", "high"])[IRIS.targets],
        "four classes": np.arange(len(IRIS.targets)) % 4,
        "clusters": None,
        # Three classes, numbered from 0, that have nothing to do with the flowers.
        "a stranger's three": np.random.default_rng(3).integers(0, 3, len(IRIS.targets)),
    }[case]
    estimator = KMeans(3, n_init=1, random_state=0) if case == "clusters" else LogisticRegression(max_iter=1000)
    inference = asked(estimator, targets, tmp_path)
    assert not inference.fits and inference.right is None and inference.expected is None
    assert not set(inference.predicted) & set(IRIS.class_names)
    assert (inference.to_dict()["right"], inference.to_dict()["expected"]) == (None, None)
    html = inference._repr_html_()
    assert "<th>truth</th>" not in html and "<th>verdict</th>" not in html and "expected" not in inference.frame


def test_outputs_with_other_rows_than_were_asked_name_no_class(tmp_path: Path) -> None:
    """A network over five time steps gives five rows of spikes for one row: no largest of these is a class."""
    x, steps = {"x": (TensorProto.FLOAT, [1, 4])}, {"steps": (TensorProto.FLOAT, [5, 1, 3])}
    node, weights = helper.make_node("MatMul", ["x", "w"], ["steps"]), {"w": np.ones((5, 4, 3), np.float32)}
    trial = inferred(onnx_file(tmp_path / "steps.onnx", [node], x, steps, weights))
    assert isinstance(trial, TrialRun) and [output.shape for output in trial.outputs] == [(5, 1, 3)]
    assert "Iris" in trial.asked[0]


def test_a_comparison_on_the_papers_data_gives_no_accuracy_to_a_strangers_classes(tmp_path: Path) -> None:
    targets = np.random.default_rng(3).integers(0, 3, len(IRIS.targets))
    models = (
        LogisticRegression(max_iter=1000).fit(IRIS.inputs, IRIS.targets),
        LogisticRegression().fit(IRIS.inputs, targets),
    )
    accuracies = []
    for number, model in enumerate(models):
        convert(model, path := tmp_path / f"{number}.onnx")
        with load_engine(model, threads=1) as native, load_engine(path, threads=1) as other:
            accuracies.append(compare(native, other, "paper", seconds=0.1, repeat=2).onnx.accuracy)
    assert accuracies[0] is not None and accuracies[0] > 0.9 and accuracies[1] is None


def test_scores_of_every_step_or_pixel_are_no_class_of_the_row() -> None:
    targets = np.array([0, 1, 2, 0])
    assert accuracy({"y": np.eye(3, dtype=np.float32)[targets]}, targets) == 1
    assert accuracy({"y": np.eye(3, dtype=np.float32)[targets].reshape(4, 3, 1, 1)}, targets) == 1
    assert accuracy({"y": np.zeros((4, 5, 3), np.float32)}, targets) is None
