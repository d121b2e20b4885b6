"""Peak memory of a training process, each library in a process of its own.

PyTorch's process gets its model, loss and optimizer from a file, so that it need not import us (but
for the loss of sigmoid-mlp, which is no function of PyTorch's); ours does not import PyTorch.
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

MODELS = ("sigmoid-mlp", "mlp", "cnn", "cnn-bn")


def jobs(settings: Settings) -> Iterator[Job]:
    for name in MODELS:
        for count in settings.threads:
            measured = partial(measure, settings, name, count)
            yield Job(f"{name}, batch {settings.large_batch}", measured)


def measure(settings: Settings, name: str, count: int) -> list[Row]:
    size = settings.large_batch
    model = our_model(name)
    peaks: dict[str, list[float]] = {"ours": [], **{layout: [] for layout in layouts(model)}}
    with TemporaryDirectory() as folder:
        for layout, channels_last in layouts(model).items():
            theirs = torch_model(name, model, channels_last)
            everything = theirs, twin_loss(name), torch_optimizer(name, theirs), channels_last
            torch.save(everything, Path(folder, layout))
        for _ in range(settings.long_repeats):
            peaks["ours"].append(peak("memory_ours", name, size, count))
            for layout in layouts(model):
                peaks[layout].append(peak("memory_torch", Path(folder, layout), size, count))
    figures = compared({side: np.array(mb) for side, mb in peaks.items()}, "mb", 1)
    return [{"model": name, "batch_size": size, "threads": count, **figures}]


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
