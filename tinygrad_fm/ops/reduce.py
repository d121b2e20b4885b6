"""Operations that fold axes away, and running sums. g stands for the incoming gradient ∂L/∂y.

`axes` is always a tuple of non-negative axes; a reduced axis stays as size 1 if `keepdim`.
"""

from __future__ import annotations

import math
import operator
from functools import reduce
from typing import Any

import numpy as np

from tinygrad_fm.ops.elementwise import Cast
from tinygrad_fm.ops.fast.chunks import NUMBERS
from tinygrad_fm.ops.fast.sums import sums
from tinygrad_fm.ops.function import Array, Function, Gradients

Axes = tuple[int, ...]


class Reduction(Function):
    """Remembers the input's shape, and stretches a reduced array back over it."""

    def remember(self, x: Array, axes: Axes) -> None:
        self.shape, self.axes = x.shape, axes
        self.kept_shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        self.count = math.prod(x.shape[i] for i in axes)

    def total(self, x: Array, keepdim: bool) -> Array:
        """Σ x over `axes`."""
        if x.size <= NUMBERS or x.dtype.kind != "f":
            return x.sum(axis=self.axes, keepdims=keepdim)
        y = sums(x, self.axes)
        return y if keepdim else y.squeeze(self.axes)

    def stretch(self, reduced: Array) -> Array:
        """A read-only view of a reduced array in the input's shape."""
        return np.broadcast_to(reduced.reshape(self.kept_shape), self.shape)


class Sum(Reduction):
    """y = Σ x;  ∂L/∂x = g, copied to every summand."""

    def forward(self, x: Array, axes: Axes, keepdim: bool) -> Array:
        self.remember(x, axes)
        return self.total(x, keepdim)

    def backward(self, grad: Array) -> Gradients:
        return self.stretch(grad)


class Mean(Reduction):
    """y = Σ x / n;  ∂L/∂x = g/n."""

    def forward(self, x: Array, axes: Axes, keepdim: bool) -> Array:
        self.remember(x, axes)
        with np.errstate(divide="ignore", invalid="ignore"):  # the mean of nothing is NaN
            return np.divide(self.total(x, keepdim), self.count)

    def backward(self, grad: Array) -> Gradients:
        return self.stretch(grad / max(self.count, 1))


class Var(Reduction):
    """y = Σ (x - μ)² / (n - correction);  ∂L/∂x = 2g(x - μ)/(n - correction). Saves x.

    Sums are taken in float64. Written without |·|², so that it stays analytic for the complex-step
    gradient check.
    """

    def forward(self, x: Array, axes: Axes, keepdim: bool, correction: float) -> Array:
        self.save_for_backward(x)
        return self.variance(x, axes, keepdim, correction).astype(x.dtype)

    def variance(self, x: Array, axes: Axes, keepdim: bool, correction: float) -> Array:
        """In float64, where the square of 1e20 or 1e-30 fits."""
        self.remember(x, axes)
        self.freedom = max(self.count - correction, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            centred = self.centred(x)
            return np.divide((centred * centred).sum(axis=axes, keepdims=keepdim), self.freedom)

    def centred(self, x: Array) -> Array:
        """x - μ in float64."""
        wide = Cast.of(x, dtype=np.promote_types(x.dtype, np.float64))
        return wide - wide.sum(axis=self.axes, keepdims=True) / self.count

    def backward(self, grad: Array) -> Gradients:
        (x,) = self.saved
        with np.errstate(divide="ignore", invalid="ignore"):
            centred = Cast.of(self.centred(x), dtype=x.dtype)
            return self.stretch(np.divide(2 * grad, self.freedom)) * centred


class Std(Var):
    """y = √(Σ (x - μ)² / (n - correction));  ∂L/∂x = g(x - μ)/((n - correction)·y), 0 where y = 0.

    Saves x and y. The root is taken in float64.
    """

    def forward(self, x: Array, axes: Axes, keepdim: bool, correction: float) -> Array:
        variance = self.variance(x, axes, keepdim, correction)
        y = np.asarray(np.sqrt(variance).astype(x.dtype))
        self.save_for_backward(x, y)
        return y

    def backward(self, grad: Array) -> Gradients:
        x, y = self.saved
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(y == 0, 0, grad / y / self.freedom)
            return self.stretch(slope) * Cast.of(self.centred(x), dtype=x.dtype)


class Prod(Reduction):
    """y = Π x;  ∂L/∂xᵢ = g·Π_{j≠i} xⱼ. Saves x.

    The product of the others is (all before i)·(all after i), so that zeros need no special case.
    """

    def forward(self, x: Array, axes: Axes, keepdim: bool) -> Array:
        self.remember(x, axes)
        self.save_for_backward(x)
        return x.prod(axis=axes, keepdims=keepdim)

    def backward(self, grad: Array) -> Gradients:
        (x,) = self.saved
        kept = [i for i in range(x.ndim) if i not in self.axes]
        order = (*kept, *self.axes)
        flat = x.transpose(order).reshape(*(x.shape[i] for i in kept), self.count)
        others = np.ones_like(flat)
        np.cumprod(flat[..., :-1], axis=-1, out=others[..., 1:])
        others[..., :-1] *= np.cumprod(flat[..., :0:-1], axis=-1)[..., ::-1]
        others = others.reshape([x.shape[i] for i in order]).transpose(np.argsort(order))
        return self.stretch(grad) * others

    @staticmethod
    def twin(x: Any, axes: Axes, keepdim: bool) -> Any:
        """One factor after the other."""
        for axis in sorted(axes, reverse=True):
            x = reduce(operator.mul, np.moveaxis(x, axis, 0), np.ones((), x.dtype))
            x = np.expand_dims(x, axis) if keepdim else x
        return x


class Extremum(Reduction):
    """y = max x or min x over `axes`;  g is shared out evenly among the elements equal to y."""

    def forward(self, x: Array, axes: Axes, keepdim: bool, largest: bool) -> Array:
        self.remember(x, axes)
        y = np.asarray((np.max if largest else np.min)(x, axis=axes, keepdims=keepdim))
        self.save_for_backward(x, y)
        return y

    def backward(self, grad: Array) -> Gradients:
        x, y = self.saved
        winners = x == self.stretch(y)
        ties = winners.sum(axis=self.axes, keepdims=True, dtype=grad.dtype)
        return self.stretch(grad) * winners / ties


class LogSumExp(Reduction):
    """y = m + ln Σ e^(x - m), m = max x;  ∂L/∂x = g·e^(x - y). Saves x and y."""

    def forward(self, x: Array, axes: Axes, keepdim: bool) -> Array:
        self.remember(x, axes)
        highest = x.max(axis=axes, keepdims=True, initial=-np.inf)
        highest = np.where(np.isfinite(highest), highest, 0)  # so that x - max x is no ∞ - ∞
        with np.errstate(divide="ignore"):
            y = np.log(np.exp(x - highest).sum(axis=axes, keepdims=True)) + highest
        y = y if keepdim else y.squeeze(axes)
        self.save_for_backward(x, y)
        return y

    def backward(self, grad: Array) -> Gradients:
        x, y = self.saved
        return self.stretch(grad) * np.exp(x - self.stretch(y))


class CumSum(Function):
    """yᵢ = Σ_{j≤i} xⱼ;  ∂L/∂xᵢ = Σ_{j≥i} gⱼ."""

    def forward(self, x: Array, axis: int) -> Array:
        self.axis = axis
        return np.cumsum(x, axis=axis).reshape(x.shape)  # of a number NumPy makes a vector

    def backward(self, grad: Array) -> Gradients:
        if grad.ndim == 0:
            return grad
        return np.flip(np.cumsum(np.flip(grad, self.axis), axis=self.axis), self.axis)
