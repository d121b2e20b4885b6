"""Normalisation to mean 0 and variance 1. g stands for the incoming gradient ∂L/∂y.

With x̂ = (x - μ)/σ over m elements, and ĝ = g·γ the gradient at x̂:

    ∂L/∂x = (ĝ - mean(ĝ) - x̂·mean(ĝ·x̂)) / σ

The two means are what μ and σ pass back: x̂ can be neither shifted nor stretched by x.
(Ioffe & Szegedy 2015, arXiv:1502.03167; Ba et al. 2016, arXiv:1607.06450)
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_fm.ops.channels import (
    add_in_place,
    as_rows,
    channel_sums,
    from_rows,
    scale_and_shift,
)
from tinygrad_fm.ops.function import Function, Gradients
from tinygrad_fm.ops.memory import empty


class BatchNorm(Function):
    """Each channel normalised over the batch (and the image): x (N, C) or (N, C, …).

    In training, μ and σ² are the batch's, and the running estimates move towards them:
    running = (1 - momentum)·running + momentum·batch, with the unbiased variance. In evaluation
    the running estimates are used as they are, and pass nothing back.

    y = x·a + b with a = γ/σ and b = β - μ·a, one pass over x. Put in terms of x instead of x̂, the
    formula above is ∂L/∂x = a·g + d·x + e with d = -a/σ·mean(g·x̂) and e = -a·mean(g) - d·μ.
    Saves x, not x̂.
    """

    def forward(
        self,
        x: np.ndarray,
        *affine: np.ndarray,
        running: tuple[np.ndarray, np.ndarray] | None,
        training: bool,
        momentum: float,
        eps: float,
    ) -> np.ndarray:
        self.training, self.count = training, x.size // max(x.shape[1], 1)
        rows = as_rows(x)
        if training:
            mean, variance = moments_of_rows(rows)
            if running is not None:
                move(running[0], mean.real, momentum)
                move(running[1], variance.real * (self.count / (self.count - 1)), momentum)
        else:
            assert running is not None  # nn.functional checks it
            mean, variance = running[0].copy(), running[1]  # backward wants it as it is now
        self.mean, self.inverse_std = mean, 1 / np.sqrt(variance + eps)
        scale, shift = self.inverse_std, -mean * self.inverse_std
        if affine:
            scale, shift = scale * affine[0], shift * affine[0] + affine[1]
        self.save_for_backward(x, rows, *affine[:1])
        y = empty(rows.shape, x.dtype)
        scale_and_shift(rows, scale, shift, y)
        return from_rows(y, x.shape)

    def backward(self, grad: np.ndarray) -> Gradients:
        _, rows, *weight = self.saved
        g = as_rows(grad)
        dbias = channel_sums(g)
        dweight = (channel_sums(g, rows) - self.mean * dbias) * self.inverse_std  # Σ g·x̂
        dx = None
        if self.needs_input_grad[0]:
            scale = self.inverse_std * weight[0] if weight else self.inverse_std
            dx = empty(g.shape, grad.dtype)
            if self.training:
                slope = -scale * self.inverse_std * dweight / self.count
                scale_and_shift(rows, slope, -scale * dbias / self.count - slope * self.mean, dx)
                scaled = empty(g.shape, grad.dtype)
                scale_and_shift(g, scale, None, scaled)
                add_in_place(dx, scaled)
            else:
                scale_and_shift(g, scale, None, dx)
            dx = from_rows(dx, grad.shape)
        return self.wanted(dx, dweight.astype(grad.dtype), dbias.astype(grad.dtype))


# E[x²] - μ² has lost more than two digits where the variance is this small beside μ².
CANCELLED = 0.01


def moments_of_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and (biased) variance of each channel of rows (M, C), in double precision."""
    count = len(rows)
    mean = channel_sums(rows) / count
    variance = channel_sums(rows, rows) / count - mean * mean
    if np.any(variance.real < CANCELLED * (mean * mean).real):
        centred = empty(rows.shape, rows.dtype)
        scale_and_shift(rows, np.ones_like(mean), -mean, centred)
        variance = channel_sums(centred, centred) / count
    return mean, variance


def move(running: np.ndarray, batch: np.ndarray, momentum: float) -> None:
    """running = (1 - momentum)·running + momentum·batch, in place."""
    running *= 1 - momentum
    running += momentum * batch


class LayerNorm(Function):
    """Each example normalised over its last axes, as many as `dims`. Saves x̂, 1/σ and γ."""

    def forward(self, x: np.ndarray, *affine: np.ndarray, dims: int, eps: float) -> np.ndarray:
        self.axes = tuple(range(x.ndim - dims, x.ndim))
        count = math.prod(x.shape[x.ndim - dims :])
        centred = x - x.sum(axis=self.axes, keepdims=True) / count
        variance = (centred * centred).sum(axis=self.axes, keepdims=True) / count
        inverse_std = 1 / np.sqrt(variance + eps)
        x_hat = centred * inverse_std
        self.save_for_backward(x_hat, inverse_std, *affine[:1])
        return x_hat * affine[0] + affine[1] if affine else x_hat

    def backward(self, grad: np.ndarray) -> Gradients:
        x_hat, inverse_std, *weight = self.saved
        g = grad * weight[0] if weight else grad
        mean = g.mean(axis=self.axes, keepdims=True)
        slope = (g * x_hat).mean(axis=self.axes, keepdims=True)
        dx = (g - mean - x_hat * slope) * inverse_std
        if not weight:
            return dx
        batch = tuple(range(grad.ndim - len(self.axes)))
        return self.wanted(dx, (grad * x_hat).sum(axis=batch), grad.sum(axis=batch))


def batch_norm_reference(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float
) -> np.ndarray:
    """Batch normalisation in training, by its definition, channel by channel."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        channel = x[:, c]
        y[:, c] = weight[c] * (channel - channel.mean()) / np.sqrt(channel.var() + eps) + bias[c]
    return y
