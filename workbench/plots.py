"""Tables 3, 4 and 5 as SVG plots, beside the paper's figures."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tables import SpeedRow, Tables

_NATIVE, _ONNX, _PAPER = "#1f77b4", "#d95f02", "#333333"
"""Blue and orange, which differ in lightness too."""


def of(found: Tables) -> dict[str, str]:
    """{"table3": SVG text, …} of the tables that were run."""
    from matplotlib import style

    plots = {}
    # Dark on white, whatever a notebook draws with: these are for paper. Texts stay texts, and the same table gives the
    # same file.
    with style.context(["default", {"svg.fonttype": "none", "svg.hashsalt": "workbench"}]):
        if found.table3:
            plots["table3"] = _speed(found.table3, "seconds for the whole data set 1000 times", "scikit-learn")
        if found.table4:
            plots["table4"] = _speed(found.table4, "seconds for 10 inferences", "Keras")
        if found.table5:
            plots["table5"] = _accuracy(found)
    return plots


def _speed(rows: tuple[SpeedRow, ...], label: str, native: str) -> str:
    figure, axes = _axes(len(rows))
    places = range(len(rows))
    height = 0.38
    axes.barh(
        [y - height / 2 for y in places], [row.native_seconds for row in rows], height, color=_NATIVE, label=native
    )
    axes.barh(
        [y + height / 2 for y in places], [row.onnx_seconds for row in rows], height, color=_ONNX, label="ONNX Runtime"
    )
    style = {"linestyle": "none", "marker": "D", "markersize": 5, "markerfacecolor": "white", "color": _PAPER}
    axes.plot([row.paper_native for row in rows], [y - height / 2 for y in places], label="paper (2021)", **style)
    axes.plot([row.paper_onnx for row in rows], [y + height / 2 for y in places], **style)
    for y, row in zip(places, rows, strict=True):
        most = max(row.native_seconds, row.onnx_seconds, row.paper_native, row.paper_onnx)
        axes.text(most * 1.25, y, f"{row.speedup:.3g}×", va="center", color=_PAPER)
    axes.set_xscale("log")
    axes.set_yticks(list(places), [row.model for row in rows])
    axes.margins(x=0.16)
    axes.set_xlabel(f"{label}\n(at the right: how many times as fast ONNX is today)")
    # Below the plot: nowhere inside is sure to be free.
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return _svg(figure)


def _accuracy(found: Tables) -> str:
    rows = found.table5
    figure, axes = _axes(len(rows))
    # Points, not bars: the axis does not begin at zero.
    style: dict[str, Any] = {"linestyle": "none", "clip_on": False}
    axes.plot([100 * row.accuracy for row in rows], range(len(rows)), marker="o", color=_NATIVE, label="today", **style)
    known = [(y, 100 * row.paper) for y, row in enumerate(rows) if row.paper is not None]
    axes.plot(
        [value for _, value in known], [y for y, _ in known], marker="D", color=_PAPER, markerfacecolor="white",
        label="paper (2021)", **style,
    )  # fmt: skip
    axes.set_yticks(range(len(rows)), [f"{row.where}\n{row.accuracy:.2%} of {row.digits:,}" for row in rows])
    axes.margins(y=0.2)
    axes.grid(axis="x", color="#dddddd")
    axes.set_xlim(min(90, *(100 * row.accuracy - 2 for row in rows)), 100)
    axes.set_xlabel("digits of MNIST read rightly, %")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return _svg(figure)


def _axes(rows: int) -> tuple[Any, Any]:
    # Not pyplot, which would change what a person's notebook draws with.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.3 + 0.5 * rows), layout="constrained")
    axes = figure.subplots()
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
