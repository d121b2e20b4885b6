"""Chains of elementwise operations, carried out in pieces that fit a core's cache.

What flows from one operation of a chain to the next does not get to memory: a piece of all inputs
goes through the whole chain before the next one. Backward computes such values again where that is
as cheap as keeping them. The formulas are those of the operations (`ops/elementwise.py`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_fm.ops.dropout import KeepMask
from tinygrad_fm.ops.elementwise import Elementwise, passed_on, slopes_of
from tinygrad_fm.ops.fast.chunks import even_chunks
from tinygrad_fm.ops.fast.layout import LARGE
from tinygrad_fm.ops.fast.parallel import parallel_for
from tinygrad_fm.ops.function import Array, Function, unbroadcast
from tinygrad_fm.plan.build import Builder, Kernel
from tinygrad_fm.plan.replay import Registers
from tinygrad_fm.plan.trace import Node, Trace

PIECE = LARGE  # numbers; with fewer, threads wait longer for Python than NumPy runs without it


class Chain(Function):
    """Elementwise operations, `parts`, whose results but the last nobody else reads."""

    @classmethod
    def of(cls, *inputs: Any, parts: Sequence[Node]) -> Any:
        values = dict(zip(_inputs_of(parts), inputs, strict=True))
        for operation, operands, options, y in parts:
            values[y] = operation.of(*(values[x] for x in operands), **options)
        return values[parts[-1].output]


def _inputs_of(parts: Sequence[Node]) -> tuple[int, ...]:
    """The values that a chain has from elsewhere."""
    made = {part.output for part in parts}
    return tuple(dict.fromkeys(x for part in parts for x in part.inputs if x not in made))


def is_link(trace: Trace, node: Node) -> bool:
    """Whether a node can be part of a chain: formulas on real numbers of one dtype."""
    if not issubclass(node.operation, Elementwise):
        return False
    dtype = trace.specs[node.output].dtype
    pairs = zip(node.inputs, slopes_of(node.operation), strict=True)
    return dtype.kind == "f" and all(s is None or trace.specs[x].dtype == dtype for x, s in pairs)


def with_chains(trace: Trace) -> Trace:
    """The same trace with elementwise operations of one shape taken together.

    A chain is built from its end: an operation belongs to it if all that reads its result does.
    """
    trace = replace(trace, nodes=_masks_first(trace))
    nodes: list[Node | None] = [*trace.nodes]
    moved = {v for node in trace.nodes for v in node.operation.moved(node.inputs, **node.options)}
    readers: dict[int, set[int]] = {v: {len(nodes)} for v in trace.outputs}
    for i, node in enumerate(trace.nodes):
        for x in node.inputs:
            readers.setdefault(x, set()).add(i)

    def fits(node: Node | None) -> bool:  # what moves is not read later than it was
        still = node and all(trace.shared.get(x, x) not in moved for x in node.inputs)
        return bool(node and still and is_link(trace, node))

    for end, last in reversed([*enumerate(trace.nodes)]):
        if nodes[end] is not last or not fits(last):
            continue
        shape, chain = trace.specs[last.output].shape, {end: last}
        for i, node in reversed([*enumerate(trace.nodes[:end])]):
            inside = readers.get(node.output, {-1}) <= chain.keys() and fits(nodes[i])
            if inside and trace.specs[node.output].shape == shape:
                chain[i] = node
                nodes[i] = None
        if len(chain) > 1:
            parts = tuple(chain[i] for i in sorted(chain))
            nodes[end] = Node(Chain, _inputs_of(parts), {"parts": parts}, last.output)
    return replace(trace, nodes=[node for node in nodes if node is not None])


def _masks_first(trace: Trace) -> list[Node]:
    """The nodes with masks for dropout made in the likeness of what goes into the operations before
    it: they are drawn in the same order, and what lies between need not get to memory."""
    likeness: dict[int, int] = {}
    nodes = []
    for node in trace.nodes:
        if node.operation is KeepMask:
            (x,) = node.inputs
            node = node._replace(inputs=(likeness.get(x, x),))
        elif is_link(trace, node):
            mine = trace.specs[node.output]
            alike = [likeness.get(x, x) for x in node.inputs if trace.specs[x] == mine]
            likeness[node.output] = alike[0] if alike else node.output
        nodes.append(node)
    return nodes


# ------------------------------------------------------------------------------ formulas in a row


class Step(NamedTuple):
    """values[output] = formula(*values[inputs])."""

    formula: Callable[..., Any]
    inputs: Sequence[int]
    output: int
    out: bool  # whether the formula can write into an array


Targets = Sequence[tuple[int, Any]]


def step(formula: Callable[..., Any], inputs: Sequence[int], output: int) -> Step:
    out = isinstance(formula, np.ufunc) or "out" in inspect.signature(formula).parameters
    return Step(formula, inputs, output, out)


def carry_out(steps: Sequence[Step], values: dict[int, Any], targets: Targets) -> None:
    """Carry out steps on values, and write those that have a target into it."""
    direct = dict(targets)
    for formula, inputs, output, out in steps:
        arrays = [values[i] for i in inputs]
        if out and output in direct:
            values[output] = formula(*arrays, out=direct[output])
        else:
            values[output] = formula(*arrays)
    for i, target in targets:
        if values[i] is not target:
            target[...] = values[i]


def cut(shape: Sequence[int]) -> list[tuple[slice, ...]]:
    """Pieces of up to `PIECE` numbers, one behind the other."""
    rest = math.prod(shape[1:])
    if rest <= PIECE:
        return [(rows,) for rows in even_chunks(shape[0], PIECE // rest)]
    return [(slice(i, i + 1), *more) for i in range(shape[0]) for more in cut(shape[1:])]


G = -1  # the number of the output's gradient; those that come from it follow downwards


class Chained(Kernel):
    """A chain, or an elementwise operation by itself."""

    def __init__(self, plan: Builder, node: Node) -> None:
        super().__init__(plan, node)
        self.parts: Sequence[Node] = node.options["parts"] if node.operation is Chain else [node]
        self.grads: dict[int, int] = {}  # of an input -> the number of its gradient
        self.steps: list[Step] = []  # of backward
        self.keeps: list[int] = []  # values within the chain that backward finds in memory
        self.reads: list[int] = []  # all that it finds there
        if node.output in plan.wants:
            self._differentiate()

    def _differentiate(self) -> None:
        wanted, asked = set(self.plan.wants), set[int]()
        for part in self.parts:
            pairs = zip(part.inputs, slopes_of(part.operation), strict=True)
            if any(slope is not None and x in wanted for x, slope in pairs):
                wanted.add(part.output)
        grads, number = {self.node.output: G}, G
        for part in reversed(self.parts):
            g = grads.pop(part.output, None)
            values = (*part.inputs, part.output)
            for x, slope in zip(part.inputs, slopes_of(part.operation), strict=True):
                if g is None or slope is None or x not in wanted:
                    continue
                dx = g
                if slope.formula is not passed_on:
                    number = dx = number - 1
                    asks = [values[i] for i in slope.asks]
                    asked.update(asks)
                    self.steps.append(step(slope.given({**part.options}), (g, *asks), dx))
                if x in grads:
                    number -= 1
                    self.steps.append(step(np.add, (grads[x], dx), number))
                    dx = number
                grads[x] = dx
        again: list[Node] = []
        for part in reversed(self.parts[:-1]):
            if part.output in asked:
                if part.operation.cheap:
                    again.append(part)
                    asked.remove(part.output)
                    asked.update(part.inputs)
                else:
                    self.keeps.append(part.output)
        self.steps = [*steps_of(again[::-1]), *self.steps]
        self.grads, self.reads = grads, sorted(asked)

    def saved(self) -> Sequence[int]:
        return self.reads

    def forward(self) -> None:
        y = self.plan.output_in(self.node, *self.node.inputs)
        for value in self.keeps:
            self.plan.take(value)
        targets = [(v, v) for v in (y, *self.keeps)]
        self._add(steps_of(self.parts), [(x, x) for x in self.node.inputs], targets)

    def backward(self, dy: int) -> None:
        plan, shape, steps = self.plan, self.plan.specs[self.node.output].shape, self.steps
        whole = {x: i for x, i in self.grads.items() if plan.specs[x].shape == shape}
        sums = [(i, plan.gradient(x), x) for x, i in self.grads.items() if x not in whole]
        for x, i in whole.items():
            if i == G:
                plan.pass_on(dy, x)
        over = plan.may_write(dy) and all(i != G for i, *_ in sums)
        targets = []
        for x, i in whole.items():
            if i == G:
                continue
            if over and x not in plan.grads and x not in plan.given:
                over = False  # what else is made of r[dy] is there before it is written over
                steps = [s._replace(out=s.out and (s.output != i or s is steps[-1])) for s in steps]
                targets.append((i, dy, x))
            else:
                targets.append((i, plan.gradient(x), x))
        if sums or targets:
            reads = [(G, dy), *((v, v) for v in self.reads)]
            self._add(steps, reads, [t[:2] for t in targets], [s[:2] for s in sums])
        for _, register, x in (*sums, *targets):
            if register == dy:
                plan.pass_on(dy, x)
            else:
                plan.arrived(x, register)

    def _add(self, steps: list[Step], reads: Targets, targets: Targets, sums: Targets = ()) -> None:
        """Add a call that carries out steps on registers, each given with the value's number; into
        those of `sums` goes what is left of a value when it is summed up."""
        specs, (shape, _, order) = self.plan.specs, self.plan.specs[self.node.output]
        if math.prod(shape) <= PIECE:

            def run(r: Registers) -> None:
                values = {i: r[register] for i, register in reads}
                carry_out(steps, values, [(i, r[register]) for i, register in targets])
                for i, register in sums:
                    r[register][...] = unbroadcast(values[i], r[register].shape)

            self.plan.add(run)
            return
        pieces = cut([shape[i] for i in order])
        places: dict[int, list[tuple[slice, ...]]] = {}  # of a register, in each piece
        for _, register in (*reads, *targets, *sums):
            lengths = _in_order(specs[register].shape, order)
            pairs = [zip(piece, lengths, strict=False) for piece in pieces]
            places[register] = [tuple(s if n > 1 else slice(1) for s, n in p) for p in pairs]

        def run_in_pieces(r: Registers) -> None:
            handling = np.geterr()  # the caller's, which another thread does not have
            arrays = {i: _laid(r[i], order) for i in places}
            parts: dict[int, list[Any]] = {i: [None] * len(pieces) for _, i in sums}

            def body(k: int) -> None:
                here = {i: array[places[i][k]] for i, array in arrays.items()}
                with np.errstate(**handling):
                    values = {i: here[register] for i, register in reads}
                    carry_out(steps, values, [(i, here[register]) for i, register in targets])
                    for i, register in sums:
                        parts[register][k] = unbroadcast(values[i], here[register].shape)

            parallel_for(body, len(pieces))
            for i, found in parts.items():
                arrays[i][...] = 0
                for place, part in zip(places[i], found, strict=True):
                    arrays[i][place] += part

        self.plan.add(run_in_pieces)


def steps_of(parts: Sequence[Node]) -> list[Step]:
    """The functions of a chain."""
    found = []
    for operation, inputs, options, y in parts:
        function = operation.function  # type: ignore[attr-defined]
        found.append(step(partial(function, **options) if options else function, inputs, y))
    return found


def _in_order(shape: Sequence[int], order: Sequence[int]) -> list[int]:
    """A shape's axes in an order, as many as there are in that."""
    return [(*(1,) * (len(order) - len(shape)), *shape)[i] for i in order]


def _laid(array: Array, order: Sequence[int]) -> Array:
    return array.reshape((1,) * (len(order) - array.ndim) + array.shape).transpose(order)
