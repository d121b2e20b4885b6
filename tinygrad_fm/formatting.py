"""How an array is summed up on one line, and how text of others is made fit for a terminal."""

from __future__ import annotations

import numpy as np


def describe(name: str, array: np.ndarray, origin: str) -> str:
    """`name(values or shape, dtype, range, mean, deviation, origin)`; NaN is pointed out.

    Up to ten values are shown themselves; of more, their range and moments. It is all ASCII, which
    every terminal and every file can hold.
    """
    parts = ["x".join(map(str, array.shape)) or "scalar", str(array.dtype)]
    if 0 < array.size <= 10:
        values = np.array2string(array, precision=4, separator=", ")
        parts.insert(0, " ".join(values.split()).replace("[ ", "["))
    elif array.size and array.dtype.kind == "f":
        with np.errstate(all="ignore"):  # of infinities, and of sums beyond the dtype's range
            low, high, mean, std = (f(array) for f in (np.min, np.max, np.mean, np.std))
        parts += [f"in [{low:.3g}, {high:.3g}]", f"mean={mean:.3g}", f"std={std:.3g}"]
        parts += ["NaN!"] if np.isnan(array).any() else []
    elif array.size and array.dtype.kind != "c":
        parts += [f"in [{array.min()}, {array.max()}]"]
    return f"{name}({', '.join(parts + [origin] * bool(origin))})"


def printable(text: object) -> str:
    """Text that shows itself and does nothing else: ESC becomes \\x1b, a line break \\n.

    A terminal obeys what some characters say: it would clear itself, hide what was written before,
    or write from right to left. Names of files, classes and weights may come from anybody.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )
