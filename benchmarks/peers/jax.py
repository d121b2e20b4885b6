"""JAX: the whole step as one function, compiled by XLA (`jit`), its weights updated in place.

Images as (N, H, W, C), and a frame of zeros in place of "SAME", were not faster.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.peers.serve import Job, Step, serve


def build(job: Job, lr: float) -> Step:
    images, labels = jnp.asarray(job.images), jnp.asarray(job.labels)
    weights = [jnp.array(w) for w in job.weights]
    velocities = [jnp.zeros_like(w) for w in weights]
    network = {"mlp": mlp, "cnn": cnn}[job.model]

    def loss_of(weights: list[Any], images: Any, labels: Any) -> Any:
        log_p = jax.nn.log_softmax(network(images, weights))
        return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(weights: Any, velocities: Any, images: Any, labels: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(weights, images, labels)
        velocities = [
            job.momentum * v + g + job.weight_decay * w
            for w, v, g in zip(weights, velocities, gradients, strict=True)
        ]
        weights = [w - lr * v for w, v in zip(weights, velocities, strict=True)]
        return weights, velocities, loss

    def step() -> Any:
        nonlocal weights, velocities
        weights, velocities, loss = update(weights, velocities, images, labels)
        return loss

    return step


def mlp(x: Any, weights: list[Any]) -> Any:
    w1, b1, w2, b2, w3, b3 = weights
    x = jax.nn.relu(x.reshape(len(x), -1) @ w1.T + b1)
    x = jax.nn.relu(x @ w2.T + b2)
    return x @ w3.T + b3


def cnn(x: Any, weights: list[Any]) -> Any:
    w1, b1, w2, b2, w3, b3, w4, b4 = weights
    for w, b in ((w1, b1), (w2, b2)):
        x = lax.conv(x, w, (1, 1), "SAME") + b.reshape(1, -1, 1, 1)
        window = (1, 1, 2, 2)
        x = lax.reduce_window(jax.nn.relu(x), -jnp.inf, lax.max, window, window, "VALID")
    x = jax.nn.relu(x.reshape(len(x), -1) @ w3.T + b3)
    return x @ w4.T + b4


if __name__ == "__main__":
    serve(build, "jax", "jaxlib", "numpy", nproc=os.environ.get("NPROC"))
