"""Jacobians, Hessians and their products with vectors: `torch.autograd.functional`.

A Hessian is the Jacobian of the gradient.

`inputs` and what `func` returns are a tensor or a tuple of them (or nested further, also in lists
and dicts); results are nested likewise.
"""

from __future__ import annotations

from typing import Any

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.autograd.transform import Call, Func, leaves

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def vjp(
    func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
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
    call = _call(func, inputs, create_graph, strict)
    return call.outside(call.output), call.vjp(v)


def jvp(
    func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """`func(*inputs)` and J·v; v is nested and shaped as `inputs`, the rest as in `vjp`."""
    call = _call(func, inputs, create_graph, strict)
    return call.outside(call.output), call.jvp(v)


def jacobian(func: Func, inputs: Any, create_graph: bool = False, strict: bool = False) -> Any:
    """J: for each output and each input ∂output/∂input, of shape (*output.shape, *input.shape).

    Row by row: as many walks as the outputs have elements. Arguments and errors as in `vjp`.
    """
    return _call(func, inputs, create_graph, strict).jacobian()


def hessian(func: Func, inputs: Any, create_graph: bool = False, strict: bool = False) -> Any:
    """∂²L/∂(inputᵢ)∂(inputⱼ), of shape (*inputᵢ.shape, *inputⱼ.shape), of a `func` that returns L.

    L is a single element. Arguments and errors as in `vjp`.
    """
    return _of_gradient(func, inputs, create_graph, strict).jacobian()


def hvp(
    func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """L = `func(*inputs)`, a single element, and H·v; v as in `jvp`, H as in `hessian`.

    H is symmetric, so `vhp` gives the same numbers in less time.
    """
    call = _of_gradient(func, inputs, create_graph, strict)
    return call.outside(call.aux), call.jvp(v)


def vhp(
    func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """L = `func(*inputs)`, a single element, and vᵀH: the derivative of ⟨v, gradient of L⟩."""
    call = _of_gradient(func, inputs, create_graph, strict)
    return call.outside(call.aux), call.vjp(v)


def _call(func: Func, inputs: Any, create_graph: bool, strict: bool, has_aux: bool = False) -> Call:
    several = isinstance(inputs, (tuple, list))
    args = tuple(inputs) if several else (inputs,)
    argnums = tuple(range(len(args))) if several else 0
    return Call(func, args, {}, argnums, has_aux, create_graph, strict)


def _of_gradient(func: Func, inputs: Any, create_graph: bool, strict: bool) -> Call:
    """A call of the gradient of `func`, nested as `inputs`, with L as aux."""

    def gradient(*xs: Any) -> Any:
        call = _call(func, xs if isinstance(inputs, (tuple, list)) else xs[0], True, strict)
        y = call.output
        if not isinstance(y, Tensor) or y.numel() != 1:
            shapes = [x.shape for x in leaves(y, "outputs")]
            raise RuntimeError(f"a Hessian is that of a single element, got outputs of {shapes}")
        return call.vjp(), y

    return _call(gradient, inputs, create_graph, strict, has_aux=True)
