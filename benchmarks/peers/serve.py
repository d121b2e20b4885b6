"""What every measuring process does: one job, and answers to requests, a line of JSON each.

    python -m benchmarks.peers.jax JOB.npz    # by the Python of the peer's own environment

    ["losses", 0.01, 3]    the losses of 3 training steps at that learning rate
    ["time", 100]          seconds for each of 100 further steps, in a steady state
    ["about"]              what the peer runs on

A peer's file has a function `build(job, lr)` that starts from the job's weights and gives a call
that takes one step and returns its loss. Only NumPy is imported here: every environment has it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from benchmarks.timing import LEARNING_RATE


class Job(NamedTuple):
    """One model and one batch, everything float32 but the labels.

    Both recipes end in the cross-entropy of ten scores. Weights lie as PyTorch's do: (out, in) and
    (out, in, height, width), each followed by its bias.
    """

    model: str  # "mlp": 784-128-64-10 with ReLU, or "cnn": conv, pool, conv, pool, 128, 10
    images: np.ndarray  # (N, 1, 28, 28)
    labels: np.ndarray  # (N,)
    momentum: float
    weight_decay: float
    weights: list[np.ndarray]


Step = Callable[[], Any]  # its value is the loss: `float` waits for it, should it be on its way


class SGD:
    """v ← μ·v + (g + λ·w), w ← w − η·v, in place, for libraries that have no optimizer."""

    def __init__(self, arrays: list[np.ndarray], job: Job, lr: float) -> None:
        self.arrays, self.job, self.lr = arrays, job, lr
        self.velocities = [np.zeros_like(array) for array in arrays]

    def step(self, gradients: Iterable[np.ndarray]) -> None:
        for w, v, g in zip(self.arrays, self.velocities, gradients, strict=True):
            v *= self.job.momentum
            v += g
            v += self.job.weight_decay * w
            w -= self.lr * v


def write_job(path: str, job: Job) -> None:
    """Into a file for `read_job`."""
    weights = {f"weight{i}": weight for i, weight in enumerate(job.weights)}
    np.savez(path, **{**job._asdict(), "weights": len(weights)}, **weights)


def read_job(path: str) -> Job:
    with np.load(path) as file:
        weights = [file[f"weight{i}"] for i in range(int(file["weights"]))]
        return Job(
            str(file["model"]),
            file["images"],
            file["labels"],
            float(file["momentum"]),
            float(file["weight_decay"]),
            weights,
        )


def serve(build: Callable[[Job, float], Step], *packages: str, **facts: Any) -> None:
    """Answer until standard input ends. `facts` are told with the versions of the packages."""
    job = read_job(sys.argv[1])
    step = build(job, LEARNING_RATE)
    wall = busy = 0.0
    for line in sys.stdin:
        kind, *values = json.loads(line)
        if kind == "losses":
            lr, count = values
            trained = build(job, lr)
            answer: Any = [float(trained()) for _ in range(count)]
        elif kind == "time":
            started, used = time.perf_counter(), time.process_time()
            for _ in range(values[0]):
                loss = step()
            float(loss)
            seconds = time.perf_counter() - started
            wall, busy = wall + seconds, busy + time.process_time() - used
            answer = seconds / values[0]
        else:
            versions = {package: version(package) for package in packages}
            answer = {"versions": versions, "cores_busy": round(busy / wall, 2), **facts}
        print(json.dumps(answer), flush=True)
