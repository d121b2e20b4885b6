"""A training goes on from a checkpoint as if nothing had happened; what is damaged is not used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from full_disk import no_room_for

from tinygrad_fm import data, manual_seed, nn, optim
from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim import lr_scheduler
from tinygrad_fm.runs import RunError
from tinygrad_fm.runs.checkpoint import Checkpoints, CheckpointWarning
from tinygrad_fm.train import EarlyStopping, Training

FACTS = {"recipe": "small", "seed": 3}
STATE = {"weights": {"a": np.arange(4.0)}, "numbers": [1, 0.1, None, "text"], "empty": {}}


class Stop(Exception):
    pass


# ---------------------------------------------------------------------------- going on

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda p: optim.Adam(p, 0.01, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, 0.01),
    "rmsprop": lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, 0.05),
    "adadelta": lambda p: optim.Adadelta(p),
}
SCHEDULES = {
    "none": lambda o: {},
    "cosine": lambda o: {"scheduler": lr_scheduler.CosineAnnealingLR(o, 3)},
    "steps": lambda o: {"scheduler": lr_scheduler.MultiStepLR(o, [1, 2], gamma=0.5)},
    "plateau": lambda o: {"scheduler": lr_scheduler.ReduceLROnPlateau(o, patience=0)},
    "one cycle": lambda o: {"step_scheduler": lr_scheduler.OneCycleLR(o, 0.1, total_steps=24)},
    "warm-up": lambda o: {
        "scheduler": lr_scheduler.SequentialLR(
            o,
            [lr_scheduler.LinearLR(o, total_iters=1), lr_scheduler.ExponentialLR(o, 0.9)],
            milestones=[1],
        )
    },
}
PAIRS = [("adam", name) for name in SCHEDULES] + [(name, "cosine") for name in OPTIMIZERS]


def new_training(optimizer: str = "adam", schedule: str = "none") -> Training:
    """Three epochs of eight batches, with every kind of state that there is."""
    pictures = data.Garments(size=160)
    augment = data.Compose([data.RandomCrop(28, padding=2), data.ToFloat(), data.RandomErasing()])
    loaders = [
        data.DataLoader(
            pictures,
            20,
            shuffle=True,
            transform=augment,
            generator=np.random.default_rng(1),
        ),
        data.DataLoader(pictures, 80),
    ]
    manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(6, 10),
    )  # fmt: skip
    steps = OPTIMIZERS[optimizer](model.parameters())
    return Training(
        model,
        F.cross_entropy,
        steps,
        *loaders,
        epochs=3,
        early_stopping=EarlyStopping(3, monitor="val_accuracy"),
        clip_grad_norm=5.0,
        **SCHEDULES[schedule](steps),
    )


def stop_after(batches: int, training: Training) -> Training:
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if done == batches:
            raise Stop

    with pytest.raises(Stop):
        training.run(progress=False, on_batch_end=count)
    return training


def through_the_disk(training: Training, folder: Path, *kind: str) -> Training:
    """Another training, made in the same way, that goes on where `training` is."""
    Checkpoints(folder, FACTS).save(training.state_dict())
    again = new_training(*kind)
    state = Checkpoints(folder, FACTS).load()
    assert state is not None
    manual_seed(99)  # the state brings its own randomness
    again.load_state_dict(state)
    return again


def assert_same(first: Training, second: Training) -> None:
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr"):
        np.testing.assert_array_equal(first.history[name], second.history[name], err_msg=name)
    weights = second.model.state_dict()
    for name, array in first.model.state_dict().items():
        np.testing.assert_array_equal(weights[name], array, err_msg=name)


@pytest.mark.parametrize(("optimizer", "schedule"), PAIRS)
def test_goes_on_to_the_bit_in_the_middle_of_an_epoch(tmp_path, optimizer, schedule):
    whole = new_training(optimizer, schedule)
    whole.run(progress=False)
    parts = new_training(optimizer, schedule)
    for batches in (3, 7, 6, 1):  # twice within an epoch, at the end of the second, once again
        stop_after(batches, parts)
        parts = through_the_disk(parts, tmp_path, optimizer, schedule)
    parts.run(progress=False)
    assert_same(whole, parts)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_goes_on_to_the_bit_between_epochs(tmp_path, epoch):
    whole = new_training()
    whole.run(progress=False)

    def stop(history):
        if len(history) == epoch:
            raise Stop

    parts = new_training()
    with pytest.raises(Stop):
        parts.run(progress=False, on_epoch_end=stop)
    again = through_the_disk(parts, tmp_path)
    assert again.over == (epoch == 3)
    again.run(progress=False)
    assert_same(whole, again)


def test_the_time_before_counts(tmp_path):
    training = stop_after(11, new_training())
    training.history.rows[0] = replace(training.history.rows[0], seconds=1000.0)
    again = through_the_disk(training, tmp_path)
    assert again.seconds == 1000


def test_the_state_of_another_training_does_not_fit(tmp_path):
    training = stop_after(2, new_training("adam"))
    with pytest.raises((KeyError, ValueError)):
        through_the_disk(training, tmp_path, "adam", "cosine")


# ---------------------------------------------------------------------------- on the disk


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoint", FACTS)


def files(checkpoints: Checkpoints) -> set[str]:
    return {path.name for path in checkpoints.folder.iterdir()}


def test_a_state_comes_back(checkpoints):
    assert checkpoints.load() is None
    checkpoints.save(STATE)
    state = Checkpoints(checkpoints.folder, FACTS).load()
    np.testing.assert_array_equal(state.pop("weights").pop("a"), STATE["weights"]["a"])
    assert state == {"numbers": [1, 0.1, None, "text"], "empty": {}}


def test_the_last_two_are_kept(checkpoints):
    for number in range(4):
        checkpoints.save({"number": number})
    assert files(checkpoints) == {
        f"000{n}.{kind}" for n in (3, 4) for kind in ("json", "safetensors")
    }
    assert checkpoints.load() == {"number": 3}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def edit(**entries: object):
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))

    return change


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("0002.safetensors", cut, r"0002\.safetensors is torn"),
        ("0002.safetensors", flip, r"0002\.safetensors is torn"),
        ("0002.safetensors", Path.unlink, r"0002\.safetensors cannot be read"),
        ("0002.json", lambda path: path.write_bytes(b""), r"0002\.json is torn or no JSON"),
        ("0002.json", lambda path: path.write_text("{}"), r"0002\.json is not the manifest"),
        ("0002.json", edit(recipe="cnn"), 'another training: recipe "cnn", wanted "small"'),
        ("0002.json", edit(seed=4), "another training: seed 4, wanted 3"),
        ("0002.json", edit(sha256=None), r"0002\.safetensors is torn"),
    ],
)
def test_the_one_before_is_used_when_the_last_is_damaged(checkpoints, name, damage, message):
    checkpoints.save({"number": 1})
    checkpoints.save({"number": 2})
    damage(checkpoints.folder / name)
    again = Checkpoints(checkpoints.folder, FACTS)
    with pytest.warns(CheckpointWarning, match=message):
        assert again.load() == {"number": 1}
    again.save({"number": 3})  # and it stays until there are two sound ones
    assert files(checkpoints) >= {"0001.json", "0001.safetensors", "0003.json"}
    assert "0002.json" not in files(checkpoints)
    assert again.load() == {"number": 3}


def test_one_that_was_not_completed_is_passed_over_in_silence(checkpoints):
    checkpoints.save({"number": 1})
    (checkpoints.folder / "0002.safetensors").write_bytes(b"whole, but no manifest yet")
    (checkpoints.folder / f"0003.safetensors.{'0' * 16}.partial").write_bytes(b"ha")
    assert checkpoints.load() == {"number": 1}
    checkpoints.save({"number": 3})
    checkpoints.save({"number": 4})
    assert files(checkpoints) == {
        f"000{n}.{kind}" for n in (3, 4) for kind in ("json", "safetensors")
    }


def test_if_all_are_damaged_it_says_so(checkpoints):
    checkpoints.save({"number": 1})
    checkpoints.save({"number": 2})
    for path in checkpoints.folder.glob("*.safetensors"):
        cut(path)
    with pytest.raises(
        RunError, match="no checkpoint is left; to train from the beginning, delete"
    ):
        checkpoints.load()


def test_other_files_are_left_alone(checkpoints):
    checkpoints.save({"number": 1})
    (checkpoints.folder / "notes.txt").write_text("mine")
    (checkpoints.folder / "½.json").write_text("{}")
    checkpoints.save({"number": 2})
    checkpoints.save({"number": 3})
    assert files(checkpoints) >= {"notes.txt", "½.json"}
    assert checkpoints.load() == {"number": 3}


def test_a_full_disk_leaves_the_one_before(checkpoints, monkeypatch):
    checkpoints.save({"number": 1})
    with monkeypatch.context() as full:
        no_room_for(full, checkpoints.folder / "0002.safetensors")
        with pytest.raises(OSError, match="No space left"):
            checkpoints.save({"number": 2})
    assert checkpoints.load() == {"number": 1}
    checkpoints.save({"number": 2})
    assert checkpoints.load() == {"number": 2}
