"""One function on arrays and on tensors: NumPy's names give NumPy's values, and are recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import tinygrad_fm as tg
from tinygrad_fm import Tensor, gradcheck

A = np.random.default_rng(0).uniform(0.3, 0.9, (3, 4))
B = np.random.default_rng(1).uniform(1.1, 1.9, (3, 4))

ONE: dict[str, Callable[[Any], Any]] = {
    **{
        name: getattr(np, name)
        for name in (
            "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh", "abs", "square",
            "reciprocal", "negative", "positive", "sum", "mean", "prod", "max", "min", "var", "std",
            "cumsum", "ravel", "transpose", "copy",
        )
    },
    **{f"SciPy's {name}": getattr(special, name) for name in ("erf", "expit", "expm1", "log1p")},
    "sum of rows": lambda x: np.sum(x, axis=1, keepdims=True),
    "sum of both": lambda x: np.sum(x, axis=(0, 1)),
    "method with axis": lambda x: x.sum(axis=0, keepdims=True) * x.mean(axis=1, keepdims=True),
    "var, ddof": lambda x: np.var(x, axis=0, ddof=1),
    "std, keepdims": lambda x: np.std(x, 1, keepdims=True),
    "cumsum of columns": lambda x: np.cumsum(x, axis=1),
    "reshape": lambda x: np.reshape(x, (2, 6)),
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "moveaxis": lambda x: np.moveaxis(x[None], 0, 2),
    "axes in another order": lambda x: np.transpose(x[None], (2, 0, 1)),
    "expand_dims": lambda x: np.expand_dims(x, 1),
    "squeeze": lambda x: np.squeeze(x[None], 0),
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 3, 4)),
    "flip": lambda x: np.flip(x, 1),
    "clip": lambda x: np.clip(x, 0.4, 0.8),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, x),
    "trace": lambda x: np.einsum("ii->", x[:, :3]),
    "where": lambda x: np.where(x > 0.5, x, 0.25),
    "concatenate": lambda x: np.concatenate([x, x * 2], axis=1),
    "stack": lambda x: np.stack([x, x * 2], axis=-1),
    "dot": lambda x: np.dot(x, x.T),
}  # fmt: skip
TWO: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "maximum": lambda a, b: np.maximum(a, b - 0.8),
    "minimum": lambda a, b: np.minimum(a, b - 0.8),
    "matmul": lambda a, b: np.matmul(a, b.T),
    "operators": lambda a, b: (a + b) * (a - b) / (a**2 + b) @ b.T,
    "where both": lambda a, b: np.where(a > 0.6, a, b),
    "concatenate both": lambda a, b: np.concatenate([a, b]),
    "einsum both": lambda a, b: np.einsum("ij,ij->i", a, b),
}


@pytest.mark.parametrize("run", ONE.values(), ids=ONE)
def test_of_one_array(run: Callable[[Any], Any]) -> None:
    y = run(tg.tensor(A, requires_grad=True))
    assert isinstance(y, Tensor)
    assert y.requires_grad
    np.testing.assert_allclose(y.detach().numpy(), run(A), rtol=1e-12)
    gradcheck(run, A)


@pytest.mark.parametrize("run", TWO.values(), ids=TWO)
def test_of_two_arrays(run: Callable[[Any, Any], Any]) -> None:
    y = run(tg.tensor(A, requires_grad=True), tg.tensor(B, requires_grad=True))
    np.testing.assert_allclose(y.detach().numpy(), run(A, B), rtol=1e-12)
    gradcheck(run, [A, B])


@pytest.mark.parametrize("run", TWO.values(), ids=TWO)
def test_of_an_array_and_a_tensor(run: Callable[[Any, Any], Any]) -> None:
    for a, b in ((A, tg.tensor(B, requires_grad=True)), (tg.tensor(A, requires_grad=True), B)):
        y = run(a, b)
        assert isinstance(y, Tensor)
        np.testing.assert_allclose(y.detach().numpy(), run(A, B), rtol=1e-12)
        y.sum().backward()
    gradcheck(lambda x: run(x, B), A)
    gradcheck(lambda x: run(A, x), B)


def test_array_beside_a_tensor_is_recorded() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = np.float32([3, 4]) * x + np.float64(2) - np.float32([1, 1])
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3, 4]


@pytest.mark.parametrize("name", ["isfinite", "isnan", "sign", "floor", "logical_not"])
def test_steps_and_questions_have_no_gradient(name: str) -> None:
    y = getattr(np, name)(tg.tensor(A, requires_grad=True))
    assert not y.requires_grad
    assert np.array_equal(y.numpy(), getattr(np, name)(A))


REFUSED = {
    "np.arctan2": lambda x: np.arctan2(x, x),
    "np.linalg.*eigvals|eigvals": lambda x: np.linalg.eigvals(x[:, :3]),
    "np.add.reduce": np.add.reduce,
    "takes no out=": lambda x: np.exp(x, out=np.empty((3, 4))),
    "takes no where=": lambda x: np.exp(x, where=A > 0.5),
    "np.sort": np.sort,
    "gammaln": special.gammaln,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_named(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        REFUSED[name](tg.tensor(A, requires_grad=True))
