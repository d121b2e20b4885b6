"""A training process of ours that prints its peak memory: MODEL BATCH_SIZE THREADS."""

from __future__ import annotations

import sys

import numpy as np

import tinygrad_fm
from benchmarks.resident import STEPS, peak_mb
from benchmarks.steps import our_step
from tinygrad_fm.recipes import RECIPES


def train(name: str, batch_size: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch_size, 1, 28, 28), np.float32)
    model = tinygrad_fm.compile(RECIPES[name].build())
    step = our_step(name, model, images, rng.integers(10, size=batch_size))
    for _ in range(STEPS):
        step()


if __name__ == "__main__":
    tinygrad_fm.set_num_threads(int(sys.argv[3]))
    train(sys.argv[1], int(sys.argv[2]))
    print(peak_mb())
