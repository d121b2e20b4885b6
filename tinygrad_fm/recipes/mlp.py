"""Part 2: a fully connected network on Fashion-MNIST."""

import numpy as np

from tinygrad_fm.nn import Flatten, Linear, LogSoftmax, ReLU, Sequential
from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim import SGD
from tinygrad_fm.optim.lr_scheduler import CosineAnnealingLR
from tinygrad_fm.recipes.recipe import Recipe


def build(hidden: tuple[int, int] = (128, 64)) -> Sequential:
    """784 - 128 - 64 - 10 with ReLU, ending in log-probabilities."""
    wide, narrow = hidden
    return Sequential(
        Flatten(),
        Linear(784, wide),
        ReLU(),
        Linear(wide, narrow),
        ReLU(),
        Linear(narrow, 10),
        LogSoftmax(dim=1),
    )


RECIPE = Recipe(
    name="mlp",
    summary="784 - 128 ReLU - 64 ReLU - 10 log-softmax",
    source="part 2 of this project",
    dataset="fashion-mnist",
    build=build,
    loss=F.nll_loss,
    probabilities=np.exp,
    optimizer=lambda parameters, lr: SGD(parameters, lr, momentum=0.9, weight_decay=1e-4),
    lr=0.03,
    epochs=30,
    schedule=lambda optimizer, epochs: CosineAnnealingLR(optimizer, epochs),
    must_reach=0.89,
)
