"""Softmax and layer norm in chunks of rows: against their definitions, in any layout."""

import numpy as np
import pytest
from scipy import special

from tinygrad_fm import Tensor, get_num_threads, set_num_threads
from tinygrad_fm.nn import functional as F
from tinygrad_fm.ops.norm import LayerNorm, normalised


@pytest.fixture(params=[1, 2], autouse=True)
def _threads(request):
    before = get_num_threads()
    set_num_threads(request.param)
    yield
    set_num_threads(before)


def normal(*shape, seed=0, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


LAYOUTS = {
    "row-major": lambda: normal(70, 40, 65),
    "rows out of order": lambda: normal(40, 70, 65).transpose(1, 0, 2),
    "columns apart": lambda: normal(65, 40, 70).transpose(2, 1, 0),
    "gaps": lambda: normal(70, 40, 130)[:, :, ::2],
    "few": lambda: normal(3, 5, 7),
    "one element": lambda: normal(1, 1, 1),
    "wide": lambda: normal(2, 100, 700),
}
every_layout = pytest.mark.parametrize("build", LAYOUTS.values(), ids=LAYOUTS)


def derived(operation, x, g):
    x = Tensor(x.copy(order="K"), requires_grad=True)
    y = operation(x)
    y.backward(Tensor(g))
    return y.data, x.grad.data


@pytest.mark.parametrize("scale", [1, 30, 1000], ids=["near 0", "shift", "far apart"])
@every_layout
def test_softmax(build, scale):
    x = build() * np.float32(scale)
    g, wide = normal(*x.shape, seed=1), x.astype(np.float64)
    y, dx = derived(lambda x: F.softmax(x, -1), x, g)
    s = special.softmax(wide, axis=-1)
    np.testing.assert_allclose(y, s, rtol=1e-5, atol=1e-30)
    expected = s * (g - (g * s).sum(-1, keepdims=True))
    np.testing.assert_allclose(dx, expected, rtol=1e-4, atol=1e-6)
    y, dx = derived(lambda x: F.log_softmax(x, -1), x, g)
    np.testing.assert_allclose(y, special.log_softmax(wide, axis=-1), rtol=1e-6, atol=2e-6)
    expected = g - s * g.sum(-1, keepdims=True, dtype=float)
    np.testing.assert_allclose(dx, expected, rtol=1e-4, atol=2e-5)
    assert y.dtype == dx.dtype == np.float32


def test_rows_that_are_no_numbers_spoil_no_others():
    x = normal(3000, 40)
    x[5, 3], x[1000, 7], x[2000, 1], x[2500] = np.nan, np.inf, -np.inf, 1e30
    for operation, reference in (
        (F.softmax, special.softmax),
        (F.log_softmax, special.log_softmax),
    ):
        with np.errstate(invalid="ignore"):
            y = operation(Tensor(x), -1).data
            expected = reference(x.astype(float), axis=-1)
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.isnan(y[5]), True)
        np.testing.assert_array_equal(np.isnan(y[1000]), True)
        rest = np.delete(np.arange(3000), 1000)
        np.testing.assert_array_equal(np.isfinite(y[rest]), finite[rest])
        np.testing.assert_allclose(y[finite], expected[finite], rtol=2e-6, atol=2e-6)


def test_small_losses_are_not_rounded_away():
    """Of nearly certain classes, in rows of moderate numbers."""
    x = normal(3000, 10)
    x[:, 0] += 15
    y = F.log_softmax(Tensor(x), -1).data
    expected = special.log_softmax(x.astype(float), axis=-1)
    np.testing.assert_allclose(y[:, 0], expected[:, 0], rtol=1e-4, atol=3e-7)
    assert y.max() <= 0
    one = F.log_softmax(Tensor(normal(100_000, 1)), -1).data
    np.testing.assert_array_equal(one, 0)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("shift", [0, 1000])
@pytest.mark.parametrize("affine", [False, True])
@every_layout
def test_layer_norm(build, affine, shift, dims):
    x = build() + np.float32(shift)
    shape, axes = x.shape[-dims:], tuple(range(3 - dims, 3))
    g, scale_shift = (
        normal(*x.shape, seed=1),
        [normal(*shape, seed=s) for s in (2, 3)][: 2 * affine],
    )
    wide = x.astype(float)

    def run(x):
        leaves = [Tensor(a.astype(x.dtype), requires_grad=True) for a in scale_shift]
        y, dx = derived(lambda x: F.layer_norm(x, shape, *leaves), x, g.astype(x.dtype))
        return y, dx, *(leaf.grad.data for leaf in leaves)

    y, dx, *gradients = run(x)
    expected = normalised(wide, axes, 1e-5, scale_shift)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    assert y.dtype == dx.dtype == np.float32
    np.testing.assert_allclose(dx, run(wide)[1], rtol=1e-4, atol=1e-4)
    x_hat, batch = normalised(wide, axes, 1e-5, ()), tuple(range(3 - dims))
    for gradient, summands in zip(gradients, (g * x_hat, g), strict=False):
        np.testing.assert_allclose(gradient, summands.sum(batch), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("magnitude", [1e-30, 1e-12, 1e12, 1e20])
def test_layer_norm_of_what_single_precision_cannot_square(magnitude):
    x = normal(2000, 50) * np.float32(magnitude)
    y = LayerNorm.of(x, dims=1, eps=0.0)
    expected = normalised(x.astype(float), (1,), 0.0, ())
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_layer_norm_of_equal_numbers_is_the_bias():
    y = LayerNorm.of(np.full((3000, 50), 0.1, np.float32), dims=1, eps=1e-5)
    np.testing.assert_allclose(y, 0, atol=1e-4)


def test_the_bits_do_not_depend_on_the_number_of_threads():
    x, g = normal(64, 49, 128), normal(64, 49, 128, seed=1)
    weight, bias = normal(128, seed=2), normal(128, seed=3)
    results = []
    for threads in (1, 2, 3):
        set_num_threads(threads)
        leaves = [Tensor(a, requires_grad=True) for a in (weight, bias)]
        results.append(
            [
                *derived(lambda x: F.layer_norm(x, (128,), *leaves), x, g),  # noqa: B023
                *(leaf.grad.data for leaf in leaves),
                *derived(lambda x: F.softmax(x, -1), x, g),
                *derived(lambda x: F.log_softmax(x, -1), x, g),
            ]
        )
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
