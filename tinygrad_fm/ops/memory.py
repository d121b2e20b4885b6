"""Large arrays whose memory is used again instead of being given back to the system.

A fresh array of some megabytes costs more than most things that are done with it: the system maps
its pages one by one, at the first touch. A training step needs the same sizes again and again, so
memory that no array uses any more is kept for the next array of that size.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

SMALL = 1 << 15  # bytes; below this NumPy's own allocator is faster
_free: defaultdict[int, list[np.ndarray]] = defaultdict(list)
_held = {"free": 0, "used": 0}  # bytes


class _Block:
    """Owns one piece of memory, and hands it back when the last array on it is gone.

    NumPy keeps the object that an array was made from alive as long as any view of that array
    lives, so this is safe whatever the user keeps.
    """

    __slots__ = ("__array_interface__", "memory")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, size: int) -> None:
        spare = _free[size]
        if spare:
            self.memory = spare.pop()
            _held["free"] -= size
        else:
            if _held["free"] > _held["used"]:
                release()  # the sizes have changed: what is spare may never be asked for again
            self.memory = np.empty(size, np.uint8)
        _held["used"] += size
        address = self.memory.__array_interface__["data"]
        self.__array_interface__ = {
            "data": address,
            "shape": shape,
            "typestr": dtype.str,
            "version": 3,
        }

    def __del__(self) -> None:
        size = self.memory.size
        _held["used"] -= size
        _held["free"] += size
        _free[size].append(self.memory)


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """`np.empty`, on reused memory if it is large."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    return np.asarray(_Block(shape, dtype, size))


def empty_like(array: np.ndarray, dtype: DTypeLike | None = None) -> np.ndarray:
    """`empty` in an array's shape and memory layout."""
    order = sorted(range(array.ndim), key=lambda i: -abs(array.strides[i]))
    result = empty(tuple(array.shape[i] for i in order), array.dtype if dtype is None else dtype)
    return result.transpose(np.argsort(order)) if order != list(range(array.ndim)) else result


def is_fresh(array: np.ndarray) -> bool:
    """Whether the array was made whole, rather than being a view of another."""
    return array.base is None or type(array.base) is _Block


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
