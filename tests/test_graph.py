"""The graph view: Netron alive in a page of its own, offline, whatever the model file says."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import netron
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from playwright.sync_api import Browser, FrameLocator, Locator, Page, expect
from test_snn_onnx import picture

from workbench.errors import BadInput, UnreadableFile, UnsupportedModel, WorkbenchError
from workbench.files.header import parse_header
from workbench.frameworks.spiking.write import write
from workbench.graph import GraphView, graph, svg
from workbench.graph import netron as views

KIB = 1024
PATIENCE = 180_000  # milliseconds a loaded machine may take for what takes one second on an idle one
SVG = "{http://www.w3.org/2000/svg}"

LIF = """
<ir_version: 9, opset_import: ["" : 18, "org.nengo" : 1], producer_name: "onnx-workbench">
snn (float[T,N,4] x) => (float[T,N,3] out) <float[4,3] w, float[3] g, float[3] b>
{
  [dense] j = MatMul (x, w)
  [spikes] out = org.nengo.LIF <tau_rc: float = 0.02, tau_ref: float = 0.002, dt: float = 0.001> (j, g, b)
}
<domain: "org.nengo", opset_import: ["" : 18]>
LIF <tau_rc: float = 0.02, tau_ref: float = 0.002, dt: float = 0.001> (x, gain, bias) => (out)
{
  scaled = Mul (x, gain)
  current = Add (scaled, bias)
  zero = Constant <value_float = 0.0> ()
  shape = Shape <start = 1> (x)
  start = Expand (zero, shape)
  last, out = Scan <num_scan_inputs = 1, body = step (float[] v, float[] J) => (float[] v_out, float[] s) {
    d = Sub (J, v)
    v1 = Add (v, d)
    one = Constant <value_float = 1.0> ()
    spiked = Greater (v1, one)
    s = Cast <to = 1> (spiked)
    rest = Sub (one, s)
    v_out = Mul (v1, rest)
  }> (start, current)
}
"""


def lif_model() -> onnx.ModelProto:
    model = onnx.parser.parse_model(LIF)
    rows = {"w": np.ones((4, 3)), "g": np.ones(3), "b": np.zeros(3)}
    del model.graph.initializer[:]
    model.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in rows.items())
    onnx.checker.check_model(model)
    return model


def resnet50(external: bool = True) -> onnx.ModelProto:
    """ResNet50's operators and 25.6 million parameters (https://arxiv.org/abs/1512.03385), weights left in a file."""
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def weight(name: str, *shape: int) -> str:
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="resnet50.bin")
        weights.append(tensor)
        return name

    def conv(x: str, name: str, inside: int, outside: int, size: int, stride: int, relu: bool) -> str:
        parts = [x, weight(f"{name}/W", outside, inside, size, size), weight(f"{name}/b", outside)]
        shape = {"kernel_shape": [size, size], "strides": [stride, stride], "pads": [size // 2] * 4}
        nodes.append(helper.make_node("Conv", parts, [f"{name}/conv"], f"{name}/conv", **shape))
        stats = [weight(f"{name}/{part}", outside) for part in ("scale", "B", "mean", "var")]
        nodes.append(helper.make_node("BatchNormalization", [f"{name}/conv", *stats], [f"{name}/bn"], f"{name}/bn"))
        if relu:
            nodes.append(helper.make_node("Relu", [f"{name}/bn"], [f"{name}/relu"], f"{name}/relu"))
        return f"{name}/{'relu' if relu else 'bn'}"

    x = conv("image", "conv1", 3, 64, 7, 2, True)
    nodes.append(helper.make_node("MaxPool", [x], ["pool1"], "pool1", kernel_shape=[3, 3], strides=[2, 2]))
    x, inside = "pool1", 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 2):
        for block in range(1, blocks + 1):
            name, stride = f"conv{stage}_block{block}", 2 if block == 1 and stage > 2 else 1
            short = x if block > 1 else conv(x, f"{name}_0", inside, 4 * width, 1, stride, False)
            y = conv(x, f"{name}_1", inside, width, 1, stride, True)
            y = conv(y, f"{name}_2", width, width, 3, 1, True)
            y = conv(y, f"{name}_3", width, 4 * width, 1, 1, False)
            nodes.append(helper.make_node("Add", [short, y], [f"{name}/add"], f"{name}/add"))
            nodes.append(helper.make_node("Relu", [f"{name}/add"], [f"{name}/out"], f"{name}/out"))
            x, inside = f"{name}/out", 4 * width
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], "flat"))
    nodes.append(helper.make_node("Gemm", ["flat", weight("fc/W", 2048, 1000), weight("fc/b", 1000)], ["y"], "fc"))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 224, 224])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1000])
    return helper.make_model(helper.make_graph(nodes, "resnet50", [image], [scores], weights), producer_name="test")


class Shown:
    """A page in Chromium and what it tried to do."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.console: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: self.console.append(message.text))

    def open(self, document: str, path: Path) -> Page:
        path.write_text(document, encoding="utf-8")
        self.page.goto(path.as_uri())
        return self.page

    @property
    def outside(self) -> list[str]:
        """Requests that left the file."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:", "about:"))]


@pytest.fixture
def shown(browser: Browser) -> Iterator[Shown]:
    context = browser.new_context(viewport={"width": 1000, "height": 700})
    context.set_default_timeout(PATIENCE)
    yield Shown(context.new_page())
    context.close()


def state(view: Page | FrameLocator, wanted: str = "ready") -> None:
    """Wait until Netron has come to an end, and check which."""
    root = view.locator("html[data-netron]")
    root.wait_for(state="attached", timeout=PATIENCE)
    expect(root).to_have_attribute("data-netron", wanted)


def box(view: Page | FrameLocator, op_type: str) -> Locator:
    """The titles of Netron's boxes for one op_type."""
    return view.locator(".node-item-type > text", has_text=re.compile(f"^{re.escape(op_type)}$"))


# --- the live view -----------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_click_on_a_node_opens_its_properties(shown: Shown, tmp_path: Path, paper_models: Path) -> None:
    page = shown.open(graph(paper_models / "lenet-1_snn.onnx").page(), tmp_path / "g.html")
    state(page)
    header = parse_header((paper_models / "lenet-1_snn.onnx").read_bytes())
    for op_type, times in Counter(node.op_type for node in header.graph.nodes).items():
        expect(box(page, op_type)).to_have_count(times)
    box(page, "Conv").first.click()
    sidebar = page.locator("#sidebar")
    expect(page.get_by_role("textbox", name="kernel_shape")).to_be_visible()
    expect(sidebar).to_contain_text("conv1")
    assert shown.outside == []


@pytest.mark.browser
def test_a_shortened_forest_says_so_above_the_graph_and_in_the_sidebar(
    shown: Shown, tmp_path: Path, paper_models: Path
) -> None:
    view = graph(paper_models / "rf_iris.onnx")
    assert len(view.shortened) == 13 and len(view.page()) < 300 * KIB
    page = shown.open(view.page(), tmp_path / "g.html")
    state(page)
    expect(page.locator("#workbench-notes")).to_contain_text("13 long attributes are shortened")
    page.locator("#workbench-notes summary").click()
    expect(page.locator("#workbench-notes")).to_contain_text("nodes_values: first 16 of 1,446 values")
    page.locator("#workbench-notes summary").click()
    box(page, "TreeEnsemb\N{HORIZONTAL ELLIPSIS}Classifier").click()
    expect(page.locator("#sidebar")).to_contain_text("nodes_values: first 16 of 1,446 values")
    page.locator("#sidebar-closebutton").click()  # the line above must not cover it
    expect(page.locator("#sidebar-title")).not_to_be_in_viewport()


@pytest.mark.browser
def test_a_spiking_network_shows_one_node_per_layer_and_their_functions_one_click_away(
    shown: Shown, tmp_path: Path
) -> None:
    page = shown.open(graph(write(picture())).page(), tmp_path / "g.html")
    state(page)
    for op_type in ("FoldTime", "Conv", "LIF", "Gemm", "UnfoldTime"):
        expect(box(page, op_type)).to_have_count(1)
    box(page, "LIF").click()
    expect(page.locator("#sidebar")).to_contain_text("org.nengo")
    expect(page.get_by_role("textbox", name="tau_ref")).to_be_visible()
    page.locator("#sidebar .sidebar-item-value-expander", has_text="\N{LATIN SMALL LETTER F WITH HOOK}").click()
    expect(box(page, "Scan")).to_be_visible()
    assert shown.outside == []


@pytest.mark.browser
def test_several_graphs_live_in_an_exported_notebook_offline(shown: Shown, tmp_path: Path, paper_models: Path) -> None:
    import nbconvert
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    views = [graph(paper_models / "logreg_iris.onnx", height=400), graph(lif_model(), height=400)]
    outputs = [new_output("execute_result", {"text/html": view._repr_html_()}) for view in views]
    notebook = new_notebook(cells=[new_code_cell("graph(path)", outputs=[output]) for output in outputs])
    exporter = nbconvert.HTMLExporter(mathjax_url="", require_js_url="")
    document, _ = exporter.from_notebook_node(notebook)
    shown.page.context.set_offline(True)
    page = shown.open(document, tmp_path / "notebook.html")
    for number, op_type in enumerate(("LinearClassi", "LIF")):
        frame = page.frame_locator("iframe").nth(number)
        state(frame)
        expect(frame.locator(".node-item-type", has_text=op_type)).to_be_visible()
    assert shown.outside == []


@pytest.mark.browser
def test_the_drawing_shows_where_the_iframe_is_stripped_and_only_there(shown: Shown, tmp_path: Path) -> None:
    document = graph(lif_model(), height=500)._repr_html_()
    centre = "document.elementFromPoint(300, 200).closest('iframe, img')?.localName"
    page = shown.open(f"<body style='margin:0'>{document}", tmp_path / "trusted.html")
    state(page.frame_locator("iframe"))
    assert page.evaluate(centre) == "iframe"
    assert page.evaluate("document.querySelector('body > div').scrollHeight") == 500
    stripped = re.sub(r"<iframe.*</iframe>", "", document, flags=re.S)
    for sanitised in (stripped, re.sub(r' style="[^"]*"', "", stripped)):
        page = shown.open(f"<body style='margin:0'>{sanitised}", tmp_path / "stripped.html")
        expect(page.locator("img")).to_be_visible()
        assert page.evaluate("document.images[0].complete && document.images[0].naturalHeight") > 100
        expect(page.locator("body")).to_contain_text("trust this notebook")


@pytest.mark.browser
def test_the_keyboard_stays_with_the_page_around_it_which_can_select_nodes(shown: Shown, tmp_path: Path) -> None:
    heard = "<script>heard = []; addEventListener('message', e => heard.push(e.data.state ?? e.data.count))</script>"
    page = shown.open(f"{heard}<textarea></textarea>{graph(lif_model())._repr_html_()}", tmp_path / "g.html")
    page.locator("textarea").focus()
    frame = page.frame_locator("iframe")
    state(frame)
    page.keyboard.type("still here")
    assert page.locator("textarea").input_value() == "still here"
    assert page.evaluate("heard") == ["ready"]
    expect(frame.locator(".node.select")).to_have_count(0)
    page.evaluate("frames[0].postMessage({type: 'workbench:select', values: ['out', 'no such value']}, '*')")
    expect(frame.locator(".node.select")).to_contain_text("LIF")
    assert page.evaluate("heard") == ["ready", 1]


@pytest.mark.browser
def test_a_resnet50_page_is_small_and_needs_no_weights_file(shown: Shown, tmp_path: Path) -> None:
    path = tmp_path / "resnet50.onnx"
    path.write_bytes(resnet50().SerializeToString())
    view = graph(path)
    assert view.nodes == len(resnet50().graph.node)
    assert len(view.page()) < 300 * KIB
    page = shown.open(view.page(), tmp_path / "g.html")
    state(page)
    expect(box(page, "Conv")).to_have_count(53)


def test_a_model_without_operators_says_so() -> None:
    view = graph(helper.make_model(helper.make_graph([], "nothing", [], []), producer_name="test"))
    assert view.nodes == 0 and view.reason is not None and "no operators" in view.reason
    assert "no operators" in view.page() and "<script" not in view.page()


@pytest.mark.browser
def test_what_netron_cannot_read_is_said_in_the_page(shown: Shown, tmp_path: Path) -> None:
    path = tmp_path / "broken.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 4)
    page = shown.open(graph(path).page(), tmp_path / "g.html")
    state(page, "failed")
    expect(page.locator("body")).to_contain_text("Netron cannot show broken.h5:")
    assert shown.outside == []


@pytest.mark.browser
def test_the_view_follows_the_colour_scheme(shown: Shown, tmp_path: Path) -> None:
    page = shown.open(graph(lif_model()).page(), tmp_path / "g.html")
    state(page)
    lights = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        lights.append(Image.open(io.BytesIO(page.screenshot())).convert("L").getpixel((5, 300)) > 127)
    assert lights == [True, False]


# --- hostile models ----------------------------------------------------------------------------------------------


ATTACK = "<script>alert(1)</script></iframe></script><img src=http://127.0.0.1:9/x onerror=alert(2)>\"'><b>&amp;"
REFRESH = '<meta http-equiv="refresh" content="0;url=http://127.0.0.1:9/y"><link rel="stylesheet" href="http://127.0.0.1:9/z">'


def hostile() -> bytes:
    """Markup in every string, control characters, letters that are not UTF-8, a megabyte of metadata."""
    node = helper.make_node("Relu", ["x"], [ATTACK], ATTACK, domain=ATTACK)
    node.op_type = "R" + ATTACK
    node.doc_string = REFRESH + ATTACK
    node.attribute.append(helper.make_attribute(ATTACK, ATTACK, ATTACK))
    call = helper.make_node("F", [ATTACK], ["y"], "NUL\0 \x1b[31m \u202egnp.exe SURROGATE", domain="org")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [ATTACK])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph([node, call], ATTACK, [x], [y]), producer_name=ATTACK)
    body = helper.make_node("Relu", ["a"], ["b"], ATTACK)
    function = helper.make_function("org", "F", ["a"], ["b"], [body], [helper.make_opsetid("", 18)], [ATTACK], [])
    function.doc_string = f"{REFRESH}{ATTACK} [link](javascript:alert(3)) <svg onload=alert(4)>"
    model.functions.append(function)
    model.opset_import.add(domain="org", version=1)
    model.doc_string = REFRESH + ATTACK
    model.metadata_props.add(key=ATTACK, value=ATTACK * 10_000)
    model.metadata_props.add(key="license_url", value="x'><img src=http://127.0.0.1:9/w onerror=alert(5)>")
    model.metadata_props.add(key="license", value=REFRESH)
    return model.SerializeToString().replace(b"SURROGATE", b"\xed\xa0\x80\xff\xfe\xc0\x80ab")


@pytest.mark.browser
def test_a_hostile_model_runs_nothing_and_reaches_nobody(shown: Shown, tmp_path: Path) -> None:
    page = shown.open(graph(hostile()).page(), tmp_path / "g.html")
    state(page)
    for number in range(page.locator(".node").count()):
        page.locator(".node").nth(number).click(force=True)
    box(page, "F").click()
    expect(page.locator("#sidebar-title")).to_have_text("Node Properties")
    page.locator("#sidebar .sidebar-item-value-expander", has_text="\N{LATIN SMALL LETTER F WITH HOOK}").click()
    expect(page.locator("#sidebar-title")).to_have_text(re.compile("documentation", re.I))
    page.locator("#sidebar-model-button").click()
    expect(page.get_by_role("textbox", name="license")).to_be_visible()
    page.wait_for_timeout(500)  # time for an attack to show
    assert shown.dialogs == []
    assert shown.outside == []
    assert not [line for line in shown.console if "127.0.0.1" in line]  # what the policy stops, it names here
    assert page.locator("img, meta[http-equiv=refresh], link, #sidebar script, #target script").count() == 0


@pytest.mark.browser
def test_a_hostile_model_stays_inside_its_output_cell(shown: Shown, tmp_path: Path) -> None:
    document = graph(hostile())._repr_html_()
    page = shown.open(f"<body>{document}<p id=after>after</p>", tmp_path / "g.html")
    state(page.frame_locator("iframe"))
    expect(page.locator("#after")).to_be_visible()
    assert page.locator("script").count() == 0 and page.locator("img").count() == 1
    assert shown.dialogs == [] and shown.outside == []


def test_a_hostile_models_drawing_is_well_formed_and_inert() -> None:
    text = graph(hostile()).svg()
    root = ElementTree.fromstring(text)
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "defs", "marker", "path", "rect", "g", "title", "text"}
    assert not {name for element in root.iter() for name in element.attrib} & {"href", "onload", "onerror", "style"}
    assert "\x1b" not in text and "\u202e" not in text and "\0" not in text
    text.encode("utf-8")


# --- other formats -----------------------------------------------------------------------------------------------


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field (payload under 128 bytes) with a number below 2048."""
    key = number << 3 | 2
    head = bytes([key]) if key < 128 else bytes([key & 0x7F | 0x80, key >> 7])
    assert len(payload) < 16384
    size = len(payload)
    return head + (bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])) + payload


DENSE = {
    "class_name": "Dense",
    "config": {"name": "dense", "units": 3, "activation": "relu", "batch_input_shape": [None, 4]},
}
KERAS = {"class_name": "Sequential", "config": {"name": "s", "layers": [DENSE]}}


def make_h5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(KERAS)
        file.attrs["keras_version"] = "2.15.0"
        weights = file.create_group("model_weights/dense")
        weights.parent.attrs["layer_names"] = [b"dense"]
        weights.attrs["weight_names"] = [b"dense/kernel:0"]
        weights.create_dataset("dense/kernel:0", data=np.ones((600, 600), np.float32))  # over 1 MiB: made slim


def make_keras(path: Path) -> None:
    import h5py

    inner = path.with_suffix(".h5")
    with h5py.File(inner, "w") as file:
        file.create_dataset("layers/dense/vars/0", data=np.ones((600, 600), np.float32))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(KERAS))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.write(inner, "model.weights.h5")


def make_graph_def(path: Path) -> None:
    tensor = field(8, b"\x08\x01" + field(2, field(2, b"\x08\x04")) + field(4, bytes(16)))
    constant = field(1, b"w") + field(2, b"Const") + field(5, field(1, b"value") + field(2, tensor))
    relu = field(1, b"r") + field(2, b"Relu") + field(3, b"w")
    path.write_bytes(field(1, constant) + field(1, relu) + field(4, b"\x08\x87\x08"))


def make_pickle(path: Path) -> None:
    import pickle

    from sklearn.linear_model import LogisticRegression

    path.write_bytes(pickle.dumps(LogisticRegression().fit([[0.0], [1.0]], [0, 1])))


def make_joblib(path: Path) -> None:
    import joblib
    from sklearn.preprocessing import StandardScaler

    joblib.dump(StandardScaler().fit([[0.0], [1.0]]), path, compress=3)


def make_pytorch(path: Path) -> None:
    """A state dict as torch.save writes it, without torch."""
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
        b"X\x03\x00\x00\x00cpuJ\x40\x7e\x05\x00tQK\x00M\x58\x02M\x58\x02\x86M\x58\x02K\x01\x86\x89"
        b"ccollections\nOrderedDict\n)RtR"
    )
    data = b"\x80\x02}(X\x09\x00\x00\x00fc.weight" + tensor + b"u."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", data)
        archive.writestr("m/data/0", os.urandom(600 * 600 * 4))
        archive.writestr("m/version", "3\n")


def make_npz(path: Path) -> None:
    np.savez(path, weight=np.ones((3, 4)), bias=np.zeros(3))


def make_caffe(path: Path) -> None:
    layers = [(b"conv", b"Convolution", b"data", b"conv"), (b"act", b"ReLU", b"conv", b"act")]
    text = [b"".join(field(number, part) for number, part in enumerate(layer, 1)) for layer in layers]
    path.write_bytes(field(1, b"net") + b"".join(field(100, layer) for layer in text))


def make_caffe2(path: Path) -> None:
    ops = [(b"data", b"a", b"", b"Relu"), (b"a", b"b", b"", b"Softmax")]
    text = [b"".join(field(number, part) for number, part in enumerate(op, 1)) for op in ops]
    path.write_bytes(field(1, b"net") + b"".join(field(2, op) for op in text) + field(7, b"data") + field(8, b"b"))


def make_mxnet(path: Path) -> None:
    nodes = [{"op": "null", "name": name, "inputs": []} for name in ("data", "w")]
    dense = {"op": "FullyConnected", "name": "fc", "attrs": {"num_hidden": "3"}, "inputs": [[0, 0, 0], [1, 0, 0]]}
    attrs = {"mxnet_version": ["int", 10500]}
    path.write_text(json.dumps({"nodes": [*nodes, dense], "arg_nodes": [0, 1], "heads": [[2, 0, 0]], "attrs": attrs}))


def make_core_ml(path: Path) -> None:
    def feature(name: bytes) -> bytes:
        return field(1, name) + field(3, field(5, field(1, b"\x04") + b"\x10\xa0\x80\x04"))

    layer = field(1, b"act") + field(2, b"x") + field(3, b"y") + field(130, field(10, b""))
    path.write_bytes(
        b"\x08\x01" + field(2, field(1, feature(b"x")) + field(10, feature(b"y"))) + field(500, field(1, layer))
    )


@pytest.mark.browser
@pytest.mark.parametrize(
    ("name", "make", "format_name", "box"),
    [
        ("m.h5", make_h5, "Keras HDF5", "Dense"),
        ("m.keras", make_keras, "Keras v3", "Dense"),
        ("frozen.pb", make_graph_def, "GraphDef", "Relu"),
        ("m.pkl", make_pickle, "pickle", "Logisti"),
        ("m.joblib", make_joblib, "joblib", "Standar"),
        ("m.pt", make_pytorch, "PyTorch", "fc"),
        ("m.npz", make_npz, "NumPy npz", ""),
        ("net.caffemodel", make_caffe, "Caffe", "Convolution"),
        ("predict_net.pb", make_caffe2, "Caffe2", "Softmax"),
        ("m-symbol.json", make_mxnet, "MXNet symbol", "FullyConnected"),
        ("m.mlmodel", make_core_ml, "Core ML", "activation"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_other_formats_open_too(
    shown: Shown, tmp_path: Path, name: str, make: Callable[[Path], None], format_name: str, box: str
) -> None:
    make(tmp_path / name)
    view = graph(tmp_path / name)
    assert (view.format, view.reason) == (format_name, None)
    page = shown.open(view.page(), tmp_path / "g.html")
    state(page)
    expect(page.locator("#target .node", has_text=box).first).to_be_visible()
    assert shown.outside == []
    ElementTree.fromstring(view.svg())


@pytest.mark.browser
@pytest.mark.slow
def test_tensorflows_own_files_open_without_their_weights(shown: Shown, tmp_path: Path) -> None:
    make = (
        "import tensorflow as tf, sys\n"
        "class M(tf.Module):\n"
        "  def __init__(self): self.w = tf.Variable(tf.random.uniform((700, 700)))\n"
        "  @tf.function(input_signature=[tf.TensorSpec((None, 700))])\n"
        "  def __call__(self, x): return tf.nn.relu(x @ self.w)\n"
        "tf.saved_model.save(M(), sys.argv[1] + '/saved')\n"
        "lite = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1] + '/saved').convert()\n"
        "open(sys.argv[1] + '/m.tflite', 'wb').write(lite)\n"
    )
    subprocess.run([sys.executable, "-c", make, str(tmp_path)], check=True, capture_output=True)
    for name, format_name, box in (("saved", "SavedModel", "VarHandleOp"), ("m.tflite", "TFLite", "FullyConnected")):
        view = graph(tmp_path / name)
        assert (view.format, view.reason) == (format_name, None)
        assert len(view.page()) < 2**20  # 700 x 700 random floats alone are 1.9 MiB and do not compress
        page = shown.open(view.page(), tmp_path / "g.html")
        state(page)
        if name == "saved":  # variables are in the main graph, the rest in its functions
            assert page.locator("#target .node").count() > 0
        else:
            expect(page.locator("#target .node", has_text=box).first).to_be_visible()


def test_formats_that_cannot_be_shown_say_why(tmp_path: Path) -> None:
    skops = tmp_path / "m.skops"
    with zipfile.ZipFile(skops, "w") as archive:
        archive.writestr("schema.json", '{"__class__": "Ridge", "__module__": "sklearn.linear_model"}')
    view = graph(skops)
    assert view.reason == "Netron's view is not available for skops files."
    page = view.page()
    assert "view is not available for skops files." in page and "<script" not in page
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(UnsupportedModel, match="not a model"):
        graph(tmp_path / "note.txt")
    (tmp_path / "cut.onnx").write_bytes(lif_model().SerializeToString()[:300])
    with pytest.raises(UnreadableFile, match="not a readable ONNX model"):
        graph(tmp_path / "cut.onnx")
    with pytest.raises(UnreadableFile, match="folder"):
        graph(tmp_path)
    with pytest.raises(UnreadableFile, match="cannot be read"):
        graph(tmp_path / "missing.onnx")


# --- without a browser -------------------------------------------------------------------------------------------


def test_a_five_hundred_tree_forest_fits_a_page() -> None:
    from skl2onnx import to_onnx
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier

    x, y = make_classification(450, random_state=0)
    forest = RandomForestClassifier(500, random_state=0).fit(x, y)
    view = graph(to_onnx(forest, x[:1].astype(np.float32), target_opset=18))
    assert max(cut.total for cut in view.shortened) > 20_000
    assert len(view.page()) < 300 * KIB
    assert any("nodes_values" in note for note in view.notes)


def test_a_file_over_two_gigabytes_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    size = (2 << 30) + 1000
    tensor = b"\x08\x80\x80\x80\x02\x10\x01" + field(8, b"w") + b"\x4a" + varint(size)
    graph_tail = field(11, field(1, b"x")) + field(12, field(1, b"y"))
    node = field(1, field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"Mul"))
    length = len(node) + 1 + len(varint(len(tensor) + size)) + len(tensor) + size + len(graph_tail)
    with path.open("wb") as file:
        file.write(b"\x08\x08" + field(8, b"\x10\x12") + b"\x3a" + varint(length) + node)
        file.write(b"\x2a" + varint(len(tensor) + size) + tensor)
        file.seek(size, os.SEEK_CUR)  # a hole: takes no room on the disk
        file.write(graph_tail)
    code = (
        "import resource, sys\n"
        "from workbench.graph import graph\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "graph(sys.argv[2]).page(); before = peak()\n"  # what Netron's own files take is no growth
        "view = graph(sys.argv[1]); page = view.page()\n"
        "print(view.nodes, len(page), peak() - before)\n"
    )
    small = tmp_path / "small.onnx"
    small.write_bytes(lif_model().SerializeToString())
    run = subprocess.run(
        [sys.executable, "-c", code, str(path), str(small)], capture_output=True, text=True, check=True
    )
    nodes, page, grown = map(int, run.stdout.split())
    assert nodes == 1 and page < 300 * KIB
    assert grown < 30 * KIB  # in KiB: 30 MiB, mostly the pages of the map that were looked at


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def test_a_graph_too_large_to_draw_says_so_and_still_has_a_drawing() -> None:
    """A main graph is folded (`test_groups.py`), a subgraph is not."""
    nodes = [helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in range(10_001)]
    value = helper.make_tensor_value_info
    inputs, outputs = [value("v0", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])]
    body = helper.make_graph(nodes, "body", [], [value("v10001", TensorProto.FLOAT, [1])])
    choice = helper.make_node("If", ["v0"], ["y"], then_branch=body, else_branch=body)
    view = graph(helper.make_model(helper.make_graph([choice], "g", inputs, outputs)))
    assert view.reason is not None and view.reason.startswith("The graph has 10,001 nodes; Netron draws up to 10,000")
    assert "<iframe" not in view._repr_html_() and "10,001 nodes" in view._repr_html_()


def reading_all_before(nodes: int, most: int) -> onnx.ModelProto:
    """Nodes that each read the last ones before them."""
    value = helper.make_tensor_value_info
    inside = [helper.make_node("Relu", ["x"], ["v0"])]
    for place in range(1, nodes):
        inside.append(helper.make_node("Sum", [f"v{i}" for i in range(max(0, place - most), place)], [f"v{place}"]))
    ends = [value("x", TensorProto.FLOAT, [1])], [value(f"v{nodes - 1}", TensorProto.FLOAT, [1])]
    return helper.make_model(helper.make_graph(inside, "g", *ends), producer_name="test")


def test_a_graph_of_few_nodes_that_netron_never_ends_with_is_drawn_still() -> None:
    dense = graph(reading_all_before(240, 31))
    assert dense.nodes == 240 and dense.reason is not None and "span" in dense.reason
    assert re.search(r"4,000 of [\d,]+ edges are drawn\.", dense.svg())  # none is left out without a word
    chain = graph(reading_all_before(9_000, 1))
    assert (
        chain.reason is None
        and svg.spanned(parse_header(reading_all_before(9_000, 1).SerializeToString()).graph) == 9_000
    )


def test_a_drawing_says_which_inputs_and_outputs_it_leaves_out() -> None:
    value = helper.make_tensor_value_info
    names = [f"x{i}" for i in range(500)]
    sides = [value(name, TensorProto.FLOAT, [1]) for name in names], [value("y", TensorProto.FLOAT, [1])]
    wide = helper.make_graph([helper.make_node("Sum", names, ["y"])], "wide", *sides)
    assert f"{svg.MAX_NODES} of 500 inputs are drawn." in graph(helper.make_model(wide, producer_name="t")).svg()


@pytest.mark.parametrize("layout", ["dagre", "layers"])
def test_the_drawing_has_every_operator_name_edge_and_weight_shape(
    layout: str, paper_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if layout == "layers":
        monkeypatch.setitem(sys.modules, "quickjs", None)  # as if it were not installed
    for path in sorted(paper_models.glob("*.onnx")):
        header = parse_header(path.read_bytes())
        root = ElementTree.fromstring(graph(path).svg())
        texts = [element.text or "" for element in root.iter(f"{SVG}text")]
        for node in header.graph.nodes:
            assert node.op_type in texts
        for op_type in {node.op_type for node in header.graph.nodes}:
            assert texts.count(op_type) >= sum(node.op_type == op_type for node in header.graph.nodes)
        lines = [element for element in root.iter(f"{SVG}path") if element.get("marker-end")]
        assert len(lines) >= len(header.graph.nodes)
        assert float(root.get("width", 0)) > 50
        boxes = [element for element in root.iter(f"{SVG}rect") if element.get("fill") == "#fff"][1:]
        places = {(box.get("x"), box.get("y")) for box in boxes}
        assert (
            len(places) == len(boxes) == len(header.graph.nodes) + len(header.graph.inputs) + len(header.graph.outputs)
        )
    text = graph(paper_models / "lenet-1.onnx").svg()
    assert "W 4\N{MULTIPLICATION SIGN}1\N{MULTIPLICATION SIGN}5\N{MULTIPLICATION SIGN}5" in text


def test_drawing_a_graph_that_fights_the_layout_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg, "LAYOUT_SECONDS", 1)
    many = [f"v{i}" for i in range(300)]
    nodes = [helper.make_node("Sum", many, [name]) for name in many]  # every node feeds every other: cycles and all
    view = graph(helper.make_model(helper.make_graph(nodes, "knot", [], [])))
    ElementTree.fromstring(view.svg())


def test_saving_is_whole_or_not_at_all_and_overwrites_only_on_request(tmp_path: Path) -> None:
    view = graph(lif_model())
    target = view.save(tmp_path / "g.html")
    assert target.read_text("utf-8") == view.page()
    with pytest.raises(WorkbenchError, match="exists already"):
        graph(lif_model()).save(target)
    target.write_text("old")
    view.save(target, overwrite=True)
    assert target.read_text("utf-8") == view.page()
    with pytest.raises(WorkbenchError, match="cannot be written"):
        view.save(tmp_path / "no such folder" / "g.html")
    assert [path.name for path in tmp_path.iterdir()] == ["g.html"]


def test_the_same_model_makes_the_same_page_from_path_bytes_and_object(tmp_path: Path) -> None:
    model = lif_model()
    path = tmp_path / model.graph.name
    path.write_bytes(model.SerializeToString())
    views = [graph(path), graph(str(path)), graph(model)]
    assert len({view.page() for view in views}) == 1
    assert graph(model.SerializeToString()).nodes == 2


def test_the_view_is_data_too() -> None:
    found = json.loads(json.dumps(graph(lif_model()).to_dict()))
    assert found["format"] == "ONNX" and found["nodes"] == 2 and found["live"] is True and found["reason"] is None
    assert found["page_bytes"] > 100 * KIB and found["notes"] == []


@pytest.mark.parametrize("change", ["another page", "another module form", "nothing there"])
def test_an_unknown_netron_gives_the_drawing_and_one_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Where the installed netron package is another one."""
    package = tmp_path / "netron"
    package.mkdir()
    if change != "nothing there":
        original = Path(netron.__file__).parent
        for name in (*original.glob("*.js"), original / "index.html", original / "grapher.css"):
            shutil.copy(name, package)
        if change == "another page":
            (package / "index.html").write_text("<html><script type=module src=bundle.js></script></html>")
        else:
            source = (package / "view.js").read_text("utf-8")
            (package / "view.js").write_text(source + "\nexport default view;\n", "utf-8")
    kept = [value for value in vars(views).values() if hasattr(value, "cache_clear")]
    monkeypatch.setattr(views.resources, "files", lambda name: package if name == "netron" else files(name))
    for cache in kept:
        cache.cache_clear()
    try:
        view = graph(lif_model())
        found, drawing = view.to_dict(), view.svg()
        documents = (view._repr_html_(), view.page())
    finally:
        for cache in kept:
            cache.cache_clear()
    assert found["live"] is False
    assert "etron" in found["reason"] and "\n" not in found["reason"]
    assert "LIF" in drawing and "MatMul" in drawing
    for document in documents:
        assert "<iframe" not in document and "data:image/svg+xml;base64," in document and "etron" in document


def test_importing_the_module_is_light() -> None:
    heavy = ("onnx", "pandas", "h5py", "netron", "quickjs")
    code = f"import sys, workbench.graph; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_view_is_frozen_and_short_as_text() -> None:
    view = graph(lif_model())
    assert repr(view) == "GraphView(name='snn', format='ONNX', nodes=2, height=380)"
    assert isinstance(view, GraphView)
    with pytest.raises(AttributeError):
        view.height = 3  # type: ignore[misc]


def test_a_graph_is_looked_at_in_parts(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", [f"v{at}"], [f"v{at + 1}"], f"relu_{at}") for at in range(12_000)]
    nodes[6_000] = helper.make_node("Add", ["v6000", "bias"], ["v6001"], "sum")
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("v0", "v12000")]
    bias = helper.make_tensor("bias", TensorProto.FLOAT, [3], [1, 2, 3])
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", infos[:1], infos[1:], [bias])), tmp_path / "m.onnx")
    view = graph(tmp_path / "m.onnx", around="sum", reach=3)
    assert view.reason is None and view.nodes == 7 and view.part == (7, 12_000)
    assert "7 of its 12,000 nodes" in view.notes[0]
    shown = onnx.load_from_string(view._data).graph
    assert [node.name for node in shown.node] == [f"relu_{at}" for at in (5997, 5998, 5999)] + ["sum"] + [
        f"relu_{at}" for at in (6001, 6002, 6003)
    ]
    assert [value.name for value in shown.input] == ["v5997"] and [each.name for each in shown.initializer] == ["bias"]
    # By a value it gives, too; facts are of the whole graph.
    assert graph(tmp_path / "m.onnx", around="v6001").nodes == 17
    assert len(view.costs().nodes) == 12_000
    with pytest.raises(BadInput, match="relu_600"):
        graph(tmp_path / "m.onnx", around="relu-600")


def test_a_tall_graph_is_drawn_in_columns_where_the_place_is_low() -> None:
    nodes = [helper.make_node("Relu", [f"v{at}"], [f"v{at + 1}"], name=f"n{at}") for at in range(60)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("v0", "v60")]
    view = graph(helper.make_model(helper.make_graph(nodes, "tall", ends[:1], ends[1:]), producer_name="t"))
    root = ElementTree.fromstring(view.svg((640, 460)))
    wide, high = float(root.get("width", 0)), float(root.get("height", 0))
    whole = ElementTree.fromstring(view.svg())
    assert min(640 / wide, 460 / high) > 3 * 460 / float(whole.get("height", 0))
    # Together the columns show all, each part once, and no box is cut.
    parts = [[float(number) for number in part.get("viewBox", "").split()] for part in root.findall(f"{SVG}svg")]
    assert [round(upper[1] + upper[3] - lower[1]) for upper, lower in pairwise(parts)] == [0] * (len(parts) - 1)
    boxes = [(float(box.get("y", 0)), float(box.get("height", 0))) for box in root.iter(f"{SVG}rect") if box.get("rx")]
    assert len(boxes) >= 62
    for top, height in boxes:
        assert any(part[1] <= top + 1 and top + height <= part[1] + part[3] + 1 for part in parts)
