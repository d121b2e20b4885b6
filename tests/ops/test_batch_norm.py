"""The running estimates of batch normalisation, step by step as PyTorch's."""

import numpy as np
import pytest
import torch

from tinygrad_fm import Tensor, nn

LAYERS = {"BatchNorm1d": (6, 3), "BatchNorm2d": (4, 3, 5, 2)}


def normal(shape, seed):
    return 2 * np.random.default_rng(seed).standard_normal(shape) + 1


def buffers(layer):
    return {name: np.asarray(value) for name, value in layer.named_buffers()}


@pytest.mark.parametrize("momentum", [0.1, 0.9, 0.0, None])
@pytest.mark.parametrize("name", LAYERS)
def test_running_estimates(name, momentum):
    ours = getattr(nn, name)(3, momentum=momentum).double()
    theirs = getattr(torch.nn, name)(3, momentum=momentum).double()
    for step in range(5):
        x = normal(LAYERS[name], step)
        y, z = ours(Tensor(x)), theirs(torch.tensor(x))
        np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-12, atol=1e-13)
    for key, value in buffers(theirs).items():
        np.testing.assert_allclose(buffers(ours)[key], value, rtol=1e-13, err_msg=key)
    assert int(ours.num_batches_tracked) == 5
    x = normal(LAYERS[name], 9)
    y, z = ours.eval()(Tensor(x)), theirs.eval()(torch.tensor(x))
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-12, atol=1e-13)


def test_the_running_variance_is_the_unbiased_one():
    layer, x = nn.BatchNorm1d(1, momentum=1.0).double(), normal((4, 1), 0)
    layer(Tensor(x))
    assert layer.running_var.item() == pytest.approx(x.var(ddof=1))
    assert layer.running_mean.item() == pytest.approx(x.mean())


def test_in_training_each_channel_has_mean_0_and_variance_1():
    layer = nn.BatchNorm2d(3, eps=0.0).double()
    y = layer(Tensor(normal((8, 3, 4, 5), 1))).detach().numpy()
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0, atol=1e-14)
    np.testing.assert_allclose(y.var(axis=(0, 2, 3)), 1, rtol=1e-12)


def test_in_evaluation_nothing_moves():
    layer = nn.BatchNorm2d(3)
    layer(Tensor(normal((4, 3, 2, 2), 0).astype(np.float32)))
    before = {name: value.copy() for name, value in buffers(layer).items()}
    layer.eval()(Tensor(normal((4, 3, 2, 2), 1).astype(np.float32)))
    for name, value in buffers(layer).items():
        np.testing.assert_array_equal(value, before[name])


def test_without_running_estimates_evaluation_uses_the_batchs():
    layer = nn.BatchNorm1d(3, track_running_stats=False)
    x = Tensor(normal((5, 3), 0))
    layer.double()
    np.testing.assert_array_equal(layer(x).detach().numpy(), layer.eval()(x).detach().numpy())
    assert buffers(layer) == {}


def test_the_estimates_stay_float32_and_no_gradient_reaches_them():
    layer = nn.BatchNorm1d(3)
    x = Tensor(normal((5, 3), 0).astype(np.float32), requires_grad=True)
    layer(x).sum().backward()
    assert layer.running_mean.dtype == layer.running_var.dtype == np.float32
    assert layer.running_mean.grad is None


def test_a_large_mean_costs_about_the_digits_that_it_costs_pytorch():
    x = (normal((64, 3, 8, 8), 0) * 0.01 + 100).astype(np.float32)
    exact = nn.functional.batch_norm(Tensor(x.astype(np.float64)), None, None, training=True)
    ours = nn.functional.batch_norm(Tensor(x), None, None, training=True)
    theirs = torch.nn.functional.batch_norm(torch.tensor(x), None, None, training=True)
    our_error = np.abs(ours.data - exact.data).max()
    their_error = np.abs(theirs.numpy() - exact.data).max()
    assert our_error <= 16 * their_error
