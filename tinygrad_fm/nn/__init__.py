"""Layers, losses and models: PyTorch's `torch.nn`."""

from tinygrad_fm.nn import activation, container, functional, init, layers, loss, prune, utils
from tinygrad_fm.nn.activation import *
from tinygrad_fm.nn.container import *
from tinygrad_fm.nn.layers import *
from tinygrad_fm.nn.loss import *
from tinygrad_fm.nn.module import Module, Parameter

__all__ = ["Module", "Parameter", "functional", "init", "prune", "utils"]
__all__ += activation.__all__
__all__ += container.__all__
__all__ += layers.__all__
__all__ += loss.__all__
