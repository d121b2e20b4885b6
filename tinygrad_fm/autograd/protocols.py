"""NumPy's functions on tensors: `np.exp(t)`, `np.where(mask, t, 0)`, `special.erf(t)`.

NumPy asks its arguments before it computes (`__array_ufunc__` and `__array_function__`, NEP 13 and
NEP 18). Tensors answer with the operations that their own methods use, so what is computed is
recorded. This is also how a `backward` that is written for arrays runs on tensors.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_fm import ops
from tinygrad_fm.autograd.tensor import Tensor, apply, as_tensor, discrete, pair
from tinygrad_fm.creation import cat, einsum, ones_like, stack, where, zeros_like


def _operator(name: str) -> Callable[[Any, Any], Tensor]:
    """The tensors' own operator, of whichever side is one. (`a + b` would ask NumPy again.)"""
    left, right = getattr(Tensor, f"__{name}__"), getattr(Tensor, f"__r{name}__")
    return lambda a, b: left(a, b) if isinstance(a, Tensor) else right(b, a)


UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: _operator("add"),
    np.subtract: _operator("sub"),
    np.multiply: _operator("mul"),
    np.divide: _operator("truediv"),
    np.remainder: _operator("mod"),
    np.floor_divide: _operator("floordiv"),
    np.power: _operator("pow"),
    np.matmul: _operator("matmul"),
    np.maximum: lambda a, b: apply(ops.Maximum, *pair(a, b)),
    np.minimum: lambda a, b: -apply(ops.Maximum, *(-x for x in pair(a, b))),
    np.negative: operator.neg,
    np.positive: lambda x: x,
    np.absolute: Tensor.abs,
    np.reciprocal: lambda x: 1 / x,
    np.square: lambda x: x * x,
    **{
        getattr(np, name): getattr(Tensor, name)
        for name in ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh")
    },
}
# SciPy's by their names: nobody has made one of them before `scipy.special` was imported, which
# takes longer than all else here.
SPECIAL = {"erf": Tensor.erf, "expit": Tensor.sigmoid, "expm1": Tensor.expm1, "log1p": Tensor.log1p}
# Their values are booleans or steps: no gradient flows through them.
FLAT = {
    np.sign, np.isfinite, np.isnan, np.isinf, np.floor, np.ceil, np.rint, np.signbit,
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.logical_and, np.logical_or, np.logical_not, np.logical_xor,
    np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert,
}  # fmt: skip


def _reduction(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, axis=None, *, keepdims=False: method(x, axis, keepdim=keepdims)


def _clip(a: Tensor, a_min: Any = None, a_max: Any = None, **bounds: Any) -> Tensor:
    return as_tensor(a).clamp(bounds.get("min", a_min), bounds.get("max", a_max))


def _einsum(equation: str, *operands: Any, optimize: bool = False) -> Tensor:
    return einsum(equation, *map(as_tensor, operands))  # which sets `optimize` itself


def _transpose(x: Tensor, axes: Any = None) -> Tensor:
    return x.T if axes is None else x.permute(*axes)


def _moveaxis(x: Tensor, source: int, destination: int) -> Tensor:
    axes = list(range(x.ndim))
    axes.insert(destination % x.ndim, axes.pop(source % x.ndim))
    return x.permute(*axes)


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **{
        getattr(np, name): _reduction(getattr(Tensor, name))
        for name in ("sum", "mean", "prod", "argmax", "argmin", "all", "any")
    },
    np.max: _reduction(Tensor.amax),
    np.min: _reduction(Tensor.amin),
    np.var: lambda x, axis=None, ddof=0, keepdims=False: x.var(axis, ddof, keepdims),
    np.std: lambda x, axis=None, ddof=0, keepdims=False: x.std(axis, ddof, keepdims),
    np.cumsum: lambda x, axis=None: x.reshape(-1).cumsum(0) if axis is None else x.cumsum(axis),
    np.where: lambda condition, x, y: where(as_tensor(condition), x, y),
    np.clip: _clip,
    np.einsum: _einsum,
    np.dot: lambda a, b: as_tensor(a) @ b,
    np.concatenate: lambda arrays, axis=0: cat([*map(as_tensor, arrays)], axis),
    np.stack: lambda arrays, axis=0: stack([*map(as_tensor, arrays)], axis),
    np.reshape: lambda x, shape: x.reshape(shape),
    np.ravel: lambda x: x.reshape(-1),
    np.transpose: _transpose,
    np.swapaxes: lambda x, axis1, axis2: x.transpose(axis1, axis2),
    np.moveaxis: _moveaxis,
    np.expand_dims: lambda x, axis: x.unsqueeze(axis),
    np.squeeze: lambda x, axis=None: x.squeeze(axis),
    np.broadcast_to: lambda x, shape: x.expand(shape),
    np.flip: lambda x, axis: x.flip(axis),
    np.copy: Tensor.clone,
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x, axis=None: x.numel() if axis is None else x.shape[axis],
    np.zeros_like: zeros_like,
    np.ones_like: ones_like,
}


def array_ufunc(ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    """What `Tensor.__array_ufunc__` does.

    Raises:
        TypeError: for a function that tensors do not know, and for `out=`, `where=` or `dtype=`.
    """
    if method != "__call__":
        raise TypeError(f"np.{ufunc.__name__}.{method} is not supported on tensors")
    if options:
        raise TypeError(
            f"np.{ufunc.__name__} on tensors takes no {', '.join(options)}=: what is recorded is "
            "never written into"
        )
    known = UFUNCS.get(ufunc)
    if known is None and ufunc is getattr(sys.modules.get("scipy.special"), ufunc.__name__, None):
        known = SPECIAL.get(ufunc.__name__)
    if known is not None:
        return known(*inputs)
    if ufunc in FLAT and all(isinstance(x, Tensor) for x in inputs):
        return discrete(ufunc, *inputs)
    if ufunc in FLAT:
        return Tensor(ufunc(*(x.data if isinstance(x, Tensor) else x for x in inputs)))
    raise TypeError(
        f"np.{ufunc.__name__} is not supported on tensors: it has no derivative here. Use "
        "x.detach().numpy() for its values alone, or write an operation (docs/operation.md)"
    )


def array_function(function: Any, args: tuple, options: dict[str, Any]) -> Any:
    """What `Tensor.__array_function__` does.

    Raises:
        TypeError: for a function that tensors do not know, or arguments that it does not take.
    """
    name = f"np.{function.__name__}"
    if function not in FUNCTIONS:
        raise TypeError(
            f"{name} is not supported on tensors; use x.detach().numpy() for its values alone"
        )
    return FUNCTIONS[function](*args, **options)
