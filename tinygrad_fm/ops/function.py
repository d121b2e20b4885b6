"""The base class of every differentiable operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_fm.ops.fast.sums import sums
from tinygrad_fm.ops.readonly import ReadOnly

Array = np.ndarray
Gradients = Array | tuple[Array | None, ...]


class Function:
    """One application of a differentiable operation y = f(x₁, …, xₙ), on plain arrays.

    A subclass writes two methods:

    - `forward(*arrays, **options)` returns y and keeps what the derivative needs;
    - `backward(grad)` takes ∂L/∂y and returns ∂L/∂xᵢ, one per input (`None` where
      `needs_input_grad[i]` is false), each of xᵢ's shape and dtype. It returns new arrays, or views
      of `grad`; it writes into neither `grad` nor the saved arrays.

    When gradients are recorded an instance is also a node of the graph: its `edges` lead to the
    nodes (or leaf tensors) that made the inputs, and its `number` counts up with every node made,
    so that descending numbers are an order in which to walk back.
    """

    needs_input_grad: tuple[bool, ...] = ()
    saved: tuple[Any, ...] = ()
    edges: Sequence[Any] | None = None
    number: int = 0
    options: dict[str, Any] = {}  # noqa: RUF012 — never written into
    ids: Sequence[int] = ()  # of the inputs' arrays and the output's: which of them was saved?
    where: str | None = None  # the user's file and line; filled in under `detect_anomaly`
    flops: int = 0  # of forward; filled in under `profile`
    hooks: dict[float, Any] | None = None  # functions of the output's gradient
    output_shape: tuple[int, ...] = ()
    _lock: ReadOnly | None = None
    twin: Any = None
    effects = False  # whether it does more than return y, and so cannot be left out

    @staticmethod
    def moved(inputs: Sequence[Any], **options: Any) -> Sequence[Any]:
        """Those of its inputs that `forward` writes into: running estimates."""
        return ()

    @classmethod
    def of(cls, *inputs: Any, **options: Any) -> Any:
        """The operation on arrays, or on tensors if one of them is: then it is recorded."""
        for x in inputs:
            if hasattr(x, "apply_function"):
                return x.apply_function(cls, *inputs, **options)
        return cls().forward(*inputs, **options)

    def forward(self, *arrays: Any, **options: Any) -> Array:
        """y of the inputs' arrays, to be written by a subclass."""
        raise NotImplementedError

    def backward(self, grad: Array) -> Gradients:
        """∂L/∂xᵢ for each input from ∂L/∂y, to be written by a subclass."""
        raise NotImplementedError

    @property
    def recording(self) -> bool:
        """Whether any input wants a gradient, so that keeping arrays has a use."""
        return True in self.needs_input_grad

    def save_for_backward(self, *arrays: Array | None) -> None:
        """Keep arrays for `backward` in `self.saved`, read-only until they are released."""
        if True in self.needs_input_grad:
            self.saved = arrays
            self._lock = ReadOnly(arrays)

    def save_factors(self, a: Array, b: Array) -> None:
        """Keep a if b wants a gradient, and b if a does: all that a product needs."""
        needs = self.needs_input_grad
        if True in needs:
            self.saved = (a if needs[1] else None, b if needs[0] else None)
            self._lock = ReadOnly(self.saved)

    def wanted(self, *grads: Array | None) -> tuple[Array | None, ...]:
        """One gradient for each input there is, None for a frozen one.

        For what comes out of one computation together; there may be more of `grads` than inputs.
        """
        needed = self.needs_input_grad
        return tuple(g if need else None for g, need in zip(grads, needed, strict=False))

    def release(self) -> None:
        """Let go of saved arrays and of the graph behind this node."""
        self.edges = None
        self.saved = ()
        self._lock = None

    def name(self) -> str:
        """The operation's name, as it is printed."""
        return type(self).__name__


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which an input of `shape` was broadcast.

    Broadcasting copies a value along an axis; the derivative of copying is summing.
    """
    if grad.shape == shape:
        return grad
    leading = grad.ndim - len(shape)
    copied = [leading + i for i, n in enumerate(shape) if n == 1 and grad.shape[leading + i] != 1]
    axes = (*range(leading), *copied)
    total = sums(grad, axes) if isinstance(grad, np.ndarray) else grad.sum(axis=axes)
    return total.reshape(shape)


def select(grad: Array, keep: Array, out: Array | None = None) -> Array:
    """`grad` where `keep`, else 0, even where `grad` is infinite: ∞·0 would be NaN.

    Both have one shape; a new result has the layout of `keep`. (The bits of a number AND all ones
    or all zeros: `np.where` takes ten times as long.)
    """
    if not isinstance(grad, np.ndarray | np.generic):
        return np.where(keep, grad, 0)
    if out is None:
        out = np.empty_like(keep, grad.dtype)
    bits = _BITS.get(grad.itemsize)
    if bits is None:  # wider than any integer: complex128
        out[...] = np.where(keep, grad, 0)
    else:
        np.bitwise_and(grad.view(bits), -keep.view(np.int8), out=out.view(bits))
    return out


def where(condition: Array, a: Array, b: Array) -> Array:
    """`np.where`, by the bits of a and b where both are floats of one type: five times as fast."""
    bits = None
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.dtype == b.dtype:
        bits = _BITS.get(a.itemsize)
    if bits is None or condition.shape != a.shape or a.shape != b.shape or a.ndim == 0:
        return np.where(condition, a, b)
    y = np.bitwise_xor(a.view(bits), b.view(bits))
    y &= -condition.view(np.int8)
    y ^= b.view(bits)
    return y.view(a.dtype)


_BITS = {size: np.dtype(f"i{size}") for size in (2, 4, 8)}
