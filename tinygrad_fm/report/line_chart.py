"""Lines over epochs as SVG, whose colours are the page's: it is readable by day and by night."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

from tinygrad_fm.errors import extra
from tinygrad_fm.report.style import epoch_ticks

WIDTH, HEIGHT = 440, 260
LEFT, RIGHT, TOP, BOTTOM = 48, 430, 14, 226  # where the axes are


def line_chart(
    series: Mapping[str, np.ndarray], title: str, percent: bool = False, best: int | None = None
) -> str:
    """Draw one value an epoch, for each name in `series`, as an `<svg>` element.

    The page styles the classes line-0, line-1, …, grid, tick and dot.

    Args:
        series: values (epochs,) by name, from epoch 1; what is not finite is left out.
        title: for readers who do not see it.
        percent: values are shares of 1.
        best: an epoch to mark, on the last line.

    Raises:
        ValueError: there is no finite value.
        MissingPackageError: Matplotlib, which chooses the ticks, is not installed.
    """
    with extra("report"):
        from matplotlib.ticker import MaxNLocator
    values = np.concatenate(list(series.values()))
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("nothing to draw: wanted at least one finite value")
    epochs = max(map(len, series.values()))
    ticks = MaxNLocator(5).tick_values(float(finite.min()), float(finite.max()))
    low, high = float(ticks[0]), float(ticks[-1])

    def x(epoch: float) -> float:
        return LEFT + (RIGHT - LEFT) * (epoch - 1) / max(epochs - 1, 1)

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - low) / ((high - low) or 1)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in ticks:
        label = f"{tick:.4%}".rstrip("0%").rstrip(".") + "%" if percent else f"{tick:.4g}"
        if percent and tick == 0:
            label = "0%"
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{RIGHT}"/>')
        parts.append(_text(LEFT - 8, y(tick) + 4, label, "end"))
    parts += [_text(x(n), BOTTOM + 20, str(n), "middle") for n in epoch_ticks(epochs)]
    parts.append(_text(RIGHT, HEIGHT - 2, "epoch", "end"))
    for i, (name, line) in enumerate(series.items()):
        points = [(x(n), y(v)) for n, v in enumerate(line, start=1) if np.isfinite(v)]
        parts.append(_line(points, name, i))
    if best is not None and np.isfinite(line[best - 1]):
        value = line[best - 1]
        shown = f"{value:.2%}" if percent else f"{value:.4g}"
        parts.append(
            f'<circle class="dot line-{len(series) - 1}" cx="{x(best):.1f}" cy="{y(value):.1f}" '
            f'r="5"><title>epoch {best}: {shown}</title></circle>'
        )
    return "".join([*parts, "</svg>"])


def _line(points: list[tuple[float, float]], name: str, i: int) -> str:
    """A line with its name as a tooltip; a single epoch becomes a dot."""
    if len(points) == 1:
        (x, y) = points[0]
        shape = f'<circle class="dot line-{i}" cx="{x:.1f}" cy="{y:.1f}" r="4">'
        return f"{shape}<title>{escape(name)}</title></circle>"
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<polyline class="line line-{i}" points="{path}"><title>{escape(name)}</title></polyline>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )
