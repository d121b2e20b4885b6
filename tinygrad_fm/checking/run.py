"""Running a case of the table in this library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_fm
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.checking.cases import Case
from tinygrad_fm.checking.check import GradcheckReport, gradcheck


class Result(NamedTuple):
    """An output, and ∂⟨upstream, output⟩/∂(each input); None where no gradient is wanted."""

    output: np.ndarray
    gradients: list[np.ndarray | None]


def run_case(
    case: Case, arrays: list[np.ndarray], upstream: np.ndarray, lib: Any = tinygrad_fm
) -> Result:
    """Forward and backward; a gradient that never came is zero, as an untouched input's is.

    `lib` is tinygrad_fm or torch, here and below.
    """
    tensors = _tensors(lib, case, arrays)
    y = case.run(lib, *tensors)
    y.backward(lib.from_numpy(upstream).to(y.dtype))
    gradients = [
        None if not t.requires_grad else np.zeros(t.shape) if t.grad is None else t.grad.numpy()
        for t in tensors
    ]
    return Result(y.detach().numpy(), gradients)


def _tensors(lib: Any, case: Case, arrays: list[np.ndarray]) -> list[Any]:
    pairs = zip(arrays, case.inputs, strict=True)
    return [lib.from_numpy(a).requires_grad_(source.differentiable) for a, source in pairs]


def second_gradients(
    lib: Any, case: Case, arrays: list[np.ndarray], upstream: np.ndarray
) -> list[np.ndarray]:
    """∂⟨w, ∂⟨upstream, output⟩/∂(inputs)⟩/∂(each input, and upstream), w being random."""
    tensors = _tensors(lib, case, arrays)
    wanted = [t for t in tensors if t.requires_grad]
    y = case.run(lib, *tensors)
    g = lib.from_numpy(upstream).to(y.dtype).requires_grad_()
    first = lib.autograd.grad(y, wanted, g, create_graph=True, materialize_grads=True)
    generator = np.random.default_rng(2)
    weights = [lib.from_numpy(generator.standard_normal(d.shape)).to(d.dtype) for d in first]
    total = sum((w * d).sum() for w, d in zip(weights, first, strict=True))
    if not total.requires_grad:  # of a constant
        return [np.zeros(t.shape) for t in (*wanted, g)]
    second = lib.autograd.grad(total, [*wanted, g], materialize_grads=True)
    return [(d + 0).numpy() for d in second]  # (PyTorch has zeros that are no arrays)


def random_upstream(case: Case, arrays: list[np.ndarray]) -> np.ndarray:
    """An array like the case's output, for `run_case`."""
    with tinygrad_fm.no_grad():
        y = case.run(tinygrad_fm, *map(Tensor, arrays)).data
    return np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)


def check_case(
    case: Case, raise_exception: bool = True, check: Callable[..., GradcheckReport] = gradcheck
) -> GradcheckReport:
    """`gradcheck` (or `gradgradcheck`) of a case, on the inputs that want a gradient."""
    arrays = case.draw()
    wanted = [i for i, source in enumerate(case.inputs) if source.differentiable]

    def fn(*tensors: Tensor) -> Tensor:
        everything = [Tensor(array) for array in arrays]
        for i, tensor in zip(wanted, tensors, strict=True):
            everything[i] = tensor
        return case.run(tinygrad_fm, *everything)

    return check(fn, [arrays[i] for i in wanted], raise_exception=raise_exception)
