"""What skl2onnx 1.20 gets wrong, put right while it converts.

Each mend names the fault; `tests/test_convert_sklearn.py` holds every one against the estimator. Most take a converter
and give a better one: `_MENDS`, at the end, says which for which estimator; `mended` puts them in place, and in the
worker process only. They do no harm where the fault is gone upstream.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from types import SimpleNamespace
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import _parse, update_registered_converter
from skl2onnx.algebra import complex_functions, onnx_ops
from skl2onnx.common import _registration, shape_calculator
from skl2onnx.common._registration import _converter_pool as pool
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
    guess_proto_type,
)
from skl2onnx.operator_converters import (
    calibrated_classifier_cv,
    decision_tree,
    gradient_boosting,
    isolation_forest,
    nearest_neighbours,
    random_forest,
)
from sklearn.isotonic import IsotonicRegression
from sklearn.preprocessing import normalize

from ...errors import UnsupportedModel
from .texts import SPACE

Converter = Callable[..., None]
"""As skl2onnx registers them: (scope, operator, container), writes an operator's nodes into the container."""

Mend = Callable[[Converter], Converter]


@contextmanager
def mended() -> Iterator[None]:
    """skl2onnx with its faults put right; every patch is taken back on leaving."""
    patches: list[tuple[Any, str, Any]] = [
        (_parse, "_fetch_input_slice", _in_the_order_asked(_parse._fetch_input_slice)),
        (calibrated_classifier_cv, "_transform_isotonic", _calibrated),
        (decision_tree, "populate_tree_attributes", _of_several_targets(decision_tree.populate_tree_attributes)),
        (nearest_neighbours, "onnx_cdist", _distances(nearest_neighbours.onnx_cdist)),
        (random_forest, "add_tree_to_attribute_pairs_hist_gradient_boosting", _add_hist_tree),
    ]
    shapes = {**_registration._shape_calculator_pool, "SklearnTargetEncoder": _shape_of_means}
    patches.append((_registration, "_shape_calculator_pool", shapes))
    for module in (decision_tree, gradient_boosting, isolation_forest, random_forest):
        patches.append((module, "add_tree_to_attribute_pairs", _add_tree))
    for name, mend in _MENDS.items():
        registered = pool[f"Sklearn{name}"]
        patches.append((registered, "_fct", mend(registered._fct)))
    with changed_attributes(patches):
        yield


def register() -> None:
    """Tell skl2onnx of estimators that it does not know, for the rest of this process."""
    shapes = shape_calculator.calculate_linear_regressor_output_shapes
    update_registered_converter(IsotonicRegression, "SklearnIsotonicRegression", shapes, _converter(_isotonic))


@contextmanager
def changed_attributes(attributes: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Objects with other attributes, (object, name, value) each; as they were on leaving."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in attributes]
    try:
        for owner, name, value in attributes:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _in_the_order_asked(fetch: Callable[..., Any]) -> Callable[..., Any]:
    """A ColumnTransformer that takes all columns in another order got them in the input's order."""

    def fetch_in_order(scope: Any, inputs: list[Any], columns: list[int]) -> Any:
        if list(columns) == list(range(len(columns))):
            return fetch(scope, inputs, columns)
        # An input of unknown width is never taken for the columns wanted.
        with changed_attributes([(source, "_type", type(source.type)([None, None])) for source in inputs]):
            return fetch(scope, inputs, columns)

    return fetch_in_order


# --- writing nodes --------------------------------------------------------------------------------------------------


class _Graph:
    """Writes the nodes of one operator: ``graph.Add(x, 1)`` adds an Add node and gives the name of its output.

    Numbers and float arrays among the inputs become constants in the graph's dtype, other arrays in their own.

    Attributes:
        wide: the operator's input is float64.
    """

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        self.scope, self.operator, self.container = scope, operator, container
        self.wide = isinstance(operator.inputs[0].type, DoubleTensorType)

    def __getattr__(self, op_type: str) -> Callable[..., str]:
        return functools.partial(self._add, op_type)

    def _add(self, op_type: str, *inputs: Any, out: str | None = None, **attributes: Any) -> str:
        out = out or self.name(op_type.lower())
        self.write(op_type, inputs, [out], name=self.scope.get_unique_operator_name(op_type), **attributes)
        return out

    def write(self, op_type: str, inputs: Iterable[Any], outputs: list[str], **attributes: Any) -> None:
        names = [given if isinstance(given, str) else self._constant(given) for given in inputs]
        self.container.add_node(op_type, names, outputs, **attributes)

    def name(self, like: str) -> str:
        """A name no other tensor has."""
        return self.scope.get_unique_variable_name(like)

    def rows(self) -> str:
        """The operator's input as one float matrix."""
        kind = TensorProto.DOUBLE if self.wide else TensorProto.FLOAT
        names = [self.Cast(name, to=kind) for name in self.operator.input_full_names]
        return names[0] if len(names) == 1 else self.Concat(*names, axis=1)

    def answer(self, name: str) -> None:
        """Give this tensor as the operator's output."""
        (out,) = self.operator.outputs
        # What comes next was told this type, which is float32 for some also in a float64 graph.
        self.Cast(name, out=out.full_name, to=guess_proto_type(out.type))

    def normalized(self, x: str, norm: str, smallest: float) -> str:
        """Rows divided by their norm ("l1", "l2" or "max"), where that is not below `smallest`."""
        reduce, of = (self.ReduceMax, self.Abs(x)) if norm == "max" else (getattr(self, f"Reduce{norm.upper()}"), x)
        if self.container.target_opset >= 18:
            size = reduce(of, np.array([1]), keepdims=1)
        else:
            size = reduce(of, axes=[1], keepdims=1)
        return self.Div(x, self.Where(self.Less(size, smallest), 1, size))

    def _constant(self, value: Any) -> str:
        array = np.asarray(value)
        if array.dtype.kind == "f" or not isinstance(value, np.ndarray):
            array = array.astype(np.float64 if self.wide else np.float32)
        name = self.name("constant")
        if array.dtype.kind in "OU":
            kind, values = TensorProto.STRING, [str(item).encode() for item in array.ravel()]
        else:
            kind, values = helper.np_dtype_to_tensor_dtype(array.dtype), array.ravel().tolist()
        self.container.add_initializer(name, kind, list(array.shape), values)
        return name


@dataclass
class _Node:
    """A node a converter is about to write."""

    op_type: str
    inputs: list[Any]
    outputs: list[str]
    attributes: dict[str, Any]

    def become(self, op_type: str, *inputs: Any) -> None:
        self.op_type, self.inputs, self.attributes = op_type, list(inputs), {}


Change = Callable[[_Graph, _Node], None]
"""Changes a node in place, and writes further ones where it needs them."""


class _Changing:
    """A container whose nodes are changed before they are written."""

    def __init__(self, graph: _Graph, change: Change) -> None:
        self._graph, self._change = graph, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph.container, name)

    def add_node(self, op_type: str, inputs: Any, outputs: Any, **attributes: Any) -> None:
        inputs, outputs = ([names] if isinstance(names, str) else list(names) for names in (inputs, outputs))
        node = _Node(op_type, inputs, outputs, attributes)
        self._change(self._graph, node)
        self._graph.write(node.op_type, node.inputs, node.outputs, **node.attributes)


def _changed(change: Change) -> Mend:
    """Lets a converter write what it always wrote, each node changed by `change`."""

    def mend(convert: Converter) -> Converter:
        def converter(scope: Any, operator: Any, container: Any) -> None:
            convert(scope, operator, _Changing(_Graph(scope, operator, container), change))

        return converter

    return mend


def _anew(write: Callable[[_Graph, Any], str]) -> Mend:
    return lambda _: _converter(write)


def _instead(write: Callable[[_Graph, Callable[[], None]], None]) -> Mend:
    """`write` takes the graph, and a call that writes what the converter always wrote, for where that is right."""

    def mend(convert: Converter) -> Converter:
        def converter(scope: Any, operator: Any, container: Any) -> None:
            write(_Graph(scope, operator, container), lambda: convert(scope, operator, container))

        return converter

    return mend


def _converter(write: Callable[[_Graph, Any], str]) -> Converter:
    """A converter of its own: `write` takes the graph and the estimator, and gives the answer's name."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        graph = _Graph(scope, operator, container)
        graph.answer(write(graph, operator.raw_operator))

    return converter


# --- trees ----------------------------------------------------------------------------------------------------------

_TREES = (
    "DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor ExtraTreesClassifier "
    "ExtraTreesRegressor GradientBoostingClassifier GradientBoostingRegressor IsolationForest "
    "RandomForestClassifier RandomForestRegressor"
).split()
"""Estimators that cast their rows to float32 before they compare them with a threshold."""


def float32_below(threshold: Any) -> np.ndarray:
    """The largest float32 that is not above a float64 threshold t: for every float32 x, ``x <= t`` and
    ``x <= float32_below(t)`` are then the same question. Rounding to nearest would send x between the two astray.

    Args:
        threshold: float64, a number or an array; the answer has its shape and dtype.
    """
    exact = np.asarray(threshold, np.float64)
    with np.errstate(over="ignore"):
        near = exact.astype(np.float32)
        below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near <= exact, near, below).astype(np.float64)


def _add_tree(
    attributes: dict[str, list[Any]],
    is_classifier: bool,
    tree: Any,
    tree_id: int,
    tree_weight: float,
    weight_id_bias: int,
    leaf_weights_are_counts: bool,
    compares_float32: bool,
    dtype: Any,
) -> None:
    """Put a tree into the attributes of a TreeEnsemble, as ``tree_ensemble.add_tree_to_attribute_pairs`` does.

    That one sent missing values right at every split, rounded some thresholds wrongly in float64, and took half a
    minute for a million nodes, one at a time.
    """
    count = tree.node_count
    branch = tree.children_left >= 0
    nodes = np.arange(count)
    thresholds = float32_below(tree.threshold) if compares_float32 or dtype == np.float32 else tree.threshold
    attributes["nodes_treeids"] += [tree_id] * count
    attributes["nodes_nodeids"] += nodes.tolist()
    attributes["nodes_featureids"] += np.where(branch, tree.feature, 0).tolist()
    attributes["nodes_modes"] += np.where(branch, "BRANCH_LEQ", "LEAF").tolist()
    attributes["nodes_values"] += np.where(branch, thresholds, 0.0).tolist()
    attributes["nodes_truenodeids"] += np.where(branch, tree.children_left, 0).tolist()
    attributes["nodes_falsenodeids"] += np.where(branch, tree.children_right, 0).tolist()
    attributes["nodes_missing_value_tracks_true"] += _missing_left(tree)
    attributes["nodes_hitrates"] += [1.0] * count

    leaves = nodes[~branch]
    weights = tree.value[leaves].reshape(len(leaves), -1)
    if leaf_weights_are_counts:
        total = weights.sum(axis=1, keepdims=True)
        weights = weights / np.where(total == 0, 1, total)
    weights = weights * tree_weight
    if is_classifier and weights.shape[1] == 2:
        weights = weights[:, 1:]
    width = weights.shape[1]
    kind = "class" if is_classifier else "target"
    attributes[f"{kind}_treeids"] += [tree_id] * weights.size
    attributes[f"{kind}_nodeids"] += np.repeat(leaves, width).tolist()
    attributes[f"{kind}_ids"] += np.tile(np.arange(width) + weight_id_bias, len(leaves)).tolist()
    attributes[f"{kind}_weights"] += weights.ravel().tolist()


def _missing_left(tree: Any) -> list[int]:
    """1 for each node of a tree that sends missing values left."""
    return ((tree.children_left >= 0) & (tree.missing_go_to_left != 0)).astype(int).tolist()


def _of_several_targets(populate: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Trees of several targets had their thresholds rounded up too, and sent missing values right."""

    def populated(model: Any, *args: Any) -> dict[str, Any]:
        attributes = populate(model, *args)
        attributes["nodes_values"] = float32_below(attributes["nodes_values"]).tolist()
        attributes["nodes_missing_value_tracks_true"] = _missing_left(model.tree_)
        return attributes

    return populated


def _add_hist_tree(attributes: dict[str, list[Any]], is_classifier: bool, tree: Any, *args: Any, **dtype: Any) -> None:
    """The same for a tree of HistGradientBoosting. Its float64 thresholds were rounded to nearest, some of them up."""
    nodes = tree.nodes
    leaf = nodes["is_leaf"] != 0
    plain = SimpleNamespace(
        node_count=len(nodes),
        children_left=np.where(leaf, -1, nodes["left"].astype(int)),
        children_right=np.where(leaf, -1, nodes["right"].astype(int)),
        feature=nodes["feature_idx"],
        threshold=nodes["num_threshold"],
        missing_go_to_left=nodes["missing_go_to_left"],
        value=nodes["value"],
    )
    _add_tree(attributes, is_classifier, plain, *args, **dtype)


def in_float32(convert: Converter) -> Converter:
    """In a float64 graph, cast before the trees, as scikit-learn does, and back behind them.

    skl2onnx handed float64 rows to trees whose thresholds it had rounded: regressors failed, classifiers flipped.
    """

    def converter(scope: Any, operator: Any, container: Any) -> None:
        graph = _Graph(scope, operator, container)
        if not graph.wide:
            convert(scope, operator, container)
            return
        narrow: dict[str, str] = {}
        for given in operator.inputs:
            narrow[given.full_name] = graph.Cast(given.full_name, to=TensorProto.FLOAT)
        wide = [out for out in operator.outputs if isinstance(out.type, DoubleTensorType)]
        for out in wide:
            narrow[out.full_name] = graph.name("narrow")
            graph.Cast(narrow[out.full_name], out=out.full_name, to=TensorProto.DOUBLE)

        def rename(graph: _Graph, node: _Node) -> None:
            node.inputs = [narrow.get(name, name) for name in node.inputs]
            node.outputs = [narrow.get(name, name) for name in node.outputs]

        with changed_attributes(
            [(value, "_type", FloatTensorType(value.type.shape)) for value in [*operator.inputs, *wide]]
        ):
            _changed(rename)(convert)(scope, operator, container)

    return converter


def in_float64(convert: Converter) -> Converter:
    """Thresholds of HistGradientBoosting (and LightGBM) in float64 where the graph is, as theirs are; rounded down to
    float32 where it is not. skl2onnx rounded them to the nearest float32 in both."""
    if "op_version" in signature(convert).parameters:
        # skl2onnx keeps float64 thresholds for operators of version 3 alone.
        convert = functools.partial(convert, op_version=3)
    return _changed(_threshold_tensors)(convert)


def lightgbm(convert: Converter) -> Converter:
    """A forest (``boosting_type="rf"``) is the mean of its trees, which onnxmltools took for a hundredth of the sum."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        model = operator.raw_operator
        if model.boosting_type != "rf":
            in_float64(convert)(scope, operator, container)
            return
        with changed_attributes([(model, "boosting_type", "gbdt")]):
            in_float64(_changed(_mean_of_trees)(convert))(scope, operator, container)

    return converter


def xgboost(convert: Converter) -> Converter:
    """Trees beside each other in a turn (``num_parallel_tree``, a forest) were taken for those of other classes."""
    return in_float32(_changed(_trees_by_class)(convert))


def _trees_by_class(graph: _Graph, node: _Node) -> None:
    model = graph.operator.raw_operator
    beside, classes = model.get_xgb_params().get("num_parallel_tree") or 1, getattr(model, "n_classes_", 0)
    if node.op_type == "TreeEnsembleClassifier" and classes > 2:
        node.attributes["class_ids"] = [tree // beside % classes for tree in node.attributes["class_treeids"]]


def _mean_of_trees(graph: _Graph, node: _Node) -> None:
    if not node.op_type.startswith("TreeEnsemble"):
        return
    turns = graph.operator.raw_operator.booster_.current_iteration()
    for kind in ("class", "target"):
        if (weights := node.attributes.get(f"{kind}_weights")) is not None:
            node.attributes[f"{kind}_weights"] = [weight / turns for weight in weights]


def _threshold_tensors(graph: _Graph, node: _Node) -> None:
    if not node.op_type.startswith("TreeEnsemble"):
        return
    if not graph.wide:
        node.attributes["nodes_values"] = float32_below(node.attributes["nodes_values"]).tolist()
        return
    for name in ("nodes_values", "nodes_hitrates", "class_weights", "target_weights", "base_values"):
        if name in node.attributes:
            values = np.asarray(node.attributes.pop(name), np.float64).ravel()
            node.attributes[f"{name}_as_tensor"] = numpy_helper.from_array(values, name)
    node.attributes["op_version"] = 3
    # Scores are float32 all the same; and what comes next may have been told so, behind columns of both types.
    scores, node.outputs[-1] = node.outputs[-1], graph.name("narrow")
    told = {out.full_name: guess_proto_type(out.type) for out in graph.operator.outputs}
    graph.Cast(node.outputs[-1], out=scores, to=told.get(scores, TensorProto.DOUBLE))


# --- estimators within ------------------------------------------------------------------------------------------------


def _telling(change: Callable[[Any, Any, int, dict[str, Any]], dict[str, Any]]) -> Mend:
    """`change` takes the estimator, the container, and the id and options of what is told some within; gives others."""

    def mend(convert: Converter) -> Converter:
        def converter(scope: Any, operator: Any, container: Any) -> None:
            def told(add: Callable[..., None]) -> Callable[..., None]:
                return lambda number, options: add(number, change(operator.raw_operator, container, number, options))

            with changed_attributes([(owner, "add_options", told(owner.add_options)) for owner in (scope, container)]):
                convert(scope, operator, container)

        return converter

    return mend


def _of_scores_or_probabilities(calibrated: Any, container: Any, told: int, options: dict[str, Any]) -> dict[str, Any]:
    """Calibration asked raw scores of what has probabilities alone, too; but for a RandomForestClassifier."""
    for fold in calibrated.calibrated_classifiers_:
        if id(fold.estimator) == told and not hasattr(fold.estimator, "decision_function"):
            return {**options, "raw_scores": False}
    return options


def _passing_on(pipeline: Any, container: Any, told: int, options: dict[str, Any]) -> dict[str, Any]:
    """A pipeline within another estimator kept to itself that raw scores were wanted of it, so calibrated probabilities
    were wrong; and set options that its steps do not have."""
    step = next((step for _, step in pipeline.steps if id(step) == told), None)
    if step is None:
        return options
    if step is pipeline.steps[-1][1]:
        asked = container.get_options(pipeline, {"raw_scores": False}) or {}
        options = {**options, "raw_scores": asked.get("raw_scores", False)}
    return {name: value for name, value in options.items() if container.has_options(step, name)}


# --- nodes changed ----------------------------------------------------------------------------------------------------


def _imputer(graph: _Graph, as_always: Callable[[], None]) -> None:
    """SimpleImputer refused text whose missing values are NaN or None: in ONNX these are words; and whole numbers for
    missing ones. ONNX Runtime has no float64 Imputer."""
    imputer, out = graph.operator.raw_operator, graph.operator.outputs[0].full_name
    marker = imputer.missing_values
    if isinstance(graph.operator.inputs[0].type, StringTensorType) and not isinstance(marker, str):
        x = graph.Concat(*graph.operator.input_full_names, axis=1)
        words = {"op_domain": "ai.onnx.ml", "op_version": 2, "keys_strings": [str(marker)], "values_int64s": [1]}
        gone = graph.Cast(graph.LabelEncoder(x, default_int64=0, **words), to=TensorProto.BOOL)
        graph.Where(gone, np.array(imputer.statistics_, object), x, out=out)
    elif graph.wide or not isinstance(marker, float):
        x = graph.rows()
        missing = graph.IsNaN(x) if np.isnan(marker) else graph.Equal(x, marker)
        graph.Where(missing, imputer.statistics_, x, out=out)
    else:
        as_always()


def _plain_svm(graph: _Graph, node: _Node) -> None:
    """ONNX Runtime has no float64 SVMRegressor: f(x) = k(x, support_vectors) · dual_coef + intercept, with the kernel
    k as `sklearn.svm` defines it."""
    if node.op_type != "SVMRegressor" or not graph.wide:
        return
    svm, (x,) = graph.operator.raw_operator, node.inputs
    vectors = svm.support_vectors_
    if svm.kernel == "rbf":
        distance = graph.CDist(x, vectors, op_domain="com.microsoft", metric="sqeuclidean")
        kernel = graph.Exp(graph.Mul(distance, -svm._gamma))
    else:
        kernel = graph.MatMul(x, vectors.T)
        if svm.kernel in ("poly", "sigmoid"):
            kernel = graph.Add(graph.Mul(kernel, svm._gamma), svm.coef0)
        if svm.kernel == "poly":
            kernel = graph.Pow(kernel, svm.degree)
        if svm.kernel == "sigmoid":
            kernel = graph.Tanh(kernel)
    node.become("Add", graph.MatMul(kernel, svm.dual_coef_.T), svm.intercept_)


def _scores_by_class(graph: _Graph, node: _Node) -> None:
    """A support vector classifier of two classes without probabilities gave each class the other one's score; not where
    it is asked for raw ones, which it turns round itself."""
    svc, scores = graph.operator.raw_operator, graph.operator.outputs[1].full_name
    alone = node.outputs == [scores] and len(node.inputs) == 1
    if alone and len(svc.classes_) == 2 and not len(svc.probA_):
        node.inputs = [graph.Neg(*node.inputs)]


def _neighbours(graph: _Graph, node: _Node) -> None:
    """Neighbours weighted by distance all weighed the same, for their distances came with a minus; and one at distance
    zero left the others a millionth. Those within a radius were looked up by number -1 where they are out of reach, and
    lost where they are just in it."""
    if node.op_type == "Max":
        node.inputs = [graph.Abs(node.inputs[0]), 1e-20]
    if hasattr(graph.operator.raw_operator, "radius") and not hasattr(graph.operator.raw_operator, "kneighbors"):
        if node.op_type == "Less":
            node.op_type = "LessOrEqual"
        if node.op_type == "ArrayFeatureExtractor":
            node.inputs = [node.inputs[0], graph.Max(node.inputs[1], np.array([0]))]


def _distances(convert: Callable[..., Any]) -> Callable[..., Any]:
    """Cosine distances were NaN for rows of zeros, and differ for rows so small that scikit-learn takes them for zeros:
    it divides by no norm below ten roundings. Chebyshev distances, max |x - y|, were not known."""

    def distances(x: Any, fit: np.ndarray, metric: str, dtype: Any, op_version: int, **sizes: Any) -> Any:
        version = {"op_version": op_version}
        if metric == "cosine":
            norm = onnx_ops.OnnxSqrt(onnx_ops.OnnxReduceSumSquareApi18(x, axes=[1], keepdims=1, **version), **version)
            small = onnx_ops.OnnxLess(norm, np.array([10 * np.finfo(np.float64).eps], dtype), **version)
            unit = onnx_ops.OnnxDiv(x, onnx_ops.OnnxWhere(small, np.array([1], dtype), norm, **version), **version)
            cosine = onnx_ops.OnnxMatMul(unit, normalize(fit).T.astype(dtype), **version)
            return onnx_ops.OnnxClip(
                onnx_ops.OnnxSub(np.array([1], dtype), cosine, **version),
                np.array(0, dtype),
                np.array(2, dtype),
                **version,
            )
        if metric == "chebyshev":
            apart, again = complex_functions._onnx_cdist_begin(op_version)
            most = onnx_ops.OnnxReduceMaxApi18(onnx_ops.OnnxAbs(apart, **version), axes=[1], keepdims=0, **version)
            found = onnx_ops.OnnxIdentity(most, output_names=["scan_out"], **version)
            return complex_functions._onnx_cdist_end(x, fit, again, found, dtype, op_version, **sizes)
        return convert(x, fit, metric=metric, dtype=dtype, op_version=op_version, **sizes)

    return distances


def _link(graph: _Graph, node: _Node) -> None:
    """HistGradientBoosting with a loss of counts adds up logarithms, which were given as they are."""
    answer = graph.operator.outputs[0].full_name
    if graph.operator.raw_operator.loss in ("poisson", "gamma") and node.outputs == [answer]:
        node.outputs = [graph.name("logarithm")]
        graph.Exp(*node.outputs, out=answer)


def _real_roots(graph: _Graph, node: _Node) -> None:
    """KMeans computes squared distances as differences, which rounding makes negative near a centre: NaN there."""
    if node.op_type == "Sqrt":
        node.inputs = [graph.Relu(*node.inputs)]


def _missing_categories(graph: _Graph, node: _Node) -> None:
    """OrdinalEncoder looked missing numbers up, and LabelEncoder never finds NaN. Codes are floats, as NaN is one; NaN
    that is no category is as unknown as any."""
    if node.op_type != "LabelEncoder":
        return
    for integer, real in (("values_int64s", "values_floats"), ("default_int64", "default_float")):
        if integer in node.attributes:
            node.attributes[real] = np.float32(node.attributes.pop(integer))
    encoder = graph.operator.raw_operator
    for categories in encoder.categories_:
        names = [str(category) for category in categories]
        if names == [bytes(key).decode() for key in node.attributes.get("keys_strings", [])]:
            gone = [isinstance(category, float) and np.isnan(category) for category in categories]
            node.attributes["values_floats"] = np.where(
                gone, encoder.encoded_missing_value, node.attributes["values_floats"]
            ).astype(np.float32)
    if np.isnan(node.attributes.get("keys_floats", [])).any():
        code = graph.Cast(float(graph.operator.raw_operator.encoded_missing_value), to=TensorProto.FLOAT)
        out, node.outputs = node.outputs[0], [graph.name("found")]
        graph.Where(graph.IsNaN(*node.inputs), code, *node.outputs, out=out)


def _flat_labels(graph: _Graph, node: _Node) -> None:
    """QuadraticDiscriminantAnalysis wrote its labels as (1, rows) instead of (rows,)."""
    label = graph.operator.outputs[0].full_name
    if node.outputs == [label]:
        node.outputs = [graph.name("row")]
        graph.Reshape(*node.outputs, np.array([-1]), out=label)


def _tuned_threshold(graph: _Graph, node: _Node) -> None:
    """TunedThresholdClassifierCV decides at its own threshold; the converter left it at one half."""
    tuned = graph.operator.raw_operator
    label, probabilities = (out.full_name for out in graph.operator.outputs)
    if not hasattr(tuned.estimator_, "predict_proba") or tuned.response_method == "decision_function":
        raise UnsupportedModel(
            "TunedThresholdClassifierCV over a decision function cannot be converted: tune it with "
            'response_method="predict_proba".'
        )
    if node.outputs == [label]:
        positive = graph.Gather(probabilities, np.array(1), axis=1)
        above = graph.Cast(graph.GreaterOrEqual(positive, tuned.best_threshold_), to=TensorProto.INT64)
        classes = np.asarray(tuned.classes_)
        node.become("Gather", classes if classes.dtype.kind in "OU" else classes.astype(np.int64), above)


def _characters(graph: _Graph, node: _Node) -> None:
    """Texts taken apart by characters kept runs of blanks, which scikit-learn makes one."""
    if node.op_type != "Tokenizer" or graph.operator.raw_operator.analyzer != "char":
        return
    run = f"[{SPACE}]{{2,}}"
    node.attributes["tokenexp"] = f"{run}|(?s:.)"
    out, node.outputs = node.outputs[0], [graph.name("characters")]
    # The checker of ONNX ends the process where RegexFullMatch is given what has no type.
    typed = graph.Cast(*node.outputs, to=TensorProto.STRING)
    graph.Where(graph.RegexFullMatch(typed, pattern=run, op_version=20), np.array([" "]), typed, out=out)


# --- converters written anew ------------------------------------------------------------------------------------------


def _normalizer(graph: _Graph, estimator: Any) -> str:
    """Normalizer gave NaN for rows of zeros, and blew up rows that scikit-learn takes for zeros."""
    return graph.normalized(graph.rows(), estimator.norm, 10 * np.finfo(np.float64).eps)


def _tfidf(graph: _Graph, estimator: Any) -> str:
    """TfidfTransformer gave NaN for texts without a known word, and log(1 + n) for 1 + log(n) (sublinear_tf)."""
    x = graph.rows()
    if estimator.sublinear_tf:
        x = graph.Where(graph.Equal(x, 0), 0, graph.Add(graph.Log(x), 1))
    if estimator.use_idf:
        x = graph.Mul(x, np.asarray(estimator.idf_).ravel())
    if estimator.norm is not None:
        x = graph.normalized(x, estimator.norm, float(np.finfo(np.float32).tiny))
    return x


def _knn_imputer(graph: _Graph, imputer: Any) -> str:
    """KNNImputer failed on all rows where one had no number at all, and knew no weights by distance.

    A missing number of a row becomes the mean of those of its nearest neighbours that have one; distances are over the
    numbers both have, scaled up to all. The column's mean where no neighbour shares a number with the row.
    """
    x, fit, gone = graph.rows(), imputer._fit_X.astype(np.float64), imputer._mask_fit_X
    real, far = TensorProto.DOUBLE if graph.wide else TensorProto.FLOAT, 1e30
    lacks = graph.IsNaN(x)
    present, filled = graph.Cast(graph.Not(lacks), to=real), graph.Where(lacks, 0, x)
    known, there = np.where(gone, 0, fit), (~gone).astype(np.float64)
    squares = graph.Add(graph.MatMul(graph.Mul(filled, filled), there.T), graph.MatMul(present, (known**2).T))
    apart = graph.Relu(graph.Sub(squares, graph.MatMul(filled, 2 * known.T)))
    shared = graph.MatMul(present, there.T)
    scaled = graph.Div(graph.Mul(apart, float(fit.shape[1])), graph.Max(shared, 1))
    distances = graph.Where(graph.Equal(shared, 0), far, graph.Sqrt(scaled))
    out = []
    for place in np.flatnonzero(imputer._valid_mask):
        column = graph.Gather(x, np.array([place]), axis=1)
        out.append(column)
        if not len(donors := np.flatnonzero(~gone[:, place])):
            continue
        nearest, index = graph.name("nearest"), graph.name("index")
        count = np.array([min(imputer.n_neighbors, len(donors))])
        graph.write("TopK", [graph.Gather(distances, donors, axis=1), count], [nearest, index], largest=0)
        weights = graph.Cast(graph.Less(nearest, far), to=real)
        if imputer.weights == "distance":
            weights = graph.Mul(weights, graph.Reciprocal(graph.Max(nearest, 1e-20)))
        ones = np.ones((count[0], 1))
        total = graph.MatMul(graph.Mul(weights, graph.Gather(fit[donors, place], index, axis=0)), ones)
        weight = graph.MatMul(weights, ones)
        alone = graph.Equal(weight, 0)
        mean = graph.Where(alone, fit[donors, place].mean(), graph.Div(total, graph.Where(alone, 1, weight)))
        out[-1] = graph.Where(graph.IsNaN(column), mean, column)
    return graph.Concat(*out, axis=1)


def _power_transformer(graph: _Graph, estimator: Any) -> str:
    """PowerTransformer gave numbers for missing values, which scikit-learn leaves missing, and had no float64 form.

    Yeo-Johnson: ``±((1 + |x|)^p - 1) / p``, p = lambda from zero up and 2 - lambda below; Box-Cox: ``(x^p - 1) / p``,
    p = lambda; the logarithm where p is zero.
    """
    x, power = graph.rows(), estimator.lambdas_
    if estimator.method == "yeo-johnson":
        negative = graph.Less(x, 0)
        base, power = graph.Add(graph.Abs(x), 1), graph.Where(negative, 2 - power, power)
    else:
        base, power = x, graph.Identity(power)
    zero = graph.Equal(power, 0)
    divisor = graph.Where(zero, 1, power)
    y = graph.Where(zero, graph.Log(base), graph.Div(graph.Sub(graph.Pow(base, power), 1), divisor))
    if estimator.method == "yeo-johnson":
        y = graph.Where(negative, graph.Neg(y), y)
    if estimator.standardize:
        y = graph.Div(graph.Sub(y, estimator._scaler.mean_), estimator._scaler.scale_)
    return y


def _quantile_transformer(graph: _Graph, estimator: Any) -> str:
    """QuantileTransformer, whose converter took time exponential in the number of quantiles.

    A number x of a column with quantiles q lies between the last quantile that is not above it and the first that is
    not below it; their references are averaged by x's place between them, and evenly where both equal x, as on a step
    of equal quantiles. 0 and 1 at the ends. Source: ``QuantileTransformer._transform_col``.
    """
    if estimator.output_distribution != "uniform":
        raise UnsupportedModel(
            'QuantileTransformer with output_distribution="normal" cannot be converted: ONNX has no inverse of the '
            'normal distribution; use "uniform".'
        )
    x, quantiles = graph.rows(), estimator.quantiles_
    count, columns = quantiles.shape
    cells = graph.Unsqueeze(x, np.array([2]))

    def counted(comparison: Callable[..., str]) -> str:
        """How many quantiles of its column each number is past."""
        past = graph.Cast(comparison(cells, quantiles.T[None]), to=TensorProto.INT64)
        return graph.ReduceSum(past, np.array([2]), keepdims=0)

    def within(index: str) -> str:
        """The place of a column's quantile in all of them, column after column."""
        index = graph.Min(graph.Max(index, np.array(0)), np.array(count - 1))
        return graph.Add(index, np.arange(columns) * count)

    def read(values: Any, index: str) -> str:
        return graph.Gather(values.T.ravel(), index, axis=0)

    references = np.tile(estimator.references_[:, None], columns)
    low = within(graph.Sub(counted(graph.GreaterOrEqual), np.array(1)))
    high = within(counted(graph.Greater))
    low_q, low_r = read(quantiles, low), read(references, low)
    width = graph.Sub(read(quantiles, high), low_q)
    step = graph.Equal(width, 0)
    way = graph.Where(step, 0.5, graph.Div(graph.Sub(x, low_q), graph.Where(step, 1, width)))
    y = graph.Add(low_r, graph.Mul(way, graph.Sub(read(references, high), low_r)))
    y = graph.Where(graph.GreaterOrEqual(x, quantiles[-1]), 1, y)
    y = graph.Where(graph.LessOrEqual(x, quantiles[0]), 0, y)
    return graph.Where(graph.IsNaN(x), x, y)


def _isotonic(graph: _Graph, regressor: Any) -> str:
    """IsotonicRegression had no converter."""
    return _interpolated(graph, graph.rows(), regressor)


def _calibrated(scope: Any, container: Any, model: Any, scores: str, k: int, dtype: Any, proto_type: Any) -> str:
    """Isotonic calibration took the nearest threshold's probability, where scikit-learn draws a line to the next."""
    given = SimpleNamespace(type=(DoubleTensorType if dtype == np.float64 else FloatTensorType)())
    graph = _Graph(scope, SimpleNamespace(inputs=[given]), container)
    return _interpolated(graph, graph.Reshape(scores, np.array([-1, 1])), model.calibrators[k])


def _interpolated(graph: _Graph, x: str, regressor: Any) -> str:
    """Lines through the thresholds (x_i, y_i) of an isotonic regression: each adds ``(y_i+1 - y_i) * clip((x - x_i) /
    (x_i+1 - x_i), 0, 1)`` to y_0. NaN beyond the ends, but where values are clipped there."""
    at, y = (np.asarray(values, np.float64) for values in (regressor.X_thresholds_, regressor.y_thresholds_))
    # What the graph's dtype makes of them: apart by what it can tell, or a step.
    at = at if graph.wide else at.astype(np.float32).astype(np.float64)
    width = np.maximum(np.diff(at), np.finfo(np.float32).tiny)
    share = graph.Clip(graph.Div(graph.Sub(x, at[:-1]), width), 0, 1)
    found = graph.Add(graph.MatMul(share, np.diff(y).reshape(-1, 1)), y[0])
    if regressor.out_of_bounds == "clip":
        return found
    beyond = graph.Or(graph.Less(x, at[0]), graph.Greater(x, at[-1]))
    return graph.Where(beyond, float("nan"), found)


# --- encoders ---------------------------------------------------------------------------------------------------------


def _memberships(graph: _Graph, encoder: Any) -> Iterator[str]:
    """For each column an encoder learnt, (rows, categories): 1 where a row holds the category, else 0. Missing text is
    a word, and a truth value beside text its number, as skl2onnx casts it."""
    real = TensorProto.DOUBLE if graph.wide else TensorProto.FLOAT
    columns = (
        (value.type, graph.Gather(value.full_name, np.array([place]), axis=1))
        for value in graph.operator.inputs
        for place in range(value.type.shape[1])
    )
    for (kind, column), categories in zip(columns, encoder.categories_, strict=True):
        if isinstance(kind, StringTensorType):
            names = [str(int(one) if isinstance(one, bool | np.bool_) else one) for one in categories]
            words = {"keys_strings": names, "values_int64s": list(range(len(names)))}
            code = graph.LabelEncoder(column, op_domain="ai.onnx.ml", op_version=2, default_int64=-1, **words)
            found = graph.Equal(code, np.arange(len(categories)))
        elif isinstance(kind, Int64TensorType):
            found = graph.Equal(column, np.asarray(categories, np.int64))
        else:
            x, known = graph.Cast(column, to=real), np.asarray(categories, np.float64)
            found = graph.Equal(x, known)
            if np.isnan(known).any():
                found = graph.Or(found, graph.And(graph.IsNaN(x), np.isnan(known)))
        yield graph.Cast(found, to=real)


def _one_hot(graph: _Graph, as_always: Callable[[], None]) -> None:
    """OneHotEncoder knew whole numbers and texts alone, and no rare categories put together."""
    encoder = graph.operator.raw_operator
    whole = all(
        categories.dtype.kind != "f" or (categories == np.trunc(categories)).all()
        for categories in map(np.asarray, encoder.categories_)
    )
    if whole and not encoder._infrequent_enabled:
        as_always()
        return
    out = []
    for index, found in enumerate(_memberships(graph, encoder)):
        count = len(encoder.categories_[index])
        grouped = encoder._default_to_infrequent_mappings[index] if encoder._infrequent_enabled else None
        into = np.eye(count) if grouped is None else np.eye(max(grouped) + 1)[grouped]
        drop = encoder._drop_idx_after_grouping
        kept = [place for place in range(into.shape[1]) if drop is None or place != drop[index]]
        column = graph.MatMul(found, into[:, kept])
        if grouped is not None and encoder.handle_unknown in ("infrequent_if_exist", "warn"):
            unknown = graph.Sub(1, graph.MatMul(found, np.ones((count, 1))))
            column = graph.Add(column, graph.Mul(unknown, np.eye(into.shape[1])[-1][kept]))
        out.append(column)
    graph.answer(graph.Concat(*out, axis=1))


def _target_encoder(graph: _Graph, encoder: Any) -> str:
    """TargetEncoder took two classes or one number alone. An unknown category is given the mean of all."""
    means = np.atleast_1d(np.asarray(encoder.target_mean_, np.float64))
    out = []
    for index, found in enumerate(_memberships(graph, encoder)):
        codes = np.stack(encoder.encodings_[index * len(means) : (index + 1) * len(means)], axis=1)
        unknown = graph.Sub(1, graph.MatMul(found, np.ones((len(codes), 1))))
        out.append(graph.Add(graph.MatMul(found, codes), graph.Mul(unknown, means)))
    return graph.Concat(*out, axis=1)


def _shape_of_means(operator: Any) -> None:
    """TargetEncoder refused float64, and counted a column for many classes."""
    given = operator.inputs[0]
    kind = DoubleTensorType if isinstance(given.type, DoubleTensorType) else FloatTensorType
    operator.outputs[0].type = kind([given.get_first_dimension(), len(operator.raw_operator.encodings_)])


# --- which for which --------------------------------------------------------------------------------------------------

_NEIGHBOURS = "KNeighborsClassifier KNeighborsRegressor RadiusNeighborsClassifier RadiusNeighborsRegressor".split()

_MENDS: dict[str, Mend] = {
    **dict.fromkeys(_TREES, in_float32),
    "CalibratedClassifierCV": _telling(_of_scores_or_probabilities),
    "CountVectorizer": _changed(_characters),
    "HistGradientBoostingClassifier": in_float64,
    "HistGradientBoostingRegressor": lambda convert: _changed(_link)(in_float64(convert)),
    "KMeans": _changed(_real_roots),
    "KNNImputer": _anew(_knn_imputer),
    **dict.fromkeys(_NEIGHBOURS, _changed(_neighbours)),
    "MiniBatchKMeans": _changed(_real_roots),
    "Normalizer": _anew(_normalizer),
    "OneClassSVM": _changed(_plain_svm),
    "OneHotEncoder": _instead(_one_hot),
    "OrdinalEncoder": _changed(_missing_categories),
    "Pipeline": _telling(_passing_on),
    "PowerTransformer": _anew(_power_transformer),
    "QuadraticDiscriminantAnalysis": _changed(_flat_labels),
    "QuantileTransformer": _anew(_quantile_transformer),
    "SVC": _changed(_scores_by_class),
    "SVR": _changed(_plain_svm),
    "SimpleImputer": _instead(_imputer),
    "TargetEncoder": _anew(_target_encoder),
    "TfidfTransformer": _anew(_tfidf),
    "TfidfVectorizer": _changed(_characters),
    "TunedThresholdClassifierCV": _changed(_tuned_threshold),
}
