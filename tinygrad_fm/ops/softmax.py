"""Softmax and its logarithm. g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.function import Array, Function, Gradients


class Softmax(Function):
    """yᵢ = e^xᵢ / Σⱼ e^xⱼ along an axis;  ∂L/∂x = y·(g - Σ g·y). Saves y."""

    def forward(self, x: Array, axis: int) -> Array:
        self.axis = axis
        y = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
        y /= y.sum(axis=axis, keepdims=True)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Array) -> Gradients:
        (y,) = self.saved
        weighted = grad * y
        return weighted - y * weighted.sum(axis=self.axis, keepdims=True)


class LogSoftmax(Function):
    """yᵢ = xᵢ - ln Σⱼ e^xⱼ along an axis;  ∂L/∂x = g - e^y·Σ g. Saves y.

    Shifted by max x, so that nothing overflows.
    """

    def forward(self, x: Array, axis: int) -> Array:
        self.axis = axis
        y = x.copy()
        if x.size:  # nothing has no maximum
            y -= x.max(axis=axis, keepdims=True)
            y -= np.log(np.exp(y).sum(axis=axis, keepdims=True))
        self.save_for_backward(y)
        return y

    def backward(self, grad: Array) -> Gradients:
        (y,) = self.saved
        return grad - np.exp(y) * grad.sum(axis=self.axis, keepdims=True)
