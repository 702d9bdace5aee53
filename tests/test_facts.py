"""What each node gives, costs and takes: against counts by hand, published figures, and the graph that ran."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from playwright.sync_api import Browser

from workbench import graph
from workbench.costs import timed
from workbench.errors import BadInput, UnsupportedModel, WorkbenchError
from workbench.graph.facts import Facts, facts
from workbench.sandbox import Cancelled

FLOAT = TensorProto.FLOAT


def model(nodes: list[Any], shape: list[Any], weights: dict[str, tuple[int, ...]], opset: int = 17) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    held = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), name) for name, s in weights.items()]
    infos = [helper.make_tensor_value_info("x", FLOAT, shape)], [helper.make_tensor_value_info("y", FLOAT, None)]
    graph = helper.make_graph(nodes, "g", *infos, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def of(proto: onnx.ModelProto, **axes: int) -> Facts:
    return facts(proto.SerializeToString(), axes)


NODE = helper.make_node


@pytest.mark.parametrize(
    ("node", "shape", "weights", "by_hand"),
    [
        (NODE("Conv", ["x", "w"], ["y"], pads=[1] * 4), ["N", 3, 8, 8], {"w": (5, 3, 3, 3)}, 5 * 8 * 8 * 3 * 9),
        (NODE("Conv", ["x", "w"], ["y"], strides=[2, 2]), ["N", 3, 9, 9], {"w": (5, 3, 3, 3)}, 5 * 4 * 4 * 3 * 9),
        (NODE("Conv", ["x", "w"], ["y"], group=4), ["N", 4, 5, 5], {"w": (8, 1, 2, 2)}, 8 * 4 * 4 * 4),
        (NODE("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]), ["N", 3, 4, 4], {"w": (3, 6, 2, 2)}, 48 * 24),
        (NODE("Gemm", ["x", "w"], ["y"], transB=1), ["N", 7], {"w": (4, 7)}, 28),
        (NODE("MatMul", ["x", "w"], ["y"]), ["N", 6, 7], {"w": (7, 4)}, 6 * 28),
        (NODE("Einsum", ["x", "w"], ["y"], equation="bij,jk->bik"), ["N", 6, 7], {"w": (7, 4)}, 6 * 28),
        (
            NODE("LSTM", ["x", "w", "r"], ["y"], hidden_size=5),
            [9, 1, 3], {"w": (1, 20, 3), "r": (1, 20, 5)}, 9 * 4 * 5 * 8,
        ),
        (NODE("Relu", ["x"], ["y"]), ["N", 3], {}, 0),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else None,
)  # fmt: skip
def test_multiply_accumulates_are_those_counted_by_hand(node: Any, shape: Any, weights: Any, by_hand: int) -> None:
    found = of(model([node], shape, weights))
    assert found.nodes[0].macs == by_hand and found.unknown == {}
    assert found.nodes[0].parameters == sum(math.prod(held) for held in weights.values())
    assert found.nodes[0].bytes == 4 * found.nodes[0].parameters


def test_counting_that_nobody_waits_for_ends_whatever_an_axis_is_called() -> None:
    view = graph(model([NODE("Conv", ["x", "w"], ["y"])], ["N", 3, "cancel", 6], {"w": (2, 3, 3, 3)}))
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(Cancelled):
        view.costs(given_up)
    assert view.costs(cancel=5).nodes[0].macs == 2 * 3 * 4 * 27


def test_what_is_unknown_is_not_none() -> None:
    nodes = [NODE("Mystery", ["x"], ["h"], domain="made.up"), NODE("MatMul", ["h", "w"], ["y"])]
    found = of(model(nodes, ["N", 4], {"w": (4, 2)}))
    assert [node.macs for node in found.nodes] == [None, None]
    assert found.unknown == {"Mystery": 1, "MatMul": 1} and found.total["macs"] == 0
    assert "2 nodes" in found.drawn["note"]
    # An axis that the model leaves open, and nobody gave a size.
    conv = model([NODE("Conv", ["x", "w"], ["y"])], ["N", 3, "height", "width"], {"w": (2, 3, 3, 3)})
    assert of(conv).nodes[0].macs is None
    assert of(conv, height=5, width=6).nodes[0].macs == 2 * 3 * 4 * 27
    assert of(conv).nodes[0].outputs[0].shape[:2] == ("N", 2)


def test_shapes_are_those_a_run_gives(tmp_path: Path) -> None:
    nodes = [
        NODE("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        NODE("MaxPool", ["a"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
        NODE("Transpose", ["b"], ["c"], perm=[0, 2, 3, 1]), NODE("Shape", ["c"], ["s"]), NODE("Flatten", ["c"], ["f"]),
        NODE("MatMul", ["f", "v"], ["y"]),
    ]  # fmt: skip
    proto = model(nodes, ["N", 3, 8, 8], {"w": (5, 3, 3, 3), "v": (80, 2)})
    found = {value.name: value for node in of(proto).nodes for value in node.outputs}
    probed = onnx.ModelProto()
    probed.CopyFrom(proto)
    del probed.graph.output[:]
    probed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in found)
    rows = np.zeros((7, 3, 8, 8), np.float32)
    for name, array in zip(found, ReferenceEvaluator(probed).run(None, {"x": rows}), strict=True):
        assert found[name].dtype == array.dtype.name
        assert tuple(7 if dim == "N" else dim for dim in found[name].shape or ()) == array.shape


@pytest.mark.parametrize(
    ("name", "macs", "parameters"),
    [
        # Simonyan and Zisserman 2015, Table 2: 138 M parameters; 15.47 G by the published counters.
        ("VGG16", 15_470_264_320, 138_357_544),
        # He et al. 2016, Table 1: 3.8 G; Keras's weights 25.6 M.
        ("ResNet50", 3_857_973_248, 25_636_712),
        # Huang et al. 2017, Fig. 3: 2.8 G (5.7 GFLOP); Keras's weights 8.06 M.
        ("DenseNet121", 2_834_161_664, 8_062_504),
    ],
)
@pytest.mark.long
def test_the_papers_networks_cost_what_is_published(name: str, macs: int, parameters: int, tmp_path: Path) -> None:
    """Whatever the converter merges: normalisations go, and with them a few thousand parameters."""
    script = (
        "import sys\nfrom workbench import convert\nfrom workbench.paper.models import network\n"
        "convert(network(sys.argv[1])[0], sys.argv[2])\n"
    )
    path = tmp_path / "m.onnx"
    subprocess.run([sys.executable, "-c", script, name, str(path)], check=True)
    total = graph(path).costs().total
    assert total["macs"] == macs and total["macs_unknown"] == {}
    assert total["parameters"] == pytest.approx(parameters, rel=0.03)


def test_lenet_1_costs_what_a_hand_counts(paper_models: Path) -> None:
    found = graph(paper_models / "lenet-1.onnx").facts
    assert isinstance(found, pd.DataFrame)
    macs = dict(zip(found["name"], found["macs"], strict=True))
    assert macs["conv1"] == 28 * 28 * 4 * 25 and macs["conv2"] == 10 * 10 * 12 * 4 * 25
    assert macs["predictions"] == 300 * 10
    assert found["parameters"].sum() == 4 * 26 + 12 * 101 + 3010
    assert found["share"].sum() == pytest.approx(1)


def test_what_is_no_onnx_and_an_axis_nobody_has_get_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model([NODE("Relu", ["x"], ["y"])], ["N", 3], {}), path)
    with pytest.raises(BadInput, match=r"'hight'.*'N'"):
        graph(path).costs(hight=3)
    (tmp_path / "deploy.prototxt").write_text('name: "n"\nlayer { name: "d" type: "Input" top: "d" }\n')
    with pytest.raises(UnsupportedModel, match="convert it first"):
        graph(tmp_path / "deploy.prototxt").costs()


def test_the_command_prints_facts_as_csv_and_json(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model([NODE("MatMul", ["x", "w"], ["y"], name="a,\n\x1b[31m<b>")], ["N", 4], {"w": (4, 2)}), path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "workbench", "graph", "m.onnx", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    found = json.loads(run("--facts", "json", "--time").stdout)
    (node,) = found["nodes"]
    assert {"name", "op_type", "domain", "outputs", "parameters", "bytes", "macs", "seconds", "error"} <= {*node}
    assert node["macs"] == found["total"]["macs"] == 8 and node["seconds"] > 0
    assert node["outputs"] == [{"name": "y", "dtype": "float32", "shape": ["N", 2]}]
    assert not (tmp_path / "m.onnx.html").exists()
    table = run("--facts", "csv").stdout
    assert "\x1b" not in table
    assert pd.read_csv(io.StringIO(table))["macs"].tolist() == [8]


# --- times ------------------------------------------------------------------------------------------------------------


def chain(blocks: int = 3) -> onnx.ModelProto:
    """Convolutions with normalisation, sum and activation, which ONNX Runtime merges."""
    nodes, weights, value = [], {"in": (8, 3, 3, 3)}, "h"
    nodes.append(NODE("Conv", ["x", "in"], ["h"], "stem", pads=[1] * 4))
    for block in range(blocks):
        name = f"w{block}"
        weights[name] = (8, 8, 3, 3)
        nodes += [
            NODE("Conv", [value, name], [f"c{block}"], f"conv{block}", pads=[1] * 4),
            NODE("Add", [f"c{block}", value], [f"s{block}"], f"sum{block}"),
            NODE("Relu", [f"s{block}"], [f"r{block}"], f"relu{block}"),
        ]
        value = f"r{block}"
    nodes.append(NODE("GlobalAveragePool", [value], ["y"], "pool"))
    return model(nodes, ["N", 3, 64, 64], weights)


def test_every_node_is_timed_or_says_what_it_became(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(chain(), path)
    found = timed(path, runs=5)
    for node in found.facts.nodes:
        assert (node.seconds is not None) != node.ran_as.startswith("part of "), node
    convolutions = [node for node in found.facts.nodes if node.op_type == "Conv"]
    assert all(node.seconds for node in convolutions)
    # What is merged runs in the convolution before it, whose sum it is: not in the one that reads it.
    for node in found.facts.nodes:
        if node.op_type == "Relu" and node.ran_as:
            assert re.fullmatch(rf"part of \w*Conv, timed at conv{node.name[-1]}", node.ran_as)
    assert 0 < found.facts.total["seconds"] + sum(found.added.values()) <= found.whole
    assert found.runs == 5 and "x (float32" in found.asked[0]


def test_a_loops_body_is_timed_once(tmp_path: Path) -> None:
    """The profile lists the nodes of a body beside the loop's own."""
    body = helper.make_graph(
        [NODE("Identity", ["going"], ["go"]), NODE("Tanh", ["state"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, None),
        ],
        [helper.make_tensor_value_info("go", TensorProto.BOOL, []), helper.make_tensor_value_info("next", FLOAT, None)],
    )
    proto = model([NODE("Loop", ["times", "", "x"], ["y"], body=body)], [50, 50], {})
    proto.graph.initializer.append(numpy_helper.from_array(np.int64(40), "times"))
    onnx.save(proto, tmp_path / "m.onnx")
    found = timed(tmp_path / "m.onnx", runs=5)
    assert 0 < (found.facts.total["seconds"] or 0) + sum(found.added.values()) <= found.whole


def test_a_model_that_cannot_run_ends_in_a_sentence(tmp_path: Path) -> None:
    onnx.save(model([NODE("Mystery", ["x"], ["y"], domain="made.up")], ["N", 3], {}), tmp_path / "m.onnx")
    with pytest.raises(WorkbenchError, match="ONNX Runtime cannot load"):
        timed(tmp_path / "m.onnx")


# --- in the view ------------------------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.slow
def test_the_view_shows_figures_in_the_side_panel_and_as_colour(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    proto = chain(2)
    proto.graph.node[1].name = ""  # found all the same
    onnx.save(proto, path)
    view = graph(path).with_costs()
    page = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True).new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.set_default_timeout(60_000)
    page.goto(view.save(tmp_path / "page.html").as_uri())
    page.get_by_label("Colour").select_option("macs")
    shown = page.locator(".workbench-figure")
    figures = [node.macs for node in view.costs().nodes if node.macs]
    assert shown.count() == len(figures) == 3
    assert shown.filter(has_text=f"{figures[0] / 1e3:.0f} k").count() == 1
    page.locator(".node-item-type", has_text="Conv").nth(1).click()
    page.locator("#sidebar input[value='MACs']").wait_for()
    page.get_by_label("Colour").select_option("")
    assert shown.count() == 0
    assert problems == []
    page.context.close()
    # A page without figures carries none of it.
    assert "workbenchCosts" not in graph(path).page().split("</script>")[0]
