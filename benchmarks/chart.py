"""The ratios as a picture: left of the line at 1 we are faster than PyTorch, right of it slower."""

from __future__ import annotations

import os
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from benchmarks.summary import TITLES, Line
from tinygrad_fm.report.style import FAINT, INK, MUTED, SERIES, new_figure, save, styled

# The smaller batch, the larger one: by shape as well as by colour.
SHAPES = (("o", SERIES[0]), ("D", SERIES[1]), ("s", SERIES[2]), ("^", SERIES[3]))
FASTER = "#eff6ff"  # the ground left of 1
LOW, HIGH = 0.25, 4.0  # what lies beyond is drawn at the edge, with an arrow
TICKS = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4)
CAPTION = (
    "On the shaded side we are ahead. PyTorch in the better of its two layouts. Marks are medians, "
    "lines their 95 % intervals;\nan arrow leads beyond the scale, which is logarithmic. "
    "A goal that is not marked is the line at 1."
)
INCHES, TITLE = 0.27, 0.75  # heights of a row, and of a section's title with its keys
SPREAD = 0.17  # from a row's middle to the first and last of its marks


@styled
def plot_ratios(lines: Sequence[Line], path: str | os.PathLike[str] | None = None) -> Figure:
    """One row for each network, a mark for each batch size with its 95 % interval, and the goals.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not lines:
        raise ValueError("nothing to draw: the results hold no comparison")
    sections = [[line for line in lines if line.section == section] for section in TITLES]
    columns = in_columns([section for section in sections if section])
    inches = max(sum(map(height, column)) for column in columns)
    figure = new_figure(inches + 1.1)
    theirs = "theirs" if any(line.peer for line in lines) else "PyTorch's"
    heading = f"Our time ÷ {theirs}, on the same CPU"
    figure.suptitle(heading, x=0.012, ha="left", weight="bold", fontsize=12)
    figure.supxlabel(CAPTION, x=0.012, ha="left", fontsize=8.5, color=MUTED)
    for area, column in zip(
        figure.subfigures(1, len(columns), squeeze=False)[0], columns, strict=True
    ):
        spare = inches - sum(map(height, column))
        ratios = [*map(height, column), *([spare] if spare > 0.1 else [])]
        axes = area.subplots(len(ratios), squeeze=False, height_ratios=ratios)[:, 0]
        for panel, section in zip(axes[: len(column)], column, strict=True):
            draw(panel, section)
        for empty in axes[len(column) :]:
            empty.axis("off")
    return save(figure, path)


def rows(section: Sequence[Line]) -> list[str]:
    """The names of a section's rows, from the top."""
    several = len({line.threads for line in section}) > 1
    return list(dict.fromkeys(row_of(line, several) for line in section))


def row_of(line: Line, several: bool) -> str:
    return " · ".join(
        filter(None, (line.name, line.peer, f"{line.threads} threads" if several else ""))
    )


def height(section: Sequence[Line]) -> float:
    return len(rows(section)) * INCHES + TITLE


def in_columns(sections: list[list[Line]]) -> list[list[list[Line]]]:
    """One column, or two of about the same height: sections stay whole and in order."""
    if len(sections) == 1:
        return [sections]
    whole = sum(map(height, sections))
    cut = min(
        range(1, len(sections)),
        key=lambda i: abs(whole - 2 * sum(map(height, sections[:i]))),
    )
    return [sections[:cut], sections[cut:]]


def draw(axes: Axes, section: Sequence[Line]) -> None:
    names = rows(section)
    several = len({line.threads for line in section}) > 1
    batches = list(dict.fromkeys(line.batch for line in section))
    axes.axvspan(LOW, 1, color=FASTER, linewidth=0, zorder=0)
    axes.axvline(1, color=INK, linewidth=1.1, zorder=2)
    for line in section:
        y, number = names.index(row_of(line, several)), batches.index(line.batch)
        offset = 2 * SPREAD * number / (len(batches) - 1) - SPREAD if len(batches) > 1 else 0.0
        mark(axes, line, y + offset, number)
        if line.goal != 1:
            axes.plot([line.goal] * 2, [y - 0.38, y + 0.38], color=MUTED, linewidth=1.6, zorder=3)
    axes.set_xscale("log")
    axes.set_xlim(LOW, HIGH)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS], fontsize=8.5)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x")
    axes.spines["bottom"].set_color(FAINT)
    axes.set_title(TITLES[section[0].section], fontsize=10, pad=22)
    keys = [key(number, batch) for number, batch in enumerate(batches) if batch is not None]
    if any(line.goal != 1 for line in section):
        keys.append(
            Line2D([], [], color=MUTED, marker="|", markersize=9, mew=1.6, ls="", label="goal")
        )
    if keys:
        axes.legend(handles=keys, ncols=len(keys), loc="lower left", bbox_to_anchor=(-0.02, 0.98),
                    fontsize=8.5, labelcolor=MUTED, handletextpad=0.1, columnspacing=1.0,
                    borderpad=0.2)  # fmt: skip


def key(number: int, batch: int) -> Line2D:
    shape, colour = SHAPES[number % len(SHAPES)]
    label = "1 image" if batch == 1 else f"batch {batch}"
    return Line2D([], [], color=colour, marker=shape, markersize=5.5, linestyle="", label=label)


def mark(axes: Axes, line: Line, y: float, number: int) -> None:
    """The ratio and its interval; an arrow at the edge where one of them lies beyond."""
    shape, colour = SHAPES[number % len(SHAPES)]
    low, high = (min(max(end, LOW), HIGH) for end in (line.low, line.high))
    axes.plot([low, high], [y, y], color=colour, linewidth=1.8, alpha=0.55, zorder=4)
    for edge, arrow, beyond in ((LOW, "<", line.low < LOW), (HIGH, ">", line.high > HIGH)):
        if beyond:
            axes.plot(edge, y, arrow, color=colour, markersize=6, clip_on=False, zorder=6)
            if not LOW <= line.ratio <= HIGH:
                side = "left" if edge == LOW else "right"
                axes.text(edge, y, f"  {line.ratio:.2g}  ", ha=side, va="center", fontsize=7.5)
    if LOW <= line.ratio <= HIGH:
        axes.plot(
            line.ratio, y, shape, color=colour, markersize=5.5, mec="white", mew=0.7, zorder=5
        )
