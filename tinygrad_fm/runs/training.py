"""Training into a run folder."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_fm import data, get_num_threads
from tinygrad_fm.errors import RunError
from tinygrad_fm.nn import Module
from tinygrad_fm.recipes import RECIPES, Recipe, Run
from tinygrad_fm.recipes.features import load_extractor, training_facts
from tinygrad_fm.recipes.run import Datasets, check_extractor, extractor_recipe, finish, prepare
from tinygrad_fm.recipes.settings import configured
from tinygrad_fm.recipes.weights import save_weights
from tinygrad_fm.report import plot_confusion, plot_history, plot_predictions
from tinygrad_fm.runs.checkpoint import Checkpoints
from tinygrad_fm.runs.files import need_own_folder
from tinygrad_fm.runs.folder import (
    CHECKPOINTS,
    CONFIG,
    EXTRACTOR,
    HISTORY,
    INITIAL,
    KERNELS,
    METRICS,
    MODEL,
    SavedRun,
    commit,
    create_run,
    data_sum,
    open_run,
    versions,
    write_metrics,
)
from tinygrad_fm.runs.interrupt import signals_wait
from tinygrad_fm.runs.lock import locked
from tinygrad_fm.train import History, Training

CHECKPOINT_EVERY = 30.0  # seconds within an epoch; there is one after each epoch as well


def begin(
    name: str,
    settings: Mapping[str, Any],
    *,
    seed: int = 0,
    data_dir: Path | None = None,
    extractor: Path | None = None,
    initial: Module | None = None,
    out: Path | None = None,
) -> SavedRun:
    """Make the folder of a new run; `go_on` trains it.

    Args:
        name: the recipe's.
        settings: what differs from the recipe, see `recipes.settings.configured`.
        extractor: the weights of the recipe's extractor, which is trained first otherwise.
        initial: the model that training begins with, and the run's until it has trained.
        out: the folder, new or empty; by default `runs/<recipe>-<date>-<seed>`.

    Raises:
        ValueError: a setting that is unknown, or cannot have its value.
        DataUnavailable: the data set can neither be found nor fetched.
        ExtractorError: the extractor's weights don't fit the recipe and the seed.
        RunError: the folder has something in it.
        OSError: the folder cannot be made.
    """
    recipe = configured(RECIPES[name], settings)
    check_extractor(recipe, extractor)
    source = None
    if extractor is not None:
        source = load_extractor(extractor_recipe(recipe), seed, extractor)
    datasets = data.load(recipe.dataset, data_dir)

    def fill(folder: Path) -> None:
        if source is not None:
            _write_weights(source, folder / EXTRACTOR, extractor_recipe(recipe), seed)
        if initial is not None:
            for file in (INITIAL, MODEL):
                _write_weights(initial, folder / file, recipe, seed)

    return create_run(
        name,
        settings,
        datasets,
        seed=seed,
        data_dir=data_dir,
        out=out,
        imported=initial is not None,
        fill=fill,
    )


def go_on(
    saved: SavedRun,
    *,
    data_dir: Path | None = None,
    progress: bool = True,
    accept_other_machine: bool = False,
) -> Run:
    """Train from where the run folder is, and write what comes out of it.

    However often this is interrupted, by whatever, the weights and the history are at the end those
    of a training that never was, to the bit. A tested run that has lost files gets them again.

    Args:
        data_dir: where the data set's files are now, if not where they were at the beginning.
        accept_other_machine: go on with other kernels of BLAS than training began with, which
            round otherwise.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed, or SIGTERM or SIGHUP came; if that was in training, a
            checkpoint is written.
        DataUnavailable: the data set can neither be found nor fetched.
        RunError: the folder is in use, something in it cannot be used, the data set has changed, or
            BLAS has other kernels.
        NonFiniteLossError: the loss became NaN or infinite.
        OSError: the folder cannot be written to, or the disk is full.
    """
    code = _commits(saved)  # now: the checkout may be another one when training ends
    with locked(saved.path):
        place = data_dir or saved.config["data_dir"]
        datasets = data.load(saved.recipe.dataset, place)
        _check_data(saved, datasets)
        _check_lost(saved)
        _check_versions(saved, accept_other_machine)
        source = _extractor(saved, place, progress, accept_other_machine)
        training, test = prepare(saved.recipe, datasets, saved.seed, source)
        _train(saved, training, progress)
        result = finish(saved.recipe, saved.seed, training, datasets[1], test)
        write_results(saved, result, code)
    return result


def _train(saved: SavedRun, training: Training, progress: bool) -> None:
    """Run the training from its last checkpoint to the end, writing new ones on the way."""
    checkpoints = Checkpoints(saved.path / CHECKPOINTS, _facts(saved))
    state = checkpoints.load()
    if state is not None:
        _restore(training, state, checkpoints.folder)
    elif saved.config.get("imported") or (saved.path / INITIAL).exists():
        saved.weights(INITIAL, training.model)
    written = time.monotonic()

    def save() -> None:
        nonlocal written
        checkpoints.save(training.state_dict())
        written = time.monotonic()

    def after_batch() -> None:
        if interrupt() or time.monotonic() - written >= CHECKPOINT_EVERY:
            save()
        end_if_interrupted()

    def end_if_interrupted() -> None:
        error = interrupt()
        if error:
            raise error

    def after_epoch(history: History) -> None:
        save()
        history.write_csv(saved.path / HISTORY)
        stopping = training.early_stopping
        if stopping is not None and stopping.best_epoch == len(history):
            _write_weights(training.model, saved.path / MODEL, saved.recipe, saved.seed)

    with signals_wait() as interrupt:
        training.run(progress, after_batch, after_epoch)
        end_if_interrupted()  # in the last validation, after which there is no batch


def _facts(saved: SavedRun) -> dict[str, Any]:
    """What a checkpoint must agree in with its run."""
    return {name: saved.config[name] for name in ("recipe", "settings", "seed", "data_sha256")}


def _restore(training: Training, state: dict[str, Any], folder: Path) -> None:
    try:
        # Numbers that are too large for the model's type are no weights.
        with np.errstate(over="raise", invalid="raise"):
            training.load_state_dict(state)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RunError(f"the checkpoint in {folder} does not fit this recipe: {error}") from error


def write_results(saved: SavedRun, result: Run, code: str | None) -> None:
    """Fill a run folder; metrics.json comes last, and says that everything else is there.

    Args:
        code: the commit that the run was trained by.
    """
    path = saved.path
    classes, (_, probabilities, labels) = result.test_set.classes, result.predictions
    result.history.write_csv(path / HISTORY)
    result.save_weights(path / MODEL)
    plot_history(result.history, path / "curves.png")
    plot_confusion(result.confusion, classes, path / "confusion.png")
    images = result.test_set.images
    plot_predictions(images, probabilities, labels, classes, path / "predictions.png")
    # The command that began the run, also where another one went on with it.
    command = saved.config.get("command")
    facts = {"threads": get_num_threads(), "command": command, "commit": code}
    write_metrics(path, result.metrics() | facts)


def _commits(saved: SavedRun) -> str | None:
    """The commit that the run began with, and the one that it goes on with if that is another."""
    commits = dict.fromkeys(str(c) for c in (saved.config.get("commit"), commit()) if c)
    return ", ".join(commits) or None


def _check_data(saved: SavedRun, datasets: Datasets) -> None:
    for dataset, part in zip(datasets, ("train", "test"), strict=True):
        if data_sum(dataset) != saved.config["data_sha256"][part]:
            raise RunError(
                f"{saved.path} began on other {part} images than those of {dataset.name} now; "
                "train anew"
            )


def _check_lost(saved: SavedRun) -> None:
    """What a tested run has lost comes from checkpoints, not from a training that replaces it."""
    if not saved.tested:
        return
    saved.verify(CONFIG)
    sources = {name: saved.path / CHECKPOINTS for name in saved.lost}
    if EXTRACTOR in sources:
        sources[EXTRACTOR] = saved.path / "extractor" / CHECKPOINTS
    gone = [name for name, folder in sources.items() if not any(folder.glob("*.json"))]
    if gone:
        raise RunError(
            f"{saved.path} has been trained and tested, but {', '.join(gone)} is not there, nor a "
            f"checkpoint to make it again from; put back a copy, or delete {METRICS} to train anew"
        )


def _check_versions(saved: SavedRun, accept_other_machine: bool) -> None:
    now = versions()
    changed = {
        name: f"{name} {now[name]} (was {was})"
        for name, was in saved.config["versions"].items()
        if name in now and now[name] != was
    }
    trained = any((saved.path / CHECKPOINTS).glob("*.json"))
    if KERNELS in changed and trained and not accept_other_machine:
        raise RunError(
            f"{saved.path} would go on with {changed[KERNELS]}, as on another machine: it would "
            "not end with the bits of a run that stayed on one; to go on all the same, give "
            "--accept-other-machine"
        )
    if changed:
        warnings.warn(
            f"{saved.path} goes on with {', '.join(changed.values())}: the last bits may differ",
            stacklevel=3,
        )


def _extractor(
    saved: SavedRun, data_dir: Path | None, progress: bool, accept_other_machine: bool
) -> Module | None:
    """The trained network that makes the features, if there are to be any.

    It is read from extractor.safetensors; if that is not there yet, a run of its own, in the folder
    extractor/, makes it.
    """
    if saved.recipe.extractor is None:
        return None
    recipe = extractor_recipe(saved.recipe)
    if (saved.path / EXTRACTOR).exists():
        return saved.weights(EXTRACTOR, recipe.build_hollow())
    folder = saved.path / "extractor"
    need_own_folder(folder)
    if (folder / CONFIG).exists():
        own = open_run(folder)
    else:
        same_images = {
            "dataset": recipe.dataset,
            "validation_fraction": recipe.validation_fraction,
        }
        own = begin(
            recipe.name,
            same_images,
            seed=saved.seed,
            data_dir=data_dir,
            out=folder,
        )
    model = go_on(
        own, data_dir=data_dir, progress=progress, accept_other_machine=accept_other_machine
    ).model
    _write_weights(model, saved.path / EXTRACTOR, recipe, saved.seed)
    return model


def _write_weights(model: Module, path: Path, recipe: Recipe, seed: int) -> None:
    save_weights(model, path, training_facts(recipe, seed))
