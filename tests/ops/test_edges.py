"""Ties, kinks, infinities and empty batches: what PyTorch does there."""

import numpy as np
import pytest
import torch
from torch_judge import assert_like_torch

import tinygrad_fm
from tinygrad_fm import Tensor, einsum
from tinygrad_fm.nn import functional as F


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def few_values(*shape):
    return np.random.default_rng(3).integers(0, 3, shape).astype(float)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 1},
        {"stride": 1, "padding": 1},
        {"ceil_mode": True},
        {"stride": 1, "dilation": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("kernel", [2, 3, (3, 2)])
def test_ties_in_max_pooling_go_to_the_first(kernel, options, dtype):
    for x in (few_values(2, 3, 7, 8), np.zeros((2, 3, 7, 8)), -few_values(2, 3, 8, 7)):
        assert_like_torch(
            lambda lib, x: lib.nn.functional.max_pool2d(x, kernel, **options),
            x.astype(dtype), tolerance={"float64": 1e-10, "float32": 1e-6}[dtype],
        )  # fmt: skip


def test_max_pooling_of_infinities():
    x = normal(1, 1, 4, 4)
    x[0, 0, 0, 1], x[0, 0, 3, 3], x[0, 0, 2:, :2] = np.inf, -np.inf, -np.inf
    assert_like_torch(lambda lib, x: lib.nn.functional.max_pool2d(x, 2), x)


@pytest.mark.parametrize(
    "options", [(3, 2, 1), (2, 1, 1), (3, 1, 1, 1, True), (3, 2, 1, 2)], ids=str
)
def test_no_gradient_of_max_pooling_goes_into_the_padding(options):
    for x in (np.full((1, 2, 5, 6), -np.inf), normal(1, 2, 5, 6), few_values(1, 2, 5, 6)):
        x[0, 1, 2:, :3] = -np.inf
        assert_like_torch(lambda lib, x: lib.nn.functional.max_pool2d(x, *options), x)
        y = F.max_pool2d(images := Tensor(x, requires_grad=True), *options)
        y.sum().backward()
        assert images.grad.data.sum() == y.numel()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("pool", [
    lambda lib, x: lib.nn.functional.avg_pool2d(x, 2),
    lambda lib, x: lib.nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    lambda lib, x: lib.nn.functional.adaptive_avg_pool2d(x, (3, 2)),
    lambda lib, x: lib.nn.functional.max_pool2d(x, 3, 2, 1),
], ids=["2×2", "3×3", "adaptive", "max"])  # fmt: skip
def test_what_is_no_number_stays_in_its_windows(pool, value):
    x = normal(2, 2, 7, 6)
    x[1, 0, 3, 2] = value
    for images in (x, np.full_like(x, value)):
        y = pool(tinygrad_fm, Tensor(images)).data
        np.testing.assert_allclose(y, pool(torch, torch.from_numpy(images)).numpy(), rtol=1e-12)
    assert np.isfinite(pool(tinygrad_fm, Tensor(x)).data).sum() > x.size / 9


def test_means_of_integers():
    fours = np.full((1, 1, 2, 2), 4)
    assert F.avg_pool2d(Tensor(fours), 2).tolist() == [[[[4]]]]
    assert F.avg_pool2d(Tensor(np.array([[[[-7, 0]]]])), (1, 2)).tolist() == [[[[-3]]]]
    for dtype in ("uint8", "int32", "bool"):
        with pytest.raises(TypeError, match=r"avg_pool2d needs .* got .*; use x\.float\(\)"):
            F.avg_pool2d(Tensor(fours.astype(dtype)), 2)
    with pytest.raises(TypeError, match=r"adaptive_avg_pool2d .* x\.float\(\)"):
        F.adaptive_avg_pool2d(Tensor(fours), 1)


def test_convolution_of_integers():
    rng = np.random.default_rng(0)
    x, w = rng.integers(-9, 9, (2, 6, 5, 4)), rng.integers(-9, 9, (3, 6, 3, 3))
    exact = F.conv2d(Tensor(x.astype(float)), Tensor(w.astype(float)), padding=1)
    np.testing.assert_array_equal(F.conv2d(Tensor(x), Tensor(w), padding=1).data, exact.data)


@pytest.mark.parametrize("name", ["amax", "amin"])
def test_ties_share_the_gradient(name):
    assert_like_torch(lambda lib, x: getattr(x, name)(1), few_values(4, 6))


@pytest.mark.parametrize("name", ["max", "min"])
def test_the_first_of_ties_wins(name):
    assert_like_torch(lambda lib, x: getattr(x, name)(1).values, np.ones((3, 4)))
    assert_like_torch(lambda lib, x: getattr(x, name)(), few_values(4, 6))


KINKS = np.array([-2.0, -0.5, -0.0, 0.0, 0.5, 2.0])


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "gelu", "silu", "softplus"])
def test_activations_at_their_kinks(name):
    assert_like_torch(lambda lib, x: getattr(lib.nn.functional, name)(x), KINKS)


def test_other_kinks():
    assert_like_torch(lambda lib, x: x.abs(), KINKS)
    assert_like_torch(lambda lib, x: x.clamp(-0.5, 0.5), KINKS)
    for low, high in ((-0.5, 0.5), (0.5, -0.5)):
        assert_like_torch(
            lambda lib, x, a, b: x.clamp(a, b), KINKS, np.full(6, low), np.full(6, high)
        )
    assert_like_torch(lambda lib, x: lib.nn.functional.softplus(x, 1.0, 0.5), KINKS)
    near = np.array([19.99, 20.0, 20.01, 20.9, 21.1])  # the threshold unless another is given
    assert_like_torch(lambda lib, x: lib.nn.functional.softplus(x), near, tolerance=1e-13)
    zero = np.zeros(6)
    for beta in (0.0, 0.5, 2.0):
        assert_like_torch(
            lambda lib, x, t, beta=beta: lib.nn.functional.smooth_l1_loss(x, t, beta=beta),
            KINKS, zero,
        )  # fmt: skip
    assert_like_torch(lambda lib, x, t: lib.nn.functional.l1_loss(x, t), KINKS, zero)


def test_the_slope_of_a_mean_without_weight_is_zero():
    for weight, target in ((np.zeros(4), [0, 1]), (np.ones(4), [-100, -100])):
        scores = Tensor(normal(2, 4), requires_grad=True)
        loss = F.cross_entropy(scores, Tensor(np.array(target)), Tensor(weight))
        loss.backward()
        assert np.isnan(loss.item())
        assert scores.grad.tolist() == np.zeros((2, 4)).tolist()


LARGE = np.array([-1000.0, -100.0, -30.0, 0.0, 30.0, 100.0, 1000.0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "name",
    ["tanh", "sigmoid", "relu", "elu", "gelu", "silu", "softplus", "leaky_relu"],
)
def test_large_arguments_neither_overflow_nor_warn(name, dtype):
    tolerance = {"float64": 1e-10, "float32": 1e-6}[dtype]
    assert_like_torch(
        lambda lib, x: getattr(lib.nn.functional, name)(x),
        LARGE.astype(dtype), tolerance=tolerance,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_large_scores(name):
    x = np.array([[1000.0, 0, -1000], [-1000, -1000, -1001], [1e30, 1, 1e30]])
    assert_like_torch(lambda lib, x: getattr(x, name)(1), x)


def test_logsumexp_of_infinities():
    x = np.array([[1000.0, 999], [-np.inf, 3], [np.inf, 3]])
    assert_like_torch(lambda lib, x: x.logsumexp(1), x[:2])
    assert Tensor(x).logsumexp(1).data[2] == np.inf
    assert Tensor(np.full((1, 2), -np.inf)).logsumexp(1).item() == -np.inf


def test_powers_at_zero():
    a, b = np.array([0.0, 0, 0, 2, -2]), np.array([0.0, 1, 2, 0, 3])
    assert_like_torch(lambda lib, a, b: a**b, a[:4], b[:4])
    assert_like_torch(lambda lib, a: a**3, a)
    assert_like_torch(lambda lib, a: a**0, a)


def test_logarithm_and_root_at_the_edge():
    assert_like_torch(lambda lib, x: x.log(), np.array([0.0, 1e-300, 2]))
    assert_like_torch(lambda lib, x: x.sqrt(), np.array([1e-300, 2]))
    assert np.isnan(Tensor(np.array([-1.0])).log().data).all()
    x = Tensor(np.array([0.0]), requires_grad=True)
    x.sqrt().backward()
    assert x.grad.data == np.inf


GUARDS = {
    "relu": lambda lib, x: x.relu().sqrt(),
    "clamp": lambda lib, x: x.clamp(min=1e-3, max=3).log() + x.clamp(min=0).sqrt(),
    "where": lambda lib, x: lib.where(x > 0, x, 0.0).log(),
    "where, the other way": lambda lib, x: lib.where(x <= 0, 0.0, x).sqrt(),
    "where, broadcast": lambda lib, x: lib.where(x[0] > 0, x, 0.0).sqrt(),
    "max_pool2d": lambda lib, x: lib.nn.functional.max_pool2d(x.reshape(1, 1, 2, 3), 2, 1).sqrt(),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("guard", GUARDS.values(), ids=GUARDS)
def test_an_infinite_slope_is_cut_off_by_a_guard(guard, dtype):
    x = np.array([[-1.0, 4, 0], [-2, 9, -1]])
    tolerance = {"float64": 1e-10, "float32": 1e-6}[dtype]
    assert_like_torch(guard, x.astype(dtype), tolerance=tolerance)


def test_deviation_of_constants_and_of_single_numbers():
    assert_like_torch(lambda lib, x: x.std(1), np.array([[2.0, 2, 2], [1, 2, 3]]))
    assert_like_torch(lambda lib, x: x.std(), np.full(3, 0.1, np.float32))
    single = Tensor(np.array([2.0]), requires_grad=True)
    single.std().backward()
    assert np.isnan(single.grad.data)


def test_an_infinite_slope_is_cut_off_in_large_arrays_and_single_numbers():
    for x in (Tensor(-np.ones(70000), requires_grad=True), Tensor(-1.0, requires_grad=True)):
        x.relu().sqrt().sum().backward()
        assert not x.grad.data.any()


# ------------------------------------------------------------------------------ losses


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_every_target_ignored(name, reduction):
    target = np.full(4, -100)
    assert_like_torch(
        lambda lib, x, t: getattr(lib.nn.functional, name)(x, t, reduction=reduction),
        normal(4, 3), target,
    )  # fmt: skip
    if reduction == "mean":
        loss = getattr(F, name)(Tensor(normal(4, 3)), Tensor(target))
        assert np.isnan(loss.item())


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_log_probabilities_of_minus_infinity(reduction):
    x = np.log(np.array([[0.5, 0.5, 1], [1, 0.2, 0.8], [0.3, 0.3, 0.4]]))
    x[0, 2] = x[1, 0] = -np.inf
    for target in (np.array([0, 1, 2]), np.array([2, 1, 0]), np.array([2, -100, 0])):
        assert_like_torch(
            lambda lib, x, t: lib.nn.functional.nll_loss(x, t, reduction=reduction), x, target
        )


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_cross_entropy_of_certain_scores(reduction):
    x = np.array([[1e4, 0, -1e4], [-1e4, 1e4, 0], [0, 0, 0]])
    for target in (np.array([0, 1, 2]), np.array([2, 0, 1])):
        assert_like_torch(
            lambda lib, x, t: lib.nn.functional.cross_entropy(x, t, reduction=reduction), x, target
        )


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_probabilities_of_0_and_1(reduction):
    x, t = np.array([0.0, 0, 1, 1, 0.5, 1e-9]), np.array([0.0, 1, 0, 1, 0, 1])
    assert_like_torch(  # a target's gradient would be infinite in PyTorch, and is ±100 here
        lambda lib, x: lib.nn.functional.binary_cross_entropy(
            x, lib.tensor(t), reduction=reduction
        ),
        x,
        tolerance=1e-8,  # PyTorch's limit of 1e-12 is a float32
    )


@pytest.mark.parametrize("value", [1.5, -0.25, np.nan, np.inf])
def test_targets_that_are_no_probabilities(value):
    t = Tensor(np.array([0.5, value]))
    with pytest.raises(ValueError, match=r"expects targets in \[0, 1\], got"):
        F.binary_cross_entropy(Tensor(np.array([0.5, 0.5])), t)


@pytest.mark.parametrize("loss", ["mse_loss", "smooth_l1_loss", "kl_div", "binary_cross_entropy",
                                  "binary_cross_entropy_with_logits"])  # fmt: skip
def test_losses_of_integers_are_refused(loss):
    x, t = Tensor(np.array([1, 0], np.uint8)), Tensor(np.array([0, 1], np.uint8))
    with pytest.raises(
        TypeError, match=rf"{loss} needs a floating-point dtype, got uint8; use x\."
    ):
        getattr(F, loss)(x, t)


@pytest.mark.parametrize("name", ["weight", "pos_weight"])
def test_a_weight_cannot_make_a_loss_larger(name):
    x = Tensor(np.full((3, 1), 0.5))
    with pytest.raises(ValueError, match=rf"{name} must broadcast to \(3, 1\), got \(3,\)"):
        F.binary_cross_entropy_with_logits(x, x, **{name: Tensor(np.ones(3))})


def test_large_logits():
    assert_like_torch(
        lambda lib, x, t: lib.nn.functional.binary_cross_entropy_with_logits(
            x, t, reduction="none"
        ),
        LARGE, np.array([0.0, 1, 0.5, 0.5, 1, 0, 0.25]),
    )  # fmt: skip


def test_targets_without_probability():
    t = np.array([[0.0, 0.5, 0.5], [1, 0, 0]])
    x = normal(2, 3)
    y = F.kl_div(Tensor(x, True), Tensor(t), reduction="sum")
    y.backward()
    positive = t > 0
    assert y.item() == pytest.approx((t[positive] * (np.log(t[positive]) - x[positive])).sum())


# ------------------------------------------------------------------------------ einsum's equation


@pytest.mark.parametrize(
    ("equation", "message"),
    [("ij,jk->ik", "names 2 operands, got 1"), ("ijk->i", "'ijk' .* got an array with 2 axes")],
)
def test_an_equation_must_fit_its_operands(equation, message):
    with pytest.raises(ValueError, match=message):
        einsum(equation, Tensor(normal(2, 3)))


# ------------------------------------------------------------------------------ empty batches

EMPTY = {
    "relu": lambda lib, x: x.relu(),
    "sum": lambda lib, x: x.sum(),
    "mean": lambda lib, x: x.mean(),
    "sum over the batch": lambda lib, x: x.sum(0),
    "softmax": lambda lib, x: x.softmax(1),
    "log_softmax": lambda lib, x: x.log_softmax(1),
    "cumsum": lambda lib, x: x.cumsum(0),
    "flatten": lambda lib, x: x.flatten(1),
    "permute": lambda lib, x: x.permute(3, 0, 1, 2),
    "max_pool2d": lambda lib, x: lib.nn.functional.max_pool2d(x, 2),
    "avg_pool2d": lambda lib, x: lib.nn.functional.avg_pool2d(x, 2),
    "conv2d": lambda lib, x: lib.nn.functional.conv2d(x, lib.ones(4, 2, 3, 3, dtype=lib.float64)),
    "conv2d 3×3": lambda lib, x: lib.nn.functional.conv2d(
        x, lib.ones(4, 2, 3, 3, dtype=lib.float64), padding=1
    ),
    "conv_transpose2d": lambda lib, x: lib.nn.functional.conv_transpose2d(
        x, lib.ones(2, 4, 3, 3, dtype=lib.float64)
    ),
    "conv block": lambda lib, x: lib.nn.Sequential(
        lib.nn.Conv2d(2, 3, 3, padding=1), lib.nn.ReLU(), lib.nn.MaxPool2d(2)
    ).double()(x),
    "batch norm in evaluation": lambda lib, x: lib.nn.BatchNorm2d(2).double().eval()(x),
    "linear": lambda lib, x: lib.nn.Linear(4, 2).double()(x),
    "dropout": lambda lib, x: lib.nn.functional.dropout(x, 0.5),
    "cat": lambda lib, x: lib.cat([x, x]),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_batch(name):
    assert_like_torch(EMPTY[name], np.zeros((0, 2, 4, 4)))
