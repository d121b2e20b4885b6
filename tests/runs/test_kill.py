"""A training that is killed again and again ends as one that never was."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

TINY = Path(__file__).parents[1] / "tiny_runs.py"
ROOT = TINY.parents[1]


def start(*arguments: str | Path) -> subprocess.Popen:
    """The command line with tiny recipes and a checkpoint after every batch."""
    return subprocess.Popen(
        [sys.executable, TINY, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*arguments: str | Path) -> None:
    process = start(*arguments)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def newest(run: Path) -> int:
    """The number of the last checkpoint, complete or not."""
    return max((int(p.name.split(".")[0]) for p in run.glob("**/checkpoint/*")), default=0)


def kill_at_a_random_moment(process: subprocess.Popen, run: Path, chance: random.Random) -> bool:
    """After a few more checkpoints and a random time, which may be in the middle of the next.

    False if it had ended by itself.
    """
    wanted = newest(run) + chance.randint(0, 2)
    while newest(run) < wanted and process.poll() is None:
        time.sleep(0.0005)
    time.sleep(chance.uniform(0, 0.03))
    process.kill()
    process.communicate()
    return process.returncode < 0


def metric_history(run: Path) -> list[list[str]]:
    """All columns of history.csv but the last, which is wall-clock time."""
    return [line.split(",")[:-1] for line in (run / "history.csv").read_text().splitlines()]


def check_killed(tmp_path: Path, recipe: str, epochs: int, kills: int, seed: int) -> None:
    options = ("--dataset", "garments", "--epochs", str(epochs))
    finish("train", recipe, *options, "--out", tmp_path / "whole")
    run, chance = tmp_path / "killed", random.Random(seed)
    arguments: tuple[str | Path, ...] = ("train", recipe, *options, "--out", run)
    moments = []
    for _ in range(kills):
        process = start(*arguments)
        while not (run / "config.json").exists() and process.poll() is None:
            time.sleep(0.001)
        if not kill_at_a_random_moment(process, run, chance):
            assert process.returncode == 0
            break
        moments.append(tuple(sorted(p.name for p in run.glob("**/checkpoint/*"))))
        arguments = ("train", "--resume", run)
    else:
        finish(*arguments)
    # Not all before the first checkpoint; fewer than asked for where training is fast.
    assert len(moments) >= kills // 2
    assert len(set(moments)) > len(moments) // 2
    assert not list(run.rglob("*.partial"))  # what was killed half-way does not pile up
    whole = tmp_path / "whole"
    weights, expected = (load_file(path / "model.safetensors") for path in (run, whole))
    assert weights.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(weights[name], array, err_msg=name)
    assert metric_history(run) == metric_history(whole)


@pytest.mark.parametrize("recipe", ["mlp-deep"])
def test_killed_a_few_times(tmp_path, recipe):
    check_killed(tmp_path, recipe, epochs=2, kills=4, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["mlp-deep", "mlp-1hidden"])
def test_killed_fifty_times(tmp_path, recipe):
    check_killed(tmp_path, recipe, epochs=12, kills=50, seed=2)


@pytest.mark.slow
def test_killed_while_the_extractor_is_trained(tmp_path):
    check_killed(tmp_path, "features-mlp", epochs=2, kills=12, seed=3)
