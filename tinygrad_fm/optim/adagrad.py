"""Adagrad."""

from __future__ import annotations

import numpy as np

from tinygrad_fm.optim.optimizer import Array, Group, Optimizer, Params, Scratch, State


class Adagrad(Optimizer):
    """Adagrad: the gradient divided by the root of the sum of all its squares.

        g = grad + weight_decay · p          (-grad to maximize)
        v = v + g²          (at first v = initial_accumulator_value)
        p = p - lr / (1 + (t - 1) · lr_decay) · g / (sqrt(v) + eps)

    Raises:
        ValueError: a negative option.

    Sources: Duchi, Hazan and Singer, https://jmlr.org/papers/v12/duchi11a.html;
    https://pytorch.org/docs/stable/generated/torch.optim.Adagrad.html
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        numbers = self._not_negative(
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )
        super().__init__(params, {**numbers, "maximize": maximize})

    def add_param_group(self, param_group: Group) -> None:
        """As `Optimizer.add_param_group`; the sums exist from the start, as in PyTorch."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for p in group["params"]:
            total = np.full_like(p.data, group["initial_accumulator_value"])
            self.state[p] = {"step": 0, "sum": total}

    def _update(self, p: Array, g: Array, state: State, group: Group, scratch: Scratch) -> None:
        v, s = state["sum"], scratch[1]
        np.multiply(g, g, out=s)
        np.add(v, s, out=v)

        np.sqrt(v, out=s)
        np.add(s, group["eps"], out=s)
        np.divide(g, s, out=s)
        np.multiply(s, group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"]), out=s)
        np.subtract(p, s, out=p)
