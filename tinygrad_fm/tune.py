"""A search for a recipe's hyperparameters by optuna, which the extra `tune` installs.

Every trial trains the recipe with other settings and is judged by its best validation accuracy; the
test set stays unread. Trials that fall behind the median of those before them are given up early.
They are kept in a database: a search goes on where it ended, and several workers, on one machine or
on many, share a search by naming the same storage.

Akiba et al. (2019), Optuna: A Next-generation Hyperparameter Optimization Framework,
https://arxiv.org/abs/1907.10902.
"""

from __future__ import annotations

import csv
import io
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_fm import data
from tinygrad_fm.errors import NonFiniteLossError, TuneError
from tinygrad_fm.files import write_atomically
from tinygrad_fm.recipes import Recipe
from tinygrad_fm.recipes.run import Datasets, prepare
from tinygrad_fm.recipes.settings import SCHEDULES, WIDTHS, architecture, configured
from tinygrad_fm.report import Trial, format_settings, plot_trials
from tinygrad_fm.runs.files import write_json
from tinygrad_fm.train import History

if TYPE_CHECKING:
    import optuna

__all__ = ["TuneError", "search", "suggest", "write_csv"]

# The optimizers that are tried, and the learning rates of each: their steps differ in size.
RATES = {"sgd": (1e-3, 2e-1), "adam": (1e-4, 1e-2), "adamw": (1e-4, 1e-2)}
BEST = "best.json"
# The URLs name the driver: which one SQLAlchemy takes otherwise depends on its version.
DRIVERS = (
    "the package for its URL is not installed: psycopg2-binary for postgresql+psycopg2://…, "
    "PyMySQL for mysql+pymysql://…"
)


def search(
    recipe: Recipe,
    out: Path,
    *,
    data_dir: str | Path | None = None,
    trials: int = 20,
    storage: str | None = None,
    study: str | None = None,
    seed: int = 0,
) -> list[Trial]:
    """Make `trials` more trials, and report on all that the study has.

    Args:
        recipe: with its data set and epochs, see `Recipe.changed`.
        out: folder for trials.csv, trials.png, best.json (the settings of the best complete trial,
            for `configured`) and, without `storage`, the database trials.db.
        trials: how many this call adds; each of several workers adds its own.
        storage: the URL of a database, such as "postgresql+psycopg2://host/name".
        study: the search's name in the storage; by default the recipe's and the data set's.
        seed: of the split and of every training. The settings that trial number n tries follow
            from it, n and the trials before.

    Returns:
        All trials of the study, in the order of their numbers.

    Raises:
        TuneError: optuna is missing, the storage can't be opened, or the study is of another kind.
        DataUnavailable: the data set can neither be found nor fetched.
    """
    _require_optuna()
    import optuna

    if trials < 1:
        raise TuneError(f"a search needs at least 1 trial, got {trials}")
    if recipe.extractor is not None:
        raise TuneError(
            f"{recipe.name} learns from the features of {recipe.extractor.name}: search for the "
            f"settings of that recipe, or train {recipe.name} with other ones by hand"
        )
    datasets = data.load(recipe.dataset, data_dir)
    out.mkdir(parents=True, exist_ok=True)
    name = study or f"{recipe.name}-{recipe.dataset}"
    found = _open(partial(_storage, storage, out), name, recipe, seed)

    def objective(trial: optuna.Trial) -> float:
        # A sampler for each trial: a resumed search, or a second worker, that began with the seed
        # of the first would repeat its trials.
        mixed = np.random.SeedSequence([seed, trial.number]).generate_state(1)
        trial.study.sampler = optuna.samplers.TPESampler(seed=int(mixed[0]), multivariate=False)
        tried = configured(recipe, suggest(trial, recipe))
        return _accuracy(trial, tried, datasets, seed)

    try:
        found.optimize(objective, trials, callbacks=[_tell])
    finally:  # also of a search that is interrupted
        made = _write(found.get_trials(), recipe, out)
    return made


def suggest(trial: optuna.trial.BaseTrial, recipe: Recipe) -> dict[str, Any]:
    """The settings that this trial shall try, or has tried, as `configured` takes them.

    Optimizer, learning rate and schedule, and of the recipe's `architecture` everything.
    """
    name = trial.suggest_categorical("optimizer", list(RATES))
    low, high = RATES[name]
    settings: dict[str, Any] = {
        "optimizer": name,
        "lr": trial.suggest_float(f"lr {name}", low, high, log=True),
        "schedule": trial.suggest_categorical("schedule", list(SCHEDULES)),
    }
    for argument, usual in architecture(recipe).items():
        if argument in WIDTHS:
            settings[argument] = _suggest_widths(trial, argument, usual)
        else:
            settings[argument] = trial.suggest_float(argument.replace("_", " "), 0, 0.6)
    return settings


def pruner(epochs: int) -> optuna.pruners.BasePruner:
    """What gives up trials that are behind the median, in the second half of their epochs.

    In the first half a one-cycle schedule is behind, and not because it is worse.
    """
    import optuna

    # optuna's steps are our epochs: it may prune at step n_warmup_steps already.
    first = (epochs + 1) // 2 + 1
    return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=first)


def write_csv(trials: Sequence[Trial], path: Path) -> None:
    """One line a trial; a parameter that a trial does not have is left empty."""
    names = dict.fromkeys(name for trial in trials for name in trial.parameters)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["trial", "state", "epochs", "validation_accuracy", *names])
    for t in trials:
        parameters = [t.parameters.get(name) for name in names]
        writer.writerow([t.number, t.state, t.epochs, t.accuracy, *parameters])
    write_atomically(path, file.getvalue().encode())


# ---------------------------------------------------------------------------- a trial


def _suggest_widths(
    trial: optuna.trial.BaseTrial, name: str, usual: int | tuple[int, ...]
) -> int | tuple[int, ...]:
    """From half to twice the usual, in steps of an eighth of it: one layer's, or each layer's."""
    if isinstance(usual, int):
        return trial.suggest_int(name, usual // 2, 2 * usual, step=max(usual // 8, 1))
    widths = (_suggest_widths(trial, f"{name} {i}", width) for i, width in enumerate(usual, 1))
    return tuple(widths)  # type: ignore[arg-type]  # each of an int is an int


def _accuracy(trial: optuna.Trial, recipe: Recipe, datasets: Datasets, seed: int) -> float:
    """Train, telling optuna of every epoch; the best validation accuracy."""
    import optuna

    training, _ = prepare(recipe, datasets, seed)

    def tell(history: History) -> None:
        last = history.rows[-1]
        trial.report(last.val_accuracy, last.epoch)
        if last.epoch < recipe.epochs and trial.should_prune():
            raise optuna.TrialPruned

    try:
        history = training.run(on_epoch_end=tell)
    except NonFiniteLossError as error:  # too large a learning rate is an answer, not a failure
        raise optuna.TrialPruned from error
    return float(history["val_accuracy"].max())


def _write(found: Sequence[optuna.trial.FrozenTrial], recipe: Recipe, out: Path) -> list[Trial]:
    """The table, the picture and the best settings, as far as there are any."""
    made = [_trial(frozen) for frozen in found]
    write_csv(made, out / "trials.csv")
    complete = [frozen for frozen in found if frozen.state.name == "COMPLETE"]
    if complete:
        logarithmic = {
            name
            for frozen in found
            for name, distribution in frozen.distributions.items()
            if getattr(distribution, "log", False)
        }
        plot_trials(made, out / "trials.png", logarithmic)
        best = max(complete, key=lambda frozen: frozen.value or 0.0)
        searched = {"dataset": recipe.dataset, "epochs": recipe.epochs}
        write_json(out / BEST, searched | suggest(best, recipe))
    return made


def _tell(study: optuna.Study, frozen: optuna.trial.FrozenTrial) -> None:
    """A line for each trial that this worker has finished."""
    t = _trial(frozen)
    reached = "nothing" if t.accuracy is None else f"{t.accuracy:.2%}"
    settings = format_settings(t.parameters)
    if sys.stderr.isatty():
        told = f"trial {t.number}, {t.state} after {t.epochs}: {reached} ({settings})"
        print(told, file=sys.stderr)


def _trial(frozen: optuna.trial.FrozenTrial) -> Trial:
    values = frozen.intermediate_values
    state = "failed" if frozen.state.name == "FAIL" else frozen.state.name.lower()
    best = max(values.values(), default=None)
    return Trial(frozen.number, state, len(values), best, frozen.params)


# ---------------------------------------------------------------------------- optuna and storage


def _require_optuna() -> None:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise TuneError(
            "a search needs optuna, which is not installed: "
            "python -m pip install 'tinygrad-fm[tune]'"
        ) from error
    # We tell of the trials ourselves; its warning about one that Ctrl-C ends is a whole traceback.
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _storage(url: str | None, out: Path) -> optuna.storages.RDBStorage:
    """The database of that URL, or else trials.db in the folder `out`.

    Workers give a sign of life once a minute. The trial of one that was killed fails when another
    trial begins two minutes later.
    """
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        connect = partial(optuna.storages.RDBStorage, heartbeat_interval=60)
        if url is not None:
            return connect(url)
        path = out / "trials.db"
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise TuneError(f"{path} is no file of the folder's own; give another --out")
        # The folder's name may have signs that a URL gives a meaning to, so it is in none.
        file = partial(sqlite3.connect, path, check_same_thread=False)
        return connect("sqlite:///trials.db", engine_kwargs={"creator": file})


def _open(
    storage: Callable[[], optuna.storages.RDBStorage], name: str, recipe: Recipe, seed: int
) -> optuna.Study:
    """The study of that name, new or with the trials that it has already."""
    study = _create(storage, name, epochs=recipe.epochs)
    facts = {
        "recipe": recipe.name,
        "dataset": recipe.dataset,
        "epochs": recipe.epochs,
        "seed": seed,
    }
    different = [
        f"{fact} {study.user_attrs[fact]}, wanted {value}"
        for fact, value in facts.items()
        if study.user_attrs.get(fact, value) != value
    ]
    if different:
        raise TuneError(
            f"the study {name!r} has {'; '.join(different)}: its trials can't be compared. Give "
            "another --study or --out, or the same settings as before"
        )
    for fact, value in facts.items():
        study.set_user_attr(fact, value)
    return study


def _create(
    storage: Callable[[], optuna.storages.RDBStorage], name: str, epochs: int
) -> optuna.Study:
    """optuna's `create_study`, more patient."""
    import optuna
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    create = partial(
        optuna.create_study, direction="maximize", pruner=pruner(epochs), load_if_exists=True
    )
    reason: Exception
    for pause in (0.3, 1.0, 3.0, 0.0):
        try:
            return create(storage=storage(), study_name=name)
        except (SQLAlchemyError, ImportError, RuntimeError) as error:  # URL, driver, version, …
            reason = error
        if not isinstance(reason, DBAPIError):
            break
        time.sleep(pause)  # two workers may be making the tables at once, which only one can
    told = DRIVERS if isinstance(reason, ImportError) else reason
    raise TuneError(f"the storage of trials can't be opened: {told}") from reason
