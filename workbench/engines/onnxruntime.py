"""ONNX Runtime: runs machine learning and deep learning models made of standard operators."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput, UnsupportedModel, WorkbenchError
from ..files.formats import identify
from ..files.header import Header, ValueInfo
from ..files.light import without_weights
from ..safety import external
from . import eight_bits
from .base import Arrays, Calls, ModelEngine
from .eight_bits import exact_session, may_clip
from .refusals import EXTENSIONS, REFERENCE, may_be_mended, plain, refusal
from .rewritten import FOLDER, loadable
from .values import COARSE, CONTAINERS, answered, numpy_of, ort_value, unboxed, value_info

if TYPE_CHECKING:
    import onnxruntime

_FATAL_ONLY = 4
"""ONNX Runtime's log level. Its errors reach us as exceptions; printed as well they would be said twice."""

LARGE = 256 << 20
"""Bytes of a file from which whoever holds another model beside it leaves the weights in it (``lean=True``)."""

OPTIMIZATION = {
    "all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC", "off": "ORT_DISABLE_ALL",
}  # fmt: skip
"""How much ONNX Runtime rewrites the graph when it loads it -> its own name for that."""


SETTINGS = {"session.intra_op.spin_duration_us": "50"}
"""Of every session. A thread that has done its part of an operator waits for the next one in a loop, and on a busy
machine takes a core from whoever has work, the other threads of the same model among them."""

RAN = "ran.onnx"
"""The graph that ran, after ONNX Runtime's optimiser, in the folder of a profile."""


@dataclass(frozen=True)
class Opened:
    """Sessions with a person's settings: called with a model, and more of ONNX Runtime's own.

    Attributes:
        optimization: ONNX Runtime's own name of how much it rewrites the graph.
        extensions: the library of `extensions_for`.
        profile: a folder for a profile of what runs, and for the graph that does; see `OnnxRuntimeEngine`.
    """

    threads: int | None
    optimization: str
    providers: tuple[str, ...]
    common: Mapping[str, str]
    extensions: str | None
    profile: str | None = None

    def __call__(self, model: str | bytes, settings: Mapping[str, str]) -> onnxruntime.InferenceSession:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, self.optimization)
        for key, value in {**SETTINGS, **self.common, **settings}.items():
            options.add_session_config_entry(key, value)
        if self.profile:
            options.enable_profiling, options.profile_file_prefix = True, os.path.join(self.profile, "run")
            # Nobody reads the weights of what ran.
            options.optimized_model_filepath = os.path.join(self.profile, RAN)
            for key, value in (("file_name", "ran.data"), ("min_size_in_bytes", "0")):
                options.add_session_config_entry(f"session.optimized_model_external_initializers_{key}", value)
        if self.extensions:
            options.register_custom_ops_library(self.extensions)
        return ort.InferenceSession(model, options, providers=list(self.providers))


def extensions_for(header: Header | None) -> str | None:
    """The library of package onnxruntime-extensions, where a model's operators are of its domains and it is here."""
    if header is None or header.opset_import.keys().isdisjoint(EXTENSIONS) or not find_spec("onnxruntime_extensions"):
        return None
    library: str = import_module("onnxruntime_extensions").get_library_path()
    return library


class OnnxRuntimeEngine(ModelEngine):
    """An ONNX model in ONNX Runtime. See `workbench.engines.Engine`.

    Args:
        path: the .onnx file; files with external data are looked for beside it and nowhere else.
        threads: threads within one operator; None leaves the choice to ONNX Runtime (one per core).
        providers: execution providers in order of preference; the CPU unless you say otherwise.
        optimization: one of `OPTIMIZATION`.
        profile: a folder, for a profile of every call until `profiled`, and for the graph that ran (`RAN`).
        lean: leave the weights in the file, mapped into memory, and in the order they have there. VGG16 takes 160 MiB
            beside its 511 of mapped file so, instead of 1,120; a single picture takes as long, eight at once a tenth
            longer. The file must not be cut short meanwhile, which would end this process: for workers.
        why: the sentence for `why`.

    Attributes:
        classes: {output name: class labels in column order} of outputs that were lists of {label: score} (ZipMap);
            filled by `run`.

    Raises:
        UnreadableFile: the file or its external data is missing or damaged.
        UnsupportedModel: ONNX Runtime cannot run it, in its own opset or another (`rewritten.loadable`), or its
            external data lies outside its folder.
        WorkbenchError: there is no such provider here. BadInput: no such `optimization`.
    """

    name = "onnxruntime"
    names_gaps = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        optimization: str = "all",
        lean: bool = False,
        profile: str | None = None,
        why: str = "",
    ) -> None:
        import onnxruntime as ort

        super().__init__(os.fspath(path), why)
        self.version: str = ort.__version__
        # ONNX Runtime's own form (.ort) is read by it alone.
        header = None if identify(self.path).name == "ORT" else external.check(Path(self.path))
        if optimization not in OPTIMIZATION:
            raise BadInput(f"optimization is one of {', '.join(OPTIMIZATION)}, not {optimization!r}.")
        wanted = [providers] if isinstance(providers, str) else list(providers or ["CPUExecutionProvider"])
        if unknown := [name for name in wanted if name not in ort.get_available_providers()]:
            raise WorkbenchError(
                f"ONNX Runtime here has no provider {unknown[0]!r}; it has: {', '.join(ort.get_available_providers())}."
            )
        model: str | bytes = self.path
        folder, name = os.path.split(os.path.abspath(self.path))
        # Which form it is, it would take from the name.
        common = {} if header else {"session.load_model_format": "ORT"}
        if lean:
            model = without_weights(Path(folder, name))
            common = {FOLDER: folder, "session.disable_prepacking": "1"}
        opened = Opened(threads, OPTIMIZATION[optimization], tuple(wanted), common, extensions_for(header), profile)
        fused = optimization in ("all", "extended")
        clips = header is not None and may_clip(header, fused)
        try:
            session = exact_session(opened, self.path, model) if clips and fused else opened(model, {})
        except Exception as error:
            session = self._of_another_opset(opened, header, error, clips and fused)
        if clips:
            so = (
                "so it uses exact ones, which are slower."
                if fused
                else f"and with optimization={optimization!r} there are no others: its answers may be wrong."
            )
            self._remark(f"This processor's fast kernels clip 8-bit sums, {so}")
        elif header is None and eight_bits.clips():
            self._remark(
                "This processor's fast kernels clip 8-bit sums, and this form of file does not say whether there are "
                "any: of a quantized network the answers may be wrong; those of its .onnx file are exact."
            )
        self._session: ort.InferenceSession | None = session
        self.inputs = header.graph.inputs if header else tuple(map(value_info, session.get_inputs()))
        self.outputs = header.graph.outputs if header else tuple(map(value_info, session.get_outputs()))
        # Initializers that are listed as inputs too are defaults: they may be given, by name.
        defaults = {info.name for info in session.get_overridable_initializers()}
        self._optional = tuple(
            ValueInfo(tensor.name, tensor.dtype, tensor.shape)
            for tensor in (header.graph.initializers.values() if header else ())
            if tensor.name in defaults
        )
        self._coarse = _coarse(session, self.path)

    def _of_another_opset(self, opened: Opened, header: Header | None, error: Exception, exact: bool) -> Any:
        """A session of the model with its operators converted, where that mends what ONNX Runtime said.

        Raises:
            UnsupportedModel: it does not.
        """
        said = str(error)
        if header is None:
            raise UnsupportedModel(f"ONNX Runtime {self.version} cannot load {self.path}: {plain(said)}.") from error
        opset = header.opset_import.get("", 0)
        other = loadable(self.path, opset) if may_be_mended(said) else None
        if other is None:
            raise refusal(self.path, said, header, self.version) from error
        data, now = other
        self._remark(
            f"Its operators are of opset {opset}, for which ONNX Runtime {self.version} lacks kernels: they were "
            f"converted to opset {now} by onnx.version_converter."
        )
        beside = {FOLDER: os.path.dirname(os.path.abspath(self.path))}
        if exact:
            with suppress(Exception):
                return opened(data, {**beside, eight_bits.EXACT: "1"})
        return opened(data, {**beside, **({"session.disable_quant_qdq": "1"} if exact else {})})

    def close(self) -> None:
        super().close()
        self._session = None

    def profiled(self) -> str:
        """The file of the profile, in the form of Chrome's traces, which ends here."""
        assert self._session is not None
        return str(self._session.end_profiling())

    def answer(self, feeds: Arrays) -> Arrays:
        """A list of {label: score} becomes a float array (rows, labels), its labels in `classes`; other sequences
        become object arrays, and so do maps, without axes."""
        results = self._results(feeds)
        return {info.name: self._array(info.name, value) for info, value in zip(self.outputs, results, strict=True)}

    def _results(self, feeds: Arrays) -> list[Any]:
        assert self._session is not None
        given = {name: self._given(name, array) for name, array in feeds.items()}
        if not self._coarse:
            return list(self._session.run(None, given))
        return [numpy_of(value) for value in self._session.run_with_ort_values(None, given)]

    def _given(self, name: str, array: np.ndarray) -> Any:
        """What ONNX Runtime takes an input as."""
        dtype = next(info.dtype for info in (*self.inputs, *self._optional) if info.name == name)
        if dtype in CONTAINERS:
            return unboxed(array)
        return ort_value(array, dtype) if dtype in COARSE or self._coarse else array

    def _calls(self, feeds: Arrays) -> Calls:
        assert self._session is not None
        run = self._session.run
        if self._coarse or any(info.dtype in (*COARSE, *CONTAINERS) for info in self.inputs):
            call = "session.run_with_ort_values" if self._coarse else "session.run"
            return {call: lambda: self._results(feeds)}
        return {"session.run": lambda: run(None, feeds)}

    def _plain(self, error: Exception) -> str:
        return plain(str(error))

    def _array(self, name: str, value: Any) -> np.ndarray:
        if isinstance(value, np.ndarray):
            return value
        if isinstance(value, list) and all(isinstance(row, dict) for row in value):
            labels = tuple(value[0]) if value else self.classes.get(name, ())
            if all(tuple(row) == labels for row in value):
                self.classes[name] = labels
                scores = [[row[label] for label in labels] for row in value]
                return np.array(scores, np.float32).reshape(len(value), len(labels))
        return answered(value)


def _coarse(session: Any, path: str) -> bool:
    """Whether an output is of a dtype that NumPy has not, so that answers must be read from ONNX Runtime's own values.

    Raises:
        UnsupportedModel: containers of such, or beside such, which its Python package neither takes nor gives.
    """
    kinds = {meta.name: meta.type for meta in (*session.get_inputs(), *session.get_outputs())}
    within = {name: kind.rstrip(")").rpartition("(")[2] in COARSE for name, kind in kinds.items()}
    coarse = any(within[meta.name] for meta in session.get_outputs())
    odd = (name for name, kind in kinds.items() if not kind.startswith("tensor(") and (coarse or within[name]))
    if (name := next(odd, None)) is not None:
        raise UnsupportedModel(
            f"ONNX Runtime's Python package cannot pass on {name!r} of {path} ({kinds[name]}), in a model of numbers "
            f"that NumPy has not; {REFERENCE}."
        )
    return coarse
