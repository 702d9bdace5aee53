"""What notebooks draw with: a plot with words, spikes of both sides, and a flow chart."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
from matplotlib import rcParams
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from workbench.compare.answers import Spikes
from workbench.paper.plots import INK, NATIVE, ONNX, canvas, picture
from workbench.show.flow import chart


def test_a_plot_is_inline_svg_with_words_that_stand_for_it() -> None:
    figure = Figure()
    figure.subplots().plot([1, 2])
    shown = picture(figure, 'A line <rises> from 1 to "2".')
    drawn = ElementTree.fromstring(shown._repr_html_())[0]
    assert drawn.get("role") == "img"
    assert drawn.get("aria-label") == 'A line <rises> from 1 to "2".'
    assert repr(shown) == shown.says


def test_spikes_of_both_sides_show_themselves_with_their_counts() -> None:
    native = np.zeros((1, 5, 3), bool)
    native[0, 2, 1] = True
    shown = Spikes("lif", 0.001, native=native, onnx=np.zeros_like(native))._repr_html_()
    assert "1 spikes natively, 0 in ONNX, 1 of them on one side only" in shown
    assert shown.count('class="wb-lonely"') == 1


def test_a_flow_chart_says_all_of_it_in_words_too_and_its_arrows_end_at_boxes() -> None:
    boxes = {(1, 0): ("a", "one"), (1, 1): ("<b>",), (2, 1): ("c",), (0, 2): ("d",)}
    ways = {((1, 0), (1, 1)): "go", ((1, 1), (2, 1)): "", ((1, 1), (0, 2)): "by hand"}
    drawn = ElementTree.fromstring(chart("From here to there.", boxes, ways, aside={(0, 2)}))
    assert drawn.get("aria-label") == "From here to there. a, one → go: <b>; <b> → c; <b> → by hand: d."
    assert [text.text for text in drawn.iter("text")] == ["a", "one", "<b>", "c", "d", "go", "by hand"]
    assert len([shape for shape in drawn.iter() if shape.get("stroke-dasharray")]) == 2  # d, and the way to it
    corners = [tuple(float(box.get(name) or 0) for name in ("x", "y", "width", "height")) for box in drawn.iter("rect")]
    for line in drawn.iter("polyline"):
        ends = [tuple(map(float, point.split(","))) for point in str(line.get("points")).split()]
        for at_x, at_y in (ends[0], ends[-1]):
            assert any(x <= at_x <= x + wide and y <= at_y <= y + high for x, y, wide, high in corners)


def test_the_house_style_is_told_apart_on_grey_paper_and_leaves_a_persons_own_plots_alone() -> None:
    def lightness(colour: str) -> float:
        """L* of CIE 1976, 0 to 100: what a copy on grey paper keeps, and every colour-blind reader sees."""
        red, green, blue = (((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour))
        return 116 * (0.2126 * red + 0.7152 * green + 0.0722 * blue) ** (1 / 3) - 16

    before = dict(rcParams)
    figure, (first, second) = canvas(6, 3, 2)
    drawn = [axes.plot([1, 2])[0].get_color() for axes in (first, second) for _ in range(2)]
    assert drawn == [NATIVE, ONNX] * 2 and dict(rcParams) == before
    steps = sorted(map(lightness, (INK, NATIVE, ONNX, "#ffffff")))
    assert min(high - low for low, high in pairwise(steps)) > 20
    assert "<text" in picture(figure, "Lines.").svg
