"""Elementwise operations that a plan carries out together, beside the same ones one by one."""

import warnings

import numpy as np
import pytest

import tinygrad_fm as tg
from tinygrad_fm import Tensor, nn
from tinygrad_fm.autograd import grad
from tinygrad_fm.nn import functional as F
from tinygrad_fm.plan import chains
from tinygrad_fm.plan.compiled import Compiled

CALLS = 3


def run(function, arrays, seed=0):
    """The result and the gradients of floats."""
    tg.manual_seed(seed)
    xs = [Tensor(a, a.dtype.kind == "f") for a in arrays]
    y = function(*xs)
    upstream = np.cos(np.arange(y.data.size)).reshape(y.shape).astype(y.dtype)
    y.backward(Tensor(upstream))
    return [y.data.copy(), *(x.grad.data for x in xs if x.grad is not None)]


def names(compiled):
    (signature,) = compiled.plans.values()
    assert signature.free
    return " ".join(node.operation.__name__ for node in signature.fused.nodes)


def compare(function, *arrays, wanted="Chain", tolerance=1e-6):
    compiled = Compiled(function, [])
    for seed in range(CALLS):
        pairs = zip(run(compiled, arrays, seed), run(function, arrays, seed), strict=True)
        for ours, theirs in pairs:
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            finite = theirs[np.isfinite(theirs)]
            scale = np.abs(finite).max(initial=1)
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * scale)
    assert names(compiled) == wanted
    return compiled


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture(params=["whole", "in pieces"])
def pieces(request, monkeypatch):
    if request.param == "in pieces":
        monkeypatch.setattr(chains, "PIECE", 16)
    return request.param


SHAPES = [
    ((3, 4, 5, 6), (3, 4, 5, 6)),
    ((3, 4, 5, 6), (4, 1, 1)),
    ((3, 4, 5, 6), (3, 4, 1, 1)),
    ((3, 4, 5, 6), (6,)),
    ((3, 4, 5, 6), (1, 1)),
    ((3, 4, 5, 6), ()),
    ((40, 7), (1, 7)),
    ((40, 7), (40, 1)),
    ((101,), (1,)),
    ((), ()),
    ((1,), ()),
    ((0, 3), (3,)),
    ((3, 0), (3, 1)),
    ((1, 1, 50), (1, 1, 1)),
]


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_broadcasts(a, b, pieces):
    wanted = "Chain" if a == b else "Chain Chain"  # one of b alone
    arrays = normal(*a), normal(*b, seed=1)
    compare(lambda a, b: (a * b + a.tanh()).relu() / (b * b + 1), *arrays, wanted=wanted)
    compare(lambda a, b: a - b, *arrays, wanted="Sub")


def test_many_operations(pieces):
    def function(a, b):
        x = (a * 2 + b).tanh() - a.sigmoid() * b
        y = F.gelu(x) + F.silu(x) / (x.exp() + 1.5) - x.abs().clamp(0.1, 1.2).sqrt()
        return (-y).relu() + F.leaky_relu(x) * F.elu(b) + F.softplus(y) * (b * b + 1).log()

    compare(function, normal(5, 8), normal(5, 8, seed=1), tolerance=3e-6)
    wanted = "ELU Chain Chain"  # two of b alone
    compare(function, normal(5, 8), normal(5, 1, seed=1), wanted=wanted, tolerance=3e-6)


LAYOUTS = {
    "transposed": lambda x: x.T,
    "with gaps": lambda x: x[:, ::2],
    "backwards": lambda x: x[::-1],
    "copies": lambda x: np.broadcast_to(x[:1], x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, pieces):
    a = LAYOUTS[layout](normal(12, 12))
    compare(lambda a, b: (a * b).tanh() * 2 + b, a, normal(*a.shape, seed=1))
    compare(lambda b, a: (a * b).tanh() * 2 + b, normal(*a.shape, seed=1), a)


def test_a_view_in_the_middle_ends_a_chain(pieces):
    def function(a):
        return ((a * 2).tanh().T * 3 + 1).reshape(-1).relu() - 1

    compare(function, normal(6, 5), wanted="Chain Permute Chain Reshape Chain")


def test_what_is_not_finite(pieces):
    x = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1, -1, 3e38] * 5, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compare(lambda x: (x.relu() * 2 - x).clamp(-1, 1), x)
        compare(lambda x: (x.log() + 1 / x).sqrt(), x)


def test_several_readers():
    def inside(x):
        z = x * 2 + 1
        return z * z - z.tanh()

    def outside(x):
        y = x * 2
        z = y + 1
        return (z * z - z.tanh()) @ y.T

    compare(inside, normal(4, 3))
    compare(outside, normal(4, 3), wanted="Mul Chain Permute Matmul")


def test_an_output_in_the_middle_is_one():
    compiled = Compiled(lambda x: (y := x * 2, (y + 1).tanh()), [])
    for _ in range(CALLS):
        x = Tensor(normal(4), requires_grad=True)
        y, z = compiled(x)
        (y.sum() + z.sum()).backward()
        np.testing.assert_allclose(y.data, 2 * x.data)
        np.testing.assert_allclose(x.grad.data, 2 + 2 * (1 - z.data**2), rtol=1e-6)
    assert names(compiled).startswith("Mul Chain")


def test_backward_reads_what_forward_does_not_keep(pieces):
    weight = normal(7, 7, seed=3)

    def function(x, w):
        y = x @ w  # overwritten if nobody else needed it
        return ((y + 1) * (y - 1)).relu() @ w  # its slopes are made of y + 1 and y - 1

    compare(function, normal(9, 7), weight, wanted="Matmul Chain Matmul", tolerance=1e-5)


def test_in_place():
    def function(x, b):
        y = x * 2
        y += b
        y.clamp_(min=0)
        y[0] = 0
        y *= b
        return y - 1

    arrays = normal(5, 4), normal(4, seed=1)
    compiled = Compiled(function, [])
    for _ in range(CALLS):
        for ours, theirs in zip(run(compiled, arrays), run(function, arrays), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    assert names(compiled) == "Chain Expand Overwrite Chain"


def test_mixed_dtypes_run_as_they_are():
    def function(a, b):
        return tg.apply(tg.ops.Mul, a, b) * 2  # no promotion: NumPy's own

    a = normal(4), normal(4, seed=1).astype(np.float64)
    compiled = Compiled(function, [])
    for _ in range(CALLS):
        xs = [Tensor(x) for x in a]
        np.testing.assert_array_equal(compiled(*xs).data, function(*xs).data)
    compare(lambda x, k: x * k.float() + 1, normal(4), np.arange(4), wanted="Cast Chain")


def test_the_same_bits_at_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(chains, "PIECE", 64)
    arrays, found = (normal(37, 11), normal(11, seed=1), normal(37, 1, seed=2)), []
    threads = tg.get_num_threads()
    try:
        for count in (1, 2, 5):
            tg.set_num_threads(count)
            compiled = Compiled(lambda a, b, c: (a * b + c).tanh() * c / 3, [])
            found.append([run(compiled, arrays) for _ in range(CALLS)][-1])
    finally:
        tg.set_num_threads(threads)
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_second_derivatives():
    def function(a, b):
        return (a * b + a.tanh()) * F.dropout(b, 0.3)

    compiled, found = Compiled(function, []), []
    for f in (function, compiled, compiled, compiled):
        tg.manual_seed(0)
        a, b = (Tensor(normal(4, seed=i), requires_grad=True) for i in range(2))
        (da,) = grad(f(a, b).sum(), [a], create_graph=True)
        found.append([da.data, *(g.data for g in grad((da * da).sum(), [a, b]))])
    for ours in found[1:]:
        for mine, theirs in zip(ours, found[0], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_dropout_between_activations_has_the_bits_of_eager(pieces):
    layer = nn.Dropout(0.3)

    def function(x):
        return layer(layer(x.relu()) * 2).tanh()

    compare(function, normal(9, 10), wanted="KeepMask KeepMask Chain")
    compiled = Compiled(function, [])
    for _ in range(CALLS):
        tg.manual_seed(1)
        after = [compiled(Tensor(normal(9, 10))).data for _ in range(2)], tg.rand(3).data
        tg.manual_seed(1)
        eager = [function(Tensor(normal(9, 10))).data for _ in range(2)], tg.rand(3).data
        for ours, theirs in zip(after[0], eager[0], strict=True):
            np.testing.assert_array_equal(ours == 0, theirs == 0)
        np.testing.assert_array_equal(after[1], eager[1])


def test_running_estimates_are_read_before_they_move():
    norm = nn.BatchNorm1d(3)

    def function(x):
        before = norm.running_mean * 1
        return norm(x) * before + before

    results = []
    for f in (function, Compiled(function, [norm])):
        norm.running_mean.zero_()
        results.append([f(Tensor(normal(4, 3))).data.copy() for _ in range(CALLS)])
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_losses_made_of_formulas():
    t = (normal(6, 4, seed=1) > 0).astype(np.float32)
    target = Tensor(t)
    for loss, wanted in (
        (F.mse_loss, "Chain Mean"),
        (F.binary_cross_entropy_with_logits, "BCEWithLogits Mean"),
        (F.smooth_l1_loss, "Chain Mean"),
    ):
        compare(lambda x, loss=loss: loss(x, target), normal(6, 4), wanted=wanted)


def test_what_is_written_over_was_read_before(pieces):
    """The gradient of a chain's result makes room for that of an input; sums are made of it too."""

    def function(x, w, b, c):
        y = F.linear(x, w)
        y = F.linear(y.relu() + b, w)  # ∂L/∂b is the sum of what ∂L/∂y.relu() is written over
        return F.linear((y * c).tanh() * y, w)

    arrays = normal(9, 7), normal(7, 7, seed=1), normal(7, seed=2), normal(9, 1, seed=3)
    compare(function, *arrays, wanted="Linear Chain Linear Chain Linear", tolerance=1e-5)
