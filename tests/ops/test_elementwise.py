"""Element by element: fast forms against the plain ones, on small and on large arrays."""

import numpy as np
import pytest
from scipy import special

from tinygrad_fm import Tensor, get_num_threads, set_num_threads
from tinygrad_fm.nn import functional as F
from tinygrad_fm.ops.elementwise import erf
from tinygrad_fm.ops.fast.layout import LARGE, chunked
from tinygrad_fm.ops.fast.memory import is_fresh
from tinygrad_fm.ops.function import where

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e38, 3e38]


def test_erf_in_single_precision():
    x = np.concatenate([np.geomspace(1e-45, 3e38, 300_001), np.linspace(0, 5, 300_001)])
    x = np.concatenate([x, -x]).astype(np.float32)
    with np.errstate(all="raise", under="ignore"):
        y = erf(x)
    assert y.dtype == np.float32
    exact = special.erf(x.astype(np.float64))
    np.testing.assert_allclose(y, exact, rtol=2e-7, atol=1.5e-45)
    assert np.abs(y).max() == 1
    np.testing.assert_array_equal(y[: len(y) // 2], -y[len(y) // 2 :])


def test_erf_of_what_is_no_number():
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)
    np.testing.assert_array_equal(erf(x), [np.nan, 1, -1, 0, 0])
    np.testing.assert_array_equal(np.signbit(erf(x))[3:], [False, True])


def test_erf_in_double_precision_is_scipys():
    x = np.linspace(-6, 6, 1001)
    np.testing.assert_array_equal(erf(x), special.erf(x))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128", int])
def test_where_by_bits_is_where(dtype):
    a, b = np.array(SPECIAL * 2), np.array([*SPECIAL[::-1], *SPECIAL])
    with np.errstate(all="ignore"):
        a, b = a.astype(dtype).reshape(4, 4).T, b.astype(dtype).reshape(4, 4)
    keep = np.arange(16).reshape(4, 4) % 3 == 0
    y = where(keep, a, b)
    np.testing.assert_array_equal(y, np.where(keep, a, b))
    np.testing.assert_array_equal(where(keep, a, b[0]), np.where(keep, a, b[0]))
    assert y.dtype == np.where(keep, a, b).dtype


OPERATIONS = {
    "exp": lambda x: x.exp(),
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "erf": lambda x: x.erf(),
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "leaky_relu with a slope above 1": lambda x: F.leaky_relu(x, 2.0),
    "elu": F.elu,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, "tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
    "add": lambda x: x + x[:1],
    "sub": lambda x: x[:, :, :1] - x,
    "mul": lambda x: x * x[:, :, :1, :1],
    "div": lambda x: x / x[:1],
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_large_arrays_as_small_ones(operation, dtype):
    """In chunks on threads, channels last, the numbers and gradients are those of small pieces."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((9, 8, 260, 16)).astype(dtype)  # (H, W, N, C)
    assert data.size > LARGE
    data[1:3, 2, 5, :8] = SPECIAL
    x, g = data.transpose(2, 3, 0, 1), rng.standard_normal((260, 16, 9, 8)).astype(dtype)

    def run(x, g):
        x = Tensor(x.copy(order="K"), requires_grad=True)
        y = operation(x)
        y.backward(Tensor(g))
        return y.data, x.grad.data

    before, results = get_num_threads(), []
    for threads in (1, 2):
        set_num_threads(threads)
        results.append(run(x, g))
    set_num_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
    y = results[0][0]
    assert y.dtype == dtype
    expected = [run(x[:, c : c + 1], g[:, c : c + 1]) for c in range(16)]
    for result, parts in zip(results[0], zip(*expected, strict=True), strict=True):
        whole = np.concatenate(parts, axis=1)
        tolerance = 1e-4 if dtype == "float32" else 1e-12  # sums over the copies of a broadcast
        np.testing.assert_allclose(result, whole, rtol=tolerance, atol=tolerance)


def test_a_large_gradient_is_kept_as_it_was_made():
    """In whatever layout: to copy it would take as long as to compute it."""
    x = np.zeros((9, 8, 260, 16), np.float32).transpose(2, 3, 0, 1)
    assert is_fresh(chunked(np.add, x, x))
    assert not is_fresh(chunked(np.add, x, x).transpose(1, 0, 2, 3))
