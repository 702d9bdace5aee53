"""Real model files for the kind tests: every estimator skl2onnx converts, each by its own name.

Nothing here knows the rule under test; a file's true kind is what made it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

# Wrappers need an inner estimator, and some estimators need data of a special sort.
_WRAPPED = {
    "AdaBoostClassifier", "AdaBoostRegressor", "BaggingClassifier", "BaggingRegressor", "CalibratedClassifierCV",
    "ClassifierChain", "GridSearchCV", "MultiOutputClassifier", "MultiOutputRegressor", "OneVsOneClassifier",
    "OneVsRestClassifier", "RFE", "RFECV", "RegressorChain", "SelectFromModel", "SequentialFeatureSelector",
    "StackingClassifier", "StackingRegressor", "VotingClassifier", "VotingRegressor", "ColumnTransformer",
    "FeatureUnion", "Pipeline",
}  # fmt: skip


def _make(name: str, cls: Any) -> Any:
    """An instance small enough to convert in a moment; raises TypeError where one cannot be made."""
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    logistic, linear = LogisticRegression(max_iter=200), LinearRegression()
    special: dict[str, Any] = {
        "ColumnTransformer": lambda: cls([("s", StandardScaler(), [0, 1]), ("m", MinMaxScaler(), [2, 3])]),
        "FeatureUnion": lambda: cls([("s", StandardScaler()), ("m", MinMaxScaler())]),
        "GridSearchCV": lambda: cls(logistic, {"C": [0.1, 1.0]}),
        "Pipeline": lambda: cls([("s", StandardScaler()), ("l", logistic)]),
        "StackingClassifier": lambda: cls([("a", logistic)]),
        "StackingRegressor": lambda: cls([("a", linear)]),
        "VotingClassifier": lambda: cls([("a", logistic), ("b", LogisticRegression(C=0.5))], flatten_transform=False),
        "VotingRegressor": lambda: cls([("a", linear), ("b", LinearRegression(fit_intercept=False))]),
        "ClassifierChain": lambda: cls(logistic),
        "MultiOutputClassifier": lambda: cls(logistic),
        "MultiOutputRegressor": lambda: cls(linear),
        "RegressorChain": lambda: cls(linear),
        "GaussianProcessClassifier": lambda: cls(max_iter_predict=20),
        # Without noise its kernel matrix of rows that occur twice cannot be inverted: no two programs agree.
        "GaussianProcessRegressor": lambda: cls(alpha=1e-2),
        "GaussianRandomProjection": lambda: cls(n_components=2),
        "KBinsDiscretizer": lambda: cls(encode="ordinal", quantile_method="averaged_inverted_cdf"),
        "LocalOutlierFactor": lambda: cls(novelty=True),
        "NearestNeighbors": lambda: cls(radius=None),
        "OrthogonalMatchingPursuitCV": lambda: cls(cv=2, max_iter=2),
        # skl2onnx takes 15 s for the 150 that are its default here, twice as long for one or two more.
        "QuantileTransformer": lambda: cls(n_quantiles=20),
        "RandomTreesEmbedding": lambda: cls(n_estimators=3, sparse_output=False),
        "TunedThresholdClassifierCV": lambda: cls(logistic),
    }
    if name in special:
        return special[name]()
    if name in _WRAPPED:
        import inspect

        takes = inspect.signature(cls).parameters
        inner = linear if "Regressor" in name else logistic
        return cls(**{"estimator" if "estimator" in takes else "base_estimator": inner})
    for small in ({"n_estimators": 5}, {"max_iter": 50}, {}):
        try:
            return cls(**small)
        except TypeError:
            continue
    raise TypeError(name)


def _options(name: str) -> dict[str, Any]:
    """What today's skl2onnx needs to convert this estimator at all."""
    return {"target_opset": {"": 18, "ai.onnx.ml": 3}} if name == "IsolationForest" else {"target_opset": 18}


def fitted_estimators(
    part: int = 0, parts: int = 1, also: Collection[str] = ()
) -> Iterator[tuple[str, Any, np.ndarray, np.ndarray]]:
    """(name, fitted estimator, rows it takes, the same as its ONNX form takes them) of every scikit-learn estimator
    that skl2onnx says it supports, or of one in so many and those named; in alphabetical order.

    DictVectorizer and FeatureHasher, which take dictionaries, come unfitted with no rows.
    """
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from sklearn.datasets import load_iris
    from sklearn.utils import all_estimators

    iris_x, iris_y = load_iris(return_X_y=True)
    x = iris_x.astype(np.float32)
    multi = np.stack([iris_y, iris_y % 2], 1)
    texts = np.array(["red apple", "green pear", "red pear", "blue plum"] * 10).reshape(-1, 1)
    words = np.array(["red", "green", "blue", "red"] * 10).reshape(-1, 1)
    targets: dict[str, Any] = {
        "ClassifierChain": (iris_y[:, None] == [0, 1]).astype(int), "MultiOutputClassifier": multi,
        "MultiOutputRegressor": iris_x[:, :2], "RegressorChain": iris_x[:, :2], "MultiTaskElasticNet": iris_x[:, :2],
        "MultiTaskElasticNetCV": iris_x[:, :2], "MultiTaskLasso": iris_x[:, :2], "MultiTaskLassoCV": iris_x[:, :2],
        "IsotonicRegression": iris_x[:, 0], "GammaRegressor": iris_y + 1.0, "GaussianProcessClassifier": iris_y % 2,
        "TargetEncoder": np.array([0, 1, 0, 1] * 10), "TunedThresholdClassifierCV": iris_y % 2,
        # Without a neighbour it answers NaN, which no whole number is.
        "RadiusNeighborsRegressor": iris_x[:, 0],
    }  # fmt: skip
    # Of millimetres, many flowers are equally far from each other, and the nearest are any of them.
    apart = x + np.random.default_rng(0).normal(0, 1e-3, x.shape)
    inputs: dict[str, Any] = {
        "CountVectorizer": texts, "TfidfVectorizer": texts, "OneHotEncoder": words, "OrdinalEncoder": words,
        "LabelEncoder": words, "LabelBinarizer": iris_y, "TfidfTransformer": np.abs(x), "TargetEncoder": words,
        "IsotonicRegression": x[:, :1], "KernelCenterer": x @ x.T, "GammaRegressor": np.abs(x),
        "NearestNeighbors": apart, "KNNImputer": apart,
        "CategoricalNB": np.round(np.abs(x)).astype(np.int64),
    }  # fmt: skip
    own = {"ColumnTransformer", "FeatureUnion", "Pipeline"}
    supported = {cls.__name__ for cls in sklearn_operator_name_map} | own
    for place, (name, cls) in enumerate(sorted((name, cls) for name, cls in all_estimators() if name in supported)):
        if place % parts != part and name not in also:
            continue
        data = inputs.get(name, x)
        y = targets.get(name, iris_y[: len(data)])
        model = _make(name, cls)
        flat = data.ravel()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if name in ("DictVectorizer", "FeatureHasher"):
                yield name, model, data[:0], data[:0]
            elif name in ("LabelEncoder", "LabelBinarizer"):
                yield name, model.fit(flat), flat, data
            elif name in ("CountVectorizer", "TfidfVectorizer"):
                yield name, model.fit(flat, y), flat, data
            else:
                yield name, model.fit(data, y), data, data


def sklearn_models(parts: int = 1, also: Collection[str] = ()) -> Iterator[tuple[str, bytes]]:
    """(estimator name, ONNX file) for those of `fitted_estimators` that convert here by skl2onnx alone."""
    from skl2onnx import to_onnx
    from skl2onnx.common import _container

    logging.getLogger("skl2onnx").setLevel(logging.ERROR)
    make_node = _container.make_node

    def plain_numbers(*args: Any, **kwargs: Any) -> Any:
        # HistGradientBoosting writes booleans where protobuf 7 wants integers.
        plain = {
            key: [int(v) if isinstance(v, bool | np.bool_) else v for v in value] if isinstance(value, list) else value
            for key, value in kwargs.items()
        }
        return make_node(*args, **plain)

    for name, model, _, data in fitted_estimators(0, parts, also):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                _container.make_node = plain_numbers
                onnx_model = to_onnx(model, data[:1], **_options(name))
            except Exception:
                # Fails upstream: the test states how many files it must have.
                continue
            finally:
                _container.make_node = make_node
        yield name, onnx_model.SerializeToString()


def every_estimator(part: int) -> Iterator[tuple[str, Any]]:
    """(name, estimator) of a quarter of those that scikit-learn has, fitted on the first data of a few sorts that it
    takes."""
    from sklearn.base import clone
    from sklearn.datasets import load_iris
    from sklearn.utils import all_estimators
    from sklearn.utils._test_common.instance_generator import _construct_instances

    x, y = (array[::3] for array in load_iris(return_X_y=True))
    words = np.array(["red apple", "green pear", "red pear", "blue plum"] * 10)
    data: list[tuple[Any, ...]] = [
        (x, y), (np.abs(x), y), (x, y % 2), (x, x[:, :2]), (x[:, 0], y), (y,), (words, y[:40]),
        (words.reshape(-1, 1), y[:40] % 2), (x @ x.T, y), ((x > 3).astype(int), y), ([{"a": 1}],), ([[1, 2], [3]],),
        (x, np.stack([y, y % 2], 1)), (x, (y[:, None] == [0, 1]).astype(int)),
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, cls in all_estimators()[part::4]:
            try:
                model = next(iter(_construct_instances(cls)))
            except Exception:
                continue  # one that cannot be made without another's help
            for example in data:
                try:
                    model = clone(model).fit(*example)
                    break
                except Exception:
                    continue
            yield name, model
