"""Curves as SVG to stand inline in the page: they take its text colour, so they read on light and dark."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

#: Stands for the page's text colour until the SVG is written.
INK = "#010203"
#: Mid-tones, with enough contrast on white and on near-black, told apart without hue by their line style.
COLOURS = ("#3b82d6", "#d9772b", "#2f9e68", "#b4579f")
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}
SIZE = (5.6, 3.4)


def threshold_figure(curves: pd.DataFrame, tau: float) -> str | None:
    """GT-known localization against threshold, ``threshold_curve.csv``; None where no image had boxes."""
    columns = [column for column in curves.columns if column.startswith(("val_", "test_"))]
    if not columns:
        return None
    criteria = sorted({column.rpartition("iou")[2] for column in columns}, key=int)

    def draw(axes: Axes) -> None:
        for column in columns:
            split, criterion = column.partition("_")[0], column.rpartition("iou")[2]
            axes.plot(
                curves["threshold"],
                curves[column],
                color=COLOURS[criteria.index(criterion) % len(COLOURS)],
                linestyle="-" if split == "test" else "--",
                linewidth=1.8 if split == "test" else 1.2,
                label=f"{split}, IoU {int(criterion) / 100:g}",
            )
        axes.axvline(tau, color=INK, linewidth=1, linestyle=":", label=f"τ = {tau:.3g}")
        axes.set(xlabel="threshold τ", ylabel="GT-known localization in %", xlim=(0, 1), ylim=(0, 102))
        axes.figure.legend(loc="outside lower center", ncols=len(criteria) + 1, frameon=False, fontsize=9)

    return _svg("threshold", draw)


def training_figure(history: pd.DataFrame, curves: Mapping[str, str], label: str, scale: str = "linear") -> str:
    """Columns of ``history.csv`` against epoch.

    Args:
        curves: column → name in the legend.
        label: of the vertical axis.
        scale: of the vertical axis, as Matplotlib names it.
    """

    def draw(axes: Axes) -> None:
        for i, (column, name) in enumerate(curves.items()):
            line = ("o-", "o--")[i % 2]
            axes.plot(history["epoch"], history[column], line, color=COLOURS[i], markersize=3, label=name)
        axes.set(xlabel="epoch", ylabel=label, yscale=scale)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=9)

    return _svg(label, draw)


def _svg(name: str, draw: Callable[[Axes], None]) -> str:
    """The SVG element alone; equal input gives equal bytes. ``name`` keeps ids apart within a page."""
    settings: Any = STYLE | {"svg.hashsalt": name}
    with mpl.rc_context(settings):
        figure = Figure(figsize=SIZE, layout="constrained")
        draw(figure.subplots())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")
