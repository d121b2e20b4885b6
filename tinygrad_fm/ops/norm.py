"""Normalisation to mean 0 and variance 1. g stands for the incoming gradient ∂L/∂y.

With x̂ = (x - μ)/σ over m elements, and ĝ = g·γ the gradient at x̂:

    ∂L/∂x = (ĝ - mean(ĝ) - x̂·mean(ĝ·x̂)) / σ

The two means are what μ and σ pass back: x̂ can be neither shifted nor stretched by x.
(Ioffe & Szegedy 2015, arXiv:1502.03167; Ba et al. 2016, arXiv:1607.06450)
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_fm.ops.function import Function, Gradients

Axes = tuple[int, ...]


class Normalise(Function):
    """What batch and layer normalisation share: y = γ·x̂ + β. Saves x̂, 1/σ and γ."""

    def finish(
        self,
        x_hat: np.ndarray,
        inverse_std: np.ndarray,
        affine: tuple[np.ndarray, ...],
        shape: Axes,
    ) -> np.ndarray:
        """Scale and shift x̂ by γ and β, which broadcast when seen in `shape`."""
        self.affine_shape = shape
        self.save_for_backward(x_hat, inverse_std, *affine[:1])
        if not affine:
            return x_hat
        weight, bias = affine
        y = x_hat * weight.reshape(shape)
        y += bias.reshape(shape)
        return y

    def gradients(self, grad: np.ndarray, axes: Axes, moving: bool) -> Gradients:
        """`moving`: whether μ and σ were computed from x itself."""
        x_hat, inverse_std, *weight = self.saved
        need_x, *need_affine = self.needs_input_grad
        dx = None
        if need_x:
            dx = grad * weight[0].reshape(self.affine_shape) if weight else grad
            if moving:
                mean = dx.mean(axis=axes, keepdims=True)
                slope = (dx * x_hat).mean(axis=axes, keepdims=True)
                dx = dx - mean - x_hat * slope
            dx = dx * inverse_std
        if not weight:
            return (dx,)
        kept = tuple(i for i, n in enumerate(self.affine_shape) if n == 1)
        shape = weight[0].shape
        need_weight, need_bias = need_affine
        return (
            dx,
            (grad * x_hat).sum(axis=kept).reshape(shape) if need_weight else None,
            grad.sum(axis=kept).reshape(shape) if need_bias else None,
        )


class BatchNorm(Normalise):
    """Each channel normalised over the batch (and the image): x (N, C) or (N, C, …).

    In training, μ and σ² are the batch's, and the running estimates move towards them:
    running = (1 - momentum)·running + momentum·batch, with the unbiased variance. In evaluation
    the running estimates are used as they are.
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
        self.axes = (0, *range(2, x.ndim))
        self.training = training
        shape = tuple(n if i == 1 else 1 for i, n in enumerate(x.shape))
        if training:
            mean, variance, centred = moments(x, self.axes)
            if running is not None:
                count = x.size // x.shape[1]
                _move(running[0], mean.real.ravel(), momentum)
                _move(running[1], variance.real.ravel() * (count / (count - 1)), momentum)
        else:
            assert running is not None  # nn.functional checks it
            mean, variance = (r.reshape(shape) for r in running)
            centred = x - mean
        inverse_std = 1 / np.sqrt(variance + eps)
        return self.finish(centred * inverse_std, inverse_std, affine, shape)

    def backward(self, grad: np.ndarray) -> Gradients:
        return self.gradients(grad, self.axes, moving=self.training)


class LayerNorm(Normalise):
    """Each example normalised over its last axes (as many as `dims`)."""

    def forward(self, x: np.ndarray, *affine: np.ndarray, dims: int, eps: float) -> np.ndarray:
        self.axes = tuple(range(x.ndim - dims, x.ndim))
        _, variance, centred = moments(x, self.axes)
        inverse_std = 1 / np.sqrt(variance + eps)
        shape = (1,) * (x.ndim - dims) + x.shape[x.ndim - dims :]
        return self.finish(centred * inverse_std, inverse_std, affine, shape)

    def backward(self, grad: np.ndarray) -> Gradients:
        return self.gradients(grad, self.axes, moving=True)


def moments(x: np.ndarray, axes: Axes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and (biased) variance along axes, kept as size 1, and x - mean."""
    count = math.prod(x.shape[i] for i in axes)
    mean = x.sum(axis=axes, keepdims=True) / count
    centred = x - mean
    variance = (centred * centred).sum(axis=axes, keepdims=True) / count
    return mean, variance, centred


def _move(running: np.ndarray, batch: np.ndarray, momentum: float) -> None:
    running *= 1 - momentum
    running += momentum * batch


def batch_norm_reference(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float
) -> np.ndarray:
    """Batch normalisation in training, by its definition, channel by channel."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        channel = x[:, c]
        y[:, c] = weight[c] * (channel - channel.mean()) / np.sqrt(channel.var() + eps) + bias[c]
    return y
