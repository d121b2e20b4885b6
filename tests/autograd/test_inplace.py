"""Writing into tensors that a graph knows: values and gradients are PyTorch's."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_fm as tg

Run = Callable[[ModuleType, Any], Any]


def both(run: Run, *shape: int) -> list[list[np.ndarray]]:
    """The result of `run(lib, x)` and the gradient at the leaf behind x, in both libraries."""
    values = np.random.default_rng(0).uniform(0.5, 1.5, shape or (2, 3))
    results = []
    for lib in (tg, torch):
        leaf = lib.tensor(values, requires_grad=True)
        y = run(lib, leaf * 1)
        (y * y).sum().backward()
        results.append([y.detach().numpy(), leaf.grad.numpy()])
    return results


def view_filled(lib: ModuleType, x: Any) -> Any:
    x[0].fill_(1)
    return x


def column_grows(lib: ModuleType, x: Any) -> Any:
    x[:, 1] += x[:, 0] * 2
    return x


def view_of_a_view(lib: ModuleType, x: Any) -> Any:
    x.reshape(-1)[1:4].mul_(x.sum())
    return x


def base_is_written(lib: ModuleType, x: Any) -> Any:
    view = x.T[1:]
    x *= 3
    x[0, 0] = 7
    return view


def another_view_sees_it(lib: ModuleType, x: Any) -> Any:
    first, second = x[0], x.reshape(-1)
    first.mul_(first.clone())
    return second


def mask_is_filled(lib: ModuleType, x: Any) -> Any:
    x[x > 1] = 0.5
    return x


def rows_by_list(lib: ModuleType, x: Any) -> Any:
    x[[1, 0]] = x[0] + x[1]
    return x


def zeros_take_rows(lib: ModuleType, x: Any) -> Any:
    out = lib.zeros(2, 3, dtype=lib.float64)
    for i in range(2):
        out[i] = x[i] * (i + 2)
    return out


def view_of_zeros_sees_it(lib: ModuleType, x: Any) -> Any:
    out = lib.zeros(2, 3, dtype=lib.float64)
    row = out[1]
    out += x
    return row


def clamped(lib: ModuleType, x: Any) -> Any:
    return x.clamp_(0.7, 1.2) * 2


def copied(lib: ModuleType, x: Any) -> Any:
    y = x * x
    y[0].copy_(x[1])
    return y


def zeroed(lib: ModuleType, x: Any) -> Any:
    x[1].zero_()
    return x


def powers(lib: ModuleType, x: Any) -> Any:
    x **= 2
    x /= x.sum() + 1
    x -= 1
    return x


def clone_is_its_own(lib: ModuleType, x: Any) -> Any:
    y = x.clone()
    y[0] = 0
    return x + y


def of_no_axes(lib: ModuleType, x: Any) -> Any:
    total = x.sum()
    total += x[0, 0]
    total.copy_(total * 2)
    return total


PROGRAMS = [
    view_filled, column_grows, view_of_a_view, base_is_written, another_view_sees_it,
    mask_is_filled, rows_by_list, zeros_take_rows, view_of_zeros_sees_it, clamped, copied, zeroed,
    powers, clone_is_its_own, of_no_axes,
]  # fmt: skip


@pytest.mark.parametrize("run", PROGRAMS)
def test_values_and_gradients_are_torchs(run: Run) -> None:
    ours, theirs = both(run)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


REFUSED = {
    "a leaf": (lambda leaf: leaf.add_(1), "a leaf tensor"),
    "a view of a leaf": (lambda leaf: leaf[0].add_(1), "a view of a leaf tensor"),
    "an item of a leaf": (lambda leaf: leaf.__setitem__((0, 0), 1.0), "a leaf tensor"),
    "another shape": (lambda leaf: (leaf[0] * 1).add_(leaf), r"shape \(2, 3\), which cannot"),
}


@pytest.mark.parametrize(("write", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_honoured_is_refused_at_the_line(write: Any, message: str) -> None:
    leaf = tg.ones(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match=message):
        write(leaf)
    assert leaf.tolist() == [[1, 1, 1], [1, 1, 1]]
    with pytest.raises(RuntimeError):
        write(torch.ones(2, 3, requires_grad=True))


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("write", [lambda v: v.mul_(2), lambda v: v.__setitem__(0, 5.0)])
def test_a_view_made_under_no_grad_is_not_written_into_outside_of_it(
    write: Any, recorded: bool
) -> None:
    for lib in (tg, torch):
        base = lib.ones(2, 3, requires_grad=True)
        base = base * 1 if recorded else base
        with lib.no_grad():
            view = base[0]
        with pytest.raises(RuntimeError):
            write(view)
        assert view.tolist() == [1, 1, 1]
        with lib.no_grad():
            write(view)


def test_an_expanded_tensor_is_not_written_into() -> None:
    with pytest.raises(ValueError, match="read-only"):
        (tg.ones(3, requires_grad=True) * 1).expand(2, 3).add_(1)


def test_what_was_saved_before_the_write_is_found_by_backward() -> None:
    x = tg.ones(3, requires_grad=True)
    y = x * 2
    z = y.exp() * y
    y[0] = 5
    with pytest.raises(RuntimeError, match=rf"backward of Mul .*{__name__.split('.')[-1]}.py:\d+"):
        z.sum().backward()


def test_under_no_grad_a_write_leaves_the_history_alone() -> None:
    x = tg.ones(3, requires_grad=True)
    y = x * 2
    with tg.no_grad():
        y[0] = 5
    assert y.tolist() == [5, 2, 2]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2, 2, 2]


def test_retained_gradients_follow_the_write() -> None:
    results = []
    for lib in (tg, torch):
        x = lib.ones(3, requires_grad=True)
        y = x * 2
        y.retain_grad()
        y *= 3
        (y * y).sum().backward()
        results.append((y.grad.tolist(), x.grad.tolist()))
    assert results[0] == results[1]


def test_views_that_are_gone_are_not_kept() -> None:
    x = tg.ones(3)
    for _ in range(10_000):
        x.reshape(1, 3)
    assert len(x.views) < 100


# ------------------------------------------------------------------------ random programs

VIEWS: list[Callable[[Any], Any]] = [
    lambda t: t.reshape(-1),
    lambda t: t.T if t.ndim == 2 else t,
    lambda t: t[0] if t.ndim else t,
    lambda t: t[..., 1:] if t.ndim else t,
    lambda t: t.unsqueeze(0),
    lambda t: t.transpose(0, -1) if t.ndim else t,
    lambda t: t.detach(),
    lambda t: t.clone(),
]
OPERATIONS: list[Callable[[Any], Any]] = [
    lambda t: t * t,
    lambda t: t.exp(),
    lambda t: t.sum(),
    lambda t: t.sigmoid(),
    lambda t: t * 2,
]
WRITES: list[Callable[[Any, Any], Any]] = [
    lambda x, y: x.__iadd__(y),
    lambda x, y: x.__imul__(y),
    lambda x, y: x.sub_(y),
    lambda x, y: x.div_(y + 3),
    lambda x, y: x.fill_(1.5),
    lambda x, y: x.copy_(y),
    lambda x, y: x.clamp_(0.7, 1.2),
    lambda x, y: x.mul_(2.0),
    lambda x, y: x.__setitem__(0, y.sum()) if x.ndim else None,
    lambda x, y: x.__setitem__((..., 0), y.sum()) if x.ndim else None,
    lambda x, y: x.__setitem__([0, 0], y.sum()) if x.ndim and len(x) else None,
]


def run_program(lib: ModuleType, seed: int) -> list[np.ndarray] | Exception:
    """Eight random steps on tensors, their views and results: all values, and two gradients."""
    draw, values = random.Random(seed), np.random.default_rng(0)
    leaves = [lib.tensor(values.uniform(0.5, 1.5, (2, 3)), requires_grad=True) for _ in range(2)]
    tensors = [leaves[0] * 1, leaves[1] * 2, lib.tensor(values.uniform(0.5, 1.5, (2, 3)))]
    try:
        for _ in range(draw.randint(2, 9)):
            x, y = draw.choice(tensors), draw.choice(tensors)
            kind = draw.random()
            if kind < 0.3:
                tensors.append(draw.choice(VIEWS)(x))
            elif kind < 0.45:
                tensors.append(draw.choice(OPERATIONS)(x))
            else:
                draw.choice(WRITES)(x, y if y.shape == x.shape else y.sum())
        sum((t * t).sum() for t in tensors).backward()
    except (RuntimeError, ValueError) as error:
        return error
    gradients = [np.zeros(1) if leaf.grad is None else leaf.grad.numpy() for leaf in leaves]
    return [t.detach().numpy() for t in tensors] + gradients


def test_random_programs_never_give_another_value_or_gradient_than_torch() -> None:
    computed = 0
    for seed in range(400):
        theirs = run_program(torch, seed)
        if isinstance(theirs, Exception):
            continue  # PyTorch's own limits; what we make of these is tested above
        ours = run_program(tg, seed)
        assert not isinstance(ours, Exception), (seed, ours)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, err_msg=str(seed))
        computed += 1
    assert computed > 250
