"""How accurate a network remains while weights are taken away from it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_fm.report.style import SERIES, new_figure, percent, save, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TICKS = np.array([1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001])  # weights left


@styled
def plot_sparsity(
    sparsity: Sequence[float],
    accuracies: Mapping[str, Sequence[float]],
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw accuracy against the share of weights that are left, on a logarithmic axis.

    Args:
        sparsity: the share of weights that are zero, in [0, 1), ascending.
        accuracies: by the name of a line, one accuracy for each sparsity.
        path: where to save the picture; None draws only.

    Raises:
        ValueError: the lengths differ, or there is nothing to draw.
    """
    from matplotlib.ticker import NullLocator

    if not accuracies or any(len(line) != len(sparsity) for line in accuracies.values()):
        lengths = {name: len(line) for name, line in accuracies.items()}
        raise ValueError(f"wanted {len(sparsity)} accuracies, one for each sparsity, got {lengths}")
    left = 1 - np.asarray(sparsity)
    figure = new_figure(height=3.8)
    axes = figure.add_subplot()
    for (name, line), colour in zip(accuracies.items(), SERIES, strict=False):
        axes.plot(left, line, "o-", color=colour, markersize=6, label=name)
    axes.set_xscale("log")
    axes.set_xlim(left.max() * 1.1, left.min() / 1.1)
    least = left.min() * 0.99
    shown = TICKS[least <= TICKS]
    axes.set_xticks(shown, [f"{share:.4g}%" for share in 100 * shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(percent)
    axes.set(title="Accuracy of a pruned network", xlabel="weights left")
    axes.grid(axis="y")
    axes.legend(loc="lower left")
    return save(figure, path)
