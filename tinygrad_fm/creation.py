"""Making tensors, and joining them: PyTorch's module-level functions."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinygrad_fm import ops
from tinygrad_fm.autograd.mode import tell
from tinygrad_fm.autograd.promotion import result_type
from tinygrad_fm.autograd.tensor import Tensor, apply, as_array, as_shape, as_tensor, pair
from tinygrad_fm.random import default_generator

__all__ = [
    "arange", "cat", "einsum", "eye", "float32", "float64", "from_numpy", "full", "int32",
    "int64", "ones", "ones_like", "rand", "randint", "randn", "randperm", "stack", "tensor",
    "uint8", "where", "zeros", "zeros_like",
]  # fmt: skip

float32, float64 = np.dtype(np.float32), np.dtype(np.float64)
uint8, int32, int64, bool_ = (np.dtype(name) for name in ("uint8", "int32", "int64", "bool"))


def tensor(data: ArrayLike, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of `data`; Python floats become float32."""
    if dtype is not None:
        as_array(data)  # refuses None, of which NumPy would make NaN
    return Tensor(np.array(as_array(data, dtype)), requires_grad)


def _made(array: np.ndarray, requires_grad: bool = False) -> Tensor:
    """A tensor of numbers that no other tensor has a part in; a plan may keep them."""
    tell("made", array)
    return Tensor(array, requires_grad)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the array's memory."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy needs an array, got {type(array).__name__}; use tensor()")
    return Tensor(array)


def zeros(*size: Any, dtype: DTypeLike = float32, requires_grad: bool = False) -> Tensor:
    """Zeros: `zeros(2, 3)` or `zeros((2, 3))`."""
    return _made(np.zeros(as_shape(size), dtype), requires_grad)


def ones(*size: Any, dtype: DTypeLike = float32, requires_grad: bool = False) -> Tensor:
    """Ones: `ones(2, 3)` or `ones((2, 3))`."""
    return _made(np.ones(as_shape(size), dtype), requires_grad)


def full(
    size: Sequence[int],
    fill_value: float,
    dtype: DTypeLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """One number everywhere."""
    return Tensor(np.full(size, as_array(fill_value, dtype)), requires_grad)


def zeros_like(input: Tensor) -> Tensor:
    """Zeros of another tensor's shape and dtype."""
    return _made(np.zeros_like(input.data))


def ones_like(input: Tensor) -> Tensor:
    """Ones of another tensor's shape and dtype."""
    return _made(np.ones_like(input.data))


def eye(n: int, m: int | None = None, dtype: DTypeLike = float32) -> Tensor:
    """The identity matrix (n, n), or (n, m) with ones on its diagonal."""
    return _made(np.eye(n, m, dtype=dtype))


def arange(start: Any, end: Any = None, step: Any = 1, dtype: DTypeLike | None = None) -> Tensor:
    """start, start + step, … before end: int64 from integers, float32 from floats.

    `arange(end)` begins at 0. For an integer dtype fractions are cut off the numbers first.

    Raises:
        ValueError: if step is 0 or leads away from end, or if a number isn't finite.
    """
    numbers = (start, end, step) if end is not None else (0, start, step)
    if dtype is None:
        dtype = float32 if any(isinstance(n, float) for n in numbers) else int64
    if not np.isfinite(numbers).all():
        raise ValueError(f"arange needs finite numbers, got {numbers}")
    first, last, by = map(float if np.dtype(dtype).kind in "fc" else int, numbers)
    if by == 0 or (numbers[1] - numbers[0]) * by < 0:
        raise ValueError(f"arange from {first} never reaches {last} in steps of {by}")
    return _made(np.arange(first, last, by).astype(dtype))  # in float64, then rounded


def rand(*size: Any, dtype: DTypeLike = float32, requires_grad: bool = False) -> Tensor:
    """Uniform on [0, 1), from the default generator."""
    values = default_generator().random(as_shape(size), dtype)  # type: ignore[arg-type]
    return Tensor(values, requires_grad)


def randn(*size: Any, dtype: DTypeLike = float32, requires_grad: bool = False) -> Tensor:
    """Standard normal, from the default generator."""
    return Tensor(default_generator().standard_normal(as_shape(size)).astype(dtype), requires_grad)


def randint(low: int = 0, high: Any = None, size: Sequence[int] | None = None) -> Tensor:
    """Integers low ≤ i < high of a shape `size`, from the default generator.

    `randint(high, size)` begins at 0.
    """
    if size is None:
        high, size = None, high
    if high is None:
        low, high = 0, low
    low, high = operator.index(low), operator.index(high)
    return Tensor(default_generator().integers(low, high, tuple(size)))


def randperm(n: int) -> Tensor:
    """The integers below n in random order, from the default generator."""
    return Tensor(default_generator().permutation(n))


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one after another along an axis. As in PyTorch, `tensor([])` fits anywhere.

    Raises:
        ValueError: if there is none, if one has no axes, or if their other axes differ.
    """
    if not tensors:
        raise ValueError("cat needs at least one tensor, got an empty list")
    if any(t.ndim == 0 for t in tensors):
        raise ValueError("cat joins tensors along an axis, got one without axes; use stack")
    tensors = _one_dtype(tensors)
    like = next((t for t in tensors if t.shape != (0,)), tensors[0])
    axis = like._axis(dim)
    nothing = (*like.shape[:axis], 0, *like.shape[axis + 1 :])
    tensors = [t.reshape(nothing) if t.shape == (0,) else t for t in tensors]
    others = {(t.ndim, t.shape[:axis], t.shape[axis + 1 :]) for t in tensors}
    if len(others) > 1:
        raise ValueError(
            f"cat along axis {dim} needs shapes that agree elsewhere, "
            f"got {', '.join(str(t.shape) for t in tensors)}"
        )
    return apply(ops.Cat, *tensors, axis=axis)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new axis.

    Raises:
        ValueError: if there is none, or if their shapes differ.
    """
    shapes = {t.shape for t in tensors}
    if len(shapes) > 1:
        raise ValueError(f"stack needs tensors of one shape, got {sorted(shapes)}")
    return cat([t.unsqueeze(dim) for t in tensors], dim)


def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """input where condition is true, other elsewhere; all three broadcast.

    Raises:
        TypeError: if condition is no mask (bool, or bytes of 0 and 1).
    """
    mask = as_tensor(condition)
    if mask.dtype not in (bool_, uint8):
        raise TypeError(f"where needs a mask, got {mask.dtype}; use condition.bool()")
    return apply(ops.Where, mask.bool(), *pair(input, other))


def einsum(equation: str, *operands: Any) -> Tensor:
    """Einstein summation, with `...`, repeated letters and implicit output.

    The operands may come in a list.

    Raises:
        ValueError: if the equation names other operands, or does not fit their shapes.
    """
    if len(operands) == 1 and isinstance(operands[0], Sequence):
        operands = tuple(operands[0])
    return apply(ops.Einsum, *_one_dtype(operands), equation=equation)


def _one_dtype(tensors: Sequence[Tensor]) -> list[Tensor]:
    if not tensors:
        return []
    dtype = tensors[0].dtype
    for t in tensors[1:]:
        dtype = result_type(np.empty((1,), dtype), np.empty((1,), t.dtype))
    return [t.to(dtype) for t in tensors]
