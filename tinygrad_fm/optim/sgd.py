"""Stochastic gradient descent."""

from __future__ import annotations

import numpy as np

from tinygrad_fm.optim.optimizer import Array, Group, Optimizer, Params, Scratch, State, buffer


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's variant.

        g = grad + weight_decay · p          (-grad to maximize)
        b = momentum · b + (1 - dampening) · g          (the first time: b = g)
        p = p - lr · b          (nesterov: p - lr · (g + momentum · b); no momentum: p - lr · g)

    Raises:
        ValueError: a negative option, or nesterov without momentum or with dampening.

    Source: https://pytorch.org/docs/stable/generated/torch.optim.SGD.html
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        numbers = self._not_negative(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                "nesterov needs a momentum above 0 and dampening 0, "
                f"got momentum {momentum} and dampening {dampening}"
            )
        others = dict(dampening=dampening, nesterov=nesterov, maximize=maximize)
        super().__init__(params, {**numbers, **others})

    def _update(self, p: Array, g: Array, state: State, group: Group, scratch: Scratch) -> None:
        s, momentum, dampening = scratch[1], group["momentum"], group["dampening"]
        if momentum:
            first_time = "momentum_buffer" not in state
            b = buffer(state, "momentum_buffer", p)
            if first_time:
                np.copyto(b, g)
            else:
                np.multiply(b, momentum, out=b)
                np.add(b, np.multiply(g, 1 - dampening, out=s) if dampening else g, out=b)
            if group["nesterov"]:
                np.multiply(b, momentum, out=s)
                g = np.add(s, g, out=s)
            else:
                g = b
        np.multiply(g, group["lr"], out=s)
        np.subtract(p, s, out=p)
