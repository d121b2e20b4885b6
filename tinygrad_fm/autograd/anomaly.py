"""`detect_anomaly`: stop at the first operation that makes a NaN or an infinity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_fm.autograd.mode import Runner, Watching
from tinygrad_fm.callsite import user_line
from tinygrad_fm.errors import AnomalyError
from tinygrad_fm.ops.function import Function


def detect_anomaly() -> Watching:
    """Stop at the first operation, forward or backward, that makes a NaN or an infinity.

    Slow (every result is scanned and every operation's place in the user's code is noted): for
    hunting, not for training.

    Raises:
        AnomalyError: naming the operation, its shapes, and the user's file and line.
    """
    return Watching(_scan)


def _scan(outer: Runner) -> Runner:
    def run(node: Function, method: Callable[..., Any], arguments: tuple, options: dict) -> Any:
        if method.__name__ == "forward":
            node.where = user_line()
        results = outer(node, method, arguments, options)
        for result in results if isinstance(results, tuple) else (results,):
            if result is not None and not _finite(result):
                raise AnomalyError(_describe(node, method.__name__, arguments, result))
        return results

    return run


def _finite(array: Any) -> bool:
    array = np.asarray(array)
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def _describe(node: Function, which: str, arguments: tuple, result: np.ndarray) -> str:
    kind = "NaN" if np.isnan(result).any() else "infinity"
    arrays = [a for a in arguments if isinstance(a, np.ndarray | np.generic)]
    shapes = ", ".join("×".join(map(str, a.shape)) or "scalar" for a in arrays)
    blame = "" if all(map(_finite, arrays)) else " (its input already held one)"
    where = node.where or "a line unknown, because the forward pass ran outside detect_anomaly"
    return f"{which} of {node.name()} on {shapes} made {kind}{blame}, called at {where}"
