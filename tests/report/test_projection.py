"""Principal components are those of the covariance matrix; names do not cover one another."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from tinygrad_fm.report import pca, plot_projection
from tinygrad_fm.report.projection import COLOURS, NAME_HEIGHT, spread_names

CLASSES = ("T-shirt/top", "Bag", "Coat")


def clouds(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Points in five dimensions around three centres, and their classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=n)
    centres = np.array([[9, 0, 0, 0, 0], [-9, 0, 0, 0, 0], [0, 5, 0, 0, 0]])
    return centres[labels] + rng.normal(size=(n, 5)), labels


def test_coordinates_are_projections_on_the_eigenvectors_of_the_covariance():
    features, _ = clouds()
    points, share = pca(features, 3)
    variances, directions = np.linalg.eigh(np.cov(features.T))
    expected = (features - features.mean(axis=0)) @ directions[:, :-4:-1]
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-10)
    np.testing.assert_allclose(share, variances[:-4:-1] / variances.sum())
    np.testing.assert_allclose(np.var(points, axis=0, ddof=1), variances[:-4:-1])


def test_maps_count_as_vectors_and_float32_stays():
    features = clouds()[0].astype(np.float32)
    points, share = pca(features.reshape(60, 5, 1, 1))
    assert points.shape == (60, 2)
    assert points.dtype == share.dtype == np.float32
    np.testing.assert_array_equal(points, pca(features)[0])


def test_signs_do_not_depend_on_the_order_of_points():
    features, _ = clouds()
    order = np.random.default_rng(1).permutation(60)
    np.testing.assert_allclose(pca(features[order])[0], pca(features)[0][order], atol=1e-10)


def test_points_without_any_difference_lie_at_zero():
    points, share = pca(np.ones((4, 3)))
    assert not points.any()
    assert not share.any()


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_too_little_for_a_plane_is_an_error(shape):
    with pytest.raises(ValueError, match="2 components need"):
        pca(np.zeros(shape))


def test_points_have_their_class_colour_and_names_stand_in_their_middle(tmp_path):
    features, labels = clouds()
    file = tmp_path / "projection.png"
    left, right = plot_projection(
        {"a": features, "b": features[:, ::-1]}, labels, CLASSES, file
    ).axes
    assert file.stat().st_size > 1000
    assert (left.get_title(loc="left"), right.get_title(loc="left")) == ("a", "b")
    (dots,) = left.collections
    points, share = pca(features)
    np.testing.assert_array_equal(dots.get_offsets(), points)
    colours = [to_rgba(COLOURS[label], alpha=0.6) for label in labels]
    np.testing.assert_allclose(dots.get_facecolors(), colours)
    assert f"{share[0]:.0%}" in left.get_xlabel()
    for label, text in enumerate(left.texts):  # these three are too far apart to be moved
        assert text.get_text() == CLASSES[label]
        place = left.transLimits.inverted().transform(text.get_position())
        np.testing.assert_allclose(place, np.median(points[labels == label], axis=0), atol=1e-6)


def test_what_is_written_below_four_panels_does_not_touch():
    features, labels = clouds()
    figure = plot_projection(dict.fromkeys("abcd", features), labels, CLASSES)
    figure.draw_without_rendering()  # now everything has its place
    boxes = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_names_of_classes_without_points_are_left_out():
    features, labels = clouds()
    (axes,) = plot_projection({"a": features}, np.minimum(labels, 1), CLASSES).axes
    assert [text.get_text() for text in axes.texts] == ["T-shirt/top", "Bag"]


@pytest.mark.parametrize("features", [{}, {"a": np.zeros((3, 4))}])
def test_another_number_of_labels_is_an_error(features):
    with pytest.raises(ValueError, match="2 labelled pictures"):
        plot_projection(features, np.array([0, 1]), CLASSES)


def test_names_are_moved_apart_up_and_down_only():
    start = np.array([[0.5, 0.5], [0.5, 0.5], [0.52, 0.51], [0.9, 0.5]])
    widths = np.full(4, 0.2)
    places = spread_names(start, widths)
    np.testing.assert_array_equal(places[:, 0], start[:, 0])
    gaps = np.diff(np.sort(places[:3, 1]))
    assert gaps.min() > NAME_HEIGHT * 0.99
    np.testing.assert_array_equal(places[3], start[3])  # it was in nobody's way


@pytest.mark.parametrize("seed", range(20))
def test_names_stay_within_the_axes_and_still_do_not_cover_one_another(seed):
    rng = np.random.default_rng(seed)
    corner = rng.integers(2, size=2)  # where they all want to be
    places = spread_names(corner + rng.normal(size=(10, 2)) / 20, np.full(10, 0.3))
    half = np.array([0.3, NAME_HEIGHT]) / 2
    assert (places >= half).all()
    assert (places <= 1 - half).all()
    assert np.diff(np.sort(places[:, 1])).min() > NAME_HEIGHT * 0.95


def test_a_name_wider_than_the_axes_stands_in_their_middle():
    np.testing.assert_array_equal(
        spread_names(np.array([[0.1, 0.5]]), np.array([1.2])), [[0.5] * 2]
    )
