"""One schedule after another."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from tinygrad_fm.autograd.mode import effect
from tinygrad_fm.optim.lr_scheduler.base import LRScheduler
from tinygrad_fm.optim.lr_scheduler.plateau import ReduceLROnPlateau
from tinygrad_fm.optim.optimizer import Optimizer


class SequentialLR(LRScheduler):
    """Run `schedulers[0]` until epoch `milestones[0]`, then `schedulers[1]`, and so on.

    Each begins with the initial rates when its turn comes:

        SequentialLR(opt, [LinearLR(opt, 0.1), CosineAnnealingLR(opt, 45)], milestones=[5])

    Raises:
        ValueError: no schedulers, one that can't take part, or milestones that are not increasing
            or not one fewer than the schedulers.

    Source: https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.SequentialLR.html
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        _check_members(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1 or sorted(milestones) != list(milestones):
            raise ValueError(
                f"{len(schedulers)} schedulers need {len(schedulers) - 1} increasing milestones, "
                f"got {milestones}"
            )
        self.optimizer = optimizer
        self._schedulers = list(schedulers)
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        # Every member has taken its first step when it was made: undo them, and start only one.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._undo_first_step()
        first = self._member_at(0)
        first.start()
        self._last_lr = first.get_last_lr()

    @effect
    def step(self) -> None:
        """Go to the next epoch, and let the schedule whose turn it is set the rates."""
        self.last_epoch += 1
        member = self._member_at(self.last_epoch)
        if self.last_epoch in self._milestones:
            member.restart()
        else:
            member.step()
        self._last_lr = member.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """As `LRScheduler.state_dict`, with the members' state dicts in a list."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `LRScheduler.load_state_dict`; ValueError also for another number of schedulers."""
        own = self._own_entries(state_dict)
        members = own.pop("_schedulers")
        if len(members) != len(self._schedulers):
            raise ValueError(
                f"the state dict has {len(members)} schedulers, this one {len(self._schedulers)}"
            )
        for scheduler, member in zip(self._schedulers, members, strict=True):
            scheduler.load_state_dict(member)
        self.__dict__.update(own)

    def _member_at(self, epoch: int) -> LRScheduler:
        return self._schedulers[bisect_right(self._milestones, epoch)]

    def _undo_first_step(self) -> None:
        for scheduler in self._schedulers:
            scheduler._undo_first_step()


def _check_members(optimizer: Optimizer, schedulers: list[LRScheduler]) -> None:
    if not schedulers:
        raise ValueError("SequentialLR needs at least one scheduler")
    for i, scheduler in enumerate(schedulers):
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError(
                f"schedulers[{i}] is a ReduceLROnPlateau, whose step needs the metric; "
                "SequentialLR has none to give"
            )
        if isinstance(scheduler, SequentialLR) and i > 0:
            raise ValueError(f"schedulers[{i}] is a SequentialLR; name its members here instead")
        if scheduler.optimizer is not optimizer:
            raise ValueError(f"schedulers[{i}] belongs to another optimizer; give all the same")
