"""Work in chunks, and the working memory that each of them has to itself."""

from threading import Barrier

import numpy as np
import pytest

from tinygrad_fm import get_num_threads, set_num_threads
from tinygrad_fm.ops.fast.chunks import Workspace, chunks_of, even_chunks, for_chunks
from tinygrad_fm.ops.fast.conv3x3 import Patches3x3, Winograd3x3


@pytest.fixture(params=[1, 3], ids="{} threads".format)
def _threads(request):
    before = get_num_threads()
    set_num_threads(request.param)
    yield
    set_num_threads(before)


@pytest.mark.parametrize("length", [1, 16, 100])
@pytest.mark.parametrize("n", [0, 1, 16, 17, 40])
def test_chunks_cover_a_batch_once(n, length):
    chunks = chunks_of(n, length)
    assert [i for chunk in chunks for i in range(n)[chunk]] == list(range(n))
    assert all(chunk.stop - chunk.start == length for chunk in chunks[:-1])


def filled(take, sizes, first):
    """Arrays of these sizes, each full of a number of its own."""
    arrays = []
    for number, size in enumerate(sizes, first):
        arrays.append(take((size,), np.int32))
        arrays[-1][...] = number
    return arrays


def values(arrays):
    return [set(a.tolist()) for a in arrays]


def test_arrays_of_a_workspace_never_share_though_it_grows():
    with Workspace() as take:
        arrays = filled(take, [1, 5000, 3, 70000, 16, 17, 1], first=0)
        assert values(arrays) == [{i} for i in range(7)]
    with Workspace() as take:  # all in one buffer by now
        again = filled(take, [1, 5000, 3, 70000, 16, 17, 1], first=0)
        assert values(again) == [{i} for i in range(7)]


def test_the_next_chunk_gets_the_same_memory():
    with Workspace() as take:
        take((100, 10), np.float64)
    places = set()
    for _ in range(3):
        with Workspace() as take:
            take((3,), np.float32)
            array = take((50, 10), np.float64)
            places.add(array.__array_interface__["data"][0])
            assert (array.shape, array.dtype) == ((50, 10), np.float64)
    assert len(places) == 1


def test_arrays_are_aligned_behind_any_others():
    for _ in range(2):
        with Workspace() as take:
            for n in (1, 3, 65):
                take((n,), np.uint8)
                assert take((2, 3), np.complex128).flags.aligned


@pytest.mark.usefixtures("_threads")
def test_a_loop_within_a_chunk_leaves_its_arrays_alone():
    seen = []

    def inner(i, chunk, take):
        seen.append(values(filled(take, [400, 30], first=100 * i)) == [{100 * i}, {100 * i + 1}])

    def outer(i, chunk, take):
        arrays = filled(take, [300, 200], first=i)
        for_chunks(inner, chunks_of(5, 2))
        arrays += filled(take, [100], first=i + 2)
        seen.append(values(arrays) == [{i}, {i + 1}, {i + 2}])

    for_chunks(outer, chunks_of(8, 2))
    assert seen == [True] * 16


def test_a_workspace_serves_again_after_an_error():
    def failing(i, chunk, take):
        filled(take, [10], first=1)
        raise ZeroDivisionError

    with Workspace() as take:
        kept = filled(take, [10, 20], first=1)
        with pytest.raises(ZeroDivisionError):
            for_chunks(failing, chunks_of(1))
        kept += filled(take, [10], first=3)
        assert values(kept) == [{1}, {2}, {3}]


@pytest.mark.parametrize("way", [Winograd3x3, Patches3x3])
def test_gradients_of_two_chunks_may_be_written_before_either_is_used(way):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((4, 2, 6, 7)), rng.standard_normal((3, 2, 3, 3))
    upstream = rng.standard_normal((2, 2, 2, 3, 4, 2, 3))  # for 2 chunks of 2 images
    threads, results = get_num_threads(), []
    try:
        for at_once in (2, 1):
            set_num_threads(at_once)
            conv, written = way(x, weight), Barrier(at_once)

            def forward(i, s, take, conv=conv):
                conv.forward(i, s, take((2, 2, *conv.grid, 2, 3), x.dtype), take)

            def fill(i, s, dy, take, written=written):
                dy[...] = upstream[i]
                written.wait(timeout=60)

            for_chunks(forward, chunks_of(4, 2))
            results.append(conv.backward(chunks_of(4, 2), fill, True, True))
    finally:
        set_num_threads(threads)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("most", [0, 1, 5, 16, 100])
@pytest.mark.parametrize("n", [0, 1, 6, 16, 17, 40])
def test_even_chunks_are_few_and_of_one_length_but_the_last(n, most):
    chunks = even_chunks(n, most)
    assert [i for chunk in chunks for i in range(n)[chunk]] == list(range(n))
    assert len(chunks) <= -(-n // max(most, 1))
    assert all(chunk.stop - chunk.start <= max(most, 1) for chunk in chunks)
