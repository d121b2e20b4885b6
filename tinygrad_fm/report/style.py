"""The look of every picture, in one place: colours, type, lines, and how a picture is saved."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from tinygrad_fm.errors import extra
from tinygrad_fm.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")

INK = "#111827"  # titles and numbers
MUTED = "#6b7280"  # labels and ticks
FAINT = "#e5e7eb"  # grid and quiet bars
RIGHT = "#15803d"
WRONG = "#dc2626"

# Told apart by lightness as well as hue, so that they survive colour blindness and printing.
SERIES = ("#2563eb", "#ea580c", "#0f766e", "#a21caf", "#ca8a04", "#475569", "#e11d48", "#0ea5e9")

# 100 pixels to the inch in a README that shows the picture 900 pixels wide; twice that when saved
# keeps it sharp on dense screens.
WIDTH = 9.0
DPI = 200

AIR = {"w_pad": 0.12, "h_pad": 0.12, "wspace": 0.03, "hspace": 0.03}  # inches and shares

STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a class's name may have a $
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#9ca3af",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.title_fontsize": 9.5,
    "figure.facecolor": "white",
}


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Matplotlib's settings are ours inside a function that draws, and the caller's after it.

    Raises:
        MissingPackageError: when it is called, if Matplotlib is not installed.
    """

    @wraps(draw)
    def drawn(*args: Arguments.args, **options: Arguments.kwargs) -> Figure:
        with extra("report"):
            from matplotlib import rc_context
        with rc_context(STYLE):
            return draw(*args, **options)

    return drawn


def percent(share: float, _: float) -> str:
    """A number on an axis, as matplotlib wants it told: 0.925 → "92.5%"."""
    return f"{100 * share:.4g}%"


def epoch_ticks(last: int) -> list[int]:
    """Epochs to name on an axis: the first, which is no 0, and round numbers up to the last."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]).tick_values(1, last)
    return sorted({1, *(int(tick) for tick in ticks if 1 <= tick <= last)})


def new_figure(height: float, **layout: Any) -> Figure:
    """An empty figure of the common width and the given height in inches, with air around it.

    `layout` overrides the spacing, see matplotlib's ConstrainedLayoutEngine.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(**(AIR | layout))
    return Figure(figsize=(WIDTH, height), layout=engine)


def save(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Write the figure, in the format that the path's ending names, if there is a path."""
    if path is not None:
        file = io.BytesIO()
        figure.savefig(file, dpi=DPI, format=Path(path).suffix[1:] or "png")
        write_atomically(path, file.getvalue())
    return figure
