"""ONNX Runtime: runs machine learning and deep learning models made of standard operators."""

from __future__ import annotations

import os
import posixpath
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, UnreadableFile, UnsupportedModel, WorkbenchError
from ..header import ValueInfo, read_header
from .inputs import CastWarning, cast, check_shape, match

if TYPE_CHECKING:
    import numpy as np

_FATAL_ONLY = 4
"""ONNX Runtime's log level. Its errors reach us as exceptions; printed as well they would be said twice."""


class OnnxRuntimeEngine:
    """An ONNX model in ONNX Runtime. See `workbench.engines.Engine`.

    Args:
        path: the .onnx file; files with external data are looked for beside it and nowhere else.
        threads: threads within one operator; None leaves the choice to ONNX Runtime (one per core).
        providers: execution providers in order of preference; the CPU unless you say otherwise.
        why: the sentence for `why`.

    Attributes:
        classes: {output name: class labels in column order} of outputs that were lists of {label: score} (ZipMap);
            filled by `run`.

    Raises:
        UnreadableFile: the file or its external data is missing or damaged.
        UnsupportedModel: ONNX Runtime cannot run it, or its external data lies outside its folder.
    """

    name = "onnxruntime"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        why: str = "You asked for ONNX Runtime.",
    ) -> None:
        import onnxruntime as ort

        self.path = os.fspath(path)
        self.version: str = ort.__version__
        self.why = why
        header = read_header(self.path)
        self.inputs = header.graph.inputs
        self.outputs = header.graph.outputs
        self.classes: dict[str, tuple[Any, ...]] = {}
        _check_external_data(self.path, header.external_data)
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        if threads is not None:
            options.intra_op_num_threads = threads
        wanted = list(providers or ["CPUExecutionProvider"])
        if unknown := [name for name in wanted if name not in ort.get_available_providers()]:
            raise WorkbenchError(
                f"ONNX Runtime here has no provider {unknown[0]!r}; it has: {', '.join(ort.get_available_providers())}."
            )
        try:
            session = ort.InferenceSession(self.path, options, providers=wanted)
        except Exception as error:
            raise _load_error(self.path, str(error)) from error
        self._session: ort.InferenceSession | None = session
        # Initializers that are listed as inputs too are defaults: they may be given, by name.
        defaults = {info.name for info in session.get_overridable_initializers()}
        self._optional = tuple(
            ValueInfo(tensor.name, tensor.dtype, tensor.shape)
            for tensor in header.graph.initializers.values()
            if tensor.name in defaults
        )
        self._warned: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        return f"<ONNX Runtime {self.version}: {self.path}>"

    def __enter__(self) -> OnnxRuntimeEngine:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._session = None

    def run(self, inputs: Any) -> dict[str, np.ndarray]:
        """Answer one batch; see `workbench.engines.Engine.run`.

        A pandas DataFrame fits a model with one input (all columns), or one with an input per column (by name).
        Values are cast to the input's dtype with a `CastWarning`, once per input; a cast that would change what
        they mean (overflow, fractions to int, text to numbers) raises instead.

        Returns:
            {output name: array}. A list of {label: score} becomes a float array (rows, labels), its labels in
            `classes`; other sequences and maps become object arrays.
        """
        session = self._session
        if session is None:
            raise WorkbenchError(f"The engine of {self.path} is closed; load it again.")
        feeds: dict[str, np.ndarray] = {}
        for info, value in match(inputs, self.inputs, self._optional):
            array, cast_from = cast(value, info)
            if cast_from and (info.name, cast_from) not in self._warned:
                self._warned.add((info.name, cast_from))
                message = f"Input {info.name!r} was cast from {cast_from} to {info.dtype}."
                warnings.warn(message, CastWarning, stacklevel=2)
            check_shape(array, info)
            feeds[info.name] = array
        try:
            results = session.run(None, feeds)
        except Exception as error:
            empty = [name for name, array in feeds.items() if array.ndim and not len(array)]
            if empty:
                raise BadInput(f"This model cannot run without rows: input {empty[0]!r} has none.") from error
            raise BadInput(f"ONNX Runtime could not run the model on this input: {_plain(str(error))}.") from error
        return {info.name: self._array(info.name, value) for info, value in zip(self.outputs, results, strict=True)}

    def _array(self, name: str, value: Any) -> np.ndarray:
        import numpy as np

        if isinstance(value, np.ndarray):
            return value
        if isinstance(value, list) and all(isinstance(row, dict) for row in value):
            labels = tuple(value[0]) if value else self.classes.get(name, ())
            if all(tuple(row) == labels for row in value):
                self.classes[name] = labels
                scores = [[row[label] for label in labels] for row in value]
                return np.array(scores, np.float32).reshape(len(value), len(labels))
        out = np.empty(len(value) if isinstance(value, list) else (), object)
        if isinstance(value, list):
            for index, item in enumerate(value):
                out[index] = item
        else:
            out[()] = value
        return out


def _check_external_data(path: str, locations: tuple[str, ...]) -> None:
    """Refuse, before loading, data files outside the model's folder; ONNX Runtime refuses symbolic links that
    lead out of it."""
    folder = os.path.dirname(os.path.abspath(path))
    for location in locations:
        plain = posixpath.normpath(location.replace("\\", "/"))
        if plain.startswith("/") or plain.split("/")[0] == ".." or re.match("[A-Za-z]:", plain):
            raise _outside(path, location)
        if not os.path.exists(os.path.join(folder, plain)):
            raise UnreadableFile(
                f"{path} keeps its weights in {location}, which is missing: put that file into {folder}."
            )


def _outside(path: str, location: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{path} asks for weights in {location}, outside its own folder; that is refused, since a model could read "
        "any file that way."
    )


def _load_error(path: str, message: str) -> WorkbenchError:
    """One sentence for what `InferenceSession` said. Its wording is tested, so an update that changes it shows."""
    if match := re.search(r'External data path escapes model directory\. External data path: "(.*?)"', message):
        return _outside(path, match[1])
    if "Absolute path not allowed for external data" in message:
        return _outside(path, "an absolute path")
    if match := re.search(r'External data path does not exist: "(.*?)"', message):
        return UnreadableFile(f"{path} keeps weights in {match[1]}, which is missing: put that file there.")
    if "External initializer" in message and "out of bounds" in message:
        return UnreadableFile(f"{path} expects more weights than its data file holds: was the download complete?")
    if match := re.search(r"(\S*):(\w+)\(-?\d+\) is not a registered function/op", message):
        return _no_operator(path, match[2], match[1])
    if match := re.search(r"No Op registered for (\w+) with domain_version of (\d+)", message):
        return _no_operator(path, match[1], "", int(match[2]))
    return UnsupportedModel(f"ONNX Runtime cannot load {path}: {_plain(message)}.")


def _no_operator(path: str, op_type: str, domain: str, opset: int | None = None) -> UnsupportedModel:
    where = f"domain {domain or 'ai.onnx'}" + (f", opset {opset}" if opset is not None else "")
    return UnsupportedModel(
        f"ONNX Runtime has no operator {op_type} ({where}), so it cannot run {path}; "
        "the model needs the engine this operator was made for."
    )


def _plain(message: str) -> str:
    """The first sentence or two of an ONNX Runtime error, without its codes and C++ places."""
    message = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", message)
    message = re.sub(r"^Load model from .*? failed:\s*", "", message)
    # "/onnxruntime_src/…/reshape_helper.h:91 onnxruntime::ReshapeHelper(const TensorShape&, bool) a == b was false."
    message = re.sub(r"/onnxruntime_src/\S+:\d+ .*?\)\s+", "", message)
    message = re.sub(r"^[\w:]+ == [\w:]+ was false\. ", "", message)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    first = "".join(char for char in (lines or ["no reason given"])[0] if char.isprintable())
    return (first if len(first) <= 300 else first[:299] + "…").rstrip(". ")
