"""A function as the flat list of operations that it carries out on its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_fm.autograd.mode import no_grad, running
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.ops.function import Function


@dataclass(frozen=True, eq=False)
class Step:
    """One operation that was carried out: `output = operation(*inputs, **options)`."""

    operation: type[Function]
    inputs: tuple[np.ndarray, ...]
    options: Mapping[str, Any]
    output: np.ndarray


@dataclass(frozen=True, eq=False)
class Captured:
    """What a function did. An array is known by its identity, and all of them are kept.

    Attributes:
        inputs: the arrays that the function was given.
        steps: the operations that lead from an input to an output, in order. An array among a
            step's inputs that is neither an input nor another step's output is a constant: a
            parameter, a number, or what operations on these alone have made.
        outputs: the arrays that the function returned.
    """

    inputs: tuple[np.ndarray, ...]
    steps: tuple[Step, ...]
    outputs: tuple[np.ndarray, ...]

    def wiring(self) -> list[tuple]:
        """Which operation takes what from where, by number; None is a constant."""
        numbers = {id(array): i for i, array in enumerate(self.inputs)}
        lines: list[tuple] = []
        for step in self.steps:
            lines.append((step.operation, *(numbers.get(id(x)) for x in step.inputs)))
            numbers[id(step.output)] = len(numbers)
        return [*lines, tuple(numbers.get(id(y)) for y in self.outputs)]


def capture(
    function: Callable[..., Any],
    *inputs: Tensor,
    parts: Callable[[type[Function]], Callable[..., Tensor] | None] = lambda operation: None,
) -> Captured:
    """Call a function of tensors, which returns a tensor or several, and note its operations.

    Args:
        parts: gives for an operation that should not be a step the same in terms of others.

    Raises:
        RuntimeError: if the function writes into one of its inputs or results: that is no step.
        TypeError: if it returns anything but tensors.
    """
    steps: list[Step] = []

    def run(node: Function, method: Callable[..., Any], arrays: tuple, options: dict) -> Any:
        apart = parts(type(node))
        if apart is not None:
            return apart(*map(Tensor, arrays), **options).data
        y = np.asarray(method(*arrays, **options))
        if method == node.forward and not any(y is x for x in arrays):
            y.flags.writeable = False
            steps.append(Step(type(node), arrays, options, y))
        return y

    given = [Tensor(x.data.copy(order="K")) for x in inputs]
    for x in given:
        x.data.flags.writeable = False
    with no_grad(), running(run):
        try:
            result = function(*given)
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            raise RuntimeError(
                "writing in place cannot be captured; compute a new tensor, as in x = x + y"
            ) from error
    outputs = result if isinstance(result, tuple | list) else (result,)
    if not all(isinstance(y, Tensor) for y in outputs):
        raise TypeError(f"a tensor or a tuple of tensors is wanted, got {type(result).__name__}")
    arrays = tuple(x.data for x in given)
    return _needed(arrays, steps, tuple(y.data for y in outputs))


def _needed(inputs: tuple, steps: list[Step], outputs: tuple) -> Captured:
    """Without the steps on constants alone, and without those that no output comes from."""
    known, wanted = set(map(id, inputs)), set(map(id, outputs))
    live = []
    for step in steps:
        # (An operation whose own operations are steps as well gives an array that is known.)
        if id(step.output) not in known and any(id(x) in known for x in step.inputs):
            known.add(id(step.output))
            live.append(step)
    needed: list[Step] = []
    for step in reversed(live):
        if id(step.output) in wanted:
            wanted.update(map(id, step.inputs))
            needed.append(step)
    return Captured(inputs, tuple(reversed(needed)), outputs)
