"""Makes the second half of ``workbench/safety/pickles.txt``: run ``python -m tests.allowed_names`` after an update.

It lists, by the module that defines them, the classes of scikit-learn, XGBoost and LightGBM that run nothing when they
are made without ``__init__`` and filled, and the functions that their estimators hold. A class with a ``__new__``, a
``__setstate__`` or the like of its own stands in the first half, if anywhere: somebody has read it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent.parent / "workbench" / "safety" / "pickles.txt"
BEGIN = "# Made by `python -m tests.allowed_names`"

HOOKS = (
    "__new__", "__setstate__", "__setattr__", "__getattr__", "__getattribute__", "__del__", "__setitem__", "__hash__",
    "append", "extend", "add",
)  # fmt: skip
"""What an unpickler calls of a class, or its instances call when they go."""

READ = frozenset(
    """
enum.Enum.__hash__
enum.Enum.__new__
fractions.Fraction.__hash__
fractions.Fraction.__new__
lightgbm.basic.Booster.__del__
lightgbm.basic.Booster.__setstate__
numpy.ma.MaskedArray.__new__
numpy.ma.MaskedArray.__setitem__
numpy.ma.MaskedArray.__setstate__
numpy.matrix.__new__
pandas.Categorical.__setstate__
pandas.CategoricalDtype.__hash__
pandas.CategoricalDtype.__setstate__
pandas.DataFrame.__setitem__
pandas.DataFrame.add
pandas.Index.__new__
pandas.Index.__setitem__
pandas.Index.append
pandas.MultiIndex.__new__
pandas.MultiIndex.append
pandas.RangeIndex.__new__
pandas.Series.__setitem__
pandas.Series.add
pandas.StringDtype.__hash__
pandas.StringDtype.__setstate__
pandas.api.extensions.ExtensionArray.__setitem__
pandas.api.extensions.ExtensionDtype.__hash__
pandas.arrays.ArrowExtensionArray.__setitem__
pandas.arrays.ArrowExtensionArray.__setstate__
pandas.core.arrays._mixins.NDArrayBackedExtensionArray.__setitem__
pandas.core.dtypes.base.StorageExtensionDtype.__hash__
pandas.core.dtypes.dtypes.PandasExtensionDtype.__hash__
pandas.core.generic.NDFrame.__getattr__
pandas.core.generic.NDFrame.__setattr__
pandas.core.generic.NDFrame.__setstate__
pandas.core.internals.managers.SingleBlockManager.__setstate__
pathlib.Path.__new__
pathlib.PurePath.__hash__
pathlib.PurePath.__new__
random.Random.__setstate__
scipy.interpolate._interpolate._PPolyBase.extend
scipy.sparse._bsr._bsr_base.__setitem__
scipy.sparse._coo._coo_base.__setitem__
scipy.sparse._coo.coo_matrix.__setitem__
scipy.sparse._coo.coo_matrix.__setstate__
scipy.sparse._index.IndexMixin.__setitem__
scipy.sparse._lil._lil_base.__setitem__
sklearn.base.BaseEstimator.__setstate__
sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor.__setstate__
sklearn.isotonic.IsotonicRegression.__setstate__
sklearn.linear_model._passive_aggressive.PassiveAggressiveClassifier.__new__
sklearn.linear_model._passive_aggressive.PassiveAggressiveRegressor.__new__
sklearn.utils._bunch.Bunch.__getattr__
sklearn.utils._bunch.Bunch.__setattr__
sklearn.utils._bunch.Bunch.__setstate__
sklearn.utils._metadata_requests.MetadataRequest.__getattr__
uuid.SafeUUID.__new__
uuid.UUID.__hash__
uuid.UUID.__setattr__
uuid.UUID.__setstate__
xgboost.core.Booster.__del__
xgboost.core.Booster.__setstate__
""".split()
)
"""Such methods written in Python, of the classes of either half: somebody has read each, and it runs nothing from the
file. SciPy's distributions are not here: their `__setstate__` executes a text that the file brings along."""

LEFT_OUT = (
    ".tests", ".datasets", ".externals", "._testing", "._test_common", "conftest", "._build_utils", ".callback",
    "__check_build", "._plot", ".inspection", "._array_api", ".exceptions", ".experimental", "xgboost.testing",
    "xgboost.tracker", "xgboost.federated", "xgboost.dask", "xgboost.spark", "xgboost._data_utils", "lightgbm.dask",
    "sklearn.utils.", "xgboost.libpath", "xgboost.data", "xgboost.collective", "lightgbm.engine",
)  # fmt: skip
"""Parts that no fitted model holds, or that act."""

ALSO = ("sklearn.utils._metadata_requests",)

FUNCTIONS = (
    "sklearn.metrics._classification", "sklearn.metrics._ranking", "sklearn.metrics._regression",
    "sklearn.metrics.cluster._supervised", "sklearn.metrics.cluster._unsupervised", "sklearn.metrics.pairwise",
    "sklearn.feature_selection._univariate_selection", "sklearn.feature_selection._mutual_info",
)  # fmt: skip
"""Modules whose public functions estimators and scorers hold."""

SINGLE = ("sklearn.cluster._kmeans._kmeans_single_lloyd", "sklearn.cluster._kmeans._kmeans_single_elkan")

COMPILED = ("sklearn.metrics._dist_metrics",)
"""Modules all of whose classes are plain numbers in C."""

OLD = {  # before scikit-learn 0.22
    "cluster.affinity_propagation_": "_affinity_propagation", "cluster.bicluster": "_bicluster",
    "cluster.birch": "_birch", "cluster.dbscan_": "_dbscan", "cluster.hierarchical": "_agglomerative",
    "cluster.k_means_": "_kmeans", "cluster.mean_shift_": "_mean_shift", "cluster.optics_": "_optics",
    "cluster.spectral": "_spectral", "covariance.elliptic_envelope": "_elliptic_envelope",
    "covariance.empirical_covariance_": "_empirical_covariance", "covariance.graph_lasso_": "_graph_lasso",
    "covariance.robust_covariance": "_robust_covariance", "covariance.shrunk_covariance_": "_shrunk_covariance",
    "cross_decomposition.cca_": "_pls", "cross_decomposition.pls_": "_pls",
    "decomposition.dict_learning": "_dict_learning", "decomposition.factor_analysis": "_factor_analysis",
    "decomposition.fastica_": "_fastica", "decomposition.incremental_pca": "_incremental_pca",
    "decomposition.kernel_pca": "_kernel_pca", "decomposition.nmf": "_nmf", "decomposition.online_lda": "_lda",
    "decomposition.pca": "_pca", "decomposition.sparse_pca": "_sparse_pca",
    "decomposition.truncated_svd": "_truncated_svd", "ensemble.bagging": "_bagging", "ensemble.forest": "_forest",
    "ensemble.gradient_boosting": "_gb", "ensemble.iforest": "_iforest", "ensemble.voting": "_voting",
    "ensemble.voting_classifier": "_voting", "ensemble.weight_boosting": "_weight_boosting",
    "feature_extraction.dict_vectorizer": "_dict_vectorizer", "feature_extraction.hashing": "_hash",
    "feature_selection.from_model": "_from_model", "feature_selection.rfe": "_rfe",
    "feature_selection.univariate_selection": "_univariate_selection",
    "feature_selection.variance_threshold": "_variance_threshold", "gaussian_process.gpc": "_gpc",
    "gaussian_process.gpr": "_gpr", "linear_model.base": "_base", "linear_model.bayes": "_bayes",
    "linear_model.coordinate_descent": "_coordinate_descent", "linear_model.huber": "_huber",
    "linear_model.least_angle": "_least_angle", "linear_model.logistic": "_logistic", "linear_model.omp": "_omp",
    "linear_model.perceptron": "_perceptron", "linear_model.ransac": "_ransac", "linear_model.ridge": "_ridge",
    "linear_model.stochastic_gradient": "_stochastic_gradient", "linear_model.theil_sen": "_theil_sen",
    "manifold.isomap": "_isomap", "manifold.locally_linear": "_locally_linear", "manifold.mds": "_mds",
    "manifold.spectral_embedding_": "_spectral_embedding", "manifold.t_sne": "_t_sne",
    "metrics.classification": "_classification", "metrics.ranking": "_ranking", "metrics.regression": "_regression",
    "metrics.scorer": "_scorer", "mixture.bayesian_mixture": "_bayesian_mixture",
    "mixture.gaussian_mixture": "_gaussian_mixture", "neighbors.classification": "_classification",
    "neighbors.kde": "_kde", "neighbors.lof": "_lof", "neighbors.nca": "_nca",
    "neighbors.nearest_centroid": "_nearest_centroid", "neighbors.regression": "_regression",
    "neighbors.unsupervised": "_unsupervised", "neural_network.multilayer_perceptron": "_multilayer_perceptron",
    "neural_network.rbm": "_rbm", "preprocessing.data": "_data", "preprocessing.label": "_label",
    "preprocessing.imputation": "_data", "semi_supervised.label_propagation": "_label_propagation",
    "svm.classes": "_classes", "tree.tree": "_classes",
}  # fmt: skip
"""Old module -> the one beside it that has its classes today."""

GONE = """
sklearn.cross_decomposition._cca.CCA
sklearn.ensemble._gb.BinomialDeviance
sklearn.ensemble._gb_losses.BinomialDeviance
sklearn.ensemble._gb_losses.ExponentialLoss
sklearn.ensemble._gb_losses.HuberLossFunction
sklearn.ensemble._gb_losses.LeastAbsoluteError
sklearn.ensemble._gb_losses.LeastSquaresError
sklearn.ensemble._gb_losses.MultinomialDeviance
sklearn.ensemble._gb_losses.QuantileLossFunction
sklearn.ensemble.gradient_boosting.BinomialDeviance
sklearn.ensemble.gradient_boosting.LeastSquaresError
sklearn.ensemble.gradient_boosting.LogOddsEstimator
sklearn.ensemble.gradient_boosting.MeanEstimator
sklearn.ensemble.gradient_boosting.MultinomialDeviance
sklearn.ensemble.gradient_boosting.PriorProbabilityEstimator
sklearn.ensemble.gradient_boosting.ZeroEstimator
sklearn.grid_search.GridSearchCV
sklearn.linear_model._sgd_fast.Huber()
sklearn.linear_model._sgd_fast.Log()
sklearn.linear_model._sgd_fast.SquaredLoss()
sklearn.linear_model.sgd_fast.Hinge()
sklearn.linear_model.sgd_fast.Log()
sklearn.linear_model.sgd_fast.ModifiedHuber()
sklearn.linear_model.sgd_fast.SquaredHinge()
sklearn.linear_model.sgd_fast.SquaredLoss()
sklearn.neighbors._dist_metrics.EuclideanDistance
sklearn.neighbors._dist_metrics.ManhattanDistance
sklearn.neighbors._dist_metrics.MinkowskiDistance
sklearn.neighbors._dist_metrics.newObj()
sklearn.neighbors.ball_tree.BallTree
sklearn.neighbors.ball_tree.newObj()
sklearn.neighbors.dist_metrics.EuclideanDistance
sklearn.neighbors.dist_metrics.MinkowskiDistance
sklearn.neighbors.dist_metrics.newObj()
sklearn.neighbors.kd_tree.KDTree
sklearn.neighbors.kd_tree.newObj()
sklearn.preprocessing._data.CategoricalEncoder
sklearn.preprocessing.imputation.Imputer
sklearn.utils.Bunch
sklearn.utils.deprecation.DeprecationDict
xgboost.compat.XGBoostLabelEncoder
""".split()
"""Names of older versions whose classes are gone."""


def modules(package: str) -> Iterator[types.ModuleType]:
    yield importlib.import_module(package)
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if found.name in ALSO or not any(part in f"{found.name}." for part in LEFT_OUT):
            try:
                yield importlib.import_module(found.name)
            except ImportError:
                continue  # a part for a package that is not here


def defined(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    """What a module defines itself, under the name that a pickle would write."""
    for name, thing in sorted(vars(module).items()):
        if getattr(thing, "__module__", None) == module.__name__ and getattr(thing, "__qualname__", None) == name:
            yield f"{module.__name__}.{name}", thing


def hooks(kind: type) -> set[str]:
    """Methods of a class, or of one it comes from, that run when it is made without ``__init__``, filled, or goes."""
    return {
        f"{base.__module__}.{base.__qualname__}.{name}"
        for base in kind.__mro__
        if base is not object
        for name in HOOKS
        if vars(base).get(name) is not None
        # `__hash__ = None` and what a dataclass makes of its fields are no code of anybody's.
        and not (name == "__hash__" and "__dataclass_fields__" in vars(base))
    }


def generated() -> list[str]:
    """The names of the second half, in order."""
    names = set(SINGLE) | set(GONE)
    for package in ("sklearn", "xgboost", "lightgbm"):
        for module in modules(package):
            for name, thing in defined(module):
                if inspect.isclass(thing) and not hooks(thing) - READ and not issubclass(thing, BaseException):
                    names.add(name)
    for module_name in FUNCTIONS:
        module = importlib.import_module(module_name)
        names |= {name for name, thing in defined(module) if callable(thing) and name.split(".")[-1][0] != "_"}
    for module_name in COMPILED:
        module = importlib.import_module(module_name)
        names |= {name for name, thing in defined(module) if inspect.isclass(thing)}
    for old, new in OLD.items():
        package = f"sklearn.{old.split('.')[0]}.{new}."
        names |= {f"sklearn.{old}.{name.removeprefix(package)}" for name in names if name.startswith(package)}
    return sorted(names - set(FILE.read_text("utf-8").partition(BEGIN)[0].split()))


def main() -> None:
    head = FILE.read_text("utf-8").partition(f"\n{BEGIN}")[0]
    FILE.write_text(f"{head.rstrip()}\n\n{BEGIN}\n\n" + "\n".join(generated()) + "\n", "utf-8")


if __name__ == "__main__":
    main()
