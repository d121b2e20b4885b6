"""The command line: what `train` writes, and how errors are told."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from tinygrad_fm import get_num_threads, manual_seed, set_num_threads
from tinygrad_fm.cli import main
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.features import training_facts
from tinygrad_fm.recipes.weights import save_weights
from tinygrad_fm.train import History


@pytest.fixture
def train(tmp_path, monkeypatch):
    """`python -m tinygrad_fm train RECIPE …` for one epoch of garments; its exit status."""
    threads = get_num_threads()

    def train(*arguments: object) -> int:
        settings = ("--dataset", "garments", "--epochs", 1, "--threads", 1, "--out", tmp_path)
        line = ["tinygrad-fm", "train", *map(str, [*arguments, *settings])]
        monkeypatch.setattr(sys, "argv", line)
        return main()

    yield train
    set_num_threads(threads)


def test_train_writes_what_it_measured(train, tmp_path, capsys):
    assert train("mlp-1hidden", "--seed", 3, "--lr", 0.02) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "metrics.json",
        "history.csv",
        "curves.png",
        "confusion.png",
        "predictions.png",
        "checkpoint",
        "lock",
    }
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    history = History.read_csv(tmp_path / "history.csv")
    assert (metrics["recipe"], metrics["seed"], metrics["lr"]) == ("mlp-1hidden", 3, 0.02)
    assert metrics["validation_fraction"] == 0.2
    assert metrics["threads"] == 1
    assert metrics["command"] == (
        "python -m tinygrad_fm train mlp-1hidden --seed 3 --lr 0.02 "
        f"--dataset garments --epochs 1 --threads 1 --out {tmp_path}"
    )
    assert metrics["validation_accuracy"] == history["val_accuracy"][0]
    recalls = [row["recall"] for row in metrics["per_class"].values()]
    assert np.mean(recalls) == pytest.approx(metrics["test_accuracy"], abs=1e-4)  # equal classes

    recipe = RECIPES["mlp-1hidden"]
    model = recipe.build()
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    printed = capsys.readouterr().out
    assert f"{metrics['test_accuracy']:.1%}" in printed
    assert f"is in {tmp_path}/" in printed


def test_train_takes_an_extractor(train, tmp_path, tmp_path_factory):
    manual_seed(0)
    source = RECIPES["cnn-5conv"].changed(dataset="garments")
    weights = tmp_path_factory.mktemp("extractor") / "model.safetensors"
    save_weights(source.build(), weights, training_facts(source, seed=0))
    assert train("features-mlp", "--extractor", weights) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["recipe"] == "features-mlp"
    assert metrics["parameters"] == 256 * 128 + 128 + 128 * 10 + 10


def test_what_is_missing_is_told_without_a_traceback(train, tmp_path, capsys):
    assert train("features-mlp", "--extractor", tmp_path / "nowhere") == 1
    assert capsys.readouterr().err.startswith(f"tinygrad-fm: {tmp_path}/nowhere is not a file of")
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    "arguments", [[], ["train"], ["train", "perceptron"], ["train", "mlp", "--threads", "0"]]
)
def test_a_wrong_command_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert "usage:" in capsys.readouterr().err
