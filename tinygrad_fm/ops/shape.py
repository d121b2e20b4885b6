"""Operations that only move elements. Their derivative moves the gradient back."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_fm.ops.function import Function, Gradients, unbroadcast
from tinygrad_fm.ops.layout import contiguous


class Reshape(Function):
    """y = x in another shape (a view where the memory allows)."""

    def forward(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        self.shape = x.shape
        if x.ndim == 4 and [n for n in x.shape if n != 1] != [n for n in shape if n != 1]:
            x = contiguous(x)  # NumPy may have to copy, and would on one thread only
        return x.reshape(shape)

    def backward(self, grad: np.ndarray) -> Gradients:
        return grad.reshape(self.shape)


class Permute(Function):
    """y = x with its axes in another order (a view)."""

    def forward(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        self.axes = axes
        return x.transpose(axes)

    def backward(self, grad: np.ndarray) -> Gradients:
        return grad.transpose(np.argsort(self.axes))


class Expand(Function):
    """y = x repeated along axes of size 1 and new leading axes;  ∂L/∂x sums over the copies."""

    def forward(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        self.shape = x.shape
        return np.broadcast_to(x, shape)

    def backward(self, grad: np.ndarray) -> Gradients:
        return unbroadcast(grad, self.shape)


class Cat(Function):
    """y = the inputs one after another along an axis;  ∂L/∂xᵢ = the i-th slice of g."""

    def forward(self, *arrays: np.ndarray, axis: int) -> np.ndarray:
        self.axis = axis
        self.ends = np.cumsum([array.shape[axis] for array in arrays])
        return np.concatenate(arrays, axis=axis)

    def backward(self, grad: np.ndarray) -> Gradients:
        pieces = np.split(grad, self.ends[:-1], axis=self.axis)
        return tuple(
            piece if needed else None
            for piece, needed in zip(pieces, self.needs_input_grad, strict=True)
        )


class Pad(Function):
    """y = x inside a frame of a constant;  ∂L/∂x = g without the frame.

    `widths` holds (before, after) per axis; a negative width crops.
    """

    def forward(
        self, x: np.ndarray, widths: tuple[tuple[int, int], ...], value: float
    ) -> np.ndarray:
        self.shape = x.shape
        pairs = list(zip(widths, x.shape, strict=True))
        y = np.full([n + before + after for (before, after), n in pairs], value, dtype=x.dtype)
        # What of x is seen in y, and where in y it lies:
        self.seen = tuple(slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in pairs)
        self.inner = tuple(slice(max(b, 0), n + b + a - max(a, 0)) for (b, a), n in pairs)
        y[self.inner] = x[self.seen]
        return y

    def backward(self, grad: np.ndarray) -> Gradients:
        dx = np.zeros(self.shape, dtype=grad.dtype)
        dx[self.seen] = grad[self.inner]
        return dx


class Index(Function):
    """y = x[index];  ∂L/∂x = g added up at the places it was read from. Saves arrays in index."""

    def forward(self, x: np.ndarray, index: tuple) -> np.ndarray:
        self.shape = x.shape
        self.view, self.picks = two_steps(index)
        self.save_for_backward(*(i for i in index if isinstance(i, np.ndarray)))
        return x[self.view][self.picks]

    def backward(self, grad: np.ndarray) -> Gradients:
        dx = np.zeros(self.shape, dtype=grad.dtype)
        seen = dx[self.view]
        if any(isinstance(i, np.ndarray) and i.dtype != bool for i in self.picks):
            np.add.at(seen, self.picks, grad)  # integer arrays may name a place twice
        else:
            seen[self.picks] = grad
        return dx


def two_steps(index: tuple) -> tuple[tuple, tuple]:
    """x[index] as x[view][picks]: always a view first, from which arrays then pick.

    PyTorch's order: an integer takes its axis away before arrays pick. (NumPy takes an integer
    beside an array for an array, too, and where a slice parts the two it moves their common axis
    to the front.) The `...` at the end makes even a single number a view.
    """
    view, picks = index, (...,)
    if any(isinstance(part, np.ndarray) for part in index):
        view = tuple(axis for part in index for axis in _integers_only(part))
        picks = tuple(part for part in index if not isinstance(part, int))
    return (view if any(part is ... for part in view) else (*view, ...)), picks


def _integers_only(part: Any) -> tuple:
    """One part of an index as it is if it is an integer, else all of the axes that it is for."""
    if isinstance(part, np.ndarray):
        return (slice(None),) * (part.ndim if part.dtype == bool else 1)
    if isinstance(part, int) or part is ...:
        return (part,)
    return () if part is None else (slice(None),)


class Gather(Function):
    """y[…, i, …] = x[…, index[…, i, …], …] along an axis;  ∂L/∂x = g added where x was read.

    Saves index.
    """

    def forward(self, x: np.ndarray, axis: int, index: np.ndarray) -> np.ndarray:
        self.shape = x.shape
        places = list(np.ogrid[tuple(slice(n) for n in index.shape)])
        if x.ndim:  # a number has no axis to be read along
            places[axis] = index
        self.places = tuple(places)
        self.save_for_backward(index)
        return x[self.places]

    def backward(self, grad: np.ndarray) -> Gradients:
        dx = np.zeros(self.shape, dtype=grad.dtype)
        np.add.at(dx, self.places, grad)
        return dx
