"""Arrays as rows (M, C), one for each run of numbers that a formula takes together: softmax, layer
norm. Rows keep the order in which they lie in memory, and are worked on in chunks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_fm.ops.fast.blas import one_blas_thread
from tinygrad_fm.ops.fast.chunks import NUMBERS, chunks_of
from tinygrad_fm.ops.fast.layout import RUN, contiguous
from tinygrad_fm.ops.fast.memory import empty_in
from tinygrad_fm.ops.fast.parallel import parallel_for

SHORT = 128  # columns below which NumPy's maximum of a row is slower than that of a column


def row_order(x: np.ndarray, dims: int = 1) -> list[int]:
    """The axes of x as they lie in memory, its last `dims` behind the others."""
    leading = x.ndim - dims
    return [*sorted(range(leading), key=lambda i: -abs(x.strides[i])), *range(leading, x.ndim)]


def as_rows(x: np.ndarray, order: list[int], dims: int = 1) -> np.ndarray:
    """(M, C) with the last `dims` axes as columns: a view, or a copy if there are gaps."""
    columns = math.prod(x.shape[x.ndim - dims :])
    return contiguous(x.transpose(order)).reshape(-1 if columns else x.size, columns)


def for_rows(body: Callable[[slice], Any], rows: np.ndarray) -> int:
    """body(part) for parts of the rows on all threads; how many parts there are."""
    chunks = chunks_of(len(rows), max(2 * NUMBERS // max(rows.shape[1], 1), 1))
    if len(chunks) < 2:
        body(slice(0, len(rows)))
    else:
        parallel_for(lambda i: body(chunks[i]), len(chunks))
    return len(chunks)


def by_rows(formula: Callable[..., Any], *arrays: Any, axis: int) -> Any:
    """formula(*arrays, axis=axis), large arrays in chunks of rows if `axis` is the last."""
    first = arrays[0]
    if not isinstance(first, np.ndarray) or axis != first.ndim - 1 or first.size <= NUMBERS:
        return formula(*arrays, axis=axis)
    order = row_order(arrays[-1])
    parts = [as_rows(a, order) for a in arrays]
    result = empty_in(order, first.shape, parts[0].dtype)
    y = as_rows(result, order)

    def body(s: slice) -> None:
        y[s] = formula(*(p[s] for p in parts), axis=1)

    for_rows(body, y)
    return result


def total(x: Any, axis: int) -> Any:
    """x.sum(axis, keepdims=True); of short rows a product with ones."""
    if not isinstance(x, np.ndarray) or x.ndim != 2 or axis != 1 or not 0 < x.shape[1] < RUN:
        return x.sum(axis=axis, keepdims=True)
    return one_blas_thread(np.matmul, x, np.ones((x.shape[1], 1), x.dtype))


def shifted(x: np.ndarray, axis: int) -> np.ndarray:
    """x - max x along an axis, so that no e^x overflows.

    (The maximum of short rows takes longer than all else in a softmax. By way of columns it takes
    half as long.)
    """
    short = x.ndim == 2 and axis == 1 and 0 < x.shape[1] < min(SHORT, len(x))
    if short and x.dtype.kind == "f":
        return x - np.ascontiguousarray(x.T).max(axis=0)[:, None]
    return x - x.max(axis=axis, keepdims=True, initial=-np.inf)
