"""What must happen at the end of something, whatever interrupts the program.

Ctrl-C raises KeyboardInterrupt in the main thread, between any two steps of Python code: before the
first line of `__exit__`, in the middle of `__del__` (where it is printed and lost). Only what is
written in C is done as a whole. So the end is left to reference counting, which no exception can
skip, and what it calls is a function written in C.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial


class Undo:
    """Calls a function when the last reference to it is gone.

        undo = Undo()
        undo.__del__ = partial(items.append, item)

    Setting `__del__` is a single step: an interrupt finds it set or not. The function must be one
    of C's (a `partial` of one is, too), or an interrupt could land in it.
    """

    __slots__ = ("__del__", "__weakref__")
    __del__: Callable[[], object]


class _Exit:
    """The method `__exit__` of every `Scope`.

    `with` asks for it before it calls `__enter__`, holds it as long as the block runs, and lets go
    of it however the block ends. (What an exception's traceback holds are frames and their
    variables, and this is in none.)
    """

    def __get__(self, scope: Scope | None, owner: type[Scope]) -> Callable[..., None]:
        if scope is None:  # `contextlib.ExitStack` asks the class
            return _leave
        leave, take_back, undo = partial(_leave, scope), scope.undo(), Undo()
        leave.undo = undo  # type: ignore[attr-defined]
        undo.__del__ = take_back
        return leave


def _leave(scope: Scope, *error: object) -> None:
    scope.leave()


class Scope:
    """A context manager whose changes are taken back whatever interrupts `__enter__` or `leave`."""

    __exit__ = _Exit()

    def undo(self) -> Callable[[], object]:
        """Called before `__enter__`: a function of C's that takes back what is done from now on.

        It is called after `leave`, and has nothing to do then.
        """
        raise NotImplementedError

    def leave(self) -> None:
        """End the block in the usual way."""
        raise NotImplementedError
