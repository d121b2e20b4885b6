"""Sums over axes of large arrays, where NumPy's loops would be short."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_fm.ops.fast.blas import one_blas_thread
from tinygrad_fm.ops.fast.chunks import NUMBERS
from tinygrad_fm.ops.fast.layout import RUN, pieces_of
from tinygrad_fm.ops.fast.parallel import parallel_for


def sums(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """`x.sum(axes, keepdims=True)`, on all threads where x is large and without gaps.

    Memory is looked at as groups of neighbouring axes, in turn summed over and kept.
    """
    if x.size <= NUMBERS or x.dtype not in (np.float32, np.float64):
        return x.sum(axis=axes, keepdims=True)
    order = sorted(range(x.ndim), key=lambda i: (x.shape[i] == 1, -abs(x.strides[i])))
    dense = x.transpose(order)
    if not dense.flags.c_contiguous:
        return x.sum(axis=axes, keepdims=True)
    sizes: list[int] = []
    summed: list[bool] = []
    for i in order:
        if summed and summed[-1] == (i in axes):
            sizes[-1] *= x.shape[i]
        elif x.shape[i] > 1:
            sizes.append(x.shape[i])
            summed.append(i in axes)
    y = dense.reshape(sizes)
    for axis in reversed(range(len(sizes))):  # first where numbers lie side by side
        if summed[axis]:
            y = _sum_over(y, axis)
    return y.reshape([1 if i in axes else x.shape[i] for i in order]).transpose(np.argsort(order))


def _sum_over(x: np.ndarray, axis: int) -> np.ndarray:
    """x.sum(axis, keepdims=True) of a contiguous array.

    Short loops, over a short last axis or over all axes before it, are products with ones instead.
    """
    before, count, behind = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    if x.size > NUMBERS and before > 1 == behind and count < RUN:
        y = _row_sums(x.reshape(before, count))
    elif x.size > NUMBERS and before == 1 < behind < RUN:
        y = _column_sums(x.reshape(count, behind))
    else:
        return np.add.reduce(x, axis=axis, keepdims=True)
    return y.reshape(*x.shape[:axis], 1, *x.shape[axis + 1 :])


def _row_sums(rows: np.ndarray) -> np.ndarray:
    """rows.sum(axis=1)."""
    y, ones = np.empty(len(rows), rows.dtype), np.ones(rows.shape[1], rows.dtype)
    pieces = pieces_of(len(rows), rows.size)
    parallel_for(lambda i: np.matmul(rows[pieces[i]], ones, out=y[pieces[i]]), len(pieces))
    return y


def _column_sums(rows: np.ndarray) -> np.ndarray:
    """rows.sum(axis=0)."""
    pieces = pieces_of(len(rows), rows.size)
    partial = np.empty((len(pieces), rows.shape[1]), rows.dtype)

    def body(i: int) -> None:
        partial[i] = column_sum(rows[pieces[i]])

    parallel_for(body, len(pieces))
    return partial.sum(axis=0)


def column_sum(rows: np.ndarray, dtype: np.dtype | None = None) -> np.ndarray:
    """rows.sum(axis=0, dtype=dtype) on one thread. Several rows are one run of numbers, each with a
    sum of its own in the rows' precision: fewer roundings, and no more work."""
    columns = max(rows.shape[1], 1)
    repeat = -(-RUN // columns)
    even = len(rows) // repeat * repeat
    runs = rows[:even].reshape(-1, repeat * columns)
    folded = one_blas_thread(np.matmul, np.ones(len(runs), rows.dtype), runs).reshape(repeat, -1)
    return folded.sum(axis=0, dtype=dtype) + rows[even:].sum(axis=0, dtype=dtype)
