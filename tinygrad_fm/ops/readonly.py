"""Arrays that a graph has saved are read-only for as long as the graph lives.

An in-place write between the forward and the backward pass would silently give wrong gradients.
Saved memory is therefore locked with NumPy's own `writeable` flag: the write fails at the user's
line, and nothing has to be checked later. (The idea is MyGrad's.)

Known limits: a view taken *before* the lock keeps its own flag, and may still write. Memory that
belongs to another library, or whose owner is read-only already, is left as it is, because NumPy
could not make it writeable again.
"""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.memory import is_fresh

# By the id of the array that owns the memory: how often the memory is saved, that id, then the
# arrays whose flag was changed, the owner first. (Plain lists: this runs for nearly every
# operation.)
_locks: dict[int, list] = {}


class ReadOnly:
    """Keeps `arrays` (and the memory they are views of) read-only until it is deleted."""

    __slots__ = ("locks",)

    def __init__(self, arrays: tuple[np.ndarray, ...]) -> None:
        self.locks: list[list] = []
        for array in arrays:
            base = array.base
            owner = array if base is None or not isinstance(base, np.ndarray) else base
            key = id(owner)
            lock = _locks.get(key)
            if lock is not None:
                lock[0] += 1
            else:
                if not owner.flags.writeable or not is_fresh(owner):
                    continue  # read-only for good, or another library's memory
                owner.setflags(write=False)  # (half the time of `flags.writeable = False`)
                lock = _locks[key] = [1, key, owner]
            if array is not owner and array.flags.writeable:
                array.setflags(write=False)
                lock.append(array)
            self.locks.append(lock)

    def __reduce__(self) -> tuple:
        """Pickled, it locks nothing: a copy has arrays of its own."""
        return ReadOnly, ((),)

    def __del__(self) -> None:
        for lock in self.locks:
            lock[0] -= 1
            if lock[0] == 0:
                del _locks[lock[1]]
                for array in lock[2:]:  # the owner first: a view follows its owner's flag
                    array.setflags(write=True)
