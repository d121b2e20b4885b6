"""The operation that a plan is to the graph around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_fm.autograd.engine import grad as gradients_of
from tinygrad_fm.autograd.mode import enable_grad, mode, running
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.creation import cat
from tinygrad_fm.ops.dropout import KeepMask
from tinygrad_fm.ops.function import Array, Function, Gradients
from tinygrad_fm.ops.readonly import ReadOnly
from tinygrad_fm.ops.undo import Undo
from tinygrad_fm.plan.replay import Plan
from tinygrad_fm.plan.trace import Trace


class Planned(Function):
    """All that a function does to its inputs, parameters and buffers, as one operation.

    Several outputs come out as one vector, one behind the other: see `split`. The plan belongs to
    this call until the graph lets go of it; then it goes back into the pool for the next call.
    """

    lease: Undo | None = None

    def forward(self, *arrays: Array, plan: Plan, pool: list[Plan], trace: Trace) -> Array:
        outputs = plan.forward(arrays)
        if self.recording:
            self.plan, self.walked = plan, False
            self.lease, give_back = Undo(), plan.clearing(pool)
            self.lease.__del__ = give_back
            self.saved = arrays
            pairs = zip(plan.given, arrays, strict=True)
            self._lock = ReadOnly(tuple(a for v, a in pairs if v not in plan.moved))
        else:
            plan.clearing(pool)()
        return outputs[0] if len(outputs) == 1 else np.concatenate([y.ravel() for y in outputs])

    def backward(self, grad: Array) -> Gradients:
        # The first time uses up what the plan keeps. Who watches is to see each operation.
        if self.walked or mode.runner is not None:
            return self.again(grad)
        self.walked = True
        shapes = [self.plan.specs[v].shape for v in self.plan.trace.outputs]
        if len(shapes) == 1:
            return tuple(self.plan.backward([grad]))
        parts = np.split(grad, np.cumsum([math.prod(shape) for shape in shapes])[:-1])
        parts = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return tuple(self.plan.backward(parts))

    def again(self, grad: Array) -> Gradients:
        """The gradients by the operations themselves, from what went in."""
        pairs = zip(self.saved, self.needs_input_grad, strict=True)
        inputs = [Tensor(array, requires_grad=need) for array, need in pairs]
        wanted = [x for x in inputs if x.requires_grad]
        y = self.unfolded(*inputs)
        found = iter(gradients_of(y, wanted, Tensor(grad), materialize_grads=True))
        return tuple(next(found).data if x.requires_grad else None for x in inputs)

    def unfolded(self, *inputs: Tensor) -> Tensor:
        """What was computed, recorded anew as single operations that nobody sees run.

        Args:
            inputs: what to compute it from, if not from the node's own.
        """
        if not inputs:
            assert self.edges is not None
            pairs = zip(self.saved, self.edges, strict=True)
            inputs = tuple(Tensor.at(array, edge) for array, edge in pairs)
        with enable_grad(), running(None):
            return self.twin(*inputs, **self.options)

    def twin(self, *inputs: Tensor, trace: Trace, **options: Any) -> Tensor:
        """The operations one after another, with the same random bits; what moves, stays."""
        r = self.plan.r
        values: dict[int, Any] = dict(zip(self.plan.given, inputs, strict=True))
        for node in trace.nodes:
            operation, arguments, how, y = node
            if operation is KeepMask:
                values[y] = Tensor(r[y])
                continue
            given = [values[x] for x in arguments]
            moved = operation.moved(given, **how)
            given = [x.detach().clone() if any(x is m for m in moved) else x for x in given]
            values[y] = operation.of(*given, **how)
            if values[y].grad_fn is not None:
                values[y].grad_fn.where = trace.lines[y]
        outputs = [values[v] for v in trace.outputs]
        return outputs[0] if len(outputs) == 1 else cat([y.reshape(-1) for y in outputs])

    def release(self) -> None:
        super().release()
        self.lease = None


def split(vector: Tensor, plan: Plan) -> Sequence[Tensor]:
    """The outputs that lie in a vector one behind the other."""
    parts, start = [], 0
    for value in plan.trace.outputs:
        shape = plan.specs[value].shape
        size = math.prod(shape)
        parts.append(vector[start : start + size].reshape(*shape))
        start += size
    return parts
