"""A schedule that follows a metric."""

from __future__ import annotations

import math
from typing import Literal, SupportsFloat

from tinygrad_fm.autograd.mode import effect
from tinygrad_fm.optim.lr_scheduler.base import (
    LRScheduler,
    check_length,
    check_optimizer,
    per_group,
)
from tinygrad_fm.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """Multiply the rate by `factor` when a metric has not improved for `patience` epochs.

        scheduler.step(validation_loss)          after every epoch

    Args:
        mode: "min" if lower is better, "max" if higher.
        patience: how many epochs without improvement are tolerated; the next one reduces.
        threshold: what counts as an improvement on the best: with threshold_mode "rel" by this
            share of the best, with "abs" by this amount.
        cooldown: epochs after a reduction in which none are counted as bad.
        min_lr: lower bound of the rate, one number or one per parameter group.
        eps: a change of the rate by no more than this is not made.

    Raises:
        ValueError: factor >= 1, an unknown mode, or a wrong number of min_lr.

    Source: https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ReduceLROnPlateau.html
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        check_optimizer(optimizer)
        if factor >= 1.0:
            raise ValueError(f"factor must be below 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f'mode must be "min" or "max", got {mode!r}')
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f'threshold_mode must be "rel" or "abs", got {threshold_mode!r}')
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown = threshold, threshold_mode, cooldown
        self.min_lrs, self.eps = per_group("min_lr", min_lr, optimizer), eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = self._current_lr()

    @effect
    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]
        """Tell the metric of the epoch that is done; reduces the rates if it is time."""
        self.last_epoch += 1
        current = float(metrics)
        self.num_bad_epochs += 1
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            self._set_lr(self.get_lr())
        else:
            self._last_lr = self._current_lr()

    def get_lr(self) -> list[float]:
        """The reduced rates."""
        check_length("min_lr", self.min_lrs, self.optimizer)
        reduced = []
        for lr, lowest in zip(self._current_lr(), self.min_lrs, strict=True):
            lower = max(lr * self.factor, lowest)
            reduced.append(lower if lr - lower > self.eps else lr)
        return reduced

    def _is_better(self, current: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            limit = self.best * (1 + sign * self.threshold)
        else:
            limit = self.best + sign * self.threshold
        return current > limit if self.mode == "max" else current < limit
