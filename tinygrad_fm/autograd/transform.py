"""One call of a function that is to be differentiated: what `functional` and `tg.func` stand on.

A reverse walk gives vᵀJ; J·v is the derivative of u ↦ uᵀJ along v, so that it takes two of them and
no second engine.

Arguments to differentiate by, and what the function returns, may be nested in tuples, lists and
dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_fm.autograd.engine import behind, grad
from tinygrad_fm.autograd.mode import Recording, enable_grad, mode
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.creation import ones_like, stack, zeros_like
from tinygrad_fm.ops.function import Function

Func = Callable[..., Any]
Argnums = int | tuple[int, ...]


class Variable(Tensor):
    """A leaf that a transform differentiates by; `active` as long as its function runs."""

    __slots__ = ("active",)
    active: bool


class Call:
    """One call of a function, recorded from variables of its own.

    Args:
        func, args, kwargs: what is called.
        argnums: which arguments to differentiate by; results are nested as those.
        has_aux: the function returns (output, aux).
        create_graph: whether results keep a graph; None: if something outside may want it, an outer
            transform or a tensor that requires a gradient and is used by the function.
        strict: raise where nothing depends on an input, or an output on none, rather than give
            zeros.

    Attributes:
        variables, outputs: the tensors to differentiate by, and those returned, in a row.
    """

    aux: Any

    def __init__(
        self,
        func: Func,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        argnums: Argnums,
        has_aux: bool = False,
        create_graph: bool | None = None,
        strict: bool = False,
    ) -> None:
        self.single, self.has_aux = isinstance(argnums, int), has_aux
        self.create_graph, self.strict = create_graph, strict
        positions = (argnums,) if isinstance(argnums, int) else argnums
        if not all(-len(args) <= i < len(args) for i in positions):
            raise IndexError(f"argnums={argnums}, but there are {len(args)} positional arguments")
        changed = list(args)
        with enable_grad():
            for i in positions:
                changed[i] = mapped(self._variable, args[i])
            self.arguments = [changed[i] for i in positions]
            self.variables = list(leaves(self.arguments, "inputs"))
            returned = func(*changed, **kwargs)
        for x in self.variables:
            if isinstance(x, Variable):
                x.active = False
        self.output, self.aux = returned if has_aux else (returned, None)
        self.outputs = list(leaves(self.output, "outputs of the function"))
        self.keeps = _reaches(self.outputs) if create_graph is None else create_graph

    def _variable(self, x: Tensor) -> Tensor:
        """x's values: what is outside may differentiate through it by x."""
        if x.requires_grad and self.create_graph is not False:
            # A view: one input may have been computed from another, and must not lead to it here.
            return x.view_as(x)
        variable = Variable(x.data, requires_grad=True)
        variable.active = True
        return variable

    def vjp(self, v: Any = None) -> Any:
        """vᵀJ, nested as the arguments; v as the output, or left out for a single element."""
        us = _like(v, self.outputs, "outputs")
        keep = self._wanted(us)
        return self._nested(gradients(self.outputs, self.variables, us, keep, self.strict))

    def jvp(self, v: Any = None) -> Any:
        """J·v, nested as the output; v as the arguments, or left out for a single element."""
        directions = _like(v, self.variables, "inputs")
        us = [Tensor(np.zeros_like(y.data), requires_grad=True) for y in self.outputs]
        rows = gradients(self.outputs, self.variables, us, True, self.strict)  # uᵀJ, of u
        found = gradients(rows, us, directions, self._wanted(directions), self.strict)
        return _rebuilt(self.output, found)

    def jacobian(self) -> Any:
        """∂output/∂argument for each of both, of shape (*output.shape, *argument.shape).

        Row by row: as many walks back as the outputs have elements.
        """

        def block(y: Tensor) -> Any:
            units = np.eye(y.numel(), dtype=y.dtype).reshape(y.numel(), *y.shape)
            rows = [
                gradients([y], self.variables, [Tensor(u)], self.keeps, self.strict) for u in units
            ]
            if not rows:
                nothing = [np.zeros((*y.shape, *x.shape), x.dtype) for x in self.variables]
                return self._nested(map(Tensor, nothing))
            columns = zip(*rows, strict=True)
            return self._nested(stack(c).reshape(*y.shape, *c[0].shape) for c in columns)

        with Recording(self.keeps):
            return mapped(block, self.output)

    def outside(self, tree: Any) -> Any:
        """What is returned of the call itself: detached unless something outside wants it."""
        return tree if self.keeps else mapped(Tensor.detach, tree)

    def with_aux(self, *results: Any) -> tuple:
        """The results, and aux behind them if there is one."""
        return (*results, self.outside(self.aux)) if self.has_aux else results

    def _wanted(self, upstream: list[Tensor]) -> bool:
        return self.keeps or (self.create_graph is None and _reaches(upstream))

    def _nested(self, tensors: Iterable[Tensor]) -> Any:
        """One tensor for each variable, nested as the arguments."""
        found = _rebuilt(self.arguments, tensors)
        return found[0] if self.single else tuple(found)


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
    if not reached:
        return list(map(zeros_like, inputs))
    ys, us = zip(*reached, strict=True)
    found = grad(ys, inputs, us, True, create_graph, True, materialize_grads=not strict)
    if any(g is None for g in found):
        raise RuntimeError("the function does not depend on one of its inputs (strict=True)")
    return list(found)


def _like(v: Any, wanted: list[Tensor], what: str) -> list[Tensor]:
    """v in a row, of the shapes of `wanted`."""
    if v is None:
        if len(wanted) != 1 or wanted[0].numel() != 1:
            raise RuntimeError(f"v can be left out only if the {what} are a single element")
        return [ones_like(wanted[0])]
    given = list(leaves(v, "v"))
    got, shapes = [x.shape for x in given], [x.shape for x in wanted]
    if got != shapes:
        raise RuntimeError(f"v has the shapes {got}, but the {what} have {shapes}")
    return given


def _reaches(outputs: Iterable[Tensor]) -> bool:
    """Whether someone outside may differentiate the outputs."""
    edges = [y.edge for y in outputs if mode.recording and y.requires_grad]
    found = (edge for edge in behind(edges) if not isinstance(edge, Function))
    return any(not isinstance(leaf, Variable) or leaf.active for leaf in found)


# ------------------------------------------------------------------------------ nested tensors


def leaves(tree: Any, what: str) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dicts.

    Raises:
        TypeError: for anything else among them, with `what` it is about.
    """
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (tuple, list, dict)):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(part, what)
    else:
        raise TypeError(
            f"{what}: expected tensors, nested in tuples, lists or dicts; got {tree!r:.80}"
        )


def mapped(change: Callable[[Tensor], Any], tree: Any) -> Any:
    """The same nest with each tensor changed; what is none of these stays as it is."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: mapped(change, part) for key, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [mapped(change, part) for part in tree]
        return tuple(parts) if isinstance(tree, tuple) else parts
    return tree


def _rebuilt(tree: Any, tensors: Iterable[Tensor]) -> Any:
    """The same nest with other tensors."""
    each = iter(tensors)
    return mapped(lambda _: next(each), tree)
