"""The fast paths against their readable twins, and convolution against its adjoint."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tinygrad_fm import Tensor
from tinygrad_fm.nn import functional as F
from tinygrad_fm.ops.conv import Geometry, conv2d_reference, conv_transpose2d_reference
from tinygrad_fm.ops.norm import batch_norm_reference
from tinygrad_fm.ops.pool import Window, avg_pool2d_reference, max_pool2d_reference

drawn = settings(derandomize=True, deadline=None, max_examples=60, database=None)
EXACT = {"rtol": 1e-11, "atol": 1e-12}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def pair(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


geometries = st.builds(Geometry, pair(1, 3), pair(0, 2), pair(1, 3), st.integers(1, 3))


def fitting_size(geometry, kernel, extra):
    """An image that the kernel fits into, `extra` larger than it must be."""
    return [
        max(d * (k - 1) + 1 - 2 * p, 1) + e
        for k, p, d, e in zip(kernel, geometry.padding, geometry.dilation, extra, strict=True)
    ]


@drawn
@given(geometry=geometries, kernel=pair(1, 4), extra=pair(0, 4), n=st.integers(0, 3),
       channels=st.integers(1, 3), outputs=st.integers(1, 3), bias=st.booleans())  # fmt: skip
def test_conv2d(geometry, kernel, extra, n, channels, outputs, bias):
    groups = geometry.groups
    x = normal(n, channels * groups, *fitting_size(geometry, kernel, extra))
    w = normal(outputs * groups, channels, *kernel, seed=1)
    b = normal(outputs * groups, seed=2) if bias else None
    y = F.conv2d(Tensor(x), Tensor(w), None if b is None else Tensor(b), *geometry)
    np.testing.assert_allclose(y.data, conv2d_reference(x, w, b, geometry), **EXACT)


@drawn
@given(size=pair(1, 9), n=st.integers(1, 18), channels=st.integers(1, 6), outputs=st.integers(1, 4),
       recorded=st.booleans(), frozen=st.booleans())  # fmt: skip
def test_conv2d_of_3x3_and_padding_1(size, n, channels, outputs, recorded, frozen):
    x, w = normal(n, channels, *size), normal(outputs, channels, 3, 3, seed=1)
    b = normal(outputs, seed=2)
    y = F.conv2d(
        Tensor(x, recorded and not frozen), Tensor(w, recorded), Tensor(b, recorded), padding=1
    )
    geometry = Geometry((1, 1), (1, 1), (1, 1), 1)
    np.testing.assert_allclose(y.data, conv2d_reference(x, w, b, geometry), **EXACT)


@drawn
@given(geometry=geometries, kernel=pair(1, 4), size=pair(1, 4), n=st.integers(0, 3),
       channels=st.integers(1, 3), outputs=st.integers(1, 3), extra=pair(0, 2))  # fmt: skip
def test_conv_transpose2d(geometry, kernel, size, n, channels, outputs, extra):
    stride, padding, dilation, groups = geometry
    out = tuple(
        (i - 1) * s - 2 * p + d * (k - 1) + e + 1
        for i, s, p, d, k, e in zip(size, stride, padding, dilation, kernel, extra, strict=True)
    )
    assume(min(out) > 0)
    assume(all(e < max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)))
    x = normal(n, channels * groups, *size)
    w, b = normal(channels * groups, outputs, *kernel, seed=1), normal(outputs * groups, seed=2)
    y = F.conv_transpose2d(
        Tensor(x), Tensor(w), Tensor(b), stride, padding, extra, groups, dilation
    )
    expected = conv_transpose2d_reference(x, w, b, geometry, out)
    np.testing.assert_allclose(y.data, expected, **EXACT)


@drawn
@given(geometry=geometries, kernel=pair(1, 4), extra=pair(0, 4), channels=st.integers(1, 3))
def test_transposed_convolution_is_the_adjoint_of_convolution(geometry, kernel, extra, channels):
    """⟨conv(x), y⟩ = ⟨x, convᵀ(y)⟩ for all x and y; backward of each is the other."""
    stride, padding, dilation, groups = geometry
    x = Tensor(normal(2, channels * groups, *fitting_size(geometry, kernel, extra)), True)
    w = Tensor(normal(2 * groups, channels, *kernel, seed=1))
    conv = F.conv2d(x, w, None, stride, padding, dilation, groups)
    y = Tensor(normal(*conv.shape, seed=2))
    left_over = [  # what a stride skips at the end
        (n + 2 * p - d * (k - 1) - 1) % s
        for n, p, d, k, s in zip(x.shape[2:], padding, dilation, kernel, stride, strict=True)
    ]
    transposed = F.conv_transpose2d(y, w, None, stride, padding, tuple(left_over), groups, dilation)
    assert transposed.shape == x.shape
    left, right = (conv.data * y.data).sum(), (x.data * transposed.data).sum()
    np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-10)
    conv.backward(y)
    np.testing.assert_allclose(x.grad.data, transposed.data, **EXACT)


@st.composite
def windows(draw):
    kernel, dilation = draw(pair(1, 4)), draw(pair(1, 2))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = tuple(
        max(d * (k - 1) + 1 - p, 2) + draw(st.integers(0, 4))
        for k, p, d in zip(kernel, padding, dilation, strict=True)
    )
    return Window(kernel, draw(pair(1, 3)), padding, dilation, draw(st.booleans())), size


@drawn
@given(drawn_window=windows(), n=st.integers(1, 3))
def test_max_pool2d(drawn_window, n):
    window, size = drawn_window
    x = normal(n, 2, *size)
    y = F.max_pool2d(Tensor(x), *window)
    np.testing.assert_array_equal(y.data, max_pool2d_reference(x, window))


@pytest.mark.parametrize("count_include_pad", [True, False])
@drawn
@given(drawn_window=windows(), n=st.integers(1, 3))
def test_avg_pool2d(count_include_pad, drawn_window, n):
    window, size = drawn_window
    window = window._replace(dilation=(1, 1))
    x = normal(n, 2, *size)
    kernel, stride, padding, _, ceil_mode = window
    y = F.avg_pool2d(Tensor(x), kernel, stride, padding, ceil_mode, count_include_pad)
    expected = avg_pool2d_reference(x, window, count_include_pad)
    np.testing.assert_allclose(y.data, expected, **EXACT)


@drawn
@given(shape=st.tuples(st.integers(2, 5), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
       eps=st.sampled_from([1e-5, 0.1]))  # fmt: skip
def test_batch_norm(shape, eps):
    x, w, b = normal(*shape), normal(shape[1], seed=1), normal(shape[1], seed=2)
    y = F.batch_norm(Tensor(x), None, None, Tensor(w), Tensor(b), training=True, eps=eps)
    np.testing.assert_allclose(y.data, batch_norm_reference(x, w, b, eps), rtol=1e-9, atol=1e-10)
