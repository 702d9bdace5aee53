"""scikit-learn estimators and pipelines to ONNX, through skl2onnx.

`load` opens a file, `draft` converts. What an estimator takes is learnt from itself (`sklearn_inputs`), rows worth
asking are found in it (`sklearn_points`), and the converter's faults are mended (`skl2onnx_mends`). Everything here
runs in the worker.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, NeedsTrust, UnreadableFile, UnsupportedModel
from ..header import ValueInfo
from .draft import Draft, Tolerance
from .sklearn_inputs import Signature, first_step, signature_of, walk
from .sklearn_points import rows_worth_asking, splits

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from .draft import Arrays

Progress = Callable[[str], object]

HIGHEST = 22
"""The highest opset of the default domain that skl2onnx writes."""

OPSETS: tuple[int | dict[str, int], ...] = (
    {"": HIGHEST, "ai.onnx.ml": 3},
    HIGHEST,
    {"": 18, "ai.onnx.ml": 3},
    {"": 15, "ai.onnx.ml": 3},
)
"""Tried in this order where the caller asks for none. With ai.onnx.ml above 3 IsolationForest fails, with a dictionary
GaussianMixture in float64, and onnxmltools (XGBoost, LightGBM) above 15."""

OPTIONS = ("zipmap", "cdist", "dtype")

KNOWN_TYPES = (
    "sklearn._loss.link.", "sklearn._loss.loss.", "sklearn._loss._loss.", "sklearn.ensemble._hist_gradient_boosting.",
    "sklearn.linear_model._sgd_fast.", "sklearn.metrics._dist_metrics.", "sklearn.neighbors._ball_tree.",
    "sklearn.neighbors._kd_tree.", "sklearn.neural_network._stochastic_optimizers.", "sklearn.tree._tree.",
    "sklearn.utils._bunch.", "scipy.interpolate.", "scipy.sparse.", "scipy.stats._distn_infrastructure.",
    "numpy.random.",
)  # fmt: skip
"""Packages whose classes hold numbers and run nothing when a .skops file names them: parts of fitted estimators that
skops does not know by itself."""


# --- opening ------------------------------------------------------------------------------------------------------


def load(path: Path, format_name: str, *, trust: bool = False) -> Any:
    """The fitted estimator in a file.

    Args:
        path: a .joblib, .pkl or .skops file. Pickle and joblib run code when opened: ask for trust before calling.
        format_name: as `workbench.formats.identify` names it: "joblib", "pickle" or "skops".
        trust: open a .skops file whatever types it names.

    Raises:
        NeedsTrust: the .skops file names types that are not of scikit-learn, NumPy or SciPy.
        UnreadableFile: the file is damaged, or of a scikit-learn this one cannot read.
        UnsupportedModel: a package is missing, or the object inside is no estimator.
    """
    import joblib

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = _load_skops(path, trust) if format_name == "skops" else joblib.load(path)
    except (NeedsTrust, UnsupportedModel):
        raise
    except ModuleNotFoundError as error:
        raise UnsupportedModel(
            f"{path} needs the Python package {error.name!r}, which is not installed: install it and try again."
        ) from error
    except Exception as error:
        raise UnreadableFile(
            f"{path} cannot be opened ({_first_line(error)}): it is damaged, or was written by a scikit-learn too "
            "different from the one installed."
        ) from error
    if not hasattr(found, "get_params"):
        raise UnsupportedModel(
            f"{path} holds a {type(found).__name__}, not a fitted scikit-learn estimator; save the estimator itself."
        )
    if versions := {str(getattr(item.message, "original_sklearn_version", "")) for item in said} - {""}:
        # For `draft` to tell: scikit-learn itself forgets it on loading.
        found._saved_with = min(versions)
    return found


def _load_skops(path: Path, trust: bool) -> Any:
    try:
        from skops import io
    except ModuleNotFoundError as error:
        raise UnsupportedModel(f"{path} is a skops file; reading it needs the package skops: pip install skops.") from (
            error
        )
    unknown = io.get_untrusted_types(file=path)
    foreign = [name for name in unknown if not name.startswith(KNOWN_TYPES)]
    if foreign and not trust:
        raise NeedsTrust(
            f"{path} names types that are not of scikit-learn, NumPy or SciPy ({', '.join(sorted(foreign)[:5])}); "
            "opening it runs their code, so pass trust=True (--trust) if you know them."
        )
    return io.load(path, trusted=unknown)


# --- converting ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Choices:
    """What the caller or a mend decided: options of `draft`, each with its default."""

    zipmap: bool = False
    cdist: bool = True
    dtype: str = "float32"
    opset: int | None = None
    fixed: bool = False  # the caller named the dtype: no mend may change it


def draft(
    estimator: Any,
    *,
    sample: Any = None,
    opset: int | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress,
) -> Draft:
    """Convert a fitted estimator or pipeline.

    Args:
        estimator: fitted.
        sample: rows as its ``predict`` or ``transform`` takes them; None: the estimator says what it takes.
        opset: of the default domain; None: the highest that works.
        options: ``zipmap`` (bool, off: probabilities are one array), ``cdist`` (bool, on: distances of neighbours by
            ONNX Runtime's operator CDist instead of a loop), ``dtype`` ("float32" or "float64" of the inputs).
        progress: told each stage.

    Returns:
        A draft. Its native side is asked in float64, as estimators are by people, whatever the graph takes.

    Raises:
        UnsupportedModel: names the estimator that has no converter, or whose graph no engine loads.
        BadInput: an option or the sample does not fit.
    """
    choices = _choices(opset, options)
    inner = _unwrapped(estimator)
    _check(inner)
    signature = signature_of(inner, sample)
    notes = _notes(estimator, inner)
    narrow = _fitted_on_float32(inner)
    return _draft(inner, signature, choices, notes, narrow, sample, progress)


def _draft(
    estimator: Any,
    signature: Signature,
    choices: _Choices,
    notes: list[str],
    narrow: bool,
    sample: Any,
    progress: Progress,
) -> Draft:
    import numpy as np
    import skl2onnx

    progress(f"Converting {type(estimator).__name__} with skl2onnx {skl2onnx.__version__}")
    model = _convert(estimator, signature, choices)
    inputs = signature.inputs(choices.dtype)

    def points(rng: np.random.Generator) -> Arrays:
        return rows_worth_asking(estimator, inputs, signature.kinds, sample, rng)

    native = _Native(estimator, signature, narrow)
    _settle_outputs(model, native, points)

    mend = None
    if choices.dtype == "float32" and not choices.fixed and "float" in signature.kinds:

        def mend() -> tuple[Draft, str]:
            wide = _draft(estimator, signature, replace(choices, dtype="float64"), notes, narrow, sample, progress)
            return wide, f"Its inputs are float64 now: in float32, {_fault(estimator)}."

    return Draft(
        model=model,
        converter=("skl2onnx", skl2onnx.__version__),
        inputs=inputs,
        native=native,
        tolerance=tolerance(estimator, choices.dtype),
        points=points,
        accepts_nan=native.accepts_nan(points(np.random.default_rng(0))),
        ranges=_ranges(estimator, inputs),
        mend=mend,
        notes=list(notes),
    )


def _fault(estimator: Any) -> str:
    """What float32 does to this estimator, in half a sentence."""
    if _has_trees(estimator):
        return "rounding moved rows to the other side of a tree's threshold"
    if any("Neighbor" in type(part).__name__ or "Outlier" in type(part).__name__ for part in walk(estimator)):
        return "distances between rows that lie close together were too coarse to tell which is nearer"
    return "rounding changed its answers by more than the tolerance"


def _has_trees(estimator: Any) -> bool:
    return any(len(splits(part)[0]) for part in walk(estimator))


def _choices(opset: int | None, options: Mapping[str, Any] | None) -> _Choices:
    given = dict(options or {})
    if unknown := [name for name in given if name not in OPTIONS]:
        raise BadInput(f"There is no option {unknown[0]!r} for scikit-learn; choose from: {', '.join(OPTIONS)}.")
    for name in ("zipmap", "cdist"):
        if not isinstance(given.get(name, True), bool):
            raise BadInput(f"Option {name!r} is True or False, not {given[name]!r}.")
    if given.get("dtype", "float32") not in ("float32", "float64"):
        raise BadInput(f"Option 'dtype' is 'float32' or 'float64', not {given['dtype']!r}.")
    if opset is not None and not 9 <= opset <= HIGHEST:
        raise BadInput(f"skl2onnx writes opsets 9 to {HIGHEST}, not {opset}.")
    return _Choices(**given, opset=opset, fixed="dtype" in given)


def _unwrapped(estimator: Any) -> Any:
    """The estimator that answers, where the outer one only searched for it."""
    from sklearn.frozen import FrozenEstimator

    while True:
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator


def _check(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.feature_extraction import DictVectorizer, FeatureHasher
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.utils.validation import check_is_fitted

    if not hasattr(estimator, "get_params") or isinstance(estimator, type):
        raise UnsupportedModel(
            f"A {type(estimator).__name__} was given, and only fitted scikit-learn estimators can be converted here."
        )
    for part in walk(estimator):
        name = type(part).__name__
        if isinstance(part, DictVectorizer | FeatureHasher):
            raise UnsupportedModel(
                f"{name} takes dictionaries, which no ONNX tensor holds: put the values into columns and fit "
                "OneHotEncoder instead."
            )
        if isinstance(part, CountVectorizer):
            _check_text(part, name)
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise UnsupportedModel(f"This {type(estimator).__name__} is not fitted: call fit first.") from None


def _check_text(part: Any, name: str) -> None:
    """ONNX splits texts by a regular expression, and that is all it does."""
    foreign = [
        setting for setting in ("strip_accents", "preprocessor", "tokenizer") if getattr(part, setting) is not None
    ]
    if callable(part.analyzer) or part.analyzer == "char_wb":
        foreign.append("analyzer" if callable(part.analyzer) else 'analyzer="char_wb"')
    if foreign:
        raise UnsupportedModel(f"{name} with {foreign[0]} cannot be converted to ONNX: fit it without.")
    if part.analyzer == "word" and part.get_stop_words() and part.ngram_range[1] > 1:
        raise UnsupportedModel(
            f"{name} with stop words and n-grams cannot be converted: ONNX counts the n-grams of the words with the "
            "stop words between them, so its numbers would be wrong. Fit it with stop_words=None or ngram_range=(1, 1)."
        )


def _convert(estimator: Any, signature: Signature, choices: _Choices) -> onnx.ModelProto:
    from skl2onnx import convert_sklearn

    from .skl2onnx_mends import mended

    _register_boosters(estimator)
    tried = OPSETS if choices.opset is None else ({"": choices.opset, "ai.onnx.ml": 3}, choices.opset)
    failure: Exception | None = None
    for opsets in tried:
        try:
            with mended(), _convertible(estimator, signature), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = convert_sklearn(
                    estimator,
                    type(estimator).__name__,
                    signature.types(choices.dtype),
                    target_opset=opsets,
                    options=_converter_options(estimator, choices),
                )
            break
        except UnsupportedModel:
            raise
        except Exception as error:
            failure = failure or error
    else:
        assert failure is not None
        raise UnsupportedModel(_reason(estimator, failure)) from failure
    signature.name_inputs(model)
    _tidy_opsets(model)
    _split_sequences(model)
    return model


def _converter_options(estimator: Any, choices: _Choices) -> dict[Any, Any]:
    """Options by class, for every class skl2onnx knows and that has them."""
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common._registration import _converter_pool

    exact = choices.dtype == "float64" or _has_trees(estimator)
    wanted: dict[str, Any] = {"zipmap": choices.zipmap, "optim": "cdist" if choices.cdist else None}
    if exact:
        # Scaler multiplies by 1/scale, which rounds to another float than the division scikit-learn does.
        wanted["div"] = "div"
    by_class: dict[Any, Any] = {}
    for kind, alias in sklearn_operator_name_map.items():
        allowed = _converter_pool[alias].get_allowed_options() if alias in _converter_pool else None
        if isinstance(allowed, dict) and (known := {k: v for k, v in wanted.items() if k in allowed}):
            by_class[kind] = known
    for part in walk(estimator):
        if hasattr(part, "vocabulary_") and hasattr(part, "token_pattern"):
            text = {"locale": _locale(part)}
            if part.analyzer == "word" and part.token_pattern == r"(?u)\b\w\w+\b":
                # skl2onnx takes words of one letter too, which breaks n-grams, and ASCII only.
                text["tokenexp"] = r"[\p{L}\p{N}_][\p{L}\p{N}_]+"
            by_class[id(part)] = text
    return by_class


@contextmanager
def _convertible(estimator: Any, signature: Signature) -> Iterator[None]:
    """The estimator with what skl2onnx cannot read said another way; as it was on leaving."""
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import VotingClassifier

    before: list[tuple[Any, str, Any]] = []

    def change(part: Any, name: str, value: Any) -> None:
        before.append((part, name, getattr(part, name)))
        setattr(part, name, value)

    try:
        for part in walk(estimator):
            if hasattr(part, "cluster_centers_"):
                # Their squares were computed in the dtype of the fit, also for a float64 graph.
                change(part, "cluster_centers_", part.cluster_centers_.astype("float64"))
            if isinstance(part, VotingClassifier):
                # Of transform alone, which ONNX does not compute here.
                change(part, "flatten_transform", False)
            if isinstance(getattr(part, "weights", None), list):
                change(part, "weights", np.array(part.weights))
            if isinstance(part, ColumnTransformer):
                # Column names, masks and slices as plain numbers: skl2onnx knows no masks, and no name with a bracket.
                places = signature.places if part is first_step(estimator) else None
                plain = []
                for name, step, _ in part.transformers_:
                    if not (isinstance(step, str) and step == "drop"):
                        indices = part._transformer_to_input_indices[name]
                        plain.append((name, step, [int(i) if places is None else places[int(i)] for i in indices]))
                change(part, "transformers_", plain)
        yield
    finally:
        for part, name, value in reversed(before):
            setattr(part, name, value)


def _register_boosters(estimator: Any) -> None:
    """Tell skl2onnx of XGBoost and LightGBM where the estimator holds one."""
    packages = {type(part).__module__.split(".")[0] for part in walk(estimator)} & {"xgboost", "lightgbm"}
    if not packages:
        return
    try:
        import onnxmltools  # noqa: F401
    except ModuleNotFoundError as error:
        raise UnsupportedModel(
            f"Converting a model of {' and '.join(sorted(packages))} needs the package onnxmltools: pip install "
            "onnxmltools."
        ) from error
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    from .skl2onnx_mends import in_float32, in_float64

    flags = {"nocl": [True, False], "zipmap": [True, False, "columns"], "raw_scores": [True, False]}
    shapes = calculate_linear_classifier_output_shapes, calculate_linear_regressor_output_shapes
    if "xgboost" in packages:
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from xgboost import XGBClassifier, XGBRegressor

        convert = in_float32(convert_xgboost)
        update_registered_converter(XGBClassifier, "XGBoostXGBClassifier", shapes[0], convert, options=flags)
        update_registered_converter(XGBRegressor, "XGBoostXGBRegressor", shapes[1], convert)
    if "lightgbm" in packages:
        from lightgbm import LGBMClassifier, LGBMRegressor
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        convert = in_float64(convert_lightgbm)
        flags = {key: flags[key] for key in ("nocl", "zipmap")}
        update_registered_converter(LGBMClassifier, "LightGbmLGBMClassifier", shapes[0], convert, options=flags)
        update_registered_converter(LGBMRegressor, "LightGbmLGBMRegressor", shapes[1], convert, options={"split": None})


def _reason(estimator: Any, error: Exception) -> str:
    """One sentence that names the estimator at fault."""
    import re

    from skl2onnx._supported_operators import sklearn_operator_name_map

    text = str(error)
    lacking = [type(part).__name__ for part in walk(estimator) if type(part) not in sklearn_operator_name_map]
    if re.search(r"shape calculator|Unable to find|alias", text) and lacking:
        return f"skl2onnx has no converter for {lacking[-1]}, so this {type(estimator).__name__} cannot become ONNX."
    return f"skl2onnx could not convert this {type(estimator).__name__}: {_first_line(error)}."


def _tidy_opsets(model: onnx.ModelProto) -> None:
    """One entry per domain: skl2onnx writes the default domain twice."""
    highest: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        highest[domain] = max(entry.version, highest.get(domain, 0))
    del model.opset_import[:]
    for domain, version in sorted(highest.items()):
        model.opset_import.add(domain=domain, version=version)


def _split_sequences(model: onnx.ModelProto) -> None:
    """A multi-output classifier gives a sequence of probability arrays: make each an output of its own."""
    import onnx

    makers = {node.output[0]: node for node in model.graph.node if node.op_type == "SequenceConstruct"}
    outputs = list(model.graph.output)
    if not any(out.name in makers for out in outputs):
        return
    del model.graph.output[:]
    for out in outputs:
        if out.name not in makers:
            model.graph.output.append(out)
            continue
        node = makers[out.name]
        element = out.type.sequence_type.elem_type.tensor_type.elem_type
        for index, name in enumerate(node.input):
            ours = f"{out.name}_{index}"
            model.graph.node.append(onnx.helper.make_node("Identity", [name], [ours]))
            model.graph.output.append(onnx.helper.make_tensor_value_info(ours, element, ["N", None]))
        model.graph.node.remove(node)


def _settle_outputs(model: onnx.ModelProto, native: _Native, points: Callable[..., Arrays]) -> None:
    """Load the model, ask it a few rows, and write the true output shapes: skl2onnx declares some wrongly.

    Raises:
        UnsupportedModel: ONNX Runtime does not load it; the sentence names the operator.
    """
    import numpy as np
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    name = type(native.estimator).__name__
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), settings, ["CPUExecutionProvider"])
    except Exception as error:
        raise UnsupportedModel(f"skl2onnx wrote a graph for {name} that no engine loads: {_plain(error)}.") from error
    rows = {key: array[:3] for key, array in points(np.random.default_rng(0)).items()}
    try:
        answers = session.run(None, rows)
    except Exception as error:
        raise UnsupportedModel(f"skl2onnx wrote a graph for {name} that does not run: {_plain(error)}.") from error
    count = len(next(iter(rows.values())))
    native.outputs = []
    for out, answer in zip(model.graph.output, answers, strict=True):
        if not isinstance(answer, np.ndarray):
            native.outputs.append((out.name, None))
            continue
        if answer.shape == (1, count) and count > 1:
            _flatten_output(model, out.name)
            answer = answer.reshape(count)
        native.outputs.append((out.name, answer.shape[1:]))
        shape = out.type.tensor_type.shape
        del shape.dim[:]
        for size in ("N", *answer.shape[1:]) if answer.shape[:1] == (count,) else answer.shape:
            shape.dim.add(**{"dim_param" if isinstance(size, str) else "dim_value": size})
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_param = "N"


def _flatten_output(model: onnx.ModelProto, name: str) -> None:
    """QuadraticDiscriminantAnalysis writes its labels as (1, rows): make them (rows,)."""
    import numpy as np
    import onnx

    for node in model.graph.node:
        for index, output in enumerate(node.output):
            if output == name:
                node.output[index] = f"{name}_row"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1], np.int64), f"{name}_shape"))
    model.graph.node.append(onnx.helper.make_node("Reshape", [f"{name}_row", f"{name}_shape"], [name]))


# --- what comes out -----------------------------------------------------------------------------------------------


def _fitted_on_float32(estimator: Any) -> bool:
    """KMeans answers only in the dtype it was fitted on."""
    import numpy as np

    return any(
        getattr(getattr(part, "cluster_centers_", None), "dtype", None) == np.float32 for part in walk(estimator)
    )


class _Native:
    """The estimator's own answers under the ONNX outputs' names.

    `outputs` is filled once the ONNX model was asked: (name, shape without rows), shape None for a list of {label:
    probability}.
    """

    def __init__(self, estimator: Any, signature: Signature, narrow: bool) -> None:
        self.estimator, self.signature, self.narrow = estimator, signature, narrow
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
        return {name: _fitted(answer, rows, shape) for (name, shape), answer in zip(self.outputs, answers, strict=True)}

    def _answers(self, table: Any) -> list[Any]:
        """Native answers in the order of skl2onnx's outputs, which follows from what the last estimator is."""
        import numpy as np
        from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
        from sklearn.ensemble import VotingClassifier
        from sklearn.feature_selection import SelectorMixin
        from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
        from sklearn.neighbors import NearestNeighbors
        from sklearn.pipeline import Pipeline

        whole = self.estimator
        last = whole
        while isinstance(last, Pipeline):
            last = last.steps[-1][1]
        if isinstance(last, SelectorMixin):
            return [whole.transform(table)]
        if isinstance(last, NearestNeighbors):
            before = whole[:-1].transform(table) if isinstance(whole, Pipeline) else table
            return list(reversed(last.kneighbors(before)))
        if is_classifier(last):
            if hasattr(whole, "predict_proba"):
                scores = whole.predict_proba(table)
                if isinstance(scores, list):
                    return [whole.predict(table), *self._each(scores)]
                return [whole.predict(table), scores]
            if isinstance(last, VotingClassifier):
                # Hard voting: the share of votes for each class.
                before = whole[:-1].transform(table) if isinstance(whole, Pipeline) else table
                votes = np.asarray(last.transform(before))[..., None] == np.arange(len(last.classes_))
                return [whole.predict(table), np.average(votes, axis=1, weights=last._weights_not_none)]
            return [whole.predict(table), whole.decision_function(table)]
        if isinstance(last, GaussianMixture | BayesianGaussianMixture):
            return [whole.predict(table), whole.predict_proba(table)]
        if is_outlier_detector(last):
            return [whole.predict(table), whole.decision_function(table)]
        if is_clusterer(last) and hasattr(last, "cluster_centers_"):
            return [whole.predict(table), whole.transform(table)]
        if is_regressor(last) or not hasattr(whole, "transform"):
            return [whole.predict(table)]
        return [whole.transform(table)]

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


def _fitted(answer: Any, rows: int, shape: tuple[int, ...] | None) -> np.ndarray:
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


def _ranges(estimator: Any, inputs: tuple[ValueInfo, ...]) -> dict[str, tuple[float, float]]:
    """CategoricalNB knows the numbers from zero up that it was fitted on."""
    first = first_step(estimator)
    if not hasattr(first, "n_categories_"):
        return {}
    return {inputs[0].name: (0, int(min(first.n_categories_)) - 1)}


def _notes(outer: Any, estimator: Any) -> list[str]:
    """What the person should know beforehand."""
    import sklearn

    notes = []
    if version := vars(outer).get("_saved_with"):
        notes.append(
            f"It was saved with scikit-learn {version} and opened with {sklearn.__version__}; both sides of the proof "
            "ran in the latter."
        )
    if any(_locale(part) != "C" for part in walk(estimator) if hasattr(part, "vocabulary_")):
        notes.append(
            "Its words hold letters beyond ASCII, so the ONNX model needs the locale C.UTF-8, which Linux has, to "
            "write them small."
        )
    return notes


def _locale(vectorizer: Any) -> str:
    """For lower case. Not skl2onnx's en_US.UTF-8: ONNX Runtime loads a locale only where it is installed, and C always
    is, but knows ASCII alone."""
    return "C" if not vectorizer.lowercase or all(map(str.isascii, map(str, vectorizer.vocabulary_))) else "C.UTF-8"


def _plain(error: Exception) -> str:
    import re

    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    return text.strip().splitlines()[0][:300].rstrip(". ")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(". ")
