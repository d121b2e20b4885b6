"""HIPS autograd: derivatives of NumPy code. Layers are written by hand, and there is no optimizer.

Its convolution turns the kernel over and knows no padding: the kernels are kept turned over, and
the images get their frame by `np.pad`. Pooling is a maximum over axes of length 2.
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as np
from autograd import value_and_grad
from autograd.scipy.signal import convolve

from benchmarks.peers.serve import SGD, Job, Step, serve

FRAME = ((0, 0), (0, 0), (1, 1), (1, 1))


def build(job: Job, lr: float) -> Step:
    # [..., ::-1, ::-1] of a convolution's kernels
    weights = [w[..., ::-1, ::-1].copy() if w.ndim == 4 else w.copy() for w in job.weights]
    rule = SGD(weights, job, lr)
    network = {"mlp": mlp, "cnn": cnn}[job.model]
    rows = np.arange(len(job.labels))

    def loss_of(weights: list[Any]) -> Any:
        x = network(job.images, weights)
        x = x - x.max(axis=1, keepdims=True)
        return np.mean(np.log(np.sum(np.exp(x), axis=1)) - x[rows, job.labels])

    loss_and_gradients = value_and_grad(loss_of)

    def step() -> Any:
        loss, gradients = loss_and_gradients(weights)
        rule.step(gradients)
        return loss

    return step


def mlp(x: Any, weights: list[Any]) -> Any:
    w1, b1, w2, b2, w3, b3 = weights
    x = np.maximum(np.dot(x.reshape(len(x), -1), w1.T) + b1, 0)
    x = np.maximum(np.dot(x, w2.T) + b2, 0)
    return np.dot(x, w3.T) + b3


def cnn(x: Any, weights: list[Any]) -> Any:
    w1, b1, w2, b2, w3, b3, w4, b4 = weights
    for w, b in ((w1, b1), (w2, b2)):
        x = np.pad(x, FRAME, "constant")
        x = convolve(x, w, axes=([2, 3], [2, 3]), dot_axes=([1], [1]), mode="valid")
        x = np.maximum(x + b.reshape(1, -1, 1, 1), 0)
        n, c, height, width = x.shape
        x = x.reshape(n, c, height // 2, 2, width // 2, 2).max(axis=(3, 5))
    x = np.maximum(np.dot(x.reshape(len(x), -1), w3.T) + b3, 0)
    return np.dot(x, w4.T) + b4


if __name__ == "__main__":
    serve(build, "autograd", "numpy", "scipy")
