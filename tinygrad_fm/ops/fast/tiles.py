"""3×3 convolution with stride 1 and any padding by Winograd's tiles, each map alone.

`conv3x3.py` has the same for padding 1, where one pass gives both gradients. Here are the maps of
`patches.py` with 16 products a tile of four outputs instead of 36; see `winograd.py`.
"""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.fast import winograd
from tinygrad_fm.ops.fast.blas import one_blas_thread
from tinygrad_fm.ops.fast.chunks import Take, chunks_of, for_chunks
from tinygrad_fm.ops.fast.laid import Laid
from tinygrad_fm.ops.fast.memory import empty


def correlate_into(y: np.ndarray, x: np.ndarray, weight: np.ndarray, laid: Laid) -> None:
    """y (OH, OW, N, O) = the correlation of x (H, W, N, C) with weight (1, O, C, 3, 3)."""
    u = one_blas_thread(winograd.transform_weight, weight[0])  # (16, C, O)
    channels, outputs = u.shape[1:]
    grid = winograd.tiles_of(*y.shape[:2])

    def body(i: int, s: slice, take: Take) -> None:
        n = s.stop - s.start
        v = take((4, 4, *grid, n, channels), x.dtype)
        winograd.transform_input(x[:, :, s], v, take, laid.start)
        m = take((4, 4, *grid, n, outputs), x.dtype)
        np.matmul(v.reshape(16, -1, channels), u, out=m.reshape(16, -1, outputs))
        planes = take((2, 2, *grid, n, outputs), x.dtype)
        winograd.transform_output(m, planes, take)
        for r, c in np.ndindex(2, 2):
            part = y[r::2, c::2, s]
            part[...] = planes[r, c, : part.shape[0], : part.shape[1]]

    for_chunks(body, chunks_of(y.shape[2]))


def correlate_weight(
    x: np.ndarray, grad: np.ndarray, shape: tuple[int, ...], laid: Laid
) -> np.ndarray:
    """∂L/∂w of `shape` (1, O, C, 3, 3), chunks added up in their order."""
    _, outputs, channels, *_ = shape
    grid = winograd.tiles_of(*grad.shape[:2])
    chunks = chunks_of(grad.shape[2])
    du = empty((len(chunks), 16, outputs, channels), x.dtype)

    def body(i: int, s: slice, take: Take) -> None:
        n = s.stop - s.start
        dm = take((4, 4, *grid, n, outputs), x.dtype)
        for r, c in np.ndindex(2, 2):
            part, corner = grad[r::2, c::2, s], dm[3 * r, 3 * c]
            corner[part.shape[0] :] = corner[:, part.shape[1] :] = 0
            corner[: part.shape[0], : part.shape[1]] = part
        winograd.transform_output_transposed(dm)
        v = take((4, 4, *grid, n, channels), x.dtype)
        winograd.transform_input(x[:, :, s], v, take, laid.start)
        turned = dm.reshape(16, -1, outputs).swapaxes(1, 2)
        np.matmul(turned, v.reshape(16, -1, channels), out=du[i])  # (16, O, ·) @ (16, ·, C)

    for_chunks(body, chunks)
    return one_blas_thread(winograd.transform_weight_transposed, du.sum(axis=0))[None]
