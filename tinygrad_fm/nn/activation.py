"""Layers without weights: activations, pooling, dropout, flattening."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.nn import functional as F
from tinygrad_fm.nn.module import Module

__all__ = [
    "ELU", "GELU", "AdaptiveAvgPool2d", "AvgPool2d", "Dropout", "Flatten", "Identity",
    "LeakyReLU", "LogSoftmax", "MaxPool2d", "ReLU", "SiLU", "Sigmoid", "Softmax", "Softplus",
    "Tanh",
]  # fmt: skip

Size = int | tuple[int, int]


class _Options(Module):
    """A layer that is a dataclass: its fields are the options of the function in `forward`."""

    _shown = ""  # by `extra_repr`, of the options

    def __post_init__(self) -> None:
        super().__init__()

    def extra_repr(self) -> str:
        return self._shown.format(**vars(self))


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class Sigmoid(Module):
    """1/(1 + e⁻ˣ)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.sigmoid(x)


class Tanh(Module):
    """(eˣ - e⁻ˣ)/(eˣ + e⁻ˣ)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(x)


class SiLU(Module):
    """x·sigmoid(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x)


@dataclass(eq=False, repr=False)
class LeakyReLU(_Options):
    """x where x > 0, else negative_slope·x."""

    negative_slope: float = 0.01
    _shown = "{negative_slope}"

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)


@dataclass(eq=False, repr=False)
class ELU(_Options):
    """x where x > 0, else α(eˣ - 1)."""

    alpha: float = 1.0
    _shown = "{alpha}"

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x, self.alpha)


@dataclass(eq=False, repr=False)
class GELU(_Options):
    """x·Φ(x), Φ the standard normal distribution; `approximate="tanh"` is cheaper."""

    approximate: str = "none"

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x, self.approximate)


@dataclass(eq=False, repr=False)
class Softplus(_Options):
    """ln(1 + e^βx)/β, and x itself where βx > threshold."""

    beta: float = 1.0
    threshold: float = 20.0

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x, self.beta, self.threshold)


@dataclass(eq=False, repr=False)
class Softmax(_Options):
    """e^xᵢ / Σⱼ e^xⱼ along an axis."""

    dim: int
    _shown = "dim={dim}"

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(x, self.dim)


@dataclass(eq=False, repr=False)
class LogSoftmax(_Options):
    """xᵢ - ln Σⱼ e^xⱼ along an axis."""

    dim: int
    _shown = "dim={dim}"

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(x, self.dim)


@dataclass(eq=False, repr=False)
class Flatten(_Options):
    """Merge the axes from start_dim to end_dim; by default all but the batch's."""

    start_dim: int = 1
    end_dim: int = -1

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(self.start_dim, self.end_dim)


class Identity(Module):
    """x itself."""

    def forward(self, x: Tensor) -> Tensor:
        return x


@dataclass(eq=False, repr=False)
class Dropout(_Options):
    """In training each element is zeroed with probability p, the others scaled by 1/(1 - p).

    Draws from `generator`, or from the library's default one.
    """

    p: float = 0.5
    generator: np.random.Generator | None = None
    _shown = "p={p}"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.p <= 1:
            raise ValueError(f"Dropout's p is a probability between 0 and 1, got {self.p}")

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training, self.generator)


@dataclass(eq=False, repr=False)
class MaxPool2d(_Options):
    """The maximum of each window; `stride` is the kernel's size unless given."""

    kernel_size: Size
    stride: Size | None = None
    padding: Size = 0
    dilation: Size = 1
    ceil_mode: bool = False
    _shown = "{kernel_size}"

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )


@dataclass(eq=False, repr=False)
class AvgPool2d(_Options):
    """The mean of each window; `stride` is the kernel's size unless given."""

    kernel_size: Size
    stride: Size | None = None
    padding: Size = 0
    ceil_mode: bool = False
    count_include_pad: bool = True
    _shown = "{kernel_size}"

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )


@dataclass(eq=False, repr=False)
class AdaptiveAvgPool2d(_Options):
    """The mean of each of `output_size` windows, whatever the image's size."""

    output_size: int | tuple[int | None, int | None]
    _shown = "{output_size}"

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, self.output_size)
