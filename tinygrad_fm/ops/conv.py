"""Two-dimensional convolution and its transpose.

Shapes are PyTorch's, images (N, C, H, W) and weights (O, C/groups, KH, KW). The memory behind
results is that of (H, W, N, C), the layout that the next layer reads; the arithmetic is in
`fast/patches.py` (matrix products), `fast/tiles.py` (3×3) and `fast/depthwise.py`.

Convolution is linear in the image and in the weight, so three maps and their adjoints are all
there is. Each is an operation, and their derivatives are the other two, to any order:

    Conv2d            (x, w) -> y      by `correlate`
    ConvTranspose2d   (g, w) -> ∂L/∂x  by `spread`
    Conv2dWeight      (x, g) -> ∂L/∂w  by `correlate_weight`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_fm.ops.fast import depthwise, patches, rows, scatter, tiles
from tinygrad_fm.ops.fast.channels import as_rows, channel_sums, combine, from_rows, let_through
from tinygrad_fm.ops.fast.laid import Laid, phases
from tinygrad_fm.ops.fast.memory import empty
from tinygrad_fm.ops.function import Array, Function, Gradients, select
from tinygrad_fm.ops.pool import MaxPool2d, Window

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """How a kernel is laid over an image, each as (vertical, horizontal)."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def output_size(self, size: tuple[int, ...], kernel: tuple[int, ...]) -> Pair:
        """(OH, OW) for an image of `size` (H, W)."""
        oh, ow = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(size, kernel, *self[:3], strict=True)
        )
        return oh, ow


PLAIN = Geometry(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)  # for a 3×3 kernel


class Conv2d(Function):
    """y[n, o, i, j] = b[o] + Σ_{c, k, l} w[o, c, k, l] · x[n, c, i·s + k·d - p, j·s + l·d - p].

    Shapes: x (N, C, H, W), w (O, C/groups, KH, KW), b (O) → y (N, O, OH, OW). Saves each
    factor for the other's gradient.

    A plan takes what follows together with it, in one pass over y: relu(y + z), where z comes last
    and is there if `residual`, or relu(max pool(y)) if there is a `window`. (Max pooling and ReLU
    can change places, and bias and ReLU then have fewer numbers to go over.) Saves the result too.
    """

    pool: MaxPool2d | None = None

    def forward(
        self,
        x: Array,
        weight: Array,
        *others: Array,
        geometry: Geometry,
        relu: bool = False,
        residual: bool = False,
        window: Window | None = None,
    ) -> Array:
        self.geometry, self.size, self.kernel = geometry, x.shape[2:], weight.shape[2:]
        self.residual = residual
        y = self.correlated(x, weight)
        if window is not None:
            self.pool = MaxPool2d()
            self.pool.needs_input_grad = (self.recording,)
            y = self.pool.forward(y, window)
        bias, added = others[: len(others) - residual], others[len(others) - residual :]
        if y.size and (others or relu):
            combine(as_rows(y), (), *bias, *map(as_rows, added), relu=relu)
        if self.recording:
            need_x, need_weight, *_ = self.needs_input_grad
            factors = x if need_weight else None, weight if need_x else None
            self.save_for_backward(*factors, y if relu else None)
        return y

    def correlated(self, x: Array, weight: Array) -> Array:
        """The map itself, in new memory."""
        size = self.geometry.output_size(self.size, self.kernel)
        return correlate(x, weight, self.geometry, size)

    def backward(self, grad: Array) -> Gradients:
        y, last = self.saved[2], len(self.needs_input_grad) - self.residual
        need_bias, need_added = self.needs_input_grad[2:last], self.needs_input_grad[last:]
        if y is not None and isinstance(grad, np.ndarray) and grad.size:
            rows, write = let_through(as_rows(grad), as_rows(y))
            dbias = tuple(channel_sums(rows, write=write).astype(grad.dtype))[: len(need_bias)]
            grad = from_rows(rows, grad.shape)
        else:
            grad = grad if y is None else select(grad, y > 0)
            dbias = bias_gradient(grad, need_bias)
        upstream = grad if self.pool is None else self.pool.backward(grad)
        return self.wanted(*self.gradients(upstream), *dbias, *(grad for _ in need_added))

    def gradients(self, grad: Any) -> tuple[Array | None, Array | None]:
        """∂L/∂x and ∂L/∂w from the gradient of what `correlated` gave."""
        x, weight, _ = self.saved
        need_x, need_weight, *_ = self.needs_input_grad
        how = {"geometry": self.geometry}
        dx = ConvTranspose2d.of(grad, weight, **how, output_size=self.size) if need_x else None
        dweight = Conv2dWeight.of(x, grad, **how, kernel=self.kernel) if need_weight else None
        return dx, dweight

    def release(self) -> None:
        super().release()
        self.__dict__.pop("pool", None)


class ConvTranspose2d(Conv2d):
    """The adjoint of `Conv2d` in x: every input pixel adds its copy of the kernel to the output.

    Shapes: x (N, C, H, W), w (C, O/groups, KH, KW), b (O) → y (N, O, OH, OW). Saves each
    factor for the other's gradient. A plan takes the same with it as with `Conv2d`.
    """

    def forward(  # type: ignore[override]
        self, x: Array, weight: Array, *others: Array, output_size: Pair, **how: Any
    ) -> Array:
        self.output_size = output_size
        return super().forward(x, weight, *others, **how)

    def correlated(self, x: Array, weight: Array) -> Array:
        channels = weight.shape[1] * self.geometry.groups
        return spread(x, weight, (len(x), channels, *self.output_size), self.geometry)

    def gradients(self, grad: Any) -> tuple[Array | None, Array | None]:
        x, weight, _ = self.saved
        need_x, need_weight, *_ = self.needs_input_grad
        how = {"geometry": self.geometry}
        dx = conv_of_size(grad, weight, self.geometry, self.size) if need_x else None
        dweight = Conv2dWeight.of(grad, x, **how, kernel=self.kernel) if need_weight else None
        return dx, dweight


class Conv2dWeight(Function):
    """∂⟨g, conv2d(x, w)⟩/∂w, a map that is linear in x and in g as well. Saves each for the other.

    Shapes: x (N, C, H, W), g (N, O, OH, OW) → (O, C/groups, KH, KW).
    """

    def forward(self, x: Array, grad: Array, geometry: Geometry, kernel: Pair) -> Array:
        self.geometry, self.sizes = geometry, (x.shape[2:], grad.shape[2:])
        self.save_factors(x, grad)
        shape = (grad.shape[1], x.shape[1] // geometry.groups, *kernel)
        return correlate_weight(x, grad, shape, geometry)

    def backward(self, upstream: Array) -> Gradients:
        x, grad = self.saved
        need_x, need_grad = self.needs_input_grad
        how, sizes = {"geometry": self.geometry}, self.sizes
        dx = ConvTranspose2d.of(grad, upstream, **how, output_size=sizes[0]) if need_x else None
        dgrad = conv_of_size(x, upstream, self.geometry, sizes[1]) if need_grad else None
        return dx, dgrad


def conv_of_size(x: Any, weight: Any, geometry: Geometry, size: tuple[int, ...]) -> Any:
    """`Conv2d` cut to a size: `output_padding` may have left room for one more position."""
    y = Conv2d.of(x, weight, geometry=geometry)
    return y if y.shape[2:] == size else y[:, :, : size[0], : size[1]]


def bias_gradient(grad: Array, needed: Sequence[bool]) -> tuple[Array | None, ...]:
    """∂L/∂b = Σ g for the one bias there is, if it is needed; nothing where there is none."""
    if not any(needed):
        return tuple(None for _ in needed)
    if isinstance(grad, np.ndarray) and grad.size:
        return tuple(channel_sums(as_rows(grad)).astype(grad.dtype))
    return (grad.sum(axis=(0, 2, 3)),)


# ------------------------------------------------------------------------------ the three maps


def correlate(x: Array, weight: Array, geometry: Geometry, size: tuple[int, ...]) -> Array:
    """Σ over patches of x times weight: (N, C, H, W), (O, C/G, KH, KW) -> (N, O, *size)."""
    y = empty((*size, len(x), len(weight)), x.dtype)
    correlate_into(y, as_pixels(x), split(weight, geometry.groups), laid(geometry))
    return y.transpose(2, 3, 0, 1)


def spread(grad: Array, weight: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array:
    """The adjoint of `correlate` in x: (N, O, OH, OW), (O, C/G, KH, KW) -> x_shape.

    In each of its phases (see `laid.py`) a correlation of the gradient with the turned kernel.
    """
    n, c, h, w = x_shape
    dx = empty((h, w, n, c), grad.dtype)
    kernel = split(weight, geometry.groups)
    if grad.size and scatter.suits(kernel):
        scatter.spread_into(dx, as_pixels(grad), kernel, laid(geometry))
        return dx.transpose(2, 3, 0, 1)
    turned = kernel.swapaxes(1, 2)
    for part in phases(weight.shape[2:], *geometry[:3]):
        correlate_into(dx[part.pixels], as_pixels(grad), turned[part.taps], part.laid)
    return dx.transpose(2, 3, 0, 1)


def correlate_weight(
    x: Array, grad: Array, weight_shape: tuple[int, ...], geometry: Geometry
) -> Array:
    """The adjoint of `correlate` in the weight: patches of x times gradients, summed."""
    if 0 in (*x.shape, *grad.shape, *weight_shape):
        return np.zeros(weight_shape, x.dtype)
    o, *rest = weight_shape
    shape = (geometry.groups, o // geometry.groups, *rest)
    pixels, how = as_pixels(x), laid(geometry)
    dweight = kernels(shape, pixels, how).correlate_weight(pixels, as_pixels(grad), shape, how)
    return np.ascontiguousarray(dweight).reshape(weight_shape)


def correlate_into(y: np.ndarray, x: np.ndarray, weight: np.ndarray, how: Laid) -> None:
    """y (OH, OW, N, O) = the correlation of x (H, W, N, C) with weight (G, O/G, C/G, KH, KW)."""
    if not x.size or not weight.size:
        y[...] = 0
    elif y.size:
        kernels(weight.shape, x, how).correlate_into(y, x, weight, how)


def kernels(shape: tuple[int, ...], x: Array, how: Laid) -> Any:
    """The module that is fastest for x (H, W, N, C), weights of `shape` (G, O/G, C/G, KH, KW)."""
    groups, outputs, channels, *kernel = shape
    if groups > 1 and outputs == channels == 1:
        return depthwise
    if x.shape[2] == 1 or how.stride[0] > 1 or kernel[0] == 1 or channels <= patches.FEW:
        return patches
    winograd = kernel == [3, 3] and how[1:] == ((1, 1), (1, 1)) and groups == 1
    return tiles if winograd and min(outputs, channels) >= 16 and x.dtype.kind in "fc" else rows


def as_pixels(x: Array) -> Array:
    """(N, C, H, W) -> (H, W, N, C), a view."""
    return x.transpose(2, 3, 0, 1)


def split(weight: Array, groups: int) -> Array:
    """(O, C/G, KH, KW) -> (G, O/G, C/G, KH, KW), a view."""
    o, *rest = weight.shape
    return weight.reshape(groups, o // groups, *rest)


def laid(geometry: Geometry) -> Laid:
    """Where the taps of a kernel read."""
    top, left = geometry.padding
    return Laid((-top, -left), geometry.stride, geometry.dilation)


# ------------------------------------------------------------------------------ readable twins


def conv2d_reference(x: Array, weight: Array, bias: Array | None, geometry: Geometry) -> Array:
    """Convolution by its definition: slow, and easy to believe."""
    (sh, sw), (ph, pw), (dh, dw), groups = geometry
    o, c, kh, kw = weight.shape
    oh, ow = geometry.output_size(x.shape[2:], (kh, kw))
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    y = np.zeros((len(x), o, oh, ow), dtype=x.dtype)
    for out, i, j in np.ndindex(o, oh, ow):
        first = out // (o // groups) * c  # the group's first input channel
        rows = slice(i * sh, i * sh + dh * (kh - 1) + 1, dh)
        columns = slice(j * sw, j * sw + dw * (kw - 1) + 1, dw)
        patch = x[:, first : first + c, rows, columns]
        y[:, out, i, j] = (patch * weight[out]).sum(axis=(1, 2, 3))
    return y if bias is None else y + bias[:, None, None]


def conv_transpose2d_reference(
    x: Array, weight: Array, bias: Array | None, geometry: Geometry, size: Pair
) -> Array:
    """Transposed convolution by its definition: each input pixel stamps its kernel."""
    (sh, sw), (ph, pw), (dh, dw), groups = geometry
    c, o, kh, kw = weight.shape
    frame = (size[0] + 2 * ph + dh * kh, size[1] + 2 * pw + dw * kw)
    y = np.zeros((len(x), o * groups, *frame), x.dtype)
    for channel, i, j in np.ndindex(c, *x.shape[2:]):
        first = channel // (c // groups) * o
        rows = slice(i * sh, i * sh + dh * (kh - 1) + 1, dh)
        columns = slice(j * sw, j * sw + dw * (kw - 1) + 1, dw)
        stamp = x[:, channel, i, j, None, None, None] * weight[channel]
        y[:, first : first + o, rows, columns] += stamp
    y = y[:, :, ph : ph + size[0], pw : pw + size[1]]
    return y if bias is None else y + bias[:, None, None]
