"""Files from others may hold anything: they are read, or refused by the error meant for that.

Every case has a number, which is the seed of its damage: a failure names it, and
`make_case(target, number)` makes it again. While a file is read, the process may take 768 MB more
than before: a forged size that asks for memory before it is checked fails here.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fuzz import mutations
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import save
from saved_runs import saved_run

from tinygrad_fm import data, nn, optim
from tinygrad_fm.data import IDXError, PictureError, as_input, read_idx, read_picture
from tinygrad_fm.recipes import RECIPES, ExtractorError
from tinygrad_fm.recipes.cnn_5conv import FiveConvolutions
from tinygrad_fm.recipes.features import load_extractor, training_facts
from tinygrad_fm.recipes.weights import checksum, save_weights
from tinygrad_fm.report import format_comparison
from tinygrad_fm.runs import RunError, open_run
from tinygrad_fm.runs.checkpoint import FORMAT, Checkpoints
from tinygrad_fm.runs.files import write_json
from tinygrad_fm.runs.folder import MEASURED, weights_into, write_metrics
from tinygrad_fm.runs.training import _restore
from tinygrad_fm.train import EarlyStopping, Training
from tinygrad_fm.train.history import EpochRow, History

FAST, SLOW = 40, 1000  # cases of each target
ROOM = 768 << 20


@dataclass(frozen=True)
class Target:
    """A kind of file: a valid one, its damage, who reads it, and how that may refuse."""

    valid: Callable[[], bytes]
    damage: Callable[[bytes, np.random.Generator], bytes]
    read: Callable[[Path], object]
    error: type[Exception]
    name: str = "file"
    summed: bool = False  # what is read in spite of damage must be what was written


# ------------------------------------------------------------------------------- valid files


def images_idx() -> bytes:
    pixels = np.arange(5 * 6 * 7, dtype=np.uint8)
    return struct.pack(">4I", 2051, 5, 6, 7) + pixels.tobytes()


def picture(form: str) -> bytes:
    """A dark square with metadata of every kind that is read."""
    image = Image.effect_noise((48, 40), 8).convert("RGB")
    image.paste((10, 20, 90), (12, 10, 30, 32))
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    if form == "PNG":
        info = PngInfo()
        info.add_text("comment", "a square", zip=True)
        image.quantize(32).save(file, form, pnginfo=info, exif=exif, transparency=3, dpi=(72, 72))
    else:
        image.save(file, form, exif=exif, dpi=(72, 72), progressive=True)
    return file.getvalue()


def weights() -> bytes:
    return save(dict(RECIPES["mlp-1hidden"].build().state_dict()), {"recipe": "mlp-1hidden"})


SMALL = RECIPES["cnn-5conv"].changed(
    build=lambda: FiveConvolutions(channels=(2, 3, 4), hidden=8), dataset="garments"
)


def extractor() -> bytes:
    save_weights(SMALL.build(), Path("weights"), training_facts(SMALL, 0))
    return Path("weights").read_bytes()


def extractor_without_sum() -> bytes:
    return save(dict(SMALL.build().state_dict()), training_facts(SMALL, 0))


def history() -> bytes:
    made = History()
    for epoch in (1, 2, 3, 4):
        made.append(EpochRow(epoch, 0.5, 0.6, 0.7, 0.8, lr=0.1 / epoch, seconds=3.0))
    file = Path("history.csv")
    made.write_csv(file)
    return file.read_bytes()


MEASUREMENTS = dict.fromkeys(MEASURED, 1) | {"test_accuracy": 0.9, "epochs": 4}


def metrics() -> bytes:
    return json.dumps(MEASUREMENTS).encode()


def end_of_training(name: str) -> bytes:
    """A file of a run whose metrics.json has the sums of all."""
    history()
    write_metrics(Path(), MEASUREMENTS)
    return Path(name).read_bytes()


def config() -> bytes:
    return Path("config.json").read_bytes()


def small_training() -> Training:
    """With every kind of state: optimizer, schedule, patience, loader, random numbers."""
    images = data.ArrayDataset(
        np.zeros((4, 1, 2, 2), np.uint8), np.zeros(4, np.int64), ("a", "b"), "blank"
    )
    loaders = [data.DataLoader(images, 2, transform=data.ToFloat()) for _ in range(2)]
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.BatchNorm1d(2))
    optimizer = optim.Adam(model.parameters())
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=4)
    return Training(
        model,
        nn.functional.cross_entropy,
        optimizer,
        *loaders,
        epochs=2,
        step_scheduler=schedule,
        early_stopping=EarlyStopping(2, monitor="val_loss"),
    )


def checkpoint(file: str) -> bytes:
    """One that was written after an epoch and a batch."""

    def after_batch() -> None:
        if training.history:
            Checkpoints(Path("checkpoint"), {}).save(training.state_dict())
            raise KeyboardInterrupt

    training = small_training()
    with pytest.raises(KeyboardInterrupt):
        training.run(False, after_batch)
    return Path("checkpoint", file).read_bytes()


# ------------------------------------------------------------------------------- readers


def look(path: Path) -> None:
    as_input(read_picture(path), "fashion-mnist")
    as_input(read_picture(path), "mnist")


def look_into_run(path: Path) -> None:
    """Everything that later commands take from a configuration."""
    run = open_run(path.parent)
    repr((run.name, run.seed, run.classes, run.normalise))
    run.recipe.optimizer(run.recipe.build().parameters(), run.recipe.lr)


def look_at_metrics(path: Path) -> str:
    """What compare and train print of them."""
    found = open_run(path.parent).metrics()
    return f"{found['test_accuracy']:.2%} {format_comparison({'run': found})}"


def predictor(path: Path) -> object:
    """What a run predicts by."""
    run = open_run(path.parent)
    return numbers(run.model()), run.config


def numbers(model: nn.Module) -> list[bytes]:
    return [array.tobytes() for array in model.state_dict().values()]


def go_on_from(path: Path) -> None:
    """Restore a training from a checkpoint of which the manifest says that it is whole."""
    manifest = {"format": FORMAT, "sha256": checksum(path.read_bytes())}
    write_json(path.with_suffix(".json"), manifest)
    state = Checkpoints(path.parent, {}).load()
    if state is not None:
        _restore(small_training(), state, path.parent)


TARGETS = {
    "idx": Target(images_idx, mutations.damaged, read_idx, IDXError),
    "idx.gz": Target(
        lambda: gzip.compress(images_idx()), mutations.damaged_gzip, read_idx, IDXError
    ),
    "png": Target(lambda: picture("PNG"), mutations.damaged_png, look, PictureError),
    "jpeg": Target(lambda: picture("JPEG"), mutations.damaged, look, PictureError),
    "weights": Target(
        weights,
        mutations.damaged_weights,
        lambda path: weights_into(RECIPES["mlp-1hidden"].build(), path),
        RunError,
    ),
    "extractor": Target(
        extractor,
        mutations.damaged_weights,
        lambda path: numbers(load_extractor(SMALL, 0, path)),
        ExtractorError,
        summed=True,
    ),
    "extractor without a sum": Target(
        extractor_without_sum,
        mutations.damaged_weights,
        lambda path: load_extractor(SMALL, 0, path),
        ExtractorError,
    ),
    "model": Target(
        lambda: Path("model.safetensors").read_bytes(),
        mutations.damaged_weights,
        lambda path: numbers(open_run(path.parent).model()),
        RunError,
        "model.safetensors",
        summed=True,
    ),
    "model at the end": Target(
        lambda: end_of_training("model.safetensors"),
        mutations.damaged_weights,
        lambda path: numbers(open_run(path.parent).model()),
        RunError,
        "model.safetensors",
        summed=True,
    ),
    "config at the end": Target(
        lambda: end_of_training("config.json"),
        mutations.damaged_json_file,
        predictor,
        RunError,
        "config.json",
        summed=True,
    ),
    "config": Target(config, mutations.damaged_json_file, look_into_run, RunError, "config.json"),
    "history": Target(
        history,
        mutations.damaged_table,
        lambda path: open_run(path.parent).history(),
        RunError,
        "history.csv",
    ),
    "history at the end": Target(
        lambda: end_of_training("history.csv"),
        mutations.damaged_table,
        lambda path: open_run(path.parent).history().rows,
        RunError,
        "history.csv",
        summed=True,
    ),
    "checkpoint": Target(
        lambda: checkpoint("0001.safetensors"),
        mutations.damaged_safetensors,
        go_on_from,
        RunError,
        "checkpoint/0001.safetensors",
    ),
    "manifest": Target(
        lambda: checkpoint("0001.json"),
        mutations.damaged_json_file,
        lambda path: Checkpoints(path.parent, {}).load(),
        RunError,
        "checkpoint/0001.json",
    ),
    "metrics": Target(
        metrics,
        mutations.damaged_json_file,
        look_at_metrics,
        RunError,
        "metrics.json",
    ),
    "metrics at the end": Target(
        lambda: end_of_training("metrics.json"),
        mutations.damaged_json_file,
        look_at_metrics,
        RunError,
        "metrics.json",
        summed=True,
    ),
}


# ------------------------------------------------------------------------------- the test


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run folder, which is also the working directory."""
    monkeypatch.chdir(tmp_path)
    saved_run(tmp_path, "mlp")
    return tmp_path


@contextmanager
def little_memory() -> Iterator[None]:
    """Allocations beyond ROOM fail inside the block, where the system can limit them."""
    resource = pytest.importorskip("resource")
    status = Path("/proc/self/statm")
    if not status.exists():
        yield
        return
    now = int(status.read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def make_case(target: Target, valid: bytes, number: int) -> bytes:
    """The damaged file with this number; one in ten is nothing but noise."""
    rng = np.random.default_rng(number)
    if rng.random() < 0.1:
        return rng.bytes(int(rng.integers(0, 300)))
    return target.damage(valid, rng)


def fuzz(target: Target, folder: Path, numbers: range) -> None:
    valid = target.valid()
    path = folder / target.name
    path.write_bytes(valid)
    expected = target.read(path)  # what is not damaged is read
    refused = 0
    with little_memory():
        for number in numbers:
            path.write_bytes(make_case(target, valid, number))
            try:
                found = target.read(path)
                assert not target.summed or found == expected, f"case {number}: read with damage"
            except target.error:
                refused += 1
            except AssertionError:
                raise
            except BaseException as error:
                raise AssertionError(f"case {number}: {type(error).__name__}") from error
    assert refused > len(numbers) / 5  # the damage was damage


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused(folder, name):
    fuzz(TARGETS[name], folder, range(FAST))


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_thousands_of_damaged_files_are_read_or_refused(folder, name):
    """A thousand cases of each target, beside the fast ones."""
    fuzz(TARGETS[name], folder, range(FAST, FAST + SLOW))
