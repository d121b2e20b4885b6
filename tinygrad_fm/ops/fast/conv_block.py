"""The blocks that small convolutional networks are made of, each as one operation.

    conv 3×3 - ReLU - max pool 2                 `ConvReLUPool`
    conv 3×3 - BatchNorm - ReLU - max pool 2     `ConvNormReLUPool`

`nn.Sequential` uses them where it finds these layers in a row. Taking the layers together pays
because max pooling commutes with every map that rises: max(f(a), f(b)) = f(max(a, b)). Bias, ReLU
and (with a positive scale) normalisation all rise, so they come after the pool, on a quarter of
the numbers; and a chunk of images goes through all layers while it is in a core's cache.

The readable twin of each is what it replaces: the same layers one after another.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_fm.ops.conv import PLAIN, Conv2d, correlate
from tinygrad_fm.ops.elementwise import ReLU
from tinygrad_fm.ops.fast.channels import sums_of
from tinygrad_fm.ops.fast.chunks import Take, chunks_of, for_chunks
from tinygrad_fm.ops.fast.conv3x3 import convolution
from tinygrad_fm.ops.fast.layout import as_hwnc
from tinygrad_fm.ops.fast.memory import empty
from tinygrad_fm.ops.function import Array, Function, Gradients, select
from tinygrad_fm.ops.norm import BatchNorm, far_from_zero, moments, move
from tinygrad_fm.ops.pool import MaxPool2d, Window


class _Block(Function):
    """What both blocks share: the pool over the four planes of a convolution's output."""

    def prepare(self, x: Array, weight: Array) -> None:
        self.conv = convolution(x, weight, self.recording and self.needs_input_grad[0])
        self.chunks = chunks_of(len(x))
        self.size = (x.shape[2] // 2, x.shape[3] // 2)  # after pooling
        shape = (*self.size, len(x), len(weight))  # (TH, TW, N, O)
        if self.recording:
            self.left, self.top = empty((2, *shape), bool), empty(shape, bool)
        self.out = empty(shape, x.dtype)

    def pool(self, y: Array, s: slice, out: Array, take: Take) -> None:
        """out = the maximum of y's four planes; notes who won, the first among equals."""
        y = y[:, :, : self.size[0], : self.size[1]]  # without what hangs over an odd side
        rows = take(y.shape[1:], y.dtype)
        np.maximum(y[:, 0], y[:, 1], out=rows)
        np.maximum(rows[0], rows[1], out=out)
        if self.recording:
            np.greater_equal(y[:, 0], y[:, 1], out=self.left[:, :, :, s])
            np.greater_equal(rows[0], rows[1], out=self.top[:, :, s])

    def unpool(self, grad: Array, s: slice, dy: Array, take: Take) -> None:
        """Send grad (TH, TW, n, O) to the winning planes of dy.

        x·1 and x - x are exact of finite numbers. (An infinite gradient makes NaN of its window
        here; in the convolutions behind, it would do so anyway.)
        """
        h, w = self.size
        dy[:, :, h:] = dy[:, :, :, w:] = 0
        dy = dy[:, :, :h, :w]
        rows = take(dy.shape[1:], dy.dtype)
        np.multiply(grad, self.top[:, :, s], out=rows[0])
        np.subtract(grad, rows[0], out=rows[1])
        np.multiply(rows, self.left[:, :, :, s], out=dy[:, 0])
        np.subtract(rows, dy[:, 0], out=dy[:, 1])

    def clear_overhang(self, y: Array) -> None:
        """Zero what lies beyond an image of odd height or width."""
        y[1, :, self.size[0] :] = y[:, 1, :, self.size[1] :] = 0

    def release(self) -> None:
        super().release()
        for name in ("conv", "left", "top", "out", "planes", "pooled"):
            self.__dict__.pop(name, None)


class ConvReLUPool(_Block):
    """y = max pool₂(relu(conv(x, w) + b)), computed as relu(max pool₂(conv(x, w)) + b).

    Shapes: x (N, C, H, W), w (O, C, 3, 3), b (O) → y (N, O, ⌊H/2⌋, ⌊W/2⌋). Saves all inputs, y
    and the winners of the pool.
    """

    def forward(self, x: Array, weight: Array, *bias: Array) -> Array:
        shift = bias[0] if bias else np.zeros(len(weight), x.dtype)
        if len(x) == 1 and not self.recording:
            return self.single(x, weight, shift)
        self.prepare(x, weight)

        def body(i: int, s: slice, take: Take) -> None:
            n, o = s.stop - s.start, len(weight)
            y = take((2, 2, *self.conv.grid, n, o), x.dtype)
            self.conv.forward(i, s, y, take)
            pooled = take((*self.size, n, o), x.dtype)
            self.pool(y, s, pooled, take)
            pooled += wide(shift, n)
            np.maximum(pooled, np.zeros((n, o), x.dtype), out=self.out[:, :, s])

        for_chunks(body, self.chunks)
        y = self.out.transpose(2, 3, 0, 1)
        self.save_for_backward(x, weight, *bias, y)
        return y

    @staticmethod
    def twin(x: Any, weight: Any, *bias: Any) -> Any:
        """The layers one after another."""
        return relu_pool(Conv2d.of(x, weight, *bias, geometry=PLAIN))

    @staticmethod
    def single(x: Array, weight: Array, shift: Array) -> Array:
        """One image, without a graph: so little work that the number of NumPy calls decides."""
        h, w = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        y = correlate(x, weight, PLAIN, x.shape[2:])[:, :, :h, :w]
        rows = np.maximum(y[:, :, 0::2], y[:, :, 1::2])
        y = np.maximum(rows[..., 0::2], rows[..., 1::2])
        y += shift[:, None, None]
        return np.maximum(y, 0, out=y)

    def backward(self, grad: Array) -> Gradients:
        hwnc = as_hwnc(grad)
        ones = np.ones(self.size[0] * self.size[1] * len(grad), grad.dtype)
        dbias = empty((len(self.chunks), grad.shape[1]), grad.dtype)

        def fill(i: int, s: slice, dy: Array, take: Take) -> None:
            part = hwnc[:, :, s]
            dpooled = take(part.shape, grad.dtype)
            select(part, self.out[:, :, s] > 0, dpooled)
            flat = dpooled.reshape(-1, grad.shape[1])
            np.dot(ones[: len(flat)], flat, out=dbias[i])
            self.unpool(dpooled, s, dy, take)

        grads = self.conv.backward(self.chunks, fill)
        return self.wanted(*grads, dbias.sum(axis=0))


class ConvNormReLUPool(_Block):
    """y = max pool₂(relu(batch norm(conv(x, w) + b))) in training.

    Shapes: x (N, C, H, W), w (O, C, 3, 3), γ, β (O) → y (N, O, ⌊H/2⌋, ⌊W/2⌋). Further inputs are b
    (if `bias`), and the running mean and variance (if there are any), which are moved. Saves the
    others, y, the convolution's output and the winners of the pool.

    Batch norm is γ·(z - μ)/σ + β. A negative γ would turn the pool's maximum into a minimum, so its
    sign goes into the kernel beforehand: with w' = w·sign γ and |γ| the map rises. (Where γ is
    exactly 0 all of a window ties, and we pick another winner than PyTorch.) The bias b is taken
    away again by μ: it moves the running mean, and its gradient is exactly 0.

    Backward, with ŷ the gradient behind the pool, c = |γ|/σ and m numbers per channel:

        ∂L/∂z = c·ŷ - c/m·Σŷ - c/σ²/m·(z - μ)·Σŷ(z - μ)
    """

    def forward(
        self,
        x: Array,
        weight: Array,
        gamma: Array,
        beta: Array,
        *parameters: Array,
        bias: bool,
        momentum: float,
        eps: float,
    ) -> Array:
        shifts, running = parameters[:bias], parameters[bias:]
        self.sign = np.where(gamma < 0, -1, 1).astype(x.dtype)
        self.prepare(x, weight * self.sign[:, None, None, None])
        self.count = x.size // x.shape[1]
        o = len(weight)
        lengths = [s.stop - s.start for s in self.chunks]
        self.planes = [empty((2, 2, *self.conv.grid, n, o), x.dtype) for n in lengths]
        self.pooled = [empty((*self.size, n, o), x.dtype) for n in lengths]
        sums = np.empty((2, len(self.chunks), o), np.result_type(x.dtype, np.float64))

        def convolve(i: int, s: slice, take: Take) -> None:
            self.conv.forward(i, s, self.planes[i], take)
            self.clear_overhang(self.planes[i])
            self.pool(self.planes[i], s, self.pooled[i], take)
            add_up(i, take)

        def add_up(i: int, take: Take) -> None:
            rows = self.planes[i].reshape(-1, o)
            sums[0, i], sums[1, i] = sums_of(rows, take), sums_of(rows, take, rows)

        def shift(i: int, s: slice, take: Take) -> None:
            self.planes[i], self.pooled[i] = self.planes[i] - origin, self.pooled[i] - origin
            self.clear_overhang(self.planes[i])
            add_up(i, take)

        for_chunks(convolve, self.chunks)
        mean, variance = moments(sums.sum(axis=1), self.count)
        origin = np.zeros_like(mean)
        if far_from_zero(mean, variance):
            origin = mean
            for_chunks(shift, self.chunks)  # in double precision from here on
            mean, variance = moments(sums.sum(axis=1), self.count)
        if running:
            center = (mean + origin) * self.sign + (shifts[0] if bias else 0)
            move(running, center, variance, self.count, momentum)
        self.mean, self.inverse_std = mean, 1 / np.sqrt(variance + eps)
        self.scale = gamma * self.sign * self.inverse_std
        offset = beta - mean * self.scale

        def activate(i: int, s: slice, take: Take) -> None:
            z = rescaled(self.pooled[i], self.scale, offset, take)
            np.maximum(z, np.zeros(z.shape[2:], x.dtype), out=self.out[:, :, s])

        for_chunks(activate, self.chunks)
        y = self.out.transpose(2, 3, 0, 1)
        self.save_for_backward(x, weight, gamma, beta, *shifts, y)
        return y

    def backward(self, grad: Array) -> Gradients:
        o, dtype = grad.shape[1], grad.dtype
        hwnc = as_hwnc(grad)
        dpooled = [empty(p.shape, dtype) for p in self.pooled]
        sums = np.empty((2, len(self.chunks), o), self.mean.dtype)

        def activate(i: int, s: slice, take: Take) -> None:
            select(hwnc[:, :, s], self.out[:, :, s] > 0, dpooled[i])
            rows, g = self.pooled[i].reshape(-1, o), dpooled[i].reshape(-1, o)
            sums[0, i], sums[1, i] = sums_of(g, take), sums_of(rows, take, g)

        for_chunks(activate, self.chunks)
        dbeta, product = sums.sum(axis=1)
        dgamma = self.inverse_std * (product - self.mean * dbeta)  # Σ ŷ(z - μ)/σ
        slope = -self.scale * self.inverse_std * dgamma / self.count
        offset = -self.scale * dbeta / self.count - slope * self.mean

        def fill(i: int, s: slice, dy: Array, take: Take) -> None:
            dpooled[i] *= wide(self.scale.astype(dtype), s.stop - s.start)
            self.unpool(dpooled[i], s, dy, take)
            dy += rescaled(self.planes[i], slope, offset, take)
            self.clear_overhang(dy)

        dx, dweight = self.conv.backward(self.chunks, fill)
        dweight *= self.sign[:, None, None, None]
        grads = (dx, dweight, (dgamma * self.sign).astype(dtype), dbeta.astype(dtype))
        return self.wanted(*grads, np.zeros(o, dtype))

    @staticmethod
    def twin(
        x: Any, weight: Any, gamma: Any, beta: Any, *parameters: Any, bias: bool, **how: Any
    ) -> Any:
        """The layers one after another."""
        z = Conv2d.of(x, weight, *parameters[:bias], geometry=PLAIN)
        return relu_pool(BatchNorm.twin(z, gamma, beta, affine=True, training=True, **how))


def relu_pool(z: Any) -> Any:
    """max pool₂(relu z), in plain operations."""
    return MaxPool2d.of(ReLU.of(z), window=Window((2, 2), (2, 2), (0, 0), (1, 1), False))


def rescaled(z: Array, scale: Array, offset: Array, take: Take) -> Array:
    """z·scale + offset in z's precision, with numbers per channel: z (…, n, O)."""
    n, y = z.shape[-2], take(z.shape, z.dtype)
    np.multiply(z, wide(scale.astype(z.dtype), n), out=y)
    y += wide(offset.astype(z.dtype), n)
    return y


def wide(channels: Array, n: int) -> Array:
    """A number per channel, (O), as (n, O): NumPy's inner loops then run over n·O numbers."""
    return np.tile(channels, (n, 1))
