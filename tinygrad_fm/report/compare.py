"""Two models or more, in one table and one picture."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_fm.report.style import INK, SERIES, epoch_ticks, new_figure, percent, save, styled
from tinygrad_fm.report.table import format_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tinygrad_fm.train import History

Metrics = Mapping[str, Any]  # of one model, as in the metrics.json of a run

COLUMNS = {
    "parameters": "parameters",
    "epochs": "epochs",
    "train_accuracy": "train",
    "validation_accuracy": "validation",
    "test_accuracy": "test",
    "seconds": "seconds",
}
LINE = 24  # characters of a model's name beside its dot
RING: dict[str, Any] = {"marker": "o", "markersize": 7, "markerfacecolor": "white"}
FORMATS = {**dict.fromkeys(("train", "validation", "test"), ".1%"), "seconds": ".1f"}


def format_comparison(metrics: Mapping[str, Metrics]) -> str:
    """A table with one row a model.

    Args:
        metrics: by model name; those of COLUMNS that are there are shown.
    """
    rows = [
        {"model": name, **{COLUMNS[key]: values[key] for key in COLUMNS if key in values}}
        for name, values in metrics.items()
    ]
    return format_table(rows, FORMATS)


@styled
def plot_comparison(
    histories: Mapping[str, History],
    metrics: Mapping[str, Metrics],
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw validation accuracy over the epochs (left) and what came out at the end (right).

    Dots rather than bars on the right: bars must start at zero, where 91 % and 93 % look alike.

    Args:
        histories: by model name, each of a training with validation.
        metrics: for the same names "test_accuracy", and "validation_accuracy" if it is known.
        path: where to save the picture; None draws only.

    Raises:
        ValueError: the names differ, there are none, or more than colours; or there is no
            validation accuracy to draw.
    """
    if list(histories) != list(metrics) or not 1 <= len(histories) <= len(SERIES):
        raise ValueError(
            f"wanted histories and metrics of the same 1 to {len(SERIES)} models, got "
            f"{list(histories)} and {list(metrics)}"
        )
    for name, history in histories.items():
        if not np.isfinite(history["val_accuracy"]).any():
            raise ValueError(f"{name} has no validation accuracy: train it with a validation set")
    colours = dict(zip(histories, SERIES, strict=False))
    figure = new_figure(height=max(3.4, 1.4 + 0.36 * len(colours)))
    curves, dots = figure.subplots(1, 2, width_ratios=[1.25, 1])
    _draw_curves(curves, histories, colours)
    _draw_dots(dots, metrics, colours)
    return save(figure, path)


def _draw_curves(axes: Axes, histories: Mapping[str, History], colours: dict[str, str]) -> None:
    for name, history in histories.items():
        marker = "o" if len(history) == 1 else ""
        axes.plot(history["epoch"], history["val_accuracy"], color=colours[name], marker=marker)
    bottom, top = _plateaus([history["val_accuracy"] for history in histories.values()])
    axes.set(title="Validation accuracy", xlabel="epoch", ylim=(bottom, top))
    axes.set_xticks(epoch_ticks(max(map(len, histories.values()))))
    axes.yaxis.set_major_formatter(percent)
    axes.grid(axis="y")


def _plateaus(curves: list[np.ndarray]) -> tuple[float, float]:
    """Limits that show where the curves spend their time, not how far down they start."""
    top = max(np.nanmax(curve) for curve in curves)
    lowest = min(np.nanmin(curve) for curve in curves)
    usual = min(np.nanmedian(curve) for curve in curves)
    span = max(top - usual, 0.005)
    return max(lowest, usual - 1.5 * span) - 0.1 * span, top + 0.15 * span


def _draw_dots(axes: Axes, metrics: Mapping[str, Metrics], colours: dict[str, str]) -> None:
    """One row a model: its test accuracy as a dot with the number, its validation as a ring."""
    from matplotlib.ticker import MaxNLocator

    for row, (name, values) in enumerate(metrics.items()):
        test, validation = values["test_accuracy"], values.get("validation_accuracy")
        if validation is not None:
            axes.plot([validation, test], [row, row], color=colours[name], linewidth=1, alpha=0.5)
            axes.plot(validation, row, color=colours[name], **RING)
        axes.plot(test, row, "o", markersize=9, color=colours[name])
        number: dict[str, Any] = {
            "color": INK,
            "weight": "bold",
            "bbox": {"color": "white", "pad": 0.5},
        }
        axes.annotate(f"{test:.1%}", (test, row), (-15, 9), textcoords="offset points", **number)
    names = [_short(name) for name in metrics]
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.set_ylim(len(metrics) - 0.5, -0.75)
    axes.xaxis.set_major_formatter(percent)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.margins(x=0.12)
    axes.grid(axis="x")
    axes.set_title("Test accuracy")
    if any("validation_accuracy" in values for values in metrics.values()):
        axes.set_xlabel("●  test      ○  best validation")


def _short(name: str) -> str:
    """The name on two lines at most; of a longer one its beginning and its end."""
    lines = textwrap.wrap(name, LINE)
    return "\n".join(lines if len(lines) < 3 else [lines[0], f"…{name[1 - LINE :]}"])
