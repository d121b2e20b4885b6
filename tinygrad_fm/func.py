"""Functions of functions: `torch.func`.

`grad(f)` is a function, so that `grad(grad(f))` is one too. Each call records f from variables of
its own. What it returns keeps a graph only if something outside can be differentiated by it: an
outer transform, or a tensor that requires a gradient and is used by f.

Arguments to differentiate by, and what f returns, may be nested in tuples, lists and dicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

from tinygrad_fm.autograd.mode import Watching
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.autograd.transform import Argnums, Call, Func
from tinygrad_fm.creation import ones_like
from tinygrad_fm.nn import Module

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
        call = Call(func, args, kwargs, argnums, has_aux)
        y = call.output
        if not isinstance(y, Tensor) or y.ndim:
            got = f"shape {y.shape}" if isinstance(y, Tensor) else type(y).__name__
            raise RuntimeError(f"grad needs a function that returns a number, got {got}")
        value = call.with_aux(call.outside(call.output))
        return call.vjp(ones_like(y)), value if has_aux else value[0]

    return both


def vjp(func: Func, *primals: Any, has_aux: bool = False) -> tuple:
    """(output, back) or (output, back, aux): back(v) is vᵀJ, one entry for each of `primals`.

    v is nested as the output; `back` can be called as often as wanted.
    """
    call = Call(func, primals, {}, tuple(range(len(primals))), has_aux)
    return call.with_aux(call.outside(call.output), call.vjp)


def jvp(func: Func, primals: tuple, tangents: tuple, *, has_aux: bool = False) -> tuple:
    """(output, J·v) or (output, J·v, aux), with v = `tangents` nested as `primals`.

    Raises:
        RuntimeError: if the tangents do not have the primals' shapes.
    """
    call = Call(func, primals, {}, tuple(range(len(primals))), has_aux)
    return call.with_aux(call.outside(call.output), call.jvp(tangents))


def jacrev(func: Func, argnums: Argnums = 0, has_aux: bool = False) -> Func:
    """The Jacobian of `func` by its arguments `argnums`: ∂output/∂argument for each of both.

    Of shape (*output.shape, *argument.shape), nested as the output and within as the argument.
    Row by row: as many walks back as the output has elements.
    """

    @wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        call = Call(func, args, kwargs, argnums, has_aux)
        found = call.with_aux(call.jacobian())
        return found if has_aux else found[0]

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
    with _swapped(module, given, strict), Watching(lambda outer: outer):  # a plan has its own
        return module(*(args if isinstance(args, tuple) else (args,)), **(kwargs or {}))


@contextmanager
def _swapped(module: Module, given: Mapping[str, Tensor], strict: bool) -> Iterator[None]:
    before = {
        f"{path}.{name}" if path else name: (registry, name, tensor)
        for path, owner in module.named_modules(remove_duplicate=False)
        for registry in (owner._parameters, owner._buffers)
        for name, tensor in registry.items()
    }
    unknown, missing = [n for n in given if n not in before], [n for n in before if n not in given]
    if unknown or (strict and missing):
        raise ValueError(
            f"these names do not fit {type(module).__name__}: unknown {unknown}"
            + f", missing {missing}" * strict
        )
    new: dict[int, Tensor] = {}
    for name, tensor in given.items():
        if new.setdefault(id(before[name][-1]), tensor) is not tensor:
            raise ValueError(f"{name!r} shares its tensor with another name, which got another one")
    try:
        for registry, key, tensor in before.values():
            registry[key] = new.get(id(tensor), tensor)
        yield
    finally:
        for registry, key, tensor in before.values():
            registry[key] = tensor
