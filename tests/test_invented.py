"""Inputs made up for models that nobody has rows for: what the graph and the names say of them is kept to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_files import Values, onnx_file

from tests.test_inference import inferred
from workbench import UnsupportedModel, compare, load_engine
from workbench.files.header import read_header
from workbench.inference import TrialRun, first_inference
from workbench.invented import invent

FLOAT, INT64, BOOL, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING


def model(path: Path, nodes: list[Any], inputs: Values, outputs: dict[str, int], **weights: Any) -> Path:
    """A file; outputs have a type and no shape."""
    return onnx_file(path, nodes, inputs, {name: (dtype, None) for name, dtype in outputs.items()}, weights)


def decoder(path: Path) -> Path:
    """A language model's step: ids of a small table, a mask over past and present, and keys of the past."""
    node = helper.make_node
    nodes = [
        node("Cast", ["input_ids"], ["ids"], to=TensorProto.INT32),
        node("Gather", ["table", "ids"], ["rows"]),
        node("Concat", ["past.0.key", "rows"], ["present.0.key"], axis=1),
        node("Cast", ["attention_mask"], ["mask"], to=FLOAT),
        node("Unsqueeze", ["mask", "last"], ["column"]),
        node("Mul", ["present.0.key", "column"], ["kept"]),
        node("Gather", ["segments", "token_type_ids"], ["segment"]),
        node("Add", ["kept", "segment"], ["hidden"]),
    ]
    inputs: Values = {
        "input_ids": (INT64, ["batch", "sequence"]),
        "attention_mask": (INT64, ["batch", "past_sequence + sequence"]),
        "token_type_ids": (INT64, ["batch", "sequence"]),
        "past.0.key": (FLOAT, ["batch", "past_sequence", 4]),
    }
    return model(
        path, nodes, inputs, {"hidden": FLOAT, "present.0.key": FLOAT},
        table=np.ones((7, 4), np.float32), segments=np.ones((2, 4), np.float32), last=np.array([2]),
    )  # fmt: skip


def voice(path: Path) -> Path:
    """Sound in frames, a recurrent state whose second axis holds rows, and a rate that must be 16,000."""
    node = helper.make_node
    nodes = [
        node("ReduceMean", ["input"], ["loud"], axes=[1], keepdims=1),
        node("Add", ["loud", "state"], ["next"]),
        node("Sub", ["sr", "expected"], ["off"]),
        node("Gather", ["one", "off"], ["checked"]),
        node("Mul", ["next", "checked"], ["out"]),
    ]
    inputs: Values = {
        "input": (FLOAT, [None, None]), "state": (FLOAT, [2, None, 8]), "sr": (INT64, []),
    }  # fmt: skip
    return model(
        path, nodes, inputs, {"out": FLOAT}, expected=np.int64(16_000), one=np.ones(1, np.float32)
    )  # fmt: skip


def picture(path: Path) -> Path:
    """Takes pictures of 64 by 64 only, though it says any."""
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["y"]),
    ]
    weights = np.ones((3 * 64 * 64, 2), np.float32)
    inputs: Values = {"x": (FLOAT, ["?", 3, "?", "?"])}
    return model(path, nodes, inputs, {"y": FLOAT}, shape=np.array([1, 3 * 64 * 64]), weights=weights)


def texts(path: Path) -> Path:
    nodes = [
        helper.make_node("Identity", ["text"], ["same"]),
        helper.make_node("Not", ["flag"], ["other"]),
    ]
    inputs: Values = {"text": (STRING, ["n"]), "flag": (BOOL, [1])}
    return model(path, nodes, inputs, {"same": STRING, "other": BOOL})


def features(path: Path) -> Path:
    """Exported without saying how many columns there are; its weights tell."""
    nodes = [helper.make_node("MatMul", ["x", "weights"], ["y"])]
    inputs: Values = {"x": (FLOAT, ["n", None])}
    return model(path, nodes, inputs, {"y": FLOAT}, weights=np.ones((23, 2), np.float32))


MAKERS = {"decoder": decoder, "voice": voice, "picture": picture, "texts": texts, "features": features}


@pytest.mark.parametrize("name", MAKERS)
def test_a_model_without_rows_is_run_on_what_its_signature_asks_for(name: str, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path / f"{name}.onnx")
    trial = first_inference(path) if name == "decoder" else inferred(path)
    assert isinstance(trial, TrialRun)
    # Every input is told of, and the line to copy gives the same.
    inputs = [info.name for info in read_header(path).graph.inputs]
    assert [asked.partition(" ")[0] for asked in trial.asked] == inputs
    with load_engine(path) as engine:
        names = {"np": np, "load_engine": lambda name: engine}
        outputs = eval(trial.code, names)
    assert {output.name: output.shape for output in trial.outputs} == {n: a.shape for n, a in outputs.items()}
    html = trial._repr_html_()
    assert all(info in html for info in inputs) and "right or wrong" in trial.says
    assert trial.to_dict()["outputs"][0]["name"] == trial.outputs[0].name


def test_ids_stay_below_their_table_and_a_past_that_has_not_been_is_empty(tmp_path: Path) -> None:
    graph = read_header(decoder(tmp_path / "m.onnx")).graph
    asked = {filling.name: filling for filling in next(invent(graph.inputs, graph, rows=3))}
    ids = asked["input_ids"].array
    assert ids.shape == (3, 16) and ids.min() >= 0 and ids.max() < 7 and len(np.unique(ids)) > 3
    assert asked["past.0.key"].array.shape == (3, 0, 4)
    assert asked["attention_mask"].array.shape == (3, 16) and (asked["attention_mask"].array == 1).all()
    assert (asked["token_type_ids"].array == 0).all()


def test_what_cannot_be_made_up_is_refused_with_the_inputs_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="'x'"):
        next(invent((read_header(features(tmp_path / "m.onnx")).graph.inputs[0].__class__("x", "sequence", None),)))


@pytest.mark.parametrize("name", ["decoder", "texts", "picture"])
def test_two_models_are_compared_on_what_was_made_up_for_them(name: str, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path / f"{name}.onnx")
    with load_engine(path, threads=1) as one, load_engine(path, threads=1) as other:
        found = compare(one, other, "random", seconds=0.1, repeat=2, rows=4)
    assert found.agreement.within_tolerance and found.agreement.samples == (1 if name == "picture" else 4)
    inputs = [info.name for info in read_header(path).graph.inputs]
    assert any(all(name in note for name in inputs) for note in found.warnings)
