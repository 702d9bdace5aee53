"""What skl2onnx 1.20 gets wrong, put right while it converts.

Each mend names the fault. They hold inside `mended()` only: in the worker process, for one conversion. A mend whose
fault is gone upstream does no harm; `tests/test_convert_sklearn.py` holds every one of them against the estimator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..errors import UnsupportedModel

if TYPE_CHECKING:
    import numpy as np

_TREES = (
    "DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor ExtraTreesClassifier "
    "ExtraTreesRegressor GradientBoostingClassifier GradientBoostingRegressor IsolationForest "
    "RandomForestClassifier RandomForestRegressor"
).split()
"""Estimators that cast their rows to float32 before they compare them with a threshold."""

_FLOAT32_ONLY = "SVR NuSVR OneClassSVM SimpleImputer".split()
"""Estimators whose ONNX operator has no float64 form in ONNX Runtime, and which can be said in plain operators."""

_HIST = "HistGradientBoostingClassifier HistGradientBoostingRegressor".split()
"""Estimators that compare in float64."""


@contextmanager
def mended() -> Iterator[None]:
    """skl2onnx with its faults put right; every patch is taken back on leaving."""
    from skl2onnx import _parse
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common import _registration
    from skl2onnx.operator_converters import decision_tree, gradient_boosting, isolation_forest, random_forest

    pool = _registration._converter_pool
    users = (decision_tree, gradient_boosting, isolation_forest, random_forest)
    patches: list[tuple[Any, str, Any]] = [
        (_parse, "_fetch_input_slice", _keep_column_order(_parse._fetch_input_slice)),
    ]
    patches.append((decision_tree, "populate_tree_attributes", _as_the_others(decision_tree.populate_tree_attributes)))
    patches.append((pool["SklearnSVC"], "_fct", _scores_by_class(pool["SklearnSVC"]._fct)))
    patches += [(module, "add_tree_to_attribute_pairs", _add_tree) for module in users]
    name = "add_tree_to_attribute_pairs_hist_gradient_boosting"
    patches.append((random_forest, name, _with_low_thresholds(getattr(random_forest, name))))
    patches += [(pool[f"Sklearn{name}"], "_fct", in_float32(pool[f"Sklearn{name}"]._fct)) for name in _TREES]
    patches += [(pool[f"Sklearn{name}"], "_fct", in_float64(pool[f"Sklearn{name}"]._fct)) for name in _HIST]
    aliases = {sklearn_operator_name_map[kind] for kind in sklearn_operator_name_map if kind.__name__ in _FLOAT32_ONLY}
    patches += [(pool[alias], "_fct", _in_plain_float64(pool[alias]._fct)) for alias in aliases]
    patches += [
        (pool[f"Sklearn{name}"], "_fct", _real_roots(pool[f"Sklearn{name}"]._fct))
        for name in ("KMeans", "MiniBatchKMeans")
    ]
    patches.append((pool["SklearnPowerTransformer"], "_fct", _keep_missing(pool["SklearnPowerTransformer"]._fct)))
    patches.append((pool["SklearnNormalizer"], "_fct", _normalizer))
    patches.append((pool["SklearnTfidfTransformer"], "_fct", _tfidf))
    patches.append((pool["SklearnQuantileTransformer"], "_fct", _quantile_transformer))
    patches.append((pool["SklearnTunedThresholdClassifierCV"], "_fct", _tuned_threshold))
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in patches]
    try:
        for owner, attribute, value in patches:
            setattr(owner, attribute, value)
        yield
    finally:
        for owner, attribute, value in before:
            setattr(owner, attribute, value)


def float32_below(threshold: Any) -> np.ndarray:
    """The largest float32 that is not above a float64 threshold t: for every float32 x, ``x <= t`` and
    ``x <= float32_below(t)`` are then the same question. Rounding to nearest would send x between the two astray.

    Args:
        threshold: float64, a number or an array; the answer has its shape and dtype.
    """
    import numpy as np

    exact = np.asarray(threshold, np.float64)
    with np.errstate(over="ignore"):
        near = exact.astype(np.float32)
        below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near <= exact, near, below).astype(np.float64)


def _keep_column_order(fetch: Callable[..., Any]) -> Callable[..., Any]:
    """A ColumnTransformer that takes all columns in another order got them in the input's order."""

    def fetch_in_order(scope: Any, inputs: list[Any], columns: list[int]) -> Any:
        width = inputs[0].type.shape[1] if len(inputs) == 1 and len(inputs[0].type.shape) == 2 else None
        if width != len(columns) or list(columns) == list(range(len(columns))):
            return fetch(scope, inputs, columns)
        operator = scope.declare_local_operator("SklearnArrayFeatureExtractor")
        operator.inputs = inputs
        operator.column_indices = columns
        operator.outputs.append(scope.declare_local_variable("extracted_feature_columns", inputs[0].type))
        return operator.outputs

    return fetch_in_order


def _add_tree(
    attributes: dict[str, list[Any]],
    is_classifier: bool,
    tree: Any,
    tree_id: int,
    tree_weight: float,
    weight_id_bias: int,
    leaf_weights_are_counts: bool,
    adjust_threshold_for_sklearn: bool = False,
    dtype: Any = None,
) -> None:
    """Put a tree into the attributes of a TreeEnsemble, as ``tree_ensemble.add_tree_to_attribute_pairs`` does.

    That one sent missing values right at every split, rounded some thresholds wrongly in float64, and took half a
    minute for a million nodes, one at a time.
    """
    import numpy as np

    count = tree.node_count
    branch = tree.children_left >= 0
    nodes = np.arange(count)
    thresholds = float32_below(tree.threshold) if adjust_threshold_for_sklearn else tree.threshold
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


def _as_the_others(populate: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Trees of several targets had neither of both: thresholds rounded down, missing values on their own side."""
    import numpy as np

    def populated(model: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        attributes = populate(model, *args, **kwargs)
        tree = model.tree_
        attributes["nodes_values"] = float32_below(np.array(attributes["nodes_values"])).tolist()
        attributes["nodes_missing_value_tracks_true"] = _missing_left(tree)
        return attributes

    return populated


def _with_low_thresholds(add: Callable[..., None]) -> Callable[..., None]:
    """Float64 thresholds of HistGradientBoosting were rounded to nearest, some of them up; splits by category, which
    TreeEnsemble of ai.onnx.ml 3 cannot hold, became splits at zero."""
    import numpy as np

    def add_tree(attributes: dict[str, Any], is_classifier: bool, tree: Any, *args: Any, **kwargs: Any) -> None:
        nodes = tree.nodes
        if nodes["is_categorical"].any():
            raise UnsupportedModel(
                "HistGradientBoosting with categorical features cannot be converted by skl2onnx: encode them first "
                "(OneHotEncoder or OrdinalEncoder in a pipeline) and fit without categorical_features."
            )
        if kwargs.get("dtype") == np.float32:
            nodes = nodes.copy()
            nodes["num_threshold"] = float32_below(nodes["num_threshold"])
        add(attributes, is_classifier, SimpleNamespace(nodes=nodes), *args, **kwargs)
        # Booleans, where protobuf 7 wants integers.
        sides = "nodes_missing_value_tracks_true"
        attributes[sides] = [int(side) for side in attributes[sides]]

    return add_tree


def in_float32(convert: Callable[..., None]) -> Callable[..., None]:
    """In a float64 graph, cast before the trees, as scikit-learn does.

    skl2onnx handed float64 rows to trees whose thresholds it had rounded: regressors failed, classifiers flipped.
    """

    def converter(scope: Any, operator: Any, container: Any) -> None:
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
        from skl2onnx.proto import onnx_proto

        if len(operator.inputs) != 1 or not isinstance(operator.inputs[0].type, DoubleTensorType):
            convert(scope, operator, container)
            return
        source = operator.inputs[0]
        narrow = _variable(scope, source, FloatTensorType(source.type.shape))
        float_type = onnx_proto.TensorProto.FLOAT
        container.add_node("Cast", source.full_name, narrow.full_name, op_version=13, to=float_type)
        inner = operator.new_raw_operator(operator.raw_operator, operator.type)
        inner.inputs = [narrow]
        wide = list(operator.outputs)
        outputs = [
            _variable(scope, out, FloatTensorType(out.type.shape)) if isinstance(out.type, DoubleTensorType) else out
            for out in wide
        ]
        inner.__dict__["outputs"] = _bare(inner, outputs)
        convert(scope, inner, container)
        for ours, theirs in zip(outputs, wide, strict=True):
            if ours is not theirs:
                double = onnx_proto.TensorProto.DOUBLE
                container.add_node("Cast", ours.full_name, theirs.full_name, op_version=13, to=double)

    return converter


def in_float64(convert: Callable[..., None]) -> Callable[..., None]:
    """In a float64 graph, keep the thresholds of HistGradientBoosting (and LightGBM) in float64, as they do.

    That takes the ``*_as_tensor`` attributes of ai.onnx.ml 3; skl2onnx wrote float32 ones.
    """

    def converter(scope: Any, operator: Any, container: Any) -> None:
        from skl2onnx.common.data_types import DoubleTensorType

        if not isinstance(operator.inputs[0].type, DoubleTensorType):
            convert(scope, operator, _LowThresholds(container))
        elif "op_version" in signature(convert).parameters:
            convert(scope, operator, _WideTrees(container, scope), op_version=3)
        else:
            convert(scope, operator, _WideTrees(container, scope))

    return converter


class _LowThresholds:
    """A container that rounds float64 thresholds down to float32."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, op_type: str, inputs: Any, outputs: Any, **kwargs: Any) -> None:
        if op_type.startswith("TreeEnsemble"):
            kwargs["nodes_values"] = float32_below(kwargs["nodes_values"]).tolist()
        self._container.add_node(op_type, inputs, outputs, **kwargs)


class _WideTrees:
    """A container that writes TreeEnsemble nodes with float64 tensors, and their float32 scores as float64."""

    def __init__(self, container: Any, scope: Any) -> None:
        self._container, self._scope = container, scope

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, op_type: str, inputs: Any, outputs: Any, **kwargs: Any) -> None:
        import numpy as np
        from onnx import TensorProto, numpy_helper

        if not op_type.startswith("TreeEnsemble"):
            self._container.add_node(op_type, inputs, outputs, **kwargs)
            return
        for name in ("nodes_values", "nodes_hitrates", "class_weights", "target_weights", "base_values"):
            if name in kwargs:
                values = np.asarray(kwargs.pop(name), np.float64).ravel()
                kwargs[f"{name}_as_tensor"] = numpy_helper.from_array(values, name)
        *first, scores = [outputs] if isinstance(outputs, str) else outputs
        narrow = self._scope.get_unique_variable_name("float_scores")
        self._container.add_node(op_type, inputs, [*first, narrow], **{**kwargs, "op_version": 3})
        self._container.add_node("Cast", narrow, scores, op_version=13, to=TensorProto.DOUBLE)


def _in_plain_float64(convert: Callable[..., None]) -> Callable[..., None]:
    """In a float64 graph, SVMRegressor and Imputer, which ONNX Runtime has for float32 alone, as plain arithmetic."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        from skl2onnx.common.data_types import DoubleTensorType

        if isinstance(operator.inputs[0].type, DoubleTensorType):
            container = _PlainFloat64(container, scope, operator.raw_operator)
        convert(scope, operator, container)

    return converter


class _Writer:
    """Nodes and constants for a container, with names of their own."""

    def __init__(self, scope: Any, container: Any, dtype: Any) -> None:
        self._scope, self._container, self._dtype = scope, container, dtype

    def add(self, op_type: str, inputs: list[str], out: str | None = None, **kwargs: Any) -> str:
        """Write a node; returns its output's name."""
        out = out or self._scope.get_unique_variable_name(op_type.lower())
        self._container.add_node(op_type, inputs, out, name=self._scope.get_unique_operator_name(op_type), **kwargs)
        return out

    def normalized(self, x: str, norm: str, smallest: float, out: str | None = None) -> str:
        """Rows divided by their norm ("l1", "l2" or "max"), where that is not below `smallest`."""
        if norm == "max":
            x_abs, op_type = self.add("Abs", [x]), "ReduceMax"
        else:
            x_abs, op_type = x, f"Reduce{norm.upper()}"
        if self._container.target_opset >= 18:
            size = self.add(op_type, [x_abs, self.constant([1], "int64")], keepdims=1)
        else:
            size = self.add(op_type, [x_abs], axes=[1], keepdims=1)
        small = self.add("Less", [size, self.constant(smallest)])
        return self.add("Div", [x, self.add("Where", [small, self.constant(1), size])], out)

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Write an initializer, of the graph's dtype unless another is named; returns its name."""
        import numpy as np
        from onnx import helper

        array = np.asarray(value, dtype or self._dtype)
        name = self._scope.get_unique_variable_name("constant")
        text = array.dtype.kind in "OUST"
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(object) if text else array.dtype)
        values = [str(item).encode() for item in array.ravel()] if text else array.ravel().tolist()
        self._container.add_initializer(name, kind, list(array.shape), values)
        return name


class _PlainFloat64:
    """A container that writes SVMRegressor and Imputer nodes out."""

    def __init__(self, container: Any, scope: Any, estimator: Any) -> None:
        self._container, self._estimator = container, estimator
        self._writer = _Writer(scope, container, "float64")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, op_type: str, inputs: Any, outputs: Any, **kwargs: Any) -> None:
        if op_type not in ("SVMRegressor", "Imputer"):
            self._container.add_node(op_type, inputs, outputs, **kwargs)
            return
        (x,) = [inputs] if isinstance(inputs, str) else inputs
        (out,) = [outputs] if isinstance(outputs, str) else outputs
        if op_type == "Imputer":
            self._impute(x, out)
        else:
            self._support_vectors(x, out)

    def _impute(self, x: str, out: str) -> None:
        import numpy as np

        marker = self._estimator.missing_values
        if isinstance(marker, float) and np.isnan(marker):
            missing = self._writer.add("IsNaN", [x])
        else:
            missing = self._writer.add("Equal", [x, self._writer.constant(marker)])
        self._writer.add("Where", [missing, self._writer.constant(self._estimator.statistics_), x], out)

    def _support_vectors(self, x: str, out: str) -> None:
        """f(x) = dual_coef · k(support_vectors, x) + intercept, k as `sklearn.svm` defines it."""
        svm = self._estimator
        gamma, vectors = self._writer.constant(svm._gamma), svm.support_vectors_
        if svm.kernel == "rbf":
            distance = self._writer.add(
                "CDist", [x, self._writer.constant(vectors)], op_domain="com.microsoft", metric="sqeuclidean"
            )
            kernel = self._writer.add("Exp", [self._writer.add("Mul", [distance, self._writer.constant(-svm._gamma)])])
        else:
            kernel = self._writer.add("MatMul", [x, self._writer.constant(vectors.T)])
            if svm.kernel in ("poly", "sigmoid"):
                scaled = self._writer.add("Mul", [kernel, gamma])
                kernel = self._writer.add("Add", [scaled, self._writer.constant(svm.coef0)])
            if svm.kernel == "poly":
                kernel = self._writer.add("Pow", [kernel, self._writer.constant(svm.degree)])
            if svm.kernel == "sigmoid":
                kernel = self._writer.add("Tanh", [kernel])
        weighted = self._writer.add("MatMul", [kernel, self._writer.constant(svm.dual_coef_.T)])
        self._writer.add("Add", [weighted, self._writer.constant(svm.intercept_)], out)


def _write_for(scope: Any, operator: Any, container: Any) -> tuple[_Writer, str]:
    """A writer in the dtype of the operator's input, and the name of that input: one float matrix."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    wide = isinstance(operator.inputs[0].type, DoubleTensorType)
    write = _Writer(scope, container, "float64" if wide else "float32")
    names = list(operator.input_full_names)
    if not all(isinstance(given.type, DoubleTensorType | FloatTensorType) for given in operator.inputs):
        names = [write.add("Cast", [name], to=11 if wide else 1) for name in names]
    return write, names[0] if len(names) == 1 else write.add("Concat", names, axis=1)


def _normalizer(scope: Any, operator: Any, container: Any) -> None:
    """Normalizer gave NaN for rows of zeros, and blew up rows that scikit-learn takes for zeros."""
    import numpy as np

    write, x = _write_for(scope, operator, container)
    write.normalized(x, operator.raw_operator.norm, 10 * np.finfo(np.float64).eps, operator.outputs[0].full_name)


def _tfidf(scope: Any, operator: Any, container: Any) -> None:
    """TfidfTransformer gave NaN for texts without a known word, and log(1 + n) for 1 + log(n) (sublinear_tf)."""
    import numpy as np

    write, x = _write_for(scope, operator, container)
    estimator = operator.raw_operator
    if estimator.sublinear_tf:
        logarithm = write.add("Add", [write.add("Log", [x]), write.constant(1)])
        x = write.add("Where", [write.add("Equal", [x, write.constant(0)]), write.constant(0), logarithm])
    if estimator.use_idf:
        x = write.add("Mul", [x, write.constant(np.asarray(estimator.idf_).ravel()[None])])
    if estimator.norm is not None:
        x = write.normalized(x, estimator.norm, float(np.finfo(np.float32).tiny))
    write.add("Identity", [x], operator.outputs[0].full_name)


def _keep_missing(convert: Callable[..., None]) -> Callable[..., None]:
    """PowerTransformer leaves missing values missing; the converter gave numbers."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        write, x = _write_for(scope, operator, container)
        inner = operator.new_raw_operator(operator.raw_operator, operator.type)
        powered = _variable(scope, operator.outputs[0], operator.outputs[0].type)
        inner.__dict__["outputs"] = _bare(inner, [powered])
        convert(scope, inner, container)
        write.add("Where", [write.add("IsNaN", [x]), x, powered.full_name], operator.outputs[0].full_name)

    return converter


def _scores_by_class(convert: Callable[..., None]) -> Callable[..., None]:
    """A support vector classifier of two classes without probabilities gave each class the other one's score."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        estimator = operator.raw_operator
        if len(estimator.classes_) != 2 or estimator.probability is True:
            convert(scope, operator, container)
            return
        inner = operator.new_raw_operator(estimator, operator.type)
        swapped = _variable(scope, operator.outputs[1], operator.outputs[1].type)
        inner.__dict__["outputs"] = _bare(inner, [operator.outputs[0], swapped])
        convert(scope, inner, container)
        container.add_node("Neg", swapped.full_name, operator.outputs[1].full_name)

    return converter


def _real_roots(convert: Callable[..., None]) -> Callable[..., None]:
    """KMeans computes squared distances as differences, which rounding makes negative near a centre: NaN there."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        convert(scope, operator, _RealRoots(container, _Writer(scope, container, "float32")))

    return converter


class _RealRoots:
    """A container whose square roots take negative numbers for zero."""

    def __init__(self, container: Any, write: _Writer) -> None:
        self._container, self._write = container, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, op_type: str, inputs: Any, outputs: Any, **kwargs: Any) -> None:
        if op_type == "Sqrt":
            inputs = [self._write.add("Relu", [inputs] if isinstance(inputs, str) else list(inputs))]
        self._container.add_node(op_type, inputs, outputs, **kwargs)


def _tuned_threshold(scope: Any, operator: Any, container: Any) -> None:
    """TunedThresholdClassifierCV decides at its own threshold; the converter left it at one half."""
    import numpy as np
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType

    tuned = operator.raw_operator
    if not hasattr(tuned.estimator_, "predict_proba") or tuned.response_method == "decision_function":
        raise UnsupportedModel(
            "TunedThresholdClassifierCV over a decision function cannot be converted: tune it with "
            'response_method="predict_proba".'
        )
    if type(tuned.estimator_) not in sklearn_operator_name_map:
        raise UnsupportedModel(f"skl2onnx has no converter for {type(tuned.estimator_).__name__}.")
    inner = scope.declare_local_operator(sklearn_operator_name_map[type(tuned.estimator_)], tuned.estimator_)
    inner.inputs = operator.inputs
    inner.outputs.append(scope.declare_local_variable("untuned_label", Int64TensorType()))
    inner.outputs.append(scope.declare_local_variable("untuned_probabilities", operator.outputs[1].type.__class__()))
    wide = isinstance(operator.inputs[0].type, DoubleTensorType)
    write = _Writer(scope, container, "float64" if wide else "float32")
    probabilities = write.add("Identity", [inner.outputs[1].onnx_name], operator.outputs[1].full_name)
    positive = write.add("Gather", [probabilities, write.constant(1, "int64")], axis=1)
    above = write.add("GreaterOrEqual", [positive, write.constant(tuned.best_threshold_)])
    index = write.add("Cast", [above], to=7)
    classes = np.asarray(tuned.classes_)
    labels = write.constant(classes, object if classes.dtype.kind in "OUST" else "int64")
    write.add("Gather", [labels, index], operator.outputs[0].full_name, axis=0)


def _quantile_transformer(scope: Any, operator: Any, container: Any) -> None:
    """QuantileTransformer, whose converter took time exponential in the number of quantiles.

    For a number x of a column with quantiles q_0 <= ... <= q_n at references r: the mean of both readings of a step,
    from the last quantile that is not above x and from the first that is not below; 0 and 1 at the ends.
    Source: ``QuantileTransformer._transform_col``.
    """
    import numpy as np

    estimator = operator.raw_operator
    if estimator.output_distribution != "uniform":
        raise UnsupportedModel(
            'QuantileTransformer with output_distribution="normal" cannot be converted: ONNX has no inverse of the '
            'normal distribution; use "uniform".'
        )
    write, x = _write_for(scope, operator, container)
    count, columns = estimator.quantiles_.shape
    quantiles = write.constant(estimator.quantiles_.T.ravel())
    references = write.constant(np.tile(estimator.references_, columns))
    offset = write.constant(np.arange(columns) * count, "int64")
    first, last = write.constant(0, "int64"), write.constant(count - 1, "int64")
    one = write.constant(1, "int64")
    table = write.constant(estimator.quantiles_.T[None])
    cells = write.add("Unsqueeze", [x, write.constant([2], "int64")])

    def counted(op_type: str) -> str:
        """How many quantiles of its column each number is past."""
        past = write.add("Cast", [write.add(op_type, [cells, table])], to=7)
        return write.add("ReduceSum", [past, write.constant([2], "int64")], keepdims=0)

    def within(index: str) -> str:
        return write.add("Min", [write.add("Max", [index, first]), last])

    def read(source: str, index: str) -> str:
        return write.add("Gather", [source, write.add("Add", [index, offset])], axis=0)

    def reading(base: str, other: str) -> str:
        """The reference at `base`, moved towards `other` as far as x is on the way."""
        from_q, from_r = read(quantiles, base), read(references, base)
        width = write.add("Sub", [read(quantiles, other), from_q])
        rise = write.add("Sub", [read(references, other), from_r])
        flat = write.add("Equal", [width, write.constant(0)])
        slope = write.add("Div", [rise, write.add("Where", [flat, write.constant(1), width])])
        way = write.add("Where", [flat, write.constant(0), write.add("Sub", [x, from_q])])
        return write.add("Add", [from_r, write.add("Mul", [slope, way])])

    low = within(write.add("Sub", [counted("GreaterOrEqual"), one]))
    high = within(counted("Greater"))
    upward = reading(low, within(write.add("Add", [low, one])))
    downward = reading(high, within(write.add("Sub", [high, one])))
    mean = write.add("Mul", [write.add("Add", [upward, downward]), write.constant(0.5)])
    top = write.add("GreaterOrEqual", [x, write.constant(estimator.quantiles_[-1])])
    bottom = write.add("LessOrEqual", [x, write.constant(estimator.quantiles_[0])])
    ended = write.add("Where", [bottom, write.constant(0), write.add("Where", [top, write.constant(1), mean])])
    write.add("Where", [write.add("IsNaN", [x]), x, ended], operator.outputs[0].full_name)


def _variable(scope: Any, like: Any, kind: Any) -> Any:
    from skl2onnx.common._topology import Variable

    return Variable(like.raw_name, scope.get_unique_variable_name(f"{like.raw_name}_float"), scope.name, kind)


def _bare(operator: Any, variables: list[Any]) -> Any:
    """A list of outputs that does not tell the variables who made them: the true operator stays their parent."""
    from skl2onnx.common._topology import Operator

    bare = Operator.OperatorList(operator, "Out")
    list.extend(bare, variables)
    return bare
