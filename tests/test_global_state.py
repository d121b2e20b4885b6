"""Importing and using the package changes nothing outside it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, locale, logging, os, random, signal, sys, threading, warnings
import numpy as np
import scipy.linalg, scipy.special  # bring a BLAS and a warning filter of their own
from threadpoolctl import threadpool_info

def state():
    return {
        "errstate": np.geterr(),
        "print options": repr(np.get_printoptions()),
        "numpy's random state": repr(np.random.get_state()[1].tolist()),
        "random state": hash(random.getstate()),
        "threads of BLAS": [(p["filepath"], p["num_threads"]) for p in threadpool_info()],
        "warning filters": repr(warnings.filters),
        "environment": dict(os.environ),
        "recursion limit": sys.getrecursionlimit(),
        "log level": logging.getLogger().level,
        "log handlers": repr(logging.getLogger().handlers),
        "signals": repr(signal.getsignal(signal.SIGINT)),
        "locale": locale.setlocale(locale.LC_ALL),
        "running threads": threading.active_count(),
        "path": sys.path,
        "stdout": id(sys.stdout),
        "hooks": [id(sys.excepthook), id(sys.unraisablehook)],
    }

before = state()
import tinygrad_fm as tg
imported = state()
heavy = [n for n in ("torch", "torchvision", "matplotlib", "pandas") if n in sys.modules]

from tinygrad_fm import nn, optim
tg.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
    nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 14 * 14, 10),
)
optimizer = optim.Adam(model.parameters())
x, y = tg.randn(64, 1, 28, 28), tg.randint(0, 10, (64,))
for _ in range(2):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
repr(model), repr(x), repr(tg.full((20,), float("inf")))
try:
    with tg.detect_anomaly():
        tg.tensor(0.0).log()
except tg.AnomalyError:
    pass
with tg.no_grad():
    model.eval()(x)
used = state()
worked = [k for k in before if used[k] != before[k]]
if "running threads" in worked:
    worked.remove("running threads")  # the pool of worker threads
print(json.dumps([[k for k in before if imported[k] != before[k]], heavy, worked]))
"""


@pytest.fixture(scope="module")
def report() -> list[list[str]]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_importing_changes_nothing(report: list[list[str]]) -> None:
    assert report[0] == []


def test_importing_loads_neither_torch_nor_matplotlib(report: list[list[str]]) -> None:
    assert report[1] == []


def test_training_changes_nothing(report: list[list[str]]) -> None:
    assert report[2] == []
