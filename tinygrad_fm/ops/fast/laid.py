"""How a kernel is laid over an image, and the gradient in the image as correlations of that kind.

Along one axis, position i of tap k reads the pixel `start + i·stride + k·dilation`; what lies
outside of the image is zero. `padding` is a start of -padding.

The adjoint, "every position adds its kernel to the image", needs no adding up of overlaps. With a
stride s the pixels m of ∂L/∂x fall into s *phases* m = r + s·q, and a phase sees those taps k
only for which r + padding - k·dilation is a multiple of s. In a phase

    ∂L/∂x[r + s·q] = Σ_k g[q + (r + padding - k·dilation)/s] · w[k]

is a correlation of g with stride 1: with the phase's taps, turned round. (Kernel 2 and stride 2:
four phases of one tap each.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

Pair = tuple[int, int]
Sizes = Sequence[int]  # of two axes


class Laid(NamedTuple):
    """Where the taps of a kernel read, each as (vertical, horizontal)."""

    start: Pair
    stride: Pair
    dilation: Pair


class Phase(NamedTuple):
    """Every s-th pixel of an image, the taps that it sees, and how they lie over the gradient."""

    pixels: tuple[slice, slice]
    taps: tuple[Any, ...]
    laid: Laid


def phases(kernel: Sizes, stride: Pair, padding: Pair, dilation: Pair) -> Iterator[Phase]:
    """The phases of ∂L/∂x; one for which no tap is left has an empty slice of taps."""
    axes = zip(kernel, stride, padding, dilation, strict=True)
    for rows, columns in product(*(list(_axis_phases(*axis)) for axis in axes)):
        (pixels, taps, start, step), (pixels2, taps2, start2, step2) = rows, columns
        how = Laid((start, start2), (1, 1), (step, step2))
        yield Phase((pixels, pixels2), (..., taps, taps2), how)


def _axis_phases(k: int, s: int, p: int, d: int) -> Iterator[tuple[slice, slice, int, int]]:
    """Of one axis: pixels, taps (turned round), where the first of them reads, their dilation."""
    common = math.gcd(s, d)
    for r in range(s):
        taps = [tap for tap in range(k) if (r + p - tap * d) % s == 0][::-1]
        if taps:
            last = taps[-1] - s // common  # of a slice that goes down
            turned = slice(taps[0], last if last >= 0 else None, -s // common)
            yield slice(r, None, s), turned, (r + p - taps[0] * d) // s, d // common
        else:
            yield slice(r, None, s), slice(0, 0), 0, 1


def framed(x: np.ndarray, frame: np.ndarray, start: Pair) -> None:
    """frame (H', W', …) = the pixels of x (H, W, …) from `start` on, and zeros outside of x."""
    inside, source = [], []
    for begin, length, size in zip(start, frame.shape[:2], x.shape[:2], strict=True):
        first, last = max(begin, 0), max(min(begin + length, size), begin, 0)
        inside.append(slice(first - begin, max(last - begin, first - begin)))
        source.append(slice(first, max(last, first)))
    rows, columns = inside
    frame[: rows.start] = frame[rows.stop :] = 0
    frame[rows, : columns.start] = frame[rows, columns.stop :] = 0
    frame[rows, columns] = x[tuple(source)]


def frame_size(kernel: Sizes, laid: Laid, size: Sizes) -> Pair:
    """(H', W') that `size` positions of the kernel read."""
    height, width = (
        max((n - 1) * s + (k - 1) * d + 1, 0)
        for n, k, s, d in zip(size, kernel, laid.stride, laid.dilation, strict=True)
    )
    return height, width


def windows(
    image: np.ndarray, kernel: Sizes, laid: Laid, size: Sizes, writeable: bool = False
) -> np.ndarray:
    """Every position of a kernel as a view: (H', W', …) -> (OH, OW, KH, KW, …)."""
    (sh, sw), (dh, dw) = laid.stride, laid.dilation
    of_h, of_w, *rest = image.strides
    return as_strided(
        image,
        (*size, *kernel, *image.shape[2:]),
        (of_h * sh, of_w * sw, of_h * dh, of_w * dw, *rest),
        writeable=writeable,
    )
