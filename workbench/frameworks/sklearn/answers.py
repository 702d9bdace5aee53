"""The estimator's side of the proof: its own answers under the ONNX outputs' names."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...convert.draft import Arrays
from ...errors import UnsupportedModel
from .engine import SklearnEngine
from .inputs import Signature


class Native:
    """The estimator's own answers under the ONNX outputs' names.

    `outputs` is filled once the ONNX model was asked: (name, shape without rows), shape None for a list of {label:
    probability}.
    """

    def __init__(self, estimator: Any, signature: Signature) -> None:
        self.engine = SklearnEngine(estimator, signature=signature)
        self.outputs: list[tuple[str, tuple[int, ...] | None]] = []

    def __call__(self, arrays: Arrays) -> Arrays:
        answers = self._each(list(self.engine.answer(arrays).values()))
        if len(answers) != len(self.outputs):
            raise UnsupportedModel(
                f"The ONNX model of {type(self.engine.estimator).__name__} has {len(self.outputs)} outputs "
                f"({', '.join(name for name, _ in self.outputs)}), and {len(answers)} were expected, so they cannot be "
                "compared."
            )
        rows = len(next(iter(arrays.values())))
        return {name: _shaped(answer, rows, shape) for (name, shape), answer in zip(self.outputs, answers, strict=True)}

    def _each(self, answers: list[Any]) -> list[Any]:
        """Probabilities of several targets: an array each, or stacked as forests write them."""
        label, *scores = answers
        if len(scores) < 2 or len(self.outputs) != 2:
            return answers
        most = max(part.shape[1] for part in scores)
        # Rows come second in that array; the shape learnt from the ONNX model leaves out the first axis.
        return [label, np.stack([np.pad(part, ((0, 0), (0, most - part.shape[1]))) for part in scores])]

    def accepts_nan(self, rows: Arrays) -> bool:
        """Whether these rows get an answer with all their numbers missing."""
        if not any(column.dtype.kind == "f" for column in rows.values()):
            return False
        missing = {
            name: np.full_like(column[:2], np.nan) if column.dtype.kind == "f" else column[:2]
            for name, column in rows.items()
        }
        try:
            self(missing)
        except Exception:
            return False
        return True


def _shaped(answer: Any, rows: int, shape: tuple[int, ...] | None) -> np.ndarray:
    """A native answer in the ONNX output's shape: (rows,) and (rows, 1) are the same, text is object, bool int64."""
    array = np.asarray(answer)
    if array.dtype.kind in "UT":
        array = array.astype(object)
    elif array.dtype.kind in "biu":
        array = array.astype(np.int64)
    if shape is None or array.shape[1:] == shape:
        return array
    if array.ndim == 1 and shape == (2,) and array.dtype.kind == "f":
        # The score of a binary classifier: ONNX writes one for each class.
        return np.stack([-array, array], axis=1)
    if array.size == rows * int(np.prod(shape)) and array.shape[:1] == (rows,):
        return array.reshape(rows, *shape)
    return array
