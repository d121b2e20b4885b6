"""Normalisation to mean 0 and variance 1. g stands for the incoming gradient ∂L/∂y.

With x̂ = (x - μ)/σ over m elements, and ĝ = g·γ the gradient at x̂:

    ∂L/∂x = (ĝ - mean(ĝ) - x̂·mean(ĝ·x̂)) / σ

The two means are what μ and σ pass back: x̂ can be neither shifted nor stretched by x.
(Ioffe & Szegedy 2015, arXiv:1502.03167; Ba et al. 2016, arXiv:1607.06450)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_fm.ops.fast.channels import as_rows, channel_sums, from_rows, scale_and_shift
from tinygrad_fm.ops.fast.layout import elementwise
from tinygrad_fm.ops.fast.memory import empty
from tinygrad_fm.ops.function import Array, Function, Gradients


class BatchNorm(Function):
    """Each channel normalised over the batch (and the image): x (N, C) or (N, C, …).

    In training, μ and σ² are the batch's, and the running estimates move towards them:
    running = (1 - momentum)·running + momentum·batch, with the unbiased variance. In evaluation
    the running estimates are used as they are, and pass nothing back.

    y = x·a + b with a = γ/σ and b = β - μ·a, one pass over x. Put in terms of x instead of x̂, the
    formula above is ∂L/∂x = a·g + d·x + e with d = -a/σ·mean(g·x̂) and e = -a·mean(g) - d·μ.
    Inputs after x: γ and β (if `affine`), then the running mean and variance (if there are any).
    Saves them, and x, not x̂; in training not the running estimates, which go on moving.
    """

    effects = True  # the running estimates move

    @staticmethod
    def moved(inputs: Sequence[Any], **options: Any) -> Sequence[Any]:
        return inputs[1 + 2 * options["affine"] :] if options["training"] else ()

    def forward(
        self,
        x: Array,
        *parameters: Array,
        affine: bool,
        training: bool,
        momentum: float,
        eps: float,
    ) -> Array:
        rows = as_rows(x)
        scale_shift, running = parameters[: 2 * affine], parameters[2 * affine :]
        self.training, self.count = training, max(len(rows), 1)
        if training:
            mean, variance = moments_of_rows(rows)
            center = mean
            if far_from_zero(mean, variance):
                center = rows.mean(axis=0, dtype=mean.dtype)
                rows = rows - center  # in double precision from here on
                mean, variance = moments_of_rows(rows)
            if running and x.size:  # nothing has no mean
                move(running, center, variance, self.count, momentum)
        else:
            mean, variance = running
        self.mean, self.inverse_std = mean, 1 / np.sqrt(variance + eps)
        scale, shift = self.inverse_std, -mean * self.inverse_std
        if scale_shift:
            scale, shift = scale * scale_shift[0], shift * scale_shift[0] + scale_shift[1]
        self.scale = scale
        self.save_for_backward(rows, x, *(scale_shift if training else parameters))
        y = empty(rows.shape, x.dtype)
        scale_and_shift(rows, scale, shift, y)
        return from_rows(y, x.shape)

    def backward(self, grad: Array) -> Gradients:
        rows, scale = self.saved[0], self.scale
        g = as_rows(grad)
        dbias = channel_sums(g)
        dweight = (channel_sums(rows, g) - self.mean * dbias) * self.inverse_std  # Σ g·x̂
        dx = None
        if self.needs_input_grad[0]:
            dx = empty(g.shape, grad.dtype)
            scale_and_shift(g, scale, None, dx)
            if self.training:  # what μ and σ pass back
                slope = -scale * self.inverse_std * dweight / self.count
                offset = -scale * dbias / self.count - slope * self.mean
                passed = empty(g.shape, grad.dtype)
                scale_and_shift(rows, slope, offset, passed)
                elementwise(np.add, dx, passed, dx)
            dx = from_rows(dx, grad.shape)
        return self.wanted(dx, dweight.astype(grad.dtype), dbias.astype(grad.dtype))

    @staticmethod
    def twin(
        x: Any, *parameters: Any, affine: bool, training: bool, momentum: float, eps: float
    ) -> Any:
        """By the definition, without moving the running estimates."""
        shape = (-1, *(1,) * (x.ndim - 2))
        scale_shift = [p.reshape(shape) for p in parameters[: 2 * affine]]
        if training:
            return normalised(x, (0, *range(2, x.ndim)), eps, scale_shift)
        mean, variance = (p.reshape(shape) for p in parameters[2 * affine :])
        x_hat = (x - mean) / np.sqrt(variance + eps)
        return x_hat * scale_shift[0] + scale_shift[1] if affine else x_hat


class Count(Function):
    """One more batch: adds 1 to x, in place, and returns it. No derivative."""

    effects = True

    @staticmethod
    def moved(inputs: Sequence[Any], **options: Any) -> Sequence[Any]:
        return inputs

    def forward(self, x: Array) -> Array:
        x += 1
        return x.copy()


def moments_of_rows(rows: Array) -> tuple[Array, Array]:
    """Mean and (biased) variance of each channel of rows (M, C), in double precision."""
    return moments(np.array([channel_sums(rows), channel_sums(rows, rows)]), max(len(rows), 1))


def moments(sums: Array, count: int) -> tuple[Array, Array]:
    """Mean and (biased) variance from Σ x and Σ x², (2, C), over `count` numbers."""
    with np.errstate(invalid="ignore"):
        mean, square = sums / count
        return mean, square - mean * mean


def far_from_zero(mean: Array, variance: Array) -> bool:
    """Whether E[x²] - μ² has lost more than a digit, or σ⁻² nears what is 0 in float32."""
    least = 0.05 * (mean * mean).real
    return not np.all((variance.real >= least) & (variance.real < 1e30))


def move(
    running: Sequence[Array], mean: Array, variance: Array, count: int, momentum: float
) -> None:
    """running = (1 - momentum)·running + momentum·batch, in place, with the unbiased variance."""
    for estimate, batch in zip(running, (mean, variance * (count / (count - 1))), strict=True):
        estimate *= 1 - momentum
        estimate += momentum * batch.real


class LayerNorm(Function):
    """Each example normalised over its last axes, as many as `dims`. Saves x, γ, β, x̂ and 1/σ."""

    def forward(self, x: Array, *affine: Array, dims: int, eps: float) -> Array:
        self.axes = tuple(range(x.ndim - dims, x.ndim))
        self.count = max(math.prod(x.shape[x.ndim - dims :]), 1)
        centred = x - self.mean(x)
        centred -= self.mean(centred)  # what the first mean was rounded by
        wide = np.result_type(x, np.float64)  # the square of 1e20 is no float32
        variance = self.mean(np.multiply(centred, centred, dtype=wide))
        inverse_std = (1 / np.sqrt(variance + eps)).astype(x.dtype)
        x_hat = centred * inverse_std
        self.save_for_backward(x, *affine, x_hat, inverse_std)
        return x_hat * affine[0] + affine[1] if affine else x_hat

    def backward(self, grad: Array) -> Gradients:
        _, *affine, x_hat, inverse_std = self.saved
        g = grad * affine[0] if affine else grad
        dx = (g - self.mean(g) - x_hat * self.mean(g * x_hat)) * inverse_std
        if not affine:
            return dx
        batch = tuple(range(grad.ndim - len(self.axes)))
        return self.wanted(dx, (grad * x_hat).sum(axis=batch), grad.sum(axis=batch))

    def mean(self, x: Array) -> Array:
        return x.sum(axis=self.axes, keepdims=True) / self.count

    @staticmethod
    def twin(x: Any, *affine: Any, dims: int, eps: float) -> Any:
        """By the definition."""
        return normalised(x, tuple(range(x.ndim - dims, x.ndim)), eps, affine)


def normalised(x: Any, axes: tuple[int, ...], eps: float, affine: Sequence[Any]) -> Any:
    """γ·(x - μ)/√(σ² + eps) + β with mean and variance over `axes`, in plain operations."""
    centred = x - x.mean(axis=axes, keepdims=True)
    x_hat = centred / np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + eps)
    return x_hat * affine[0] + affine[1] if affine else x_hat


def batch_norm_reference(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """Batch normalisation in training, by its definition, channel by channel."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        channel = x[:, c]
        y[:, c] = weight[c] * (channel - channel.mean()) / np.sqrt(channel.var() + eps) + bias[c]
    return y
