"""Threads: the same bits for any number of them, and nothing global left changed."""

import os
import threading
import weakref
from collections import OrderedDict

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import tinygrad_fm
from tinygrad_fm import Tensor, get_num_threads, manual_seed, nn, set_num_threads
from tinygrad_fm.nn import functional as F
from tinygrad_fm.ops.fast.blas import one_blas_thread
from tinygrad_fm.ops.fast.parallel import parallel_for
from tinygrad_fm.recipes import RECIPES


@pytest.fixture(autouse=True)
def _same_threads_afterwards():
    before = get_num_threads()
    yield
    set_num_threads(before)


def train(build, loss, optimizer, steps=3):
    """Weights and losses after a few steps on 40 random pictures."""
    manual_seed(0)
    rng = np.random.default_rng(0)
    model = build()
    updates = optimizer(model.parameters(), 0.01)
    losses = []
    for _ in range(steps):
        x = Tensor(rng.standard_normal((40, 1, 28, 28)).astype(np.float32))
        t = Tensor(rng.integers(0, 10, 40))
        updates.zero_grad()
        value = loss(model(x), t)
        value.backward()
        updates.step()
        losses.append(value.item())
    return losses, OrderedDict((k, v.copy()) for k, v in model.state_dict().items())


def general():
    """Convolutions that no fast path takes: strides, groups, 5×5."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2, padding=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 49, 10),
    )


NETWORKS = ("sigmoid-mlp", "mlp", "cnn", "cnn-bn", "mlp-deep", "cnn-5conv", "resnet")


@pytest.mark.parametrize("name", [*NETWORKS, "general"])
@pytest.mark.parametrize("blas_threads", [1, 2])
def test_same_bits_on_one_two_and_four_threads(name, blas_threads):
    if name == "general":
        recipe = (general, F.cross_entropy, RECIPES["cnn"].optimizer)
    else:
        recipe = (RECIPES[name].build, RECIPES[name].loss, RECIPES[name].optimizer)
    results = []
    for threads in (1, 2, 4):
        set_num_threads(threads)
        with threadpool_limits(blas_threads if threads != 2 else 1, "blas"):
            results.append(train(*recipe))
    losses, weights = results[0]
    for other_losses, other_weights in results[1:]:
        assert other_losses == losses
        for key, array in weights.items():
            np.testing.assert_array_equal(other_weights[key], array, err_msg=key)


def test_every_index_runs_once():
    set_num_threads(4)
    for count in (0, 1, 2, 7, 100):
        done = []
        parallel_for(done.append, count)
        assert sorted(done) == list(range(count))


def test_nested_loops_finish():
    set_num_threads(2)
    done = []
    parallel_for(lambda i: parallel_for(lambda j: done.append((i, j)), 3), 4)
    assert sorted(done) == [(i, j) for i in range(4) for j in range(3)]


def test_an_exception_in_a_chunk_reaches_the_caller_and_the_next_loop_works():
    set_num_threads(2)

    def body(i):
        if i == 5:
            raise ZeroDivisionError("chunk 5")

    with pytest.raises(ZeroDivisionError, match="chunk 5"):
        parallel_for(body, 8)
    done = []
    parallel_for(done.append, 3)
    assert sorted(done) == [0, 1, 2]


@pytest.mark.parametrize("threads", [1, 2])
def test_after_an_exception_no_chunk_is_begun(threads):
    set_num_threads(threads)
    begun = []

    def body(i):
        begun.append(i)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        parallel_for(body, 100)
    assert len(begun) <= threads


def test_a_loop_keeps_nothing_alive_when_it_is_over():
    set_num_threads(2)

    class Body:
        def __call__(self, i):
            np.ones((100, 100)) @ np.ones((100, 100))

    body = Body()
    alive = weakref.ref(body)
    parallel_for(body, 8)
    del body
    assert alive() is None


def test_two_callers_at_once():
    set_num_threads(2)
    totals = []

    def caller():
        done = []
        for _ in range(20):
            parallel_for(done.append, 5)
        totals.append(len(done))

    callers = [threading.Thread(target=caller) for _ in range(3)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert totals == [100, 100, 100]


def blas_threads():
    return [
        library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
    ]


def test_blas_limits_are_left_as_found():
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        assert 1 in one_blas_thread(one_blas_thread, blas_threads)
        assert blas_threads() == before
        with pytest.raises(ZeroDivisionError):
            parallel_for(lambda i: 1 / 0, 2)
        assert blas_threads() == before


def test_blas_is_held_at_one_thread_from_every_thread():
    """threadpoolctl by itself lets only the first thread that asked change the number."""
    with threadpool_limits(2, "blas"):
        one_blas_thread(int)  # the main thread is the first
        before, seen = blas_threads(), []
        user = threading.Thread(target=lambda: seen.extend(one_blas_thread(blas_threads)))
        user.start()
        user.join()
        assert 1 in seen
        assert blas_threads() == before


def test_set_num_threads_says_what_it_wants():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        set_num_threads(0)
    assert tinygrad_fm.get_num_threads() >= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_gets_threads_of_its_own():
    set_num_threads(2)
    parallel_for(lambda i: None, 4)  # wakes the helpers of this process
    child = os.fork()
    if child == 0:
        done = []
        parallel_for(done.append, 4)
        os._exit(0 if sorted(done) == [0, 1, 2, 3] else 1)
    assert os.waitpid(child, 0)[1] == 0
