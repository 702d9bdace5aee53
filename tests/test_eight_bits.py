"""8-bit networks answer the same on every processor: ONNX Runtime held against whole numbers, computed exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.engines.eight_bits import exact_session
from workbench.engines.onnxruntime import OnnxRuntimeEngine

SIZE = 8
RNG = np.random.default_rng(0)
# Two products of these do not fit 16 bits; scales are powers of two, so that no float rounds.
ROWS = RNG.integers(180, 256, (16, SIZE)).astype(np.uint8)
FIRST, SECOND = RNG.choice([-127, 101, 127, 127], (2, SIZE, SIZE)).astype(np.int8)
SCALES = {"x": 2.0**-8, "w": 2.0**-7, "a": 2.0**-4, "y": 2.0**-1}


def exactly(second: np.ndarray = SECOND) -> np.ndarray:
    """The two layers' answers in whole numbers of 64 bits."""
    values = ROWS.astype(np.int64)
    for weights, scale in ((FIRST, "xa"), (second, "ay")):
        given, taken = (SCALES[name] for name in scale)
        sums = values @ weights.astype(np.int64)
        values = np.clip(np.rint(sums * (given * SCALES["w"] / taken)), 0, 255).astype(np.int64)
    return values


def network(form: str, path: Path) -> Path:
    """Two layers of uint8 times int8. `form`: as pairs around MatMul, with what both weights share, or as operators."""
    signed = form == "QLinearMatMul, signed"
    kind, least = (TensorProto.INT8, -128) if signed else (TensorProto.UINT8, 0)
    stored = {
        "first": FIRST, "second": SECOND, "zero": np.array(least, np.int8 if signed else np.uint8),
        "w_zero": np.array(0, np.int8), "w_zero_2": np.array(0, np.int8),
        **{f"{name}_scale": np.array(scale, np.float32) for name, scale in SCALES.items()},
    }  # fmt: skip
    second, zero = "second", "w_zero" if form != "pairs" else "w_zero_2"
    if form == "pairs, a weight shared":
        second = "first"
    nodes: list[Any] = []

    def node(op_type: str, inputs: list[str], output: str) -> str:
        nodes.append(helper.make_node(op_type, inputs, [output]))
        return output

    if form.startswith("pairs"):
        weight = {"first": node("DequantizeLinear", ["first", "w_scale", "w_zero"], "first_float")}
        if second != "first":
            weight[second] = node("DequantizeLinear", [second, "w_scale", zero], "second_float")
        for given, name, taken in (("x", "first", "a"), ("a", second, "y")):
            floats = node("DequantizeLinear", [given, f"{given}_scale", "zero"], f"{given}_float")
            sums = node("MatMul", [floats, weight[name]], f"{taken}_sums")
            node("QuantizeLinear", [sums, f"{taken}_scale", "zero"], taken)
    else:
        for given, name, taken in (("x", "first", "a"), ("a", second, "y")):
            inputs = [given, f"{given}_scale", "zero", name, "w_scale", zero, f"{taken}_scale", "zero"]
            node("QLinearMatMul", inputs, taken)
    used = {name for made in nodes for name in made.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, ["N", SIZE])],
        [helper.make_tensor_value_info("y", kind, ["N", SIZE])],
        [numpy_helper.from_array(array, name) for name, array in stored.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


FORMS = [
    "pairs", "pairs, a zero point shared", "pairs, a weight shared", "QLinearMatMul", "QLinearMatMul, signed",
]  # fmt: skip


def answers(run: Any, form: str) -> np.ndarray:
    """As uint8 holds them."""
    if form == "QLinearMatMul, signed":
        return np.asarray(run((ROWS.astype(np.int16) - 128).astype(np.int8))).astype(np.int64) + 128
    return np.asarray(run(ROWS)).astype(np.int64)


@pytest.mark.parametrize("form", FORMS)
def test_eight_bit_sums_are_exact_whatever_the_processor(form: str, tmp_path: Path) -> None:
    """Without VNNI, ONNX Runtime's own choice of kernels clips them."""
    right = exactly(FIRST if form == "pairs, a weight shared" else SECOND)
    assert len(np.unique(right)) > 20
    with OnnxRuntimeEngine(network(form, tmp_path / "m.onnx")) as engine:
        assert (answers(lambda x: engine.run(x)["y"], form) == right).all()


@pytest.mark.parametrize("form", FORMS)
def test_the_exact_kernels_take_what_onnx_runtimes_setting_alone_refuses(form: str, tmp_path: Path) -> None:
    """On any processor, also one that would need none of it."""
    path = str(network(form, tmp_path / "m.onnx"))
    asked: list[dict[str, str]] = []

    def opened(model: str | bytes, settings: dict[str, str]) -> Any:
        asked.append(settings)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        for key, value in settings.items():
            options.add_session_config_entry(key, value)
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    session = exact_session(opened, path, path)
    right = exactly(FIRST if form == "pairs, a weight shared" else SECOND)
    assert (answers(lambda x: session.run(None, {"x": x})[0], form) == right).all()
    # An update that takes more makes this house smaller.
    tries = {"pairs, a zero point shared": 2, "QLinearMatMul": 2, "pairs": 1}
    assert len(asked) == tries.get(form, 3)
