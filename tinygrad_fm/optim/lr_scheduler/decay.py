"""Schedules that multiply the current rate by a factor: step, exponential, linear, cosine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tinygrad_fm.optim.lr_scheduler.base import LRScheduler
from tinygrad_fm.optim.optimizer import Optimizer

__all__ = ["CosineAnnealingLR", "ExponentialLR", "LinearLR", "MultiStepLR", "StepLR"]


class StepLR(LRScheduler):
    """Multiply the rate by `gamma` every `step_size` epochs.

        lr(t) = initial_lr · gamma^floor(t / step_size)

    Raises:
        ValueError: step_size < 1.

    Source: https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.StepLR.html
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        if step_size < 1:
            raise ValueError(f"step_size must be at least 1 epoch, got {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        due = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return self._scaled_lr(self.gamma if due else 1.0)


class MultiStepLR(LRScheduler):
    """Multiply the rate by `gamma` at each of the given epochs (twice where one is listed twice).

        lr(t) = initial_lr · gamma^(number of milestones <= t)

    Source: https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.MultiStepLR.html
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return self._scaled_lr(self.gamma ** self.milestones[self.last_epoch])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `LRScheduler.load_state_dict`; JSON has turned the milestones' keys into strings."""
        super().load_state_dict(state_dict)
        self.milestones = Counter({int(k): n for k, n in self.milestones.items()})


class ExponentialLR(LRScheduler):
    """Multiply the rate by `gamma` every epoch.

        lr(t) = initial_lr · gamma^t

    Source: https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ExponentialLR.html
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return self._scaled_lr(1.0 if self._first_step else self.gamma)


class LinearLR(LRScheduler):
    """Change the rate in a straight line, over `total_iters` epochs; the usual warm-up.

        lr(t) = initial_lr · f(t),  f(t) = start + (end - start) · min(t / total_iters, 1)

    Raises:
        ValueError: not 0 < start_factor <= 1, or not 0 <= end_factor <= 1.

    Source: https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LinearLR.html
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0.0 < start_factor <= 1.0:
            raise ValueError(f"start_factor must be above 0 and at most 1, got {start_factor}")
        if not 0.0 <= end_factor <= 1.0:
            raise ValueError(f"end_factor must be between 0 and 1, got {end_factor}")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, rise = self.last_epoch, self.end_factor - self.start_factor
        if t == 0:
            return self._scaled_lr(self.start_factor)
        if self._first_step or t > self.total_iters:
            return self._current_lr()
        # f(t) / f(t - 1), both times total_iters
        return self._scaled_lr(1.0 + rise / (self.total_iters * self.start_factor + (t - 1) * rise))


class CosineAnnealingLR(LRScheduler):
    """Lower the rate along half a cosine wave, to `eta_min` at epoch `T_max`, then up again.

        lr(t) = eta_min + (initial_lr - eta_min) · (1 + cos(pi · t / T_max)) / 2

    Raises:
        ValueError: T_max < 1.

    Sources: Loshchilov and Hutter, https://arxiv.org/abs/1608.03983 (without the restarts);
    https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.CosineAnnealingLR.html
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if T_max < 1:
            raise ValueError(f"T_max must be at least 1 epoch, got {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, half_wave = self.last_epoch, self.T_max
        if self._first_step:
            return self._current_lr()
        if (t - 1) % (2 * half_wave) == half_wave:  # at the bottom the ratio below is 0 / 0
            rise = (1 - math.cos(math.pi / half_wave)) / 2
            rates = zip(self._current_lr(), self.base_lrs, strict=False)  # `step` counts them
            return [lr + (base_lr - self.eta_min) * rise for lr, base_lr in rates]
        now, before = (1 + math.cos(math.pi * epoch / half_wave) for epoch in (t, t - 1))
        return [self.eta_min + now / before * (lr - self.eta_min) for lr in self._current_lr()]
