"""The gradient in an image of few channels: every tap of the kernel added where it was read.

As a correlation (see `laid.py`) a pixel of few channels would gather KH·KW·O/G numbers to make a
handful. Here the products of all taps come first,

    taps (KH·KW·C/G, M) = wᵀ (KH·KW·C/G, O/G) @ gᵀ (O/G, M),        M = OH·OW·n

and each is added to a frame that lies as (G, C/G, H, W, n): rows of pixels are long runs.
"""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.fast.chunks import Take, chunks_of, for_chunks
from tinygrad_fm.ops.fast.laid import Laid, frame_size, windows

FEW = 12  # channels


def suits(weight: np.ndarray) -> bool:
    """Whether this is faster than `patches` for weight (G, O/G, C/G, KH, KW)."""
    return weight.shape[2] <= FEW and weight.shape[1] >= 2 * weight.shape[2]


def spread_into(dx: np.ndarray, grad: np.ndarray, weight: np.ndarray, laid: Laid) -> None:
    """dx (H, W, N, C) = the adjoint of the correlation by weight (G, O/G, C/G, KH, KW) of grad."""
    groups, outputs, depth, *kernel = weight.shape
    h, w, _, channels = dx.shape
    top, left = (-start for start in laid.start)
    size = grad.shape[:2]
    least = frame_size(kernel, laid, size)
    height, width = max(least[0], top + h), max(least[1], left + w)
    matrices = weight.transpose(0, 3, 4, 2, 1).reshape(groups, -1, outputs)

    def body(i: int, s: slice, take: Take) -> None:
        n = s.stop - s.start
        g = take((*size, n, groups, outputs), dx.dtype)
        g[...] = grad[:, :, s].reshape(g.shape)
        taps = take((groups, *kernel, depth, *size, n), dx.dtype)
        rows = g.reshape(-1, groups, outputs).transpose(1, 2, 0)  # (G, O/G, M)
        np.matmul(matrices, rows, out=taps.reshape(groups, -1, rows.shape[2]))
        frame = take((groups, depth, height, width, n), dx.dtype).transpose(2, 3, 0, 1, 4)
        frame[...] = 0
        targets = windows(frame, kernel, laid, size, writeable=True)
        for k, j in np.ndindex(*kernel):
            part = targets[:, :, k, j]  # (OH, OW, G, C/G, n)
            part += taps[:, k, j].transpose(2, 3, 0, 1, 4)
        inner = frame[top : top + h, left : left + w].reshape(h, w, channels, n)
        dx[:, :, s] = inner.transpose(0, 1, 3, 2)

    for_chunks(body, chunks_of(dx.shape[2]))
