"""Kinds and their evidence, on files from real converters, and on files made to mislead."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, compose, helper, numpy_helper

from tests.corpus import sklearn_models
from workbench import detect
from workbench.files.header import Header, parse_header, read_header
from workbench.kind import dispatch, our_rule, paper_rule
from workbench.kind.structure import is_spiking

DATA = Path(__file__).parent / "data"
ONNX_DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


def blanked(header: Header) -> Header:
    """The same file with nobody's signature on it."""
    return dataclasses.replace(header, producer_name="", producer_version="", domain="")


def model(
    nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray] | None = None, **fields: object
) -> onnx.ModelProto:
    """A model of one float input x and one output y."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(graph, **fields)  # type: ignore[arg-type]


def kind_of(proto: onnx.ModelProto) -> str:
    return our_rule(parse_header(proto.SerializeToString()))[0]


W = np.ones((4, 4), np.float32)
NODE = helper.make_node
FLOAT = TensorProto.FLOAT


CERTAIN = {"KMeans", "PCA", "GaussianMixture", "MLPClassifier", "MLPRegressor"}
"""What is ML even without a signature."""


@pytest.fixture(scope="module", params=[4, pytest.param(1, marks=pytest.mark.long)], ids=["each fourth", "all"])
def sklearn_corpus(request: pytest.FixtureRequest) -> dict[str, Header]:
    corpus = {name: parse_header(data) for name, data in sklearn_models(request.param, CERTAIN)}
    assert len(corpus) >= 135 / request.param
    return corpus


@pytest.mark.slow
def test_every_estimator_skl2onnx_converts_is_ml(sklearn_corpus: dict[str, Header]) -> None:
    kinds = {name: our_rule(header)[0] for name, header in sklearn_corpus.items()}
    assert {name: kind for name, kind in kinds.items() if kind != "ML"} == {}


@pytest.mark.slow
def test_without_signature_estimators_are_ml_or_unknown_never_something_else(sklearn_corpus: dict[str, Header]) -> None:
    kinds = {name: our_rule(blanked(header))[0] for name, header in sklearn_corpus.items()}
    assert {name: kind for name, kind in kinds.items() if kind not in ("ML", "unknown")} == {}
    decided = [name for name, kind in kinds.items() if kind == "ML"]
    assert len(decided) >= 0.9 * len(kinds)
    assert set(decided) >= CERTAIN


@pytest.mark.slow
def test_an_mlp_from_scikit_learn_is_ml_and_says_it_is_a_network_inside(sklearn_corpus: dict[str, Header]) -> None:
    for name in ("MLPClassifier", "MLPRegressor"):
        for header in (sklearn_corpus[name], blanked(sklearn_corpus[name])):
            kind, because, _, warnings = our_rule(header)
            assert kind == "ML"
            assert "neural network inside" in because
            assert "neural network inside" in warnings[0]


@pytest.mark.slow
def test_the_papers_rule_is_kept_literally_and_fails_where_facts_say(sklearn_corpus: dict[str, Header]) -> None:
    header = sklearn_corpus["KMeans"]
    assert paper_rule(header).kind == "ML"  # skl2onnx still writes ai.onnx
    assert not any(domain == "ai.onnx.ml" for domain, _ in header.op_types())
    assert paper_rule(blanked(header)).kind is None
    assert paper_rule(dataclasses.replace(header, domain="onnx")).kind == "DL"


def test_networks_from_pytorch_are_dl_signed_or_not() -> None:
    files = [*sorted(ONNX_DATA.glob("light/*.onnx")), DATA / "mlp.onnx", DATA / "gru.onnx"]
    assert len(files) >= 11
    for path in files:
        header = read_header(path)
        assert our_rule(header)[0] == "DL", path
        assert our_rule(blanked(header))[0] == "DL", path
    # One Linear: PyTorch's signature decides; without it nothing does.
    assert our_rule(read_header(DATA / "linear.onnx"))[0] == "DL"
    assert our_rule(blanked(read_header(DATA / "linear.onnx")))[0] == "unknown"


def test_no_tensor_arithmetic_is_called_ml_or_snn() -> None:
    files = [*ONNX_DATA.glob("pytorch-*/*/model.onnx"), *ONNX_DATA.glob("simple/*/model.onnx")]
    assert len(files) > 100
    for path in files:
        for header in (read_header(path), blanked(read_header(path))):
            assert our_rule(header)[0] in ("DL", "unknown"), path


@pytest.mark.parametrize("name", ["snn_leaky.onnx", "snn_leaky_t2_dynamo.onnx"])
def test_a_spiking_network_unrolled_into_plain_operators_is_snn_by_its_dynamics(name: str) -> None:
    header = read_header(DATA / name)
    assert header.producer_name == "pytorch"
    for each in (header, blanked(header)):
        kind, _, evidence, _ = our_rule(each)
        assert kind == "SNN"
        assert [signal.signal for signal in evidence if signal.decides] == ["dynamics"]


def test_thresholds_without_reset_are_not_spiking() -> None:
    # Hard clipping by comparisons: compared and compared again, but nothing is subtracted by a spike.
    nodes = [
        NODE("MatMul", ["x", "w"], ["a"]),
        NODE("Greater", ["a", "lo"], ["c1"]),
        NODE("Where", ["c1", "a", "lo"], ["b"]),
        NODE("Less", ["b", "hi"], ["c2"]),
        NODE("Where", ["c2", "b", "hi"], ["h"]),
        NODE("Greater", ["h", "lo"], ["c3"]),
        NODE("Cast", ["c3"], ["f"], to=TensorProto.FLOAT),
        NODE("Mul", ["h", "f"], ["r"]),
        NODE("MatMul", ["r", "w"], ["y"]),
    ]
    assert kind_of(model(nodes, {"w": W, "lo": np.zeros(1, np.float32), "hi": np.ones(1, np.float32)})) != "SNN"


def _integrate_and_fire(step: str) -> list[onnx.NodeProto]:
    """One step of a leaky integrate-and-fire layer, reading v{step} and writing v{step}n and s{step}."""
    return [
        NODE("Mul", [f"v{step}", "leak"], [f"l{step}"]),
        NODE("Add", [f"l{step}", "current"], [f"u{step}"]),
        NODE("Greater", [f"u{step}", "theta"], [f"g{step}"]),
        NODE("Cast", [f"g{step}"], [f"s{step}"], to=TensorProto.FLOAT),
        NODE("Sub", [f"u{step}", f"s{step}"], [f"v{step}n"]),
    ]


def test_integrate_and_fire_inside_a_scan_body_is_snn() -> None:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        _integrate_and_fire("0"),
        "body",
        [value("v0", TensorProto.FLOAT, [4]), value("current", TensorProto.FLOAT, [4])],
        [value("v0n", TensorProto.FLOAT, [4]), value("s0", TensorProto.FLOAT, [4])],
    )
    weighed = NODE("MatMul", ["x", "square"], ["driven"])
    scan = NODE("Scan", ["zero", "driven"], ["end", "y"], body=body, num_scan_inputs=1)
    weights = {"zero": np.zeros(4, np.float32), "leak": np.ones(1, np.float32), "theta": np.ones(1, np.float32)}
    weights["square"] = np.ones((4, 4), np.float32)
    assert kind_of(model([weighed, scan], weights)) == "SNN"


NEURONS = ["LIF", "LIFRate", "AdaptiveLIF", "AdaptiveLIFRate", "Izhikevich", "SoftLIFRate"]


@pytest.mark.parametrize(
    "op_type", [*NEURONS, "SpikingRectifiedLinear", "RegularSpiking", "CubaLIF", "lif_cell", "ALIF"]
)
@pytest.mark.parametrize("domain", ["", "org.nengo", "made.up"])
def test_a_neuron_op_type_in_any_domain_is_snn(op_type: str, domain: str) -> None:
    proto = model([NODE("MatMul", ["x", "w"], ["a"]), NODE(op_type, ["a"], ["y"], name="n1", domain=domain)], {"w": W})
    kind, _, evidence, _ = our_rule(parse_header(proto.SerializeToString()))
    assert kind == "SNN"
    (decided,) = [signal for signal in evidence if signal.decides]
    assert (decided.signal, decided.count, decided.nodes) == ("op_type", 1, ("n1",))
    assert paper_rule(parse_header(proto.SerializeToString())).kind == ("SNN" if op_type in NEURONS else None)


@pytest.mark.parametrize(
    ("op_type", "domain", "spiking"),
    [
        ("If", "", False), ("Identity", "", False), ("Clip", "", False), ("RELIFT", "x", False), ("LIFO", "x", False),
        ("IF", "snntorch", True), ("Leaky", "snntorch", True), ("Leaky", "my.ops", False), ("LeakyRelu", "", False),
        ("Threshold", "sinabs.layers", True), ("LIFNode", "spikingjelly", True), ("Qualify", "", False),
    ],
)  # fmt: skip
def test_neuron_names_are_whole_words(op_type: str, domain: str, spiking: bool) -> None:
    assert is_spiking(op_type, domain) is spiking


def test_lif_only_in_a_subgraph_or_only_in_a_function_body_is_snn() -> None:
    value = helper.make_tensor_value_info
    branch = [
        helper.make_graph([NODE(op, ["x"], ["r"])], op, [], [value("r", TensorProto.FLOAT, None)])
        for op in ("LIF", "Relu")
    ]
    weights = {"c": np.array(True)}
    assert kind_of(model([NODE("If", ["c"], ["y"], then_branch=branch[0], else_branch=branch[1])], weights)) == "SNN"
    layer = helper.make_function(
        "mine", "Layer", ["a"], ["b"], [NODE("LIF", ["a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    nodes = [NODE("Layer", ["x"], ["y"], domain="mine")]
    assert kind_of(model(nodes, functions=[layer])) == "SNN"
    # A body that nothing calls says nothing about the model.
    idle = model([NODE("Conv", ["x", "w"], ["y"])], {"w": W}, functions=[layer])
    kind, _, _, warnings = our_rule(parse_header(idle.SerializeToString()))
    assert kind == "DL"
    assert "never called" in warnings[0]


def test_models_that_are_a_single_loop_or_if() -> None:
    value = helper.make_tensor_value_info
    recurrent = helper.make_graph(
        [
            NODE("MatMul", ["h", "w"], ["a"]),
            NODE("Tanh", ["a"], ["h2"]),
            NODE("Identity", ["go"], ["go2"]),
        ],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("h", TensorProto.FLOAT, None)],
        [value("go2", TensorProto.BOOL, []), value("h2", TensorProto.FLOAT, None)],
    )
    loop = model([NODE("Loop", ["n", "", "x"], ["y"], body=recurrent)], {"w": W, "n": np.array(5)})
    assert kind_of(loop) == "DL"  # unrolled it is a deep network: the state passes MatMul and Tanh each time round
    forest = [
        helper.make_graph(
            [NODE("TreeEnsembleRegressor", ["x"], ["r"], domain="ai.onnx.ml")], f"b{i}", [], [value("r", 1, None)]
        )
        for i in range(2)
    ]
    assert (
        kind_of(model([NODE("If", ["c"], ["y"], then_branch=forest[0], else_branch=forest[1])], {"c": np.array(True)}))
        == "ML"
    )


DENSE = [
    NODE("MatMul", ["a", "w"], ["b"]),
    NODE("Relu", ["b"], ["c"]),
    NODE("MatMul", ["c", "w"], ["y"]),
]  # fmt: skip


@pytest.mark.parametrize(
    "front",
    [
        NODE("LabelEncoder", ["x"], ["a"], domain="ai.onnx.ml", keys_strings=["a"], values_int64s=[1]),
        NODE("CategoryMapper", ["x"], ["a"], domain="ai.onnx.ml", cats_strings=["a"], cats_int64s=[1]),
        NODE("Tokenizer", ["x"], ["a"], domain="com.microsoft"),
    ],
)
def test_a_label_encoder_or_tokenizer_before_a_network_leaves_it_dl(front: onnx.NodeProto) -> None:
    assert kind_of(model([front, *DENSE], {"w": W})) == "DL"


def test_quantised_and_half_precision_networks_are_dl(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(DATA / "mlp.onnx", tmp_path / "q.onnx")
    header = read_header(tmp_path / "q.onnx")
    assert ("", "MatMulInteger") in header.op_types()
    assert our_rule(header)[0] == our_rule(blanked(header))[0] == "DL"
    half = [NODE("Cast", ["x"], ["a"], to=TensorProto.FLOAT16), *DENSE]
    assert kind_of(model(half, {"w": W.astype(np.float16)})) == "DL"
    stored = [NODE("DequantizeLinear", ["q", "s"], ["w"]), NODE("Identity", ["x"], ["a"]), *DENSE]
    assert kind_of(model(stored, {"q": W.astype(np.int8), "s": np.ones((), np.float32)})) == "DL"


def test_an_estimator_with_a_network_and_a_network_with_a_tree_head_say_both() -> None:
    head = NODE("TreeEnsembleClassifier", ["y1"], ["label", "y"], domain="ai.onnx.ml")
    conv = NODE("Conv", ["x", "w"], ["y1"])
    kind, because, evidence, warnings = our_rule(parse_header(model([conv, head], {"w": W}).SerializeToString()))
    assert kind == "DL"
    assert "Conv" in because and "TreeEnsembleClassifier" in because
    assert "both" in warnings[0]
    assert {s.supports for s in evidence if s.decides} == {"DL"}
    kind, because, _, _ = our_rule(
        parse_header(model([conv, head], {"w": W}, producer_name="skl2onnx").SerializeToString())
    )
    assert kind == "ML"
    assert "neural network inside" in because


@pytest.mark.parametrize("names", [("w", "b"), ("weight", "bias"), ("coef", "intercept")])
def test_a_lone_matmul_and_add_is_unknown_with_the_reason(names: tuple[str, str]) -> None:
    weight, bias = names
    proto = model(
        [NODE("MatMul", ["x", weight], ["a"]), NODE("Add", ["a", bias], ["y"])],
        {weight: W, bias: np.ones(4, np.float32)},
    )
    kind, because, evidence, warnings = our_rule(parse_header(proto.SerializeToString()))
    assert kind == "unknown"
    assert "single matrix product" in because
    assert because in warnings
    assert not any(signal.decides for signal in evidence)


def test_two_products_without_nonlinearity_or_signature_are_not_guessed() -> None:
    proto = model([NODE("MatMul", ["x", "w"], ["a"]), NODE("MatMul", ["a", "w"], ["y"])], {"w": W})
    assert kind_of(proto) == "unknown"
    # Attention scores multiply two computed values: nothing learnt there.
    scores = [NODE("MatMul", ["x", "x"], ["a"]), NODE("Relu", ["a"], ["b"]), NODE("MatMul", ["b", "x"], ["y"])]
    assert kind_of(model(scores)) == "unknown"


def test_functions_that_hold_layers_are_followed_and_recursion_ends() -> None:
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    dense = helper.make_function("f", "Dense", ["a", "w"], ["b"], [NODE("MatMul", ["a", "w"], ["b"])], opset)
    nodes = [
        NODE("Dense", ["x", "w"], ["a"], domain="f"),
        NODE("Relu", ["a"], ["b"]),
        NODE("Dense", ["b", "w"], ["y"], domain="f"),
    ]
    assert kind_of(model(nodes, {"w": W}, functions=[dense])) == "DL"
    endless = helper.make_function("f", "Self", ["a"], ["b"], [NODE("Self", ["a"], ["b"], domain="f")] * 3, opset)
    assert kind_of(model([NODE("Self", ["x"], ["y"], domain="f")], functions=[endless])) == "unknown"


def test_nested_loops_do_not_multiply_the_work() -> None:
    value = helper.make_tensor_value_info
    inner = [NODE("MatMul", ["x", "w"], ["r"])]
    for depth in range(30):
        body = helper.make_graph(
            inner, f"b{depth}", [value("i", 7, []), value("c", 9, [])], [value("c", 9, []), value("r", 1, None)]
        )
        inner = (
            [NODE("Loop", ["n", ""], ["r"], body=body)] * 2
            if depth < 8
            else [NODE("Loop", ["n", ""], ["r"], body=body)]
        )
    assert kind_of(model(inner, {"w": W, "n": np.array(1)})) == "unknown"


def test_the_authors_files_have_the_kinds_they_gave_them(paper_models: Path) -> None:
    expected = {"logreg_iris": "ML", "rf_iris": "ML", "knn_iris": "ML", "lenet-1": "DL", "lenet-1_snn": "SNN"}
    found = {name: detect(paper_models / f"{name}.onnx") for name in expected}
    assert {name: each.kind for name, each in found.items()} == expected
    assert {name: each.engine for name, each in found.items()} == {
        name: "nengo" if kind == "SNN" else "onnxruntime" for name, kind in expected.items()
    }
    for each in found.values():
        assert our_rule(blanked(each.header))[0] == each.kind  # type: ignore[arg-type]
        assert each.paper_rule.kind == each.kind


def test_a_detection_has_the_contracts_fields_and_serialises() -> None:
    found = json.loads(json.dumps(detect(DATA / "mlp.onnx").to_dict()))
    assert set(found) >= {
        "path", "format", "size_bytes", "kind", "engine", "evidence", "paper_rule", "components", "warnings",
    }  # fmt: skip
    assert set(found["evidence"][0]) == {"signal", "value", "count", "nodes", "supports", "decides"}
    assert set(found["paper_rule"]) == {"kind", "because"}
    assert set(found["components"]) == {
        "ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string", "opset_import",
        "graph", "op_types", "functions", "external_data", "metadata_props",
    }  # fmt: skip
    assert set(found["components"]["graph"]) == {"name", "nodes", "inputs", "outputs", "initializers", "parameters"}
    assert found["components"]["op_types"] == {":Gemm": 2, ":Relu": 1}
    assert found["components"]["graph"]["parameters"] == 4 * 8 + 8 + 8 * 3 + 3


def test_what_a_model_says_is_escaped_in_the_card(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    proto = model([NODE(evil, ["x"], ["y"], name=evil, domain=evil)], producer_name=evil, doc_string=evil + "\x1b[31m")
    helper.set_model_props(proto, {evil: evil * 50_000})
    path = tmp_path / "evil.onnx"
    path.write_bytes(proto.SerializeToString())
    html = detect(path)._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "\x1b" not in html
    assert len(html) < 60_000


def test_a_pytorch_network_merged_with_a_scikit_learn_forest_says_both() -> None:
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestRegressor

    network = onnx.load(DATA / "mlp.onnx")
    rows = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    opsets = {item.domain: item.version for item in network.opset_import}
    forest = to_onnx(RandomForestRegressor(3).fit(rows, rows[:, 0]), rows[:1], target_opset=opsets[""])
    forest.ir_version = network.ir_version
    (output,), (forest_input,) = network.graph.output, forest.graph.input
    merged = compose.merge_models(
        network, compose.add_prefix(forest, "forest_"), io_map=[(output.name, "forest_" + forest_input.name)]
    )
    kind, because, _, _ = our_rule(parse_header(merged.SerializeToString()))
    assert kind == "DL"
    assert "neural network" in because and "TreeEnsembleRegressor" in because


def test_dispatch_is_figure_7b() -> None:
    assert [dispatch(kind) for kind in ("ML", "DL", "SNN", None)] == ["onnxruntime", "onnxruntime", "nengo", None]


DYNAMICS = sorted((DATA / "dynamics").glob("*.onnx"))


@pytest.mark.parametrize("path", DYNAMICS, ids=lambda path: path.stem)
def test_thresholds_masks_and_resets_mislead_nobody(path: Path) -> None:
    truth = path.stem.split("_")[0]
    allowed = {truth, "unknown"} if truth == "ML" else {truth}  # compiled trees carry no mark of their own
    for header in (read_header(path), blanked(read_header(path))):
        kind, because, _, _ = our_rule(header)
        assert kind in allowed | ({"unknown"} if not header.producer_name and truth == "DL" else set()), because


@pytest.mark.parametrize("name", ["NotSpiking", "RemoveSpikingNoise", "Glif", "IfNode", "IAF", "Motif", "Relief"])
def test_names_that_only_resemble_neurons_are_not_neurons(name: str) -> None:
    assert not is_spiking(name, "com.example")


def test_a_function_called_lif_whose_body_is_a_relu_is_no_neuron() -> None:
    opset = [helper.make_opsetid("", 18)]
    fake = helper.make_function("org.nengo", "LIF", ["a"], ["b"], [NODE("Relu", ["a"], ["b"])], opset)
    nodes = [NODE("Conv", ["x", "w"], ["a"]), NODE("LIF", ["a"], ["y"], domain="org.nengo")]
    assert kind_of(model(nodes, {"w": W}, functions=[fake])) == "DL"


@pytest.mark.parametrize(
    ("name", "speaks"), [("Relu_1_softlif", True), ("/net/lif1/Relu", True), ("relief/Relu", False), ("life", False)]
)
def test_names_that_speak_of_neurons_are_told_and_decide_nothing(name: str, speaks: bool) -> None:
    nodes = [NODE("Conv", ["x", "w"], ["a"]), NODE("Relu", ["a"], ["y"], name=name)]
    kind, _, evidence, warnings = our_rule(parse_header(model(nodes, {"w": W}).SerializeToString()))
    assert kind == "DL"
    told = [signal for signal in evidence if signal.supports == "SNN"]
    assert [(signal.value, signal.decides) for signal in told] == ([(name, False)] if speaks else [])
    assert any(name in warning for warning in warnings) is speaks


@pytest.mark.parametrize(("rounded", "kind"), [("risen", "SNN"), ("x_t", "unknown")])
def test_several_spikes_a_step_are_counted_from_the_state_they_reset(rounded: str, kind: str) -> None:
    """Of another number than the state it would be quantisation with its error carried on."""
    body = [
        NODE("Add", ["v", "x_t"], ["risen"]),
        NODE("Greater", ["risen", "theta"], ["above"]),
        NODE("Cast", ["above"], ["mask"], to=1),
        NODE("Div", [rounded, "theta"], ["part"]),
        NODE("Cast", ["part"], ["whole"], to=7),
        NODE("Cast", ["whole"], ["number"], to=1),
        NODE("Mul", ["mask", "number"], ["gated"]),
        NODE("Sub", ["risen", "gated"], ["v_next"]),
        NODE("Identity", ["gated"], ["y_t"]),
    ]
    ins, outs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
        for names in (("v", "x_t"), ("v_next", "y_t"))
    )
    scan = NODE("Scan", ["zero", "driven"], ["end", "y"], body=helper.make_graph(body, "step", ins, outs),
                num_scan_inputs=1)  # fmt: skip
    weights = {"zero": np.zeros(4, np.float32), "theta": np.ones(1, np.float32), "w": np.ones((4, 4), np.float32)}
    assert kind_of(model([NODE("MatMul", ["x", "w"], ["driven"]), scan], weights)) == kind


def test_words_that_anyone_may_use_do_not_make_scikit_learn() -> None:
    nodes = [NODE("Conv", ["x", "classes"], ["a"]), NODE("MatMul", ["a", "quantiles"], ["scores"])]
    proto = model(nodes, {"classes": W, "quantiles": W}, producer_name="pytorch")
    proto.graph.output[0].name = "scores"
    assert kind_of(proto) == "DL"


def _shuffled(proto: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """The same model with the nodes of its graphs and functions in another order."""
    shuffled = onnx.ModelProto()
    shuffled.CopyFrom(proto)
    rng = random.Random(seed)

    def mix(nodes: Any) -> None:
        order = list(nodes)
        rng.shuffle(order)
        del nodes[:]
        nodes.extend(order)
        for node in nodes:
            for attribute in node.attribute:
                for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                    mix(graph.node)

    mix(shuffled.graph.node)
    for function in shuffled.functions:
        mix(function.node)
    return shuffled


def _unsorted() -> dict[str, onnx.ModelProto]:
    """Three models whose kind depends on what lies behind a value: a network, one in a Loop, trees as operators."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [NODE("MatMul", ["h", "w0"], ["p"]), NODE("Add", ["p", "late"], ["q"]), NODE("Tanh", ["q"], ["r"]),
         NODE("Identity", ["go"], ["on"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("h", TensorProto.FLOAT, None)],
        [value("on", TensorProto.BOOL, []), value("r", TensorProto.FLOAT, None)],
    )  # fmt: skip
    weights = {f"w{index}": W for index in range(3)}
    network = [NODE("MatMul", ["x", "w0"], ["a"]), NODE("Relu", ["a"], ["b"]), NODE("MatMul", ["b", "w1"], ["c"]),
               NODE("Relu", ["c"], ["d"]), NODE("MatMul", ["d", "w2"], ["y"])]  # fmt: skip
    loop = [NODE("MatMul", ["x", "w1"], ["s"]), NODE("Relu", ["s"], ["late"]),
            NODE("Loop", ["", "", "x"], ["z"], body=body), NODE("MatMul", ["z", "w2"], ["y"])]  # fmt: skip
    trees = [NODE("MatMul", ["x", "w0"], ["a"]), NODE("LessOrEqual", ["a", "w1"], ["b"]),
             NODE("Cast", ["b"], ["c"], to=TensorProto.FLOAT), NODE("Mul", ["c", "w2"], ["y"])]  # fmt: skip
    return {
        "network": model(network, weights),
        "loop": model(loop, weights),
        "trees": model(trees, weights, producer_name="pytorch"),
    }


@pytest.mark.parametrize("name", ["network", "loop", "trees"])
def test_the_order_of_nodes_in_a_file_decides_nothing(name: str) -> None:
    """ONNX asks for a topological order; ONNX Runtime sorts a file that is not in one, and so do we."""
    proto = _unsorted()[name]

    def told(proto: onnx.ModelProto) -> object:
        kind, because, evidence, warnings = our_rule(parse_header(proto.SerializeToString()))
        return kind, because, warnings, [(signal.signal, signal.value, signal.decides) for signal in evidence]

    assert kind_of(proto) == {"network": "DL", "loop": "DL", "trees": "unknown"}[name]
    for seed in range(20):
        assert told(_shuffled(proto, seed)) == told(proto)


def test_functions_of_one_name_are_told_apart_by_their_overload() -> None:
    """IR version 10: the node says which it calls, and only that body counts."""
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)]
    bodies = {"plain": NODE("Identity", ["a"], ["b"]), "deep": NODE("LSTM", ["a", "a", "a"], ["b"])}
    functions = [
        helper.make_function("mine", "Block", ["a"], ["b"], [body], opsets[:1], overload=overload)
        for overload, body in bodies.items()
    ]
    kinds = {}
    for overload in bodies:
        node = NODE("Block", ["x"], ["y"], domain="mine", overload=overload)
        proto = model([node], functions=functions, opset_imports=opsets, ir_version=10)
        kinds[overload], _, _, warnings = our_rule(parse_header(proto.SerializeToString()))
        assert any("never called" in warning for warning in warnings)
    assert kinds == {"plain": "unknown", "deep": "DL"}


def recurrent(*step: onnx.NodeProto, outputs: list[str], product: bool) -> onnx.ModelProto:
    """A Scan over a signal that carries ``v`` to ``v_next``, perhaps behind a learnt product."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        list(step), "step", [value(name, FLOAT, ["n"]) for name in ("v", "u")],
        [value(name, FLOAT, ["n"]) for name in ("v_next", *outputs)],
    )  # fmt: skip
    scan = NODE("Scan", ["start", "driven"], ["last", "y"], num_scan_inputs=1, body=body)
    first = NODE("MatMul", ["x", "w"], ["driven"]) if product else NODE("Identity", ["x"], ["driven"])
    weights = {"start": np.zeros(3, np.float32), "w": np.ones((3, 3), np.float32)}
    inputs = [value("x", FLOAT, ["t", 3])]
    graph = helper.make_graph(
        [first, scan], "signal", inputs, [value("y", FLOAT, ["t", 3])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


FIRES = [
    NODE("Constant", [], ["one"], value_float=1.0),
    NODE("Greater", ["v", "one"], ["fired"]),
    NODE("Cast", ["fired"], ["s"], to=FLOAT),
]
LEAKS = [NODE("Constant", [], ["decay"], value_float=0.9), NODE("Mul", ["v", "decay"], ["left"])]
ADDS = [NODE("Add", ["left", "u"], ["summed"])]


@pytest.mark.parametrize(
    ("step", "product", "kinds"),
    [
        ([*FIRES, *LEAKS, *ADDS, NODE("Sub", ["summed", "s"], ["v_next"])], True, {"SNN"}),
        # The same without a weight: a first-order sigma-delta converter.
        ([*FIRES, *LEAKS, *ADDS, NODE("Sub", ["summed", "s"], ["v_next"])], False, {"unknown"}),
        # A leaky integrator with an alarm: nothing is reset.
        ([*FIRES, *LEAKS, *ADDS, NODE("Identity", ["summed"], ["v_next"])], True, {"DL", "unknown"}),
        # A gate, as an LSTM's output: what fires chooses what goes out.
        (
            [*FIRES, *LEAKS, *ADDS, NODE("Mul", ["summed", "s"], ["gated"]), NODE("Tanh", ["gated"], ["v_next"])],
            True,
            {"DL", "unknown"},
        ),
        # A noise gate of two moving signals: a threshold that adapts, and no reset.
        (
            [
                NODE("Sub", ["v", "u"], ["over"]), NODE("Constant", [], ["one"], value_float=1.0),
                NODE("Greater", ["over", "one"], ["fired"]), NODE("Cast", ["fired"], ["s"], to=FLOAT),
                *LEAKS, *ADDS, NODE("Identity", ["summed"], ["v_next"]),
            ],
            True,
            {"DL", "unknown"},
        ),
    ],
    ids=["neuron", "sigma-delta", "alarm", "gate", "noise-gate"],
)  # fmt: skip
def test_a_loop_is_spiking_where_it_resets_what_fired_and_weighs_something(
    step: list[onnx.NodeProto], product: bool, kinds: set[str]
) -> None:
    made = recurrent(*step, outputs=["s"], product=product)
    onnx.checker.check_model(made, full_check=True)
    assert kind_of(made) in kinds
