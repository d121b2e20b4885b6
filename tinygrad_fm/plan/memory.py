"""Memory laid out beforehand: places that are taken and given back in the order of a plan."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_fm.plan.trace import Spec

ALIGNMENT = 64  # bytes


class Arena:
    """Hands out arrays, and the places of those that were given back once more.

    A place is a piece of a larger one, found by best fit; neighbours that are free grow together.
    """

    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []
        self.free: list[tuple[int, int, int]] = []  # (block, start, end)
        self.taken: dict[int, tuple[int, int, int]] = {}  # by the id of an array

    @property
    def nbytes(self) -> int:
        return sum(block.nbytes for block in self.blocks)

    def take(self, spec: Spec) -> np.ndarray:
        """An array of a shape, dtype and order of axes, with whatever its memory last held."""
        ordered = tuple(spec.shape[i] for i in spec.order)
        size = -(-max(math.prod(ordered) * spec.dtype.itemsize, 1) // ALIGNMENT) * ALIGNMENT
        fitting = [place for place in self.free if place[2] - place[1] >= size]
        if fitting:
            block, start, end = min(fitting, key=lambda place: place[2] - place[1])
            self.free.remove((block, start, end))
            if end - start > size:
                self.free.append((block, start + size, end))
        else:
            block, start = len(self.blocks), 0
            self.blocks.append(_aligned(size))
        array: np.ndarray = np.ndarray(ordered, spec.dtype, self.blocks[block], start)
        array = array.transpose(np.argsort(spec.order)) if spec.order else array
        self.taken[id(array)] = (block, start, start + size)
        return array

    def place(self, array: np.ndarray) -> slice:
        """Where an array lies, counted in bytes from the beginning of the first block."""
        block, start, end = self.taken[id(array)]
        before = sum(found.nbytes for found in self.blocks[:block])
        return slice(before + start, before + end)

    def give(self, array: np.ndarray) -> None:
        """Take an array's place back. (The array itself is kept by who uses it.)"""
        block, start, end = self.taken.pop(id(array))
        for place in list(self.free):
            if place[0] == block and (place[2] == start or place[1] == end):
                self.free.remove(place)
                start, end = min(start, place[1]), max(end, place[2])
        self.free.append((block, start, end))


def _aligned(size: int) -> np.ndarray:
    memory = np.empty(size + ALIGNMENT, np.uint8)
    offset = -memory.ctypes.data % ALIGNMENT
    return memory[offset : offset + size]
