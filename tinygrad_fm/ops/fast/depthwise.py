"""Depthwise convolution, a kernel for each channel, as a sum of shifted products.

Images lie in memory as (H, W, N, C), so that one tap of the kernel meets a run of n·C numbers in
every pixel, each with its own channel's weight:

    y[i, j, ·] = Σ_{k, l} x[i·s + k·d - p, j·s + l·d - p, ·] · w[k, l, ·]

`np.einsum` multiplies and adds in one pass over such runs, and takes all taps of a pixel while its
sum is in the cache. Weights are (C, 1, 1, KH, KW).
"""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.fast.chunks import Take, even_chunks, for_chunks
from tinygrad_fm.ops.fast.laid import Laid, Sizes, frame_size, framed, windows

SHORTEST, LONGEST = 512, 2048  # runs of numbers, of the images of a chunk


def correlate_into(y: np.ndarray, x: np.ndarray, weight: np.ndarray, laid: Laid) -> None:
    """y (OH, OW, N, C) = the correlation of x (H, W, N, C) with weight."""
    taps = weight[:, 0, 0].transpose(1, 2, 0)  # (KH, KW, C)
    size = y.shape[:2]

    def body(i: int, s: slice, take: Take) -> None:
        part = y[:, :, s]
        seen = read(x[:, :, s], taps.shape, laid, size, take)
        out = part.reshape(*size, -1)  # a view
        np.einsum("ijklc,klc->ijc", seen, np.tile(taps, part.shape[2]), out=out)

    for_chunks(body, image_chunks(y.shape))


def correlate_weight(
    x: np.ndarray, grad: np.ndarray, shape: tuple[int, ...], laid: Laid
) -> np.ndarray:
    """∂L/∂w of `shape` (C, 1, 1, KH, KW), chunks added up in their order."""
    channels, _, _, *kernel = shape
    size, chunks = grad.shape[:2], image_chunks(grad.shape)
    sums = np.empty((len(chunks), *kernel, channels), grad.dtype)

    def body(i: int, s: slice, take: Take) -> None:
        g = take(grad[:, :, s].shape, grad.dtype)
        g[...] = grad[:, :, s]
        seen = read(x[:, :, s], kernel, laid, size, take)
        products = np.einsum("ijklc,ijc->klc", seen, g.reshape(*size, -1))
        products.reshape(*kernel, -1, channels).sum(axis=2, out=sums[i])

    for_chunks(body, chunks)
    return sums.sum(axis=0).transpose(2, 0, 1).reshape(shape)


def image_chunks(shape: tuple[int, ...]) -> list[slice]:
    """The images of y (OH, OW, N, C) in chunks."""
    n, c = shape[2:]
    return even_chunks(n, max(SHORTEST // c, min(LONGEST // c, n // 2)))


def read(x: np.ndarray, kernel: Sizes, laid: Laid, size: Sizes, take: Take) -> np.ndarray:
    """What the taps read of x (H, W, n, C): (OH, OW, KH, KW, n·C), a view of the framed images."""
    frame = take((*frame_size(kernel[:2], laid, size), *x.shape[2:]), x.dtype)
    framed(x, frame, laid.start)
    return windows(frame.reshape(*frame.shape[:2], -1), kernel[:2], laid, size)
