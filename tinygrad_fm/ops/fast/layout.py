"""Memory layouts behind the shape (N, C, H, W).

The fast convolutions keep images as (H, W, N, C) in memory: the channels of neighbouring images
lie together, so that a row of pixels of a chunk of images is one long run. Everybody else sees
(N, C, H, W) all the same, with other strides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_fm.ops.fast.chunks import Take, chunks_of, for_chunks
from tinygrad_fm.ops.fast.memory import empty, empty_like
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
    if 0 in x.strides:  # broadcast: there is little to read
        result[...] = x
        return result
    if x.ndim == 4 and x.strides[2] > x.strides[3] > max(x.strides[:2]):
        # From (H, W, N, C): few columns at a time, or every number is fetched from memory anew.
        strips = chunks_of(x.shape[3], STRIP)

        def rows(h: int) -> None:
            for strip in strips:
                result[:, :, h, strip] = x[:, :, h, strip]

        parallel_for(rows, x.shape[2])
        return result
    source, target = x.swapaxes(0, images), result.swapaxes(0, images)

    def body(i: int, s: slice, take: Take) -> None:
        target[s] = source[s]

    for_chunks(body, chunks_of(len(source)))
    return result


LARGE = 1 << 18  # numbers of a chunk of a formula; with fewer a second thread does not pay
STRIP = 8  # numbers of a row that are copied into place together
RUN = 512  # numbers over which NumPy's inner loops should run


def chunked(formula: Callable[..., Any], *arrays: Any) -> Any:
    """formula(*arrays), element by element with broadcasting; large ones in chunks on all threads.

    The result has the memory layout of the first array of its shape. (Tensors are handed to the
    formula as they are.)
    """
    for a in arrays:
        if isinstance(a, np.ndarray) and a.size > LARGE:
            break
    else:
        return formula(*arrays)
    if not all(isinstance(a, np.ndarray | np.generic) for a in arrays):
        return formula(*arrays)
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    like = next((a for a in arrays if a.shape == shape and 0 not in a.strides), None)
    if like is None:
        return formula(*arrays)
    axes = sorted(range(like.ndim), key=lambda i: (shape[i] == 1, -abs(like.strides[i])))
    views = [(a if a.shape == shape else np.broadcast_to(a, shape)).transpose(axes) for a in arrays]
    if all(v.flags.c_contiguous for v in views):
        views = [v.reshape(-1) for v in views]
    else:
        views = [widened(v) for v in views]
    corner = (slice(0, 1),) * views[0].ndim
    handling = np.geterr()  # the caller's, which another thread does not have
    with np.errstate(all="ignore"):
        result = empty_like(like, formula(*(v[corner] for v in views)).dtype)
    out = result.transpose(axes).reshape(views[0].shape)
    pieces = pieces_of(len(out), out.size)

    def body(i: int) -> None:
        with np.errstate(**handling):
            parts, target = [v[pieces[i]] for v in views], out[pieces[i]]
            if isinstance(formula, np.ufunc):
                formula(*parts, out=target)
            else:
                target[...] = formula(*parts)

    parallel_for(body, len(pieces))
    return result


def pieces_of(length: int, size: int) -> list[slice]:
    """An axis cut so that `size` numbers are in an even number of chunks, all of one length."""
    return chunks_of(length, -(-length // (2 * -(-size // (2 * LARGE)))))


def widened(view: np.ndarray) -> np.ndarray:
    """A broadcast array with its last axes written out, where they are short: NumPy's loops then
    run over `RUN` numbers instead of, say, the channels of one pixel."""
    axis, run = view.ndim, 1
    while axis and run < RUN:
        axis -= 1
        run *= view.shape[axis]
    block = view[tuple(slice(stride == 0 or None) for stride in view.strides[:axis])]
    if 4 * block.size > view.size:
        return view
    return np.broadcast_to(np.ascontiguousarray(block), view.shape)
