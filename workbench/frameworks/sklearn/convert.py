"""scikit-learn estimators and pipelines to ONNX, through skl2onnx.

What an estimator takes and answers, `engine` knows; rows worth asking are learnt from itself (`points`), and the
converter's faults are mended (`mends`). Everything here runs in the worker.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import skl2onnx
import sklearn
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common import shape_calculator
from skl2onnx.common._registration import _converter_pool
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import KernelPCA
from sklearn.ensemble import RandomTreesEmbedding, VotingClassifier
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel, KernelOperator, WhiteKernel
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline

from ...agreement import Tolerance, hold
from ...convert import batch
from ...convert.draft import Arrays, Draft, Job
from ...convert.options import chosen
from ...engines.inputs import named
from ...errors import UnsupportedModel
from ...files.header import GAPS, ValueInfo
from ...words import first_line, listed
from . import OPSETS as WRITTEN
from . import OPTIONS
from .answers import Native
from .cannot import check_convertible
from .declared import declared, name_inputs
from .engine import check_fitted, load, tolerance, unwrapped
from .inputs import Signature, first_steps, parts_of, signature_of, walk
from .mends import Mend, changed_attributes, lightgbm, mended, register, xgboost
from .points import Odd, examples, odd_values, only_values, rows_worth_asking
from .texts import in_re2
from .ties import answers_otherwise
from .trees import splits

__all__ = ["draft", "load"]

Progress = Callable[[str], object]

HIGHEST = WRITTEN[1]

OPSETS: tuple[int | dict[str, int], ...] = (
    {"": HIGHEST, "ai.onnx.ml": 3},
    HIGHEST,
    {"": 15, "ai.onnx.ml": 3},
)
"""Tried in this order where the caller asks for none. With ai.onnx.ml above 3 IsolationForest fails, with a dictionary
GaussianMixture in float64, and onnxmltools (XGBoost, LightGBM) above 15."""


def draft_file(job: Job, sample: Any, custom_objects: object, progress: Progress) -> Draft:
    """`draft` of what the worker was given: a file, or a pickled estimator."""
    if job.estimator is not None:
        estimator = pickle.loads(job.estimator)
    else:
        assert job.source is not None
        estimator = load(job.source, job.format, trust=job.trust)
    return draft(estimator, sample=sample, opset=job.opset, options=job.options, progress=progress)


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
        options: those of `convert.options`: ``zipmap`` (off: probabilities are one array), ``cdist`` (on: distances of
            neighbours by ONNX Runtime's operator CDist instead of a loop), ``dtype`` of the inputs, ``batch``.
        progress: told each stage.

    Returns:
        A draft. Its native side is asked in float64, as estimators are by people, whatever the graph takes. Its mends
        are the other ways to convert it (`HOW`).

    Raises:
        UnsupportedModel: names the estimator that has no converter, or whose graph no engine loads.
        BadInput: an option or the sample does not fit.
    """
    choices = chosen(OPTIONS, {"opset": opset, **(options or {})}, "scikit-learn")
    inner = unwrapped(estimator)
    try:
        check_convertible(inner)
        check_fitted(inner)
        signature = signature_of(inner, sample)
        fast = choices["cdist"] and any(map(_by_cdist, walk(inner)))
        dtypes = [choices["dtype"]] if choices["dtype"] else DTYPES if "float" in signature.kinds else DTYPES[:1]
        ways = [Way(*how, dtype) for dtype in dtypes for how in HOW if fast or not how[1]]
        made, sentence = _Making(estimator, inner, signature, sample, choices, progress, ways[0]).by(ways)
    except UnsupportedModel as error:
        if other := _saved_elsewhere(estimator):
            raise UnsupportedModel(f"{error} {other}") from error
        raise
    made.notes[:0] = filter(None, [sentence])
    return made


class Way(NamedTuple):
    """How a conversion is tried: with our mends and options, with the operator CDist; the dtype of its numbers."""

    mended: bool
    fast: bool
    dtype: str


DTYPES = "float32", "float64"
HOW = (True, True), (True, False), (False, False)
"""Tried in this order, first in float32, until one proves. The last is skl2onnx as it is."""


class _Failure(Exception):
    """skl2onnx fails on this way; another may lead on."""


@dataclass
class _Making:
    """One estimator on its ways to ONNX.

    Attributes:
        estimator: as it was given; inner: the one that answers.
        first: the way it is tried first.
        tried: the models made so far, as bytes; why: what was wrong with the first.
    """

    estimator: Any
    inner: Any
    signature: Signature
    sample: Any
    choices: dict[str, Any]
    progress: Progress
    first: Way
    tried: list[bytes] = field(default_factory=list)
    why: _Failure | None = None

    def by(self, ways: Sequence[Way]) -> tuple[Draft, str]:
        """The draft of the first way that leads to one, which the others are the mends of; and a sentence on it, where
        it is not the first of all.

        Raises:
            UnsupportedModel: none does.
        """
        for index, way in enumerate(ways):
            self.progress(f"Converting {type(self.inner).__name__} with skl2onnx {skl2onnx.__version__}")
            try:
                model = _convert(self.inner, self.signature, way, self.choices)
                if (written := model.SerializeToString(deterministic=True)) in self.tried:
                    continue
                made = self._draft(model, way)
            except _Failure as failure:
                self.why = self.why or failure
                continue
            said = self._sentence(way)
            self.tried.append(written)
            rest = ways[index + 1 :]
            if rest:
                made.mend = partial(self.by, rest)
            return made, said
        raise UnsupportedModel(str(self.why or "There is no other form of this model.")) from self.why

    def _sentence(self, way: Way) -> str:
        """What is not as it is tried first, and why."""
        trouble = "both sides differ" if self.tried else str(self.why).rstrip(".")
        said: list[str] = []
        if not way.mended:
            said.append(f"It was converted by skl2onnx alone: with the workbench's mends and options, {trouble}.")
        elif way.fast != self.first.fast:
            said.append(f"Distances are computed in a loop: with the operator CDist, {trouble}.")
        if way.dtype != self.first.dtype:
            said.append(f"Its inputs are float64 now: in float32, {_fault(self.inner) if self.tried else trouble}.")
        return " ".join(said)

    def _draft(self, model: onnx.ModelProto, way: Way) -> Draft:
        inner, signature = self.inner, self.signature
        native, tolerated = Native(inner, signature), tolerance(inner, way.dtype)
        odd = odd_values(inner, signature, native.engine.answer)

        def points(rng: np.random.Generator) -> Arrays:
            return rows_worth_asking(inner, signature, way.dtype, self.sample, odd, rng)

        rows = rows_worth_asking(inner, signature, way.dtype, self.sample, {}, np.random.default_rng(0))
        run = _settle_outputs(model, native, rows)
        inputs, unknown = _with_gaps(signature, way.dtype, native, run, odd, tolerated)
        if named := [info.name for info in inputs if info.gaps]:
            model.metadata_props.add(key=GAPS, value=json.dumps(named))
        if self.choices["batch"] is not None:
            batch.fix(model.graph, self.choices["batch"])
        first, ranges = first_steps(inner)[0], {}
        if hasattr(first, "n_categories_"):
            # CategoricalNB knows the numbers from zero up that it was fitted on.
            ranges[inputs[0].name] = (0.0, float(min(first.n_categories_) - 1))
        return Draft(
            model=model,
            converter=("skl2onnx", skl2onnx.__version__),
            inputs=inputs,
            native=native,
            tolerance=tolerated,
            columns=signature.columns,
            points=points,
            only=only_values(inner, signature, odd, way.dtype),
            refuses=True,
            accepts_nan=native.accepts_nan(rows),
            ties=partial(answers_otherwise, inner, native),
            ranges=ranges,
            notes=_notes(self.estimator, inner, named, unknown),
        )


def _with_gaps(
    signature: Signature, dtype: str, native: Native, run: Callable[[Arrays], Arrays], odd: Odd, allowed: Tolerance
) -> tuple[tuple[ValueInfo, ...], list[str]]:
    """The ONNX model's inputs, with those marked in which it knows missing text; and the names of those where the
    estimator takes missing text and the graph does not know it: that is then no longer among the odd values."""
    inputs, unknown = [], []
    usual = signature.columns_of(examples(native.engine.estimator, signature))
    for number, info in enumerate(signature.inputs(dtype)):
        mine = [place for place, ours in signature.places.items() if signature.one or ours == number]
        gaps = {place: [value for value in odd.get(place, ()) if value is None or value != value] for place in mine}
        asked = {place: np.resize(np.array(values, object), 2) for place, values in gaps.items() if values}
        if info.dtype != "string" or not asked:
            inputs.append(replace(info, gaps=False))
            continue
        rows = signature.arrays(usual | asked, dtype)
        try:
            same = hold(native(rows), run(rows), rows, allowed).within_tolerance
        except Exception:  # ONNX Runtime may refuse an unknown word
            same = False
        inputs.append(replace(info, gaps=same))
        if not same:
            unknown.append(info.name)
            for place, values in gaps.items():
                odd[place] = tuple(value for value in odd.get(place, ()) if value not in values and value == value)
    return tuple(inputs), unknown


def _fault(estimator: Any) -> str:
    """What float32 does to this estimator, in half a sentence."""
    if any(len(splits(part)[0]) for part in walk(estimator)):
        return "rounding moved rows to the other side of a tree's threshold"
    if any("Neighbor" in type(part).__name__ or "Outlier" in type(part).__name__ for part in walk(estimator)):
        return "distances between rows that lie close together were too coarse to tell which is nearer"
    return "rounding changed its answers by more than the tolerance"


def _convert(estimator: Any, signature: Signature, way: Way, choices: dict[str, Any]) -> onnx.ModelProto:
    register()
    _register_boosters(estimator)
    failure: Exception | None = None
    opset = choices["opset"]
    for opsets in OPSETS if opset is None else ({"": opset, "ai.onnx.ml": 3}, opset):
        try:
            with (
                mended() if way.mended else nullcontext(),
                _convertible(estimator, signature),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                model = convert_sklearn(
                    estimator,
                    type(estimator).__name__,
                    declared(signature, way.dtype),
                    target_opset=opsets,
                    options=_converter_options(estimator, choices["zipmap"], way),
                )
        except UnsupportedModel:
            raise
        except Exception as error:
            failure = failure or error
            continue
        name_inputs(signature, model)
        _tidy_opsets(model)
        _split_sequences(model)
        return model
    assert failure is not None
    raise _Failure(_reason(estimator, failure)) from failure


def _converter_options(estimator: Any, zipmap: bool, way: Way) -> dict[Any, Any]:
    """Options by class, for every class skl2onnx knows and that has them; and by instance, which come first."""
    # Scaler would multiply by 1/scale, which rounds to another float than the division scikit-learn does.
    wanted = {"zipmap": zipmap, "div": "div"} if way.mended else {"zipmap": zipmap}
    chosen: dict[Any, Any] = {}
    for kind, alias in sklearn_operator_name_map.items():
        allowed = _converter_pool[alias].get_allowed_options() if alias in _converter_pool else None
        if isinstance(allowed, dict):
            chosen[kind] = {name: value for name, value in wanted.items() if name in allowed}
    for part in walk(estimator) if way.mended else ():
        if isinstance(part, Pipeline):
            continue  # its options go to its last step, which may not have them
        # A step without any is taken for a classifier with a ZipMap.
        mine = chosen[id(part)] = dict(chosen.get(type(part), {}))
        if way.fast and _by_cdist(part):
            mine["optim"] = "cdist"
        if hasattr(part, "vocabulary_") and hasattr(part, "token_pattern"):
            mine["locale"] = _locale(part)
            if part.analyzer == "word":
                mine["tokenexp"] = in_re2(part.token_pattern)
    return chosen


def _by_cdist(part: Any) -> bool:
    """Whether its distances are (squared) Euclidean ones, which ONNX Runtime's CDist computes."""
    if isinstance(part, GaussianProcessClassifier | GaussianProcessRegressor):
        each = [part.kernel_, *(one for one in part.kernel_.get_params().values() if isinstance(one, Kernel))]
        return all(isinstance(one, RBF | ConstantKernel | WhiteKernel | KernelOperator) for one in each)
    if isinstance(part, KernelPCA):
        return bool(part.kernel == "rbf")
    return getattr(part, "effective_metric_", None) in ("euclidean", "sqeuclidean")


def _convertible(estimator: Any, signature: Signature) -> AbstractContextManager[None]:
    """Within it, what skl2onnx cannot read of the estimator is said another way."""
    changes: list[tuple[Any, str, Any]] = []
    for part in walk(estimator):
        if hasattr(part, "cluster_centers_"):
            # Their squares were computed in the dtype of the fit, also for a float64 graph.
            changes.append((part, "cluster_centers_", part.cluster_centers_.astype("float64")))
        if type(part) is NearestNeighbors:
            # Asked for so many neighbours; skl2onnx refuses the radius that stands beside.
            changes.append((part, "radius", None))
        if isinstance(part, RandomTreesEmbedding):
            changes.append((part, "sparse_output", False))
        if getattr(part, "encode", None) == "onehot":
            # KBinsDiscretizer: ONNX has no sparse tensors.
            changes.append((part, "encode", "onehot-dense"))
        if isinstance(part, VotingClassifier):
            # Of transform alone, which ONNX does not compute here.
            changes.append((part, "flatten_transform", False))
        if isinstance(getattr(part, "weights", None), list):
            changes.append((part, "weights", np.array(part.weights)))
        if isinstance(part, ColumnTransformer):
            # Column names, masks and slices as plain numbers: skl2onnx knows no masks, and no name with a bracket.
            places = signature.places if any(part is first for first in first_steps(estimator)) else {}
            plain = [(name, step, [places.get(i, i) for i in columns]) for name, step, columns in parts_of(part)]
            changes.append((part, "transformers_", plain))
    return changed_attributes(changes)


BOOSTERS: dict[str, tuple[str, tuple[str, ...], Mend]] = {
    "xgboost": ("XGBoost", ("XGB", "XGBRF"), xgboost),
    "lightgbm": ("LightGbm", ("LGBM",), lightgbm),
}
"""Package -> the name onnxmltools gives it, how its estimators' names begin, and the mend of their converter."""


def _register_boosters(estimator: Any) -> None:
    """Tell skl2onnx of XGBoost and LightGBM where the estimator holds one."""
    for package in {type(part).__module__.split(".")[0] for part in walk(estimator)} & set(BOOSTERS):
        name, beginnings, mend = BOOSTERS[package]
        try:
            converters = import_module(f"onnxmltools.convert.{package}.operator_converters.{name}")
        except ModuleNotFoundError as error:
            raise UnsupportedModel(
                f"Converting a model of {package} needs the package onnxmltools: pip install onnxmltools."
            ) from error
        flags = {"nocl": [True, False], "zipmap": [True, False, "columns"], "raw_scores": [True, False], "split": None}
        for short, kind in product(beginnings, ("Classifier", "Regressor")):
            update_registered_converter(
                getattr(import_module(package), f"{short}{kind}"),
                f"{name}{short}{kind}",
                getattr(shape_calculator, f"calculate_linear_{kind.lower()}_output_shapes"),
                mend(getattr(converters, f"convert_{package}")),
                options=flags,
            )


def _reason(estimator: Any, error: Exception) -> str:
    """One sentence that names the estimator at fault."""

    text = str(error)
    lacking = [type(part).__name__ for part in walk(estimator) if type(part) not in sklearn_operator_name_map]
    if re.search(r"shape calculator|Unable to find|alias", text) and lacking:
        return f"skl2onnx has no converter for {lacking[-1]}, so this {type(estimator).__name__} cannot become ONNX."
    return f"skl2onnx could not convert this {type(estimator).__name__}: {first_line(error)}{_hint(estimator)}."


def _hint(estimator: Any) -> str:
    """What to do about several targets, of which skl2onnx converts the plain cases alone."""
    if any(isinstance(getattr(part, "classes_", None), list) for part in walk(estimator)):
        return "; for several targets, fit it within MultiOutputClassifier"
    return ""


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


def _settle_outputs(model: onnx.ModelProto, native: Native, rows: Arrays) -> Callable[[Arrays], Arrays]:
    """Load the model, ask it a few rows, and write the true output shapes: skl2onnx declares some wrongly. Returns what
    asks it more; missing text goes in by its name.

    Raises:
        _Failure: ONNX Runtime does not load or run it; the sentence names the operator.
    """
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    fault = "no engine loads"
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), settings, ["CPUExecutionProvider"])
        fault = "does not run"
        two, three = (session.run(None, {name: column[:n] for name, column in rows.items()}) for n in (2, 3))
    except Exception as error:
        name = type(native.engine.estimator).__name__
        raise _Failure(
            f"skl2onnx wrote a graph for {name} that {fault}: {first_line(error)}{_hint(native.engine.estimator)}."
        ) from error
    for out, fewer, answer in zip(model.graph.output, two, three, strict=True):
        if not isinstance(answer, np.ndarray):
            native.outputs.append((out.name, None))
            continue
        native.outputs.append((out.name, answer.shape[1:]))
        shape = out.type.tensor_type.shape
        del shape.dim[:]
        for size, other in zip(answer.shape, fewer.shape, strict=True):
            shape.dim.add(**({"dim_value": size} if size == other else {"dim_param": "N"}))
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    names = [out.name for out in model.graph.output]

    def run(arrays: Arrays) -> Arrays:
        asked = {name: named(array) if array.dtype.kind == "O" else array for name, array in arrays.items()}
        return dict(zip(names, session.run(None, asked), strict=True))

    return run


def _saved_elsewhere(outer: Any) -> str:
    if not (version := vars(outer).get("_saved_with")):
        return ""
    return (
        f"It was saved with scikit-learn {version} and opened with {sklearn.__version__}; both sides of the proof run "
        "in the latter."
    )


def _notes(outer: Any, estimator: Any, gaps: list[str], unknown: list[str]) -> list[str]:
    """What the person should know beforehand."""
    notes = list(filter(None, [_saved_elsewhere(outer)]))
    if any(_locale(part) != "C" for part in walk(estimator) if hasattr(part, "vocabulary_")):
        notes.append(
            "Its words hold letters beyond ASCII, so the ONNX model needs the locale C.UTF-8, which Linux has, to "
            "write them small."
        )
    if gaps:
        notes.append(f"Where text is missing, give the ONNX model the word nan: {listed(gaps)}.")
    if unknown:
        named = type(estimator).__name__
        notes.append(f"The ONNX model has no word for missing text, which the {named} takes: {listed(unknown)}.")
    return notes


def _locale(vectorizer: Any) -> str:
    """For lower case. Not skl2onnx's en_US.UTF-8: ONNX Runtime loads a locale only where it is installed, and C always
    is, but knows ASCII alone."""
    return "C" if not vectorizer.lowercase or all(map(str.isascii, map(str, vectorizer.vocabulary_))) else "C.UTF-8"
