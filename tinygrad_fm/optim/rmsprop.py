"""RMSprop."""

from __future__ import annotations

import numpy as np

from tinygrad_fm.optim.optimizer import (
    Group,
    Optimizer,
    Params,
    Scratch,
    State,
    buffer,
    check_not_negative,
    penalized,
    update_mean,
)


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
        check_not_negative(
            lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum
        )
        defaults = dict(
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            maximize=maximize,
        )
        super().__init__(params, defaults)

    def _update(
        self, param: np.ndarray, grad: np.ndarray, state: State, group: Group, scratch: Scratch
    ) -> None:
        alpha = group["alpha"]
        g = penalized(param, grad, group["weight_decay"], group["maximize"], out=scratch[0])
        s = scratch[1]

        v = buffer(state, "square_avg", param)
        update_mean(v, np.multiply(g, g, out=s), alpha, s)
        if group["centered"]:
            a = buffer(state, "grad_avg", param)
            update_mean(a, g, alpha, s)
            v = np.subtract(v, np.multiply(a, a, out=s), out=s)

        np.sqrt(v, out=s)
        np.add(s, group["eps"], out=s)
        d = np.divide(g, s, out=s)

        if group["momentum"]:
            b = buffer(state, "momentum_buffer", param)
            np.multiply(b, group["momentum"], out=b)
            d = np.add(b, d, out=b)

        np.multiply(d, group["lr"], out=s)
        np.subtract(param, s, out=param)
