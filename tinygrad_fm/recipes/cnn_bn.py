"""Part 3, second architecture: three convolutions with batch normalisation and dropout."""

from itertools import pairwise

from tinygrad_fm.nn import (
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
)
from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim import Adam
from tinygrad_fm.optim.lr_scheduler import CosineAnnealingLR
from tinygrad_fm.recipes.recipe import Recipe, softmax


def build(
    channels: tuple[int, ...] = (32, 64, 128),
    hidden: int = 128,
    block_dropout: float = 0.25,
    hidden_dropout: float = 0.5,
) -> Sequential:
    """Blocks of conv 3×3 - BatchNorm - ReLU - max pool 2 - dropout, then a hidden layer."""
    blocks: list[Module] = []
    for inputs, outputs in pairwise((1, *channels)):
        blocks += [
            Conv2d(inputs, outputs, 3, padding=1),
            BatchNorm2d(outputs),
            ReLU(),
            MaxPool2d(2),  # 28 -> 14 -> 7 -> 3
            Dropout(block_dropout),
        ]
    side = 28 >> len(channels)
    return Sequential(
        *blocks,
        Flatten(),
        Linear(channels[-1] * side * side, hidden),
        ReLU(),
        Dropout(hidden_dropout),
        Linear(hidden, 10),
    )


RECIPE = Recipe(
    name="cnn-bn",
    summary="3 × (conv - BatchNorm - ReLU - pool - dropout) - 128 ReLU - 10",
    source="part 3 of this project, second architecture",
    dataset="fashion-mnist",
    build=build,
    loss=F.cross_entropy,
    probabilities=softmax,
    optimizer=lambda parameters, lr: Adam(parameters, lr),
    lr=1e-3,
    epochs=30,  # after 20 it still knows its training images no better than others
    schedule=lambda optimizer, epochs: CosineAnnealingLR(optimizer, epochs),
    must_reach=0.925,
)
