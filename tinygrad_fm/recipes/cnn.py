"""Part 3, first architecture: two convolutions with ReLU and max pooling."""

from tinygrad_fm.nn import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential
from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim import SGD
from tinygrad_fm.optim.lr_scheduler import CosineAnnealingLR
from tinygrad_fm.recipes.recipe import Recipe, softmax


def build(channels: tuple[int, int] = (32, 64), hidden: int = 128) -> Sequential:
    """Two blocks of conv 3×3 - ReLU - max pool 2, then a hidden layer, ending in scores."""
    first, second = channels
    return Sequential(
        Conv2d(1, first, 3, padding=1),  # (N, 1, 28, 28) -> (N, 32, 28, 28)
        ReLU(),
        MaxPool2d(2),  # -> (N, 32, 14, 14)
        Conv2d(first, second, 3, padding=1),  # -> (N, 64, 14, 14)
        ReLU(),
        MaxPool2d(2),  # -> (N, 64, 7, 7)
        Flatten(),  # -> (N, 3136)
        Linear(second * 7 * 7, hidden),
        ReLU(),
        Linear(hidden, 10),
    )


RECIPE = Recipe(
    name="cnn",
    summary="conv 32 - pool - conv 64 - pool - 128 ReLU - 10",
    source="part 3 of this project, first architecture",
    dataset="fashion-mnist",
    build=build,
    loss=F.cross_entropy,
    probabilities=softmax,
    optimizer=lambda parameters, lr: SGD(parameters, lr, momentum=0.9, weight_decay=5e-4),
    lr=0.02,
    epochs=20,
    schedule=lambda optimizer, epochs: CosineAnnealingLR(optimizer, epochs),
    must_reach=0.915,
)
