"""What has no derivative, because its values are truth values or whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_fm.ops.function import Array, Function


class Discrete(Function):
    """y = function(*arrays, *numbers, **how): comparisons, the place of a maximum, rounding down.

    Args:
        numbers: operands that are no arrays, for NumPy to fit to the arrays.
    """

    def forward(
        self, *arrays: Array, function: Callable[..., Any], numbers: tuple = (), **how: Any
    ) -> Array:
        return np.asarray(function(*arrays, *numbers, **how))


def one_hot(index: Array, classes: int) -> Array:
    """Integers (…) → zeros and ones (…, classes).

    Raises:
        ValueError: if they are not integers from 0 to classes - 1.
    """
    if index.dtype.kind not in "iu" or (
        index.size and not 0 <= index.min() <= index.max() < classes
    ):
        found = f"{index.min()} to {index.max()}" if index.size else "none"
        raise ValueError(
            f"one_hot expects integers from 0 to {classes - 1}, got {index.dtype} {found}"
        )
    return np.eye(classes, dtype=np.int64)[index]
