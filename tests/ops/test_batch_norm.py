"""The running estimates of batch normalisation, step by step as PyTorch's."""

import numpy as np
import pytest
import torch

import tinygrad_fm
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


def test_training_goes_on_beside_a_graph_made_in_evaluation():
    x, layer, twin = Tensor(normal((6, 3, 2, 2), 0)), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    twin.double().eval()(x).sum().backward()
    y = layer.double().eval()(x).sum()
    layer.train()(x)
    y.backward()
    for ours, theirs in zip(layer.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(ours.grad.data, theirs.grad.data)


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


def in_float64(results):
    return [np.asarray(r, np.float64) for r in results]


def through(lib, wrap, dtype, call, arrays):
    """The output and all gradients of a call on arrays of a dtype."""
    tensors = [wrap(a.astype(dtype)).requires_grad_() for a in arrays]
    y = call(lib.nn.functional, *tensors)
    y.backward(wrap(np.cos(np.arange(y.numel())).reshape(y.shape).astype(dtype)))
    return in_float64([y.detach().numpy(), *(t.grad.detach().numpy() for t in tensors)])


def trained(F, x, w, b):
    return F.batch_norm(x, None, None, w, b, training=True)


NORMS = {
    "batch_norm": ((64, 8, 7, 6), (8,), trained),
    "batch_norm of rows": ((63, 5), (5,), trained),
    "layer_norm": ((6, 50), (50,), lambda F, x, w, b: F.layer_norm(x, (50,), w, b)),
}  # fmt: skip


@pytest.mark.parametrize("mean", [0, 1, 3, 9, 30, 1e2, 1e4, -1e6])
@pytest.mark.parametrize("name", NORMS)
def test_a_mean_far_from_zero_costs_no_more_digits_than_in_pytorch(name, mean):
    shape, channels, call = NORMS[name]
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) + mean).astype(np.float32)
    arrays = x, rng.standard_normal(channels), rng.standard_normal(channels)
    exact = through(torch, torch.from_numpy, np.float64, call, arrays)
    ours = through(tinygrad_fm, Tensor, np.float32, call, arrays)
    theirs = through(torch, torch.from_numpy, np.float32, call, arrays)
    for a, b, e in zip(ours, theirs, exact, strict=True):
        assert np.abs(a - e).max() <= 3 * np.abs(b - e).max() + 1e-5 * np.abs(e).max()


def test_numbers_whose_squares_overflow():
    for shape, channels, call in NORMS.values():
        x, w, b = normal(shape, 0), np.ones(channels), np.zeros(channels)
        small, large = (
            through(tinygrad_fm, Tensor, np.float32, call, (x * factor, w, b))
            for factor in (2.0**7, 2.0**70)
        )
        small[1], large[1] = small[1] * 2.0**7, large[1] * 2.0**70
        for a, e in zip(large, small, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(("name", "shape"), [
    ("BatchNorm1d", (0, 3)), ("BatchNorm1d", (2, 3, 0)), ("BatchNorm2d", (0, 3, 4, 4)),
])  # fmt: skip
def test_an_empty_batch_leaves_the_running_estimates_alone(name, shape, momentum):
    layer = getattr(nn, name)(3, momentum=momentum)
    x = Tensor(np.zeros(shape, np.float32), requires_grad=True)
    layer(x).sum().backward()
    assert layer.running_mean.tolist() == [0, 0, 0]
    assert layer.running_var.tolist() == [1, 1, 1]
    assert layer.weight.grad.tolist() == [0, 0, 0]
    assert x.grad.shape == shape
