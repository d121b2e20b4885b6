"""A published deep MLP: BatchNorm, ReLU and dropout after each of three hidden layers.

The source leaves dropout, optimizer, schedule and augmentation open. Ours: Adam, whose learning
rate is halved when the validation loss stands still; dropout 0.2; images mirrored and shifted by a
pixel, without which a network of this size learns its training set by heart.
"""

from itertools import pairwise

import numpy as np

from tinygrad_fm.data import RandomCrop, RandomHorizontalFlip
from tinygrad_fm.nn import (
    BatchNorm1d,
    Dropout,
    Flatten,
    Linear,
    LogSoftmax,
    Module,
    ReLU,
    Sequential,
)
from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim import Adam
from tinygrad_fm.optim.lr_scheduler import ReduceLROnPlateau
from tinygrad_fm.recipes.recipe import Recipe


def build(hidden: tuple[int, ...] = (512, 256, 128), dropout: float = 0.2) -> Sequential:
    """Hidden layers of linear - BatchNorm - ReLU - dropout, ending in log-probabilities."""
    layers: list[Module] = [Flatten()]
    for inputs, outputs in pairwise((784, *hidden)):
        layers += [Linear(inputs, outputs), BatchNorm1d(outputs), ReLU(), Dropout(dropout)]
    return Sequential(*layers, Linear(hidden[-1], 10), LogSoftmax(dim=1))


RECIPE = Recipe(
    name="mlp-deep",
    summary="784 - 512 - 256 - 128 (each BatchNorm - ReLU - dropout) - 10 log-softmax",
    source="a published deep MLP",
    dataset="fashion-mnist",
    build=build,
    loss=F.nll_loss,
    probabilities=np.exp,
    optimizer=lambda parameters, lr: Adam(parameters, lr),
    lr=1e-3,
    epochs=100,
    patience=15,
    schedule=lambda optimizer, epochs: ReduceLROnPlateau(optimizer, factor=0.5, patience=3),
    augment=(RandomCrop(28, padding=1), RandomHorizontalFlip()),
    published=0.903,
    must_reach=0.908,
)
