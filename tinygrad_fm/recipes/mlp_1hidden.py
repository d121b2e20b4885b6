"""A published MLP of one hidden layer, a fifth of the training set held out for validation.

The source leaves optimizer and epochs open; they are those of `mlp`.
"""

from tinygrad_fm.nn import Flatten, Linear, ReLU, Sequential
from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim import SGD
from tinygrad_fm.optim.lr_scheduler import CosineAnnealingLR
from tinygrad_fm.recipes.recipe import Recipe, softmax


def build(inputs: int = 784, hidden: int = 128) -> Sequential:
    """inputs - hidden ReLU - 10, ending in scores: the softmax is a part of the loss."""
    return Sequential(Flatten(), Linear(inputs, hidden), ReLU(), Linear(hidden, 10))


RECIPE = Recipe(
    name="mlp-1hidden",
    summary="784 - 128 ReLU - 10 softmax",
    source="a published MLP, all from scratch",
    dataset="fashion-mnist",
    build=build,
    loss=F.cross_entropy,
    probabilities=softmax,
    optimizer=lambda parameters, lr: SGD(parameters, lr, momentum=0.9, weight_decay=1e-4),
    lr=0.03,
    epochs=30,
    schedule=lambda optimizer, epochs: CosineAnnealingLR(optimizer, epochs),
    validation_fraction=0.2,
    must_reach=0.885,
)
