"""The 1cycle schedule: up to a large rate, then down to a tiny one, momentum the other way."""

from __future__ import annotations

import math
from typing import Any, Literal

from tinygrad_fm.optim.lr_scheduler.base import LRScheduler, check_optimizer, per_group
from tinygrad_fm.optim.optimizer import Optimizer

Group = dict[str, Any]


class OneCycleLR(LRScheduler):
    """One cycle of the rate over `total_steps` batches; call `step()` after every batch.

        initial_lr = max_lr / div_factor,  min_lr = initial_lr / final_div_factor
        two phases:    initial_lr -> max_lr -> min_lr
        three phases:  initial_lr -> max_lr -> initial_lr -> min_lr

    The rise takes the share `pct_start` of the steps, and so does the fall if `three_phase`.
    With `cycle_momentum` the momentum (beta1 for Adam) goes max_momentum -> base_momentum ->
    max_momentum meanwhile.

    Args:
        max_lr, base_momentum, max_momentum: one number, or one per parameter group.
        total_steps: the length, or give `epochs` and `steps_per_epoch`.
        anneal_strategy: "cos" (half a cosine wave) or "linear".

    Raises:
        ValueError: a length that is not a positive integer, a pct_start outside [0, 1], an unknown
            strategy, an optimizer without momentum to cycle, or more steps than the length.

    Sources: Smith and Topin, https://arxiv.org/abs/1708.07120;
    https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.OneCycleLR.html
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'anneal_strategy must be "cos" or "linear", got {anneal_strategy!r}')
        if not 0.0 <= pct_start <= 1.0:
            raise ValueError(f"pct_start must be between 0 and 1, got {pct_start}")
        self.total_steps = _length(total_steps, epochs, steps_per_epoch)
        # These two are PyTorch's names and formats, so that state dicts can be exchanged.
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        self._anneal_func_type = anneal_strategy
        self.cycle_momentum = cycle_momentum
        if cycle_momentum and optimizer.defaults.keys().isdisjoint({"momentum", "betas"}):
            raise ValueError(
                f"{type(optimizer).__name__} has no momentum to cycle; pass cycle_momentum=False"
            )
        peaks = per_group("max_lr", max_lr, optimizer)
        lows = per_group("base_momentum", base_momentum, optimizer)
        highs = per_group("max_momentum", max_momentum, optimizer)
        if last_epoch == -1:  # otherwise the groups hold all this from the first time
            for i, group in enumerate(optimizer.param_groups):
                first = peaks[i] / div_factor
                group.update(max_lr=peaks[i], initial_lr=first, min_lr=first / final_div_factor)
                if cycle_momentum:
                    group.update(max_momentum=highs[i], base_momentum=lows[i])
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [self._anneal(group, "lr") for group in self.optimizer.param_groups]

    def _set_lr(self, lrs: list[float]) -> None:
        super()._set_lr(lrs)
        if not self.cycle_momentum:
            return
        for group in self.optimizer.param_groups:
            momentum = self._anneal(group, "momentum")
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum

    def _anneal(self, group: Group, name: str) -> float:
        """Where `name` ("lr" or "momentum") is now, between the two ends of its phase."""
        phase, share = self._phase_and_share()
        start, end = group[phase[f"start_{name}"]], group[phase[f"end_{name}"]]
        if self._anneal_func_type == "cos":
            return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
        return start + (end - start) * share

    def _phase_and_share(self) -> tuple[dict[str, Any], float]:
        """The phase of step `last_epoch`, and how much of it is over, from 0 to 1."""
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(
                f"OneCycleLR was made for {self.total_steps} steps, this is step {step}; "
                "call step() once per batch, or give it the right length"
            )
        start = 0.0
        for phase in self._schedule_phases:
            if step <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            start = phase["end_step"]
        length = phase["end_step"] - start
        return phase, (step - start) / length if length else 1.0


def _length(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is None and (epochs is None or steps_per_epoch is None):
        raise ValueError("OneCycleLR needs total_steps, or epochs and steps_per_epoch")
    factors = [epochs, steps_per_epoch] if total_steps is None else [total_steps]
    for n in factors:
        if not isinstance(n, int) or n <= 0:
            raise ValueError(f"OneCycleLR's length must be a positive integer, got {n!r}")
    return math.prod(n for n in factors if n is not None)


def _phases(total_steps: int, pct_start: float, three_phase: bool) -> list[dict[str, Any]]:
    """Each phase's last step, and the names of its two ends in a parameter group."""
    turns = ["initial_lr", "max_lr", *(["initial_lr"] if three_phase else []), "min_lr"]
    momentums = ["max_momentum", "base_momentum", "max_momentum", "max_momentum"]
    ends = [pct_start * total_steps - 1, 2 * pct_start * total_steps - 2][: len(turns) - 2]
    names = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")
    ends.append(total_steps - 1)
    phases = zip(ends, turns, turns[1:], momentums, momentums[1:], strict=False)
    return [dict(zip(names, phase, strict=True)) for phase in phases]
