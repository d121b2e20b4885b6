"""A 3×3 convolution and what comes before its max pool 2, as one operation.

    conv 3×3 - ReLU - max pool 2               `ConvBlock`
    conv 3×3 - BatchNorm - ReLU - max pool 2   `ConvNormBlock`

A chunk of images goes through all layers while it is in a core's cache. That pays because max
pooling commutes with every map that rises: max(f(a), f(b)) = f(max(a, b)). Bias, ReLU and (with a
positive scale) normalisation all rise, so they come after the pool, on a quarter of the numbers.

The readable twin of each is what it replaces: the same layers one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_fm.ops.conv import PLAIN, Conv2d
from tinygrad_fm.ops.elementwise import ReLU
from tinygrad_fm.ops.fast.channels import sums_of
from tinygrad_fm.ops.fast.chunks import Take, for_chunks
from tinygrad_fm.ops.fast.conv3x3 import convolution, image_chunks
from tinygrad_fm.ops.fast.layout import as_hwnc
from tinygrad_fm.ops.fast.memory import empty
from tinygrad_fm.ops.fast.parallel import parallel_for
from tinygrad_fm.ops.function import Array, Function, Gradients, select
from tinygrad_fm.ops.norm import BatchNorm, far_from_zero, moments, move
from tinygrad_fm.ops.pool import HALVING, MaxPool2d


class _Block(Function):
    """What both blocks share: the pool over a chunk's four planes.

    A chunk of n images is worked on as planes (2, 2, TH, TW, n, O), and after the pool as one
    plane (⌊H/2⌋, ⌊W/2⌋, n, O). The output's memory is (⌊H/2⌋, ⌊W/2⌋, N, O).
    """

    def prepare(self, x: Array, weight: Array) -> None:
        self.conv = convolution(x, weight, self.recording and self.needs_input_grad[0])
        self.chunks, self.half = image_chunks(x, weight), (x.shape[2] // 2, x.shape[3] // 2)
        shape = (*self.half, len(x), len(weight))
        if self.recording:
            self.left, self.top = empty((2, *shape), bool), empty(shape, bool)
        self.out = empty(shape, x.dtype)

    def planes(self, n: int) -> tuple[int, ...]:
        """The shape of a chunk's planes."""
        return (2, 2, *self.conv.grid, n, self.out.shape[3])

    def pool(self, y: Array, s: slice, out: Array, take: Take) -> None:
        """out = the maximum of y's four planes; notes who won, the first among equals."""
        y = y[:, :, : self.half[0], : self.half[1]]  # without what hangs over an odd side
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
        h, w = self.half
        dy[:, :, h:] = dy[:, :, :, w:] = 0
        dy = dy[:, :, :h, :w]
        rows = take(dy.shape[1:], dy.dtype)
        np.multiply(grad, self.top[:, :, s], out=rows[0])
        np.subtract(grad, rows[0], out=rows[1])
        np.multiply(rows, self.left[:, :, :, s], out=dy[:, 0])
        np.subtract(rows, dy[:, 0], out=dy[:, 1])

    def clear_overhang(self, y: Array) -> None:
        """Zero what lies beyond an image of odd height or width."""
        y[1, :, self.half[0] :] = y[:, 1, :, self.half[1] :] = 0

    def release(self) -> None:
        super().release()
        for name in ("conv", "left", "top", "out", "stored", "behind"):
            self.__dict__.pop(name, None)


class ConvBlock(_Block):
    """y = max pool₂ of relu(conv(x, w) + b), computed as relu(max pool₂(conv) + b).

    Shapes: x (N, C, H, W), w (O, C, 3, 3), b (O) → y (N, O, ⌊H/2⌋, ⌊W/2⌋). Saves all inputs, y and
    the pool's winners.
    """

    def forward(self, x: Array, weight: Array, *bias: Array) -> Array:
        self.prepare(x, weight)
        shift = bias[0] if bias else np.zeros(len(weight), x.dtype)

        def body(i: int, s: slice, take: Take) -> None:
            n, o = s.stop - s.start, len(weight)
            y = take(self.planes(n), x.dtype)
            self.conv.forward(i, s, y, take)
            pooled = take((*self.half, n, o), x.dtype)
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

    def backward(self, grad: Array) -> Gradients:
        hwnc, o, dtype = as_hwnc(grad), grad.shape[1], grad.dtype
        dbias, ones = np.zeros((len(self.chunks), o), dtype), np.ones(self.out.size // o, dtype)

        def fill(i: int, s: slice, dy: Array, take: Take) -> None:
            behind = take(hwnc[:, :, s].shape, dtype)
            select(hwnc[:, :, s], self.out[:, :, s] > 0, behind)
            rows = behind.reshape(-1, o)
            dbias[i] = np.dot(ones[: len(rows)], rows)
            self.unpool(behind, s, dy, take)

        grads = self.conv.backward(self.chunks, fill, *self.needs_input_grad[:2])
        return self.wanted(*grads, dbias.sum(axis=0))


class ConvNormBlock(_Block):
    """y = max pool₂ of relu(batch norm(conv(x, w) + b)), in training.

    Shapes: as in `ConvBlock`; γ, β (O). Inputs after w are γ and β, b (if `bias`), and the running
    mean and variance (if there are any), which are moved. Saves the others, y, the convolution's
    output and the winners of the pool.

    Batch norm is γ·(c - μ)/σ + β. A negative γ would turn the pool's maximum into a minimum, so its
    sign goes into the kernel beforehand: with w' = w·sign γ and |γ| the map rises. (Where γ is
    exactly 0 all of a window ties, and we pick another winner than PyTorch.) The bias b is taken
    away again by μ: it moves the running mean, and its gradient is exactly 0.

    Backward, with ŷ the gradient behind ReLU and pool, a = |γ|/σ and m numbers per channel:

        ∂L/∂c = a·ŷ - a/m·Σŷ - a/σ²/m·(c - μ)·Σŷ(c - μ)
    """

    effects = True  # the running estimates move

    @staticmethod
    def moved(inputs: Sequence[Any], **options: Any) -> Sequence[Any]:
        return inputs[4 + options["bias"] :]

    def forward(
        self,
        x: Array,
        weight: Array,
        gamma: Array,
        beta: Array,
        *others: Array,
        bias: bool,
        momentum: float,
        eps: float,
    ) -> Array:
        shifts, running = others[:bias], others[bias:]
        self.sign = np.where(gamma < 0, -1, 1).astype(x.dtype)
        self.prepare(x, weight * self.sign[:, None, None, None])
        self.count = x.size // x.shape[1]
        mean, variance, origin = self.convolve(x.dtype)
        if running:
            center = (mean + origin) * self.sign + (shifts[0] if bias else 0)
            move(running, center, variance, self.count, momentum)
        self.mean, self.inverse_std = mean, 1 / np.sqrt(variance + eps)
        scale = gamma * self.sign * self.inverse_std
        self.activate(scale, beta - mean * scale)
        y = self.out.transpose(2, 3, 0, 1)
        self.save_for_backward(x, weight, gamma, beta, *shifts, y)
        return y

    def convolve(self, dtype: np.dtype) -> tuple[Array, Array, Array]:
        """The convolution of all chunks, and its mean and variance; the mean is that of what was
        kept, which has been shifted by `origin` where it lay far from zero."""
        o, lengths = self.out.shape[3], [s.stop - s.start for s in self.chunks]
        self.stored = [empty(self.planes(n), dtype) for n in lengths]
        self.behind = [empty((*self.half, n, o), dtype) for n in lengths]
        sums = np.empty((2, len(self.chunks), o), np.result_type(dtype, np.float64))

        def body(i: int, s: slice, take: Take) -> None:
            self.conv.forward(i, s, self.stored[i], take)
            self.clear_overhang(self.stored[i])
            self.pool(self.stored[i], s, self.behind[i], take)
            add_up(i, s, take)

        def add_up(i: int, s: slice, take: Take) -> None:
            rows = self.stored[i].reshape(-1, o)
            sums[0, i], sums[1, i] = sums_of(rows, take), sums_of(rows, take, rows)

        def shift(i: int) -> None:
            self.stored[i] = self.stored[i] - mean
            self.behind[i] = self.behind[i] - mean
            self.clear_overhang(self.stored[i])

        for_chunks(body, self.chunks)
        mean, variance = moments(sums.sum(axis=1), self.count)
        if not far_from_zero(mean, variance):
            return mean, variance, np.zeros_like(mean)
        parallel_for(shift, len(self.chunks))  # in double precision from here on
        for_chunks(add_up, self.chunks)
        return *moments(sums.sum(axis=1), self.count), mean

    def activate(self, scale: Array, offset: Array) -> None:
        """out = relu(scale·what the pool gave + offset)."""

        def body(i: int, s: slice, take: Take) -> None:
            n, behind = s.stop - s.start, self.behind[i]
            y = take(behind.shape, behind.dtype)
            np.multiply(behind, wide(scale.astype(y.dtype), n), out=y)
            y += wide(offset.astype(y.dtype), n)
            zeros = np.zeros((n, len(scale)), self.out.dtype)
            np.maximum(y, zeros, out=self.out[:, :, s], casting="same_kind")

        for_chunks(body, self.chunks)

    def backward(self, grad: Array) -> Gradients:
        o, dtype = grad.shape[1], grad.dtype
        hwnc, gamma = as_hwnc(grad), self.saved[2]
        dbehind = [empty(part.shape, dtype) for part in self.behind]
        sums = np.empty((2, len(self.chunks), o), self.mean.dtype)

        def deactivate(i: int, s: slice, take: Take) -> None:
            select(hwnc[:, :, s], self.out[:, :, s] > 0, dbehind[i])
            rows, g = self.behind[i].reshape(-1, o), dbehind[i].reshape(-1, o)
            sums[0, i], sums[1, i] = sums_of(g, take), sums_of(rows, take, g)

        for_chunks(deactivate, self.chunks)
        dbeta, product = sums.sum(axis=1)
        dgamma = self.inverse_std * (product - self.mean * dbeta)  # Σ ŷ(c - μ)/σ
        scale = gamma * self.sign * self.inverse_std
        slope = -scale * self.inverse_std * dgamma / self.count
        offset = -scale * dbeta / self.count - slope * self.mean

        def fill(i: int, s: slice, dy: Array, take: Take) -> None:
            stored, n = self.stored[i], s.stop - s.start
            dense = take(stored.shape, stored.dtype)
            np.multiply(stored, wide(slope.astype(dense.dtype), n), out=dense)
            dense += wide(offset.astype(dense.dtype), n)
            np.multiply(dbehind[i], wide(scale.astype(dtype), n), out=dbehind[i])
            self.unpool(dbehind[i], s, dy, take)
            dy += dense
            self.clear_overhang(dy)

        dx, dweight = self.conv.backward(self.chunks, fill, *self.needs_input_grad[:2])
        if dweight is not None:
            dweight *= self.sign[:, None, None, None]
        grads = [dx, dweight, (dgamma * self.sign).astype(dtype), dbeta.astype(dtype)]
        return self.wanted(*grads, np.zeros(o, dtype))  # of b, if there is one

    @staticmethod
    def twin(
        x: Any, weight: Any, gamma: Any, beta: Any, *others: Any, bias: bool, **how: Any
    ) -> Any:
        """The layers one after another."""
        c = Conv2d.of(x, weight, *others[:bias], geometry=PLAIN)
        return relu_pool(BatchNorm.twin(c, gamma, beta, affine=True, training=True, **how))


def relu_pool(z: Any) -> Any:
    """max pool₂(relu z), in plain operations."""
    return MaxPool2d.of(ReLU.of(z), window=HALVING)


def wide(channels: Array, n: int) -> Array:
    """A number per channel, (O), as (n, O): NumPy's inner loops then run over n·O numbers."""
    return np.tile(channels, (n, 1))
