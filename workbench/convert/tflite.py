"""TFLite files to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..header import read_header
from .draft import Draft
from .tf_limits import FLOAT32, QUANTIZED
from .tf_network import Network, public_name, unique
from .tf_operators import handlers
from .tf_start import start
from .tf_to_onnx import CONVERTER, Progress, finish, run_tf2onnx, unreadable

if TYPE_CHECKING:
    from .draft import Arrays


def draft(
    path: Path, sample: Any, opset: int | None, progress: Progress, folder: Path, *, dequantize: bool = False
) -> Draft:
    """Convert a file, with float operators for quantized ones if `dequantize`; see `tensorflow.draft`."""
    tf = start()
    try:
        interpreter = tf.lite.Interpreter(
            model_content=path.read_bytes(),
            # XNNPACK fixes the batch size when the interpreter is made; the plain kernels take any.
            experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    except Exception as error:
        raise unreadable(path, error) from error
    takes, gives = interpreter.get_input_details(), interpreter.get_output_details()
    inputs = unique(public_name(detail["name"]) for detail in takes)
    outputs = unique((public_name(detail["name"]) for detail in gives), inputs)
    named = list(zip((*takes, *gives), (*inputs, *outputs), strict=True))
    progress("Writing ONNX operators")
    with tf.device("/cpu:0"), tf.Graph().as_default():
        model = run_tf2onnx(
            None, opset, tflite_path=str(path), dequantize=dequantize, custom_op_handlers=handlers({}),
            # The first name counts for an output that is also an input, or given twice.
            tensors_to_rename={detail["name"]: name for detail, name in reversed(named)},
        )  # fmt: skip
    for value, name in zip(model.graph.output, outputs, strict=True):
        if value.name != name:
            model.graph.node.add(op_type="Identity", name=name, input=[value.name], output=[name])
            value.name = name
    shapes = {
        name: tuple(None if size < 0 else int(size) for size in detail.get("shape_signature", detail["shape"]))
        for detail, name in named
    }
    onnx_path = finish(model, Network(None, {}, {}, path.stem, shapes), progress, folder)

    def native(arrays: Arrays) -> Arrays:
        for detail, name in zip(takes, inputs, strict=True):
            interpreter.resize_tensor_input(detail["index"], arrays[name].shape)
        interpreter.allocate_tensors()
        for detail, name in zip(takes, inputs, strict=True):
            interpreter.set_tensor(detail["index"], arrays[name].astype(detail["dtype"], copy=False))
        interpreter.invoke()
        return {name: interpreter.get_tensor(detail["index"]) for detail, name in zip(gives, outputs, strict=True)}

    dtypes = {np.dtype(detail["dtype"]).name for detail in interpreter.get_tensor_details()}
    quantized = sorted(dtypes & {"int8", "uint8", "int16"})
    made = Draft(onnx_path, CONVERTER, read_header(onnx_path).graph.inputs, native, QUANTIZED if quantized else FLOAT32)
    if quantized and all(np.dtype(detail["dtype"]).kind == "f" for detail, _ in named):
        made.notes.append(f"The TFLite model is quantized ({', '.join(quantized)}); ONNX Runtime rounds elsewhere.")
    return made
