"""How an array is summed up on one line."""

from __future__ import annotations

import numpy as np


def describe(name: str, array: np.ndarray, origin: str) -> str:
    """`name(values or shape, dtype, range, mean, deviation, origin)`; NaN is pointed out.

    Up to ten values are shown themselves; of more, their range and moments.
    """
    parts = ["×".join(map(str, array.shape)) or "scalar", str(array.dtype)]
    if 0 < array.size <= 10:
        values = np.array2string(array, precision=4, separator=", ")
        parts.insert(0, " ".join(values.split()).replace("[ ", "["))
    elif array.size and array.dtype.kind == "f":
        with np.errstate(all="ignore"):  # of infinities, and of sums beyond the dtype's range
            low, high, mean, std = (f(array) for f in (np.min, np.max, np.mean, np.std))
        parts += [f"x∈[{low:.3g}, {high:.3g}]", f"μ={mean:.3g}", f"σ={std:.3g}"]
        parts += ["NaN!"] if np.isnan(array).any() else []
    elif array.size and array.dtype.kind != "c":
        parts += [f"x∈[{array.min()}, {array.max()}]"]
    return f"{name}({', '.join(parts + [origin] * bool(origin))})"
