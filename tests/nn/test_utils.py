"""Gradient clipping, held against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tinygrad_fm as tg
from tinygrad_fm.nn import Parameter
from tinygrad_fm.nn.utils import clip_grad_norm_

SHAPES = [(3, 4), (5,), (), (2, 1, 3)]


def parameters(dtype: str = "float32") -> tuple[list[Parameter], list[torch.nn.Parameter]]:
    """Ours and PyTorch's with equal gradients; the last parameter has none."""
    rng = np.random.default_rng(0)
    ours, theirs = [], []
    for shape in SHAPES:
        grad = np.asarray(rng.standard_normal(shape), dtype)
        ours.append(Parameter(np.zeros(shape, dtype)))
        theirs.append(torch.nn.Parameter(torch.zeros(shape, dtype=getattr(torch, dtype))))
        ours[-1].grad, theirs[-1].grad = tg.tensor(grad), torch.tensor(grad)
    ours.append(Parameter(np.zeros(2, dtype)))
    theirs.append(torch.nn.Parameter(torch.zeros(2)))
    return ours, theirs


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 3.0, 1e6])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping_is_torchs(max_norm: float, norm_type: float, dtype: str) -> None:
    ours, theirs = parameters(dtype)
    norm = clip_grad_norm_(iter(ours), max_norm, norm_type)
    wanted = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert norm.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert norm.shape == ()
    assert norm.dtype == dtype
    for a, b in zip(ours[:-1], theirs[:-1], strict=True):
        assert a.grad is not None
        assert a.grad.dtype == dtype
        np.testing.assert_allclose(a.grad.data, b.grad, rtol=1e-5)
    assert ours[-1].grad is None


def test_the_norm_afterwards_is_the_limit() -> None:
    ours, _ = parameters("float64")
    assert clip_grad_norm_(ours, 0.5) > 0.5
    assert clip_grad_norm_(ours, 0.5).item() == pytest.approx(0.5, rel=1e-5)


def test_one_tensor_and_no_gradient_at_all() -> None:
    ours, _ = parameters()
    assert clip_grad_norm_(ours[0], 1.0) > 1
    assert clip_grad_norm_(ours[-1:], 1.0) == 0
    assert clip_grad_norm_([], 1.0) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_norms_that_are_not_finite(bad: float) -> None:
    ours, theirs = parameters()
    ours[0].grad.data[0, 0] = theirs[0].grad[0, 0] = bad
    with pytest.raises(RuntimeError, match=f"norm of the gradients is {bad}; .*detect_anomaly"):
        clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(clip_grad_norm_(ours, 1.0).item())
    torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    for a, b in zip(ours[:-1], theirs[:-1], strict=True):
        np.testing.assert_array_equal(a.grad.data, b.grad)
