"""Arrays in other layouts, and work on parts of them."""

import numpy as np
import pytest

from tinygrad_fm.ops.fast import layout
from tinygrad_fm.ops.fast.chunks import NUMBERS

SHAPE = (20, 3, 40, 50)  # more than NUMBERS: cut into chunks where the layout allows


def ordered(shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


LAYOUTS = {
    "contiguous": lambda: ordered(SHAPE),
    "channels last": lambda: ordered((20, 40, 50, 3)).transpose(0, 3, 1, 2),
    "every other row": lambda: ordered((20, 3, 80, 50))[:, :, ::2],
    "turned round": lambda: ordered(SHAPE)[::-1],
    "one row for all": lambda: np.broadcast_to(ordered((1, 1, 1, 50)), SHAPE),
}


@pytest.mark.parametrize("build", LAYOUTS.values(), ids=LAYOUTS)
def test_work_on_parts_is_work_on_the_whole(build):
    x = build()
    out = np.zeros_like(x)
    layout.elementwise(lambda a, b: np.multiply(a, 2, out=b), x, out)
    np.testing.assert_array_equal(out, 2 * x)


def test_results_land_in_arrays_with_gaps():
    """Whose parts are no runs of memory: to cut them would be to copy them."""
    x, out = ordered((20, 3, 80, 50)), np.zeros((20, 3, 80, 50), np.float32)
    layout.elementwise(lambda a, b: np.multiply(a, 2, out=b), x[:, :, ::2], out[:, :, ::2])
    np.testing.assert_array_equal(out[:, :, ::2], 2 * x[:, :, ::2])
    assert not out[:, :, 1::2].any()


@pytest.mark.parametrize("build", [LAYOUTS["contiguous"], LAYOUTS["channels last"]])
def test_parts_of_dense_arrays_fit_a_cache(build):
    sizes = []
    layout.elementwise(lambda a: sizes.append(a.size), build())
    assert sum(sizes) == np.prod(SHAPE)
    assert max(sizes) == NUMBERS


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
