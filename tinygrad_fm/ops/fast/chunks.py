"""Work in chunks, each with working memory that the next one gets again.

    def body(i, chunk, take):
        rows = take((4, n), dtype)  # uninitialised, like np.empty
        ...

    for_chunks(body, chunks_of(len(x)))

No two arrays that are in use share memory; a chunk's are given back when it is done, and are in a
core's cache by then.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_fm.ops.fast.parallel import parallel_for

IMAGES = 16  # of a chunk: few enough for a core's cache, many enough for long NumPy calls
NUMBERS = 1 << 16  # of a chunk of an element-by-element operation
ALIGNMENT = 64  # bytes between the beginnings of arrays: enough for every dtype
Take = Callable[[tuple[int, ...], DTypeLike], np.ndarray]


def chunks_of(count: int, length: int = IMAGES) -> list[slice]:
    """Work cut into chunks, by its size alone: of `length`, and the last of what is left."""
    return [slice(start, min(start + length, count)) for start in range(0, count, length)]


def even_chunks(count: int, most: int) -> list[slice]:
    """As few chunks of up to `most` as there can be, about even in length."""
    number = -(-count // max(most, 1))
    return chunks_of(count, -(-count // max(number, 1)) or 1)


def for_chunks(body: Callable[[int, slice, Take], Any], chunks: list[slice]) -> None:
    """body(i, chunks[i], take) for every chunk, on all threads."""

    def run(i: int) -> None:
        with Workspace() as take:
            body(i, chunks[i], take)

    parallel_for(run, len(chunks))


_thread = threading.local()  # whose `spare` holds its buffers that no workspace is using


class Workspace:
    """A buffer from which arrays are taken, one behind the other, until the `with` block ends.

    A workspace within another has a buffer of its own. (An interrupt that keeps a block from giving
    its buffer back costs that buffer, no more.)
    """

    def __enter__(self) -> Take:
        self.spare: list[np.ndarray] = _thread.__dict__.setdefault("spare", [])
        self.buffer = self.spare.pop() if self.spare else np.empty(0, np.uint8)
        self.used = 0
        return self.take

    def __exit__(self, *error: object) -> None:
        self.spare.append(self.buffer)

    def take(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """The next array, with whatever its memory last held."""
        start, size = self.used, math.prod(shape) * np.dtype(dtype).itemsize
        self.used += -(-size // ALIGNMENT) * ALIGNMENT
        if self.used > len(self.buffer):  # the arrays taken before keep the old one alive
            self.buffer = np.empty(self.used, np.uint8)
        return np.ndarray(shape, dtype, self.buffer, start)
