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

import numpy as np

from tinygrad_fm.callsite import user_line
from tinygrad_fm.ops.memory import is_fresh

# By the id of the array that owns the memory: how often the memory is saved, that id, the owner,
# then the arrays whose flag was changed. (Plain lists: this runs for nearly every operation.)
_locks: dict[int, list] = {}
CHANGED = 3  # where those begin
# By the same id: where locked memory was written into. Mostly empty.
writes: dict[int, list[str]] = {}


class ReadOnly:
    """Keeps `arrays` (and the memory they are views of) read-only until it is deleted."""

    __slots__ = ("locks", "seen")

    def __init__(self, arrays: tuple[np.ndarray, ...]) -> None:
        self.locks: list[list] = []
        self.seen = 0  # writes before these arrays were saved, which do no harm
        for array in arrays:
            owner = _owner(array)
            key = id(owner)
            lock = _locks.get(key)
            if lock is not None:
                lock[0] += 1
                if writes:
                    self.seen += len(writes.get(key, ()))
            else:
                lock = _locks[key] = [1, key, owner]
                if owner.flags.writeable and is_fresh(owner):
                    owner.setflags(write=False)  # (half the time of `flags.writeable = False`)
                    lock.append(owner)
            if array is not owner and array.flags.writeable and len(lock) > CHANGED:
                array.setflags(write=False)
                lock.append(array)
            self.locks.append(lock)

    def check(self, operation: str) -> None:
        """Raise if a tensor has written into the memory since it was saved.

        Raises:
            RuntimeError: naming the operation, and the file and line that wrote.
        """
        lines = [line for lock in self.locks for line in writes.get(lock[1], ())]
        if len(lines) > self.seen:
            raise RuntimeError(
                f"backward of {operation} needs an array as it was in the forward pass, but it was "
                f"written into at {lines[-1]}; write into a copy (x.clone()), or after backward"
            )

    def __reduce__(self) -> tuple:
        """Pickled, it locks nothing: a copy has arrays of its own."""
        return ReadOnly, ((),)

    def __del__(self) -> None:
        for lock in self.locks:
            lock[0] -= 1
            if lock[0] == 0:
                del _locks[lock[1]]
                writes.pop(lock[1], None)
                for array in lock[CHANGED:]:  # the owner first: a view follows its owner's flag
                    array.setflags(write=True)


def note_write(array: np.ndarray) -> None:
    """To be called before a tensor writes into its array."""
    if _locks and array.flags.writeable:
        key = id(_owner(array))
        if key in _locks:
            writes.setdefault(key, []).append(user_line())


def _owner(array: np.ndarray) -> np.ndarray:
    base = array.base
    return array if base is None or not isinstance(base, np.ndarray) else base
