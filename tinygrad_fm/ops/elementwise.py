"""Operations that act on each element by itself. g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np

from tinygrad_fm.ops.fast.layout import LARGE, chunked
from tinygrad_fm.ops.function import Array, Function, Gradients, select, unbroadcast, where


class Add(Function):
    """y = a + b;  ∂L/∂a = g,  ∂L/∂b = g."""

    def forward(self, a: Array, b: Array) -> Array:
        self.a_shape, self.b_shape = a.shape, b.shape
        return np.add(a, b) if a.size + b.size <= LARGE else chunked(np.add, a, b)

    def backward(self, grad: Array) -> Gradients:
        need_a, need_b = self.needs_input_grad
        da = unbroadcast(grad, self.a_shape) if need_a else None
        db = unbroadcast(grad, self.b_shape) if need_b else None
        return da, db


class Sub(Function):
    """y = a - b;  ∂L/∂a = g,  ∂L/∂b = -g."""

    def forward(self, a: Array, b: Array) -> Array:
        self.a_shape, self.b_shape = a.shape, b.shape
        return np.subtract(a, b) if a.size + b.size <= LARGE else chunked(np.subtract, a, b)

    def backward(self, grad: Array) -> Gradients:
        need_a, need_b = self.needs_input_grad
        da = unbroadcast(grad, self.a_shape) if need_a else None
        db = unbroadcast(-grad, self.b_shape) if need_b else None
        return da, db


in_chunks: Any = partial(chunked, np.multiply)


class Mul(Function):
    """y = a·b;  ∂L/∂a = g·b,  ∂L/∂b = g·a. Saves a for b's gradient, and b for a's."""

    def forward(self, a: Array, b: Array) -> Array:
        self.a_shape, self.b_shape = a.shape, b.shape
        self.save_factors(a, b)
        self.product = np.multiply if a.size + b.size <= LARGE else in_chunks
        return self.product(a, b)

    def backward(self, grad: Array) -> Gradients:
        a, b = self.saved
        need_a, need_b = self.needs_input_grad
        da = unbroadcast(self.product(grad, b), self.a_shape) if need_a else None
        db = unbroadcast(self.product(grad, a), self.b_shape) if need_b else None
        return da, db


def quotient_slope(grad: Array, a: Array, b: Array) -> Array:
    return -grad * (a / b) / b


class Div(Function):
    """y = a/b;  ∂L/∂a = g/b,  ∂L/∂b = -g·(a/b)/b, where b² could overflow.

    Saves b, and a for b's gradient.
    """

    def forward(self, a: Array, b: Array) -> Array:
        self.a_shape = a.shape
        self.save_for_backward(a if self.needs_input_grad[1:] == (True,) else None, b)
        return chunked(np.divide, a, b)

    def backward(self, grad: Array) -> Gradients:
        a, b = self.saved
        need_a, need_b = self.needs_input_grad
        da = unbroadcast(chunked(np.divide, grad, b), self.a_shape) if need_a else None
        db = unbroadcast(chunked(quotient_slope, grad, a, b), b.shape) if need_b else None
        return da, db


class Pow(Function):
    """y = aᵇ;  ∂L/∂a = g·b·aᵇ⁻¹,  ∂L/∂b = g·aᵇ·ln a. Saves a, b and y.

    As in PyTorch, ∂L/∂a is 0 where b = 0 and ∂L/∂b is 0 where a = 0 and b ≥ 0.
    """

    def forward(self, a: Array, b: Array) -> Array:
        y = np.asarray(np.power(a, b))
        self.save_for_backward(a, b, y)
        return y

    def backward(self, grad: Array) -> Gradients:
        a, b, y = self.saved
        need_a, need_b = self.needs_input_grad
        da = db = None
        with np.errstate(divide="ignore", invalid="ignore"):
            if need_a:
                slope = np.where(b == 0, 0, b * np.power(a, b - 1))
                da = unbroadcast(grad * slope, a.shape)
            if need_b:
                slope = np.where((a == 0) & (b >= 0), 0, y * np.log(a))
                db = unbroadcast(grad * slope, b.shape)
        return da, db


def refusing_zero(ufunc: np.ufunc) -> Callable[..., Array]:
    """`ufunc` for a whole division: floats divide by 0 as in a/b, integers raise, as in PyTorch."""

    def divide(a: Array, b: Array, **options: Any) -> Array:
        if np.result_type(a, b).kind in "iu" and np.size(a) and not np.all(b):
            raise RuntimeError("ZeroDivisionError: integers cannot be divided by 0")
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return ufunc(a, b, **options)

    divide.__name__ = ufunc.__name__
    return divide


floor_divide, remainder = refusing_zero(np.floor_divide), refusing_zero(np.remainder)


class FloorDiv(Function):
    """y = ⌊a/b⌋, a step function: its derivative is refused. Integers may not be divided by 0."""

    def forward(self, a: Array, b: Array) -> Array:
        return floor_divide(a, b)

    def backward(self, grad: Array) -> Gradients:
        raise RuntimeError("a // b has no derivative; use a / b, or (a // b).detach()")


class Remainder(Function):
    """y = a - b·⌊a/b⌋;  ∂L/∂a = g,  ∂L/∂b = -g·⌊a/b⌋. Saves a and b."""

    def forward(self, a: Array, b: Array) -> Array:
        self.save_for_backward(a, b)
        return remainder(a, b)

    def backward(self, grad: Array) -> Gradients:
        a, b = self.saved
        need_a, need_b = self.needs_input_grad
        db = None
        if need_b:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                recorded = not isinstance(b, np.ndarray)  # then ⌊a/b⌋ is a constant
                whole = np.floor(a / b) if recorded else np.floor_divide(a, b)
                db = unbroadcast(-grad * whole, b.shape)
        return unbroadcast(grad, a.shape) if need_a else None, db


class Neg(Function):
    """y = -x;  ∂L/∂x = -g."""

    def forward(self, x: Array) -> Array:
        return np.negative(x)

    def backward(self, grad: Array) -> Gradients:
        return -grad


class Cast(Function):
    """y = x in another floating-point type;  ∂L/∂x = g in x's type."""

    def forward(self, x: Array, dtype: np.dtype) -> Array:
        self.dtype = x.dtype
        return x.astype(dtype)

    def backward(self, grad: Array) -> Gradients:
        return Cast.of(grad, dtype=self.dtype)


class Clone(Function):
    """y = a copy of x;  ∂L/∂x = g."""

    def forward(self, x: Array, order: Literal["K", "C"] = "K") -> Array:
        return x.copy(order=order)

    def backward(self, grad: Array) -> Gradients:
        return grad


class SavesInput(Function):
    """y = f(x), whose derivative is written in terms of x."""

    function: Any

    def forward(self, x: Array) -> Array:
        self.save_for_backward(x)
        return chunked(self.function, x)


class SavesOutput(Function):
    """y = f(x), whose derivative is written in terms of y."""

    function: Any

    def forward(self, x: Array) -> Array:
        y = np.asarray(chunked(self.function, x))
        self.save_for_backward(y)
        return y


# What is infinite or NaN says so by its value: no warning beside it.
silent = np.errstate(divide="ignore", invalid="ignore")


class Exp(SavesOutput):
    """y = eˣ;  ∂L/∂x = g·y. Saves y."""

    function = np.exp

    def backward(self, grad: Array) -> Gradients:
        (y,) = self.saved
        return chunked(np.multiply, grad, y)


class Expm1(SavesOutput):
    """y = eˣ - 1, exact for small x;  ∂L/∂x = g·(y + 1). Saves y."""

    function = np.expm1

    def backward(self, grad: Array) -> Gradients:
        (y,) = self.saved
        return grad * (y + 1)


class Log1p(SavesInput):
    """y = ln(1 + x), exact for small x;  ∂L/∂x = g/(1 + x). Saves x."""

    function = staticmethod(silent(np.log1p))

    def backward(self, grad: Array) -> Gradients:
        (x,) = self.saved
        with np.errstate(divide="ignore", invalid="ignore"):
            return grad / (1 + x)


class Sin(SavesInput):
    """y = sin x;  ∂L/∂x = g·cos x. Saves x."""

    function = np.sin

    def backward(self, grad: Array) -> Gradients:
        (x,) = self.saved
        return chunked(lambda g, x: g * np.cos(x), grad, x)


class Cos(SavesInput):
    """y = cos x;  ∂L/∂x = -g·sin x. Saves x."""

    function = np.cos

    def backward(self, grad: Array) -> Gradients:
        (x,) = self.saved
        return chunked(lambda g, x: -g * np.sin(x), grad, x)


ERF = np.array([
    0.12837918, 1.02772164e-01, -2.06651424e-04, -5.95311083e-04, 6.93233716e-05,
    1.32550549e-06, -1.28871041e-06, 1.56117293e-07, -8.46573861e-09, 1.78638084e-10,
], np.float32)  # fmt: skip


def erf(x: Array) -> Array:
    """The error function: SciPy's, and in single precision tanh(x + x·p(x²)) with a polynomial p.

    artanh(erf x)/x is smooth and even, and where tanh levels off it takes its argument's errors
    with it. p was fitted on 0 ≤ x ≤ 4 to the least largest relative error of erf x, 1.0e-8;
    rounded to single precision it stays below 1.7e-7 everywhere.
    """
    if not isinstance(x, np.ndarray) or x.dtype != np.float32:
        from scipy import special  # its import takes longer than that of all else here

        return special.erf(x)
    with np.errstate(over="ignore"):
        square = np.fmin(x * x, np.float32(16))  # erf 4 rounds to 1
        p = ERF[-1] * square
        for coefficient in ERF[-2:0:-1]:
            p += coefficient
            p *= square
        return np.tanh(x + x * (p + ERF[0]))


class Erf(SavesInput):
    """y = erf x = 2/√π ∫₀ˣ e^(-t²) dt;  ∂L/∂x = g·2/√π·e^(-x²). Saves x."""

    function = staticmethod(erf)

    def backward(self, grad: Array) -> Gradients:
        (x,) = self.saved
        return chunked(lambda g, x: g * np.exp(-x * x) * (2 / math.sqrt(math.pi)), grad, x)


class Maximum(Function):
    """y = max(a, b);  g goes to the larger, half to each where they are equal. Saves a and b."""

    def forward(self, a: Array, b: Array) -> Array:
        self.save_for_backward(a, b)
        return np.maximum(a, b)

    def backward(self, grad: Array) -> Gradients:
        a, b = self.saved
        need_a, need_b = self.needs_input_grad
        halved = np.where(a == b, 0.5 * grad, grad)
        da = unbroadcast(np.where(a < b, 0, halved), a.shape) if need_a else None
        db = unbroadcast(np.where(b < a, 0, halved), b.shape) if need_b else None
        return da, db


class Log(SavesInput):
    """y = ln x;  ∂L/∂x = g/x. Saves x. As in PyTorch ln 0 = -∞ and ln of a negative is NaN."""

    function = staticmethod(silent(np.log))

    def backward(self, grad: Array) -> Gradients:
        (x,) = self.saved
        with np.errstate(divide="ignore", invalid="ignore"):
            return grad / x


class Sqrt(SavesOutput):
    """y = √x;  ∂L/∂x = g/(2y). Saves y. Infinite slope at 0, as in PyTorch."""

    function = staticmethod(silent(np.sqrt))

    def backward(self, grad: Array) -> Gradients:
        (y,) = self.saved
        with np.errstate(divide="ignore", invalid="ignore"):
            return grad / (2 * y)


class Abs(SavesInput):
    """y = |x|;  ∂L/∂x = g·sign x, 0 at the kink and for NaN. Saves x."""

    function = np.abs

    def backward(self, grad: Array) -> Gradients:
        (x,) = self.saved
        return chunked(lambda g, x: g * np.sign(np.where(x == x, x, 0)), grad, x)


class Clamp(Function):
    """y = min(max(x, low), high);  ∂L/∂x = g where low ≤ x ≤ high, else 0. Saves that mask."""

    def forward(self, x: Array, low: float | None, high: float | None) -> Array:
        above = x >= (-np.inf if low is None else low)
        self.save_for_backward(above & (x <= (np.inf if high is None else high)))
        return np.clip(x, low, high)

    def backward(self, grad: Array) -> Gradients:
        (inside,) = self.saved
        return select(grad, inside)


class Tanh(SavesOutput):
    """y = tanh x;  ∂L/∂x = g·(1 - y²). Saves y."""

    function = np.tanh

    def backward(self, grad: Array) -> Gradients:
        (y,) = self.saved
        return chunked(lambda g, y: g * (1 - y * y), grad, y)


def sigmoid(x: Array) -> Array:
    """1/(1 + e⁻ˣ): exact for very negative x too, where e⁻ˣ overflows to ∞ and 1/∞ = 0."""
    with np.errstate(over="ignore"):
        return np.reciprocal(1 + np.exp(-x))


class Sigmoid(SavesOutput):
    """y = 1/(1 + e⁻ˣ);  ∂L/∂x = g·y·(1 - y). Saves y."""

    function = staticmethod(sigmoid)

    def backward(self, grad: Array) -> Gradients:
        (y,) = self.saved
        return chunked(lambda g, y: g * (y * (1 - y)), grad, y)


class ReLU(Function):
    """y = max(x, 0);  ∂L/∂x = g where y > 0, else 0 (0 at the kink, as in PyTorch). Saves y."""

    def forward(self, x: Array) -> Array:
        y = positive_part(x) if x.size <= LARGE else chunked(positive_part, x)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Array) -> Gradients:
        (y,) = self.saved
        small = not isinstance(y, np.ndarray) or y.size <= LARGE
        return slope(grad, y) if small else chunked(slope, grad, y)


def positive_part(x: Array) -> Array:
    """max(x, 0). Against an array of zeros NumPy's loop is vectorised, against the number not."""
    return np.asarray(np.maximum(x, np.zeros_like(x) if x.size > ZEROS else 0))


def slope(grad: Array, y: Array) -> Array:
    return select(grad, y > 0)


ZEROS = 1 << 13  # numbers below which making zeros takes longer than they save


class LeakyReLU(Function):
    """y = x where x > 0, else slope·x;  ∂L/∂x = g or slope·g. Saves x > 0."""

    def forward(self, x: Array, negative_slope: float) -> Array:
        self.negative_slope = negative_slope
        positive = chunked(lambda x: x > 0, x)
        self.save_for_backward(positive)
        return chunked(self.bent, x, positive)

    def backward(self, grad: Array) -> Gradients:
        return chunked(self.bent, grad, *self.saved)

    def bent(self, x: Array, positive: Array) -> Array:
        return where(positive, x, self.negative_slope * x)


class ELU(Function):
    """y = x where x > 0, else α(eˣ - 1);  ∂L/∂x = g or g·αeˣ. Saves x and y."""

    def forward(self, x: Array, alpha: float) -> Array:
        self.alpha = alpha
        y = chunked(lambda x: where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))), x)
        self.save_for_backward(x, y)
        return y

    def backward(self, grad: Array) -> Gradients:
        x, y = self.saved
        return chunked(lambda g, x, y: where(x <= 0, g * (y + self.alpha), g), grad, x, y)


class GELU(Function):
    """y = x·Φ(x), Φ the standard normal distribution;  ∂L/∂x = g·(Φ(x) + x·φ(x)). Saves x."""

    def forward(self, x: Array) -> Array:
        self.save_for_backward(x)
        return chunked(lambda x: x * self.normal_cdf(x), x)

    def backward(self, grad: Array) -> Gradients:
        return chunked(self.slope, grad, *self.saved)

    def slope(self, grad: Array, x: Array) -> Array:
        density = np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
        return grad * (self.normal_cdf(x) + x * density)

    @staticmethod
    def normal_cdf(x: Array) -> Array:
        return 0.5 * (1 + erf(x * math.sqrt(0.5)))


class GELUTanh(Function):
    """y = x/2·(1 + tanh u), u = √(2/π)(x + 0.044715x³): GELU's approximation. Saves x.

    ∂L/∂x = g·(½(1 + t) + x/2·(1 - t²)·u′) with t = tanh u.
    """

    def forward(self, x: Array) -> Array:
        self.save_for_backward(x)
        return chunked(lambda x: 0.5 * x * (1 + self.inner(x)), x)

    def backward(self, grad: Array) -> Gradients:
        return chunked(self.slope, grad, *self.saved)

    def slope(self, grad: Array, x: Array) -> Array:
        t = self.inner(x)
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
        return grad * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope)

    @staticmethod
    def inner(x: Array) -> Array:
        return np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))


class SiLU(Function):
    """y = x·σ(x), σ the sigmoid;  ∂L/∂x = g·σ(1 + x(1 - σ)). Saves x."""

    def forward(self, x: Array) -> Array:
        self.save_for_backward(x)
        return chunked(lambda x: x * sigmoid(x), x)

    def backward(self, grad: Array) -> Gradients:
        return chunked(self.slope, grad, *self.saved)

    @staticmethod
    def slope(grad: Array, x: Array) -> Array:
        s = Sigmoid.of(x)
        return grad * (s * (1 + x * (1 - s)))


class Softplus(Function):
    """y = ln(1 + e^βx)/β, and x itself where βx > threshold;  ∂L/∂x = g·σ(βx). Saves x."""

    def forward(self, x: Array, beta: float, threshold: float) -> Array:
        self.beta, self.threshold = beta, threshold
        self.save_for_backward(x)
        return chunked(self.curve, x)

    def curve(self, x: Array) -> Array:
        scaled = self.beta * x
        curved = np.log1p(np.exp(np.minimum(scaled, self.threshold))) / self.beta
        return where(scaled > self.threshold, x, curved)

    def backward(self, grad: Array) -> Gradients:
        return chunked(self.slope, grad, *self.saved)

    def slope(self, grad: Array, x: Array) -> Array:
        scaled = self.beta * x
        return where(scaled > self.threshold, grad, grad * Sigmoid.of(scaled))


class Where(Function):
    """y = a where condition, else b;  ∂L/∂a = g where condition, ∂L/∂b = g elsewhere."""

    def forward(self, condition: Array, a: Array, b: Array) -> Array:
        self.a_shape, self.b_shape = a.shape, b.shape
        self.save_for_backward(condition)
        return chunked(where, condition, a, b)

    def backward(self, grad: Array) -> Gradients:
        condition = np.broadcast_to(self.saved[0], grad.shape)
        _, need_a, need_b = self.needs_input_grad
        da = unbroadcast(select(grad, condition), self.a_shape) if need_a else None
        db = unbroadcast(select(grad, ~condition), self.b_shape) if need_b else None
        return None, da, db
