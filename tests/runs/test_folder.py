"""What a run folder holds, that it is read back, and what is refused."""

from __future__ import annotations

import json
import platform
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tinygrad_fm import data
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.settings import configured
from tinygrad_fm.recipes.weights import save_arrays, save_weights
from tinygrad_fm.runs import RunError, SavedRun, begin, classify, go_on, open_run
from tinygrad_fm.runs.files import write_json
from tinygrad_fm.runs.folder import MEASURED, blas_kernels, create_run
from tinygrad_fm.train import accuracy

FILES = {
    "config.json",
    "history.csv",
    "metrics.json",
    "model.safetensors",
    "curves.png",
    "confusion.png",
    "predictions.png",
}
SETTINGS = {"dataset": "garments", "epochs": 1, "batch_size": 500}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder, and what was measured when it was trained."""
    saved = begin("mlp", SETTINGS, seed=3, out=tmp_path_factory.mktemp("runs") / "mlp")
    return saved.path, go_on(saved, progress=False)


def changed(folder: Path, copy: Path, **entries: object) -> Path:
    """A folder with the same config.json but for some entries; None takes one out."""
    config = json.loads((folder / "config.json").read_text()) | entries
    copy.mkdir()
    left_out = [name for name, value in entries.items() if value is None]
    kept = {name: value for name, value in config.items() if name not in left_out}
    (copy / "config.json").write_text(json.dumps(kept))
    return copy


def test_everything_is_there(finished):
    path, _ = finished
    assert {file.name for file in path.iterdir() if file.is_file()} >= FILES
    assert not list(path.glob("*partial*"))


def test_a_run_comes_back(finished):
    path, result = finished
    again = open_run(path)
    assert again.complete
    assert again.seed == 3
    assert again.recipe.name == "mlp"
    assert (again.recipe.dataset, again.recipe.epochs, again.recipe.batch_size) == (
        "garments",
        1,
        500,
    )
    assert again.metrics()["test_accuracy"] == result.test_accuracy
    assert again.history().rows == result.history.rows
    predictions = again.predictions()
    np.testing.assert_array_equal(predictions.scores, result.predictions.scores)
    assert accuracy(predictions.predicted, predictions.labels) == result.test_accuracy


def test_the_configuration_repeats_it(finished, tmp_path):
    path, result = finished
    config = json.loads((path / "config.json").read_text())
    again = begin(config["recipe"], config["settings"], seed=config["seed"], out=tmp_path / "again")
    assert again.config["normalisation"] == config["normalisation"]
    assert again.config["data_sha256"] == config["data_sha256"]
    repeated = go_on(again, progress=False)
    for name, array in result.model.state_dict().items():
        np.testing.assert_array_equal(repeated.model.state_dict()[name], array)


def test_a_seed_may_be_any_number(tmp_path):
    made = begin("mlp", SETTINGS, seed=2**64, out=tmp_path / "run")
    assert open_run(made.path).seed == 2**64


def test_folders_are_named_after_recipe_date_and_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (begin("mlp", SETTINGS, seed=4).path for _ in range(2))
    assert first.parent == Path("runs")
    assert first.name.startswith("mlp-20")
    assert first.name.endswith("-4")
    assert second.name == f"{first.name}-2"


def test_a_folder_in_use_is_not_written_over(finished):
    path, _ = finished
    with pytest.raises(RunError, match="is not empty; choose another folder"):
        begin("mlp", SETTINGS, out=path)


def test_of_several_at_once_one_gets_the_folder(tmp_path):
    datasets = data.load("garments")

    def attempt(seed: int) -> int | None:
        def slow(_: Path) -> None:
            time.sleep(0.3)

        try:
            return create_run("mlp", SETTINGS, datasets, seed=seed, out=tmp_path, fill=slow).seed
        except RunError:
            return None

    with ThreadPoolExecutor(4) as pool:
        made = {seed for seed in pool.map(attempt, range(4)) if seed is not None}
    assert made == {open_run(tmp_path).seed}


def test_batch_norm_comes_back(finished, tmp_path):
    """Its count of batches is a scalar, which is easily given a dimension on the way."""
    path = changed(finished[0], tmp_path / "copy", recipe="mlp-deep")
    model = RECIPES["mlp-deep"].build()
    save_weights(model, path / "model.safetensors", {})
    again = open_run(path).model().state_dict()
    assert again.keys() == model.state_dict().keys()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(again[name], array)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format": "other 1"}, "has the format 'other 1'"),
        ({"recipe": "unknown"}, "recipe 'unknown', which is unknown here"),
        ({"recipe": None}, "lacks 'recipe'"),
        ({"recipe": 3}, "has '3' as 'recipe'"),
        ({"settings": {"colour": 1}}, "unknown setting 'colour'"),
        ({"settings": {"epochs": "many"}}, "the setting epochs cannot be 'many'"),
        ({"settings": {"epochs": True}}, "the setting epochs cannot be True"),
        ({"settings": {"optimizer": ["sgd"]}}, "the setting optimizer cannot be"),
        ({"normalisation": {"mean": 0.1, "std": 0.0}}, "as 'normalisation'"),
        ({"normalisation": [1, 2]}, "as 'normalisation'"),
        ({"data_sha256": {"train": "x"}}, "as 'data_sha256'"),
        ({"classes": [*"012345678", 9]}, "as 'classes'"),
        ({"classes": [*"012345678"]}, "as 'classes'"),
        ({"seed": -1}, "as 'seed'"),
    ],
)
def test_a_foreign_configuration_is_refused(finished, tmp_path, entries, message):
    with pytest.raises(RunError, match=message):
        open_run(changed(finished[0], tmp_path / "copy", **entries))


@pytest.mark.parametrize(
    "value", [None, "0.9", True, float("nan"), -1, pytest.param(10**400, id="huge")]
)
def test_foreign_metrics_are_refused(finished, tmp_path, value):
    run = open_run(changed(finished[0], tmp_path / "copy"))
    metrics = json.loads((finished[0] / "metrics.json").read_text()) | {"test_accuracy": value}
    (run.path / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(RunError, match=r"metrics\.json has .* as 'test_accuracy'"):
        run.metrics()


# ---------------------------------------------------------------------------- damage


def copied(finished, tmp_path: Path) -> SavedRun:
    return open_run(shutil.copytree(finished[0], tmp_path / "copy"))


@pytest.mark.parametrize(
    ("file", "read"),
    [
        ("model.safetensors", SavedRun.model),
        ("model.safetensors", SavedRun.own_model),
        ("model.safetensors", SavedRun.predictions),
        ("history.csv", SavedRun.history),
        ("metrics.json", SavedRun.metrics),
        ("metrics.json", SavedRun.model),
    ],
)
def test_one_bit_is_noticed(finished, tmp_path, file, read):
    run = copied(finished, tmp_path)
    damaged = bytearray((run.path / file).read_bytes())
    place = damaged.index(b'"test_accuracy": 0.') + 20 if file == "metrics.json" else -10
    damaged[place] ^= 1
    (run.path / file).write_bytes(damaged)
    with pytest.raises(RunError, match=rf"{file} is damaged.*or delete it: `tinygrad-fm train --r"):
        read(run)


def test_lost_files_are_made_again_from_the_last_checkpoint(finished, tmp_path):
    run = copied(finished, tmp_path)
    files = [run.path / "model.safetensors", run.path / "history.csv"]
    whole = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    assert not run.complete
    go_on(run, progress=False)
    assert run.complete
    assert [file.read_bytes() for file in files] == whole
    run.model(), run.history()


def test_a_damaged_configuration_does_not_predict(finished, tmp_path):
    """Other numbers of the normalisation would give another accuracy."""
    path = copied(finished, tmp_path).path
    config = json.loads((path / "config.json").read_text())
    config["normalisation"]["mean"] += 0.1
    write_json(path / "config.json", config)
    with pytest.raises(RunError, match=r"config\.json is damaged: .*; put back a copy of it$"):
        open_run(path).model()
    (path / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"config\.json is damaged"):  # nor is it sealed anew
        go_on(open_run(path), progress=False)


def test_weights_without_a_checksum_are_refused_where_every_file_has_one(finished, tmp_path):
    run = copied(finished, tmp_path)
    (run.path / "metrics.json").unlink()  # as while it is trained
    (run.path / "model.safetensors").write_bytes(save_arrays(run.own_model().state_dict(), {}))
    with pytest.raises(RunError, match="does not say the checksum of its weights"):
        run.model()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_of_former_times_opens(finished, tmp_path):
    """Neither its files nor metrics.json have checksums; what cannot be weights is refused."""
    run = copied(finished, tmp_path)
    weights = run.own_model().state_dict()
    metrics = run.metrics()
    write_json(run.path / "config.json", run.config | {"format": "tinygrad_fm run 1"})
    write_json(run.path / "metrics.json", {name: metrics[name] for name in MEASURED})
    (run.path / "model.safetensors").write_bytes(save_arrays(weights, {"recipe": "mlp"}))
    old = open_run(run.path)
    assert old.complete
    for name, array in old.own_model().state_dict().items():
        np.testing.assert_array_equal(array, weights[name])
    assert old.history().rows == finished[1].history.rows
    bad = dict.fromkeys(["1.bias"], np.full_like(weights["1.bias"], np.inf))
    (run.path / "model.safetensors").write_bytes(save_arrays(weights | bad, {}))
    with pytest.raises(RunError, match=r"1\.bias has numbers that are not finite"):
        old.model()
    huge = {name: np.full_like(array, 1e38) for name, array in weights.items()}
    (run.path / "model.safetensors").write_bytes(save_arrays(huge, {}))
    for read in (old.predictions, lambda: classify(old, np.zeros((1, 28, 28), np.uint8))):
        with pytest.raises(RunError, match="makes outputs that are not finite numbers"):
            read()
    lines = (run.path / "history.csv").read_text().splitlines()
    (run.path / "history.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(RunError, match=r"history\.csv has 0 epochs, wanted 1"):
        old.history()


def test_a_history_longer_than_the_training_is_refused(finished, tmp_path):
    run = copied(finished, tmp_path)
    (run.path / "metrics.json").unlink()
    lines = (run.path / "history.csv").read_text()
    (run.path / "history.csv").write_text(lines + "2" + lines.splitlines()[-1][1:] + "\n")
    with pytest.raises(RunError, match=r"history\.csv has 2 epochs, wanted at most 1"):
        run.history()


@pytest.mark.parametrize("file", ["model.safetensors", "history.csv"])
def test_a_lost_file_without_checkpoints_is_not_trained_anew_in_silence(finished, tmp_path, file):
    run = copied(finished, tmp_path)
    (run.path / file).unlink()
    shutil.rmtree(run.path / "checkpoint")
    with pytest.raises(RunError, match=rf"tested, but {file} is not.*or delete metrics\.json"):
        go_on(run, progress=False)


# ---------------------------------------------------------------------------- another machine


def test_other_kernels_are_refused_unless_they_are_accepted(finished, tmp_path):
    run = copied(finished, tmp_path)
    assert run.config["versions"]["blas kernels"] == blas_kernels() != ""
    (run.path / "metrics.json").unlink()
    versions = run.config["versions"] | {"blas kernels": "Katmai"}
    run = SavedRun(run.path, run.config | {"versions": versions}, run.recipe)
    with pytest.raises(RunError, match=r"was Katmai\), as on another.*--accept-other-machine"):
        go_on(run, progress=False)
    with pytest.warns(UserWarning, match="the last bits may differ"):
        go_on(run, progress=False, accept_other_machine=True)
    assert run.complete


def test_what_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(RunError, match="there is no run folder"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"has no config\.json"):
        open_run(tmp_path)


def test_what_is_missing_is_said(finished, tmp_path):
    begun = open_run(changed(finished[0], tmp_path / "copy"))
    assert not begun.complete
    for read in (begun.metrics, begun.history, begun.model):
        with pytest.raises(RunError, match=r"not complete; go on with `tinygrad-fm train --resume"):
            read()


def test_weights_of_another_model_are_refused(finished, tmp_path):
    path = changed(finished[0], tmp_path / "copy", recipe="mlp-1hidden")
    (path / "model.safetensors").write_bytes((finished[0] / "model.safetensors").read_bytes())
    with pytest.raises(RunError, match=r"model\.safetensors: these weights do not fit Sequential"):
        open_run(path).model()


def test_another_data_set_is_refused(finished, tmp_path):
    sums = {"train": "0" * 64, "test": "0" * 64}
    run = open_run(changed(finished[0], tmp_path / "copy", data_sha256=sums))
    with pytest.raises(RunError, match="is not the data set that"):
        run.test_set()
    with pytest.raises(RunError, match="began on other train images"):
        go_on(run, progress=False)


def test_the_results_name_the_command_that_began_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tinygrad-fm", "train", "mlp", "--epochs", "1"])
    path = begin("mlp", SETTINGS, out=tmp_path / "run").path
    monkeypatch.setattr("sys.argv", ["tinygrad-fm", "train", "--resume", str(path)])
    go_on(open_run(path), progress=False)
    assert open_run(path).metrics()["command"] == "python -m tinygrad_fm train mlp --epochs 1"


def test_the_results_name_the_commit_that_began_the_run_and_the_one_that_went_on(tmp_path):
    saved = begin("mlp", SETTINGS, out=tmp_path / "run")
    now = saved.config["commit"]
    began = saved.config | {"commit": "abc1234"}
    go_on(SavedRun(saved.path, began, saved.recipe), progress=False)
    assert saved.metrics()["commit"] == (f"abc1234, {now}" if now else "abc1234")
    other = begin("mlp", SETTINGS, out=tmp_path / "other")
    go_on(other, progress=False)
    assert other.metrics()["commit"] == now


def test_other_versions_are_pointed_out(tmp_path):
    saved = begin("mlp", SETTINGS, out=tmp_path / "run")
    versions = {"numpy": "1.0", "blas kernels": "Katmai", "python": platform.python_version()}
    old = saved.config | {"versions": versions}  # nothing is trained yet: no reason to refuse
    with pytest.warns(UserWarning, match=r"with numpy \S+ \(was 1\.0\), blas .*: the last bits"):
        go_on(SavedRun(saved.path, old, saved.recipe), progress=False)


def test_settings_by_name():
    recipe = RECIPES["cnn"]
    assert configured(recipe, {}) == recipe
    adam = configured(recipe, {"optimizer": "adam"})
    assert adam.lr == 1e-3  # not the rate of the recipe's SGD
    assert configured(recipe, {"optimizer": "adam", "lr": 0.5}).lr == 0.5
    assert type(adam.optimizer(adam.build().parameters(), adam.lr)).__name__ == "Adam"
    assert configured(recipe, {"augment": True}).augment
    plus = RECIPES["cnn-3conv-plus"]
    assert configured(plus, {"augment": True}).augment == plus.augment
    assert configured(plus, {"augment": False}).augment == ()
    with pytest.raises(ValueError, match="trained on features, which cannot be augmented"):
        configured(RECIPES["features-mlp"], {"augment": True})


def test_the_data_are_looked_for_where_they_are_now(finished, tmp_path):
    """And not where they were in training, unless nothing else is said."""
    settings = {"dataset": "mnist"}
    run = open_run(changed(finished[0], tmp_path / "copy", settings=settings, data_dir="gone"))
    for data_dir, place in ((tmp_path, tmp_path), (None, "gone")):
        with pytest.raises(data.DataUnavailable, match=f"mnist is not in {place} "):
            run.test_set(data_dir)
