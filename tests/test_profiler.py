"""`profile`: what it counts, and that it changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_fm import Tensor, autograd, einsum, nn, no_grad
from tinygrad_fm.autograd import AnomalyError, detect_anomaly
from tinygrad_fm.autograd.profiler import OperationCost, Profile, profile
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.profiling import profile_recipe


def leaf(*shape: int) -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True)


def by_name(measured: Profile) -> dict[str, OperationCost]:
    return {cost.name: cost for cost in measured.operations}


def test_calls_times_and_bytes_of_both_directions():
    x = leaf(10, 20)
    with profile() as measured:
        for _ in range(3):
            x.exp().sum().backward()
    costs = by_name(measured)
    assert list(costs) == ["Exp", "Sum"]  # in the order of first use
    exp = costs["Exp"]
    assert exp.shape == (10, 20)
    assert exp.forward.calls == exp.backward.calls == 3
    assert exp.forward.bytes == 3 * 2 * 1600  # one array in, one out
    assert exp.backward.bytes == 3 * 3 * 1600  # the gradient and what was saved in, one out
    assert exp.flops == 2 * 3 * 200
    assert 0 < exp.seconds < measured.seconds


def test_shapes_are_kept_apart():
    with profile() as measured:
        leaf(2, 3).exp()
        leaf(3, 2).exp()
        leaf(2, 3).exp()
    assert [(c.shape, c.forward.calls) for c in measured.operations] == [((2, 3), 2), ((3, 2), 1)]


def conv(stride: int, groups: int) -> nn.Conv2d:
    return nn.Conv2d(4, 6, 3, stride=stride, padding=1, groups=groups).double()


@pytest.mark.parametrize(
    ("run", "x", "multiply_adds"),
    [
        (lambda x: x @ leaf(7, 3), (5, 7), 5 * 7 * 3),
        (lambda x: x @ leaf(7), (5, 7), 5 * 7),
        (lambda x: leaf(4, 1, 6, 5) @ x, (2, 5, 3), 4 * 2 * 6 * 5 * 3),
        (lambda x: einsum("bij,kj->bik", x, leaf(3, 5)), (2, 4, 5), 2 * 4 * 3 * 5),
        (nn.Linear(7, 3).double(), (5, 2, 7), 10 * 7 * 3),
        (conv(1, 1), (2, 4, 8, 8), 2 * 64 * 6 * 4 * 9),
        (conv(2, 2), (2, 4, 8, 8), 2 * 16 * 6 * 2 * 9),
        (nn.ConvTranspose2d(4, 6, 3).double(), (2, 4, 8, 8), 2 * 64 * 4 * 6 * 9),
    ],
)
def test_products_count_two_per_multiply_add(run, x, multiply_adds):
    with profile() as measured:
        y = run(leaf(*x))
        y.backward(Tensor(np.ones(y.shape)))
    (cost,) = measured.operations
    assert cost.forward.flops == 2 * multiply_adds
    assert cost.backward.flops == 2 * cost.forward.flops  # both factors want their gradient


def test_frozen_factors_cost_nothing_backward():
    layer = nn.Linear(7, 3).double()
    with profile() as measured:
        layer(leaf(5, 7).detach()).sum().backward()
    linear = by_name(measured)["Linear"]
    assert linear.backward.flops == linear.forward.flops == 2 * 5 * 7 * 3


def test_backward_alone():
    y = leaf(4).exp().sum()
    with profile() as measured:
        y.backward()
    costs = by_name(measured)
    assert costs["Exp"].forward.calls == 0
    assert costs["Exp"].backward.calls == 1
    assert " -  " in str(measured)


def test_nothing_is_seen_outside_and_after_an_error():
    x = leaf(4)
    with pytest.raises(ValueError, match="broadcast"), profile() as measured:
        x.exp() + leaf(3)
    x.exp()
    assert autograd.mode.runner is None
    assert by_name(measured)["Exp"].forward.calls == 1


@pytest.mark.parametrize("outside", [profile, detect_anomaly])
def test_nests_with_anomaly_detection(outside):
    inside = detect_anomaly if outside is profile else profile
    x = leaf(4)
    with outside() as a, inside() as b:
        x.exp().sum().backward()
        with pytest.raises(AnomalyError, match=r"forward of Log .* made NaN"):
            (-x * x).log()
    measured = a if outside is profile else b
    assert by_name(measured)["Exp"].backward.calls == 1


def test_two_profiles_see_the_same():
    x = leaf(4)
    with profile() as first, profile() as second:
        x.exp().sum().backward()
    for cost, other in zip(first.operations, second.operations, strict=True):
        assert (cost.name, cost.flops, cost.bytes) == (other.name, other.flops, other.bytes)
        assert cost.seconds <= other.seconds  # the second one's time holds the first one's work


def test_measuring_changes_no_result():
    x, model = leaf(3, 4, 8, 8), nn.Sequential(conv(1, 1), nn.ReLU(), nn.MaxPool2d(2))
    model(x).sum().backward()
    plain, x.grad = x.grad, None
    with profile():
        model(x).sum().backward()
    np.testing.assert_array_equal(plain, x.grad)


def test_an_empty_profile_has_a_table():
    with profile() as measured:
        pass
    assert "the rest" in measured.table()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", RECIPES)
def test_recipes(name, training):
    measured = profile_recipe(RECIPES[name], batch_size=4, training=training, steps=2)
    table = measured.table()
    assert max(map(len, table.splitlines())) <= 80
    assert sum(cost.seconds for cost in measured.operations) <= measured.seconds
    linear = by_name(measured)["Linear"]
    assert linear.forward.calls == 2
    assert linear.backward.calls == (2 if training else 0)
    assert measured.table(markdown=True).startswith("| operation | output |")


def test_works_without_a_graph():
    with profile() as measured, no_grad():
        leaf(4).exp()
    assert by_name(measured)["Exp"].forward.flops == 4
