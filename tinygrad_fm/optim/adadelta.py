"""Adadelta."""

from __future__ import annotations

import numpy as np

from tinygrad_fm.optim.optimizer import Array, Group, Optimizer, Params, Scratch, State, buffer


class Adadelta(Optimizer):
    """Adadelta: steps in the parameter's own units, from running mean squares of g and of steps.

        g = grad + weight_decay · p          (-grad to maximize)
        v = rho · v + (1 - rho) · g²
        d = g · sqrt(u + eps) / sqrt(v + eps)
        u = rho · u + (1 - rho) · d²
        p = p - lr · d

    Raises:
        ValueError: a negative option, or rho above 1.

    Sources: Zeiler, https://arxiv.org/abs/1212.5701;
    https://pytorch.org/docs/stable/generated/torch.optim.Adadelta.html
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        numbers = self._not_negative(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)
        if rho > 1.0:
            raise ValueError(f"Invalid rho value: {rho}; expected a number from 0 to 1")
        super().__init__(params, {**numbers, "maximize": maximize})

    def _update(self, p: Array, g: Array, state: State, group: Group, scratch: Scratch) -> None:
        rho, eps = group["rho"], group["eps"]
        s, d = scratch
        v = self._mean(state, "square_avg", p, np.multiply(g, g, out=d), rho, d)

        u = buffer(state, "acc_delta", p)
        np.add(u, eps, out=d)
        np.sqrt(d, out=d)
        np.multiply(d, g, out=d)  # the last use of g, whose memory s may be
        np.add(v, eps, out=s)
        np.sqrt(s, out=s)
        np.divide(d, s, out=d)

        self._mean(state, "acc_delta", p, np.multiply(d, d, out=s), rho, s)

        np.multiply(d, group["lr"], out=d)
        np.subtract(p, d, out=p)
