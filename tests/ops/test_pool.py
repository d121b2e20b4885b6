"""Pooling of large batches in bands, in any memory layout, against one image after the other."""

import numpy as np
import pytest

from tinygrad_fm import Tensor, get_num_threads, set_num_threads
from tinygrad_fm.nn import functional as F
from tinygrad_fm.ops.pool import BAND

OPERATIONS = {
    "max 2x2": lambda x: F.max_pool2d(x, 2),
    "max 2x2 stride 3": lambda x: F.max_pool2d(x, 2, 3),
    "max 3x3 stride 1": lambda x: F.max_pool2d(x, 3, 1, 1),
    "max 3x3 stride 2": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "max dilated": lambda x: F.max_pool2d(x, (2, 3), (1, 2), 1, 2),
    "average 3x3 stride 2": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "average of all": lambda x: F.adaptive_avg_pool2d(x, 1),
    "average of all rows": lambda x: F.adaptive_avg_pool2d(x, (1, None)),
}
ORDERS = {"channels apart": (2, 3, 0, 1), "channels last": (0, 2, 3, 1), "row-major": (0, 1, 2, 3)}


def in_order(x, axes):
    return np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))


def run(operation, x, g=None):
    x = Tensor(x, requires_grad=True)
    y = operation(x)
    y.backward(Tensor(np.cos(y.data) if g is None else g))
    return y.data, x.grad.data


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axes", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_a_batch_as_its_images(operation, axes, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 9, (33, 12, 31, 29)).astype(dtype)  # with ties
    assert x.size > BAND
    x = in_order(x, axes)
    before, results = get_num_threads(), []
    for threads in (1, 2):
        set_num_threads(threads)
        results.append(run(operation, x))
    set_num_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
    y, dx = results[0]
    assert y.dtype == dx.dtype == dtype
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for n in (0, 17, 32):
        one, one_dx = run(operation, np.ascontiguousarray(x[n : n + 1]), np.cos(y[n : n + 1]))
        np.testing.assert_allclose(y[n], one[0], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(dx[n], one_dx[0], rtol=tolerance, atol=tolerance)
    turned = run(operation, x, np.ascontiguousarray(np.cos(y)))  # a gradient of another layout
    np.testing.assert_allclose(turned[1], dx, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("axes", ORDERS.values(), ids=ORDERS)
def test_the_last_nan_and_the_first_of_equals_win(axes):
    x = np.full((1, 1, 5, 5), -np.inf, np.float32)
    x[0, 0, 0, 0], x[0, 0, 1, 1], x[0, 0, 3:5, 3:5] = np.nan, np.nan, 2
    y, dx = run(lambda x: F.max_pool2d(x, 3, 2, 1), in_order(x, axes), np.ones((1, 1, 3, 3)))
    np.testing.assert_array_equal(
        y[0, 0], [[np.nan, np.nan, -np.inf], [np.nan, np.nan, 2], [-np.inf, 2, 2]]
    )
    expected = np.zeros((5, 5))
    expected[1, 1] = 4  # of four windows, one of which holds another NaN before it
    expected[0, 3] = expected[3, 0] = 1  # the first of a window of -∞
    expected[3, 3] = 3
    np.testing.assert_array_equal(dx[0, 0], expected)
