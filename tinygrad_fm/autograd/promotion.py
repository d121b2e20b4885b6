"""Which dtype an operation on two arrays has: PyTorch's rules of promotion."""

from __future__ import annotations

from typing import Any

import numpy as np

_KINDS = "biufc"  # from the lowest category to the highest: boolean, integers, floats, complex


def holds_float64(data: Any) -> bool:
    """Whether data, or something in its lists, is a float64 array or number of NumPy's."""
    if isinstance(data, list | tuple):
        return any(map(holds_float64, data))
    return getattr(data, "dtype", None) == np.float64


def result_type(a: np.ndarray, b: np.ndarray) -> np.dtype:
    """The dtype of a with b: the higher category wins, then axes over none, then the wider."""
    rank_a, rank_b = (_KINDS.index("i" if x.dtype.kind == "u" else x.dtype.kind) for x in (a, b))
    if rank_a != rank_b:
        return a.dtype if rank_a > rank_b else b.dtype
    if (a.ndim == 0) != (b.ndim == 0):
        return b.dtype if a.ndim == 0 else a.dtype
    return np.promote_types(a.dtype, b.dtype)
