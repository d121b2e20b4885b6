"""Matrix products. g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_fm.ops.fast.blas import multiply, one_blas_thread
from tinygrad_fm.ops.fast.chunks import chunks_of
from tinygrad_fm.ops.fast.memory import empty
from tinygrad_fm.ops.fast.parallel import get_num_threads, parallel_for
from tinygrad_fm.ops.function import Array, Function, Gradients, unbroadcast


class Matmul(Function):
    """y = a @ b, leading axes broadcasting;  ∂L/∂a = g bᵀ,  ∂L/∂b = aᵀ g.

    Shapes: (…, n, k) @ (…, k, m) → (…, n, m); a vector counts as one row (left) or column (right).
    Saves each factor for the other's gradient.
    """

    def forward(self, a: Array, b: Array) -> Array:
        self.a_shape, self.b_shape = a.shape, b.shape
        self.save_factors(a, b)
        return product(a, b)

    def backward(self, grad: Array) -> Gradients:
        a, b = self.saved
        a_shape, b_shape = self.a_shape, self.b_shape
        need_a, need_b = self.needs_input_grad
        if len(b_shape) == 1:
            grad, b_shape = grad[..., None], (*b_shape, 1)
        if len(a_shape) == 1:
            grad, a_shape = grad[..., None, :], (1, *a_shape)
        da = db = None
        if need_a:  # (…, n, m) @ (…, m, k) -> (…, n, k)
            columns = b if b.ndim > 1 else b[:, None]
            copies = product(grad, columns.swapaxes(-1, -2))
            da = unbroadcast(copies, a_shape).reshape(self.a_shape)
        if need_b:  # (…, k, n) @ (…, n, m) -> (…, k, m)
            rows = a if a.ndim > 1 else a[None, :]
            if len(b_shape) == 2 < a.ndim and a.size and grad.size:  # Σ over all leading axes
                rows, grad = rows.reshape(-1, rows.shape[-1]), grad.reshape(-1, grad.shape[-1])
            copies = product(rows.swapaxes(-1, -2), grad)
            db = unbroadcast(copies, b_shape).reshape(self.b_shape)
        return da, db


class Linear(Function):
    """y = x Wᵀ + b;  ∂L/∂x = g W,  ∂L/∂W = gᵀ x,  ∂L/∂b = Σ g. Saves x for W's gradient, W for x's.

    Shapes: x (…, I), W (O, I), b (O) → y (…, O).
    """

    def forward(self, x: Array, weight: Array, *bias: Array) -> Array:
        self.save_factors(x, weight)
        y = product(x.reshape(-1, x.shape[-1]), weight.T)  # (M, I) @ (I, O), M the leading axes
        if bias:
            y += bias[0]
        return y.reshape(*x.shape[:-1], len(weight))

    def backward(self, grad: Array) -> Gradients:
        x, weight = self.saved
        need_x, need_weight, *need_bias = self.needs_input_grad
        flat = grad.reshape(-1, grad.shape[-1])  # (M, O)
        dx = dweight = None
        if need_x:  # (M, O) @ (O, I)
            dx = product(flat, weight).reshape(*grad.shape[:-1], weight.shape[1])
        if need_weight:  # (O, M) @ (M, I)
            dweight = product(flat.T, x.reshape(-1, x.shape[-1]))
        return dx, dweight, *(flat.sum(axis=0) if need else None for need in need_bias)


COLUMNS = 196  # a block of a product: enough work for a thread to be worth waking
SERIAL = 1 << 18  # multiplications below which BLAS itself stays on one thread
WHOLE = 256  # numbers to add up that BLAS takes at once; more it halves, on two threads not quite
EVEN = 32  # where it does on one, unless their number is a multiple of this
PARTS = 4  # of a stack of matrices
PARALLEL = 1 << 23  # multiplications above which waking another thread pays


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b, whose bits don't depend on the number of threads.

    Shapes: as `np.matmul`; (m, k) @ (k, n) are split over threads, and so are many matrices. `out`
    is for the product of two.
    """
    if not isinstance(a, np.ndarray):
        return Matmul.of(a, b)
    if b.ndim == 2 < a.ndim and a.size:
        return product(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[1])
    if a.ndim != 2 or b.ndim != 2:
        return products(a, b)
    work = a.shape[0] * a.shape[1] * b.shape[1]
    if work <= SERIAL:
        return np.matmul(a, b, out=out)
    y = empty((a.shape[0], b.shape[1]), a.dtype) if out is None else out
    rest = a.shape[1] % EVEN if a.shape[1] > WHOLE else 0
    if rest:
        product(a[:, :-rest], b[:-rest], y)
        y += product(a[:, -rest:], b[-rest:])
    else:
        multiply(in_blocks, a, b, y, get_num_threads())
    return y


def in_blocks(a: Array, b: Array, y: Array) -> None:
    """y = a @ b, in blocks of columns on our own threads if it is large."""
    if a.size * b.shape[1] <= PARALLEL:
        one_blas_thread(np.matmul, a, b, out=y)
        return
    columns = chunks_of(b.shape[1], min(COLUMNS, -(-b.shape[1] // 2)))

    def body(i: int) -> None:
        np.matmul(a, b[:, columns[i]], out=y[:, columns[i]])

    parallel_for(body, len(columns))


def products(a: Array, b: Array) -> Array:
    """a @ b for stacks of matrices, large ones in parts of their first axis."""
    if min(a.ndim, b.ndim) < 2 or (stack := np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))[0] < 2:
        return one_blas_thread(np.matmul, a, b)
    shape = (*stack, a.shape[-2], b.shape[-1])
    if math.prod(shape) * a.shape[-1] <= PARALLEL:
        return one_blas_thread(np.matmul, a, b)
    a, b = (np.broadcast_to(x, (*stack, *x.shape[-2:])) for x in (a, b))
    y, parts = empty(shape, np.result_type(a, b)), chunks_of(stack[0], -(-stack[0] // PARTS))

    def body(i: int) -> None:
        np.matmul(a[parts[i]], b[parts[i]], out=y[parts[i]])

    parallel_for(body, len(parts))
    return y
