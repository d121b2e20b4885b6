"""Making and joining tensors, held against PyTorch's functions of the same names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_fm as tg

SAME: dict[str, Callable[[Any], Any]] = {
    "zeros": lambda m: m.zeros(2, 3),
    "zeros tuple": lambda m: m.zeros((2, 3)),
    "zeros list": lambda m: m.zeros([2, 3]),
    "zeros number": lambda m: m.zeros(()),
    "zeros empty": lambda m: m.zeros(0, 3),
    "zeros long": lambda m: m.zeros(3, dtype=m.int64),
    "ones": lambda m: m.ones(2, 3),
    "ones double": lambda m: m.ones(2, dtype=m.float64),
    "full": lambda m: m.full((2, 2), 1.5),
    "full integer": lambda m: m.full((2, 2), 3),
    "full bool": lambda m: m.full((2,), True),
    "full dtype": lambda m: m.full((2,), 3, dtype=m.float64),
    "zeros_like": lambda m: m.zeros_like(m.ones(2, 3, dtype=m.int64)),
    "ones_like": lambda m: m.ones_like(m.zeros(2, 3, dtype=m.float64)),
    "eye": lambda m: m.eye(3),
    "eye wide": lambda m: m.eye(2, 3),
    "eye tall": lambda m: m.eye(3, m=2, dtype=m.int64),
    "arange": lambda m: m.arange(5),
    "arange start": lambda m: m.arange(2, 7, 2),
    "arange down": lambda m: m.arange(5, 0, -1),
    "arange float": lambda m: m.arange(3.0),
    "arange dtype": lambda m: m.arange(3, dtype=m.float64),
    "arange thirds": lambda m: m.arange(0, 2, 0.25),
    "cat": lambda m: m.cat([m.ones(2, 3), m.zeros(1, 3)]),
    "cat last": lambda m: m.cat((m.ones(2, 3), m.zeros(2, 1)), dim=-1),
    "cat dtypes": lambda m: m.cat([m.ones(2, dtype=m.int64), m.zeros(1), m.ones(1) > 0]),
    "cat doubles": lambda m: m.cat([m.ones(2), m.zeros(1, dtype=m.float64)]),
    "cat nothing first": lambda m: m.cat([m.tensor([]), m.ones(2, 3)], 1),
    "cat nothing last": lambda m: m.cat([m.ones(2, 3), m.zeros(0, dtype=m.float64)], -1),
    "cat nothing to nothing": lambda m: m.cat([m.tensor([]), m.tensor([])]),
    "stack": lambda m: m.stack([m.ones(2, 3), m.zeros(2, 3)]),
    "stack last": lambda m: m.stack([m.ones(2, 3), m.zeros(2, 3)], dim=-1),
    "stack middle": lambda m: m.stack([m.ones(2, 3), m.zeros(2, 3)], 1),
    "stack numbers": lambda m: m.stack([m.tensor(1.0), m.tensor(2.0)]),
    "where": lambda m: m.where(m.arange(3) > 0, m.ones(2, 1), m.zeros(3)),
    "einsum": lambda m: m.einsum("ij,jk->ik", m.ones(2, 3), m.ones(3, 4)),
    "einsum list": lambda m: m.einsum("ij,jk->ik", [m.ones(2, 3), m.ones(3, 4)]),
    "functions": lambda m: m.relu(m.abs(m.sqrt(m.clamp(m.arange(4.0), min=1, max=2)) - 2)),
    "reductions": lambda m: m.stack([m.sum(m.ones(3)), m.max(m.arange(3.0)), m.prod(m.ones(2))]),
    "shapes": lambda m: m.flatten(m.transpose(m.reshape(m.arange(6), (2, 3)), 0, 1)),
}


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_same_as_torch(make: Callable[[Any], Any]) -> None:
    ours, theirs = make(tg), make(torch).numpy()
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours.data, theirs, rtol=1e-6)
    assert ours.shape == theirs.shape


def test_long_ranges_do_not_drift() -> None:
    ours = tg.arange(1000.0, 2000.0, 0.1)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours.data, torch.arange(1000.0, 2000.0, 0.1), rtol=1e-6)


@pytest.mark.parametrize("name", ["zeros", "ones", "rand", "randn"])
def test_requires_grad(name: str) -> None:
    assert getattr(tg, name)(2, requires_grad=True).requires_grad
    assert not getattr(tg, name)(2).requires_grad


def test_random_tensors() -> None:
    tg.manual_seed(0)
    uniform, normal = tg.rand(100, 100), tg.randn(100, 100, dtype=tg.float64)
    assert (uniform.dtype, normal.dtype) == (np.float32, np.float64)
    assert 0 <= uniform.data.min() < 0.01
    assert 0.99 < uniform.data.max() < 1
    assert abs(normal.mean().item()) < 0.05
    assert abs(normal.std().item() - 1) < 0.05
    integers = tg.randint(-2, 3, (1000,))
    assert integers.dtype == np.int64
    assert set(integers.tolist()) == {-2, -1, 0, 1, 2}
    assert set(tg.randint(3, (2, 500)).flatten().tolist()) == {0, 1, 2}
    for draw in (
        lambda m: m.randint(high=3, size=(2, 500)),
        lambda m: m.randint(3, size=(2, 500)),
        lambda m: m.randint(1, 3, (2, 500)),
    ):
        assert set(draw(tg).flatten().tolist()) == set(draw(torch).flatten().tolist())
    assert sorted(tg.randperm(50).tolist()) == list(range(50))


def test_cat_and_where_pass_gradients_to_each_part() -> None:
    a, b = tg.ones(2, requires_grad=True), tg.ones(1, requires_grad=True)
    (tg.cat([a, b, a]) * tg.arange(1.0, 6.0)).sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    assert (a.grad.tolist(), b.grad.tolist()) == ([5, 7], [3])


BAD: dict[str, tuple[Callable[[Any], Any], str]] = {
    "cat nothing": (lambda m: m.cat([]), "at least one tensor, got an empty list"),
    "stack nothing": (lambda m: m.stack([]), "at least one tensor"),
    "cat numbers": (lambda m: m.cat([m.ones(2), m.tensor(1.0)]), "without axes; use stack"),
    "cat shapes": (lambda m: m.cat([m.ones(2, 3), m.ones(3, 3)], 1), r"\(2, 3\), \(3, 3\)"),
    "cat axes": (lambda m: m.cat([m.ones(2), m.ones(2, 1)]), "shapes that agree elsewhere"),
    "cat axis": (lambda m: m.cat([m.ones(2)], 1), "axis 1 is out of range"),
    "stack shapes": (lambda m: m.stack([m.ones(2), m.ones(3)]), "tensors of one shape"),
    "einsum operands": (lambda m: m.einsum("ij,jk->ik", m.ones(2, 2)), "names 2 operands, got 1"),
    "no operands": (lambda m: m.einsum("ij"), "names 1 operands, got 0"),
    "einsum axes": (lambda m: m.einsum("ijk->i", m.ones(2, 2)), "an array with 2 axes"),
    "where": (lambda m: m.where(m.ones(2) > 0, m.ones(3), m.ones(3)), "broadcast"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_errors(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises((ValueError, IndexError), match=message):
        call(tg)
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        call(torch)
