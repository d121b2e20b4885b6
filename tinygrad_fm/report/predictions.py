"""What the model saw and what it thought: pictures beside bars of class probabilities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_fm.report.style import FAINT, MUTED, RIGHT, WRONG, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
BARS = 4


@styled
def plot_predictions(
    images: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    path: str | os.PathLike[str] | None = None,
    count: int = 12,
) -> Figure:
    """Draw some images with their most probable classes, half of them mistakes if there are any.

    The bar of the true class is green, that of a wrong prediction red. The images are spread
    evenly over the data rather than picked by hand: right ones first, then wrong ones.

    Args:
        images: (N, 1, H, W) or (N, H, W), of any range; dark is drawn for high values.
        probabilities: (N, K), in 0..1.
        labels: true classes, (N,) integers.
        classes: the K names.
        path: where to save the picture; None draws only.
        count: how many images to show, at most.

    Raises:
        ValueError: there is no image, or the lengths differ.
    """
    if len(images) == 0 or not len(images) == len(probabilities) == len(labels):
        raise ValueError(
            "wanted as many images as probabilities and labels and at least one, got "
            f"{len(images)}, {len(probabilities)} and {len(labels)}"
        )
    chosen = choose(probabilities.argmax(axis=1) == labels, count)
    rows = -(-len(chosen) // COLUMNS)
    # A picture stands closer to its bars than to its neighbours, and the margins are even.
    figure = new_figure(height=0.25 + 1.45 * rows, w_pad=0.06, rect=(0.008, 0, 0.99, 1))
    ratios = [1, 1.2] * COLUMNS
    cells = figure.subplots(rows, 2 * COLUMNS, squeeze=False, width_ratios=ratios).reshape(-1, 2)
    for picture, bars in cells[len(chosen) :]:
        picture.set_axis_off()
        bars.set_axis_off()
    for (picture, bars), i in zip(cells, chosen, strict=False):
        right = probabilities[i].argmax() == labels[i]
        _draw_picture(picture, images[i].squeeze(), RIGHT if right else WRONG)
        _draw_bars(bars, probabilities[i], int(labels[i]), classes)
    return save(figure, path)


def choose(right: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` images, half of them wrong as far as there are any, evenly spread.

    Args:
        right: (N,) booleans, whether the prediction is right.

    Returns:
        At most `count` indices, those of right predictions first.
    """
    hits, misses = np.flatnonzero(right), np.flatnonzero(~right)
    n_misses = min(len(misses), max(count // 2, count - len(hits)))
    n_hits = min(len(hits), count - n_misses)
    return np.concatenate([_spread(hits, n_hits), _spread(misses, n_misses)])


def _spread(indices: np.ndarray, count: int) -> np.ndarray:
    """`count` of the indices at even distances."""
    return indices[np.arange(count) * len(indices) // max(count, 1)]


def _draw_picture(axes: Axes, image: np.ndarray, frame: str) -> None:
    axes.imshow(image, cmap="gray_r")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color=frame, linewidth=1.5)


def _draw_bars(axes: Axes, probabilities: np.ndarray, label: int, classes: Sequence[str]) -> None:
    """The most probable classes from the top down; the true one is always among them."""
    shown = np.argsort(-probabilities, kind="stable")[:BARS]
    if label not in shown:
        shown[-1] = label
    rows = np.arange(len(shown))
    axes.barh(rows, 1.0, height=0.2, color=FAINT)
    for row, i in enumerate(shown):
        colour = RIGHT if i == label else WRONG if row == 0 else MUTED
        weight = "bold" if i == label or row == 0 else "normal"
        mark = ("✓ " if i == label else "✗ ") if row == 0 else ""
        text: dict[str, Any] = {"color": colour, "weight": weight, "fontsize": 9, "va": "bottom"}
        axes.barh(row, probabilities[i], height=0.2, color=colour)
        axes.text(0, row - 0.18, mark + classes[i], **text)
        axes.text(1, row - 0.18, f"{probabilities[i]:.0%}", ha="right", **text)
    axes.set(xlim=(0, 1.12), ylim=(BARS - 0.7, -0.75))  # air on the right sets cards apart
    axes.set_axis_off()
