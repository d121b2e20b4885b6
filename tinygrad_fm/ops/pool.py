"""Pooling over windows of an image (N, C, H, W). g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from tinygrad_fm.ops.fast.chunks import IMAGES, Take, chunks_of, for_chunks
from tinygrad_fm.ops.fast.layout import as_hwnc
from tinygrad_fm.ops.fast.memory import empty, empty_like
from tinygrad_fm.ops.fast.parallel import parallel_for
from tinygrad_fm.ops.fast.sums import sums
from tinygrad_fm.ops.function import Array, Function, Gradients, select

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


HALVING = Window((2, 2), (2, 2), (0, 0), (1, 1), False)


class MaxPool2d(Function):
    """y = the maximum of each window;  g goes to the first element that attains it.

    Saves for each window which of its KH·KW taps won.
    """

    def forward(self, x: Array, window: Window) -> Array:
        self.window, self.size = window, x.shape[2:]
        shape = (*x.shape[:2], *window.output_size(*self.size))
        y = empty_like(x, shape=shape)
        winner = empty_like(x, np.uint8 if math.prod(window.kernel) < 256 else np.int32, shape)
        lowest = -np.inf if x.dtype.kind in "fc" else np.iinfo(x.dtype).min
        first, columns = first_taps(window, *shape[2:]), slice(0, shape[3])

        def body(images: slice, rows: slice) -> None:
            band = images, EVERY, rows
            places = taps(window, (rows, columns), whole(self.size))
            if window.padding == (0, 0):  # the first tap lies in the image
                _, windows, pixels = next(places)
                y[at(images, windows)] = x[at(images, pixels)]
            else:
                y[band] = lowest
            winner[band] = first[rows]
            for number, windows, pixels in places:
                block, best = x[at(images, pixels)], y[at(images, windows)]
                if self.recording:
                    won = winner[at(images, windows)]
                    # Tap numbers rise, so the last one to beat the best so far is the largest.
                    better = (block > best).view(np.uint8) * won.dtype.type(number)
                    np.maximum(won, better, out=won)
                np.maximum(best, block, out=best)
            if self.recording and np.isnan(y[band]).any():  # the last NaN wins, as in PyTorch
                for number, windows, pixels in taps(window, (rows, columns), whole(self.size)):
                    winner[at(images, windows)][np.isnan(x[at(images, pixels)])] = number

        for_bands(body, y)
        self.save_for_backward(winner)
        return y

    def backward(self, grad: Array) -> Gradients:
        return MaxUnpool2d.of(grad, *self.saved, window=self.window, size=self.size)


class MaxUnpool2d(Function):
    """The adjoint of reading the winners: each number goes to its window's winning tap."""

    def forward(self, x: Array, winner: Array, window: Window, size: Pair) -> Array:
        self.window = window
        self.save_for_backward(winner)
        y = empty_like(winner, x.dtype, (*x.shape[:2], *size))
        apart = all(d * (k - 1) < s for k, s, _, d in zip(*window[:4], strict=True))

        def body(images: slice, rows: slice) -> None:
            y[images, :, rows] = 0
            band = rows, slice(0, size[1])
            for number, windows, pixels in taps(window, whole(x.shape[2:]), band):
                g, won = x[at(images, windows)], winner[at(images, windows)] == number
                if apart:
                    select(g, won, y[at(images, pixels)])
                else:
                    y[at(images, pixels)] += select(g, won)

        for_bands(body, y)
        return y

    def backward(self, grad: Array) -> Gradients:
        return Winners.of(grad, *self.saved, window=self.window)


class Winners(Function):
    """y = of each window of x the tap that once won;  g goes back there."""

    def forward(self, x: Array, winner: Array, window: Window) -> Array:
        self.window, self.size = window, x.shape[2:]
        self.save_for_backward(winner)
        y = np.zeros(winner.shape, x.dtype)
        for number, windows, pixels in taps(window, whole(winner.shape[2:]), whole(self.size)):
            won = winner[at(EVERY, windows)] == number
            y[at(EVERY, windows)] += select(x[at(EVERY, pixels)], won)
        return y

    def backward(self, grad: Array) -> Gradients:
        return MaxUnpool2d.of(grad, *self.saved, window=self.window, size=self.size)


BAND = 1 << 18  # numbers of a band of images
EVERY = slice(None)
Part = tuple[slice, slice]  # of an image: which rows, which columns


def taps(window: Window, windows: Part, pixels: Part) -> Iterator[tuple[int, Part, Part]]:
    """For each place in a window: its number, those of `windows` in which it is one of `pixels`,
    and these pixels."""
    (kh, kw), (sh, sw), (ph, pw), (dh, dw), _ = window
    down = [matches(k * dh - ph, sh, windows[0], pixels[0]) for k in range(kh)]
    across = [matches(j * dw - pw, sw, windows[1], pixels[1]) for j in range(kw)]
    for number, (row, column) in enumerate(product(down, across)):
        yield number, (row[0], column[0]), (row[1], column[1])


def matches(offset: int, stride: int, windows: slice, pixels: slice) -> Part:
    """Along one axis: the i in `windows` for which offset + i·stride is in `pixels`, and these."""
    start = max(windows.start, -((offset - pixels.start) // stride))
    stop = min(windows.stop, (pixels.stop - 1 - offset) // stride + 1)
    if stop <= start:
        return slice(0, 0), slice(0, 0)
    first = offset + start * stride
    return slice(start, stop), slice(first, first + (stop - start - 1) * stride + 1, stride)


def at(images: slice, part: Part) -> tuple[slice, slice, slice, slice]:
    """The index of a part of images (N, C, H, W)."""
    return images, EVERY, *part


def whole(size: tuple[int, ...]) -> Part:
    return slice(0, size[0]), slice(0, size[1])


def first_taps(window: Window, oh: int, ow: int) -> Array:
    """For each window (OH, OW) the number of its first tap that does not lie in the padding."""
    rows, columns = (
        np.maximum(-((np.arange(count) * s - p) // d), 0)
        for count, s, p, d in zip((oh, ow), *window[1:4], strict=True)
    )
    return np.add.outer(rows * window.kernel[1], columns)


def for_bands(body: Callable[[slice, slice], Any], images: Array) -> None:
    """body(n, rows) for parts of images (N, C, H, W), on all threads: of whichever of the two axes
    lies apart in memory."""
    n, _, height, _ = images.shape
    by_rows = abs(images.strides[2]) > abs(images.strides[0])
    length = max(BAND * (height if by_rows else n) // max(images.size, 1), 1)
    bands = [
        (slice(0, n), s) if by_rows else (s, slice(0, height))
        for s in chunks_of(height if by_rows else n, length)
    ]
    parallel_for(lambda i: body(*bands[i]), len(bands))


Spans = list[slice]  # of an axis: where each window lies


class AveragePool2d(Function):
    """y = Σ x/m over each window of m pixels;  ∂L/∂x = Σ g/m over the windows that x lies in.

    The windows are those of `window`, or `output_size` (OH, OW) of them (see `spans_of`). The
    quotient of integers is cut off, as PyTorch's.
    """

    def forward(self, x: Array, **windows: Any) -> Array:
        self.windows, self.size = windows, x.shape[2:]
        rows, columns, areas = spans_of(x.shape[2:], **windows)
        y = window_sums(x, rows, columns)
        return np.divide(y, areas.astype(x.real.dtype), out=y, casting="unsafe")

    def backward(self, grad: Array) -> Gradients:
        return AverageUnpool2d.of(grad, size=self.size, **self.windows)


class AverageUnpool2d(Function):
    """The adjoint of `AveragePool2d`: each number goes to its window's m pixels, an m-th to each.

    Neither end of a window lies before that of an earlier one. So the windows of a pixel are
    neighbours, and this is a sum over spans as well.
    """

    def forward(self, x: Array, size: Pair, **windows: Any) -> Array:
        self.windows = windows
        rows, columns, areas = spans_of(size, **windows)
        share = x / areas.astype(x.real.dtype)
        if of_all(rows, columns, size):
            return np.broadcast_to(share, (*x.shape[:2], *size))
        return window_sums(share, transposed(rows, size[0]), transposed(columns, size[1]))

    def backward(self, grad: Array) -> Gradients:
        return AveragePool2d.of(grad, **self.windows)


SERIAL = 1 << 18  # numbers below which one thread is enough


def window_sums(x: Array, rows: Spans, columns: Spans) -> Array:
    """Σ over every window, first along its rows, then along its columns."""
    n, c = x.shape[:2]
    if of_all(rows, columns, x.shape[2:]):
        return sums(x, (2, 3))
    image, y = as_hwnc(x), empty((len(rows), len(columns), n, c), x.dtype)

    def body(i: int, s: slice, take: Take) -> None:
        source, target = image[:, :, s], y[:, :, s]
        totals = take((len(rows), *source.shape[1:]), x.dtype)
        for row, span in zip(totals, rows, strict=True):
            np.add.reduce(source[span], axis=0, out=row)
        for column, span in enumerate(columns):
            np.add.reduce(totals[:, span], axis=1, out=target[:, column])

    for_chunks(body, chunks_of(n, IMAGES if x.size > SERIAL else max(n, 1)))
    return y.transpose(2, 3, 0, 1)


def of_all(rows: Spans, columns: Spans, size: tuple[int, ...]) -> bool:
    """Whether there is one window only, the image."""
    return rows == [slice(0, size[0])] and columns == [slice(0, size[1])]


def transposed(spans: Spans, length: int) -> Spans:
    """For each of `length` pixels in a row, the windows that it lies in."""
    first = np.searchsorted([s.stop for s in spans], range(length), "right")
    last = np.searchsorted([s.start for s in spans], range(length), "right")
    return [slice(*ends) for ends in zip(first, last, strict=True)]


def spans_of(
    size: tuple[int, ...],
    window: Window | None = None,
    count_include_pad: bool = True,
    output_size: Pair = (0, 0),
) -> tuple[Spans, Spans, Array]:
    """Where the windows lie, as spans of rows and of columns, and what each divides by, (OH, OW).

    Without `window`: the i-th of OH windows reaches from ⌊i·H/OH⌋ to ⌈(i + 1)·H/OH⌉.
    """
    spans, lengths = [], []
    for axis, n in enumerate(size):
        if window is None:
            i, count = np.arange(output_size[axis]), max(output_size[axis], 1)
            start, end = i * n // count, -(-(i + 1) * n // count)
            length = end - start
        else:
            k, s, p = (pair[axis] for pair in window[:3])
            start = np.arange(window.output_size(*size)[axis]) * s - p
            end = np.minimum(start + k, n + p)
            length = end - start
            start, end = np.maximum(start, 0), np.minimum(end, n)
            length = length if count_include_pad else end - start
        spans.append([slice(*ends) for ends in zip(start, end, strict=True)])
        lengths.append(length)
    return spans[0], spans[1], np.multiply.outer(*lengths)


# ------------------------------------------------------------------------------ readable twins


def max_pool2d_reference(x: Array, window: Window) -> Array:
    """Max pooling by its definition."""
    return _pool_reference(x, window, lambda patch, _: patch.max(axis=(2, 3)))


def avg_pool2d_reference(x: Array, window: Window, count_include_pad: bool) -> Array:
    """Average pooling by its definition."""

    def mean(patch: Array, area: int) -> Array:
        return patch.sum(axis=(2, 3)) / (area if count_include_pad else patch[0, 0].size)

    return _pool_reference(x, window, mean)


def _pool_reference(x: Array, window: Window, fold) -> Array:  # type: ignore[no-untyped-def]
    (kh, kw), (sh, sw), (ph, pw), (dh, dw), _ = window
    h, w = x.shape[2:]
    y = np.empty((*x.shape[:2], *window.output_size(h, w)), dtype=x.dtype)
    for i, j in np.ndindex(*y.shape[2:]):
        top, left = i * sh - ph, j * sw - pw
        rows = [r for r in range(top, top + dh * kh, dh) if 0 <= r < h]
        columns = [c for c in range(left, left + dw * kw, dw) if 0 <= c < w]
        area = min(kh, h + ph - top) * min(kw, w + pw - left)  # with what lies in the padding
        y[:, :, i, j] = fold(x[:, :, rows][:, :, :, columns], area)
    return y
