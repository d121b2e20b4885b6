"""What a traced function does besides operations on tensors: backward, and the optimizer's step.

Such calls are put off while a function is traced. If all else of it can be planned, they are made
in each replay, in their place before or after the plan's own backward pass; if not, they are made
as soon as that is known, and the function goes on as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_fm.autograd.engine import backward, behind
from tinygrad_fm.autograd.mode import running
from tinygrad_fm.autograd.tensor import Tensor

ANY_TIME = ("Optimizer.zero_grad", "Module.zero_grad")


class Effect(NamedTuple):
    """A call that was put off."""

    function: Callable[..., Any]
    arguments: tuple
    options: dict[str, Any]

    def run(self) -> Any:
        return self.function(*self.arguments, **self.options)

    def like(self, other: Effect) -> bool:
        """Whether the other is the same call, on the same objects."""
        return all(map(_alike, self, other))


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, tuple | list) and type(a) is type(b):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    return a is b or (isinstance(a, bool | int | float | str) and type(a) is type(b) and a == b)


_PLAIN = (None, None, False, None)  # how `Tensor.backward` calls it with no arguments


class Later(Tensor):
    """A tensor whose values a call will bring that was put off: whoever reads them, gets them."""

    __slots__ = ("effects", "find")

    def __init__(self, effects: Effects, find: Callable[[], Tensor]) -> None:
        self.effects, self.find = effects, find
        self.grad = self.grad_fn = None
        self._requires_grad = False

    @property
    def data(self) -> np.ndarray:
        self.effects.stop("reads what backward or an optimizer's step brings")
        return self.find().data

    @data.setter
    def data(self, array: np.ndarray) -> None:
        self.find().data = array


class Effects:
    """The calls that were put off, in order.

    Args:
        stop: is told why the function cannot be planned.
        known: tensors that the function may use.
    """

    def __init__(self, stop: Callable[[str], Any], known: Sequence[Tensor]) -> None:
        self.stop = stop
        self.calls: list[Effect] = []
        self.results: list[Any] = []  # of the calls, once they have been made
        self.middle: int | None = None  # which of them is backward
        self.loss: Tensor | None = None  # of which it is called
        self.grads = {id(t): (t, t.grad) for t in known}
        self.held: list[tuple[Tensor, Tensor | None, Later]] = []  # leaves and their gradients
        self.arrived: dict[Tensor, Any] = {}  # the leaves' gradients, after backward
        self.done = False

    @property
    def before(self) -> list[Effect]:
        """The calls before backward."""
        return self.calls[: self.middle]

    @property
    def after(self) -> list[Effect]:
        """The calls behind backward."""
        return [] if self.middle is None else self.calls[self.middle + 1 :]

    def like(self, other: Effects) -> bool:
        """Whether other effects are the same calls in the same places, but for the loss."""
        return all(
            len(mine) == len(theirs) and all(a.like(b) for a, b in zip(mine, theirs, strict=True))
            for mine, theirs in ((self.before, other.before), (self.after, other.after))
        )

    def put_off(self, call: Effect, begun: bool) -> tuple[bool, Any]:
        """Whether a call is put off, and what it returns then.

        Args:
            begun: whether there have been operations.
        """
        if self.done:
            return False, None
        if call.function is backward.__wrapped__:  # type: ignore[attr-defined]
            why = self._backward(*call.arguments, **call.options)
        elif not self.untouched():
            why = "sets a gradient"
        elif begun and self.middle is None and call.function.__qualname__ not in ANY_TIME:
            why = "takes a step between its first operation and backward"
        else:
            why = None
        if why is not None:
            self.stop(why)
            return False, None
        self.calls.append(call)
        number = len(self.calls) - 1
        return True, Later(self, lambda: self.results[number])

    def _backward(self, loss: Any, *others: Any, **options: Any) -> str | None:
        """Take note of the loss; or why that is not planned."""
        if others != _PLAIN or options or not isinstance(loss, Tensor) or loss.data.size != 1:
            return "calls backward with arguments, or of several numbers"
        if self.middle is not None or not loss.requires_grad:
            return "calls backward twice, or without a graph"
        leaves = [edge for edge in behind([loss.edge]) if isinstance(edge, Tensor)]
        if any(t.grad is not self.grads.get(id(t), (t, t.grad))[1] for t in leaves):
            return "sets a gradient"
        self.middle, self.loss = len(self.calls), loss
        for leaf in leaves:
            later = Later(self, partial(self.arrived.__getitem__, leaf))
            self.held.append((leaf, leaf.grad, later))
            leaf.grad = later
        return None

    def untouched(self) -> bool:
        """Whether nobody has set a gradient since backward was put off."""
        return all(leaf.grad is later for leaf, _, later in self.held)

    def settle(self) -> None:
        """Give the leaves the gradients back that they had, and let go of the graph."""
        for leaf, grad, _ in self.held:
            leaf.grad = grad
        self.held, self.loss, self.grads = [], None, {}
        if self.middle is not None:
            self.calls[self.middle] = Effect(backward, (), {})

    def make(self) -> None:
        """Make the calls now, if nobody has: the function is not planned."""
        if self.done:
            return
        self.done = True
        held, calls = self.held, list(self.calls)
        touched = [(leaf, leaf.grad) for leaf, _, later in held if leaf.grad is not later]
        self.settle()
        with running(None):
            for i, call in enumerate(calls):
                self.results.append(call.run())
                if i == self.middle:
                    self.arrived.update((leaf, leaf.grad) for leaf, _, _ in held)
        for leaf, grad in touched:
            leaf.grad = grad

    def now(self, result: Any) -> Any:
        """A function's result, and the leaves' gradients, with nothing that is still to come."""
        for leaf in self.arrived:
            if isinstance(leaf.grad, Later):
                leaf.grad = leaf.grad.find()
        return result.find() if isinstance(result, Later) else result
