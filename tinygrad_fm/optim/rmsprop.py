"""RMSprop."""

from __future__ import annotations

import numpy as np

from tinygrad_fm.optim.optimizer import Array, Group, Optimizer, Params, Scratch, State, buffer


class RMSprop(Optimizer):
    """RMSprop: the gradient divided by the root of its running mean square.

        g = grad + weight_decay · p          (-grad to maximize)
        v = alpha · v + (1 - alpha) · g²
        a = alpha · a + (1 - alpha) · g          (only if centered)
        d = g / (sqrt(v) + eps)          (centered: sqrt(v - a²), the standard deviation)
        b = momentum · b + d          (without momentum: b = d)
        p = p - lr · b

    Raises:
        ValueError: a negative option.

    Sources: Hinton, Neural Networks for Machine Learning, lecture 6; Graves (centered),
    https://arxiv.org/abs/1308.0850;
    https://pytorch.org/docs/stable/generated/torch.optim.RMSprop.html
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        numbers = self._not_negative(
            lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum
        )
        super().__init__(params, {**numbers, "centered": centered, "maximize": maximize})

    def _update(self, p: Array, g: Array, state: State, group: Group, scratch: Scratch) -> None:
        alpha, s = group["alpha"], scratch[1]
        v = self._mean(state, "square_avg", p, np.multiply(g, g, out=s), alpha, s)
        if group["centered"]:
            a = self._mean(state, "grad_avg", p, g, alpha, s)
            v = np.subtract(v, np.multiply(a, a, out=s), out=s)

        np.sqrt(v, out=s)
        np.add(s, group["eps"], out=s)
        d = np.divide(g, s, out=s)

        if group["momentum"]:
            b = buffer(state, "momentum_buffer", p)
            np.multiply(b, group["momentum"], out=b)
            d = np.add(b, d, out=b)

        np.multiply(d, group["lr"], out=s)
        np.subtract(p, s, out=p)
