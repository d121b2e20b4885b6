"""The training loop: learns, records what it does, and stops when it must."""

from __future__ import annotations

import copy
import io
import math
import sys

import numpy as np
import pytest

from tinygrad_fm import nn
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.data.dataset import ArrayDataset
from tinygrad_fm.data.loader import DataLoader
from tinygrad_fm.nn import functional as F
from tinygrad_fm.nn.utils import clip_grad_norm_
from tinygrad_fm.optim import SGD, AdamW
from tinygrad_fm.optim.lr_scheduler import ExponentialLR, OneCycleLR, ReduceLROnPlateau
from tinygrad_fm.random import manual_seed
from tinygrad_fm.train import EarlyStopping, NonFiniteLossError, Training, evaluate, fit


def spots(
    n: int = 90, seed: int = 0, wrong_labels: bool = False, batch_size: int = 16
) -> DataLoader:
    """Noisy 3x3 pictures with one bright spot, in one of three places: the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.integers(60, size=(n, 1, 3, 3), dtype=np.uint8)
    images[np.arange(n), 0, labels, labels] += 120
    if wrong_labels:
        labels = (labels + 1) % 3
    dataset = ArrayDataset(images, labels, ("a", "b", "c"), "spots")
    generator = np.random.default_rng(seed)
    return DataLoader(dataset, batch_size, shuffle=True, generator=generator)


def small_model() -> nn.Module:
    manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 16), nn.ReLU(), nn.Linear(16, 3))


def weights(model: nn.Module) -> list[np.ndarray]:
    return [array.copy() for array in model.state_dict().values()]


def assert_same(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_learns_and_records_it():
    model = small_model()
    optimizer = SGD(model.parameters(), lr=0.3)
    validation = spots(seed=1)
    history = fit(model, F.cross_entropy, optimizer, spots(), validation, epochs=12)
    assert history["epoch"].tolist() == list(range(1, 13))
    assert history["train_loss"][-1] < 0.3 * history["train_loss"][0]
    assert history["val_accuracy"][-1] > 0.95
    final = evaluate(model, validation, F.cross_entropy)
    assert history["val_loss"][-1] == pytest.approx(final.loss, rel=1e-5)
    assert (history["seconds"] > 0).all()


def test_does_what_a_loop_by_hand_does():
    model, twin = small_model(), small_model()
    optimizer, twin_optimizer = SGD(model.parameters(), lr=0.1), SGD(twin.parameters(), lr=0.1)
    cycle, twin_cycle = (
        OneCycleLR(o, max_lr=0.5, total_steps=19) for o in (optimizer, twin_optimizer)
    )
    fit(
        model,
        F.cross_entropy,
        optimizer,
        spots(),
        spots(seed=1),  # validation must not disturb training
        epochs=3,
        step_scheduler=cycle,
        clip_grad_norm=0.2,
    )
    batches = spots()
    for _ in range(3):
        for images, labels in batches:
            twin_optimizer.zero_grad()
            F.cross_entropy(twin(images), labels).backward()
            clip_grad_norm_(twin.parameters(), 0.2)
            twin_optimizer.step()
            twin_cycle.step()
    assert_same(weights(model), weights(twin))


def test_trains_in_training_mode_and_validates_in_evaluation_mode():
    modes: list[bool] = []

    class Watched(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            modes.append(self.training)
            return super().forward(x.flatten(1))

    manual_seed(1)
    model = Watched(9, 3).eval()
    optimizer = SGD(model.parameters(), lr=0.1)
    batches = spots(n=32), spots(n=16)
    fit(model, F.cross_entropy, optimizer, *batches, epochs=2, compile=False)
    assert modes == [True, True, False] * 2


def test_training_figures_are_means_over_images():
    model = small_model()
    optimizer = SGD(model.parameters(), lr=0.0)  # so that all batches see the same weights
    history = fit(model, F.cross_entropy, optimizer, spots(n=50), epochs=1)  # 16 + 16 + 16 + 2
    expected = evaluate(model, spots(n=50), F.cross_entropy)
    assert history["train_loss"][0] == pytest.approx(expected.loss, rel=1e-6)
    assert history["train_accuracy"][0] == expected.accuracy
    assert math.isnan(history["val_loss"][0])
    assert math.isnan(history["val_accuracy"][0])


def test_learning_rates_are_those_of_the_epochs():
    model = small_model()
    optimizer = SGD(model.parameters(), lr=0.4)
    scheduler = ExponentialLR(optimizer, gamma=0.5)
    history = fit(model, F.cross_entropy, optimizer, spots(), epochs=3, scheduler=scheduler)
    assert history["lr"].tolist() == [0.4, 0.2, 0.1]


def test_plateau_follows_the_validation_loss():
    model = small_model()
    optimizer = SGD(model.parameters(), lr=0.2)
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    # Learning makes the wrongly labelled validation worse while the training loss falls.
    validation = spots(seed=1, wrong_labels=True)
    history = fit(
        model, F.cross_entropy, optimizer, spots(), validation, epochs=4, scheduler=scheduler
    )
    assert (np.diff(history["train_loss"]) < 0).all()
    assert (np.diff(history["val_loss"]) > 0).all()
    assert history["lr"].tolist() == [0.2, 0.2, 0.1, 0.05]


def test_early_stopping_ends_the_training_and_restores_the_best_epoch():
    model = small_model()
    optimizer = SGD(model.parameters(), lr=0.2)
    seen: list[list[np.ndarray]] = []
    history = fit(
        model,
        F.cross_entropy,
        optimizer,
        spots(),
        spots(seed=1, wrong_labels=True),
        epochs=50,
        early_stopping=EarlyStopping(patience=3),
        on_epoch_end=lambda _: seen.append(weights(model)),
    )
    assert history["val_loss"].argmin() == 0
    assert len(history) == len(seen) == 4
    assert_same(weights(model), seen[0])


def test_the_best_epoch_is_restored_also_when_the_epochs_run_out():
    model = small_model()
    optimizer = SGD(model.parameters(), lr=0.2)
    validation = spots(seed=1, wrong_labels=True)
    early_stopping = EarlyStopping(patience=99)
    history = fit(
        model,
        F.cross_entropy,
        optimizer,
        spots(),
        validation,
        epochs=3,
        early_stopping=early_stopping,
    )
    assert len(history) == 3
    restored = evaluate(model, validation, F.cross_entropy).loss
    assert restored == pytest.approx(history["val_loss"][0], rel=1e-5)


@pytest.mark.parametrize("make", [SGD, AdamW])
def test_frozen_layers_stay_to_the_bit_although_the_optimizer_has_them(make):
    model = small_model()
    optimizer = make(model.parameters(), lr=0.1, weight_decay=0.1)
    fit(model, F.cross_entropy, optimizer, spots(), epochs=1)
    model[1].requires_grad_(False)
    weight, bias, *late = weights(model)
    history = fit(model, F.cross_entropy, optimizer, spots(seed=1), epochs=3)
    assert_same(weights(model)[:2], [weight, bias])
    assert all((a != b).any() for a, b in zip(weights(model)[2:], late, strict=True))
    assert history["train_loss"][-1] < history["train_loss"][0]


def test_on_epoch_end_sees_the_complete_epochs():
    lengths: list[int] = []
    model = small_model()
    optimizer = SGD(model.parameters(), lr=0.1)
    fit(
        model,
        F.cross_entropy,
        optimizer,
        spots(),
        epochs=3,
        on_epoch_end=lambda history: lengths.append(len(history)),
    )
    assert lengths == [1, 2, 3]


def test_what_follows_validation_needs_validation():
    model = small_model()
    optimizer = SGD(model.parameters(), lr=0.1)
    for options in (
        {"early_stopping": EarlyStopping(patience=1)},
        {"scheduler": ReduceLROnPlateau(optimizer)},
    ):
        with pytest.raises(ValueError, match="validation_loader is None"):
            fit(model, F.cross_entropy, optimizer, spots(), epochs=1, **options)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_stops_with_place_and_advice():
    model = small_model()
    optimizer = SGD(model.parameters(), lr=1e30)
    with pytest.raises(NonFiniteLossError, match=r"epoch 1, batch \d of 6") as error:
        fit(model, F.cross_entropy, optimizer, spots(), epochs=3)
    assert isinstance(error.value, FloatingPointError)
    assert "lower learning rate than 1e+30" in str(error.value)
    assert "forward of Linear on" in str(error.value)


# ------------------------------------------------------------------------------ state


class Stop(Exception):
    pass


def new_training(compile: bool = True) -> Training:
    """Three epochs of six batches, with an average and a rate that change at every step."""
    model = small_model()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Training(
        model,
        F.cross_entropy,
        optimizer,
        spots(),
        DataLoader(spots(seed=1).dataset, 30),
        epochs=3,
        scheduler=ExponentialLR(optimizer, 0.8),
        step_scheduler=ExponentialLR(optimizer, 0.99),
        early_stopping=EarlyStopping(patience=3),
        compile=compile,
    )


@pytest.mark.parametrize("batches", [1, 6, 10, 18])
def test_a_training_goes_on_where_its_state_was_taken(batches):
    whole, first, second = new_training(), new_training(), new_training()
    whole.run(progress=False)
    left = iter(range(batches - 1))

    def stop() -> None:
        if next(left, None) is None:
            raise Stop

    with pytest.raises(Stop):
        first.run(progress=False, on_batch_end=stop)
    state = copy.deepcopy(first.state_dict())
    state["epoch"]["seconds"] = 1000.0
    second.load_state_dict(state)
    assert second.epoch == 1 + (batches - 1) // 6
    assert len(second.history) == second.epoch - 1
    history = second.run(progress=False)
    assert_same(weights(whole.model), weights(second.model))
    columns = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr")
    for column in columns:
        np.testing.assert_array_equal(history[column], whole.history[column], err_msg=column)
    assert second.seconds == sum(history["seconds"])
    assert history["seconds"][(batches - 1) // 6] > 1000  # with the time before


@pytest.mark.parametrize("compile", [True, False])
def test_a_training_goes_on_planned_or_not_as_it_began(compile):
    first = new_training(compile)
    first.run(progress=False)
    with pytest.raises(ValueError, match=f"begun with compile={compile}"):
        new_training(not compile).load_state_dict(first.state_dict())


def test_a_planned_training_reaches_the_same():
    planned, eager = new_training(), new_training(compile=False)
    for training in (planned, eager):
        training.run(progress=False)
    assert planned.model._compiled is not None
    assert eager.model._compiled is None
    for ours, theirs in zip(weights(planned.model), weights(eager.model), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def train_briefly(progress: bool) -> None:
    model = small_model()
    optimizer = SGD(model.parameters(), lr=0.1)
    fit(model, F.cross_entropy, optimizer, spots(), spots(), epochs=2, progress=progress)


def test_the_bar_shows_the_epoch_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    train_briefly(progress=True)
    lines = sys.stderr.getvalue().strip().split("\r")
    assert any("epoch 2/2 0/6 |" in line and "left" in line for line in lines)
    for part in ("epoch 2/2 in 00:", "loss ", "acc ", "images/s", "val "):
        assert part in lines[-1]


@pytest.mark.parametrize(("stream", "progress"), [(io.StringIO, True), (Terminal, False)])
def test_quiet_without_a_terminal_or_on_demand(monkeypatch, capsys, stream, progress):
    monkeypatch.setattr(sys, "stderr", stream())
    train_briefly(progress)
    assert sys.stderr.getvalue() == ""
    assert capsys.readouterr().out == ""
