"""Every optimizer with every option against torch.optim, and what PyTorch doesn't promise."""

from __future__ import annotations

import json
from copy import deepcopy

import numpy as np
import pytest
import torch

import tinygrad_fm as tg
from tinygrad_fm import no_grad, optim
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.nn import Parameter

SHAPES = [(6, 5), (5,), (), (3, 2, 2, 2)]
OPTIONS = {
    "SGD": [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.9, "nesterov": True},
        {"weight_decay": 0.05},
        {"maximize": True},
        {"momentum": 0.8, "weight_decay": 0.05, "nesterov": True, "maximize": True},
        {"momentum": 0.8, "weight_decay": 0.05, "dampening": -0.5, "maximize": True},
    ],
    "Adam": [
        {},
        {"betas": (0.5, 0.7)},
        {"betas": (0.0, 0.0)},
        {"eps": 1e-3},
        {"weight_decay": 0.05},
        {"amsgrad": True},
        {"maximize": True},
        {"decoupled_weight_decay": True, "weight_decay": 0.05},
        {"weight_decay": 0.05, "amsgrad": True, "maximize": True},
    ],
    "AdamW": [
        {},
        {"weight_decay": 0.0},
        {"weight_decay": 0.5, "amsgrad": True, "maximize": True, "eps": 1e-3},
    ],
    "RMSprop": [
        {},
        {"alpha": 0.5},
        {"eps": 1e-3},
        {"weight_decay": 0.05},
        {"momentum": 0.9},
        {"centered": True},
        {"maximize": True},
        {"momentum": 0.8, "centered": True, "weight_decay": 0.05, "maximize": True},
    ],
    "Adagrad": [
        {},
        {"lr_decay": 0.1},
        {"weight_decay": 0.05},
        {"initial_accumulator_value": 0.5},
        {"eps": 1e-2},
        {"maximize": True},
        {"lr_decay": 0.1, "weight_decay": 0.05, "initial_accumulator_value": 2.0, "maximize": True},
    ],
    "Adadelta": [
        {},
        {"rho": 0.5},
        {"eps": 1e-2},
        {"weight_decay": 0.05},
        {"maximize": True},
        {"rho": 0.99, "weight_decay": 0.05, "maximize": True},
    ],
}
CASES = [pytest.param(name, o, id=f"{name}-{o}") for name in OPTIONS for o in OPTIONS[name]]
MOST_STATE = [
    ("SGD", {"momentum": 0.9}),
    ("SGD", {}),
    ("Adam", {"amsgrad": True}),
    ("AdamW", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("Adagrad", {"lr_decay": 0.1}),
    ("Adadelta", {}),
]


def start_values(dtype="float64"):
    rng = np.random.default_rng(0)
    return [np.asarray(rng.standard_normal(shape), dtype=dtype) for shape in SHAPES]


def two_groups(params, options):
    second = {"params": params[2:], "lr": 0.03, "weight_decay": 0.01}
    return [{"params": params[:2]}, second], {"lr": 0.02, **options}


def make_ours(name, options, values):
    params = [Parameter(np.array(v, order="F")) for v in values]  # any memory layout will do
    groups, options = two_groups(params, options)
    return getattr(optim, name)(groups, **options), params


def make_theirs(name, options, values):
    params = [torch.nn.Parameter(torch.tensor(v)) for v in values]
    groups, options = two_groups(params, options)
    return getattr(torch.optim, name)(groups, **options), params


def gradients(steps, first=0, dtype="float64"):
    """For each step one gradient per parameter, or None: one skips steps, one starts late."""
    for step in range(first, first + steps):
        rng = np.random.default_rng([7, step])
        grads = [np.asarray(rng.standard_normal(shape), dtype=dtype) for shape in SHAPES]
        if step % 7 == 3:
            grads[1] = None
        if step < 10:
            grads[3] = None
        yield grads


def run_ours(optimizer, params, all_grads):
    for grads in all_grads:
        for p, g in zip(params, grads, strict=True):
            p.grad = None if g is None else Tensor(g)
            if g is not None:
                g.setflags(write=False)  # an optimizer that writes into a gradient fails here
        optimizer.step()


def run_theirs(optimizer, params, all_grads):
    for grads in all_grads:
        for p, g in zip(params, grads, strict=True):
            p.grad = None if g is None else torch.tensor(g)
        optimizer.step()


def ours_to_torch(state_dict):
    def convert(value):
        return torch.tensor(value) if isinstance(value, np.ndarray) else value

    state = {i: {k: convert(v) for k, v in s.items()} for i, s in state_dict["state"].items()}
    return {"state": state, "param_groups": deepcopy(state_dict["param_groups"])}


def torch_to_ours(state_dict):
    def convert(value):
        return value.numpy().copy() if isinstance(value, torch.Tensor) else value

    state = {i: {k: convert(v) for k, v in s.items()} for i, s in state_dict["state"].items()}
    return {"state": state, "param_groups": deepcopy(state_dict["param_groups"])}


def assert_same(params, expected, rtol=1e-10, atol=1e-12):
    for p, e in zip(params, expected, strict=True):
        e = e.detach().numpy() if isinstance(e, torch.Tensor) else e.data
        assert p.data.dtype == e.dtype
        np.testing.assert_allclose(p.data, e, rtol=rtol, atol=atol)


# ------------------------------------------------------------------------------- against PyTorch


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"), [("float64", 1e-10, 1e-12), ("float32", 1e-3, 1e-4)]
)
def test_trajectory(name, options, dtype, rtol, atol):
    ours, params = make_ours(name, options, start_values(dtype))
    theirs, expected = make_theirs(name, options, start_values(dtype))
    for first in range(0, 100, 10):
        run_ours(ours, params, gradients(10, first, dtype))
        run_theirs(theirs, expected, gradients(10, first, dtype))
        assert_same(params, expected, rtol, atol)
    buffers = [v for s in ours.state.values() for v in s.values() if isinstance(v, np.ndarray)]
    assert all(b.dtype == dtype for b in buffers)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_state_moves_to_torch_and_from_torch_mid_run(name, options):
    ours, params = make_ours(name, options, start_values())
    theirs, expected = make_theirs(name, options, start_values())
    run_ours(ours, params, gradients(50))
    run_theirs(theirs, expected, gradients(50))

    # Options that differ from the saved ones show that the groups are loaded too.
    ours_2, params_2 = make_ours(name, {"lr": 9.0}, [p.detach().numpy() for p in expected])
    theirs_2, expected_2 = make_theirs(name, {"lr": 9.0}, [p.data for p in params])
    ours_2.load_state_dict(torch_to_ours(theirs.state_dict()))
    theirs_2.load_state_dict(ours_to_torch(ours.state_dict()))

    run_ours(ours_2, params_2, gradients(50, 50))
    run_theirs(theirs_2, expected_2, gradients(50, 50))
    run_theirs(theirs, expected, gradients(50, 50))
    assert_same(params_2, expected)
    assert_same(params_2, expected_2)


@pytest.mark.parametrize(("name", "options"), MOST_STATE)
def test_state_moves_both_ways_before_the_first_step(name, options):
    ours, params = make_ours(name, options, start_values())
    theirs, expected = make_theirs(name, options, start_values())
    saved = ours.state_dict()
    ours.load_state_dict(torch_to_ours(theirs.state_dict()))
    theirs.load_state_dict(ours_to_torch(saved))
    run_ours(ours, params, gradients(20))
    run_theirs(theirs, expected, gradients(20))
    assert_same(params, expected)


@pytest.mark.parametrize("name", OPTIONS)
def test_defaults_and_argument_order(name):
    params = start_values()
    ours = getattr(optim, name)([Parameter(v) for v in params])
    theirs = getattr(torch.optim, name)([torch.nn.Parameter(torch.tensor(v)) for v in params])
    assert ours.defaults.items() <= theirs.defaults.items()
    not_ours = {"foreach", "fused", "capturable", "differentiable"}
    assert theirs.defaults.keys() - ours.defaults.keys() <= not_ours


# --------------------------------------------------------------------------------- state dicts


@pytest.mark.parametrize(("name", "options"), MOST_STATE)
def test_resumed_run_has_the_same_bits(name, options):
    whole, whole_params = make_ours(name, options, start_values("float32"))
    run_ours(whole, whole_params, gradients(150, dtype="float32"))

    part, params = make_ours(name, options, start_values("float32"))
    run_ours(part, params, gradients(70, dtype="float32"))
    resumed, params = make_ours(name, options, [p.data for p in params])
    resumed.load_state_dict(part.state_dict())
    run_ours(resumed, params, gradients(80, 70, dtype="float32"))
    for p, q in zip(params, whole_params, strict=True):
        np.testing.assert_array_equal(p.data, q.data)
        for key, value in whole.state[q].items():
            np.testing.assert_array_equal(resumed.state[p][key], value)


@pytest.mark.parametrize(("name", "options"), MOST_STATE)
def test_all_but_the_buffers_is_json(name, options):
    ours, params = make_ours(name, {**options, "lr": np.float32(0.5)}, start_values())
    run_ours(ours, params, gradients(3))
    saved = ours.state_dict()
    rest = {
        index: {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
        for index, state in saved["state"].items()
    }
    json.dumps([rest, saved["param_groups"]])
    assert [group["params"] for group in saved["param_groups"]] == [[0, 1], [2, 3]]


def test_loading_copies_the_buffers():
    a, params = make_ours("Adam", {}, start_values())
    run_ours(a, params, gradients(3))
    b, _ = make_ours("Adam", {}, start_values())
    b.load_state_dict(a.state_dict())
    before = b.state_dict()["state"][0]["exp_avg"].copy()
    run_ours(a, params, gradients(3))
    np.testing.assert_array_equal(b.state_dict()["state"][0]["exp_avg"], before)


def test_adamw_stays_decoupled_when_adams_state_is_loaded():
    adam, _ = make_ours("Adam", {}, start_values())
    adamw, _ = make_ours("AdamW", {}, start_values())
    adamw.load_state_dict(adam.state_dict())
    assert all(group["decoupled_weight_decay"] for group in adamw.param_groups)


def damaged(state_dict, damage):
    """A state dict with one fault, and what the error should say."""
    if damage == "key":
        del state_dict["state"]
        return "no .'state'"
    if damage == "group":
        state_dict["param_groups"].pop()
        return r"sizes \[2\], this optimizer of \[2, 2\]"
    if damage == "size":
        state_dict["param_groups"][1]["params"].append(4)
        return r"sizes \[2, 3\]"
    if damage == "shape":
        state_dict["state"][1]["exp_avg"] = np.zeros(4)
        return r"exp_avg of parameter 1 has shape \(4,\), the parameter \(5,\)"
    state_dict["state"][8] = {}
    return r"state for \[8\]"


@pytest.mark.parametrize("damage", ["key", "group", "size", "shape", "index"])
def test_a_state_dict_that_does_not_fit_changes_nothing(damage):
    ours, params = make_ours("Adam", {}, start_values())
    run_ours(ours, params, gradients(20))
    bad = deepcopy(ours.state_dict())
    message = damaged(bad, damage)
    before = deepcopy(ours.state_dict())
    with pytest.raises(ValueError, match=message):
        ours.load_state_dict(bad)
    after = ours.state_dict()
    assert after["param_groups"] == before["param_groups"]
    np.testing.assert_equal(after["state"], before["state"])


# --------------------------------------------------------------------------------------- errors


def parameter():
    return Parameter(np.ones(3, dtype=np.float32))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": -1.0}),
        ("SGD", {"lr": float("nan")}),
        ("SGD", {"momentum": -0.1}),
        ("SGD", {"weight_decay": -0.1}),
        ("SGD", {"nesterov": True}),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
        ("Adam", {"lr": -1.0}),
        ("Adam", {"eps": -1.0}),
        ("Adam", {"betas": (1.0, 0.9)}),
        ("Adam", {"betas": (0.9, -0.1)}),
        ("Adam", {"weight_decay": -1.0}),
        ("AdamW", {"weight_decay": -1.0}),
        ("RMSprop", {"lr": -1.0}),
        ("RMSprop", {"alpha": -1.0}),
        ("RMSprop", {"eps": -1.0}),
        ("RMSprop", {"momentum": -1.0}),
        ("RMSprop", {"weight_decay": -1.0}),
        ("Adagrad", {"lr": -1.0}),
        ("Adagrad", {"lr_decay": -1.0}),
        ("Adagrad", {"weight_decay": -1.0}),
        ("Adagrad", {"initial_accumulator_value": -1.0}),
        ("Adagrad", {"eps": -1.0}),
        ("Adadelta", {"lr": -1.0}),
        ("Adadelta", {"rho": 1.5}),
        ("Adadelta", {"eps": -1.0}),
        ("Adadelta", {"weight_decay": -1.0}),
    ],
)
def test_options_that_torch_refuses_are_refused(name, options):
    culprit = "beta" if "betas" in options else next(iter(options))
    with pytest.raises(ValueError, match=culprit):
        getattr(optim, name)([parameter()], **options)
    if options.get("lr") == options.get("lr"):  # PyTorch lets NaN pass
        with pytest.raises(ValueError):
            getattr(torch.optim, name)([torch.nn.Parameter(torch.ones(3))], **options)


def test_parameters_that_cannot_be_optimized():
    p = parameter()
    with pytest.raises(ValueError, match="no parameters"):
        optim.SGD([])
    with pytest.raises(ValueError, match="no parameters"):
        optim.SGD(iter(()))
    with pytest.raises(TypeError, match="got one tensor"):
        optim.SGD(p)
    with pytest.raises(TypeError, match="got ndarray"):
        optim.SGD([np.ones(3)])
    with pytest.raises(TypeError, match='the key "params"'):
        optim.SGD([{"lr": 0.1}])
    with pytest.raises(ValueError, match="leaf"):
        optim.SGD([p * 2.0])
    with pytest.raises(ValueError, match="appears twice"):
        optim.SGD([p, p])
    with pytest.raises(ValueError, match="appears twice"):
        optim.SGD([{"params": [p]}, {"params": p}])


# ---------------------------------------------------------------------------- the walk itself


def test_add_param_group_and_repr():
    first, second = parameter(), parameter()
    group = {"params": second, "lr": 0.5}
    optimizer = optim.SGD([first], lr=0.1)
    optimizer.add_param_group(group)
    assert group == {"params": second, "lr": 0.5}, "the caller's dict stays as it was"
    for p in (first, second):
        p.grad = Tensor(np.ones(3, dtype=np.float32))
    optimizer.step()
    np.testing.assert_allclose(first.data, 0.9, rtol=1e-6)
    np.testing.assert_allclose(second.data, 0.5, rtol=1e-6)
    assert "(1): 1 parameters, lr=0.5" in repr(optimizer)


def step_of_a_converted_model(lib, name, **options):
    """One step with float32, one after the model was made float64."""
    model = lib.nn.Linear(2, 1)
    for p in model.parameters():
        p.data = p.data * 0 + 0.3
    optimizer = getattr(lib.optim, name)(model.parameters(), **options)
    model(lib.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    model.double()
    model(lib.full((1, 2), 1e-9, dtype=lib.float64)).sum().backward()
    optimizer.step()
    return model.weight.tolist()


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "Adadelta", "SGD"])
def test_state_of_another_dtype_than_the_parameter_is_refused(name):
    options = {"momentum": 0.9} if name == "SGD" else {}
    with pytest.raises(TypeError, match=r" is float32, the parameter now float64; convert"):
        step_of_a_converted_model(tg, name, **options)


def test_without_state_a_model_may_be_converted_between_steps():
    ours, theirs = (step_of_a_converted_model(lib, "SGD", lr=0.1) for lib in (tg, torch))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_zero_grad():
    p, without = parameter(), parameter()
    optimizer = optim.SGD([p, without])
    p.grad = Tensor(np.ones(3, dtype=np.float32))
    optimizer.zero_grad(set_to_none=False)
    np.testing.assert_array_equal(p.grad.data, np.zeros(3))
    assert without.grad is None
    optimizer.zero_grad()
    assert p.grad is None


def test_closure_is_called_before_the_update():
    p = parameter()
    optimizer = optim.SGD([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3.0
    np.testing.assert_allclose(p.data, 0.8, rtol=1e-6)
    with no_grad():
        optimizer.step(closure)
    np.testing.assert_allclose(p.data, 0.64, rtol=1e-6)
    assert optimizer.step() is None


def test_updates_are_in_place():
    p = parameter()
    array = p.data
    optimizer = optim.Adam([p])
    p.grad = Tensor(np.ones(3, dtype=np.float32))
    optimizer.step()
    assert p.data is array
    assert (array < 1).all()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_live_graph_keeps_its_values(name):
    rng = np.random.default_rng(0)
    x, w = Parameter(rng.standard_normal((4, 3))), Parameter(rng.standard_normal((3, 2)))
    seen = w.data.copy()
    loss = (x @ w).sum()  # saves w
    w.grad = Tensor(np.ones((3, 2)))
    getattr(optim, name)([w], lr=0.1, weight_decay=0.1).step()
    assert not np.array_equal(w.data, seen)
    loss.backward()
    np.testing.assert_allclose(x.grad.data, np.ones((4, 2)) @ seen.T)


# ------------------------------------------------------------------------------------ denormals


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.8}),
        ("SGD", {"weight_decay": 2.0}),
        ("Adam", {"betas": (0.6, 0.8), "amsgrad": True}),
        ("AdamW", {"betas": (0.5, 0.7), "weight_decay": 5.0}),
        ("RMSprop", {"alpha": 0.7, "momentum": 0.6, "centered": True}),
        ("Adadelta", {"rho": 0.6}),
    ],
)
def test_no_denormals_are_left_when_gradients_vanish(name, options, dtype):
    value = np.linspace(0.5, 1.5, 7, dtype=dtype)
    p, q = Parameter(value.copy()), torch.nn.Parameter(torch.tensor(value))
    ours = getattr(optim, name)([p], lr=0.1, **options)
    theirs = getattr(torch.optim, name)([q], lr=0.1, **options)

    def denormals(arrays):
        tiny = np.finfo(dtype).tiny
        return sum(int(((a != 0) & (np.abs(a) < tiny)).sum()) for a in arrays)

    met = 0
    for step in range(1500 if dtype == "float32" else 4000):
        grad = value if step < 3 else np.zeros_like(value)
        p.grad, q.grad = Tensor(grad), torch.tensor(grad)
        ours.step()
        theirs.step()
        if step % 10 == 0:
            met += denormals([q.detach().numpy(), *(b.numpy() for b in theirs.state[q].values())])
    assert met > 0, "the case must reach the denormal range without a guard"
    buffers = [b for b in ours.state[p].values() if isinstance(b, np.ndarray)]
    assert denormals([p.data, *buffers]) == 0
    np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-5, atol=1e-29)


class Plain(optim.Optimizer):
    """p = p - lr · g, with no other option than those that are given."""

    def _update(self, p, g, state, group, scratch):
        p -= group["lr"] * g


@pytest.mark.parametrize(
    ("options", "end"), [({}, 0.4), ({"maximize": True}, 1.6), ({"weight_decay": 0.5}, 0.221)]
)
def test_an_optimizer_of_the_users_may_leave_options_out(options, end):
    p = Parameter(np.ones(1))
    optimizer = Plain([p], {"lr": 0.6 / 70, **options})
    for _ in range(70):  # beyond the 64th step, which looks for denormals
        p.grad = Tensor(np.ones(1))
        optimizer.step()
    np.testing.assert_allclose(p.data, end, rtol=1e-3)
