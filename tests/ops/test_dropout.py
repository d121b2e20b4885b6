"""Dropout: what is kept, how it is scaled, and how often."""

import numpy as np
import pytest

import tinygrad_fm
from tinygrad_fm import Tensor, nn
from tinygrad_fm.nn import functional as F


def ones(*shape, dtype=np.float64, requires_grad=False):
    return Tensor(np.ones(shape, dtype), requires_grad)


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937])
@pytest.mark.parametrize("p", [0.25, 0.3, 0.5, 0.9, 1 / 256, 0.001])
def test_mask_and_scale(p, bits):
    n = 200_000
    y = F.dropout(ones(n), p, generator=np.random.Generator(bits(0))).data
    kept = y != 0
    np.testing.assert_array_equal(y[kept], 1 / (1 - p))
    # Binomial: five standard deviations.
    assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / n)
    assert abs(y.mean() - 1) < 5 * np.sqrt(p / (1 - p) / n)


@pytest.mark.parametrize("p", [0.25, 0.3])
def test_neighbours_are_independent(p):
    kept = F.dropout(ones(400, 500), p, generator=np.random.default_rng(1)).data != 0
    expected, n = (1 - p) ** 2, kept.size
    for both in (kept[:, :-1] & kept[:, 1:], kept[:-1] & kept[1:], kept[:, :-4] & kept[:, 4:]):
        assert abs(both.mean() - expected) < 6 * np.sqrt(expected * (1 - expected) / n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0.25, 0.3, 1.0])
def test_the_gradient_passes_where_the_value_did(p, dtype):
    x = ones(30, 40, dtype=dtype, requires_grad=True)
    y = F.dropout(x, p, generator=np.random.default_rng(2))
    y.backward(ones(30, 40, dtype=dtype))
    np.testing.assert_array_equal(x.grad.data, y.data)
    assert y.dtype == x.grad.dtype == dtype


def test_everything_and_nothing():
    x = ones(4, 5)
    np.testing.assert_array_equal(F.dropout(x, 1.0).data, np.zeros((4, 5)))
    assert F.dropout(x, 0.0) is x
    assert F.dropout(x, 0.5, training=False) is x


def test_the_seed_fixes_the_mask():
    def draw():
        tinygrad_fm.manual_seed(7)
        return [F.dropout(ones(50), p).data for p in (0.25, 0.3)]

    for a, b in zip(draw(), draw(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_mask_is_made_of_the_generator_s_raw_bits():
    y = F.dropout(ones(50), 0.25, generator=np.random.default_rng(3)).data
    noise = np.random.default_rng(3).bit_generator.random_raw(7).view(np.uint8)[:50]
    np.testing.assert_array_equal(y != 0, noise >= 64)


def test_two_calls_draw_two_masks():
    layer = nn.Dropout(0.5, np.random.default_rng(0))
    assert (layer(ones(100)).data != layer(ones(100)).data).any()
    assert layer.eval()(ones(3)).data.tolist() == [1, 1, 1]


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_p_is_a_probability(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        F.dropout(ones(3), p)
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(p)
