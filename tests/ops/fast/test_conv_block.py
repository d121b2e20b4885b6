"""What a plan takes together, against the layers one by one."""

import numpy as np
import pytest

import tinygrad_fm as tg
from tinygrad_fm import Tensor, manual_seed, nn, no_grad
from tinygrad_fm.nn import functional as F
from tinygrad_fm.ops.conv import PLAIN, Conv2d
from tinygrad_fm.ops.fast.conv3x3 import image_chunks
from tinygrad_fm.plan.compiled import plan_of

CONVS = {
    "3×3": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "padding": 1, "stride": 2},
    "5×5": {"kernel_size": 5, "padding": 2},
    "1×1": {"kernel_size": 1},
    "depthwise": {"kernel_size": 3, "padding": 1, "groups": 4},
}
POOLS = {None: (), 2: (2,), "overlapping": (3, 2, 1)}


class Layers(nn.Module):
    """conv - [norm] - [+ z] - ReLU - [pool]; z is of the convolution's size, made of x."""

    def __init__(self, conv="3×3", norm=False, pool=2, plus=False, channels=4, outputs=4, **bias):
        super().__init__()
        manual_seed(0)
        self.conv = nn.Conv2d(channels, outputs, **CONVS[conv], **bias)
        self.norm = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        self.stride = self.conv.stride[0]
        self.plus, self.pool = plus, POOLS[pool]
        if norm:
            rng = np.random.default_rng(1)
            self.norm.weight.data[...] = rng.standard_normal(outputs)  # some of them negative
            self.norm.bias.data[...] = rng.standard_normal(outputs)

    def forward(self, x):
        y = self.norm(self.conv(x))
        if self.plus:
            y = y + x[:, :, :: self.stride, :: self.stride] * 2
        y = y.relu()
        return F.max_pool2d(y, *self.pool) if self.pool else y


def pair(dtype=np.float64, **how):
    """The same layers planned and not."""
    return tg.compile(Layers(**how).to(dtype)), Layers(**how).to(dtype)


def run(model, images, upstream=None):
    """Output, gradients of input and parameters, and running estimates."""
    x = Tensor(images.copy(), requires_grad=True)
    model.zero_grad()
    y = model(x)
    upstream = np.random.default_rng(7).standard_normal(y.shape) if upstream is None else upstream
    y.backward(Tensor(upstream.astype(images.dtype)))
    results = [y.data, x.grad.data, *(p.grad.data for p in model.parameters())]
    return [*results, *(b.data.copy() for b in model.buffers())]


def operations(model, x):
    """What the plan of a call carries out."""
    plan, _ = plan_of(model, x)
    return {node.operation.__name__ for node in plan.trace.nodes}


def normal(*shape, seed=2):
    return np.random.default_rng(seed).standard_normal(shape)


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
    images = normal(n, channels, height, width)
    model, twin = pair(norm=norm, channels=channels, outputs=outputs)
    for ours, theirs in zip(run(model, images), run(twin, images), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
    found = operations(model, Tensor(images, requires_grad=True))
    assert ("ConvNormBlock" if norm else "ConvBlock") in found


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("conv", CONVS)
def test_any_convolution_equals_its_layers(conv, norm, plus, pool):
    images = normal(3, 4, 7, 6)
    model, twin = pair(conv=conv, norm=norm, plus=plus, pool=pool)
    for _ in range(3):  # traced twice, then replayed
        for ours, theirs in zip(run(model, images), run(twin, images), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
    found = operations(model, Tensor(images, requires_grad=True))
    assert not found & {"ReLU", "Add"}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("conv", CONVS)
def test_in_evaluation(conv, norm, plus, n, bias):
    """One image and several, without a graph and with one."""
    for pool, dtype in ((2, np.float64), ("overlapping", np.float32), (None, np.float32)):
        model, twin = pair(dtype, conv=conv, norm=norm, plus=plus, pool=pool, bias=bias)
        images = normal(4, 4, 7, 6).astype(dtype)
        for _ in range(3):  # moves the running estimates
            run(model, images)
        twin.load_state_dict(model.state_dict())
        exact = (
            {"rtol": 1e-9, "atol": 1e-11} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-5}
        )
        images = normal(n, 4, 7, 6, seed=8).astype(dtype)
        with no_grad():
            for _ in range(2):
                found, wanted = model.eval()(Tensor(images)), twin.eval()(Tensor(images))
                np.testing.assert_allclose(found.data, wanted.data, **exact)
            assert not operations(model, Tensor(images)) & {"ReLU", "Add", "BatchNorm"}
        for ours, theirs in zip(run(model, images), run(twin, images), strict=True):
            np.testing.assert_allclose(ours, theirs, **exact)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("conv", ["3×3", "5×5"])
def test_the_same_bits_on_any_number_of_threads(conv, norm, pool):
    images = normal(20, 4, 14, 14).astype(np.float32)
    results = []
    for count in (1, 2, 3):
        tg.set_num_threads(count)
        try:
            model, _ = pair(np.float32, conv=conv, norm=norm, pool=pool, plus=pool is None)
            results.append([*run(model, images), *run(model, images)])
        finally:
            tg.set_num_threads(2)
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("conv", ["3×3", "5×5"])
def test_an_infinite_gradient_ends_where_relu_gave_0(conv, norm, pool):
    images = normal(3, 4, 8, 8, seed=12)
    results = []
    for model in pair(conv=conv, norm=norm, pool=pool):
        with no_grad():
            y = model(Tensor(images)).data
        upstream = np.where(y > 0, 1.0, np.inf)
        assert not np.isfinite(upstream).all()
        results.append(run(model, images, upstream))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
        assert np.isfinite(ours).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("conv", ["strided", "5×5"])
def test_what_is_not_finite_spreads_as_by_the_layers(conv, norm, value):
    images = normal(3, 4, 9, 9)
    images[1, 2, 4, 4] = value
    for plus in (False, True):
        model, twin = pair(conv=conv, norm=norm, plus=plus, pool=None)
        with np.errstate(all="ignore"):
            found, wanted = model(Tensor(images)), twin(Tensor(images))
        np.testing.assert_allclose(found.data, wanted.data, rtol=1e-9, atol=1e-11)
        assert not np.isfinite(found.data).all() or value == -np.inf


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("pool", [None, 2])
def test_without_images(norm, pool):
    for conv in CONVS:
        model, twin = pair(conv=conv, norm=norm, pool=pool)
        model.eval(), twin.eval()
        images = np.zeros((0, 4, 8, 8))
        for ours, theirs in zip(run(model, images), run(twin, images), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_first_layer_without_input_gradient_has_the_same_weight_gradients():
    images = normal(10, 1, 12, 12)
    grads = []
    for needs in (True, False):  # Winograd, then patches
        model, _ = pair(channels=1)
        model(Tensor(images, requires_grad=needs)).sum().backward()
        grads.append([p.grad.data for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("frozen", ["weight", "bias", "image"])
@pytest.mark.parametrize("channels", [1, 5])
def test_what_is_frozen_changes_no_other_gradient(frozen, channels):
    images = normal(5, channels, 6, 7)
    for how in ({"pool": 2}, {"pool": None}, {"pool": None, "conv": "5×5"}):
        results = []
        for freeze in (False, True):
            for model in pair(channels=channels, **how):
                for name, p in model.named_parameters():
                    p.requires_grad_(not (freeze and name.endswith(frozen)))
                x = Tensor(images, requires_grad=not (freeze and frozen == "image"))
                model(x).sum().backward()
                tensors = {"image": x, **dict(model.named_parameters())}
                results.append({n: t.grad.data for n, t in tensors.items() if t.requires_grad})
        for found in results:
            assert len(found) >= 2
            for name, grad in found.items():
                np.testing.assert_allclose(grad, results[0][name], rtol=1e-9, atol=1e-11)


def test_a_plain_convolution_computes_no_gradient_that_nobody_wants(monkeypatch):
    from tinygrad_fm.ops.fast import winograd

    called = []
    for name in ("transform_input_transposed", "transform_weight_transposed"):
        right = getattr(winograd, name)

        def watched(*arguments, name=name, right=right):
            called.append(name)
            return right(*arguments)

        monkeypatch.setattr(winograd, name, watched)
    x, w = Tensor(normal(2, 5, 6, 6)), Tensor(normal(3, 5, 3, 3))
    for tensor, wanted in ((x, "transform_input_transposed"), (w, "transform_weight_transposed")):
        called.clear()
        tensor.requires_grad_()
        F.conv2d(x, w, padding=1).sum().backward()
        assert set(called) == {wanted}
        tensor.requires_grad_(False)


@pytest.mark.parametrize(("mean", "std"), [(0, 1), (3, 1), (30, 1), (1000, 1), (5e17, 1e16)])
@pytest.mark.parametrize("conv", ["3×3", "5×5"])
@pytest.mark.parametrize("pool", [None, 2])
def test_a_mean_far_from_zero(mean, std, conv, pool):
    """What is taken together is as exact as layers one by one, against both in float64."""
    rng = np.random.default_rng(5)
    images = (mean + std * rng.standard_normal((16, 2, 9, 8))).astype(np.float32)
    results = []
    for dtype, planned in ((np.float32, True), (np.float32, False), (np.float64, False)):
        model = pair(dtype, conv=conv, norm=True, channels=2, bias=False, pool=pool)[not planned]
        weight = model.conv.weight.data
        weight[...] = np.abs(np.random.default_rng(6).standard_normal(weight.shape))
        results.append(run(model, images.astype(dtype)))
    fused, plain, exact = results
    for a, b, e in zip(fused, plain, exact, strict=True):
        a, b = (np.asarray(r, np.float64) for r in (a, b))
        assert np.abs(a - e).max() <= 4 * np.abs(b - e).max() + 1e-5 * np.abs(e).max()


def test_a_wrong_input_gets_the_layer_s_own_error():
    with pytest.raises(ValueError, match="expects 1 channels, got input"):
        pair(np.float32, channels=1)[0](Tensor(np.zeros((2, 3, 8, 8), np.float32)))


@pytest.mark.parametrize(("channels", "chunks"), [(2, [6]), (24, [6]), (40, [6]), (64, [4, 2])])
def test_large_images_are_cut_into_smaller_chunks(channels, chunks):
    x, w = normal(6, channels, 28, 28), normal(channels, channels, 3, 3, seed=3)
    found = [s.stop - s.start for s in image_chunks(x, w)]
    assert found == chunks
    y = F.conv2d(Tensor(x), Tensor(w), padding=1).data
    np.testing.assert_allclose(y, Conv2d.of(x, w, geometry=PLAIN), rtol=1e-9, atol=1e-9)
