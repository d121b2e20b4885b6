"""How fast NumPy can be: `python -m benchmarks.floor [BATCH_SIZE …]`.

The step of `mlp` as a flat list of NumPy calls on memory that is there already, with BLAS's own
threads: no shapes are looked at, nothing is checked, allocated, kept or counted. What remains above
PyTorch's time is no framework's doing. Beside it our planned step and PyTorch's, in turns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

import tinygrad_fm
from benchmarks.sides import batch, our_model, threads
from benchmarks.steps import our_step
from benchmarks.timing import LEARNING_RATE, interleaved
from benchmarks.training import torch_step
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.report.table import format_table

MODEL, REPEATS = "mlp", 20
MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4


def flat_step(x: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
    """One step of 784-128-64-10 with ReLU, cross entropy and SGD with momentum and weight decay."""
    n, rows = len(x), np.arange(len(x))
    shapes = [(128, 784), (128,), (64, 128), (64,), (10, 64), (10,)]
    sizes = [int(np.prod(shape)) for shape in shapes]
    p = np.random.default_rng(0).standard_normal(sum(sizes), np.float32) * np.float32(0.05)
    g, momentum, change = np.empty_like(p), np.zeros_like(p), np.empty_like(p)
    ends = np.cumsum(sizes)[:-1]
    w1, b1, w2, b2, w3, b3 = (a.reshape(s) for a, s in zip(np.split(p, ends), shapes, strict=True))
    dw1, db1, dw2, db2, dw3, db3 = (
        a.reshape(s) for a, s in zip(np.split(g, ends), shapes, strict=True)
    )
    h1, h2, z = (np.empty((n, width), np.float32) for width in (128, 64, 10))
    d1, d2, zeros1, zeros2 = (f(h) for f in (np.empty_like, np.zeros_like) for h in (h1, h2))
    mask1, mask2, column = h1 > 0, h2 > 0, np.empty((n, 1), np.float32)

    def layer(x: np.ndarray, w: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
        np.matmul(x, w.T, out=y)
        np.add(y, b, out=y)

    def step() -> None:
        layer(x, w1, b1, h1)
        np.maximum(h1, zeros1, out=h1)
        layer(h1, w2, b2, h2)
        np.maximum(h2, zeros2, out=h2)
        layer(h2, w3, b3, z)
        np.subtract(z, np.max(z, axis=1, keepdims=True, out=column), out=z)
        np.exp(z, out=z)
        np.divide(z, np.sum(z, axis=1, keepdims=True, out=column), out=z)
        z[rows, labels] -= 1  # ∂L/∂z, times n; the loss itself is not even computed
        np.multiply(z, 1 / n, out=z)
        np.matmul(z.T, h2, out=dw3)
        np.add.reduce(z, axis=0, out=db3)
        np.matmul(z, w3, out=d2)
        np.multiply(d2, np.greater(h2, 0, out=mask2), out=d2)
        np.matmul(d2.T, h1, out=dw2)
        np.add.reduce(d2, axis=0, out=db2)
        np.matmul(d2, w2, out=d1)
        np.multiply(d1, np.greater(h1, 0, out=mask1), out=d1)
        np.matmul(d1.T, x, out=dw1)
        np.add.reduce(d1, axis=0, out=db1)
        np.add(g, np.multiply(p, WEIGHT_DECAY, out=change), out=g)
        np.multiply(momentum, MOMENTUM, out=momentum)
        np.add(momentum, g, out=momentum)
        np.subtract(p, np.multiply(momentum, LEARNING_RATE, out=change), out=p)

    return step


def measure(size: int) -> dict[str, float | int]:
    """Milliseconds of a step, and ratios: medians over the turns."""
    images, labels = batch(size)
    model = tinygrad_fm.compile(RECIPES[MODEL].build())
    times = interleaved(
        {
            "flat": flat_step(images.reshape(size, -1), labels),
            "ours": our_step(MODEL, model, images, labels),
            "PyTorch": torch_step(MODEL, our_model(MODEL), images, labels, False),
        },
        REPEATS,
    )
    ms = {name: float(np.median(turns)) * 1e3 for name, turns in times.items()}
    return {
        "batch": size,
        **ms,
        "flat / PyTorch": float(np.median(times["flat"] / times["PyTorch"])),
        "ours / flat": float(np.median(times["ours"] / times["flat"])),
    }


if __name__ == "__main__":
    with threads(tinygrad_fm.get_num_threads()):
        rows = [measure(int(size)) for size in sys.argv[1:] or (64, 256)]
    print(format_table(rows))
