"""Convolution as matrix products of patches, chunks of pixels at a time.

The patches of some neighbouring pixels in all images are copied side by side as the rows of a
matrix (M, K), K = KH·KW·C/G, few enough for a core's cache:

    y (M, O/G) = patches (M, K) @ w (K, O/G)        ∂L/∂w (K, O/G) = Σ patchesᵀ (K, M) @ g (M, O/G)

Outputs lie in memory as (H, W, N, O): a product writes its rows where the next layer reads them.
A kernel of 1×1 has nothing to copy. What is copied should be long runs, so framed images lie as
(G, H, N, W, C/G), where a row of the kernel reads KW·C/G numbers in a run; where channels are few
as (G, C/G, H, W, N), where a row of pixels reads W·N, and the matrix is its own transpose.
"""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.fast.chunks import Take, Workspace, chunks_of, even_chunks, for_chunks
from tinygrad_fm.ops.fast.laid import Laid, Sizes, frame_size, framed, windows
from tinygrad_fm.ops.fast.layout import as_hwnc
from tinygrad_fm.ops.fast.memory import empty
from tinygrad_fm.ops.fast.parallel import parallel_for

LARGEST = 1 << 18  # numbers of a chunk's patches: about what a core's own cache holds
SMALLEST = 1 << 14  # below this a chunk of its own does not pay
PARTS = 8  # chunks that there should be, if they are not too small; and partial sums of ∂L/∂w
FEW = 8  # channels
RUN = 32  # numbers worth a loop of their own


def correlate_into(y: np.ndarray, x: np.ndarray, weight: np.ndarray, laid: Laid) -> None:
    """y (OH, OW, N, O) = the correlation of x (H, W, N, C) with weight (G, B, A, KH, KW)."""
    groups, outputs, *_ = weight.shape
    matrices = weight.transpose(0, 3, 4, 2, 1).reshape(groups, -1, outputs)  # (G, K, B)
    patches = Patches(x, weight.shape, laid, y.shape[:2])

    def body(i: int) -> None:
        with Workspace() as take:
            target = y[patches.chunks[i]]
            out = target if target.flags.c_contiguous else take(target.shape, y.dtype)
            rows = out.reshape(-1, groups, outputs).transpose(1, 0, 2)
            np.matmul(patches.chunk(i, take), matrices, out=rows)
            if out is not target:
                target[...] = out

    parallel_for(body, len(patches.chunks))


def correlate_weight(
    x: np.ndarray, grad: np.ndarray, shape: tuple[int, ...], laid: Laid
) -> np.ndarray:
    """∂L/∂w of `shape` (G, B, A, KH, KW), chunks added up in their order."""
    groups, outputs, depth, *kernel = shape
    grad = as_hwnc(grad.transpose(2, 3, 0, 1))
    patches = Patches(x, shape, laid, grad.shape[:2])
    chunks = patches.chunks
    shares = np.array_split(np.arange(len(chunks)), min(PARTS, len(chunks)))
    sums = np.empty((len(shares), groups, kernel[0] * kernel[1] * depth, outputs), x.dtype)

    def body(i: int) -> None:
        for j in shares[i]:
            with Workspace() as take:
                rows = grad[chunks[j]].reshape(-1, groups, outputs).transpose(1, 0, 2)
                turned = patches.chunk(j, take).swapaxes(1, 2)
                if j == shares[i][0]:
                    np.matmul(turned, rows, out=sums[i])
                else:
                    sums[i] += np.matmul(turned, rows, out=take(sums[i].shape, x.dtype))

    parallel_for(body, len(shares))
    return sums.sum(axis=0).reshape(groups, *kernel, depth, outputs).transpose(0, 4, 3, 1, 2)


class Patches:
    """The patches of images x (H, W, N, C) under a kernel of `shape` (G, B, A, KH, KW)."""

    def __init__(self, x: np.ndarray, shape: tuple[int, ...], laid: Laid, size: Sizes) -> None:
        groups, _, depth, *kernel = shape
        h, w, n, _ = x.shape
        height, width = frame_size(kernel, laid, size)
        row = size[1] if laid.stride[1] == 1 else 1
        self.few = depth <= FEW and n * row >= RUN and kernel != [1, 1]
        once = kernel[0] <= laid.stride[0] and kernel[1] <= laid.stride[1]  # is a pixel read
        whole = laid.start == (0, 0) and height <= h and width <= w
        if once and whole and not self.few:
            frame = as_hwnc(x.transpose(2, 3, 0, 1)).reshape(h, w, n, groups, depth)
        else:
            if self.few:
                frame = empty((groups, depth, height, width, n), x.dtype).transpose(2, 3, 4, 0, 1)
            else:
                frame = empty((groups, height, n, width, depth), x.dtype).transpose(1, 3, 2, 0, 4)
            images = x.reshape(h, w, n, groups, depth)
            for_chunks(
                lambda i, s, take: framed(images[:, :, s], frame[:, :, s], laid.start), chunks_of(n)
            )
        self.windows = windows(frame, kernel, laid, size)  # (OH, OW, KH, KW, N, G, A)
        self.chunks = pixel_chunks(size, self.windows[0, 0].size)

    def chunk(self, i: int, take: Take) -> np.ndarray:
        """The i-th chunk's patches, (G, M, K)."""
        part = self.windows[self.chunks[i]]
        rows, columns, kh, kw, n, groups, depth = part.shape
        m, k = rows * columns * n, kh * kw * depth
        if self.few:
            part = part.transpose(5, 2, 3, 6, 0, 1, 4)  # (G, KH, KW, A, rows, columns, N)
        else:
            part = part.transpose(5, 0, 1, 4, 2, 3, 6)  # (G, rows, columns, N, KH, KW, A)
        if not part.flags.c_contiguous:
            copy = take(part.shape, part.dtype)
            copy[...] = part
            part = copy
        return part.reshape(groups, k, m).swapaxes(1, 2) if self.few else part.reshape(groups, m, k)


def pixel_chunks(size: Sizes, numbers: int) -> list[tuple[slice, slice]]:
    """Output pixels (OH, OW), with a patch of `numbers` each, cut into chunks by sizes alone.

    A chunk is some whole rows, or a part of one row: what lies together in memory.
    """
    total = size[0] * size[1] * numbers
    pixels = min(LARGEST, max(SMALLEST, total // PARTS)) // numbers
    rows, columns = even_chunks(size[0], pixels // size[1]), even_chunks(size[1], pixels)
    return [(r, c) for r in rows for c in columns]
