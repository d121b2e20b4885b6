"""Loss and accuracy over the epochs, of one model or of several to be compared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_fm.report.style import MUTED, SERIES, epoch_ticks, new_figure, percent, save, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from tinygrad_fm.train import History

DASHES = (0, (2.5, 1.8))
DOT: dict[str, Any] = {
    "marker": "o",
    "markersize": 8,
    "markeredgecolor": "white",
    "markeredgewidth": 1.5,
}


@styled
def plot_history(
    histories: History | Mapping[str, History],
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw loss (left) and accuracy (right): training dashed, validation solid.

    A dot marks the best validation accuracy, and the legend tells it.

    Args:
        histories: the history of one training, or several by name.
        path: where to save the picture; None draws only.

    Raises:
        ValueError: there is nothing to draw, or more models than colours.
    """
    named = histories if isinstance(histories, Mapping) else {"": histories}
    if not named or not all(len(history) for history in named.values()):
        raise ValueError("nothing to draw: give one history or more, each with at least one epoch")
    if len(named) > len(SERIES):
        raise ValueError(f"at most {len(SERIES)} models fit one picture, got {len(named)}")

    figure = new_figure(height=4.0)
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for history, colour in zip(named.values(), SERIES, strict=False):
            _draw_lines(axes, history, quantity, colour)
            if quantity == "accuracy":
                _mark_best(axes, history, colour)
        axes.set_title(quantity.capitalize())
        axes.set_xlabel("epoch")
        axes.set_xticks(epoch_ticks(max(map(len, named.values()))))
        axes.grid(axis="y")
    loss, accuracy = figure.axes
    loss.set_ylim(bottom=0)
    accuracy.yaxis.set_major_formatter(percent)
    # Curves that fall leave room above, curves that rise leave room below.
    loss.legend(handles=_line_styles(named), loc="upper right")
    accuracy.legend(handles=_models(named), loc="lower right", handletextpad=0.2)
    return save(figure, path)


def _draw_lines(axes: Axes, history: History, quantity: str, colour: str) -> None:
    """The training and the validation line of one model; a single epoch becomes a point."""
    marker = "o" if len(history) == 1 else ""
    epochs = history["epoch"]
    training, validation = history[f"train_{quantity}"], history[f"val_{quantity}"]
    axes.plot(epochs, training, color=colour, linestyle=DASHES, linewidth=1.4, marker=marker)
    axes.plot(epochs, validation, color=colour, marker=marker)


def _mark_best(axes: Axes, history: History, colour: str) -> None:
    """A dot at the epoch with the highest validation accuracy."""
    if _validated(history):
        accuracy = history["val_accuracy"]
        best = np.nanargmax(accuracy)
        axes.plot(history["epoch"][best], accuracy[best], color=colour, zorder=3, **DOT)


def _validated(history: History) -> bool:
    return bool(np.isfinite(history["val_accuracy"]).any())


def _line_styles(named: Mapping[str, History]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=MUTED, linestyle=DASHES, linewidth=1.4, label="training")]
    if any(map(_validated, named.values())):
        lines.append(Line2D([], [], color=MUTED, label="validation"))
    return lines


def _models(named: Mapping[str, History]) -> list[Line2D]:
    """A dot for each model, with its name and its best validation accuracy, if it has them."""
    from matplotlib.lines import Line2D

    dots = []
    for (name, history), colour in zip(named.items(), SERIES, strict=False):
        best = f"best {np.nanmax(history['val_accuracy']):.1%}" if _validated(history) else ""
        label = ", ".join(filter(None, (name, best)))
        if label:
            dots.append(Line2D([], [], color=colour, linestyle="", label=label, **DOT))
    return dots
