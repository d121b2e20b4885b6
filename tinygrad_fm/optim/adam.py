"""Adam and AdamW."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_fm.optim.optimizer import Array, Group, Optimizer, Params, Scratch, State, buffer


class Adam(Optimizer):
    """Adam: steps scaled by running means of the gradient and of its square.

        g = grad + weight_decay · p          (-grad to maximize)
        m = beta1 · m + (1 - beta1) · g
        v = beta2 · v + (1 - beta2) · g²
        p = p - lr · m̂ / (sqrt(v̂) + eps)          with m̂ = m / (1 - beta1^t), v̂ = v / (1 - beta2^t)

    amsgrad takes the largest v so far. decoupled_weight_decay shrinks p by lr · weight_decay · p
    before the step instead of adding to the gradient (see AdamW). Computed in the order that the
    paper gives at the end of its section 2, which saves a pass over the array:

        p = p - (lr · c / (1 - beta1^t)) · m / (sqrt(v) + c · eps)          c = sqrt(1 - beta2^t)

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).

    Sources: Kingma and Ba, https://arxiv.org/abs/1412.6980; Reddi et al. (amsgrad),
    https://openreview.net/forum?id=ryQu7f-RZ;
    https://pytorch.org/docs/stable/generated/torch.optim.Adam.html
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        numbers = self._not_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        for i, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta at index {i}: {beta}; expected 0 <= beta < 1")
        flags = dict(amsgrad=amsgrad, maximize=maximize)
        flags["decoupled_weight_decay"] = decoupled_weight_decay
        super().__init__(params, {"lr": lr, "betas": betas, **numbers, **flags})

    def _update(self, p: Array, g: Array, state: State, group: Group, scratch: Scratch) -> None:
        lr, (beta1, beta2), t = group["lr"], group["betas"], state["step"]
        s = scratch[1]
        m = self._mean(state, "exp_avg", p, g, beta1, s)
        v = self._mean(state, "exp_avg_sq", p, np.multiply(g, g, out=s), beta2, s)
        if group["amsgrad"]:
            largest = buffer(state, "max_exp_avg_sq", p)
            v = np.maximum(largest, v, out=largest)

        c = math.sqrt(1 - beta2**t)
        np.sqrt(v, out=s)
        np.add(s, c * group["eps"], out=s)
        np.divide(m, s, out=s)
        np.multiply(s, lr * c / (1 - beta1**t), out=s)
        np.subtract(p, s, out=p)


class AdamW(Adam):
    """Adam with decoupled weight decay: p = p - lr · weight_decay · p, then Adam's step without it.

    The decay is then the same for all parameters; Adam would divide it by sqrt(v̂) too.

    Sources: Loshchilov and Hutter, https://arxiv.org/abs/1711.05101;
    https://pytorch.org/docs/stable/generated/torch.optim.AdamW.html
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        flags = dict(maximize=maximize, decoupled_weight_decay=True)
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **flags)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `Optimizer.load_state_dict`; the decay stays decoupled even if Adam's is loaded."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
