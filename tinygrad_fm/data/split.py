"""Setting a validation set aside."""

from __future__ import annotations

import numpy as np

from tinygrad_fm.data.dataset import ArrayDataset


def train_validation_split(
    dataset: ArrayDataset, fraction: float, seed: int
) -> tuple[ArrayDataset, ArrayDataset]:
    """Split a data set in two, so that every class is divided in the same proportion.

    Args:
        fraction: the validation set's share, between 0 and 1. A class with n images gives
            round(fraction · n) of them to the validation set.
        seed: the same seed gives the same split.

    Returns:
        training and validation set; both keep the order of `dataset`.

    Raises:
        ValueError: a fraction that is no proper fraction, or that leaves one side empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"train_validation_split expected 0 < fraction < 1, got {fraction}")
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(dataset), dtype=bool)
    for label in range(len(dataset.classes)):
        members = generator.permutation(np.flatnonzero(dataset.labels == label))
        held_out[members[: round(fraction * len(members))]] = True
    if held_out.all() or not held_out.any():
        raise ValueError(
            f"a fraction of {fraction} of {len(dataset)} images leaves the "
            f"{'training' if held_out.any() else 'validation'} set empty; use more images or "
            "another fraction"
        )
    return dataset.subset(np.flatnonzero(~held_out)), dataset.subset(np.flatnonzero(held_out))
