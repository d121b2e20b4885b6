"""Initial weights: bounds and moments, and the same distributions as PyTorch's layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import tinygrad_fm as tg
from tinygrad_fm import nn
from tinygrad_fm.nn import init


@pytest.fixture(autouse=True)
def _seed() -> None:
    tg.manual_seed(0)
    torch.manual_seed(0)


def same_distribution(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Two-sample Kolmogorov-Smirnov test (the seeds are fixed, so this never flickers)."""
    return stats.ks_2samp(ours.ravel(), theirs.ravel()).pvalue > 0.01


# ------------------------------------------------------------------------ layers' defaults

DEFAULTS: dict[str, Callable[[Any], Any]] = {
    "Linear": lambda m: m.Linear(50, 400),
    "Conv2d": lambda m: m.Conv2d(8, 64, (5, 3)),
    "Conv2d groups": lambda m: m.Conv2d(16, 64, 3, groups=4),
    "ConvTranspose2d": lambda m: m.ConvTranspose2d(12, 30, (3, 5)),
    "ConvTranspose2d groups": lambda m: m.ConvTranspose2d(12, 30, 3, groups=3),
}


@pytest.mark.parametrize("build", DEFAULTS.values(), ids=DEFAULTS)
def test_layers_begin_as_torchs(build: Callable[[Any], Any]) -> None:
    ours, theirs = build(nn), build(torch.nn)
    weights, others = ours.weight.data, theirs.weight.detach().numpy()
    assert weights.shape == others.shape
    assert weights.dtype == np.float32
    assert same_distribution(weights, others)
    bound = 1 / math.sqrt(init.fans(ours.weight)[0])
    for values in (weights, ours.bias.data):
        assert bound * 0.8 < np.abs(values).max() <= bound * (1 + 1e-6)
    biases = np.concatenate([build(nn).bias.data for _ in range(20)])
    theirs_biases = np.concatenate([build(torch.nn).bias.detach() for _ in range(20)])
    assert same_distribution(biases, theirs_biases)
    assert abs(np.abs(theirs_biases).max() - np.abs(biases).max()) < 0.1 * bound


@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d", "LayerNorm"])
def test_normalisation_begins_as_torchs(name: str) -> None:
    ours, theirs = getattr(nn, name)(5), getattr(torch.nn, name)(5)
    state = {n: t.numpy() for n, t in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    for key, array in ours.state_dict().items():
        np.testing.assert_array_equal(array, state[key])
        assert array.dtype == state[key].dtype
    arrays = list(ours.state_dict().values())
    assert not any(np.shares_memory(a, b) for a in arrays for b in arrays if a is not b)


def test_two_layers_differ() -> None:
    assert nn.Linear(3, 3).weight.tolist() != nn.Linear(3, 3).weight.tolist()


def test_reset_parameters_draws_again_into_the_same_memory() -> None:
    layer = nn.Linear(3, 3)
    weight, before = layer.weight.data, layer.weight.tolist()
    layer.reset_parameters()
    assert layer.weight.data is weight
    assert layer.weight.tolist() != before


# ------------------------------------------------------------------------ the functions

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "uniform": lambda m, t: m.uniform_(t, -2.0, 5.0),
    "normal": lambda m, t: m.normal_(t, 3.0, 0.5),
    "xavier_uniform": lambda m, t: m.xavier_uniform_(t, gain=2.0),
    "xavier_normal": lambda m, t: m.xavier_normal_(t, gain=0.5),
    "kaiming_uniform": lambda m, t: m.kaiming_uniform_(t),
    "kaiming_uniform relu": lambda m, t: m.kaiming_uniform_(t, nonlinearity="relu"),
    "kaiming_uniform out": lambda m, t: m.kaiming_uniform_(t, a=0.3, mode="fan_out"),
    "kaiming_normal": lambda m, t: m.kaiming_normal_(t, nonlinearity="tanh"),
    "kaiming_normal out": lambda m, t: m.kaiming_normal_(t, mode="fan_out"),
}


@pytest.mark.parametrize("shape", [(60, 80), (16, 8, 5, 7)], ids=str)
@pytest.mark.parametrize("fill", FUNCTIONS.values(), ids=FUNCTIONS)
def test_distributions_are_torchs(fill: Callable[[Any, Any], Any], shape: tuple[int, ...]) -> None:
    ours, theirs = tg.zeros(shape), torch.zeros(shape)
    assert fill(init, ours) is ours
    fill(torch.nn.init, theirs)
    a, b = ours.data, theirs.numpy()
    assert same_distribution(a, b)
    assert a.std() == pytest.approx(b.std(), rel=0.05)
    assert a.mean() == pytest.approx(b.mean(), abs=0.05 * float(b.std()))


@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_bounds_of_xavier(gain: float) -> None:
    tensor = init.xavier_uniform_(tg.zeros(100, 20), gain)
    bound = gain * math.sqrt(6 / 120)
    assert 0.95 * bound < np.abs(tensor.data).max() <= bound * (1 + 1e-6)


def test_constants_and_parameters_are_filled_in_place() -> None:
    parameter = nn.Parameter(np.zeros((2, 2)))
    memory = parameter.data
    assert init.constant_(parameter, 2.5).tolist() == [[2.5] * 2] * 2
    assert init.ones_(parameter).tolist() == [[1] * 2] * 2
    assert init.zeros_(parameter).tolist() == [[0] * 2] * 2
    init.normal_(parameter)
    assert parameter.data is memory
    assert parameter.dtype == np.float64
    assert parameter.is_leaf
    assert parameter.requires_grad


@pytest.mark.parametrize(
    ("name", "param"),
    [
        ("linear", None),
        ("sigmoid", None),
        ("tanh", None),
        ("relu", None),
        ("leaky_relu", None),
        ("leaky_relu", 0.2),
        ("leaky_relu", 0),
        ("selu", None),
    ],
)
def test_gains_are_torchs(name: str, param: float | None) -> None:
    wanted = torch.nn.init.calculate_gain(name, param)  # type: ignore[arg-type]
    assert init.calculate_gain(name, param) == pytest.approx(wanted)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"at least 2 axes, got \(3,\)"):
        init.xavier_uniform_(tg.zeros(3))
    with pytest.raises(ValueError, match="'fan_in' or 'fan_out', got 'fan_avg'"):
        init.kaiming_uniform_(tg.zeros(3, 3), mode="fan_avg")
    with pytest.raises(ValueError, match=r"one of linear, .*; got 'swish'"):
        init.kaiming_normal_(tg.zeros(3, 3), nonlinearity="swish")


# ------------------------------------------------------------------------ hollow models


def every_layer() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False),
        nn.BatchNorm2d(2),
        nn.ConvTranspose2d(2, 3, 3),
        nn.Flatten(),
        nn.Linear(48, 4),
        nn.LayerNorm(4),
        nn.BatchNorm1d(4),
    )


def test_a_hollow_model_has_every_shape_and_no_memory() -> None:
    wanted = every_layer().state_dict()
    before = tg.random.default_generator().bit_generator.state
    with init.hollow():
        state = every_layer().state_dict()
        wide = nn.Linear(10**6, 10**6)  # 4 TB
    assert tg.random.default_generator().bit_generator.state == before  # nothing was drawn
    assert wide.weight.shape == (10**6, 10**6)
    assert {n: (a.shape, a.dtype) for n, a in state.items()} == {
        n: (a.shape, a.dtype) for n, a in wanted.items()
    }
    with pytest.raises(ValueError, match=r"shape of weight: got \(1, 2\), wanted \(1000000, "):
        wide.load_state_dict({"weight": np.zeros((1, 2)), "bias": np.zeros(10**6)})


def test_weights_make_a_hollow_model_like_any_other() -> None:
    model = every_layer()
    with init.hollow():
        other = every_layer()
    other.load_state_dict(model.state_dict())
    x = tg.randn(3, 1, 4, 4)
    for one in (model, other):
        (one(x) ** 2).sum().backward()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.grad.data, b.grad.data)
        assert b.data.flags.writeable
        assert b.data.flags.c_contiguous


def test_layers_are_hollow_inside_the_block_and_in_its_thread_alone() -> None:
    def writeable() -> bool:
        return nn.Linear(2, 2).weight.data.flags.writeable

    def fail() -> None:
        with init.hollow(), init.hollow():
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert writeable()
    with init.hollow(), ThreadPoolExecutor(1) as other:
        assert not writeable()
        assert other.submit(writeable).result()
