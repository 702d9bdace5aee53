"""What a scikit-learn estimator takes: names and types of its columns, learnt from the estimator itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import LabelBinarizer, LabelEncoder

from ...engines.base import Arrays
from ...errors import BadInput, UnsupportedModel
from ...files.header import ValueInfo


def walk(estimator: Any) -> Iterator[Any]:
    """An estimator and all fitted ones within it, outermost first."""
    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        part = waiting.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        if hasattr(part, "get_params") and not isinstance(part, type):
            yield part
            # Not get_params: it holds the unfitted prototypes too.
            waiting += [value for key, value in vars(part).items() if key in ("steps", "transformer_list")]
            waiting += [value for key, value in vars(part).items() if key.endswith("_") and key != "loss_"]
        elif isinstance(part, list | tuple) or type(part).__name__ == "Bunch":
            waiting += part.values() if isinstance(part, dict) else part
        elif type(part).__name__ == "ndarray" and part.dtype == object and hasattr(part.flat[0], "get_params"):
            waiting += list(part.flat)


@dataclass(frozen=True)
class Signature:
    """What an estimator takes, and how an engine says it: one matrix, or a column per input where types differ.

    Attributes:
        kinds: "float", "int64" or "string" for each column that is used.
        names: of the inputs: ("X",), or one per column.
        width: columns of the native table.
        places: native column number -> number of the column in use.
        columns: names of the native table's columns, where the estimator was fitted on named ones.
        flat: the estimator takes a list of values (documents, labels), not a table.
    """

    kinds: tuple[str, ...]
    names: tuple[str, ...]
    width: int
    places: dict[int, int]
    columns: tuple[str, ...] | None = None
    flat: bool = False

    @property
    def one(self) -> bool:
        return self.names == ("X",) and len(set(self.kinds)) == 1

    def inputs(self, dtype: str) -> tuple[ValueInfo, ...]:
        kinds = self.kinds[:1] if self.one else self.kinds
        width = len(self.kinds) if self.one else 1
        return tuple(
            ValueInfo(name, dtype if kind == "float" else kind, ("N", width), gaps=kind == "string" and not self.flat)
            for name, kind in zip(self.names, kinds, strict=True)
        )

    def arrays(self, columns: Mapping[int, np.ndarray], dtype: str) -> Arrays:
        """Columns by their numbers in the native table, as the model's inputs."""
        ordered = [columns[place] for place, _ in sorted(self.places.items(), key=lambda pair: pair[1])]
        tables = [np.stack(ordered, axis=1)] if self.one else [column.reshape(-1, 1) for column in ordered]
        infos = self.inputs(dtype)
        return {
            info.name: table.astype(object if info.dtype == "string" else info.dtype)
            for info, table in zip(infos, tables, strict=True)
        }

    def columns_of(self, arrays: Arrays) -> dict[int, np.ndarray]:
        """The other way round."""
        if self.one:
            return {place: arrays[self.names[0]][:, ours] for place, ours in self.places.items()}
        return {place: arrays[self.names[ours]][:, 0] for place, ours in self.places.items()}

    def table(self, arrays: Arrays, narrow: bool) -> Any:
        """The estimator's own input: an array, a DataFrame where it was fitted on one, or a list of documents."""
        wide = np.float32 if narrow else np.float64
        given = [arrays[name].astype(wide) if arrays[name].dtype.kind == "f" else arrays[name] for name in self.names]
        if self.flat:
            return given[0].reshape(-1)
        rows = len(given[0])
        if self.one:
            table = np.full((rows, self.width), np.nan, given[0].dtype) if given[0].dtype.kind == "f" else given[0]
            if table is not given[0]:
                for place, ours in self.places.items():
                    table[:, place] = given[0][:, ours]
            return self._framed({i: table[:, i] for i in range(self.width)}, rows) if self.columns else table
        columns = {place: given[ours].reshape(-1) for place, ours in self.places.items()}
        if self.columns:
            return self._framed(columns, rows)
        mixed = np.full((rows, self.width), np.nan, object)
        for place, column in columns.items():
            mixed[:, place] = column
        return mixed

    def _framed(self, columns: dict[int, Any], rows: int) -> Any:
        assert self.columns is not None
        empty = np.full(rows, np.nan)
        # One array per column: a dictionary would lose a name that occurs twice.
        each = [columns.get(i, empty) for i in range(self.width)]
        # In its own dtype: pandas would make NaN of a None among texts.
        frame = pd.concat([pd.Series(column, dtype=column.dtype) for column in each], axis=1)
        frame.columns = list(self.columns)
        return frame


def signature_of(estimator: Any, sample: Any) -> Signature:
    """Input names and types: from the estimator, and from the sample what it leaves open."""
    first = first_steps(estimator)[0]
    if isinstance(first, CountVectorizer | HashingVectorizer):
        return Signature(("string",), ("X",), 1, {0: 0}, flat=True)
    if isinstance(first, LabelEncoder | LabelBinarizer):
        kind = "string" if first.classes_.dtype.kind in "OUST" else "int64"
        return Signature((kind,), ("X",), 1, {0: 0}, flat=True)
    width = _width(estimator, sample)
    kinds, taken = ["float"] * width, set()
    for step in first_steps(estimator):
        known, columns_of_step = _kinds(step, width)
        kinds = [ours if ours != "float" else theirs for ours, theirs in zip(kinds, known, strict=True)]
        taken |= set(columns_of_step)
    used = sorted(taken)
    names = getattr(estimator, "feature_names_in_", None)
    seen = _sample_kinds(sample, names, width)
    kinds = [ours if ours != "float" else theirs for ours, theirs in zip(kinds, seen, strict=True)]
    columns = None if names is None else tuple(map(str, names))
    if len({kinds[i] for i in used}) == 1:
        # One matrix: also the columns nobody uses, so that the user's table goes in as it is.
        return Signature((kinds[used[0]],) * width, ("X",), width, {i: i for i in range(width)}, columns)
    labels = columns or tuple(map(str, getattr(sample, "columns", [f"x{i}" for i in range(width)])))
    return Signature(
        tuple(kinds[i] for i in used),
        tuple(labels[i] for i in used),
        width,
        {i: n for n, i in enumerate(used)},
        columns,
    )


def _width(estimator: Any, sample: Any) -> int:
    if hasattr(first_steps(estimator)[0], "X_thresholds_"):
        return 1  # IsotonicRegression takes nothing else, also as a list of numbers
    if (width := getattr(estimator, "n_features_in_", None)) is None:
        if sample is None:
            raise UnsupportedModel(
                f"{type(estimator).__name__} does not say how many columns it takes: give some rows with sample=."
            )
        return int(np.shape(sample)[1])
    named = isinstance(sample, Mapping) or hasattr(sample, "columns")
    if sample is not None and not named and np.shape(sample)[1:] != (width,):
        given = np.shape(sample)[1] if np.ndim(sample) > 1 else 1
        raise BadInput(f"The sample has {given} columns, and the {type(estimator).__name__} was fitted on {width}.")
    return int(width)


def first_steps(estimator: Any) -> list[Any]:
    """The estimators that see the rows themselves."""
    found: list[Any] = []
    if isinstance(estimator, Pipeline):
        found = [step for _, step in estimator.steps if step not in (None, "passthrough")][:1]
    elif isinstance(estimator, FeatureUnion):
        found = [step for _, step in estimator.transformer_list if not isinstance(step, str)]
    return [one for step in found for one in first_steps(step)] or [estimator]


def parts_of(transformer: Any) -> Iterator[tuple[str, Any, list[int]]]:
    """(name, step, the numbers of its columns) of what a ColumnTransformer is made of, but for what it drops."""
    for name, step, _ in transformer.transformers_:
        if step != "drop":
            yield name, step, [int(i) for i in transformer._transformer_to_input_indices.get(name, [])]


def _kinds(first: Any, width: int) -> tuple[list[str], list[int]]:
    """The kind of each column by what the first estimator learnt of it, and the numbers of the columns in use."""
    kinds, used = ["float"] * width, list(range(width))
    if isinstance(first, ColumnTransformer):
        used = []
        for _, step, columns in parts_of(first):
            used += columns
            inner, _ = _kinds(first_steps(step)[0], len(columns))
            for column, kind in zip(columns, inner, strict=True):
                kinds[column] = kind if kind != "float" else kinds[column]
    elif isinstance(first, CountVectorizer):
        kinds = ["string"] * width
    elif hasattr(first, "categories_"):
        kinds = [_kind_of(values) for values in first.categories_]
    elif hasattr(first, "statistics_") and first.statistics_.dtype.kind == "O":
        kinds = ["string" if isinstance(value, str) else "float" for value in first.statistics_]
    return kinds, used


def _kind_of(categories: Any) -> str:
    if categories.dtype.kind == "M":
        raise UnsupportedModel("A column holds dates, which no ONNX tensor holds: turn them into numbers first.")
    if _texts(categories):
        return "string"
    return "int64" if categories.dtype.kind in "biu" else "float"


def _sample_kinds(sample: Any, names: Any, width: int) -> list[str]:
    """ "string" for each column in which the sample has text, else "float"."""
    columns: dict[int, Any] = {}
    if hasattr(sample, "columns") and hasattr(sample, "iloc"):
        own = list(sample.columns)
        places = range(len(own)) if names is None else [own.index(name) if name in own else -1 for name in names]
        columns = {index: sample.iloc[:, place].to_numpy() for index, place in enumerate(places) if place >= 0}
    elif isinstance(sample, np.ndarray) and sample.ndim == 2:
        columns = dict(enumerate(sample.T))
    return ["string" if index in columns and _texts(columns[index]) else "float" for index in range(width)]


def _texts(column: Any) -> bool:
    return column.dtype.kind in "OUST" and any(isinstance(value, str) for value in column)
