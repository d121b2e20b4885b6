"""Finding layers in a row that are faster as one operation.

`Sequential` asks here before it calls a layer. What is taken together gives the same results as
the layers one by one, up to rounding, and nothing changes for the user: a layer with a hook, of a
subclass, or with other arguments than those below is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_fm import ops
from tinygrad_fm.autograd import is_grad_enabled
from tinygrad_fm.autograd.mode import mode
from tinygrad_fm.autograd.tensor import Tensor, apply, as_tensor
from tinygrad_fm.nn.activation import MaxPool2d, ReLU
from tinygrad_fm.nn.layers import BatchNorm2d, Conv2d


def conv_block(layers: Sequence[Any], x: Tensor) -> tuple[Tensor, int] | None:
    """conv 3×3 - [BatchNorm] - ReLU - max pool 2 at the head of `layers`, as one operation.

    Returns:
        The block's output and how many layers it stands for, or None if they are not such a block.
    """
    if hasattr(mode.runner, "renamed"):  # a tracer, which is to see every operation
        return None
    norm = layers[1] if len(layers) > 1 and type(layers[1]) is BatchNorm2d else None
    used = layers[: 3 if norm is None else 4]
    if [type(layer) for layer in used if layer is not norm] != [Conv2d, ReLU, MaxPool2d]:
        return None
    conv, pool = used[0], used[-1]
    hooked = any(layer._forward_hooks for layer in used)
    if hooked or not (_is_3x3(conv, x) and _is_2x2(pool)):
        return None
    if norm is None:
        parameters = [p for p in (conv.weight, conv.bias) if p is not None]
        return apply(ops.ConvBlock, x, *parameters, pool=True), len(used)
    if norm.weight is None or norm.num_features != conv.out_channels:
        return None
    if norm.training:
        return _normalised(conv, norm, x), len(used)
    if norm.running_mean is None:
        return None
    return apply(ops.ConvBlock, x, *_folded(conv, norm), pool=True), len(used)


def _normalised(conv: Conv2d, norm: BatchNorm2d, x: Tensor) -> Tensor:
    """In training: by the batch's own mean and variance."""
    given = (conv.bias, norm.running_mean, norm.running_var)
    return apply(
        ops.ConvNormBlock,
        *(x, conv.weight, norm.weight, norm.bias),
        *(t for t in given if t is not None),
        bias=conv.bias is not None,
        momentum=norm.next_momentum(),
        eps=norm.eps,
        pool=True,
    )


def _folded(conv: Conv2d, norm: BatchNorm2d) -> tuple[Tensor, Tensor]:
    """In evaluation batch norm is a fixed scale and shift: a part of the convolution.

    γ·(w∗x + b - μ)/σ + β = (γ/σ·w)∗x + γ/σ·(b - μ) + β
    """
    parameters: tuple[Any, ...] = (conv.weight, conv.bias, norm.weight, norm.bias)
    if not is_grad_enabled():  # on plain arrays, which cost next to nothing
        parameters = tuple(None if p is None else p.data for p in parameters)
    weight, bias, gamma, beta = parameters
    scale = gamma / np.sqrt(norm.running_var.data + norm.eps)
    # A copy: what the product saves is locked, and the estimates have to move on.
    shift = beta - norm.running_mean.data.copy() * scale
    if bias is not None:
        shift = shift + bias * scale
    return as_tensor(weight * scale.reshape(-1, 1, 1, 1)), as_tensor(shift)


def _is_3x3(conv: Conv2d, x: Tensor) -> bool:
    """Kernel 3×3, padding 1, and an input that the layer itself would accept."""
    layout = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    return (
        layout == _PLAIN
        and isinstance(x, Tensor)
        and x.ndim == 4
        and len(x.data) > 0
        and x.shape[1] == conv.in_channels
        and min(x.shape[2:]) >= 2
        and x.dtype == conv.weight.dtype
        and x.dtype.kind in "fc"
    )


_PLAIN = ((3, 3), (1, 1), (1, 1), (1, 1), 1)


def _is_2x2(pool: MaxPool2d) -> bool:
    stride = pool.kernel_size if pool.stride is None else pool.stride
    return (
        pool.kernel_size in (2, (2, 2))
        and stride in (2, (2, 2))
        and pool.padding in (0, (0, 0))
        and pool.dilation in (1, (1, 1))
        and not pool.ceil_mode
    )
