"""Making tensors, and joining them: PyTorch's module-level functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinygrad_fm import ops
from tinygrad_fm.promotion import result_type
from tinygrad_fm.random import default_generator
from tinygrad_fm.tensor import Tensor, apply, as_array, as_shape, as_tensor, pair

float32, float64, int64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)


def tensor(data: ArrayLike, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of `data`; Python floats become float32."""
    return Tensor(np.array(Tensor(data, dtype=dtype).data), requires_grad)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the array's memory."""
    return Tensor(array)


def zeros(*size: Any, dtype: DTypeLike = float32, requires_grad: bool = False) -> Tensor:
    """Zeros: `zeros(2, 3)` or `zeros((2, 3))`."""
    return Tensor(np.zeros(as_shape(size), dtype), requires_grad)


def ones(*size: Any, dtype: DTypeLike = float32, requires_grad: bool = False) -> Tensor:
    """Ones: `ones(2, 3)` or `ones((2, 3))`."""
    return Tensor(np.ones(as_shape(size), dtype), requires_grad)


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
    return Tensor(np.zeros_like(input.data))


def ones_like(input: Tensor) -> Tensor:
    """Ones of another tensor's shape and dtype."""
    return Tensor(np.ones_like(input.data))


def eye(n: int, m: int | None = None, dtype: DTypeLike = float32) -> Tensor:
    """The identity matrix (n, n), or (n, m) with ones on its diagonal."""
    return Tensor(np.eye(n, m, dtype=dtype))


def arange(*args: Any, dtype: DTypeLike | None = None) -> Tensor:
    """start (0), end, step (1): int64 from integers, float32 from floats."""
    if dtype is None:
        dtype = float32 if any(isinstance(a, float) for a in args) else int64
    return Tensor(np.arange(*args).astype(dtype))  # steps are added in float64, then rounded


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
    tensors = [t for t in tensors if t.shape != (0,)] or tensors
    axis = tensors[0]._axis(dim)
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
    """input where condition is true, other elsewhere; all three broadcast."""
    return apply(ops.Where, *pair(input, other), condition=as_tensor(condition).data.astype(bool))


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
