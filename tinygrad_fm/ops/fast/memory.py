"""Large arrays whose memory is used again instead of being given back to the system.

A fresh array of some megabytes costs more than most things that are done with it: the system maps
its pages one by one, at the first touch. A training step needs the same sizes again and again, so
memory that no array uses any more is kept for the next array of that size.
"""

from __future__ import annotations

import ctypes
import math
from collections import defaultdict
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

SMALL = 1 << 15  # bytes; below this NumPy's own allocator is faster
_free: defaultdict[int, list[np.ndarray]] = defaultdict(list)
# Bytes that are free or in use. It changes in one step with what it counts: without a call between
# the two lines neither an interrupt nor another thread can come between them.
_total = 0
_look_at = 0  # the total at which to look whether too much of it is spare


@cache
def _block_type(size: int) -> Any:
    """A buffer of `size` bytes that hands its memory back when the last array on it is gone.

    NumPy keeps the object that an array was made from alive as long as any view of that array
    lives, so this is safe whatever the user keeps. (A ctypes array, because it is the one kind of
    object that is a writable buffer on other memory and can notice its own end: see `undo.py`.)
    """
    return type("Block", (ctypes.c_char * size,), {"__slots__": ("__del__", "start", "whole")})


def _memory(size: int) -> np.ndarray:
    """`size` bytes, uncounted: spare ones if there are any of that size."""
    global _total, _look_at
    spare = _free[size]
    if spare:
        _total -= size
        return spare.pop()
    if _total >= _look_at:
        if 2 * _spare() > _total:
            release()  # the sizes have changed: what is spare may never be asked for again
        _look_at = _total * 9 // 8
    return np.empty(size, np.uint8)


def _spare() -> int:
    """Bytes that are kept for later."""
    return sum(size * len(spare) for size, spare in list(_free.items()))


def in_use() -> int:
    """Bytes of large arrays that are in use."""
    return _total - _spare()


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """`np.empty`, on reused memory if it is large."""
    global _total
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    memory = _memory(size)
    block = _block_type(size).from_buffer(memory)
    give_back = partial(_free[size].append, memory)
    block.__del__ = give_back
    _total += size
    return np.ndarray(shape, dtype, buffer=block)


def parts_of(shapes: Sequence[tuple[int, ...]], dtype: DTypeLike) -> list[np.ndarray]:
    """New arrays of these shapes, one behind the other in the memory of one: see `whole_of`.

    Each counts as made whole (`is_fresh`); their memory is used again when all of them are gone.
    """
    sizes = [math.prod(shape) for shape in shapes]
    whole = empty((sum(sizes),), dtype)
    memory, start, parts = whole.data.cast("B"), 0, []
    for shape, size in zip(shapes, sizes, strict=True):
        block = _block_type(size * whole.itemsize).from_buffer(memory, start * whole.itemsize)
        block.whole, block.start = whole, start
        parts.append(np.ndarray(shape, dtype, buffer=block))
        start += size
    return parts


def whole_of(parts: Sequence[np.ndarray]) -> np.ndarray | None:
    """The array that `parts` are all parts of, in order and without a gap; else None."""
    whole, place = getattr(parts[0].base, "whole", None), 0
    for part in parts:
        base: Any = part.base
        if whole is None or getattr(base, "whole", None) is not whole or base.start != place:
            return None
        place += part.size
    return whole if whole is not None and place == whole.size else None


def empty_like(
    array: np.ndarray, dtype: DTypeLike | None = None, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """`empty` in an array's memory layout and shape, or in another shape with as many axes."""
    shape = array.shape if shape is None else shape
    return empty_in(order_of(array), shape, array.dtype if dtype is None else dtype)


def order_of(array: np.ndarray) -> list[int]:
    """An array's axes as they lie in memory, the outermost first."""
    return sorted(range(array.ndim), key=lambda i: -abs(array.strides[i]))


def empty_in(order: Sequence[int], shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """`empty` whose axes lie in memory in some order, the outermost first."""
    result = empty(tuple(shape[i] for i in order), dtype)
    if [*order] == [*range(len(order))]:
        return result
    back = np.argsort(order)
    if not isinstance(result.base, ctypes.Array):
        return result.transpose(back)
    # Made whole, and no view of an array: the walk back may keep it as a gradient.
    return np.ndarray(shape, dtype, result.base, strides=[result.strides[i] for i in back])


def copy_of(array: np.ndarray) -> np.ndarray:
    """A copy in the array's own memory layout (`array.copy()` would bring it into row-major order,
    element by element)."""
    result = empty_like(array)
    result[...] = array
    return result


def is_fresh(array: np.ndarray) -> bool:
    """Whether the array was made whole, rather than being a view of another."""
    return array.base is None or isinstance(array.base, ctypes.Array)


def release() -> None:
    """Give all memory that is kept for later back to the system."""
    global _total, _look_at
    _look_at = 0
    for size, spare in list(_free.items()):
        while spare:
            del spare[-1]
            _total -= size
