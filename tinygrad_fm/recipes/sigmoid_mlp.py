"""Part 1: a network of sigmoids on MNIST."""

from tinygrad_fm.nn import Flatten, Linear, Sequential, Sigmoid
from tinygrad_fm.optim import SGD
from tinygrad_fm.optim.lr_scheduler import CosineAnnealingLR
from tinygrad_fm.recipes.recipe import Recipe, bernoulli_nll


def build(hidden: int = 128) -> Sequential:
    """784 - hidden - 10, a sigmoid after both layers."""
    return Sequential(Flatten(), Linear(784, hidden), Sigmoid(), Linear(hidden, 10), Sigmoid())


RECIPE = Recipe(
    name="sigmoid-mlp",
    summary="784 - 128 sigmoid - 10 sigmoid",
    source="part 1 of this project",
    dataset="mnist",
    build=build,
    loss=bernoulli_nll,
    probabilities=lambda p: p / p.sum(axis=1, keepdims=True),
    optimizer=lambda parameters, lr: SGD(parameters, lr, momentum=0.9),
    lr=0.1,
    epochs=30,
    schedule=lambda optimizer, epochs: CosineAnnealingLR(optimizer, epochs),
)
