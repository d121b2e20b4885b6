"""Learning-rate schedules, with PyTorch's names, arguments and numbers."""

from tinygrad_fm.optim.lr_scheduler import decay
from tinygrad_fm.optim.lr_scheduler.base import LRScheduler
from tinygrad_fm.optim.lr_scheduler.decay import *
from tinygrad_fm.optim.lr_scheduler.one_cycle import OneCycleLR
from tinygrad_fm.optim.lr_scheduler.plateau import ReduceLROnPlateau
from tinygrad_fm.optim.lr_scheduler.sequential import SequentialLR

__all__ = ["LRScheduler", "OneCycleLR", "ReduceLROnPlateau", "SequentialLR"]
__all__ += decay.__all__
