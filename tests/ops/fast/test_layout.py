"""Arrays in other layouts, and work on parts of them."""

from itertools import chain, combinations, permutations

import numpy as np
import pytest

from tinygrad_fm import get_num_threads, set_num_threads
from tinygrad_fm.ops.fast import layout
from tinygrad_fm.ops.fast.sums import sums


@pytest.fixture(autouse=True)
def _same_threads_afterwards():
    before = get_num_threads()
    yield
    set_num_threads(before)


SHAPE = (30, 3, 60, 50)  # more than LARGE: cut into chunks


def ordered(shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


LAYOUTS = {
    "contiguous": lambda: ordered(SHAPE),
    "channels last": lambda: ordered((30, 60, 50, 3)).transpose(0, 3, 1, 2),
    "every other row": lambda: ordered((30, 3, 120, 50))[:, :, ::2],
    "turned round": lambda: ordered(SHAPE)[::-1],
    "one row for all": lambda: np.broadcast_to(ordered((1, 1, 1, 50)), SHAPE),
}


OTHERS = {
    "the same": lambda x: x,
    "row-major": lambda x: np.ascontiguousarray(x) + 1,
    "gates": lambda x: ordered((30, 3, 1, 1)),
    "a bias": lambda x: ordered((1, 3, 1, 1)),
    "the last axis": lambda x: ordered((50,)),
    "a number": lambda x: np.float32(3),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("build", LAYOUTS.values(), ids=LAYOUTS)
def test_chunks_are_parts_of_the_whole(build, other, threads):
    x = build()
    y = other(x)
    set_num_threads(threads)
    for formula in (np.subtract, lambda a, b: a * (b + a), lambda a, b: a > b):
        for a, b in ((x, y), (y, x)):
            result = layout.chunked(formula, a, b)
            np.testing.assert_array_equal(result, formula(a, b))
            assert result.dtype == formula(a, b).dtype


@pytest.mark.parametrize("build", [LAYOUTS["contiguous"], LAYOUTS["channels last"]])
def test_results_keep_a_layout_and_fit_a_cache(build):
    x, sizes = build(), []

    def formula(a):
        sizes.append(a.size)
        return a + 1

    assert layout.chunked(formula, x).strides == x.strides
    assert sum(sizes) == x.size + 1  # and one number, which tells the result's type
    assert max(sizes) <= layout.LARGE


def test_warnings_are_the_callers_choice_in_every_thread():
    x = np.full(3 * layout.LARGE, 1e30, np.float32)
    with np.errstate(over="ignore"):
        assert np.isinf(layout.chunked(lambda a: a * a, x)).all()
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        layout.chunked(lambda a: a * a, x)


@pytest.mark.parametrize("shape", [(3, 5, 7000), (300, 300), (70000,), (20, 40, 50, 3), (1, 9, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_sums_over_any_axes_in_any_layout(shape, dtype):
    values = np.random.default_rng(0).integers(-8, 8, shape).astype(dtype)  # whose sums are exact
    for order in permutations(range(len(shape))):
        x = values.transpose(order)
        for axes in chain(*(combinations(range(x.ndim), n) for n in range(1, x.ndim + 1))):
            result = sums(x, axes)
            np.testing.assert_array_equal(result, x.sum(axis=axes, keepdims=True))
            assert result.dtype == dtype


def test_sums_have_the_same_bits_at_any_number_of_threads():
    x = np.random.default_rng(0).standard_normal((64, 31, 29, 16), np.float32)
    for axes in ((0, 1, 2), (3,), (1, 2), (0, 1, 2, 3)):
        set_num_threads(1)
        expected = sums(x, axes)
        set_num_threads(2)
        np.testing.assert_array_equal(sums(x, axes), expected)
        np.testing.assert_allclose(expected, x.sum(axes, np.float64, keepdims=True), atol=1e-3)


@pytest.mark.parametrize("build", LAYOUTS.values(), ids=LAYOUTS)
def test_copies_hold_the_same_numbers_in_order(build):
    x = build()
    copy = layout.contiguous(x)
    np.testing.assert_array_equal(copy, x)
    assert copy.flags.c_contiguous
    hwnc = layout.as_hwnc(x)
    np.testing.assert_array_equal(hwnc, x.transpose(2, 3, 0, 1))
    assert hwnc.flags.c_contiguous


def test_nothing_is_copied_that_lies_as_it_should():
    x = ordered(SHAPE)
    assert layout.contiguous(x) is x
    assert np.shares_memory(layout.as_hwnc(x.transpose(2, 3, 0, 1)), x)
