"""The kind card and the graph beside it: the verdict in words, the paper's chart, and nodes marked from op_types."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import onnx
import pytest
from playwright.sync_api import Browser, Page, expect
from test_snn_onnx import picture

from tests.lab import jupyter_lab
from workbench.files.header import parse_header
from workbench.frameworks.spiking.write import write
from workbench.graph.places import places
from workbench.kind import Detection, detect
from workbench.session import Session
from workbench.show.card import card
from workbench.show.explain import difference, in_words
from workbench.show.flow import engines, exchange, flow
from workbench.widgets.graph_view import GraphPanel
from workbench.widgets.kind_card import KindCard

DATA = Path(__file__).parent / "data"

NESTED = """
<ir_version: 9, opset_import: ["" : 18, "my" : 1]>
g (float[2] x, bool c) => (float[2] y)
{
  a = my.Outer (x)
  b = Relu (a)
  y = If (c) <then_branch = one () => (float[2] t) { t = Abs (b) },
              else_branch = two () => (float[2] e) { e = Neg (b) }>
}
<domain: "my", opset_import: ["" : 18, "my" : 1]> Outer (x) => (y) { z = my.Inner (x) y = Relu (z) }
<domain: "my", opset_import: ["" : 18, "my" : 1]> Inner (x) => (y) { s = Exp (x) y = my.Outer (s) }
<domain: "my", opset_import: ["" : 18]> Unused (x) => (y) { y = Sin (x) }
"""


def conv(domain: str = "") -> onnx.ModelProto:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18], producer_name: "acme">'
        "g (float[1,1,4,4] x, float[1,1,3,3] w) => (float[1,1,2,2] y) { y = Conv (x, w) }"
    )
    model.domain = domain
    return model


def detected(model: onnx.ModelProto, folder: Path) -> Detection:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return detect(path)


def wait(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_graph(panel: GraphPanel) -> None:
    wait(lambda: len(panel.choice.options) >= 2)


@pytest.mark.parametrize(
    ("file", "kind", "words"),
    [
        ("gru.onnx", "DL", "reads a sequence step by step with a memory (GRU); it also holds 177 stored numbers"),
        ("snn_leaky.onnx", "SNN", "No operator here is called a neuron"),
        ("net.nir", "SNN", "Nengo GUI shows it at work"),
    ],
)
def test_the_kind_is_said_in_words_for_this_very_file(file: str, kind: str, words: str) -> None:
    found = detect(DATA / file)
    assert found.kind == kind
    assert words in in_words(found)
    assert words in card(found)


@pytest.mark.parametrize(
    ("domain", "why"),
    [
        ("", "acme left this field empty; ours looks at every operator, and finds Conv"),
        ("acme.com", "acme wrote “acme.com” into this field; ours"),
        ("ai.onnx", "believes the domain, in which acme wrote “ai.onnx”; ours looks at every operator, and finds Conv"),
    ],
)
def test_where_the_rules_differ_the_card_says_why_for_this_file(domain: str, why: str, tmp_path: Path) -> None:
    found = detected(conv(domain), tmp_path)
    assert why in difference(found)
    assert difference(detected(conv("onnx"), tmp_path)) == ""


@pytest.mark.parametrize(
    ("domain", "path", "answer"),
    [
        ("ai.onnx", "What is the domain? ai.onnx. Answer: ML.", "ML"),
        ("onnx", "What is the domain? onnx. Answer: DL.", "DL"),
        ("", "What is the domain? empty. Answer: no answer.", "no answer"),
        ('"><script>alert(1)</script>', "Answer: no answer.", "no answer"),
    ],
)
def test_the_chart_shows_the_path_taken_to_eyes_and_ears(domain: str, path: str, answer: str, tmp_path: Path) -> None:
    drawn = ElementTree.fromstring(flow(detected(conv(domain), tmp_path)))
    assert drawn.get("role") == "img"
    assert str(drawn.get("aria-label")).endswith(path)
    assert [text.text for text in drawn.iter("text") if str(text.text).startswith("✓")] == [f"✓ {answer}"]
    assert {element.tag for element in drawn.iter()} == {"svg", "rect", "text", "polyline", "polygon"}


def test_the_chart_ends_at_once_for_a_spiking_op_type(tmp_path: Path) -> None:
    assert 'spiking neuron? Yes. Answer: SNN."' in flow(detected(write(picture()), tmp_path))
    assert flow(detect(DATA / "net.nir")) == ""


def test_figure_7b_is_a_chart_with_the_engine_of_this_file(tmp_path: Path) -> None:
    for model, kind, engine in ((conv(), "DL", "ONNX Runtime"), (write(picture()), "SNN", "Nengo")):
        drawn = ElementTree.fromstring(engines(detected(model, tmp_path)))
        assert drawn.get("aria-label") == f"Fig. 7b. The kind is {kind}: it goes to {engine}."
        lit = [text.text for text in drawn.iter("text") if text.get("font-weight") == "700"]
        assert lit == [f"✓ {kind}", engine]
    assert engines(detect(DATA / "net.nir")) == ""


def test_figure_1_has_all_makers_and_users_of_the_format() -> None:
    drawn = ElementTree.fromstring(exchange({"scikit-learn": "through skl2onnx", "<b>": ""}, "ONNX", {"Nengo": ""}))
    said = "Fig. 1. ONNX is made from: scikit-learn (through skl2onnx), <b>. It is run by: Nengo."
    assert drawn.get("aria-label") == said
    assert [text.text for text in drawn.iter("text")] == ["ONNX", "scikit-learn", "through skl2onnx", "<b>", "Nengo"]


def test_an_op_type_is_found_in_functions_and_subgraphs_and_what_holds_it_is_marked() -> None:
    header = parse_header(onnx.parser.parse_model(NESTED).SerializeToString())
    relu = places(header, ":Relu")
    assert (relu.here, relu.inside, relu.values) == (1, {"Outer": 1}, ("b",))
    assert relu.says == "1 node of Relu is marked. 1 more is inside Outer."
    # Outer calls Inner, which calls Outer: it ends, and the one call in the main graph is marked.
    exp = places(header, ":Exp")
    assert (exp.here, exp.inside, exp.values) == (0, {"Inner": 1}, ("a",))
    assert exp.says == "1 node of Exp is inside Inner; the node that holds it is marked."
    assert places(header, ":Neg").values == ("y",)
    assert places(header, ":Sin").says == "1 node of Sin is inside Unused, which no node uses."
    assert places(header, "my:Outer").values == ("a",)
    assert places(header, ":Outer").says == "This model has no node of Outer."


def test_a_choice_in_one_panel_shows_in_the_other_and_stays_with_its_file() -> None:
    session = Session(DATA / "gru.onnx")
    kind, panel = KindCard(session), GraphPanel(session)
    wait_for_graph(panel)
    kind._handle_custom_msg({"op_type": ":GRU"}, [])
    assert (session.op_type, session.step, kind.op_type) == (":GRU", "graph", ":GRU")
    assert panel.choice.value == ":GRU"
    assert panel.frame.said == "1 node of GRU is marked."
    kind._handle_custom_msg({"op_type": "<b>:of no card"}, [])
    assert session.op_type == ":GRU"
    session.pick(DATA / "mlp.onnx")
    wait_for_graph(panel)
    assert (session.op_type, panel.choice.value, panel.frame.marked) == ("", "", [])
    panel.choice.value = ":Relu"
    session.pick(DATA / "gru.onnx")
    assert (session.op_type, kind.op_type, panel.choice.value) == (":GRU", ":GRU", ":GRU")
    kind._handle_custom_msg({"op_type": ":GRU"}, [])
    assert (session.op_type, panel.frame.marked) == ("", [])


def test_what_cannot_be_shown_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes((DATA / "mlp.onnx").read_bytes()[:300])
    session = Session(root=tmp_path)
    kind, panel = KindCard(session), GraphPanel(session)
    assert "Pick a model file" in kind.said and not kind.alert
    session.pick(tmp_path / "cut.onnx")
    assert kind.alert and kind.card == ""
    assert kind.said == panel.frame.said == session.problems["kind"]
    session.pick(DATA / "net.nir")
    wait(lambda: "Its ONNX file has a graph to show" in panel.frame.said)
    assert panel.frame.markup == ""
    panel.convert.click()
    assert session.step == "convert"


def test_what_each_node_costs_is_shown_where_it_is_asked_for_and_for_the_next_file_too(tmp_path: Path) -> None:
    session = Session(DATA / "gru.onnx")
    panel = GraphPanel(session)
    wait_for_graph(panel)
    plain = panel.frame.markup
    assert not panel.costs.value and panel.costs.layout.display is None and session.costed is None
    panel.costs.value = True
    assert "Counting" in panel.frame.said and panel.frame.markup == plain
    wait(lambda: session.costed is not None)
    assert panel.frame.markup == session.view.with_costs()._repr_html_() != plain and panel.frame.said == ""
    panel.costs.value = False
    assert panel.frame.markup == plain
    panel.costs.value = True  # at once, since it was counted before
    assert panel.frame.markup != plain
    session.pick(DATA / "net.nir")
    wait(lambda: not session.looking)
    assert panel.costs.layout.display == "none" and session.costed is None and "costs" not in session.problems
    shutil.copy(DATA / "mlp.onnx", tmp_path)
    session.pick(tmp_path / "mlp.onnx")
    wait(lambda: not session.looking)
    assert panel.frame.markup == session.view.with_costs()._repr_html_()
    assert session.inference is not None or "inference" in session.problems
    panel.costs.value = False
    assert panel.frame.markup == session.view._repr_html_()


def test_costs_that_cannot_be_counted_are_said_and_the_graph_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("workbench.graph"), "FACTS_SECONDS", 0.0)
    session = Session(root=DATA)
    panel = GraphPanel(session)
    panel.costs.value = True
    session.pick(DATA / "mlp.onnx")
    wait(lambda: "costs" in session.problems)
    assert panel.frame.markup == session.view._repr_html_()
    assert panel.frame.said == session.problems["costs"] != "" and "inside the workbench" not in panel.frame.said
    panel.costs.value = False
    assert panel.frame.said == ""


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """Both panels of one session in a notebook."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(DATA / "gru.onnx", folder)
    (folder / "snn.onnx").write_bytes(write(picture()).SerializeToString())
    code = (
        "import ipywidgets\nfrom workbench.session import Session\nfrom workbench.widgets.kind_card import KindCard\n"
        "from workbench.widgets.graph_view import GraphPanel\n"
        "session = Session('snn.onnx')\nipywidgets.VBox([KindCard(session), GraphPanel(session)])"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(notebook, folder / "n.ipynb")
    with jupyter_lab(folder) as address:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
        page = context.new_page()
        page.set_default_timeout(180_000)
        page.goto(address.format("lab/tree/n.ipynb"))
        expect(page.get_by_text("| Idle").first).to_be_visible(timeout=180_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        yield page
        page.evaluate("() => { window.onbeforeunload = null; }")
        context.close()


@pytest.mark.browser
def test_an_op_type_chosen_with_the_keyboard_is_marked_in_the_graph_and_nengo_gui_opens(page: Page) -> None:
    card, graph = page.locator(".wb-kind-card"), page.locator(".wb-graph")
    marked = graph.frame_locator('iframe[title^="Netron"]').locator(".node.select")
    said = graph.locator(".wb-graph-view").get_by_role("status")
    button = card.get_by_role("button", name="org.nengo:LIF", exact=True)
    button.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(marked).to_have_text(re.compile("LIF"))
    expect(said).to_have_text("1 node of org.nengo:LIF is marked.")
    # Only the graph's own frame is listened to.
    page.evaluate("window.postMessage({type: 'workbench:selected', count: -7}, '*')")
    graph.get_by_label("Mark nodes of").select_option("Scan (1)")
    expect(said).to_have_text("1 node of Scan is inside LIF; the node that holds it is marked.")
    expect(button).to_have_attribute("aria-pressed", "false")
    graph.get_by_role("button", name="Clear").click()
    expect(marked).to_have_count(0)
    graph.get_by_role("button", name="Open in Nengo GUI").click()
    expect(graph.locator("iframe.wb-gui-frame")).to_be_visible(timeout=60_000)  # Nengo is imported first
    expect(graph.locator('iframe[title^="Netron"]')).not_to_be_visible()
    graph.get_by_role("button", name="Back to Netron").click()
    expect(graph.locator('iframe[title^="Netron"]')).to_be_visible()
    expect(graph.locator("iframe.wb-gui-frame")).to_have_count(0)
