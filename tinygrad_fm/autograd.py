"""Recording the graph, and walking it back.

A graph is made of `Function` nodes. Nodes are numbered as they are made, so the node with the
highest number never feeds into another one that is still waiting: taking the highest number first
walks the graph in a valid order without recursion and without sorting it beforehand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial, wraps
from heapq import heappop, heappush
from inspect import isgeneratorfunction
from typing import Any, TypeVar, cast, overload

import numpy as np

from tinygrad_fm.callsite import user_line
from tinygrad_fm.ops.function import Function
from tinygrad_fm.ops.memory import is_fresh
from tinygrad_fm.ops.parallel import one_blas_thread
from tinygrad_fm.ops.readonly import writes
from tinygrad_fm.ops.undo import Scope

Runner = Callable[[Function, Callable[..., Any], tuple, dict], Any]
Call = TypeVar("Call", bound=Callable[..., Any])


class _Mode(threading.local):
    """Per-thread switches: is the graph recorded, and does anybody watch operations run?"""

    def __init__(self) -> None:
        self.stack: list[tuple[bool, Runner | None]] = [(True, None)]  # the last pair holds

    @property
    def recording(self) -> bool:
        return self.stack[-1][0]

    @property
    def runner(self) -> Runner | None:
        return self.stack[-1][1]


mode = _Mode()


class _Recording(Scope):
    """Sets `mode.recording` inside a `with` block or a decorated function."""

    def __init__(self, recording: bool) -> None:
        self.recording = recording

    def __enter__(self) -> Any:
        mode.stack.append((self.recording, mode.runner))

    def undo(self) -> Callable[[], object]:
        stack = mode.stack
        return partial(stack.__delitem__, slice(len(stack), None))

    def leave(self) -> None:
        if len(mode.stack) > 1:
            mode.stack.pop()

    def __call__(self, function: Call) -> Call:
        if isgeneratorfunction(function):
            return self._for_generator(function)

        @wraps(function)
        def decorated(*args: Any, **options: Any) -> Any:
            with self:
                return function(*args, **options)

        return cast(Call, decorated)

    def _for_generator(self, function: Any) -> Any:
        """Sets it from each `next` to the next `yield`; in between the caller's own holds."""

        @wraps(function)
        def decorated(*args: Any, **options: Any) -> Any:
            generator = function(*args, **options)
            resume, value = generator.send, None
            while True:
                with self:
                    try:
                        result = resume(value)
                    except StopIteration as end:
                        return end.value
                try:
                    resume, value = generator.send, (yield result)
                except BaseException as error:
                    resume, value = generator.throw, error

        return decorated


@overload
def no_grad() -> _Recording: ...
@overload
def no_grad(function: Call) -> Call: ...
def no_grad(function: Call | None = None) -> _Recording | Call:
    """`with no_grad():` (or `@no_grad()`, or `@no_grad`) computes without recording a graph."""
    return _Recording(False) if function is None else _Recording(False)(function)


@overload
def enable_grad() -> _Recording: ...
@overload
def enable_grad(function: Call) -> Call: ...
def enable_grad(function: Call | None = None) -> _Recording | Call:
    """Record again inside a `no_grad` block."""
    return _Recording(True) if function is None else _Recording(True)(function)


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return mode.recording


class Watching(_Recording):
    """Inside the block `watch(outer)` carries out operations, `outer` being who does so outside."""

    def __init__(self, watch: Callable[[Runner | None], Runner]) -> None:
        self.watch = watch

    def __enter__(self) -> Any:
        mode.stack.append((mode.recording, self.watch(mode.runner)))


def running(runner: Runner) -> Watching:
    """Let `runner(node, method, arguments, options)` carry out every forward and backward."""
    return Watching(lambda outer: runner)


# ------------------------------------------------------------------------------ backward pass


def backward(root: Function, grad: np.ndarray, retain_graph: bool = False) -> None:
    """Carry ∂L/∂(root's output) back to every leaf tensor that `root` was computed from.

    Each node's saved arrays are released as soon as it is done, unless `retain_graph`.

    Raises:
        RuntimeError: if a part of the graph was already walked and released, or if what it saved
            was written into.
    """
    one_blas_thread(_walk, root, grad, retain_graph)  # once, not for every matrix product


def _walk(root: Function, grad: np.ndarray, retain_graph: bool) -> None:
    waiting = [(-root.number, root)]
    gradients: dict[Function, tuple[np.ndarray, bool]] = {root: (grad, False)}
    runner = mode.runner
    while waiting:
        node = heappop(waiting)[1]
        grad = gradients.pop(node)[0]
        if node.edges is None:
            raise RuntimeError(_TWICE.format(name=node.name()))
        if writes and node._lock is not None:
            node._lock.check(node.name())
        if node.retain is not None:
            _retain(node, grad)
        if runner is None:
            results = node.backward(grad)
        else:
            results = runner(node, node.backward, (grad,), {})
        each = results if isinstance(results, tuple) else (results,)
        for edge, result in zip(node.edges, each):  # noqa: B905 — this loop is hot
            if edge is None or result is None:
                continue
            # Fresh memory belongs to whoever receives it; a view, the upstream gradient itself
            # or what two inputs receive may have other readers.
            owned = (result.base is None or is_fresh(result)) and result is not grad
            if owned and len(each) > 1:
                owned = _readers(result, each) == 1
            if not isinstance(edge, Function):
                edge.accumulate_grad(result, owned)
            elif edge not in gradients:
                gradients[edge] = (result, owned)
                heappush(waiting, (-edge.number, edge))
            else:
                gradients[edge] = (_add(gradients[edge], result), True)
        if not retain_graph:
            node.release()


def _readers(result: np.ndarray, results: tuple[np.ndarray | None, ...]) -> int:
    """How many of a node's results are this array or a view of it."""
    readers = 0
    for other in results:
        if other is result or (other is not None and other.base is result):
            readers += 1
    return readers


def _add(accumulated: tuple[np.ndarray, bool], grad: np.ndarray) -> np.ndarray:
    """Sum two gradients: in place, unless the memory of the first has other readers."""
    total, owned = accumulated
    if not owned:
        return total + grad
    total += grad  # (a scalar, which cannot be written into, is replaced)
    return total


def _retain(node: Function, grad: np.ndarray) -> None:
    tensor = node.retain()
    if tensor is not None:
        tensor.accumulate_grad(grad, False)


_TWICE = (
    "backward reached {name} a second time, but its saved arrays were released by the first: "
    "a graph is used up by backward. Run the forward pass again, or keep the graph with "
    "backward(retain_graph=True)."
)


# ------------------------------------------------------------------------------ anomaly detection


class AnomalyError(FloatingPointError):
    """The result of an operation holds a NaN or an infinity."""


def detect_anomaly() -> Watching:
    """Stop at the first operation, forward or backward, that makes a NaN or an infinity.

    Slow (every result is scanned and every operation's place in the user's code is noted): for
    hunting, not for training.

    Raises:
        AnomalyError: naming the operation, its shapes, and the user's file and line.
    """
    return Watching(_scan)


def _scan(outer: Runner | None) -> Runner:
    def run(node: Function, method: Callable[..., Any], arguments: tuple, options: dict) -> Any:
        if method.__name__ == "forward":
            node.where = user_line()
        results = (
            method(*arguments, **options)
            if outer is None
            else outer(node, method, arguments, options)
        )
        for result in results if isinstance(results, tuple) else (results,):
            if result is not None and not _finite(result):
                raise AnomalyError(_describe(node, method.__name__, arguments, result))
        return results

    return run


def _finite(array: Any) -> bool:
    array = np.asarray(array)
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def _describe(node: Function, which: str, arguments: tuple, result: np.ndarray) -> str:
    kind = "NaN" if np.isnan(result).any() else "infinity"
    arrays = [a for a in arguments if isinstance(a, np.ndarray | np.generic)]
    shapes = ", ".join("×".join(map(str, a.shape)) or "scalar" for a in arrays)
    blame = "" if all(map(_finite, arrays)) else " (its input already held one)"
    where = node.where or "a line unknown, because the forward pass ran outside detect_anomaly"
    return f"{which} of {node.name()} on {shapes} made {kind}{blame}, called at {where}"
