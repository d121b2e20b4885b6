"""tinygrad_fm: PyTorch's habits on NumPy alone."""

from tinygrad_fm import autograd, creation, data, errors, func, nn, ops, optim
from tinygrad_fm.autograd import AnomalyError, detect_anomaly, enable_grad, is_grad_enabled, no_grad
from tinygrad_fm.autograd.profiler import profile
from tinygrad_fm.autograd.tensor import Tensor, apply
from tinygrad_fm.checking import gradcheck, gradgradcheck
from tinygrad_fm.creation import *
from tinygrad_fm.ops.fast.parallel import get_num_threads, set_num_threads
from tinygrad_fm.plan import compile
from tinygrad_fm.random import manual_seed

__version__ = "0.1.0"

# Not abs, bool, compile, max, min and sum: `from tinygrad_fm import *` leaves Python's own alone.
__all__ = [
    "AnomalyError", "Tensor", "apply", "argmax", "argmin", "autograd", "bmm", "chunk", "clamp",
    "cumsum", "data", "detect_anomaly", "enable_grad", "errors", "exp", "flatten", "func",
    "gather", "get_num_threads", "gradcheck", "gradgradcheck", "is_grad_enabled", "log",
    "log_softmax", "logsumexp", "manual_seed", "matmul", "mean", "nn", "no_grad", "ops", "optim",
    "prod", "profile", "relu", "reshape", "set_num_threads", "sigmoid", "softmax", "split",
    "sqrt", "squeeze", "std", "tanh", "transpose", "unsqueeze", "var",
]  # fmt: skip
__all__ += creation.__all__

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
