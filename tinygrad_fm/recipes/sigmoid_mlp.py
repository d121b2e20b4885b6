"""Part 1: a network of sigmoids on MNIST."""

from tinygrad_fm.data import RandomCrop
from tinygrad_fm.nn import Flatten, Linear, Sequential, Sigmoid
from tinygrad_fm.optim import SGD
from tinygrad_fm.optim.lr_scheduler import CosineAnnealingLR
from tinygrad_fm.recipes.recipe import Recipe, bernoulli_nll, proportional


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
    probabilities=proportional,
    optimizer=lambda parameters, lr: SGD(parameters, lr, momentum=0.9, weight_decay=1e-5),
    lr=0.05,
    epochs=40,
    schedule=lambda optimizer, epochs: CosineAnnealingLR(optimizer, epochs),
    # Shifts by a pixel. Without them this network learns its training set by heart (99.9 %) and
    # stays at 97.7 % on pictures that it has not seen.
    augment=(RandomCrop(28, padding=1),),
    must_reach=0.98,
)
