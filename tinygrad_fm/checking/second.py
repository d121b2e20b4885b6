"""`gradgradcheck`: are the second derivatives, by differentiating a backward, right?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from tinygrad_fm.autograd import enable_grad, is_grad_enabled
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.autograd.transform import gradients
from tinygrad_fm.checking.check import GradcheckReport, gradcheck
from tinygrad_fm.checking.subject import Subject
from tinygrad_fm.creation import cat
from tinygrad_fm.nn import Module


def gradgradcheck(
    fn: Callable[..., Tensor] | Module,
    inputs: Any,
    *,
    loss: Callable[[Tensor], Tensor] | None = None,
    method: str = "auto",
    seed: int = 0,
    raise_exception: bool = True,
) -> GradcheckReport:
    """`gradcheck` of the gradients: of (inputs, g) ↦ ∂⟨g, output⟩/∂(inputs and parameters).

    The derivatives of the gradients come from `grad(create_graph=True)`; what they are compared
    with are steps of the gradients themselves, computed on arrays by `backward`.

    Args:
        fn, inputs, loss, method, raise_exception: as `gradcheck` has them.
        seed: of a random g, too. In the report it is the input after the last.

    Raises:
        GradcheckError: naming the input, the index, both values and the error.
        ValueError: as `gradcheck` does.
        RuntimeError: if an operation has no second derivative.

    Examples:
        >>> import numpy as np
        >>> from tinygrad_fm import gradgradcheck
        >>> bool(gradgradcheck(lambda x: x.tanh() ** 2, np.linspace(-1, 1, 5)))
        True
    """
    inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    shape = Subject(fn, inputs, loss).output({}).shape
    g = np.random.default_rng(seed).standard_normal(shape)
    twice = _Gradient(fn, loss) if isinstance(fn, Module) else partial(_gradient, fn, loss, ())
    return gradcheck(twice, [*inputs, g], method=method, seed=seed, raise_exception=raise_exception)


class _Gradient(Module):
    """The gradients of a module, as a module with the same parameters."""

    def __init__(self, model: Module, loss: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, *inputs: Tensor) -> Tensor:
        return _gradient(self.model, self.loss, tuple(self.parameters()), *inputs)


def _gradient(
    fn: Callable[..., Tensor],
    loss: Callable[[Tensor], Tensor] | None,
    parameters: Sequence[Tensor],
    *inputs: Tensor,
) -> Tensor:
    """All gradients of ⟨g, fn(inputs)⟩ in one row; g is the last input."""
    *given, g = inputs
    recorded = is_grad_enabled()
    with enable_grad():
        y = fn(*given) if loss is None else loss(fn(*given))
        wanted = [x for x in (*given, *parameters) if x.requires_grad]
        found = gradients([y], wanted, [g], create_graph=recorded)
        return cat([each.reshape(-1) for each in found])
