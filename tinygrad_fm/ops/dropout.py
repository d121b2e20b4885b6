"""Dropout (Srivastava et al. 2014)."""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.function import Function, Gradients


class Dropout(Function):
    """y = x·m/(1 - p), m = 0 with probability p, else 1;  ∂L/∂x = g·m/(1 - p). Saves m."""

    def forward(self, x: np.ndarray, p: float, generator: np.random.Generator) -> np.ndarray:
        self.scale = 0.0 if p == 1 else 1 / (1 - p)
        mask = keep_mask(x, p, generator)
        self.save_for_backward(mask)
        return self.apply_mask(x, mask)

    def backward(self, grad: np.ndarray) -> Gradients:
        return self.apply_mask(grad, self.saved[0])

    def apply_mask(self, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
        y = np.asarray(x * mask)
        y *= self.scale
        return y


def keep_mask(x: np.ndarray, p: float, generator: np.random.Generator) -> np.ndarray:
    """Booleans in x's shape and memory layout, each False with probability p.

    A random byte is enough where p is a multiple of 1/256 (.25, .5), and four to eight times
    cheaper than a random float; any other p is compared with 32 random bits.
    """
    dtype = np.uint8 if (p * 256).is_integer() else np.uint32
    levels = 2 ** (8 * np.dtype(dtype).itemsize)
    noise = np.frombuffer(generator.bytes(x.size * np.dtype(dtype).itemsize), dtype=dtype)
    mask = np.empty_like(x, dtype=bool, subok=False)
    mask.ravel(order="K")[...] = noise >= round(p * levels) if p < 1 else False
    return mask
