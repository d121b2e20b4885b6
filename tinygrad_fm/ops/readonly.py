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

# By the id of the array that owns the memory: how often the memory is saved, then the arrays whose
# flag was changed. (A plain list: this runs for nearly every operation.)
_locks: dict[int, list] = {}


class ReadOnly:
    """Keeps `arrays` (and the memory they are views of) read-only until it is deleted."""

    __slots__ = ("owners",)

    def __init__(self, arrays: tuple[np.ndarray, ...]) -> None:
        self.owners: list[np.ndarray] = []
        for array in arrays:
            base = array.base
            owner = base if isinstance(base, np.ndarray) else array
            lock = _locks.get(id(owner))
            if lock is not None:
                lock[0] += 1
            else:
                flags = owner.flags
                if not flags.writeable or not is_fresh(owner):
                    continue  # read-only for good, or another library's memory
                flags.writeable = False
                lock = _locks[id(owner)] = [1, owner]
            if array is not owner and array.flags.writeable:
                array.flags.writeable = False
                lock.append(array)
            self.owners.append(owner)

    def __del__(self) -> None:
        for owner in self.owners:
            lock = _locks[id(owner)]
            lock[0] -= 1
            if lock[0] == 0:
                del _locks[id(owner)]
                for i in range(1, len(lock)):  # the owner first: a view follows its owner's flag
                    lock[i].flags.writeable = True
