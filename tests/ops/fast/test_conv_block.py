"""The blocks that `Sequential` fuses, against the layers they stand for."""

import numpy as np
import pytest

from tinygrad_fm import Tensor, manual_seed, nn, no_grad
from tinygrad_fm.ops import ConvBlock, ConvNormBlock


def layers(channels, outputs, norm, bias=True, dtype=np.float64):
    manual_seed(0)
    made = [nn.Conv2d(channels, outputs, 3, padding=1, bias=bias)]
    if norm:
        made.append(nn.BatchNorm2d(outputs))
        rng = np.random.default_rng(1)
        made[1].weight.data[...] = rng.standard_normal(outputs)  # some of them negative
        made[1].bias.data[...] = rng.standard_normal(outputs)
    return nn.Sequential(*made, nn.ReLU(), nn.MaxPool2d(2)).to(dtype)


def one_by_one(model, x):
    for layer in model:
        x = layer(x)
    return x


def run(model, forward, images, upstream):
    """Output, gradients of input and parameters, and running estimates."""
    x = Tensor(images.copy(), requires_grad=True)
    model.zero_grad()
    y = forward(x)
    name = y.grad_fn.name()
    y.backward(Tensor(upstream(y.shape)))
    results = [y.data, x.grad.data, *(p.grad.data for p in model.parameters())]
    return name, [*results, *(b.data.copy() for b in model.buffers())]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    ("n", "channels", "outputs", "height", "width"),
    [
        (3, 1, 4, 8, 8),
        (17, 2, 3, 28, 28),  # a last chunk of one image
        (20, 5, 6, 7, 7),  # odd sides: the last row and column take part in no pool
        (9, 3, 4, 6, 9),
        (33, 3, 2, 2, 3),
    ],
)
def test_a_block_equals_its_layers(n, channels, outputs, height, width, norm):
    rng = np.random.default_rng(2)
    images = rng.standard_normal((n, channels, height, width))
    seed = rng.integers(1000)

    def upstream(shape):
        return np.random.default_rng(seed).standard_normal(shape)

    model, twin = layers(channels, outputs, norm), layers(channels, outputs, norm)
    name, fused = run(model, model, images, upstream)
    _, plain = run(twin, lambda x: one_by_one(twin, x), images, upstream)
    assert name == ("ConvNormBlock" if norm else "ConvBlock")
    for ours, theirs in zip(fused, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("norm", [False, True])
def test_an_infinite_gradient_ends_where_relu_gave_0(norm):
    x = np.random.default_rng(12).standard_normal((3, 2, 8, 8))
    model, twin = layers(2, 4, norm), layers(2, 4, norm)
    results = []
    for forward in (model, lambda x: one_by_one(twin, x)):
        y = forward(Tensor(x)).sqrt()  # its slope at 0 is infinite
        assert not y.data.all()
        y.sum().backward()
        owner = model if forward is model else twin
        results.append([p.grad.data for p in owner.parameters()])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
        assert np.isfinite(ours).all()


def test_first_layer_without_input_gradient_has_the_same_weight_gradients():
    rng = np.random.default_rng(3)
    images = rng.standard_normal((10, 1, 12, 12))
    grads = []
    for needs in (True, False):  # Winograd, then patches
        model = layers(1, 4, norm=False)
        model(Tensor(images, requires_grad=needs)).sum().backward()
        grads.append([p.grad.data for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_evaluation_folds_batch_norm_into_the_convolution():
    model = layers(3, 5, norm=True)
    x = Tensor(np.random.default_rng(4).standard_normal((6, 3, 8, 8)))
    for _ in range(3):
        model(x)  # moves the running estimates
    model.eval()
    with no_grad():
        np.testing.assert_allclose(model(x).data, one_by_one(model, x).data, rtol=1e-10)
    model(x).sum().backward()
    fused = [p.grad.data.copy() for p in model.parameters()]
    model.zero_grad()
    one_by_one(model, x).sum().backward()
    for ours, parameter in zip(fused, model.parameters(), strict=True):
        np.testing.assert_allclose(ours, parameter.grad.data, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("fused", [True, False])
def test_training_goes_on_beside_a_graph_made_in_evaluation(fused):
    x = Tensor(np.random.default_rng(7).standard_normal((6, 3, 8, 8)))
    model, twin = layers(3, 5, norm=True), layers(3, 5, norm=True)

    def forward(model):
        return model(x) if fused else one_by_one(model, x)

    forward(twin.eval()).sum().backward()
    y = forward(model.eval()).sum()
    forward(model.train())
    y.backward()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(ours.grad.data, theirs.grad.data)


@pytest.mark.parametrize(("mean", "std"), [(0, 1), (3, 1), (30, 1), (1000, 1), (5e17, 1e16)])
def test_a_mean_far_from_zero(mean, std):
    """The block is as exact as its layers one by one, against both in float64."""
    rng = np.random.default_rng(5)
    images = (mean + std * rng.standard_normal((16, 2, 9, 8))).astype(np.float32)
    weight = np.abs(rng.standard_normal((4, 2, 3, 3)))
    results = []
    for dtype, fused in ((np.float32, True), (np.float32, False), (np.float64, False)):
        model = layers(2, 4, norm=True, bias=False, dtype=dtype)
        model[0].weight.data[...] = weight
        results.append(
            run(
                model,
                model if fused else lambda x, model=model: one_by_one(model, x),
                images.astype(dtype),
                lambda shape: np.random.default_rng(7).standard_normal(shape),
            )[1]
        )
    fused, plain, exact = results
    for a, b, e in zip(fused, plain, exact, strict=True):
        a, b = (np.asarray(r, np.float64) for r in (a, b))
        assert np.abs(a - e).max() <= 4 * np.abs(b - e).max() + 1e-5 * np.abs(e).max()


def count_blocks(model, x):
    y = model(x)
    found, waiting = [], [y.grad_fn]
    while waiting:
        node = waiting.pop()
        found += [node.name()] * isinstance(node, (ConvBlock, ConvNormBlock))
        waiting += [edge for edge in node.edges if hasattr(edge, "edges")]
    return len(found)


def test_layers_are_left_alone_when_anything_is_special():
    x = Tensor(np.zeros((2, 1, 8, 8), np.float32))
    assert count_blocks(layers(1, 2, False, dtype=np.float32), x) == 1

    hooked = layers(1, 2, False, dtype=np.float32)
    seen = []
    handle = hooked[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    assert count_blocks(hooked, x) == 0
    assert len(seen) == 1
    handle.remove()
    assert count_blocks(hooked, x) == 1

    class LoudReLU(nn.ReLU):
        def forward(self, x):
            return super().forward(x) * 2

    others = (
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), LoudReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3)),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, stride=1)),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(1, 2, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1)),
    )
    for model in others:
        assert count_blocks(model, x) == 0


def test_a_wrong_input_gets_the_layer_s_own_error():
    with pytest.raises(ValueError, match="expects 1 channels, got input"):
        layers(1, 2, False, dtype=np.float32)(Tensor(np.zeros((2, 3, 8, 8), np.float32)))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 5)])
def test_a_single_image_without_a_graph(norm, bias, height, width):
    model = layers(3, 5, norm, bias)
    model(Tensor(np.random.default_rng(7).standard_normal((4, 3, height, width))))
    model.eval()
    x = Tensor(np.random.default_rng(8).standard_normal((1, 3, height, width)))
    with no_grad():
        np.testing.assert_allclose(model(x).data, one_by_one(model, x).data, rtol=1e-10, atol=1e-12)
