"""Normalisation to mean 0 and variance 1. g stands for the incoming gradient ∂L/∂y.

With x̂ = (x - μ)/σ over m elements, and ĝ = g·γ the gradient at x̂:

    ∂L/∂x = (ĝ - mean(ĝ) - x̂·mean(ĝ·x̂)) / σ

The two means are what μ and σ pass back: x̂ can be neither shifted nor stretched by x.
(Ioffe & Szegedy 2015, arXiv:1502.03167; Ba et al. 2016, arXiv:1607.06450)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_fm.ops.elementwise import ReLU
from tinygrad_fm.ops.fast.by_rows import as_rows as row_view
from tinygrad_fm.ops.fast.by_rows import for_rows, row_order, total
from tinygrad_fm.ops.fast.channels import as_rows, channel_sums, combine, from_rows, let_through
from tinygrad_fm.ops.fast.memory import empty, empty_in
from tinygrad_fm.ops.fast.sums import column_sum
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

    A plan takes what follows together with it: y = relu(x·a + b + z), where z comes last and is
    there if `residual`. Then g is what ReLU lets through, and ∂L/∂z; y is saved as well.
    """

    effects = True  # the running estimates move

    @staticmethod
    def moved(inputs: Sequence[Any], **options: Any) -> Sequence[Any]:
        last = len(inputs) - options.get("residual", False)
        return inputs[1 + 2 * options["affine"] : last] if options["training"] else ()

    def forward(
        self,
        x: Array,
        *others: Array,
        affine: bool,
        training: bool,
        momentum: float,
        eps: float,
        relu: bool = False,
        residual: bool = False,
    ) -> Array:
        rows, last = as_rows(x), len(others) - residual
        scale_shift, running, added = others[: 2 * affine], others[2 * affine : last], others[last:]
        self.affine, self.training, self.residual = affine, training, residual
        self.count = max(len(rows), 1)
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
        out = empty(rows.shape, x.dtype)
        combine(out, [(rows, scale)], shift, *map(as_rows, added), relu=relu)
        y = from_rows(out, x.shape)
        kept = (*scale_shift, *added) if training else others
        self.save_for_backward(rows, y if relu else None, x, *kept)
        return y

    def backward(self, grad: Array) -> Gradients:
        rows, y, *_ = self.saved
        g, write = as_rows(grad), None
        if y is not None:
            g, write = let_through(g, as_rows(y))
        dbias, product = channel_sums(g, rows, write=write)
        dweight = (product - self.mean * dbias) * self.inverse_std  # Σ g·x̂
        dx = dz = from_rows(g, grad.shape)
        if self.needs_input_grad[0]:
            terms, offset = [(g, self.scale)], []
            if self.training:  # what μ and σ pass back
                slope = -self.scale * self.inverse_std * dweight / self.count
                offset.append(-self.scale * dbias / self.count - slope * self.mean)
                terms.append((rows, slope))
            reusable = y is not None and not self.residual  # else ∂L/∂z or the caller's
            out = g if reusable else empty(g.shape, grad.dtype)
            combine(out, terms, *offset)
            dx = from_rows(out, grad.shape)
        given = (dweight.astype(grad.dtype), dbias.astype(grad.dtype)) if self.affine else ()
        between = len(self.needs_input_grad) - 2 - len(given)  # running estimates
        return self.wanted(dx, *given, *(None,) * between, dz)

    @staticmethod
    def twin(
        x: Any,
        *others: Any,
        affine: bool,
        training: bool,
        momentum: float,
        eps: float,
        relu: bool = False,
        residual: bool = False,
    ) -> Any:
        """By the definition, without moving the running estimates."""
        shape = (-1, *(1,) * (x.ndim - 2))
        scale_shift = [p.reshape(shape) for p in others[: 2 * affine]]
        if training:
            y = normalised(x, (0, *range(2, x.ndim)), eps, scale_shift)
        else:
            mean, variance = (p.reshape(shape) for p in others[2 * affine : 2 * affine + 2])
            y = (x - mean) / np.sqrt(variance + eps)
            y = y * scale_shift[0] + scale_shift[1] if affine else y
        y = y + others[-1] if residual else y
        return ReLU.of(y) if relu else y


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
    return moments(channel_sums(rows, rows), max(len(rows), 1))


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
    """Each example normalised over its last axes, as many as `dims`. Saves x, γ, β, x̂ and 1/σ.

    Examples are rows; a chunk of them is normalised at a time, and its x̂ is used while it is in the
    cache.
    """

    def forward(self, x: Array, *affine: Array, dims: int, eps: float) -> Array:
        self.dims, self.order = dims, row_order(x, dims)
        rows = row_view(x, self.order, dims)
        x_hat, inverse_std = empty(rows.shape, x.dtype), np.empty((len(rows), 1), x.dtype)
        result = empty_in(self.order, x.shape, x.dtype)
        y = row_view(result, self.order, dims)
        weight, bias = (a.reshape(-1) for a in affine or (x_hat[:0], x_hat[:0]))

        def body(s: slice) -> None:
            centred = rows[s] - mean_of(rows[s])
            centred -= mean_of(centred)  # what the first mean was rounded by
            inverse_std[s] = 1 / np.sqrt(mean_square(centred) + eps)
            np.multiply(centred, inverse_std[s], out=x_hat[s])
            y[s] = x_hat[s] * weight + bias if affine else x_hat[s]

        for_rows(body, rows)
        self.save_for_backward(x, *affine, x_hat, inverse_std)
        return result

    def backward(self, grad: Array) -> Gradients:
        _, *affine, x_hat, inverse_std = self.saved
        rows = row_view(grad, self.order, self.dims)
        result = empty_in(self.order, grad.shape, grad.dtype)
        dx = row_view(result, self.order, self.dims)
        sums: dict[int, tuple[Array, Array]] = {}  # Σ g·x̂ and Σ g of each chunk

        def body(s: slice) -> None:
            g = rows[s]
            if affine:
                sums[s.start] = column_sum(g * x_hat[s]), column_sum(g)
                g = g * affine[0].reshape(-1)
            part = g - x_hat[s] * mean_of(g * x_hat[s])
            part -= mean_of(g)
            np.multiply(part, inverse_std[s], out=dx[s])

        for_rows(body, rows)
        if not affine:
            return result
        dweight, dbias = (
            np.sum(parts, axis=0).reshape(affine[0].shape)
            for parts in zip(*(sums[start] for start in sorted(sums)), strict=True)
        )
        return self.wanted(result, dweight, dbias)

    @staticmethod
    def twin(x: Any, *affine: Any, dims: int, eps: float) -> Any:
        """By the definition."""
        return normalised(x, tuple(range(x.ndim - dims, x.ndim)), eps, affine)


def mean_of(rows: Array) -> Array:
    return total(rows, 1) / max(rows.shape[1], 1)


def mean_square(rows: Array) -> Array:
    """The mean of x² in each row, in double precision where single is too narrow: for 1e±20."""
    with np.errstate(over="ignore", invalid="ignore"):
        square = mean_of(rows * rows)
        if rows.dtype.char in "fF" and not np.all((square.real > 1e-30) & (square.real < 1e30)):
            square = mean_of(np.multiply(rows, rows, dtype=np.result_type(rows, np.float64)))
    return square


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
