"""What is replayed from a plan, beside the same calls run as ever."""

import copy
import pickle
import threading
import warnings

import numpy as np
import pytest

import tinygrad_fm as tg
from tinygrad_fm import Tensor, nn, no_grad
from tinygrad_fm.autograd import grad
from tinygrad_fm.checking.cases import CASES
from tinygrad_fm.nn import functional as F
from tinygrad_fm.plan.compiled import Compiled
from tinygrad_fm.plan.trace import Trace, Tracer
from tinygrad_fm.recipes import RECIPES

CALLS = 4  # two of them are traced, and all replayed


def plans(model):
    """How many plans there are to replay."""
    return sum(len(s.free) for s in model._compiled.plans.values())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_of_the_table(case, monkeypatch):
    monkeypatch.setattr(Tracer, "stop", lambda self, why: None)  # cases build their layers anew,
    monkeypatch.setattr(Trace, "differs", lambda self, other: None)  # and their arrays
    arrays = case.draw("float32")

    def run(function):
        tg.manual_seed(5)
        pairs = zip(arrays, case.inputs, strict=True)
        xs = [Tensor(a.copy(order="K"), source.differentiable) for a, source in pairs]
        y = function(*xs)
        upstream = np.cos(np.arange(y.data.size)).reshape(y.shape).astype(y.dtype)
        y.backward(Tensor(upstream))
        return [y.data.copy(), *(None if x.grad is None else x.grad.data for x in xs)]

    def eager(*xs):
        return case.run(tg, *xs)

    compiled = Compiled(eager, [])
    wanted = run(eager)
    for _ in range(CALLS):
        for ours, theirs in zip(run(compiled), wanted, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                assert ours.dtype == theirs.dtype
                scale = max(1, np.abs(theirs).max(initial=0))
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * scale)
    (signature,) = compiled.plans.values()
    assert signature.free


class Net(nn.Module):
    """Branches, a residual sum in place, norms, dropout and a view at the end."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm_a, self.norm_b = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.drop, self.fc = nn.Dropout(0.3), nn.Linear(64, 6)
        self.scale = 1.0

    def forward(self, x):
        y = self.norm_a(self.a(x)).relu()
        z = self.norm_b(self.b(y))
        z += y
        z = self.drop(F.max_pool2d(z.relu(), 2))
        return (self.fc(z.flatten(1)) * self.scale).reshape(-1, 3, 2)


def pair():
    tg.manual_seed(1)
    eager, planned = Net(), Net()
    planned.load_state_dict(eager.state_dict())
    return eager, tg.compile(planned)


def images(seed=0, n=5):
    return Tensor(np.random.default_rng(seed).standard_normal((n, 1, 8, 8)).astype(np.float32))


def step(model, x, optimizer):
    optimizer.zero_grad()
    tg.manual_seed(int(abs(x.data[0, 0, 0, 0]) * 1e6))
    y = model(x)
    loss = (y * y).mean()
    loss.backward()
    optimizer.step()
    return [loss.data, y.data]


def same(ours, theirs, tolerance=1e-5):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "RMSprop", "Adagrad", "Adadelta"])
def test_training_step_by_step(optimizer):
    eager, planned = pair()
    make = getattr(tg.optim, optimizer)
    a, b = (make(m.parameters(), lr=1e-3, weight_decay=0.01) for m in (eager, planned))
    for i in range(8):
        x = images(i, 5 if i != 4 else 3)  # one smaller batch
        same(step(planned, x, b), step(eager, x, a), 1e-4)
    assert plans(planned) == 2
    for name in ("a.weight", "b.weight", "fc.weight", "norm_a.running_var"):
        same([planned.state_dict()[name]], [eager.state_dict()[name]], 2e-4)
    assert int(planned.norm_a.num_batches_tracked) == 8


def test_evaluation_sees_every_change_of_the_weights():
    eager, planned = pair()
    for model in (eager, planned):
        model.eval()
    x = images()

    def check():
        with no_grad():
            same([planned(x).data], [eager(x).data])

    for _ in range(CALLS):
        check()
    assert plans(planned) == 1
    for model in (eager, planned):
        model.a.weight.data *= 2  # by NumPy, behind everybody's back
        model.norm_b.running_var.data += 1
    check()
    for model in (eager, planned):
        model.load_state_dict({k: v * 0.5 for k, v in model.state_dict().items()})
    check()
    for model in (eager, planned):
        model.fc.bias.data = model.fc.bias.data + 1
        model.scale = 3.0
    for _ in range(CALLS):
        check()
    assert plans(planned) == 2
    for model in (eager, planned):
        model.to(np.float64)
        model.train()
    x = Tensor(x.data.astype(np.float64))
    for _ in range(CALLS):
        tg.manual_seed(3)
        ours = planned(x)
        tg.manual_seed(3)
        same([ours.data], [eager(x).data], 1e-12)


def test_what_is_held_is_never_written_over():
    _, model = pair()
    held, copies = [], []
    for i in range(7):
        model.zero_grad()
        x = images(i)
        y = model(x)
        y.sum().backward()
        views = [p.grad.data[:1] for p in model.parameters()]
        found = [y.data, y.data[0], *views, *(p.grad.data for p in model.parameters()), x.data]
        held.append(found)
        copies.append([array.copy() for array in found])
    model.eval()
    with no_grad():
        for i in range(5):
            held.append([model(images(i)).data])
            copies.append([held[-1][0].copy()])
    for arrays, before in zip(held, copies, strict=True):
        for array, copied in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, copied)


def test_gradients_add_up_without_zero_grad():
    eager, planned = pair()
    for model in (eager, planned):
        for i in range(6):
            tg.manual_seed(i)
            model(images(i)).sum().backward()
    for p, q in zip(planned.parameters(), eager.parameters(), strict=True):
        same([p.grad.data], [q.grad.data], 1e-4)


def test_several_forward_passes_before_one_backward():
    eager, planned = pair()
    for model in (eager, planned):
        for _ in range(4):
            model.zero_grad()
            tg.manual_seed(0)
            ys = [model(images(i)) for i in range(3)]
            (ys[0] * ys[1] + ys[2]).sum().backward()
    for p, q in zip(planned.parameters(), eager.parameters(), strict=True):
        same([p.grad.data], [q.grad.data], 1e-4)
    assert plans(planned) == 3


def test_a_forward_pass_that_is_thrown_away_gives_its_plan_back():
    _, model = pair()
    for i in range(6):
        model(images(i))
    assert plans(model) == 1


def test_backward_twice_and_derivatives_of_derivatives():
    eager, planned = pair()
    results = []
    for model in (eager, planned):
        for _ in range(3):
            tg.manual_seed(0)
            x = images().requires_grad_()
            y = (model(x) ** 2).sum()
        y.backward(retain_graph=True)
        once = x.grad.data.copy()
        y.backward()
        same([x.grad.data], [2 * once])
        tg.manual_seed(0)
        y = (model(x) ** 2).sum()
        (dx,) = grad(y, x, create_graph=True)
        model.zero_grad()
        (dx * dx).sum().backward()
        results.append([once, dx.data, *(p.grad.data for p in model.parameters())])
    for ours, theirs in zip(*results, strict=True):
        scale = max(np.abs(theirs).max(), 1)  # a bias before a norm has no gradient but rounding
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-4 * scale)


def test_a_write_into_what_is_saved_is_refused():
    _, model = pair()
    for _ in range(3):
        x = images()
        y = model(x)
    with pytest.raises(ValueError, match="read-only"):
        model.fc.weight.data[...] = 0
    x += 1
    with pytest.raises(RuntimeError, match=r"test_replay.py:\d+"):
        y.sum().backward()


def test_several_outputs_and_arguments_by_name():
    def function(x, power, y=None):
        return x**power, [x * y, (x + y).sum()][0], (x @ y.T).mean()

    compiled = tg.compile(function)
    for seed in range(CALLS):
        x, y = images(seed).reshape(5, 64), images(seed + 9).reshape(5, 64)
        results = []
        for f in (function, compiled):
            a, b = Tensor(x.data, requires_grad=True), Tensor(y.data, requires_grad=True)
            outputs = f(a, 2, y=b)
            sum((out * out).sum() for out in outputs).backward()
            results.append([*(out.data for out in outputs), a.grad.data, b.grad.data])
        same(*results)
    (signature,) = compiled.plans.values()
    assert signature.free


def test_copies_and_pickles_are_compiled_too():
    _, model = pair()
    for i in range(3):
        model(images(i))
    model.eval()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other._compiled.modules == [other]
        for i in range(CALLS):
            with no_grad():
                same([other(images(i)).data], [model(images(i)).data])
        other.fc.bias.data += 1
        with no_grad():
            same([other(images()).data], [model(images()).data + 1])


def test_threads_have_plans_of_their_own():
    _, model = pair()
    model.eval()
    with no_grad():
        wanted = [[model(images(i)).data.copy() for i in range(8)] for _ in range(3)][-1]
    wrong = []

    def work(i):
        with no_grad():
            wrong.extend(
                i for _ in range(50) if not np.array_equal(model(images(i)).data, wanted[i])
            )

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_threads_that_begin_together_train_as_one_does():
    eager, planned = pair()
    for model in (eager, planned):
        model.eval()  # without dropout
    wanted = []
    for i in range(4):
        x = images(i, 2 + i % 2).requires_grad_()
        wanted.append(grad((eager(x) ** 2).sum(), x)[0].data)
    wrong, start = [], threading.Barrier(4)

    def work(i):
        start.wait()
        for _ in range(10):
            x = images(i, 2 + i % 2).requires_grad_()
            (dx,) = grad((planned(x) ** 2).sum(), x)
            if not np.allclose(dx.data, wanted[i], rtol=1e-4, atol=1e-5):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_error_in_a_replay_is_the_operations_and_leaves_no_trace():
    fc = nn.Linear(3, 3)

    def function(x, i):
        return fc(x)[i].tanh()

    compiled, x = tg.compile(function), images(1).reshape(-1, 4)[:4, :3]
    for i in range(6):
        if i > 2:
            for f in (function, compiled):
                with pytest.raises(IndexError, match="index 9 is out of bounds"):
                    f(x, tg.tensor([0, 9]))
        results = []
        for f in (function, compiled):
            fc.zero_grad()
            y = f(x, tg.tensor([i % 4, 0]))
            y.sum().backward()
            results.append([y.data, fc.weight.grad.data])
        same(*results)


@pytest.mark.parametrize("name", ["sigmoid-mlp", "mlp", "mlp-deep", "cnn", "cnn-bn", "cnn-5conv"])
def test_recipes(name):
    recipe = RECIPES[name]
    losses = []
    for planned in (False, True):
        tg.manual_seed(2)
        model = recipe.build()
        if planned:
            tg.compile(model)
        optimizer = recipe.optimizer(model.parameters(), recipe.lr / 10)
        rng = np.random.default_rng(3)
        found = []
        for _ in range(5):
            x = Tensor(rng.standard_normal((6, 1, 28, 28)).astype(np.float32))
            optimizer.zero_grad()
            loss = recipe.loss(model(x), Tensor(rng.integers(0, 10, 6)))
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
        if planned:
            assert plans(model) == 1
    np.testing.assert_allclose(*losses, rtol=2e-4)


def compare(function, *calls):
    """Call a function and its compiled twin with the same arguments, twice each."""
    compiled = tg.compile(function)
    for arguments in (*calls, *calls, *calls):
        wanted, found = function(*arguments), compiled(*arguments)
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found.data, wanted.data, rtol=1e-6)
    return compiled


def test_one_tensor_given_twice_is_not_two():
    x, y = tg.randn(3, 4), tg.randn(3, 4)
    compare(lambda a, b: a * 2 + b, (x, x), (x, y), (y, y), (y, x))


def test_numbers_that_are_equal_are_not_the_same():
    x = tg.tensor(np.array([5, 7]))
    compare(lambda a, b: a * b, (x, 1), (x, True), (x, 1.0), (x, 2))
    compare(lambda a, b: a.reshape(b).sum(0), (tg.ones(6), (2, 3)), (tg.ones(6), (3, 2)))


def test_arguments_that_may_change_are_not_planned():
    scale = {"by": 2.0}
    with pytest.warns(UserWarning, match="neither a tensor nor a number, text or tuple"):
        compiled = compare(lambda a, b: a * b["by"], (tg.ones(2), scale))
    scale["by"] = 3.0
    np.testing.assert_array_equal(compiled(tg.ones(2), scale).data, [3, 3])
    model = tg.compile(nn.Linear(2, 2))
    with pytest.warns(UserWarning, match="one of the module's own tensors"):
        y = model(model.weight)
    np.testing.assert_allclose(y.data, model.weight.data @ model.weight.data.T + model.bias.data)


class Own(nn.Module):
    """Tensors and arrays that are no buffers."""

    def __init__(self):
        super().__init__()
        self.tensor, self.array = tg.ones(3), np.ones(3, np.float32)

    def forward(self, x):
        return x * self.tensor + Tensor(self.array)


def test_tensors_and_arrays_of_the_users_own_are_looked_up():
    model, x = tg.compile(Own()), tg.ones(3)
    for change in (
        lambda: None,
        lambda: model.tensor.mul_(2),
        lambda: setattr(model, "tensor", tg.full((3,), 7.0)),
        lambda: setattr(model.tensor, "data", np.full(3, 9, np.float32)),
        lambda: model.array.fill(5),
        lambda: setattr(model, "array", np.full(3, 4, np.float32)),
    ):
        change()
        for _ in range(4):
            expected = model.tensor.data + model.array
            np.testing.assert_array_equal(model(x).data, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, 7])
def test_no_image_and_one_image(n, dtype):
    eager, planned = pair()
    for model in (eager, planned):
        model.to(dtype).eval()
    x = Tensor(np.random.default_rng(0).standard_normal((n, 1, 8, 8)).astype(dtype))
    for _ in range(CALLS):
        with no_grad():
            found = planned(x)
        same([found.data], [eager(x).data], 1e-5 if dtype == np.float32 else 1e-12)
        assert found.shape == (n, 3, 2)


def test_what_comes_in_can_go_out():
    weight = tg.randn(3, 3, requires_grad=True)

    def function(x):
        y = (x @ weight).relu()
        return x, weight, y, y, y[0], y.T.reshape(-1), y.detach()

    compiled = tg.compile(function)
    for seed in range(CALLS):
        x = Tensor(images(seed).data.reshape(-1)[:9].reshape(3, 3), requires_grad=True)
        results = []
        for f in (function, compiled):
            x.grad = weight.grad = None
            outputs = f(x)
            sum((out * out * (i + 1)).sum() for i, out in enumerate(outputs)).backward()
            arrays = [x.grad.data, weight.grad.data, *(out.data for out in outputs)]
            results.append([array.copy() for array in arrays])
        same(*results)
        assert outputs[0] is x
        assert outputs[1] is weight
        assert outputs[2] is outputs[3]
        assert not outputs[6].requires_grad
    assert [signature.why for signature in compiled.plans.values()] == [None]


@pytest.mark.parametrize(
    "view",
    [lambda x, w: x.T, lambda x, w: x * w[0], lambda x, w: w[0]],
    ids=["argument", "new", "global"],
)
def test_a_view_of_what_comes_in_stays_one(view):
    weight = tg.ones(3, 3)
    compiled = tg.compile(lambda x: view(x, weight))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*returns a view of an argument or of a param")
        for _ in range(CALLS):
            weight.data[...], x = 1, tg.ones(3, 3)
            compiled(x)[0] = 5.0
            wanted, y = tg.ones(3, 3), tg.ones(3, 3)
            view(y, wanted)[0] = 5.0
            same([x.data, weight.data], [y.data, wanted.data])


def test_outputs_keep_their_dtypes_and_are_written_apart():
    def function(x, n):
        return [x * 2, x.exp(), n * 2, x.to(np.float64).sum()]

    compiled = tg.compile(function)
    for seed in range(CALLS):
        results = []
        for f in (function, compiled):
            x = Tensor(np.full(3, seed, np.float32), requires_grad=True)
            a, b, twice, total = f(x, tg.tensor([1, 2]))
            loss = (b * b).sum()  # which saves b
            a += 1
            (loss + (a * a).sum() + total).backward()
            results.append([x.grad.data, a.data, b.data, twice.data, total.data])
        same(*results)
        assert [y.dtype for y in results[0]] == [y.dtype for y in results[1]]
    assert type(compiled(x, twice)) is list


def stopped(x, fc):
    return fc(x) * fc(x).detach() + fc(x.detach())


def without(x, fc):
    with no_grad():
        a = fc(x)
    y = fc(x) * a
    return y.relu() + a


def data(x, fc):
    return fc(x) * Tensor(fc(x).data) + fc.weight.detach().sum() * fc.bias


def nothing(x, fc):
    with no_grad():
        return fc(x)


def one_of_two(x, fc):
    y = fc(x)
    return y * 2, y.detach() * 3


@pytest.mark.parametrize("function", [stopped, without, data, nothing, one_of_two])
def test_gradients_stop_where_they_are_stopped(function):
    tg.manual_seed(0)
    fc = nn.Linear(4, 4)
    compiled = tg.compile(lambda x: function(x, fc))
    for seed in range(CALLS):
        results = []
        for f in (lambda x: function(x, fc), compiled):
            fc.zero_grad()
            x = Tensor(np.random.default_rng(seed).standard_normal((2, 4)).astype(np.float32))
            y = f(x.requires_grad_())
            ys = y if isinstance(y, tuple) else (y,)
            asked = [y.requires_grad for y in ys]
            if any(asked):
                sum(y.sum() for y in ys).backward()
            grads = [t.grad for t in (x, *fc.parameters())]
            results.append((asked, [y.data for y in ys], grads))
        (ours, ys, grads), (theirs, wanted, others) = results[::-1]
        assert ours == theirs
        same(ys, wanted)
        assert [g is None for g in grads] == [g is None for g in others]
        same([g.data for g in grads if g is not None], [g.data for g in others if g is not None])
        with no_grad():
            compiled(x)
    assert [signature.why for signature in compiled.plans.values()] == [None, None]


@pytest.mark.parametrize("how", ["once", "twice", "again recorded"])
def test_what_leads_to_unused_outputs_gets_no_gradient(how):
    tg.manual_seed(0)
    trunk, left, right = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, 2)

    def function(x):
        h = trunk(x).tanh()
        return left(h), right(h), h

    compiled = tg.compile(function)
    for i in range(CALLS):
        results = []
        for f in (function, compiled):
            parameters = [*trunk.parameters(), *left.parameters(), *right.parameters()]
            for p in parameters:
                p.grad = None
            x = Tensor(images(i).data.reshape(-1, 4), requires_grad=True)
            loss = (f(x)[i % 2] ** 2).sum()
            if how == "again recorded":
                (dx,) = grad(loss, x, create_graph=True)
                (dx * dx).sum().backward()
            else:
                loss.backward(retain_graph=how == "twice")
            if how == "twice":
                loss.backward()
            results.append([p.grad for p in parameters])
        for ours, theirs in zip(*results[::-1], strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                same([ours.data], [theirs.data], 1e-4)


def test_freezing_between_the_first_two_calls():
    eager, planned = pair()
    for i in range(12):
        for model in (eager, planned):
            model.a.weight.requires_grad_(i % 3 != 1)
            model.fc.bias.requires_grad_(i % 4 != 2)
            model.zero_grad()
            tg.manual_seed(i)
            model(images(i)).sum().backward()
        for p, q in zip(planned.parameters(), eager.parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None:
                same([p.grad.data], [q.grad.data], 1e-4)


def test_estimates_move_while_an_evaluation_is_held():
    eager, planned = pair()
    results = []
    for model in (eager, planned):
        found = []
        for i in range(CALLS):
            model.eval()
            y = model(images(i))
            model.train()
            tg.manual_seed(i)
            model(images(i + 9))  # moves them
            model.zero_grad()
            y.sum().backward(retain_graph=True)
            once = model.a.weight.grad.data.copy()
            y.sum().backward()  # by the operations, with the estimates as they were
            found += [once, model.a.weight.grad.data - once, model.norm_a.running_mean.data.copy()]
        results.append(found)
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * max(1, np.abs(theirs).max()))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-4)


def test_functional_call_uses_what_it_is_given():
    eager, planned = pair()
    for model in (eager, planned):
        model.eval()
    given = {name: Tensor(array * 2) for name, array in eager.state_dict().items()}
    for i in range(CALLS):
        ours, theirs = (tg.func.functional_call(m, given, (images(i),)) for m in (planned, eager))
        same([ours.data, planned(images(i)).data], [theirs.data, eager(images(i)).data])


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("layout", ["NCHW", "HWNC"])
def test_one_image_through_every_convolution(size, layout):
    tg.manual_seed(0)
    convs = [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 5, stride=2, padding=2, bias=False),
             nn.Conv2d(3, 4, (1, 3), dilation=2), nn.Conv2d(3, 3, 3, padding=1)]  # fmt: skip

    def function(x):
        y = convs[0](x).relu()
        outputs = [F.max_pool2d(y, 2), convs[1](x), convs[2](x), (convs[3](x) + x).relu()]
        outputs += [F.max_pool2d(convs[0](x + 1).relu(), 2)]  # taken together
        return [*outputs, convs[3](x.relu()), y]

    compiled = tg.compile(function)
    with no_grad():
        for seed in range(CALLS):
            array = np.random.default_rng(seed).standard_normal((1, 3, size, size))
            x = Tensor(array.astype(np.float32))
            if layout == "HWNC":
                x = x.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)
            found = [y.data for y in compiled(x)]
            same(found, [y.data for y in function(x)])
            if seed == 2:
                convs[0].weight.data *= 2


@pytest.mark.parametrize("name", ["cnn", "cnn-bn", "mlp-deep"])
def test_evaluation_between_epochs_of_a_sequential(name):
    recipe = RECIPES[name]
    tg.manual_seed(0)
    model, twin = recipe.build(), recipe.build()
    tg.compile(model)
    optimizer = recipe.optimizer(model.parameters(), recipe.lr)
    x = tg.randn(4, 1, 28, 28)
    for _ in range(3):  # several calls in each mode before the weights move on
        model.eval()
        twin.eval()
        twin.load_state_dict(model.state_dict())
        with no_grad():
            for _ in range(3):
                same([model(x).data], [twin(x).data], 1e-4)
        model.train()
        for _ in range(3):
            optimizer.zero_grad()
            recipe.loss(model(x), tg.tensor(np.arange(4))).backward()
            optimizer.step()
    assert all(signature.why is None for signature in model._compiled.plans.values())
