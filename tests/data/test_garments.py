"""The built-in data set: same bits from the same seed, sound pictures, hard for a linear model."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tinygrad_fm.data.garments import Garments, ellipse, inside, panel, stroke, wave

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@pytest.fixture(scope="module")
def train():
    return Garments(train=True, size=3000)


@pytest.fixture(scope="module")
def test():
    return Garments(train=False, size=1000)


def test_format_is_fashion_mnists(train):
    assert train.images.shape == (3000, 1, 28, 28)
    assert train.images.dtype == np.uint8
    assert train.labels.shape == (3000,)
    assert train.labels.dtype == np.int64
    assert train.classes == FASHION_MNIST_CLASSES
    assert train.name == "garments (built-in)"


@pytest.mark.usefixtures("all_garments")
@pytest.mark.parametrize(("is_train", "size"), [(True, 10_000), (False, 2_000)])
def test_default_sizes(is_train, size):
    assert len(Garments(train=is_train)) == size


def test_same_seed_same_bits(train):
    again = Garments(train=True, size=3000)
    np.testing.assert_array_equal(again.images, train.images)
    np.testing.assert_array_equal(again.labels, train.labels)


def test_bits_are_pinned():
    """Whoever changes a picture changes published accuracies: measure them again, then this."""
    drawn = Garments(size=200)
    assert zlib.crc32(drawn.images.tobytes()) == 3365139702
    assert zlib.crc32(drawn.labels.astype("<i8").tobytes()) == 1922335774


def test_seeds_differ(train):
    other = Garments(train=True, size=3000, seed=1)
    assert (other.labels != train.labels).any()
    assert not pictures(other) & pictures(train)


def test_train_and_test_share_no_picture(train, test):
    assert not pictures(train) & pictures(test)


def test_no_picture_twice(train):
    assert len(pictures(train)) == len(train)


@pytest.mark.parametrize(("size", "rarest", "commonest"), [(3000, 300, 300), (57, 5, 6), (1, 0, 1)])
def test_classes_are_balanced(size, rarest, commonest):
    counts = np.bincount(Garments(size=size).labels, minlength=10)
    assert (counts.min(), counts.max()) == (rarest, commonest)


def test_order_is_random(train):
    longest_sorted_run = np.diff(np.flatnonzero(np.diff(train.labels) < 0)).max()
    assert longest_sorted_run < 15


@pytest.mark.parametrize("size", [0, -5, 2.5, "many"])
def test_size_must_be_a_positive_integer(size):
    with pytest.raises(ValueError, match=r"positive integer, got .*leave it out"):
        Garments(size=size)


def test_no_picture_is_empty_or_full(train):
    lit = (train.images > 30).mean(axis=(1, 2, 3))
    assert lit.min() > 0.02
    assert lit.max() < 0.9


def test_ground_is_black(train):
    ground = np.median(train.images[:, 0, :, [0, -1]])
    assert ground == 0
    assert 0.1 < (train.images > 30).mean() < 0.5
    assert train.images.max() == 255


def test_a_linear_model_learns_but_stays_behind(train, test):
    """Ridge regression on pixels; a small CNN reaches more than 0.9 with 10,000 pictures."""
    x, y = flat(train), np.eye(10)[train.labels]
    weight = np.linalg.solve(x.T @ x + 30 * np.eye(x.shape[1]), x.T @ y)
    accuracy = (np.argmax(flat(test) @ weight, axis=1) == test.labels).mean()
    assert 0.5 < accuracy < 0.75


def test_class_means_alone_are_not_enough(train, test):
    means = np.stack([flat(train)[train.labels == label].mean(axis=0) for label in range(10)])
    distances = ((flat(test)[:, None] - means) ** 2).sum(axis=2)  # (N, 10)
    accuracy = (np.argmin(distances, axis=1) == test.labels).mean()
    assert 0.35 < accuracy < 0.7


def test_shapes_cover_their_areas():
    side = np.linspace(-1, 1, 400, dtype=np.float32)
    x, y = side[None, None, :], side[None, :, None]
    areas = {
        np.pi * 0.5 * 0.25: ellipse(x, y, 0.1, 0.0, 0.5, 0.25),
        0.5 * (0.2 + 0.4): panel(x, y, (-0.25, 0.2), (0.25, 0.4)),
        0.5 * (0.1 + 0.3): stroke(x, y, (-0.2, -0.1), (np.float32(0.2), 0.2), 0.1, 0.3),
    }
    for area, distance in areas.items():
        assert distance.dtype == np.float32
        assert inside(distance).mean() * 4 == pytest.approx(area, rel=0.02)


def test_wave_is_nearly_a_sine():
    t = np.linspace(-2, 2, 401)
    assert np.abs(wave(t) - np.sin(2 * np.pi * t)).max() < 0.06


def pictures(dataset):
    return {image.tobytes() for image in dataset.images}


def flat(dataset):
    return dataset.images.reshape(len(dataset), -1) / 255.0
