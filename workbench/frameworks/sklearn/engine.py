"""scikit-learn: fitted estimators and pipelines, from files or memory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from ...agreement import Tolerance
from ...engines.base import Arrays, Calls, ModelEngine
from ...engines.inputs import by_column, is_frame
from ...errors import BadInput, NeedsTrust, UnreadableFile, UnsupportedModel
from ...files.formats import identify
from ...files.header import ValueInfo
from ...safety.trust import cleared
from ...words import first_line
from . import skops
from .inputs import Signature, signature_of, walk
from .points import examples
from .ties import answers_otherwise


class SklearnEngine(ModelEngine):
    """A fitted estimator or pipeline. See `workbench.engines.Engine`.

    Its outputs have the names skl2onnx gives them: ``label``, and ``probabilities`` or ``scores``, of a classifier;
    ``variable`` of a regressor or transformer.

    Args:
        source: a .joblib, .pkl or .skops file, or the estimator itself.
        sample: rows as it takes them, for what it does not know itself.
        signature: what it takes, where that is known already.
        trust: let the file run code, as pickles and joblib files do, and .skops files of foreign types.
        threads: for NumPy's libraries, OpenMP and the estimator's own jobs (``n_jobs``), in the whole process until
            `close`; None leaves them as they are.
        why: the sentence for `why`.

    Attributes:
        estimator: the one that answers: of a search, the best it found.

    Raises:
        NeedsTrust: the file can run code; the message says what a scan found.
        UnreadableFile: see `load`.
        UnsupportedModel: not a fitted estimator, or one that does not say how many columns it takes.
    """

    name = "sklearn"

    def __init__(
        self,
        source: Any,
        *,
        sample: Any = None,
        signature: Signature | None = None,
        trust: bool = False,
        threads: int | None = None,
        why: str = "",
    ) -> None:
        is_file = isinstance(source, str | os.PathLike)
        named = os.fspath(source) if is_file else f"{type(source).__name__} (in memory)"
        if is_file:
            with cleared(Path(source), trust) as path:
                source = load(path, identify(path).name, trust=trust)
        self.estimator: Any = unwrapped(source)
        check_fitted(self.estimator)
        super().__init__(named, why)
        self.version = sklearn.__version__
        self._restore = _limit_threads(self.estimator, threads) if threads is not None else lambda: None
        self.signature = signature or signature_of(self.estimator, sample)
        # KMeans answers only in the dtype it was fitted on.
        self._narrow = any(
            getattr(part, "cluster_centers_", np.empty(0)).dtype == np.float32 for part in walk(self.estimator)
        )
        self.inputs = self.signature.inputs("float32" if self._narrow else "float64")
        self.columns = self.signature.columns or ()
        self.tolerance = tolerance(self.estimator, "float32")
        self.outputs = self._learnt_outputs()
        labels = getattr(self.estimator, "classes_", None)
        if isinstance(labels, np.ndarray):
            self.classes = {info.name: tuple(labels.tolist()) for info in self.outputs if info.name in _BY_CLASS}

    def close(self) -> None:
        if not self._closed:
            self._restore()
        super().close()

    def answer(self, feeds: Arrays) -> Arrays:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = _answers(self.estimator, self.signature.table(feeds, self._narrow))
        return {
            name: np.asarray(value.toarray() if hasattr(value, "toarray") else value) for name, value in found.items()
        }

    def ties(self, inputs: Any) -> list[Arrays]:
        """Other answers to these rows that are as right; see `ties.answers_otherwise`."""
        return self._asked(partial(answers_otherwise, self.estimator, self.answer), self._feeds(inputs))

    def _calls(self, feeds: Arrays) -> Calls:
        table = self.signature.table(feeds, self._narrow)
        method = next(name for name in _METHODS if hasattr(self.estimator, name))
        ask = getattr(self.estimator, method)
        return {f"estimator.{method}(x)": lambda: ask(table)}

    def _feeds(self, inputs: Any) -> Arrays:
        """A table by its columns' names, where the estimator was fitted on named ones; texts in a plain list."""
        names = self.signature.columns
        if is_frame(inputs) and names is not None:
            if missing := [name for name in names if name not in inputs]:
                raise BadInput(f"Column {missing[0]!r} is missing; the model was fitted on: {', '.join(names)}.")
            inputs = inputs[list(names)]
        elif self.signature.flat and not isinstance(inputs, dict) and np.ndim(inputs) == 1:
            inputs = np.asarray(inputs).reshape(-1, 1)
        with warnings.catch_warnings():
            # An estimator takes numbers of any dtype.
            warnings.simplefilter("ignore")
            return super()._feeds(by_column(inputs, self.inputs))

    def _learnt_outputs(self) -> tuple[ValueInfo, ...]:
        """Names, dtypes and shapes, by asking two rows; a guess where the estimator refuses them."""
        try:
            found = self.answer(examples(self.estimator, self.signature))
        except Exception:
            labels = getattr(self.estimator, "classes_", None)
            dtype = "float64" if labels is None else _dtype(labels)
            return (ValueInfo("variable" if labels is None else "label", dtype, None),)
        return tuple(ValueInfo(name, _dtype(value), ("N", *value.shape[1:])) for name, value in found.items())


_BY_CLASS = ("probabilities", "scores")

_METHODS = ("predict", "transform", "kneighbors", "fit_predict")
"""What a person would call, the first that an estimator has."""


def _dtype(array: Any) -> str:
    return "string" if array.dtype.kind in "OUT" else str(array.dtype)


def _answers(estimator: Any, table: Any) -> dict[str, Any]:
    """Everything the last estimator has to say of a table, in the order of skl2onnx's outputs."""
    last = estimator
    while isinstance(last, Pipeline):
        table = last[:-1].transform(table) if len(last) > 1 else table
        last = last[-1]
    if isinstance(last, str) or last is None:  # passthrough
        return {"variable": table}
    if isinstance(last, SelectorMixin):
        return {"variable": last.transform(table)}
    if isinstance(last, NearestNeighbors):
        distances, numbers = last.kneighbors(table)
        return {"index": numbers, "distance": distances}
    mixture = isinstance(last, GaussianMixture | BayesianGaussianMixture)
    if is_classifier(last) or mixture or is_outlier_detector(last):
        label = {"label": last.predict(table)}
        if hasattr(last, "predict_proba"):
            scores = last.predict_proba(table)
            if isinstance(scores, list):  # of several targets
                return label | {f"probabilities_{index}": each for index, each in enumerate(scores)}
            return label | {"probabilities": scores}
        if isinstance(last, VotingClassifier):
            # Hard voting: the share of votes for each class.
            votes = np.asarray(last.transform(table))[..., None] == np.arange(len(last.classes_))
            return label | {"probabilities": np.average(votes, axis=1, weights=last._weights_not_none)}
        return label | {"scores": last.decision_function(table)}
    if is_clusterer(last) and hasattr(last, "cluster_centers_"):
        return {"label": last.predict(table), "scores": last.transform(table)}
    if is_regressor(last) or not hasattr(last, "transform"):
        return {"variable": last.predict(table)}
    return {"variable": last.transform(table)}


def _limit_threads(estimator: Any, threads: int) -> Callable[[], None]:
    """Let this process use so many; returns what undoes it. Done once: entering a limit takes up to a millisecond."""
    limits = threadpool_limits(threads)
    jobs = [(part, part.n_jobs) for part in walk(estimator) if getattr(part, "n_jobs", None) is not None]
    for part, _ in jobs:
        part.n_jobs = threads

    def restore() -> None:
        limits.restore_original_limits()
        for part, n_jobs in jobs:
            part.n_jobs = n_jobs

    return restore


# --- opening a file -----------------------------------------------------------------------------------------------


def load(path: Path, format_name: str, *, trust: bool = False) -> Any:
    """The fitted estimator in a file.

    Args:
        path: a .joblib, .pkl or .skops file. Pickle and joblib run code when opened: ask for trust before calling.
        format_name: as `workbench.files.formats.identify` names it: "joblib", "pickle" or "skops".
        trust: open a .skops file whatever types it names.

    Raises:
        NeedsTrust: the .skops file names what a fitted estimator does not need.
        UnreadableFile: the file is damaged, or of a scikit-learn this one cannot read.
        UnsupportedModel: a package is missing, or the object inside is no estimator.
    """
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = _load_skops(path, trust) if format_name == "skops" else joblib.load(path)
    except (NeedsTrust, UnreadableFile, UnsupportedModel):
        raise
    except ModuleNotFoundError as error:
        raise UnsupportedModel(
            f"{path} needs the Python package {error.name!r}, which is not installed: install it and try again."
        ) from error
    except Exception as error:
        wrote = identify(path).detail
        raise UnreadableFile(
            f"{path} cannot be opened ({first_line(error)}): it is damaged, or was written by a scikit-learn too "
            f"different from the one installed ({f'{wrote}, and ' if wrote else ''}here is {sklearn.__version__})."
        ) from error
    if not hasattr(found, "get_params"):
        raise UnsupportedModel(f"{path} holds {_held(found)}")
    if versions := {str(getattr(item.message, "original_sklearn_version", "")) for item in said} - {""}:
        # For `draft` to tell: scikit-learn itself forgets it on loading.
        found._saved_with = min(versions)
    return found


def _held(found: Any) -> str:
    """What a file holds in place of an estimator, and what to do."""
    name = type(found).__name__
    if name == "Booster":
        package = type(found).__module__.partition(".")[0]
        way = (
            "write it with booster.save_model('m.json') and read it with XGBClassifier().load_model('m.json')"
            if package == "xgboost"
            else "keep the LGBMClassifier or LGBMRegressor that was fitted"
        )
        return f"a Booster of {package}, the trees without their estimator: {way}; save that."
    inside = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list | tuple) else ()
    if models := [(key, model) for key, model in inside if hasattr(model, "get_params")]:
        keys = ", ".join(f"{type(model).__name__} under {key!r}" for key, model in models[:4])
        first = models[0][0]
        return f"a {name} with {keys}: save the estimator itself, joblib.dump(saved[{first!r}], 'model.joblib')."
    return f"a {name}, not a fitted scikit-learn estimator; save the estimator itself."


def _load_skops(path: Path, trust: bool) -> Any:
    try:
        from skops import io
    except ModuleNotFoundError as error:
        raise UnsupportedModel(f"{path} is a skops file; reading it needs the package skops: pip install skops.") from (
            error
        )
    if trust:
        return io.load(path, trusted=io.get_untrusted_types(file=path))
    found = skops.examined(path, str(path))
    if found.runs_code:
        raise NeedsTrust(found.refusal, found)
    if not found.complete:
        raise UnreadableFile(f"{path} cannot be opened. {found.says}")
    return io.load(path, trusted=skops.trusted())


def unwrapped(estimator: Any) -> Any:
    """The estimator that answers, where the outer one only searched for it."""
    while True:
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator


def check_fitted(estimator: Any) -> None:
    """
    Raises:
        UnsupportedModel: it is not a fitted estimator.
    """
    if not hasattr(estimator, "get_params") or isinstance(estimator, type):
        raise UnsupportedModel(
            f"A {type(estimator).__name__} was given, and only fitted scikit-learn estimators are taken here."
        )
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise UnsupportedModel(f"This {type(estimator).__name__} is not fitted: call fit first.") from None


# --- how exact -----------------------------------------------------------------------------------------------------


def tolerance(estimator: Any, dtype: str) -> Tolerance:
    """How far an ONNX answer may be from the estimator's, by what the estimator computes and in which dtype.

    float32 has 24 bits: one rounding is 6e-8 of a number, and a chain of them, added up in another order than NumPy's,
    some ten times that. Measured over all estimators that skl2onnx converts, on rows like those of the fit: at most
    4e-6 of the largest answer, and 2e-5 where kernels are summed. Neighbours at distance zero are mended by float64.
    """
    parts = {type(part).__name__ for part in walk(estimator)}
    # What lies behind probabilities may be large; they are not.
    scale = 1.0 if hasattr(estimator, "predict_proba") else _answer_scale(estimator)
    if dtype == "float64":
        # Tree ensembles, and operators without a float64 form, still add up in float32.
        return Tolerance(
            1e-5, 1e-6 * scale, "the graph computes in float64, but operators that know only float32 add up in that"
        )
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
    return Tolerance(1e-4, 1e-5 * scale, "float32 keeps 7 digits, and an answer takes some hundred roundings.")


_DISTANCES = ("Neighbor", "SVR", "SVC", "SVM", "Kernel", "Gaussian", "LocalOutlier", "KNN")


def _answer_scale(estimator: Any) -> float:
    """The size of a regressor's answers, where it says so: a float32 rounding is a share of that."""
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
