"""Operations that act on each element by itself. g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import numpy as np

from tinygrad_fm.ops.fast.layout import LARGE, chunked
from tinygrad_fm.ops.function import Array, Function, Gradients, select, unbroadcast, where

once: Any = cache  # (mypy holds that classes cannot be hashed)


class Elementwise(Function):
    """y = f(a, …), element by element with broadcasting, written as formulas.

    Attributes:
        function: y of the inputs, and of the options by name; it may take `out`.
        slopes: for each input the formula of its gradient, as if nothing had been broadcast, or
            None. Its arguments' names say what it is made of: g, inputs (called as in `names`) and
            y, which are saved for it, and options. It may take `out`.
        names: of the inputs.
        cheap: whether y is computed again as fast as it would be fetched from memory.
    """

    function: Any
    slopes: Sequence[Callable[..., Any] | None]
    names: Sequence[str] = "x"
    cheap = False

    def forward(self, *inputs: Any, **options: Any) -> Array:
        function = partial(self.function, **options) if options else self.function
        y = np.asarray(chunked(function, *inputs))
        if True in self.needs_input_grad:
            self.how, values = options, (*inputs, y)
            self.shapes = [x.shape for x in inputs]
            saved, self.formulas = gradients_of(type(self), self.needs_input_grad)
            self.save_for_backward(*[values[i] for i in saved])
        return y

    def backward(self, grad: Array) -> Gradients:
        saved, how, shapes = self.saved, self.how, self.shapes
        found: list[Any] = [None] * len(shapes)
        for i, slope, asks in self.formulas:
            dx = grad
            if slope.formula is not passed_on:
                dx = chunked(slope.given(how), grad, *[saved[j] for j in asks])
            found[i] = dx if dx.shape == shapes[i] else unbroadcast(dx, shapes[i])
        return found[0] if len(found) == 1 else tuple(found)


class Slope(NamedTuple):
    """A formula of `Elementwise.slopes`; which of (*inputs, y) and which options it asks for."""

    formula: Callable[..., Any]
    asks: tuple[int, ...]
    options: tuple[str, ...]

    def given(self, options: dict[str, Any]) -> Callable[..., Any]:
        """The formula with its options."""
        if not self.options:
            return self.formula
        return partial(self.formula, **{name: options[name] for name in self.options})


def passed_on(g: Array) -> Array:
    """The slope of a term."""
    return g


@once
def slopes_of(operation: Any) -> Sequence[Slope | None]:
    """For each input."""
    names, found = [*operation.names, "y"], list[Slope | None]()
    for slope in operation.slopes:
        if slope is None:
            found.append(None)
            continue
        _, *asks = (name for name in inspect.signature(slope).parameters if name != "out")
        arrays = tuple(names.index(name) for name in asks if name in names)
        found.append(Slope(slope, arrays, tuple(name for name in asks if name not in names)))
    return found


@once
def gradients_of(
    operation: Any, needs: tuple[bool, ...]
) -> tuple[Sequence[int], Sequence[tuple[int, Slope, Sequence[int]]]]:
    """Which of (*inputs, y) are saved for the inputs that want a gradient; for each of these its
    number, slope, and where among the saved ones stands what that asks for."""
    pairs = zip(needs, slopes_of(operation), strict=True)
    wanted = [(i, slope) for i, (need, slope) in enumerate(pairs) if need and slope]
    saved = sorted({j for _, slope in wanted for j in slope.asks})
    return saved, [(i, slope, [saved.index(j) for j in slope.asks]) for i, slope in wanted]


# The methods of these three and of ReLU do what `Elementwise` does, in fewer steps: they are called
# most often.


class Add(Elementwise):
    """y = a + b;  ∂L/∂a = g,  ∂L/∂b = g."""

    function, names, cheap = np.add, "ab", True
    slopes = (passed_on, passed_on)

    def forward(self, a: Array, b: Array) -> Array:
        self.a_shape, self.b_shape = a.shape, b.shape
        return np.add(a, b) if a.size + b.size <= LARGE else chunked(np.add, a, b)

    def backward(self, grad: Array) -> Gradients:
        need_a, need_b = self.needs_input_grad
        da = unbroadcast(grad, self.a_shape) if need_a else None
        db = unbroadcast(grad, self.b_shape) if need_b else None
        return da, db


class Sub(Elementwise):
    """y = a - b;  ∂L/∂a = g,  ∂L/∂b = -g."""

    function, names, cheap = np.subtract, "ab", True
    slopes = (passed_on, lambda g: -g)

    def forward(self, a: Array, b: Array) -> Array:
        self.a_shape, self.b_shape = a.shape, b.shape
        return np.subtract(a, b) if a.size + b.size <= LARGE else chunked(np.subtract, a, b)

    def backward(self, grad: Array) -> Gradients:
        need_a, need_b = self.needs_input_grad
        da = unbroadcast(grad, self.a_shape) if need_a else None
        db = unbroadcast(-grad, self.b_shape) if need_b else None
        return da, db


in_chunks: Any = partial(chunked, np.multiply)


class Mul(Elementwise):
    """y = a·b;  ∂L/∂a = g·b,  ∂L/∂b = g·a. Saves a for b's gradient, and b for a's."""

    function, names, cheap = np.multiply, "ab", True
    slopes = (
        lambda g, b, out=None: np.multiply(g, b, out=out),
        lambda g, a, out=None: np.multiply(g, a, out=out),
    )

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


# What is infinite or NaN says so by its value: no warning beside it.
silent = np.errstate(divide="ignore", invalid="ignore")
quiet = np.errstate(divide="ignore", invalid="ignore", over="ignore")


class Div(Elementwise):
    """y = a/b;  ∂L/∂a = g/b,  ∂L/∂b = -g·(a/b)/b, where b² could overflow."""

    function, names, cheap = np.divide, "ab", True
    slopes = (lambda g, b: g / b, lambda g, a, b: -g * (a / b) / b)


class Pow(Elementwise):
    """y = aᵇ;  ∂L/∂a = g·b·aᵇ⁻¹,  ∂L/∂b = g·aᵇ·ln a.

    As in PyTorch, ∂L/∂a is 0 where b = 0 and ∂L/∂b is 0 where a = 0 and b ≥ 0.
    """

    function, names = np.power, "ab"
    slopes = (
        silent(lambda g, a, b: g * np.where(b == 0, 0, b * np.power(a, b - 1))),
        silent(lambda g, a, b, y: g * np.where((a == 0) & (b >= 0), 0, y * np.log(a))),
    )


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


def whole_quotient(a: Array, b: Array) -> Array:
    recorded = not isinstance(b, np.ndarray)  # then ⌊a/b⌋ is a constant
    return np.floor(a / b) if recorded else np.floor_divide(a, b)


class Remainder(Elementwise):
    """y = a - b·⌊a/b⌋;  ∂L/∂a = g,  ∂L/∂b = -g·⌊a/b⌋."""

    function, names = staticmethod(remainder), "ab"
    slopes = (passed_on, quiet(lambda g, a, b: -g * whole_quotient(a, b)))


class Neg(Elementwise):
    """y = -x;  ∂L/∂x = -g."""

    function, slopes, cheap = np.negative, (lambda g: -g,), True


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


class Exp(Elementwise):
    """y = eˣ;  ∂L/∂x = g·y."""

    function, slopes = np.exp, (lambda g, y: g * y,)


class Expm1(Elementwise):
    """y = eˣ - 1, exact for small x;  ∂L/∂x = g·(y + 1)."""

    function, slopes = np.expm1, (lambda g, y: g * (y + 1),)


class Log1p(Elementwise):
    """y = ln(1 + x), exact for small x;  ∂L/∂x = g/(1 + x)."""

    function = staticmethod(silent(np.log1p))
    slopes = (silent(lambda g, x: g / (1 + x)),)


class Sin(Elementwise):
    """y = sin x;  ∂L/∂x = g·cos x."""

    function, slopes = np.sin, (lambda g, x: g * np.cos(x),)


class Cos(Elementwise):
    """y = cos x;  ∂L/∂x = -g·sin x."""

    function, slopes = np.cos, (lambda g, x: -g * np.sin(x),)


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


class Erf(Elementwise):
    """y = erf x = 2/√π ∫₀ˣ e^(-t²) dt;  ∂L/∂x = g·2/√π·e^(-x²)."""

    function = staticmethod(erf)
    slopes = (lambda g, x: g * np.exp(-x * x) * (2 / math.sqrt(math.pi)),)


class Maximum(Elementwise):
    """y = max(a, b);  g goes to the larger, half to each where they are equal."""

    function, names, cheap = np.maximum, "ab", True
    slopes = (
        lambda g, a, b: np.where(a < b, 0, np.where(a == b, 0.5 * g, g)),
        lambda g, a, b: np.where(b < a, 0, np.where(a == b, 0.5 * g, g)),
    )


class Log(Elementwise):
    """y = ln x;  ∂L/∂x = g/x. As in PyTorch ln 0 = -∞ and ln of a negative is NaN."""

    function, slopes = staticmethod(silent(np.log)), (silent(lambda g, x: g / x),)


class Sqrt(Elementwise):
    """y = √x;  ∂L/∂x = g/(2y). Infinite slope at 0, as in PyTorch."""

    function, cheap = staticmethod(silent(np.sqrt)), True
    slopes = (silent(lambda g, y: g / (2 * y)),)


class Abs(Elementwise):
    """y = |x|;  ∂L/∂x = g·sign x, 0 at the kink and for NaN."""

    function, cheap = np.abs, True
    slopes = (lambda g, x: g * np.sign(np.where(x == x, x, 0)),)


def inside(x: Array, low: float | None, high: float | None) -> Array:
    """Whether low ≤ x ≤ high, None being no limit."""
    return (x >= (-np.inf if low is None else low)) & (x <= (np.inf if high is None else high))


class Clamp(Elementwise):
    """y = min(max(x, low), high);  ∂L/∂x = g where low ≤ x ≤ high, else 0."""

    function, cheap = staticmethod(lambda x, low, high: np.clip(x, low, high)), True
    slopes = (lambda g, x, low, high: select(g, inside(x, low, high)),)


class Tanh(Elementwise):
    """y = tanh x;  ∂L/∂x = g·(1 - y²)."""

    function = np.tanh
    slopes = (lambda g, y, out=None: np.multiply(g, 1 - y * y, out=out),)


def sigmoid(x: Array, out: Array | None = None) -> Array:
    """1/(1 + e⁻ˣ): exact for very negative x too, where e⁻ˣ overflows to ∞ and 1/∞ = 0."""
    with np.errstate(over="ignore"):
        y = np.exp(np.negative(x, out=out), out=out)
    return np.reciprocal(np.add(y, 1, out=out), out=out)


class Sigmoid(Elementwise):
    """y = 1/(1 + e⁻ˣ);  ∂L/∂x = g·y·(1 - y)."""

    function = staticmethod(sigmoid)
    slopes = (lambda g, y, out=None: np.multiply(g, y * (1 - y), out=out),)


def positive_part(x: Array, out: Array | None = None) -> Array:
    """max(x, 0). Against an array of zeros NumPy's loop is vectorised, against the number not."""
    return np.asarray(np.maximum(x, np.zeros_like(x) if x.size > ZEROS else 0, out=out))


ZEROS = 1 << 13  # numbers below which making zeros takes longer than they save


def relu_slope(g: Array, y: Array, out: Array | None = None) -> Array:
    return select(g, y > 0, out)


class ReLU(Elementwise):
    """y = max(x, 0);  ∂L/∂x = g where y > 0, else 0 (0 at the kink, as in PyTorch)."""

    function, slopes, cheap = staticmethod(positive_part), (relu_slope,), True

    def forward(self, x: Array) -> Array:
        y = positive_part(x) if x.size <= LARGE else chunked(positive_part, x)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Array) -> Gradients:
        (y,) = self.saved
        small = not isinstance(y, np.ndarray) or y.size <= LARGE
        return relu_slope(grad, y) if small else chunked(relu_slope, grad, y)


class LeakyReLU(Elementwise):
    """y = x where x > 0, else slope·x;  ∂L/∂x = g or slope·g."""

    function = staticmethod(lambda x, negative_slope: where(x > 0, x, negative_slope * x))
    slopes = (lambda g, x, negative_slope: where(x > 0, g, negative_slope * g),)
    cheap = True


class ELU(Elementwise):
    """y = x where x > 0, else α(eˣ - 1);  ∂L/∂x = g or g·αeˣ."""

    function = staticmethod(lambda x, alpha: where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))
    slopes = (lambda g, x, y, alpha: where(x <= 0, g * (y + alpha), g),)


class GELU(Elementwise):
    """y = x·Φ(x), Φ the standard normal distribution;  ∂L/∂x = g·(Φ(x) + x·φ(x))."""

    function = staticmethod(lambda x: x * normal_cdf(x))
    slopes = (lambda g, x: g * (normal_cdf(x) + x * normal_density(x)),)


def normal_cdf(x: Array) -> Array:
    return 0.5 * (1 + erf(x * math.sqrt(0.5)))


def normal_density(x: Array) -> Array:
    return np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))


class GELUTanh(Elementwise):
    """y = x/2·(1 + tanh u), u = √(2/π)(x + 0.044715x³): GELU's approximation.

    ∂L/∂x = g·(½(1 + t) + x/2·(1 - t²)·u′) with t = tanh u.
    """

    function = staticmethod(lambda x: 0.5 * x * (1 + GELUTanh.inner(x)))
    slopes = (lambda g, x: GELUTanh.slope(g, x),)

    @staticmethod
    def inner(x: Array) -> Array:
        return np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))

    @staticmethod
    def slope(g: Array, x: Array) -> Array:
        t = GELUTanh.inner(x)
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope)


def silu_slope(g: Array, x: Array) -> Array:
    s = Sigmoid.of(x)
    return g * (s * (1 + x * (1 - s)))


class SiLU(Elementwise):
    """y = x·σ(x), σ the sigmoid;  ∂L/∂x = g·σ(1 + x(1 - σ))."""

    function, slopes = staticmethod(lambda x: x * sigmoid(x)), (silu_slope,)


class Softplus(Elementwise):
    """y = ln(1 + e^βx)/β, and x itself where βx > threshold;  ∂L/∂x = g·σ(βx)."""

    @staticmethod
    def function(x: Array, beta: float, threshold: float) -> Array:
        scaled = beta * x
        curved = np.log1p(np.exp(np.minimum(scaled, threshold))) / beta
        return where(scaled > threshold, x, curved)

    slopes = (
        lambda g, x, beta, threshold: where(beta * x > threshold, g, g * Sigmoid.of(beta * x)),
    )


class Where(Elementwise):
    """y = a where condition, else b;  ∂L/∂a = g where condition, ∂L/∂b = g elsewhere."""

    function, names, cheap = staticmethod(where), ("condition", "a", "b"), True
    slopes = (
        None,
        lambda g, condition: select(g, np.broadcast_to(condition, g.shape)),
        lambda g, condition: select(g, ~np.broadcast_to(condition, g.shape)),
    )
