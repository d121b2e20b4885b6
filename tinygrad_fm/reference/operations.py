"""The cases of `tinygrad_fm.checking`, run in PyTorch."""

from __future__ import annotations

import warnings

import numpy as np
import torch

import tinygrad_fm
from tinygrad_fm.checking.cases import Case
from tinygrad_fm.checking.run import Result, random_upstream, run_case, second_gradients

# Relative to the largest element. Rounding a sum of n products costs about √n·2⁻²⁴ in float32, in
# both libraries; n is at most 150 here, √n·2⁻²⁴ = 7e-7. In float64 the same is 1e-15.
TOLERANCE = {"float64": 1e-10, "float32": 2e-6}
SECOND_TOLERANCE = {"float64": 1e-10, "float32": 1e-5}  # there are more sums in it

# What PyTorch says where it has no second derivative; the last of batch norm without a weight.
NO_SECOND = ("not implemented", "not differentiable", "got None (or an undefined Tensor in C++)")


def run_case_in_torch(case: Case, arrays: list[np.ndarray], upstream: np.ndarray) -> Result:
    """What `run_case` does, in PyTorch."""
    with warnings.catch_warnings():  # advice on speed, and on what later versions will do
        warnings.simplefilter("ignore", UserWarning)
        return run_case(case, arrays, upstream, torch)


def torch_error(case: Case, dtype: str) -> float:
    """The largest difference from PyTorch over output and gradients; see `relative_error`."""
    arrays = case.draw(dtype)
    upstream = random_upstream(case, arrays)
    ours = run_case(case, arrays, upstream)
    theirs = run_case_in_torch(case, arrays, upstream)
    pairs = [
        (a, b)
        for a, b in zip(ours.gradients, theirs.gradients, strict=True)
        if a is not None and b is not None
    ]
    # A gradient that should be exactly 0 (of a bias before batch norm) is rounding noise of others.
    least = max(0.1 * np.abs(b).max(initial=0.0) for _, b in pairs)
    errors = [relative_error(a, b, least) for a, b in pairs]
    return max(relative_error(ours.output, theirs.output), *errors)


def torch_second_error(case: Case, dtype: str) -> float | None:
    """As `torch_error`, of the second derivatives; None where PyTorch has none."""
    arrays = case.draw(dtype)
    upstream = random_upstream(case, arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            theirs = second_gradients(torch, case, arrays, upstream)
        except RuntimeError as error:
            if any(reason in str(error) for reason in NO_SECOND):
                return None
            raise
    ours = second_gradients(tinygrad_fm, case, arrays, upstream)
    least = max(0.1 * np.abs(b).max(initial=0.0) for b in theirs)
    return max(relative_error(a, b, least) for a, b in zip(ours, theirs, strict=True))


def relative_error(a: np.ndarray, b: np.ndarray, least: float = 0.0) -> float:
    """max |a - b| / max |b|, the divisor being no less than `least` and 0.01.

    Infinite for different shapes, or for NaN and infinities that are not in the same places.
    """
    if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    difference = np.abs(a[finite] - b[finite]).max(initial=0.0)
    return float(difference / np.abs(b[finite]).max(initial=max(least, 0.01)))
