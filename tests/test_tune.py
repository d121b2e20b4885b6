"""The search: what is tried, kept, resumed and shared; optuna is there only if it is asked for."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import optuna
import pytest
import torch

from tinygrad_fm import Tensor, get_num_threads, manual_seed, set_num_threads, tune
from tinygrad_fm.cli import main
from tinygrad_fm.nn import Module
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.settings import configured
from tinygrad_fm.reference.models import BUILDERS
from tinygrad_fm.runs import classify, open_run

ROOT = Path(__file__).parents[1]
NAMES = ("one", "two")  # of workers
TINY = ["tune", "mlp-1hidden", "--dataset", "garments", "--epochs", "1"]


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "trials.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_three_trials_are_reported_and_a_second_call_adds_two(tmp_path, capsys):
    arguments = [*TINY, "--out", str(tmp_path), "--trials"]
    assert main([*arguments, "3"]) == 0
    first = rows(tmp_path)
    assert [row["trial"] for row in first] == ["0", "1", "2"]
    assert max(float(row["validation_accuracy"]) for row in first) > 0.5
    assert (tmp_path / "trials.png").stat().st_size > 1000
    assert "lr " in capsys.readouterr().out

    assert main([*arguments, "2"]) == 0
    resumed = rows(tmp_path)
    assert len(resumed) == 5
    tried = ("optimizer", "schedule", "hidden")
    assert [[row[name] for name in tried] for row in resumed[:3]] == [
        [row[name] for name in tried] for row in first
    ]
    rates = {next(v for k, v in row.items() if k.startswith("lr ") and v) for row in resumed}
    assert len(rates) == 5  # it does not begin its random numbers again
    output, progress = capsys.readouterr()
    assert output.count("complete") == 5
    assert progress == ""  # which is for terminals

    assert main([*TINY[:-1], "2", "--out", str(tmp_path)]) == 1  # other epochs: another study
    assert "has epochs 1, wanted 2" in capsys.readouterr().err


def test_the_best_trials_settings_are_trained_and_the_run_is_used_like_any_other(tmp_path, capsys):
    assert main([*TINY, "--trials", "2", "--out", str(tmp_path)]) == 0
    file, out = tmp_path / "best.json", tmp_path / "run"
    command = ["train", "mlp-1hidden", "--settings", str(file), "--out", str(out)]
    told = f"Train with the best settings with:\n  tinygrad-fm {' '.join(command[:4])}\n"
    assert capsys.readouterr().out.endswith(told)
    best = max(rows(tmp_path), key=lambda row: float(row["validation_accuracy"]))
    settings = json.loads(file.read_text())
    assert settings == {
        "dataset": "garments",
        "epochs": 1,
        "optimizer": best["optimizer"],
        "lr": float(best[f"lr {best['optimizer']}"]),
        "schedule": best["schedule"],
        "hidden": int(best["hidden"]),
    }
    assert main(command) == 0
    run = open_run(out)
    # The same seed and the same settings: the very training of the trial.
    assert run.metrics()["validation_accuracy"] == float(best["validation_accuracy"])
    assert run.model().state_dict()["1.weight"].shape == (settings["hidden"], 784)
    for use in (["evaluate"], ["report"], *(["export", "--to", t] for t in ("onnx", "torch"))):
        assert main([use[0], str(out), *use[1:]]) == 0
    assert f"hidden {settings['hidden']}" in (out / "report.html").read_text()

    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    session = onnxruntime.InferenceSession(out / "mlp-1hidden.onnx")
    (got,) = session.run(["probabilities"], {"images": images[:, np.newaxis]})
    np.testing.assert_allclose(got, classify(run, images), rtol=1e-4, atol=1e-6)
    twin = BUILDERS["mlp-1hidden"](hidden=settings["hidden"])
    twin.load_state_dict(torch.load(out / "mlp-1hidden.pt", weights_only=True))


def test_two_workers_share_a_storage(tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    command = [sys.executable, "-m", "tinygrad_fm", *TINY, "--storage", url, "--trials", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    workers = [
        subprocess.Popen(
            [*command, "--out", tmp_path / name], env=environment, stderr=subprocess.PIPE, text=True
        )
        for name in NAMES
    ]
    for worker in workers:
        _, errors = worker.communicate()
        assert worker.returncode == 0, errors
    finished = [
        [row for row in rows(tmp_path / name) if row["state"] != "running"] for name in NAMES
    ]
    last = max(finished, key=len)  # the worker that ended last has seen all trials
    assert [row["trial"] for row in last] == ["0", "1", "2", "3"]
    assert len({tuple(row.values())[4:] for row in last}) == 4  # nobody repeats the other's
    assert not (tmp_path / "one" / "trials.db").exists()


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "features-mlp"])
def test_what_is_suggested_for_a_recipe_can_be_built(name):
    """Every width and dropout reaches the model, and everything else stays the recipe's."""
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(0)).ask()
    settings = tune.suggest(trial, RECIPES[name])
    recipe = configured(RECIPES[name], settings)
    manual_seed(0)
    model = recipe.build()
    images = Tensor(np.zeros((2, 1, 28, 28), np.float32))
    assert model.eval()(images).shape == (2, 10)
    optimizer = recipe.optimizer(model.parameters(), recipe.lr)
    for schedule in filter(None, (recipe.schedule, recipe.step_schedule)):
        schedule(optimizer, 10).step()
    sizes = {size for tensor in model.state_dict().values() for size in tensor.shape}
    widths = {v for k, v in trial.params.items() if k.startswith(("hidden", "channels"))}
    assert widths
    assert {width for width in widths if isinstance(width, int)} <= sizes
    rates = {v for k, v in trial.params.items() if "dropout" in k}
    found = {layer.p for layer in model.modules() if type(layer).__name__ == "Dropout"}
    assert bool(rates) == bool(found)  # whatever has dropout has it searched
    assert rates <= found
    assert (recipe.augment, recipe.loss) == (RECIPES[name].augment, RECIPES[name].loss)
    assert tune.suggest(optuna.trial.FixedTrial(trial.params), RECIPES[name]) == settings


@pytest.mark.parametrize(("epochs", "first"), [(2, 2), (5, 4), (10, 6)])
def test_trials_are_given_up_in_the_second_half_of_their_epochs_only(epochs, first):
    study = optuna.create_study(direction="maximize", pruner=tune.pruner(epochs))
    for accuracy in (0.9, 0.9, 0.9, 0.9, 0.9, 0.1):
        trial = study.ask()
        given_up = []
        for epoch in range(1, epochs + 1):
            trial.report(accuracy, epoch)
            given_up += [epoch] if trial.should_prune() else []
        study.tell(trial, accuracy)
    assert given_up == list(range(first, epochs + 1))


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_rate_that_explodes_is_an_answer(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tune, "RATES", {"sgd": (1e30, 1e31)})
    assert main([*TINY, "--trials", "1", "--out", str(tmp_path)]) == 0
    assert [(row["state"], row["validation_accuracy"]) for row in rows(tmp_path)] == [
        ("pruned", "")
    ]
    assert not (tmp_path / "trials.png").exists()
    assert not (tmp_path / "best.json").exists()
    output = capsys.readouterr().out
    assert "pruned" in output
    assert "picture" not in output  # there is none


def test_the_trial_of_a_killed_worker_fails_when_another_begins(tmp_path):
    database = tmp_path / "trials.db"
    arguments = [*TINY, "--trials", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    storage = optuna.storages.RDBStorage(f"sqlite:///{database}")
    killed = optuna.load_study(study_name="mlp-1hidden-garments", storage=storage).ask()
    storage.record_heartbeat(killed._trial_id)
    assert main(arguments) == 0
    assert [row["state"] for row in rows(tmp_path)] == ["complete", "running", "complete"]
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00.000000'")
    assert main(arguments) == 0
    states = [row["state"] for row in rows(tmp_path)]
    assert states == ["complete", "failed", "complete", "complete"]


def test_the_folder_may_have_any_name(tmp_path):
    folder = tmp_path / "tf 4?x#%41 {y} ü"
    for count in (1, 2):
        assert main([*TINY, "--trials", "1", "--out", str(folder)]) == 0
        assert len(rows(folder)) == count
    names = {"best.json", "trials.csv", "trials.db", "trials.png"}
    assert {file.name for file in folder.iterdir()} == names
    assert [file.name for file in tmp_path.iterdir()] == [folder.name]


def test_a_search_has_as_many_threads_as_it_is_given(tmp_path):
    before = get_num_threads()
    try:
        assert main([*TINY, "--trials", "1", "--threads", "2", "--out", str(tmp_path)]) == 0
        assert get_num_threads() == 2
    finally:
        set_num_threads(before)


@pytest.mark.parametrize(
    ("number", "told"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "interrupted by SIGTERM")],
    ids=["INT", "TERM"],
)
def test_signals_keep_what_is_there_and_say_how_to_go_on(
    tmp_path, monkeypatch, capsys, number, told
):
    recipe, built = RECIPES["mlp-1hidden"], []

    def build(hidden: int = 8) -> Module:
        built.append(hidden)  # twice for each trial: its size is looked at first
        if len(built) == 4:
            signal.raise_signal(number)
        return recipe.build(hidden=hidden)

    monkeypatch.setitem(RECIPES, "mlp-1hidden", recipe.changed(build=build))
    arguments = [*TINY, "--trials", "3", "--seed", "0", "--out", str(tmp_path / "a search")]
    # Ctrl-C as usual, also where the tests run in the background, which ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(arguments) == 128 + number
    finally:
        signal.signal(signal.SIGINT, before)
    out, errors = capsys.readouterr()
    command = f"{' '.join(['tinygrad-fm', *arguments[:-1]])} '{arguments[-1]}'"
    hint = f"What was saved is whole. Go on with:\n  {command}\n"
    assert (out, errors) == ("", f"tinygrad-fm: {told}\n{hint}")
    assert [row["state"] for row in rows(tmp_path / "a search")] == ["complete", "failed"]
    assert json.loads((tmp_path / "a search" / "best.json").read_text())["hidden"] == built[0]
    assert (tmp_path / "a search" / "trials.png").exists()
    assert main(shlex.split(command)[1:]) == 0
    assert len(rows(tmp_path / "a search")) == 5


def test_without_optuna_the_command_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main([*TINY, "--out", str(tmp_path / "new")]) == 1
    assert capsys.readouterr().err.endswith("python -m pip install 'tinygrad-fm[tune]'\n")
    assert not (tmp_path / "new").exists()


def test_optuna_is_imported_by_a_search_alone():
    code = "import sys, tinygrad_fm.tune, tinygrad_fm.cli; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--storage", "nonsense"], "the storage of trials can't be opened"),
        (["--storage", "sqlite:////no/such/folder/x.db"], "the storage of trials can't be opened"),
        (["--storage", "postgresql+psycopg2://localhost/x"], "not installed: psycopg2-binary for"),
    ],
)
def test_what_cannot_be_searched_is_an_error(change, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg2", None)  # also where it is installed
    assert main([*TINY, "--out", str(tmp_path), *change]) == 1
    assert message in capsys.readouterr().err


def test_a_search_without_trials_is_an_error(tmp_path):
    with pytest.raises(tune.TuneError, match="at least 1 trial, got 0"):
        tune.search(RECIPES["mlp"].changed(dataset="garments"), tmp_path, trials=0)


def test_a_recipe_on_features_names_the_other(tmp_path, capsys):
    assert main(["tune", "features-mlp", "--dataset", "garments", "--out", str(tmp_path)]) == 1
    assert "learns from the features of cnn-5conv" in capsys.readouterr().err
