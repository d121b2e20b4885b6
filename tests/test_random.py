"""One seeded generator behind everything random."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_fm as tg
from tinygrad_fm import nn
from tinygrad_fm.random import default_generator, manual_seed


def draw_everything() -> list[np.ndarray]:
    layer, dropout = nn.Linear(5, 4), nn.Dropout(0.3)
    tensors = [tg.rand(3), tg.randn(2, 2), tg.randint(0, 100, (5,)), tg.randperm(9)]
    return [t.data for t in (*tensors, *layer.parameters(), dropout(tg.ones(50)))]


def test_the_same_seed_gives_the_same_bits() -> None:
    runs = []
    for seed in (3, 4, 3):
        manual_seed(seed)
        runs.append(draw_everything())
    for first, other, again in zip(*runs, strict=True):
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


def test_seeding_keeps_the_generator_itself() -> None:
    held = default_generator()
    assert manual_seed(1) is held
    assert default_generator() is held
    assert tg.manual_seed(1) is held
    assert held.random() == np.random.default_rng(1).random()


def test_numpy_s_global_state_is_neither_read_nor_changed() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    manual_seed(0)
    first = draw_everything()
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    manual_seed(0)
    for a, b in zip(first, draw_everything(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_generator_of_one_s_own_leaves_the_default_alone() -> None:
    manual_seed(0)
    wanted = default_generator().random()
    manual_seed(0)
    own = [nn.Dropout(0.5, np.random.default_rng(5))(tg.ones(40)).tolist() for _ in range(2)]
    nn.init.normal_(tg.zeros(3), generator=np.random.default_rng(5))
    assert own[0] == own[1]
    assert default_generator().random() == wanted


@pytest.mark.parametrize("seed", [-1, -(10**20)])
def test_negative_seeds(seed: int) -> None:
    with pytest.raises(ValueError, match=f"integer of at least 0, got {seed}"):
        manual_seed(seed)


def test_seeds_are_integers() -> None:
    with pytest.raises(TypeError):
        manual_seed(1.5)  # type: ignore[arg-type]
    manual_seed(10**30)
    manual_seed(np.int64(3))  # type: ignore[arg-type]
