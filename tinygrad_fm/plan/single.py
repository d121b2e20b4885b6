"""Convolution of one image, without a graph: so little work that the number of calls decides.

The image is copied into a frame that is there already, its patches into a matrix that is there
already, and the kernel is brought into the shape of the product once for all calls. The twin is
`ops/conv.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinygrad_fm import ops
from tinygrad_fm.ops.conv import PLAIN, Geometry
from tinygrad_fm.ops.function import Array
from tinygrad_fm.ops.matmul import product
from tinygrad_fm.plan.build import Kernel
from tinygrad_fm.plan.replay import Registers

Step = Any  # reads registers, works on the product (OH, OW, O)


class OneImage(Kernel):
    """`Conv2d`, `Conv3x3` or `ConvBlock` of an image (1, C, H, W), one group."""

    def forward(self) -> None:
        operation, (x, weight, *others), options, _ = self.node
        specs, y = self.plan.specs, self.plan.output(self.node)
        dtype, (_, c, h, w) = specs[x].dtype, specs[x].shape
        geometry: Geometry = options.get("geometry", PLAIN)
        (sh, sw), (ph, pw), (dh, dw), _ = geometry
        o, _, kh, kw = specs[weight].shape
        oh, ow = geometry.output_size((h, w), (kh, kw))
        frame = np.zeros((h + 2 * ph, w + 2 * pw, c), dtype)
        inner = frame[ph : ph + h, pw : pw + w].transpose(2, 0, 1)
        of_h, of_w, of_c = frame.strides
        strides = (of_h * sh, of_w * sw, of_h * dh, of_w * dw, of_c)
        windows = as_strided(frame, (oh, ow, kh, kw, c), strides, writeable=False)
        patches = np.empty(windows.shape, dtype)
        rows = patches.reshape(oh * ow, kh * kw * c)
        sums = np.empty((oh, ow, o), dtype)
        flat = sums.reshape(oh * ow, o)
        matrix = Matrix()
        pool = operation is ops.ConvBlock
        relu = pool or options.get("relu")
        residual = others[-1] if options.get("residual") else None
        bias = others[0] if len(others) > (residual is not None) else None

        def run(r: Registers) -> None:
            inner[...] = r[x][0]
            patches[...] = windows
            product(rows, matrix.of(r[weight]), flat)
            result = pooled(sums) if pool else sums
            if bias is not None:
                result += r[bias]
            if residual is not None:
                result += r[residual][0].transpose(1, 2, 0)
            if relu:
                np.maximum(result, 0, out=result)
            r[y][0] = result.transpose(2, 0, 1)

        self.plan.add(run)


class Matrix:
    """A kernel (O, C, KH, KW) as a matrix (KH·KW·C, O), made anew when the kernel has changed."""

    def __init__(self) -> None:
        self.kernel: Array | None = None

    def of(self, kernel: Array) -> Array:
        if self.kernel is None or not np.array_equal(self.kernel, kernel):
            self.kernel = kernel.copy()
            o, *rest = kernel.shape
            columns = kernel.transpose(2, 3, 1, 0).reshape(math.prod(rest), o)
            self.matrix = np.ascontiguousarray(columns)
        return self.matrix


def pooled(y: Array) -> Array:
    """The maximum of each 2×2 window: (H, W, O) -> (⌊H/2⌋, ⌊W/2⌋, O)."""
    h, w, _ = y.shape
    y = y[: h // 2 * 2, : w // 2 * 2]
    rows = np.maximum(y[0::2], y[1::2])
    return np.maximum(rows[:, 0::2], rows[:, 1::2])
