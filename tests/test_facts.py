"""What each node gives, costs and takes: against counts by hand, published figures, and the graph that ran."""

from __future__ import annotations

import gzip
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
from access import barriers
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from playwright.sync_api import Browser, expect

from tests.test_eight_bits import FORMS, network
from workbench import convert, diff, graph, load_engine, sandbox
from workbench.costs import timed, watched
from workbench.errors import BadInput, UnsupportedModel
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

    found = json.loads(run("--facts", "json", "--time", "--error", "m.onnx").stdout)
    (node,) = found["nodes"]
    assert {"name", "op_type", "domain", "outputs", "parameters", "bytes", "macs", "seconds", "error"} <= {*node}
    assert node["macs"] == found["total"]["macs"] == 8 and node["seconds"] > 0 and node["error"] == 0
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


def timed_here(path: Path, **options: Any) -> Any:
    """`timed` in this process, where no worker has to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "run", lambda task, *args, **limits: task(*args))
        return timed(path, **options)


def test_nodes_without_names_get_their_own_times(tmp_path: Path) -> None:
    nodes = [NODE("MatMul", [a, w], [b]) for a, w, b in (("x", "s", "h"), ("h", "w", "i"), ("i", "v", "y"))]
    weights = {"s": (4, 4), "w": (4, 2000), "v": (2000, 2000)}  # 4 M multiply-accumulates in the last, 8 k at most else
    onnx.save(model(nodes, ["N", 4], weights), tmp_path / "m.onnx")
    seconds = [node.seconds for node in timed_here(tmp_path / "m.onnx").facts.nodes]
    assert None not in seconds and seconds[2] == max(seconds)


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
    found = timed_here(tmp_path / "m.onnx", runs=5)
    assert 0 < (found.facts.total["seconds"] or 0) + sum(found.added.values()) <= found.whole


@pytest.mark.parametrize(
    "form",
    ["opset 6", "gzip", FORMS[2], *(pytest.param(form, marks=pytest.mark.long) for form in FORMS if form != FORMS[2])],
)
def test_what_is_timed_is_what_the_engine_runs(form: str, tmp_path: Path) -> None:
    """Other kernels, other opsets and packed files, which ONNX Runtime alone refuses or runs otherwise."""
    path = tmp_path / "m.onnx"
    if form == "opset 6":
        node = NODE("BatchNormalization", ["x", *"smvu"], ["y"], spatial=1)
        onnx.save(model([node], ["N", 3], dict.fromkeys("smvu", (3,)), opset=6), path)
    elif form == "gzip":
        path.write_bytes(gzip.compress(model([NODE("Exp", ["x"], ["y"])], ["N", 3], {}).SerializeToString()))
    else:
        network(form, path)
    found = timed_here(path, runs=3)
    assert all(node.seconds is not None or node.ran_as.startswith("part of ") for node in found.facts.nodes)
    with load_engine(path) as engine:
        assert set(engine.remarks) <= set(found.asked)
        assert bool(engine.remarks) or form != "opset 6"


def test_a_model_that_cannot_run_ends_in_a_sentence(tmp_path: Path) -> None:
    onnx.save(model([NODE("Mystery", ["x"], ["y"], domain="made.up")], ["N", 3], {}), tmp_path / "m.onnx")
    with pytest.raises(UnsupportedModel, match=r"ONNX Runtime \S+ cannot load .*m\.onnx"):
        timed(tmp_path / "m.onnx")


# --- what a run tells -------------------------------------------------------------------------------------------------


def chained(scale: float = 1.0, prefix: str = "") -> onnx.ModelProto:
    """Twice the numbers, one subtracted, and their sizes; `scale` is a fault in the first step."""
    nodes = [
        NODE("Mul", ["x", "two"], [f"{prefix}double"]), NODE("Sub", [f"{prefix}double", "one"], [f"{prefix}less"]),
        NODE("Abs", [f"{prefix}less"], ["y"]),
    ]  # fmt: skip
    proto = model(nodes, ["N", 3], {})
    for name, value in (("two", 2 * scale), ("one", 1)):
        proto.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    return proto


ROWS = np.array([[1, 2, 4], [-3, 0, 1]], np.float32)


def test_the_error_of_a_node_is_the_largest_difference_over_the_size_of_what_is_right(tmp_path: Path) -> None:
    onnx.save(chained(), tmp_path / "right.onnx")
    onnx.save(chained(1.25), tmp_path / "wrong.onnx")
    right = load_engine(tmp_path / "right.onnx")
    found, seen = watched(tmp_path / "wrong.onnx", ROWS, against=right)
    # 2, 4, 8, -6, 0, 2 became a quarter more: off by 2 of 8; then by 2 of 7.
    assert [node.error for node in found.nodes] == pytest.approx([2 / 8, 2 / 7, 2 / 7], rel=1e-6)
    assert found.frame["error"].tolist() == [node.error for node in found.nodes]
    assert seen.says[-1].endswith("of 2 rows.")
    # A node without a counterpart of its name is unknown.
    onnx.save(chained(1.25, "my_"), tmp_path / "other.onnx")
    found, _ = watched(tmp_path / "other.onnx", ROWS, against=right)
    assert [node.error for node in found.nodes] == [None, None, pytest.approx(2 / 7)]


def test_a_quantised_value_is_compared_as_it_is_read(tmp_path: Path) -> None:
    """Clipping it does an activation's work: before that it is another one."""
    rows = np.array([[-4, 2, 4]], np.float32)
    onnx.save(model([NODE("Relu", ["x"], ["h"]), NODE("Exp", ["h"], ["y"])], ["N", 3], {}), tmp_path / "right.onnx")
    nodes = [
        NODE("Identity", ["x"], ["h"]), NODE("QuantizeLinear", ["h", "step", "zero"], ["code"]),
        NODE("DequantizeLinear", ["code", "step", "zero"], ["held"]), NODE("Exp", ["held"], ["y"]),
    ]  # fmt: skip
    quantised = model(nodes, ["N", 3], {})
    for name, value in (("step", np.float32(1 / 16)), ("zero", np.uint8(0))):
        quantised.graph.initializer.append(numpy_helper.from_array(value, name))
    onnx.save(quantised, tmp_path / "quantised.onnx")
    found, _ = watched(tmp_path / "quantised.onnx", rows, against=tmp_path / "right.onnx")
    assert [node.error for node in found.nodes] == [0, None, None, 0]


def test_what_has_no_counterpart_gets_a_sentence(tmp_path: Path) -> None:
    onnx.save(model([NODE("Relu", ["x"], ["y"])], ["N", 3], {}), tmp_path / "m.onnx")
    onnx.save(model([NODE("Relu", ["x"], ["z"])], ["N", 3], {}), tmp_path / "z.onnx")
    proto = onnx.load(tmp_path / "z.onnx")
    proto.graph.output[0].name = "z"
    onnx.save(proto, tmp_path / "z.onnx")
    with pytest.raises(UnsupportedModel, match="no value of one name and shape"):
        watched(tmp_path / "m.onnx", ROWS, against=load_engine(tmp_path / "z.onnx"))
    with pytest.raises(UnsupportedModel, match="reference does not tell what its layers give"):
        watched(tmp_path / "m.onnx", ROWS, against=load_engine(tmp_path / "z.onnx", "reference", worker=False))
    with pytest.raises(UnsupportedModel, match="nodes are looked into in an ONNX file"):
        watched(Path(__file__), ROWS)


def test_a_node_without_an_error_is_named_with_the_reason(tmp_path: Path) -> None:
    """Right numbers of zero alone give no share, and what is not finite is no distance."""
    nodes = [NODE("Mul", ["x", "w"], ["h"]), NODE("Exp", ["h"], ["y"])]
    for name, factor in (("right", 0), ("wrong", 1e6), ("off", 1e-3)):
        proto = model(nodes, ["N", 3], {})
        proto.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "w"))
        onnx.save(proto, tmp_path / f"{name}.onnx")
    found, seen = watched(tmp_path / "off.onnx", ROWS, against=tmp_path / "right.onnx")
    assert [node.error is None for node in found.nodes] == [True, False]
    assert any("told of h" in said for said in seen.says)
    with pytest.raises(UnsupportedModel, match="told of h, y"):
        watched(tmp_path / "wrong.onnx", ROWS, against=tmp_path / "right.onnx")


@pytest.mark.parametrize("shapes", [("N", 2), (2, "N"), (1, 1)])
def test_errors_are_of_as_many_rows_as_both_models_take(shapes: tuple[Any, Any], tmp_path: Path) -> None:
    for name, factor, rows in zip(("right", "off"), (2, 2.02), shapes, strict=True):
        proto = model([NODE("Mul", ["x", "w"], ["y"])], [rows, 3], {})
        proto.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "w"))
        onnx.save(proto, tmp_path / f"{name}.onnx")
    found, _ = watched(tmp_path / "off.onnx", against=tmp_path / "right.onnx")
    assert found.nodes[0].error == pytest.approx(0.01, rel=1e-3)  # float32


def test_a_run_tells_shapes_where_inference_ends(tmp_path: Path) -> None:
    nodes = [
        NODE("NonZero", ["x"], ["places"]), NODE("Cast", ["places"], ["cast"], to=FLOAT),
        NODE("MatMul", ["cast", "square"], ["y"]),
    ]  # fmt: skip
    path = tmp_path / "m.onnx"
    onnx.save(model(nodes, ["N", 3], {"square": (2, 2)}), path)
    proto = onnx.load(path)
    proto.graph.node[2].input[:] = ["square", "cast"]
    onnx.save(proto, path)
    assert graph(path).costs().nodes[2].macs is None
    found, seen = watched(path, ROWS)  # three numbers of the first row are not zero
    assert [node.outputs[0].shape for node in found.nodes] == [(2, 3), (2, 3), (2, 3)]
    assert found.nodes[2].macs == 2 * 3 * 2 and set(found.of_run) >= {"places", "cast"}
    assert "places" in seen.says[-1]


def test_spikes_are_counted_per_neuron_and_step(tmp_path: Path) -> None:
    import nengo

    with nengo.Network(seed=1) as net:
        stimulus = nengo.Node(np.zeros(1), label="stimulus")
        steady, driven = (
            nengo.Ensemble(
                4, 1, label=label, neuron_type=nengo.SpikingRectifiedLinear(), gain=np.ones(4) * gain,
                bias=np.full(4, bias), encoders=np.ones((4, 1)),
            )
            for label, gain, bias in (("steady", 1, 499), ("driven", 250, 0))
        )  # fmt: skip
        nengo.Connection(stimulus, steady, synapse=None)
        nengo.Connection(stimulus, driven, synapse=None)
        nengo.Probe(steady.neurons, label="a")
        nengo.Probe(driven.neurons, label="b")
    path = tmp_path / "snn.onnx"
    convert(net, path)
    found, _ = watched(path, np.ones((2, 200, 1), np.float32))
    spikes = {node.name: node.spikes for node in found.nodes if node.spikes is not None}
    # 500 and 250 spikes a second, a step of a millisecond each; the first may come a step earlier or later.
    assert spikes == {"steady": pytest.approx(0.5, abs=1 / 200), "driven": pytest.approx(0.25, abs=1 / 200)}


def transformer(hidden: int = 16, wide: int = 24) -> onnx.ModelProto:
    """Embedding, attention and a wide layer in ONNX Runtime's own operators, then attention over other values."""
    rng = np.random.default_rng(0)
    shapes = {
        "words": (30, hidden), "places": (64, hidden), "kinds": (2, hidden), "in": (hidden, 3 * hidden),
        "in_bias": (3 * hidden,), "out": (hidden, hidden), "up": (hidden, wide), "up_bias": (wide,),
        "down": (wide, hidden), "short": (hidden, 8), **dict.fromkeys("gb", (hidden,)),
    }  # fmt: skip
    own = [
        ("EmbedLayerNormalization", ["ids", "kind", "words", "places", "kinds", "g", "b", "mask"], ["e", "masked"]),
        ("Attention", ["e", "in", "in_bias", "masked"], ["attended"], {"num_heads": 4}),
        ("MatMul", ["attended", "out"], ["projected"]),
        ("SkipLayerNormalization", ["projected", "e", "g", "b"], ["sum", "", "", "both"]),
        ("MatMul", ["sum", "up"], ["wide"]), ("BiasGelu", ["wide", "up_bias"], ["bent"]),
        ("FastGelu", ["bent"], ["again"]), ("MatMul", ["again", "down"], ["narrow"]),
        ("MatMul", ["both", "short"], ["values"]),
        ("MultiHeadAttention", ["sum", "narrow", "values"], ["y"], {"num_heads": 4}),
    ]  # fmt: skip
    nodes = [
        NODE(op, reads, gives, domain="" if op == "MatMul" else "com.microsoft", **(how[0] if how else {}))
        for op, reads, gives, *how in own
    ]
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT32, ["rows", "steps"]) for name in ("ids", "kind", "mask")
    ]
    held = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), name) for name, s in shapes.items()]
    proto = helper.make_graph(nodes, "g", ids, [helper.make_tensor_value_info("y", FLOAT, None)], held)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(proto, opset_imports=opsets, ir_version=9)


def test_a_transformer_in_onnx_runtimes_own_operators_has_the_shapes_of_its_run(tmp_path: Path) -> None:
    path, steps = tmp_path / "m.onnx", 7
    onnx.save(transformer(), path)
    found = {value.name: value for node in graph(path).costs().nodes for value in node.outputs}
    inputs = {name: np.ones((3, steps), np.int32) for name in ("ids", "kind", "mask")}
    _, seen = watched(path, inputs)
    sizes = {"rows": 1, "steps": steps}
    for name, value in found.items():
        dtype, shape = seen.shapes[name]
        if name == "masked":
            assert value.shape is None  # nobody knows it here
        else:
            assert value.dtype == dtype and tuple(sizes.get(dim, dim) for dim in value.shape or ()) == shape


def test_a_transformers_multiply_accumulates_are_those_counted_by_hand() -> None:
    found = of(transformer(), steps=7)
    macs = [node.macs for node in found.nodes]
    square, attention = 7 * 16 * 16, 7 * 16 * 48 + 7 * 7 * (16 + 16)
    assert macs == [0, attention, square, 0, 7 * 16 * 24, 0, 0, 7 * 24 * 16, 7 * 16 * 8, 7 * 7 * (16 + 8)]
    assert found.unknown == {} and of(transformer()).unknown == {"Attention": 1, "MatMul": 4, "MultiHeadAttention": 1}


# --- in the view ------------------------------------------------------------------------------------------------------


KEPT_EVAL = "const kept = eval; Object.defineProperty(window, 'eval', { get: () => kept, set() {} })"
"""Netron takes it away, and axe is run by it."""


@pytest.mark.browser
@pytest.mark.slow
def test_costs_and_differences_can_be_read_by_all(browser: Browser, tmp_path: Path) -> None:
    onnx.save(chain(2), tmp_path / "a.onnx")
    onnx.save(chain(1), tmp_path / "b.onnx")
    costs = graph(tmp_path / "a.onnx").with_costs().save(tmp_path / "costs.html")
    differs = diff(tmp_path / "a.onnx", tmp_path / "b.onnx").save(tmp_path / "diff.html")
    context = browser.new_context(offline=True, bypass_csp=True)
    context.add_init_script(KEPT_EVAL)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(costs.as_uri())
    page.get_by_role("button", name="Table").click()
    page.locator("#workbench-table tbody button").first.click()

    def check(context: str | None = None) -> None:
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            assert barriers(page, context) == [], theme

    check("#workbench-costs")
    check("#workbench-table")
    page.goto(differs.as_uri())
    page.frame_locator("iframe").first.locator(".node-item-type").first.wait_for()
    check()
    context.close()


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
    menu = page.get_by_label("Colour")
    menu.wait_for()
    expect(menu).to_have_value("macs")  # what was asked for
    shown = page.locator(".workbench-figure")
    figures = [node.macs for node in view.costs().nodes if node.macs]
    assert len(figures) == 3
    expect(shown).to_have_count(3)
    expect(shown.filter(has_text=f"{figures[0] / 1e3:.0f} k")).to_have_count(1)
    page.locator(".node-item-type", has_text="Conv").nth(1).click()
    page.locator("#sidebar input[value='MACs']").wait_for()
    page.get_by_label("Colour").select_option("")
    expect(shown).to_have_count(0)
    assert problems == []
    # A row of the table is a node, and a node a row; it is found by operator and shape.
    menu.select_option("macs")
    page.get_by_role("button", name="Table").click()
    rows = page.locator("#workbench-table tbody tr")
    expect(rows).to_have_count(len(view.costs().nodes))
    rows.get_by_role("button", name="relu1").click()
    expect(page.locator("#workbench-table tr[aria-current]")).to_have_text(re.compile("^relu1"))
    # Its operator, and its name to point at.
    expect(page.locator("g.select .node-item-type")).to_have_text("Relurelu1")
    page.get_by_role("button", name="Table").click()  # out of the way
    page.locator(".node-item-type", has_text="GlobalAveragePool").click()
    page.get_by_role("button", name="Table").click()
    expect(page.locator("#workbench-table tr[aria-current]")).to_have_text(re.compile("^pool"))
    for words, many in (("conv 8x64x64", 3), ("8X64", 7), ("64x6", 0), ("add", 2), ("sum1", 1)):
        page.get_by_role("searchbox").fill(words)
        expect(rows, words).to_have_count(many)
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="MACs").click()
    expect(rows.nth(3)).to_contain_text("Add")
    assert [rows.nth(at).inner_text().split("\t")[1] for at in range(4)] == ["Conv", "Conv", "Conv", "Add"]
    page.context.close()
    # A page without figures carries none of it.
    assert "workbenchCosts" not in graph(path).page().split("</script>")[0]
