"""The confusion matrix as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_fm.report.style import INK, RIGHT, WRONG, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOTHING = "#f5f6f8"


@styled
def plot_confusion(
    confusion: np.ndarray,
    classes: Sequence[str],
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw a confusion matrix: green on the diagonal is right, red beside it is confused.

    A number counts images; its cell's colour is the share of the row, that is of the true class.
    The column behind the matrix is each class's recall.

    Args:
        confusion: (K, K) counts, rows true, columns predicted.
        classes: the K names.
        path: where to save the picture; None draws only.

    Raises:
        ValueError: the matrix is not (K, K) for K names.
    """
    k = len(classes)
    if confusion.shape != (k, k):
        raise ValueError(f"{k} classes need a confusion matrix ({k}, {k}), got {confusion.shape}")
    totals = confusion.sum(axis=1, keepdims=True)  # (K, K) -> (K, 1)
    share = confusion / np.maximum(totals, 1)  # the row of a class without images stays zero

    figure = new_figure(height=1.3 + 0.42 * k)
    axes = figure.add_subplot()
    axes.imshow(_colours(share), aspect="auto")
    _write_counts(axes, confusion, share)
    _write_recall(axes, np.diag(share))
    _label(axes, classes)
    images = confusion.sum()
    right = np.trace(confusion) / max(images, 1)
    axes.set_title("Confusion matrix")
    axes.set_title(
        f"{right:.1%} of {images:,} images right", loc="right", fontsize=9.5, weight="normal"
    )
    return save(figure, path)


def _colours(share: np.ndarray) -> np.ndarray:
    """Colours of the cells, (K, K, 4).

    Confusions of a few per cent must be seen beside a diagonal of 90: the colour follows the
    square root of the share, which turns 1 % into a tenth and 25 % into half of the full colour.
    """
    from matplotlib.colors import LinearSegmentedColormap

    greens = LinearSegmentedColormap.from_list("right", [NOTHING, RIGHT])
    reds = LinearSegmentedColormap.from_list("wrong", [NOTHING, WRONG])
    strength = np.sqrt(share)
    diagonal = np.eye(len(share), dtype=bool)[:, :, None]
    return np.where(diagonal, greens(strength), reds(strength))


def _write_counts(axes: Axes, confusion: np.ndarray, share: np.ndarray) -> None:
    for true, predicted in np.argwhere(confusion):
        axes.text(
            predicted,
            true,
            f"{confusion[true, predicted]:,}",
            ha="center",
            va="center",
            color="white" if share[true, predicted] > 0.6 else INK,
            weight="bold" if true == predicted else "normal",
        )


def _write_recall(axes: Axes, recall: np.ndarray) -> None:
    """The share of each class that was recognised, behind its row."""
    behind = axes.secondary_yaxis("right")
    behind.set_yticks(np.arange(len(recall)), [f"{value:.1%}" for value in recall])
    behind.set_ylabel("recall", labelpad=8)
    behind.spines[:].set_visible(False)


def _label(axes: Axes, classes: Sequence[str]) -> None:
    """Class names on both sides, two-word ones on two lines above; white lines between cells."""
    numbers = np.arange(len(classes))
    above = [name.replace(" ", "\n").replace("/", "/\n") for name in classes]
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(numbers, above, color=INK)
    axes.set_yticks(numbers, classes, color=INK)
    axes.set_xlabel("predicted", labelpad=8)
    axes.set_ylabel("true", labelpad=8)
    axes.set_xticks(numbers[1:] - 0.5, minor=True)
    axes.set_yticks(numbers[1:] - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
