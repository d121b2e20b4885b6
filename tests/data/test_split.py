from __future__ import annotations

import numpy as np
import pytest

from tinygrad_fm.data import ArrayDataset, train_validation_split


def numbered(counts: list[int]) -> ArrayDataset:
    """A shuffled data set whose image i is the number i, with `counts` images of each class."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return ArrayDataset(images, labels, tuple(map(str, range(len(counts)))), "numbered")


def numbers(dataset: ArrayDataset) -> list[int]:
    return dataset.images.ravel().tolist()


def test_the_parts_are_disjoint_complete_and_in_order():
    dataset = numbered([50, 30, 20])
    train, validation = train_validation_split(dataset, 0.2, seed=0)
    for part in (train, validation):
        assert numbers(part) == sorted(numbers(part))
        np.testing.assert_array_equal(part.labels, dataset.labels[numbers(part)])
    assert sorted(numbers(train) + numbers(validation)) == list(range(100))


def test_every_class_gives_its_share():
    _, validation = train_validation_split(numbered([50, 30, 23]), 0.2, seed=0)
    assert np.bincount(validation.labels).tolist() == [10, 6, 5]


def test_the_seed_alone_decides():
    dataset = numbered([50, 50])
    first, again, other = (train_validation_split(dataset, 0.3, seed)[1] for seed in (7, 7, 8))
    assert numbers(first) == numbers(again) != numbers(other)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 10, float("nan")])
def test_a_fraction_must_be_a_proper_one(fraction):
    with pytest.raises(ValueError, match=f"expected 0 < fraction < 1, got {fraction}"):
        train_validation_split(numbered([5, 5]), fraction, seed=0)


@pytest.mark.parametrize(("fraction", "side"), [(0.01, "validation"), (0.99, "training")])
def test_no_side_may_be_empty(fraction, side):
    with pytest.raises(ValueError, match=f"leaves the {side} set empty"):
        train_validation_split(numbered([5, 5]), fraction, seed=0)
