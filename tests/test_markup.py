"""HTML from templates: whatever a file says is seen as text, and an output brings no more style than it needs."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import workbench
from workbench import detect
from workbench.errors import Scan
from workbench.kind import KIND_NAMES
from workbench.markup import Html, render, styles, whole_page
from workbench.widgets.audit import AuditTable
from workbench.widgets.picker import Picker
from workbench.widgets.steps import Steps
from workbench.words import escape

MLP = Path(__file__).parent / "data" / "mlp.onnx"
TEMPLATES = Path(workbench.__file__).parent / "show" / "templates"
ATTACK = "<script>alert(1)</script>\"'>&\x1b[31m\u202egnp\u200b\ud800"
SEEN = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&gt;&amp;\\x1b[31m\\u202egnp\\u200b\\ud800"


def test_text_is_escaped_and_what_would_act_unseen_is_seen() -> None:
    made = render("rows", source=ATTACK, count=1, answers=False, notes=[ATTACK])
    assert made.count(SEEN) == 2 and "<script" not in made
    assert SEEN in Scan("m.pkl", ATTACK, True, dangerous=(ATTACK,))._repr_html_()


def test_a_long_text_is_cut_and_a_limit_of_its_own_counts() -> None:
    assert f"<b>{'W' * 400}…</b>" in render("rows", source="W" * 500, count=1, answers=False, notes=[])
    assert f"<p>{'W' * 2000}…</p>" in render("sentence", text="W" * 3000, kind="", role="")


def test_what_a_template_made_is_markup_and_what_is_made_of_that_is_text() -> None:
    inner = render("sentence", text="a & b", kind="", role="")
    assert inner in render("in_code", details=inner)
    assert "&lt;p&gt;" in render("in_code", details=inner + "") and type(inner + "") is str
    assert inner + "<b>" == "<p>a &amp; b</p><b>" and isinstance(inner, Html)


def test_only_our_own_drawings_pages_and_pictures_are_let_through_as_they_are() -> None:
    through = {name for page in TEMPLATES.glob("*.j2") for name in re.findall(r"([\w.]+) \| safe", page.read_text())}
    pages, pictures = (
        {"cells", "graph", "document"},
        {"drawing", "picture", "part.picture", "row.picture", "side.strokes"},
    )
    assert through == {*pages, *pictures, "policy", "text", "boot"}
    assert not any(" ~ " in page.read_text() for page in TEMPLATES.glob("*.j2") if page.name != "row.html.j2")


def test_an_output_brings_its_own_styles_and_a_page_has_them_once() -> None:
    scan = Scan("m.pkl", "pickle", True)
    assert f"<style>{styles('scan')}</style>" in scan._repr_html_() and len(styles("scan")) < 2000
    with whole_page():
        assert "<style>" not in scan._repr_html_()
    assert not re.search(r"/\*|\n", styles("page", "report", "notebook"))


def test_html_of_a_model_stays_small() -> None:
    assert len(detect(MLP)._repr_html_()) < 9500


def test_nobody_pays_for_templates_before_the_first_html() -> None:
    code = "import sys, workbench; assert 'jinja2' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["sklearn.tree._classes.DecisionTreeClassifier", "org.nengo:LIF", ATTACK, "W" * 500])
def test_a_long_name_may_go_on_in_the_next_line_and_stays_the_same_text(name: str) -> None:
    """Where its parts meet, and never within one: the page breaks a word where nothing else helps."""
    shown = replace(detect(MLP), because=name)._repr_html_()
    assert f'<span class="wb-because">{escape(name)}</span>' in shown.replace("<wbr>", "")
    assert "<script" not in shown and ("Tree<wbr>Classifier" in shown) is ("Tree" in name)
    assert ("nengo:<wbr>LIF" in shown) is ("LIF" in name)


def test_a_kind_has_one_colour_and_one_shape_wherever_it_is_shown() -> None:
    """White words on it are read by anyone: WCAG 2 asks for a contrast of 4.5."""

    def linear(part: str) -> float:
        value = int(part, 16) / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    looks = re.findall(r"data-kind=(\w+)\]\{--wb-hue:#(\w{6});--wb-shape:([^}]+)\}", styles("kinds"))
    assert {kind for kind, _, _ in looks} == set(KIND_NAMES)
    assert len({hue for _, hue, _ in looks}) == len({shape for _, _, shape in looks}) == len(looks)
    for _, hue, _ in looks:
        red, green, blue = (linear(hue[at : at + 2]) for at in (0, 2, 4))
        assert 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 4.5
    for part in (Picker, Steps, AuditTable):
        assert all(f"--wb-hue:#{hue}" in part._css for _, hue, _ in looks)
    with whole_page():
        for kind in KIND_NAMES:
            assert f'data-kind="{kind}"' in replace(detect(MLP), kind=kind)._repr_html_()
