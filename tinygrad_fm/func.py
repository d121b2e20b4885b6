"""Functions of functions: `torch.func`.

`grad(f)` is a function, so that `grad(grad(f))` is one too. Each call records f from variables of
its own. What it returns keeps a graph only if something outside can be differentiated by it: an
outer transform, or a tensor that requires a gradient and is used by f.

Arguments to differentiate by, and what f returns, may be nested in tuples, lists and dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import numpy as np

from tinygrad_fm.autograd.functional import gradients, jacobian_of
from tinygrad_fm.autograd.mode import enable_grad, mode
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.creation import ones_like
from tinygrad_fm.nn import Module
from tinygrad_fm.ops.function import Function

Func = Callable[..., Any]
Argnums = int | tuple[int, ...]

__all__ = ["functional_call", "grad", "grad_and_value", "hessian", "jacrev", "jvp", "vjp"]


def grad(func: Func, argnums: Argnums = 0, has_aux: bool = False) -> Func:
    """The gradient of `func` by its arguments `argnums`, as a function of the same arguments.

    Args:
        func: returns a number (a tensor of one element without axes); if `has_aux`, and whatever
            else is to be returned beside the gradient.
        argnums: one position, or a tuple of them; the gradient is nested as those arguments.
        has_aux: return (gradient, aux).

    Raises:
        RuntimeError: if `func` returns no number.
        IndexError: if there are fewer arguments.

    Examples:
        >>> import tinygrad_fm as tg
        >>> tg.func.grad(tg.func.grad(lambda x: x**3))(tg.tensor(2.0)).item()
        12.0
    """
    both = grad_and_value(func, argnums, has_aux)

    @wraps(func)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def grad_and_value(func: Func, argnums: Argnums = 0, has_aux: bool = False) -> Func:
    """As `grad`, returning (gradient, value), or (gradient, (value, aux))."""

    @wraps(func)
    def both(*args: Any, **kwargs: Any) -> Any:
        call = _Call(func, args, kwargs, argnums, has_aux)
        y = call.output
        if not isinstance(y, Tensor) or y.ndim:
            got = f"shape {y.shape}" if isinstance(y, Tensor) else type(y).__name__
            raise RuntimeError(f"grad needs a function that returns a number, got {got}")
        found, value = call.derivative([y], [ones_like(y)]), call.outside(y)
        return found, ((value, call.outside(call.aux)) if has_aux else value)

    return both


def vjp(func: Func, *primals: Any, has_aux: bool = False) -> tuple:
    """(output, back) or (output, back, aux): back(v) is vᵀJ, one entry for each of `primals`.

    v is nested as the output; `back` can be called as often as wanted.
    """
    call = _Call(func, primals, {}, tuple(range(len(primals))), has_aux)
    outputs = list(_leaves(call.output))

    def back(v: Any) -> Any:
        return call.derivative(outputs, list(_leaves(v)))

    output = call.outside(call.output)
    return (output, back, call.outside(call.aux)) if has_aux else (output, back)


def jvp(func: Func, primals: tuple, tangents: tuple, *, has_aux: bool = False) -> tuple:
    """(output, J·v) or (output, J·v, aux), with v = `tangents` nested as `primals`.

    The derivative of u ↦ uᵀJ along v: two walks back instead of one forward.
    """
    call = _Call(func, tuple(primals), {}, tuple(range(len(primals))), has_aux)
    directions = list(_leaves(tangents))
    if [v.shape for v in directions] != [x.shape for x in call.variables]:
        raise ValueError(
            f"tangents have the shapes {[v.shape for v in directions]}, "
            f"the primals {[x.shape for x in call.variables]}"
        )
    outputs = list(_leaves(call.output))
    us = [Tensor(np.zeros_like(y.data), requires_grad=True) for y in outputs]
    rows = gradients(outputs, call.variables, us, create_graph=True)
    found = gradients(rows, us, directions, call.keeps or _reaches(directions))
    product = _rebuilt(call.output, iter(found))
    output = call.outside(call.output)
    return (output, product, call.outside(call.aux)) if has_aux else (output, product)


def jacrev(func: Func, argnums: Argnums = 0, has_aux: bool = False) -> Func:
    """The Jacobian of `func` by its arguments `argnums`: ∂output/∂argument for each of both.

    Of shape (*output.shape, *argument.shape), nested as the output and within as the argument.
    Row by row: as many walks back as the output has elements.
    """

    @wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        call = _Call(func, args, kwargs, argnums, has_aux)

        def block(y: Tensor) -> Any:
            row = partial(gradients, [y], call.variables, create_graph=call.keeps)
            return call.nested(jacobian_of(y, call.variables, row))

        found = _mapped(block, call.output)
        return (found, call.outside(call.aux)) if has_aux else found

    return jacobian


def hessian(func: Func, argnums: Argnums = 0) -> Func:
    """The Jacobian of the Jacobian of `func` by its arguments `argnums`."""
    return jacrev(jacrev(func, argnums), argnums)


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    strict: bool = False,
) -> Any:
    """`module(*args, **kwargs)` with other parameters and buffers; the module's own come back.

    Args:
        parameter_and_buffer_dicts: tensors by their names in the module, in one dict or several.
            The rest stays the module's. What is shared is replaced under each of its names.
        args: a tuple of arguments, or the only one.
        strict: every parameter and buffer must be given.

    Raises:
        ValueError: for names the module does not have, or lacks if `strict`, or that stand for one
            shared tensor and are given different ones.

    Examples:
        >>> import tinygrad_fm as tg
        >>> layer = tg.nn.Linear(2, 1)
        >>> new = {"weight": tg.ones(1, 2), "bias": tg.zeros(1)}
        >>> tg.func.functional_call(layer, new, tg.tensor([[3.0, 4.0]])).tolist()
        [[7.0]]
    """
    dicts = parameter_and_buffer_dicts
    pairs = [p for d in ([dicts] if isinstance(dicts, Mapping) else dicts) for p in d.items()]
    given = dict(pairs)
    if len(given) < len(pairs):
        raise ValueError("several dicts were given with a name in common, which is ambiguous")
    with _swapped(module, given, strict):
        return module(*(args if isinstance(args, tuple) else (args,)), **(kwargs or {}))


@contextmanager
def _swapped(module: Module, given: Mapping[str, Tensor], strict: bool) -> Iterator[None]:
    slots = {
        f"{path}.{name}" if path else name: (registry, name)
        for path, owner in module.named_modules(remove_duplicate=False)
        for registry in (owner._parameters, owner._buffers)
        for name in registry
    }
    unknown, missing = [n for n in given if n not in slots], [n for n in slots if n not in given]
    if unknown or (strict and missing):
        raise ValueError(
            f"these names do not fit {type(module).__name__}: unknown {unknown}"
            + f", missing {missing}" * strict
        )
    before = {name: registry[key] for name, (registry, key) in slots.items()}
    new: dict[int, Tensor] = {}
    for name, tensor in given.items():
        if new.setdefault(id(before[name]), tensor) is not tensor:
            raise ValueError(f"{name!r} shares its tensor with another name, which got another one")
    try:
        for name, (registry, key) in slots.items():
            registry[key] = new.get(id(before[name]), before[name])
        yield
    finally:
        for name, (registry, key) in slots.items():
            registry[key] = before[name]


# ------------------------------------------------------------------------------ one call


class Variable(Tensor):
    """A leaf that a transform differentiates by; `active` as long as its function runs."""

    __slots__ = ("active",)
    active: bool

    @staticmethod
    def of(x: Tensor) -> Tensor:
        """A variable with x's values: what is outside may differentiate through it by x."""
        if x.requires_grad:
            return x.view_as(x)
        variable = Variable(x.data, requires_grad=True)
        variable.active = True
        return variable


class _Call:
    """One call of a function, recorded from variables of its own.

    Attributes:
        variables: the tensors to differentiate by.
        keeps: whether results must keep a graph, because something outside may want it.
    """

    def __init__(
        self, func: Func, args: tuple, kwargs: dict, argnums: Argnums, has_aux: bool
    ) -> None:
        self.single = isinstance(argnums, int)
        positions = (argnums,) if isinstance(argnums, int) else argnums
        if not all(-len(args) <= i < len(args) for i in positions):
            raise IndexError(f"argnums={argnums}, but there are {len(args)} positional arguments")
        changed = list(args)
        with enable_grad():
            for i in positions:
                changed[i] = _mapped(Variable.of, args[i])
            self.arguments = [changed[i] for i in positions]
            self.variables = list(_leaves(self.arguments))
            returned = func(*changed, **kwargs)
        for x in self.variables:
            if isinstance(x, Variable):
                x.active = False
        self.output = returned[0] if has_aux else returned
        self.aux = returned[1] if has_aux else None
        self.keeps = _reaches(_leaves(self.output))

    def derivative(self, outputs: list[Tensor], upstream: list[Tensor]) -> Any:
        """∂⟨upstream, outputs⟩/∂(arguments), nested as they are."""
        keeps = self.keeps or _reaches(upstream)
        return self.nested(gradients(outputs, self.variables, upstream, keeps))

    def nested(self, tensors: list[Tensor]) -> Any:
        """One tensor for each variable, nested as the arguments."""
        found = _rebuilt(self.arguments, iter(tensors))
        return found[0] if self.single else tuple(found)

    def outside(self, tree: Any) -> Any:
        """What is returned of the call itself: detached unless something outside wants it."""
        return tree if self.keeps else _mapped(Tensor.detach, tree)


def _reaches(outputs: Iterable[Tensor]) -> bool:
    """Whether someone outside may differentiate the outputs."""
    seen: set[int] = set()
    waiting = [y.edge for y in outputs if mode.recording and y.requires_grad]
    while waiting:
        edge = waiting.pop()
        if id(edge) in seen:
            continue
        seen.add(id(edge))
        if isinstance(edge, Function):
            waiting += [e for e in edge.edges or () if e is not None]
        elif not isinstance(edge, Variable) or edge.active:
            return True
    return False


# ------------------------------------------------------------------------------ nested tensors


def _leaves(tree: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dicts.

    Raises:
        TypeError: for anything else among them.
    """
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (tuple, list, dict)):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(part)
    else:
        raise TypeError(f"expected tensors, nested in tuples, lists or dicts; got {tree!r:.80}")


def _mapped(change: Callable[[Tensor], Any], tree: Any) -> Any:
    """The same nest with each tensor changed; what is none of these stays as it is."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: _mapped(change, part) for key, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [_mapped(change, part) for part in tree]
        return tuple(parts) if isinstance(tree, tuple) else parts
    return tree


def _rebuilt(tree: Any, tensors: Iterator[Tensor]) -> Any:
    """The same nest with other tensors."""
    return _mapped(lambda _: next(tensors), tree)
