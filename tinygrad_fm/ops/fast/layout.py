"""Memory layouts behind the shape (N, C, H, W).

The fast convolutions keep images as (H, W, N, C) in memory: the channels of neighbouring images
lie together, so that a row of pixels of a chunk of images is one long run. Everybody else sees
(N, C, H, W) all the same, with other strides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_fm.ops.fast.memory import empty
from tinygrad_fm.ops.fast.parallel import parallel_for

IMAGES = 16  # of a chunk: few enough for a core's cache, many enough for long NumPy calls
NUMBERS = 1 << 16  # of a chunk of an element-by-element operation


def chunks_of(n: int) -> list[slice]:
    """A batch cut into chunks of images, by its size alone."""
    return [slice(start, min(start + IMAGES, n)) for start in range(0, n, IMAGES)]


def as_hwnc(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) of any layout -> (H, W, N, C) contiguous: a view where it already is."""
    view = x.transpose(2, 3, 0, 1)
    if view.flags.c_contiguous:
        return view
    result = empty(view.shape, x.dtype)
    chunks = chunks_of(len(x))

    def body(i: int) -> None:
        result[:, :, chunks[i]] = view[:, :, chunks[i]]

    parallel_for(body, len(chunks))
    return result


def contiguous(x: np.ndarray) -> np.ndarray:
    """x with its elements in row-major order: itself where they are, else a copy."""
    if x.flags.c_contiguous:
        return x
    result = empty(x.shape, x.dtype)
    chunks = chunks_of(len(x))

    def body(i: int) -> None:
        result[chunks[i]] = x[chunks[i]]

    parallel_for(body, len(chunks))
    return result


def elementwise(body: Callable[..., Any], *arrays: np.ndarray) -> None:
    """body(*parts) on matching parts of arrays of one shape, large ones in chunks on all threads.

    Where all arrays have the same layout, whatever it is, the parts are runs of memory.
    """
    first = arrays[0]
    if first.size <= NUMBERS or any(a.strides != first.strides for a in arrays):
        body(*arrays)
        return
    order = sorted(range(first.ndim), key=lambda i: -first.strides[i])
    if not first.transpose(order).flags.c_contiguous:
        body(*arrays)
        return
    runs = [a.transpose(order).reshape(-1) for a in arrays]
    chunks = [slice(i, i + NUMBERS) for i in range(0, first.size, NUMBERS)]
    parallel_for(lambda i: body(*(run[chunks[i]] for run in runs)), len(chunks))
