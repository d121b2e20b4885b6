"""Large arrays whose memory is used again instead of being given back to the system.

A fresh array of some megabytes costs more than most things that are done with it: the system maps
its pages one by one, at the first touch. A training step needs the same sizes again and again, so
memory that no array uses any more is kept for the next array of that size.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections import defaultdict
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

SMALL = 1 << 15  # bytes; below this NumPy's own allocator is faster
_free: defaultdict[int, list[np.ndarray]] = defaultdict(list)
_held = {"free": 0, "used": 0}  # bytes


def _give_back(block: Any) -> None:
    size = block.memory.size
    _held["used"] -= size
    _held["free"] += size
    _free[size].append(block.memory)


@cache
def _block_type(size: int) -> Any:
    """A buffer of `size` bytes that hands its memory back when the last array on it is gone.

    NumPy keeps the object that an array was made from alive as long as any view of that array
    lives, so this is safe whatever the user keeps. (A ctypes array, because it is the one kind of
    object that is a writable buffer on other memory and can notice its own end.)
    """
    return type("Block", (ctypes.c_char * size,), {"__del__": _give_back})


def _memory(size: int) -> np.ndarray:
    """`size` bytes: spare ones if there are any of that size."""
    if _free[size]:
        _held["free"] -= size
        return _free[size].pop()
    if _held["free"] > _held["used"]:
        release()  # the sizes have changed: what is spare may never be asked for again
    return np.empty(size, np.uint8)


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """`np.empty`, on reused memory if it is large."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    memory = _memory(size)
    block = _block_type(size).from_buffer(memory)
    block.memory = memory
    _held["used"] += size
    return np.ndarray(shape, dtype, buffer=block)


def empty_like(array: np.ndarray, dtype: DTypeLike | None = None) -> np.ndarray:
    """`empty` in an array's shape and memory layout."""
    order = sorted(range(array.ndim), key=lambda i: -abs(array.strides[i]))
    result = empty(tuple(array.shape[i] for i in order), array.dtype if dtype is None else dtype)
    return result.transpose(np.argsort(order)) if order != list(range(array.ndim)) else result


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
    _free.clear()
    _held["free"] = 0


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[str, np.ndarray] = {}


_scratch = _Scratch()


def scratch(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """This thread's working memory called `name`, with whatever it last held.

    Only for arrays that are done with when the function that asked for them returns.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    buffer: Any = _scratch.buffers.get(name)
    if buffer is None or buffer.size < size:
        buffer = _scratch.buffers[name] = np.empty(size, np.uint8)
    return buffer[:size].view(dtype).reshape(shape)
