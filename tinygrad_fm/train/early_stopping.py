"""Stop when validation no longer improves, and keep the weights of the best epoch."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from tinygrad_fm.nn import Module
from tinygrad_fm.train.history import EpochRow

CHANGING = ("best_epoch", "best_value", "bad_epochs", "best_state")


class EarlyStopping:
    """Watches one validation figure; asks to stop after `patience` epochs without improvement.

    An epoch improves when it beats the best one by more than `min_delta`: a lower loss or a
    higher accuracy. The weights and buffers of the best epoch are kept as copies.

    Args:
        patience: epochs in a row without improvement after which `should_stop` is True, >= 1.
        min_delta: by how much an epoch must be better, in the figure's own units, >= 0.
        monitor: "val_loss" (lower is better) or "val_accuracy" (higher is better).

    Raises:
        ValueError: an argument is out of range.

    Source: Prechelt, "Early Stopping - But When?", 1998.
    """

    def __init__(
        self,
        patience: int,
        min_delta: float = 0.0,
        monitor: Literal["val_loss", "val_accuracy"] = "val_loss",
    ) -> None:
        if patience < 1 or min_delta < 0:
            raise ValueError(
                f"patience must be at least 1 and min_delta at least 0, "
                f"got patience={patience}, min_delta={min_delta}"
            )
        if monitor not in ("val_loss", "val_accuracy"):
            raise ValueError(f"monitor must be 'val_loss' or 'val_accuracy', got {monitor!r}")
        self.patience = patience
        self.min_delta = min_delta
        self.monitor = monitor
        self.best_epoch = 0
        self.best_value = math.inf if monitor == "val_loss" else -math.inf
        self.bad_epochs = 0
        self.best_state: dict[str, np.ndarray] = {}

    @property
    def should_stop(self) -> bool:
        """Whether `patience` epochs in a row were no better than the best."""
        return self.bad_epochs >= self.patience

    def update(self, row: EpochRow, model: Module) -> bool:
        """Take in one epoch and, if it is the best so far, copy the weights; True if it is.

        NaN never counts as better.
        """
        value = getattr(row, self.monitor)
        gain = self.best_value - value if self.monitor == "val_loss" else value - self.best_value
        if not gain > self.min_delta:
            self.bad_epochs += 1
            return False
        self.bad_epochs = 0
        self.best_epoch, self.best_value = row.epoch, value
        self.best_state = {name: array.copy() for name, array in model.state_dict().items()}
        return True

    def state_dict(self) -> dict[str, Any]:
        """The best epoch so far, with its weights and buffers, and the patience used up."""
        return {name: getattr(self, name) for name in CHANGING}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from another `state_dict`."""
        for name in CHANGING:
            setattr(self, name, state[name])

    def restore(self, model: Module) -> None:
        """Give the model the weights and buffers of the best epoch, bit for bit.

        Raises:
            RuntimeError: no epoch has been better than nothing (all were NaN, or none was seen).
        """
        if not self.best_state:
            raise RuntimeError(
                f"no best weights to restore: {self.monitor} was never a finite number; "
                "call update() after each epoch, and look for NaN in the validation loss"
            )
        model.load_state_dict(self.best_state)
