"""Pooling over windows of an image (N, C, H, W). g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tinygrad_fm.ops.function import Function, Gradients, select
from tinygrad_fm.ops.layout import as_hwnc, chunks_of
from tinygrad_fm.ops.memory import empty, empty_like, scratch
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
            lowest = -np.inf if x.dtype.kind in "fc" else np.iinfo(x.dtype).min
            image = np.full_like(x, lowest, shape=self.padded_shape)
            image[:, :, top : top + x.shape[2], left : left + x.shape[3]] = x
        views = list(taps(image, window, oh, ow))
        y = empty_like(views[0])
        winner = empty_like(y, np.uint8 if len(views) < 256 else np.int32)
        first = first_taps(window, oh, ow)
        chunks = chunks_of(len(x))

        def body(i: int) -> None:
            best, won = y[chunks[i]], winner[chunks[i]]
            best[...] = views[0][chunks[i]]
            won[...] = first
            for number, view in enumerate(views[1:], start=1):
                block = view[chunks[i]]
                if self.recording:
                    # Tap numbers rise, so the last one to beat the best so far is the largest.
                    np.maximum(won, (block > best) * won.dtype.type(number), out=won)
                np.maximum(best, block, out=best)
            if self.recording and np.isnan(best).any():  # the last NaN wins, as in PyTorch
                for number, view in enumerate(views):
                    won[np.isnan(view[chunks[i]])] = number

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


def first_taps(window: Window, oh: int, ow: int) -> np.ndarray:
    """For each window (OH, OW) the number of its first tap that does not lie in the padding."""
    rows, columns = (
        np.maximum(-((np.arange(count) * s - p) // d), 0)
        for count, s, p, d in zip((oh, ow), *window[1:4], strict=True)
    )
    return np.add.outer(rows * window.kernel[1], columns)


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


Spans = list[slice]  # of an axis: where each window lies


class AveragePool2d(Function):
    """y = Σ x/m over each window of m pixels;  ∂L/∂x = Σ g/m over the windows that x lies in.

    `spans` are the windows' rows and columns in the image, and `areas` (OH, OW) is m. Neither end
    of a window lies before that of an earlier one, so that the windows of a pixel are neighbours,
    and both ways are sums over spans. The quotient of integers is cut off, as PyTorch's.
    """

    def forward(self, x: np.ndarray, spans: tuple[Spans, Spans], areas: np.ndarray) -> np.ndarray:
        self.spans, self.size = spans, x.shape[2:]
        self.areas = areas.astype(x.real.dtype)
        y = window_sums(x, *spans)
        return np.divide(y, self.areas, out=y, casting="unsafe")

    def backward(self, grad: np.ndarray) -> Gradients:
        return window_sums(grad / self.areas, *map(transposed, self.spans, self.size))


SERIAL = 1 << 18  # numbers below which one thread is enough


def window_sums(x: np.ndarray, rows: Spans, columns: Spans) -> np.ndarray:
    """Σ over every window, first along its rows, then along its columns."""
    n, c = x.shape[:2]
    image, y = as_hwnc(x), empty((len(rows), len(columns), n, c), x.dtype)
    chunks = chunks_of(n) if x.size > SERIAL else [slice(0, n)]

    def body(i: int) -> None:
        source, target = image[:, :, chunks[i]], y[:, :, chunks[i]]
        sums = scratch("sums", (len(rows), *source.shape[1:]), x.dtype)
        for row, span in zip(sums, rows, strict=True):
            np.add.reduce(source[span], axis=0, out=row)
        for column, span in enumerate(columns):
            np.add.reduce(sums[:, span], axis=1, out=target[:, column])

    parallel_for(body, len(chunks))
    return y.transpose(2, 3, 0, 1)


def transposed(spans: Spans, length: int) -> Spans:
    """For each of `length` pixels in a row, the windows that it lies in."""
    first = np.searchsorted([s.stop for s in spans], range(length), "right")
    last = np.searchsorted([s.start for s in spans], range(length), "right")
    return [slice(*ends) for ends in zip(first, last, strict=True)]


def averaging_spans(
    size: tuple[int, ...], window: Window, count_include_pad: bool
) -> tuple[tuple[Spans, Spans], np.ndarray]:
    """The spans and areas of `AveragePool2d` for windows of fixed size."""
    axes = []
    counts = window.output_size(*size)
    for length, count, k, s, p in zip(size, counts, *window[:3], strict=True):
        start = np.arange(count) * s - p
        end = np.minimum(start + k, length + p)
        inside = np.maximum(start, 0), np.minimum(end, length)
        axes.append((*inside, end - start if count_include_pad else inside[1] - inside[0]))
    return _spans_and_areas(*axes)


def adaptive_spans(
    size: tuple[int, ...], output_size: tuple[int, ...]
) -> tuple[tuple[Spans, Spans], np.ndarray]:
    """The same for a fixed number of windows: the i-th from ⌊i·H/OH⌋ to ⌈(i + 1)·H/OH⌉."""
    axes = []
    for length, count in zip(size, output_size, strict=True):
        start = np.arange(count) * length // max(count, 1)
        end = -(-(np.arange(count) + 1) * length // max(count, 1))
        axes.append((start, end, end - start))
    return _spans_and_areas(*axes)


def _spans_and_areas(*axes: tuple[np.ndarray, ...]) -> tuple[tuple[Spans, Spans], np.ndarray]:
    rows, columns = ([slice(*ends) for ends in zip(*axis[:2], strict=True)] for axis in axes)
    return (rows, columns), np.multiply.outer(axes[0][2], axes[1][2])


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
