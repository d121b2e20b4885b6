"""What all learning-rate schedules share."""

from __future__ import annotations

from typing import Any

from tinygrad_fm.autograd.mode import effect
from tinygrad_fm.optim.optimizer import Optimizer


class LRScheduler:
    """Base class: sets every parameter group's "lr" once per epoch (or per batch).

    A subclass writes `get_lr`, which computes the rates of epoch `last_epoch`, mostly from the
    current ones, so that several schedules on one optimizer multiply. The constructor already sets
    the rates of the first epoch; call `step()` after each epoch's last `optimizer.step()`.

    Args:
        optimizer: whose rates are set; each group remembers its first rate as "initial_lr".
        last_epoch: the last epoch that is done, to go on from there; -1 starts anew.

    Raises:
        TypeError: `optimizer` is not an Optimizer.
        KeyError: `last_epoch` is given, but the groups have no "initial_lr".

    Source: https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"last_epoch is {last_epoch}, but param_groups[{i}] has no 'initial_lr'; "
                    "load the optimizer's state dict first, or leave last_epoch out"
                )
        self.optimizer = optimizer
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.start()

    def start(self) -> None:
        """Take the first step, to the epoch after `last_epoch`; the constructor does this."""
        self._step_count = 0
        self.step()

    def restart(self) -> None:
        """Begin again at epoch 0 with the initial rates; `SequentialLR` does this."""
        self.last_epoch = 0
        self._set_lr(self.base_lrs)
        self._set_lr(self.get_lr())

    @effect
    def step(self) -> None:
        """Go to the next epoch and set its rates."""
        self._step_count += 1
        self.last_epoch += 1
        self._set_lr(self.get_lr())

    def get_lr(self) -> list[float]:
        """Compute the rates of epoch `last_epoch`, one per group; to read them: `get_last_lr`."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """The rates that were set last, one per parameter group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimizer, under PyTorch's names; JSON-able."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict`, ours or PyTorch's; the optimizer's is to be loaded too.

        Raises:
            ValueError: an entry is missing, as in the state of another kind of schedule.
        """
        self.__dict__.update(self._own_entries(state_dict))

    def _own_entries(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """What this schedule keeps of a state dict; PyTorch's have some entries more."""
        own = self.state_dict().keys()
        missing = own - state_dict.keys()
        if missing:
            raise ValueError(
                f"a state dict of {type(self).__name__} needs {sorted(own)}, "
                f"this one lacks {sorted(missing)}"
            )
        return {key: state_dict[key] for key in own}

    def _undo_first_step(self) -> None:
        self.last_epoch -= 1

    @property
    def _first_step(self) -> bool:
        return self._step_count == 1

    def _current_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _scaled_lr(self, factor: float) -> list[float]:
        return [lr * factor for lr in self._current_lr()]

    def _set_lr(self, lrs: list[float]) -> None:
        check_length("rates", lrs, self.optimizer)
        for i, group in enumerate(self.optimizer.param_groups):
            group["lr"] = lrs[i]
        self._last_lr = list(lrs)


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError unless this is an Optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"a schedule needs an Optimizer, got {type(optimizer).__name__}")


def check_length(name: str, values: list[float], optimizer: Optimizer) -> None:
    """Raise ValueError unless there is one value per parameter group."""
    groups = len(optimizer.param_groups)
    if len(values) != groups:
        raise ValueError(
            f"got {len(values)} {name} for an optimizer with {groups} parameter groups; "
            "give one per group, and add groups before making the schedule"
        )


def per_group(name: str, value: float | list[float], optimizer: Optimizer) -> list[float]:
    """One value per parameter group, from a list of them or from one for all."""
    if isinstance(value, (list, tuple)):
        check_length(name, list(value), optimizer)
        return list(value)
    return [value] * len(optimizer.param_groups)
