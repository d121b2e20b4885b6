"""Softmax and its logarithm. g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.fast.by_rows import by_rows, shifted, total
from tinygrad_fm.ops.function import Array, Function, Gradients


class Softmax(Function):
    """yᵢ = e^xᵢ / Σⱼ e^xⱼ along an axis;  ∂L/∂x = y·(g - Σ g·y). Saves y."""

    def forward(self, x: Array, axis: int) -> Array:
        self.axis = axis
        y = by_rows(self.shares, x, axis=axis)
        self.save_for_backward(y)
        return y

    @staticmethod
    def shares(x: Array, axis: int) -> Array:
        y = np.exp(shifted(x, axis))
        y /= total(y, axis)
        return y

    def backward(self, grad: Array) -> Gradients:
        return by_rows(self.slope, grad, *self.saved, axis=self.axis)

    @staticmethod
    def slope(grad: Array, y: Array, axis: int) -> Array:
        weighted = grad * y
        return weighted - y * total(weighted, axis)


class LogSoftmax(Function):
    """yᵢ = xᵢ - ln Σⱼ e^xⱼ along an axis;  ∂L/∂x = g - e^y·Σ g. Saves y.

    Shifted by max x, so that nothing overflows.
    """

    def forward(self, x: Array, axis: int) -> Array:
        self.axis = axis
        y = by_rows(self.logarithms, x, axis=axis) if x.size else x.copy()
        self.save_for_backward(y)
        return y

    @staticmethod
    def logarithms(x: Array, axis: int) -> Array:
        x = shifted(x, axis)  # always: so the likeliest has y = -ln(1 + …), however small
        return x - np.log(total(np.exp(x), axis))

    def backward(self, grad: Array) -> Gradients:
        return by_rows(self.slope, grad, *self.saved, axis=self.axis)

    @staticmethod
    def slope(grad: Array, y: Array, axis: int) -> Array:
        return grad - np.exp(y) * total(grad, axis)
