"""Pooling over windows of an image (N, C, H, W). g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tinygrad_fm.ops.function import Function, Gradients, select
from tinygrad_fm.ops.layout import as_hwnc, chunks_of
from tinygrad_fm.ops.matmul import product
from tinygrad_fm.ops.memory import empty, empty_like
from tinygrad_fm.ops.parallel import parallel_for

Pair = tuple[int, int]


class Window(NamedTuple):
    """How pooling windows are laid over an image, each as (vertical, horizontal)."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool

    def output_size(self, height: int, width: int) -> Pair:
        """The number of windows. With `ceil_mode` a last, partial one counts, unless it would
        begin in the padding behind the image."""
        sizes = []
        for size, k, s, p, d in zip((height, width), *self[:4], strict=True):
            room = size + 2 * p - d * (k - 1) - 1
            count = (room + s - 1 if self.ceil_mode else room) // s + 1
            if self.ceil_mode and (count - 1) * s >= size + p:
                count -= 1
            sizes.append(count)
        return sizes[0], sizes[1]


class MaxPool2d(Function):
    """y = the maximum of each window;  g goes to the first element that attains it.

    Saves for each window which of its KH·KW taps won.
    """

    def forward(self, x: np.ndarray, window: Window) -> np.ndarray:
        self.x_shape, self.window = x.shape, window
        oh, ow = window.output_size(*x.shape[2:])
        self.padded_shape = padded_shape(x.shape, window, oh, ow)
        image = x
        if self.padded_shape != x.shape:
            top, left = window.padding
            image = np.full(self.padded_shape, -np.inf, dtype=x.dtype)
            image[:, :, top : top + x.shape[2], left : left + x.shape[3]] = x
        views = list(taps(image, window, oh, ow))
        y = empty_like(views[0])
        winner = empty_like(y, np.uint8 if len(views) < 256 else np.int32)
        chunks = chunks_of(len(x))

        def body(i: int) -> None:
            best, won = y[chunks[i]], winner[chunks[i]]
            best[...] = views[0][chunks[i]]
            won[...] = 0
            for number, view in enumerate(views[1:], start=1):
                block = view[chunks[i]]
                if self.recording:
                    # Tap numbers rise, so the last one to beat the best so far is the largest.
                    np.maximum(won, (block > best) * won.dtype.type(number), out=won)
                np.maximum(best, block, out=best)

        parallel_for(body, len(chunks))
        self.save_for_backward(winner)
        return y

    def backward(self, grad: np.ndarray) -> Gradients:
        (winner,) = self.saved
        order = np.argsort([-stride for stride in winner.strides], kind="stable")
        shape = tuple(self.padded_shape[i] for i in order)  # dx in the layout of the winners
        dx = empty(shape, grad.dtype).transpose(np.argsort(order))
        chunks = chunks_of(len(grad))

        def body(i: int) -> None:
            part, g, won = dx[chunks[i]], grad[chunks[i]], winner[chunks[i]]
            part[...] = 0
            kept = np.empty_like(won, g.dtype)
            for number, block in enumerate(taps(part, self.window, *grad.shape[2:])):
                block += select(g, won == number, kept)

        parallel_for(body, len(chunks))
        top, left = self.window.padding
        return dx[:, :, top : top + self.x_shape[2], left : left + self.x_shape[3]]


def padded_shape(shape: tuple[int, ...], window: Window, oh: int, ow: int) -> tuple[int, ...]:
    """The shape that holds both the padded image and the last window."""
    n, c, *size = shape
    reach = [
        max(p + length, (out - 1) * s + d * (k - 1) + 1)
        for length, out, k, s, p, d in zip(size, (oh, ow), *window[:4], strict=True)
    ]
    return n, c, *reach


def taps(image: np.ndarray, window: Window, oh: int, ow: int) -> Iterator[np.ndarray]:
    """For each place in a window, the view (N, C, OH, OW) of that place in all windows."""
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    for k in range(kh):
        for j in range(kw):
            top, left = k * dh, j * dw
            rows = slice(top, top + sh * (oh - 1) + 1, sh)
            columns = slice(left, left + sw * (ow - 1) + 1, sw)
            yield image[:, :, rows, columns]


class AveragePool2d(Function):
    """y = R x Cᵀ for every picture x;  ∂L/∂x = Rᵀ g C.

    Averaging over a rectangle is averaging over its rows, then over its columns: row i of R
    (OH, H) holds the weights of output row i, row j of C (OW, W) those of output column j.
    """

    def forward(self, x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        self.rows, self.columns = rows.astype(x.dtype), columns.astype(x.dtype)
        return weighted_sums(x, self.rows, self.columns)

    def backward(self, grad: np.ndarray) -> Gradients:
        return weighted_sums(grad, self.rows.T, self.columns.T)


def weighted_sums(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """rows · x · columnsᵀ for each picture of x (N, C, H, W), as products of few, long matrices."""
    n, c, h, w = x.shape
    (oh, _), (ow, _) = rows.shape, columns.shape
    y = product(columns, as_hwnc(x).reshape(h, w, n * c))  # (OW, W) @ (H, W, NC) -> (H, OW, NC)
    y = product(rows, y.reshape(1, h, ow * n * c))  # (OH, H) @ (H, OW·NC) -> (OH, OW·NC)
    return y.reshape(oh, ow, n, c).transpose(2, 3, 0, 1)


def averaging_matrices(
    size: tuple[int, ...], window: Window, count_include_pad: bool
) -> tuple[np.ndarray, np.ndarray]:
    """R and C of `AveragePool2d` for windows of fixed size."""
    matrices = []
    counts = window.output_size(*size)
    for length, count, k, s, p in zip(size, counts, *window[:3], strict=True):
        start = np.arange(count) * s - p
        end = np.minimum(start + k, length + p)
        inside = np.minimum(end, length) - np.maximum(start, 0)
        matrices.append(_rows(start, end, end - start if count_include_pad else inside, length))
    return matrices[0], matrices[1]


def adaptive_matrices(
    size: tuple[int, ...], output_size: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """R and C for a fixed number of windows: the i-th from ⌊i·H/OH⌋ to ⌈(i + 1)·H/OH⌉."""
    matrices = []
    for length, count in zip(size, output_size, strict=True):
        start = np.arange(count) * length // count
        end = -(-(np.arange(count) + 1) * length // count)
        matrices.append(_rows(start, end, end - start, length))
    return matrices[0], matrices[1]


def _rows(start: np.ndarray, end: np.ndarray, divisor: np.ndarray, length: int) -> np.ndarray:
    place = np.arange(length)
    return ((place >= start[:, None]) & (place < end[:, None])) / divisor[:, None]


# ------------------------------------------------------------------------------ readable twins


def max_pool2d_reference(x: np.ndarray, window: Window) -> np.ndarray:
    """Max pooling by its definition."""
    return _pool_reference(x, window, lambda patch, _: patch.max(axis=(2, 3)))


def avg_pool2d_reference(x: np.ndarray, window: Window, count_include_pad: bool) -> np.ndarray:
    """Average pooling by its definition."""
    return _pool_reference(
        x,
        window,
        lambda patch, area: (
            patch.sum(axis=(2, 3)) / (area if count_include_pad else patch[0, 0].size)
        ),
    )


def _pool_reference(x: np.ndarray, window: Window, fold) -> np.ndarray:  # type: ignore[no-untyped-def]
    (kh, kw), (sh, sw), (ph, pw), (dh, dw), _ = window
    h, w = x.shape[2:]
    y = np.empty((*x.shape[:2], *window.output_size(h, w)), dtype=x.dtype)
    for i, j in np.ndindex(*y.shape[2:]):
        rows = [r for r in range(i * sh - ph, i * sh - ph + dh * kh, dh) if 0 <= r < h]
        columns = [c for c in range(j * sw - pw, j * sw - pw + dw * kw, dw) if 0 <= c < w]
        padded_rows = min(i * sh - ph + kh, h + ph) - (i * sh - ph)
        padded_columns = min(j * sw - pw + kw, w + pw) - (j * sw - pw)
        patch = x[:, :, rows][:, :, :, columns]
        y[:, :, i, j] = fold(patch, padded_rows * padded_columns)
    return y
