from __future__ import annotations

import os

import numpy as np
import pytest

from tinygrad_fm.data import MNIST, ArrayDataset, FashionMNIST, load

IMAGES = np.arange(4 * 2 * 2, dtype=np.uint8).reshape(4, 1, 2, 2)
LABELS = np.array([0, 1, 2, 1])
CLASSES = ("a", "b", "c")

real_data = pytest.mark.skipif(
    not os.environ.get("TINYGRAD_FM_DATA"), reason="needs TINYGRAD_FM_DATA, a folder with the data"
)


def test_length_items_and_iteration():
    dataset = ArrayDataset(IMAGES, LABELS, CLASSES, "tiny")
    assert len(dataset) == 4
    image, label = dataset[-2]
    np.testing.assert_array_equal(image, IMAGES[2])
    assert (label, type(label)) == (2, int)
    assert [label for _, label in dataset] == [0, 1, 2, 1]
    assert repr(dataset) == "ArrayDataset(tiny: 4 images 1x2x2, 3 classes)"


def test_subset_keeps_the_order_asked_for():
    dataset = ArrayDataset(IMAGES, LABELS, CLASSES, "tiny")
    subset = dataset.subset([2, 0, 2])
    np.testing.assert_array_equal(subset.images, IMAGES[[2, 0, 2]])
    np.testing.assert_array_equal(subset.labels, [2, 0, 2])
    assert (subset.classes, subset.name) == (CLASSES, "tiny")
    assert len(dataset.subset([])) == 0


def test_subset_refuses_a_mask():
    with pytest.raises(TypeError, match=r"integer indices, got bool.*np.flatnonzero"):
        ArrayDataset(IMAGES, LABELS, CLASSES, "tiny").subset(LABELS == 1)


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (IMAGES / 255, LABELS, TypeError, "expected uint8 images, got float64"),
        (IMAGES, LABELS.astype(np.uint8), TypeError, "expected int64 labels, got uint8"),
        (IMAGES[:, 0], LABELS, ValueError, r"shape \(N, C, H, W\), got \(4, 2, 2\)"),
        (IMAGES, LABELS[:3], ValueError, r"4 images need labels of shape \(4,\), got \(3,\)"),
        (IMAGES, LABELS[:, None], ValueError, r"got \(4, 1\)"),
        (IMAGES, LABELS + 1, ValueError, r"labels 0 to 2 \(3 classes\), got 3 among 1"),
        (IMAGES, LABELS - 1, ValueError, "got -1 among 1 out of range"),
    ],
)
def test_wrong_arrays_are_refused_with_the_reason(images, labels, error, message):
    with pytest.raises(error, match=rf"tiny: .*{message}"):
        ArrayDataset(images, labels, CLASSES, "tiny")


@real_data
@pytest.mark.parametrize(
    ("read", "name", "third_class"),
    [(MNIST, "MNIST", "2"), (FashionMNIST, "Fashion-MNIST", "Pullover")],
)
def test_the_real_data_sets(read, name, third_class):
    train, test = read(train=True), read(train=False)
    assert train.images.shape == (60_000, 1, 28, 28)
    assert test.images.shape == (10_000, 1, 28, 28)
    assert (train.name, train.classes[2], len(train.classes)) == (name, third_class, 10)
    counts = np.bincount(train.labels)
    assert counts.min() > 5_000


@real_data
def test_fashion_mnist_has_the_published_statistics():
    train, _ = load("fashion-mnist")
    assert train.images.mean() / 255 == pytest.approx(0.2860, abs=1e-4)
    assert train.images.std() / 255 == pytest.approx(0.3530, abs=1e-4)


def test_garments_need_no_files(tmp_path):
    train, test = load("garments", data_dir=tmp_path)
    assert train.name == test.name == "garments (built-in)"
    assert train.images.shape[1:] == test.images.shape[1:] == (1, 28, 28)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown data set 'cifar'.*fashion-mnist.*garments"):
        load("cifar")
