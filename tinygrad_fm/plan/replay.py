"""A plan, ready to be replayed: flat lists of calls, and the registers that they work on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from tinygrad_fm.ops.elementwise import Clone
from tinygrad_fm.ops.fast.memory import empty_in, parts_of
from tinygrad_fm.ops.function import Array
from tinygrad_fm.plan.trace import Detach, Spec, Trace

Registers = list[Any]
Call = Callable[[Registers], Any]


class Life(NamedTuple):
    """An array in the arena: whose it is, where it lies (bytes), and from which call to which."""

    operation: str
    place: slice
    begun: int
    ended: int


@dataclass(eq=False)
class Plan:
    """The calls of one trace. Each reads registers `r[number]` and writes into their arrays, or
    puts a new array into one.

    Attributes:
        given: values that the caller brings.
        r: registers: first one for each value, then those of gradients and working memory.
        fresh: values that get new memory in each forward pass, because the caller keeps them.
        roots: outputs that the caller brings gradients of.
        start: of a root -> where the caller's gradient of it is put.
        gradients: for each of `given` the register of its gradient, or None.
        handed_out: of these, the ones whose arrays the plan brings, with what they are.
        nbytes: of the arena, which all other arrays lie in.
        lives: of the arrays in it.
        notes: of each call, forward and backward: the operation, its output's shape, and where in
            the arena that lies (None: elsewhere).
    """

    trace: Trace
    specs: list[Spec]
    given: list[int]
    r: Registers
    forward_calls: list[Call]
    backward_calls: list[Call]
    fresh: list[int]
    roots: list[int]
    start: dict[int, int]
    gradients: list[int | None]
    handed_out: dict[int, Spec]
    nbytes: int
    lives: list[Life]
    notes: list[tuple[str, tuple[int, ...], slice | None]]

    def __post_init__(self) -> None:
        nodes = self.trace.nodes
        self.moved = {v for n in nodes for v in n.operation.moved(n.inputs, **n.options)}
        self.arrays = new_arrays(self.handed_out.values())
        readers: dict[int, set[Any]] = {v: set() for v in self.given}
        for n in nodes:
            for v in readers.keys() & {*n.inputs}:
                readers[v].add(n.operation)
        self.cloned = {v for v in self.given if readers[v] == {Clone}}  # may move afterwards
        outputs = set(self.trace.outputs)
        self.passed = {v: i for i, v in enumerate(self.given) if v in outputs}
        owners = [self.trace.shared.get(v, v) for v in self.trace.outputs]
        self.copied = {
            i
            for i, (v, owner) in enumerate(zip(self.trace.outputs, owners, strict=True))
            if v != owner and (owner in self.given or owners.count(owner) > 1)
        }
        self.empty = [i for i, array in enumerate(self.r) if array is None]  # between calls

    def reached(self, output: int) -> set[int]:
        """The values to which a gradient of an output comes."""
        found = {output}
        for node in reversed(self.trace.nodes):
            if node.output in found and node.operation is not Detach:
                found.update(node.inputs)
        return found

    def forward(self, arrays: Sequence[Array]) -> list[Array]:
        """Carry out the forward pass on the arrays of `given`; the outputs."""
        r = self.r
        for value, array in zip(self.given, arrays, strict=True):
            r[value] = array
        for value in self.fresh:
            spec = self.specs[value]
            r[value] = empty_in(spec.order, spec.shape, spec.dtype)
        for call in self.forward_calls:
            call(r)
        return [r[value] for value in self.trace.outputs]

    def backward(self, grads: Sequence[Array]) -> list[Array | None]:
        """Carry out the backward pass; the gradients of `given`, None where none is wanted."""
        r = self.r
        if any(count > ALONE for count in _references(self.arrays)):  # somebody holds one
            self.arrays = new_arrays(self.handed_out.values())
        for register, array in zip(self.handed_out, self.arrays, strict=True):
            r[register] = array
        for value, grad in zip(self.roots, grads, strict=True):
            if value in self.start:
                r[self.start[value]] = grad
        for call in self.backward_calls:
            call(r)
        return [None if register is None else r[register] for register in self.gradients]

    def watched(self, arrays: Sequence[Array], after: Callable[[int, float], object]) -> None:
        """Carry out both passes on the arrays of `given`; call after(number, seconds) behind each
        call."""

        def watch(call: Call, number: int) -> Call:
            def run(r: Registers) -> None:
                started = perf_counter()
                call(r)
                after(number, perf_counter() - started)

            return run

        calls = [*self.forward_calls, *self.backward_calls]
        calls = [watch(call, number) for number, call in enumerate(calls)]
        middle = len(self.forward_calls)
        twin = replace(self, forward_calls=calls[:middle], backward_calls=calls[middle:])
        outputs = twin.forward(arrays)
        if self.backward_calls:
            twin.backward([np.ones_like(y) for y in outputs[: len(self.roots)]])
        self.clearing([])()

    def clearing(self, pool: list[Plan]) -> Callable[[], object]:
        """A function that lets go of all that a call has brought or computed, and then puts the
        plan into a pool. It is one of C's (see `undo.py`), and can be called once."""
        empty = map(self.r.__setitem__, self.empty, repeat(None))
        return partial(any, chain(empty, map(pool.append, [self])))


def new_arrays(specs: Iterable[Spec]) -> list[Array]:
    """Arrays that belong to who gets them, parts of one array if they can be."""
    specs = list(specs)
    in_order = all(spec.order == tuple(range(len(spec.shape))) for spec in specs)
    if in_order and len({spec.dtype for spec in specs}) == 1:
        return parts_of([spec.shape for spec in specs], specs[0].dtype)
    return [empty_in(spec.order, spec.shape, spec.dtype) for spec in specs]


def _references(arrays: list[Array]) -> list[int]:
    return [sys.getrefcount(array) for array in arrays]


(ALONE,) = _references([np.empty(0)])  # how many an array has that is in a list and nowhere else
