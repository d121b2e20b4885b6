"""When BLAS may use all of its threads: only where they give the bits of one."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from tinygrad_fm import set_num_threads
from tinygrad_fm.ops.fast import blas
from tinygrad_fm.ops.fast.blas import CALLS, multiply, one_blas_thread
from tinygrad_fm.ops.matmul import in_blocks, product

SHAPES = [(64, 768, 128), (128, 64, 784), (256, 784, 128), (97, 331, 203), (33, 500, 17)]
SHAPES += [(1024, 576, 64), (300, 1000, 41), (2, 3000, 50), (50, 3000, 2)]


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """BLAS's threads are used wherever the bits allow it, however long they take."""
    set_num_threads(2)
    blas._calls.clear()
    blas._seconds.clear()
    monkeypatch.setattr(blas, "perf_counter", clock(0.999))
    monkeypatch.setattr(blas, "_pause", [0.0, 0.1])
    with threadpool_limits(2, "blas"):
        yield
    set_num_threads(2)


def clock(factor):
    """A clock that goes slower and slower, or faster and faster, from call to call."""
    state = [0.0, 1.0]

    def now():
        state[1] *= factor
        state[0] += state[1]
        return state[0]

    return now


def matrices(m, k, n, turned=(False, False), dtype=np.float32):
    rng = np.random.default_rng(m)
    return [
        rng.standard_normal(size[::-1]).astype(dtype).T
        if turn
        else rng.standard_normal(size).astype(dtype)
        for size, turn in zip([(m, k), (k, n)], turned, strict=True)
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_product_has_the_same_bits_before_and_after_it_was_tried(shape, turned, dtype):
    a, b = matrices(*shape, turned, dtype)
    set_num_threads(1)
    wanted = product(a, b).tobytes()
    set_num_threads(2)
    for _ in range(CALLS + 3):
        assert product(a, b).tobytes() == wanted
    assert one_blas_thread(product, a, b).tobytes() == wanted
    assert len(blas._seconds) > 0


def alone(by_one, *matrices, most=2):
    """How often of many calls by_one was asked to compute the same product of two."""
    asked = []

    def count(a, b, y):
        asked.append(a is matrices[0])
        by_one(a, b, y)

    y = np.empty((len(matrices[0]), matrices[1].shape[1]), matrices[0].dtype)
    for _ in range(CALLS + 10):
        multiply(count, *matrices, y, most)
    return sum(asked)


def test_blas_takes_over_what_it_computes_with_the_same_bits():
    assert CALLS + 1 in [alone(in_blocks, *matrices(*shape)) for shape in SHAPES]


def test_what_gives_other_bits_is_never_left_to_blas():
    def backwards(a, b, y):
        y[...] = a[:, ::-1] @ b[::-1]

    assert alone(backwards, *matrices(64, 768, 128)) == CALLS + 10


def test_neither_more_threads_than_allowed_nor_taken_from_somebody():
    pair = matrices(64, 768, 128)
    assert alone(in_blocks, *pair, most=1) == CALLS + 10
    assert one_blas_thread(alone, in_blocks, *pair) == CALLS + 10
    assert blas._seconds == {}


def test_a_matrix_times_itself_goes_another_way_through_blas():
    a = matrices(128, 784, 128)[0]
    assert alone(in_blocks, a, a.T) == CALLS + 10


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.complex64, np.bool_])
def test_what_blas_does_not_compute_is_not_tried(dtype):
    pair = [x.astype(dtype) for x in matrices(64, 768, 128)]
    assert alone(in_blocks, *pair) == CALLS + 10


def test_threads_that_come_late_are_left_alone_for_a_while(monkeypatch):
    pair = matrices(64, 768, 128)
    alone(in_blocks, *pair)
    if not all(blas._seconds.values()):
        pytest.skip("this BLAS gives other bits on two threads")
    monkeypatch.setattr(blas, "perf_counter", iter([1.0, 9.0, *[9.004] * 5, *[9.2] * 30]).__next__)
    assert alone(in_blocks, *pair) == 5


def test_shapes_that_never_come_back_are_forgotten(monkeypatch):
    monkeypatch.setattr(blas, "KEPT", 5)
    for rows in range(20):
        a, b = matrices(64 + rows, 100, 64)
        for _ in range(CALLS + 2):
            product(a, b)
    assert len(blas._calls) <= 6
    assert len(blas._seconds) <= 6
