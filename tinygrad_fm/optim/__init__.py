"""Optimizers and learning-rate schedules, with PyTorch's names, arguments and numbers."""

from tinygrad_fm.optim import lr_scheduler
from tinygrad_fm.optim.adadelta import Adadelta
from tinygrad_fm.optim.adagrad import Adagrad
from tinygrad_fm.optim.adam import Adam, AdamW
from tinygrad_fm.optim.optimizer import Optimizer
from tinygrad_fm.optim.rmsprop import RMSprop
from tinygrad_fm.optim.sgd import SGD

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler",
]  # fmt: skip
