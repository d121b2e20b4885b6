"""Peak memory of a training process, each library in a process of its own.

PyTorch's process gets its model, loss and optimizer from a file, so that it need not import us;
ours does not import PyTorch.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.settings import Job, Row, Settings
from benchmarks.sides import layouts, our_model, torch_model, torch_optimizer
from benchmarks.timing import compared
from tinygrad_fm.reference.models import twin_loss

MODEL = "cnn-bn"


def jobs(settings: Settings) -> Iterator[Job]:
    for count in settings.threads:
        yield Job(f"{MODEL}, batch {settings.large_batch}", partial(measure, settings, count))


def measure(settings: Settings, count: int) -> list[Row]:
    size = settings.large_batch
    model = our_model(MODEL)
    peaks: dict[str, list[float]] = {"ours": [], **{name: [] for name in layouts(model)}}
    with TemporaryDirectory() as folder:
        for name, channels_last in layouts(model).items():
            theirs = torch_model(MODEL, model, channels_last)
            everything = theirs, twin_loss(MODEL), torch_optimizer(MODEL, theirs)
            torch.save(everything, Path(folder, name))
        for _ in range(settings.long_repeats):
            peaks["ours"].append(peak("memory_ours", MODEL, size, count))
            for name in layouts(model):
                peaks[name].append(peak("memory_torch", Path(folder, name), size, count))
    figures = compared({name: np.array(mb) for name, mb in peaks.items()}, "mb", 1)
    return [{"model": MODEL, "batch_size": size, "threads": count, **figures}]


def peak(program: str, *arguments: object) -> float:
    """The peak resident set, in MB, that a child process reports at its end."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{program}", *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)
