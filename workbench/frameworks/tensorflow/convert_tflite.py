"""TFLite files to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...convert.batch import freed
from ...convert.draft import Draft
from ...engines.eight_bits import EXACT, own_weights
from ...files.header import read_header
from ...words import readable
from . import OPSETS
from .convert_start import start
from .limits import Ranges, Step, ranges_of
from .network import Network
from .tflite import TfliteEngine
from .to_onnx import CONVERTER, NoForm, Writing, finish, run_tf2onnx
from .tolerance import DEQUANTIZED


def draft(path: Path, sample: Any, writing: Writing, *, dequantize: bool) -> Draft:
    """Convert a file, with float operators for quantized ones if `dequantize`; see `tensorflow.draft`."""
    tf = start()
    # The plain kernels answer as the file says; XNNPACK's take shortcuts.
    engine = TfliteEngine(path, xnnpack=False)
    details, infos = (*engine.takes, *engine.gives), (*engine.inputs, *engine.outputs)
    if "int16" in engine.quantized and not dequantize:
        raise NoForm(
            f"{path.name} computes in 16 bits (int16x8), and ONNX has no form of that up to opset {OPSETS[1]}, the "
            "last that tf2onnx writes: convert the float32 model that it was made from, or with dequantize=True "
            "(--option dequantize=true) and rows of your data as sample= into one that computes in float32."
        )
    writing.progress("Writing ONNX operators")
    notes: list[str] = []
    with tf.device("/cpu:0"), tf.Graph().as_default():
        model = run_tf2onnx(
            None, writing, notes, tflite_path=str(path), dequantize=dequantize,
            # The first name counts for an output that is also an input, or given twice.
            tensors_to_rename={d["name"]: info.name for d, info in reversed(list(zip(details, infos, strict=True)))},
        )  # fmt: skip
    for value, info in zip(model.graph.output, engine.outputs, strict=True):
        if value.name != info.name:
            model.graph.node.add(op_type="Identity", name=info.name, input=[value.name], output=[info.name])
            value.name = info.name
    quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    if quantized:
        own_weights(model)
    shapes: dict[str, Any] = {info.name: info.shape for info in infos}
    network = Network(None, {}, {}, path.stem, shapes)
    finish(model, network, writing)
    assert engine.tolerance is not None
    inputs = freed(read_header(writing.path).graph.inputs, shapes)
    made = Draft(writing.path, CONVERTER, inputs, engine.answer, engine.tolerance, ranges=_ranges(engine), notes=notes)
    if dequantize and engine.quantized:
        made.tolerance = DEQUANTIZED
        if cut := _cut_off(engine):
            made.ranges |= cut
            made.notes.append(
                "Past the numbers that it was quantized for, the TFLite model cuts off, and a float32 one does not: "
                + "; ".join(
                    f"{name} takes from {readable(low)} to {readable(high)}" for name, (low, high) in cut.items()
                )
                + "."
            )
    elif engine.quantized and all(np.dtype(detail["dtype"]).kind == "f" for detail in details):
        made.notes.append(
            f"The TFLite model is quantized ({', '.join(engine.quantized)}); ONNX Runtime rounds elsewhere."
        )
    if quantized:
        made.notes.append(
            f"Outside the workbench set ONNX Runtime's {EXACT} to 1 on x86 processors without VNNI: its 8-bit sums are "
            "clipped there without, and the answers are others."
        )
    return made


def _ranges(engine: TfliteEngine) -> Ranges:
    """Input name -> (lowest, highest) number to ask."""
    operators, tensors = engine.graph()
    details = {detail["index"]: detail for detail in tensors}
    integers = {index for index, detail in details.items() if detail["dtype"] in (np.int32, np.int64)}

    def step(op: dict[str, Any]) -> Step:
        reads = tuple(int(index) for index in op["inputs"])
        counts = frozenset(place for place, index in enumerate(reads) if index in integers)
        return Step(op["op_name"].replace("_", "").lower(), reads, tuple(int(index) for index in op["outputs"]), counts)

    steps = [step(op) for op in operators]
    taken = {detail["index"]: info.name for detail, info in zip(engine.takes, engine.inputs, strict=True)}
    given = {index for each in steps for index in each.gives} | taken.keys()

    def rows(index: Any) -> int | None:
        return int(details[index]["shape"][0]) if index not in given and details[index]["shape"].size else None

    return ranges_of(steps, taken, {info.name for info in engine.inputs if "int" in info.dtype}, rows)


def _cut_off(engine: TfliteEngine) -> Ranges:
    """Of inputs in float32 that the file makes whole numbers of first, the range of these."""
    operators, tensors = engine.graph()
    details = {detail["index"]: detail for detail in tensors}
    ends = zip(engine.takes, engine.inputs, strict=True)
    taken = {detail["index"]: info.name for detail, info in ends if info.dtype == "float32"}
    found: Ranges = {}
    for op in operators:
        if op["op_name"] == "QUANTIZE" and (name := taken.get(op["inputs"][0])) is not None:
            whole = details[op["outputs"][0]]
            (scale, zero), limits = whole["quantization"], np.iinfo(whole["dtype"])
            found[name] = float(scale * (limits.min - zero)), float(scale * (limits.max - zero))
    return found
