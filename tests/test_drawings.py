"""What notebooks draw with: a plot with words, spikes of both sides, and boxes in a row."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
from matplotlib.figure import Figure

from workbench.compare.answers import Spikes
from workbench.paper.plots import picture
from workbench.show.flow import chain


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


def test_boxes_in_a_row_say_all_of_it_in_words_too() -> None:
    drawn = ElementTree.fromstring(chain("From here to there.", [("a", "one"), ("<b>",), ("c",)], ["go", "back"]))
    assert drawn.get("aria-label") == "From here to there. a, one; then go: <b>; then back: c."
    words = [text.text for text in drawn.iter("text")]
    assert words == ["a", "one", "<b>", "go", "c", "back"]
