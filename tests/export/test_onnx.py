"""A module of one's own, exported to ONNX, gives the same numbers in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx as onnx_package
import onnxruntime
import pytest
from saved_runs import stirred

import tinygrad_fm as tg
from tinygrad_fm import nn, no_grad, ops
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.export import ExportError, onnx
from tinygrad_fm.nn import functional as F


class Function(nn.Module):
    """A module of a function alone."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5)
        )
        self.last = nn.Linear(8 * 4 * 4, 5)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        x = x + self.block(x)
        x = F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True)
        return F.log_softmax(self.last(x.reshape(x.shape[0], -1)), dim=-1)


class Branches(nn.Module):
    """Inception's parallel branches, after a block that `Sequential` takes as one operation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.one, self.three = nn.Conv2d(4, 3, 1), nn.Conv2d(4, 5, 3, padding=1)
        self.five = nn.Conv2d(4, 2, 5, padding="same")
        self.up = nn.ConvTranspose2d(14, 4, 3, stride=2, padding=1, output_padding=1, groups=2)

    def forward(self, x):
        x = self.stem(x)
        pooled = F.avg_pool2d(x, 3, 1, padding=1)
        x = tg.cat([self.one(x), self.three(x).tanh(), F.gelu(self.five(x)), pooled], 1)
        return self.up(x), x.mean((2, 3))


class Separable(nn.Module):
    """Depthwise-separable convolutions, squeeze and excitation, attention over the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(3, 6, 3, padding=2, dilation=2, groups=3, bias=False)
        self.pointwise, self.norm = nn.Conv2d(6, 8, 1), nn.BatchNorm2d(8)
        self.squeeze = nn.Sequential(nn.Linear(8, 4), nn.SiLU(), nn.Linear(4, 8), nn.Sigmoid())
        self.qkv, self.layer_norm = nn.Linear(8, 24), nn.LayerNorm(8)

    def forward(self, x):
        x = self.norm(self.pointwise(self.depthwise(x)))
        x = x * self.squeeze(F.adaptive_avg_pool2d(x, 1).flatten(1)).reshape(-1, 8, 1, 1)
        tokens = self.layer_norm(x.flatten(2).transpose(1, 2))
        parts = self.qkv(tokens).reshape(x.shape[0], -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[-1]
        attention = (q @ k.transpose(-1, -2) / 2.0).softmax(-1)
        return (attention @ v).transpose(1, 2).reshape(len(x), -1, 8).mean(1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def assert_same(model: nn.Module, example: Tensor, *others: Tensor) -> None:
    """ONNX Runtime's numbers are the model's, for the example and for other batches."""
    session = onnxruntime.InferenceSession(onnx(model, example))
    model.eval()
    for x in (example, *others):
        with no_grad():
            ours = model(x)
        theirs = session.run(None, {"input": np.ascontiguousarray(x.data)})
        for y, their in zip(ours if isinstance(ours, tuple) else (ours,), theirs, strict=True):
            assert their.dtype == y.dtype
            np.testing.assert_allclose(their, y.data, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [Residual, Branches, Separable])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_module_with_its_own_forward(kind, batch):
    tg.manual_seed(0)
    model = stirred(kind())
    assert_same(model, normal(batch, 3, 14, 14), normal(1, 3, 14, 14), normal(7, 3, 14, 14, seed=1))


class Cubed(ops.Function):
    def forward(self, x):
        return x**3


class CubedWithTwin(Cubed):
    @staticmethod
    def twin(x):
        return x * x * x


IMAGES, ROWS = (2, 3, 7, 6), (3, 5)
WEIGHT = normal(4, 5, seed=3)

CASES = {
    "numbers": (ROWS, lambda x: (2 - x) * 3 / (x * x + 1) - (-x) ** 2),
    "exp, log, sqrt, abs": (ROWS, lambda x: (x.abs() + 0.1).log() + x.exp() + (x * x).sqrt()),
    "sin, cos, erf": (ROWS, lambda x: x.sin() * x.cos() + x.erf()),
    "expm1, log1p": (ROWS, lambda x: x.expm1() + x.abs().log1p()),
    "sigmoid, tanh": (ROWS, lambda x: x.sigmoid() + x.tanh()),
    "relus": (ROWS, lambda x: F.relu(x) + F.leaky_relu(x, 0.2) + F.elu(x, 0.7)),
    "gelu": (ROWS, F.gelu),
    "gelu tanh": (ROWS, lambda x: F.gelu(x, "tanh")),
    "silu": (ROWS, F.silu),
    "softplus": (ROWS, lambda x: F.softplus(10 * x, beta=2.0, threshold=3.0)),
    "clamp": (ROWS, lambda x: x.clamp(-0.5, 0.5) + x.clamp(min=0.1) + x.clamp(max=0.2)),
    "maximum": (ROWS, lambda x: np.maximum(x, -x)),
    "own operation with a twin": (ROWS, lambda x: CubedWithTwin.of(x + 1)),
    "running sums": (ROWS, lambda x: x.cumsum(0) + x.cumsum(1)),
    "softmax": (ROWS, lambda x: x.softmax(0) + x.log_softmax(1)),
    "sums": (ROWS, lambda x: x.sum(1, keepdim=True) + x.mean(1, keepdim=True) + x.sum()),
    "mean of the batch": (ROWS, lambda x: x - x.mean(0)),
    "products and extrema": (ROWS, lambda x: x.prod(1) + x.amax(1) - x.amin(1)),
    "logsumexp": (ROWS, lambda x: x.logsumexp(1)),
    "spread": (ROWS, lambda x: x.var(1) + x.std(1, correction=0)),
    "reshape": ((2, 4, 3), lambda x: x.reshape(len(x) * 2, 2, 3)),
    "reshape to nothing but the batch": ((2, 4, 3), lambda x: x.reshape(-1)),
    "batch twice": ((2, 3), lambda x: (x @ x.T).reshape(len(x), 1, len(x)).flatten(1) * 1.0),
    "nothing": (ROWS, lambda x: x[:, :0].reshape(len(x), 4, 0)),
    "permute": ((2, 4, 3), lambda x: x.permute(2, 0, 1)),
    "expand": ((2, 1, 3), lambda x: x.expand(len(x), 4, 3)),
    "a token for each": (
        (2, 4, 3),
        lambda x: tg.cat([x.mean((0, 1), keepdim=True).expand(len(x), 2, 3), x], 1),
    ),
    "pad": (IMAGES, lambda x: F.pad(x, (1, 2, -1, 3), value=0.5)),
    "slices": (IMAGES, lambda x: x[:, 1:, ::2, :-1]),
    "backwards": (IMAGES, lambda x: x.flip(2)),
    "integers": (IMAGES, lambda x: x[:, -1, ..., 2]),
    "new axes": (IMAGES, lambda x: x[:, None, 0, :, None]),
    "the last of a batch": (ROWS, lambda x: x[-1]),
    "chosen": (IMAGES, lambda x: x[:, 1, tg.tensor([3, 0, -1])]),
    "einsum": ((2, 4, 3), lambda x: tg.einsum("bij,bkj->bik", x, x)),
    "vectors": (ROWS, lambda x: x @ WEIGHT.T @ WEIGHT[:, 0]),
    "linear of sequences": ((2, 4, 5), lambda x: F.linear(x, WEIGHT, WEIGHT[:, 0])),
    "computed weight": (ROWS, lambda x: F.linear(x, x)),
    "double": (ROWS, lambda x: x.double() / 3),
    "adaptive pool": (IMAGES, lambda x: F.adaptive_avg_pool2d(x, (3, 4))),
    "average pool": (
        IMAGES,
        lambda x: (
            F.avg_pool2d(x, 3, 2, padding=1, ceil_mode=True)
            + F.avg_pool2d(x, 3, 2, padding=1, ceil_mode=True, count_include_pad=False)
        ),
    ),
    "max pool": (IMAGES, lambda x: F.max_pool2d(x, 2, 2, padding=1, dilation=2, ceil_mode=True)),
    "transposed": (
        IMAGES,
        lambda x: F.conv_transpose2d(
            x, normal(3, 2, 2, 3), stride=(2, 1), padding=(0, 1), dilation=2, output_padding=(1, 0)
        ),
    ),
    "layer norm": (ROWS, lambda x: F.layer_norm(x, (5,))),
    "batch norm": (
        ROWS,
        lambda x: F.batch_norm(x, WEIGHT[0], WEIGHT[1] * WEIGHT[1]),
    ),
    "the input itself": (ROWS, lambda x: x),
}


@pytest.mark.parametrize("name", CASES)
def test_operations(name):
    shape, function = CASES[name]
    assert_same(Function(function), normal(*shape), normal(5, *shape[1:], seed=1))


def test_pixels_and_words_are_inputs_too():
    pixels = Tensor(np.arange(12, dtype=np.uint8).reshape(3, 4))
    assert_same(Function(lambda x: x / 255), pixels, Tensor(pixels.data[:1]))
    table = normal(9, 4)
    words = Tensor(np.array([[0, 8, 3]]))
    assert_same(Function(lambda x: table[x]), words, Tensor(np.array([[1, 2, 0], [5, 8, 8]])))


def test_several_inputs_of_which_one_is_no_batch():
    x, mask, y = normal(4, 5), normal(5), normal(4, 5, seed=1)
    file = onnx(Function(lambda x, mask, y: (x * mask, y + mask)), x, mask, y)
    session = onnxruntime.InferenceSession(file)
    assert [i.shape for i in session.get_inputs()] == [["batch", 5], [5], ["batch", 5]]
    assert [o.name for o in session.get_outputs()] == ["output_0", "output_1"]
    arrays = [x.data[:2], mask.data, y.data[:2]]
    theirs = session.run(None, {f"input_{i}": array for i, array in enumerate(arrays)})
    np.testing.assert_allclose(theirs, [x.data[:2] * mask.data, y.data[:2] + mask.data])


def test_weights_keep_their_names_and_what_is_constant_is_computed_once():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 2)

        def forward(self, x):
            self.layer(x).exp()  # of which nothing comes
            return F.linear(x, self.layer.weight * 2, self.layer.bias)

    model = onnx_package.load_from_string(onnx(Scaled(), normal(3, 5)))
    assert [node.op_type for node in model.graph.node] == ["Gemm", "Identity"]
    assert [w.name.rsplit("_", 1)[0] for w in model.graph.initializer] == ["constant", "layer.bias"]


def test_the_model_is_as_it_was():
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout())
    model[2].eval()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    example = normal(3, 5)
    onnx(model, example)
    assert [m.training for m in model.modules()] == [True, True, True, False]
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
        assert array.flags.writeable
    assert example.data.flags.writeable


@pytest.mark.parametrize(
    ("function", "message"),
    [
        pytest.param(lambda x: x % 2, "does not know the operation Remainder", id="operation"),
        pytest.param(lambda x: Cubed.of(x), "Cubed.*give your own operation a twin", id="own"),
        pytest.param(
            lambda x: tg.where(x > 0, x, 0), "does not know the operation greater", id="comparison"
        ),
        pytest.param(lambda x: x * float(x.sum()), "Mul.*Python number", id="number"),
        pytest.param(lambda x: x + Tensor(x.data * 2), "Add.*data", id="data"),
        pytest.param(
            lambda x: F.dropout(x, 0.5), "does not know the operation KeepMask", id="random"
        ),
        pytest.param(lambda x: x + Tensor(np.ones(x.shape)), "Add.*shape", id="sizes"),
        pytest.param(lambda x: x[: len(x) // 2 + 1], "one index of Index", id="half a batch"),
        pytest.param(lambda x: x.exp() if len(x) < 5 else x, "the same for every", id="branch"),
        pytest.param(
            lambda x: x - x.exp() if len(x) < 5 else x.exp() - x, "the same for", id="order"
        ),
        pytest.param(
            lambda x: x.detach().argmax(1), "does not know the operation argmax", id="argmax"
        ),
        pytest.param(lambda x: x[:, np.arange(5) > 2], "no mask", id="mask"),
        pytest.param(
            lambda x: nn.BatchNorm1d(5, track_running_stats=False)(x), "estimates", id="bn"
        ),
    ],
)
def test_what_cannot_be_exported_is_named(function, message):
    with pytest.raises(ExportError, match=f"(?s){message}"):
        onnx(Function(function), normal(3, 5))


def test_a_write_in_place_is_refused():
    def forward(x):
        y = x * 2
        y += 1
        return y

    with pytest.raises(RuntimeError, match="in place cannot be captured"):
        onnx(Function(forward), normal(3, 5))


def test_examples_are_wanted():
    for examples in ((), (tg.tensor(1.0),), (normal(0, 3),)):
        with pytest.raises(ExportError, match="an example of each input"):
            onnx(nn.ReLU(), *examples)
