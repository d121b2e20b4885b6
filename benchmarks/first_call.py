"""What planning itself costs: `python -m benchmarks.first_call [MODEL …]`.

The first call of a planned step is traced, fused, laid out and replayed, and so is the second. Both
are told in steps that are not planned; the goal is 10 for the first.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any

import numpy as np

import tinygrad_fm
from benchmarks.sides import batch
from benchmarks.timing import LEARNING_RATE
from tinygrad_fm import Tensor
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.report.table import format_table

MODELS = ("sigmoid-mlp", "mlp", "mlp-deep", "cnn", "cnn-bn", "cnn-5conv", "resnet")
REPEATS, SIZE = 7, 64


def measure(name: str) -> dict[str, Any]:
    recipe = RECIPES[name]
    images, labels = (Tensor(array) for array in batch(SIZE))

    def step_of(planned: bool) -> Any:
        model = recipe.build()
        optimizer = recipe.optimizer(model.parameters(), LEARNING_RATE)

        def step() -> None:
            optimizer.zero_grad()
            recipe.loss(model(images), labels).backward()
            optimizer.step()

        if planned:
            tinygrad_fm.compile(model)
            return tinygrad_fm.compile(step)
        return step

    def seconds(call: Any) -> float:
        started = perf_counter()
        call()
        return perf_counter() - started

    eager = step_of(False)
    usual = np.median([seconds(eager) for _ in range(3 * REPEATS)])
    first, second = np.median(
        [[seconds(step), seconds(step)] for step in (step_of(True) for _ in range(REPEATS))], axis=0
    )
    return {
        "model": name,
        "not planned, ms": float(usual * 1e3),
        "first call, ms": float(first * 1e3),
        "in steps": float(first / usual),
        "second call, in steps": float(second / usual),
    }


if __name__ == "__main__":
    print(format_table([measure(name) for name in sys.argv[1:] or MODELS]))
