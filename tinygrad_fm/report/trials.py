"""A search for hyperparameters: what each trial reached, as a table and a picture."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_fm.report.style import RIGHT, SERIES, new_figure, percent, save, styled
from tinygrad_fm.report.table import format_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 4  # in a row
PALE = "#cbd5e1"


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Attributes:
        state: "complete", "pruned" (given up early), "running" or "failed" (ended by something
            from outside).
        epochs: how many were trained.
        accuracy: the best on the validation set, in 0..1; None if none was measured.
        parameters: what was tried, numbers or words, by name.
    """

    number: int
    state: str
    epochs: int
    accuracy: float | None
    parameters: Mapping[str, float | str]


def format_trials(trials: Sequence[Trial]) -> str:
    """A table of the trials: complete ones first, the best on top."""
    order = sorted(trials, key=lambda t: (t.state != "complete", -(t.accuracy or 0), t.number))
    rows = [
        {
            "trial": t.number,
            "state": t.state,
            "epochs": t.epochs,
            "validation": t.accuracy,
            "settings": format_settings(t.parameters),
        }
        for t in order
    ]
    return format_table(rows, {"validation": ".2%"})


def format_settings(parameters: Mapping[str, float | str]) -> str:
    """The parameters of a trial on one line."""
    return ", ".join(
        value if isinstance(value, str) else f"{name} {_short(value)}"
        for name, value in parameters.items()
    )


def _short(number: float) -> str:
    return str(number) if isinstance(number, int) else format(number, ".2g")


@styled
def plot_trials(
    trials: Sequence[Trial],
    path: str | os.PathLike[str] | None = None,
    logarithmic: Collection[str] = (),
) -> Figure:
    """Draw the best accuracy so far (top), and each parameter against accuracy (below).

    Trials that were given up early are pale. Triangles stand for what lies below the picture.

    Args:
        trials: in any order; those without an accuracy, running ones and failed ones are left out.
        path: where to save the picture; None draws only.
        logarithmic: parameters drawn on a logarithmic axis.

    Raises:
        ValueError: no trial is complete.
    """
    ended = (t for t in trials if t.state in ("complete", "pruned") and t.accuracy is not None)
    measured = sorted(ended, key=lambda t: t.number)
    if not any(t.state == "complete" for t in measured):
        raise ValueError(f"nothing to draw: none of {len(trials)} trials is complete")
    names = _parameters(measured)
    rows = -(-len(names) // PANELS)
    figure = new_figure(height=2.9 + 2.0 * rows)
    grid = figure.add_gridspec(1 + rows, PANELS, height_ratios=[1.3] + [1] * rows)
    limits = _limits(measured)
    _draw_history(figure.add_subplot(grid[0, :]), measured, limits)
    for i, name in enumerate(names):
        axes = figure.add_subplot(grid[1 + i // PANELS, i % PANELS])
        chosen = [t for t in measured if name in t.parameters]
        places = _place(axes, [t.parameters[name] for t in chosen], name in logarithmic)
        _draw_dots(axes, places, chosen, limits)
        axes.set_title(name, fontsize=9.5, pad=6)
        if i % PANELS:
            axes.tick_params(labelleft=False)
    return save(figure, path)


def _parameters(trials: Sequence[Trial]) -> list[str]:
    """All names, in the order that they have in the trials; alternatives stand together."""
    position = {name: i for t in trials for i, name in enumerate(t.parameters)}
    return sorted(position, key=lambda name: (position[name], name))


def _complete(trials: Sequence[Trial]) -> tuple[list[int], list[float]]:
    """Numbers and accuracies of the complete trials."""
    complete = [t for t in trials if t.state == "complete"]
    return [t.number for t in complete], [t.accuracy or 0.0 for t in complete]


def _limits(trials: Sequence[Trial]) -> tuple[float, float]:
    """From a little below the lower quarter of complete trials to the best."""
    _, accuracies = _complete(trials)
    low, high = np.quantile(accuracies, 0.25), max(accuracies)
    span = max(high - low, 0.005)
    return low - span, high + 0.25 * span


def _draw_history(axes: Axes, trials: Sequence[Trial], limits: tuple[float, float]) -> None:
    """Every trial as a dot, and the best so far as a line of steps."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    numbers, accuracies = _complete(trials)
    best = np.maximum.accumulate(accuracies)
    end = trials[-1].number + 0.5
    axes.step([*numbers, end], [*best, best[-1]], where="post", color=RIGHT)
    _draw_dots(axes, [t.number for t in trials], trials, limits)
    axes.set(title="Validation accuracy of each trial", xlabel="trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    number: dict[str, Any] = {"color": RIGHT, "weight": "bold", "ha": "right"}
    axes.annotate(f"{best[-1]:.2%}", (end, best[-1]), (0, 5), textcoords="offset points", **number)
    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 5}
    handles = [
        Line2D([], [], color=RIGHT, label="best so far"),
        Line2D([], [], color=SERIES[0], label="complete", **dot),
        Line2D([], [], color=PALE, label="given up early", **dot),
    ]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderpad=0)


def _place(axes: Axes, values: Sequence[float | str], logarithmic: bool) -> list[float]:
    """Make the axis fit to numbers or words; returns where each value stands on it."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    if isinstance(values[0], str):
        words = sorted({str(value) for value in values})
        axes.set_xticks(range(len(words)), words)
        axes.set_xlim(-0.5, len(words) - 0.5)
        return [float(words.index(str(value))) for value in values]
    places = [float(value) for value in values]
    if logarithmic:
        wide = max(places) / min(places) > 300
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 3)))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0e}".replace("e-0", "e-"))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    return places


def _draw_dots(
    axes: Axes, places: Sequence[float], trials: Sequence[Trial], limits: tuple[float, float]
) -> None:
    """A dot for each trial; a triangle at the lower edge for one that lies below the limits."""
    from matplotlib.ticker import MaxNLocator

    edge = limits[0] + 0.04 * (limits[1] - limits[0])
    for complete, colour in ((False, PALE), (True, SERIES[0])):  # complete ones on top
        for x, t in zip(places, trials, strict=True):
            if (t.state == "complete") == complete and t.accuracy is not None:
                marker = "o" if t.accuracy >= edge else "v"
                y = max(t.accuracy, edge)
                axes.plot(x, y, marker, color=colour, markersize=5, markeredgewidth=0)
    axes.set_ylim(limits)
    axes.yaxis.set_major_formatter(percent)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.grid(axis="y")
