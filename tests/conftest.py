"""What all tests share: their part of the cores, a seed each, and a small built-in data set."""

from __future__ import annotations

import os

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:  # before NumPy and PyTorch are imported; the programs that tests start see it too
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, str(max(1, (os.cpu_count() or 1) // WORKERS)))

import pytest

from tinygrad_fm import manual_seed
from tinygrad_fm.data import garments

FEW = {"train": 2_000, "test": 500}


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_order() -> None:
    """Which tests a worker has run before must not matter."""
    manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _few_garments():
    """A fifth of the pictures: to learn from them takes a fifth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(garments, "SIZES", FEW)
        yield


@pytest.fixture
def all_garments(monkeypatch):
    """As many as users get."""
    monkeypatch.setattr(garments, "SIZES", {"train": 10_000, "test": 2_000})
