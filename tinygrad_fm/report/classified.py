"""One picture of one's own: what it is, what the network sees of it, and what it thinks it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_fm.report.style import FAINT, INK, MUTED, SERIES, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image


@styled
def plot_classified(
    picture: Image.Image,
    seen: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw a picture, the network's input, and a bar for the probability of each class.

    Args:
        picture: as it was read.
        seen: (H, W), dark is drawn for high values.
        probabilities: (K,), in 0..1.
        classes: the K names.
        path: where to save the figure; None draws only.
    """
    figure = new_figure(height=3.3)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.2))
    _draw_image(left, np.asarray(picture), "The picture")
    _draw_image(middle, seen, f"The input, {seen.shape[1]} × {seen.shape[0]}")
    _draw_bars(right, probabilities, classes)
    return save(figure, path)


def _draw_image(axes: Axes, image: np.ndarray, title: str) -> None:
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=255)
    axes.set_title(title)
    axes.set_anchor("N")  # side by side from the top, whatever their proportions
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color=FAINT)


def _draw_bars(axes: Axes, probabilities: np.ndarray, classes: Sequence[str]) -> None:
    """All classes, the most probable one on top and in colour."""
    order = np.argsort(-probabilities, kind="stable")
    rows = np.arange(len(order))
    axes.barh(rows, 1.0, height=0.55, color=FAINT)
    colours = [SERIES[0], *[MUTED] * (len(order) - 1)]
    axes.barh(rows, probabilities[order], height=0.55, color=colours)
    for row, i in enumerate(order):
        axes.text(
            1.03, row, f"{probabilities[i]:.1%}", va="center", color=INK if row == 0 else MUTED
        )
    axes.set_yticks(rows, [classes[i] for i in order], color=INK)
    axes.set_title(f"{classes[order[0]]}, {probabilities[order[0]]:.1%}")
    axes.set(xlim=(0, 1.25), ylim=(len(order) - 0.4, -0.6), xticks=[])
    axes.spines[:].set_visible(False)
