"""TensorFlow Lite files, in TensorFlow's interpreter."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...agreement import FLOAT32, Tolerance
from ...engines.base import Arrays, Calls, ModelEngine
from ...errors import BadInput, UnsupportedModel
from ...files.header import ValueInfo
from ...words import listed
from .names import public_name, unique, unreadable
from .quiet import start_up_noise_hidden
from .start import start
from .tolerance import QUANTIZED, RESIZED, STEPS


class TfliteEngine(ModelEngine):
    """A ``.tflite`` file. See `workbench.engines.Engine`.

    Args:
        path: the file, read in this process: `load_engine` does that in a worker.
        threads: within an operator; None leaves the choice to TensorFlow Lite (one).
        xnnpack: use the fast kernels of XNNPACK, as TensorFlow Lite does; without them they are its plain ones.
        why: the sentence for `why`.

    Attributes:
        takes, gives: the interpreter's own details of inputs and outputs, in the order of `inputs` and `outputs`.
        quantized: the integer dtypes in which it keeps real numbers.

    Raises:
        UnreadableFile: the file is damaged.
        UnsupportedModel: it holds operators of full TensorFlow.
    """

    name = "tflite"

    def __init__(
        self, path: str | os.PathLike[str], *, threads: int | None = None, xnnpack: bool = True, why: str = ""
    ) -> None:
        tf = start()
        super().__init__(os.fspath(path), why)
        self.version = tf.__version__
        self._content = Path(path).read_bytes()
        self._threads, self._xnnpack = threads, xnnpack
        try:
            interpreter = self._interpreter(xnnpack=False)
        except Exception as error:
            raise unreadable(Path(path), error) from error
        if flex := sorted({op["op_name"] for op in interpreter._get_ops_details() if op["op_name"].startswith("Flex")}):
            raise UnsupportedModel(
                f"{os.path.basename(path)} holds operators of full TensorFlow ({listed(flex)}), which TensorFlow Lite "
                "as installed from PyPI does not run: take the SavedModel or Keras model that it was made from."
            )
        self.takes, self.gives = interpreter.get_input_details(), interpreter.get_output_details()
        names = unique(public_name(detail["name"]) for detail in self.takes)
        self.inputs = tuple(map(_info, names, self.takes))
        ends = unique((public_name(detail["name"]) for detail in self.gives), names)
        self.outputs = tuple(map(_info, ends, self.gives))
        self.quantized = _quantized(interpreter)
        resizes = any(op["op_name"] == "RESIZE_BILINEAR" for op in interpreter._get_ops_details())
        self.tolerance = _tolerance(interpreter) if self.quantized else RESIZED if resizes else FLOAT32
        self._ready: tuple[tuple[tuple[int, ...], ...], Any] | None = None

    def close(self) -> None:
        super().close()
        self._ready, self._content = None, b""

    def answer(self, feeds: Arrays) -> Arrays:
        return self._invoked(self._shaped(feeds), feeds)

    def graph(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The interpreter's own details of the file's operators and of its tensors."""
        interpreter = self._interpreter(xnnpack=False)
        return interpreter._get_ops_details(), interpreter.get_tensor_details()

    def _calls(self, feeds: Arrays) -> Calls:
        interpreter = self._shaped(feeds)
        set_tensor, invoke, get_tensor = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor
        given = [(detail["index"], feeds[info.name]) for detail, info in zip(self.takes, self.inputs, strict=True)]
        ends = [detail["index"] for detail in self.gives]

        def call() -> object:
            for index, array in given:
                set_tensor(index, array)
            invoke()
            return [get_tensor(index) for index in ends]

        return {"interpreter.invoke()": call}

    def _invoked(self, interpreter: Any, feeds: Arrays) -> Arrays:
        for detail, info in zip(self.takes, self.inputs, strict=True):
            interpreter.set_tensor(detail["index"], feeds[info.name].astype(detail["dtype"], copy=False))
        interpreter.invoke()
        ends = zip(self.outputs, self.gives, strict=True)
        return {info.name: interpreter.get_tensor(detail["index"]) for info, detail in ends}

    def _shaped(self, feeds: Arrays) -> Any:
        """An interpreter for inputs of these shapes. XNNPACK keeps those it was made for, so others need a new one."""
        shapes = tuple(feeds[info.name].shape for info in self.inputs)
        if 0 in (size for shape in shapes for size in shape):
            raise BadInput("TensorFlow Lite cannot run without rows: give at least one.")
        if self._ready is None or self._ready[0] != shapes:
            try:
                interpreter = self._resized(shapes, self._xnnpack)
            except (RuntimeError, ValueError):
                interpreter = self._resized(shapes, False)
            self._ready = shapes, interpreter
        return self._ready[1]

    def _resized(self, shapes: tuple[tuple[int, ...], ...], xnnpack: bool) -> Any:
        interpreter = self._interpreter(xnnpack)
        for detail, shape in zip(self.takes, shapes, strict=True):
            interpreter.resize_tensor_input(detail["index"], shape)
        with start_up_noise_hidden():
            interpreter.allocate_tensors()
        return interpreter

    def _interpreter(self, xnnpack: bool) -> Any:
        lite = start().lite
        kernels = lite.experimental.OpResolverType
        with warnings.catch_warnings():
            # It will move to a package of its own.
            warnings.simplefilter("ignore")
            return lite.Interpreter(
                model_content=self._content,
                num_threads=self._threads,
                experimental_op_resolver_type=kernels.AUTO if xnnpack else kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )


def _quantized(interpreter: Any) -> list[str]:
    """The integer dtypes of tensors that stand for real numbers; pixels do not."""
    scaled = [detail for detail in interpreter.get_tensor_details() if detail["quantization_parameters"]["scales"].size]
    return sorted({np.dtype(detail["dtype"]).name for detail in scaled} & {"int8", "uint8", "int16"})


def _tolerance(interpreter: Any) -> Tolerance:
    """In steps, where every output is the integers of one tensor, or these times its scale."""
    scales = {detail["index"]: float(detail["quantization"][0]) for detail in interpreter.get_tensor_details()}
    ends = (op for op in interpreter._get_ops_details() if op["op_name"] == "DEQUANTIZE")
    steps = {op["outputs"][0]: scales[op["inputs"][0]] for op in ends}
    floats = [detail["index"] for detail in interpreter.get_output_details() if np.dtype(detail["dtype"]).kind == "f"]
    if not all(steps.get(index) for index in floats):
        return QUANTIZED
    return replace(STEPS, step=max((steps[index] for index in floats), default=0.0))


def _info(name: str, detail: dict[str, Any]) -> ValueInfo:
    shape = tuple(None if size < 0 else int(size) for size in detail.get("shape_signature", detail["shape"]))
    return ValueInfo(name, np.dtype(detail["dtype"]).name, shape)
