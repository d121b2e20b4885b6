"""Memory layouts behind the shape (N, C, H, W).

The fast convolutions keep images as (H, W, N, C) in memory: the channels of neighbouring images
lie together, so that a row of pixels of a chunk of images is one long run. Everybody else sees
(N, C, H, W) all the same, with other strides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_fm.ops.fast.chunks import NUMBERS, Take, chunks_of, for_chunks
from tinygrad_fm.ops.fast.memory import empty
from tinygrad_fm.ops.fast.parallel import parallel_for


def as_hwnc(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) of any layout -> (H, W, N, C) contiguous: a view where it already is."""
    return contiguous(x.transpose(2, 3, 0, 1), images=2)


def contiguous(x: np.ndarray, images: int = 0) -> np.ndarray:
    """x with its elements in row-major order: itself where they are, else a copy.

    It is copied in chunks of images, along their axis, on all threads.
    """
    if x.flags.c_contiguous:
        return x
    result = empty(x.shape, x.dtype)
    source, target = x.swapaxes(0, images), result.swapaxes(0, images)

    def body(i: int, s: slice, take: Take) -> None:
        target[s] = source[s]

    for_chunks(body, chunks_of(len(source)))
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
    chunks = chunks_of(first.size, NUMBERS)
    parallel_for(lambda i: body(*(run[chunks[i]] for run in runs)), len(chunks))
