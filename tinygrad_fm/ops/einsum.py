"""Einstein summation: one notation for products, sums, traces and transposes."""

from __future__ import annotations

import string

import numpy as np

from tinygrad_fm.ops.fast.blas import one_blas_thread
from tinygrad_fm.ops.function import Array, Function, Gradients, unbroadcast


class Einsum(Function):
    """y = einsum(equation, x₁, …, xₙ).

    ∂L/∂xᵢ is again an einsum: of g and all other operands, onto xᵢ's letters. Two things need
    care. A letter that only xᵢ has was summed over: the gradient is copied along it (a factor of
    ones). A letter that xᵢ has twice reads a diagonal: its second copy gets a letter of its own,
    and an identity matrix ties the two.
    """

    def forward(self, *arrays: Array, equation: str) -> Array:
        self.inputs, self.output = explicit(equation, [array.ndim for array in arrays])
        for letters, array in zip(self.inputs, arrays, strict=True):
            if len(set(zip(letters, array.shape, strict=True))) > len(set(letters)):
                raise ValueError(f"einsum reads a diagonal ({letters!r}) of shape {array.shape}")
        self.save_for_backward(*arrays)
        spelled = ",".join(self.inputs) + "->" + self.output
        summed = set(self.inputs[0]) - set(self.output)
        if len(arrays) == 1 and summed and arrays[0].dtype.kind in "biu":
            arrays = (arrays[0].astype(np.int64),)  # as `sum` does
        return one_blas_thread(np.einsum, spelled, *arrays, optimize=len(arrays) > 1)

    def backward(self, grad: Array) -> Gradients:
        return tuple(
            self.gradient_of(i, grad) if needed else None
            for i, needed in enumerate(self.needs_input_grad)
        )

    def gradient_of(self, which: int, grad: Array) -> Array:
        target, shape = self.inputs[which], self.saved[which].shape
        letters = [self.output, *(s for i, s in enumerate(self.inputs) if i != which)]
        factors = [grad, *(a for i, a in enumerate(self.saved) if i != which)]
        known = set("".join(letters))
        spare = (c for c in string.ascii_letters if c not in known | set(target))
        result = ""
        for letter, size in zip(target, shape, strict=True):
            if letter in result:
                copy = next(spare)
                letters.append(letter + copy)
                factors.append(np.eye(size, dtype=grad.dtype))
                result += copy
            else:
                if letter not in known:
                    letters.append(letter)
                    factors.append(np.ones(size, dtype=grad.dtype))
                result += letter
        equation = ",".join(letters) + "->" + result
        grad = one_blas_thread(np.einsum, equation, *factors, optimize=True)
        # A letter may have size 1 in this operand or in the others: it was broadcast then.
        return unbroadcast(np.broadcast_to(grad, np.broadcast_shapes(grad.shape, shape)), shape)


def explicit(equation: str, dimensions: list[int]) -> tuple[list[str], str]:
    """Spell an equation out: operands' letters and output letters, without '...' or blanks.

    Raises:
        ValueError: if the equation does not fit the number of operands or of their axes.
    """
    left, arrow, output = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    if len(operands) != len(dimensions):
        raise ValueError(
            f"einsum equation {equation!r} names {len(operands)} operands, got {len(dimensions)}"
        )
    spare = [c for c in string.ascii_letters if c not in equation]
    widths = [
        n - len(s.replace("...", "")) if "..." in s else 0
        for s, n in zip(operands, dimensions, strict=True)
    ]
    rest = "".join(spare[: max(widths)])  # what '...' stands for, counted from the right
    spelled = [
        s.replace("...", rest[len(rest) - w :]) for s, w in zip(operands, widths, strict=True)
    ]
    for s, letters, n in zip(operands, spelled, dimensions, strict=True):
        if len(letters) != n:
            raise ValueError(f"einsum operand {s!r} of {equation!r} got an array with {n} axes")
    if not arrow:  # implicit output: '...' and the letters that occur once, in alphabetical order
        once = sorted(c for c in set(left) if c.isalpha() and left.count(c) == 1)
        output = ("..." if "..." in left else "") + "".join(once)
    return spelled, output.replace("...", rest)
