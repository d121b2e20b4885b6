"""The working tree against an older commit: the same jobs in turns, each in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import PAUSE, TURN, WARM_UP, paired_ratio

ROOT = Path(__file__).parents[1]


class Side:
    """A process that takes turns with the package of one tree."""

    def __init__(self, tree: Path) -> None:
        script = Path(__file__).with_name("turns.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(tree)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn(self, job: tuple[Any, ...], calls: int) -> float:
        """Seconds per call.

        Raises:
            RuntimeError: if the process has ended (its own message went to standard error).
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            print(json.dumps([*job, calls]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the measuring process ended at {job}")
        return float(answer)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


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
    with tree_of(commit) as old_tree:
        sides = Side(ROOT), Side(old_tree)
        try:
            for job in jobs(models, sizes):
                new, old = _turns(sides, job, repeats, 0.001 if quick else TURN)
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
        finally:
            for side in sides:
                side.close()


def _turns(
    sides: tuple[Side, Side], job: tuple[Any, ...], repeats: int, turn: float
) -> list[np.ndarray]:
    for side in sides:
        side.turn(job, WARM_UP)
    calls = max(1, round(turn / min(side.turn(job, 1) for side in sides)))
    times: list[list[float]] = [[], []]
    for _ in range(repeats):
        for side, seconds in zip(sides, times, strict=True):
            time.sleep(PAUSE)
            seconds.append(side.turn(job, calls))
    return [np.array(seconds) for seconds in times]
