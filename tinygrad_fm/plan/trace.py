"""A call of a function of tensors, noted as a list of operations: for a plan, or to be exported.

The call itself runs as ever, recorded or not. What it does besides operations on its inputs would
be lost when the list is replayed; the tracer finds out and says why the call cannot be planned.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinygrad_fm.autograd.engine import behind
from tinygrad_fm.autograd.mode import mode, running
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.callsite import user_line
from tinygrad_fm.ops.dropout import KeepMask
from tinygrad_fm.ops.fast.memory import order_of
from tinygrad_fm.ops.function import Function
from tinygrad_fm.plan.effects import Effect, Effects, Later
from tinygrad_fm.random import default_generator


class Node(NamedTuple):
    """One operation; what goes in and comes out are values, by number."""

    operation: type[Function]
    inputs: tuple[int, ...]
    options: Mapping[str, Any]
    output: int


class Detach(Function):
    """x itself; no gradient comes back through it. The tracer's own, for `detach` and `no_grad`."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x.view()


class Spec(NamedTuple):
    """What is known of a value before it is computed; `order` are its axes as memory has them."""

    shape: tuple[int, ...]
    dtype: np.dtype
    order: tuple[int, ...]


@dataclass
class Trace:
    """Operations in the order in which they were carried out.

    Attributes:
        specs: of each value.
        inputs: the values that the call was given.
        constants: values from elsewhere: parameters and buffers as tensors, others as arrays.
        nodes: the operations.
        outputs: the values that the call returned.
        shared: a value whose memory is another's -> that one.
        made: constants that the library itself made from numbers: zeros, ones, a range.
        lines: of each operation's output, where the user's code called for it.
    """

    specs: list[Spec]
    inputs: list[int]
    constants: dict[int, Any]
    nodes: list[Node]
    outputs: list[int]
    shared: dict[int, int]
    made: set[int]
    lines: dict[int, str]

    def differs(self, other: Trace) -> str | None:
        """How another trace of the same function differs, if it does."""
        if len(self.nodes) != len(other.nodes):
            return f"it carried out {len(self.nodes)} operations once, then {len(other.nodes)}"
        for mine, theirs in zip(self.nodes, other.nodes, strict=True):
            if mine != theirs:
                return f"{mine.operation.__name__} was applied in another way the next time"
        if self.outputs != other.outputs or self.constants.keys() != other.constants.keys():
            return "its results came about in another way the next time"
        for number, constant in self.constants.items():
            found = other.constants[number]
            if found is constant:  # its values are looked up in each call
                continue
            if isinstance(constant, Tensor) or isinstance(found, Tensor):
                return "it computes with another tensor in each call"
            if not equal_bits(constant, found):
                return "it computes with an array that changes from call to call"
            if constant.size > 1 and constant.dtype.kind in "fc" and number not in self.made:
                return (
                    "it computes with an array that NumPy makes anew in each call, maybe from the "
                    "values of parameters; compute it from tensors, or keep it as a buffer"
                )
        return None


def equal_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


class Tracer:
    """Carries out operations, notes them, and notes what no list of operations could repeat.

    A value is known by the array that holds it. All arrays are kept, so that none takes another's
    identity.
    """

    def __init__(self, inputs: Iterable[Tensor], known: Sequence[Tensor] = ()) -> None:
        self.known, self.effects = known, Effects(self.stop, known)
        self.before = [(t, t.data, t.data.copy()) for t in known]
        self.arrays: list[np.ndarray] = []  # of each value
        self.numbers: dict[int, int] = {}  # by the id of an array
        self.kept: list[np.ndarray] = []  # arrays that are no value of their own
        self.sources: dict[int, np.ndarray] = {}  # what comes from elsewhere
        self.nodes: list[Node] = []
        self.lines: dict[int, str] = {}
        self.needs: dict[int, tuple[bool, ...]] = {}  # of each operation: who gets a gradient
        self.shared: dict[int, int] = {}
        self.numbers_only: set[int] = set()  # ids of arrays made from numbers alone
        self.why: str | None = None
        self.random = _random_states()
        self.drawn: dict[int, tuple[np.random.Generator, Any]] = {}  # with where each one was
        self.moved: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # with what each one held
        self.inputs = [self.number(t.data) for t in inputs]

    def __call__(self, node: Function, method: Callable[..., Any], arrays: tuple, how: dict) -> Any:
        if method != node.forward:
            self.stop("computes gradients")
            return method(*arrays, **how)
        self.check_random()
        if isinstance(node, KeepMask):
            generator = how["generator"]
            self.drawn.setdefault(id(generator), (generator, generator.bit_generator.state))
        for array in node.moved(arrays, **how):
            self.moved.setdefault(id(array), (array, array.copy()))
        if self.effects.middle is not None and not all(map(self._is_known, arrays)):
            arrays = self._behind_backward(arrays)
        y = np.asarray(method(*arrays, **how))
        if not any(y is x for x in arrays):
            inputs = tuple(map(self.source, arrays))
            output = self.number(y)
            for x, array in zip(inputs, arrays, strict=True):
                if array.size and np.may_share_memory(array, y):
                    self.shared[output] = self.shared.get(x, x)
            self.nodes.append(Node(type(node), inputs, how, output))
            self.lines[output] = user_line()
            self.needs[output] = node.needs_input_grad
        if isinstance(node, KeepMask):
            self.random = _random_states()
        return y

    def _is_known(self, array: np.ndarray) -> bool:
        """Whether an array was computed or given before, or is a single number."""
        number = self.numbers.get(id(array))
        if number is None:
            return array.size == 1 and all(array is not t.data for t in self.known)
        return number not in self.sources

    def _behind_backward(self, arrays: tuple) -> tuple:
        """What an operation computes with behind backward, now that the calls are made."""
        leaves = [leaf for leaf, _, _ in self.effects.held]
        tensors = {id(t.data): t for t in (*self.known, *leaves)}
        self.stop("computes with parameters behind backward")
        return tuple(tensors[id(x)].data if id(x) in tensors else x for x in arrays)

    def put_off(self, *call: Any) -> tuple[bool, Any]:
        """Whether a call with effects is put off, and what it returns then: see `effects.py`."""
        return self.effects.put_off(Effect(*call), begun=bool(self.nodes))

    def number(self, array: np.ndarray) -> int:
        """The number of a new value."""
        self.arrays.append(array)
        self.numbers[id(array)] = len(self.arrays) - 1
        return len(self.arrays) - 1

    def source(self, array: np.ndarray) -> int:
        """The number of a value that may come from elsewhere."""
        if id(array) not in self.numbers:
            self.sources[self.number(array)] = array
        return self.numbers[id(array)]

    def renamed(self, array: np.ndarray, values: np.ndarray) -> None:
        """From now on `array` holds the values of another: it was written into."""
        if self.numbers.get(id(array)) in (None, *self.inputs, *self.sources):
            self.stop("writes into a tensor that it did not compute")
        self.numbers[id(array)] = self.source(values)

    def copied(self, array: np.ndarray, copy: np.ndarray) -> None:
        """`copy` holds the values of `array`."""
        self.numbers[id(copy)] = self.source(array)
        self.kept.append(copy)

    def made(self, array: np.ndarray) -> None:
        """`array` was made from numbers alone."""
        self.kept.append(array)
        self.numbers_only.add(id(array))

    def stop(self, why: str) -> None:
        """Note why the call cannot be planned, and where; the call goes on."""
        if self.why is None:
            self.why = f"{user_line()} {why}"
        self.effects.make()

    def check_random(self) -> None:
        """Find random numbers that were drawn by anybody but dropout since the last operation."""
        if self.why is None and _random_states() != self.random:
            self.stop("draws random numbers outside dropout")

    def check_effects(self) -> None:
        """Find what was set or written and is no operation's doing."""
        if not self.effects.untouched():
            self.stop("sets a gradient")
        for tensor, array, values in self.before:
            moved = id(array) in self.moved or equal_bits(array, values)
            if tensor.data is not array or not moved:
                self.stop("writes into a parameter or buffer")

    def forget(self) -> None:
        """Let go of all arrays: what they were is noted."""
        self.arrays, self.kept, self.before = [], [], []
        self.sources = {}

    def undo(self) -> None:
        """Put back what the operations have moved: running estimates and random generators."""
        for array, values in self.moved.values():
            array[...] = values
        for generator, state in self.drawn.values():
            generator.bit_generator.state = state

    def detached(
        self, outputs: Sequence[Tensor], ends: Sequence[int], known: Iterable[Tensor]
    ) -> list[int]:
        """Put a `Detach` where a value that wants a gradient is used and gets none back."""
        ids = {id(t.data) for t in known if t._requires_grad}
        wants = {v for v in (*self.inputs, *self.sources) if id(self.arrays[v]) in ids}
        nodes: list[Node] = []
        apart: dict[int, int] = {}

        def used(value: int, need: bool, line: str) -> int:
            if need and value not in wants:
                how = "computed outside" if value in self.sources else "written into inside no_grad"
                self.why = self.why or f"{line} uses what was {how}"
            if need or value not in wants:
                return value
            if value not in apart:
                apart[value] = new = self.number(self.arrays[value].view())
                self.shared[new] = self.shared.get(value, value)
                self.lines[new] = line
                nodes.append(Node(Detach, (value,), {}, new))
            return apart[value]

        for operation, inputs, options, y in self.nodes:
            needs = self.needs[y] or (False,) * len(inputs)
            if self.arrays[y].dtype.kind in "fc":
                pairs = zip(inputs, needs, strict=True)
                inputs = tuple(used(x, need, self.lines[y]) for x, need in pairs)
            nodes.append(Node(operation, inputs, options, y))
            if True in needs:
                wants.add(y)
        last = user_line()
        ends = [used(v, y._requires_grad, last) for v, y in zip(ends, outputs, strict=True)]
        self.nodes = nodes
        return ends

    def trace(self, outputs: Sequence[Tensor], known: Sequence[Tensor]) -> Trace:
        """What was noted, without the operations that nothing comes from.

        Args:
            outputs: what the call returned.
            known: the tensors that constants may be.
        """
        ends = [self.source(y.data) for y in outputs]
        if mode.recording:
            ends = self.detached(outputs, ends, known)
        nodes = needed(self.nodes, ends)
        wanted = {*ends, *(x for node in nodes for x in node.inputs)}
        tensors = {id(t.data): t for t in known}
        order = {id(t): i for i, t in enumerate(tensors.values())}
        sources = [(n, tensors.get(id(a), a)) for n, a in self.sources.items() if n in wanted]
        constants = dict(sorted(sources, key=lambda item: order.get(id(item[1]), -1)))
        made = {n for n, array in self.sources.items() if id(array) in self.numbers_only}
        specs = [Spec(a.shape, a.dtype, tuple(order_of(a))) for a in self.arrays]
        return Trace(specs, self.inputs, constants, nodes, ends, self.shared, made, self.lines)


def needed(nodes: Sequence[Node], outputs: Iterable[int], effects: bool = True) -> list[Node]:
    """The operations that outputs come from, and those that have effects."""
    wanted, found = set(outputs), []
    for node in reversed(nodes):
        if node.output in wanted or (effects and node.operation.effects):
            wanted.update(node.inputs)
            found.append(node)
    return found[::-1]


def _random_states() -> tuple[Any, ...]:
    """Where Python's, NumPy's global and our own generator are."""
    legacy: Any = np.random.get_state()  # noqa: NPY002
    ours = default_generator().bit_generator.state
    return random.getstate(), legacy[1].tobytes(), *legacy[2:], ours


class Traced(NamedTuple):
    """A call that was traced.

    Attributes:
        result: what it returned.
        trace: what it did, or None.
        why: it cannot be planned, if so.
        effects: the calls that were put off.
        undo: puts back what the call has moved: running estimates and random generators.
    """

    result: Any
    trace: Trace | None
    why: str | None
    effects: Effects
    undo: Callable[[], None]


def trace(call: Callable[[], Any], inputs: Sequence[Tensor], known: Sequence[Tensor]) -> Traced:
    """Carry out a call, and note its operations.

    Args:
        inputs: the tensors among its arguments.
        known: the parameters and buffers that it may use.
    """
    tracer = Tracer(inputs, known)
    effects, found = tracer.effects, None
    try:
        with running(tracer):
            result = call()
    except BaseException:
        effects.make()
        raise
    tracer.check_random()
    tracer.check_effects()
    outputs = [] if effects.loss is None else [effects.loss]
    if result is not None or not outputs:
        outputs += result if type(result) in (tuple, list) else (result,)
    if not outputs or not all(isinstance(y, Tensor) and type(y) is not Later for y in outputs):
        tracer.stop(f"returns {type(result).__name__}, not tensors")
    if not mode.recording and any(True in needs for needs in tracer.needs.values()):
        tracer.stop("records a graph where the caller records none")
    if tracer.why is None:
        edges = behind(y.edge for y in outputs if y.requires_grad)
        leaves = (edge for edge in edges if isinstance(edge, Tensor))
        found = tracer.trace(outputs, (*inputs, *known, *leaves))
        if any(found.shared.get(v) in {*found.inputs, *found.constants} for v in found.outputs):
            tracer.stop("returns a view of an argument or of a parameter")
        given = (*inputs, *found.constants.values())
        if effects.middle is not None and any(getattr(t, "grad_fn", None) for t in given):
            tracer.stop("calls backward, and what it is given was computed from others")
    tracer.forget()
    if tracer.why is None:
        return Traced(result, found, None, effects, tracer.undo)
    effects.make()
    return Traced(effects.now(result), None, tracer.why, effects, tracer.undo)
