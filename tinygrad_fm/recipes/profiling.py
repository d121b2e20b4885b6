"""Profiling the training steps or the inference of a recipe."""

from __future__ import annotations

import numpy as np

from tinygrad_fm.autograd import no_grad
from tinygrad_fm.autograd.profiler import Profile, profile
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.data import Garments
from tinygrad_fm.recipes.recipe import Recipe

WARM_UP = 3  # calls that are not measured: they fetch memory and wake threads


def profile_recipe(
    recipe: Recipe, batch_size: int | None = None, training: bool = True, steps: int = 10
) -> Profile:
    """Run a recipe's model on one batch of the built-in pictures, `steps` times, and measure it.

    Args:
        batch_size: the recipe's own if not given.
        training: whole training steps, or else evaluation without a graph.
    """
    pictures = Garments(size=batch_size or recipe.batch_size)
    images = Tensor((pictures.images / np.float32(127.5) - 1).astype(np.float32))
    labels = Tensor(pictures.labels)
    if recipe.extractor is not None:
        images = recipe.extractor.build().features(images).detach()
    model = recipe.build()
    optimizer = recipe.optimizer(model.parameters(), recipe.lr)
    model.train(training)

    def train() -> None:
        optimizer.zero_grad()
        recipe.loss(model(images), labels).backward()
        optimizer.step()

    @no_grad()
    def infer() -> None:
        model(images)

    call = train if training else infer
    for _ in range(WARM_UP):
        call()
    with profile() as measured:
        for _ in range(steps):
            call()
    return measured
