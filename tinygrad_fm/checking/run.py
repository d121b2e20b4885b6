"""Running a case of the table in this library."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import tinygrad_fm
from tinygrad_fm.checking.cases import Case
from tinygrad_fm.checking.check import GradcheckReport, gradcheck
from tinygrad_fm.tensor import Tensor


class Result(NamedTuple):
    """An output, and ∂⟨upstream, output⟩/∂(each input); None where no gradient is wanted."""

    output: np.ndarray
    gradients: list[np.ndarray | None]


def run_case(case: Case, arrays: list[np.ndarray], upstream: np.ndarray) -> Result:
    """Forward and backward; a gradient that never came is zero, as an untouched input's is."""
    tensors = [
        Tensor(a, requires_grad=source.differentiable)
        for a, source in zip(arrays, case.inputs, strict=True)
    ]
    y = case.run(tinygrad_fm, *tensors)
    y.backward(Tensor(upstream))
    gradients = [
        None if not t.requires_grad else np.zeros(t.shape) if t.grad is None else t.grad.data
        for t in tensors
    ]
    return Result(y.data, gradients)


def random_upstream(case: Case, arrays: list[np.ndarray]) -> np.ndarray:
    """An array like the case's output, for `run_case`."""
    with tinygrad_fm.no_grad():
        y = case.run(tinygrad_fm, *map(Tensor, arrays)).data
    return np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)


def check_case(case: Case, raise_exception: bool = True) -> GradcheckReport:
    """`gradcheck` of a case, on the inputs that want a gradient."""
    arrays = case.draw()
    wanted = [i for i, source in enumerate(case.inputs) if source.differentiable]

    def fn(*tensors: Tensor) -> Tensor:
        everything = [Tensor(array) for array in arrays]
        for i, tensor in zip(wanted, tensors, strict=True):
            everything[i] = tensor
        return case.run(tinygrad_fm, *everything)

    return gradcheck(fn, [arrays[i] for i in wanted], raise_exception=raise_exception)
