"""PyTorch as the judge of one call: outputs and gradients of one function in both libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_fm.checking.cases import Case
from tinygrad_fm.checking.cases.case import Input
from tinygrad_fm.checking.run import random_upstream, run_case
from tinygrad_fm.reference.operations import relative_error, run_case_in_torch


def assert_like_torch(
    run: Callable[..., Any], *arrays: np.ndarray, tolerance: float = 1e-10
) -> None:
    """`run(lib, *tensors)` gives the same output, gradients, shapes and dtypes in both."""
    inputs = tuple(Input(lambda g, a=a: a, a.dtype.kind == "f") for a in arrays)
    case = Case("", "", run, inputs)
    given = list(arrays)
    upstream = random_upstream(case, given)
    ours, theirs = run_case(case, given, upstream), run_case_in_torch(case, given, upstream)
    pairs = [
        (ours.output, theirs.output),
        *zip(ours.gradients, theirs.gradients, strict=True),
    ]
    for a, b in pairs:
        if a is not None:
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            assert relative_error(a, b) <= tolerance
