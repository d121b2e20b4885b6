"""tinygrad_fm: PyTorch's habits on NumPy alone."""

from tinygrad_fm import autograd, creation, data, errors, func, nn, ops, optim
from tinygrad_fm.autograd import (
    AnomalyError,
    detect_anomaly,
    enable_grad,
    is_grad_enabled,
    no_grad,
)
from tinygrad_fm.autograd.profiler import profile
from tinygrad_fm.autograd.tensor import Tensor, apply
from tinygrad_fm.checking import gradcheck, gradgradcheck
from tinygrad_fm.creation import (
    arange,
    cat,
    einsum,
    eye,
    float32,
    float64,
    from_numpy,
    full,
    int32,
    int64,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    randperm,
    stack,
    tensor,
    uint8,
    where,
    zeros,
    zeros_like,
)
from tinygrad_fm.ops.fast.parallel import get_num_threads, set_num_threads
from tinygrad_fm.random import manual_seed

__version__ = "0.1.0"

# Not abs, bool, max, min and sum: `from tinygrad_fm import *` leaves Python's own alone.
__all__ = [
    "AnomalyError", "Tensor", "apply", "arange", "argmax", "argmin", "autograd", "bmm", "cat",
    "chunk", "clamp", "cumsum", "data", "detect_anomaly", "einsum", "enable_grad", "errors",
    "exp", "eye", "flatten", "float32", "float64", "from_numpy", "full", "func", "gather",
    "get_num_threads", "gradcheck", "gradgradcheck", "int32", "int64", "is_grad_enabled",
    "log", "log_softmax", "logsumexp", "manual_seed", "matmul", "mean", "nn", "no_grad",
    "ones", "ones_like", "ops", "optim", "prod", "profile", "rand", "randint", "randn",
    "randperm", "relu", "reshape", "set_num_threads", "sigmoid", "softmax", "split", "sqrt",
    "squeeze", "stack", "std", "tanh", "tensor", "transpose", "uint8", "unsqueeze", "var",
    "where", "zeros", "zeros_like",
]  # fmt: skip

# torch.exp(x) and x.exp() are one thing.
exp, log, sqrt, abs = Tensor.exp, Tensor.log, Tensor.sqrt, Tensor.abs
tanh, sigmoid, relu, clamp = Tensor.tanh, Tensor.sigmoid, Tensor.relu, Tensor.clamp
sum, mean, var, std, prod = Tensor.sum, Tensor.mean, Tensor.var, Tensor.std, Tensor.prod
max, min, argmax, argmin = Tensor.max, Tensor.min, Tensor.argmax, Tensor.argmin
logsumexp, softmax, log_softmax = Tensor.logsumexp, Tensor.softmax, Tensor.log_softmax
cumsum, gather, matmul, bmm = Tensor.cumsum, Tensor.gather, Tensor.matmul, Tensor.bmm
reshape, flatten, transpose = Tensor.reshape, Tensor.flatten, Tensor.transpose
squeeze, unsqueeze, split, chunk = Tensor.squeeze, Tensor.unsqueeze, Tensor.split, Tensor.chunk
bool = creation.bool_
