"""Filling weights: PyTorch's `torch.nn.init`, with its defaults.

Fans of a weight (O, I, …): fan_in = I·(kernel area), fan_out = O·(kernel area).
Kaiming: He et al. 2015, arXiv:1502.01852; Xavier: Glorot & Bengio 2010.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.random import default_generator

__all__ = [
    "calculate_gain", "constant_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_",
    "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip

_Generator = np.random.Generator | None


class _Mode(threading.local):
    hollow = False  # inside `hollow`


_mode = _Mode()


@contextmanager
def hollow() -> Iterator[None]:
    """Layers that are built inside the block have weights of their shape that take no memory.

    Only `load_state_dict` makes them real: weights that do not fit are refused before anything is
    allocated, however large a model was asked for, and none is drawn that would be replaced.
    """
    before, _mode.hollow = _mode.hollow, True
    try:
        yield
    finally:
        _mode.hollow = before


def empty(*shape: int) -> np.ndarray:
    """Memory for weights that are filled next, float32."""
    if _mode.hollow:
        return np.broadcast_to(np.float32(0), shape)  # one number, read-only
    return np.empty(shape, np.float32)


def _fill(tensor: Tensor, draw: Callable[..., Any], *arguments: float) -> Tensor:
    if not _mode.hollow:
        tensor.data[...] = draw(*arguments, tensor.shape)
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """`val` everywhere."""
    return _fill(tensor, lambda shape: val)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: _Generator = None
) -> Tensor:
    """Uniform on [a, b)."""
    return _fill(tensor, (generator or default_generator()).uniform, a, b)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: _Generator = None
) -> Tensor:
    """Normal with the given mean and standard deviation."""
    return _fill(tensor, (generator or default_generator()).normal, mean, std)


def fans(tensor: Tensor) -> tuple[int, int]:
    """fan_in and fan_out of a weight (O, I, …).

    Raises:
        ValueError: for fewer than two axes.
    """
    if tensor.ndim < 2:
        raise ValueError(f"fans need a weight (O, I, …) with at least 2 axes, got {tensor.shape}")
    area = math.prod(tensor.shape[2:])
    return tensor.shape[1] * area, tensor.shape[0] * area


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights grow to make up for what a nonlinearity takes away.

    1 for "linear" and "sigmoid", 5/3 for "tanh", √2 for "relu", √(2/(1 + a²)) for "leaky_relu" of
    slope a = `param` (0.01), 3/4 for "selu".

    Raises:
        ValueError: for another name.
    """
    slope = 0.01 if param is None else param
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + slope**2)),
        "selu": 3 / 4,
    }
    if nonlinearity not in gains:
        raise ValueError(f"nonlinearity is one of {', '.join(gains)}; got {nonlinearity!r}")
    return gains[nonlinearity]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: _Generator = None) -> Tensor:
    """Uniform on ±gain·√(6/(fan_in + fan_out))."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: _Generator = None) -> Tensor:
    """Normal with deviation gain·√(2/(fan_in + fan_out))."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: _Generator = None,
) -> Tensor:
    """Uniform on ±gain·√(3/fan), the gain being `calculate_gain(nonlinearity, a)`.

    Raises:
        ValueError: for a `mode` that is not "fan_in" or "fan_out", or an unknown nonlinearity.
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: _Generator = None,
) -> Tensor:
    """Normal with deviation gain/√fan; gain and errors as in `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode is 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def default_(weight: Tensor, bias: Tensor | None, generator: _Generator = None) -> None:
    """PyTorch's default for linear and convolution layers: both uniform on ±1/√fan_in.

    (PyTorch writes it as kaiming_uniform_ with a = √5, whose gain is √(1/3).)
    """
    kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
    if bias is not None:
        bound = 1 / math.sqrt(fans(weight)[0])
        uniform_(bias, -bound, bound, generator)
