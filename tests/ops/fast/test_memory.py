"""Memory that is used again."""

import numpy as np
import pytest

from tinygrad_fm import Tensor
from tinygrad_fm.ops.fast import memory

LARGE = (64, 1024)  # floats: above `memory.SMALL`


@pytest.fixture(autouse=True)
def _nothing_spare():
    memory.release()


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_comes_back_when_the_last_view_is_gone():
    first = memory.empty(LARGE, np.float32)
    place = address(first)
    view = first[3:, ::2].T
    del first
    assert address(memory.empty(LARGE, np.float32)) != place, "a view still needs it"
    del view
    assert address(memory.empty(LARGE, np.float32)) == place


def test_arrays_alive_at_once_never_share():
    arrays = [memory.empty(LARGE, np.float32) for _ in range(4)]
    for i, a in enumerate(arrays):
        a[...] = i
    assert [a.min() for a in arrays] == [a.max() for a in arrays] == [0, 1, 2, 3]


def test_memory_is_used_again_for_another_dtype_of_that_size():
    place = address(memory.empty(LARGE, np.float32))
    again = memory.empty((64, 512), np.float64)
    assert address(again) == place
    assert again.dtype == np.float64
    assert again.flags.writeable


def test_spare_memory_is_bounded_when_sizes_change():
    for rows in range(100, 200):  # a hundred different sizes, none of them asked for twice
        memory.empty((rows, 1024), np.float32)
    assert memory._spare() <= 2 * 200 * 1024 * 4 + memory.in_use()  # by other tests


def test_all_that_is_in_use_and_spare_is_counted():
    others = memory._total
    kept = [memory.empty((rows, 1024), np.float32) for rows in (16, 16, 32)]
    memory.empty((64, 1024), np.float32)
    assert (memory._total, memory._spare()) == (others + 128 * 4096, 64 * 4096)
    memory.release()
    assert (memory._total, memory._spare()) == (others + 64 * 4096, 0)
    del kept
    assert (memory._total, memory._spare()) == (others + 64 * 4096, 64 * 4096)


def test_empty_like_keeps_shape_layout_and_dtype():
    x = np.zeros((5, 6, 70, 80), np.float32).transpose(2, 3, 0, 1)
    y = memory.empty_like(x)
    assert (y.shape, y.strides, y.dtype) == (x.shape, x.strides, x.dtype)
    assert memory.empty_like(x, bool).dtype == bool
    one = np.zeros((1, 7, 1), np.float32)
    assert memory.empty_like(one).shape == one.shape


def test_fresh_is_told_from_view():
    for array in (np.empty(3), memory.empty(LARGE, np.float32)):
        assert memory.is_fresh(array)
        assert not memory.is_fresh(array[1:])
        assert not memory.is_fresh(array.reshape(-1, 1))


def test_saved_memory_is_read_only_even_when_it_is_reused():
    x = Tensor(memory.empty(LARGE, np.float32), requires_grad=True)
    x.data[...] = 1
    y = x * x
    with pytest.raises(ValueError, match="read-only"):
        x.data[0, 0] = 2
    y.sum().backward()
    x.data[0, 0] = 2
