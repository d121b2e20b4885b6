"""Dropout (Srivastava et al. 2014)."""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.elementwise import Elementwise
from tinygrad_fm.ops.fast.chunks import NUMBERS, chunks_of
from tinygrad_fm.ops.fast.memory import empty_like
from tinygrad_fm.ops.function import Array, Function


def dropped(x: Array, mask: Array, p: float, out: Array | None = None) -> Array:
    y = np.multiply(x, mask, out=out)
    y *= 0.0 if p == 1 else 1 / (1 - p)
    return y


class Dropout(Elementwise):
    """y = x·m/(1 - p), m = 0 with probability p, else 1;  ∂L/∂x = g·m/(1 - p)."""

    function, names, cheap = staticmethod(dropped), ("x", "mask"), True
    slopes = (lambda g, mask, p: Dropout.of(g, mask, p=p), None)


class KeepMask(Function):
    """Booleans in x's shape, each False with probability p: see `keep_mask`. No derivative."""

    effects = True  # the generator moves on

    def forward(self, x: Array, p: float, generator: np.random.Generator) -> Array:
        return keep_mask(x, p, generator)


def keep_mask(x: Array, p: float, generator: np.random.Generator) -> Array:
    """Booleans in x's shape and memory layout, each False with probability p: see `draw`."""
    mask = empty_like(x, bool)
    draw(mask, p, generator)
    return mask


def draw(mask: Array, p: float, generator: np.random.Generator) -> None:
    """Write booleans into an array without gaps, in the order of its memory, each False with
    probability p.

    A random byte is enough where p is a multiple of 1/256 (.25, .5); any other p is compared with
    32 random bits. Words of 64 bits are several times cheaper than random floats.
    """
    dtype = np.dtype(np.uint8 if (p * 256).is_integer() else np.uint32)
    kept = mask.ravel(order="K")
    for part in chunks_of(mask.size, NUMBERS):  # whose words stay in a cache
        words = -(-kept[part].size * dtype.itemsize // 8)
        noise = generator.integers(2**64, size=words, dtype=np.uint64).view(dtype)
        if p < 1:
            np.greater_equal(
                noise[: kept[part].size], round(p * 256**dtype.itemsize), out=kept[part]
            )
        else:
            kept[part] = False
