"""From a trace to two flat lists of calls: the forward pass, and the backward pass.

A kernel adds the calls of one operation. Arrays of values that live and die within the plan have
their memory from an `Arena`, laid out while the lists are made: the calls are carried out in the
order in which they are added, so a place can be used again as soon as the last call that needs it
has been added. What the caller gets is computed into new memory each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_fm.ops.dropout import KeepMask
from tinygrad_fm.plan.memory import Arena
from tinygrad_fm.plan.replay import Call, Life, Plan
from tinygrad_fm.plan.trace import Detach, Node, Spec, Trace

_ANYTHING = Spec((), np.dtype(object), ())


class Kernel:
    """How one node is carried out in a plan."""

    def __init__(self, plan: Builder, node: Node) -> None:
        self.plan, self.node = plan, node

    def saved(self) -> Sequence[int]:
        """Values that the backward pass needs."""
        return ()

    def forward(self) -> None:
        """Add the calls that compute the node's output."""
        raise NotImplementedError

    def backward(self, dy: int) -> None:
        """Add the calls that compute the inputs' gradients from that of the output, r[dy]."""
        raise NotImplementedError


def build(
    trace: Trace, wants: set[int], kernels: Sequence[Callable[..., Kernel]], roots: list[int]
) -> Plan:
    """The plan of a trace.

    Args:
        wants: the inputs and constants that want a gradient.
        kernels: one for each node, called with the builder and the node.
        roots: the outputs that the caller brings gradients of.
    """
    return Builder(trace, wants, kernels, roots).plan()


class Builder:
    """What is known of each value and register while the calls are added."""

    def __init__(
        self,
        trace: Trace,
        wants: set[int],
        kernels: Sequence[Callable[..., Kernel]],
        roots: list[int],
    ) -> None:
        self.trace, self.wants, self.roots = trace, set(wants), roots
        self.specs = list(trace.specs)
        self.r: list[Any] = [None] * len(self.specs)
        self.arena = Arena()
        self.calls: list[Call] = []
        self.notes: list[Kernel] = []  # whose each call is
        self.places: dict[int, slice] = {}  # where in the arena an array lies
        self.taken: dict[int, tuple[str, int]] = {}  # by whom, and when
        self.lives: list[Life] = []
        self.shared = trace.shared
        self.grads: dict[int, int] = {}  # of a value -> the register of its gradient
        self.uses: dict[int, int] = {}  # how many gradients lie in a register's memory
        self.owner: dict[int, int] = {}  # of a gradient that is a view -> whose memory it is
        self.static: set[int] = set()  # registers whose arrays are the arena's
        self.written: set[int] = set()  # values that are written into memory that is there
        self.gradients: dict[int, Spec] = {}  # registers of the gradients that the caller gets
        self.start: dict[int, int] = {}  # of an output -> the register of the caller's gradient
        self.given = [*trace.inputs, *trace.constants]
        self.escaping = {self.shared.get(v, v) for v in trace.outputs}
        for node in trace.nodes:
            number = self.specs[node.output].dtype.kind in "fc"
            if number and node.operation is not Detach and self.wants.intersection(node.inputs):
                self.wants.add(node.output)
        self.kernels = [make(self, node) for make, node in zip(kernels, trace.nodes, strict=True)]
        self.last = self._last_uses()

    def plan(self) -> Plan:
        """Lay out both passes."""
        forward = self._forward()
        backward = self._backward() if self.wants.intersection(self.roots) else []
        targets = [kernel.node.output for kernel in self.notes]
        return Plan(
            trace=self.trace,
            specs=self.specs,
            given=self.given,
            r=self.r,
            forward_calls=forward,
            backward_calls=backward,
            fresh=[v for v in self.written if v in self.escaping],
            roots=self.roots,
            start=self.start,
            gradients=[self.grads.get(v) for v in self.given],
            handed_out=self.gradients,
            nbytes=self.arena.nbytes,
            lives=self.lives,
            notes=[
                (kernel.node.operation.__name__, self.specs[y].shape, self.places.get(y))
                for kernel, y in zip(self.notes, targets, strict=True)
            ],
        )

    # ------------------------------------------------------------------ what kernels ask for

    def wants_grad(self, value: int) -> bool:
        return value in self.wants

    def add(self, call: Call) -> None:
        """Add a call to the pass that is being laid out."""
        self.calls.append(call)
        self.notes.append(self.kernel)

    def _temporary(self, spec: Spec) -> int:
        register = self._register(spec)
        self.take(register)
        self.temporaries.append(register)
        return register

    def output(self, node: Node) -> int:
        """The register of the node's output, with an array to write into."""
        self.written.add(node.output)
        if node.output not in self.escaping:
            self.take(node.output)
        return node.output

    def place(self) -> int:
        """A register for anything."""
        self.r.append(None)
        self.specs.append(_ANYTHING)
        return len(self.r) - 1

    def output_in(self, node: Node, *inputs: int) -> int:
        """As `output`; on the memory of one of its inputs if nobody reads that any more."""
        for x in inputs:
            if (
                node.output not in self.escaping
                and x in self.static
                and x not in self.shared
                and self.last[x] == self.event
                and self.specs[x] == self.specs[node.output]
                and not any(o == x for o in self.shared.values())
            ):
                self.written.add(node.output)
                self.r[node.output] = self.r[x]
                self.places[node.output], self.taken[node.output] = self.places[x], self.taken[x]
                self.static.discard(x)
                self.static.add(node.output)
                return node.output
        return self.output(node)

    def gradient(self, value: int) -> int:
        """A register to write ∂L/∂value into, which has to be wanted; see `arrived`."""
        if value not in self.grads:
            register = self._register(self.specs[value])
            if value in self.given:
                self.gradients[register] = self.specs[value]
            else:
                self.take(register)
            self.grads[value] = register
            self.uses[register] = 1
            return register
        return self._temporary(self.specs[value])  # to be added to what is there

    def arrived(self, value: int, register: int) -> None:
        """The gradient that `gradient` gave the register for is written."""
        total = self.grads[value]
        if register == total:
            return
        if total in self.gradients or self.may_write(total):
            self.add(lambda r: np.add(r[total], r[register], out=r[total]))
            return
        if register in self.temporaries:  # the sum takes its place
            self.add(lambda r: np.add(r[total], r[register], out=r[register]))
            self.temporaries.remove(register)
            self._drop(total)
            self.grads[value], self.uses[register] = register, 1
            return
        new = self._register(self.specs[value])
        self.add(lambda r: r.__setitem__(new, r[total] + r[register]))
        self._drop(total)
        self.grads[value], self.uses[new] = new, 1

    def pass_on(self, dy: int, value: int) -> None:
        """∂L/∂value is r[dy] itself."""
        if value not in self.wants:
            return
        if value in self.grads:
            self.arrived(value, dy)
        elif value in self.given:  # it will be the user's own
            register = self.gradient(value)
            self.add(lambda r: np.copyto(r[register], r[dy]))
        else:
            self.grads[value] = dy
            self.uses[self.owner.get(dy, dy)] += 1

    def look(self, dy: int, value: int, view: Callable[[np.ndarray], np.ndarray]) -> None:
        """∂L/∂value is a view of r[dy]."""
        if value not in self.wants:
            return
        owner = self.owner.get(dy, dy)
        if value in self.given:
            register = self.gradient(value)
            self.add(lambda r: np.copyto(r[register], view(r[dy])))
            self.arrived(value, register)
            return
        register = self._register(self.specs[value])
        if owner in self.static and np.may_share_memory(found := view(self.r[dy]), self.r[dy]):
            self.r[register] = found
        else:
            self.add(lambda r: r.__setitem__(register, view(r[dy])))
        self.owner[register] = owner
        self.uses[owner] += 1
        if value in self.grads:
            self.arrived(value, register)
            self._drop(register)
        else:
            self.grads[value] = register

    def shares(self, value: int, other: int) -> bool:
        """Whether one value is a view of the other, or both of a third."""
        return value in self.shared and self.shared[value] == self.shared.get(other, other)

    def put(self, value: int) -> int:
        """A register for ∂L/∂value whose array a call will bring; see `arrived`."""
        register = self._register(self.specs[value])
        if value not in self.grads:
            self.grads[value] = register
            self.uses[register] = 1
        else:
            self.dynamic.append(register)
        return register

    def may_write(self, dy: int) -> bool:
        """Whether r[dy] is read by nobody else, so that it may be written over."""
        owner = self.owner.get(dy, dy)
        return owner in self.static and self.uses[owner] == 1

    # ------------------------------------------------------------------ the two passes

    def _last_uses(self) -> dict[int, int]:
        """The event after which a value's memory is free: node i's forward pass is event i, its
        backward pass event 2n - i."""
        nodes, last = self.trace.nodes, dict.fromkeys(range(len(self.specs)), -1)
        end = 2 * len(nodes) + 1

        def use(value: int, event: int) -> None:
            owner = self.shared.get(value, value)
            last[owner] = max(last[owner], event)

        for i, (node, kernel) in enumerate(zip(nodes, self.kernels, strict=True)):
            for value in (*node.inputs, node.output):
                use(value, i)
            if node.output in self.wants:
                for value in kernel.saved():
                    use(value, end - i)
        masks = [node.output for node in nodes if node.operation is KeepMask]  # for the twin
        for value in (*self.trace.outputs, *self.given, *masks):
            last[self.shared.get(value, value)] = end + 1
        return last

    def _forward(self) -> list[Call]:
        self.calls = []
        for event, kernel in enumerate(self.kernels):
            self._begin(event, kernel)
            kernel.forward()
            self._end()
        return self.calls

    def _backward(self) -> list[Call]:
        self.calls = []
        for value in self.roots:
            if value in self.wants and value not in self.grads:
                self.start[value] = register = self._register(self.specs[value])
                self.grads[value], self.uses[register] = register, 2  # the caller reads it too
        count = len(self.kernels)
        for i in reversed(range(count)):
            kernel = self.kernels[i]
            self._begin(2 * count + 1 - i, kernel)
            dy = self.grads.get(kernel.node.output)
            if dy is not None:
                kernel.backward(dy)
                del self.grads[kernel.node.output]
                self._drop(dy)
            self._end()
        found = self.gradients  # in the order of the parameters
        places = [self.grads[v] for v in self.given if v in self.grads]
        self.gradients = {r: found[r] for r in places if r in found}
        return self.calls

    def _begin(self, event: int, kernel: Kernel) -> None:
        self.event, self.kernel = event, kernel
        self.temporaries: list[int] = []  # registers whose arrays are free when it ends
        self.dynamic: list[int] = []  # registers that are empty when it ends

    def _end(self) -> None:
        for register in self.temporaries:
            self._free(register)
        dead = [v for v in range(len(self.trace.specs)) if self.last.get(v) == self.event]
        loose = [v for v in dead if self.r[v] is None and v not in self.given]
        loose += self.dynamic
        for value in dead:
            if value in self.static:
                self._free(value)
        if loose and self.calls:
            views = [v for v, owner in self.shared.items() if owner in loose]
            self._empty((*loose, *views))

    def _empty(self, registers: Sequence[int]) -> None:
        """Add a call that empties registers, so that what they hold is free."""

        def run(r: list[Any]) -> None:
            for register in registers:
                r[register] = None

        self.add(run)

    # ------------------------------------------------------------------ registers

    def _register(self, spec: Spec) -> int:
        self.specs.append(spec)
        self.r.append(None)
        return len(self.r) - 1

    def take(self, register: int) -> None:
        """Give a register an array in the arena."""
        self.r[register] = self.arena.take(self.specs[register])
        self.places[register] = self.arena.place(self.r[register])
        self.taken[register] = self.kernel.node.operation.__name__, len(self.notes)
        self.static.add(register)

    def _free(self, register: int) -> None:
        self.arena.give(self.r[register])
        self.static.discard(register)
        name, begun = self.taken[register]
        self.lives.append(Life(name, self.places[register], begun, len(self.notes)))

    def _drop(self, register: int) -> None:
        """One who held a gradient's register holds it no longer."""
        register = self.owner.get(register, register)
        self.uses[register] -= 1
        if self.uses[register] == 0:
            if register in self.static:
                self._free(register)
            elif register not in self.gradients:
                self.dynamic.append(register)
