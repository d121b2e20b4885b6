"""Every schedule against torch.optim.lr_scheduler."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torch_lr

from tinygrad_fm import optim
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.nn import Parameter
from tinygrad_fm.optim import lr_scheduler as our_lr

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")

# `lib` is our module or PyTorch's: each schedule is written once, for both.
SCHEDULES = {
    "step": lambda lib, opt: lib.StepLR(opt, 7),
    "step-gamma": lambda lib, opt: lib.StepLR(opt, step_size=1, gamma=0.97),
    "multistep": lambda lib, opt: lib.MultiStepLR(opt, [5, 20, 20, 70], gamma=0.3),
    "multistep-zero": lambda lib, opt: lib.MultiStepLR(opt, [0, 50]),
    "exponential": lambda lib, opt: lib.ExponentialLR(opt, 0.93),
    "linear": lambda lib, opt: lib.LinearLR(opt),
    "linear-down": lambda lib, opt: lib.LinearLR(opt, 1.0, 0.0, 60),
    "linear-up": lambda lib, opt: lib.LinearLR(opt, 0.01, 0.8, total_iters=33),
    "cosine": lambda lib, opt: lib.CosineAnnealingLR(opt, 100),
    "cosine-waves": lambda lib, opt: lib.CosineAnnealingLR(opt, 13, eta_min=0.003),
    "cosine-fastest": lambda lib, opt: lib.CosineAnnealingLR(opt, T_max=1, eta_min=0.01),
    "one-cycle": lambda lib, opt: lib.OneCycleLR(opt, 0.5, total_steps=100),
    "one-cycle-linear": lambda lib, opt: lib.OneCycleLR(
        opt, 0.5, epochs=11, steps_per_epoch=10, anneal_strategy="linear", pct_start=0.45
    ),
    "one-cycle-three-phases": lambda lib, opt: lib.OneCycleLR(
        opt, [0.5, 0.2], 120, pct_start=0.21, three_phase=True, div_factor=10, final_div_factor=50
    ),
    "one-cycle-momentum": lambda lib, opt: lib.OneCycleLR(
        opt, 0.5, 100, three_phase=True, base_momentum=[0.7, 0.8], max_momentum=[0.9, 0.99]
    ),
    "one-cycle-no-momentum": lambda lib, opt: lib.OneCycleLR(
        opt, 0.5, 100, cycle_momentum=False, pct_start=0.0
    ),
    "warm-up-cosine": lambda lib, opt: lib.SequentialLR(
        opt, [lib.LinearLR(opt, 0.1, total_iters=8), lib.CosineAnnealingLR(opt, 80)], [8]
    ),
    "three-in-a-row": lambda lib, opt: lib.SequentialLR(
        opt,
        [lib.StepLR(opt, 4), lib.ExponentialLR(opt, 0.9), lib.MultiStepLR(opt, [0, 9])],
        milestones=[10, 45],
    ),
    "restarted-linear": lambda lib, opt: lib.SequentialLR(
        opt, [lib.ExponentialLR(opt, 0.8), lib.LinearLR(opt, 0.2), lib.StepLR(opt, 3)], [30, 60]
    ),
    "then-one-cycle": lambda lib, opt: lib.SequentialLR(
        opt, [lib.LinearLR(opt, 0.5), lib.OneCycleLR(opt, 0.4, 90)], [10]
    ),
    "never-first": lambda lib, opt: lib.SequentialLR(
        opt, [lib.LinearLR(opt, 0.5), lib.ExponentialLR(opt, 0.99)], [0]
    ),
    "nested": lambda lib, opt: lib.SequentialLR(
        opt,
        [
            lib.SequentialLR(opt, [lib.LinearLR(opt), lib.ExponentialLR(opt, 0.9)], [5]),
            lib.StepLR(opt, 10),
        ],
        [40],
    ),
}
OPTIMIZERS = ["SGD", "Adam"]  # OneCycleLR moves momentum in the one, beta1 in the other
everywhere = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
with_both_optimizers = pytest.mark.parametrize("name", OPTIMIZERS)


def our_optimizer(name="SGD"):
    first, second = (Parameter(np.ones(2)) for _ in range(2))
    options = {"momentum": 0.9} if name == "SGD" else {}
    groups = [{"params": [first]}, {"params": [second], "lr": 0.02}]
    return getattr(optim, name)(groups, lr=0.1, **options)


def torch_optimizer(name="SGD"):
    first, second = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    options = {"momentum": 0.9} if name == "SGD" else {}
    groups = [{"params": [first]}, {"params": [second], "lr": 0.02}]
    return getattr(torch.optim, name)(groups, lr=0.1, **options)


def snapshot(optimizer):
    """What a schedule may have changed."""
    return [
        (group["lr"], group.get("momentum", 0.0), *group.get("betas", ()))
        for group in optimizer.param_groups
    ]


def walk(optimizer, scheduler, steps):
    """The values before the first step and after each one."""
    values = [snapshot(optimizer)]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        values.append(snapshot(optimizer))
        assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
    return values


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-16)


@everywhere
@with_both_optimizers
def test_hundred_steps(schedule, name):
    ours, theirs = our_optimizer(name), torch_optimizer(name)
    actual = walk(ours, schedule(our_lr, ours), 99)
    assert_close(actual, walk(theirs, schedule(torch_lr, theirs), 99))


@everywhere
@with_both_optimizers
@pytest.mark.parametrize("steps", [3, 40])
def test_state_moves_to_torch_and_from_torch_mid_run(schedule, name, steps):
    ours, theirs = our_optimizer(name), torch_optimizer(name)
    our_scheduler, torch_scheduler = schedule(our_lr, ours), schedule(torch_lr, theirs)
    walk(ours, our_scheduler, steps)
    walk(theirs, torch_scheduler, steps)

    ours_2, theirs_2 = our_optimizer(name), torch_optimizer(name)
    our_scheduler_2, torch_scheduler_2 = schedule(our_lr, ours_2), schedule(torch_lr, theirs_2)
    ours_2.load_state_dict(theirs.state_dict())
    theirs_2.load_state_dict(ours.state_dict())
    our_scheduler_2.load_state_dict(torch_scheduler.state_dict())
    torch_scheduler_2.load_state_dict(our_scheduler.state_dict())

    expected = walk(theirs, torch_scheduler, 99 - steps)
    assert_close(walk(ours_2, our_scheduler_2, 99 - steps), expected)
    assert_close(walk(theirs_2, torch_scheduler_2, 99 - steps), expected)


@everywhere
def test_state_survives_json(schedule):
    ours, resumed = our_optimizer(), our_optimizer()
    scheduler, scheduler_2 = schedule(our_lr, ours), schedule(our_lr, resumed)
    walk(ours, scheduler, 40)
    resumed.load_state_dict(json_copy(ours.state_dict()))
    scheduler_2.load_state_dict(json_copy(scheduler.state_dict()))
    assert walk(resumed, scheduler_2, 59) == walk(ours, scheduler, 59)


def json_copy(state_dict):
    return json.loads(json.dumps(state_dict))


def test_schedules_on_one_optimizer_multiply():
    ours, theirs = our_optimizer(), torch_optimizer()
    runs = []
    for lib, optimizer in ((our_lr, ours), (torch_lr, theirs)):
        schedulers = [
            lib.ExponentialLR(optimizer, 0.95),
            lib.StepLR(optimizer, 6, gamma=0.5),
            lib.LinearLR(optimizer, 0.3, total_iters=9),
        ]
        values = []
        for _ in range(40):
            optimizer.step()
            for scheduler in schedulers:
                scheduler.step()
            values.append(snapshot(optimizer))
        runs.append(values)
    assert_close(*runs)


@pytest.mark.parametrize("last_epoch", [0, 4, 6, 12])
@pytest.mark.parametrize(
    "schedule",
    [
        lambda lib, opt, last: lib.StepLR(opt, 7, last_epoch=last),
        lambda lib, opt, last: lib.MultiStepLR(opt, [5, 30], last_epoch=last),
        lambda lib, opt, last: lib.ExponentialLR(opt, 0.9, last_epoch=last),
        lambda lib, opt, last: lib.LinearLR(opt, 0.5, total_iters=20, last_epoch=last),
        lambda lib, opt, last: lib.CosineAnnealingLR(opt, 30, last_epoch=last),
        lambda lib, opt, last: lib.OneCycleLR(opt, 0.4, 200, last_epoch=last),
    ],
)
def test_last_epoch_goes_on_from_there(schedule, last_epoch):
    ours, theirs = our_optimizer(), torch_optimizer()
    walk(ours, schedule(our_lr, ours, -1), last_epoch)
    walk(theirs, schedule(torch_lr, theirs, -1), last_epoch)
    actual = walk(ours, schedule(our_lr, ours, last_epoch), 40)
    assert_close(actual, walk(theirs, schedule(torch_lr, theirs, last_epoch), 40))


def test_one_cycle_whose_rise_is_a_single_step_starts_at_the_top():
    ours = our_optimizer()  # PyTorch divides by zero here
    values = walk(ours, our_lr.OneCycleLR(ours, 0.5, 10, pct_start=0.1), 9)
    assert values[0][0][0] == 0.5
    assert values[-1][0][0] == pytest.approx(0.5 / 25 / 1e4)


# ------------------------------------------------------------------------------------- plateau


def metrics(mode):
    """A noisy curve that improves, stalls and improves again."""
    rng = np.random.default_rng(3)
    curve = np.concatenate([np.linspace(2, 1, 30), np.full(45, 1.0), np.linspace(1, 0.2, 25)])
    noisy = curve + 0.02 * rng.standard_normal(100)
    return noisy if mode == "min" else -noisy if rng.random() < 0.5 else 3 - noisy


def follow(optimizer, scheduler, values):
    rates = []
    for value in values:
        scheduler.step(value)
        rates.append(scheduler.get_last_lr())
        assert rates[-1] == [group["lr"] for group in optimizer.param_groups]
    return rates


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 3, "factor": 0.5},
        {"patience": 2, "cooldown": 4, "factor": 0.7},
        {"patience": 0, "factor": 0.5, "min_lr": 0.004},
        {"patience": 1, "factor": 0.5, "min_lr": [0.03, 0.001], "threshold": 0.05},
        {"patience": 1, "factor": 0.9, "eps": 0.005},
    ],
)
def test_reduce_on_plateau(mode, threshold_mode, options):
    values = metrics(mode)
    options = {"mode": mode, "threshold_mode": threshold_mode, **options}

    def make(lib, optimizer):
        return optimizer, lib.ReduceLROnPlateau(optimizer, **options)

    ours, theirs = make(our_lr, our_optimizer()), make(torch_lr, torch_optimizer())
    assert_close(follow(*ours, values[:45]), follow(*theirs, values[:45]))

    ours_2, theirs_2 = make(our_lr, our_optimizer()), make(torch_lr, torch_optimizer())
    for fresh, old in ((ours_2, theirs), (theirs_2, ours)):
        fresh[0].load_state_dict(old[0].state_dict())
        fresh[1].load_state_dict(json_copy(old[1].state_dict()))
    expected = follow(*theirs, values[45:])
    assert expected[-1] != [0.1, 0.02], "the case must reduce at least once"
    for pair in (ours, ours_2, theirs_2):
        assert_close(follow(*pair, values[45:]), expected)


def test_plateau_takes_a_tensor_and_json_knows_its_first_state():
    optimizer = our_optimizer()
    scheduler = our_lr.ReduceLROnPlateau(optimizer, patience=0)
    fresh = our_lr.ReduceLROnPlateau(optimizer)
    fresh.load_state_dict(json_copy(scheduler.state_dict()))
    fresh.step(Tensor(np.float32(2.0)))
    assert fresh.best == 2.0
    fresh.step(Tensor(np.float32(3.0)))
    assert fresh.get_last_lr() == pytest.approx([0.01, 0.002])


# -------------------------------------------------------------------------------------- errors


def no_momentum():
    return optim.Adagrad([Parameter(np.ones(2))])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda opt: our_lr.StepLR(opt, 0), "step_size"),
        (lambda opt: our_lr.CosineAnnealingLR(opt, 0), "T_max"),
        (lambda opt: our_lr.LinearLR(opt, 0.0), "start_factor"),
        (lambda opt: our_lr.LinearLR(opt, 1.5), "start_factor"),
        (lambda opt: our_lr.LinearLR(opt, end_factor=1.5), "end_factor"),
        (lambda opt: our_lr.LinearLR(opt, end_factor=-0.5), "end_factor"),
        (lambda opt: our_lr.OneCycleLR(opt, 0.1), "total_steps, or epochs"),
        (lambda opt: our_lr.OneCycleLR(opt, 0.1, epochs=3), "total_steps, or epochs"),
        (lambda opt: our_lr.OneCycleLR(opt, 0.1, total_steps=0), "positive integer, got 0"),
        (lambda opt: our_lr.OneCycleLR(opt, 0.1, total_steps=9.5), "positive integer, got 9.5"),
        (lambda opt: our_lr.OneCycleLR(opt, 0.1, epochs=3, steps_per_epoch=-1), "got -1"),
        (lambda opt: our_lr.OneCycleLR(opt, 0.1, 10, pct_start=1.5), "pct_start"),
        (lambda opt: our_lr.OneCycleLR(opt, 0.1, 10, anneal_strategy="sine"), "'sine'"),
        (lambda opt: our_lr.OneCycleLR(opt, [0.1], 10), "1 max_lr for an optimizer with 2"),
        (lambda opt: our_lr.OneCycleLR(no_momentum(), 0.1, 10), "Adagrad has no momentum"),
        (lambda opt: our_lr.ReduceLROnPlateau(opt, factor=1.0), "factor"),
        (lambda opt: our_lr.ReduceLROnPlateau(opt, mode="up"), "'up'"),
        (lambda opt: our_lr.ReduceLROnPlateau(opt, threshold_mode="x"), "'x'"),
        (lambda opt: our_lr.ReduceLROnPlateau(opt, min_lr=[0.1]), "1 min_lr"),
        (lambda opt: our_lr.SequentialLR(opt, [], []), "at least one"),
        (lambda opt: our_lr.SequentialLR(opt, [our_lr.StepLR(opt, 1)], [5]), "0 increasing"),
        (
            lambda opt: our_lr.SequentialLR(opt, [our_lr.StepLR(opt, 1)] * 3, [5, 2]),
            r"increasing milestones, got \[5, 2\]",
        ),
        (
            lambda opt: our_lr.SequentialLR(opt, [our_lr.ReduceLROnPlateau(opt)], []),
            "ReduceLROnPlateau",
        ),
        (
            lambda opt: our_lr.SequentialLR(opt, [our_lr.StepLR(our_optimizer(), 1)], []),
            "another optimizer",
        ),
        (
            lambda opt: our_lr.SequentialLR(
                opt,
                [our_lr.StepLR(opt, 1), our_lr.SequentialLR(opt, [our_lr.StepLR(opt, 1)], [])],
                [3],
            ),
            "name its members",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make(our_optimizer())


def test_a_schedule_needs_an_optimizer():
    for make in (
        lambda x: our_lr.StepLR(x, 1),
        lambda x: our_lr.OneCycleLR(x, 1, 1),
        our_lr.ReduceLROnPlateau,
    ):
        with pytest.raises(TypeError, match="got ndarray"):
            make(np.ones(2))


def test_last_epoch_needs_initial_rates():
    with pytest.raises(KeyError, match=r"param_groups\[0\] has no 'initial_lr'"):
        our_lr.StepLR(our_optimizer(), 5, last_epoch=3)


def test_one_cycle_ends():
    optimizer = our_optimizer()
    scheduler = our_lr.OneCycleLR(optimizer, 0.1, 5)
    walk(optimizer, scheduler, 5)
    with pytest.raises(ValueError, match="made for 5 steps, this is step 6"):
        scheduler.step()


def test_plateau_refuses_a_group_added_later():
    optimizer = our_optimizer()
    scheduler = our_lr.ReduceLROnPlateau(optimizer, patience=0)
    optimizer.add_param_group({"params": [Parameter(np.ones(2))]})
    scheduler.step(1.0)
    with pytest.raises(ValueError, match="2 min_lr for an optimizer with 3 parameter groups"):
        scheduler.step(2.0)


class Halves(our_lr.LRScheduler):
    """A schedule of one's own."""

    def get_lr(self):
        return [lr / 2**self.last_epoch for lr in self.base_lrs]


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [
        (Halves, 1),
        (lambda opt: our_lr.SequentialLR(opt, [our_lr.StepLR(opt, 1) for _ in "ab"], [2]), 2),
        (lambda opt: our_lr.CosineAnnealingLR(opt, 1), 2),
    ],
    ids=["own", "sequential", "cosine"],
)
def test_a_group_added_later_has_no_first_rate_to_start_from(schedule, steps):
    optimizer = our_optimizer()
    scheduler = schedule(optimizer)
    optimizer.add_param_group({"params": [Parameter(np.ones(2))]})
    for _ in range(steps - 1):
        scheduler.step()
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match="2 rates for an optimizer with 3 parameter groups"):
        scheduler.step()
    assert snapshot(optimizer) == before


def test_the_state_of_another_schedule_is_refused():
    optimizer = our_optimizer()
    step, linear = our_lr.StepLR(optimizer, 5), our_lr.LinearLR(optimizer)
    with pytest.raises(ValueError, match=r"StepLR needs .* lacks \['gamma', 'step_size'\]"):
        step.load_state_dict(linear.state_dict())
    two = our_lr.SequentialLR(optimizer, [step, linear], [3])
    one = our_lr.SequentialLR(optimizer, [our_lr.StepLR(optimizer, 5)], [])
    with pytest.raises(ValueError, match="has 1 schedulers, this one 2"):
        two.load_state_dict(one.state_dict())


def test_get_lr_is_the_subclass_s():
    with pytest.raises(NotImplementedError):
        our_lr.LRScheduler(our_optimizer())
