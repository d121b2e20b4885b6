"""What this thread does with operations: record them or not, and who watches them run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial, wraps
from inspect import isgeneratorfunction
from typing import Any, TypeVar, cast, overload

from tinygrad_fm.ops.function import Function
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


class Recording(Scope):
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
def no_grad() -> Recording: ...
@overload
def no_grad(function: Call) -> Call: ...
def no_grad(function: Call | None = None) -> Recording | Call:
    """`with no_grad():` (or `@no_grad()`, or `@no_grad`) computes without recording a graph."""
    return Recording(False) if function is None else Recording(False)(function)


@overload
def enable_grad() -> Recording: ...
@overload
def enable_grad(function: Call) -> Call: ...
def enable_grad(function: Call | None = None) -> Recording | Call:
    """Record again inside a `no_grad` block."""
    return Recording(True) if function is None else Recording(True)(function)


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return mode.recording


class Watching(Recording):
    """Inside the block `watch(outer)` carries out operations, `outer` being who does so outside."""

    def __init__(self, watch: Callable[[Runner], Runner | None]) -> None:
        self.watch = watch

    def __enter__(self) -> Any:
        mode.stack.append((mode.recording, self.watch(mode.runner or _unwatched)))


def _unwatched(node: Function, method: Callable[..., Any], arguments: tuple, options: dict) -> Any:
    return method(*arguments, **options)


def tell(what: str, *how: Any) -> None:
    """Something happens that is no operation: who carries out operations is told, if he listens.

    Args:
        what: "stop" (why), "copied" (array, copy), "renamed" (array, the values it now has) or
            "made" (an array of numbers alone).
    """
    listener = getattr(mode.runner, what, None)
    if listener is not None:
        listener(*how)


def effect(function: Call) -> Call:
    """Decorates what changes more than its result: who carries out operations may put it off."""

    @wraps(function)
    def decorated(*args: Any, **options: Any) -> Any:
        put_off = getattr(mode.runner, "put_off", None)
        if put_off is not None:
            args = tuple(tuple(x) if isinstance(x, Iterator) else x for x in args)  # to read again
            is_put_off, result = put_off(function, args, options)
            if is_put_off:
                return result
        return function(*args, **options)

    return cast(Call, decorated)


def running(runner: Runner | None) -> Watching:
    """Let `runner(node, method, arguments, options)` carry out every forward and backward.

    None: nobody sees what runs inside the block.
    """
    return Watching(lambda outer: runner)
