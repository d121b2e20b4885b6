"""Matrix products. g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.function import Function, Gradients, unbroadcast
from tinygrad_fm.ops.memory import empty
from tinygrad_fm.ops.parallel import one_blas_thread, parallel_for


class Matmul(Function):
    """y = a @ b, leading axes broadcasting;  ∂L/∂a = g bᵀ,  ∂L/∂b = aᵀ g. Saves a and b.

    Shapes: (…, n, k) @ (…, k, m) → (…, n, m); a vector counts as one row (left) or column (right).
    """

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.save_for_backward(a, b)
        return product(a, b)

    def backward(self, grad: np.ndarray) -> Gradients:
        a, b = self.saved
        need_a, need_b = self.needs_input_grad
        rows = a if a.ndim > 1 else a[None, :]
        columns = b if b.ndim > 1 else b[:, None]
        if b.ndim == 1:
            grad = grad[..., None]
        if a.ndim == 1:
            grad = grad[..., None, :]
        grad_a = grad_b = None
        if need_a:  # (…, n, m) @ (…, m, k) -> (…, n, k)
            copies = product(grad, columns.swapaxes(-1, -2))
            grad_a = unbroadcast(copies, rows.shape).reshape(a.shape)
        if need_b:  # (…, k, n) @ (…, n, m) -> (…, k, m)
            copies = product(rows.swapaxes(-1, -2), grad)
            grad_b = unbroadcast(copies, columns.shape).reshape(b.shape)
        return grad_a, grad_b


class Linear(Function):
    """y = x Wᵀ + b;  ∂L/∂x = g W,  ∂L/∂W = gᵀ x,  ∂L/∂b = Σ g. Saves x and W.

    Shapes: x (…, I), W (O, I), b (O) → y (…, O).
    """

    def forward(self, x: np.ndarray, weight: np.ndarray, *bias: np.ndarray) -> np.ndarray:
        self.save_for_backward(x, weight)
        y = product(x.reshape(-1, x.shape[-1]), weight.T)  # (M, I) @ (I, O), M the leading axes
        if bias:
            y += bias[0]
        return y.reshape(*x.shape[:-1], len(weight))

    def backward(self, grad: np.ndarray) -> Gradients:
        x, weight = self.saved
        need_x, need_weight, *need_bias = self.needs_input_grad
        flat = grad.reshape(-1, grad.shape[-1])  # (M, O)
        grads = [
            product(flat, weight).reshape(x.shape) if need_x else None,  # (M, O) @ (O, I)
            product(flat.T, x.reshape(-1, x.shape[-1])) if need_weight else None,  # (O, M) @ (M, I)
        ]
        if need_bias:
            grads.append(flat.sum(axis=0) if need_bias[0] else None)
        return tuple(grads)


COLUMNS = 196  # a block of a product: enough work for a thread to be worth waking
SERIAL = 1 << 18  # multiplications below which BLAS itself stays on one thread
PARALLEL = 1 << 23  # multiplications above which waking another thread pays


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b, whose bits don't depend on the number of threads: large matrices in blocks of columns.

    Shapes: as `np.matmul`; (m, k) @ (k, n) are split over threads.
    """
    if a.ndim != 2 or b.ndim != 2:
        return one_blas_thread(np.matmul, a, b)
    work = a.shape[0] * a.shape[1] * b.shape[1]
    if work <= SERIAL:
        return np.matmul(a, b)
    y = empty((a.shape[0], b.shape[1]), a.dtype)
    if work <= PARALLEL:
        return one_blas_thread(np.matmul, a, b, out=y)

    width = min(COLUMNS, -(-b.shape[1] // 2))

    def body(i: int) -> None:
        columns = slice(i * width, (i + 1) * width)
        np.matmul(a, b[:, columns], out=y[:, columns])

    parallel_for(body, -(-b.shape[1] // width))
    return y
