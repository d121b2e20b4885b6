"""Our training step, as it is measured beside PyTorch's and beside other libraries'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_fm
from benchmarks.timing import LEARNING_RATE
from tinygrad_fm import Tensor, nn
from tinygrad_fm.recipes import RECIPES


def our_step(
    name: str,
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    lr: float = LEARNING_RATE,
) -> Callable[[], Any]:
    """A call that takes one planned step of a recipe on one batch, and gives the loss."""
    recipe = RECIPES[name]
    optimizer = recipe.optimizer(model.parameters(), lr)
    x, targets = Tensor(images), Tensor(labels)

    def step() -> Any:
        optimizer.zero_grad()
        loss = recipe.loss(model(x), targets)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return tinygrad_fm.compile(step)
