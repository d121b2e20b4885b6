"""MyGrad: NumPy arrays with a graph. It has convolution and pooling, but no optimizer."""

from __future__ import annotations

from typing import Any

import mygrad
from mygrad.nnet.activations import relu
from mygrad.nnet.layers import conv_nd, max_pool
from mygrad.nnet.losses import softmax_crossentropy

from benchmarks.peers.serve import SGD, Job, Step, serve


def build(job: Job, lr: float) -> Step:
    weights = [mygrad.tensor(w.copy()) for w in job.weights]
    rule = SGD([w.data for w in weights], job, lr)
    network = {"mlp": mlp, "cnn": cnn}[job.model]

    def step() -> Any:
        loss = softmax_crossentropy(network(job.images, weights), job.labels)
        loss.backward()
        rule.step(w.grad for w in weights)
        return loss

    return step


def mlp(x: Any, weights: list[Any]) -> Any:
    w1, b1, w2, b2, w3, b3 = weights
    x = relu(mygrad.matmul(x.reshape(len(x), -1), w1.T) + b1)
    x = relu(mygrad.matmul(x, w2.T) + b2)
    return mygrad.matmul(x, w3.T) + b3


def cnn(x: Any, weights: list[Any]) -> Any:
    w1, b1, w2, b2, w3, b3, w4, b4 = weights
    for w, b in ((w1, b1), (w2, b2)):
        x = conv_nd(x, w, stride=1, padding=1) + b.reshape(1, -1, 1, 1)
        x = max_pool(relu(x), (2, 2), 2)
    x = relu(mygrad.matmul(x.reshape(len(x), -1), w3.T) + b3)
    return mygrad.matmul(x, w4.T) + b4


if __name__ == "__main__":
    mygrad.turn_memory_guarding_off()  # as its documentation advises where speed counts
    serve(build, "mygrad", "numpy")
