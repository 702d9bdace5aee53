"""ONNX Runtime: runs machine learning and deep learning models made of standard operators."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput, UnsupportedModel, WorkbenchError
from ..files.header import ValueInfo
from ..files.light import without_weights
from ..safety import external
from .base import Arrays, Calls, ModelEngine
from .eight_bits import exact_session, may_clip

_FATAL_ONLY = 4
"""ONNX Runtime's log level. Its errors reach us as exceptions; printed as well they would be said twice."""

LARGE = 256 << 20
"""Bytes of a file from which whoever holds another model beside it leaves the weights in it (``lean=True``)."""

OPTIMIZATION = {
    "all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC", "off": "ORT_DISABLE_ALL",
}  # fmt: skip
"""How much ONNX Runtime rewrites the graph when it loads it -> its own name for that."""


class OnnxRuntimeEngine(ModelEngine):
    """An ONNX model in ONNX Runtime. See `workbench.engines.Engine`.

    Args:
        path: the .onnx file; files with external data are looked for beside it and nowhere else.
        threads: threads within one operator; None leaves the choice to ONNX Runtime (one per core).
        providers: execution providers in order of preference; the CPU unless you say otherwise.
        optimization: one of `OPTIMIZATION`.
        lean: leave the weights in the file, mapped into memory, and in the order they have there. VGG16 takes 160 MiB
            beside its 511 of mapped file so, instead of 1,120; a single picture takes as long, eight at once a tenth
            longer. The file must not be cut short meanwhile, which would end this process: for workers.
        why: the sentence for `why`.

    Attributes:
        classes: {output name: class labels in column order} of outputs that were lists of {label: score} (ZipMap);
            filled by `run`.

    Raises:
        UnreadableFile: the file or its external data is missing or damaged.
        UnsupportedModel: ONNX Runtime cannot run it, or its external data lies outside its folder.
        WorkbenchError: there is no such provider here. BadInput: no such `optimization`.
    """

    name = "onnxruntime"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        optimization: str = "all",
        lean: bool = False,
        why: str = "",
    ) -> None:
        import onnxruntime as ort

        super().__init__(os.fspath(path), why)
        self.version: str = ort.__version__
        header = external.check(Path(self.path))
        self.inputs = header.graph.inputs
        self.outputs = header.graph.outputs
        if optimization not in OPTIMIZATION:
            raise BadInput(f"optimization is one of {', '.join(OPTIMIZATION)}, not {optimization!r}.")
        wanted = [providers] if isinstance(providers, str) else list(providers or ["CPUExecutionProvider"])
        if unknown := [name for name in wanted if name not in ort.get_available_providers()]:
            raise WorkbenchError(
                f"ONNX Runtime here has no provider {unknown[0]!r}; it has: {', '.join(ort.get_available_providers())}."
            )
        model: str | bytes = self.path
        common: dict[str, str] = {}
        if lean:
            folder, name = os.path.split(os.path.abspath(self.path))
            model = without_weights(Path(folder, name))
            common = {"session.model_external_initializers_file_folder_path": folder, "session.disable_prepacking": "1"}

        def opened(model: str | bytes, settings: dict[str, str]) -> ort.InferenceSession:
            options = ort.SessionOptions()
            options.log_severity_level = _FATAL_ONLY
            if threads is not None:
                options.intra_op_num_threads = threads
            options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, OPTIMIZATION[optimization])
            for key, value in (common | settings).items():
                options.add_session_config_entry(key, value)
            return ort.InferenceSession(model, options, providers=wanted)

        try:
            fused = optimization in ("all", "extended")
            clips = may_clip(header, fused)
            session = exact_session(opened, self.path, model) if clips and fused else opened(model, {})
        except Exception as error:
            raise load_error(self.path, str(error)) from error
        if clips:
            self.why += " This processor's fast kernels clip 8-bit sums, " + (
                "so it uses exact ones, which are slower."
                if fused
                else f"and with optimization={optimization!r} there are no others: its answers may be wrong."
            )
        self._session: ort.InferenceSession | None = session
        # Initializers that are listed as inputs too are defaults: they may be given, by name.
        defaults = {info.name for info in session.get_overridable_initializers()}
        self._optional = tuple(
            ValueInfo(tensor.name, tensor.dtype, tensor.shape)
            for tensor in header.graph.initializers.values()
            if tensor.name in defaults
        )

    def close(self) -> None:
        super().close()
        self._session = None

    def answer(self, feeds: Arrays) -> Arrays:
        """A list of {label: score} becomes a float array (rows, labels), its labels in `classes`; other sequences and
        maps become object arrays."""
        assert self._session is not None
        results = self._session.run(None, feeds)
        return {info.name: self._array(info.name, value) for info, value in zip(self.outputs, results, strict=True)}

    def _calls(self, feeds: Arrays) -> Calls:
        assert self._session is not None
        run = self._session.run
        return {"session.run": lambda: run(None, feeds)}

    def _plain(self, error: Exception) -> str:
        return _plain(str(error))

    def _array(self, name: str, value: Any) -> np.ndarray:
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


def load_error(path: str, message: str) -> WorkbenchError:
    """One sentence for what `InferenceSession` said. Its wording is tested, so an update that changes it shows."""
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
