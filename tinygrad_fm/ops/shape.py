"""Operations that only move elements. Their derivative moves the gradient back."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import numpy as np

from tinygrad_fm.ops.fast.layout import contiguous
from tinygrad_fm.ops.function import Array, Function, Gradients, unbroadcast


class Reshape(Function):
    """y = x in another shape (a view where the memory allows)."""

    def forward(self, x: Array, shape: tuple[int, ...]) -> Array:
        self.shape = x.shape
        if x.ndim == 4 and [n for n in x.shape if n != 1] != [n for n in shape if n != 1]:
            x = contiguous(x)  # NumPy may have to copy, and would on one thread only
        return x.reshape(shape)

    def backward(self, grad: Array) -> Gradients:
        return grad.reshape(self.shape)


class Permute(Function):
    """y = x with its axes in another order (a view)."""

    def forward(self, x: Array, axes: tuple[int, ...]) -> Array:
        self.axes = axes
        return x.transpose(axes)

    def backward(self, grad: Array) -> Gradients:
        return Permute.of(grad, axes=tuple(np.argsort(self.axes).tolist()))


class Expand(Function):
    """y = x repeated along axes of size 1 and new leading axes;  ∂L/∂x sums over the copies."""

    def forward(self, x: Array, shape: tuple[int, ...]) -> Array:
        self.shape = x.shape
        return np.broadcast_to(x, shape)

    def backward(self, grad: Array) -> Gradients:
        return unbroadcast(grad, self.shape)


class Cat(Function):
    """y = the inputs one after another along an axis;  ∂L/∂xᵢ = the i-th slice of g."""

    def forward(self, *arrays: Array, axis: int) -> Array:
        self.axis = axis
        self.ends = [*accumulate(array.shape[axis] for array in arrays)]
        return np.concatenate(arrays, axis=axis)

    def backward(self, grad: Array) -> Gradients:
        before = [slice(None)] * self.axis
        starts = (0, *self.ends[:-1])
        return tuple(
            grad[tuple([*before, slice(start, end)])] if needed else None
            for start, end, needed in zip(starts, self.ends, self.needs_input_grad, strict=True)
        )


class Pad(Function):
    """y = x inside a frame of a constant;  ∂L/∂x = g without the frame: padded by -widths.

    `widths` holds (before, after) per axis; a negative width crops.
    """

    def forward(self, x: Array, widths: tuple[tuple[int, int], ...], value: float) -> Array:
        self.widths = widths
        pairs = list(zip(widths, x.shape, strict=True))
        y = np.full([n + before + after for (before, after), n in pairs], value, dtype=x.dtype)
        # What of x is seen in y, and where in y it lies:
        seen = tuple(slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in pairs)
        inner = tuple(slice(max(b, 0), n + b + a - max(a, 0)) for (b, a), n in pairs)
        y[inner] = x[seen]
        return y

    def backward(self, grad: Array) -> Gradients:
        return Pad.of(grad, widths=tuple((-b, -a) for b, a in self.widths), value=0.0)


ARRAY = "array"
Static = tuple  # the parts of an index: int, None, ..., (start, stop, step), or ARRAY for an input


class Index(Function):
    """y = x[index];  ∂L/∂x = g added up at the places it was read from. Saves arrays in index."""

    def forward(self, x: Array, *arrays: Array, index: Static) -> Array:
        self.shape, self.index = x.shape, index
        self.save_for_backward(*arrays)
        view, picks = two_steps(filled(index, arrays))
        return x[view][picks]

    def backward(self, grad: Array) -> Gradients:
        return Scatter.of(grad, *self.saved, index=self.index, shape=self.shape)


class Scatter(Function):
    """y = zeros of a shape, to which x is added at an index: the adjoint of `Index`."""

    def forward(self, x: Array, *arrays: Array, index: Static, shape: tuple[int, ...]) -> Array:
        self.index = index
        self.save_for_backward(*arrays)
        y = np.zeros(shape, dtype=x.dtype)
        view, picks = two_steps(filled(index, arrays))
        if any(a.dtype != bool for a in arrays):
            np.add.at(y[view], picks, x)  # integer arrays may name a place twice
        else:
            y[view][picks] = x
        return y

    def backward(self, grad: Array) -> Gradients:
        return Index.of(grad, *self.saved, index=self.index)


class Overwrite(Function):
    """y = x with `part` in the places that `view` of it shows;  g goes to whoever stands there.

    `view` is an operation whose result shares its input's memory, `options` are its options. Arrays
    are those of an `Index`, and are saved.
    """

    def forward(
        self,
        x: Array,
        part: Array,
        *arrays: Array,
        view: type[Function],
        options: tuple[tuple[str, Any], ...],
    ) -> Array:
        self.view, self.view_options, self.part_shape = view, options, part.shape
        self.save_for_backward(*arrays)
        y = np.array(x, order="K")  # (a gradient may be a number)
        if arrays:
            seen, picks = two_steps(filled(dict(options)["index"], arrays))
            y[seen][picks] = part
        else:
            view.of(y, **dict(options))[...] = part
        return y

    def backward(self, grad: Array) -> Gradients:
        need_x, need_part, *_ = self.needs_input_grad
        how = {"view": self.view, "options": self.view_options}
        zeros = np.zeros(self.part_shape, grad.dtype)
        dx = Overwrite.of(grad, zeros, *self.saved, **how) if need_x else None
        dpart = self.view.of(grad, *self.saved, **dict(self.view_options)) if need_part else None
        return dx, dpart


def filled(index: Static, arrays: Iterable[Array]) -> tuple:
    """A static index as NumPy takes it, with the arrays in their places."""
    rest = iter(arrays)
    return tuple(
        slice(*part) if isinstance(part, tuple) else next(rest) if part is ARRAY else part
        for part in index
    )


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
