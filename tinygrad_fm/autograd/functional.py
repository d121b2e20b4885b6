"""Jacobians, Hessians and their products with vectors: `torch.autograd.functional`.

Everything is built on `grad`. A reverse walk gives vᵀJ; J·v is the derivative of u ↦ uᵀJ along v,
so that it takes two of them and no second engine. A Hessian is the Jacobian of the gradient.

`inputs` and what `func` returns are a tensor or a tuple of them; results are nested likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from tinygrad_fm.autograd.engine import grad
from tinygrad_fm.autograd.mode import enable_grad
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.creation import stack

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Func = Callable[..., Any]
Tensors = Tensor | Sequence[Tensor]


@enable_grad
def vjp(
    func: Func, inputs: Tensors, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """`func(*inputs)` and vᵀJ, J being the Jacobian of `func` at `inputs`.

    Args:
        func: a function of tensors that returns a tensor or a tuple of tensors.
        inputs: a tensor, or a tuple of tensors.
        v: nested and shaped as the outputs; it may be left out for a single element.
        create_graph: record how the results are computed, so that they can be differentiated.
        strict: raise for an output that depends on no input, or an input on which no output
            depends, rather than give zeros.

    Raises:
        RuntimeError: if v does not fit, or for what `strict` forbids.
        TypeError: if inputs or outputs are not tensors.
    """
    call = _Call(func, inputs, create_graph, strict)
    found = call.derivative(call.outputs, call.like(v, call.outputs, "outputs"))
    return call.result(call.outputs, call.plain_outputs), call.result(found, call.plain_inputs)


@enable_grad
def jvp(
    func: Func, inputs: Tensors, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """`func(*inputs)` and J·v; v is nested and shaped as `inputs`, the rest as in `vjp`."""
    call = _Call(func, inputs, create_graph, strict)
    v = call.like(v, call.inputs, "inputs")
    u = tuple(Tensor(np.zeros_like(y.data), requires_grad=True) for y in call.outputs)
    rows = call.derivative(call.outputs, u, create_graph=True)  # uᵀJ, linear in u
    found = call.derivative(rows, v, by=u)
    return call.result(call.outputs, call.plain_outputs), call.result(found, call.plain_outputs)


@enable_grad
def jacobian(func: Func, inputs: Tensors, create_graph: bool = False, strict: bool = False) -> Any:
    """J: for each output and each input ∂output/∂input, of shape (*output.shape, *input.shape).

    Row by row: as many walks as the outputs have elements. Arguments and errors as in `vjp`.
    """
    call = _Call(func, inputs, create_graph, strict)
    jacobians = []
    for y in call.outputs:
        blocks = jacobian_of(y, call.inputs, partial(call.derivative, [y]))
        jacobians.append(call.result(blocks, call.plain_inputs))
    return jacobians[0] if call.plain_outputs else tuple(jacobians)


@enable_grad
def hessian(func: Func, inputs: Tensors, create_graph: bool = False, strict: bool = False) -> Any:
    """∂²L/∂(inputᵢ)∂(inputⱼ), of shape (*inputᵢ.shape, *inputⱼ.shape), of a `func` that returns L.

    L is a single element. Arguments and errors as in `vjp`.
    """
    return jacobian(_gradient(func, inputs, strict), inputs, create_graph, strict)


@enable_grad
def hvp(
    func: Func, inputs: Tensors, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """L = `func(*inputs)`, a single element, and H·v; v as in `jvp`, H as in `hessian`.

    H is symmetric, so `vhp` gives the same numbers in less time.
    """
    return _of_hessian(jvp, func, inputs, v, create_graph, strict)


@enable_grad
def vhp(
    func: Func, inputs: Tensors, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """L = `func(*inputs)`, a single element, and vᵀH: the derivative of ⟨v, gradient of L⟩."""
    return _of_hessian(vjp, func, inputs, v, create_graph, strict)


def _of_hessian(
    product: Func, func: Func, inputs: Tensors, v: Any, create_graph: bool, strict: bool
) -> tuple[Any, Any]:
    """`product` of the gradient's Jacobian, and L."""
    values: list[Tensor] = []
    gradient = _gradient(func, inputs, strict, values)
    _, found = product(gradient, inputs, v, create_graph, strict)
    return values[0] if create_graph else values[0].detach(), found


def _gradient(
    func: Func, inputs: Tensors, strict: bool, values: list[Tensor] | None = None
) -> Func:
    """The gradient of `func`, nested as `inputs`, as a function; L is put into `values`."""

    def gradient(*xs: Tensor) -> Any:
        call = _Call(func, xs, True, strict)
        (y,) = call.outputs if call.plain_outputs else (None,)
        if y is None or y.numel() != 1:
            shapes = [tuple(y.shape) for y in call.outputs]
            raise RuntimeError(f"a Hessian is that of a single element, got outputs of {shapes}")
        if values is not None:
            values.append(y)
        ones = (Tensor(np.ones_like(y.data)),)
        return call.result(call.derivative((y,), ones), isinstance(inputs, Tensor))

    return gradient


class _Call:
    """One call of `func`, recorded from inputs of its own."""

    def __init__(self, func: Func, inputs: Tensors, create_graph: bool, strict: bool) -> None:
        self.create_graph, self.strict = create_graph, strict
        given, self.plain_inputs = _tensors(inputs, "inputs")
        # Views: one input may have been computed from another, and must not lead to it here.
        self.inputs = tuple(
            x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_()
            for x in given
        )
        self.outputs, self.plain_outputs = _tensors(func(*self.inputs), "outputs of func")

    def like(self, v: Any, wanted: tuple[Tensor, ...], what: str) -> tuple[Tensor, ...]:
        """v as tensors of the shapes of `wanted`."""
        if v is None:
            if len(wanted) != 1 or wanted[0].numel() != 1:
                raise RuntimeError(f"v can be left out only if the {what} are a single element")
            return (Tensor(np.ones_like(wanted[0].data)),)
        v, _ = _tensors(v, "v")
        if [x.shape for x in v] != [x.shape for x in wanted]:
            raise RuntimeError(
                f"v has the shapes {[x.shape for x in v]}, but the {what} have "
                f"{[x.shape for x in wanted]}"
            )
        return v

    def derivative(
        self,
        outputs: Sequence[Tensor],
        upstream: Sequence[Tensor],
        by: Sequence[Tensor] | None = None,
        create_graph: bool | None = None,
    ) -> list[Tensor]:
        """∂⟨upstream, outputs⟩/∂(each of `by`), by default the inputs."""
        by = self.inputs if by is None else by
        create_graph = self.create_graph if create_graph is None else create_graph
        return gradients(outputs, by, upstream, create_graph, self.strict)

    def result(self, tensors: Sequence[Tensor], plain: bool) -> Any:
        """What is returned: one tensor or a tuple, detached unless a graph is wanted."""
        given = tuple(t if self.create_graph else t.detach() for t in tensors)
        return given[0] if plain else given


def gradients(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    upstream: Sequence[Tensor],
    create_graph: bool,
    strict: bool = False,
) -> list[Tensor]:
    """`grad` that keeps the graph, and gives zeros (unless `strict`) where there is no way."""
    reached = [(y, u) for y, u in zip(outputs, upstream, strict=True) if y.requires_grad]
    if strict and len(reached) < len(outputs):
        raise RuntimeError("an output of the function depends on no input (strict=True)")
    found: Sequence[Tensor | None] = [None] * len(inputs)
    if reached:
        ys, us = zip(*reached, strict=True)
        found = grad(ys, inputs, us, True, create_graph, allow_unused=True)
    if strict and any(g is None for g in found):
        raise RuntimeError("the function does not depend on one of its inputs (strict=True)")
    return [
        Tensor(np.zeros_like(x.data)) if g is None else g
        for g, x in zip(found, inputs, strict=True)
    ]


def jacobian_of(
    y: Tensor, inputs: Sequence[Tensor], row: Callable[[list[Tensor]], list[Tensor]]
) -> list[Tensor]:
    """∂y/∂(each input), from `row`([u]): the derivatives of ⟨u, y⟩."""
    units = np.eye(y.numel(), dtype=y.dtype).reshape(y.numel(), *y.shape)
    rows = [row([Tensor(unit)]) for unit in units]
    if not rows:
        return [Tensor(np.zeros((*y.shape, *x.shape), x.dtype)) for x in inputs]
    return [
        stack([each[i] for each in rows]).reshape(*y.shape, *x.shape) for i, x in enumerate(inputs)
    ]


def _tensors(given: Any, what: str) -> tuple[tuple[Tensor, ...], bool]:
    """A tuple of tensors, and whether it is one tensor alone.

    Raises:
        TypeError: for anything but a tensor, or a tuple or list of tensors.
    """
    if isinstance(given, Tensor):
        return (given,), True
    if isinstance(given, (tuple, list)) and given and all(isinstance(x, Tensor) for x in given):
        return tuple(given), False
    kind = type(given).__name__
    raise TypeError(f"the {what} are a tensor or a tuple of tensors, got {kind}: {given!r:.80}")
