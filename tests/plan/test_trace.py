"""What cannot be planned runs as ever, after one warning that says where and why."""

import random
import re
import warnings

import numpy as np
import pytest

import tinygrad_fm as tg
from tinygrad_fm import Tensor, nn, no_grad, ops
from tinygrad_fm.autograd import detect_anomaly
from tinygrad_fm.autograd.graph import to_dot
from tinygrad_fm.errors import GradcheckError
from tinygrad_fm.nn import functional as F

RNG = np.random.default_rng(0)


class Free(nn.Module):
    """A module whose forward pass is a function of the module and x."""

    def __init__(self, function):
        super().__init__()
        self.fc, self.function, self.calls = nn.Linear(3, 3), function, 0
        self.seen = []

    def forward(self, x):
        return self.function(self, x)


def branch(self, x):
    return self.fc(x) if x.sum() > 0 else -self.fc(x)


def item(self, x):
    return self.fc(x) * x.abs().max().item()


def array(self, x):
    return self.fc(x) + float(x.detach().numpy().max())


def assignment(self, x):
    self.calls += 1
    return self.fc(x) * self.calls


def draw(self, x):
    return self.fc(x) * random.choice([1.0, 2.0])


def legacy_draw(self, x):
    return self.fc(x) * float(np.random.rand())  # noqa: NPY002


def noise(self, x):
    return self.fc(x) + tg.randn(3)


def input_written(self, x):
    with no_grad():
        x += 1
    return self.fc(x)


def hook(self, x):
    y = self.fc(x)
    y.register_hook(lambda g: g * 2)
    return y


def note(self, x):
    self.seen.append(len(x))
    return self.fc(x)


def values(self, x):
    return self.fc(x) + Tensor(x.data.max(axis=1, keepdims=True))


def folded(self, x):
    return x @ Tensor(self.fc.weight.data * 2)


class Tripled(tg.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 3


def own_backward(self, x):
    return Tripled.apply(self.fc(x))


def gradient(self, x):
    y = self.fc(x)
    return y * tg.autograd.grad(y.sum(), self.fc.bias, retain_graph=True)[0]


def written_by_numpy(self, x):
    y = self.fc(x)
    y.data *= 2
    return y + 0.0


def written_unrecorded(self, x):
    y = self.fc(x)
    with no_grad():
        y += 1
    return y * 2


OUTSIDE = tg.ones(3, requires_grad=True) * 2


def computed_outside(self, x):
    return self.fc(x) * OUTSIDE


def text(self, x):
    return [self.fc(x), "text"]


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (branch, "branches on a tensor's value"),
        (item, "reads a tensor's value"),
        (array, "reads a tensor's values"),
        (assignment, "sets Free.calls"),
        (draw, "draws random numbers outside dropout"),
        (legacy_draw, "draws random numbers outside dropout"),
        (noise, "draws random numbers outside dropout"),
        (input_written, "writes into a tensor that it did not compute"),
        (hook, "calls register_hook"),
        (note, "changes what it depends on: an attribute, a list or a variable"),
        (values, "an array that changes from call to call"),
        (folded, "an array that NumPy makes anew in each call"),
        (own_backward, "calls Tripled, which has a backward of its own"),
        (gradient, "computes gradients"),
        (written_by_numpy, "its operations alone give another result: it may write into .data"),
        (written_unrecorded, "uses what was written into inside no_grad"),
        (computed_outside, "uses what was computed outside"),
        (text, "returns list, not tensors"),
    ],
)
def test_what_is_not_planned(function, why):
    tg.manual_seed(0)
    model = tg.compile(Free(function))
    seen = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(5):
            given = RNG.standard_normal((2, 3)).astype(np.float32)
            x = Tensor(given.copy())
            state = random.getstate(), np.random.get_state(), np.random.default_rng(0)  # noqa: NPY002
            seed = RNG.integers(99)
            tg.manual_seed(int(seed))
            y = model(x)
            random.setstate(state[0])
            np.random.set_state(state[1])  # noqa: NPY002
            tg.manual_seed(int(seed))
            if function is assignment:
                model.calls -= 1
            wanted = function(model, Tensor(given.copy()))
            seen.append((y, wanted))
    for y, wanted in seen:
        y, wanted = (y[0], wanted[0]) if isinstance(y, list) else (y, wanted)
        np.testing.assert_array_equal(y.data, wanted.data)
    messages = [str(w.message) for w in caught]
    assert len(messages) == 1
    assert messages[0].startswith("Free.forward is not planned and runs as ever: ")
    assert why in messages[0]
    if function not in (values, folded, text, note, written_by_numpy):
        lines = {line for *_, line in function.__code__.co_lines()}
        assert any(f"{__file__}:{line} " in messages[0] for line in lines)
    assert caught[0].filename == __file__


def test_a_hook_in_the_middle_is_called_each_time():
    model = tg.compile(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1)))
    x = tg.ones(2, 3)
    before = [model(x).data for _ in range(4)][-1]
    seen = []
    model[0].register_forward_hook(lambda module, inputs, y: seen.append(y.shape))
    with pytest.warns(UserWarning, match="a module has a forward hook"):
        ys = [model(x).data for _ in range(4)]
    np.testing.assert_allclose(ys, [before] * 4, rtol=1e-6)
    assert seen == [(2, 3)] * 4
    model = tg.compile(nn.Sequential(nn.Linear(3, 1)))
    model.register_forward_hook(lambda module, inputs, y: y * 2)  # the model's own: outside
    ys = [model(x).data for _ in range(4)]
    np.testing.assert_allclose(ys[3], ys[0], rtol=1e-6)
    assert [len(s.free) for s in model._compiled.plans.values()] == [1]


def test_modes_and_layers_that_change_are_seen():
    model = tg.compile(nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)))
    x = tg.ones(3, 4)
    for _ in range(3):
        model.train()
        a = [model(x).data for _ in range(4)]
        assert not np.array_equal(a[2], a[3])
        model.eval()
        b = [model(x).data for _ in range(4)]
        np.testing.assert_array_equal(b[2], b[3])
    model[0].p = 1.0
    model.train()
    for _ in range(4):
        np.testing.assert_allclose(model(x).data, [model[1].bias.data] * 3, rtol=1e-6)
    model[1] = nn.Linear(4, 5)
    assert [model(x).shape for _ in range(4)] == [(3, 5)] * 4
    model.append(nn.ReLU())
    assert all((model(x).data >= 0).all() for _ in range(4))
    del model[2]
    model[1].weight.requires_grad_(False)
    for _ in range(4):
        model.zero_grad()
        model(x).sum().backward()
        assert model[1].weight.grad is None
        np.testing.assert_allclose(model[1].bias.grad.data, 3)
    with no_grad():
        assert not model(x).requires_grad


def test_plans_are_kept_for_so_many_shapes_only():
    model = tg.compile(nn.Linear(2, 2))
    for n in range(1, 41):
        for _ in range(3):
            model(tg.ones(n, 2))
    assert len(model._compiled.plans) == 16


def test_who_watches_sees_every_operation():
    model = tg.compile(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    for _ in range(3):
        model(tg.ones(2, 3))
    with tg.profile() as report:
        model(tg.ones(2, 3)).sum().backward()
    assert {"Linear", "ReLU"} <= {cost.name for cost in report.operations}
    model[0].weight.data[0, 0] = np.nan
    with pytest.raises(tg.AnomalyError, match="Linear"), detect_anomaly():
        model(tg.ones(2, 3))


def watched_step(planned, watch):
    """A batch through a small network, watched from the backward pass on."""
    tg.manual_seed(0)
    layers = [nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(0.5)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 3))
    if planned:
        tg.compile(model)
    x = tg.randn(2, 1, 4, 4)
    for _ in range(3):
        tg.manual_seed(1)
        loss = F.cross_entropy(model(x), tg.tensor([0, 2]))
    estimates = model[1].running_mean.data.copy()
    result = watch(loss, dict(model.named_parameters()))
    np.testing.assert_array_equal(model[1].running_mean.data, estimates)
    return result, [p.grad for p in model.parameters()]


def backward_profiled(loss, names):
    with tg.profile() as costs:
        loss.backward()
    return {cost.name for cost in costs.operations if cost.backward.calls} - {"Planned"}


def boxes(loss, names):
    """What is drawn, without the numbers of the boxes."""
    return sorted(re.sub(r"\bn\d+\b", "n", line) for line in to_dot(loss, names).splitlines())


@pytest.mark.parametrize("watch", [backward_profiled, boxes])
def test_a_plan_is_watched_from_behind_as_its_operations(watch):
    (ours, grads), (theirs, others) = (watched_step(planned, watch) for planned in (True, False))
    assert ours == theirs
    for a, b in zip(grads, others, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.data, b.data, rtol=1e-5, atol=1e-6)


def root(self, x):
    y = self.fc(x) * 0
    return y.sqrt()


def test_an_anomaly_in_a_planned_backward_names_the_operation_and_its_line():
    model = tg.compile(Free(root))
    for _ in range(3):
        loss = model(tg.ones(2, 3)).sum()
    line = root.__code__.co_firstlineno + 2
    message = rf"backward of Sqrt on 2×3 made infinity, called at {re.escape(__file__)}:{line}$"
    with pytest.raises(tg.AnomalyError, match=message), detect_anomaly():
        loss.backward()


class Wrong(ops.Function):
    def forward(self, x):
        self.save_for_backward(x)
        return x * x

    def backward(self, grad):
        return grad * self.saved[0] * 3


def test_gradcheck_finds_a_wrong_derivative_through_a_plan():
    x = Tensor(RNG.standard_normal((3, 3)), requires_grad=True)
    good, bad = tg.compile(lambda x: (x @ x).tanh()), tg.compile(lambda x: Wrong.of(x @ x))
    for _ in range(3):
        good(x)
        bad(x)
    assert tg.gradcheck(good, (x,))
    assert tg.gradgradcheck(good, (x,))
    with pytest.raises(GradcheckError, match="gradcheck FAILED"):
        tg.gradcheck(bad, (x,))


def test_a_compiled_model_is_exported_as_it_is():
    pytest.importorskip("onnx")
    from tinygrad_fm.export import onnx

    files = []
    for compiled in (False, True):
        tg.manual_seed(0)
        layers = [nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2)]
        model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 2))
        if compiled:
            tg.compile(model)
        x = tg.randn(2, 1, 4, 4)
        model.eval()
        for _ in range(3):
            model(x)
        files.append(onnx(model, x))
    assert files[0] == files[1]


def test_a_released_plan_is_not_drawn():
    model = tg.compile(nn.Linear(3, 1))
    for _ in range(3):
        y = model(tg.ones(2, 3))
        loss = y.sum()
        loss.backward()
    for tensor in (y, loss):
        with pytest.raises(ValueError, match="released by backward"):
            to_dot(tensor)


def test_errors_are_those_of_the_operations():
    model = tg.compile(nn.Linear(3, 3))
    for _ in range(4):
        model(tg.ones(2, 3))
    for _ in range(4):
        with pytest.raises(ValueError, match=r"Linear expected last dimension 3, got \(2, 4\)"):
            model(tg.ones(2, 4))
    with pytest.raises(TypeError, match="compile takes a module or a function, got int"):
        tg.compile(3)
