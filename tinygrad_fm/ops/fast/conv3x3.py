"""Fast 3×3 convolutions with stride 1 and padding 1, forward and backward.

`Conv3x3` is the operation. It and the blocks in `conv_block.py` work on one chunk of images at a
time, with one of the two classes behind it. Both of these compute outputs as four planes,
y (2, 2, TH, TW, n, O): y[r, c] holds output rows 2i + r and columns 2j + c. A 2×2 max pool is then
the maximum of four planes. For an odd height or width the planes reach one row or column beyond
the image; gradients there must be zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_fm.ops.conv import PLAIN, Conv2d
from tinygrad_fm.ops.fast import winograd
from tinygrad_fm.ops.fast.blas import one_blas_thread
from tinygrad_fm.ops.fast.chunks import IMAGES, Take, chunks_of, for_chunks
from tinygrad_fm.ops.fast.layout import as_hwnc
from tinygrad_fm.ops.fast.memory import empty
from tinygrad_fm.ops.function import Array

Fill = Callable[[int, slice, Array, Take], None]  # (i, chunks[i], dy, take): writes ∂L/∂y


NUMBERS = 1 << 18  # of a chunk's images or outputs, whichever are fewer


def image_chunks(x: Array, weight: Array) -> list[slice]:
    """The images in chunks of 16; of 8 or 4 where they are large."""
    each = min(weight.shape[:2]) * x.shape[2] * x.shape[3]
    fitting = (length for length in (IMAGES, IMAGES // 2) if length * each <= NUMBERS)
    return chunks_of(len(x), next(fitting, IMAGES // 4))


class Winograd3x3:
    """By Winograd's F(2×2, 3×3), for any number of channels; see `winograd.py`."""

    def __init__(self, x: Array, weight: Array) -> None:
        self.x = x.transpose(2, 3, 0, 1)  # (N, C, H, W) -> (H, W, N, C), a view
        self.channels, self.outputs = weight.shape[1], len(weight)
        self.grid = winograd.tiles_of(*x.shape[2:])
        self.u = one_blas_thread(winograd.transform_weight, weight)  # (16, C, O)

    def forward(self, i: int, s: slice, y: Array, take: Take) -> None:
        """Convolve images s, the i-th chunk, into y (2, 2, TH, TW, n, O)."""
        n = y.shape[4]
        tiles = self.grid[0] * self.grid[1] * n
        m = take((4, 4, *self.grid, n, self.outputs), y.dtype)
        v = take((4, 4, *self.grid, n, self.channels), self.x.dtype)
        winograd.transform_input(self.x[:, :, s], v, take)
        np.matmul(v.reshape(16, tiles, -1), self.u, out=m.reshape(16, tiles, -1))
        winograd.transform_output(m, y, take)

    def backward(
        self, chunks: list[slice], fill: Fill, need_x: bool, need_weight: bool
    ) -> tuple[Array | None, Array | None]:
        """∂L/∂x (N, C, H, W) and ∂L/∂w (O, C, 3, 3), those that are needed, chunks added up in
        their order."""
        h, w, total, c = self.x.shape
        dx = empty((h, w, total, c), self.x.dtype)
        du = empty((len(chunks), 16, self.outputs, c), self.x.dtype)

        def body(i: int, s: slice, take: Take) -> None:
            n = s.stop - s.start
            tiles = self.grid[0] * self.grid[1] * n
            dm = take((4, 4, *self.grid, n, self.outputs), dx.dtype)
            fill(i, s, dm[0::3, 0::3], take)  # ∂L/∂y is the corners of ∂L/∂M
            winograd.transform_output_transposed(dm)
            dm = dm.reshape(16, tiles, self.outputs)
            v = take((4, 4, *self.grid, n, c), dx.dtype)
            flat = v.reshape(16, tiles, c)
            if need_weight:
                winograd.transform_input(self.x[:, :, s], v, take)
                np.matmul(dm.swapaxes(1, 2), flat, out=du[i])  # (16, O, tiles) @ (16, tiles, C)
            if not need_x:
                return
            np.matmul(dm, self.u.swapaxes(1, 2), out=flat)  # v has been used: it holds ∂L/∂V now
            if h % 2 or w % 2:
                whole = take((2 * self.grid[0], 2 * self.grid[1], n, c), v.dtype)
                winograd.transform_input_transposed(v, whole, take)
                dx[:, :, s] = whole[:h, :w]
            else:
                winograd.transform_input_transposed(v, dx[:, :, s], take)

        for_chunks(body, chunks)
        transform = winograd.transform_weight_transposed
        dw = one_blas_thread(transform, du.sum(axis=0)) if need_weight else None
        return dx.transpose(2, 3, 0, 1) if need_x else None, dw


class Patches3x3:
    """By im2col, for images of few channels that want no gradient: the first layer of a network.

    A patch has 9·C numbers only, so the patch matrix is small; it lies transposed, (9·C, tiles),
    so that writing it copies long runs.
    """

    def __init__(self, x: Array, weight: Array) -> None:
        self.x = x
        self.outputs, self.channels = weight.shape[:2]
        self.grid = winograd.tiles_of(*x.shape[2:])
        self.kernel = weight.reshape(self.outputs, -1).T.copy()  # (C·9, O)
        self.patches: dict[int, Array] = {}

    def forward(self, i: int, s: slice, y: Array, take: Take) -> None:
        """Convolve images s, the i-th chunk, into y (2, 2, TH, TW, n, O)."""
        (th, tw), n, c = self.grid, y.shape[4], self.channels
        h, w = self.x.shape[2:]
        patches = self.patches[i] = empty((2, 2, c * 9, th * tw * n), y.dtype)
        padded = take((c, 2 * th + 2, 2 * tw + 2, n), y.dtype)
        padded[:, 0] = padded[:, h + 1 :] = 0
        padded[:, :, 0] = padded[:, :, w + 1 :] = 0
        padded[:, 1 : h + 1, 1 : w + 1] = self.x[s].transpose(1, 2, 3, 0)
        windows = sliding_window_view(padded, (3, 3), axis=(1, 2))  # (C, 2TH, 2TW, n, 3, 3)
        for r, column in np.ndindex(2, 2):
            target = patches[r, column].reshape(c, 3, 3, th, tw, n)
            target[...] = windows[:, r::2, column::2].transpose(0, 4, 5, 1, 2, 3)
        flat = y.reshape(2, 2, th * tw * n, self.outputs)
        np.matmul(patches.swapaxes(-1, -2), self.kernel, out=flat)  # (·, tiles, 9C) @ (9C, O)

    def backward(
        self, chunks: list[slice], fill: Fill, need_x: bool, need_weight: bool
    ) -> tuple[None, Array]:
        """∂L/∂w (O, C, 3, 3), chunks added up in their order."""
        dkernel = empty((len(chunks), 2, 2, *self.kernel.shape), self.x.dtype)

        def body(i: int, s: slice, take: Take) -> None:
            dy = take((2, 2, *self.grid, s.stop - s.start, self.outputs), self.x.dtype)
            fill(i, s, dy, take)
            flat = dy.reshape(2, 2, -1, self.outputs)
            np.matmul(self.patches[i], flat, out=dkernel[i])  # (·, 9C, tiles) @ (·, tiles, O)

        for_chunks(body, chunks)
        dw = dkernel.sum(axis=(0, 1, 2)).T  # (O, 9C)
        return None, dw.reshape(self.outputs, self.channels, 3, 3)


def convolution(x: Array, weight: Array, need_x: bool) -> Winograd3x3 | Patches3x3:
    """The better of the two ways for these arrays."""
    few = weight.shape[1] <= 4 and not need_x
    return Patches3x3(x, weight) if few else Winograd3x3(x, weight)


class Conv3x3(Conv2d):
    """`Conv2d` for kernel 3×3, stride 1, padding 1, dilation 1 and one group.

    Shapes: x (N, C, H, W), w (O, C, 3, 3), b (O) → y (N, O, H, W). The readable twin
    is `conv2d_reference`.
    """

    def forward(self, x: Array, weight: Array, *others: Array, **then: Any) -> Array:
        return super().forward(x, weight, *others, geometry=PLAIN, **then)

    def correlated(self, x: Array, weight: Array) -> Array:
        conv = self.conv = convolution(x, weight, self.recording and self.needs_input_grad[0])
        self.chunks = image_chunks(x, weight)
        n, _, h, w = x.shape
        out = empty((h, w, n, len(weight)), x.dtype)

        def body(i: int, s: slice, take: Take) -> None:
            y = take((2, 2, *conv.grid, s.stop - s.start, len(weight)), x.dtype)
            conv.forward(i, s, y, take)
            for r, c in np.ndindex(2, 2):
                part = out[r::2, c::2, s]
                part[...] = y[r, c, : part.shape[0], : part.shape[1]]

        for_chunks(body, self.chunks)
        return out.transpose(2, 3, 0, 1)

    def gradients(self, grad: Any) -> tuple[Array | None, Array | None]:
        if not isinstance(grad, np.ndarray):
            return super().gradients(grad)
        hwnc = as_hwnc(grad)

        def fill(i: int, s: slice, dy: Array, take: Take) -> None:
            for r, c in np.ndindex(2, 2):
                part = hwnc[r::2, c::2, s]
                dy[r, c, part.shape[0] :] = dy[r, c, :, part.shape[1] :] = 0
                dy[r, c, : part.shape[0], : part.shape[1]] = part

        return self.conv.backward(self.chunks, fill, *self.needs_input_grad[:2])

    def release(self) -> None:
        super().release()
        self.__dict__.pop("conv", None)
