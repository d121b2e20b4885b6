"""Layers with weights: linear, convolutions, normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_fm.autograd.tensor import Tensor, apply
from tinygrad_fm.nn import functional as F
from tinygrad_fm.nn import init
from tinygrad_fm.nn.module import Module, Parameter
from tinygrad_fm.ops.norm import Count

__all__ = ["BatchNorm1d", "BatchNorm2d", "Conv2d", "ConvTranspose2d", "LayerNorm", "Linear"]

__all__ = ["BatchNorm1d", "BatchNorm2d", "Conv2d", "ConvTranspose2d", "LayerNorm", "Linear"]

Size = int | tuple[int, int]


def _empty(*shape: int) -> Parameter:
    return Parameter(init.empty(*shape))


class _Weighted(Module):
    """What linear layers and convolutions share: a weight, and a bias unless it is left out."""

    def _add_weights(self, bias: bool, outputs: int, *shape: int) -> None:
        self.weight = _empty(*shape)
        self.register_parameter("bias", _empty(outputs) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform on ±1/√fan_in, PyTorch's default."""
        init.default_(self.weight, self.bias)


class Linear(_Weighted):
    """y = x Wᵀ + b. Shapes: x (…, in_features) → (…, out_features); W (out, in), b (out)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self._add_weights(bias, out_features, out_features, in_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        bias = "" if self.bias is not None else ", bias=False"
        return f"{self.in_features}, {self.out_features}{bias}"


class _Conv(_Weighted):
    """What convolution and transposed convolution share: their arguments and weights."""

    _transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups must divide both channels, got groups={groups} for "
                f"{in_channels} → {out_channels}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = height, width = F._pair("kernel_size", kernel_size)
        self.stride = F._pair("stride", stride)
        self.padding = padding if isinstance(padding, str) else F._pair("padding", padding)
        self.dilation, self.groups = F._pair("dilation", dilation), groups
        ends = (in_channels, out_channels) if self._transposed else (out_channels, in_channels)
        self._add_weights(bias, out_channels, ends[0], ends[1] // groups, height, width)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={_short(self.kernel_size)}"
        defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        sizes = {name: _short(getattr(self, name)) for name in defaults}
        given = [f", {name}={size}" for name, size in sizes.items() if size != defaults[name]]
        return text + "".join(given) + ("" if self.bias is not None else ", bias=False")


class Conv2d(_Conv):
    """Convolution of images: x (N, in_channels, H, W) → (N, out_channels, OH, OW).

    See `nn.functional.conv2d` for sizes and errors.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class ConvTranspose2d(_Conv):
    """Transposed convolution: x (N, in_channels, H, W) → (N, out_channels, OH, OW).

    See `nn.functional.conv_transpose2d` for sizes and errors.
    """

    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )
        self.output_padding = F._pair("output_padding", output_padding)

    def forward(self, x: Tensor) -> Tensor:
        how: Any = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return F.conv_transpose2d(x, self.weight, self.bias, *how)


def _short(size: Any) -> Any:
    """(3, 3) as 3, as it was given most likely; other sizes and names as they are."""
    return size[0] if isinstance(size, tuple) and size[0] == size[1] else size


class _BatchNorm(Module):
    """What both batch normalisations share."""

    _axes: tuple[int, ...]
    _expected: str  # shapes with so many axes

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name in ("weight", "bias"):
            self.register_parameter(name, _empty(num_features) if affine else None)
        for name in ("running_mean", "running_var"):
            estimate = Tensor(_empty(num_features)) if track_running_stats else None
            self.register_buffer(name, estimate)
        number = Tensor(np.array(0)) if track_running_stats else None
        self.register_buffer("num_batches_tracked", number)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """γ = 1 and β = 0, and the running estimates forget what they have seen."""
        if self.affine:
            init.ones_(self.weight)
            init.zeros_(self.bias)
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in self._axes:
            raise ValueError(f"{type(self).__name__} expects {self._expected}, got {x.shape}")
        momentum = self.next_momentum() if self.training else 0.0
        mean, variance = self.running_mean, self.running_var
        own = self.training or mean is None  # the batch's mean and variance
        return F.batch_norm(x, mean, variance, self.weight, self.bias, own, momentum, self.eps)

    def next_momentum(self) -> float:
        """Count one more batch, and how far the running estimates move towards it."""
        if self.running_mean is None:
            return 0.0
        apply(Count, self.num_batches_tracked)
        return 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum

    def extra_repr(self) -> str:
        return f"{self.num_features}"


class BatchNorm1d(_BatchNorm):
    """γ·(x - μ)/√(σ² + eps) + β for each channel of x (N, C) or (N, C, L).

    See `nn.functional.batch_norm`. `momentum=None` makes the running estimates plain averages over
    all batches seen; without `track_running_stats` there are none, and evaluation normalises by the
    batch as well.
    """

    _axes, _expected = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """γ·(x - μ)/√(σ² + eps) + β for each channel of images (N, C, H, W).

    Otherwise as `BatchNorm1d`.
    """

    _axes, _expected = (4,), "images (N, C, H, W)"


class LayerNorm(Module):
    """γ·(x - μ)/√(σ² + eps) + β over the last axes, of shape `normalized_shape`.

    See `nn.functional.layer_norm`.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
        self.normalized_shape, self.eps = tuple(shape), eps
        affine = elementwise_affine
        self.register_parameter("weight", _empty(*self.normalized_shape) if affine else None)
        self.register_parameter("bias", _empty(*self.normalized_shape) if affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """γ = 1 and β = 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}"
