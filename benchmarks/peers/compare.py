"""Our training step and each peer's, in turns, once both have shown that they train the same."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

import tinygrad_fm
from benchmarks.peers.serve import Job as Task
from benchmarks.peers.serve import write_job
from benchmarks.processes import Side, turns
from benchmarks.settings import Job, Row, Settings
from benchmarks.timing import PAUSE, TURN, ratios
from tinygrad_fm.data import Garments
from tinygrad_fm.recipes import RECIPES

MODELS = ("mlp", "cnn")
OURS = [sys.executable, "-m", "benchmarks.peers.ours"]
# The losses of the first steps, at the recipe's own learning rate, so that a wrong gradient,
# momentum or decay shows in the second or third.
CHECKED, RTOL = 5, 1e-4


def jobs(settings: Settings) -> Iterator[Job]:
    for name in settings.models:
        for size in settings.batch_sizes:
            for count in settings.threads:
                for peer in settings.peers:
                    label = f"{name}, batch {size}, {peer}"
                    yield Job(label, partial(measure, settings, name, size, count, peer))


def measure(settings: Settings, name: str, size: int, count: int, peer: str) -> list[Row]:
    """One row, of two processes that take turns."""
    # Variables, because a library reads them when it is imported; NPROC is XLA's.
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
    variables = dict.fromkeys(names, str(count))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "job.npz")
        write_job(str(file), task(name, size))
        with (
            Side(*OURS, file, environment=variables) as ours,
            Side(*settings.peers[peer], file, environment=variables) as theirs,
        ):
            check_losses(ours, theirs, f"{name}, batch {size}: {peer}", RECIPES[name].lr)
            turn, pause = (0.0, 0.0) if settings.quick else (TURN, PAUSE)
            a, b = turns((ours, theirs), ("time",), settings.repeats, turn, pause)
            about = theirs.ask("about")
    return [
        {
            **about,
            "model": name,
            "batch_size": size,
            "peer": peer,
            "threads": count,
            "ours_ms": round(float(np.median(a)) * 1e3, 5),
            "peer_ms": round(float(np.median(b)) * 1e3, 5),
            **ratios(a, b),
        }
    ]


def task(name: str, size: int) -> Task:
    """A recipe's weights, the same each time, its optimizer's numbers, and a batch."""
    tinygrad_fm.manual_seed(0)
    model, pictures = RECIPES[name].build(), Garments(size=size)
    rule = RECIPES[name].optimizer(model.parameters(), 0.0).param_groups[0]
    return Task(
        name,
        (pictures.images / 127.5 - 1).astype(np.float32),
        np.asarray(pictures.labels),
        rule["momentum"],
        rule["weight_decay"],
        [np.array(value) for value in model.state_dict().values()],
    )


def check_losses(ours: Side, theirs: Side, what: str, lr: float) -> None:
    """
    Raises:
        RuntimeError: the two do not train the same.
    """
    a, b = (side.ask("losses", lr, CHECKED) for side in (ours, theirs))
    if not np.allclose(a, b, rtol=RTOL, atol=0):
        raise RuntimeError(
            f"{what} does not train what we train, so its time means nothing.\n"
            f"Losses of the first steps: {b}\nours:                      {a}"
        )
