"""Two-dimensional convolution and its transpose, as matrix products of patches (im2col).

Shapes are PyTorch's, images (N, C, H, W) and weights (O, C/groups, KH, KW). The memory behind
them is channels-last: a patch is then a few contiguous runs, its rows lie in the order in which the
matrix product wants them, and the product comes out in the layout that the next layer reads.

Convolution is linear in the image and in the weight, so three maps and their adjoints are all
there is. Each is an operation, and their derivatives are the other two, to any order:

    Conv2d            (x, w) -> y      by `correlate`
    ConvTranspose2d   (g, w) -> ∂L/∂x  by `spread`
    Conv2dWeight      (x, g) -> ∂L/∂w  by `correlate_weight`
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinygrad_fm.ops.fast.chunks import Take, Workspace, chunks_of, for_chunks
from tinygrad_fm.ops.fast.memory import empty
from tinygrad_fm.ops.fast.parallel import parallel_for
from tinygrad_fm.ops.function import Array, Function, Gradients

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
    """

    def forward(self, x: Array, weight: Array, *bias: Array, geometry: Geometry) -> Array:
        self.geometry, self.size, self.kernel = geometry, x.shape[2:], weight.shape[2:]
        self.save_factors(x, weight)
        y = correlate(x, weight, geometry, geometry.output_size(x.shape[2:], weight.shape[2:]))
        if bias:
            y += bias[0][:, None, None]
        return y

    def backward(self, grad: Array) -> Gradients:
        x, weight = self.saved
        need_x, need_weight, *need_bias = self.needs_input_grad
        how = {"geometry": self.geometry}
        dx = ConvTranspose2d.of(grad, weight, **how, output_size=self.size) if need_x else None
        dweight = Conv2dWeight.of(x, grad, **how, kernel=self.kernel) if need_weight else None
        return dx, dweight, *bias_gradient(grad, need_bias)


class ConvTranspose2d(Function):
    """The adjoint of `Conv2d` in x: every input pixel adds its copy of the kernel to the output.

    Shapes: x (N, C, H, W), w (C, O/groups, KH, KW), b (O) → y (N, O, OH, OW). Saves each
    factor for the other's gradient.
    """

    def forward(
        self, x: Array, weight: Array, *bias: Array, geometry: Geometry, output_size: Pair
    ) -> Array:
        self.geometry, self.size, self.kernel = geometry, x.shape[2:], weight.shape[2:]
        self.save_factors(x, weight)
        channels = weight.shape[1] * geometry.groups
        y = spread(x, weight, (len(x), channels, *output_size), geometry)
        if bias:
            y += bias[0][:, None, None]
        return y

    def backward(self, grad: Array) -> Gradients:
        x, weight = self.saved
        need_x, need_weight, *need_bias = self.needs_input_grad
        how = {"geometry": self.geometry}
        dx = conv_of_size(grad, weight, self.geometry, self.size) if need_x else None
        dweight = Conv2dWeight.of(grad, x, **how, kernel=self.kernel) if need_weight else None
        return dx, dweight, *bias_gradient(grad, need_bias)


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
    return tuple(grad.sum(axis=(0, 2, 3)) if need else None for need in needed)


# ------------------------------------------------------------------------------ the three maps

PATCH_NUMBERS = 1 << 18  # of a chunk's patch matrix: about what a core's own cache holds
SUMS = 8  # partial sums of a weight's gradient


def patch_chunks(n: int, *patches: int) -> list[slice]:
    """A batch of n images in chunks; `patches` is the shape of all patches of one image."""
    return chunks_of(n, max(1, PATCH_NUMBERS // max(math.prod(patches), 1)))


def correlate(x: Array, weight: Array, geometry: Geometry, size: tuple[int, ...]) -> Array:
    """Σ over patches of x times weight: (N, C, H, W), (O, C/G, KH, KW) -> (N, O, *size)."""
    groups, (o, c, kh, kw) = geometry.groups, weight.shape
    matrices = as_matrices(weight, groups)
    y = empty((len(x), *size, groups, o // groups), x.dtype)

    def body(i: int, s: slice, take: Take) -> None:
        rows = y[s].reshape(-1, groups, o // groups).transpose(1, 0, 2)
        patches = im2col(x[s], (kh, kw), geometry, size, take)
        np.matmul(patches, matrices, out=rows)  # (G, n·OH·OW, K) @ (G, K, O/G)

    for_chunks(body, patch_chunks(len(x), *size, c, groups, kh, kw))
    return y.reshape(len(x), *size, o).transpose(0, 3, 1, 2)


def spread(grad: Array, weight: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array:
    """The adjoint of `correlate` in x: (N, O, OH, OW), (O, C/G, KH, KW) -> x_shape.

    Each gradient is multiplied by the kernel, and each of the KH·KW taps is added as one strided
    block: no loop over positions, no scattered `np.add.at`.
    """
    n, c, h, w = x_shape
    (sh, sw), (ph, pw), (dh, dw), groups = geometry
    (kh, kw), (oh, ow) = weight.shape[2:], grad.shape[2:]
    matrices = as_matrices(weight, groups).transpose(0, 2, 1)
    dx = empty((n, h, w, c), grad.dtype)

    def body(i: int, s: slice, take: Take) -> None:
        count = s.stop - s.start
        taps = take((groups, count * oh * ow, matrices.shape[2]), grad.dtype)
        np.matmul(by_group(grad[s], groups), matrices, out=taps)  # (G, ·, O/G) @ (G, O/G, K)
        taps = taps.reshape(groups, count, oh, ow, kh, kw, c // groups)
        padded = take((count, h + 2 * ph, w + 2 * pw, groups, c // groups), grad.dtype)
        padded[...] = 0
        for k, j in np.ndindex(kh, kw):
            top, left = k * dh, j * dw  # where the tap of the first position lies
            block = padded[:, top : top + sh * oh : sh, left : left + sw * ow : sw]
            source = taps[:, :, :, :, k, j].transpose(1, 2, 3, 0, 4)
            block += source[:, : block.shape[1], : block.shape[2]]
        dx[s] = padded[:, ph : ph + h, pw : pw + w].reshape(count, h, w, c)

    for_chunks(body, patch_chunks(n, oh, ow, c, kh, kw))
    return dx.transpose(0, 3, 1, 2)


def correlate_weight(
    x: Array, grad: Array, weight_shape: tuple[int, ...], geometry: Geometry
) -> Array:
    """The adjoint of `correlate` in the weight: patches of x times gradients, summed.

    A fixed number of threads' worth of partial sums, each over neighbouring chunks, are added up
    in their order.
    """
    o, c, kh, kw = weight_shape
    groups, size = geometry.groups, grad.shape[2:]
    chunks = patch_chunks(len(x), *size, c, groups, kh, kw)
    shares = np.array_split(np.arange(len(chunks)), min(SUMS, len(chunks)) or 1)
    sums = np.zeros((len(shares), groups, kh * kw * c, o // groups), x.dtype)

    def body(i: int) -> None:
        for s in (chunks[j] for j in shares[i]):
            with Workspace() as take:
                patches = im2col(x[s], (kh, kw), geometry, size, take)
                sums[i] += patches.transpose(0, 2, 1) @ by_group(grad[s], groups)

    parallel_for(body, len(shares))
    products = sums.sum(axis=0).reshape(groups, kh, kw, c, o // groups)
    return np.ascontiguousarray(products.transpose(0, 4, 3, 1, 2)).reshape(weight_shape)


# ------------------------------------------------------------------------------ layouts


def im2col(
    x: Array, kernel: tuple[int, ...], geometry: Geometry, size: tuple[int, ...], take: Take
) -> Array:
    """All patches as rows: (n, C, H, W) -> (G, n·OH·OW, KH·KW·C/G), with (OH, OW) = size.

    The result is taken from a `Workspace`.
    """
    (sh, sw), (ph, pw), (dh, dw), groups = geometry
    n, c, h, w = x.shape
    image = take((n, h + 2 * ph, w + 2 * pw, c), x.dtype)
    image[:, :ph] = image[:, ph + h :] = 0
    image[:, :, :pw] = image[:, :, pw + w :] = 0
    image[:, ph : ph + h, pw : pw + w] = x.transpose(0, 2, 3, 1)
    of_n, of_h, of_w, of_c = image.strides
    view = as_strided(  # every position of the kernel: (n, OH, OW, KH, KW, C)
        image,
        (n, *size, *kernel, c),
        (of_n, of_h * sh, of_w * sw, of_h * dh, of_w * dw, of_c),
        writeable=False,
    )
    patches = take((groups, n, *size, *kernel, c // groups), x.dtype)
    for g, part in enumerate(np.split(view, groups, axis=-1)):
        patches[g] = part
    return patches.reshape(groups, n * math.prod(size), math.prod(kernel) * (c // groups))


def by_group(y: Array, groups: int) -> Array:
    """(n, O, OH, OW) -> (G, n·OH·OW, O/G)."""
    n, o, oh, ow = y.shape
    rows = y.transpose(0, 2, 3, 1).reshape(n * oh * ow, groups, o // groups)
    return rows.transpose(1, 0, 2)


def as_matrices(weight: Array, groups: int) -> Array:
    """(O, C/G, KH, KW) -> (G, KH·KW·C/G, O/G)."""
    o, c, kh, kw = weight.shape
    split = weight.reshape(groups, o // groups, c, kh, kw)
    return split.transpose(0, 3, 4, 2, 1).reshape(groups, kh * kw * c, o // groups)


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
