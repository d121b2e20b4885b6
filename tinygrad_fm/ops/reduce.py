"""Operations that fold axes away, and running sums. g stands for the incoming gradient ∂L/∂y.

`axes` is always a tuple of non-negative axes; a reduced axis stays as size 1 if `keepdim`.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_fm.ops.function import Function, Gradients

Axes = tuple[int, ...]


class Reduction(Function):
    """Remembers the input's shape, and stretches a reduced array back over it."""

    def remember(self, x: np.ndarray, axes: Axes) -> None:
        self.shape, self.axes = x.shape, axes
        self.kept_shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        self.count = math.prod(x.shape[i] for i in axes)

    def stretch(self, reduced: np.ndarray) -> np.ndarray:
        """A read-only view of a reduced array in the input's shape."""
        return np.broadcast_to(reduced.reshape(self.kept_shape), self.shape)


class Sum(Reduction):
    """y = Σ x;  ∂L/∂x = g, copied to every summand."""

    def forward(self, x: np.ndarray, axes: Axes, keepdim: bool) -> np.ndarray:
        self.remember(x, axes)
        return x.sum(axis=axes, keepdims=keepdim)

    def backward(self, grad: np.ndarray) -> Gradients:
        return self.stretch(grad)


class Mean(Reduction):
    """y = Σ x / n;  ∂L/∂x = g/n."""

    def forward(self, x: np.ndarray, axes: Axes, keepdim: bool) -> np.ndarray:
        self.remember(x, axes)
        with np.errstate(divide="ignore", invalid="ignore"):  # the mean of nothing is NaN
            return np.divide(x.sum(axis=axes, keepdims=keepdim), self.count)

    def backward(self, grad: np.ndarray) -> Gradients:
        return self.stretch(grad / max(self.count, 1))


class Var(Reduction):
    """y = Σ (x - μ)² / (n - correction);  ∂L/∂x = 2g(x - μ)/(n - correction). Saves x - μ.

    Sums are taken in float64. Written without |·|², so that it stays analytic for the complex-step
    gradient check.
    """

    def forward(self, x: np.ndarray, axes: Axes, keepdim: bool, correction: float) -> np.ndarray:
        centred, y = self.spread(x, axes, keepdim, correction)
        self.save_for_backward(centred)
        return y.astype(x.dtype)

    def spread(
        self, x: np.ndarray, axes: Axes, keepdim: bool, correction: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """x - μ in x's dtype, and the variance in float64."""
        self.remember(x, axes)
        self.freedom = max(self.count - correction, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            wide = x.astype(np.promote_types(x.dtype, np.float64), copy=False)
            centred = wide - np.divide(wide.sum(axis=axes, keepdims=True), self.count)
            y = np.divide((centred * centred).sum(axis=axes, keepdims=keepdim), self.freedom)
            return centred.astype(x.dtype, copy=False), y

    def backward(self, grad: np.ndarray) -> Gradients:
        (centred,) = self.saved
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.stretch(np.divide(2 * grad, self.freedom)) * centred


class Std(Var):
    """y = √(Σ (x - μ)² / (n - correction));  ∂L/∂x = g(x - μ)/((n - correction)·y), 0 where y = 0.

    Saves x - μ and y. The root is taken in float64, where the square of 1e20 or 1e-30 fits.
    """

    def forward(self, x: np.ndarray, axes: Axes, keepdim: bool, correction: float) -> np.ndarray:
        centred, variance = self.spread(x, axes, keepdim, correction)
        y = np.asarray(np.sqrt(variance).astype(x.dtype))
        self.save_for_backward(centred, y)
        return y

    def backward(self, grad: np.ndarray) -> Gradients:
        centred, y = self.saved
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(y == 0, 0, grad / y / self.freedom)
            return self.stretch(slope) * centred


class Prod(Reduction):
    """y = Π x;  ∂L/∂xᵢ = g·Π_{j≠i} xⱼ. Saves x.

    The product of the others is (all before i)·(all after i), so that zeros need no special case.
    """

    def forward(self, x: np.ndarray, axes: Axes, keepdim: bool) -> np.ndarray:
        self.remember(x, axes)
        self.save_for_backward(x)
        return x.prod(axis=axes, keepdims=keepdim)

    def backward(self, grad: np.ndarray) -> Gradients:
        (x,) = self.saved
        kept = [i for i in range(x.ndim) if i not in self.axes]
        order = (*kept, *self.axes)
        flat = x.transpose(order).reshape(*(x.shape[i] for i in kept), self.count)
        others = np.ones_like(flat)
        np.cumprod(flat[..., :-1], axis=-1, out=others[..., 1:])
        others[..., :-1] *= np.cumprod(flat[..., :0:-1], axis=-1)[..., ::-1]
        others = others.reshape([x.shape[i] for i in order]).transpose(np.argsort(order))
        return self.stretch(grad) * others


class Extremum(Reduction):
    """y = max x or min x over `axes`;  g is shared out evenly among the elements equal to y."""

    def forward(self, x: np.ndarray, axes: Axes, keepdim: bool, largest: bool) -> np.ndarray:
        self.remember(x, axes)
        y = np.asarray((np.max if largest else np.min)(x, axis=axes, keepdims=keepdim))
        self.save_for_backward(x, y)
        return y

    def backward(self, grad: np.ndarray) -> Gradients:
        x, y = self.saved
        winners = x == self.stretch(y)
        ties = winners.sum(axis=self.axes, keepdims=True, dtype=grad.dtype)
        return self.stretch(grad) * winners / ties


class LogSumExp(Reduction):
    """y = m + ln Σ e^(x - m), m = max x;  ∂L/∂x = g·e^(x - y). Saves x and y."""

    def forward(self, x: np.ndarray, axes: Axes, keepdim: bool) -> np.ndarray:
        self.remember(x, axes)
        highest = finite_max(x, axes)
        with np.errstate(divide="ignore"):
            y = np.log(np.exp(x - highest).sum(axis=axes, keepdims=True)) + highest
        y = y if keepdim else y.squeeze(axes)
        self.save_for_backward(x, y)
        return y

    def backward(self, grad: np.ndarray) -> Gradients:
        x, y = self.saved
        return self.stretch(grad) * np.exp(x - self.stretch(y))


def finite_max(x: np.ndarray, axes: Axes) -> np.ndarray:
    """max x along axes (kept), with 0 for ±∞ (of nothing, too), so that x - max x is no ∞ - ∞."""
    highest = x.max(axis=axes, keepdims=True, initial=-np.inf)
    return np.where(np.isfinite(highest), highest, 0)


class CumSum(Function):
    """yᵢ = Σ_{j≤i} xⱼ;  ∂L/∂xᵢ = Σ_{j≥i} gⱼ."""

    def forward(self, x: np.ndarray, axis: int) -> np.ndarray:
        self.axis = axis
        return np.cumsum(x, axis=axis).reshape(x.shape)  # of a number NumPy makes a vector

    def backward(self, grad: np.ndarray) -> Gradients:
        if grad.ndim == 0:
            return grad
        return np.flip(np.cumsum(np.flip(grad, self.axis), axis=self.axis), self.axis)
