"""What cannot become ONNX however it is tried, by name and with the way out."""

from __future__ import annotations

import json
import re
from typing import Any

from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer

from ...errors import UnsupportedModel
from .inputs import walk
from .texts import in_re2


def check_convertible(estimator: Any) -> None:
    """
    Raises:
        UnsupportedModel: it, or an estimator within it, has no form in ONNX; the sentence says what to do.
    """
    _check_new_rows(estimator)
    for part in walk(estimator):
        name = type(part).__name__
        for trouble in (_dictionaries, _categories, _booster, _marks, _text, _temperature):
            if says := trouble(part, name):
                raise UnsupportedModel(says)


def _check_new_rows(estimator: Any) -> None:
    novelty = getattr(estimator, "novelty", None)
    if novelty or (novelty is None and any(hasattr(estimator, way) for way in ("predict", "transform", "kneighbors"))):
        return
    name = type(estimator).__name__
    way = ", so there is nothing to convert." if novelty is None else ": fit it with novelty=True."
    raise UnsupportedModel(f"{name} knows an answer for the rows it was fitted on alone, none for new ones{way}")


def _dictionaries(part: Any, name: str) -> str:
    if not isinstance(part, DictVectorizer | FeatureHasher):
        return ""
    return (
        f"{name} takes dictionaries, which no ONNX tensor holds: put the values into columns and fit "
        "OneHotEncoder instead."
    )


def _temperature(part: Any, name: str) -> str:
    if name != "CalibratedClassifierCV" or part.method != "temperature":
        return ""
    return f'{name} with method="temperature" has no converter: fit it with method="sigmoid" or "isotonic".'


def _categories(part: Any, name: str) -> str:
    """Splits by category: TreeEnsemble of ai.onnx.ml 3 knows no sets, and the converters make others of them."""
    categorical = getattr(part, "is_categorical_", None)
    some = categorical is not None and bool(categorical.any())
    if _is_xgboost(part):
        some |= "c" in (part.get_booster().feature_types or ())
    if hasattr(part, "booster_"):
        some |= bool(part.booster_.pandas_categorical)
    if not some:
        return ""
    return (
        f"{name} with categorical features (columns of pandas' dtype category are such) cannot be converted to ONNX: "
        "encode them before it, OneHotEncoder or OrdinalEncoder in a pipeline, and fit it on numbers alone."
    )


def _is_xgboost(part: Any) -> bool:
    return hasattr(part, "get_booster") and bool(part.__sklearn_is_fitted__())


def _booster(part: Any, name: str) -> str:
    if not _is_xgboost(part):
        return ""
    learner = json.loads(part.get_booster().save_config())["learner"]
    kind = learner["gradient_booster"]["name"]
    if int(learner["learner_model_param"].get("num_target", 1)) > 1:
        outer = "MultiOutputClassifier" if "Classifier" in name else "MultiOutputRegressor"
        return f"{name} of several targets has no converter: fit {outer}({name}(…)) in its place."
    if kind == "gbtree":
        return ""
    instead = "a linear model of scikit-learn" if kind == "gblinear" else 'booster="gbtree"'
    return f'{name} with booster="{kind}" has no converter: fit {instead} in its place.'


def _marks(part: Any, name: str) -> str:
    indicator = getattr(part, "indicator_", None)
    if indicator is None or not len(indicator.features_):
        return ""
    return f"{name} with add_indicator=True cannot be converted to ONNX: fit it without."


def _text(part: Any, name: str) -> str:
    """ONNX splits texts by a regular expression, and that is all it does."""
    if not isinstance(part, CountVectorizer):
        return ""
    foreign = [
        setting for setting in ("strip_accents", "preprocessor", "tokenizer") if getattr(part, setting) is not None
    ]
    if callable(part.analyzer) or part.analyzer == "char_wb":
        foreign.append("analyzer" if callable(part.analyzer) else 'analyzer="char_wb"')
    if foreign:
        return f"{name} with {foreign[0]} cannot be converted to ONNX: fit it without."
    if part.analyzer != "word":
        return ""
    if odd := re.search(r"\(\?[=!<]|\\[1-9]", part.token_pattern):
        return (
            f"{name} with token_pattern={part.token_pattern!r} cannot be converted: the regular expressions of ONNX "
            f"Runtime (RE2) look neither ahead nor back ({odd[0]}). Write the pattern without."
        )
    if r"\b" in in_re2(part.token_pattern):
        return (
            f"{name} with token_pattern={part.token_pattern!r} cannot be converted: in ONNX Runtime a word ends (\\b) "
            "before any letter beyond ASCII. Leave \\b out, or take whole words, as \\b\\w\\w+\\b does."
        )
    if part.get_stop_words() and part.ngram_range[1] > 1:
        return (
            f"{name} with stop words and n-grams cannot be converted: ONNX counts the n-grams of the words with the "
            "stop words between them, so its numbers would be wrong. Fit it with stop_words=None or ngram_range=(1, 1)."
        )
    return ""
