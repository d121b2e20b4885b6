"""Every way to convolve against the definition, forward and both gradients."""

import numpy as np
import pytest

from tinygrad_fm import Tensor, get_num_threads, set_num_threads
from tinygrad_fm.nn import functional as F
from tinygrad_fm.ops.conv import (
    Geometry,
    as_pixels,
    conv2d_reference,
    conv_transpose2d_reference,
    kernels,
    laid,
    split,
)
from tinygrad_fm.ops.fast import depthwise, patches, rows, scatter, tiles


def plain(padding=0, stride=1, dilation=1, groups=1):
    return Geometry((stride, stride), (padding, padding), (dilation, dilation), groups)


MIXED = Geometry((2, 1), (1, 2), (1, 2), 1)
WAYS = {  # which way, channels, size, weight, geometry
    "depthwise 3×3": (depthwise, 6, (7, 5), (6, 1, 3, 3), plain(1, groups=6)),
    "depthwise 5×5": (depthwise, 3, (9, 6), (3, 1, 5, 5), plain(2, groups=3)),
    "depthwise, unpadded": (depthwise, 40, (6, 7), (40, 1, 3, 3), plain(groups=40)),
    "depthwise, stride 2": (depthwise, 6, (8, 7), (6, 1, 3, 3), plain(1, 2, groups=6)),
    "depthwise, stride 3 of 2×2": (depthwise, 6, (8, 7), (6, 1, 2, 2), plain(0, 3, groups=6)),
    "depthwise, all pairs": (depthwise, 4, (8, 9), (4, 1, 2, 3), MIXED._replace(groups=4)),
    "two outputs a channel": (patches, 6, (7, 5), (12, 1, 3, 3), plain(1, groups=6)),
    "groups": (rows, 24, (7, 5), (6, 12, 3, 3), plain(1, groups=2)),
    "many groups": (patches, 8, (7, 5), (8, 2, 3, 3), plain(1, 2, groups=4)),
    "1×1": (patches, 10, (5, 6), (7, 10, 1, 1), plain()),
    "1×1, stride 2": (patches, 10, (5, 6), (7, 10, 1, 1), plain(0, 2)),
    "1×1, groups": (patches, 10, (5, 6), (4, 5, 1, 1), plain(groups=2)),
    "1×1, padding": (patches, 10, (5, 6), (7, 10, 1, 1), plain(2)),
    "one channel": (patches, 1, (9, 8), (4, 1, 5, 5), plain(2)),
    "three channels": (patches, 3, (9, 8), (8, 3, 5, 5), plain(1, 2)),
    "few channels, all pairs": (patches, 8, (8, 9), (16, 2, 2, 3), MIXED._replace(groups=4)),
    "few channels, gaps": (patches, 2, (9, 10), (5, 2, 2, 2), plain(0, 4)),
    "one output": (rows, 12, (9, 8), (1, 12, 5, 5), plain(2)),
    "5×5": (rows, 12, (8, 9), (5, 12, 5, 5), plain(2)),
    "7×7, stride 2": (patches, 3, (11, 10), (4, 3, 7, 7), plain(3, 2)),
    "2×2, stride 2": (patches, 9, (8, 7), (4, 9, 2, 2), plain(0, 2)),
    "4×4, stride 2": (patches, 9, (8, 6), (4, 9, 4, 4), plain(1, 2)),
    "dilation": (rows, 9, (8, 9), (4, 9, 3, 3), plain(2, 1, 2)),
    "3×2, dilation": (rows, 9, (8, 9), (4, 9, 3, 2), Geometry((1, 2), (1, 0), (2, 1), 1)),
    "all pairs": (patches, 9, (8, 9), (4, 9, 2, 3), MIXED),
    "3×3, unpadded": (tiles, 16, (7, 6), (17, 16, 3, 3), plain()),
    "3×3, padding 2": (tiles, 17, (6, 5), (16, 17, 3, 3), plain(2)),
    "3×3, padding 3": (tiles, 16, (4, 1), (16, 16, 3, 3), plain(3)),
    "3×3, one pixel": (tiles, 16, (3, 3), (16, 16, 3, 3), plain()),
}
every_way = pytest.mark.parametrize("name", WAYS)


def drawn(name, n=2, dtype=np.float64):
    """x, w and an upstream gradient, the geometry, and the module that should take them."""
    way, channels, size, weight, geometry = WAYS[name]
    shape = (n, weight[0], *geometry.output_size(size, weight[2:]))
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(dtype) for s in ((n, channels, *size), weight, shape)]
    return *arrays, geometry, way


def results(x, w, upstream, geometry):
    """y, ∂L/∂x and ∂L/∂w by our operations."""
    leaves = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
    y = F.conv2d(*leaves, None, *geometry)
    y.backward(Tensor(upstream))
    return y.data, *(leaf.grad.data for leaf in leaves)


def expected(x, w, upstream, geometry):
    """The same by the definition."""
    (sh, sw), (ph, pw), (dh, dw), groups = geometry
    n, o, oh, ow = upstream.shape
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    padded = padded.reshape(n, groups, w.shape[1], *padded.shape[2:])
    g = upstream.reshape(n, groups, o // groups, oh, ow)
    dw_ = np.zeros_like(w)
    for k, j in np.ndindex(*w.shape[2:]):
        rows, columns = k * dh + sh * np.arange(oh), j * dw + sw * np.arange(ow)
        block = padded[..., rows[:, None], columns]
        dw_[..., k, j] = np.einsum("ngaij,ngbij->gba", block, g).reshape(w.shape[:2])
    y = conv2d_reference(x, w, None, geometry)
    return y, conv_transpose2d_reference(upstream, w, None, geometry, x.shape[2:]), dw_


def assert_equal(ours, theirs, **tolerance):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, **(tolerance or {"rtol": 1e-11, "atol": 1e-12}))


@every_way
@pytest.mark.parametrize("n", [0, 2, 19])
def test_a_way_equals_the_definition(name, n):
    *arrays, geometry, way = drawn(name, n)
    x, w, _ = arrays
    shape = (geometry.groups, len(w) // geometry.groups, *w.shape[1:])
    assert kernels(shape, as_pixels(x), laid(geometry)) is way or n == 0
    assert_equal(results(*arrays, geometry), expected(*arrays, geometry))


def test_few_channels_get_their_gradient_tap_by_tap():
    taken = {name for name, (_, _, _, w, geometry) in WAYS.items()
             if scatter.suits(split(np.empty(w), geometry.groups))}  # fmt: skip
    assert {"one channel", "three channels", "few channels, gaps"} < taken
    assert not {"5×5", "groups", "depthwise 3×3", "3×3, unpadded"} & taken


@every_way
def test_one_image_in_single_precision(name):
    *arrays, geometry, _ = drawn(name, 1, np.float32)
    ours = results(*arrays, geometry)
    assert {a.dtype for a in ours} == {np.dtype(np.float32)}
    assert ours[2].flags.c_contiguous  # as the weight lies: optimizers walk through both at once
    assert_equal(ours, expected(*arrays, geometry), rtol=1e-4, atol=1e-4)


@every_way
def test_complex_numbers(name):
    x, w, _, geometry, _ = drawn(name)
    y = F.conv2d(Tensor(x + 1j * x[::-1]), Tensor(w * 1j), None, *geometry)
    np.testing.assert_allclose(
        y.data, conv2d_reference(x + 1j * x[::-1], w * 1j, None, geometry), rtol=1e-11, atol=1e-11
    )


def with_gaps(a):
    whole = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    whole[..., ::2] = a
    return whole[..., ::2]


LAYOUTS = {
    "(H, W, N, C)": lambda a: np.ascontiguousarray(a.transpose(2, 3, 0, 1)).transpose(2, 3, 0, 1),
    "(N, H, W, C)": lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "turned round": lambda a: a[::-1, ::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1, ::-1],
    "gaps": with_gaps,
}


@every_way
@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts(name, layout):
    *arrays, geometry, _ = drawn(name, 3)
    moved = [LAYOUTS[layout](a) for a in arrays]
    before = [a.copy() for a in moved]
    assert_equal(results(*moved, geometry), results(*arrays, geometry))
    for a, b in zip(moved, before, strict=True):
        np.testing.assert_array_equal(a, b)


@every_way
def test_the_same_numbers_for_all(name):
    """Inputs that are views of one number: the gradient of `sum()`, say."""
    x, w, upstream, geometry, _ = drawn(name)
    same = [np.broadcast_to(a.ravel()[0], a.shape) for a in (x, w, upstream)]
    assert_equal(results(*same, geometry), expected(*(a.copy() for a in same), geometry))


@pytest.fixture
def _threads_afterwards():
    before = get_num_threads()
    yield
    set_num_threads(before)


@every_way
@pytest.mark.usefixtures("_threads_afterwards")
def test_the_same_bits_for_any_number_of_threads(name):
    *arrays, geometry, _ = drawn(name, 150, np.float32)
    of_threads = []
    for count in (1, 2, 3):
        set_num_threads(count)
        of_threads.append(results(*arrays, geometry))
    for others in of_threads[1:]:
        for a, b in zip(of_threads[0], others, strict=True):
            np.testing.assert_array_equal(a, b)


@every_way
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_no_number_stays_where_it_is_read(name, value):
    """In the outputs that it is a part of; with Winograd's tiles in the tiles of those."""
    x, w, _, geometry, way = drawn(name)
    x[1, -1, 2 % x.shape[2], 0] = value
    y = F.conv2d(Tensor(x), Tensor(w), None, *geometry).data
    true = conv2d_reference(x, w, None, geometry)
    spoiled = ~np.isfinite(true)
    if way is tiles:
        for i, j in np.ndindex(*[(side + 1) // 2 for side in y.shape[2:]]):
            tile = spoiled[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            tile |= tile.any(axis=(2, 3), keepdims=True)
        assert not np.isfinite(y[~np.isfinite(true)]).any()
        y, true = y[~spoiled], true[~spoiled]
    np.testing.assert_allclose(y, true, rtol=1e-11, atol=1e-12)
