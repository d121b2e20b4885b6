"""Numbers per channel: sums over everything else, and a scale and a shift for each.

Arrays are looked at as rows (M, C), one for each pixel of each image, channels last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tinygrad_fm.ops.fast.chunks import NUMBERS, Take, chunks_of, for_chunks
from tinygrad_fm.ops.fast.layout import LARGE, RUN, as_hwnc
from tinygrad_fm.ops.fast.memory import empty
from tinygrad_fm.ops.fast.sums import column_sum
from tinygrad_fm.ops.function import select


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


def row_chunks(rows: np.ndarray) -> list[slice]:
    """Rows (M, C) in an even number of chunks of up to about `LARGE` numbers, each of a multiple of
    `RUN` rows; few numbers in one chunk."""
    pieces = 1 if rows.size <= NUMBERS else 2 * -(-rows.size // (2 * LARGE))
    return chunks_of(len(rows), -(-len(rows) // (pieces * RUN)) * RUN or RUN)


Write = Callable[[slice, Take], None]  # writes some of an array's rows


def let_through(g: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, Write]:
    """What ReLU lets through of a gradient, rows where y > 0: new memory, and what writes there."""
    rows = empty(g.shape, g.dtype)

    def write(s: slice, take: Take) -> None:
        select(g[s], np.greater(y[s], 0, out=take(y[s].shape, bool)), rows[s])

    return rows, write


def channel_sums(rows: np.ndarray, *others: np.ndarray, write: Write | None = None) -> np.ndarray:
    """Σ rows, and Σ rows·other for each of `others`, for each channel: (1 + others, C), in double
    precision. All of a chunk while it is in the cache; `write` writes its rows first."""
    chunks = row_chunks(rows)
    sums = np.zeros((1 + len(others), len(chunks), rows.shape[1]), _wide(rows))

    def body(i: int, s: slice, take: Take) -> None:
        if write is not None:
            write(s, take)
        sums[0, i] = sums_of(rows[s], take)
        for k, other in enumerate(others):
            sums[k + 1, i] = sums_of(other[s], take, rows[s])

    for_chunks(body, chunks)
    return sums.sum(axis=1)


def sums_of(rows: np.ndarray, take: Take, other: np.ndarray | None = None) -> np.ndarray:
    """Σ rows, or Σ rows·other, of one chunk, on one thread."""
    with np.errstate(over="ignore"):  # who squares looks at the sum
        if other is not None:
            rows = np.multiply(rows, other, out=take(rows.shape, np.result_type(rows, other)))
        return column_sum(rows, _wide(rows))


def _wide(rows: np.ndarray) -> np.dtype:
    return np.result_type(rows, np.float64)


def combine(
    out: np.ndarray,
    terms: Sequence[tuple[np.ndarray, np.ndarray]],
    *added: np.ndarray,
    relu: bool = False,
) -> None:
    """out = Σ rows·scale + Σ added, or relu of it, in one pass over rows (M, C).

    `terms` are rows and their scales. Scales have a number per channel, and so may what is added.
    The rows of the first term may be `out`; without terms, `out` itself stands for the sum.
    """
    repeat = max(1, RUN // max(out.shape[1], 1))  # several rows in one run
    wide = terms[0][0].dtype if terms else out.dtype
    scales = [np.tile(scale.astype(rows.dtype), repeat) for rows, scale in terms]
    added = tuple(np.tile(a.astype(wide), repeat) if a.ndim == 1 else a for a in added)

    def body(i: int, s: slice, take: Take) -> None:
        target = out[s]
        numbers = (repeat if len(target) % repeat == 0 else 1) * out.shape[1]
        target = target.reshape(-1, numbers)
        product = take(target.shape, out.dtype) if len(terms) > 1 else target
        for k, (rows, _) in enumerate(terms):
            to = product if k else target
            np.multiply(rows[s].reshape(-1, numbers), scales[k][:numbers], out=to)
            if k:
                target += product
        for a in added:
            target += a[:numbers] if a.ndim == 1 else a[s].reshape(-1, numbers)
        if relu:
            np.maximum(target, np.zeros(numbers, out.dtype), out=target)

    for_chunks(body, row_chunks(out))
