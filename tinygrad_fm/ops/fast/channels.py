"""Numbers per channel: sums over everything else, and a scale and a shift for each.

Arrays are looked at as rows (M, C), one for each pixel of each image, channels last.
"""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.fast.chunks import NUMBERS, Take, chunks_of, for_chunks
from tinygrad_fm.ops.fast.layout import RUN, as_hwnc
from tinygrad_fm.ops.fast.sums import column_sum


def as_rows(x: np.ndarray) -> np.ndarray:
    """(N, C, …) -> (M, C): a view for the layouts that our operations make, else a copy."""
    if x.ndim == 4:
        return as_hwnc(x).reshape(-1, x.shape[1])
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


def from_rows(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `as_rows`, a view of `shape` (N, C, …)."""
    n, c, *rest = shape
    if len(shape) == 4:
        return rows.reshape(*rest, n, c).transpose(2, 3, 0, 1)
    return np.moveaxis(rows.reshape(n, *rest, c), -1, 1)


def rows_of_chunk(rows: np.ndarray) -> int:
    """How many rows make a chunk: a multiple of `RUN`."""
    return max(RUN, NUMBERS // max(rows.shape[1], 1) // RUN * RUN)


def channel_sums(rows: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
    """Σ rows, or Σ rows·other, for each channel, (C), in double precision."""
    chunks = chunks_of(len(rows), 4 * rows_of_chunk(rows))
    sums = np.zeros((len(chunks), rows.shape[1]), _wide(rows))

    def body(i: int, s: slice, take: Take) -> None:
        sums[i] = sums_of(rows[s], take, None if other is None else other[s])

    for_chunks(body, chunks)
    return sums.sum(axis=0)


def sums_of(rows: np.ndarray, take: Take, other: np.ndarray | None = None) -> np.ndarray:
    """`channel_sums` of one chunk, on one thread."""
    with np.errstate(over="ignore"):  # who squares looks at the sum
        if other is not None:
            rows = np.multiply(rows, other, out=take(rows.shape, np.result_type(rows, other)))
        return column_sum(rows, _wide(rows))


def _wide(rows: np.ndarray) -> np.dtype:
    return np.result_type(rows, np.float64)


def scale_and_shift(
    rows: np.ndarray, scale: np.ndarray, shift: np.ndarray | None, out: np.ndarray
) -> None:
    """out = rows·scale + shift, with numbers per channel; `out` may be `rows`."""
    repeat = max(1, RUN // rows.shape[1])
    wide_scale = np.tile(scale.astype(rows.dtype), repeat)
    wide_shift = None if shift is None else np.tile(shift.astype(rows.dtype), repeat)

    def body(i: int, s: slice, take: Take) -> None:
        source, target = rows[s], out[s]
        width = repeat if len(source) % repeat == 0 else 1  # several rows in one run
        numbers = width * rows.shape[1]
        source, target = source.reshape(-1, numbers), target.reshape(-1, numbers)
        np.multiply(source, wide_scale[:numbers], out=target)
        if wide_shift is not None:
            target += wide_shift[:numbers]

    for_chunks(body, chunks_of(len(rows), rows_of_chunk(rows)))
