"""Convolution with vertical stride 1 as one matrix product for each row of the kernel.

What a row of the kernel reads in row h of the framed images is copied side by side,
p[h] (OW·n, KW·C/G); it serves all rows of the kernel, where whole patches hold it KH times:

    y[i] = Σ_k p[i + k·d] @ w[k]            ∂L/∂w[k] = Σ_i p[i + k·d]ᵀ @ g[i]

All rows i together are one product, because they lie one behind the other.
"""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.fast.chunks import Take, Workspace, even_chunks, for_chunks
from tinygrad_fm.ops.fast.laid import Laid, Sizes, frame_size, framed, windows
from tinygrad_fm.ops.fast.parallel import parallel_for

NUMBERS = 1 << 18  # of what is copied for a chunk of images: about what a core's own cache holds
PARTS = 8  # partial sums of ∂L/∂w


def correlate_into(y: np.ndarray, x: np.ndarray, weight: np.ndarray, laid: Laid) -> None:
    """y (OH, OW, N, O) = the correlation of x (H, W, N, C) with weight (G, B, A, KH, KW)."""
    groups, outputs, *_ = weight.shape
    size = y.shape[:2]
    matrices = weight.transpose(3, 0, 4, 2, 1)  # (KH, G, KW, A, B)
    matrices = matrices.reshape(*matrices.shape[:2], -1, outputs)

    def body(i: int, s: slice, take: Take) -> None:
        copied = copied_rows(x[:, :, s], weight.shape, laid, size, take)
        total = take((groups, size[0], copied.shape[2], outputs), y.dtype)
        product = take(total.shape, y.dtype)
        for k, matrix in enumerate(matrices):
            out = product if k else total
            np.matmul(seen(copied, k, laid, size), matrix, out=out.reshape(groups, -1, outputs))
            if k:
                total += product
        total = total.reshape(groups, *size, -1, outputs).transpose(1, 2, 3, 0, 4)
        y[:, :, s].reshape(total.shape)[...] = total  # into a view

    for_chunks(body, image_chunks(x, weight.shape, laid, size))


def correlate_weight(
    x: np.ndarray, grad: np.ndarray, shape: tuple[int, ...], laid: Laid
) -> np.ndarray:
    """∂L/∂w of `shape` (G, B, A, KH, KW), chunks added up in their order."""
    groups, outputs, depth, *kernel = shape
    size = grad.shape[:2]
    chunks = image_chunks(x, shape, laid, size)
    shares = np.array_split(np.arange(len(chunks)), min(PARTS, len(chunks)))
    sums = np.zeros((len(shares), kernel[0], groups, kernel[1] * depth, outputs), x.dtype)

    def body(i: int) -> None:
        for s in (chunks[j] for j in shares[i]):
            with Workspace() as take:
                copied = copied_rows(x[:, :, s], shape, laid, size, take)
                part = grad[:, :, s].reshape(*size, -1, groups, outputs)
                g = take((groups, *part.shape[:3], outputs), x.dtype)
                g[...] = part.transpose(3, 0, 1, 2, 4)
                g = g.reshape(groups, -1, outputs)
                product = take(sums.shape[2:], x.dtype)
                for k in range(kernel[0]):
                    turned = seen(copied, k, laid, size).swapaxes(1, 2)
                    sums[i, k] += np.matmul(turned, g, out=product)

    parallel_for(body, len(shares))
    products = sums.sum(axis=0).reshape(kernel[0], groups, kernel[1], depth, outputs)
    return products.transpose(1, 4, 3, 0, 2)


def copied_rows(
    x: np.ndarray, shape: tuple[int, ...], laid: Laid, size: Sizes, take: Take
) -> np.ndarray:
    """p for images x (H, W, n, C) and a kernel of `shape`: (G, H', OW·n, KW·A)."""
    groups, _, depth, *kernel = shape
    h, w, n, _ = x.shape
    height, width = frame_size(kernel, laid, size)
    frame = take((groups, height, n, width, depth), x.dtype).transpose(1, 3, 2, 0, 4)
    framed(x.reshape(h, w, n, groups, depth), frame, laid.start)
    row = [1, kernel[1]]
    view = windows(frame, row, laid, (height, size[1]))  # (H', OW, 1, KW, n, G, A)
    copied = take((groups, height, size[1], n, kernel[1], depth), x.dtype)
    copied[...] = view[:, :, 0].transpose(4, 0, 1, 3, 2, 5)
    return copied.reshape(groups, height, size[1] * n, kernel[1] * depth)


def seen(copied: np.ndarray, k: int, laid: Laid, size: Sizes) -> np.ndarray:
    """What row k of the kernel reads: (G, OH·OW·n, KW·A), a view."""
    first = k * laid.dilation[0]
    groups, _, _, numbers = copied.shape
    return copied[:, first : first + size[0]].reshape(groups, -1, numbers)


def image_chunks(x: np.ndarray, shape: tuple[int, ...], laid: Laid, size: Sizes) -> list[slice]:
    """The images in chunks, four at least if there are enough images."""
    groups, _, depth, *kernel = shape
    numbers = frame_size(kernel, laid, size)[0] * size[1] * kernel[1] * groups * depth
    return even_chunks(x.shape[2], min(NUMBERS // numbers, x.shape[2] // 4))
