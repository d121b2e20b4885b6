"""The ratios as a bar chart: shorter is faster, and the line at 1 is PyTorch."""

from __future__ import annotations

import os
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.summary import TITLES, Line
from tinygrad_fm.report.style import INK, MUTED, SERIES, new_figure, save, styled

BETTER, WORSE = SERIES[0], SERIES[1]
ROW, GAP = 1.0, 1.1  # heights of a bar's row, and of a section's title
INCHES = 0.24  # of a row
XLABEL = (
    "our time (or memory) ÷ PyTorch's in its better layout, with the 95 % interval\n"
    "the line at 1 is PyTorch; a short tick marks a goal below that"
)
WIDEST = 2.0  # ratios beyond this are cut off; their numbers are written beside them


@styled
def plot_ratios(lines: Sequence[Line], path: str | os.PathLike[str] | None = None) -> Figure:
    """One bar for each comparison, its 95 % interval, and a tick at its goal.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not lines:
        raise ValueError("nothing to draw: the results hold no comparison")
    sections = [section for section in TITLES if any(line.section == section for line in lines)]
    height = len(lines) * ROW + len(sections) * GAP
    figure = new_figure(height * INCHES + 1.3)
    axes = figure.subplots()
    several = len({line.threads for line in lines}) > 1
    y = 0.0
    for section in sections:
        y += GAP
        axes.text(0, y - 0.62, TITLES[section], weight="bold", va="center", color=INK)
        for line in (line for line in lines if line.section == section):
            _draw(axes, line, y, several)
            y += ROW
    right = min(WIDEST, max(1.1, *(line.high for line in lines)))
    axes.axvline(1, color=INK, linewidth=1.2)
    axes.set_xlim(0, right * 1.12)
    axes.set_ylim(y - 0.3, 0)
    axes.set_yticks([])
    axes.set_xlabel(XLABEL)
    axes.grid(axis="x")
    axes.set_title("tinygrad_fm against PyTorch on the same CPU: shorter is better")
    return save(figure, path)


def _draw(axes: Axes, line: Line, y: float, several: bool) -> None:
    colour = BETTER if round(line.ratio, 2) <= 1 else WORSE
    axes.barh(y, min(line.ratio, WIDEST), height=0.66, color=colour, zorder=2)
    ends = [min(line.low, WIDEST), min(line.high, WIDEST)]
    axes.plot(ends, [y, y], color=INK, linewidth=1.2, zorder=4)
    if line.goal != 1:
        axes.plot([line.goal] * 2, [y - 0.42, y + 0.42], color=INK, linewidth=1.2, zorder=3)
    label = f"{line.label}, threads {line.threads}" if several else line.label
    axes.text(-0.012, y, label, ha="right", va="center", color=MUTED, clip_on=False)
    end = min(max(line.high, line.ratio), WIDEST)  # where bar and interval end
    box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
    number = f"{line.ratio:.2f}"
    axes.text(end + 0.015, y, number, va="center", fontsize=8.5, bbox=box, zorder=5)
