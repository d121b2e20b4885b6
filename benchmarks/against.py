"""The working tree against an older commit: the same jobs in turns, each in its own process."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import ROOT, Side, turns
from benchmarks.timing import TURN, paired_ratio


def side_of(tree: Path) -> Side:
    """A process that takes turns with the package of one tree."""
    return Side(sys.executable, Path(__file__).with_name("turns.py"), tree)


@contextmanager
def tree_of(commit: str) -> Iterator[Path]:
    """The files of a commit, in a folder for as long as the block runs."""
    files = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit, "tinygrad_fm"], capture_output=True, check=True
    )
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(files.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


def jobs(models: tuple[str, ...], sizes: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """What is measured: training and inference of each model, and what an operation costs."""
    kinds = [(kind, name, size) for kind in ("train", "infer") for name in models for size in sizes]
    return [*kinds, ("chain", "add", 1), ("chain", "mul", 1)]


def against(
    commit: str, models: tuple[str, ...], sizes: tuple[int, ...], repeats: int, quick: bool = False
) -> Iterator[dict[str, Any]]:
    """One row a job: milliseconds per call of both, and the ratio new ÷ old with its interval."""
    with tree_of(commit) as old_tree, side_of(ROOT) as here, side_of(old_tree) as there:
        for job in jobs(models, sizes):
            new, old = turns((here, there), job, repeats, 0.001 if quick else TURN)
            ratio = paired_ratio(new, old)
            kind, name, size = job
            yield {
                "job": f"{kind} {name}" + (f", batch {size}" if kind != "chain" else ""),
                "new ms": float(np.median(new)) * 1e3,
                "old ms": float(np.median(old)) * 1e3,
                "new ÷ old": ratio.median,
                "95 %": f"{ratio.low:.2f}-{ratio.high:.2f}",
                "of fastest": float(new.min() / old.min()),
            }
