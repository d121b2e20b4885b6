"""Helpers for training: PyTorch's `torch.nn.utils`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinygrad_fm.autograd.mode import effect
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.ops.fast.blas import one_blas_thread

__all__ = ["clip_grad_norm_"]


@effect
def clip_grad_norm_(
    parameters: Iterable[Tensor] | Tensor,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients so that their joint p-norm (p = `norm_type`) is at most `max_norm`.

    A norm of NaN makes all of them NaN.

    Returns:
        The norm before scaling, a single number.

    Raises:
        RuntimeError: if the norm is NaN or infinite and `error_if_nonfinite` is set.
    """
    tensors = [parameters] if isinstance(parameters, Tensor) else parameters
    grads = [t.grad.data for t in tensors if t.grad is not None]
    norms = [one_blas_thread(np.linalg.norm, g.ravel(), norm_type) for g in grads]
    norm = np.linalg.norm(norms, norm_type)
    if error_if_nonfinite and not np.isfinite(norm):
        raise RuntimeError(f"the norm of the gradients is {norm}; look for it with detect_anomaly")
    scale = max_norm / (float(norm) + 1e-6)
    if not scale >= 1:  # less, or NaN
        for grad in grads:
            grad *= scale
    return Tensor(norm)
