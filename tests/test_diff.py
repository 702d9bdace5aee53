"""What changed from one ONNX file to another: found where it was planted, and nowhere else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from access import barriers
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, version_converter
from playwright.sync_api import Browser, expect

from workbench import diff
from workbench.diff import Difference, difference
from workbench.errors import UnreadableFile, UnsupportedModel

RANDOM = np.random.default_rng(0)


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(RANDOM.normal(size=shape).astype(np.float32), name)


def network(blocks: int = 2, *, relu: bool = True, opset: int = 17) -> onnx.ModelProto:
    """Blocks of convolution, batch normalisation and ReLU, then a dense layer; names numbered as exporters do."""
    nodes, weights, value = [], [], "x"
    for block in range(blocks):
        into = 1 if block == 0 else 3
        weights += [weight(f"w{block}", 3, into, 3, 3)]
        nodes.append(helper.make_node("Conv", [value, f"w{block}"], [f"c{block}"], f"Conv_{3 * block}", pads=[1] * 4))
        held = [f"{part}{block}" for part in ("scale", "b", "mean", "var")]
        weights += [weight(name, 3) for name in held[:3]]
        weights.append(numpy_helper.from_array(np.float32([0.5, 1, 2]), held[3]))
        nodes.append(helper.make_node("BatchNormalization", [f"c{block}", *held], [f"n{block}"], f"BN_{3 * block + 1}"))
        value = f"n{block}"
        if relu:
            nodes.append(helper.make_node("Relu", [value], [f"r{block}"], f"Relu_{3 * block + 2}"))
            value = f"r{block}"
    weights.append(weight("dense", 3 * 8 * 8, 4))
    nodes.append(helper.make_node("Flatten", [value], ["flat"], "Flatten"))
    nodes.append(helper.make_node("MatMul", ["flat", "dense"], ["y"], "MatMul"))
    infos = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])]
    graph = helper.make_graph(nodes, "g", infos, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def compared(folder: Path, one: onnx.ModelProto, other: onnx.ModelProto) -> Difference:
    for name, model in (("a.onnx", one), ("b.onnx", other)):
        onnx.save(model, folder / name)
    return difference(folder / "a.onnx", folder / "b.onnx")


def copy(model: onnx.ModelProto) -> onnx.ModelProto:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    return other


def optimised(folder: Path, model: onnx.ModelProto, level: Any) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.graph_optimization_level = str(folder / "o.onnx"), level
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "o.onnx")


LEVELS = onnxruntime.GraphOptimizationLevel


def test_a_file_does_not_differ_from_itself_however_it_is_written(tmp_path: Path) -> None:
    one, other = network(), network()
    other.CopyFrom(one)
    nodes = list(other.graph.node)
    del other.graph.node[:]
    other.graph.node.extend(nodes[::-1])  # in no order, weights as Constant nodes, a default written out
    for tensor in list(other.graph.initializer):
        other.graph.node.append(helper.make_node("Constant", [], [tensor.name], value=tensor))
    del other.graph.initializer[:]
    next(node for node in other.graph.node if node.op_type == "Flatten").attribute.append(
        helper.make_attribute("axis", 1)
    )
    for node in other.graph.node:
        node.name = ""
    found = compared(tmp_path, one, other)
    assert (found.added, found.removed, found.changed, found.same) == ((), (), (), 8)
    assert found.weights == (11, 0) and "same" in found.says


def test_what_the_optimiser_merged_is_told_by_the_numbers(tmp_path: Path) -> None:
    model = network()
    found = compared(tmp_path, model, optimised(tmp_path, model, LEVELS.ORT_ENABLE_BASIC))
    assert [(node.op_type, node.what.split(" ")[0]) for node in found.removed] == [("BatchNormalization", "merged")] * 2
    assert [node.op_type for node in found.changed] == ["Conv", "Conv"] and found.added == ()
    assert "2 BatchNormalization nodes merged into Conv" in found.says
    found = compared(tmp_path, model, optimised(tmp_path, model, LEVELS.ORT_ENABLE_EXTENDED))
    assert sum(node.what.startswith("merged into FusedConv") for node in found.removed) == 4


@pytest.mark.parametrize("op_type", ["Relu", "BatchNormalization"])
def test_a_node_left_out_is_not_called_merged(op_type: str, tmp_path: Path) -> None:
    """Also where the weights before it are others: they do not do its work."""
    one = network()
    other = copy(one)
    gone = next(node for node in other.graph.node if node.op_type == op_type)
    for node in other.graph.node:
        for place, value in enumerate(node.input):
            if value == gone.output[0]:
                node.input[place] = gone.input[0]
    other.graph.node.remove(gone)
    trained = next(tensor for tensor in other.graph.initializer if tensor.name == "w0")
    trained.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(trained) * np.float32(1.5), "w0"))
    found = compared(tmp_path, one, other)
    assert [(node.op_type, node.name) for node in found.removed] == [(op_type, gone.name)]
    assert "merged" not in found.says and not found.removed[0].what.startswith("merged")


def test_other_weights_in_the_same_graph_are_measured(tmp_path: Path) -> None:
    one = network()
    other = copy(one)
    held = next(tensor for tensor in other.graph.initializer if tensor.name == "w1")
    values = numpy_helper.to_array(held).copy()
    values.flat[5] += np.float32(0.25)
    held.CopyFrom(numpy_helper.from_array(values, "w1"))
    found = compared(tmp_path, one, other)
    (changed,) = found.changed
    assert changed.name == "Conv_3" and found.weights[1] == 1 and found.same == 7
    assert changed.how_far == pytest.approx(0.25 / np.abs(values).max(), rel=0.05)  # of the larger side's largest
    assert found.says.startswith("The graph is the same")


def test_a_node_more_does_not_make_others_of_those_behind_it(tmp_path: Path) -> None:
    """Exporters number nodes and values: all names behind it are other nodes' names now."""
    one, other = network(3), network(3)
    other.CopyFrom(one)
    for node in list(other.graph.node):
        if node.name == "Relu_2":
            node.output[0] = "extra"
            other.graph.node.insert(3, helper.make_node("Sigmoid", ["extra"], ["r0"], "Sigmoid_3"))
    number = 0
    for node in other.graph.node:
        if "_" in node.name:
            node.name, number = f"{node.name.split('_')[0]}_{number}", number + 1
    found = compared(tmp_path, one, other)
    assert [node.op_type for node in found.added] == ["Sigmoid"]
    assert found.removed == () and found.changed == () and found.same == 11


def test_an_attribute_a_wire_and_a_shape_are_changes_of_their_node(tmp_path: Path) -> None:
    one = network()
    other = copy(one)
    conv = next(node for node in other.graph.node if node.name == "Conv_0")
    conv.attribute.append(helper.make_attribute("group", 2))
    flatten = next(node for node in other.graph.node if node.op_type == "Flatten")
    flatten.input[0] = "n1"
    found = {node.name: node.what for node in compared(tmp_path, one, other).changed}
    assert found["Conv_0"] == "group: 1 → 2"
    assert "another value" in found["Flatten"]


def test_a_quantised_network_is_the_network_with_its_multiplications_quantised(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    model = network(1)
    onnx.save(model, tmp_path / "a.onnx")
    quantize_dynamic(tmp_path / "a.onnx", tmp_path / "b.onnx", op_types_to_quantize=["MatMul"])
    found = difference(tmp_path / "a.onnx", tmp_path / "b.onnx")
    (changed,) = found.changed
    assert "MatMul → MatMulInteger" in changed.what and found.removed == ()
    assert changed.how_far is None  # whole numbers that stand for others by a scale


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_weight_kept_otherwise_and_turned_back_is_that_weight_as_far_as_it_was_rounded(
    spoilt: bool, tmp_path: Path
) -> None:
    """In eight bits with scales per column, and standing the other way round: what is compared is what MatMul reads."""
    model = network(1)
    (dense,) = (numpy_helper.to_array(one) for one in model.graph.initializer if one.name == "dense")
    scales = (np.abs(dense).max(axis=0) / 127).astype(np.float32)
    eight = np.round(dense / scales).astype(np.int8)
    if spoilt:
        eight[5, 2] = 127 if eight[5, 2] < 0 else -127
    other = copy(model)
    kept = [one for one in other.graph.initializer if one.name != "dense"]
    del other.graph.initializer[:]
    stored = {"eight": eight, "scales": scales, "none": np.zeros(4, np.int8)}
    other.graph.initializer.extend([*kept, *(numpy_helper.from_array(array, name) for name, array in stored.items())])
    back = helper.make_node("DequantizeLinear", ["eight", "scales", "none"], ["turned"], "back", axis=1)
    twice = [helper.make_node("Transpose", [a], [b], b) for a, b in (("turned", "once"), ("once", "dense"))]
    for node in reversed([back, *twice]):
        other.graph.node.insert(0, node)
    found = compared(tmp_path, model, other)
    (changed,) = found.changed
    assert (changed.op_type, found.added, found.removed) == ("MatMul", (), ())
    furthest = np.abs(eight * scales - dense).max() / np.abs(dense).max()
    assert changed.how_far == pytest.approx(furthest, rel=1e-5)
    assert "int8" in changed.what


def test_a_weight_that_only_a_subgraph_reads_is_a_weight_of_its_node(tmp_path: Path) -> None:
    def model(number: float) -> onnx.ModelProto:
        out = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("a", "b")]
        bodies = [
            helper.make_graph([helper.make_node("Mul", ["x", weight], [name])], name, [], [info])
            for name, weight, info in (("a", "w", out[0]), ("b", "v", out[1]))
        ]
        node = helper.make_node("If", ["yes"], ["y"], "if", then_branch=bodies[0], else_branch=bodies[1])
        infos = [
            helper.make_tensor_value_info("yes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
        ]
        held = [numpy_helper.from_array(np.float32([2, number]), name) for name in ("w", "v")]
        last = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
        return helper.make_model(helper.make_graph([node], "g", infos, [last], held))

    assert compared(tmp_path, model(1), model(1)).changed == ()
    (changed,) = compared(tmp_path, model(1), model(1.5)).changed
    assert changed.name == "if" and changed.how_far == 0.25


def test_a_raised_opset_is_said_of_the_model(tmp_path: Path) -> None:
    model = network(opset=13)
    found = compared(tmp_path, model, version_converter.convert_version(model, 17))
    assert "opset of ai.onnx: 13 → 17" in found.model
    assert found.added == found.removed == ()


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_every_node_is_the_same_changed_or_on_one_side_only(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("pair")
    operators = st.lists(st.sampled_from(["Relu", "Tanh", "Neg", "Abs"]), min_size=1, max_size=8)

    def chain(names: list[str]) -> onnx.ModelProto:
        nodes = [helper.make_node(name, [f"v{i}"], [f"v{i + 1}"]) for i, name in enumerate(names)]
        first, last = ("v0", f"v{len(names)}")
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in (first, last)]
        return helper.make_model(helper.make_graph(nodes, "g", infos[:1], infos[1:]))

    one, other = chain(data.draw(operators)), chain(data.draw(operators))
    there = compared(folder, one, other)
    assert compared(folder, one, one).same == len(one.graph.node)
    assert there.same + len(there.changed) + len(there.removed) == len(one.graph.node)
    assert there.same + len(there.changed) + len(there.added) == len(other.graph.node)


def test_what_is_no_onnx_file_and_foreign_data_are_refused_in_a_sentence(tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "a.onnx")
    (tmp_path / "t.csv").write_text("1,2\n")
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "a.onnx").read_bytes()[:300])
    with pytest.raises(UnsupportedModel, match="two ONNX files are compared"):
        diff(tmp_path / "a.onnx", tmp_path / "t.csv")
    with pytest.raises(UnreadableFile):
        diff(tmp_path / "a.onnx", tmp_path / "cut.onnx")
    with pytest.raises(UnreadableFile):
        diff(tmp_path / "a.onnx", tmp_path / "none.onnx")
    stolen = network()
    tensor = stolen.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    (tmp_path / "stolen.onnx").write_bytes(stolen.SerializeToString())
    with pytest.raises(UnsupportedModel):
        diff(tmp_path / "a.onnx", tmp_path / "stolen.onnx")


def test_the_command_prints_json_and_writes_a_page_that_keeps_its_inputs(tmp_path: Path) -> None:
    one = network()
    one.graph.node[0].name = "<img src=x onerror=alert(1)>\x1b[31m"
    onnx.save(one, tmp_path / "a.onnx")
    onnx.save(optimised(tmp_path, one, LEVELS.ORT_ENABLE_BASIC), tmp_path / "b.onnx")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "workbench", "diff", "a.onnx", "b.onnx", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    done = run("--json", "-o", "page.html")
    found = json.loads(done.stdout)
    assert {"added", "removed", "changed", "same", "says"} <= {*found}
    assert set(found["changed"][0]) == {"name", "op_type", "what", "how_far"}
    assert "<img" not in (tmp_path / "page.html").read_text()
    assert "\x1b" not in run().stdout
    before = (tmp_path / "a.onnx").read_bytes()
    assert run("-o", "a.onnx", "--force").returncode == 1
    assert (tmp_path / "a.onnx").read_bytes() == before


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_marks_the_nodes_in_both_graphs_offline(browser: Browser, tmp_path: Path) -> None:
    one = network()
    onnx.save(one, tmp_path / "a.onnx")
    onnx.save(optimised(tmp_path, one, LEVELS.ORT_ENABLE_BASIC), tmp_path / "b.onnx")
    page = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True).new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.set_default_timeout(60_000)
    page.goto(diff(tmp_path / "a.onnx", tmp_path / "b.onnx").save(tmp_path / "page.html").as_uri())
    first, second = (page.frame_locator("iframe").nth(which) for which in (0, 1))
    second.locator(".workbench-changed").first.wait_for()
    first.locator(".workbench-changed").first.wait_for()
    for marked, count in ((first.locator(".workbench-removed"), 2), (first.locator(".workbench-changed"), 2)):
        expect(marked).to_have_count(count)
    expect(second.locator(".workbench-changed")).to_have_count(2)
    page.get_by_role("button", name="Conv_0").click()
    for frame in (first, second):
        frame.locator(".select").first.wait_for()
    assert problems == []
    assert barriers(page, iframes=False) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.context.close()


def test_the_authors_spiking_network_is_theirs_with_its_activations_exchanged(
    paper_models: Path, tmp_path: Path
) -> None:
    for name in ("lenet-1.onnx", "lenet-1_snn.onnx"):
        shutil.copy(paper_models / name, tmp_path)
    found = difference(tmp_path / "lenet-1.onnx", tmp_path / "lenet-1_snn.onnx")
    assert [node.op_type for node in found.removed] == ["Tanh", "Tanh"]
    assert [node.op_type for node in found.added] == ["LIF", "LIF"]
    assert found.changed == () and found.weights[1] == 0


TWO = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "q")]
SCALARS = [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in ("low", "high")]
ZERO, ONE = (numpy_helper.from_array(np.full(4, number, np.float32), "w") for number in (0, 1))
NAN = {"replaced_value_float": float("nan"), "imputed_value_floats": [0.0, float("nan"), 1.0, 2.0]}


def small(
    nodes: list[onnx.NodeProto], outputs: str = "y", weights: Any = (), functions: Any = (), opset: int = 18
) -> onnx.ModelProto:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "g", [*TWO, *SCALARS], infos, weights)
    opsets = [helper.make_opsetid(*pair) for pair in (("", opset), ("ai.onnx.ml", 3), ("my", 1))]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)


def _function(*inputs: str) -> onnx.FunctionProto:
    body = [helper.make_node("Sub", ["a", "b"], ["c"])]
    return helper.make_function("my", "F", inputs, ["c"], body, [helper.make_opsetid("", 18)])


RELU, NEG = helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])
CALL = [helper.make_node("F", ["x", "q"], ["y"], domain="my")]
SHAPE = helper.make_node("Shape", ["x"], ["s"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([helper.make_node("Clip", ["x", "low", "high"], ["y"])], [helper.make_node("Clip", ["x", "low"], ["y"])]),
        ([helper.make_node("Clip", ["x", "low"], ["y"])], [helper.make_node("Clip", ["x", "low", "high"], ["y"])]),
        (
            [SHAPE, helper.make_node("ConstantOfShape", ["s"], ["y"], value=numpy_helper.from_array(np.float32([0])))],
            [SHAPE, helper.make_node("ConstantOfShape", ["s"], ["y"], value=numpy_helper.from_array(np.int64([0])))],
        ),
    ],
    ids=["an input is left out", "an input is added", "the dtype of an attribute"],
)
def test_what_a_node_reads_and_makes_is_compared(tmp_path: Path, one: Any, other: Any) -> None:
    found = compared(tmp_path, small(one), small(other))
    assert len(found.changed) == 1


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (
            small([RELU, NEG], "yz"),
            small([helper.make_node("Relu", ["x"], ["z"]), helper.make_node("Neg", ["x"], ["y"])], "yz"),
            2,
        ),
        (small([RELU, NEG], "yz"), small([RELU, NEG], "zy"), 1),
        (
            small([helper.make_node("Split", ["x"], ["y", ""], axis=1, num_outputs=2)]),
            small([helper.make_node("Split", ["x"], ["", "y"], axis=1, num_outputs=2)]),
            1,
        ),
        (small([RELU], "yw", [ZERO]), small([RELU], "yw", [ONE]), 1),
        (small(CALL, functions=[_function("a", "b")]), small(CALL, functions=[_function("b", "a")]), 1),
        (small([RELU], "yw", [ONE]), small([RELU], "yw", [ONE]), 0),
        (small([RELU]), small([helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Exp", ["r"], ["y"])]), 0),
    ],
    ids=[
        "two outputs swapped", "outputs in another order", "another part", "a weight given", "a function's inputs",
        "nothing", "one node more",
    ],
)  # fmt: skip
def test_what_both_models_give_is_compared(tmp_path: Path, one: Any, other: Any, differ: int) -> None:
    found = compared(tmp_path, one, other)
    assert len(found.model) == differ and not found.changed


def test_no_number_and_texts_are_what_they_are(tmp_path: Path) -> None:
    texts = helper.make_tensor("t", TensorProto.STRING, [9], [b"%d" % number for number in range(9)])
    nodes = [
        helper.make_node("Imputer", ["x"], ["y"], domain="ai.onnx.ml", **NAN),
        helper.make_node("Constant", [], ["t"], value=texts),
        helper.make_node("Size", ["t"], ["z"]),
    ]
    found = compared(tmp_path, small(nodes, "yz"), small(nodes, "yz"))
    assert (found.same, found.changed, found.model) == (2, (), ())
