"""How operations are carried out in a plan: on memory that is there already.

Each kernel is the planned form of an operation of `ops/`, which is its readable twin and has the
formulas. What has no kernel here runs as it is (`Generic`), on memory of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_fm import ops
from tinygrad_fm.ops.conv import PLAIN
from tinygrad_fm.ops.dropout import KeepMask, draw
from tinygrad_fm.ops.fast.memory import copy_of
from tinygrad_fm.ops.function import Function
from tinygrad_fm.ops.matmul import SERIAL, product
from tinygrad_fm.plan.build import Builder, Kernel
from tinygrad_fm.plan.chains import Chain, Chained, is_link
from tinygrad_fm.plan.fuse import FoldedBias, FoldedWeight
from tinygrad_fm.plan.replay import Registers
from tinygrad_fm.plan.single import OneImage
from tinygrad_fm.plan.trace import Node, Trace


class Generic(Kernel):
    """Any operation, by its own forward and backward."""

    def saved(self) -> Sequence[int]:
        return (*self.node.inputs, self.node.output)

    def forward(self) -> None:
        operation, inputs, options, y = self.node
        needs = tuple(map(self.plan.wants_grad, inputs))
        make = unlocked(operation)
        self.place = place = self.plan.place() if y in self.plan.wants else None

        def run(r: Registers) -> None:
            node = make()
            if place is not None:
                node.needs_input_grad = needs
                r[place] = node
            r[y] = np.asarray(node.forward(*[r[x] for x in inputs], **options))

        self.plan.add(run)

    def backward(self, dy: int) -> None:
        place, inputs = self.place, self.node.inputs
        assert place is not None
        targets = [(i, x, self.plan.put(x)) for i, x in enumerate(inputs) if x in self.plan.wants]
        laid_out = self.plan.owner.get(dy, dy) in self.plan.static  # and soon written over

        def run(r: Registers) -> None:
            grad = r[dy]
            found = r[place].backward(grad)
            r[place] = None
            found = found if isinstance(found, tuple) else (found,)
            for i, _, target in targets:
                dx = found[i]
                shared = laid_out and np.may_share_memory(dx, grad)
                r[target] = copy_of(dx) if shared else dx

        self.plan.add(run)
        for _, x, target in targets:
            self.plan.arrived(x, target)


class Folded(Generic):
    """What is made of parameters alone: made anew only when one of them has changed."""

    def forward(self) -> None:
        operation, inputs, options, y = self.node
        kept: list[np.ndarray] = []

        def run(r: Registers) -> None:
            arrays = [r[x] for x in inputs]
            if not kept or not all(map(np.array_equal, kept, arrays)):
                kept[:] = [array.copy() for array in arrays]
                self.result = operation().forward(*arrays, **options)
            r[y] = self.result

        self.plan.add(run)


def unlocked(operation: type[Function]) -> Callable[[], Function]:
    """The operation without locks on what it saves: in a plan nobody else can write there."""
    found = _unlocked.get(operation)
    if found is None:
        body = {"save_for_backward": _save, "save_factors": _save_factors}
        found = _unlocked[operation] = type(operation.__name__, (operation,), body)
    return found


_unlocked: dict[type[Function], type[Function]] = {}


def _save(self: Function, *arrays: Any) -> None:
    if self.recording:
        self.saved = arrays


def _save_factors(self: Function, a: Any, b: Any) -> None:
    needs = self.needs_input_grad
    if True in needs:
        self.saved = (a if needs[1] else None, b if needs[0] else None)


class View(Kernel):
    """Another look at the same memory: a gradient is looked at in the other direction."""

    def forward(self) -> None:
        operation, (x, *_), options, y = self.node
        run = operation().forward
        if x in self.plan.static and self.plan.shares(y, x):
            self.plan.r[y] = run(self.plan.r[x], **options)
        else:
            self.plan.add(lambda r: r.__setitem__(y, run(r[x], **options)))

    def backward(self, dy: int) -> None:
        operation, (x, *_), options, _ = self.node
        view = operation()
        view.needs_input_grad = (True,)
        view.forward(np.empty(self.plan.specs[x].shape, np.uint8), **options)
        self.plan.look(dy, x, view.backward)  # type: ignore[arg-type]  # of one input


class Drawn(Kernel):
    """A mask for dropout, which stays as long as the plan: see `Planned.twin`."""

    def forward(self) -> None:
        y, how = self.plan.output(self.node), self.node.options
        self.plan.add(lambda r: draw(r[y], **how))


# ------------------------------------------------------------------------------ products


class Linear(Kernel):
    """y = x Wᵀ + b."""

    def saved(self) -> Sequence[int]:
        x, weight, *_ = self.node.inputs
        wants = self.plan.wants_grad
        return [v for v, other in ((x, weight), (weight, x)) if wants(other)]

    def forward(self) -> None:
        x, weight, *bias = self.node.inputs
        y = self.plan.output(self.node)
        specs = self.plan.specs
        outputs, inputs = specs[weight].shape
        flat = (-1, inputs)
        two = len(specs[x].shape) == 2
        small = math.prod(specs[y].shape) * inputs <= SERIAL
        multiply = np.matmul if small else product

        def run(r: Registers) -> None:
            out = r[y]
            if two:
                multiply(r[x], r[weight].T, out)
            else:
                multiply(r[x].reshape(flat), r[weight].T, out.reshape(-1, outputs))
            for b in bias:
                out += r[b]

        self.plan.add(run)

    def backward(self, dy: int) -> None:
        x, weight, *bias = self.node.inputs
        plan = self.plan
        dw = plan.gradient(weight) if plan.wants_grad(weight) else None
        db = plan.gradient(bias[0]) if bias and plan.wants_grad(bias[0]) else None
        dx = plan.gradient(x) if plan.wants_grad(x) else None

        def run(r: Registers) -> None:
            g = r[dy]
            g = g.reshape(-1, g.shape[-1])
            if dw is not None:
                a = r[x]
                product(g.T, a.reshape(-1, a.shape[-1]), r[dw])
            if db is not None:
                np.add.reduce(g, axis=0, out=r[db])
            if dx is not None:
                out = r[dx]
                product(g, r[weight], out.reshape(-1, out.shape[-1]))

        plan.add(run)
        for value, register in ((weight, dw), *zip(bias, (db,), strict=False), (x, dx)):
            if register is not None:
                plan.arrived(value, register)


# ------------------------------------------------------------------------------ the table

CONVOLUTIONS = (ops.Conv2d, ops.Conv3x3, ops.ConvBlock)
VIEWS = (ops.Reshape, ops.Permute)


def kernel_of(
    trace: Trace, node: Node, recording: bool = True
) -> Callable[[Builder, Node], Kernel]:
    """The kernel for a node of a trace."""
    specs = [trace.specs[v] for v in (*node.inputs, node.output)]
    simple = all(spec.dtype == specs[-1].dtype for spec in specs) and specs[-1].dtype.kind == "f"
    if node.operation in VIEWS:
        return View
    if node.operation in (FoldedWeight, FoldedBias):
        return Folded
    if node.operation is Chain or is_link(trace, node):
        return Chained
    if node.operation is KeepMask:
        return Drawn
    if not simple:
        return Generic
    if node.operation in CONVOLUTIONS and not recording and specs[0].shape[0] == 1:
        one_group = node.options.get("geometry", PLAIN).groups == 1
        return OneImage if one_group and 0 not in specs[-1].shape else Generic
    if node.operation is ops.Linear and specs[0].order == tuple(range(len(specs[0].shape))):
        return Linear
    return Generic
