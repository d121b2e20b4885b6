"""The table of operations: everything that has a derivative, one family a file.

An operation works on plain arrays and knows neither tensors nor the graph. To add one: write the
class in its family's file, name it here, call it from `Tensor` or `nn.functional`, and give it a
case in `checking/cases`.
"""

from tinygrad_fm.ops.conv import Conv2d, Conv2dWeight, ConvTranspose2d
from tinygrad_fm.ops.discrete import Discrete, one_hot
from tinygrad_fm.ops.dropout import Dropout
from tinygrad_fm.ops.einsum import Einsum
from tinygrad_fm.ops.elementwise import (
    ELU,
    GELU,
    Abs,
    Add,
    Cast,
    Clamp,
    Clone,
    Cos,
    Div,
    Erf,
    Exp,
    Expm1,
    FloorDiv,
    GELUTanh,
    LeakyReLU,
    Log,
    Log1p,
    Maximum,
    Mul,
    Neg,
    Pow,
    ReLU,
    Remainder,
    Sigmoid,
    SiLU,
    Sin,
    Softplus,
    Sqrt,
    Sub,
    Tanh,
    Where,
)
from tinygrad_fm.ops.fast.conv3x3 import Conv3x3
from tinygrad_fm.ops.fast.conv_block import ConvBlock, ConvNormBlock
from tinygrad_fm.ops.function import Function
from tinygrad_fm.ops.loss import BCELoss, BCEWithLogits, CrossEntropy, KLDiv, NLLLoss, SmoothL1
from tinygrad_fm.ops.matmul import Linear, Matmul
from tinygrad_fm.ops.norm import BatchNorm, LayerNorm
from tinygrad_fm.ops.pool import AveragePool2d, AverageUnpool2d, MaxPool2d, MaxUnpool2d, Winners
from tinygrad_fm.ops.reduce import CumSum, Extremum, LogSumExp, Mean, Prod, Std, Sum, Var
from tinygrad_fm.ops.shape import Cat, Expand, Index, Overwrite, Pad, Permute, Reshape, Scatter
from tinygrad_fm.ops.softmax import LogSoftmax, Softmax

__all__ = [  # noqa: RUF022 — by family
    "OPERATIONS", "Function", "FloorDiv", "Discrete", "one_hot",  # (which have none)
    # elementwise
    "Add", "Sub", "Mul", "Div", "Remainder", "Pow", "Neg", "Exp", "Expm1", "Log", "Log1p", "Sqrt",
    "Abs", "Maximum", "Clamp", "Where", "Cast", "Clone", "Sin", "Cos", "Tanh", "Erf",
    "Sigmoid", "ReLU", "LeakyReLU", "ELU", "GELU", "GELUTanh", "SiLU", "Softplus",
    # reductions
    "Sum", "Mean", "Var", "Std", "Prod", "Extremum", "LogSumExp", "CumSum", "Softmax", "LogSoftmax",
    # shape
    "Reshape", "Permute", "Expand", "Cat", "Pad", "Index", "Scatter", "Overwrite",
    # products
    "Matmul", "Linear", "Einsum",
    # layers
    "Conv2d", "ConvTranspose2d", "Conv2dWeight", "MaxPool2d", "MaxUnpool2d", "Winners",
    "AveragePool2d", "AverageUnpool2d", "BatchNorm", "LayerNorm", "Dropout",
    "Conv3x3", "ConvBlock", "ConvNormBlock",
    # losses
    "NLLLoss", "CrossEntropy", "BCELoss", "BCEWithLogits", "SmoothL1", "KLDiv",
]  # fmt: skip
# Everything that has a derivative: all but the first five names.
OPERATIONS: tuple[type[Function], ...] = tuple(globals()[name] for name in __all__[5:])
