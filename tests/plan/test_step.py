"""A whole step as one plan: backward and the optimizer inside a compiled function."""

import warnings

import numpy as np
import pytest

import tinygrad_fm
from tinygrad_fm import nn, optim, tensor
from tinygrad_fm.nn.utils import clip_grad_norm_
from tinygrad_fm.plan.compiled import Compiled

OPTIMIZERS = {
    "sgd": lambda params: optim.SGD(params, lr=0.1, momentum=0.9),
    "adam": lambda params: optim.Adam(params, lr=0.01),
    "rmsprop": lambda params: optim.RMSprop(params, lr=0.01),
}


def network():
    tinygrad_fm.manual_seed(3)
    layers = [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)]
    return nn.Sequential(*layers)


def batches(count=5, rows=4):
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield tensor(rng.standard_normal((rows, 6), np.float32)), tensor(rng.integers(0, 3, rows))


def trained(body, compiled, optimizer="sgd", model=None, count=6):
    """The weights after some steps of a function made by `body(model, loss, optimizer)`."""
    model = model or network()
    step = body(model, nn.CrossEntropyLoss(), OPTIMIZERS[optimizer](model.parameters()))
    step = tinygrad_fm.compile(step) if compiled else step
    tinygrad_fm.manual_seed(5)
    results = [step(x, y) for x, y in batches(count)]
    values = [t.data.copy() for t in (*model.parameters(), *model.buffers())]
    grads = [None if p.grad is None else p.grad.data.copy() for p in model.parameters()]
    return step, results, values, grads


def check(body, planned, **options):
    """Planned or not, a step does the same."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step, results, values, grads = trained(body, True, **options)
    _, expected_results, expected, expected_grads = trained(body, False, **options)
    for mine, theirs in zip(values, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(grads, expected_grads, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    for mine, theirs in zip(results, expected_results, strict=True):
        assert type(mine) is type(theirs)
        if mine is not None:
            many = isinstance(mine, tuple)
            for a, b in zip(mine, theirs, strict=True) if many else [(mine, theirs)]:
                np.testing.assert_allclose(a.data, b.data, rtol=1e-5, atol=1e-6)
    why = [str(warning.message) for warning in caught if "not planned" in str(warning.message)]
    assert isinstance(step, Compiled)
    assert bool(why) is not planned, why
    return why


def ordinary(model, loss_fn, optimizer):
    def step(x, y):
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def zeroed_first(model, loss_fn, optimizer):
    def step(x, y):
        model.zero_grad()
        scores = model(x)
        loss = loss_fn(scores, y)
        loss.backward()
        optimizer.step()
        return loss, scores

    return step


def zeroed_last_and_nothing_returned(model, loss_fn, optimizer):
    def step(x, y):
        loss_fn(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def never_zeroed(model, loss_fn, optimizer):
    def step(x, y):
        loss_fn(model(x), y).backward()
        optimizer.step()

    return step


def clipped_with_a_schedule(model, loss_fn, optimizer):
    schedule = optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)

    def step(x, y):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        schedule.step()
        return loss

    return step


def two_optimizers(model, loss_fn, optimizer):
    other = optim.SGD(model[0].parameters(), lr=0.01)

    def step(x, y):
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        optimizer.step()
        other.step()

    return step


def measured_behind_backward(model, loss_fn, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        scores = model(x)
        loss_fn(scores, y).backward()
        optimizer.step()
        return (scores.argmax(dim=1) == y).sum()

    return step


PLANNED = [
    ordinary,
    zeroed_first,
    zeroed_last_and_nothing_returned,
    never_zeroed,
    clipped_with_a_schedule,
    two_optimizers,
    measured_behind_backward,
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("body", PLANNED, ids=lambda body: body.__name__)
def test_a_planned_step_does_what_an_ordinary_one_does(body, optimizer):
    check(body, planned=True, optimizer=optimizer)


# ------------------------------------------------------------------------------ not planned


def reads_the_loss(model, loss_fn, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        total = loss.item()
        optimizer.step()
        return tensor(total)

    return step


def reads_a_gradient(model, loss_fn, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        for p in model.parameters():
            p.grad.data[...] = np.sign(p.grad.data)
        optimizer.step()

    return step


def multiplies_a_gradient(model, loss_fn, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        for p in model.parameters():
            p.grad *= 0.5
        optimizer.step()

    return step


def sets_a_gradient(model, loss_fn, optimizer):
    def step(x, y):
        loss_fn(model(x), y).backward()
        optimizer.step()
        for p in model.parameters():
            p.grad = None

    return step


def sets_a_gradient_first(model, loss_fn, optimizer):
    def step(x, y):
        for p in model.parameters():
            p.grad = None
        loss_fn(model(x), y).backward()
        optimizer.step()

    return step


def sets_a_gradient_between(model, loss_fn, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        model[0].weight.grad = tensor(np.ones((8, 6), np.float32))
        optimizer.step()

    return step


def clamps_weights(model, loss_fn, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        optimizer.step()
        with tinygrad_fm.no_grad():
            for p in model.parameters():
                p.clamp_(-0.3, 0.3)

    return step


def steps_before_backward(model, loss_fn, optimizer):
    def step(x, y):
        loss = loss_fn(model(x), y)
        optimizer.step()
        optimizer.zero_grad()
        loss.backward()

    return step


def computes_after_the_step(model, loss_fn, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        optimizer.step()
        return loss_fn(model(x), y)

    return step


def takes_two_steps(model, loss_fn, optimizer):
    def step(x, y):
        for _ in range(2):
            optimizer.zero_grad()
            loss_fn(model(x), y).backward()
            optimizer.step()

    return step


def reads_the_norm(model, loss_fn, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        norm = clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        return norm * 2

    return step


def clips_and_reads_the_loss(model, loss_fn, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.item()
        loss.backward()
        clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()

    return step


def keeps_the_graph(model, loss_fn, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward(retain_graph=True)
        loss.backward()
        optimizer.step()

    return step


def with_a_closure(model, loss_fn, optimizer):
    def step(x, y):
        def closure():
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            return loss

        return optimizer.step(closure)

    return step


def makes_its_optimizer(model, loss_fn, optimizer):
    def step(x, y):
        mine = optim.SGD(model.parameters(), lr=0.1)
        mine.zero_grad()
        loss_fn(model(x), y).backward()
        mine.step()

    return step


NOT_PLANNED = [
    reads_the_loss,
    reads_a_gradient,
    multiplies_a_gradient,
    sets_a_gradient,
    sets_a_gradient_first,
    sets_a_gradient_between,
    clamps_weights,
    steps_before_backward,
    computes_after_the_step,
    takes_two_steps,
    reads_the_norm,
    clips_and_reads_the_loss,
    keeps_the_graph,
    with_a_closure,
    makes_its_optimizer,
]


@pytest.mark.parametrize("body", NOT_PLANNED, ids=lambda body: body.__name__)
def test_what_cannot_be_planned_runs_as_ever(body):
    check(body, planned=False)


def test_weights_written_by_numpy_are_noticed():
    def body(model, loss_fn, optimizer):
        def step(x, y):
            optimizer.zero_grad()
            loss_fn(model(x), y).backward()
            model[0].weight.data *= 0.5

        return step

    (why,) = check(body, planned=False)
    assert "writes into a parameter or buffer" in why


def test_an_error_behind_backward_leaves_the_gradients():
    model = network()

    @tinygrad_fm.compile
    def step(x, y):
        nn.functional.cross_entropy(model(x), y).backward()
        raise ZeroDivisionError

    for x, y in batches(2):
        with pytest.raises(ZeroDivisionError):
            step(x, y)
    assert all(type(p.grad) is tinygrad_fm.Tensor for p in model.parameters())


# ------------------------------------------------------------------------------ what users hold


def test_gradients_and_results_that_are_held_stay_as_they_are():
    model = network()
    step = tinygrad_fm.compile(
        zeroed_first(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    )
    held = []
    for x, y in batches(5):
        loss, scores = step(x, y)
        held += [(t, t.data.copy()) for t in (loss, scores, *(p.grad for p in model.parameters()))]
    for now, before in held:
        np.testing.assert_array_equal(now.data, before)


def test_hooks_of_parameters_see_and_change_gradients():
    def body(model, loss_fn, optimizer):
        model[0].weight.register_hook(lambda grad: grad * 2)
        return ordinary(model, loss_fn, optimizer)

    check(body, planned=True)


def test_a_frozen_parameter_stays_frozen_and_is_thawed():
    def body(model, loss_fn, optimizer):
        count = []

        def step(x, y):
            count.append(0)
            model[0].weight.requires_grad = len(count) > 3
            return inner(x, y)

        inner = ordinary(model, loss_fn, optimizer)
        if planning:
            inner = tinygrad_fm.compile(inner)
        return step

    planning = True
    planned = trained(body, False)[2]
    planning = False
    for mine, theirs in zip(planned, trained(body, False)[2], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_changed_learning_rate_and_loaded_weights_are_seen():
    def run(compiled):
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        step = ordinary(model, nn.CrossEntropyLoss(), optimizer)
        step = tinygrad_fm.compile(step) if compiled else step
        tinygrad_fm.manual_seed(5)
        for i, (x, y) in enumerate(batches(6)):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + i)
            if i == 3:
                model.load_state_dict(network().state_dict())
            step(x, y)
        return [p.data for p in model.parameters()]

    for mine, theirs in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_hook_of_the_model_itself_is_seen():
    model, seen = network(), []
    model.register_forward_hook(lambda module, args, y: seen.append(y.shape))
    f = tinygrad_fm.compile(lambda x: model(x).sum())
    x, _ = next(batches())
    with pytest.warns(UserWarning, match="forward hook"):
        f(x)
    f(x)
    f(x)
    assert len(seen) == 3


def test_a_tensor_with_a_graph_behind_it_gets_its_gradient():
    w = tensor(np.arange(3, dtype=np.float32), requires_grad=True)
    twice = w * 2
    f = tinygrad_fm.compile(lambda x: (x * twice).sum())
    x = tensor(np.ones(3, np.float32))
    f(x).backward(retain_graph=True)
    f(x).backward(retain_graph=True)
    f(x).backward()
    np.testing.assert_array_equal(w.grad.data, [6, 6, 6])


def test_an_argument_with_a_graph_behind_it_gets_its_gradient():
    w = tensor(np.arange(3, dtype=np.float32), requires_grad=True)

    @tinygrad_fm.compile
    def step(x):
        (x * x).sum().backward()

    with pytest.warns(UserWarning, match="what it is given was computed from others"):
        step(w * 2)
    step(w * 2)
    step(w * 2)
    np.testing.assert_array_equal(w.grad.data, 3 * 8 * w.data)


def test_a_variable_with_a_graph_behind_it_gets_its_gradient():
    w = tensor(np.arange(3, dtype=np.float32), requires_grad=True)
    twice = w * 2

    @tinygrad_fm.compile
    def step():
        (twice * twice).sum().backward(retain_graph=True)

    @tinygrad_fm.compile
    def plain():
        (twice * 3).sum().backward()

    with pytest.warns(UserWarning, match="calls backward with arguments"):
        step()
    step()
    with pytest.warns(UserWarning, match="what it is given was computed from others"):
        plain()
    np.testing.assert_array_equal(w.grad.data, 2 * 8 * w.data + 6)


def test_gradients_of_tensors_outside_modules_that_are_set_by_hand():
    w = tensor(np.ones(3, np.float32), requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5)

    @tinygrad_fm.compile
    def step(x):
        w.grad = None
        (w * x).sum().backward()
        optimizer.step()

    x = tensor(np.ones(3, np.float32))
    step(x)
    with pytest.warns(UserWarning, match="sets a gradient"):
        step(x)
    for _ in range(3):
        step(x)
    np.testing.assert_array_equal(w.data, np.full(3, 1 - 5 * 0.5))


def test_what_is_printed_is_printed_in_each_step(capsys):
    model = network()

    @tinygrad_fm.compile
    def step(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        print(loss)

    x, y = next(batches())
    with pytest.warns(UserWarning, match="prints a tensor"):
        step(x, y)
    step(x, y)
    step(x, y)
    assert capsys.readouterr().out.count("Tensor(") == 3
