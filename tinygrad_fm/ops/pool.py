"""Pooling over windows of an image (N, C, H, W). g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tinygrad_fm.ops.fast.chunks import IMAGES, Take, chunks_of, for_chunks
from tinygrad_fm.ops.fast.layout import as_hwnc
from tinygrad_fm.ops.fast.memory import empty, empty_like
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


class MaxPool2d(Function):
    """y = the maximum of each window;  g goes to the first element that attains it.

    Saves for each window which of its KH·KW taps won.
    """

    def forward(self, x: Array, window: Window) -> Array:
        self.window, self.size = window, x.shape[2:]
        oh, ow = window.output_size(*x.shape[2:])
        lowest = -np.inf if x.dtype.kind in "fc" else np.iinfo(x.dtype).min
        views = list(taps(framed(x, window, lowest), window, oh, ow))
        y = empty_like(views[0])
        winner = empty_like(y, np.uint8 if len(views) < 256 else np.int32)
        first = first_taps(window, oh, ow)

        def body(i: int, s: slice, take: Take) -> None:
            best, won = y[s], winner[s]
            best[...] = views[0][s]
            won[...] = first
            for number, view in enumerate(views[1:], start=1):
                block = view[s]
                if self.recording:
                    # Tap numbers rise, so the last one to beat the best so far is the largest.
                    np.maximum(won, (block > best) * won.dtype.type(number), out=won)
                np.maximum(best, block, out=best)
            if self.recording and np.isnan(best).any():  # the last NaN wins, as in PyTorch
                for number, view in enumerate(views):
                    won[np.isnan(view[s])] = number

        for_chunks(body, chunks_of(len(x)))
        self.save_for_backward(winner)
        return y

    def backward(self, grad: Array) -> Gradients:
        return MaxUnpool2d.of(grad, *self.saved, window=self.window, size=self.size)


class MaxUnpool2d(Function):
    """The adjoint of reading the winners: each number goes to its window's winning tap."""

    def forward(self, x: Array, winner: Array, window: Window, size: Pair) -> Array:
        self.window = window
        self.save_for_backward(winner)
        order = np.argsort([-stride for stride in winner.strides], kind="stable")
        frame = frame_of((*x.shape[:2], *size), window)  # in the layout of the winners
        y = empty(tuple(frame[i] for i in order), x.dtype).transpose(np.argsort(order))

        def body(i: int, s: slice, take: Take) -> None:
            part, g, won = y[s], x[s], winner[s]
            part[...] = 0
            kept = np.empty_like(won, g.dtype)
            for number, block in enumerate(taps(part, window, *x.shape[2:])):
                block += select(g, won == number, kept)

        for_chunks(body, chunks_of(len(x)))
        top, left = window.padding
        return y[:, :, top : top + size[0], left : left + size[1]]

    def backward(self, grad: Array) -> Gradients:
        return Winners.of(grad, *self.saved, window=self.window)


class Winners(Function):
    """y = of each window of x the tap that once won;  g goes back there."""

    def forward(self, x: Array, winner: Array, window: Window) -> Array:
        self.window, self.size = window, x.shape[2:]
        self.save_for_backward(winner)
        y = np.zeros(winner.shape, x.dtype)
        for number, view in enumerate(taps(framed(x, window, 0), window, *winner.shape[2:])):
            y += select(view, winner == number)
        return y

    def backward(self, grad: Array) -> Gradients:
        return MaxUnpool2d.of(grad, *self.saved, window=self.window, size=self.size)


def framed(x: Array, window: Window, value: float) -> Array:
    """x in a frame of `value` that holds the padding and the last window."""
    shape = frame_of(x.shape, window)
    if shape == x.shape:
        return x
    top, left = window.padding
    image = np.full_like(x, value, shape=shape)
    image[:, :, top : top + x.shape[2], left : left + x.shape[3]] = x
    return image


def first_taps(window: Window, oh: int, ow: int) -> Array:
    """For each window (OH, OW) the number of its first tap that does not lie in the padding."""
    rows, columns = (
        np.maximum(-((np.arange(count) * s - p) // d), 0)
        for count, s, p, d in zip((oh, ow), *window[1:4], strict=True)
    )
    return np.add.outer(rows * window.kernel[1], columns)


def frame_of(shape: tuple[int, ...], window: Window) -> tuple[int, ...]:
    """The shape that holds both the padded image and the last window."""
    n, c, *size = shape
    reach = [
        max(p + length, (out - 1) * s + d * (k - 1) + 1)
        for length, out, k, s, p, d in zip(
            size, window.output_size(*size), *window[:4], strict=True
        )
    ]
    return n, c, *reach


def taps(image: Array, window: Window, oh: int, ow: int) -> Iterator[Array]:
    """For each place in a window, the view (N, C, OH, OW) of that place in all windows."""
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    for k in range(kh):
        for j in range(kw):
            top, left = k * dh, j * dw
            rows = slice(top, top + sh * (oh - 1) + 1, sh)
            columns = slice(left, left + sw * (ow - 1) + 1, sw)
            yield image[:, :, rows, columns]


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
        return window_sums(share, transposed(rows, size[0]), transposed(columns, size[1]))

    def backward(self, grad: Array) -> Gradients:
        return AveragePool2d.of(grad, **self.windows)


SERIAL = 1 << 18  # numbers below which one thread is enough


def window_sums(x: Array, rows: Spans, columns: Spans) -> Array:
    """Σ over every window, first along its rows, then along its columns."""
    n, c = x.shape[:2]
    image, y = as_hwnc(x), empty((len(rows), len(columns), n, c), x.dtype)

    def body(i: int, s: slice, take: Take) -> None:
        source, target = image[:, :, s], y[:, :, s]
        sums = take((len(rows), *source.shape[1:]), x.dtype)
        for row, span in zip(sums, rows, strict=True):
            np.add.reduce(source[span], axis=0, out=row)
        for column, span in enumerate(columns):
            np.add.reduce(sums[:, span], axis=1, out=target[:, column])

    for_chunks(body, chunks_of(n, IMAGES if x.size > SERIAL else max(n, 1)))
    return y.transpose(2, 3, 0, 1)


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
