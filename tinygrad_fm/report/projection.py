"""What a network makes of pictures, as points on a plane."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_fm.report.style import SERIES, WIDTH, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (*SERIES, "#65a30d", "#7c2d12")  # a class each
NAME_HEIGHT = 0.05  # of a class's name, as a share of the axes' height
LETTER_WIDTH = 0.1  # of a letter, in inches


def pca(features: np.ndarray, components: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Principal component analysis: the directions in which points differ most.

    With the centred features X = U S Vᵀ, the rows of Vᵀ are the directions, X V = U S the
    coordinates along them, and S² the variances times N - 1.

    Args:
        features: (N, …); what is behind the first axis counts as one vector.
        components: how many directions K to keep.

    Returns:
        Coordinates (N, K), and each direction's share of the whole variance, (K,).

    Raises:
        ValueError: fewer than `components` points or numbers in each.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.decomposition.PCA.html
    """
    X = features.reshape(len(features), -1)  # (N, …) -> (N, D)
    if min(X.shape) < components:
        raise ValueError(
            f"{components} components need as many points and as many numbers in each, "
            f"got features {features.shape}"
        )
    X = X - X.mean(axis=0)
    U, S, Vt = np.linalg.svd(X, full_matrices=False)  # -> (N, R), (R,), (R, D)
    # U and V are unique up to sign: the largest entry of each direction shall be positive.
    largest = np.abs(Vt).argmax(axis=1)
    signs = np.sign(Vt[np.arange(len(Vt)), largest])
    share = S**2 / max(np.sum(S**2), np.finfo(S.dtype).tiny)
    return (U * S * signs)[:, :components], share[:components]


@styled
def plot_projection(
    features: Mapping[str, np.ndarray],
    labels: np.ndarray,
    classes: Sequence[str],
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw features as points on the plane of their two principal components.

    A class has a colour, and its name stands in the middle of its points.

    Args:
        features: by title, each (N, …) of the same N pictures; one panel each.
        labels: true classes, (N,) integers.
        classes: the names.
        path: where to save the picture; None draws only.

    Raises:
        ValueError: there is nothing to draw, or the numbers of features and labels differ.
    """
    lengths = [len(array) for array in features.values()]
    if not lengths or any(length != len(labels) for length in lengths):
        raise ValueError(f"wanted features of {len(labels)} labelled pictures, got {lengths}")
    figure = new_figure(height=1 + 8 / np.clip(len(lengths), 2, 3))  # lower, names would touch
    width = (WIDTH - 0.5) / len(lengths) - 0.4  # of a panel, in inches
    panels = figure.subplots(1, len(lengths), squeeze=False)[0]
    for axes, (title, array) in zip(panels, features.items(), strict=True):
        points, share = pca(array)
        _draw_points(axes, points, labels)
        _write_names(axes, points, labels, classes, width)
        axes.set_title(title)
        axes.set_xlabel(f"first component:\n{share[0]:.0%} of the variance")
        axes.set_ylabel(f"second: {share[1]:.0%}")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set(visible=True, color="#d1d5db")
    return save(figure, path)


def _draw_points(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    colours = np.array(COLOURS)[labels % len(COLOURS)]
    size = np.clip(10_000 / len(points), 3, 20)
    axes.scatter(points[:, 0], points[:, 1], s=size, c=colours, alpha=0.6, linewidths=0)
    axes.set(xlim=_limits(points[:, 0]), ylim=_limits(points[:, 1]))


def _limits(values: np.ndarray) -> tuple[float, float]:
    air = 0.05 * max(np.ptp(values), 1e-6)
    return float(values.min() - air), float(values.max() + air)


def _write_names(
    axes: Axes, points: np.ndarray, labels: np.ndarray, classes: Sequence[str], width: float
) -> None:
    """Each class's name at the median of its points, or as near as the other names allow."""
    from matplotlib.patheffects import withStroke

    present = np.unique(labels)
    middles = np.array([np.median(points[labels == label], axis=0) for label in present])
    low, high = np.transpose([axes.get_xlim(), axes.get_ylim()])
    widths = np.array([len(classes[label]) for label in present]) * LETTER_WIDTH / width
    places = spread_names((middles - low) / (high - low), widths)
    for label, (x, y) in zip(present, places, strict=True):
        axes.text(
            x,
            y,
            classes[label],
            color=COLOURS[label % len(COLOURS)],
            weight="bold",
            ha="center",
            va="center",
            transform=axes.transAxes,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )


def spread_names(places: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Move names into the axes, then up or down until none covers another.

    Args:
        places: centres (N, 2), as shares of the axes.
        widths: of the names, (N,), as shares of the axes' width.
    """
    half = np.stack([np.minimum(widths, 1), np.full(len(widths), NAME_HEIGHT)], axis=1) / 2
    places = places.clip(half, 1 - half)
    numbers = np.arange(len(places))
    too_near = (widths[:, None] + widths) / 2  # (N,) and (N,) -> (N, N)
    for _ in range(200):
        x, y = np.moveaxis(places[:, None] - places, -1, 0)  # distances, (N, N) each
        overlap = NAME_HEIGHT - np.abs(y)
        overlap[(np.abs(x) >= too_near) | (overlap < 0) | (numbers[:, None] == numbers)] = 0
        if not overlap.any():
            break
        up = np.where(y == 0, numbers - numbers[:, None], y)  # of two on one level the first
        places[:, 1] += (overlap * np.sign(up)).sum(axis=1) / 2
        places = places.clip(half, 1 - half)
    return places
