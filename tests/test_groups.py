"""A graph too large to draw is folded into boxes that open, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from playwright.sync_api import Browser, expect

from workbench import graph
from workbench.graph.groups import DOMAIN, FEW, folded, tree

LAYERS = 24


def large(layers: int = LAYERS, scoped: bool = True) -> onnx.ModelProto:
    """Layers of 500 products and activations in a row, in scopes; the last node reads the first one's value."""
    made, value = [], "x"
    for layer in range(layers):
        for place in range(500):
            name = f"/model/layer.{layer}/block{place // 100}/n{place}" if scoped else ""
            reads, kind = ([value, "w"], "MatMul") if place == 7 else ([value], "Relu")
            value = f"v{layer}_{place}"
            made.append(helper.make_node(kind, reads, [value], name))
    made.append(helper.make_node("Add", [value, "v0_0"], ["y"], "/model/sum"))
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy"]
    weights = [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")]
    proto = helper.make_graph(made, "g", infos[:1], infos[1:], weights)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="test")


def boxes(proto: Any) -> Iterator[Any]:
    """(a box, what is in it), outermost first; the whole is one."""
    yield None, proto
    for node in proto.node:
        if node.domain == DOMAIN:
            for _, inner in [(node, node.attribute[0].g)]:
                yield node, inner
                yield from ((box, found) for box, found in boxes(inner) if box is not None)


@pytest.mark.parametrize("scoped", [True, False])
def test_every_node_is_in_one_box_and_each_edge_is_kept(scoped: bool) -> None:
    whole = large(scoped=scoped)
    data, levels = folded(whole.SerializeToString())
    found = onnx.load_from_string(data)
    inside = list(boxes(found.graph))
    plain = [node for _, level in inside for node in level.node if node.domain != DOMAIN]
    assert sorted(n.SerializeToString() for n in plain) == sorted(n.SerializeToString() for n in whole.graph.node)
    assert max(len(level.node) for _, level in inside) <= FEW and len(levels) == len(inside)
    for box, level in inside[1:]:
        gives = {value for node in level.node for value in node.output}
        reads = {value for node in level.node for value in node.input} - {"w"}
        assert set(box.input) == reads - gives and set(box.output) <= gives
        assert [each.name for each in level.initializer] == ["w"] * any("w" in n.input for n in level.node)
    assert list(found.graph.input) == list(whole.graph.input) and list(found.graph.output) == list(whole.graph.output)
    assert any("v0_0" in box.output for box, _ in inside[1:])  # read by the last node, in no box with it
    if scoped:
        assert [node.name for node in found.graph.node] == [f"model/layer.{at}" for at in range(LAYERS)] + [
            "/model/sum"
        ]


def test_scopes_of_one_node_are_no_boxes_and_few_nodes_stay() -> None:
    assert tree([f"a/{at}" for at in range(FEW)]).items == tuple(range(FEW))
    whole = tree([*(f"a/b/{at}" for at in range(FEW)), "c/d/e", "f"])
    assert [getattr(item, "scope", item) for item in whole.items] == ["a", FEW, FEW + 1]
    assert sorted(whole.places()) == list(range(FEW + 2))


@pytest.mark.browser
@pytest.mark.slow
def test_a_graph_of_many_nodes_opens_as_boxes_with_what_they_cost_together(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("workbench.graph"), "MAX_NODES", 2_000)
    path, layers = tmp_path / "m.onnx", 6
    onnx.save(large(layers), path)
    view = graph(path)
    assert view.reason is None and view.nodes == 3_001 and "folded" in view.notes[0]
    page = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True).new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.set_default_timeout(90_000)
    page.goto(view.with_costs().save(tmp_path / "page.html").as_uri())
    page.locator(".node-item-type", has_text="layer\u00b70 (500)").wait_for()
    figures = page.locator(".workbench-figure")
    expect(figures).to_have_count(layers)
    expect(figures.filter(has_text="16")).to_have_count(layers)  # one product of four by four in each
    page.locator(".node-item", has_text="+").first.click()
    page.locator(".node-item-type", has_text="block4 (100)").wait_for()
    # What is inside a box is found, and leads to the box.
    page.get_by_role("button", name="Table").click()
    rows = page.locator("#workbench-table tbody tr")
    expect(rows).to_have_count(layers + 1)
    page.get_by_role("searchbox").fill("layer.3 matmul")
    expect(rows).to_have_count(1)
    rows.locator("button").click()
    page.locator("#sidebar").get_by_text("model/layer.3", exact=True).wait_for()
    assert problems == []
    page.context.close()
