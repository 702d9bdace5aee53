"""Tables 3, 4 and 5 as SVG plots, beside the paper's figures; and any other plot as inline SVG (`picture`)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..words import escape, readable

_NATIVE, _ONNX, _PAPER = "#1f77b4", "#d95f02", "#333333"
"""Blue and orange, which differ in lightness too."""

_LOOK: list[Any] = ["default", {"svg.fonttype": "none", "svg.hashsalt": "workbench"}]
"""Dark on white, whatever a notebook draws with. Texts stay texts, and the same plot gives the same file."""


class Measured(Protocol):
    """The rows of `workbench.paper.tables.Tables`, which draws itself with these plots."""

    @property
    def table3(self) -> Sequence[Any]: ...
    @property
    def table4(self) -> Sequence[Any]: ...
    @property
    def table5(self) -> Sequence[Any]: ...


def of(found: Measured) -> dict[str, str]:
    """{"table3": SVG text, …} of the tables that were run."""
    from matplotlib import style

    plots = {}
    with style.context(_LOOK):
        if found.table3:
            plots["table3"] = _speed(found.table3, "seconds for the whole data set 1000 times", "scikit-learn")
        if found.table4:
            plots["table4"] = _speed(found.table4, "seconds for 10 inferences", "Keras")
        if found.table5:
            plots["table5"] = _accuracy(found)
    return plots


def _speed(rows: Sequence[Any], label: str, native: str) -> str:
    figure, (axes, ratios) = _axes(len(rows), 2)
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
    axes.set_xscale("log")
    axes.set_yticks(list(places), [row.model for row in rows])
    axes.set_xlabel(label)

    sure = [[row.speedup - row.speedup_low for row in rows], [row.speedup_high - row.speedup for row in rows]]
    ratios.errorbar(
        [row.speedup for row in rows], places, xerr=sure, fmt="o", markersize=5, capsize=4, color=_PAPER,
        label="ratio today, 95 % interval",
    )  # fmt: skip
    ratios.plot([row.paper_speedup for row in rows], places, **style)
    for y, row in zip(places, rows, strict=True):
        text = f"{readable(row.speedup, 3)}×"
        ratios.annotate(text, (row.speedup, y), (0, 7), textcoords="offset points", ha="center", color=_PAPER)
    ratios.axvline(1, color=_PAPER, linewidth=1, linestyle="--", label="as fast as each other")
    ratios.set_xscale("log")
    ratios.margins(x=0.16)
    ratios.set_xlabel("times as fast in ONNX Runtime")
    # Below the plot: nowhere inside is sure to be free.
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    said = "; ".join(f"{row.model} {readable(row.speedup, 3)}" for row in rows)
    return _svg(figure, f"Plot: {label}. Times as fast in ONNX Runtime: {said}.")


def _accuracy(found: Measured) -> str:
    rows = found.table5
    figure, axes = _axes(len(rows))
    # Points, not bars: the axis does not begin at zero.
    style: dict[str, Any] = {"linestyle": "none", "clip_on": False}
    values = [100 * row.accuracy for row in rows]
    sure = [[100 * (row.accuracy - row.low) for row in rows], [100 * (row.high - row.accuracy) for row in rows]]
    axes.errorbar(
        values, range(len(rows)), xerr=sure, marker="o", capsize=4, color=_NATIVE, label="today, 95 % interval", **style
    )
    known = [(y, 100 * row.paper) for y, row in enumerate(rows) if row.paper is not None]
    axes.plot(
        [value for _, value in known], [y for y, _ in known], marker="D", color=_PAPER, markerfacecolor="white",
        label="paper (2021)", **style,
    )  # fmt: skip
    axes.set_yticks(range(len(rows)), [f"{row.where}\n{row.accuracy:.2%} of {row.digits:,}" for row in rows])
    axes.margins(y=0.2)
    axes.grid(axis="x", color="#dddddd")
    axes.set_xlim(min(90, *(100 * row.low - 2 for row in rows)), 100)
    what = "digits of MNIST read rightly" if all(row.unseen for row in rows) else "digits of its training read rightly"
    axes.set_xlabel(f"{what}, %")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    said = "; ".join(f"{row.where} {row.accuracy:.2%} of {row.digits:,}" for row in rows)
    return _svg(figure, f"Plot: {what}. {said}.")


def _axes(rows: int, panels: int = 1) -> tuple[Any, Any]:
    # Not pyplot, which would change what a person's notebook draws with.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 + 1.5 * panels, 1.5 + 0.5 * rows), layout="constrained")
    axes = figure.subplots(1, panels, sharey=True)
    for one in [axes] if panels == 1 else axes:
        one.spines[["top", "right"]].set_visible(False)
    (axes if panels == 1 else axes[0]).invert_yaxis()
    return figure, axes


def _svg(figure: Any, name: str) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    # For who cannot see it: the table beside it says the same.
    return text.getvalue().replace("<svg ", f'<svg role="img" aria-label="{escape(name)}" ', 1)


@dataclass(frozen=True)
class Picture:
    """A plot as inline SVG with the words that stand for it; shows itself in a notebook."""

    svg: str
    says: str

    def __repr__(self) -> str:
        return self.says

    def _repr_html_(self) -> str:
        drawn = self.svg[self.svg.index("<svg") :]
        return f'<div style="max-width:46rem;overflow-x:auto">{drawn}</div>'


def picture(figure: Any, says: str) -> Picture:
    """A matplotlib ``Figure`` of your own, for a notebook.

    Args:
        says: what can be seen in it, in a sentence or two, for those who cannot see it.
    """
    from matplotlib import style

    with style.context(_LOOK):
        return Picture(_svg(figure, says), says)
