"""A training process of ours that prints its peak memory: MODEL BATCH_SIZE THREADS."""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.resident import STEPS, peak_mb
from tinygrad_fm import Tensor, set_num_threads
from tinygrad_fm.recipes import RECIPES


def train(name: str, batch_size: int) -> None:
    rng = np.random.default_rng(0)
    images = Tensor(rng.standard_normal((batch_size, 1, 28, 28), np.float32))
    labels = Tensor(rng.integers(10, size=batch_size))
    recipe = RECIPES[name]
    model = recipe.build()
    optimizer = recipe.optimizer(model.parameters(), recipe.lr)
    for _ in range(STEPS):
        optimizer.zero_grad()
        recipe.loss(model(images), labels).backward()
        optimizer.step()


if __name__ == "__main__":
    set_num_threads(int(sys.argv[3]))
    train(sys.argv[1], int(sys.argv[2]))
    print(peak_mb())
