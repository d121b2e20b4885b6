"""A run folder: everything that is needed to repeat a training, and what came out of it.

runs/cnn-2026-04-15-0/
    config.json            recipe, settings, data checksums, normalisation, versions, command
    history.csv            one row an epoch
    metrics.json           test accuracy and the rest; its presence says that the run is complete
    model.safetensors      the weights of the best epoch
    curves.png, confusion.png, predictions.png
    checkpoint/            where to go on after an interruption
    extractor.safetensors  only of a model on features: the network that makes them
    initial.safetensors    only of an imported model: the weights that training begins with
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from threadpoolctl import threadpool_info

import tinygrad_fm
from tinygrad_fm import data
from tinygrad_fm.files import PARTIAL
from tinygrad_fm.formatting import printable
from tinygrad_fm.nn import Module, Sequential
from tinygrad_fm.recipes import RECIPES, Recipe
from tinygrad_fm.recipes.run import normalisation
from tinygrad_fm.recipes.settings import configured
from tinygrad_fm.recipes.weights import (
    MAX_WEIGHTS,
    WeightsError,
    checksum,
    load_arrays,
    put_weights,
)
from tinygrad_fm.runs.files import (
    RunError,
    read_bounded,
    read_json,
    write_json,
)
from tinygrad_fm.runs.lock import LOCK, locked
from tinygrad_fm.train import History, Predictions, predict

KERNELS = "blas kernels"  # among the versions in config.json
FORMAT = "tinygrad_fm run 2"
WITHOUT_SUMS = "tinygrad_fm run 1"  # its weights may lack a checksum
CONFIG, HISTORY, METRICS = "config.json", "history.csv", "metrics.json"
MODEL, EXTRACTOR, INITIAL = "model.safetensors", "extractor.safetensors", "initial.safetensors"
CHECKPOINTS = "checkpoint"
SUMS, OWN_SUM = "sha256", "metrics_sha256"  # in metrics.json: checksums of the files beside it

LONGEST = 200  # characters of a class's name

# What config.json must have, and what must be true of it.
WANTED: dict[str, Callable[[Any], bool]] = {
    "recipe": lambda value: isinstance(value, str),
    "settings": lambda value: isinstance(value, dict),
    "seed": lambda value: isinstance(value, int) and value >= 0,
    "data_dir": lambda value: value is None or isinstance(value, str),
    "data_sha256": lambda value: isinstance(value, dict) and value.keys() == {"train", "test"},
    "classes": lambda value: (
        isinstance(value, list)
        and len(value) == 10
        and all(isinstance(name, str) and len(name) <= LONGEST for name in value)
    ),
    "normalisation": lambda value: isinstance(value, dict) and _is_normalisation(value),
    "versions": lambda value: isinstance(value, dict),
}

# What metrics.json must have, and the largest number that it may be.
MEASURED = {
    "parameters": 1e15,
    "epochs": 1e15,
    "train_accuracy": 1,
    "validation_accuracy": 1,
    "test_accuracy": 1,
    "seconds": 1e15,
}


@dataclass(frozen=True)
class SavedRun:
    """What is in a run folder, read when it is asked for; made by `open_run`.

    Attributes:
        path: the folder.
        config: its config.json.
        recipe: the recipe with the run's settings.
    """

    path: Path
    config: dict[str, Any]
    recipe: Recipe

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def seed(self) -> int:
        """Of everything that is random in the run."""
        return self.config["seed"]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, as they can be printed anywhere."""
        return tuple(map(printable, self.config["classes"]))

    @property
    def normalise(self) -> data.Normalize:
        """The transform of float images 0 to 1 that the model was trained with."""
        numbers = self.config["normalisation"]
        return data.Normalize(numbers["mean"], numbers["std"])

    @property
    def tested(self) -> bool:
        """Whether training came to its end and was tested."""
        return (self.path / METRICS).exists()

    @property
    def lost(self) -> list[str]:
        """The files that a tested run must have and this one lacks."""
        features = self.recipe.extractor is not None
        wanted = (MODEL, HISTORY, *([EXTRACTOR] if features else []))
        return [name for name in wanted if not (self.path / name).exists()]

    @property
    def complete(self) -> bool:
        """Whether training came to its end and was tested, and everything is still there."""
        return self.tested and not self.lost

    def model(self) -> Module:
        """The model with its best weights, in evaluation mode: normalised images -> outputs.

        That of a recipe on features has the extractor in front.

        Raises:
            RunError: there are no weights yet, or not those of this recipe, or damaged ones.
        """
        model = self.own_model()
        if self.recipe.extractor is not None:
            extractor = self.weights(EXTRACTOR, self.recipe.extractor.build_hollow())
            model = Sequential(extractor.features, model)
        return model.eval()

    def own_model(self) -> Module:
        """The recipe's model alone, with its best weights: one on features takes features.

        Raises:
            RunError: there are no weights yet, or not those of this recipe, or damaged ones.
        """
        self.verify(CONFIG)  # it says how the model is built, and what it takes
        return self.weights(MODEL, self.recipe.build_hollow())

    def weights(self, name: str, model: Module) -> Module:
        """The model with the weights in a file of the run, once nothing is wrong with them.

        Raises:
            RunError: there is no such file yet, or it is damaged, or of another model.
        """
        self.verify(name)
        return weights_into(
            model, self.path / name, sum_needed=self.config["format"] != WITHOUT_SUMS
        )

    def history(self) -> History:
        """The epochs so far.

        Raises:
            RunError: there is no history.csv, or it is torn, or has other epochs than the run.
        """
        path = self.path / HISTORY
        self.verify(HISTORY)
        try:
            history = History.read_csv(path)
        except ValueError as error:
            raise RunError(str(error)) from error
        most = self.recipe.epochs
        if len(history) > most or (self.tested and len(history) != self.metrics()["epochs"]):
            wanted = self.metrics()["epochs"] if self.tested else f"at most {most}"
            raise RunError(f"{path} has {len(history)} epochs, wanted {wanted}; it is damaged")
        return history

    def metrics(self) -> dict[str, Any]:
        """What was measured at the end: see `recipes.Run.metrics`.

        Raises:
            RunError: training is not complete, or metrics.json is torn or not one of ours.
        """
        path = self.path / METRICS
        if not self.tested:
            raise RunError(self._missing(path))
        metrics = read_json(path)
        for name, most in MEASURED.items():
            if not _is_measured(metrics.get(name), most):
                got = str(metrics.get(name))[:40]
                raise RunError(f"{path} has {got!r} as {name!r}; it is damaged or not one of ours")
        if {SUMS, OWN_SUM} & metrics.keys() and metrics.get(OWN_SUM) != own_sum(metrics):
            raise RunError(
                f"{path} is damaged: it does not have the checksum it says; "
                f"{self._way_out(METRICS)}"
            )
        return metrics

    def verify(self, name: str) -> None:
        """A file of the run must be there; if training is over, as it was then.

        Raises:
            RunError: it is missing or damaged.
        """
        path = self.path / name
        if not path.exists():
            raise RunError(self._missing(path))
        wanted = self.metrics().get(SUMS, {}).get(name) if self.tested else None
        if wanted not in (None, file_sum(path)):
            raise RunError(
                f"{path} is damaged: {METRICS} says another checksum; {self._way_out(name)}"
            )

    def test_set(self, data_dir: str | Path | None = None) -> data.ArrayDataset:
        """The data set that the run is tested on, the same to the bit.

        Args:
            data_dir: where its files are now, if not where they were in training.

        Raises:
            DataUnavailable: not found.
            RunError: another data set than that of the run.
        """
        _, test_set = data.load(self.recipe.dataset, data_dir or self.config["data_dir"])
        if data_sum(test_set) != self.config["data_sha256"]["test"]:
            raise RunError(f"{test_set.name} is not the data set that {self.path} was tested on")
        return test_set

    def test_batches(self, data_dir: str | Path | None = None) -> data.DataLoader:
        """The test set in normalised batches, for `model()`."""
        transform = data.Compose([data.ToFloat(), self.normalise])
        return data.DataLoader(self.test_set(data_dir), 500, transform=transform)

    def predictions(self, data_dir: str | Path | None = None) -> Predictions:
        """Class probabilities of the test set, computed now."""
        return predict(self.model(), self.test_batches(data_dir), self.probabilities)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Those of the classes (N, K), from the model's outputs.

        Raises:
            RunError: they are no numbers.
        """
        found = self.recipe.probabilities(outputs)
        if not np.isfinite(found).all():
            raise RunError(
                f"{self.path / MODEL} makes outputs that are not finite numbers: its weights are "
                "damaged, or training them has failed"
            )
        return found

    def _missing(self, path: Path) -> str:
        if path.name == INITIAL:
            return f"{path} is not there, which training begins with; put back a copy of it"
        return (
            f"{path} is not there: this run is not complete; go on with "
            f"`{resume_command(self.path)}`"
        )

    def _way_out(self, name: str) -> str:
        """What can be done about a file that is damaged."""
        if name == CONFIG or not (self.path / CHECKPOINTS).exists():
            return "put back a copy of it"
        return (
            f"put back a copy of it, or delete it: `{resume_command(self.path)}` makes it again "
            "from the last checkpoint"
        )


def open_run(path: str | Path) -> SavedRun:
    """Read a run folder.

    Raises:
        RunError: no such folder, not one of ours, or one of a recipe or with settings that this
            version does not have.
    """
    path = Path(path)
    if not path.is_dir():
        raise RunError(f"there is no run folder {path}")
    if not (path / CONFIG).exists():
        raise RunError(f"{path} is no run folder: it has no {CONFIG}")
    config = read_json(path / CONFIG)
    if config.get("format") not in (FORMAT, WITHOUT_SUMS):
        raise RunError(
            f"{path / CONFIG} has the format {config.get('format')!r}, wanted {FORMAT!r}"
        )
    for name, is_right in WANTED.items():
        if name not in config or not is_right(config[name]):
            got = f"has {str(config[name])[:40]!r} as" if name in config else "lacks"
            raise RunError(f"{path / CONFIG} {got} {name!r}; it is damaged or not one of ours")
    if config["recipe"] not in RECIPES:
        raise RunError(f"{path} is of the recipe {config['recipe'][:40]!r}, which is unknown here")
    try:
        recipe = configured(RECIPES[config["recipe"]], config["settings"])
    except ValueError as error:
        raise RunError(f"{path / CONFIG}: {error}") from error
    return SavedRun(path, config, recipe)


def create_run(
    name: str,
    settings: Mapping[str, Any],
    datasets: tuple[data.ArrayDataset, data.ArrayDataset],
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    imported: bool = False,
    fill: Callable[[Path], None] | None = None,
) -> SavedRun:
    """Make a run folder with its config.json.

    Args:
        name: the recipe's.
        settings: what differs from the recipe, see `configured`.
        datasets: training and test set.
        out: the folder, which must be new or empty; by default `runs/<recipe>-<date>-<seed>`.
        imported: training begins with the weights in initial.safetensors, and not without them.
        fill: writes into the folder what training begins with. It is called before config.json is
            written: a folder that lacks some of it is no run.

    Raises:
        RunError: the folder has something in it, or another process is making a run in it.
        OSError: the folder cannot be made.
    """
    recipe = configured(RECIPES[name], settings)
    train_set, test_set = datasets
    kept, _ = data.train_validation_split(train_set, recipe.validation_fraction, seed)
    normalise = normalisation(kept.images)
    config = {
        "format": FORMAT,
        "recipe": name,
        "settings": dict(settings),
        "dataset": recipe.dataset,
        "data_dir": None if data_dir is None else str(Path(data_dir).resolve()),
        "data_sha256": {"train": data_sum(train_set), "test": data_sum(test_set)},
        "classes": list(train_set.classes),
        "normalisation": {"mean": normalise.mean, "std": normalise.std},
        "validation_fraction": recipe.validation_fraction,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "lr": recipe.lr,
        "seed": seed,
        "imported": imported,
        "threads": tinygrad_fm.get_num_threads(),
        "versions": versions(),
        "command": command_line(),
        "commit": commit(),
    }
    path = _new_folder(f"{name}-{datetime.date.today()}-{seed}", out)
    with locked(path):
        _need_empty(path)  # still: another process may have begun a run in it
        if fill is not None:
            fill(path)
        write_json(path / CONFIG, config)
    return SavedRun(path, config, recipe)


def _new_folder(name: str, out: str | Path | None) -> Path:
    """Make the folder `out`, or else `runs/<name>`, with -2, -3, … if that is taken."""
    if out is not None:
        path = Path(out)
        path.mkdir(parents=True, exist_ok=True)
        _need_empty(path)
        return path
    for number in itertools.count(1):
        path = Path("runs", name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise AssertionError("there is always another number")


def _need_empty(path: Path) -> None:
    """Nothing may be there but what a program leaves that was killed before its run had begun."""
    if any(file.name != LOCK and PARTIAL not in file.name for file in path.iterdir()):
        raise RunError(f"{path} is not empty; choose another folder, or --resume the run in it")


def weights_into(model: Module, path: Path, *, sum_needed: bool = False) -> Module:
    """The model with the weights of a safetensors file, see `put_weights`.

    Raises:
        RunError: the file cannot be read, is damaged, or has weights of another model.
    """
    content = read_bounded(path, MAX_WEIGHTS)
    try:
        return put_weights(
            model, *load_arrays(content, str(path)), str(path), sum_needed=sum_needed
        )
    except WeightsError as error:
        raise RunError(str(error)) from error


def file_sum(path: Path) -> str:
    """The checksum of a file, as `sha256sum` gives it."""
    return checksum(read_bounded(path, MAX_WEIGHTS))


def own_sum(metrics: Mapping[str, Any]) -> str:
    """The checksum of what is in metrics.json beside this sum."""
    rest = {name: value for name, value in metrics.items() if name != OWN_SUM}
    return checksum(json.dumps(rest).encode())


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics.json, with the checksums of the files that later commands read, and its own."""
    files = [folder / name for name in (CONFIG, HISTORY, MODEL, EXTRACTOR)]
    sealed = {**metrics, SUMS: {file.name: file_sum(file) for file in files if file.exists()}}
    write_json(folder / METRICS, sealed | {OWN_SUM: own_sum(sealed)})


def data_sum(dataset: data.ArrayDataset) -> str:
    """The checksum of a data set's images and labels."""
    return checksum(dataset.images, dataset.labels)


def versions() -> dict[str, str]:
    """Of everything that may change a run's bits."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "tinygrad_fm": tinygrad_fm.__version__,
        KERNELS: blas_kernels(),
    }


def blas_kernels() -> str:
    """The processors that NumPy's BLAS has chosen its kernels for: others round otherwise."""
    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    # Other packages, SciPy and PyTorch among them, may have loaded a BLAS of their own.
    own = [library for library in found if f"{os.sep}numpy" in library["filepath"]] or found
    return ", ".join(library.get("architecture") or library["internal_api"] for library in own)


def command_line() -> str:
    """How this program was called, as a reader would type it."""
    return shlex.join(["python", "-m", "tinygrad_fm", *sys.argv[1:]])


def resume_command(path: Path) -> str:
    """What to type to go on with a run."""
    return shlex.join(["tinygrad-fm", "train", "--resume", str(path)])


def commit() -> str | None:
    """The commit of the checkout that the package lies in, with a + if files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def _is_normalisation(value: dict[str, Any]) -> bool:
    mean, std = value.get("mean"), value.get("std")
    return isinstance(mean, float) and isinstance(std, float) and -10 < mean < 10 and 0 < std < 10


def _is_measured(value: Any, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most
