"""Which operations a plan takes together."""

import numpy as np
import pytest

import tinygrad_fm as tg
from tinygrad_fm import Tensor, nn, no_grad
from tinygrad_fm.nn import functional as F
from tinygrad_fm.plan.compiled import Compiled, plan_of


class Net(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.strided, self.fc = nn.Conv2d(2, 2, 3, stride=2), nn.Linear(2 * 64, 3)
        self.norm1, self.up = nn.BatchNorm1d(3), nn.ConvTranspose2d(2, 3, 2, stride=2)
        self.body = forward

    def forward(self, x):
        return self.body(self, x)


CASES = {
    "relu": (lambda m, x: m.conv(x).relu(), "Conv3x3+relu"),
    "relu, pool": (lambda m, x: F.max_pool2d(m.conv(x).relu(), 2), "ConvBlock"),
    "norm, relu": (lambda m, x: m.norm(m.conv(x)).relu(), "Conv3x3 BatchNorm+relu"),
    "norm, relu, pool": (lambda m, x: F.max_pool2d(m.norm(m.conv(x)).relu(), 2), "ConvNormBlock"),
    "sum": (lambda m, x: (m.conv(x) + x).relu(), "Conv3x3+relu+residual"),
    "sum, other side": (
        lambda m, x: (x + m.norm(m.conv(x))).relu(),
        "Conv3x3 BatchNorm+relu+residual",
    ),
    "another pool": (lambda m, x: F.max_pool2d(m.conv(x).relu(), 3), "Conv3x3+relu+window"),
    "sum, pool": (
        lambda m, x: F.max_pool2d((m.conv(x) + x).relu(), 2),
        "Conv3x3+relu+residual MaxPool2d",
    ),
    "read twice": (lambda m, x: (c := m.conv(x)).relu() + c, "Conv3x3 Chain"),
    "with itself": (lambda m, x: ((c := m.conv(x)) + c).relu(), "Conv3x3 Chain"),
    "broadcast": (lambda m, x: (m.conv(x) + tg.ones(8)).relu(), "Conv3x3 Chain"),
    "no relu": (lambda m, x: m.norm(m.conv(x)), "Conv3x3 BatchNorm"),
    "relu of the other": (lambda m, x: m.conv(x) + x.relu(), "Conv3x3 Chain"),
    "strided, relu": (lambda m, x: m.strided(x).relu(), "Conv2d+relu"),
    "strided, relu, pool": (
        lambda m, x: F.max_pool2d(m.strided(x).relu(), 2),
        "Conv2d+relu+window",
    ),
    "strided, norm, relu": (lambda m, x: m.norm(m.strided(x)).relu(), "Conv2d BatchNorm+relu"),
    "transposed": (lambda m, x: m.up(x).relu(), "ConvTranspose2d+relu"),
    "norm first": (lambda m, x: m.conv(m.norm(x).relu()), "BatchNorm+relu Conv3x3"),
    "linear": (
        lambda m, x: m.norm1(m.fc(x.flatten(1))).relu(),
        "Reshape Linear BatchNorm+relu",
    ),
    "the same norm twice": (  # whose running estimates move in this order
        lambda m, x: (m.norm(m.strided(x)) + m.norm(m.strided(-x) + 1)).relu(),
        "Conv2d BatchNorm Neg Conv2d Add BatchNorm+relu+residual",
    ),
    "an output": (lambda m, x: (c := m.conv(x), c.relu()), "Conv3x3 ReLU"),
}


def operations(model, x):
    """What a plan carries out, with what each operation took over from those behind it."""
    plan, _ = plan_of(model, x)
    nodes = [n for n in plan.trace.nodes if n.operation is not COUNT]
    taken = ("relu", "residual", "window")
    return " ".join(
        "+".join(
            [
                n.operation.__name__,
                *(name for name in taken if n.options.get("relu") and n.options.get(name)),
            ]
        )
        for n in nodes
    )


COUNT = tg.ops.norm.Count


@pytest.mark.parametrize("case", CASES)
def test_in_training(case):
    function, wanted = CASES[case]
    model = tg.compile(Net(function))
    assert operations(model, tg.randn(3, 2, 8, 8)) == wanted


@pytest.mark.parametrize("case", CASES)
def test_the_same_numbers(case):
    function, _ = CASES[case]
    tg.manual_seed(0)
    eager, planned = Net(function), Net(function)
    planned.load_state_dict(eager.state_dict())
    tg.compile(planned)
    for training in (True, False):
        for _ in range(3):
            x, results = np.random.default_rng(1).standard_normal((3, 2, 8, 8)), []
            for model in (eager, planned):
                model.train(training)
                t = tg.tensor(x, dtype=np.float32, requires_grad=True)
                y = model(t)
                y = y if isinstance(y, Tensor) else y[1]
                (y * y).sum().backward()
                results.append([y.data, t.grad.data])
            for ours, theirs in zip(*results, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_norms_in_evaluation_become_weights():
    def forward(m, x):
        y = m.norm(m.conv(x)).relu()
        return m.norm1(m.fc(y.flatten(1))), m.norm(m.strided(y))

    model = tg.compile(Net(forward)).eval()
    folded = "FoldedWeight FoldedBias"
    with no_grad():
        assert operations(model, tg.randn(3, 2, 8, 8)) == (
            f"{folded} Conv3x3+relu Reshape {folded} Linear {folded} Conv2d"
        )
    assert "BatchNorm" in operations(model, tg.randn(3, 2, 8, 8))  # a graph wants its parameters


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_log_softmax_and_its_loss_are_one(reduction):
    weight, target = tg.tensor([1.0, 0.5, 2.0]), tg.tensor([0, 2, -100, 1])
    x = np.random.default_rng(0).standard_normal((4, 3, 2)).astype(np.float32)
    for shape, axis, wanted in (
        ((4, 3), 1, "CrossEntropy"),
        ((4, 3), -1, "CrossEntropy"),
        ((4, 3), 0, "LogSoftmax NLLLoss"),
        ((4, 3, 2), 1, "CrossEntropy"),
        ((4, 3, 2), 2, "LogSoftmax NLLLoss"),
    ):
        t = target if len(shape) == 2 else tg.stack([target, target], 1)

        def loss(x, axis=axis, t=t):
            return F.nll_loss(F.log_softmax(x, axis), t, weight, reduction=reduction)

        compiled, results = Compiled(loss, []), []
        for function in (loss, compiled, compiled, compiled):
            given = tg.tensor(np.resize(x, shape), requires_grad=True)
            y = function(given)
            y.sum().backward()
            results.append([y.data, given.grad.data])
        for other in results[1:]:
            for ours, theirs in zip(other, results[0], strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        (signature,) = compiled.plans.values()
        assert " ".join(n.operation.__name__ for n in signature.fused.nodes) == wanted
