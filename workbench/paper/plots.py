"""Tables 3, 4 and 5 as SVG plots, beside the paper's figures; and any other plot as inline SVG (`picture`)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..words import escape, readable

NATIVE, ONNX, INK = "#0072b2", "#e69f00", "#333333"
"""Blue and orange of Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind readers tell apart, and which
differ in lightness, so on grey paper too. Marks of the one are round, of the other square."""

_LOOK: list[Any] = [
    "default",
    {
        "svg.fonttype": "none", "svg.hashsalt": "workbench",  # texts stay texts; the same plot gives the same file
        "axes.prop_cycle": f"cycler('color', ['{NATIVE}', '{ONNX}', '{INK}'])", "axes.spines.top": False,
        "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "x", "axes.axisbelow": True,
        "grid.color": "#dddddd", "axes.edgecolor": INK, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK,
        "ytick.color": INK, "lines.markeredgecolor": INK, "legend.frameon": False,
    },
]  # fmt: skip
"""The house style. Dark on white, whatever a notebook draws with."""

_PAPER = {"linestyle": "none", "marker": "D", "color": INK, "markerfacecolor": "white", "label": "paper (2021)"}


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
    figure, (axes, ratios) = canvas(9, 1.5 + 0.6 * len(rows), 2)
    today, paper = [y - 0.12 for y in range(len(rows))], [y + 0.22 for y in range(len(rows))]
    # Dots, not bars: a logarithmic axis has no zero to begin at.
    for name, colour, mark, of in (
        (native, NATIVE, "o", "native_seconds"),
        ("ONNX Runtime", ONNX, "s", "onnx_seconds"),
    ):
        axes.plot([getattr(row, of) for row in rows], today, mark, color=colour, markersize=8, label=name)
    axes.hlines(today, [row.onnx_seconds for row in rows], [row.native_seconds for row in rows], INK, zorder=1)
    axes.hlines(paper, [row.paper_onnx for row in rows], [row.paper_native for row in rows], INK, "dotted", zorder=1)
    for of, mark in (("paper_native", "o"), ("paper_onnx", "s")):
        style = _PAPER | {"marker": mark, "label": f"paper (2021): {native if mark == 'o' else 'ONNX Runtime'}"}
        axes.plot([getattr(row, of) for row in rows], paper, markersize=5, **style)
    for y, row in zip(today, rows, strict=True):
        slow = row.native_seconds >= row.onnx_seconds
        for value, right in ((row.native_seconds, slow), (row.onnx_seconds, not slow)):
            place: dict[str, Any] = {"xytext": (8 if right else -8, 0), "ha": "left" if right else "right"}
            axes.annotate(readable(value), (value, y), textcoords="offset points", va="center", **place)
    axes.set_xscale("log")
    axes.margins(x=0.3)  # for the figures beside the dots
    axes.set_yticks(range(len(rows)), [row.model for row in rows])
    axes.set_xlabel(label)

    sure = [[row.speedup - row.speedup_low for row in rows], [row.speedup_high - row.speedup for row in rows]]
    found = [row.speedup for row in rows]
    ratios.errorbar(found, today, xerr=sure, fmt="o", markersize=5, capsize=4, color=INK, label="today, 95 % interval")
    ratios.plot([row.paper_speedup for row in rows], paper, markersize=5, **_PAPER)
    for y, row in zip(today, rows, strict=True):
        text = f"{readable(row.speedup, 3)}×"
        ratios.annotate(text, (row.speedup, y), (0, 7), textcoords="offset points", ha="center")
    ratios.axvline(1, color=INK, linewidth=1, linestyle="--")
    ratios.annotate("equally fast", (1, 1), (4, 2), xycoords=("data", "axes fraction"), textcoords="offset points")
    ratios.set_xscale("log")
    ratios.margins(x=0.16)
    ratios.set_xlabel("times as fast in ONNX Runtime")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    # Below the plots: nowhere inside is sure to be free.
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    figure.legend(*ratios.get_legend_handles_labels(), loc="outside lower right")
    said = "; ".join(f"{row.model} {readable(row.speedup, 3)}" for row in rows)
    return _svg(figure, f"Plot: {label}. Times as fast in ONNX Runtime: {said}.")


def _accuracy(found: Measured) -> str:
    rows = found.table5
    figure, axes = canvas(7.5, 1.5 + 0.5 * len(rows))
    # Points, not bars: the axis does not begin at zero.
    style: dict[str, Any] = {"linestyle": "none", "clip_on": False}
    values = [100 * row.accuracy for row in rows]
    sure = [[100 * (row.accuracy - row.low) for row in rows], [100 * (row.high - row.accuracy) for row in rows]]
    axes.errorbar(
        values, range(len(rows)), xerr=sure, marker="o", capsize=4, color=INK, label="today, 95 % interval", **style
    )
    known = [(y, 100 * row.paper) for y, row in enumerate(rows) if row.paper is not None]
    axes.plot([value for _, value in known], [y + 0.22 for y, _ in known], **_PAPER)
    axes.set_yticks(range(len(rows)), [f"{row.where}\n{row.accuracy:.2%} of {row.digits:,}" for row in rows])
    axes.margins(y=0.2)
    axes.invert_yaxis()
    axes.set_xlim(min(90, *(100 * row.low - 2 for row in rows)), 100)
    what = "digits of MNIST read rightly" if all(row.unseen for row in rows) else "digits of its training read rightly"
    axes.set_xlabel(f"{what}, %")
    figure.legend(loc="outside lower center", ncols=2)
    said = "; ".join(f"{row.where} {row.accuracy:.2%} of {row.digits:,}" for row in rows)
    return _svg(figure, f"Plot: {what}. {said}.")


def canvas(width: float, height: float, panels: int = 1) -> tuple[Any, Any]:
    """A matplotlib ``Figure`` in the house style, inches wide and high, with its axes; several side by side share y.

    Not of pyplot, which would change what a person's notebook draws with. Label the axes with their units, write names
    beside what they name, and give it to `picture`.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(_LOOK):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(1, panels, sharey=True)


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
    """A matplotlib ``Figure``, as `canvas` gives, for a notebook.

    Args:
        says: what can be seen in it, in a sentence or two, for those who cannot see it.
    """
    from matplotlib import style

    with style.context(_LOOK):
        return Picture(_svg(figure, says), says)
