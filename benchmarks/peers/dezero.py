"""DeZero: a framework for a book, in NumPy, with layers' functions and optimizers of its own."""

from __future__ import annotations

from typing import Any

import dezero.functions as F
import numpy as np
from dezero import Layer, Parameter
from dezero.optimizers import MomentumSGD, WeightDecay

from benchmarks.peers.serve import Job, Step, serve


def build(job: Job, lr: float) -> Step:
    # Its linear layers want (in, out).
    weights = [Parameter((w.T if w.ndim == 2 else w).copy()) for w in job.weights]
    owner = Layer()
    for i, weight in enumerate(weights):
        setattr(owner, f"weight{i}", weight)
    optimizer = MomentumSGD(lr, job.momentum).setup(owner)
    optimizer.add_hook(WeightDecay(job.weight_decay))
    network = {"mlp": mlp, "cnn": cnn}[job.model]
    # Its softmax subtracts them as numbers of their own type: wider ones would make all float64.
    labels = job.labels.astype(np.int16)

    def step() -> Any:
        loss = F.softmax_cross_entropy(network(job.images, weights), labels)
        owner.cleargrads()
        loss.backward()
        optimizer.update()
        return loss.data

    return step


def mlp(x: Any, weights: list[Any]) -> Any:
    w1, b1, w2, b2, w3, b3 = weights
    x = F.relu(F.linear(x.reshape(len(x), -1), w1, b1))
    x = F.relu(F.linear(x, w2, b2))
    return F.linear(x, w3, b3)


def cnn(x: Any, weights: list[Any]) -> Any:
    w1, b1, w2, b2, w3, b3, w4, b4 = weights
    for w, b in ((w1, b1), (w2, b2)):
        x = F.pooling(F.relu(F.conv2d(x, w, b, stride=1, pad=1)), 2, 2)
    x = F.relu(F.linear(F.reshape(x, (len(x), -1)), w3, b3))
    return F.linear(x, w4, b4)


if __name__ == "__main__":
    serve(build, "dezero", "numpy")
