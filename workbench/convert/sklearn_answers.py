"""The estimator's side of the proof: its own answers under the ONNX outputs' names, and how far apart both may be."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from ..agreement import Tolerance
from ..errors import UnsupportedModel
from .sklearn_inputs import Signature, walk
from .sklearn_points import splits

if TYPE_CHECKING:
    import numpy as np

    from .draft import Arrays


class Native:
    """The estimator's own answers under the ONNX outputs' names.

    `outputs` is filled once the ONNX model was asked: (name, shape without rows), shape None for a list of {label:
    probability}.
    """

    def __init__(self, estimator: Any, signature: Signature) -> None:
        import numpy as np

        self.estimator, self.signature = estimator, signature
        # KMeans answers only in the dtype it was fitted on.
        self.narrow = any(
            getattr(part, "cluster_centers_", np.empty(0)).dtype == np.float32 for part in walk(estimator)
        )
        self.outputs: list[tuple[str, tuple[int, ...] | None]] = []

    def __call__(self, arrays: Arrays) -> Arrays:
        import numpy as np

        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            answers = self._answers(self.signature.table(arrays, self.narrow))
        if len(answers) != len(self.outputs):
            raise UnsupportedModel(
                f"The ONNX model of {type(self.estimator).__name__} has {len(self.outputs)} outputs "
                f"({', '.join(name for name, _ in self.outputs)}), and {len(answers)} were expected, so they cannot be "
                "compared."
            )
        rows = len(next(iter(arrays.values())))
        return {name: _shaped(answer, rows, shape) for (name, shape), answer in zip(self.outputs, answers, strict=True)}

    def _answers(self, table: Any) -> list[Any]:
        """Native answers in the order of skl2onnx's outputs, which follows from what the last estimator is."""
        import numpy as np
        from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
        from sklearn.ensemble import VotingClassifier
        from sklearn.feature_selection import SelectorMixin
        from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
        from sklearn.neighbors import NearestNeighbors
        from sklearn.pipeline import Pipeline

        last = self.estimator
        while isinstance(last, Pipeline):
            table = last[:-1].transform(table) if len(last) > 1 else table
            last = last[-1]
        if isinstance(last, str) or last is None:  # passthrough
            return [table]
        if isinstance(last, SelectorMixin):
            return [last.transform(table)]
        if isinstance(last, NearestNeighbors):
            return list(reversed(last.kneighbors(table)))
        mixture = isinstance(last, GaussianMixture | BayesianGaussianMixture)
        if is_classifier(last) or mixture or is_outlier_detector(last):
            if hasattr(last, "predict_proba"):
                scores = last.predict_proba(table)
            elif isinstance(last, VotingClassifier):
                # Hard voting: the share of votes for each class.
                votes = np.asarray(last.transform(table))[..., None] == np.arange(len(last.classes_))
                scores = np.average(votes, axis=1, weights=last._weights_not_none)
            else:
                scores = last.decision_function(table)
            return [last.predict(table), *(self._each(scores) if isinstance(scores, list) else [scores])]
        if is_clusterer(last) and hasattr(last, "cluster_centers_"):
            return [last.predict(table), last.transform(table)]
        if is_regressor(last) or not hasattr(last, "transform"):
            return [last.predict(table)]
        return [last.transform(table)]

    def _each(self, scores: list[Any]) -> list[Any]:
        """Probabilities of several targets: an array each, or stacked as forests write them."""
        import numpy as np

        if len(self.outputs) == 1 + len(scores):
            return scores
        most = max(part.shape[1] for part in scores)
        # Rows come second in that array; the shape learnt from the ONNX model leaves out the first axis.
        return [np.stack([np.pad(part, ((0, 0), (0, most - part.shape[1]))) for part in scores])]

    def accepts_nan(self, rows: Arrays) -> bool:
        """Whether these rows get an answer with all their numbers missing."""
        import numpy as np

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
    import numpy as np

    if hasattr(answer, "toarray"):
        answer = answer.toarray()
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


def tolerance(estimator: Any, dtype: str) -> Tolerance:
    """How far an ONNX answer may be from the estimator's, by what the estimator computes and in which dtype.

    float32 has 24 bits: one rounding is 6e-8 of a number, and a chain of them, added up in another order than NumPy's,
    some ten times that. Measured over all estimators that skl2onnx converts, on rows like those of the fit: at most
    4e-6 of the largest answer, and 2e-5 where kernels are summed. Neighbours at distance zero are mended by float64.
    """
    parts = {type(part).__name__ for part in walk(estimator)}
    scale = _answer_scale(estimator)
    if dtype == "float64":
        # Tree ensembles, and operators without a float64 form, still add up in float32.
        return Tolerance(1e-5, 1e-6 * scale, "the graph computes in float64, but tree ensembles add up in float32")
    if centers := [part.cluster_centers_ for part in walk(estimator) if hasattr(part, "cluster_centers_")]:
        size = max(float((center.astype(float) ** 2).sum(axis=1).max() ** 0.5) for center in centers)
        return Tolerance(
            1e-4, 1e-3 * max(size, 1e-3),
            "a float32 distance is the root of a difference of squares: at a centre, where it is zero, rounding leaves "
            "the root of 24 bits, 3e-4 of the centre's own length",
        )  # fmt: skip
    if any(word in name for name in parts for word in _DISTANCES):
        return Tolerance(
            1e-4, 1e-4 * scale, "float32 distances are differences of squares, which lose half of its 24 bits"
        )
    return Tolerance(1e-4, 1e-5 * scale, "float32 rounds to 6e-8 of a number, some hundred times in a row")


_DISTANCES = ("Neighbor", "SVR", "SVC", "SVM", "Kernel", "Gaussian", "LocalOutlier", "KNN")


def _answer_scale(estimator: Any) -> float:
    """The size of a regressor's answers, where it says so: a float32 rounding is a share of that."""
    import numpy as np

    sizes = [1.0]
    for part in walk(estimator):
        for name in ("intercept_", "y_train_std_"):
            value = getattr(part, name, None)
            if isinstance(value, float | np.floating | np.ndarray) and np.size(value) and np.all(np.isfinite(value)):
                sizes.append(float(np.abs(value).max()))
        if hasattr(part, "tree_"):
            values = np.abs(part.tree_.value)
            sizes.append(float(values.max()))
    return max(sizes)


def has_trees(estimator: Any) -> bool:
    return any(len(splits(part)[0]) for part in walk(estimator))
