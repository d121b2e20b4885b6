"""Memory that a plan lays out: nothing lives in two places at once, and dead places are used."""

import gc
import tracemalloc

import numpy as np
import pytest

import tinygrad_fm as tg
from tinygrad_fm import nn, no_grad
from tinygrad_fm.plan.compiled import plan_of
from tinygrad_fm.plan.memory import Arena
from tinygrad_fm.plan.trace import Spec
from tinygrad_fm.recipes import RECIPES


def deep(layers):
    parts = [part for _ in range(layers) for part in (nn.Linear(64, 64), nn.Tanh())]
    return tg.compile(nn.Sequential(*parts, nn.Linear(64, 1)))


def layer(rows=32):
    return rows * 64 * 4


def test_evaluation_needs_two_places_however_deep():
    with no_grad():
        for layers in (3, 30):
            plan, _ = plan_of(deep(layers), tg.randn(32, 64))
            assert plan.nbytes == 2 * layer()


def test_training_keeps_what_backward_needs_and_no_more():
    for layers in (3, 30):
        plan, _ = plan_of(deep(layers), tg.randn(32, 64))
        assert plan.nbytes <= (layers + 3) * layer()


def test_arrays_that_live_at_the_same_time_lie_apart():
    for name in ("mlp-deep", "cnn-bn"):
        model = tg.compile(RECIPES[name].build())
        plan, _ = plan_of(model, tg.randn(4, 1, 28, 28))
        assert plan.lives
        for i, a in enumerate(plan.lives):
            for b in plan.lives[i + 1 :]:
                apart = a.ended <= b.begun or b.ended <= a.begun
                assert apart or a.place.stop <= b.place.start or b.place.stop <= a.place.start
        assert max(life.place.stop for life in plan.lives) <= plan.nbytes


def test_an_arena_gives_places_again_and_joins_neighbours():
    rng, arena, held = np.random.default_rng(0), Arena(), []
    for _ in range(2000):
        if held and rng.random() < 0.5:
            array, value = held.pop(rng.integers(len(held)))
            assert (array == value).all()
            arena.give(array)
        else:
            shape = tuple(rng.integers(1, 9, 3).tolist())
            order = tuple(rng.permutation(3).tolist())
            array = arena.take(Spec(shape, np.dtype(np.float32), order))
            assert array.shape == shape
            assert array.ctypes.data % 64 == 0
            held.append((array, value := float(rng.random(dtype=np.float32))))
            array[...] = value
    assert all((array == np.float32(value)).all() for array, value in held)
    total = arena.nbytes
    for array, _ in held:
        arena.give(array)
    assert len(arena.free) == len(arena.blocks)  # each block is one place again
    arena.take(Spec((4,), np.dtype(np.float32), (0,)))
    assert arena.nbytes == total


class WithLoss(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.loss = model, nn.CrossEntropyLoss()

    def forward(self, x, target):
        return self.loss(self.model(x), target)


@pytest.mark.parametrize("name", ["sigmoid-mlp", "mlp"])
def test_a_replay_allocates_next_to_nothing(name):
    model = tg.compile(WithLoss(RECIPES[name].build()))
    optimizer = tg.optim.SGD(model.parameters(), 1e-6, momentum=0.9)
    x, target = tg.randn(64, 1, 28, 28), tg.randint(0, 10, (64,))

    def step():
        optimizer.zero_grad()
        model(x, target).backward()
        optimizer.step()

    for _ in range(5):
        step()
    gc.collect()
    tracemalloc.start()
    step()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    step()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 4096  # Python's own objects
    # What one formula needs while it is computed, on the widest layer; the part of a product that
    # is added to it (784 = 24·32 + 16); the loss.
    assert peak - before < 5 * layer(64) + 8192
