"""Where the time goes: a table of what every operation cost, forward and backward.

    with tinygrad_fm.profile() as costs:
        loss = loss_fn(model(images), labels)
        loss.backward()
    print(costs)

Operations are timed one by one as they run, by the hook of `running`; nothing is wrapped
or changed. The number of floating-point operations follows from shapes and is that of the
definition: a convolution that takes a short cut (Winograd) can show more GFLOP/s than the
processor's peak.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from tinygrad_fm.autograd.mode import Runner, Watching
from tinygrad_fm.ops.function import Function


@dataclass
class Direction:
    """What the forward or the backward half of an operation cost, summed over its calls."""

    calls: int = 0
    seconds: float = 0.0
    flops: int = 0
    bytes: int = 0  # of the arrays that went in and came out

    def add(self, seconds: float, flops: int, size: int) -> None:
        self.calls += 1
        self.seconds += seconds
        self.flops += flops
        self.bytes += size


class OperationCost(Direction):
    """One kind of operation with one shape of output: forward, backward, and itself their sum."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.name, self.shape = name, shape
        self.forward, self.backward = Direction(), Direction()


class Profile:
    """What `profile` measured.

    Attributes:
        operations: one entry for each operation and output shape, in the order of first use.
        seconds: wall-clock time of the whole block, operations or not.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._costs: dict[tuple[str, tuple[int, ...]], OperationCost] = {}

    @property
    def operations(self) -> list[OperationCost]:
        return list(self._costs.values())

    def table(self, markdown: bool = False) -> str:
        """A table, the most expensive operation first, that fits 80 columns."""
        from tinygrad_fm.report.table import format_table

        ordered = sorted(self.operations, key=lambda cost: -cost.seconds)
        rows = [_row(cost, self.seconds) for cost in ordered]
        inside = sum(cost.seconds for cost in ordered)
        total = {"forward ms": self._sum("forward"), "backward ms": self._sum("backward")}
        rows += [
            {"operation": "all of these", **total, "share": _divide(inside, self.seconds)},
            # Python between the operations, the optimizer, the data.
            {"operation": "the rest", "share": 1 - _divide(inside, self.seconds)},
        ]
        formats = {
            "forward ms": ".2f",
            "backward ms": ".2f",
            "share": ".1%",
            "GFLOP/s": ".1f",
            "MB": ",.1f",
        }
        return format_table(rows, formats, markdown)

    __str__ = table

    def record(
        self, node: Function, which: str, seconds: float, arrays: tuple, results: Any
    ) -> None:
        """Add one call of `node.forward` or `node.backward`, with the arrays it took and gave."""
        outputs = results if isinstance(results, tuple) else (results,)
        size = sum(a.nbytes for a in (*arrays, *outputs) if a is not None)
        if which == "forward":
            flops = node.flops = forward_flops(node, arrays, results)
            key = node.name(), results.shape
        else:
            flops = backward_flops(node, node.flops)
            key = node.name(), node.output_shape
        cost = self._costs.setdefault(key, OperationCost(*key))
        for part in (cost, getattr(cost, which)):
            part.add(seconds, flops, size)

    def _sum(self, direction: str) -> float:
        return 1e3 * sum(getattr(cost, direction).seconds for cost in self.operations)


class profile(Watching):
    """Measure every operation that this thread runs inside the `with` block, forward and backward.

    Yields:
        the `Profile`: printing it shows the table, `.operations` holds the numbers.
    """

    def __init__(self) -> None:
        self.measured = Profile()
        super().__init__(self._timed)

    def __enter__(self) -> Profile:
        super().__enter__()
        self.started = perf_counter()
        return self.measured

    def leave(self) -> None:
        self.measured.seconds += perf_counter() - self.started
        super().leave()

    def _timed(self, outer: Runner) -> Runner:
        def run(node: Function, method: Callable[..., Any], arguments: tuple, options: dict) -> Any:
            which = method.__name__
            # Backward reads what was saved as well (and may let go of it).
            arrays = arguments if which == "forward" else (*arguments, *node.saved)
            started = perf_counter()
            results = outer(node, method, arguments, options)
            self.measured.record(node, which, perf_counter() - started, arrays, results)
            return results

        return run


# ------------------------------------------------------------------------ floating-point operations

# Multiply-adds of the products, of the inputs and the output; each counts as two operations.
MULTIPLY_ADDS: dict[str, Callable[[Any, tuple, Any], int]] = {
    "Einsum": lambda node, inputs, y: _einsum_multiply_adds(node, inputs),
    "Matmul": lambda node, inputs, y: y.size * inputs[0].shape[-1],
    "Linear": lambda node, inputs, y: y.size * inputs[0].shape[-1],
    "Conv2d": lambda node, inputs, y: y.size * inputs[1][0].size,
    "Conv3x3": lambda node, inputs, y: y.size * inputs[1][0].size,
    "ConvTranspose2d": lambda node, inputs, y: inputs[0].size * inputs[1][0].size,
}

# Everything else: a rough count for each element of the largest array, 1 if it is not named here.
PER_ELEMENT = {
    **dict.fromkeys(("Reshape", "Permute", "Expand", "Cat", "Pad", "Index", "Scatter", "Clone"), 0),
    **dict.fromkeys(("Sigmoid", "Tanh", "SiLU", "ELU", "GELU", "GELUTanh", "Softplus"), 4),
    **dict.fromkeys(("Softmax", "LogSoftmax", "LogSumExp", "CrossEntropy", "BCELoss"), 4),
    **dict.fromkeys(("BatchNorm", "LayerNorm", "Var"), 5),
}


def forward_flops(node: Function, inputs: tuple, output: np.ndarray) -> int:
    """Floating-point operations of one forward: exact for products, a rough count for others."""
    name = node.name()
    if name in MULTIPLY_ADDS:
        return 2 * MULTIPLY_ADDS[name](node, inputs, output)
    return PER_ELEMENT.get(name, 1) * max(a.size for a in (*inputs, output))


def backward_flops(node: Function, forward: int) -> int:
    """As many as forward; for a product once for each factor that wants its gradient."""
    if node.name() in MULTIPLY_ADDS:
        factors = len(node.needs_input_grad) if node.name() == "Einsum" else 2  # then the bias
        return forward * sum(node.needs_input_grad[:factors])
    return forward


def _einsum_multiply_adds(node: Any, inputs: tuple) -> int:
    """The product of the sizes of all letters."""
    sizes = {
        letter: size
        for letters, array in zip(node.inputs, inputs, strict=True)
        for letter, size in zip(letters, array.shape, strict=True)
    }
    return math.prod(sizes.values())


# ------------------------------------------------------------------------ the table's cells


def _row(cost: OperationCost, total: float) -> dict[str, Any]:
    return {
        "operation": cost.name,
        "output": "x".join(map(str, cost.shape)) or "scalar",
        "calls": max(cost.forward.calls, cost.backward.calls),
        "forward ms": 1e3 * cost.forward.seconds if cost.forward.calls else None,
        "backward ms": 1e3 * cost.backward.seconds if cost.backward.calls else None,
        "share": _divide(cost.seconds, total),
        "GFLOP/s": _divide(cost.flops, cost.seconds) / 1e9,
        "MB": cost.bytes / 1e6,
    }


def _divide(a: float, b: float) -> float:
    return a / b if b > 0 else 0.0
