"""The operation that a plan is to the graph around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_fm.autograd.custom import Output, Parts
from tinygrad_fm.autograd.engine import grad as gradients_of
from tinygrad_fm.autograd.mode import enable_grad, mode, running
from tinygrad_fm.autograd.tensor import Tensor, apply
from tinygrad_fm.ops.dropout import KeepMask
from tinygrad_fm.ops.fast.memory import copy_of
from tinygrad_fm.ops.function import Array, Function, Gradients
from tinygrad_fm.ops.readonly import ReadOnly
from tinygrad_fm.ops.undo import Undo
from tinygrad_fm.plan.replay import Plan
from tinygrad_fm.plan.trace import Detach, Trace


class Planned(Function):
    """All that a function does to its inputs, parameters and buffers, as one operation.

    For the graph its output is the first one. Others are put into the option `found`, and each of
    several has a small node of its own: see `replay`. The plan belongs to this call until the graph
    lets go of it; then it goes back into the pool for the next call.
    """

    lease: Undo | None = None

    def forward(
        self, *arrays: Array, plan: Plan, pool: list[Plan], trace: Trace, found: list[Array]
    ) -> Array:
        outputs = plan.forward(arrays)
        found += [copy_of(y) if i in plan.copied else y for i, y in enumerate(outputs)]
        if self.recording:
            self.plan, self.walked = plan, False
            self.lease, give_back = Undo(), plan.clearing(pool)
            self.lease.__del__ = give_back
            self.saved = arrays
            if plan.cloned:
                pairs = zip(plan.given, arrays, strict=True)
                self.saved = tuple(a.copy() if v in plan.cloned else a for v, a in pairs)
            pairs = zip(plan.given, self.saved, strict=True)
            self._lock = ReadOnly(tuple(a for v, a in pairs if v not in plan.moved))
        else:
            plan.clearing(pool)()
        return found[0]

    def backward(self, grad: Any) -> Gradients:
        parts = grad if isinstance(grad, Parts) else Parts({0: grad})
        # The first time uses up what the plan keeps. Who watches is to see each operation.
        if self.walked or mode.runner is not None:
            return self.again(parts)
        self.walked = True
        outputs, totals = self.plan.trace.outputs, Parts()
        for i, part in parts.items():
            totals += Parts({outputs[i]: part})
        specs = [self.plan.specs[v] for v in outputs]
        grads = [
            totals[v] if v in totals else np.zeros(spec.shape, spec.dtype)
            for v, spec in zip(outputs, specs, strict=True)
        ]
        results = self.plan.backward(grads)
        if len(totals) < len(self.plan.start):  # what leads to unused outputs only gets nothing
            reached = set().union(*(self.plan.reached(v) for v in totals))
            pairs = zip(self.plan.given, results, strict=True)
            results = [dx if v in reached else None for v, dx in pairs]
        return tuple(results)

    def again(self, parts: Parts) -> Gradients:
        """The gradients by the operations themselves, from what went in."""
        pairs = zip(self.saved, self.needs_input_grad, strict=True)
        inputs = [Tensor(array, requires_grad=need) for array, need in pairs]
        wanted = [x for x in inputs if x.requires_grad]
        y, grads = self.unfolded(*inputs), [Tensor(part) for part in parts.values()]
        outputs = [y[i] for i in parts]
        found = iter(gradients_of(outputs, wanted, grads, allow_unused=True))
        results = [next(found) if x.requires_grad else None for x in inputs]
        return tuple(None if dx is None else dx.data for dx in results)

    def unfolded(self, *inputs: Tensor) -> list[Tensor]:
        """What was computed, recorded anew as single operations that nobody sees run.

        Args:
            inputs: what to compute it from, if not from the node's own.
        """
        if not inputs:
            assert self.edges is not None
            pairs = zip(self.saved, self.edges, strict=True)
            inputs = tuple(Tensor.at(array, edge) for array, edge in pairs)
        with enable_grad(), running(None):
            y = self.twin(*inputs, **self.options)
        return y if isinstance(y, list) else [y]

    def twin(self, *inputs: Tensor, trace: Trace, **options: Any) -> Any:
        """The operations one after another, with the same random bits; what moves, stays."""
        r = self.plan.r
        values: dict[int, Any] = dict(zip(self.plan.given, inputs, strict=True))
        for node in trace.nodes:
            operation, arguments, how, y = node
            if operation is KeepMask:
                values[y] = Tensor(r[y])
                continue
            given = [values[x] for x in arguments]
            if operation is Detach:
                values[y] = given[0].detach()
                continue
            moved = operation.moved(given, **how)
            given = [x.detach().clone() if any(x is m for m in moved) else x for x in given]
            values[y] = operation.of(*given, **how)
            if values[y].grad_fn is not None:
                values[y].grad_fn.where = trace.lines[y]
        outputs = [values[v] for v in trace.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def release(self) -> None:
        super().release()
        self.lease = None


def replay(plan: Plan, pool: list[Plan], trace: Trace, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of a trace by a plan of it.

    An input that is an output comes out itself. What is a view of one, or of another output, is a
    copy: two tensors on one memory that know nothing of each other would not see each other's
    writes.
    """
    found: list[Array] = []
    node = apply(Planned, *tensors, plan=plan, pool=pool, trace=trace, found=found).grad_fn
    results = {v: tensors[i] for v, i in plan.passed.items()}
    if node is not None and plan.cloned:
        node.ids = [*map(id, node.saved), id(found[0])]
    for i, v in enumerate(plan.trace.outputs):
        if v not in results:
            edge = node if v in plan.start else None
            if edge is not None and len(found) > 1:
                edge = Output(edge, i, found[i].shape)
            results[v] = Tensor.at(found[i], edge)
    found.clear()  # for the node keeps its options
    return [results[v] for v in plan.trace.outputs]
