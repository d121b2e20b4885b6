"""Matrix products. g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.function import Function, Gradients, unbroadcast


class Matmul(Function):
    """y = a @ b, leading axes broadcasting;  ∂L/∂a = g bᵀ,  ∂L/∂b = aᵀ g. Saves a and b.

    Shapes: (…, n, k) @ (…, k, m) → (…, n, m); a vector counts as one row (left) or column (right).
    """

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.save_for_backward(a, b)
        return np.matmul(a, b)

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
            grad_a = unbroadcast(grad @ columns.swapaxes(-1, -2), rows.shape).reshape(a.shape)
        if need_b:  # (…, k, n) @ (…, n, m) -> (…, k, m)
            grad_b = unbroadcast(rows.swapaxes(-1, -2) @ grad, columns.shape).reshape(b.shape)
        return grad_a, grad_b


class Linear(Function):
    """y = x Wᵀ + b;  ∂L/∂x = g W,  ∂L/∂W = gᵀ x,  ∂L/∂b = Σ g. Saves x and W.

    Shapes: x (…, I), W (O, I), b (O) → y (…, O).
    """

    def forward(self, x: np.ndarray, weight: np.ndarray, *bias: np.ndarray) -> np.ndarray:
        self.save_for_backward(x, weight)
        y = x @ weight.T  # (…, I) @ (I, O) -> (…, O)
        if bias:
            y += bias[0]
        return y

    def backward(self, grad: np.ndarray) -> Gradients:
        x, weight = self.saved
        need_x, need_weight, *need_bias = self.needs_input_grad
        flat = grad.reshape(-1, grad.shape[-1])  # (M, O), M the product of the leading axes
        grads = [
            grad @ weight if need_x else None,  # (…, O) @ (O, I) -> (…, I)
            flat.T @ x.reshape(-1, x.shape[-1]) if need_weight else None,  # (O, M) @ (M, I)
        ]
        if need_bias:
            grads.append(flat.sum(axis=0) if need_bias[0] else None)
        return tuple(grads)
