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


class _Lock:
    """How often one piece of memory is saved, and which array objects were made read-only."""

    __slots__ = ("arrays", "count")

    def __init__(self) -> None:
        self.count = 0
        self.arrays: list[np.ndarray] = []


_locks: dict[int, _Lock] = {}  # by id of the array that owns the memory


class ReadOnly:
    """Keeps `arrays` (and the memory they are views of) read-only until it is deleted."""

    __slots__ = ("owners",)

    def __init__(self, arrays: tuple[np.ndarray, ...]) -> None:
        self.owners = []
        for array in arrays:
            base = array.base
            owner = base if isinstance(base, np.ndarray) else array
            if not is_fresh(owner):
                continue  # another library's memory
            lock = _locks.get(id(owner))
            if lock is None:
                if not owner.flags.writeable:
                    continue  # read-only for good
                lock = _locks[id(owner)] = _Lock()
                owner.setflags(write=False)
                lock.arrays.append(owner)
            lock.count += 1
            if array.flags.writeable:
                array.setflags(write=False)
                lock.arrays.append(array)
            self.owners.append(owner)

    def __del__(self) -> None:
        for owner in self.owners:
            lock = _locks[id(owner)]
            lock.count -= 1
            if lock.count == 0:
                del _locks[id(owner)]
                for array in lock.arrays:  # the owner first: a view follows its owner's flag
                    array.setflags(write=True)
