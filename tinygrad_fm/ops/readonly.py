"""Arrays that a graph has saved are read-only for as long as the graph lives.

An in-place write between the forward and the backward pass would silently give wrong gradients.
Saved memory is therefore locked with NumPy's own `writeable` flag: the write fails at the user's
line. (The idea is MyGrad's.) A view taken *before* the lock keeps its own flag. What a tensor
writes through such a view is noted for the memory behind it, which all views share, and `backward`
refuses what was written into since it was saved.

Known limits: a NumPy array (not a tensor) that is a view taken before the lock still writes unseen.
The flag of memory that belongs to another library, or whose owner is read-only already, is left as
it is, because NumPy could not make it writeable again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial

import numpy as np

from tinygrad_fm.callsite import user_line
from tinygrad_fm.ops.fast.memory import is_fresh
from tinygrad_fm.ops.undo import Undo


class _Lock(Undo):
    """One for each memory that is saved, shared by all who save it; with the last it goes.

    Attributes:
        entry: takes it out of `_locks`.
        views: unlock the views of the memory; by then its owner is writeable again.
        owner: of the memory.
        flagged: whether the lock is what makes the memory read-only.
        lines: where tensors have written into it since.
    """

    __slots__ = ("entry", "flagged", "lines", "owner", "views")
    entry: Undo
    views: tuple[Undo, ...]
    owner: np.ndarray
    flagged: bool
    lines: tuple[str, ...]


# By the id of the array that owns the memory, which a lock keeps alive.
_locks: dict[int, weakref.ref[_Lock]] = {}
_forget = _locks.pop
# Not empty once a tensor has written into saved memory: only then has `backward` to look.
writes: list[bool] = []


class ReadOnly:
    """Keeps `arrays` (and the memory they are views of) read-only until it is deleted."""

    __slots__ = ("locks", "seen")

    def __init__(self, arrays: tuple[np.ndarray | None, ...]) -> None:
        self.locks: list[_Lock] = []
        self.seen = 0  # writes before these arrays were saved, which do no harm
        for array in arrays:
            if array is None:
                continue
            base = array.base
            owner = array if base is None or not isinstance(base, np.ndarray) else base
            found = _locks.get(id(owner))
            lock = None if found is None else found()
            if lock is None:
                lock = _lock(owner)
            elif writes:
                self.seen += len(lock.lines)
            if array is not owner and lock.flagged and array.flags.writeable:
                unlock, view = partial(array.setflags, write=True), Undo()
                view.__del__ = unlock
                lock.views += (view,)
                array.setflags(write=False)
            self.locks.append(lock)

    def check(self, operation: str) -> None:
        """Raise if a tensor has written into the memory since it was saved.

        Raises:
            RuntimeError: naming the operation, and the file and line that wrote.
        """
        lines = [line for lock in self.locks for line in lock.lines]
        if len(lines) > self.seen:
            raise RuntimeError(
                f"backward of {operation} needs an array as it was in the forward pass, but it was "
                f"written into at {lines[-1]}; write into a copy (x.clone()), or after backward"
            )

    def __reduce__(self) -> tuple:
        """Pickled, it locks nothing: a copy has arrays of its own."""
        return ReadOnly, ((),)


def _lock(owner: np.ndarray) -> _Lock:
    key = id(owner)
    lock, entry = _Lock(), Undo()
    lock.entry, lock.views, lock.owner, lock.lines = entry, (), owner, ()
    # Otherwise it is read-only for good, or another library's memory.
    lock.flagged = owner.flags.writeable and is_fresh(owner)
    unlock, forget = partial(owner.setflags, write=True), partial(_forget, key, None)
    ref = weakref.ref(lock)
    found = _locks.setdefault(key, ref)()
    if found is None:
        _locks[key] = ref  # in the place of one that an interrupt kept from being armed
    elif found is not lock:
        return found  # another thread was first
    entry.__del__ = forget
    if lock.flagged:
        lock.__del__ = unlock
        owner.setflags(write=False)  # (half the time of `flags.writeable = False`)
    return lock


def write_into(array: np.ndarray, write: Callable[[], object]) -> None:
    """Call `write`, which writes into a tensor's array; graphs that have saved it are told.

    Raises:
        ValueError: if the memory is read-only for another reason (as an expanded tensor's is).
    """
    base = array.base
    owner = base if isinstance(base, np.ndarray) else array
    found = _locks.get(id(owner))
    lock = None if found is None else found()
    if lock is None:
        write()
        return
    lock.lines += (user_line(),)
    writes[:] = [True]
    if array.flags.writeable or not lock.flagged:
        write()
        return
    try:
        owner.setflags(write=True)  # first: a view follows its owner's flag
        array.setflags(write=True)
        write()
    finally:  # (should an interrupt land here, the memory stays writeable, which does no harm)
        array.setflags(write=False)
        owner.setflags(write=False)
